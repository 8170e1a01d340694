// What the four coordinators have in common: their view of the metadata, and transactions fenced by their leadership.
#pragma once

#include <chrono>
#include <functional>

#include "base/thread_pool.h"
#include "catalog/catalog_writer.h"
#include "catalog/dirty_collections.h"
#include "roles/peers.h"
#include "roles/state.h"

namespace saker {

struct CoordinatorDeps {
  Catalog* catalog = nullptr;        // started with segments
  std::shared_ptr<CatalogWriter> writer;     // of the catalog, fenced by the same leader key
  std::shared_ptr<CopiedSequence> segments;  // of segment/… keys
  MetaStore* meta = nullptr;
  ObjectStore* objects = nullptr;
  Peers* peers = nullptr;
  ThreadPool* control = nullptr;     // the loops run here
  ThreadPool* io = nullptr;          // object deletion
  Timer* timer = nullptr;
  std::function<Result<int64_t>(int64_t count)> next_ids;
  // Compared in every transaction: the leader key of this coordinator. Fails if it may not lead any more.
  CatalogWriter::Fence fence;
};

class Coordinator {
 public:
  explicit Coordinator(CoordinatorDeps deps) : deps_(std::move(deps)) {}

 protected:
  // To be tried again by somebody's timer after the meta store or the disk refused.
  static constexpr std::chrono::milliseconds kRetry{1'000};

  // A change of segments is copied to the object store before this returns.
  Result<Revision> Commit(std::vector<Compare> compares, std::vector<MetaOp> ops) const;
  // Reads the segment's key, lets `change` alter it, and writes it back if that returns true; again if somebody else was
  // faster. kIoKeyNotFound if there is none.
  Status UpdateSegment(CollectionId collection, SegmentId segment, const std::function<bool(SegmentMeta&)>& change) const;
  // Runs `attempt` again for as long as nobody serves a channel, which passes: just after a start, while the channel
  // changes hands, or until its dead owner is known to be dead; for 5 s at most.
  static Status UntilServed(const std::function<Status()>& attempt);
  // The answer where everything is as asked for, as this process's view has it, which is only true while it leads, or, of
  // segments, as the meta store has it. An earlier attempt may have made it so, and failed to copy it.
  Result<Revision> SoAlready() const;
  Result<Revision> SegmentsSoAlready() const;
  // Waits until this process's own view has the change: the next one is decided on it.
  Result<Revision> Seen(Result<Revision> revision) const;
  // Writes or takes away the node's drain request; `nodes` are those of this coordinator's role. kNodeNotFound if it is
  // none of them.
  Status SetDraining(NodeId node, bool drain, const std::vector<NodeId>& nodes) const;
  // Those of them that get new work.
  std::vector<NodeId> NotDraining(std::vector<NodeId> nodes) const;
  // Gives what indexnodes that are gone were to do to others. False: to be tried again without anything else happening.
  bool ReassignTasks(TaskKind kind) const;
  // A name for messages: "default.books" or the id when it is gone.
  std::string NameOf(CollectionId id) const;
  Result<CollectionPtr> Living(CollectionId id) const;
  // Owners of these channels; kChannelNotAvailable if one has none.
  Result<std::vector<std::pair<DataNode*, std::vector<ChannelId>>>> Owners(const std::vector<ChannelId>& channels) const;

  const CoordinatorDeps deps_;

 private:
  Result<Revision> GiveTask(int64_t id, NodeId from, NodeId to) const;
};

}  // namespace saker
