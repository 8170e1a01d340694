#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "distance/kernels.h"
#include "index/vector_index.h"

namespace saker {
namespace {

TEST(TopK, KeepsTheNearestAndBreaksTiesByRow) {
  TopK top(3);
  for (const Neighbor n : {Neighbor{5, 1}, {2, 9}, {2, 4}, {7, 0}, {2, 6}, {2, 5}}) top.Push(n);
  const auto sorted = top.TakeSorted();
  ASSERT_EQ(sorted.size(), 3u);
  EXPECT_EQ(sorted[0].row, 4);
  EXPECT_EQ(sorted[1].row, 5);
  EXPECT_EQ(sorted[2].row, 6);
  TopK none(0);
  none.Push({1, 1});
  EXPECT_TRUE(none.TakeSorted().empty());
}

float Plain(Metric metric, const float* a, const float* b, int dim) {
  double ip = 0, l2 = 0, na = 0, nb = 0;
  for (int i = 0; i < dim; ++i) {
    ip += a[i] * b[i], l2 += (a[i] - b[i]) * (a[i] - b[i]), na += a[i] * a[i], nb += b[i] * b[i];
  }
  if (metric == Metric::kL2) return static_cast<float>(l2);
  if (metric == Metric::kIp) return static_cast<float>(-ip);
  return na == 0 || nb == 0 ? 0.0f : static_cast<float>(-ip / std::sqrt(na * nb));
}

TEST(ExactSearch, AgreesWithThePlainFormulaForEveryFloatLikeType) {
  constexpr int kDim = 37, kRows = 301;
  std::mt19937 rng(1);
  std::uniform_int_distribution<int> small(-60, 60);
  std::vector<float> data(kDim * kRows), query(kDim);
  for (auto& x : data) x = static_cast<float>(small(rng));  // exact in every type
  for (auto& x : query) x = static_cast<float>(small(rng));
  std::fill_n(data.begin() + 5 * kDim, kDim, 0.0f);
  const auto encode = [&](DataType type, const std::vector<float>& in) {
    std::vector<uint8_t> out(in.size() * 4);
    if (type == DataType::kFloatVector) std::memcpy(out.data(), in.data(), in.size() * 4);
    if (type == DataType::kFloat16Vector) Kernels().f32_to_f16(in.data(), reinterpret_cast<uint16_t*>(out.data()), in.size());
    if (type == DataType::kBFloat16Vector) Kernels().f32_to_bf16(in.data(), reinterpret_cast<uint16_t*>(out.data()), in.size());
    for (size_t i = 0; type == DataType::kInt8Vector && i < in.size(); ++i) out[i] = static_cast<uint8_t>(static_cast<int8_t>(in[i]));
    return out;
  };
  Bitmap allowed(kRows + 1000);
  for (int i = 0; i < kRows + 1000; i += 3) allowed.Set(i);
  for (const DataType type : {DataType::kFloatVector, DataType::kFloat16Vector, DataType::kBFloat16Vector, DataType::kInt8Vector}) {
    const auto raw = encode(type, data), raw_query = encode(type, query);
    const int row_bytes = type == DataType::kFloatVector ? kDim * 4 : type == DataType::kInt8Vector ? kDim : kDim * 2;
    const VectorView view{type, kDim, kRows, raw.data(), row_bytes};
    for (const Metric metric : {Metric::kL2, Metric::kIp, Metric::kCosine}) {
      for (const int64_t first_row : {int64_t{0}, int64_t{777}}) {
        std::vector<Neighbor> expected;
        for (int i = 0; i < kRows; ++i) {
          if (allowed.Test(first_row + i)) expected.push_back({Plain(metric, query.data(), &data[i * kDim], kDim), first_row + i});
        }
        std::sort(expected.begin(), expected.end());
        TopK top(20);
        ExactSearch(view, metric, raw_query.data(), {.k = 20}, &allowed, first_row, top);
        const auto found = top.TakeSorted();
        ASSERT_EQ(found.size(), 20u);
        for (int i = 0; i < 20; ++i) {
          EXPECT_NEAR(found[i].distance, expected[i].distance, 1e-5 * (1 + std::fabs(expected[i].distance)));
          EXPECT_TRUE(allowed.Test(found[i].row));
          EXPECT_EQ(found[i].distance, ExactDistance(type, metric, kDim, raw_query.data(), view.Row(found[i].row - first_row)));
        }
      }
    }
  }
}

TEST(ExactSearch, Binary) {
  const uint8_t rows[] = {0xff, 0x00, 0x0f, 0x00, 0x00, 0x00, 0x3f, 0x01};
  const uint8_t query[] = {0x0f, 0x00};
  const VectorView view{DataType::kBinaryVector, 16, 4, rows, 2};
  EXPECT_EQ(ExactDistance(view.type, Metric::kHamming, 16, query, view.Row(0)), 4);
  EXPECT_EQ(ExactDistance(view.type, Metric::kJaccard, 16, query, view.Row(0)), 0.5f);
  EXPECT_EQ(ExactDistance(view.type, Metric::kJaccard, 16, query, view.Row(2)), 1.0f);
  EXPECT_EQ(ExactDistance(view.type, Metric::kJaccard, 16, rows + 4, view.Row(2)), 0.0f);
  const auto rows_found = [&](Metric metric) {
    TopK top(10);
    ExactSearch(view, metric, query, {.k = 10}, nullptr, 0, top);
    std::vector<int64_t> out;
    for (const Neighbor& n : top.TakeSorted()) out.push_back(n.row);
    return out;
  };
  EXPECT_EQ(rows_found(Metric::kSubstructure), (std::vector<int64_t>{0, 1, 3}));    // rows that hold the query
  EXPECT_EQ(rows_found(Metric::kSuperstructure), (std::vector<int64_t>{1, 2}));     // rows the query holds
  EXPECT_EQ(rows_found(Metric::kHamming), (std::vector<int64_t>{1, 3, 0, 2}));
}

TEST(ExactSearch, Range) {
  const float rows[] = {0, 1, 2, 3, 4};
  const float query[] = {0};
  const VectorView view{DataType::kFloatVector, 1, 5, reinterpret_cast<const uint8_t*>(rows), 4};
  VectorSearchParams params{.k = 10, .has_range = true, .max_distance = 9, .min_distance = 1};
  TopK top(10);
  ExactSearch(view, Metric::kL2, reinterpret_cast<const uint8_t*>(query), params, nullptr, 0, top);
  const auto found = top.TakeSorted();
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].row, 1);
  EXPECT_EQ(found[1].row, 2);
}

}  // namespace
}  // namespace saker
