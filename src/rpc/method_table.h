// The door for requests: a table from a method's full name to the code that answers it.
//
//   table.Register<SearchRequest, SearchResults>("/milvus.proto.milvus.MilvusService/Search", &search_pool,
//       [proxy](RequestContext& context, const SearchRequest& request, Responder<SearchResults> respond) {
//         proxy->Search(context, request, [respond](Result<…> result) { … respond.Send(message) or respond.Fail(status); });
//       });
//
// Handlers are asynchronous: `respond` may be called from any thread, once; copies of it keep the request alive.
// A handler that drops all copies of `respond` without answering has its caller told so (service internal error).
// Register everything before the server starts; the table is immutable and thread-safe from then on.
//
// The gRPC server (server.h) takes requests from the wire; Call() takes them from inside the process (REST), the same
// way: authenticate, authorize, handle, count.
#pragma once

#include <google/protobuf/arena.h>
#include <google/protobuf/message.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/metrics.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "rpc/brief_calls.h"
#include "rpc/request_context.h"
#include "rpc/status_codec.h"

namespace saker {

class RpcCall;

// One method: how to make its messages, where to run it, what to count. Type-erased; made by MethodTable::Register.
struct RpcMethod {
  std::string name;
  std::string request_type;   // "milvus.proto.milvus.SearchRequest"
  std::string response_type;
  ThreadPool* pool = nullptr;  // null: on the transport's own thread, for handlers that only look something up
  std::unique_ptr<BriefCalls> brief;  // null: always to the pool
  google::protobuf::Message* (*new_request)(google::protobuf::Arena*) = nullptr;
  google::protobuf::Message* (*new_response)(google::protobuf::Arena*) = nullptr;
  // The Milvus status inside a response, or null where the message has none.
  milvus::proto::common::Status* (*mutable_status)(google::protobuf::Message*) = nullptr;
  const milvus::proto::common::Status& (*status)(const google::protobuf::Message&) = nullptr;
  std::function<void(RpcCall*)> run;
  Counter* total = nullptr;
  Counter* success = nullptr;
  Counter* fail = nullptr;
  Histogram* latency = nullptr;
};

// One request under way. Reference-counted: the transport holds one reference, each Responder another.
class RpcCall {
 public:
  explicit RpcCall(const RpcMethod* method);
  virtual ~RpcCall() = default;
  RpcCall(const RpcCall&) = delete;

  const RpcMethod& method() const { return *method_; }
  RequestContext& context() { return context_; }
  google::protobuf::Message* request() { return request_; }
  google::protobuf::Message* response() { return response_; }

  // Exactly one of these answers the call; later ones do nothing.
  void Reply() { Reply(*response_); }
  void Reply(const google::protobuf::Message& response);
  void Fail(const Status& status);
  // Fails with a number of grpc::StatusCode.
  void FailTransport(int grpc_code, const std::string& message);

  void Ref() { references_.fetch_add(1, std::memory_order_relaxed); }
  void Unref();
  void RefHandler() {
    handles_.fetch_add(1, std::memory_order_relaxed);
    Ref();
  }
  void UnrefHandler();

 protected:
  // Sends what the caller gets: a message, or a gRPC status.
  virtual void SendMessage(const google::protobuf::Message& response) = 0;
  virtual void SendError(int grpc_code, const std::string& message) = 0;

 private:
  void Count(bool ok);

  const RpcMethod* const method_;
  RequestContext context_;
  google::protobuf::Arena arena_;
  google::protobuf::Message* const request_;
  google::protobuf::Message* const response_;
  std::atomic<bool> answered_{false};
  std::atomic<int> references_{1};
  std::atomic<int> handles_{0};
};

// What a handler answers with. Copyable; cheap.
template <typename Response>
class Responder {
 public:
  explicit Responder(RpcCall* call) : call_(call) { call_->RefHandler(); }
  Responder(const Responder& other) : call_(other.call_) {
    if (call_ != nullptr) call_->RefHandler();
  }
  Responder(Responder&& other) noexcept : call_(std::exchange(other.call_, nullptr)) {}
  Responder& operator=(Responder other) noexcept {
    std::swap(call_, other.call_);
    return *this;
  }
  ~Responder() {
    if (call_ != nullptr) call_->UnrefHandler();
  }

  // An empty response in the call's arena, to be filled and sent by Send().
  Response& message() const { return *static_cast<Response*>(call_->response()); }
  void Send() const { call_->Reply(); }
  // Sends a message made elsewhere.
  void Send(const Response& response) const { call_->Reply(response); }
  void operator()(const Response& response) const { call_->Reply(response); }
  // Puts an error into the response's status (or answers with a gRPC status where Milvus does).
  void Fail(const Status& status) const { call_->Fail(status); }
  RequestContext& context() const { return call_->context(); }

 private:
  RpcCall* call_;
};

class MethodTable {
 public:
  // Runs before a request is parsed; sets context.user. A failure ends the call: kUnauthenticated becomes gRPC
  // UNAUTHENTICATED, kPrivilegeNotPermitted PERMISSION_DENIED, anything else goes into the response's status.
  using Authenticator = std::function<Status(RequestContext&)>;
  // Runs after parsing, before the handler. The privilege a request needs stands in its descriptor's options
  // (extension milvus.proto.common.privilege_ext_obj).
  using Authorizer = std::function<Status(RequestContext&, const google::protobuf::Message&)>;

  template <typename Request, typename Response>
  using Handler = std::function<void(RequestContext&, const Request&, Responder<Response>)>;

  // often_brief: may run on the transport's thread while its calls are brief (BriefCalls); it must never block there.
  template <typename Request, typename Response>
  void Register(std::string name, ThreadPool* pool, std::type_identity_t<Handler<Request, Response>> handler,
                bool often_brief = false);

  void SetAuthenticator(Authenticator authenticator) { authenticator_ = std::move(authenticator); }
  void SetAuthorizer(Authorizer authorizer) { authorizer_ = std::move(authorizer); }

  // Null if there is no such method.
  const RpcMethod* Find(std::string_view name) const;
  std::vector<std::string> names() const;

  // Takes a call that the transport has set the context of. parse() fills call->request() and returns why it can't,
  // which becomes gRPC INVALID_ARGUMENT; null: it is filled already.
  // Hops to the method's pool, unless its calls are brief. Used by transports.
  void Run(RpcCall* call, std::function<Status(google::protobuf::Message*)> parse) const;

  // Calls a method from inside the process. `fill` sets the context's metadata (may be null). `done` gets the response,
  // or the Status for which the wire would have had a gRPC error. The response lives as long as the call of `done`.
  template <typename Request, typename Response>
  void Call(std::string_view name, const Request& request, const std::function<void(RequestContext&)>& fill,
            std::function<void(const Status&, const Response&)> done) const;

  // Compares the registered names and types with the service descriptors; for tests.
  Status CheckAgainstDescriptors() const;

 private:
  void Add(RpcMethod method);
  void Proceed(RpcCall* call, const std::function<Status(google::protobuf::Message*)>& parse) const;

  std::map<std::string, std::unique_ptr<RpcMethod>, std::less<>> methods_;
  Authenticator authenticator_;
  Authorizer authorizer_;
};

template <typename Request, typename Response>
void MethodTable::Register(std::string name, ThreadPool* pool, std::type_identity_t<Handler<Request, Response>> handler,
                           bool often_brief) {
  using google::protobuf::Arena;
  using google::protobuf::Message;
  RpcMethod method;
  method.name = std::move(name);
  method.request_type = Request::default_instance().GetTypeName();
  method.response_type = Response::default_instance().GetTypeName();
  method.pool = pool;
  if (often_brief) method.brief = std::make_unique<BriefCalls>();
  method.new_request = [](Arena* arena) -> Message* { return Arena::CreateMessage<Request>(arena); };
  method.new_response = [](Arena* arena) -> Message* { return Arena::CreateMessage<Response>(arena); };
  if constexpr (std::is_same_v<Response, milvus::proto::common::Status>) {
    method.mutable_status = [](Message* response) { return static_cast<Response*>(response); };
    method.status = [](const Message& response) -> const Response& { return static_cast<const Response&>(response); };
  } else if constexpr (requires(Response r) { { r.mutable_status() } -> std::same_as<milvus::proto::common::Status*>; }) {
    method.mutable_status = [](Message* response) { return static_cast<Response*>(response)->mutable_status(); };
    method.status = [](const Message& response) -> const milvus::proto::common::Status& {
      return static_cast<const Response&>(response).status();
    };
  }
  method.run = [handler = std::move(handler)](RpcCall* call) {
    handler(call->context(), *static_cast<const Request*>(call->request()), Responder<Response>(call));
  };
  Add(std::move(method));
}

namespace rpc_internal {

template <typename Response>
class LocalCall final : public RpcCall {
 public:
  LocalCall(const RpcMethod* method, std::function<void(const Status&, const Response&)> done)
      : RpcCall(method), done_(std::move(done)) {}

 private:
  void SendMessage(const google::protobuf::Message& response) override {
    done_(Status(), static_cast<const Response&>(response));
    Unref();
  }
  void SendError(int grpc_code, const std::string& message) override {
    constexpr int kPermissionDenied = 7, kUnimplemented = 12, kUnauthenticated = 16;
    const ErrorCode code = grpc_code == kUnauthenticated    ? ErrorCode::kUnauthenticated
                           : grpc_code == kPermissionDenied ? ErrorCode::kPrivilegeNotPermitted
                           : grpc_code == kUnimplemented    ? ErrorCode::kUnimplemented
                                                            : ErrorCode::kServiceInternal;
    done_(Status(code, message), Response::default_instance());
    Unref();
  }
  std::function<void(const Status&, const Response&)> done_;
};

}  // namespace rpc_internal

template <typename Request, typename Response>
void MethodTable::Call(std::string_view name, const Request& request, const std::function<void(RequestContext&)>& fill,
                       std::function<void(const Status&, const Response&)> done) const {
  const RpcMethod* method = Find(name);
  if (method == nullptr) {
    done(Status(ErrorCode::kUnimplemented, "method " + std::string(name) + " is not supported"),
         Response::default_instance());
    return;
  }
  SAKER_CHECK(method->request_type == Request::default_instance().GetTypeName());
  SAKER_CHECK(method->response_type == Response::default_instance().GetTypeName());
  auto* call = new rpc_internal::LocalCall<Response>(method, std::move(done));
  if (fill) fill(call->context());
  call->request()->CopyFrom(request);
  Run(call, nullptr);
}

}  // namespace saker
