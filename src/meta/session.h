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

// This process's registration, kept as long as it lives: registered again, as the same node, whenever the lease or the
// key is lost. A process never ends for want of a session. Store, pool and timer outlive it.
class Session {
 public:
  Session(MetaStore* store, SessionInfo info, std::chrono::seconds ttl, ThreadPool* pool, Timer* timer);
  ~Session();  // takes the registration away
  // Registers. If the store can't do it now it says why, and goes on trying in the background.
  Status Start();
  bool registered() const;
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
