// Plain C++: the reference the other variants are tested against, and what runs where there is nothing better.
#include <bit>
#include <cmath>
#include <cstring>

#include "distance/kernels.h"

namespace saker {
namespace {

// Four independent sums, so that even this variant is not bound by the latency of an addition.
template <typename F>
inline float Sum(int dim, F&& term) {
  float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  int i = 0;
  for (; i + 4 <= dim; i += 4) {
    s0 += term(i);
    s1 += term(i + 1);
    s2 += term(i + 2);
    s3 += term(i + 3);
  }
  for (; i < dim; ++i) s0 += term(i);
  return (s0 + s1) + (s2 + s3);
}

float L2(const float* a, const float* b, int dim) {
  return Sum(dim, [=](int i) { return (a[i] - b[i]) * (a[i] - b[i]); });
}
float Ip(const float* a, const float* b, int dim) {
  return Sum(dim, [=](int i) { return a[i] * b[i]; });
}
void IpNorm(const float* a, const float* b, int dim, float* ip, float* norm) {
  *ip = Ip(a, b, dim);
  *norm = Ip(b, b, dim);
}
void L2Rows(const float* query, const float* const* rows, int count, int dim, float* out) {
  for (int i = 0; i < count; ++i) out[i] = L2(query, rows[i], dim);
}
void IpRows(const float* query, const float* const* rows, int count, int dim, float* out) {
  for (int i = 0; i < count; ++i) out[i] = Ip(query, rows[i], dim);
}

void DotCodes(const uint8_t* base, size_t stride, const uint32_t* ids, int count, const int8_t* query, int length,
              int32_t* out) {
  for (int i = 0; i < count; ++i) {
    const uint8_t* code = base + ids[i] * stride;
    int32_t sum = 0;
    for (int j = 0; j < length; ++j) sum += static_cast<int32_t>(code[j]) * query[j];
    out[i] = sum;
  }
}
int32_t CodeToQuery(const uint8_t* code, int length, int8_t* query) {
  int32_t sum = 0;
  for (int i = 0; i < length; ++i) {
    query[i] = static_cast<int8_t>(code[i] ^ 0x80);
    sum += query[i];
  }
  return sum;
}
int32_t Quantize(const float* x, int count, float factor, int8_t* out) {
  int32_t sum = 0;
  for (int i = 0; i < count; ++i) {
    float v = std::nearbyint(x[i] * factor);
    v = v > 127.0f ? 127.0f : v;
    v = v > -127.0f ? v : -127.0f;  // NaN becomes -127
    out[i] = static_cast<int8_t>(v);
    sum += out[i];
  }
  return sum;
}
float MaxAbs(const float* x, int count) {
  float best = 0;
  for (int i = 0; i < count; ++i) best = std::fabs(x[i]) > best ? std::fabs(x[i]) : best;
  return best;
}
void Hadamard(float* x, int count) {
  for (int h = 1; h < count; h *= 2) {
    for (int i = 0; i < count; i += 2 * h) {
      for (int j = i; j < i + h; ++j) {
        const float a = x[j], b = x[j + h];
        x[j] = a + b;
        x[j + h] = a - b;
      }
    }
  }
}

template <typename F>
inline void ForWords(const uint8_t* a, const uint8_t* b, int bytes, F&& f) {
  int i = 0;
  for (; i + 8 <= bytes; i += 8) {
    uint64_t x, y;
    std::memcpy(&x, a + i, 8);
    std::memcpy(&y, b + i, 8);
    f(x, y);
  }
  for (; i < bytes; ++i) f(uint64_t{a[i]}, uint64_t{b[i]});
}
int Hamming(const uint8_t* a, const uint8_t* b, int bytes) {
  int bits = 0;
  ForWords(a, b, bytes, [&](uint64_t x, uint64_t y) { bits += std::popcount(x ^ y); });
  return bits;
}
void AndOr(const uint8_t* a, const uint8_t* b, int bytes, int* and_bits, int* or_bits) {
  int ands = 0, ors = 0;
  ForWords(a, b, bytes, [&](uint64_t x, uint64_t y) {
    ands += std::popcount(x & y);
    ors += std::popcount(x | y);
  });
  *and_bits = ands;
  *or_bits = ors;
}

float HalfToFloat(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
  const uint32_t exponent = (h >> 10) & 31, mantissa = h & 0x3ff;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
    const float v = static_cast<float>(mantissa) * 5.9604644775390625e-8f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(v) | sign);
  }
  const uint32_t quiet = exponent == 31 && mantissa != 0 ? 0x400000 : 0;
  const uint32_t e = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | (e << 23) | (mantissa << 13) | quiet);
}
uint16_t FloatToHalf(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00 | ((magnitude >> 13) & 0x3ff));
  if (magnitude >= 0x477ff000) return sign | 0x7c00;  // rounds to beyond 65504
  if (magnitude < 0x38800000) {                       // below 2^-14: a multiple of 2^-24
    const float scaled = std::bit_cast<float>(magnitude) * 16777216.0f;
    return sign | static_cast<uint16_t>(std::nearbyint(scaled));
  }
  const uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
  return sign | static_cast<uint16_t>((rounded - 0x38000000) >> 13);
}
void F16ToF32(const uint16_t* in, float* out, int count) {
  for (int i = 0; i < count; ++i) out[i] = HalfToFloat(in[i]);
}
void F32ToF16(const float* in, uint16_t* out, int count) {
  for (int i = 0; i < count; ++i) out[i] = FloatToHalf(in[i]);
}
void Bf16ToF32(const uint16_t* in, float* out, int count) {
  for (int i = 0; i < count; ++i) out[i] = std::bit_cast<float>(static_cast<uint32_t>(in[i]) << 16);
}
void F32ToBf16(const float* in, uint16_t* out, int count) {
  for (int i = 0; i < count; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(in[i]);
    out[i] = static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? (bits >> 16) | 0x40
                                                                     : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  }
}
void I8ToF32(const int8_t* in, float* out, int count) {
  for (int i = 0; i < count; ++i) out[i] = in[i];
}

constexpr DistanceKernels kKernels{
    .name = "scalar", .l2_f32 = L2, .ip_f32 = Ip, .ip_norm_f32 = IpNorm, .l2_f32_rows = L2Rows, .ip_f32_rows = IpRows,
    .dot_codes = DotCodes, .code_to_query = CodeToQuery, .quantize = Quantize, .max_abs = MaxAbs, .hadamard = Hadamard,
    .hamming = Hamming, .and_or = AndOr, .f16_to_f32 = F16ToF32, .f32_to_f16 = F32ToF16, .bf16_to_f32 = Bf16ToF32,
    .f32_to_bf16 = F32ToBf16, .i8_to_f32 = I8ToF32};

}  // namespace

const DistanceKernels* ScalarKernels() { return &kKernels; }

}  // namespace saker
