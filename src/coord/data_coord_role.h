// DataCoord: gives channels to datanodes, passes on flush requests, commits what was flushed, compacts, collects garbage.
#pragma once

#include <atomic>
#include <map>
#include <set>

#include "coord/coordinator.h"
#include "coord/plan.h"

namespace saker {

struct DataCoordSettings {
  int channels = 16;
  CompactionSettings compaction;
  int max_compactions = 2;                         // tasks at a time
  std::chrono::milliseconds garbage_grace{3'000};  // from a segment's end to the deletion of its files
};

class DataCoordRole : public DataCoord, private Coordinator {
 public:
  DataCoordRole(CoordinatorDeps deps, DataCoordSettings settings);
  ~DataCoordRole() override;
  void Start();
  void Stop();

  Result<FlushResult> Flush(CollectionId collection) override;
  Result<bool> IsFlushed(CollectionId collection, Timestamp flush_ts, const std::vector<SegmentId>& segments) override;
  Result<int64_t> Compact(CollectionId collection) override;
  Result<CompactionState> GetCompactionState(int64_t compaction) override;
  Result<int64_t> RowCount(CollectionId collection, PartitionId partition) override;
  Result<std::vector<SegmentReport>> Segments(CollectionId collection) override;

  Result<Revision> CommitFlush(ChannelId channel, Epoch epoch, const std::vector<SegmentMeta>& segments) override;
  Status ReportSealed(ChannelId channel, Epoch epoch, CollectionId collection, Timestamp sealed_before) override;
  void ReportChannelLost(ChannelId channel, NodeId owner, Epoch seen) override;
  void ReportCheckpoint(ChannelId channel, Epoch epoch, int64_t checkpoint) override;
  Status ReportCompaction(int64_t task, Result<SegmentMeta> output) override;

 private:
  struct Compaction {
    CollectionId collection;
    std::set<int64_t> open;
    int64_t done = 0;
    int64_t failed = 0;
    std::vector<std::pair<std::vector<SegmentId>, SegmentId>> merges;
  };

  std::chrono::milliseconds Step();
  void AssignChannels();
  void PlanCompactions(CollectionId id);
  Result<std::vector<TaskSpec>> StartTasks(std::vector<TaskSpec> tasks);
  CompactionInput InputOf(const Collection& collection, const Placement* placement) const;
  void DropSpentDeletes(CollectionId id);
  Status MarkDropped(const std::vector<std::shared_ptr<const SegmentMeta>>& segments);
  // Garbage: true if something waits for its grace.
  bool CollectGarbage(CollectionId id);
  bool IsGarbage(const SegmentMeta& segment, const Collection* collection, const Placement* placement) const;
  void DeleteObjects(const SegmentMeta& segment);
  void SweepOrphans();
  Result<ChannelAssignment> ReadChannel(ChannelId channel, Revision& revision) const;
  void FinishTask(int64_t task, const TaskSpec& spec, bool ok);

  const DataCoordSettings settings_;
  DirtyCollections dirty_;
  mutable Mutex mutex_;
  std::map<ChannelId, Epoch> lost_ GUARDED_BY(mutex_);
  std::map<ChannelId, int64_t> checkpoints_ GUARDED_BY(mutex_);
  std::map<int64_t, Compaction> compactions_ GUARDED_BY(mutex_);
  std::map<SegmentId, int64_t> retry_after_us_ GUARDED_BY(mutex_);   // inputs of failed compactions
  std::map<SegmentId, int64_t> ended_us_ GUARDED_BY(mutex_);         // when a segment was first seen as garbage
  std::atomic<bool> swept_{false};
  const int64_t process_started_ms_ = WallMs() - 1000;
  std::unique_ptr<ControlLoop> loop_;
};

}  // namespace saker
