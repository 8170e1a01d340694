#include "model/column.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/bytes.h"

namespace saker {
namespace {

Status Damaged(std::string_view what, size_t at) {
  return {ErrorCode::kCorrupted, fmt::format("{} is damaged: it does not decode at byte {}", what, at)};
}

// The bytes of a number, narrowed to `type`, as a column stores them. At most 8.
struct Cell {
  std::array<uint8_t, 8> bytes{};
};
template <typename T>
Cell CellOf(T value) {
  Cell cell;
  __builtin_memcpy(cell.bytes.data(), &value, sizeof(T));
  return cell;
}

int64_t AsInt(const Value& value) {
  if (const auto* i = std::get_if<int64_t>(&value)) return *i;
  if (const auto* b = std::get_if<bool>(&value)) return *b ? 1 : 0;
  if (const auto* d = std::get_if<double>(&value)) return static_cast<int64_t>(*d);
  return 0;
}
double AsDouble(const Value& value) {
  if (const auto* d = std::get_if<double>(&value)) return *d;
  return static_cast<double>(AsInt(value));
}

Cell CellOfValue(DataType type, const Value& value) {
  switch (type) {
    case DataType::kBool: return CellOf<uint8_t>(AsInt(value) != 0 ? 1 : 0);
    case DataType::kInt8: return CellOf(static_cast<int8_t>(AsInt(value)));
    case DataType::kInt16: return CellOf(static_cast<int16_t>(AsInt(value)));
    case DataType::kInt32: return CellOf(static_cast<int32_t>(AsInt(value)));
    case DataType::kFloat: return CellOf(static_cast<float>(AsDouble(value)));
    case DataType::kDouble: return CellOf(AsDouble(value));
    default: return CellOf(AsInt(value));
  }
}

// A scalar of fixed width from its bytes.
Value ValueOfCell(DataType type, const uint8_t* bytes) {
  const auto read = [bytes]<typename T>(T out) {
    __builtin_memcpy(&out, bytes, sizeof(T));
    return out;
  };
  switch (type) {
    case DataType::kBool: return *bytes != 0;
    case DataType::kInt8: return static_cast<int64_t>(read(int8_t{}));
    case DataType::kInt16: return static_cast<int64_t>(read(int16_t{}));
    case DataType::kInt32: return static_cast<int64_t>(read(int32_t{}));
    case DataType::kFloat: return static_cast<double>(read(float{}));
    case DataType::kDouble: return read(double{});
    default: return read(int64_t{});
  }
}

bool IsScalarCell(DataType type) { return IsFixedWidth(type) && !IsVector(type); }

uint32_t Rotate(uint32_t x, int by) { return (x << by) | (x >> (32 - by)); }

uint32_t MixBlock(uint32_t hash, uint32_t block) {
  block *= 0xcc9e2d51;
  block = Rotate(block, 15);
  block *= 0x1b873593;
  hash ^= block;
  return Rotate(hash, 13) * 5 + 0xe6546b64;
}

std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
    table[i] = crc;
  }
  return table;
}

constexpr size_t kHashedPrefix = 100;
constexpr int kMaxDim = 1 << 24;  // far beyond what the door lets in; keeps width an int

}  // namespace

// ---- ColumnView

int64_t ColumnView::IntAt(int64_t row) const {
  switch (width) {
    case 1: return type == DataType::kBool ? static_cast<int64_t>(*Row(row) != 0) : At<int8_t>(row);
    case 2: return At<int16_t>(row);
    case 4: return At<int32_t>(row);
    default: return At<int64_t>(row);
  }
}

double ColumnView::NumberAt(int64_t row) const {
  if (type == DataType::kFloat) return At<float>(row);
  if (type == DataType::kDouble) return At<double>(row);
  return static_cast<double>(IntAt(row));
}

Value ColumnView::ValueAt(int64_t row) const {
  if (IsNull(row)) return std::monostate{};
  if (width == 0) return std::string(Bytes(row));
  if (IsScalarCell(type)) return ValueOfCell(type, Row(row));
  return std::string(reinterpret_cast<const char*>(Row(row)), static_cast<size_t>(width));
}

// ---- Column

Column::Column(const FieldSchema& schema) : Column(schema.type, schema.dim, schema.element_type) {
  field = schema.id;
  name = schema.name;
  is_dynamic = schema.is_dynamic;
}

Column::Column(DataType type, int dim, DataType element_type)
    : type_(type), element_type_(element_type), dim_(dim), width_(IsFixedWidth(type) ? FixedWidth(type, dim) : 0) {
  SAKER_CHECK(dim >= 0 && dim <= kMaxDim);
  SAKER_CHECK(width_ > 0 || !IsFixedWidth(type));
  if (width_ == 0) offsets_.push_back(0);
}

void Column::Reserve(int64_t rows, int64_t bytes) {
  if (width_ > 0) {
    fixed_.reserve(static_cast<size_t>(rows) * width_);
  } else {
    offsets_.reserve(static_cast<size_t>(rows) + 1);
    bytes_.reserve(static_cast<size_t>(bytes));
  }
}

void Column::AppendFixed(const void* row) { AppendFixed(row, 1); }

void Column::AppendFixed(const void* data, int64_t rows) {
  SAKER_CHECK(width_ > 0);
  if (rows <= 0) return;
  const auto* begin = static_cast<const uint8_t*>(data);
  fixed_.insert(fixed_.end(), begin, begin + rows * width_);
  rows_ += rows;
  if (!valid_.empty()) valid_.resize(static_cast<size_t>(rows_), 1);
}

void Column::AppendBytes(std::string_view row) {
  SAKER_CHECK(width_ == 0 && !offsets_.empty());
  bytes_.append(row);
  offsets_.push_back(bytes_.size());
  ++rows_;
  if (!valid_.empty()) valid_.push_back(1);
}

void Column::AppendNull() {
  if (valid_.empty()) valid_.assign(static_cast<size_t>(rows_), 1);
  if (width_ > 0) {
    fixed_.resize(fixed_.size() + static_cast<size_t>(width_), 0);
  } else {
    SAKER_CHECK(!offsets_.empty());
    offsets_.push_back(bytes_.size());
  }
  ++rows_;
  valid_.push_back(0);
}

void Column::AppendValue(const Value& value) {
  if (std::holds_alternative<std::monostate>(value)) return AppendNull();
  const auto* text = std::get_if<std::string>(&value);
  if (width_ == 0) {
    SAKER_CHECK(text != nullptr);
    return AppendBytes(*text);
  }
  if (IsScalarCell(type_)) {
    SAKER_CHECK(text == nullptr);
    return AppendFixed(CellOfValue(type_, value).bytes.data());
  }
  SAKER_CHECK(text != nullptr && static_cast<int>(text->size()) == width_);
  AppendFixed(text->data());
}

void Column::AppendFrom(const ColumnView& other, int64_t row) {
  SAKER_CHECK(other.width == width_);
  if (other.IsNull(row)) return AppendNull();
  width_ > 0 ? AppendFixed(other.Row(row)) : AppendBytes(other.Bytes(row));
}

void Column::AppendAll(const ColumnView& other) {
  SAKER_CHECK(other.width == width_);
  if (other.rows == 0) return;
  if (other.valid != nullptr && valid_.empty()) valid_.assign(static_cast<size_t>(rows_), 1);
  const bool track = other.valid != nullptr || !valid_.empty();
  if (width_ > 0) {
    fixed_.insert(fixed_.end(), other.fixed, other.fixed + other.rows * width_);
  } else {
    const uint64_t shift = bytes_.size() - other.offsets[0];
    bytes_.append(other.bytes + other.offsets[0], other.offsets[other.rows] - other.offsets[0]);
    offsets_.reserve(offsets_.size() + static_cast<size_t>(other.rows));
    for (int64_t i = 1; i <= other.rows; ++i) offsets_.push_back(other.offsets[i] + shift);
  }
  rows_ += other.rows;
  if (!track) return;
  if (other.valid != nullptr) {
    valid_.insert(valid_.end(), other.valid, other.valid + other.rows);
  } else {
    valid_.resize(static_cast<size_t>(rows_), 1);
  }
}

ColumnView Column::View() const {
  ColumnView view;
  view.type = type_;
  view.element_type = element_type_;
  view.dim = dim_;
  view.width = width_;
  view.rows = rows_;
  view.fixed = fixed_.data();
  view.offsets = offsets_.data();
  view.bytes = bytes_.data();
  view.valid = valid_.empty() ? nullptr : valid_.data();
  return view;
}

int64_t Column::size_bytes() const {
  return static_cast<int64_t>(fixed_.size() + offsets_.size() * sizeof(uint64_t) + bytes_.size() + valid_.size());
}

// type, element type, dim, field, is_dynamic, name, rows, has-nulls [, valid bytes], then the rows: the fixed bytes, or
// a u32 length each and all their bytes.
void Column::EncodeTo(std::string& out) const {
  ByteWriter writer(out);
  writer.Put(type_);
  writer.Put(element_type_);
  writer.Put<int32_t>(dim_);
  writer.Put(field.value);
  writer.Put(is_dynamic);
  writer.PutBytes(name);
  writer.Put(rows_);
  writer.Put<uint8_t>(valid_.empty() ? 0 : 1);
  writer.PutRaw({reinterpret_cast<const char*>(valid_.data()), valid_.size()});
  if (width_ > 0) {
    writer.PutRaw({reinterpret_cast<const char*>(fixed_.data()), fixed_.size()});
    return;
  }
  for (int64_t i = 0; i < rows_; ++i) writer.Put(static_cast<uint32_t>(offsets_[i + 1] - offsets_[i]));
  writer.PutRaw(bytes_);
}

Result<Column> Column::Decode(std::string_view bytes, size_t& position) {
  if (position > bytes.size()) return Damaged("column", position);
  ByteReader reader(bytes.substr(position));
  const auto bad = [&] { return Damaged("column", position + reader.position()); };
  const auto type = reader.Get<DataType>();
  const auto element_type = reader.Get<DataType>();
  const auto dim = reader.Get<int32_t>();
  if (!reader.ok() || dim < 0 || dim > kMaxDim || Name(type) == "Unknown") return bad();
  if (IsFixedWidth(type) && FixedWidth(type, dim) <= 0) return bad();
  Column column(type, dim, element_type);
  column.field.value = reader.Get<int64_t>();
  column.is_dynamic = reader.Get<uint8_t>() != 0;
  column.name = reader.GetBytes();
  const auto rows = reader.Get<int64_t>();
  const bool has_nulls = reader.Get<uint8_t>() != 0;
  const int64_t least = column.width_ > 0 ? column.width_ : static_cast<int64_t>(sizeof(uint32_t));
  if (!reader.ok() || rows < 0 || rows > static_cast<int64_t>(reader.remaining()) / least) return bad();
  if (has_nulls) {
    const std::string_view valid = reader.GetRaw(static_cast<size_t>(rows));
    column.valid_.assign(valid.begin(), valid.end());
  }
  if (column.width_ > 0) {
    const std::string_view fixed = reader.GetRaw(static_cast<size_t>(rows * column.width_));
    column.fixed_.assign(fixed.begin(), fixed.end());
  } else {
    ByteReader lengths(reader.GetRaw(static_cast<size_t>(rows) * sizeof(uint32_t)));
    if (!reader.ok()) return bad();
    column.offsets_.reserve(static_cast<size_t>(rows) + 1);
    for (int64_t i = 0; i < rows; ++i) column.offsets_.push_back(column.offsets_.back() + lengths.Get<uint32_t>());
    column.bytes_ = reader.GetRaw(column.offsets_.back());
  }
  if (!reader.ok()) return bad();
  column.rows_ = rows;
  position += reader.position();
  return column;
}

Result<Column> Column::FromParts(Parts parts) {
  const auto bad = [](std::string_view what) { return Status(ErrorCode::kCorrupted, fmt::format("a column is damaged: {}", what)); };
  if (parts.dim < 0 || parts.dim > kMaxDim || Name(parts.type) == "Unknown" || Name(parts.element_type) == "Unknown") {
    return bad("there is no such type");
  }
  if (IsFixedWidth(parts.type) && FixedWidth(parts.type, parts.dim) <= 0) return bad("its rows have no width");
  if (parts.rows < 0) return bad("it has less than no rows");
  Column column(parts.type, parts.dim, parts.element_type);
  const auto rows = static_cast<size_t>(parts.rows);
  if (!parts.valid.empty() && parts.valid.size() != rows) return bad("its null flags are not one a row");
  if (column.width_ > 0) {
    const auto width = static_cast<size_t>(column.width_);
    if (parts.fixed.size() % width != 0 || parts.fixed.size() / width != rows) return bad("its bytes don't make its rows");
    column.fixed_ = std::move(parts.fixed);
  } else {
    if (parts.offsets.size() != rows + 1 || parts.offsets.front() != 0 || parts.offsets.back() != parts.bytes.size() ||
        !std::is_sorted(parts.offsets.begin(), parts.offsets.end())) {
      return bad("its offsets don't divide its bytes");
    }
    column.offsets_ = std::move(parts.offsets);
    column.bytes_ = std::move(parts.bytes);
  }
  column.valid_ = std::move(parts.valid);
  column.rows_ = parts.rows;
  return column;
}

// ---- arrays

std::string EncodeArray(DataType element_type, std::span<const Value> elements) {
  std::string out;
  ByteWriter writer(out);
  writer.Put<uint32_t>(static_cast<uint32_t>(elements.size()));
  const int width = FixedWidth(element_type, 0);
  for (const Value& element : elements) {
    if (width > 0) {
      const Cell cell = CellOfValue(element_type, element);
      writer.PutRaw({reinterpret_cast<const char*>(cell.bytes.data()), static_cast<size_t>(width)});
    } else {
      const auto* text = std::get_if<std::string>(&element);
      writer.PutBytes(text != nullptr ? std::string_view(*text) : std::string_view());
    }
  }
  return out;
}

std::vector<Value> DecodeArray(DataType element_type, std::string_view bytes) {
  std::vector<Value> out;
  ByteReader reader(bytes);
  const auto count = reader.Get<uint32_t>();
  const int width = FixedWidth(element_type, 0);
  const size_t least = width > 0 ? static_cast<size_t>(width) : sizeof(uint32_t);
  if (!reader.ok() || count > reader.remaining() / least) return out;
  out.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    const std::string_view raw = width > 0 ? reader.GetRaw(static_cast<size_t>(width)) : reader.GetBytes();
    if (!reader.ok()) break;
    if (width > 0) {
      out.push_back(ValueOfCell(element_type, reinterpret_cast<const uint8_t*>(raw.data())));
    } else {
      out.emplace_back(std::string(raw));
    }
  }
  return out;
}

int64_t ArrayLength(std::string_view bytes) { return ByteReader(bytes).Get<uint32_t>(); }

// ---- RowBatch

const Column* RowBatch::Find(FieldId field) const {
  for (const Column& column : columns) {
    if (column.field == field) return &column;
  }
  return nullptr;
}

int64_t RowBatch::size_bytes() const {
  int64_t total = 0;
  for (const Column& column : columns) total += column.size_bytes();
  return total;
}

void RowBatch::EncodeTo(std::string& out) const {
  ByteWriter writer(out);
  writer.Put(rows);
  writer.Put<uint32_t>(static_cast<uint32_t>(columns.size()));
  for (const Column& column : columns) column.EncodeTo(out);
}

Result<RowBatch> RowBatch::Decode(std::string_view bytes, size_t& position) {
  if (position > bytes.size()) return Damaged("row batch", position);
  ByteReader reader(bytes.substr(position));
  RowBatch batch;
  batch.rows = reader.Get<int64_t>();
  const auto columns = reader.Get<uint32_t>();
  if (!reader.ok() || batch.rows < 0) return Damaged("row batch", position);
  size_t at = position + reader.position();
  for (uint32_t i = 0; i < columns; ++i) {
    ASSIGN_OR_RETURN(Column column, Column::Decode(bytes, at));
    if (column.rows() != batch.rows) return Damaged("row batch", at);
    batch.columns.push_back(std::move(column));
  }
  position = at;
  return batch;
}

// ---- PrimaryKeys

PrimaryKeys PrimaryKeys::FromColumn(const ColumnView& column) {
  PrimaryKeys keys;
  keys.is_string = column.width == 0;
  keys.is_string ? keys.strings.reserve(static_cast<size_t>(column.rows))
                 : keys.ints.reserve(static_cast<size_t>(column.rows));
  for (int64_t i = 0; i < column.rows; ++i) {
    if (keys.is_string) {
      keys.strings.emplace_back(column.Bytes(i));
    } else {
      keys.ints.push_back(column.IntAt(i));
    }
  }
  return keys;
}

void PrimaryKeys::EncodeTo(std::string& out) const {
  ByteWriter writer(out);
  writer.Put(is_string);
  if (!is_string) return writer.PutArray(std::span<const int64_t>(ints));
  writer.Put<uint64_t>(strings.size());
  for (const std::string& key : strings) writer.PutBytes(key);
}

Result<PrimaryKeys> PrimaryKeys::Decode(std::string_view bytes, size_t& position) {
  if (position > bytes.size()) return Damaged("list of keys", position);
  ByteReader reader(bytes.substr(position));
  PrimaryKeys keys;
  keys.is_string = reader.Get<uint8_t>() != 0;
  if (!keys.is_string) {
    keys.ints = reader.GetArray<int64_t>();
  } else {
    const auto count = reader.Get<uint64_t>();
    if (count > reader.remaining() / sizeof(uint32_t)) return Damaged("list of keys", position + reader.position());
    for (uint64_t i = 0; i < count && reader.ok(); ++i) keys.strings.emplace_back(reader.GetBytes());
  }
  if (!reader.ok()) return Damaged("list of keys", position + reader.position());
  position += reader.position();
  return keys;
}

// ---- hashes

// MurmurHash3_x86_32 of 8 bytes with seed 0, without its sign bit.
uint32_t HashKey(int64_t key) {
  const auto bits = static_cast<uint64_t>(key);
  uint32_t hash = MixBlock(0, static_cast<uint32_t>(bits));
  hash = MixBlock(hash, static_cast<uint32_t>(bits >> 32));
  hash ^= sizeof(key);
  hash ^= hash >> 16;
  hash *= 0x85ebca6b;
  hash ^= hash >> 13;
  hash *= 0xc2b2ae35;
  hash ^= hash >> 16;
  return hash & 0x7fffffff;
}

// CRC-32 (IEEE) of the first 100 bytes.
uint32_t HashKey(std::string_view key) {
  static const std::array<uint32_t, 256> table = MakeCrcTable();
  uint32_t crc = ~0u;
  for (const char c : key.substr(0, kHashedPrefix)) crc = (crc >> 8) ^ table[(crc ^ static_cast<uint8_t>(c)) & 0xff];
  return ~crc;
}

}  // namespace saker
