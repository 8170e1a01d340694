// Indexes: what clients ask for, checked and named as Milvus does.
#include <fmt/format.h>

#include "index/vector_index.h"
#include "proxy/json.h"
#include "proxy/proxy.h"
#include "proxy/validate.h"
#include "scalar/scalar_index.h"

namespace saker {
namespace {

constexpr std::string_view kAutoIndex = "AUTOINDEX";

// All parameters one by one: those of the nested JSON object `params` among them.
Result<KeyValues> Flatten(const KeyValues& given) {
  KeyValues flat;
  for (const auto& [key, value] : given) {
    if (key != "params") {
      Assign(flat, key, value);
      continue;
    }
    ASSIGN_OR_RETURN(const KeyValues nested, ParseFlatJson(value));
    for (const auto& [name, text] : nested) Assign(flat, name, text);
  }
  return flat;
}

Result<Metric> MetricOf(const KeyValues& flat, DataType type) {
  const std::string* text = Find(flat, "metric_type");
  const auto parsed = text == nullptr ? std::nullopt : ParseMetric(*text);
  if (parsed.has_value()) return *parsed;
  return Unexpected(fmt::format("metric type not found or not supported, supported: {}",
                                type == DataType::kBinaryVector ? "[HAMMING JACCARD SUBSTRUCTURE SUPERSTRUCTURE]" : "[L2 IP COSINE]"));
}

bool OnlyMmap(const std::string& key) { return key == "mmap.enabled" || key == "dim"; }

// AUTOINDEX takes a metric and nothing else; without an index type nothing else may be said either.
Status FillAutoIndex(const FieldSchema& field, KeyValues& flat, IndexMeta& index) {
  const std::string* metric = Find(flat, "metric_type");
  for (const auto& [key, value] : flat) {
    if (key == "index_type" || key == "metric_type" || OnlyMmap(key) || value.empty()) continue;
    return Unexpected("only metric type can be passed when use AutoIndex");
  }
  // 2.3.5's default here is IP, unlike everywhere else and later.
  Metric chosen = field.type == DataType::kBinaryVector ? DefaultMetric(field.type) : Metric::kIp;
  if (metric != nullptr && !metric->empty()) {
    ASSIGN_OR_RETURN(chosen, MetricOf(flat, field.type));
  }
  index.metric = chosen;
  index.params = {{"index_type", std::string(kAutoIndex)}, {"metric_type", std::string(Name(chosen))}};
  return {};
}

// Parameters without which 2.3.5 builds no index.
Status CheckRequired(const std::string& type, const KeyValues& flat) {
  const auto missing = [&flat](std::string_view key, int64_t low, int64_t high) {
    return Find(flat, key) != nullptr ? Status() : Unexpected(fmt::format("{} out of range: [{}, {}]", key, low, high));
  };
  if (type == "HNSW") {
    RETURN_IF_ERROR(missing("efConstruction", 1, INT32_MAX));
    return missing("M", 1, 2048);
  }
  return type.find("IVF") != std::string::npos ? missing("nlist", 1, 65536) : Status();
}

Status CheckVector(const FieldSchema& field, const IndexCall& call, KeyValues flat, IndexMeta& index) {
  const std::string* type = Find(flat, "index_type");
  const bool is_auto = type == nullptr || type->empty() || *type == kAutoIndex;
  if (is_auto) {
    RETURN_IF_ERROR(FillAutoIndex(field, flat, index));
    index.type = kAutoIndex;
    return CheckIndexParams(index.type, index.metric, field.type, field.dim, index.params);
  }
  index.type = *type;
  if (const std::string* dim = Find(flat, "dim"); dim != nullptr && *dim != std::to_string(field.dim)) {
    return Unexpected(fmt::format("dimension mismatch, dimension in schema: {}, dimension: {}", field.dim, *dim));
  }
  const auto metric = MetricOf(flat, field.type);
  if (metric.ok()) index.metric = *metric;
  // The index type is looked at first: kNone here lets its check say what is wrong with it before the metric's turn.
  RETURN_IF_ERROR(CheckIndexParams(index.type, index.metric, field.type, field.dim, flat));
  RETURN_IF_ERROR(metric.status());
  RETURN_IF_ERROR(CheckRequired(index.type, flat));
  index.params = call.params;
  for (const auto& [key, value] : flat) {
    if (Find(index.params, key) == nullptr) index.params.emplace_back(key, value);
  }
  return {};
}

Status CheckScalar(const FieldSchema& field, const KeyValues& flat, IndexMeta& index) {
  if (field.type == DataType::kJson || field.is_dynamic) {
    return InvalidParameter("supported field", "create index on JSON field", "create index on JSON field is not supported");
  }
  const std::string* given = Find(flat, "index_type");
  std::string type = given != nullptr ? *given : "";
  if (type == "marisa-trie") type = "Trie";
  if (type == "Asceneding") type = "STL_SORT";
  RETURN_IF_ERROR(CheckScalarIndexParams(type, field, flat));
  if (type.empty()) {
    type = IsString(field.type) ? "Trie" : IsNumeric(field.type) ? "STL_SORT" : "INVERTED";
  }
  index.type = type;
  index.params = flat;
  Assign(index.params, "index_type", type);
  return {};
}

// What DescribeIndex shows: what the client gave, in its order. What stands in `params` isn't told twice.
KeyValues ShownParams(const IndexMeta& index) {
  const std::string* nested = Find(index.params, "params");
  if (nested == nullptr) return index.params;
  const auto hidden = ParseFlatJson(*nested);
  KeyValues shown;
  for (const auto& [key, value] : index.params) {
    if (key == "params" || !hidden.ok() || Find(*hidden, key) == nullptr) shown.emplace_back(key, value);
  }
  return shown;
}

Status IndexNotFound(const std::string& collection, const std::string& index_name) {
  return {ErrorCode::kIndexNotFound, index_name.empty() ? fmt::format("index not found[collection={}]", collection)
                                                        : fmt::format("index not found[indexName={}]", index_name)};
}

}  // namespace

Status Proxy::CreateIndex(const CallContext& context, const IndexCall& call) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(context, call.collection));
  RETURN_IF_ERROR(CheckIndexName(call.index_name, limits()));
  const FieldSchema* field = collection->schema->Find(call.field);
  if (field == nullptr) return Unexpected(fmt::format("cannot create index on non-exist field: {}", call.field));
  ASSIGN_OR_RETURN(KeyValues flat, Flatten(call.params));
  IndexMeta index;
  index.field = field->id;
  index.name = call.index_name;
  index.type_params = field->type_params;
  RETURN_IF_ERROR(IsVector(field->type) ? CheckVector(*field, call, std::move(flat), index) : CheckScalar(*field, flat, index));
  const IndexMeta* there = collection->IndexOn(field->id);
  if (there != nullptr && !index.name.empty() && there->name != index.name) {
    return Unexpected("CreateIndex failed: creating multiple indexes on same field is not supported");
  }
  IndexCoord* coord = peers_->index_coord();
  if (coord == nullptr) return CoordinatorAway("indexcoord");
  return Seen(context, coord->CreateIndex(collection->id, index));
}

Status Proxy::DropIndex(const CallContext& context, const std::string& name, const std::string& index_name) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(context, name));
  if (collection->load.loaded) return Unexpected("index cannot be dropped, collection is loaded, please release it first");
  IndexCoord* coord = peers_->index_coord();
  if (coord == nullptr) return CoordinatorAway("indexcoord");
  const auto dropped = coord->DropIndex(collection->id, index_name);
  if (dropped.status().code() == ErrorCode::kIndexNotFound) return {};  // as Milvus: dropping what isn't there succeeds
  return Seen(context, dropped);
}

Status Proxy::AlterIndex(const CallContext& context, const std::string& name, const std::string& index_name, const KeyValues& set,
                         const std::vector<std::string>& erase) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(context, name));
  if (collection->FindIndex(index_name) == nullptr) return IndexNotFound(name, index_name);
  for (const auto& [key, value] : set) {
    if (key != "mmap.enabled") return InvalidParameter(fmt::format("{} is not a configable index property", key));
    if (value != "true" && value != "false" && value != "True" && value != "False") {
      return InvalidParameter(fmt::format("invalid {} value: {}, expected: true, false", key, value));
    }
  }
  if (collection->load.loaded) return Unexpected("can't alter index on loaded collection, please release the collection first");
  IndexCoord* coord = peers_->index_coord();
  if (coord == nullptr) return CoordinatorAway("indexcoord");
  return Seen(context, coord->AlterIndex(collection->id, index_name, set, erase));
}

Result<std::vector<IndexReply>> Proxy::DescribeIndex(const CallContext& context, const std::string& name, const std::string& index_name) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(context, name));
  std::vector<IndexReply> replies;
  for (const IndexMeta& index : collection->indexes) {
    if (index.dropped || (!index_name.empty() && index.name != index_name)) continue;
    IndexCoord* coord = peers_->index_coord();
    if (coord == nullptr) return CoordinatorAway("indexcoord");
    ASSIGN_OR_RETURN(const IndexProgress progress, coord->Progress(collection->id, index.id));
    IndexReply reply;
    reply.index = index;
    reply.index.params = ShownParams(index);
    const FieldSchema* field = collection->schema->Find(index.field);
    if (field != nullptr) reply.field_name = field->name;
    reply.total_rows = progress.total_rows;
    reply.indexed_rows = progress.indexed_rows;
    reply.pending_rows = progress.pending_rows;
    reply.finished = progress.finished;
    reply.failure = progress.failure;
    replies.push_back(std::move(reply));
  }
  if (replies.empty()) return IndexNotFound(name, index_name);
  return replies;
}

}  // namespace saker
