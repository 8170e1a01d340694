#include "index/index_file.h"
namespace saker {
Result<std::unique_ptr<VectorIndex>> BuildHnswIndex(Metric metric, const KeyValues&, const VectorView& vectors,
                                                    const VectorBuildOptions&) {
  return MakeFlatIndex(IndexKind::kFlat, metric, vectors);
}
Result<std::unique_ptr<VectorIndex>> OpenHnswIndex(const IndexFile& file, const VectorView& vectors) {
  return Status(ErrorCode::kUnimplemented, "HNSW files");
}
}  // namespace saker
