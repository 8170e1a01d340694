#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <set>
#include <thread>

#include "base/clock.h"
#include "base/mutex.h"
#include "meta/election.h"
#include "meta/id_allocator.h"
#include "meta/keys.h"
#include "meta/recipes_store.h"
#include "meta/session.h"
#include "meta/watch.h"

namespace saker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::chrono::steady_clock::time_point In(milliseconds delay) { return std::chrono::steady_clock::now() + delay; }

template <typename Predicate>
bool Eventually(Predicate done) {
  for (const auto end = In(seconds(20)); std::chrono::steady_clock::now() < end;) {
    if (done()) return true;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return false;
}

// A store in front of another whose connection can be cut, whose watches can be broken, and whose leases expire.
class FlakyStore : public MetaStore {
 public:
  explicit FlakyStore(MetaStore* target) : target_(target) {}

  std::atomic<bool> down{false};
  std::atomic<bool> leases_expire{false};
  std::atomic<int> keepalives{0};

  // Ends all watches as a lost connection does.
  void BreakWatches() {
    std::vector<std::pair<std::shared_ptr<Link>, OnWatch>> links;
    {
      MutexLock lock(mutex_);
      links.swap(links_);
    }
    for (auto& [link, on_batch] : links) {
      std::unique_ptr<Watch> watch;
      {
        MutexLock lock(link->mutex);
        watch = std::move(link->watch);
      }
      if (watch == nullptr) continue;
      watch.reset();
      WatchBatch lost;
      lost.status = Down();
      on_batch(std::move(lost));
    }
  }

  Result<RangeResult> Range(const std::string& prefix, Revision at) override {
    if (down) return Down();
    return target_->Range(prefix, at);
  }
  Result<KeyValue> Get(const std::string& key, Revision at) override {
    if (down) return Down();
    return target_->Get(key, at);
  }
  Result<Revision> Commit(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops) override {
    if (down) return Down();
    return target_->Commit(compares, ops);
  }
  Result<std::unique_ptr<Watch>> WatchPrefix(const std::string& prefix, Revision from, OnWatch on_batch) override {
    if (down) return Down();
    auto link = std::make_shared<Link>();
    ASSIGN_OR_RETURN(link->watch, target_->WatchPrefix(prefix, from, on_batch));
    MutexLock lock(mutex_);
    links_.emplace_back(link, std::move(on_batch));
    return std::unique_ptr<Watch>(std::make_unique<LinkWatch>(link));
  }
  Result<LeaseId> Grant(seconds ttl) override {
    if (down) return Down();
    return target_->Grant(ttl);
  }
  Status KeepAlive(LeaseId lease) override {
    ++keepalives;
    if (down) return Down();
    return target_->KeepAlive(lease);
  }
  Status Revoke(LeaseId lease) override {
    if (down) return Down();
    return target_->Revoke(lease);
  }
  bool LeasesExpire() const override { return leases_expire; }
  Result<Revision> CurrentRevision() override { return target_->CurrentRevision(); }
  Status Compact(Revision revision) override { return target_->Compact(revision); }

 private:
  struct Link {
    Mutex mutex;
    std::unique_ptr<Watch> watch;
  };
  class LinkWatch : public Watch {
   public:
    explicit LinkWatch(std::shared_ptr<Link> link) : link_(std::move(link)) {}
    ~LinkWatch() override {
      std::unique_ptr<Watch> watch;
      MutexLock lock(link_->mutex);
      watch = std::move(link_->watch);
      lock.Unlock();
    }

   private:
    const std::shared_ptr<Link> link_;
  };
  static Status Down() { return {ErrorCode::kServiceUnavailable, "the meta store can't be reached"}; }

  MetaStore* const target_;
  Mutex mutex_;
  std::vector<std::pair<std::shared_ptr<Link>, OnWatch>> links_;
};

class Recipes : public testing::Test {
 protected:
  Recipes() : pool_("recipes", 2), timer_(&pool_) {
    std::string pattern = (std::filesystem::temp_directory_path() / "saker-recipes-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    target_ = OpenStoreForRecipes(directory_);
    store_ = std::make_unique<FlakyStore>(target_.get());
  }
  void SetUp() override {
    if (target_ == nullptr) GTEST_SKIP() << "no server to run on: tests/servers/install.sh etcd puts it there";
  }
  ~Recipes() override {
    timer_.Stop();
    pool_.Stop();
    store_.reset();
    target_.reset();
    std::filesystem::remove_all(directory_);
  }
  // Past the flaky connection.
  Revision Put(const std::string& key, const std::string& value) { return *target_->Commit({}, {MetaOp::Put(key, value)}); }
  Revision Delete(const std::string& key) { return *target_->Commit({}, {MetaOp::Delete(key)}); }

  std::string directory_;
  std::unique_ptr<MetaStore> target_;
  std::unique_ptr<FlakyStore> store_;
  ThreadPool pool_;
  Timer timer_;
};

// ---- PrefixView

// Applies what a view delivers, checking that it goes forward.
struct Mirror {
  Mutex mutex;
  std::map<std::string, std::string> map;
  Revision revision = 0;
  int snapshots = 0;
  int batches = 0;

  std::unique_ptr<PrefixView> Follow(MetaStore* store, const std::string& prefix, ThreadPool* pool, Timer* timer) {
    return std::make_unique<PrefixView>(
        store, prefix, pool, timer,
        [this](const std::vector<KeyValue>& kvs, Revision at) {
          MutexLock lock(mutex);
          ++snapshots;
          for (const KeyValue& kv : kvs) map[kv.key] = kv.value;
          revision = at;
        },
        [this](const std::vector<WatchEvent>& events, Revision at) {
          MutexLock lock(mutex);
          ++batches;
          EXPECT_GE(at, revision);
          revision = at;
          for (const WatchEvent& event : events) {
            if (event.kind == WatchEvent::Kind::kPut) {
              map[event.kv.key] = event.kv.value;
            } else {
              EXPECT_EQ(map.erase(event.kv.key), 1u) << event.kv.key << " was deleted twice";
            }
          }
        });
  }
  std::map<std::string, std::string> Now() {
    MutexLock lock(mutex);
    return map;
  }
};
using Map = std::map<std::string, std::string>;

TEST_F(Recipes, AViewHoldsWhatTheStoreHolds) {
  Put("v/a", "1");
  Mirror mirror;
  const auto view = mirror.Follow(store_.get(), "v/", &pool_, &timer_);
  EXPECT_EQ(view->revision(), 0);
  ASSERT_TRUE(view->Start().ok());
  EXPECT_EQ(mirror.Now(), (Map{{"v/a", "1"}}));
  Put("v/b", "2");
  Put("v/a", "3");
  const Revision last = Delete("v/b");
  ASSERT_TRUE(view->WaitForRevision(last, In(seconds(20))).ok());
  EXPECT_EQ(mirror.Now(), (Map{{"v/a", "3"}}));
  const Revision elsewhere = Put("w", "1");
  EXPECT_TRUE(view->WaitForRevision(elsewhere, In(seconds(20))).ok());
  EXPECT_EQ(view->WaitForRevision(elsewhere + 1, In(milliseconds(20))).code(), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(mirror.snapshots, 1);
}

TEST_F(Recipes, AViewCatchesUpAfterALostWatch) {
  Put("v/same", "1");
  Put("v/changed", "1");
  Put("v/gone", "1");
  Mirror mirror;
  const auto view = mirror.Follow(store_.get(), "v/", &pool_, &timer_);
  ASSERT_TRUE(view->Start().ok());
  store_->down = true;
  store_->BreakWatches();
  Put("v/changed", "2");
  Put("v/new", "1");
  Put("v/passing", "1");
  Delete("v/passing");
  const Revision last = Delete("v/gone");
  ASSERT_TRUE(target_->Compact(last).ok());
  std::this_thread::sleep_for(milliseconds(120));
  EXPECT_EQ(mirror.Now().size(), 3u);
  store_->down = false;
  ASSERT_TRUE(view->WaitForRevision(last, In(seconds(20))).ok());
  EXPECT_EQ(mirror.Now(), (Map{{"v/same", "1"}, {"v/changed", "2"}, {"v/new", "1"}}));
  EXPECT_EQ(mirror.snapshots, 1);
  const Revision later = Put("v/after", "1");
  ASSERT_TRUE(view->WaitForRevision(later, In(seconds(20))).ok());
  EXPECT_EQ(mirror.Now().count("v/after"), 1u);
}

TEST_F(Recipes, AViewStartsOnceTheStoreIsThere) {
  store_->down = true;
  Put("v/a", "1");
  Mirror mirror;
  const auto view = mirror.Follow(store_.get(), "v/", &pool_, &timer_);
  EXPECT_EQ(view->Start().code(), ErrorCode::kServiceUnavailable);
  store_->down = false;
  const Revision last = Put("v/b", "1");
  ASSERT_TRUE(view->WaitForRevision(last, In(seconds(20))).ok());
  EXPECT_EQ(mirror.Now().size(), 2u);
  EXPECT_EQ(mirror.snapshots, 1);
}

// Broken again and again while others write, a view still ends up with exactly what is there.
TEST_F(Recipes, AViewSurvivesAnyNumberOfLosses) {
  Mirror mirror;
  const auto view = mirror.Follow(store_.get(), "v/", &pool_, &timer_);
  ASSERT_TRUE(view->Start().ok());
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (int i = 0; i < 300; ++i) {
      i % 3 == 2 ? (void)Delete("v/" + std::to_string((i - 2) % 7)) : (void)Put("v/" + std::to_string(i % 7), std::to_string(i));
    }
    done = true;
  });
  while (!done) {
    store_->BreakWatches();
    std::this_thread::sleep_for(milliseconds(2));
  }
  writer.join();
  ASSERT_TRUE(view->WaitForRevision(*target_->CurrentRevision(), In(seconds(20))).ok());
  Map expected;
  const Result<RangeResult> range = target_->Range("v/");
  for (const KeyValue& kv : range->kvs) expected[kv.key] = kv.value;
  EXPECT_EQ(mirror.Now(), expected);
}

// ---- sessions

SessionInfo NodeInfo(const std::string& role, int64_t node) {
  SessionInfo info;
  info.node = NodeId(node);
  info.role = role;
  info.address = "10.0.0." + std::to_string(node) + ":19530";
  info.version = "0.1.0";
  info.incarnation = 3;
  info.started_unix_ms = 12345;
  return info;
}

TEST_F(Recipes, SessionInfoSurvivesItsEncoding) {
  const SessionInfo info = NodeInfo("proxy", 7);
  const auto back = DecodeSession(Encode(info));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->node, info.node);
  EXPECT_EQ(back->address, info.address);
  EXPECT_EQ(back->started_unix_ms, 12345);
  EXPECT_TRUE(DecodeSession(Encode(info) + "a later version's field").ok());
  EXPECT_EQ(DecodeSession(Encode(info).substr(0, 10)).status().code(), ErrorCode::kCorrupted);
}

TEST_F(Recipes, PeersSeeEachOtherComeAndGo) {
  std::atomic<int> changes{0};
  SessionView proxies(store_.get(), "proxy", &pool_, &timer_, [&] { ++changes; });
  SessionView all(store_.get(), "", &pool_, &timer_);
  ASSERT_TRUE(proxies.Start().ok());
  ASSERT_TRUE(all.Start().ok());
  auto proxy = std::make_unique<Session>(store_.get(), NodeInfo("proxy", 7), seconds(10), &pool_, &timer_);
  ASSERT_TRUE(proxy->Start().ok());
  EXPECT_TRUE(proxy->registered());
  Session node(store_.get(), NodeInfo("datanode", 8), seconds(10), &pool_, &timer_);
  ASSERT_TRUE(node.Start().ok());
  ASSERT_TRUE(Eventually([&] { return all.List().size() == 2; }));
  ASSERT_TRUE(Eventually([&] { return proxies.List().size() == 1; }));
  EXPECT_EQ(proxies.List()[0].node, NodeId(7));
  EXPECT_EQ(all.Find(NodeId(8))->role, "datanode");
  EXPECT_GE(changes, 1);
  proxy.reset();
  EXPECT_TRUE(Eventually([&] { return proxies.List().empty() && all.List().size() == 1; }));
  EXPECT_EQ(store_->keepalives, 0) << "embedded leases need no keepalive";
}

TEST_F(Recipes, ASessionRegistersAgainWhenItsLeaseIsLost) {
  Session session(store_.get(), NodeInfo("proxy", 7), seconds(10), &pool_, &timer_);
  ASSERT_TRUE(session.Start().ok());
  const std::string key = SessionKey("proxy", NodeId(7));
  for (int round = 0; round < 3; ++round) {
    const Result<KeyValue> before = target_->Get(key);
    ASSERT_TRUE(before.ok());
    ASSERT_TRUE(target_->Revoke(before->lease).ok());
    ASSERT_TRUE(Eventually([&] {
      const Result<KeyValue> now = target_->Get(key);
      return now.ok() && now->create_revision > before->create_revision && session.registered();
    }));
  }
  Delete(key);
  EXPECT_TRUE(Eventually([&] { return target_->Get(key).ok(); }));
}

TEST_F(Recipes, ASessionIsKeptAliveWhereLeasesExpireAndOutlivesAnOutage) {
  store_->leases_expire = true;
  Session session(store_.get(), NodeInfo("proxy", 7), seconds(1), &pool_, &timer_);
  ASSERT_TRUE(session.Start().ok());
  ASSERT_TRUE(Eventually([&] { return store_->keepalives >= 2; }));
  store_->down = true;
  store_->BreakWatches();
  const std::string key = SessionKey("proxy", NodeId(7));
  ASSERT_TRUE(target_->Revoke(target_->Get(key)->lease).ok());
  EXPECT_FALSE(target_->Get(key).ok());
  store_->down = false;
  EXPECT_TRUE(Eventually([&] { return target_->Get(key).ok() && session.registered(); }));
}

TEST_F(Recipes, ASessionStartsOnceTheStoreIsThere) {
  store_->down = true;
  Session session(store_.get(), NodeInfo("proxy", 7), seconds(10), &pool_, &timer_);
  EXPECT_EQ(session.Start().code(), ErrorCode::kServiceUnavailable);
  EXPECT_FALSE(session.registered());
  store_->down = false;
  EXPECT_TRUE(Eventually([&] { return session.registered(); }));
}

TEST_F(Recipes, ASessionWaitsForAnotherProcessUnderItsNameOrAddress) {
  SessionInfo copied = NodeInfo("datanode", 7);
  copied.address = "10.0.0.9:19530";
  copied.incarnation = 4;
  SessionInfo misplaced = NodeInfo("datanode", 8);
  misplaced.address = "10.0.0.7:19530";
  auto first = std::make_unique<Session>(store_.get(), NodeInfo("datanode", 7), seconds(10), &pool_, &timer_);
  ASSERT_TRUE(first->Start().ok());
  for (const SessionInfo& info : {copied, misplaced}) {
    Session second(store_.get(), info, seconds(10), &pool_, &timer_);
    const Status refused = second.Start();
    EXPECT_EQ(refused.code(), ErrorCode::kNodeNotMatch) << refused.ToString();
    EXPECT_NE(refused.message().find("10.0.0.7:19530"), std::string::npos) << refused.message();
    EXPECT_FALSE(second.registered());
    EXPECT_EQ(second.Health().message(), refused.message());
    EXPECT_TRUE(first->registered());
  }
  Session second(store_.get(), copied, seconds(10), &pool_, &timer_);
  EXPECT_FALSE(second.Start().ok());
  first.reset();
  EXPECT_TRUE(Eventually([&] { return second.registered(); })) << "once the other one is gone";
  EXPECT_TRUE(second.Health().ok());
}

TEST_F(Recipes, ANodeStartedAnewTakesItsSessionOverAndTheFormerOneSaysSo) {
  Session first(store_.get(), NodeInfo("datanode", 7), seconds(10), &pool_, &timer_);
  ASSERT_TRUE(first.Start().ok());
  SessionInfo info = NodeInfo("datanode", 7);
  info.incarnation = 4;
  auto second = std::make_unique<Session>(store_.get(), info, seconds(10), &pool_, &timer_);
  ASSERT_TRUE(second->Start().ok()) << "kill -9 and a new start within the lease cost nothing";
  ASSERT_TRUE(Eventually([&] { return !first.registered() && first.Health().code() == ErrorCode::kNodeNotMatch; }));
  EXPECT_NE(first.Health().message().find("data directory"), std::string::npos) << first.Health().message();
  EXPECT_TRUE(second->registered()) << "they don't take it from each other by turns";
  second.reset();
  EXPECT_TRUE(Eventually([&] { return first.registered(); }));
}

// ---- election

TEST_F(Recipes, OneLeadsAndTheStandbyTakesOver) {
  std::atomic<int> elections{0};
  std::atomic<Revision> told{0};
  auto first = std::make_unique<Election>(store_.get(), "rootcoord", "one", seconds(10), &pool_, &timer_, [&](Revision token) {
    ++elections;
    told = token;
  });
  Election second(store_.get(), "rootcoord", "two", seconds(10), &pool_, &timer_);
  EXPECT_FALSE(first->MayLead());
  first->Campaign();
  const Result<Revision> token = first->WaitUntilElected(In(seconds(20)));
  ASSERT_TRUE(token.ok()) << token.status().ToString();
  EXPECT_TRUE(first->MayLead());
  EXPECT_EQ(target_->Get(LeaderKey("rootcoord"))->create_revision, *token);
  EXPECT_EQ(target_->Get(LeaderKey("rootcoord"))->value, "one");
  EXPECT_TRUE(Eventually([&] { return told == *token; }));
  second.Campaign();
  const Result<Revision> waiting = second.WaitUntilElected(In(milliseconds(100)));
  ASSERT_FALSE(waiting.ok());
  EXPECT_NE(waiting.status().message().find("one leads"), std::string::npos) << waiting.status().message();
  const Compare fence = first->Fence();
  EXPECT_TRUE(store_->Commit({fence}, {MetaOp::Put("decision", "1")}).ok());
  EXPECT_EQ(store_->Commit({second.Fence()}, {MetaOp::Put("decision", "2")}).status().code(), ErrorCode::kConflict);
  first->Resign();
  EXPECT_FALSE(first->MayLead());
  const Result<Revision> next = second.WaitUntilElected(In(seconds(20)));
  ASSERT_TRUE(next.ok());
  EXPECT_GT(*next, *token);
  EXPECT_EQ(store_->Commit({fence}, {MetaOp::Put("decision", "stale")}).status().code(), ErrorCode::kConflict);
  EXPECT_TRUE(store_->Commit({second.Fence()}, {MetaOp::Put("decision", "2")}).ok());
  EXPECT_EQ(elections, 1);
  EXPECT_EQ(store_->keepalives, 0);
}

TEST_F(Recipes, ADeposedLeaderIsToldAndStandsAgain) {
  std::atomic<int> deposed{0};
  Election election(store_.get(), "datacoord", "one", seconds(10), &pool_, &timer_, {}, [&] { ++deposed; });
  election.Campaign();
  const Result<Revision> token = election.WaitUntilElected(In(seconds(20)));
  ASSERT_TRUE(token.ok());
  ASSERT_TRUE(target_->Revoke(target_->Get(LeaderKey("datacoord"))->lease).ok());
  ASSERT_TRUE(Eventually([&] { return deposed == 1 && election.token() > *token; }));
  EXPECT_TRUE(election.MayLead());
}

// Without a leader's key no transaction of somebody who doesn't lead may pass.
TEST_F(Recipes, WhoDoesNotLeadPassesNoFence) {
  Election election(store_.get(), "rootcoord", "one", seconds(10), &pool_, &timer_);
  EXPECT_EQ(store_->Commit({election.Fence()}, {MetaOp::Put("x", "1")}).status().code(), ErrorCode::kConflict);
}

TEST_F(Recipes, ALeaderCutOffStopsAtTwoThirdsOfItsLease) {
  store_->leases_expire = true;
  Election election(store_.get(), "rootcoord", "one", seconds(1), &pool_, &timer_);
  election.Campaign();
  ASSERT_TRUE(election.WaitUntilElected(In(seconds(20))).ok());
  std::this_thread::sleep_for(milliseconds(1200));
  EXPECT_TRUE(election.MayLead()) << "it renews its lease";
  store_->down = true;
  const Stopwatch since;
  ASSERT_TRUE(Eventually([&] { return !election.MayLead(); }));
  EXPECT_LT(since.elapsed_ms(), 1000);
  store_->down = false;
  EXPECT_TRUE(Eventually([&] { return election.MayLead(); }));
}

TEST_F(Recipes, OfManyCandidatesOneLeadsAtATime) {
  std::atomic<int> leading{0};
  std::atomic<int> elected{0};
  std::vector<std::unique_ptr<Election>> candidates;
  for (int i = 0; i < 5; ++i) {
    candidates.push_back(std::make_unique<Election>(store_.get(), "querycoord", std::to_string(i), seconds(10), &pool_, &timer_,
                                                    [&](Revision) {
                                                      EXPECT_EQ(++leading, 1);
                                                      ++elected;
                                                    }));
    candidates.back()->Campaign();
  }
  for (int round = 1; round <= 5; ++round) {
    ASSERT_TRUE(Eventually([&] { return elected == round; }));
    const auto leader = std::find_if(candidates.begin(), candidates.end(), [](const auto& c) { return c != nullptr && c->token() != 0; });
    ASSERT_NE(leader, candidates.end());
    --leading;
    leader->reset();
  }
  EXPECT_FALSE(target_->Get(LeaderKey("querycoord")).ok());
}

// ---- ids and keys

TEST_F(Recipes, IdsComeInOrderAndNeverTwice) {
  std::set<int64_t> seen;
  for (int process = 0; process < 3; ++process) {
    IdAllocator ids(store_.get(), 10);
    int64_t previous = 0;
    for (int i = 0; i < 25; ++i) {
      const Result<int64_t> id = ids.Next();
      ASSERT_TRUE(id.ok());
      EXPECT_GT(*id, previous);
      EXPECT_TRUE(seen.insert(*id).second) << *id;
      previous = *id;
    }
    const Result<int64_t> many = ids.Next(1000);
    ASSERT_TRUE(many.ok());
    for (int64_t i = 0; i < 1000; ++i) EXPECT_TRUE(seen.insert(*many + i).second);
  }
  EXPECT_GE(*seen.begin(), 1);
  IdAllocator ids(store_.get(), 10);
  EXPECT_EQ(ids.Next(0).status().code(), ErrorCode::kParameterInvalid);
  EXPECT_EQ(ids.Next(-1).status().code(), ErrorCode::kParameterInvalid);
}

TEST_F(Recipes, IdsAreTakenABlockAtATime) {
  IdAllocator ids(store_.get(), 100);
  const Revision before = *target_->CurrentRevision();
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(ids.Next().ok());
  EXPECT_EQ(*target_->CurrentRevision(), before + 10);
  EXPECT_EQ(*ids.Next(), 1001) << "alone, an allocator leaves no holes";
}

TEST_F(Recipes, ManyAllocatorsAndThreadsShareOneSequence) {
  IdAllocator shared(store_.get(), 7);
  Mutex mutex;
  std::set<int64_t> seen;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      IdAllocator own(store_.get(), 5);
      for (int i = 0; i < 150; ++i) {
        const Result<int64_t> id = (t % 2 == 0 ? own : shared).Next(2);
        ASSERT_TRUE(id.ok()) << id.status().ToString();
        MutexLock lock(mutex);
        EXPECT_TRUE(seen.insert(*id).second);
        EXPECT_TRUE(seen.insert(*id + 1).second);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(seen.size(), 4u * 150 * 2);
}

TEST_F(Recipes, IdsFailWithTheStoresReason) {
  IdAllocator ids(store_.get(), 10);
  store_->down = true;
  EXPECT_EQ(ids.Next().status().code(), ErrorCode::kServiceUnavailable);
  store_->down = false;
  Put(std::string(kNextIdKey), "nonsense");
  EXPECT_EQ(ids.Next().status().code(), ErrorCode::kCorrupted);
}

TEST(Keys, SortByNumberAndSayIt) {
  EXPECT_EQ(CollectionKey(CollectionId(42)), "catalog/collection/00000000000000000042");
  EXPECT_EQ(SegmentKey(CollectionId(1), SegmentId(449000000000000001)), "segment/00000000000000000001/00449000000000000001");
  EXPECT_TRUE(SegmentKey(CollectionId(1), SegmentId(2)).starts_with(SegmentPrefix(CollectionId(1))));
  EXPECT_FALSE(SegmentKey(CollectionId(10), SegmentId(2)).starts_with(SegmentPrefix(CollectionId(1))));
  EXPECT_LT(CollectionKey(CollectionId(9)), CollectionKey(CollectionId(10)));
  EXPECT_EQ(SessionKey("proxy", NodeId(3)), "session/proxy/00000000000000000003");
  EXPECT_EQ(LeaderKey("rootcoord"), "leader/rootcoord");
  EXPECT_EQ(UserKey("root"), "catalog/user/root");
  EXPECT_EQ(IdInKey(SegmentKey(CollectionId(1), SegmentId(77))), 77);
  EXPECT_EQ(IdInKey("catalog/user/root"), std::nullopt);
  EXPECT_EQ(IdInKey(""), std::nullopt);
}

}  // namespace
}  // namespace saker
