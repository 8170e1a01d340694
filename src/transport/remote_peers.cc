#include "transport/remote_peers.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <set>

#include "base/log.h"
#include "transport/clients.h"

namespace saker {
namespace {

// Another process of the cluster.
struct RemoteNode {
  RemoteNode(const CallerIdentity& caller, NodeId id)
      : link(caller, id), root_coord(&link), data_coord(&link), query_coord(&link), index_coord(&link), data_node(&link),
        query_node(&link) {}

  Link link;
  RootCoordClient root_coord;
  DataCoordClient data_coord;
  QueryCoordClient query_coord;
  IndexCoordClient index_coord;
  DataNodeClient data_node;
  QueryNodeClient query_node;

  std::string address;          // empty: not connected
  std::set<std::string> roles;  // as of its last sessions
  int64_t gone_us = 0;          // since when it has no session; 0: it has one
};

// What the sessions of one node say together: all its roles, and where it is now.
struct Registration {
  std::string address;
  int64_t incarnation = 0;
  std::set<std::string> roles;
};

std::map<NodeId, Registration> ByNode(const Topology& topology) {
  std::map<NodeId, Registration> nodes;
  for (const SessionInfo& session : topology.sessions) {
    Registration& node = nodes[session.node];
    node.roles.insert(session.role);
    if (session.incarnation < node.incarnation || session.address.empty()) continue;
    node.incarnation = session.incarnation;
    node.address = session.address;
  }
  return nodes;
}

}  // namespace

struct RemotePeers::State {
  explicit State(RemotePeersOptions from) : options(std::move(from)) {}

  void Apply(const Topology& topology);
  void Connect(RemoteNode& node, const Registration& registration) REQUIRES(mutex);
  void Disconnect(RemoteNode& node) REQUIRES(mutex);
  void Save(const Topology& topology);
  NodeId LeaderOf(const std::string& role) const REQUIRES_SHARED(mutex);
  RemoteNode* Reachable(NodeId id, const char* role) const REQUIRES_SHARED(mutex);
  const Link* LinkTo(NodeId node) const;
  std::vector<NodeId> Registered(const std::string& role) const;

  template <typename Role>
  Role* Leader(const char* role, const std::atomic<Role*>& local, Role* (*of)(RemoteNode*)) const {
    ReaderLock lock(mutex);
    const NodeId leader = LeaderOf(role);
    if (leader == options.caller.node && leader) return local;
    RemoteNode* const node = Reachable(leader, nullptr);
    return node == nullptr ? nullptr : of(node);
  }
  template <typename Role>
  Role* Node(NodeId id, const char* role, const std::atomic<Role*>& local, Role* (*of)(RemoteNode*)) const {
    if (id == options.caller.node) return local;
    ReaderLock lock(mutex);
    RemoteNode* const node = Reachable(id, role);
    return node == nullptr ? nullptr : of(node);
  }

  const RemotePeersOptions options;
  std::atomic<RootCoord*> root_coord{nullptr};
  std::atomic<DataCoord*> data_coord{nullptr};
  std::atomic<QueryCoord*> query_coord{nullptr};
  std::atomic<IndexCoord*> index_coord{nullptr};
  std::atomic<DataNode*> data_node{nullptr};
  std::atomic<QueryNode*> query_node{nullptr};

  Mutex applying;  // topologies, one after the other
  bool updated GUARDED_BY(applying) = false;

  mutable SharedMutex mutex;
  Topology known GUARDED_BY(mutex);
  std::map<NodeId, std::unique_ptr<RemoteNode>> nodes GUARDED_BY(mutex);  // none ever leaves
  std::vector<std::shared_ptr<PeerChannel>> closing GUARDED_BY(mutex);    // cancelled; gone once idle

  Mutex file_mutex;  // one writer at a time; the last topology wins
  uint64_t newest GUARDED_BY(file_mutex) = 0;
  Gate writing;
};

// ---- who is there

void RemotePeers::State::Apply(const Topology& topology) {
  const auto registrations = ByNode(topology);
  std::vector<std::shared_ptr<PeerChannel>> done;  // destroyed without the lock
  WriterLock lock(mutex);
  known = topology;
  const int64_t now_us = MonotonicUs();
  for (const auto& [id, registration] : registrations) {
    if (id == options.caller.node || registration.address.empty()) continue;
    auto& node = nodes[id];
    if (node == nullptr) node = std::make_unique<RemoteNode>(options.caller, id);
    node->roles = registration.roles;
    node->gone_us = 0;
    Connect(*node, registration);
  }
  const int64_t linger_us = std::chrono::microseconds(options.linger).count();
  for (auto& [id, node] : nodes) {
    if (registrations.contains(id)) continue;
    if (node->gone_us == 0) node->gone_us = now_us;
    if (now_us - node->gone_us >= linger_us) Disconnect(*node);
  }
  const auto busy = std::partition(closing.begin(), closing.end(), [](const auto& channel) { return !channel->idle(); });
  std::move(busy, closing.end(), std::back_inserter(done));
  closing.erase(busy, closing.end());
}

void RemotePeers::State::Connect(RemoteNode& node, const Registration& registration) {
  if (node.address == registration.address) return;
  Disconnect(node);
  auto channel = PeerChannel::Open(node.link.node(), registration.address, options.tls, options.callbacks);
  if (!channel.ok()) {
    LogError("node {} at {} can't be called: {}", node.link.node().value, registration.address, channel.status().message());
    return;
  }
  node.address = registration.address;
  (void)node.link.Connect(std::move(*channel));
}

void RemotePeers::State::Disconnect(RemoteNode& node) {
  node.address.clear();
  if (auto channel = node.link.Connect(nullptr)) {
    channel->Cancel();
    closing.push_back(std::move(channel));
  }
}

NodeId RemotePeers::State::LeaderOf(const std::string& role) const {
  if (const auto leader = known.leaders.find(role); leader != known.leaders.end()) return leader->second;
  NodeId only;
  for (const SessionInfo& session : known.sessions) {
    if (session.role != role) continue;
    if (only) return {};  // several stand by, none leads
    only = session.node;
  }
  return only;
}

RemoteNode* RemotePeers::State::Reachable(NodeId id, const char* role) const {
  const auto found = nodes.find(id);
  if (found == nodes.end()) return nullptr;
  RemoteNode* const node = found->second.get();
  if (role != nullptr && !node->roles.contains(role)) return nullptr;
  if (node->address.empty()) return nullptr;
  const int64_t linger_us = std::chrono::microseconds(options.linger).count();
  return node->gone_us != 0 && MonotonicUs() - node->gone_us >= linger_us ? nullptr : node;
}

std::vector<NodeId> RemotePeers::State::Registered(const std::string& role) const {
  ReaderLock lock(mutex);
  std::vector<NodeId> out;
  for (const SessionInfo& session : known.sessions) {
    if (session.role == role) out.push_back(session.node);
  }
  return out;
}

void RemotePeers::State::Save(const Topology& topology) {
  if (options.topology_file.empty() || !writing.Enter()) return;
  uint64_t number = 0;
  {
    MutexLock lock(file_mutex);
    number = ++newest;
  }
  std::shared_ptr<void> under_way(nullptr, [this](void*) { writing.Leave(); });
  options.io->Post([this, topology, number, under_way = std::move(under_way)] {
    MutexLock lock(file_mutex);
    if (number != newest) return;
    if (Status saved = SaveTopology(options.topology_file, topology); !saved.ok()) {
      LogWarn("who is in the cluster could not be saved, a start without the meta store won't know: {}", saved.message());
    }
  });
}

// ---- Peers

RemotePeers::RemotePeers(RemotePeersOptions options) : state_(std::make_unique<State>(std::move(options))) {
  SAKER_CHECK(state_->options.topology_file.empty() || state_->options.io != nullptr);
}

RemotePeers::~RemotePeers() {
  state_->writing.Close();
  std::vector<std::shared_ptr<PeerChannel>> channels;
  {
    WriterLock lock(state_->mutex);
    for (auto& [id, node] : state_->nodes) state_->Disconnect(*node);
    channels = std::move(state_->closing);
  }
  for (const auto& channel : channels) channel->Close();
}

void RemotePeers::SetLocal(RootCoord* role) { state_->root_coord = role; }
void RemotePeers::SetLocal(DataCoord* role) { state_->data_coord = role; }
void RemotePeers::SetLocal(QueryCoord* role) { state_->query_coord = role; }
void RemotePeers::SetLocal(IndexCoord* role) { state_->index_coord = role; }
void RemotePeers::SetLocal(DataNode* role) { state_->data_node = role; }
void RemotePeers::SetLocal(QueryNode* role) { state_->query_node = role; }

void RemotePeers::Update(const Topology& topology) {
  MutexLock lock(state_->applying);
  state_->updated = true;
  state_->Apply(topology);
  state_->Save(topology);
}

Status RemotePeers::UseSaved() {
  ASSIGN_OR_RETURN(const Topology saved, LoadTopology(state_->options.topology_file));
  MutexLock lock(state_->applying);
  if (!state_->updated) state_->Apply(saved);
  return {};
}

const Link* RemotePeers::State::LinkTo(NodeId node) const {
  ReaderLock lock(mutex);
  const auto found = nodes.find(node);
  return found == nodes.end() ? nullptr : &found->second->link;
}

void RemotePeers::Ping(NodeId node, std::chrono::milliseconds timeout, Callback<PingReply> done) {
  const Link* const link = state_->LinkTo(node);
  if (link == nullptr) return done(Status(ErrorCode::kNodeNotFound, fmt::format("node not found[node={}]", node.value)));
  link->Ping(timeout, std::move(done));
}

void RemotePeers::Reaches(NodeId observer, NodeId node, Callback<bool> done) {
  const Link* const link = state_->LinkTo(observer);
  if (link == nullptr) return done(Status(ErrorCode::kNodeNotFound, fmt::format("node not found[node={}]", observer.value)));
  link->Reaches(node, std::move(done));
}

std::set<NodeId> RemotePeers::others() const {
  ReaderLock lock(state_->mutex);
  std::set<NodeId> out;
  for (const auto& [id, node] : state_->nodes) {
    if (node->gone_us == 0) out.insert(id);
  }
  return out;
}

RootCoord* RemotePeers::root_coord() {
  return state_->Leader<RootCoord>("rootcoord", state_->root_coord, [](RemoteNode* n) -> RootCoord* { return &n->root_coord; });
}
DataCoord* RemotePeers::data_coord() {
  return state_->Leader<DataCoord>("datacoord", state_->data_coord, [](RemoteNode* n) -> DataCoord* { return &n->data_coord; });
}
QueryCoord* RemotePeers::query_coord() {
  return state_->Leader<QueryCoord>("querycoord", state_->query_coord, [](RemoteNode* n) -> QueryCoord* { return &n->query_coord; });
}
IndexCoord* RemotePeers::index_coord() {
  return state_->Leader<IndexCoord>("indexcoord", state_->index_coord, [](RemoteNode* n) -> IndexCoord* { return &n->index_coord; });
}
DataNode* RemotePeers::data_node(NodeId node) {
  return state_->Node<DataNode>(node, "datanode", state_->data_node, [](RemoteNode* n) -> DataNode* { return &n->data_node; });
}
QueryNode* RemotePeers::query_node(NodeId node) {
  return state_->Node<QueryNode>(node, "querynode", state_->query_node, [](RemoteNode* n) -> QueryNode* { return &n->query_node; });
}
std::vector<NodeId> RemotePeers::data_nodes() { return state_->Registered("datanode"); }
std::vector<NodeId> RemotePeers::query_nodes() { return state_->Registered("querynode"); }
std::vector<NodeId> RemotePeers::index_nodes() { return state_->Registered("indexnode"); }

}  // namespace saker
