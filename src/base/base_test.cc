#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/bitmap.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/clock_steps.h"
#include "base/metrics.h"
#include "base/status.h"
#include "base/thread_pool.h"

namespace saker {
namespace {

Result<int> Half(int n) {
  if (n % 2 != 0) return Status(ErrorCode::kParameterInvalid, "odd");
  return n / 2;
}
Result<int> Quarter(int n) {
  ASSIGN_OR_RETURN(const int half, Half(n));
  return Half(half);
}

TEST(Status, CarriesCodeAndMessage) {
  EXPECT_TRUE(Status().ok());
  const Status s(ErrorCode::kCollectionNotFound, "x");
  EXPECT_EQ(s.WithContext("a").message(), "a: x");
  EXPECT_EQ(s.ToString(), "COLLECTION_NOT_FOUND(100): x");
  EXPECT_FALSE(s.retriable());
  EXPECT_TRUE(Status(ErrorCode::kIoFailed, "").retriable());
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(6).status().code(), ErrorCode::kParameterInvalid);
}

TEST(Bytes, ReaderNeverRunsOver) {
  std::string out;
  ByteWriter w(out);
  w.Put<uint32_t>(7);
  w.PutBytes("abc");
  const std::vector<int64_t> values{1, 2, 3};
  w.PutArray(std::span<const int64_t>(values));
  ByteReader r(out);
  EXPECT_EQ(r.Get<uint32_t>(), 7u);
  EXPECT_EQ(r.GetBytes(), "abc");
  EXPECT_EQ(r.GetArray<int64_t>(), values);
  EXPECT_TRUE(r.ok() && r.done());
  for (size_t cut = 0; cut < out.size(); ++cut) {
    ByteReader c(std::string_view(out).substr(0, cut));
    c.Get<uint32_t>();
    c.GetBytes();
    c.GetArray<int64_t>();
    EXPECT_FALSE(c.ok());
  }
}

TEST(Bytes, Crc32cMatchesTheStandardsVector) {
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc32c("6789", Crc32c("12345")), 0xe3069283u);
}

TEST(Bitmap, RangesAndWords) {
  Bitmap b(130);
  b.SetRange(3, 129);
  EXPECT_EQ(b.Count(), 126);
  b.Flip();
  EXPECT_EQ(b.Count(), 4);
  std::vector<int64_t> rows;
  b.ForEach([&](int64_t row) { rows.push_back(row); });
  EXPECT_EQ(rows, (std::vector<int64_t>{0, 1, 2, 129}));
  EXPECT_TRUE(Bitmap(70, true).All());
}

TEST(ClockSteps, NoticesWhenTheWallClockWasSet) {
  constexpr int64_t kMinute = 60'000'000;
  ClockSteps steps;
  int64_t wall_ms = 1'700'000'000'000;
  int64_t now_us = 5'000'000;
  EXPECT_EQ(steps.Look(wall_ms, now_us), 0) << "the first look has nothing to compare with";
  EXPECT_EQ(steps.Look(wall_ms += 60'000, now_us += kMinute), 0);
  EXPECT_EQ(steps.last().noticed_us, 0);
  EXPECT_EQ(steps.Look(wall_ms += 60'000 + 600'000, now_us += kMinute), 600'000);
  EXPECT_EQ(steps.last().by_ms, 600'000);
  EXPECT_EQ(steps.last().noticed_us, now_us);
  EXPECT_EQ(steps.Look(wall_ms += 60'000, now_us += kMinute), 0) << "told once";
  EXPECT_EQ(steps.Look(wall_ms += 60'000 - 600'000, now_us += kMinute), -600'000);
  // Slewed at 500 ppm for a day: 43 s, and no step.
  EXPECT_EQ(steps.Look(wall_ms += 86'400'000 + 43'200, now_us += 86'400 * int64_t{1'000'000}), 0);
  EXPECT_EQ(steps.last().by_ms, -600'000);
}

TEST(HybridClock, OnlyRises) {
  HybridClock clock;
  const Timestamp a = clock.Next();
  EXPECT_GT(clock.Next(), a);
  clock.Observe(a + (uint64_t{1} << 30));
  EXPECT_GT(clock.Next(), a + (uint64_t{1} << 30));
}

TEST(Strand, KeepsOrder) {
  ThreadPool pool("test", 4);
  std::vector<int> seen;
  {
    Strand strand(&pool);
    for (int i = 0; i < 1000; ++i) strand.Post([&seen, i] { seen.push_back(i); });
  }
  pool.Stop();
  ASSERT_EQ(seen.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(seen[i], i);
}

TEST(ControlLoop, RunsOncePerPokeAndAgainAfterItsDelay) {
  ThreadPool pool("test", 2);
  Timer timer(&pool);
  std::atomic<int> runs{0};
  ControlLoop loop("loop", &pool, &timer, [&] { return std::chrono::milliseconds(++runs < 3 ? 1 : 0); });
  EXPECT_EQ(runs, 0);
  loop.Poke();
  for (int i = 0; i < 1000 && runs < 3; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(runs, 3);
  loop.Stop();
  loop.Poke();
  timer.Stop();
  pool.Stop();
  EXPECT_EQ(runs, 3);
}

TEST(Metrics, RendersPrometheusText) {
  MetricRegistry registry;
  registry.GetCounter("c_total", "help", {{"a", "x\"y"}}).Add(2);
  registry.GetHistogram("h", "help").Observe(3);
  const std::string text = registry.Render();
  EXPECT_NE(text.find("c_total{a=\"x\\\"y\"} 2\n"), std::string::npos);
  EXPECT_NE(text.find("h_bucket{le=\"4\"} 1\n"), std::string::npos);
  EXPECT_NE(text.find("h_bucket{le=\"+Inf\"} 1\n"), std::string::npos);
}

}  // namespace
}  // namespace saker
