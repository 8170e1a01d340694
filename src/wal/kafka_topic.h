// What KafkaLog needs of Kafka: a topic of some partitions. The one over librdkafka is thread-safe; so must others be.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "wal/kafka_log.h"

namespace saker {

// What became of a record given to Produce().
struct KafkaDelivery {
  enum class Outcome { kAppended, kRefused, kUnknown };
  void* record = nullptr;
  Outcome outcome = Outcome::kUnknown;
  LogOffset offset = -1;  // -1 though appended: nobody knows where
  std::string why;        // it was not appended
};

class KafkaTopic {
 public:
  struct Bounds {
    LogOffset begin = 0;
    LogOffset end = 0;
  };
  // False ends the reading.
  using Visit = std::function<bool(LogOffset, std::string_view key, std::string_view value)>;

  virtual ~KafkaTopic() = default;

  // Queues a record: those of a partition are appended in the order of the calls, if they are. `value` must stay as it
  // is until the record's delivery, of which there is exactly one unless Produce() failed. kServiceUnavailable: it is
  // not queued.
  virtual Status Produce(ChannelId partition, std::string_view key, std::string_view value, void* record) = 0;
  // Waits for deliveries; empty after Wake(), or without reason.
  virtual std::vector<KafkaDelivery> TakeDeliveries() = 0;
  virtual void Wake() = 0;
  // Fails what is not yet appended.
  virtual void GiveUp() = 0;

  // The records from `from` on and before `to`, which must be there: in order, until `visit` has enough. kCompacted if
  // `from` is no offset of the partition; kServiceUnavailable if nothing comes for too long. One call a partition at a
  // time.
  virtual Status Read(ChannelId partition, LogOffset from, LogOffset to, const Visit& visit) = 0;
  virtual Result<Bounds> GetBounds(ChannelId partition) = 0;
  virtual Status DeleteBefore(ChannelId partition, LogOffset before) = 0;
};

// See OpenKafkaLog.
Result<std::unique_ptr<KafkaTopic>> OpenKafkaTopic(const KafkaLogSettings& settings);
// The log over a topic.
std::unique_ptr<Log> NewKafkaLog(const KafkaLogSettings& settings, std::unique_ptr<KafkaTopic> topic);

}  // namespace saker
