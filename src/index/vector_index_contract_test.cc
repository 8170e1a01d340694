// What every index type keeps, whatever the metric: one suite over all of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <thread>

#include "index/vector_index.h"

namespace saker {
namespace {

struct Case {
  std::string type;
  Metric metric;
  KeyValues params;
  bool binary() const { return metric == Metric::kHamming || metric == Metric::kJaccard || metric == Metric::kSubstructure ||
                               metric == Metric::kSuperstructure; }
  bool exact() const { return type == "FLAT" || type == "BIN_FLAT"; }
};
std::string CaseName(const ::testing::TestParamInfo<Case>& info) {
  return info.param.type + "_" + std::string(Name(info.param.metric));
}

// Vectors in clusters, as embeddings are; queries from the same clusters.
struct Data {
  DataType type;
  int dim;
  int row_bytes;
  std::vector<uint8_t> bytes, queries;
  int64_t rows;
  VectorView view() const { return {type, dim, rows, bytes.data(), row_bytes}; }
  const uint8_t* query(int i) const { return &queries[static_cast<size_t>(i) * row_bytes]; }
  float* floats(int64_t row) { return reinterpret_cast<float*>(&bytes[static_cast<size_t>(row) * row_bytes]); }
};

Data MakeFloats(int64_t rows, int queries, int dim = 40, uint32_t seed = 1, float norm_spread = 0) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  Data data{DataType::kFloatVector, dim, dim * 4, {}, {}, rows};
  constexpr int kClusters = 30;
  std::vector<float> centers(kClusters * dim);
  for (auto& x : centers) x = normal(rng) + 0.5f;
  const auto fill = [&](std::vector<uint8_t>& out, int64_t count) {
    out.resize(static_cast<size_t>(count) * dim * 4);
    float* x = reinterpret_cast<float*>(out.data());
    for (int64_t i = 0; i < count; ++i) {
      const int c = static_cast<int>(rng() % kClusters);
      const float length = std::exp(norm_spread * normal(rng));
      for (int d = 0; d < dim; ++d) x[i * dim + d] = length * (centers[c * dim + d] + 0.7f * normal(rng));
    }
  };
  fill(data.bytes, rows);
  fill(data.queries, queries);
  return data;
}

Data MakeBits(int64_t rows, int queries, int dim = 104, uint32_t seed = 1) {
  std::mt19937 rng(seed);
  Data data{DataType::kBinaryVector, dim, dim / 8, {}, {}, rows};
  std::vector<uint8_t> centers(20 * dim / 8);
  for (auto& x : centers) x = static_cast<uint8_t>(rng() & rng());
  const auto fill = [&](std::vector<uint8_t>& out, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const size_t c = rng() % 20;
      for (int b = 0; b < dim / 8; ++b) out.push_back(centers[c * dim / 8 + b] ^ static_cast<uint8_t>(rng() & rng() & rng()));
    }
  };
  fill(data.bytes, rows);
  fill(data.queries, queries);
  return data;
}

class VectorIndexContract : public ::testing::TestWithParam<Case> {
 protected:
  static constexpr int64_t kRows = 3000;
  static constexpr int kQueries = 30;

  Data Make(int64_t rows, int queries = kQueries) const {
    return GetParam().binary() ? MakeBits(rows, queries) : MakeFloats(rows, queries);
  }
  std::unique_ptr<VectorIndex> Build(const Data& data, int threads = 1) const {
    auto built = BuildVectorIndex(GetParam().type, GetParam().metric, GetParam().params, data.view(), {.threads = threads});
    EXPECT_TRUE(built.ok()) << built.status().ToString();
    return std::move(*built);
  }
  static std::string Saved(const VectorIndex& index) {
    std::string file;
    EXPECT_TRUE(index.Save([&](std::string_view bytes) {
      file += bytes;
      return Status::Ok();
    }).ok());
    return file;
  }
  static std::vector<Neighbor> Truth(const Data& data, Metric metric, const uint8_t* query, const VectorSearchParams& params,
                                     const Bitmap* allowed) {
    TopK top(params.k);
    ExactSearch(data.view(), metric, query, params, allowed, 0, top);
    return top.TakeSorted();
  }
  // Recall by distance, so that rows equally far count alike; checks order, distances, filter and uniqueness on the way.
  static double Recall(const Data& data, const VectorIndex& index, const VectorSearchParams& params, const Bitmap* allowed,
                       int queries = kQueries) {
    size_t hits = 0, wanted = 0;
    const int64_t count = allowed == nullptr ? data.rows : allowed->Count();
    for (int q = 0; q < queries; ++q) {
      std::vector<Neighbor> found = {{-1, 12345}};  // results are appended
      index.Search(data.query(q), params, allowed, count, found);
      EXPECT_EQ(found[0].row, 12345);
      found.erase(found.begin());
      const auto truth = Truth(data, index.metric(), data.query(q), params, allowed);
      EXPECT_LE(found.size(), truth.size());
      std::set<int64_t> rows;
      for (size_t i = 0; i < found.size(); ++i) {
        EXPECT_TRUE(rows.insert(found[i].row).second) << "row twice";
        EXPECT_TRUE(allowed == nullptr || allowed->Test(found[i].row));
        EXPECT_LE(found[i == 0 ? 0 : i - 1].distance, found[i].distance);
        EXPECT_EQ(found[i].distance, ExactDistance(data.type, index.metric(), data.dim, data.query(q), data.view().Row(found[i].row)));
        if (!truth.empty() && found[i].distance <= truth.back().distance) ++hits;
      }
      wanted += truth.size();
    }
    return wanted == 0 ? 1.0 : static_cast<double>(hits) / static_cast<double>(wanted);
  }
  VectorSearchParams Params(int k) const {
    VectorSearchParams params{.k = k, .ef = std::max(64, k), .nprobe = 0};
    return params;
  }
  double Wanted() const { return GetParam().exact() ? 1.0 : GetParam().type.find("IVF") != std::string::npos ? 0.85 : 0.95; }
};

TEST_P(VectorIndexContract, Recall) {
  const Data data = Make(kRows);
  const auto index = Build(data);
  EXPECT_EQ(index->rows(), kRows);
  EXPECT_EQ(index->metric(), GetParam().metric);
  EXPECT_EQ(index->type(), GetParam().type == "AUTOINDEX" ? "HNSW" : GetParam().type);
  EXPECT_GT(index->memory_bytes(), 0);
  for (const int k : {1, 10, 100}) EXPECT_GE(Recall(data, *index, Params(k), nullptr), Wanted()) << k;
  EXPECT_GE(Recall(data, *index, {.k = 10}, nullptr), Wanted()) << "defaults";
  VectorSearchParams all = Params(10);
  all.nprobe = 65536;
  EXPECT_GE(Recall(data, *index, all, nullptr), GetParam().exact() ? 1.0 : 0.95);
}

TEST_P(VectorIndexContract, Filters) {
  const Data data = Make(kRows);
  const auto index = Build(data);
  std::mt19937 rng(3);
  for (const double rate : {0.0, 0.0005, 0.01, 0.1, 0.3, 0.5, 0.9, 1.0}) {
    Bitmap allowed(kRows);
    for (int64_t i = 0; i < kRows; ++i) {
      if (std::uniform_real_distribution<>()(rng) < rate) allowed.Set(i);
    }
    const auto params = Params(10);
    EXPECT_GE(Recall(data, *index, params, &allowed), Wanted()) << rate;
    std::vector<Neighbor> found;
    const int64_t count = allowed.Count();
    index->Search(data.query(0), params, &allowed, count, found);
    if (GetParam().metric != Metric::kSubstructure && GetParam().metric != Metric::kSuperstructure) {
      EXPECT_EQ(found.size(), static_cast<size_t>(std::min<int64_t>(10, count))) << rate;
    }
  }
}

TEST_P(VectorIndexContract, FiltersThatFollowOrOpposeTheQuery) {
  const Data data = Make(kRows);
  const auto index = Build(data);
  for (const bool near : {true, false}) {
    std::vector<Neighbor> order;
    for (int64_t i = 0; i < kRows; ++i) {
      const float d = ExactDistance(data.type, GetParam().metric, data.dim, data.query(0), data.view().Row(i));
      order.push_back({near ? d : -d, i});
    }
    std::sort(order.begin(), order.end());
    for (const int64_t count : {kRows / 20, kRows / 4, kRows / 2}) {
      Bitmap allowed(kRows);
      for (int64_t i = 0; i < count; ++i) allowed.Set(order[i].row);
      EXPECT_GE(Recall(data, *index, Params(10), &allowed), Wanted()) << near << ' ' << count;
    }
  }
}

TEST_P(VectorIndexContract, FewRowsAndManyWanted) {
  for (const int64_t rows : {0, 1, 2, 5, 17, 70}) {
    const Data data = Make(rows, 3);
    const auto index = Build(data);
    VectorSearchParams params = Params(100);
    params.nprobe = 1000;
    EXPECT_EQ(Recall(data, *index, params, nullptr, 3), 1.0) << rows;
    std::vector<Neighbor> found;
    index->Search(data.query(0), params, nullptr, rows, found);
    if (GetParam().metric != Metric::kSubstructure && GetParam().metric != Metric::kSuperstructure) {
      EXPECT_EQ(found.size(), static_cast<size_t>(rows));
    }
    const std::string file = Saved(*index);
    const auto opened = OpenVectorIndex(file, data.view());
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    EXPECT_EQ(Recall(data, **opened, params, nullptr, 3), 1.0) << rows;
  }
}

TEST_P(VectorIndexContract, DuplicatesDoNotCutTheRestOff) {
  Data data = Make(2000);
  std::mt19937 rng(9);
  // One vector 600 times, another 100 times, and pairs.
  for (int64_t i = 1; i < 700; ++i) {
    const int64_t from = i < 600 ? 0 : 600;
    std::memcpy(&data.bytes[i * data.row_bytes], &data.bytes[from * data.row_bytes], data.row_bytes);
  }
  for (int64_t i = 700; i < 900; i += 2) {
    std::memcpy(&data.bytes[(i + 1) * data.row_bytes], &data.bytes[i * data.row_bytes], data.row_bytes);
  }
  std::memcpy(data.queries.data(), data.bytes.data(), data.row_bytes);
  const auto index = Build(data);
  EXPECT_GE(Recall(data, *index, Params(10), nullptr), Wanted());
  EXPECT_GE(Recall(data, *index, Params(100), nullptr), Wanted());
  std::vector<Neighbor> found;
  VectorSearchParams params = Params(300);
  index->Search(data.query(0), params, nullptr, data.rows, found);
  if (GetParam().metric == Metric::kL2) {
    ASSERT_EQ(found.size(), 300u);
    EXPECT_EQ(found.back().distance, 0.0f);
  }
  // A filter that lets only some of the copies pass.
  Bitmap allowed(data.rows);
  for (int64_t i = 0; i < data.rows; ++i) {
    if (i > 300 && i % 3 == 0) allowed.Set(i);
  }
  EXPECT_GE(Recall(data, *index, Params(10), &allowed), Wanted());
  const std::string file = Saved(*index);
  const auto opened = OpenVectorIndex(file, data.view());
  ASSERT_TRUE(opened.ok());
  EXPECT_GE(Recall(data, **opened, Params(10), &allowed), Wanted());
}

TEST_P(VectorIndexContract, ZeroVectorsAndZeroQueries) {
  Data data = Make(1000);
  std::fill_n(data.bytes.begin(), 50 * data.row_bytes, 0);
  std::fill_n(data.queries.begin(), data.row_bytes, 0);
  const auto index = Build(data);
  std::vector<Neighbor> found;
  index->Search(data.query(0), Params(10), nullptr, data.rows, found);
  EXPECT_EQ(found.size(), 10u);
  EXPECT_GE(Recall(data, *index, Params(10), nullptr), Wanted() - 0.03);
}

TEST_P(VectorIndexContract, AllRowsTheSame) {
  Data data = Make(500, 2);
  for (int64_t i = 1; i < 500; ++i) std::memcpy(&data.bytes[i * data.row_bytes], data.bytes.data(), data.row_bytes);
  const auto index = Build(data);
  EXPECT_EQ(Recall(data, *index, Params(20), nullptr, 2), 1.0);
}

TEST_P(VectorIndexContract, Ranges) {
  const Data data = Make(kRows);
  if (GetParam().metric == Metric::kSubstructure || GetParam().metric == Metric::kSuperstructure) return;
  const auto index = Build(data);
  Bitmap half(kRows);
  for (int64_t i = 0; i < kRows; i += 2) half.Set(i);
  double low = 1;
  for (const size_t width : {3, 30, 400}) {
    for (const size_t from : {0, 20}) {
      // A range that holds about `width` rows of the first query, beginning at about its `from`-th.
      const auto truth = Truth(data, GetParam().metric, data.query(0), {.k = 1000}, nullptr);
      VectorSearchParams params = Params(100);
      params.has_range = true;
      params.min_distance = from == 0 ? -3e38f : truth[from].distance;
      params.max_distance = truth[from + width].distance;
      params.nprobe = 65536;
      for (const Bitmap* allowed : {static_cast<const Bitmap*>(nullptr), static_cast<const Bitmap*>(&half)}) {
        low = std::min(low, Recall(data, *index, params, allowed));
      }
    }
  }
  EXPECT_GE(low, GetParam().exact() ? 1.0 : 0.95);
}

TEST_P(VectorIndexContract, SavedAndOpenedItAnswersTheSame) {
  const Data data = Make(kRows);
  const auto index = Build(data);
  const std::string file = Saved(*index);
  const auto opened = OpenVectorIndex(file, data.view());
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  EXPECT_EQ((*opened)->type(), index->type());
  EXPECT_EQ((*opened)->memory_bytes(), index->memory_bytes());
  for (int q = 0; q < kQueries; ++q) {
    std::vector<Neighbor> a, b;
    index->Search(data.query(q), Params(10), nullptr, kRows, a);
    (*opened)->Search(data.query(q), Params(10), nullptr, kRows, b);
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].row, b[i].row);
      EXPECT_EQ(a[i].distance, b[i].distance);
    }
  }
  EXPECT_EQ(Saved(**opened), file);
  EXPECT_EQ(Saved(*Build(data)), file) << "one thread builds the same index every time";
}

TEST_P(VectorIndexContract, DamageIsFound) {
  const Data data = Make(600, 2);
  const std::string file = Saved(*Build(data));
  std::mt19937 rng(4);
  int refused = 0;
  const auto check = [&](const std::string& damaged) {
    const auto opened = OpenVectorIndex(damaged, data.view());
    if (opened.ok()) {  // only a byte between the sections may have been hit
      std::vector<Neighbor> found;
      (*opened)->Search(data.query(0), Params(10), nullptr, data.rows, found);
      return;
    }
    ++refused;
    EXPECT_TRUE(opened.status().code() == ErrorCode::kCorrupted || opened.status().code() == ErrorCode::kUnimplemented)
        << opened.status().ToString();
  };
  int flips = 0;
  for (size_t at = 0; at < file.size(); at += at < 400 ? 1 : 1 + rng() % 997) {
    std::string damaged = file;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << (rng() % 8)));
    check(damaged);
    ++flips;
  }
  EXPECT_GE(refused, flips / 3);
  for (size_t length = 0; length < file.size(); length += 1 + rng() % (1 + file.size() / 60)) {
    const auto opened = OpenVectorIndex(std::string_view(file).substr(0, length), data.view());
    EXPECT_TRUE(!opened.ok() || GetParam().exact() || length + 64 > file.size()) << length;
  }
  const Data other = Make(601, 1);
  EXPECT_EQ(OpenVectorIndex(file, other.view()).status().code(), ErrorCode::kCorrupted);
}

TEST_P(VectorIndexContract, ManyThreadsBuildAndSearch) {
  const Data data = Make(kRows);
  const auto index = Build(data, 4);
  EXPECT_GE(Recall(data, *index, Params(10), nullptr), Wanted() - 0.02);
  std::vector<std::vector<Neighbor>> expected(kQueries);
  for (int q = 0; q < kQueries; ++q) index->Search(data.query(q), Params(10), nullptr, kRows, expected[q]);
  std::atomic<int> different{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const int q = (i * 7 + t) % kQueries;
        std::vector<Neighbor> found;
        index->Search(data.query(q), Params(10), nullptr, kRows, found);
        bool same = found.size() == expected[q].size();
        for (size_t j = 0; same && j < found.size(); ++j) same = found[j].row == expected[q][j].row;
        if (!same) ++different;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(different, 0);
}

TEST_P(VectorIndexContract, ABuildCanBeCancelled) {
  if (GetParam().exact()) return;
  const Data data = Make(kRows);
  const auto built = BuildVectorIndex(GetParam().type, GetParam().metric, GetParam().params, data.view(),
                                      {.threads = 1, .cancelled = [] { return true; }});
  EXPECT_EQ(built.status().code(), ErrorCode::kCancelled);
}

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const Metric metric : {Metric::kL2, Metric::kIp, Metric::kCosine}) {
    cases.push_back({"FLAT", metric, {}});
    cases.push_back({"IVF_FLAT", metric, {{"nlist", "64"}}});
    cases.push_back({"IVF_SQ8", metric, {{"nlist", "64"}}});
    cases.push_back({"HNSW", metric, {{"M", "16"}, {"efConstruction", "200"}}});
    cases.push_back({"AUTOINDEX", metric, {}});
  }
  for (const Metric metric : {Metric::kHamming, Metric::kJaccard}) {
    cases.push_back({"BIN_FLAT", metric, {}});
    cases.push_back({"BIN_IVF_FLAT", metric, {{"nlist", "32"}}});
  }
  cases.push_back({"BIN_FLAT", Metric::kSubstructure, {}});
  cases.push_back({"BIN_FLAT", Metric::kSuperstructure, {}});
  return cases;
}
INSTANTIATE_TEST_SUITE_P(AllTypes, VectorIndexContract, ::testing::ValuesIn(Cases()), CaseName);

// Inner products of vectors of very different lengths: the nearest are few long ones, far from most queries.
TEST(HnswIp, FindsLongVectorsOnUnnormalisedData) {
  for (const float spread : {0.3f, 1.0f}) {
    const Data data = MakeFloats(5000, 100, 48, 11, spread);
    const auto index = BuildVectorIndex("HNSW", Metric::kIp, {}, data.view(), {});
    ASSERT_TRUE(index.ok());
    int hits = 0;
    for (int q = 0; q < 100; ++q) {
      TopK top(10);
      ExactSearch(data.view(), Metric::kIp, data.query(q), {.k = 10}, nullptr, 0, top);
      std::set<int64_t> truth;
      for (const Neighbor& n : top.TakeSorted()) truth.insert(n.row);
      std::vector<Neighbor> found;
      (*index)->Search(data.query(q), {.k = 10, .ef = 64}, nullptr, data.rows, found);
      for (const Neighbor& n : found) hits += static_cast<int>(truth.count(n.row));
    }
    EXPECT_GE(hits, 950) << spread;
  }
}

// Enough rows that a search with a filter or a range walks the graph; with those of the suite above it scans.
class HnswWalks : public ::testing::Test {
 protected:
  static constexpr int64_t kRows = 30000;
  static constexpr int kQueries = 100;
  static void SetUpTestSuite() {
    data_ = std::make_unique<Data>(MakeFloats(kRows, kQueries, 16, 21));
    for (int64_t i = 0; i < 3000; i += 3) std::memcpy(data_->floats(i + 1), data_->floats(i), 16 * 4);  // pairs
    auto built = BuildVectorIndex("HNSW", Metric::kL2, {{"M", "12"}, {"efConstruction", "80"}}, data_->view(), {});
    ASSERT_TRUE(built.ok());
    index_ = std::move(*built);
  }
  static void TearDownTestSuite() {
    index_.reset();
    data_.reset();
  }
  static double Recall(const VectorSearchParams& params, const Bitmap* allowed) {
    size_t hits = 0, wanted = 0;
    const int64_t count = allowed == nullptr ? kRows : allowed->Count();
    for (int q = 0; q < kQueries; ++q) {
      std::vector<Neighbor> found;
      index_->Search(data_->query(q), params, allowed, count, found);
      TopK top(params.k);
      ExactSearch(data_->view(), Metric::kL2, data_->query(q), params, allowed, 0, top);
      const auto truth = top.TakeSorted();
      EXPECT_LE(found.size(), truth.size());
      for (const Neighbor& n : found) {
        EXPECT_TRUE(allowed == nullptr || allowed->Test(n.row));
        hits += !truth.empty() && n.distance <= truth.back().distance ? 1 : 0;
      }
      wanted += truth.size();
    }
    EXPECT_GT(wanted, 0u);
    return static_cast<double>(hits) / static_cast<double>(std::max<size_t>(1, wanted));
  }
  static std::unique_ptr<Data> data_;
  static std::unique_ptr<VectorIndex> index_;
};
std::unique_ptr<Data> HnswWalks::data_;
std::unique_ptr<VectorIndex> HnswWalks::index_;

TEST_F(HnswWalks, RandomFilters) {
  EXPECT_GE(Recall({.k = 5, .ef = 24}, nullptr), 0.95);
  std::mt19937 rng(8);
  for (const double rate : {0.1, 0.2, 0.5, 0.9}) {
    Bitmap allowed(kRows);
    for (int64_t i = 0; i < kRows; ++i) {
      if (std::uniform_real_distribution<>()(rng) < rate) allowed.Set(i);
    }
    EXPECT_GE(Recall({.k = 5, .ef = 24}, &allowed), 0.95) << rate;
  }
}

TEST_F(HnswWalks, FiltersThatFollowOrOpposeTheQueries) {
  for (const bool near : {true, false}) {
    std::vector<Neighbor> order;
    for (int64_t i = 0; i < kRows; ++i) {
      const float d = ExactDistance(data_->type, Metric::kL2, data_->dim, data_->query(3), data_->view().Row(i));
      order.push_back({near ? d : -d, i});
    }
    std::sort(order.begin(), order.end());
    for (const int64_t count : {kRows / 8, kRows / 2}) {
      Bitmap allowed(kRows);
      for (int64_t i = 0; i < count; ++i) allowed.Set(order[i].row);
      EXPECT_GE(Recall({.k = 5, .ef = 40}, &allowed), 0.95) << near << ' ' << count;
    }
  }
}

TEST_F(HnswWalks, Ranges) {
  Bitmap half(kRows);
  for (int64_t i = 0; i < kRows; i += 2) half.Set(i);
  for (const float end : {3.0f, 5.0f, 8.0f}) {
    for (const float begin : {0.0f, end / 2}) {
      const VectorSearchParams params{.k = 50, .ef = 24, .has_range = true, .max_distance = end, .min_distance = begin};
      EXPECT_GE(Recall(params, nullptr), 0.95) << begin << ' ' << end;
      EXPECT_GE(Recall(params, &half), 0.95) << begin << ' ' << end;
    }
  }
}

TEST(HnswTypes, HalfPrecisionAndBytes) {
  for (const DataType type : {DataType::kFloat16Vector, DataType::kBFloat16Vector, DataType::kInt8Vector}) {
    std::mt19937 rng(2);
    constexpr int kDim = 32, kRows = 3000;
    const int width = type == DataType::kInt8Vector ? 1 : 2;
    std::vector<uint8_t> bytes(kDim * kRows * width);
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(rng());
    if (width == 2) {  // exponents that stay within ordinary numbers
      for (size_t i = 1; i < bytes.size(); i += 2) bytes[i] = static_cast<uint8_t>((bytes[i] & 0x83) | (type == DataType::kFloat16Vector ? 0x38 : 0x3c));
    }
    const VectorView view{type, kDim, kRows, bytes.data(), kDim * width};
    const auto index = BuildVectorIndex("HNSW", Metric::kL2, {}, view, {});
    ASSERT_TRUE(index.ok()) << index.status().ToString();
    for (int64_t row = 0; row < 50; ++row) {
      std::vector<Neighbor> found;
      (*index)->Search(view.Row(row * 37), {.k = 1, .ef = 64}, nullptr, kRows, found);
      ASSERT_EQ(found.size(), 1u);
      EXPECT_EQ(found[0].distance, 0.0f);
    }
  }
}

TEST(HnswInput, NotANumberAndInfinityDoNotHarm) {
  Data data = MakeFloats(500, 3);
  for (int i = 0; i < 40; ++i) data.floats(i)[i] = i % 2 == 0 ? std::nanf("") : INFINITY;
  for (const Metric metric : {Metric::kL2, Metric::kIp, Metric::kCosine}) {
    const auto index = BuildVectorIndex("HNSW", metric, {}, data.view(), {});
    ASSERT_TRUE(index.ok());
    std::vector<Neighbor> found;
    (*index)->Search(data.query(0), {.k = 10, .ef = 64}, nullptr, data.rows, found);
    (*index)->Search(reinterpret_cast<const uint8_t*>(data.floats(0)), {.k = 10, .ef = 64}, nullptr, data.rows, found);
  }
}

}  // namespace
}  // namespace saker
