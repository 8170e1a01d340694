#include "meta/etcd_watch.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <thread>
#include <utility>

#include "base/log.h"
#include "meta/transaction.h"
#include "meta/watch_hub.h"

namespace saker {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr size_t kKeepRevisions = 256;  // for watches that begin a little in the past
constexpr size_t kKeepBytes = 4 << 20;
constexpr size_t kMaxUndelivered = 64 << 20;  // bytes; beyond, etcd has to wait
constexpr milliseconds kFirstRetry{50};
constexpr milliseconds kLastRetry{1000};
constexpr milliseconds kPatience{250};  // for a connection, before the reader looks again whether it is to stop
constexpr milliseconds kOpening{1500};  // until etcd must have confirmed a watch
constexpr milliseconds kArrival{1000};  // of a revision known to be there
constexpr milliseconds kGrace{200};     // of a revision, before it is taken for one outside of the root

struct Watcher {
  const std::string prefix;
  const MetaStore::OnWatch on_batch;
  Revision next = 0;     // the first revision it has not seen
  Status failure;        // to be delivered as its last batch
  bool ended = false;    // no more callbacks
  bool running = false;  // its callback is running
  bool resumed = false;  // to be told with its next batch
};

// One attempt at watching.
struct Stream {
  grpc::ClientContext context;
  EtcdLink* link = nullptr;
  EtcdTime opened;
  bool created = false;
  bool cancelled = false;  // by ourselves

  void Cancel() {
    cancelled = true;
    context.TryCancel();
  }
};

using Recent = std::deque<std::shared_ptr<const CommittedRevision>>;

WatchBatch BatchOf(const Recent& recent, const Watcher& watcher, Revision from, Revision until) {
  WatchBatch batch;
  batch.revision = until;
  for (const auto& revision : recent) {
    if (revision->revision < from) continue;
    for (const WatchEvent& event : revision->events) {
      if (event.kv.key.starts_with(watcher.prefix)) batch.events.push_back(event);
    }
  }
  return batch;
}

size_t BytesOf(const CommittedRevision& revision) {
  size_t bytes = 0;
  for (const WatchEvent& event : revision.events) bytes += sizeof(event) + event.kv.key.size() + event.kv.value.size();
  return bytes;
}

}  // namespace

struct EtcdWatchHub::State {
  std::shared_ptr<EtcdClient> client;
  std::string root;

  Mutex mutex;
  CondVar wake;  // the dispatcher
  CondVar reader_wake;
  CondVar callback_done;
  CondVar advanced;
  std::vector<std::shared_ptr<Watcher>> watchers GUARDED_BY(mutex);
  bool stopping GUARDED_BY(mutex) = false;
  bool poked GUARDED_BY(mutex) = false;  // the dispatcher has a new deadline to look at
  // Everything under the root of the revisions [begin, seen] is in `recent`, if `covering`.
  bool covering GUARDED_BY(mutex) = false;
  Revision begin GUARDED_BY(mutex) = 0;
  Revision seen GUARDED_BY(mutex) = 0;
  Recent recent GUARDED_BY(mutex);
  size_t recent_bytes GUARDED_BY(mutex) = 0;
  std::shared_ptr<Stream> stream GUARDED_BY(mutex);  // the open one
  bool opened_before GUARDED_BY(mutex) = false;      // an earlier one was
  EtcdTime received GUARDED_BY(mutex);               // when something came last
  Revision expected GUARDED_BY(mutex) = 0;
  EtcdTime expected_since GUARDED_BY(mutex);
  bool interrupted = false;  // the stream failed and this was logged; used by the reader alone
  std::thread reader;
  std::thread dispatcher;

  // ---- reading

  void Read() {
    milliseconds delay{0};
    MutexLock lock(mutex);
    for (;;) {
      if (delay.count() > 0) reader_wake.WaitFor(lock, delay, [this]() REQUIRES(mutex) { return stopping; });
      reader_wake.Wait(lock, [this]() REQUIRES(mutex) { return stopping || HasWatchers(); });
      if (stopping) return;
      const Revision from = StartOfStream();
      auto opened = std::make_shared<Stream>();
      stream = opened;
      lock.Unlock();
      const bool worked = Follow(*opened, from);
      if (const Status lost = client->lost(); !lost.ok()) Fail(lost);
      lock.Lock();
      stream = nullptr;
      const bool on_purpose = NeedsHistory() || !covering;
      const milliseconds retry = worked ? kFirstRetry : std::clamp(delay * 2, kFirstRetry, kLastRetry);
      delay = on_purpose ? milliseconds(0) : retry;
    }
  }

  bool HasWatchers() const REQUIRES(mutex) {
    return std::any_of(watchers.begin(), watchers.end(), [](const auto& w) { return !w->ended && w->failure.ok(); });
  }

  Revision StartOfStream() REQUIRES(mutex) {
    std::optional<Revision> further_back;
    for (const auto& watcher : watchers) {
      if (watcher->ended || !watcher->failure.ok() || (covering && watcher->next >= begin)) continue;
      further_back = std::min(further_back.value_or(watcher->next), watcher->next);
    }
    if (further_back) {
      recent.clear();
      recent_bytes = 0;
      begin = *further_back;
      seen = begin - 1;
      covering = true;
    }
    return seen + 1;
  }

  // Reads until the stream ends. Whether it had been confirmed.
  bool Follow(Stream& opened, Revision from) {
    const Result<EtcdLink*> link = client->Pick(Clock::now() + kPatience);
    if (!link.ok()) return Interrupted(link.status().message());
    if (Status ready = client->Prepare(**link, opened.context, Clock::now() + kOpening); !ready.ok()) {
      return Interrupted(ready.message());
    }
    {
      MutexLock lock(mutex);
      opened.link = *link;
      opened.opened = received = Clock::now();
      poked = true;
    }
    wake.NotifyAll();
    const auto rpc = (*link)->watch->Watch(&opened.context);
    std::string why;
    if (rpc->Write(Request(from))) {
      etcdserverpb::WatchResponse response;
      std::vector<WatchEvent> events;
      while (why.empty() && rpc->Read(&response)) why = OnResponse(opened, response, events);
    }
    opened.context.TryCancel();
    etcdserverpb::WatchResponse rest;
    while (rpc->Read(&rest)) {
    }
    const grpc::Status end = rpc->Finish();
    if (why.empty()) why = end.error_message();
    if (ClassifyEtcd({end.error_code(), why}).code == ErrorCode::kServiceInternal) {
      client->ForgetToken();
    } else if (end.error_code() != grpc::StatusCode::CANCELLED) {
      client->MoveAwayFrom(**link);
    }
    if (end.error_code() != grpc::StatusCode::CANCELLED) (void)Interrupted(why);
    MutexLock lock(mutex);
    return opened.created;
  }

  // From the revision before: etcd answers that its own compaction revision can't be watched any more, where older ones
  // have dropped deletions.
  etcdserverpb::WatchRequest Request(Revision from) const {
    etcdserverpb::WatchRequest request;
    auto* create = request.mutable_create_request();
    create->set_key(root);
    create->set_range_end(PrefixEnd(root));
    create->set_start_revision(std::max<Revision>(from - 1, 1));
    create->set_progress_notify(true);
    create->set_fragment(true);
    return request;
  }

  bool Interrupted(const std::string& why) {
    if (!interrupted) LogInfo("watching etcd ({}) was interrupted and is resumed: {}", client->endpoints(), why);
    interrupted = true;
    return false;
  }

  // Empty to go on reading, else why not.
  std::string OnResponse(Stream& opened, etcdserverpb::WatchResponse& response, std::vector<WatchEvent>& events) {
    if (!client->CheckCluster(response.header()).ok()) return "data lost";
    if (response.canceled()) return OnCanceled(response);
    if (response.created()) return OnCreated(opened, response.header().revision());
    for (etcdserverpb::Event& event : *response.mutable_events()) AddEvent(event, events);
    // A notification of its own accord is in order with the events.
    const bool progress = response.events().empty() && !response.fragment() && response.watch_id() >= 0;
    if (!response.fragment()) Received(std::move(events), progress ? response.header().revision() : 0);
    if (!response.fragment()) events.clear();
    return "";
  }

  std::string OnCreated(Stream& opened, Revision revision) {
    Revision known = 0;
    {
      MutexLock lock(mutex);
      opened.created = true;
      received = Clock::now();
      known = std::max(seen, expected);
      if (std::exchange(opened_before, true)) {
        for (const auto& watcher : watchers) watcher->resumed = true;
        wake.NotifyAll();
      }
    }
    interrupted = false;
    // The member is behind, or all of etcd is.
    return revision < known ? client->ReadRevision().status().message() : "";
  }

  std::string OnCanceled(const etcdserverpb::WatchResponse& response) {
    const Revision compacted = response.compact_revision();
    if (compacted == 0) return response.cancel_reason().empty() ? "etcd cancelled the watch" : response.cancel_reason();
    const Status gone(
        ErrorCode::kCompacted,
        fmt::format("etcd's revisions up to {} were compacted: read anew and watch from there", compacted));
    MutexLock lock(mutex);
    covering = false;
    for (const auto& watcher : watchers) {
      if (watcher->next <= compacted && watcher->failure.ok()) watcher->failure = gone;
    }
    wake.NotifyAll();
    return "compacted";
  }

  void AddEvent(etcdserverpb::Event& event, std::vector<WatchEvent>& events) const {
    WatchEvent out;
    KeyValue& kv = out.kv;
    kv.key = event.kv().key().substr(root.size());
    kv.mod_revision = event.kv().mod_revision();
    if (event.type() == etcdserverpb::Event::DELETE) {
      out.kind = WatchEvent::Kind::kDelete;
    } else {
      kv.value = std::move(*event.mutable_kv()->mutable_value());
      kv.create_revision = event.kv().create_revision();
      kv.version = event.kv().version();
      kv.lease = event.kv().lease();
    }
    events.push_back(std::move(out));
  }

  // Whole revisions, in order; those seen before are left out.
  void Received(std::vector<WatchEvent> events, Revision progress) {
    MutexLock lock(mutex);
    received = Clock::now();
    if (!covering) return;
    std::shared_ptr<CommittedRevision> revision;
    Revision reached = std::max(seen, progress);
    for (WatchEvent& event : events) {
      if (event.kv.mod_revision <= seen) continue;
      reached = std::max(reached, event.kv.mod_revision);
      if (event.kv.key.starts_with('\0')) continue;
      if (revision == nullptr || revision->revision != event.kv.mod_revision) {
        revision = std::make_shared<CommittedRevision>();
        revision->revision = event.kv.mod_revision;
        recent.push_back(revision);
      }
      revision->events.push_back(std::move(event));
      recent_bytes +=
          sizeof(WatchEvent) + revision->events.back().kv.key.size() + revision->events.back().kv.value.size();
    }
    if (reached == seen) return;
    seen = reached;
    client->Saw(reached);
    wake.NotifyAll();
    advanced.NotifyAll();
    reader_wake.Wait(
        lock, [this]() REQUIRES(mutex) { return stopping || recent_bytes <= kMaxUndelivered || !SomeoneIsBehind(); });
  }

  // ---- delivering

  void Dispatch() {
    MutexLock lock(mutex);
    while (!stopping) {
      bool delivered = false;
      const auto present = watchers;
      for (const auto& watcher : present) {
        if (stopping) return;
        if (!IsDue(*watcher)) continue;
        Deliver(*watcher);
        delivered = true;
      }
      Trim();
      if (delivered) continue;
      const auto due = [this]() REQUIRES(mutex) { return stopping || poked || SomeoneIsBehind(); };
      if (const auto deadline = NextLook()) {
        wake.WaitFor(lock, *deadline - Clock::now(), due);
      } else {
        wake.Wait(lock, due);
      }
      poked = false;
      LookAfterStream();
    }
  }

  bool IsDue(const Watcher& watcher) const REQUIRES(mutex) {
    if (watcher.ended) return false;
    return !watcher.failure.ok() || (covering && watcher.next >= begin && (watcher.next <= seen || watcher.resumed));
  }
  bool SomeoneIsBehind() const REQUIRES(mutex) {
    return std::any_of(watchers.begin(), watchers.end(), [this](const auto& w) REQUIRES(mutex) { return IsDue(*w); });
  }

  // One batch to one watcher; the lock is let go meanwhile.
  void Deliver(Watcher& watcher) REQUIRES(mutex) {
    const Revision from = watcher.next;
    const Revision until = std::max(seen, from - 1);
    const bool resumed = std::exchange(watcher.resumed, false);
    const Status failure = watcher.failure;
    const Recent revisions = failure.ok() ? recent : Recent();
    watcher.running = true;
    mutex.Unlock();
    WatchBatch batch;
    if (failure.ok()) batch = BatchOf(revisions, watcher, from, until);
    batch.status = failure;
    batch.resumed = resumed;
    watcher.on_batch(std::move(batch));
    mutex.Lock();
    watcher.next = until + 1;
    if (!failure.ok()) watcher.ended = true;
    watcher.running = false;
    callback_done.NotifyAll();
  }

  void Trim() REQUIRES(mutex) {
    Revision needed = seen + 1;
    for (const auto& watcher : watchers) {
      if (!watcher->ended && watcher->failure.ok() && watcher->next >= begin) needed = std::min(needed, watcher->next);
    }
    while ((recent.size() > kKeepRevisions || recent_bytes > kKeepBytes) && recent.front()->revision < needed) {
      begin = recent.front()->revision + 1;
      recent_bytes -= BytesOf(*recent.front());
      recent.pop_front();
    }
    reader_wake.NotifyAll();
  }

  bool NeedsHistory() const REQUIRES(mutex) {
    return covering && std::any_of(watchers.begin(), watchers.end(), [this](const auto& w) REQUIRES(mutex) {
             return !w->ended && w->failure.ok() && w->next < begin;
           });
  }

  std::optional<EtcdTime> NextLook() const REQUIRES(mutex) {
    if (stream == nullptr || stream->link == nullptr || stream->cancelled) return std::nullopt;
    if (!stream->created) return stream->opened + kOpening;
    if (expected > seen) return std::max(expected_since, received) + kArrival;
    return std::nullopt;
  }

  // Ends a stream that is dead, or that must begin further back.
  void LookAfterStream() REQUIRES(mutex) {
    const auto open = stream;
    if (open == nullptr || open->cancelled) return;
    if (NeedsHistory()) return open->Cancel();
    if (open->link == nullptr) return;
    const auto deadline = NextLook();
    const bool dead = deadline && Clock::now() >= *deadline;
    const bool elsewhere = !client->alone() && client->IsSuspect(*open->link);
    if (!dead && !elsewhere) return;
    open->Cancel();
    mutex.Unlock();
    LogInfo("etcd {} does not answer in time: the watch is moved to another member, or opened anew",
            open->link->endpoint);
    if (dead) client->Suspect(*open->link);
    mutex.Lock();
  }

  // ---- from other threads

  void Add(std::shared_ptr<Watcher> watcher) {
    MutexLock lock(mutex);
    watchers.push_back(std::move(watcher));
    poked = true;
    reader_wake.NotifyAll();
    wake.NotifyAll();
  }

  void End(const std::shared_ptr<Watcher>& watcher) {
    MutexLock lock(mutex);
    watcher->ended = true;
    std::erase(watchers, watcher);
    reader_wake.NotifyAll();
    // A callback may end its own watch.
    if (std::this_thread::get_id() == dispatcher.get_id()) return;
    callback_done.Wait(lock, [&] { return !watcher->running; });
  }

  void Fail(const Status& status) {
    MutexLock lock(mutex);
    for (const auto& watcher : watchers) {
      if (watcher->failure.ok()) watcher->failure = status;
    }
    wake.NotifyAll();
    advanced.NotifyAll();
  }

  void OnClientChange() {
    if (const Status lost = client->lost(); !lost.ok()) {
      Fail(lost);
      MutexLock lock(mutex);
      if (stream != nullptr) stream->Cancel();
      return;
    }
    MutexLock lock(mutex);
    poked = true;
    wake.NotifyAll();
  }

  void Stop() {
    client->SetListener({});
    {
      MutexLock lock(mutex);
      stopping = true;
      if (stream != nullptr) stream->Cancel();
      wake.NotifyAll();
      reader_wake.NotifyAll();
      advanced.NotifyAll();
    }
    reader.join();
    dispatcher.join();
  }
};

class EtcdWatchHub::HubWatch : public Watch {
 public:
  HubWatch(std::shared_ptr<State> state, std::shared_ptr<Watcher> watcher)
      : state_(std::move(state)), watcher_(std::move(watcher)) {}
  ~HubWatch() override { state_->End(watcher_); }

 private:
  const std::shared_ptr<State> state_;
  const std::shared_ptr<Watcher> watcher_;
};

EtcdWatchHub::EtcdWatchHub(std::shared_ptr<EtcdClient> client, std::string root) : state_(std::make_shared<State>()) {
  State* state = state_.get();
  state->client = std::move(client);
  state->root = std::move(root);
  state->client->SetListener([weak = std::weak_ptr<State>(state_)] {
    if (const auto alive = weak.lock()) alive->OnClientChange();
  });
  state->reader = std::thread([state] { state->Read(); });
  state->dispatcher = std::thread([state] { state->Dispatch(); });
  pthread_setname_np(state->reader.native_handle(), "etcd-watch");
  pthread_setname_np(state->dispatcher.native_handle(), "meta-watch");
}

EtcdWatchHub::~EtcdWatchHub() { state_->Stop(); }

std::unique_ptr<Watch> EtcdWatchHub::Add(std::string prefix, Revision from, MetaStore::OnWatch on_batch) {
  auto watcher = std::make_shared<Watcher>(Watcher{std::move(prefix), std::move(on_batch)});
  watcher->next = from;
  state_->Add(watcher);
  return std::make_unique<HubWatch>(state_, std::move(watcher));
}

void EtcdWatchHub::Expect(Revision revision) {
  MutexLock lock(state_->mutex);
  if (state_->stream == nullptr || revision <= state_->seen || revision <= state_->expected) return;
  if (state_->expected <= state_->seen) state_->expected_since = Clock::now();
  state_->expected = revision;
  state_->poked = true;
  state_->wake.NotifyAll();
}

bool EtcdWatchHub::Arrives(Revision revision) {
  State& state = *state_;
  MutexLock lock(state.mutex);
  const auto settled = [&]() REQUIRES(state.mutex) {
    return state.stopping || state.seen >= revision || !state.HasWatchers();
  };
  return state.advanced.WaitFor(lock, kGrace, settled);
}

}  // namespace saker
