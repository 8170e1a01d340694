// Distances of one query to raw rows of any vector type and metric, with what can be prepared per query prepared.
#pragma once

#include <cstdint>
#include <vector>

#include "index/vector_index.h"

namespace saker {

class ExactScorer {
 public:
  ExactScorer(DataType type, Metric metric, int dim, const uint8_t* query);
  // distances[i] of rows[i], count of any size.
  void Score(const uint8_t* const* rows, int count, float* distances);
  float Score(const uint8_t* row);

 private:
  void ScoreFloats(const float* const* rows, int count, float* distances) const;
  void ScoreBits(const uint8_t* const* rows, int count, float* distances) const;

  const DataType type_;
  const Metric metric_;
  const int dim_;
  const uint8_t* query_;       // binary
  const float* floats_;        // the query as floats
  float inverse_norm_ = 0;     // of the query; 0 for a zero vector
  std::vector<float> converted_;  // the query and four rows, for types that are not f32
};

// Elements of a row of any float-like vector type, as floats.
void ToFloats(DataType type, const uint8_t* row, int dim, float* out);
// Vector types ToFloats knows.
bool IsFloatLike(DataType type);

// Whether a distance is inside the range a search asks for, if it asks for one.
inline bool InRange(const VectorSearchParams& params, float distance) {
  return !params.has_range || (distance >= params.min_distance && distance < params.max_distance);
}

// Exact distances of chosen rows; the params.k nearest that are in range are appended to `out`, sorted. Returns how many
// lie at or beyond the range's far end.
int ScoreRows(const VectorView& vectors, Metric metric, const VectorSearchParams& params, const uint8_t* query,
              std::span<const uint32_t> rows, std::vector<Neighbor>& out);

}  // namespace saker
