// A topic in memory for tests: several logs share a FakeKafka, each through a FakeTopic of its own that decides what
// becomes of what it sends.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "wal/kafka_topic.h"

namespace saker {

// Thread-safe.
class FakeKafka {
 public:
  explicit FakeKafka(int partitions) : partitions_(static_cast<size_t>(partitions)) {}

  LogOffset Append(ChannelId partition, std::string_view key, std::string_view value) {
    const MutexLock lock(mutex_);
    At(partition).records.push_back({std::string(key), std::string(value)});
    return static_cast<LogOffset>(At(partition).records.size()) - 1;
  }
  Result<KafkaTopic::Bounds> GetBounds(ChannelId partition) {
    const MutexLock lock(mutex_);
    if (away_) return Status(ErrorCode::kServiceUnavailable, "away");
    return KafkaTopic::Bounds{At(partition).begin, static_cast<LogOffset>(At(partition).records.size())};
  }
  Status Read(ChannelId partition, LogOffset from, LogOffset to, const KafkaTopic::Visit& visit) {
    for (LogOffset offset = from; offset < to; ++offset) {
      Record record;
      {
        const MutexLock lock(mutex_);
        if (away_) return {ErrorCode::kServiceUnavailable, "away"};
        const Partition& at = At(partition);
        if (offset < at.begin || offset >= static_cast<LogOffset>(at.records.size())) {
          return {ErrorCode::kCompacted, "no such offset"};
        }
        record = at.records[static_cast<size_t>(offset)];
        ++reads_;
      }
      if (!visit(offset, record.key, record.value)) return {};
    }
    return {};
  }
  void SetBegin(ChannelId partition, LogOffset begin) {
    const MutexLock lock(mutex_);
    At(partition).begin = begin;
  }
  // What a topic deleted and created anew is like, or one whose unclean leader lacks records.
  void Cut(ChannelId partition, size_t records) {
    const MutexLock lock(mutex_);
    At(partition).records.resize(records);
    At(partition).begin = std::min(At(partition).begin, static_cast<LogOffset>(records));
  }
  void Damage(ChannelId partition, LogOffset offset) {
    const MutexLock lock(mutex_);
    At(partition).records[static_cast<size_t>(offset)].value += "!";
  }
  void SetAway(bool away) {
    const MutexLock lock(mutex_);
    away_ = away;
  }
  int64_t reads() {
    const MutexLock lock(mutex_);
    return reads_;
  }

 private:
  struct Record {
    std::string key;
    std::string value;
  };
  struct Partition {
    LogOffset begin = 0;
    std::vector<Record> records;
  };
  Partition& At(ChannelId partition) REQUIRES(mutex_) { return partitions_[static_cast<size_t>(partition)]; }

  Mutex mutex_;
  std::vector<Partition> partitions_ GUARDED_BY(mutex_);
  bool away_ GUARDED_BY(mutex_) = false;
  int64_t reads_ GUARDED_BY(mutex_) = 0;
};

// What becomes of a record: whether it is stored, and what its sender hears.
enum class FakeFate {
  kStored,
  kStoredTwice,
  kStoredNobodyKnowsWhere,
  kStoredUnknown,  // the sender hears that its fate is unknown
  kLate,           // the same, and it is stored only when StoreLate() is called
  kLost,           // the same, and it never is
  kRefused,
};

class FakeTopic final : public KafkaTopic {
 public:
  explicit FakeTopic(std::shared_ptr<FakeKafka> kafka) : kafka_(std::move(kafka)) {}

  // While held, what is sent waits for Step().
  void Hold(bool hold) {
    const MutexLock lock(mutex_);
    hold_ = hold;
  }
  size_t waiting() {
    const MutexLock lock(mutex_);
    return waiting_.size();
  }
  // The oldest that waits meets its fate. False if there is none.
  bool Step(FakeFate fate = FakeFate::kStored) {
    const MutexLock lock(mutex_);
    if (waiting_.empty()) return false;
    const Waiting record = std::move(waiting_.front());
    waiting_.pop_front();
    Meet(record, fate);
    return true;
  }
  void StepAll() {
    while (Step()) {
    }
  }
  void SetFate(FakeFate fate) {  // of what is sent from now on
    const MutexLock lock(mutex_);
    fate_ = fate;
  }
  size_t StoreLate() {
    const MutexLock lock(mutex_);
    const size_t count = late_.size();
    for (const Waiting& record : late_) kafka_->Append(record.partition, record.key, record.value);
    late_.clear();
    return count;
  }

  Status Produce(ChannelId partition, std::string_view key, std::string_view value, void* record) override {
    const MutexLock lock(mutex_);
    const Waiting waiting{partition, std::string(key), std::string(value), record};
    if (hold_) {
      waiting_.push_back(waiting);
    } else {
      Meet(waiting, fate_);
    }
    return {};
  }
  std::vector<KafkaDelivery> TakeDeliveries() override {
    MutexLock lock(mutex_);
    news_.Wait(lock, [this]() REQUIRES(mutex_) { return woken_ || !deliveries_.empty(); });
    woken_ = false;
    return std::move(deliveries_);
  }
  void Wake() override {
    const MutexLock lock(mutex_);
    woken_ = true;
    news_.NotifyAll();
  }
  void GiveUp() override {
    const MutexLock lock(mutex_);
    for (const Waiting& record : waiting_) Meet(record, FakeFate::kLost);
    waiting_.clear();
  }
  Status Read(ChannelId partition, LogOffset from, LogOffset to, const Visit& visit) override {
    return kafka_->Read(partition, from, to, visit);
  }
  Result<Bounds> GetBounds(ChannelId partition) override { return kafka_->GetBounds(partition); }
  Status DeleteBefore(ChannelId partition, LogOffset before) override {
    if (before_deletion_) before_deletion_();
    if (keep_deleted_) return {ErrorCode::kServiceUnavailable, "not deleted"};
    kafka_->SetBegin(partition, before);
    return {};
  }
  // Set before the log is used.
  void BeforeDeletion(std::function<void()> hook) { before_deletion_ = std::move(hook); }
  void KeepDeleted() { keep_deleted_ = true; }

 private:
  struct Waiting {
    ChannelId partition;
    std::string key;
    std::string value;
    void* record;
  };
  void Meet(const Waiting& waiting, FakeFate fate) REQUIRES(mutex_) {
    using Outcome = KafkaDelivery::Outcome;
    KafkaDelivery delivery{waiting.record, Outcome::kUnknown, -1, "timed out"};
    const auto store = [&] { return kafka_->Append(waiting.partition, waiting.key, waiting.value); };
    switch (fate) {
      case FakeFate::kStored: delivery = {waiting.record, Outcome::kAppended, store(), ""}; break;
      case FakeFate::kStoredTwice:
        store();
        delivery = {waiting.record, Outcome::kAppended, store(), ""};
        break;
      case FakeFate::kStoredNobodyKnowsWhere:
        store();
        delivery = {waiting.record, Outcome::kAppended, -1, ""};
        break;
      case FakeFate::kStoredUnknown: store(); break;
      case FakeFate::kLate: late_.push_back(waiting); break;
      case FakeFate::kLost: break;
      case FakeFate::kRefused: delivery = {waiting.record, Outcome::kRefused, -1, "too few replicas"}; break;
    }
    deliveries_.push_back(std::move(delivery));
    news_.NotifyAll();
  }

  const std::shared_ptr<FakeKafka> kafka_;
  std::function<void()> before_deletion_;
  bool keep_deleted_ = false;
  Mutex mutex_;
  CondVar news_;
  std::deque<Waiting> waiting_ GUARDED_BY(mutex_);
  std::vector<Waiting> late_ GUARDED_BY(mutex_);
  std::vector<KafkaDelivery> deliveries_ GUARDED_BY(mutex_);
  FakeFate fate_ GUARDED_BY(mutex_) = FakeFate::kStored;
  bool hold_ GUARDED_BY(mutex_) = false;
  bool woken_ GUARDED_BY(mutex_) = false;
};

}  // namespace saker
