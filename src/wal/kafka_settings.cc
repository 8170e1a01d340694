// Rule 11 of protocol.md: what a topic must be like for the log to be safe in it.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "wal/kafka_connection.h"
#include "wal/log_format.h"

namespace saker {
namespace {

constexpr int64_t kMinPieceBytes = 1024;
constexpr int64_t kMaxPieceBytes = 512 << 20;
constexpr int64_t kBatchOverheadBytes = 4096;
constexpr auto kPause = std::chrono::milliseconds(50);

// What decides on whether records are safe, found and in order.
constexpr std::string_view kReserved[] = {"acks",
                                          "request.required.acks",
                                          "enable.idempotence",
                                          "enable.gapless.guarantee",
                                          "transactional.id",
                                          "max.in.flight",
                                          "max.in.flight.requests.per.connection",
                                          "retries",
                                          "message.send.max.retries",
                                          "message.timeout.ms",
                                          "delivery.timeout.ms",
                                          "isolation.level",
                                          "auto.offset.reset",
                                          "check.crcs",
                                          "group.id",
                                          "enable.auto.commit",
                                          "bootstrap.servers",
                                          "metadata.broker.list",
                                          "message.max.bytes",
                                          "batch.size",
                                          "linger.ms",
                                          "queue.buffering.max.ms"};

// The settings that a topic with so many replicas must have.
KafkaProperties WantedSettings(int replicas) {
  KafkaProperties wanted = {
      {"cleanup.policy", "delete"},
      {"retention.ms", "-1"},
      {"retention.bytes", "-1"},
      {"unclean.leader.election.enable", "false"},
  };
  if (replicas == 1) wanted["flush.messages"] = "1";
  return wanted;
}

std::string_view Reason(std::string_view name) {
  if (name == "cleanup.policy") return "compaction would remove records that were acknowledged";
  if (name == "unclean.leader.election.enable")
    return "a replica that lacks acknowledged records could become the leader";
  if (name == "flush.messages") return "with one replica a record is safe only once it is synced";
  return "Kafka would delete records that the log still needs: the log itself says when they may go";
}

int64_t Number(const KafkaProperties& settings, const std::string& name) {
  const auto it = settings.find(name);
  int64_t value = 0;
  if (it != settings.end()) std::from_chars(it->second.data(), it->second.data() + it->second.size(), value);
  return value;
}

Status Wrong(const std::string& topic, std::string_view what, std::string_view is, std::string_view must,
             std::string_view why) {
  return {ErrorCode::kParameterInvalid,
          fmt::format("Kafka's topic {} has {} = {}, it must be {}: {}", topic, what, is, must, why)};
}

Status CheckReplication(const KafkaConnection::TopicState& state, const KafkaProperties& settings,
                        const std::string& topic) {
  if (state.brokers >= 3 && state.least_replicas < 3) {
    return Wrong(topic, "a replication factor", std::to_string(state.least_replicas), "3",
                 fmt::format("there are {} brokers; kafka-reassign-partitions.sh raises it", state.brokers));
  }
  const int64_t in_sync = Number(settings, "min.insync.replicas");
  if (state.least_replicas >= 2 && in_sync < 2) {
    return Wrong(topic, "min.insync.replicas", std::to_string(in_sync), "2",
                 "a record on one broker alone would be acknowledged, and lost with it");
  }
  return {};
}

Status CheckSettings(const KafkaConnection::TopicState& state, const KafkaProperties& settings,
                     const KafkaLogSettings& log) {
  RETURN_IF_ERROR(CheckReplication(state, settings, log.topic));
  for (const auto& [name, value] : WantedSettings(state.least_replicas)) {
    const auto it = settings.find(name);
    const std::string is = it == settings.end() ? "nothing" : it->second;
    if (is != value) return Wrong(log.topic, name, is, value, Reason(name));
  }
  const int64_t max_message_bytes = Number(settings, "max.message.bytes");
  if (max_message_bytes < log.piece_bytes + kBatchOverheadBytes) {
    return Wrong(log.topic, "max.message.bytes", std::to_string(max_message_bytes),
                 fmt::format("at least {}", log.piece_bytes + kBatchOverheadBytes),
                 "the log writes records of that size");
  }
  return {};
}

Status Create(const KafkaConnection& connection, const KafkaLogSettings& log, int brokers) {
  if (log.replication == 0 && brokers == 2) {
    return {ErrorCode::kParameterInvalid,
            fmt::format(
                "topic {} is to be created, and Kafka has 2 brokers: start the third, or set the log's replication to "
                "2 (no write while a broker is away) or 1",
                log.topic)};
  }
  const int replication = log.replication != 0 ? log.replication : brokers >= 3 ? 3 : 1;
  KafkaProperties wanted = WantedSettings(replication);
  wanted["min.insync.replicas"] = replication >= 2 ? "2" : "1";
  wanted["max.message.bytes"] = std::to_string(std::max(kKafkaBatchBytes, log.piece_bytes + kBatchOverheadBytes));
  RETURN_IF_ERROR(connection.CreateTopic(log.topic, log.channels, replication, wanted, log.request_timeout_ms));
  LogInfo("Kafka: created topic {} with {} partitions, {} replicas each", log.topic, log.channels, replication);
  return {};
}

// What was just created takes a moment until all brokers know it.
Result<KafkaConnection::TopicState> AwaitTopic(const KafkaConnection& connection, const KafkaLogSettings& log) {
  const Stopwatch watch;
  while (true) {
    ASSIGN_OR_RETURN(const auto state, connection.DescribeTopic(log.topic, log.request_timeout_ms));
    if (state.exists && state.partitions >= log.channels && !state.leaderless) return state;
    if (watch.elapsed_ms() > log.request_timeout_ms) {
      return Status(ErrorCode::kServiceUnavailable,
                    fmt::format("topic {} is not ready: {} of {} partitions{}; try again", log.topic, state.partitions,
                                log.channels, state.leaderless ? ", some without a leader" : ""));
    }
    std::this_thread::sleep_for(kPause);
  }
}

// A broker that has not heard of a new topic yet doesn't know its settings.
Result<KafkaProperties> AwaitSettings(const KafkaConnection& connection, const KafkaLogSettings& log) {
  const Stopwatch watch;
  while (true) {
    auto settings = connection.DescribeTopicSettings(log.topic, log.request_timeout_ms);
    if (settings.status().code() != ErrorCode::kServiceUnavailable || watch.elapsed_ms() > log.request_timeout_ms) {
      return settings;
    }
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace

Status CheckKafkaLogSettings(const KafkaLogSettings& settings) {
  const auto wrong = [](std::string_view what) {
    return Status(ErrorCode::kParameterInvalid, fmt::format("the log's Kafka settings: {}", what));
  };
  if (settings.brokers.empty()) return wrong("brokers is empty: it must be host:port, or several with commas between");
  if (settings.topic.empty() || settings.topic.size() > 249) return wrong("topic must have 1 to 249 characters");
  if (settings.channels < 1 || settings.channels > kMaxLogChannels) {
    return wrong(fmt::format("channels is {}: it must be 1 to {}", settings.channels, kMaxLogChannels));
  }
  if (settings.replication < 0)
    return wrong(fmt::format("replication is {}: it must be 0 or more", settings.replication));
  if (settings.delivery_timeout_ms < 100 || settings.request_timeout_ms < 100) {
    return wrong("delivery_timeout_ms and request_timeout_ms must be at least 100");
  }
  if (settings.linger_us < 0 || settings.linger_us > 1'000'000) {
    return wrong(fmt::format("linger_us is {}: it must be 0 to 1000000", settings.linger_us));
  }
  if (settings.piece_bytes < kMinPieceBytes || settings.piece_bytes > kMaxPieceBytes) {
    return wrong(
        fmt::format("piece_bytes is {}: it must be {} to {}", settings.piece_bytes, kMinPieceBytes, kMaxPieceBytes));
  }
  for (const auto& [name, value] : settings.properties) {
    if (std::find(std::begin(kReserved), std::end(kReserved), name) == std::end(kReserved)) continue;
    return wrong(fmt::format("property {} can't be set: the log decides it", name));
  }
  return {};
}

Result<int64_t> PrepareKafkaTopic(const KafkaConnection& connection, const KafkaLogSettings& log) {
  ASSIGN_OR_RETURN(auto state, connection.DescribeTopic(log.topic, log.request_timeout_ms));
  if (!state.exists) {
    RETURN_IF_ERROR(Create(connection, log, state.brokers));
    ASSIGN_OR_RETURN(state, AwaitTopic(connection, log));
  }
  if (state.partitions > log.channels) {
    return Wrong(log.topic, "partitions", std::to_string(state.partitions), std::to_string(log.channels),
                 "the log's channels may become more, never fewer");
  }
  ASSIGN_OR_RETURN(const KafkaProperties settings, AwaitSettings(connection, log));
  RETURN_IF_ERROR(CheckSettings(state, settings, log));
  if (state.partitions < log.channels) {
    RETURN_IF_ERROR(connection.AddPartitions(log.topic, log.channels, log.request_timeout_ms));
    ASSIGN_OR_RETURN(state, AwaitTopic(connection, log));
  }
  return Number(settings, "max.message.bytes");
}

}  // namespace saker
