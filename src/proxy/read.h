// What searches and queries share: where a read goes, at which moment, and starting again when the route has moved on.
//
// A read is attempted on one route at one timestamp: all legs name the route's version, so that while a segment changes
// hands each row is seen exactly once. A leg that answers kStaleRoute (or a node that is gone) ends the attempt; the next
// one takes the route of that moment. Everything runs on the thread that brought the last piece, in standalone the
// search pool's thread from beginning to end.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "proxy/proxy.h"

namespace saker {

// A request's targets in one collection.
struct Route {
  struct Owner {
    NodeId node;
    std::vector<ChannelId> channels;
  };
  struct Holder {
    NodeId node;
    std::vector<SegmentId> segments;
  };
  CollectionPtr collection;
  std::shared_ptr<const Placement> placement;
  std::vector<Owner> owners;        // of growing segments and delete streams
  std::vector<Holder> holders;      // of sealed segments
  std::vector<SegmentId> sealed;    // all of holders', sorted
  std::vector<PartitionId> partitions;  // to read; empty: all
  // The node that holds a sealed segment; 0: it is none of the route's, hence growing.
  NodeId HolderOf(SegmentId segment) const;
  std::vector<std::pair<SegmentId, NodeId>> holder_of;  // sorted
};

// The names' partitions; "partition name x not found". A filter on the partition key narrows them down. Empty: all.
Result<std::vector<PartitionId>> PartitionsToRead(const Collection& collection, const std::vector<std::string>& names, const Filter* filter);

// Which fields to bring, and what to call them.
struct OutputFields {
  std::vector<FieldId> fields;         // in order, each once
  std::vector<std::string> names;      // as told in the result: dynamic keys by their own names
};
Result<OutputFields> ResolveOutputs(const CollectionSchema& schema, const std::vector<std::string>& asked, bool add_primary);

// Where the time of one request went, for the slow-query log.
struct ReadTimes {
  int64_t start_us = MonotonicUs();
  int64_t parsed_us = 0, begun_us = 0, legs_us = 0, merged_us = 0, fetched_us = 0, answered_us = 0;
  int attempts = 0;
};

class ReadOperation : public std::enable_shared_from_this<ReadOperation> {
 public:
  ReadOperation(Proxy* proxy, const CallContext& context, CollectionPtr collection, std::vector<PartitionId> partitions,
                const ConsistencyWish& consistency, bool iterator, bool ignore_growing);
  virtual ~ReadOperation() = default;
  void Start();

 protected:
  // The read point is known: start the legs. Ends in Failed() or in the answer.
  virtual void Legs() = 0;
  // The end of a read that can't succeed.
  virtual void Refuse(const Status& status) = 0;
  // Another attempt if that may help and there is time; Refuse() otherwise.
  void Failed(const Status& status);

  // Hits' rows with these fields, in the hits' order: grouped by segment, fetched where the segments are.
  void Fetch(const std::vector<Hit>& hits, const std::vector<FieldId>& fields, std::function<void(Result<std::vector<Column>>)> done);
  // The owner that has this growing segment: known when there is one owner, else as noted by a leg.
  void NoteGrowing(NodeId owner, const std::vector<Hit>& hits);

  GrowingLeg GrowingLegFor(const Route::Owner& owner) const;
  SealedLeg SealedLegFor(const Route::Holder& holder) const;
  bool SkipGrowing() const { return ignore_growing_; }

  Proxy* const proxy_;
  const CallContext context_;
  CollectionPtr collection_;
  const std::vector<PartitionId> partitions_;
  Route route_;
  ReadView view_;
  ReadTimes times_;

 private:
  void Attempt();
  Status MakeRoute();
  void Begin(ConsistencyLevel level, Timestamp at_least, bool last_try);
  void Begun(ConsistencyLevel level, Timestamp ts, bool last_try);

  const ConsistencyWish consistency_;
  const bool iterator_;
  const bool pinned_;                  // a later page of an iterator: read where the first one was
  const bool ignore_growing_;
  Revision seen_revision_ = 0;
  bool asked_to_load_ = false;
  std::chrono::milliseconds pause_{2};
  Mutex growing_mutex_;
  std::unordered_map<SegmentId, NodeId> growing_owner_ GUARDED_BY(growing_mutex_);
};

// Milvus's reading of what a client asks for: the level to read at, and the least timestamp (0: none).
struct ReadDemand {
  ConsistencyLevel level = ConsistencyLevel::kBounded;
  Timestamp guarantee = 0;
};
ReadDemand DemandOf(const ConsistencyWish& wish, ConsistencyLevel collection_default);

// One line if the request was slow.
void LogIfSlow(const Proxy& proxy, std::string_view what, const Collection& collection, const ReadTimes& times, std::string_view detail,
               const Status& status);

}  // namespace saker
