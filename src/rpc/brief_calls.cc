#include "rpc/brief_calls.h"

#include <time.h>

#include <algorithm>
#include <thread>

namespace saker {

int64_t ThreadCpuUs() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1'000;
}

std::atomic<int> BriefCalls::running_{0};

bool BriefCalls::TryBegin() {
  // gRPC has a thread for every two cores, 2 to 16; two of them are left to listen, or one of two.
  static const int most = std::max(1, std::clamp(static_cast<int>(std::thread::hardware_concurrency()) / 2, 2, 16) - 2);
  if (to_pool_.load(std::memory_order_relaxed) > 0) {
    to_pool_.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  if (running_.fetch_add(1, std::memory_order_relaxed) < most) return true;
  running_.fetch_sub(1, std::memory_order_relaxed);
  return false;
}

void BriefCalls::End(int64_t cpu_us) {
  constexpr int64_t kBriefUs = 500;
  constexpr int kCallsToPool = 256;
  running_.fetch_sub(1, std::memory_order_relaxed);
  if (cpu_us > kBriefUs) to_pool_.store(kCallsToPool, std::memory_order_relaxed);
}

}  // namespace saker
