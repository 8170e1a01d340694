// Calls over loopback ports: every method of every role, every way in which a call can fail.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <future>
#include <latch>
#include <thread>

#include "servers/server_process.h"
#include "transport/clients.h"
#include "transport/mock_roles.h"
#include "transport/random_values.h"
#include "transport/server.h"

namespace saker {
namespace {

using namespace std::chrono_literals;
using testing::_;
using testing::HasSubstr;
using testing::NiceMock;

constexpr NodeId kNode{7};
constexpr NodeId kCaller{3};
constexpr const char* kCluster = "test-cluster";

template <typename T>
struct Waiter {
  std::promise<Result<T>> promise;
  std::future<Result<T>> future = promise.get_future();
  Callback<T> Done() {
    return [this](Result<T> result) { promise.set_value(std::move(result)); };
  }
};

class Calls : public testing::Test {
 protected:
  void SetUp() override { StartServer({}); }
  void TearDown() override {
    {
      MutexLock lock(held_mutex_);
      hold_ = false;
    }
    ReleaseHeld();
    channel_.reset();
    server_.reset();
  }

  // Reads that are answered when the test says so.
  void Hold(Callback<ReadPoint> done) {
    MutexLock lock(held_mutex_);
    if (hold_) return held_.push_back(std::move(done));
    lock.Unlock();
    done(ReadPoint{2});
  }
  void ReleaseHeld() {
    std::vector<Callback<ReadPoint>> held;
    {
      MutexLock lock(held_mutex_);
      held.swap(held_);
    }
    for (const auto& done : held) done(ReadPoint{2});
  }

  void StartServer(const InternalTls& tls, const std::string& listen = "127.0.0.1:0") {
    InternalServerOptions options;
    options.listen = listen;
    options.tls = tls;
    options.cluster = kCluster;
    options.node = kNode;
    options.incarnation = 42;
    options.roles = {"proxy"};
    options.data = &data_;
    options.control = &control_;
    options.waiting = &waiting_;
    options.load = [] { return NodeLoad{1000, 2, 30}; };
    options.schema = [this](CollectionId) { return schema_; };
    options.reaches = [](NodeId node, Callback<bool> done) { done(node == NodeId(3)); };
    auto server = InternalServer::Start(options);
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    server_ = std::move(*server);
    server_->Serve(&root_coord_);
    server_->Serve(&data_coord_);
    server_->Serve(&query_coord_);
    server_->Serve(&index_coord_);
    server_->Serve(&data_node_);
    server_->Serve(&query_node_);
    Connect(tls, server_->port());
  }
  void Connect(const InternalTls& tls, int port) {
    auto channel = PeerChannel::Open(kNode, fmt::format("127.0.0.1:{}", port), tls, nullptr);
    ASSERT_TRUE(channel.ok()) << channel.status().ToString();
    channel_ = *channel;
    (void)link_.Connect(channel_);
  }

  ThreadPool data_{"data", 2}, control_{"control", 4}, waiting_{"waiting", 2};
  Mutex held_mutex_;
  bool hold_ = true;
  std::vector<Callback<ReadPoint>> held_;
  NiceMock<MockRootCoord> root_coord_;
  NiceMock<MockDataCoord> data_coord_;
  NiceMock<MockQueryCoord> query_coord_;
  NiceMock<MockIndexCoord> index_coord_;
  NiceMock<MockDataNode> data_node_;
  NiceMock<MockQueryNode> query_node_;
  SchemaPtr schema_;
  std::unique_ptr<InternalServer> server_;
  std::vector<LeaderToken> tokens_{{"rootcoord", 1, 10}};
  Link link_{CallerIdentity{kCluster, kCaller, [this] { return tokens_; }}, kNode};
  std::shared_ptr<PeerChannel> channel_;
  RootCoordClient root_coord_client_{&link_};
  DataCoordClient data_coord_client_{&link_};
  QueryCoordClient query_coord_client_{&link_};
  IndexCoordClient index_coord_client_{&link_};
  DataNodeClient data_node_client_{&link_};
  QueryNodeClient query_node_client_{&link_};
  RandomCodec random_{1};
};

// ---- every method

template <typename T>
struct Invented {
  static T Make(RandomCodec& random) {
    T value{};
    random(value);
    return value;
  }
};
template <typename T>
struct Invented<Result<T>> {
  static Result<T> Make(RandomCodec& random) {
    Result<T> value = Status(ErrorCode::kUnexpected, "");
    random(value);
    return value;
  }
};

// A method's random arguments and result, and what arrived of them.
template <typename Role, typename R, typename... Args>
class Trip {
 public:
  Trip(R (Role::*method)(Args...), RandomCodec& random)
      : method_(method), args_{Invented<std::decay_t<Args>>::Make(random)...} {
    if constexpr (!std::is_void_v<R>) result_.emplace_back(Invented<R>::Make(random));
  }
  template <typename... A>
  R Arrive(const A&... args) {
    arrived_ = Encoded(args...);
    if constexpr (!std::is_void_v<R>) return result_[0];
  }
  void Go(Role* client) {
    if constexpr (std::is_void_v<R>) {
      std::apply([&](const auto&... args) { (client->*method_)(args...); }, args_);
    } else {
      const R result = std::apply([&](const auto&... args) { return (client->*method_)(args...); }, args_);
      EXPECT_EQ(Encoded(result), Encoded(result_[0]));
    }
    EXPECT_EQ(arrived_, std::apply([](const auto&... args) { return Encoded(args...); }, args_));
  }

 private:
  R (Role::*const method_)(Args...);
  std::tuple<std::decay_t<Args>...> args_;
  std::vector<std::conditional_t<std::is_void_v<R>, int, R>> result_;
  std::string arrived_;
};

#define EXPECT_TRAVELS(Role, mock, client, method)                                           \
  for (int round = 0; round < 4; ++round) {                                                  \
    SCOPED_TRACE(#Role "::" #method);                                                        \
    Trip trip(&Role::method, random_);                                                       \
    EXPECT_CALL(mock, method).WillOnce([&](const auto&... args) { return trip.Arrive(args...); }); \
    trip.Go(&client);                                                                        \
  }                                                                                          \
  static_assert(true)

TEST_F(Calls, RootCoordsMethods) {
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, CreateDatabase);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, DropDatabase);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, AlterDatabase);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, CreateCollection);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, DropCollection);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, RenameCollection);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, AlterCollection);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, AlterField);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, AddField);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, CreatePartition);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, DropPartition);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, CreateAlias);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, DropAlias);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, AlterAlias);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, CreateUser);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, UpdateUser);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, DropUser);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, CreateRole);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, DropRole);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, AddUserToRole);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, RemoveUserFromRole);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, GrantPrivilege);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, RevokePrivilege);
  EXPECT_TRAVELS(RootCoord, root_coord_, root_coord_client_, AllocateIds);
}

TEST_F(Calls, TheOtherCoordinatorsMethods) {
  EXPECT_TRAVELS(DataCoord, data_coord_, data_coord_client_, Flush);
  EXPECT_TRAVELS(DataCoord, data_coord_, data_coord_client_, IsFlushed);
  EXPECT_TRAVELS(DataCoord, data_coord_, data_coord_client_, Compact);
  EXPECT_TRAVELS(DataCoord, data_coord_, data_coord_client_, GetCompactionState);
  EXPECT_TRAVELS(DataCoord, data_coord_, data_coord_client_, RowCount);
  EXPECT_TRAVELS(DataCoord, data_coord_, data_coord_client_, Segments);
  EXPECT_TRAVELS(DataCoord, data_coord_, data_coord_client_, CommitFlush);
  EXPECT_TRAVELS(DataCoord, data_coord_, data_coord_client_, ReportSealed);
  EXPECT_TRAVELS(DataCoord, data_coord_, data_coord_client_, ReportChannelLost);
  EXPECT_TRAVELS(DataCoord, data_coord_, data_coord_client_, ReportCheckpoint);
  EXPECT_TRAVELS(DataCoord, data_coord_, data_coord_client_, ReportCompaction);
  EXPECT_TRAVELS(DataCoord, data_coord_, data_coord_client_, ReportHandedOver);
  EXPECT_TRAVELS(DataCoord, data_coord_, data_coord_client_, DrainNode);
  EXPECT_TRAVELS(DataCoord, data_coord_, data_coord_client_, GetDrainProgress);
  EXPECT_TRAVELS(QueryCoord, query_coord_, query_coord_client_, Load);
  EXPECT_TRAVELS(QueryCoord, query_coord_, query_coord_client_, Release);
  EXPECT_TRAVELS(QueryCoord, query_coord_, query_coord_client_, Progress);
  EXPECT_TRAVELS(QueryCoord, query_coord_, query_coord_client_, ReportLoaded);
  EXPECT_TRAVELS(QueryCoord, query_coord_, query_coord_client_, ReportLoadFailed);
  EXPECT_TRAVELS(QueryCoord, query_coord_, query_coord_client_, DrainNode);
  EXPECT_TRAVELS(QueryCoord, query_coord_, query_coord_client_, GetDrainProgress);
  EXPECT_TRAVELS(QueryCoord, query_coord_, query_coord_client_, CreateResourceGroup);
  EXPECT_TRAVELS(QueryCoord, query_coord_, query_coord_client_, UpdateResourceGroups);
  EXPECT_TRAVELS(QueryCoord, query_coord_, query_coord_client_, DropResourceGroup);
  EXPECT_TRAVELS(QueryCoord, query_coord_, query_coord_client_, TransferNode);
  EXPECT_TRAVELS(QueryCoord, query_coord_, query_coord_client_, TransferReplica);
  EXPECT_TRAVELS(QueryCoord, query_coord_, query_coord_client_, DescribeResourceGroup);
  EXPECT_TRAVELS(IndexCoord, index_coord_, index_coord_client_, CreateIndex);
  EXPECT_TRAVELS(IndexCoord, index_coord_, index_coord_client_, DropIndex);
  EXPECT_TRAVELS(IndexCoord, index_coord_, index_coord_client_, AlterIndex);
  EXPECT_TRAVELS(IndexCoord, index_coord_, index_coord_client_, Progress);
  EXPECT_TRAVELS(IndexCoord, index_coord_, index_coord_client_, ReportIndex);
  EXPECT_TRAVELS(IndexCoord, index_coord_, index_coord_client_, DrainNode);
  EXPECT_TRAVELS(IndexCoord, index_coord_, index_coord_client_, GetDrainProgress);
}

// A method that answers by callback: what arrives is what was sent, and back.
#define EXPECT_TRAVELS_ASYNC(Request, Response, mock, client, method)                       \
  for (int round = 0; round < 4; ++round) {                                                 \
    SCOPED_TRACE(#method);                                                                  \
    const auto request = Invented<Request>::Make(random_);                                  \
    const auto response = Invented<Result<Response>>::Make(random_);                        \
    std::string arrived;                                                                    \
    EXPECT_CALL(mock, method).WillOnce([&](const Request& got, Callback<Response> done) {   \
      arrived = Encoded(got);                                                               \
      round % 2 == 0 ? done(response) : control_.Post([done, &response] { done(response); }); \
    });                                                                                     \
    Waiter<Response> waiter;                                                                \
    client.method(request, waiter.Done());                                                  \
    EXPECT_EQ(Encoded(waiter.future.get()), Encoded(response));                             \
    EXPECT_EQ(arrived, Encoded(request));                                                   \
  }                                                                                         \
  static_assert(true)

TEST_F(Calls, NodesMethods) {
  EXPECT_TRAVELS_ASYNC(WriteRequest, WriteResponse, data_node_, data_node_client_, Write);
  EXPECT_TRAVELS_ASYNC(ReadPointRequest, ReadPoint, data_node_, data_node_client_, BeginRead);
  EXPECT_TRAVELS_ASYNC(FetchRequest, RowBatch, data_node_, data_node_client_, Fetch);
  EXPECT_TRAVELS_ASYNC(FetchRequest, RowBatch, query_node_, query_node_client_, Fetch);
  EXPECT_TRAVELS(DataNode, data_node_, data_node_client_, Deletes);
  EXPECT_TRAVELS(DataNode, data_node_, data_node_client_, GrowingSegments);
  EXPECT_TRAVELS(DataNode, data_node_, data_node_client_, OldestPin);
  EXPECT_TRAVELS(DataNode, data_node_, data_node_client_, BarrierCollection);
  EXPECT_TRAVELS(QueryNode, query_node_, query_node_client_, LoadedSegments);
}

// Searches and queries: a plan goes, an answer that fits it comes back.
template <typename Leg, typename Mock>
void ExpectSearchTravels(Mock& mock, auto& client, RandomCodec& random) {
  for (const TestFilter& test : TestFilters()) {
    const auto filter = ParseFilter(test.text, EveryTypeSchema(), test.templates);
    const std::shared_ptr<const SearchPlan> plan = RandomSearchPlan(random, *filter, 2, EveryTypeSchema());
    const auto leg = Invented<Leg>::Make(random);
    SearchHits hits{{0, 1, 3}, {{1, SegmentId(1), 0}, {2, SegmentId(1), 1}, {3, SegmentId(2), 4}}, random.RandomKeys(true, 3), {}, 1, 2};
    if (plan->group_by) hits.groups = {Value(int64_t{1}), Value(), Value(std::string("g"))};
    std::string arrived;
    EXPECT_CALL(mock, Search).WillOnce([&](const Leg& got, std::shared_ptr<const SearchPlan> its, Callback<SearchHits> done) {
      arrived = Encoded(got, its);
      done(hits);
    });
    Waiter<SearchHits> waiter;
    client.Search(leg, plan, waiter.Done());
    const auto answer = waiter.future.get();
    ASSERT_TRUE(answer.ok()) << answer.status().ToString();
    EXPECT_EQ(Encoded(*answer), Encoded(hits));
    EXPECT_EQ(arrived, Encoded(leg, plan));
  }
}

template <typename Leg, typename Mock>
void ExpectQueryTravels(Mock& mock, auto& client, RandomCodec& random) {
  for (const TestFilter& test : TestFilters()) {
    const auto filter = ParseFilter(test.text, EveryTypeSchema(), test.templates);
    const auto plan = RandomQueryPlan(random, *filter, EveryTypeSchema());
    plan->budget = std::make_shared<FetchBudget>(10'000'000);
    const auto leg = Invented<Leg>::Make(random);
    QueryRows rows;
    rows.keys = random.RandomKeys(false, 5);
    rows.timestamps = {1, 2, 3, 4, 5};
    rows.rows.rows = 5;
    for (const FieldId field : plan->output_fields) rows.rows.columns.push_back(random.RandomColumn(*plan->schema->Find(field), 5));
    std::string arrived;
    EXPECT_CALL(mock, Query).WillOnce([&](const Leg& got, std::shared_ptr<const QueryPlan> its, Callback<QueryRows> done) {
      arrived = Encoded(got, its);
      done(rows);
    });
    const std::string sent = Encoded(leg, std::shared_ptr<const QueryPlan>(plan));
    Waiter<QueryRows> waiter;
    client.Query(leg, plan, waiter.Done());
    const auto answer = waiter.future.get();
    ASSERT_TRUE(answer.ok()) << answer.status().ToString();
    EXPECT_EQ(Encoded(*answer), Encoded(rows));
    EXPECT_EQ(arrived, sent);
    EXPECT_EQ(plan->budget->left, 20'000'000 - answer->rows.size_bytes());
  }
}

TEST_F(Calls, SearchesAndQueries) {
  ExpectSearchTravels<GrowingLeg>(data_node_, data_node_client_, random_);
  ExpectSearchTravels<SealedLeg>(query_node_, query_node_client_, random_);
  ExpectQueryTravels<GrowingLeg>(data_node_, data_node_client_, random_);
  ExpectQueryTravels<SealedLeg>(query_node_, query_node_client_, random_);
}

TEST_F(Calls, AQueryThatBringsMoreThanItsBudgetIsRefused) {
  auto plan = RandomQueryPlan(random_, nullptr, EveryTypeSchema());
  plan->output_fields = {FieldId(101)};
  plan->budget = std::make_shared<FetchBudget>(100);
  EXPECT_CALL(query_node_, Query).WillOnce([&](const SealedLeg&, std::shared_ptr<const QueryPlan>, Callback<QueryRows> done) {
    QueryRows rows;
    rows.keys = random_.RandomKeys(false, 50);
    rows.timestamps.resize(50);
    rows.rows.rows = 50;
    rows.rows.columns.push_back(random_.RandomColumn(EveryTypeSchema()->fields[1], 50));
    done(std::move(rows));
  });
  Waiter<QueryRows> waiter;
  query_node_client_.Query({}, plan, waiter.Done());
  const auto answer = waiter.future.get();
  EXPECT_EQ(answer.status().code(), ErrorCode::kUnexpected);
  EXPECT_THAT(answer.status().message(), HasSubstr("maxOutputSize Limit 100"));
}

TEST_F(Calls, AnAnswerThatDoesNotFitItsPlanIsAnError) {
  EXPECT_CALL(query_node_, Search).WillOnce([](const SealedLeg&, std::shared_ptr<const SearchPlan>, Callback<SearchHits> done) {
    done(SearchHits{{0, 5}, {}, {}, {}, 0, 0});
  });
  Waiter<SearchHits> waiter;
  query_node_client_.Search({}, RandomSearchPlan(random_, nullptr, 3, EveryTypeSchema()), waiter.Done());
  EXPECT_EQ(waiter.future.get().status().code(), ErrorCode::kServiceInternal);
}

TEST_F(Calls, LargeMessagesBothWays) {
  constexpr int64_t kRows = 300'000;
  schema_ = EveryTypeSchema();
  WriteRequest request;
  request.shards.resize(1);
  RowBatch rows;
  rows.rows = kRows;
  rows.columns = {random_.RandomColumn(schema_->fields[0], kRows), random_.RandomColumn(schema_->fields[1], kRows),
                  random_.RandomColumn(schema_->fields[14], kRows)};
  request.shards[0].inserts.emplace_back(PartitionId(1), rows);
  const std::string sent = Encoded(request);
  EXPECT_GT(sent.size(), 10u << 20);
  EXPECT_CALL(data_node_, Write).WillOnce([&](const WriteRequest& got, Callback<WriteResponse> done) {
    EXPECT_TRUE(Encoded(got) == sent);
    done(WriteResponse{5});
  });
  Waiter<WriteResponse> written;
  data_node_client_.Write(std::move(request), written.Done());
  EXPECT_EQ(written.future.get()->ts, 5u);
  EXPECT_CALL(query_node_, Fetch).WillOnce([&](const FetchRequest&, Callback<RowBatch> done) { done(rows); });
  Waiter<RowBatch> fetched;
  query_node_client_.Fetch({}, fetched.Done());
  const auto answer = fetched.future.get();
  ASSERT_TRUE(answer.ok()) << answer.status().ToString();
  EXPECT_TRUE(Encoded(*answer) == Encoded(rows));
}

TEST_F(Calls, MessagesBeyondTheLimitAreRefused) {
  WriteRequest request;
  request.shards.resize(1);
  Column column(DataType::kFloatVector, 1 << 20);
  const std::string row(4 << 20, 'x');
  for (int i = 0; i < 65; ++i) column.AppendFixed(row.data());
  RowBatch rows;
  rows.rows = 65;
  rows.columns.push_back(std::move(column));
  request.shards[0].inserts.emplace_back(PartitionId(1), std::move(rows));
  Waiter<WriteResponse> waiter;
  data_node_client_.Write(std::move(request), waiter.Done());
  const auto answer = waiter.future.get();
  EXPECT_EQ(answer.status().code(), ErrorCode::kParameterInvalid);
  EXPECT_THAT(answer.status().message(), HasSubstr("fewer rows"));
}

TEST_F(Calls, RowsOfAnotherSchemaAreRefused) {
  schema_ = EveryTypeSchema();
  EXPECT_CALL(data_node_, Write).Times(0);
  WriteRequest request;
  request.shards.resize(1);
  RowBatch rows;
  rows.rows = 1;
  rows.columns.emplace_back(DataType::kFloatVector, 9);
  rows.columns[0].field = FieldId(101);
  rows.columns[0].AppendFixed(std::string(36, 'x').data());
  request.shards[0].inserts.emplace_back(PartitionId(1), std::move(rows));
  Waiter<WriteResponse> waiter;
  data_node_client_.Write(std::move(request), waiter.Done());
  const auto answer = waiter.future.get();
  EXPECT_EQ(answer.status().code(), ErrorCode::kParameterInvalid);
  EXPECT_THAT(answer.status().message(), HasSubstr("field 'v'"));
}

TEST_F(Calls, PingTellsWhoAnswers) {
  Waiter<PingReply> waiter;
  link_.Ping(5s, waiter.Done());
  const auto reply = waiter.future.get();
  ASSERT_TRUE(reply.ok()) << reply.status().ToString();
  EXPECT_EQ(reply->node, kNode);
  EXPECT_EQ(reply->incarnation, 42);
  EXPECT_EQ(reply->load.memory_bytes, 1000);
  EXPECT_THAT(reply->roles, testing::ElementsAre("proxy", "rootcoord", "datacoord", "querycoord", "indexcoord", "datanode", "querynode"));
}

// ---- errors

TEST_F(Calls, StatusesArriveAsTheyWere) {
  for (const ErrorCode code : {ErrorCode::kStaleRoute, ErrorCode::kSuperseded, ErrorCode::kConflict, ErrorCode::kCompacted,
                               ErrorCode::kCorrupted, ErrorCode::kCollectionNotFound, ErrorCode::kUnexpected, ErrorCode::kRateLimit}) {
    EXPECT_CALL(data_node_, Deletes).WillOnce([code](const DeleteStreamRequest&) { return Status(code, "the very words: \xc3\xa4"); });
    const auto answer = data_node_client_.Deletes({});
    EXPECT_EQ(answer.status().code(), code);
    EXPECT_EQ(answer.status().message(), "the very words: \xc3\xa4");
    EXPECT_FALSE(MayHaveBeenCarriedOut(answer.status()));
  }
}

TEST_F(Calls, AHandlerThatThrowsOrForgetsIsToldOf) {
  EXPECT_CALL(root_coord_, AllocateIds).WillOnce([](int64_t) -> Result<int64_t> { throw std::runtime_error("oops"); });
  const auto thrown = root_coord_client_.AllocateIds(1);
  EXPECT_EQ(thrown.status().code(), ErrorCode::kServiceInternal);
  EXPECT_THAT(thrown.status().message(), HasSubstr("oops"));
  EXPECT_CALL(data_node_, BeginRead).WillOnce([](const ReadPointRequest&, Callback<ReadPoint>) {});
  Waiter<ReadPoint> waiter;
  data_node_client_.BeginRead({}, waiter.Done());
  EXPECT_THAT(waiter.future.get().status().message(), HasSubstr("without an answer"));
}

TEST_F(Calls, ARoleThatIsNotServedSaysSo) {
  server_->Serve(static_cast<RootCoord*>(nullptr));
  const auto answer = root_coord_client_.AllocateIds(1);
  EXPECT_EQ(answer.status().code(), ErrorCode::kServiceNotReady);
  EXPECT_THAT(answer.status().message(), HasSubstr("node 7 does not serve as rootcoord"));
  server_->Serve(&root_coord_);
  EXPECT_CALL(root_coord_, AllocateIds).WillOnce(testing::Return(int64_t{5}));
  EXPECT_TRUE(root_coord_client_.AllocateIds(1).ok());
}

TEST_F(Calls, WithdrawingARoleWaitsForItsCalls) {
  std::latch entered(1);
  Callback<ReadPoint> answer;
  EXPECT_CALL(data_node_, BeginRead).WillOnce([&](const ReadPointRequest&, Callback<ReadPoint> done) {
    answer = std::move(done);
    entered.count_down();
  });
  Waiter<ReadPoint> waiter;
  data_node_client_.BeginRead({}, waiter.Done());
  entered.wait();
  auto withdrawn = std::async(std::launch::async, [&] { server_->Serve(static_cast<DataNode*>(nullptr)); });
  EXPECT_EQ(withdrawn.wait_for(100ms), std::future_status::timeout);
  answer(ReadPoint{9});
  answer = nullptr;
  withdrawn.get();
  EXPECT_EQ(waiter.future.get()->ts, 9u);
}

TEST_F(Calls, WrongNodeOrClusterIsRefused) {
  Link other_node({kCluster, kCaller, nullptr}, NodeId(8));
  (void)other_node.Connect(channel_);
  EXPECT_EQ(RootCoordClient(&other_node).AllocateIds(1).status().code(), ErrorCode::kNodeNotMatch);
  Link other_cluster({"another", kCaller, nullptr}, kNode);
  (void)other_cluster.Connect(channel_);
  EXPECT_EQ(RootCoordClient(&other_cluster).AllocateIds(1).status().code(), ErrorCode::kCrossClusterRouting);
}

TEST_F(Calls, CommandsOfASupersededLeaderAreRefused) {
  EXPECT_CALL(data_node_, BarrierCollection).WillRepeatedly(testing::Return(Status()));
  const auto command = [&](std::vector<LeaderToken> tokens) {
    tokens_ = std::move(tokens);
    return data_node_client_.BarrierCollection(CollectionId(1), {0}, 1, false, {}).code();
  };
  EXPECT_EQ(command({{"rootcoord", 1, 10}}), ErrorCode::kOk);
  EXPECT_EQ(command({{"rootcoord", 1, 11}}), ErrorCode::kOk);
  EXPECT_EQ(command({{"rootcoord", 1, 10}}), ErrorCode::kSuperseded);
  EXPECT_EQ(command({}), ErrorCode::kPrivilegeNotPermitted);
  // What is no command needs no token.
  EXPECT_CALL(data_node_, OldestPin).WillOnce(testing::Return(Timestamp{5}));
  EXPECT_EQ(*data_node_client_.OldestPin(CollectionId(1)), 5u);
}

TEST_F(Calls, AMissedDeadlineIsToldWithThePeer) {
  std::latch entered(1);
  Callback<SearchHits> answer;
  EXPECT_CALL(query_node_, Search).WillOnce([&](const SealedLeg&, std::shared_ptr<const SearchPlan> plan, Callback<SearchHits> done) {
    EXPECT_LT(plan->deadline_us, MonotonicUs() + 400'000);  // the request's deadline travels
    answer = std::move(done);
    entered.count_down();
  });
  auto plan = RandomSearchPlan(random_, nullptr, 1, EveryTypeSchema());
  plan->deadline_us = MonotonicUs() + 300'000;
  const Stopwatch watch;
  Waiter<SearchHits> waiter;
  query_node_client_.Search({}, plan, waiter.Done());
  const auto result = waiter.future.get();
  EXPECT_EQ(result.status().code(), ErrorCode::kDeadlineExceeded);
  EXPECT_THAT(result.status().message(), HasSubstr("node 7 at 127.0.0.1:"));
  EXPECT_TRUE(MayHaveBeenCarriedOut(result.status()));
  EXPECT_LT(watch.elapsed_ms(), 2000);
  entered.wait();
  answer(SearchHits());  // nobody waits for it any more
}

TEST_F(Calls, AnUnknownMethodIsToldWithThePeer) {
  static constexpr MethodSpec kLater{"/saker.internal.v1.DataNode/Later", CallPool::kData, 1s};
  const auto answer = channel_->CallAndWait(kLater, EncodeRequest({}, nullptr), MonotonicUs() + 5'000'000);
  EXPECT_EQ(answer.status().code(), ErrorCode::kUnimplemented);
  EXPECT_THAT(answer.status().message(), HasSubstr("DataNode/Later"));
}

TEST_F(Calls, GarbageAndTruncatedFramesAreRefused) {
  EXPECT_CALL(data_node_, Write).Times(0);
  WriteRequest request;
  random_(request);
  const std::string whole = EncodeRequest({kCluster, kNode, kCaller, {}}, nullptr, request).Flat();
  std::vector<std::string> frames = {"", "x", random_.Bytes(500), std::string(100, '\0'), whole.substr(0, whole.size() - 1)};
  for (int i = 0; i < 20; ++i) frames.push_back(whole.substr(0, static_cast<size_t>(random_.Below(static_cast<int64_t>(whole.size())))));
  for (const std::string& bytes : frames) {
    const auto answer = DecodeAnswer<WriteResponse>(
        channel_->CallAndWait(kSpec<&DataNode::Write>, Frame::Of(bytes), MonotonicUs() + 5'000'000));
    EXPECT_FALSE(answer.ok()) << bytes.size();
  }
}

TEST_F(Calls, ADeadPeerFailsFastAndIsCalledAgainWhenItIsBack) {
  EXPECT_CALL(root_coord_, AllocateIds).WillRepeatedly(testing::Return(int64_t{5}));
  ASSERT_TRUE(root_coord_client_.AllocateIds(1).ok());
  const int port = server_->port();
  server_.reset();
  for (int i = 0; i < 20; ++i) {
    const Stopwatch watch;
    const auto answer = root_coord_client_.AllocateIds(1);
    EXPECT_EQ(answer.status().code(), ErrorCode::kServiceUnavailable) << answer.status().ToString();
    EXPECT_THAT(answer.status().message(), HasSubstr(fmt::format("node 7 at 127.0.0.1:{} does not answer", port)));
    if (i > 0) {
      EXPECT_FALSE(MayHaveBeenCarriedOut(answer.status())) << answer.status().ToString();
    }
    EXPECT_LT(watch.elapsed_ms(), 1000);
  }
  const std::shared_ptr<PeerChannel> old = channel_;
  StartServer({}, fmt::format("127.0.0.1:{}", port));
  (void)link_.Connect(old);  // the connection that saw it die
  const Stopwatch watch;
  while (!root_coord_client_.AllocateIds(1).ok() && watch.elapsed_ms() < 10'000) std::this_thread::sleep_for(10ms);
  EXPECT_LT(watch.elapsed_ms(), 1500);
}

TEST_F(Calls, TellsWhetherItReachesAThirdProcess) {
  for (const auto& [node, reached] : {std::pair(NodeId(3), true), std::pair(NodeId(4), false)}) {
    std::promise<Result<bool>> answer;
    link_.Reaches(node, [&](Result<bool> told) { answer.set_value(std::move(told)); });
    const auto told = answer.get_future().get();
    ASSERT_TRUE(told.ok()) << told.status().ToString();
    EXPECT_EQ(*told, reached);
  }
}

TEST_F(Calls, WhatDidNotArriveIsSaid) {
  server_.reset();
  constexpr ErrorCode kAway = ErrorCode::kServiceUnavailable;
  EXPECT_EQ(data_node_client_.OldestPin(CollectionId(1)).status().code(), kAway);
  EXPECT_EQ(data_node_client_.GrowingSegments(CollectionId(1)).status().code(), kAway);
  EXPECT_EQ(query_node_client_.LoadedSegments(CollectionId(1)).status().code(), kAway);
  EXPECT_EQ(data_coord_client_.ReportCheckpoint(0, 1, 2).code(), kAway);
  EXPECT_EQ(query_coord_client_.ReportLoaded({kNode, CollectionId(1), {}, {}}).code(), kAway);
  Link unconnected({kCluster, kCaller, nullptr}, kNode);
  EXPECT_EQ(RootCoordClient(&unconnected).AllocateIds(1).status().code(), ErrorCode::kServiceUnavailable);
}

// ---- closing

TEST_F(Calls, EveryCallbackComesOnceBeforeTheChannelIsClosed) {
  EXPECT_CALL(data_node_, BeginRead).WillRepeatedly([&](const ReadPointRequest& request, Callback<ReadPoint> done) {
    if (request.at_least % 3 == 0) return done(ReadPoint{1});
    Hold(std::move(done));  // not answered while the client lives
  });
  for (int round = 0; round < 10; ++round) {
    ThreadPool callbacks("callbacks", 2);
    auto opened = PeerChannel::Open(kNode, fmt::format("127.0.0.1:{}", server_->port()), {}, round % 2 == 0 ? &callbacks : nullptr);
    ASSERT_TRUE(opened.ok());
    std::shared_ptr<PeerChannel> channel = *opened;
    Link link({kCluster, kCaller, nullptr}, kNode);
    (void)link.Connect(channel);
    DataNodeClient client(&link);
    constexpr int kCalls = 400;
    std::vector<std::atomic<int>> called(2 * kCalls);
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kCalls; ++i) {
          ReadPointRequest request;
          request.at_least = static_cast<Timestamp>(i);
          client.BeginRead(request, [&called, at = t * kCalls + i](const Result<ReadPoint>&) { ++called[static_cast<size_t>(at)]; });
        }
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(random_.Below(20)));
    channel->Close();  // while calls are still being made
    for (auto& thread : threads) thread.join();
    for (size_t i = 0; i < called.size(); ++i) ASSERT_EQ(called[i], 1) << "call " << i;
    EXPECT_TRUE(channel->idle());
    ReleaseHeld();
  }
}

TEST_F(Calls, WaitingCallsEndWhenTheChannelIsClosed) {
  std::latch entered(1);
  const auto go = std::make_shared<std::latch>(1);  // the handler looks at it after the test
  EXPECT_CALL(root_coord_, AllocateIds).WillOnce([&entered, go](int64_t) -> Result<int64_t> {
    entered.count_down();
    go->wait();
    return int64_t{1};
  });
  auto waiting = std::async(std::launch::async, [&] { return root_coord_client_.AllocateIds(1); });
  entered.wait();
  channel_->Close();
  const auto answer = waiting.get();
  EXPECT_EQ(answer.status().code(), ErrorCode::kServiceUnavailable);
  EXPECT_TRUE(MayHaveBeenCarriedOut(answer.status()));
  EXPECT_EQ(root_coord_client_.AllocateIds(1).status().code(), ErrorCode::kServiceUnavailable);
  go->count_down();
}

TEST_F(Calls, TheServerStopsWithCallsUnderWay) {
  std::latch entered(1);
  Callback<ReadPoint> answer;
  EXPECT_CALL(data_node_, BeginRead).WillOnce([&](const ReadPointRequest&, Callback<ReadPoint> done) {
    answer = std::move(done);
    entered.count_down();
  });
  Waiter<ReadPoint> waiter;
  data_node_client_.BeginRead({}, waiter.Done());
  entered.wait();
  auto stopped = std::async(std::launch::async, [&] { server_->Stop(/*grace_ms=*/100); });
  const auto result = waiter.future.get();
  EXPECT_EQ(result.status().code(), ErrorCode::kServiceUnavailable) << result.status().ToString();
  EXPECT_TRUE(MayHaveBeenCarriedOut(result.status()));
  answer(ReadPoint{1});
  answer = nullptr;
  stopped.get();
}

// ---- TLS

class TlsCalls : public Calls {
 protected:
  void SetUp() override {
    const std::string dir = directory_.path();
    const std::string script =
        "cd " + dir +
        " && for ca in ca other; do openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout $ca.key -out $ca.pem -subj /CN=$ca"
        " -addext basicConstraints=critical,CA:TRUE; done"
        " && for n in node:ca stranger:other; do name=${n%:*}; ca=${n#*:};"
        " openssl req -newkey rsa:2048 -nodes -keyout $name.key -out $name.csr -subj /CN=saker-internal"
        " && printf 'subjectAltName=DNS:saker-internal' > ext"
        " && openssl x509 -req -in $name.csr -CA $ca.pem -CAkey $ca.key -CAcreateserial -days 2 -extfile ext -out $name.pem; done";
    ASSERT_EQ(std::system(("(" + script + ") >/dev/null 2>&1").c_str()), 0) << "openssl is needed for this test";
    tls_ = {true, dir + "/ca.pem", dir + "/node.pem", dir + "/node.key", true, "saker-internal"};
    StartServer(tls_);
    ON_CALL(root_coord_, AllocateIds).WillByDefault(testing::Return(int64_t{5}));
  }
  TemporaryDirectory directory_;
  InternalTls tls_;
};

TEST_F(TlsCalls, CertificatesOfTheClustersAuthorityAreLetIn) {
  const auto answer = root_coord_client_.AllocateIds(1);
  EXPECT_TRUE(answer.ok()) << answer.status().ToString();
}

TEST_F(TlsCalls, OthersAreNot) {
  const auto refused = [this](const InternalTls& tls) {
    Connect(tls, server_->port());
    const auto answer = root_coord_client_.AllocateIds(1);
    return answer.status().code() == ErrorCode::kServiceUnavailable;
  };
  InternalTls tls = tls_;
  tls.certificate = directory_.path() + "/stranger.pem";
  tls.key = directory_.path() + "/stranger.key";
  EXPECT_TRUE(refused(tls)) << "a stranger's certificate";
  tls = tls_;
  tls.certificate.clear();
  EXPECT_TRUE(refused(tls)) << "no certificate";
  tls = tls_;
  tls.ca = directory_.path() + "/other.pem";
  EXPECT_TRUE(refused(tls)) << "a server that isn't ours";
  tls = tls_;
  tls.server_name = "another-name";
  EXPECT_TRUE(refused(tls)) << "another name";
  EXPECT_TRUE(refused({})) << "without TLS";
  EXPECT_FALSE(refused(tls_));
}

TEST_F(TlsCalls, FilesThatAreMissingAreNamed) {
  InternalTls tls = tls_;
  tls.ca = "/nowhere/ca.pem";
  const auto channel = PeerChannel::Open(kNode, "127.0.0.1:1", tls, nullptr);
  EXPECT_EQ(channel.status().code(), ErrorCode::kParameterInvalid);
  EXPECT_THAT(channel.status().message(), HasSubstr("/nowhere/ca.pem"));
}

// ---- another process: this program with other arguments

// Answers at once; Write waits until it is told otherwise by nothing at all.
class ChildNode final : public NiceMock<MockDataNode> {
 public:
  ChildNode() {
    ON_CALL(*this, BeginRead).WillByDefault([](const ReadPointRequest&, Callback<ReadPoint> done) { done(ReadPoint{1}); });
    ON_CALL(*this, Write).WillByDefault([this](const WriteRequest&, Callback<WriteResponse> done) {
      MutexLock lock(mutex_);
      held_.push_back(std::move(done));
    });
  }

 private:
  Mutex mutex_;
  std::vector<Callback<WriteResponse>> held_ GUARDED_BY(mutex_);
};

int ServeAsChild(const std::string& listen) {
  ThreadPool pool("pool", 2);
  ChildNode node;
  InternalServerOptions options;
  options.listen = listen;
  options.cluster = kCluster;
  options.node = kNode;
  options.data = options.control = options.waiting = &pool;
  auto server = InternalServer::Start(options);
  if (!server.ok()) return 1;
  (*server)->Serve(&node);
  while (true) ::pause();
}

class ChildCalls : public testing::Test {
 protected:
  void SetUp() override {
    child_.Start([this] { return CanConnect(port_); });
    auto channel = PeerChannel::Open(kNode, fmt::format("127.0.0.1:{}", port_), {}, nullptr);
    ASSERT_TRUE(channel.ok());
    channel_ = *channel;
    (void)link_.Connect(channel_);
    ASSERT_TRUE(Read().ok());
  }
  Result<ReadPoint> Read() {
    Waiter<ReadPoint> waiter;
    client_.BeginRead({}, waiter.Done());
    return waiter.future.get();
  }
  TemporaryDirectory directory_;
  const int port_ = FreePort();
  ServerProcess child_{{"/proc/self/exe", "--serve-node", fmt::format("127.0.0.1:{}", port_)}, {}, directory_.path() + "/log"};
  std::shared_ptr<PeerChannel> channel_;
  Link link_{CallerIdentity{kCluster, kCaller, nullptr}, kNode};
  DataNodeClient client_{&link_};
};

TEST_F(ChildCalls, APausedPeerIsNoticed) {
  for (const bool under_way : {true, false}) {
    Waiter<WriteResponse> waiter;
    if (under_way) {
      client_.Write({}, waiter.Done());
      std::this_thread::sleep_for(1200ms);
    }
    const Stopwatch watch;
    child_.Pause();
    if (!under_way) client_.Write({}, waiter.Done());
    const auto answer = waiter.future.get();
    std::printf("a peer paused %s the call was noticed after %d ms: %s\n", under_way ? "during" : "before",
                static_cast<int>(watch.elapsed_ms()), answer.status().ToString().c_str());
    EXPECT_EQ(answer.status().code(), ErrorCode::kServiceUnavailable) << answer.status().ToString();
    EXPECT_TRUE(MayHaveBeenCarriedOut(answer.status()));
    EXPECT_LT(watch.elapsed_ms(), 3500);  // 2 s on a machine that has time
    child_.Resume();
    const Stopwatch back;
    while (!Read().ok() && back.elapsed_ms() < 10'000) std::this_thread::sleep_for(10ms);
    EXPECT_LT(back.elapsed_ms(), 4000);
  }
}

TEST_F(ChildCalls, AKilledPeerIsNoticedAtOnceAndFoundAgain) {
  Waiter<WriteResponse> waiter;
  client_.Write({}, waiter.Done());
  std::this_thread::sleep_for(50ms);
  const Stopwatch watch;
  child_.Kill();
  const auto answer = waiter.future.get();
  EXPECT_EQ(answer.status().code(), ErrorCode::kServiceUnavailable);
  EXPECT_TRUE(MayHaveBeenCarriedOut(answer.status()));
  EXPECT_LT(watch.elapsed_ms(), 1000);
  const auto refused = Read();
  EXPECT_EQ(refused.status().code(), ErrorCode::kServiceUnavailable);
  EXPECT_FALSE(MayHaveBeenCarriedOut(refused.status())) << refused.status().ToString();
  child_.Start([this] { return CanConnect(port_); });
  const Stopwatch back;
  while (!Read().ok() && back.elapsed_ms() < 10'000) std::this_thread::sleep_for(10ms);
  std::printf("a restarted peer answered after %d ms\n", static_cast<int>(back.elapsed_ms()));
  EXPECT_LT(back.elapsed_ms(), 3000);
}

// ---- cost

int64_t ProcessCpuUs() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto us = [](const timeval& t) { return int64_t{t.tv_sec} * 1'000'000 + t.tv_usec; };
  return us(usage.ru_utime) + us(usage.ru_stime);
}

// Answers with ten hits.
class TenHits final : public QueryNode {
 public:
  explicit TenHits(RandomCodec& random) {
    hits_.offsets = {0, 10};
    for (int i = 0; i < 10; ++i) hits_.hits.push_back({static_cast<float>(i), SegmentId(1), i});
    hits_.keys = random.RandomKeys(false, 10);
  }
  void Search(const SealedLeg&, std::shared_ptr<const SearchPlan>, Callback<SearchHits> done) override { done(hits_); }
  void Query(const SealedLeg&, std::shared_ptr<const QueryPlan>, Callback<QueryRows> done) override { done(QueryRows()); }
  void Fetch(const FetchRequest&, Callback<RowBatch> done) override { done(RowBatch()); }
  Result<std::vector<LoadedSegmentInfo>> LoadedSegments(CollectionId) override { return std::vector<LoadedSegmentInfo>(); }

 private:
  SearchHits hits_;
};

// Runs it often, one after the other, and says what one took.
template <typename Once>
void Measure(const char* what, const Once& once) {
  constexpr int kCalls = 3000;
  for (int i = 0; i < kCalls / 3; ++i) once();
  std::vector<int64_t> us;
  const int64_t cpu_us = ProcessCpuUs();
  for (int i = 0; i < kCalls; ++i) {
    const Stopwatch watch;
    once();
    us.push_back(watch.elapsed_us());
  }
  const double cpu = static_cast<double>(ProcessCpuUs() - cpu_us) / kCalls;
  std::sort(us.begin(), us.end());
  std::printf("%s: p50 %d us, p99 %d us, CPU of both sides %.1f us\n", what, static_cast<int>(us[kCalls / 2]),
              static_cast<int>(us[kCalls * 99 / 100]), cpu);
}

TEST_F(Calls, CostOfASearchLeg) {
  TenHits node(random_);
  server_->Serve(&node);
  auto schema = std::make_shared<CollectionSchema>();
  schema->fields = {EveryTypeSchema()->fields[0], TestField(101, "v", DataType::kFloatVector, 128), EveryTypeSchema()->fields[11],
                    EveryTypeSchema()->fields[14]};
  const auto filter = ParseFilter("i64 > 3 and text like \"a%\"", schema);
  ASSERT_TRUE(filter.ok());
  SealedLeg leg;
  leg.segments = {SegmentId(1), SegmentId(2)};
  const auto new_plan = [&] {  // as each request has one
    auto plan = std::make_shared<SearchPlan>();
    plan->schema = schema;
    plan->vector_field = FieldId(101);
    plan->dim = 128;
    plan->nq = 1;
    plan->row_bytes = 512;
    plan->queries.assign(512, 'q');
    plan->filter = *filter;
    return plan;
  };
  Measure("a ping, waiting for its callback", [&] {
    Waiter<PingReply> waiter;
    link_.Ping(5s, waiter.Done());
    ASSERT_TRUE(waiter.future.get().ok());
  });
  Measure("a search leg, waiting for its callback", [&] {
    Waiter<SearchHits> waiter;
    query_node_client_.Search(leg, new_plan(), waiter.Done());
    ASSERT_TRUE(waiter.future.get().ok());
  });
  // As a proxy does it: the next step begins in the callback, no thread waits.
  std::function<void(int, std::promise<void>*)> next = [&](int left, std::promise<void>* done) {
    query_node_client_.Search(leg, new_plan(), [&, left, done](const Result<SearchHits>& hits) {
      EXPECT_TRUE(hits.ok());
      left == 0 ? done->set_value() : next(left - 1, done);
    });
  };
  constexpr int kChain = 3000;
  std::promise<void> done;
  const int64_t cpu_us = ProcessCpuUs();
  const Stopwatch watch;
  next(kChain, &done);
  done.get_future().wait();
  std::printf("a search leg, from callback to callback: %.1f us, CPU of both sides %.1f us\n",
              static_cast<double>(watch.elapsed_us()) / kChain, static_cast<double>(ProcessCpuUs() - cpu_us) / kChain);
  PlanReader plans;
  Measure("a search leg's codec alone, both sides", [&] {
    const std::shared_ptr<const SearchPlan> plan = new_plan();
    const Frame frame = EncodeRequest({kCluster, kNode, kCaller, {}}, nullptr, leg, plan);
    FrameReader in(frame);
    ASSERT_TRUE(ReadVersion(in).ok());
    WireReader reader(in, &plans);
    CallHeader header;
    reader(header);
    SealedLeg got;
    std::shared_ptr<const SearchPlan> its;
    ASSERT_TRUE(DecodeArguments(reader, got, its).ok());
    node.Search(got, its, [](Result<SearchHits> hits) { ASSERT_TRUE(DecodeAnswer<SearchHits>(EncodeAnswer(std::move(hits))).ok()); });
  });
  server_->Serve(&query_node_);
}

}  // namespace
}  // namespace saker

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--serve-node") return saker::ServeAsChild(argv[2]);
  testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
