// What every log must do, as tests over a factory:
//   INSTANTIATE_TEST_SUITE_P(Files, LogContract, testing::Values([] { return …; }));
// The channels of the log must be empty.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "wal/log.h"

namespace saker {

// A log of four channels to test, and a way to open it anew, which must find what was acknowledged.
class LogFixture {
 public:
  virtual ~LogFixture() = default;
  virtual Log& log() = 0;
  virtual void Reopen() = 0;
  virtual bool atomic_over_channels() const = 0;  // a request counts as a whole, whatever its channels
};
using LogFactory = std::function<std::unique_ptr<LogFixture>()>;

// Appends and waits.
inline Result<std::vector<LogOffset>> AppendAndWait(Log& log, std::vector<LogAppend> records) {
  std::promise<Result<std::vector<LogOffset>>> answer;
  log.Append(std::move(records), [&answer](Result<std::vector<LogOffset>> result) { answer.set_value(std::move(result)); });
  return answer.get_future().get();
}

// All records of a channel from `from` on, read in pieces.
inline std::vector<LogRecord> ReadAll(Log& log, ChannelId channel, LogOffset from, int64_t max_bytes = 1000) {
  std::vector<LogRecord> all;
  while (true) {
    auto piece = log.Read(channel, from, max_bytes);
    EXPECT_TRUE(piece.ok()) << piece.status().ToString();
    if (!piece.ok() || piece->empty()) return all;
    from = piece->back().offset + 1;
    for (LogRecord& record : *piece) all.push_back(std::move(record));
  }
}

inline std::vector<std::string> Payloads(const std::vector<LogRecord>& records) {
  std::vector<std::string> out;
  for (const LogRecord& record : records) {
    if (record.type == LogRecordType::kData) out.push_back(record.payload);
  }
  return out;
}

class LogContract : public testing::TestWithParam<LogFactory> {
 protected:
  LogContract() : fixture_(GetParam()()) {}
  Log& log() { return fixture_->log(); }
  void Reopen() { fixture_->Reopen(); }
  bool atomic_over_channels() const { return fixture_->atomic_over_channels(); }

  LogOffset Fence(ChannelId channel, Epoch epoch, const std::string& payload = "") {
    const auto offset = log().Fence(channel, epoch, payload);
    EXPECT_TRUE(offset.ok()) << offset.status().ToString();
    return offset.ok() ? *offset : -1;
  }
  LogOffset Append(ChannelId channel, Epoch epoch, const std::string& payload) {
    const auto offsets = AppendAndWait(log(), {{channel, epoch, payload}});
    EXPECT_TRUE(offsets.ok()) << offsets.status().ToString();
    return offsets.ok() ? offsets->at(0) : -1;
  }
  ErrorCode AppendCode(ChannelId channel, Epoch epoch) {
    return AppendAndWait(log(), {{channel, epoch, "refused"}}).status().code();
  }

 private:
  std::unique_ptr<LogFixture> fixture_;
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(LogContract);

using PayloadList = std::vector<std::string>;

TEST_P(LogContract, BeginsEmpty) {
  ASSERT_EQ(log().channel_count(), 4);
  for (ChannelId channel = 0; channel < 4; ++channel) {
    EXPECT_EQ(*log().Begin(channel), *log().End(channel));
    EXPECT_EQ(*log().FencedEpoch(channel), 0);
    EXPECT_TRUE(log().Read(channel, *log().Begin(channel), 100)->empty());
  }
}

TEST_P(LogContract, AppendsAreReadBackInOrder) {
  const LogOffset fence = Fence(1, 7, "ceiling");
  EXPECT_EQ(Append(1, 7, "a"), fence + 1);
  EXPECT_EQ(Append(1, 7, ""), fence + 2);
  EXPECT_EQ(Append(1, 7, std::string("\0\xff", 2)), fence + 3);
  EXPECT_EQ(*log().End(1), fence + 4);
  for (const bool again : {false, true}) {
    if (again) Reopen();
    const auto records = log().Read(1, fence, 1 << 20);
    ASSERT_TRUE(records.ok()) << records.status().ToString();
    ASSERT_EQ(records->size(), 4u);
    EXPECT_EQ(records->at(0).type, LogRecordType::kFence);
    EXPECT_EQ(records->at(0).payload, "ceiling");
    EXPECT_EQ(records->at(1).type, LogRecordType::kData);
    EXPECT_EQ(records->at(3).payload, std::string("\0\xff", 2));
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(records->at(i).offset, fence + static_cast<LogOffset>(i));
      EXPECT_EQ(records->at(i).channel, 1);
      EXPECT_EQ(records->at(i).epoch, 7);
    }
    EXPECT_EQ(*log().FencedEpoch(1), 7);
    EXPECT_EQ(*log().End(1), fence + 4);
    EXPECT_EQ(*log().End(0), *log().Begin(0));
  }
}

TEST_P(LogContract, ReadIsBoundedButAlwaysMovesOn) {
  Fence(0, 1);
  for (int i = 0; i < 20; ++i) Append(0, 1, std::string(1000, static_cast<char>('a' + i)));
  const LogOffset from = *log().Begin(0) + 1;
  EXPECT_EQ(log().Read(0, from, 1)->size(), 1u);
  EXPECT_EQ(log().Read(0, from, 0)->size(), 1u);
  EXPECT_LT(log().Read(0, from, 5000)->size(), 8u);
  EXPECT_EQ(log().Read(0, from, 1 << 20)->size(), 20u);
  EXPECT_EQ(ReadAll(log(), 0, from, 2500).size(), 20u);
  EXPECT_EQ(log().Read(0, from + 19, 1 << 20)->at(0).payload, std::string(1000, 't'));
}

TEST_P(LogContract, ReadOutsideIsRefused) {
  Fence(0, 1);
  const LogOffset last = Append(0, 1, "x");
  EXPECT_TRUE(log().Read(0, last + 1, 100)->empty());
  EXPECT_FALSE(log().Read(0, last + 2, 100).ok());
}

TEST_P(LogContract, ChannelsThatDoNotExist) {
  for (const ChannelId channel : {-1, 4, 1000}) {
    EXPECT_EQ(log().Begin(channel).status().code(), ErrorCode::kChannelNotFound);
    EXPECT_EQ(log().End(channel).status().code(), ErrorCode::kChannelNotFound);
    EXPECT_EQ(log().Read(channel, 0, 1).status().code(), ErrorCode::kChannelNotFound);
    EXPECT_EQ(log().Fence(channel, 1, "").status().code(), ErrorCode::kChannelNotFound);
    EXPECT_EQ(log().FencedEpoch(channel).status().code(), ErrorCode::kChannelNotFound);
    EXPECT_EQ(log().Truncate(channel, 0, 0).code(), ErrorCode::kChannelNotFound);
    EXPECT_EQ(AppendCode(channel, 0), ErrorCode::kChannelNotFound);
  }
}

TEST_P(LogContract, AHigherFenceSupersedes) {
  Fence(2, 5);
  Append(2, 5, "old");
  Fence(2, 9, "new owner");
  EXPECT_EQ(AppendCode(2, 5), ErrorCode::kSuperseded);
  Append(2, 9, "new");
  EXPECT_EQ(log().Fence(2, 9, "").status().code(), ErrorCode::kSuperseded);
  EXPECT_EQ(log().Fence(2, 8, "").status().code(), ErrorCode::kSuperseded);
  EXPECT_EQ(*log().FencedEpoch(2), 9);
  EXPECT_EQ(*log().FencedEpoch(1), 0);  // a fence concerns its channel alone
  Fence(1, 3);
  EXPECT_EQ(Payloads(ReadAll(log(), 2, *log().Begin(2))), (PayloadList{"old", "new"}));
  Reopen();
  EXPECT_EQ(AppendCode(2, 5), ErrorCode::kSuperseded);
  EXPECT_EQ(log().Fence(2, 9, "").status().code(), ErrorCode::kSuperseded);
  Fence(2, 10);  // a log that was opened anew need not let anybody go on without
  Append(2, 10, "newer");
  EXPECT_EQ(AppendCode(2, 9), ErrorCode::kSuperseded);
  EXPECT_EQ(Payloads(ReadAll(log(), 2, *log().Begin(2))), (PayloadList{"old", "new", "newer"}));
}

TEST_P(LogContract, ARequestOfSeveralRecords) {
  const LogOffset a = Fence(0, 1) + 1;
  const LogOffset b = Fence(3, 2) + 1;
  const auto offsets = AppendAndWait(log(), {{0, 1, "a0"}, {3, 2, "b0"}, {0, 1, "a1"}, {0, 1, "a2"}, {3, 2, "b1"}});
  ASSERT_TRUE(offsets.ok()) << offsets.status().ToString();
  EXPECT_EQ(*offsets, (std::vector<LogOffset>{a, b, a + 1, a + 2, b + 1}));
  Reopen();
  EXPECT_EQ(Payloads(ReadAll(log(), 0, a, 1)), (PayloadList{"a0", "a1", "a2"}));
  EXPECT_EQ(Payloads(ReadAll(log(), 0, a + 1, 1)), (PayloadList{"a1", "a2"}));
  EXPECT_EQ(Payloads(ReadAll(log(), 3, b)), (PayloadList{"b0", "b1"}));
  EXPECT_TRUE(AppendAndWait(log(), {})->empty());
}

TEST_P(LogContract, ARefusedRequestLeavesNoTrace) {
  if (!atomic_over_channels()) GTEST_SKIP() << "each record of a request counts on its own in this log";
  Fence(0, 1);
  Fence(1, 5);
  const LogOffset end = *log().End(0);
  EXPECT_EQ(AppendAndWait(log(), {{0, 1, "x"}, {1, 4, "y"}}).status().code(), ErrorCode::kSuperseded);
  EXPECT_EQ(*log().End(0), end);
  EXPECT_EQ(Append(0, 1, "z"), end);
  EXPECT_EQ(Payloads(ReadAll(log(), 0, 0)), PayloadList{"z"});
}

TEST_P(LogContract, CallsMadeOneAfterAnotherLandInThatOrder) {
  Fence(0, 1);
  constexpr int kAppends = 500;
  std::vector<LogOffset> answered;  // written by the log's one thread until the last answer
  std::promise<void> last;
  for (int i = 0; i < kAppends; ++i) {
    log().Append({{0, 1, std::to_string(i)}}, [&, i](Result<std::vector<LogOffset>> result) {
      answered.push_back(result.ok() ? result->at(0) : -1);
      if (i == kAppends - 1) last.set_value();
    });
  }
  last.get_future().get();
  const LogOffset first = answered.front();
  const auto payloads = Payloads(ReadAll(log(), 0, first, 1 << 20));
  ASSERT_EQ(payloads.size(), static_cast<size_t>(kAppends));
  ASSERT_EQ(answered.size(), static_cast<size_t>(kAppends));
  for (int i = 0; i < kAppends; ++i) {
    EXPECT_EQ(answered[static_cast<size_t>(i)], first + i);
    EXPECT_EQ(payloads[static_cast<size_t>(i)], std::to_string(i));
  }
}

TEST_P(LogContract, WhatIsAnsweredCanBeRead) {
  Fence(0, 1);
  std::atomic<bool> stop{false};
  std::atomic<LogOffset> acknowledged{*log().End(0)};
  std::thread reader([&] {
    while (!stop) {
      const LogOffset known = acknowledged;
      EXPECT_GE(*log().End(0), known);
      if (known > 1) {
        const auto read = log().Read(0, known - 1, 1);
        ASSERT_TRUE(read.ok()) << read.status().ToString();
        EXPECT_EQ(read->at(0).payload, std::to_string(known - 1));
      }
    }
  });
  for (int i = 0; i < 100; ++i) acknowledged = Append(0, 1, std::to_string(*log().End(0))) + 1;
  stop = true;
  reader.join();
}

TEST_P(LogContract, TruncationForgetsTheStartForGood) {
  Fence(0, 4);
  for (int i = 0; i < 10; ++i) Append(0, 4, std::to_string(i));
  const LogOffset begin = *log().Begin(0);
  const LogOffset end = *log().End(0);
  EXPECT_EQ(log().Truncate(0, begin + 3, 3).code(), ErrorCode::kSuperseded);
  EXPECT_EQ(log().Truncate(0, begin + 3, 5).code(), ErrorCode::kSuperseded);
  EXPECT_EQ(log().Truncate(0, end + 1, 4).code(), ErrorCode::kParameterInvalid);
  EXPECT_EQ(*log().Begin(0), begin);
  ASSERT_TRUE(log().Truncate(0, begin + 6, 4).ok());
  ASSERT_TRUE(log().Truncate(0, begin + 2, 4).ok());  // never back
  for (const bool again : {false, true}) {
    if (again) Reopen();
    EXPECT_EQ(*log().Begin(0), begin + 6);
    EXPECT_GE(*log().End(0), end);  // a log may note truncations in itself
    EXPECT_EQ(log().Read(0, begin + 5, 100).status().code(), ErrorCode::kCompacted);
    EXPECT_EQ(Payloads(ReadAll(log(), 0, begin + 6)), (PayloadList{"5", "6", "7", "8", "9"}));
    EXPECT_EQ(*log().FencedEpoch(0), 4);  // though the fence record is gone
    EXPECT_EQ(AppendCode(0, 3), ErrorCode::kSuperseded);
  }
}

TEST_P(LogContract, OffsetsNeverGoBackWhenAllIsTruncated) {
  Fence(0, 2);
  for (int i = 0; i < 5; ++i) Append(0, 2, "x");
  const LogOffset end = *log().End(0);
  ASSERT_TRUE(log().Truncate(0, end, 2).ok());
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(*log().Begin(0), end);
    EXPECT_GE(*log().End(0), end);
    EXPECT_TRUE(log().Read(0, end, 100)->empty());
    EXPECT_EQ(*log().FencedEpoch(0), 2);
    Reopen();
  }
  EXPECT_EQ(AppendCode(0, 1), ErrorCode::kSuperseded);
  EXPECT_EQ(log().Fence(0, 2, "").status().code(), ErrorCode::kSuperseded);
  const LogOffset fence = Fence(0, 3);
  EXPECT_GE(fence, end);
  EXPECT_EQ(AppendCode(0, 2), ErrorCode::kSuperseded);
  EXPECT_EQ(Append(0, 3, "next"), fence + 1);
}

TEST_P(LogContract, TruncationsAndFencesInTurn) {
  LogOffset kept = 0;
  for (Epoch epoch = 1; epoch <= 5; ++epoch) {
    Fence(0, epoch, "fence " + std::to_string(epoch));
    std::vector<LogOffset> offsets;
    for (int i = 0; i < 6; ++i) offsets.push_back(Append(0, epoch, std::to_string(epoch) + std::to_string(i)));
    ASSERT_TRUE(log().Truncate(0, offsets[2], epoch).ok());
    ASSERT_TRUE(log().Truncate(0, offsets[4], epoch).ok());
    Append(0, epoch, std::to_string(epoch) + "6");
    kept = offsets[4];
    const std::string e = std::to_string(epoch);
    const PayloadList expected{e + "4", e + "5", e + "6"};
    EXPECT_EQ(*log().Begin(0), kept);
    EXPECT_EQ(Payloads(ReadAll(log(), 0, kept)), expected);
    if (epoch % 2 == 0) Reopen();
    EXPECT_EQ(*log().Begin(0), kept);
    EXPECT_EQ(*log().FencedEpoch(0), epoch);
    EXPECT_EQ(Payloads(ReadAll(log(), 0, kept)), expected);
    EXPECT_EQ(log().Read(0, kept - 1, 100).status().code(), ErrorCode::kCompacted);
  }
}

TEST_P(LogContract, ManyWritersOnManyChannels) {
  constexpr int kThreads = 4;
  constexpr int kAppends = 60;
  for (ChannelId channel = 0; channel < 4; ++channel) Fence(channel, 1);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < kAppends; ++i) {
        const auto channel = static_cast<ChannelId>((t + i) % 4);
        const std::string payload = std::to_string(t) + ":" + std::to_string(i) + std::string(static_cast<size_t>(i * 7), '.');
        const auto offsets = AppendAndWait(log(), {{channel, 1, payload}});
        ASSERT_TRUE(offsets.ok());
        const auto read = log().Read(channel, offsets->at(0), 1);
        ASSERT_TRUE(read.ok() && read->size() == 1);
        EXPECT_EQ(read->at(0).payload, payload);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Reopen();
  size_t total = 0;
  for (ChannelId channel = 0; channel < 4; ++channel) {
    const auto records = ReadAll(log(), channel, *log().Begin(channel));
    total += Payloads(records).size();
    for (size_t i = 0; i < records.size(); ++i) {
      EXPECT_EQ(records[i].offset, *log().Begin(channel) + static_cast<LogOffset>(i));
    }
  }
  EXPECT_EQ(total, static_cast<size_t>(kThreads * kAppends));
}

TEST_P(LogContract, LargeRecords) {
  Fence(0, 1);
  std::string large(9'000'000, '\0');
  for (size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 31 >> 7);
  const LogOffset offset = Append(0, 1, large);
  Append(0, 1, "after");
  Reopen();
  const auto read = log().Read(0, offset, 1);
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_TRUE(read->at(0).payload == large);
  EXPECT_EQ(log().Read(0, offset + 1, 1)->at(0).payload, "after");
}

}  // namespace saker
