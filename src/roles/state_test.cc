#include "roles/state.h"

#include <gtest/gtest.h>

namespace saker {
namespace {

template <typename Decode>
void ExpectCutsRefused(const std::string& bytes, Decode decode) {
  for (size_t cut = 0; cut < bytes.size(); ++cut) EXPECT_FALSE(decode(bytes.substr(0, cut)).ok()) << cut;
  std::string newer = bytes;
  newer[0] = 99;
  EXPECT_EQ(decode(newer).status().code(), ErrorCode::kCorrupted);
}

TEST(State, ChannelAssignmentSurvivesItsCodec) {
  ChannelAssignment a;
  a.channel = 3;
  a.owner = NodeId(7);
  a.epoch = 12;
  a.seal_before[CollectionId(5)] = 99;
  const std::string bytes = Encode(a);
  const auto b = DecodeChannelAssignment(bytes);
  ASSERT_TRUE(b.ok());
  EXPECT_EQ(b->channel, 3);
  EXPECT_EQ(b->owner, NodeId(7));
  EXPECT_EQ(b->epoch, 12);
  EXPECT_EQ(b->seal_before, a.seal_before);
  ExpectCutsRefused(bytes, DecodeChannelAssignment);
}

TEST(State, PlacementSurvivesItsCodec) {
  Placement p;
  p.collection = CollectionId(4);
  p.loaded = true;
  p.segments.push_back({SegmentId(8), {NodeId(1), NodeId(2)}, true});
  const std::string bytes = Encode(p);
  const auto q = DecodePlacement(bytes);
  ASSERT_TRUE(q.ok());
  ASSERT_EQ(q->segments.size(), 1u);
  EXPECT_TRUE(q->loaded && q->segments[0].serving);
  EXPECT_EQ(q->segments[0].nodes, p.segments[0].nodes);
  ExpectCutsRefused(bytes, DecodePlacement);
}

TEST(State, TaskSurvivesItsCodec) {
  TaskSpec t;
  t.id = 5;
  t.kind = TaskKind::kCompact;
  t.index.name = "idx";
  t.index.params = {{"M", "16"}, {"a", "b"}};
  t.inputs = {SegmentId(1), SegmentId(2)};
  t.deletes_until = 77;
  const std::string bytes = Encode(t);
  const auto u = DecodeTask(bytes);
  ASSERT_TRUE(u.ok());
  EXPECT_EQ(u->index.params, t.index.params);
  EXPECT_EQ(u->inputs, t.inputs);
  EXPECT_EQ(u->deletes_until, 77u);
  ExpectCutsRefused(bytes, DecodeTask);
}

}  // namespace
}  // namespace saker
