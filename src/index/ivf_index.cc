#include "index/index_file.h"
namespace saker {
Result<std::unique_ptr<VectorIndex>> BuildIvfIndex(IndexKind, Metric metric, const KeyValues&, const VectorView& vectors,
                                                    const VectorBuildOptions&) {
  return MakeFlatIndex(IndexKind::kFlat, metric, vectors);
}
Result<std::unique_ptr<VectorIndex>> OpenIvfIndex(const IndexFile& file, const VectorView& vectors) {
  return Status(ErrorCode::kUnimplemented, "IVF files");
}
}  // namespace saker
