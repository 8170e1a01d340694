#include "transport/door.h"

#include <fmt/format.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/server_callback.h>

#include "base/clock.h"
#include "rpc/grpc_process.h"
#include "transport/channel.h"
#include "transport/wire_grpc.h"

namespace saker {
namespace {

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

  IncomingCallPtr Begin(const Door::Settings& settings, const grpc::CallbackServerContext& wire, const grpc::ByteBuffer& request) {
    IncomingCallPtr call = settings.begin(FromByteBuffer(request), DeadlineOf(wire), [this](const Frame& answer) {
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

class RoleService final : public grpc::Service {
 public:
  explicit RoleService(const Door::Settings* settings) {
    using grpc::internal::RpcServiceMethod;
    for (size_t number = 0; number < settings->methods.size(); ++number) {
      AddMethod(new RpcServiceMethod(settings->methods[number].c_str(), grpc::internal::RpcMethod::NORMAL_RPC, nullptr));
      MarkMethodRawCallback(static_cast<int>(number),
                            new grpc::internal::CallbackUnaryHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
                                [settings, number](grpc::CallbackServerContext* wire, const grpc::ByteBuffer* request,
                                                   grpc::ByteBuffer* response) -> grpc::ServerUnaryReactor* {
                                  auto* reactor = new WireReactor(response);
                                  settings->dispatch(number, reactor->Begin(*settings, *wire, *request));
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

struct Door::State {
  explicit State(Settings from) : settings(std::move(from)), service(&settings) {}
  const Settings settings;
  RoleService service;
  std::unique_ptr<grpc::Server> server;
  int port = 0;
};

Door::Door(std::unique_ptr<State> state) : state_(std::move(state)) {}
Door::~Door() = default;
int Door::port() const { return state_->port; }

Result<std::unique_ptr<Door>> Door::Open(Settings settings) {
  PrepareGrpc();
  auto state = std::make_unique<State>(std::move(settings));
  const Settings& wanted = state->settings;
  ASSIGN_OR_RETURN(const auto credentials, Credentials(wanted.tls));
  if (credentials == nullptr) {
    return Status(ErrorCode::kParameterInvalid, fmt::format("TLS certificate '{}' and key '{}' don't make a pair",
                                                            wanted.tls.certificate, wanted.tls.key));
  }
  grpc::ServerBuilder builder;
  builder.RegisterService(&state->service);
  builder.AddListeningPort(wanted.listen, credentials, &state->port);
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
                                                    "or a TLS file not valid?", wanted.listen));
  }
  return std::unique_ptr<Door>(new Door(std::move(state)));
}

void Door::Close(std::chrono::milliseconds grace) {
  state_->server->Shutdown(std::chrono::system_clock::now() + grace);
  state_->server->Wait();
}

}  // namespace saker
