// IndexCoord: indexes of collections, and the tasks that build them over every flushed segment.
#pragma once

#include <map>
#include <set>

#include "coord/coordinator.h"
#include "coord/plan.h"

namespace saker {

class IndexCoordRole : public IndexCoord, private Coordinator {
 public:
  explicit IndexCoordRole(CoordinatorDeps deps);
  ~IndexCoordRole() override;
  void Start();
  void Stop();
  // Other nodes are there than before: looks at everything again.
  void NodesChanged();

  Result<Revision> CreateIndex(CollectionId collection, const IndexMeta& index) override;
  Result<Revision> DropIndex(CollectionId collection, const std::string& index_name) override;
  Result<Revision> AlterIndex(CollectionId collection, const std::string& index_name, const KeyValues& set,
                              const std::vector<std::string>& erase) override;
  Result<IndexProgress> Progress(CollectionId collection, IndexId index) override;
  Status ReportIndex(int64_t task, Result<SegmentIndex> built) override;
  Status DrainNode(NodeId node, bool drain) override;
  Result<DrainProgress> GetDrainProgress(NodeId node) override;

 private:
  std::chrono::milliseconds Step();
  void ScheduleBuilds(CollectionId id);
  void LeaveOutFailed(CollectionId id, std::vector<IndexWork>& work);
  void RemoveDropped(CollectionId id);
  void NoteResult(const TaskSpec& task, const Status& result);
  void DeleteFile(const std::string& object) const;

  DirtyCollections dirty_;
  mutable Mutex mutex_;
  struct Failure {
    std::string why;
    int64_t retry_after_us = 0;
    int times = 0;
  };
  std::map<std::pair<SegmentId, IndexId>, Failure> failures_ GUARDED_BY(mutex_);
  std::unique_ptr<ControlLoop> loop_;
};

}  // namespace saker
