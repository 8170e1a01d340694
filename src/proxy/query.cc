// Query: rows by filter or by key.
#include <fmt/format.h>

#include <algorithm>

#include "proxy/read.h"
#include "proxy/validate.h"

namespace saker {
namespace {

bool IsCount(const std::vector<std::string>& outputs) {
  if (outputs.size() != 1) return false;
  std::string text;
  for (const char c : outputs[0]) {
    if (std::isspace(static_cast<unsigned char>(c)) == 0) text += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return text == "count(*)";
}

class QueryOperation final : public ReadOperation {
 public:
  QueryOperation(Proxy* proxy, const CallContext& context, CollectionPtr collection, std::vector<PartitionId> partitions,
                 const QueryCall& call, std::shared_ptr<QueryPlan> plan, std::vector<std::string> names, Callback<QueryReply> done)
      : ReadOperation(proxy, context, std::move(collection), std::move(partitions), call.consistency, call.pinned, call.ignore_growing),
        plan_(std::move(plan)), names_(std::move(names)), filter_(call.filter), done_(std::move(done)) {}

 private:
  void Legs() override {
    const size_t owners = SkipGrowing() ? 0 : route_.owners.size();
    parts_.assign(owners + route_.holders.size(), {});
    failed_ = Status();
    left_ = parts_.size() + 1;  // one for this loop
    if (plan_->limit < 0) plan_->budget = std::make_shared<FetchBudget>(proxy_->limits().result_bytes);
    const std::shared_ptr<const QueryPlan> plan = plan_;
    for (size_t i = 0; i < owners; ++i) {
      DataNode* node = proxy_->peers()->data_node(route_.owners[i].node);
      if (node == nullptr) {
        Arrived(i, Gone());
      } else {
        node->Query(GrowingLegFor(route_.owners[i]), plan, Slot(i));
      }
    }
    for (size_t i = 0; i < route_.holders.size(); ++i) {
      QueryNode* node = proxy_->peers()->query_node(route_.holders[i].node);
      if (node == nullptr) {
        Arrived(owners + i, Gone());
      } else {
        node->Query(SealedLegFor(route_.holders[i]), plan, Slot(owners + i));
      }
    }
    OneLess();
  }

  static Status Gone() { return {ErrorCode::kNodeNotFound, "a node of the route is gone"}; }

  Callback<QueryRows> Slot(size_t i) {
    return [self = std::static_pointer_cast<QueryOperation>(shared_from_this()), i](Result<QueryRows> rows) { self->Arrived(i, std::move(rows)); };
  }

  void Arrived(size_t i, Result<QueryRows> rows) {
    if (rows.ok()) {
      parts_[i] = std::move(*rows);
    } else {
      MutexLock lock(mutex_);
      failed_ = rows.status();
    }
    OneLess();
  }

  void OneLess() {
    if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) Merge();
  }

  void Merge() {
    if (!failed_.ok()) return Failed(failed_);
    times_.legs_us = MonotonicUs();
    QueryPlan last = *plan_;
    last.cut_offset = true;
    QueryRows rows = MergeRows(last, std::move(parts_));
    times_.merged_us = times_.fetched_us = MonotonicUs();
    if (rows.rows.size_bytes() > proxy_->limits().result_bytes) {
      return Refuse(Unexpected(fmt::format("query results exceed the maxOutputSize Limit {}", proxy_->limits().result_bytes)));
    }
    QueryReply reply;
    reply.collection = collection_;
    reply.count_only = plan_->count_only;
    reply.count = rows.count;
    reply.read_ts = view_.read_ts;
    reply.output_fields = names_;
    reply.columns = Columns(std::move(rows.rows));
    done_(std::move(reply));  // encodes and sends
    times_.answered_us = MonotonicUs();
    LogIfSlow(*proxy_, "query", *collection_, times_, filter_, Status());
  }

  // Every field in its place, also when nothing was found.
  std::vector<Column> Columns(RowBatch batch) const {
    std::vector<Column> columns;
    if (plan_->count_only) return columns;
    for (const FieldId id : plan_->output_fields) {
      const FieldSchema* field = collection_->schema->Find(id);
      if (field == nullptr) field = plan_->schema->Find(id);
      const auto it = std::find_if(batch.columns.begin(), batch.columns.end(), [&](const Column& c) { return c.field == id; });
      columns.push_back(it != batch.columns.end() ? std::move(*it) : Column(*field));
      columns.back().field = id;
      columns.back().name = field->name;
      columns.back().is_dynamic = field->is_dynamic;
    }
    return columns;
  }

  void Refuse(const Status& status) override {
    const Status told = status.WithContext("failed to query");
    LogIfSlow(*proxy_, "query", *collection_, times_, filter_, told);
    done_(told);
  }

  const std::shared_ptr<QueryPlan> plan_;
  const std::vector<std::string> names_;
  const std::string filter_;
  const Callback<QueryReply> done_;
  std::vector<QueryRows> parts_;
  std::atomic<size_t> left_{0};
  Mutex mutex_;
  Status failed_;
};

// A filter for `key in […]`, by way of a template so that keys need no quoting.
Result<FilterPtr> KeysFilter(const CollectionPtr& collection, const PrimaryKeys& keys) {
  TemplateValues templates;
  TemplateValue& list = templates["keys"];
  list.is_list = true;
  for (const int64_t key : keys.ints) list.list.emplace_back(key);
  for (const std::string& key : keys.strings) list.list.emplace_back(key);
  return ParseFilter(collection->schema->PrimaryKey().name + " in {keys}", collection->schema, templates);
}

Status CheckWindow(const QueryCall& call, const ProxyLimits& limits) {
  if (call.limit < 0) return {};
  const auto bad = [](std::string why) { return Unexpected("invalid max query result window, " + why); };
  if (call.offset < 0) return bad(fmt::format("offset [{}] is invalid, should be gte than 0", call.offset));
  if (call.limit == 0) return bad(fmt::format("limit [{}] is invalid, should be greater than 0", call.limit));
  if (call.offset > limits.result_window || call.offset + call.limit > limits.result_window) {
    return bad(fmt::format("(offset+limit) should be in range [1, {}], but got {}", limits.result_window,
                           static_cast<int64_t>(static_cast<uint64_t>(call.offset) + static_cast<uint64_t>(call.limit))));
  }
  return {};
}

}  // namespace

void Proxy::Query(const CallContext& context, QueryCall call, Callback<QueryReply> done) {
  const auto found = FindCollection(context, call.collection);
  if (!found.ok()) return done(found.status());
  const CollectionPtr collection = *found;
  if (collection->schema->PartitionKey() != nullptr && !call.partitions.empty()) {
    return done(Unexpected("not support manually specifying the partition names if partition key mode is used"));
  }
  for (const std::string& name : call.partitions) {
    if (Status bad = CheckPartitionName(name, false, limits()); !bad.ok()) return done(bad);
  }
  if (Status bad = CheckWindow(call, limits()); !bad.ok()) return done(bad);
  auto plan = std::make_shared<QueryPlan>();
  plan->schema = collection->schema;
  plan->deadline_us = DeadlineUs(context);
  plan->count_only = IsCount(call.output_fields);
  auto filter = call.keys.has_value() ? KeysFilter(collection, *call.keys) : ParseFilterCached(collection, call.filter, call.templates);
  if (!filter.ok()) return done(filter.status());
  plan->filter = std::move(*filter);
  std::vector<std::string> names;
  if (plan->count_only) {
    if (call.limit >= 0) return done(Unexpected("count entities with pagination is not allowed"));
    names = {"count(*)"};
  } else {
    auto outputs = ResolveOutputs(*collection->schema, call.output_fields, /*add_primary=*/true);
    if (!outputs.ok()) return done(outputs.status());
    plan->output_fields = std::move(outputs->fields);
    names = std::move(outputs->names);
    if (plan->filter == nullptr && call.limit < 0) return done(Unexpected("empty expression should be used with limit"));
  }
  plan->limit = call.limit;
  plan->offset = call.offset;
  auto partitions = PartitionsToRead(*collection, call.partitions, plan->filter.get());
  if (!partitions.ok()) return done(partitions.status());
  std::make_shared<QueryOperation>(this, context, collection, std::move(*partitions), call, std::move(plan), std::move(names), std::move(done))
      ->Start();
}

}  // namespace saker
