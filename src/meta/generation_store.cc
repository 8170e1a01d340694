#include "meta/generation_store.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/mutex.h"
#include "meta/transaction.h"

namespace saker {

std::string GenerationPrefix(int64_t generation) { return fmt::format("g{}/", generation); }

Result<int64_t> GenerationInRoot(std::string_view value) {
  constexpr int64_t kMaxGeneration = (int64_t{1} << 22) - 1;
  const char* const end = value.data() + std::min(value.find('@'), value.size());
  int64_t generation = 0;
  const auto [read, error] = std::from_chars(value.data(), end, generation);
  if (error == std::errc() && read == end && generation > 0 && generation <= kMaxGeneration) return generation;
  return {ErrorCode::kServiceUnavailable,
          fmt::format("key \"{}\" of the meta store is no generation: \"{}\"; it has to be a number, or deleted", kGenerationKey, value)};
}

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstRetry{50};
constexpr milliseconds kLastRetry{500};
constexpr size_t kPrefixesPerStep = 100;
constexpr Revision kOwn = (Revision{1} << kGenerationShift) - 1;  // the store's own part of a revision

// The root key, as it was read or written.
struct Root {
  int64_t generation = 0;
  std::string identity;  // of the store that it was written to; empty: unknown
  Revision revision = 0;
  std::string Value() const { return identity.empty() ? std::to_string(generation) : fmt::format("{}@{}", generation, identity); }
};

Result<Root> ParseRoot(const KeyValue& kv) {
  ASSIGN_OR_RETURN(const int64_t generation, GenerationInRoot(kv.value));
  const size_t at = kv.value.find('@');
  return Root{generation, at == std::string::npos ? "" : kv.value.substr(at + 1), kv.mod_revision};
}

// The keys of one generation as a store of their own. Used while it is filled, and by the current one below.
class GenerationView : public MetaStore {
 public:
  GenerationView(MetaStore* inner, int64_t generation)
      : inner_(inner), prefix_(GenerationPrefix(generation)), base_(generation << kGenerationShift) {}

  Result<RangeResult> Range(const std::string& prefix, Revision at) override {
    ASSIGN_OR_RETURN(const Revision own, Own(at));
    ASSIGN_OR_RETURN(RangeResult range, inner_->Range(prefix_ + prefix, own));
    for (KeyValue& kv : range.kvs) Shown(kv);
    range.revision += base_;
    return range;
  }
  Result<KeyValue> Get(const std::string& key, Revision at) override {
    RETURN_IF_ERROR(CheckKey(key));
    ASSIGN_OR_RETURN(const Revision own, Own(at));
    auto kv = inner_->Get(prefix_ + key, own);
    if (kv.ok()) {
      Shown(*kv);
    } else if (kv.status().code() == ErrorCode::kIoKeyNotFound) {
      return Status(ErrorCode::kIoKeyNotFound, fmt::format("key \"{}\" is not in the meta store", key));
    }
    return kv;
  }
  Result<Revision> Commit(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops) override {
    return CommitIf(compares, ops, {});
  }
  // `also`: compares of the inner store's own.
  Result<Revision> CommitIf(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops, const std::vector<Compare>& also) {
    RETURN_IF_ERROR(CheckTransaction(compares, ops));
    if (compares.empty() && ops.empty()) return CurrentRevision();
    std::vector<Compare> all;
    all.reserve(compares.size() + also.size());
    for (const Compare& compare : compares) all.push_back(Translated(compare));
    all.insert(all.end(), also.begin(), also.end());
    std::vector<MetaOp> prefixed = ops;
    for (MetaOp& op : prefixed) op.key.insert(0, prefix_);
    ASSIGN_OR_RETURN(const Revision revision, inner_->Commit(all, prefixed));
    return revision + base_;
  }
  // Only the current generation is watched: by the store itself.
  Result<std::unique_ptr<Watch>> WatchPrefix(const std::string&, Revision, OnWatch) override {
    return Status(ErrorCode::kServiceInternal, "a generation that is being filled can't be watched");
  }
  Result<LeaseId> Grant(std::chrono::seconds ttl) override { return inner_->Grant(ttl); }
  Status KeepAlive(LeaseId lease) override { return inner_->KeepAlive(lease); }
  Status Revoke(LeaseId lease) override { return inner_->Revoke(lease); }
  bool LeasesExpire() const override { return inner_->LeasesExpire(); }
  Result<Revision> CurrentRevision() override {
    ASSIGN_OR_RETURN(const Revision revision, inner_->CurrentRevision());
    return revision + base_;
  }
  Status Compact(Revision revision) override {
    if (revision < base_) return {};  // long forgotten
    ASSIGN_OR_RETURN(const Revision own, Own(revision));
    return inner_->Compact(own);
  }

  const std::string& prefix() const { return prefix_; }
  Revision base() const { return base_; }
  void Shown(KeyValue& kv) const {
    kv.key.erase(0, prefix_.size());
    if (kv.create_revision > 0) kv.create_revision += base_;
    kv.mod_revision += base_;
  }

 private:
  Result<Revision> Own(Revision at) const {
    if (at == 0) return 0;
    if (GenerationOf(at) == GenerationOf(base_)) return at & kOwn;
    if (at < base_) return {ErrorCode::kCompacted, fmt::format("revision {} is of an earlier generation: read anew", at)};
    return {ErrorCode::kParameterInvalid, fmt::format("revision {} of the meta store is yet to come", at)};
  }

  // Revisions of other generations compare with this one's as the numbers do; a key that isn't there has 0 in all of them.
  Compare Translated(const Compare& compare) const {
    Compare own = compare;
    own.key.insert(0, prefix_);
    const bool of_revision = compare.target == Compare::Target::kModRevision || compare.target == Compare::Target::kCreateRevision;
    if (!of_revision || compare.number <= 0) return own;
    if (GenerationOf(compare.number) == GenerationOf(base_)) {
      own.number = compare.number & kOwn;
      return own;
    }
    const bool earlier = compare.number < base_;
    switch (compare.op) {
      case Compare::Op::kEqual:
      case Compare::Op::kNotEqual: own.number = -1; break;
      case Compare::Op::kLess: own.number = earlier ? 1 : std::numeric_limits<int64_t>::max(); break;
      case Compare::Op::kGreater: own.number = earlier ? 0 : std::numeric_limits<int64_t>::max(); break;
    }
    return own;
  }

  MetaStore* const inner_;
  const std::string prefix_;
  const Revision base_;
};

// A generation in use.
struct Current {
  Current(std::shared_ptr<MetaStore> store, const Root& root)
      : inner(std::move(store)), generation(root.generation), root_value(root.Value()), root_revision(root.revision), view(inner.get(), root.generation) {}
  const std::shared_ptr<MetaStore> inner;
  const int64_t generation;
  const std::string root_value;
  const Revision root_revision;  // of the root key, the store's own
  GenerationView view;
  std::unique_ptr<Watch> root_watch;  // used by the worker alone

  Mutex mutex;
  std::set<LeaseId> leases GUARDED_BY(mutex);

  // The root key as it was when this was entered. The number alone would not do, one that was lost may be given again; nor
  // the revision, which another store's root key may have as well.
  bool IsNamedBy(const KeyValue& root) const {
    return root.key == kGenerationKey && root.value == root_value && root.mod_revision == root_revision;
  }
  std::vector<Compare> IsStillNamed() const {
    return {Compare::Unchanged(kGenerationKey, root_revision),
            {kGenerationKey, Compare::Target::kValue, Compare::Op::kEqual, 0, root_value}};
  }

  void Granted(LeaseId lease) {
    MutexLock lock(mutex);
    leases.insert(lease);
  }
  void Ended(LeaseId lease) {
    MutexLock lock(mutex);
    leases.erase(lease);
  }
  // Leases of earlier generations ended with them, whatever the store may know of their numbers.
  Status CheckGranted(LeaseId lease) {
    MutexLock lock(mutex);
    if (leases.contains(lease)) return {};
    return {ErrorCode::kIoKeyNotFound, fmt::format("lease {:x} is none of this generation of the metadata: it has ended", lease)};
  }
};

// A watch of a caller. It follows everything, the root key included, so that it learns in order of the root's change and of
// what happens to the keys: nothing after that change is delivered.
struct Follower {
  std::string prefix;  // with the generation's
  MetaStore::OnWatch on_batch;
  std::shared_ptr<Current> current;

  Mutex mutex;
  CondVar idle;
  std::unique_ptr<Watch> inner GUARDED_BY(mutex);
  bool ended GUARDED_BY(mutex) = false;  // no more callbacks
  bool running GUARDED_BY(mutex) = false;
  bool superseded GUARDED_BY(mutex) = false;  // nothing is delivered but the end
  Revision told GUARDED_BY(mutex) = 0;
  std::thread::id runner GUARDED_BY(mutex);

  void Deliver(WatchBatch batch, bool last) {
    MutexLock lock(mutex);
    if (ended || (superseded && !last)) return;
    if (last) ended = true;
    running = true;
    runner = std::this_thread::get_id();
    told = batch.revision;
    lock.Unlock();
    on_batch(std::move(batch));
    lock.Lock();
    running = false;
    idle.NotifyAll();
  }
  void Supersede() {
    MutexLock lock(mutex);
    superseded = true;
  }
  Revision Told() {
    MutexLock lock(mutex);
    return told;
  }
  void TellFrom(Revision from) {
    MutexLock lock(mutex);
    told = from - 1;
  }
  std::unique_ptr<Watch> TakeInner() {
    MutexLock lock(mutex);
    return std::move(inner);
  }
  // By the worker: no batch of the old generation is under way afterwards.
  void Fail(const Status& status) {
    Supersede();
    TakeInner().reset();
    Deliver({status, 0, {}}, /*last=*/true);
  }
  // By whoever held the watch.
  void End() {
    {
      MutexLock lock(mutex);
      ended = true;
    }
    TakeInner().reset();
    MutexLock lock(mutex);
    if (running && runner == std::this_thread::get_id()) return;  // a callback may end its own watch
    idle.Wait(lock, [this]() REQUIRES(mutex) { return !running; });
  }
};

}  // namespace

struct GenerationStore::State {
  GenerationStoreSettings settings;
  std::atomic<bool> leases_expire{true};

  mutable Mutex mutex;
  CondVar wake;
  std::shared_ptr<Current> current GUARDED_BY(mutex);  // null: there is none to be used
  Status why GUARDED_BY(mutex){ErrorCode::kServiceUnavailable, "it is not known yet which generation there is"};  // … because of this
  std::vector<std::shared_ptr<Follower>> followers GUARDED_BY(mutex);
  int64_t lost GUARDED_BY(mutex) = 0;  // generations up to here are no good
  std::vector<std::shared_ptr<Current>> former GUARDED_BY(mutex);  // somebody may still be in them
  bool root_unwatched GUARDED_BY(mutex) = false;
  bool stopping GUARDED_BY(mutex) = false;

  // Used by the worker alone.
  std::shared_ptr<MetaStore> connection;
  std::string told;
  bool look = false;  // at the root key
  std::thread worker;

  // ---- what calls use

  std::shared_ptr<Current> InUse() const {
    MutexLock lock(mutex);
    return current;
  }
  Status Unavailable() const {
    MutexLock lock(mutex);
    return {ErrorCode::kServiceUnavailable,
            fmt::format("the metadata can't be read or changed at the moment, reads and writes of rows go on; retry: {}", why.message())};
  }

  // Runs `call` on the current generation, unless the store turns out to be none of ours any more.
  template <typename Call>
  auto Do(const Call& call) -> decltype(call(std::declval<Current&>())) {
    const auto in_use = InUse();
    if (in_use == nullptr) return Unavailable();
    auto answer = call(*in_use);
    if (CodeOf(answer) != ErrorCode::kCorrupted) return answer;
    Leave(in_use.get(), StatusOf(answer));
    return Unavailable();
  }
  static const Status& StatusOf(const Status& status) { return status; }
  template <typename T>
  static Status StatusOf(const Result<T>& result) {
    return result.status();
  }
  template <typename T>
  static ErrorCode CodeOf(const T& answer) {
    return StatusOf(answer).code();
  }

  // Ok if the root key is what it was when the generation was entered: so it was at any time in between.
  Status StillCurrent(Current& in_use) {
    const auto root = in_use.inner->Get(kGenerationKey);
    if (root.ok() && in_use.IsNamedBy(*root)) return {};
    if (!root.ok() && root.status().code() != ErrorCode::kIoKeyNotFound) return root.status();
    Leave(&in_use, NewGeneration());
    return Unavailable();
  }

  static Status NewGeneration() { return {ErrorCode::kServiceUnavailable, "the metadata has begun a new generation"}; }

  // Nobody uses the generation from now on. Only the worker drops it: a callback of the store's own thread may be the caller.
  // Only a later one counts: the number of one that was lost may be back with an older state.
  void Leave(const Current* left, const Status& because) {
    MutexLock lock(mutex);
    if (left == nullptr || current.get() != left) return;
    lost = std::max(lost, left->generation);
    why = because;
    for (const auto& follower : followers) follower->Supersede();
    const int64_t generation = left->generation;
    former.push_back(std::move(current));
    wake.NotifyAll();
    lock.Unlock();
    LogWarn("the metadata's generation {} is left: {}", generation, because.message());
  }

  // ---- watches

  void OnInner(const std::shared_ptr<Follower>& follower, WatchBatch batch) {
    Current& from = *follower->current;
    if (!batch.status.ok()) {
      if (batch.status.code() != ErrorCode::kCorrupted) return follower->Deliver(std::move(batch), /*last=*/true);
      return Leave(&from, batch.status);  // it ends once there is a new generation
    }
    Revision until = batch.revision;
    WatchBatch shown;
    for (WatchEvent& event : batch.events) {
      if (event.kv.key == kGenerationKey && event.kv.mod_revision > from.root_revision) {
        until = std::min(until, event.kv.mod_revision - 1);
        break;
      }
      if (!event.kv.key.starts_with(follower->prefix)) continue;
      from.view.Shown(event.kv);
      shown.events.push_back(std::move(event));
    }
    // The root's change is not alone in its revision: what comes with it is no longer shown.
    std::erase_if(shown.events, [&](const WatchEvent& event) { return event.kv.mod_revision > until + from.view.base(); });
    shown.revision = until + from.view.base();
    if (shown.revision > follower->Told()) follower->Deliver(std::move(shown), /*last=*/false);
    if (until == batch.revision) return;
    follower->Supersede();
    Leave(&from, NewGeneration());
  }

  class FollowerWatch : public Watch {
   public:
    FollowerWatch(State* state, std::shared_ptr<Follower> follower) : state_(state), follower_(std::move(follower)) {}
    ~FollowerWatch() override {
      follower_->End();
      MutexLock lock(state_->mutex);
      std::erase(state_->followers, follower_);
    }

   private:
    State* const state_;
    const std::shared_ptr<Follower> follower_;
  };

  Result<std::unique_ptr<Watch>> WatchPrefix(const std::string& prefix, Revision from, OnWatch on_batch) {
    auto follower = std::make_shared<Follower>();
    follower->on_batch = std::move(on_batch);
    if (from > 0) follower->TellFrom(from);
    {
      MutexLock lock(mutex);
      if (current == nullptr) {
        lock.Unlock();
        return Unavailable();
      }
      follower->current = current;
      if (from > 0 && GenerationOf(from) != current->generation) {
        return Status(ErrorCode::kCompacted, fmt::format("revision {} is of another generation: read anew and watch from there", from));
      }
      followers.push_back(follower);
    }
    Current& in_use = *follower->current;
    follower->prefix = in_use.view.prefix() + prefix;
    auto watch = std::make_unique<FollowerWatch>(this, follower);
    auto inner = in_use.inner->WatchPrefix("", from <= 0 ? 0 : from & kOwn, [this, weak = std::weak_ptr<Follower>(follower)](WatchBatch batch) {
      if (const auto alive = weak.lock()) OnInner(alive, std::move(batch));
    });
    if (inner.status().code() == ErrorCode::kCorrupted) {
      Leave(&in_use, inner.status());
      return Unavailable();
    }
    RETURN_IF_ERROR(inner.status());
    MutexLock lock(follower->mutex);
    if (!follower->ended) follower->inner = std::move(*inner);
    lock.Unlock();
    return std::unique_ptr<Watch>(std::move(watch));
  }

  // ---- the worker

  void Work() {
    milliseconds delay = kFirstRetry;
    MutexLock lock(mutex);
    while (!stopping) {
      if (current == nullptr) {
        lock.Unlock();
        const Status entered = Enter();
        lock.Lock();
        if (!entered.ok()) {
          why = entered;
          wake.WaitFor(lock, delay, [this]() REQUIRES(mutex) { return stopping; });
        }
        delay = entered.ok() ? kFirstRetry : std::min(delay * 2, kLastRetry);
        continue;
      }
      if (look) {
        const auto in_use = current;
        lock.Unlock();
        const bool watched = WatchRoot(*in_use);
        lock.Lock();
        look = !watched;
      }
      ForgetFormer();
      const auto due = [this]() REQUIRES(mutex) { return stopping || root_unwatched || current == nullptr; };
      if (look || !former.empty()) {
        wake.WaitFor(lock, kLastRetry, due);
      } else {
        wake.Wait(lock, due);
      }
      look = look || std::exchange(root_unwatched, false);
    }
  }

  // Those that nobody is in any more. A watch of theirs may still be held.
  void ForgetFormer() REQUIRES(mutex) {
    std::vector<std::shared_ptr<Current>> unused;
    const auto still_used = std::partition(former.begin(), former.end(), [](const auto& one) { return one.use_count() == 1; });
    std::move(former.begin(), still_used, std::back_inserter(unused));
    former.erase(former.begin(), still_used);
    mutex.Unlock();
    unused.clear();
    mutex.Lock();
  }

  int64_t Lost() const {
    MutexLock lock(mutex);
    return lost;
  }

  Status Enter() {
    const Status status = TryEnter();
    // The connection's store has lost data: what is there now is seen by a new one.
    if (status.code() == ErrorCode::kCorrupted) connection = nullptr;
    if (!status.ok() && told != status.message()) LogWarn("no generation of the metadata can be used: {}", status.message());
    told = status.message();
    return status;
  }

  Status TryEnter() {
    if (connection == nullptr) {
      ASSIGN_OR_RETURN(connection, settings.open());
    }
    leases_expire = connection->LeasesExpire();
    Root root;
    const auto kv = connection->Get(kGenerationKey);
    if (kv.ok()) {
      ASSIGN_OR_RETURN(root, ParseRoot(*kv));
    } else if (kv.status().code() != ErrorCode::kIoKeyNotFound) {
      return kv.status();
    }
    if (root.generation > Lost()) {
      const Status checked = Check(root);
      if (checked.ok()) return Use(root);
      if (checked.code() != ErrorCode::kCorrupted) return checked;
      LogWarn("generation {} of the metadata is not to be used: {}", root.generation, checked.message());
      MutexLock lock(mutex);
      lost = std::max(lost, root.generation);
    }
    if (!settings.rebuild) {
      return {ErrorCode::kServiceUnavailable, "the meta store's data was lost, or there was never any: waiting for a coordinator to "
                                              "bring it back from the object store, or to begin"};
    }
    return Rebuild(root, std::max(Lost(), root.generation));
  }

  Status Check(const Root& root) {
    // A restored copy may lack anything that happened since, ids that were handed out for instance.
    const std::string here = connection->Identity();
    if (!root.identity.empty() && !here.empty() && root.identity != here) {
      return {ErrorCode::kCorrupted, fmt::format("it was made in store {}, this is {}: a restored copy", root.identity, here)};
    }
    if (!settings.check) return {};
    GenerationView view(connection.get(), root.generation);
    return settings.check(&view);
  }

  // `before`: the root key as it is; of generation 0: there is none.
  Status Rebuild(const Root& before, int64_t above) {
    std::map<int64_t, std::unique_ptr<GenerationView>> views;
    const auto under = [&](int64_t generation) {
      auto& view = views[generation];
      if (view == nullptr) view = std::make_unique<GenerationView>(connection.get(), generation);
      return view.get();
    };
    ASSIGN_OR_RETURN(const int64_t generation, settings.rebuild(under, above));
    Root made{generation, connection->Identity()};
    const Compare unchanged = before.generation > 0 ? Compare::Unchanged(kGenerationKey, before.revision) : Compare::Absent(kGenerationKey);
    const auto named = connection->Commit({unchanged}, {MetaOp::Put(kGenerationKey, made.Value())});
    if (named.status().code() == ErrorCode::kConflict) return NameOver(made);
    ASSIGN_OR_RETURN(made.revision, named);
    return Forget(made);
  }

  // Somebody else named another one meanwhile: the higher one counts.
  Status NameOver(Root made) {
    const auto kv = connection->Get(kGenerationKey);
    RETURN_IF_ERROR(kv.status());
    ASSIGN_OR_RETURN(const Root named, ParseRoot(*kv));
    if (named.generation > made.generation) {
      RETURN_IF_ERROR(connection->Commit({}, {MetaOp::DeletePrefix(GenerationPrefix(made.generation))}).status());
      return Use(named);
    }
    ASSIGN_OR_RETURN(made.revision, connection->Commit({Compare::Unchanged(kGenerationKey, named.revision)},
                                                       {MetaOp::Put(kGenerationKey, made.Value())}));
    return Forget(made);
  }

  // What earlier generations left. Nobody reads it any more: their watches and reads notice the root key first.
  Status Forget(const Root& made) {
    for (int64_t first = 1; first < made.generation; first += kPrefixesPerStep) {
      std::vector<MetaOp> ops;
      const int64_t end = std::min<int64_t>(made.generation, first + kPrefixesPerStep);
      for (int64_t g = first; g < end; ++g) ops.push_back(MetaOp::DeletePrefix(GenerationPrefix(g)));
      const auto deleted = connection->Commit({Compare::Unchanged(kGenerationKey, made.revision)}, ops);
      if (!deleted.ok()) LogWarn("keys of earlier generations stay in the meta store: {}", deleted.status().message());
    }
    const Status checked = Check(made);
    return checked.ok() ? Use(made) : checked;
  }

  Status Use(const Root& root) {
    auto next = std::make_shared<Current>(connection, root);
    connection = nullptr;
    std::vector<std::shared_ptr<Follower>> to_end;
    {
      MutexLock lock(mutex);
      current = next;
      why = {};
      for (const auto& follower : followers) {
        if (follower->current != next) to_end.push_back(follower);
      }
    }
    look = true;
    LogInfo("generation {} of the metadata is in use", root.generation);
    const Status gone(ErrorCode::kCompacted, "the metadata has begun a new generation: read anew and watch from there");
    for (const auto& follower : to_end) {
      follower->Fail(gone);
      MutexLock lock(mutex);
      std::erase(followers, follower);
    }
    return {};
  }

  bool WatchRoot(Current& in_use) {
    in_use.root_watch.reset();
    const auto root = in_use.inner->Range(kGenerationKey);
    if (root.status().code() == ErrorCode::kCorrupted) Leave(&in_use, root.status());
    if (!root.ok()) return false;
    if (root->kvs.empty() || !in_use.IsNamedBy(root->kvs.front())) {
      Leave(&in_use, NewGeneration());
      return false;
    }
    auto watch = in_use.inner->WatchPrefix(kGenerationKey, root->revision + 1, [this, watched = &in_use](const WatchBatch& batch) {
      OnRoot(*watched, batch);
    });
    if (!watch.ok()) return false;
    in_use.root_watch = std::move(*watch);
    return true;
  }

  void OnRoot(const Current& watched, const WatchBatch& batch) {
    if (batch.status.code() == ErrorCode::kCorrupted) return Leave(&watched, batch.status);
    const bool changed = std::any_of(batch.events.begin(), batch.events.end(), [](const auto& event) { return event.kv.key == kGenerationKey; });
    if (changed) return Leave(&watched, NewGeneration());
    // Resumed at another store whose revisions are higher than ours, it would never tell of the root key's change.
    if (batch.status.ok() && !batch.resumed) return;
    MutexLock lock(mutex);
    root_unwatched = true;
    wake.NotifyAll();
  }
};

GenerationStore::GenerationStore(std::unique_ptr<State> state) : state_(std::move(state)) {
  state_->worker = std::thread([state = state_.get()] { state->Work(); });
  pthread_setname_np(state_->worker.native_handle(), "generation");
}

GenerationStore::~GenerationStore() {
  {
    MutexLock lock(state_->mutex);
    state_->stopping = true;
    state_->wake.NotifyAll();
  }
  state_->worker.join();
}

Result<std::unique_ptr<GenerationStore>> GenerationStore::Open(GenerationStoreSettings settings) {
  auto state = std::make_unique<State>();
  state->settings = std::move(settings);
  ASSIGN_OR_RETURN(state->connection, state->settings.open());
  state->leases_expire = state->connection->LeasesExpire();
  return std::unique_ptr<GenerationStore>(new GenerationStore(std::move(state)));
}

void GenerationStore::Lose(const Status& why) { state_->Leave(state_->InUse().get(), why); }

Status GenerationStore::Ready() const { return state_->InUse() != nullptr ? Status() : state_->Unavailable(); }

Result<RangeResult> GenerationStore::Range(const std::string& prefix, Revision at) {
  return state_->Do([&](Current& in_use) -> Result<RangeResult> {
    auto range = in_use.view.Range(prefix, at);
    if (range.ok()) RETURN_IF_ERROR(state_->StillCurrent(in_use));
    return range;
  });
}

Result<KeyValue> GenerationStore::Get(const std::string& key, Revision at) {
  return state_->Do([&](Current& in_use) -> Result<KeyValue> {
    auto kv = in_use.view.Get(key, at);
    if (kv.status().code() == ErrorCode::kIoKeyNotFound) RETURN_IF_ERROR(state_->StillCurrent(in_use));
    return kv;
  });
}

Result<Revision> GenerationStore::Commit(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops) {
  if (compares.empty() && ops.empty()) return CurrentRevision();
  return state_->Do([&](Current& in_use) -> Result<Revision> {
    for (const MetaOp& op : ops) {
      if (op.kind == MetaOp::Kind::kPut && op.lease != 0) RETURN_IF_ERROR(in_use.CheckGranted(op.lease));
    }
    auto revision = in_use.view.CommitIf(compares, ops, in_use.IsStillNamed());
    if (revision.status().code() == ErrorCode::kConflict) RETURN_IF_ERROR(state_->StillCurrent(in_use));
    return revision;
  });
}

Result<std::unique_ptr<Watch>> GenerationStore::WatchPrefix(const std::string& prefix, Revision from, OnWatch on_batch) {
  return state_->WatchPrefix(prefix, from, std::move(on_batch));
}

Result<LeaseId> GenerationStore::Grant(std::chrono::seconds ttl) {
  return state_->Do([&](Current& in_use) -> Result<LeaseId> {
    auto lease = in_use.inner->Grant(ttl);
    if (lease.ok()) in_use.Granted(*lease);
    return lease;
  });
}

Status GenerationStore::KeepAlive(LeaseId lease) {
  return state_->Do([&](Current& in_use) -> Status {
    RETURN_IF_ERROR(in_use.CheckGranted(lease));
    Status kept = in_use.inner->KeepAlive(lease);
    if (kept.code() == ErrorCode::kIoKeyNotFound) in_use.Ended(lease);
    return kept;
  });
}

Status GenerationStore::Revoke(LeaseId lease) {
  return state_->Do([&](Current& in_use) -> Status {
    RETURN_IF_ERROR(in_use.CheckGranted(lease));
    Status revoked = in_use.inner->Revoke(lease);
    if (revoked.ok() || revoked.code() == ErrorCode::kIoKeyNotFound) in_use.Ended(lease);
    return revoked;
  });
}

bool GenerationStore::LeasesExpire() const { return state_->leases_expire; }

Result<Revision> GenerationStore::CurrentRevision() {
  return state_->Do([&](Current& in_use) -> Result<Revision> {
    auto revision = in_use.view.CurrentRevision();
    if (revision.ok()) RETURN_IF_ERROR(state_->StillCurrent(in_use));
    return revision;
  });
}

Status GenerationStore::Compact(Revision revision) {
  return state_->Do([&](Current& in_use) { return in_use.view.Compact(revision); });
}

}  // namespace saker
