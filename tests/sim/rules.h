// Dropping one rule for a run.
#pragma once

#include <string>
#include <vector>

#include "base/rules.h"

namespace saker::sim {

std::vector<std::string> RuleNames();
bool DropRule(const std::string& name);  // false: there is none of that name

}  // namespace saker::sim
