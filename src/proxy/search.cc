// Vector search: one, or several joined by a ranking (hybrid).
#include <fmt/format.h>

#include <algorithm>

#include "base/metrics.h"
#include "proxy/rank.h"
#include "proxy/read.h"
#include "proxy/validate.h"

namespace saker {
namespace {

Status FailedToSearch(std::string why) { return Unexpected("failed to search: " + std::move(why)); }

Status CheckTopK(std::string_view key, int64_t value, int64_t limit) {
  if (value > 0 && value <= limit) return {};
  return Unexpected(fmt::format("{} [{}] is invalid, top k should be in range [1, {}], but got {}", key, value, limit, value));
}

Status CheckLimits(const SearchPart& part, const ProxyLimits& limits) {
  if (part.nq <= 0 || part.nq > limits.nq) {
    return Unexpected(fmt::format(
        "nq [{}] is invalid, nq (number of search vector per search request) should be in range [1, {}], but got {}", part.nq, limits.nq, part.nq));
  }
  RETURN_IF_ERROR(CheckTopK("topk", part.limit, limits.top_k));
  if (part.offset != 0) RETURN_IF_ERROR(CheckTopK("offset", part.offset, limits.top_k));
  RETURN_IF_ERROR(CheckTopK("offset+topk", part.limit + part.offset, limits.top_k));
  if (part.round_decimal != -1 && (part.round_decimal < 0 || part.round_decimal > 6)) {
    return Unexpected(fmt::format("round_decimal [{}] is invalid, should be -1 or an integer in range [0, 6]", part.round_decimal));
  }
  return {};
}

Result<const FieldSchema*> VectorFieldOf(const CollectionSchema& schema, const std::string& name) {
  if (!name.empty()) {
    const FieldSchema* field = schema.Find(name);
    if (field == nullptr) return Unexpected(fmt::format("failed to create query plan: failed to get field schema by name: fieldName({}) not found", name));
    if (!IsVector(field->type)) return Unexpected(fmt::format("failed to create query plan: field ({}) to search is not of vector data type", name));
    return field;
  }
  const auto vectors = schema.VectorFields();
  if (vectors.size() == 1) return vectors.front();
  return Unexpected(vectors.empty() ? "anns_field not found in schema" : "multiple anns_fields exist, please specify a anns_field in search_params");
}

Result<Metric> MetricOf(const SearchPart& part, const IndexMeta* index, const FieldSchema& field) {
  const Metric built = index != nullptr && index->metric != Metric::kNone ? index->metric : DefaultMetric(field.type);
  if (part.metric.empty()) return built;
  const auto asked = ParseMetric(part.metric);
  if (asked.has_value() && (*asked == built || index == nullptr)) return *asked;
  return FailedToSearch(fmt::format("metric type not match: invalid parameter[expected={}][actual={}]", Name(built), part.metric));
}

Status FillGrouping(const SearchPart& part, const CollectionSchema& schema, SearchPlan& plan) {
  if (part.group_by.empty()) return {};
  const FieldSchema* field = schema.Find(part.group_by);
  if (field == nullptr) return Unexpected(fmt::format("groupBy field not found in schema: {}", part.group_by));
  if (!IsInteger(field->type) && field->type != DataType::kBool && !IsString(field->type)) {
    return Unexpected(fmt::format("failed to create query plan: group by on field {} of type {} is not supported", field->name, Name(field->type)));
  }
  if (part.group_size < 1 || part.group_size > 1024) {
    return InvalidParameter(fmt::format("group_size:{} is invalid, should be in range [1, 1024]", part.group_size));
  }
  if (plan.params.has_range) return InvalidParameter("Not allowed to do range-search when doing search-group-by");
  plan.group_by = field->id;
  plan.group_size = part.group_size;
  plan.strict_group_size = part.strict_group_size;
  return {};
}

// The row width that queries must have.
Status FillQueries(SearchPart& part, const FieldSchema& field, SearchPlan& plan) {
  if (field.type == DataType::kSparseFloatVector) return FailedToSearch("sparse vectors are not supported by this version");
  const int row_bytes = FixedWidth(field.type, field.dim);
  if (part.query_type != field.type) {
    return FailedToSearch(fmt::format("vector type must be the same, field {} - type {}, search info type {}", field.name, Name(field.type),
                                      Name(part.query_type)));
  }
  if (part.row_bytes != row_bytes) {
    return FailedToSearch(fmt::format("vector dimension mismatch, expected vector size(byte) {}, actual {}: field {} has dim {}", row_bytes,
                                      part.row_bytes, field.name, field.dim));
  }
  if (field.type == DataType::kFloatVector &&
      !AllFinite(reinterpret_cast<const float*>(part.queries.data()), part.nq * field.dim)) {
    return FailedToSearch(fmt::format("a query vector for field {} has a value that is not a number or infinity", field.name));
  }
  plan.nq = static_cast<int>(part.nq);
  plan.row_bytes = row_bytes;
  plan.queries = std::move(part.queries);
  return {};
}

Result<std::shared_ptr<SearchPlan>> MakePlan(Proxy* proxy, const CallContext& context, const CollectionPtr& collection, SearchPart& part) {
  RETURN_IF_ERROR(CheckLimits(part, proxy->limits()));
  auto plan = std::make_shared<SearchPlan>();
  plan->schema = collection->schema;
  plan->deadline_us = DeadlineUs(context);
  ASSIGN_OR_RETURN(const FieldSchema* field, VectorFieldOf(*collection->schema, part.vector_field));
  auto filter = proxy->ParseFilterCached(collection, part.filter, part.templates);
  if (!filter.ok()) return filter.status().WithContext("failed to create query plan");
  plan->filter = std::move(*filter);
  const IndexMeta* index = collection->IndexOn(field->id);
  ASSIGN_OR_RETURN(plan->metric, MetricOf(part, index, *field));
  plan->vector_field = field->id;
  plan->vector_type = field->type;
  plan->dim = field->dim;
  RETURN_IF_ERROR(FillQueries(part, *field, *plan));
  const int k = static_cast<int>(part.limit + part.offset);
  auto params = ParseSearchParams(index != nullptr ? std::string_view(index->type) : std::string_view(), plan->metric, k, part.params);
  if (!params.ok()) return params.status().WithContext("failed to search");
  plan->params = *params;
  plan->params.k = k;
  plan->ignore_growing = part.ignore_growing;
  RETURN_IF_ERROR(FillGrouping(part, *collection->schema, *plan));
  return plan;
}

// What is told of one request beside its plans.
struct SearchShape {
  std::optional<RankWish> rank;
  int64_t nq = 0;
  int64_t limit = 0;
  int64_t offset = 0;
  int round_decimal = -1;
  std::vector<FieldId> fields;       // output fields
  std::vector<std::string> names;
  std::string filter;
};

class SearchOperation final : public ReadOperation {
 public:
  SearchOperation(Proxy* proxy, const CallContext& context, CollectionPtr collection, std::vector<PartitionId> partitions, const SearchCall& call,
                  std::vector<std::shared_ptr<const SearchPlan>> plans, SearchShape shape, Callback<SearchReply> done)
      : ReadOperation(proxy, context, std::move(collection), std::move(partitions), call.consistency, call.pinned,
                      plans.front()->ignore_growing),
        plans_(std::move(plans)), shape_(std::move(shape)), done_(std::move(done)) {}

 private:
  // Slots: for each plan its owners, then its holders.
  void Legs() override {
    const size_t owners = SkipGrowing() ? 0 : route_.owners.size();
    const size_t per_plan = owners + route_.holders.size();
    parts_.assign(plans_.size() * per_plan, {});
    failed_ = Status();
    left_ = parts_.size() + 1;  // one for this loop
    for (size_t p = 0; p < plans_.size(); ++p) {
      for (size_t i = 0; i < owners; ++i) {
        const NodeId id = route_.owners[i].node;
        DataNode* node = proxy_->peers()->data_node(id);
        const size_t slot = p * per_plan + i;
        if (node == nullptr) {
          Arrived(slot, id, Gone());
        } else {
          node->Search(GrowingLegFor(route_.owners[i]), plans_[p], Slot(slot, id));
        }
      }
      for (size_t i = 0; i < route_.holders.size(); ++i) {
        QueryNode* node = proxy_->peers()->query_node(route_.holders[i].node);
        const size_t slot = p * per_plan + owners + i;
        if (node == nullptr) {
          Arrived(slot, NodeId(), Gone());
        } else {
          node->Search(SealedLegFor(route_.holders[i]), plans_[p], Slot(slot, NodeId()));
        }
      }
    }
    OneLess();
  }

  static Status Gone() { return {ErrorCode::kNodeNotFound, "a node of the route is gone"}; }

  Callback<SearchHits> Slot(size_t slot, NodeId owner) {
    return [self = std::static_pointer_cast<SearchOperation>(shared_from_this()), slot, owner](Result<SearchHits> hits) {
      self->Arrived(slot, owner, std::move(hits));
    };
  }

  void Arrived(size_t slot, NodeId owner, Result<SearchHits> hits) {
    if (hits.ok()) {
      if (owner) NoteGrowing(owner, hits->hits);
      parts_[slot] = std::move(*hits);
    } else {
      MutexLock lock(mutex_);
      failed_ = hits.status();
    }
    OneLess();
  }

  void OneLess() {
    if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) Merge();
  }

  SearchHits MergePlan(size_t p) {
    const size_t per_plan = parts_.size() / plans_.size();
    const auto begin = parts_.begin() + static_cast<std::ptrdiff_t>(p * per_plan);
    std::vector<SearchHits> parts(std::make_move_iterator(begin), std::make_move_iterator(begin + static_cast<std::ptrdiff_t>(per_plan)));
    SearchHits merged = parts.size() == 1 ? std::move(parts.front()) : MergeHits(*plans_[p], std::move(parts));
    if (merged.offsets.size() != static_cast<size_t>(plans_[p]->nq) + 1) merged.offsets.assign(static_cast<size_t>(plans_[p]->nq) + 1, 0);
    return merged;
  }

  void Merge() {
    if (!failed_.ok()) return Failed(failed_);
    times_.legs_us = MonotonicUs();
    reply_ = SearchReply();
    reply_.collection = collection_;
    reply_.metric = plans_.front()->metric;
    reply_.nq = shape_.nq;
    reply_.top_k = shape_.limit;
    reply_.output_fields = shape_.names;
    reply_.read_ts = view_.read_ts;
    std::vector<Hit> hits = shape_.rank.has_value() ? Join() : Cut();
    times_.merged_us = MonotonicUs();
    BringFields(hits);
  }

  // A single search: the offset cut away.
  std::vector<Hit> Cut() {
    SearchHits merged = MergePlan(0);
    const SearchPlan& plan = *plans_.front();
    std::vector<Hit> hits;
    hits.reserve(merged.hits.size());
    reply_.keys.is_string = merged.keys.is_string;
    const bool whole = shape_.offset == 0;
    for (int64_t q = 0; q < shape_.nq; ++q) {
      const int64_t end = merged.offsets[static_cast<size_t>(q) + 1];
      int64_t begin = merged.offsets[static_cast<size_t>(q)];
      begin = whole ? begin : std::min(end, Skip(plan, merged, begin, end));
      reply_.counts.push_back(end - begin);
      for (int64_t i = begin; i < end; ++i) {
        const auto at = static_cast<size_t>(i);
        hits.push_back(merged.hits[at]);
        reply_.scores.push_back(Rounded(ScoreOf(plan.metric, merged.hits[at].distance), shape_.round_decimal));
        if (!whole) reply_.keys.Append(merged.keys, i);
        if (plan.group_by) reply_.groups.push_back(std::move(merged.groups[at]));
      }
    }
    if (whole) reply_.keys = std::move(merged.keys);
    if (plan.group_by) reply_.group_field = collection_->schema->Find(plan.group_by);
    return hits;
  }

  // Where the rows after `offset` begin; grouping: after `offset` groups.
  int64_t Skip(const SearchPlan& plan, const SearchHits& hits, int64_t begin, int64_t end) const {
    if (!plan.group_by) return begin + shape_.offset;
    int64_t groups = 0;
    for (int64_t i = begin; i < end; ++i) {
      if (i == begin || hits.groups[static_cast<size_t>(i)] != hits.groups[static_cast<size_t>(i) - 1]) {
        if (groups++ == shape_.offset) return i;
      }
    }
    return end;
  }

  std::vector<Hit> Join() {
    std::vector<SearchHits> parts;
    std::vector<Metric> metrics;
    for (size_t p = 0; p < plans_.size(); ++p) {
      parts.push_back(MergePlan(p));
      metrics.push_back(plans_[p]->metric);
    }
    RankedHits ranked = Rank(*shape_.rank, metrics, parts, shape_.nq);
    std::vector<Hit> hits;
    for (const Ranked& row : ranked.hits) {
      hits.push_back(row.hit);
      reply_.scores.push_back(Rounded(row.score, shape_.rank->round_decimal));
    }
    for (size_t q = 0; q + 1 < ranked.offsets.size(); ++q) reply_.counts.push_back(ranked.offsets[q + 1] - ranked.offsets[q]);
    reply_.keys = std::move(ranked.keys);
    return hits;
  }

  void BringFields(const std::vector<Hit>& hits) {
    const FieldId primary = collection_->schema->PrimaryKey().id;
    std::vector<FieldId> wanted;
    for (const FieldId id : shape_.fields) {
      if (id != primary) wanted.push_back(id);
    }
    if (wanted.empty()) return Answer({});
    Fetch(hits, wanted, [self = std::static_pointer_cast<SearchOperation>(shared_from_this())](Result<std::vector<Column>> columns) {
      if (!columns.ok()) return self->Failed(columns.status());
      self->Answer(std::move(*columns));
    });
  }

  Column KeyColumn() const {
    Column column(collection_->schema->PrimaryKey());
    column.Reserve(reply_.keys.size());
    if (reply_.keys.is_string) {
      for (const std::string& key : reply_.keys.strings) column.AppendBytes(key);
    } else {
      column.AppendFixed(reply_.keys.ints.data(), static_cast<int64_t>(reply_.keys.ints.size()));
    }
    return column;
  }

  void Answer(std::vector<Column> fetched) {
    times_.fetched_us = MonotonicUs();
    const FieldId primary = collection_->schema->PrimaryKey().id;
    size_t next = 0;
    for (const FieldId id : shape_.fields) reply_.columns.push_back(id == primary ? KeyColumn() : std::move(fetched[next++]));
    static Counter& searched = Metrics().GetCounter("milvus_proxy_search_vectors_count", "Queries searched for", {{"node_id", "1"}, {"query_type", "search"}});
    searched.Add(static_cast<double>(shape_.nq) * static_cast<double>(plans_.size()));
    done_(std::move(reply_));  // encodes and sends
    times_.answered_us = MonotonicUs();
    LogIfSlow(*proxy_, "search", *collection_, times_, Detail(), Status());
  }

  std::string Detail() const {
    return fmt::format("nq {}, limit {}, segments {}, filter {}", shape_.nq, shape_.limit, route_.sealed.size(),
                       shape_.filter.empty() ? "none" : std::string_view(shape_.filter).substr(0, 200));
  }

  void Refuse(const Status& status) override {
    const Status told = std::string_view(status.message()).starts_with("failed to search") ? status : status.WithContext("failed to search");
    LogIfSlow(*proxy_, "search", *collection_, times_, Detail(), told);
    done_(told);
  }

  const std::vector<std::shared_ptr<const SearchPlan>> plans_;
  const SearchShape shape_;
  const Callback<SearchReply> done_;
  std::vector<SearchHits> parts_;
  std::atomic<size_t> left_{0};
  Mutex mutex_;
  Status failed_;
  SearchReply reply_;
};

// Hits are in memory at the nodes and here, several times over, before a byte of the answer is sent.
Status CheckResultSize(Proxy* proxy, const CallContext& context, const Collection& collection, const SearchCall& call) {
  int64_t asked = 0, longest = 0;
  for (const SearchPart& part : call.parts) {
    asked += part.nq * (part.limit + part.offset);
    longest = std::max(longest, part.limit + part.offset);
  }
  const int64_t limit = proxy->limits().result_hits;
  if (asked <= limit) return {};
  // There may be fewer rows than were asked for.
  ASSIGN_OR_RETURN(const int64_t rows, proxy->RowCount(context, collection.name, {}));
  int64_t possible = 0;
  for (const SearchPart& part : call.parts) possible += part.nq * std::min(rows, part.limit + part.offset);
  if (possible <= limit) return {};
  return Unexpected(fmt::format("search results exceed the limit of {} hits: {} queries with up to {} hits each; ask for fewer at once", limit,
                                call.parts.front().nq, std::min(rows, longest)));
}

Status CheckHybrid(SearchCall& call, const ProxyLimits& limits) {
  const RankWish& rank = *call.rank;
  if (call.parts.empty()) return InvalidParameter("hybrid search needs at least one request");
  if (call.parts.size() > 1024) return InvalidParameter(fmt::format("maximum of ann search requests is 1024, but got {}", call.parts.size()));
  RETURN_IF_ERROR(CheckTopK("limit", rank.limit, limits.top_k));
  if (rank.offset != 0) RETURN_IF_ERROR(CheckTopK("offset", rank.offset, limits.top_k));
  RETURN_IF_ERROR(CheckTopK("offset+limit", rank.offset + rank.limit, limits.top_k));
  if (rank.strategy == RankWish::Strategy::kWeighted) {
    if (rank.weights.size() != call.parts.size()) {
      return InvalidParameter(std::to_string(call.parts.size()), std::to_string(rank.weights.size()),
                              "the length of weights param mismatch with ann search requests");
    }
    for (const float weight : rank.weights) {
      if (!(weight >= 0 && weight <= 1)) return InvalidParameter(fmt::format("rank param weight should be in range [0, 1], but got {}", weight));
    }
  } else if (!(rank.k > 0 && rank.k < 16384)) {
    return InvalidParameter(fmt::format("The rank params k should be in range (0, 16384), but got {}", rank.k));
  }
  for (SearchPart& part : call.parts) {
    if (part.nq != call.parts.front().nq) return InvalidParameter("all requests of a hybrid search should have the same nq");
    if (!part.group_by.empty()) return InvalidParameter("grouping in a hybrid search is not supported by this version");
    part.offset = 0;  // clients send the ranking's offset with each request too
  }
  return {};
}

}  // namespace

void Proxy::Search(const CallContext& context, SearchCall call, Callback<SearchReply> done) {
  const auto found = FindCollection(context, call.collection);
  if (!found.ok()) return done(found.status());
  const CollectionPtr collection = *found;
  if (collection->schema->PartitionKey() != nullptr && !call.partitions.empty()) {
    return done(Unexpected("not support manually specifying the partition names if partition key mode is used"));
  }
  auto outputs = ResolveOutputs(*collection->schema, call.output_fields, /*add_primary=*/false);
  if (!outputs.ok()) return done(outputs.status());
  if (call.rank.has_value()) {
    if (Status bad = CheckHybrid(call, limits()); !bad.ok()) return done(bad);
  } else if (call.parts.size() != 1) {
    return done(InvalidParameter("a search has one request"));
  }
  std::vector<std::shared_ptr<const SearchPlan>> plans;
  for (SearchPart& part : call.parts) {
    auto plan = MakePlan(this, context, collection, part);
    if (!plan.ok()) return done(plan.status());
    plans.push_back(std::move(*plan));
  }
  if (Status bad = CheckResultSize(this, context, *collection, call); !bad.ok()) return done(bad);
  // Several filters: only one alone can narrow the partitions down.
  const Filter* narrowing = plans.size() == 1 ? plans.front()->filter.get() : nullptr;
  auto partitions = PartitionsToRead(*collection, call.partitions, narrowing);
  if (!partitions.ok()) return done(partitions.status());
  SearchShape shape;
  const SearchPart& first = call.parts.front();
  shape.rank = call.rank;
  shape.nq = first.nq;
  shape.limit = call.rank.has_value() ? call.rank->limit : first.limit;
  shape.offset = call.rank.has_value() ? 0 : first.offset;
  shape.round_decimal = first.round_decimal;
  shape.fields = std::move(outputs->fields);
  shape.names = std::move(outputs->names);
  shape.filter = first.filter;
  std::make_shared<SearchOperation>(this, context, collection, std::move(*partitions), call, std::move(plans), std::move(shape), std::move(done))
      ->Start();
}

}  // namespace saker
