// Segment manifests: whatever the bytes are, decoding ends with a manifest that keeps its promises, or with an error.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "segment/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)saker::DecodeManifest(bytes, "fuzz");
  // And as if the checksum had been right, which a fuzzer never guesses.
  std::string sealed(bytes);
  saker::ByteWriter(sealed).Put(saker::Crc32c(bytes));
  const auto manifest = saker::DecodeManifest(sealed, "fuzz");
  if (manifest.ok()) (void)saker::DecodeManifest(saker::EncodeManifest(*manifest), "fuzz");
  return 0;
}
