// The bytes of a log file; docs/format/log.md is the page about them.
//
// A file is a header (which file it is, and each channel's state when it was begun) and frames. A frame is one request:
// all of it counts or nothing. Everything is checksummed, with a salt drawn for the file, so that neither bytes of an
// older file nor a payload made to look like a frame can be taken for one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "wal/log.h"

namespace saker {

inline constexpr uint64_t kLogFileMagic = 0x31474f4c524b4153;  // "SAKRLOG1"
inline constexpr uint32_t kLogFileVersion = 1;
inline constexpr uint32_t kLogFrameMagic = 0x4d524653;  // "SFRM"
inline constexpr int64_t kLogFrameHeaderBytes = 32;
inline constexpr int64_t kLogAlignment = 8;                 // frames begin at multiples of it
inline constexpr int64_t kMaxLogFrameBytes = int64_t{1} << 30;
inline constexpr int kMaxLogChannels = 65536;

// What is known of a channel apart from its records.
struct LogChannelState {
  LogOffset begin = 0;
  LogOffset end = 0;
  Epoch fenced_epoch = 0;
  LogOffset fence_offset = -1;  // of that epoch's fence record; -1: none
  bool operator==(const LogChannelState&) const = default;
};

struct LogFileHeader {
  uint64_t number = 1;         // files count up from 1
  uint64_t salt = 0;
  uint64_t first_frame = 1;    // frames count up from 1 over all files
  int64_t previous_end = 0;    // where the previous file's frames end; what follows there is void
  std::vector<LogChannelState> channels;
};
std::string EncodeLogFileHeader(const LogFileHeader& header);
// Reads the header at the start of `bytes`, and sets *header_bytes. `path` is for the message.
Result<LogFileHeader> DecodeLogFileHeader(std::string_view bytes, const std::string& path, int64_t* header_bytes);
int64_t MaxLogFileHeaderBytes();

struct LogFrameHeader {
  uint32_t body_bytes = 0;
  uint64_t number = 0;
  uint32_t durable_to = 0;  // the file was known durable up to here when this frame was written
  uint32_t body_crc = 0;
};
// Frame and padding: what a frame with a body of so many bytes takes up.
constexpr int64_t LogFrameBytes(int64_t body_bytes) {
  return (kLogFrameHeaderBytes + body_bytes + kLogAlignment - 1) / kLogAlignment * kLogAlignment;
}
// False if `bytes` (at least kLogFrameHeaderBytes) don't begin with a frame header of this salt.
bool DecodeLogFrameHeader(std::string_view bytes, uint64_t salt, LogFrameHeader* header);
bool LogFrameBodyMatches(const LogFrameHeader& header, uint64_t salt, std::string_view body);

enum class LogFrameKind : uint8_t { kRecords = 1, kTruncation = 2, kMark = 3 };

// A record within a frame's body.
struct LogRecordView {
  ChannelId channel = 0;
  LogRecordType type = LogRecordType::kData;
  LogOffset offset = 0;
  Epoch epoch = 0;
  std::string_view payload;
};
struct LogFrame {
  LogFrameKind kind = LogFrameKind::kMark;
  std::vector<LogRecordView> records;              // of kRecords
  ChannelId channel = 0;                           // of kTruncation, with the next two
  LogOffset before = 0;
  Epoch epoch = 0;
};
// Appends the frame to `out`, whose size must be a multiple of kLogAlignment.
void EncodeLogFrame(const LogFrame& frame, uint64_t number, int64_t durable_to, uint64_t salt, std::string& out);
// False if the body isn't one; the frame's views point into `body`.
bool DecodeLogFrameBody(std::string_view body, LogFrame* frame);
int64_t LogRecordBytes(int64_t payload_bytes);  // what a record takes up in a body

// "00000000000000a1.log", and back; 0 if `name` isn't such a name.
std::string LogFileName(uint64_t number);
uint64_t ParseLogFileName(std::string_view name);

}  // namespace saker
