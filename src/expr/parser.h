// Text → Expr by precedence climbing. Precedences are those of Milvus's grammar, strongest first:
//   like =~ · ** · unary + - ! ~ · * / % · + - · << >> · in · < <= > >= · == != · & · ^ · | · and · or
#pragma once

#include "base/status.h"
#include "expr/ast.h"

namespace saker {

inline constexpr size_t kMaxFilterBytes = size_t{64} << 20;
inline constexpr int kMaxFilterDepth = 500;

// The message of an error has the position but not yet "cannot parse expression: …".
Result<ExprPtr> ParseExpression(std::string_view text);

}  // namespace saker
