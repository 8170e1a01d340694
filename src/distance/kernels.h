// The inner loops of vector search, in one variant per instruction set. The variant is chosen once, at the first call
// of Kernels(): the best one the processor has, or the one SAKER_SIMD names (scalar, avx2, avx512) if it has that.
//
// Codes are bytes c + 128 of signed values c in [-127, 127]; rows of codes are padded to a multiple of 64 bytes with 128,
// queries (signed) with 0, so no kernel on codes has a tail.
#pragma once

#include <cstddef>
#include <cstdint>

namespace saker {

inline constexpr int kCodePadding = 64;

struct DistanceKernels {
  const char* name;

  // ---- f32
  float (*l2_f32)(const float* a, const float* b, int dim);  // squared
  float (*ip_f32)(const float* a, const float* b, int dim);
  // The inner product of a and b and, in the same pass, of b with itself.
  void (*ip_norm_f32)(const float* a, const float* b, int dim, float* ip, float* norm);
  // Of one query and several rows, four at a time, the next ones prefetched.
  void (*l2_f32_rows)(const float* query, const float* const* rows, int count, int dim, float* out);
  void (*ip_f32_rows)(const float* query, const float* const* rows, int count, int dim, float* out);

  // ---- codes
  // Sums of code * query over `length` bytes (a multiple of kCodePadding) for the rows base + id * stride. The sum
  // holds 128 * sum(query) too much, which the caller knows.
  void (*dot_codes)(const uint8_t* base, size_t stride, const uint32_t* ids, int count, const int8_t* query, int length,
                    int32_t* out);
  // Turns a row of codes into the query form and returns the sum of its values.
  int32_t (*code_to_query)(const uint8_t* code, int length, int8_t* query);
  // round(x * factor), clamped to [-127, 127]; returns the sum.
  int32_t (*quantize)(const float* x, int count, float factor, int8_t* out);
  float (*max_abs)(const float* x, int count);
  // The Walsh-Hadamard transform in place, not normalised; count is a power of two.
  void (*hadamard)(float* x, int count);

  // ---- bits
  int (*hamming)(const uint8_t* a, const uint8_t* b, int bytes);
  // Bits of a & b and of a | b.
  void (*and_or)(const uint8_t* a, const uint8_t* b, int bytes, int* and_bits, int* or_bits);

  // ---- conversions to and from f32
  void (*f16_to_f32)(const uint16_t* in, float* out, int count);
  void (*f32_to_f16)(const float* in, uint16_t* out, int count);  // round to nearest even
  void (*bf16_to_f32)(const uint16_t* in, float* out, int count);
  void (*f32_to_bf16)(const float* in, uint16_t* out, int count);  // round to nearest even
  void (*i8_to_f32)(const int8_t* in, float* out, int count);
};

const DistanceKernels& Kernels();

// The variants this processor can run, the plain one first: for tests.
int RunnableKernels(const DistanceKernels* out[3]);

// Null where the compiler's target has no such variant.
const DistanceKernels* ScalarKernels();
const DistanceKernels* Avx2Kernels();
const DistanceKernels* Avx512Kernels();

}  // namespace saker
