// One node as seen from here: its id, and the connection to wherever it is now. What the clients of its roles share.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/log.h"
#include "transport/call_codec.h"
#include "transport/channel.h"

namespace saker {

// Who this process is to those it calls.
struct CallerIdentity {
  std::string cluster;
  NodeId node;
  // The roles that this process leads, for commands; short, from any thread. Null: none.
  std::function<std::vector<LeaderToken>()> tokens;
};

// Thread-safe.
class Link {
 public:
  Link(CallerIdentity caller, NodeId node) : caller_(std::move(caller)), node_(node) {}

  NodeId node() const { return node_; }
  // Null: it is not reached at present, calls answer kServiceUnavailable. Returns the former one; its calls go on until
  // it is closed.
  std::shared_ptr<PeerChannel> Connect(std::shared_ptr<PeerChannel> channel);
  std::shared_ptr<PeerChannel> channel() const;

  // Calls a method of a role and waits. T: what it answers with.
  template <auto kMethod, typename T, typename... Args>
  Result<T> Wait(const Args&... args) const {
    static_assert(kHasSpec<kMethod>);
    return DecodeAnswer<T>(WaitForFrame(kSpec<kMethod>, EncodeRequest(HeaderFor(kSpec<kMethod>), nullptr, args...)));
  }
  // Calls one and hands over its answer. `owner` keeps the arguments alive, see EncodeRequest.
  template <auto kMethod, typename T, typename... Args>
  void Send(int64_t deadline_us, std::shared_ptr<const void> owner, Callback<T> done, const Args&... args) const {
    static_assert(kHasSpec<kMethod>);
    SendFrame(kSpec<kMethod>, EncodeRequest(HeaderFor(kSpec<kMethod>), std::move(owner), args...), deadline_us,
              [done = std::move(done)](Result<Frame> frame) { done(DecodeAnswer<T>(frame)); });
  }
  void Ping(std::chrono::milliseconds timeout, Callback<PingReply> done) const;
  // Whether it reaches `node`, as a second observer.
  void Reaches(NodeId node, Callback<bool> done) const;

  // When a call of this method that begins now is given up.
  static int64_t DeadlineOf(const MethodSpec& method, int64_t request_deadline_us = kNoDeadlineUs) {
    if (request_deadline_us != kNoDeadlineUs) return request_deadline_us;
    return MonotonicUs() + std::chrono::microseconds(method.timeout).count();
  }

 private:
  CallHeader HeaderFor(const MethodSpec& method) const;
  Result<Frame> WaitForFrame(const MethodSpec& method, const Frame& request) const;
  void SendFrame(const MethodSpec& method, const Frame& request, int64_t deadline_us, PeerChannel::Done done) const;
  Status NotConnected() const;

  const CallerIdentity caller_;
  const NodeId node_;
  mutable Mutex mutex_;
  std::shared_ptr<PeerChannel> channel_ GUARDED_BY(mutex_);
};

}  // namespace saker
