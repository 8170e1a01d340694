// The proxy: where clients' requests come in. Stateless but for caches: it authenticates, checks, routes, merges.
// Everything here is in model types; service.h puts gRPC on top, REST comes another way to the same calls.
//
// What a read or a write needs is looked up in the catalog and never asked of a coordinator. Data calls are
// asynchronous: the callback runs once, on any thread, perhaps before the call returns. Metadata calls block, on the
// control pool; they return when this process's catalog has seen the change. Thread-safe.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "base/thread_pool.h"
#include "catalog/catalog.h"
#include "proxy/core.h"
#include "proxy/limits.h"
#include "roles/peers.h"
#include "security/password.h"
#include "security/privileges.h"

namespace saker {

class MethodTable;
struct RequestContext;

struct ProxySettings {
  ProxyLimits limits;
  std::string version = "2.3.5";          // what Connect and GetVersion say: the Milvus whose behaviour this is
  bool authorization = false;             // common.security.authorizationEnabled
  std::vector<std::string> super_users;   // may set passwords without knowing the old one
  bool load_on_first_use = false;         // load a collection when it is first searched
  int64_t slow_query_ms = 1000;           // requests that took longer are logged; 0: none
  int64_t timeout_ms = 10'000;            // of requests that bring no deadline: how long writes and reads are retried
  int64_t ddl_timeout_ms = 30'000;
  NodeId node{1};
};

class Proxy {
 public:
  Proxy(Catalog* catalog, Peers* peers, ThreadPool* search, ThreadPool* control, ProxySettings settings);
  ~Proxy();

  // Everything of MilvusService this proxy answers, with authentication and authorization. service.cc.
  void RegisterMethods(MethodTable& table);

  // ---- who asks (auth.cc)
  // The user named by a Milvus authorization value; kUnauthenticated if it is wrong. Blocks for bcrypt the first time.
  Result<std::string> Authenticate(std::string_view authorization);
  // kPrivilegeNotPermitted with Milvus's text.
  Status Authorize(std::string_view user, const NeededPrivilege& needed) const;
  // The name in an authorization value, unverified: Milvus reads it even with authorization off.
  static Result<std::string> UserNamed(std::string_view authorization);

  // ---- databases, collections, partitions, aliases (ddl.cc)
  Status CreateDatabase(const CallContext& context, const std::string& name, const KeyValues& properties);
  Status DropDatabase(const CallContext& context, const std::string& name);
  Status AlterDatabase(const CallContext& context, const std::string& name, const KeyValues& set, const std::vector<std::string>& erase);
  Result<std::shared_ptr<const Database>> DescribeDatabase(const std::string& name) const;

  Status CreateCollection(const CallContext& context, CollectionDraft draft);
  Status DropCollection(const CallContext& context, const std::string& name);
  Status RenameCollection(const CallContext& context, const std::string& from, const std::string& to_database, const std::string& to);
  Status AlterCollection(const CallContext& context, const std::string& name, const KeyValues& set, const std::vector<std::string>& erase);
  Status AlterField(const CallContext& context, const std::string& name, const std::string& field, const KeyValues& set,
                    const std::vector<std::string>& erase);
  Status AddField(const CallContext& context, const std::string& name, FieldSchema field);
  // By name or alias, after the name was checked. Its errors are those of DescribeCollection's siblings (code 100).
  Result<CollectionPtr> FindCollection(const CallContext& context, std::string_view name) const;

  Status CreatePartition(const CallContext& context, const std::string& collection, const std::string& name);
  Status DropPartition(const CallContext& context, const std::string& collection, const std::string& name);
  Result<bool> HasPartition(const CallContext& context, const std::string& collection, const std::string& name) const;

  Status CreateAlias(const CallContext& context, const std::string& collection, const std::string& alias);
  Status DropAlias(const CallContext& context, const std::string& alias);
  Status AlterAlias(const CallContext& context, const std::string& collection, const std::string& alias);
  Result<CollectionPtr> DescribeAlias(const CallContext& context, const std::string& alias) const;

  // ---- indexes (index.cc)
  Status CreateIndex(const CallContext& context, const IndexCall& call);
  Status DropIndex(const CallContext& context, const std::string& collection, const std::string& index_name);
  Status AlterIndex(const CallContext& context, const std::string& collection, const std::string& index_name, const KeyValues& set,
                    const std::vector<std::string>& erase);
  // index_name "": all. Code 700 if there is none.
  Result<std::vector<IndexReply>> DescribeIndex(const CallContext& context, const std::string& collection, const std::string& index_name);

  // ---- loading (load.cc)
  // partitions empty: the whole collection.
  Status Load(const CallContext& context, const std::string& collection, const std::vector<std::string>& partitions,
              bool partitions_named, int32_t replicas, const std::vector<std::string>& fields,
              const std::vector<std::string>& resource_groups = {});
  Status Release(const CallContext& context, const std::string& collection, const std::vector<std::string>& partitions,
                 bool partitions_named);
  Result<int64_t> LoadingProgress(const CallContext& context, const std::string& collection, const std::vector<std::string>& partitions);
  Result<LoadStateReply> LoadState(const CallContext& context, const std::string& collection, const std::vector<std::string>& partitions);

  // ---- rows (dml.cc)
  void Insert(const CallContext& context, RowsCall call, Callback<MutationReply> done);
  void Upsert(const CallContext& context, RowsCall call, Callback<MutationReply> done);
  void Delete(const CallContext& context, DeleteCall call, Callback<MutationReply> done);

  // ---- reading (search.cc, query.cc)
  void Search(const CallContext& context, SearchCall call, Callback<SearchReply> done);
  void Query(const CallContext& context, QueryCall call, Callback<QueryReply> done);

  // ---- flushing, compaction, figures (segments_info.cc)
  Result<FlushResult> Flush(const CallContext& context, const std::string& collection);
  Result<int64_t> RowCount(const CallContext& context, const std::string& collection, const std::string& partition);
  Result<int64_t> Compact(const CallContext& context, const std::string& collection, CollectionId id);

  // ---- users (users.cc)
  Status CreateUser(const CallContext& context, const std::string& name, const std::string& password);
  Status UpdatePassword(const CallContext& context, const std::string& name, const std::string& old_password, const std::string& password);
  Status DropUser(const CallContext& context, const std::string& name);
  Status CreateRole(const CallContext& context, const std::string& name);
  Status DropRole(const CallContext& context, const std::string& name, bool force);
  Status OperateUserRole(const CallContext& context, const std::string& user, const std::string& role, bool add);
  Status OperatePrivilege(const CallContext& context, Grant grant, bool give);
  // The newer protocol: object type and object follow from the privilege, or from a built-in group.
  Status OperatePrivilegeV2(const CallContext& context, const std::string& role, const std::string& privilege,
                            const std::string& database, const std::string& collection, bool give);
  // Grants of a role, of one object if object_type isn't "".
  Result<std::vector<Grant>> SelectGrants(const std::string& role, const std::string& object_type, const std::string& object,
                                          const std::string& database) const;

  // ---- for the parts of this room
  Catalog* catalog() const { return catalog_; }
  Peers* peers() const { return peers_; }
  ThreadPool* search_pool() const { return search_; }
  ThreadPool* control_pool() const { return control_; }
  const ProxySettings& settings() const { return settings_; }
  const ProxyLimits& limits() const { return settings_.limits; }
  Result<FilterPtr> ParseFilterCached(const CollectionPtr& collection, const std::string& text, const TemplateValues& templates);
  HybridClock& clock() { return clock_; }
  // Waits until the catalog shows what a coordinator did. `what` passes through its error.
  Status Seen(const CallContext& context, const Result<Revision>& what) const;
  Result<int64_t> AllocateIds(int64_t count);
  // Ids of partitions by name; "partition not found[partition=x]".
  static Result<std::vector<PartitionId>> PartitionIds(const Collection& collection, const std::vector<std::string>& names);
  // How many milliseconds are left of a call, at least 1.
  static std::chrono::milliseconds Remaining(const CallContext& context);
  // With load_on_first_use: asks for the load of a collection that isn't. Blocks.
  Status LoadForUse(const CallContext& context, const CollectionPtr& collection);

 private:
  struct FilterCache;
  Status CheckDatabaseExists(const std::string& name) const;

  Catalog* const catalog_;
  Peers* const peers_;
  ThreadPool* const search_;
  ThreadPool* const control_;
  const ProxySettings settings_;
  HybridClock clock_;
  PasswordVerifier passwords_;
  std::unique_ptr<FilterCache> filters_;

  Mutex ids_mutex_;
  int64_t next_id_ GUARDED_BY(ids_mutex_) = 0;
  int64_t end_id_ GUARDED_BY(ids_mutex_) = 0;

  std::shared_ptr<void> service_;  // the RPC methods; they live as long as the proxy
};

// A coordinator that isn't there right now: the same retriable answer everywhere.
Status CoordinatorAway(std::string_view name);

}  // namespace saker
