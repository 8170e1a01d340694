// k-means for the inverted files: of floats (L2; on unit vectors for COSINE) and of bits (majority, Hamming).
#pragma once

#include <cstdint>
#include <vector>

#include "index/vector_index.h"

namespace saker {

struct Clustering {
  int lists = 0;
  std::vector<float> centroids;       // lists x dim; of float-like vectors
  std::vector<uint8_t> bit_centroids;  // lists x dim / 8; of binary vectors
  std::vector<uint32_t> list_of;       // row -> list
};
Result<Clustering> Cluster(const VectorView& vectors, Metric metric, int lists, const VectorBuildOptions& options);

}  // namespace saker
