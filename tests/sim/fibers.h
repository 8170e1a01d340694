// Threads as fibers of one operating-system thread, under a seeded scheduler with simulated time.
//
// threads.cc stands in for the C library's threads, mutexes, condition variables and clocks, so that all of Saker runs
// here as it is. Nothing runs in parallel: a fiber runs until it waits. Which one goes next is drawn from the seed; when
// all wait, the clock jumps to the next moment somebody waits for. The same seed gives the same run.
//
// A host is a process: its fibers can be stopped for a while (what a paused machine looks like) or for ever (kill -9:
// nothing of it runs any more, its memory is left alone until the simulation ends).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace saker::sim {

struct Fiber;

struct Host {
  std::string name;
  int machine = 0;              // where it runs: what networks connect
  int64_t wall_offset_us = 0;   // of its wall clock
  bool dead = false;
  bool paused = false;
  std::vector<Fiber*> parked;   // fibers that would run, were it not paused
};

// ---- chance: everything that is drawn comes from here, but for the scheduler's own draws
void Seed(uint64_t seed);
uint64_t Draw();
int64_t Between(int64_t low, int64_t high);  // both included
bool Chance(double probability);

// ---- time, in microseconds since the simulation began
int64_t NowUs();
inline constexpr int64_t kMs = 1'000;
inline constexpr int64_t kSecond = 1'000'000;

// ---- fibers. Only from a fiber, but for RunAll.
// Runs `first` on `host` and all that comes of it, until Finish().
void RunAll(Host* host, std::function<void()> first);
void Finish();
bool InFiber();  // false: no simulation runs, threads.cc lets the process be
Host* CurrentHost();
Fiber* CurrentFiber();
Fiber* Spawn(Host* host, std::function<void()> body);
void SpawnAt(int64_t at_us, Host* host, std::function<void()> body);
void SleepUs(int64_t us);
void Yield();
// Waits for a Wake of `key`; false if the deadline came first (INT64_MAX: none).
bool WaitFor(const void* key, int64_t deadline_us);
void WakeOne(const void* key);
void WakeAll(const void* key);
bool IsDone(const Fiber* fiber);
const void* DoneKey(const Fiber* fiber);
void Kill(Host* host);
void Pause(Host* host);
void Resume(Host* host);

int64_t Switches();  // how often a fiber was run, so far
// A line of the trace (printed only if asked for).
extern bool tracing;
void Trace(const std::string& line);

}  // namespace saker::sim
