// Random expressions over random rows, against an evaluator that knows nothing of chunks, words, indexes or negation
// normal form: it computes true, false or unknown for one row at a time.
#include <cmath>
#include <functional>
#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "expr/test_source.h"

namespace saker {
namespace {

using nlohmann::json;

enum class Truth { kFalse, kTrue, kUnknown };
Truth Of(bool value) { return value ? Truth::kTrue : Truth::kFalse; }
Truth Not(Truth t) { return t == Truth::kUnknown ? t : Of(t == Truth::kFalse); }

struct Row {
  std::optional<int64_t> i8, i64;
  std::optional<double> f, d;
  std::optional<bool> b;
  std::optional<std::string> s;
  json j;
  std::optional<std::vector<int64_t>> a;
};

// An expression as text, and what it means.
struct Predicate {
  std::string text;
  std::function<Truth(const Row&)> truth;
};

const std::array<int64_t, 9> kEdges = {0, 1, -1, 127, -128, (int64_t{1} << 53) + 1, -(int64_t{1} << 53) - 1,
                                       std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min()};
const std::array<const char*, 7> kWords = {"", "a", "ab", "abc", "b", "ba", "x\"'\\y"};
const std::array<const char*, 6> kCompare = {"<", "<=", ">", ">=", "==", "!="};

// Exact order of an integer and a double by way of long double, which holds every int64.
template <typename A, typename B>
int Order(A a, B b) {
  const auto x = static_cast<long double>(a), y = static_cast<long double>(b);
  return x < y ? -1 : x > y ? 1 : 0;
}
bool Holds(int op, int order) {
  const std::array<bool, 6> answers = {order < 0, order <= 0, order > 0, order >= 0, order == 0, order != 0};
  return answers[static_cast<size_t>(op)];
}

class Generator {
 public:
  explicit Generator(uint32_t seed) : random_(seed) {}

  Row MakeRow() {
    Row row;
    if (!OneIn(6)) row.i8 = Pick(256) - 128;
    if (!OneIn(6)) row.i64 = OneIn(2) ? kEdges[Pick(kEdges.size())] : Pick(20) - 10;
    if (!OneIn(6)) row.f = static_cast<float>(SomeDouble());
    if (!OneIn(6)) row.d = SomeDouble();
    if (!OneIn(6)) row.b = OneIn(2);
    if (!OneIn(6)) row.s = kWords[Pick(kWords.size())];
    row.j = MakeJson();
    if (!OneIn(6)) {
      row.a.emplace();
      for (size_t n = Pick(4); n > 0; --n) row.a->push_back(static_cast<int64_t>(Pick(4)));
    }
    return row;
  }

  Predicate Make(int depth) {
    if (depth == 0 || OneIn(4)) return Leaf();
    switch (Pick(5)) {
      case 0: case 1: return Both(depth, "and", Truth::kFalse);
      case 2: case 3: return Both(depth, "or", Truth::kTrue);
      default: {
        const Predicate inner = Make(depth - 1);
        return {"not (" + inner.text + ")", [inner](const Row& row) { return Not(inner.truth(row)); }};
      }
    }
  }

 private:
  size_t Pick(size_t n) { return random_() % n; }
  bool OneIn(size_t n) { return Pick(n) == 0; }
  double SomeDouble() { return OneIn(8) ? 9007199254740992.0 : (static_cast<double>(Pick(80)) - 40) / 4; }
  int64_t SomeInteger() { return OneIn(3) ? kEdges[Pick(kEdges.size())] : static_cast<int64_t>(Pick(20)) - 10; }

  json MakeJson() {
    json out = json::object();
    if (!OneIn(4)) out["k"] = MakeScalar();
    if (!OneIn(4)) {
      json list = json::array();
      for (size_t n = Pick(4); n > 0; --n) list.push_back(OneIn(5) ? json({1, 2}) : MakeScalar());
      out["l"] = list;
    }
    if (OneIn(2)) out["o"] = {{"k", MakeScalar()}};
    if (OneIn(5)) out["esc\"aped"] = "\n";
    return out;
  }
  json MakeScalar() {
    switch (Pick(6)) {
      case 0: return nullptr;
      case 1: return OneIn(2);
      case 2: return SomeDouble();
      case 3: return kWords[Pick(kWords.size())];
      default: return SomeInteger();
    }
  }

  // Unknown only if neither side decides.
  Predicate Both(int depth, const std::string& word, Truth deciding) {
    const Predicate a = Make(depth - 1), b = Make(depth - 1);
    return {"(" + a.text + ") " + word + " (" + b.text + ")", [a, b, deciding](const Row& row) {
              const Truth x = a.truth(row), y = b.truth(row);
              if (x == deciding || y == deciding) return deciding;
              return x == Truth::kUnknown || y == Truth::kUnknown ? Truth::kUnknown : Not(deciding);
            }};
  }

  struct Number {
    std::string text;
    bool whole = true;
    int64_t integer = 0;
    double floating = 0;
    template <typename T>
    int OrderTo(T value) const {  // of value against this
      return whole ? Order(value, integer) : Order(value, floating);
    }
  };
  Number MakeNumber(bool may_be_floating) {
    Number out;
    out.whole = !may_be_floating || OneIn(2);
    out.integer = SomeInteger();
    out.floating = SomeDouble();
    out.text = out.whole ? std::to_string(out.integer) : fmt::format("{:.17g}", out.floating);
    if (!out.whole && out.text.find_first_of(".e") == std::string::npos) out.text += ".0";
    return out;
  }
  static std::string Quote(const std::string& text) { return json(text).dump(); }

  Predicate Leaf() {
    switch (Pick(15)) {
      case 0: return CompareNumber<int64_t>("i8", &Row::i8);
      case 1: return CompareNumber<int64_t>("i64", &Row::i64);
      case 2: return CompareNumber<double>("d", &Row::d);
      case 3: return CompareFloat();
      case 4: return CompareText();
      case 5: return CompareFlag();
      case 6: return InIntegers();
      case 7: return Like();
      case 8: return Null();
      case 9: return Arithmetic();
      case 10: return Fields();
      case 11: return Array();
      case 12: return JsonContains();
      default: return Json();
    }
  }

  template <typename T>
  Predicate CompareNumber(const std::string& name, std::optional<T> Row::*field) {
    const Number low = MakeNumber(true), high = MakeNumber(true);
    if (OneIn(3)) {
      const bool low_inclusive = OneIn(2), high_inclusive = OneIn(2);
      return {low.text + (low_inclusive ? " <= " : " < ") + name + (high_inclusive ? " <= " : " < ") + high.text,
              [=](const Row& row) {
                if (!(row.*field).has_value()) return Truth::kUnknown;
                const int a = low.OrderTo(*(row.*field)), b = high.OrderTo(*(row.*field));
                return Of((low_inclusive ? a >= 0 : a > 0) && (high_inclusive ? b <= 0 : b < 0));
              }};
    }
    const int op = static_cast<int>(Pick(6));
    return {name + " " + kCompare[op] + " " + low.text, [=](const Row& row) {
              if (!(row.*field).has_value()) return Truth::kUnknown;
              return Of(Holds(op, low.OrderTo(*(row.*field))));
            }};
  }

  // Constants are rounded to float, as the column's values were.
  Predicate CompareFloat() {
    const std::array<const char*, 5> texts = {"0.1", "0.25", "-3", "16777217", "1e39"};
    const std::string text = texts[Pick(texts.size())];
    const double constant = static_cast<float>(std::stod(text));
    const int op = static_cast<int>(Pick(6));
    return {fmt::format("f {} {}", kCompare[op], text), [=](const Row& row) {
              if (!row.f.has_value()) return Truth::kUnknown;
              return Of(Holds(op, Order(*row.f, constant)));
            }};
  }

  Predicate CompareText() {
    const std::string word = kWords[Pick(kWords.size())];
    const int op = static_cast<int>(Pick(6));
    const bool constant_first = OneIn(3);
    const std::string text = constant_first ? fmt::format("{} {} s", Quote(word), kCompare[op])
                                            : fmt::format("s {} {}", kCompare[op], Quote(word));
    return {text, [=](const Row& row) {
              if (!row.s.has_value()) return Truth::kUnknown;
              const int order = row.s->compare(word);
              return Of(Holds(op, constant_first ? -order : order));
            }};
  }

  Predicate CompareFlag() {
    const bool flag = OneIn(2);
    return {fmt::format("b == {}", flag ? "True" : "false"), [=](const Row& row) {
              return row.b.has_value() ? Of(*row.b == flag) : Truth::kUnknown;
            }};
  }

  Predicate InIntegers() {
    std::vector<int64_t> values;
    const size_t count = OneIn(4) ? 200 : Pick(5);
    for (size_t i = 0; i < count; ++i) {
      const uint64_t beside = OneIn(2) ? 0 : Pick(3);  // wraps at the largest
      values.push_back(static_cast<int64_t>(static_cast<uint64_t>(SomeInteger()) + beside));
    }
    std::string text;
    for (int64_t& value : values) {
      if (value == std::numeric_limits<int64_t>::min() + 2) value = 0;
      text += std::to_string(value) + ",";
    }
    const bool narrow = OneIn(2), negated = OneIn(2);
    return {fmt::format("{} {} [{}]", narrow ? "i8" : "i64", negated ? "not in" : "in", text), [=](const Row& row) {
              const std::optional<int64_t>& value = narrow ? row.i8 : row.i64;
              if (!value.has_value()) return Truth::kUnknown;
              return Of((std::find(values.begin(), values.end(), *value) != values.end()) != negated);
            }};
  }

  Predicate Like() {
    const std::string word = kWords[Pick(5)];
    const size_t kind = Pick(4);
    const std::array<std::string, 4> patterns = {word + "%", "%" + word, "%" + word + "%", "_" + word};
    return {"s like '" + patterns[kind] + "'", [=](const Row& row) {
              if (!row.s.has_value()) return Truth::kUnknown;
              const std::string& s = *row.s;
              const std::array<bool, 4> answers = {s.starts_with(word), s.ends_with(word),
                                                   s.find(word) != std::string::npos,
                                                   s.size() == word.size() + 1 && s.ends_with(word)};
              return Of(answers[kind]);
            }};
  }

  Predicate Null() {
    const bool negated = OneIn(2);
    return {negated ? "s is not null" : "s is null", [=](const Row& row) { return Of(row.s.has_value() == negated); }};
  }

  Predicate Arithmetic() {
    const int64_t operand = static_cast<int64_t>(Pick(9)) + 1, constant = static_cast<int64_t>(Pick(40)) - 20;
    const size_t kind = Pick(5);
    const int op = static_cast<int>(Pick(6));
    if (OneIn(3)) {
      // 20 / i8 has no value where i8 is 0.
      return {fmt::format("20 / i8 {} {}", kCompare[op], constant), [=](const Row& row) {
                if (!row.i8.has_value() || *row.i8 == 0) return Truth::kUnknown;
                return Of(Holds(op, Order(20 / *row.i8, constant)));
              }};
    }
    return {fmt::format("i64 {} {} {} {}", "+-*/%"[kind], operand, kCompare[op], constant), [=](const Row& row) {
              if (!row.i64.has_value()) return Truth::kUnknown;
              const auto x = static_cast<uint64_t>(*row.i64), y = static_cast<uint64_t>(operand);
              const std::array<int64_t, 5> results = {static_cast<int64_t>(x + y), static_cast<int64_t>(x - y),
                                                      static_cast<int64_t>(x * y), *row.i64 / operand, *row.i64 % operand};
              return Of(Holds(op, Order(results[kind], constant)));
            }};
  }

  Predicate Fields() {
    const int op = static_cast<int>(Pick(6));
    return {fmt::format("i64 {} d", kCompare[op]), [=](const Row& row) {
              if (!row.i64.has_value() || !row.d.has_value()) return Truth::kUnknown;
              return Of(Holds(op, Order(*row.i64, *row.d)));
            }};
  }

  Predicate Array() {
    const auto one = static_cast<int64_t>(Pick(4)), two = static_cast<int64_t>(Pick(4));
    const auto has = [](const Row& row, int64_t value) { return std::find(row.a->begin(), row.a->end(), value) != row.a->end(); };
    const auto known = [](std::function<bool(const Row&)> test) {
      return [test = std::move(test)](const Row& row) { return row.a.has_value() ? Of(test(row)) : Truth::kUnknown; };
    };
    switch (Pick(6)) {
      case 0: return {fmt::format("array_contains(a, {})", one), known([=](const Row& row) { return has(row, one); })};
      case 1: return {fmt::format("array_contains_all(a, [{}, {}])", one, two),
                      known([=](const Row& row) { return has(row, one) && has(row, two); })};
      case 2: return {fmt::format("ARRAY_CONTAINS_ANY(a, [{}, {}])", one, two),
                      known([=](const Row& row) { return has(row, one) || has(row, two); })};
      case 3: return {fmt::format("array_length(a) > {}", one),
                      known([=](const Row& row) { return static_cast<int64_t>(row.a->size()) > one; })};
      case 4: return {fmt::format("a == [{}, {}]", one, two),
                      known([=](const Row& row) { return *row.a == std::vector<int64_t>{one, two}; })};
      default: {
        const int op = static_cast<int>(Pick(6));
        return {fmt::format("a[1] {} {}", kCompare[op], one),
                known([=](const Row& row) { return row.a->size() > 1 && Holds(op, Order((*row.a)[1], one)); })};
      }
    }
  }

  // A place in the document: its text, and how to get there.
  std::pair<std::string, std::function<const json*(const json&)>> Place() {
    const auto step = [](const json* from, const char* key) -> const json* {
      if (from == nullptr || !from->is_object()) return nullptr;
      const auto found = from->find(key);
      return found == from->end() ? nullptr : &*found;
    };
    switch (Pick(5)) {
      case 0: return {R"(j["o"]["k"])", [=](const json& j) { return step(step(&j, "o"), "k"); }};
      case 1: return {R"(j["l"][0])", [=](const json& j) -> const json* {
                        const json* list = step(&j, "l");
                        return list != nullptr && !list->empty() ? &(*list)[0] : nullptr;
                      }};
      case 2: return {R"(j['missing'])", [](const json&) -> const json* { return nullptr; }};
      case 3: return {R"(j["l"])", [=](const json& j) { return step(&j, "l"); }};
      default: return {R"(j["k"])", [=](const json& j) { return step(&j, "k"); }};
    }
  }

  Predicate Json() {
    const auto [place, find] = Place();
    const int op = static_cast<int>(Pick(6));
    // What is missing or of another type is unequal and otherwise false.
    const auto test = [find = find, op](std::function<std::optional<int>(const json&)> order) {
      return [=](const Row& row) {
        const json* value = find(row.j);
        const std::optional<int> result = value == nullptr ? std::nullopt : order(*value);
        return Of(result.has_value() ? Holds(op, *result) : op == 5);
      };
    };
    switch (Pick(5)) {
      case 0: {
        const std::string word = kWords[Pick(kWords.size())];
        return {fmt::format("{} {} {}", place, kCompare[op], Quote(word)),
                test([=](const json& value) -> std::optional<int> {
                  if (!value.is_string()) return std::nullopt;
                  return value.get<std::string>().compare(word);
                })};
      }
      case 1: return {"exists " + place, [find = find](const Row& row) { return Of(find(row.j) != nullptr); }};
      case 2: return {place + " is null", [find = find](const Row& row) {
                        return Of(find(row.j) == nullptr || find(row.j)->is_null());
                      }};
      case 3: return {fmt::format("array_length({}) == 2", place), [find = find](const Row& row) {
                        const json* value = find(row.j);
                        return Of(value != nullptr && value->is_array() && value->size() == 2);
                      }};
      default: {
        const Number number = MakeNumber(true);
        return {fmt::format("{} {} {}", place, kCompare[op], number.text),
                test([=](const json& value) -> std::optional<int> {
                  if (value.is_number_integer()) return number.OrderTo(value.get<int64_t>());
                  if (value.is_number()) return number.OrderTo(value.get<double>());
                  return std::nullopt;
                })};
      }
    }
  }

  Predicate JsonContains() {
    const std::array<const char*, 5> texts = {"1", "0.0", "\"ab\"", "true", "[1, 2]"};
    const json one = json::parse(texts[Pick(5)]), two = json::parse(texts[Pick(5)]);
    const auto has = [](const Row& row, const json& wanted) {
      const auto list = row.j.find("l");
      return list != row.j.end() && std::find(list->begin(), list->end(), wanted) != list->end();
    };
    switch (Pick(3)) {
      case 0: return {fmt::format("json_contains(j[\"l\"], {})", one.dump()), [=](const Row& row) { return Of(has(row, one)); }};
      case 1: return {fmt::format("json_contains_all(j[\"l\"], [{}, {}])", one.dump(), two.dump()),
                      [=](const Row& row) { return Of(has(row, one) && has(row, two)); }};
      default: return {fmt::format("json_contains_any(j[\"l\"], [{}, {}])", one.dump(), two.dump()),
                       [=](const Row& row) { return Of(has(row, one) || has(row, two)); }};
    }
  }

  std::mt19937 random_;
};

SchemaPtr Schema() {
  auto schema = std::make_shared<CollectionSchema>();
  const auto add = [&](const char* name, DataType type, DataType element = DataType::kNone) {
    FieldSchema field;
    field.id = FieldId(100 + static_cast<int64_t>(schema->fields.size()));
    field.name = name;
    field.type = type;
    field.element_type = element;
    field.nullable = !schema->fields.empty();
    field.is_primary = schema->fields.empty();
    schema->fields.push_back(field);
  };
  add("id", DataType::kInt64);
  add("i8", DataType::kInt8);
  add("i64", DataType::kInt64);
  add("f", DataType::kFloat);
  add("d", DataType::kDouble);
  add("b", DataType::kBool);
  add("s", DataType::kVarChar);
  add("j", DataType::kJson);
  add("a", DataType::kArray, DataType::kInt64);
  return schema;
}

template <typename T>
Value OrNull(const std::optional<T>& value) {
  return value.has_value() ? Value(*value) : Value();
}

class Differential : public ::testing::TestWithParam<int64_t> {};

TEST_P(Differential, AgreesWithTheNaiveEvaluator) {
  const int64_t rows_per_chunk = GetParam();
  Generator generator(static_cast<uint32_t>(rows_per_chunk));
  const SchemaPtr schema = Schema();
  TestSource source(schema, rows_per_chunk);
  std::vector<Row> rows;
  for (int64_t i = 0; i < 700; ++i) {
    const Row row = generator.MakeRow();
    source.Append("id", i);
    source.Append("i8", OrNull(row.i8));
    source.Append("i64", OrNull(row.i64));
    source.Append("f", OrNull(row.f));
    source.Append("d", OrNull(row.d));
    source.Append("b", OrNull(row.b));
    source.Append("s", OrNull(row.s));
    source.Append("j", row.j.dump());
    Value array;
    if (row.a.has_value()) array = EncodeArray(DataType::kInt64, std::vector<Value>(row.a->begin(), row.a->end()));
    source.Append("a", array);
    rows.push_back(row);
  }
  source.set_rows(700);
  for (int i = 0; i < 1000; ++i) {
    if (i == 500) {
      for (const char* field : {"i8", "i64", "f", "d", "b", "s", "a"}) ASSERT_TRUE(source.BuildIndex(field, "").ok());
    }
    const Predicate predicate = generator.Make(3);
    const Result<FilterPtr> filter = ParseFilter(predicate.text, schema);
    ASSERT_TRUE(filter.ok()) << filter.status().message();
    Bitmap out;
    (*filter)->Evaluate(source, out);
    for (int64_t row = 0; row < 700; ++row) {
      const bool expected = predicate.truth(rows[static_cast<size_t>(row)]) == Truth::kTrue;
      ASSERT_EQ(out.Test(row), expected) << predicate.text << "\n  at row " << row;
      if (row % 97 != 0) continue;
      ASSERT_EQ((*filter)->Matches(source, row), expected) << predicate.text << "\n  at row " << row;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(RowsPerChunk, Differential, ::testing::Values(7, 64, 100, 1000));

}  // namespace
}  // namespace saker
