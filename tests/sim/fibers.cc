#include "sim/fibers.h"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <unordered_map>
#include <utility>

#include <cxxabi.h>
#include <sys/mman.h>
#include <ucontext.h>

namespace saker::sim {

// What the C++ runtime keeps for each thread about exceptions that are being handled (Itanium C++ ABI, 2.2.2).
struct Exceptions {
  void* caught = nullptr;
  unsigned int uncaught = 0;
};

struct Fiber {
  Host* host = nullptr;
  std::function<void()> body;
  void* stack = nullptr;
  jmp_buf context;
  bool begun = false;
  bool done = false;
  bool woken = false;               // by a Wake, not by its deadline
  const void* waits_for = nullptr;
  uint64_t wait = 0;                // counts its waits: a deadline of an earlier one is void
  Exceptions exceptions;
};

namespace {

constexpr size_t kStackBytes = 256 << 10;

// SplitMix64: small, and good enough to draw faults with.
struct Chances {
  uint64_t state = 1;
  uint64_t Next() {
    uint64_t z = (state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
};

struct Due {
  Fiber* fiber = nullptr;  // to be woken from this wait
  uint64_t wait = 0;
  Host* host = nullptr;    // or to be begun
  std::function<void()> body;
};

struct Scheduler {
  Chances chances;
  Chances order;
  int64_t now_us = 0;
  int64_t switches = 0;
  bool finished = false;
  Fiber* current = nullptr;
  jmp_buf loop;
  std::vector<Fiber*> ready;
  std::multimap<int64_t, Due> due;
  std::unordered_map<const void*, std::vector<Fiber*>> waiting;
  std::vector<void*> stacks;  // of fibers that are done
};
Scheduler scheduler;

void Ready(Fiber* fiber) {
  Host* host = fiber->host;
  if (host->dead) return;
  (host->paused ? host->parked : scheduler.ready).push_back(fiber);
}

void* TakeStack() {
  if (!scheduler.stacks.empty()) {
    void* stack = scheduler.stacks.back();
    scheduler.stacks.pop_back();
    return stack;
  }
  void* stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack == MAP_FAILED) abort();
  return stack;
}

Exceptions* ThreadsExceptions() { return reinterpret_cast<Exceptions*>(abi::__cxa_get_globals()); }

void Enter() {
  Fiber* self = scheduler.current;
  self->body();
  self = scheduler.current;
  self->done = true;
  self->body = nullptr;
  WakeAll(DoneKey(self));
  _longjmp(scheduler.loop, 1);
}

void Begin(Fiber* fiber) {
  fiber->begun = true;
  fiber->stack = TakeStack();
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = fiber->stack;
  context.uc_stack.ss_size = kStackBytes;
  context.uc_link = nullptr;
  makecontext(&context, Enter, 0);
  setcontext(&context);
  abort();
}

void Run(Fiber* fiber) {
  scheduler.current = fiber;
  ++scheduler.switches;
  *ThreadsExceptions() = fiber->exceptions;
  if (_setjmp(scheduler.loop) == 0) {
    if (!scheduler.current->begun) Begin(scheduler.current);
    _longjmp(scheduler.current->context, 1);
  }
  Fiber* const ran = std::exchange(scheduler.current, nullptr);
  if (ran->done) scheduler.stacks.push_back(std::exchange(ran->stack, nullptr));
}

// Back to the scheduler, until somebody makes this fiber ready.
void Suspend() {
  Fiber* self = scheduler.current;
  if (_setjmp(self->context) == 0) {
    self->exceptions = *ThreadsExceptions();
    _longjmp(scheduler.loop, 1);
  }
}

void RemoveWaiting(Fiber* fiber) {
  const auto it = scheduler.waiting.find(fiber->waits_for);
  if (it == scheduler.waiting.end()) return;
  std::erase(it->second, fiber);
  if (it->second.empty()) scheduler.waiting.erase(it);
}

void Fire(Due due) {
  if (due.host != nullptr) {
    if (!due.host->dead) Spawn(due.host, std::move(due.body));
    return;
  }
  Fiber* fiber = due.fiber;
  if (fiber->done || fiber->wait != due.wait || fiber->host->dead) return;
  if (fiber->waits_for != nullptr) RemoveWaiting(fiber);
  fiber->waits_for = nullptr;
  ++fiber->wait;
  Ready(fiber);
}

}  // namespace

bool tracing = false;

void Seed(uint64_t seed) {
  scheduler.chances.state = seed * 2 + 1;
  scheduler.order.state = ~seed;
}
uint64_t Draw() { return scheduler.chances.Next(); }
int64_t Between(int64_t low, int64_t high) { return low + static_cast<int64_t>(Draw() % static_cast<uint64_t>(high - low + 1)); }
bool Chance(double probability) { return static_cast<double>(Draw() >> 11) * 0x1p-53 < probability; }

int64_t NowUs() { return scheduler.now_us; }
int64_t Switches() { return scheduler.switches; }
bool InFiber() { return scheduler.current != nullptr; }
Fiber* CurrentFiber() { return scheduler.current; }
Host* CurrentHost() { return scheduler.current->host; }
bool IsDone(const Fiber* fiber) { return fiber->done; }
const void* DoneKey(const Fiber* fiber) { return &fiber->done; }
void Finish() { scheduler.finished = true; }

Fiber* Spawn(Host* host, std::function<void()> body) {
  auto* fiber = new Fiber;
  fiber->host = host;
  fiber->body = std::move(body);
  Ready(fiber);
  return fiber;
}

void SpawnAt(int64_t at_us, Host* host, std::function<void()> body) {
  Due due;
  due.host = host;
  due.body = std::move(body);
  scheduler.due.emplace(at_us, std::move(due));
}

void RunAll(Host* host, std::function<void()> first) {
  Spawn(host, std::move(first));
  while (!scheduler.finished) {
    while (!scheduler.due.empty() && scheduler.due.begin()->first <= scheduler.now_us) {
      Due due = std::move(scheduler.due.begin()->second);
      scheduler.due.erase(scheduler.due.begin());
      Fire(std::move(due));
    }
    if (scheduler.ready.empty()) {
      if (scheduler.due.empty()) {
        fprintf(stderr, "simulation: all fibers wait for ever\n");
        abort();
      }
      scheduler.now_us = std::max(scheduler.now_us, scheduler.due.begin()->first);
      continue;
    }
    const size_t next = scheduler.ready.size() == 1 ? 0 : scheduler.order.Next() % scheduler.ready.size();
    Fiber* fiber = scheduler.ready[next];
    scheduler.ready[next] = scheduler.ready.back();
    scheduler.ready.pop_back();
    if (fiber->host->dead) continue;
    if (fiber->host->paused) {
      fiber->host->parked.push_back(fiber);
      continue;
    }
    ++scheduler.now_us;  // nothing takes no time at all
    Run(fiber);
  }
}

bool WaitFor(const void* key, int64_t deadline_us) {
  Fiber* self = scheduler.current;
  self->woken = false;
  self->waits_for = key;
  const uint64_t wait = ++self->wait;
  if (key != nullptr) scheduler.waiting[key].push_back(self);
  if (deadline_us != INT64_MAX) {
    Due due;
    due.fiber = self;
    due.wait = wait;
    scheduler.due.emplace(std::max(deadline_us, scheduler.now_us), std::move(due));
  }
  Suspend();
  return scheduler.current->woken;
}

namespace {
void Wake(Fiber* fiber) {
  fiber->woken = true;
  fiber->waits_for = nullptr;
  ++fiber->wait;
  Ready(fiber);
}
}  // namespace

void WakeOne(const void* key) {
  const auto it = scheduler.waiting.find(key);
  if (it == scheduler.waiting.end()) return;
  auto& fibers = it->second;
  const size_t chosen = fibers.size() == 1 ? 0 : scheduler.order.Next() % fibers.size();
  Fiber* fiber = fibers[chosen];
  fibers.erase(fibers.begin() + static_cast<int64_t>(chosen));
  if (fibers.empty()) scheduler.waiting.erase(it);
  Wake(fiber);
}

void WakeAll(const void* key) {
  const auto it = scheduler.waiting.find(key);
  if (it == scheduler.waiting.end()) return;
  const std::vector<Fiber*> fibers = std::move(it->second);
  scheduler.waiting.erase(it);
  for (Fiber* fiber : fibers) Wake(fiber);
}

void SleepUs(int64_t us) { (void)WaitFor(nullptr, scheduler.now_us + us); }

void Yield() {
  Ready(scheduler.current);
  Suspend();
}

void Kill(Host* host) {
  host->dead = true;
  host->parked.clear();
  std::erase_if(scheduler.ready, [&](Fiber* fiber) { return fiber->host == host; });
}

void Pause(Host* host) { host->paused = true; }

void Resume(Host* host) {
  host->paused = false;
  if (host->dead) return;
  for (Fiber* fiber : host->parked) scheduler.ready.push_back(fiber);
  host->parked.clear();
}

void Trace(const std::string& line) {
  if (!tracing) return;
  const Fiber* current = scheduler.current;
  fprintf(stdout, "%10.6f %-12s %s\n", static_cast<double>(scheduler.now_us) / 1e6, current == nullptr ? "" : current->host->name.c_str(),
          line.c_str());
}

}  // namespace saker::sim
