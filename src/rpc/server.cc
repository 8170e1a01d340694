#include "rpc/server.h"

#include <google/protobuf/io/zero_copy_stream.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/server_callback.h>
#include <unistd.h>

#include <chrono>
#include <set>

#include "base/log.h"
#include "base/mutex.h"
#include "health.pb.h"
#include "rpc/grpc_process.h"

namespace saker {
namespace {

constexpr std::string_view kHealthCheck = "/grpc.health.v1.Health/Check";
constexpr std::string_view kHealthWatch = "/grpc.health.v1.Health/Watch";

std::string_view View(grpc::string_ref text) { return {text.data(), text.size()}; }

void ReadMetadata(const grpc::CallbackServerContext& from, RequestContext& to) {
  for (const auto& [key, value] : from.client_metadata()) {
    std::string* field = nullptr;
    switch (key.size()) {
      case 6: field = View(key) == "dbname" ? &to.db_name : nullptr; break;
      case 10: field = View(key) == "identifier" ? &to.identifier : View(key) == "user-agent" ? &to.user_agent : nullptr; break;
      case 11: field = View(key) == "traceparent" ? &to.traceparent : nullptr; break;
      case 13: field = View(key) == "authorization" ? &to.authorization : nullptr; break;
      case 17: field = View(key) == "client-request-id" ? &to.client_request_id : nullptr; break;
      case 18: field = View(key) == "client_request_id" ? &to.client_request_id : nullptr; break;
      default: break;
    }
    if (field != nullptr) field->assign(value.data(), value.size());
  }
  to.peer = from.peer();
  const auto deadline = from.deadline();
  if (deadline < std::chrono::system_clock::now() + std::chrono::hours(24 * 365)) {
    using std::chrono::duration_cast;
    const auto left = duration_cast<std::chrono::microseconds>(deadline - std::chrono::system_clock::now());
    to.deadline_us = to.received_us + left.count();
  }
}

// A call of the method table. Two owners: gRPC, until OnDone, and the handler's Responders.
class WireCall final : public RpcCall, public grpc::ServerUnaryReactor {
 public:
  // `request` and `response` are gRPC's and live until OnDone.
  WireCall(const MethodTable* table, const RpcMethod* method, const grpc::CallbackServerContext& wire,
           const grpc::ByteBuffer* request, grpc::ByteBuffer* response)
      : RpcCall(method), table_(table), wire_request_(request), wire_response_(response) {
    ReadMetadata(wire, context());
  }

  void Start() {
    table_->Run(this, [this](google::protobuf::Message* request) { return Parse(request); });
  }
  void OnCancel() override { context().cancelled = true; }
  void OnDone() override { Unref(); }

 private:
  // OnCancel and OnDone do next to nothing: on gRPC's own thread, without a hop to its executor.
  bool InternalInlineable() override { return true; }

  Status Parse(google::protobuf::Message* request) {
    grpc::ByteBuffer wire(*wire_request_);  // shares the bytes; a reader wants it mutable
    grpc::ProtoBufferReader reader(&wire);
    if (reader.status().ok() && request->ParseFromZeroCopyStream(&reader)) return Status();
    return Status(ErrorCode::kParameterInvalid,
                  fmt::format("the {} bytes of the request are not a valid {}", wire.Length(), method().request_type));
  }

  void SendMessage(const google::protobuf::Message& response) override {
    bool own = false;
    Finish(grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::Message>(response, wire_response_, &own));
  }
  void SendError(int grpc_code, const std::string& message) override {
    Finish(grpc::Status(static_cast<grpc::StatusCode>(grpc_code), message));
  }

  const MethodTable* const table_;
  const grpc::ByteBuffer* const wire_request_;
  grpc::ByteBuffer* const wire_response_;
};

// The methods of a table as a gRPC service of raw bytes: gRPC has read the request when it calls, which saves a round
// through its completion queue against a generic service.
class TableService final : public grpc::Service {
 public:
  explicit TableService(const MethodTable* table) : names_(table->names()) {
    using grpc::internal::RpcServiceMethod;
    for (size_t i = 0; i < names_.size(); ++i) {
      const RpcMethod* method = table->Find(names_[i]);
      AddMethod(new RpcServiceMethod(names_[i].c_str(), grpc::internal::RpcMethod::NORMAL_RPC, nullptr));
      MarkMethodRawCallback(
          static_cast<int>(i),
          new grpc::internal::CallbackUnaryHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
              [table, method](grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                              grpc::ByteBuffer* response) -> grpc::ServerUnaryReactor* {
                auto* call = new WireCall(table, method, *context, request, response);
                call->Start();
                return call;
              }));
    }
  }

 private:
  const std::vector<std::string> names_;  // gRPC keeps pointers into them
};

// Refuses a method that isn't in the table.
class UnknownMethodCall final : public grpc::ServerGenericBidiReactor {
 public:
  explicit UnknownMethodCall(const std::string& method) {
    Finish(grpc::Status(grpc::StatusCode::UNIMPLEMENTED,
                        "method " + method + " is not supported by this version of Saker; see docs/compatibility.md"));
  }
  void OnDone() override { delete this; }
};

// grpc.health.v1.Health/Watch: tells the state, and again when it changes, until the client leaves.
class HealthWatch;
class HealthState {
 public:
  bool serving() const { return serving_; }
  void Set(bool serving);
  void Add(HealthWatch* watch) {
    MutexLock lock(mutex_);
    watches_.insert(watch);
  }
  void Remove(HealthWatch* watch) {
    MutexLock lock(mutex_);
    watches_.erase(watch);
  }
  void EndAll();

 private:
  std::atomic<bool> serving_{true};
  Mutex mutex_;
  std::set<HealthWatch*> watches_ GUARDED_BY(mutex_);
};

class HealthWatch final : public grpc::ServerGenericBidiReactor {
 public:
  explicit HealthWatch(HealthState* state) : state_(state) {
    state_->Add(this);
    StartRead(&request_);
  }
  void OnReadDone(bool ok) override {
    if (!ok) return End();
    Tell();
  }
  void OnWriteDone(bool ok) override {
    bool again;
    {
      MutexLock lock(mutex_);
      writing_ = false;
      again = ok && !ended_ && told_ != state_->serving();
    }
    if (again) Tell();
  }
  void OnCancel() override { End(); }
  void OnDone() override {
    state_->Remove(this);
    delete this;
  }
  void Tell() {
    MutexLock lock(mutex_);
    if (writing_ || ended_) return;
    writing_ = true;
    told_ = state_->serving();
    grpc::health::v1::HealthCheckResponse response;
    response.set_status(told_ ? grpc::health::v1::HealthCheckResponse::SERVING
                              : grpc::health::v1::HealthCheckResponse::NOT_SERVING);
    bool own = false;
    (void)grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::Message>(response, &response_, &own);
    StartWrite(&response_);
  }
  void End() {
    {
      MutexLock lock(mutex_);
      if (ended_) return;
      ended_ = true;
    }
    Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the server stops"));
  }

 private:
  HealthState* const state_;
  grpc::ByteBuffer request_, response_;
  Mutex mutex_;
  bool writing_ GUARDED_BY(mutex_) = false;
  bool ended_ GUARDED_BY(mutex_) = false;
  bool told_ GUARDED_BY(mutex_) = false;
};

void HealthState::Set(bool serving) {
  serving_ = serving;
  MutexLock lock(mutex_);
  for (HealthWatch* watch : watches_) watch->Tell();
}
void HealthState::EndAll() {
  MutexLock lock(mutex_);
  for (HealthWatch* watch : watches_) watch->End();
}

// What no table has.
class OtherMethods final : public grpc::CallbackGenericService {
 public:
  explicit OtherMethods(HealthState* health) : health_(health) {}

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    if (context->method() == kHealthWatch) return new HealthWatch(health_);
    return new UnknownMethodCall(context->method());
  }

 private:
  HealthState* const health_;
};

Result<std::shared_ptr<grpc::ServerCredentials>> TlsCredentials(const RpcServerOptions& options) {
  grpc::SslServerCredentialsOptions ssl(options.tls_mode == TlsMode::kMutual
                                            ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                            : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  grpc::SslServerCredentialsOptions::PemKeyCertPair pair;
  ASSIGN_OR_RETURN(pair.cert_chain, ReadPem(options.tls.certificate, "certificate"));
  ASSIGN_OR_RETURN(pair.private_key, ReadPem(options.tls.key, "key"));
  ssl.pem_key_cert_pairs.push_back(pair);
  if (options.tls_mode == TlsMode::kMutual) {
    ASSIGN_OR_RETURN(ssl.pem_root_certs, ReadPem(options.tls.client_ca, "client CA"));
  }
  auto credentials = grpc::SslServerCredentials(ssl);
  if (credentials == nullptr) {
    return Status(ErrorCode::kParameterInvalid, fmt::format("TLS certificate '{}' and key '{}' don't make a pair",
                                                            options.tls.certificate, options.tls.key));
  }
  return credentials;
}

}  // namespace

struct RpcServer::State {
  explicit State(const MethodTable* methods) : service(methods), others(&health) {}
  MethodTable own;  // the health service
  HealthState health;
  TableService service;
  std::unique_ptr<TableService> own_service;
  OtherMethods others;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> handover;
  std::unique_ptr<grpc::Server> server;
  int port = 0;
};

RpcServer::RpcServer(std::unique_ptr<State> state) : state_(std::move(state)) {}
RpcServer::~RpcServer() { Stop(); }
int RpcServer::port() const { return state_->port; }
void RpcServer::SetServing(bool serving) { state_->health.Set(serving); }

Result<std::unique_ptr<RpcServer>> RpcServer::Start(const RpcServerOptions& options, const MethodTable* methods,
                                                    HttpServer* http, const HttpRoutes* rest) {
  PrepareGrpc();
  auto state = std::make_unique<State>(methods);
  using grpc::health::v1::HealthCheckRequest;
  using grpc::health::v1::HealthCheckResponse;
  state->own.Register<HealthCheckRequest, HealthCheckResponse>(
      std::string(kHealthCheck), nullptr,
      [health = &state->health](RequestContext&, const HealthCheckRequest&, Responder<HealthCheckResponse> respond) {
        respond.message().set_status(health->serving() ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING);
        respond.Send();
      });

  grpc::ServerBuilder builder;
  state->own_service = std::make_unique<TableService>(&state->own);
  builder.RegisterService(&state->service);
  builder.RegisterService(state->own_service.get());
  builder.RegisterCallbackGenericService(&state->others);
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.max_receive_bytes));
  builder.SetMaxSendMessageSize(-1);
  // Go clients ping idle connections every 5 s at the most; gRPC's default would answer with GOAWAY.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 4500);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);

  const bool tls = options.tls_mode != TlsMode::kOff;
  int tls_port = 0;
  if (tls) {
    ASSIGN_OR_RETURN(auto credentials, TlsCredentials(options));
    builder.AddListeningPort(options.listen, credentials, &tls_port);
  } else {
    state->handover = builder.experimental().AddExternalConnectionAcceptor(
        grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, grpc::InsecureServerCredentials());
  }
  state->server = builder.BuildAndStart();
  if (state->server == nullptr || (tls && tls_port == 0)) {
    return Status(ErrorCode::kIoFailed,
                  fmt::format("cannot serve gRPC on {}: is the port in use by another process, or a TLS file not valid?",
                              options.listen));
  }
  auto server = std::unique_ptr<RpcServer>(new RpcServer(std::move(state)));
  State* const raw = server->state_.get();
  if (tls) {
    raw->port = tls_port;
  } else {
    const auto handover = [raw](int listener_fd, int fd) {
      grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
      connection.listener_fd = listener_fd;
      connection.fd = fd;
      raw->handover->HandleNewConnection(&connection);
    };
    ASSIGN_OR_RETURN(raw->port, http->Listen(options.listen, rest, handover));
  }
  if (!options.http_listen.empty()) {
    TlsFiles files = options.tls;
    if (options.tls_mode != TlsMode::kMutual) files.client_ca.clear();
    RETURN_IF_ERROR(http->Listen(options.http_listen, rest, nullptr, tls ? &files : nullptr).status());
  }
  return server;
}

void RpcServer::Stop(int grace_ms) {
  if (state_->server == nullptr) return;
  state_->health.EndAll();
  state_->server->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(grace_ms));
  state_->server->Wait();
  state_->server.reset();
}

}  // namespace saker
