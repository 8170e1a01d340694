#include "expr/constant_folding.h"

#include <cmath>

#include <fmt/format.h>

#include "expr/value_test.h"
#include "scalar/number_order.h"

namespace saker {
namespace {

constexpr size_t kShownElements = 8;  // of a list, in a message

bool IsNumber(const Constant& constant) {
  return !constant.is_list &&
         (std::holds_alternative<int64_t>(constant.scalar) || std::holds_alternative<double>(constant.scalar));
}

double AsDouble(const Value& value) {
  const auto* whole = std::get_if<int64_t>(&value);
  return whole != nullptr ? static_cast<double>(*whole) : std::get<double>(value);
}

Status Error(std::string message) { return Status(ErrorCode::kUnexpected, std::move(message)); }

std::partial_ordering OrderOf(const Value& a, const Value& b) {
  if (const auto* x = std::get_if<int64_t>(&a)) {
    if (const auto* y = std::get_if<int64_t>(&b)) return *x <=> *y;
    return CompareNumbers(*x, std::get<double>(b));
  }
  if (const auto* y = std::get_if<int64_t>(&b)) return CompareNumbers(std::get<double>(a), *y);
  return std::get<double>(a) <=> std::get<double>(b);
}

template <typename Ordering>
bool Holds(Operator op, Ordering order) {
  switch (op) {
    case Operator::kLess: return order < 0;
    case Operator::kLessEqual: return order <= 0;
    case Operator::kGreater: return order > 0;
    case Operator::kGreaterEqual: return order >= 0;
    case Operator::kEqual: return order == 0;
    default: return order != 0;
  }
}

}  // namespace

std::string_view ArithmeticName(Operator op) {
  switch (op) {
    case Operator::kAdd: return "add";
    case Operator::kSubtract: return "subtract";
    case Operator::kMultiply: return "multiply";
    case Operator::kDivide: return "divide";
    case Operator::kModulo: return "modulo";
    default: return "power";
  }
}

Operator Mirrored(Operator op) {
  switch (op) {
    case Operator::kLess: return Operator::kGreater;
    case Operator::kLessEqual: return Operator::kGreaterEqual;
    case Operator::kGreater: return Operator::kLess;
    case Operator::kGreaterEqual: return Operator::kLessEqual;
    default: return op;
  }
}

Status CheckDivisor(Operator op, const Value& divisor) {
  if ((op != Operator::kDivide && op != Operator::kModulo) || AsDouble(divisor) != 0) return Status::Ok();
  return Error(op == Operator::kDivide ? "cannot divide by zero" : "cannot modulo by zero");
}

Result<Constant> FoldArithmetic(Operator op, const Constant& left, const Constant& right) {
  if (!IsNumber(left) || !IsNumber(right)) {
    return Error(fmt::format("'{}' can only be used between integer or floating or json field expressions",
                             ArithmeticName(op)));
  }
  if (op == Operator::kPower) return Constant(Value(std::pow(AsDouble(left.scalar), AsDouble(right.scalar))));
  const bool whole =
      std::holds_alternative<int64_t>(left.scalar) && std::holds_alternative<int64_t>(right.scalar);
  if (op == Operator::kModulo && !whole) return Error("modulo can only apply on integer");
  RETURN_IF_ERROR(CheckDivisor(op, right.scalar));
  const Cell result = Apply(op, Cell::Of(left.scalar), Cell::Of(right.scalar));
  return Constant(whole ? Value(result.integer) : Value(result.floating));
}

std::optional<bool> FoldComparison(Operator op, const Constant& left, const Constant& right) {
  const bool is_equality = op == Operator::kEqual || op == Operator::kNotEqual;
  if (IsNumber(left) && IsNumber(right)) return Holds(op, OrderOf(left.scalar, right.scalar));
  if (left.is_list || right.is_list) {
    if (!left.is_list || !right.is_list || !is_equality) return std::nullopt;
    return SameConstant(left, right) == (op == Operator::kEqual);
  }
  if (left.scalar.index() != right.scalar.index()) return std::nullopt;
  if (const auto* text = std::get_if<std::string>(&left.scalar)) return Holds(op, *text <=> std::get<std::string>(right.scalar));
  if (const auto* flag = std::get_if<bool>(&left.scalar); flag != nullptr && is_equality) {
    return (*flag == std::get<bool>(right.scalar)) == (op == Operator::kEqual);
  }
  return std::nullopt;
}

Result<Constant> FoldUnary(Operator op, const Constant& operand) {
  if (op == Operator::kPlus) return operand;
  if (op == Operator::kMinus && IsNumber(operand)) {
    if (const auto* whole = std::get_if<int64_t>(&operand.scalar)) {
      return Constant(Value(static_cast<int64_t>(0 - static_cast<uint64_t>(*whole))));
    }
    return Constant(Value(-std::get<double>(operand.scalar)));
  }
  if (op == Operator::kMinus) return Error("'-' can only be used on a number");
  const auto* flag = std::get_if<bool>(&operand.scalar);
  if (op != Operator::kNot) return Error("unexpected op: ~");
  if (operand.is_list || flag == nullptr) return Error("not op can only be applied on boolean expression");
  return Constant(Value(!*flag));
}

std::string ToText(const Constant& constant) {
  if (constant.is_list) {
    std::string out = "array_val:<";
    for (size_t i = 0; i < constant.list.size() && i < kShownElements; ++i) {
      out += fmt::format("array:<{}> ", ToText(constant.list[i]));
    }
    return out + (constant.list.size() > kShownElements ? "… > " : "> ");
  }
  if (const auto* flag = std::get_if<bool>(&constant.scalar)) return fmt::format("bool_val:{} ", *flag);
  if (const auto* whole = std::get_if<int64_t>(&constant.scalar)) return fmt::format("int64_val:{} ", *whole);
  if (const auto* number = std::get_if<double>(&constant.scalar)) return fmt::format("float_val:{:g} ", *number);
  if (const auto* text = std::get_if<std::string>(&constant.scalar)) return fmt::format("string_val:\"{}\" ", *text);
  return "null";
}

}  // namespace saker
