// One byte per dimension: the form in which HNSW walks its graph and IVF_SQ8 keeps its vectors.
//
// A vector is normalised (COSINE), moved by the data's mean (L2, COSINE), turned by a fixed random rotation so that no
// dimension stands out, and divided by a scale of its own. A *distance of codes* is
//     bias + term_weight * term(row) + dot_weight * scale(row) * (code . query)
// and ranks like the metric does: squared L2 for L2; squared L2 of unit vectors for COSINE; −inner product for IP.
// Between two rows (graph construction) IP is measured as the squared L2 of the vectors extended by one coordinate
// sqrt(R² − |x|²), in which the largest inner product is the smallest distance: a proper metric to prune by.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "index/vector_index.h"

namespace saker {

struct CodeTail {
  float scale = 0;
  float term = 0;  // L2, COSINE: squared norm of the decoded vector. IP: the extra coordinate.
};

// A query (or a row that plays one) in the form kernels take.
struct CodeQuery {
  std::vector<int8_t> code;
  float bias = 0;
  float term_weight = 0;
  float dot_weight = 0;
  int32_t offset = 0;  // what the kernels' sums hold too much
  float Distance(int32_t sum, const CodeTail& tail) const {
    return bias + term_weight * tail.term + dot_weight * tail.scale * static_cast<float>(sum - offset);
  }
};

// Codes of all rows, wherever they lie.
struct CodeView {
  const uint8_t* codes = nullptr;
  const CodeTail* tails = nullptr;
  size_t stride = 0;
  const uint8_t* Code(uint32_t row) const { return codes + row * stride; }
};

class CodeEncoder {
 public:
  CodeEncoder(DataType type, Metric metric, int dim, std::vector<float> center);
  // The mean of (a sample of) the vectors as this metric sees them; empty for IP.
  static std::vector<float> Center(const VectorView& vectors, Metric metric);

  int stride() const { return stride_; }
  const std::vector<float>& center() const { return center_; }

  // For IP `max_norm` is at least the norm of every row encoded.
  void EncodeRow(const uint8_t* row, float max_norm, uint8_t* code, CodeTail* tail) const;
  void EncodeQuery(const uint8_t* query, CodeQuery* out) const;
  // A row of codes as a query against other rows, by the metric of graph construction.
  void RowAsQuery(const uint8_t* code, const CodeTail& tail, CodeQuery* out) const;

 private:
  // Normalised, centred and rotated, in thread-local storage of stride() floats. False if it has no direction (COSINE's zero).
  bool Prepare(const uint8_t* row, float** out) const;
  void Rotate(float* x) const;

  const DataType type_;
  const Metric metric_;
  const int dim_;
  const int stride_;
  const std::vector<float> center_;
  std::vector<float> signs_;  // of the rotation's rounds
};

}  // namespace saker
