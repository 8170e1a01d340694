// The schema of a collection and everything else the catalog knows of it.
#pragma once

#include <map>
#include <memory>
#include <set>

#include "model/types.h"

namespace saker {

// Field ids 0 and 1 are the hidden RowID and Timestamp; users' fields count from 100.
inline constexpr int64_t kFirstUserField = 100;
inline constexpr std::string_view kDynamicFieldName = "$meta";
inline constexpr std::string_view kDefaultPartition = "_default";
inline constexpr std::string_view kDefaultDatabase = "default";

struct FieldSchema {
  FieldId id;
  std::string name;
  std::string description;
  DataType type = DataType::kNone;
  DataType element_type = DataType::kNone;  // of an Array
  bool is_primary = false;
  bool auto_id = false;
  bool is_partition_key = false;
  bool is_clustering_key = false;
  bool is_dynamic = false;  // the hidden JSON field $meta
  bool nullable = false;
  bool is_function_output = false;
  std::optional<Value> default_value;
  KeyValues type_params;   // as given: dim, max_length, max_capacity, mmap.enabled, …
  KeyValues index_params;
  int dim = 0;             // parsed from type_params
  int max_length = 0;
  int max_capacity = 0;
};

struct CollectionSchema {
  std::string name;
  std::string description;
  bool auto_id = false;
  bool enable_dynamic_field = false;
  std::vector<FieldSchema> fields;  // users' fields and $meta; not RowID and Timestamp
  KeyValues properties;

  const FieldSchema* Find(std::string_view field_name) const;
  const FieldSchema* Find(FieldId id) const;
  const FieldSchema& PrimaryKey() const;           // every schema has one
  const FieldSchema* PartitionKey() const;         // null: none
  const FieldSchema* DynamicField() const;         // null: none
  std::vector<const FieldSchema*> VectorFields() const;
};
using SchemaPtr = std::shared_ptr<const CollectionSchema>;

struct Partition {
  PartitionId id;
  std::string name;
  Timestamp created = 0;
};

struct IndexMeta {
  IndexId id;
  FieldId field;
  std::string name;
  std::string type;      // "HNSW", "AUTOINDEX", "STL_SORT", … as asked for
  Metric metric = Metric::kNone;
  KeyValues params;      // as given, in order, index_type and metric_type included
  KeyValues type_params;
  Timestamp created = 0;
  bool dropped = false;
};

enum class ConsistencyLevel : int32_t { kStrong = 0, kSession = 1, kBounded = 2, kEventually = 3, kCustomized = 4 };

// What querycoord is to make true of a collection.
struct LoadConfig {
  bool loaded = false;
  bool whole = false;                  // LoadCollection, not LoadPartitions: new partitions are loaded too
  std::set<PartitionId> partitions;    // when not whole
  int32_t replicas = 1;
  std::vector<std::string> resource_groups;
  std::vector<FieldId> fields;         // empty: all
};

// One collection: one key in the meta store, with its partitions, aliases, indexes and load configuration.
struct Collection {
  CollectionId id;
  DatabaseId database;
  std::string name;
  SchemaPtr schema;
  int64_t version = 0;                 // rises with every change of this collection; requests carry it
  Timestamp created = 0;
  Timestamp updated = 0;               // of the last schema change; clients send it back as schema_timestamp
  ConsistencyLevel consistency = ConsistencyLevel::kBounded;
  int32_t num_partitions_asked = 0;    // with a partition key
  std::vector<ChannelId> shards;       // physical channel of each shard
  std::vector<Partition> partitions;
  std::vector<std::string> aliases;
  std::vector<IndexMeta> indexes;
  KeyValues properties;
  LoadConfig load;
  bool dropped = false;                // tombstone: only this means dropped, never a missing key

  int64_t TtlSeconds() const;  // 0: rows live forever
  const Partition* FindPartition(std::string_view partition_name) const;
  const Partition* FindPartition(PartitionId id) const;
  const IndexMeta* FindIndex(std::string_view index_name) const;
  const IndexMeta* IndexOn(FieldId field) const;  // null: none
  bool IsLoaded(PartitionId partition) const;
  // "by-dev-rootcoord-dml_3_4711v0": clients show and parse these.
  std::string VirtualChannel(int shard) const;
  static std::string PhysicalChannel(ChannelId channel);
};
using CollectionPtr = std::shared_ptr<const Collection>;

struct Database {
  DatabaseId id;
  std::string name;
  KeyValues properties;
  Timestamp created = 0;
};

// ---- segments

enum class SegmentState : int32_t { kFlushed = 1, kDropped = 2 };
enum class SegmentKind : int32_t { kRows = 0, kDeletes = 1 };

// An index built over one segment.
struct SegmentIndex {
  IndexId index;
  std::string object;     // index file in the object store; empty: the segment lacks the field, there is nothing to index
  int64_t size_bytes = 0;
  int64_t rows = 0;
};

// One immutable segment: one key in the meta store. Its files are listed in its manifest in the object store.
struct SegmentMeta {
  SegmentId id;
  CollectionId collection;
  PartitionId partition;               // 0 for a kDeletes segment, which covers all partitions of its shard
  ChannelId channel = 0;
  SegmentKind kind = SegmentKind::kRows;
  SegmentState state = SegmentState::kFlushed;
  int64_t rows = 0;                    // of deletes, for kDeletes
  int64_t deleted_rows = 0;            // left out when it was flushed: Milvus counts them until a compaction
  int64_t size_bytes = 0;
  Timestamp min_ts = 0;
  Timestamp max_ts = 0;
  Timestamp deletes_until = 0;         // deletes of this shard up to here are already in its files
  Timestamp dropped_until = 0;         // the last delete whose row was left out: a read before it would miss the row
  int64_t log_end = 0;                 // log offset after its last record: the tombstone may go once the checkpoint passed
  Epoch epoch = 0;                     // of the owner, or the job, that wrote it
  std::string manifest;                // object name
  std::vector<SegmentIndex> indexes;
  std::vector<SegmentId> compacted_from;

  // Its rows are part of the collection: neither a file of deletes nor one that ended.
  bool IsLiveRows() const { return kind == SegmentKind::kRows && state == SegmentState::kFlushed; }
  // It ended, and no other segment has rows of it, or says that there were any: they had all been deleted.
  bool LeftNothing() const { return kind == SegmentKind::kRows && state == SegmentState::kDropped && rows == 0; }
  const SegmentIndex* FindIndex(IndexId index) const;
};

// ---- users

struct User {
  std::string name;
  std::string password_hash;  // bcrypt
  std::vector<std::string> roles;
};
struct Grant {
  std::string role;
  std::string object_type;  // Collection, Global, User
  std::string object;       // name or *
  std::string database;     // name or *
  std::string privilege;    // as the client says it: Search, Insert, *, …
  std::string grantor;
};
struct Role {
  std::string name;
  std::vector<Grant> grants;
};

// Encoding of catalog values for keys and objects (docs/format/catalog.md). Version byte first; unknown later fields
// are refused with the version in the message.
std::string Encode(const Collection& collection);
std::string Encode(const SegmentMeta& segment);
std::string Encode(const Database& database);
std::string Encode(const User& user);
std::string Encode(const Role& role);
Result<Collection> DecodeCollection(std::string_view bytes);
Result<SegmentMeta> DecodeSegment(std::string_view bytes);
Result<Database> DecodeDatabase(std::string_view bytes);
Result<User> DecodeUser(std::string_view bytes);
Result<Role> DecodeRole(std::string_view bytes);
void EncodeSchema(const CollectionSchema& schema, std::string& out);  // also in segment manifests
Result<CollectionSchema> DecodeSchema(std::string_view bytes, size_t& position);

}  // namespace saker
