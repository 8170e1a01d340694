// Passwords: hashed with bcrypt, verified with a memory of what was found right before.
//
// bcrypt is slow on purpose (tens of milliseconds), so a client that sends its password with every call must not pay for
// it twice: PasswordVerifier remembers a keyed digest of (stored hash, password) pairs that matched. A changed password
// has another stored hash, so nothing has to be forgotten for correctness.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/mutex.h"
#include "base/status.h"

namespace saker {

// "$2b$10$…". Fails only if the system's crypt() has no bcrypt.
Result<std::string> HashPassword(std::string_view password);
// Slow. `hash` is one that HashPassword (or another bcrypt: $2a$, $2y$) made.
bool MatchesHash(std::string_view password, const std::string& hash);

// Thread-safe.
class PasswordVerifier {
 public:
  PasswordVerifier();
  bool Verify(const std::string& hash, std::string_view password);
  // True if Verify would answer at once: callers that must not be held up ask first.
  bool IsKnown(const std::string& hash, std::string_view password);

 private:
  using Digest = std::string;
  Digest DigestOf(const std::string& hash, std::string_view password) const;

  static constexpr size_t kMaxRemembered = 4096;
  std::array<unsigned char, 32> key_;  // random, of this process: digests in a memory dump tell nothing elsewhere
  Mutex mutex_;
  std::unordered_map<std::string, Digest> remembered_ GUARDED_BY(mutex_);  // stored hash → digest of its password
};

std::string Base64Encode(std::string_view bytes);
// Strict: false for anything that isn't padded standard base64.
bool Base64Decode(std::string_view text, std::string& bytes);

}  // namespace saker
