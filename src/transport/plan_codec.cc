#include "transport/plan_codec.h"

#include <fmt/format.h>

#include <algorithm>

#include "transport/messages.h"

namespace saker {
namespace {

constexpr size_t kSchemas = 64;
constexpr size_t kFilters = 256;
constexpr size_t kLongestCachedFilter = 16 << 10;
constexpr int64_t kLargestBudget = int64_t{1} << 40;
constexpr const char* kKeysTemplate = "keys";

enum class FilterForm : uint8_t { kNone = 0, kKeys = 1, kText = 2 };

void WriteFilter(const FilterPtr& filter, WireWriter& out) {
  const FrameWriter::Mark mark = out.out().Begin();
  if (filter == nullptr) {
    out(FilterForm::kNone);
  } else if (const FilterOrigin* origin = filter->origin(); origin != nullptr) {
    out(FilterForm::kText);
    out(origin->text), out(origin->templates);
  } else {
    SAKER_CHECK(CanTravel(filter));
    out(FilterForm::kKeys);
    out(*filter->LimitedToKeys());
  }
  out.out().End(mark);
}

Result<FilterPtr> ParseKeys(const PrimaryKeys& keys, const SchemaPtr& schema) {
  TemplateValues templates;
  TemplateValue& list = templates[kKeysTemplate];
  list.is_list = true;
  for (const int64_t key : keys.ints) list.list.emplace_back(key);
  for (const std::string& key : keys.strings) list.list.emplace_back(key);
  return ParseFilter(fmt::format("{} in {{{}}}", schema->PrimaryKey().name, kKeysTemplate), schema, templates);
}

Result<FilterPtr> ParseBytes(std::string_view bytes, const SchemaPtr& schema) {
  const Frame frame{{{bytes, nullptr}}};
  FrameReader in(frame);
  WireReader reader(in);
  switch (in.Get<FilterForm>()) {
    case FilterForm::kNone: return FilterPtr();
    case FilterForm::kKeys: {
      PrimaryKeys keys;
      reader(keys);
      RETURN_IF_ERROR(reader.status());
      return ParseKeys(keys, schema);
    }
    case FilterForm::kText: {
      FilterOrigin origin;
      reader(origin.text), reader(origin.templates);
      RETURN_IF_ERROR(reader.status());
      return ParseFilter(origin.text, schema, origin.templates);
    }
  }
  return Status(ErrorCode::kCorrupted, "a filter came in a form that this version does not know");
}

Status Unsound(std::string what) { return {ErrorCode::kParameterInvalid, "another node's plan is not sound: " + std::move(what)}; }

Status CheckSound(const SearchPlan& plan) {
  const FieldSchema* field = plan.schema->Find(plan.vector_field);
  if (field == nullptr || !IsVector(field->type)) return Unsound(fmt::format("field {} is no vector", plan.vector_field.value));
  if (field->type != plan.vector_type || field->dim != plan.dim) {
    return Unsound(fmt::format("it searches field '{}' as {} of dimension {}", field->name, Name(plan.vector_type), plan.dim));
  }
  const bool fits = plan.nq >= 0 && plan.row_bytes > 0 && IsFixedWidth(plan.vector_type) &&
                    plan.row_bytes == FixedWidth(plan.vector_type, plan.dim) &&
                    plan.queries.size() == static_cast<size_t>(plan.nq) * static_cast<size_t>(plan.row_bytes);
  if (!fits) {
    return Unsound(fmt::format("{} bytes are not {} queries of {} bytes for dimension {}", plan.queries.size(), plan.nq,
                               plan.row_bytes, plan.dim));
  }
  if (plan.params.k < 0 || plan.group_size < 1) return Unsound(fmt::format("k is {}, the group size {}", plan.params.k, plan.group_size));
  if (plan.group_by && plan.schema->Find(plan.group_by) == nullptr) return Unsound("it groups by a field that is not there");
  return {};
}

Status CheckSound(const QueryPlan& plan) {
  for (const FieldId field : plan.output_fields) {
    if (plan.schema->Find(field) == nullptr) return Unsound(fmt::format("there is no field {}", field.value));
  }
  return {};
}

// What the wire has of a plan beside its schema and its filter, in both directions.
template <typename Codec, Is<SearchPlan> T>
void PlainFields(Codec& codec, T& p) {
  codec(p.vector_field), codec(p.vector_type), codec(p.metric), codec(p.dim), codec(p.nq), codec(p.queries);
  codec(p.row_bytes), codec(p.params), codec(p.ignore_growing), codec(p.group_by), codec(p.group_size);
  codec(p.strict_group_size), codec(p.has_bound), codec(p.bound_distance);
}
template <typename Codec, Is<QueryPlan> T>
void PlainFields(Codec& codec, T& p) {
  codec(p.count_only), codec(p.limit), codec(p.offset), codec(p.output_fields);
}

template <typename Plan>
std::string EncodePlan(const Plan& plan) {
  FrameWriter frame;
  WireWriter out(frame);
  const FrameWriter::Mark mark = frame.Begin();
  out(*plan.schema);
  WriteFilter(plan.filter, out);
  PlainFields(out, plan);
  frame.End(mark);
  return std::move(frame).FinishString();
}

}  // namespace

bool CanTravel(const FilterPtr& filter) {
  return filter == nullptr || filter->origin() != nullptr || (filter->IsKeysOnly() && filter->LimitedToKeys().has_value());
}

void WritePlan(const SearchPlan& plan, WireWriter& out) {
  out.out().Shared(plan.encoded.Get([&plan] { return EncodePlan(plan); }));
}

void WritePlan(const QueryPlan& plan, WireWriter& out) {
  out.out().Shared(plan.encoded.Get([&plan] { return EncodePlan(plan); }));
  // Not among the shared bytes: each attempt at a query has a budget of its own.
  out(plan.budget == nullptr ? int64_t{-1} : plan.budget->limit);
}

PlanReader::PlanReader() : schemas_(kSchemas), filters_(kFilters) {}

int64_t PlanReader::filters_parsed() const {
  MutexLock lock(mutex_);
  return filters_parsed_;
}

Result<SchemaPtr> PlanReader::ReadSchema(FrameReader& in) {
  std::string scratch;
  const std::string_view bytes = in.GetRaw(in.Get<uint32_t>(), scratch);
  RETURN_IF_ERROR(in.status());
  {
    MutexLock lock(mutex_);
    if (const SchemaPtr* known = schemas_.Find(bytes)) return *known;
  }
  const Frame frame{{{bytes, nullptr}}};
  FrameReader inner(frame);
  WireReader reader(inner);
  auto schema = std::make_shared<CollectionSchema>();
  Fields(reader, *schema);
  RETURN_IF_ERROR(reader.status());
  RETURN_IF_ERROR(CheckUsable(*schema));
  MutexLock lock(mutex_);
  schemas_.Put(std::string(bytes), schema);
  return SchemaPtr(std::move(schema));
}

Result<FilterPtr> PlanReader::ReadFilter(FrameReader& in, const SchemaPtr& schema) {
  std::string scratch;
  const std::string_view bytes = in.GetRaw(in.Get<uint32_t>(), scratch);
  RETURN_IF_ERROR(in.status());
  if (bytes.size() <= sizeof(FilterForm)) return ParseBytes(bytes, schema);
  const bool cached = bytes.size() <= kLongestCachedFilter;
  std::string key;
  if (cached) {
    const CollectionSchema* address = schema.get();
    key.append(reinterpret_cast<const char*>(&address), sizeof(address));
    key.append(bytes);
    MutexLock lock(mutex_);
    if (const Parsed* known = filters_.Find(key)) return known->filter;
  }
  ASSIGN_OR_RETURN(FilterPtr filter, ParseBytes(bytes, schema));
  MutexLock lock(mutex_);
  ++filters_parsed_;
  if (cached) filters_.Put(std::move(key), {schema, filter});
  return filter;
}

Result<std::shared_ptr<const SearchPlan>> PlanReader::ReadSearch(WireReader& in) {
  auto plan = std::make_shared<SearchPlan>();
  const size_t outer = in.in().Enter();
  ASSIGN_OR_RETURN(plan->schema, ReadSchema(in.in()));
  ASSIGN_OR_RETURN(plan->filter, ReadFilter(in.in(), plan->schema));
  PlainFields(in, *plan);
  in.in().Leave(outer);
  RETURN_IF_ERROR(in.status());
  RETURN_IF_ERROR(CheckSound(*plan));
  plan->deadline_us = in.deadline_us();
  return std::shared_ptr<const SearchPlan>(std::move(plan));
}

Result<std::shared_ptr<const QueryPlan>> PlanReader::ReadQuery(WireReader& in) {
  auto plan = std::make_shared<QueryPlan>();
  const size_t outer = in.in().Enter();
  ASSIGN_OR_RETURN(plan->schema, ReadSchema(in.in()));
  ASSIGN_OR_RETURN(plan->filter, ReadFilter(in.in(), plan->schema));
  PlainFields(in, *plan);
  in.in().Leave(outer);
  int64_t budget = -1;
  in(budget);
  RETURN_IF_ERROR(in.status());
  RETURN_IF_ERROR(CheckSound(*plan));
  if (budget >= 0) plan->budget = std::make_shared<FetchBudget>(std::min(budget, kLargestBudget));
  plan->deadline_us = in.deadline_us();
  return std::shared_ptr<const QueryPlan>(std::move(plan));
}

}  // namespace saker
