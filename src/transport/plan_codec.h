// Plans between processes. A plan is encoded once per request and its bytes are shared by all its legs (PlanForm). It
// carries its schema and its filter's text with the template values; the receiver parses the filter against that schema,
// as the sender did, so that both mean the same. Schemas and filters that come again are found by their bytes.
#pragma once

#include "base/mutex.h"
#include "query/search.h"
#include "transport/codec.h"
#include "transport/lru_cache.h"

namespace saker {

// The filter must come from ParseFilter: another one has nothing to send (CanTravel).
void WritePlan(const SearchPlan& plan, WireWriter& out);
// The budget travels as its limit: the receiver makes one of its own.
void WritePlan(const QueryPlan& plan, WireWriter& out);
// False for a filter that was not made by ParseFilter.
bool CanTravel(const FilterPtr& filter);

// Reads plans. Thread-safe.
class PlanReader {
 public:
  PlanReader();
  // A plan that is not sound (queries of a wrong size, a field that the schema lacks, a filter that can't be parsed) is
  // an error, as are bytes that don't decode. The deadline is the call's.
  Result<std::shared_ptr<const SearchPlan>> ReadSearch(WireReader& in);
  Result<std::shared_ptr<const QueryPlan>> ReadQuery(WireReader& in);
  int64_t filters_parsed() const;  // not found by their bytes

 private:
  struct Parsed {
    SchemaPtr schema;  // keeps its address, which is part of the key
    FilterPtr filter;
  };
  Result<SchemaPtr> ReadSchema(FrameReader& in);
  Result<FilterPtr> ReadFilter(FrameReader& in, const SchemaPtr& schema);

  mutable Mutex mutex_;
  LruCache<SchemaPtr> schemas_ GUARDED_BY(mutex_);
  LruCache<Parsed> filters_ GUARDED_BY(mutex_);
  int64_t filters_parsed_ GUARDED_BY(mutex_) = 0;
};

}  // namespace saker
