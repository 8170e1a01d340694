#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <simdjson.h>

#include "expr/lexer.h"
#include "expr/like_pattern.h"
#include "expr/parser.h"
#include "expr/test_source.h"
#include "expr/value_test.h"

namespace saker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

std::vector<int64_t> RowsOf(const Bitmap& bitmap) {
  std::vector<int64_t> out;
  bitmap.ForEach([&](int64_t row) { out.push_back(row); });
  return out;
}

std::string MessageOf(std::string_view text, const SchemaPtr& schema, const TemplateValues& templates = {}) {
  const Result<FilterPtr> filter = ParseFilter(text, schema, templates);
  return filter.ok() ? "" : filter.status().message();
}

FieldSchema Field(int64_t id, std::string name, DataType type, DataType element = DataType::kNone) {
  FieldSchema field;
  field.id = FieldId(id);
  field.name = std::move(name);
  field.type = type;
  field.element_type = element;
  return field;
}

// ---- files of cases

DataType ParseType(std::string_view name) {
  for (int i = 0; i < 128; ++i) {
    if (Name(static_cast<DataType>(i)) == name) return static_cast<DataType>(i);
  }
  return DataType::kNone;
}

Value ScalarOf(const nlohmann::json& json) {
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  return {};
}

Value ValueFor(const FieldSchema& field, const nlohmann::json& json) {
  if (json.is_null() && field.type != DataType::kJson) return {};
  if (field.type == DataType::kJson) return json.dump();
  if (field.type == DataType::kArray) {
    std::vector<Value> elements;
    for (const auto& element : json) elements.push_back(ValueFor(Field(0, "", field.element_type), element));
    return EncodeArray(field.element_type, elements);
  }
  if ((field.type == DataType::kFloat || field.type == DataType::kDouble) && json.is_number()) return json.get<double>();
  return ScalarOf(json);
}

struct Case {
  std::string expression;
  std::string expected;  // row numbers, or the end of a message behind "! "
};

// field NAME TYPE [ELEMENT] [primary|nullable|dynamic]… · row {JSON} · > expression, and below it what it gives.
struct CaseFile {
  explicit CaseFile(const std::filesystem::path& path) {
    auto schema = std::make_shared<CollectionSchema>();
    std::ifstream in(path);
    std::string line;
    while (std::getline(in, line)) {
      if (line.starts_with("field ")) schema->fields.push_back(ReadField(line, 100 + schema->fields.size()));
      if (line.starts_with("row ")) rows.push_back(nlohmann::json::parse(line.substr(4)));
      if (line.starts_with("> ")) cases.push_back({nlohmann::json::parse(line.substr(2)).get<std::string>(), ""});
      const bool is_answer = line.starts_with("= ") || line == "=" || line.starts_with("! ");
      if (is_answer) cases.back().expected = line;
    }
    schema->enable_dynamic_field = schema->DynamicField() != nullptr;
    this->schema = schema;
  }
  static FieldSchema ReadField(const std::string& line, int64_t id) {
    std::istringstream words(line.substr(6));
    std::string name, type, word;
    words >> name >> type;
    FieldSchema field = Field(id, name, ParseType(type));
    if (IsVector(field.type)) field.dim = 2;
    while (words >> word) {
      if (word == "primary") field.is_primary = true;
      else if (word == "nullable") field.nullable = true;
      else if (word == "dynamic") field.is_dynamic = true;
      else field.element_type = ParseType(word);
    }
    return field;
  }
  std::unique_ptr<TestSource> Source(int64_t rows_per_chunk) const {
    auto source = std::make_unique<TestSource>(schema, rows_per_chunk);
    for (const nlohmann::json& row : rows) {
      nlohmann::json rest = row;
      for (const FieldSchema& field : schema->fields) {
        if (field.is_dynamic) continue;
        source->Append(field.name, ValueFor(field, row.contains(field.name) ? row[field.name] : nlohmann::json()));
        rest.erase(field.name);
      }
      if (schema->DynamicField() != nullptr) source->Append("$meta", rest.dump());
    }
    source->set_rows(static_cast<int64_t>(rows.size()));
    return source;
  }
  SchemaPtr schema;
  std::vector<nlohmann::json> rows;
  std::vector<Case> cases;
};

std::string Answer(const CaseFile& file, const TestSource& source, const std::string& expression) {
  const Result<FilterPtr> filter = ParseFilter(expression, file.schema);
  if (!filter.ok()) {
    const std::string prefix = "cannot parse expression: " + expression + ", error: ";
    const std::string message = filter.status().message();
    return "! " + (message.starts_with(prefix) ? message.substr(prefix.size()) : message);
  }
  Bitmap rows;
  (*filter)->Evaluate(source, rows);
  std::string out = "=";
  for (int64_t row = 0; row < source.rows(); ++row) {
    if (rows.Test(row)) out += " " + std::to_string(row);
    EXPECT_EQ((*filter)->Matches(source, row), rows.Test(row)) << expression << " at row " << row;
  }
  return out;
}

class CaseFiles : public ::testing::TestWithParam<const char*> {};

TEST_P(CaseFiles, AnswerAsWritten) {
  const CaseFile file(std::filesystem::path(SAKER_SOURCE_DIR) / "tests/expr" / GetParam());
  ASSERT_FALSE(file.rows.empty());
  ASSERT_GT(file.cases.size(), 10u);
  for (const int64_t rows_per_chunk : {3, 1000}) {
    const std::unique_ptr<TestSource> source = file.Source(rows_per_chunk);
    for (const Case& one : file.cases) EXPECT_EQ(Answer(file, *source, one.expression), one.expected) << one.expression;
  }
}

TEST_P(CaseFiles, IndexesChangeNothing) {
  const CaseFile file(std::filesystem::path(SAKER_SOURCE_DIR) / "tests/expr" / GetParam());
  const std::unique_ptr<TestSource> source = file.Source(1000);
  for (const char* type : {"AUTOINDEX", "INVERTED"}) {
    for (const FieldSchema& field : file.schema->fields) {
      if (field.type == DataType::kJson || IsVector(field.type)) continue;
      ASSERT_EQ(source->BuildIndex(field.name, type).message(), "") << field.name;
    }
    for (const Case& one : file.cases) EXPECT_EQ(Answer(file, *source, one.expression), one.expected) << one.expression;
  }
}

INSTANTIATE_TEST_SUITE_P(Expr, CaseFiles, ::testing::Values("milvus_2_3_5.test", "extensions.test", "nulls.test"));

// ---- the parts

SchemaPtr SmallSchema() {
  auto schema = std::make_shared<CollectionSchema>();
  schema->fields = {Field(100, "id", DataType::kInt64), Field(101, "s", DataType::kVarChar),
                    Field(102, "f", DataType::kFloat), Field(103, "part", DataType::kVarChar),
                    Field(104, "a", DataType::kArray, DataType::kInt64)};
  schema->fields[0].is_primary = true;
  return schema;
}

TEST(Filter, BlankTextIsNoFilter) {
  for (const char* text : {"", "  ", "\t\n"}) {
    const Result<FilterPtr> filter = ParseFilter(text, SmallSchema());
    ASSERT_TRUE(filter.ok());
    EXPECT_EQ(*filter, nullptr);
  }
}

TEST(Filter, SaysWhichKeysItIsLimitedTo) {
  const SchemaPtr schema = SmallSchema();
  const auto parse = [&](std::string_view text) { return *ParseFilter(text, schema); };

  EXPECT_THAT(parse("id in [3, 1, 3]")->LimitedToKeys()->ints, ElementsAre(3, 1));
  EXPECT_TRUE(parse("id in [3, 1, 3]")->IsKeysOnly());
  EXPECT_THAT(parse("7 == id")->LimitedToKeys()->ints, ElementsAre(7));
  EXPECT_TRUE(parse("id == 7")->IsKeysOnly());
  EXPECT_THAT(parse("id in []")->LimitedToKeys()->ints, IsEmpty());

  EXPECT_THAT(parse("s == 'x' and id in [3, 1]")->LimitedToKeys()->ints, ElementsAre(3, 1));
  EXPECT_FALSE(parse("s == 'x' and id in [3, 1]")->IsKeysOnly());
  EXPECT_THAT(parse("id in [1, 2] and id in [2, 3]")->LimitedToKeys()->ints, ElementsAre(2));
  EXPECT_THAT(parse("id == 1 or id == 2")->LimitedToKeys()->ints, ElementsAre(1, 2));
  EXPECT_TRUE(parse("id == 1 or id in [2, 3]")->IsKeysOnly());
  EXPECT_THAT(parse("not (id not in [5])")->LimitedToKeys()->ints, ElementsAre(5));

  for (const char* text : {"id > 3", "id != 3", "id not in [3]", "not (id == 3)", "id == 1 or s == 'x'", "id + 1 == 2",
                           "not (id != 3 and id != 4 and s == 'x')", "1 < id < 5"}) {
    EXPECT_FALSE(parse(text)->LimitedToKeys().has_value()) << text;
    EXPECT_FALSE(parse(text)->IsKeysOnly()) << text;
  }
  EXPECT_THAT(parse("id == 1.0")->LimitedToKeys()->ints, ElementsAre(1));
  EXPECT_THAT(parse("id == 1.5")->LimitedToKeys()->ints, IsEmpty());
}

TEST(Filter, SaysWhichValuesAPartitionKeyMayHave) {
  const SchemaPtr schema = SmallSchema();
  const auto limit = [&](std::string_view text) { return (*ParseFilter(text, schema))->LimitedTo(FieldId(103)); };
  EXPECT_THAT(*limit("part == 'a' and id > 1"), ElementsAre(Value("a")));
  EXPECT_THAT(*limit("part in ['a', 'b']"), ElementsAre(Value("a"), Value("b")));
  EXPECT_THAT(*limit("(part == 'a' and id == 1) or part == 'b'"), ElementsAre(Value("a"), Value("b")));
  EXPECT_FALSE(limit("part == 'a' or id == 1").has_value());
  EXPECT_FALSE(limit("part like 'a%'").has_value());
  EXPECT_FALSE(limit("part != 'a'").has_value());
}

TEST(Filter, NamesItsFields) {
  const FilterPtr filter = *ParseFilter("id > 1 and (s == part or array_length(a) == 2)", SmallSchema());
  EXPECT_THAT(filter->fields(), ElementsAre(FieldId(100), FieldId(101), FieldId(103), FieldId(104)));
}

TEST(Filter, FillsTemplates) {
  const SchemaPtr schema = SmallSchema();
  TestSource source(schema, 4);
  for (int64_t i = 0; i < 10; ++i) {
    source.Append("id", i);
    source.Append("s", Value(std::string(1, static_cast<char>('a' + i))));
    source.Append("f", i * 0.5);
  }
  source.set_rows(10);
  TemplateValues templates;
  templates["low"].scalar = int64_t{7};
  templates["name"].scalar = "c";
  templates["keys"] = {.scalar = std::nullopt, .list = {int64_t{1}, int64_t{4}}, .is_list = true};
  templates["prefix"].scalar = "d%";
  const auto rows = [&](std::string_view text) {
    const Result<FilterPtr> filter = ParseFilter(text, schema, templates);
    EXPECT_TRUE(filter.ok()) << filter.status().message();
    Bitmap out;
    (*filter)->Evaluate(source, out);
    return RowsOf(out);
  };
  EXPECT_THAT(rows("id > {low}"), ElementsAre(8, 9));
  EXPECT_THAT(rows("{low} <= id < 9"), ElementsAre(7, 8));
  EXPECT_THAT(rows("s == {name} or id in {keys}"), ElementsAre(1, 2, 4));
  EXPECT_THAT(rows("id in [{low}, 2 + {low}]"), ElementsAre(7, 9));
  EXPECT_THAT(rows("s like {prefix}"), ElementsAre(3));
  EXPECT_THAT(MessageOf("id == {other}", schema, templates),
              HasSubstr("the value of expression template variable name {other} is not found"));
  EXPECT_THAT(MessageOf("id in {low}", schema, templates), HasSubstr("must be a list"));
  EXPECT_THAT(MessageOf("id == {name}", schema, templates), HasSubstr("comparisons between Int64"));
  EXPECT_THAT(MessageOf("id in {name", schema, templates), HasSubstr("missing '}'"));
}

TEST(Filter, ColumnsTheSegmentDoesNotHave) {
  auto schema = std::make_shared<CollectionSchema>(*SmallSchema());
  schema->fields.push_back(Field(110, "added", DataType::kInt64));
  schema->fields.back().nullable = true;
  schema->fields.push_back(Field(111, "with_default", DataType::kInt64));
  schema->fields.back().default_value = int64_t{5};
  TestSource source(schema, 100);
  for (int64_t i = 0; i < 200; ++i) source.Append("id", i);
  source.set_rows(200);
  const auto count = [&](std::string_view text) {
    Bitmap out;
    (*ParseFilter(text, schema))->Evaluate(source, out);
    return out.Count();
  };
  EXPECT_EQ(count("added == 1"), 0);
  EXPECT_EQ(count("added != 1"), 0);
  EXPECT_EQ(count("not (added == 1)"), 0);
  EXPECT_EQ(count("added is null"), 200);
  EXPECT_EQ(count("added is not null or id < 3"), 3);
  EXPECT_EQ(count("with_default == 5"), 200);
  EXPECT_EQ(count("with_default != 5"), 0);
  EXPECT_EQ(count("with_default > id"), 5);
  EXPECT_EQ(count("id < 150 and with_default == 5"), 150);
}

TEST(Filter, HostileTextIsRefusedWithAMessage) {
  const SchemaPtr schema = SmallSchema();
  const std::string deep(100000, '(');
  EXPECT_THAT(MessageOf(deep, schema), HasSubstr("nested more than 500 levels"));
  EXPECT_THAT(MessageOf(deep + "id == 1" + std::string(100000, ')'), schema), HasSubstr("nested more than 500 levels"));
  std::string nots, minuses, sums = "id == 1", lists, chain = "id < 1";
  for (int i = 0; i < 50000; ++i) {
    nots += "not ";
    minuses += "-";
    sums += "+1";
    lists += "[";
    chain += " == 1";
  }
  for (const std::string& text : {nots + "id == 1", "id == " + minuses + "1", sums, "id == " + lists, chain}) {
    EXPECT_THAT(MessageOf(text, schema), HasSubstr("nested more than 500 levels")) << text.substr(0, 40);
  }
  EXPECT_LT(MessageOf(deep, schema).size(), 5000u);
  EXPECT_THAT(MessageOf("id == 1" + std::string(kMaxFilterBytes, ' '), schema), HasSubstr("the limit is"));

  // Long but flat is fine.
  std::string ands = "id == 0", ors = "id == 0", values = "id in [0";
  for (int i = 1; i < 20000; ++i) {
    ands += " and id != " + std::to_string(i);
    ors += " or id == " + std::to_string(i);
    values += "," + std::to_string(i);
  }
  EXPECT_EQ(MessageOf(ands, schema), "");
  EXPECT_EQ((*ParseFilter(ors, schema))->LimitedToKeys()->size(), 20000);
  EXPECT_EQ((*ParseFilter(values + "]", schema))->LimitedToKeys()->size(), 20000);
  // Within the depth that is allowed.
  EXPECT_EQ(MessageOf(std::string(200, '(') + "id == 1" + std::string(200, ')'), schema), "");
}

// Half a character or an escaped byte in a message would make the whole answer unreadable for clients.
TEST(Filter, MessagesAreUtf8) {
  const SchemaPtr schema = SmallSchema();
  TemplateValues templates;
  templates["bytes"].scalar = Value(std::string("\xff"));
  for (const std::string text : {"id == =\u00e9", "id == $\u00e9", "id == \"\\\u00e9\"", "id in [\"\\xff\"]", "id == [\"\\xff\"]",
                                 "id in [{bytes}]", "s == \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\u00e9\u00e9\\", "id in \"\u00e9\"", "\"\\xff\""}) {
    const std::string message = MessageOf(text, schema, templates);
    EXPECT_NE(message, "") << text;
    EXPECT_TRUE(simdjson::validate_utf8(message)) << text << ": " << message;
  }
}

TEST(Filter, FunctionsOfLaterVersionsAreNamed) {
  const SchemaPtr schema = SmallSchema();
  for (const char* call : {"text_match(s, 'a')", "TEXT_MATCH(s, 'a', minimum_should_match=1)", "phrase_match(s, 'a', 2)",
                           "random_sample(0.1)", "st_within(s, 'POINT (0 0)')", "id > 1 and element_filter(a, $ > 1)"}) {
    EXPECT_THAT(MessageOf(call, schema), HasSubstr("is not supported")) << call;
    EXPECT_THAT(MessageOf(call, schema), StartsWith(std::string("cannot parse expression: ") + call + ", error: line 1:"));
  }
  EXPECT_THAT(MessageOf("foo(id)", schema), HasSubstr("function foo is not known"));
}

TEST(Filter, LinesAndCharactersAreCounted) {
  const SchemaPtr schema = SmallSchema();
  EXPECT_THAT(MessageOf("id == 1 and\n  s == ", schema), HasSubstr("error: line 2:7 mismatched input '<EOF>'"));
  EXPECT_THAT(MessageOf("s == '日本' and id == )", schema), HasSubstr("error: line 1:20 mismatched input ')'"));
}

TEST(LikePattern, Matches) {
  const auto matches = [](std::string_view pattern, std::string_view text) { return LikePattern(pattern).Matches(text); };
  EXPECT_TRUE(matches("", "anything"));
  EXPECT_TRUE(matches("%", ""));
  EXPECT_TRUE(matches("a_c", "abc"));
  EXPECT_TRUE(matches("a_c", "aéc"));
  EXPECT_FALSE(matches("a_c", "ac"));
  EXPECT_FALSE(matches("a_", "abc"));
  EXPECT_TRUE(matches("%b%", "abc"));
  EXPECT_TRUE(matches("%b", "ab"));
  EXPECT_FALSE(matches("%b", "abc"));
  EXPECT_TRUE(matches("a%c%e", "abcde"));
  EXPECT_FALSE(matches("a%c%e", "abcd"));
  EXPECT_TRUE(matches("%_x_%", "axb"));
  EXPECT_FALSE(matches("%_x_%", "xb"));
  EXPECT_TRUE(matches("100\\%", "100%"));
  EXPECT_FALSE(matches("100\\%", "1000"));
  EXPECT_TRUE(matches("100\\%%", "100% and more"));
  EXPECT_TRUE(matches("a\\_b", "a_b"));
  EXPECT_FALSE(matches("a\\_b", "axb"));
  EXPECT_TRUE(matches("%aab", "aaab"));
  EXPECT_TRUE(matches("ab%ab", "abab"));
  EXPECT_FALSE(matches("ab%ab", "ab"));
  EXPECT_TRUE(matches("__", "éü"));
  EXPECT_TRUE(matches("%__", "aéü"));
}

TEST(LikePattern, AgreesWithANaiveMatcher) {
  const std::function<bool(std::string_view, std::string_view)> naive = [&](std::string_view p, std::string_view t) {
    if (p.empty()) return t.empty();
    if (p[0] == '%') return naive(p.substr(1), t) || (!t.empty() && naive(p, t.substr(1)));
    return !t.empty() && (p[0] == '_' || p[0] == t[0]) && naive(p.substr(1), t.substr(1));
  };
  uint32_t seed = 1;
  const auto next = [&](uint32_t n) {
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % n;
  };
  for (int i = 0; i < 20000; ++i) {
    std::string pattern, text;
    for (uint32_t n = 1 + next(6); n > 0; --n) pattern += "ab%_"[next(4)];
    for (uint32_t n = next(8); n > 0; --n) text += "ab"[next(2)];
    ASSERT_EQ(LikePattern(pattern).Matches(text), naive(pattern, text)) << pattern << " on " << text;
  }
}

TEST(NumberSet, HoldsWhatWasAdded) {
  for (const int64_t stride : {int64_t{1}, int64_t{1000}, int64_t{1} << 50}) {
    for (const int count : {3, 100, 5000}) {
      NumberSet set;
      for (int64_t i = -count / 2; i < count / 2; ++i) set.Add(static_cast<int64_t>(static_cast<uint64_t>(i) * stride));
      set.Add(2.5);
      set.Finish();
      for (int64_t i = -count / 2; i < count / 2; ++i) {
        const auto value = static_cast<int64_t>(static_cast<uint64_t>(i) * stride);
        EXPECT_TRUE(set.Has(value));
        EXPECT_EQ(set.Has(value + 3), std::binary_search(set.integers().begin(), set.integers().end(), value + 3));
      }
      EXPECT_TRUE(set.Has(2.5));
      EXPECT_FALSE(set.Has(3.5));
      EXPECT_TRUE(set.Has(0.0));
      EXPECT_FALSE(set.Has(std::numeric_limits<double>::quiet_NaN()));
      EXPECT_FALSE(set.Has(1e300));
    }
  }
}

}  // namespace
}  // namespace saker
