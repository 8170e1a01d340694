// For tests of segments and of what reads them: a store in memory, a schema with a column of each shape, and a naive
// model of rows with all their versions.
#pragma once

#include <algorithm>
#include <map>
#include <random>
#include <string>

#include "segment/segment.h"

namespace saker {

// Objects in memory; `objects` may be tampered with. What is mapped keeps the bytes it had.
class MemoryObjects final : public ObjectStore {
 public:
  Status Put(const std::string& name, std::string_view bytes) override {
    objects[name] = std::string(bytes);
    return {};
  }
  Status PutIfAbsent(const std::string& name, std::string_view bytes) override {
    return objects.contains(name) ? Status(ErrorCode::kAlreadyExists, name) : Put(name, bytes);
  }
  Result<std::unique_ptr<ObjectWriter>> Create(const std::string& name) override {
    return std::unique_ptr<ObjectWriter>(new Writer(this, name));
  }
  Result<std::string> Get(const std::string& name) override {
    const auto found = objects.find(name);
    if (found == objects.end()) return Status(ErrorCode::kIoKeyNotFound, name);
    return found->second;
  }
  Result<std::string> GetRange(const std::string& name, int64_t offset, int64_t length) override {
    ASSIGN_OR_RETURN(const std::string bytes, Get(name));
    return bytes.substr(std::min<size_t>(offset, bytes.size()), static_cast<size_t>(length));
  }
  Result<std::shared_ptr<const MappedObject>> Map(const std::string& name) override {
    ASSIGN_OR_RETURN(std::string bytes, Get(name));
    return std::shared_ptr<const MappedObject>(new Mapped(name, std::move(bytes)));
  }
  Result<std::vector<ObjectInfo>> List(const std::string& prefix) override {
    std::vector<ObjectInfo> out;
    for (const auto& [name, bytes] : objects) {
      if (name.starts_with(prefix)) out.push_back({name, static_cast<int64_t>(bytes.size()), 0});
    }
    return out;
  }
  Status Delete(const std::string& name) override {
    objects.erase(name);
    return {};
  }

  std::map<std::string, std::string> objects;

 private:
  class Mapped final : public MappedObject {
   public:
    Mapped(std::string name, const std::string& bytes)
        : name_(std::move(name)), words_(bytes.size() / 8 + 1), size_(bytes.size()) {
      std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(words_.data()));
    }
    std::string_view bytes() const override { return {reinterpret_cast<const char*>(words_.data()), size_}; }
    const std::string& name() const override { return name_; }

   private:
    std::string name_;
    std::vector<uint64_t> words_;  // aligned, as a mapping is
    size_t size_;
  };
  class Writer final : public ObjectWriter {
   public:
    Writer(MemoryObjects* store, std::string name) : store_(store), name_(std::move(name)) {}
    Status Append(std::string_view bytes) override {
      bytes_.append(bytes);
      return {};
    }
    int64_t size() const override { return static_cast<int64_t>(bytes_.size()); }
    Status Finish() override { return store_->Put(name_, bytes_); }

   private:
    MemoryObjects* store_;
    std::string name_;
    std::string bytes_;
  };
};

inline constexpr FieldId kKeyField{100};
inline constexpr FieldId kVectorField{101};
inline constexpr FieldId kNumberField{102};  // Int32, nullable
inline constexpr FieldId kTextField{103};    // VarChar
inline constexpr FieldId kLaterField{104};   // Int64 with a default; added later
inline constexpr int kModelDim = 8;

inline SchemaPtr ModelSchema(bool string_keys, bool with_later_field = false, bool nullable_vectors = false) {
  auto schema = std::make_shared<CollectionSchema>();
  schema->name = "model";
  const auto add = [&](FieldId id, std::string name, DataType type) -> FieldSchema& {
    FieldSchema& field = schema->fields.emplace_back();
    field.id = id;
    field.name = std::move(name);
    field.type = type;
    return field;
  };
  FieldSchema& key = add(kKeyField, "key", string_keys ? DataType::kVarChar : DataType::kInt64);
  key.is_primary = true;
  key.max_length = 64;
  FieldSchema& vector = add(kVectorField, "vector", DataType::kFloatVector);
  vector.dim = kModelDim;
  vector.nullable = nullable_vectors;
  add(kNumberField, "number", DataType::kInt32).nullable = true;
  add(kTextField, "text", DataType::kVarChar).max_length = 65535;
  if (with_later_field) add(kLaterField, "later", DataType::kInt64).default_value = Value(int64_t{7});
  return schema;
}

// One version of a row, and when it was there.
struct ModelRow {
  int64_t key = 0;
  std::vector<float> vector;  // empty: null
  std::optional<int32_t> number;
  std::string text;
  Timestamp inserted = 0;
  Timestamp deleted = 0;      // 0: not

  bool VisibleAt(Timestamp t, Timestamp expired_before) const {
    return inserted <= t && inserted >= expired_before && (deleted == 0 || deleted > t);
  }
};
using ModelRows = std::vector<ModelRow>;

inline std::string KeyText(int64_t key) { return "key-" + std::to_string(key); }

inline PrimaryKeys KeysOf(const std::vector<int64_t>& keys, bool string_keys) {
  PrimaryKeys out;
  out.is_string = string_keys;
  for (const int64_t key : keys) {
    string_keys ? out.strings.push_back(KeyText(key)) : out.ints.push_back(key);
  }
  return out;
}

inline RowBatch BatchOf(const CollectionSchema& schema, std::span<const ModelRow> rows) {
  RowBatch batch;
  batch.rows = static_cast<int64_t>(rows.size());
  for (const FieldSchema& field : schema.fields) {
    if (field.id == kLaterField) continue;
    Column column(field);
    for (const ModelRow& row : rows) {
      if (field.id == kKeyField) {
        IsString(field.type) ? column.AppendBytes(KeyText(row.key)) : column.Append(row.key);
      } else if (field.id == kVectorField) {
        row.vector.empty() ? column.AppendNull() : column.AppendFixed(row.vector.data());
      } else if (field.id == kNumberField) {
        row.number ? column.Append(*row.number) : column.AppendNull();
      } else {
        column.AppendBytes(row.text);
      }
    }
    batch.columns.push_back(std::move(column));
  }
  return batch;
}

// What happens to one partition of a shard, in random order: applied to a growing segment and to the model alike.
class RandomHistory {
 public:
  RandomHistory(uint32_t seed, SchemaPtr schema, int64_t first_id = 1)
      : random(seed), schema(schema), string_keys(IsString(schema->PrimaryKey().type)),
        segment(NewGrowingSegment(SegmentId(first_id), PartitionId(5), schema)) {}

  ModelRow NewRow(int64_t key) {
    ModelRow row;
    row.key = key;
    if (!schema->Find(kVectorField)->nullable || random() % 8 != 0) {
      for (int i = 0; i < kModelDim; ++i) row.vector.push_back(static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 100);
    }
    if (random() % 4 != 0) row.number = static_cast<int32_t>(random() % 20);
    row.text = std::string(random() % 40 == 0 ? random() % 5000 : random() % 30, static_cast<char>('a' + random() % 26));
    return row;
  }
  // Upserts have distinct keys, as the proxy sees to; inserts may repeat keys if told so.
  void Insert(int64_t count, int64_t key_space, bool upsert) {
    ts += 1 + random() % 3;
    ModelRows rows;
    std::vector<int64_t> keys;
    for (int64_t i = 0; i < count; ++i) {
      const auto key = static_cast<int64_t>(random() % key_space);
      if (std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
      keys.push_back(key);
      rows.push_back(NewRow(key));
      rows.back().inserted = ts;
    }
    if (upsert) Apply({ts, PartitionId(), KeysOf(keys, string_keys)}, keys);
    segment->Append(BatchOf(*schema, rows), ts);
    model.insert(model.end(), rows.begin(), rows.end());
  }
  void Delete(int64_t count, int64_t key_space, PartitionId partition = PartitionId()) {
    ts += 1 + random() % 3;
    std::vector<int64_t> keys;
    for (int64_t i = 0; i < count; ++i) keys.push_back(static_cast<int64_t>(random() % key_space));
    Apply({ts, partition, KeysOf(keys, string_keys)}, keys);
  }
  void Step(int64_t key_space) {
    switch (random() % 5) {
      case 0: Insert(1 + random() % 50, key_space, false); break;
      case 1: Delete(1 + random() % 10, key_space, PartitionId(random() % 2 == 0 ? 5 : 6)); break;
      default: Insert(1 + random() % 50, key_space, true);
    }
  }

  std::mt19937 random;
  SchemaPtr schema;
  bool string_keys;
  std::shared_ptr<GrowingSegment> segment;
  ModelRows model;
  std::vector<DeleteBatch> deletes;
  Timestamp ts = 100;

 private:
  void Apply(DeleteBatch batch, const std::vector<int64_t>& keys) {
    segment->Delete(batch);
    if (!batch.partition || batch.partition == segment->partition()) {
      for (ModelRow& row : model) {
        const bool hit = row.deleted == 0 && row.inserted < batch.ts;
        if (hit && std::find(keys.begin(), keys.end(), row.key) != keys.end()) row.deleted = batch.ts;
      }
    }
    deletes.push_back(std::move(batch));
  }
};

}  // namespace saker
