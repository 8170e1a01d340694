#include "proxy/proxy.h"

#include <fmt/format.h>

#include "proxy/validate.h"

namespace saker {

constexpr int64_t kIdBlock = 100'000;
constexpr size_t kCachedFilters = 256;
constexpr size_t kLongestCachedFilter = 4096;

// The most recently used filters, by collection, schema and text. A schema is one object for as long as it is valid.
struct Proxy::FilterCache {
  struct Entry {
    std::string key;
    SchemaPtr schema;   // held, so that its address means this schema
    FilterPtr filter;
  };
  Mutex mutex;
  std::list<Entry> entries GUARDED_BY(mutex);  // newest first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key GUARDED_BY(mutex);

  static std::string KeyOf(const CollectionPtr& collection, const std::string& text) {
    const void* schema = collection->schema.get();
    std::string key(reinterpret_cast<const char*>(&schema), sizeof(schema));
    return key += text;
  }
};

Proxy::Proxy(Catalog* catalog, Peers* peers, ThreadPool* search, ThreadPool* control, ProxySettings settings)
    : catalog_(catalog), peers_(peers), search_(search), control_(control), settings_(std::move(settings)),
      filters_(std::make_unique<FilterCache>()) {}

Proxy::~Proxy() = default;

Status CoordinatorAway(std::string_view name) {
  return {ErrorCode::kServiceUnavailable,
          fmt::format("service unavailable: no {} is reachable right now; metadata can't be changed, try again", name)};
}

std::chrono::milliseconds Proxy::Remaining(const CallContext& context) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(context.deadline - std::chrono::steady_clock::now());
  return std::max(left, std::chrono::milliseconds(1));
}

Status Proxy::Seen(const CallContext& context, const Result<Revision>& what) const {
  RETURN_IF_ERROR(what.status());
  const Status seen = catalog_->WaitFor(*what, Remaining(context));
  if (seen.ok()) return {};
  return {ErrorCode::kDeadlineExceeded,
          fmt::format("the change is made (revision {}), but this proxy had not seen it before the deadline: {}", *what, seen.message())};
}

Status Proxy::CheckDatabaseExists(const std::string& name) const {
  if (catalog_->FindDatabase(name) != nullptr) return {};
  return {ErrorCode::kDatabaseNotFound, fmt::format("database not found[database={}]", name)};
}

Result<CollectionPtr> Proxy::FindCollection(const CallContext& context, std::string_view name) const {
  RETURN_IF_ERROR(CheckCollectionName(name, limits()));
  return catalog_->FindCollection(context.database, name);
}

Result<std::vector<PartitionId>> Proxy::PartitionIds(const Collection& collection, const std::vector<std::string>& names) {
  std::vector<PartitionId> ids;
  for (const std::string& name : names) {
    const Partition* partition = collection.FindPartition(name);
    if (partition == nullptr) {
      return {ErrorCode::kPartitionNotFound, fmt::format("partition not found[partition={}]", name)};
    }
    if (std::find(ids.begin(), ids.end(), partition->id) == ids.end()) ids.push_back(partition->id);
  }
  return ids;
}

Result<int64_t> Proxy::AllocateIds(int64_t count) {
  MutexLock lock(ids_mutex_);
  if (end_id_ - next_id_ < count) {
    RootCoord* root = peers_->root_coord();
    if (root == nullptr) return CoordinatorAway("rootcoord");
    const int64_t block = std::max(count, kIdBlock);
    ASSIGN_OR_RETURN(next_id_, root->AllocateIds(block));
    end_id_ = next_id_ + block;
  }
  const int64_t first = next_id_;
  next_id_ += count;
  return first;
}

Result<FilterPtr> Proxy::ParseFilterCached(const CollectionPtr& collection, const std::string& text, const TemplateValues& templates) {
  if (text.empty()) return FilterPtr();
  if (!templates.empty() || text.size() > kLongestCachedFilter) return ParseFilter(text, collection->schema, templates);
  const std::string key = FilterCache::KeyOf(collection, text);
  {
    MutexLock lock(filters_->mutex);
    const auto it = filters_->by_key.find(key);
    if (it != filters_->by_key.end()) {
      filters_->entries.splice(filters_->entries.begin(), filters_->entries, it->second);
      return it->second->filter;
    }
  }
  ASSIGN_OR_RETURN(FilterPtr filter, ParseFilter(text, collection->schema));
  MutexLock lock(filters_->mutex);
  if (filters_->by_key.contains(key)) return filter;
  filters_->entries.push_front({key, collection->schema, filter});
  filters_->by_key.emplace(filters_->entries.front().key, filters_->entries.begin());
  if (filters_->entries.size() > kCachedFilters) {
    filters_->by_key.erase(filters_->entries.back().key);
    filters_->entries.pop_back();
  }
  return filter;
}

}  // namespace saker
