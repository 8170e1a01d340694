#include "catalog/catalog.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <unordered_map>

#include "base/log.h"
#include "base/mutex.h"
#include "meta/keys.h"
#include "meta/watch.h"

namespace saker {
namespace {

template <typename T>
struct Versioned {
  std::shared_ptr<const T> value;
  Revision revision = 0;
};

bool StartsWith(std::string_view text, std::string_view prefix) { return text.substr(0, prefix.size()) == prefix; }

template <typename Map, typename Key>
auto ValueOf(const Map& map, const Key& key) -> decltype(map.begin()->second.value) {
  const auto it = map.find(key);
  return it == map.end() ? nullptr : it->second.value;
}

template <typename Map, typename Key>
Revision RevisionOf(const Map& map, const Key& key) {
  const auto it = map.find(key);
  return it == map.end() ? 0 : it->second.revision;
}

template <typename Map>
auto ValuesOf(const Map& map) {
  std::vector<decltype(map.begin()->second.value)> out;
  out.reserve(map.size());
  for (const auto& [key, versioned] : map) out.push_back(versioned.value);
  return out;
}

// Sorts and drops duplicates: a batch may touch a thing twice.
template <typename T>
void Unique(std::vector<T>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

}  // namespace

struct Catalog::State {
  mutable SharedMutex mutex;
  bool with_segments = false;
  std::map<DatabaseId, Versioned<Database>> databases GUARDED_BY(mutex);
  std::map<CollectionId, Versioned<Collection>> collections GUARDED_BY(mutex);   // tombstones included
  std::map<std::pair<DatabaseId, std::string>, CollectionId> names GUARDED_BY(mutex);  // names and aliases of the living
  std::map<std::string, Versioned<User>, std::less<>> users GUARDED_BY(mutex);
  std::map<std::string, Versioned<Role>, std::less<>> roles GUARDED_BY(mutex);
  std::unordered_map<CollectionId, Versioned<Placement>> placements GUARDED_BY(mutex);
  std::map<ChannelId, Versioned<ChannelAssignment>> channels GUARDED_BY(mutex);
  std::unordered_map<SegmentId, Versioned<SegmentMeta>> segments GUARDED_BY(mutex);
  std::unordered_map<CollectionId, std::set<SegmentId>> by_collection GUARDED_BY(mutex);
  std::map<int64_t, Versioned<TaskSpec>> tasks GUARDED_BY(mutex);
  std::map<NodeId, Versioned<DrainRequest>> draining GUARDED_BY(mutex);
  std::map<std::string, Versioned<ResourceGroup>, std::less<>> groups GUARDED_BY(mutex);

  Mutex listeners_mutex;
  std::map<int, Listener> listeners GUARDED_BY(listeners_mutex);
  int next_listener GUARDED_BY(listeners_mutex) = 1;

  std::unique_ptr<PrefixView> view;

  void Apply(const WatchEvent& event, Change& change) REQUIRES(mutex);
  void PutCollection(const KeyValue& kv, Change& change) REQUIRES(mutex);
  void ForgetNames(const Collection& collection) REQUIRES(mutex);
  void PutSegment(const KeyValue& kv, Change& change) REQUIRES(mutex);
  void Erase(const std::string& key, Change& change) REQUIRES(mutex);
  void ApplyAll(const std::vector<WatchEvent>& events, Revision revision);
  std::atomic<Revision> applied{0};  // the lookups show the store as of here, or later
  void Notify(const Change& change);
  DatabaseId DatabaseNamed(std::string_view name) const REQUIRES_SHARED(mutex);

  // A value this build can't read is reported and left as it was: never taken for absent.
  template <typename T, typename Map, typename Key>
  std::shared_ptr<const T> Put(Map& map, const Key& key, Result<T> decoded, const KeyValue& kv) {
    if (!decoded.ok()) {
      LogError("meta store key {}: {}", kv.key, decoded.status().ToString());
      return nullptr;
    }
    auto value = std::make_shared<const T>(std::move(*decoded));
    map[key] = {value, kv.mod_revision};
    return value;
  }
};

Catalog::Catalog(MetaStore* store, ThreadPool* pool, Timer* timer) : state_(std::make_unique<State>()) {
  State* state = state_.get();
  state->view = std::make_unique<PrefixView>(
      store, "", pool, timer,
      [state](std::vector<KeyValue> kvs, Revision revision) {
        std::vector<WatchEvent> events;
        events.reserve(kvs.size());
        for (auto& kv : kvs) events.push_back({WatchEvent::Kind::kPut, std::move(kv)});
        state->ApplyAll(events, revision);
      },
      [state](std::vector<WatchEvent> events, Revision revision) { state->ApplyAll(events, revision); });
}

Catalog::~Catalog() = default;

Status Catalog::Start(bool with_segments) {
  state_->with_segments = with_segments;
  return state_->view->Start();
}

void Catalog::Stop() { state_->view.reset(); }

Status Catalog::WaitFor(Revision revision, std::chrono::milliseconds timeout) {
  return state_->view->WaitForRevision(revision, std::chrono::steady_clock::now() + timeout);
}

Revision Catalog::revision() const { return std::max<Revision>(state_->applied, state_->view->revision()); }

// ---- following the store

void Catalog::State::ApplyAll(const std::vector<WatchEvent>& events, Revision revision) {
  Change change;
  change.revision = revision;
  {
    WriterLock lock(mutex);
    for (const WatchEvent& event : events) Apply(event, change);
  }
  applied = revision;  // before listeners run: whoever they poke finds the catalog at this revision
  Unique(change.collections);
  Unique(change.placements);
  Unique(change.channels);
  Unique(change.segments);
  Notify(change);
}

void Catalog::State::Notify(const Change& change) {
  MutexLock lock(listeners_mutex);
  for (const auto& [handle, listener] : listeners) listener(change);
}

void Catalog::State::Apply(const WatchEvent& event, Change& change) {
  const std::string& key = event.kv.key;
  if (event.kind == WatchEvent::Kind::kDelete) return Erase(key, change);
  if (StartsWith(key, kCollectionPrefix)) return PutCollection(event.kv, change);
  if (StartsWith(key, kSegmentPrefix)) {
    if (with_segments) PutSegment(event.kv, change);
    return;
  }
  if (StartsWith(key, kUserPrefix)) {
    Put<User>(users, key.substr(kUserPrefix.size()), DecodeUser(event.kv.value), event.kv);
    return;
  }
  if (StartsWith(key, kRolePrefix)) {
    Put<Role>(roles, key.substr(kRolePrefix.size()), DecodeRole(event.kv.value), event.kv);
    return;
  }
  if (StartsWith(key, kResourceGroupPrefix)) {
    Put<ResourceGroup>(groups, key.substr(kResourceGroupPrefix.size()), DecodeResourceGroup(event.kv.value), event.kv);
    change.sessions = true;
    return;
  }
  if (StartsWith(key, kSessionPrefix)) {
    change.sessions = true;
    return;
  }
  const auto id = IdInKey(key);
  if (!id.has_value()) return;
  if (StartsWith(key, kDatabasePrefix)) {
    Put<Database>(databases, DatabaseId(*id), DecodeDatabase(event.kv.value), event.kv);
  } else if (StartsWith(key, kPlacementPrefix)) {
    auto placement = DecodePlacement(event.kv.value);
    if (placement.ok()) placement->version = event.kv.mod_revision;
    Put<Placement>(placements, CollectionId(*id), std::move(placement), event.kv);
    change.placements.emplace_back(*id);
  } else if (StartsWith(key, kChannelPrefix)) {
    Put<ChannelAssignment>(channels, static_cast<ChannelId>(*id), DecodeChannelAssignment(event.kv.value), event.kv);
    change.channels.push_back(static_cast<ChannelId>(*id));
  } else if (StartsWith(key, kTaskPrefix)) {
    Put<TaskSpec>(tasks, *id, DecodeTask(event.kv.value), event.kv);
    change.tasks = true;
  } else if (StartsWith(key, kDrainPrefix)) {
    Put<DrainRequest>(draining, NodeId(*id), DecodeDrain(event.kv.value), event.kv);
    change.sessions = true;
  }
}

void Catalog::State::ForgetNames(const Collection& collection) {
  std::erase_if(names, [&](const auto& entry) { return entry.second == collection.id; });
}

void Catalog::State::PutCollection(const KeyValue& kv, Change& change) {
  auto decoded = DecodeCollection(kv.value);
  if (!decoded.ok()) {
    LogError("meta store key {}: {}", kv.key, decoded.status().ToString());
    return;
  }
  const auto collection = std::make_shared<const Collection>(std::move(*decoded));
  const CollectionId id = collection->id;
  const auto before = collections.find(id);
  if (before != collections.end()) {
    const Collection& old = *before->second.value;
    const bool renamed = old.name != collection->name || old.aliases != collection->aliases ||
                         old.database != collection->database || collection->dropped;
    if (renamed) ForgetNames(old);
  }
  if (!collection->dropped) {
    names[{collection->database, collection->name}] = id;
    for (const auto& alias : collection->aliases) names[{collection->database, alias}] = id;
  }
  collections[id] = {collection, kv.mod_revision};
  change.collections.push_back(id);
}

void Catalog::State::PutSegment(const KeyValue& kv, Change& change) {
  auto decoded = DecodeSegment(kv.value);
  const SegmentId id = decoded.ok() ? decoded->id : SegmentId();
  const auto segment = Put<SegmentMeta>(segments, id, std::move(decoded), kv);
  if (segment == nullptr) return;
  by_collection[segment->collection].insert(id);
  change.segments.push_back(id);
}

void Catalog::State::Erase(const std::string& key, Change& change) {
  if (StartsWith(key, kUserPrefix)) {
    users.erase(key.substr(kUserPrefix.size()));
    return;
  }
  if (StartsWith(key, kRolePrefix)) {
    roles.erase(key.substr(kRolePrefix.size()));
    return;
  }
  if (StartsWith(key, kResourceGroupPrefix)) {
    groups.erase(key.substr(kResourceGroupPrefix.size()));
    change.sessions = true;
    return;
  }
  if (StartsWith(key, kSessionPrefix)) {
    change.sessions = true;
    return;
  }
  const auto id = IdInKey(key);
  if (!id.has_value()) return;
  if (StartsWith(key, kDrainPrefix)) {
    draining.erase(NodeId(*id));
    change.sessions = true;
    return;
  }
  if (StartsWith(key, kDatabasePrefix)) {
    databases.erase(DatabaseId(*id));
  } else if (StartsWith(key, kCollectionPrefix)) {
    const CollectionId collection(*id);
    if (const auto it = collections.find(collection); it != collections.end()) ForgetNames(*it->second.value);
    collections.erase(collection);
    change.collections.push_back(collection);
  } else if (StartsWith(key, kPlacementPrefix)) {
    placements.erase(CollectionId(*id));
    change.placements.emplace_back(*id);
  } else if (StartsWith(key, kChannelPrefix)) {
    channels.erase(static_cast<ChannelId>(*id));
    change.channels.push_back(static_cast<ChannelId>(*id));
  } else if (StartsWith(key, kSegmentPrefix)) {
    const SegmentId segment(*id);
    if (const auto it = segments.find(segment); it != segments.end()) {
      const CollectionId collection = it->second.value->collection;
      by_collection[collection].erase(segment);
      if (by_collection[collection].empty()) by_collection.erase(collection);
      segments.erase(it);
    }
    change.segments.push_back(segment);
  } else if (StartsWith(key, kTaskPrefix)) {
    tasks.erase(*id);
    change.tasks = true;
  }
}

// ---- look-ups

DatabaseId Catalog::State::DatabaseNamed(std::string_view name) const {
  if (name.empty()) name = kDefaultDatabase;
  for (const auto& [id, database] : databases) {
    if (database.value->name == name) return id;
  }
  return DatabaseId();
}

std::shared_ptr<const Database> Catalog::FindDatabase(std::string_view name) const {
  ReaderLock lock(state_->mutex);
  return ValueOf(state_->databases, state_->DatabaseNamed(name));
}

std::shared_ptr<const Database> Catalog::GetDatabase(DatabaseId id) const {
  ReaderLock lock(state_->mutex);
  return ValueOf(state_->databases, id);
}

std::vector<std::shared_ptr<const Database>> Catalog::Databases() const {
  ReaderLock lock(state_->mutex);
  return ValuesOf(state_->databases);
}

Result<CollectionPtr> Catalog::FindCollection(std::string_view database, std::string_view name) const {
  ReaderLock lock(state_->mutex);
  const DatabaseId in = state_->DatabaseNamed(database);
  if (!in) {
    return Status(ErrorCode::kDatabaseNotFound, "database not found[database=" + std::string(database) + "]");
  }
  const auto it = state_->names.find({in, std::string(name)});
  if (it == state_->names.end()) {
    const std::string shown(database.empty() ? kDefaultDatabase : database);
    return Status(ErrorCode::kCollectionNotFound,
                  "collection not found[database=" + shown + "][collection=" + std::string(name) + "]");
  }
  return state_->collections.at(it->second).value;
}

CollectionPtr Catalog::GetCollection(CollectionId id) const {
  ReaderLock lock(state_->mutex);
  CollectionPtr collection = ValueOf(state_->collections, id);
  return collection == nullptr || collection->dropped ? nullptr : collection;
}

CollectionPtr Catalog::GetDropped(CollectionId id) const {
  ReaderLock lock(state_->mutex);
  CollectionPtr collection = ValueOf(state_->collections, id);
  return collection != nullptr && collection->dropped ? collection : nullptr;
}

std::vector<CollectionPtr> Catalog::Collections(std::string_view database) const {
  ReaderLock lock(state_->mutex);
  const DatabaseId in = database.empty() ? DatabaseId() : state_->DatabaseNamed(database);
  std::vector<CollectionPtr> out;
  for (const auto& [id, collection] : state_->collections) {
    if (collection.value->dropped || (!database.empty() && collection.value->database != in)) continue;
    out.push_back(collection.value);
  }
  return out;
}

std::vector<CollectionPtr> Catalog::DroppedCollections() const {
  ReaderLock lock(state_->mutex);
  std::vector<CollectionPtr> out;
  for (const auto& [id, collection] : state_->collections) {
    if (collection.value->dropped) out.push_back(collection.value);
  }
  return out;
}

std::shared_ptr<const User> Catalog::FindUser(std::string_view name) const {
  ReaderLock lock(state_->mutex);
  return ValueOf(state_->users, name);
}

std::vector<std::shared_ptr<const User>> Catalog::Users() const {
  ReaderLock lock(state_->mutex);
  return ValuesOf(state_->users);
}

std::shared_ptr<const Role> Catalog::FindRole(std::string_view name) const {
  ReaderLock lock(state_->mutex);
  return ValueOf(state_->roles, name);
}

std::vector<std::shared_ptr<const Role>> Catalog::Roles() const {
  ReaderLock lock(state_->mutex);
  return ValuesOf(state_->roles);
}

std::shared_ptr<const Placement> Catalog::FindPlacement(CollectionId id) const {
  ReaderLock lock(state_->mutex);
  return ValueOf(state_->placements, id);
}

ChannelAssignment Catalog::Channel(ChannelId channel) const {
  ReaderLock lock(state_->mutex);
  if (const auto assignment = ValueOf(state_->channels, channel)) return *assignment;
  ChannelAssignment nobody;
  nobody.channel = channel;
  return nobody;
}

std::vector<ChannelAssignment> Catalog::Channels() const {
  ReaderLock lock(state_->mutex);
  std::vector<ChannelAssignment> out;
  for (const auto& [id, channel] : state_->channels) out.push_back(*channel.value);
  return out;
}

std::set<NodeId> Catalog::Draining() const {
  ReaderLock lock(state_->mutex);
  std::set<NodeId> out;
  for (const auto& [node, drain] : state_->draining) out.insert(node);
  return out;
}

std::shared_ptr<const ResourceGroup> Catalog::FindResourceGroup(std::string_view name) const {
  ReaderLock lock(state_->mutex);
  return ValueOf(state_->groups, name);
}

std::vector<std::shared_ptr<const ResourceGroup>> Catalog::ResourceGroups() const {
  ReaderLock lock(state_->mutex);
  return ValuesOf(state_->groups);
}

std::shared_ptr<const SegmentMeta> Catalog::FindSegment(SegmentId id) const {
  ReaderLock lock(state_->mutex);
  return ValueOf(state_->segments, id);
}

std::vector<std::shared_ptr<const SegmentMeta>> Catalog::Segments(CollectionId id) const {
  ReaderLock lock(state_->mutex);
  std::vector<std::shared_ptr<const SegmentMeta>> out;
  const auto it = state_->by_collection.find(id);
  if (it == state_->by_collection.end()) return out;
  for (const SegmentId segment : it->second) out.push_back(state_->segments.at(segment).value);
  return out;
}

std::vector<std::shared_ptr<const SegmentMeta>> Catalog::AllSegments() const {
  ReaderLock lock(state_->mutex);
  return ValuesOf(state_->segments);
}

std::vector<TaskSpec> Catalog::Tasks() const {
  ReaderLock lock(state_->mutex);
  std::vector<TaskSpec> out;
  for (const auto& [id, task] : state_->tasks) out.push_back(*task.value);
  return out;
}

Revision Catalog::CollectionRevision(CollectionId id) const {
  ReaderLock lock(state_->mutex);
  return RevisionOf(state_->collections, id);
}

Revision Catalog::SegmentRevision(SegmentId id) const {
  ReaderLock lock(state_->mutex);
  return RevisionOf(state_->segments, id);
}

Revision Catalog::ChannelRevision(ChannelId channel) const {
  ReaderLock lock(state_->mutex);
  return RevisionOf(state_->channels, channel);
}

Revision Catalog::PlacementRevision(CollectionId id) const {
  ReaderLock lock(state_->mutex);
  return RevisionOf(state_->placements, id);
}

Revision Catalog::ResourceGroupRevision(std::string_view name) const {
  ReaderLock lock(state_->mutex);
  return RevisionOf(state_->groups, name);
}

int Catalog::Subscribe(Listener listener) {
  MutexLock lock(state_->listeners_mutex);
  const int handle = state_->next_listener++;
  state_->listeners[handle] = std::move(listener);
  return handle;
}

void Catalog::Unsubscribe(int handle) {
  MutexLock lock(state_->listeners_mutex);
  state_->listeners.erase(handle);
}

}  // namespace saker
