// What the roles of one process share, and how each of them is made of it: the same in standalone and in a cluster. The
// stores differ, and who the peers are; nothing here asks which it is.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/thread_pool.h"
#include "catalog/catalog.h"
#include "catalog/catalog_writer.h"
#include "catalog/recovery.h"
#include "coord/data_coord_role.h"
#include "coord/index_coord_role.h"
#include "coord/query_coord_role.h"
#include "coord/root_coord_role.h"
#include "datanode/data_node_role.h"
#include "indexnode/index_node_role.h"
#include "meta/election.h"
#include "meta/id_allocator.h"
#include "proxy/proxy.h"
#include "querynode/query_node_role.h"
#include "roles/peers.h"
#include "server/config.h"
#include "storage/object_store.h"
#include "wal/log.h"

namespace saker {

struct Pools {
  explicit Pools(const Config& config);
  void Stop();  // runs what is queued, then joins; the timer first

  std::unique_ptr<ThreadPool> search;   // requests, searches, merges
  std::unique_ptr<ThreadPool> control;  // metadata, loops
  std::unique_ptr<ThreadPool> apply;    // what metadata waits for: the datanode's strand, the catalog's view
  std::unique_ptr<ThreadPool> io;       // flushes, loading, take-overs
  std::unique_ptr<ThreadPool> build;    // one niced thread, and a build's own
  std::unique_ptr<Timer> timer;
};

// In order of construction; whoever owns it sets `peers` before roles are made, and ends roles before it.
struct Runtime {
  explicit Runtime(const Config& settings) : config(settings), pools(config) {}
  // With meta, which is up to the object store's copies, and objects set: reads the catalog, follows it. `on_lost`: told when
  // it turns out that the meta store isn't (any more). `recovered`: what is known of the copies.
  Status OpenCatalog(const std::function<void(const Status&)>& on_lost = {}, std::optional<Recovered> recovered = std::nullopt);
  // Compared in every transaction of a coordinator; the election outlives it.
  CoordinatorDeps CoordinatorDepsFor(const Election* election);

  std::unique_ptr<RootCoordRole> MakeRootCoord(const Election* election);
  std::unique_ptr<DataCoordRole> MakeDataCoord(const Election* election);
  std::unique_ptr<QueryCoordRole> MakeQueryCoord(const Election* election);
  std::unique_ptr<IndexCoordRole> MakeIndexCoord(const Election* election);
  std::unique_ptr<DataNodeRole> MakeDataNode();
  std::unique_ptr<QueryNodeRole> MakeQueryNode();
  std::unique_ptr<IndexNodeRole> MakeIndexNode();
  std::unique_ptr<Proxy> MakeProxy();

  const Config config;
  NodeId node;
  Pools pools;
  std::unique_ptr<MetaStore> meta;
  std::unique_ptr<ObjectStore> objects;
  std::unique_ptr<Log> log;  // null where no datanode is
  std::unique_ptr<IdAllocator> ids;
  std::shared_ptr<CopiedSequence> catalog_sequence;
  std::shared_ptr<CopiedSequence> segment_sequence;
  std::unique_ptr<Catalog> catalog;
  Peers* peers = nullptr;
};

}  // namespace saker
