// The merges: of hits and of rows.
#include <gtest/gtest.h>

#include <random>

#include "query/search.h"

namespace saker {
namespace {

SearchHits PartOf(SegmentId segment, const std::vector<std::vector<std::pair<float, int64_t>>>& queries) {
  SearchHits part;
  part.offsets.push_back(0);
  int64_t row = 0;
  for (const auto& query : queries) {
    for (const auto& [distance, key] : query) {
      part.hits.push_back({distance, segment, row++});
      part.keys.ints.push_back(key);
    }
    part.offsets.push_back(static_cast<int64_t>(part.hits.size()));
  }
  part.segments_searched = 1;
  part.rows_considered = 100;
  return part;
}

SearchPlan PlanOf(int nq, int k) {
  SearchPlan plan;
  plan.nq = nq;
  plan.params.k = k;
  return plan;
}

TEST(MergeHitsTest, NearestOfAllPartsAKeyOnce) {
  std::vector<SearchHits> parts;
  parts.push_back(PartOf(SegmentId(1), {{{0.1f, 1}, {0.5f, 2}, {0.9f, 3}}, {}}));
  parts.push_back(PartOf(SegmentId(2), {{{0.2f, 3}, {0.3f, 4}, {0.4f, 1}}, {{1.0f, 9}}}));
  const SearchHits merged = MergeHits(PlanOf(2, 3), std::move(parts));
  EXPECT_EQ(merged.offsets, (std::vector<int64_t>{0, 3, 4}));
  EXPECT_EQ(merged.keys.ints, (std::vector<int64_t>{1, 3, 4, 9}));
  EXPECT_EQ(merged.hits[1].segment, SegmentId(2));
  EXPECT_EQ(merged.hits[1].row, 0);
  EXPECT_EQ(merged.segments_searched, 2);
  EXPECT_EQ(merged.rows_considered, 200);
}

TEST(MergeHitsTest, TheOrderOfPartsChangesNothingAndMergingTwiceIsMergingOnce) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<SearchHits> parts;
    for (int p = 0; p < 5; ++p) {
      std::vector<std::vector<std::pair<float, int64_t>>> queries(2);
      for (auto& query : queries) {
        std::set<int64_t> keys;
        for (int i = 0; i < 6; ++i) keys.insert(static_cast<int64_t>(random() % 25));
        for (const int64_t key : keys) query.emplace_back(static_cast<float>(random() % 8), key);
        std::sort(query.begin(), query.end());
      }
      parts.push_back(PartOf(SegmentId(p + 1), queries));
    }
    const SearchPlan plan = PlanOf(2, 6);
    const SearchHits once = MergeHits(plan, parts);
    std::vector<SearchHits> shuffled = parts;
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    const SearchHits other = MergeHits(plan, shuffled);
    ASSERT_EQ(once.keys.ints, other.keys.ints);
    ASSERT_EQ(once.offsets, other.offsets);
    std::vector<SearchHits> halves;
    halves.push_back(MergeHits(plan, {shuffled.begin(), shuffled.begin() + 3}));
    halves.push_back(MergeHits(plan, {shuffled.begin() + 3, shuffled.end()}));
    ASSERT_EQ(MergeHits(plan, std::move(halves)).keys.ints, once.keys.ints);
    for (int64_t i = 1; i < once.offsets[1]; ++i) {
      const bool rising = once.hits[i - 1].distance < once.hits[i].distance ||
                          (once.hits[i - 1].distance == once.hits[i].distance && once.keys.ints[i - 1] < once.keys.ints[i]);
      ASSERT_TRUE(rising);
    }
  }
}

TEST(MergeHitsTest, NothingFromNowhere) {
  const SearchHits merged = MergeHits(PlanOf(3, 5), {});
  EXPECT_EQ(merged.offsets, (std::vector<int64_t>{0, 0, 0, 0}));
}

TEST(MergeHitsTest, GroupsAreFilledFromAllParts) {
  SearchPlan plan = PlanOf(1, 2);
  plan.group_by = FieldId(7);
  plan.group_size = 2;
  std::vector<SearchHits> parts;
  parts.push_back(PartOf(SegmentId(1), {{{0.1f, 1}, {0.4f, 2}, {0.6f, 3}}}));
  parts[0].groups = {Value(std::string("a")), Value(std::string("b")), Value(std::string("b"))};
  parts.push_back(PartOf(SegmentId(2), {{{0.2f, 4}, {0.3f, 5}, {0.5f, 6}}}));
  parts[1].groups = {Value(std::string("c")), Value(std::string("a")), Value(std::string("c"))};
  const SearchHits merged = MergeHits(plan, std::move(parts));
  EXPECT_EQ(merged.keys.ints, (std::vector<int64_t>{1, 5, 4, 6}));
  EXPECT_EQ(merged.groups, (std::vector<Value>{std::string("a"), std::string("a"), std::string("c"), std::string("c")}));
}

QueryRows RowsOf(const std::vector<std::pair<std::string, Timestamp>>& rows) {
  QueryRows part;
  part.keys.is_string = true;
  Column column(DataType::kInt64, 0);
  column.field = FieldId(5);
  column.name = "when";
  for (const auto& [key, ts] : rows) {
    part.keys.strings.push_back(key);
    part.timestamps.push_back(ts);
    column.Append(static_cast<int64_t>(ts));
  }
  part.rows.rows = column.rows();
  part.rows.columns.push_back(std::move(column));
  part.count = part.rows.rows;
  return part;
}

TEST(MergeRowsTest, ByKeyTheNewestVersionAndTheLimits) {
  const std::vector<QueryRows> parts = {RowsOf({{"b", 5}, {"d", 9}}), RowsOf({{"a", 1}, {"b", 8}, {"e", 2}}), RowsOf({})};
  QueryPlan plan;
  QueryRows all = MergeRows(plan, parts);
  EXPECT_EQ(all.keys.strings, (std::vector<std::string>{"a", "b", "d", "e"}));
  EXPECT_EQ(all.timestamps, (std::vector<Timestamp>{1, 8, 9, 2}));
  ASSERT_EQ(all.rows.columns.size(), 1u);
  EXPECT_EQ(all.rows.columns[0].View().IntAt(1), 8);
  EXPECT_EQ(all.rows.columns[0].name, "when");
  EXPECT_EQ(all.rows.rows, 4);

  plan.limit = 2;
  plan.offset = 1;
  EXPECT_EQ(MergeRows(plan, parts).keys.strings, (std::vector<std::string>{"a", "b", "d"}));
  plan.cut_offset = true;
  EXPECT_EQ(MergeRows(plan, parts).keys.strings, (std::vector<std::string>{"b", "d"}));
  plan.offset = 9;
  EXPECT_EQ(MergeRows(plan, parts).keys.size(), 0);
  plan.count_only = true;
  EXPECT_EQ(MergeRows(plan, parts).count, 5);
}

// The leg of an owner that holds nothing has no columns; it comes first.
TEST(MergeRowsTest, ALegWithoutSegmentsTakesNothingAway) {
  QueryPlan plan;
  const QueryRows nothing = MergeRows(plan, {});
  const QueryRows merged = MergeRows(plan, {nothing, RowsOf({{"a", 1}, {"b", 8}})});
  EXPECT_EQ(merged.keys.strings, (std::vector<std::string>{"a", "b"}));
  ASSERT_EQ(merged.rows.columns.size(), 1u);
  EXPECT_EQ(merged.rows.columns[0].rows(), 2);
}

}  // namespace
}  // namespace saker
