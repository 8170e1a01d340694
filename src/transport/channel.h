// A connection to another process of the cluster: frames to methods, answers or the reason why there is none.
//
// One HTTP/2 connection, made at the first call and again after it broke (back-off at most 0.5 s). While a call is under
// way the peer is pinged every 0.8 s; one that is paused or cut off is noticed within 2 s and the calls fail. A peer
// that is down refuses at once. Nothing is sent while no call is under way.
//
// gRPC stays in the .cc.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/ids.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "transport/frame.h"
#include "transport/methods.h"
#include "transport/tls.h"

namespace saker {

inline constexpr int64_t kLargestMessage = 256 << 20;  // bytes, either way

class PeerChannel {
 public:
  using Done = std::function<void(Result<Frame>)>;

  // `address` is HOST:PORT. `callbacks` runs those callbacks that are not brief of late (BriefCalls); null: all run on
  // gRPC's threads. kParameterInvalid for TLS files that can't be read. The pool outlives the channel.
  static Result<std::shared_ptr<PeerChannel>> Open(NodeId node, const std::string& address, const InternalTls& tls,
                                                   ThreadPool* callbacks);
  ~PeerChannel();  // as Close()
  PeerChannel(const PeerChannel&) = delete;
  PeerChannel& operator=(const PeerChannel&) = delete;

  // Errors of either call, naming the peer:
  //   kServiceUnavailable  it does not answer, or this channel was closed; see MayHaveBeenCarriedOut
  //   kDeadlineExceeded    no answer in time (of MonotonicUs())
  //   kUnimplemented       it doesn't know the method
  //   kParameterInvalid    the request or the answer is larger than kLargestMessage
  // Thread-safe. `done` is called exactly once, also before Call returns.
  void Call(const MethodSpec& method, const Frame& request, int64_t deadline_us, Done done);
  // Waits on this thread, needing no other; may be called on any thread.
  Result<Frame> CallAndWait(const MethodSpec& method, const Frame& request, int64_t deadline_us);

  // Refuses calls from now on and cancels those under way; their callbacks still come.
  void Cancel();
  // Cancel(), and returns once every callback has returned. Not to be called from a callback.
  void Close();
  bool idle() const;  // no call is under way

  NodeId node() const;
  const std::string& address() const;

 private:
  struct State;
  class AsyncCall;
  explicit PeerChannel(std::unique_ptr<State> state);
  const std::unique_ptr<State> state_;
};

// Whether a call that failed with this status may have been carried out all the same: it was sent, and the answer never
// came. False only if it certainly was not. Of writes, the same batch id makes sending it again safe (protocol.md 9).
bool MayHaveBeenCarriedOut(const Status& status);

}  // namespace saker
