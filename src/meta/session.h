// Sessions: who is there. Every process registers under session/<role>/<node> with a lease, and follows the others.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/thread_pool.h"
#include "meta/meta_store.h"
#include "meta/watch.h"

namespace saker {

struct SessionInfo {
  NodeId node;
  std::string role;            // "proxy", "datanode", …
  std::string address;         // host:port where it serves; empty in standalone
  std::string version;
  int64_t incarnation = 0;     // rises with every start of this node
  int64_t started_unix_ms = 0;
};
std::string Encode(const SessionInfo& info);
Result<SessionInfo> DecodeSession(std::string_view bytes);

// Whether a process may register beside those that are: kNodeNotMatch names the one that is in its way, and what to do.
// Another process under the same node's id is a copy of its data directory, or this node before it moved; one under the
// same address is a wrong address, or a node that was here before. What this node registered itself before it was
// started anew (an older incarnation at the same address) is not in its way.
Status MayRegister(const SessionInfo& info, const std::vector<SessionInfo>& registered);

// This process's registration, kept as long as it lives: registered again, as the same node, whenever the lease or the
// key is lost. While another process is in its way (MayRegister) it waits until that one's session has ended; one that
// registers as the same node later wins. A process never ends for want of a session. Store, pool and timer outlive it.
class Session {
 public:
  // on_renewal: called each time the lease is renewed, on the pool; short.
  Session(MetaStore* store, SessionInfo info, std::chrono::seconds ttl, ThreadPool* pool, Timer* timer,
          std::function<void()> on_renewal = {});
  ~Session();  // takes the registration away
  // Registers. If the store can't do it now it says why, and goes on trying in the background.
  Status Start();
  bool registered() const;
  // Ok while registered, else why not.
  Status Health() const;
  const SessionInfo& info() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
  std::unique_ptr<ControlLoop> loop_;
  std::unique_ptr<PrefixView> view_;
};

// The sessions of one role (or of all: ""), followed. Thread-safe.
class SessionView {
 public:
  using OnChange = std::function<void()>;  // after any change; short, on the store's thread or the pool's
  SessionView(MetaStore* store, const std::string& role, ThreadPool* pool, Timer* timer, OnChange on_change = {});
  ~SessionView();
  Status Start();
  std::vector<SessionInfo> List() const;  // by role, then node
  std::optional<SessionInfo> Find(NodeId node) const;
  const PrefixView& view() const { return *view_; }

 private:
  struct State;
  std::shared_ptr<State> state_;
  std::unique_ptr<PrefixView> view_;
};

}  // namespace saker
