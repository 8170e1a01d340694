// The log over a topic in memory: every order of events that a real Kafka shows rarely.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "wal/kafka_fake.h"
#include "wal/kafka_log.h"
#include "wal/log_contract.h"

namespace saker {
namespace {

using testing::HasSubstr;

constexpr int kChannels = 4;

KafkaLogSettings FakeSettings() {
  KafkaLogSettings settings;
  settings.topic = "fake";
  settings.channels = kChannels;
  settings.piece_bytes = 1024;
  settings.request_timeout_ms = 1000;
  return settings;
}

class FakeFixture final : public LogFixture {
 public:
  FakeFixture() { Reopen(); }
  Log& log() override { return *log_; }
  void Reopen() override { log_ = NewKafkaLog(FakeSettings(), std::make_unique<FakeTopic>(kafka_)); }
  bool atomic_over_channels() const override { return false; }

 private:
  std::shared_ptr<FakeKafka> kafka_ = std::make_shared<FakeKafka>(kChannels);
  std::unique_ptr<Log> log_;
};
INSTANTIATE_TEST_SUITE_P(FakeKafka, LogContract, testing::Values([]() -> std::unique_ptr<LogFixture> {
                           return std::make_unique<FakeFixture>();
                         }));

// A process that uses the log.
struct Writer {
  explicit Writer(const std::shared_ptr<FakeKafka>& kafka) {
    auto made = std::make_unique<FakeTopic>(kafka);
    topic = made.get();
    log = NewKafkaLog(FakeSettings(), std::move(made));
  }
  std::future<Result<std::vector<LogOffset>>> Send(std::vector<LogAppend> records) {
    auto answer = std::make_shared<std::promise<Result<std::vector<LogOffset>>>>();
    log->Append(std::move(records),
                [answer](Result<std::vector<LogOffset>> result) { answer->set_value(std::move(result)); });
    return answer->get_future();
  }
  std::future<Result<std::vector<LogOffset>>> Send(Epoch epoch, const std::string& payload) {
    return Send({{0, epoch, payload}});
  }
  Status Append(Epoch epoch, const std::string& payload) { return AppendAndWait(*log, {{0, epoch, payload}}).status(); }
  Status Fence(Epoch epoch) { return log->Fence(0, epoch, "").status(); }
  PayloadList Data() { return Payloads(ReadAll(*log, 0, *log->Begin(0), 1 << 20)); }

  FakeTopic* topic;
  std::unique_ptr<Log> log;
};

class KafkaLogFakeTest : public testing::Test {
 protected:
  // Waits until so many records of a writer are held.
  static void AwaitWaiting(Writer& writer, size_t count) {
    for (int i = 0; i < 5000 && writer.topic->waiting() < count; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ASSERT_EQ(writer.topic->waiting(), count);
  }
  // What all see: the writers there are, and one that begins now.
  PayloadList AllAgree() {
    Writer fresh(kafka_);
    const PayloadList data = fresh.Data();
    EXPECT_EQ(a_.Data(), data);
    EXPECT_EQ(b_.Data(), data);
    EXPECT_EQ(*a_.log->Begin(0), *fresh.log->Begin(0));
    EXPECT_EQ(*a_.log->FencedEpoch(0), *fresh.log->FencedEpoch(0));
    return data;
  }

  std::shared_ptr<FakeKafka> kafka_ = std::make_shared<FakeKafka>(kChannels);
  Writer a_{kafka_};
  Writer b_{kafka_};
};

TEST_F(KafkaLogFakeTest, ADeposedOwnersRecordIsVoidAndDeposesNobody) {
  ASSERT_TRUE(a_.Fence(1).ok());
  ASSERT_TRUE(a_.Append(1, "a1").ok());
  a_.topic->Hold(true);
  auto late = a_.Send(1, "a2");
  auto later = a_.Send(1, "a3");
  ASSERT_TRUE(b_.Fence(2).ok());
  ASSERT_TRUE(b_.Append(2, "b1").ok());
  a_.topic->Hold(false);
  a_.topic->StepAll();
  EXPECT_EQ(late.get().status().code(), ErrorCode::kSuperseded);
  EXPECT_EQ(later.get().status().code(), ErrorCode::kSuperseded);
  ASSERT_TRUE(b_.Append(2, "b2").ok());
  EXPECT_EQ(a_.Append(1, "a4").code(), ErrorCode::kSuperseded);
  ASSERT_TRUE(b_.Append(2, "b3").ok());
  EXPECT_EQ(AllAgree(), (PayloadList{"a1", "b1", "b2", "b3"}));
}

TEST_F(KafkaLogFakeTest, WhatLiesBeforeTheFenceIsAcknowledgedThoughHeardLater) {
  ASSERT_TRUE(a_.Fence(1).ok());
  a_.topic->Hold(true);
  auto first = a_.Send(1, "a1");
  auto second = a_.Send(1, "a2");
  a_.topic->Step();
  ASSERT_TRUE(b_.Fence(2).ok());
  a_.topic->Step();
  EXPECT_TRUE(first.get().ok());
  EXPECT_EQ(second.get().status().code(), ErrorCode::kSuperseded);
  EXPECT_EQ(AllAgree(), PayloadList{"a1"});
}

TEST_F(KafkaLogFakeTest, OfFencesOfEqualEpochTheFirstWins) {
  a_.topic->Hold(true);
  b_.topic->Hold(true);
  auto a = std::async([&] { return a_.Fence(3); });
  auto b = std::async([&] { return b_.Fence(3); });
  AwaitWaiting(a_, 1);
  AwaitWaiting(b_, 1);
  a_.topic->Step();
  b_.topic->Step();
  EXPECT_TRUE(a.get().ok());
  EXPECT_EQ(b.get().code(), ErrorCode::kSuperseded);
  a_.topic->Hold(false);
  b_.topic->Hold(false);
  EXPECT_EQ(b_.Append(3, "b").code(), ErrorCode::kSuperseded);
  EXPECT_TRUE(a_.Append(3, "a").ok());  // though the other's fence lies between its own records
  EXPECT_EQ(a_.Fence(3).code(), ErrorCode::kSuperseded);
  EXPECT_EQ(AllAgree(), PayloadList{"a"});
  EXPECT_TRUE(b_.Fence(4).ok());
  EXPECT_EQ(a_.Append(3, "a").code(), ErrorCode::kSuperseded);
}

TEST_F(KafkaLogFakeTest, AfterAnUnknownFateOnlyAHigherFenceGoesOn) {
  for (const FakeFate fate : {FakeFate::kStoredUnknown, FakeFate::kLost, FakeFate::kLate}) {
    const Epoch epoch = *a_.log->FencedEpoch(0) + 1;
    ASSERT_TRUE(a_.Fence(epoch).ok());
    ASSERT_TRUE(a_.Append(epoch, "known").ok());
    a_.topic->Hold(true);
    auto unknown = a_.Send(epoch, "unknown");
    auto behind = a_.Send(epoch, "behind");
    a_.topic->Step(fate);
    a_.topic->Step();
    const Status status = unknown.get().status();
    EXPECT_EQ(status.code(), ErrorCode::kIoFailed);
    EXPECT_THAT(status.message(), HasSubstr("fake partition 0"));
    const bool there = fate == FakeFate::kStoredUnknown;
    EXPECT_EQ(behind.get().ok(), there);  // read back: both are in the log
    a_.topic->Hold(false);
    EXPECT_EQ(a_.Append(epoch, "refused").code(), ErrorCode::kIoFailed);
    EXPECT_EQ(a_.Fence(epoch).code(), ErrorCode::kSuperseded);
    ASSERT_TRUE(a_.Fence(epoch + 1).ok());
    a_.topic->StoreLate();
    ASSERT_TRUE(a_.Append(epoch + 1, "on").ok());
    const PayloadList expected = there ? PayloadList{"known", "unknown", "behind", "on"} : PayloadList{"known", "on"};
    EXPECT_EQ(AllAgree(), expected);
    ASSERT_TRUE(a_.log->Truncate(0, *a_.log->End(0), epoch + 1).ok());
  }
}

TEST_F(KafkaLogFakeTest, WhatIsRefusedLeavesNoTraceAndNeedsNoFence) {
  ASSERT_TRUE(a_.Fence(1).ok());
  a_.topic->SetFate(FakeFate::kRefused);
  EXPECT_EQ(a_.Append(1, "refused").code(), ErrorCode::kServiceUnavailable);
  EXPECT_EQ(a_.Append(1, "refused").code(), ErrorCode::kServiceUnavailable);
  a_.topic->SetFate(FakeFate::kStored);
  ASSERT_TRUE(a_.Append(1, "1").ok());

  a_.topic->Hold(true);
  auto refused = a_.Send(1, "refused");
  auto stored = a_.Send(1, "stored behind it");  // void: to count it would be out of order
  a_.topic->Step(FakeFate::kRefused);
  EXPECT_EQ(refused.get().status().code(), ErrorCode::kServiceUnavailable);
  auto at_once = a_.Send(1, "refused at once");
  EXPECT_EQ(a_.topic->waiting(), 1u);
  a_.topic->Step();
  EXPECT_EQ(stored.get().status().code(), ErrorCode::kServiceUnavailable);
  EXPECT_EQ(at_once.get().status().code(), ErrorCode::kServiceUnavailable);
  a_.topic->Hold(false);
  ASSERT_TRUE(a_.Append(1, "2").ok());
  EXPECT_EQ(AllAgree(), (PayloadList{"1", "2"}));
}

TEST_F(KafkaLogFakeTest, WhatKafkaStoresTwiceCountsOnce) {
  ASSERT_TRUE(a_.Fence(1).ok());
  a_.topic->SetFate(FakeFate::kStoredTwice);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(a_.Append(1, std::to_string(i)).ok());
  EXPECT_EQ(AllAgree(), (PayloadList{"0", "1", "2", "3", "4"}));
  EXPECT_TRUE(a_.Fence(2).ok());
  EXPECT_TRUE(a_.Append(2, "5").ok());
}

TEST_F(KafkaLogFakeTest, AnUnknownOffsetIsReadBack) {
  ASSERT_TRUE(a_.Fence(1).ok());
  kafka_->Append(0, "somebody", "else");
  a_.topic->SetFate(FakeFate::kStoredNobodyKnowsWhere);
  const auto offsets = AppendAndWait(*a_.log, {{0, 1, "x"}, {0, 1, "y"}});
  ASSERT_TRUE(offsets.ok()) << offsets.status().ToString();
  EXPECT_EQ(*offsets, (std::vector<LogOffset>{2, 3}));
  kafka_->SetAway(true);  // and if it can't be
  EXPECT_EQ(a_.Append(1, "z").code(), ErrorCode::kIoFailed);
  kafka_->SetAway(false);
  EXPECT_EQ(a_.Append(1, "refused").code(), ErrorCode::kIoFailed);
  EXPECT_TRUE(a_.Fence(2).ok());
  EXPECT_EQ(AllAgree(), (PayloadList{"x", "y", "z"}));
}

TEST_F(KafkaLogFakeTest, AFenceBetweenThePiecesOfARecordVoidsIt) {
  ASSERT_TRUE(a_.Fence(1).ok());
  ASSERT_TRUE(a_.Append(1, "before").ok());
  a_.topic->Hold(true);
  auto long_one = a_.Send(1, std::string(3000, 'x'));
  ASSERT_EQ(a_.topic->waiting(), 3u);
  a_.topic->Step();
  a_.topic->Step();
  EXPECT_EQ(b_.Data(), PayloadList{"before"});  // not before its last piece
  ASSERT_TRUE(b_.Fence(2).ok());
  a_.topic->Step();
  EXPECT_EQ(long_one.get().status().code(), ErrorCode::kSuperseded);
  ASSERT_TRUE(b_.Append(2, std::string(5000, 'y')).ok());
  EXPECT_EQ(AllAgree(), (PayloadList{"before", std::string(5000, 'y')}));
}

TEST_F(KafkaLogFakeTest, ARecordGivenUpHalfWayIsVoid) {
  ASSERT_TRUE(a_.Fence(1).ok());
  a_.topic->Hold(true);
  auto long_one = a_.Send(1, std::string(3000, 'x'));
  a_.topic->Step();
  kafka_->Append(0, "somebody", "else");
  a_.topic->Step(FakeFate::kRefused);
  a_.topic->Step(FakeFate::kRefused);
  EXPECT_EQ(long_one.get().status().code(), ErrorCode::kServiceUnavailable);
  a_.topic->Hold(false);
  ASSERT_TRUE(a_.Append(1, std::string(2500, 'y')).ok());
  ASSERT_TRUE(a_.Append(1, "after").ok());
  EXPECT_EQ(AllAgree(), (PayloadList{std::string(2500, 'y'), "after"}));
}

TEST_F(KafkaLogFakeTest, TruncatingBehindALongRecordsOffset) {
  ASSERT_TRUE(a_.Fence(1).ok());
  const LogOffset offset = AppendAndWait(*a_.log, {{0, 1, std::string(3000, 'x')}})->at(0);
  ASSERT_TRUE(a_.Append(1, "after").ok());
  ASSERT_TRUE(a_.log->Truncate(0, offset + 1, 1).ok());  // as who has applied it says it
  EXPECT_EQ(*a_.log->Begin(0), offset + 1);
  EXPECT_EQ(AllAgree(), PayloadList{"after"});
  ASSERT_TRUE(a_.Append(1, "more").ok());
  EXPECT_EQ(AllAgree(), (PayloadList{"after", "more"}));
}

TEST_F(KafkaLogFakeTest, ADeposedOwnerTruncatesNothing) {
  ASSERT_TRUE(a_.Fence(1).ok());
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(a_.Append(1, std::to_string(i)).ok());
  a_.topic->Hold(true);
  auto truncation = std::async([&] { return a_.log->Truncate(0, 4, 1); });
  AwaitWaiting(a_, 1);
  ASSERT_TRUE(b_.Fence(2).ok());
  a_.topic->Step();
  EXPECT_EQ(truncation.get().code(), ErrorCode::kSuperseded);
  EXPECT_EQ(kafka_->GetBounds(0)->begin, 0);
  EXPECT_EQ(*b_.log->Begin(0), 0);
  a_.topic->Hold(false);
  EXPECT_EQ(a_.log->Truncate(0, 4, 1).code(), ErrorCode::kSuperseded);
  EXPECT_EQ(a_.log->Truncate(0, 4, 2).code(), ErrorCode::kSuperseded);  // the epoch is right, but another's
  // Its void checkpoint misleads nobody, even where it is the first that is left.
  ASSERT_TRUE(b_.log->Truncate(0, 2, 2).ok());
  EXPECT_EQ(AllAgree(), (PayloadList{"1", "2", "3"}));
  EXPECT_EQ(*b_.log->Begin(0), 2);
}

TEST_F(KafkaLogFakeTest, ReplacedBetweenACheckpointAndTheDeletion) {
  a_.topic->BeforeDeletion([this] {
    EXPECT_TRUE(b_.Fence(2).ok());
    EXPECT_EQ(*b_.log->Begin(0), 3);  // known before anything was deleted
  });
  ASSERT_TRUE(a_.Fence(1).ok());
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(a_.Append(1, std::to_string(i)).ok());
  ASSERT_TRUE(a_.log->Truncate(0, 3, 1).ok());
  EXPECT_EQ(AllAgree(), (PayloadList{"2", "3"}));
}

TEST_F(KafkaLogFakeTest, TheCheckpointHoldsThoughKafkaKeepsMore) {
  a_.topic->KeepDeleted();
  ASSERT_TRUE(a_.Fence(1).ok());
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(a_.Append(1, std::to_string(i)).ok());
  ASSERT_TRUE(a_.log->Truncate(0, 3, 1).ok());
  ASSERT_TRUE(a_.log->Truncate(0, 5, 1).ok());
  ASSERT_TRUE(a_.Append(1, "6").ok());
  // A broker that was killed may find its log beginning anywhere up to where it was deleted.
  for (LogOffset begin = 0; begin <= 5; ++begin) {
    kafka_->SetBegin(0, begin);
    EXPECT_EQ(AllAgree(), (PayloadList{"4", "5", "6"})) << begin;
    EXPECT_EQ(*Writer(kafka_).log->Begin(0), 5);
  }
}

TEST_F(KafkaLogFakeTest, AnEndBehindWhatWasKnownIsDataLoss) {
  ASSERT_TRUE(a_.Fence(1).ok());
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(a_.Append(1, std::to_string(i)).ok());
  ASSERT_TRUE(a_.log->Fence(1, 1, "").ok());
  kafka_->Cut(0, 2);
  const Status lost = a_.log->End(0).status();
  EXPECT_EQ(lost.code(), ErrorCode::kCorrupted);
  EXPECT_THAT(lost.message(), HasSubstr("topic fake partition 0 has lost data: it ends at offset 2"));
  EXPECT_THAT(lost.message(), HasSubstr("up to offset 5"));
  EXPECT_EQ(a_.log->Read(0, 0, 100).status().code(), ErrorCode::kCorrupted);
  EXPECT_EQ(a_.Append(1, "x").code(), ErrorCode::kCorrupted);
  EXPECT_EQ(a_.Fence(2).code(), ErrorCode::kCorrupted);
  EXPECT_EQ(a_.log->Truncate(0, 1, 1).code(), ErrorCode::kCorrupted);
  EXPECT_EQ(a_.log->FencedEpoch(0).status().code(), ErrorCode::kCorrupted);
  EXPECT_TRUE(AppendAndWait(*a_.log, {{1, 1, "other channels go on"}}).ok());
}

TEST_F(KafkaLogFakeTest, AnAppendThatLandsBeforeWhatWasKnownIsDataLoss) {
  ASSERT_TRUE(a_.Fence(1).ok());
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(a_.Append(1, std::to_string(i)).ok());
  kafka_->Cut(0, 0);
  EXPECT_EQ(a_.Append(1, "x").code(), ErrorCode::kCorrupted);
  EXPECT_EQ(a_.Append(1, "x").code(), ErrorCode::kCorrupted);
}

TEST_F(KafkaLogFakeTest, ATopicThatGrewAgainIsAnother) {
  ASSERT_TRUE(a_.Fence(1).ok());
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(a_.Append(1, std::to_string(i)).ok());
  ASSERT_EQ(b_.Data().size(), 4u);
  kafka_->Cut(0, 0);
  Writer other(kafka_);
  ASSERT_TRUE(other.Fence(7).ok());
  for (int i = 0; i < 9; ++i) ASSERT_TRUE(other.Append(7, std::to_string(i)).ok());
  const Status lost = b_.log->End(0).status();
  EXPECT_EQ(lost.code(), ErrorCode::kCorrupted);
  EXPECT_THAT(lost.message(), HasSubstr("the record at offset 4 is another one"));
}

TEST_F(KafkaLogFakeTest, DeletionsThatNoCheckpointAllowedAreDataLoss) {
  ASSERT_TRUE(a_.Fence(1).ok());
  for (int i = 0; i < 9; ++i) ASSERT_TRUE(a_.Append(1, std::to_string(i)).ok());
  ASSERT_TRUE(a_.log->Truncate(0, 2, 1).ok());
  ASSERT_EQ(b_.Data().size(), 8u);
  kafka_->SetBegin(0, 5);
  for (Writer* writer : {&a_, &b_}) {
    const Status lost = writer->log->Begin(0).status();
    EXPECT_EQ(lost.code(), ErrorCode::kCorrupted);
    EXPECT_THAT(lost.message(), HasSubstr("retention"));
  }
  EXPECT_EQ(Writer(kafka_).log->Begin(0).status().code(), ErrorCode::kCorrupted);
}

TEST_F(KafkaLogFakeTest, DamageIsNamedAndStrangersAreLeftOut) {
  kafka_->Append(0, "", "a stranger");
  ASSERT_TRUE(a_.Fence(1).ok());
  ASSERT_TRUE(a_.Append(1, "1").ok());
  kafka_->Append(0, "", "");
  ASSERT_TRUE(a_.Append(1, "2").ok());
  EXPECT_EQ(AllAgree(), (PayloadList{"1", "2"}));
  kafka_->Damage(0, 4);
  for (Writer* writer : {&a_, &b_}) {
    const Status damaged = writer->log->Read(0, 4, 1).status();
    EXPECT_EQ(damaged.code(), ErrorCode::kCorrupted);
    EXPECT_THAT(damaged.message(), HasSubstr("topic fake partition 0: the record at offset 4 is damaged"));
  }
  EXPECT_EQ(Writer(kafka_).Fence(2).code(), ErrorCode::kCorrupted);
}

TEST_F(KafkaLogFakeTest, ARequestOfWhichOnlyAPartIsInTheLog) {
  ASSERT_TRUE(a_.Fence(1).ok());
  ASSERT_TRUE(a_.log->Fence(1, 1, "").ok());
  a_.topic->Hold(true);
  auto both = a_.Send({{0, 1, "in"}, {1, 1, "out"}});
  a_.topic->Step();
  a_.topic->Step(FakeFate::kRefused);
  EXPECT_EQ(both.get().status().code(), ErrorCode::kIoFailed);
  both = a_.Send({{0, 1, "out"}, {1, 1, "out"}});
  a_.topic->Step(FakeFate::kRefused);
  a_.topic->Step(FakeFate::kRefused);
  EXPECT_EQ(both.get().status().code(), ErrorCode::kServiceUnavailable);
}

TEST_F(KafkaLogFakeTest, AnswersComeInTheOrderOfTheCalls) {
  ASSERT_TRUE(a_.Fence(1).ok());
  ASSERT_TRUE(a_.log->Fence(1, 1, "").ok());
  a_.topic->Hold(true);
  struct Answers {  // outlives the last callback, which may still be returning when the test ends
    Mutex mutex;
    std::vector<int> order;
    std::promise<void> last;
  };
  const auto answers = std::make_shared<Answers>();
  for (int i = 0; i < 4; ++i) {
    const Epoch epoch = i == 2 ? 0 : 1;  // the third is refused at once
    a_.log->Append({{i % 2, epoch, "x"}}, [answers, i](const Result<std::vector<LogOffset>>& result) {
      EXPECT_EQ(result.ok(), i != 2);
      const MutexLock lock(answers->mutex);
      answers->order.push_back(i);
      if (i == 3) answers->last.set_value();
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  {
    const MutexLock lock(answers->mutex);
    EXPECT_TRUE(answers->order.empty());
  }
  a_.topic->StepAll();
  answers->last.get_future().get();
  const MutexLock lock(answers->mutex);
  EXPECT_EQ(answers->order, (std::vector<int>{0, 1, 2, 3}));
}

TEST_F(KafkaLogFakeTest, AFenceThatIsNotAnsweredInTime) {
  ASSERT_TRUE(a_.Fence(1).ok());
  a_.topic->Hold(true);
  EXPECT_EQ(a_.Fence(2).code(), ErrorCode::kServiceUnavailable);
  auto old = a_.Send(1, "x");
  a_.topic->StepAll();  // it lands all the same
  a_.topic->Hold(false);
  EXPECT_EQ(old.get().status().code(), ErrorCode::kSuperseded);
  EXPECT_EQ(*b_.log->FencedEpoch(0), 2);
  EXPECT_FALSE(a_.Append(2, "x").ok());  // its caller was told that it failed
  EXPECT_EQ(a_.Fence(2).code(), ErrorCode::kSuperseded);
  EXPECT_TRUE(a_.Fence(3).ok());
  EXPECT_TRUE(a_.Append(3, "y").ok());
  EXPECT_EQ(AllAgree(), PayloadList{"y"});
}

TEST_F(KafkaLogFakeTest, AFenceThatWasRefusedMayBeTriedAgain) {
  a_.topic->SetFate(FakeFate::kRefused);
  EXPECT_EQ(a_.Fence(1).code(), ErrorCode::kServiceUnavailable);
  a_.topic->SetFate(FakeFate::kStored);
  EXPECT_TRUE(a_.Fence(1).ok());
  EXPECT_TRUE(a_.Append(1, "x").ok());
}

TEST_F(KafkaLogFakeTest, ClosingAnswersWhatIsOnItsWay) {
  ASSERT_TRUE(a_.Fence(1).ok());
  a_.topic->Hold(true);
  auto first = a_.Send(1, "1");
  auto second = a_.Send(1, "2");
  a_.topic->Step();
  a_.log.reset();
  EXPECT_TRUE(first.get().ok());
  EXPECT_EQ(second.get().status().code(), ErrorCode::kIoFailed);
}

TEST_F(KafkaLogFakeTest, AnOwnerReadsNothingOfItsOwnToKnowIt) {
  ASSERT_TRUE(a_.Fence(1).ok());
  const int64_t reads = kafka_->reads();
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(a_.Append(1, "x").ok());
  EXPECT_EQ(*a_.log->End(0), 51);
  EXPECT_EQ(*a_.log->FencedEpoch(0), 1);
  ASSERT_TRUE(a_.log->Truncate(0, 20, 1).ok());
  EXPECT_EQ(kafka_->reads(), reads);
  EXPECT_GT(a_.log->size_bytes(), 0);
}

TEST_F(KafkaLogFakeTest, SizeFollowsTruncation) {
  ASSERT_TRUE(a_.Fence(1).ok());
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(a_.Append(1, std::string(100'000, 'x')).ok());
  EXPECT_GT(a_.log->size_bytes(), 10'000'000);
  const int64_t whole = a_.log->size_bytes();
  EXPECT_LT(whole, 11'000'000);
  const LogOffset end = *a_.log->End(0);
  ASSERT_TRUE(a_.log->Truncate(0, end / 2, 1).ok());
  EXPECT_NEAR(static_cast<double>(a_.log->size_bytes()), static_cast<double>(whole) / 2, 600'000);
  ASSERT_TRUE(a_.log->Truncate(0, end, 1).ok());
  EXPECT_LT(a_.log->size_bytes(), 600'000);
}

// Three processes fence, append and truncate one channel as they like; Kafka stores, doubles, refuses and loses as it
// likes. Whatever was acknowledged must be there once, in order, before the next fence; all must read the same.
class KafkaLogRandomTest : public testing::TestWithParam<int> {};

TEST_P(KafkaLogRandomTest, AcknowledgedIsKeptOnceAndInOrder) {
  std::mt19937 random(static_cast<unsigned>(GetParam()));
  const auto draw = [&random](int n) { return std::uniform_int_distribution<int>(0, n - 1)(random); };
  const auto kafka = std::make_shared<FakeKafka>(kChannels);
  std::vector<std::unique_ptr<Writer>> writers;
  for (int i = 0; i < 3; ++i) writers.push_back(std::make_unique<Writer>(kafka));
  std::vector<Epoch> epochs(3, 0);
  struct Attempt {
    std::string payload;
    std::future<Result<std::vector<LogOffset>>> answer;
  };
  std::vector<Attempt> attempts;
  LogOffset begin = 0;
  Epoch highest = 0;
  const auto fate = [&] {
    const int die = draw(40);
    if (die == 0) return FakeFate::kStoredTwice;
    if (die == 1) return FakeFate::kStoredNobodyKnowsWhere;
    if (die == 2) return FakeFate::kStoredUnknown;
    if (die == 3) return FakeFate::kLate;
    if (die == 4) return FakeFate::kLost;
    return die < 8 ? FakeFate::kRefused : FakeFate::kStored;
  };
  for (int step = 0; step < 150; ++step) {
    const auto i = static_cast<size_t>(draw(3));
    Writer& writer = *writers[i];
    const int die = draw(20);
    if (die == 0) {
      writer.topic->StepAll();
      writer.topic->Hold(false);
      const Epoch epoch = highest + draw(2);
      if (epoch > 0 && writer.Fence(epoch).ok()) epochs[i] = epoch;
      highest = std::max(highest, epoch);
      writer.topic->Hold(true);
    } else if (die == 1) {
      writer.topic->StepAll();
      writer.topic->Hold(false);
      const auto end = writer.log->End(0);
      if (end.ok() && writer.log->Truncate(0, *end - draw(4), epochs[i]).ok())
        begin = std::max(begin, *writer.log->Begin(0));
      writer.topic->Hold(true);
    } else if (die == 2) {
      writer.topic->StoreLate();
    } else if (die < 12) {
      std::string payload =
          std::to_string(attempts.size()) + ":" + std::string(static_cast<size_t>(draw(6) == 0 ? 2500 : 3), 'x');
      auto answer = writer.Send(epochs[i], payload);
      attempts.push_back({std::move(payload), std::move(answer)});
    } else {
      writer.topic->Step(fate());
    }
  }
  for (const auto& writer : writers) {
    writer->topic->StepAll();
    writer->topic->StoreLate();
  }
  std::map<std::string, LogOffset> found;
  Writer fresh(kafka);
  begin = std::max(begin, *fresh.log->Begin(0));
  Epoch epoch = 0;
  for (const LogRecord& record : ReadAll(*fresh.log, 0, *fresh.log->Begin(0), 1 << 20)) {
    EXPECT_GE(record.epoch, epoch);
    epoch = record.epoch;
    if (record.type == LogRecordType::kFence) continue;
    EXPECT_TRUE(found.emplace(record.payload, record.offset).second) << record.payload << " twice";
  }
  for (Attempt& attempt : attempts) {
    const auto answer = attempt.answer.get();
    const auto it = found.find(attempt.payload);
    if (answer.ok()) {
      if (answer->front() < begin) continue;
      ASSERT_NE(it, found.end()) << attempt.payload << " was acknowledged at " << answer->front() << " and is lost";
      EXPECT_EQ(it->second, answer->front());
    } else if (answer.status().code() != ErrorCode::kIoFailed) {
      EXPECT_EQ(it, found.end()) << attempt.payload << " is there, but: " << answer.status().ToString();
    }
  }
  for (const auto& writer : writers) EXPECT_EQ(writer->Data(), fresh.Data());
  // Wherever Kafka's own beginning is, up to the checkpoint.
  kafka->SetBegin(0, std::max<LogOffset>(kafka->GetBounds(0)->begin, draw(static_cast<int>(begin) + 1)));
  EXPECT_EQ(Writer(kafka).Data(), fresh.Data());
}
INSTANTIATE_TEST_SUITE_P(Seeds, KafkaLogRandomTest, testing::Range(0, 300));

TEST(KafkaLogSettingsTest, AreChecked) {
  const auto refused = [](const KafkaLogSettings& settings) {
    const Status status = OpenKafkaLog(settings).status();
    EXPECT_EQ(status.code(), ErrorCode::kParameterInvalid) << status.ToString();
    return status.message();
  };
  KafkaLogSettings settings = FakeSettings();
  EXPECT_THAT(refused(settings), HasSubstr("brokers"));
  settings.brokers = "127.0.0.1:1";
  settings.properties = {{"acks", "1"}};
  EXPECT_THAT(refused(settings), HasSubstr("acks"));
  settings.properties = {{"no.such.property", "1"}};
  EXPECT_THAT(refused(settings), HasSubstr("no.such.property"));
  settings.properties = {{"security.protocol", "quite secure"}};
  EXPECT_THAT(refused(settings), HasSubstr("security.protocol"));
  settings.properties.clear();
  settings.channels = 0;
  EXPECT_THAT(refused(settings), HasSubstr("channels"));
  settings.channels = 1;
  settings.piece_bytes = 10;
  EXPECT_THAT(refused(settings), HasSubstr("piece_bytes"));
}

TEST(KafkaLogSettingsTest, NobodyThereIsSaidInTime) {
  KafkaLogSettings settings = FakeSettings();
  settings.brokers = "127.0.0.1:1";
  settings.request_timeout_ms = 500;
  const auto begun = std::chrono::steady_clock::now();
  const Status status = OpenKafkaLog(settings).status();
  EXPECT_EQ(status.code(), ErrorCode::kServiceUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("127.0.0.1:1"));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(3));
}

}  // namespace
}  // namespace saker
