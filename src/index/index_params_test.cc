#include <gtest/gtest.h>

#include <cmath>

#include "index/vector_index.h"

namespace saker {
namespace {

std::string Refusal(std::string_view type, Metric metric, const KeyValues& params, DataType field = DataType::kFloatVector) {
  return CheckIndexParams(type, metric, field, 8, params).message();
}

TEST(IndexParams, MilvusMessages) {
  EXPECT_EQ(Refusal("FOO", Metric::kL2, {}), "invalid index type: FOO");
  EXPECT_EQ(Refusal("HNSW", Metric::kNone, {}), "metric type not found or not supported, supported: [L2 IP COSINE]");
  EXPECT_EQ(Refusal("HNSW", Metric::kHamming, {}), "metric type not found or not supported, supported: [L2 IP COSINE]");
  EXPECT_EQ(Refusal("HNSW", Metric::kL2, {{"M", "2049"}}), "M out of range: [1, 2048]");
  EXPECT_EQ(Refusal("HNSW", Metric::kL2, {{"M", "x"}}), "M out of range: [1, 2048]");
  EXPECT_EQ(Refusal("HNSW", Metric::kL2, {{"efConstruction", "0"}}), "efConstruction out of range: [1, 2147483647]");
  EXPECT_EQ(Refusal("IVF_FLAT", Metric::kL2, {{"nlist", "65537"}}), "nlist out of range: [1, 65536]");
  EXPECT_EQ(Refusal("BIN_FLAT", Metric::kHamming, {}), "binary vector is only supported");
  EXPECT_EQ(Refusal("FLAT", Metric::kHamming, {}, DataType::kBinaryVector), "float vector is only supported");
  EXPECT_EQ(Refusal("BIN_IVF_FLAT", Metric::kSubstructure, {}, DataType::kBinaryVector),
            "metric type not found or not supported, supported: [HAMMING JACCARD]");
}

TEST(IndexParams, Accepted) {
  EXPECT_EQ(Refusal("HNSW", Metric::kCosine, {{"M", "16"}, {"efConstruction", "200"}, {"whatever", "1"}}), "");
  EXPECT_EQ(Refusal("HNSW", Metric::kIp, {}), "");
  EXPECT_EQ(Refusal("AUTOINDEX", Metric::kIp, {}), "");
  EXPECT_EQ(Refusal("AUTOINDEX", Metric::kHamming, {}, DataType::kBinaryVector), "");
  EXPECT_EQ(Refusal("BIN_FLAT", Metric::kSubstructure, {}, DataType::kBinaryVector), "");
  EXPECT_EQ(Refusal("IVF_SQ8", Metric::kL2, {{"nlist", "1024"}}), "");
  EXPECT_EQ(DefaultMetric(DataType::kFloatVector), Metric::kCosine);
  EXPECT_EQ(DefaultMetric(DataType::kBinaryVector), Metric::kHamming);
  EXPECT_EQ(DefaultMetric(DataType::kSparseFloatVector), Metric::kIp);
}

TEST(SearchParams, EfAndNprobe) {
  auto parsed = ParseSearchParams("HNSW", Metric::kL2, 10, {{"ef", "64"}, {"unknown", "{}"}});
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->ef, 64);
  EXPECT_EQ(parsed->k, 10);
  EXPECT_EQ(ParseSearchParams("HNSW", Metric::kL2, 10, {{"ef", "\"64\""}})->ef, 64);
  EXPECT_EQ(ParseSearchParams("HNSW", Metric::kL2, 10, {})->ef, 0);
  EXPECT_EQ(ParseSearchParams("HNSW", Metric::kL2, 10, {{"ef", "9"}}).status().message(), "ef(9) should be larger than k(10)");
  EXPECT_FALSE(ParseSearchParams("HNSW", Metric::kL2, 10, {{"ef", "32769"}}).ok());
  EXPECT_FALSE(ParseSearchParams("HNSW", Metric::kL2, 10, {{"ef", "sixty"}}).ok());
  EXPECT_EQ(ParseSearchParams("IVF_FLAT", Metric::kL2, 10, {{"nprobe", "16"}})->nprobe, 16);
  EXPECT_EQ(ParseSearchParams("IVF_FLAT", Metric::kL2, 10, {{"nprobe", "0"}}).status().message(),
            "Out of range in json: param [nprobe] should be in [1, 65536]");
  EXPECT_TRUE(ParseSearchParams("", Metric::kL2, 10, {{"ef", "1"}}).ok());
  EXPECT_EQ(ParseSearchParams("AUTOINDEX", Metric::kL2, 10, {{"level", "3"}})->level, 3);
}

TEST(SearchParams, Ranges) {
  const auto l2 = ParseSearchParams("FLAT", Metric::kL2, 10, {{"radius", "4.5"}, {"range_filter", "1"}});
  ASSERT_TRUE(l2.ok());
  EXPECT_TRUE(l2->has_range);
  EXPECT_EQ(l2->max_distance, 4.5f);
  EXPECT_EQ(l2->min_distance, 1.0f);
  const auto ip = ParseSearchParams("FLAT", Metric::kIp, 10, {{"radius", "0.5"}, {"range_filter", "0.9"}});
  ASSERT_TRUE(ip.ok());
  EXPECT_EQ(ip->max_distance, -0.5f);
  EXPECT_EQ(ip->min_distance, -0.9f);
  EXPECT_TRUE(std::isinf(ParseSearchParams("FLAT", Metric::kIp, 10, {{"radius", "0.5"}})->min_distance));
  EXPECT_FALSE(ParseSearchParams("FLAT", Metric::kL2, 10, {{"radius", "1"}, {"range_filter", "1"}}).ok());
  EXPECT_FALSE(ParseSearchParams("FLAT", Metric::kCosine, 10, {{"radius", "0.9"}, {"range_filter", "0.5"}}).ok());
  EXPECT_FALSE(ParseSearchParams("FLAT", Metric::kL2, 10, {{"range_filter", "1"}})->has_range);
}

}  // namespace
}  // namespace saker
