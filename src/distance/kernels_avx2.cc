// AVX2 with FMA and F16C. This file includes no header with inline code: it would be compiled with these instructions
// and might be the copy the linker keeps.
#include "distance/kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>

namespace saker {
namespace {

inline float HorizontalSum(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline int32_t HorizontalSum(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}
// The first `count` (1..7) lanes.
inline __m256i TailMask(int count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

template <bool kL2>
inline __m256 Accumulate(__m256 sum, __m256 a, __m256 b) {
  if constexpr (kL2) {
    const __m256 d = _mm256_sub_ps(a, b);
    return _mm256_fmadd_ps(d, d, sum);
  } else {
    return _mm256_fmadd_ps(a, b, sum);
  }
}

// Distance and Rows add up in the same order: a row's distance must not depend on what stands beside it.
template <bool kL2>
float Distance(const float* a, const float* b, int dim) {
  __m256 s0 = _mm256_setzero_ps(), s1 = s0;
  int i = 0;
  for (; i + 16 <= dim; i += 16) {
    s0 = Accumulate<kL2>(s0, _mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i));
    s1 = Accumulate<kL2>(s1, _mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8));
  }
  for (; i < dim; i += 8) {
    const __m256i mask = TailMask(dim - i < 8 ? dim - i : 8);
    s0 = Accumulate<kL2>(s0, _mm256_maskload_ps(a + i, mask), _mm256_maskload_ps(b + i, mask));
  }
  return HorizontalSum(_mm256_add_ps(s0, s1));
}

void IpNorm(const float* a, const float* b, int dim, float* ip, float* norm) {
  __m256 s0 = _mm256_setzero_ps(), s1 = s0, n0 = s0, n1 = s0;
  int i = 0;
  for (; i + 16 <= dim; i += 16) {
    const __m256 b0 = _mm256_loadu_ps(b + i), b1 = _mm256_loadu_ps(b + i + 8);
    s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), b0, s0);
    s1 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), b1, s1);
    n0 = _mm256_fmadd_ps(b0, b0, n0);
    n1 = _mm256_fmadd_ps(b1, b1, n1);
  }
  for (; i < dim; i += 8) {
    const __m256i mask = TailMask(dim - i < 8 ? dim - i : 8);
    const __m256 b0 = _mm256_maskload_ps(b + i, mask);
    s0 = _mm256_fmadd_ps(_mm256_maskload_ps(a + i, mask), b0, s0);
    n0 = _mm256_fmadd_ps(b0, b0, n0);
  }
  *ip = HorizontalSum(_mm256_add_ps(s0, s1));
  *norm = HorizontalSum(_mm256_add_ps(n0, n1));
}

inline void Prefetch(const void* row, int bytes) {
  for (int i = 0; i < bytes; i += 64) _mm_prefetch(static_cast<const char*>(row) + i, _MM_HINT_T0);
}

template <bool kL2>
void Rows(const float* query, const float* const* rows, int count, int dim, float* out) {
  int r = 0;
  for (; r + 4 <= count; r += 4) {
    for (int j = r + 4; j < r + 8 && j < count; ++j) Prefetch(rows[j], dim * 4 < 1024 ? dim * 4 : 1024);
    const float *p0 = rows[r], *p1 = rows[r + 1], *p2 = rows[r + 2], *p3 = rows[r + 3];
    __m256 a0 = _mm256_setzero_ps(), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    int i = 0;
    for (; i + 16 <= dim; i += 16) {
      const __m256 q = _mm256_loadu_ps(query + i), p = _mm256_loadu_ps(query + i + 8);
      a0 = Accumulate<kL2>(a0, q, _mm256_loadu_ps(p0 + i));
      a1 = Accumulate<kL2>(a1, q, _mm256_loadu_ps(p1 + i));
      a2 = Accumulate<kL2>(a2, q, _mm256_loadu_ps(p2 + i));
      a3 = Accumulate<kL2>(a3, q, _mm256_loadu_ps(p3 + i));
      b0 = Accumulate<kL2>(b0, p, _mm256_loadu_ps(p0 + i + 8));
      b1 = Accumulate<kL2>(b1, p, _mm256_loadu_ps(p1 + i + 8));
      b2 = Accumulate<kL2>(b2, p, _mm256_loadu_ps(p2 + i + 8));
      b3 = Accumulate<kL2>(b3, p, _mm256_loadu_ps(p3 + i + 8));
    }
    for (; i < dim; i += 8) {
      const __m256i mask = TailMask(dim - i < 8 ? dim - i : 8);
      const __m256 q = _mm256_maskload_ps(query + i, mask);
      a0 = Accumulate<kL2>(a0, q, _mm256_maskload_ps(p0 + i, mask));
      a1 = Accumulate<kL2>(a1, q, _mm256_maskload_ps(p1 + i, mask));
      a2 = Accumulate<kL2>(a2, q, _mm256_maskload_ps(p2 + i, mask));
      a3 = Accumulate<kL2>(a3, q, _mm256_maskload_ps(p3 + i, mask));
    }
    out[r] = HorizontalSum(_mm256_add_ps(a0, b0));
    out[r + 1] = HorizontalSum(_mm256_add_ps(a1, b1));
    out[r + 2] = HorizontalSum(_mm256_add_ps(a2, b2));
    out[r + 3] = HorizontalSum(_mm256_add_ps(a3, b3));
  }
  for (; r < count; ++r) out[r] = Distance<kL2>(query, rows[r], dim);
}

// maddubs would saturate on 8-bit codes, so the products are made of 16-bit values.
inline __m256i DotStep(__m256i sum, const uint8_t* code, __m256i q_low, __m256i q_high) {
  const __m256i c = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(code));
  const __m256i low = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(c));
  const __m256i high = _mm256_cvtepu8_epi16(_mm256_extracti128_si256(c, 1));
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(low, q_low));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(high, q_high));
}
void DotCodes(const uint8_t* base, size_t stride, const uint32_t* ids, int count, const int8_t* query, int length,
              int32_t* out) {
  int r = 0;
  for (int j = 0; j < count && j < 4; ++j) Prefetch(base + ids[j] * stride, length);
  for (; r < count; r += 4) {
    for (int j = r + 4; j < r + 8 && j < count; ++j) Prefetch(base + ids[j] * stride, length);
    const uint8_t* p[4];
    const int n = count - r < 4 ? count - r : 4;
    for (int j = 0; j < 4; ++j) p[j] = base + ids[j < n ? r + j : r] * stride;
    __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0;
    for (int i = 0; i < length; i += 32) {
      const __m128i* q = reinterpret_cast<const __m128i*>(query + i);
      const __m256i q_low = _mm256_cvtepi8_epi16(_mm_loadu_si128(q));
      const __m256i q_high = _mm256_cvtepi8_epi16(_mm_loadu_si128(q + 1));
      s0 = DotStep(s0, p[0] + i, q_low, q_high);
      s1 = DotStep(s1, p[1] + i, q_low, q_high);
      s2 = DotStep(s2, p[2] + i, q_low, q_high);
      s3 = DotStep(s3, p[3] + i, q_low, q_high);
    }
    const int32_t sums[4] = {HorizontalSum(s0), HorizontalSum(s1), HorizontalSum(s2), HorizontalSum(s3)};
    for (int j = 0; j < n; ++j) out[r + j] = sums[j];
  }
}

int32_t CodeToQuery(const uint8_t* code, int length, int8_t* query) {
  const __m256i flip = _mm256_set1_epi8(static_cast<char>(0x80));
  __m256i sum = _mm256_setzero_si256();
  for (int i = 0; i < length; i += 32) {
    const __m256i c = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(code + i));
    sum = _mm256_add_epi64(sum, _mm256_sad_epu8(c, _mm256_setzero_si256()));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(query + i), _mm256_xor_si256(c, flip));
  }
  return HorizontalSum(sum) - 128 * length;
}

int32_t Quantize(const float* x, int count, float factor, int8_t* out) {
  const __m256 f = _mm256_set1_ps(factor), high = _mm256_set1_ps(127.0f), low = _mm256_set1_ps(-127.0f);
  __m256i sum = _mm256_setzero_si256();
  for (int i = 0; i < count; i += 8) {
    const int n = count - i < 8 ? count - i : 8;
    const __m256 v = _mm256_mul_ps(_mm256_maskload_ps(x + i, TailMask(n)), f);
    const __m256i q = _mm256_cvtps_epi32(_mm256_max_ps(_mm256_min_ps(high, v), low));
    sum = _mm256_add_epi32(sum, q);
    alignas(32) int32_t lanes[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), q);
    for (int j = 0; j < n; ++j) out[i + j] = static_cast<int8_t>(lanes[j] < -127 ? -127 : lanes[j]);
  }
  return HorizontalSum(sum);
}

float MaxAbs(const float* x, int count) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  __m256 best = _mm256_setzero_ps();
  for (int i = 0; i < count; i += 8) {
    const __m256 v = _mm256_maskload_ps(x + i, TailMask(count - i < 8 ? count - i : 8));
    best = _mm256_max_ps(_mm256_and_ps(v, magnitude), best);  // a NaN in the first operand yields the second
  }
  float lanes[8], result = 0;
  _mm256_storeu_ps(lanes, best);
  for (const float lane : lanes) result = lane > result ? lane : result;
  return result;
}

inline __m256 Butterfly(__m256 x, __m256 swapped, __m256 sign) {
  return _mm256_add_ps(swapped, _mm256_xor_ps(x, sign));
}
void Hadamard(float* x, int count) {
  if (count < 8) {
    ScalarKernels()->hadamard(x, count);
    return;
  }
  const __m256 sign1 = _mm256_setr_ps(0.f, -0.f, 0.f, -0.f, 0.f, -0.f, 0.f, -0.f);
  const __m256 sign2 = _mm256_setr_ps(0.f, 0.f, -0.f, -0.f, 0.f, 0.f, -0.f, -0.f);
  const __m256 sign4 = _mm256_setr_ps(0.f, 0.f, 0.f, 0.f, -0.f, -0.f, -0.f, -0.f);
  for (int i = 0; i < count; i += 8) {
    __m256 v = _mm256_loadu_ps(x + i);
    v = Butterfly(v, _mm256_permute_ps(v, 0xb1), sign1);
    v = Butterfly(v, _mm256_permute_ps(v, 0x4e), sign2);
    v = Butterfly(v, _mm256_permute2f128_ps(v, v, 1), sign4);
    _mm256_storeu_ps(x + i, v);
  }
  for (int h = 8; h < count; h *= 2) {
    for (int i = 0; i < count; i += 2 * h) {
      for (int j = i; j < i + h; j += 8) {
        const __m256 a = _mm256_loadu_ps(x + j), b = _mm256_loadu_ps(x + j + h);
        _mm256_storeu_ps(x + j, _mm256_add_ps(a, b));
        _mm256_storeu_ps(x + j + h, _mm256_sub_ps(a, b));
      }
    }
  }
}

inline uint64_t LoadWord(const uint8_t* p) {
  uint64_t w;
  __builtin_memcpy(&w, p, 8);
  return w;
}
int Hamming(const uint8_t* a, const uint8_t* b, int bytes) {
  long long s0 = 0, s1 = 0;
  int i = 0;
  for (; i + 16 <= bytes; i += 16) {
    s0 += _mm_popcnt_u64(LoadWord(a + i) ^ LoadWord(b + i));
    s1 += _mm_popcnt_u64(LoadWord(a + i + 8) ^ LoadWord(b + i + 8));
  }
  for (; i < bytes; ++i) s0 += _mm_popcnt_u32(static_cast<unsigned>(a[i] ^ b[i]));
  return static_cast<int>(s0 + s1);
}
void AndOr(const uint8_t* a, const uint8_t* b, int bytes, int* and_bits, int* or_bits) {
  long long ands = 0, ors = 0;
  int i = 0;
  for (; i + 8 <= bytes; i += 8) {
    const uint64_t x = LoadWord(a + i), y = LoadWord(b + i);
    ands += _mm_popcnt_u64(x & y);
    ors += _mm_popcnt_u64(x | y);
  }
  for (; i < bytes; ++i) {
    ands += _mm_popcnt_u32(static_cast<unsigned>(a[i] & b[i]));
    ors += _mm_popcnt_u32(static_cast<unsigned>(a[i] | b[i]));
  }
  *and_bits = static_cast<int>(ands);
  *or_bits = static_cast<int>(ors);
}

void F16ToF32(const uint16_t* in, float* out, int count) {
  int i = 0;
  for (; i + 8 <= count; i += 8) {
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i))));
  }
  for (; i < count; ++i) out[i] = _cvtsh_ss(in[i]);
}
void F32ToF16(const float* in, uint16_t* out, int count) {
  int i = 0;
  for (; i + 8 <= count; i += 8) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT));
  }
  for (; i < count; ++i) out[i] = _cvtss_sh(in[i], _MM_FROUND_TO_NEAREST_INT);
}
void Bf16ToF32(const uint16_t* in, float* out, int count) {
  int i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m256i v = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm256_slli_epi32(v, 16));
  }
  if (i < count) ScalarKernels()->bf16_to_f32(in + i, out + i, count - i);
}
void F32ToBf16(const float* in, uint16_t* out, int count) { ScalarKernels()->f32_to_bf16(in, out, count); }
void I8ToF32(const int8_t* in, float* out, int count) {
  int i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m256i v = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(in + i)));
    _mm256_storeu_ps(out + i, _mm256_cvtepi32_ps(v));
  }
  for (; i < count; ++i) out[i] = in[i];
}

const DistanceKernels kKernels{
    .name = "avx2", .l2_f32 = Distance<true>, .ip_f32 = Distance<false>, .ip_norm_f32 = IpNorm,
    .l2_f32_rows = Rows<true>, .ip_f32_rows = Rows<false>, .dot_codes = DotCodes, .code_to_query = CodeToQuery,
    .quantize = Quantize, .max_abs = MaxAbs, .hadamard = Hadamard, .hamming = Hamming, .and_or = AndOr,
    .f16_to_f32 = F16ToF32, .f32_to_f16 = F32ToF16, .bf16_to_f32 = Bf16ToF32, .f32_to_bf16 = F32ToBf16,
    .i8_to_f32 = I8ToF32};

}  // namespace

const DistanceKernels* Avx2Kernels() { return &kKernels; }

}  // namespace saker
#else
namespace saker {
const DistanceKernels* Avx2Kernels() { return nullptr; }
}  // namespace saker
#endif
