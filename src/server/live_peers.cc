#include "server/live_peers.h"

#include <algorithm>

#include "base/log.h"

namespace saker {

LivePeers::LivePeers(RemotePeers* remote, Timer* timer, std::function<void()> on_change) : remote_(remote) {
  HeartbeatDeps deps;
  deps.after = [timer](std::chrono::milliseconds delay, Task task) { timer->After(delay, std::move(task)); };
  deps.ping = [remote](NodeId peer, std::chrono::milliseconds timeout, Callback<PingReply> done) {
    remote->Ping(peer, timeout, std::move(done));
  };
  deps.ask = [remote](NodeId observer, NodeId suspect, Callback<bool> done) { remote->Reaches(observer, suspect, std::move(done)); };
  heartbeats_ = std::make_unique<Heartbeats>(
      HeartbeatSettings(), std::move(deps),
      [on_change](NodeId peer, const PeerState& state) {
        if (state.health == PeerHealth::kDead) LogWarn("node {} does not answer: its work goes to others", peer.value);
        on_change();
      },
      [on_change](bool cut_off) {
        LogWarn("{}", cut_off ? "most nodes don't answer: this process takes itself for the one cut off, and moves no work"
                        : "the other nodes answer again");
        on_change();
      });
}

void LivePeers::Watch(bool watch) {
  {
    MutexLock lock(mutex_);
    watching_ = watch;
  }
  Update();
}

void LivePeers::Update() {
  std::set<NodeId> peers;
  {
    MutexLock lock(mutex_);
    if (watching_) {
      peers = remote_->others();
      for (const auto& [role, nodes] : known_) peers.insert(nodes.begin(), nodes.end());
    }
  }
  heartbeats_->Watch(peers);
}

bool LivePeers::IsDead(NodeId node) const {
  if (heartbeats_->cut_off()) return false;
  const auto state = heartbeats_->Find(node);
  return state && state->health == PeerHealth::kDead;
}

std::vector<NodeId> LivePeers::Alive(const std::string& role, const std::vector<NodeId>& registered) {
  MutexLock lock(mutex_);
  std::set<NodeId>& known = known_[role];
  known.insert(registered.begin(), registered.end());
  std::vector<NodeId> alive;
  for (auto it = known.begin(); it != known.end();) {
    const bool has_session = std::find(registered.begin(), registered.end(), *it) != registered.end();
    const auto state = heartbeats_->Find(*it);
    const bool answers = state && state->health == PeerHealth::kAlive;
    if ((has_session && !IsDead(*it)) || answers) alive.push_back(*it);
    // One that neither has a session nor answers is forgotten: it comes back with a session.
    it = has_session || answers ? std::next(it) : known.erase(it);
  }
  return alive;
}

}  // namespace saker
