// BuildVectorIndex and OpenVectorIndex: from a type's name or a file's header to the implementation.
#include <optional>

#include <fmt/format.h>

#include "index/exact_search.h"
#include "index/index_file.h"
#include "index/index_params.h"

namespace saker {
namespace {

bool Fits(IndexKind kind, Metric metric, DataType type) {
  const bool binary = kind == IndexKind::kBinFlat || kind == IndexKind::kBinIvfFlat;
  if (binary) {
    if (type != DataType::kBinaryVector) return false;
    if (metric == Metric::kHamming || metric == Metric::kJaccard) return true;
    return kind == IndexKind::kBinFlat && (metric == Metric::kSubstructure || metric == Metric::kSuperstructure);
  }
  return IsFloatLike(type) && (metric == Metric::kL2 || metric == Metric::kIp || metric == Metric::kCosine);
}

// What a file claims of its vectors must be what the segment has.
Status Matches(const IndexFileHeader& header, const VectorView& vectors) {
  if (header.type != vectors.type || header.dim != vectors.dim || header.rows != vectors.rows) {
    return {ErrorCode::kCorrupted,
            fmt::format("index file: it is of {} vectors of {} dimensions (type {}), the segment has {} of {} (type {})",
                        header.rows, header.dim, static_cast<int>(header.type), vectors.rows, vectors.dim,
                        static_cast<int>(vectors.type))};
  }
  if (!Fits(header.kind, header.metric, header.type)) {
    return {ErrorCode::kCorrupted, fmt::format("index file: kind {} with metric {}", static_cast<uint32_t>(header.kind),
                                               static_cast<int32_t>(header.metric))};
  }
  return Status::Ok();
}

}  // namespace

Result<std::unique_ptr<VectorIndex>> BuildVectorIndex(std::string_view index_type, Metric metric, const KeyValues& params,
                                                      const VectorView& vectors, const VectorBuildOptions& options) {
  RETURN_IF_ERROR(CheckIndexParams(index_type, metric, vectors.type, vectors.dim, params));
  const std::optional<IndexKind> kind = KindOf(index_type, vectors.type);
  if (!kind.has_value()) {
    return Status(ErrorCode::kIndexNotSupported, fmt::format("index type {} cannot be built", index_type));
  }
  if (vectors.rows >= (int64_t{1} << 32) - 1) {
    return Status(ErrorCode::kParameterInvalid, fmt::format("{} rows in one segment, at most 2^32 - 2", vectors.rows));
  }
  switch (*kind) {
    case IndexKind::kFlat:
    case IndexKind::kBinFlat:
      return MakeFlatIndex(*kind, metric, vectors);
    case IndexKind::kHnsw:
      return BuildHnswIndex(metric, params, vectors, options);
    case IndexKind::kIvfFlat:
    case IndexKind::kIvfSq8:
    case IndexKind::kBinIvfFlat:
      return BuildIvfIndex(*kind, metric, params, vectors, options);
  }
  return Status(ErrorCode::kIndexNotSupported, fmt::format("index type {} cannot be built", index_type));
}

Result<std::unique_ptr<VectorIndex>> OpenVectorIndex(std::string_view file, const VectorView& vectors) {
  ASSIGN_OR_RETURN(const IndexFile parsed, ReadIndexFile(file));
  switch (parsed.header.kind) {
    case IndexKind::kFlat:
    case IndexKind::kBinFlat:
      RETURN_IF_ERROR(Matches(parsed.header, vectors));
      return OpenFlatIndex(parsed, vectors);
    case IndexKind::kHnsw:
      RETURN_IF_ERROR(Matches(parsed.header, vectors));
      return OpenHnswIndex(parsed, vectors);
    case IndexKind::kIvfFlat:
    case IndexKind::kIvfSq8:
    case IndexKind::kBinIvfFlat:
      RETURN_IF_ERROR(Matches(parsed.header, vectors));
      return OpenIvfIndex(parsed, vectors);
  }
  return Status(ErrorCode::kUnimplemented, fmt::format("index file: kind {}, which this build does not know",
                                                       static_cast<uint32_t>(parsed.header.kind)));
}

}  // namespace saker
