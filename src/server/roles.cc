#include "server/roles.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <map>
#include <thread>

#include "base/log.h"
#include "base/metrics.h"
#include "coord/data_coord_role.h"
#include "coord/index_coord_role.h"
#include "coord/query_coord_role.h"
#include "coord/root_coord_role.h"
#include "datanode/data_node_role.h"
#include "indexnode/index_node_role.h"
#include "meta/election.h"
#include "meta/id_allocator.h"
#include "meta/session.h"
#include "proxy/proxy.h"
#include "querynode/query_node_role.h"
#include "rest/v2.h"

namespace saker {
namespace {

// Node ids of a standalone are the same at every start, so that placements and channels stay where they are.
constexpr NodeId kNode{1};
constexpr auto kLease = std::chrono::seconds(15);
constexpr auto kElectionWait = std::chrono::seconds(10);
// bcrypt of "Milvus", the password that clients know the user root by until it is changed.
constexpr const char* kDefaultRootHash = "$2b$10$N9NgiHEYpGj8Ks3YH//yfuDG2PzHl6jpekpZNp5BKslh41pA10wuW";

int Cores() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

// Everybody is in this process: a call to another role is a function call. Who is there is learnt from the sessions all
// the same, as in a cluster.
class InProcessPeers : public Peers {
 public:
  RootCoord* root_coord() override { return root; }
  DataCoord* data_coord() override { return data; }
  QueryCoord* query_coord() override { return query; }
  IndexCoord* index_coord() override { return index; }
  DataNode* data_node(NodeId node) override { return node == kNode ? datanode : nullptr; }
  QueryNode* query_node(NodeId node) override { return node == kNode ? querynode : nullptr; }
  std::vector<NodeId> data_nodes() override { return Nodes("datanode"); }
  std::vector<NodeId> query_nodes() override { return Nodes("querynode"); }
  std::vector<NodeId> index_nodes() override { return Nodes("indexnode"); }

  RootCoord* root = nullptr;
  DataCoord* data = nullptr;
  QueryCoord* query = nullptr;
  IndexCoord* index = nullptr;
  DataNode* datanode = nullptr;
  QueryNode* querynode = nullptr;
  SessionView* sessions = nullptr;

 private:
  std::vector<NodeId> Nodes(const std::string& role) const {
    std::vector<NodeId> nodes;
    for (const SessionInfo& session : sessions->List()) {
      if (session.role == role) nodes.push_back(session.node);
    }
    return nodes;
  }
};

}  // namespace

// In order of construction; Stop() goes the other way.
struct Standalone::State {
  explicit State(const Config& settings) : config(settings) {}

  Status Open();
  Status Register();
  Status Elect();
  void MakeRoles(MethodTable* methods);
  void AddMetrics();
  CoordinatorDeps DepsFor(const std::string& role);
  void Stop();

  const Config config;

  std::unique_ptr<ThreadPool> search;
  std::unique_ptr<ThreadPool> control;
  std::unique_ptr<ThreadPool> io;
  std::unique_ptr<ThreadPool> build;
  std::unique_ptr<Timer> timer;

  std::unique_ptr<MetaStore> meta;
  std::unique_ptr<ObjectStore> objects;
  std::unique_ptr<Log> log;

  std::unique_ptr<IdAllocator> ids;
  std::unique_ptr<Catalog> catalog;
  std::unique_ptr<CatalogWriter> writer;
  std::unique_ptr<CatalogWriter> segments;
  InProcessPeers peers;
  std::unique_ptr<SessionView> sessions_view;
  std::vector<std::unique_ptr<Session>> sessions;
  std::map<std::string, std::unique_ptr<Election>> elections;

  std::unique_ptr<RootCoordRole> root_coord;
  std::unique_ptr<DataCoordRole> data_coord;
  std::unique_ptr<QueryCoordRole> query_coord;
  std::unique_ptr<IndexCoordRole> index_coord;
  std::unique_ptr<DataNodeRole> data_node;
  std::unique_ptr<QueryNodeRole> query_node;
  std::unique_ptr<IndexNodeRole> index_node;
  std::unique_ptr<Proxy> proxy;
  bool stopped = false;
};

Status Standalone::State::Open() {
  const int cores = Cores();
  const auto threads = [](int64_t asked, int otherwise) { return asked > 0 ? static_cast<int>(asked) : otherwise; };
  search = std::make_unique<ThreadPool>("search", threads(config.search_threads, std::max(2, cores)));
  control = std::make_unique<ThreadPool>("control", std::max(4, cores));
  io = std::make_unique<ThreadPool>("io", threads(config.io_threads, std::max(4, 2 * cores)));
  build = std::make_unique<ThreadPool>("build", 1, /*nice=*/10);
  timer = std::make_unique<Timer>(control.get());

  ASSIGN_OR_RETURN(meta, OpenRocksdbStore({config.data_dir + "/meta"}));
  ASSIGN_OR_RETURN(objects, OpenDirectoryStore(config.data_dir + "/objects"));
  FileLogSettings log_settings;
  log_settings.directory = config.data_dir + "/log";
  log_settings.channels = static_cast<int>(config.channels);
  log_settings.reserve_bytes = config.disk_reserve_mb << 20;
  ASSIGN_OR_RETURN(log, OpenFileLog(log_settings));

  // A lost meta store is never taken for an empty database.
  RETURN_IF_ERROR(Recover(meta.get(), objects.get()).status().WithContext("recovering the meta store from the object store's copies"));
  ids = std::make_unique<IdAllocator>(meta.get());
  catalog = std::make_unique<Catalog>(meta.get(), control.get(), timer.get());
  RETURN_IF_ERROR(catalog->Start(/*with_segments=*/true));
  writer = std::make_unique<CatalogWriter>(meta.get(), objects.get());
  segments = std::make_unique<CatalogWriter>(meta.get(), objects.get(), kSegmentKeys);
  RETURN_IF_ERROR(segments->Start());
  return {};
}

Status Standalone::State::Register() {
  const int64_t now = WallMs();
  for (const char* role : {"proxy", "datanode", "querynode", "indexnode"}) {
    SessionInfo info{kNode, role, "", SAKER_VERSION, now, now};
    sessions.push_back(std::make_unique<Session>(meta.get(), std::move(info), kLease, control.get(), timer.get()));
    RETURN_IF_ERROR(sessions.back()->Start());
  }
  sessions_view = std::make_unique<SessionView>(meta.get(), "", control.get(), timer.get());
  RETURN_IF_ERROR(sessions_view->Start());
  peers.sessions = sessions_view.get();
  return {};
}

Status Standalone::State::Elect() {
  for (const char* role : {"rootcoord", "datacoord", "querycoord", "indexcoord"}) {
    auto election = std::make_unique<Election>(meta.get(), role, std::to_string(kNode.value), kLease, control.get(), timer.get());
    election->Campaign();
    elections[role] = std::move(election);
  }
  const auto deadline = std::chrono::steady_clock::now() + kElectionWait;
  for (const auto& [role, election] : elections) {
    RETURN_IF_ERROR(election->WaitUntilElected(deadline).status().WithContext("electing the " + role));
  }
  return {};
}

CoordinatorDeps Standalone::State::DepsFor(const std::string& role) {
  CoordinatorDeps deps;
  deps.catalog = catalog.get();
  deps.writer = writer.get();
  deps.segments = segments.get();
  deps.meta = meta.get();
  deps.objects = objects.get();
  deps.peers = &peers;
  deps.control = control.get();
  deps.io = io.get();
  deps.timer = timer.get();
  deps.next_ids = [this](int64_t count) { return ids->Next(count); };
  deps.fence = [election = elections.at(role).get()] { return std::vector<Compare>{election->Fence()}; };
  return deps;
}

void Standalone::State::MakeRoles(MethodTable* methods) {
  // Catalog changes come from three coordinators; the rootcoord's key stands for all of them here.
  writer->SetFence([election = elections.at("rootcoord").get()] { return std::vector<Compare>{election->Fence()}; });

  RootCoordSettings root_settings;
  root_settings.max_databases = static_cast<int>(config.max_databases);
  root_settings.max_collections = static_cast<int>(config.max_collections);
  root_settings.max_partitions = static_cast<int>(config.max_partitions);
  root_settings.channels = static_cast<int>(config.channels);
  root_settings.root_password_hash = kDefaultRootHash;
  root_coord = std::make_unique<RootCoordRole>(DepsFor("rootcoord"), root_settings);

  DataCoordSettings data_settings;
  data_settings.channels = static_cast<int>(config.channels);
  data_settings.compaction.segment_bytes = config.segment_max_mb << 20;
  data_coord = std::make_unique<DataCoordRole>(DepsFor("datacoord"), data_settings);
  query_coord = std::make_unique<QueryCoordRole>(DepsFor("querycoord"));
  index_coord = std::make_unique<IndexCoordRole>(DepsFor("indexcoord"));

  DataNodeSettings node_settings;
  node_settings.segment_bytes = config.segment_max_mb << 20;
  node_settings.flush_age = std::chrono::seconds(config.segment_max_idle_s);
  DataNodeDeps node_deps;
  node_deps.node = kNode;
  node_deps.catalog = catalog.get();
  node_deps.meta = meta.get();
  node_deps.log = log.get();
  node_deps.objects = objects.get();
  node_deps.peers = &peers;
  node_deps.apply = control.get();
  node_deps.io = io.get();
  node_deps.timer = timer.get();
  node_deps.next_id = [this] { return ids->Next(1); };
  data_node = std::make_unique<DataNodeRole>(std::move(node_deps), node_settings);

  QueryNodeDeps query_deps;
  query_deps.node = kNode;
  query_deps.catalog = catalog.get();
  query_deps.objects = objects.get();
  query_deps.peers = &peers;
  query_deps.search = search.get();
  query_deps.io = io.get();
  query_deps.timer = timer.get();
  query_node = std::make_unique<QueryNodeRole>(query_deps);

  IndexNodeSettings index_settings;
  index_settings.build_threads = config.build_threads > 0 ? static_cast<int>(config.build_threads) : Cores();
  index_node = std::make_unique<IndexNodeRole>(
      IndexNodeDeps{kNode, catalog.get(), objects.get(), &peers, build.get()}, index_settings);

  ProxySettings proxy_settings;
  proxy_settings.limits = config.limits;
  proxy_settings.authorization = config.authorization;
  proxy_settings.super_users = config.super_users;
  proxy_settings.load_on_first_use = config.load_on_first_use;
  proxy_settings.slow_query_ms = config.slow_query_ms;
  proxy_settings.node = kNode;
  proxy = std::make_unique<Proxy>(catalog.get(), &peers, search.get(), control.get(), proxy_settings);
  proxy->RegisterMethods(*methods);

  peers.root = root_coord.get();
  peers.data = data_coord.get();
  peers.query = query_coord.get();
  peers.index = index_coord.get();
  peers.datanode = data_node.get();
  peers.querynode = query_node.get();
}

// Figures that are looked up when somebody asks; names are Milvus's.
void Standalone::State::AddMetrics() {
  const auto rows = [this](SegmentKind kind, auto of) {
    double sum = 0;
    for (const auto& segment : catalog->AllSegments()) {
      if (segment->kind == kind && segment->state == SegmentState::kFlushed) sum += static_cast<double>(of(*segment));
    }
    return sum;
  };
  auto& metrics = Metrics();
  metrics.AddCallback("milvus_rootcoord_collection_num", "Collections", {}, [this] {
    return static_cast<double>(catalog->Collections("").size());
  });
  metrics.AddCallback("milvus_rootcoord_partition_num", "Partitions", {}, [this] {
    double n = 0;
    for (const auto& collection : catalog->Collections("")) n += static_cast<double>(collection->partitions.size());
    return n;
  });
  metrics.AddCallback("milvus_rootcoord_credential_num", "Users", {}, [this] { return static_cast<double>(catalog->Users().size()); });
  metrics.AddCallback("milvus_datacoord_segment_num", "Segments", {{"segment_state", "Flushed"}}, [rows] {
    return rows(SegmentKind::kRows, [](const SegmentMeta&) { return 1; });
  });
  metrics.AddCallback("milvus_datacoord_segment_num", "Segments", {{"segment_state", "Growing"}}, [this] {
    return static_cast<double>(data_node->GrowingSegments(CollectionId()).size());
  });
  metrics.AddCallback("milvus_datacoord_stored_rows_num", "Rows in flushed segments", {}, [rows] {
    return rows(SegmentKind::kRows, [](const SegmentMeta& segment) { return segment.rows; });
  });
  metrics.AddCallback("milvus_datacoord_stored_binlog_size", "Bytes of flushed segments", {}, [rows] {
    return rows(SegmentKind::kRows, [](const SegmentMeta& segment) { return segment.size_bytes; });
  });
  metrics.AddCallback("milvus_querynode_segment_num", "Loaded segments", {{"segment_state", "Sealed"}}, [this] {
    return static_cast<double>(query_node->LoadedSegments(CollectionId()).size());
  });
  metrics.AddCallback("milvus_querynode_entity_num", "Rows of loaded segments", {}, [this] {
    double n = 0;
    for (const auto& segment : query_node->LoadedSegments(CollectionId())) n += static_cast<double>(segment.rows);
    return n;
  });
  metrics.AddCallback("milvus_indexnode_index_task_num", "Index builds and compactions under way", {}, [this] {
    return static_cast<double>(index_node->tasks_running());
  });
  metrics.AddCallback("saker_log_bytes", "Bytes of the log's files", {}, [this] { return static_cast<double>(log->size_bytes()); });
}

void Standalone::State::Stop() {
  if (std::exchange(stopped, true)) return;
  // No new work, then the loops, then what runs on the pools, then the stores that all of it uses.
  if (index_node) index_node->Stop();
  if (query_node) query_node->Stop();
  if (data_node) data_node->Stop();
  if (index_coord) index_coord->Stop();
  if (query_coord) query_coord->Stop();
  if (data_coord) data_coord->Stop();
  elections.clear();
  sessions.clear();
  sessions_view.reset();
  log.reset();  // ends with its last callback delivered
  if (timer) timer->Stop();
  for (auto* pool : {&search, &build, &io, &control}) {
    if (*pool) (*pool)->Stop();
  }
  proxy.reset();
  index_node.reset();
  query_node.reset();
  data_node.reset();
  index_coord.reset();
  query_coord.reset();
  data_coord.reset();
  root_coord.reset();
  if (catalog) catalog->Stop();
  catalog.reset();
  writer.reset();
  segments.reset();
  objects.reset();
  meta.reset();
}

Standalone::Standalone(std::unique_ptr<State> state) : state_(std::move(state)) {}
Standalone::~Standalone() { state_->Stop(); }

Result<std::unique_ptr<Standalone>> Standalone::Start(const Config& config, MethodTable* methods, HttpRoutes* rest) {
  auto state = std::make_unique<State>(config);
  State* s = state.get();
  std::unique_ptr<Standalone> standalone(new Standalone(std::move(state)));  // stops what was started if a step fails
  RETURN_IF_ERROR(s->Open());
  RETURN_IF_ERROR(s->Register());
  RETURN_IF_ERROR(s->Elect());
  s->MakeRoles(methods);
  s->AddMetrics();
  AddRestRoutes(rest, s->proxy.get());
  RETURN_IF_ERROR(s->root_coord->Start().WithContext("preparing the catalog"));
  s->data_coord->Start();
  s->query_coord->Start();
  s->index_coord->Start();
  s->data_node->Start();
  s->query_node->Start();
  s->index_node->Start();
  return standalone;
}

Status Standalone::Health() const {
  struct statvfs disk {};
  if (::statvfs(state_->config.data_dir.c_str(), &disk) != 0) return Status();
  const int64_t free_mb = static_cast<int64_t>(disk.f_bavail) * static_cast<int64_t>(disk.f_frsize) >> 20;
  if (free_mb >= state_->config.disk_reserve_mb) return Status();
  return Status(ErrorCode::kDiskLimitExceeded,
                fmt::format("the disk of {} has {} MiB free, less than the reserve of {} MiB: writes are refused, reads go on",
                            state_->config.data_dir, free_mb, state_->config.disk_reserve_mb));
}

void Standalone::Stop() { state_->Stop(); }

}  // namespace saker
