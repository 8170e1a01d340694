// Building the graph: one thread or several, over codes.
#pragma once

#include <memory>
#include <vector>

#include "index/hnsw_graph.h"
#include "index/vector_index.h"

namespace saker {

struct HnswParams {
  int m = 16;
  int ef_construction = 200;
};

// Owns what a HnswGraph points to.
struct HnswArrays {
  std::vector<uint8_t> codes;
  std::vector<CodeTail> tails;
  std::vector<uint32_t> edges;
  std::vector<uint32_t> upper_rows;
  std::vector<uint32_t> upper_first;
  std::vector<uint32_t> upper_edges;
  std::vector<uint32_t> next_duplicate;  // empty: none
  HnswGraph graph;
};

Result<std::unique_ptr<HnswArrays>> BuildHnswGraph(const CodeEncoder& encoder, Metric metric, const HnswParams& params,
                                                   const VectorView& vectors, const VectorBuildOptions& options);

}  // namespace saker
