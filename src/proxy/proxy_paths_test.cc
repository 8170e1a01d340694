// Writes and reads through a proxy with a real catalog and real segments, but nodes that misbehave on demand.
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
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

constexpr NodeId kNode{1};
const DatabaseId kDatabase{1};
const CollectionId kCollection{50};
const PartitionId kPartition{60};

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
    if (auto fault = Next(growing_faults); !fault.ok()) return done(fault);
    done(SearchAll(growing, leg.view, *plan));
  }
  void Query(const GrowingLeg& leg, std::shared_ptr<const QueryPlan> plan, Callback<QueryRows> done) override {
    ++growing_legs;
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
  std::vector<GrowingSegmentInfo> GrowingSegments(CollectionId) override { return {}; }
  Status BarrierCollection(CollectionId, const std::vector<ChannelId>&, int64_t, bool, const std::vector<PartitionId>&) override { return {}; }
  std::vector<LoadedSegmentInfo> LoadedSegments(CollectionId) override { return {}; }

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

// Coordinators that only give ids and note loads.
class FakeCoords final : public RootCoord, public QueryCoord {
 public:
  int64_t next_id = 1'000;
  int blocks = 0;
  std::function<Revision()> on_load;

  using KV = KeyValues;
  using SV = std::vector<std::string>;
  static Status No() { return {ErrorCode::kUnimplemented, "not in this test"}; }
  Result<Revision> CreateDatabase(const std::string&, const KV&) override { return No(); }
  Result<Revision> DropDatabase(const std::string&) override { return No(); }
  Result<Revision> AlterDatabase(const std::string&, const KV&, const SV&) override { return No(); }
  Result<Revision> CreateCollection(const CollectionDraft&) override { return No(); }
  Result<Revision> DropCollection(const std::string&, const std::string&) override { return No(); }
  Result<Revision> RenameCollection(const std::string&, const std::string&, const std::string&, const std::string&) override { return No(); }
  Result<Revision> AlterCollection(CollectionId, const KV&, const SV&) override { return No(); }
  Result<Revision> AlterField(CollectionId, const std::string&, const KV&, const SV&) override { return No(); }
  Result<Revision> AddField(CollectionId, const FieldSchema&) override { return No(); }
  Result<Revision> CreatePartition(CollectionId, const std::string&) override { return No(); }
  Result<Revision> DropPartition(CollectionId, const std::string&) override { return No(); }
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
  Result<Revision> Load(CollectionId, const std::vector<PartitionId>&, int32_t, const std::vector<FieldId>&) override {
    if (on_load) return on_load();
    return No();
  }
  Result<Revision> Release(CollectionId, const std::vector<PartitionId>&) override { return No(); }
  Result<LoadProgress> Progress(CollectionId, const std::vector<PartitionId>&) override { return No(); }
  void ReportLoaded(NodeId, CollectionId, const std::vector<SegmentId>&) override {}
  void ReportLoadFailed(NodeId, CollectionId, SegmentId, const Status&) override {}
};

class FakePeers final : public Peers {
 public:
  FakeNode node;
  FakeCoords coords;
  bool node_there = true;
  bool root_there = true;
  RootCoord* root_coord() override { return root_there ? &coords : nullptr; }
  DataCoord* data_coord() override { return nullptr; }
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

TEST_F(ProxyPaths, RowsOfBothKindsAreFoundWithTheirFields) {
  Seal({1, 2, 3});
  ASSERT_TRUE(Insert({4, 5}).ok());
  SearchCall call = SearchFor(3.4f, 3);
  call.output_fields = {"t", "id", "v"};
  const auto reply = Search(call);
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_THAT(reply->keys.ints, ElementsAre(3, 4, 2));
  EXPECT_THAT(reply->counts, ElementsAre(3));
  EXPECT_NEAR(reply->scores[0], 0.16, 1e-5);
  ASSERT_EQ(reply->columns.size(), 3u);
  EXPECT_EQ(reply->columns[0].View().Bytes(0), "row 3.0");
  EXPECT_EQ(reply->columns[0].View().Bytes(1), "row 4.0");
  EXPECT_EQ(reply->columns[1].View().At<int64_t>(2), 2);
  EXPECT_EQ(reply->columns[2].View().At<float>(0), 3.0f);
  EXPECT_EQ(peers_.node.growing_legs, 1);

  call.parts[0].offset = 1;
  call.parts[0].limit = 1;
  EXPECT_THAT(Search(call)->keys.ints, ElementsAre(4));
  call.parts[0].offset = 100;
  EXPECT_TRUE(Search(call)->keys.ints.empty());
  call = SearchFor(3.4f, 10);
  call.parts[0].filter = "id >= 4";
  EXPECT_THAT(Search(call)->keys.ints, ElementsAre(4, 5));
  call.parts[0].ignore_growing = true;
  EXPECT_TRUE(Search(call)->keys.ints.empty());
}

TEST_F(ProxyPaths, HybridSearchJoinsItsParts) {
  Seal({1, 2, 3});
  ASSERT_TRUE(Insert({10, 11}).ok());
  SearchCall call = SearchFor(1, 2);
  call.parts.push_back(Part(11, 2));
  call.parts.push_back(Part(11, 2));
  call.rank = RankWish();
  call.rank->limit = 3;
  call.output_fields = {"t"};
  const auto reply = Search(call);
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_THAT(reply->keys.ints, ElementsAre(11, 10, 1));
  EXPECT_EQ(reply->columns[0].View().Bytes(0), "row 11.0");
  EXPECT_EQ(reply->columns[0].View().Bytes(2), "row 1.0");
  call.rank->strategy = RankWish::Strategy::kWeighted;
  call.rank->weights = {1, 1};
  EXPECT_THAT(Search(call).status().message(), HasSubstr("the length of weights param mismatch with ann search requests"));
}

TEST_F(ProxyPaths, AStaleRouteStartsTheReadAgain) {
  Seal({1});
  ASSERT_TRUE(Insert({2}).ok());
  const Status stale(ErrorCode::kStaleRoute, "stale");
  peers_.node.growing_faults = {stale};
  peers_.node.sealed_faults = {Status(), stale};
  peers_.node.fetch_faults = {stale};
  SearchCall call = SearchFor(0, 5);
  call.output_fields = {"t"};
  const auto reply = Search(call);
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_THAT(reply->keys.ints, ElementsAre(1, 2));
  EXPECT_TRUE(peers_.node.fetch_faults.empty());
  peers_.node.sealed_faults = {stale};
  EXPECT_EQ(Texts("id > 0").size(), 2u);
}

TEST_F(ProxyPaths, OtherFaultsEndTheRead) {
  peers_.node.sealed_faults = {Status(ErrorCode::kCorrupted, "file x is damaged")};
  const auto search = Search(SearchFor(0, 5));
  EXPECT_EQ(search.status().message(), "failed to search: file x is damaged");
  peers_.node.growing_faults = {Status(ErrorCode::kCorrupted, "file y is damaged")};
  EXPECT_EQ(Query(QueryFor("id > 0")).status().message(), "failed to query: file y is damaged");
}

TEST_F(ProxyPaths, AReadGivesUpAtItsDeadline) {
  peers_.node_there = false;
  const Stopwatch watch;
  const auto reply = Search(SearchFor(0, 5), 200);
  EXPECT_EQ(reply.status().code(), ErrorCode::kChannelNotAvailable);
  EXPECT_LT(watch.elapsed_ms(), 5'000);
}

TEST_F(ProxyPaths, UnloadedIsRefusedWithMilvussText) {
  SetLoadedAndSeen(false);
  const auto search = Search(SearchFor(0, 5));
  EXPECT_EQ(search.status().code(), ErrorCode::kCollectionNotLoaded);
  EXPECT_EQ(search.status().message(), "failed to search: collection not loaded[collection=50]");
  EXPECT_EQ(Query(QueryFor("id > 0")).status().message(), "failed to query: collection not loaded[collection=50]");
  EXPECT_EQ(Delete("t == 'x'").status().message(), "collection not loaded[collection=50]");
  EXPECT_TRUE(Delete("id in [1]").ok());  // needs no reading
}

TEST_F(ProxyPaths, LoadsOnFirstUseWhereThatIsAskedFor) {
  SetLoadedAndSeen(false);
  ProxySettings settings;
  settings.load_on_first_use = true;
  Restart(settings);
  peers_.coords.on_load = [this] { return SetLoaded(true); };
  Seal({1});
  const auto reply = Search(SearchFor(0, 5));
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_THAT(reply->keys.ints, ElementsAre(1));
}

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
  EXPECT_EQ(Delete("id >").status().message(), "failed to create expr plan, expr = id >");
  EXPECT_EQ(Delete("").status().message(), "failed to create expr plan, expr = ");
}

TEST_F(ProxyPaths, IteratorsReadAtTheirTimestamp) {
  ASSERT_TRUE(Insert({1, 2}).ok());
  QueryCall call = QueryFor("id > 0");
  call.pinned = true;
  const auto first = Query(call);
  ASSERT_TRUE(first.ok());
  ASSERT_GT(first->read_ts, 0u);
  ASSERT_TRUE(Insert({3}).ok());
  ASSERT_TRUE(Delete("id in [1]").ok());
  call.consistency = {true, ConsistencyLevel::kBounded, first->read_ts};
  const auto later = Query(call);
  ASSERT_TRUE(later.ok());
  EXPECT_EQ(later->columns[0].rows(), 2);
  EXPECT_EQ(later->read_ts, first->read_ts);
  call.pinned = false;
  EXPECT_EQ(Query(call)->columns[0].rows(), 2);  // 2 and 3
  EXPECT_THAT(Texts("id > 0"), ElementsAre("row 2.0", "row 3.0"));
}

TEST_F(ProxyPaths, AGuaranteeAheadOfTheOwnerIsReadAsStrong) {
  peers_.node.behind = Timestamp{10'000} << kLogicalBits;
  const auto inserted = Insert({1});
  QueryCall call = QueryFor("id > 0");
  call.consistency = {false, ConsistencyLevel::kSession, inserted->ts};
  const auto reply = Query(call);
  ASSERT_TRUE(reply.ok());
  EXPECT_EQ(reply->columns[0].rows(), 1);
  ASSERT_EQ(peers_.node.read_points.size(), 2u);
  EXPECT_EQ(peers_.node.read_points[1].level, ConsistencyLevel::kStrong);
  // one that no clock will reach: answered all the same
  call.consistency.guarantee_ts = kMaxTimestamp - 1;
  EXPECT_TRUE(Query(call).ok());
}

TEST_F(ProxyPaths, QueriesCountPageAndRefuse) {
  Seal({1, 2, 3});
  ASSERT_TRUE(Insert({4, 5, 6}).ok());
  QueryCall call = QueryFor("");
  EXPECT_EQ(Query(call).status().message(), "empty expression should be used with limit");
  call.limit = 2;
  call.offset = 3;
  auto reply = Query(call);
  ASSERT_TRUE(reply.ok());
  EXPECT_THAT(reply->output_fields, ElementsAre("t", "id"));
  EXPECT_EQ(reply->columns[1].View().At<int64_t>(0), 4);
  EXPECT_EQ(reply->columns[1].rows(), 2);
  call.offset = 100;
  EXPECT_EQ(Query(call)->columns[1].rows(), 0);
  call.limit = 16385;
  EXPECT_THAT(Query(call).status().message(), HasSubstr("invalid max query result window, (offset+limit) should be in range [1, 16384]"));
  call.output_fields = {"count(*)"};
  call.limit = 5;
  call.offset = 0;
  EXPECT_EQ(Query(call).status().message(), "count entities with pagination is not allowed");
  call.limit = -1;
  EXPECT_EQ(Query(call)->count, 6);
  call.filter = "id > 4";
  EXPECT_EQ(Query(call)->count, 2);
  call = QueryFor("");
  call.keys.emplace();
  call.keys->ints = {5, 2, 77};
  EXPECT_EQ(Query(call)->columns[0].rows(), 2);
  call = QueryFor("zz > 1");
  EXPECT_THAT(Query(call).status().message(), HasSubstr("cannot parse expression: zz > 1, error: field zz not exist"));
  call = QueryFor("id > 1");
  call.partitions = {"nope"};
  EXPECT_EQ(Query(call).status().message(), "partition name nope not found");
}

TEST_F(ProxyPaths, SearchesAreRefusedWithMilvussReasons) {
  const auto refusal = [this](const std::function<void(SearchCall&)>& change) {
    SearchCall call = SearchFor(0, 5);
    change(call);
    return Search(call).status().message();
  };
  EXPECT_EQ(refusal([](auto& c) { c.collection = "nope"; }), "collection not found[database=default][collection=nope]");
  EXPECT_EQ(refusal([](auto& c) { c.parts[0].limit = 16385; }),
            "topk [16385] is invalid, top k should be in range [1, 16384], but got 16385");
  EXPECT_THAT(refusal([](auto& c) { c.parts[0].offset = 16384; }), HasSubstr("offset+topk [16389] is invalid"));
  EXPECT_THAT(refusal([](auto& c) { c.parts[0].nq = 0; }), HasSubstr("nq [0] is invalid, nq (number of search vector per search"));
  EXPECT_THAT(refusal([](auto& c) { c.parts[0].filter = "id >"; }), HasSubstr("failed to create query plan: cannot parse expression: id >"));
  EXPECT_THAT(refusal([](auto& c) { c.parts[0].metric = "IP"; }), HasSubstr("metric type not match: invalid parameter[expected=L2][actual=IP]"));
  EXPECT_THAT(refusal([](auto& c) { c.parts[0].row_bytes = 4, c.parts[0].queries.resize(4); }), HasSubstr("vector dimension mismatch"));
  EXPECT_THAT(refusal([](auto& c) { c.parts[0].vector_field = "t"; }), HasSubstr("is not of vector data type"));
  EXPECT_EQ(refusal([](auto& c) { c.output_fields = {"zz"}; }), "field zz not exist");
  EXPECT_EQ(refusal([](auto& c) { c.partitions = {"zz"}; }), "partition name zz not found");
  EXPECT_THAT(refusal([](auto& c) { c.parts[0].group_by = "zz"; }), HasSubstr("groupBy field not found in schema"));
  EXPECT_THAT(refusal([](auto& c) { c.parts[0].round_decimal = 7; }), HasSubstr("round_decimal [7] is invalid"));
  EXPECT_EQ(refusal([](auto& c) { c.parts[0].metric = "l2"; }), "");
}

TEST_F(ProxyPaths, RangeAndGrouping) {
  Seal({1, 2, 3});
  ASSERT_TRUE(Insert({4, 5}).ok());
  SearchCall call = SearchFor(0, 10);
  call.parts[0].params = {{"radius", "16"}, {"range_filter", "4"}};  // 4 <= d < 16
  EXPECT_THAT(Search(call)->keys.ints, ElementsAre(2, 3));
  call = SearchFor(0, 2);
  call.parts[0].group_by = "t";
  const auto reply = Search(call);
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_THAT(reply->keys.ints, ElementsAre(1, 2));
  ASSERT_EQ(reply->groups.size(), 2u);
  EXPECT_EQ(std::get<std::string>(reply->groups[0]), "row 1.0");
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

TEST_F(ProxyPaths, UsersAreKnownByTheirPasswords) {
  User root{"root", *HashPassword("Milvus"), {}};
  User bob{"bob", *HashPassword("bobs:word"), {"reader"}};
  Role reader{"reader", {{"reader", "Collection", "c", "default", "Search", "root"}}};
  Put(UserKey("root"), Encode(root));
  Put(UserKey("bob"), Encode(bob));
  ASSERT_TRUE(catalog_->WaitFor(Put(RoleKey("reader"), Encode(reader)), std::chrono::seconds(5)).ok());
  EXPECT_EQ(*proxy_->Authenticate(Base64Encode("root:Milvus")), "root");
  EXPECT_EQ(*proxy_->Authenticate(Base64Encode("bob:bobs:word")), "bob");
  for (const std::string bad : {"", "root:Milvus", "cm9vdA=="}) {
    EXPECT_EQ(proxy_->Authenticate(bad).status().code(), ErrorCode::kUnauthenticated) << bad;
  }
  EXPECT_EQ(proxy_->Authenticate(Base64Encode("root:milvus")).status().message(),
            "auth check failure, please check username and password are correct");
  EXPECT_TRUE(proxy_->Authorize("root", {"Global", "*", "default", "DropCollection"}).ok());
  EXPECT_TRUE(proxy_->Authorize("bob", {"Collection", "c", "default", "Search"}).ok());
  EXPECT_TRUE(proxy_->Authorize("bob", {"User", "bob", "default", "UpdateUser"}).ok());
  const Status denied = proxy_->Authorize("bob", {"Collection", "c", "default", "Insert"});
  EXPECT_EQ(denied.code(), ErrorCode::kPrivilegeNotPermitted);
  EXPECT_EQ(denied.message(), "PrivilegeInsert: permission deny to bob");

  // The same through a request's own description of what it needs.
  RequestContext context;
  context.user = "bob";
  wire::milvus::SearchRequest search;
  search.set_collection_name("c");
  EXPECT_TRUE(AuthorizeMessage(*proxy_, context, search).ok());
  search.set_collection_name("d");
  EXPECT_FALSE(AuthorizeMessage(*proxy_, context, search).ok());
  wire::milvus::InsertRequest insert;
  insert.set_collection_name("c");
  EXPECT_FALSE(AuthorizeMessage(*proxy_, context, insert).ok());
  wire::milvus::FlushRequest flush;
  flush.add_collection_names("c");
  EXPECT_FALSE(AuthorizeMessage(*proxy_, context, flush).ok());
  EXPECT_TRUE(AuthorizeMessage(*proxy_, context, wire::milvus::GetVersionRequest()).ok());
  EXPECT_TRUE(AuthorizeMessage(*proxy_, context, wire::milvus::ShowCollectionsRequest()).ok());
}

// ---- through the table of methods, as a client sees it

class ProxyRpc : public ProxyPaths {
 protected:
  void SetUp() override {
    ProxyPaths::SetUp();
    proxy_->RegisterMethods(table_);
  }
  template <typename Response, typename Request>
  Response Call(const std::string& name, const Request& request) {
    std::promise<Response> promise;
    table_.Call<Request, Response>("/milvus.proto.milvus.MilvusService/" + name, request, nullptr,
                                   [&](const Status& status, const Response& response) {
                                     EXPECT_TRUE(status.ok()) << status.message();
                                     promise.set_value(response);
                                   });
    return promise.get_future().get();
  }
  wire::milvus::SearchRequest SearchRequest(int64_t limit) {
    wire::milvus::SearchRequest request;
    request.set_collection_name("c");
    request.set_dsl_type(wire::common::BoolExprV1);
    wire::common::PlaceholderGroup group;
    auto* placeholder = group.add_placeholders();
    placeholder->set_type(wire::common::FloatVector);
    const float query[2] = {0, 0};
    placeholder->add_values(std::string(reinterpret_cast<const char*>(query), sizeof(query)));
    request.set_placeholder_group(group.SerializeAsString());
    const auto add = [&](const char* key, const std::string& value) {
      auto* pair = request.add_search_params();
      pair->set_key(key);
      pair->set_value(value);
    };
    add("topk", std::to_string(limit));
    add("anns_field", "v");
    add("metric_type", "L2");
    add("params", "{}");
    return request;
  }
  MethodTable table_;
};

TEST_F(ProxyRpc, NamesAndTypesAreTheProtocols) {
  const Status status = table_.CheckAgainstDescriptors();
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_GE(table_.names().size(), 70u);
}

TEST_F(ProxyRpc, MissingCollectionsAreToldAsMilvusDoes) {
  wire::milvus::DescribeCollectionRequest describe;
  describe.set_collection_name("nope");
  auto described = Call<wire::milvus::DescribeCollectionResponse>("DescribeCollection", describe);
  EXPECT_EQ(described.status().error_code(), wire::common::UnexpectedError);
  EXPECT_EQ(described.status().code(), 100);
  EXPECT_EQ(described.status().reason(), "can't find collection collection not found[database=default][collection=nope]");
  describe.set_collection_name("");
  described = Call<wire::milvus::DescribeCollectionResponse>("DescribeCollection", describe);
  EXPECT_EQ(described.status().error_code(), wire::common::IllegalArgument);
  EXPECT_EQ(described.status().code(), 1100);
  EXPECT_EQ(described.status().reason(), "collection name should not be empty: invalid parameter");
  wire::milvus::DropCollectionRequest drop;
  drop.set_collection_name("nope");
  EXPECT_EQ(Call<wire::common::Status>("DropCollection", drop).code(), 0);
  wire::milvus::LoadCollectionRequest load;
  load.set_collection_name("nope");
  const auto loaded = Call<wire::common::Status>("LoadCollection", load);
  EXPECT_EQ(loaded.error_code(), wire::common::CollectionNotExists);
  EXPECT_EQ(loaded.reason(), "collection not found[database=default][collection=nope]");
  wire::milvus::GetLoadStateRequest state;
  state.set_collection_name("nope");
  EXPECT_EQ(Call<wire::milvus::GetLoadStateResponse>("GetLoadState", state).state(), wire::common::LoadStateNotExist);
  wire::milvus::HasCollectionRequest has;
  has.set_collection_name("nope");
  EXPECT_FALSE(Call<wire::milvus::BoolResponse>("HasCollection", has).value());
  has.set_db_name("nodb");
  const auto nodb = Call<wire::milvus::BoolResponse>("HasCollection", has);
  EXPECT_EQ(nodb.status().code(), 800);
  EXPECT_EQ(nodb.status().reason(), "database not found[database=nodb]");
}

TEST_F(ProxyRpc, DescribesTheCollection) {
  wire::milvus::DescribeCollectionRequest describe;
  describe.set_collection_name("c");
  const auto described = Call<wire::milvus::DescribeCollectionResponse>("DescribeCollection", describe);
  EXPECT_EQ(described.status().code(), 0);
  EXPECT_EQ(described.collectionid(), 50);
  EXPECT_EQ(described.schema().fields_size(), 3);
  EXPECT_EQ(described.schema().fields(0).fieldid(), 100);
  EXPECT_EQ(described.db_name(), "default");
  EXPECT_EQ(described.shards_num(), 1);
  EXPECT_EQ(described.virtual_channel_names_size(), 1);
}

TEST_F(ProxyRpc, InsertSearchAndQueryOverTheWire) {
  wire::milvus::InsertRequest insert;
  insert.set_collection_name("c");
  insert.set_num_rows(2);
  auto* ids = insert.add_fields_data();
  ids->set_field_name("id");
  auto* vectors = insert.add_fields_data();
  vectors->set_field_name("v");
  auto* texts = insert.add_fields_data();
  texts->set_field_name("t");
  for (int i = 1; i <= 2; ++i) {
    ids->mutable_scalars()->mutable_long_data()->add_data(i);
    vectors->mutable_vectors()->mutable_float_vector()->add_data(static_cast<float>(i));
    vectors->mutable_vectors()->mutable_float_vector()->add_data(0);
    texts->mutable_scalars()->mutable_string_data()->add_data("text " + std::to_string(i));
  }
  const auto inserted = Call<wire::milvus::MutationResult>("Insert", insert);
  EXPECT_EQ(inserted.status().code(), 0) << inserted.status().reason();
  EXPECT_EQ(inserted.insert_cnt(), 2);
  EXPECT_THAT(inserted.ids().int_id().data(), ElementsAre(1, 2));
  EXPECT_THAT(inserted.succ_index(), ElementsAre(0, 1));
  EXPECT_GT(inserted.timestamp(), 0u);

  auto request = SearchRequest(10);
  request.add_output_fields("t");
  const auto found = Call<wire::milvus::SearchResults>("Search", request);
  ASSERT_EQ(found.status().code(), 0) << found.status().reason();
  EXPECT_EQ(found.results().num_queries(), 1);
  EXPECT_THAT(found.results().topks(), ElementsAre(2));
  EXPECT_THAT(found.results().ids().int_id().data(), ElementsAre(1, 2));
  EXPECT_THAT(found.results().scores(), ElementsAre(1.0f, 4.0f));
  ASSERT_EQ(found.results().fields_data_size(), 1);
  EXPECT_THAT(found.results().fields_data(0).scalars().string_data().data(), ElementsAre("text 1", "text 2"));
  EXPECT_THAT(found.results().output_fields(), ElementsAre("t"));

  wire::milvus::QueryRequest query;
  query.set_collection_name("c");
  query.set_expr("id == 2");
  query.add_output_fields("v");
  const auto rows = Call<wire::milvus::QueryResults>("Query", query);
  ASSERT_EQ(rows.status().code(), 0) << rows.status().reason();
  ASSERT_EQ(rows.fields_data_size(), 2);
  EXPECT_EQ(rows.fields_data(0).vectors().dim(), 2);
  EXPECT_THAT(rows.fields_data(0).vectors().float_vector().data(), ElementsAre(2.0f, 0.0f));
  EXPECT_THAT(rows.fields_data(1).scalars().long_data().data(), ElementsAre(2));
  query.clear_output_fields();
  query.add_output_fields("count(*)");
  EXPECT_EQ(Call<wire::milvus::QueryResults>("Query", query).fields_data(0).scalars().long_data().data(0), 1);

  auto nothing = SearchRequest(10);
  nothing.set_dsl("id == 77");
  const auto empty = Call<wire::milvus::SearchResults>("Search", nothing);
  EXPECT_EQ(empty.status().code(), 0);
  EXPECT_EQ(empty.status().reason(), "search result is empty");
  EXPECT_THAT(empty.results().topks(), ElementsAre(0));

  auto unsupported = SearchRequest(10);
  unsupported.mutable_highlighter();
  EXPECT_EQ(Call<wire::milvus::SearchResults>("Search", unsupported).status().code(), 1100);

  insert.set_schema_timestamp(12345);
  EXPECT_EQ(Call<wire::milvus::MutationResult>("Insert", insert).status().error_code(), wire::common::SchemaMismatch);
}

TEST_F(ProxyRpc, ConnectAndVersion) {
  const auto connected = Call<wire::milvus::ConnectResponse>("Connect", wire::milvus::ConnectRequest());
  EXPECT_EQ(connected.status().code(), 0);
  EXPECT_FALSE(connected.server_info().build_tags().empty());
  EXPECT_GT(connected.identifier(), 0);
  EXPECT_EQ(Call<wire::milvus::GetVersionResponse>("GetVersion", wire::milvus::GetVersionRequest()).version(), proxy_->settings().version);
}

TEST_F(ProxyRpc, GrantsReadTheUserFromTheHeaderEvenWithoutAuthentication) {
  wire::milvus::OperatePrivilegeRequest grant;
  auto* entity = grant.mutable_entity();
  entity->mutable_role()->set_name("r");
  entity->mutable_object()->set_name("Collection");
  entity->set_object_name("*");
  entity->mutable_grantor()->mutable_privilege()->set_name("Search");
  EXPECT_THAT(Call<wire::common::Status>("OperatePrivilege", grant).reason(), HasSubstr("fail to get authorization from the md"));
}

}  // namespace
}  // namespace saker
