// The catalog's encodings (docs/format/catalog.md). Every value is a version byte, then its fields in a fixed order,
// integers little endian, strings and lists with a u32 count before them. Decoders check every length against what is
// left, so arbitrary bytes give kCorrupted and cost no more memory than they are long.
#include <fmt/format.h>

#include "base/bytes.h"
#include "model/fields.h"

namespace saker {
namespace {

constexpr uint8_t kVersion = 1;

enum class ValueTag : uint8_t { kNone = 0, kBool = 1, kInt = 2, kDouble = 3, kString = 4 };

// One function per type says its fields once, for both directions: a Writer appends them, a Reader fills them.
class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}
  template <typename T>
    requires std::is_arithmetic_v<T> || std::is_enum_v<T>
  void operator()(const T& value) {
    out_.Put(value);
  }
  void operator()(const std::string& value) { out_.PutBytes(value); }
  template <typename Tag>
  void operator()(const Id<Tag>& id) {
    out_.Put(id.value);
  }
  void operator()(const std::pair<std::string, std::string>& pair) {
    (*this)(pair.first);
    (*this)(pair.second);
  }
  void operator()(const Value& value);
  void operator()(const std::optional<Value>& value) {
    (*this)(value.has_value());
    if (value) (*this)(*value);
  }
  template <typename T>
  void operator()(const std::vector<T>& list) {
    out_.Put<uint32_t>(static_cast<uint32_t>(list.size()));
    for (const T& item : list) Item(item);
  }
  template <typename T>
  void operator()(const std::set<T>& items) {
    out_.Put<uint32_t>(static_cast<uint32_t>(items.size()));
    for (const T& item : items) Item(item);
  }
  void Version() { out_.Put(kVersion); }

 private:
  template <typename T>
  void Item(const T& item) {
    if constexpr (requires { Fields(*this, item); }) {
      Fields(*this, item);
    } else {
      (*this)(item);
    }
  }
  ByteWriter out_;
};

void Writer::operator()(const Value& value) {
  out_.Put(static_cast<uint8_t>(value.index()));
  if (const auto* b = std::get_if<bool>(&value)) out_.Put(*b);
  if (const auto* i = std::get_if<int64_t>(&value)) out_.Put(*i);
  if (const auto* d = std::get_if<double>(&value)) out_.Put(*d);
  if (const auto* s = std::get_if<std::string>(&value)) out_.PutBytes(*s);
}

class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}
  template <typename T>
    requires std::is_arithmetic_v<T> || std::is_enum_v<T>
  void operator()(T& value) {
    value = in_.Get<T>();
  }
  void operator()(bool& value) {
    const auto byte = in_.Get<uint8_t>();
    if (byte > 1) bad_ = true;
    value = byte == 1;
  }
  void operator()(std::string& value) { value = in_.GetBytes(); }
  template <typename Tag>
  void operator()(Id<Tag>& id) {
    id.value = in_.Get<int64_t>();
  }
  void operator()(std::pair<std::string, std::string>& pair) {
    (*this)(pair.first);
    (*this)(pair.second);
  }
  void operator()(Value& value);
  void operator()(std::optional<Value>& value) {
    bool there = false;
    (*this)(there);
    value.reset();
    if (there) (*this)(value.emplace());
  }
  template <typename T>
  void operator()(std::vector<T>& list) {
    list.clear();
    for (uint32_t left = Count(); left > 0 && ok(); --left) Item(list.emplace_back());
  }
  template <typename T>
  void operator()(std::set<T>& items) {
    items.clear();
    for (uint32_t left = Count(); left > 0 && ok(); --left) {
      T item;
      Item(item);
      items.insert(item);
    }
  }
  // False if this build does not know the version; refused() then says which it was.
  bool Version() {
    version_ = in_.Get<uint8_t>();
    return in_.ok() && version_ == kVersion;
  }
  uint8_t version() const { return version_; }
  bool ok() const { return in_.ok() && !bad_; }
  bool done() const { return in_.done(); }
  size_t position() const { return in_.position(); }
  void Fail() { bad_ = true; }

 private:
  // Every item takes at least one byte, so a count beyond what is left is a lie.
  uint32_t Count() {
    const auto count = in_.Get<uint32_t>();
    if (count > in_.remaining()) bad_ = true;
    return ok() ? count : 0;
  }
  template <typename T>
  void Item(T& item) {
    if constexpr (requires { Fields(*this, item); }) {
      Fields(*this, item);
    } else {
      (*this)(item);
    }
  }
  ByteReader in_;
  bool bad_ = false;
  uint8_t version_ = 0;
};

void Reader::operator()(Value& value) {
  switch (in_.Get<ValueTag>()) {
    case ValueTag::kNone: value = std::monostate{}; return;
    case ValueTag::kBool: value = in_.Get<uint8_t>() != 0; return;
    case ValueTag::kInt: value = in_.Get<int64_t>(); return;
    case ValueTag::kDouble: value = in_.Get<double>(); return;
    case ValueTag::kString: value = std::string(in_.GetBytes()); return;
  }
  bad_ = true;
}

template <typename Codec, Is<LoadConfig> T>
void Fields(Codec& codec, T& l) {
  codec(l.loaded), codec(l.whole), codec(l.partitions), codec(l.replicas), codec(l.resource_groups), codec(l.fields);
}
// All but the schema, which goes before.
template <typename Codec, Is<Collection> T>
void Fields(Codec& codec, T& c) {
  codec(c.id), codec(c.database), codec(c.name), codec(c.version), codec(c.created), codec(c.updated);
  codec(c.consistency), codec(c.num_partitions_asked), codec(c.shards), codec(c.partitions), codec(c.aliases);
  codec(c.indexes), codec(c.properties), Fields(codec, c.load), codec(c.dropped);
}
Status WrongVersion(std::string_view what, int version) {
  return {ErrorCode::kCorrupted,
          fmt::format("{} has format version {}, this build reads up to {}: use the build that wrote it or a later one",
                      what, version, kVersion)};
}
Status Damaged(std::string_view what, size_t at, size_t size) {
  return {ErrorCode::kCorrupted, fmt::format("{} is damaged: it does not decode at byte {} of {}", what, at, size)};
}

Status ReadSchema(Reader& reader, CollectionSchema& schema, size_t size) {
  if (!reader.Version()) {
    return reader.ok() ? WrongVersion("schema", reader.version()) : Damaged("schema", reader.position(), size);
  }
  Fields(reader, schema);
  if (!reader.ok() || !IsSound(schema)) return Damaged("schema", reader.position(), size);
  return {};
}

template <typename T>
std::string EncodeFields(const T& value) {
  std::string out;
  Writer writer(out);
  writer.Version();
  Fields(writer, value);
  return out;
}

template <typename T>
Result<T> DecodeFields(std::string_view what, std::string_view bytes) {
  Reader reader(bytes);
  if (!reader.Version()) {
    return reader.ok() ? WrongVersion(what, reader.version()) : Damaged(what, reader.position(), bytes.size());
  }
  T value;
  Fields(reader, value);
  if (!reader.ok() || !reader.done()) return Damaged(what, reader.position(), bytes.size());
  return value;
}

}  // namespace

bool IsSound(const FieldSchema& field) {
  if (field.dim < 0 || field.dim > (1 << 24)) return false;
  return Name(field.type) != "Unknown" && Name(field.element_type) != "Unknown";
}

bool IsSound(const CollectionSchema& schema) {
  int primary_keys = 0;
  for (const FieldSchema& field : schema.fields) {
    primary_keys += field.is_primary ? 1 : 0;
    if (!IsSound(field)) return false;
  }
  return primary_keys == 1;
}

void EncodeSchema(const CollectionSchema& schema, std::string& out) {
  Writer writer(out);
  writer.Version();
  Fields(writer, schema);
}

Result<CollectionSchema> DecodeSchema(std::string_view bytes, size_t& position) {
  if (position > bytes.size()) return Damaged("schema", position, bytes.size());
  Reader reader(bytes.substr(position));
  CollectionSchema schema;
  RETURN_IF_ERROR(ReadSchema(reader, schema, bytes.size()));
  position += reader.position();
  return schema;
}

std::string Encode(const Collection& collection) {
  std::string out;
  Writer writer(out);
  writer.Version();
  EncodeSchema(*collection.schema, out);
  Fields(writer, collection);
  return out;
}

Result<Collection> DecodeCollection(std::string_view bytes) {
  Reader reader(bytes);
  if (!reader.Version()) {
    return reader.ok() ? WrongVersion("collection", reader.version()) : Damaged("collection", 0, bytes.size());
  }
  Collection collection;
  auto schema = std::make_shared<CollectionSchema>();
  RETURN_IF_ERROR(ReadSchema(reader, *schema, bytes.size()));
  collection.schema = std::move(schema);
  Fields(reader, collection);
  if (!reader.ok() || !reader.done()) return Damaged("collection", reader.position(), bytes.size());
  return collection;
}

std::string Encode(const SegmentMeta& segment) { return EncodeFields(segment); }
std::string Encode(const Database& database) { return EncodeFields(database); }
std::string Encode(const User& user) { return EncodeFields(user); }
std::string Encode(const Role& role) { return EncodeFields(role); }

Result<SegmentMeta> DecodeSegment(std::string_view bytes) { return DecodeFields<SegmentMeta>("segment", bytes); }
Result<Database> DecodeDatabase(std::string_view bytes) { return DecodeFields<Database>("database", bytes); }
Result<User> DecodeUser(std::string_view bytes) { return DecodeFields<User>("user", bytes); }
Result<Role> DecodeRole(std::string_view bytes) { return DecodeFields<Role>("role", bytes); }

}  // namespace saker
