// Strong identifiers: a CollectionId can't be passed where a SegmentId is meant. Zero cost.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace saker {

template <typename Tag>
struct Id {
  int64_t value = 0;
  constexpr Id() = default;
  constexpr explicit Id(int64_t v) : value(v) {}
  constexpr auto operator<=>(const Id&) const = default;
  constexpr explicit operator bool() const { return value != 0; }
};

using DatabaseId = Id<struct DatabaseTag>;
using CollectionId = Id<struct CollectionTag>;
using PartitionId = Id<struct PartitionTag>;
using SegmentId = Id<struct SegmentTag>;
using FieldId = Id<struct FieldTag>;
using IndexId = Id<struct IndexTag>;
using NodeId = Id<struct NodeTag>;

// A physical channel: one partition of the log. All shards of all collections live on a fixed number of them.
using ChannelId = int32_t;
// The fencing number of a channel's owner; a higher one supersedes a lower one.
using Epoch = int64_t;

}  // namespace saker

template <typename Tag>
struct std::hash<saker::Id<Tag>> {
  size_t operator()(const saker::Id<Tag>& id) const noexcept { return std::hash<int64_t>()(id.value); }
};
