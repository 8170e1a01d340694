#include "meta/retry.h"

#include <fmt/format.h>

namespace saker {
namespace {

constexpr int kTries = 100;

}  // namespace

Result<Revision> UntilNoConflict(std::string_view what, const std::function<Result<Revision>()>& attempt) {
  for (int i = 0; i < kTries; ++i) {
    auto revision = attempt();
    if (revision.status().code() != ErrorCode::kConflict) return revision;
  }
  return {ErrorCode::kServiceUnavailable, fmt::format("{} is being changed by others all the time: retry", what)};
}

}  // namespace saker
