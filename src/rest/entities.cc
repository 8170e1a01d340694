// entities/…: insert, upsert, delete, get, query, search, hybrid_search.
#include <fmt/format.h>

#include <charconv>

#include "proxy/json.h"
#include "proxy/validate.h"
#include "rest/call.h"
#include "rest/json_input.h"
#include "rest/row_writer.h"

namespace saker {
namespace {

constexpr int64_t kDefaultLimit = 100;
constexpr std::string_view kNoCost = ",\"cost\":0";

// Runs the part that can fail at once; the rest answers later.
template <Status (*Start)(const RestCallPtr&)>
void Later(RestCallPtr call) {
  const Status started = Start(call);
  if (!started.ok()) call->Fail(started);
}

Result<CollectionPtr> FindCollection(const RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, call.CollectionName());
  return call.proxy->FindCollection(call.context, name);
}

Result<ConsistencyWish> ReadConsistency(const Members& body) {
  ConsistencyWish wish;
  ASSIGN_OR_RETURN(const std::string name, body.Text("consistencyLevel"));
  wish.use_default = name.empty();
  if (name.empty()) return wish;
  const auto level = ParseConsistency(name);
  if (!level.has_value()) {
    return InvalidParameter(fmt::format("consistencyLevel can only be [Strong, Session, Bounded, Eventually, Customized], default: Bounded, "
                                        "err:parameter:'{}' is incorrect, please check it", name));
  }
  wish.level = *level;
  return wish;
}

// ---- writing

Status StartWrite(const RestCallPtr& call, bool upsert) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(*call));
  ASSIGN_OR_RETURN(const bool partial, call->members().Bool("partialUpdate", false));
  if (partial) return InvalidParameter("partial upsert is not supported by this version");
  ASSIGN_OR_RETURN(const std::string partition, call->members().Text("partitionName"));
  ASSIGN_OR_RETURN(RowsCall rows, ReadRows(call->members(), *collection->schema));
  ASSIGN_OR_RETURN(rows.collection, call->CollectionName());
  rows.partition = partition;
  call->body.reset();  // large, and done with
  auto done = [call, upsert](Result<MutationReply> reply) {
    if (!reply.ok()) return call->Fail(reply.status());
    std::string data = fmt::format("{{\"{0}Count\":{1},\"{0}Ids\":", upsert ? "upsert" : "insert", upsert ? reply->upserted : reply->inserted);
    WriteKeys(reply->keys, call->int64_as_number, data);
    data += '}';
    call->Succeed(data, kNoCost);
  };
  upsert ? call->proxy->Upsert(call->context, std::move(rows), std::move(done)) : call->proxy->Insert(call->context, std::move(rows), std::move(done));
  return {};
}
Status StartInsert(const RestCallPtr& call) { return StartWrite(call, false); }
Status StartUpsert(const RestCallPtr& call) { return StartWrite(call, true); }

std::string KeysFilter(const FieldSchema& key_field, const PrimaryKeys& keys) {
  std::string filter = key_field.name + " in [";
  for (int64_t i = 0; i < keys.size(); ++i) {
    if (i > 0) filter += ',';
    if (!keys.is_string) {
      filter += std::to_string(keys.ints[static_cast<size_t>(i)]);
      continue;
    }
    filter += '"';
    for (const char c : keys.strings[static_cast<size_t>(i)]) {
      if (c == '"' || c == '\\') filter += '\\';
      filter += c;
    }
    filter += '"';
  }
  return filter + "]";
}

Status StartDelete(const RestCallPtr& call) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(*call));
  DeleteCall wanted;
  ASSIGN_OR_RETURN(wanted.collection, call->CollectionName());
  ASSIGN_OR_RETURN(wanted.partition, call->members().Text("partitionName"));
  ASSIGN_OR_RETURN(wanted.filter, call->members().Text("filter"));
  ASSIGN_OR_RETURN(wanted.templates, ReadTemplates(call->members(), "exprParams"));
  if (wanted.filter.empty()) {
    const auto id = call->members().Find("id");
    if (!id.has_value()) return MissingParameter("filter is required");
    const FieldSchema& key = collection->schema->PrimaryKey();
    ASSIGN_OR_RETURN(const PrimaryKeys keys, ReadKeys(*id, key));
    wanted.filter = KeysFilter(key, keys);
  }
  call->proxy->Delete(call->context, std::move(wanted), [call](Result<MutationReply> reply) {
    if (!reply.ok()) return call->Fail(reply.status());
    call->Succeed(fmt::format("{{\"deleteCount\":{}}}", reply->deleted), kNoCost);
  });
  return {};
}

// ---- query and get

void AnswerQuery(const RestCallPtr& call, const Result<QueryReply>& reply) {
  if (!reply.ok()) return call->Fail(reply.status());
  if (reply->count_only) return call->Succeed(fmt::format("[{{\"count(*)\":{}}}]", reply->count), kNoCost);
  RowsToWrite rows;
  rows.columns = &reply->columns;
  rows.output_fields = &reply->output_fields;
  rows.rows = reply->columns.empty() ? 0 : reply->columns.front().rows();
  rows.int64_as_number = call->int64_as_number;
  std::string data;
  WriteRows(rows, data);
  call->Succeed(data, kNoCost);
}

// What query and get have in common.
Result<QueryCall> ReadQuery(const RestCall& call) {
  const Members& body = call.members();
  QueryCall query;
  ASSIGN_OR_RETURN(query.collection, call.CollectionName());
  ASSIGN_OR_RETURN(query.partitions, body.Texts("partitionNames"));
  ASSIGN_OR_RETURN(std::string partition, body.Text("partitionName"));
  if (!partition.empty() && query.partitions.empty()) query.partitions.push_back(std::move(partition));
  query.output_fields = {"*"};
  if (body.Find("outputFields").has_value()) {
    ASSIGN_OR_RETURN(query.output_fields, body.Texts("outputFields"));
  }
  ASSIGN_OR_RETURN(query.consistency, ReadConsistency(body));
  return query;
}

bool CountsOnly(const std::vector<std::string>& outputs) {
  std::string text;
  for (const char c : outputs.size() == 1 ? outputs.front() : std::string()) {
    if (c != ' ') text += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return text == "count(*)";
}

Status StartQuery(const RestCallPtr& call) {
  const Members& body = call->members();
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(*call));
  ASSIGN_OR_RETURN(QueryCall query, ReadQuery(*call));
  ASSIGN_OR_RETURN(query.filter, body.Text("filter"));
  ASSIGN_OR_RETURN(query.templates, ReadTemplates(body, "exprParams"));
  ASSIGN_OR_RETURN(query.limit, body.Int("limit", kDefaultLimit));
  ASSIGN_OR_RETURN(query.offset, body.Int("offset", 0));
  if (query.limit <= 0 || CountsOnly(query.output_fields)) query.limit = -1;
  query.offset = std::max<int64_t>(query.offset, 0);
  if (query.limit < 0) query.offset = 0;
  call->proxy->Query(call->context, std::move(query), [call](Result<QueryReply> reply) { AnswerQuery(call, reply); });
  return {};
}

Status StartGet(const RestCallPtr& call) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(*call));
  const auto id = call->members().Find("id");
  if (!id.has_value()) return MissingParameter("id is required");
  ASSIGN_OR_RETURN(QueryCall query, ReadQuery(*call));
  ASSIGN_OR_RETURN(query.keys, ReadKeys(*id, collection->schema->PrimaryKey()));
  call->proxy->Query(call->context, std::move(query), [call](Result<QueryReply> reply) { AnswerQuery(call, reply); });
  return {};
}

// ---- search

Status SetParam(SearchPart& part, std::string_view key, Json value) {
  const std::string text = TextOf(value);
  if (key == "metric_type" || key == "metricType") {
    part.metric = text;
  } else if (key == "ignore_growing" || key == "ignoreGrowing") {
    if (text != "true" && text != "false") return InvalidParameter(fmt::format("{} should be true or false, but is {}", key, Shown(value)));
    part.ignore_growing = text == "true";
  } else if (key == "round_decimal") {
    const auto number = WholeNumber(value);
    if (!number.has_value() || *number < -1 || *number > 6) {
      return InvalidParameter(fmt::format("round_decimal [{}] is invalid, should be -1 or an integer in range [0, 6]", Shown(value)));
    }
    part.round_decimal = static_cast<int>(*number);
  } else if (const std::string* before = Find(part.params, key); before != nullptr && *before != text) {
    return InvalidParameter(fmt::format("ambiguous parameter: {}, in search_param: {}, in search_param.params: {}", key, text, *before));
  } else {
    Assign(part.params, key, text);
  }
  return {};
}

// Parameters stand in the object itself, in its `params`, or in both if they agree.
Status ReadSearchParams(const Members& params, SearchPart& part) {
  ASSIGN_OR_RETURN(const Members nested, params.Object("params"));
  if (nested.object().has_value()) {
    for (const auto& [key, value] : *nested.object()) RETURN_IF_ERROR(SetParam(part, key, value));
  }
  if (!params.object().has_value()) return {};
  for (const auto& [key, value] : *params.object()) {
    if (key != "params") RETURN_IF_ERROR(SetParam(part, key, value));
  }
  return {};
}

Status ReadGrouping(const Members& body, SearchPart& part) {
  ASSIGN_OR_RETURN(part.group_by, body.Text("groupingField"));
  if (part.group_by.empty()) return {};
  ASSIGN_OR_RETURN(const int64_t size, body.Int("groupSize", 1));
  part.group_size = static_cast<int>(size);
  ASSIGN_OR_RETURN(part.strict_group_size, body.Bool("strictGroupSize", false));
  return {};
}

// `params_name`: searchParams of a search, params of a hybrid search's parts.
Status ReadPart(const Members& json, std::string_view params_name, const CollectionSchema& schema, int64_t default_limit, SearchPart& part) {
  ASSIGN_OR_RETURN(part.vector_field, json.Text("annsField"));
  ASSIGN_OR_RETURN(part.filter, json.Text("filter"));
  ASSIGN_OR_RETURN(part.templates, ReadTemplates(json, "exprParams"));
  ASSIGN_OR_RETURN(part.limit, json.Int("limit", default_limit));
  ASSIGN_OR_RETURN(part.offset, json.Int("offset", 0));
  ASSIGN_OR_RETURN(part.metric, json.Text("metricType"));
  ASSIGN_OR_RETURN(const Members params, json.Object(params_name));
  RETURN_IF_ERROR(ReadSearchParams(params, part));
  return ReadQueries(json, schema, part);
}

Result<SearchCall> ReadSearchCommon(const RestCall& call) {
  const Members& body = call.members();
  for (const char* unknown : {"functionScore", "highlighter", "ids"}) {
    if (body.Find(unknown).has_value()) return InvalidParameter(fmt::format("{} in a search is not supported by this version", unknown));
  }
  SearchCall search;
  ASSIGN_OR_RETURN(search.collection, call.CollectionName());
  ASSIGN_OR_RETURN(search.partitions, body.Texts("partitionNames"));
  ASSIGN_OR_RETURN(search.output_fields, body.Texts("outputFields"));
  ASSIGN_OR_RETURN(search.consistency, ReadConsistency(body));
  return search;
}

void AnswerSearch(const RestCallPtr& call, const Result<SearchReply>& reply) {
  if (!reply.ok()) return call->Fail(reply.status());
  RowsToWrite rows;
  rows.columns = &reply->columns;
  rows.output_fields = &reply->output_fields;
  rows.rows = reply->keys.size();
  rows.key_name = reply->collection->schema->PrimaryKey().name;
  rows.keys = &reply->keys;
  rows.scores = reply->scores;
  rows.int64_as_number = call->int64_as_number;
  std::string data;
  WriteRows(rows, data);
  call->Succeed(data, fmt::format("{},\"topks\":[{}]", kNoCost, fmt::join(reply->counts, ",")));
}

Status StartSearch(const RestCallPtr& call) {
  const Members& body = call->members();
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(*call));
  ASSIGN_OR_RETURN(SearchCall search, ReadSearchCommon(*call));
  SearchPart part;
  RETURN_IF_ERROR(ReadGrouping(body, part));
  ASSIGN_OR_RETURN(const Members earlier, body.Object("params"));  // where 2.4 had radius and range_filter
  RETURN_IF_ERROR(ReadSearchParams(earlier, part));
  RETURN_IF_ERROR(ReadPart(body, "searchParams", *collection->schema, kDefaultLimit, part));
  search.parts.push_back(std::move(part));
  call->body.reset();
  call->proxy->Search(call->context, std::move(search), [call](Result<SearchReply> reply) { AnswerSearch(call, reply); });
  return {};
}

Result<RankWish> ReadRank(const Members& body) {
  RankWish rank;
  ASSIGN_OR_RETURN(const Members rerank, body.Object("rerank"));
  ASSIGN_OR_RETURN(const std::string strategy, rerank.Text("strategy"));
  ASSIGN_OR_RETURN(const Members params, rerank.Object("params"));
  ASSIGN_OR_RETURN(rank.limit, body.Int("limit", kDefaultLimit));
  ASSIGN_OR_RETURN(rank.offset, body.Int("offset", 0));
  if (strategy == "weighted") {
    rank.strategy = RankWish::Strategy::kWeighted;
    ASSIGN_OR_RETURN(const auto weights, params.Array("weights"));
    if (!weights.has_value()) return InvalidParameter("weights not found in rank_params");
    for (const Json weight : *weights) {
      const auto number = RealNumber(weight);
      if (!number.has_value()) return InvalidParameter(fmt::format("{} should be numbers, but one is {}", params.At("weights"), Shown(weight)));
      rank.weights.push_back(static_cast<float>(*number));
    }
    ASSIGN_OR_RETURN(rank.normalize, params.Bool("norm_score", true));
    return rank;
  }
  if (!strategy.empty() && strategy != "rrf") return InvalidParameter(fmt::format("unsupported rank type {}", strategy));
  if (const auto k = params.Find("k")) {
    const auto number = RealNumber(*k);
    if (!number.has_value()) return InvalidParameter(fmt::format("The type of rank param k should be float, but is {}", Shown(*k)));
    rank.k = *number;
  }
  return rank;
}

Status StartHybridSearch(const RestCallPtr& call) {
  const Members& body = call->members();
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(*call));
  ASSIGN_OR_RETURN(SearchCall search, ReadSearchCommon(*call));
  if (body.Find("groupingField").has_value()) return InvalidParameter("grouping in a hybrid search is not supported by this version");
  ASSIGN_OR_RETURN(search.rank, ReadRank(body));
  ASSIGN_OR_RETURN(const auto parts, body.Array("search"));
  if (!parts.has_value()) return MissingParameter("search is required");
  for (const Json value : *parts) {
    const std::string where = fmt::format("search[{}]", search.parts.size());
    simdjson::dom::object object;
    if (value.get_object().get(object) != simdjson::SUCCESS) return WrongFormat(fmt::format("{} should be an object, but is {}", where, Shown(value)));
    SearchPart part;
    RETURN_IF_ERROR(ReadPart(Members(object, where + "."), "params", *collection->schema, search.rank->limit, part));
    search.parts.push_back(std::move(part));
  }
  if (search.parts.empty()) return MissingParameter("search should have at least one request");
  call->body.reset();
  call->proxy->Search(call->context, std::move(search), [call](Result<SearchReply> reply) { AnswerSearch(call, reply); });
  return {};
}

}  // namespace

void AddEntityEndpoints(Endpoints& endpoints) {
  endpoints.insert(endpoints.end(), {
      {"entities/insert", "InsertRequest", true, true, nullptr, Later<StartInsert>},
      {"entities/upsert", "UpsertRequest", true, true, nullptr, Later<StartUpsert>},
      {"entities/delete", "DeleteRequest", true, true, nullptr, Later<StartDelete>},
      {"entities/query", "QueryRequest", true, true, nullptr, Later<StartQuery>},
      {"entities/get", "QueryRequest", true, true, nullptr, Later<StartGet>},
      {"entities/search", "SearchRequest", true, true, nullptr, Later<StartSearch>},
      {"entities/hybrid_search", "HybridSearchRequest", true, true, nullptr, Later<StartHybridSearch>},
      {"entities/advanced_search", "HybridSearchRequest", true, true, nullptr, Later<StartHybridSearch>},
  });
}

}  // namespace saker
