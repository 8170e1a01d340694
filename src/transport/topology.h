// Who is in the cluster, and where: what a process has to know to reach the others.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "meta/session.h"

namespace saker {

struct Topology {
  std::vector<SessionInfo> sessions;       // by role, then node
  std::map<std::string, NodeId> leaders;   // of coordinator roles
};
std::string Encode(const Topology& topology);
Result<Topology> DecodeTopology(std::string_view bytes);

// A small file with the last topology known, for a process that starts while the meta store is away. Written as a whole.
Status SaveTopology(const std::string& path, const Topology& topology);
// kIoKeyNotFound: there is none (yet); kCorrupted names the file.
Result<Topology> LoadTopology(const std::string& path);

// Follows sessions and elections in the meta store. While the store is away nothing changes.
class TopologyView {
 public:
  // Called with each topology that differs from the one before, one at a time, on the store's thread or the pool's;
  // short. The first comes once sessions and leaders were read.
  using OnChange = std::function<void(const Topology&)>;
  // Store, pool and timer outlive it.
  TopologyView(MetaStore* store, ThreadPool* pool, Timer* timer, OnChange on_change);
  ~TopologyView();
  // If the store can't be read it says why, and goes on trying in the background.
  Status Start();

 private:
  struct State;
  const std::shared_ptr<State> state_;
  std::unique_ptr<SessionView> sessions_;
  std::unique_ptr<PrefixView> leaders_;
};

}  // namespace saker
