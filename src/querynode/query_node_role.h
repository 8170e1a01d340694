// The querynode: holds the sealed segments that placements give it, mapped, and searches them. Before a read at T it has
// the deletes of the shards concerned up to T: it follows each shard's stream of deletes at its owner.
#pragma once

#include <atomic>
#include <map>
#include <set>

#include "base/mutex.h"
#include "base/thread_pool.h"
#include "catalog/dirty_collections.h"
#include "roles/peers.h"
#include "storage/object_store.h"

namespace saker {

struct QueryNodeDeps {
  NodeId node;
  int64_t memory_limit_bytes = 0;  // told to querycoord: what segments may take here
  Catalog* catalog = nullptr;      // started with segments
  ObjectStore* objects = nullptr;
  Peers* peers = nullptr;
  ThreadPool* search = nullptr;    // helps when a read covers several segments
  ThreadPool* io = nullptr;        // loading
  Timer* timer = nullptr;
  // What moved to another node is kept for so long: reads on the former route may be on their way.
  std::chrono::milliseconds linger{1'000};
};

class QueryNodeRole : public QueryNode {
 public:
  explicit QueryNodeRole(QueryNodeDeps deps);
  ~QueryNodeRole() override;
  void Start();
  void Stop();
  // Another querycoord leads, which knows nothing of what is loaded here: reports it all.
  void CoordinatorChanged();

  void Search(const SealedLeg& leg, std::shared_ptr<const SearchPlan> plan, Callback<SearchHits> done) override;
  void Query(const SealedLeg& leg, std::shared_ptr<const QueryPlan> plan, Callback<QueryRows> done) override;
  void Fetch(const FetchRequest& request, Callback<RowBatch> done) override;
  Result<std::vector<LoadedSegmentInfo>> LoadedSegments(CollectionId collection) override;

 private:
  // The deletes of one shard, as applied to this node's segments of it.
  struct Following {
    SegmentPtr segment;
    Timestamp applied = 0;                           // it has the deletes up to here
  };
  struct Follower {
    Mutex mutex;
    std::atomic<Timestamp> applied{0};               // the least of the segments'
    std::vector<Following> segments GUARDED_BY(mutex);

    void Changed() REQUIRES(mutex);                  // one came or went
    void Reached(Timestamp ts) REQUIRES(mutex);      // all of them
  };
  struct Attached {
    FieldId field;
    std::string object;
  };
  struct Loaded {
    SegmentPtr segment;
    CollectionId collection;
    ChannelId channel = 0;
    int64_t bytes = 0;                               // MemoryOf(its meta)
    std::shared_ptr<Follower> follower;
    std::map<IndexId, Attached> attached;            // changed by the reconcile loop only
  };
  using ShardKey = std::pair<CollectionId, ChannelId>;

  std::chrono::milliseconds Reconcile();
  bool ReconcileCollection(CollectionId id);          // false: something is to be tried again
  std::set<SegmentId> Desired(CollectionId id) const;
  bool MayUnload(CollectionId id, SegmentId segment);
  bool Load(const SegmentMeta& meta, const Collection& collection);
  void Unload(SegmentId segment);
  void AttachIndexes(const SegmentPtr& segment, const SegmentMeta& meta, const Collection& collection,
                     std::map<IndexId, Attached>& attached) const;
  void RefreshIndexes(SegmentId id, const Collection& collection);
  bool Report(CollectionId id, const std::vector<SegmentId>& held);

  std::shared_ptr<Follower> FollowerOf(const ShardKey& key);
  Status CatchUp(const ShardKey& key, const SegmentPtr& segment, Timestamp& position) const;
  Status ApplyFiles(const ShardKey& key, const std::vector<SegmentPtr>& segments, Timestamp& position) const;
  Status FollowDeletes(const ShardKey& key, Follower& follower, Timestamp until);
  Result<std::vector<SegmentPtr>> Readable(const SealedLeg& leg);
  Status CheckHeld(const std::vector<SegmentPtr>& segments) const;

  const QueryNodeDeps deps_;

  mutable SharedMutex mutex_;
  std::map<SegmentId, Loaded> loaded_ GUARDED_BY(mutex_);
  std::map<ShardKey, std::shared_ptr<Follower>> followers_ GUARDED_BY(mutex_);
  std::atomic<int64_t> unloaded_{0};                  // segments so far; rises before one leaves its follower

  DirtyCollections dirty_;
  // The reconcile loop's own.
  std::chrono::milliseconds retry_after_{100};
  std::map<SegmentId, int64_t> leaving_;              // held, and in the placement until then (µs)
  std::atomic<bool> introduce_{true};                 // querycoord is to be told of this node's memory
  bool awaits_owner_ = false;                         // a segment waits for its owner's deletes
  bool unreported_ = false;                           // querycoord didn't take a report
  std::unique_ptr<ControlLoop> loop_;
};

}  // namespace saker
