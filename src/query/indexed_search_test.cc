// Searching sealed segments through real indexes, real filters and a real store.
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <limits>
#include <set>

#include "query/search.h"
#include "segment/segment_fixture.h"

namespace saker {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class IndexedSearchTest : public testing::Test {
 protected:
  static constexpr int64_t kRows = 12000;

  void SetUp() override {
    root_ = std::filesystem::temp_directory_path() /
            ("saker_indexed_search_" + std::to_string(reinterpret_cast<uintptr_t>(this)) + "_" + std::to_string(::getpid()));
    std::filesystem::remove_all(root_);
    auto store = OpenDirectoryStore(root_.string());
    ASSERT_TRUE(store.ok()) << store.status().ToString();
    store_ = *std::move(store);
    WriteAndOpen();
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void WriteAndOpen() {
    auto growing = NewGrowingSegment(SegmentId(9), PartitionId(5), schema_);
    for (int64_t key = 0; key < kRows; key += 500) {
      ModelRows rows;
      for (int64_t i = key; i < key + 500; ++i) rows.push_back(history_.NewRow(i));
      growing->Append(BatchOf(*schema_, rows), ++ts_);
      model_.insert(model_.end(), rows.begin(), rows.end());
    }
    SegmentWriteRequest request;
    request.store = store_.get();
    request.prefix = "segments/1/9/1";
    request.id = SegmentId(9);
    request.partition = PartitionId(5);
    request.schema = schema_;
    request.sources = {growing};
    const auto files = WriteSegment(request);
    ASSERT_TRUE(files.ok()) << files.status().ToString();
    SegmentMeta meta;
    meta.manifest = files->manifest;
    auto opened = OpenSegment(store_.get(), meta);
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    segment_ = *opened;
    for (int64_t row = 0; row < kRows; row += 10) deleted_.push_back(row);
    segment_->Delete({ts_ + 1, PartitionId(), KeysOf(deleted_, false)});
    view_.read_ts = ts_ + 1;
  }

  template <typename Index>
  SegmentIndex SaveIndex(const Index& index, const std::string& name) {
    std::string bytes;
    EXPECT_TRUE(index
                    .Save([&](std::string_view piece) {
                      bytes.append(piece);
                      return Status();
                    })
                    .ok());
    EXPECT_TRUE(store_->Put(name, bytes).ok());
    return {IndexId(1), name, static_cast<int64_t>(bytes.size()), index.rows()};
  }

  void AttachVectors(std::string_view type, Metric metric, const KeyValues& params) {
    const auto vectors = VectorsOf(*segment_, kVectorField);
    ASSERT_TRUE(vectors.ok());
    const auto built = BuildVectorIndex(type, metric, params, *vectors, {});
    ASSERT_TRUE(built.ok()) << built.status().ToString();
    built_ = SaveIndex(**built, "indexes/1/9/vector");
    index_.field = kVectorField;
    const Status attached = AttachIndex(segment_, store_.get(), index_, built_);
    ASSERT_TRUE(attached.ok()) << attached.ToString();
    ASSERT_NE(segment_->VectorIndexOn(kVectorField), nullptr);
  }

  SearchPlan Plan(Metric metric, int k) {
    SearchPlan plan;
    plan.schema = schema_;
    plan.vector_field = kVectorField;
    plan.metric = metric;
    plan.dim = kModelDim;
    plan.nq = 20;
    plan.row_bytes = kModelDim * sizeof(float);
    for (int i = 0; i < plan.nq; ++i) {
      const ModelRow query = history_.NewRow(0);
      plan.queries.append(reinterpret_cast<const char*>(query.vector.data()), plan.row_bytes);
    }
    plan.params.k = k;
    return plan;
  }
  void SetFilter(SearchPlan& plan, std::string_view text) {
    auto filter = ParseFilter(text, schema_);
    ASSERT_TRUE(filter.ok()) << filter.status().ToString();
    plan.filter = *filter;
  }

  // The part of what exact search finds that is found with the index.
  double Recall(const SearchPlan& plan) {
    const auto indexed = SearchSegment(plan, *segment_, view_);
    EXPECT_TRUE(indexed.ok());
    const auto exact = ExactHits(plan);
    EXPECT_EQ(indexed->offsets, exact.offsets);
    EXPECT_EQ(indexed->rows_considered, exact.rows_considered);
    int64_t found = 0;
    for (int q = 0; q < plan.nq; ++q) {
      std::set<int64_t> rows;
      for (int64_t i = exact.offsets[q]; i < exact.offsets[q + 1]; ++i) rows.insert(exact.hits[i].row);
      for (int64_t i = indexed->offsets[q]; i < indexed->offsets[q + 1]; ++i) {
        found += rows.contains(indexed->hits[i].row) ? 1 : 0;
        EXPECT_TRUE(segment_->IsVisible(indexed->hits[i].row, view_.read_ts, 0));
      }
    }
    return exact.hits.empty() ? 1 : static_cast<double>(found) / static_cast<double>(exact.hits.size());
  }
  SearchHits ExactHits(const SearchPlan& plan) {
    DetachIndex(segment_, kVectorField);
    EXPECT_EQ(segment_->VectorIndexOn(kVectorField), nullptr);
    auto hits = SearchSegment(plan, *segment_, view_);
    EXPECT_TRUE(hits.ok());
    EXPECT_TRUE(AttachIndex(segment_, store_.get(), index_, built_).ok());
    return *std::move(hits);
  }

  std::filesystem::path root_;
  std::unique_ptr<ObjectStore> store_;
  SchemaPtr schema_ = ModelSchema(false);
  RandomHistory history_{17, schema_};
  ModelRows model_;
  SegmentPtr segment_;
  std::vector<int64_t> deleted_;
  Timestamp ts_ = 1000;
  ReadView view_;
  IndexMeta index_;
  SegmentIndex built_;
};

TEST_F(IndexedSearchTest, AGraphFindsWhatExactSearchFinds) {
  AttachVectors("HNSW", Metric::kL2, {{"M", "16"}, {"efConstruction", "120"}});
  for (const char* filter : {"", "number < 10", "number == 3", "key in [1, 2, 3, 10, 11]", "number < 10 and text like 'a%'"}) {
    SearchPlan plan = Plan(Metric::kL2, 10);
    SetFilter(plan, filter);
    EXPECT_GE(Recall(plan), 0.95) << filter;
  }
  // An index by another metric is not asked.
  SearchPlan plan = Plan(Metric::kCosine, 10);
  EXPECT_EQ(Recall(plan), 1.0);
}

TEST_F(IndexedSearchTest, CosineOfVectorsOfAnyLength) {
  AttachVectors("HNSW", Metric::kCosine, {{"M", "16"}, {"efConstruction", "120"}});
  EXPECT_GE(Recall(Plan(Metric::kCosine, 10)), 0.95);
}

TEST_F(IndexedSearchTest, ListsOfCentroids) {
  AttachVectors("IVF_FLAT", Metric::kL2, {{"nlist", "64"}});
  SearchPlan plan = Plan(Metric::kL2, 10);
  plan.params.nprobe = 64;
  EXPECT_EQ(Recall(plan), 1.0);
}

TEST_F(IndexedSearchTest, RangesBoundsAndGroupsGoOnUntilThereIsEnough) {
  AttachVectors("HNSW", Metric::kL2, {{"M", "16"}, {"efConstruction", "120"}});
  SearchPlan far = Plan(Metric::kL2, 100);
  const SearchHits nearest = ExactHits(far);
  SearchPlan beyond = far;
  beyond.nq = 1;
  beyond.params.k = 20;
  beyond.has_bound = true;
  beyond.bound_distance = nearest.hits[59].distance;
  auto hits = SearchSegment(beyond, *segment_, view_);
  ASSERT_TRUE(hits.ok());
  ASSERT_EQ(hits->hits.size(), 20u);
  for (int i = 0; i < 20; ++i) EXPECT_NEAR(hits->hits[i].distance, nearest.hits[60 + i].distance, nearest.hits[99].distance * 0.1);
  EXPECT_GT(hits->hits[0].distance, beyond.bound_distance);

  beyond.has_bound = false;
  beyond.params.has_range = true;
  beyond.params.min_distance = nearest.hits[30].distance;
  beyond.params.max_distance = nearest.hits[40].distance;
  hits = SearchSegment(beyond, *segment_, view_);
  ASSERT_TRUE(hits.ok());
  EXPECT_EQ(hits->hits.size(), 10u);
  beyond.params.min_distance = -kInfinity;
  beyond.params.max_distance = nearest.hits[15].distance;
  hits = SearchSegment(beyond, *segment_, view_);
  ASSERT_TRUE(hits.ok());
  EXPECT_EQ(hits->hits.size(), 15u);

  for (const bool strict : {false, true}) {
    SearchPlan grouped = Plan(Metric::kL2, 21);  // 20 numbers and null
    grouped.group_by = kNumberField;
    grouped.group_size = 3;
    grouped.strict_group_size = strict;
    hits = SearchSegment(grouped, *segment_, view_);
    ASSERT_TRUE(hits.ok());
    for (int q = 0; q < grouped.nq; ++q) {
      std::map<Value, int> sizes;
      for (int64_t i = hits->offsets[q]; i < hits->offsets[q + 1]; ++i) ++sizes[hits->groups[i]];
      EXPECT_EQ(sizes.size(), 21u);
      for (const auto& [value, size] : sizes) EXPECT_TRUE(size == 3 || (!strict && size < 3));
    }
  }
}

TEST_F(IndexedSearchTest, AnIteratorOverTheIndexVisitsNearlyEverything) {
  AttachVectors("HNSW", Metric::kL2, {{"M", "16"}, {"efConstruction", "120"}});
  SearchPlan plan = Plan(Metric::kL2, 1000);
  plan.nq = 1;
  std::set<int64_t> seen;
  for (int batch = 0; batch < 30; ++batch) {
    const auto hits = SearchSegment(plan, *segment_, view_);
    ASSERT_TRUE(hits.ok());
    if (hits->hits.empty()) break;
    for (const Hit& hit : hits->hits) EXPECT_TRUE(seen.insert(hit.row).second);
    plan.has_bound = true;
    plan.bound_distance = hits->hits.back().distance;
  }
  EXPECT_GE(static_cast<int64_t>(seen.size()), (kRows - static_cast<int64_t>(deleted_.size())) * 99 / 100);
}

TEST_F(IndexedSearchTest, ScalarIndexesChangeNoAnswer) {
  QueryPlan plan;
  plan.schema = schema_;
  plan.output_fields = {kKeyField, kNumberField};
  std::vector<std::vector<int64_t>> before;
  const std::vector<std::string> filters = {"number in [3, 5]", "number >= 17", "not (number < 4)", "number is null"};
  const auto answers = [&] {
    std::vector<std::vector<int64_t>> out;
    for (const std::string& text : filters) {
      plan.filter = *ParseFilter(text, schema_);
      const auto rows = QuerySegment(plan, *segment_, view_);
      EXPECT_TRUE(rows.ok());
      out.push_back(rows->keys.ints);
      EXPECT_FALSE(out.back().empty()) << text;
    }
    return out;
  };
  before = answers();
  const auto built = BuildScalarIndex("STL_SORT", segment_->ChunkAt(kNumberField, 0)->column);
  ASSERT_TRUE(built.ok()) << built.status().ToString();
  IndexMeta meta;
  meta.field = kNumberField;
  const Status attached = AttachIndex(segment_, store_.get(), meta, SaveIndex(**built, "indexes/1/9/number"));
  ASSERT_TRUE(attached.ok()) << attached.ToString();
  EXPECT_NE(segment_->IndexOn(kNumberField), nullptr);
  EXPECT_EQ(answers(), before);
  DetachIndex(segment_, kNumberField);
  EXPECT_EQ(segment_->IndexOn(kNumberField), nullptr);
}

TEST_F(IndexedSearchTest, DamagedAndForeignIndexFilesAreRefusedByName) {
  AttachVectors("HNSW", Metric::kL2, {{"M", "16"}, {"efConstruction", "60"}});
  auto bytes = *store_->Get(built_.object);
  bytes.resize(bytes.size() / 2);
  ASSERT_TRUE(store_->Put("indexes/1/9/short", bytes).ok());
  SegmentIndex damaged = built_;
  damaged.object = "indexes/1/9/short";
  const Status status = AttachIndex(segment_, store_.get(), index_, damaged);
  EXPECT_EQ(status.code(), ErrorCode::kCorrupted);
  EXPECT_NE(status.message().find("indexes/1/9/short"), std::string::npos) << status.message();
  EXPECT_NE(segment_->VectorIndexOn(kVectorField), nullptr);  // the old one serves on

  VectorView fewer = *VectorsOf(*segment_, kVectorField);
  fewer.rows /= 2;
  const auto foreign = BuildVectorIndex("FLAT", Metric::kL2, {}, fewer, {});
  ASSERT_TRUE(foreign.ok());
  EXPECT_EQ(AttachIndex(segment_, store_.get(), index_, SaveIndex(**foreign, "indexes/1/9/foreign")).code(),
            ErrorCode::kCorrupted);
}

}  // namespace
}  // namespace saker
