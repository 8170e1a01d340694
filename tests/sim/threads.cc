// The C and C++ libraries' threads, mutexes, condition variables, clocks and chance, as fibers have them: the linker
// takes these in place of the libraries' own, also for calls that libstdc++ makes. A lock's state lies where its owner's
// type has room for it; all zeroes is a free one, as the initialisers have it.
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <random>
#include <thread>

#include "sim/fibers.h"

namespace sim = saker::sim;

namespace {

constexpr int64_t kWallStartUs = 1'700'000'000LL * sim::kSecond;
constexpr int64_t kMonotonicStartUs = 1'000 * sim::kSecond;

struct MutexState {
  int held;
  int depth;
  const void* owner;
};
struct RwState {
  int writer;
  int readers;
};

MutexState& StateOf(pthread_mutex_t* mutex) { return *reinterpret_cast<MutexState*>(mutex); }
RwState& StateOf(pthread_rwlock_t* lock) { return *reinterpret_cast<RwState*>(lock); }

// Recursive mutexes (the libraries' own) are told by their kind, which stands behind our state.
bool IsRecursive(const pthread_mutex_t* mutex) { return (mutex->__data.__kind & 3) == PTHREAD_MUTEX_RECURSIVE_NP; }

[[noreturn]] void Impossible(const char* what) {
  fprintf(stderr, "simulation: %s outside of a fiber\n", what);
  abort();
}

const void* Self() { return sim::CurrentFiber(); }

int64_t ToUs(const timespec& t) { return t.tv_sec * sim::kSecond + (t.tv_nsec + 999) / 1000; }

int64_t OffsetUs(clockid_t clock) {
  return clock == CLOCK_REALTIME ? kWallStartUs + sim::CurrentHost()->wall_offset_us : kMonotonicStartUs;
}

int WaitOn(pthread_cond_t* cond, pthread_mutex_t* mutex, int64_t deadline_us) {
  if (!sim::InFiber()) Impossible("waiting");
  pthread_mutex_unlock(mutex);
  const bool woken = sim::WaitFor(cond, deadline_us);
  pthread_mutex_lock(mutex);
  return woken ? 0 : ETIMEDOUT;
}

}  // namespace

extern "C" {

// ---- threads

int pthread_create(pthread_t* thread, const pthread_attr_t*, void* (*start)(void*), void* argument) {
  if (!sim::InFiber()) Impossible("starting a thread");
  *thread = reinterpret_cast<pthread_t>(sim::Spawn(sim::CurrentHost(), [=] { start(argument); }));
  return 0;
}

int pthread_join(pthread_t thread, void**) {
  auto* fiber = reinterpret_cast<sim::Fiber*>(thread);
  while (!sim::IsDone(fiber)) (void)sim::WaitFor(sim::DoneKey(fiber), INT64_MAX);
  return 0;
}

int pthread_detach(pthread_t) { return 0; }
pthread_t pthread_self() noexcept { return sim::InFiber() ? reinterpret_cast<pthread_t>(sim::CurrentFiber()) : 1; }
int pthread_setname_np(pthread_t, const char*) { return 0; }

int sched_yield() {
  if (sim::InFiber()) sim::Yield();
  return 0;
}

// ---- mutexes

int pthread_mutex_trylock(pthread_mutex_t* mutex) {
  MutexState& state = StateOf(mutex);
  if (state.held != 0) {
    if (!IsRecursive(mutex) || state.owner != Self()) return EBUSY;
    ++state.depth;
    return 0;
  }
  state.held = 1;
  if (IsRecursive(mutex)) state.owner = Self();
  return 0;
}

int pthread_mutex_lock(pthread_mutex_t* mutex) {
  while (pthread_mutex_trylock(mutex) != 0) {
    if (!sim::InFiber()) Impossible("waiting for a lock");
    (void)sim::WaitFor(mutex, INT64_MAX);
  }
  return 0;
}

int pthread_mutex_unlock(pthread_mutex_t* mutex) {
  MutexState& state = StateOf(mutex);
  if (state.depth > 0) {
    --state.depth;
    return 0;
  }
  state.held = 0;
  state.owner = nullptr;
  if (sim::InFiber()) sim::WakeOne(mutex);
  return 0;
}

int pthread_mutex_destroy(pthread_mutex_t*) { return 0; }

int pthread_rwlock_tryrdlock(pthread_rwlock_t* lock) {
  if (StateOf(lock).writer != 0) return EBUSY;
  ++StateOf(lock).readers;
  return 0;
}
int pthread_rwlock_trywrlock(pthread_rwlock_t* lock) {
  if (StateOf(lock).writer != 0 || StateOf(lock).readers != 0) return EBUSY;
  StateOf(lock).writer = 1;
  return 0;
}
int pthread_rwlock_rdlock(pthread_rwlock_t* lock) {
  while (pthread_rwlock_tryrdlock(lock) != 0) (void)sim::WaitFor(lock, INT64_MAX);
  return 0;
}
int pthread_rwlock_wrlock(pthread_rwlock_t* lock) {
  while (pthread_rwlock_trywrlock(lock) != 0) (void)sim::WaitFor(lock, INT64_MAX);
  return 0;
}
int pthread_rwlock_unlock(pthread_rwlock_t* lock) {
  RwState& state = StateOf(lock);
  if (state.writer != 0) {
    state.writer = 0;
  } else {
    --state.readers;
  }
  if (sim::InFiber() && state.readers == 0) sim::WakeAll(lock);
  return 0;
}

// ---- condition variables

int pthread_cond_wait(pthread_cond_t* cond, pthread_mutex_t* mutex) { return WaitOn(cond, mutex, INT64_MAX); }
int pthread_cond_clockwait(pthread_cond_t* cond, pthread_mutex_t* mutex, clockid_t clock, const timespec* until) {
  return WaitOn(cond, mutex, ToUs(*until) - OffsetUs(clock));
}
int pthread_cond_timedwait(pthread_cond_t* cond, pthread_mutex_t* mutex, const timespec* until) {
  return WaitOn(cond, mutex, ToUs(*until) - OffsetUs(CLOCK_REALTIME));
}
int pthread_cond_signal(pthread_cond_t* cond) {
  if (sim::InFiber()) sim::WakeOne(cond);
  return 0;
}
int pthread_cond_broadcast(pthread_cond_t* cond) {
  if (sim::InFiber()) sim::WakeAll(cond);
  return 0;
}
int pthread_cond_destroy(pthread_cond_t*) { return 0; }

// ---- time

int clock_gettime(clockid_t clock, timespec* out) noexcept {
  if (!sim::InFiber()) return static_cast<int>(syscall(SYS_clock_gettime, clock, out));
  const int64_t us = sim::NowUs() + OffsetUs(clock);
  out->tv_sec = us / sim::kSecond;
  out->tv_nsec = us % sim::kSecond * 1000;
  return 0;
}

int gettimeofday(timeval* out, void*) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  *out = {now.tv_sec, now.tv_nsec / 1000};
  return 0;
}

time_t time(time_t* out) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != nullptr) *out = now.tv_sec;
  return now.tv_sec;
}

int nanosleep(const timespec* how_long, timespec* left) {
  if (!sim::InFiber()) return static_cast<int>(syscall(SYS_nanosleep, how_long, left));
  sim::SleepUs(ToUs(*how_long));
  return 0;
}

int clock_nanosleep(clockid_t clock, int flags, const timespec* when, timespec* left) {
  if (!sim::InFiber()) return static_cast<int>(syscall(SYS_clock_nanosleep, clock, flags, when, left));
  sim::SleepUs(flags == TIMER_ABSTIME ? ToUs(*when) - OffsetUs(clock) - sim::NowUs() : ToUs(*when));
  return 0;
}

// What is on disk survives a process's death anyway: only hosts die here, not the machine under the simulation.
int fsync(int) { return 0; }
int fdatasync(int) { return 0; }

}  // extern "C"

namespace std {

unsigned thread::hardware_concurrency() noexcept { return 2; }

// ---- chance

void random_device::_M_init(const string&) {}
void random_device::_M_fini() {}
random_device::result_type random_device::_M_getval() { return static_cast<result_type>(sim::Draw()); }

// ---- futures

bool __atomic_futex_unsigned_base::_M_futex_wait_until(unsigned* at, unsigned value, bool has_timeout, chrono::seconds s,
                                                       chrono::nanoseconds ns) {
  if (__atomic_load_n(at, __ATOMIC_ACQUIRE) != value) return true;
  const int64_t until = chrono::duration_cast<chrono::microseconds>(s + ns).count() - OffsetUs(CLOCK_REALTIME);
  return saker::sim::WaitFor(at, has_timeout ? until : INT64_MAX);
}
bool __atomic_futex_unsigned_base::_M_futex_wait_until_steady(unsigned* at, unsigned value, bool has_timeout, chrono::seconds s,
                                                              chrono::nanoseconds ns) {
  if (__atomic_load_n(at, __ATOMIC_ACQUIRE) != value) return true;
  const int64_t until = chrono::duration_cast<chrono::microseconds>(s + ns).count() - OffsetUs(CLOCK_MONOTONIC);
  return saker::sim::WaitFor(at, has_timeout ? until : INT64_MAX);
}
void __atomic_futex_unsigned_base::_M_futex_notify_all(unsigned* at) { saker::sim::WakeAll(at); }

}  // namespace std
