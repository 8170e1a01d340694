// Float ↔ the 16-bit formats of Float16Vector and BFloat16Vector; rounds to the nearest, ties to even.
#pragma once

#include <bit>
#include <cstdint>

namespace saker {

inline uint16_t ToBFloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

inline uint16_t ToFloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const int exponent = static_cast<int>((bits >> 23) & 0xFF) - 127;
  uint32_t fraction = bits & 0x7FFFFF;
  if (exponent > 15) return static_cast<uint16_t>(sign | 0x7C00);  // infinity
  const bool normal = exponent >= -14;
  if (exponent < -25) return sign;
  // Bits to drop: 13, and one more for each step below the least normal exponent.
  const int drop = normal ? 13 : 13 + (-14 - exponent);
  if (!normal) fraction |= 0x800000;
  const uint32_t kept = fraction >> drop;
  const uint32_t rest = fraction & ((1u << drop) - 1), half = 1u << (drop - 1);
  uint32_t out = normal ? (static_cast<uint32_t>(exponent + 15) << 10) + kept : kept;
  if (rest > half || (rest == half && (out & 1) != 0)) ++out;  // may carry into the exponent, as it should
  return static_cast<uint16_t>(sign | out);
}

}  // namespace saker
