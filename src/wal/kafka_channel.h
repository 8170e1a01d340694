// Which records of a channel in Kafka count (protocol.md's rule 6), from their headers alone. No I/O, not thread-safe.
//
// A fence counts if its epoch is above that of every fence before it. Another record counts if it was written by the
// writer of the fence in force, at its epoch, and has the sequence number that is due: so what Kafka stored twice or
// out of order is void, whatever made it so. A payload in several pieces counts with its last piece, and is void if
// a fence lies between or its writer gave it up.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wal/kafka_record.h"

namespace saker {

class KafkaChannelIndex {
 public:
  struct Fence {
    LogOffset offset = -1;
    Epoch epoch = 0;
    uint64_t incarnation = 0;
    uint64_t sequence = 1;  // of the first record kept that counts under it
  };

  KafkaChannelIndex() = default;                                  // of a channel of which nothing was ever deleted
  explicit KafkaChannelIndex(const KafkaCheckpoint& checkpoint);  // from its `resume` on

  LogOffset begin() const { return begin_; }
  LogOffset next() const { return next_; }  // of the record that Add() takes next
  // Up to where payloads are complete.
  LogOffset readable_end() const { return open_pieces_ != 0 ? open_first_ : next_; }
  Fence fence() const { return fences_.empty() ? Fence{} : fences_.back(); }
  uint64_t next_sequence() const { return next_sequence_; }  // the one due
  int64_t bytes() const { return bytes_; }                   // kept, about

  // Takes the record at next(); `value` is looked at only for a checkpoint. True if it counts, for what is known so
  // far.
  bool Add(const KafkaRecordHeader& header, std::string_view value, int64_t bytes);
  // For offsets from begin() to readable_end(): whether the record there counts.
  bool Counts(LogOffset offset) const;
  // What has to be logged before everything before `before` may go. None if `before` lies beyond readable_end().
  std::optional<KafkaCheckpoint> CheckpointAt(LogOffset before) const;

 private:
  struct Run {  // records that count, with consecutive offsets and sequence numbers
    LogOffset first = 0;
    int64_t count = 0;
    uint64_t sequence = 0;
    LogOffset end() const { return first + count; }
  };
  struct Range {
    LogOffset first = 0;
    LogOffset end = 0;
  };
  bool AddPiece(const KafkaRecordHeader& header, LogOffset offset);
  void GiveUpOpen(LogOffset end);
  void Forget(const KafkaCheckpoint& checkpoint);
  uint64_t SequenceAt(const Fence& fence, LogOffset offset) const;

  LogOffset begin_ = 0;
  LogOffset next_ = 0;
  uint64_t next_sequence_ = 1;
  int64_t bytes_ = 0;
  // Oldest first; what lies wholly before begin_ is dropped, but for the fence in force there.
  std::deque<Fence> fences_;
  std::deque<Run> runs_;
  std::deque<Range> in_pieces_;                      // where payloads of several pieces lie
  std::deque<Range> given_up_;                       // what was begun there counts for nothing
  std::deque<std::pair<LogOffset, int64_t>> sizes_;  // up to which offset, how many bytes
  // The payload of which not all pieces are there; open_pieces_ 0: there is none.
  LogOffset open_first_ = 0;
  uint32_t open_next_ = 0;
  uint32_t open_pieces_ = 0;
};

// Reads a channel whose first records were deleted: what counts can be told only once its checkpoints are known.
class KafkaChannelScan {
 public:
  explicit KafkaChannelScan(LogOffset start) : start_(start), next_(start) {}
  LogOffset next() const { return next_; }
  void Add(const KafkaRecordHeader& header, std::string_view value, int64_t bytes);
  // Each record from the first one known about on is passed to `visit`. None if records are missing that no checkpoint
  // allowed to be deleted.
  using Visit = std::function<void(LogOffset, const KafkaRecordHeader&, bool counts)>;
  std::optional<KafkaChannelIndex> Finish(const Visit& visit) const;

 private:
  struct Run {  // records alike but for rising sequence numbers
    LogOffset first = 0;
    int64_t count = 0;
    int64_t bytes = 0;
    KafkaRecordHeader header;         // of the first
    std::vector<uint32_t> checksums;  // of each
    std::string value;
  };
  const LogOffset start_;
  LogOffset next_;
  std::vector<Run> runs_;
};

}  // namespace saker
