// Opening a log: finds its files, checks every frame, and says what the channels hold.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "wal/channel_index.h"

namespace saker {

struct RecoveredLogFile {
  std::shared_ptr<const LogFile> file;
  int64_t end = 0;  // of its frames
};

struct RecoveredLog {
  std::deque<RecoveredLogFile> files;  // oldest first; empty if the directory has none
  std::vector<ChannelIndex> channels;
  int channels_in_last_file = 0;
  uint64_t next_frame = 1;
  int64_t torn_bytes = 0;  // at the end of the last file, not acknowledged, ignored
};

// Reads only, apart from removing what a crash left of files not yet begun or already given up. At least `channels`
// channels; kParameterInvalid if the log has more. kCorrupted names the file and the offset.
Result<RecoveredLog> RecoverLog(const std::string& directory, int channels);

}  // namespace saker
