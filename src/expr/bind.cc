#include "expr/bind.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include <fmt/format.h>

#include "expr/constant_folding.h"
#include "expr/lexer.h"

namespace saker {
namespace {

// What an expression turned out to be.
struct Operand {
  enum class Kind { kConstant, kColumn, kJson, kArray, kElement, kLength, kCondition };
  Kind kind = Kind::kConstant;
  Constant constant;
  const FieldSchema* field = nullptr;
  std::vector<PathStep> path;         // of JSON
  int64_t index = 0;                  // of an array's element
  std::vector<ArithmeticStep> steps;  // done to the value before it is looked at
  NodePtr condition;

  bool IsConstant() const { return kind == Kind::kConstant; }
  bool IsField() const { return kind != Kind::kConstant && kind != Kind::kCondition && kind != Kind::kLength && steps.empty(); }
};

Status Error(std::string message) { return Status(ErrorCode::kUnexpected, std::move(message)); }

DataType TypeOf(const Constant& constant) {
  if (constant.is_list) return DataType::kArray;
  if (std::holds_alternative<bool>(constant.scalar)) return DataType::kBool;
  if (std::holds_alternative<int64_t>(constant.scalar)) return DataType::kInt64;
  if (std::holds_alternative<double>(constant.scalar)) return DataType::kDouble;
  return std::holds_alternative<std::string>(constant.scalar) ? DataType::kVarChar : DataType::kNone;
}

DataType ElementTypeOf(const Constant& list) {
  if (list.list.empty()) return DataType::kNone;
  const DataType first = TypeOf(list.list.front());
  const bool same = std::all_of(list.list.begin(), list.list.end(), [&](const Constant& c) { return TypeOf(c) == first; });
  return same ? first : DataType::kNone;
}

// The type a message shows, and the one values are compared as.
DataType ShownType(const Operand& operand) {
  switch (operand.kind) {
    case Operand::Kind::kConstant: return TypeOf(operand.constant);
    case Operand::Kind::kColumn: case Operand::Kind::kJson: case Operand::Kind::kArray: case Operand::Kind::kElement:
      return operand.field->type;
    case Operand::Kind::kLength: return DataType::kInt64;
    case Operand::Kind::kCondition: return DataType::kBool;
  }
  return DataType::kNone;
}
DataType ShownElementType(const Operand& operand) {
  if (operand.IsConstant()) return operand.constant.is_list ? ElementTypeOf(operand.constant) : DataType::kNone;
  return ShownType(operand) == DataType::kArray ? operand.field->element_type : DataType::kNone;
}
DataType ComparedType(const Operand& operand) {
  const DataType type = ShownType(operand);
  return type == DataType::kArray ? ShownElementType(operand) : type;
}

bool CanBeCompared(DataType left, DataType right) {
  if (left == DataType::kJson) return true;
  if (left == DataType::kBool) return right == DataType::kBool || right == DataType::kJson;
  if (IsNumeric(left)) return IsNumeric(right) || right == DataType::kJson;
  if (IsString(left)) return IsString(right) || right == DataType::kJson;
  return false;
}

// Values of a Float column were rounded when they were written; a constant must be, too, or 0.1 would equal nothing.
Value RoundedFor(DataType type, Value value) {
  if (type != DataType::kFloat) return value;
  if (const auto* whole = std::get_if<int64_t>(&value)) return double{static_cast<float>(*whole)};
  if (const auto* number = std::get_if<double>(&value)) return double{static_cast<float>(*number)};
  return value;
}

// The type of the plain values an operand yields, for rounding: none after arithmetic.
DataType PlainType(const Operand& operand) {
  if (!operand.steps.empty()) return DataType::kNone;
  if (operand.kind == Operand::Kind::kColumn) return operand.field->type;
  return operand.kind == Operand::Kind::kElement ? operand.field->element_type : DataType::kNone;
}

ValueTestPtr TestFor(Operator op, Value value) {
  switch (op) {
    case Operator::kLess: return InBounds({}, {std::move(value), false});
    case Operator::kLessEqual: return InBounds({}, {std::move(value), true});
    case Operator::kGreater: return InBounds({std::move(value), false}, {});
    case Operator::kGreaterEqual: return InBounds({std::move(value), true}, {});
    default: return EqualTo(std::move(value));
  }
}

bool IsNumber(const Constant& constant) { return !constant.is_list && IsNumeric(TypeOf(constant)); }
bool IsText(const Constant& constant) { return !constant.is_list && TypeOf(constant) == DataType::kVarChar; }
bool IsArithmetic(Operator op) {
  return op == Operator::kAdd || op == Operator::kSubtract || op == Operator::kMultiply || op == Operator::kDivide ||
         op == Operator::kModulo || op == Operator::kPower;
}

bool CanBeCast(DataType to, const Constant& constant) {
  if (to == DataType::kJson) return true;
  const DataType from = TypeOf(constant);
  if (to == DataType::kBool) return from == DataType::kBool;
  if (IsInteger(to)) return from == DataType::kInt64;
  if (IsNumeric(to)) return IsNumeric(from);
  return IsString(to) && from == DataType::kVarChar;
}

class Binder {
 public:
  Binder(std::string_view text, const CollectionSchema& schema, const TemplateValues& templates)
      : text_(text), schema_(schema), templates_(templates) {}

  Result<Operand> Bind(const Expr& expr) {
    switch (expr.kind) {
      case ExprKind::kLiteral: return ConstantOperand(Constant(expr.value));
      case ExprKind::kList: return BindList(expr);
      case ExprKind::kTemplate: return BindTemplate(expr);
      case ExprKind::kField: return BindField(expr);
      case ExprKind::kUnary: return BindUnary(expr);
      case ExprKind::kBinary: return BindBinary(expr);
      case ExprKind::kRange: return BindRange(expr);
      case ExprKind::kIn: return BindIn(expr);
      case ExprKind::kLike: case ExprKind::kRegex: return BindPattern(expr);
      case ExprKind::kAnd: return BindLogic(expr, "and");
      case ExprKind::kOr: return BindLogic(expr, "or");
      case ExprKind::kExists: return BindExists(expr);
      case ExprKind::kIsNull: return BindIsNull(expr);
      case ExprKind::kContains: return BindContains(expr, "contains", false);
      case ExprKind::kContainsAll: return BindContains(expr, "contains_all", true);
      case ExprKind::kContainsAny: return BindContains(expr, "contains_any", false);
      case ExprKind::kArrayLength: return BindLength(expr);
    }
    return Error("unexpected expression");
  }

  std::string Quoted(Span span) const { return WithoutBlanks(text_.substr(span.begin, span.end - span.begin)); }
  std::string Quoted(const Expr& expr) const { return Quoted(expr.span); }

 private:
  static Operand ConstantOperand(Constant constant) {
    Operand out;
    out.constant = std::move(constant);
    return out;
  }
  static Operand Condition(NodePtr node, bool negated = false) {
    Operand out;
    out.kind = Operand::Kind::kCondition;
    out.condition = negated ? node->Negated() : std::move(node);
    return out;
  }

  Result<Operand> BindList(const Expr& expr) {
    Constant out;
    out.is_list = true;
    out.list.reserve(expr.items.size());
    for (const ListItem& item : expr.items) {
      if (item.expr == nullptr) {
        out.list.emplace_back(item.literal);
        continue;
      }
      ASSIGN_OR_RETURN(Operand element, Bind(*item.expr));
      if (!element.IsConstant()) {
        return Error(fmt::format("array element type must be generic value, but got: {}", Quoted(item.span)));
      }
      out.list.push_back(std::move(element.constant));
    }
    return ConstantOperand(std::move(out));
  }

  Result<Operand> BindTemplate(const Expr& expr) {
    const auto found = templates_.find(expr.name);
    if (found == templates_.end()) {
      return Error(fmt::format("the value of expression template variable name {{{}}} is not found", expr.name));
    }
    Constant out;
    out.is_list = found->second.is_list;
    for (const Value& value : found->second.list) out.list.emplace_back(value);
    if (!out.is_list) out.scalar = found->second.scalar.value_or(Value());
    if (!out.is_list && TypeOf(out) == DataType::kNone) {
      return Error(fmt::format("the value of expression template variable name {{{}}} is empty", expr.name));
    }
    return ConstantOperand(std::move(out));
  }

  Result<Operand> BindField(const Expr& expr) {
    ASSIGN_OR_RETURN(Operand out, Resolve(expr));
    if (out.kind == Operand::Kind::kJson && out.path.empty()) return Error("can not comparisons jsonField directly");
    return out;
  }

  // A field by its name, or a key of the dynamic field.
  Result<Operand> Resolve(const Expr& expr) {
    Operand out;
    out.field = schema_.Find(expr.name);
    out.path = expr.path;
    if (out.field == nullptr) {
      out.field = schema_.DynamicField();
      if (out.field == nullptr) return Error(fmt::format("field {} not exist", expr.name));
      out.path.insert(out.path.begin(), PathStep{expr.name, false});
    }
    if (out.field->type == DataType::kJson) {
      out.kind = Operand::Kind::kJson;
      return out;
    }
    out.kind = out.field->type == DataType::kArray ? Operand::Kind::kArray : Operand::Kind::kColumn;
    if (expr.path.empty()) return out;
    if (out.field->type != DataType::kArray) {
      return Error(fmt::format("{} data type not supported accessed with []", Name(out.field->type)));
    }
    if (!expr.path[0].is_index) return Error("can only access array field with integer index");
    if (expr.path.size() > 1) return Error(fmt::format("array field {} has elements, but no arrays in them", expr.name));
    const std::string& digits = expr.path[0].key;
    std::from_chars(digits.data(), digits.data() + digits.size(), out.index);
    out.kind = Operand::Kind::kElement;
    out.path.clear();
    return out;
  }

  Result<Operand> BindUnary(const Expr& expr) {
    ASSIGN_OR_RETURN(Operand child, Bind(*expr.children[0]));
    if (child.IsConstant()) {
      ASSIGN_OR_RETURN(Constant folded, FoldUnary(expr.op, child.constant));
      return ConstantOperand(std::move(folded));
    }
    if (child.kind == Operand::Kind::kArray) return Error("can not comparisons array fields directly");
    switch (expr.op) {
      case Operator::kPlus: return child;
      case Operator::kNot:
        if (child.kind != Operand::Kind::kCondition) return Error("not op can only be applied on boolean expression");
        return Condition(std::move(child.condition), true);
      case Operator::kMinus: return Error("unexpected op: -");
      default: return Error("unexpected op: ~");
    }
  }

  Result<Operand> BindBinary(const Expr& expr) {
    switch (expr.op) {
      case Operator::kBitAnd: return Error(fmt::format("BitAnd is not supported: {}", Quoted(expr)));
      case Operator::kBitOr: return Error(fmt::format("BitOr is not supported: {}", Quoted(expr)));
      case Operator::kBitXor: return Error(fmt::format("BitXor is not supported: {}", Quoted(expr)));
      case Operator::kShiftLeft: case Operator::kShiftRight:
        return Error(fmt::format("shift is not supported: {}", Quoted(expr)));
      default: break;
    }
    ASSIGN_OR_RETURN(Operand left, Bind(*expr.children[0]));
    ASSIGN_OR_RETURN(Operand right, Bind(*expr.children[1]));
    if (IsArithmetic(expr.op)) return BindArithmetic(expr, std::move(left), std::move(right));
    return BindComparison(expr, std::move(left), std::move(right));
  }

  Result<Operand> BindArithmetic(const Expr& expr, Operand left, Operand right) {
    if (left.IsConstant() && right.IsConstant()) {
      ASSIGN_OR_RETURN(Constant folded, FoldArithmetic(expr.op, left.constant, right.constant));
      return ConstantOperand(std::move(folded));
    }
    if (expr.op == Operator::kPower) {
      return Error(fmt::format("power can only apply on constants: {}", Quoted(expr)));
    }
    if (left.kind == Operand::Kind::kArray || right.kind == Operand::Kind::kArray) {
      return Error("can not comparisons array fields directly");
    }
    const DataType left_type = ComparedType(left), right_type = ComparedType(right);
    const bool can = (IsNumeric(left_type) && (IsNumeric(right_type) || right_type == DataType::kJson)) ||
                     (left_type == DataType::kJson && IsNumeric(right_type));
    const bool has_list = (left.IsConstant() && left.constant.is_list) || (right.IsConstant() && right.constant.is_list);
    if (!can || has_list) {
      return Error(fmt::format("'{}' can only be used between integer or floating or json field expressions",
                               ArithmeticName(expr.op)));
    }
    if (!left.IsConstant() && !right.IsConstant()) {
      return Error("not supported to do arithmetic operations between multiple fields");
    }
    const bool whole = left_type != DataType::kFloat && left_type != DataType::kDouble &&
                       right_type != DataType::kFloat && right_type != DataType::kDouble;
    if (expr.op == Operator::kModulo && !whole) return Error("modulo can only apply on integer types");
    const bool constant_first = left.IsConstant();
    Operand& operand = constant_first ? right : left;
    Value number = (constant_first ? left : right).constant.scalar;
    if (!constant_first) RETURN_IF_ERROR(CheckDivisor(expr.op, number));
    operand.steps.push_back({expr.op, std::move(number), constant_first});
    return std::move(operand);
  }

  Status NotComparable(const Operand& left, const Operand& right) {
    return Error(fmt::format("comparisons between {}, element_type: {} and {} elementType: {} are not supported",
                             Name(ShownType(left)), Name(ShownElementType(left)), Name(ShownType(right)),
                             Name(ShownElementType(right))));
  }

  Result<Operand> BindComparison(const Expr& expr, Operand left, Operand right) {
    if (left.IsConstant() && right.IsConstant()) {
      const std::optional<bool> holds = FoldComparison(expr.op, left.constant, right.constant);
      if (holds.has_value()) return ConstantOperand(Constant(Value(*holds)));
      return Error(fmt::format("comparison operations cannot be applied to two incompatible operands: {}", Quoted(expr)));
    }
    const bool is_equality = expr.op == Operator::kEqual || expr.op == Operator::kNotEqual;
    if (!is_equality && (left.kind == Operand::Kind::kArray || right.kind == Operand::Kind::kArray)) {
      return Error("can not comparisons array fields directly");
    }
    if (!CanBeComparedWithEmptyList(left, right) && !CanBeCompared(ComparedType(left), ComparedType(right))) {
      return NotComparable(left, right);
    }
    if (!left.IsConstant() && !right.IsConstant()) return BindPair(expr.op, left, right);
    const Operator op = left.IsConstant() ? Mirrored(expr.op) : expr.op;
    Operand& operand = left.IsConstant() ? right : left;
    Constant& constant = (left.IsConstant() ? left : right).constant;
    if (operand.kind == Operand::Kind::kCondition) return Error("not supported to combine multiple fields");
    return constant.is_list || operand.kind == Operand::Kind::kArray
               ? CompareWithList(std::move(operand), op, std::move(constant))
               : CompareWithScalar(std::move(operand), op, std::move(constant.scalar));
  }

  // An empty list has no type of elements, but may be compared with any array.
  static bool CanBeComparedWithEmptyList(const Operand& left, const Operand& right) {
    const auto is_empty = [](const Operand& o) { return o.IsConstant() && o.constant.is_list && o.constant.list.empty(); };
    return (left.kind == Operand::Kind::kArray && is_empty(right)) ||
           (right.kind == Operand::Kind::kArray && is_empty(left));
  }

  Result<Operand> BindPair(Operator op, const Operand& left, const Operand& right) {
    if (!left.IsField() || !right.IsField()) return Error("only comparison between two fields is supported");
    for (const Operand* side : {&left, &right}) {
      if (side->kind == Operand::Kind::kJson) return Error("unsupported right datatype JSON of compare expr");
      if (side->kind != Operand::Kind::kColumn) return Error("unsupported right datatype ARRAY of compare expr");
    }
    return Condition(CompareColumns(*left.field, op, *right.field));
  }

  Result<Operand> CompareWithList(Operand operand, Operator op, Constant list) {
    const bool is_equality = op == Operator::kEqual || op == Operator::kNotEqual;
    if (operand.kind == Operand::Kind::kArray && list.is_list) {
      return Condition(TestArrayEquals(*operand.field, std::move(list.list)), op == Operator::kNotEqual);
    }
    if (operand.kind == Operand::Kind::kJson && operand.steps.empty() && is_equality) {
      return Condition(TestJsonEquals(*operand.field, std::move(operand.path), std::move(list)),
                       op == Operator::kNotEqual);
    }
    const DataType type = operand.kind == Operand::Kind::kElement ? operand.field->element_type : ShownType(operand);
    return Error(fmt::format("cannot cast value to {}, value: {}", Name(type), ToText(list)));
  }

  Result<Operand> CompareWithScalar(Operand operand, Operator op, Value value) {
    value = RoundedFor(PlainType(operand), std::move(value));
    return TestOperand(std::move(operand), TestFor(op, std::move(value)), op == Operator::kNotEqual);
  }

  Result<Operand> TestOperand(Operand operand, ValueTestPtr test, bool negated) {
    const FieldSchema& field = *operand.field;
    switch (operand.kind) {
      case Operand::Kind::kColumn:
        return Condition(TestColumn(field, std::move(operand.steps), std::move(test)), negated);
      case Operand::Kind::kJson:
        return Condition(TestJson(field, std::move(operand.path), std::move(operand.steps), std::move(test)), negated);
      case Operand::Kind::kElement:
        // Where there is no such element both a[i] == x and a[i] != x are false, and so true behind a `not`.
        return Condition(TestElement(field, operand.index, std::move(operand.steps), std::move(test), negated), negated);
      case Operand::Kind::kLength:
        if (field.type == DataType::kArray) {
          return Condition(TestArrayLength(field, std::move(operand.steps), std::move(test)), negated);
        }
        return Condition(TestJsonLength(field, std::move(operand.path), std::move(operand.steps), std::move(test)),
                         negated);
      default:
        return Error("not supported to combine multiple fields");
    }
  }

  Result<Operand> BindRange(const Expr& expr) {
    const bool upward = expr.op == Operator::kLess || expr.op == Operator::kLessEqual;
    ASSIGN_OR_RETURN(Operand operand, Bind(*expr.children[1]));
    ASSIGN_OR_RETURN(Operand first, Bind(*expr.children[0]));
    ASSIGN_OR_RETURN(Operand last, Bind(*expr.children[2]));
    if (operand.kind == Operand::Kind::kArray) return Error("can not comparisons array fields directly");
    if (!first.IsConstant()) {
      return Error(fmt::format("lowerbound cannot be a non-const expression: {}", Quoted(*expr.children[0])));
    }
    if (!last.IsConstant()) {
      return Error(fmt::format("upperbound cannot be a non-const expression: {}", Quoted(*expr.children[2])));
    }
    RETURN_IF_ERROR(CheckRange(ComparedType(operand), first.constant, last.constant));
    const auto inclusive = [](Operator op) { return op == Operator::kLessEqual || op == Operator::kGreaterEqual; };
    const DataType type = PlainType(operand);
    Bound low{RoundedFor(type, std::move(first.constant.scalar)), inclusive(expr.op)};
    Bound high{RoundedFor(type, std::move(last.constant.scalar)), inclusive(expr.second_op)};
    if (!upward) std::swap(low, high);
    return TestOperand(std::move(operand), InBounds(std::move(low), std::move(high)), false);
  }

  static Status CheckRange(DataType type, const Constant& low, const Constant& high) {
    const bool numbers = IsNumber(low) && IsNumber(high);
    const bool texts = IsText(low) && IsText(high);
    if (type == DataType::kBool) return Error("invalid range operations on boolean expr");
    const bool fits = type == DataType::kJson ? numbers || texts : IsString(type) ? texts : IsNumeric(type) && numbers;
    return fits ? Status::Ok() : Error("invalid range operations");
  }

  Result<Operand> BindIn(const Expr& expr) {
    const Expr& subject = *expr.children[0];
    ASSIGN_OR_RETURN(Operand operand, Bind(subject));
    if (operand.IsConstant()) {
      return Error(fmt::format("'term' can only be used on non-const expression, but got: {}", Quoted(subject)));
    }
    if (!operand.IsField()) {
      return Error(fmt::format("'term' can only be used on single field, but got: {}", Quoted(subject)));
    }
    if (operand.kind == Operand::Kind::kArray) return Error("can not comparisons array fields directly");
    ASSIGN_OR_RETURN(std::vector<Constant> constants, BindValues(*expr.children[1], ComparedType(operand)));
    const DataType type = PlainType(operand);
    std::vector<Value> scalars;
    std::vector<NodePtr> nodes;
    for (Constant& constant : constants) {
      if (constant.is_list) {
        nodes.push_back(TestJsonEquals(*operand.field, operand.path, std::move(constant)));
      } else {
        scalars.push_back(RoundedFor(type, std::move(constant.scalar)));
      }
    }
    ASSIGN_OR_RETURN(Operand in, TestOperand(std::move(operand), AmongValues(std::move(scalars)), false));
    if (nodes.empty()) return Condition(std::move(in.condition), expr.negated);
    nodes.push_back(std::move(in.condition));
    return Condition(AnyOf(std::move(nodes)), expr.negated);
  }

  // The values of an `in` list, each of which must be of the field's type.
  Result<std::vector<Constant>> BindValues(const Expr& list, DataType type) {
    std::vector<Constant> out;
    if (list.kind != ExprKind::kList) {
      ASSIGN_OR_RETURN(Operand values, Bind(list));
      if (!values.constant.is_list) {
        return Error(fmt::format("the right-hand side of 'in' must be a list, but got: {}", Quoted(list)));
      }
      out = std::move(values.constant.list);
      for (const Constant& constant : out) {
        if (!CanBeCast(type, constant)) {
          return Error(fmt::format("value '{}' in list cannot be casted to {}", ToText(constant), Name(type)));
        }
      }
      return out;
    }
    out.reserve(list.items.size());
    for (const ListItem& item : list.items) {
      if (item.expr == nullptr) {
        out.emplace_back(item.literal);
      } else {
        ASSIGN_OR_RETURN(Operand value, Bind(*item.expr));
        if (!value.IsConstant()) {
          return Error(fmt::format("value '{}' in list cannot be a non-const expression", Quoted(item.span)));
        }
        out.push_back(std::move(value.constant));
      }
      if (!CanBeCast(type, out.back())) {
        return Error(fmt::format("value '{}' in list cannot be casted to {}", Quoted(item.span), Name(type)));
      }
    }
    return out;
  }

  Result<Operand> BindPattern(const Expr& expr) {
    const bool is_like = expr.kind == ExprKind::kLike;
    const std::string_view name = is_like ? "like" : "=~";
    ASSIGN_OR_RETURN(Operand operand, Bind(*expr.children[0]));
    if (!operand.IsField()) return Error(fmt::format("{} operation on complicated expr is unsupported", name));
    if (operand.kind == Operand::Kind::kArray) return Error("can not comparisons array fields directly");
    const DataType type = ComparedType(operand);
    if (!IsString(type) && type != DataType::kJson) {
      return Error(fmt::format("{} operation on non-string or no-json field is unsupported", name));
    }
    Value pattern = expr.value;
    if (expr.children.size() > 1) {
      ASSIGN_OR_RETURN(Operand value, Bind(*expr.children[1]));
      if (!IsText(value.constant)) return Error(fmt::format("the pattern of {} must be a string", name));
      pattern = std::move(value.constant.scalar);
    }
    if (is_like) return TestOperand(std::move(operand), Like(std::get<std::string>(pattern)), false);
    ASSIGN_OR_RETURN(ValueTestPtr test, MatchesRegex(std::get<std::string>(pattern)));
    return TestOperand(std::move(operand), std::move(test), false);
  }

  Result<Operand> BindLogic(const Expr& expr, std::string_view name) {
    std::vector<Operand> operands;
    for (const ExprPtr& child : expr.children) {
      ASSIGN_OR_RETURN(Operand operand, Bind(*child));
      operands.push_back(std::move(operand));
    }
    const auto is_flag = [](const Operand& o) { return o.IsConstant() && TypeOf(o.constant) == DataType::kBool; };
    const bool is_and = expr.kind == ExprKind::kAnd;
    if (std::all_of(operands.begin(), operands.end(), is_flag)) {
      const auto holds = [](const Operand& o) { return std::get<bool>(o.constant.scalar); };
      return ConstantOperand(Constant(Value(is_and ? std::all_of(operands.begin(), operands.end(), holds)
                                                   : std::any_of(operands.begin(), operands.end(), holds))));
    }
    std::vector<NodePtr> nodes;
    for (Operand& operand : operands) {
      if (operand.kind != Operand::Kind::kCondition) {
        return Error(fmt::format("'{}' can only be used between boolean expressions", name));
      }
      nodes.push_back(std::move(operand.condition));
    }
    if (!is_and) nodes = Merged(std::move(nodes));
    if (nodes.size() == 1) return Condition(std::move(nodes.front()));
    return Condition(is_and ? AllOf(std::move(nodes)) : AnyOf(std::move(nodes)));
  }

  // a == 1 or a == 2 or … is a in [1, 2, …]: one look at each row (or one look-up) instead of one for each value.
  std::vector<NodePtr> Merged(std::vector<NodePtr> nodes) const {
    std::map<FieldId, std::vector<Value>> values;
    std::vector<NodePtr> out;
    for (NodePtr& node : nodes) {
      std::set<FieldId> fields;
      node->AddFields(fields);
      if (fields.size() != 1 || !node->IsLimitOnly(*fields.begin())) {
        out.push_back(std::move(node));
        continue;
      }
      const std::optional<std::vector<Value>> some = node->LimitedTo(*fields.begin());
      std::vector<Value>& all = values[*fields.begin()];
      all.insert(all.end(), some->begin(), some->end());
    }
    for (auto& [field, all] : values) out.push_back(TestColumn(*schema_.Find(field), {}, AmongValues(std::move(all))));
    return out;
  }

  Result<Operand> BindExists(const Expr& expr) {
    const Expr& subject = *expr.children[0];
    ASSIGN_OR_RETURN(Operand operand, Bind(subject));
    if (!operand.IsField()) {
      return Error(fmt::format("exists operations are only supported on single fields now, got: {}", Quoted(subject)));
    }
    if (operand.kind != Operand::Kind::kJson) {
      return Error(fmt::format("exists oerations are only supportted on json field, got:{}", Name(operand.field->type)));
    }
    return Condition(TestJsonExists(*operand.field, std::move(operand.path)));
  }

  Result<Operand> BindIsNull(const Expr& expr) {
    ASSIGN_OR_RETURN(Operand operand, Resolve(*expr.children[0]));
    if (operand.kind == Operand::Kind::kElement) {
      return Error(fmt::format("is null is only supported on fields and json keys, got: {}", Quoted(*expr.children[0])));
    }
    const bool is_key = operand.kind == Operand::Kind::kJson && !operand.path.empty();
    return Condition(is_key ? TestJsonNull(*operand.field, std::move(operand.path)) : TestNull(*operand.field),
                     expr.negated);
  }

  Result<Operand> BindContains(const Expr& expr, std::string_view name, bool all) {
    const Expr& subject = *expr.children[0];
    const Expr& element = *expr.children[1];
    ASSIGN_OR_RETURN(Operand operand, Bind(subject));
    const bool is_array = operand.kind == Operand::Kind::kArray;
    if (!operand.IsField() || (!is_array && operand.kind != Operand::Kind::kJson)) {
      return Error(fmt::format("{} operation are only supported on json or array fields now, got: {}", name,
                               Quoted(subject)));
    }
    ASSIGN_OR_RETURN(Operand wanted, Bind(element));
    if (!wanted.IsConstant()) {
      return Error(fmt::format("{} operation are only supported explicitly specified element, got: {}", name,
                               Quoted(element)));
    }
    std::vector<Constant> values;
    if (expr.kind == ExprKind::kContains) {
      values.push_back(std::move(wanted.constant));
    } else if (wanted.constant.is_list) {
      values = std::move(wanted.constant.list);
    } else {
      return Error(fmt::format("{} operation element must be an array", name));
    }
    if (!is_array) return Condition(TestJsonContains(*operand.field, std::move(operand.path), all, std::move(values)));
    const DataType element_type = operand.field->element_type;
    for (Constant& value : values) {
      if (value.is_list || !CanBeCompared(element_type, TypeOf(value))) {
        return Error(fmt::format("{} operation can't compare between array element type: {} and {}", name,
                                 Name(element_type), Name(TypeOf(value))));
      }
      value.scalar = RoundedFor(element_type, std::move(value.scalar));
    }
    return Condition(TestArrayContains(*operand.field, all, std::move(values)));
  }

  Result<Operand> BindLength(const Expr& expr) {
    const Expr& subject = *expr.children[0];
    if (subject.kind != ExprKind::kField) {
      return Error(fmt::format("array_length operation are only supported on json or array fields now, got: {}", Quoted(expr)));
    }
    ASSIGN_OR_RETURN(Operand operand, Bind(subject));
    if (operand.kind != Operand::Kind::kArray && operand.kind != Operand::Kind::kJson) {
      return Error(fmt::format("array_length operation are only supported on json or array fields now, got: {}", Quoted(expr)));
    }
    operand.kind = Operand::Kind::kLength;
    return operand;
  }

  const std::string_view text_;
  const CollectionSchema& schema_;
  const TemplateValues& templates_;
};

}  // namespace

Result<BoundCondition> BindCondition(const Expr& expr, std::string_view text, const CollectionSchema& schema,
                                     const TemplateValues& templates) {
  Binder binder(text, schema, templates);
  ASSIGN_OR_RETURN(Operand operand, binder.Bind(expr));
  BoundCondition out;
  const auto* flag = std::get_if<bool>(&operand.constant.scalar);
  if (operand.kind == Operand::Kind::kCondition) {
    out.root = std::move(operand.condition);
  } else if (operand.IsConstant() && flag != nullptr && expr.kind != ExprKind::kLiteral) {
    out.root = Always(*flag);
  } else {
    out.why_not = fmt::format("predicate is not a boolean expression: {}, data type: {}",
                              text.substr(expr.span.begin, expr.span.end - expr.span.begin), Name(ShownType(operand)));
  }
  return out;
}

}  // namespace saker
