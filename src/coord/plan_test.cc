#include "coord/plan.h"

#include <gtest/gtest.h>

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

TEST(PlanChannels, EveryChannelGetsALivingOwnerAndRisingEpochs) {
  const auto first = PlanChannels(4, {}, {NodeId(1), NodeId(2)}, {});
  ASSERT_EQ(first.size(), 4u);
  std::map<NodeId, int> owned;
  for (const auto& a : first) {
    EXPECT_EQ(a.epoch, 1);
    ++owned[a.owner];
  }
  EXPECT_EQ(owned[NodeId(1)], 2);
  EXPECT_TRUE(PlanChannels(4, first, {NodeId(1), NodeId(2)}, {}).empty());
  for (const auto& a : PlanChannels(4, first, {NodeId(2)}, {})) {
    EXPECT_EQ(a.owner, NodeId(2));
    EXPECT_EQ(a.epoch, 2);
  }
  const auto lost = PlanChannels(4, first, {NodeId(1), NodeId(2)}, {{3, 7}});
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_EQ(lost[0].channel, 3);
  EXPECT_EQ(lost[0].epoch, 8);
  EXPECT_TRUE(PlanChannels(4, first, {}, {}).empty());
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
  placement.segments = {{SegmentId(1), {NodeId(1)}, true}, {SegmentId(2), {NodeId(2)}, true}};
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
