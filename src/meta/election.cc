#include "meta/election.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/mutex.h"
#include "meta/keys.h"

namespace saker {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;
constexpr std::chrono::milliseconds kRetry{500};

}  // namespace

struct Election::State {
  MetaStore* store;
  std::string role;
  std::string key;
  std::string candidate;
  std::chrono::seconds ttl;
  OnElected on_elected;
  OnDeposed on_deposed;
  ControlLoop* loop = nullptr;
  PrefixView* view = nullptr;
  bool view_started = false;  // used by the step alone

  mutable Mutex mutex;
  mutable CondVar changed;
  // The key as the view has it, as of revision `seen`.
  std::optional<KeyValue> holder GUARDED_BY(mutex);
  Revision seen GUARDED_BY(mutex) = 0;
  LeaseId lease GUARDED_BY(mutex) = 0;
  SteadyTime renewed GUARDED_BY(mutex);  // the lease runs at least from here
  Revision token GUARDED_BY(mutex) = 0;

  void OnSnapshot(const std::vector<KeyValue>& kvs, Revision revision) {
    {
      MutexLock lock(mutex);
      for (const KeyValue& kv : kvs) {
        if (kv.key == key) holder = kv;
      }
      seen = revision;
    }
    loop->Poke();
  }

  void OnEvents(const std::vector<WatchEvent>& events, Revision revision) {
    {
      MutexLock lock(mutex);
      for (const WatchEvent& event : events) {
        if (event.kv.key != key) continue;
        holder = event.kind == WatchEvent::Kind::kPut ? std::optional(event.kv) : std::nullopt;
      }
      seen = revision;
    }
    loop->Poke();
  }

  std::chrono::milliseconds Step() {
    if (!view_started) {
      view_started = true;
      (void)view->Start().ok();  // it goes on trying
    }
    if (WasDeposed()) Depose();
    if (Leads()) return KeepLeading();
    return Stand();
  }

  bool Leads() const {
    MutexLock lock(mutex);
    return token != 0;
  }
  // A view that has not yet seen the election says nothing.
  bool WasDeposed() const {
    MutexLock lock(mutex);
    return token != 0 && seen >= token && (!holder || holder->create_revision != token);
  }

  void Depose() {
    {
      MutexLock lock(mutex);
      token = 0;
      changed.NotifyAll();
    }
    LogWarn("{} no longer leads {}", candidate, role);
    if (on_deposed) on_deposed();
  }

  void Elect(Revision won) {
    {
      MutexLock lock(mutex);
      token = won;
      changed.NotifyAll();
    }
    LogInfo("{} leads {} with token {}", candidate, role, won);
    if (on_elected) on_elected(won);
  }

  std::chrono::milliseconds KeepLeading() {
    if (!store->LeasesExpire()) return std::chrono::milliseconds(0);
    const Status kept = RenewLease();
    if (kept.ok()) return std::chrono::milliseconds(ttl) / 3;
    LogWarn("{} could not renew its lease on leading {}: {}", candidate, role, kept.message());
    if (kept.code() == ErrorCode::kIoKeyNotFound) Depose();
    return kRetry;
  }

  Status RenewLease() {
    const SteadyTime begun = std::chrono::steady_clock::now();
    MutexLock lock(mutex);
    const LeaseId mine = lease;
    lock.Unlock();
    Status kept = store->KeepAlive(mine);
    lock.Lock();
    if (kept.ok()) renewed = begun;
    if (kept.code() == ErrorCode::kIoKeyNotFound) lease = 0;
    return kept;
  }

  // Takes the key if nobody holds it; else waits for the view to tell that it is free.
  std::chrono::milliseconds Stand() {
    {
      MutexLock lock(mutex);
      if (seen == 0) return std::chrono::milliseconds(0);
      if (holder) {
        // An earlier attempt of ours whose answer was lost. A store that was lost may give a lease's number out again.
        const bool mine = lease != 0 && holder->lease == lease && holder->value == candidate;
        const Revision won = holder->create_revision;
        lock.Unlock();
        if (!mine) return std::chrono::milliseconds(0);
        Elect(won);
        return KeepLeading();
      }
    }
    const Status lease_ready = EnsureLease();
    if (!lease_ready.ok()) return Failed(lease_ready);
    MutexLock lock(mutex);
    const LeaseId mine = lease;
    lock.Unlock();
    const Result<Revision> won = store->Commit({Compare::Absent(key)}, {MetaOp::Put(key, candidate, mine)});
    if (won.ok()) {
      Elect(*won);
      return store->LeasesExpire() ? std::chrono::milliseconds(ttl) / 3 : std::chrono::milliseconds(0);
    }
    if (won.status().code() == ErrorCode::kConflict) return std::chrono::milliseconds(0);
    if (won.status().code() == ErrorCode::kIoKeyNotFound) ForgetLease();
    return Failed(won.status());
  }

  std::chrono::milliseconds Failed(const Status& status) const {
    LogWarn("{} can't stand for {} now: {}", candidate, role, status.message());
    return kRetry;
  }

  void ForgetLease() {
    MutexLock lock(mutex);
    lease = 0;
  }

  // A fresh or renewed lease, so that who is elected has all of it.
  Status EnsureLease() {
    {
      MutexLock lock(mutex);
      if (lease != 0 && !store->LeasesExpire()) return {};
    }
    const bool has_one = [this] {
      MutexLock lock(mutex);
      return lease != 0;
    }();
    if (has_one) {
      Status kept = RenewLease();
      if (kept.code() != ErrorCode::kIoKeyNotFound) return kept;
    }
    const SteadyTime begun = std::chrono::steady_clock::now();
    ASSIGN_OR_RETURN(const LeaseId granted, store->Grant(ttl));
    MutexLock lock(mutex);
    lease = granted;
    renewed = begun;
    return {};
  }
};

Election::Election(MetaStore* store, std::string role, std::string candidate, std::chrono::seconds ttl, ThreadPool* pool,
                   Timer* timer, OnElected on_elected, OnDeposed on_deposed)
    : state_(std::make_shared<State>()) {
  State* state = state_.get();
  state->store = store;
  state->key = LeaderKey(role);
  state->role = std::move(role);
  state->candidate = std::move(candidate);
  state->ttl = ttl;
  state->on_elected = std::move(on_elected);
  state->on_deposed = std::move(on_deposed);
  loop_ = std::make_unique<ControlLoop>("election " + state->role, pool, timer, [state] { return state->Step(); });
  view_ = std::make_unique<PrefixView>(
      store, state->key, pool, timer,
      [state](const std::vector<KeyValue>& kvs, Revision revision) { state->OnSnapshot(kvs, revision); },
      [state](const std::vector<WatchEvent>& events, Revision revision) { state->OnEvents(events, revision); });
  state->loop = loop_.get();
  state->view = view_.get();
}

Election::~Election() { Resign(); }

void Election::Campaign() { loop_->Poke(); }

Result<Revision> Election::WaitUntilElected(SteadyTime deadline) const {
  MutexLock lock(state_->mutex);
  if (state_->changed.WaitFor(lock, deadline - std::chrono::steady_clock::now(), [&]() REQUIRES(state_->mutex) { return state_->token != 0; })) {
    return state_->token;
  }
  return {ErrorCode::kDeadlineExceeded,
          fmt::format("{} was not elected to lead {} in time: {} leads", state_->candidate, state_->role,
                      state_->holder ? state_->holder->value : "nobody known")};
}

void Election::Resign() {
  loop_->Stop();
  view_.reset();
  MutexLock lock(state_->mutex);
  const LeaseId lease = state_->lease;
  const Revision token = state_->token;
  state_->lease = 0;
  state_->token = 0;
  state_->changed.NotifyAll();
  lock.Unlock();
  Status freed;
  if (token != 0) {
    freed = state_->store->Commit({Compare::CreatedAt(state_->key, token)}, {MetaOp::Delete(state_->key)}).status();
  }
  if (freed.code() == ErrorCode::kConflict) freed = {};  // someone else's by now
  if (lease != 0 && freed.ok()) freed = state_->store->Revoke(lease);
  if (!freed.ok()) LogInfo("the lease on leading {} was left to run out: {}", state_->role, freed.message());
}

bool Election::MayLead() const {
  MutexLock lock(state_->mutex);
  if (state_->token == 0) return false;
  if (!state_->store->LeasesExpire()) return true;
  return (std::chrono::steady_clock::now() - state_->renewed) * 3 < std::chrono::steady_clock::duration(state_->ttl) * 2;
}

Compare Election::Fence() const {
  const Revision held = token();
  return Compare::CreatedAt(state_->key, held != 0 ? held : -1);
}

Revision Election::token() const {
  MutexLock lock(state_->mutex);
  return state_->token;
}

}  // namespace saker
