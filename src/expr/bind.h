// Expr × schema × template values → a tree of conditions. Here are Milvus's typing rules and their messages.
#pragma once

#include "expr/ast.h"
#include "expr/node.h"

namespace saker {

struct BoundCondition {
  NodePtr root;               // null: `why_not` says why the expression is no condition
  std::string why_not;
};

// An error's message does not yet have "cannot parse expression: …" before it. `text` is what `expr` was parsed from.
Result<BoundCondition> BindCondition(const Expr& expr, std::string_view text, const CollectionSchema& schema,
                                     const TemplateValues& templates);

}  // namespace saker
