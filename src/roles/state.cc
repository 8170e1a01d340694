#include "roles/state.h"

#include <algorithm>

#include "base/bytes.h"

namespace saker {
namespace {

constexpr uint8_t kVersion = 1;

Status CheckVersion(ByteReader& in, const char* what) {
  const auto version = in.Get<uint8_t>();
  if (in.ok() && version == kVersion) return {};
  return {ErrorCode::kCorrupted, std::string(what) + " has format version " + std::to_string(version) +
                                     "; this build reads version " + std::to_string(kVersion) + " only"};
}

Status Finish(const ByteReader& in, const char* what) {
  if (in.ok()) return {};
  return {ErrorCode::kCorrupted, std::string(what) + " is shorter than its content says"};
}

template <typename Tag>
void PutIds(ByteWriter& out, const std::vector<Id<Tag>>& ids) {
  out.Put<uint32_t>(static_cast<uint32_t>(ids.size()));
  for (const auto id : ids) out.Put(id.value);
}

template <typename Tag>
std::vector<Id<Tag>> GetIds(ByteReader& in) {
  std::vector<Id<Tag>> ids;
  const auto count = in.Get<uint32_t>();
  for (uint32_t i = 0; i < count && in.ok(); ++i) ids.emplace_back(in.Get<int64_t>());
  return ids;
}

void PutPairs(ByteWriter& out, const KeyValues& pairs) {
  out.Put<uint32_t>(static_cast<uint32_t>(pairs.size()));
  for (const auto& [key, value] : pairs) {
    out.PutBytes(key);
    out.PutBytes(value);
  }
}

KeyValues GetPairs(ByteReader& in) {
  KeyValues pairs;
  const auto count = in.Get<uint32_t>();
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    std::string key(in.GetBytes());
    pairs.emplace_back(std::move(key), std::string(in.GetBytes()));
  }
  return pairs;
}

void PutIndex(ByteWriter& out, const IndexMeta& index) {
  out.Put(index.id.value);
  out.Put(index.field.value);
  out.PutBytes(index.name);
  out.PutBytes(index.type);
  out.Put(index.metric);
  PutPairs(out, index.params);
  PutPairs(out, index.type_params);
  out.Put(index.created);
}

IndexMeta GetIndex(ByteReader& in) {
  IndexMeta index;
  index.id = IndexId(in.Get<int64_t>());
  index.field = FieldId(in.Get<int64_t>());
  index.name = in.GetBytes();
  index.type = in.GetBytes();
  index.metric = in.Get<Metric>();
  index.params = GetPairs(in);
  index.type_params = GetPairs(in);
  index.created = in.Get<Timestamp>();
  return index;
}

}  // namespace

const SegmentPlacement* Placement::Find(SegmentId segment) const {
  const auto it = std::find_if(segments.begin(), segments.end(), [&](const auto& placed) { return placed.segment == segment; });
  return it == segments.end() ? nullptr : &*it;
}

bool Placement::Serves(SegmentId segment) const {
  const SegmentPlacement* placed = Find(segment);
  return placed != nullptr && placed->serving;
}

std::string Encode(const ChannelAssignment& assignment) {
  std::string bytes;
  ByteWriter out(bytes);
  out.Put(kVersion);
  out.Put(assignment.channel);
  out.Put(assignment.owner.value);
  out.Put(assignment.epoch);
  out.Put<uint32_t>(static_cast<uint32_t>(assignment.seal_before.size()));
  for (const auto& [collection, ts] : assignment.seal_before) {
    out.Put(collection.value);
    out.Put(ts);
  }
  return bytes;
}

Result<ChannelAssignment> DecodeChannelAssignment(std::string_view bytes) {
  ByteReader in(bytes);
  RETURN_IF_ERROR(CheckVersion(in, "a channel assignment"));
  ChannelAssignment assignment;
  assignment.channel = in.Get<ChannelId>();
  assignment.owner = NodeId(in.Get<int64_t>());
  assignment.epoch = in.Get<Epoch>();
  const auto count = in.Get<uint32_t>();
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    const CollectionId collection(in.Get<int64_t>());
    assignment.seal_before[collection] = in.Get<Timestamp>();
  }
  RETURN_IF_ERROR(Finish(in, "a channel assignment"));
  return assignment;
}

std::string Encode(const Placement& placement) {
  std::string bytes;
  ByteWriter out(bytes);
  out.Put(kVersion);
  out.Put(placement.collection.value);
  out.Put<uint8_t>(placement.loaded);
  out.Put<uint32_t>(static_cast<uint32_t>(placement.segments.size()));
  for (const auto& segment : placement.segments) {
    out.Put(segment.segment.value);
    out.Put<uint8_t>(segment.serving);
    PutIds(out, segment.nodes);
  }
  return bytes;
}

Result<Placement> DecodePlacement(std::string_view bytes) {
  ByteReader in(bytes);
  RETURN_IF_ERROR(CheckVersion(in, "a placement"));
  Placement placement;
  placement.collection = CollectionId(in.Get<int64_t>());
  placement.loaded = in.Get<uint8_t>() != 0;
  const auto count = in.Get<uint32_t>();
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    SegmentPlacement segment;
    segment.segment = SegmentId(in.Get<int64_t>());
    segment.serving = in.Get<uint8_t>() != 0;
    segment.nodes = GetIds<NodeTag>(in);
    placement.segments.push_back(std::move(segment));
  }
  RETURN_IF_ERROR(Finish(in, "a placement"));
  return placement;
}

std::string Encode(const TaskSpec& task) {
  std::string bytes;
  ByteWriter out(bytes);
  out.Put(kVersion);
  out.Put(task.id);
  out.Put(task.kind);
  out.Put(task.node.value);
  out.Put(task.collection.value);
  out.Put(task.segment.value);
  PutIndex(out, task.index);
  PutIds(out, task.inputs);
  PutIds(out, task.deletes);
  out.Put(task.deletes_until);
  out.Put(task.expired_before);
  out.Put(task.created);
  return bytes;
}

Result<TaskSpec> DecodeTask(std::string_view bytes) {
  ByteReader in(bytes);
  RETURN_IF_ERROR(CheckVersion(in, "a task"));
  TaskSpec task;
  task.id = in.Get<int64_t>();
  task.kind = in.Get<TaskKind>();
  task.node = NodeId(in.Get<int64_t>());
  task.collection = CollectionId(in.Get<int64_t>());
  task.segment = SegmentId(in.Get<int64_t>());
  task.index = GetIndex(in);
  task.inputs = GetIds<SegmentTag>(in);
  task.deletes = GetIds<SegmentTag>(in);
  task.deletes_until = in.Get<Timestamp>();
  task.expired_before = in.Get<Timestamp>();
  task.created = in.Get<Timestamp>();
  RETURN_IF_ERROR(Finish(in, "a task"));
  return task;
}

}  // namespace saker
