// QueryCoord: what is loaded, and where. It writes placements; querynodes report what they hold; the placement that says
// "serving" is the route of reads.
#pragma once

#include <map>
#include <set>

#include "coord/coordinator.h"
#include "coord/plan.h"

namespace saker {

class QueryCoordRole : public QueryCoord, private Coordinator {
 public:
  explicit QueryCoordRole(CoordinatorDeps deps);
  ~QueryCoordRole() override;
  void Start();
  void Stop();
  // Other nodes are there than before: looks at everything again.
  void NodesChanged();

  Result<Revision> Load(CollectionId collection, const std::vector<PartitionId>& partitions, int32_t replicas,
                        const std::vector<FieldId>& fields) override;
  Result<Revision> Release(CollectionId collection, const std::vector<PartitionId>& partitions) override;
  Result<LoadProgress> Progress(CollectionId collection, const std::vector<PartitionId>& partitions) override;
  void ReportLoaded(NodeId node, CollectionId collection, const std::vector<SegmentId>& segments) override;
  void ReportLoadFailed(NodeId node, CollectionId collection, SegmentId segment, const Status& why) override;

 private:
  std::chrono::milliseconds Step();
  void PlaceCollection(CollectionId id);
  void Forget(CollectionId id);
  Status Damage(CollectionId id) const;

  struct Held {
    std::set<SegmentId> segments;
    int64_t rows = 0;
  };
  DirtyCollections dirty_;
  mutable Mutex mutex_;
  std::map<NodeId, std::map<CollectionId, Held>> reported_ GUARDED_BY(mutex_);
  std::map<CollectionId, std::map<SegmentId, Status>> damaged_ GUARDED_BY(mutex_);  // segments that no node can load
  std::unique_ptr<ControlLoop> loop_;
};

}  // namespace saker
