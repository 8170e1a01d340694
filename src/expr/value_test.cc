#include "expr/value_test.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <re2/re2.h>

#include "scalar/number_order.h"

namespace saker {
namespace {

constexpr int64_t kDenseBits = 1 << 16;  // 8 KiB of bits stay in the nearest cache
constexpr size_t kFewValues = 8;

uint64_t Mix(uint64_t x) {
  x ^= x >> 32;
  x *= 0xD6E8FEB86659FD93;
  x ^= x >> 32;
  return x;
}

// The integer a double is, if it is one.
std::optional<int64_t> WholeNumber(double value) {
  if (!(value >= -9223372036854775808.0 && value < 9223372036854775808.0) || std::trunc(value) != value) {
    return std::nullopt;
  }
  return static_cast<int64_t>(value);
}

std::partial_ordering Order(const Cell& cell, const Value& value) {
  switch (cell.kind) {
    case Cell::Kind::kBool:
      if (const auto* other = std::get_if<bool>(&value)) return int{cell.flag} <=> int{*other};
      break;
    case Cell::Kind::kInteger:
      if (const auto* other = std::get_if<int64_t>(&value)) return cell.integer <=> *other;
      if (const auto* other = std::get_if<double>(&value)) return CompareNumbers(cell.integer, *other);
      break;
    case Cell::Kind::kFloating:
      if (const auto* other = std::get_if<int64_t>(&value)) return CompareNumbers(cell.floating, *other);
      if (const auto* other = std::get_if<double>(&value)) return cell.floating <=> *other;
      break;
    case Cell::Kind::kString:
      if (const auto* other = std::get_if<std::string>(&value)) return cell.text <=> std::string_view(*other);
      break;
    case Cell::Kind::kMissing: case Cell::Kind::kNull: case Cell::Kind::kOther:
      break;
  }
  return std::partial_ordering::unordered;
}

class BoundsTest final : public ValueTest {
 public:
  BoundsTest(Bound low, Bound high) : bounds_{std::move(low), std::move(high)} {}
  bool Passes(const Cell& cell) const override {
    if (!std::holds_alternative<std::monostate>(bounds_.low.value)) {
      const auto order = Order(cell, bounds_.low.value);
      if (bounds_.low.inclusive ? !(order >= 0) : !(order > 0)) return false;
    }
    if (!std::holds_alternative<std::monostate>(bounds_.high.value)) {
      const auto order = Order(cell, bounds_.high.value);
      if (bounds_.high.inclusive ? !(order <= 0) : !(order < 0)) return false;
    }
    return true;
  }
  const Bounds* bounds() const override { return &bounds_; }

 private:
  const Bounds bounds_;
};

class ListTest final : public ValueTest {
 public:
  explicit ListTest(std::vector<Value> values) : values_(std::move(values)) {
    for (const Value& value : values_) {
      if (const auto* number = std::get_if<int64_t>(&value)) numbers_.Add(*number);
      if (const auto* number = std::get_if<double>(&value)) numbers_.Add(*number);
      if (const auto* text = std::get_if<std::string>(&value)) texts_.insert(*text);
      if (const auto* flag = std::get_if<bool>(&value)) (*flag ? has_true_ : has_false_) = true;
    }
    numbers_.Finish();
  }
  bool Passes(const Cell& cell) const override {
    switch (cell.kind) {
      case Cell::Kind::kBool: return cell.flag ? has_true_ : has_false_;
      case Cell::Kind::kInteger: return numbers_.Has(cell.integer);
      case Cell::Kind::kFloating: return numbers_.Has(cell.floating);
      case Cell::Kind::kString: return texts_.contains(cell.text);
      case Cell::Kind::kMissing: case Cell::Kind::kNull: case Cell::Kind::kOther: return false;
    }
    return false;
  }
  const std::vector<Value>* list() const override { return &values_; }
  const NumberSet* numbers() const override { return &numbers_; }

 private:
  const std::vector<Value> values_;
  NumberSet numbers_;
  std::unordered_set<std::string_view> texts_;  // views into values_
  bool has_true_ = false;
  bool has_false_ = false;
};

class LikeTest final : public ValueTest {
 public:
  explicit LikeTest(std::string_view pattern) : pattern_(pattern) {}
  bool Passes(const Cell& cell) const override {
    return cell.kind == Cell::Kind::kString && pattern_.Matches(cell.text);
  }
  const LikePattern* pattern() const override { return &pattern_; }

 private:
  const LikePattern pattern_;
};

class RegexTest final : public ValueTest {
 public:
  explicit RegexTest(std::unique_ptr<re2::RE2> regex) : regex_(std::move(regex)) {}
  bool Passes(const Cell& cell) const override {
    return cell.kind == Cell::Kind::kString && re2::RE2::PartialMatch({cell.text.data(), cell.text.size()}, *regex_);
  }

 private:
  const std::unique_ptr<re2::RE2> regex_;
};

int64_t Wrap(uint64_t value) { return static_cast<int64_t>(value); }

Cell ApplyIntegers(Operator op, int64_t a, int64_t b) {
  const auto x = static_cast<uint64_t>(a), y = static_cast<uint64_t>(b);
  switch (op) {
    case Operator::kAdd: return Cell::Of(Wrap(x + y));
    case Operator::kSubtract: return Cell::Of(Wrap(x - y));
    case Operator::kMultiply: return Cell::Of(Wrap(x * y));
    case Operator::kDivide:
      if (b == 0) return {};
      return Cell::Of(b == -1 ? Wrap(0 - x) : a / b);
    case Operator::kModulo:
      if (b == 0) return {};
      return Cell::Of(b == -1 ? int64_t{0} : a % b);
    default: return {};
  }
}

// The remainder of fractions is that of their whole parts, as Milvus has it for JSON.
Cell ModuloOfWholeParts(double a, double b) {
  const std::optional<int64_t> x = WholeNumber(std::trunc(a)), y = WholeNumber(std::trunc(b));
  if (!x.has_value() || !y.has_value()) return {};
  return ApplyIntegers(Operator::kModulo, *x, *y);
}

Cell ApplyFloating(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd: return Cell::Of(a + b);
    case Operator::kSubtract: return Cell::Of(a - b);
    case Operator::kMultiply: return Cell::Of(a * b);
    case Operator::kDivide: return b == 0 ? Cell{} : Cell::Of(a / b);
    case Operator::kModulo: return ModuloOfWholeParts(a, b);
    default: return {};
  }
}

bool IsNumber(const Cell& cell) { return cell.kind == Cell::Kind::kInteger || cell.kind == Cell::Kind::kFloating; }
double AsDouble(const Cell& cell) {
  return cell.kind == Cell::Kind::kInteger ? static_cast<double>(cell.integer) : cell.floating;
}

}  // namespace

Cell Cell::Of(const Value& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return Of(*flag);
  if (const auto* number = std::get_if<int64_t>(&value)) return Of(*number);
  if (const auto* number = std::get_if<double>(&value)) return Of(*number);
  if (const auto* text = std::get_if<std::string>(&value)) return Of(std::string_view(*text));
  return {.kind = Kind::kNull};
}

void NumberSet::Add(int64_t value) { integers_.push_back(value); }
void NumberSet::Add(double value) {
  if (const std::optional<int64_t> whole = WholeNumber(value); whole.has_value()) {
    integers_.push_back(*whole);
  } else if (!std::isnan(value)) {
    fractions_.push_back(value);
  }
}

void NumberSet::Finish() {
  const auto make_distinct = [](auto& values) {
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
  };
  make_distinct(integers_);
  make_distinct(fractions_);
  if (integers_.size() <= kFewValues) return;
  first_ = integers_.front();
  const uint64_t span = static_cast<uint64_t>(integers_.back()) - static_cast<uint64_t>(first_);
  if (span < kDenseBits) {
    dense_.assign(span / 64 + 1, 0);
    for (const int64_t value : integers_) {
      const uint64_t i = static_cast<uint64_t>(value) - static_cast<uint64_t>(first_);
      dense_[i / 64] |= uint64_t{1} << (i % 64);
    }
    return;
  }
  // A value that is not in the set marks free slots.
  free_ = 0;
  while (std::binary_search(integers_.begin(), integers_.end(), free_)) ++free_;
  slots_.assign(std::bit_ceil(integers_.size() * 2), free_);
  slot_mask_ = slots_.size() - 1;
  for (const int64_t value : integers_) {
    uint64_t slot = Mix(static_cast<uint64_t>(value)) & slot_mask_;
    while (slots_[slot] != free_) slot = (slot + 1) & slot_mask_;
    slots_[slot] = value;
  }
}

bool NumberSet::Has(int64_t value) const {
  if (integers_.size() <= kFewValues) {
    return std::find(integers_.begin(), integers_.end(), value) != integers_.end();
  }
  if (!dense_.empty()) {
    const uint64_t i = static_cast<uint64_t>(value) - static_cast<uint64_t>(first_);
    return i / 64 < dense_.size() && ((dense_[i / 64] >> (i % 64)) & 1) != 0;
  }
  if (value == free_) return false;
  for (uint64_t slot = Mix(static_cast<uint64_t>(value)) & slot_mask_; slots_[slot] != free_;
       slot = (slot + 1) & slot_mask_) {
    if (slots_[slot] == value) return true;
  }
  return false;
}

bool NumberSet::Has(double value) const {
  if (const std::optional<int64_t> whole = WholeNumber(value); whole.has_value()) return Has(*whole);
  return !std::isnan(value) && std::binary_search(fractions_.begin(), fractions_.end(), value);
}

ValueTestPtr InBounds(Bound low, Bound high) {
  return std::make_shared<BoundsTest>(std::move(low), std::move(high));
}
ValueTestPtr EqualTo(Value value) {
  Bound both{std::move(value), true};
  Bound low = both;
  return InBounds(std::move(low), std::move(both));
}
ValueTestPtr AmongValues(std::vector<Value> values) { return std::make_shared<ListTest>(std::move(values)); }
ValueTestPtr Like(std::string_view pattern) { return std::make_shared<LikeTest>(pattern); }

Result<ValueTestPtr> MatchesRegex(const std::string& pattern) {
  auto regex = std::make_unique<re2::RE2>(pattern, re2::RE2::Quiet);
  if (!regex->ok()) {
    return Status(ErrorCode::kUnexpected, fmt::format("invalid regular expression '{}': {}", pattern, regex->error()));
  }
  return ValueTestPtr(std::make_shared<RegexTest>(std::move(regex)));
}

const Value* OnlyValue(const ValueTest& test) {
  const ValueTest::Bounds* bounds = test.bounds();
  if (bounds == nullptr || !bounds->low.inclusive || !bounds->high.inclusive) return nullptr;
  if (std::holds_alternative<std::monostate>(bounds->low.value)) return nullptr;
  return bounds->low.value == bounds->high.value ? &bounds->low.value : nullptr;
}

bool SameValue(const Cell& cell, const Value& value) { return Order(cell, value) == 0; }

bool SameConstant(const Constant& a, const Constant& b) {
  if (a.is_list != b.is_list) return false;
  if (a.is_list) return std::equal(a.list.begin(), a.list.end(), b.list.begin(), b.list.end(), SameConstant);
  return Order(Cell::Of(a.scalar), b.scalar) == 0;
}

Cell Apply(Operator op, const Cell& left, const Cell& right) {
  if (!IsNumber(left) || !IsNumber(right)) return {};
  if (left.kind == Cell::Kind::kInteger && right.kind == Cell::Kind::kInteger) {
    return ApplyIntegers(op, left.integer, right.integer);
  }
  return ApplyFloating(op, AsDouble(left), AsDouble(right));
}

Cell Apply(const std::vector<ArithmeticStep>& steps, Cell cell) {
  for (const ArithmeticStep& step : steps) {
    const Cell operand = Cell::Of(step.operand);
    cell = step.operand_first ? Apply(step.op, operand, cell) : Apply(step.op, cell, operand);
  }
  return cell;
}

}  // namespace saker
