// Writes through a proxy whose nodes misbehave on demand.
#include "proxy/proxy_fixture.h"

namespace saker {
namespace {

TEST_F(ProxyPaths, AWriteIsSentAgainToWhoeverOwnsTheShard) {
  peers_.node.write_faults = {Status(ErrorCode::kSuperseded, "gone"), Status(ErrorCode::kChannelNotAvailable, "replaying")};
  const auto reply = Insert({1, 2, 3});
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_EQ(reply->inserted, 3);
  EXPECT_GT(reply->ts, 0u);
  EXPECT_EQ(peers_.node.writes.size(), 1u);
  EXPECT_NE(peers_.node.writes[0].batch_id, 0u);
  EXPECT_EQ(peers_.node.writes[0].collection_version, collection_.version);
  EXPECT_EQ(Texts("id > 0").size(), 3u);

  peers_.node.write_faults = {Status(ErrorCode::kDiskLimitExceeded, "disk full")};
  EXPECT_EQ(Insert({4}).status().code(), ErrorCode::kDiskLimitExceeded);
  peers_.node_there = false;
  EXPECT_EQ(Insert({4}, 100).status().code(), ErrorCode::kChannelNotAvailable);
}

TEST_F(ProxyPaths, UpsertReplacesAndItsLastRowWins) {
  ASSERT_TRUE(Insert({1, 2}).ok());
  const auto reply = Upsert({2, 3, 2});
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_EQ(reply->upserted, 3);
  EXPECT_THAT(reply->keys.ints, ElementsAre(2, 3, 2));
  const ShardWrite& write = peers_.node.writes.back().shards[0];
  EXPECT_THAT(write.deletes.ints, ElementsAre(3, 2));
  EXPECT_EQ(write.inserts[0].second.rows, 2);
  EXPECT_EQ(write.delete_partition, kPartition);
  EXPECT_THAT(Texts("id > 0"), ElementsAre("row 1.0", "row 2.1", "row 3.1"));
}

TEST_F(ProxyPaths, DeletesByKeyAndByFilter) {
  Seal({1, 2});
  ASSERT_TRUE(Insert({3, 4}).ok());
  EXPECT_EQ(Delete("id in [1, 3, 99]")->deleted, 3);
  EXPECT_THAT(Texts("id > 0"), ElementsAre("row 2.0", "row 4.0"));
  EXPECT_EQ(Delete("t like 'row 4%'")->deleted, 1);
  EXPECT_THAT(Texts("id > 0"), ElementsAre("row 2.0"));
  EXPECT_EQ(Delete("t == 'none'")->deleted, 0);
  EXPECT_EQ(Delete("id in [2, 2, 2]")->deleted, 3);  // as named, not as found
  EXPECT_THAT(peers_.node.writes.back().shards[0].deletes.ints, ElementsAre(2));
  EXPECT_THAT(Texts("id > 0"), ElementsAre());
  EXPECT_EQ(Delete("id >").status().message(), "failed to create expr plan, expr = id >");
  EXPECT_EQ(Delete("").status().message(), "failed to create expr plan, expr = ");
}

TEST_F(ProxyPaths, IdsComeInBlocks) {
  EXPECT_EQ(*proxy_->AllocateIds(10), 1'000);
  EXPECT_EQ(*proxy_->AllocateIds(5), 1'010);
  EXPECT_EQ(peers_.coords.blocks, 1);
  EXPECT_EQ(*proxy_->AllocateIds(500'000), 101'000);
  EXPECT_EQ(peers_.coords.blocks, 2);
  peers_.root_there = false;
  EXPECT_EQ(proxy_->AllocateIds(500'000).status().code(), ErrorCode::kServiceUnavailable);
}

// A proxy's view lags: what another proxy has just made may be unknown here, and a drop of it must not be answered as if
// there were nothing to drop.
TEST_F(ProxyPaths, WhetherThereIsAnythingToDropIsForRootcoordToSay) {
  EXPECT_TRUE(proxy_->DropDatabase(Context(), "new").ok());
  EXPECT_TRUE(proxy_->DropCollection(Context(), "fresh").ok());
  EXPECT_TRUE(proxy_->DropPartition(Context(), "c", "young").ok());
  EXPECT_THAT(peers_.coords.dropped, ElementsAre("new", "fresh", "young"));
}

}  // namespace
}  // namespace saker
