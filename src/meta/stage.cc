#include "meta/stage.h"

#include <fmt/format.h>

#include "meta/transaction.h"

namespace saker {
namespace {

Status NoSuchLease(LeaseId lease) {
  return {ErrorCode::kIoKeyNotFound, fmt::format("lease {} of the meta store does not exist or has ended: grant a new one", lease)};
}

}  // namespace

const KeyValue* Stage::Find(const std::string& key) const {
  if (const auto changed = changes_.find(key); changed != changes_.end()) {
    return changed->second ? &*changed->second : nullptr;
  }
  const auto it = keys_.find(key);
  return it == keys_.end() ? nullptr : &it->second;
}

std::vector<std::string> Stage::KeysUnder(const std::string& prefix) const {
  std::set<std::string> found;
  for (auto it = keys_.lower_bound(prefix); it != keys_.end() && it->first.starts_with(prefix); ++it) found.insert(it->first);
  for (auto it = changes_.lower_bound(prefix); it != changes_.end() && it->first.starts_with(prefix); ++it) {
    it->second ? (void)found.insert(it->first) : (void)found.erase(it->first);
  }
  return {found.begin(), found.end()};
}

void Stage::Put(const MetaOp& op, CommittedRevision& revision) {
  const KeyValue* before = Find(op.key);
  KeyValue kv;
  kv.key = op.key;
  kv.value = op.value;
  kv.create_revision = before != nullptr ? before->create_revision : revision.revision;
  kv.mod_revision = revision.revision;
  kv.version = before != nullptr ? before->version + 1 : 1;
  kv.lease = op.lease;
  revision.events.push_back({WatchEvent::Kind::kPut, kv});
  changes_[op.key] = std::move(kv);
}

void Stage::Delete(const std::string& key, CommittedRevision& revision) {
  if (Find(key) == nullptr) return;
  WatchEvent event;
  event.kind = WatchEvent::Kind::kDelete;
  event.kv.key = key;
  event.kv.mod_revision = revision.revision;
  revision.events.push_back(std::move(event));
  changes_[key] = std::nullopt;
}

Revision Stage::Finish(CommittedRevision revision) {
  if (revision.events.empty()) return revision_;
  revision_ = revision.revision;
  revisions_.push_back(std::move(revision));
  return revision_;
}

Result<Revision> Stage::Add(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops) {
  for (const Compare& compare : compares) {
    if (!Holds(compare, Find(compare.key))) return ConflictOn(compare);
  }
  for (const MetaOp& op : ops) {
    if (op.kind != MetaOp::Kind::kPut || op.lease == 0) continue;
    if (!leases_.contains(op.lease) || ended_.contains(op.lease)) return NoSuchLease(op.lease);
  }
  CommittedRevision revision{revision_ + 1, {}};
  for (const MetaOp& op : ops) {
    switch (op.kind) {
      case MetaOp::Kind::kPut: Put(op, revision); break;
      case MetaOp::Kind::kDelete: Delete(op.key, revision); break;
      case MetaOp::Kind::kDeletePrefix:
        for (const std::string& key : KeysUnder(op.key)) Delete(key, revision);
        break;
    }
  }
  return Finish(std::move(revision));
}

Result<Revision> Stage::End(LeaseId lease) {
  const auto attached = leases_.find(lease);
  if (attached == leases_.end() || !ended_.insert(lease).second) return NoSuchLease(lease);
  std::set<std::string> keys = attached->second;
  for (const auto& [key, kv] : changes_) {
    if (kv && kv->lease == lease) keys.insert(key);
  }
  std::vector<std::string> held;
  for (const std::string& key : keys) {
    const KeyValue* present = Find(key);
    if (present != nullptr && present->lease == lease) held.push_back(key);
  }
  return Delete(held);
}

Revision Stage::Delete(const std::vector<std::string>& keys) {
  CommittedRevision revision{revision_ + 1, {}};
  for (const std::string& key : keys) Delete(key, revision);
  return Finish(std::move(revision));
}

void Stage::Replay(CommittedRevision revision) {
  for (const WatchEvent& event : revision.events) {
    const bool put = event.kind == WatchEvent::Kind::kPut;
    changes_[event.kv.key] = put ? std::optional(event.kv) : std::nullopt;
  }
  Finish(std::move(revision));
}

void Stage::ApplyTo(KeyIndex& keys, LeaseIndex& leases) && {
  for (auto& [key, kv] : changes_) {
    const auto it = keys.find(key);
    if (it != keys.end() && it->second.lease != 0) {
      if (const auto lease = leases.find(it->second.lease); lease != leases.end()) lease->second.erase(key);
    }
    if (!kv) {
      if (it != keys.end()) keys.erase(it);
      continue;
    }
    if (kv->lease != 0 && !ended_.contains(kv->lease)) leases[kv->lease].insert(key);
    keys.insert_or_assign(key, std::move(*kv));
  }
  for (const LeaseId lease : ended_) leases.erase(lease);
}

}  // namespace saker
