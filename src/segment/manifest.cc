#include "segment/manifest.h"

#include <fmt/format.h>

#include "base/bytes.h"

namespace saker {
namespace {

constexpr uint32_t kMagic = 0x4d534b53;  // "SKSM"
constexpr uint32_t kVersion = 1;
constexpr int64_t kMaxRows = int64_t{1} << 32;
constexpr int kMaxDim = 1 << 24;
constexpr uint64_t kFilterBlockBytes = 32;

enum class ValueTag : uint8_t { kNone = 0, kBool = 1, kInt = 2, kDouble = 3, kString = 4 };

void PutValue(ByteWriter& out, const Value& value) {
  out.Put(static_cast<ValueTag>(value.index()));
  if (const auto* b = std::get_if<bool>(&value)) out.Put<uint8_t>(*b ? 1 : 0);
  if (const auto* i = std::get_if<int64_t>(&value)) out.Put(*i);
  if (const auto* d = std::get_if<double>(&value)) out.Put(*d);
  if (const auto* s = std::get_if<std::string>(&value)) out.PutBytes(*s);
}

Value GetValue(ByteReader& in) {
  switch (in.Get<ValueTag>()) {
    case ValueTag::kBool: return in.Get<uint8_t>() != 0;
    case ValueTag::kInt: return in.Get<int64_t>();
    case ValueTag::kDouble: return in.Get<double>();
    case ValueTag::kString: return std::string(in.GetBytes());
    default: return std::monostate{};
  }
}

void PutColumn(ByteWriter& out, const ColumnFile& column) {
  out.Put(column.part);
  out.Put(column.field.value);
  out.Put(column.type);
  out.Put(column.element_type);
  out.Put(column.dim);
  out.Put(column.object);
  out.Put(column.offset);
  out.Put(column.length);
  out.Put(column.data_length);
  out.Put(column.offsets_at);
  out.Put(column.valid_at);
  PutValue(out, column.min);
  PutValue(out, column.max);
  out.PutArray(std::span<const uint32_t>(column.checksums));
}

ColumnFile GetColumn(ByteReader& in) {
  ColumnFile column;
  column.part = in.Get<ColumnPart>();
  column.field.value = in.Get<int64_t>();
  column.type = in.Get<DataType>();
  column.element_type = in.Get<DataType>();
  column.dim = in.Get<int32_t>();
  column.object = in.Get<uint32_t>();
  column.offset = in.Get<uint64_t>();
  column.length = in.Get<uint64_t>();
  column.data_length = in.Get<uint64_t>();
  column.offsets_at = in.Get<uint64_t>();
  column.valid_at = in.Get<uint64_t>();
  column.min = GetValue(in);
  column.max = GetValue(in);
  column.checksums = in.GetArray<uint32_t>();
  return column;
}

// [at, at + bytes) lies in [0, length), aligned.
bool Fits(uint64_t at, uint64_t bytes, uint64_t length) {
  return at % kColumnAlignment == 0 && at <= length && bytes <= length - at;
}

bool FieldIsSound(const ColumnFile& column, const Manifest& manifest) {
  const auto rows = static_cast<uint64_t>(manifest.rows);
  const FieldSchema* field = manifest.schema->Find(column.field);
  if (field == nullptr || field->type != column.type || field->dim != column.dim) return false;
  if (field->element_type != column.element_type || column.dim < 0 || column.dim > kMaxDim) return false;
  const bool has_offsets = column.offsets_at != ColumnFile::kAbsent;
  if (IsFixedWidth(column.type)) {
    if (has_offsets || column.width() <= 0) return false;
    if (column.data_length != rows * static_cast<uint64_t>(column.width())) return false;
  } else if (!has_offsets || !Fits(column.offsets_at, (rows + 1) * sizeof(uint64_t), column.length)) {
    return false;
  }
  return column.valid_at == ColumnFile::kAbsent || Fits(column.valid_at, rows, column.length);
}

bool ColumnIsSound(const ColumnFile& column, const Manifest& manifest) {
  const auto rows = static_cast<uint64_t>(manifest.rows);
  if (column.object >= manifest.objects.size()) return false;
  if (!Fits(column.offset, column.length, manifest.objects[column.object].size_bytes)) return false;
  if (column.data_length > column.length) return false;
  const uint64_t blocks = (column.length + kChecksumBlockBytes - 1) / kChecksumBlockBytes;
  if (column.checksums.size() != blocks) return false;
  const bool is_plain = column.offsets_at == ColumnFile::kAbsent && column.valid_at == ColumnFile::kAbsent;
  if (column.part != ColumnPart::kField && !is_plain) return false;
  switch (column.part) {
    case ColumnPart::kField: return FieldIsSound(column, manifest);
    case ColumnPart::kTimestamps: return column.data_length == rows * sizeof(Timestamp);
    case ColumnPart::kKeyOrder: return column.data_length == rows * sizeof(uint32_t);
    case ColumnPart::kKeyFilter: return column.data_length % kFilterBlockBytes == 0;
  }
  return false;
}

bool NameIsSound(std::string_view name) {
  return !name.empty() && name.find('/') == std::string_view::npos && name.front() != '.';
}

bool IsSound(const Manifest& manifest) {
  if (manifest.rows < 0 || manifest.rows >= kMaxRows || manifest.min_ts > manifest.max_ts) return false;
  for (const Manifest::Object& object : manifest.objects) {
    if (!NameIsSound(object.name)) return false;
  }
  for (const ColumnFile& column : manifest.columns) {
    if (!ColumnIsSound(column, manifest)) return false;
  }
  if (manifest.Find(ColumnPart::kField, manifest.schema->PrimaryKey().id) == nullptr) return false;
  return manifest.min_ts == manifest.max_ts || manifest.Find(ColumnPart::kTimestamps) != nullptr;
}

bool HasOnePrimaryKey(const CollectionSchema& schema) {
  int keys = 0;
  for (const FieldSchema& field : schema.fields) {
    if (field.is_primary && (field.type == DataType::kInt64 || IsString(field.type))) ++keys;
  }
  return keys == 1;
}

}  // namespace

const ColumnFile* Manifest::Find(ColumnPart part, FieldId field) const {
  for (const ColumnFile& column : columns) {
    if (column.part == part && (part != ColumnPart::kField || column.field == field)) return &column;
  }
  return nullptr;
}

std::string EncodeManifest(const Manifest& manifest) {
  std::string out;
  ByteWriter writer(out);
  writer.Put(kMagic);
  writer.Put(kVersion);
  writer.Put(manifest.id.value);
  writer.Put(manifest.partition.value);
  writer.Put(manifest.rows);
  writer.Put(manifest.min_ts);
  writer.Put(manifest.max_ts);
  writer.Put(manifest.deletes_until);
  writer.Put<uint8_t>(manifest.repeats_keys ? 1 : 0);
  std::string schema;
  EncodeSchema(*manifest.schema, schema);
  writer.PutBytes(schema);
  writer.Put<uint32_t>(static_cast<uint32_t>(manifest.objects.size()));
  for (const Manifest::Object& object : manifest.objects) {
    writer.PutBytes(object.name);
    writer.Put(object.size_bytes);
  }
  writer.Put<uint32_t>(static_cast<uint32_t>(manifest.columns.size()));
  for (const ColumnFile& column : manifest.columns) PutColumn(writer, column);
  writer.Put(Crc32c(out));
  return out;
}

Result<Manifest> DecodeManifest(std::string_view bytes, std::string_view object) {
  const auto corrupted = [&](std::string_view why) {
    return Status(ErrorCode::kCorrupted, fmt::format("segment manifest {} is damaged: {}", object, why));
  };
  ByteReader header(bytes);
  if (header.Get<uint32_t>() != kMagic) return corrupted("it does not begin as one");
  if (const auto version = header.Get<uint32_t>(); header.ok() && version != kVersion) {
    return Status(ErrorCode::kUnimplemented, fmt::format("segment manifest {} has version {}, this build reads version {}",
                                                         object, version, kVersion));
  }
  if (bytes.size() < 3 * sizeof(uint32_t)) return corrupted("it is cut short");
  const std::string_view body = bytes.substr(0, bytes.size() - sizeof(uint32_t));
  ByteReader trailer(bytes.substr(body.size()));
  if (trailer.Get<uint32_t>() != Crc32c(body)) return corrupted("its checksum does not match");

  ByteReader reader(body.substr(2 * sizeof(uint32_t)));
  Manifest manifest;
  manifest.id.value = reader.Get<int64_t>();
  manifest.partition.value = reader.Get<int64_t>();
  manifest.rows = reader.Get<int64_t>();
  manifest.min_ts = reader.Get<Timestamp>();
  manifest.max_ts = reader.Get<Timestamp>();
  manifest.deletes_until = reader.Get<Timestamp>();
  manifest.repeats_keys = reader.Get<uint8_t>() != 0;
  const std::string_view schema_bytes = reader.GetBytes();
  if (!reader.ok()) return corrupted("it is cut short");
  size_t position = 0;
  auto schema = DecodeSchema(schema_bytes, position);
  if (!schema.ok()) return schema.status().WithContext(fmt::format("segment manifest {}", object));
  if (!HasOnePrimaryKey(*schema)) return corrupted("its schema has no primary key");
  manifest.schema = std::make_shared<const CollectionSchema>(*std::move(schema));
  const auto objects = reader.Get<uint32_t>();
  for (uint32_t i = 0; i < objects && reader.ok(); ++i) {
    Manifest::Object entry;
    entry.name = reader.GetBytes();
    entry.size_bytes = reader.Get<uint64_t>();
    manifest.objects.push_back(std::move(entry));
  }
  const auto columns = reader.Get<uint32_t>();
  for (uint32_t i = 0; i < columns && reader.ok(); ++i) manifest.columns.push_back(GetColumn(reader));
  if (!reader.ok() || !reader.done()) return corrupted("it is cut short or has bytes too many");
  if (!IsSound(manifest)) return corrupted("it contradicts itself");
  return manifest;
}

std::string Beside(std::string_view manifest_name, std::string_view object) {
  const size_t slash = manifest_name.rfind('/');
  const std::string_view folder = slash == std::string_view::npos ? "" : manifest_name.substr(0, slash + 1);
  return std::string(folder) + std::string(object);
}

}  // namespace saker
