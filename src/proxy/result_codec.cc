#include "proxy/result_codec.h"

#include <algorithm>

#include "proxy/column_codec.h"

namespace saker {

void EncodeSearch(const SearchReply& reply, wire::milvus::SearchResults* out) {
  out->set_collection_name(reply.collection->name);
  out->set_session_ts(reply.read_ts);
  wire::schema::SearchResultData* results = out->mutable_results();
  results->set_num_queries(reply.nq);
  results->mutable_topks()->Add(reply.counts.begin(), reply.counts.end());
  if (reply.scores.empty()) {
    out->mutable_status()->set_reason("search result is empty");  // as 2.3.5: a success all the same
  }
  results->set_top_k(reply.counts.empty() ? 0 : *std::max_element(reply.counts.begin(), reply.counts.end()));
  results->mutable_scores()->Add(reply.scores.begin(), reply.scores.end());
  EncodeKeys(reply.keys, results->mutable_ids());
  for (const Column& column : reply.columns) EncodeColumn(column, results->add_fields_data());
  for (const std::string& name : reply.output_fields) results->add_output_fields(name);
  results->set_primary_field_name(reply.collection->schema->PrimaryKey().name);
  if (reply.group_field != nullptr) {
    Column groups = ColumnOf(*reply.group_field, reply.groups);
    EncodeColumn(groups, results->mutable_group_by_field_value());
  }
}

void EncodeQuery(const QueryReply& reply, wire::milvus::QueryResults* out) {
  out->set_collection_name(reply.collection->name);
  out->set_session_ts(reply.read_ts);
  for (const std::string& name : reply.output_fields) out->add_output_fields(name);
  out->set_primary_field_name(reply.collection->schema->PrimaryKey().name);
  if (reply.count_only) {
    wire::schema::FieldData* count = out->add_fields_data();
    count->set_type(wire::schema::Int64);
    count->set_field_name("count(*)");
    count->mutable_scalars()->mutable_long_data()->add_data(reply.count);
    return;
  }
  for (const Column& column : reply.columns) EncodeColumn(column, out->add_fields_data());
}

void EncodeMutation(const MutationReply& reply, int64_t rows, wire::milvus::MutationResult* out) {
  EncodeKeys(reply.keys, out->mutable_ids());
  auto* index = out->mutable_succ_index();
  index->Reserve(static_cast<int>(rows));
  for (int64_t i = 0; i < rows; ++i) index->AddAlreadyReserved(static_cast<uint32_t>(i));
  out->set_insert_cnt(reply.inserted);
  out->set_delete_cnt(reply.deleted);
  out->set_upsert_cnt(reply.upserted);
  out->set_timestamp(reply.ts);
}

}  // namespace saker
