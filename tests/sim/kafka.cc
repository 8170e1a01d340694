// A Kafka topic, under the real KafkaLog: partitions that keep what was appended, and in each process a producer that is
// idempotent and keeps the order, gives no delivery for lost answers before its time is up, and reads that lag.
#include <algorithm>
#include <deque>

#include "sim/world.h"
#include "wal/kafka_topic.h"

namespace saker::sim {
namespace {

constexpr int64_t kRetryUs = 100 * kMs;

struct Record {
  std::string key;
  std::string value;
};
struct Partition {
  LogOffset begin = 0;
  std::vector<Record> records;  // from offset 0 on; what was deleted is empty
};
std::map<ChannelId, Partition>& TheTopic() {
  static std::map<ChannelId, Partition> topic;
  return topic;
}

class Topic final : public KafkaTopic {
 public:
  explicit Topic(const KafkaLogSettings& settings) : settings_(settings) {}
  ~Topic() override {
    stopped_ = true;
    for (auto& [partition, producer] : producers_) {
      WakeAll(&producer);
      while (!IsDone(producer.fiber)) (void)WaitFor(DoneKey(producer.fiber), INT64_MAX);
    }
  }

  Status Produce(ChannelId partition, std::string_view key, std::string_view value, void* record) override {
    Producer& producer = producers_[partition];
    auto message = std::make_shared<Message>();
    message->record = record;
    message->key = key;
    message->value = value;
    message->expires_us = NowUs() + settings_.delivery_timeout_ms * kMs;
    producer.queue.push_back(std::move(message));
    if (producer.fiber == nullptr) producer.fiber = Spawn(CurrentHost(), [this, partition, &producer] { Send(partition, producer); });
    WakeAll(&producer);
    return {};
  }

  std::vector<KafkaDelivery> TakeDeliveries() override {
    if (deliveries_.empty()) (void)WaitFor(this, INT64_MAX);
    return std::exchange(deliveries_, {});
  }
  void Wake() override { WakeAll(this); }
  void GiveUp() override {
    for (auto& [partition, producer] : producers_) {
      for (const auto& message : producer.queue) Deliver(*message, message->sent ? Outcome::kUnknown : Outcome::kRefused, -1);
      producer.queue.clear();
    }
  }

  Status Read(ChannelId partition, LogOffset from, LogOffset to, const Visit& visit) override {
    auto records = std::make_shared<std::vector<Record>>();
    auto gone = std::make_shared<bool>(false);
    const bool answered = AskAgain([=] {
      const Partition& at = TheTopic()[partition];
      *gone = from < at.begin || to > static_cast<LogOffset>(at.records.size());
      if (*gone) return;
      records->assign(at.records.begin() + from, at.records.begin() + to);
    });
    if (!answered) return Away(partition);
    if (*gone) return {ErrorCode::kCompacted, "no such offset"};
    for (size_t i = 0; i < records->size(); ++i) {
      if (!visit(from + static_cast<LogOffset>(i), (*records)[i].key, (*records)[i].value)) break;
    }
    return {};
  }

  Result<Bounds> GetBounds(ChannelId partition) override {
    auto bounds = std::make_shared<Bounds>();
    const bool answered = AskAgain([=] {
      const Partition& at = TheTopic()[partition];
      *bounds = {at.begin, static_cast<LogOffset>(at.records.size())};
    });
    if (!answered) return Away(partition);
    return *bounds;
  }

  Status DeleteBefore(ChannelId partition, LogOffset before) override {
    const bool answered = Ask(kKafka, settings_.request_timeout_ms * kMs, [=] {
      Partition& at = TheTopic()[partition];
      Trace("kafka p" + std::to_string(partition) + " deletes before " + std::to_string(before));
      while (at.begin < before && at.begin < static_cast<LogOffset>(at.records.size())) at.records[static_cast<size_t>(at.begin++)] = {};
    });
    return answered ? Status() : Away(partition);
  }

 private:
  using Outcome = KafkaDelivery::Outcome;
  struct Message {
    void* record = nullptr;
    std::string key;
    std::string value;
    int64_t expires_us = 0;
    bool sent = false;
    bool delivered = false;
    LogOffset offset = -1;  // as the broker knows it: it stores what it has once
  };
  struct Producer {
    Fiber* fiber = nullptr;
    std::deque<std::shared_ptr<Message>> queue;
  };

  Status Away(ChannelId partition) const {
    return {ErrorCode::kServiceUnavailable, "topic " + settings_.topic + " partition " + std::to_string(partition) + ": no answer"};
  }
  bool AskAgain(const std::function<void()>& op) const {
    const int64_t deadline = NowUs() + settings_.request_timeout_ms * kMs;
    while (NowUs() < deadline) {
      if (Ask(kKafka, deadline - NowUs(), op)) return true;
      SleepUs(kRetryUs);
    }
    return false;
  }

  void Deliver(Message& message, Outcome outcome, LogOffset offset) {
    if (std::exchange(message.delivered, true)) return;
    KafkaDelivery delivery;
    delivery.record = message.record;
    delivery.outcome = outcome;
    delivery.offset = offset;
    if (outcome != Outcome::kAppended) delivery.why = "no answer from the brokers";
    deliveries_.push_back(std::move(delivery));
    WakeAll(this);
  }

  // A batch at a time, and the same again until it is acknowledged or its time is up.
  void Send(ChannelId partition, Producer& producer) {
    while (!stopped_) {
      if (producer.queue.empty()) {
        (void)WaitFor(&producer, INT64_MAX);
        continue;
      }
      SleepUs(Between(0, 500));
      std::vector<std::shared_ptr<Message>> batch(producer.queue.begin(), producer.queue.end());
      if (batch.empty()) continue;
      if (batch.front()->expires_us <= NowUs()) {
        Expire(producer);
        continue;
      }
      const bool refused = IsRefusing(kKafka);
      for (const auto& message : batch) message->sent = message->sent || !refused;
      const bool answered = Ask(kKafka, std::min<int64_t>(kSecond, batch.front()->expires_us - NowUs()), [partition, batch] {
        std::vector<Record>& records = TheTopic()[partition].records;
        for (const auto& message : batch) {
          if (message->offset >= 0) continue;
          message->offset = static_cast<LogOffset>(records.size());
          records.push_back({message->key, message->value});
        }
      });
      if (!answered) {
        SleepUs(kRetryUs);
        continue;
      }
      for (const auto& message : batch) {
        std::erase(producer.queue, message);
        Deliver(*message, Outcome::kAppended, message->offset);
      }
    }
  }
  // What was sent may be there or come yet; what comes after it in the queue must not overtake it.
  void Expire(Producer& producer) {
    while (!producer.queue.empty() && producer.queue.front()->expires_us <= NowUs()) {
      Message& message = *producer.queue.front();
      Deliver(message, message.sent ? Outcome::kUnknown : Outcome::kRefused, -1);
      producer.queue.pop_front();
    }
  }

  const KafkaLogSettings settings_;
  bool stopped_ = false;
  std::map<ChannelId, Producer> producers_;
  std::vector<KafkaDelivery> deliveries_;
};

}  // namespace
}  // namespace saker::sim

namespace saker {

Result<std::unique_ptr<KafkaTopic>> OpenKafkaTopic(const KafkaLogSettings& settings) {
  return std::unique_ptr<KafkaTopic>(std::make_unique<sim::Topic>(settings));
}

}  // namespace saker
