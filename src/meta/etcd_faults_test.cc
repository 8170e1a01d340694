// EtcdStore, and the recipes on it, while etcd is killed, paused, loses its leader or its data.
#include <atomic>
#include <map>
#include <set>
#include <thread>

#include "base/clock.h"
#include "meta/election.h"
#include "meta/etcd_admin.h"
#include "meta/etcd_fixture.h"
#include "meta/generation_store.h"
#include "meta/keys.h"
#include "meta/session.h"
#include "meta/watch.h"
#include "meta/watch_recorder.h"

namespace saker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int64_t kAnswerMs = 2500;  // of any call, whatever etcd does

std::chrono::steady_clock::time_point In(milliseconds delay) { return std::chrono::steady_clock::now() + delay; }

template <typename Predicate>
bool Eventually(Predicate done, seconds limit = seconds(20)) {
  for (const auto end = In(limit); std::chrono::steady_clock::now() < end;) {
    if (done()) return true;
    std::this_thread::sleep_for(milliseconds(5));
  }
  return false;
}

class EtcdFaults : public testing::Test {
 protected:
  EtcdFaults() : pool_("faults", 4), timer_(&pool_) {}
  ~EtcdFaults() override {
    timer_.Stop();
    pool_.Stop();
  }
  void SetUp() override {
    if (!EtcdServer::Installed("3.6") || !EtcdServer::Installed("3.4")) GTEST_SKIP() << kEtcdMissing;
  }
  void Begin(EtcdServerOptions options = {}) {
    server_ = std::make_unique<EtcdServer>(options);
    store_ = OpenOk(SettingsOf(*server_, "faults"));
    ASSERT_TRUE(store_->CurrentRevision().ok());
  }
  // The call answers in time, whatever it says.
  template <typename Call>
  Status InTime(const std::string& what, Call call) {
    const Stopwatch since;
    const Status status = call();
    EXPECT_LT(since.elapsed_ms(), kAnswerMs) << what << ": " << status.ToString();
    return status;
  }
  Status TryPut(const std::string& key, const std::string& value) {
    return InTime("commit", [&] { return store_->Commit({}, {MetaOp::Put(key, value)}).status(); });
  }
  bool Works() { return store_->Commit({}, {MetaOp::Put("works", "1")}).ok(); }
  int Leader() {
    const auto admin = std::move(*OpenEtcdAdmin(SettingsOf(*server_, "faults")));
    const auto members = admin->Members();
    for (size_t i = 0; i < members.size(); ++i) {
      if (members[i].reached.ok() && members[i].is_leader()) return static_cast<int>(i);
    }
    return -1;
  }

  std::unique_ptr<EtcdServer> server_;
  std::unique_ptr<MetaStore> store_;
  ThreadPool pool_;
  Timer timer_;
};

TEST_F(EtcdFaults, AStoreIsMadeWithoutEtcdAndWorksOnceItIsThere) {
  Begin();
  server_->Kill();
  const auto settings = SettingsOf(*server_, "faults");
  const auto early = OpenOk(settings);
  const Status away = InTime("read", [&] { return early->CurrentRevision().status(); });
  EXPECT_EQ(away.code(), ErrorCode::kServiceUnavailable);
  EXPECT_NE(away.message().find(server_->endpoint()), std::string::npos) << away.message();
  EXPECT_NE(away.message().find("onnect"), std::string::npos) << "why: " << away.message();
  EXPECT_EQ(InTime("commit", [&] { return early->Commit({}, {MetaOp::Put("a", "1")}).status(); }).code(),
            ErrorCode::kServiceUnavailable)
      << "nothing was sent";
  EXPECT_EQ(InTime("grant", [&] { return early->Grant(seconds(5)).status(); }).code(), ErrorCode::kServiceUnavailable);
  EXPECT_EQ(InTime("watch", [&] { return early->WatchPrefix("", 0, [](WatchBatch) {}).status(); }).code(),
            ErrorCode::kServiceUnavailable);
  server_->Start();
  const Stopwatch since;
  EXPECT_TRUE(Eventually([&] { return early->Commit({}, {MetaOp::Put("a", "1")}).ok(); }));
  EXPECT_LT(since.elapsed_ms(), 5000);
}

// Writers that count, a watch, and etcd killed again and again: every acknowledged write is seen, once, in order.
TEST_F(EtcdFaults, KilledDuringCommitsAndWatchesNothingIsLostOrDoubled) {
  for (const char* version : {"3.4", "3.6"}) {
    EtcdServerOptions options;
    options.version = version;
    Begin(options);
    const Revision start = *store_->CurrentRevision();
    WatchRecorder recorder;
    const auto watch = store_->WatchPrefix("w/", start + 1, recorder.Callback());
    ASSERT_TRUE(watch.ok());
    std::atomic<bool> done{false};
    std::atomic<int> acknowledged{0};
    std::vector<std::set<int>> made(3);
    std::vector<std::set<int>> doubtful(3);
    std::vector<std::thread> writers;
    for (size_t w = 0; w < made.size(); ++w) {
      writers.emplace_back([&, w] {
        for (int i = 0; !done; ++i) {
          const auto written = store_->Commit({}, {MetaOp::Put("w/" + std::to_string(w), std::to_string(i))});
          if (written.ok()) {
            made[w].insert(i);
            ++acknowledged;
          } else if (written.status().code() == ErrorCode::kDeadlineExceeded) {
            doubtful[w].insert(i);
          } else {
            EXPECT_EQ(written.status().code(), ErrorCode::kServiceUnavailable) << written.status().ToString();
          }
        }
      });
    }
    for (int kill = 0; kill < 2; ++kill) {
      const int before = acknowledged;
      EXPECT_TRUE(Eventually([&] { return acknowledged > before + 30; }));
      server_->Kill();
      std::this_thread::sleep_for(milliseconds(200));
      server_->Start();
    }
    const int before = acknowledged;
    EXPECT_TRUE(Eventually([&] { return acknowledged > before + 30; }));
    done = true;
    for (std::thread& writer : writers) writer.join();
    ASSERT_TRUE(recorder.WaitForRevision(*store_->CurrentRevision()));
    std::vector<std::set<int>> seen(made.size());
    Revision last = start;
    for (const WatchEvent& event : recorder.events()) {
      EXPECT_EQ(event.kv.mod_revision, last + 1) << "each revision has one event";
      last = event.kv.mod_revision;
      const size_t writer = static_cast<size_t>(event.kv.key.back() - '0');
      const int value = std::stoi(event.kv.value);
      EXPECT_TRUE(seen[writer].insert(value).second) << "twice: " << value;
    }
    for (size_t w = 0; w < made.size(); ++w) {
      for (const int value : made[w])
        EXPECT_TRUE(seen[w].contains(value)) << version << ": acknowledged and not seen: " << value;
      for (const int value : seen[w]) EXPECT_TRUE(made[w].contains(value) || doubtful[w].contains(value)) << value;
    }
    store_.reset();
  }
}

TEST_F(EtcdFaults, APausedServerIsAnsweredForInTime) {
  Begin();
  ASSERT_TRUE(Works());
  WatchRecorder recorder;
  const auto watch = store_->WatchPrefix("w/", 0, recorder.Callback());
  const auto lease = store_->Grant(seconds(60));
  ASSERT_TRUE(lease.ok());
  server_->Pause();
  EXPECT_EQ(TryPut("w/a", "1").code(), ErrorCode::kDeadlineExceeded) << "sent, and never answered";
  EXPECT_EQ(InTime("get", [&] { return store_->Get("works").status(); }).code(), ErrorCode::kServiceUnavailable);
  EXPECT_EQ(InTime("keepalive", [&] { return store_->KeepAlive(*lease); }).code(), ErrorCode::kServiceUnavailable);
  server_->Resume();
  const Stopwatch since;
  EXPECT_TRUE(Eventually([&] { return Works(); }));
  EXPECT_LT(since.elapsed_ms(), 5000);
  EXPECT_TRUE(store_->KeepAlive(*lease).ok());
  const Revision last = *store_->Commit({}, {MetaOp::Put("w/b", "1")});
  ASSERT_TRUE(recorder.WaitForRevision(last));
  // The one in doubt may have been made when etcd woke up.
  const auto story = recorder.story();
  EXPECT_TRUE(story == std::vector<std::string>({"+w/a=1", "+w/b=1"}) || story == std::vector<std::string>({"+w/b=1"}));
}

TEST_F(EtcdFaults, AWatchWhoseHistoryWasCompactedMeanwhileSaysSo) {
  Begin();
  ASSERT_TRUE(Works());
  WatchRecorder recorder;
  const auto watch = store_->WatchPrefix("w/", 0, recorder.Callback());
  ASSERT_TRUE(recorder.WaitForRevision(*store_->Commit({}, {MetaOp::Put("w/a", "1")})));
  PrefixView view(
      store_.get(), "w/", &pool_, &timer_, [](std::vector<KeyValue>, Revision) {},
      [](std::vector<WatchEvent>, Revision) {});
  ASSERT_TRUE(view.Start().ok());
  // While this store is cut off (its server restarts elsewhere in time), others write and compact.
  server_->Kill();
  std::this_thread::sleep_for(milliseconds(300));
  server_->Start();
  for (int i = 0; i < 5; ++i) server_->Ctl("put faults/w/a " + std::to_string(i));
  const auto now = OpenOk(SettingsOf(*server_, "other"))->CurrentRevision();
  ASSERT_TRUE(now.ok());
  // Whoever is faster: the watch is resumed before the compaction, and sees all, or after it.
  server_->Ctl("compact " + std::to_string(*now));
  ASSERT_TRUE(Eventually([&] { return recorder.code() == ErrorCode::kCompacted || recorder.events().size() == 6; }));
  EXPECT_TRUE(view.WaitForRevision(*now, In(seconds(20))).ok()) << "a view reads anew by itself";
}

// ---- a cluster of three

TEST_F(EtcdFaults, TheLeaderOfThreeIsKilledAndPaused) {
  EtcdServerOptions options;
  options.members = 3;
  Begin(options);
  WatchRecorder recorder;
  const Revision start = *store_->CurrentRevision();
  const auto watch = store_->WatchPrefix("w/", start + 1, recorder.Callback());
  ASSERT_TRUE(watch.ok());
  std::vector<std::string> sure;
  int next = 0;
  // Writes until it works again; how long that took.
  const auto until_it_works = [&]() -> int64_t {
    const Stopwatch since;
    for (int tries = 0; tries < 30; ++tries) {
      const std::string value = std::to_string(next++);
      const Status status = TryPut("w/a", value);
      if (status.ok()) {
        sure.push_back("+w/a=" + value);
        return since.elapsed_ms();
      }
    }
    return 1'000'000;
  };
  ASSERT_LT(until_it_works(), 2500);
  for (const bool pause : {false, true}) {
    const int leader = Leader();
    ASSERT_GE(leader, 0);
    pause ? server_->Pause(leader) : server_->Kill(leader);
    const int64_t took = until_it_works();
    std::printf("[          ] leader %s: writes again after %ld ms\n", pause ? "paused" : "killed",
                static_cast<long>(took));
    EXPECT_LT(took, 8000);
    const Stopwatch watched;
    ASSERT_TRUE(recorder.WaitForRevision(*store_->CurrentRevision()));
    std::printf("[          ] its watch had it %ld ms later\n", static_cast<long>(watched.elapsed_ms()));
    EXPECT_LT(watched.elapsed_ms(), 8000);
    pause ? server_->Resume(leader) : server_->Start();
    ASSERT_LT(until_it_works(), 8000);
  }
  ASSERT_TRUE(recorder.WaitForRevision(*store_->CurrentRevision()));
  const auto story = recorder.story();
  size_t at = 0;
  for (const std::string& step : sure) {
    while (at < story.size() && story[at] != step) ++at;
    ASSERT_LT(at, story.size()) << step << " was acknowledged and not seen, or out of order";
  }
  EXPECT_EQ(std::set<std::string>(story.begin(), story.end()).size(), story.size()) << "nothing twice";
}

TEST_F(EtcdFaults, WithoutAQuorumCallsFailInTimeAndRecover) {
  EtcdServerOptions options;
  options.members = 3;
  Begin(options);
  ASSERT_TRUE(Works());
  server_->Kill(0);
  server_->Kill(1);
  for (int i = 0; i < 2; ++i) {
    const Status read = InTime("read", [&] { return store_->Get("works").status(); });
    EXPECT_EQ(read.code(), ErrorCode::kServiceUnavailable) << read.ToString();
    const Status write = TryPut("x", "1");
    EXPECT_TRUE(write.code() == ErrorCode::kServiceUnavailable || write.code() == ErrorCode::kDeadlineExceeded)
        << write.ToString();
  }
  server_->Start();
  const Stopwatch since;
  EXPECT_TRUE(Eventually([&] { return Works(); }));
  EXPECT_LT(since.elapsed_ms(), 5000);
}

// The member that this store's watch is at is paused, while another process writes: whoever keeps a lease alive
// notices.
TEST_F(EtcdFaults, AWatchAtAPausedMemberMovesOn) {
  EtcdServerOptions options;
  options.members = 3;
  Begin(options);
  WatchRecorder recorder;
  const auto watch = store_->WatchPrefix("w/", 0, recorder.Callback());
  ASSERT_TRUE(watch.ok());
  const auto lease = store_->Grant(seconds(30));
  ASSERT_TRUE(lease.ok());
  const auto other = OpenOk(SettingsOf(*server_, "faults"));
  ASSERT_TRUE(recorder.WaitForRevision(*other->Commit({}, {MetaOp::Put("w/a", "0")})));
  for (int member = 0; member < 3; ++member) {
    server_->Pause(member);
    const Stopwatch since;
    Result<Revision> written = Status(ErrorCode::kServiceUnavailable, "");
    for (int i = 0; i < 20 && !written.ok(); ++i)
      written = other->Commit({}, {MetaOp::Put("w/a", std::to_string(member + 1))});
    ASSERT_TRUE(written.ok()) << written.status().ToString();
    for (int i = 0; i < 20 && !store_->KeepAlive(*lease).ok(); ++i) {
    }
    ASSERT_TRUE(recorder.WaitForRevision(*written));
    std::printf("[          ] member %d paused: watched after %ld ms\n", member, static_cast<long>(since.elapsed_ms()));
    EXPECT_LT(since.elapsed_ms(), 12'000);
    server_->Resume(member);
    ASSERT_TRUE(Eventually([&] { return server_->Healthy(0) && server_->Healthy(1) && server_->Healthy(2); }));
  }
}

// ---- lost data

TEST_F(EtcdFaults, LostDataIsNoticedAndNothingOfItShown) {
  Begin();
  std::atomic<int> told{0};
  auto settings = SettingsOf(*server_, "faults");
  settings.on_data_lost = [&](const Status& status) {
    EXPECT_EQ(status.code(), ErrorCode::kCorrupted);
    ++told;
  };
  const auto store = OpenOk(settings);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(store->Commit({}, {MetaOp::Put("k", std::to_string(i))}).ok());
  WatchRecorder recorder;
  const auto watch = store->WatchPrefix("", 0, recorder.Callback());
  ASSERT_TRUE(watch.ok());
  std::atomic<size_t> held{0};
  PrefixView view(
      store.get(), "", &pool_, &timer_, [&](std::vector<KeyValue> kvs, Revision) { held = kvs.size(); },
      [&](std::vector<WatchEvent>, Revision) { held = 999; });
  ASSERT_TRUE(view.Start().ok());
  server_->Wipe();
  server_->Start();
  ASSERT_TRUE(recorder.WaitForFailure()) << "by the watch alone, without a call";
  EXPECT_EQ(recorder.code(), ErrorCode::kCorrupted);
  EXPECT_EQ(told, 1);
  const Status refused = store->Commit({}, {MetaOp::Put("k", "on an empty store")}).status();
  EXPECT_EQ(refused.code(), ErrorCode::kCorrupted);
  EXPECT_NE(refused.message().find("revision"), std::string::npos) << refused.message();
  EXPECT_EQ(store->Get("k").status().code(), ErrorCode::kCorrupted);
  EXPECT_EQ(store->Grant(seconds(5)).status().code(), ErrorCode::kCorrupted);
  EXPECT_EQ(store->WatchPrefix("", 0, [](WatchBatch) {}).status().code(), ErrorCode::kCorrupted);
  EXPECT_TRUE(recorder.events().empty());
  EXPECT_EQ(held, 1u) << "what was known is kept";
  // A store without a watch notices with its next call.
  EXPECT_EQ(store_->Commit({}, {}).status().code(), ErrorCode::kOk) << "it had seen but revision 1";
  const auto anew = OpenOk(SettingsOf(*server_, "faults"));
  EXPECT_EQ(anew->Get("k").status().code(), ErrorCode::kIoKeyNotFound)
      << "a store opened anew begins with what is there";
}

// Wiped again and again while somebody writes and somebody follows: what was saved comes back, in later generations, and no
// view ever holds less.
TEST_F(EtcdFaults, WipedDataComesBackAsANewGeneration) {
  Begin();
  Mutex mutex;
  std::map<std::string, std::string> saved;
  const auto open = [&](bool rebuilds) {
    GenerationStoreSettings settings;
    settings.open = [etcd = SettingsOf(*server_, "generations")] { return OpenEtcdStore(etcd); };
    if (rebuilds) {
      settings.rebuild = [&](const GenerationStoreSettings::Under& under, int64_t above) -> Result<int64_t> {
        MutexLock lock(mutex);
        for (const auto& [key, value] : saved) {
          RETURN_IF_ERROR(under(above + 1)->Commit({}, {MetaOp::Put(key, value)}).status());
        }
        return above + 1;
      };
    }
    return std::move(*GenerationStore::Open(settings));
  };
  const auto writer = open(true);
  const auto follower = open(false);
  ASSERT_TRUE(Eventually([&] { return writer->Ready().ok() && follower->Ready().ok(); }));
  const auto save = [&](const std::string& key) {
    ASSERT_TRUE(Eventually([&] { return writer->Commit({}, {MetaOp::Put(key, "v")}).ok(); })) << writer->Ready().message();
    MutexLock lock(mutex);
    saved[key] = "v";
  };
  for (int i = 0; i < 50; ++i) save("k/" + std::to_string(i));
  std::atomic<size_t> held{0};
  std::atomic<size_t> fewest{50};
  const auto count = [&](int64_t change) {
    held += static_cast<size_t>(change);
    fewest = std::min(fewest.load(), held.load());
  };
  std::set<std::string> keys;
  PrefixView view(
      follower.get(), "k/", &pool_, &timer_,
      [&](std::vector<KeyValue> kvs, Revision) {
        for (const KeyValue& kv : kvs) keys.insert(kv.key);
        held = keys.size();
      },
      [&](const std::vector<WatchEvent>& events, Revision) {
        for (const WatchEvent& event : events) {
          event.kind == WatchEvent::Kind::kPut ? (void)keys.insert(event.kv.key) : (void)keys.erase(event.kv.key);
        }
        count(static_cast<int64_t>(keys.size()) - static_cast<int64_t>(held.load()));
      });
  ASSERT_TRUE(view.Start().ok());
  for (int round = 0; round < 3; ++round) {
    const Revision before = *writer->CurrentRevision();
    server_->Wipe();
    const Status lost = InTime("commit", [&] { return writer->Commit({}, {MetaOp::Put("k/lost", "v")}).status(); });
    // Sent before the connection was seen to be gone, its fate is unknown.
    EXPECT_TRUE(lost.code() == ErrorCode::kServiceUnavailable || lost.code() == ErrorCode::kDeadlineExceeded) << lost.ToString();
    server_->Start();
    const Stopwatch since;
    save("k/after" + std::to_string(round));
    EXPECT_LT(since.elapsed_ms(), 10'000);
    const Revision now = *writer->CurrentRevision();
    EXPECT_EQ(GenerationOf(now), GenerationOf(before) + 1);
    ASSERT_TRUE(view.WaitForRevision(now, In(seconds(20))).ok());
    EXPECT_EQ(held, saved.size());
  }
  EXPECT_GE(fewest, 50u);
}

TEST_F(EtcdFaults, ARevisionThatWentBackIsNoticedByTheNextCall) {
  Begin();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(store_->Commit({}, {MetaOp::Put("k", "1")}).ok());
  server_->Wipe();
  server_->Start();
  Status status;
  ASSERT_TRUE(Eventually([&] {
    status = store_->Commit({}, {MetaOp::Put("k", "2")}).status();
    return status.code() != ErrorCode::kServiceUnavailable && status.code() != ErrorCode::kDeadlineExceeded;
  }));
  EXPECT_EQ(status.code(), ErrorCode::kCorrupted) << status.ToString();
}

// ---- recipes

SessionInfo NodeInfo(int64_t node) {
  SessionInfo info;
  info.node = NodeId(node);
  info.role = "datanode";
  return info;
}

TEST_F(EtcdFaults, SessionAndLeaderSurviveAnOutageLongerThanTheirLease) {
  Begin();
  constexpr seconds kTtl(2);
  Session session(store_.get(), NodeInfo(7), kTtl, &pool_, &timer_);
  ASSERT_TRUE(session.Start().ok());
  SessionView peers(store_.get(), "datanode", &pool_, &timer_);
  ASSERT_TRUE(peers.Start().ok());
  std::atomic<int> elected{0};
  std::atomic<int> deposed{0};
  Election election(
      store_.get(), "rootcoord", "one", kTtl, &pool_, &timer_, [&](Revision) { ++elected; }, [&] { ++deposed; });
  election.Campaign();
  ASSERT_TRUE(election.WaitUntilElected(In(seconds(10))).ok());
  ASSERT_TRUE(election.MayLead());
  const std::string key = SessionKey("datanode", NodeId(7));
  const auto outage = [&](const std::function<void()>& begin, const std::function<void()>& end) {
    const Stopwatch since;
    begin();
    ASSERT_TRUE(Eventually([&] { return !election.MayLead(); }));
    EXPECT_LT(since.elapsed_ms(), 2000) << "it steps down by its own clock, before its lease is over";
    std::this_thread::sleep_for(kTtl + milliseconds(500));
    end();
    const Stopwatch back;
    EXPECT_TRUE(Eventually([&] { return election.MayLead() && session.registered() && store_->Get(key).ok(); }));
    std::printf("[          ] leading and registered again after %ld ms\n", static_cast<long>(back.elapsed_ms()));
    EXPECT_LT(back.elapsed_ms(), 8000);
    EXPECT_TRUE(store_->Commit({election.Fence()}, {MetaOp::Put("decision", "1")}).ok() ||
                Eventually([&] { return store_->Commit({election.Fence()}, {MetaOp::Put("decision", "1")}).ok(); }));
    EXPECT_TRUE(Eventually([&] { return peers.List().size() == 1 && peers.List()[0].node == NodeId(7); }));
  };
  outage([&] { server_->Kill(); }, [&] { server_->Start(); });
  outage([&] { server_->Pause(); }, [&] { server_->Resume(); });
  // It stays: no stale lease takes the key away later.
  std::this_thread::sleep_for(kTtl + seconds(1));
  EXPECT_TRUE(Eventually([&] { return store_->Get(key).ok() && session.registered(); }));
  EXPECT_GE(elected, 1);
}

TEST_F(EtcdFaults, AStandbyTakesOverWhenTheLeadersLeaseRunsOut) {
  Begin();
  constexpr seconds kTtl(2);
  ThreadPool pool("first", 2);
  Timer timer(&pool);
  auto first = std::make_unique<Election>(store_.get(), "rootcoord", "one", kTtl, &pool, &timer);
  first->Campaign();
  const auto token = first->WaitUntilElected(In(seconds(10)));
  ASSERT_TRUE(token.ok());
  const auto other = OpenOk(SettingsOf(*server_, "faults"));
  Election second(other.get(), "rootcoord", "two", kTtl, &pool_, &timer_);
  second.Campaign();
  EXPECT_FALSE(second.WaitUntilElected(In(milliseconds(500))).ok());
  // The first one's process hangs: no keepalive any more.
  timer.Stop();
  const auto next = second.WaitUntilElected(In(seconds(15)));
  ASSERT_TRUE(next.ok()) << next.status().ToString();
  EXPECT_GT(*next, *token);
  EXPECT_FALSE(first->MayLead());
  EXPECT_EQ(store_->Commit({first->Fence()}, {MetaOp::Put("x", "stale")}).status().code(), ErrorCode::kConflict);
  EXPECT_TRUE(other->Commit({second.Fence()}, {MetaOp::Put("x", "1")}).ok());
  first.reset();
  pool.Stop();
}

}  // namespace
}  // namespace saker
