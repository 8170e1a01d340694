// etcd, as OpenEtcdStore's clients see it: one server's keys, leases that run out, watches that lag; and a client in each
// process, with the errors that meta/etcd_store.h promises.
#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <string_view>

#include "meta/etcd_admin.h"
#include "meta/etcd_store.h"
#include "meta/keys.h"
#include "meta/stage.h"
#include "meta/transaction.h"
#include "sim/world.h"

namespace saker::sim {
namespace {

constexpr int64_t kTimeoutUs = 2'000 * kMs;
constexpr int64_t kReconnectUs = 200 * kMs;

struct Lease {
  int64_t ttl_us = 0;
  int64_t ends_us = 0;
};

// Who may write the keys that begin so: the leaders of these roles.
const std::vector<std::pair<std::string_view, std::vector<std::string_view>>> kWrittenByLeaders{
    {kChannelPrefix, {"datacoord"}},
    {kPlacementPrefix, {"querycoord"}},
    {kTaskPrefix, {"datacoord", "indexcoord"}},
    {kSegmentPrefix, {"datacoord", "indexcoord"}},
    {kCatalogPrefix, {"rootcoord", "datacoord", "querycoord", "indexcoord"}}};

struct Server {
  int64_t identity = 1;  // another one after its data was lost
  KeyIndex keys;
  LeaseIndex held;
  std::map<LeaseId, Lease> leases;
  LeaseId next_lease = 1;
  Revision revision = 1;
  Revision compacted = 0;
  std::deque<CommittedRevision> history;
  std::map<std::string, const Host*> led_by;  // leader keys, generation included: who wrote them last
  std::set<std::string> led;                  // generations that had a leader: one that is being filled has none

  bool Leads(const Host* host, const std::string& generation, std::string_view role) const {
    const std::string key = generation + LeaderKey(role);
    const auto it = led_by.find(key);
    return it != led_by.end() && it->second == host && keys.contains(key);
  }
  // What a coordinator decides may only be written by one that leads at this moment.
  void CheckLeads(const Host* by, const std::vector<MetaOp>& ops) {
    for (const MetaOp& op : ops) {
      const size_t slash = op.key.find('/');
      const std::string generation = op.key.substr(0, slash + 1);
      const std::string_view key = std::string_view(op.key).substr(slash + 1);
      if (key.starts_with(kLeaderPrefix)) {
        led_by[op.key] = by;
        led.insert(generation);
      }
      if (!led.contains(generation)) continue;
      for (const auto& [prefix, roles] : kWrittenByLeaders) {
        if (!key.starts_with(prefix)) continue;
        const bool may = std::any_of(roles.begin(), roles.end(), [&, &of = generation](auto role) { return Leads(by, of, role); });
        if (!may) Violation(by->name + " wrote " + op.key + ", which no role allows that it leads");
      }
    }
  }

  void Take(Stage&& stage) {
    const Revision to = stage.revision();
    for (CommittedRevision& made : std::vector<CommittedRevision>(stage.revisions())) {
      if (tracing) {
        for (const WatchEvent& event : made.events) {
          Trace("etcd r" + std::to_string(made.revision) + (event.kind == WatchEvent::Kind::kPut ? " put " : " delete ") + event.kv.key);
        }
      }
      history.push_back(std::move(made));
    }
    std::move(stage).ApplyTo(keys, held);
    if (to == revision) return;
    revision = to;
    WakeAll(this);
  }
  void End(LeaseId lease) {
    Stage stage(keys, held, revision);
    if (!stage.End(lease).ok()) return;
    leases.erase(lease);
    Take(std::move(stage));
  }
  // etcd looks for leases that have run out twice a second.
  void WatchLease(LeaseId id) {
    const int64_t of = identity;
    SpawnAt(leases[id].ends_us + Between(0, 500 * kMs), &TheWorld().servers[kEtcd], [this, id, of] {
      const auto lease = leases.find(id);
      if (of != identity || lease == leases.end()) return;
      if (lease->second.ends_us <= NowUs() && !TheWorld().down[kEtcd]) return End(id);
      lease->second.ends_us = std::max(lease->second.ends_us, NowUs() + kMs);
      WatchLease(id);
    });
  }
};
Server& TheServer() {
  static Server server;
  return server;
}

class Client final : public MetaStore {
 public:
  ~Client() override {
    for (const auto& watch : watches_) watch->closed = true;
    stopped_ = true;
    WakeAll(&TheServer());
    while (delivering_ && !IsDone(delivering_)) (void)WaitFor(DoneKey(delivering_), INT64_MAX);
  }

  Result<RangeResult> Range(const std::string& prefix, Revision at) override {
    if (at != 0) RETURN_IF_ERROR(CheckPast(at));
    auto out = std::make_shared<RangeResult>();
    auto status = std::make_shared<Status>();
    RETURN_IF_ERROR(Call([=] {
      const Server& server = TheServer();
      out->revision = server.revision;
      if (at != 0 && at < server.revision) {
        *status = Past(prefix, at, out.get());
        return;
      }
      for (auto it = server.keys.lower_bound(prefix); it != server.keys.end() && it->first.starts_with(prefix); ++it) {
        out->kvs.push_back(it->second);
      }
    }));
    RETURN_IF_ERROR(*status);
    return *out;
  }

  Result<KeyValue> Get(const std::string& key, Revision at) override {
    ASSIGN_OR_RETURN(const RangeResult range, Range(key, at));
    for (const KeyValue& kv : range.kvs) {
      if (kv.key == key) return kv;
    }
    return Status(ErrorCode::kIoKeyNotFound, "the meta store has no key " + key);
  }

  Result<Revision> Commit(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops) override {
    RETURN_IF_ERROR(CheckTransaction(compares, ops));
    auto out = std::make_shared<Result<Revision>>(Revision{0});
    RETURN_IF_ERROR(Call([=, by = CurrentHost()] {
      Server& server = TheServer();
      Stage stage(server.keys, server.held, server.revision);
      *out = stage.Add(compares, ops);
      if (!out->ok()) return;
      server.CheckLeads(by, ops);
      server.Take(std::move(stage));
    }, /*changes=*/true));
    return *out;
  }

  Result<LeaseId> Grant(std::chrono::seconds ttl) override {
    auto out = std::make_shared<LeaseId>(0);
    RETURN_IF_ERROR(Call([=] {
      Server& server = TheServer();
      const LeaseId id = *out = server.next_lease++;
      const int64_t ttl_us = ttl.count() * kSecond;
      server.leases[id] = {ttl_us, NowUs() + ttl_us};
      server.held[id];
      server.WatchLease(id);
    }));
    return *out;
  }
  Status KeepAlive(LeaseId id) override {
    auto found = std::make_shared<bool>(false);
    RETURN_IF_ERROR(Call([=] {
      Server& server = TheServer();
      const auto lease = server.leases.find(id);
      *found = lease != server.leases.end();
      if (!*found) return;
      lease->second.ends_us = NowUs() + lease->second.ttl_us;
    }));
    return *found ? Status() : NoLease(id);
  }
  Status Revoke(LeaseId id) override {
    auto found = std::make_shared<bool>(false);
    RETURN_IF_ERROR(Call([=] {
      *found = TheServer().leases.contains(id);
      TheServer().End(id);
    }));
    return *found ? Status() : NoLease(id);
  }
  Result<Revision> CurrentRevision() override {
    auto out = std::make_shared<Revision>(0);
    RETURN_IF_ERROR(Call([=] { *out = TheServer().revision; }));
    return *out;
  }
  std::string Identity() const override { return identity_ == 0 ? "" : std::to_string(identity_); }
  Status Compact(Revision) override { return {}; }

  Result<std::unique_ptr<Watch>> WatchPrefix(const std::string& prefix, Revision from, OnWatch on_batch) override {
    if (!lost_.ok()) return lost_;
    if (from == 0) {
      ASSIGN_OR_RETURN(const Revision now, CurrentRevision());
      from = now + 1;
    }
    auto state = std::make_shared<WatchState>();
    state->prefix = prefix;
    state->next = from;
    state->on_batch = std::move(on_batch);
    watches_.push_back(state);
    if (delivering_ == nullptr) delivering_ = Spawn(CurrentHost(), [this] { Deliver(); });
    WakeAll(&TheServer());
    return std::unique_ptr<Watch>(new Handle(this, state));
  }

 private:
  struct WatchState {
    std::string prefix;
    Revision next = 0;
    OnWatch on_batch;
    bool closed = false;   // by its owner
    bool ended = false;    // an error was delivered
    Fiber* calling = nullptr;
  };
  class Handle final : public Watch {
   public:
    Handle(Client* client, std::shared_ptr<WatchState> state) : client_(client), state_(std::move(state)) {}
    ~Handle() override {
      state_->closed = true;
      while (state_->calling != nullptr && state_->calling != CurrentFiber()) (void)WaitFor(state_.get(), INT64_MAX);
      std::erase(client_->watches_, state_);
    }

   private:
    Client* const client_;
    const std::shared_ptr<WatchState> state_;
  };

  static Status NoLease(LeaseId id) {
    return {ErrorCode::kIoKeyNotFound, "lease " + std::to_string(id) + " of the meta store has ended"};
  }
  static Status CheckPast(Revision at) {
    if (at > TheServer().revision) return {ErrorCode::kParameterInvalid, "that revision is yet to come"};
    return {};
  }
  // The keys as they were, from the present ones and what happened since.
  static Status Past(const std::string& prefix, Revision at, RangeResult* out) {
    const Server& server = TheServer();
    if (at < server.compacted) return {ErrorCode::kCompacted, "that revision is compacted"};
    std::map<std::string, KeyValue> keys;
    for (const CommittedRevision& made : server.history) {
      if (made.revision > at) break;
      for (const WatchEvent& event : made.events) {
        if (!event.kv.key.starts_with(prefix)) continue;
        if (event.kind == WatchEvent::Kind::kPut) {
          keys[event.kv.key] = event.kv;
        } else {
          keys.erase(event.kv.key);
        }
      }
    }
    // What was not changed since the history begins.
    for (auto it = server.keys.lower_bound(prefix); it != server.keys.end() && it->first.starts_with(prefix); ++it) {
      if (it->second.mod_revision <= at) keys[it->first] = it->second;
    }
    for (auto& [key, kv] : keys) out->kvs.push_back(kv);
    return {};
  }

  Status Call(std::function<void()> op, bool changes = false) {
    if (!lost_.ok()) return lost_;
    const bool refused = IsRefusing(kEtcd);
    auto identity = std::make_shared<int64_t>(0);
    const bool answered = Ask(kEtcd, kTimeoutUs, [identity, op = std::move(op)] {
      *identity = TheServer().identity;
      op();
    });
    if (answered) return CheckSame(*identity);
    if (changes && !refused) return {ErrorCode::kDeadlineExceeded, "etcd gave no answer: the change may have been made"};
    return {ErrorCode::kServiceUnavailable, "etcd can't be reached"};
  }

  // Another server's data than the one this process has seen: nothing of it is shown.
  Status CheckSame(int64_t identity) {
    if (identity_ == 0) identity_ = identity;
    if (identity_ != identity && lost_.ok()) {
      lost_ = Status(ErrorCode::kCorrupted, "etcd has lost its data");
      WakeAll(&TheServer());
    }
    return lost_;
  }

  void Deliver() {
    while (!stopped_) {
      const bool behind = std::any_of(watches_.begin(), watches_.end(), [&](const auto& w) {
        return !w->closed && !w->ended && (w->next <= TheServer().revision || !lost_.ok());
      });
      if (!behind && identity_ == TheServer().identity) {
        (void)WaitFor(&TheServer(), INT64_MAX);
        continue;
      }
      SleepUs(Latency());
      const int me = CurrentHost()->machine;
      if (TheWorld().down[kEtcd] || TheWorld().servers[kEtcd].paused || !Reaches(kEtcd, me) || !Reaches(me, kEtcd)) {
        SleepUs(kReconnectUs);
        continue;
      }
      (void)CheckSame(TheServer().identity);
      if (!lost_.ok() && !behind) return EndAll();
      // Each at its own pace.
      const auto watches = watches_;
      for (const auto& watch : watches) {
        if (!watch->closed && !watch->ended) DeliverTo(*watch);
        if (Chance(0.3)) SleepUs(Latency());
      }
    }
  }
  void EndAll() {
    const auto watches = watches_;
    for (const auto& watch : watches) {
      if (!watch->closed && !watch->ended) End(*watch, lost_);
    }
  }
  void End(WatchState& watch, const Status& why) {
    watch.ended = true;
    Give(watch, WatchBatch{why, 0, {}});
  }
  void DeliverTo(WatchState& watch) {
    if (!lost_.ok()) return End(watch, lost_);
    const Server& server = TheServer();
    if (watch.next > server.revision) return;
    if (watch.next <= server.compacted) return End(watch, Status(ErrorCode::kCompacted, "compacted"));
    const Revision until = Chance(0.5) ? server.revision : Between(watch.next, server.revision);
    WatchBatch batch;
    batch.revision = until;
    auto it = std::lower_bound(server.history.begin(), server.history.end(), watch.next,
                               [](const CommittedRevision& made, Revision revision) { return made.revision < revision; });
    for (; it != server.history.end() && it->revision <= until; ++it) {
      for (const WatchEvent& event : it->events) {
        if (event.kv.key.starts_with(watch.prefix)) batch.events.push_back(event);
      }
    }
    watch.next = until + 1;
    Give(watch, std::move(batch));
  }
  void Give(WatchState& watch, WatchBatch batch) {
    watch.calling = CurrentFiber();
    watch.on_batch(std::move(batch));
    watch.calling = nullptr;
    WakeAll(&watch);
  }

  int64_t identity_ = 0;
  Status lost_;
  bool stopped_ = false;
  Fiber* delivering_ = nullptr;
  std::vector<std::shared_ptr<WatchState>> watches_;
};

}  // namespace

void CompactEtcd(int64_t keep) {
  Server& server = TheServer();
  server.compacted = std::max(server.compacted, server.revision - keep);
  while (!server.history.empty() && server.history.front().revision < server.compacted) server.history.pop_front();
}

void WipeEtcd() {
  Server& server = TheServer();
  const int64_t identity = server.identity;
  server = Server();
  server.identity = identity + 1;
  WakeAll(&server);
}

void RestartEtcdLeases() {
  for (auto& [id, lease] : TheServer().leases) lease.ends_us = NowUs() + lease.ttl_us;
}

std::string DumpEtcd() {
  std::string out;
  for (const auto& [key, kv] : TheServer().keys) out += key + " r" + std::to_string(kv.mod_revision) + "\n";
  return out;
}

}  // namespace saker::sim

namespace saker {
namespace {

// Operating etcd is none of the simulation's.
class NoAdmin final : public EtcdAdmin {
 public:
  std::vector<EtcdMemberStatus> Members() override { return {}; }
  Result<std::vector<EtcdMember>> MemberList() override { return None(); }
  Result<std::vector<EtcdAlarm>> Alarms() override { return None(); }
  Result<EtcdHistory> History() override { return None(); }
  Status Disarm(const EtcdAlarm&) override { return None(); }
  Status Defragment(const std::string&, std::chrono::milliseconds) override { return None(); }
  Result<Revision> Compact(Revision, std::chrono::milliseconds) override { return None(); }
  Result<int64_t> Snapshot(const std::string&, std::chrono::milliseconds, const Sink&) override { return None(); }

 private:
  static Status None() { return {ErrorCode::kUnimplemented, "not in the simulation"}; }
};

}  // namespace

Result<std::unique_ptr<EtcdAdmin>> OpenEtcdAdmin(const EtcdStoreSettings&) {
  return std::unique_ptr<EtcdAdmin>(std::make_unique<NoAdmin>());
}

Result<std::unique_ptr<MetaStore>> OpenEtcdStore(const EtcdStoreSettings&) {
  return std::unique_ptr<MetaStore>(std::make_unique<sim::Client>());
}

}  // namespace saker
