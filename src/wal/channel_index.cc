#include "wal/channel_index.h"

#include <algorithm>

namespace saker {

bool IsVoidRecord(std::span<const std::pair<LogOffset, Epoch>> fences, LogOffset offset, Epoch epoch,
                  LogRecordType type) {
  // The last fence before the record has the highest epoch of all before it, since only rising ones count.
  const auto after = std::lower_bound(fences.begin(), fences.end(), std::pair(offset, Epoch{0}),
                                      [](const auto& a, const auto& b) { return a.first < b.first; });
  if (after == fences.begin()) return false;
  const Epoch standing = std::prev(after)->second;
  return type == LogRecordType::kFence ? epoch <= standing : epoch < standing;
}

ChannelIndex::ChannelIndex(const LogChannelState& state) : state_(state) {
  if (state.fenced_epoch > 0) fences_.emplace_back(state.fence_offset, state.fenced_epoch);
}

void ChannelIndex::Add(const LogRecordView& record, const std::shared_ptr<const LogFile>& file, uint32_t position) {
  SAKER_CHECK(record.offset == state_.end);
  if (runs_.empty() || runs_.back().file != file) runs_.push_back({file, state_.end, {}});
  runs_.back().positions.push_back(position);
  if (record.type == LogRecordType::kFence && record.epoch > state_.fenced_epoch) {
    state_.fenced_epoch = record.epoch;
    state_.fence_offset = record.offset;
    fences_.emplace_back(record.offset, record.epoch);
  }
  ++state_.end;
}

void ChannelIndex::Truncate(LogOffset before) {
  state_.begin = std::max(state_.begin, before);
  while (!runs_.empty() && runs_.front().end() <= state_.begin) runs_.pop_front();
  // Keep the fence that stands at begin, and what follows.
  size_t standing = 0;
  while (standing + 1 < fences_.size() && fences_[standing + 1].first < state_.begin) ++standing;
  fences_.erase(fences_.begin(), fences_.begin() + static_cast<std::ptrdiff_t>(standing));
}

std::vector<LogPosition> ChannelIndex::Locate(LogOffset from, size_t limit) const {
  std::vector<LogPosition> out;
  auto run = std::partition_point(runs_.begin(), runs_.end(), [from](const Run& r) { return r.end() <= from; });
  for (; run != runs_.end() && out.size() < limit; ++run) {
    const LogOffset end = std::min(run->end(), from + static_cast<LogOffset>(limit - out.size()));
    for (; from < end; ++from) out.push_back({run->file, run->positions[static_cast<size_t>(from - run->first)]});
  }
  return out;
}

uint64_t ChannelIndex::oldest_file() const { return runs_.empty() ? kNoFile : runs_.front().file->number; }

bool ChannelIndex::missing() const {
  const LogOffset held_from = runs_.empty() ? state_.end : runs_.front().first;
  return held_from > state_.begin;
}

}  // namespace saker
