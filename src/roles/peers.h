// How a role reaches another: by interface, wherever it runs. In standalone these are the objects themselves; in a
// cluster they are gRPC clients, found through sessions. Null: not there now (retry).
#pragma once

#include "roles/coordinators.h"
#include "roles/index_node.h"
#include "roles/query_node.h"

namespace saker {

class Peers {
 public:
  virtual ~Peers() = default;
  virtual RootCoord* root_coord() = 0;
  virtual DataCoord* data_coord() = 0;
  virtual QueryCoord* query_coord() = 0;
  virtual IndexCoord* index_coord() = 0;
  virtual DataNode* data_node(NodeId node) = 0;
  virtual QueryNode* query_node(NodeId node) = 0;
  virtual std::vector<NodeId> data_nodes() = 0;   // registered and alive
  virtual std::vector<NodeId> query_nodes() = 0;
  virtual std::vector<NodeId> index_nodes() = 0;
};

}  // namespace saker
