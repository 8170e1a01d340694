// The one layout behind every kind of scalar index: the distinct keys in order, and for each the rows that hold it.
// Rows of neighbouring keys are neighbours, so a range of keys is one slice of the row list.
// File format: docs/format/scalar_index.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "scalar/scalar_index.h"

namespace saker {

enum class IndexKind : uint32_t { kSorted = 1, kTrie = 2, kInverted = 3 };
enum class KeyClass : uint32_t { kInteger = 1, kFloating = 2, kString = 3 };

// What a file holds, as pointers into it (or into memory of the builder's own). Loads go through memcpy: a file that
// was embedded in another need not be aligned.
struct PostingsView {
  IndexKind kind = IndexKind::kSorted;
  KeyClass key_class = KeyClass::kInteger;
  DataType value_type = DataType::kNone;  // of the field, or of an array's elements
  uint64_t rows = 0;                      // of the segment
  uint64_t keys = 0;
  uint64_t postings = 0;
  const char* numbers = nullptr;       // i64 or f64 per key
  const char* text_offsets = nullptr;  // u64, keys + 1 of them
  const char* text = nullptr;
  uint64_t text_bytes = 0;
  const char* row_offsets = nullptr;   // u32, keys + 1 of them
  const char* row_list = nullptr;      // u32 per posting
  const char* not_null = nullptr;      // u64 words, one bit a row; null: every row has a value

  template <typename T>
  static T Load(const char* base, uint64_t i) {
    T value;
    __builtin_memcpy(&value, base + i * sizeof(T), sizeof(T));
    return value;
  }
  int64_t IntegerKey(uint64_t i) const { return Load<int64_t>(numbers, i); }
  double FloatingKey(uint64_t i) const { return Load<double>(numbers, i); }
  std::string_view TextKey(uint64_t i) const {
    const auto begin = Load<uint64_t>(text_offsets, i);
    return {text + begin, static_cast<size_t>(Load<uint64_t>(text_offsets, i + 1) - begin)};
  }
  uint32_t RowOffset(uint64_t key) const { return Load<uint32_t>(row_offsets, key); }
  uint32_t Row(uint64_t i) const { return Load<uint32_t>(row_list, i); }
};

// The whole file for a column's values.
Result<std::string> EncodePostings(IndexKind kind, const ColumnView& column);
// Checks magic, version, checksums and every offset, order and row number, so that look-ups need not.
Result<PostingsView> ReadPostings(std::string_view file);
// Sets header and body checksums of a file image again after a change of its bytes: for tests and fuzzers only.
void TEST_SealPostings(std::string& file);

}  // namespace saker
