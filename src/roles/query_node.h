// What a querynode offers: it serves sealed segments, mapped, with the shard's deletes applied up to the read.
// Its work comes as desired state (placement/<collection>, segment/…); it reports to querycoord what is loaded.
#pragma once

#include "roles/data_node.h"

namespace saker {

struct SealedLeg {
  CollectionId collection;
  int64_t route_version = 0;
  std::vector<SegmentId> segments;       // to be searched here; kStaleRoute if one isn't held
  std::vector<PartitionId> partitions;   // empty: all
  ReadView view;
};

struct LoadedSegmentInfo {
  SegmentId segment;
  CollectionId collection;
  PartitionId partition;
  int64_t rows = 0;
  int64_t memory_bytes = 0;
  std::vector<IndexId> indexes;
};

class QueryNode {
 public:
  virtual ~QueryNode() = default;
  virtual void Search(const SealedLeg& leg, std::shared_ptr<const SearchPlan> plan, Callback<SearchHits> done) = 0;
  virtual void Query(const SealedLeg& leg, std::shared_ptr<const QueryPlan> plan, Callback<QueryRows> done) = 0;
  virtual void Fetch(const FetchRequest& request, Callback<RowBatch> done) = 0;
  virtual Result<std::vector<LoadedSegmentInfo>> LoadedSegments(CollectionId collection) = 0;  // 0: of all
};

}  // namespace saker
