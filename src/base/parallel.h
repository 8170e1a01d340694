// ParallelFor: the caller works through [0, n) itself and lets idle threads of a pool help. Never waits for a thread
// that has not begun, so it may be called from a task of the same pool.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "base/mutex.h"
#include "base/thread_pool.h"

namespace saker {

inline void ParallelFor(ThreadPool* pool, int64_t n, const std::function<void(int64_t)>& work) {
  // With a queue the other threads are busy anyway: helping would only add hand-overs.
  if (n <= 1 || pool == nullptr || pool->queued() > 0) {
    for (int64_t i = 0; i < n; ++i) work(i);
    return;
  }
  struct Shared {
    std::atomic<int64_t> next{0};
    Mutex mutex;
    CondVar idle;
    int helping = 0;
    bool closed = false;
  };
  auto shared = std::make_shared<Shared>();
  const auto drain = [&work, n](Shared& s) {
    for (int64_t i = s.next++; i < n; i = s.next++) work(i);
  };
  const int64_t helpers = std::min<int64_t>(pool->size() - 1, n - 1);
  for (int64_t h = 0; h < helpers; ++h) {
    pool->Post([shared, &drain] {
      {
        MutexLock lock(shared->mutex);
        if (shared->closed) return;  // the caller has left: its references are gone
        ++shared->helping;
      }
      drain(*shared);
      MutexLock lock(shared->mutex);
      if (--shared->helping == 0) shared->idle.NotifyAll();
    });
  }
  drain(*shared);
  MutexLock lock(shared->mutex);
  shared->closed = true;
  shared->idle.Wait(lock, [&] { return shared->helping == 0; });
}

}  // namespace saker
