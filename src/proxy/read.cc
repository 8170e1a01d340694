#include "proxy/read.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "proxy/route_rows.h"
#include "proxy/validate.h"

namespace saker {
namespace {

constexpr std::chrono::milliseconds kLongestPause{100};
constexpr Timestamp kEventuallyTs = 1;
constexpr Timestamp kBoundedTs = 2;

bool MayReadAgain(ErrorCode code) {
  switch (code) {
    case ErrorCode::kStaleRoute:
    case ErrorCode::kSuperseded:
    case ErrorCode::kChannelNotAvailable:
    case ErrorCode::kChannelNotFound:
    case ErrorCode::kSegmentNotLoaded:
    case ErrorCode::kSegmentNotFound:
    case ErrorCode::kNodeNotFound:
    case ErrorCode::kNodeOffline:
    case ErrorCode::kNodeNotMatch:
    case ErrorCode::kServiceUnavailable:
    case ErrorCode::kServiceNotReady:
    case ErrorCode::kCollectionNotFullyLoaded:
      return true;
    default:
      return false;
  }
}

Status NodeGone(NodeId node) { return {ErrorCode::kNodeNotFound, fmt::format("node not found[node={}]", node.value)}; }

Status NobodyHolds(SegmentId segment) {
  return {ErrorCode::kNodeNotFound, fmt::format("node not found[segment={}]: no querynode may serve it at the moment", segment.value)};
}

bool IsIdentifier(std::string_view name) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
  return std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; });
}

// The rows of one segment among the winners, and where each belongs in the result.
struct FetchGroup {
  NodeId node;
  bool growing = false;
  SegmentId segment;
  std::vector<int64_t> rows;
  std::vector<size_t> places;
  RowBatch fetched;
};

}  // namespace

NodeId Route::HolderOf(SegmentId segment) const {
  const auto it = std::lower_bound(holder_of.begin(), holder_of.end(), segment, [](const auto& a, SegmentId b) { return a.first < b; });
  return it != holder_of.end() && it->first == segment ? it->second : NodeId();
}

Result<std::vector<PartitionId>> PartitionsToRead(const Collection& collection, const std::vector<std::string>& names, const Filter* filter) {
  const FieldSchema* key = collection.schema->PartitionKey();
  if (key != nullptr && !names.empty()) {
    return Unexpected("not support manually specifying the partition names if partition key mode is used");
  }
  std::vector<PartitionId> ids;
  for (const std::string& name : names) {
    const Partition* partition = collection.FindPartition(name);
    if (partition == nullptr) return Unexpected(fmt::format("partition name {} not found", name));
    ids.push_back(partition->id);
  }
  if (key != nullptr && filter != nullptr) {
    if (const auto values = filter->LimitedTo(key->id)) {
      const auto by_key = PartitionsByKey(collection);
      for (const Value& value : *values) ids.push_back(PartitionOfKey(by_key, value));
    }
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

Result<OutputFields> ResolveOutputs(const CollectionSchema& schema, const std::vector<std::string>& asked, bool add_primary) {
  OutputFields out;
  const auto add_field = [&out](FieldId id) {
    if (std::find(out.fields.begin(), out.fields.end(), id) == out.fields.end()) out.fields.push_back(id);
  };
  const auto add_name = [&out](std::string_view name) {
    if (std::find(out.names.begin(), out.names.end(), name) == out.names.end()) out.names.emplace_back(name);
  };
  for (const std::string& raw : asked) {
    const size_t first = raw.find_first_not_of(" \t\n\r");
    const std::string name = first == std::string::npos ? "" : raw.substr(first, raw.find_last_not_of(" \t\n\r") - first + 1);
    if (name == "*") {
      for (const FieldSchema& field : schema.fields) add_field(field.id), add_name(field.name);
      continue;
    }
    if (const FieldSchema* field = schema.Find(name)) {
      add_field(field->id);
      add_name(field->name);
      continue;
    }
    const FieldSchema* dynamic = schema.DynamicField();
    if (dynamic == nullptr) return Unexpected(fmt::format("field {} not exist", name));
    if (!IsIdentifier(name)) return Unexpected(fmt::format("parse output field name failed: {}", name));
    add_field(dynamic->id);
    add_name(name);
  }
  if (add_primary) {
    add_field(schema.PrimaryKey().id);
    add_name(schema.PrimaryKey().name);
  }
  return out;
}

ReadDemand DemandOf(const ConsistencyWish& wish, ConsistencyLevel collection_default) {
  ReadDemand demand;
  demand.level = wish.use_default ? collection_default : wish.level;
  demand.guarantee = wish.guarantee_ts;
  if (!wish.use_default && wish.level == ConsistencyLevel::kStrong && wish.guarantee_ts > 0) {
    // Older clients say the level by the timestamp alone.
    demand.level = wish.guarantee_ts == kBoundedTs      ? ConsistencyLevel::kBounded
                   : wish.guarantee_ts == kEventuallyTs ? ConsistencyLevel::kEventually
                                                        : ConsistencyLevel::kCustomized;
  }
  switch (demand.level) {
    case ConsistencyLevel::kStrong:
    case ConsistencyLevel::kBounded:
    case ConsistencyLevel::kEventually:
      demand.guarantee = 0;
      break;
    case ConsistencyLevel::kSession:
    case ConsistencyLevel::kCustomized:
      if (demand.guarantee <= kBoundedTs) {
        demand.level = demand.guarantee == kBoundedTs ? ConsistencyLevel::kBounded : ConsistencyLevel::kEventually;
        demand.guarantee = 0;
      } else {
        demand.level = ConsistencyLevel::kSession;
      }
      break;
  }
  return demand;
}

ReadOperation::ReadOperation(Proxy* proxy, const CallContext& context, CollectionPtr collection, std::vector<PartitionId> partitions,
                             const ConsistencyWish& consistency, bool iterator, bool ignore_growing)
    : proxy_(proxy), context_(context), collection_(std::move(collection)), partitions_(std::move(partitions)),
      consistency_(consistency), iterator_(iterator), pinned_(iterator && consistency.guarantee_ts > kBoundedTs), ignore_growing_(ignore_growing) {}

void ReadOperation::Start() {
  times_.parsed_us = MonotonicUs();
  Attempt();
}

void ReadOperation::Attempt() {
  ++times_.attempts;
  seen_revision_ = proxy_->catalog()->revision();
  if (Status status = MakeRoute(); !status.ok()) return Failed(status);
  const ReadDemand demand = DemandOf(consistency_, collection_->consistency);
  Begin(pinned_ ? ConsistencyLevel::kSession : demand.level, 0, false);
}

Status ReadOperation::MakeRoute() {
  const Catalog& catalog = *proxy_->catalog();
  const CollectionPtr collection = catalog.GetCollection(collection_->id);
  if (collection == nullptr) {
    return {ErrorCode::kCollectionNotFound,
            fmt::format("collection not found[database={}][collection={}]", context_.database, collection_->name)};
  }
  collection_ = collection;
  if (!collection->load.loaded) {
    return {ErrorCode::kCollectionNotLoaded, fmt::format("collection not loaded[collection={}]", collection->id.value)};
  }
  Route route;
  route.collection = collection;
  route.placement = catalog.FindPlacement(collection->id);
  if (route.placement == nullptr || !route.placement->loaded) {
    return {ErrorCode::kCollectionNotFullyLoaded, fmt::format("collection not fully loaded[collection={}]", collection->id.value)};
  }
  std::vector<PartitionId> unloaded;
  for (const PartitionId partition : partitions_) {
    if (!collection->IsLoaded(partition)) unloaded.push_back(partition);
  }
  if (!unloaded.empty()) {
    std::string ids;
    for (const PartitionId id : partitions_) ids += (ids.empty() ? "" : " ") + std::to_string(id.value);
    return {ErrorCode::kPartitionNotLoaded, fmt::format("partition not loaded[partition=[{}]]", ids)};
  }
  route.partitions = partitions_;
  if (partitions_.empty() && !collection->load.whole) {
    // Owners have growing rows of all partitions, also of those that are released.
    for (const Partition& partition : collection->partitions) {
      if (collection->IsLoaded(partition.id)) route.partitions.push_back(partition.id);
    }
  }
  for (const ChannelId channel : collection->shards) {
    const NodeId owner = catalog.Channel(channel).owner;
    if (!owner || proxy_->peers()->data_node(owner) == nullptr) {
      return {ErrorCode::kChannelNotAvailable,
              fmt::format("channel not available[channel={}]: it has no owner right now", Collection::PhysicalChannel(channel))};
    }
    const auto known = std::find_if(route.owners.begin(), route.owners.end(), [&](const auto& o) { return o.node == owner; });
    auto& channels = known == route.owners.end() ? route.owners.emplace_back(Route::Owner{owner, {}}).channels : known->channels;
    if (std::find(channels.begin(), channels.end(), channel) == channels.end()) channels.push_back(channel);
  }
  static std::atomic<size_t> turn{0};
  const size_t replica = turn.fetch_add(1, std::memory_order_relaxed);
  for (const SegmentPlacement& segment : route.placement->segments) {
    if (!segment.serving) continue;
    // Its holders are gone and nobody may take it yet. To go on without its rows would hide them.
    if (segment.nodes.empty()) return NobodyHolds(segment.segment);
    NodeId chosen;
    for (size_t i = 0; i < segment.nodes.size() && !chosen; ++i) {
      const NodeId node = segment.nodes[(replica + i) % segment.nodes.size()];
      if (proxy_->peers()->query_node(node) != nullptr) chosen = node;
    }
    if (!chosen) return NodeGone(segment.nodes.front());
    const auto known = std::find_if(route.holders.begin(), route.holders.end(), [&](const auto& h) { return h.node == chosen; });
    auto& segments = known == route.holders.end() ? route.holders.emplace_back(Route::Holder{chosen, {}}).segments : known->segments;
    segments.push_back(segment.segment);
    route.sealed.push_back(segment.segment);
    route.holder_of.emplace_back(segment.segment, chosen);
  }
  std::sort(route.sealed.begin(), route.sealed.end());
  std::sort(route.holder_of.begin(), route.holder_of.end());
  route_ = std::move(route);
  return {};
}

void ReadOperation::Begin(ConsistencyLevel level, Timestamp at_least, bool last_try) {
  struct Round {
    std::atomic<size_t> left;
    Mutex mutex;
    Timestamp highest = 0;
    Timestamp lowest = kMaxTimestamp;
    Status failed;
  };
  auto round = std::make_shared<Round>();
  const size_t owners = route_.owners.size();
  round->left = owners;
  const std::thread::id caller = std::this_thread::get_id();
  for (size_t i = 0; i < owners; ++i) {
    ReadPointRequest request;
    request.collection = collection_->id;
    request.channels = route_.owners[i].channels;
    request.level = level;
    request.at_least = at_least;
    request.iterator = iterator_;
    request.pinned_at = pinned_ ? consistency_.guarantee_ts : 0;
    auto answer = [self = shared_from_this(), round, level, last_try, caller](Result<ReadPoint> point) {
      {
        MutexLock lock(round->mutex);
        if (point.ok()) {
          round->highest = std::max(round->highest, point->ts);
          round->lowest = std::min(round->lowest, point->ts);
        } else {
          round->failed = point.status();
        }
      }
      if (round->left.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
      if (!round->failed.ok()) return self->Failed(round->failed);
      // Owners that lag behind the highest clock must know where the read happens before it happens.
      if (round->lowest != round->highest) return self->Begin(level, round->highest, last_try);
      if (std::this_thread::get_id() == caller) return self->Begun(level, round->highest, last_try);
      // An owner's thread, which has other things to do than to search.
      self->proxy_->search_pool()->Post([self, level, ts = round->highest, last_try] { self->Begun(level, ts, last_try); });
    };
    DataNode* node = proxy_->peers()->data_node(route_.owners[i].node);
    if (node == nullptr) {
      answer(NodeGone(route_.owners[i].node));
    } else {
      node->BeginRead(request, std::move(answer));
    }
  }
}

void ReadOperation::Begun(ConsistencyLevel level, Timestamp ts, bool last_try) {
  const ReadDemand demand = DemandOf(consistency_, collection_->consistency);
  const Timestamp guarantee = pinned_ ? consistency_.guarantee_ts : demand.guarantee;
  // Beyond what the owners have: read as Strong, once. A client's timestamp never moves a clock.
  if (ts < guarantee && !last_try && level != ConsistencyLevel::kStrong) return Begin(ConsistencyLevel::kStrong, 0, true);
  view_.read_ts = pinned_ ? std::min(ts, guarantee) : ts;
  view_.expired_before = 0;
  if (const int64_t ttl = collection_->TtlSeconds(); ttl > 0) {
    view_.expired_before = MakeTimestamp(std::max<int64_t>(0, UnixMs(proxy_->clock().Now()) - ttl * 1000));
  }
  times_.begun_us = MonotonicUs();
  Legs();
}

void ReadOperation::Failed(const Status& status) {
  const bool load = status.code() == ErrorCode::kCollectionNotLoaded && proxy_->settings().load_on_first_use && !asked_to_load_;
  if (!load && (!MayReadAgain(status.code()) || std::chrono::steady_clock::now() + pause_ >= context_.deadline)) return Refuse(status);
  asked_to_load_ |= load;
  // Off this thread: it may be a search thread, or one that others wait for.
  proxy_->control_pool()->Post([self = shared_from_this(), load] {
    if (load) {
      if (Status asked = self->proxy_->LoadForUse(self->context_, self->collection_); !asked.ok()) return self->Refuse(asked);
    } else {
      (void)self->proxy_->catalog()->WaitFor(self->seen_revision_ + 1, self->pause_);
      self->pause_ = std::min(self->pause_ * 2, kLongestPause);
    }
    self->proxy_->search_pool()->Post([self] { self->Attempt(); });
  });
}

GrowingLeg ReadOperation::GrowingLegFor(const Route::Owner& owner) const {
  GrowingLeg leg;
  leg.collection = collection_->id;
  leg.channels = owner.channels;
  leg.partitions = route_.partitions;
  leg.route_version = route_.placement->version;
  leg.sealed = route_.sealed;
  leg.view = view_;
  leg.pinned = pinned_;
  return leg;
}

SealedLeg ReadOperation::SealedLegFor(const Route::Holder& holder) const {
  SealedLeg leg;
  leg.collection = collection_->id;
  leg.route_version = route_.placement->version;
  leg.segments = holder.segments;
  leg.partitions = route_.partitions;
  leg.view = view_;
  return leg;
}

void ReadOperation::NoteGrowing(NodeId owner, const std::vector<Hit>& hits) {
  if (route_.owners.size() == 1) return;
  MutexLock lock(growing_mutex_);
  for (const Hit& hit : hits) growing_owner_[hit.segment] = owner;
}

void ReadOperation::Fetch(const std::vector<Hit>& hits, const std::vector<FieldId>& fields,
                          std::function<void(Result<std::vector<Column>>)> done) {
  const SchemaPtr schema = collection_->schema;
  if (hits.empty()) {
    std::vector<Column> none;
    for (const FieldId id : fields) none.emplace_back(*schema->Find(id));
    return done(std::move(none));
  }
  struct Work {
    std::vector<FetchGroup> groups;
    std::atomic<size_t> left;
    Mutex mutex;
    Status failed;
  };
  auto work = std::make_shared<Work>();
  std::unordered_map<SegmentId, size_t> group_of;
  for (size_t i = 0; i < hits.size(); ++i) {
    const auto [it, fresh] = group_of.try_emplace(hits[i].segment, work->groups.size());
    if (fresh) {
      FetchGroup& group = work->groups.emplace_back();
      group.segment = hits[i].segment;
      group.node = route_.HolderOf(group.segment);
      group.growing = !group.node;
      if (group.growing) {
        MutexLock lock(growing_mutex_);
        const auto owner = growing_owner_.find(group.segment);
        group.node = owner != growing_owner_.end() ? owner->second : route_.owners.front().node;
      }
    }
    work->groups[it->second].rows.push_back(hits[i].row);
    work->groups[it->second].places.push_back(i);
  }
  const size_t total = hits.size();
  const auto finish = [work, schema, fields, total, done = std::move(done)] {
    if (!work->failed.ok()) return done(work->failed);
    std::vector<Column> columns;
    if (work->groups.size() == 1) {
      columns = std::move(work->groups.front().fetched.columns);
    } else {
      std::vector<std::pair<uint32_t, uint32_t>> source(total);  // place → group, row in it
      for (size_t g = 0; g < work->groups.size(); ++g) {
        for (size_t k = 0; k < work->groups[g].places.size(); ++k) source[work->groups[g].places[k]] = {g, k};
      }
      for (size_t f = 0; f < fields.size(); ++f) {
        Column column(*schema->Find(fields[f]));
        column.Reserve(static_cast<int64_t>(total));
        std::vector<ColumnView> views;
        for (const FetchGroup& group : work->groups) views.push_back(group.fetched.columns[f].View());
        for (const auto& [g, k] : source) column.AppendFrom(views[g], k);
        columns.push_back(std::move(column));
      }
    }
    for (size_t f = 0; f < fields.size(); ++f) {
      const FieldSchema* field = schema->Find(fields[f]);
      columns[f].field = field->id;
      columns[f].name = field->name;
      columns[f].is_dynamic = field->is_dynamic;
    }
    done(std::move(columns));
  };
  work->left = work->groups.size();
  for (size_t g = 0; g < work->groups.size(); ++g) {
    FetchGroup& group = work->groups[g];
    FetchRequest request{collection_->id, group.segment, group.rows, fields};
    auto answer = [work, g, finish, wanted = fields.size(), self = shared_from_this()](Result<RowBatch> batch) {
      if (batch.ok() && batch->columns.size() == wanted && batch->rows == static_cast<int64_t>(work->groups[g].rows.size())) {
        work->groups[g].fetched = std::move(*batch);
      } else {
        MutexLock lock(work->mutex);
        work->failed = batch.ok() ? Status(ErrorCode::kServiceInternal, "a segment gave other fields than it was asked for") : batch.status();
      }
      if (work->left.fetch_sub(1, std::memory_order_acq_rel) == 1) finish();
    };
    DataNode* owner = group.growing ? proxy_->peers()->data_node(group.node) : nullptr;
    QueryNode* holder = group.growing ? nullptr : proxy_->peers()->query_node(group.node);
    if (owner != nullptr) {
      owner->Fetch(request, std::move(answer));
    } else if (holder != nullptr) {
      holder->Fetch(request, std::move(answer));
    } else {
      answer(NodeGone(group.node));
    }
  }
}

void LogIfSlow(const Proxy& proxy, std::string_view what, const Collection& collection, const ReadTimes& times, std::string_view detail,
               const Status& status) {
  const int64_t total_us = MonotonicUs() - times.start_us;
  const int64_t limit_ms = proxy.settings().slow_query_ms;
  if (limit_ms <= 0 || total_us < limit_ms * 1000) return;
  const auto ms = [](int64_t from, int64_t to) { return from == 0 || to == 0 ? 0.0 : static_cast<double>(to - from) / 1000.0; };
  LogWarn("slow {} on {} took {:.1f} ms: parse {:.1f}, wait {:.1f}, legs {:.1f}, merge {:.1f}, fetch {:.1f}, answer {:.1f} ms, {} attempts, "
          "{}; {}", what,
          collection.name, static_cast<double>(total_us) / 1000.0, ms(times.start_us, times.parsed_us), ms(times.parsed_us, times.begun_us),
          ms(times.begun_us, times.legs_us), ms(times.legs_us, times.merged_us), ms(times.merged_us, times.fetched_us),
          ms(times.fetched_us, times.answered_us), times.attempts, detail,
          status.ok() ? "ok" : status.message());
}

}  // namespace saker
