// The manifest of a sealed segment: what its objects hold, where, and with which checksums. docs/format/segment.md.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/schema.h"

namespace saker {

inline constexpr int64_t kChecksumBlockBytes = 1 << 20;
inline constexpr uint64_t kColumnAlignment = 64;

// What a stretch of an object is.
enum class ColumnPart : uint8_t {
  kField = 0,       // a field of the schema
  kTimestamps = 1,  // insert timestamps, u64 a row; absent when all are alike
  kKeyOrder = 2,    // rows by rising (key, row), u32 a row; absent when they lie in that order
  kKeyFilter = 3,   // Bloom filter of the keys
};

// A column in an object: [offset, offset + length), of which data, offsets and validity bytes are stretches.
struct ColumnFile {
  static constexpr uint64_t kAbsent = ~uint64_t{0};
  ColumnPart part = ColumnPart::kField;
  FieldId field;
  DataType type = DataType::kNone;
  DataType element_type = DataType::kNone;
  int32_t dim = 0;
  uint32_t object = 0;             // index into Manifest::objects
  uint64_t offset = 0;
  uint64_t length = 0;
  uint64_t data_length = 0;        // the data are at the beginning
  uint64_t offsets_at = kAbsent;   // from `offset`; variable width: rows + 1 u64
  uint64_t valid_at = kAbsent;     // from `offset`; a byte a row
  Value min;                       // of scalars; monostate: not known
  Value max;
  std::vector<uint32_t> checksums; // CRC-32C of each block of the column

  int width() const { return IsFixedWidth(type) ? FixedWidth(type, dim) : 0; }
};

struct Manifest {
  struct Object {
    std::string name;              // within the manifest's folder
    uint64_t size_bytes = 0;
  };
  SegmentId id;
  PartitionId partition;
  int64_t rows = 0;
  Timestamp min_ts = 0;
  Timestamp max_ts = 0;
  Timestamp deletes_until = 0;
  bool repeats_keys = false;       // two rows share a key
  SchemaPtr schema;
  std::vector<Object> objects;
  std::vector<ColumnFile> columns;

  const ColumnFile* Find(ColumnPart part, FieldId field = {}) const;
};

std::string EncodeManifest(const Manifest& manifest);
// Checks everything that a reader relies on: after it, columns lie within their objects and have room for their rows.
// kCorrupted names `object`; kUnimplemented for a version this build doesn't know.
Result<Manifest> DecodeManifest(std::string_view bytes, std::string_view object);

// "a/b/manifest" and "columns" give "a/b/columns".
std::string Beside(std::string_view manifest_name, std::string_view object);

}  // namespace saker
