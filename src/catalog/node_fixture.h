// For tests of the nodes: the embedded stores in a directory that goes with the test, a catalog that follows them, what
// coordinators would write there, and peers that do nothing unless a test says so.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "catalog/catalog.h"
#include "meta/generation_store.h"
#include "meta/id_allocator.h"
#include "meta/keys.h"
#include "roles/peers.h"
#include "segment/segment_fixture.h"

namespace saker {

inline constexpr NodeId kThisNode{1};
inline constexpr CollectionId kModelCollection{50};
inline constexpr PartitionId kModelPartition{60};
inline constexpr PartitionId kOtherPartition{61};
inline constexpr IndexId kModelIndex{80};

class TestDirectory {
 public:
  TestDirectory() {
    static std::atomic<int> count{0};
    path_ = std::filesystem::temp_directory_path() /
            ("saker_node_" + std::to_string(getpid()) + "_" + std::to_string(++count) + "_" + std::to_string(MonotonicUs()));
    std::filesystem::create_directories(path_);
  }
  ~TestDirectory() { std::filesystem::remove_all(path_); }
  TestDirectory(const TestDirectory&) = delete;
  std::string path() const { return path_.string(); }
  // What a kill at this moment would leave behind of one part: everything the process has written.
  void CopyTo(const TestDirectory& other, const std::string& part) const {
    namespace fs = std::filesystem;
    std::error_code ignored;  // files come and go
    for (const auto& entry : fs::recursive_directory_iterator(path_ / part)) {
      const fs::path to = other.path_ / fs::relative(entry.path(), path_);
      fs::create_directories(entry.is_directory() ? to : to.parent_path());
      if (entry.is_regular_file()) fs::copy_file(entry.path(), to, fs::copy_options::overwrite_existing, ignored);
    }
  }

 private:
  std::filesystem::path path_;
};

// True once `condition` holds; false if it doesn't within `timeout`.
template <typename Condition>
bool Eventually(Condition condition, std::chrono::milliseconds timeout = std::chrono::seconds(20)) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// Starts an asynchronous call and waits for its answer.
template <typename Reply, typename Start>
Result<Reply> WaitFor(Start start) {
  auto promise = std::make_shared<std::promise<Result<Reply>>>();
  auto future = promise->get_future();
  start([promise](Result<Reply> reply) { promise->set_value(std::move(reply)); });
  if (future.wait_for(std::chrono::seconds(60)) != std::future_status::ready) {
    ADD_FAILURE() << "never answered";
    return Status(ErrorCode::kDeadlineExceeded, "never answered");
  }
  return future.get();
}

// One partition "_default" and one "other" unless told otherwise; all of it on one shard, channel 0.
inline Collection ModelCollection(bool loaded, const SchemaPtr& schema) {
  Collection collection;
  collection.id = kModelCollection;
  collection.database = DatabaseId(1);
  collection.name = "model";
  collection.schema = schema;
  collection.version = 1;
  collection.created = collection.updated = 1;
  collection.shards = {0};
  collection.partitions = {{kModelPartition, "_default", 1}, {kOtherPartition, "other", 1}};
  collection.load.loaded = collection.load.whole = loaded;
  return collection;
}

inline ModelRow RowWith(int64_t key, std::string text) {
  ModelRow row;
  row.key = key;
  row.text = std::move(text);
  row.number = static_cast<int32_t>(key % 1000);
  for (int i = 0; i < kModelDim; ++i) row.vector.push_back(static_cast<float>(i == 0 ? key % 100'000 : (key * (i + 7)) % 13));
  return row;
}

// Several connections to one embedded store.
class SharedStore final : public MetaStore {
 public:
  explicit SharedStore(std::shared_ptr<MetaStore> real) : real_(std::move(real)) {}
  Result<RangeResult> Range(const std::string& prefix, Revision at) override { return real_->Range(prefix, at); }
  Result<KeyValue> Get(const std::string& key, Revision at) override { return real_->Get(key, at); }
  Result<Revision> Commit(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops) override {
    return real_->Commit(compares, ops);
  }
  Result<std::unique_ptr<Watch>> WatchPrefix(const std::string& prefix, Revision from, OnWatch on_batch) override {
    return real_->WatchPrefix(prefix, from, std::move(on_batch));
  }
  Result<LeaseId> Grant(std::chrono::seconds ttl) override { return real_->Grant(ttl); }
  Status KeepAlive(LeaseId lease) override { return real_->KeepAlive(lease); }
  Status Revoke(LeaseId lease) override { return real_->Revoke(lease); }
  bool LeasesExpire() const override { return real_->LeasesExpire(); }
  Result<Revision> CurrentRevision() override { return real_->CurrentRevision(); }
  Status Compact(Revision revision) override { return real_->Compact(revision); }

 private:
  const std::shared_ptr<MetaStore> real_;
};

// What a process has of the metadata: stores, pools, catalog. Made anew on the same directory it is the process after a
// restart.
class NodeStores {
 public:
  explicit NodeStores(const std::string& directory, bool with_generations = false) {
    meta = with_generations ? Generations(directory) : Rocksdb(directory);
    auto store = OpenDirectoryStore(directory + "/objects");
    EXPECT_TRUE(store.ok()) << store.status().ToString();
    objects = std::move(*store);
    ids = std::make_unique<IdAllocator>(meta.get());
    catalog = std::make_unique<Catalog>(meta.get(), control.get(), timer.get());
    EXPECT_TRUE(catalog->Start(/*with_segments=*/true).ok());
  }
  ~NodeStores() {
    StopPools();
    catalog->Stop();
  }
  // No task runs any more: what tasks use may go.
  void StopPools() {
    timer->Stop();
    for (auto* pool : {search.get(), build.get(), io.get(), control.get()}) pool->Stop();
  }

  static std::unique_ptr<MetaStore> Rocksdb(const std::string& directory) {
    auto opened = OpenRocksdbStore({directory + "/meta"});
    EXPECT_TRUE(opened.ok()) << opened.status().ToString();
    return opened.ok() ? std::move(*opened) : nullptr;
  }
  // A new generation has the keys of the last one, but for `brought_back`.
  std::unique_ptr<MetaStore> Generations(const std::string& directory) {
    const std::shared_ptr<MetaStore> shared = Rocksdb(directory);
    GenerationStoreSettings settings;
    settings.open = [shared]() -> Result<std::unique_ptr<MetaStore>> {
      return std::unique_ptr<MetaStore>(std::make_unique<SharedStore>(shared));
    };
    settings.rebuild = [this](const GenerationStoreSettings::Under& under, int64_t above) -> Result<int64_t> {
      std::map<std::string, std::string> keys = brought_back;
      ASSIGN_OR_RETURN(const RangeResult last, under(above)->Range("", 0));
      for (const KeyValue& kv : last.kvs) keys.emplace(kv.key, kv.value);
      for (const auto& [key, value] : keys) RETURN_IF_ERROR(under(above + 1)->Commit({}, {MetaOp::Put(key, value)}).status());
      return above + 1;
    };
    auto store = std::move(*GenerationStore::Open(settings));
    generations = store.get();
    EXPECT_TRUE(Eventually([&] { return generations->Ready().ok(); })) << generations->Ready().message();
    return store;
  }

  Revision Commit(std::vector<MetaOp> ops) {
    auto revision = meta->Commit({}, ops);
    EXPECT_TRUE(revision.ok()) << revision.status().ToString();
    EXPECT_TRUE(catalog->WaitFor(*revision, std::chrono::seconds(10)).ok());
    return *revision;
  }
  Revision Put(const Collection& collection) { return Commit({MetaOp::Put(CollectionKey(collection.id), Encode(collection))}); }
  Revision Put(const SegmentMeta& meta_value) {
    return Commit({MetaOp::Put(SegmentKey(meta_value.collection, meta_value.id), Encode(meta_value))});
  }
  Revision Put(const Placement& placement) {
    return Commit({MetaOp::Put(PlacementKey(placement.collection), Encode(placement))});
  }
  Revision Put(const TaskSpec& task) { return Commit({MetaOp::Put(TaskKey(task.id), Encode(task))}); }
  Revision Put(const ChannelAssignment& assignment) {
    return Commit({MetaOp::Put(ChannelKey(assignment.channel), Encode(assignment))});
  }
  // A placement of these segments here; its version.
  int64_t Place(const std::vector<SegmentId>& segments, bool serving = true, CollectionId collection = kModelCollection) {
    Placement placement;
    placement.collection = collection;
    placement.loaded = true;
    for (const SegmentId segment : segments) placement.segments.push_back({segment, {kThisNode}, serving});
    return Put(placement);
  }
  int64_t NextId() { return *ids->Next(1); }

  std::unique_ptr<ThreadPool> search = std::make_unique<ThreadPool>("search", 2);
  std::unique_ptr<ThreadPool> control = std::make_unique<ThreadPool>("control", 4);
  std::unique_ptr<ThreadPool> io = std::make_unique<ThreadPool>("io", 4);
  std::unique_ptr<ThreadPool> build = std::make_unique<ThreadPool>("build", 1);
  std::unique_ptr<Timer> timer = std::make_unique<Timer>(control.get());
  std::map<std::string, std::string> brought_back;  // by the next generation
  GenerationStore* generations = nullptr;           // meta, if it has them
  std::unique_ptr<MetaStore> meta;
  std::unique_ptr<ObjectStore> objects;
  std::unique_ptr<IdAllocator> ids;
  std::unique_ptr<Catalog> catalog;
};

// ---- peers that do nothing

inline Status NotInThisTest() { return {ErrorCode::kUnimplemented, "not in this test"}; }

class IdleDataCoord : public DataCoord {
 public:
  Result<FlushResult> Flush(CollectionId) override { return NotInThisTest(); }
  Result<bool> IsFlushed(CollectionId, Timestamp, const std::vector<SegmentId>&) override { return NotInThisTest(); }
  Result<int64_t> Compact(CollectionId) override { return NotInThisTest(); }
  Result<CompactionState> GetCompactionState(int64_t) override { return NotInThisTest(); }
  Result<int64_t> RowCount(CollectionId, PartitionId) override { return NotInThisTest(); }
  Result<std::vector<SegmentReport>> Segments(CollectionId) override { return NotInThisTest(); }
  Result<Revision> CommitFlush(ChannelId, Epoch, const std::vector<SegmentMeta>&) override { return NotInThisTest(); }
  Status ReportSealed(ChannelId, Epoch, CollectionId, Timestamp) override { return NotInThisTest(); }
  Status ReportChannelLost(ChannelId, NodeId, Epoch) override { return {}; }
  Status ReportCheckpoint(ChannelId, Epoch, int64_t) override { return {}; }
  Status ReportCompaction(int64_t, Result<SegmentMeta>) override { return NotInThisTest(); }
  Status ReportHandedOver(ChannelId, Epoch) override { return NotInThisTest(); }
  Status DrainNode(NodeId, bool) override { return NotInThisTest(); }
  Result<DrainProgress> GetDrainProgress(NodeId) override { return NotInThisTest(); }
};

class IdleQueryCoord : public QueryCoord {
 public:
  Result<Revision> Load(CollectionId, const std::vector<PartitionId>&, int32_t, const std::vector<FieldId>&,
                        const std::vector<std::string>&) override {
    return NotInThisTest();
  }
  Result<Revision> Release(CollectionId, const std::vector<PartitionId>&) override { return NotInThisTest(); }
  Result<LoadProgress> Progress(CollectionId, const std::vector<PartitionId>&) override { return NotInThisTest(); }
  Status ReportLoaded(const LoadedReport&) override { return {}; }
  Status ReportLoadFailed(NodeId, CollectionId, SegmentId, const Status&) override { return {}; }
  Status DrainNode(NodeId, bool) override { return NotInThisTest(); }
  Result<DrainProgress> GetDrainProgress(NodeId) override { return NotInThisTest(); }
  Result<Revision> CreateResourceGroup(const std::string&, const ResourceGroupLimits&) override { return NotInThisTest(); }
  Result<Revision> UpdateResourceGroups(const std::map<std::string, ResourceGroupLimits>&) override { return NotInThisTest(); }
  Result<Revision> DropResourceGroup(const std::string&) override { return NotInThisTest(); }
  Result<Revision> TransferNode(const std::string&, const std::string&, int32_t) override { return NotInThisTest(); }
  Result<Revision> TransferReplica(const std::string&, const std::string&, CollectionId, int32_t) override { return NotInThisTest(); }
  Result<ResourceGroupState> DescribeResourceGroup(const std::string&) override { return NotInThisTest(); }
};

class IdleIndexCoord : public IndexCoord {
 public:
  Result<Revision> CreateIndex(CollectionId, const IndexMeta&) override { return NotInThisTest(); }
  Result<Revision> DropIndex(CollectionId, const std::string&) override { return NotInThisTest(); }
  Result<Revision> AlterIndex(CollectionId, const std::string&, const KeyValues&, const std::vector<std::string>&) override {
    return NotInThisTest();
  }
  Result<IndexProgress> Progress(CollectionId, IndexId) override { return NotInThisTest(); }
  Status ReportIndex(int64_t, Result<SegmentIndex>) override { return NotInThisTest(); }
  Status DrainNode(NodeId, bool) override { return NotInThisTest(); }
  Result<DrainProgress> GetDrainProgress(NodeId) override { return NotInThisTest(); }
};

class IdleDataNode : public DataNode {
 public:
  void Write(WriteRequest, Callback<WriteResponse> done) override { done(NotInThisTest()); }
  void BeginRead(const ReadPointRequest&, Callback<ReadPoint> done) override { done(NotInThisTest()); }
  void Search(const GrowingLeg&, std::shared_ptr<const SearchPlan>, Callback<SearchHits> done) override { done(NotInThisTest()); }
  void Query(const GrowingLeg&, std::shared_ptr<const QueryPlan>, Callback<QueryRows> done) override { done(NotInThisTest()); }
  void Fetch(const FetchRequest&, Callback<RowBatch> done) override { done(NotInThisTest()); }
  Result<DeleteStream> Deletes(const DeleteStreamRequest&) override { return NotInThisTest(); }
  Result<std::vector<GrowingSegmentInfo>> GrowingSegments(CollectionId) override { return std::vector<GrowingSegmentInfo>(); }
  Result<Timestamp> OldestPin(CollectionId) override { return kMaxTimestamp; }
  Status BarrierCollection(CollectionId, const std::vector<ChannelId>&, int64_t, bool, const std::vector<PartitionId>&) override {
    return NotInThisTest();
  }
};

// Whoever is set is there.
class TestPeers final : public Peers {
 public:
  RootCoord* root_coord() override { return nullptr; }
  DataCoord* data_coord() override { return data; }
  QueryCoord* query_coord() override { return query; }
  IndexCoord* index_coord() override { return index; }
  DataNode* data_node(NodeId node) override { return node == kThisNode ? datanode.load() : nullptr; }
  QueryNode* query_node(NodeId) override { return nullptr; }
  std::vector<NodeId> data_nodes() override { return nodes(); }
  std::vector<NodeId> query_nodes() override { return nodes(); }
  std::vector<NodeId> index_nodes() override { return nodes(); }
  std::vector<NodeId> nodes() {
    MutexLock lock(mutex_);
    return nodes_;
  }
  void SetNodes(std::vector<NodeId> nodes) {
    MutexLock lock(mutex_);
    nodes_ = std::move(nodes);
  }

  std::atomic<DataCoord*> data{nullptr};
  std::atomic<QueryCoord*> query{nullptr};
  std::atomic<IndexCoord*> index{nullptr};
  std::atomic<DataNode*> datanode{nullptr};

 private:
  Mutex mutex_;
  std::vector<NodeId> nodes_ GUARDED_BY(mutex_) = {kThisNode};
};

// ---- sealed segments

// Writes these batches, each at its timestamp, as a committed segment whose files have the deletes up to
// `deletes_until`.
inline SegmentMeta WriteModelSegment(NodeStores& stores, SegmentId id, const SchemaPtr& schema,
                                     const std::vector<std::pair<Timestamp, ModelRows>>& batches, Timestamp deletes_until,
                                     PartitionId partition = kModelPartition, const std::vector<DeleteBatch>& deletes = {}) {
  const auto growing = NewGrowingSegment(id, partition, schema);
  for (const auto& [ts, rows] : batches) growing->Append(BatchOf(*schema, rows), ts);
  for (const DeleteBatch& batch : deletes) growing->Delete(batch);
  SegmentWriteRequest request;
  request.store = stores.objects.get();
  request.prefix = "segments/" + std::to_string(kModelCollection.value) + "/" + std::to_string(id.value) + "/e1-" +
                   std::to_string(MonotonicUs());
  request.id = id;
  request.partition = partition;
  request.schema = schema;
  request.sources = {growing};
  request.deletes_until = deletes_until;
  const auto files = WriteSegment(request);
  EXPECT_TRUE(files.ok()) << files.status().ToString();
  SegmentMeta meta;
  meta.id = id;
  meta.collection = kModelCollection;
  meta.partition = partition;
  meta.rows = files->rows;
  meta.size_bytes = files->size_bytes;
  meta.min_ts = files->min_ts;
  meta.max_ts = files->max_ts;
  meta.deletes_until = deletes_until;
  meta.epoch = 1;
  meta.manifest = files->manifest;
  return meta;
}

inline SegmentMeta WriteModelDeletes(NodeStores& stores, SegmentId id, const std::vector<DeleteBatch>& batches) {
  const std::string prefix = "segments/" + std::to_string(kModelCollection.value) + "/" + std::to_string(id.value) + "/e1-" +
                             std::to_string(MonotonicUs());
  const auto files = WriteDeletes(stores.objects.get(), prefix, id, batches);
  EXPECT_TRUE(files.ok()) << files.status().ToString();
  SegmentMeta meta;
  meta.id = id;
  meta.collection = kModelCollection;
  meta.kind = SegmentKind::kDeletes;
  meta.rows = files->rows;
  meta.min_ts = batches.front().ts;
  meta.max_ts = batches.back().ts;
  meta.deletes_until = batches.back().ts;
  meta.epoch = 1;
  meta.manifest = files->manifest;
  return meta;
}

// Everything visible at `ts` with its text, through a query.
inline std::shared_ptr<const QueryPlan> AllRowsPlan(const SchemaPtr& schema, bool count_only = false) {
  auto plan = std::make_shared<QueryPlan>();
  plan->schema = schema;
  plan->count_only = count_only;
  if (!count_only) plan->output_fields = {kKeyField, kTextField};
  return plan;
}

inline std::map<int64_t, std::string> TextsOf(const QueryRows& rows) {
  std::map<int64_t, std::string> out;
  if (rows.rows.rows == 0) return out;
  const ColumnView texts = rows.rows.Find(kTextField)->View();
  for (int64_t i = 0; i < rows.keys.size(); ++i) out[rows.keys.ints[static_cast<size_t>(i)]] = std::string(texts.Bytes(i));
  return out;
}

}  // namespace saker
