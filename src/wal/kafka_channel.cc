#include "wal/kafka_channel.h"

#include <algorithm>

#include "base/rules.h"

namespace saker {
namespace {

constexpr int64_t kSizeStepBytes = 256 << 10;

// The range that holds `offset`; ranges are in order and don't overlap.
template <typename Ranges>
auto Find(const Ranges& ranges, LogOffset offset) {
  const auto it =
      std::partition_point(ranges.begin(), ranges.end(), [offset](const auto& r) { return r.first <= offset; });
  return it == ranges.begin() ? ranges.end() : std::prev(it);
}

}  // namespace

KafkaChannelIndex::KafkaChannelIndex(const KafkaCheckpoint& checkpoint)
    : begin_(checkpoint.before), next_(checkpoint.resume), next_sequence_(checkpoint.sequence) {
  if (checkpoint.epoch > 0) {
    fences_.push_back({checkpoint.fence_offset, checkpoint.epoch, checkpoint.incarnation, checkpoint.sequence});
  }
}

bool KafkaChannelIndex::Add(const KafkaRecordHeader& header, std::string_view value, int64_t bytes) {
  const LogOffset offset = next_++;
  bytes_ += bytes;
  if (sizes_.empty() || sizes_.back().second >= kSizeStepBytes) sizes_.emplace_back(next_, 0);
  sizes_.back().first = next_;
  sizes_.back().second += bytes;
  if (header.type != KafkaRecordType::kFence) {
    if (!AddPiece(header, offset)) return false;
    KafkaCheckpoint checkpoint;
    if (header.type == KafkaRecordType::kCheckpoint && DecodeKafkaCheckpoint(value, &checkpoint)) Forget(checkpoint);
    return true;
  }
  if (header.epoch <= fence().epoch) return false;
  GiveUpOpen(offset);
  fences_.push_back({offset, header.epoch, header.incarnation, 1});
  next_sequence_ = 1;
  return true;
}

bool KafkaChannelIndex::AddPiece(const KafkaRecordHeader& header, LogOffset offset) {
  if (fences_.empty()) return false;
  const Fence& standing = fences_.back();
  const bool due = header.epoch == standing.epoch && header.incarnation == standing.incarnation && header.sequence == next_sequence_;
  if (!due && RuleHolds(Rule::kVoidAfterFence)) return false;
  const bool continues = open_pieces_ != 0 && header.piece == open_next_ && header.pieces == open_pieces_;
  if (!continues) {
    if (header.piece != 0) return false;
    GiveUpOpen(offset);
  }
  ++next_sequence_;
  if (!runs_.empty() && runs_.back().end() == offset && runs_.back().first > fences_.back().offset) {
    ++runs_.back().count;
  } else {
    runs_.push_back({offset, 1, header.sequence});
  }
  if (header.pieces == 1) return true;
  if (header.piece == 0) open_first_ = offset;
  open_next_ = header.piece + 1;
  open_pieces_ = header.pieces;
  if (open_next_ == open_pieces_) {
    in_pieces_.push_back({open_first_, offset + 1});
    open_pieces_ = 0;
  }
  return true;
}

void KafkaChannelIndex::GiveUpOpen(LogOffset end) {
  if (open_pieces_ != 0) given_up_.push_back({open_first_, end});
  open_pieces_ = 0;
}

bool KafkaChannelIndex::Counts(LogOffset offset) const {
  if (const auto given_up = Find(given_up_, offset); given_up != given_up_.end() && offset < given_up->end)
    return false;
  if (const auto run = Find(runs_, offset); run != runs_.end() && offset < run->end()) return true;
  return std::any_of(fences_.begin(), fences_.end(), [offset](const Fence& fence) { return fence.offset == offset; });
}

uint64_t KafkaChannelIndex::SequenceAt(const Fence& fence, LogOffset offset) const {
  const auto run = Find(runs_, offset - 1);
  if (run == runs_.end() || run->first < fence.offset) return fence.sequence;
  return run->sequence + static_cast<uint64_t>(std::min<int64_t>(run->count, offset - run->first));
}

std::optional<KafkaCheckpoint> KafkaChannelIndex::CheckpointAt(LogOffset before) const {
  if (before > readable_end()) return {};
  KafkaCheckpoint checkpoint;
  checkpoint.before = before;
  checkpoint.resume = before;
  if (const auto within = Find(in_pieces_, before); within != in_pieces_.end() && before < within->end) {
    if (before > within->first) checkpoint.resume = within->end;
  }
  for (const Fence& fence : fences_) {
    if (fence.offset >= checkpoint.resume) break;
    checkpoint.fence_offset = fence.offset;
    checkpoint.epoch = fence.epoch;
    checkpoint.incarnation = fence.incarnation;
    checkpoint.sequence = SequenceAt(fence, checkpoint.resume);
  }
  return checkpoint;
}

void KafkaChannelIndex::Forget(const KafkaCheckpoint& checkpoint) {
  if (checkpoint.before <= begin_ || checkpoint.before > next_) return;
  begin_ = checkpoint.before;
  while (fences_.size() > 1 && fences_[1].offset < begin_) fences_.pop_front();
  while (!runs_.empty() && runs_.front().end() <= begin_) {
    const Run& run = runs_.front();
    if (run.first > fences_.front().offset) fences_.front().sequence = run.sequence + static_cast<uint64_t>(run.count);
    runs_.pop_front();
  }
  while (!in_pieces_.empty() && in_pieces_.front().end <= begin_) in_pieces_.pop_front();
  while (!given_up_.empty() && given_up_.front().end <= begin_) given_up_.pop_front();
  while (!sizes_.empty() && sizes_.front().first <= begin_) {
    bytes_ -= sizes_.front().second;
    sizes_.pop_front();
  }
}

void KafkaChannelScan::Add(const KafkaRecordHeader& header, std::string_view value, int64_t bytes) {
  const LogOffset offset = next_++;
  if (!runs_.empty() && header.type == KafkaRecordType::kData && header.pieces == 1) {
    Run& run = runs_.back();
    KafkaRecordHeader due = run.header;
    due.sequence += static_cast<uint64_t>(run.count);
    due.checksum = header.checksum;
    if (due == header) {
      ++run.count;
      run.bytes += bytes;
      run.checksums.push_back(header.checksum);
      return;
    }
  }
  std::string kept(header.type == KafkaRecordType::kCheckpoint ? value : std::string_view());
  runs_.push_back({offset, 1, bytes, header, {header.checksum}, std::move(kept)});
}

// A checkpoint tells the truth about the place it names even if it is void itself: its writer had read that place. So
// the one that names the earliest place still there is where to start; every deletion was preceded by a checkpoint that
// counts, which is found from there and says where the channel begins.
std::optional<KafkaChannelIndex> KafkaChannelScan::Finish(const Visit& visit) const {
  std::optional<KafkaCheckpoint> first;
  for (const Run& run : runs_) {
    KafkaCheckpoint checkpoint;
    if (run.header.type != KafkaRecordType::kCheckpoint || !DecodeKafkaCheckpoint(run.value, &checkpoint)) continue;
    if (checkpoint.before >= start_ && (!first || checkpoint.resume < first->resume)) first = checkpoint;
  }
  if (start_ > 0 && !first) return {};
  KafkaChannelIndex index = start_ == 0 ? KafkaChannelIndex() : KafkaChannelIndex(*first);
  bool told = start_ == 0;
  for (const Run& run : runs_) {
    KafkaRecordHeader header = run.header;
    for (LogOffset offset = run.first; offset < run.first + run.count; ++offset, ++header.sequence) {
      if (offset < index.next()) continue;
      header.checksum = run.checksums[static_cast<size_t>(offset - run.first)];
      const bool counts = index.Add(header, run.value, run.bytes / run.count);
      told |= counts && header.type == KafkaRecordType::kCheckpoint;
      visit(offset, header, counts);
    }
  }
  if (!told) return {};
  return index;
}

}  // namespace saker
