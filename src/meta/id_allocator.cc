#include "meta/id_allocator.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/rules.h"

namespace saker {
namespace {

constexpr int64_t kFirstId = 1;
constexpr int64_t kMaxCount = int64_t{1} << 40;
constexpr int kTries = 1000;  // each lost try means that someone else got a block

Result<int64_t> ParseNext(const std::string& key, const std::string& value) {
  int64_t next = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), next);
  if (error == std::errc() && end == value.data() + value.size() && next >= kFirstId) return next;
  return {ErrorCode::kCorrupted, fmt::format("key \"{}\" of the meta store is no id: \"{}\"", key, value)};
}

}  // namespace

IdAllocator::IdAllocator(MetaStore* store, int64_t block, std::string key)
    : store_(store), block_(std::max<int64_t>(block, 1)), key_(std::move(key)) {}

Result<int64_t> IdAllocator::Next(int64_t count) {
  if (count < 1 || count > kMaxCount) {
    return {ErrorCode::kParameterInvalid, fmt::format("can't allocate {} ids at once: between 1 and {} are allowed", count, kMaxCount)};
  }
  MutexLock lock(mutex_);
  if (end_ - next_ < count) RETURN_IF_ERROR(TakeBlock(count));
  const int64_t first = next_;
  next_ += count;
  return first;
}

Status IdAllocator::TakeBlock(int64_t at_least) {
  for (int i = 0; i < kTries; ++i) {
    int64_t first = kFirstId;
    Compare unchanged = Compare::Absent(key_);
    const Result<KeyValue> present = store_->Get(key_);
    if (present.ok()) {
      ASSIGN_OR_RETURN(first, ParseNext(key_, present->value));
      unchanged = Compare::Unchanged(key_, present->mod_revision);
    } else if (present.status().code() != ErrorCode::kIoKeyNotFound) {
      return present.status();
    }
    // A block that follows on ours lets us use up what is left.
    const bool follows = end_ > next_ && first == end_;
    const int64_t needed = follows ? at_least - (end_ - next_) : at_least;
    const int64_t end = first + std::max(block_, needed);
    if (!RuleHolds(Rule::kIdBlocks)) unchanged = Compare{key_, Compare::Target::kVersion, Compare::Op::kNotEqual, -1, {}};
    const Result<Revision> taken = store_->Commit({unchanged}, {MetaOp::Put(key_, std::to_string(end))});
    if (taken.ok()) {
      if (!follows) next_ = first;
      end_ = end;
      return {};
    }
    if (taken.status().code() != ErrorCode::kConflict) return taken.status();
  }
  return {ErrorCode::kServiceUnavailable, fmt::format("no block of ids could be had from key \"{}\" in {} tries: retry", key_, kTries)};
}

}  // namespace saker
