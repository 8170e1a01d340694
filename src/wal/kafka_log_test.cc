// The log over a real Kafka (tests/servers/install.sh kafka): the contract, and what only a real broker shows.
#include "wal/kafka_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "base/clock.h"
#include "base/mutex.h"
#include "servers/kafka_server.h"
#include "wal/kafka_connection.h"
#include "wal/log_contract.h"

namespace saker {
namespace {

using testing::HasSubstr;

constexpr int kChannels = 4;
std::unique_ptr<KafkaServer> one_broker;  // started with the first test that needs it, for all of them

class KafkaEnvironment final : public testing::Environment {
 public:
  void TearDown() override { one_broker.reset(); }
};
[[maybe_unused]] const auto* const environment = testing::AddGlobalTestEnvironment(new KafkaEnvironment);

KafkaServer& OneBroker() {
  if (one_broker == nullptr) one_broker = std::make_unique<KafkaServer>();
  return *one_broker;
}

std::string NewTopic() {
  static std::mt19937_64 random{std::random_device{}()};
  return "test-" + std::to_string(random());
}

KafkaLogSettings SettingsFor(const KafkaServer& server, const std::string& topic = NewTopic()) {
  KafkaLogSettings settings;
  settings.brokers = server.brokers();
  settings.topic = topic;
  settings.channels = kChannels;
  return settings;
}

std::unique_ptr<Log> Open(const KafkaLogSettings& settings) {
  auto log = OpenKafkaLog(settings);
  EXPECT_TRUE(log.ok()) << log.status().ToString();
  return log.ok() ? std::move(log).value() : nullptr;
}

Status Append(Log& log, ChannelId channel, Epoch epoch, const std::string& payload) {
  return AppendAndWait(log, {{channel, epoch, payload}}).status();
}

PayloadList Data(Log& log, ChannelId channel) { return Payloads(ReadAll(log, channel, *log.Begin(channel), 1 << 20)); }

KafkaProperties RightSettings() {
  return {{"cleanup.policy", "delete"}, {"retention.ms", "-1"},       {"retention.bytes", "-1"},
          {"flush.messages", "1"},      {"min.insync.replicas", "1"}, {"max.message.bytes", "4194304"}};
}

void CreateTopic(const KafkaLogSettings& settings, int replication, const KafkaProperties& properties) {
  auto connection = KafkaConnection::Open(KafkaConnection::Kind::kProducer, settings, {});
  ASSERT_TRUE(connection.ok()) << connection.status().ToString();
  const Status created = (*connection)->CreateTopic(settings.topic, settings.channels, replication, properties, 10'000);
  ASSERT_TRUE(created.ok()) << created.ToString();
}

void DeleteTopic(const KafkaLogSettings& settings) {
  auto connection = KafkaConnection::Open(KafkaConnection::Kind::kProducer, settings, {});
  ASSERT_TRUE(connection.ok()) << connection.status().ToString();
  rd_kafka_queue_t* queue = rd_kafka_queue_new((*connection)->handle());
  rd_kafka_DeleteTopic_t* topic = rd_kafka_DeleteTopic_new(settings.topic.c_str());
  rd_kafka_DeleteTopics((*connection)->handle(), &topic, 1, nullptr, queue);
  rd_kafka_event_t* event = rd_kafka_queue_poll(queue, 10'000);
  ASSERT_NE(event, nullptr);
  EXPECT_EQ(rd_kafka_event_error(event), RD_KAFKA_RESP_ERR_NO_ERROR);
  rd_kafka_event_destroy(event);
  rd_kafka_DeleteTopic_destroy(topic);
  rd_kafka_queue_destroy(queue);
}

// Tries until it works: how long that took in ms, or -1 after the limit.
int64_t UntilOk(const std::function<Status()>& attempt, int64_t limit_ms = 15'000) {
  const Stopwatch watch;
  while (watch.elapsed_ms() < limit_ms) {
    if (attempt().ok()) return watch.elapsed_ms();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return -1;
}

#define NEEDS_KAFKA() \
  if (!KafkaServer::installed()) GTEST_SKIP() << "no Kafka: `tests/servers/install.sh kafka` puts it there"

class KafkaFixture final : public LogFixture {
 public:
  KafkaFixture() : settings_(SettingsFor(OneBroker())) { log_ = Open(settings_); }
  Log& log() override { return *log_; }
  void Reopen() override {
    log_.reset();
    log_ = Open(settings_);
  }
  bool atomic_over_channels() const override { return false; }

 private:
  const KafkaLogSettings settings_;
  std::unique_ptr<Log> log_;
};
std::vector<LogFactory> Factories() {
  if (!KafkaServer::installed()) return {};
  return {[]() -> std::unique_ptr<LogFixture> { return std::make_unique<KafkaFixture>(); }};
}
INSTANTIATE_TEST_SUITE_P(Kafka, LogContract, testing::ValuesIn(Factories()));

// ---------------------------------------------------------------------------------------------------- one broker

TEST(KafkaLogTest, TwoProcessesFenceEachOther) {
  NEEDS_KAFKA();
  const KafkaLogSettings settings = SettingsFor(OneBroker());
  const auto a = Open(settings);
  const auto b = Open(settings);
  ASSERT_TRUE(a->Fence(0, 1, "a").ok());
  ASSERT_TRUE(Append(*a, 0, 1, "a1").ok());
  ASSERT_TRUE(b->Fence(0, 2, "b").ok());
  // The old owner hasn't heard of the fence: its record goes out, and is void.
  EXPECT_EQ(Append(*a, 0, 1, "stray").code(), ErrorCode::kSuperseded);
  ASSERT_TRUE(Append(*b, 0, 2, "b1").ok());  // with the stray one between, which deposes nobody
  EXPECT_EQ(a->Truncate(0, 1, 1).code(), ErrorCode::kSuperseded);
  EXPECT_EQ(a->Fence(0, 2, "").status().code(), ErrorCode::kSuperseded);
  EXPECT_EQ(Append(*a, 0, 2, "not its own").code(), ErrorCode::kSuperseded);
  ASSERT_TRUE(b->Truncate(0, 1, 2).ok());
  const auto fresh = Open(settings);
  for (Log* log : {a.get(), b.get(), fresh.get()}) {
    EXPECT_EQ(Data(*log, 0), (PayloadList{"a1", "b1"}));
    EXPECT_EQ(*log->FencedEpoch(0), 2);
    EXPECT_EQ(*log->Begin(0), 1);
  }
}

TEST(KafkaLogTest, OfManyFencesOfOneEpochOneWins) {
  NEEDS_KAFKA();
  const KafkaLogSettings settings = SettingsFor(OneBroker());
  std::vector<std::unique_ptr<Log>> logs;
  for (int i = 0; i < 4; ++i) logs.push_back(Open(settings));
  for (Epoch epoch = 1; epoch <= 5; ++epoch) {
    std::vector<std::future<Result<LogOffset>>> fences;
    for (const auto& log : logs) {
      fences.push_back(std::async(std::launch::async, [&log, epoch] { return log->Fence(0, epoch, ""); }));
    }
    int won = 0;
    for (size_t i = 0; i < logs.size(); ++i) {
      const bool mine = fences[i].get().ok();
      won += mine ? 1 : 0;
      EXPECT_EQ(Append(*logs[i], 0, epoch, std::to_string(epoch)).ok(), mine);
    }
    EXPECT_EQ(won, 1);
  }
  EXPECT_EQ(Data(*logs[0], 0), (PayloadList{"1", "2", "3", "4", "5"}));
}

// Whoever is fenced while it writes: what it was told is there is there, before the fence.
TEST(KafkaLogTest, AcknowledgedLiesBeforeTheNextFence) {
  NEEDS_KAFKA();
  const KafkaLogSettings settings = SettingsFor(OneBroker());
  std::vector<std::unique_ptr<Log>> logs;
  for (int i = 0; i < 3; ++i) logs.push_back(Open(settings));
  Mutex mutex;
  std::map<std::string, LogOffset> acknowledged;
  for (Epoch epoch = 1; epoch <= 12; ++epoch) {
    Log& owner = *logs[static_cast<size_t>(epoch) % 3];
    ASSERT_TRUE(owner.Fence(0, epoch, "").ok());
    for (int i = 0; i < 200; ++i) {
      const std::string payload = std::to_string(epoch) + ":" + std::to_string(i);
      owner.Append({{0, epoch, payload}}, [&, payload](const Result<std::vector<LogOffset>>& result) {
        const MutexLock lock(mutex);
        if (result.ok()) acknowledged[payload] = result->front();
      });
    }
  }
  Log& last = *logs[12 % 3];
  ASSERT_TRUE(Append(last, 0, 12, "end").ok());
  logs[1].reset();
  logs[2].reset();
  std::map<std::string, LogOffset> found;
  Epoch epoch = 0;
  for (const LogRecord& record : ReadAll(last, 0, 0, 1 << 20)) {
    EXPECT_GE(record.epoch, epoch);
    epoch = record.epoch;
    if (record.type == LogRecordType::kData) {
      EXPECT_TRUE(found.emplace(record.payload, record.offset).second);
    }
  }
  const MutexLock lock(mutex);
  EXPECT_GT(acknowledged.size(), 200u);
  for (const auto& [payload, offset] : acknowledged) EXPECT_EQ(found[payload], offset) << payload;
}

TEST(KafkaLogTest, LongRecordsGoInPieces) {
  NEEDS_KAFKA();
  KafkaLogSettings settings = SettingsFor(OneBroker());
  settings.piece_bytes = 100'000;
  const auto log = Open(settings);
  ASSERT_NE(log, nullptr);
  ASSERT_TRUE(log->Fence(0, 1, "").ok());
  PayloadList expected;
  for (const size_t size : {99'999u, 100'000u, 100'001u, 200'000u, 1'234'567u}) {
    expected.emplace_back(size, static_cast<char>('a' + expected.size()));
    ASSERT_TRUE(Append(*log, 0, 1, expected.back()).ok());
  }
  EXPECT_TRUE(Data(*log, 0) == expected);
  EXPECT_TRUE(Data(*Open(settings), 0) == expected);
}

TEST(KafkaLogTest, WrongTopicSettingsAreRefused) {
  NEEDS_KAFKA();
  struct Case {
    const char* name;
    const char* value;
    const char* says;
  };
  for (const Case& one : {Case{"cleanup.policy", "compact", "cleanup.policy = compact, it must be delete"},
                          Case{"retention.ms", "604800000", "retention.ms = 604800000, it must be -1"},
                          Case{"retention.bytes", "1000000000", "retention.bytes = 1000000000, it must be -1"},
                          Case{"flush.messages", "1000", "flush.messages = 1000, it must be 1"},
                          Case{"unclean.leader.election.enable", "true", "enable = true, it must be false"},
                          Case{"max.message.bytes", "100000", "max.message.bytes = 100000, it must be at least"}}) {
    const KafkaLogSettings settings = SettingsFor(OneBroker());
    KafkaProperties properties = RightSettings();
    properties[one.name] = one.value;
    CreateTopic(settings, 1, properties);
    Status status;
    ASSERT_GE(UntilOk([&]() -> Status {  // until all of the broker knows the topic
                status = OpenKafkaLog(settings).status();
                return status.code() == ErrorCode::kServiceUnavailable ? status : Status();
              }),
              0);
    EXPECT_EQ(status.code(), ErrorCode::kParameterInvalid);
    EXPECT_THAT(status.message(), HasSubstr(one.says));
    EXPECT_THAT(status.message(), HasSubstr(settings.topic));
  }
}

TEST(KafkaLogTest, ChannelsMayBecomeMoreNotFewer) {
  NEEDS_KAFKA();
  KafkaLogSettings settings = SettingsFor(OneBroker());
  settings.channels = 2;
  auto log = Open(settings);
  ASSERT_TRUE(log->Fence(1, 1, "").ok());
  ASSERT_TRUE(Append(*log, 1, 1, "kept").ok());
  settings.channels = 5;
  log = Open(settings);
  EXPECT_TRUE(log->Fence(4, 1, "").ok());
  EXPECT_EQ(Data(*log, 1), PayloadList{"kept"});
  settings.channels = 3;
  EXPECT_THAT(OpenKafkaLog(settings).status().message(), HasSubstr("partitions = 5, it must be 3"));
}

TEST(KafkaLogTest, LogsInAndSaysWhenItCannot) {
  NEEDS_KAFKA();
  KafkaLogSettings settings = SettingsFor(OneBroker());
  settings.brokers = OneBroker().sasl_brokers();
  settings.request_timeout_ms = 2000;
  settings.properties = {{"security.protocol", "SASL_PLAINTEXT"},
                         {"sasl.mechanism", "PLAIN"},
                         {"sasl.username", "saker"},
                         {"sasl.password", "wrong"}};
  const Stopwatch watch;
  const Status refused = OpenKafkaLog(settings).status();
  EXPECT_EQ(refused.code(), ErrorCode::kServiceUnavailable);
  EXPECT_THAT(refused.message(), HasSubstr("Authentication failed"));
  EXPECT_LT(watch.elapsed_ms(), 4000);
  settings.properties["sasl.password"] = "secret";
  const auto log = Open(settings);
  ASSERT_NE(log, nullptr);
  ASSERT_TRUE(log->Fence(0, 1, "").ok());
  EXPECT_TRUE(Append(*log, 0, 1, "x").ok());
}

TEST(KafkaLogTest, ATopicCreatedAnewIsDataLoss) {
  NEEDS_KAFKA();
  const KafkaLogSettings settings = SettingsFor(OneBroker());
  const auto log = Open(settings);
  ASSERT_NE(log, nullptr);
  for (const ChannelId channel : {0, 1}) {
    ASSERT_TRUE(log->Fence(channel, 1, "").ok());
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(Append(*log, channel, 1, "x").ok());
  }
  DeleteTopic(settings);
  ASSERT_GE(UntilOk([&] { return OpenKafkaLog(settings).status(); }), 0);
  Status lost;
  ASSERT_GE(UntilOk(
                [&]() -> Status {
                  lost = log->End(0).status();
                  return lost.code() == ErrorCode::kCorrupted ? Status()
                                                              : Status(ErrorCode::kServiceUnavailable, "not yet");
                },
                30'000),
            0)
      << lost.ToString();
  EXPECT_THAT(lost.message(), HasSubstr("topic " + settings.topic + " partition 0 has lost data: it ends at offset 0"));
  EXPECT_EQ(log->Fence(0, 2, "").status().code(), ErrorCode::kCorrupted);
  // The other channel finds out by appending.
  ASSERT_GE(UntilOk(
                [&]() -> Status {
                  lost = Append(*log, 1, 1, "y");
                  return lost.code() == ErrorCode::kCorrupted || lost.code() == ErrorCode::kIoFailed ? Status()
                                                                                                     : Status(lost);
                },
                30'000),
            0)
      << lost.ToString();
  EXPECT_EQ(log->Fence(1, 2, "").status().code(), ErrorCode::kCorrupted);
}

TEST(KafkaLogTest, SpeedOnOneBroker) {
  NEEDS_KAFKA();
  const auto log = Open(SettingsFor(OneBroker()));
  ASSERT_NE(log, nullptr);
  for (ChannelId channel = 0; channel < kChannels; ++channel) ASSERT_TRUE(log->Fence(channel, 1, "").ok());
  std::vector<int64_t> us;
  for (int i = 0; i < 200; ++i) {
    const Stopwatch watch;
    ASSERT_TRUE(Append(*log, 0, 1, std::string(1000, 'x')).ok());
    us.push_back(watch.elapsed_us());
  }
  std::sort(us.begin(), us.end());
  constexpr int kRecords = 1600;
  constexpr size_t kBytes = 64 << 10;
  std::atomic<int> answered{0};
  std::promise<void> all;
  const Stopwatch watch;
  for (int i = 0; i < kRecords; ++i) {
    log->Append({{i % kChannels, 1, std::string(kBytes, 'y')}}, [&](const Result<std::vector<LogOffset>>& result) {
      EXPECT_TRUE(result.ok()) << result.status().ToString();
      if (++answered == kRecords) all.set_value();
    });
  }
  all.get_future().get();
  const double seconds = static_cast<double>(watch.elapsed_us()) / 1e6;
  const Stopwatch reading;
  size_t bytes = 0;
  for (const LogRecord& record : ReadAll(*log, 1, 0, 8 << 20)) bytes += record.payload.size();
  const double read_seconds = static_cast<double>(reading.elapsed_us()) / 1e6;
  EXPECT_EQ(bytes, kRecords / kChannels * kBytes);
  std::printf("append of 1 kB: p50 %.1f ms, p99 %.1f ms; %.0f MB/s appending, %.0f MB/s reading\n",
              static_cast<double>(us[100]) / 1000, static_cast<double>(us[198]) / 1000,
              kRecords * kBytes / seconds / 1e6, static_cast<double>(bytes) / read_seconds / 1e6);
}

TEST(KafkaLogTest, APausedBrokerDelaysOrFailsInTime) {
  NEEDS_KAFKA();
  KafkaLogSettings settings = SettingsFor(OneBroker());
  settings.delivery_timeout_ms = 3000;
  settings.request_timeout_ms = 1500;
  const auto log = Open(settings);
  ASSERT_NE(log, nullptr);
  ASSERT_TRUE(log->Fence(0, 1, "").ok());
  ASSERT_TRUE(Append(*log, 0, 1, "before").ok());
  OneBroker().Pause();
  Stopwatch watch;
  const ErrorCode code = Append(*log, 0, 1, "during").code();
  EXPECT_TRUE(code == ErrorCode::kIoFailed || code == ErrorCode::kServiceUnavailable) << static_cast<int>(code);
  EXPECT_GE(watch.elapsed_ms(), 2500);
  EXPECT_LT(watch.elapsed_ms(), 6000);
  watch = Stopwatch();
  EXPECT_EQ(log->Fence(0, 2, "").status().code(), ErrorCode::kServiceUnavailable);
  EXPECT_EQ(log->Read(1, 0, 100).status().code(), ErrorCode::kServiceUnavailable);
  EXPECT_LT(watch.elapsed_ms(), 6000);
  OneBroker().Resume();
  Epoch epoch = 3;
  const int64_t ms = UntilOk([&] { return log->Fence(0, epoch++, "").status(); });
  EXPECT_GE(ms, 0);
  EXPECT_TRUE(Append(*log, 0, epoch - 1, "after").ok());
  const PayloadList data = Data(*log, 0);
  EXPECT_EQ(data.front(), "before");
  EXPECT_EQ(data.back(), "after");
  EXPECT_EQ(std::count(data.begin(), data.end(), "during") > 1, false);
  std::printf("a paused broker that goes on: writing again after %d ms\n", static_cast<int>(ms));
}

// Several times: kill -9 under load, start, fence, check, go on.
TEST(KafkaLogTest, KilledUnderLoadItKeepsWhatWasAcknowledged) {
  NEEDS_KAFKA();
  KafkaLogSettings settings = SettingsFor(OneBroker());
  settings.delivery_timeout_ms = 2000;
  const auto log = Open(settings);
  ASSERT_NE(log, nullptr);
  Mutex mutex;
  std::vector<std::string> acknowledged;
  Epoch epoch = 1;
  for (int round = 0; round < 2; ++round, ++epoch) {
    ASSERT_GE(UntilOk([&] { return log->Fence(0, ++epoch, "").status(); }), 0);
    std::atomic<bool> stop{false};
    std::atomic<int> open{0};
    std::thread load([&] {
      for (int i = 0; !stop; ++i) {
        std::string payload = std::to_string(round) + ":" + std::to_string(i) + std::string(500, '.');
        ++open;
        log->Append({{0, epoch, payload}}, [&, payload](const Result<std::vector<LogOffset>>& result) {
          if (result.ok()) {
            const MutexLock lock(mutex);
            acknowledged.push_back(payload);
          }
          --open;
        });
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(700));
    OneBroker().Kill();
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    stop = true;
    load.join();
    OneBroker().Start();
    const Stopwatch watch;
    while (open > 0 && watch.elapsed_ms() < 10'000) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    ASSERT_EQ(open, 0);
  }
  ASSERT_GE(UntilOk([&] { return log->Fence(0, ++epoch, "").status(); }), 0);
  const auto fresh = Open(settings);
  for (Log* reader : {log.get(), fresh.get()}) {
    const PayloadList data = Data(*reader, 0);
    ASSERT_GT(acknowledged.size(), 500u);
    size_t at = 0;  // the acknowledged ones in their order, each once, maybe with others between
    for (const std::string& payload : data) at += at < acknowledged.size() && acknowledged[at] == payload ? 1 : 0;
    EXPECT_EQ(at, acknowledged.size());
    const std::set<std::string> distinct(data.begin(), data.end());
    EXPECT_EQ(distinct.size(), data.size());
  }
}

TEST(KafkaLogTest, ABrokerAwayForLongerRefusesAndComesBack) {
  NEEDS_KAFKA();
  KafkaLogSettings settings = SettingsFor(OneBroker());
  settings.delivery_timeout_ms = 1000;
  settings.request_timeout_ms = 1000;
  const auto log = Open(settings);
  ASSERT_NE(log, nullptr);
  ASSERT_TRUE(log->Fence(0, 1, "").ok());
  ASSERT_TRUE(Append(*log, 0, 1, "1").ok());
  OneBroker().Kill();
  const Stopwatch away;
  while (away.elapsed_ms() < 4000) {
    // Nothing of it was sent: it need not be fenced again.
    const Status status = Append(*log, 0, 1, "refused");
    EXPECT_EQ(status.code(), ErrorCode::kServiceUnavailable) << status.ToString();
    EXPECT_THAT(status.message(), HasSubstr("127.0.0.1"));
    const Stopwatch watch;
    EXPECT_EQ(log->End(0).status().code(), ErrorCode::kServiceUnavailable);
    EXPECT_LT(watch.elapsed_ms(), 2500);
  }
  OneBroker().Start();
  const int64_t ms = UntilOk([&] { return Append(*log, 0, 1, "2"); });
  EXPECT_GE(ms, 0);
  EXPECT_LT(ms, 5000);
  EXPECT_EQ(Data(*log, 0), (PayloadList{"1", "2"}));
  std::printf("a broker that is back: writing again after %d ms\n", static_cast<int>(ms));
}

// -------------------------------------------------------------------------------------------------- three brokers

TEST(KafkaLogTest, ThreeBrokers) {
  NEEDS_KAFKA();
  one_broker.reset();  // memory
  KafkaServer server(3);
  {
    KafkaLogSettings wrong = SettingsFor(server);
    const auto message = [&wrong] {
      Status status;
      EXPECT_GE(UntilOk([&]() -> Status {  // until all brokers know the topic
                  status = OpenKafkaLog(wrong).status();
                  return status.code() == ErrorCode::kServiceUnavailable ? status : Status();
                }),
                0);
      return status.message();
    };
    CreateTopic(wrong, 1, RightSettings());
    EXPECT_THAT(message(), HasSubstr("a replication factor = 1, it must be 3"));
    wrong.topic = NewTopic();
    CreateTopic(wrong, 3, RightSettings());
    EXPECT_THAT(message(), HasSubstr("min.insync.replicas = 1, it must be 2"));
  }
  KafkaLogSettings settings = SettingsFor(server);
  settings.delivery_timeout_ms = 3000;
  settings.request_timeout_ms = 2000;
  const auto log = Open(settings);
  ASSERT_NE(log, nullptr);
  for (ChannelId channel = 0; channel < kChannels; ++channel) {
    ASSERT_TRUE(log->Fence(channel, 1, "").ok());
    ASSERT_TRUE(Append(*log, channel, 1, "three").ok());
  }
  // Of this one all three must have a record.
  KafkaLogSettings strict_settings = SettingsFor(server);
  strict_settings.delivery_timeout_ms = 3000;
  KafkaProperties strict_properties = RightSettings();
  strict_properties["min.insync.replicas"] = "3";
  CreateTopic(strict_settings, 3, strict_properties);
  std::unique_ptr<Log> strict;
  ASSERT_GE(UntilOk([&]() -> Status {
              auto opened = OpenKafkaLog(strict_settings);
              if (opened.ok()) strict = std::move(*opened);
              return opened.status();
            }),
            0);
  ASSERT_TRUE(strict->Fence(0, 1, "").ok());
  ASSERT_TRUE(Append(*strict, 0, 1, "1").ok());
  // One away: channels it led get another leader, at the latest after a new fence.
  server.Kill(2);
  std::vector<Epoch> epochs(kChannels, 1);
  const auto write = [&](ChannelId channel, const std::string& payload) {
    Epoch& epoch = epochs[static_cast<size_t>(channel)];
    const Status status = Append(*log, channel, epoch, payload);
    // A fence that isn't heard of may stand: each try has an epoch of its own.
    if (!status.ok() && status.code() != ErrorCode::kServiceUnavailable)
      (void)log->Fence(channel, ++epoch, "").status();
    return status;
  };
  const Stopwatch watch;
  for (ChannelId channel = 0; channel < kChannels; ++channel) {
    EXPECT_GE(UntilOk([&] { return write(channel, "two"); }, 20'000), 0);
  }
  std::printf("one of three brokers killed: all channels written after %d ms\n", static_cast<int>(watch.elapsed_ms()));
  // Too few replicas in sync: refused before anything is written, so it goes on without a fence.
  std::this_thread::sleep_for(std::chrono::seconds(2));
  const Status too_few = Append(*strict, 0, 1, "refused");
  EXPECT_EQ(too_few.code(), ErrorCode::kServiceUnavailable) << too_few.ToString();
  EXPECT_TRUE(too_few.retriable());
  server.Start(2);
  EXPECT_GE(UntilOk([&] { return Append(*strict, 0, 1, "2"); }, 30'000), 0);
  EXPECT_EQ(Data(*strict, 0), (PayloadList{"1", "2"}));
  server.Kill(2);
  // Two away: too few replicas, so no write is acknowledged. With two of three controllers gone none is elected either.
  server.Kill(1);
  for (ChannelId channel = 0; channel < 2; ++channel) EXPECT_FALSE(write(channel, "one").ok());
  server.Start(1);
  for (ChannelId channel = 0; channel < 2; ++channel) {
    EXPECT_GE(UntilOk([&] { return write(channel, "two again"); }, 30'000), 0);
    const PayloadList data = Data(*log, channel);
    ASSERT_GE(data.size(), 3u);
    EXPECT_EQ(data[0], "three");
    EXPECT_EQ(data[1], "two");
    EXPECT_EQ(data.back(), "two again");
  }
}

}  // namespace
}  // namespace saker
