// The datanode: owner of channels. ARCHITECTURE.md walks through an insert here.
//
// Order of things, which everything rests on: a write is stamped and handed to the log under `append_mutex_`, so
// timestamps rise in log order; the log calls back in that order; batches are applied in that order on one strand; a
// write is acknowledged after it was applied. So `applied_ts_` is a timestamp at which all that was acknowledged is
// visible and below which nothing will appear: reads happen there and wait for nothing.
#pragma once

#include <atomic>
#include <functional>
#include <unordered_map>

#include "base/thread_pool.h"
#include "catalog/catalog.h"
#include "datanode/pins.h"
#include "datanode/shard.h"
#include "roles/peers.h"
#include "storage/object_store.h"

namespace saker {

struct DataNodeSettings {
  int64_t channel_unflushed_bytes = 256 << 20;   // a channel with more is flushed; writes are refused beyond twice it
  int64_t unflushed_bytes = 0;                   // of all channels: half of it is flushed, beyond it writes are refused; 0: no limit
  int64_t segment_bytes = 1024 << 20;            // a growing segment with more is sealed
  std::chrono::milliseconds flush_age{600'000};  // rows unflushed for longer are flushed
  // A log smaller than this is not truncated: the sync would cost more than the space is worth.
  int64_t log_keep_bytes = 4 << 20;
  // Reads that needn't be strong trust a proof of ownership this long; see protocol.md rule 3.
  std::chrono::milliseconds proof_age{5'000};
};

struct DataNodeDeps {
  NodeId node;
  Catalog* catalog = nullptr;       // started with segments
  MetaStore* meta = nullptr;
  Log* log = nullptr;
  ObjectStore* objects = nullptr;
  Peers* peers = nullptr;
  ThreadPool* apply = nullptr;      // the strand of batches runs here
  ThreadPool* io = nullptr;         // flushes and take-overs
  Timer* timer = nullptr;
  std::function<Result<int64_t>()> next_id;
};

class DataNodeRole : public DataNode {
 public:
  DataNodeRole(DataNodeDeps deps, DataNodeSettings settings);
  ~DataNodeRole() override;
  void Start();
  void Stop();
  // Another datacoord leads: what it has to be told is told again.
  void CoordinatorChanged();

  void Write(WriteRequest request, Callback<WriteResponse> done) override;
  void BeginRead(const ReadPointRequest& request, Callback<ReadPoint> done) override;
  void Search(const GrowingLeg& leg, std::shared_ptr<const SearchPlan> plan, Callback<SearchHits> done) override;
  void Query(const GrowingLeg& leg, std::shared_ptr<const QueryPlan> plan, Callback<QueryRows> done) override;
  void Fetch(const FetchRequest& request, Callback<RowBatch> done) override;
  Result<DeleteStream> Deletes(const DeleteStreamRequest& request) override;
  Result<std::vector<GrowingSegmentInfo>> GrowingSegments(CollectionId collection) override;
  Result<Timestamp> OldestPin(CollectionId collection) override { return pins_.Oldest(collection, MonotonicUs()); }
  Status BarrierCollection(CollectionId collection, const std::vector<ChannelId>& channels, int64_t version, bool dropped,
                           const std::vector<PartitionId>& dropped_partitions) override;

 private:
  struct Channel {
    std::atomic<Epoch> epoch{0};
    std::atomic<bool> serving{false};     // fenced and replayed: may append and answer
    bool taking_over = false;             // until it is served, or could not be; guarded by channels_mutex_
    std::atomic<LogOffset> applied{0};    // offset after the last applied record
    std::atomic<LogOffset> checkpoint{0}; // what the log was last truncated to
    std::atomic<LogOffset> told{0};       // … and what datacoord was told of it
    std::atomic<int64_t> unflushed_bytes{0};
    std::atomic<Timestamp> ceiling{0};    // logged: reads here happen at or below, a successor stamps above
    std::atomic<LogOffset> summed_up{0};  // a later record has what a successor must know of the log before here
    std::atomic<Epoch> lost{0};           // no epoch up to here will do: datacoord is to give a higher one
    std::atomic<Epoch> damaged{0};        // its log could not be read at this epoch: a higher one would not help
    std::atomic<int64_t> proved_us{0};    // when an append that succeeded was begun: the channel was ours then
  };
  // Reads that wait for a proof of ownership; they share the next one.
  struct Proof {
    bool under_way = false;
    std::vector<std::function<void(const Status&)>> waiting;
  };
  struct Pending;                         // a write on its way through the log
  struct OpenSegment {
    SegmentId id;
    int64_t bytes = 0;
    int64_t collection_version = 0;
  };
  using ShardKey = std::pair<CollectionId, ChannelId>;
  struct BatchPart {  // what a batch has for one shard
    uint64_t batch = 0;
    ChannelId channel = 0;
    int32_t shard = 0;
    bool operator==(const BatchPart&) const = default;
  };
  struct BatchPartHash {
    size_t operator()(const BatchPart& part) const {  // batch ids are random
      return part.batch ^ (static_cast<uint64_t>(part.channel) << 32 | static_cast<uint32_t>(part.shard)) * 0x9E3779B97F4A7C15u;
    }
  };

  // Writing.
  void Remember(const BatchPart& part, Timestamp ts) REQUIRES(append_mutex_);
  Status Admit(const WriteRequest& request, CollectionPtr& collection) const;
  Status Stamp(Pending& pending) REQUIRES(append_mutex_);
  Result<SegmentId> SegmentFor(const ShardKey& shard, PartitionId partition, int64_t version, int64_t bytes)
      REQUIRES(append_mutex_);
  void Apply(Pending& pending, const std::vector<LogOffset>& offsets);
  void AppendFailed(const std::vector<ChannelId>& channels, const Status& why);
  // Appends to the log; `applied` runs on the apply strand, in append order.
  void Append(std::vector<LogAppend> records, std::function<void(Result<std::vector<LogOffset>>)> applied)
      REQUIRES(append_mutex_);
  void Answer(const Pending& pending, const Result<WriteResponse>& answer);
  void RaiseApplied(Timestamp ts);

  // Reading.
  Status CheckServing(const std::vector<ChannelId>& channels) const;
  // The epochs at which these channels are served now. A read compares them before and after it looks at the shards:
  // while a channel is taken over again its shards are incomplete.
  Result<std::vector<Epoch>> ServedEpochs(const std::vector<ChannelId>& channels) const;
  Status CheckEpochs(const std::vector<ChannelId>& channels, const std::vector<Epoch>& epochs) const;
  Result<bool> IsReplaced(const Growing& growing, const GrowingLeg& leg) const;
  // Whether all rows that an iterator's page may need are still in some segment.
  Status CheckKept(const GrowingLeg& leg) const;
  Result<std::vector<std::shared_ptr<GrowingSegment>>> SegmentsFor(const GrowingLeg& leg) const;
  void RaiseCeilings(const ReadPointRequest& request, Timestamp to, Callback<ReadPoint> done);
  Timestamp CeilingFor(Timestamp ts) const;
  void CeilingLogged(ChannelId channel, Timestamp ceiling, LogOffset at);
  void ProveOwnership(const std::vector<ChannelId>& channels, ConsistencyLevel level, std::function<void(const Status&)> done);
  void StartProof(ChannelId channel);
  void Proved(ChannelId channel, int64_t begun_us);

  // Ownership.
  std::chrono::milliseconds Reconcile();
  void ReconcileChannels();
  void TakeOver(const ChannelAssignment& assignment);
  Status Replay(ChannelId channel, Epoch epoch, LogOffset fence, Timestamp& seen);
  Status ReplayWrite(ChannelId channel, const LogRecord& record, const std::set<SegmentId>& committed, Timestamp& seen);
  Timestamp CommittedDeletesUntil(const ShardKey& key) const;
  void RefuseEarlierVersions(ChannelId channel);
  void AwaitUnserved(ChannelId channel);
  void RefuseEarlierRoutes(ChannelId channel);
  bool IsRead(SegmentId segment, const Placement* placement, const Shard* shard) const;
  void FollowGeneration();
  bool IsAwaited(CollectionId collection, SegmentId segment) const;
  void StepDown(ChannelId channel, const std::string& why);
  void WaitUntilApplied();
  void ReportLost(ChannelId channel, Epoch epoch);
  void RaiseLost(ChannelId channel, Epoch epoch);
  void TakenOver(ChannelId channel);
  bool ReportAllLost();
  bool HandOver();                      // true: a report is to be repeated
  bool IsFlushedUntil(ChannelId channel, Timestamp ts);

  // Flushing.
  void SealRequested();
  void SealShard(const std::shared_ptr<Shard>& shard);
  void Flush(const std::shared_ptr<Shard>& shard, const Generation& generation, Epoch epoch);
  bool StillWanted(const Shard& shard, const Growing& growing, int64_t& route) const;
  Result<std::vector<SegmentMeta>> WriteGeneration(const Shard& shard, const Generation& generation, Epoch epoch);
  void RelievePressure();
  void ForgetShard(const ShardKey& key);
  std::chrono::milliseconds FlushAged();
  void ReleaseServed();
  void ForgetAwaited();
  void ForgetDropped();
  void MoveCheckpoints();
  void SumUp(ChannelId channel);
  bool ReportCheckpoints();             // true: some are to be told again

  std::shared_ptr<Shard> FindShard(const ShardKey& key) const;
  std::shared_ptr<Shard> GetShard(const ShardKey& key);
  std::vector<std::shared_ptr<Shard>> Shards() const;
  Channel& At(ChannelId channel) const { return *channels_[channel]; }
  int64_t UnflushedBytes() const;         // of all channels
  bool IsMuch(int64_t unflushed) const { return settings_.unflushed_bytes > 0 && unflushed > settings_.unflushed_bytes / 2; }

  // Constant after construction.
  const DataNodeDeps deps_;
  const DataNodeSettings settings_;
  std::vector<std::unique_ptr<Channel>> channels_;
  HybridClock clock_;

  Mutex append_mutex_;  // orders stamping and appending
  std::map<std::pair<ShardKey, PartitionId>, OpenSegment> open_ GUARDED_BY(append_mutex_);
  std::unordered_map<CollectionId, int64_t> min_version_ GUARDED_BY(append_mutex_);
  // What the log has of each batch, and when it was stamped: one owner's part of a request says nothing about another's.
  std::unordered_map<BatchPart, Timestamp, BatchPartHash> answered_ GUARDED_BY(append_mutex_);
  std::deque<BatchPart> answered_order_ GUARDED_BY(append_mutex_);
  // Batches on their way through the log, and what was asked with the same id meanwhile: it is looked at afterwards.
  std::unordered_map<uint64_t, std::vector<std::function<void()>>> under_way_ GUARDED_BY(append_mutex_);
  bool stopped_ GUARDED_BY(append_mutex_) = false;  // the log may be gone

  Pins pins_;
  Strand apply_;
  std::atomic<Timestamp> applied_ts_{0};
  std::atomic<bool> aging_{false};        // the loop knows that there is something to flush by age

  mutable Mutex shards_mutex_;
  std::map<ShardKey, std::shared_ptr<Shard>> shards_ GUARDED_BY(shards_mutex_);
  std::unordered_map<CollectionId, int64_t> min_route_ GUARDED_BY(shards_mutex_);
  // Segments that were committed, but served nowhere, when this node took their channel over, or the metadata began a new
  // generation: there is no growing copy any more, so reads have to wait for a route that has them.
  std::map<CollectionId, std::set<SegmentId>> awaited_ GUARDED_BY(shards_mutex_);

  Mutex proofs_mutex_;
  std::map<ChannelId, Proof> proofs_ GUARDED_BY(proofs_mutex_);

  Mutex channels_mutex_;  // guards Channel::taking_over and epochs while they change

  // Used by the loop alone: channels that are to go to a successor, by epoch, and up to when their rows are to be flushed.
  std::map<ChannelId, std::pair<Epoch, Timestamp>> handing_over_;
  std::atomic<int64_t> generation_{0};  // of the metadata, followed so far: routes of later ones have to wait

  int subscription_ = 0;
  Gate gate_;
  std::unique_ptr<ControlLoop> loop_;
};

}  // namespace saker
