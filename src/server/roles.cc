#include "server/roles.h"

#include <sys/statvfs.h>

#include <map>

#include "base/log.h"
#include "base/metrics.h"
#include "meta/session.h"
#include "rest/v2.h"
#include "server/runtime.h"

namespace saker {
namespace {

// Node ids of a standalone are the same at every start, so that placements and channels stay where they are.
constexpr NodeId kNode{1};
constexpr auto kLease = std::chrono::seconds(15);
constexpr auto kElectionWait = std::chrono::seconds(10);

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

namespace {

// There is no other node to take what doesn't fit; segments are mapped, and the kernel decides.
Config WithoutMemoryLimit(Config config) {
  if (config.query_memory_mb == 0) config.query_memory_mb = -1;
  return config;
}

}  // namespace

// In order of construction; Stop() goes the other way.
struct Standalone::State {
  explicit State(const Config& settings) : runtime(WithoutMemoryLimit(settings)) {}

  Status Open();
  Status Register();
  Status Elect();
  void MakeRoles(MethodTable* methods);
  void AddMetrics();
  void Stop();

  Runtime runtime;
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
  const Config& config = runtime.config;
  ASSIGN_OR_RETURN(runtime.meta, OpenRocksdbStore({config.data_dir + "/meta"}));
  ASSIGN_OR_RETURN(runtime.objects, OpenDirectoryStore(config.data_dir + "/objects"));
  FileLogSettings log;
  log.directory = config.data_dir + "/log";
  log.channels = static_cast<int>(config.channels);
  log.reserve_bytes = config.disk_reserve_mb << 20;
  ASSIGN_OR_RETURN(runtime.log, OpenFileLog(log));
  runtime.node = kNode;
  runtime.peers = &peers;
  // A lost meta store is never taken for an empty database.
  auto recovered = Recover(runtime.meta.get(), runtime.objects.get());
  RETURN_IF_ERROR(recovered.status().WithContext("recovering the meta store from the object store's copies"));
  return runtime.OpenCatalog({}, std::move(*recovered));
}

Status Standalone::State::Register() {
  const int64_t now = WallMs();
  ThreadPool* const control = runtime.pools.control.get();
  Timer* const timer = runtime.pools.timer.get();
  for (const char* role : {"proxy", "datanode", "querynode", "indexnode"}) {
    SessionInfo info{kNode, role, "", SAKER_VERSION, now, now};
    sessions.push_back(std::make_unique<Session>(runtime.meta.get(), std::move(info), kLease, control, timer));
    RETURN_IF_ERROR(sessions.back()->Start());
  }
  sessions_view = std::make_unique<SessionView>(runtime.meta.get(), "", control, timer);
  RETURN_IF_ERROR(sessions_view->Start());
  peers.sessions = sessions_view.get();
  return {};
}

Status Standalone::State::Elect() {
  for (const char* role : {"rootcoord", "datacoord", "querycoord", "indexcoord"}) {
    auto election = std::make_unique<Election>(runtime.meta.get(), role, std::to_string(kNode.value), kLease,
                                               runtime.pools.control.get(), runtime.pools.timer.get());
    election->Campaign();
    elections[role] = std::move(election);
  }
  const auto deadline = std::chrono::steady_clock::now() + kElectionWait;
  for (const auto& [role, election] : elections) {
    RETURN_IF_ERROR(election->WaitUntilElected(deadline).status().WithContext("electing the " + role));
  }
  return {};
}

void Standalone::State::MakeRoles(MethodTable* methods) {
  root_coord = runtime.MakeRootCoord(elections.at("rootcoord").get());
  data_coord = runtime.MakeDataCoord(elections.at("datacoord").get());
  query_coord = runtime.MakeQueryCoord(elections.at("querycoord").get());
  index_coord = runtime.MakeIndexCoord(elections.at("indexcoord").get());
  data_node = runtime.MakeDataNode();
  query_node = runtime.MakeQueryNode();
  index_node = runtime.MakeIndexNode();
  proxy = runtime.MakeProxy();
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
    for (const auto& segment : runtime.catalog->AllSegments()) {
      if (segment->kind == kind && segment->state == SegmentState::kFlushed) sum += static_cast<double>(of(*segment));
    }
    return sum;
  };
  auto& metrics = Metrics();
  metrics.AddCallback("milvus_rootcoord_collection_num", "Collections", {}, [this] {
    return static_cast<double>(runtime.catalog->Collections("").size());
  });
  metrics.AddCallback("milvus_rootcoord_partition_num", "Partitions", {}, [this] {
    double n = 0;
    for (const auto& collection : runtime.catalog->Collections("")) n += static_cast<double>(collection->partitions.size());
    return n;
  });
  metrics.AddCallback("milvus_rootcoord_credential_num", "Users", {}, [this] { return static_cast<double>(runtime.catalog->Users().size()); });
  metrics.AddCallback("milvus_datacoord_segment_num", "Segments", {{"segment_state", "Flushed"}}, [rows] {
    return rows(SegmentKind::kRows, [](const SegmentMeta&) { return 1; });
  });
  metrics.AddCallback("milvus_datacoord_segment_num", "Segments", {{"segment_state", "Growing"}}, [this] {
    return static_cast<double>(data_node->GrowingSegments(CollectionId())->size());
  });
  metrics.AddCallback("milvus_datacoord_stored_rows_num", "Rows in flushed segments", {}, [rows] {
    return rows(SegmentKind::kRows, [](const SegmentMeta& segment) { return segment.rows; });
  });
  metrics.AddCallback("milvus_datacoord_stored_binlog_size", "Bytes of flushed segments", {}, [rows] {
    return rows(SegmentKind::kRows, [](const SegmentMeta& segment) { return segment.size_bytes; });
  });
  metrics.AddCallback("milvus_querynode_segment_num", "Loaded segments", {{"segment_state", "Sealed"}}, [this] {
    return static_cast<double>(query_node->LoadedSegments(CollectionId())->size());
  });
  metrics.AddCallback("milvus_querynode_entity_num", "Rows of loaded segments", {}, [this] {
    double n = 0;
    const auto loaded = query_node->LoadedSegments(CollectionId());
    for (const auto& segment : *loaded) n += static_cast<double>(segment.rows);
    return n;
  });
  metrics.AddCallback("milvus_indexnode_index_task_num", "Index builds and compactions under way", {}, [this] {
    return static_cast<double>(index_node->tasks_running());
  });
  metrics.AddCallback("saker_log_bytes", "Bytes of the log's files", {}, [this] { return static_cast<double>(runtime.log->size_bytes()); });
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
  runtime.log.reset();  // ends with its last callback delivered
  runtime.pools.Stop();
  proxy.reset();
  index_node.reset();
  query_node.reset();
  data_node.reset();
  index_coord.reset();
  query_coord.reset();
  data_coord.reset();
  root_coord.reset();
  if (runtime.catalog) runtime.catalog->Stop();
  runtime.catalog.reset();
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
  RETURN_IF_ERROR(s->runtime.segment_sequence->Start());
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
  if (::statvfs(state_->runtime.config.data_dir.c_str(), &disk) != 0) return Status();
  const int64_t free_mb = static_cast<int64_t>(disk.f_bavail) * static_cast<int64_t>(disk.f_frsize) >> 20;
  if (free_mb >= state_->runtime.config.disk_reserve_mb) return Status();
  return Status(ErrorCode::kDiskLimitExceeded,
                fmt::format("the disk of {} has {} MiB free, less than the reserve of {} MiB: writes are refused, reads go on",
                            state_->runtime.config.data_dir, free_mb, state_->runtime.config.disk_reserve_mb));
}

void Standalone::Stop() { state_->Stop(); }

}  // namespace saker
