#include "base/bytes.h"

#include <array>

namespace saker {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // CRC-32C, reflected

std::array<uint32_t, 256> MakeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    table[i] = crc;
  }
  return table;
}

uint32_t Portable(const char* p, size_t n, uint32_t crc) {
  static const std::array<uint32_t, 256> table = MakeTable();
  for (size_t i = 0; i < n; ++i) crc = (crc >> 8) ^ table[(crc ^ static_cast<uint8_t>(p[i])) & 0xff];
  return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t Hardware(const char* p, size_t n, uint32_t crc32) {
  uint64_t crc = crc32;
  for (; n >= 8; n -= 8, p += 8) {
    uint64_t word = 0;
    std::memcpy(&word, p, 8);
    crc = __builtin_ia32_crc32di(crc, word);
  }
  auto out = static_cast<uint32_t>(crc);
  for (; n > 0; --n, ++p) out = __builtin_ia32_crc32qi(out, static_cast<unsigned char>(*p));
  return out;
}
#endif

}  // namespace

uint32_t Crc32c(std::string_view data, uint32_t seed) {
  const uint32_t start = ~seed;
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2");
  if (has_instruction) return ~Hardware(data.data(), data.size(), start);
#endif
  return ~Portable(data.data(), data.size(), start);
}

}  // namespace saker
