// Who of a set of peers is alive, found out by asking them: a peer that leaves two pings in a row unanswered is dead,
// within about a second. protocol.md rule 20.
//
// A second observer confirms it: one of the peers that do answer is asked whether it reaches the silent one, and as long
// as one does, it isn't dead. An observer that loses most of its peers at once takes itself for the one cut off, and
// reports no deaths until it hears from them again.
//
// Silent while there is nobody to watch.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>

#include "base/clock.h"
#include "base/thread_pool.h"
#include "transport/messages.h"

namespace saker {

struct HeartbeatSettings {
  std::chrono::milliseconds interval{300};  // from one ping of a peer to the next
  std::chrono::milliseconds timeout{400};   // for its answer
  int strikes = 2;                          // unanswered pings in a row that make a peer dead
};

// Time and network, for tests to replace. All are thread-safe.
struct HeartbeatDeps {
  std::function<int64_t()> now_us = [] { return MonotonicUs(); };
  std::function<void(std::chrono::milliseconds delay, Task task)> after;  // runs it once, later, on any thread
  // Calls back exactly once, on any thread, also before it returns.
  std::function<void(NodeId peer, std::chrono::milliseconds timeout, Callback<PingReply> done)> ping;
  // Asks `observer` whether it reaches `suspect`; as ping. Null: this observer's word will do.
  std::function<void(NodeId observer, NodeId suspect, Callback<bool> done)> ask;
};

enum class PeerHealth {
  kUnknown,  // neither answered nor failed to often enough
  kAlive,
  kDead,
};
struct PeerState {
  PeerHealth health = PeerHealth::kUnknown;
  PingReply last;           // its last answer
  int64_t answered_us = 0;  // when that came
};

// Thread-safe.
class Heartbeats {
 public:
  // A peer came alive, died, or answers as another incarnation (it was started again in between).
  using OnChange = std::function<void(NodeId peer, const PeerState& state)>;
  // This process is, or is no longer, the one cut off.
  using OnCutOff = std::function<void(bool cut_off)>;

  // Both run one at a time, in order, without locks held; they may call Watch but not destroy the heartbeats.
  Heartbeats(HeartbeatSettings settings, HeartbeatDeps deps, OnChange on_change, OnCutOff on_cut_off = {});
  ~Heartbeats();  // no callback runs any more
  Heartbeats(const Heartbeats&) = delete;
  Heartbeats& operator=(const Heartbeats&) = delete;

  // These from now on; those that were watched already keep their state.
  void Watch(const std::set<NodeId>& peers);
  std::optional<PeerState> Find(NodeId peer) const;  // nullopt: not watched
  bool cut_off() const;

 private:
  struct State;
  const std::shared_ptr<State> state_;
};

}  // namespace saker
