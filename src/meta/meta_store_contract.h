// What every MetaStore promises, as tests: instantiate MetaStoreContract with a way to make an empty store. It may skip the
// test instead (a server that isn't installed). A store may be one root among others of a server: revisions then don't
// begin at 0, but nobody else writes while a test runs.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>

#include "base/mutex.h"
#include "meta/meta_store.h"
#include "meta/watch_recorder.h"

namespace saker {

using MakeMetaStore = std::function<std::unique_ptr<MetaStore>()>;

class MetaStoreContract : public testing::TestWithParam<MakeMetaStore> {
 protected:
  void SetUp() override {
    store_ = GetParam()();
    if (IsSkipped()) return;
    ASSERT_NE(store_, nullptr);
  }
  Revision Put(const std::string& key, const std::string& value, LeaseId lease = 0) {
    return Do({MetaOp::Put(key, value, lease)});
  }
  Revision Do(const std::vector<MetaOp>& ops, const std::vector<Compare>& compares = {}) {
    const Result<Revision> revision = store_->Commit(compares, ops);
    EXPECT_TRUE(revision.ok()) << revision.status().ToString();
    return revision.ok() ? *revision : 0;
  }
  ErrorCode Refused(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops) {
    return store_->Commit(compares, ops).status().code();
  }
  Revision Now() { return *store_->CurrentRevision(); }
  // "key=value" of all keys under the prefix.
  std::vector<std::string> List(const std::string& prefix, Revision at = 0) {
    const Result<RangeResult> range = store_->Range(prefix, at);
    EXPECT_TRUE(range.ok()) << range.status().ToString();
    std::vector<std::string> out;
    if (!range.ok()) return out;
    for (const KeyValue& kv : range->kvs) out.push_back(kv.key + "=" + kv.value);
    return out;
  }
  std::unique_ptr<Watch> Watching(WatchRecorder& recorder, const std::string& prefix, Revision from) {
    auto watch = store_->WatchPrefix(prefix, from, recorder.Callback());
    EXPECT_TRUE(watch.ok()) << watch.status().ToString();
    return watch.ok() ? std::move(*watch) : nullptr;
  }

  std::unique_ptr<MetaStore> store_;
};

using testing::ElementsAre;
using testing::IsEmpty;

TEST_P(MetaStoreContract, RevisionsRiseByOneWithEachTransactionThatWrites) {
  const Revision start = Now();
  EXPECT_EQ(Put("a", "1"), start + 1);
  EXPECT_EQ(Do({MetaOp::Put("b", "1"), MetaOp::Put("c", "1")}), start + 2);
  EXPECT_EQ(Do({MetaOp::Delete("a")}), start + 3);
  EXPECT_EQ(Now(), start + 3);
  EXPECT_EQ(store_->Range("")->revision, start + 3);
}

TEST_P(MetaStoreContract, WhatChangesNothingMakesNoRevision) {
  const Revision start = Put("a", "1");
  EXPECT_EQ(Do({}), start);
  EXPECT_EQ(Do({MetaOp::Delete("nothing"), MetaOp::DeletePrefix("none/")}), start);
  EXPECT_EQ(Now(), start);
}

TEST_P(MetaStoreContract, KeysKnowTheirRevisionsAndVersions) {
  const Revision created = Put("k", "1");
  const Revision changed = Put("k", "2");
  Result<KeyValue> kv = store_->Get("k");
  ASSERT_TRUE(kv.ok());
  EXPECT_EQ(kv->value, "2");
  EXPECT_EQ(kv->create_revision, created);
  EXPECT_EQ(kv->mod_revision, changed);
  EXPECT_EQ(kv->version, 2);
  EXPECT_EQ(kv->lease, 0);
  Do({MetaOp::Delete("k")});
  EXPECT_EQ(store_->Get("k").status().code(), ErrorCode::kIoKeyNotFound);
  const Revision again = Put("k", "3");
  kv = store_->Get("k");
  EXPECT_EQ(kv->create_revision, again);
  EXPECT_EQ(kv->version, 1);
}

TEST_P(MetaStoreContract, KeysOfATransactionShareItsRevision) {
  const Revision revision = Do({MetaOp::Put("x", "1"), MetaOp::Put("y", "2")});
  EXPECT_EQ(store_->Get("x")->mod_revision, revision);
  EXPECT_EQ(store_->Get("y")->create_revision, revision);
}

TEST_P(MetaStoreContract, EmptyAndBinaryValuesSurvive) {
  const std::string binary("\0\xff\n\0", 4);
  Put("empty", "");
  Put("binary", binary);
  EXPECT_EQ(store_->Get("empty")->value, "");
  EXPECT_EQ(store_->Get("binary")->value, binary);
}

TEST_P(MetaStoreContract, ComparesDecide) {
  const Revision created = Put("k", "v");
  const Revision changed = Put("k", "w");
  using T = Compare::Target;
  using O = Compare::Op;
  struct Case {
    Compare compare;
    bool holds;
  };
  const std::vector<Case> cases = {
      {Compare::Absent("k"), false},
      {Compare::Absent("other"), true},
      {Compare::Unchanged("k", changed), true},
      {Compare::Unchanged("k", created), false},
      {Compare::CreatedAt("k", created), true},
      {Compare::CreatedAt("k", changed), false},
      {{"k", T::kVersion, O::kEqual, 2, {}}, true},
      {{"k", T::kVersion, O::kNotEqual, 2, {}}, false},
      {{"k", T::kVersion, O::kGreater, 1, {}}, true},
      {{"k", T::kVersion, O::kLess, 2, {}}, false},
      {{"k", T::kModRevision, O::kLess, changed + 1, {}}, true},
      {{"k", T::kModRevision, O::kGreater, changed, {}}, false},
      {{"k", T::kValue, O::kEqual, 0, "w"}, true},
      {{"k", T::kValue, O::kEqual, 0, "v"}, false},
      {{"k", T::kValue, O::kNotEqual, 0, "v"}, true},
      {{"k", T::kValue, O::kLess, 0, "x"}, true},
      {{"k", T::kValue, O::kGreater, 0, "x"}, false},
      {{"other", T::kValue, O::kEqual, 0, ""}, false},
      {{"other", T::kModRevision, O::kEqual, 0, {}}, true},
      {{"other", T::kCreateRevision, O::kGreater, 0, {}}, false},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    const Result<Revision> done = store_->Commit({cases[i].compare}, {MetaOp::Put("result", std::to_string(i))});
    EXPECT_EQ(done.status().code(), cases[i].holds ? ErrorCode::kOk : ErrorCode::kConflict) << "case " << i;
  }
}

TEST_P(MetaStoreContract, AConflictLeavesNothingBehind) {
  Put("a", "1");
  const Revision before = Put("b", "1");
  EXPECT_EQ(Refused({Compare::CreatedAt("b", before), Compare::Absent("a")},
                    {MetaOp::Put("a", "2"), MetaOp::Put("c", "2"), MetaOp::Delete("b")}),
            ErrorCode::kConflict);
  EXPECT_EQ(Now(), before);
  EXPECT_THAT(List(""), ElementsAre("a=1", "b=1"));
}

TEST_P(MetaStoreContract, AKeyIsWrittenOnceInATransaction) {
  const Revision before = Now();
  EXPECT_EQ(Refused({}, {MetaOp::Put("a", "1"), MetaOp::Put("a", "2")}), ErrorCode::kParameterInvalid);
  EXPECT_EQ(Refused({}, {MetaOp::Put("a", "1"), MetaOp::Delete("a")}), ErrorCode::kParameterInvalid);
  EXPECT_EQ(Refused({}, {MetaOp::DeletePrefix("a"), MetaOp::Put("a/b", "1")}), ErrorCode::kParameterInvalid);
  EXPECT_EQ(Now(), before);
  Do({MetaOp::DeletePrefix("a/"), MetaOp::Put("a0", "1"), MetaOp::Put("a", "1")});
}

TEST_P(MetaStoreContract, LimitsAreEtcds) {
  std::vector<MetaOp> ops;
  for (int i = 0; i < kMaxTxnOps; ++i) ops.push_back(MetaOp::Put("k" + std::to_string(i), "v"));
  Do(ops);
  ops.push_back(MetaOp::Put("one more", "v"));
  EXPECT_EQ(Refused({}, ops), ErrorCode::kParameterInvalid);
  EXPECT_EQ(store_->Get("one more").status().code(), ErrorCode::kIoKeyNotFound);
  const std::vector<Compare> compares(kMaxTxnOps + 1, Compare::Absent("nothing"));
  EXPECT_EQ(Refused(compares, {MetaOp::Put("x", "v")}), ErrorCode::kParameterInvalid);
  Put("large", std::string(kMaxTxnBytes - 4096, 'x'));
  EXPECT_EQ(Refused({}, {MetaOp::Put("larger", std::string(kMaxTxnBytes, 'x'))}), ErrorCode::kParameterInvalid);
  EXPECT_EQ(store_->Get("large")->value.size(), static_cast<size_t>(kMaxTxnBytes - 4096));
}

TEST_P(MetaStoreContract, KeysAreChecked) {
  EXPECT_EQ(Refused({}, {MetaOp::Put("", "v")}), ErrorCode::kParameterInvalid);
  EXPECT_EQ(Refused({}, {MetaOp::Put(std::string("a\0b", 3), "v")}), ErrorCode::kParameterInvalid);
  EXPECT_EQ(Refused({Compare::Absent("")}, {}), ErrorCode::kParameterInvalid);
}

TEST_P(MetaStoreContract, RangesKeepToTheirPrefix) {
  for (const char* key : {"a", "a/", "a/1", "a/2", "a0", "b", "a/\xff", "a/\xff\xff", "\xff", "\xff\xff", "\xff\xffz"}) Put(key, "v");
  EXPECT_THAT(List("a/"), ElementsAre("a/=v", "a/1=v", "a/2=v", "a/\xff=v", "a/\xff\xff=v"));
  EXPECT_THAT(List("a/\xff"), ElementsAre("a/\xff=v", "a/\xff\xff=v"));
  EXPECT_THAT(List("\xff\xff"), ElementsAre("\xff\xff=v", "\xff\xffz=v"));
  EXPECT_THAT(List("a/3"), IsEmpty());
  EXPECT_EQ(List("").size(), 11u);
  const Revision now = Now();
  EXPECT_THAT(List("a/\xff", now), ElementsAre("a/\xff=v", "a/\xff\xff=v"));
  EXPECT_THAT(List("\xff\xff", now), ElementsAre("\xff\xff=v", "\xff\xffz=v"));
}

TEST_P(MetaStoreContract, DeletePrefixTakesWhatStartsWithItAndNoMore) {
  for (const char* key : {"p", "p/1", "p/2", "p/\xff\xff", "p0", "q"}) Put(key, "v");
  Do({MetaOp::DeletePrefix("p/")});
  EXPECT_THAT(List(""), ElementsAre("p=v", "p0=v", "q=v"));
  Do({MetaOp::DeletePrefix("")});
  EXPECT_THAT(List(""), IsEmpty());
}

TEST_P(MetaStoreContract, ThePastCanBeRead) {
  const Revision before = Now();
  const Revision first = Do({MetaOp::Put("k/a", "1"), MetaOp::Put("k/b", "1")});
  const Revision second = Put("k/a", "2");
  const Revision third = Do({MetaOp::Delete("k/a"), MetaOp::Put("k/c", "3")});
  const Revision fourth = Put("k/a", "4");
  EXPECT_THAT(List("k/", before), IsEmpty());
  EXPECT_THAT(List("k/", first), ElementsAre("k/a=1", "k/b=1"));
  EXPECT_THAT(List("k/", second), ElementsAre("k/a=2", "k/b=1"));
  EXPECT_THAT(List("k/", third), ElementsAre("k/b=1", "k/c=3"));
  EXPECT_THAT(List("k/", fourth), ElementsAre("k/a=4", "k/b=1", "k/c=3"));
  EXPECT_EQ(store_->Get("k/a", second)->value, "2");
  EXPECT_EQ(store_->Get("k/a", second)->create_revision, first);
  EXPECT_EQ(store_->Get("k/a", third).status().code(), ErrorCode::kIoKeyNotFound);
  EXPECT_EQ(store_->Get("k/a", fourth)->version, 1);
  EXPECT_EQ(store_->Get("k/", fourth).status().code(), ErrorCode::kIoKeyNotFound);
  EXPECT_EQ(store_->Range("k/", first)->revision, fourth);
  EXPECT_EQ(store_->Range("k/", fourth + 1).status().code(), ErrorCode::kParameterInvalid);
}

TEST_P(MetaStoreContract, CompactionForgetsThePastButNotThePresent) {
  Put("stays", "1");
  Put("a", "1");
  const Revision old = Put("a", "2");
  Put("gone", "1");
  Do({MetaOp::Delete("gone")});
  const Revision kept = Put("a", "3");
  const Revision last = Put("a", "4");
  ASSERT_TRUE(store_->Compact(kept).ok());
  EXPECT_EQ(store_->Range("", old).status().code(), ErrorCode::kCompacted);
  EXPECT_EQ(store_->Get("a", old).status().code(), ErrorCode::kCompacted);
  EXPECT_THAT(List("", kept), ElementsAre("a=3", "stays=1"));
  EXPECT_THAT(List("", last), ElementsAre("a=4", "stays=1"));
  EXPECT_THAT(List(""), ElementsAre("a=4", "stays=1"));
  EXPECT_EQ(Now(), last);
  EXPECT_FALSE(store_->Compact(last + 1).ok());
  ASSERT_TRUE(store_->Compact(last).ok());
  EXPECT_THAT(List(""), ElementsAre("a=4", "stays=1"));
}

// ---- leases

TEST_P(MetaStoreContract, ALeaseTakesItsKeysWithIt) {
  const Result<LeaseId> lease = store_->Grant(std::chrono::seconds(60));
  ASSERT_TRUE(lease.ok());
  const Result<LeaseId> other = store_->Grant(std::chrono::seconds(60));
  EXPECT_NE(*lease, *other);
  Put("l/a", "1", *lease);
  Put("l/b", "1", *lease);
  Put("l/moved", "1", *lease);
  Put("l/moved", "2", *other);
  Put("l/freed", "1", *lease);
  Put("l/freed", "2");
  Put("l/own", "1");
  EXPECT_EQ(store_->Get("l/a")->lease, *lease);
  EXPECT_EQ(store_->Get("l/freed")->lease, 0);
  EXPECT_TRUE(store_->KeepAlive(*lease).ok());
  WatchRecorder recorder;
  const Revision before = Now();
  const auto watch = Watching(recorder, "l/", before + 1);
  ASSERT_TRUE(store_->Revoke(*lease).ok());
  EXPECT_THAT(List("l/"), ElementsAre("l/freed=2", "l/moved=2", "l/own=1"));
  ASSERT_TRUE(recorder.WaitForRevision(before + 1));
  EXPECT_THAT(recorder.story(), ElementsAre("-l/a", "-l/b"));
  EXPECT_EQ(store_->KeepAlive(*lease).code(), ErrorCode::kIoKeyNotFound);
  EXPECT_EQ(store_->Revoke(*lease).code(), ErrorCode::kIoKeyNotFound);
  EXPECT_EQ(Refused({}, {MetaOp::Put("l/late", "1", *lease)}), ErrorCode::kIoKeyNotFound);
  EXPECT_EQ(store_->Get("l/late").status().code(), ErrorCode::kIoKeyNotFound);
  ASSERT_TRUE(store_->Revoke(*other).ok());
  EXPECT_THAT(List("l/"), ElementsAre("l/freed=2", "l/own=1"));
}

TEST_P(MetaStoreContract, ALeaseWithoutKeysEndsWithoutARevision) {
  const Revision before = Put("a", "1");
  const Result<LeaseId> lease = store_->Grant(std::chrono::seconds(60));
  Put("b", "1", *lease);
  Do({MetaOp::Delete("b")});
  const Revision after = Now();
  EXPECT_EQ(after, before + 2);
  ASSERT_TRUE(store_->Revoke(*lease).ok());
  EXPECT_EQ(Now(), after);
}

// ---- watches

TEST_P(MetaStoreContract, AWatchTellsWhatHappensFromNowOn) {
  Put("w/a", "0");
  WatchRecorder recorder;
  const auto watch = Watching(recorder, "w/", 0);
  Put("w/a", "1");
  Put("elsewhere", "1");
  const Revision both = Do({MetaOp::Put("w/b", "2"), MetaOp::Put("v", "1"), MetaOp::Delete("w/a")});
  ASSERT_TRUE(recorder.WaitForRevision(both));
  EXPECT_THAT(recorder.story(), ElementsAre("+w/a=1", "+w/b=2", "-w/a"));
  const WatchEvent put = recorder.events()[1];
  EXPECT_EQ(put.kv.create_revision, both);
  EXPECT_EQ(put.kv.version, 1);
  EXPECT_EQ(recorder.events()[2].kv.mod_revision, both);
}

TEST_P(MetaStoreContract, AWatchFromThePastReplaysFirst) {
  const Revision first = Put("w/a", "1");
  Put("w/a", "2");
  Put("x", "1");
  const Revision deleted = Do({MetaOp::Delete("w/a")});
  Put("w/b", "1");
  WatchRecorder all;
  WatchRecorder some;
  const auto from_first = Watching(all, "w/", first);
  const auto from_deleted = Watching(some, "w/", deleted);
  const Revision last = Put("w/b", "2");
  ASSERT_TRUE(all.WaitForRevision(last));
  ASSERT_TRUE(some.WaitForRevision(last));
  EXPECT_THAT(all.story(), ElementsAre("+w/a=1", "+w/a=2", "-w/a", "+w/b=1", "+w/b=2"));
  EXPECT_THAT(some.story(), ElementsAre("-w/a", "+w/b=1", "+w/b=2"));
  EXPECT_EQ(all.events()[1].kv.create_revision, first);
}

TEST_P(MetaStoreContract, AWatchFromTheFutureWaitsForIt) {
  const Revision now = Now();
  WatchRecorder recorder;
  const auto watch = Watching(recorder, "w/", now + 2);
  Put("w/early", "1");
  Put("w/due", "1");
  ASSERT_TRUE(recorder.WaitForRevision(now + 2));
  EXPECT_THAT(recorder.story(), ElementsAre("+w/due=1"));
}

TEST_P(MetaStoreContract, AWatchLearnsOfRevisionsElsewhere) {
  WatchRecorder recorder;
  const auto watch = Watching(recorder, "w/", 0);
  const Revision elsewhere = Put("x", "1");
  EXPECT_TRUE(recorder.WaitForRevision(elsewhere));
  EXPECT_THAT(recorder.events(), IsEmpty());
}

TEST_P(MetaStoreContract, AWatchOfForgottenHistorySaysSo) {
  const Revision old = Put("w/a", "1");
  Put("w/a", "2");
  const Revision now = Put("w/a", "3");
  ASSERT_TRUE(store_->Compact(now).ok());
  WatchRecorder recorder;
  const auto watch = Watching(recorder, "w/", old);
  ASSERT_TRUE(recorder.WaitForFailure());
  EXPECT_EQ(recorder.code(), ErrorCode::kCompacted);
  EXPECT_THAT(recorder.events(), IsEmpty());
  // It has ended: nothing comes any more.
  WatchRecorder later;
  const auto good = Watching(later, "w/", now + 1);
  const Revision last = Put("w/b", "1");
  ASSERT_TRUE(later.WaitForRevision(last));
  EXPECT_THAT(later.story(), ElementsAre("+w/b=1"));
  EXPECT_THAT(recorder.events(), IsEmpty());
}

TEST_P(MetaStoreContract, EndingAWatchWaitsForItsCallback) {
  std::atomic<bool> running{false};
  std::atomic<bool> finished{false};
  std::atomic<int> calls{0};
  auto watch = store_->WatchPrefix("w/", 0, [&](const WatchBatch&) {
    ++calls;
    running = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    finished = true;
  });
  ASSERT_TRUE(watch.ok());
  Put("w/a", "1");
  while (!running) std::this_thread::yield();
  watch->reset();
  EXPECT_TRUE(finished);
  const int before = calls;
  Put("w/a", "2");
  WatchRecorder barrier;
  const auto other = Watching(barrier, "w/", 0);
  ASSERT_TRUE(barrier.WaitForRevision(Put("w/a", "3")));
  EXPECT_EQ(calls, before);
}

TEST_P(MetaStoreContract, ACallbackMayEndItsOwnWatchAndUseTheStore) {
  std::unique_ptr<Watch> watch;
  Mutex mutex;
  CondVar changed;
  int calls = 0;
  MutexLock lock(mutex);
  auto made = store_->WatchPrefix("w/", 0, [&](const WatchBatch&) {
    EXPECT_TRUE(store_->Get("w/a").ok());
    MutexLock inner(mutex);
    watch.reset();
    ++calls;
    changed.NotifyAll();
  });
  ASSERT_TRUE(made.ok());
  watch = std::move(*made);
  lock.Unlock();
  Put("w/a", "1");
  lock.Lock();
  ASSERT_TRUE(changed.WaitFor(lock, std::chrono::seconds(20), [&] { return calls > 0; }));
  lock.Unlock();
  WatchRecorder barrier;
  const auto other = Watching(barrier, "w/", 0);
  ASSERT_TRUE(barrier.WaitForRevision(Put("w/a", "2")));
  lock.Lock();
  EXPECT_EQ(calls, 1);
}

// Many writers, and watches that join at any time: each sees every revision once, whole and in order.
TEST_P(MetaStoreContract, NothingIsLostOrDoubledAmongManyWriters) {
  constexpr int kWriters = 6;
  constexpr int kWrites = 60;
  const Revision start = Now();
  std::vector<std::unique_ptr<WatchRecorder>> recorders;
  std::vector<std::unique_ptr<Watch>> watches;
  const auto join = [&] {
    recorders.push_back(std::make_unique<WatchRecorder>());
    watches.push_back(Watching(*recorders.back(), "w/", start + 1));
  };
  join();
  std::vector<std::thread> writers;
  for (int w = 0; w < kWriters; ++w) {
    writers.emplace_back([&, w] {
      for (int i = 0; i < kWrites; ++i) {
        const std::string key = "w/" + std::to_string(w);
        EXPECT_TRUE(store_->Commit({}, {MetaOp::Put(key, std::to_string(i)), MetaOp::Put(key + "/twin", std::to_string(i))}).ok());
      }
    });
  }
  while (Now() < start + kWriters * kWrites / 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  join();
  for (std::thread& writer : writers) writer.join();
  join();
  const Revision end = Now();
  EXPECT_EQ(end, start + kWriters * kWrites);
  for (const auto& recorder : recorders) {
    ASSERT_TRUE(recorder->WaitForRevision(end));
    const std::vector<WatchEvent> events = recorder->events();
    ASSERT_EQ(events.size(), static_cast<size_t>(2 * kWriters * kWrites));
    std::map<std::string, int> next;
    for (size_t i = 0; i < events.size(); ++i) {
      EXPECT_EQ(events[i].kv.mod_revision, start + 1 + static_cast<Revision>(i) / 2);
      EXPECT_EQ(events[i].kv.value, std::to_string(next[events[i].kv.key]++));
    }
  }
}

// The heart of every recipe: of many that compare and write at once, exactly one wins each round.
TEST_P(MetaStoreContract, CompareAndWriteCountsExactly) {
  constexpr int kThreads = 6;
  constexpr int kRounds = 40;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int done = 0; done < kRounds;) {
        const Result<KeyValue> kv = store_->Get("count");
        const int64_t value = kv.ok() ? std::stoll(kv->value) : 0;
        const Compare unchanged = kv.ok() ? Compare::Unchanged("count", kv->mod_revision) : Compare::Absent("count");
        done += store_->Commit({unchanged}, {MetaOp::Put("count", std::to_string(value + 1))}).ok() ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store_->Get("count")->value, std::to_string(kThreads * kRounds));
  EXPECT_EQ(store_->Get("count")->version, kThreads * kRounds);
}

}  // namespace saker
