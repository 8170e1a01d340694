#include "meta/watch_hub.h"

#include <pthread.h>

#include <algorithm>
#include <deque>
#include <thread>

#include "base/log.h"
#include "base/mutex.h"

namespace saker {
namespace {

// Revisions kept in memory for watches that are behind; further back they are read from the store.
constexpr size_t kMaxRecent = 1024;

struct Watcher {
  const std::string prefix;
  const MetaStore::OnWatch on_batch;
  Revision next = 0;      // the first revision it has not seen
  bool ended = false;     // no more callbacks
  bool running = false;   // its callback is running
};

using Recent = std::deque<std::shared_ptr<const CommittedRevision>>;

WatchBatch BatchOf(const Recent& recent, const Watcher& watcher, Revision from) {
  WatchBatch batch;
  batch.revision = recent.back()->revision;
  for (const auto& revision : recent) {
    if (revision->revision < from) continue;
    for (const WatchEvent& event : revision->events) {
      if (event.kv.key.starts_with(watcher.prefix)) batch.events.push_back(event);
    }
  }
  return batch;
}

}  // namespace

struct WatchHub::State {
  ReadHistory read_history;
  Mutex mutex;
  CondVar wake;        // the dispatcher: something was published or added
  CondVar callback_done;
  Revision committed GUARDED_BY(mutex) = 0;
  Recent recent GUARDED_BY(mutex);
  std::vector<std::shared_ptr<Watcher>> watchers GUARDED_BY(mutex);
  bool stopping GUARDED_BY(mutex) = false;
  std::thread thread;

  void Run() {
    MutexLock lock(mutex);
    while (!stopping) {
      bool delivered = false;
      const auto present = watchers;
      for (const auto& watcher : present) {
        if (stopping) return;
        if (watcher->ended || watcher->next > committed) continue;
        Deliver(*watcher);
        delivered = true;
      }
      ForgetDelivered();
      if (!delivered) wake.Wait(lock, [this]() REQUIRES(mutex) { return stopping || SomeoneIsBehind(); });
    }
  }

  bool SomeoneIsBehind() const REQUIRES(mutex) {
    return std::any_of(watchers.begin(), watchers.end(),
                       [this](const auto& w) REQUIRES(mutex) { return !w->ended && w->next <= committed; });
  }

  // One batch to one watcher; the lock is let go meanwhile.
  void Deliver(Watcher& watcher) REQUIRES(mutex) {
    const Revision from = watcher.next;
    const Revision until = committed;
    const bool in_memory = !recent.empty() && from >= recent.front()->revision;
    const Recent revisions = in_memory ? recent : Recent();
    watcher.running = true;
    mutex.Unlock();
    WatchBatch batch = in_memory ? BatchOf(revisions, watcher, from) : FromHistory(watcher, from, until);
    const Revision reached = batch.revision;
    const bool failed = !batch.status.ok();
    // Replaying a long history, batches that would say nothing are left out.
    if (failed || !batch.events.empty() || reached >= until) watcher.on_batch(std::move(batch));
    mutex.Lock();
    watcher.next = reached + 1;
    if (failed) watcher.ended = true;
    watcher.running = false;
    callback_done.NotifyAll();
  }

  WatchBatch FromHistory(const Watcher& watcher, Revision from, Revision until) const {
    WatchBatch batch;
    Result<History> history = read_history(watcher.prefix, from, until);
    if (!history.ok()) {
      batch.status = history.status();
      return batch;
    }
    batch.events = std::move(history->events);
    batch.revision = history->until;
    return batch;
  }

  void ForgetDelivered() REQUIRES(mutex) {
    Revision needed = committed + 1;
    for (const auto& watcher : watchers) {
      if (!watcher->ended) needed = std::min(needed, watcher->next);
    }
    while (!recent.empty() && recent.front()->revision < needed) recent.pop_front();
  }

  void End(const std::shared_ptr<Watcher>& watcher) {
    MutexLock lock(mutex);
    watcher->ended = true;
    std::erase(watchers, watcher);
    // A callback may end its own watch.
    if (std::this_thread::get_id() == thread.get_id()) return;
    callback_done.Wait(lock, [&] { return !watcher->running; });
  }
};

class WatchHub::HubWatch : public Watch {
 public:
  HubWatch(std::shared_ptr<State> state, std::shared_ptr<Watcher> watcher)
      : state_(std::move(state)), watcher_(std::move(watcher)) {}
  ~HubWatch() override { state_->End(watcher_); }

 private:
  const std::shared_ptr<State> state_;
  const std::shared_ptr<Watcher> watcher_;
};

WatchHub::WatchHub(Revision committed, ReadHistory read_history) : state_(std::make_shared<State>()) {
  state_->committed = committed;
  state_->read_history = std::move(read_history);
  state_->thread = std::thread([state = state_.get()] { state->Run(); });
  pthread_setname_np(state_->thread.native_handle(), "meta-watch");
}

WatchHub::~WatchHub() {
  {
    MutexLock lock(state_->mutex);
    state_->stopping = true;
  }
  state_->wake.NotifyAll();
  state_->thread.join();
}

std::unique_ptr<Watch> WatchHub::Add(std::string prefix, Revision from, MetaStore::OnWatch on_batch) {
  auto watcher = std::make_shared<Watcher>(Watcher{std::move(prefix), std::move(on_batch)});
  {
    MutexLock lock(state_->mutex);
    watcher->next = from > 0 ? from : state_->committed + 1;
    state_->watchers.push_back(watcher);
  }
  state_->wake.NotifyAll();
  return std::make_unique<HubWatch>(state_, std::move(watcher));
}

void WatchHub::Publish(std::vector<CommittedRevision> revisions) {
  if (revisions.empty()) return;
  {
    MutexLock lock(state_->mutex);
    state_->committed = revisions.back().revision;
    if (state_->watchers.empty()) {
      state_->recent.clear();
      return;
    }
    for (CommittedRevision& revision : revisions) {
      state_->recent.push_back(std::make_shared<const CommittedRevision>(std::move(revision)));
    }
    while (state_->recent.size() > kMaxRecent) state_->recent.pop_front();
  }
  state_->wake.NotifyAll();
}

}  // namespace saker
