#include "transport/remote_peers.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <future>
#include <thread>

#include "meta/election.h"
#include "servers/server_process.h"
#include "transport/mock_roles.h"
#include "transport/server.h"

namespace saker {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::NiceMock;
using testing::Return;

constexpr const char* kCluster = "c";

// A process with a datanode and a rootcoord that answer with its own number.
struct Process {
  explicit Process(int64_t id, const std::string& listen = "127.0.0.1:0") {
    ON_CALL(data_node, OldestPin).WillByDefault(Return(static_cast<Timestamp>(id)));
    ON_CALL(root_coord, AllocateIds).WillByDefault(Return(id));
    InternalServerOptions options;
    options.listen = listen;
    options.cluster = kCluster;
    options.node = NodeId(id);
    options.data = options.control = options.waiting = &pool;
    auto started = InternalServer::Start(options);
    if (!started.ok()) throw std::runtime_error(started.status().ToString());
    server = std::move(*started);
    server->Serve(&data_node);
    server->Serve(&root_coord);
    address = fmt::format("127.0.0.1:{}", server->port());
  }
  ~Process() { server.reset(); }
  ThreadPool pool{"process", 2};
  NiceMock<MockDataNode> data_node;
  NiceMock<MockRootCoord> root_coord;
  std::unique_ptr<InternalServer> server;
  std::string address;
};

SessionInfo Registered(int64_t node, std::string role, std::string address, int64_t incarnation = 1) {
  return {NodeId(node), std::move(role), std::move(address), "v", incarnation, 0};
}

RemotePeersOptions Options(std::chrono::milliseconds linger = 60s) {
  RemotePeersOptions options;
  options.caller = {kCluster, NodeId(1), nullptr};
  options.linger = linger;
  return options;
}

TEST(RemotePeers, FindsNodesByTheirSessions) {
  Process two(2), three(3);
  RemotePeers peers(Options());
  EXPECT_EQ(peers.data_node(NodeId(2)), nullptr);
  EXPECT_EQ(peers.root_coord(), nullptr);
  peers.Update({{Registered(2, "datanode", two.address), Registered(3, "datanode", three.address), Registered(3, "querynode", three.address),
                 Registered(4, "indexnode", "127.0.0.1:1")},
                {}});
  EXPECT_THAT(peers.data_nodes(), ElementsAre(NodeId(2), NodeId(3)));
  EXPECT_THAT(peers.query_nodes(), ElementsAre(NodeId(3)));
  EXPECT_THAT(peers.index_nodes(), ElementsAre(NodeId(4)));
  EXPECT_THAT(peers.others(), ElementsAre(NodeId(2), NodeId(3), NodeId(4)));
  ASSERT_NE(peers.data_node(NodeId(2)), nullptr);
  EXPECT_EQ(*peers.data_node(NodeId(2))->OldestPin(CollectionId(1)), 2u);
  EXPECT_EQ(*peers.data_node(NodeId(3))->OldestPin(CollectionId(1)), 3u);
  EXPECT_EQ(peers.query_node(NodeId(2)), nullptr);
  EXPECT_EQ(peers.data_node(NodeId(4)), nullptr);
  EXPECT_EQ(peers.data_node(NodeId(99)), nullptr);
}

TEST(RemotePeers, LeadersComeFromElectionsOrTheOnlySession) {
  Process two(2), three(3);
  RemotePeers peers(Options());
  Topology topology{{Registered(2, "rootcoord", two.address), Registered(3, "rootcoord", three.address)}, {}};
  peers.Update(topology);
  EXPECT_EQ(peers.root_coord(), nullptr) << "two stand by, none leads";
  topology.leaders["rootcoord"] = NodeId(3);
  peers.Update(topology);
  ASSERT_NE(peers.root_coord(), nullptr);
  EXPECT_EQ(*peers.root_coord()->AllocateIds(1), 3);
  topology.leaders["rootcoord"] = NodeId(2);
  peers.Update(topology);
  EXPECT_EQ(*peers.root_coord()->AllocateIds(1), 2);
  topology.leaders.clear();
  topology.sessions.pop_back();
  peers.Update(topology);
  EXPECT_EQ(*peers.root_coord()->AllocateIds(1), 2);
}

TEST(RemotePeers, RolesOfThisProcessAreCalledDirectly) {
  NiceMock<MockDataNode> data_node;
  NiceMock<MockRootCoord> root_coord;
  RemotePeers peers(Options());
  peers.SetLocal(&data_node);
  peers.SetLocal(&root_coord);
  peers.Update({{Registered(1, "datanode", "127.0.0.1:1"), Registered(1, "rootcoord", "127.0.0.1:1")}, {{"rootcoord", NodeId(1)}}});
  EXPECT_EQ(peers.data_node(NodeId(1)), &data_node);
  EXPECT_EQ(peers.root_coord(), &root_coord);
  EXPECT_THAT(peers.data_nodes(), ElementsAre(NodeId(1)));
  EXPECT_THAT(peers.others(), IsEmpty());
  peers.SetLocal(static_cast<RootCoord*>(nullptr));
  EXPECT_EQ(peers.root_coord(), nullptr);
}

TEST(RemotePeers, OldPointersAreSafeAndFollowTheNode) {
  auto process = std::make_unique<Process>(2);
  RemotePeers peers(Options());
  peers.Update({{Registered(2, "datanode", process->address, 1)}, {}});
  DataNode* const node = peers.data_node(NodeId(2));
  EXPECT_EQ(*node->OldestPin(CollectionId(1)), 2u);
  process.reset();
  Process moved(2);
  peers.Update({{Registered(2, "datanode", moved.address, 2)}, {}});
  EXPECT_EQ(peers.data_node(NodeId(2)), node);
  EXPECT_EQ(*node->OldestPin(CollectionId(1)), 2u);
}

TEST(RemotePeers, ANodeWithoutSessionIsCalledForAWhile) {
  Process two(2), three(3);
  RemotePeers peers(Options(200ms));
  const Topology both{{Registered(2, "datanode", two.address), Registered(3, "datanode", three.address)}, {}};
  Topology one = both;
  one.sessions.erase(one.sessions.begin());
  peers.Update(both);
  DataNode* const node = peers.data_node(NodeId(2));
  peers.Update(one);
  EXPECT_THAT(peers.data_nodes(), ElementsAre(NodeId(3)));
  EXPECT_EQ(peers.data_node(NodeId(2)), node) << "its lease may have ended, not the node";
  EXPECT_EQ(*node->OldestPin(CollectionId(1)), 2u);
  std::this_thread::sleep_for(250ms);
  EXPECT_EQ(peers.data_node(NodeId(2)), nullptr);
  peers.Update(one);
  const Status status = node->BarrierCollection(CollectionId(1), {0}, 1, false, {});
  EXPECT_EQ(status.code(), ErrorCode::kServiceUnavailable);
  EXPECT_THAT(status.message(), testing::HasSubstr("its session has ended"));
  peers.Update(both);
  EXPECT_EQ(peers.data_node(NodeId(2)), node);
  EXPECT_EQ(*node->OldestPin(CollectionId(1)), 2u);
}

TEST(RemotePeers, AnotherProcessAtTheAddressRefuses) {
  Process three(3);
  RemotePeers peers(Options());
  peers.Update({{Registered(2, "rootcoord", three.address)}, {}});
  EXPECT_EQ(peers.root_coord()->AllocateIds(1).status().code(), ErrorCode::kNodeNotMatch);
}

TEST(RemotePeers, PingsForHeartbeats) {
  Process two(2);
  RemotePeers peers(Options());
  peers.Update({{Registered(2, "datanode", two.address)}, {}});
  const auto ping = [&](int64_t node) {
    std::promise<Result<PingReply>> promise;
    peers.Ping(NodeId(node), 2s, [&](Result<PingReply> reply) { promise.set_value(std::move(reply)); });
    return promise.get_future().get();
  };
  EXPECT_EQ(ping(2)->node, NodeId(2));
  EXPECT_EQ(ping(9).status().code(), ErrorCode::kNodeNotFound);
}

TEST(RemotePeers, CallbacksHaveReturnedWhenItIsGone) {
  std::vector<Callback<ReadPoint>> held;
  Mutex mutex;
  bool hold = true;
  Process two(2);
  ON_CALL(two.data_node, BeginRead).WillByDefault([&](const ReadPointRequest&, Callback<ReadPoint> done) {
    MutexLock lock(mutex);
    if (hold) held.push_back(std::move(done));  // else dropped, which answers too
  });
  std::atomic<int> called{0};
  {
    RemotePeers peers(Options());
    peers.Update({{Registered(2, "datanode", two.address)}, {}});
    for (int i = 0; i < 100; ++i) peers.data_node(NodeId(2))->BeginRead({}, [&](const Result<ReadPoint>&) { ++called; });
  }
  EXPECT_EQ(called, 100);
  MutexLock lock(mutex);
  hold = false;
  held.clear();
}

TEST(RemotePeers, StartsFromTheSavedTopologyWhileTheStoreIsAway) {
  TemporaryDirectory directory;
  Process two(2);
  ThreadPool io("io", 1);
  RemotePeersOptions options = Options();
  options.topology_file = directory.path() + "/topology";
  options.io = &io;
  {
    RemotePeers peers(options);
    EXPECT_EQ(peers.UseSaved().code(), ErrorCode::kIoKeyNotFound);
    peers.Update({{Registered(9, "datanode", "127.0.0.1:1")}, {}});
    peers.Update({{Registered(2, "datanode", two.address)}, {{"rootcoord", NodeId(2)}}});
  }
  {
    RemotePeers peers(options);
    ASSERT_TRUE(peers.UseSaved().ok());
    EXPECT_THAT(peers.data_nodes(), ElementsAre(NodeId(2)));
    EXPECT_EQ(*peers.root_coord()->AllocateIds(1), 2);
  }
  {
    RemotePeers peers(options);
    peers.Update({{Registered(2, "querynode", two.address)}, {}});
    ASSERT_TRUE(peers.UseSaved().ok());
    EXPECT_THAT(peers.data_nodes(), IsEmpty()) << "what the store says goes before what was saved";
  }
  std::ofstream(options.topology_file, std::ios::binary | std::ios::in).seekp(3).put('?');
  RemotePeers peers(options);
  const Status damaged = peers.UseSaved();
  EXPECT_EQ(damaged.code(), ErrorCode::kCorrupted);
  EXPECT_THAT(damaged.message(), testing::HasSubstr(options.topology_file));
}

TEST(Topology, EncodesWhatItKnows) {
  const Topology topology{{Registered(2, "datanode", "host:1", 5)}, {{"rootcoord", NodeId(2)}}};
  const std::string bytes = Encode(topology);
  const auto back = DecodeTopology(bytes);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(Encode(*back), bytes);
  EXPECT_EQ(back->sessions.at(0).address, "host:1");
  for (size_t cut = 0; cut < bytes.size(); ++cut) EXPECT_FALSE(DecodeTopology(bytes.substr(0, cut)).ok());
}

TEST(Topology, FollowsSessionsAndElections) {
  TemporaryDirectory directory;
  auto store = OpenRocksdbStore({directory.path() + "/meta"});
  ASSERT_TRUE(store.ok()) << store.status().ToString();
  ThreadPool pool("pool", 2);
  Timer timer(&pool);
  Mutex mutex;
  CondVar changed;
  Topology last;
  TopologyView view(store->get(), &pool, &timer, [&](const Topology& topology) {
    MutexLock lock(mutex);
    last = topology;
    changed.NotifyAll();
  });
  ASSERT_TRUE(view.Start().ok());
  const auto eventually = [&](const std::function<bool()>& holds) {
    MutexLock lock(mutex);
    return changed.WaitFor(lock, 5s, holds);
  };
  auto session = std::make_unique<Session>(store->get(), saker::SessionInfo{NodeId(2), "datanode", "h:1", "v", 1, 0}, 10s, &pool, &timer);
  ASSERT_TRUE(session->Start().ok());
  EXPECT_TRUE(eventually([&] { return last.sessions.size() == 1 && last.sessions[0].address == "h:1"; }));
  {
    Election election(store->get(), "rootcoord", "2", 10s, &pool, &timer);
    election.Campaign();
    EXPECT_TRUE(eventually([&] { return last.leaders.contains("rootcoord") && last.leaders["rootcoord"] == NodeId(2); }));
  }
  EXPECT_TRUE(eventually([&] { return last.leaders.empty(); }));
  session.reset();
  EXPECT_TRUE(eventually([&] { return last.sessions.empty(); }));
  timer.Stop();
}

}  // namespace
}  // namespace saker
