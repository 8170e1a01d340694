// A topic over librdkafka: one producer and one consumer for all partitions, without a consumer group.
//
// The producer is idempotent: the broker refuses what it has and what comes out of order, so a retry neither doubles
// nor reorders, and five requests may be under way at once. After an error that it can't recover from, another takes
// its place. (Should Kafka store something twice all the same, readers void it: kafka_channel.h.)
#include "wal/kafka_topic.h"

#include <fmt/format.h>
#include <librdkafka/rdkafka.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "base/mutex.h"
#include "wal/kafka_connection.h"

namespace saker {
namespace {

using PartitionList =
    std::unique_ptr<rd_kafka_topic_partition_list_t, decltype(&rd_kafka_topic_partition_list_destroy)>;

constexpr int kReadBatch = 1000;
constexpr int64_t kFatalDrainUs = 2'000'000;
constexpr int64_t kAskAgainUs = 20'000;

class LibrdkafkaTopic final : public KafkaTopic {
 public:
  LibrdkafkaTopic(const KafkaLogSettings& settings, std::unique_ptr<KafkaConnection> consumer, int64_t batch_bytes)
      : settings_(settings), batch_bytes_(batch_bytes), consumer_(std::move(consumer)) {
    consumer_topic_ = rd_kafka_topic_new(consumer_->handle(), settings_.topic.c_str(), nullptr);
  }
  ~LibrdkafkaTopic() override {
    if (consumer_topic_ != nullptr) rd_kafka_topic_destroy(consumer_topic_);
  }
  Status StartProducer() {
    ASSIGN_OR_RETURN(std::shared_ptr<Producer> made, NewProducer());
    const MutexLock lock(mutex_);
    producer_ = std::move(made);
    return {};
  }

  Status Produce(ChannelId partition, std::string_view key, std::string_view value, void* record) override;
  std::vector<KafkaDelivery> TakeDeliveries() override;
  void Wake() override {
    const MutexLock lock(mutex_);
    rd_kafka_queue_yield(producer_->queue);
  }
  void GiveUp() override {
    const MutexLock lock(mutex_);
    producer_->Purge();
  }
  Status Read(ChannelId partition, LogOffset from, LogOffset to, const Visit& visit) override;
  Result<Bounds> GetBounds(ChannelId partition) override;
  Status DeleteBefore(ChannelId partition, LogOffset before) override {
    return consumer_->DeleteRecords(settings_.topic, partition, before, settings_.request_timeout_ms);
  }

 private:
  struct Producer {
    std::unique_ptr<KafkaConnection> connection;
    rd_kafka_topic_t* topic = nullptr;
    rd_kafka_queue_t* queue = nullptr;
    ~Producer() {
      if (queue != nullptr) rd_kafka_queue_destroy(queue);
      if (topic != nullptr) rd_kafka_topic_destroy(topic);
    }
    void Purge() { rd_kafka_purge(connection->handle(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT); }
    bool failed() const { return rd_kafka_fatal_error(connection->handle(), nullptr, 0) != RD_KAFKA_RESP_ERR_NO_ERROR; }
  };
  Result<std::shared_ptr<Producer>> NewProducer() const;
  void Poll(Producer& producer, int timeout_ms, std::vector<KafkaDelivery>& out);
  void Replace(const std::shared_ptr<Producer>& failed, std::vector<KafkaDelivery>& out);
  Status ReadStarted(ChannelId partition, LogOffset from, LogOffset to, const Visit& visit);
  // `which`: RD_KAFKA_OFFSET_BEGINNING or _END.
  Result<LogOffset> Ask(ChannelId partition, int64_t which, int64_t deadline);
  Status Unavailable(ChannelId partition, std::string_view what, rd_kafka_resp_err_t error) const;

  // Constant after construction; librdkafka's handles are thread-safe.
  const KafkaLogSettings settings_;
  const int64_t batch_bytes_;
  const std::unique_ptr<KafkaConnection> consumer_;
  rd_kafka_topic_t* consumer_topic_ = nullptr;

  Mutex mutex_;
  std::shared_ptr<Producer> producer_ GUARDED_BY(mutex_);
};

Result<std::shared_ptr<LibrdkafkaTopic::Producer>> LibrdkafkaTopic::NewProducer() const {
  KafkaProperties properties = {
      {"enable.idempotence", "true"},
      {"acks", "all"},
      {"linger.ms", fmt::format("{:.3f}", settings_.linger_us / 1000.0)},
      {"message.timeout.ms", std::to_string(settings_.delivery_timeout_ms)},
      {"request.timeout.ms", std::to_string(settings_.delivery_timeout_ms)},
      {"message.max.bytes", std::to_string(batch_bytes_)},
      {"batch.size", std::to_string(batch_bytes_)},
      {"batch.num.messages", "100000"},
      {"queue.buffering.max.messages", "1000000"},
      {"queue.buffering.max.kbytes", "2097151"},
  };
  auto producer = std::make_shared<Producer>();
  ASSIGN_OR_RETURN(producer->connection,
                   KafkaConnection::Open(KafkaConnection::Kind::kProducer, settings_, properties));
  producer->topic = rd_kafka_topic_new(producer->connection->handle(), settings_.topic.c_str(), nullptr);
  producer->queue = rd_kafka_queue_get_main(producer->connection->handle());
  return producer;
}

Status LibrdkafkaTopic::Produce(ChannelId partition, std::string_view key, std::string_view value, void* record) {
  const MutexLock lock(mutex_);
  // Neither copied nor freed: the value stays until its delivery.
  const int sent = rd_kafka_produce(producer_->topic, partition, 0, const_cast<char*>(value.data()), value.size(),
                                    key.data(), key.size(), record);
  if (sent == 0) return {};
  const rd_kafka_resp_err_t error = rd_kafka_last_error();
  if (error == RD_KAFKA_RESP_ERR__FATAL) rd_kafka_queue_yield(producer_->queue);  // see TakeDeliveries
  return Unavailable(partition, "the record can't be sent", error);
}

std::vector<KafkaDelivery> LibrdkafkaTopic::TakeDeliveries() {
  std::shared_ptr<Producer> producer;
  {
    const MutexLock lock(mutex_);
    producer = producer_;
  }
  std::vector<KafkaDelivery> out;
  Poll(*producer, -1, out);
  if (producer->failed()) Replace(producer, out);
  return out;
}

void LibrdkafkaTopic::Poll(Producer& producer, int timeout_ms, std::vector<KafkaDelivery>& out) {
  rd_kafka_event_t* event = rd_kafka_queue_poll(producer.queue, timeout_ms);
  if (event == nullptr) return;
  // That all brokers are down says less than what was heard of each.
  if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR &&
      rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
    producer.connection->NoteTrouble(rd_kafka_event_error_string(event));
  }
  if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR) {
    while (const rd_kafka_message_t* message = rd_kafka_event_message_next(event)) {
      KafkaDelivery delivery;
      delivery.record = message->_private;
      const rd_kafka_msg_status_t status = rd_kafka_message_status(message);
      if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        delivery.outcome = KafkaDelivery::Outcome::kAppended;
        delivery.offset = message->offset >= 0 ? message->offset : -1;
      } else {
        delivery.outcome = status == RD_KAFKA_MSG_STATUS_NOT_PERSISTED ? KafkaDelivery::Outcome::kRefused
                                                                       : KafkaDelivery::Outcome::kUnknown;
        delivery.why = producer.connection->Explain(message->err);
      }
      out.push_back(std::move(delivery));
    }
  }
  rd_kafka_event_destroy(event);
}

// A producer that failed for good fails all it has; then a new one may begin: nothing overtakes.
void LibrdkafkaTopic::Replace(const std::shared_ptr<Producer>& failed, std::vector<KafkaDelivery>& out) {
  std::array<char, 512> why{};
  rd_kafka_fatal_error(failed->connection->handle(), why.data(), why.size());
  LogWarn("topic {}: Kafka's producer failed and is replaced: {}", settings_.topic, why.data());
  failed->Purge();
  const int64_t deadline = MonotonicUs() + kFatalDrainUs;
  while (rd_kafka_outq_len(failed->connection->handle()) > 0 && MonotonicUs() < deadline) Poll(*failed, 10, out);
  auto made = NewProducer();
  if (!made.ok()) {
    LogError("topic {}: no new producer, trying again: {}", settings_.topic, made.status().ToString());
    return;
  }
  const MutexLock lock(mutex_);
  producer_ = std::move(*made);
}

Status LibrdkafkaTopic::Read(ChannelId partition, LogOffset from, LogOffset to, const Visit& visit) {
  if (from >= to) return {};
  if (rd_kafka_consume_start(consumer_topic_, partition, from) != 0) {
    return Unavailable(partition, "reading can't be started", rd_kafka_last_error());
  }
  const Status read = ReadStarted(partition, from, to, visit);
  rd_kafka_consume_stop(consumer_topic_, partition);
  return read;
}

Status LibrdkafkaTopic::ReadStarted(ChannelId partition, LogOffset from, LogOffset to, const Visit& visit) {
  std::vector<rd_kafka_message_t*> messages(kReadBatch);
  int64_t deadline = MonotonicUs() + int64_t{1000} * settings_.request_timeout_ms;
  Status status;
  bool enough = false;
  while (!enough) {
    const int64_t left_ms = (deadline - MonotonicUs()) / 1000;
    if (left_ms <= 0)
      return Unavailable(partition, fmt::format("no record from offset {} on", from), RD_KAFKA_RESP_ERR__TIMED_OUT);
    // Returns with what is there after the first record: the timeout is for that one alone.
    rd_kafka_message_t* first =
        rd_kafka_consume(consumer_topic_, partition, static_cast<int>(std::min<int64_t>(left_ms, 1000)));
    if (first == nullptr) continue;
    messages[0] = first;
    const ssize_t more = rd_kafka_consume_batch(consumer_topic_, partition, 0, messages.data() + 1, kReadBatch - 1);
    const size_t count = 1 + static_cast<size_t>(std::max<ssize_t>(more, 0));
    for (size_t i = 0; i < count; ++i) {
      const rd_kafka_message_t& message = *messages[i];
      if (!enough && message.err == RD_KAFKA_RESP_ERR_NO_ERROR && message.offset >= from) {
        enough = message.offset >= to;
        if (enough) continue;
        from = message.offset + 1;
        deadline = MonotonicUs() + int64_t{1000} * settings_.request_timeout_ms;
        enough = !visit(message.offset, {static_cast<const char*>(message.key), message.key_len},
                        {static_cast<const char*>(message.payload), message.len}) ||
                 from >= to;
      } else if (!enough && (message.err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
                             message.err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE)) {
        status = Status(ErrorCode::kCompacted,
                        fmt::format("topic {} partition {} has no offset {}", settings_.topic, partition, from));
        enough = true;
      }  // librdkafka gets over any other error, or the deadline comes
    }
    for (size_t i = 0; i < count; ++i) rd_kafka_message_destroy(messages[i]);
  }
  return status;
}

Result<KafkaTopic::Bounds> LibrdkafkaTopic::GetBounds(ChannelId partition) {
  const int64_t deadline = MonotonicUs() + int64_t{1000} * settings_.request_timeout_ms;
  Bounds bounds;
  ASSIGN_OR_RETURN(bounds.begin, Ask(partition, RD_KAFKA_OFFSET_BEGINNING, deadline));
  ASSIGN_OR_RETURN(bounds.end, Ask(partition, RD_KAFKA_OFFSET_END, deadline));
  return bounds;
}

// Not rd_kafka_query_watermark_offsets: with a broker that hangs it goes on for as long as that does.
Result<LogOffset> LibrdkafkaTopic::Ask(ChannelId partition, int64_t which, int64_t deadline) {
  while (true) {
    rd_kafka_poll(consumer_->handle(), 0);
    const int left_ms = static_cast<int>(std::max<int64_t>(1, (deadline - MonotonicUs()) / 1000));
    const PartitionList list(rd_kafka_topic_partition_list_new(1), rd_kafka_topic_partition_list_destroy);
    rd_kafka_topic_partition_t* entry =
        rd_kafka_topic_partition_list_add(list.get(), settings_.topic.c_str(), partition);
    entry->offset = which;
    rd_kafka_resp_err_t error = rd_kafka_offsets_for_times(consumer_->handle(), list.get(), left_ms);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) error = list->elems[0].err;
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR && list->elems[0].offset >= 0) return list->elems[0].offset;
    // Most errors pass: a new leader, a broker that starts.
    if (error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED || MonotonicUs() + kAskAgainUs >= deadline) {
      return Unavailable(partition, "its end can't be asked for", error);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(kAskAgainUs));
  }
}

Status LibrdkafkaTopic::Unavailable(ChannelId partition, std::string_view what, rd_kafka_resp_err_t error) const {
  return {ErrorCode::kServiceUnavailable,
          fmt::format("topic {} partition {}: {}: {}", settings_.topic, partition, what, consumer_->Explain(error))};
}

}  // namespace

Result<std::unique_ptr<KafkaTopic>> OpenKafkaTopic(const KafkaLogSettings& settings) {
  RETURN_IF_ERROR(CheckKafkaLogSettings(settings));
  const KafkaProperties properties = {
      {"isolation.level", "read_uncommitted"},  // no transaction of somebody else's may hold a reader up
      {"auto.offset.reset", "error"},
      {"enable.auto.commit", "false"},
      {"enable.auto.offset.store", "false"},
      {"check.crcs", "true"},
      {"fetch.wait.max.ms", "10"},
      {"fetch.error.backoff.ms", "50"},
      {"fetch.message.max.bytes", std::to_string(kKafkaBatchBytes)},
  };
  ASSIGN_OR_RETURN(auto consumer, KafkaConnection::Open(KafkaConnection::Kind::kConsumer, settings, properties));
  ASSIGN_OR_RETURN(const int64_t max_message_bytes, PrepareKafkaTopic(*consumer, settings));
  auto topic =
      std::make_unique<LibrdkafkaTopic>(settings, std::move(consumer), std::min(max_message_bytes, kKafkaBatchBytes));
  RETURN_IF_ERROR(topic->StartProducer());
  return std::unique_ptr<KafkaTopic>(std::move(topic));
}

}  // namespace saker
