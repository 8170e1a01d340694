// The querynode over the embedded stores: what placements say is what it holds, with every delete up to the read.
#include "querynode/query_node_role.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/log.h"
#include "catalog/node_fixture.h"

namespace saker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;

using Texts = std::map<int64_t, std::string>;

// A shard's owner as far as a querynode sees it: its deletes, and how far it is.
class Owner final : public IdleDataNode {
 public:
  Result<DeleteStream> Deletes(const DeleteStreamRequest& request) override {
    MutexLock lock(mutex_);
    asked_.push_back(request.after);
    if (!fault_.ok()) return fault_;
    if (request.after < known_after_) return Status(ErrorCode::kCompacted, "in delete segments");
    DeleteStream stream;
    stream.complete_until = std::max(applied_, request.after);
    for (const DeleteBatch& batch : batches_) {
      if (batch.ts > request.after && batch.ts <= applied_) stream.batches.push_back(batch);
    }
    return stream;
  }
  void Delete(Timestamp ts, std::vector<int64_t> keys) {
    MutexLock lock(mutex_);
    batches_.push_back({ts, PartitionId(), KeysOf(keys, false)});
    applied_ = std::max(applied_, ts);
  }
  void Reach(Timestamp ts) {
    MutexLock lock(mutex_);
    applied_ = ts;
  }
  void ForgetUntil(Timestamp ts) {
    MutexLock lock(mutex_);
    known_after_ = ts;
    std::erase_if(batches_, [&](const DeleteBatch& batch) { return batch.ts <= ts; });
  }
  void Fail(Status status) {
    MutexLock lock(mutex_);
    fault_ = std::move(status);
  }
  std::vector<Timestamp> asked() {
    MutexLock lock(mutex_);
    return asked_;
  }

 private:
  Mutex mutex_;
  std::vector<DeleteBatch> batches_ GUARDED_BY(mutex_);
  std::vector<Timestamp> asked_ GUARDED_BY(mutex_);
  Timestamp applied_ GUARDED_BY(mutex_) = 1000;
  Timestamp known_after_ GUARDED_BY(mutex_) = 0;
  Status fault_ GUARDED_BY(mutex_);
};

class Reports final : public IdleQueryCoord {
 public:
  Status ReportLoaded(const LoadedReport& report) override {
    MutexLock lock(mutex_);
    if (refusals_ > 0) {
      --refusals_;
      return {ErrorCode::kServiceNotReady, "elected, and not serving yet"};
    }
    last_ = report;
    if (!report.collection) return {};
    loaded_.clear();
    for (const HeldSegment& held : report.segments) loaded_.push_back(held.segment);
    return {};
  }
  Status ReportLoadFailed(NodeId, CollectionId, SegmentId segment, const Status& why) override {
    MutexLock lock(mutex_);
    failed_[segment].push_back(why);
    return {};
  }
  void Refuse(int times) {
    MutexLock lock(mutex_);
    refusals_ = times;
  }
  LoadedReport last() {
    MutexLock lock(mutex_);
    return last_;
  }
  std::vector<SegmentId> loaded() {
    MutexLock lock(mutex_);
    return loaded_;
  }
  std::vector<Status> failed(SegmentId segment) {
    MutexLock lock(mutex_);
    return failed_[segment];
  }

 private:
  Mutex mutex_;
  int refusals_ GUARDED_BY(mutex_) = 0;
  LoadedReport last_ GUARDED_BY(mutex_);
  std::vector<SegmentId> loaded_ GUARDED_BY(mutex_);
  std::map<SegmentId, std::vector<Status>> failed_ GUARDED_BY(mutex_);
};

class QueryNodeTest : public testing::Test {
 protected:
  void SetUp() override {
    SetLogLevel(LogLevel::kError);
    peers_.query = &reports_;
    peers_.datanode = &owner_;
    collection_ = ModelCollection(/*loaded=*/true, schema_);
    stores_->Put(collection_);
    ChannelAssignment channel;
    channel.owner = kThisNode;
    channel.epoch = 1;
    stores_->Put(channel);
    QueryNodeDeps deps;
    deps.node = kThisNode;
    deps.catalog = stores_->catalog.get();
    deps.objects = stores_->objects.get();
    deps.peers = &peers_;
    deps.search = stores_->search.get();
    deps.io = stores_->io.get();
    deps.timer = stores_->timer.get();
    deps.linger = linger_;
    deps.memory_limit_bytes = 1 << 30;
    node_ = std::make_unique<QueryNodeRole>(deps);
    node_->Start();
  }
  void TearDown() override {
    node_->Stop();
    stores_->StopPools();
    node_.reset();
    stores_.reset();
    SetLogLevel(LogLevel::kInfo);
  }

  // Rows of keys [first, first + count), inserted at `ts`.
  SegmentMeta Write(int64_t id, int64_t first, int64_t count, Timestamp ts, Timestamp deletes_until,
                    PartitionId partition = kModelPartition) {
    ModelRows rows;
    for (int64_t key = first; key < first + count; ++key) rows.push_back(RowWith(key, "row " + std::to_string(key)));
    return WriteModelSegment(*stores_, SegmentId(id), schema_, {{ts, rows}}, deletes_until, partition);
  }
  bool AwaitLoaded(std::vector<SegmentId> segments) {
    return Eventually([&] { return reports_.loaded() == segments; });
  }
  Result<QueryRows> QueryAt(Timestamp ts, const std::vector<SegmentId>& segments, std::vector<PartitionId> partitions = {}) {
    SealedLeg leg;
    leg.collection = kModelCollection;
    leg.segments = segments;
    leg.partitions = std::move(partitions);
    leg.view.read_ts = ts;
    return WaitFor<QueryRows>([&](auto done) { node_->Query(leg, AllRowsPlan(schema_), done); });
  }
  std::vector<int64_t> KeysAt(Timestamp ts, const std::vector<SegmentId>& segments, std::vector<PartitionId> partitions = {}) {
    const auto rows = QueryAt(ts, segments, std::move(partitions));
    EXPECT_TRUE(rows.ok()) << rows.status().ToString();
    return rows.ok() ? rows->keys.ints : std::vector<int64_t>();
  }
  IndexMeta VectorIndexMeta(IndexId id, const std::string& type) {
    IndexMeta index;
    index.id = id;
    index.field = kVectorField;
    index.name = "by_vector";
    index.type = type;
    index.metric = Metric::kL2;
    return index;
  }
  // Builds it over the segment, as an indexnode would.
  SegmentIndex Build(const SegmentMeta& meta, const IndexMeta& index) {
    const auto segment = OpenSegment(stores_->objects.get(), meta);
    EXPECT_TRUE(segment.ok());
    const auto vectors = VectorsOf(**segment, kVectorField);
    const auto built = BuildVectorIndex(index.type, index.metric, index.params, *vectors, {});
    EXPECT_TRUE(built.ok()) << built.status().ToString();
    SegmentIndex out;
    out.index = index.id;
    out.rows = meta.rows;
    out.object = "indexes/50/" + std::to_string(meta.id.value) + "/" + std::to_string(index.id.value);
    auto writer = stores_->objects->Create(out.object);
    EXPECT_TRUE((*built)->Save([&](std::string_view bytes) { return (*writer)->Append(bytes); }).ok());
    out.size_bytes = (*writer)->size();
    EXPECT_TRUE((*writer)->Finish().ok());
    return out;
  }
  std::vector<IndexId> IndexesOf(SegmentId segment) {
    const auto held = node_->LoadedSegments(kModelCollection);
    for (const LoadedSegmentInfo& info : *held) {
      if (info.segment == segment) return info.indexes;
    }
    return {};
  }
  std::shared_ptr<SearchPlan> NearestTo(int64_t key, int k) {
    auto plan = std::make_shared<SearchPlan>();
    plan->schema = schema_;
    plan->vector_field = kVectorField;
    plan->metric = Metric::kL2;
    plan->dim = kModelDim;
    plan->nq = 1;
    const ModelRow row = RowWith(key, "");
    plan->queries.assign(reinterpret_cast<const char*>(row.vector.data()), row.vector.size() * sizeof(float));
    plan->row_bytes = kModelDim * static_cast<int>(sizeof(float));
    plan->params.k = k;
    return plan;
  }
  Result<SearchHits> SearchAt(Timestamp ts, const std::vector<SegmentId>& segments, int64_t key, int k) {
    SealedLeg leg;
    leg.collection = kModelCollection;
    leg.segments = segments;
    leg.view.read_ts = ts;
    return WaitFor<SearchHits>([&](auto done) { node_->Search(leg, NearestTo(key, k), done); });
  }

  std::chrono::milliseconds linger_{0};
  TestDirectory directory_;
  std::unique_ptr<NodeStores> stores_ = std::make_unique<NodeStores>(directory_.path());
  const SchemaPtr schema_ = ModelSchema(false);
  Collection collection_;
  TestPeers peers_;
  Owner owner_;
  Reports reports_;
  std::unique_ptr<QueryNodeRole> node_;
};

TEST_F(QueryNodeTest, HoldsWhatThePlacementSays) {
  stores_->Put(Write(1, 0, 10, 100, 200));
  stores_->Put(Write(2, 10, 10, 150, 200));
  stores_->Place({SegmentId(1)});
  ASSERT_TRUE(AwaitLoaded({SegmentId(1)}));
  EXPECT_THAT(KeysAt(1000, {SegmentId(1)}), SizeIs(10));
  EXPECT_EQ(QueryAt(1000, {SegmentId(1), SegmentId(2)}).status().code(), ErrorCode::kStaleRoute);
  stores_->Place({SegmentId(1), SegmentId(2)});
  ASSERT_TRUE(AwaitLoaded({SegmentId(1), SegmentId(2)}));
  EXPECT_THAT(KeysAt(1000, {SegmentId(1), SegmentId(2)}), SizeIs(20));
  EXPECT_THAT(KeysAt(149, {SegmentId(1), SegmentId(2)}), SizeIs(10));
  const auto hits = SearchAt(1000, {SegmentId(1), SegmentId(2)}, 12, 3);
  ASSERT_TRUE(hits.ok()) << hits.status().ToString();
  ASSERT_EQ(hits->keys.ints.size(), 3u);
  EXPECT_EQ(hits->keys.ints[0], 12);
  EXPECT_EQ(hits->hits[0].segment, SegmentId(2));
  const auto fetched = WaitFor<RowBatch>([&](auto done) {
    node_->Fetch({kModelCollection, SegmentId(2), {hits->hits[0].row}, {kTextField}}, done);
  });
  ASSERT_TRUE(fetched.ok());
  EXPECT_EQ(fetched->columns[0].View().Bytes(0), "row 12");

  // Another node holds the first one from now on.
  Placement placement;
  placement.collection = kModelCollection;
  placement.loaded = true;
  placement.segments = {{SegmentId(1), {NodeId(2)}, true}, {SegmentId(2), {kThisNode}, true}};
  stores_->Put(placement);
  ASSERT_TRUE(AwaitLoaded({SegmentId(2)}));
  EXPECT_EQ(QueryAt(1000, {SegmentId(1)}).status().code(), ErrorCode::kStaleRoute);
  EXPECT_EQ(WaitFor<RowBatch>([&](auto done) {
    node_->Fetch({kModelCollection, SegmentId(1), {0}, {kTextField}}, done);
  }).status().code(), ErrorCode::kStaleRoute);
  stores_->Commit({MetaOp::Delete(PlacementKey(kModelCollection))});
  ASSERT_TRUE(AwaitLoaded({}));
  EXPECT_THAT(*node_->LoadedSegments(CollectionId()), IsEmpty());
}

// A coordinator that is elected but does not serve yet hears of it all the same.
TEST_F(QueryNodeTest, AReportThatIsNotTakenIsRepeated) {
  const SegmentMeta meta = Write(1, 0, 10, 100, 200);
  stores_->Put(meta);
  reports_.Refuse(3);
  stores_->Place({SegmentId(1)});
  ASSERT_TRUE(AwaitLoaded({SegmentId(1)}));
  const LoadedReport report = reports_.last();
  ASSERT_EQ(report.segments.size(), 1u);
  EXPECT_EQ(report.segments[0].bytes, MemoryOf(meta));
  EXPECT_GT(report.segments[0].bytes, 0);
  EXPECT_EQ(report.memory.used_bytes, report.segments[0].bytes);
  EXPECT_EQ(report.memory.limit_bytes, 1 << 30);
}

// What is on its way here is loaded before any read is sent here.
TEST_F(QueryNodeTest, LoadsWhatIsIncoming) {
  stores_->Put(Write(1, 0, 10, 100, 200));
  Placement placement;
  placement.collection = kModelCollection;
  placement.loaded = true;
  placement.segments = {{SegmentId(1), {NodeId(2)}, true, {kThisNode}}};
  stores_->Put(placement);
  ASSERT_TRUE(AwaitLoaded({SegmentId(1)}));
}

class LingeringQueryNode : public QueryNodeTest {
 protected:
  LingeringQueryNode() { linger_ = std::chrono::milliseconds(1'500); }
};

// Proxies learn of a new route a moment later than this node.
TEST_F(LingeringQueryNode, ServesTheFormerRouteAMomentLonger) {
  stores_->Put(Write(1, 0, 10, 100, 200));
  stores_->Place({SegmentId(1)});
  ASSERT_TRUE(AwaitLoaded({SegmentId(1)}));
  Placement placement;
  placement.collection = kModelCollection;
  placement.loaded = true;
  placement.segments = {{SegmentId(1), {NodeId(2)}, true, {}}};
  stores_->Put(placement);
  ASSERT_TRUE(AwaitLoaded({}));
  EXPECT_THAT(KeysAt(1000, {SegmentId(1)}), SizeIs(10));
  EXPECT_TRUE(Eventually([&] { return node_->LoadedSegments(CollectionId())->empty(); }));
  EXPECT_EQ(QueryAt(1000, {SegmentId(1)}).status().code(), ErrorCode::kStaleRoute);
  // What comes back meanwhile was never gone.
  stores_->Place({SegmentId(1)});
  ASSERT_TRUE(AwaitLoaded({SegmentId(1)}));
  stores_->Put(placement);
  ASSERT_TRUE(AwaitLoaded({}));
  stores_->Place({SegmentId(1)});
  ASSERT_TRUE(AwaitLoaded({SegmentId(1)}));
  std::this_thread::sleep_for(std::chrono::milliseconds(1'800));
  EXPECT_THAT(KeysAt(1000, {SegmentId(1)}), SizeIs(10));
}

TEST_F(QueryNodeTest, GivesUpADroppedCollection) {
  stores_->Put(Write(1, 0, 10, 100, 200));
  stores_->Place({SegmentId(1)});
  ASSERT_TRUE(AwaitLoaded({SegmentId(1)}));
  collection_.dropped = true;
  stores_->Put(collection_);
  EXPECT_TRUE(Eventually([&] { return node_->LoadedSegments(CollectionId())->empty(); }));
}

TEST_F(QueryNodeTest, ReadsOnePartitionAndNoDroppedOne) {
  stores_->Put(Write(1, 0, 2, 100, 200));
  stores_->Put(Write(2, 10, 2, 100, 200, kOtherPartition));
  stores_->Place({SegmentId(1), SegmentId(2)});
  ASSERT_TRUE(AwaitLoaded({SegmentId(1), SegmentId(2)}));
  const std::vector<SegmentId> both{SegmentId(1), SegmentId(2)};
  EXPECT_THAT(KeysAt(1000, both), ElementsAre(0, 1, 10, 11));
  EXPECT_THAT(KeysAt(1000, both, {kOtherPartition}), ElementsAre(10, 11));
  collection_.partitions.pop_back();
  stores_->Put(collection_);
  EXPECT_THAT(KeysAt(1000, both), ElementsAre(0, 1));
}

// ---- deletes

// protocol.md, rule 10: from the segment's position through the delete files to the owner's stream.
TEST_F(QueryNodeTest, ASegmentIsLoadedOnceItHasAllDeletesSinceItWasWritten) {
  owner_.Fail(Status(ErrorCode::kChannelNotAvailable, "replaying"));
  const SegmentMeta meta = Write(1, 0, 10, 100, 200);
  // The first of the file's batches is in the segment's files already; in this segment it hits nobody.
  const SegmentMeta deletes = WriteModelDeletes(*stores_, SegmentId(5), {
      {150, PartitionId(), KeysOf({9}, false)}, {300, PartitionId(), KeysOf({1}, false)},
      {310, kOtherPartition, KeysOf({2}, false)}, {320, kModelPartition, KeysOf({3}, false)}});
  stores_->Commit({MetaOp::Put(SegmentKey(kModelCollection, meta.id), Encode(meta)),
                   MetaOp::Put(SegmentKey(kModelCollection, deletes.id), Encode(deletes))});
  owner_.Delete(400, {4});
  stores_->Place({SegmentId(1)});
  ASSERT_TRUE(Eventually([&] { return !owner_.asked().empty(); }));
  EXPECT_THAT(reports_.loaded(), IsEmpty());
  EXPECT_EQ(QueryAt(1000, {SegmentId(1)}).status().code(), ErrorCode::kStaleRoute);
  owner_.Fail(Status());
  ASSERT_TRUE(AwaitLoaded({SegmentId(1)}));
  const auto asked = owner_.asked();
  for (const Timestamp after : asked) EXPECT_EQ(after, 320u);
  // No need to ask for what was known when it was loaded.
  EXPECT_THAT(KeysAt(1000, {SegmentId(1)}), ElementsAre(0, 2, 5, 6, 7, 8, 9));
  EXPECT_THAT(KeysAt(299, {SegmentId(1)}), SizeIs(10));
  EXPECT_THAT(KeysAt(300, {SegmentId(1)}), SizeIs(9));
  EXPECT_THAT(KeysAt(319, {SegmentId(1)}), SizeIs(9));
  EXPECT_THAT(KeysAt(399, {SegmentId(1)}), SizeIs(8));
  EXPECT_THAT(KeysAt(400, {SegmentId(1)}), SizeIs(7));
  EXPECT_EQ(owner_.asked().size(), asked.size());
}

TEST_F(QueryNodeTest, AReadHasTheDeletesUpToItsTimestamp) {
  stores_->Put(Write(1, 0, 5, 100, 200));
  stores_->Put(Write(2, 5, 5, 100, 200));
  stores_->Place({SegmentId(1), SegmentId(2)});
  const std::vector<SegmentId> both{SegmentId(1), SegmentId(2)};
  ASSERT_TRUE(AwaitLoaded(both));
  EXPECT_THAT(KeysAt(1000, both), SizeIs(10));
  owner_.Delete(2000, {1, 6});
  EXPECT_THAT(KeysAt(1000, both), SizeIs(10));
  EXPECT_THAT(KeysAt(2000, both), SizeIs(8));
  EXPECT_THAT(KeysAt(1999, both), SizeIs(10));
  // Beyond what the owner has applied nothing can be said.
  EXPECT_EQ(QueryAt(2001, both).status().code(), ErrorCode::kServiceUnavailable);
  owner_.Reach(2001);
  EXPECT_THAT(KeysAt(2001, both), SizeIs(8));
  peers_.datanode = nullptr;
  EXPECT_EQ(QueryAt(2002, both).status().code(), ErrorCode::kChannelNotAvailable);
  EXPECT_THAT(KeysAt(2001, both), SizeIs(8));
}

TEST_F(QueryNodeTest, WhoFellBehindReadsTheDeleteFiles) {
  stores_->Put(Write(1, 0, 10, 100, 200));
  stores_->Place({SegmentId(1)});
  ASSERT_TRUE(AwaitLoaded({SegmentId(1)}));
  owner_.Delete(2000, {1});
  owner_.Delete(2100, {2});
  owner_.Delete(2200, {3});
  owner_.ForgetUntil(2100);
  EXPECT_EQ(QueryAt(2200, {SegmentId(1)}).status().code(), ErrorCode::kStaleRoute);  // no file has them: compacted away
  stores_->Put(WriteModelDeletes(*stores_, SegmentId(5), {{2000, PartitionId(), KeysOf({1}, false)},
                                                          {2100, PartitionId(), KeysOf({2}, false)}}));
  EXPECT_THAT(KeysAt(2200, {SegmentId(1)}), ElementsAre(0, 4, 5, 6, 7, 8, 9));
  EXPECT_THAT(KeysAt(2050, {SegmentId(1)}), SizeIs(9));
}

TEST_F(QueryNodeTest, ASegmentThatIsLoadedLaterLacksNoDelete) {
  stores_->Put(Write(1, 0, 5, 100, 200));
  stores_->Place({SegmentId(1)});
  ASSERT_TRUE(AwaitLoaded({SegmentId(1)}));
  owner_.Delete(2000, {1, 6});
  EXPECT_THAT(KeysAt(2000, {SegmentId(1)}), SizeIs(4));
  // What the owner says it has applied fell back, as under a new owner that has not caught up: the second segment is
  // loaded without the delete, and gets it when it is read.
  owner_.Reach(1500);
  stores_->Put(Write(2, 5, 5, 100, 200));
  stores_->Place({SegmentId(1), SegmentId(2)});
  ASSERT_TRUE(AwaitLoaded({SegmentId(1), SegmentId(2)}));
  owner_.Reach(2000);
  EXPECT_THAT(KeysAt(2000, {SegmentId(1), SegmentId(2)}), ElementsAre(0, 2, 3, 4, 5, 7, 8, 9));
}

// A segment that has all deletes is not held up by what one that has left had yet to get: those deletes may be nowhere any
// more, neither at the owner nor in files, since a compaction applied them.
TEST_F(QueryNodeTest, WhatOnlyAReplacedSegmentLackedIsNotAskedForAgain) {
  owner_.Reach(1500);
  stores_->Put(Write(1, 0, 5, 100, 200));
  stores_->Place({SegmentId(1)});
  ASSERT_TRUE(AwaitLoaded({SegmentId(1)}));
  owner_.Delete(2000, {1});
  stores_->Put(Write(2, 2, 3, 100, 2000));  // the output of a compaction that applied the delete
  stores_->Place({SegmentId(1), SegmentId(2)});
  ASSERT_TRUE(AwaitLoaded({SegmentId(1), SegmentId(2)}));
  stores_->Place({SegmentId(2)});
  ASSERT_TRUE(AwaitLoaded({SegmentId(2)}));
  owner_.ForgetUntil(2000);
  EXPECT_THAT(KeysAt(2000, {SegmentId(2)}), ElementsAre(2, 3, 4));
  owner_.Delete(2100, {3});
  EXPECT_THAT(KeysAt(2100, {SegmentId(2)}), ElementsAre(2, 4));
}

// ---- damage

TEST_F(QueryNodeTest, ADamagedSegmentIsReportedByNameAndTheOthersAreServed) {
  const SegmentMeta damaged = Write(1, 0, 10, 100, 200);
  const std::string path = directory_.path() + "/objects/" + damaged.manifest;
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    ASSERT_TRUE(file.good()) << path;
    file.seekp(20);
    file.put('\x7f');
    file.put('\x7f');
  }
  SegmentMeta missing = Write(2, 0, 10, 100, 200);
  ASSERT_TRUE(stores_->objects->Delete(missing.manifest).ok());
  const SegmentMeta sound = Write(3, 0, 10, 100, 200);
  for (const SegmentMeta& meta : {damaged, missing, sound}) stores_->Put(meta);
  stores_->Place({SegmentId(1), SegmentId(2), SegmentId(3)});
  ASSERT_TRUE(AwaitLoaded({SegmentId(3)}));
  ASSERT_TRUE(Eventually([&] { return !reports_.failed(SegmentId(2)).empty(); }));
  EXPECT_EQ(reports_.failed(SegmentId(1))[0].code(), ErrorCode::kCorrupted);
  EXPECT_THAT(reports_.failed(SegmentId(1))[0].message(), HasSubstr(damaged.manifest));
  EXPECT_EQ(reports_.failed(SegmentId(2))[0].code(), ErrorCode::kIoKeyNotFound);
  EXPECT_THAT(KeysAt(1000, {SegmentId(3)}), SizeIs(10));
  // It is tried again, not all the time.
  std::this_thread::sleep_for(std::chrono::milliseconds(900));
  EXPECT_GE(reports_.failed(SegmentId(1)).size(), 2u);
  EXPECT_LE(reports_.failed(SegmentId(1)).size(), 6u);
}

// ---- indexes

TEST_F(QueryNodeTest, AttachesIndexesAsTheyComeAndGo) {
  collection_.indexes = {VectorIndexMeta(IndexId(81), "HNSW")};
  stores_->Put(collection_);
  SegmentMeta meta = Write(1, 0, 300, 100, 200);
  stores_->Put(meta);
  stores_->Place({SegmentId(1)});
  ASSERT_TRUE(AwaitLoaded({SegmentId(1)}));
  EXPECT_THAT(IndexesOf(SegmentId(1)), IsEmpty());
  const auto exact = SearchAt(1000, {SegmentId(1)}, 17, 5);
  ASSERT_TRUE(exact.ok());
  meta.indexes = {Build(meta, collection_.indexes[0])};
  stores_->Put(meta);
  ASSERT_TRUE(Eventually([&] { return IndexesOf(SegmentId(1)) == std::vector<IndexId>{IndexId(81)}; }));
  const auto indexed = SearchAt(1000, {SegmentId(1)}, 17, 5);
  ASSERT_TRUE(indexed.ok());
  EXPECT_EQ(indexed->keys.ints, exact->keys.ints);
  const int64_t with_index = node_->LoadedSegments(kModelCollection)->at(0).memory_bytes;

  // Another index on the same field in its place, in one change.
  const IndexMeta other = VectorIndexMeta(IndexId(82), "IVF_FLAT");
  collection_.indexes = {other};
  meta.indexes = {Build(meta, other)};
  stores_->Commit({MetaOp::Put(CollectionKey(collection_.id), Encode(collection_)),
                   MetaOp::Put(SegmentKey(kModelCollection, meta.id), Encode(meta))});
  ASSERT_TRUE(Eventually([&] { return IndexesOf(SegmentId(1)) == std::vector<IndexId>{IndexId(82)}; }));
  const int64_t with_other = node_->LoadedSegments(kModelCollection)->at(0).memory_bytes;
  collection_.indexes.clear();
  meta.indexes.clear();
  stores_->Commit({MetaOp::Put(CollectionKey(collection_.id), Encode(collection_)),
                   MetaOp::Put(SegmentKey(kModelCollection, meta.id), Encode(meta))});
  ASSERT_TRUE(Eventually([&] { return IndexesOf(SegmentId(1)).empty(); }));
  const int64_t without = node_->LoadedSegments(kModelCollection)->at(0).memory_bytes;
  EXPECT_LT(without, with_index);
  EXPECT_LT(without, with_other) << "the second index was detached together with the first";
  EXPECT_EQ(SearchAt(1000, {SegmentId(1)}, 17, 5)->keys.ints, exact->keys.ints);
}

TEST_F(QueryNodeTest, SearchesWithoutADamagedIndex) {
  collection_.indexes = {VectorIndexMeta(IndexId(81), "HNSW")};
  stores_->Put(collection_);
  SegmentMeta meta = Write(1, 0, 100, 100, 200);
  meta.indexes = {Build(meta, collection_.indexes[0])};
  ASSERT_TRUE(stores_->objects->Put(meta.indexes[0].object, std::string(100, 'x')).ok());
  stores_->Put(meta);
  stores_->Place({SegmentId(1)});
  ASSERT_TRUE(AwaitLoaded({SegmentId(1)}));
  EXPECT_THAT(IndexesOf(SegmentId(1)), IsEmpty());
  EXPECT_EQ(SearchAt(1000, {SegmentId(1)}, 17, 1)->keys.ints, (std::vector<int64_t>{17}));
}

// ---- at once

// Deletes arrive, segments come and go, and whoever reads at T misses no delete up to T.
TEST_F(QueryNodeTest, ReadsAreCompleteWhileSegmentsComeAndGo) {
  constexpr int64_t kSegments = 4;
  constexpr int64_t kRows = 200;
  std::vector<SegmentId> all;
  for (int64_t i = 0; i < kSegments; ++i) {
    stores_->Put(Write(i + 1, i * kRows, kRows, 100, 200));
    all.emplace_back(i + 1);
  }
  stores_->Place(all);
  ASSERT_TRUE(AwaitLoaded(all));
  std::atomic<bool> done{false};
  std::atomic<int64_t> deleted{0};  // this many of each segment's keys, from the lowest on, at 2000 + i
  std::atomic<int64_t> reads{0};
  std::vector<std::thread> threads;
  for (int r = 0; r < 3; ++r) {
    threads.emplace_back([&, r] {
      while (!done) {
        const int64_t gone = deleted;
        const Timestamp ts = gone == 0 ? 1000 : 2000 + static_cast<Timestamp>(gone) - 1;
        const std::vector<SegmentId> segments{all[static_cast<size_t>(r)], all[3]};
        const auto rows = QueryAt(ts, segments);
        if (!rows.ok()) {
          EXPECT_EQ(rows.status().code(), ErrorCode::kStaleRoute) << rows.status().ToString();
          continue;
        }
        EXPECT_EQ(rows->keys.size(), 2 * (kRows - gone));
        const auto hits = SearchAt(ts, segments, r * kRows, 1);
        if (hits.ok() && gone > 0) {
          EXPECT_NE(hits->keys.ints[0], r * kRows);
        }
        ++reads;
      }
    });
  }
  for (int64_t i = 0; i < kRows / 2; ++i) {
    std::vector<int64_t> keys;
    for (int64_t s = 0; s < kSegments; ++s) keys.push_back(s * kRows + i);
    owner_.Delete(2000 + static_cast<Timestamp>(i), keys);
    deleted = i + 1;
    if (i % 10 == 3) stores_->Place({all[3]});
    if (i % 10 == 6) stores_->Place({all[0], all[1]});
    if (i % 10 == 9) stores_->Place(all);
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
  }
  stores_->Place(all);
  ASSERT_TRUE(AwaitLoaded(all));
  const int64_t before = reads;
  EXPECT_TRUE(Eventually([&] { return reads > before + 20; }));
  done = true;
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace saker
