// What a watch delivers, collected for tests.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/mutex.h"
#include "meta/meta_store.h"

namespace saker {

// Thread-safe.
class WatchRecorder {
 public:
  MetaStore::OnWatch Callback() {
    return [this](WatchBatch batch) {
      MutexLock lock(mutex_);
      if (batch.status.ok()) {
        EXPECT_GT(batch.revision, batch.resumed ? revision_ - 1 : revision_) << "batches go forward";
        revision_ = batch.revision;
      }
      ++batches_;
      status_ = batch.status;
      for (WatchEvent& event : batch.events) events_.push_back(std::move(event));
      changed_.NotifyAll();
    };
  }
  bool WaitForRevision(Revision revision) {
    return WaitFor([&] { return revision_ >= revision; });
  }
  bool WaitForFailure() {
    return WaitFor([&] { return !status_.ok(); });
  }
  std::vector<WatchEvent> events() {
    MutexLock lock(mutex_);
    return events_;
  }
  // "+key=value" and "-key", in order.
  std::vector<std::string> story() {
    std::vector<std::string> out;
    for (const WatchEvent& event : events()) {
      const bool put = event.kind == WatchEvent::Kind::kPut;
      out.push_back(put ? "+" + event.kv.key + "=" + event.kv.value : "-" + event.kv.key);
    }
    return out;
  }
  ErrorCode code() {
    MutexLock lock(mutex_);
    return status_.code();
  }

 private:
  template <typename Predicate>
  bool WaitFor(Predicate done) {
    MutexLock lock(mutex_);
    return changed_.WaitFor(lock, std::chrono::seconds(20), done);
  }
  Mutex mutex_;
  CondVar changed_;
  std::vector<WatchEvent> events_;
  Revision revision_ = 0;
  int batches_ = 0;
  Status status_;
};

}  // namespace saker
