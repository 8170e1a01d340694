// What the parser makes of a filter's text: names not yet looked up, constants not yet folded.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/types.h"

namespace saker {

// A literal, a folded constant or a template's value: a scalar, or a list of them (lists may nest).
struct Constant {
  Value scalar;
  std::vector<Constant> list;
  bool is_list = false;

  Constant() = default;
  explicit Constant(Value value) : scalar(std::move(value)) {}
};

enum class Operator {
  kLess, kLessEqual, kGreater, kGreaterEqual, kEqual, kNotEqual,
  kAdd, kSubtract, kMultiply, kDivide, kModulo, kPower,
  kShiftLeft, kShiftRight, kBitAnd, kBitOr, kBitXor,
  kPlus, kMinus, kNot, kBitNot,
};

enum class ExprKind {
  kLiteral,      // value
  kList,         // items
  kTemplate,     // name
  kField,        // name, path
  kUnary,        // op, children[0]
  kBinary,       // op, children[0..1]: arithmetic, bits, comparison
  kRange,        // children: low, middle, high; op and second_op are < <= or > >=
  kIn,           // children[0], children[1] (a list or a template); negated
  kLike,         // children[0], value: the pattern
  kRegex,        // children[0], value: the pattern
  kAnd, kOr,     // two or more children
  kExists,       // children[0]
  kIsNull,       // children[0]; negated
  kContains, kContainsAll, kContainsAny,  // children[0..1]
  kArrayLength,  // children[0]
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

// The part of the text an expression was read from, for messages.
struct Span {
  uint32_t begin = 0;
  uint32_t end = 0;
};

// One element of a list. Literals, of which there may be millions, are kept without a node of their own.
struct ListItem {
  Value literal;
  Span span;
  ExprPtr expr;  // null: the literal
};

// ["key"] or [3] behind a name. An index is also a key of an object, as in Milvus.
struct PathStep {
  std::string key;
  bool is_index = false;
};

struct Expr {
  ExprKind kind = ExprKind::kLiteral;
  Operator op = Operator::kEqual;
  Operator second_op = Operator::kEqual;
  bool negated = false;
  int height = 1;  // bounds the recursion of whoever walks the tree
  Span span;
  Value value;
  std::string name;
  std::vector<PathStep> path;
  std::vector<ExprPtr> children;
  std::vector<ListItem> items;
};

}  // namespace saker
