// Little-endian encoding into and out of byte strings, used by every file, log and key format.
// A Reader never reads past its end: it turns bad and returns zeroes; check ok() once at the end.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace saker {

class ByteWriter {
 public:
  explicit ByteWriter(std::string& out) : out_(out) {}
  template <typename T>
    requires std::is_arithmetic_v<T> || std::is_enum_v<T>
  void Put(T value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  void PutBytes(std::string_view bytes) {  // u32 length, then the bytes
    Put<uint32_t>(static_cast<uint32_t>(bytes.size()));
    out_.append(bytes);
  }
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  void PutArray(std::span<const T> values) {  // u64 count, then the raw elements
    Put<uint64_t>(values.size());
    if (!values.empty()) out_.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  }
  void PutRaw(std::string_view bytes) { out_.append(bytes); }
  size_t size() const { return out_.size(); }

 private:
  std::string& out_;
};

class ByteReader {
 public:
  explicit ByteReader(std::string_view in) : in_(in) {}
  template <typename T>
    requires std::is_arithmetic_v<T> || std::is_enum_v<T>
  T Get() {
    T value{};
    if (!Need(sizeof(T))) return value;
    std::memcpy(&value, in_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  std::string_view GetBytes() { return GetRaw(Get<uint32_t>()); }
  std::string_view GetRaw(size_t n) {
    if (!Need(n)) return {};
    std::string_view out = in_.substr(at_, n);
    at_ += n;
    return out;
  }
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  std::vector<T> GetArray() {
    const uint64_t count = Get<uint64_t>();
    if (!ok_ || count > (in_.size() - at_) / sizeof(T)) {
      ok_ = false;
      return {};
    }
    std::vector<T> out(count);
    if (count != 0) std::memcpy(out.data(), in_.data() + at_, count * sizeof(T));
    at_ += count * sizeof(T);
    return out;
  }
  bool ok() const { return ok_; }
  bool done() const { return at_ == in_.size(); }
  size_t position() const { return at_; }
  size_t remaining() const { return in_.size() - at_; }

 private:
  bool Need(size_t n) {
    if (!ok_ || n > in_.size() - at_) ok_ = false;
    return ok_;
  }
  std::string_view in_;
  size_t at_ = 0;
  bool ok_ = true;
};

// CRC-32C (Castagnoli) by the hardware instruction where there is one.
uint32_t Crc32c(std::string_view data, uint32_t seed = 0);

}  // namespace saker
