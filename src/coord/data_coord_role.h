// DataCoord: gives channels to datanodes, passes on flush requests, commits what was flushed, compacts, collects garbage.
#pragma once

#include <atomic>
#include <map>
#include <set>
#include <span>

#include "coord/coordinator.h"
#include "coord/plan.h"

namespace saker {

struct DataCoordSettings {
  int channels = 16;
  CompactionSettings compaction;
  int max_compactions = 2;                         // tasks at a time
  std::chrono::milliseconds retry_compaction{60'000};  // a failed one's inputs are left alone for so long
  bool balance_channels = true;                    // dataCoord.autoBalance: datanodes get as many channels as others
  std::chrono::milliseconds handover_limit{10'000};    // for an owner to flush a channel that is to move
  std::chrono::milliseconds garbage_grace{3'000};  // from a segment's end to the deletion of its files
  // How long it is known that a segment had nothing left, after which no owner's iterator can need its rows.
  std::chrono::milliseconds remember_gone{kPinLifetime};
};

class DataCoordRole : public DataCoord, private Coordinator {
 public:
  DataCoordRole(CoordinatorDeps deps, DataCoordSettings settings);
  ~DataCoordRole() override;
  void Start();
  void Stop();
  // Other nodes are there than before: looks at everything again.
  void NodesChanged();

  Result<FlushResult> Flush(CollectionId collection) override;
  Result<bool> IsFlushed(CollectionId collection, Timestamp flush_ts, const std::vector<SegmentId>& segments) override;
  Result<int64_t> Compact(CollectionId collection) override;
  Result<CompactionState> GetCompactionState(int64_t compaction) override;
  Result<int64_t> RowCount(CollectionId collection, PartitionId partition) override;
  Result<std::vector<SegmentReport>> Segments(CollectionId collection) override;

  Result<Revision> CommitFlush(ChannelId channel, Epoch epoch, const std::vector<SegmentMeta>& segments) override;
  Status ReportSealed(ChannelId channel, Epoch epoch, CollectionId collection, Timestamp sealed_before) override;
  Status ReportChannelLost(ChannelId channel, NodeId owner, Epoch seen) override;
  Status ReportCheckpoint(ChannelId channel, Epoch epoch, int64_t checkpoint) override;
  Status ReportCompaction(int64_t task, Result<SegmentMeta> output) override;
  Status ReportHandedOver(ChannelId channel, Epoch epoch) override;
  Status DrainNode(NodeId node, bool drain) override;
  Result<DrainProgress> GetDrainProgress(NodeId node) override;

 private:
  struct Compaction {
    CollectionId collection;
    std::set<int64_t> open;
    int64_t done = 0;
    int64_t failed = 0;
    std::vector<std::pair<std::vector<SegmentId>, SegmentId>> merges;
  };

  std::chrono::milliseconds Step();
  Result<FlushResult> TryFlush(CollectionId id);
  bool AssignChannels();
  ChannelInput ChannelsNow();
  std::chrono::milliseconds UntilHandover() const;
  Result<Revision> UpdateChannel(ChannelId channel, const std::function<Result<bool>(ChannelAssignment&)>& change);
  Result<bool> AnyGrowing(CollectionId id, const std::vector<SegmentId>& segments) const;
  Result<Revision> CommitSegments(ChannelId channel, Epoch epoch, std::span<const SegmentMeta> segments);

  // compaction.cc
  void PlanCompactions(CollectionId id);
  CompactionInput InputOf(const Collection& collection, const Placement* placement) const;
  std::chrono::milliseconds UntilRetry(const SegmentList& segments);
  Status NameTasks(std::vector<TaskSpec>& tasks) const;
  Status StartTasks(const std::vector<TaskSpec>& tasks) const;
  Result<bool> SwapSegments(const TaskSpec& task, const SegmentMeta& output, std::vector<Compare>& compares,
                            std::vector<MetaOp>& ops) const;
  void FinishTask(int64_t task, const std::vector<SegmentId>& inputs, bool ok);

  // garbage.cc
  void DropSpentDeletes(CollectionId id);
  Status MarkDropped(const std::vector<SegmentId>& segments);
  void CollectGarbage(CollectionId id);
  bool IsGarbage(const SegmentMeta& segment, const Collection* collection, const Placement* placement) const;
  static bool IsAged(SegmentId segment, std::map<SegmentId, int64_t>& since_us, std::chrono::milliseconds age);
  bool MayForget(const SegmentMeta& segment);
  void ForgetDropped(CollectionId id);
  Status DeleteObjects(const SegmentMeta& segment) const;
  Status DeleteAttempt(const SegmentMeta& segment) const;
  Status DeleteAll(const std::string& directory) const;
  bool IsClosed(const std::string& object, const std::set<int64_t>& open_tasks) const;
  void SweepOrphans() const;

  const DataCoordSettings settings_;
  DirtyCollections dirty_;
  Mutex planning_mutex_;  // from looking at what is busy until the tasks that make it so are seen; before mutex_
  mutable Mutex mutex_;
  std::map<ChannelId, Epoch> lost_ GUARDED_BY(mutex_);
  std::map<ChannelId, Epoch> handed_over_ GUARDED_BY(mutex_);  // flushed by the owner at this epoch: may go
  std::map<ChannelId, int64_t> checkpoints_ GUARDED_BY(mutex_);
  std::map<ChannelId, std::set<CollectionId>> awaiting_checkpoint_ GUARDED_BY(mutex_);  // with tombstones of segments
  std::map<int64_t, Compaction> compactions_ GUARDED_BY(mutex_);
  std::map<SegmentId, int64_t> retry_after_us_ GUARDED_BY(mutex_);   // inputs of failed compactions
  // Used by the loop alone.
  std::map<ChannelId, int64_t> moving_since_us_;  // channels with a successor
  std::map<SegmentId, int64_t> ended_us_;         // when a segment was first seen as garbage
  std::map<SegmentId, int64_t> spent_us_;         // … a file of deletes as one that nothing needs
  std::atomic<bool> swept_{false};
  Gate gate_;
  std::unique_ptr<ControlLoop> loop_;
};

}  // namespace saker
