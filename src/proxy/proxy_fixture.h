// For tests: a proxy with a real catalog and real segments, but nodes that misbehave on demand.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <future>
#include <map>

#include "meta/keys.h"
#include "proxy/proxy.h"
#include "proxy/service.h"
#include "segment/segment.h"

namespace saker {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

inline constexpr NodeId kNode{1};
inline const DatabaseId kDatabase{1};
inline const CollectionId kCollection{50};
inline const PartitionId kPartition{60};

// Holds segments like a datanode or a querynode; faults are queued and answered first.
class FakeNode final : public DataNode, public QueryNode {
 public:
  HybridClock clock;
  std::vector<std::shared_ptr<GrowingSegment>> growing, sealed;
  std::vector<WriteRequest> writes;
  std::vector<Status> write_faults, growing_faults, sealed_faults, fetch_faults;
  std::vector<ReadPointRequest> read_points;
  std::vector<ReadView> views;
  Timestamp behind = 0;   // how far BeginRead stays behind unless Strong
  int growing_legs = 0;
  std::vector<PartitionId> leg_partitions;  // of the last growing leg

  void Write(WriteRequest request, Callback<WriteResponse> done) override {
    if (auto fault = Next(write_faults); !fault.ok()) return done(fault);
    const Timestamp ts = clock.Next();
    for (ShardWrite& write : request.shards) {
      if (write.deletes.size() > 0) {
        for (auto* list : {&growing, &sealed}) {
          for (auto& segment : *list) segment->Delete({ts, write.delete_partition, write.deletes});
        }
      }
      for (auto& [partition, batch] : write.inserts) growing.front()->Append(batch, ts);
    }
    writes.push_back(std::move(request));
    done(WriteResponse{ts});
  }
  void BeginRead(const ReadPointRequest& request, Callback<ReadPoint> done) override {
    read_points.push_back(request);
    const Timestamp now = clock.Next();
    done(ReadPoint{request.level == ConsistencyLevel::kStrong ? now : now - behind});
  }
  void Search(const GrowingLeg& leg, std::shared_ptr<const SearchPlan> plan, Callback<SearchHits> done) override {
    ++growing_legs;
    leg_partitions = leg.partitions;
    if (auto fault = Next(growing_faults); !fault.ok()) return done(fault);
    done(SearchAll(growing, leg.view, *plan));
  }
  void Query(const GrowingLeg& leg, std::shared_ptr<const QueryPlan> plan, Callback<QueryRows> done) override {
    ++growing_legs;
    leg_partitions = leg.partitions;
    if (auto fault = Next(growing_faults); !fault.ok()) return done(fault);
    done(QueryAll(growing, leg.view, *plan));
  }
  void Search(const SealedLeg& leg, std::shared_ptr<const SearchPlan> plan, Callback<SearchHits> done) override {
    if (auto fault = Next(sealed_faults); !fault.ok()) return done(fault);
    done(SearchAll(sealed, leg.view, *plan));
  }
  void Query(const SealedLeg& leg, std::shared_ptr<const QueryPlan> plan, Callback<QueryRows> done) override {
    if (auto fault = Next(sealed_faults); !fault.ok()) return done(fault);
    done(QueryAll(sealed, leg.view, *plan));
  }
  void Fetch(const FetchRequest& request, Callback<RowBatch> done) override {
    if (auto fault = Next(fetch_faults); !fault.ok()) return done(fault);
    for (auto* list : {&growing, &sealed}) {
      for (auto& segment : *list) {
        if (segment->id() == request.segment) return done(FetchRows(*segment, segment->schema(), request.rows, request.fields));
      }
    }
    done(Status(ErrorCode::kStaleRoute, "no such segment"));
  }
  Result<DeleteStream> Deletes(const DeleteStreamRequest&) override { return DeleteStream{}; }
  Result<std::vector<GrowingSegmentInfo>> GrowingSegments(CollectionId) override { return std::vector<GrowingSegmentInfo>(); }
  Result<Timestamp> OldestPin(CollectionId) override { return kMaxTimestamp; }
  Status BarrierCollection(CollectionId, const std::vector<ChannelId>&, int64_t, bool, const std::vector<PartitionId>&) override { return {}; }
  Result<std::vector<LoadedSegmentInfo>> LoadedSegments(CollectionId) override { return std::vector<LoadedSegmentInfo>(); }

 private:
  static Status Next(std::vector<Status>& faults) {
    if (faults.empty()) return {};
    Status first = faults.front();
    faults.erase(faults.begin());
    return first;
  }
  Result<SearchHits> SearchAll(const std::vector<std::shared_ptr<GrowingSegment>>& segments, const ReadView& view, const SearchPlan& plan) {
    views.push_back(view);
    std::vector<SearchHits> parts;
    for (const auto& segment : segments) {
      ASSIGN_OR_RETURN(SearchHits hits, SearchSegment(plan, *segment, view));
      parts.push_back(std::move(hits));
    }
    return MergeHits(plan, std::move(parts));
  }
  Result<QueryRows> QueryAll(const std::vector<std::shared_ptr<GrowingSegment>>& segments, const ReadView& view, const QueryPlan& plan) {
    views.push_back(view);
    std::vector<QueryRows> parts;
    for (const auto& segment : segments) {
      ASSIGN_OR_RETURN(QueryRows rows, QuerySegment(plan, *segment, view));
      parts.push_back(std::move(rows));
    }
    return MergeRows(plan, std::move(parts));
  }
};

// Coordinators that only give ids, count rows and note loads.
class FakeCoords final : public RootCoord, public DataCoord, public QueryCoord {
 public:
  int64_t next_id = 1'000;
  int blocks = 0;
  int64_t rows = 0;
  std::function<Revision()> on_load;
  std::vector<std::string> dropped;

  using KV = KeyValues;
  using SV = std::vector<std::string>;
  static Status No() { return {ErrorCode::kUnimplemented, "not in this test"}; }
  Result<Revision> Drop(const std::string& name) {
    dropped.push_back(name);
    return Revision{1};
  }
  Result<Revision> CreateDatabase(const std::string&, const KV&) override { return No(); }
  Result<Revision> DropDatabase(const std::string& name) override { return Drop(name); }
  Result<Revision> AlterDatabase(const std::string&, const KV&, const SV&) override { return No(); }
  Result<Revision> CreateCollection(const CollectionDraft&) override { return No(); }
  Result<Revision> DropCollection(const std::string&, const std::string& name) override { return Drop(name); }
  Result<Revision> RenameCollection(const std::string&, const std::string&, const std::string&, const std::string&) override { return No(); }
  Result<Revision> AlterCollection(CollectionId, const KV&, const SV&) override { return No(); }
  Result<Revision> AlterField(CollectionId, const std::string&, const KV&, const SV&) override { return No(); }
  Result<Revision> AddField(CollectionId, const FieldSchema&) override { return No(); }
  Result<Revision> CreatePartition(CollectionId, const std::string&) override { return No(); }
  Result<Revision> DropPartition(CollectionId, const std::string& name) override { return Drop(name); }
  Result<Revision> CreateAlias(const std::string&, const std::string&, const std::string&) override { return No(); }
  Result<Revision> DropAlias(const std::string&, const std::string&) override { return No(); }
  Result<Revision> AlterAlias(const std::string&, const std::string&, const std::string&) override { return No(); }
  Result<Revision> CreateUser(const User&) override { return No(); }
  Result<Revision> UpdateUser(const User&) override { return No(); }
  Result<Revision> DropUser(const std::string&) override { return No(); }
  Result<Revision> CreateRole(const std::string&) override { return No(); }
  Result<Revision> DropRole(const std::string&, bool) override { return No(); }
  Result<Revision> AddUserToRole(const std::string&, const std::string&) override { return No(); }
  Result<Revision> RemoveUserFromRole(const std::string&, const std::string&) override { return No(); }
  Result<Revision> GrantPrivilege(const Grant&) override { return No(); }
  Result<Revision> RevokePrivilege(const Grant&) override { return No(); }
  Result<int64_t> AllocateIds(int64_t count) override {
    ++blocks;
    return std::exchange(next_id, next_id + count);
  }
  Result<Revision> Load(CollectionId, const std::vector<PartitionId>&, int32_t, const std::vector<FieldId>&,
                        const std::vector<std::string>&) override {
    if (on_load) return on_load();
    return No();
  }
  Result<Revision> Release(CollectionId, const std::vector<PartitionId>&) override { return No(); }
  Result<LoadProgress> Progress(CollectionId, const std::vector<PartitionId>&) override { return No(); }
  Result<FlushResult> Flush(CollectionId) override { return No(); }
  Result<bool> IsFlushed(CollectionId, Timestamp, const std::vector<SegmentId>&) override { return No(); }
  Result<int64_t> Compact(CollectionId) override { return No(); }
  Result<CompactionState> GetCompactionState(int64_t) override { return No(); }
  Result<int64_t> RowCount(CollectionId, PartitionId) override { return rows; }
  Result<std::vector<SegmentReport>> Segments(CollectionId) override { return No(); }
  Result<Revision> CommitFlush(ChannelId, Epoch, const std::vector<SegmentMeta>&) override { return No(); }
  Status ReportSealed(ChannelId, Epoch, CollectionId, Timestamp) override { return No(); }
  Status ReportChannelLost(ChannelId, NodeId, Epoch) override { return {}; }
  Status ReportCheckpoint(ChannelId, Epoch, int64_t) override { return {}; }
  Status ReportCompaction(int64_t, Result<SegmentMeta>) override { return No(); }
  Status ReportLoaded(const LoadedReport&) override { return {}; }
  Status ReportLoadFailed(NodeId, CollectionId, SegmentId, const Status&) override { return {}; }
  Status ReportHandedOver(ChannelId, Epoch) override { return No(); }
  Status DrainNode(NodeId, bool) override { return No(); }
  Result<DrainProgress> GetDrainProgress(NodeId) override { return No(); }
  Result<Revision> CreateResourceGroup(const std::string&, const ResourceGroupLimits&) override { return No(); }
  Result<Revision> UpdateResourceGroups(const std::map<std::string, ResourceGroupLimits>&) override { return No(); }
  Result<Revision> DropResourceGroup(const std::string&) override { return No(); }
  Result<Revision> TransferNode(const std::string&, const std::string&, int32_t) override { return No(); }
  Result<Revision> TransferReplica(const std::string&, const std::string&, CollectionId, int32_t) override { return No(); }
  Result<ResourceGroupState> DescribeResourceGroup(const std::string&) override { return No(); }
};

class FakePeers final : public Peers {
 public:
  FakeNode node;
  FakeCoords coords;
  bool node_there = true;
  bool root_there = true;
  RootCoord* root_coord() override { return root_there ? &coords : nullptr; }
  DataCoord* data_coord() override { return &coords; }
  QueryCoord* query_coord() override { return &coords; }
  IndexCoord* index_coord() override { return nullptr; }
  DataNode* data_node(NodeId id) override { return node_there && id == kNode ? &node : nullptr; }
  QueryNode* query_node(NodeId id) override { return node_there && id == kNode ? &node : nullptr; }
  std::vector<NodeId> data_nodes() override { return {kNode}; }
  std::vector<NodeId> query_nodes() override { return {kNode}; }
  std::vector<NodeId> index_nodes() override { return {}; }
};

class ProxyPaths : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::temp_directory_path() / ("saker_proxy_" + std::to_string(getpid()) + "_" + std::to_string(MonotonicUs()));
    auto store = OpenRocksdbStore({directory_.string()});
    ASSERT_TRUE(store.ok()) << store.status().message();
    store_ = std::move(*store);
    MakeCollection();
    Put(DatabaseKey(kDatabase), Encode(Database{kDatabase, "default", {}, 1}));
    ChannelAssignment channel;
    channel.channel = 0;
    channel.owner = kNode;
    channel.epoch = 1;
    Put(ChannelKey(0), Encode(channel));
    SetLoaded(true);
    catalog_ = std::make_unique<Catalog>(store_.get(), &catalog_pool_, &timer_);
    ASSERT_TRUE(catalog_->Start(false).ok());
    ProxySettings settings;
    settings.super_users = {"root"};
    Restart(settings);
    peers_.node.growing.push_back(NewGrowingSegment(SegmentId(71), kPartition, collection_.schema));
    peers_.node.sealed.push_back(NewGrowingSegment(SegmentId(70), kPartition, collection_.schema));
  }
  void TearDown() override {
    search_.Stop();
    control_.Stop();
    proxy_.reset();
    catalog_->Stop();
    catalog_.reset();
    store_.reset();
    std::filesystem::remove_all(directory_);
  }

  void Restart(const ProxySettings& settings) { proxy_ = std::make_unique<Proxy>(catalog_.get(), &peers_, &search_, &control_, settings); }

  void MakeCollection() {
    CollectionSchema schema;
    schema.name = "c";
    FieldSchema id;
    id.id = FieldId(100);
    id.name = "id";
    id.type = DataType::kInt64;
    id.is_primary = true;
    FieldSchema vector;
    vector.id = FieldId(101);
    vector.name = "v";
    vector.type = DataType::kFloatVector;
    vector.dim = 2;
    vector.type_params = {{"dim", "2"}};
    FieldSchema text;
    text.id = FieldId(102);
    text.name = "t";
    text.type = DataType::kVarChar;
    text.max_length = 20;
    schema.fields = {id, vector, text};
    collection_.id = kCollection;
    collection_.database = kDatabase;
    collection_.name = "c";
    collection_.schema = std::make_shared<CollectionSchema>(schema);
    collection_.shards = {0};
    collection_.partitions = {{kPartition, "_default", 1}};
    IndexMeta index;
    index.id = IndexId(80);
    index.field = FieldId(101);
    index.name = "v";
    index.type = "FLAT";
    index.metric = Metric::kL2;
    collection_.indexes = {index};
  }

  Revision Put(const std::string& key, const std::string& value) {
    auto revision = store_->Commit({}, {MetaOp::Put(key, value)});
    EXPECT_TRUE(revision.ok());
    return *revision;
  }

  // Writes the collection and its route as (not) loaded; the last revision.
  Revision SetLoaded(bool loaded) {
    collection_.load.loaded = loaded;
    collection_.load.whole = true;
    ++collection_.version;
    Put(CollectionKey(kCollection), Encode(collection_));
    Placement placement;
    placement.collection = kCollection;
    placement.loaded = loaded;
    placement.segments.push_back({SegmentId(70), {kNode}, true});
    return Put(PlacementKey(kCollection), Encode(placement));
  }
  void SetLoadedAndSeen(bool loaded) { ASSERT_TRUE(catalog_->WaitFor(SetLoaded(loaded), std::chrono::seconds(5)).ok()); }

  CallContext Context(int timeout_ms = 2'000) const {
    return {"", "default", std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms)};
  }

  template <typename Reply, typename Start>
  Result<Reply> Wait(Start start) {
    std::promise<Result<Reply>> promise;
    start([&](Result<Reply> reply) { promise.set_value(std::move(reply)); });
    auto future = promise.get_future();
    EXPECT_EQ(future.wait_for(std::chrono::seconds(20)), std::future_status::ready) << "never answered";
    return future.get();
  }

  RowsCall Rows(const std::vector<int64_t>& ids) {
    RowsCall call;
    call.collection = "c";
    call.rows = static_cast<int64_t>(ids.size());
    for (const FieldSchema& field : collection_.schema->fields) {
      InputColumn column;
      column.name = field.name;
      column.column.emplace(field);
      for (const int64_t id : ids) {
        const float vector[2] = {static_cast<float>(id), 0};
        if (field.type == DataType::kInt64) column.column->Append<int64_t>(id);
        if (field.type == DataType::kFloatVector) column.column->AppendFixed(vector);
        if (field.type == DataType::kVarChar) column.column->AppendBytes("row " + std::to_string(id) + "." + std::to_string(generation_));
      }
      call.columns.push_back(std::move(column));
    }
    return call;
  }
  Result<MutationReply> Insert(const std::vector<int64_t>& ids, int timeout_ms = 2'000) {
    return Wait<MutationReply>([&](auto done) { proxy_->Insert(Context(timeout_ms), Rows(ids), done); });
  }
  Result<MutationReply> Upsert(const std::vector<int64_t>& ids) {
    ++generation_;
    return Wait<MutationReply>([&](auto done) { proxy_->Upsert(Context(), Rows(ids), done); });
  }
  Result<MutationReply> Delete(const std::string& filter) {
    DeleteCall call;
    call.collection = "c";
    call.filter = filter;
    return Wait<MutationReply>([&](auto done) { proxy_->Delete(Context(), call, done); });
  }
  // Rows that lie in the sealed segment.
  void Seal(const std::vector<int64_t>& ids) {
    std::swap(peers_.node.growing, peers_.node.sealed);
    ASSERT_TRUE(Insert(ids).ok());
    std::swap(peers_.node.growing, peers_.node.sealed);
    peers_.node.writes.clear();
  }

  SearchPart Part(float x, int64_t limit) {
    SearchPart part;
    part.query_type = DataType::kFloatVector;
    part.nq = 1;
    const float query[2] = {x, 0};
    part.queries.assign(reinterpret_cast<const char*>(query), sizeof(query));
    part.row_bytes = sizeof(query);
    part.limit = limit;
    return part;
  }
  SearchCall SearchFor(float x, int64_t limit) {
    SearchCall call;
    call.collection = "c";
    call.parts.push_back(Part(x, limit));
    call.consistency.level = ConsistencyLevel::kStrong;
    return call;
  }
  Result<SearchReply> Search(const SearchCall& call, int timeout_ms = 2'000) {
    return Wait<SearchReply>([&](auto done) { proxy_->Search(Context(timeout_ms), call, done); });
  }
  QueryCall QueryFor(const std::string& filter) {
    QueryCall call;
    call.collection = "c";
    call.filter = filter;
    call.output_fields = {"t"};
    call.consistency.level = ConsistencyLevel::kStrong;
    return call;
  }
  Result<QueryReply> Query(const QueryCall& call, int timeout_ms = 2'000) {
    return Wait<QueryReply>([&](auto done) { proxy_->Query(Context(timeout_ms), call, done); });
  }
  std::vector<std::string> Texts(const std::string& filter) {
    const auto reply = Query(QueryFor(filter));
    EXPECT_TRUE(reply.ok()) << reply.status().message();
    std::vector<std::string> out;
    if (!reply.ok()) return out;
    for (int64_t i = 0; i < reply->columns[0].rows(); ++i) out.emplace_back(reply->columns[0].View().Bytes(i));
    return out;
  }

  std::filesystem::path directory_;
  ThreadPool catalog_pool_{"catalog", 1};
  Timer timer_{&catalog_pool_};
  std::unique_ptr<MetaStore> store_;
  std::unique_ptr<Catalog> catalog_;
  FakePeers peers_;
  ThreadPool search_{"search", 2};
  ThreadPool control_{"control", 2};
  std::unique_ptr<Proxy> proxy_;
  Collection collection_;
  int generation_ = 0;
};

}  // namespace saker
