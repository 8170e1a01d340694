// The peers a coordinator plans for: those that are alive, which their sessions alone don't tell. A node whose process
// died is found by asking it, within about a second; its session goes only when its lease runs out. A node that answers
// is alive, whatever has become of its session: etcd may be the one that is away. protocol.md, rule 20.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/mutex.h"
#include "base/thread_pool.h"
#include "transport/heartbeats.h"
#include "transport/remote_peers.h"

namespace saker {

class LivePeers final : public Peers {
 public:
  // `on_change`: somebody came or died. The remote peers and the timer outlive it.
  LivePeers(RemotePeers* remote, Timer* timer, std::function<void()> on_change);

  // Asks the nodes from now on whether they are alive, or stops asking: then sessions decide.
  void Watch(bool watch);
  // Sessions changed.
  void Update();

  RootCoord* root_coord() override { return remote_->root_coord(); }
  DataCoord* data_coord() override { return remote_->data_coord(); }
  QueryCoord* query_coord() override { return remote_->query_coord(); }
  IndexCoord* index_coord() override { return remote_->index_coord(); }
  DataNode* data_node(NodeId node) override { return remote_->data_node(node); }
  QueryNode* query_node(NodeId node) override { return remote_->query_node(node); }
  std::vector<NodeId> data_nodes() override { return Alive("datanode", remote_->data_nodes()); }
  std::vector<NodeId> query_nodes() override { return Alive("querynode", remote_->query_nodes()); }
  std::vector<NodeId> index_nodes() override { return Alive("indexnode", remote_->index_nodes()); }

 private:
  std::vector<NodeId> Alive(const std::string& role, const std::vector<NodeId>& registered);
  bool IsDead(NodeId node) const;

  RemotePeers* const remote_;
  Mutex mutex_;
  bool watching_ GUARDED_BY(mutex_) = false;
  std::map<std::string, std::set<NodeId>> known_ GUARDED_BY(mutex_);  // by role: those that had a session
  std::unique_ptr<Heartbeats> heartbeats_;
};

}  // namespace saker
