#include "coord/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace saker {
namespace {

std::shared_ptr<SegmentMeta> Rows(int64_t id, int64_t rows = 100, int64_t size_bytes = 1000) {
  auto segment = std::make_shared<SegmentMeta>();
  segment->id = SegmentId(id);
  segment->collection = CollectionId(1);
  segment->partition = PartitionId(10);
  segment->rows = rows;
  segment->size_bytes = size_bytes;
  segment->max_ts = MakeTimestamp(1000);
  return segment;
}

std::shared_ptr<SegmentMeta> Deletes(int64_t id, int64_t rows, Timestamp max_ts) {
  auto segment = Rows(id, rows);
  segment->kind = SegmentKind::kDeletes;
  segment->partition = PartitionId();
  segment->max_ts = max_ts;
  return segment;
}

Collection Loaded() {
  Collection collection;
  collection.id = CollectionId(1);
  collection.partitions.push_back({PartitionId(10), "_default", 0});
  collection.load.loaded = true;
  collection.load.whole = true;
  return collection;
}

SegmentList List(std::initializer_list<std::shared_ptr<SegmentMeta>> segments) { return {segments.begin(), segments.end()}; }

const SegmentPlacement* Placed(const Placement& placement, int64_t segment) {
  for (const auto& placed : placement.segments) {
    if (placed.segment == SegmentId(segment)) return &placed;
  }
  return nullptr;
}

ChannelInput Channels(int channels, std::vector<ChannelAssignment> current, std::vector<NodeId> nodes) {
  ChannelInput input;
  input.channels = channels;
  input.current = std::move(current);
  input.nodes = std::move(nodes);
  return input;
}

// What the assignments are after this plan.
void Apply(const std::vector<ChannelAssignment>& changed, std::vector<ChannelAssignment>& current) {
  for (const auto& change : changed) {
    const auto it = std::find_if(current.begin(), current.end(), [&](const auto& a) { return a.channel == change.channel; });
    if (it == current.end()) {
      current.push_back(change);
    } else {
      *it = change;
    }
  }
}

TEST(PlanChannels, EveryChannelGetsALivingOwnerAndRisingEpochs) {
  const auto first = PlanChannels(Channels(4, {}, {NodeId(1), NodeId(2)}));
  ASSERT_EQ(first.size(), 4u);
  std::map<NodeId, int> owned;
  for (const auto& a : first) {
    EXPECT_EQ(a.epoch, 1);
    ++owned[a.owner];
  }
  EXPECT_EQ(owned[NodeId(1)], 2);
  EXPECT_TRUE(PlanChannels(Channels(4, first, {NodeId(1), NodeId(2)})).empty());
  for (const auto& a : PlanChannels(Channels(4, first, {NodeId(2)}))) {
    EXPECT_EQ(a.owner, NodeId(2));
    EXPECT_EQ(a.epoch, 2);
  }
  auto with_lost = Channels(4, first, {NodeId(1), NodeId(2)});
  with_lost.lost = {{3, 7}};
  const auto lost = PlanChannels(with_lost);
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_EQ(lost[0].channel, 3);
  EXPECT_EQ(lost[0].epoch, 8);
  EXPECT_TRUE(PlanChannels(Channels(4, first, {})).empty());
}

TEST(PlanChannels, ANewNodeGetsItsShareAFewChannelsAtATime) {
  std::vector<ChannelAssignment> current;
  Apply(PlanChannels(Channels(16, {}, {NodeId(1)})), current);
  const std::vector<std::vector<ChannelId>> collections{{3, 4}, {7, 8}, {15, 0}};
  int rounds = 0;
  while (true) {
    auto input = Channels(16, current, {NodeId(1), NodeId(2)});
    input.collections = collections;
    const auto begun = PlanChannels(input);
    if (begun.empty()) break;
    ASSERT_LT(++rounds, 20);
    ASSERT_LE(begun.size(), 2u);
    for (const auto& a : begun) {
      EXPECT_EQ(a.owner, NodeId(1)) << "it is served until it is handed over";
      EXPECT_EQ(a.successor, NodeId(2));
      EXPECT_EQ(a.epoch, 1);
      input.handed_over.insert(a.channel);
    }
    Apply(begun, current);
    auto waiting = Channels(16, current, {NodeId(1), NodeId(2)});
    EXPECT_TRUE(PlanChannels(waiting).empty()) << "no more until these have moved";
    waiting.handed_over = input.handed_over;
    const auto moved = PlanChannels(waiting);
    for (const ChannelId channel : input.handed_over) {
      const auto it = std::find_if(moved.begin(), moved.end(), [&](const auto& a) { return a.channel == channel; });
      ASSERT_NE(it, moved.end());
      EXPECT_EQ(it->owner, NodeId(2));
      EXPECT_FALSE(it->successor);
      EXPECT_EQ(it->epoch, 2);
    }
    for (const auto& change : moved) {
      if (input.handed_over.contains(change.channel)) Apply({change}, current);
    }
  }
  std::map<NodeId, int> owned;
  for (const auto& a : current) ++owned[a.owner];
  EXPECT_EQ(owned[NodeId(1)], 8);
  for (const auto& shards : collections) {
    std::set<NodeId> owners;
    for (const ChannelId shard : shards) owners.insert(current[static_cast<size_t>(shard)].owner);
    EXPECT_EQ(owners.size(), 2u) << "shards " << shards[0] << " and " << shards[1] << " are on one node";
  }
}

TEST(PlanChannels, ADrainingNodeLosesAllItsChannelsAndGetsNone) {
  std::vector<ChannelAssignment> current;
  Apply(PlanChannels(Channels(6, {}, {NodeId(1), NodeId(2), NodeId(3)})), current);
  for (int round = 0; round < 20; ++round) {
    auto input = Channels(6, current, {NodeId(1), NodeId(2), NodeId(3)});
    input.draining = {NodeId(2)};
    for (const auto& a : current) {
      if (a.successor) input.handed_over.insert(a.channel);
      ASSERT_NE(a.successor, NodeId(2));
    }
    Apply(PlanChannels(input), current);
  }
  std::map<NodeId, int> owned;
  for (const auto& a : current) ++owned[a.owner];
  EXPECT_EQ(owned, (std::map<NodeId, int>{{NodeId(1), 3}, {NodeId(3), 3}}));
  // Nobody else is left: it keeps what it has.
  auto alone = Channels(6, current, {NodeId(1)});
  alone.draining = {NodeId(1)};
  for (const auto& a : PlanChannels(alone)) EXPECT_EQ(a.owner, NodeId(1));
}

TEST(PlanChannels, WhoDiesInAMoveEndsIt) {
  std::vector<ChannelAssignment> current;
  Apply(PlanChannels(Channels(4, {}, {NodeId(1)})), current);
  Apply(PlanChannels(Channels(4, current, {NodeId(1), NodeId(2)})), current);
  const auto moving = std::count_if(current.begin(), current.end(), [](const auto& a) { return a.successor == NodeId(2); });
  ASSERT_EQ(moving, 2);
  auto without_owner = current;
  Apply(PlanChannels(Channels(4, current, {NodeId(2)})), without_owner);
  for (const auto& a : without_owner) {
    EXPECT_EQ(a.owner, NodeId(2));
    EXPECT_EQ(a.epoch, 2);
    EXPECT_FALSE(a.successor);
  }
  auto without_successor = current;
  Apply(PlanChannels(Channels(4, current, {NodeId(1)})), without_successor);
  for (const auto& a : without_successor) {
    EXPECT_EQ(a.owner, NodeId(1));
    EXPECT_EQ(a.epoch, 1) << "it never stopped being the owner";
    EXPECT_FALSE(a.successor);
  }
}

TEST(PlanPlacement, ServesWhatIsReportedAndIsLoadedWhenAllIs) {
  const Collection collection = Loaded();
  PlacementInput input;
  input.collection = &collection;
  input.segments = List({Rows(1), Rows(2)});
  input.nodes = {NodeId(1)};
  auto plan = PlanPlacement(input);
  ASSERT_TRUE(plan.write.has_value());
  EXPECT_FALSE(plan.write->loaded);
  Placement placement = *plan.write;
  input.current = &placement;
  EXPECT_FALSE(PlanPlacement(input).write.has_value());
  input.reported[NodeId(1)] = {SegmentId(1), SegmentId(2)};
  plan = PlanPlacement(input);
  ASSERT_TRUE(plan.write.has_value());
  EXPECT_TRUE(plan.write->loaded && plan.write->segments[0].serving && plan.write->segments[1].serving);
}

// A read never misses rows because the node that served them is gone: it waits for the next one.
TEST(PlanPlacement, WhatIsServedStaysInTheRouteWhenItsNodeDies) {
  const Collection collection = Loaded();
  PlacementInput input;
  input.collection = &collection;
  input.segments = List({Rows(1), Rows(2)});
  Placement placement;
  placement.collection = collection.id;
  placement.loaded = true;
  placement.segments = {{SegmentId(1), {NodeId(1)}, true, {}}, {SegmentId(2), {NodeId(2)}, true, {}}};
  input.current = &placement;
  input.nodes = {NodeId(2), NodeId(3)};
  input.reported[NodeId(2)] = {SegmentId(2)};
  auto plan = PlanPlacement(input);
  ASSERT_TRUE(plan.write.has_value());
  const SegmentPlacement* moved = plan.write->Find(SegmentId(1));
  ASSERT_NE(moved, nullptr);
  EXPECT_TRUE(moved->serving);
  ASSERT_EQ(moved->nodes.size(), 1u);
  EXPECT_NE(moved->nodes[0], NodeId(1));
  EXPECT_TRUE(plan.write->loaded);
  // Nobody is left: the route stays as it is.
  input.nodes = {};
  plan = PlanPlacement(input);
  EXPECT_FALSE(plan.write.has_value());
  EXPECT_FALSE(plan.remove);
}

// Plans with what is placed reported as held where `holds` says so, until nothing changes.
class Placing {
 public:
  explicit Placing(Collection collection) : collection_(std::move(collection)) { input.collection = &collection_; }
  Placing(const Placing&) = delete;
  bool Step() {
    auto plan = PlanPlacement(input);
    if (!plan.write.has_value()) return false;
    placement = std::move(*plan.write);
    input.current = &placement;
    return true;
  }
  void Report() {
    for (const auto& placed : placement.segments) {
      for (const auto* nodes : {&placed.nodes, &placed.incoming}) {
        for (const NodeId node : *nodes) input.reported[node].insert(placed.segment);
      }
    }
  }
  void Settle() {
    for (int i = 0; i < 50 && (Step() || i < 2); ++i) Report();
  }
  Collection& collection() { return collection_; }

  PlacementInput input;
  Placement placement;

 private:
  Collection collection_;
};

TEST(PlanPlacement, ReplicasOfASegmentAreOnNodesOfTheirOwn) {
  Placing placing(Loaded());
  placing.collection().load.replicas = 2;
  placing.input.segments = List({Rows(1), Rows(2), Rows(3), Rows(4)});
  placing.input.nodes = {NodeId(1), NodeId(2), NodeId(3), NodeId(4)};
  placing.Settle();
  ASSERT_EQ(placing.placement.replicas.size(), 2u);
  EXPECT_EQ(placing.placement.replicas[0].nodes.size(), 2u);
  EXPECT_EQ(placing.placement.replicas[1].nodes.size(), 2u);
  EXPECT_NE(placing.placement.replicas[0].id, placing.placement.replicas[1].id);
  for (const auto& placed : placing.placement.segments) {
    EXPECT_TRUE(placed.serving);
    ASSERT_EQ(placed.nodes.size(), 2u);
    std::set<int> replicas;
    for (const NodeId node : placed.nodes) {
      for (int r = 0; r < 2; ++r) {
        const auto& nodes = placing.placement.replicas[static_cast<size_t>(r)].nodes;
        if (std::find(nodes.begin(), nodes.end(), node) != nodes.end()) replicas.insert(r);
      }
    }
    EXPECT_EQ(replicas.size(), 2u);
  }
}

// While one replica is left, reads are never sent to a node that has yet to load the segment.
TEST(PlanPlacement, WhoReplacesADeadReplicaIsAskedOnceItHoldsTheSegment) {
  Placing placing(Loaded());
  placing.collection().load.replicas = 2;
  placing.input.segments = List({Rows(1), Rows(2)});
  placing.input.nodes = {NodeId(1), NodeId(2), NodeId(3)};
  placing.Settle();
  const NodeId victim = placing.placement.replicas[1].nodes.at(0);
  std::erase(placing.input.nodes, victim);
  placing.input.reported.erase(victim);
  placing.Step();
  for (const auto& placed : placing.placement.segments) {
    EXPECT_TRUE(placed.serving);
    EXPECT_FALSE(placed.nodes.empty());
    for (const NodeId node : placed.nodes) EXPECT_TRUE(placing.input.reported[node].contains(placed.segment)) << node.value;
  }
  placing.Settle();
  for (const auto& placed : placing.placement.segments) {
    EXPECT_EQ(placed.nodes.size(), 2u);
    EXPECT_TRUE(placed.incoming.empty());
  }
}

// In every route that is written, each segment is served by somebody who has it.
TEST(PlanPlacement, ADrainedNodeServesUntilOthersDo) {
  for (unsigned seed = 0; seed < 100; ++seed) {
    std::mt19937 random(seed);
    Placing placing(Loaded());
    placing.collection().load.replicas = 1 + static_cast<int>(random() % 2);
    placing.input.segments = List({Rows(1), Rows(2), Rows(3), Rows(4), Rows(5)});
    placing.input.nodes = {NodeId(1), NodeId(2), NodeId(3)};
    placing.Settle();
    placing.input.draining = {NodeId(1 + static_cast<int64_t>(random() % 3))};
    const NodeId drained = *placing.input.draining.begin();
    for (int step = 0; step < 60; ++step) {
      placing.Step();
      for (const auto& placed : placing.placement.segments) {
        ASSERT_TRUE(placed.serving && !placed.nodes.empty()) << "seed " << seed;
        for (const NodeId node : placed.nodes) {
          ASSERT_TRUE(placing.input.reported[node].contains(placed.segment)) << "seed " << seed << " step " << step;
        }
        for (const NodeId node : placed.incoming) {
          ASSERT_NE(node, drained);
          if (random() % 4 == 0) placing.input.reported[node].insert(placed.segment);
        }
      }
    }
    for (const auto& placed : placing.placement.segments) {
      EXPECT_EQ(std::count(placed.nodes.begin(), placed.nodes.end(), drained), 0) << "seed " << seed;
      EXPECT_EQ(placed.nodes.size(), static_cast<size_t>(placing.collection().load.replicas)) << "seed " << seed;
    }
  }
}

TEST(PlanPlacement, IsPlacedByBytes) {
  Placing placing(Loaded());
  placing.input.segments = List({Rows(1, 10, 900), Rows(2, 10, 100), Rows(3, 10, 100), Rows(4, 10, 100)});
  placing.input.nodes = {NodeId(1), NodeId(2)};
  placing.input.load = {{NodeId(1), 50}};
  placing.Settle();
  std::map<NodeId, int64_t> bytes;
  for (const auto& placed : placing.placement.segments) bytes[placed.nodes.at(0)] += placed.segment == SegmentId(1) ? 900 : 100;
  EXPECT_EQ(bytes, (std::map<NodeId, int64_t>{{NodeId(2), 900}, {NodeId(1), 300}}));
}

TEST(PlanPlacement, ReplicasGoToTheirResourceGroups) {
  Placing placing(Loaded());
  placing.collection().load.replicas = 2;
  placing.collection().load.resource_groups = {"a", "b"};
  placing.input.segments = List({Rows(1), Rows(2), Rows(3)});
  placing.input.nodes = {NodeId(1), NodeId(2), NodeId(3), NodeId(4)};
  placing.input.group_of = {{NodeId(2), "a"}, {NodeId(3), "b"}};
  placing.Settle();
  for (const auto& placed : placing.placement.segments) {
    EXPECT_EQ(std::set<NodeId>(placed.nodes.begin(), placed.nodes.end()), (std::set<NodeId>{NodeId(2), NodeId(3)}));
  }
  // To another group, without a moment in which nobody serves.
  placing.collection().load.resource_groups = {"c", "b"};
  placing.input.group_of[NodeId(4)] = "c";
  placing.Step();
  for (const auto& placed : placing.placement.segments) EXPECT_TRUE(placed.serving && placed.nodes.size() == 2 && placed.incoming.size() == 1);
  placing.Settle();
  for (const auto& placed : placing.placement.segments) {
    EXPECT_EQ(std::set<NodeId>(placed.nodes.begin(), placed.nodes.end()), (std::set<NodeId>{NodeId(4), NodeId(3)}));
  }
  EXPECT_EQ(placing.placement.replicas[0].group, "c");
}

// Whatever comes and goes, moves come to an end, with no node's load far from another's, and never too many at a time.
TEST(PlanBalance, EndsBalanced) {
  for (unsigned seed = 0; seed < 100; ++seed) {
    std::mt19937 random(seed);
    Placing placing(Loaded());
    std::map<SegmentId, int64_t> bytes;
    for (int64_t id = 1; id <= 20; ++id) {
      bytes[SegmentId(id)] = 100 + static_cast<int64_t>(random() % 900);
      placing.input.segments.push_back(Rows(id, 10, bytes[SegmentId(id)]));
    }
    placing.input.nodes = {NodeId(1)};
    placing.Settle();
    placing.input.nodes = {NodeId(1), NodeId(2), NodeId(3)};
    placing.Settle();
    std::map<NodeId, int64_t> load;
    int moved = 0;
    for (int round = 0; round < 100; ++round) {
      BalanceInput input;
      for (const NodeId node : placing.input.nodes) input.load[node] = 0;
      for (const auto& placed : placing.placement.segments) {
        for (const auto* nodes : {&placed.nodes, &placed.incoming}) {
          for (const NodeId node : *nodes) input.load[node] += bytes[placed.segment];
        }
      }
      load = input.load;
      input.placements = {std::make_shared<const Placement>(placing.placement)};
      input.bytes = [&](SegmentId segment) { return bytes[segment]; };
      const auto moves = PlanBalance(input, {});
      ASSERT_LE(moves.size(), 4u);
      if (moves.empty()) break;
      moved += static_cast<int>(moves.size());
      for (const auto& move : moves) {
        for (auto& placed : placing.placement.segments) {
          if (placed.segment == move.segment) placed.incoming.push_back(move.to);
        }
      }
      EXPECT_TRUE(PlanBalance({input.load, {}, {std::make_shared<const Placement>(placing.placement)}, input.bytes}, {}).size() + moves.size() <= 4u);
      placing.input.current = &placing.placement;
      placing.Settle();
    }
    EXPECT_LE(moved, 20) << "seed " << seed;
    const auto [least, most] = std::minmax_element(load.begin(), load.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    EXPECT_LE(most->second - least->second, 1000) << "seed " << seed;
  }
}

TEST(PlanBalance, WhatIsOnItsWayIsNotCountedTwice) {
  Placement placement;
  placement.collection = CollectionId(1);
  placement.loaded = true;
  placement.replicas = {{1, std::string(kDefaultResourceGroup), {NodeId(1), NodeId(2)}}};
  for (int64_t id = 1; id <= 4; ++id) {
    placement.segments.push_back({SegmentId(id), {NodeId(1)}, true, id <= 2 ? std::vector<NodeId>{NodeId(2)} : std::vector<NodeId>{}});
  }
  // As QueryCoord counts: at both nodes while they move.
  BalanceInput input{{{NodeId(1), 400}, {NodeId(2), 200}}, {}, {std::make_shared<const Placement>(placement)}, [](SegmentId) { return 100; }};
  EXPECT_TRUE(PlanBalance(input, {}).empty());
}

TEST(PlanBalance, LeavesAFullNodeAlone) {
  Placement placement;
  placement.collection = CollectionId(1);
  placement.segments = {{SegmentId(1), {NodeId(1)}, true, {}}, {SegmentId(2), {NodeId(1)}, true, {}}};
  placement.replicas = {{1, "", {NodeId(1), NodeId(2)}}};
  BalanceInput input{{{NodeId(1), 200}, {NodeId(2), 0}}, {{NodeId(2), 105}}, {std::make_shared<const Placement>(placement)},
                     [](SegmentId) { return 100; }};
  EXPECT_TRUE(PlanBalance(input, {}).empty()) << "100 is more than 90 % of 105";
  input.limit[NodeId(2)] = 120;
  EXPECT_EQ(PlanBalance(input, {}).size(), 1u);
  BalanceSettings off;
  off.enabled = false;
  EXPECT_TRUE(PlanBalance(input, off).empty());
}

TEST(PlanGroups, AGroupThatLacksNodesGetsFreeOnes) {
  const auto group = [](std::string name, int32_t capacity, std::vector<NodeId> nodes, int32_t limit = 0) {
    return std::make_shared<const ResourceGroup>(ResourceGroup{std::move(name), capacity, limit, std::move(nodes)});
  };
  EXPECT_TRUE(PlanGroups({group("a", 1, {NodeId(1)})}, {NodeId(1), NodeId(2)}).empty());
  auto changed = PlanGroups({group("a", 1, {NodeId(1)})}, {NodeId(2)});
  ASSERT_EQ(changed.size(), 1u);
  EXPECT_EQ(changed[0].nodes, std::vector<NodeId>{NodeId(2)}) << "the dead one is replaced";
  EXPECT_TRUE(PlanGroups({group("a", 1, {NodeId(1)}), group("b", 1, {NodeId(2)})}, {NodeId(2)}).empty()) << "none is free";
  changed = PlanGroups({group("a", 1, {NodeId(1), NodeId(2), NodeId(3)}, 1), group("b", 1, {})}, {NodeId(1), NodeId(2), NodeId(3)});
  ASSERT_EQ(changed.size(), 2u);
  EXPECT_EQ(changed[0].nodes.size(), 1u);
  EXPECT_EQ(changed[1].nodes.size(), 1u);
}

TEST(PlanPlacement, AnEmptyCollectionIsLoadedAtOnce) {
  const Collection collection = Loaded();
  PlacementInput input;
  input.collection = &collection;
  input.nodes = {NodeId(1)};
  EXPECT_TRUE(PlanPlacement(input).write->loaded);
}

TEST(PlanPlacement, GoesWithReleaseAndDrop) {
  Collection collection = Loaded();
  Placement placement;
  PlacementInput input;
  input.collection = &collection;
  input.current = &placement;
  input.nodes = {NodeId(1)};
  collection.load = {};
  EXPECT_TRUE(PlanPlacement(input).remove);
  input.collection = nullptr;
  EXPECT_TRUE(PlanPlacement(input).remove);
}

// Whatever is compacted and whenever nodes report: the rows of a family are in the route exactly once.
TEST(PlanPlacement, CompactionSwapsInOneWrite) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    const Collection collection = Loaded();
    std::vector<std::shared_ptr<SegmentMeta>> segments;
    std::map<int64_t, std::set<int>> rows;  // segment → rows it stands for
    for (int i = 0; i < 6; ++i) {
      segments.push_back(Rows(i + 1));
      rows[i + 1] = {i};
    }
    Placement placement;
    bool have = false;
    std::set<SegmentId> held;
    int64_t next = 100;
    for (int step = 0; step < 60; ++step) {
      PlacementInput input;
      input.collection = &collection;
      input.segments = SegmentList(segments.begin(), segments.end());
      input.current = have ? &placement : nullptr;
      input.nodes = {NodeId(1)};
      input.reported[NodeId(1)] = held;
      if (auto plan = PlanPlacement(input); plan.write.has_value()) {
        placement = *plan.write;
        have = true;
        for (const auto& placed : placement.segments) {
          if (random() % 2 == 0) held.insert(placed.segment);
        }
      }
      if (have && placement.loaded) {
        std::multiset<int> seen;
        for (const auto& placed : placement.segments) {
          if (placed.serving) seen.insert(rows[placed.segment.value].begin(), rows[placed.segment.value].end());
        }
        ASSERT_EQ(seen.size(), 6u) << "seed " << seed << " step " << step;
        ASSERT_EQ(std::set<int>(seen.begin(), seen.end()).size(), 6u) << "seed " << seed << " step " << step;
      }
      for (const auto& placed : placement.segments) {
        if (random() % 3 == 0) held.insert(placed.segment);
      }
      // Compact two served segments into one.
      std::vector<std::shared_ptr<SegmentMeta>> live;
      for (const auto& s : segments) {
        const auto* placed = Placed(placement, s->id.value);
        if (s->state == SegmentState::kFlushed && placed != nullptr && placed->serving) live.push_back(s);
      }
      if (live.size() >= 2 && random() % 4 == 0) {
        auto output = Rows(next++);
        for (int i = 0; i < 2; ++i) {
          output->compacted_from.push_back(live[i]->id);
          rows[output->id.value].insert(rows[live[i]->id.value].begin(), rows[live[i]->id.value].end());
          auto dropped = std::make_shared<SegmentMeta>(*live[i]);
          dropped->state = SegmentState::kDropped;
          std::replace(segments.begin(), segments.end(), live[i], dropped);
        }
        segments.push_back(output);
      }
    }
  }
}

TEST(PlanCompaction, MergesSmallNeighboursOnly) {
  Collection collection = Loaded();
  collection.load = {};
  CompactionInput input;
  input.collection = &collection;
  CompactionSettings settings;
  settings.segment_bytes = 10'000;
  input.segments = List({Rows(1), Rows(2)});
  EXPECT_TRUE(PlanCompaction(input, settings).empty());
  input.segments.push_back(Rows(3));
  input.segments.push_back(Rows(4, 100, 9'000));
  const auto tasks = PlanCompaction(input, settings);
  ASSERT_EQ(tasks.size(), 1u);
  EXPECT_EQ(tasks[0].inputs.size(), 3u);
  input.busy = {SegmentId(1)};
  EXPECT_TRUE(PlanCompaction(input, settings).empty());
}

TEST(PlanCompaction, ALargeOneWaitsUntilWhatJoinsItIsHalfOfIt) {
  Collection collection = Loaded();
  collection.load = {};
  CompactionInput input;
  input.collection = &collection;
  CompactionSettings settings;
  settings.segment_bytes = 100'000;
  input.segments = List({Rows(1, 100, 10'000), Rows(2), Rows(3), Rows(4)});
  auto tasks = PlanCompaction(input, settings);
  ASSERT_EQ(tasks.size(), 1u);
  EXPECT_EQ(tasks[0].inputs.size(), 3u);
  input.segments = List({Rows(1, 100, 10'000), Rows(2, 100, 4'000), Rows(3)});
  tasks = PlanCompaction(input, settings);
  ASSERT_EQ(tasks.size(), 1u);
  EXPECT_EQ(tasks[0].inputs.size(), 3u);
}

// Any number of flushes of one size: what is copied per row grows with the logarithm of their number.
TEST(PlanCompaction, CopiesARowALogarithmicNumberOfTimes) {
  Collection collection = Loaded();
  collection.load = {};
  CompactionInput input;
  input.collection = &collection;
  const CompactionSettings settings;
  int64_t copied = 0;
  int64_t next = 1;
  constexpr int kFlushes = 500;
  for (int i = 0; i < kFlushes; ++i) {
    input.segments.push_back(Rows(next++));
    for (auto tasks = PlanCompaction(input, settings); !tasks.empty(); tasks = PlanCompaction(input, settings)) {
      for (const TaskSpec& task : tasks) {
        int64_t bytes = 0;
        std::erase_if(input.segments, [&](const auto& segment) {
          if (std::find(task.inputs.begin(), task.inputs.end(), segment->id) == task.inputs.end()) return false;
          bytes += segment->size_bytes;
          return true;
        });
        copied += bytes;
        input.segments.push_back(Rows(next++, 100, bytes));
      }
    }
  }
  EXPECT_LE(input.segments.size(), 12u);
  EXPECT_LE(copied, 9 * 1000 * kFlushes);
}

TEST(PlanCompaction, AskedForItRewritesALoneSegmentOnce) {
  Collection collection = Loaded();
  collection.load = {};
  CompactionInput input;
  input.collection = &collection;
  input.forced = true;
  auto segment = Rows(1);
  input.segments = List({segment});
  const auto tasks = PlanCompaction(input, CompactionSettings());
  ASSERT_EQ(tasks.size(), 1u);
  EXPECT_EQ(tasks[0].inputs, std::vector<SegmentId>{SegmentId(1)});
  segment->compacted_from = {SegmentId(7)};
  EXPECT_TRUE(PlanCompaction(input, CompactionSettings()).empty());
}

// What isn't loaded has no route to wait for, whatever else of the collection is loaded.
TEST(PlanCompaction, OfAPartlyLoadedCollectionAlsoWhatIsNotLoaded) {
  Collection collection = Loaded();
  collection.partitions.push_back({PartitionId(11), "other", 0});
  collection.load.whole = false;
  collection.load.partitions = {PartitionId(11)};
  CompactionInput input;
  input.collection = &collection;
  input.segments = List({Rows(1), Rows(2), Rows(3)});
  EXPECT_EQ(PlanCompaction(input, CompactionSettings()).size(), 1u);
  collection.load.partitions = {PartitionId(10)};
  EXPECT_TRUE(PlanCompaction(input, CompactionSettings()).empty());
}

TEST(PlanCompaction, ATtlBeyondTheEpochExpiresNothing) {
  Collection collection = Loaded();
  collection.load = {};
  CompactionInput input;
  input.collection = &collection;
  input.now = MakeTimestamp(1'700'000'000'000);
  input.segments = List({Rows(1)});
  for (const char* seconds : {"1700000001", "10000000000", "9223372036854775807"}) {
    collection.properties = {{"collection.ttl.seconds", seconds}};
    EXPECT_TRUE(PlanCompaction(input, CompactionSettings()).empty()) << seconds;
    EXPECT_EQ(NextExpiryMs(collection, input.segments, input.now), 0) << seconds;
  }
  collection.properties = {{"collection.ttl.seconds", "10"}};
  ASSERT_EQ(PlanCompaction(input, CompactionSettings()).size(), 1u);
  EXPECT_EQ(PlanCompaction(input, CompactionSettings())[0].expired_before, MakeTimestamp(1'699'999'990'000));
}

TEST(PlanCompaction, TellsWhenTheNextRowsExpire) {
  Collection collection = Loaded();
  collection.properties = {{"collection.ttl.seconds", "10"}};
  const SegmentList segments = List({Rows(1)});  // its last row is of second 1
  EXPECT_EQ(NextExpiryMs(collection, segments, MakeTimestamp(4'000)), 0) << "the TTL reaches beyond the epoch";
  const auto later = List({[] {
    auto segment = Rows(2);
    segment->max_ts = MakeTimestamp(1'000'000);
    return segment;
  }()});
  EXPECT_EQ(NextExpiryMs(collection, later, MakeTimestamp(1'004'000)), 6'001);
  EXPECT_EQ(NextExpiryMs(collection, later, MakeTimestamp(1'010'001)), 0) << "it is due";
}

TEST(PlanCompaction, OfALoadedCollectionOnlyWhatIsServed) {
  const Collection collection = Loaded();
  CompactionInput input;
  input.collection = &collection;
  input.forced = true;
  input.segments = List({Rows(1), Rows(2)});
  CompactionSettings settings;
  EXPECT_TRUE(PlanCompaction(input, settings).empty());
  Placement placement;
  placement.segments = {{SegmentId(1), {NodeId(1)}, true}, {SegmentId(2), {NodeId(1)}, true}};
  input.placement = &placement;
  EXPECT_EQ(PlanCompaction(input, settings).size(), 1u);
}

TEST(PlanCompaction, ManyDeletesRewriteAndThenAreSpent) {
  Collection collection = Loaded();
  collection.load = {};
  CompactionInput input;
  input.collection = &collection;
  CompactionSettings settings;
  settings.segment_bytes = 1000;
  input.segments = List({Rows(1, 100, 900), Deletes(2, 10, 500)});
  EXPECT_TRUE(PlanCompaction(input, settings).empty());
  input.segments.push_back(Deletes(3, 20, 700));
  const auto tasks = PlanCompaction(input, settings);
  ASSERT_EQ(tasks.size(), 1u);
  EXPECT_EQ(tasks[0].deletes_until, 700u);
  EXPECT_EQ(tasks[0].deletes.size(), 2u);
  EXPECT_TRUE(SpentDeletes(input.segments).empty());
  auto rewritten = Rows(4, 80);
  rewritten->deletes_until = 700;
  input.segments[0] = rewritten;
  EXPECT_EQ(SpentDeletes(input.segments).size(), 2u);
}

// Deletes later than an iterator's timestamp wait; so do segments that have nothing else to be rewritten for.
TEST(PlanCompaction, KeepsWhatAnIteratorMayStillRead) {
  Collection collection = Loaded();
  collection.load = {};
  CompactionInput input;
  input.collection = &collection;
  input.keep_from = 600;
  CompactionSettings settings;
  settings.segment_bytes = 1000;
  input.segments = List({Rows(1, 100, 900), Deletes(2, 30, 500), Deletes(3, 30, 700)});
  const auto tasks = PlanCompaction(input, settings);
  ASSERT_EQ(tasks.size(), 1u);
  EXPECT_EQ(tasks[0].deletes_until, 500u);
  EXPECT_EQ(tasks[0].deletes, std::vector<SegmentId>{SegmentId(2)});
  auto rewritten = Rows(4, 80, 900);
  rewritten->deletes_until = 500;
  rewritten->compacted_from = {SegmentId(1)};
  input.segments[0] = rewritten;
  EXPECT_TRUE(PlanCompaction(input, settings).empty());
  EXPECT_EQ(SpentDeletes(input.segments), std::vector<SegmentId>{SegmentId(2)});
  input.keep_from = kMaxTimestamp;
  EXPECT_EQ(PlanCompaction(input, settings).size(), 1u);
}

TEST(PlanIndexes, NotOfADroppedPartition) {
  Collection collection = Loaded();
  collection.indexes.push_back({IndexId(5)});
  const SegmentList segments = List({Rows(1)});
  EXPECT_EQ(PlanIndexes(collection, segments, {}).size(), 1u);
  collection.partitions.clear();
  EXPECT_TRUE(PlanIndexes(collection, segments, {}).empty());
}

TEST(PlanIndexes, WhatIsNeitherBuiltNorBuilding) {
  Collection collection = Loaded();
  IndexMeta index;
  index.id = IndexId(5);
  collection.indexes.push_back(index);
  auto built = Rows(1);
  built->indexes.push_back({IndexId(5), "x", 1, 1});
  TaskSpec building;
  building.segment = SegmentId(2);
  building.index = index;
  const auto work = PlanIndexes(collection, List({built, Rows(2), Rows(3)}), {building});
  ASSERT_EQ(work.size(), 1u);
  EXPECT_EQ(work[0].segment, SegmentId(3));
}

}  // namespace
}  // namespace saker
