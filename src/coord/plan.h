// What coordinators decide, as pure functions of what they know: state in, desired state out. No I/O, no clock, no
// locks, so that tests and simulations can run them through anything.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "model/schema.h"
#include "roles/state.h"

namespace saker {

using SegmentList = std::vector<std::shared_ptr<const SegmentMeta>>;

// Whether the segment's rows are part of the collection: those of dropped partitions are not.
bool HoldsRowsOf(const Collection& collection, const SegmentMeta& segment);
// Its rows in statistics: as in Milvus, also those that were deleted before they were flushed, until a compaction.
int64_t CountedRows(const Collection& collection, const SegmentMeta& segment);

// ---- channels

struct ChannelInput {
  int channels = 0;
  std::vector<ChannelAssignment> current;
  std::vector<NodeId> nodes;                           // living datanodes
  std::set<NodeId> draining;                           // to be emptied
  std::map<ChannelId, Epoch> lost;                     // the highest epoch that is no good any more
  std::set<ChannelId> handed_over;                     // their owners have flushed them, or took too long: they may move
  std::vector<std::vector<ChannelId>> collections;     // the shards of each: spread over nodes
  bool balance = true;                                 // false: only dead and draining nodes lose channels
  int max_moves = 2;                                   // channels on their way at a time
};
// Assignments that must change so that every channel has a living owner above the epochs seen to be used up, draining
// nodes lose theirs, and all have as many as the others. A living owner's channel moves in two steps: it gets a
// successor first, which owns it once it is handed over.
std::vector<ChannelAssignment> PlanChannels(const ChannelInput& input);

// ---- placement

struct PlacementInput {
  const Collection* collection = nullptr;              // null or dropped: nothing is to be served
  SegmentList segments;                                // of the collection, tombstones included
  const Placement* current = nullptr;                  // null: none
  std::vector<NodeId> nodes;                           // living querynodes
  std::set<NodeId> draining;                           // to be emptied
  std::map<NodeId, std::string> group_of;              // resource groups; those that aren't named are the default's
  std::map<NodeId, int64_t> load;                      // bytes that are placed on each, of all collections
  std::map<NodeId, std::set<SegmentId>> reported;      // what each says it holds of this collection
};
struct PlacementPlan {
  bool remove = false;                                 // the placement is to be deleted
  std::optional<Placement> write;                      // or written
};
// A segment replaced by compaction stays served until what replaces it is loaded, and both change in one write: the
// rows of a compaction are seen once in every route.
PlacementPlan PlanPlacement(const PlacementInput& input);

// The resource group of each replica.
std::vector<std::string> ReplicaGroups(const LoadConfig& load);

// ---- balance

struct BalanceSettings {
  bool enabled = true;                                 // queryCoord.autoBalance
  double tolerance = 0.05;                             // of the larger load: a difference up to this is none
  double overloaded = 0.9;                             // share of a node's limit above which it gets nothing
  size_t max_moves = 4;                                // segments on their way at a time
};
struct BalanceInput {
  std::map<NodeId, int64_t> load;                      // bytes that are placed on each node that may take segments
  std::map<NodeId, int64_t> limit;                     // of their memory; absent: unknown
  std::vector<std::shared_ptr<const Placement>> placements;
  std::function<int64_t(SegmentId)> bytes;
};
struct SegmentMove {
  CollectionId collection;
  SegmentId segment;
  NodeId to;
};
// Moves from the fullest to the emptiest nodes of a replica, each of which brings the two closer together: they come to
// an end. At most max_moves, with those under way.
std::vector<SegmentMove> PlanBalance(const BalanceInput& input, const BalanceSettings& settings);

// ---- resource groups

// Groups that must change so that those that lack nodes get living ones, of no group or of groups that have more than
// their capacity; members that are not `nodes` any more are replaced once there is one to replace them.
std::vector<ResourceGroup> PlanGroups(const std::vector<std::shared_ptr<const ResourceGroup>>& groups, const std::vector<NodeId>& nodes);

// Segments that make up the loaded part of a collection.
std::vector<SegmentId> DesiredSegments(const Collection& collection, const SegmentList& segments);

// ---- compaction

struct CompactionSettings {
  int64_t segment_bytes = 1024 << 20;   // outputs grow to this
  int min_small_segments = 3;           // so many below half of it are merged without being asked
  double deleted_share = 0.2;           // deletes over rows of a shard from which its segments are rewritten
  int64_t delete_rows = 200'000;        // or so many deletes
  int max_inputs = 30;
};
struct CompactionInput {
  const Collection* collection = nullptr;
  SegmentList segments;
  const Placement* placement = nullptr;
  std::set<SegmentId> busy;             // inputs of tasks under way, or failed a moment ago
  bool forced = false;                  // asked for by a user: merge whatever can be merged, apply all deletes
  Timestamp keep_from = kMaxTimestamp;  // iterators read here or later: deletes after it are not applied yet
  Timestamp now = 0;
};
// Tasks without id, node and output id.
std::vector<TaskSpec> PlanCompaction(const CompactionInput& input, const CompactionSettings& settings);
// Milliseconds until all rows of the next segment have outlived the collection's TTL; 0: there is none that will.
int64_t NextExpiryMs(const Collection& collection, const SegmentList& segments, Timestamp now);
// Delete segments that every row segment of their shard has applied.
std::vector<SegmentId> SpentDeletes(const SegmentList& segments);

// ---- indexes

struct IndexWork {
  SegmentId segment;
  const IndexMeta* index = nullptr;
};
// (segment, index) pairs that are not built and not being built.
std::vector<IndexWork> PlanIndexes(const Collection& collection, const SegmentList& segments,
                                   const std::vector<TaskSpec>& tasks);

// ---- tasks

// Open tasks of this kind whose node is none of `alive`, with one of `takers` instead. Who was given a task before may
// still do it: the first result ends the task, files of a second one are garbage.
struct TaskMove {
  TaskSpec before;
  NodeId to;
};
std::vector<TaskMove> PlanTaskMoves(const std::vector<TaskSpec>& open, TaskKind kind, const std::vector<NodeId>& alive,
                                    const std::vector<NodeId>& takers);

}  // namespace saker
