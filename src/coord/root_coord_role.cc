// Life cycle of databases, collections, partitions and aliases.
#include "coord/root_coord_role.h"

#include <algorithm>

#include "base/log.h"
#include "meta/keys.h"

namespace saker {
namespace {

constexpr int kPartitionsWithKey = 16;

std::string DatabaseShown(const std::string& name) { return name.empty() ? std::string(kDefaultDatabase) : name; }

bool SameSchema(const CollectionSchema& a, const CollectionSchema& b) {
  if (a.fields.size() != b.fields.size() || a.enable_dynamic_field != b.enable_dynamic_field) return false;
  for (size_t i = 0; i < a.fields.size(); ++i) {
    const FieldSchema& x = a.fields[i];
    const FieldSchema& y = b.fields[i];
    if (x.name != y.name || x.type != y.type || x.element_type != y.element_type || x.is_primary != y.is_primary ||
        x.auto_id != y.auto_id || x.is_partition_key != y.is_partition_key || x.type_params != y.type_params ||
        x.nullable != y.nullable || x.description != y.description) {
      return false;
    }
  }
  return a.description == b.description;
}

void Apply(KeyValues& pairs, const KeyValues& set, const std::vector<std::string>& erase) {
  for (const auto& [key, value] : set) Assign(pairs, key, value);
  for (const auto& key : erase) Erase(pairs, key);
}

}  // namespace

RootCoordRole::RootCoordRole(CoordinatorDeps deps, RootCoordSettings settings)
    : Coordinator(std::move(deps)), settings_(std::move(settings)) {}

Status RootCoordRole::Start() {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(deps_.writer->Start());
  if (deps_.catalog->FindDatabase(kDefaultDatabase) != nullptr) return {};
  // Its id comes from where all ids come from, so that no later database gets the same.
  ASSIGN_OR_RETURN(const int64_t id, deps_.next_ids(1));
  Database database;
  database.id = DatabaseId(id);
  database.name = kDefaultDatabase;
  database.created = MakeTimestamp(WallMs());
  const User root{"root", settings_.root_password_hash, {}};
  Role open{"public", {}};
  for (const char* privilege : {"DescribeCollection", "IndexDetail"}) {
    open.grants.push_back({"public", "Collection", "*", "*", privilege, "root"});
  }
  const Role admin{"admin", {}};
  return Change({Compare::Absent(DatabaseKey(database.id))},
                {MetaOp::Put(DatabaseKey(database.id), Encode(database)), MetaOp::Put(UserKey(root.name), Encode(root)),
                 MetaOp::Put(RoleKey(admin.name), Encode(admin)), MetaOp::Put(RoleKey(open.name), Encode(open))})
      .status();
}

Result<Revision> RootCoordRole::Change(std::vector<Compare> compares, std::vector<MetaOp> ops) {
  return Seen(deps_.writer->Commit(std::move(compares), std::move(ops)));
}

Result<Revision> RootCoordRole::Update(CollectionId id, const CatalogWriter::Change& change) {
  return Seen(deps_.writer->Update(id, change));
}

Result<DatabaseId> RootCoordRole::DatabaseOf(const std::string& name) const {
  const auto database = deps_.catalog->FindDatabase(name);
  if (database == nullptr) return Status(ErrorCode::kDatabaseNotFound, "database not found[database=" + name + "]");
  return database->id;
}

// An owner that just died is replaced within seconds: meanwhile it can't be reached.
Status RootCoordRole::Barrier(const Collection& collection, const std::vector<PartitionId>& dropped_partitions) {
  return UntilServed([&]() -> Status {
    ASSIGN_OR_RETURN(const auto owners, Owners(collection.shards));
    for (const auto& [owner, channels] : owners) {
      RETURN_IF_ERROR(owner->BarrierCollection(collection.id, channels, collection.version, collection.dropped, dropped_partitions));
    }
    return {};
  });
}

Status RootCoordRole::Confirm(const Collection& collection, const std::vector<PartitionId>& dropped_partitions) {
  Unconfirmed& change = unconfirmed_[collection.id];
  change.collection = collection;
  change.dropped_partitions.insert(change.dropped_partitions.end(), dropped_partitions.begin(), dropped_partitions.end());
  return ConfirmAgain([&](const Collection& c) { return c.id == collection.id; });
}

Status RootCoordRole::ConfirmAgain(const std::function<bool(const Collection&)>& meant) {
  for (auto it = unconfirmed_.begin(); it != unconfirmed_.end();) {
    const auto& [collection, dropped_partitions] = it->second;
    if (!meant(collection)) {
      ++it;
      continue;
    }
    if (const Status status = Barrier(collection, dropped_partitions); !status.ok()) {
      LogWarn("collection {}: a change is made, but its owners haven't confirmed it: {}", collection.name, status.ToString());
      return {ErrorCode::kServiceUnavailable,
              "the change is made, but not every datanode that writes the collection could be told, so that rows may still be "
              "written as if it were not; retry: " + status.message()};
    }
    it = unconfirmed_.erase(it);
  }
  return {};
}

Result<Revision> RootCoordRole::UpdateConfirmed(CollectionId id, const CatalogWriter::Change& change,
                                                const std::vector<PartitionId>& dropped_partitions) {
  Collection after;
  ASSIGN_OR_RETURN(const Revision revision, Seen(deps_.writer->Update(id, change, &after)));
  RETURN_IF_ERROR(Confirm(after, dropped_partitions));
  return revision;
}

// ---- databases

Result<Revision> RootCoordRole::CreateDatabase(const std::string& name, const KeyValues& properties) {
  MutexLock lock(mutex_);
  if (deps_.catalog->FindDatabase(name) != nullptr) {
    return Status(ErrorCode::kUnexpected, "database already exist: " + name);
  }
  if (static_cast<int>(deps_.catalog->Databases().size()) >= settings_.max_databases) {
    return Status(ErrorCode::kDatabaseNumLimit,
                  "exceeded the limit number of database[limit=" + std::to_string(settings_.max_databases) + "]");
  }
  ASSIGN_OR_RETURN(const int64_t id, deps_.next_ids(1));
  Database database{DatabaseId(id), name, properties, MakeTimestamp(WallMs())};
  return Change({Compare::Absent(DatabaseKey(database.id))}, {MetaOp::Put(DatabaseKey(database.id), Encode(database))});
}

Result<Revision> RootCoordRole::DropDatabase(const std::string& name) {
  MutexLock lock(mutex_);
  if (name == kDefaultDatabase) return Status(ErrorCode::kUnexpected, "can not drop default database");
  ASSIGN_OR_RETURN(const DatabaseId id, DatabaseOf(name));
  if (!deps_.catalog->Collections(name).empty()) {
    return Status(ErrorCode::kUnexpected, "database:" + name + " not empty, must drop all collections before drop database");
  }
  return Change({}, {MetaOp::Delete(DatabaseKey(id))});
}

Result<Revision> RootCoordRole::AlterDatabase(const std::string& name, const KeyValues& set,
                                              const std::vector<std::string>& erase) {
  MutexLock lock(mutex_);
  const auto database = deps_.catalog->FindDatabase(name);
  if (database == nullptr) return Status(ErrorCode::kDatabaseNotFound, "database not found[database=" + name + "]");
  Database changed = *database;
  Apply(changed.properties, set, erase);
  return Change({}, {MetaOp::Put(DatabaseKey(changed.id), Encode(changed))});
}

// ---- collections

Result<Collection> RootCoordRole::Build(const CollectionDraft& draft, DatabaseId database) {
  Collection collection;
  CollectionSchema schema = draft.schema;
  const bool has_dynamic = std::any_of(schema.fields.begin(), schema.fields.end(), [](const auto& f) { return f.is_dynamic; });
  if (schema.enable_dynamic_field && !has_dynamic) {
    FieldSchema dynamic;
    dynamic.name = kDynamicFieldName;
    dynamic.description = "dynamic schema";
    dynamic.type = DataType::kJson;
    dynamic.is_dynamic = true;
    schema.fields.push_back(std::move(dynamic));
  }
  for (size_t i = 0; i < schema.fields.size(); ++i) schema.fields[i].id = FieldId(kFirstUserField + static_cast<int64_t>(i));
  const bool keyed = schema.PartitionKey() != nullptr;
  const int partitions = keyed ? (draft.partitions > 0 ? draft.partitions : kPartitionsWithKey) : 1;
  ASSIGN_OR_RETURN(int64_t id, deps_.next_ids(1 + partitions));
  collection.id = CollectionId(id++);
  collection.database = database;
  collection.name = schema.name;
  collection.version = 1;
  collection.created = collection.updated = MakeTimestamp(WallMs());
  collection.consistency = draft.consistency;
  collection.num_partitions_asked = keyed ? partitions : draft.partitions;
  collection.properties = draft.properties;
  // Neighbouring ids start on neighbouring channels, so that collections spread.
  for (int shard = 0; shard < std::max(1, draft.shards); ++shard) {
    collection.shards.push_back(static_cast<ChannelId>((collection.id.value + shard) % settings_.channels));
  }
  for (int i = 0; i < partitions; ++i) {
    const std::string name = keyed ? std::string(kDefaultPartition) + "_" + std::to_string(i) : std::string(kDefaultPartition);
    collection.partitions.push_back({PartitionId(id++), name, collection.created});
  }
  collection.schema = std::make_shared<const CollectionSchema>(std::move(schema));
  return collection;
}

Result<Revision> RootCoordRole::CreateCollection(const CollectionDraft& draft) {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const DatabaseId database, DatabaseOf(draft.database));
  const std::string& name = draft.schema.name;
  ASSIGN_OR_RETURN(Collection collection, Build(draft, database));
  if (auto existing = deps_.catalog->FindCollection(draft.database, name); existing.ok()) {
    const Collection& old = **existing;
    if (old.name != name) {
      return Status(ErrorCode::kUnexpected, "collection name [" + name + "] conflicts with an existing alias, please choose a unique name");
    }
    if (SameSchema(*old.schema, *collection.schema) && old.shards.size() == collection.shards.size()) {
      return SoAlready();
    }
    return Status(ErrorCode::kUnexpected, "create duplicate collection with different parameters, collection: " + name);
  }
  if (static_cast<int>(deps_.catalog->Collections("").size()) >= settings_.max_collections) {
    return Status(ErrorCode::kCollectionNumLimit,
                  "exceeded the limit number of collections[limit=" + std::to_string(settings_.max_collections) + "]");
  }
  auto revision = Change({Compare::Absent(CollectionKey(collection.id))},
                         {MetaOp::Put(CollectionKey(collection.id), Encode(collection))});
  if (revision.ok()) LogInfo("collection {} created, id {}", name, collection.id.value);
  return revision;
}

Result<Revision> RootCoordRole::DropCollection(const std::string& database, const std::string& name) {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const DatabaseId in, DatabaseOf(database));
  auto found = deps_.catalog->FindCollection(database, name);
  if (!found.ok()) {  // dropping what isn't there is fine
    RETURN_IF_ERROR(ConfirmAgain([&](const Collection& c) { return c.dropped && c.name == name && c.database == in; }));
    return SoAlready();
  }
  if ((*found)->name != name) {
    return Status(ErrorCode::kUnexpected, "cannot drop the collection via alias = " + name);
  }
  LogInfo("collection {} is dropped, id {}", name, (*found)->id.value);
  return UpdateConfirmed((*found)->id, [](Collection& collection) {
    collection.dropped = true;
    collection.aliases.clear();
    collection.load = {};
    collection.updated = MakeTimestamp(WallMs());
    return Status();
  });
}

Result<Revision> RootCoordRole::RenameCollection(const std::string& database, const std::string& from,
                                                 const std::string& to_database, const std::string& to) {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const DatabaseId target, DatabaseOf(to_database.empty() ? database : to_database));
  ASSIGN_OR_RETURN(const CollectionPtr collection, deps_.catalog->FindCollection(database, from));
  if (collection->name != from) {
    return Status(ErrorCode::kUnexpected, "unsupported use an alias to rename collection, alias:" + from);
  }
  if (deps_.catalog->FindCollection(to_database.empty() ? database : to_database, to).ok()) {
    return Status(ErrorCode::kUnexpected, "duplicated new collection name " + DatabaseShown(to_database.empty() ? database : to_database) +
                                              ":" + to + " with other collection name or alias");
  }
  if (target != collection->database && !collection->aliases.empty()) {
    return Status(ErrorCode::kUnexpected, "fail to rename db name, must drop all aliases of this collection before rename");
  }
  return UpdateConfirmed(collection->id, [&](Collection& c) {
    c.name = to;
    c.database = target;
    CollectionSchema schema = *c.schema;
    schema.name = to;
    c.schema = std::make_shared<const CollectionSchema>(std::move(schema));
    return Status();
  });
}

Result<Revision> RootCoordRole::AlterCollection(CollectionId id, const KeyValues& set, const std::vector<std::string>& erase) {
  MutexLock lock(mutex_);
  return Update(id, [&](Collection& collection) {
    Apply(collection.properties, set, erase);
    return Status();
  });
}

Result<Revision> RootCoordRole::AlterField(CollectionId id, const std::string& field, const KeyValues& set,
                                           const std::vector<std::string>& erase) {
  MutexLock lock(mutex_);
  return Update(id, [&](Collection& collection) {
    CollectionSchema schema = *collection.schema;
    const auto it = std::find_if(schema.fields.begin(), schema.fields.end(), [&](const auto& f) { return f.name == field; });
    if (it == schema.fields.end()) return Status(ErrorCode::kFieldNotFound, "field not found[field=" + field + "]");
    Apply(it->type_params, set, erase);
    if (const std::string* length = Find(it->type_params, "max_length")) it->max_length = std::atoi(length->c_str());
    if (const std::string* capacity = Find(it->type_params, "max_capacity")) it->max_capacity = std::atoi(capacity->c_str());
    collection.schema = std::make_shared<const CollectionSchema>(std::move(schema));
    collection.updated = MakeTimestamp(WallMs());
    return Status();
  });
}

Result<Revision> RootCoordRole::AddField(CollectionId id, const FieldSchema& field) {
  MutexLock lock(mutex_);
  return UpdateConfirmed(id, [&](Collection& collection) {
    CollectionSchema schema = *collection.schema;
    if (schema.Find(field.name) != nullptr) {
      return Status(ErrorCode::kParameterInvalid, "duplicated field name: " + field.name);
    }
    FieldSchema added = field;
    int64_t next = kFirstUserField;
    for (const auto& f : schema.fields) next = std::max(next, f.id.value + 1);
    added.id = FieldId(next);
    schema.fields.push_back(std::move(added));
    collection.schema = std::make_shared<const CollectionSchema>(std::move(schema));
    collection.updated = MakeTimestamp(WallMs());
    return Status();
  });
}

// ---- partitions

Result<Revision> RootCoordRole::CreatePartition(CollectionId id, const std::string& name) {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const CollectionPtr collection, Living(id));
  if (collection->FindPartition(name) != nullptr) return SoAlready();
  if (static_cast<int>(collection->partitions.size()) >= settings_.max_partitions) {
    return Status(ErrorCode::kUnexpected, "maximum partition's number should be limit to " + std::to_string(settings_.max_partitions));
  }
  ASSIGN_OR_RETURN(const int64_t partition, deps_.next_ids(1));
  return Update(id, [&](Collection& c) {
    c.partitions.push_back({PartitionId(partition), name, MakeTimestamp(WallMs())});
    return Status();
  });
}

Result<Revision> RootCoordRole::DropPartition(CollectionId id, const std::string& name) {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const CollectionPtr collection, Living(id));
  if (name == kDefaultPartition) return Status(ErrorCode::kUnexpected, "default partition cannot be deleted");
  const Partition* partition = collection->FindPartition(name);
  if (partition == nullptr) {
    RETURN_IF_ERROR(ConfirmAgain([&](const Collection& c) { return c.id == id; }));
    return SoAlready();
  }
  const PartitionId dropped = partition->id;
  return UpdateConfirmed(id, [&](Collection& c) {
    std::erase_if(c.partitions, [&](const Partition& p) { return p.id == dropped; });
    c.load.partitions.erase(dropped);
    if (!c.load.whole && c.load.partitions.empty()) c.load = {};
    return Status();
  }, {dropped});
}

// ---- aliases

// The collection that the alias is to name; refuses names that are taken by collections.
Result<CollectionPtr> RootCoordRole::AliasTarget(const std::string& database, const std::string& collection,
                                                 const std::string& alias) const {
  RETURN_IF_ERROR(DatabaseOf(database).status());
  const auto taken = deps_.catalog->FindCollection(database, alias);
  if (taken.ok() && (*taken)->name == alias) {
    return Status(ErrorCode::kAliasCollectionNameConflict,
                  "alias and collection name conflict[database=" + DatabaseShown(database) + "][alias=" + alias + "]");
  }
  ASSIGN_OR_RETURN(CollectionPtr target, deps_.catalog->FindCollection(database, collection));
  if (target->name != collection) {
    return Status(ErrorCode::kCollectionNotFound, "collection not found[database=" + DatabaseShown(database) + "][collection=" + collection + "]");
  }
  return target;
}

Result<Revision> RootCoordRole::CreateAlias(const std::string& database, const std::string& collection, const std::string& alias) {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const CollectionPtr target, AliasTarget(database, collection, alias));
  if (const auto taken = deps_.catalog->FindCollection(database, alias); taken.ok()) {
    if ((*taken)->id == target->id) return SoAlready();
    return Status(ErrorCode::kAliasAlreadyExist, alias + " is alias to another collection: " + (*taken)->name +
                                                     ": alias already exist[database=" + DatabaseShown(database) +
                                                     "][alias=" + alias + "]");
  }
  return Update(target->id, [&](Collection& c) {
    c.aliases.push_back(alias);
    return Status();
  });
}

Result<Revision> RootCoordRole::DropAlias(const std::string& database, const std::string& alias) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(DatabaseOf(database).status());
  const auto found = deps_.catalog->FindCollection(database, alias);
  if (!found.ok() || (*found)->name == alias) {
    return Status(ErrorCode::kAliasNotFound, "alias not found[database=" + DatabaseShown(database) + "][alias=" + alias + "]");
  }
  return UpdateConfirmed((*found)->id, [&](Collection& c) {
    std::erase(c.aliases, alias);
    return Status();
  });
}

Result<Revision> RootCoordRole::AlterAlias(const std::string& database, const std::string& collection, const std::string& alias) {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const CollectionPtr target, AliasTarget(database, collection, alias));
  const auto taken = deps_.catalog->FindCollection(database, alias);
  if (!taken.ok()) {
    return Status(ErrorCode::kAliasNotFound, "alias not found[database=" + DatabaseShown(database) + "][alias=" + alias + "]");
  }
  if ((*taken)->id == target->id) {
    // Which collection it was of is known no more.
    RETURN_IF_ERROR(ConfirmAgain([](const Collection&) { return true; }));
    return SoAlready();
  }
  // Both collections change in one transaction: the alias always points somewhere.
  Collection before;
  auto revision = Seen(deps_.writer->UpdateBoth((*taken)->id, target->id, [&](Collection& from, Collection& to) {
    std::erase(from.aliases, alias);
    to.aliases.push_back(alias);
    return Status();
  }, &before));
  // Who still takes the alias for the collection that it was of is refused there.
  if (revision.ok()) RETURN_IF_ERROR(Confirm(before, {}));
  return revision;
}

}  // namespace saker
