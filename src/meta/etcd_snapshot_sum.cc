#include <fmt/format.h>
#include <openssl/evp.h>

#include "meta/etcd_admin.h"

namespace saker {
namespace {

constexpr size_t kSumBytes = 32;

}  // namespace

struct EtcdSnapshotSum::State {
  EVP_MD_CTX* const context = EVP_MD_CTX_new();
  std::string tail;  // the last bytes, which may be the sum
};

EtcdSnapshotSum::EtcdSnapshotSum() : state_(std::make_unique<State>()) {
  EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr);
}
EtcdSnapshotSum::~EtcdSnapshotSum() { EVP_MD_CTX_free(state_->context); }

void EtcdSnapshotSum::Add(std::string_view piece) {
  std::string& tail = state_->tail;
  tail.append(piece);
  if (tail.size() <= kSumBytes) return;
  const size_t summed = tail.size() - kSumBytes;
  EVP_DigestUpdate(state_->context, tail.data(), summed);
  tail.erase(0, summed);
}

bool EtcdSnapshotSum::Holds() {
  unsigned char sum[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(state_->context, sum, &size);
  return size == kSumBytes && state_->tail == std::string_view(reinterpret_cast<const char*>(sum), kSumBytes);
}

std::string EtcdSnapshotSum::hex() const {
  std::string out;
  for (const char byte : state_->tail) out += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return out;
}

}  // namespace saker
