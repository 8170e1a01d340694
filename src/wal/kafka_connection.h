// librdkafka's handle, and what is asked of Kafka apart from records: topics and their settings. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/mutex.h"
#include "base/status.h"
#include "wal/kafka_log.h"

// librdkafka's, whose types stay in the .cc files.
struct rd_kafka_s;

namespace saker {

using KafkaProperties = std::map<std::string, std::string>;

inline constexpr int64_t kKafkaBatchBytes = 4 << 20;  // of a topic that we create: max.message.bytes

class KafkaConnection {
 public:
  enum class Kind { kProducer, kConsumer };
  // Doesn't wait for a broker. `properties` are for this kind; those for all, and settings.properties, are added.
  static Result<std::unique_ptr<KafkaConnection>> Open(Kind kind, const KafkaLogSettings& settings,
                                                       const KafkaProperties& properties);
  ~KafkaConnection();
  KafkaConnection(const KafkaConnection&) = delete;
  KafkaConnection& operator=(const KafkaConnection&) = delete;

  rd_kafka_s* handle() const { return handle_; }

  struct TopicState {
    bool exists = false;
    int brokers = 0;
    int partitions = 0;
    int least_replicas = 0;  // of any partition
    bool leaderless = false;
  };
  Result<TopicState> DescribeTopic(const std::string& topic, int timeout_ms) const;
  Result<KafkaProperties> DescribeTopicSettings(const std::string& topic, int timeout_ms) const;
  Status CreateTopic(const std::string& topic, int partitions, int replication, const KafkaProperties& settings,
                     int timeout_ms) const;
  Status AddPartitions(const std::string& topic, int partitions, int timeout_ms) const;
  Status DeleteRecords(const std::string& topic, int partition, int64_t before, int timeout_ms) const;

  // An error's text (rd_kafka_resp_err_t), with the last trouble of the connection.
  std::string Explain(int error) const;
  void NoteTrouble(std::string_view text);

 private:
  KafkaConnection() = default;
  rd_kafka_s* handle_ = nullptr;

  mutable Mutex mutex_;
  std::string trouble_ GUARDED_BY(mutex_);
  int64_t trouble_us_ GUARDED_BY(mutex_) = 0;
};

// Those of the settings that can be told wrong without Kafka.
Status CheckKafkaLogSettings(const KafkaLogSettings& settings);
// Creates the topic if it is missing, adds partitions if there are too few, and checks its settings. Returns its
// max.message.bytes.
Result<int64_t> PrepareKafkaTopic(const KafkaConnection& connection, const KafkaLogSettings& settings);

}  // namespace saker
