// Databases, collections, partitions, aliases.
#include <fmt/format.h>

#include "proxy/proxy.h"
#include "proxy/validate.h"

namespace saker {

Status Proxy::CreateDatabase(const CallContext& context, const std::string& name, const KeyValues& properties) {
  RETURN_IF_ERROR(CheckDatabaseName(name, limits()));
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  return Seen(context, root->CreateDatabase(name, properties));
}

Status Proxy::DropDatabase(const CallContext& context, const std::string& name) {
  RETURN_IF_ERROR(CheckDatabaseName(name, limits()));
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  const auto dropped = root->DropDatabase(name);
  // As Milvus: dropping what isn't there succeeds. Whether it is there, rootcoord knows: this view may lag behind.
  if (dropped.status().code() == ErrorCode::kDatabaseNotFound) return {};
  return Seen(context, dropped);
}

Status Proxy::AlterDatabase(const CallContext& context, const std::string& name, const KeyValues& set,
                            const std::vector<std::string>& erase) {
  if (set.empty() && erase.empty()) return InvalidParameter("alter database needs at least one property to set or to delete");
  RETURN_IF_ERROR(CheckDatabaseExists(name));
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  return Seen(context, root->AlterDatabase(name, set, erase));
}

Result<std::shared_ptr<const Database>> Proxy::DescribeDatabase(const std::string& name) const {
  RETURN_IF_ERROR(CheckDatabaseExists(name));
  return catalog_->FindDatabase(name);
}

Status Proxy::CreateCollection(const CallContext& context, CollectionDraft draft) {
  draft.database = context.database;
  RETURN_IF_ERROR(CheckNewCollection(draft, limits()));
  RETURN_IF_ERROR(CheckDatabaseExists(context.database));
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  return Seen(context, root->CreateCollection(draft));
}

Status Proxy::DropCollection(const CallContext& context, const std::string& name) {
  RETURN_IF_ERROR(CheckCollectionName(name, limits()));
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  const auto dropped = root->DropCollection(context.database, name);
  if (dropped.status().code() == ErrorCode::kCollectionNotFound) return {};
  return Seen(context, dropped);
}

Status Proxy::RenameCollection(const CallContext& context, const std::string& from, const std::string& to_database,
                               const std::string& to) {
  RETURN_IF_ERROR(CheckCollectionName(to, limits()));  // the old one is found or not
  const std::string& target = to_database.empty() ? context.database : to_database;
  RETURN_IF_ERROR(CheckDatabaseExists(context.database));
  RETURN_IF_ERROR(CheckDatabaseExists(target));
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  return Seen(context, root->RenameCollection(context.database, from, target, to));
}

Status Proxy::AlterCollection(const CallContext& context, const std::string& name, const KeyValues& set,
                              const std::vector<std::string>& erase) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(context, name));
  if (set.empty() && erase.empty()) return InvalidParameter("alter collection needs at least one property to set or to delete");
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  return Seen(context, root->AlterCollection(collection->id, set, erase));
}

Status Proxy::AlterField(const CallContext& context, const std::string& name, const std::string& field, const KeyValues& set,
                         const std::vector<std::string>& erase) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(context, name));
  const FieldSchema* known = collection->schema->Find(field);
  if (known == nullptr) return InvalidParameter(fmt::format("field {} does not exist in collection {}", field, name));
  RETURN_IF_ERROR(CheckFieldChange(*known, set, erase, limits()));
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  return Seen(context, root->AlterField(collection->id, field, set, erase));
}

Status Proxy::AddField(const CallContext& context, const std::string& name, FieldSchema field) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(context, name));
  RETURN_IF_ERROR(CheckAddedField(field, *collection->schema, limits()));
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  return Seen(context, root->AddField(collection->id, field));
}

Status Proxy::CreatePartition(const CallContext& context, const std::string& collection_name, const std::string& name) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(context, collection_name));
  if (collection->schema->PartitionKey() != nullptr) return Unexpected("disable create partition if partition key mode is used");
  RETURN_IF_ERROR(CheckPartitionName(name, true, limits()));
  const auto partitions = static_cast<int64_t>(collection->partitions.size());
  if (partitions >= limits().partitions && collection->FindPartition(name) == nullptr) {
    return Unexpected(fmt::format("partition number ({}) exceeds max configuration ({}), collection: {}", partitions, limits().partitions,
                                  collection->name));
  }
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  return Seen(context, root->CreatePartition(collection->id, name));
}

Status Proxy::DropPartition(const CallContext& context, const std::string& collection_name, const std::string& name) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(context, collection_name));
  if (collection->schema->PartitionKey() != nullptr) return Unexpected("disable drop partition if partition key mode is used");
  RETURN_IF_ERROR(CheckPartitionName(name, true, limits()));
  const Partition* partition = collection->FindPartition(name);
  if (partition != nullptr && collection->IsLoaded(partition->id)) {
    return Unexpected("partition cannot be dropped, partition is loaded, please release it first");
  }
  if (name == kDefaultPartition) return Unexpected("default partition cannot be deleted");
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  return Seen(context, root->DropPartition(collection->id, name));
}

Result<bool> Proxy::HasPartition(const CallContext& context, const std::string& collection_name, const std::string& name) const {
  RETURN_IF_ERROR(CheckCollectionName(collection_name, limits()));
  RETURN_IF_ERROR(CheckPartitionName(name, true, limits()));
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(context, collection_name));
  return collection->FindPartition(name) != nullptr;
}

Status Proxy::CreateAlias(const CallContext& context, const std::string& collection, const std::string& alias) {
  RETURN_IF_ERROR(CheckAlias(alias, limits()));
  RETURN_IF_ERROR(CheckCollectionName(collection, limits()));
  RETURN_IF_ERROR(CheckDatabaseExists(context.database));
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  return Seen(context, root->CreateAlias(context.database, collection, alias));
}

Status Proxy::DropAlias(const CallContext& context, const std::string& alias) {
  RETURN_IF_ERROR(CheckAlias(alias, limits()));
  RETURN_IF_ERROR(CheckDatabaseExists(context.database));
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  const auto dropped = root->DropAlias(context.database, alias);
  if (dropped.status().code() == ErrorCode::kAliasNotFound) return {};
  return Seen(context, dropped);
}

Status Proxy::AlterAlias(const CallContext& context, const std::string& collection, const std::string& alias) {
  RETURN_IF_ERROR(CheckAlias(alias, limits()));
  RETURN_IF_ERROR(CheckCollectionName(collection, limits()));
  RETURN_IF_ERROR(CheckDatabaseExists(context.database));
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  return Seen(context, root->AlterAlias(context.database, collection, alias));
}

Result<CollectionPtr> Proxy::DescribeAlias(const CallContext& context, const std::string& alias) const {
  RETURN_IF_ERROR(CheckAlias(alias, limits()));
  RETURN_IF_ERROR(CheckDatabaseExists(context.database));
  const auto found = catalog_->FindCollection(context.database, alias);
  if (found.ok() && (*found)->name != alias) return *found;
  return {ErrorCode::kAliasNotFound, fmt::format("alias not found[database={}][alias={}]", context.database, alias)};
}

}  // namespace saker
