#include "meta/session.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mutex.h"
#include "meta/keys.h"

namespace saker {
namespace {

constexpr uint8_t kVersion = 1;
constexpr std::chrono::milliseconds kRetry{500};

}  // namespace

std::string Encode(const SessionInfo& info) {
  std::string out;
  ByteWriter writer(out);
  writer.Put(kVersion);
  writer.Put(info.node.value);
  writer.PutBytes(info.role);
  writer.PutBytes(info.address);
  writer.PutBytes(info.version);
  writer.Put(info.incarnation);
  writer.Put(info.started_unix_ms);
  return out;
}

// Later versions may add fields at the end: processes of both versions see each other during a rolling upgrade.
Result<SessionInfo> DecodeSession(std::string_view bytes) {
  ByteReader reader(bytes);
  const auto version = reader.Get<uint8_t>();
  SessionInfo info;
  info.node.value = reader.Get<int64_t>();
  info.role = reader.GetBytes();
  info.address = reader.GetBytes();
  info.version = reader.GetBytes();
  info.incarnation = reader.Get<int64_t>();
  info.started_unix_ms = reader.Get<int64_t>();
  if (reader.ok() && version >= kVersion) return info;
  return {ErrorCode::kCorrupted, fmt::format("a session of {} bytes and version {} does not decode", bytes.size(), version)};
}

Status MayRegister(const SessionInfo& info, const std::vector<SessionInfo>& registered) {
  for (const SessionInfo& other : registered) {
    if (other.node == info.node && other.incarnation == info.incarnation) continue;
    const bool same_place = other.address == info.address;
    const std::string who = fmt::format("{} {} at {}, started {} s ago", other.role, other.node.value,
                                        other.address.empty() ? "no address" : other.address,
                                        std::max<int64_t>(0, (WallMs() - other.started_unix_ms) / 1000));
    if (other.node == info.node && other.incarnation > info.incarnation) {
      return {ErrorCode::kNodeNotMatch,
              fmt::format("another process registered as this node {} after this one ({}): one of them runs on a copy of the other's data "
                          "directory; stop this one, and start it with an empty one", info.node.value, who)};
    }
    if (other.node == info.node && !same_place) {
      return {ErrorCode::kNodeNotMatch,
              fmt::format("this node {} at {} is registered by another process ({}): if that one lives, one of them runs on a copy of the "
                          "other's data directory, and is to be started with an empty one; else its session ends by itself, and is waited for",
                          info.node.value, info.address, who)};
    }
    if (other.node != info.node && same_place && !info.address.empty()) {
      return {ErrorCode::kNodeNotMatch,
              fmt::format("address {} is registered by another node ({}): if that one lives, give one of them another address "
                          "(saker.advertise, or the role's ip and port); else its session ends by itself, and is waited for",
                          info.address, who)};
    }
  }
  return {};
}

struct Session::State {
  MetaStore* store;
  SessionInfo info;
  std::string key;
  std::chrono::seconds ttl;
  ControlLoop* loop = nullptr;
  std::function<void()> on_renewal;

  mutable Mutex mutex;
  Status failure GUARDED_BY(mutex);  // of the last attempt to register
  LeaseId lease GUARDED_BY(mutex) = 0;
  Revision registered_at GUARDED_BY(mutex) = 0;
  Revision gone_at GUARDED_BY(mutex) = 0;  // up to here it is not, or not under our lease

  bool IsRegistered() const {
    MutexLock lock(mutex);
    return lease != 0 && registered_at > gone_at;
  }

  void OnEvents(const std::vector<WatchEvent>& events) {
    {
      MutexLock lock(mutex);
      for (const WatchEvent& event : events) {
        if (event.kv.key != key) continue;
        if (event.kind == WatchEvent::Kind::kDelete || IsAnothers(event.kv)) {
          gone_at = std::max(gone_at, event.kv.mod_revision);
        } else if (event.kv.lease != lease) {  // put by whoever brought the metadata back, under a lease that nobody renews
          gone_at = std::max(gone_at, event.kv.mod_revision - 1);
        }
      }
      if (registered_at > gone_at) return;
    }
    loop->Poke();
  }

  bool IsAnothers(const KeyValue& kv) const {
    const auto there = DecodeSession(kv.value);
    return there.ok() && there->incarnation != info.incarnation;
  }

  // What may be overwritten of this node's own key, if nobody is in its way.
  Result<Compare> Check() const {
    ASSIGN_OR_RETURN(const RangeResult range, store->Range(std::string(kSessionPrefix)));
    Compare unchanged = Compare::Absent(key);
    std::vector<SessionInfo> registered;
    for (const KeyValue& kv : range.kvs) {
      if (kv.key == key) unchanged = Compare::Unchanged(key, kv.mod_revision);
      if (auto one = DecodeSession(kv.value); one.ok()) registered.push_back(std::move(*one));
    }
    RETURN_IF_ERROR(MayRegister(info, registered));
    return unchanged;
  }

  // Held by the loop's step or by Start(), one after the other.
  Mutex registering;
  Status Register() {
    MutexLock one_at_a_time(registering);
    if (IsRegistered()) return {};
    ASSIGN_OR_RETURN(const Compare unchanged, Check());
    ASSIGN_OR_RETURN(const LeaseId granted, store->Grant(ttl));
    const Result<Revision> put = store->Commit({unchanged}, {MetaOp::Put(key, Encode(info), granted)});
    if (!put.ok()) {
      (void)store->Revoke(granted).ok();
      return put.status();
    }
    MutexLock lock(mutex);
    lease = granted;
    registered_at = *put;
    return {};
  }

  // Register, and what came of it: told when it differs from the time before.
  Status TryRegister() {
    const Status status = Register();
    MutexLock lock(mutex);
    if (!status.ok() && status.message() != failure.message()) {
      LogWarn("{} {} could not be registered: {}", info.role, info.node.value, status.message());
    }
    failure = status;
    return status;
  }

  std::chrono::milliseconds Step() {
    if (IsRegistered() && store->LeasesExpire()) {
      MutexLock lock(mutex);
      const LeaseId mine = lease;
      lock.Unlock();
      const Status kept = store->KeepAlive(mine);
      lock.Lock();
      if (kept.code() == ErrorCode::kIoKeyNotFound && lease == mine) lease = 0;
      if (!kept.ok() && lease != 0) return kRetry;
    }
    if (on_renewal) on_renewal();
    if (!TryRegister().ok()) return kRetry;
    return store->LeasesExpire() ? std::chrono::milliseconds(ttl) / 3 : std::chrono::milliseconds(0);
  }
};

Session::Session(MetaStore* store, SessionInfo info, std::chrono::seconds ttl, ThreadPool* pool, Timer* timer,
                 std::function<void()> on_renewal)
    : state_(std::make_shared<State>()) {
  state_->on_renewal = std::move(on_renewal);
  state_->store = store;
  state_->key = SessionKey(info.role, info.node);
  state_->info = std::move(info);
  state_->ttl = ttl;
  loop_ = std::make_unique<ControlLoop>("session", pool, timer, [state = state_.get()] { return state->Step(); });
  state_->loop = loop_.get();
  view_ = std::make_unique<PrefixView>(
      store, state_->key, pool, timer, [](const std::vector<KeyValue>&, Revision) {},
      [state = state_.get()](const std::vector<WatchEvent>& events, Revision) { state->OnEvents(events); });
}

Session::~Session() {
  view_.reset();
  loop_->Stop();
  MutexLock lock(state_->mutex);
  const LeaseId lease = state_->lease;
  lock.Unlock();
  if (lease == 0) return;
  if (const Status ended = state_->store->Revoke(lease); !ended.ok()) {
    LogInfo("the session's lease was left to run out: {}", ended.message());
  }
}

Status Session::Start() {
  Status status = state_->TryRegister();
  (void)view_->Start().ok();  // it goes on trying
  if (!status.ok() || state_->store->LeasesExpire()) loop_->Poke();
  return status;
}

bool Session::registered() const { return state_->IsRegistered(); }
Status Session::Health() const {
  if (registered()) return {};
  MutexLock lock(state_->mutex);
  if (!state_->failure.ok()) return state_->failure;
  return {ErrorCode::kServiceNotReady, "its session ended, it registers again"};
}
const SessionInfo& Session::info() const { return state_->info; }

struct SessionView::State {
  OnChange on_change;
  mutable Mutex mutex;
  std::map<std::string, SessionInfo> sessions GUARDED_BY(mutex);  // by key

  void Put(const KeyValue& kv) REQUIRES(mutex) {
    Result<SessionInfo> info = DecodeSession(kv.value);
    if (info.ok()) {
      sessions[kv.key] = std::move(*info);
    } else {
      LogWarn("key {}: {}", kv.key, info.status().message());
    }
  }
  void Apply(const std::vector<WatchEvent>& events) {
    MutexLock lock(mutex);
    for (const WatchEvent& event : events) {
      if (event.kind == WatchEvent::Kind::kPut) {
        Put(event.kv);
      } else {
        sessions.erase(event.kv.key);
      }
    }
  }
  void Changed() const {
    if (on_change) on_change();
  }
};

SessionView::SessionView(MetaStore* store, const std::string& role, ThreadPool* pool, Timer* timer, OnChange on_change)
    : state_(std::make_shared<State>()) {
  state_->on_change = std::move(on_change);
  view_ = std::make_unique<PrefixView>(
      store, role.empty() ? std::string(kSessionPrefix) : SessionPrefix(role), pool, timer,
      [state = state_.get()](const std::vector<KeyValue>& kvs, Revision) {
        {
          MutexLock lock(state->mutex);
          for (const KeyValue& kv : kvs) state->Put(kv);
        }
        state->Changed();
      },
      [state = state_.get()](const std::vector<WatchEvent>& events, Revision) {
        state->Apply(events);
        state->Changed();
      });
}

SessionView::~SessionView() { view_.reset(); }
Status SessionView::Start() { return view_->Start(); }

std::vector<SessionInfo> SessionView::List() const {
  MutexLock lock(state_->mutex);
  std::vector<SessionInfo> out;
  for (const auto& [key, info] : state_->sessions) out.push_back(info);
  return out;
}

std::optional<SessionInfo> SessionView::Find(NodeId node) const {
  MutexLock lock(state_->mutex);
  for (const auto& [key, info] : state_->sessions) {
    if (info.node == node) return info;
  }
  return std::nullopt;
}

}  // namespace saker
