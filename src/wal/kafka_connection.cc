#include "wal/kafka_connection.h"

#include <fmt/format.h>
#include <librdkafka/rdkafka.h>

#include <array>
#include <span>
#include <utility>

#include "base/clock.h"
#include "base/log.h"

namespace saker {
namespace {

constexpr int64_t kTroubleUs = 60'000'000;  // an older trouble explains nothing
constexpr int kAnswerGraceMs = 500;         // librdkafka keeps the time itself; this is for its answer

using Queue = std::unique_ptr<rd_kafka_queue_t, decltype(&rd_kafka_queue_destroy)>;
using Event = std::unique_ptr<rd_kafka_event_t, decltype(&rd_kafka_event_destroy)>;
using AdminOptions = std::unique_ptr<rd_kafka_AdminOptions_t, decltype(&rd_kafka_AdminOptions_destroy)>;
using NewTopic = std::unique_ptr<rd_kafka_NewTopic_t, decltype(&rd_kafka_NewTopic_destroy)>;
using NewPartitions = std::unique_ptr<rd_kafka_NewPartitions_t, decltype(&rd_kafka_NewPartitions_destroy)>;
using ConfigResource = std::unique_ptr<rd_kafka_ConfigResource_t, decltype(&rd_kafka_ConfigResource_destroy)>;
using DeleteRecordsRequest = std::unique_ptr<rd_kafka_DeleteRecords_t, decltype(&rd_kafka_DeleteRecords_destroy)>;
using PartitionList =
    std::unique_ptr<rd_kafka_topic_partition_list_t, decltype(&rd_kafka_topic_partition_list_destroy)>;

void OnLog(const rd_kafka_t* handle, int level, const char*, const char* text) {
  std::string_view line(text);
  if (line.starts_with("[thrd:")) {
    if (const size_t end = line.find("]: "); end != line.npos) line.remove_prefix(end + 3);
  }
  LogAt(level <= 4 ? LogLevel::kWarn : LogLevel::kDebug, "Kafka: {}", line);
  if (level <= 4) static_cast<KafkaConnection*>(rd_kafka_opaque(handle))->NoteTrouble(line);
}

void OnError(rd_kafka_t*, int error, const char* text, void* opaque) {
  if (error != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) static_cast<KafkaConnection*>(opaque)->NoteTrouble(text);
}

Status Set(rd_kafka_conf_t* conf, const KafkaProperties& properties) {
  std::array<char, 512> why{};
  for (const auto& [name, value] : properties) {
    if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), why.data(), why.size()) == RD_KAFKA_CONF_OK) continue;
    return {ErrorCode::kParameterInvalid, fmt::format("the log's Kafka property {}: {}", name, why.data())};
  }
  return {};
}

KafkaProperties CommonProperties(const KafkaLogSettings& settings) {
  const std::string timeout = std::to_string(settings.request_timeout_ms);
  return {
      {"bootstrap.servers", settings.brokers},
      {"client.id", "saker"},
      {"socket.keepalive.enable", "true"},
      {"socket.nagle.disable", "true"},
      // An answer that doesn't come within this ends the connection, and what was asked is asked again on another.
      {"socket.timeout.ms", timeout},
      {"socket.connection.setup.timeout.ms", std::to_string(std::max(1000, settings.request_timeout_ms))},
      {"api.version.request.timeout.ms", timeout},
      {"reconnect.backoff.ms", "50"},
      {"reconnect.backoff.max.ms", "1000"},
      {"log.connection.close", "false"},
  };
}

// One request of the admin API: `send` puts it, the answer is an event.
template <typename Send>
Result<Event> Ask(const KafkaConnection& connection, std::string_view what, int timeout_ms, const Send& send) {
  rd_kafka_t* handle = connection.handle();
  const AdminOptions options(rd_kafka_AdminOptions_new(handle, RD_KAFKA_ADMIN_OP_ANY), rd_kafka_AdminOptions_destroy);
  std::array<char, 256> ignored{};
  rd_kafka_AdminOptions_set_request_timeout(options.get(), timeout_ms, ignored.data(), ignored.size());
  rd_kafka_AdminOptions_set_operation_timeout(options.get(), timeout_ms, ignored.data(), ignored.size());
  const Queue queue(rd_kafka_queue_new(handle), rd_kafka_queue_destroy);
  send(options.get(), queue.get());
  Event event(rd_kafka_queue_poll(queue.get(), timeout_ms + kAnswerGraceMs), rd_kafka_event_destroy);
  const rd_kafka_resp_err_t error = event == nullptr ? RD_KAFKA_RESP_ERR__TIMED_OUT : rd_kafka_event_error(event.get());
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return event;
  return Status(ErrorCode::kServiceUnavailable, fmt::format("{}: {}", what, connection.Explain(error)));
}

Status TopicResult(const rd_kafka_topic_result_t* const* topics, size_t count, std::string_view what) {
  for (size_t i = 0; i < count; ++i) {
    const rd_kafka_resp_err_t error = rd_kafka_topic_result_error(topics[i]);
    // Another node of the cluster may have been quicker: what there is then is checked as any other topic.
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR || error == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) continue;
    const char* text = rd_kafka_topic_result_error_string(topics[i]);
    return {ErrorCode::kServiceUnavailable,
            fmt::format("{}: {}", what, text != nullptr ? text : rd_kafka_err2str(error))};
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<KafkaConnection>> KafkaConnection::Open(Kind kind, const KafkaLogSettings& settings,
                                                               const KafkaProperties& properties) {
  std::unique_ptr<KafkaConnection> connection(new KafkaConnection);
  std::unique_ptr<rd_kafka_conf_t, decltype(&rd_kafka_conf_destroy)> conf(rd_kafka_conf_new(), rd_kafka_conf_destroy);
  RETURN_IF_ERROR(Set(conf.get(), CommonProperties(settings)));
  RETURN_IF_ERROR(Set(conf.get(), settings.properties));
  RETURN_IF_ERROR(Set(conf.get(), properties));
  rd_kafka_conf_set_opaque(conf.get(), connection.get());
  rd_kafka_conf_set_log_cb(conf.get(), OnLog);
  if (kind == Kind::kProducer) {
    rd_kafka_conf_set_events(conf.get(), RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
  } else {
    rd_kafka_conf_set_error_cb(conf.get(), OnError);
  }
  std::array<char, 512> why{};
  const rd_kafka_type_t type = kind == Kind::kProducer ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER;
  connection->handle_ = rd_kafka_new(type, conf.get(), why.data(), why.size());
  if (connection->handle_ == nullptr) {
    return Status(ErrorCode::kParameterInvalid,
                  fmt::format("the log's connection to Kafka ({}): {}", settings.brokers, why.data()));
  }
  conf.release();  // the handle has it now
  return connection;
}

KafkaConnection::~KafkaConnection() {
  if (handle_ != nullptr) rd_kafka_destroy(handle_);
}

Result<KafkaConnection::TopicState> KafkaConnection::DescribeTopic(const std::string& topic, int timeout_ms) const {
  rd_kafka_topic_t* wanted = rd_kafka_topic_new(handle_, topic.c_str(), nullptr);
  const rd_kafka_metadata_t* found = nullptr;
  const rd_kafka_resp_err_t error = rd_kafka_metadata(handle_, 0, wanted, &found, timeout_ms);
  rd_kafka_topic_destroy(wanted);
  rd_kafka_poll(handle_, 0);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return Status(ErrorCode::kServiceUnavailable, fmt::format("Kafka doesn't answer: {}", Explain(error)));
  }
  TopicState state;
  state.brokers = found->broker_cnt;
  const auto topics = std::span(found->topics, static_cast<size_t>(found->topic_cnt));
  rd_kafka_resp_err_t trouble = RD_KAFKA_RESP_ERR_NO_ERROR;
  for (const rd_kafka_metadata_topic_t& entry : topics) {
    trouble = entry.err;
    state.exists = entry.err == RD_KAFKA_RESP_ERR_NO_ERROR || entry.err == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
    state.partitions = entry.partition_cnt;
    for (const rd_kafka_metadata_partition_t& partition :
         std::span(entry.partitions, static_cast<size_t>(entry.partition_cnt))) {
      state.leaderless |= partition.leader < 0;
      if (state.least_replicas == 0 || partition.replica_cnt < state.least_replicas)
        state.least_replicas = partition.replica_cnt;
    }
  }
  rd_kafka_metadata_destroy(found);
  if (!state.exists && trouble != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART && trouble != RD_KAFKA_RESP_ERR_NO_ERROR) {
    const bool input =
        trouble == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED || trouble == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION;
    return Status(input ? ErrorCode::kParameterInvalid : ErrorCode::kServiceUnavailable,
                  fmt::format("topic {}: {}", topic, Explain(trouble)));
  }
  return state;
}

Result<KafkaProperties> KafkaConnection::DescribeTopicSettings(const std::string& topic, int timeout_ms) const {
  const ConfigResource resource(rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic.c_str()),
                                rd_kafka_ConfigResource_destroy);
  rd_kafka_ConfigResource_t* resources = resource.get();
  ASSIGN_OR_RETURN(const Event event, Ask(*this, fmt::format("asking for the settings of topic {}", topic), timeout_ms,
                                          [&](const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* queue) {
                                            rd_kafka_DescribeConfigs(handle_, &resources, 1, options, queue);
                                          }));
  size_t count = 0;
  const auto* const* found =
      rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event.get()), &count);
  KafkaProperties settings;
  for (size_t i = 0; i < count; ++i) {
    if (const auto error = rd_kafka_ConfigResource_error(found[i]); error != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return Status(ErrorCode::kServiceUnavailable, fmt::format("the settings of topic {}: {}", topic, Explain(error)));
    }
    size_t entries = 0;
    const auto* const* entry = rd_kafka_ConfigResource_configs(found[i], &entries);
    for (size_t j = 0; j < entries; ++j) {
      const char* value = rd_kafka_ConfigEntry_value(entry[j]);
      settings[rd_kafka_ConfigEntry_name(entry[j])] = value != nullptr ? value : "";
    }
  }
  return settings;
}

Status KafkaConnection::CreateTopic(const std::string& topic, int partitions, int replication,
                                    const KafkaProperties& settings, int timeout_ms) const {
  const std::string what = fmt::format("creating topic {}", topic);
  std::array<char, 512> why{};
  const NewTopic wanted(rd_kafka_NewTopic_new(topic.c_str(), partitions, replication, why.data(), why.size()),
                        rd_kafka_NewTopic_destroy);
  if (wanted == nullptr) return {ErrorCode::kParameterInvalid, fmt::format("{}: {}", what, why.data())};
  for (const auto& [name, value] : settings) rd_kafka_NewTopic_set_config(wanted.get(), name.c_str(), value.c_str());
  rd_kafka_NewTopic_t* topics = wanted.get();
  ASSIGN_OR_RETURN(const Event event,
                   Ask(*this, what, timeout_ms, [&](const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* queue) {
                     rd_kafka_CreateTopics(handle_, &topics, 1, options, queue);
                   }));
  size_t count = 0;
  const auto* const* results =
      rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event.get()), &count);
  return TopicResult(results, count, what);
}

Status KafkaConnection::AddPartitions(const std::string& topic, int partitions, int timeout_ms) const {
  const std::string what = fmt::format("raising the partitions of topic {} to {}", topic, partitions);
  std::array<char, 512> why{};
  const NewPartitions wanted(
      rd_kafka_NewPartitions_new(topic.c_str(), static_cast<size_t>(partitions), why.data(), why.size()),
      rd_kafka_NewPartitions_destroy);
  if (wanted == nullptr) return {ErrorCode::kParameterInvalid, fmt::format("{}: {}", what, why.data())};
  rd_kafka_NewPartitions_t* topics = wanted.get();
  ASSIGN_OR_RETURN(const Event event,
                   Ask(*this, what, timeout_ms, [&](const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* queue) {
                     rd_kafka_CreatePartitions(handle_, &topics, 1, options, queue);
                   }));
  size_t count = 0;
  const auto* const* results =
      rd_kafka_CreatePartitions_result_topics(rd_kafka_event_CreatePartitions_result(event.get()), &count);
  return TopicResult(results, count, what);
}

Status KafkaConnection::DeleteRecords(const std::string& topic, int partition, int64_t before, int timeout_ms) const {
  const std::string what = fmt::format("deleting records of topic {} partition {}", topic, partition);
  const PartitionList offsets(rd_kafka_topic_partition_list_new(1), rd_kafka_topic_partition_list_destroy);
  rd_kafka_topic_partition_list_add(offsets.get(), topic.c_str(), partition)->offset = before;
  const DeleteRecordsRequest request(rd_kafka_DeleteRecords_new(offsets.get()), rd_kafka_DeleteRecords_destroy);
  rd_kafka_DeleteRecords_t* requests = request.get();
  ASSIGN_OR_RETURN(const Event event,
                   Ask(*this, what, timeout_ms, [&](const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* queue) {
                     rd_kafka_DeleteRecords(handle_, &requests, 1, options, queue);
                   }));
  const auto* results = rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(event.get()));
  for (const rd_kafka_topic_partition_t& entry : std::span(results->elems, static_cast<size_t>(results->cnt))) {
    if (entry.err == RD_KAFKA_RESP_ERR_NO_ERROR) continue;
    return {ErrorCode::kServiceUnavailable, fmt::format("{}: {}", what, Explain(entry.err))};
  }
  return {};
}

std::string KafkaConnection::Explain(int error) const {
  const std::string text = rd_kafka_err2str(static_cast<rd_kafka_resp_err_t>(error));
  const MutexLock lock(mutex_);
  if (trouble_.empty() || MonotonicUs() - trouble_us_ > kTroubleUs) return text;
  return fmt::format("{} (lately: {})", text, trouble_);
}

void KafkaConnection::NoteTrouble(std::string_view text) {
  const MutexLock lock(mutex_);
  trouble_ = text;
  trouble_us_ = MonotonicUs();
}

}  // namespace saker
