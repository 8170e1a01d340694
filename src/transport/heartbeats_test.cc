#include "transport/heartbeats.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace saker {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

// Time and a network that do what the test says, in one thread.
class World {
 public:
  HeartbeatDeps Deps() {
    HeartbeatDeps deps;
    deps.now_us = [this] { return now_us_; };
    deps.after = [this](std::chrono::milliseconds delay, Task task) { At(now_us_ + delay.count() * 1000, std::move(task)); };
    deps.ping = [this](NodeId peer, std::chrono::milliseconds timeout, Callback<PingReply> done) {
      ++pings;
      const int64_t sent_us = now_us_;
      const Peer& state = peers[peer];
      if (state.refuses) return At(sent_us + 500, [done] { done(Status(ErrorCode::kServiceUnavailable, "refused")); });
      if (state.silent) {
        return At(sent_us + timeout.count() * 1000, [done] { done(Status(ErrorCode::kDeadlineExceeded, "no answer")); });
      }
      At(sent_us + 1000, [done, peer, state] { done(PingReply{peer, {"datanode"}, state.incarnation, {}}); });
    };
    deps.ask = [this](NodeId observer, NodeId suspect, Callback<bool> done) {
      ++asked;
      const Peer& state = peers[observer];
      if (state.silent || state.refuses) return At(now_us_ + 400'000, [done] { done(Status(ErrorCode::kDeadlineExceeded, "no answer")); });
      const bool reached = peers[suspect].reached_by_others || !(peers[suspect].silent || peers[suspect].refuses);
      At(now_us_ + 1000, [done, reached] { done(reached); });
    };
    return deps;
  }
  void Run(std::chrono::milliseconds time) {
    const int64_t end_us = now_us_ + time.count() * 1000;
    while (!tasks_.empty() && tasks_.begin()->first <= end_us) {
      now_us_ = std::max(now_us_, tasks_.begin()->first);
      const Task task = std::move(tasks_.begin()->second);
      tasks_.erase(tasks_.begin());
      task();
    }
    now_us_ = end_us;
  }
  // This process stands still: what was due happens late.
  void Stall(std::chrono::milliseconds time) { now_us_ += time.count() * 1000; }
  bool idle() const { return tasks_.empty(); }
  int64_t now_ms() const { return now_us_ / 1000; }

  struct Peer {
    bool silent = false;   // paused, or the network is cut
    bool refuses = false;  // the process is gone, its host is there
    bool reached_by_others = false;
    int64_t incarnation = 1;
  };
  std::map<NodeId, Peer> peers;
  int pings = 0;
  int asked = 0;

 private:
  void At(int64_t us, Task task) { tasks_.emplace(us, std::move(task)); }
  int64_t now_us_ = 1'000'000;
  std::multimap<int64_t, Task> tasks_;
};

class HeartbeatsTest : public testing::Test {
 protected:
  void Watch(std::set<NodeId> nodes) { heartbeats_.Watch(nodes); }
  // What was told since the last time: node and health.
  std::vector<std::pair<int64_t, PeerHealth>> Told() { return std::exchange(told_, {}); }

  World world_;
  std::vector<std::pair<int64_t, PeerHealth>> told_;
  std::vector<bool> cut_off_;
  int64_t told_at_ms_ = 0;
  Heartbeats heartbeats_{{},
                         world_.Deps(),
                         [this](NodeId node, const PeerState& state) {
                           told_.emplace_back(node.value, state.health);
                           told_at_ms_ = world_.now_ms();
                         },
                         [this](bool cut_off) { cut_off_.push_back(cut_off); }};
};

TEST_F(HeartbeatsTest, IsSilentWithNobodyToWatch) {
  world_.Run(10s);
  EXPECT_EQ(world_.pings, 0);
  EXPECT_TRUE(world_.idle());
  Watch({NodeId(1)});
  world_.Run(3s);
  EXPECT_GE(world_.pings, 9);
  EXPECT_LE(world_.pings, 12);
  Watch({});
  world_.Run(1s);
  const int pings = world_.pings;
  world_.Run(10s);
  EXPECT_EQ(world_.pings, pings);
  EXPECT_TRUE(world_.idle());
  EXPECT_EQ(heartbeats_.Find(NodeId(1)), std::nullopt);
}

TEST_F(HeartbeatsTest, TellsWhoIsAlive) {
  Watch({NodeId(1), NodeId(2)});
  EXPECT_EQ(heartbeats_.Find(NodeId(1))->health, PeerHealth::kUnknown);
  world_.Run(100ms);
  EXPECT_THAT(Told(), ElementsAre(Pair(1, PeerHealth::kAlive), Pair(2, PeerHealth::kAlive)));
  world_.Run(5s);
  EXPECT_THAT(Told(), IsEmpty());
  EXPECT_EQ(heartbeats_.Find(NodeId(2))->last.roles, std::vector<std::string>{"datanode"});
}

TEST_F(HeartbeatsTest, APausedPeerIsDeadAfterAboutASecond) {
  Watch({NodeId(1), NodeId(2), NodeId(3)});
  for (const int phase_ms : {0, 60, 150, 299}) {
    world_.Run(std::chrono::milliseconds(2000 + phase_ms));
    Told();
    world_.peers[NodeId(1)].silent = true;
    const int64_t paused_ms = world_.now_ms();
    world_.Run(3s);
    EXPECT_THAT(Told(), ElementsAre(Pair(1, PeerHealth::kDead)));
    EXPECT_LE(told_at_ms_ - paused_ms, 1150);
    EXPECT_GE(told_at_ms_ - paused_ms, 400);
    world_.peers[NodeId(1)].silent = false;
    world_.Run(1s);
    EXPECT_THAT(Told(), ElementsAre(Pair(1, PeerHealth::kAlive)));
  }
  EXPECT_THAT(cut_off_, IsEmpty());
}

TEST_F(HeartbeatsTest, AKilledPeerIsDeadSooner) {
  Watch({NodeId(1), NodeId(2), NodeId(3)});
  world_.Run(2s);
  Told();
  world_.peers[NodeId(2)].refuses = true;
  const int64_t killed_ms = world_.now_ms();
  world_.Run(3s);
  EXPECT_THAT(Told(), ElementsAre(Pair(2, PeerHealth::kDead)));
  EXPECT_LE(told_at_ms_ - killed_ms, 700);
}

TEST_F(HeartbeatsTest, OneLostPingIsNoDeath) {
  Watch({NodeId(1), NodeId(2), NodeId(3)});
  world_.Run(2s);
  Told();
  for (int i = 0; i < 20; ++i) {
    world_.peers[NodeId(1)].silent = true;
    world_.Run(301ms);  // one ping falls into it
    world_.peers[NodeId(1)].silent = false;
    world_.Run(2s);
  }
  EXPECT_THAT(Told(), IsEmpty());
}

TEST_F(HeartbeatsTest, ARestartIsTold) {
  Watch({NodeId(1)});
  world_.Run(1s);
  Told();
  world_.peers[NodeId(1)].incarnation = 2;
  world_.Run(1s);
  EXPECT_THAT(Told(), ElementsAre(Pair(1, PeerHealth::kAlive)));
  EXPECT_EQ(heartbeats_.Find(NodeId(1))->last.incarnation, 2);
}

TEST_F(HeartbeatsTest, WhoLosesMostPeersIsCutOff) {
  Watch({NodeId(1), NodeId(2), NodeId(3), NodeId(4)});
  world_.Run(2s);
  Told();
  for (int node : {1, 2, 3}) world_.peers[NodeId(node)].silent = true;
  world_.Run(5s);
  EXPECT_THAT(Told(), IsEmpty()) << "no death is told by who is cut off";
  EXPECT_THAT(cut_off_, ElementsAre(true));
  EXPECT_TRUE(heartbeats_.cut_off());
  // Two come back: the third was dead all the time.
  world_.peers[NodeId(1)].silent = world_.peers[NodeId(2)].silent = false;
  world_.Run(2s);
  EXPECT_THAT(cut_off_, ElementsAre(true, false));
  EXPECT_THAT(Told(), ElementsAre(Pair(3, PeerHealth::kDead)));
}

TEST_F(HeartbeatsTest, ACutAtAnyMomentIsNotTakenForDeaths) {
  Watch({NodeId(1)});
  world_.Run(70ms);  // their pings are out of step
  Watch({NodeId(1), NodeId(2)});
  world_.Run(140ms);
  Watch({NodeId(1), NodeId(2), NodeId(3)});
  for (int phase_ms = 0; phase_ms < 300; phase_ms += 10) {
    world_.Run(std::chrono::milliseconds(2000 + phase_ms));
    Told();
    cut_off_.clear();
    for (int node : {1, 2, 3}) world_.peers[NodeId(node)].silent = true;
    world_.Run(3s);
    EXPECT_THAT(Told(), IsEmpty()) << phase_ms;
    EXPECT_THAT(cut_off_, ElementsAre(true)) << phase_ms;
    for (int node : {1, 2, 3}) world_.peers[NodeId(node)].silent = false;
  }
}

TEST_F(HeartbeatsTest, OfOnePeerItsDeathIsTold) {
  Watch({NodeId(1)});
  world_.Run(1s);
  Told();
  world_.peers[NodeId(1)].silent = true;
  world_.Run(3s);
  EXPECT_THAT(Told(), ElementsAre(Pair(1, PeerHealth::kDead)));
  EXPECT_THAT(cut_off_, IsEmpty());
}

TEST_F(HeartbeatsTest, OwnStandstillIsNobodysDeath) {
  Watch({NodeId(1), NodeId(2), NodeId(3)});
  world_.Run(2s);
  Told();
  for (int i = 0; i < 5; ++i) {
    // Pings are under way and can't be answered in time, since this process does not run.
    for (int node : {1, 2, 3}) world_.peers[NodeId(node)].silent = true;
    world_.Run(305ms);
    world_.Stall(10s);
    for (int node : {1, 2, 3}) world_.peers[NodeId(node)].silent = false;
    world_.Run(2s);
  }
  EXPECT_THAT(Told(), IsEmpty());
  EXPECT_THAT(cut_off_, IsEmpty());
}

TEST_F(HeartbeatsTest, WhoIsNotWatchedAnyMoreIsNotTold) {
  Watch({NodeId(1), NodeId(2), NodeId(3)});
  world_.Run(1s);
  Told();
  world_.peers[NodeId(1)].silent = true;
  world_.Run(500ms);
  Watch({NodeId(2), NodeId(3)});
  world_.Run(3s);
  EXPECT_THAT(Told(), IsEmpty());
}

// A cut between two processes is no death: as long as somebody else reaches the node its work stays where it is.
TEST_F(HeartbeatsTest, WhomAnotherReachesIsNotDead) {
  Watch({NodeId(1), NodeId(2), NodeId(3)});
  world_.Run(1s);
  Told();
  world_.peers[NodeId(1)].silent = true;
  world_.peers[NodeId(1)].reached_by_others = true;
  world_.Run(10s);
  EXPECT_THAT(Told(), IsEmpty());
  EXPECT_GE(world_.asked, 5);
  EXPECT_FALSE(heartbeats_.cut_off());
  world_.peers[NodeId(1)].reached_by_others = false;
  world_.Run(2s);
  EXPECT_THAT(Told(), ElementsAre(Pair(1, PeerHealth::kDead)));
}

// The one that is asked may itself have just died: the next one is asked.
TEST_F(HeartbeatsTest, AnObserverThatDoesNotAnswerConfirmsNothing) {
  Watch({NodeId(1), NodeId(2), NodeId(3), NodeId(4), NodeId(5)});
  world_.Run(1s);
  Told();
  world_.peers[NodeId(1)].refuses = true;
  world_.peers[NodeId(2)].silent = true;
  world_.Run(4s);
  EXPECT_THAT(Told(), testing::UnorderedElementsAre(Pair(1, PeerHealth::kDead), Pair(2, PeerHealth::kDead)));
}

}  // namespace
}  // namespace saker
