#include "catalog/recovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/log.h"
#include "base/rules.h"

namespace saker {
namespace {

constexpr size_t kOpsPerStep = 100;           // of etcd's 128, with room for the sequence
constexpr int64_t kBytesPerStep = 1 << 20;
// Ids are handed out in blocks to rows as well as to segments: what was handed out last is not known, but it is less than
// this above the highest id that is.
constexpr int64_t kIdGap = int64_t{1} << 40;
constexpr std::string_view kGenerationPrefix = "catalog/generation/";
constexpr const char* kClusterIdObject = "cluster/id";
constexpr std::chrono::seconds kRegisterAgain{30};  // until a session that was taken over must have been renewed

using Keys = std::map<std::string, std::string>;

struct Present {
  int64_t sequence = 0;
  Compare unchanged;  // of the sequence key
  Keys keys;
};

Result<Present> ReadSequence(MetaStore* store, const CopiedKeys& family) {
  Present present;
  const std::string key(family.sequence_key);
  present.unchanged = Compare::Absent(key);
  const auto kv = store->Get(key);
  if (kv.status().code() == ErrorCode::kIoKeyNotFound) return present;
  RETURN_IF_ERROR(kv.status());
  ASSIGN_OR_RETURN(const Sequence sequence, DecodeSequence(key, kv->value));
  present.sequence = sequence.number;
  present.unchanged = Compare::Unchanged(key, kv->mod_revision);
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

Status WriteInSteps(MetaStore* store, const std::vector<Compare>& compares, const std::vector<MetaOp>& ops) {
  for (size_t at = 0; at < ops.size();) {
    std::vector<MetaOp> step;
    int64_t bytes = 0;
    while (at < ops.size() && step.size() < kOpsPerStep) {
      const auto size = static_cast<int64_t>(ops[at].key.size() + ops[at].value.size());
      if (!step.empty() && bytes + size > kBytesPerStep) break;
      bytes += size;
      step.push_back(ops[at++]);
    }
    RETURN_IF_ERROR(store->Commit(compares, step).status());
  }
  return {};
}

// The number in a key or at its end, if it has one.
int64_t HighestId(const Keys& keys) {
  int64_t highest = 0;
  for (const auto& [key, value] : keys) {
    if (const auto id = IdInKey(key)) highest = std::max(highest, *id);
  }
  return highest;
}

// A multiple of the gap above all ids that may have been handed out.
int64_t FirstFreeId(int64_t highest) { return (highest / kIdGap + 1) * kIdGap; }

Status RaiseIds(MetaStore* store, int64_t next) {
  const std::string key(kNextIdKey);
  const auto present = store->Get(key);
  if (!present.ok() && present.status().code() != ErrorCode::kIoKeyNotFound) return present.status();
  if (present.ok() && present->value.size() >= std::to_string(next).size() && std::stoll(present->value) >= next) return {};
  const Compare unchanged = present.ok() ? Compare::Unchanged(key, present->mod_revision) : Compare::Absent(key);
  return store->Commit({unchanged}, {MetaOp::Put(key, std::to_string(next))}).status();
}

// All transactions compare the sequence, which the last one raises: until then the store is behind.
Result<int64_t> BringUp(MetaStore* store, const CopiedKeys& family, const CopiedState& copied) {
  ASSIGN_OR_RETURN(Present present, ReadSequence(store, family));
  RETURN_IF_ERROR(ReadKeys(store, family, present));
  const std::vector<MetaOp> ops = Difference(present.keys, copied.keys);
  RETURN_IF_ERROR(WriteInSteps(store, {present.unchanged}, ops));
  const Sequence sequence{copied.sequence, copied.last.empty() ? EncodeChanges({}) : copied.last};
  const auto last = MetaOp::Put(std::string(family.sequence_key), Encode(sequence));
  RETURN_IF_ERROR(store->Commit({present.unchanged}, {last}).status());
  return static_cast<int64_t>(ops.size());
}

// Of one family. Where nothing is missing, as a rule, no copy is read.
Result<int64_t> RecoverFamily(MetaStore* store, ObjectStore* objects, const CopiedKeys& family, Copies& copies) {
  // The copies first: a store that is ahead of them is one that is being written.
  ASSIGN_OR_RETURN(copies, ListCopies(objects, family));
  ASSIGN_OR_RETURN(Present present, ReadSequence(store, family));
  if (copies.up_to <= present.sequence) return 0;
  ASSIGN_OR_RETURN(const CopiedState copied, ReadCopies(objects, family));
  RETURN_IF_ERROR(ReadKeys(store, family, present));
  RETURN_IF_ERROR(RaiseIds(store, FirstFreeId(std::max(HighestId(copied.keys), HighestId(present.keys)))));
  ASSIGN_OR_RETURN(const int64_t written, BringUp(store, family, copied));
  LogWarn("the meta store had {} keys up to change {} of {}: {} keys were recovered from the object store's copies", family.prefix,
          present.sequence, copied.sequence, written);
  return written;
}

// ---- generations

struct Allotment {
  int64_t generation = 0;
  int64_t first_id = 0;  // ids of this generation begin here; 0: nothing was ever there
};

Result<Allotment> NewestAllotment(ObjectStore* objects) {
  ASSIGN_OR_RETURN(const std::vector<ObjectInfo> begun, objects->List(std::string(kGenerationPrefix)));
  Allotment newest;
  for (const ObjectInfo& object : begun) {
    if (const auto number = IdInKey(object.name)) newest.generation = std::max(newest.generation, *number);
  }
  if (newest.generation == 0) return newest;
  const std::string name = CopyName(kGenerationPrefix, newest.generation);
  ASSIGN_OR_RETURN(const std::string text, objects->Get(name));
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), newest.first_id);
  if (error == std::errc() && end == text.data() + text.size() && newest.first_id >= 0) return newest;
  return Status(ErrorCode::kCorrupted, fmt::format("object {} is no id: \"{}\"", name, text));
}

// Each generation's ids lie above those of all before, so that none of two that overlap gives out the other's.
Result<Allotment> Allot(ObjectStore* objects, int64_t above, int64_t highest_id) {
  for (;;) {
    ASSIGN_OR_RETURN(const Allotment newest, NewestAllotment(objects));
    Allotment mine{std::max(newest.generation, above) + 1, 0};
    const bool first = newest.generation == 0 && above == 0 && highest_id == 0;
    if (!first) mine.first_id = FirstFreeId(std::max(newest.first_id, highest_id));
    const Status put = objects->PutIfAbsent(CopyName(kGenerationPrefix, mine.generation), std::to_string(mine.first_id));
    if (put.ok()) return mine;
    if (put.code() != ErrorCode::kAlreadyExists) return put;
  }
}

// From here on no earlier generation can acknowledge a change: what it may have copied last is added to `state`.
Status Fence(ObjectStore* objects, const CopiedKeys& family, int64_t generation, CopiedState& state) {
  for (;;) {
    const std::string name = CopyName(family.log_prefix, state.sequence + 1);
    const Status put = objects->PutIfAbsent(name, FenceOf(family, generation));
    if (!put.ok() && put.code() != ErrorCode::kAlreadyExists) return put;
    ASSIGN_OR_RETURN(std::string there, objects->Get(name));
    const auto by = FencedBy(family, there);
    if (by && *by > generation) {
      return {ErrorCode::kSuperseded, fmt::format("generation {} of the metadata was begun after {}", *by, generation)};
    }
    RETURN_IF_ERROR(ApplyCopy(name, std::move(there), state));
    ++state.sequence;
    if (by == generation) return {};
  }
}

// A placement is the route of reads: it must not name what is no more, or was never acknowledged.
bool MayBeKept(const Placement& placement, const Keys& catalog, const Keys& segments) {
  if (!catalog.contains(CollectionKey(placement.collection))) return false;
  return std::all_of(placement.segments.begin(), placement.segments.end(), [&](const SegmentPlacement& placed) {
    return segments.contains(SegmentKey(placement.collection, placed.segment));
  });
}

Status TakeOver(MetaStore* store, const LastKnown& known, const Keys& catalog, const Keys& segments) {
  std::vector<MetaOp> ops;
  for (const Placement& placement : known.placements) {
    if (MayBeKept(placement, catalog, segments)) ops.push_back(MetaOp::Put(PlacementKey(placement.collection), Encode(placement)));
  }
  for (const ChannelAssignment& channel : known.channels) ops.push_back(MetaOp::Put(ChannelKey(channel.channel), Encode(channel)));
  RETURN_IF_ERROR(WriteInSteps(store, {}, ops));
  if (known.sessions.empty()) return {};
  ASSIGN_OR_RETURN(const LeaseId lease, store->Grant(kRegisterAgain));
  ops.clear();
  for (const SessionInfo& session : known.sessions) {
    ops.push_back(MetaOp::Put(SessionKey(session.role, session.node), Encode(session), lease));
  }
  return WriteInSteps(store, {}, ops);
}

// The object store says which cluster this is; it says nothing before the first start.
Result<std::string> ClusterOf(ObjectStore* objects) {
  auto id = objects->Get(kClusterIdObject);
  return id.status().code() == ErrorCode::kIoKeyNotFound ? Result<std::string>(std::string()) : id;
}

}  // namespace

Result<Recovered> Recover(MetaStore* store, ObjectStore* objects) {
  Recovered recovered;
  // Segments first: while the catalog is behind, nobody takes the store for whole.
  ASSIGN_OR_RETURN(const int64_t segments, RecoverFamily(store, objects, kSegmentKeys, recovered.segments));
  ASSIGN_OR_RETURN(const int64_t catalog, RecoverFamily(store, objects, kCatalogKeys, recovered.catalog));
  recovered.keys_written = segments + catalog;
  return recovered;
}

Status CheckUpToCopies(MetaStore* store, ObjectStore* objects) {
  ASSIGN_OR_RETURN(const std::string cluster, ClusterOf(objects));
  const auto known = store->Get(std::string(kClusterIdKey));
  if (!known.ok() && known.status().code() != ErrorCode::kIoKeyNotFound) return known.status();
  if (known.ok() && !cluster.empty() && known->value != cluster) {
    return {ErrorCode::kCrossClusterRouting,
            fmt::format("the meta store belongs to cluster {}, the object store to cluster {}: the settings name stores of different "
                        "clusters; correct them",
                        known->value, cluster)};
  }
  for (const CopiedKeys& family : {kCatalogKeys, kSegmentKeys}) {
    // The copies first: a store that is ahead of them is one that is being written.
    ASSIGN_OR_RETURN(const Copies copies, ListCopies(objects, family));
    ASSIGN_OR_RETURN(const Present present, ReadSequence(store, family));
    if (copies.up_to <= present.sequence) continue;
    return {ErrorCode::kCorrupted, fmt::format("the meta store has {} keys up to change {}, the object store has copies up to {}",
                                               family.prefix, present.sequence, copies.up_to)};
  }
  return {};
}

Result<int64_t> NewestGeneration(ObjectStore* objects) {
  ASSIGN_OR_RETURN(const Allotment newest, NewestAllotment(objects));
  return newest.generation;
}

Result<int64_t> FillGeneration(const std::function<MetaStore*(int64_t generation)>& under, int64_t above, ObjectStore* objects,
                               const LastKnown& known) {
  ASSIGN_OR_RETURN(CopiedState segments, ReadCopies(objects, kSegmentKeys));
  ASSIGN_OR_RETURN(CopiedState catalog, ReadCopies(objects, kCatalogKeys));
  ASSIGN_OR_RETURN(const std::string cluster, ClusterOf(objects));
  const int64_t highest_id = std::max(HighestId(segments.keys), HighestId(catalog.keys));
  ASSIGN_OR_RETURN(const Allotment mine, Allot(objects, above, highest_id));
  MetaStore* const store = under(mine.generation);
  if (mine.first_id > 0 && RuleHolds(Rule::kRecoverLost)) {
    RETURN_IF_ERROR(Fence(objects, kSegmentKeys, mine.generation, segments));
    RETURN_IF_ERROR(Fence(objects, kCatalogKeys, mine.generation, catalog));
    RETURN_IF_ERROR(RaiseIds(store, mine.first_id));
    RETURN_IF_ERROR(BringUp(store, kSegmentKeys, segments).status());
    RETURN_IF_ERROR(BringUp(store, kCatalogKeys, catalog).status());
  }
  if (!cluster.empty()) {
    RETURN_IF_ERROR(store->Commit({}, {MetaOp::Put(std::string(kClusterIdKey), cluster)}).status());
  }
  RETURN_IF_ERROR(TakeOver(store, known, catalog.keys, segments.keys));
  LogWarn("generation {} of the metadata has {} catalog keys up to change {}, {} segments up to change {}, {} placements known before",
          mine.generation, catalog.keys.size(), catalog.sequence, segments.keys.size(), segments.sequence, known.placements.size());
  return mine.generation;
}

}  // namespace saker
