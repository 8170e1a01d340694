// What the four coordinators have in common: their view of the metadata, and transactions fenced by their leadership.
#pragma once

#include <functional>

#include "base/thread_pool.h"
#include "catalog/catalog_writer.h"
#include "catalog/dirty_collections.h"
#include "roles/peers.h"

namespace saker {

struct CoordinatorDeps {
  Catalog* catalog = nullptr;        // started with segments
  CatalogWriter* writer = nullptr;
  MetaStore* meta = nullptr;
  ObjectStore* objects = nullptr;
  Peers* peers = nullptr;
  ThreadPool* control = nullptr;     // the loops run here
  ThreadPool* io = nullptr;          // object deletion
  Timer* timer = nullptr;
  std::function<Result<int64_t>(int64_t count)> next_ids;
  // Compared in every transaction: the leader key of this coordinator.
  std::function<std::vector<Compare>()> fence;
};

class Coordinator {
 public:
  explicit Coordinator(CoordinatorDeps deps) : deps_(std::move(deps)) {}

 protected:
  Result<Revision> Commit(std::vector<Compare> compares, std::vector<MetaOp> ops) const;
  // Waits until this process's own view has the change: the next one is decided on it.
  Result<Revision> Seen(Result<Revision> revision) const;
  // A name for messages: "default.books" or the id when it is gone.
  std::string NameOf(CollectionId id) const;
  Result<CollectionPtr> Living(CollectionId id) const;
  // Owners of these channels; kChannelNotAvailable if one has none.
  Result<std::map<DataNode*, std::vector<ChannelId>>> Owners(const std::vector<ChannelId>& channels) const;

  const CoordinatorDeps deps_;
};

}  // namespace saker
