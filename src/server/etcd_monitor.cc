#include "server/etcd_monitor.h"

#include <algorithm>

#include "base/clock.h"
#include "base/log.h"
#include "base/mutex.h"

namespace saker {
namespace {

// Called once, by whoever comes first.
class Once {
 public:
  explicit Once(EtcdMonitor::Done done) : done_(std::move(done)) {}
  void Call() {
    EtcdMonitor::Done done;
    {
      MutexLock lock(mutex_);
      done.swap(done_);
    }
    if (done) done();
  }

 private:
  Mutex mutex_;
  EtcdMonitor::Done done_ GUARDED_BY(mutex_);
};

}  // namespace

struct EtcdMonitor::State {
  State(std::unique_ptr<EtcdAdmin> etcd, ThreadPool* io, Timer* clock)
      : admin(std::move(etcd)), pool(io), timer(clock) {}

  bool Fresh() const REQUIRES(mutex) {
    return looked_us != 0 && MonotonicUs() - looked_us < std::chrono::microseconds(kFresh).count();
  }
  void Look();
  void Keep(EtcdExamination now);

  const std::unique_ptr<EtcdAdmin> admin;
  ThreadPool* const pool;
  Timer* const timer;
  Gate gate;

  mutable Mutex mutex;
  bool looking GUARDED_BY(mutex) = false;
  std::vector<std::shared_ptr<Once>> waiting GUARDED_BY(mutex);
  int64_t looked_us GUARDED_BY(mutex) = 0;
  std::vector<EtcdFinding> findings GUARDED_BY(mutex);
  int64_t db_bytes GUARDED_BY(mutex) = 0;
  int64_t quota_bytes GUARDED_BY(mutex) = 0;
  Revision compacted GUARDED_BY(mutex) = -1;  // as seen last, and since when it is that
  int64_t compacted_since_us GUARDED_BY(mutex) = 0;
};

void EtcdMonitor::State::Keep(EtcdExamination now) {
  MutexLock lock(mutex);
  if (now.history) {
    if (now.history->compacted != compacted) compacted_since_us = MonotonicUs();
    compacted = now.history->compacted;
    now.uncompacted_for = std::chrono::milliseconds((MonotonicUs() - compacted_since_us) / 1000);
  }
  db_bytes = quota_bytes = 0;
  for (const EtcdMemberStatus& member : now.members) {
    if (!member.reached.ok()) continue;
    db_bytes = std::max(db_bytes, member.db_bytes);
    const int64_t quota = EtcdQuota(member);
    if (quota > 0 && (quota_bytes == 0 || quota < quota_bytes)) quota_bytes = quota;
  }
  std::vector<EtcdFinding> judged = JudgeEtcd(now);
  const auto tell = [](const std::vector<EtcdFinding>& from, const std::vector<EtcdFinding>& not_in, const char* what) {
    for (const EtcdFinding& finding : from) {
      const bool known =
          std::any_of(not_in.begin(), not_in.end(), [&](const EtcdFinding& f) { return f.text == finding.text; });
      if (!known) LogWarn("{}: {}", what, finding.text);
    }
  };
  tell(judged, findings, "etcd");
  if (judged.empty() && !findings.empty()) LogInfo("etcd is well again");
  findings = std::move(judged);
}

void EtcdMonitor::State::Look() {
  Keep(ExamineEtcd(admin.get()));
  std::vector<std::shared_ptr<Once>> told;
  {
    MutexLock lock(mutex);
    looked_us = MonotonicUs();
    looking = false;
    told.swap(waiting);
  }
  for (const auto& one : told) one->Call();
}

EtcdMonitor::EtcdMonitor(std::unique_ptr<EtcdAdmin> admin, ThreadPool* io, Timer* timer)
    : state_(std::make_shared<State>(std::move(admin), io, timer)) {}

EtcdMonitor::~EtcdMonitor() { state_->gate.Close(); }

void EtcdMonitor::Refresh(std::chrono::milliseconds patience, Done done) {
  auto once = std::make_shared<Once>(std::move(done));
  bool begin = false;
  {
    MutexLock lock(state_->mutex);
    if (!state_->Fresh()) {
      state_->waiting.push_back(once);
      begin = !state_->looking && state_->gate.Enter();
      state_->looking = state_->looking || begin;
    } else {
      lock.Unlock();
      return once->Call();
    }
  }
  if (begin) {
    state_->pool->Post([state = state_] {
      state->Look();
      state->gate.Leave();
    });
  }
  state_->timer->After(patience, [once] { once->Call(); });
}

std::vector<EtcdFinding> EtcdMonitor::findings() const {
  MutexLock lock(state_->mutex);
  return state_->findings;
}

int64_t EtcdMonitor::db_bytes() const {
  MutexLock lock(state_->mutex);
  return state_->db_bytes;
}

int64_t EtcdMonitor::quota_bytes() const {
  MutexLock lock(state_->mutex);
  return state_->quota_bytes;
}

}  // namespace saker
