// Replies → protobuf: search results, query results, mutation results.
#pragma once

#include "proxy/core.h"
#include "proxy/schema_codec.h"

namespace saker {

void EncodeSearch(const SearchReply& reply, wire::milvus::SearchResults* out);
void EncodeQuery(const QueryReply& reply, wire::milvus::QueryResults* out);
void EncodeMutation(const MutationReply& reply, int64_t rows, wire::milvus::MutationResult* out);

}  // namespace saker
