// The log in Kafka: one topic, a channel is a partition, an offset of the channel is Kafka's.
// docs/kafka.md says what is expected of Kafka, docs/format/kafka_log.md what a record is.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/status.h"
#include "wal/log.h"

namespace saker {

struct KafkaLogSettings {
  std::string brokers;  // "host:port,host:port", to begin with
  std::string topic = "saker-log";
  int channels = 16;
  // Of a topic that has to be created. 0: 3 where there are three brokers, 1 where there is one; with two brokers it
  // has to be said.
  int replication = 0;
  int delivery_timeout_ms = 10'000;  // an append is answered by then
  int request_timeout_ms = 5'000;    // a fence, a truncation, a question; a read that gets nothing
  int linger_us = 500;               // how long a record waits for others to go with it
  int64_t piece_bytes = 1 << 20;     // a longer payload takes several records of Kafka's
  // librdkafka's, for connections: security.protocol, sasl.*, ssl.*, client.id and the like. What decides on whether
  // records are safe can't be set.
  std::map<std::string, std::string> properties;
};

// Connects, creates the topic if it is missing, and checks its settings. kServiceUnavailable if no broker answers
// within request_timeout_ms: try again later. kParameterInvalid for a setting that isn't as it must be: the message
// names it, its value and what it must be.
//
// The log is thread-safe. It never gives up: when Kafka is back, it works again.
Result<std::unique_ptr<Log>> OpenKafkaLog(const KafkaLogSettings& settings);

}  // namespace saker
