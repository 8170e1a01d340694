#include "transport/heartbeats.h"

#include <algorithm>
#include <deque>
#include <map>

#include "base/log.h"
#include "base/mutex.h"

namespace saker {
namespace {

// A failure that comes this much later than its timeout says that this process stood still, not the peer.
constexpr int64_t kStallUs = 500'000;

}  // namespace

struct Heartbeats::State : std::enable_shared_from_this<State> {
  struct Peer {
    PeerState state;
    int strikes = 0;
    uint64_t watch = 0;  // which Watch it was added by: answers to an earlier one don't count
    bool asking = false; // a second observer is asked
    size_t asked = 0;    // how many were, so that not always the same one is
  };
  using Notification = std::function<void()>;

  State(HeartbeatSettings s, HeartbeatDeps d, OnChange change, OnCutOff cut)
      : settings(s), deps(std::move(d)), on_change(std::move(change)), on_cut_off(std::move(cut)) {}

  void Send(NodeId id, uint64_t watch);
  void Answered(NodeId id, uint64_t watch, int64_t sent_us, const Result<PingReply>& reply);
  void Alive(NodeId id, Peer& peer, const PingReply& reply) REQUIRES(mutex);
  void Judge() REQUIRES(mutex);
  void Suspect(NodeId id, Peer& peer) REQUIRES(mutex);
  void Confirmed(NodeId id, uint64_t watch, NodeId observer, const Result<bool>& reached);
  void Die(NodeId id, Peer& peer) REQUIRES(mutex);
  void Tell(NodeId id, const Peer& peer) REQUIRES(mutex);
  void Deliver();

  const HeartbeatSettings settings;
  const HeartbeatDeps deps;
  const OnChange on_change;
  const OnCutOff on_cut_off;

  mutable Mutex mutex;
  CondVar delivered;
  std::map<NodeId, Peer> peers GUARDED_BY(mutex);
  uint64_t watches GUARDED_BY(mutex) = 0;
  bool is_cut_off GUARDED_BY(mutex) = false;
  bool stopped GUARDED_BY(mutex) = false;
  bool delivering GUARDED_BY(mutex) = false;
  std::deque<Notification> notifications GUARDED_BY(mutex);
};

void Heartbeats::State::Send(NodeId id, uint64_t watch) {
  {
    MutexLock lock(mutex);
    const auto peer = peers.find(id);
    if (stopped || peer == peers.end() || peer->second.watch != watch) return;
  }
  const int64_t sent_us = deps.now_us();
  deps.ping(id, settings.timeout, [weak = weak_from_this(), id, watch, sent_us](Result<PingReply> reply) {
    if (const auto self = weak.lock()) self->Answered(id, watch, sent_us, reply);
  });
}

void Heartbeats::State::Answered(NodeId id, uint64_t watch, int64_t sent_us, const Result<PingReply>& reply) {
  const int64_t now_us = deps.now_us();
  {
    MutexLock lock(mutex);
    const auto found = peers.find(id);
    if (stopped || found == peers.end() || found->second.watch != watch) return;
    Peer& peer = found->second;
    if (reply.ok()) {
      Alive(id, peer, *reply);
    } else if (now_us - sent_us <= std::chrono::microseconds(settings.timeout).count() + kStallUs) {
      peer.strikes = std::min(peer.strikes + 1, settings.strikes);
      LogDebug("node {} did not answer a ping: {}", id.value, reply.status().message());
    }
    Judge();
  }
  Deliver();
  const int64_t wait_us = std::max<int64_t>(0, sent_us + std::chrono::microseconds(settings.interval).count() - now_us);
  deps.after(std::chrono::milliseconds((wait_us + 999) / 1000), [weak = weak_from_this(), id, watch] {
    if (const auto self = weak.lock()) self->Send(id, watch);
  });
}

void Heartbeats::State::Alive(NodeId id, Peer& peer, const PingReply& reply) {
  const bool news = peer.state.health != PeerHealth::kAlive || peer.state.last.incarnation != reply.incarnation;
  peer.strikes = 0;
  peer.state = {PeerHealth::kAlive, reply, deps.now_us()};
  if (news) Tell(id, peer);
}

void Heartbeats::State::Judge() {
  const auto count = [this](int strikes) REQUIRES(mutex) {
    return std::count_if(peers.begin(), peers.end(), [&](const auto& p) { return p.second.strikes >= strikes; });
  };
  const auto most = [this](auto n) REQUIRES(mutex) { return peers.size() >= 2 && 2 * static_cast<size_t>(n) > peers.size(); };
  // Nobody is pronounced dead while most are in doubt: their next answers tell which side of a cut this is.
  if (most(count(1))) {
    if (!is_cut_off && most(count(settings.strikes))) {
      is_cut_off = true;
      notifications.emplace_back([this] {
        LogWarn("most of the other nodes don't answer: this one seems to be cut off");
        if (on_cut_off) on_cut_off(true);
      });
    }
    return;
  }
  if (std::exchange(is_cut_off, false)) {
    // What was not answered while nothing was says nothing about the peer.
    for (auto& [id, peer] : peers) peer.strikes = 0;
    notifications.emplace_back([this] {
      LogInfo("the other nodes answer again");
      if (on_cut_off) on_cut_off(false);
    });
  }
  for (auto& [id, peer] : peers) {
    if (peer.strikes >= settings.strikes && peer.state.health != PeerHealth::kDead && !peer.asking) Suspect(id, peer);
  }
}

void Heartbeats::State::Die(NodeId id, Peer& peer) {
  peer.state.health = PeerHealth::kDead;
  Tell(id, peer);
}

// Somebody who answers is asked; where nobody does there is no second opinion to be had.
void Heartbeats::State::Suspect(NodeId id, Peer& peer) {
  std::vector<NodeId> observers;
  for (const auto& [other, state] : peers) {
    if (other != id && state.strikes == 0 && state.state.health == PeerHealth::kAlive) observers.push_back(other);
  }
  if (!deps.ask || observers.empty()) return Die(id, peer);
  const NodeId observer = observers[peer.asked++ % observers.size()];
  peer.asking = true;
  notifications.emplace_back([this, observer, id, watch = peer.watch] {
    deps.ask(observer, id, [weak = weak_from_this(), id, watch, observer](const Result<bool>& reached) {
      if (const auto self = weak.lock()) self->Confirmed(id, watch, observer, reached);
    });
  });
}

// One that is reached, or an observer that doesn't answer, leaves it to the next ping: it asks again.
void Heartbeats::State::Confirmed(NodeId id, uint64_t watch, NodeId observer, const Result<bool>& reached) {
  {
    MutexLock lock(mutex);
    const auto found = peers.find(id);
    if (stopped || found == peers.end() || found->second.watch != watch) return;
    Peer& peer = found->second;
    peer.asking = false;
    if (reached.ok() && *reached) LogWarn("node {} doesn't answer here, but node {} reaches it: its work stays", id.value, observer.value);
    if (reached.ok() && !*reached && peer.strikes >= settings.strikes && !is_cut_off) Die(id, peer);
  }
  Deliver();
}

void Heartbeats::State::Tell(NodeId id, const Peer& peer) {
  notifications.emplace_back([this, id, state = peer.state] { on_change(id, state); });
}

// One thread delivers at a time, so that they come in order.
void Heartbeats::State::Deliver() {
  MutexLock lock(mutex);
  if (delivering) return;
  delivering = true;
  while (!notifications.empty() && !stopped) {
    const Notification next = std::move(notifications.front());
    notifications.pop_front();
    lock.Unlock();
    next();
    lock.Lock();
  }
  delivering = false;
  delivered.NotifyAll();
}

Heartbeats::Heartbeats(HeartbeatSettings settings, HeartbeatDeps deps, OnChange on_change, OnCutOff on_cut_off)
    : state_(std::make_shared<State>(settings, std::move(deps), std::move(on_change), std::move(on_cut_off))) {}

Heartbeats::~Heartbeats() {
  State& s = *state_;
  MutexLock lock(s.mutex);
  s.stopped = true;
  s.delivered.Wait(lock, [&s]() REQUIRES(s.mutex) { return !s.delivering; });
}

void Heartbeats::Watch(const std::set<NodeId>& peers) {
  std::vector<std::pair<NodeId, uint64_t>> fresh;
  {
    MutexLock lock(state_->mutex);
    std::erase_if(state_->peers, [&](const auto& p) { return !peers.contains(p.first); });
    for (const NodeId id : peers) {
      const auto [peer, added] = state_->peers.try_emplace(id);
      if (!added) continue;
      peer->second.watch = ++state_->watches;
      fresh.emplace_back(id, peer->second.watch);
    }
    state_->Judge();
  }
  state_->Deliver();
  for (const auto& [id, watch] : fresh) state_->Send(id, watch);
}

std::optional<PeerState> Heartbeats::Find(NodeId peer) const {
  MutexLock lock(state_->mutex);
  const auto found = state_->peers.find(peer);
  return found == state_->peers.end() ? std::nullopt : std::optional<PeerState>(found->second.state);
}

bool Heartbeats::cut_off() const {
  MutexLock lock(state_->mutex);
  return state_->is_cut_off;
}

}  // namespace saker
