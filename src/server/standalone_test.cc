// All roles in one process over the real stores, as clients see them through the table of methods: what is acknowledged
// is found, each row once, while segments change hands, after restarts too; what is dropped goes from the disk.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <future>
#include <map>
#include <optional>
#include <random>
#include <thread>

#include "base/log.h"
#include "base/mutex.h"
#include "milvus.pb.h"
#include "server/roles.h"

namespace saker {
namespace {

namespace wire = milvus::proto;
namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

constexpr int kDim = 4;
constexpr int kNotLoaded = 101;
constexpr int kNotFullyLoaded = 103;
constexpr int kChannelNotAvailable = 503;
using Values = std::map<int64_t, int64_t>;

std::vector<float> VectorOf(int64_t key) {
  // Two digits to a dimension: on a line of thousands of points neighbours would have one code in an index.
  std::vector<float> vector(kDim, 0.5f);
  for (int i = 0; i < 3; ++i, key /= 100) vector[i] = static_cast<float>(key % 100);
  return vector;
}

// What is there and should not be, what is missing, what is other than it should be.
std::string Differences(const Values& found, const Values& expected) {
  std::string out;
  for (const auto& [key, value] : found) {
    const auto it = expected.find(key);
    if (it == expected.end()) out += " " + std::to_string(key) + " is there";
    if (it != expected.end() && it->second != value) {
      out += " " + std::to_string(key) + " is " + std::to_string(value) + ", should be " + std::to_string(it->second);
    }
  }
  for (const auto& [key, value] : expected) {
    if (!found.contains(key)) out += " " + std::to_string(key) + " is missing";
  }
  return out;
}

// Long enough for an index build under ThreadSanitizer on a busy machine; asking less and less often leaves it the CPU.
template <typename Condition>
bool Eventually(Condition condition, std::chrono::milliseconds timeout = std::chrono::seconds(300)) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  std::chrono::milliseconds pause(2);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::milliseconds(100));
  }
  return true;
}

// A server without doors.
class Server {
 public:
  explicit Server(const std::string& directory) {
    Config config;
    config.data_dir = directory;
    config.channels = 4;
    config.disk_reserve_mb = 1;
    auto started = Standalone::Start(config, &methods_, &rest_);
    EXPECT_TRUE(started.ok()) << started.status().ToString();
    if (started.ok()) roles_ = std::move(*started);
  }
  ~Server() {
    if (roles_ != nullptr) roles_->Stop();
  }
  Status Health() const { return roles_->Health(); }

  template <typename Response, typename Request>
  Response Call(const std::string& name, const Request& request) {
    auto promise = std::make_shared<std::promise<Response>>();
    auto answer = promise->get_future();
    methods_.Call<Request, Response>("/milvus.proto.milvus.MilvusService/" + name, request, nullptr,
                                     [promise, name](const Status& status, const Response& response) {
                                       EXPECT_TRUE(status.ok()) << name << ": " << status.ToString();
                                       promise->set_value(response);
                                     });
    if (answer.wait_for(std::chrono::seconds(120)) != std::future_status::ready) {
      ADD_FAILURE() << name << " was never answered";
      return Response();
    }
    return answer.get();
  }
  // The code of a call that must succeed, or may fail.
  template <typename Request>
  int Do(const std::string& name, const Request& request) {
    const auto status = Call<wire::common::Status>(name, request);
    return Code(status);
  }
  static int Code(const wire::common::Status& status) { return status.code() != 0 ? status.code() : status.error_code(); }

  // ---- collections
  int Create(const std::string& name, int shards = 2) {
    wire::schema::CollectionSchema schema;
    schema.set_name(name);
    const auto add = [&](const std::string& field, wire::schema::DataType type) {
      auto* added = schema.add_fields();
      added->set_name(field);
      added->set_data_type(type);
      return added;
    };
    add("id", wire::schema::Int64)->set_is_primary_key(true);
    add("value", wire::schema::Int64);
    auto* dim = add("v", wire::schema::FloatVector)->add_type_params();
    dim->set_key("dim");
    dim->set_value(std::to_string(kDim));
    wire::milvus::CreateCollectionRequest request;
    request.set_collection_name(name);
    request.set_schema(schema.SerializeAsString());
    request.set_shards_num(shards);
    request.set_consistency_level(wire::common::Strong);
    return Do("CreateCollection", request);
  }
  int Drop(const std::string& name) {
    wire::milvus::DropCollectionRequest request;
    request.set_collection_name(name);
    return Do("DropCollection", request);
  }
  int Index(const std::string& name, const std::string& type = "HNSW") {
    wire::milvus::CreateIndexRequest request;
    request.set_collection_name(name);
    request.set_field_name("v");
    const std::pair<const char*, std::string> pairs[] = {
        {"index_type", type}, {"metric_type", "L2"}, {"params", type == "HNSW" ? R"({"M":8,"efConstruction":64})" : R"({"nlist":4})"}};
    for (const auto& [key, value] : pairs) {
      auto* pair = request.add_extra_params();
      pair->set_key(key);
      pair->set_value(value);
    }
    return Do("CreateIndex", request);
  }
  bool IsIndexed(const std::string& name) {
    wire::milvus::DescribeIndexRequest request;
    request.set_collection_name(name);
    const auto response = Call<wire::milvus::DescribeIndexResponse>("DescribeIndex", request);
    return response.index_descriptions_size() == 1 && response.index_descriptions(0).state() == wire::common::Finished &&
           response.index_descriptions(0).pending_index_rows() == 0;
  }
  int Load(const std::string& name) {
    wire::milvus::LoadCollectionRequest request;
    request.set_collection_name(name);
    const int code = Do("LoadCollection", request);
    if (code == 0) {
      EXPECT_TRUE(Eventually([&] { return LoadState(name) == wire::common::LoadStateLoaded; }));
    }
    return code;
  }
  wire::common::LoadState LoadState(const std::string& name) {
    wire::milvus::GetLoadStateRequest request;
    request.set_collection_name(name);
    return Call<wire::milvus::GetLoadStateResponse>("GetLoadState", request).state();
  }
  int Release(const std::string& name) {
    wire::milvus::ReleaseCollectionRequest request;
    request.set_collection_name(name);
    return Do("ReleaseCollection", request);
  }
  void Flush(const std::string& name) {
    wire::milvus::FlushRequest request;
    request.add_collection_names(name);
    wire::milvus::FlushResponse response;
    // Right after a start channels may still be replayed.
    ASSERT_TRUE(Eventually([&] {
      response = Call<wire::milvus::FlushResponse>("Flush", request);
      return Code(response.status()) != kChannelNotAvailable;
    }));
    ASSERT_EQ(Code(response.status()), 0) << response.status().reason();
    wire::milvus::GetFlushStateRequest state;
    state.set_collection_name(name);
    state.set_flush_ts(response.coll_flush_ts().at(name));
    ASSERT_TRUE(Eventually([&] { return Call<wire::milvus::GetFlushStateResponse>("GetFlushState", state).flushed(); }));
  }
  void Compact(const std::string& name) {
    wire::milvus::DescribeCollectionRequest describe;
    describe.set_collection_name(name);
    wire::milvus::ManualCompactionRequest request;
    request.set_collectionid(Call<wire::milvus::DescribeCollectionResponse>("DescribeCollection", describe).collectionid());
    const auto response = Call<wire::milvus::ManualCompactionResponse>("ManualCompaction", request);
    ASSERT_EQ(Code(response.status()), 0) << response.status().reason();
    wire::milvus::GetCompactionStateRequest state;
    state.set_compactionid(response.compactionid());
    ASSERT_TRUE(Eventually([&] {
      return Call<wire::milvus::GetCompactionStateResponse>("GetCompactionState", state).state() == wire::common::Completed;
    }));
  }
  int SealedSegments(const std::string& name) {
    wire::milvus::GetPersistentSegmentInfoRequest request;
    request.set_collectionname(name);
    return Call<wire::milvus::GetPersistentSegmentInfoResponse>("GetPersistentSegmentInfo", request).infos_size();
  }
  // Until what is flushed is served from files, with its index.
  void Settle(const std::string& name) {
    EXPECT_TRUE(Eventually([&] { return IsIndexed(name); }));
    EXPECT_TRUE(Eventually([&] {
      wire::milvus::GetQuerySegmentInfoRequest request;
      request.set_collectionname(name);
      const auto response = Call<wire::milvus::GetQuerySegmentInfoResponse>("GetQuerySegmentInfo", request);
      int64_t sealed = 0;
      for (const auto& info : response.infos()) sealed += info.state() == wire::common::Sealed ? 1 : 0;
      return sealed == SealedSegments(name);
    }));
  }

  // ---- rows
  template <typename Request>
  Request Rows(const std::string& name, const Values& rows) {
    Request request;
    request.set_collection_name(name);
    request.set_num_rows(static_cast<uint32_t>(rows.size()));
    auto* ids = request.add_fields_data();
    ids->set_field_name("id");
    ids->set_type(wire::schema::Int64);
    auto* values = request.add_fields_data();
    values->set_field_name("value");
    values->set_type(wire::schema::Int64);
    auto* vectors = request.add_fields_data();
    vectors->set_field_name("v");
    vectors->set_type(wire::schema::FloatVector);
    vectors->mutable_vectors()->set_dim(kDim);
    for (const auto& [key, value] : rows) {
      ids->mutable_scalars()->mutable_long_data()->add_data(key);
      values->mutable_scalars()->mutable_long_data()->add_data(value);
      for (const float x : VectorOf(key)) vectors->mutable_vectors()->mutable_float_vector()->add_data(x);
    }
    return request;
  }
  int Insert(const std::string& name, const Values& rows) {
    return Code(Call<wire::milvus::MutationResult>("Insert", Rows<wire::milvus::InsertRequest>(name, rows)).status());
  }
  // Without waiting.
  void Send(const std::string& name, const Values& rows, std::function<void(int code)> done) {
    methods_.Call<wire::milvus::InsertRequest, wire::milvus::MutationResult>(
        "/milvus.proto.milvus.MilvusService/Insert", Rows<wire::milvus::InsertRequest>(name, rows), nullptr,
        [done = std::move(done)](const Status& status, const wire::milvus::MutationResult& response) {
          done(status.ok() ? Code(response.status()) : -1);
        });
  }
  int Upsert(const std::string& name, const Values& rows) {
    return Code(Call<wire::milvus::MutationResult>("Upsert", Rows<wire::milvus::UpsertRequest>(name, rows)).status());
  }
  int Delete(const std::string& name, const std::string& filter) {
    wire::milvus::DeleteRequest request;
    request.set_collection_name(name);
    request.set_expr(filter);
    return Code(Call<wire::milvus::MutationResult>("Delete", request).status());
  }

  struct Found {
    int code = 0;
    std::string reason;
    Values values;
    int64_t count = 0;
  };
  Found Query(const std::string& name, const std::string& filter, bool count_only = false) {
    wire::milvus::QueryRequest request;
    request.set_collection_name(name);
    request.set_expr(filter);
    request.set_consistency_level(wire::common::Strong);
    if (count_only) {
      request.add_output_fields("count(*)");
    } else {
      request.add_output_fields("id");
      request.add_output_fields("value");
    }
    const auto response = Call<wire::milvus::QueryResults>("Query", request);
    Found found;
    found.code = Code(response.status());
    found.reason = response.status().reason();
    const wire::schema::LongArray* ids = nullptr;
    const wire::schema::LongArray* values = nullptr;
    for (const auto& field : response.fields_data()) {
      if (field.field_name() == "count(*)") found.count = field.scalars().long_data().data(0);
      if (field.field_name() == "id") ids = &field.scalars().long_data();
      if (field.field_name() == "value") values = &field.scalars().long_data();
    }
    for (int i = 0; ids != nullptr && values != nullptr && i < ids->data_size(); ++i) {
      EXPECT_TRUE(found.values.emplace(ids->data(i), values->data(i)).second) << "key " << ids->data(i) << " twice";
    }
    return found;
  }
  int64_t Count(const std::string& name) {
    const Found found = Query(name, "", /*count_only=*/true);
    EXPECT_EQ(found.code, 0) << found.reason;
    return found.count;
  }
  Values All(const std::string& name) {
    const Found found = Query(name, "id >= 0");
    EXPECT_EQ(found.code, 0) << found.reason;
    return found.values;
  }
  // The nearest keys to a key's vector.
  std::vector<int64_t> Nearest(const std::string& name, int64_t key, int k, int* code = nullptr) {
    wire::milvus::SearchRequest request;
    request.set_collection_name(name);
    request.set_dsl_type(wire::common::BoolExprV1);
    request.set_nq(1);
    wire::common::PlaceholderGroup group;
    auto* placeholder = group.add_placeholders();
    placeholder->set_tag("$0");
    placeholder->set_type(wire::common::FloatVector);
    const auto vector = VectorOf(key);
    placeholder->add_values(std::string(reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float)));
    request.set_placeholder_group(group.SerializeAsString());
    request.set_consistency_level(wire::common::Strong);
    const std::pair<const char*, std::string> pairs[] = {
        {"topk", std::to_string(k)}, {"anns_field", "v"}, {"metric_type", "L2"}, {"params", R"({"ef":64})"}};
    for (const auto& [name_of, value] : pairs) {
      auto* pair = request.add_search_params();
      pair->set_key(name_of);
      pair->set_value(value);
    }
    const auto response = Call<wire::milvus::SearchResults>("Search", request);
    if (code != nullptr) *code = Code(response.status());
    if (code == nullptr) {
      EXPECT_EQ(Code(response.status()), 0) << response.status().reason();
    }
    const auto& ids = response.results().ids().int_id().data();
    return {ids.begin(), ids.end()};
  }

 private:
  MethodTable methods_;
  HttpRoutes rest_;
  std::unique_ptr<Standalone> roles_;
};

class StandaloneTest : public testing::Test {
 protected:
  void SetUp() override {
    SetLogLevel(LogLevel::kError);
    directory_ = fs::temp_directory_path() / ("saker_standalone_" + std::to_string(getpid()) + "_" + std::to_string(MonotonicUs()));
    fs::create_directories(directory_);
    Restart();
  }
  void TearDown() override {
    server_.reset();
    fs::remove_all(directory_);
    SetLogLevel(LogLevel::kInfo);
  }
  void Restart() {
    server_.reset();
    server_ = std::make_unique<Server>(directory_.string());
  }
  Server& server() { return *server_; }

  void MakeLoaded(const std::string& name, int shards = 2, const std::string& index = "HNSW") {
    ASSERT_EQ(server().Create(name, shards), 0);
    ASSERT_EQ(server().Index(name, index), 0);
    ASSERT_EQ(server().Load(name), 0);
  }
  static Values Range(int64_t first, int64_t count, int64_t value = 0) {
    Values out;
    for (int64_t key = first; key < first + count; ++key) out[key] = value == 0 ? key : value;
    return out;
  }
  // Bytes of all files under a part of the data directory.
  int64_t Bytes(const std::string& part) const {
    int64_t sum = 0;
    std::error_code gone;
    const fs::path root = directory_ / part;
    if (!fs::exists(root)) return 0;
    for (fs::recursive_directory_iterator it(root, gone), end; it != end; it.increment(gone)) {
      if (gone) break;
      std::error_code error;
      const auto size = fs::file_size(it->path(), error);
      if (!error && it->is_regular_file(error)) sum += static_cast<int64_t>(size);
    }
    return sum;
  }

  fs::path directory_;
  std::unique_ptr<Server> server_;
};

TEST_F(StandaloneTest, ACollectionLivesThroughRestarts) {
  EXPECT_TRUE(server().Health().ok());
  ASSERT_EQ(server().Create("c"), 0);
  ASSERT_EQ(server().Insert("c", Range(0, 500)), 0);
  EXPECT_EQ(server().Query("c", "id >= 0").code, kNotLoaded);
  EXPECT_NE(server().Load("c"), 0);  // no index yet
  ASSERT_EQ(server().Index("c"), 0);
  ASSERT_EQ(server().Load("c"), 0);
  EXPECT_EQ(server().Count("c"), 500);
  EXPECT_THAT(server().Nearest("c", 123, 1), ElementsAre(123));
  ASSERT_EQ(server().Delete("c", "id in [123, 7]"), 0);
  ASSERT_EQ(server().Upsert("c", {{8, 80}, {600, 600}}), 0);
  EXPECT_NE(server().Nearest("c", 123, 1).at(0), 123);
  Values expected = Range(0, 500);
  expected.erase(123);
  expected.erase(7);
  expected[8] = 80;
  expected[600] = 600;
  EXPECT_EQ(Differences(server().All("c"), expected), "");

  // Growing, restarted.
  Restart();
  ASSERT_TRUE(Eventually([&] { return server().LoadState("c") == wire::common::LoadStateLoaded; }));
  EXPECT_EQ(Differences(server().All("c"), expected), "");

  // Sealed and indexed.
  server().Flush("c");
  server().Settle("c");
  EXPECT_EQ(Differences(server().All("c"), expected), "");
  EXPECT_EQ(server().Count("c"), static_cast<int64_t>(expected.size()));
  EXPECT_THAT(server().Nearest("c", 300, 1), ElementsAre(300));
  // Deletes and upserts of sealed rows.
  ASSERT_EQ(server().Delete("c", "id == 300"), 0);
  ASSERT_EQ(server().Upsert("c", {{301, 1}}), 0);
  expected.erase(300);
  expected[301] = 1;
  EXPECT_EQ(Differences(server().All("c"), expected), "");
  EXPECT_NE(server().Nearest("c", 300, 1).at(0), 300);
  Restart();
  EXPECT_EQ(Differences(server().All("c"), expected), "");
  EXPECT_NE(server().Nearest("c", 300, 1).at(0), 300);
  ASSERT_EQ(server().Delete("c", "value == 80"), 0);
  expected.erase(8);
  expected.erase(80);
  EXPECT_EQ(Differences(server().All("c"), expected), "");

  ASSERT_EQ(server().Release("c"), 0);
  EXPECT_EQ(server().Query("c", "id >= 0").code, kNotLoaded);
  ASSERT_EQ(server().Insert("c", {{700, 700}}), 0);
  expected[700] = 700;
  ASSERT_EQ(server().Load("c"), 0);
  EXPECT_EQ(Differences(server().All("c"), expected), "");
  server().Flush("c");
  server().Compact("c");
  server().Settle("c");
  EXPECT_EQ(Differences(server().All("c"), expected), "");
  Restart();
  EXPECT_EQ(Differences(server().All("c"), expected), "");
  ASSERT_EQ(server().Drop("c"), 0);
  EXPECT_NE(server().Query("c", "id >= 0").code, 0);
  // The same name, and nothing of the old.
  MakeLoaded("c");
  EXPECT_EQ(server().Count("c"), 0);
  Restart();
  EXPECT_EQ(server().Count("c"), 0);
}

TEST_F(StandaloneTest, WhatIsDroppedGoesFromTheDisk) {
  MakeLoaded("keep");
  ASSERT_EQ(server().Insert("keep", Range(0, 10)), 0);
  server().Flush("keep");
  server().Settle("keep");
  const int64_t kept = Bytes("objects/segments") + Bytes("objects/indexes");
  EXPECT_GT(kept, 0);
  MakeLoaded("gone", 2, "FLAT");
  for (int i = 0; i < 20; ++i) ASSERT_EQ(server().Insert("gone", Range(i * 10'000, 10'000)), 0);
  server().Flush("gone");
  server().Settle("gone");
  ASSERT_EQ(server().Insert("gone", Range(900'000, 1'000)), 0);  // in the log only
  EXPECT_GT(Bytes("objects/segments") + Bytes("objects/indexes"), kept + 5'000'000);
  ASSERT_EQ(server().Drop("gone"), 0);
  EXPECT_TRUE(Eventually([&] { return Bytes("objects/segments") + Bytes("objects/indexes") == kept; }))
      << Bytes("objects/segments") + Bytes("objects/indexes") << " bytes, should be " << kept;
  EXPECT_TRUE(Eventually([&] { return Bytes("log") < 5 << 20; })) << Bytes("log");
  EXPECT_EQ(server().Count("keep"), 10);
  Restart();
  EXPECT_EQ(server().Count("keep"), 10);
  EXPECT_EQ(Bytes("objects/segments") + Bytes("objects/indexes"), kept);
}

// The meta store's files are gone: nothing is served as empty, and nothing that was acknowledged is missing.
TEST_F(StandaloneTest, ALostMetaStoreComesBackFromTheObjectStore) {
  MakeLoaded("c");
  ASSERT_EQ(server().Insert("c", Range(0, 2'000)), 0);
  server().Flush("c");
  server().Settle("c");
  ASSERT_EQ(server().Insert("c", Range(2'000, 500)), 0);  // in the log only
  ASSERT_EQ(server().Delete("c", "id in [5, 2005]"), 0);
  Values expected = Range(0, 2'500);
  expected.erase(5);
  expected.erase(2'005);
  server_.reset();
  fs::remove_all(directory_ / "meta");
  Restart();
  ASSERT_TRUE(Eventually([&] { return server().LoadState("c") == wire::common::LoadStateLoaded; }));
  EXPECT_EQ(Differences(server().All("c"), expected), "");
  EXPECT_THAT(server().Nearest("c", 123, 1), ElementsAre(123));
  // It goes on from there, also beside what was there before.
  ASSERT_EQ(server().Create("d"), 0);
  ASSERT_EQ(server().Upsert("c", {{8, 80}}), 0);
  expected[8] = 80;
  server().Flush("c");
  server().Settle("c");
  EXPECT_EQ(Differences(server().All("c"), expected), "");
  Restart();
  ASSERT_TRUE(Eventually([&] { return server().LoadState("c") == wire::common::LoadStateLoaded; }));
  EXPECT_EQ(Differences(server().All("c"), expected), "");
}

TEST_F(StandaloneTest, CompactionGivesBackWhatIsDeleted) {
  MakeLoaded("c", 1);
  for (int i = 0; i < 6; ++i) {
    ASSERT_EQ(server().Insert("c", Range(i * 10'000, 10'000)), 0);
    server().Flush("c");
  }
  ASSERT_EQ(server().Delete("c", "id < 50000"), 0);
  server().Flush("c");
  server().Compact("c");
  server().Settle("c");
  EXPECT_EQ(server().Count("c"), 10'000);
  // Raw, a row is 32 bytes: with timestamps, key order and index 10,000 of them stay well below what 60,000 took.
  EXPECT_TRUE(Eventually([&] { return Bytes("objects/segments") < 1'000'000; })) << Bytes("objects/segments");
  Restart();
  EXPECT_EQ(server().Count("c"), 10'000);
}

// One writer inserts, a reader counts; rows are flushed, indexed, loaded, compacted meanwhile. Each row is seen once.
TEST_F(StandaloneTest, EachRowIsSeenOnceWhileSegmentsChangeHands) {
  MakeLoaded("c", 2, "FLAT");  // exact: a row that is not found is not seen
  std::atomic<bool> done{false};
  std::atomic<int64_t> begun{0}, acknowledged{0}, reads{0};
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    while (!done) {
      const int64_t first = begun;
      begun += 20;
      EXPECT_EQ(server().Insert("c", Range(first, 20)), 0);
      acknowledged = first + 20;
    }
  });
  for (int r = 0; r < 2; ++r) {
    threads.emplace_back([&, r] {
      while (!done) {
        const int64_t least = acknowledged;
        const auto found = r == 0 ? server().Query("c", "", true) : server().Query("c", "id >= 0");
        const int64_t most = begun;
        EXPECT_EQ(found.code, 0) << found.reason;
        const int64_t count = r == 0 ? found.count : static_cast<int64_t>(found.values.size());
        EXPECT_GE(count, least);
        EXPECT_LE(count, most);
        if (least > 0) {
          EXPECT_THAT(server().Nearest("c", least / 2, 1), ElementsAre(least / 2));
        }
        ++reads;
      }
    });
  }
  int sealed = 0;
  for (int i = 0; i < 8; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    server().Flush("c");
    if (i == 4) server().Compact("c");
    sealed = std::max(sealed, server().SealedSegments("c"));
  }
  server().Settle("c");
  done = true;
  for (auto& thread : threads) thread.join();
  EXPECT_GT(reads, 10);
  EXPECT_GT(sealed, 2);
  EXPECT_EQ(server().Count("c"), acknowledged);
}

TEST_F(StandaloneTest, ReadersOfACollectionThatIsReleasedAndLoadedSeeAllOrAreRefused) {
  MakeLoaded("c");
  ASSERT_EQ(server().Insert("c", Range(0, 200)), 0);
  server().Flush("c");
  ASSERT_EQ(server().Insert("c", Range(200, 100)), 0);
  std::atomic<bool> done{false};
  std::atomic<int64_t> complete{0}, refused{0};
  std::vector<std::thread> threads;
  for (int r = 0; r < 2; ++r) {
    threads.emplace_back([&] {
      while (!done) {
        const auto found = server().Query("c", "", true);
        if (found.code == 0) {
          EXPECT_EQ(found.count, 300);
          ++complete;
        } else {
          EXPECT_THAT(found.code, testing::AnyOf(kNotLoaded, kNotFullyLoaded)) << found.reason;
          ++refused;
        }
      }
    });
  }
  for (int i = 0; i < 8; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    EXPECT_EQ(server().Release("c"), 0);
    EXPECT_EQ(server().Load("c"), 0);
  }
  done = true;
  for (auto& thread : threads) thread.join();
  EXPECT_GT(complete, 0);
  EXPECT_EQ(server().Count("c"), 300);
}

// Writers, each with keys of its own; flushes, compactions, collections that come and go; then a restart, and again.
TEST_F(StandaloneTest, WhatWritersWereToldIsThereAfterRestarts) {
  constexpr int kWriters = 3;
  constexpr int64_t kKeys = 40;
  MakeLoaded("c");
  std::array<std::map<int64_t, std::optional<int64_t>>, kWriters> told;
  std::atomic<int64_t> writes{0}, value{0};
  for (int round = 0; round < 2; ++round) {
    std::atomic<bool> done{false};
    std::vector<std::thread> threads;
    for (int w = 0; w < kWriters; ++w) {
      threads.emplace_back([&, w] {
        std::mt19937 random(static_cast<uint32_t>(round * 10 + w));
        while (!done) {
          const int64_t key = w * 1000 + static_cast<int64_t>(random() % kKeys);
          auto& known = told[static_cast<size_t>(w)];
          if (random() % 4 == 0) {
            EXPECT_EQ(server().Delete("c", "id in [" + std::to_string(key) + ", " + std::to_string(key + 1) + "]"), 0);
            known[key] = std::nullopt;
            known[key + 1] = std::nullopt;
          } else {
            const int64_t next = ++value;
            EXPECT_EQ(server().Upsert("c", {{key, next}, {key + 1, next}}), 0);
            known[key] = next;
            known[key + 1] = next;
          }
          // Read your writes, strongly.
          const auto found = server().Query("c", "id == " + std::to_string(key));
          EXPECT_EQ(found.code, 0) << found.reason;
          if (known[key].has_value()) {
            EXPECT_THAT(found.values, ElementsAre(Pair(key, *known[key])));
          } else {
            EXPECT_THAT(found.values, IsEmpty());
          }
          ++writes;
        }
      });
    }
    threads.emplace_back([&] {
      for (int i = 0; !done; ++i) {
        const std::string name = "passing_" + std::to_string(round) + "_" + std::to_string(i);
        EXPECT_EQ(server().Create(name, 1), 0);
        EXPECT_EQ(server().Insert(name, Range(0, 50)), 0);
        EXPECT_EQ(server().Index(name, i % 2 == 0 ? "HNSW" : "IVF_SQ8"), 0);
        if (i % 2 == 0) server().Flush(name);
        EXPECT_EQ(server().Drop(name), 0);
      }
    });
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
    while (std::chrono::steady_clock::now() < until) {
      server().Flush("c");
      server().Compact("c");
    }
    done = true;
    for (auto& thread : threads) thread.join();
    const auto expect_told = [&] {
      Values expected;
      for (const auto& known : told) {
        for (const auto& [key, known_value] : known) {
          if (known_value.has_value()) expected[key] = *known_value;
        }
      }
      EXPECT_EQ(Differences(server().All("c"), expected), "");
      EXPECT_EQ(server().Count("c"), static_cast<int64_t>(expected.size()));
    };
    expect_told();
    Restart();
    expect_told();
    server().Settle("c");
    expect_told();
  }
  EXPECT_GT(writes, 20);
}

// What is under way when a server stops is answered one way or the other, and nothing touches what is gone.
// More changes at a time than there are threads for them: those that wait for the owners' barriers, or for the view to
// come after, must not hold up the ones that they wait for.
TEST_F(StandaloneTest, AnswersMoreChangesAtATimeThanItHasThreads) {
  std::vector<std::thread> clients;
  for (int client = 0; client < 16; ++client) {
    clients.emplace_back([this, client] {
      const std::string name = "c" + std::to_string(client);
      for (int round = 0; round < 10; ++round) {
        EXPECT_EQ(server().Create(name), 0);
        EXPECT_EQ(server().Drop(name), 0);
      }
    });
  }
  for (std::thread& client : clients) client.join();
}

TEST_F(StandaloneTest, StopsWhileRequestsAreUnderWay) {
  MakeLoaded("c");
  ASSERT_EQ(server().Insert("c", Range(0, 1000)), 0);
  Values expected = Range(0, 1000);
  Values possible = expected;
  for (int round = 0; round < 3; ++round) {
    wire::milvus::FlushRequest flush;
    flush.add_collection_names("c");
    (void)server().Call<wire::milvus::FlushResponse>("Flush", flush);
    Mutex mutex;
    int answered = 0;
    constexpr int kRequests = 100;
    for (int i = 0; i < kRequests; ++i) {
      const Values rows = Range(10'000 * (round + 1) + i * 10, 10);
      possible.insert(rows.begin(), rows.end());
      server().Send("c", rows, [&, rows](int code) {
        MutexLock lock(mutex);
        ++answered;
        if (code == 0) expected.insert(rows.begin(), rows.end());
      });
    }
    server_.reset();  // in the middle of the flush, of the builds that follow it, and of these
    {
      MutexLock lock(mutex);
      EXPECT_EQ(answered, kRequests);
    }
    Restart();
    const Values found = server().All("c");
    for (const auto& [key, value] : expected) EXPECT_TRUE(found.contains(key)) << key << " was acknowledged and is missing";
    for (const auto& [key, value] : found) EXPECT_TRUE(possible.contains(key)) << key << " was never sent";
    // Whole requests only.
    EXPECT_EQ(found.size() % 10, 0u);
    EXPECT_EQ(server().Count("c"), static_cast<int64_t>(found.size()));
    expected = found;
  }
}

}  // namespace
}  // namespace saker
