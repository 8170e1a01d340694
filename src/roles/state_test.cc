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
  a.successor = NodeId(8);
  const std::string bytes = Encode(a);
  const auto b = DecodeChannelAssignment(bytes);
  ASSERT_TRUE(b.ok());
  EXPECT_EQ(b->channel, 3);
  EXPECT_EQ(b->owner, NodeId(7));
  EXPECT_EQ(b->epoch, 12);
  EXPECT_EQ(b->seal_before, a.seal_before);
  EXPECT_EQ(b->successor, NodeId(8));
  ExpectCutsRefused(bytes, DecodeChannelAssignment);
  // As written before channels had successors.
  std::string before = bytes.substr(0, bytes.size() - sizeof(int64_t));
  before[0] = 1;
  ASSERT_TRUE(DecodeChannelAssignment(before).ok());
  EXPECT_FALSE(DecodeChannelAssignment(before)->successor);
}

TEST(State, PlacementSurvivesItsCodec) {
  Placement p;
  p.collection = CollectionId(4);
  p.loaded = true;
  p.segments.push_back({SegmentId(8), {NodeId(1), NodeId(2)}, true, {}});
  p.segments.push_back({SegmentId(9), {NodeId(1)}, true, {NodeId(3)}});
  p.replicas.push_back({256, "group", {NodeId(1), NodeId(3)}});
  const std::string bytes = Encode(p);
  const auto q = DecodePlacement(bytes);
  ASSERT_TRUE(q.ok());
  ASSERT_EQ(q->segments.size(), 2u);
  EXPECT_TRUE(q->loaded && q->segments[0].serving);
  EXPECT_EQ(q->segments[0].nodes, p.segments[0].nodes);
  EXPECT_TRUE(q->segments[0].incoming.empty());
  EXPECT_EQ(q->segments[1].incoming, p.segments[1].incoming);
  ASSERT_EQ(q->replicas.size(), 1u);
  EXPECT_EQ(q->replicas[0].id, 256);
  EXPECT_EQ(q->replicas[0].group, "group");
  EXPECT_EQ(q->replicas[0].nodes, p.replicas[0].nodes);
  ExpectCutsRefused(bytes, DecodePlacement);
}

TEST(State, DrainRequestsAndResourceGroupsSurviveTheirCodecs) {
  const std::string drain = Encode(DrainRequest{NodeId(7), 1234});
  ASSERT_TRUE(DecodeDrain(drain).ok());
  EXPECT_EQ(DecodeDrain(drain)->node, NodeId(7));
  EXPECT_EQ(DecodeDrain(drain)->since_unix_ms, 1234);
  ExpectCutsRefused(drain, DecodeDrain);
  const std::string group = Encode(ResourceGroup{"rg", 2, 3, {NodeId(7), NodeId(8)}});
  const auto decoded = DecodeResourceGroup(group);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(decoded->name, "rg");
  EXPECT_EQ(decoded->capacity, 2);
  EXPECT_EQ(decoded->limit, 3);
  EXPECT_EQ(decoded->nodes, (std::vector<NodeId>{NodeId(7), NodeId(8)}));
  ExpectCutsRefused(group, DecodeResourceGroup);
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
