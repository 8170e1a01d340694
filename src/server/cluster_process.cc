#include "server/cluster_process.h"

#include <algorithm>
#include <map>
#include <thread>
#include <utility>

#include "base/clock_steps.h"
#include "base/file.h"
#include "base/log.h"
#include "base/metrics.h"
#include "meta/generation_store.h"
#include "meta/keys.h"
#include "meta/session.h"
#include "proxy/store_health.h"
#include "rest/v2.h"
#include "server/etcd_monitor.h"
#include "server/etcd_snapshots.h"
#include "server/identity.h"
#include "server/live_peers.h"
#include "server/runtime.h"
#include "transport/server.h"
#include "transport/topology.h"

namespace saker {
namespace {

// Short, so that a standby leads soon; renewing a lease writes nothing in etcd.
constexpr std::chrono::seconds kLeaderLease{3};
constexpr std::chrono::milliseconds kStoreRetry{1'000};
constexpr std::chrono::milliseconds kRefusedRetry{5'000};  // each try costs etcd a hash of the password
constexpr std::chrono::milliseconds kLeadRetry{500};
constexpr std::chrono::milliseconds kDrainPoll{50};
constexpr std::chrono::milliseconds kHealthPatience{800};  // probes wait a second
constexpr int64_t kTellClockStepUs = 3'600'000'000;        // for an hour
// Lost metadata is brought back by who led, for it knows the most; the others leave it that much time to begin, and who
// has begun that much to finish.
constexpr std::chrono::seconds kLeaderFirst{3};
constexpr std::chrono::seconds kFinish{15};

bool MayPass(const Status& status) {
  return status.code() == ErrorCode::kServiceUnavailable || status.code() == ErrorCode::kDeadlineExceeded ||
         status.code() == ErrorCode::kServiceNotReady || status.code() == ErrorCode::kDiskLimitExceeded ||
         status.code() == ErrorCode::kConflict;
}

// User, password or permission: they may be put right at the store.
bool IsRefusal(const Status& status) {
  return status.code() == ErrorCode::kServiceInternal || status.code() == ErrorCode::kPrivilegeNotPermitted;
}

const std::set<std::string>& Coordinators() {
  static const std::set<std::string> names{"rootcoord", "datacoord", "querycoord", "indexcoord"};
  return names;
}

}  // namespace

RoleNames RolesOf(const std::string& subcommand) {
  static const RoleNames kAll{"proxy", "rootcoord", "datacoord", "querycoord", "indexcoord", "datanode", "querynode", "indexnode"};
  if (subcommand == "mixcoord") return Coordinators();
  return kAll.contains(subcommand) ? RoleNames{subcommand} : RoleNames{};
}

// In order of construction; Stop() goes the other way.
struct ClusterProcess::State {
  State(const Config& settings, RoleNames names) : roles(std::move(names)), runtime(settings) {}

  Status Open(const Interrupted& interrupted);
  GenerationStoreSettings Generations();
  Result<int64_t> Rebuild(const GenerationStoreSettings::Under& under, int64_t above);
  Status AwaitTurn(int64_t above);
  bool Leads();
  LastKnown Known();
  Status Join();
  void StartNodes(MethodTable* methods, HttpRoutes* rest);
  void Campaign();
  void Lead(const std::string& role, Revision token);
  void Follow(const std::string& role);
  void OnTopology(const Topology& topology);
  void NodesChanged();
  std::vector<LeaderToken> Tokens() const;
  NodeLoad Load() const;
  std::string Advertised() const;
  bool Has(const char* role) const { return roles.contains(role); }
  void Drain();
  bool OthersCanTakeOver();
  bool HoldsNothing();
  Status WatchEtcd();
  void AddMetrics();
  void LookAtClock();
  std::vector<std::string> Troubles() const;
  std::vector<std::string> Warnings() const;
  void ScheduleSnapshots(bool lead);
  void Stop();

  // A coordinator that this process leads now, and how to end it.
  struct Leading {
    std::function<void()> nodes_changed;
    std::function<void()> stop;
  };
  template <typename Role, typename Interface>
  Leading Serve(std::unique_ptr<Role> role);

  const RoleNames roles;
  Runtime runtime;
  Identity identity;
  std::string listen;
  std::unique_ptr<RemotePeers> remote;
  std::unique_ptr<LivePeers> peers;
  std::unique_ptr<InternalServer> server;
  std::unique_ptr<DataNodeRole> data_node;
  std::unique_ptr<QueryNodeRole> query_node;
  std::unique_ptr<IndexNodeRole> index_node;
  std::unique_ptr<Proxy> proxy;
  std::unique_ptr<TopologyView> topology;
  std::vector<std::unique_ptr<Session>> sessions;
  std::unique_ptr<EtcdMonitor> etcd_monitor;
  ClockSteps clock_steps;
  std::unique_ptr<Strand> leadership;  // elections won and lost, in order
  std::map<std::string, std::unique_ptr<Election>> elections;

  mutable Mutex mutex;
  std::map<std::string, Leading> leading GUARDED_BY(mutex);
  // Coordinators that were deposed: calls may still be in them. Leaders change seldom.
  std::vector<std::shared_ptr<void>> deposed GUARDED_BY(mutex);
  std::map<std::string, NodeId> leaders GUARDED_BY(mutex);  // as the topology has them
  std::unique_ptr<EtcdSnapshotSchedule> snapshots GUARDED_BY(mutex);  // where rootcoord leads
  bool stopping GUARDED_BY(mutex) = false;
  bool stopped = false;

  GenerationStore* generations = nullptr;  // runtime.meta
  Mutex known_mutex;
  bool running GUARDED_BY(known_mutex) = false;  // catalog and elections are there
  std::vector<SessionInfo> registered GUARDED_BY(known_mutex);
  // Used by the store's own thread alone, which rebuilds.
  struct Turn {
    int64_t above = -1;
    std::chrono::steady_clock::time_point since;
    bool leads = false;
    int64_t begun = 0;  // by another process
    std::chrono::steady_clock::time_point begun_since;
    int64_t tried = 0;  // begun by us, or before we tried
  } turn;
};

// ---- health

Status ClusterProcess::State::WatchEtcd() {
  ASSIGN_OR_RETURN(auto admin, OpenEtcdAdmin(runtime.config.etcd));
  etcd_monitor = std::make_unique<EtcdMonitor>(std::move(admin), runtime.pools.io.get(), runtime.pools.timer.get());
  SetStoreHealth([this](const std::function<void(const std::vector<std::string>&)>& tell) {
    etcd_monitor->Refresh(kHealthPatience, [this, tell] { tell(Troubles()); });
  });
  return {};
}

void ClusterProcess::State::AddMetrics() {
  MetricRegistry& metrics = Metrics();
  // Whoever scrapes wants to know; the figures are those of the look before.
  metrics.AddCallback("saker_etcd_degraded", "1 if metadata can't be changed, or isn't safe, for etcd's sake", {}, [this] {
    etcd_monitor->Refresh(kHealthPatience, [] {});
    return Troubles().empty() ? 0 : 1;
  });
  metrics.AddCallback("saker_etcd_warnings", "Things to be done about etcd, as /healthz tells them", {},
                      [this] { return static_cast<double>(Warnings().size()); });
  metrics.AddCallback("saker_etcd_db_bytes", "The largest file of etcd's members", {},
                      [this] { return static_cast<double>(etcd_monitor->db_bytes()); });
  metrics.AddCallback("saker_etcd_quota_bytes", "The smallest quota of etcd's members; 0: not told", {},
                      [this] { return static_cast<double>(etcd_monitor->quota_bytes()); });
  metrics.AddCallback("saker_etcd_snapshot_age_seconds", "Of etcd's newest snapshot, where rootcoord leads; -1: none is known", {},
                      [this] {
                        MutexLock lock(mutex);
                        const int64_t newest_ms = snapshots == nullptr ? 0 : snapshots->newest_unix_ms();
                        return newest_ms == 0 ? -1 : static_cast<double>(WallMs() - newest_ms) / 1000;
                      });
  metrics.AddCallback("saker_clock_step_ms", "By how much the wall clock was last set while this process ran; 0: never", {},
                      [this] { return static_cast<double>(clock_steps.last().by_ms); });
}

void ClusterProcess::State::LookAtClock() {
  const int64_t by_ms = clock_steps.Look();
  if (by_ms != 0) LogWarn("the wall clock was set by {:+.1f} s: timestamps go on as if it had not been", static_cast<double>(by_ms) / 1000);
}

std::vector<std::string> ClusterProcess::State::Troubles() const {
  std::vector<std::string> out;
  for (const EtcdFinding& finding : etcd_monitor->findings()) {
    if (finding.degraded) out.push_back(finding.text);
  }
  return out;
}

std::vector<std::string> ClusterProcess::State::Warnings() const {
  std::vector<std::string> out;
  for (const EtcdFinding& finding : etcd_monitor->findings()) {
    if (!finding.degraded) out.push_back(finding.text);
  }
  const ClockSteps::Step step = clock_steps.last();
  if (step.noticed_us != 0 && MonotonicUs() - step.noticed_us < kTellClockStepUs) {
    out.push_back(fmt::format("the wall clock was set by {:+.1f} s {} s ago: timestamps go on as if it had not been; certificates and "
                              "expiry go by it", static_cast<double>(step.by_ms) / 1000, (MonotonicUs() - step.noticed_us) / 1'000'000));
  }
  const int64_t reserve = runtime.config.disk_reserve_mb << 20;
  if (const auto free = FreeDiskBytes(runtime.config.data_dir); free.ok() && *free < reserve) {
    out.push_back(fmt::format("the disk of {} has {} free, less than saker.diskReserveMb ({}): make space, what is fetched from the object "
                              "store has none soon", runtime.config.data_dir, HumanBytes(*free), HumanBytes(reserve)));
  }
  MutexLock lock(mutex);
  if (snapshots == nullptr) return out;
  if (const Status health = snapshots->Health(); !health.ok()) out.push_back(health.message());
  return out;
}

void ClusterProcess::State::ScheduleSnapshots(bool lead) {
  std::unique_ptr<EtcdSnapshotSchedule> next;
  if (lead && runtime.config.etcd_snapshot_interval_s > 0) {
    EtcdSnapshotSchedule::Options options;
    options.etcd = runtime.config.etcd;
    options.cluster = identity.cluster;
    options.interval = std::chrono::seconds(runtime.config.etcd_snapshot_interval_s);
    options.keep = runtime.config.etcd_snapshot_keep;
    next = std::make_unique<EtcdSnapshotSchedule>(std::move(options), runtime.objects.get(), runtime.pools.io.get(), runtime.pools.timer.get());
  }
  MutexLock lock(mutex);
  snapshots.swap(next);
  lock.Unlock();  // the former one waits for what it is at
}

// ---- start

Status ClusterProcess::State::Open(const Interrupted& interrupted) {
  const Config& config = runtime.config;
  const auto until_there = [&](const char* what, const std::function<Status()>& attempt) -> Status {
    std::string told;
    while (true) {
      const Status status = attempt();
      const bool refused = IsRefusal(status);
      if (status.ok() || !(refused || MayPass(status))) return status.WithContext(what);
      const std::string why = fmt::format("waiting for {}: {}", what, status.message());
      if (told != why) LogWarn("{}", why);
      told = why;
      if (interrupted(refused ? kRefusedRetry : kStoreRetry, why)) return {ErrorCode::kCancelled, "interrupted while " + why};
    }
  };
  RETURN_IF_ERROR(WatchEtcd());
  S3StoreSettings s3 = config.s3;
  if (s3.cache_directory.empty()) s3.cache_directory = config.data_dir + "/cache";
  RETURN_IF_ERROR(until_there("the object store", [&]() -> Status {
    ASSIGN_OR_RETURN(runtime.objects, OpenS3Store(s3));
    return {};
  }));
  ASSIGN_OR_RETURN(auto store, GenerationStore::Open(Generations()));
  generations = store.get();
  runtime.meta = std::move(store);
  RETURN_IF_ERROR(until_there("etcd", [&] { return runtime.meta->CurrentRevision().status(); }));
  if (Has("datanode")) {
    RETURN_IF_ERROR(until_there("Kafka", [&]() -> Status {
      ASSIGN_OR_RETURN(runtime.log, OpenKafkaLog(config.kafka));
      return {};
    }));
  }
  RETURN_IF_ERROR(until_there("the cluster's id", [&]() -> Status {
    ASSIGN_OR_RETURN(identity, EstablishIdentity(config.data_dir, runtime.meta.get(), runtime.objects.get()));
    return {};
  }));
  runtime.node = identity.node;
  return until_there("the catalog", [&] { return runtime.OpenCatalog([this](const Status& why) { generations->Lose(why); }); });
}

// ---- lost metadata

GenerationStoreSettings ClusterProcess::State::Generations() {
  GenerationStoreSettings settings;
  settings.open = [this] { return OpenEtcdStore(runtime.config.etcd); };
  settings.check = [this](MetaStore* generation) { return CheckUpToCopies(generation, runtime.objects.get()); };
  const bool coordinates = std::any_of(roles.begin(), roles.end(), [](const std::string& role) { return Coordinators().contains(role); });
  if (coordinates) {
    settings.rebuild = [this](const GenerationStoreSettings::Under& under, int64_t above) { return Rebuild(under, above); };
  }
  return settings;
}

Result<int64_t> ClusterProcess::State::Rebuild(const GenerationStoreSettings::Under& under, int64_t above) {
  RETURN_IF_ERROR(AwaitTurn(above));
  const Stopwatch watch;
  auto filled = FillGeneration(under, above, runtime.objects.get(), Known());
  if (filled.ok()) LogWarn("generation {} of the metadata was filled in {} ms", *filled, watch.elapsed_ms());
  if (const auto newest = NewestGeneration(runtime.objects.get()); newest.ok()) turn.tried = std::max(turn.tried, *newest);
  return filled;
}

// Any number of processes may rebuild at once, but each begins everything anew for all.
Status ClusterProcess::State::AwaitTurn(int64_t above) {
  const auto now = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const int64_t newest, NewestGeneration(runtime.objects.get()));
  if (turn.above != above) {
    turn.above = above;
    turn.since = now;
    turn.leads = Leads();
  }
  if (newest > std::max(above, turn.tried)) {
    if (newest != turn.begun) turn.begun_since = now;
    turn.begun = newest;
    if (now - turn.begun_since >= kFinish) return {};
    return {ErrorCode::kServiceUnavailable, fmt::format("another process is bringing the metadata back, as generation {}", newest)};
  }
  const bool first_start = newest == 0 && above == 0;
  if (first_start || turn.leads || now - turn.since >= kLeaderFirst) return {};
  return {ErrorCode::kServiceUnavailable, "the metadata was lost, and is to be brought back by the process that led"};
}

// One process of all, whoever leads the other roles.
bool ClusterProcess::State::Leads() {
  MutexLock lock(known_mutex);
  const auto root = elections.find("rootcoord");
  return running && root != elections.end() && root->second->token() != 0;
}

LastKnown ClusterProcess::State::Known() {
  LastKnown known;
  MutexLock lock(known_mutex);
  if (!running) return known;
  for (const auto& collection : runtime.catalog->Collections("")) {
    if (const auto placement = runtime.catalog->FindPlacement(collection->id)) known.placements.push_back(*placement);
  }
  known.channels = runtime.catalog->Channels();
  known.sessions = registered;
  return known;
}

std::string ClusterProcess::State::Advertised() const {
  const auto address = SplitAddress(listen);
  const std::string host = !runtime.config.advertise.empty() ? runtime.config.advertise : address.ok() ? address->first : "127.0.0.1";
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, server->port()) : fmt::format("[{}]:{}", host, server->port());
}

std::vector<LeaderToken> ClusterProcess::State::Tokens() const {
  std::vector<LeaderToken> tokens;
  for (const auto& [role, election] : elections) {
    if (const Revision token = election->token(); token != 0) tokens.push_back({role, 0, token});
  }
  return tokens;
}

NodeLoad ClusterProcess::State::Load() const {
  NodeLoad load;
  if (data_node != nullptr) {
    const auto growing = data_node->GrowingSegments(CollectionId());
    for (const auto& segment : *growing) {
      ++load.segments;
      load.rows += segment.rows;
      load.memory_bytes += segment.size_bytes;
    }
  }
  if (query_node != nullptr) {
    const auto loaded = query_node->LoadedSegments(CollectionId());
    for (const auto& segment : *loaded) {
      ++load.segments;
      load.rows += segment.rows;
      load.memory_bytes += segment.memory_bytes;
    }
  }
  return load;
}

// Finds the others and lets them find us.
Status ClusterProcess::State::Join() {
  const Config& config = runtime.config;
  // The first role's port, where there are several (mixcoord: rootcoord's).
  const std::string first = Has("rootcoord") ? "rootcoord" : *roles.begin();
  listen = config.internal_listen.at(first);
  for (const std::string& role : roles) {
    if (!Coordinators().contains(role)) continue;
    elections[role] = std::make_unique<Election>(
        runtime.meta.get(), role, std::to_string(identity.node.value), kLeaderLease, runtime.pools.control.get(), runtime.pools.timer.get(),
        [this, role](Revision token) { leadership->Post([this, role, token] { Lead(role, token); }); },
        [this, role] { leadership->Post([this, role] { Follow(role); }); });
  }
  leadership = std::make_unique<Strand>(runtime.pools.io.get());

  RemotePeersOptions options;
  options.caller = {identity.cluster, identity.node, [this] { return Tokens(); }};
  options.tls = config.internal_tls;
  options.topology_file = config.data_dir + "/topology";
  options.io = runtime.pools.io.get();
  remote = std::make_unique<RemotePeers>(std::move(options));
  peers = std::make_unique<LivePeers>(remote.get(), runtime.pools.timer.get(), [this] { NodesChanged(); });
  runtime.peers = peers.get();

  InternalServerOptions internal;
  internal.listen = listen;
  internal.tls = config.internal_tls;
  internal.cluster = identity.cluster;
  internal.node = identity.node;
  internal.incarnation = identity.incarnation;
  internal.roles = {roles.begin(), roles.end()};
  internal.data = runtime.pools.search.get();
  internal.control = runtime.pools.control.get();
  internal.waiting = runtime.pools.io.get();
  internal.load = [this] { return Load(); };
  internal.reaches = [this](NodeId node, Callback<bool> done) {
    remote->Ping(node, HeartbeatSettings().timeout, [done = std::move(done)](const Result<PingReply>& reply) {
      // One that this process hasn't heard of yet is not known to be dead.
      const bool unknown = reply.status().code() == ErrorCode::kNodeNotFound;
      done(unknown ? Result<bool>(reply.status()) : Result<bool>(reply.ok()));
    });
  };
  internal.schema = [this](CollectionId id) -> SchemaPtr {
    const CollectionPtr collection = runtime.catalog->GetCollection(id);
    return collection == nullptr ? nullptr : collection->schema;
  };
  ASSIGN_OR_RETURN(server, InternalServer::Start(std::move(internal)));

  topology = std::make_unique<TopologyView>(runtime.meta.get(), runtime.pools.control.get(), runtime.pools.timer.get(),
                                            [this](const Topology& now) { OnTopology(now); });
  if (const Status read = topology->Start(); !read.ok()) LogWarn("the other processes are not known yet: {}", read.message());
  MutexLock lock(known_mutex);
  running = true;
  return {};
}

void ClusterProcess::State::StartNodes(MethodTable* methods, HttpRoutes* rest) {
  if (Has("datanode")) {
    data_node = runtime.MakeDataNode();
    server->Serve(data_node.get());
    remote->SetLocal(data_node.get());
    data_node->Start();
  }
  if (Has("querynode")) {
    query_node = runtime.MakeQueryNode();
    server->Serve(query_node.get());
    remote->SetLocal(query_node.get());
    query_node->Start();
  }
  if (Has("indexnode")) {
    index_node = runtime.MakeIndexNode();
    index_node->Start();
  }
  if (Has("proxy")) {
    proxy = runtime.MakeProxy();
    proxy->RegisterMethods(*methods);
    AddRestRoutes(rest, proxy.get());
  }
  // Whatever it was emptied for: started again it takes part again.
  if (runtime.catalog->Draining().contains(identity.node)) {
    const auto taken_back = runtime.meta->Commit({}, {MetaOp::Delete(DrainKey(identity.node))});
    if (!taken_back.ok()) LogWarn("this node is still marked as one to be emptied: {}", taken_back.status().message());
  }
  // Told to the others once it can answer. Registered again whenever etcd forgets it.
  for (const std::string& role : roles) {
    SessionInfo info{identity.node, role, Advertised(), SAKER_VERSION, identity.incarnation, WallMs()};
    sessions.push_back(std::make_unique<Session>(runtime.meta.get(), std::move(info), std::chrono::seconds(runtime.config.session_ttl_s),
                                                 runtime.pools.control.get(), runtime.pools.timer.get(), [this] { LookAtClock(); }));
    if (const Status status = sessions.back()->Start(); !status.ok()) LogWarn("not registered as {} yet: {}", role, status.message());
  }
}

void ClusterProcess::State::Campaign() {
  for (const auto& [role, election] : elections) election->Campaign();
}

// ---- leading

template <typename Role, typename Interface>
ClusterProcess::State::Leading ClusterProcess::State::Serve(std::unique_ptr<Role> made) {
  std::shared_ptr<Role> role = std::move(made);
  server->Serve(static_cast<Interface*>(role.get()));
  remote->SetLocal(static_cast<Interface*>(role.get()));
  Leading now;
  now.stop = [this, role] {
    remote->SetLocal(static_cast<Interface*>(nullptr));
    server->Serve(static_cast<Interface*>(nullptr));
    if constexpr (requires { role->Stop(); }) role->Stop();
    MutexLock lock(mutex);
    deposed.push_back(role);
  };
  if constexpr (requires { role->NodesChanged(); }) now.nodes_changed = [role] { role->NodesChanged(); };
  return now;
}

void ClusterProcess::State::Lead(const std::string& role, Revision token) {
  const Election* election = elections.at(role).get();
  {
    MutexLock lock(mutex);
    if (stopping || leading.contains(role)) return;
  }
  if (election->token() != token) return;  // lost meanwhile
  Leading now;
  Status ready = runtime.catalog_sequence->Start();
  if (ready.ok()) ready = runtime.segment_sequence->Start();
  // Decisions are made on what the last leader left.
  if (ready.ok()) {
    const auto revision = runtime.meta->CurrentRevision();
    ready = revision.ok() ? runtime.catalog->WaitFor(*revision, std::chrono::seconds(5)) : revision.status();
  }
  if (ready.ok() && role == "rootcoord") {
    auto root = runtime.MakeRootCoord(election);
    ready = root->Start();
    if (ready.ok()) now = Serve<RootCoordRole, RootCoord>(std::move(root));
    if (ready.ok()) ScheduleSnapshots(true);
  }
  if (!ready.ok()) {
    LogWarn("{} is elected but can't lead yet: {}", role, ready.message());
    runtime.pools.timer->After(kLeadRetry, [this, role, token] { leadership->Post([this, role, token] { Lead(role, token); }); });
    return;
  }
  if (role == "datacoord") {
    auto data = runtime.MakeDataCoord(election);
    data->Start();
    now = Serve<DataCoordRole, DataCoord>(std::move(data));
  } else if (role == "querycoord") {
    auto query = runtime.MakeQueryCoord(election);
    query->Start();
    now = Serve<QueryCoordRole, QueryCoord>(std::move(query));
  } else if (role == "indexcoord") {
    auto index = runtime.MakeIndexCoord(election);
    index->Start();
    now = Serve<IndexCoordRole, IndexCoord>(std::move(index));
  }
  {
    MutexLock lock(mutex);
    leading[role] = std::move(now);
  }
  peers->Watch(true);
}

void ClusterProcess::State::Follow(const std::string& role) {
  Leading former;
  bool leads_others = false;
  {
    MutexLock lock(mutex);
    const auto it = leading.find(role);
    if (it == leading.end()) return;
    former = std::move(it->second);
    leading.erase(it);
    leads_others = !leading.empty();
  }
  former.stop();
  if (role == "rootcoord") ScheduleSnapshots(false);
  if (!leads_others) peers->Watch(false);
}

// ---- the others

void ClusterProcess::State::OnTopology(const Topology& now) {
  remote->Update(now);
  peers->Update();
  {
    MutexLock lock(known_mutex);
    registered = now.sessions;
  }
  const auto moved = [&](const char* role) REQUIRES(mutex) {
    const auto it = now.leaders.find(role);
    return it != now.leaders.end() && leaders[role] != it->second;
  };
  bool query_moved = false;
  bool data_moved = false;
  {
    MutexLock lock(mutex);
    query_moved = moved("querycoord");
    data_moved = moved("datacoord");
    leaders = now.leaders;
  }
  // What a new leader has to know of this node.
  if (query_moved && query_node != nullptr) query_node->CoordinatorChanged();
  if (data_moved && data_node != nullptr) data_node->CoordinatorChanged();
  NodesChanged();
}

void ClusterProcess::State::NodesChanged() {
  std::vector<std::function<void()>> listeners;
  {
    MutexLock lock(mutex);
    for (const auto& [role, one] : leading) {
      if (one.nodes_changed) listeners.push_back(one.nodes_changed);
    }
  }
  for (const auto& listener : listeners) listener();
}

// ---- end

// Somebody is there to decide, and somebody else to take what this node has.
bool ClusterProcess::State::OthersCanTakeOver() {
  const auto another = [&](const std::vector<NodeId>& nodes) {
    const auto draining = runtime.catalog->Draining();
    return std::any_of(nodes.begin(), nodes.end(), [&](NodeId node) { return node != identity.node && !draining.contains(node); });
  };
  if (Has("datanode") && (peers->data_coord() == nullptr || !another(peers->data_nodes()))) return false;
  if (Has("querynode") && (peers->query_coord() == nullptr || !another(peers->query_nodes()))) return false;
  return true;
}

bool ClusterProcess::State::HoldsNothing() {
  bool nothing = true;
  if (Has("datanode")) {
    const auto channels = runtime.catalog->Channels();
    nothing = std::none_of(channels.begin(), channels.end(), [&](const auto& channel) { return channel.owner == identity.node; });
  }
  if (query_node != nullptr) nothing = nothing && query_node->LoadedSegments(CollectionId())->empty();
  if (index_node != nullptr) {
    const auto tasks = runtime.catalog->Tasks();
    nothing = nothing && std::none_of(tasks.begin(), tasks.end(), [&](const TaskSpec& task) { return task.node == identity.node; });
  }
  return nothing;
}

// Gives its work to others before it ends, for as long as that makes progress possible and the limit allows.
void ClusterProcess::State::Drain() {
  const int64_t limit_us = runtime.config.graceful_stop_s * 1'000'000;
  if (limit_us == 0 || sessions.empty() || (data_node == nullptr && query_node == nullptr && index_node == nullptr)) return;
  if (!OthersCanTakeOver() || HoldsNothing()) return;
  const Stopwatch watch;
  const auto asked = runtime.meta->Commit({}, {MetaOp::Put(DrainKey(identity.node), Encode(DrainRequest{identity.node, WallMs()}))});
  if (!asked.ok()) return LogWarn("ends without giving its work away first: {}", asked.status().message());
  LogInfo("gives its work to others before it ends, for up to {} s", runtime.config.graceful_stop_s);
  while (!HoldsNothing() && watch.elapsed_us() < limit_us) {
    if (!OthersCanTakeOver()) return LogWarn("nobody is left to take this node's work");
    std::this_thread::sleep_for(kDrainPoll);
  }
  LogInfo("{} after {} ms", HoldsNothing() ? "holds nothing any more" : "still holds work", watch.elapsed_ms());
}

void ClusterProcess::State::Stop() {
  if (std::exchange(stopped, true)) return;
  Drain();
  {
    MutexLock lock(known_mutex);
    running = false;
  }
  {
    MutexLock lock(mutex);
    stopping = true;
  }
  for (const auto& [role, election] : elections) election->Resign();  // a standby takes over at once
  sessions.clear();
  std::map<std::string, Leading> led;
  {
    MutexLock lock(mutex);
    led.swap(leading);
  }
  for (auto& [role, one] : led) one.stop();
  ScheduleSnapshots(false);
  topology.reset();
  if (server) server->Stop();
  if (index_node) index_node->Stop();
  if (query_node) query_node->Stop();
  if (data_node) data_node->Stop();
  runtime.log.reset();  // ends with its last callback delivered
  SetStoreHealth({});
  runtime.pools.Stop();
  etcd_monitor.reset();
  peers.reset();
  remote.reset();
  proxy.reset();
  index_node.reset();
  query_node.reset();
  data_node.reset();
  {
    MutexLock lock(mutex);
    deposed.clear();
  }
  elections.clear();
  if (runtime.catalog) runtime.catalog->Stop();
  runtime.meta.reset();  // its thread uses the object store, and what calls it loses the metadata
  runtime.catalog.reset();
}

ClusterProcess::ClusterProcess(std::unique_ptr<State> state) : state_(std::move(state)) {}
ClusterProcess::~ClusterProcess() { state_->Stop(); }

Result<std::unique_ptr<ClusterProcess>> ClusterProcess::Start(const Config& config, const RoleNames& roles,
                                                              const Interrupted& interrupted, MethodTable* methods, HttpRoutes* rest) {
  RETURN_IF_ERROR(CheckClusterConfig(config));
  std::unique_ptr<ClusterProcess> process(new ClusterProcess(std::make_unique<State>(config, roles)));
  State* const state = process->state_.get();
  RETURN_IF_ERROR(state->Open(interrupted));
  RETURN_IF_ERROR(state->Join());
  state->StartNodes(methods, rest);
  state->Campaign();
  state->AddMetrics();
  return process;
}

Status ClusterProcess::Health() const {
  std::vector<std::string> troubles = state_->Troubles();
  if (const Status ready = state_->generations->Ready(); !ready.ok()) troubles.push_back(ready.message());
  for (const auto& session : state_->sessions) {
    if (const Status registered = session->Health(); !registered.ok()) {
      troubles.push_back(fmt::format("not registered as {} in etcd ({}): {}", session->info().role,
                                     fmt::join(state_->runtime.config.etcd.endpoints, ", "), registered.message()));
      break;  // the others for the same reason
    }
  }
  if (troubles.empty()) return Status();
  return Status(ErrorCode::kServiceNotReady, fmt::format("{}", fmt::join(troubles, "\n")));
}

std::vector<std::string> ClusterProcess::Warnings() const { return state_->Warnings(); }

void ClusterProcess::RefreshHealth(std::function<void()> done) {
  state_->LookAtClock();
  state_->etcd_monitor->Refresh(kHealthPatience, std::move(done));
}

std::string ClusterProcess::address() const { return state_->Advertised(); }
void ClusterProcess::Stop() { state_->Stop(); }

}  // namespace saker
