#include "transport/server.h"

#include <fmt/format.h>

#include <map>

#include "base/clock.h"
#include "base/log.h"
#include "rpc/brief_calls.h"
#include "transport/channel.h"
#include "transport/door.h"
#include "transport/methods.h"

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

// ---- dispatch

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
  std::vector<const ServedMethod*> by_number;  // as the door knows them
  std::unique_ptr<Door> door;
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
  SAKER_CHECK(options.data != nullptr && options.control != nullptr && options.waiting != nullptr);
  auto state = std::make_unique<State>(options);
  state->AddCoordinators();
  state->AddNodes();
  state->AddPing();
  state->AddReaches();
  Door::Settings settings;
  settings.listen = options.listen;
  settings.tls = options.tls;
  for (const auto& [name, method] : state->methods) {
    settings.methods.push_back(name);
    state->by_number.push_back(&method);
  }
  settings.begin = [state = state.get()](Frame request, int64_t deadline_us, IncomingCall::Send send) {
    return state->context.NewCall(std::move(request), deadline_us, std::move(send));
  };
  settings.dispatch = [state = state.get()](size_t method, IncomingCallPtr call) {
    Dispatch(state->context, *state->by_number[method], std::move(call));
  };
  ASSIGN_OR_RETURN(state->door, Door::Open(std::move(settings)));
  state->port = state->door->port();
  return std::unique_ptr<InternalServer>(new InternalServer(std::move(state)));
}

void InternalServer::Stop(int grace_ms) {
  if (state_->door == nullptr) return;
  state_->door->Close(std::chrono::milliseconds(grace_ms));
  state_->context.WaitForCalls();  // answered, but perhaps still on their way out of their handlers
  state_->door.reset();
}

}  // namespace saker
