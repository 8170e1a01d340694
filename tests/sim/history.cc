#include "sim/history.h"

#include <fmt/format.h>

#include "sim/fibers.h"

namespace saker::sim {

int History::Begin(int64_t key, int64_t value) {
  ++operations_;
  auto& operations = keys_[key].operations;
  operations.push_back({value, NowUs()});
  return static_cast<int>(operations.size()) - 1;
}

void History::Acknowledged(int64_t key, int number) {
  ++acknowledged_;
  keys_[key].operations[static_cast<size_t>(number)].ended_us = NowUs();
}

std::string History::Read(int64_t began_us, const std::map<int64_t, int64_t>& seen) {
  ++reads_;
  for (const auto& [key, value] : seen) {
    if (!keys_.contains(key)) return fmt::format("key {} was never written, but has value {}", key, value);
  }
  for (auto& [number, key] : keys_) {
    const auto it = seen.find(number);
    std::string wrong = Check(number, key, began_us, it == seen.end() ? 0 : it->second);
    if (!wrong.empty()) return wrong;
  }
  return "";
}

std::string History::Check(int64_t number, Key& key, int64_t began_us, int64_t value) const {
  // -1: before the first operation.
  int low = -1;
  for (size_t i = 0; i < key.operations.size(); ++i) {
    if (key.operations[i].ended_us <= began_us) low = static_cast<int>(i);
  }
  for (const auto& [until_us, at] : key.seen) {
    if (until_us <= began_us) low = std::max(low, at);
  }
  const int count = static_cast<int>(key.operations.size());
  for (int i = low; i < count; ++i) {
    const int64_t then = i < 0 ? 0 : key.operations[static_cast<size_t>(i)].value;
    if (then != value) continue;
    if (key.seen.empty() || key.seen.back().second < i) key.seen.emplace_back(NowUs(), i);
    return "";
  }
  std::string history;
  for (const Operation& operation : key.operations) {
    history += fmt::format("\n  {} from {:.6f} to {}", operation.value == 0 ? "delete" : fmt::format("value {}", operation.value),
                           static_cast<double>(operation.began_us) / 1e6,
                           operation.ended_us == INT64_MAX ? "an unknown end" : fmt::format("{:.6f}", static_cast<double>(operation.ended_us) / 1e6));
  }
  for (const auto& [until_us, at] : key.seen) history += fmt::format("\n  operation {} was seen at {:.6f}", at, static_cast<double>(until_us) / 1e6);
  return fmt::format("key {} reads as {} from {:.6f} to {:.6f}; its history:{}", number, value == 0 ? "absent" : std::to_string(value),
                     static_cast<double>(began_us) / 1e6, static_cast<double>(NowUs()) / 1e6, history);
}

}  // namespace saker::sim
