// The last values used, by their keys. Not thread-safe.
#pragma once

#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace saker {

template <typename T>
class LruCache {
 public:
  explicit LruCache(size_t capacity) : capacity_(capacity) {}
  // Null: not there. Valid until the next Put.
  const T* Find(std::string_view key) {
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return &found->second->second;
  }
  void Put(std::string key, T value) {
    if (Find(key) != nullptr) {
      entries_.front().second = std::move(value);
      return;
    }
    entries_.emplace_front(std::move(key), std::move(value));
    by_key_.emplace(entries_.front().first, entries_.begin());
    if (entries_.size() <= capacity_) return;
    by_key_.erase(entries_.back().first);
    entries_.pop_back();
  }
  size_t size() const { return entries_.size(); }

 private:
  using Entries = std::list<std::pair<std::string, T>>;
  const size_t capacity_;
  Entries entries_;  // last used first
  std::unordered_map<std::string_view, typename Entries::iterator> by_key_;
};

}  // namespace saker
