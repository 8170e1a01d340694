#include "transport/messages.h"

#include <fmt/format.h>

#include <algorithm>

#include "transport/plan_codec.h"

namespace saker {
namespace {

enum class ValueTag : uint8_t { kNone = 0, kBool = 1, kInt = 2, kDouble = 3, kString = 4 };

template <typename T>
std::string_view BytesOf(const std::vector<T>& list) {
  return {reinterpret_cast<const char*>(list.data()), list.size() * sizeof(T)};
}

Status Mistake(std::string what) { return {ErrorCode::kServiceInternal, "another node's answer doesn't fit the request: " + what}; }

}  // namespace

// ---- values

void WireWriter::Put(const Value& value) {
  out_.Put(static_cast<uint8_t>(value.index()));
  if (const auto* b = std::get_if<bool>(&value)) out_.Put(*b);
  if (const auto* i = std::get_if<int64_t>(&value)) out_.Put(*i);
  if (const auto* d = std::get_if<double>(&value)) out_.Put(*d);
  if (const auto* s = std::get_if<std::string>(&value)) out_.PutBytes(*s);
}

void WireReader::Take(Value& value) {
  switch (in_.Get<ValueTag>()) {
    case ValueTag::kNone: value = std::monostate{}; return;
    case ValueTag::kBool: (*this)(value.emplace<bool>()); return;
    case ValueTag::kInt: value = in_.Get<int64_t>(); return;
    case ValueTag::kDouble: value = in_.Get<double>(); return;
    case ValueTag::kString: Take(value.emplace<std::string>()); return;
  }
  in_.Fail("a value is of an unknown kind");
}

void WireWriter::Put(const Status& status) {
  out_.Put(static_cast<int32_t>(status.code()));
  if (!status.ok()) out_.PutBytes(status.message());
}

void WireReader::Take(Status& status) {
  const auto code = static_cast<ErrorCode>(in_.Get<int32_t>());
  status = Status();
  if (code == ErrorCode::kOk) return;
  std::string message;
  Take(message);
  status = Status(code, std::move(message));
}

void WireReader::CheckKnown(DataType type) {
  if (Name(type) == "Unknown") in_.Fail("there is no such data type");
}
void WireReader::CheckKnown(Metric metric) {
  if (metric < Metric::kNone || metric > Metric::kBm25) in_.Fail("there is no such metric");
}
void WireReader::CheckKnown(ConsistencyLevel level) {
  if (level < ConsistencyLevel::kStrong || level > ConsistencyLevel::kCustomized) in_.Fail("there is no such consistency level");
}
void WireReader::CheckKnown(SegmentState state) {
  if (state != SegmentState::kFlushed && state != SegmentState::kDropped) in_.Fail("there is no such state of a segment");
}
void WireReader::CheckKnown(SegmentKind kind) {
  if (kind != SegmentKind::kRows && kind != SegmentKind::kDeletes) in_.Fail("there is no such kind of segment");
}

void WireReader::Take(CollectionSchema& schema) {
  const size_t outer = in_.Enter();
  Fields(*this, schema);
  in_.Leave(outer);
  if (!ok()) return;
  if (Status usable = CheckUsable(schema); !usable.ok()) in_.Fail(std::move(usable));
}

void WireReader::Take(FieldSchema& field) {
  const size_t outer = in_.Enter();
  Fields(*this, field);
  in_.Leave(outer);
  if (!ok()) return;
  if (Status usable = CheckUsable(field); !usable.ok()) in_.Fail(std::move(usable));
}

Status CheckUsable(const FieldSchema& field) {
  const auto bad = [&field](std::string_view why) {
    return Status(ErrorCode::kParameterInvalid, fmt::format("another process's schema is of no use: field '{}' {}", field.name, why));
  };
  if (!IsSound(field)) return bad("has no known type or a dimension out of range");
  const bool is_fixed = IsFixedWidth(field.type);
  const int width = is_fixed ? FixedWidth(field.type, field.dim) : 0;
  if (is_fixed && width <= 0) return bad(fmt::format("has no width as {} of dimension {}", Name(field.type), field.dim));
  if (field.is_dynamic && field.type != DataType::kJson) return bad("is dynamic and no JSON");
  if (field.is_primary && field.type != DataType::kInt64 && !IsString(field.type)) return bad("can't be the primary key");
  if (!field.default_value || std::holds_alternative<std::monostate>(*field.default_value)) return {};
  const auto* text = std::get_if<std::string>(&*field.default_value);
  const bool fits = is_fixed && !IsVector(field.type) ? text == nullptr
                                                      : text != nullptr && (!is_fixed || static_cast<int>(text->size()) == width);
  return fits ? Status() : bad("has a default of another type");
}

Status CheckUsable(const CollectionSchema& schema) {
  if (!IsSound(schema)) return {ErrorCode::kParameterInvalid, "another process's schema has no or more than one primary key"};
  for (const FieldSchema& field : schema.fields) RETURN_IF_ERROR(CheckUsable(field));
  return {};
}

// ---- rows

void WireWriter::Put(const Column& column) {
  const FrameWriter::Mark mark = out_.Begin();
  const ColumnView view = column.View();
  out_.Put(view.type);
  out_.Put(view.element_type);
  out_.Put<int32_t>(view.dim);
  (*this)(column.field);
  out_.Put(column.is_dynamic);
  (*this)(column.name);
  out_.Put(view.rows);
  out_.Put<uint8_t>(view.valid != nullptr ? 1 : 0);
  const auto rows = static_cast<size_t>(view.rows);
  if (view.valid != nullptr) out_.Large({reinterpret_cast<const char*>(view.valid), rows});
  if (view.width > 0) {
    out_.Large({reinterpret_cast<const char*>(view.fixed), rows * static_cast<size_t>(view.width)});
  } else {
    for (size_t i = 0; i < rows; ++i) out_.Put(static_cast<uint32_t>(view.offsets[i + 1] - view.offsets[i]));
    out_.Large({view.bytes, rows == 0 ? 0 : view.offsets[rows]});
  }
  out_.End(mark);
}

void WireReader::Take(Column& column) {
  const size_t outer = in_.Enter();
  Column::Parts parts;
  (*this)(parts.type);
  (*this)(parts.element_type);
  parts.dim = in_.Get<int32_t>();
  FieldId field;
  bool is_dynamic = false;
  bool has_nulls = false;
  std::string name;
  (*this)(field), (*this)(is_dynamic), (*this)(name);
  parts.rows = in_.Get<int64_t>();
  (*this)(has_nulls);
  // A row takes a byte here at least: what follows allocates no more than a few times what was sent.
  if (ok() && (parts.rows < 0 || static_cast<uint64_t>(parts.rows) > in_.remaining())) {
    in_.Fail("a column has more rows than bytes");
  }
  if (!ok()) return;
  const auto rows = static_cast<size_t>(parts.rows);
  if (has_nulls) in_.AppendTo(parts.valid, rows);
  if (IsFixedWidth(parts.type)) {
    if (parts.dim < 0 || parts.dim > (1 << 24)) return in_.Fail("a column has a dimension out of range");
    in_.AppendTo(parts.fixed, rows * static_cast<size_t>(std::max(0, FixedWidth(parts.type, parts.dim))));
  } else {
    std::vector<uint32_t> lengths;
    in_.GetArray(lengths, rows);
    if (!ok()) return;
    parts.offsets.reserve(rows + 1);
    parts.offsets.push_back(0);
    for (const uint32_t length : lengths) parts.offsets.push_back(parts.offsets.back() + length);
    in_.AppendTo(parts.bytes, parts.offsets.back());
  }
  in_.Leave(outer);
  if (!ok()) return;
  auto made = Column::FromParts(std::move(parts));
  if (!made.ok()) return in_.Fail(made.status());
  column = std::move(*made);
  column.field = field;
  column.is_dynamic = is_dynamic;
  column.name = std::move(name);
}

void WireWriter::Put(const RowBatch& batch) {
  const FrameWriter::Mark mark = out_.Begin();
  out_.Put(batch.rows);
  (*this)(batch.columns);
  out_.End(mark);
}

void WireReader::Take(RowBatch& batch) {
  const size_t outer = in_.Enter();
  batch.rows = in_.Get<int64_t>();
  (*this)(batch.columns);
  in_.Leave(outer);
  for (const Column& column : batch.columns) {
    if (ok() && column.rows() != batch.rows) in_.Fail("a batch's columns are of different lengths");
  }
  if (batch.rows < 0) in_.Fail("a batch has less than no rows");
}

void WireWriter::Put(const PrimaryKeys& keys) {
  const FrameWriter::Mark mark = out_.Begin();
  (*this)(keys.is_string);
  keys.is_string ? (*this)(keys.strings) : (*this)(keys.ints);
  out_.End(mark);
}

void WireReader::Take(PrimaryKeys& keys) {
  const size_t outer = in_.Enter();
  (*this)(keys.is_string);
  keys.is_string ? (*this)(keys.strings) : (*this)(keys.ints);
  in_.Leave(outer);
}

// ---- answers

void Fields(WireWriter& codec, const SearchHits& hits) {
  codec(hits.offsets);
  std::vector<float> distances;
  std::vector<SegmentId> segments;
  std::vector<int64_t> rows;
  distances.reserve(hits.hits.size());
  segments.reserve(hits.hits.size());
  rows.reserve(hits.hits.size());
  for (const Hit& hit : hits.hits) {
    distances.push_back(hit.distance);
    segments.push_back(hit.segment);
    rows.push_back(hit.row);
  }
  FrameWriter& out = codec.out();
  out.Put<uint32_t>(static_cast<uint32_t>(hits.hits.size()));
  // Copied: these arrays end here.
  for (const std::string_view array : {BytesOf(distances), BytesOf(segments), BytesOf(rows)}) out.Copied(array);
  codec(hits.keys), codec(hits.groups), codec(hits.segments_searched), codec(hits.rows_considered);
}

void Fields(WireReader& codec, SearchHits& hits) {
  codec(hits.offsets);
  FrameReader& in = codec.in();
  const uint32_t count = in.Count(sizeof(float) + sizeof(SegmentId) + sizeof(int64_t), sizeof(Hit));
  std::vector<float> distances;
  std::vector<SegmentId> segments;
  std::vector<int64_t> rows;
  in.GetArray(distances, count);
  in.GetArray(segments, count);
  in.GetArray(rows, count);
  codec(hits.keys), codec(hits.groups), codec(hits.segments_searched), codec(hits.rows_considered);
  if (!codec.ok()) return;
  hits.hits.resize(count);
  for (uint32_t i = 0; i < count; ++i) hits.hits[i] = {distances[i], segments[i], rows[i]};
}

Status CheckAnswer(const SearchPlan& plan, const SearchHits& hits) {
  const size_t count = hits.hits.size();
  if (static_cast<size_t>(hits.keys.size()) != count) return Mistake(fmt::format("{} keys of {} hits", hits.keys.size(), count));
  if (plan.group_by ? hits.groups.size() != count : !hits.groups.empty()) {
    return Mistake(fmt::format("{} groups of {} hits", hits.groups.size(), count));
  }
  // A leg without segments has no offsets.
  if (count == 0 && hits.offsets.size() <= 1) return {};
  if (hits.offsets.size() != static_cast<size_t>(plan.nq) + 1 || hits.offsets.front() != 0 ||
      hits.offsets.back() != static_cast<int64_t>(count) || !std::is_sorted(hits.offsets.begin(), hits.offsets.end())) {
    return Mistake(fmt::format("{} offsets for {} queries", hits.offsets.size(), plan.nq));
  }
  return {};
}

Status CheckAnswer(const QueryPlan& plan, const QueryRows& rows) {
  if (plan.count_only) return {};
  const auto count = static_cast<size_t>(rows.keys.size());
  if (rows.timestamps.size() != count || (rows.rows.rows != static_cast<int64_t>(count) && !rows.rows.columns.empty())) {
    return Mistake(fmt::format("{} keys, {} timestamps, {} rows", count, rows.timestamps.size(), rows.rows.rows));
  }
  if (count == 0 && rows.rows.columns.empty()) return {};
  if (rows.rows.columns.size() != plan.output_fields.size()) {
    return Mistake(fmt::format("{} columns of {} fields", rows.rows.columns.size(), plan.output_fields.size()));
  }
  for (size_t i = 0; i < plan.output_fields.size(); ++i) {
    if (rows.rows.columns[i].field != plan.output_fields[i]) return Mistake(fmt::format("column {} is of another field", i));
  }
  return CheckRows(*plan.schema, rows.rows);
}

Status CheckRows(const CollectionSchema& schema, const RowBatch& batch) {
  for (const Column& column : batch.columns) {
    const FieldSchema* field = schema.Find(column.field);
    if (field == nullptr) continue;
    if (column.type() == field->type && column.dim() == field->dim && column.element_type() == field->element_type) continue;
    return {ErrorCode::kParameterInvalid,
            fmt::format("rows of field '{}' came as {} of dimension {}, the collection has {} of dimension {}: were they "
                        "checked against another collection's schema?",
                        field->name, Name(column.type()), column.dim(), Name(field->type), field->dim)};
  }
  return {};
}

// ---- plans

void WireWriter::Put(const std::shared_ptr<const SearchPlan>& plan) { WritePlan(*plan, *this); }
void WireWriter::Put(const std::shared_ptr<const QueryPlan>& plan) { WritePlan(*plan, *this); }

void WireReader::Take(std::shared_ptr<const SearchPlan>& plan) {
  SAKER_CHECK(plans_ != nullptr);
  auto made = plans_->ReadSearch(*this);
  if (!made.ok()) return in_.Fail(made.status());
  plan = std::move(*made);
}

void WireReader::Take(std::shared_ptr<const QueryPlan>& plan) {
  SAKER_CHECK(plans_ != nullptr);
  auto made = plans_->ReadQuery(*this);
  if (!made.ok()) return in_.Fail(made.status());
  plan = std::move(*made);
}

}  // namespace saker
