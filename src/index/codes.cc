#include "index/codes.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "distance/kernels.h"
#include "index/exact_search.h"

namespace saker {
namespace {

constexpr int kCenterSample = 10000;
constexpr int kRounds = 2;
constexpr float kHuge = 1e30f;

// Steele, Lea and Flood's SplitMix64: the signs must be the same on every machine, they are part of the file format.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

int Stride(int dim) { return (dim + kCodePadding - 1) / kCodePadding * kCodePadding; }

bool Normalise(float* x, int dim) {
  const float norm = Kernels().ip_f32(x, x, dim);
  if (!(norm > 0) || !std::isfinite(norm)) return false;
  const float factor = 1.0f / std::sqrt(norm);
  for (int i = 0; i < dim; ++i) x[i] *= factor;
  return true;
}

}  // namespace

CodeEncoder::CodeEncoder(DataType type, Metric metric, int dim, std::vector<float> center)
    : type_(type), metric_(metric), dim_(dim), stride_(Stride(dim)), center_(std::move(center)) {
  signs_.resize(static_cast<size_t>(dim) * kRounds);
  for (size_t i = 0; i < signs_.size(); ++i) signs_[i] = (Mix(i) >> 63) != 0 ? -1.0f : 1.0f;
}

std::vector<float> CodeEncoder::Center(const VectorView& vectors, Metric metric) {
  if (metric == Metric::kIp || vectors.rows == 0) return {};
  std::vector<double> sum(vectors.dim);
  std::vector<float> row(vectors.dim);
  const int64_t step = std::max<int64_t>(1, vectors.rows / kCenterSample);
  int64_t count = 0;
  for (int64_t i = 0; i < vectors.rows; i += step) {
    ToFloats(vectors.type, vectors.Row(i), vectors.dim, row.data());
    if (metric == Metric::kCosine && !Normalise(row.data(), vectors.dim)) continue;
    const float largest = Kernels().max_abs(row.data(), vectors.dim);
    if (!(largest < 1e15f)) continue;
    for (int d = 0; d < vectors.dim; ++d) sum[d] += row[d];
    ++count;
  }
  std::vector<float> center(vectors.dim);
  for (int d = 0; d < vectors.dim && count > 0; ++d) {
    center[d] = static_cast<float>(sum[d] / static_cast<double>(count));
    if (!std::isfinite(center[d])) center[d] = 0;
  }
  return center;
}

// Signs and Hadamard transforms over the largest power of two that fits, at the front and then at the back, so that
// every dimension is mixed with every other after two rounds. Orthogonal: distances and products stay as they are.
void CodeEncoder::Rotate(float* x) const {
  const int block = static_cast<int>(std::bit_floor(static_cast<unsigned>(dim_)));
  if (block < 4) return;
  const float factor = 1.0f / std::sqrt(static_cast<float>(block));
  for (int round = 0; round < kRounds; ++round) {
    const float* signs = &signs_[static_cast<size_t>(round) * dim_];
    for (int i = 0; i < dim_; ++i) x[i] *= signs[i];
    Kernels().hadamard(x, block);
    for (int i = 0; i < block; ++i) x[i] *= factor;
    if (block == dim_) break;
    float* back = x + dim_ - block;
    Kernels().hadamard(back, block);
    for (int i = 0; i < block; ++i) back[i] *= factor;
  }
}

bool CodeEncoder::Prepare(const uint8_t* row, float** out) const {
  thread_local std::vector<float> floats;
  if (floats.size() < static_cast<size_t>(stride_)) floats.resize(stride_);
  float* x = floats.data();
  *out = x;
  ToFloats(type_, row, dim_, x);
  const bool has_direction = metric_ != Metric::kCosine || Normalise(x, dim_);
  if (!has_direction) std::fill_n(x, dim_, 0.0f);
  if (!center_.empty()) {
    for (int i = 0; i < dim_; ++i) x[i] -= center_[i];
  }
  Rotate(x);
  return has_direction;
}

void CodeEncoder::EncodeRow(const uint8_t* row, float max_norm, uint8_t* code, CodeTail* tail) const {
  float* x = nullptr;
  const bool has_direction = Prepare(row, &x);
  const float largest = Kernels().max_abs(x, dim_);
  std::memset(code, 128, stride_);
  *tail = {};
  float squares = 0;
  if (largest > 1e-30f && largest < 1e18f) {
    int8_t* values = reinterpret_cast<int8_t*>(code);
    Kernels().quantize(x, dim_, 127.0f / largest, values);
    int64_t sum = 0;
    for (int i = 0; i < dim_; ++i) {
      sum += values[i] * values[i];
      code[i] = static_cast<uint8_t>(values[i]) ^ 0x80;
    }
    tail->scale = largest / 127.0f;
    squares = tail->scale * tail->scale * static_cast<float>(sum);
  }
  if (metric_ == Metric::kIp) {
    tail->term = std::sqrt(std::max(0.0f, max_norm * max_norm - squares));
  } else {
    // A zero vector has cosine 0 with everything: squared distance 2 instead of the 1 it has from unit vectors.
    tail->term = largest < 1e18f ? squares + (has_direction ? 0.0f : 1.0f) : kHuge;
  }
}

void CodeEncoder::EncodeQuery(const uint8_t* query, CodeQuery* out) const {
  float* x = nullptr;
  Prepare(query, &x);
  out->code.assign(stride_, 0);
  const float largest = Kernels().max_abs(x, dim_);
  float scale = 0, squares = 0;
  out->offset = 0;
  if (largest > 1e-30f && largest < 1e18f) {
    out->offset = 128 * Kernels().quantize(x, dim_, 127.0f / largest, out->code.data());
    scale = largest / 127.0f;
    squares = Kernels().ip_f32(x, x, dim_);
  }
  const bool ip = metric_ == Metric::kIp;
  out->bias = ip ? 0 : squares;
  out->term_weight = ip ? 0 : 1;
  out->dot_weight = ip ? -scale : -2 * scale;
}

void CodeEncoder::RowAsQuery(const uint8_t* code, const CodeTail& tail, CodeQuery* out) const {
  out->code.resize(stride_);
  out->offset = 128 * Kernels().code_to_query(code, stride_, out->code.data());
  const bool ip = metric_ == Metric::kIp;
  out->bias = ip ? 0 : tail.term;
  out->term_weight = ip ? -tail.term : 1;
  out->dot_weight = ip ? -tail.scale : -2 * tail.scale;
}

}  // namespace saker
