#include "transport/envelope.h"

#include <fmt/format.h>

#include <algorithm>

namespace saker {

Status Admission::Check(const CallHeader& header, bool is_command) {
  if (header.cluster != cluster_) {
    return {ErrorCode::kCrossClusterRouting,
            fmt::format("this node belongs to cluster '{}', the caller (node {}) to '{}': check the addresses and the meta "
                        "store's prefix", cluster_, header.caller.value, header.cluster)};
  }
  if (header.target != node_) {
    return {ErrorCode::kNodeNotMatch,
            fmt::format("node mismatch: this is node {}, the call of node {} is for node {}, which was at this address before",
                        node_.value, header.caller.value, header.target.value)};
  }
  if (!is_command) return {};
  if (std::none_of(header.tokens.begin(), header.tokens.end(), [](const LeaderToken& t) { return t.revision > 0; })) {
    return {ErrorCode::kPrivilegeNotPermitted,
            fmt::format("only a leader may command this; node {} leads nothing", header.caller.value)};
  }
  MutexLock lock(mutex_);
  for (const LeaderToken& token : header.tokens) {
    const auto seen = highest_.find(token.role);
    if (seen == highest_.end() || Token(token.generation, token.revision) >= seen->second) continue;
    return {ErrorCode::kSuperseded,
            fmt::format("node {} commands as {} of generation {}, revision {}; one of generation {}, revision {} has taken over",
                        header.caller.value, token.role, token.generation, token.revision, seen->second.first,
                        seen->second.second)};
  }
  for (const LeaderToken& token : header.tokens) highest_[token.role] = {token.generation, token.revision};
  return {};
}

void Admission::Observe(const LeaderToken& token) {
  MutexLock lock(mutex_);
  Token& highest = highest_[token.role];
  highest = std::max(highest, {token.generation, token.revision});
}

}  // namespace saker
