#include "index/build_threads.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>
#include <vector>

namespace saker {

void RunOnBuildThreads(const VectorBuildOptions& options, const std::function<void()>& work) {
  if (options.threads <= 1) return work();
  std::vector<std::thread> threads;
  for (int i = 0; i < options.threads; ++i) {
    threads.emplace_back([&] {
      setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), options.nice);
      work();
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace saker
