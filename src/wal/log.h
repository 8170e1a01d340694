// The log: a fixed number of channels, each an ordered sequence of records. What is acknowledged is durable.
// Implementations: files (embedded; one shared file, so that one sync serves all channels), Kafka (cluster).
//
// Offsets of a channel rise with each record, fences included: by one, unless the log needs some for itself (Kafka: a
// truncation takes one, a long record one a piece, and what is void keeps its own). Each record carries its writer's
// epoch. protocol.md's rule 6: a reader voids every record that follows a fence of a higher epoch; the implementation
// does that here, so Read() returns only valid records, and an append at a superseded epoch fails with kSuperseded.
//
// What differs where processes share a log (Kafka): who fenced a channel may append to it, no other process at the same
// epoch, and not the same one started anew: it fences again, with a higher epoch. With files the directory's lock makes
// all writers one, and a log opened again goes on at the epoch that stands.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace saker {

using LogOffset = int64_t;

enum class LogRecordType : uint8_t { kData = 0, kFence = 1 };

struct LogRecord {
  ChannelId channel = 0;
  LogOffset offset = 0;
  Epoch epoch = 0;
  LogRecordType type = LogRecordType::kData;
  std::string payload;
};

// What one request appends to one channel.
struct LogAppend {
  ChannelId channel = 0;
  Epoch epoch = 0;
  std::string payload;
  // A few bytes by which space comes back: on a full disk they may take from what is kept in reserve for such.
  bool essential = false;
};

class Log {
 public:
  // Offsets of the appended records, in the order given; called once, in append order, when they are durable or have
  // failed. Runs on the log's own thread: it must be short and may not call back into the log synchronously.
  using Appended = std::function<void(Result<std::vector<LogOffset>>)>;

  virtual ~Log() = default;
  virtual int channel_count() const = 0;
  // Whether nobody else can append as long as this is open (the embedded log's directory lock). Otherwise only an
  // append that succeeded proves that a channel is still its owner's.
  virtual bool exclusive() const { return false; }
  // Appends the records of one request. Embedded: all of them or none, whatever the channels. Kafka: each channel on
  // its own; if one record is in the log and another is not, the request fails with kIoFailed. Calls made one after
  // another land in that order in every channel. Fails with kSuperseded (a higher fence stands), kDiskLimitExceeded
  // (refused before anything was written), kServiceUnavailable (Kafka: its brokers were away or had too few replicas in
  // sync, and nothing was written), kIoFailed (fate unknown: fence again before going on; until then the channel takes
  // no more), kCorrupted (the log has lost records: the channel is refused for good). An epoch above the fence's is
  // refused too (kParameterInvalid). Embedded: a channel without a fence is at epoch 0.
  virtual void Append(std::vector<LogAppend> records, Appended done) = 0;
  // Appends a fence: from now on only `epoch` may append to the channel. Durable when it returns. kSuperseded if an
  // equal or higher fence stands already. `payload` is the fence record's (the ceiling; see datanode/channel.h), at
  // most 1 MiB. kServiceUnavailable or kIoFailed: nobody knows whether it stands; fence with a higher epoch. What was
  // appended before has been answered when it returns with success.
  virtual Result<LogOffset> Fence(ChannelId channel, Epoch epoch, std::string payload) = 0;
  // The highest fence's epoch; 0 if there is none.
  virtual Result<Epoch> FencedEpoch(ChannelId channel) = 0;
  // Valid records from `from` on, in order, at most about max_bytes (at least one if there is one). kCompacted if
  // `from` was truncated away; kCorrupted names the file, or the partition and offset; kParameterInvalid if `from` lies
  // beyond the end; kServiceUnavailable if Kafka doesn't answer in time. Fence records are included, voided ones are
  // not: offsets may have gaps.
  virtual Result<std::vector<LogRecord>> Read(ChannelId channel, LogOffset from, int64_t max_bytes) = 0;
  virtual Result<LogOffset> Begin(ChannelId channel) = 0;  // first offset kept: the channel's checkpoint
  virtual Result<LogOffset> End(ChannelId channel) = 0;    // the offset the next record gets
  // Forgets what lies before `before`: durable, it is the channel's checkpoint. kSuperseded if `epoch` is not the
  // fenced one (or another process fenced it), kParameterInvalid if `before` lies beyond the end; at or before the
  // begin it does nothing. Space is given back when no channel needs a file any more.
  virtual Status Truncate(ChannelId channel, LogOffset before, Epoch epoch) = 0;
  virtual int64_t size_bytes() const = 0;
};

struct FileLogSettings {
  std::string directory;
  int channels = 16;
  int64_t file_bytes = 64 << 20;   // a new file is begun when one has grown to this
  int64_t reserve_bytes = 32 << 20;  // free disk below which appends are refused
};
// Takes a lock on the directory: a second process is refused with a message that names it.
Result<std::unique_ptr<Log>> OpenFileLog(const FileLogSettings& settings);

}  // namespace saker
