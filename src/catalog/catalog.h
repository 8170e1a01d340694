// Catalog: this process's view of the metadata, kept current by watches; what a read or a write needs is looked up
// here and never asked for. Lookups are cheap and thread-safe; they go on, on what is known, while the meta store is away.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "meta/meta_store.h"
#include "roles/state.h"

namespace saker {

struct ClusterState;

class Catalog {
 public:
  // The pool re-reads after a lost watch; store, pool and timer outlive the catalog.
  Catalog(MetaStore* store, ThreadPool* pool, Timer* timer);
  ~Catalog();
  // Reads everything and follows it: catalog/, placement/, channel/ and (with_segments) segment/ and task/.
  Status Start(bool with_segments);
  void Stop();

  // Until the view has seen `revision`; kDeadlineExceeded otherwise.
  Status WaitFor(Revision revision, std::chrono::milliseconds timeout);
  Revision revision() const;

  // ---- databases and collections. Names may be aliases where `name` says so. Dropped ones are not found.
  std::shared_ptr<const Database> FindDatabase(std::string_view name) const;      // "" = default
  std::shared_ptr<const Database> GetDatabase(DatabaseId id) const;
  std::vector<std::shared_ptr<const Database>> Databases() const;
  // kDatabaseNotFound / kCollectionNotFound with Milvus's texts:
  //   "database not found[database=x]", "collection not found[database=default][collection=x]"
  Result<CollectionPtr> FindCollection(std::string_view database, std::string_view name_or_alias) const;
  CollectionPtr GetCollection(CollectionId id) const;                             // null: unknown or dropped
  CollectionPtr GetDropped(CollectionId id) const;                                // its tombstone; null: none
  bool IsDropped(CollectionId id) const { return GetDropped(id) != nullptr; }
  std::vector<CollectionPtr> Collections(std::string_view database) const;        // "": of all databases
  std::vector<CollectionPtr> DroppedCollections() const;                          // tombstones

  // ---- users
  std::shared_ptr<const User> FindUser(std::string_view name) const;
  std::vector<std::shared_ptr<const User>> Users() const;
  std::shared_ptr<const Role> FindRole(std::string_view name) const;
  std::vector<std::shared_ptr<const Role>> Roles() const;

  // ---- routes and channels
  std::shared_ptr<const Placement> FindPlacement(CollectionId id) const;          // null: never loaded
  ChannelAssignment Channel(ChannelId channel) const;
  std::vector<ChannelAssignment> Channels() const;

  // ---- nodes
  std::set<NodeId> Draining() const;                                              // they are to be emptied
  std::shared_ptr<const ResourceGroup> FindResourceGroup(std::string_view name) const;  // null: there is none; not the default
  std::vector<std::shared_ptr<const ResourceGroup>> ResourceGroups() const;       // without the default

  // ---- segments and tasks (only with_segments)
  std::shared_ptr<const SegmentMeta> FindSegment(SegmentId id) const;             // tombstones included
  std::vector<std::shared_ptr<const SegmentMeta>> Segments(CollectionId id) const;
  std::vector<std::shared_ptr<const SegmentMeta>> AllSegments() const;
  std::vector<TaskSpec> Tasks() const;

  // Revisions of keys, for transactions that compare what they read.
  Revision CollectionRevision(CollectionId id) const;
  Revision SegmentRevision(SegmentId id) const;
  Revision ChannelRevision(ChannelId channel) const;
  Revision PlacementRevision(CollectionId id) const;
  Revision ResourceGroupRevision(std::string_view name) const;

  // Called after each batch of changes, on the watch's thread; must be short (poke a ControlLoop). Returns a handle.
  struct Change {
    Revision revision = 0;
    std::vector<CollectionId> collections;   // changed or dropped
    std::vector<CollectionId> placements;
    std::vector<ChannelId> channels;
    std::vector<SegmentId> segments;
    bool tasks = false;
    bool sessions = false;                   // nodes came, went, are to be emptied, or changed their group
  };
  using Listener = std::function<void(const Change&)>;
  int Subscribe(Listener listener);
  void Unsubscribe(int handle);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace saker
