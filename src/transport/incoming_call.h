// One call that another process made, from its first byte to its answer; and the roles it may go to.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "base/mutex.h"
#include "transport/call_codec.h"

namespace saker {

// Shared by whoever may still answer: dropping the last reference without an answer tells the caller so.
class IncomingCall {
 public:
  using Send = std::function<void(const Frame&)>;
  IncomingCall(Frame request, int64_t deadline_us, Send send)
      : request_(std::move(request)), in_(request_), deadline_us_(deadline_us), send_(std::move(send)) {}
  ~IncomingCall() {
    Fail(Status(ErrorCode::kServiceInternal, "the call was dropped without an answer; see the log of the node it was sent to"));
  }
  IncomingCall(const IncomingCall&) = delete;
  IncomingCall& operator=(const IncomingCall&) = delete;

  // Behind the envelope once that was read. One reader at a time.
  FrameReader& in() { return in_; }
  int64_t deadline_us() const { return deadline_us_; }  // of MonotonicUs()
  void Cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool expired() const;

  // The first answer counts. Thread-safe.
  void Answer(const Frame& answer);
  void Fail(const Status& status) {
    if (!answered_.load(std::memory_order_acquire)) Answer(EncodeFailure(status));
  }

 private:
  const Frame request_;
  FrameReader in_;
  const int64_t deadline_us_;
  const Send send_;
  std::atomic<bool> answered_{false};
  std::atomic<bool> cancelled_{false};
};
using IncomingCallPtr = std::shared_ptr<IncomingCall>;

// A role that comes and goes while calls arrive. Thread-safe.
template <typename Role>
class RoleSlot {
 public:
  // Returns when no call holds the former role.
  void Set(Role* role) {
    MutexLock lock(mutex_);
    role_ = nullptr;
    free_.Wait(lock, [this]() REQUIRES(mutex_) { return held_ == 0; });
    role_ = role;
  }
  bool filled() const {
    MutexLock lock(mutex_);
    return role_ != nullptr;
  }

  class Hold {
   public:
    explicit Hold(RoleSlot* slot) : slot_(slot) {
      MutexLock lock(slot_->mutex_);
      role_ = slot_->role_;
      if (role_ != nullptr) ++slot_->held_;
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold() {
      if (role_ == nullptr) return;
      MutexLock lock(slot_->mutex_);
      if (--slot_->held_ == 0) slot_->free_.NotifyAll();
    }
    Role* get() const { return role_; }

   private:
    RoleSlot* const slot_;
    Role* role_;
  };

 private:
  mutable Mutex mutex_;
  CondVar free_;
  Role* role_ GUARDED_BY(mutex_) = nullptr;
  int64_t held_ GUARDED_BY(mutex_) = 0;
};

}  // namespace saker
