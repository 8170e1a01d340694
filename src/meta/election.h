// Election: one leader a role. The leader holds the key leader/<role> under its lease; the key's creation revision is
// its token, which fences every transaction it makes: holding a lease proves nothing, the compare does.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/thread_pool.h"
#include "meta/meta_store.h"
#include "meta/watch.h"

namespace saker {

class Election {
 public:
  // Both run on the pool, one at a time, must be short and may not call Resign() or destroy the election.
  using OnElected = std::function<void(Revision token)>;
  using OnDeposed = std::function<void()>;

  // `candidate` is the key's value: who leads. Store, pool and timer outlive it.
  Election(MetaStore* store, std::string role, std::string candidate, std::chrono::seconds ttl, ThreadPool* pool,
           Timer* timer, OnElected on_elected = {}, OnDeposed on_deposed = {});
  ~Election();  // resigns

  // Stands for election from now on, again after each loss, until Resign().
  void Campaign();
  // The token once this candidate leads; kDeadlineExceeded names who leads instead.
  Result<Revision> WaitUntilElected(std::chrono::steady_clock::time_point deadline) const;
  // Stops campaigning and frees the key if it is held: a standby takes over at once. No callback runs afterwards.
  void Resign();

  // Whether it leads and may begin something: not beyond two thirds of its lease, by its own monotonic clock.
  bool MayLead() const;
  // To be among the compares of every transaction the leader makes; never holds for one that doesn't lead.
  Compare Fence() const;
  Revision token() const;  // 0: doesn't lead

 private:
  struct State;
  std::shared_ptr<State> state_;
  std::unique_ptr<ControlLoop> loop_;
  std::unique_ptr<PrefixView> view_;
};

}  // namespace saker
