// RootCoord: databases, collections, partitions, aliases, users and roles. Every change goes through the catalog writer.
#pragma once

#include <map>

#include "coord/coordinator.h"
#include "meta/id_allocator.h"

namespace saker {

struct RootCoordSettings {
  int max_databases = 64;
  int max_collections = 65'536;
  int max_partitions = 4'096;
  int channels = 16;
  std::string root_password_hash;    // of the user root, created at the first start
};

class RootCoordRole : public RootCoord, private Coordinator {
 public:
  RootCoordRole(CoordinatorDeps deps, RootCoordSettings settings);
  // Makes sure that the default database, the root user and the built-in roles exist.
  Status Start();

  Result<Revision> CreateDatabase(const std::string& name, const KeyValues& properties) override;
  Result<Revision> DropDatabase(const std::string& name) override;
  Result<Revision> AlterDatabase(const std::string& name, const KeyValues& set, const std::vector<std::string>& erase) override;

  Result<Revision> CreateCollection(const CollectionDraft& draft) override;
  Result<Revision> DropCollection(const std::string& database, const std::string& name) override;
  Result<Revision> RenameCollection(const std::string& database, const std::string& from, const std::string& to_database,
                                    const std::string& to) override;
  Result<Revision> AlterCollection(CollectionId id, const KeyValues& set, const std::vector<std::string>& erase) override;
  Result<Revision> AlterField(CollectionId id, const std::string& field, const KeyValues& set,
                              const std::vector<std::string>& erase) override;
  Result<Revision> AddField(CollectionId id, const FieldSchema& field) override;

  Result<Revision> CreatePartition(CollectionId id, const std::string& name) override;
  Result<Revision> DropPartition(CollectionId id, const std::string& name) override;

  Result<Revision> CreateAlias(const std::string& database, const std::string& collection, const std::string& alias) override;
  Result<Revision> DropAlias(const std::string& database, const std::string& alias) override;
  Result<Revision> AlterAlias(const std::string& database, const std::string& collection, const std::string& alias) override;

  Result<Revision> CreateUser(const User& user) override;
  Result<Revision> UpdateUser(const User& user) override;
  Result<Revision> DropUser(const std::string& name) override;
  Result<Revision> CreateRole(const std::string& name) override;
  Result<Revision> DropRole(const std::string& name, bool force) override;
  Result<Revision> AddUserToRole(const std::string& user, const std::string& role) override;
  Result<Revision> RemoveUserFromRole(const std::string& user, const std::string& role) override;
  Result<Revision> GrantPrivilege(const Grant& grant) override;
  Result<Revision> RevokePrivilege(const Grant& grant) override;

  Result<int64_t> AllocateIds(int64_t count) override { return deps_.next_ids(count); }

 private:
  // Commits and waits until this process's own view has it: the next change is decided on it.
  Result<Revision> Change(std::vector<Compare> compares, std::vector<MetaOp> ops) REQUIRES(mutex_);
  Result<Revision> Update(CollectionId id, const CatalogWriter::Change& change) REQUIRES(mutex_);
  // … and acknowledges only what the owners have confirmed.
  Result<Revision> UpdateConfirmed(CollectionId id, const CatalogWriter::Change& change,
                                   const std::vector<PartitionId>& dropped_partitions = {}) REQUIRES(mutex_);
  Result<DatabaseId> DatabaseOf(const std::string& name) const;
  Result<CollectionPtr> AliasTarget(const std::string& database, const std::string& collection, const std::string& alias) const;
  // The collection's owners refuse older versions from now on (protocol.md, rule 17).
  Status Barrier(const Collection& collection, const std::vector<PartitionId>& dropped_partitions);
  // A change that was made is acknowledged by this: barriers it, and remembers it if that fails.
  Status Confirm(const Collection& collection, const std::vector<PartitionId>& dropped_partitions) REQUIRES(mutex_);
  // Changes of these collections asked for again: they may only be said to be there once they are confirmed.
  Status ConfirmAgain(const std::function<bool(const Collection&)>& meant) REQUIRES(mutex_);
  Result<Collection> Build(const CollectionDraft& draft, DatabaseId database);

  const RootCoordSettings settings_;
  Mutex mutex_;  // one change at a time
  // Changes that were made but that not all owners have confirmed. The next leader doesn't know them; it leads once owners
  // that couldn't be reached have been replaced by ones that read them in the catalog.
  struct Unconfirmed {
    Collection collection;
    std::vector<PartitionId> dropped_partitions;
  };
  std::map<CollectionId, Unconfirmed> unconfirmed_ GUARDED_BY(mutex_);
};

}  // namespace saker
