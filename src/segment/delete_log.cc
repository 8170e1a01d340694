#include "segment/delete_log.h"

#include <algorithm>

namespace saker {

bool DeleteLog::Marked(int64_t row) const {
  const auto word = static_cast<size_t>(row >> 6);
  return word < marked_.size() && ((marked_[word] >> (row & 63)) & 1) != 0;
}

int64_t DeleteLog::FirstAfter(Timestamp t) const {
  const auto at = std::upper_bound(entries_.begin(), entries_.end(), t,
                                   [](Timestamp ts, const Entry& entry) { return ts < entry.ts; });
  return at - entries_.begin();
}

void DeleteLog::Add(Timestamp ts, int64_t row) {
  WriterLock lock(mutex_);
  if (Marked(row)) {
    // Batches come in rising ts, so this is nearly always a repetition; if it is an earlier delete, it counts.
    for (int64_t i = FirstAfter(ts); i < static_cast<int64_t>(entries_.size()); ++i) {
      if (entries_[i].row != row) continue;
      entries_.erase(entries_.begin() + i);
      entries_.insert(entries_.begin() + FirstAfter(ts), {ts, row});
      break;
    }
  } else {
    const auto word = static_cast<size_t>(row >> 6);
    if (word >= marked_.size()) marked_.resize(word + 1);
    marked_[word] |= uint64_t{1} << (row & 63);
    entries_.insert(entries_.begin() + FirstAfter(ts), {ts, row});
  }
  first_ts_.store(entries_.front().ts, std::memory_order_release);
  count_.store(static_cast<int64_t>(entries_.size()), std::memory_order_release);
}

bool DeleteLog::IsDeleted(int64_t row, Timestamp t) const {
  if (NothingUntil(t)) return false;
  ReaderLock lock(mutex_);
  if (!Marked(row)) return false;
  for (auto i = static_cast<size_t>(FirstAfter(t)); i < entries_.size(); ++i) {
    if (entries_[i].row == row) return false;
  }
  return true;
}

Timestamp DeleteLog::LastUntil(Timestamp t) const {
  if (NothingUntil(t)) return 0;
  ReaderLock lock(mutex_);
  const int64_t later = FirstAfter(t);
  return later == 0 ? 0 : entries_[static_cast<size_t>(later) - 1].ts;
}

bool DeleteLog::Clear(Timestamp t, Bitmap& rows) const {
  if (NothingUntil(t)) return false;
  ReaderLock lock(mutex_);
  const auto later = static_cast<size_t>(FirstAfter(t));
  if (later < entries_.size() / 2) {  // a read of long ago
    for (size_t i = 0; i < later; ++i) {
      if (entries_[i].row < rows.size()) rows.Clear(entries_[i].row);
    }
    return later > 0;
  }
  std::vector<int64_t> restored;
  for (size_t i = later; i < entries_.size(); ++i) {
    if (entries_[i].row < rows.size() && rows.Test(entries_[i].row)) restored.push_back(entries_[i].row);
  }
  const auto words = std::min(static_cast<size_t>(rows.word_count()), marked_.size());
  for (size_t w = 0; w < words; ++w) rows.words()[w] &= ~marked_[w];
  for (const int64_t row : restored) rows.Set(row);
  return true;
}

int64_t DeleteLog::memory_bytes() const {
  ReaderLock lock(mutex_);
  return static_cast<int64_t>(entries_.capacity() * sizeof(Entry) + marked_.capacity() * sizeof(uint64_t));
}

void ClearRange(Bitmap& rows, int64_t begin, int64_t end) {
  end = std::min(end, rows.size());
  for (; begin < end && (begin & 63) != 0; ++begin) rows.Clear(begin);
  for (; begin + 64 <= end; begin += 64) rows.words()[begin >> 6] = 0;
  for (; begin < end; ++begin) rows.Clear(begin);
}

}  // namespace saker
