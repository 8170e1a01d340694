#include "distance/kernels.h"

#include <cstdlib>
#include <cstring>

namespace saker {
namespace {

#if defined(__x86_64__)
bool HasAvx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("popcnt");
}
bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vpopcntdq");
}
#else
bool HasAvx2() { return false; }
bool HasAvx512() { return false; }
#endif

const DistanceKernels* Choose() {
  const DistanceKernels* runnable[3];
  const int count = RunnableKernels(runnable);
  if (const char* wanted = std::getenv("SAKER_SIMD"); wanted != nullptr) {
    for (int i = 0; i < count; ++i) {
      if (std::strcmp(runnable[i]->name, wanted) == 0) return runnable[i];
    }
  }
  return runnable[count - 1];
}

}  // namespace

int RunnableKernels(const DistanceKernels* out[3]) {
  int count = 0;
  out[count++] = ScalarKernels();
  // The processor is asked first: the functions that hand out the tables are themselves compiled for it.
  if (HasAvx2() && Avx2Kernels() != nullptr) out[count++] = Avx2Kernels();
  if (HasAvx512() && Avx512Kernels() != nullptr) out[count++] = Avx512Kernels();
  return count;
}

const DistanceKernels& Kernels() {
  static const DistanceKernels* const chosen = Choose();
  return *chosen;
}

}  // namespace saker
