#include <arpa/inet.h>
#include <fmt/format.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>
#include <latch>
#include <thread>

#include "health.pb.h"
#include "milvus.pb.h"
#include "rpc/server.h"

namespace saker {
namespace {

namespace pb = milvus::proto::milvus;
constexpr const char* kSearch = "/milvus.proto.milvus.MilvusService/Search";
constexpr const char* kDrop = "/milvus.proto.milvus.MilvusService/DropCollection";

TEST(StatusCodec, SpeaksAsMilvus235) {
  const auto check = [](ErrorCode code, int number, auto legacy, bool retriable) {
    milvus::proto::common::Status out;
    SetStatus(Status(code, "why"), &out);
    EXPECT_EQ(out.code(), number) << Name(code);
    EXPECT_EQ(out.error_code(), legacy) << Name(code);
    EXPECT_EQ(out.retriable(), retriable) << Name(code);
    EXPECT_EQ(out.reason(), "why");
  };
  namespace common = milvus::proto::common;
  check(ErrorCode::kCollectionNotFound, 100, common::CollectionNotExists, false);
  check(ErrorCode::kCollectionNotLoaded, 101, common::UnexpectedError, false);
  check(ErrorCode::kPartitionNotFound, 200, common::MetaFailed, false);
  check(ErrorCode::kIndexNotFound, 700, common::IndexNotExist, false);
  check(ErrorCode::kParameterInvalid, 1100, common::IllegalArgument, false);
  check(ErrorCode::kUnexpected, 65535, common::UnexpectedError, false);
  check(ErrorCode::kServiceNotReady, 1, common::NotReadyServe, true);
  check(ErrorCode::kRateLimit, 8, common::RateLimit, true);
  check(ErrorCode::kStaleRoute, 2, common::UnexpectedError, true);
  check(ErrorCode::kSuperseded, 2, common::UnexpectedError, true);
  milvus::proto::common::Status ok;
  SetStatus(Status(), &ok);
  EXPECT_EQ(ok.ByteSizeLong(), 0u);
}

class Door : public testing::Test {
 protected:
  void SetUp() override {
    table_.Register<pb::SearchRequest, pb::SearchResults>(
        kSearch, &pool_, [this](RequestContext& context, const pb::SearchRequest& request, Responder<pb::SearchResults> respond) {
          if (request.collection_name() == "missing") {
            return respond.Fail(Status(ErrorCode::kCollectionNotFound, "collection not found[collection=missing]"));
          }
          if (request.collection_name() == "forgotten") return;
          if (request.collection_name() == "later") {
            late_.Post([respond] {
              std::this_thread::sleep_for(std::chrono::milliseconds(30));
              respond.message().set_collection_name("late");
              respond.Send();
            });
            return;
          }
          pb::SearchResults results;
          results.set_collection_name(request.collection_name() + "/" + context.user + "/" + context.db_name);
          respond(results);
        });
    table_.Register<pb::DropCollectionRequest, milvus::proto::common::Status>(
        kDrop, nullptr, [](RequestContext&, const pb::DropCollectionRequest& request, auto respond) {
          respond.Fail(Status(ErrorCode::kUnimplemented, "not yet"));
        });
    table_.SetAuthenticator([](RequestContext& context) {
      if (context.authorization == "bad") return Status(ErrorCode::kUnauthenticated, "who are you?");
      context.user = context.authorization;
      return Status();
    });
    routes_.Add("/v2/", &pool_, [](HttpRequest request, HttpRespond respond) {
      respond({200, "text/plain", request.method + " " + request.path + " " + request.QueryParameter("q") + " " +
                                      std::to_string(request.body.size()), {}});
    });
    routes_.Add("/v2/forgotten", &pool_, [](HttpRequest, HttpRespond) {});
    RpcServerOptions options;
    options.listen = "127.0.0.1:0";
    options.max_receive_bytes = 1 << 20;
    auto server = RpcServer::Start(options, &table_, &http_, &routes_);
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    server_ = std::move(*server);
    channel_ = NewChannel();
  }
  void TearDown() override {
    late_.Stop();
    http_.Stop();
    server_.reset();
    pool_.Stop();
  }
  std::shared_ptr<grpc::Channel> NewChannel() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
    return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials(), arguments);
  }
  struct Answer {
    grpc::Status status;
    pb::SearchResults results;
  };
  template <typename Message>
  static Message Parse(grpc::ByteBuffer& buffer) {
    grpc::Slice slice;
    EXPECT_TRUE(buffer.DumpToSingleSlice(&slice).ok());
    Message message;
    EXPECT_TRUE(message.ParseFromArray(slice.begin(), static_cast<int>(slice.size())));
    return message;
  }
  grpc::Status Raw(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                   const std::string& bytes, grpc::ByteBuffer* reply, const std::string& authorization = "") {
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    if (!authorization.empty()) context.AddMetadata("authorization", authorization);
    context.AddMetadata("dbname", "db1");
    grpc::CompletionQueue queue;
    grpc::Slice slice(bytes);
    auto call = stub.PrepareUnaryCall(&context, method, grpc::ByteBuffer(&slice, 1), &queue);
    call->StartCall();
    grpc::Status status;
    call->Finish(reply, &status, nullptr);
    void* tag;
    bool ok;
    EXPECT_TRUE(queue.Next(&tag, &ok));
    return status;
  }
  Answer Search(const std::string& collection, const std::string& authorization = "", std::shared_ptr<grpc::Channel> channel = nullptr) {
    pb::SearchRequest request;
    request.set_collection_name(collection);
    grpc::ByteBuffer reply;
    Answer answer;
    if (channel == nullptr) channel = channel_;
    answer.status = Raw(channel, kSearch, request.SerializeAsString(), &reply, authorization);
    if (answer.status.ok()) answer.results = Parse<pb::SearchResults>(reply);
    return answer;
  }

  int Connect() {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(server_->port()));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
    timeval timeout{5, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    return fd;
  }
  static void Send(int fd, const std::string& bytes) { EXPECT_EQ(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL), (ssize_t)bytes.size()); }
  static std::string ReceiveUntil(int fd, const std::string& mark) {
    std::string out;
    char buffer[4096];
    while (mark.empty() || out.find(mark) == std::string::npos) {
      const ssize_t n = ::recv(fd, buffer, sizeof(buffer), 0);
      if (n <= 0) break;
      out.append(buffer, static_cast<size_t>(n));
    }
    return out;
  }

  ThreadPool pool_{"test", 2};
  MethodTable table_;
  HttpRoutes routes_;
  HttpServer http_{HttpLimits{.body_bytes = 1 << 20}};
  std::unique_ptr<RpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  ThreadPool late_{"late", 1};
};

TEST_F(Door, AnswersCalls) {
  const Answer answer = Search("books", "ann");
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.results.collection_name(), "books/ann/db1");
  EXPECT_EQ(Search("later").results.collection_name(), "late");
}

TEST_F(Door, PutsErrorsWhereMilvusDoes) {
  const Answer missing = Search("missing");
  ASSERT_TRUE(missing.status.ok());
  EXPECT_EQ(missing.results.status().code(), 100);
  EXPECT_EQ(missing.results.status().reason(), "collection not found[collection=missing]");
  EXPECT_EQ(Search("books", "bad").status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Search("forgotten").results.status().code(), static_cast<int>(ErrorCode::kServiceInternal));
  grpc::ByteBuffer reply;
  EXPECT_EQ(Raw(channel_, kDrop, "", &reply).error_code(), grpc::StatusCode::UNIMPLEMENTED);
  const auto unknown = Raw(channel_, "/milvus.proto.milvus.MilvusService/Teleport", "", &reply);
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_NE(unknown.error_message().find("Teleport"), std::string::npos);
}

TEST_F(Door, RefusesBadMessages) {
  grpc::ByteBuffer reply;
  const auto garbage = Raw(channel_, kSearch, "\xff\xff\xff garbage", &reply);
  EXPECT_EQ(garbage.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(garbage.error_message().find("milvus.proto.milvus.SearchRequest"), std::string::npos) << garbage.error_message();
  const auto large = Raw(channel_, kSearch, std::string(2 << 20, 'x'), &reply);
  EXPECT_EQ(large.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << large.error_message();
  EXPECT_NE(large.error_message().find("1048576"), std::string::npos) << large.error_message();
  EXPECT_TRUE(Search("books").status.ok());
  // Fields of a later proto are skipped.
  pb::SearchRequest request;
  request.set_collection_name("books");
  std::string bytes = request.SerializeAsString();
  bytes += std::string("\xca\x3e\x03", 3) + "new";  // field 1001, length-delimited
  EXPECT_TRUE(Raw(channel_, kSearch, bytes, &reply).ok());
}

TEST_F(Door, SharesThePortWithHttp) {
  std::vector<std::thread> clients;
  std::atomic<int> good{0};
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&, i] {
      if (i % 2 == 0) {
        auto channel = NewChannel();
        for (int n = 0; n < 20; ++n) good += Search("books", "", channel).status.ok();
      } else {
        const int fd = Connect();
        for (int n = 0; n < 20; ++n) {
          Send(fd, "POST /v2/x?q=a%20b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
          good += ReceiveUntil(fd, "POST /v2/x a b 3").find("200 OK") != std::string::npos;
        }
        ::close(fd);
      }
    });
  }
  for (auto& client : clients) client.join();
  EXPECT_EQ(good, 160);
}

TEST_F(Door, HttpTells) {
  const auto ask = [&](const std::string& request, const std::string& mark) {
    const int fd = Connect();
    Send(fd, request);
    std::string answer = ReceiveUntil(fd, mark);
    ::close(fd);
    return answer;
  };
  EXPECT_NE(ask("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", "nothing at").find("404"), std::string::npos);
  EXPECT_NE(ask("\x01\x02garbage\r\n\r\n", "").find("400 Bad Request"), std::string::npos);
  EXPECT_NE(ask("GET / HTTP/1.1\r\nA: " + std::string(20000, 'a') + "\r\n\r\n", "").find("431"), std::string::npos);
  EXPECT_NE(ask("POST /v2/ HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n", "").find("413"), std::string::npos);
  EXPECT_NE(ask("GET /v2/forgotten HTTP/1.1\r\nHost: x\r\n\r\n", "dropped").find("500"), std::string::npos);
  EXPECT_NE(ask("POST /v2/ HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", "100 Continue\r\n\r\n").find("100"),
            std::string::npos);
  EXPECT_EQ(ask("HEAD /v2/abc HTTP/1.0\r\n\r\n", "").find("HEAD /v2/abc"), std::string::npos);
}

TEST_F(Door, SilentAndHalfConnectionsHoldUpNobody) {
  std::vector<int> idle;
  for (int i = 0; i < 50; ++i) idle.push_back(Connect());
  for (int i = 0; i < 50; i += 2) Send(idle[static_cast<size_t>(i)], i % 4 == 0 ? "P" : "PRI * HT");
  EXPECT_TRUE(Search("books", "", NewChannel()).status.ok());
  // "P" alone may yet become a POST.
  Send(idle[0], "OST /v2/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
  EXPECT_NE(ReceiveUntil(idle[0], "POST /v2/slow").find("200 OK"), std::string::npos);
  for (const int fd : idle) ::close(fd);
}

TEST_F(Door, HealthChecksAndWatches) {
  grpc::health::v1::HealthCheckRequest request;
  grpc::ByteBuffer reply;
  ASSERT_TRUE(Raw(channel_, "/grpc.health.v1.Health/Check", "", &reply).ok());
  EXPECT_EQ(Parse<grpc::health::v1::HealthCheckResponse>(reply).status(), grpc::health::v1::HealthCheckResponse::SERVING);
  // A watch gets the state and its change.
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  auto call = stub.PrepareCall(&context, "/grpc.health.v1.Health/Watch", &queue);
  void* tag;
  bool ok;
  const auto next = [&] { return queue.Next(&tag, &ok) && ok; };
  call->StartCall(nullptr);
  ASSERT_TRUE(next());
  grpc::Slice empty("");
  call->WriteLast(grpc::ByteBuffer(&empty, 1), grpc::WriteOptions(), nullptr);
  ASSERT_TRUE(next());
  for (const bool serving : {true, false}) {
    if (!serving) server_->SetServing(false);
    grpc::ByteBuffer message;
    call->Read(&message, nullptr);
    ASSERT_TRUE(next());
    EXPECT_EQ(Parse<grpc::health::v1::HealthCheckResponse>(message).status(),
              serving ? grpc::health::v1::HealthCheckResponse::SERVING : grpc::health::v1::HealthCheckResponse::NOT_SERVING);
  }
  context.TryCancel();
  grpc::Status status;
  call->Finish(&status, nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok));
}

TEST_F(Door, CallsFromInside) {
  std::promise<std::string> answer;
  pb::SearchRequest request;
  request.set_collection_name("inner");
  table_.Call<pb::SearchRequest, pb::SearchResults>(
      kSearch, request, [](RequestContext& context) { context.authorization = "bob"; },
      [&](const Status& status, const pb::SearchResults& results) { answer.set_value(status.ok() ? results.collection_name() : status.message()); });
  EXPECT_EQ(answer.get_future().get(), "inner/bob/");
  std::promise<Status> refused;
  table_.Call<pb::SearchRequest, pb::SearchResults>(
      kSearch, request, [](RequestContext& context) { context.authorization = "bad"; },
      [&](const Status& status, const pb::SearchResults&) { refused.set_value(status); });
  EXPECT_EQ(refused.get_future().get().code(), ErrorCode::kUnauthenticated);
}

// Brief calls stay on the thread they came on; after one that took long the next ones go to the pool.
TEST(MethodTable, RunsBriefCallsWhereTheyArrive) {
  MethodTable table;
  ThreadPool pool("pool", 1);
  table.Register<pb::SearchRequest, pb::SearchResults>(
      kSearch, &pool,
      [](RequestContext&, const pb::SearchRequest& request, Responder<pb::SearchResults> respond) {
        const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(request.nq());
        while (std::chrono::steady_clock::now() < until) {
        }
        pb::SearchResults results;
        results.set_collection_name(fmt::format("{}", std::hash<std::thread::id>()(std::this_thread::get_id())));
        respond(results);
      },
      /*often_brief=*/true);
  const std::string here = fmt::format("{}", std::hash<std::thread::id>()(std::this_thread::get_id()));
  const auto ran_here = [&](int64_t busy_ms) {
    pb::SearchRequest request;
    request.set_nq(busy_ms);
    std::promise<std::string> ran;
    table.Call<pb::SearchRequest, pb::SearchResults>(kSearch, request, nullptr, [&](const Status& status, const pb::SearchResults& results) {
      EXPECT_TRUE(status.ok());
      ran.set_value(results.collection_name());
    });
    return ran.get_future().get() == here;
  };
  EXPECT_TRUE(ran_here(0));
  EXPECT_TRUE(ran_here(100));
  EXPECT_FALSE(ran_here(0));
  int to_pool = 1;
  while (to_pool < 10'000 && !ran_here(0)) ++to_pool;
  EXPECT_EQ(to_pool, 256);
  EXPECT_TRUE(ran_here(0));
}

TEST_F(Door, TableFitsTheProtos) {
  EXPECT_TRUE(table_.CheckAgainstDescriptors().ok()) << table_.CheckAgainstDescriptors().ToString();
  MethodTable wrong;
  wrong.Register<pb::SearchRequest, milvus::proto::common::Status>(kSearch, nullptr, [](auto&, auto&, auto) {});
  EXPECT_FALSE(wrong.CheckAgainstDescriptors().ok());
}

TEST_F(Door, PortInUseSaysSo) {
  RpcServerOptions options;
  options.listen = "127.0.0.1:" + std::to_string(server_->port());
  HttpServer other;
  const auto second = RpcServer::Start(options, &table_, &other, &routes_);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.status().message().find("in use"), std::string::npos);
}

TEST_F(Door, StopsWithCallsUnderWay) {
  std::thread caller([&] { Search("later"); });
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  http_.Stop();
  server_->Stop(0);
  caller.join();
}

}  // namespace
}  // namespace saker
