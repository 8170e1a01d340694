// Peers in a cluster: roles of this process are called directly, those of others over gRPC at the addresses that their
// sessions name. What was known last stays known while the meta store is away.
//
// The pointers that Peers hands out are good for as long as the RemotePeers: a node's clients stay, whatever becomes of
// the node. When it moves, they follow it; once its session is gone for `linger`, its connection is closed, calls through
// old pointers answer kServiceUnavailable, and new ones are null. (A node keeps its id; a cluster that hands out new ids
// with every start leaves a few hundred bytes behind each time.)
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "roles/peers.h"
#include "transport/link.h"
#include "transport/topology.h"

namespace saker {

struct RemotePeersOptions {
  CallerIdentity caller;
  InternalTls tls;
  ThreadPool* callbacks = nullptr;            // see PeerChannel
  std::chrono::milliseconds linger{60'000};   // how long a node is still called after its session has gone
  std::string topology_file;                  // see UseSaved; empty: none
  ThreadPool* io = nullptr;                   // writes that file; needed if there is one
};

// Thread-safe. The pools outlive it; callbacks of its clients have returned when its destructor returns.
class RemotePeers final : public Peers {
 public:
  explicit RemotePeers(RemotePeersOptions options);
  ~RemotePeers() override;
  RemotePeers(const RemotePeers&) = delete;
  RemotePeers& operator=(const RemotePeers&) = delete;

  // Roles of this process; null: not here (any more). Whoever still has the pointer is the caller's business.
  void SetLocal(RootCoord* role);
  void SetLocal(DataCoord* role);
  void SetLocal(QueryCoord* role);
  void SetLocal(IndexCoord* role);
  void SetLocal(DataNode* role);
  void SetLocal(QueryNode* role);

  // What is known of the cluster from now on (TopologyView's listener), and saved in the file.
  void Update(const Topology& topology);
  // Takes the saved topology, unless Update has been called: kIoKeyNotFound if there is none.
  Status UseSaved();

  // For Heartbeats. kNodeNotFound if the node was never known.
  void Ping(NodeId node, std::chrono::milliseconds timeout, Callback<PingReply> done);
  // Asks `observer` whether it reaches `node`. kNodeNotFound if the observer was never known.
  void Reaches(NodeId observer, NodeId node, Callback<bool> done);
  // Nodes of other processes that have a session.
  std::set<NodeId> others() const;

  RootCoord* root_coord() override;
  DataCoord* data_coord() override;
  QueryCoord* query_coord() override;
  IndexCoord* index_coord() override;
  DataNode* data_node(NodeId node) override;
  QueryNode* query_node(NodeId node) override;
  std::vector<NodeId> data_nodes() override;
  std::vector<NodeId> query_nodes() override;
  std::vector<NodeId> index_nodes() override;

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace saker
