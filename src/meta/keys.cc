#include "meta/keys.h"

#include <fmt/format.h>

#include <charconv>

namespace saker {
namespace {

constexpr size_t kDigits = 20;

std::string Numbered(std::string_view prefix, int64_t id) { return fmt::format("{}{:020}", prefix, id); }
std::string Named(std::string_view prefix, std::string_view name) { return std::string(prefix).append(name); }

}  // namespace

std::string DatabaseKey(DatabaseId id) { return Numbered(kDatabasePrefix, id.value); }
std::string CollectionKey(CollectionId id) { return Numbered(kCollectionPrefix, id.value); }
std::string UserKey(std::string_view name) { return Named(kUserPrefix, name); }
std::string RoleKey(std::string_view name) { return Named(kRolePrefix, name); }
std::string SegmentPrefix(CollectionId collection) { return Numbered(kSegmentPrefix, collection.value) + "/"; }
std::string SegmentKey(CollectionId collection, SegmentId segment) {
  return Numbered(SegmentPrefix(collection), segment.value);
}
std::string PlacementKey(CollectionId collection) { return Numbered(kPlacementPrefix, collection.value); }
std::string ChannelKey(ChannelId channel) { return Numbered(kChannelPrefix, channel); }
std::string TaskKey(int64_t id) { return Numbered(kTaskPrefix, id); }
std::string DrainKey(NodeId node) { return Numbered(kDrainPrefix, node.value); }
std::string ResourceGroupKey(std::string_view name) { return Named(kResourceGroupPrefix, name); }
std::string SessionPrefix(std::string_view role) { return Named(kSessionPrefix, role) + "/"; }
std::string SessionKey(std::string_view role, NodeId node) { return Numbered(SessionPrefix(role), node.value); }
std::string LeaderKey(std::string_view role) { return Named(kLeaderPrefix, role); }

std::optional<int64_t> IdInKey(std::string_view key) {
  if (key.size() < kDigits) return std::nullopt;
  const std::string_view digits = key.substr(key.size() - kDigits);
  int64_t id = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), id);
  if (error != std::errc() || end != digits.data() + digits.size() || digits.front() == '-') return std::nullopt;
  return id;
}

}  // namespace saker
