// The end of the log: the file that is being written, and what happens when the disk refuses.
//
// Used by the log's own thread alone. A batch is written at the end of what is durable and synced; only then it counts.
//   - Disk full: what was written of the batch is taken back, nothing has happened, and a later batch may succeed.
//   - Any other failure: the batch's fate is unknown, and so is what the kernel still has of it. Nothing more goes into
//     this file; the next batch goes into a new one, whose header says where the old one ends. From the moment that
//     header is durable the failed batch is void.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "wal/channel_index.h"

namespace saker {

class LogTail {
 public:
  LogTail(const FileLogSettings& settings) : settings_(settings) {}

  // Goes on at the end of `file`, after making durable what is in it. `full` asks for a new file before the next batch.
  Status Continue(std::shared_ptr<const LogFile> file, int64_t end, bool full);
  // Makes sure that there is a file to write to; sets *begun if it is a new one.
  Status Prepare(const std::vector<LogChannelState>& channels, uint64_t next_frame, bool* begun);
  // The next Prepare() begins a new file.
  void BeginNext() { must_begin_ = true; }
  // Refuses what would leave less than the reserve free.
  Status CheckRoom(int64_t bytes);
  // Writes `bytes` at end() and makes them durable.
  Status Commit(std::string_view bytes);
  // Gives back what was reserved ahead, if the file is in order.
  void Close();

  const std::shared_ptr<const LogFile>& file() const { return file_; }
  int64_t end() const { return end_; }
  bool writable() const { return file_ != nullptr && !must_begin_; }

 private:
  Status BeginFile(const std::vector<LogChannelState>& channels, uint64_t next_frame);
  void ReserveAhead(int64_t end);
  Status TakeBack(const Status& failure);

  const FileLogSettings settings_;
  std::shared_ptr<const LogFile> file_;
  int64_t end_ = 0;           // durable up to here
  int64_t reserved_to_ = 0;   // the file's size
  bool must_begin_ = true;
  bool can_reserve_ahead_ = true;
  int64_t room_bytes_ = 0;            // what may be written before free space is looked at again …
  int64_t unchecked_bytes_ = 0;       // … and what was written since
};

}  // namespace saker
