#include "roles/state.h"

#include <algorithm>

#include "base/bytes.h"

namespace saker {
namespace {

constexpr uint8_t kVersion = 1;
constexpr uint8_t kMovingVersion = 2;  // of channels and placements: with what is on its way elsewhere

Status CheckVersion(ByteReader& in, const char* what, uint8_t newest = kVersion, uint8_t* version = nullptr) {
  const auto found = in.Get<uint8_t>();
  if (version != nullptr) *version = found;
  if (in.ok() && found >= kVersion && found <= newest) return {};
  return {ErrorCode::kCorrupted, std::string(what) + " has format version " + std::to_string(found) +
                                     "; this build reads versions up to " + std::to_string(newest) + " only"};
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
  out.Put(kMovingVersion);
  out.Put(assignment.channel);
  out.Put(assignment.owner.value);
  out.Put(assignment.epoch);
  out.Put<uint32_t>(static_cast<uint32_t>(assignment.seal_before.size()));
  for (const auto& [collection, ts] : assignment.seal_before) {
    out.Put(collection.value);
    out.Put(ts);
  }
  out.Put(assignment.successor.value);
  return bytes;
}

Result<ChannelAssignment> DecodeChannelAssignment(std::string_view bytes) {
  ByteReader in(bytes);
  uint8_t version = 0;
  RETURN_IF_ERROR(CheckVersion(in, "a channel assignment", kMovingVersion, &version));
  ChannelAssignment assignment;
  assignment.channel = in.Get<ChannelId>();
  assignment.owner = NodeId(in.Get<int64_t>());
  assignment.epoch = in.Get<Epoch>();
  const auto count = in.Get<uint32_t>();
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    const CollectionId collection(in.Get<int64_t>());
    assignment.seal_before[collection] = in.Get<Timestamp>();
  }
  if (version >= kMovingVersion) assignment.successor = NodeId(in.Get<int64_t>());
  RETURN_IF_ERROR(Finish(in, "a channel assignment"));
  return assignment;
}

std::string Encode(const Placement& placement) {
  std::string bytes;
  ByteWriter out(bytes);
  out.Put(kMovingVersion);
  out.Put(placement.collection.value);
  out.Put<uint8_t>(placement.loaded);
  out.Put<uint32_t>(static_cast<uint32_t>(placement.segments.size()));
  for (const auto& segment : placement.segments) {
    out.Put(segment.segment.value);
    out.Put<uint8_t>(segment.serving);
    PutIds(out, segment.nodes);
  }
  out.Put<uint32_t>(static_cast<uint32_t>(placement.replicas.size()));
  for (const auto& replica : placement.replicas) {
    out.Put(replica.id);
    out.PutBytes(replica.group);
    PutIds(out, replica.nodes);
  }
  // By position: few segments are on their way.
  const auto moving = std::count_if(placement.segments.begin(), placement.segments.end(), [](const auto& s) { return !s.incoming.empty(); });
  out.Put<uint32_t>(static_cast<uint32_t>(moving));
  for (size_t i = 0; i < placement.segments.size(); ++i) {
    if (placement.segments[i].incoming.empty()) continue;
    out.Put<uint32_t>(static_cast<uint32_t>(i));
    PutIds(out, placement.segments[i].incoming);
  }
  return bytes;
}

namespace {

// What a placement of an earlier version ends without.
Status DecodeReplicas(ByteReader& in, Placement& placement) {
  const auto replicas = in.Get<uint32_t>();
  for (uint32_t i = 0; i < replicas && in.ok(); ++i) {
    ReplicaPlacement replica;
    replica.id = in.Get<int64_t>();
    replica.group = in.GetBytes();
    replica.nodes = GetIds<NodeTag>(in);
    placement.replicas.push_back(std::move(replica));
  }
  const auto moving = in.Get<uint32_t>();
  for (uint32_t i = 0; i < moving && in.ok(); ++i) {
    const auto at = in.Get<uint32_t>();
    auto incoming = GetIds<NodeTag>(in);
    if (!in.ok()) break;
    if (at >= placement.segments.size()) return {ErrorCode::kCorrupted, "a placement names a segment that it doesn't have"};
    placement.segments[at].incoming = std::move(incoming);
  }
  return {};
}

}  // namespace

Result<Placement> DecodePlacement(std::string_view bytes) {
  ByteReader in(bytes);
  uint8_t version = 0;
  RETURN_IF_ERROR(CheckVersion(in, "a placement", kMovingVersion, &version));
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
  if (version >= kMovingVersion) RETURN_IF_ERROR(DecodeReplicas(in, placement));
  RETURN_IF_ERROR(Finish(in, "a placement"));
  return placement;
}

int64_t MemoryOf(const SegmentMeta& segment) {
  int64_t bytes = segment.size_bytes;
  for (const SegmentIndex& index : segment.indexes) bytes += index.size_bytes;
  return bytes;
}

std::string Encode(const DrainRequest& drain) {
  std::string bytes;
  ByteWriter out(bytes);
  out.Put(kVersion);
  out.Put(drain.node.value);
  out.Put(drain.since_unix_ms);
  return bytes;
}

Result<DrainRequest> DecodeDrain(std::string_view bytes) {
  ByteReader in(bytes);
  RETURN_IF_ERROR(CheckVersion(in, "a drain request"));
  DrainRequest drain;
  drain.node = NodeId(in.Get<int64_t>());
  drain.since_unix_ms = in.Get<int64_t>();
  RETURN_IF_ERROR(Finish(in, "a drain request"));
  return drain;
}

std::string Encode(const ResourceGroup& group) {
  std::string bytes;
  ByteWriter out(bytes);
  out.Put(kVersion);
  out.PutBytes(group.name);
  out.Put(group.capacity);
  out.Put(group.limit);
  PutIds(out, group.nodes);
  return bytes;
}

Result<ResourceGroup> DecodeResourceGroup(std::string_view bytes) {
  ByteReader in(bytes);
  RETURN_IF_ERROR(CheckVersion(in, "a resource group"));
  ResourceGroup group;
  group.name = in.GetBytes();
  group.capacity = in.Get<int32_t>();
  group.limit = in.Get<int32_t>();
  group.nodes = GetIds<NodeTag>(in);
  RETURN_IF_ERROR(Finish(in, "a resource group"));
  return group;
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
