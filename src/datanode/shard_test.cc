// A shard by itself: generations, the deletes it remembers, and the oldest record that is still needed.
#include "datanode/shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "segment/segment_fixture.h"

namespace saker {
namespace {

using testing::ElementsAre;

class ShardTest : public testing::Test {
 protected:
  WriteRecord Insert(Timestamp ts, SegmentId segment, std::vector<int64_t> keys, PartitionId partition = PartitionId(5)) {
    WriteRecord record;
    record.ts = ts;
    ModelRows rows;
    for (const int64_t key : keys) {
      ModelRow& row = rows.emplace_back();
      row.key = key;
      row.vector.assign(kModelDim, 0.5f);
    }
    record.inserts.push_back({partition, segment, BatchOf(*schema_, rows)});
    return record;
  }
  static WriteRecord Delete(Timestamp ts, std::vector<int64_t> keys) {
    WriteRecord record;
    record.ts = ts;
    record.deletes = KeysOf(keys, false);
    return record;
  }
  void Apply(const WriteRecord& record) { shard_.Apply(record, offset_++, 100, schema_); }
  std::vector<Timestamp> DeletesAfter(Timestamp after) {
    std::vector<Timestamp> out;
    const auto deletes = shard_.DeletesAfter(after);
    EXPECT_TRUE(deletes.ok()) << deletes.status().ToString();
    if (!deletes.ok()) return out;
    for (const DeleteBatch& batch : *deletes) out.push_back(batch.ts);
    return out;
  }

  const SchemaPtr schema_ = ModelSchema(false);
  Shard shard_{CollectionId(1), 0, /*deletes_committed_until=*/10};
  LogOffset offset_ = 100;
};

TEST_F(ShardTest, AGenerationHasWhatCameSinceTheLastOne) {
  Generation generation;
  EXPECT_FALSE(shard_.BeginFlush(20, generation));
  EXPECT_EQ(shard_.FirstUnflushed(), -1);
  Apply(Insert(11, SegmentId(1), {1, 2}));
  Apply(Delete(12, {1}));
  EXPECT_EQ(shard_.FirstUnflushed(), 100);
  EXPECT_EQ(shard_.oldest_unflushed_ts(), 11u);
  EXPECT_EQ(shard_.unflushed_bytes(), 200);
  ASSERT_TRUE(shard_.BeginFlush(13, generation));
  ASSERT_EQ(generation.segments.size(), 1u);
  EXPECT_THAT(generation.log_ends, ElementsAre(101));
  ASSERT_EQ(generation.deletes.size(), 1u);
  EXPECT_EQ(generation.deletes_until, 13u);

  // What comes meanwhile belongs to the next one; the log is needed from the first record of this one.
  Generation second;
  EXPECT_FALSE(shard_.BeginFlush(14, second));
  Apply(Insert(15, SegmentId(2), {3}));
  Apply(Delete(16, {2}));
  EXPECT_EQ(shard_.FirstUnflushed(), 100);
  EXPECT_EQ(shard_.unflushed_bytes(), 400);
  shard_.EndFlush(generation, 1);
  EXPECT_EQ(shard_.FirstUnflushed(), 102);
  EXPECT_EQ(shard_.oldest_unflushed_ts(), 15u);
  EXPECT_EQ(shard_.unflushed_bytes(), 200);
  ASSERT_TRUE(shard_.BeginFlush(17, second));
  ASSERT_EQ(second.segments.size(), 1u);
  EXPECT_EQ(second.segments[0]->id(), SegmentId(2));
  ASSERT_EQ(second.deletes.size(), 1u);
  EXPECT_EQ(second.deletes[0].ts, 16u);
  shard_.EndFlush(second, 2);
  EXPECT_EQ(shard_.FirstUnflushed(), -1);
  EXPECT_FALSE(shard_.empty());  // both are kept until they are served
  EXPECT_EQ(shard_.Release([](const Growing& growing) { return growing.committed_at < 2; }), 1);
  EXPECT_EQ(shard_.Find(SegmentId(1)), nullptr);
  EXPECT_EQ(shard_.Release([](const Growing&) { return true; }), 1);
  EXPECT_TRUE(shard_.empty());
}

TEST_F(ShardTest, AFlushThatFailedIsForgottenAsIfItHadNotBegun) {
  Apply(Insert(11, SegmentId(1), {1}));
  Apply(Delete(12, {1}));
  Generation generation;
  ASSERT_TRUE(shard_.BeginFlush(13, generation));
  Apply(Insert(14, SegmentId(2), {2}));
  const auto pause = shard_.AbortFlush(generation);
  EXPECT_GT(pause.count(), 0);
  EXPECT_FALSE(shard_.MayFlush()) << "at once it would fail again";
  shard_.EndPause();
  EXPECT_TRUE(shard_.MayFlush());
  EXPECT_EQ(shard_.Segments()[0].state, GrowingState::kAttempted) << "it may be committed";
  EXPECT_EQ(shard_.FirstUnflushed(), 100);
  EXPECT_EQ(shard_.oldest_unflushed_ts(), 11u);
  EXPECT_EQ(shard_.unflushed_bytes(), 300);
  Generation again;
  ASSERT_TRUE(shard_.BeginFlush(15, again));
  EXPECT_EQ(again.segments.size(), 2u);
  EXPECT_EQ(again.deletes.size(), 1u);
  EXPECT_EQ(shard_.AbortFlush(again), 2 * pause) << "each attempt writes everything anew";
  EXPECT_EQ(shard_.Release([](const Growing&) { return true; }), 0);  // nothing that isn't committed goes
}

TEST_F(ShardTest, RemembersDeletesOfOneFlushBack) {
  EXPECT_EQ(shard_.DeletesAfter(9).status().code(), ErrorCode::kCompacted);
  EXPECT_THAT(DeletesAfter(10), ElementsAre());
  Apply(Delete(11, {1}));
  Apply(Delete(12, {2}));
  EXPECT_THAT(DeletesAfter(10), ElementsAre(11, 12));
  EXPECT_THAT(DeletesAfter(11), ElementsAre(12));
  Generation generation;
  ASSERT_TRUE(shard_.BeginFlush(13, generation));
  shard_.EndFlush(generation, 1);
  EXPECT_THAT(DeletesAfter(10), ElementsAre(11, 12));
  Apply(Delete(14, {3}));
  Generation second;
  ASSERT_TRUE(shard_.BeginFlush(15, second));
  ASSERT_EQ(second.deletes.size(), 1u);
  shard_.EndFlush(second, 2);
  // Those of the first flush are in a delete segment; who needs them reads it.
  EXPECT_EQ(shard_.DeletesAfter(11).status().code(), ErrorCode::kCompacted);
  EXPECT_THAT(DeletesAfter(12), ElementsAre(14));
}

TEST_F(ShardTest, ReplayedDeletesThatAreCommittedAreAppliedAndNotKept) {
  Apply(Insert(5, SegmentId(1), {1, 2}));
  Apply(Delete(8, {1}));   // at or before 10: in a delete segment
  Apply(Delete(11, {2}));
  EXPECT_THAT(DeletesAfter(10), ElementsAre(11));
  const auto segment = shard_.Find(SegmentId(1));
  EXPECT_TRUE(segment->IsVisible(0, 7, 0));
  EXPECT_FALSE(segment->IsVisible(0, 8, 0));
  EXPECT_TRUE(segment->IsVisible(1, 10, 0));
  EXPECT_FALSE(segment->IsVisible(1, 11, 0));
}

TEST_F(ShardTest, ADroppedPartitionGoesUnlessItIsBeingWritten) {
  Apply(Insert(11, SegmentId(1), {1}, PartitionId(5)));
  Apply(Insert(12, SegmentId(2), {2}, PartitionId(6)));
  shard_.DropPartition(PartitionId(6));
  EXPECT_EQ(shard_.Find(SegmentId(2)), nullptr);
  Generation generation;
  ASSERT_TRUE(shard_.BeginFlush(13, generation));
  shard_.DropPartition(PartitionId(5));
  EXPECT_NE(shard_.Find(SegmentId(1)), nullptr);
  shard_.EndFlush(generation, 1);
  shard_.DropPartition(PartitionId(5));
  EXPECT_TRUE(shard_.empty());
}

TEST_F(ShardTest, ReadersNameWhatIsServedElsewhere) {
  for (int64_t i = 1; i <= 3; ++i) Apply(Insert(10 + static_cast<Timestamp>(i), SegmentId(i), {i}));
  EXPECT_EQ(shard_.Readable({}).size(), 3u);
  const auto left = shard_.Readable({SegmentId(1), SegmentId(3)});
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].segment->id(), SegmentId(2));
}

// One thread applies, one flushes, others read: every row is in exactly one place at any time, and no delete is lost.
TEST_F(ShardTest, FlushesAndReadsGoOnWhileRowsArrive) {
  constexpr int64_t kBatches = 2000;
  std::atomic<Timestamp> applied{10};
  std::atomic<bool> done{false};
  std::atomic<int64_t> flushed_rows{0}, flushed_deletes{0};
  std::vector<std::thread> threads;
  // As on the datanode: sealing has its turn among the writes, writing and ending a flush has not.
  Mutex order;
  int64_t open_segment = 1;
  threads.emplace_back([&] {
    while (!done) {
      Generation generation;
      {
        MutexLock lock(order);
        if (!shard_.BeginFlush(applied, generation)) continue;
        ++open_segment;  // a sealed one is never written to
      }
      for (const auto& segment : generation.segments) flushed_rows += segment->rows();
      flushed_deletes += static_cast<int64_t>(generation.deletes.size());
      shard_.EndFlush(generation, 1);
      shard_.Release([](const Growing&) { return true; });
    }
  });
  threads.emplace_back([&] {
    Timestamp last = 10;
    while (!done) {
      const Timestamp until = applied;
      const auto deletes = shard_.DeletesAfter(last);
      if (deletes.ok()) {
        for (const DeleteBatch& batch : *deletes) {
          EXPECT_GT(batch.ts, last);
          last = batch.ts;
        }
      }
      last = std::max(last, until);
      for (const auto& growing : shard_.Readable({})) (void)growing.segment->rows();
      (void)shard_.FirstUnflushed();
    }
  });
  for (int64_t i = 0; i < kBatches; ++i) {
    MutexLock lock(order);
    const Timestamp ts = applied + 1;
    WriteRecord record = Insert(ts, SegmentId(open_segment), {i});
    record.deletes = KeysOf({i - 1}, false);
    Apply(record);
    applied = ts;
  }
  ASSERT_TRUE([&] {
    for (int i = 0; i < 10'000 && shard_.FirstUnflushed() >= 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return shard_.FirstUnflushed() < 0;
  }());
  done = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(flushed_rows, kBatches);
  EXPECT_EQ(flushed_deletes, kBatches);
  EXPECT_TRUE(shard_.empty());
}

}  // namespace
}  // namespace saker
