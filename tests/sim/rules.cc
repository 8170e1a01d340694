#include "sim/rules.h"

#include <map>
#include <optional>

namespace saker {
namespace sim {
namespace {

const std::map<std::string, Rule>& Names() {
  static const std::map<std::string, Rule> names{
      {"ceilings", Rule::kCeilings},
      {"proof", Rule::kProof},
      {"minimum_route", Rule::kMinimumRoute},
      {"growing_copy", Rule::kGrowingCopy},
      {"void_after_fence", Rule::kVoidAfterFence},
      {"unknown_append", Rule::kUnknownAppend},
      {"kept_versions", Rule::kKeptVersions},
      {"deletes_hold_log", Rule::kDeletesHoldLog},
      {"batch_once", Rule::kBatchOnce},
      {"flush_epoch", Rule::kFlushEpoch},
      {"skip_committed", Rule::kSkipCommitted},
      {"open_writers", Rule::kOpenWriters},
      {"tombstones", Rule::kTombstones},
      {"copy_first", Rule::kCopyFirst},
      {"catch_up_copies", Rule::kCatchUpCopies},
      {"leader_compared", Rule::kLeaderCompared},
      {"versions", Rule::kVersions},
      {"id_blocks", Rule::kIdBlocks},
      {"recover_lost", Rule::kRecoverLost},
  };
  return names;
}

std::optional<Rule> dropped;

}  // namespace

std::vector<std::string> RuleNames() {
  std::vector<std::string> out;
  for (const auto& [name, rule] : Names()) out.push_back(name);
  return out;
}

bool DropRule(const std::string& name) {
  const auto it = Names().find(name);
  if (it == Names().end()) return false;
  dropped = it->second;
  return true;
}

}  // namespace sim

bool RuleHolds(Rule rule) { return sim::dropped != rule; }

}  // namespace saker
