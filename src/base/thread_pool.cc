#include "base/thread_pool.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <deque>
#include <map>
#include <thread>
#include <vector>

#include "base/log.h"
#include "base/mutex.h"

namespace saker {
namespace {

// A task that throws must not end the process: third-party calls throw, and this is one of the three edges.
void RunGuarded(const Task& task, const std::string& where) {
  try {
    task();
  } catch (const std::exception& e) {
    LogError("{}: a task threw: {}", where, e.what());
  } catch (...) {
    LogError("{}: a task threw something that is no std::exception", where);
  }
}

}  // namespace

struct ThreadPool::State {
  std::string name;
  Mutex mutex;
  CondVar wake;
  std::deque<Task> queue GUARDED_BY(mutex);
  bool stopping GUARDED_BY(mutex) = false;
  std::vector<std::thread> threads;

  void Work(int nice) {
    if (nice != 0) setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), nice);
    MutexLock lock(mutex);
    while (true) {
      wake.Wait(lock, [this]() REQUIRES(mutex) { return stopping || !queue.empty(); });
      if (queue.empty()) return;
      Task task = std::move(queue.front());
      queue.pop_front();
      lock.Unlock();
      RunGuarded(task, name);
      task = nullptr;
      lock.Lock();
    }
  }
};

ThreadPool::ThreadPool(std::string name, int threads, int nice) : state_(std::make_unique<State>()) {
  state_->name = std::move(name);
  for (int i = 0; i < threads; ++i) {
    state_->threads.emplace_back([this, nice] { state_->Work(nice); });
    pthread_setname_np(state_->threads.back().native_handle(), state_->name.substr(0, 15).c_str());
  }
}

ThreadPool::~ThreadPool() { Stop(); }

void ThreadPool::Post(Task task) {
  {
    MutexLock lock(state_->mutex);
    state_->queue.push_back(std::move(task));
  }
  state_->wake.NotifyOne();
}

void ThreadPool::Stop() {
  {
    MutexLock lock(state_->mutex);
    state_->stopping = true;
  }
  state_->wake.NotifyAll();
  for (auto& thread : state_->threads) {
    if (thread.joinable()) thread.join();
  }
}

int ThreadPool::size() const { return static_cast<int>(state_->threads.size()); }

int64_t ThreadPool::queued() const {
  MutexLock lock(state_->mutex);
  return static_cast<int64_t>(state_->queue.size());
}

struct Strand::State {
  ThreadPool* pool;
  Mutex mutex;
  std::deque<Task> queue GUARDED_BY(mutex);
  bool running GUARDED_BY(mutex) = false;

  void Drain() {
    while (true) {
      Task task;
      {
        MutexLock lock(mutex);
        if (queue.empty()) {
          running = false;
          return;
        }
        task = std::move(queue.front());
        queue.pop_front();
      }
      RunGuarded(task, "strand");
    }
  }
};

Strand::Strand(ThreadPool* pool) : state_(std::make_shared<State>()) { state_->pool = pool; }
Strand::~Strand() = default;

void Strand::Post(Task task) {
  {
    MutexLock lock(state_->mutex);
    state_->queue.push_back(std::move(task));
    if (state_->running) return;
    state_->running = true;
  }
  state_->pool->Post([state = state_] { state->Drain(); });
}

struct Timer::State {
  ThreadPool* pool;
  Mutex mutex;
  CondVar wake;
  using Clock = std::chrono::steady_clock;
  std::map<std::pair<Clock::time_point, Handle>, Task> due GUARDED_BY(mutex);
  std::map<Handle, Clock::time_point> when GUARDED_BY(mutex);
  Handle next GUARDED_BY(mutex) = 1;
  bool stopping GUARDED_BY(mutex) = false;
  std::thread thread;

  void Run() {
    MutexLock lock(mutex);
    while (!stopping) {
      if (due.empty()) {
        wake.Wait(lock);
        continue;
      }
      const auto first = due.begin()->first.first;
      if (Clock::now() < first) {
        wake.WaitFor(lock, first - Clock::now(), [&]() REQUIRES(mutex) {
          return stopping || due.empty() || due.begin()->first.first < first;
        });
        continue;
      }
      Task task = std::move(due.begin()->second);
      when.erase(due.begin()->first.second);
      due.erase(due.begin());
      lock.Unlock();
      pool->Post(std::move(task));
      lock.Lock();
    }
  }
};

Timer::Timer(ThreadPool* pool) : state_(std::make_unique<State>()) {
  state_->pool = pool;
  state_->thread = std::thread([this] { state_->Run(); });
  pthread_setname_np(state_->thread.native_handle(), "timer");
}

Timer::~Timer() { Stop(); }

Timer::Handle Timer::After(std::chrono::milliseconds delay, Task task) {
  Handle handle = 0;
  {
    MutexLock lock(state_->mutex);
    handle = state_->next++;
    const auto at = State::Clock::now() + delay;
    state_->due.emplace(std::make_pair(at, handle), std::move(task));
    state_->when.emplace(handle, at);
  }
  state_->wake.NotifyOne();
  return handle;
}

void Timer::Cancel(Handle handle) {
  MutexLock lock(state_->mutex);
  const auto it = state_->when.find(handle);
  if (it == state_->when.end()) return;
  state_->due.erase({it->second, handle});
  state_->when.erase(it);
}

void Timer::Stop() {
  {
    MutexLock lock(state_->mutex);
    state_->stopping = true;
    state_->due.clear();
  }
  state_->wake.NotifyAll();
  if (state_->thread.joinable()) state_->thread.join();
}

struct Gate::State {
  Mutex mutex;
  CondVar empty;
  int64_t inside GUARDED_BY(mutex) = 0;
  bool closed GUARDED_BY(mutex) = false;
};

Gate::Gate() : state_(std::make_unique<State>()) {}
Gate::~Gate() = default;

bool Gate::Enter() {
  MutexLock lock(state_->mutex);
  if (state_->closed) return false;
  ++state_->inside;
  return true;
}

void Gate::Leave() {
  MutexLock lock(state_->mutex);
  if (--state_->inside == 0) state_->empty.NotifyAll();
}

void Gate::Close() {
  MutexLock lock(state_->mutex);
  state_->closed = true;
  state_->empty.Wait(lock, [this]() REQUIRES(state_->mutex) { return state_->inside == 0; });
}

struct ControlLoop::State : std::enable_shared_from_this<ControlLoop::State> {
  std::string name;
  ThreadPool* pool;
  Timer* timer;
  Step step;
  Mutex mutex;
  CondVar idle;
  bool running GUARDED_BY(mutex) = false;
  bool poked GUARDED_BY(mutex) = false;
  bool stopped GUARDED_BY(mutex) = false;
  Timer::Handle waiting GUARDED_BY(mutex) = 0;

  void Poke() {
    MutexLock lock(mutex);
    if (stopped) return;
    poked = true;
    if (running) return;
    Start();
  }

  void Start() REQUIRES(mutex) {
    running = true;
    poked = false;
    if (waiting != 0) timer->Cancel(waiting);
    waiting = 0;
    pool->Post([self = shared_from_this()] { self->Run(); });
  }

  void Run() {
    std::chrono::milliseconds again{0};
    RunGuarded([&] { again = step(); }, name);
    MutexLock lock(mutex);
    running = false;
    idle.NotifyAll();
    if (stopped) return;
    if (poked) return Start();
    if (again.count() > 0) {
      waiting = timer->After(again, [self = weak_from_this()] {
        if (auto alive = self.lock()) alive->Poke();
      });
    }
  }
};

ControlLoop::ControlLoop(std::string name, ThreadPool* pool, Timer* timer, Step step)
    : state_(std::make_shared<State>()) {
  state_->name = std::move(name);
  state_->pool = pool;
  state_->timer = timer;
  state_->step = std::move(step);
}

ControlLoop::~ControlLoop() { Stop(); }
void ControlLoop::Poke() { state_->Poke(); }

void ControlLoop::Stop() {
  MutexLock lock(state_->mutex);
  state_->stopped = true;
  if (state_->waiting != 0) state_->timer->Cancel(state_->waiting);
  state_->idle.Wait(lock, [this]() REQUIRES(state_->mutex) { return !state_->running; });
}

}  // namespace saker
