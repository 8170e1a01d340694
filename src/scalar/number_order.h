// Order between int64 and double without loss: 2^53 + 1 is greater than 9007199254740992.0.
#pragma once

#include <cmath>
#include <compare>
#include <cstdint>

namespace saker {

// Unordered if `b` is NaN.
inline std::partial_ordering CompareNumbers(int64_t a, double b) {
  if (std::isnan(b)) return std::partial_ordering::unordered;
  if (b >= 9223372036854775808.0) return std::partial_ordering::less;
  if (b < -9223372036854775808.0) return std::partial_ordering::greater;
  const double whole = std::trunc(b);
  const auto floor = static_cast<int64_t>(whole);
  if (a != floor) return a < floor ? std::partial_ordering::less : std::partial_ordering::greater;
  // Equal whole parts: what is behind the point of b decides.
  if (b > whole) return std::partial_ordering::less;
  if (b < whole) return std::partial_ordering::greater;
  return std::partial_ordering::equivalent;
}
inline std::partial_ordering CompareNumbers(double a, int64_t b) { return 0 <=> CompareNumbers(b, a); }
inline std::partial_ordering CompareNumbers(int64_t a, int64_t b) { return a <=> b; }
inline std::partial_ordering CompareNumbers(double a, double b) { return a <=> b; }

}  // namespace saker
