// The index file: a header, sections, a checksum over each (docs/format/index.md).
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "index/vector_index.h"

namespace saker {

enum class IndexKind : uint32_t {
  kFlat = 1,
  kIvfFlat = 2,
  kIvfSq8 = 3,
  kHnsw = 4,
  kBinFlat = 5,
  kBinIvfFlat = 6,
};
std::string_view Name(IndexKind kind);

struct IndexFileHeader {
  IndexKind kind = IndexKind::kFlat;
  Metric metric = Metric::kNone;
  DataType type = DataType::kNone;
  int dim = 0;
  int64_t rows = 0;
};

inline constexpr int kSectionAlignment = 64;

// Sections go to the file in the order of their ids 0, 1, …
Status WriteIndexFile(const IndexFileHeader& header, std::span<const std::string_view> sections,
                      const std::function<Status(std::string_view)>& append);

struct IndexFile {
  IndexFileHeader header;
  std::vector<std::string_view> sections;
};
// Checks magic, version, lengths and checksums. The sections are views into `file`, each at a multiple of 64 bytes.
Result<IndexFile> ReadIndexFile(std::string_view file);

// A section as an array of T; corrupted if it doesn't hold exactly `count` of them or is badly aligned in memory.
template <typename T>
Result<std::span<const T>> SectionArray(const IndexFile& file, size_t section, int64_t count) {
  if (section >= file.sections.size()) return Status(ErrorCode::kCorrupted, "index file: a section is missing");
  const std::string_view bytes = file.sections[section];
  if (count < 0 || bytes.size() % sizeof(T) != 0 || bytes.size() / sizeof(T) != static_cast<size_t>(count)) {
    return Status(ErrorCode::kCorrupted, "index file: section " + std::to_string(section) + " has " +
                                             std::to_string(bytes.size()) + " bytes, expected " + std::to_string(count) +
                                             " elements of " + std::to_string(sizeof(T)));
  }
  if (reinterpret_cast<uintptr_t>(bytes.data()) % alignof(T) != 0) {
    return Status(ErrorCode::kParameterInvalid, "index file: it must lie at an aligned address");
  }
  return std::span<const T>(reinterpret_cast<const T*>(bytes.data()), static_cast<size_t>(count));
}
template <typename T>
std::string_view AsBytes(std::span<const T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

// The implementations, by kind. `params` were checked; vectors.rows may be 0.
std::unique_ptr<VectorIndex> MakeFlatIndex(IndexKind kind, Metric metric, const VectorView& vectors);
Result<std::unique_ptr<VectorIndex>> OpenFlatIndex(const IndexFile& file, const VectorView& vectors);
Result<std::unique_ptr<VectorIndex>> BuildHnswIndex(Metric metric, const KeyValues& params, const VectorView& vectors,
                                                    const VectorBuildOptions& options);
Result<std::unique_ptr<VectorIndex>> OpenHnswIndex(const IndexFile& file, const VectorView& vectors);
Result<std::unique_ptr<VectorIndex>> BuildIvfIndex(IndexKind kind, Metric metric, const KeyValues& params,
                                                   const VectorView& vectors, const VectorBuildOptions& options);
Result<std::unique_ptr<VectorIndex>> OpenIvfIndex(const IndexFile& file, const VectorView& vectors);

}  // namespace saker
