// What a client's request is, whatever wire it came by: calls and replies in model types. gRPC (service.h) and REST make
// these; proxy.h carries them out.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "expr/filter.h"
#include "model/column.h"
#include "model/schema.h"

namespace saker {

using Deadline = std::chrono::steady_clock::time_point;

// Who asks, for which database, until when.
struct CallContext {
  std::string user;      // "" if nobody named themselves
  std::string database;  // resolved: never empty
  Deadline deadline;
};
// When the request ends, as a plan says it.
inline int64_t DeadlineUs(const CallContext& context) {
  return std::chrono::duration_cast<std::chrono::microseconds>(context.deadline.time_since_epoch()).count();
}

// ---- rows

// A column as the client sent it. `name` is the client's; the type is the wire's (an Int8 field comes as Int8 already,
// range-checked). What was wrong with it beyond the schema's reach is told in `error`, at the place where Milvus tells it.
struct InputColumn {
  std::string name;
  bool is_dynamic = false;
  std::optional<Column> column;  // none: the field came without values
  Status error;
};

struct RowsCall {
  std::string collection;
  std::string partition;  // "": the default one, or by partition key
  int64_t rows = 0;
  std::vector<InputColumn> columns;
  Timestamp schema_timestamp = 0;  // 0: not checked
};
struct MutationReply {
  PrimaryKeys keys;
  int64_t inserted = 0;
  int64_t deleted = 0;
  int64_t upserted = 0;
  Timestamp ts = 0;
};

struct DeleteCall {
  std::string collection;
  std::string partition;
  std::string filter;
  TemplateValues templates;
};

// ---- reading

// How fresh: as the client said it.
struct ConsistencyWish {
  bool use_default = false;  // the collection's
  ConsistencyLevel level = ConsistencyLevel::kBounded;
  Timestamp guarantee_ts = 0;
};

// One vector search: a request, or one of a hybrid search's.
struct SearchPart {
  std::string vector_field;  // "": the only one
  DataType query_type = DataType::kNone;
  int64_t nq = 0;
  std::string queries;       // rows one after another; row_bytes each
  int row_bytes = 0;
  std::string filter;
  TemplateValues templates;
  std::string metric;        // "": the index's
  int64_t limit = 0;
  int64_t offset = 0;
  KeyValues params;          // ef, nprobe, level, radius, range_filter, …
  bool ignore_growing = false;
  int round_decimal = -1;
  std::string group_by;
  int group_size = 1;
  bool strict_group_size = false;
};

struct RankWish {
  enum class Strategy { kRrf, kWeighted };
  Strategy strategy = Strategy::kRrf;
  double k = 60;
  std::vector<float> weights;
  bool normalize = true;
  int64_t limit = 10;
  int64_t offset = 0;
  int round_decimal = -1;
};

struct SearchCall {
  std::string collection;
  std::vector<std::string> partitions;
  std::vector<std::string> output_fields;
  std::vector<SearchPart> parts;
  std::optional<RankWish> rank;   // hybrid; then any number of parts, else one
  ConsistencyWish consistency;
  bool pinned = false;            // an iterator: guarantee_ts is the very timestamp to read at
};

struct SearchReply {
  CollectionPtr collection;
  Metric metric = Metric::kNone;
  int64_t nq = 0;
  int64_t top_k = 0;              // asked for
  std::vector<int64_t> counts;    // of each query
  std::vector<float> scores;
  PrimaryKeys keys;
  std::vector<Column> columns;    // output fields, in the order of the schema's … as in output_fields below
  std::vector<std::string> output_fields;
  std::vector<Value> groups;      // of each row, if grouping
  const FieldSchema* group_field = nullptr;
  Timestamp read_ts = 0;
};

struct QueryCall {
  std::string collection;
  std::vector<std::string> partitions;
  std::vector<std::string> output_fields;
  std::string filter;
  TemplateValues templates;
  std::optional<PrimaryKeys> keys;  // get by key, instead of a filter
  int64_t limit = -1;
  int64_t offset = 0;
  bool ignore_growing = false;
  ConsistencyWish consistency;
  bool pinned = false;
};
struct QueryReply {
  CollectionPtr collection;
  bool count_only = false;
  int64_t count = 0;
  std::vector<Column> columns;
  std::vector<std::string> output_fields;
  Timestamp read_ts = 0;
};

// ---- metadata

struct IndexCall {
  std::string collection;
  std::string field;
  std::string index_name;
  KeyValues params;  // as given, in order; a value `params` holds a JSON object
};

struct IndexReply {
  IndexMeta index;
  std::string field_name;
  int64_t total_rows = 0;
  int64_t indexed_rows = 0;
  int64_t pending_rows = 0;
  bool finished = false;
  std::string failure;
};

enum class LoadStateReply { kNotExist = 0, kNotLoaded = 1, kLoading = 2, kLoaded = 3 };

}  // namespace saker
