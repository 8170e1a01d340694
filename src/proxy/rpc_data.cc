// RPCs of rows: insert, upsert, delete, search, hybrid search, query.
#include <fmt/format.h>

#include <charconv>

#include "proxy/column_codec.h"
#include "proxy/json.h"
#include "proxy/placeholder.h"
#include "proxy/result_codec.h"
#include "proxy/service.h"
#include "proxy/validate.h"
#include "rpc/status_codec.h"

namespace saker {
namespace {

using Pairs = google::protobuf::RepeatedPtrField<wire::common::KeyValuePair>;

const std::string* Get(const Pairs& pairs, std::string_view key) {
  for (const auto& pair : pairs) {
    if (pair.key() == key) return &pair.value();
  }
  return nullptr;
}

// As Go's strconv.ParseBool.
std::optional<bool> ParseBool(std::string_view text) {
  for (const char* yes : {"1", "t", "T", "TRUE", "true", "True"}) {
    if (text == yes) return true;
  }
  for (const char* no : {"0", "f", "F", "FALSE", "false", "False"}) {
    if (text == no) return false;
  }
  return std::nullopt;
}

bool IsTrue(const Pairs& pairs, std::string_view key) {
  const std::string* text = Get(pairs, key);
  return text != nullptr && ParseBool(*text).value_or(false);
}

Status ReadBool(const Pairs& pairs, std::string_view key, const char* message, bool& out) {
  const std::string* text = Get(pairs, key);
  if (text == nullptr) return {};
  const auto parsed = ParseBool(*text);
  if (!parsed.has_value()) return Unexpected(message);
  out = *parsed;
  return {};
}

template <typename T>
Status ReadInt(const Pairs& pairs, std::string_view key, T& out) {
  const std::string* text = Get(pairs, key);
  if (text == nullptr) return {};
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  const bool fits = value >= std::numeric_limits<T>::min() && value <= std::numeric_limits<T>::max();
  if (error != std::errc() || end != text->data() + text->size() || !fits) return Unexpected(fmt::format("{} [{}] is invalid", key, *text));
  out = static_cast<T>(value);
  return {};
}

template <typename Request>
RowsCall ToRows(const Request& r, const CollectionSchema& schema) {
  RowsCall call;
  call.collection = r.collection_name();
  call.partition = r.partition_name();
  call.rows = r.num_rows();
  call.schema_timestamp = r.schema_timestamp();
  call.columns.reserve(static_cast<size_t>(r.fields_data_size()));
  for (const auto& field : r.fields_data()) call.columns.push_back(DecodeColumn(field, schema, call.rows));
  return call;
}

// A client with an outdated schema refreshes it and sends again when it sees this code.
bool SchemaMismatch(const Collection& collection, Timestamp sent, wire::common::Status* out) {
  if (sent == 0 || sent == collection.updated) return false;
  SetStatus(Unexpected(fmt::format("collection schema mismatch[collection={}]: the collection's schema was changed, describe it again",
                                   collection.name)),
            wire::common::SchemaMismatch, out);
  return true;
}

Callback<MutationReply> Respond(const Responder<wire::milvus::MutationResult>& respond, int64_t rows) {
  return [respond, rows](Result<MutationReply> reply) {
    if (!reply.ok()) {
      // Which rows: all of them.
      for (int64_t i = 0; i < rows; ++i) respond.message().add_err_index(static_cast<uint32_t>(i));
      return respond.Fail(reply.status());
    }
    EncodeMutation(*reply, rows, &respond.message());
    respond.Send();
  };
}

template <typename Request>
ConsistencyWish ToConsistency(const Request& r) {
  ConsistencyWish wish;
  wish.use_default = r.use_default_consistency();
  // A level that isn't known here leaves the timestamp to decide, as in Milvus.
  const bool known = wire::common::ConsistencyLevel_IsValid(r.consistency_level());
  wish.level = known ? static_cast<ConsistencyLevel>(r.consistency_level()) : ConsistencyLevel::kCustomized;
  wish.guarantee_ts = r.guarantee_timestamp();
  return wish;
}

Status Unsupported(std::string_view what) { return InvalidParameter(fmt::format("{} not supported by this version", what)); }

// Beside `params` newer clients put what isn't the index's own into the pairs themselves.
Status FillSearchParams(const Pairs& pairs, SearchPart& part) {
  for (const char* unknown : {"order_by_fields", "group_by_fields", "json_path"}) {
    if (Get(pairs, unknown) != nullptr) return Unsupported(fmt::format("search parameter {} is", unknown));
  }
  if (Get(pairs, "topk") == nullptr && Get(pairs, "limit") == nullptr) return Unexpected("topk not found in search_params");
  RETURN_IF_ERROR(ReadInt(pairs, "limit", part.limit));
  RETURN_IF_ERROR(ReadInt(pairs, "topk", part.limit));
  RETURN_IF_ERROR(ReadInt(pairs, "offset", part.offset));
  const Status decimal = ReadInt(pairs, "round_decimal", part.round_decimal);
  if (!decimal.ok()) return Unexpected(decimal.message() + ", should be -1 or an integer in range [0, 6]");
  RETURN_IF_ERROR(ReadBool(pairs, "ignore_growing", "parse search growing failed", part.ignore_growing));
  if (const std::string* metric = Get(pairs, "metric_type")) part.metric = *metric;
  if (const std::string* field = Get(pairs, "anns_field")) part.vector_field = *field;
  if (const std::string* group = Get(pairs, "group_by_field")) part.group_by = *group;
  RETURN_IF_ERROR(ReadInt(pairs, "group_size", part.group_size));
  RETURN_IF_ERROR(ReadBool(pairs, "strict_group_size", "parse strict_group_size failed", part.strict_group_size));
  if (const std::string* params = Get(pairs, "params")) {
    auto parsed = ParseFlatJson(*params);
    if (!parsed.ok()) return parsed.status();
    part.params = std::move(*parsed);
  }
  for (const char* key : {"ef", "nprobe", "level", "radius", "range_filter", "search_list", "reorder_k"}) {
    const std::string* value = Get(pairs, key);
    if (value != nullptr && Find(part.params, key) == nullptr) part.params.emplace_back(key, *value);
  }
  return {};
}

template <typename Request>
Result<SearchPart> ToPart(const Request& r) {
  SearchPart part;
  RETURN_IF_ERROR(FillSearchParams(r.search_params(), part));
  part.filter = r.dsl();
  ASSIGN_OR_RETURN(part.templates, ToTemplates(r.expr_template_values()));
  auto queries = DecodePlaceholders(r.placeholder_group());
  if (!queries.ok()) {
    // Too many or none is told as Milvus does, by number.
    const auto count = CountPlaceholders(r.placeholder_group());
    if (!count.ok() || *count != 0) return queries.status();
    return part;
  }
  part.query_type = queries->type;
  part.nq = queries->nq;
  part.row_bytes = queries->row_bytes;
  part.queries = std::move(queries->bytes);
  return part;
}

Result<SearchCall> ToSearch(const wire::milvus::SearchRequest& r) {
  if (r.has_ids() || r.search_by_primary_keys()) return Unsupported("search by primary keys is");
  if (r.sub_reqs_size() > 0) return Unsupported("a search with sub requests is");
  if (r.has_search_aggregation()) return Unsupported("search aggregation is");
  if (r.has_function_score() && r.function_score().functions_size() > 0) return Unsupported("a search with a reranker function is");
  if (r.function_chains_size() > 0) return Unsupported("a search with function chains is");
  if (r.has_highlighter()) return Unsupported("highlighting is");
  SearchCall call;
  call.collection = r.collection_name();
  call.partitions.assign(r.partition_names().begin(), r.partition_names().end());
  call.output_fields.assign(r.output_fields().begin(), r.output_fields().end());
  ASSIGN_OR_RETURN(SearchPart part, ToPart(r));
  call.parts.push_back(std::move(part));
  call.consistency = ToConsistency(r);
  call.pinned = IsTrue(r.search_params(), "iterator");
  return call;
}

Result<RankWish> ToRank(const Pairs& pairs) {
  RankWish rank;
  RETURN_IF_ERROR(ReadInt(pairs, "limit", rank.limit));
  RETURN_IF_ERROR(ReadInt(pairs, "offset", rank.offset));
  RETURN_IF_ERROR(ReadInt(pairs, "round_decimal", rank.round_decimal));
  const std::string* strategy = Get(pairs, "strategy");
  const std::string* text = Get(pairs, "params");
  ASSIGN_OR_RETURN(const KeyValues params, ParseFlatJson(text == nullptr ? "" : *text));
  if (strategy != nullptr && *strategy == "weighted") {
    rank.strategy = RankWish::Strategy::kWeighted;
    const std::string* weights = Find(params, "weights");
    if (weights == nullptr) return InvalidParameter("weights not found in rank_params");
    ASSIGN_OR_RETURN(const std::vector<double> numbers, ParseNumbers(*weights));
    rank.weights.assign(numbers.begin(), numbers.end());
    if (const std::string* normalize = Find(params, "norm_score")) rank.normalize = ParseBool(*normalize).value_or(true);
    return rank;
  }
  if (strategy != nullptr && *strategy != "rrf") return InvalidParameter(fmt::format("unsupported rank type {}", *strategy));
  if (const std::string* k = Find(params, "k")) {
    const auto [end, error] = std::from_chars(k->data(), k->data() + k->size(), rank.k);
    if (error != std::errc() || end != k->data() + k->size()) {
      return InvalidParameter(fmt::format("The type of rank param k should be float, but is {}", *k));
    }
  }
  return rank;
}

Result<SearchCall> ToHybrid(const wire::milvus::HybridSearchRequest& r) {
  if (r.has_function_score() && r.function_score().functions_size() > 0) return Unsupported("a hybrid search with a reranker function is");
  if (r.function_chains_size() > 0) return Unsupported("a hybrid search with function chains is");
  for (const char* unknown : {"group_by_field", "group_size", "strict_group_size"}) {
    if (Get(r.rank_params(), unknown) != nullptr) return Unsupported("grouping in a hybrid search is");
  }
  SearchCall call;
  call.collection = r.collection_name();
  call.partitions.assign(r.partition_names().begin(), r.partition_names().end());
  call.output_fields.assign(r.output_fields().begin(), r.output_fields().end());
  ASSIGN_OR_RETURN(call.rank, ToRank(r.rank_params()));
  for (const auto& request : r.requests()) {
    ASSIGN_OR_RETURN(SearchPart part, ToPart(request));
    call.parts.push_back(std::move(part));
  }
  call.consistency = ToConsistency(r);
  return call;
}

Result<QueryCall> ToQuery(const wire::milvus::QueryRequest& r) {
  const Pairs& pairs = r.query_params();
  for (const char* unknown : {"order_by_fields", "group_by_fields", "aggregates"}) {
    if (Get(pairs, unknown) != nullptr) return Unsupported(fmt::format("query parameter {} is", unknown));
  }
  QueryCall call;
  call.collection = r.collection_name();
  call.partitions.assign(r.partition_names().begin(), r.partition_names().end());
  call.output_fields.assign(r.output_fields().begin(), r.output_fields().end());
  call.filter = r.expr();
  ASSIGN_OR_RETURN(call.templates, ToTemplates(r.expr_template_values()));
  RETURN_IF_ERROR(ReadBool(pairs, "ignore_growing", "parse search growing failed", call.ignore_growing));
  if (Get(pairs, "limit") != nullptr) {
    RETURN_IF_ERROR(ReadInt(pairs, "limit", call.limit));
    RETURN_IF_ERROR(ReadInt(pairs, "offset", call.offset));
    if (call.limit < 0) {
      return Unexpected(fmt::format("invalid max query result window, limit [{}] is invalid, should be greater than 0", call.limit));
    }
  }
  call.consistency = ToConsistency(r);
  call.pinned = IsTrue(pairs, "iterator");
  return call;
}

}  // namespace

void MilvusService::RegisterData(MethodTable& table) {
  ThreadPool* pool = p_->search_pool();
  constexpr bool kOftenBrief = true;
  Add(table, "Insert", pool, &MilvusService::Insert, kOftenBrief);
  Add(table, "Upsert", pool, &MilvusService::Upsert, kOftenBrief);
  Add(table, "Delete", pool, &MilvusService::Delete, kOftenBrief);
  Add(table, "Search", pool, &MilvusService::Search, kOftenBrief);
  Add(table, "HybridSearch", pool, &MilvusService::HybridSearch, kOftenBrief);
  Add(table, "Query", pool, &MilvusService::Query, kOftenBrief);
}

void MilvusService::Insert(RequestContext& context, const wire::milvus::InsertRequest& r, Responder<wire::milvus::MutationResult> respond) {
  const CallContext call = Data(context, r);
  const auto collection = p_->FindCollection(call, r.collection_name());
  if (!collection.ok()) return respond.Fail(collection.status());
  if (SchemaMismatch(**collection, r.schema_timestamp(), respond.message().mutable_status())) return respond.Send();
  p_->Insert(call, ToRows(r, *(*collection)->schema), Respond(respond, r.num_rows()));
}

void MilvusService::Upsert(RequestContext& context, const wire::milvus::UpsertRequest& r, Responder<wire::milvus::MutationResult> respond) {
  const CallContext call = Data(context, r);
  if (r.partial_update()) return respond.Fail(Unsupported("partial upsert is"));
  const auto collection = p_->FindCollection(call, r.collection_name());
  if (!collection.ok()) return respond.Fail(collection.status());
  if (SchemaMismatch(**collection, r.schema_timestamp(), respond.message().mutable_status())) return respond.Send();
  p_->Upsert(call, ToRows(r, *(*collection)->schema), Respond(respond, r.num_rows()));
}

void MilvusService::Delete(RequestContext& context, const wire::milvus::DeleteRequest& r, Responder<wire::milvus::MutationResult> respond) {
  DeleteCall call;
  call.collection = r.collection_name();
  call.partition = r.partition_name();
  call.filter = r.expr();
  auto templates = ToTemplates(r.expr_template_values());
  if (!templates.ok()) return respond.Fail(templates.status());
  call.templates = std::move(*templates);
  p_->Delete(Data(context, r), std::move(call), Respond(respond, 0));
}

void MilvusService::Search(RequestContext& context, const wire::milvus::SearchRequest& r, Responder<wire::milvus::SearchResults> respond) {
  const CallContext call_context = Data(context, r);
  // A missing collection is told before anything else about the request.
  if (const auto found = p_->FindCollection(call_context, r.collection_name()); !found.ok()) return respond.Fail(found.status());
  auto call = ToSearch(r);
  if (!call.ok()) return respond.Fail(call.status());
  p_->Search(call_context, std::move(*call), [respond](Result<SearchReply> reply) {
    if (!reply.ok()) return respond.Fail(reply.status());
    EncodeSearch(*reply, &respond.message());
    respond.Send();
  });
}

void MilvusService::HybridSearch(RequestContext& context, const wire::milvus::HybridSearchRequest& r,
                                 Responder<wire::milvus::SearchResults> respond) {
  const CallContext call_context = Data(context, r);
  if (const auto found = p_->FindCollection(call_context, r.collection_name()); !found.ok()) return respond.Fail(found.status());
  auto call = ToHybrid(r);
  if (!call.ok()) return respond.Fail(call.status());
  p_->Search(call_context, std::move(*call), [respond](Result<SearchReply> reply) {
    if (!reply.ok()) return respond.Fail(reply.status());
    EncodeSearch(*reply, &respond.message());
    respond.Send();
  });
}

void MilvusService::Query(RequestContext& context, const wire::milvus::QueryRequest& r, Responder<wire::milvus::QueryResults> respond) {
  const CallContext call_context = Data(context, r);
  if (const auto found = p_->FindCollection(call_context, r.collection_name()); !found.ok()) return respond.Fail(found.status());
  auto call = ToQuery(r);
  if (!call.ok()) return respond.Fail(call.status());
  p_->Query(call_context, std::move(*call), [respond](Result<QueryReply> reply) {
    if (!reply.ok()) return respond.Fail(reply.status());
    EncodeQuery(*reply, &respond.message());
    respond.Send();
  });
}

}  // namespace saker
