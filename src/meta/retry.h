// Read, change, write: again for as long as somebody else was faster.
#pragma once

#include <functional>
#include <string_view>

#include "meta/meta_store.h"

namespace saker {

// Runs `attempt`, which reads what it needs anew each time, until it doesn't end with kConflict. Each conflict means that
// somebody else's change was made; after very many kServiceUnavailable says that `what` is changing all the time.
Result<Revision> UntilNoConflict(std::string_view what, const std::function<Result<Revision>()>& attempt);

}  // namespace saker
