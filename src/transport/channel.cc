#include "transport/channel.h"

#include <fmt/format.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/impl/client_unary_call.h>
#include <grpcpp/impl/rpc_method.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <unordered_set>

#include "base/clock.h"
#include "base/log.h"
#include "base/mutex.h"
#include "rpc/brief_calls.h"
#include "rpc/grpc_process.h"
#include "transport/wire_grpc.h"

namespace saker {
namespace {

constexpr int kKeepaliveMs = 800;         // between pings while calls are under way
constexpr int kKeepaliveTimeoutMs = 800;  // for a ping's answer
constexpr int kConnectMs = 1500;          // for one attempt
constexpr int kFirstBackoffMs = 100;
constexpr int kLongestBackoffMs = 500;
constexpr std::string_view kNotConnected = "failed to connect to all addresses";  // gRPC's words
constexpr std::string_view kFateUnknown = "; whether it was carried out is not known";

using grpc::internal::RpcMethod;

std::chrono::system_clock::time_point WallDeadline(int64_t deadline_us) {
  const int64_t left = std::max<int64_t>(0, deadline_us - MonotonicUs());
  return std::chrono::system_clock::now() + std::chrono::microseconds(left);
}

grpc::ChannelArguments Arguments(const InternalTls& tls) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(static_cast<int>(kLargestMessage));
  arguments.SetMaxSendMessageSize(static_cast<int>(kLargestMessage));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectMs);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstBackoffMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kLongestBackoffMs);
  // A connection of its own, whatever else this process has open to the address; and straight to it.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  // Whether to send again is for the caller to say, who knows what that may repeat.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  if (!tls.server_name.empty()) arguments.SetSslTargetNameOverride(tls.server_name);
  return arguments;
}

Result<std::shared_ptr<grpc::ChannelCredentials>> Credentials(const InternalTls& tls) {
  if (!tls.enabled) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  ASSIGN_OR_RETURN(options.pem_root_certs, ReadPem(tls.ca, "CA between nodes"));
  if (!tls.certificate.empty()) {
    ASSIGN_OR_RETURN(options.pem_cert_chain, ReadPem(tls.certificate, "certificate between nodes"));
    ASSIGN_OR_RETURN(options.pem_private_key, ReadPem(tls.key, "key between nodes"));
  }
  return grpc::SslCredentials(options);
}

}  // namespace

bool MayHaveBeenCarriedOut(const Status& status) { return status.message().ends_with(kFateUnknown); }

struct PeerChannel::State {
  NodeId node;
  std::string address;
  ThreadPool* callbacks = nullptr;
  std::shared_ptr<grpc::Channel> channel;
  BriefCalls brief;

  mutable Mutex mutex;
  CondVar none_left;
  bool closed GUARDED_BY(mutex) = false;
  std::unordered_set<grpc::ClientContext*> under_way GUARDED_BY(mutex);  // to cancel them
  int64_t unfinished GUARDED_BY(mutex) = 0;                               // whose callback has not returned

  std::string Peer() const { return fmt::format("node {} at {}", node.value, address); }
  Status Closed() const { return {ErrorCode::kServiceUnavailable, Peer() + " is not called any more: its session has ended"}; }

  bool Begin(grpc::ClientContext* context) {
    MutexLock lock(mutex);
    if (closed) return false;
    under_way.insert(context);
    ++unfinished;
    return true;
  }
  void Answered(grpc::ClientContext* context) {
    MutexLock lock(mutex);
    under_way.erase(context);
  }
  void Finished() {
    MutexLock lock(mutex);
    if (--unfinished == 0) none_left.NotifyAll();
  }

  Status Explain(const grpc::Status& status, const MethodSpec& method, int64_t begun_us) const;
  Status CheckSize(const MethodSpec& method, const Frame& request) const;
};

Status PeerChannel::State::CheckSize(const MethodSpec& method, const Frame& request) const {
  const auto size = static_cast<int64_t>(request.size());
  if (size <= kLargestMessage) return {};
  return {ErrorCode::kParameterInvalid, fmt::format("{} to {} would take {} bytes, more than the {} of a message between nodes; "
                                                    "send fewer rows at a time", ShortName(method), Peer(), size, kLargestMessage)};
}

Status PeerChannel::State::Explain(const grpc::Status& status, const MethodSpec& method, int64_t begun_us) const {
  // Only a connection that was never made has certainly not carried the call anywhere.
  const bool unsent = status.error_code() == grpc::StatusCode::UNAVAILABLE && status.error_message().starts_with(kNotConnected);
  const std::string_view fate = unsent ? std::string_view() : kFateUnknown;
  switch (status.error_code()) {
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return {ErrorCode::kDeadlineExceeded, fmt::format("{} gave no answer to {} within {} ms{}", Peer(), ShortName(method),
                                                        (MonotonicUs() - begun_us) / 1000, fate)};
    case grpc::StatusCode::UNIMPLEMENTED:
      return {ErrorCode::kUnimplemented, fmt::format("{} does not know {}: it runs another version", Peer(), ShortName(method))};
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return {ErrorCode::kParameterInvalid, fmt::format("{} of {}: {}; ask for fewer rows", ShortName(method), Peer(), status.error_message())};
    case grpc::StatusCode::CANCELLED: {
      MutexLock lock(mutex);
      const bool ours = closed;
      lock.Unlock();
      return {ErrorCode::kServiceUnavailable,
              ours ? Closed().message() + std::string(fate)
                   : fmt::format("{} does not answer: it ended the call{}", Peer(), fate)};
    }
    // A connection that ends in the middle of a call may also show as these.
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::INTERNAL:
      return {ErrorCode::kServiceUnavailable, fmt::format("{} does not answer: {}{}", Peer(), status.error_message(), fate)};
    default:
      return {ErrorCode::kServiceInternal, fmt::format("{} to {} failed with gRPC status {}: {}{}", ShortName(method), Peer(),
                                                       static_cast<int>(status.error_code()), status.error_message(), fate)};
  }
}

// One call under way; deletes itself before its callback. The state outlives it: closing waits for unfinished calls.
// It must not own the state: gRPC's threads may not destroy a channel, they would wait for themselves.
class PeerChannel::AsyncCall final : public grpc::ClientUnaryReactor {
 public:
  AsyncCall(State* state, const MethodSpec& method, Done done) : state_(state), method_(method), done_(std::move(done)) {}

  // On a closed channel the callback comes at once.
  void Start(const Frame& request, int64_t deadline_us) {
    if (!state_->Begin(&context_)) {
      const Done done = std::move(done_);
      const Status closed = state_->Closed();
      delete this;
      return done(closed);
    }
    request_ = ToByteBuffer(request);
    context_.set_deadline(WallDeadline(deadline_us));
    const RpcMethod method(method_.name, /*suffix_for_stats=*/nullptr, RpcMethod::NORMAL_RPC);
    grpc::internal::ClientCallbackUnaryFactory::Create<grpc::ByteBuffer, grpc::ByteBuffer>(state_->channel.get(), method, &context_,
                                                                                           &request_, &response_, this);
    StartCall();
  }

  void OnDone(const grpc::Status& status) override {
    state_->Answered(&context_);
    if (!status.ok()) failed_ = state_->Explain(status, method_, begun_us_);
    if (state_->callbacks == nullptr) return Finish(nullptr);
    if (state_->brief.TryBegin()) return Finish(&state_->brief);
    // Dropping the reference finishes the call, also where a pool that has stopped never runs the task.
    std::shared_ptr<AsyncCall> call(this, [](AsyncCall* self) { self->Finish(nullptr); });
    state_->callbacks->Post([call = std::move(call)]() mutable { call.reset(); });
  }

 private:
  void Finish(BriefCalls* brief) {
    State* const state = state_;
    const int64_t begun_us = brief != nullptr ? ThreadCpuUs() : 0;
    Answer();
    if (brief != nullptr) brief->End(ThreadCpuUs() - begun_us);
    state->Finished();
  }

  // Whatever the callback holds is gone when this returns.
  void Answer() {
    const Done done = std::move(done_);
    Result<Frame> answer = failed_.ok() ? Result<Frame>(FromByteBuffer(response_)) : Result<Frame>(failed_);
    const std::string_view method = method_.name;
    delete this;
    try {
      done(std::move(answer));
    } catch (const std::exception& error) {
      LogError("the callback of a call to {} threw: {}", method, error.what());
    }
  }

  State* const state_;
  const MethodSpec& method_;
  Done done_;
  const int64_t begun_us_ = MonotonicUs();
  grpc::ClientContext context_;
  grpc::ByteBuffer request_, response_;
  Status failed_;
};

PeerChannel::PeerChannel(std::unique_ptr<State> state) : state_(std::move(state)) {}
PeerChannel::~PeerChannel() { Close(); }

Result<std::shared_ptr<PeerChannel>> PeerChannel::Open(NodeId node, const std::string& address, const InternalTls& tls,
                                                       ThreadPool* callbacks) {
  PrepareGrpc();
  auto state = std::make_unique<State>();
  state->node = node;
  state->address = address;
  state->callbacks = callbacks;
  ASSIGN_OR_RETURN(const auto credentials, Credentials(tls));
  state->channel = grpc::CreateCustomChannel(address, credentials, Arguments(tls));
  return std::shared_ptr<PeerChannel>(new PeerChannel(std::move(state)));
}

void PeerChannel::Call(const MethodSpec& method, const Frame& request, int64_t deadline_us, Done done) {
  if (Status size = state_->CheckSize(method, request); !size.ok()) return done(size);
  (new AsyncCall(state_.get(), method, std::move(done)))->Start(request, deadline_us);
}

Result<Frame> PeerChannel::CallAndWait(const MethodSpec& method, const Frame& request, int64_t deadline_us) {
  RETURN_IF_ERROR(state_->CheckSize(method, request));
  const int64_t begun_us = MonotonicUs();
  grpc::ClientContext context;
  if (!state_->Begin(&context)) return state_->Closed();
  context.set_deadline(WallDeadline(deadline_us));
  const grpc::ByteBuffer buffer = ToByteBuffer(request);
  grpc::ByteBuffer response;
  const grpc::Status status =
      grpc::internal::BlockingUnaryCall(state_->channel.get(), RpcMethod(method.name, nullptr, RpcMethod::NORMAL_RPC), &context,
                                        buffer, &response);
  state_->Answered(&context);
  Result<Frame> answer = status.ok() ? Result<Frame>(FromByteBuffer(response))
                                     : Result<Frame>(state_->Explain(status, method, begun_us));
  state_->Finished();
  return answer;
}

void PeerChannel::Cancel() {
  MutexLock lock(state_->mutex);
  state_->closed = true;
  for (grpc::ClientContext* context : state_->under_way) context->TryCancel();
}

void PeerChannel::Close() {
  Cancel();
  MutexLock lock(state_->mutex);
  state_->none_left.Wait(lock, [this]() REQUIRES(state_->mutex) { return state_->unfinished == 0; });
}

bool PeerChannel::idle() const {
  MutexLock lock(state_->mutex);
  return state_->unfinished == 0;
}

NodeId PeerChannel::node() const { return state_->node; }
const std::string& PeerChannel::address() const { return state_->address; }

}  // namespace saker
