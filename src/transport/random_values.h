// Random values of everything that travels, for tests: a codec that invents what a reader would have read.
#pragma once

#include <cmath>
#include <limits>
#include <random>

#include "transport/call_codec.h"

namespace saker {

inline FieldSchema TestField(int64_t id, std::string name, DataType type, int dim = 0, bool nullable = false) {
  FieldSchema field;
  field.id = FieldId(id);
  field.name = std::move(name);
  field.type = type;
  field.dim = dim;
  field.nullable = nullable;
  if (dim > 0) field.type_params = {{"dim", std::to_string(dim)}};
  return field;
}

// A field of every type that a collection can have.
inline SchemaPtr EveryTypeSchema(DataType key = DataType::kInt64) {
  auto schema = std::make_shared<CollectionSchema>();
  schema->name = "everything";
  schema->enable_dynamic_field = true;
  auto& fields = schema->fields;
  fields.push_back(TestField(100, "id", key));
  fields.back().is_primary = true;
  fields.back().max_length = 64;
  fields.push_back(TestField(101, "v", DataType::kFloatVector, 8));
  fields.push_back(TestField(102, "b", DataType::kBinaryVector, 16));
  fields.push_back(TestField(103, "h", DataType::kFloat16Vector, 4));
  fields.push_back(TestField(104, "g", DataType::kBFloat16Vector, 4));
  fields.push_back(TestField(105, "i8v", DataType::kInt8Vector, 5));
  fields.push_back(TestField(106, "sparse", DataType::kSparseFloatVector));
  fields.push_back(TestField(107, "flag", DataType::kBool, 0, true));
  fields.push_back(TestField(108, "i8", DataType::kInt8, 0, true));
  fields.push_back(TestField(109, "i16", DataType::kInt16));
  fields.push_back(TestField(110, "i32", DataType::kInt32, 0, true));
  fields.push_back(TestField(111, "i64", DataType::kInt64));
  fields.push_back(TestField(112, "f", DataType::kFloat));
  fields.push_back(TestField(113, "d", DataType::kDouble, 0, true));
  fields.push_back(TestField(114, "text", DataType::kVarChar, 0, true));
  fields.back().max_length = 64;
  fields.push_back(TestField(115, "json", DataType::kJson, 0, true));
  for (const DataType element : {DataType::kBool, DataType::kInt8, DataType::kInt64, DataType::kDouble, DataType::kVarChar}) {
    const auto id = static_cast<int64_t>(100 + fields.size());
    fields.push_back(TestField(id, "list" + std::to_string(id), DataType::kArray, 0, id % 2 == 0));
    fields.back().element_type = element;
    fields.back().max_capacity = 8;
    fields.back().max_length = 16;
  }
  fields.push_back(TestField(121, std::string(kDynamicFieldName), DataType::kJson));
  fields.back().is_dynamic = true;
  return schema;
}

class RandomCodec {
 public:
  explicit RandomCodec(uint64_t seed) : random_(seed) {}
  std::mt19937_64& random() { return random_; }
  int64_t Below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }

  template <typename T>
  void operator()(T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      value = Below(2) == 0;
    } else if constexpr (std::is_floating_point_v<T>) {
      value = Below(8) == 0 ? std::numeric_limits<T>::infinity() : static_cast<T>(Below(1'000'000)) / 7;
    } else if constexpr (std::is_arithmetic_v<T>) {
      value = Below(6) == 0 ? std::numeric_limits<T>::min() : Below(6) == 0 ? std::numeric_limits<T>::max() : static_cast<T>(random_());
    } else {
      Fill(value);
    }
  }

  Column RandomColumn(const FieldSchema& field, int64_t rows) {
    Column column(field);
    for (int64_t i = 0; i < rows; ++i) {
      if (field.nullable && Below(3) == 0) {
        column.AppendNull();
      } else if (column.width() > 0) {
        const std::string row = Bytes(column.width());
        if (field.type == DataType::kBool) {
          column.Append<uint8_t>(static_cast<uint8_t>(Below(2)));
        } else {
          column.AppendFixed(row.data());
        }
      } else if (field.type == DataType::kArray) {
        std::vector<Value> elements(static_cast<size_t>(Below(4)));
        for (Value& element : elements) {
          if (field.element_type == DataType::kVarChar) {
            element = Bytes(Below(5));
          } else {
            element = static_cast<int64_t>(Below(2));
          }
        }
        column.AppendBytes(EncodeArray(field.element_type, elements));
      } else {
        column.AppendBytes(Bytes(Below(20)));
      }
    }
    return column;
  }
  RowBatch RandomRows(const CollectionSchema& schema, int64_t rows) {
    RowBatch batch;
    batch.rows = rows;
    for (const FieldSchema& field : schema.fields) batch.columns.push_back(RandomColumn(field, rows));
    return batch;
  }
  std::string Bytes(int64_t n) {
    std::string out(static_cast<size_t>(n), '\0');
    for (char& c : out) c = static_cast<char>(random_());
    return out;
  }
  PrimaryKeys RandomKeys(bool strings, int64_t n) {
    PrimaryKeys keys;
    keys.is_string = strings;
    for (int64_t i = 0; i < n; ++i) {
      if (strings) {
        keys.strings.push_back(Bytes(Below(12)));
      } else {
        keys.ints.push_back(static_cast<int64_t>(random_()));
      }
    }
    return keys;
  }

 private:
  void Fill(std::string& value) { value = Bytes(Below(5) == 0 ? 300 : Below(12)); }
  void Fill(DataType& type) {
    constexpr DataType kTypes[] = {DataType::kNone, DataType::kBool, DataType::kInt64, DataType::kVarChar, DataType::kArray,
                                   DataType::kJson, DataType::kFloatVector, DataType::kBinaryVector};
    type = kTypes[Below(std::size(kTypes))];
  }
  void Fill(Metric& metric) { metric = static_cast<Metric>(Below(9)); }
  void Fill(ConsistencyLevel& level) { level = static_cast<ConsistencyLevel>(Below(5)); }
  void Fill(SegmentState& state) { state = Below(2) == 0 ? SegmentState::kFlushed : SegmentState::kDropped; }
  void Fill(SegmentKind& kind) { kind = Below(2) == 0 ? SegmentKind::kRows : SegmentKind::kDeletes; }
  void Fill(Value& value) {
    switch (Below(5)) {
      case 0: value = std::monostate{}; break;
      case 1: value = Below(2) == 0; break;
      case 2: value = static_cast<int64_t>(random_()); break;
      case 3: value = static_cast<double>(Below(1'000'000)) / 3; break;
      default: value = Bytes(Below(9));
    }
  }
  void Fill(Status& status) {
    constexpr ErrorCode kCodes[] = {ErrorCode::kOk, ErrorCode::kStaleRoute, ErrorCode::kSuperseded, ErrorCode::kConflict,
                                    ErrorCode::kCollectionNotFound, ErrorCode::kUnexpected, ErrorCode::kCompacted};
    const ErrorCode code = kCodes[Below(std::size(kCodes))];
    status = code == ErrorCode::kOk ? Status() : Status(code, Bytes(Below(40)));
  }
  // Random beside what has to fit together.
  void Fill(FieldSchema& field) {
    const SchemaPtr schema = EveryTypeSchema();
    const FieldSchema like = schema->fields[static_cast<size_t>(Below(22))];
    Fields(*this, field);
    field.type = like.type;
    field.element_type = like.element_type;
    field.dim = like.dim;
    field.is_primary = like.is_primary;
    field.is_dynamic = like.is_dynamic;
    if (!field.default_value) return;
    if (IsFixedWidth(like.type) && !IsVector(like.type)) {
      field.default_value = Below(2);
    } else {
      field.default_value = IsFixedWidth(like.type) ? Bytes(FixedWidth(like.type, like.dim)) : Bytes(Below(9));
    }
  }
  void Fill(CollectionSchema& schema) {
    schema = *EveryTypeSchema(Below(2) == 0 ? DataType::kInt64 : DataType::kVarChar);
    (*this)(schema.description), (*this)(schema.properties), (*this)(schema.auto_id);
    schema.fields[9].default_value = Below(100);
    (*this)(schema.fields[2].index_params);
  }
  void Fill(Column& column) {
    const SchemaPtr schema = EveryTypeSchema();
    column = RandomColumn(schema->fields[static_cast<size_t>(Below(22))], Below(20));
  }
  void Fill(RowBatch& batch) { batch = RandomRows(*EveryTypeSchema(), Below(3) == 0 ? 0 : Below(30)); }
  void Fill(PrimaryKeys& keys) { keys = RandomKeys(Below(2) == 0, Below(2) == 0 ? 0 : Below(40)); }
  void Fill(SearchHits& hits) {
    const int64_t count = Below(20);
    hits.offsets = {0, count};
    for (int64_t i = 0; i < count; ++i) hits.hits.push_back({static_cast<float>(i), SegmentId(Below(9)), Below(1000)});
    hits.keys = RandomKeys(Below(2) == 0, count);
    if (Below(2) == 0) {
      hits.groups.resize(static_cast<size_t>(count));
      for (Value& group : hits.groups) Fill(group);
    }
    hits.segments_searched = Below(9);
    hits.rows_considered = Below(99);
  }
  template <typename Tag>
  void Fill(Id<Tag>& id) {
    (*this)(id.value);
  }
  template <typename A, typename B>
  void Fill(std::pair<A, B>& pair) {
    (*this)(pair.first), (*this)(pair.second);
  }
  template <typename T>
  void Fill(std::optional<T>& value) {
    value.reset();
    if (Below(2) == 0) (*this)(value.emplace());
  }
  template <typename T>
  void Fill(Result<T>& result) {
    Status status;
    Fill(status);
    T value{};
    (*this)(value);
    result = status.ok() ? Result<T>(std::move(value)) : Result<T>(status);
  }
  template <typename T>
  void Fill(std::vector<T>& list) {
    list.resize(static_cast<size_t>(Below(3) == 0 ? 0 : Below(6)));
    for (T& item : list) (*this)(item);
  }
  template <typename K, typename V>
  void Fill(std::map<K, V>& items) {
    for (int64_t left = Below(4); left > 0; --left) {
      std::pair<K, V> item{};
      (*this)(item);
      items.insert(std::move(item));
    }
  }
  template <typename T>
    requires requires(RandomCodec& codec, T& value) { Fields(codec, value); }
  void Fill(T& value) {
    Fields(*this, value);
  }

  std::mt19937_64 random_;
};

// Filters of every kind, on EveryTypeSchema with an Int64 key.
struct TestFilter {
  const char* text;
  TemplateValues templates;
};
inline std::vector<TestFilter> TestFilters() {
  TemplateValues list;
  list["l"].is_list = true;
  list["l"].list = {Value(int64_t{3}), Value(int64_t{-4})};
  TemplateValues scalars;
  scalars["x"].scalar = Value(2.5);
  scalars["s"].scalar = Value(std::string("a\"b\\c\xc3\xa4"));
  scalars["t"].scalar = Value(true);
  TemplateValues keys;
  keys["keys"].is_list = true;
  for (int64_t i = 0; i < 1000; ++i) keys["keys"].list.emplace_back(i * 7);
  return {{"id in [1, 2, 3]", {}},
          {"id == 5", {}},
          {"id in {keys}", keys},
          {"id in []", {}},
          {"i64 in {l}", list},
          {"d > {x} and text == {s} or flag == {t}", scalars},
          {"1 < i32 <= 10 && not (f >= 2.5)", {}},
          {"text like \"abc%\" || text like \"%x_y\"", {}},
          {"json[\"a\"][\"b\"] > 3 and exists json[\"c\"]", {}},
          {"json_contains(json[\"tags\"], \"red\")", {}},
          {"array_contains(list117, 3) or array_contains_any(list118, [1, 2])", {}},
          {"array_contains_all(list120, [\"a\", \"b\"]) and array_length(list119) == 2", {}},
          {"i16 % 3 == 1 and i64 + 5 > 8 and d * 2 < 9.5", {}},
          {"$meta[\"colour\"] == \"red\" or dynamic_thing > 4", {}},
          {"text is null or i32 is not null", {}},
          {"id in [1, 2] and i64 > 3", {}},
          {"id > 0", {}}};
}

inline std::shared_ptr<SearchPlan> RandomSearchPlan(RandomCodec& random, FilterPtr filter, int nq, SchemaPtr schema) {
  auto plan = std::make_shared<SearchPlan>();
  plan->schema = std::move(schema);
  plan->vector_field = FieldId(101);
  plan->vector_type = DataType::kFloatVector;
  plan->metric = Metric::kL2;
  plan->dim = 8;
  plan->nq = nq;
  plan->row_bytes = 32;
  plan->queries = random.Bytes(int64_t{32} * nq);
  random(plan->params);
  plan->params.k = static_cast<int>(random.Below(100));
  plan->filter = std::move(filter);
  random(plan->ignore_growing);
  if (random.Below(2) == 0) plan->group_by = FieldId(111);
  plan->group_size = static_cast<int>(1 + random.Below(5));
  random(plan->strict_group_size), random(plan->has_bound), random(plan->bound_distance);
  return plan;
}

inline std::shared_ptr<QueryPlan> RandomQueryPlan(RandomCodec& random, FilterPtr filter, SchemaPtr schema) {
  auto plan = std::make_shared<QueryPlan>();
  plan->filter = std::move(filter);
  plan->limit = random.Below(2) == 0 ? -1 : random.Below(100);
  plan->offset = random.Below(10);
  for (const FieldSchema& field : schema->fields) {
    if (random.Below(2) == 0) plan->output_fields.push_back(field.id);
  }
  if (plan->limit < 0) plan->budget = std::make_shared<FetchBudget>(1 + random.Below(1'000'000'000));
  plan->schema = std::move(schema);
  return plan;
}

// The bytes a value travels as.
template <typename... T>
std::string Encoded(const T&... values) {
  FrameWriter frame;
  WireWriter out(frame);
  (out(values), ...);
  return std::move(frame).Finish().Flat();
}

}  // namespace saker
