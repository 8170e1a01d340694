#include "model/schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace saker {
namespace {

// The first element for which `matches` holds, or null.
template <typename T, typename F>
const T* FindIf(const std::vector<T>& in, F matches) {
  const auto it = std::find_if(in.begin(), in.end(), matches);
  return it == in.end() ? nullptr : &*it;
}

}  // namespace

const FieldSchema* CollectionSchema::Find(std::string_view field_name) const {
  return FindIf(fields, [&](const FieldSchema& f) { return f.name == field_name; });
}
const FieldSchema* CollectionSchema::Find(FieldId id) const {
  return FindIf(fields, [&](const FieldSchema& f) { return f.id == id; });
}
const FieldSchema& CollectionSchema::PrimaryKey() const {
  const FieldSchema* found = FindIf(fields, [](const FieldSchema& f) { return f.is_primary; });
  SAKER_CHECK(found != nullptr);
  return *found;
}
const FieldSchema* CollectionSchema::PartitionKey() const {
  return FindIf(fields, [](const FieldSchema& f) { return f.is_partition_key; });
}
const FieldSchema* CollectionSchema::DynamicField() const {
  return FindIf(fields, [](const FieldSchema& f) { return f.is_dynamic; });
}
std::vector<const FieldSchema*> CollectionSchema::VectorFields() const {
  std::vector<const FieldSchema*> out;
  for (const FieldSchema& field : fields) {
    if (IsVector(field.type)) out.push_back(&field);
  }
  return out;
}

const Partition* Collection::FindPartition(std::string_view partition_name) const {
  return FindIf(partitions, [&](const Partition& p) { return p.name == partition_name; });
}
const Partition* Collection::FindPartition(PartitionId id) const {
  return FindIf(partitions, [&](const Partition& p) { return p.id == id; });
}
const IndexMeta* Collection::FindIndex(std::string_view index_name) const {
  return FindIf(indexes, [&](const IndexMeta& i) { return !i.dropped && i.name == index_name; });
}
const IndexMeta* Collection::IndexOn(FieldId field) const {
  return FindIf(indexes, [&](const IndexMeta& i) { return !i.dropped && i.field == field; });
}
int64_t Collection::TtlSeconds() const {
  constexpr int64_t kLongest = int64_t{1} << 40;  // longer than any clock, and no overflow as milliseconds
  const std::string* text = saker::Find(properties, "collection.ttl.seconds");
  int64_t seconds = 0;
  if (text != nullptr) std::from_chars(text->data(), text->data() + text->size(), seconds);
  return std::clamp<int64_t>(seconds, 0, kLongest);
}

bool Collection::IsLoaded(PartitionId partition) const {
  return load.loaded && (load.whole || load.partitions.contains(partition));
}
std::string Collection::VirtualChannel(int shard) const {
  SAKER_CHECK(shard >= 0 && shard < static_cast<int>(shards.size()));
  return fmt::format("{}_{}v{}", PhysicalChannel(shards[shard]), id.value, shard);
}
std::string Collection::PhysicalChannel(ChannelId channel) { return fmt::format("by-dev-rootcoord-dml_{}", channel); }

const SegmentIndex* SegmentMeta::FindIndex(IndexId index) const {
  return FindIf(indexes, [&](const SegmentIndex& i) { return i.index == index; });
}

}  // namespace saker
