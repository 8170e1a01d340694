#include "meta/transaction.h"

#include <fmt/format.h>

#include <set>

namespace saker {
namespace {

constexpr size_t kOverheadBytes = 96;

template <typename T>
bool HoldsFor(Compare::Op op, const T& present, const T& wanted) {
  switch (op) {
    case Compare::Op::kEqual: return present == wanted;
    case Compare::Op::kNotEqual: return present != wanted;
    case Compare::Op::kLess: return present < wanted;
    case Compare::Op::kGreater: return present > wanted;
  }
  return false;
}

int64_t NumberOf(Compare::Target target, const KeyValue& kv) {
  switch (target) {
    case Compare::Target::kModRevision: return kv.mod_revision;
    case Compare::Target::kCreateRevision: return kv.create_revision;
    case Compare::Target::kVersion: return kv.version;
    case Compare::Target::kValue: break;
  }
  return 0;
}

Status CheckSize(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops) {
  const size_t count = std::max(compares.size(), ops.size());
  if (count > static_cast<size_t>(kMaxTxnOps)) {
    return {ErrorCode::kParameterInvalid,
            fmt::format("a transaction of the meta store has {} {}, at most {} are allowed: cut it into idempotent steps",
                        count, ops.size() >= compares.size() ? "operations" : "compares", kMaxTxnOps)};
  }
  // With what etcd's message has besides: framing, the root of the keys, and each compared key once more.
  size_t bytes = 0;
  for (const Compare& compare : compares) bytes += 2 * (compare.key.size() + kOverheadBytes) + compare.value.size();
  for (const MetaOp& op : ops) bytes += op.key.size() + op.value.size() + kOverheadBytes;
  if (bytes > static_cast<size_t>(kMaxTxnBytes)) {
    return {ErrorCode::kParameterInvalid,
            fmt::format("a transaction of the meta store has {} bytes, at most {} are allowed: put large values into the "
                        "object store",
                        bytes, kMaxTxnBytes)};
  }
  return {};
}

Status WrittenTwice(const std::string& key) {
  return {ErrorCode::kParameterInvalid,
          fmt::format("a transaction of the meta store writes key \"{}\" twice, once is allowed", key)};
}

}  // namespace

Status CheckKey(const std::string& key) {
  if (key.empty()) return {ErrorCode::kParameterInvalid, "a key of the meta store may not be empty"};
  if (key.find('\0') != std::string::npos) {
    return {ErrorCode::kParameterInvalid, fmt::format("key \"{}\" of the meta store has a zero byte", key.c_str())};
  }
  return {};
}

Status CheckTransaction(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops) {
  RETURN_IF_ERROR(CheckSize(compares, ops));
  for (const Compare& compare : compares) RETURN_IF_ERROR(CheckKey(compare.key));
  std::set<std::string_view> puts;
  for (const MetaOp& op : ops) {
    if (op.kind != MetaOp::Kind::kDeletePrefix) RETURN_IF_ERROR(CheckKey(op.key));
    if (op.kind == MetaOp::Kind::kPut && !puts.insert(op.key).second) return WrittenTwice(op.key);
  }
  for (const MetaOp& op : ops) {
    if (op.kind == MetaOp::Kind::kPut) continue;
    const auto covered = puts.lower_bound(op.key);
    if (covered == puts.end()) continue;
    const bool hit = op.kind == MetaOp::Kind::kDelete ? *covered == op.key : covered->starts_with(op.key);
    if (hit) return WrittenTwice(std::string(*covered));
  }
  return {};
}

bool Holds(const Compare& compare, const KeyValue* present) {
  if (compare.target == Compare::Target::kValue) {
    return present != nullptr && HoldsFor(compare.op, present->value, compare.value);
  }
  return HoldsFor(compare.op, present == nullptr ? int64_t{0} : NumberOf(compare.target, *present), compare.number);
}

Status ConflictOn(const Compare& compare) {
  return {ErrorCode::kConflict,
          fmt::format("key \"{}\" of the meta store was changed by someone else: read it again and retry", compare.key)};
}

std::string PrefixEnd(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) prefix.pop_back();
  if (!prefix.empty()) ++prefix.back();
  return prefix;
}

}  // namespace saker
