#include "security/password.h"

#include <crypt.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <cstring>
#include <memory>

namespace saker {
namespace {

constexpr unsigned long kBcryptCost = 10;  // as Milvus's

}  // namespace

Result<std::string> HashPassword(std::string_view password) {
  char random[16];
  if (RAND_bytes(reinterpret_cast<unsigned char*>(random), sizeof(random)) != 1) {
    return {ErrorCode::kServiceInternal, "no random bytes to be had for a password's salt"};
  }
  char setting[CRYPT_GENSALT_OUTPUT_SIZE];
  if (crypt_gensalt_rn("$2b$", kBcryptCost, random, sizeof(random), setting, sizeof(setting)) == nullptr) {
    return {ErrorCode::kServiceInternal, "crypt() of this system has no bcrypt"};
  }
  auto data = std::make_unique<crypt_data>();
  const std::string text(password);
  const char* hash = crypt_rn(text.c_str(), setting, data.get(), sizeof(crypt_data));
  if (hash == nullptr) return {ErrorCode::kServiceInternal, "crypt() could not hash a password"};
  return std::string(hash);
}

bool MatchesHash(std::string_view password, const std::string& hash) {
  if (password.find('\0') != std::string_view::npos) return false;
  auto data = std::make_unique<crypt_data>();
  const std::string text(password);
  const char* again = crypt_rn(text.c_str(), hash.c_str(), data.get(), sizeof(crypt_data));
  if (again == nullptr || std::strlen(again) != hash.size()) return false;
  return CRYPTO_memcmp(again, hash.data(), hash.size()) == 0;
}

PasswordVerifier::PasswordVerifier() { SAKER_CHECK(RAND_bytes(key_.data(), static_cast<int>(key_.size())) == 1); }

PasswordVerifier::Digest PasswordVerifier::DigestOf(const std::string& hash, std::string_view password) const {
  std::string message = hash;
  message += '\0';
  message.append(password);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()), reinterpret_cast<const unsigned char*>(message.data()),
       message.size(), digest, &length);
  OPENSSL_cleanse(message.data(), message.size());
  return {reinterpret_cast<char*>(digest), length};
}

bool PasswordVerifier::IsKnown(const std::string& hash, std::string_view password) {
  const Digest digest = DigestOf(hash, password);
  MutexLock lock(mutex_);
  const auto it = remembered_.find(hash);
  return it != remembered_.end() && CRYPTO_memcmp(it->second.data(), digest.data(), digest.size()) == 0;
}

bool PasswordVerifier::Verify(const std::string& hash, std::string_view password) {
  if (IsKnown(hash, password)) return true;
  if (!MatchesHash(password, hash)) return false;
  Digest digest = DigestOf(hash, password);
  MutexLock lock(mutex_);
  if (remembered_.size() >= kMaxRemembered) remembered_.clear();
  remembered_[hash] = std::move(digest);
  return true;
}

std::string Base64Encode(std::string_view bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t n = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) group = group << 8 | (k < n ? static_cast<unsigned char>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) out += k <= n ? kDigits[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

bool Base64Decode(std::string_view text, std::string& bytes) {
  const auto value = [](char c) -> int {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
  };
  bytes.clear();
  if (text.size() % 4 != 0) return false;
  for (size_t i = 0; i < text.size(); i += 4) {
    const bool last = i + 4 == text.size();
    const int padding = !last ? 0 : (text[i + 3] == '=') + (text[i + 3] == '=' && text[i + 2] == '=');
    uint32_t group = 0;
    for (int k = 0; k < 4; ++k) {
      const int digit = k >= 4 - padding ? 0 : value(text[i + k]);
      if (digit < 0) return false;
      group = group << 6 | static_cast<uint32_t>(digit);
    }
    for (int k = 0; k < 3 - padding; ++k) bytes += static_cast<char>(group >> (16 - 8 * k) & 255);
  }
  return true;
}

}  // namespace saker
