// Arbitrary text as a filter over a schema with a field of every kind, and the filter over a few rows: neither may
// crash, run out of stack or disagree between Evaluate and Matches.
#include <cstdlib>

#include "expr/test_source.h"

namespace saker {
namespace {

SchemaPtr Schema() {
  auto schema = std::make_shared<CollectionSchema>();
  const auto add = [&](const char* name, DataType type, DataType element = DataType::kNone) {
    FieldSchema field;
    field.id = FieldId(100 + static_cast<int64_t>(schema->fields.size()));
    field.name = name;
    field.type = type;
    field.element_type = element;
    field.nullable = schema->fields.size() % 2 == 1;
    field.is_primary = schema->fields.empty();
    field.is_dynamic = field.name == kDynamicFieldName;
    if (IsVector(type)) field.dim = 2;
    schema->fields.push_back(field);
  };
  add("id", DataType::kInt64);
  add("i", DataType::kInt8);
  add("k", DataType::kInt32);
  add("f", DataType::kFloat);
  add("d", DataType::kDouble);
  add("b", DataType::kBool);
  add("s", DataType::kVarChar);
  add("t", DataType::kVarChar);
  add("j", DataType::kJson);
  add("a", DataType::kArray, DataType::kInt64);
  add("as", DataType::kArray, DataType::kVarChar);
  add("v", DataType::kFloatVector);
  add("$meta", DataType::kJson);
  schema->enable_dynamic_field = true;
  return schema;
}

const TestSource& Source(const SchemaPtr& schema) {
  static const TestSource& source = *[&] {
    auto* out = new TestSource(schema, 3);
    const std::array<const char*, 5> documents = {R"({})", R"({"a": 1, "b": [1, "x", [2]], "c": {"d": null}})",
                                                  R"({"a": "\u0041", "k\"ey": true})", R"({"a": 1e400, "b": )", ""};
    for (int64_t i = 0; i < 70; ++i) {
      const bool null = i % 5 == 4;
      const auto or_null = [&](Value value) { return null ? Value() : value; };
      out->Append("id", i);
      out->Append("i", or_null(i - 30));
      out->Append("k", i * i);
      out->Append("f", or_null(static_cast<double>(i) / 4));
      out->Append("d", i % 7 == 0 ? 0.0 / static_cast<double>(i % 7) : static_cast<double>(i) * 1e17);
      out->Append("b", or_null(i % 2 == 0));
      out->Append("s", std::string(static_cast<size_t>(i % 4), 'a'));
      out->Append("t", or_null("x\xC3\xA9%_"));
      out->Append("j", Value(documents[static_cast<size_t>(i % 5)]));
      const std::vector<Value> numbers(static_cast<size_t>(i % 3), Value(i));
      const std::vector<Value> texts(static_cast<size_t>(i % 3), Value("a"));
      out->Append("a", or_null(EncodeArray(DataType::kInt64, numbers)));
      out->Append("as", EncodeArray(DataType::kVarChar, texts));
      out->Append("$meta", Value(documents[static_cast<size_t>(i % 3)]));
    }
    out->set_rows(70);
    for (const char* field : {"id", "s", "a", "f"}) {
      if (!out->BuildIndex(field, "").ok()) std::abort();
    }
    return out;
  }();
  return source;
}

}  // namespace
}  // namespace saker

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace saker;
  static const SchemaPtr schema = Schema();
  static const TemplateValues templates = {{"n", {.scalar = int64_t{3}, .list = {}}},
                                           {"l", {.scalar = std::nullopt, .list = {int64_t{1}, "a"}, .is_list = true}}};
  const TestSource& source = Source(schema);
  const Result<FilterPtr> filter = ParseFilter({reinterpret_cast<const char*>(data), size}, schema, templates);
  if (!filter.ok() || *filter == nullptr) return 0;
  Bitmap rows;
  (*filter)->Evaluate(source, rows);
  for (int64_t row = 0; row < source.rows(); row += 9) {
    if ((*filter)->Matches(source, row) != rows.Test(row)) std::abort();
  }
  for (const FieldId field : (*filter)->fields()) (void)(*filter)->LimitedTo(field);
  return 0;
}
