// GenerationStore, and the recipes on it (recipes_test.cc is part of this program), while the store under it loses its data.
#include "meta/generation_store.h"

#include <atomic>
#include <map>
#include <thread>

#include "base/clock.h"
#include "meta/election.h"
#include "meta/id_allocator.h"
#include "meta/keys.h"
#include "meta/losable_server.h"
#include "meta/meta_store_contract.h"
#include "meta/recipes_store.h"
#include "meta/session.h"
#include "meta/watch.h"

namespace saker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

template <typename Predicate>
bool Eventually(Predicate done, seconds limit = seconds(20)) {
  for (const auto end = std::chrono::steady_clock::now() + limit; std::chrono::steady_clock::now() < end;) {
    if (done()) return true;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return false;
}

// Nothing has to be brought back: each generation begins empty.
Result<int64_t> BeginEmpty(const GenerationStoreSettings::Under&, int64_t above) { return above + 1; }

std::unique_ptr<GenerationStore> OpenReady(GenerationStoreSettings settings) {
  auto store = GenerationStore::Open(std::move(settings));
  EXPECT_TRUE(store.ok()) << store.status().ToString();
  EXPECT_TRUE(Eventually([&] { return (*store)->CurrentRevision().ok(); }));
  return std::move(*store);
}

// ---- the contract

std::unique_ptr<MetaStore> OverRocksdb() {
  static std::map<MetaStore*, std::shared_ptr<std::string>> directories;
  std::string pattern = (std::filesystem::temp_directory_path() / "saker-generation-XXXXXX").string();
  const std::shared_ptr<std::string> directory(new std::string(mkdtemp(pattern.data())), [](std::string* path) {
    std::filesystem::remove_all(*path);
    delete path;
  });
  auto store = OpenReady({[directory] { return OpenRocksdbStore({*directory}); }, {}, BeginEmpty});
  return store;
}

INSTANTIATE_TEST_SUITE_P(Generations, MetaStoreContract, testing::Values(OverRocksdb), [](const auto&) { return "OverRocksdb"; });

}  // namespace

std::unique_ptr<MetaStore> OpenStoreForRecipes(const std::string& directory) {
  return OpenReady({[directory] { return OpenRocksdbStore({directory}); }, {}, BeginEmpty});
}

namespace {

// ---- losing data

class Generations : public testing::Test {
 protected:
  Generations() : pool_("generations", 4), timer_(&pool_) {}
  ~Generations() override {
    timer_.Stop();
    pool_.Stop();
  }

  // What a process that may rebuild does: brings back what is in `saved_`.
  Result<int64_t> Rebuild(const GenerationStoreSettings::Under& under, int64_t above) {
    ++rebuilds_;
    if (refuse_) return Status(ErrorCode::kServiceUnavailable, "the object store can't be reached");
    int64_t mine = 0;
    {
      MutexLock lock(mutex_);
      mine = allotted_ = std::max(allotted_, above) + 1;
    }
    MetaStore* const store = under(mine);
    for (const auto& [key, value] : saved_) RETURN_IF_ERROR(store->Commit({}, {MetaOp::Put(key, value)}).status());
    if (while_filling_) while_filling_();
    return mine;
  }
  GenerationStoreSettings Settings(bool may_rebuild) {
    GenerationStoreSettings settings;
    settings.open = [this]() -> Result<std::unique_ptr<MetaStore>> { return server_.Connect(); };
    if (may_rebuild) settings.rebuild = [this](const auto& under, int64_t above) { return Rebuild(under, above); };
    return settings;
  }
  std::unique_ptr<GenerationStore> Begin(bool may_rebuild = true) { return OpenReady(Settings(may_rebuild)); }
  // A change that is acknowledged, and so comes back.
  Revision Save(MetaStore& store, const std::string& key, const std::string& value) {
    const auto revision = store.Commit({}, {MetaOp::Put(key, value)});
    EXPECT_TRUE(revision.ok()) << revision.status().ToString();
    saved_[key] = value;
    return revision.ok() ? *revision : 0;
  }
  static std::string ValueOf(MetaStore& store, const std::string& key) {
    const auto kv = store.Get(key);
    return kv.ok() ? kv->value : kv.status().ToString();
  }
  bool Back(MetaStore& store) {
    return Eventually([&] { return store.CurrentRevision().ok(); });
  }

  LosableServer server_;
  std::map<std::string, std::string> saved_;
  std::atomic<int> rebuilds_{0};
  Mutex mutex_;
  int64_t allotted_ GUARDED_BY(mutex_) = 0;
  std::atomic<bool> refuse_{false};
  std::function<void()> while_filling_;
  ThreadPool pool_;
  Timer timer_;
};

TEST_F(Generations, WhatWasLostIsBackAtHigherRevisions) {
  const auto store = Begin();
  EXPECT_EQ(GenerationOf(*store->CurrentRevision()), 1);
  const Revision before = Save(*store, "k", "v");
  server_.Wipe();
  ASSERT_TRUE(Back(*store));
  const auto kv = store->Get("k");
  ASSERT_TRUE(kv.ok());
  EXPECT_EQ(kv->value, "v");
  EXPECT_GT(kv->mod_revision, before);
  EXPECT_EQ(GenerationOf(kv->mod_revision), 2);
  // What was read before compares as what it was: of a revision that is no more.
  EXPECT_EQ(store->Commit({Compare::Unchanged("k", before)}, {MetaOp::Put("k", "w")}).status().code(), ErrorCode::kConflict);
  EXPECT_TRUE(store->Commit({Compare::Unchanged("k", kv->mod_revision)}, {MetaOp::Put("k", "w")}).ok());
  EXPECT_EQ(store->Range("", before).status().code(), ErrorCode::kCompacted);
  EXPECT_EQ(rebuilds_, 2);
}

TEST_F(Generations, RevisionsOfOtherGenerationsCompareAsNumbers) {
  const auto store = Begin();
  const Revision earlier = Save(*store, "k", "v");
  server_.Wipe();
  ASSERT_TRUE(Back(*store));
  using T = Compare::Target;
  using O = Compare::Op;
  const Revision later = *store->CurrentRevision() + (Revision{1} << kGenerationShift);
  struct Case {
    const char* key;
    O op;
    Revision number;
    bool holds;
  };
  const std::vector<Case> cases = {
      {"k", O::kEqual, earlier, false},   {"k", O::kNotEqual, earlier, true},   {"k", O::kLess, earlier, false},
      {"k", O::kGreater, earlier, true},  {"k", O::kEqual, later, false},       {"k", O::kNotEqual, later, true},
      {"k", O::kLess, later, true},       {"k", O::kGreater, later, false},     {"none", O::kLess, earlier, true},
      {"none", O::kGreater, earlier, false}, {"none", O::kNotEqual, earlier, true}, {"none", O::kLess, later, true},
      {"k", O::kEqual, -1, false},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    for (const T target : {T::kModRevision, T::kCreateRevision}) {
      const auto done = store->Commit({{cases[i].key, target, cases[i].op, cases[i].number, {}}}, {MetaOp::Put("result", "x")});
      EXPECT_EQ(done.status().code(), cases[i].holds ? ErrorCode::kOk : ErrorCode::kConflict) << "case " << i;
    }
  }
}

TEST_F(Generations, NothingIsAnsweredWhileThereIsNone) {
  const auto store = Begin();
  Save(*store, "k", "v");
  refuse_ = true;
  const Stopwatch since;
  server_.Wipe();
  for (const Status& status : {store->Commit({}, {MetaOp::Put("k", "w")}).status(), store->Get("k").status(), store->Range("").status(),
                               store->CurrentRevision().status(), store->Grant(seconds(5)).status(),
                               store->WatchPrefix("", 0, [](WatchBatch) {}).status()}) {
    EXPECT_EQ(status.code(), ErrorCode::kServiceUnavailable) << status.ToString();
  }
  EXPECT_LT(since.elapsed_ms(), 1000);
  EXPECT_TRUE(Eventually([&] { return store->Get("k").status().message().find("the object store can't be reached") != std::string::npos; }))
      << "the reason is told: " << store->Get("k").status().message();
  refuse_ = false;
  ASSERT_TRUE(Back(*store));
  EXPECT_EQ(ValueOf(*store, "k"), "v");
}

// A view keeps what it has, and learns the difference in one step: it never holds less than what is saved.
TEST_F(Generations, AViewNeverSeesAnEmptyOrHalfBuiltState) {
  constexpr size_t kKeys = 300;
  const auto store = Begin();
  for (size_t i = 0; i < kKeys; ++i) Save(*store, "k/" + std::to_string(i), "v");
  ASSERT_TRUE(store->Commit({}, {MetaOp::Put("k/unsaved", "v")}).ok());
  Mutex mutex;
  std::map<std::string, std::string> held;
  size_t least = kKeys + 1;
  Revision seen = 0;
  const auto apply = [&](const std::vector<WatchEvent>& events, Revision revision) {
    MutexLock lock(mutex);
    EXPECT_GE(revision, seen);
    seen = revision;
    for (const WatchEvent& event : events) {
      event.kind == WatchEvent::Kind::kPut ? (void)(held[event.kv.key] = event.kv.value) : (void)held.erase(event.kv.key);
    }
    least = std::min(least, held.size());
  };
  PrefixView view(
      store.get(), "k/", &pool_, &timer_,
      [&](const std::vector<KeyValue>& kvs, Revision revision) {
        std::vector<WatchEvent> events;
        for (const KeyValue& kv : kvs) events.push_back({WatchEvent::Kind::kPut, kv});
        apply(events, revision);
      },
      apply);
  ASSERT_TRUE(view.Start().ok());
  for (int round = 0; round < 5; ++round) {
    round % 2 == 0 ? server_.Wipe() : server_.Exchange();
    // An exchange nobody notices shows with the next call.
    ASSERT_TRUE(Eventually([&] { return store->Commit({}, {MetaOp::Put("k/after", std::to_string(round))}).ok(); }));
    saved_["k/after"] = std::to_string(round);
    const Revision now = *store->CurrentRevision();
    ASSERT_TRUE(view.WaitForRevision(now, std::chrono::steady_clock::now() + seconds(20)).ok());
    MutexLock lock(mutex);
    EXPECT_EQ(held, saved_);
    EXPECT_GE(least, kKeys);
  }
}

// A store exchanged behind our back answers, and its revisions may even be higher: nothing of it is taken for ours.
TEST_F(Generations, AStoreThatWasExchangedUnnoticedIsNotTakenForOurs) {
  const auto store = Begin();
  Save(*store, "k", "v");
  const auto exchange = [&] {
    refuse_ = true;
    server_.Exchange();
    for (int i = 0; i < 1000; ++i) ASSERT_TRUE(server_.data()->Commit({}, {MetaOp::Put("x", "1")}).ok());
  };
  const auto recover = [&] {
    refuse_ = false;
    ASSERT_TRUE(Back(*store));
    EXPECT_EQ(ValueOf(*store, "k"), "v");
  };
  exchange();
  EXPECT_EQ(store->Get("k").status().code(), ErrorCode::kServiceUnavailable);
  recover();
  exchange();
  EXPECT_EQ(store->Range("").status().code(), ErrorCode::kServiceUnavailable);
  recover();
  exchange();
  EXPECT_EQ(store->CurrentRevision().status().code(), ErrorCode::kServiceUnavailable);
  recover();
  exchange();
  EXPECT_EQ(store->Commit({Compare::Absent("new")}, {MetaOp::Put("new", "1")}).status().code(), ErrorCode::kServiceUnavailable);
  recover();
  EXPECT_EQ(GenerationOf(*store->CurrentRevision()), 5);
}

// Somebody else was quicker: the new generation is filled, and its revisions are beyond ours, before we are connected again.
// We make no call that would tell.
TEST_F(Generations, AStoreThatOvertookOursWhileWeWereAwayIsNoticed) {
  const auto writer = Begin();
  const auto follower = Begin(false);
  Save(*writer, "k", "v");
  WatchRecorder recorder;
  const auto watch = follower->WatchPrefix("", 0, recorder.Callback());
  ASSERT_TRUE(watch.ok());
  server_.ExchangeWhileAway([](MetaStore& other) {
    ASSERT_TRUE(other.Commit({}, {MetaOp::Put(kGenerationKey, "2"), MetaOp::Put(GenerationPrefix(2) + "k", "v")}).ok());
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(other.Commit({}, {MetaOp::Put(GenerationPrefix(2) + "later", "1")}).ok());
  });
  ASSERT_TRUE(recorder.WaitForFailure());
  EXPECT_EQ(recorder.code(), ErrorCode::kCompacted);
  EXPECT_TRUE(recorder.events().empty());
  ASSERT_TRUE(Back(*follower));
  EXPECT_EQ(GenerationOf(*follower->CurrentRevision()), 2);
}

TEST_F(Generations, AnOlderStateIsNotGoneBackTo) {
  const auto store = Begin();
  Save(*store, "k", "old");
  const std::string saved = server_.Save();
  Save(*store, "k", "new");
  server_.Restore(saved);
  ASSERT_TRUE(Back(*store));
  EXPECT_EQ(ValueOf(*store, "k"), "new");
  EXPECT_EQ(GenerationOf(*store->CurrentRevision()), 2);
  EXPECT_EQ(server_.data()->Range("g1/")->kvs.size(), 0u) << "what the restored state held is removed";
}

// Restored while nobody ran: what happened since, ids that were handed out for instance, can't be seen in the data.
TEST_F(Generations, ACopyThatWasRestoredIsReplacedAtTheStart) {
  std::string saved;
  {
    const auto store = Begin();
    Save(*store, "k", "v");
    saved = server_.Save();
  }
  { EXPECT_EQ(GenerationOf(*Begin()->CurrentRevision()), 1) << "the same store: nothing has happened"; }
  server_.Restore(saved);
  const auto store = Begin();
  EXPECT_EQ(GenerationOf(*store->CurrentRevision()), 2);
  EXPECT_EQ(ValueOf(*store, "k"), "v");
}

// The generation that is there is not accepted: a process that starts on a restored state, and has seen no later one.
TEST_F(Generations, AGenerationThatIsBehindIsReplacedAtTheStart) {
  {
    const auto store = Begin();
    Save(*store, "k", "old");
  }
  saved_["k"] = "new";
  auto settings = Settings(true);
  settings.check = [](MetaStore* generation) {
    return ValueOf(*generation, "k") == "new" ? Status() : Status(ErrorCode::kCorrupted, "an older state");
  };
  const auto store = OpenReady(settings);
  EXPECT_EQ(ValueOf(*store, "k"), "new");
  EXPECT_EQ(GenerationOf(*store->CurrentRevision()), 2);
}

TEST_F(Generations, AnotherClustersStoreIsRefusedForAsLongAsItIsThere) {
  std::atomic<bool> ours{false};
  auto settings = Settings(true);
  { const auto theirs = Begin(); }
  settings.check = [&](MetaStore*) { return ours ? Status() : Status(ErrorCode::kCrossClusterRouting, "it belongs to cluster b"); };
  auto store = std::move(*GenerationStore::Open(settings));
  EXPECT_TRUE(Eventually([&] { return store->Get("k").status().message().find("cluster b") != std::string::npos; }));
  EXPECT_EQ(rebuilds_, 1) << "theirs alone";
  ours = true;
  EXPECT_TRUE(Back(*store));
}

TEST_F(Generations, WhoMayNotRebuildWaits) {
  auto waiting = std::move(*GenerationStore::Open(Settings(false)));
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(waiting->CurrentRevision().status().code(), ErrorCode::kServiceUnavailable);
  const auto store = Begin();
  ASSERT_TRUE(Back(*waiting));
  Save(*store, "k", "v");
  WatchRecorder recorder;
  const auto watch = waiting->WatchPrefix("", 0, recorder.Callback());
  ASSERT_TRUE(watch.ok());
  server_.Wipe();
  ASSERT_TRUE(recorder.WaitForFailure());
  EXPECT_EQ(recorder.code(), ErrorCode::kCompacted);
  EXPECT_EQ(ValueOf(*waiting, "k"), "v");
  EXPECT_EQ(rebuilds_, 2);
  EXPECT_TRUE(recorder.events().empty()) << "what earlier generations lose is told to nobody";
}

// Others begin a generation while this process's store is well: a rebuild that was asked for by somebody who had to.
TEST_F(Generations, AGenerationBegunByOthersIsTaken) {
  const auto first = Begin();
  const auto second = Begin(false);
  for (int i = 0; i < 200; ++i) Save(*first, "k/" + std::to_string(i), "v");
  WatchRecorder recorder;
  const auto watch = second->WatchPrefix("k/", 0, recorder.Callback());
  ASSERT_TRUE(watch.ok());
  first->Lose(Status(ErrorCode::kCorrupted, "the copies are further"));
  ASSERT_TRUE(recorder.WaitForFailure());
  EXPECT_EQ(recorder.code(), ErrorCode::kCompacted);
  EXPECT_TRUE(recorder.events().empty()) << "the removal of the earlier generation is not shown";
  ASSERT_TRUE(Back(*first));
  EXPECT_EQ(second->Range("k/")->kvs.size(), 200u);
  EXPECT_EQ(GenerationOf(*second->CurrentRevision()), GenerationOf(*first->CurrentRevision()));
}

TEST_F(Generations, OfTwoThatRebuildAtOnceTheHigherCounts) {
  const auto first = Begin();
  const auto second = Begin();
  Save(*first, "k", "v");
  // Both are filling before either names its own.
  std::atomic<int> filling{0};
  while_filling_ = [&] {
    ++filling;
    (void)Eventually([&] { return filling >= 2; }, seconds(5));
  };
  server_.Wipe();
  EXPECT_TRUE(Eventually([&] { return first->Get("k").ok() && second->Get("k").ok(); }));
  EXPECT_TRUE(Eventually([&] {
    const auto a = first->CurrentRevision();
    const auto b = second->CurrentRevision();
    return a.ok() && b.ok() && GenerationOf(*a) == 3 && GenerationOf(*b) == 3;
  }));
  EXPECT_EQ(rebuilds_, 3) << "the first start's, and one each";
}

TEST_F(Generations, AnAbsenceIsNoLoss) {
  const auto store = Begin();
  Save(*store, "k", "v");
  server_.SetAway(true);
  EXPECT_EQ(store->Get("k").status().code(), ErrorCode::kServiceUnavailable);
  std::this_thread::sleep_for(milliseconds(300));
  server_.SetAway(false);
  EXPECT_EQ(ValueOf(*store, "k"), "v");
  EXPECT_EQ(rebuilds_, 1);
}

TEST_F(Generations, LostWhileItIsAwayItComesBackOnceItIsThere) {
  const auto store = Begin();
  Save(*store, "k", "v");
  server_.SetAway(true);
  server_.Wipe();
  std::this_thread::sleep_for(milliseconds(200));
  EXPECT_FALSE(store->Get("k").ok());
  server_.SetAway(false);
  ASSERT_TRUE(Back(*store));
  EXPECT_EQ(ValueOf(*store, "k"), "v");
}

TEST_F(Generations, LeasesOfEarlierGenerationsHaveEnded) {
  const auto store = Begin();
  const LeaseId lease = *store->Grant(seconds(60));
  ASSERT_TRUE(store->Commit({}, {MetaOp::Put("l", "1", lease)}).ok());
  server_.Wipe();
  ASSERT_TRUE(Back(*store));
  // The new store may give the same number to somebody else.
  ASSERT_EQ(*server_.data()->Grant(seconds(60)), lease);
  EXPECT_EQ(store->KeepAlive(lease).code(), ErrorCode::kIoKeyNotFound);
  EXPECT_EQ(store->Revoke(lease).code(), ErrorCode::kIoKeyNotFound);
  EXPECT_EQ(store->Commit({}, {MetaOp::Put("l", "1", lease)}).status().code(), ErrorCode::kIoKeyNotFound);
}

// ---- the recipes

TEST_F(Generations, ALeaderIsElectedAnewWithAHigherToken) {
  const auto first = Begin();
  const auto second = Begin();
  std::atomic<int> deposed{0};
  Election leader(first.get(), "role", "1", seconds(3), &pool_, &timer_, {}, [&] { ++deposed; });
  leader.Campaign();
  const auto token = leader.WaitUntilElected(std::chrono::steady_clock::now() + seconds(20));
  ASSERT_TRUE(token.ok());
  const Compare old_fence = leader.Fence();
  Election standby(second.get(), "role", "2", seconds(3), &pool_, &timer_);
  standby.Campaign();
  server_.Wipe();
  ASSERT_TRUE(Eventually([&] { return deposed > 0; }));
  // Both may have begun a generation: then the one that came first lasts a moment only.
  EXPECT_TRUE(Eventually([&] {
    const auto present = first->CurrentRevision();
    const Revision now = std::max(leader.token(), standby.token());
    const bool one = leader.token() == 0 || standby.token() == 0;
    return one && present.ok() && now > *token && GenerationOf(now) == GenerationOf(*present);
  }));
  EXPECT_TRUE(Eventually([&] {
    const Status late = first->Commit({old_fence}, {MetaOp::Put("k", "v")}).status();
    EXPECT_FALSE(late.ok()) << "it leads no more";
    return late.code() == ErrorCode::kConflict;
  }));
}

TEST_F(Generations, AProcessRegistersAnew) {
  const auto store = Begin();
  SessionInfo info{NodeId(7), "querynode", "here:1", "1", 1, 1};
  Session session(store.get(), info, seconds(15), &pool_, &timer_);
  ASSERT_TRUE(session.Start().ok());
  SessionView view(store.get(), "", &pool_, &timer_);
  ASSERT_TRUE(view.Start().ok());
  ASSERT_EQ(view.List().size(), 1u);
  server_.Wipe();
  ASSERT_TRUE(Back(*store));
  // Well before a third of its time to live is over.
  EXPECT_TRUE(Eventually([&] { return store->Get(SessionKey("querynode", NodeId(7))).ok(); }, seconds(3)));
  EXPECT_TRUE(Eventually([&] { return view.List().size() == 1; }));
}

// Whoever brings the metadata back puts the sessions it knows, so that nobody seems gone: each takes its own over.
TEST_F(Generations, ASessionThatWasPutForUsIsTakenOver) {
  const auto store = Begin();
  SessionInfo info{NodeId(7), "querynode", "here:1", "1", 1, 1};
  Session session(store.get(), info, seconds(15), &pool_, &timer_);
  ASSERT_TRUE(session.Start().ok());
  std::atomic<size_t> fewest{1};
  std::unique_ptr<SessionView> view;
  view = std::make_unique<SessionView>(store.get(), "", &pool_, &timer_, [&] {
    if (view != nullptr) fewest = std::min(fewest.load(), view->List().size());
  });
  ASSERT_TRUE(view->Start().ok());
  const std::string key = SessionKey("querynode", NodeId(7));
  saved_[key] = Encode(info);
  server_.Wipe();
  ASSERT_TRUE(Back(*store));
  EXPECT_TRUE(Eventually([&] { return store->Get(key).ok() && store->Get(key)->lease != 0; }, seconds(3)));
  EXPECT_TRUE(session.registered());
  EXPECT_EQ(fewest, 1u);
  view.reset();
}

TEST_F(Generations, IdsGoOn) {
  const auto store = Begin();
  IdAllocator ids(store.get(), 10);
  int64_t last = 0;
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 25; ++i) {
      const auto id = ids.Next();
      ASSERT_TRUE(id.ok()) << id.status().ToString();
      EXPECT_GT(*id, last);
      last = *id;
    }
    saved_[std::string(kNextIdKey)] = std::to_string((round + 1) * 1'000'000);
    server_.Wipe();
    ASSERT_TRUE(Back(*store));
  }
}

// Writers and a view through many losses: every acknowledged and saved change is there at the end.
TEST_F(Generations, ThroughManyLossesNothingSavedIsMissing) {
  const auto writer = Begin();
  const auto reader = Begin(false);
  std::atomic<bool> done{false};
  std::thread reading([&] {
    while (!done) {
      const auto range = reader->Range("k/");
      EXPECT_TRUE(range.ok() || range.status().code() == ErrorCode::kServiceUnavailable) << range.status().ToString();
    }
  });
  for (int round = 0; round < 15; ++round) {
    for (int i = 0; i < 20; ++i) {
      const std::string key = "k/" + std::to_string(round) + "-" + std::to_string(i);
      ASSERT_TRUE(Eventually([&] { return writer->Commit({}, {MetaOp::Put(key, "v")}).ok(); }));
      saved_[key] = "v";
    }
    switch (round % 3) {
      case 0: server_.Wipe(); break;
      case 1: server_.Exchange(); break;
      case 2: writer->Lose(Status(ErrorCode::kCorrupted, "asked for")); break;
    }
  }
  ASSERT_TRUE(Back(*writer));
  done = true;
  reading.join();
  ASSERT_TRUE(Eventually([&] {
    const auto range = reader->Range("k/");
    return range.ok() && range->kvs.size() == saved_.size();
  }));
}

}  // namespace
}  // namespace saker
