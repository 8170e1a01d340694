// Columns of rows, in the one layout that wire decoding, the log, growing segments and files share.
//
// A fixed-width column is `rows * width` bytes (little endian; a bool is one byte, Int8 one, …, a float vector 4·dim).
// Any other column has rows + 1 offsets into a byte string: VarChar and JSON as they are; SparseFloatVector as sorted
// (u32 index, f32 value) pairs; Array as EncodeArray writes it.
// Nullable: `valid` has a byte a row (1 = has a value); a null row still takes its place (zeroes or empty).
#pragma once

#include <span>

#include "model/schema.h"

namespace saker {

// Someone else's column, for reading: of a Column, a chunk of a growing segment or a mapped file. Cheap to copy.
struct ColumnView {
  DataType type = DataType::kNone;
  DataType element_type = DataType::kNone;
  int dim = 0;
  int width = 0;                       // 0: variable
  int64_t rows = 0;
  const uint8_t* fixed = nullptr;
  const uint64_t* offsets = nullptr;   // rows + 1 of them, absolute into `bytes`
  const char* bytes = nullptr;
  const uint8_t* valid = nullptr;      // null: every row has a value

  bool IsNull(int64_t row) const { return valid != nullptr && valid[row] == 0; }
  template <typename T>
  T At(int64_t row) const {
    T value;
    __builtin_memcpy(&value, fixed + row * static_cast<int64_t>(width), sizeof(T));
    return value;
  }
  const uint8_t* Row(int64_t row) const { return fixed + row * static_cast<int64_t>(width); }
  std::string_view Bytes(int64_t row) const {
    return {bytes + offsets[row], static_cast<size_t>(offsets[row + 1] - offsets[row])};
  }
  int64_t IntAt(int64_t row) const;  // any integer type or bool
  double NumberAt(int64_t row) const;  // any numeric type
  Value ValueAt(int64_t row) const;  // null → monostate; JSON, arrays and vectors → their bytes
};

class Column {
 public:
  Column() = default;
  explicit Column(const FieldSchema& field);
  Column(DataType type, int dim, DataType element_type = DataType::kNone);

  FieldId field;
  std::string name;        // as the client called it; may be empty below the proxy
  bool is_dynamic = false;

  DataType type() const { return type_; }
  DataType element_type() const { return element_type_; }
  int dim() const { return dim_; }
  int width() const { return width_; }
  int64_t rows() const { return rows_; }
  bool has_nulls() const { return !valid_.empty(); }

  void Reserve(int64_t rows, int64_t bytes = 0);
  // Appends one row; the pointer has width() bytes.
  void AppendFixed(const void* row);
  // Appends `rows` rows of width() bytes each.
  void AppendFixed(const void* data, int64_t rows);
  template <typename T>
  void Append(T value) {
    AppendFixed(&value);
  }
  void AppendBytes(std::string_view row);
  void AppendNull();  // marks the row null and appends a placeholder
  void AppendValue(const Value& value);  // must fit the type; monostate → null
  void AppendFrom(const ColumnView& other, int64_t row);
  void AppendAll(const ColumnView& other);

  ColumnView View() const;
  int64_t size_bytes() const;

  void EncodeTo(std::string& out) const;
  static Result<Column> Decode(std::string_view bytes, size_t& position);

  // A column made of its parts, as View() shows them, for other codecs. kCorrupted if they don't fit together.
  struct Parts {
    DataType type = DataType::kNone;
    DataType element_type = DataType::kNone;
    int32_t dim = 0;
    int64_t rows = 0;
    std::vector<uint8_t> fixed;
    std::vector<uint64_t> offsets;
    std::string bytes;
    std::vector<uint8_t> valid;
  };
  static Result<Column> FromParts(Parts parts);

 private:
  DataType type_ = DataType::kNone;
  DataType element_type_ = DataType::kNone;
  int dim_ = 0;
  int width_ = 0;
  int64_t rows_ = 0;
  std::vector<uint8_t> fixed_;
  std::vector<uint64_t> offsets_;
  std::string bytes_;
  std::vector<uint8_t> valid_;  // empty: all valid
};

// One row of an Array column: u32 count, then the elements (fixed width, or u32 length + bytes for strings).
// Numbers keep the element type's width.
std::string EncodeArray(DataType element_type, std::span<const Value> elements);
std::vector<Value> DecodeArray(DataType element_type, std::string_view bytes);
int64_t ArrayLength(std::string_view bytes);

// Rows of several columns of the same length.
struct RowBatch {
  int64_t rows = 0;
  std::vector<Column> columns;

  const Column* Find(FieldId field) const;
  int64_t size_bytes() const;
  void EncodeTo(std::string& out) const;
  static Result<RowBatch> Decode(std::string_view bytes, size_t& position);
};

// Primary keys: all integers or all strings.
struct PrimaryKeys {
  bool is_string = false;
  std::vector<int64_t> ints;
  std::vector<std::string> strings;

  int64_t size() const { return static_cast<int64_t>(is_string ? strings.size() : ints.size()); }
  void Append(const PrimaryKeys& other, int64_t i) {
    is_string = other.is_string;
    is_string ? strings.push_back(other.strings[i]) : ints.push_back(other.ints[i]);
  }
  static PrimaryKeys FromColumn(const ColumnView& column);
  void EncodeTo(std::string& out) const;
  static Result<PrimaryKeys> Decode(std::string_view bytes, size_t& position);
};

// Which shard a key belongs to: Milvus's hash (murmur3_32 of the little-endian int64; crc32 of at most 100 bytes of a
// varchar), modulo the number of shards. Also which of the partitions a partition key belongs to.
uint32_t HashKey(int64_t key);
uint32_t HashKey(std::string_view key);

}  // namespace saker
