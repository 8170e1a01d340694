// QueryCoord: what is loaded, and where. It writes placements; querynodes report what they hold; the placement that says
// "serving" is the route of reads.
#pragma once

#include <map>
#include <set>

#include "coord/coordinator.h"
#include "coord/plan.h"

namespace saker {

struct QueryCoordSettings {
  BalanceSettings balance;
  std::chrono::milliseconds balance_interval{10'000};  // from one look at the balance that moved something to the next
  int max_resource_groups = 1024;                      // with the default one
};

class QueryCoordRole : public QueryCoord, private Coordinator {
 public:
  explicit QueryCoordRole(CoordinatorDeps deps, QueryCoordSettings settings = {});
  ~QueryCoordRole() override;
  void Start();
  void Stop();
  // Other nodes are there than before: looks at everything again.
  void NodesChanged();

  Result<Revision> Load(CollectionId collection, const std::vector<PartitionId>& partitions, int32_t replicas,
                        const std::vector<FieldId>& fields, const std::vector<std::string>& groups) override;
  Result<Revision> Release(CollectionId collection, const std::vector<PartitionId>& partitions) override;
  Result<LoadProgress> Progress(CollectionId collection, const std::vector<PartitionId>& partitions) override;
  Status ReportLoaded(const LoadedReport& report) override;
  Status ReportLoadFailed(NodeId node, CollectionId collection, SegmentId segment, const Status& why) override;
  Status DrainNode(NodeId node, bool drain) override;
  Result<DrainProgress> GetDrainProgress(NodeId node) override;
  Result<Revision> CreateResourceGroup(const std::string& name, const ResourceGroupLimits& limits) override;
  Result<Revision> UpdateResourceGroups(const std::map<std::string, ResourceGroupLimits>& limits) override;
  Result<Revision> DropResourceGroup(const std::string& name) override;
  Result<Revision> TransferNode(const std::string& from, const std::string& to, int32_t nodes) override;
  Result<Revision> TransferReplica(const std::string& from, const std::string& to, CollectionId collection, int32_t replicas) override;
  Result<ResourceGroupState> DescribeResourceGroup(const std::string& name) override;

 private:
  std::chrono::milliseconds Step();
  void PlaceCollection(CollectionId id);
  void NotePlaced(CollectionId id, const Placement* placement);
  std::chrono::milliseconds Balance();
  Status BeginMoves(const std::vector<SegmentMove>& moves);
  void Forget(CollectionId id);
  Status Damage(CollectionId id) const;
  Status CheckRoom(const Collection& collection, const std::vector<PartitionId>& partitions, const std::vector<std::string>& groups) const;

  // resource_groups.cc
  std::map<NodeId, std::string> GroupOf() const;
  std::vector<NodeId> NodesIn(std::string_view group) const;
  Status CheckGroups(int32_t replicas, const std::vector<std::string>& groups) const;
  void RecoverGroups();
  Result<Revision> UpdateGroups(const std::function<Status(std::map<std::string, ResourceGroup>&)>& change);

  const QueryCoordSettings settings_;
  DirtyCollections dirty_;
  mutable Mutex mutex_;
  std::map<NodeId, std::map<CollectionId, std::set<SegmentId>>> reported_ GUARDED_BY(mutex_);
  std::map<NodeId, NodeMemory> memory_ GUARDED_BY(mutex_);
  std::map<CollectionId, std::map<SegmentId, Status>> damaged_ GUARDED_BY(mutex_);  // segments that no node can load
  Mutex groups_mutex_;                     // one change of resource groups at a time
  // Used by the loop alone, but for the sum.
  std::map<CollectionId, std::map<NodeId, int64_t>> placed_;       // bytes
  std::map<NodeId, int64_t> load_ GUARDED_BY(mutex_);              // their sum
  bool unbalanced_ = true;                 // something changed since the balance was last found good
  int64_t balanced_us_ = 0;                // when that was
  std::unique_ptr<ControlLoop> loop_;
};

}  // namespace saker
