#include "query/group_by.h"

namespace saker {

bool GroupCollector::Add(const Value& value, int64_t item) {
  auto found = group_of_.find(value);
  if (found == group_of_.end()) {
    if (HasAllGroups()) return false;
    found = group_of_.emplace(value, groups_.size()).first;
    groups_.push_back({value, {}});
  }
  std::vector<int64_t>& items = groups_[found->second].items;
  if (static_cast<int>(items.size()) >= group_size_) return false;
  items.push_back(item);
  if (static_cast<int>(items.size()) == group_size_) ++full_groups_;
  return true;
}

}  // namespace saker
