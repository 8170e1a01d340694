// Grouping of ranked rows: at most so many rows for each value of a field.
#pragma once

#include <functional>
#include <unordered_map>
#include <vector>

#include "model/types.h"

namespace saker {

struct ValueHash {
  size_t operator()(const Value& value) const { return std::hash<Value>()(value); }
};

// Takes rows nearest first and sorts them into groups; groups are in the order of their nearest row.
class GroupCollector {
 public:
  GroupCollector(int64_t groups, int group_size) : most_groups_(groups), group_size_(group_size) {}
  // False if the row belongs to no group that counts, or to one that is full.
  bool Add(const Value& value, int64_t item);
  bool HasAllGroups() const { return static_cast<int64_t>(groups_.size()) == most_groups_; }
  bool IsFull() const { return HasAllGroups() && full_groups_ == most_groups_; }
  struct Group {
    Value value;
    std::vector<int64_t> items;
  };
  const std::vector<Group>& groups() const { return groups_; }

 private:
  const int64_t most_groups_;
  const int group_size_;
  std::vector<Group> groups_;
  std::unordered_map<Value, size_t, ValueHash> group_of_;
  int64_t full_groups_ = 0;
};

}  // namespace saker
