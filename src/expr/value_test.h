// What a filter asks of one value: within bounds, among a list, like a pattern. Values of another kind never pass.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/status.h"
#include "expr/ast.h"
#include "expr/like_pattern.h"

namespace saker {

// One value of a row, as it is met while evaluating: of a column, a JSON document or an array. Views live as long as
// the row is looked at.
struct Cell {
  enum class Kind : uint8_t { kMissing, kNull, kBool, kInteger, kFloating, kString, kOther };
  Kind kind = Kind::kMissing;
  bool flag = false;
  int64_t integer = 0;
  double floating = 0;
  std::string_view text;

  static Cell Of(bool value) { return {.kind = Kind::kBool, .flag = value}; }
  static Cell Of(int64_t value) { return {.kind = Kind::kInteger, .integer = value}; }
  static Cell Of(double value) { return {.kind = Kind::kFloating, .floating = value}; }
  static Cell Of(std::string_view value) { return {.kind = Kind::kString, .text = value}; }
  static Cell Of(const Value& value);
};

// A hash set of numbers: integers, and floating values that are no integer.
class NumberSet {
 public:
  void Add(int64_t value);
  void Add(double value);
  bool Has(int64_t value) const;
  bool Has(double value) const;
  void Finish();  // after the last Add
  const std::vector<int64_t>& integers() const { return integers_; }
  const std::vector<double>& fractions() const { return fractions_; }

 private:
  std::vector<int64_t> integers_;  // sorted, distinct
  std::vector<double> fractions_;  // sorted, distinct
  int64_t first_ = 0;
  std::vector<uint64_t> dense_;    // bits from first_ on, if the integers are near each other
  std::vector<int64_t> slots_;     // open addressing; free slots hold `free_`
  uint64_t slot_mask_ = 0;
  int64_t free_ = 0;
};

struct Bound {
  Value value;  // monostate: open
  bool inclusive = false;
};

class ValueTest {
 public:
  virtual ~ValueTest() = default;
  virtual bool Passes(const Cell& cell) const = 0;

  // For leaves that know a faster way, and for indexes: the test seen as bounds, list or pattern; null if it is not.
  struct Bounds {
    Bound low;
    Bound high;
  };
  virtual const Bounds* bounds() const { return nullptr; }
  virtual const std::vector<Value>* list() const { return nullptr; }
  virtual const NumberSet* numbers() const { return nullptr; }
  virtual const LikePattern* pattern() const { return nullptr; }
};
using ValueTestPtr = std::shared_ptr<const ValueTest>;

ValueTestPtr InBounds(Bound low, Bound high);
ValueTestPtr EqualTo(Value value);
ValueTestPtr AmongValues(std::vector<Value> values);
ValueTestPtr Like(std::string_view pattern);
Result<ValueTestPtr> MatchesRegex(const std::string& pattern);
// The value of a test that only one value passes.
const Value* OnlyValue(const ValueTest& test);

// Whether they are the same value: 1 and 1.0 are.
bool SameValue(const Cell& cell, const Value& value);
bool SameConstant(const Constant& a, const Constant& b);

// + - * / % by constants, one after another.
struct ArithmeticStep {
  Operator op = Operator::kAdd;
  Value operand;              // int64 or double
  bool operand_first = false; // 2 - x
};
// Missing if the cell is no number or a division has no result. Integers wrap around.
Cell Apply(const std::vector<ArithmeticStep>& steps, Cell cell);
Cell Apply(Operator op, const Cell& left, const Cell& right);

}  // namespace saker
