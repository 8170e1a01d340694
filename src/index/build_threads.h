// The threads of an index build.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "index/vector_index.h"

namespace saker {

// Runs `work` on options.threads threads of the niceness asked for and joins them; on the caller's own if that is one.
void RunOnBuildThreads(const VectorBuildOptions& options, const std::function<void()>& work);

// Calls step(i) for 0 <= i < count from the build's threads, which take them in chunks, in order; make_step() makes each
// thread's own step, with what memory it needs. Stops early when cancelled.
template <typename MakeStep>
Status ForAll(int64_t count, const VectorBuildOptions& options, const char* what, MakeStep&& make_step) {
  constexpr int64_t kChunk = 64;
  constexpr int64_t kLookEvery = 2048;  // at the stop signal
  std::atomic<int64_t> next{0};
  std::atomic<bool> stop{options.cancelled && options.cancelled()};
  RunOnBuildThreads(options, [&] {
    auto step = make_step();
    int64_t since_look = 0;
    while (!stop.load(std::memory_order_relaxed)) {
      const int64_t begin = next.fetch_add(kChunk, std::memory_order_relaxed);
      if (begin >= count) return;
      const int64_t end = begin + kChunk < count ? begin + kChunk : count;
      for (int64_t i = begin; i < end; ++i) step(i);
      since_look += kChunk;
      if (since_look >= kLookEvery && options.cancelled) {
        since_look = 0;
        if (options.cancelled()) stop.store(true, std::memory_order_relaxed);
      }
    }
  });
  if (stop.load()) return {ErrorCode::kCancelled, std::string("building an index: cancelled while ") + what};
  return Status::Ok();
}

}  // namespace saker
