// Which calls run on the thread they arrived on.
#pragma once

#include <atomic>
#include <cstdint>

namespace saker {

// Whether a method's calls are brief enough, of late, to run on the thread they arrived on: that saves two hops between
// threads, which cost more than a search of an index does. One call that took long sends the next ones to the pool, and
// so few run at a time that the transport always has threads left to listen with.
class BriefCalls {
 public:
  // True: run it here, then tell End how much CPU time it took.
  bool TryBegin();
  void End(int64_t cpu_us);

 private:
  static std::atomic<int> running_;  // of all methods
  std::atomic<int> to_pool_{0};      // so many calls go to the pool unasked
};

// CPU time that this thread has used.
int64_t ThreadCpuUs();

}  // namespace saker
