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

// Assignments that must change so that every channel has a living owner above the epochs seen to be used up
// (`lost`: channel → highest epoch that is no good any more). Balanced by number of channels.
std::vector<ChannelAssignment> PlanChannels(int channel_count, const std::vector<ChannelAssignment>& current,
                                            const std::vector<NodeId>& nodes, const std::map<ChannelId, Epoch>& lost);

// ---- placement

struct PlacementInput {
  const Collection* collection = nullptr;              // null or dropped: nothing is to be served
  SegmentList segments;                                // of the collection, tombstones included
  const Placement* current = nullptr;                  // null: none
  std::vector<NodeId> nodes;                           // living querynodes
  std::map<NodeId, int64_t> load;                      // rows held by each, for balance
  std::map<NodeId, std::set<SegmentId>> reported;      // what each says it holds of this collection
};
struct PlacementPlan {
  bool remove = false;                                 // the placement is to be deleted
  std::optional<Placement> write;                      // or written
};
// A segment replaced by compaction stays served until what replaces it is loaded, and both change in one write: the
// rows of a compaction are seen once in every route.
PlacementPlan PlanPlacement(const PlacementInput& input);

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

}  // namespace saker
