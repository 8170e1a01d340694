// PrefixView: follows all keys under a prefix for as long as it lives, whatever happens to the store meanwhile.
//
// First comes a snapshot, then batches of events. When a watch ends (history compacted, connection lost) the view reads
// the prefix anew and delivers the difference as one more batch, so that who applies all batches in order always holds
// what the store held at `revision`. Events between two reads may be merged into one.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "meta/meta_store.h"

namespace saker {

class PrefixView {
 public:
  // One call at a time, in order of revision, on the store's thread or the pool's: must be short, may not block, and may
  // not destroy the view.
  using OnSnapshot = std::function<void(std::vector<KeyValue> kvs, Revision revision)>;
  using OnBatch = std::function<void(std::vector<WatchEvent> events, Revision revision)>;

  // Store, pool and timer outlive it; reading anew runs on the pool.
  PrefixView(MetaStore* store, std::string prefix, ThreadPool* pool, Timer* timer, OnSnapshot on_snapshot, OnBatch on_batch);
  ~PrefixView();  // no callback runs any more

  // Reads the prefix, calls on_snapshot and begins to follow. If the store can't be read it says why, and goes on trying
  // in the background: on_snapshot comes when it succeeds.
  Status Start();
  // Everything up to here has been delivered; 0 before the snapshot.
  Revision revision() const;
  // Waits until the view has seen `revision`: who wrote it, reads its own write afterwards. kDeadlineExceeded else.
  Status WaitForRevision(Revision revision, std::chrono::steady_clock::time_point deadline) const;

 private:
  struct State;
  std::shared_ptr<State> state_;
  std::unique_ptr<ControlLoop> loop_;
};

}  // namespace saker
