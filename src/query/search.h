// Searching and querying segments, and the one implementation of the top-k merge.
//
// A plan is made once per request by the proxy and shared by all legs; legs run it over their segments; Merge joins
// segments at a node and nodes at the proxy alike.
#pragma once

#include <atomic>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "expr/filter.h"
#include "model/schema.h"
#include "segment/segment.h"

namespace saker {

// A place in a plan for a form of it that is made once and shared by its legs: how it travels to other processes. A copy
// of the plan makes its own. Thread-safe.
class PlanForm {
 public:
  PlanForm() = default;
  PlanForm(const PlanForm&) {}
  PlanForm& operator=(const PlanForm&) {
    MutexLock lock(mutex_);
    form_.reset();
    return *this;
  }
  // `make` runs the first time only.
  template <typename Make>
  std::shared_ptr<const std::string> Get(Make make) const {
    MutexLock lock(mutex_);
    if (form_ == nullptr) form_ = std::make_shared<const std::string>(make());
    return form_;
  }

 private:
  mutable Mutex mutex_;
  mutable std::shared_ptr<const std::string> form_ GUARDED_BY(mutex_);
};

// Of a plan's deadline: none.
inline constexpr int64_t kNoDeadlineUs = INT64_MAX;

struct SearchPlan {
  SchemaPtr schema;
  FieldId vector_field;
  DataType vector_type = DataType::kFloatVector;
  Metric metric = Metric::kNone;
  int dim = 0;
  int nq = 0;
  std::string queries;            // nq * row_bytes, raw
  int row_bytes = 0;
  VectorSearchParams params;      // k = limit + offset
  FilterPtr filter;               // null: all rows
  bool ignore_growing = false;
  // Grouping: at most group_size rows for each value of the field; k counts groups. 0: no grouping. The rows of a group
  // stand together, nearest first; groups are ordered by their nearest row. Not strict: a group may have fewer rows than
  // there are. Null is a group of its own.
  FieldId group_by;
  int group_size = 1;
  bool strict_group_size = false;
  // Iterator: only rows farther than this distance, for the next batch. See search_iterator in proxy/search.cc.
  bool has_bound = false;
  float bound_distance = 0;
  int64_t deadline_us = kNoDeadlineUs;  // of MonotonicUs(): when the request ends; calls to other processes wait no longer
  PlanForm encoded;
};

// Bytes that the legs of one attempt at an unlimited query may still fetch, so that one that matches a whole collection
// is refused before it is in memory. Thread-safe.
struct FetchBudget {
  // Twice as much as the answer may take: a key may lie in two segments, of which the merge keeps one.
  explicit FetchBudget(int64_t result_bytes) : limit(result_bytes), left(2 * result_bytes) {}
  // kUnexpected once it is used up.
  Status Take(int64_t bytes);
  const int64_t limit;
  std::atomic<int64_t> left;
};

struct QueryPlan {
  SchemaPtr schema;
  FilterPtr filter;
  bool count_only = false;
  int64_t limit = -1;             // -1: all; of the whole request: legs may return up to limit + offset
  int64_t offset = 0;
  std::vector<FieldId> output_fields;
  std::shared_ptr<FetchBudget> budget;  // null: what limit and offset allow
  // Set by the proxy on its copy of the plan, for its last merge: MergeRows then drops the first `offset` rows. Without
  // it legs and merges keep the limit + offset smallest keys.
  bool cut_offset = false;
  int64_t deadline_us = kNoDeadlineUs;  // as SearchPlan's
  PlanForm encoded;
};

struct ReadView {
  Timestamp read_ts = 0;
  Timestamp expired_before = 0;   // TTL; 0: none
};
// The refusal of a read at a time whose rows have since been deleted and left out of all files.
Status RowsGone(Timestamp read_ts);

// One row found: where it is, so that its other fields can be fetched later, and what ranks it.
struct Hit {
  float distance = 0;
  SegmentId segment;
  int64_t row = 0;
};

// Hits of all queries of a request, per query nearest first.
struct SearchHits {
  std::vector<int64_t> offsets;   // nq + 1
  std::vector<Hit> hits;
  PrimaryKeys keys;               // of hits
  std::vector<Value> groups;      // of hits, if grouping
  int64_t segments_searched = 0;
  int64_t rows_considered = 0;    // after filter and visibility
};

// Rows of a query, by rising key, each key once (its newest version).
struct QueryRows {
  int64_t count = 0;              // count_only
  PrimaryKeys keys;
  std::vector<Timestamp> timestamps;  // insert ts of each: the newest version of a key wins
  RowBatch rows;                  // output fields
};

// Runs the plan over one segment for all its queries. Thread-safe. Never fails for data's sake: what can't match is
// simply not found. It fails with kCorrupted for a damaged file, kParameterInvalid for queries of a wrong size.
Result<SearchHits> SearchSegment(const SearchPlan& plan, const Segment& segment, const ReadView& view);
Result<QueryRows> QuerySegment(const QueryPlan& plan, const Segment& segment, const ReadView& view);

// The merge: k nearest per query over parts, a key once (its nearest; the segments' visibility made older versions
// invisible already), groups honoured. Used at node and proxy.
SearchHits MergeHits(const SearchPlan& plan, std::vector<SearchHits> parts);
QueryRows MergeRows(const QueryPlan& plan, std::vector<QueryRows> parts);

// The output fields of given rows of a segment, in the order given. $meta is a JSON column like any other.
Result<RowBatch> FetchRows(const Segment& segment, const CollectionSchema& schema, std::span<const int64_t> rows,
                           std::span<const FieldId> fields);

}  // namespace saker
