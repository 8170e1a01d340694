// Where a channel's records lie: four bytes a record, in memory, rebuilt when the log is opened.
// Not thread-safe: FileLog's mutex guards it.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/file.h"
#include "wal/log_format.h"

namespace saker {

// A log file held open: readers keep it readable after it was deleted. Constant after construction.
struct LogFile {
  File file;
  uint64_t number = 0;
  uint64_t salt = 0;
};

// The frame that holds the record of an offset.
struct LogPosition {
  std::shared_ptr<const LogFile> file;
  uint32_t position = 0;
};

inline constexpr uint64_t kNoFile = ~uint64_t{0};

class ChannelIndex {
 public:
  // A channel of which everything before `state.end` is in files that are not looked at any more.
  explicit ChannelIndex(const LogChannelState& state);

  const LogChannelState& state() const { return state_; }
  // The record of offset state().end lies in the frame at `position` of `file`.
  void Add(const LogRecordView& record, const std::shared_ptr<const LogFile>& file, uint32_t position);
  void Truncate(LogOffset before);
  // Of the records from `from` (at least begin) on, at most `limit`.
  std::vector<LogPosition> Locate(LogOffset from, size_t limit) const;
  // The offsets and epochs of the fences that count, oldest first; the first may lie before begin.
  std::span<const std::pair<LogOffset, Epoch>> fences() const { return fences_; }
  // The number of the oldest file that holds a record kept; kNoFile if there is none.
  uint64_t oldest_file() const;
  // True if records are kept that no file given to Add() holds.
  bool missing() const;

 private:
  struct Run {
    std::shared_ptr<const LogFile> file;
    LogOffset first = 0;
    std::vector<uint32_t> positions;
    LogOffset end() const { return first + static_cast<LogOffset>(positions.size()); }
  };
  LogChannelState state_;
  std::deque<Run> runs_;  // in offset order without gaps; the first may begin before state_.begin
  std::vector<std::pair<LogOffset, Epoch>> fences_;
};

// Rule 6 for a list of fences as fences() gives it.
bool IsVoidRecord(std::span<const std::pair<LogOffset, Epoch>> fences, LogOffset offset, Epoch epoch,
                  LogRecordType type);

}  // namespace saker
