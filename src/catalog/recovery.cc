// Bringing a lost or older meta store up to the object store's copies. protocol.md, rule 15.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/bytes.h"
#include "base/log.h"
#include "base/rules.h"
#include "catalog/catalog_writer.h"

namespace saker {
namespace {

constexpr size_t kOpsPerStep = 100;           // of etcd's 128, with room for the sequence
constexpr int64_t kBytesPerStep = 1 << 20;
// Ids are handed out in blocks to rows as well as to segments: what was handed out last is not known, but it is less than
// this above the highest id that is.
constexpr int64_t kIdGap = int64_t{1} << 40;

using Keys = std::map<std::string, std::string>;

// What the copies of a family add up to.
struct CopiedState {
  int64_t sequence = 0;
  std::string last;  // the last change, as copied; empty if a snapshot has it
  Keys keys;
};

void Apply(const std::vector<MetaOp>& ops, Keys& keys) {
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

Result<CopiedState> ReadCopies(ObjectStore* objects, const CopiedKeys& family) {
  CopiedState state;
  const auto apply = [&](const std::string& name) -> Status {
    ASSIGN_OR_RETURN(state.last, objects->Get(name));
    auto ops = DecodeChanges(state.last);
    if (!ops.ok()) return {ErrorCode::kCorrupted, fmt::format("object {}: {}", name, ops.status().message())};
    Apply(*ops, state.keys);
    return {};
  };
  ASSIGN_OR_RETURN(const std::vector<ObjectInfo> snapshots, objects->List(std::string(family.snapshot_prefix)));
  if (!snapshots.empty()) {
    const auto number = IdInKey(snapshots.back().name);
    if (!number) return Status(ErrorCode::kCorrupted, fmt::format("object {} is no snapshot", snapshots.back().name));
    RETURN_IF_ERROR(apply(snapshots.back().name));
    state.sequence = *number;
    state.last.clear();
  }
  ASSIGN_OR_RETURN(const std::vector<ObjectInfo> changes, objects->List(std::string(family.log_prefix)));
  for (const ObjectInfo& change : changes) {
    const auto number = IdInKey(change.name);
    if (!number || *number <= state.sequence) continue;  // in the snapshot
    if (*number != state.sequence + 1) {
      return Status(ErrorCode::kCorrupted, fmt::format("the copy of change {} is missing: after {}{:020} comes {}", state.sequence + 1,
                                                       family.log_prefix, state.sequence, change.name));
    }
    RETURN_IF_ERROR(apply(change.name));
    state.sequence = *number;
  }
  return state;
}

// The last change there is a copy of, by the objects' names alone.
Result<int64_t> CopiedUpTo(ObjectStore* objects, const CopiedKeys& family) {
  int64_t last = 0;
  for (const std::string_view prefix : {family.snapshot_prefix, family.log_prefix}) {
    ASSIGN_OR_RETURN(const std::vector<ObjectInfo> copies, objects->List(std::string(prefix)));
    for (const ObjectInfo& copy : copies) last = std::max(last, IdInKey(copy.name).value_or(0));
  }
  return last;
}

struct Present {
  int64_t sequence = 0;
  Compare unchanged;  // of the sequence key
  Keys keys;
};

Result<Present> ReadSequence(MetaStore* store, const CopiedKeys& family) {
  Present present;
  const std::string key(family.sequence_key);
  present.unchanged = Compare::Absent(key);
  const auto sequence = store->Get(key);
  if (sequence.ok()) {
    ByteReader in(sequence->value);
    present.sequence = in.Get<int64_t>();
    if (!in.ok()) return Status(ErrorCode::kCorrupted, fmt::format("meta store key {} is damaged", key));
    present.unchanged = Compare::Unchanged(key, sequence->mod_revision);
  } else if (sequence.status().code() != ErrorCode::kIoKeyNotFound) {
    return sequence.status();
  }
  return present;
}

Status ReadKeys(MetaStore* store, const CopiedKeys& family, Present& present) {
  ASSIGN_OR_RETURN(RangeResult range, store->Range(std::string(family.prefix)));
  for (KeyValue& kv : range.kvs) {
    if (kv.key != family.sequence_key) present.keys[std::move(kv.key)] = std::move(kv.value);
  }
  return {};
}

std::vector<MetaOp> Difference(const Keys& from, const Keys& to) {
  std::vector<MetaOp> ops;
  for (const auto& [key, value] : to) {
    const auto it = from.find(key);
    if (it == from.end() || it->second != value) ops.push_back(MetaOp::Put(key, value));
  }
  for (const auto& [key, value] : from) {
    if (!to.contains(key)) ops.push_back(MetaOp::Delete(key));
  }
  return ops;
}

std::string SequenceValue(const CopiedState& state) {
  std::string bytes;
  ByteWriter out(bytes);
  out.Put(state.sequence);
  out.PutRaw(state.last.empty() ? EncodeChanges({}) : state.last);
  return bytes;
}

// All transactions compare the sequence, which the last one raises: a recovery that lags behind another one, or behind
// a change made since, can write nothing any more.
Status WriteAll(MetaStore* store, const Present& present, const std::vector<MetaOp>& ops, const MetaOp& sequence) {
  for (size_t at = 0; at < ops.size();) {
    std::vector<MetaOp> step;
    int64_t bytes = 0;
    while (at < ops.size() && step.size() < kOpsPerStep) {
      const auto size = static_cast<int64_t>(ops[at].key.size() + ops[at].value.size());
      if (!step.empty() && bytes + size > kBytesPerStep) break;
      bytes += size;
      step.push_back(ops[at++]);
    }
    RETURN_IF_ERROR(store->Commit({present.unchanged}, step).status());
  }
  return store->Commit({present.unchanged}, {sequence}).status();
}

// The number in a key or at its end, if it has one.
int64_t HighestId(const Keys& keys) {
  int64_t highest = 0;
  for (const auto& [key, value] : keys) {
    if (const auto id = IdInKey(key)) highest = std::max(highest, *id);
  }
  return highest;
}

Status RaiseIds(MetaStore* store, int64_t above) {
  const std::string key(kNextIdKey);
  const int64_t next = (above / kIdGap + 1) * kIdGap;
  const auto present = store->Get(key);
  if (!present.ok() && present.status().code() != ErrorCode::kIoKeyNotFound) return present.status();
  if (present.ok() && present->value.size() >= std::to_string(next).size() && std::stoll(present->value) >= next) return {};
  const Compare unchanged = present.ok() ? Compare::Unchanged(key, present->mod_revision) : Compare::Absent(key);
  return store->Commit({unchanged}, {MetaOp::Put(key, std::to_string(next))}).status();
}

// Of one family. Where nothing is missing, as a rule, no copy is read.
Result<int64_t> RecoverFamily(MetaStore* store, ObjectStore* objects, const CopiedKeys& family) {
  // The copies first: a store that is ahead of them is one that is being written.
  ASSIGN_OR_RETURN(const int64_t copied_up_to, CopiedUpTo(objects, family));
  ASSIGN_OR_RETURN(Present present, ReadSequence(store, family));
  if (copied_up_to <= present.sequence) return 0;
  ASSIGN_OR_RETURN(const CopiedState copied, ReadCopies(objects, family));
  RETURN_IF_ERROR(ReadKeys(store, family, present));
  RETURN_IF_ERROR(RaiseIds(store, std::max(HighestId(copied.keys), HighestId(present.keys))));
  const std::vector<MetaOp> ops = Difference(present.keys, copied.keys);
  const auto sequence = MetaOp::Put(std::string(family.sequence_key), SequenceValue(copied));
  const Status written = WriteAll(store, present, ops, sequence);
  if (written.code() == ErrorCode::kConflict) return RecoverFamily(store, objects, family);  // another process was faster
  RETURN_IF_ERROR(written);
  LogWarn("the meta store had {} keys up to change {} of {}: {} keys were recovered from the object store's copies", family.prefix,
          present.sequence, copied.sequence, ops.size());
  return static_cast<int64_t>(ops.size());
}

}  // namespace

Result<int64_t> Recover(MetaStore* store, ObjectStore* objects) {
  if (!RuleHolds(Rule::kRecoverLost)) return 0;
  // Segments first: while the catalog is behind, nobody takes the store for whole.
  ASSIGN_OR_RETURN(const int64_t segments, RecoverFamily(store, objects, kSegmentKeys));
  ASSIGN_OR_RETURN(const int64_t catalog, RecoverFamily(store, objects, kCatalogKeys));
  return segments + catalog;
}

}  // namespace saker
