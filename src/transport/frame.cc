#include "transport/frame.h"

#include <fmt/format.h>

namespace saker {
namespace {

constexpr size_t kLarge = 16 << 10;  // from here on a piece of its own costs less than a copy
// What lists may take in memory for each byte of their frame: beyond it nobody sent them in earnest.
constexpr size_t kMemoryPerByte = 32;
constexpr size_t kMemoryFree = 1 << 20;

}  // namespace

size_t Frame::size() const {
  size_t total = 0;
  for (const Piece& piece : pieces) total += piece.bytes.size();
  return total;
}

std::string Frame::Flat() const {
  std::string out;
  out.reserve(size());
  for (const Piece& piece : pieces) out.append(piece.bytes);
  return out;
}

Frame Frame::Of(std::string bytes) {
  const auto owned = std::make_shared<const std::string>(std::move(bytes));
  return Frame{{{*owned, owned}}};
}

// ---- writing

void FrameWriter::Large(std::string_view bytes) {
  if (owner_ == nullptr || bytes.size() < kLarge) return out_.PutRaw(bytes);
  borrowed_.push_back({own_.size(), {bytes, owner_}});
  borrowed_bytes_ += bytes.size();
}

void FrameWriter::Shared(std::shared_ptr<const std::string> bytes) {
  constexpr size_t kFew = 1 << 10;
  if (bytes->size() < kFew) return out_.PutRaw(*bytes);
  borrowed_bytes_ += bytes->size();
  const std::string_view view = *bytes;
  borrowed_.push_back({own_.size(), {view, std::move(bytes)}});
}

FrameWriter::Mark FrameWriter::Begin() {
  const size_t at = own_.size();
  Put<uint32_t>(0);
  return {at, size()};
}

void FrameWriter::End(Mark mark) {
  const auto length = static_cast<uint32_t>(size() - mark.size);
  std::memcpy(own_.data() + mark.at, &length, sizeof(length));
}

Frame FrameWriter::Finish() && {
  const auto own = std::make_shared<const std::string>(std::move(own_));
  const std::string_view all = *own;
  Frame frame;
  frame.pieces.reserve(2 * borrowed_.size() + 1);
  size_t at = 0;
  for (Borrowed& borrowed : borrowed_) {
    if (borrowed.at > at) frame.pieces.push_back({all.substr(at, borrowed.at - at), own});
    at = borrowed.at;
    frame.pieces.push_back(std::move(borrowed.piece));
  }
  if (at < all.size()) frame.pieces.push_back({all.substr(at), own});
  return frame;
}

std::string FrameWriter::FinishString() && {
  SAKER_CHECK(borrowed_.empty());
  return std::move(own_);
}

// ---- reading

FrameReader::FrameReader(const Frame& frame) : frame_(frame), limit_(frame.size()) {
  memory_left_ = kMemoryFree + kMemoryPerByte * limit_;
  SkipEmpty();
}

void FrameReader::SkipEmpty() {
  while (piece_ < frame_.pieces.size() && offset_ == frame_.pieces[piece_].bytes.size()) {
    ++piece_;
    offset_ = 0;
  }
}

void FrameReader::Advance(size_t n) {
  at_ += n;
  offset_ += n;
  SkipEmpty();
}

void FrameReader::Copy(char* to, size_t n) {
  while (n > 0) {
    const std::string_view here = Here(n);
    std::memcpy(to, here.data(), here.size());
    Advance(here.size());
    to += here.size();
    n -= here.size();
  }
}

std::string_view FrameReader::GetRaw(size_t n, std::string& scratch) {
  if (!Need(n) || n == 0) return {};
  const std::string_view here = Here(n);
  if (here.size() == n) {
    Advance(n);
    return here;
  }
  scratch.clear();
  AppendTo(scratch, n);
  return scratch;
}

size_t FrameReader::Enter() {
  const size_t outer = limit_;
  const auto length = Get<uint32_t>();
  if (length > limit_ - at_) {
    Fail("it ends in the middle of a value");
    return outer;
  }
  limit_ = at_ + length;
  ++depth_;
  return outer;
}

void FrameReader::Leave(size_t outer) {
  if (!ok()) return;
  while (at_ < limit_) Advance(Here(limit_ - at_).size());
  limit_ = outer;
  --depth_;
}

uint32_t FrameReader::Count(size_t least, size_t memory) {
  const auto count = Get<uint32_t>();
  if (count > remaining() / least) {
    Fail("a list is longer than what is left");
    return 0;
  }
  if (count > memory_left_ / memory) {
    Fail("its lists would take more memory than is reasonable for its size");
    return 0;
  }
  memory_left_ -= count * memory;
  return count;
}

void FrameReader::Fail(std::string_view why) {
  Fail(Status(ErrorCode::kCorrupted, fmt::format("a message from another process does not decode at byte {} of {}: {}", at_,
                                                 frame_.size(), why)));
}

}  // namespace saker
