// Operators between constants, as Milvus folds them: integers stay integers, ** gives a floating number.
#pragma once

#include "base/status.h"
#include "expr/ast.h"

namespace saker {

// "add", "subtract", …: how messages call an arithmetic operator.
std::string_view ArithmeticName(Operator op);
// Comparisons the other way round: a < b is b > a.
Operator Mirrored(Operator op);

Result<Constant> FoldArithmetic(Operator op, const Constant& left, const Constant& right);
// nullopt: the two cannot be compared.
std::optional<bool> FoldComparison(Operator op, const Constant& left, const Constant& right);
Result<Constant> FoldUnary(Operator op, const Constant& operand);
// Refuses to divide by a constant zero.
Status CheckDivisor(Operator op, const Value& divisor);
std::string ToText(const Constant& constant);

}  // namespace saker
