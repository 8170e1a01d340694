// Leaves over JSON columns. Each row is walked once, on demand: only the path and what lies on it is looked at.
#include <algorithm>
#include <charconv>
#include <cstring>

#include <simdjson.h>

#include "expr/leaf.h"

namespace saker {
namespace {

namespace od = simdjson::ondemand;

constexpr int kJsonCost = 200;
constexpr int kMaxConstantDepth = 64;  // of arrays compared with lists; deeper ones equal no list anyone writes

// One thread's parser and the copy of a row that has no readable bytes behind it.
struct Scratch {
  od::parser parser;
  std::string padded;
};

Scratch& ThreadScratch() {
  thread_local Scratch scratch;
  return scratch;
}

// simdjson reads (but does not use) up to SIMDJSON_PADDING bytes behind the document.
simdjson::padded_string_view Padded(const ColumnView& column, int64_t row, Scratch& scratch) {
  const std::string_view text = column.Bytes(row);
  const uint64_t behind = column.offsets[column.rows] - column.offsets[row + 1];
  if (behind >= simdjson::SIMDJSON_PADDING) {
    return simdjson::padded_string_view(text.data(), text.size(), text.size() + simdjson::SIMDJSON_PADDING);
  }
  scratch.padded.assign(text);
  scratch.padded.resize(text.size() + simdjson::SIMDJSON_PADDING, ' ');
  return simdjson::padded_string_view(scratch.padded.data(), text.size(), scratch.padded.size());
}

// Keys are compared as they are written; with a backslash in the document they have to be unescaped first.
bool FindKey(od::object& object, std::string_view key, bool has_escapes, od::value& out) {
  if (!has_escapes) return object.find_field_unordered(key).get(out) == simdjson::SUCCESS;
  for (auto field : object) {
    od::field pair;
    std::string_view name;
    if (std::move(field).get(pair) != simdjson::SUCCESS || pair.unescaped_key().get(name) != simdjson::SUCCESS) return false;
    if (name != key) continue;
    out = pair.value();
    return true;
  }
  return false;
}

bool FindIndex(od::array& array, std::string_view key, od::value& out) {
  size_t index = 0;
  const auto read = std::from_chars(key.data(), key.data() + key.size(), index);
  if (read.ec != std::errc() || read.ptr != key.data() + key.size()) return false;
  return array.at(index).get(out) == simdjson::SUCCESS;
}

// One step from a value, or from the document itself.
template <typename From>
bool Step(From& from, const PathStep& step, bool has_escapes, od::value& out) {
  od::json_type type;
  if (from.type().get(type) != simdjson::SUCCESS) return false;
  if (type == od::json_type::object) {
    od::object object;
    return from.get_object().get(object) == simdjson::SUCCESS && FindKey(object, step.key, has_escapes, out);
  }
  if (type == od::json_type::array) {
    od::array array;
    return from.get_array().get(array) == simdjson::SUCCESS && FindIndex(array, step.key, out);
  }
  return false;
}

Cell NumberCell(od::value& value) {
  od::number number;
  if (value.get_number().get(number) != simdjson::SUCCESS) return {.kind = Cell::Kind::kOther};
  switch (number.get_number_type()) {
    case od::number_type::signed_integer: return Cell::Of(number.get_int64());
    case od::number_type::unsigned_integer: return Cell::Of(static_cast<double>(number.get_uint64()));
    default: return Cell::Of(number.get_double());
  }
}

Cell CellOf(od::value& value) {
  od::json_type type;
  if (value.type().get(type) != simdjson::SUCCESS) return {};
  switch (type) {
    case od::json_type::number: return NumberCell(value);
    case od::json_type::string: {
      std::string_view text;
      if (value.get_string().get(text) != simdjson::SUCCESS) return {.kind = Cell::Kind::kOther};
      return Cell::Of(text);
    }
    case od::json_type::boolean: {
      bool flag = false;
      if (value.get_bool().get(flag) != simdjson::SUCCESS) return {.kind = Cell::Kind::kOther};
      return Cell::Of(flag);
    }
    case od::json_type::null: return {.kind = Cell::Kind::kNull};
    default: return {.kind = Cell::Kind::kOther};
  }
}

// A JSON value as a constant; nullopt for objects, null and what is not well formed: they equal no constant.
std::optional<Constant> ConstantOf(od::value& value, int depth) {
  od::json_type type;
  if (depth > kMaxConstantDepth || value.type().get(type) != simdjson::SUCCESS) return std::nullopt;
  Constant out;
  if (type == od::json_type::array) {
    od::array array;
    if (value.get_array().get(array) != simdjson::SUCCESS) return std::nullopt;
    out.is_list = true;
    for (auto element : array) {
      od::value inner;
      if (std::move(element).get(inner) != simdjson::SUCCESS) return std::nullopt;
      std::optional<Constant> constant = ConstantOf(inner, depth + 1);
      if (!constant.has_value()) return std::nullopt;
      out.list.push_back(std::move(*constant));
    }
    return out;
  }
  const Cell cell = CellOf(value);
  switch (cell.kind) {
    case Cell::Kind::kBool: out.scalar = cell.flag; return out;
    case Cell::Kind::kInteger: out.scalar = cell.integer; return out;
    case Cell::Kind::kFloating: out.scalar = cell.floating; return out;
    case Cell::Kind::kString: out.scalar = std::string(cell.text); return out;
    default: return std::nullopt;
  }
}

template <typename Self>
class JsonLeaf : public Leaf {
 public:
  JsonLeaf(const FieldSchema& field, std::vector<PathStep> path) : Leaf(field), path_(std::move(path)) {}
  NodePtr Negated() const override {
    auto out = std::make_shared<Self>(static_cast<const Self&>(*this));
    out->negated_ = !negated_;
    return out;
  }

 protected:
  bool is_negated() const override { return negated_; }
  int ScanCost() const override { return kJsonCost; }
  bool PassesRow(const ColumnView& column, int64_t row) const override {
    Scratch& scratch = ThreadScratch();
    const simdjson::padded_string_view text = Padded(column, row, scratch);
    od::document document;
    od::value value;
    const bool found = scratch.parser.iterate(text).get(document) == simdjson::SUCCESS && Walk(document, text, value);
    return Holds(found ? &value : nullptr) != negated_;
  }
  // The value at the path; null if there is none.
  virtual bool Holds(od::value* value) const = 0;

  bool negated_ = false;

 private:
  bool Walk(od::document& document, std::string_view text, od::value& out) const {
    const bool has_escapes = std::memchr(text.data(), '\\', text.size()) != nullptr;
    if (path_.empty() || !Step(document, path_[0], has_escapes, out)) return false;
    for (size_t i = 1; i < path_.size(); ++i) {
      od::value inner;
      if (!Step(out, path_[i], has_escapes, inner)) return false;
      out = inner;
    }
    return true;
  }
  const std::vector<PathStep> path_;
};

class JsonTestLeaf final : public JsonLeaf<JsonTestLeaf> {
 public:
  JsonTestLeaf(const FieldSchema& field, std::vector<PathStep> path, std::vector<ArithmeticStep> steps, ValueTestPtr test)
      : JsonLeaf(field, std::move(path)), steps_(std::move(steps)), test_(std::move(test)) {}

 protected:
  bool Holds(od::value* value) const override {
    return value != nullptr && test_->Passes(Apply(steps_, CellOf(*value)));
  }

 private:
  const std::vector<ArithmeticStep> steps_;
  const ValueTestPtr test_;
};

class JsonExistsLeaf final : public JsonLeaf<JsonExistsLeaf> {
 public:
  using JsonLeaf::JsonLeaf;

 protected:
  bool Holds(od::value* value) const override { return value != nullptr; }
};

// `is null`: true of a null document too, and never unknown.
class JsonNullLeaf final : public JsonLeaf<JsonNullLeaf> {
 public:
  using JsonLeaf::JsonLeaf;

 protected:
  bool PassesNull() const override { return !negated_; }
  bool Holds(od::value* value) const override {
    return value == nullptr || CellOf(*value).kind == Cell::Kind::kNull;
  }
};

// What is no array has the length 0, as in Milvus.
class JsonLengthLeaf final : public JsonLeaf<JsonLengthLeaf> {
 public:
  JsonLengthLeaf(const FieldSchema& field, std::vector<PathStep> path, std::vector<ArithmeticStep> steps,
                 ValueTestPtr test)
      : JsonLeaf(field, std::move(path)), steps_(std::move(steps)), test_(std::move(test)) {}

 protected:
  bool Holds(od::value* value) const override {
    od::array array;
    size_t length = 0;
    if (value != nullptr && value->get_array().get(array) == simdjson::SUCCESS &&
        array.count_elements().get(length) != simdjson::SUCCESS) {
      length = 0;
    }
    return test_->Passes(Apply(steps_, Cell::Of(static_cast<int64_t>(length))));
  }

 private:
  const std::vector<ArithmeticStep> steps_;
  const ValueTestPtr test_;
};

class JsonEqualsLeaf final : public JsonLeaf<JsonEqualsLeaf> {
 public:
  JsonEqualsLeaf(const FieldSchema& field, std::vector<PathStep> path, Constant wanted)
      : JsonLeaf(field, std::move(path)), wanted_(std::move(wanted)) {}

 protected:
  bool Holds(od::value* value) const override {
    if (value == nullptr) return false;
    const std::optional<Constant> constant = ConstantOf(*value, 0);
    return constant.has_value() && SameConstant(*constant, wanted_);
  }

 private:
  const Constant wanted_;
};

class JsonContainsLeaf final : public JsonLeaf<JsonContainsLeaf> {
 public:
  JsonContainsLeaf(const FieldSchema& field, std::vector<PathStep> path, bool all, std::vector<Constant> wanted)
      : JsonLeaf(field, std::move(path)), all_(all), wanted_(std::move(wanted)) {
    std::vector<Value> scalars;
    for (const Constant& constant : wanted_) {
      if (!constant.is_list) scalars.push_back(constant.scalar);
    }
    scalars_ = AmongValues(std::move(scalars));
  }

 protected:
  bool Holds(od::value* value) const override {
    od::array array;
    if (value == nullptr || value->get_array().get(array) != simdjson::SUCCESS) return false;
    std::vector<bool> seen(all_ ? wanted_.size() : 0, false);
    size_t missing = seen.size();
    for (auto element : array) {
      od::value inner;
      if (std::move(element).get(inner) != simdjson::SUCCESS) return false;
      if (all_ ? (Tick(inner, seen, missing) == 0) : IsWanted(inner)) return true;
    }
    return all_ && missing == 0;
  }

 private:
  bool IsWanted(od::value& element) const {
    od::json_type type;
    if (element.type().get(type) != simdjson::SUCCESS) return false;
    if (type != od::json_type::array) return scalars_->Passes(CellOf(element));
    const std::optional<Constant> constant = ConstantOf(element, 0);
    return constant.has_value() &&
           std::any_of(wanted_.begin(), wanted_.end(), [&](const Constant& one) { return SameConstant(*constant, one); });
  }
  size_t Tick(od::value& element, std::vector<bool>& seen, size_t& missing) const {
    const std::optional<Constant> constant = ConstantOf(element, 0);
    for (size_t i = 0; constant.has_value() && i < wanted_.size(); ++i) {
      if (seen[i] || !SameConstant(*constant, wanted_[i])) continue;
      seen[i] = true;
      --missing;
    }
    return missing;
  }

  const bool all_;
  const std::vector<Constant> wanted_;
  ValueTestPtr scalars_;
};

}  // namespace

NodePtr TestJson(const FieldSchema& field, std::vector<PathStep> path, std::vector<ArithmeticStep> steps,
                 ValueTestPtr test) {
  return std::make_shared<JsonTestLeaf>(field, std::move(path), std::move(steps), std::move(test));
}
NodePtr TestJsonExists(const FieldSchema& field, std::vector<PathStep> path) {
  return std::make_shared<JsonExistsLeaf>(field, std::move(path));
}
NodePtr TestJsonNull(const FieldSchema& field, std::vector<PathStep> path) {
  return std::make_shared<JsonNullLeaf>(field, std::move(path));
}
NodePtr TestJsonLength(const FieldSchema& field, std::vector<PathStep> path, std::vector<ArithmeticStep> steps,
                       ValueTestPtr test) {
  return std::make_shared<JsonLengthLeaf>(field, std::move(path), std::move(steps), std::move(test));
}
NodePtr TestJsonContains(const FieldSchema& field, std::vector<PathStep> path, bool all, std::vector<Constant> wanted) {
  return std::make_shared<JsonContainsLeaf>(field, std::move(path), all, std::move(wanted));
}
NodePtr TestJsonEquals(const FieldSchema& field, std::vector<PathStep> path, Constant wanted) {
  return std::make_shared<JsonEqualsLeaf>(field, std::move(path), std::move(wanted));
}

}  // namespace saker
