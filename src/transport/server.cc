#include "transport/server.h"

#include <fmt/format.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/server_callback.h>

#include <map>

#include "base/clock.h"
#include "base/log.h"
#include "rpc/brief_calls.h"
#include "rpc/grpc_process.h"
#include "transport/channel.h"
#include "transport/incoming_call.h"
#include "transport/methods.h"
#include "transport/wire_grpc.h"

namespace saker {

bool IncomingCall::expired() const {
  return cancelled_.load(std::memory_order_relaxed) || MonotonicUs() >= deadline_us_;
}

void IncomingCall::Answer(const Frame& answer) {
  if (answered_.exchange(true, std::memory_order_acq_rel)) return;
  if (answer.size() <= static_cast<size_t>(kLargestMessage)) return send_(answer);
  send_(EncodeFailure({ErrorCode::kParameterInvalid,
                       fmt::format("the answer would take {} bytes, more than the {} of a message between nodes; ask for fewer rows",
                                   answer.size(), kLargestMessage)}));
}

namespace {

// A method as it is served.
struct ServedMethod {
  MethodSpec spec;
  ThreadPool* pool = nullptr;  // null: where it arrives
  std::unique_ptr<BriefCalls> brief;
  std::function<void(const IncomingCallPtr&)> handle;
};
using ServedMethods = std::map<std::string, ServedMethod>;

// What all handlers need. Who handles a call holds it, so that nothing here is used once no call is left.
class Context {
 public:
  explicit Context(const InternalServerOptions& from) : options(from), admission(from.cluster, from.node) {}
  const InternalServerOptions options;
  Admission admission;
  PlanReader plans;

  IncomingCallPtr NewCall(Frame request, int64_t deadline_us, IncomingCall::Send send) {
    {
      MutexLock lock(mutex_);
      ++calls_;
    }
    return {new IncomingCall(std::move(request), deadline_us, std::move(send)), [this](IncomingCall* call) {
              delete call;
              MutexLock lock(mutex_);
              if (--calls_ == 0) none_left_.NotifyAll();
            }};
  }
  void WaitForCalls() {
    MutexLock lock(mutex_);
    none_left_.Wait(lock, [this]() REQUIRES(mutex_) { return calls_ == 0; });
  }

 private:
  Mutex mutex_;
  CondVar none_left_;
  int64_t calls_ GUARDED_BY(mutex_) = 0;
};

// ---- from a frame to a role's method and back

template <typename Role>
constexpr const char* kRoleName = "";
template <>
constexpr const char* kRoleName<RootCoord> = "rootcoord";
template <>
constexpr const char* kRoleName<DataCoord> = "datacoord";
template <>
constexpr const char* kRoleName<QueryCoord> = "querycoord";
template <>
constexpr const char* kRoleName<IndexCoord> = "indexcoord";
template <>
constexpr const char* kRoleName<DataNode> = "datanode";
template <>
constexpr const char* kRoleName<QueryNode> = "querynode";

template <typename Role>
Status NotServed(const Context& context) {
  return {ErrorCode::kServiceNotReady,
          fmt::format("node {} does not serve as {} at the moment", context.options.node.value, kRoleName<Role>)};
}

// What is to be true of arguments beyond that they decode.
template <typename T>
Status CheckArgument(const Context&, const T&) {
  return {};
}
Status CheckArgument(const Context& context, const WriteRequest& request) {
  const SchemaPtr schema = context.options.schema ? context.options.schema(request.collection) : nullptr;
  if (schema == nullptr) return {};
  for (const ShardWrite& shard : request.shards) {
    for (const auto& [partition, rows] : shard.inserts) RETURN_IF_ERROR(CheckRows(*schema, rows));
  }
  return {};
}

template <typename T>
struct Blank {
  static T Make() { return T{}; }
};
template <typename T>
struct Blank<Result<T>> {
  static Result<T> Make() { return Status(ErrorCode::kCorrupted, "the argument is missing"); }
};

template <typename... Args>
Status ReadArguments(Context& context, IncomingCall& call, Args&... args) {
  WireReader in(call.in(), &context.plans, call.deadline_us());
  RETURN_IF_ERROR(DecodeArguments(in, args...));
  Status wrong;
  (void)(... && (wrong = CheckArgument(context, args)).ok());
  return wrong;
}

template <typename T>
Frame AnswerOf(Result<T> result) {
  return EncodeAnswer(std::move(result));
}
inline Frame AnswerOf(const Status& status) { return status.ok() ? EncodeAnswer(Result<Nothing>(Nothing())) : EncodeFailure(status); }

using Handler = std::function<void(const IncomingCallPtr&)>;

// A method that answers by returning.
template <typename Role, typename R, typename... Args>
Handler HandlerOf(Context* context, RoleSlot<Role>* slot, R (Role::*method)(Args...)) {
  return [=](const IncomingCallPtr& call) {
    const typename RoleSlot<Role>::Hold role(slot);
    if (role.get() == nullptr) return call->Fail(NotServed<Role>(*context));
    std::tuple<std::decay_t<Args>...> args{Blank<std::decay_t<Args>>::Make()...};
    const Status read = std::apply([&](auto&... each) { return ReadArguments(*context, *call, each...); }, args);
    if (!read.ok()) return call->Fail(read);
    const auto invoke = [&](auto&... each) { return (role.get()->*method)(each...); };
    if constexpr (std::is_void_v<R>) {
      std::apply(invoke, args);
      call->Answer(AnswerOf(Status()));
    } else if constexpr (std::is_same_v<R, Status>) {
      call->Answer(AnswerOf(std::apply(invoke, args)));
    } else if constexpr (requires(R r) { r.status(); }) {
      call->Answer(AnswerOf(std::apply(invoke, args)));
    } else {
      call->Answer(AnswerOf(Result<R>(std::apply(invoke, args))));
    }
  };
}

// A callback that answers the call; the role is held until then.
template <typename Role, typename T>
Callback<T> AnswerTo(const IncomingCallPtr& call, std::shared_ptr<typename RoleSlot<Role>::Hold> role) {
  return [call, role = std::move(role)](Result<T> result) mutable { call->Answer(AnswerOf(std::move(result))); };
}

// A method of one argument that answers by callback.
template <typename Role, typename A, typename T>
Handler HandlerOf(Context* context, RoleSlot<Role>* slot, void (Role::*method)(A, Callback<T>)) {
  return [=](const IncomingCallPtr& call) {
    auto role = std::make_shared<typename RoleSlot<Role>::Hold>(slot);
    Role* const target = role->get();
    if (target == nullptr) return call->Fail(NotServed<Role>(*context));
    std::decay_t<A> a{};
    if (Status read = ReadArguments(*context, *call, a); !read.ok()) return call->Fail(read);
    (target->*method)(std::move(a), AnswerTo<Role, T>(call, std::move(role)));
  };
}

// Of two: a leg and its plan.
template <typename Role, typename A, typename B, typename T>
Handler HandlerOf(Context* context, RoleSlot<Role>* slot, void (Role::*method)(A, B, Callback<T>)) {
  return [=](const IncomingCallPtr& call) {
    auto role = std::make_shared<typename RoleSlot<Role>::Hold>(slot);
    Role* const target = role->get();
    if (target == nullptr) return call->Fail(NotServed<Role>(*context));
    std::decay_t<A> a{};
    std::decay_t<B> b{};
    if (Status read = ReadArguments(*context, *call, a, b); !read.ok()) return call->Fail(read);
    (target->*method)(std::move(a), std::move(b), AnswerTo<Role, T>(call, std::move(role)));
  };
}

// ---- gRPC

int64_t DeadlineOf(const grpc::CallbackServerContext& context) {
  const auto deadline = context.deadline();
  const auto now = std::chrono::system_clock::now();
  if (deadline > now + std::chrono::hours(24)) return kNoDeadlineUs;
  return MonotonicUs() + std::chrono::duration_cast<std::chrono::microseconds>(deadline - now).count();
}

// gRPC's side of a call. It lives until gRPC is done with it, which is after the answer; the answer comes once.
class WireReactor final : public grpc::ServerUnaryReactor {
 public:
  explicit WireReactor(grpc::ByteBuffer* response) : response_(response) {}

  IncomingCallPtr Begin(Context& context, const grpc::CallbackServerContext& wire, const grpc::ByteBuffer& request) {
    IncomingCallPtr call = context.NewCall(FromByteBuffer(request), DeadlineOf(wire), [this](const Frame& answer) {
      *response_ = ToByteBuffer(answer);
      Finish(grpc::Status::OK);
    });
    call_ = call;
    return call;
  }
  void OnCancel() override {
    if (const IncomingCallPtr call = call_.lock()) call->Cancel();
  }
  void OnDone() override { delete this; }

 private:
  bool InternalInlineable() override { return true; }  // OnCancel and OnDone do next to nothing

  grpc::ByteBuffer* const response_;
  std::weak_ptr<IncomingCall> call_;
};

void Handle(Context& context, const ServedMethod& method, const IncomingCallPtr& call) {
  if (call->expired()) return call->Fail({ErrorCode::kDeadlineExceeded, "the call's deadline passed while it waited"});
  try {
    method.handle(call);
  } catch (const std::exception& error) {
    LogError("{} on node {}: {}", ShortName(method.spec), context.options.node.value, error.what());
    call->Fail({ErrorCode::kServiceInternal, fmt::format("{} failed unexpectedly: {}", ShortName(method.spec), error.what())});
  }
}

Status Admit(Context& context, const ServedMethod& method, IncomingCall& call) {
  RETURN_IF_ERROR(ReadVersion(call.in()));
  WireReader in(call.in());
  CallHeader header;
  in(header);
  RETURN_IF_ERROR(in.status());
  return context.admission.Check(header, method.spec.is_command);
}

void Dispatch(Context& context, const ServedMethod& method, IncomingCallPtr call) {
  if (Status admitted = Admit(context, method, *call); !admitted.ok()) return call->Fail(admitted);
  if (method.pool == nullptr) return Handle(context, method, call);
  if (method.brief != nullptr && method.brief->TryBegin()) {
    // One that used little CPU but waited long kept a thread from listening all the same.
    constexpr int64_t kLongWaitUs = 10'000;
    const int64_t begun_us = MonotonicUs();
    const int64_t begun_cpu_us = ThreadCpuUs();
    Handle(context, method, call);
    const int64_t wall_us = MonotonicUs() - begun_us;
    method.brief->End(wall_us > kLongWaitUs ? wall_us : ThreadCpuUs() - begun_cpu_us);
    return;
  }
  method.pool->Post([&context, &method, call = std::move(call)] { Handle(context, method, call); });
}

class RoleService final : public grpc::Service {
 public:
  RoleService(Context* context, const ServedMethods* methods) {
    using grpc::internal::RpcServiceMethod;
    int index = 0;
    for (const auto& [name, method] : *methods) {
      AddMethod(new RpcServiceMethod(name.c_str(), grpc::internal::RpcMethod::NORMAL_RPC, nullptr));
      MarkMethodRawCallback(index++, new grpc::internal::CallbackUnaryHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
                                         [context, method = &method](grpc::CallbackServerContext* wire, const grpc::ByteBuffer* request,
                                                                     grpc::ByteBuffer* response) -> grpc::ServerUnaryReactor* {
                                           auto* reactor = new WireReactor(response);
                                           Dispatch(*context, *method, reactor->Begin(*context, *wire, *request));
                                           return reactor;
                                         }));
    }
  }
};

Result<std::shared_ptr<grpc::ServerCredentials>> Credentials(const InternalTls& tls) {
  if (!tls.enabled) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions ssl(tls.mutual ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                                   : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  grpc::SslServerCredentialsOptions::PemKeyCertPair pair;
  ASSIGN_OR_RETURN(pair.cert_chain, ReadPem(tls.certificate, "certificate between nodes"));
  ASSIGN_OR_RETURN(pair.private_key, ReadPem(tls.key, "key between nodes"));
  ssl.pem_key_cert_pairs.push_back(pair);
  if (tls.mutual) {
    ASSIGN_OR_RETURN(ssl.pem_root_certs, ReadPem(tls.ca, "CA between nodes"));
  }
  return grpc::SslServerCredentials(ssl);
}

}  // namespace

struct InternalServer::State {
  explicit State(const InternalServerOptions& options) : context(options) {}

  template <auto kMethod, typename Role>
  void Add(RoleSlot<Role>& slot) {
    static_assert(kHasSpec<kMethod>);
    ServedMethod& method = methods[kSpec<kMethod>.name];
    method.spec = kSpec<kMethod>;
    const InternalServerOptions& options = context.options;
    switch (method.spec.pool) {
      case CallPool::kData:
        method.pool = options.data;
        method.brief = std::make_unique<BriefCalls>();
        break;
      case CallPool::kControl: method.pool = options.control; break;
      case CallPool::kWaiting: method.pool = options.waiting; break;
    }
    method.handle = HandlerOf(&context, &slot, kMethod);
  }
  template <auto... kMethods, typename Role>
  void AddAll(RoleSlot<Role>& slot) {
    (Add<kMethods>(slot), ...);
  }
  void AddCoordinators();
  void AddNodes();
  void AddPing();
  void AddReaches();
  PingReply Ping() const;

  Context context;
  RoleSlot<RootCoord> root_coord;
  RoleSlot<DataCoord> data_coord;
  RoleSlot<QueryCoord> query_coord;
  RoleSlot<IndexCoord> index_coord;
  RoleSlot<DataNode> data_node;
  RoleSlot<QueryNode> query_node;
  ServedMethods methods;
  std::unique_ptr<RoleService> service;
  std::unique_ptr<grpc::Server> server;
  int port = 0;
};

void InternalServer::State::AddCoordinators() {
  AddAll<&RootCoord::CreateDatabase, &RootCoord::DropDatabase, &RootCoord::AlterDatabase, &RootCoord::CreateCollection,
         &RootCoord::DropCollection, &RootCoord::RenameCollection, &RootCoord::AlterCollection, &RootCoord::AlterField,
         &RootCoord::AddField, &RootCoord::CreatePartition, &RootCoord::DropPartition, &RootCoord::CreateAlias,
         &RootCoord::DropAlias, &RootCoord::AlterAlias, &RootCoord::CreateUser, &RootCoord::UpdateUser, &RootCoord::DropUser,
         &RootCoord::CreateRole, &RootCoord::DropRole, &RootCoord::AddUserToRole, &RootCoord::RemoveUserFromRole,
         &RootCoord::GrantPrivilege, &RootCoord::RevokePrivilege, &RootCoord::AllocateIds>(root_coord);
  AddAll<&DataCoord::Flush, &DataCoord::IsFlushed, &DataCoord::Compact, &DataCoord::GetCompactionState, &DataCoord::RowCount,
         &DataCoord::Segments, &DataCoord::CommitFlush, &DataCoord::ReportSealed, &DataCoord::ReportChannelLost,
         &DataCoord::ReportCheckpoint, &DataCoord::ReportCompaction, &DataCoord::ReportHandedOver, &DataCoord::DrainNode,
         &DataCoord::GetDrainProgress>(data_coord);
  AddAll<&QueryCoord::Load, &QueryCoord::Release, &QueryCoord::Progress, &QueryCoord::ReportLoaded,
         &QueryCoord::ReportLoadFailed, &QueryCoord::DrainNode, &QueryCoord::GetDrainProgress, &QueryCoord::CreateResourceGroup,
         &QueryCoord::UpdateResourceGroups, &QueryCoord::DropResourceGroup, &QueryCoord::TransferNode, &QueryCoord::TransferReplica,
         &QueryCoord::DescribeResourceGroup>(query_coord);
  AddAll<&IndexCoord::CreateIndex, &IndexCoord::DropIndex, &IndexCoord::AlterIndex, &IndexCoord::Progress,
         &IndexCoord::ReportIndex, &IndexCoord::DrainNode, &IndexCoord::GetDrainProgress>(index_coord);
}

void InternalServer::State::AddNodes() {
  AddAll<&DataNode::Write, &DataNode::BeginRead, &DataNode::Search, &DataNode::Query, &DataNode::Fetch, &DataNode::Deletes,
         &DataNode::GrowingSegments, &DataNode::OldestPin, &DataNode::BarrierCollection>(data_node);
  AddAll<&QueryNode::Search, &QueryNode::Query, &QueryNode::Fetch, &QueryNode::LoadedSegments>(query_node);
}

// Where it arrives: a full pool is no sign of death.
void InternalServer::State::AddPing() {
  ServedMethod& method = methods[kPingMethod];
  method.spec = kPingSpec;
  method.handle = [this](const IncomingCallPtr& call) { call->Answer(AnswerOf(Result<PingReply>(Ping()))); };
}

void InternalServer::State::AddReaches() {
  ServedMethod& method = methods[kReachesMethod];
  method.spec = kReachesSpec;
  method.handle = [this](const IncomingCallPtr& call) {
    NodeId node;
    if (Status read = ReadArguments(context, *call, node); !read.ok()) return call->Fail(read);
    if (!context.options.reaches) return call->Fail({ErrorCode::kServiceNotReady, "this process doesn't look for others"});
    context.options.reaches(node, [call](Result<bool> reached) { call->Answer(AnswerOf(std::move(reached))); });
  };
}

PingReply InternalServer::State::Ping() const {
  const InternalServerOptions& options = context.options;
  PingReply reply{options.node, options.roles, options.incarnation, options.load ? options.load() : NodeLoad()};
  const auto add = [&reply](bool filled, const char* role) {
    if (filled) reply.roles.emplace_back(role);
  };
  add(root_coord.filled(), kRoleName<RootCoord>);
  add(data_coord.filled(), kRoleName<DataCoord>);
  add(query_coord.filled(), kRoleName<QueryCoord>);
  add(index_coord.filled(), kRoleName<IndexCoord>);
  add(data_node.filled(), kRoleName<DataNode>);
  add(query_node.filled(), kRoleName<QueryNode>);
  return reply;
}

InternalServer::InternalServer(std::unique_ptr<State> state) : state_(std::move(state)) {}
InternalServer::~InternalServer() { Stop(); }
int InternalServer::port() const { return state_->port; }
Admission& InternalServer::admission() { return state_->context.admission; }
void InternalServer::Serve(RootCoord* role) { state_->root_coord.Set(role); }
void InternalServer::Serve(DataCoord* role) { state_->data_coord.Set(role); }
void InternalServer::Serve(QueryCoord* role) { state_->query_coord.Set(role); }
void InternalServer::Serve(IndexCoord* role) { state_->index_coord.Set(role); }
void InternalServer::Serve(DataNode* role) { state_->data_node.Set(role); }
void InternalServer::Serve(QueryNode* role) { state_->query_node.Set(role); }

Result<std::unique_ptr<InternalServer>> InternalServer::Start(InternalServerOptions options) {
  PrepareGrpc();
  SAKER_CHECK(options.data != nullptr && options.control != nullptr && options.waiting != nullptr);
  auto state = std::make_unique<State>(options);
  state->AddCoordinators();
  state->AddNodes();
  state->AddPing();
  state->AddReaches();
  state->service = std::make_unique<RoleService>(&state->context, &state->methods);
  ASSIGN_OR_RETURN(const auto credentials, Credentials(options.tls));
  if (credentials == nullptr) {
    return Status(ErrorCode::kParameterInvalid, fmt::format("TLS certificate '{}' and key '{}' don't make a pair",
                                                            options.tls.certificate, options.tls.key));
  }
  grpc::ServerBuilder builder;
  builder.RegisterService(state->service.get());
  builder.AddListeningPort(options.listen, credentials, &state->port);
  builder.SetMaxReceiveMessageSize(static_cast<int>(kLargestMessage));
  builder.SetMaxSendMessageSize(-1);
  // Peers ping while they wait for an answer.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 100);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  state->server = builder.BuildAndStart();
  if (state->server == nullptr || state->port == 0) {
    return Status(ErrorCode::kIoFailed, fmt::format("cannot serve other nodes on {}: is the port in use by another process, "
                                                    "or a TLS file not valid?", options.listen));
  }
  return std::unique_ptr<InternalServer>(new InternalServer(std::move(state)));
}

void InternalServer::Stop(int grace_ms) {
  if (state_->server == nullptr) return;
  state_->server->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(grace_ms));
  state_->server->Wait();
  state_->context.WaitForCalls();  // answered, but perhaps still on their way out of their handlers
  state_->server.reset();
}

}  // namespace saker
