// Searching and querying against a naive model: growing and sealed segments, old timestamps, TTL, filters, ranges,
// groups, iterators.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "query/search.h"
#include "segment/segment_fixture.h"

namespace saker {
namespace {

// number < limit, optionally of certain keys only. Null is not less than anything.
class NumberFilter final : public Filter {
 public:
  explicit NumberFilter(int32_t limit, std::optional<PrimaryKeys> keys = {}) : limit_(limit), keys_(std::move(keys)) {}
  void Evaluate(const FilterSource& source, Bitmap& out) const override {
    out.Reset(source.rows(), false);
    for (int64_t row = 0; row < source.rows(); ++row) {
      if (Matches(source, row)) out.Set(row);
    }
  }
  bool Matches(const FilterSource& source, int64_t row) const override {
    const auto chunk = source.ChunkAt(kNumberField, row);
    EXPECT_LE(chunk->first_row + chunk->column.rows, source.rows());
    const int64_t at = row - chunk->first_row;
    return !chunk->column.IsNull(at) && chunk->column.IntAt(at) < limit_;
  }
  const std::optional<PrimaryKeys>& LimitedToKeys() const override { return keys_; }
  bool IsKeysOnly() const override { return keys_.has_value() && limit_ > 1000; }
  std::optional<std::vector<Value>> LimitedTo(FieldId) const override { return std::nullopt; }
  const std::set<FieldId>& fields() const override { return fields_; }

 private:
  const int32_t limit_;
  const std::optional<PrimaryKeys> keys_;
  const std::set<FieldId> fields_ = {kNumberField};
};

// number == value, known to bounds.
class EqualFilter final : public Filter {
 public:
  explicit EqualFilter(int64_t value) : value_(value) {}
  void Evaluate(const FilterSource& source, Bitmap& out) const override {
    ++evaluations;
    out.Reset(source.rows(), false);
    for (int64_t row = 0; row < source.rows(); ++row) {
      if (Matches(source, row)) out.Set(row);
    }
  }
  bool Matches(const FilterSource& source, int64_t row) const override {
    const auto chunk = source.ChunkAt(kNumberField, row);
    return chunk->column.ValueAt(row - chunk->first_row) == Value(value_);
  }
  const std::optional<PrimaryKeys>& LimitedToKeys() const override { return keys_; }
  bool IsKeysOnly() const override { return false; }
  std::optional<std::vector<Value>> LimitedTo(FieldId field) const override {
    if (field == kNumberField) return std::vector<Value>{value_};
    return std::nullopt;
  }
  const std::set<FieldId>& fields() const override { return fields_; }
  mutable int evaluations = 0;

 private:
  const int64_t value_;
  const std::optional<PrimaryKeys> keys_;
  const std::set<FieldId> fields_ = {kNumberField};
};

double Distance(Metric metric, const std::vector<float>& a, const std::vector<float>& b) {
  double l2 = 0, ip = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    l2 += (a[i] - b[i]) * (a[i] - b[i]);
    ip += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  if (metric == Metric::kL2) return l2;
  if (metric == Metric::kIp) return -ip;
  return -ip / std::sqrt(aa * bb);
}

struct Expected {
  double distance;
  int64_t key;
  std::optional<int32_t> number;
};

using Accepts = std::function<bool(const ModelRow&)>;

// All rows that count, nearest first, a key once.
std::vector<Expected> RankModel(const ModelRows& model, Metric metric, const std::vector<float>& query, const ReadView& view,
                                const Accepts& accepts) {
  std::vector<Expected> ranked;
  for (const ModelRow& row : model) {
    if (row.vector.empty() || !row.VisibleAt(view.read_ts, view.expired_before) || !accepts(row)) continue;
    ranked.push_back({Distance(metric, query, row.vector), row.key, row.number});
  }
  std::sort(ranked.begin(), ranked.end(), [](const Expected& a, const Expected& b) { return a.distance < b.distance; });
  std::set<int64_t> seen;
  std::erase_if(ranked, [&](const Expected& e) { return !seen.insert(e.key).second; });
  return ranked;
}

// Several segments of the same history: what was flushed with its deletes, and what still grows.
class Shard {
 public:
  Shard(uint32_t seed, bool string_keys, bool nullable_vectors, bool sealed)
      : history_(seed, ModelSchema(string_keys, false, nullable_vectors)) {
    for (int i = 0; i < 50; ++i) history_.Step(kKeySpace);
    segment_ = history_.segment;
    if (sealed) Seal();
  }
  const ModelRows& model() const { return history_.model; }
  const Segment& segment() const { return *segment_; }
  RandomHistory& history() { return history_; }
  MemoryObjects& store() { return store_; }
  static constexpr int64_t kKeySpace = 300;

 private:
  void Seal() {
    SegmentWriteRequest request;
    request.store = &store_;
    request.prefix = "segments/1/9/1";
    request.id = SegmentId(9);
    request.partition = PartitionId(5);
    request.schema = history_.schema;
    request.sources = {segment_};
    const auto files = WriteSegment(request);
    ASSERT_TRUE(files.ok());
    SegmentMeta meta;
    meta.manifest = files->manifest;
    auto opened = OpenSegment(&store_, meta);
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    segment_ = *opened;
    for (const DeleteBatch& batch : history_.deletes) segment_->Delete(batch);
  }
  RandomHistory history_;
  MemoryObjects store_;
  SegmentPtr segment_;
};

std::vector<float> RandomVector(std::mt19937& random) {
  std::vector<float> out;
  for (int i = 0; i < kModelDim; ++i) out.push_back(static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 100);
  return out;
}

SearchPlan PlanFor(const SchemaPtr& schema, Metric metric, int k, const std::vector<std::vector<float>>& queries) {
  SearchPlan plan;
  plan.schema = schema;
  plan.vector_field = kVectorField;
  plan.metric = metric;
  plan.dim = kModelDim;
  plan.nq = static_cast<int>(queries.size());
  plan.row_bytes = kModelDim * sizeof(float);
  for (const auto& query : queries) plan.queries.append(reinterpret_cast<const char*>(query.data()), plan.row_bytes);
  plan.params.k = k;
  return plan;
}

int64_t KeyAt(const PrimaryKeys& keys, int64_t i) {
  return keys.is_string ? std::stoll(keys.strings[i].substr(4)) : keys.ints[i];
}

void ExpectHits(const SearchHits& hits, int query, const std::vector<Expected>& expected) {
  const int64_t begin = hits.offsets[query];
  ASSERT_EQ(hits.offsets[query + 1] - begin, static_cast<int64_t>(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i) {
    const Hit& hit = hits.hits[begin + static_cast<int64_t>(i)];
    ASSERT_NEAR(hit.distance, expected[i].distance, 1e-3 + 1e-5 * std::abs(expected[i].distance)) << i;
    const bool tie = (i > 0 && std::abs(expected[i].distance - expected[i - 1].distance) < 1e-3) ||
                     (i + 1 < expected.size() && std::abs(expected[i].distance - expected[i + 1].distance) < 1e-3) ||
                     i + 1 == expected.size();
    ASSERT_TRUE(tie || KeyAt(hits.keys, begin + static_cast<int64_t>(i)) == expected[i].key) << i;
  }
}

class SearchTest : public testing::TestWithParam<std::tuple<bool, bool, bool>> {
 protected:
  SearchTest()
      : shard_(std::get<0>(GetParam()) + 2 * std::get<1>(GetParam()) + 5, std::get<0>(GetParam()), std::get<1>(GetParam()),
               std::get<2>(GetParam())) {}
  std::mt19937& random_engine() { return shard_.history().random; }
  uint32_t random() { return static_cast<uint32_t>(shard_.history().random()); }
  ReadView RandomView() {
    ReadView view;
    view.read_ts = random() % 3 == 0 ? 100 + random() % (shard_.history().ts - 90) : shard_.history().ts + 5;
    if (random() % 4 == 0) view.expired_before = 100 + random() % 40;
    return view;
  }
  Shard shard_;
};

TEST_P(SearchTest, TheNearestVisibleRowsThatMatch) {
  for (int round = 0; round < 60; ++round) {
    const Metric metric = std::array{Metric::kL2, Metric::kIp, Metric::kCosine}[round % 3];
    const std::vector<std::vector<float>> queries = {RandomVector(random_engine()), RandomVector(random_engine()), RandomVector(random_engine())};
    const int k = std::array{1, 5, 20, 2000}[random() % 4];
    SearchPlan plan = PlanFor(shard_.history().schema, metric, k, queries);
    const ReadView view = RandomView();
    Accepts accepts = [](const ModelRow&) { return true; };
    if (round % 2 == 0) {
      const auto limit = static_cast<int32_t>(random() % 20);
      plan.filter = std::make_shared<NumberFilter>(limit);
      accepts = [limit](const ModelRow& row) { return row.number && *row.number < limit; };
    } else if (round % 5 == 0) {
      std::vector<int64_t> keys = {1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 89};
      plan.filter = std::make_shared<NumberFilter>(10, KeysOf(keys, shard_.history().string_keys));
      accepts = [keys](const ModelRow& row) {
        return row.number && *row.number < 10 && std::find(keys.begin(), keys.end(), row.key) != keys.end();
      };
    }
    const auto hits = SearchSegment(plan, shard_.segment(), view);
    ASSERT_TRUE(hits.ok()) << hits.status().ToString();
    for (int q = 0; q < plan.nq; ++q) {
      std::vector<Expected> expected = RankModel(shard_.model(), metric, queries[q], view, accepts);
      if (static_cast<int>(expected.size()) > k) expected.resize(k);
      ExpectHits(*hits, q, expected);
    }
    for (const Hit& hit : hits->hits) ASSERT_EQ(hit.segment, shard_.segment().id());
    ASSERT_EQ(hits->keys.size(), static_cast<int64_t>(hits->hits.size()));
  }
}

TEST_P(SearchTest, RangesAndIteratorsMissNothing) {
  const std::vector<std::vector<float>> queries = {RandomVector(random_engine())};
  SearchPlan plan = PlanFor(shard_.history().schema, Metric::kL2, 10, queries);
  const ReadView view{shard_.history().ts, 0};
  const auto everything = RankModel(shard_.model(), Metric::kL2, queries[0], view, [](const ModelRow&) { return true; });
  ASSERT_GT(everything.size(), 60u);
  plan.params.has_range = true;
  plan.params.min_distance = static_cast<float>((everything[9].distance + everything[10].distance) / 2);
  plan.params.max_distance = static_cast<float>((everything[15].distance + everything[16].distance) / 2);
  auto hits = SearchSegment(plan, shard_.segment(), view);
  ASSERT_TRUE(hits.ok());
  // A repeated key may have a nearer version outside of the range: then its other version counts.
  EXPECT_GE(hits->hits.size(), 6u);
  for (const Hit& hit : hits->hits) {
    EXPECT_GE(hit.distance, plan.params.min_distance);
    EXPECT_LT(hit.distance, plan.params.max_distance);
  }

  plan.params.has_range = false;
  std::set<int64_t> seen;
  for (int batch = 0; batch < 200; ++batch) {
    hits = SearchSegment(plan, shard_.segment(), view);
    ASSERT_TRUE(hits.ok());
    if (hits->hits.empty()) break;
    for (int64_t i = 0; i < hits->keys.size(); ++i) {
      ASSERT_TRUE(!plan.has_bound || hits->hits[i].distance > plan.bound_distance);
      seen.insert(KeyAt(hits->keys, i));
    }
    plan.has_bound = true;
    plan.bound_distance = hits->hits.back().distance;
  }
  EXPECT_EQ(seen.size(), everything.size());
}

TEST_P(SearchTest, GroupsAreTheNearestAndFilledAsAsked) {
  for (int round = 0; round < 20; ++round) {
    const std::vector<std::vector<float>> queries = {RandomVector(random_engine())};
    const int k = std::array{1, 3, 8, 50}[random() % 4];
    SearchPlan plan = PlanFor(shard_.history().schema, Metric::kCosine, k, queries);
    plan.group_by = kNumberField;
    plan.group_size = 1 + static_cast<int>(random() % 4);
    plan.strict_group_size = round % 2 == 0;
    const ReadView view = RandomView();
    const auto hits = SearchSegment(plan, shard_.segment(), view);
    ASSERT_TRUE(hits.ok());
    ASSERT_EQ(hits->groups.size(), hits->hits.size());
    const auto ranked = RankModel(shard_.model(), Metric::kCosine, queries[0], view, [](const ModelRow&) { return true; });
    std::vector<std::pair<Value, std::vector<double>>> groups;
    for (const Expected& row : ranked) {
      const Value value = row.number ? Value(int64_t{*row.number}) : Value();
      auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == value; });
      if (group == groups.end()) group = groups.insert(groups.end(), {value, {}});
      if (static_cast<int>(group->second.size()) < plan.group_size) group->second.push_back(row.distance);
    }
    if (static_cast<int>(groups.size()) > k) groups.resize(k);
    size_t at = 0;
    for (const auto& [value, distances] : groups) {
      size_t found = 0;
      while (at < hits->hits.size() && hits->groups[at] == value) {
        ASSERT_LT(found, distances.size());
        ASSERT_NEAR(hits->hits[at].distance, distances[found], 1e-4);
        ++at;
        ++found;
      }
      ASSERT_GE(found, 1u);
      ASSERT_TRUE(!plan.strict_group_size || found == distances.size());
    }
    ASSERT_EQ(at, hits->hits.size());
  }
}

TEST_P(SearchTest, QueriesComeByKeyAndInFull) {
  for (int round = 0; round < 60; ++round) {
    QueryPlan plan;
    plan.schema = shard_.history().schema;
    plan.output_fields = {kKeyField, kTextField, kNumberField, kVectorField};
    plan.limit = std::array<int64_t, 4>{-1, 3, 20, 100000}[random() % 4];
    plan.offset = plan.limit < 0 ? 0 : static_cast<int64_t>(random() % 5);
    const ReadView view = RandomView();
    Accepts accepts = [](const ModelRow&) { return true; };
    if (round % 3 == 1) {
      const auto limit = static_cast<int32_t>(random() % 20);
      plan.filter = std::make_shared<NumberFilter>(limit);
      accepts = [limit](const ModelRow& row) { return row.number && *row.number < limit; };
    } else if (round % 3 == 2) {
      plan.filter = std::make_shared<NumberFilter>(10, KeysOf({7, 3, 200, 3}, shard_.history().string_keys));
      accepts = [](const ModelRow& row) {
        return row.number && *row.number < 10 && (row.key == 7 || row.key == 3 || row.key == 200);
      };
    }
    // The newest version of each key that counts.
    std::map<std::string, const ModelRow*> by_text;
    std::map<int64_t, const ModelRow*> by_key;
    int64_t count = 0;
    for (const ModelRow& row : shard_.model()) {
      if (!row.VisibleAt(view.read_ts, view.expired_before) || !accepts(row)) continue;
      ++count;
      by_text[KeyText(row.key)] = &row;
      by_key[row.key] = &row;
    }
    std::vector<const ModelRow*> expected;
    for (const auto& [key, row] : by_text) {
      if (shard_.history().string_keys) expected.push_back(row);
    }
    for (const auto& [key, row] : by_key) {
      if (!shard_.history().string_keys) expected.push_back(row);
    }
    const auto most = plan.limit < 0 ? expected.size() : static_cast<size_t>(plan.limit + plan.offset);
    if (expected.size() > most) expected.resize(most);

    auto rows = QuerySegment(plan, shard_.segment(), view);
    ASSERT_TRUE(rows.ok()) << rows.status().ToString();
    ASSERT_EQ(rows->keys.size(), static_cast<int64_t>(expected.size()));
    ASSERT_EQ(rows->rows.rows, rows->keys.size());
    const Column* text = rows->rows.Find(kTextField);
    const Column* number = rows->rows.Find(kNumberField);
    const Column* vector = rows->rows.Find(kVectorField);
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(KeyAt(rows->keys, static_cast<int64_t>(i)), expected[i]->key);
      ASSERT_EQ(rows->timestamps[i], expected[i]->inserted);
      ASSERT_EQ(text->View().Bytes(static_cast<int64_t>(i)), expected[i]->text);
      ASSERT_EQ(number->View().IsNull(static_cast<int64_t>(i)), !expected[i]->number.has_value());
      ASSERT_EQ(vector->View().IsNull(static_cast<int64_t>(i)), expected[i]->vector.empty());
    }
    plan.count_only = true;
    rows = QuerySegment(plan, shard_.segment(), view);
    ASSERT_TRUE(rows.ok());
    ASSERT_EQ(rows->count, count);
  }
}

INSTANTIATE_TEST_SUITE_P(Shards, SearchTest, testing::Combine(testing::Bool(), testing::Bool(), testing::Bool()));

TEST(SearchSegmentTest, QueriesOfAWrongSizeAreRefused) {
  Shard shard(1, false, false, false);
  SearchPlan plan = PlanFor(shard.history().schema, Metric::kL2, 10, {RandomVector(shard.history().random)});
  plan.queries.pop_back();
  EXPECT_EQ(SearchSegment(plan, shard.segment(), {}).status().code(), ErrorCode::kParameterInvalid);
  plan = PlanFor(shard.history().schema, Metric::kL2, 10, {RandomVector(shard.history().random)});
  plan.dim = kModelDim / 2;
  plan.row_bytes /= 2;
  EXPECT_EQ(SearchSegment(plan, shard.segment(), {}).status().code(), ErrorCode::kParameterInvalid);
}

TEST(SearchSegmentTest, GrowingIsIgnoredIfAskedAndUnknownFieldsFindNothing) {
  Shard shard(1, false, false, false);
  const ReadView view{shard.history().ts, 0};
  SearchPlan plan = PlanFor(shard.history().schema, Metric::kL2, 10, {RandomVector(shard.history().random)});
  EXPECT_EQ(SearchSegment(plan, shard.segment(), view)->hits.size(), 10u);
  plan.ignore_growing = true;
  EXPECT_TRUE(SearchSegment(plan, shard.segment(), view)->hits.empty());
  plan.ignore_growing = false;
  plan.vector_field = FieldId(999);
  const auto hits = SearchSegment(plan, shard.segment(), view);
  ASSERT_TRUE(hits.ok());
  EXPECT_EQ(hits->offsets, (std::vector<int64_t>{0, 0}));
}

TEST(SearchSegmentTest, DamagedVectorsAreAnErrorNotAWrongAnswer) {
  Shard shard(1, false, false, true);
  const ReadView view{shard.history().ts, 0};
  const SearchPlan plan = PlanFor(shard.history().schema, Metric::kL2, 10, {RandomVector(shard.history().random)});
  ASSERT_TRUE(SearchSegment(plan, shard.segment(), view).ok());
  std::string& bytes = shard.store().objects["segments/1/9/1/columns"];
  const auto chunk = shard.segment().ChunkAt(kVectorField, 0);
  const size_t at = bytes.find(std::string(reinterpret_cast<const char*>(chunk->column.Row(3)), 16));
  ASSERT_NE(at, std::string::npos);
  bytes[at] ^= 1;
  SegmentMeta meta;
  meta.manifest = "segments/1/9/1/manifest";
  const auto damaged = OpenSegment(&shard.store(), meta);
  ASSERT_TRUE(damaged.ok());
  const Status status = SearchSegment(plan, **damaged, view).status();
  EXPECT_EQ(status.code(), ErrorCode::kCorrupted);
  EXPECT_NE(status.message().find("segments/1/9/1/columns"), std::string::npos);
  const std::vector<int64_t> rows = {0};
  EXPECT_EQ(FetchRows(**damaged, *shard.history().schema, rows, std::vector{kVectorField}).status().code(),
            ErrorCode::kCorrupted);
  EXPECT_TRUE(FetchRows(**damaged, *shard.history().schema, rows, std::vector{kTextField}).ok());
}

TEST(SearchSegmentTest, ASegmentWhoseBoundsExcludeTheValueIsNotScanned) {
  Shard shard(1, false, false, true);
  const ReadView view{shard.history().ts, 0};
  SearchPlan plan = PlanFor(shard.history().schema, Metric::kL2, 10, {RandomVector(shard.history().random)});
  const auto outside = std::make_shared<EqualFilter>(1000);
  plan.filter = outside;
  EXPECT_TRUE(SearchSegment(plan, shard.segment(), view)->hits.empty());
  EXPECT_EQ(outside->evaluations, 0);
  const auto inside = std::make_shared<EqualFilter>(7);
  plan.filter = inside;
  EXPECT_FALSE(SearchSegment(plan, shard.segment(), view)->hits.empty());
  EXPECT_EQ(inside->evaluations, 1);
}

TEST(QuerySegmentTest, AnUnlimitedQueryStopsAtItsBudget) {
  Shard shard(1, true, false, true);
  const ReadView view{shard.history().ts, 0};
  QueryPlan plan;
  plan.schema = shard.history().schema;
  plan.output_fields = {kKeyField, kVectorField, kTextField};
  const auto all = QuerySegment(plan, shard.segment(), view);
  ASSERT_TRUE(all.ok()) << all.status().ToString();
  ASSERT_GT(all->rows.rows, 0);
  const int64_t bytes = all->rows.size_bytes();
  plan.budget = std::make_shared<FetchBudget>(bytes);
  EXPECT_TRUE(QuerySegment(plan, shard.segment(), view).ok());
  plan.budget = std::make_shared<FetchBudget>(bytes / 2 - 1);
  const Status refused = QuerySegment(plan, shard.segment(), view).status();
  EXPECT_EQ(refused.code(), ErrorCode::kUnexpected);
  EXPECT_NE(refused.message().find("maxOutputSize Limit " + std::to_string(bytes / 2 - 1)), std::string::npos) << refused.message();
  EXPECT_LE(plan.budget->left, 0) << "the next leg must not begin";
}

TEST(FetchRowsTest, FieldsTheSegmentLacksAndRowsItLacks) {
  Shard shard(1, true, false, true);
  const SchemaPtr newer = ModelSchema(true, true);
  const std::vector<int64_t> rows = {5, 0, 5};
  const auto fetched = FetchRows(shard.segment(), *newer, rows, std::vector{kKeyField, kLaterField});
  ASSERT_TRUE(fetched.ok()) << fetched.status().ToString();
  EXPECT_EQ(fetched->rows, 3);
  EXPECT_EQ(fetched->columns[0].View().Bytes(0), KeyText(shard.model()[5].key));
  EXPECT_EQ(fetched->columns[0].View().Bytes(1), KeyText(shard.model()[0].key));
  EXPECT_EQ(fetched->columns[1].View().IntAt(2), 7);
  EXPECT_EQ(fetched->columns[1].name, "later");
  const std::vector<int64_t> beyond = {shard.segment().rows()};
  EXPECT_EQ(FetchRows(shard.segment(), *newer, beyond, std::vector{kKeyField}).status().code(), ErrorCode::kParameterInvalid);
  EXPECT_EQ(FetchRows(shard.segment(), *newer, rows, std::vector{FieldId(999)}).status().code(), ErrorCode::kFieldNotFound);
}

}  // namespace
}  // namespace saker
