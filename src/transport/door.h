// Where calls of other processes arrive: frames in, frames out, on one port. What they mean is the server's business
// (transport/server.cc). gRPC stays in the .cc.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "transport/incoming_call.h"
#include "transport/tls.h"

namespace saker {

// Thread-safe.
class Door {
 public:
  struct Settings {
    std::string listen;                // HOST:PORT; port 0: any free one
    InternalTls tls;
    std::vector<std::string> methods;  // names; others are answered with UNIMPLEMENTED
    // Both on the door's threads. A call is begun, then dispatched with the number of its method; its answer is sent
    // once, from any thread. deadline_us: of MonotonicUs().
    std::function<IncomingCallPtr(Frame request, int64_t deadline_us, IncomingCall::Send send)> begin;
    std::function<void(size_t method, IncomingCallPtr call)> dispatch;
  };
  // kIoFailed if it can't listen; kParameterInvalid for TLS files that can't be used.
  static Result<std::unique_ptr<Door>> Open(Settings settings);
  ~Door();  // after Close()
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

  int port() const;
  // Refuses new calls, gives those under way `grace`, then cancels them; returns when all have been answered.
  void Close(std::chrono::milliseconds grace);

 private:
  struct State;
  explicit Door(std::unique_ptr<State> state);
  const std::unique_ptr<State> state_;
};

}  // namespace saker
