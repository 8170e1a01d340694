#include "index/exact_search.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "distance/kernels.h"

namespace saker {

void TopK::Push(Neighbor n) {
  if (k_ <= 0) return;
  if (static_cast<int>(heap_.size()) < k_) {
    heap_.push_back(n);
    std::push_heap(heap_.begin(), heap_.end());
  } else if (n < heap_.front()) {
    std::pop_heap(heap_.begin(), heap_.end());
    heap_.back() = n;
    std::push_heap(heap_.begin(), heap_.end());
  }
}

std::vector<Neighbor> TopK::TakeSorted() {
  std::sort_heap(heap_.begin(), heap_.end());
  return std::move(heap_);
}

bool IsFloatLike(DataType type) {
  return type == DataType::kFloatVector || type == DataType::kFloat16Vector || type == DataType::kBFloat16Vector ||
         type == DataType::kInt8Vector;
}

void ToFloats(DataType type, const uint8_t* row, int dim, float* out) {
  const DistanceKernels& kernels = Kernels();
  switch (type) {
    case DataType::kFloatVector:
      std::memcpy(out, row, static_cast<size_t>(dim) * sizeof(float));
      return;
    case DataType::kFloat16Vector:
      return kernels.f16_to_f32(reinterpret_cast<const uint16_t*>(row), out, dim);
    case DataType::kBFloat16Vector:
      return kernels.bf16_to_f32(reinterpret_cast<const uint16_t*>(row), out, dim);
    case DataType::kInt8Vector:
      return kernels.i8_to_f32(reinterpret_cast<const int8_t*>(row), out, dim);
    default:
      CheckFailed("ToFloats of a vector type that has no floats");
  }
}

ExactScorer::ExactScorer(DataType type, Metric metric, int dim, const uint8_t* query)
    : type_(type), metric_(metric), dim_(dim), query_(query), floats_(reinterpret_cast<const float*>(query)) {
  if (!IsFloatLike(type)) return;
  if (type != DataType::kFloatVector) {
    converted_.resize(static_cast<size_t>(dim) * 5);
    ToFloats(type, query, dim, converted_.data());
    floats_ = converted_.data();
  }
  if (metric == Metric::kCosine) {
    const float norm = Kernels().ip_f32(floats_, floats_, dim);
    inverse_norm_ = norm > 0 ? 1.0f / std::sqrt(norm) : 0;
  }
}

void ExactScorer::Score(const uint8_t* const* rows, int count, float* distances) {
  if (type_ == DataType::kFloatVector) {
    ScoreFloats(reinterpret_cast<const float* const*>(rows), count, distances);
  } else if (IsFloatLike(type_)) {
    const float* pointers[4];
    for (int i = 0; i < count; i += 4) {
      const int n = std::min(4, count - i);
      for (int j = 0; j < n; ++j) {
        float* floats = &converted_[static_cast<size_t>(dim_) * (j + 1)];
        ToFloats(type_, rows[i + j], dim_, floats);
        pointers[j] = floats;
      }
      ScoreFloats(pointers, n, distances + i);
    }
  } else {
    ScoreBits(rows, count, distances);
  }
}

float ExactScorer::Score(const uint8_t* row) {
  float distance = 0;
  Score(&row, 1, &distance);
  return distance;
}

void ExactScorer::ScoreFloats(const float* const* rows, int count, float* distances) const {
  const DistanceKernels& kernels = Kernels();
  if (metric_ == Metric::kL2) return kernels.l2_f32_rows(floats_, rows, count, dim_, distances);
  if (metric_ == Metric::kIp) {
    kernels.ip_f32_rows(floats_, rows, count, dim_, distances);
    for (int i = 0; i < count; ++i) distances[i] = -distances[i];
    return;
  }
  for (int i = 0; i < count; ++i) {
    float ip = 0, norm = 0;
    kernels.ip_norm_f32(floats_, rows[i], dim_, &ip, &norm);
    distances[i] = norm > 0 ? -ip * inverse_norm_ / std::sqrt(norm) : 0.0f;
  }
}

void ExactScorer::ScoreBits(const uint8_t* const* rows, int count, float* distances) const {
  const DistanceKernels& kernels = Kernels();
  const int bytes = dim_ / 8;
  for (int i = 0; i < count; ++i) {
    if (metric_ == Metric::kHamming) {
      distances[i] = static_cast<float>(kernels.hamming(query_, rows[i], bytes));
      continue;
    }
    int ands = 0, ors = 0;
    if (metric_ == Metric::kJaccard) {
      kernels.and_or(query_, rows[i], bytes, &ands, &ors);
      distances[i] = ors == 0 ? 0.0f : static_cast<float>(ors - ands) / static_cast<float>(ors);
      continue;
    }
    // Sub- and superstructure are yes or no: 0 where the query is contained in the row, or the row in the query.
    kernels.and_or(query_, rows[i], bytes, &ands, &ors);
    const uint8_t* contained = metric_ == Metric::kSubstructure ? query_ : rows[i];
    int own = 0, own_again = 0;
    kernels.and_or(contained, contained, bytes, &own, &own_again);
    distances[i] = ands == own ? 0.0f : 1.0f;
  }
}

namespace {

bool IsYesOrNo(Metric metric) { return metric == Metric::kSubstructure || metric == Metric::kSuperstructure; }

// Gathers rows and scores them in batches, so that the kernels see several rows at a time.
class BatchedSearch {
 public:
  BatchedSearch(const VectorView& vectors, Metric metric, const uint8_t* query, const VectorSearchParams& params,
                int64_t first_row, TopK& top)
      : scorer_(vectors.type, metric, vectors.dim, query), vectors_(vectors), params_(params), metric_(metric),
        first_row_(first_row), top_(top) {}
  void Add(int64_t row) {
    rows_[count_] = row;
    pointers_[count_] = vectors_.Row(row);
    if (++count_ == kBatch) Flush();
  }
  void Flush() {
    float distances[kBatch];
    scorer_.Score(pointers_, count_, distances);
    for (int i = 0; i < count_; ++i) {
      if (IsYesOrNo(metric_) && distances[i] != 0) continue;
      if (distances[i] <= top_.worst() && InRange(params_, distances[i])) top_.Push({distances[i], first_row_ + rows_[i]});
    }
    count_ = 0;
  }

 private:
  static constexpr int kBatch = 64;
  ExactScorer scorer_;
  const VectorView& vectors_;
  const VectorSearchParams& params_;
  const Metric metric_;
  const int64_t first_row_;
  TopK& top_;
  int64_t rows_[kBatch];
  const uint8_t* pointers_[kBatch];
  int count_ = 0;
};

}  // namespace

void ExactSearch(const VectorView& vectors, Metric metric, const uint8_t* query, const VectorSearchParams& params,
                 const Bitmap* allowed, int64_t first_row, TopK& top) {
  BatchedSearch search(vectors, metric, query, params, first_row, top);
  if (allowed == nullptr) {
    for (int64_t row = 0; row < vectors.rows; ++row) search.Add(row);
  } else {
    // `allowed` speaks of the segment's rows; this chunk is [first_row, first_row + rows) of them.
    const int64_t end = std::min(first_row + vectors.rows, allowed->size());
    for (int64_t word = first_row >> 6; word * 64 < end; ++word) {
      for (uint64_t bits = allowed->words()[word]; bits != 0; bits &= bits - 1) {
        const int64_t row = word * 64 + std::countr_zero(bits);
        if (row >= first_row && row < end) search.Add(row - first_row);
      }
    }
  }
  search.Flush();
}

int ScoreRows(const VectorView& vectors, Metric metric, const VectorSearchParams& params, const uint8_t* query,
              std::span<const uint32_t> rows, std::vector<Neighbor>& out) {
  ExactScorer scorer(vectors.type, metric, vectors.dim, query);
  constexpr size_t kBatch = 8;
  const size_t before = out.size();
  int beyond = 0;
  const int prefetch_bytes = std::min(vectors.row_bytes, 2048);
  const auto prefetch = [&](size_t i) {
    const uint8_t* row = vectors.Row(rows[i]);
    for (int b = 0; b < prefetch_bytes; b += 64) __builtin_prefetch(row + b);
  };
  for (size_t i = 0; i < std::min(kBatch, rows.size()); ++i) prefetch(i);
  for (size_t i = 0; i < rows.size(); i += kBatch) {
    for (size_t j = i + kBatch; j < std::min(i + 2 * kBatch, rows.size()); ++j) prefetch(j);
    const uint8_t* pointers[kBatch];
    float distances[kBatch];
    const size_t count = std::min(kBatch, rows.size() - i);
    for (size_t j = 0; j < count; ++j) pointers[j] = vectors.Row(rows[i + j]);
    scorer.Score(pointers, static_cast<int>(count), distances);
    for (size_t j = 0; j < count; ++j) {
      if (params.has_range && distances[j] >= params.max_distance) ++beyond;
      if (InRange(params, distances[j])) out.push_back({distances[j], rows[i + j]});
    }
  }
  std::sort(out.begin() + static_cast<ptrdiff_t>(before), out.end());
  if (out.size() - before > static_cast<size_t>(params.k)) out.resize(before + static_cast<size_t>(params.k));
  return beyond;
}

float ExactDistance(DataType type, Metric metric, int dim, const uint8_t* query, const uint8_t* vector) {
  return ExactScorer(type, metric, dim, query).Score(vector);
}

}  // namespace saker
