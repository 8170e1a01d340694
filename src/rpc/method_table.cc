#include "rpc/method_table.h"

#include <google/protobuf/descriptor.h>

#include <exception>

#include "base/log.h"

namespace saker {
namespace {

constexpr int kGrpcInvalidArgument = 3;
constexpr int kGrpcInternal = 13;

google::protobuf::ArenaOptions CallArena() {
  google::protobuf::ArenaOptions options;
  options.start_block_size = 2048;     // most requests and their responses fit
  options.max_block_size = 256 * 1024;
  return options;
}

}  // namespace

RpcCall::RpcCall(const RpcMethod* method)
    : method_(method),
      arena_(CallArena()),
      request_(method->new_request(&arena_)),
      response_(method->new_response(&arena_)) {
  context_.method = method->name;
}

void RpcCall::Reply(const google::protobuf::Message& response) {
  if (answered_.exchange(true)) return;
  bool ok = true;
  if (method_->status != nullptr) {
    const auto& status = method_->status(response);
    ok = status.code() == 0 && status.error_code() == milvus::proto::common::Success;
  }
  Count(ok);
  // Present also when empty: Node's client takes a missing status for null and trips over it.
  if (&response == response_ && method_->mutable_status != nullptr) method_->mutable_status(response_);
  SendMessage(response);
}

void RpcCall::Fail(const Status& status) {
  const int transport = TransportCode(status.code());
  if (transport != 0 || method_->mutable_status == nullptr) {
    return FailTransport(transport == 0 ? kGrpcInternal : transport, status.message());
  }
  if (answered_.exchange(true)) return;
  response_->Clear();
  SetStatus(status, method_->mutable_status(response_));
  Count(status.ok());
  SendMessage(*response_);
}

void RpcCall::FailTransport(int grpc_code, const std::string& message) {
  if (answered_.exchange(true)) return;
  Count(false);
  SendError(grpc_code, message);
}

void RpcCall::Count(bool ok) {
  method_->total->Add();
  (ok ? method_->success : method_->fail)->Add();
  method_->latency->Observe(static_cast<double>(context_.elapsed_us()) / 1000.0);
}

void RpcCall::Unref() {
  if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

void RpcCall::UnrefHandler() {
  if (handles_.fetch_sub(1, std::memory_order_acq_rel) == 1 && !answered_.load(std::memory_order_acquire)) {
    LogError("{}: the handler gave no answer", method_->name);
    Fail(Status(ErrorCode::kServiceInternal, "the request was dropped without an answer; see the server's log"));
  }
  Unref();
}

void MethodTable::Add(RpcMethod method) {
  const std::string function = method.name.substr(method.name.rfind('/') + 1);
  const auto labels = [&](const char* status) {
    return MetricLabels{{"node_id", "1"}, {"function_name", function}, {"status", status}};
  };
  constexpr const char* kCount = "milvus_proxy_req_count";
  constexpr const char* kCountHelp = "Requests by method and outcome";
  method.total = &Metrics().GetCounter(kCount, kCountHelp, labels("total"));
  method.success = &Metrics().GetCounter(kCount, kCountHelp, labels("success"));
  method.fail = &Metrics().GetCounter(kCount, kCountHelp, labels("fail"));
  method.latency = &Metrics().GetHistogram("milvus_proxy_req_latency", "Milliseconds from receipt to answer",
                                           {{"node_id", "1"}, {"function_name", function}});
  std::string name = method.name;
  const bool added = methods_.emplace(std::move(name), std::make_unique<RpcMethod>(std::move(method))).second;
  SAKER_CHECK(added);  // each method is registered once
}

const RpcMethod* MethodTable::Find(std::string_view name) const {
  const auto found = methods_.find(name);
  return found == methods_.end() ? nullptr : found->second.get();
}

std::vector<std::string> MethodTable::names() const {
  std::vector<std::string> out;
  for (const auto& [name, method] : methods_) out.push_back(name);
  return out;
}

void MethodTable::Run(RpcCall* call, std::function<Status(google::protobuf::Message*)> parse) const {
  if (call->method().pool == nullptr) {
    Proceed(call, parse);
    return;
  }
  if (BriefCalls* brief = call->method().brief.get(); brief != nullptr && brief->TryBegin()) {
    const int64_t begun_us = ThreadCpuUs();
    Proceed(call, parse);
    brief->End(ThreadCpuUs() - begun_us);  // of the method table: the call may be gone
    return;
  }
  // A pool that stops before it comes to this task drops it, and with it the handle: the caller is told.
  const Responder<google::protobuf::Message> handle(call);
  call->method().pool->Post([this, call, handle, parse = std::move(parse)] { Proceed(call, parse); });
}

void MethodTable::Proceed(RpcCall* call, const std::function<Status(google::protobuf::Message*)>& parse) const {
  // Holds a handle of its own, so that a handler which keeps none is noticed only after it returned.
  const Responder<google::protobuf::Message> handle(call);
  if (call->context().expired()) {
    return call->Fail(Status(ErrorCode::kDeadlineExceeded, "the request's deadline passed while it waited"));
  }
  try {
    if (authenticator_) {
      if (Status status = authenticator_(call->context()); !status.ok()) return call->Fail(status);
    }
    if (parse) {
      if (Status status = parse(call->request()); !status.ok()) {
        return call->FailTransport(kGrpcInvalidArgument, status.message());
      }
    }
    if (authorizer_) {
      if (Status status = authorizer_(call->context(), *call->request()); !status.ok()) return call->Fail(status);
    }
    call->method().run(call);
  } catch (const std::exception& error) {
    LogError("{}: {}", call->method().name, error.what());
    call->Fail(Status(ErrorCode::kServiceInternal, std::string("unexpected: ") + error.what()));
  }
}

Status MethodTable::CheckAgainstDescriptors() const {
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  for (const auto& [name, method] : methods_) {
    std::string full_name = name.substr(1);
    full_name[full_name.rfind('/')] = '.';
    const auto* descriptor = pool->FindMethodByName(full_name);
    if (descriptor == nullptr) return Status(ErrorCode::kParameterInvalid, name + " is in no service");
    if (descriptor->input_type()->full_name() != method->request_type ||
        descriptor->output_type()->full_name() != method->response_type) {
      return Status(ErrorCode::kParameterInvalid,
                    name + " takes " + descriptor->input_type()->full_name() + " and returns " +
                        descriptor->output_type()->full_name() + ", registered with " + method->request_type + " and " +
                        method->response_type);
    }
  }
  return Status();
}

}  // namespace saker
