// Messages between processes: bytes in pieces, and how they are written and read (docs/format/transport.md).
//
// Numbers are little endian. A value of several fields is *sized*: a u32 length, then its fields. Fields missing at its
// end have their defaults (an older sender), bytes left at its end are skipped (a newer one). So fields may only ever be
// added at the end of a value. Outside of sized values nothing may be missing.
#pragma once

#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace saker {

// Immutable. Each piece keeps alive what its bytes lie in. Cheap to copy.
struct Frame {
  struct Piece {
    std::string_view bytes;
    std::shared_ptr<const void> owner;
  };
  std::vector<Piece> pieces;

  size_t size() const;
  std::string Flat() const;  // one string, copied: for tests
  static Frame Of(std::string bytes);
};

// Writes one frame. Not thread-safe. Lengths have 32 bits; whoever sends frames refuses larger ones by their size.
class FrameWriter {
 public:
  // `owner`: keeps alive everything that Large() is given; null: large arrays are copied like others.
  explicit FrameWriter(std::shared_ptr<const void> owner = nullptr) : owner_(std::move(owner)), out_(own_) {}
  FrameWriter(const FrameWriter&) = delete;
  FrameWriter& operator=(const FrameWriter&) = delete;

  template <typename T>
  void Put(T value) {
    out_.Put(value);
  }
  void PutBytes(std::string_view bytes) {  // u32 length, then the bytes
    Put<uint32_t>(static_cast<uint32_t>(bytes.size()));
    Large(bytes);
  }
  // Bytes without a length before them. Not copied if they are many and there is an owner.
  void Large(std::string_view bytes);
  // Bytes without a length before them, copied.
  void Copied(std::string_view bytes) { out_.PutRaw(bytes); }
  // Bytes that have an owner of their own, never copied unless few.
  void Shared(std::shared_ptr<const std::string> bytes);

  // A sized value: the length is filled in by End, which takes what Begin returned.
  struct Mark {
    size_t at;
    size_t size;
  };
  Mark Begin();
  void End(Mark mark);

  size_t size() const { return own_.size() + borrowed_bytes_; }
  Frame Finish() &&;
  std::string FinishString() &&;  // of a writer without owner: nothing was borrowed

 private:
  struct Borrowed {
    size_t at;  // stands before this byte of own_
    Frame::Piece piece;
  };
  const std::shared_ptr<const void> owner_;
  std::string own_;
  ByteWriter out_;
  std::vector<Borrowed> borrowed_;
  size_t borrowed_bytes_ = 0;
};

// Reads a frame across its pieces. Turns bad at the first thing that can't be, and gives zeroes from then on; check
// status() once at the end. The frame must outlive it. Not thread-safe.
class FrameReader {
 public:
  explicit FrameReader(const Frame& frame);

  template <typename T>
    requires std::is_arithmetic_v<T> || std::is_enum_v<T>
  T Get() {
    T value{};
    if ((at_ == limit_ && depth_ > 0) || !Need(sizeof(T))) return value;  // at the end: a field that the sender doesn't know
    Copy(reinterpret_cast<char*>(&value), sizeof(T));
    return value;
  }
  // The next n bytes: in place if they lie in one piece, else copied to `scratch`.
  std::string_view GetRaw(size_t n, std::string& scratch);
  // The next n bytes, appended to a string or a vector of bytes: one copy.
  template <typename Bytes>
  void AppendTo(Bytes& out, size_t n) {
    if (!Need(n)) return;
    out.reserve(out.size() + n);
    while (n > 0) {
      const std::string_view here = Here(n);
      out.insert(out.end(), here.begin(), here.end());
      Advance(here.size());
      n -= here.size();
    }
  }
  // The next `count` elements of a trivially copyable type.
  template <typename T>
  void GetArray(std::vector<T>& out, size_t count) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (count > remaining() / sizeof(T)) return Fail("a list is longer than what is left");
    out.resize(count);
    if (count > 0) Copy(reinterpret_cast<char*>(out.data()), count * sizeof(T));
  }

  // A sized value: reads stay within it until Leave, which takes what Enter returned and skips what is left of it.
  size_t Enter();
  void Leave(size_t outer);

  // How many items of a list follow; each takes at least `least` bytes here and `memory` bytes once read. A list that
  // can't be that long, or that would take many times more memory than the frame has bytes, turns the reader bad.
  uint32_t Count(size_t least, size_t memory);

  void Fail(Status status) {
    if (status_.ok()) status_ = std::move(status);
    at_ = limit_;
    piece_ = frame_.pieces.size();
  }
  void Fail(std::string_view why);
  bool ok() const { return status_.ok(); }
  const Status& status() const { return status_; }
  size_t remaining() const { return limit_ - at_; }
  size_t position() const { return at_; }

 private:
  bool Need(size_t n) {
    if (n <= limit_ - at_ && ok()) return true;
    if (ok()) Fail("it ends in the middle of a value");
    return false;
  }
  std::string_view Here(size_t most) const { return frame_.pieces[piece_].bytes.substr(offset_, most); }
  void Advance(size_t n);
  void Copy(char* to, size_t n);
  void SkipEmpty();

  const Frame& frame_;
  size_t piece_ = 0;    // where at_ is
  size_t offset_ = 0;
  size_t at_ = 0;
  size_t limit_ = 0;
  int depth_ = 0;       // of sized values; outside of them nothing may be missing
  size_t memory_left_ = 0;
  Status status_;
};

}  // namespace saker
