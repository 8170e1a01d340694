#include "transport/link.h"

#include <fmt/format.h>

namespace saker {

std::shared_ptr<PeerChannel> Link::Connect(std::shared_ptr<PeerChannel> channel) {
  MutexLock lock(mutex_);
  std::swap(channel_, channel);
  return channel;
}

std::shared_ptr<PeerChannel> Link::channel() const {
  MutexLock lock(mutex_);
  return channel_;
}

CallHeader Link::HeaderFor(const MethodSpec& method) const {
  CallHeader header{caller_.cluster, node_, caller_.node, {}};
  if (method.is_command && caller_.tokens) header.tokens = caller_.tokens();
  return header;
}

Status Link::NotConnected() const {
  return {ErrorCode::kServiceUnavailable, fmt::format("node {} is not called any more: its session has ended", node_.value)};
}

Result<Frame> Link::WaitForFrame(const MethodSpec& method, const Frame& request) const {
  const std::shared_ptr<PeerChannel> channel = this->channel();
  if (channel == nullptr) return NotConnected();
  return channel->CallAndWait(method, request, DeadlineOf(method));
}

void Link::SendFrame(const MethodSpec& method, const Frame& request, int64_t deadline_us, PeerChannel::Done done) const {
  const std::shared_ptr<PeerChannel> channel = this->channel();
  if (channel == nullptr) return done(NotConnected());
  channel->Call(method, request, deadline_us, std::move(done));
}

void Link::Ping(std::chrono::milliseconds timeout, Callback<PingReply> done) const {
  SendFrame(kPingSpec, EncodeRequest(HeaderFor(kPingSpec), nullptr), MonotonicUs() + std::chrono::microseconds(timeout).count(),
            [done = std::move(done)](Result<Frame> frame) { done(DecodeAnswer<PingReply>(frame)); });
}

void Link::Reaches(NodeId node, Callback<bool> done) const {
  SendFrame(kReachesSpec, EncodeRequest(HeaderFor(kReachesSpec), nullptr, node), DeadlineOf(kReachesSpec),
            [done = std::move(done)](Result<Frame> frame) { done(DecodeAnswer<bool>(frame)); });
}

}  // namespace saker
