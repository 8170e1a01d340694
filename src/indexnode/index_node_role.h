// The indexnode: works off the tasks that name it — builds indexes over sealed segments, compacts segments — and
// reports to the coordinator that asked. A task it was at when it died is simply done again.
#pragma once

#include <atomic>
#include <set>

#include "base/mutex.h"
#include "base/thread_pool.h"
#include "catalog/catalog.h"
#include "roles/peers.h"
#include "storage/object_store.h"

namespace saker {

struct IndexNodeSettings {
  int build_threads = 2;    // of one vector index build
};

struct IndexNodeDeps {
  NodeId node;
  Catalog* catalog = nullptr;      // started with segments
  ObjectStore* objects = nullptr;
  Peers* peers = nullptr;
  ThreadPool* build = nullptr;     // low priority
};

class IndexNodeRole : public IndexNode {
 public:
  IndexNodeRole(IndexNodeDeps deps, IndexNodeSettings settings);
  ~IndexNodeRole() override;
  void Start();
  void Stop();   // cancels what runs
  int64_t tasks_running() override { return running_; }

 private:
  void TakeTasks();
  void Run(const TaskSpec& task);
  void Report(const TaskSpec& task, const std::function<Status()>& report);
  Result<SegmentIndex> BuildIndex(const TaskSpec& task);
  Result<SegmentMeta> Compact(const TaskSpec& task);
  bool Abandoned(const TaskSpec& task) const;   // nobody wants its result any more

  const IndexNodeDeps deps_;
  const IndexNodeSettings settings_;
  std::atomic<bool> stopping_{false};
  std::atomic<int64_t> running_{0};
  Mutex mutex_;
  CondVar stop_;
  std::set<int64_t> taken_ GUARDED_BY(mutex_);
  int subscription_ = 0;
  Gate gate_;
};

}  // namespace saker
