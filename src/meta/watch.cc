#include "meta/watch.h"

#include <fmt/format.h>

#include <map>

#include "base/log.h"
#include "base/mutex.h"

namespace saker {
namespace {

constexpr std::chrono::milliseconds kFirstRetry{50};
constexpr std::chrono::milliseconds kLastRetry{2000};

}  // namespace

struct PrefixView::State {
  MetaStore* store;
  std::string prefix;
  OnSnapshot on_snapshot;
  OnBatch on_batch;
  ControlLoop* loop = nullptr;

  // One resync at a time, by Start() or the loop.
  Mutex resync_mutex;
  std::unique_ptr<Watch> watch GUARDED_BY(resync_mutex);
  std::chrono::milliseconds retry GUARDED_BY(resync_mutex) = kFirstRetry;

  mutable Mutex mutex;
  mutable CondVar advanced;
  Revision revision GUARDED_BY(mutex) = 0;
  bool following GUARDED_BY(mutex) = false;  // a watch is running
  // Touched by whoever delivers: the resync while no watch runs, else the watch's callback.
  std::map<std::string, Revision> known;

  void Advance(Revision to) {
    {
      MutexLock lock(mutex);
      revision = to;
    }
    advanced.NotifyAll();
  }

  // Reads anew and follows from there.
  Status Resync() {
    MutexLock lock(resync_mutex);
    if (IsFollowing()) return {};
    watch.reset();
    ASSIGN_OR_RETURN(RangeResult range, store->Range(prefix));
    const Revision at = range.revision;
    Deliver(std::move(range));
    SetFollowing(true);
    Result<std::unique_ptr<Watch>> watched =
        store->WatchPrefix(prefix, at + 1, [this](WatchBatch batch) { OnWatchBatch(std::move(batch)); });
    if (!watched.ok()) {
      SetFollowing(false);
      return watched.status();
    }
    watch = std::move(*watched);
    retry = kFirstRetry;
    return {};
  }

  void Deliver(RangeResult range) {
    const Revision at = range.revision;
    if (CurrentRevision() == 0) {
      for (const KeyValue& kv : range.kvs) known[kv.key] = kv.mod_revision;
      on_snapshot(std::move(range.kvs), at);
    } else {
      on_batch(Difference(std::move(range.kvs), at), at);
    }
    Advance(at);
  }

  std::vector<WatchEvent> Difference(std::vector<KeyValue> kvs, Revision at) {
    std::vector<WatchEvent> events;
    std::map<std::string, Revision> gone = std::move(known);
    known.clear();
    for (KeyValue& kv : kvs) {
      known[kv.key] = kv.mod_revision;
      const auto before = gone.find(kv.key);
      const bool changed = before == gone.end() || before->second != kv.mod_revision;
      if (before != gone.end()) gone.erase(before);
      if (changed) events.push_back({WatchEvent::Kind::kPut, std::move(kv)});
    }
    for (const auto& [key, revision] : gone) {
      WatchEvent event;
      event.kind = WatchEvent::Kind::kDelete;
      event.kv.key = key;
      event.kv.mod_revision = at;
      events.push_back(std::move(event));
    }
    return events;
  }

  void OnWatchBatch(WatchBatch batch) {
    if (!batch.status.ok()) {
      LogInfo("watch of {} ended, reading it anew: {}", prefix, batch.status.message());
      SetFollowing(false);
      loop->Poke();
      return;
    }
    for (const WatchEvent& event : batch.events) {
      if (event.kind == WatchEvent::Kind::kPut) {
        known[event.kv.key] = event.kv.mod_revision;
      } else {
        known.erase(event.kv.key);
      }
    }
    if (!batch.events.empty()) on_batch(std::move(batch.events), batch.revision);
    Advance(batch.revision);
  }

  std::chrono::milliseconds Step() {
    const Status status = Resync();
    if (status.ok()) return std::chrono::milliseconds(0);
    LogWarn("{} can't be read from the meta store: {}", prefix, status.message());
    MutexLock lock(resync_mutex);
    const auto delay = retry;
    retry = std::min(retry * 2, kLastRetry);
    return delay;
  }

  Revision CurrentRevision() const {
    MutexLock lock(mutex);
    return revision;
  }
  bool IsFollowing() const {
    MutexLock lock(mutex);
    return following;
  }
  void SetFollowing(bool value) {
    MutexLock lock(mutex);
    following = value;
  }
};

PrefixView::PrefixView(MetaStore* store, std::string prefix, ThreadPool* pool, Timer* timer, OnSnapshot on_snapshot,
                       OnBatch on_batch)
    : state_(std::make_shared<State>()) {
  state_->store = store;
  state_->prefix = std::move(prefix);
  state_->on_snapshot = std::move(on_snapshot);
  state_->on_batch = std::move(on_batch);
  loop_ = std::make_unique<ControlLoop>("view " + state_->prefix, pool, timer, [state = state_.get()] { return state->Step(); });
  state_->loop = loop_.get();
}

PrefixView::~PrefixView() {
  loop_->Stop();
  MutexLock lock(state_->resync_mutex);
  state_->watch.reset();
}

Status PrefixView::Start() {
  Status status = state_->Resync();
  if (!status.ok()) loop_->Poke();
  return status;
}

Revision PrefixView::revision() const { return state_->CurrentRevision(); }

Status PrefixView::WaitForRevision(Revision revision, std::chrono::steady_clock::time_point deadline) const {
  MutexLock lock(state_->mutex);
  const auto seen = [&]() REQUIRES(state_->mutex) { return state_->revision >= revision; };
  if (state_->advanced.WaitFor(lock, deadline - std::chrono::steady_clock::now(), seen)) return {};
  return {ErrorCode::kDeadlineExceeded,
          fmt::format("revision {} of the meta store did not arrive in time: {} is at {}", revision, state_->prefix, state_->revision)};
}

}  // namespace saker
