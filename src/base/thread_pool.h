// Bounded pools, strands and timers. Only server/roles.cc (and tests) create pools; nothing else starts threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace saker {

using Task = std::function<void()>;

// A fixed number of named threads working a FIFO queue. Thread-safe. Stop() runs what is queued, then joins.
class ThreadPool {
 public:
  // nice: scheduling niceness of the threads (build pools use 10 so that searches come first).
  ThreadPool(std::string name, int threads, int nice = 0);
  ~ThreadPool();
  void Post(Task task);
  void Stop();
  int size() const;
  // Tasks queued and not yet begun.
  int64_t queued() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Runs its tasks one after another, in order, on a pool: a lock-free-looking home for state that has one writer.
// Tasks hold the strand's state alive; destroying the Strand lets queued tasks finish.
class Strand {
 public:
  explicit Strand(ThreadPool* pool);
  ~Strand();
  void Post(Task task);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Runs tasks at a later time, on `pool`. One thread, asleep while nothing is due.
class Timer {
 public:
  explicit Timer(ThreadPool* pool);
  ~Timer();
  using Handle = uint64_t;
  Handle After(std::chrono::milliseconds delay, Task task);
  void Cancel(Handle handle);  // no effect on a task already handed to the pool
  void Stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Counts what is under way so that a component can wait for it: every background task enters, Close() refuses new
// entries and waits until the last has left.
class Gate {
 public:
  bool Enter();
  void Leave();
  void Close();
  class Hold {
   public:
    explicit Hold(Gate& gate) : gate_(gate.Enter() ? &gate : nullptr) {}
    ~Hold() {
      if (gate_ != nullptr) gate_->Leave();
    }
    Hold(const Hold&) = delete;
    explicit operator bool() const { return gate_ != nullptr; }

   private:
    Gate* gate_;
  };
  Gate();
  ~Gate();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A coordinator's heartbeat: `step` runs on `pool` once for any number of Poke() calls that came while it wasn't
// running, and again after `after` if step returned a delay. Idle means silent: no Poke, no delay, no run.
class ControlLoop {
 public:
  using Step = std::function<std::chrono::milliseconds()>;  // returns 0 for "nothing more until poked"
  ControlLoop(std::string name, ThreadPool* pool, Timer* timer, Step step);
  ~ControlLoop();
  void Poke();
  void Stop();  // waits for a running step

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace saker
