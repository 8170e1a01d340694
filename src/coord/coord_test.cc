// The coordinators over the embedded stores, with a datanode that does as it is told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/mutex.h"
#include "catalog/copies.h"
#include "catalog/node_fixture.h"
#include "coord/data_coord_role.h"
#include "coord/index_coord_role.h"
#include "coord/query_coord_role.h"
#include "coord/root_coord_role.h"

namespace saker {
namespace {

using std::chrono::milliseconds;

// The owner of all channels.
class ToldDataNode : public IdleDataNode {
 public:
  void BeginRead(const ReadPointRequest&, Callback<ReadPoint> done) override {
    if (refusals > 0) {
      --refusals;
      return done(Status(ErrorCode::kChannelNotAvailable, "it replays its log"));
    }
    done(ReadPoint{++clock});
  }
  Result<std::vector<GrowingSegmentInfo>> GrowingSegments(CollectionId) override {
    MutexLock lock(mutex_);
    return growing_;
  }
  Status BarrierCollection(CollectionId collection, const std::vector<ChannelId>&, int64_t version, bool dropped,
                           const std::vector<PartitionId>& partitions) override {
    if (unreachable) return {ErrorCode::kDeadlineExceeded, "datanode 1 doesn't answer"};
    MutexLock lock(mutex_);
    barriers_.push_back({collection, version, dropped, partitions});
    return {};
  }
  struct Barrier {
    CollectionId collection;
    int64_t version;
    bool dropped;
    std::vector<PartitionId> partitions;
  };
  std::vector<Barrier> Barriers() {
    MutexLock lock(mutex_);
    return barriers_;
  }
  // Asked whenever a compaction is planned.
  Result<Timestamp> OldestPin(CollectionId) override {
    ++plans;
    return kMaxTimestamp;
  }
  void Grow(std::vector<SegmentId> segments) {
    MutexLock lock(mutex_);
    growing_.clear();
    for (const SegmentId segment : segments) growing_.push_back({segment, kModelCollection, kModelPartition, 0, 1, 1, false});
  }

  std::atomic<Timestamp> clock{100};
  std::atomic<int> plans{0};
  std::atomic<int> refusals{0};
  std::atomic<bool> unreachable{false};  // by barriers

 private:
  Mutex mutex_;
  std::vector<Barrier> barriers_ GUARDED_BY(mutex_);
  std::vector<GrowingSegmentInfo> growing_ GUARDED_BY(mutex_);
};

class CoordTest : public testing::Test {
 protected:
  CoordTest() {
    EXPECT_TRUE(writer_.Start().ok());
    EXPECT_TRUE(segment_sequence_->Start().ok());
    peers_.datanode = &node_;
    stores_.Put(ModelCollection(false, schema_));
  }
  ~CoordTest() override {
    if (data_ != nullptr) data_->Stop();
    if (query_ != nullptr) query_->Stop();
    if (index_ != nullptr) index_->Stop();
    stores_.StopPools();
  }

  CoordinatorDeps Deps() {
    CoordinatorDeps deps;
    deps.catalog = stores_.catalog.get();
    deps.writer = std::make_shared<CatalogWriter>(catalog_sequence_);
    deps.segments = segment_sequence_;
    deps.meta = stores_.meta.get();
    deps.objects = stores_.objects.get();
    deps.peers = &peers_;
    deps.control = stores_.control.get();
    deps.io = stores_.io.get();
    deps.timer = stores_.timer.get();
    deps.next_ids = [this](int64_t count) { return stores_.ids->Next(count); };
    return deps;
  }
  DataCoordRole& Data(DataCoordSettings settings = {}) {
    settings.channels = 1;
    if (settings.garbage_grace == DataCoordSettings().garbage_grace) settings.garbage_grace = milliseconds(20);
    data_ = std::make_unique<DataCoordRole>(Deps(), settings);
    data_->Start();
    EXPECT_TRUE(Eventually([&] { return stores_.catalog->Channel(0).epoch > 0; }));
    return *data_;
  }
  QueryCoordRole& Query() {
    query_ = std::make_unique<QueryCoordRole>(Deps());
    query_->Start();
    return *query_;
  }
  IndexCoordRole& Index() {
    index_ = std::make_unique<IndexCoordRole>(Deps());
    index_->Start();
    return *index_;
  }

  static SegmentMeta Segment(int64_t id, int64_t log_end = 0) {
    SegmentMeta meta;
    meta.id = SegmentId(id);
    meta.collection = kModelCollection;
    meta.partition = kModelPartition;
    meta.rows = 10;
    meta.size_bytes = 1000;
    meta.min_ts = meta.max_ts = MakeTimestamp(WallMs());
    meta.log_end = log_end;
    meta.manifest = "segments/50/" + std::to_string(id) + "/a/manifest";
    return meta;
  }
  SegmentState StateOf(int64_t id) { return stores_.catalog->FindSegment(SegmentId(id))->state; }
  // With a file where its manifest would be.
  SegmentMeta PutSegment(SegmentMeta meta) {
    EXPECT_TRUE(stores_.objects->Put(meta.manifest, "files").ok());
    stores_.Put(meta);
    return meta;
  }
  bool Exists(const std::string& object) { return stores_.objects->Get(object).ok(); }
  Status UpdateCollection(const CatalogWriter::Change& change) {
    ASSIGN_OR_RETURN(const Revision revision, writer_.Update(kModelCollection, change));
    return stores_.catalog->WaitFor(revision, std::chrono::seconds(10));
  }
  Status SetTtl(const std::string& seconds) {
    return UpdateCollection([&](Collection& c) {
      c.properties = {{"collection.ttl.seconds", seconds}};
      return Status();
    });
  }

  TestDirectory directory_;
  NodeStores stores_{directory_.path()};
  std::shared_ptr<CopiedSequence> catalog_sequence_ =
      std::make_shared<CopiedSequence>(stores_.meta.get(), stores_.objects.get(), kCatalogKeys);
  std::shared_ptr<CopiedSequence> segment_sequence_ =
      std::make_shared<CopiedSequence>(stores_.meta.get(), stores_.objects.get(), kSegmentKeys);
  CatalogWriter writer_{catalog_sequence_};
  TestPeers peers_;
  ToldDataNode node_;
  const SchemaPtr schema_ = ModelSchema(false);
  std::unique_ptr<DataCoordRole> data_;
  std::unique_ptr<QueryCoordRole> query_;
  std::unique_ptr<IndexCoordRole> index_;
};

// ---- flush

// A datanode that was told that its commit failed though it was made commits once more, with new files. Meanwhile
// compaction may have replaced the segment: it must not come back.
TEST_F(CoordTest, AFlushCommittedOnceMoreBringsNothingBack) {
  DataCoordSettings settings;
  settings.garbage_grace = std::chrono::hours(1);
  auto& coord = Data(settings);
  const Epoch epoch = stores_.catalog->Channel(0).epoch;
  ASSERT_TRUE(coord.CommitFlush(0, epoch, {Segment(1), Segment(2)}).ok());
  SegmentMeta replaced = Segment(1);
  replaced.state = SegmentState::kDropped;
  stores_.Put(replaced);
  SegmentMeta again = Segment(1);
  again.manifest = "segments/50/1/b/manifest";
  ASSERT_TRUE(stores_.objects->Put(again.manifest, "files").ok());
  const auto committed = coord.CommitFlush(0, epoch, {again, Segment(2), Segment(3)});
  ASSERT_TRUE(committed.ok()) << committed.status().ToString();
  ASSERT_TRUE(stores_.catalog->WaitFor(*committed, std::chrono::seconds(10)).ok());
  EXPECT_EQ(StateOf(1), SegmentState::kDropped);
  EXPECT_EQ(stores_.catalog->FindSegment(SegmentId(1))->manifest, replaced.manifest);
  EXPECT_EQ(StateOf(3), SegmentState::kFlushed);
  EXPECT_FALSE(Exists(again.manifest)) << "files of an attempt that nothing names";
  EXPECT_EQ(coord.CommitFlush(0, epoch + 1, {Segment(4)}).status().code(), ErrorCode::kSuperseded);
}

// What was made but not copied to the object store would be gone with the meta store's data: the log may not be cut for it,
// nor may a client be told that it is so already.
TEST_F(CoordTest, WhatIsThereButNotCopiedIsNotAcknowledged) {
  auto& coord = Data();
  RootCoordRole root(Deps(), RootCoordSettings{.channels = 1});
  ASSERT_TRUE(root.Start().ok());
  const Epoch epoch = stores_.catalog->Channel(0).epoch;
  const std::string there = directory_.path() + "/objects/catalog";
  ASSERT_TRUE(std::filesystem::exists(there)) << "where copies go";
  std::filesystem::rename(there, there + ".away");
  std::ofstream(there) << "in the way of copies";
  for (const char* time : {"the first time", "once more"}) {
    EXPECT_FALSE(coord.CommitFlush(0, epoch, {Segment(1)}).ok()) << time;
    EXPECT_FALSE(root.CreatePartition(kModelCollection, "p").ok()) << time;
    EXPECT_FALSE(root.DropUser("nobody").ok()) << time;
  }
  EXPECT_NE(stores_.catalog->GetCollection(kModelCollection)->FindPartition("p"), nullptr) << "it is there";
  std::filesystem::remove(there);
  std::filesystem::rename(there + ".away", there);
  EXPECT_TRUE(coord.CommitFlush(0, epoch, {Segment(1)}).ok());
  EXPECT_TRUE(root.CreatePartition(kModelCollection, "p").ok());
  for (const CopiedKeys* keys : {&kSegmentKeys, &kCatalogKeys}) {
    const auto last = DecodeSequence(keys->sequence_key, stores_.meta->Get(std::string(keys->sequence_key))->value);
    EXPECT_EQ(ListCopies(stores_.objects.get(), *keys)->up_to, last->number) << keys->prefix;
  }
}

TEST_F(CoordTest, AFlushIsNotDoneBecauseALaterOneWasAskedFor) {
  auto& coord = Data();
  node_.Grow({SegmentId(5)});
  const auto first = coord.Flush(kModelCollection);
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  EXPECT_THAT(first->segments, testing::ElementsAre(SegmentId(5)));
  node_.Grow({SegmentId(5), SegmentId(6)});
  const auto second = coord.Flush(kModelCollection);
  ASSERT_TRUE(second.ok());
  ASSERT_GT(second->flush_ts, first->flush_ts);
  EXPECT_FALSE(*coord.IsFlushed(kModelCollection, first->flush_ts, first->segments));
  EXPECT_FALSE(*coord.IsFlushed(kModelCollection, first->flush_ts, {}));
  node_.Grow({SegmentId(6)});
  EXPECT_TRUE(*coord.IsFlushed(kModelCollection, first->flush_ts, first->segments));
  EXPECT_FALSE(*coord.IsFlushed(kModelCollection, second->flush_ts, second->segments));
  const Epoch epoch = stores_.catalog->Channel(0).epoch;
  ASSERT_TRUE(coord.ReportSealed(0, epoch, kModelCollection, first->flush_ts).ok());
  EXPECT_FALSE(*coord.IsFlushed(kModelCollection, second->flush_ts, second->segments)) << "an older request's end";
  ASSERT_TRUE(coord.ReportSealed(0, epoch, kModelCollection, second->flush_ts).ok());
  EXPECT_TRUE(Eventually([&] { return *coord.IsFlushed(kModelCollection, second->flush_ts, second->segments); }));
}

TEST_F(CoordTest, AFlushWaitsForAChannelThatIsNotServedYet) {
  auto& coord = Data();
  node_.refusals = 3;
  const auto flushed = coord.Flush(kModelCollection);
  EXPECT_TRUE(flushed.ok()) << flushed.status().ToString();
  EXPECT_EQ(node_.refusals, 0);
}

// As Milvus does it: what was deleted before it was flushed counts until a compaction.
TEST_F(CoordTest, RowsDeletedBeforeTheirFlushAreCountedUntilACompaction) {
  DataCoordSettings settings;
  settings.garbage_grace = std::chrono::hours(1);
  auto& coord = Data(settings);
  SegmentMeta part = Segment(1);
  part.deleted_rows = 5;
  SegmentMeta whole = Segment(2, /*log_end=*/70);
  whole.rows = 0;
  whole.deleted_rows = 7;
  whole.state = SegmentState::kDropped;
  stores_.Put(whole);
  stores_.Put(part);
  EXPECT_EQ(*coord.RowCount(kModelCollection, PartitionId(0)), 10 + 5 + 7);
  EXPECT_EQ(*coord.RowCount(kModelCollection, kModelPartition), 10 + 5 + 7);
  ASSERT_TRUE(coord.Compact(kModelCollection).ok());
  ASSERT_TRUE(Eventually([&] { return stores_.catalog->Tasks().size() == 1; }));
  ASSERT_TRUE(coord.ReportCompaction(stores_.catalog->Tasks()[0].id, PutSegment(Segment(3))).ok());
  EXPECT_TRUE(Eventually([&] { return *coord.RowCount(kModelCollection, kModelPartition) == 10 + 7; }));
}

// A channel that gets a new epoch at the same time keeps the request.
TEST_F(CoordTest, AFlushRequestIsNotOverwritten) {
  auto& coord = Data();
  std::atomic<bool> done{false};
  std::thread unlucky([&] {
    while (!done) {
      EXPECT_TRUE(coord.ReportChannelLost(0, kThisNode, stores_.catalog->Channel(0).epoch).ok());
      std::this_thread::yield();
    }
  });
  for (int i = 0; i < 100; ++i) {
    const auto flush = coord.Flush(kModelCollection);
    EXPECT_TRUE(flush.ok()) << flush.status().ToString();
    if (!flush.ok()) break;
    const auto now = DecodeChannelAssignment(stores_.meta->Get(ChannelKey(0))->value);
    const auto it = now->seal_before.find(kModelCollection);
    EXPECT_TRUE(it != now->seal_before.end() && it->second >= flush->flush_ts) << i;
  }
  done = true;
  unlucky.join();
}

// ---- compaction

TEST_F(CoordTest, ACompactionSwapsItsSegments) {
  auto& coord = Data();
  PutSegment(Segment(1));
  PutSegment(Segment(2));
  const auto id = coord.Compact(kModelCollection);
  ASSERT_TRUE(id.ok()) << id.status().ToString();
  EXPECT_EQ(coord.GetCompactionState(*id)->executing, 1);
  const auto tasks = stores_.catalog->Tasks();
  ASSERT_EQ(tasks.size(), 1u);
  SegmentMeta output = Segment(tasks[0].segment.value);
  output.compacted_from = tasks[0].inputs;
  ASSERT_TRUE(coord.ReportCompaction(tasks[0].id, output).ok());
  const auto state = coord.GetCompactionState(*id);
  EXPECT_TRUE(state->completed);
  EXPECT_EQ(state->done, 1);
  EXPECT_EQ(StateOf(tasks[0].segment.value), SegmentState::kFlushed);
  EXPECT_TRUE(stores_.catalog->Tasks().empty());
  EXPECT_TRUE(Eventually([&] { return !Exists(Segment(1).manifest) && !Exists(Segment(2).manifest); }));
}

// An iterator may need them: that they are gone is in no route, and remembered by their keys.
TEST_F(CoordTest, ThatACompactionLeftNothingIsRemembered) {
  DataCoordSettings settings;
  settings.remember_gone = milliseconds(300);
  auto& coord = Data(settings);
  PutSegment(Segment(1));
  ASSERT_TRUE(coord.ReportCheckpoint(0, stores_.catalog->Channel(0).epoch, 1'000'000).ok());
  ASSERT_TRUE(coord.Compact(kModelCollection).ok());
  const auto tasks = stores_.catalog->Tasks();
  ASSERT_EQ(tasks.size(), 1u);
  SegmentMeta nothing = Segment(tasks[0].segment.value);
  nothing.rows = 0;
  nothing.dropped_until = 77;
  const Stopwatch watch;
  ASSERT_TRUE(coord.ReportCompaction(tasks[0].id, nothing).ok());
  EXPECT_TRUE(Eventually([&] { return !Exists(Segment(1).manifest); }));
  const auto gone = stores_.catalog->FindSegment(SegmentId(1));
  if (gone != nullptr) {
    EXPECT_TRUE(gone->LeftNothing());
    EXPECT_EQ(gone->dropped_until, 77u);
  }
  EXPECT_TRUE(Eventually([&] { return stores_.catalog->FindSegment(SegmentId(1)) == nullptr; }));
  EXPECT_GE(watch.elapsed_ms(), 300);
}

// The transaction that ends a task may be made though whoever made it was told otherwise.
TEST_F(CoordTest, ACompactionWhoseEndWasNotToldEnds) {
  auto& coord = Data();
  PutSegment(Segment(1));
  const auto id = coord.Compact(kModelCollection);
  ASSERT_TRUE(id.ok());
  const auto tasks = stores_.catalog->Tasks();
  ASSERT_EQ(tasks.size(), 1u);
  stores_.Commit({MetaOp::Delete(TaskKey(tasks[0].id))});
  ASSERT_TRUE(coord.ReportCompaction(tasks[0].id, Segment(tasks[0].segment.value)).ok());
  EXPECT_TRUE(coord.GetCompactionState(*id)->completed);
}

TEST_F(CoordTest, AFailedCompactionIsTriedAgainByItself) {
  DataCoordSettings settings;
  settings.retry_compaction = milliseconds(50);
  auto& coord = Data(settings);
  for (int64_t id = 1; id <= 3; ++id) PutSegment(Segment(id));
  ASSERT_TRUE(Eventually([&] { return stores_.catalog->Tasks().size() == 1; }));
  const int64_t first = stores_.catalog->Tasks()[0].id;
  ASSERT_TRUE(coord.ReportCompaction(first, Status(ErrorCode::kDiskLimitExceeded, "no space")).ok());
  EXPECT_TRUE(Eventually([&] {
    const auto tasks = stores_.catalog->Tasks();
    return tasks.size() == 1 && tasks[0].id != first;
  }));
}

// What only a user asked for is not tried again, and nobody stays busy with its failure.
TEST_F(CoordTest, AFailureThatIsNotTriedAgainIsForgotten) {
  DataCoordSettings settings;
  settings.retry_compaction = milliseconds(50);
  auto& coord = Data(settings);
  PutSegment(Segment(1));
  ASSERT_TRUE(coord.Compact(kModelCollection).ok());
  ASSERT_TRUE(coord.ReportCompaction(stores_.catalog->Tasks()[0].id, Status(ErrorCode::kCancelled, "no")).ok());
  const int before = node_.plans;
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_TRUE(stores_.catalog->Tasks().empty());
  EXPECT_LE(node_.plans - before, 5);
}

TEST_F(CoordTest, AllThatIsAskedForIsCompactedHoweverMuch) {
  ASSERT_TRUE(UpdateCollection([](Collection& c) {
    for (int64_t i = 0; i < 130; ++i) c.partitions.push_back({PartitionId(1000 + i), "p" + std::to_string(i), 1});
    return Status();
  }).ok());
  auto& coord = Data();
  for (int64_t i = 0; i < 130; ++i) {
    SegmentMeta segment = Segment(2000 + i);
    segment.partition = PartitionId(1000 + i);
    stores_.Put(segment);
  }
  const auto id = coord.Compact(kModelCollection);
  ASSERT_TRUE(id.ok()) << id.status().ToString();
  EXPECT_EQ(coord.GetCompactionState(*id)->executing, 130);
  EXPECT_EQ(stores_.catalog->Tasks().size(), 130u);
}

TEST_F(CoordTest, RowsThatOutlivedTheirTimeGoWithoutAnythingElseHappening) {
  ASSERT_TRUE(SetTtl("1").ok());
  Data();
  PutSegment(Segment(1));
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_TRUE(stores_.catalog->Tasks().empty());
  EXPECT_TRUE(Eventually([&] { return stores_.catalog->Tasks().size() == 1; }));
}

// ---- garbage

TEST_F(CoordTest, ATombstoneGoesWhenTheLogHasPassedItsRecords) {
  auto& coord = Data();
  SegmentMeta ended = PutSegment(Segment(1, /*log_end=*/70));
  ended.state = SegmentState::kDropped;
  stores_.Put(ended);
  ASSERT_TRUE(Eventually([&] { return stores_.catalog->FindSegment(SegmentId(1))->manifest.empty(); }));
  EXPECT_FALSE(Exists(ended.manifest));
  EXPECT_TRUE(coord.ReportCheckpoint(0, 1, 69).ok());
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_NE(stores_.catalog->FindSegment(SegmentId(1)), nullptr) << "a replay would bring it back";
  EXPECT_TRUE(coord.ReportCheckpoint(0, 1, 70).ok());
  EXPECT_TRUE(Eventually([&] { return stores_.catalog->FindSegment(SegmentId(1)) == nullptr; }));
}

TEST_F(CoordTest, ADroppedCollectionLeavesItsNameAloneAndThatForADay) {
  Data();
  const SegmentMeta segment = PutSegment(Segment(1, 70));
  const auto drop = [&](int64_t updated_ms) {
    return UpdateCollection([&](Collection& c) {
      c.dropped = true;
      c.updated = MakeTimestamp(updated_ms);
      return Status();
    });
  };
  const int64_t day_ms = 24 * 3'600'000;
  ASSERT_TRUE(drop(WallMs() - day_ms + 500).ok());
  ASSERT_TRUE(Eventually([&] { return stores_.catalog->Segments(kModelCollection).empty(); }));
  EXPECT_FALSE(Exists(segment.manifest));
  EXPECT_TRUE(stores_.catalog->IsDropped(kModelCollection));
  EXPECT_TRUE(Eventually([&] { return !stores_.catalog->IsDropped(kModelCollection); }));
}

// Reads on the route before the last one may still ask for them.
TEST_F(CoordTest, DeletesThatNothingNeedsGoAfterTheGrace) {
  DataCoordSettings settings;
  settings.garbage_grace = milliseconds(300);
  Data(settings);
  SegmentMeta rows = Segment(1);
  rows.deletes_until = rows.max_ts;
  PutSegment(rows);
  SegmentMeta deletes = Segment(2);
  deletes.kind = SegmentKind::kDeletes;
  deletes.partition = PartitionId();
  deletes.max_ts = rows.deletes_until;
  const Stopwatch since;
  PutSegment(deletes);
  ASSERT_TRUE(Eventually([&] { return StateOf(2) == SegmentState::kDropped; }));
  EXPECT_GE(since.elapsed_ms(), 300);
  EXPECT_TRUE(Eventually([&] { return stores_.catalog->FindSegment(SegmentId(2)) == nullptr; }));
  EXPECT_FALSE(Exists(deletes.manifest));
  EXPECT_TRUE(Exists(rows.manifest));
}

TEST_F(CoordTest, FilesThatNothingNamesGoAtTheStart) {
  const SegmentMeta kept = PutSegment(Segment(1));
  ASSERT_TRUE(stores_.objects->Put("segments/50/1/j30-7/manifest", "an attempt that came to nothing").ok());
  ASSERT_TRUE(stores_.objects->Put("indexes/50/1/80-j31-7", "never reported").ok());
  ASSERT_TRUE(stores_.objects->Put("catalog/log/1", "not a segment's").ok());
  std::this_thread::sleep_for(milliseconds(1'100));
  Data();
  EXPECT_TRUE(Eventually([&] { return !Exists("segments/50/1/j30-7/manifest") && !Exists("indexes/50/1/80-j31-7"); }));
  EXPECT_TRUE(Exists(kept.manifest));
  EXPECT_TRUE(Exists("catalog/log/1"));
}

// ---- indexes

class IndexTest : public CoordTest {
 protected:
  IndexTest() {
    EXPECT_TRUE(UpdateCollection([&](Collection& c) {
      c.indexes.push_back(IndexMeta{kModelIndex, schema_->VectorFields()[0]->id, "i", "FLAT"});
      return Status();
    }).ok());
  }
  // Reports a built index for the only open task.
  std::string Build(IndexCoordRole& coord) {
    EXPECT_TRUE(Eventually([&] { return stores_.catalog->Tasks().size() == 1; }));
    const TaskSpec task = stores_.catalog->Tasks()[0];
    SegmentIndex built{task.index.id, "indexes/50/1/80-" + std::to_string(task.id), 1, 10};
    EXPECT_TRUE(stores_.objects->Put(built.object, "an index").ok());
    EXPECT_TRUE(coord.ReportIndex(task.id, built).ok());
    return built.object;
  }
};

TEST_F(IndexTest, ADroppedIndexGoesWithItsFiles) {
  auto& coord = Index();
  PutSegment(Segment(1));
  const std::string file = Build(coord);
  ASSERT_TRUE(Eventually([&] { return stores_.catalog->FindSegment(SegmentId(1))->FindIndex(kModelIndex) != nullptr; }));
  EXPECT_TRUE(Exists(file));
  const auto dropped = coord.DropIndex(kModelCollection, "i");
  ASSERT_TRUE(dropped.ok()) << dropped.status().ToString();
  EXPECT_TRUE(Eventually([&] { return stores_.catalog->FindSegment(SegmentId(1))->indexes.empty() && !Exists(file); }));
}

TEST_F(IndexTest, TheFileOfAnIndexThatIsNotWantedGoes) {
  auto& coord = Index();
  PutSegment(Segment(1));
  ASSERT_TRUE(Eventually([&] { return stores_.catalog->Tasks().size() == 1; }));
  SegmentMeta ended = Segment(1);
  ended.state = SegmentState::kDropped;
  stores_.Put(ended);
  const std::string file = Build(coord);
  EXPECT_FALSE(Exists(file));
  EXPECT_TRUE(Eventually([&] { return stores_.catalog->Tasks().empty(); }));
}

// Two builds of one index: the later one's file takes the place of the earlier one's.
TEST_F(IndexTest, AnIndexThatIsReplacedGoes) {
  auto& coord = Index();
  PutSegment(Segment(1));
  const std::string first = Build(coord);
  TaskSpec again;
  again.id = stores_.NextId();
  again.kind = TaskKind::kBuildIndex;
  again.node = kThisNode;
  again.collection = kModelCollection;
  again.segment = SegmentId(1);
  again.index.id = kModelIndex;
  ASSERT_TRUE(Eventually([&] { return stores_.catalog->Tasks().empty(); }));
  stores_.Put(again);
  const std::string second = Build(coord);
  EXPECT_FALSE(Exists(first));
  EXPECT_TRUE(Exists(second));
}

TEST_F(IndexTest, AnIndexOfALoadedCollectionIsNotDropped) {
  auto& coord = Index();
  ASSERT_TRUE(UpdateCollection([](Collection& c) {
    c.load.loaded = c.load.whole = true;
    return Status();
  }).ok());
  EXPECT_EQ(coord.DropIndex(kModelCollection, "i").status().code(), ErrorCode::kUnexpected);
  EXPECT_TRUE(coord.DropIndex(kModelCollection, "another").ok());
}

// ---- loading

TEST_F(IndexTest, APartitionThatIsGoneIsNotLoaded) {
  auto& coord = Query();
  const auto refused = coord.Load(kModelCollection, {kModelPartition, PartitionId(999)}, 1, {}, {});
  EXPECT_EQ(refused.status().code(), ErrorCode::kPartitionNotFound) << refused.status().ToString();
  EXPECT_FALSE(stores_.catalog->GetCollection(kModelCollection)->load.loaded);
  EXPECT_TRUE(coord.Load(kModelCollection, {kModelPartition}, 1, {}, {}).ok());
  EXPECT_EQ(coord.Load(kModelCollection, {kModelPartition}, 2, {}, {}).status().code(), ErrorCode::kNodeLack);
}

TEST_F(IndexTest, WhoWaitsForALoadHearsOfADamagedFile) {
  auto& coord = Query();
  PutSegment(Segment(1));
  ASSERT_TRUE(coord.Load(kModelCollection, {}, 1, {}, {}).ok());
  ASSERT_TRUE(Eventually([&] { return stores_.catalog->FindPlacement(kModelCollection) != nullptr; }));
  EXPECT_TRUE(coord.Progress(kModelCollection, {})->loading);
  EXPECT_TRUE(coord.ReportLoadFailed(kThisNode, kModelCollection, SegmentId(1), Status(ErrorCode::kServiceUnavailable, "later")).ok());
  EXPECT_TRUE(coord.Progress(kModelCollection, {}).ok());
  EXPECT_TRUE(coord.ReportLoadFailed(kThisNode, kModelCollection, SegmentId(1), Status(ErrorCode::kCorrupted, "x.seg is damaged")).ok());
  const auto progress = coord.Progress(kModelCollection, {});
  EXPECT_EQ(progress.status().code(), ErrorCode::kCorrupted);
  EXPECT_NE(progress.status().message().find("x.seg is damaged"), std::string::npos);
  EXPECT_TRUE(coord.ReportLoaded({kThisNode, kModelCollection, {{SegmentId(1), 100}}, {}}).ok());
  EXPECT_TRUE(Eventually([&] {
    const auto now = coord.Progress(kModelCollection, {});
    return now.ok() && now->percent == 100;
  }));
}

// ---- the catalog

class RootTest : public CoordTest {
 protected:
  RootTest() : root_(Deps(), RootCoordSettings{.channels = 1}) {
    EXPECT_TRUE(root_.Start().ok());
    Data();
  }
  CollectionId Create(const std::string& name) {
    CollectionDraft draft;
    draft.schema = *schema_;
    draft.schema.name = name;
    EXPECT_TRUE(root_.CreateCollection(draft).ok());
    return (*stores_.catalog->FindCollection("", name))->id;
  }
  int64_t VersionOf(CollectionId id) { return DecodeCollection(stores_.meta->Get(CollectionKey(id))->value)->version; }
  RootCoordRole root_;
};

// Its view may be old: what it finds to be as asked for may have changed since another one leads.
TEST_F(RootTest, WhoLeadsNoMoreDoesNotAnswerThatItIsSoAlready) {
  CoordinatorDeps deps = Deps();
  std::atomic<bool> leads{true};
  deps.fence = [&]() -> Result<Compare> {
    if (!leads) return Status(ErrorCode::kServiceUnavailable, "this process leads no more");
    return Compare::Absent("nobody/writes/this");
  };
  RootCoordRole root(deps, RootCoordSettings{.channels = 1});
  ASSERT_TRUE(root.Start().ok());
  EXPECT_TRUE(root.DropCollection("", "another").ok());
  leads = false;
  EXPECT_EQ(root.DropCollection("", "another").status().code(), ErrorCode::kServiceUnavailable);
}

// protocol.md, rule 17: whoever still takes a name for what it was is refused by the owners of that.
TEST_F(RootTest, AChangeOfANameIsAcknowledgedOnceTheOwnersRefuseEarlierVersions) {
  const CollectionId a = Create("a");
  const CollectionId b = Create("b");
  ASSERT_TRUE(root_.CreateAlias("", "a", "x").ok());
  const auto last = [&] { return node_.Barriers().empty() ? ToldDataNode::Barrier{} : node_.Barriers().back(); };
  ASSERT_TRUE(root_.AlterAlias("", "b", "x").ok());
  EXPECT_TRUE(last().collection == a && last().version == VersionOf(a));
  ASSERT_TRUE(root_.DropAlias("", "x").ok());
  EXPECT_TRUE(last().collection == b && last().version == VersionOf(b));
  ASSERT_TRUE(root_.RenameCollection("", "a", "", "c").ok());
  EXPECT_TRUE(last().collection == a && last().version == VersionOf(a));
}

TEST_F(RootTest, ADropThatTheOwnersDoNotKnowOfIsNotAcknowledged) {
  const CollectionId id = Create("a");
  ASSERT_TRUE(root_.CreatePartition(id, "p").ok());
  const PartitionId partition = stores_.catalog->GetCollection(id)->FindPartition("p")->id;
  node_.unreachable = true;
  EXPECT_EQ(root_.DropPartition(id, "p").status().code(), ErrorCode::kServiceUnavailable);
  EXPECT_EQ(root_.DropPartition(id, "p").status().code(), ErrorCode::kServiceUnavailable) << "gone, but they don't know";
  node_.unreachable = false;
  EXPECT_TRUE(root_.DropPartition(id, "p").ok());
  ASSERT_EQ(node_.Barriers().size(), 1u);
  EXPECT_EQ(node_.Barriers()[0].partitions, std::vector<PartitionId>{partition});
  EXPECT_TRUE(root_.DropPartition(id, "p").ok());
  EXPECT_EQ(node_.Barriers().size(), 1u) << "they know";

  node_.unreachable = true;
  EXPECT_EQ(root_.DropCollection("", "a").status().code(), ErrorCode::kServiceUnavailable);
  EXPECT_EQ(root_.DropCollection("", "a").status().code(), ErrorCode::kServiceUnavailable);
  EXPECT_TRUE(root_.DropCollection("", "another").ok()) << "there never was one";
  node_.unreachable = false;
  EXPECT_TRUE(root_.DropCollection("", "a").ok());
  ASSERT_EQ(node_.Barriers().size(), 2u);
  EXPECT_TRUE(node_.Barriers()[1].collection == id && node_.Barriers()[1].dropped);
}

TEST_F(RootTest, AnAliasMovesThoughItsCollectionsChangeAllTheTime) {
  const std::vector<CollectionId> ids{Create("a"), Create("b")};
  ASSERT_TRUE(root_.CreateAlias("", "a", "x").ok());
  std::atomic<bool> done{false};
  std::atomic<int> loads{0};
  std::thread loader([&] {
    for (; !done; ++loads) {
      EXPECT_TRUE(writer_.Update(ids[loads % 2], [](Collection& c) {
        ++c.load.replicas;
        return Status();
      }).ok());
    }
  });
  for (int i = 0; i < 40; ++i) {
    const auto moved = root_.AlterAlias("", i % 2 == 0 ? "b" : "a", "x");
    EXPECT_TRUE(moved.ok()) << moved.status().ToString();
  }
  done = true;
  loader.join();
  int replicas = 0;
  for (const CollectionId id : ids) replicas += DecodeCollection(stores_.meta->Get(CollectionKey(id))->value)->load.replicas;
  EXPECT_EQ(replicas - 2 * LoadConfig().replicas, loads) << "a load was overwritten";
  EXPECT_EQ((*stores_.catalog->FindCollection("", "x"))->name, "a");
}

TEST_F(RootTest, ARoleOfManyUsersIsDropped) {
  ASSERT_TRUE(root_.CreateRole("r").ok());
  for (int i = 0; i < 3; ++i) {
    std::vector<MetaOp> ops;
    for (int j = 0; j < 100; ++j) {
      const User user{"u" + std::to_string(i) + "-" + std::to_string(j), "hash", {"r", "other"}};
      ops.push_back(MetaOp::Put(UserKey(user.name), Encode(user)));
    }
    stores_.Commit(ops);
  }
  const auto dropped = root_.DropRole("r", false);
  ASSERT_TRUE(dropped.ok()) << dropped.status().ToString();
  EXPECT_EQ(stores_.catalog->FindRole("r"), nullptr);
  for (const auto& user : stores_.catalog->Users()) {
    if (user->name != "root") {
      EXPECT_THAT(user->roles, testing::ElementsAre("other"));
    }
  }
}

// ---- work moves

constexpr NodeId kSecond{2};
constexpr NodeId kThird{3};

class MovesTest : public IndexTest {
 protected:
  MovesTest() { settings_.balance_interval = milliseconds(1); }

  QueryCoordRole& Query() {
    query_ = std::make_unique<QueryCoordRole>(Deps(), settings_);
    query_->Start();
    return *query_;
  }
  std::shared_ptr<const Placement> Placed() { return stores_.catalog->FindPlacement(kModelCollection); }
  std::set<SegmentId> On(NodeId node, bool incoming) {
    std::set<SegmentId> out;
    const auto placement = Placed();
    for (const auto& placed : placement == nullptr ? std::vector<SegmentPlacement>() : placement->segments) {
      const auto& nodes = incoming ? placed.incoming : placed.nodes;
      if (std::find(nodes.begin(), nodes.end(), node) != nodes.end()) out.insert(placed.segment);
    }
    return out;
  }
  // Reports what a querynode that has done all it is to do would.
  void Report(NodeId node) {
    LoadedReport report{node, kModelCollection, {}, {0, memory_limit_}};
    for (const bool incoming : {false, true}) {
      for (const SegmentId segment : On(node, incoming)) report.segments.push_back({segment, 1000});
    }
    EXPECT_TRUE(query_->ReportLoaded(report).ok());
  }
  // Until all nodes hold what they are to hold and nothing is on its way.
  bool Settle(std::vector<NodeId> nodes) {
    return Eventually([&] {
      for (const NodeId node : nodes) Report(node);
      const auto placement = Placed();
      return placement != nullptr && placement->loaded && std::all_of(placement->segments.begin(), placement->segments.end(), [](const auto& placed) {
        return placed.serving && placed.incoming.empty();
      });
    });
  }
  void LoadFour(QueryCoordRole& coord, int32_t replicas = 1, std::vector<NodeId> nodes = {kThisNode}) {
    for (int64_t id = 1; id <= 4; ++id) PutSegment(Segment(id));
    ASSERT_TRUE(coord.Load(kModelCollection, {}, replicas, {}, {}).ok());
    ASSERT_TRUE(Settle(std::move(nodes)));
  }

  QueryCoordSettings settings_;
  int64_t memory_limit_ = 1 << 30;
};

TEST_F(MovesTest, ANewQuerynodeGetsItsShare) {
  auto& coord = Query();
  LoadFour(coord);
  EXPECT_EQ(On(kThisNode, false).size(), 4u);
  peers_.SetNodes({kThisNode, kSecond});
  coord.NodesChanged();
  ASSERT_TRUE(Eventually([&] { return On(kSecond, true).size() == 2; }));
  EXPECT_EQ(On(kThisNode, false).size(), 4u) << "reads go where the segments are";
  ASSERT_TRUE(Settle({kThisNode, kSecond}));
  EXPECT_EQ(On(kSecond, false).size(), 2u);
  EXPECT_EQ(On(kThisNode, false).size(), 2u);
}

TEST_F(MovesTest, ADrainedQuerynodeHoldsNothingWhoeverLeads) {
  auto& coord = Query();
  peers_.SetNodes({kThisNode, kSecond});
  LoadFour(coord, 1, {kThisNode, kSecond});
  ASSERT_EQ(On(kSecond, false).size(), 2u);
  EXPECT_EQ(coord.DrainNode(kThird, true).code(), ErrorCode::kNodeNotFound);
  ASSERT_TRUE(coord.DrainNode(kSecond, true).ok());
  EXPECT_TRUE(coord.DrainNode(kSecond, true).ok()) << "asked once more";
  // The next leader goes on with it.
  coord.Stop();
  auto& next = Query();
  Report(kThisNode);
  Report(kSecond);
  auto progress = next.GetDrainProgress(kSecond);
  ASSERT_TRUE(progress.ok());
  EXPECT_TRUE(progress->draining);
  EXPECT_EQ(progress->segments, 2);
  ASSERT_TRUE(Eventually([&] {
    Report(kThisNode);
    Report(kSecond);
    return next.GetDrainProgress(kSecond)->empty();
  }));
  EXPECT_EQ(On(kThisNode, false).size(), 4u);
  EXPECT_EQ(next.Load(kModelCollection, {}, 2, {}, {}).status().code(), ErrorCode::kNodeLack) << "one that is drained serves no replica";
  ASSERT_TRUE(next.DrainNode(kSecond, false).ok());
  EXPECT_FALSE(next.GetDrainProgress(kSecond)->draining);
  EXPECT_TRUE(Eventually([&] { return On(kSecond, true).size() == 2; })) << "it gets its share again";
}

TEST_F(MovesTest, WhatDoesNotFitIsRefused) {
  memory_limit_ = 3000;
  auto& coord = Query();
  for (int64_t id = 1; id <= 4; ++id) PutSegment(Segment(id));
  EXPECT_TRUE(coord.ReportLoaded({kThisNode, CollectionId(), {}, {0, memory_limit_}}).ok());
  const auto refused = coord.Load(kModelCollection, {}, 1, {}, {});
  EXPECT_EQ(refused.status().code(), ErrorCode::kMemoryLimitExceeded);
  EXPECT_NE(refused.status().message().find("memory limit exceeded[predict=4000][limit=2700]"), std::string::npos) << refused.status().message();
  EXPECT_TRUE(coord.ReportLoaded({kThisNode, CollectionId(), {}, {0, 6000}}).ok());
  EXPECT_TRUE(coord.Load(kModelCollection, {}, 1, {}, {}).ok());
}

TEST_F(MovesTest, ADrainedDatanodeLosesItsChannels) {
  auto& coord = Data();
  const NodeId first = stores_.catalog->Channel(0).owner;
  ASSERT_EQ(first, kThisNode);
  peers_.SetNodes({kThisNode, kSecond});
  ASSERT_TRUE(coord.DrainNode(kThisNode, true).ok());
  ASSERT_TRUE(Eventually([&] { return stores_.catalog->Channel(0).successor == kSecond; }));
  EXPECT_EQ(stores_.catalog->Channel(0).owner, kThisNode);
  EXPECT_EQ(coord.GetDrainProgress(kThisNode)->channels, 1);
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_EQ(stores_.catalog->Channel(0).owner, kThisNode) << "it moves once its owner has flushed it";
  EXPECT_TRUE(coord.ReportHandedOver(0, stores_.catalog->Channel(0).epoch).ok());
  ASSERT_TRUE(Eventually([&] { return stores_.catalog->Channel(0).owner == kSecond; }));
  EXPECT_EQ(stores_.catalog->Channel(0).epoch, 2);
  EXPECT_FALSE(stores_.catalog->Channel(0).successor);
  EXPECT_TRUE(coord.GetDrainProgress(kThisNode)->empty());
}

TEST_F(MovesTest, AnOwnerThatDoesNotFlushIsNotWaitedForForever) {
  DataCoordSettings settings;
  settings.handover_limit = milliseconds(100);
  auto& coord = Data(settings);
  peers_.SetNodes({kThisNode, kSecond});
  ASSERT_TRUE(coord.DrainNode(kThisNode, true).ok());
  EXPECT_TRUE(Eventually([&] { return stores_.catalog->Channel(0).owner == kSecond; }));
}

TEST_F(MovesTest, ADrainedIndexnodeGetsNoTasks) {
  auto& coord = Index();
  peers_.SetNodes({kThisNode, kSecond});
  ASSERT_TRUE(coord.DrainNode(kThisNode, true).ok());
  for (int64_t id = 1; id <= 4; ++id) PutSegment(Segment(id));
  ASSERT_TRUE(Eventually([&] { return stores_.catalog->Tasks().size() == 4; }));
  for (const TaskSpec& task : stores_.catalog->Tasks()) EXPECT_EQ(task.node, kSecond);
  EXPECT_TRUE(coord.GetDrainProgress(kThisNode)->empty());
  EXPECT_EQ(coord.GetDrainProgress(kSecond)->tasks, 4);
}

// Else its segments stay without an index, and those it was to merge out of every compaction, until it is back.
TEST_F(MovesTest, TasksOfAnIndexnodeThatIsGoneAreGivenToAnother) {
  auto& index = Index();
  for (int64_t id = 1; id <= 4; ++id) PutSegment(Segment(id));
  ASSERT_TRUE(Eventually([&] { return stores_.catalog->Tasks().size() == 4; }));
  auto& data = Data();
  ASSERT_TRUE(data.Compact(kModelCollection).ok());
  ASSERT_TRUE(Eventually([&] { return stores_.catalog->Tasks().size() == 5; }));
  const auto all_at = [&](NodeId node) {
    const auto tasks = stores_.catalog->Tasks();
    return std::all_of(tasks.begin(), tasks.end(), [&](const TaskSpec& task) { return task.node == node; });
  };
  EXPECT_TRUE(all_at(kThisNode));
  const auto changed = [&](std::vector<NodeId> nodes) {
    peers_.SetNodes(std::move(nodes));
    index.NodesChanged();
    data.NodesChanged();
  };
  changed({});
  changed({kSecond});
  EXPECT_TRUE(Eventually([&] { return all_at(kSecond); }));
  EXPECT_EQ(stores_.catalog->Tasks().size(), 5u);
  // It was not gone after all: its result counts, and ends the task.
  const TaskSpec first = stores_.catalog->Tasks()[0];
  SegmentIndex built{first.index.id, "indexes/50/1/80-" + std::to_string(first.id), 1, 10};
  EXPECT_TRUE(index.ReportIndex(first.id, built).ok());
  EXPECT_TRUE(Eventually([&] { return stores_.catalog->Tasks().size() == 4; }));
}

TEST_F(MovesTest, ResourceGroups) {
  peers_.SetNodes({kThisNode, kSecond, kThird});
  auto& coord = Query();
  const auto code = [](const auto& result) { return result.status().code(); };
  const std::string kDefault(kDefaultResourceGroup);
  EXPECT_EQ(coord.DescribeResourceGroup(kDefault)->nodes.size(), 3u);
  EXPECT_EQ(code(coord.DescribeResourceGroup("rg")), ErrorCode::kResourceGroupNotFound);
  ASSERT_TRUE(coord.CreateResourceGroup("rg", {}).ok());
  EXPECT_EQ(coord.CreateResourceGroup("rg", {}).status().message(), "resource group already exist");
  EXPECT_EQ(code(coord.TransferNode(kDefault, "rg", 4)), ErrorCode::kUnexpected);
  EXPECT_EQ(code(coord.TransferNode(kDefault, "other", 1)), ErrorCode::kParameterInvalid);
  EXPECT_EQ(code(coord.TransferNode(kDefault, "rg", 0)), ErrorCode::kParameterInvalid);
  ASSERT_TRUE(coord.TransferNode(kDefault, "rg", 1).ok());
  EXPECT_EQ(coord.DescribeResourceGroup("rg")->nodes.size(), 1u);
  EXPECT_EQ(coord.DescribeResourceGroup("rg")->capacity, 1);
  EXPECT_EQ(coord.DescribeResourceGroup(kDefault)->nodes.size(), 2u);
  EXPECT_EQ(coord.DropResourceGroup("rg").status().message(), "delete non-empty rg is not permitted");

  // Loaded into it, and nowhere else.
  EXPECT_EQ(code(coord.Load(kModelCollection, {}, 2, {}, {"rg"})), ErrorCode::kNodeLack);
  EXPECT_EQ(code(coord.Load(kModelCollection, {}, 1, {}, {"other"})), ErrorCode::kResourceGroupNotFound);
  EXPECT_NE(coord.Load(kModelCollection, {}, 3, {}, {"rg", "rg"}).status().message().find("resource group num can only be 0, 1 or same"), std::string::npos);
  for (int64_t id = 1; id <= 4; ++id) PutSegment(Segment(id));
  ASSERT_TRUE(coord.Load(kModelCollection, {}, 1, {}, {"rg"}).ok());
  ASSERT_TRUE(Settle({kThisNode, kSecond, kThird}));
  const NodeId member = coord.DescribeResourceGroup("rg")->nodes.at(0);
  EXPECT_EQ(On(member, false).size(), 4u);
  EXPECT_EQ(coord.DescribeResourceGroup("rg")->replicas, (std::map<CollectionId, int32_t>{{kModelCollection, 1}}));
  EXPECT_EQ(code(coord.DropResourceGroup("rg")), ErrorCode::kParameterInvalid);

  // To another group; served all the while.
  ASSERT_TRUE(coord.CreateResourceGroup("second", {}).ok());
  EXPECT_EQ(code(coord.TransferReplica("rg", "second", kModelCollection, 1)), ErrorCode::kNodeLack);
  ASSERT_TRUE(coord.TransferNode(kDefault, "second", 1).ok());
  EXPECT_EQ(code(coord.TransferReplica("rg", "second", kModelCollection, 2)), ErrorCode::kParameterInvalid);
  ASSERT_TRUE(coord.TransferReplica("rg", "second", kModelCollection, 1).ok());
  const NodeId other = coord.DescribeResourceGroup("second")->nodes.at(0);
  ASSERT_TRUE(Eventually([&] {
    for (const NodeId node : {kThisNode, kSecond, kThird}) Report(node);
    return On(other, false).size() == 4 && On(member, false).empty();
  }));
  EXPECT_EQ(Placed()->replicas.at(0).group, "second");

  // A dead member is replaced by a free node.
  auto nodes = peers_.nodes();
  std::erase(nodes, other);
  peers_.SetNodes(nodes);
  coord.NodesChanged();
  EXPECT_TRUE(Eventually([&] {
    const auto group = stores_.catalog->FindResourceGroup("second");
    return group->nodes.size() == 1 && group->nodes[0] != other;
  }));
  // The groups are the catalog's: the next leader, and a copy in the object store, have them.
  coord.Stop();
  EXPECT_EQ(Query().DescribeResourceGroup("second")->capacity, 1);
}

// ---- files that no segment names

// Whoever may still commit them keeps them, however old they are by whose clock.
TEST_F(CoordTest, FilesOfOpenEpochsAndTasksAreNotSwept) {
  ChannelAssignment channel;
  channel.owner = kThisNode;
  channel.epoch = 5;
  stores_.Put(channel);
  TaskSpec task;
  task.id = 31;
  task.kind = TaskKind::kCompact;
  task.collection = kModelCollection;
  stores_.Put(task);
  const std::vector<std::string> open{"segments/50/1/e5c0-7-1/columns", "segments/50/2/j31-7/manifest", "indexes/50/3/80-j31-7",
                                      "segments/50/9/e1-7-1/columns"};  // the last one's writer is not known
  const std::vector<std::string> closed{"segments/50/1/e4c0-7-1/columns", "segments/50/2/j30-7/manifest", "indexes/50/3/80-j30-7"};
  for (const auto* names : {&open, &closed}) {
    for (const std::string& name : *names) ASSERT_TRUE(stores_.objects->Put(name, "x").ok());
  }
  std::this_thread::sleep_for(milliseconds(1100));
  Data();
  for (const std::string& name : closed) EXPECT_TRUE(Eventually([&] { return !Exists(name); })) << name;
  for (const std::string& name : open) EXPECT_TRUE(Exists(name)) << name;
}

}  // namespace
}  // namespace saker
