// AVX-512 (F, BW, VL, DQ, VNNI, VPOPCNTDQ). No header with inline code here either, see kernels_avx2.cc.
#include "distance/kernels.h"

#if defined(__AVX512VNNI__)
#include <immintrin.h>

namespace saker {
namespace {

inline __mmask16 TailMask16(int count) { return static_cast<__mmask16>((1u << count) - 1); }
inline __mmask64 TailMask64(int count) { return (uint64_t{1} << count) - 1; }

template <bool kL2>
inline __m512 Accumulate(__m512 sum, __m512 a, __m512 b) {
  if constexpr (kL2) {
    const __m512 d = _mm512_sub_ps(a, b);
    return _mm512_fmadd_ps(d, d, sum);
  } else {
    return _mm512_fmadd_ps(a, b, sum);
  }
}

// Distance and Rows add up in the same order: a row's distance must not depend on what stands beside it.
template <bool kL2>
float Distance(const float* a, const float* b, int dim) {
  __m512 sum = _mm512_setzero_ps();
  for (int i = 0; i < dim; i += 16) {
    const __mmask16 mask = dim - i < 16 ? TailMask16(dim - i) : 0xffff;
    sum = Accumulate<kL2>(sum, _mm512_maskz_loadu_ps(mask, a + i), _mm512_maskz_loadu_ps(mask, b + i));
  }
  return _mm512_reduce_add_ps(sum);
}

void IpNorm(const float* a, const float* b, int dim, float* ip, float* norm) {
  __m512 s0 = _mm512_setzero_ps(), s1 = s0, n0 = s0, n1 = s0;
  int i = 0;
  for (; i + 32 <= dim; i += 32) {
    const __m512 b0 = _mm512_loadu_ps(b + i), b1 = _mm512_loadu_ps(b + i + 16);
    s0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), b0, s0);
    s1 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16), b1, s1);
    n0 = _mm512_fmadd_ps(b0, b0, n0);
    n1 = _mm512_fmadd_ps(b1, b1, n1);
  }
  for (; i < dim; i += 16) {
    const __mmask16 mask = dim - i < 16 ? TailMask16(dim - i) : 0xffff;
    const __m512 b0 = _mm512_maskz_loadu_ps(mask, b + i);
    s0 = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, a + i), b0, s0);
    n0 = _mm512_fmadd_ps(b0, b0, n0);
  }
  *ip = _mm512_reduce_add_ps(_mm512_add_ps(s0, s1));
  *norm = _mm512_reduce_add_ps(_mm512_add_ps(n0, n1));
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
    __m512 s0 = _mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    for (int i = 0; i < dim; i += 16) {
      const __mmask16 mask = dim - i < 16 ? TailMask16(dim - i) : 0xffff;
      const __m512 q = _mm512_maskz_loadu_ps(mask, query + i);
      s0 = Accumulate<kL2>(s0, q, _mm512_maskz_loadu_ps(mask, p0 + i));
      s1 = Accumulate<kL2>(s1, q, _mm512_maskz_loadu_ps(mask, p1 + i));
      s2 = Accumulate<kL2>(s2, q, _mm512_maskz_loadu_ps(mask, p2 + i));
      s3 = Accumulate<kL2>(s3, q, _mm512_maskz_loadu_ps(mask, p3 + i));
    }
    out[r] = _mm512_reduce_add_ps(s0);
    out[r + 1] = _mm512_reduce_add_ps(s1);
    out[r + 2] = _mm512_reduce_add_ps(s2);
    out[r + 3] = _mm512_reduce_add_ps(s3);
  }
  for (; r < count; ++r) out[r] = Distance<kL2>(query, rows[r], dim);
}

// Sums of the 16 lanes of four registers, as four lanes.
inline __m128i Sum4(__m512i a, __m512i b, __m512i c, __m512i d) {
  const auto fold = [](__m512i v) {
    return _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
  };
  const __m256i ab = _mm256_hadd_epi32(fold(a), fold(b));
  const __m256i cd = _mm256_hadd_epi32(fold(c), fold(d));
  const __m256i abcd = _mm256_hadd_epi32(ab, cd);
  return _mm_add_epi32(_mm256_castsi256_si128(abcd), _mm256_extracti128_si256(abcd, 1));
}

void DotCodes(const uint8_t* base, size_t stride, const uint32_t* ids, int count, const int8_t* query, int length,
              int32_t* out) {
  constexpr int kAhead = 4;  // rows in flight beyond the four being summed
  for (int j = 0; j < count && j < kAhead; ++j) Prefetch(base + ids[j] * stride, length);
  int r = 0;
  for (; r + 4 <= count; r += 4) {
    for (int j = r + kAhead; j < r + kAhead + 4 && j < count; ++j) Prefetch(base + ids[j] * stride, length);
    const uint8_t* p0 = base + ids[r] * stride;
    const uint8_t* p1 = base + ids[r + 1] * stride;
    const uint8_t* p2 = base + ids[r + 2] * stride;
    const uint8_t* p3 = base + ids[r + 3] * stride;
    __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0;
    for (int i = 0; i < length; i += 64) {
      const __m512i q = _mm512_loadu_si512(query + i);
      s0 = _mm512_dpbusd_epi32(s0, _mm512_loadu_si512(p0 + i), q);
      s1 = _mm512_dpbusd_epi32(s1, _mm512_loadu_si512(p1 + i), q);
      s2 = _mm512_dpbusd_epi32(s2, _mm512_loadu_si512(p2 + i), q);
      s3 = _mm512_dpbusd_epi32(s3, _mm512_loadu_si512(p3 + i), q);
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + r), Sum4(s0, s1, s2, s3));
  }
  for (; r < count; ++r) {
    const uint8_t* p = base + ids[r] * stride;
    __m512i s = _mm512_setzero_si512();
    for (int i = 0; i < length; i += 64) {
      s = _mm512_dpbusd_epi32(s, _mm512_loadu_si512(p + i), _mm512_loadu_si512(query + i));
    }
    out[r] = _mm512_reduce_add_epi32(s);
  }
}

int32_t CodeToQuery(const uint8_t* code, int length, int8_t* query) {
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
  __m512i sum = _mm512_setzero_si512();
  for (int i = 0; i < length; i += 64) {
    const __m512i c = _mm512_loadu_si512(code + i);
    sum = _mm512_add_epi64(sum, _mm512_sad_epu8(c, _mm512_setzero_si512()));
    _mm512_storeu_si512(query + i, _mm512_xor_si512(c, flip));
  }
  return static_cast<int32_t>(_mm512_reduce_add_epi64(sum)) - 128 * length;
}

int32_t Quantize(const float* x, int count, float factor, int8_t* out) {
  const __m512 f = _mm512_set1_ps(factor), high = _mm512_set1_ps(127.0f), low = _mm512_set1_ps(-127.0f);
  __m512i sum = _mm512_setzero_si512();
  for (int i = 0; i < count; i += 16) {
    const __mmask16 mask = count - i < 16 ? TailMask16(count - i) : 0xffff;
    const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), f);
    const __m512i q = _mm512_cvtps_epi32(_mm512_max_ps(_mm512_min_ps(high, v), low));
    const __m512i safe = _mm512_max_epi32(q, _mm512_set1_epi32(-127));  // NaN came out as INT_MIN
    sum = _mm512_mask_add_epi32(sum, mask, sum, safe);
    _mm512_mask_cvtepi32_storeu_epi8(out + i, mask, safe);
  }
  return _mm512_reduce_add_epi32(sum);
}

float MaxAbs(const float* x, int count) {
  __m512 best = _mm512_setzero_ps();
  for (int i = 0; i < count; i += 16) {
    const __mmask16 mask = count - i < 16 ? TailMask16(count - i) : 0xffff;
    best = _mm512_max_ps(_mm512_abs_ps(_mm512_maskz_loadu_ps(mask, x + i)), best);
  }
  return _mm512_reduce_max_ps(best);
}

int Hamming(const uint8_t* a, const uint8_t* b, int bytes) {
  __m512i sum = _mm512_setzero_si512();
  for (int i = 0; i < bytes; i += 64) {
    const __mmask64 mask = bytes - i < 64 ? TailMask64(bytes - i) : ~uint64_t{0};
    const __m512i x = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, a + i), _mm512_maskz_loadu_epi8(mask, b + i));
    sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(x));
  }
  return static_cast<int>(_mm512_reduce_add_epi64(sum));
}
void AndOr(const uint8_t* a, const uint8_t* b, int bytes, int* and_bits, int* or_bits) {
  __m512i ands = _mm512_setzero_si512(), ors = ands;
  for (int i = 0; i < bytes; i += 64) {
    const __mmask64 mask = bytes - i < 64 ? TailMask64(bytes - i) : ~uint64_t{0};
    const __m512i x = _mm512_maskz_loadu_epi8(mask, a + i), y = _mm512_maskz_loadu_epi8(mask, b + i);
    ands = _mm512_add_epi64(ands, _mm512_popcnt_epi64(_mm512_and_si512(x, y)));
    ors = _mm512_add_epi64(ors, _mm512_popcnt_epi64(_mm512_or_si512(x, y)));
  }
  *and_bits = static_cast<int>(_mm512_reduce_add_epi64(ands));
  *or_bits = static_cast<int>(_mm512_reduce_add_epi64(ors));
}

DistanceKernels MakeKernels() {
  DistanceKernels k = *Avx2Kernels();  // the transform and the conversions gain nothing from wider registers
  k.name = "avx512";
  k.l2_f32 = Distance<true>;
  k.ip_f32 = Distance<false>;
  k.ip_norm_f32 = IpNorm;
  k.l2_f32_rows = Rows<true>;
  k.ip_f32_rows = Rows<false>;
  k.dot_codes = DotCodes;
  k.code_to_query = CodeToQuery;
  k.quantize = Quantize;
  k.max_abs = MaxAbs;
  k.hamming = Hamming;
  k.and_or = AndOr;
  return k;
}

}  // namespace

const DistanceKernels* Avx512Kernels() {
  static const DistanceKernels kernels = MakeKernels();
  return &kernels;
}

}  // namespace saker
#else
namespace saker {
const DistanceKernels* Avx512Kernels() { return nullptr; }
}  // namespace saker
#endif
