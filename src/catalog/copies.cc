#include "catalog/copies.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"

namespace saker {
namespace {

constexpr uint32_t kMagic = 0x314c4353;  // "SCL1"
constexpr int kReadTries = 10;           // each but the last met a snapshot being made

void Apply(const std::vector<MetaOp>& ops, std::map<std::string, std::string>& keys) {
  for (const MetaOp& op : ops) {
    switch (op.kind) {
      case MetaOp::Kind::kPut:
        keys[op.key] = op.value;
        break;
      case MetaOp::Kind::kDelete:
        keys.erase(op.key);
        break;
      case MetaOp::Kind::kDeletePrefix:
        std::erase_if(keys, [&](const auto& entry) { return entry.first.starts_with(op.key); });
        break;
    }
  }
}

Result<std::vector<ObjectInfo>> ListNumbered(ObjectStore* objects, std::string_view prefix) {
  ASSIGN_OR_RETURN(std::vector<ObjectInfo> listed, objects->List(std::string(prefix)));
  std::erase_if(listed, [](const ObjectInfo& object) { return !IdInKey(object.name); });
  return listed;
}

Result<CopiedState> ReadListed(ObjectStore* objects, const CopiedKeys& family, const Copies& copies) {
  CopiedState state;
  if (!copies.snapshots.empty()) {
    const std::string& name = copies.snapshots.back().name;
    ASSIGN_OR_RETURN(std::string bytes, objects->Get(name));
    RETURN_IF_ERROR(ApplyCopy(name, std::move(bytes), state));
    state.sequence = *IdInKey(name);
    state.last.clear();
  }
  for (const ObjectInfo& change : copies.changes) {
    const int64_t number = *IdInKey(change.name);
    if (number <= state.sequence) continue;  // in the snapshot
    if (number != state.sequence + 1) {
      return Status(ErrorCode::kCorrupted, fmt::format("the copy of change {} is missing: after {} comes {}", state.sequence + 1,
                                                       CopyName(family.log_prefix, state.sequence), change.name));
    }
    ASSIGN_OR_RETURN(std::string bytes, objects->Get(change.name));
    RETURN_IF_ERROR(ApplyCopy(change.name, std::move(bytes), state));
    state.sequence = number;
  }
  return state;
}

}  // namespace

std::string EncodeChanges(const std::vector<MetaOp>& ops) {
  std::string body;
  ByteWriter out(body);
  out.Put<uint32_t>(static_cast<uint32_t>(ops.size()));
  for (const MetaOp& op : ops) {
    out.Put<uint8_t>(static_cast<uint8_t>(op.kind));
    out.PutBytes(op.key);
    out.PutBytes(op.value);
  }
  std::string bytes;
  ByteWriter framed(bytes);
  framed.Put(kMagic);
  framed.Put(Crc32c(body));
  framed.PutBytes(body);
  return bytes;
}

Result<std::vector<MetaOp>> DecodeChanges(std::string_view bytes) {
  ByteReader in(bytes);
  const auto magic = in.Get<uint32_t>();
  const auto crc = in.Get<uint32_t>();
  const std::string_view body = in.GetBytes();
  if (!in.ok() || magic != kMagic || Crc32c(body) != crc) {
    return Status(ErrorCode::kCorrupted, "a copy of a catalog change is damaged");
  }
  ByteReader ops_in(body);
  std::vector<MetaOp> ops;
  const auto count = ops_in.Get<uint32_t>();
  for (uint32_t i = 0; i < count && ops_in.ok(); ++i) {
    MetaOp op;
    op.kind = static_cast<MetaOp::Kind>(ops_in.Get<uint8_t>());
    op.key = ops_in.GetBytes();
    op.value = ops_in.GetBytes();
    ops.push_back(std::move(op));
  }
  if (!ops_in.ok()) return Status(ErrorCode::kCorrupted, "a copy of a catalog change is shorter than it says");
  return ops;
}

std::string Encode(const Sequence& sequence) {
  std::string bytes;
  ByteWriter out(bytes);
  out.Put(sequence.number);
  out.PutRaw(sequence.changes);
  return bytes;
}

Result<Sequence> DecodeSequence(std::string_view key, std::string_view value) {
  ByteReader in(value);
  Sequence sequence;
  sequence.number = in.Get<int64_t>();
  if (!in.ok()) return Status(ErrorCode::kCorrupted, fmt::format("meta store key {} is damaged", key));
  sequence.changes = value.substr(sizeof(int64_t));
  return sequence;
}

std::string CopyName(std::string_view prefix, int64_t number) { return fmt::format("{}{:020}", prefix, number); }

Result<Copies> ListCopies(ObjectStore* objects, const CopiedKeys& family) {
  Copies copies;
  ASSIGN_OR_RETURN(copies.snapshots, ListNumbered(objects, family.snapshot_prefix));
  ASSIGN_OR_RETURN(copies.changes, ListNumbered(objects, family.log_prefix));
  for (const auto* listed : {&copies.snapshots, &copies.changes}) {
    if (!listed->empty()) copies.up_to = std::max(copies.up_to, *IdInKey(listed->back().name));
  }
  return copies;
}

std::string FenceOf(const CopiedKeys& family, int64_t generation) {
  return EncodeChanges({MetaOp::Delete(CopyName(fmt::format("{}generation/", family.prefix), generation))});
}

std::optional<int64_t> FencedBy(const CopiedKeys& family, std::string_view copy) {
  const auto ops = DecodeChanges(copy);
  if (!ops.ok() || ops->size() != 1) return std::nullopt;
  const auto generation = IdInKey(ops->front().key);
  return generation && copy == FenceOf(family, *generation) ? generation : std::nullopt;
}

Result<bool> IsFence(ObjectStore* objects, const CopiedKeys& family, const ObjectInfo& copy) {
  if (copy.size_bytes != static_cast<int64_t>(FenceOf(family, 0).size())) return false;
  ASSIGN_OR_RETURN(const std::string bytes, objects->Get(copy.name));
  return FencedBy(family, bytes).has_value();
}

Status ApplyCopy(const std::string& name, std::string bytes, CopiedState& state) {
  auto ops = DecodeChanges(bytes);
  if (!ops.ok()) return {ErrorCode::kCorrupted, fmt::format("object {}: {}", name, ops.status().message())};
  Apply(*ops, state.keys);
  state.last = std::move(bytes);
  return {};
}

// A copy that is listed and then gone is in a newer snapshot by now.
Result<CopiedState> ReadCopies(ObjectStore* objects, const CopiedKeys& family) {
  for (int i = 1;; ++i) {
    ASSIGN_OR_RETURN(const Copies copies, ListCopies(objects, family));
    auto state = ReadListed(objects, family, copies);
    if (state.status().code() != ErrorCode::kIoKeyNotFound || i == kReadTries) return state;
  }
}

}  // namespace saker
