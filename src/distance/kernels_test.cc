#include "distance/kernels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace saker {
namespace {

std::vector<const DistanceKernels*> Variants() {
  const DistanceKernels* all[3];
  const int count = RunnableKernels(all);
  return {all, all + count};
}

class KernelsTest : public ::testing::TestWithParam<const DistanceKernels*> {
 protected:
  const DistanceKernels& k() const { return *GetParam(); }
  std::vector<float> Floats(int n) {
    std::normal_distribution<float> normal;
    std::vector<float> v(n);
    for (auto& x : v) x = normal(rng_);
    return v;
  }
  std::vector<uint8_t> Bytes(int n) {
    std::vector<uint8_t> v(n);
    for (auto& x : v) x = static_cast<uint8_t>(rng_());
    return v;
  }
  std::mt19937 rng_{7};
};

constexpr int kDims[] = {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 384, 777, 1536};

double ReferenceL2(const float* a, const float* b, int n) {
  double s = 0;
  for (int i = 0; i < n; ++i) s += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
  return s;
}
double ReferenceIp(const float* a, const float* b, int n) {
  double s = 0;
  for (int i = 0; i < n; ++i) s += double{a[i]} * b[i];
  return s;
}

TEST_P(KernelsTest, FloatPairs) {
  for (const int dim : kDims) {
    const auto a = Floats(dim), b = Floats(dim);
    const double tolerance = 1e-5 * (dim + 1);
    EXPECT_NEAR(k().l2_f32(a.data(), b.data(), dim), ReferenceL2(a.data(), b.data(), dim), tolerance) << dim;
    EXPECT_NEAR(k().ip_f32(a.data(), b.data(), dim), ReferenceIp(a.data(), b.data(), dim), tolerance) << dim;
    float ip = 0, norm = 0;
    k().ip_norm_f32(a.data(), b.data(), dim, &ip, &norm);
    EXPECT_NEAR(ip, ReferenceIp(a.data(), b.data(), dim), tolerance) << dim;
    EXPECT_NEAR(norm, ReferenceIp(b.data(), b.data(), dim), tolerance) << dim;
  }
}

TEST_P(KernelsTest, FloatRows) {
  for (const int dim : kDims) {
    const auto q = Floats(dim), data = Floats(dim * 11);
    const float* rows[11];
    for (int i = 0; i < 11; ++i) rows[i] = &data[static_cast<size_t>((i * 7) % 11) * dim];
    for (int count = 0; count <= 11; ++count) {
      std::vector<float> l2(12, -1), ip(12, -1);
      k().l2_f32_rows(q.data(), rows, count, dim, l2.data());
      k().ip_f32_rows(q.data(), rows, count, dim, ip.data());
      for (int i = 0; i < count; ++i) {
        EXPECT_NEAR(l2[i], ReferenceL2(q.data(), rows[i], dim), 1e-5 * (dim + 1));
        EXPECT_NEAR(ip[i], ReferenceIp(q.data(), rows[i], dim), 1e-5 * (dim + 1));
        EXPECT_EQ(l2[i], k().l2_f32(q.data(), rows[i], dim)) << "a row's distance depends on its company";
        EXPECT_EQ(ip[i], k().ip_f32(q.data(), rows[i], dim));
      }
      EXPECT_EQ(l2[count], -1);
      EXPECT_EQ(ip[count], -1);
    }
  }
}

TEST_P(KernelsTest, CodesAreExactOverTheWholeRangeOfBytes) {
  for (const int length : {64, 128, 192, 384, 1536}) {
    auto codes = Bytes(length * 9);
    std::fill_n(codes.begin(), length, 255);  // the largest sums there are
    auto query_bytes = Bytes(length);
    std::vector<int8_t> query(length);
    for (const bool extreme : {false, true}) {
      for (int i = 0; i < length; ++i) query[i] = extreme ? -127 : static_cast<int8_t>(query_bytes[i]);
      const uint32_t ids[9] = {3, 0, 8, 1, 1, 7, 2, 6, 5};
      for (int count = 0; count <= 9; ++count) {
        std::vector<int32_t> out(10, -7);
        k().dot_codes(codes.data(), length, ids, count, query.data(), length, out.data());
        for (int r = 0; r < count; ++r) {
          int32_t expected = 0;
          for (int i = 0; i < length; ++i) expected += codes[ids[r] * length + i] * query[i];
          EXPECT_EQ(out[r], expected) << length << ' ' << r;
        }
        EXPECT_EQ(out[count], -7);
      }
    }
    std::vector<int8_t> form(length);
    int32_t expected_sum = 0;
    const int32_t sum = k().code_to_query(&codes[length], length, form.data());
    for (int i = 0; i < length; ++i) {
      EXPECT_EQ(form[i], codes[length + i] - 128);
      expected_sum += form[i];
    }
    EXPECT_EQ(sum, expected_sum);
  }
}

TEST_P(KernelsTest, Quantize) {
  for (const int dim : kDims) {
    auto x = Floats(dim);
    x[0] = 1e9f;
    if (dim > 3) x[1] = std::nanf(""), x[2] = -std::numeric_limits<float>::infinity();
    std::vector<int8_t> out(dim + 1, 77), expected(dim + 1, 77);
    const int32_t sum = k().quantize(x.data(), dim, 40.0f, out.data());
    EXPECT_EQ(sum, ScalarKernels()->quantize(x.data(), dim, 40.0f, expected.data())) << dim;
    EXPECT_EQ(out, expected) << dim;
    EXPECT_EQ(out[0], 127);
    auto y = Floats(dim);
    y[dim / 2] = -17;
    EXPECT_EQ(k().max_abs(y.data(), dim), 17.0f);
  }
}

TEST_P(KernelsTest, HadamardIsItsOwnInverse) {
  for (int n = 1; n <= 2048; n *= 2) {
    const auto x = Floats(n);
    auto y = x;
    k().hadamard(y.data(), n);
    double first = 0;
    for (const float v : x) first += v;
    EXPECT_NEAR(y[0], first, 1e-3);
    if (n >= 4) {
      double fourth = 0;
      for (int i = 0; i < n; ++i) fourth += __builtin_popcount(i & 3) % 2 != 0 ? -x[i] : x[i];
      EXPECT_NEAR(y[3], fourth, 1e-3);
    }
    k().hadamard(y.data(), n);
    for (int i = 0; i < n; ++i) EXPECT_NEAR(y[i], x[i] * n, 1e-4 * n) << n;
  }
}

TEST_P(KernelsTest, Bits) {
  for (int bytes = 1; bytes <= 200; ++bytes) {
    const auto a = Bytes(bytes), b = Bytes(bytes);
    int x = 0, n = 0, o = 0, got_and = 0, got_or = 0;
    for (int i = 0; i < bytes; ++i) {
      x += __builtin_popcount(a[i] ^ b[i]);
      n += __builtin_popcount(a[i] & b[i]);
      o += __builtin_popcount(a[i] | b[i]);
    }
    EXPECT_EQ(k().hamming(a.data(), b.data(), bytes), x);
    k().and_or(a.data(), b.data(), bytes, &got_and, &got_or);
    EXPECT_EQ(got_and, n);
    EXPECT_EQ(got_or, o);
  }
}

TEST_P(KernelsTest, Conversions) {
  std::vector<uint16_t> all(65536);
  for (int i = 0; i < 65536; ++i) all[i] = static_cast<uint16_t>(i);
  std::vector<float> floats(65536), expected(65536);
  std::vector<uint16_t> back(65536);
  k().f16_to_f32(all.data(), floats.data(), 65536);
  k().f32_to_f16(floats.data(), back.data(), 65536);
  ScalarKernels()->f16_to_f32(all.data(), expected.data(), 65536);
  for (int i = 0; i < 65536; ++i) {
    if (std::isnan(expected[i])) {
      EXPECT_TRUE(std::isnan(floats[i]));
      continue;
    }
    ASSERT_EQ(floats[i], expected[i]) << i;
    ASSERT_EQ(back[i], all[i]);
  }
  EXPECT_EQ(floats[0x3c00], 1.0f);
  EXPECT_EQ(floats[0x7bff], 65504.0f);
  EXPECT_EQ(floats[0x0001], 5.9604644775390625e-8f);
  k().bf16_to_f32(all.data(), floats.data(), 65536);
  k().f32_to_bf16(floats.data(), back.data(), 65536);
  for (int i = 0; i < 65536; ++i) {
    if (std::isnan(floats[i])) continue;
    ASSERT_EQ(back[i], all[i]);
  }
  EXPECT_EQ(floats[0x3f80], 1.0f);
  auto random = Floats(1003);
  random[5] = 1e-7f, random[6] = 70000, random[7] = 65519.9f, random[8] = -6e-8f, random[9] = 6.1e-5f;
  std::vector<uint16_t> half(1003), half_expected(1003);
  k().f32_to_f16(random.data(), half.data(), 1003);
  ScalarKernels()->f32_to_f16(random.data(), half_expected.data(), 1003);
  EXPECT_EQ(half, half_expected);
  std::vector<int8_t> bytes(257);
  for (int i = 0; i < 257; ++i) bytes[i] = static_cast<int8_t>(i);
  std::vector<float> wide(257);
  k().i8_to_f32(bytes.data(), wide.data(), 257);
  for (int i = 0; i < 257; ++i) EXPECT_EQ(wide[i], bytes[i]);
}

INSTANTIATE_TEST_SUITE_P(Variants, KernelsTest, ::testing::ValuesIn(Variants()),
                         [](const auto& info) { return std::string(info.param->name); });

TEST(KernelsDispatch, TheChosenOneCanRun) {
  const auto variants = Variants();
  EXPECT_STREQ(variants.front()->name, "scalar");
  EXPECT_THAT(variants, ::testing::Contains(&Kernels()));
  if (std::getenv("SAKER_SIMD") == nullptr) {
    EXPECT_EQ(&Kernels(), variants.back());
  }
}

}  // namespace
}  // namespace saker
