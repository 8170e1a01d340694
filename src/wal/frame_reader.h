// Reads frames of one log file by position, through a window, and checks them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "wal/channel_index.h"
#include "wal/log_format.h"

namespace saker {

class FrameReader {
 public:
  // Reads at least `window_bytes` at a time.
  explicit FrameReader(int64_t window_bytes) : window_bytes_(window_bytes) {}

  enum class Outcome { kFrame, kBad };
  // The frame at `position`, which must end at or before `limit`. kBad: there is none that is whole, and why() says
  // what is wrong with it. The frame's views hold until the next call.
  Result<Outcome> Read(const LogFile& file, int64_t position, int64_t limit, LogFrameHeader* header, LogFrame* frame);
  const std::string& why() const { return why_; }
  // True if some frame at or after `from` proves that the file was once durable beyond `position`.
  Result<bool> ProvenDurableBeyond(const LogFile& file, int64_t position, int64_t from, uint64_t after_number,
                                   int64_t limit);

 private:
  Result<std::string_view> Bytes(const LogFile& file, int64_t position, int64_t length);
  Outcome Bad(std::string why) {
    why_ = std::move(why);
    return Outcome::kBad;
  }

  const int64_t window_bytes_;
  uint64_t file_number_ = 0;  // which file's bytes window_ has; 0: none
  int64_t window_start_ = 0;
  std::string window_;
  std::string why_;
};

Status CorruptedLogFile(const LogFile& file, int64_t position, std::string_view why);

}  // namespace saker
