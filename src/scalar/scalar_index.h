// ScalarIndex: rows of one segment by the value of one field. Immutable once built, mapped from its file, thread-safe.
// Kinds: STL_SORT (numbers: sorted values), Trie (varchar: sorted, prefix-searchable), INVERTED (value → rows, numbers,
// strings, bools and array elements).
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/bitmap.h"
#include "model/column.h"

namespace saker {

struct ValueRange {
  const Value* low = nullptr;  // null: open
  bool low_inclusive = false;
  const Value* high = nullptr;
  bool high_inclusive = false;
};

class ScalarIndex {
 public:
  virtual ~ScalarIndex() = default;
  virtual std::string_view type() const = 0;  // "STL_SORT", "Trie", "INVERTED"
  virtual int64_t rows() const = 0;
  // Each sets the bits of the rows that match in `out` (of rows() bits); rows whose value is null never match.
  // For INVERTED on an array the value of a row is any of its elements.
  virtual void In(std::span<const Value> values, Bitmap& out) const = 0;
  virtual void Range(const ValueRange& range, Bitmap& out) const = 0;
  virtual bool HasPrefix() const { return false; }
  virtual void Prefix(std::string_view prefix, Bitmap& out) const = 0;
  virtual void NotNull(Bitmap& out) const = 0;
  virtual int64_t memory_bytes() const = 0;
  virtual Status Save(const std::function<Status(std::string_view)>& append) const = 0;
};

// "" or AUTOINDEX picks STL_SORT for numbers, Trie for varchar, INVERTED for bool and arrays. Messages are Milvus's.
Status CheckScalarIndexParams(std::string_view index_type, const FieldSchema& field, const KeyValues& params);
Result<std::unique_ptr<ScalarIndex>> BuildScalarIndex(std::string_view index_type, const ColumnView& column);
Result<std::unique_ptr<ScalarIndex>> OpenScalarIndex(std::string_view file);

}  // namespace saker
