// The names of all keys in the meta store, in one place (docs/format/meta_keys.md). Numbers are written with 20 digits,
// so that keys sort by them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"

namespace saker {

inline constexpr std::string_view kClusterIdKey = "cluster/id";
inline constexpr std::string_view kNextIdKey = "id/next";
inline constexpr std::string_view kCatalogSequenceKey = "catalog/seq";
inline constexpr std::string_view kSegmentSequenceKey = "segment-seq";

inline constexpr std::string_view kCatalogPrefix = "catalog/";
inline constexpr std::string_view kDatabasePrefix = "catalog/database/";
inline constexpr std::string_view kCollectionPrefix = "catalog/collection/";
inline constexpr std::string_view kUserPrefix = "catalog/user/";
inline constexpr std::string_view kRolePrefix = "catalog/role/";
inline constexpr std::string_view kResourceGroupPrefix = "catalog/group/";
inline constexpr std::string_view kSegmentPrefix = "segment/";
inline constexpr std::string_view kPlacementPrefix = "placement/";
inline constexpr std::string_view kChannelPrefix = "channel/";
inline constexpr std::string_view kTaskPrefix = "task/";
inline constexpr std::string_view kDrainPrefix = "drain/";
inline constexpr std::string_view kSessionPrefix = "session/";
inline constexpr std::string_view kLeaderPrefix = "leader/";

std::string DatabaseKey(DatabaseId id);
std::string CollectionKey(CollectionId id);
std::string UserKey(std::string_view name);
std::string RoleKey(std::string_view name);
std::string SegmentKey(CollectionId collection, SegmentId segment);
std::string SegmentPrefix(CollectionId collection);  // of all its segments
std::string PlacementKey(CollectionId collection);
std::string ChannelKey(ChannelId channel);
std::string TaskKey(int64_t id);
std::string DrainKey(NodeId node);
std::string ResourceGroupKey(std::string_view name);
std::string SessionKey(std::string_view role, NodeId node);
std::string SessionPrefix(std::string_view role);  // of all its nodes
std::string LeaderKey(std::string_view role);

// The number a key ends with; nullopt if it doesn't end with one of 20 digits.
std::optional<int64_t> IdInKey(std::string_view key);

}  // namespace saker
