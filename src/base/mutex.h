// A mutex that Clang's thread-safety analysis understands; it runs wherever Clang compiles (preset fuzz).
// Under g++ the macros are empty.
#pragma once

#include <condition_variable>
#include <mutex>
#include <shared_mutex>

#if defined(__clang__)
#define SAKER_TSA(x) __attribute__((x))
#else
#define SAKER_TSA(x)
#endif
#undef GUARDED_BY  // Abseil, where it was included before, has macros of these names too
#define GUARDED_BY(x) SAKER_TSA(guarded_by(x))
#define REQUIRES(...) SAKER_TSA(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) SAKER_TSA(requires_shared_capability(__VA_ARGS__))
#define EXCLUDES(...) SAKER_TSA(locks_excluded(__VA_ARGS__))

namespace saker {

class SAKER_TSA(capability("mutex")) Mutex {
 public:
  void Lock() SAKER_TSA(acquire_capability()) { mutex_.lock(); }
  void Unlock() SAKER_TSA(release_capability()) { mutex_.unlock(); }
  std::mutex& native() { return mutex_; }

 private:
  std::mutex mutex_;
};

class SAKER_TSA(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) SAKER_TSA(acquire_capability(mutex)) : lock_(mutex.native()) {}
  ~MutexLock() SAKER_TSA(release_capability()) {}
  std::unique_lock<std::mutex>& native() { return lock_; }
  void Unlock() SAKER_TSA(release_capability()) { lock_.unlock(); }
  void Lock() SAKER_TSA(acquire_capability()) { lock_.lock(); }

 private:
  std::unique_lock<std::mutex> lock_;
};

class CondVar {
 public:
  void Wait(MutexLock& lock) { cv_.wait(lock.native()); }
  template <typename Predicate>
  void Wait(MutexLock& lock, Predicate done) {
    cv_.wait(lock.native(), done);
  }
  // False if `done` still did not hold when the time was up.
  template <typename Duration, typename Predicate>
  bool WaitFor(MutexLock& lock, Duration timeout, Predicate done) {
    return cv_.wait_for(lock.native(), timeout, done);
  }
  void NotifyOne() { cv_.notify_one(); }
  void NotifyAll() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

class SAKER_TSA(capability("shared_mutex")) SharedMutex {
 public:
  std::shared_mutex& native() { return mutex_; }

 private:
  std::shared_mutex mutex_;
};

class SAKER_TSA(scoped_lockable) ReaderLock {
 public:
  explicit ReaderLock(SharedMutex& m) SAKER_TSA(acquire_shared_capability(m)) : lock_(m.native()) {}
  ~ReaderLock() SAKER_TSA(release_capability()) {}

 private:
  std::shared_lock<std::shared_mutex> lock_;
};

class SAKER_TSA(scoped_lockable) WriterLock {
 public:
  explicit WriterLock(SharedMutex& m) SAKER_TSA(acquire_capability(m)) : lock_(m.native()) {}
  ~WriterLock() SAKER_TSA(release_capability()) {}

 private:
  std::unique_lock<std::shared_mutex> lock_;
};

}  // namespace saker
