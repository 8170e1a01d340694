// Query vectors from anybody: the bytes of a PlaceholderGroup.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "proxy/placeholder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto count = saker::CountPlaceholders(bytes);
  const auto queries = saker::DecodePlaceholders(bytes);
  if (!queries.ok()) return 0;
  // What is taken is consistent in itself.
  if (!count.ok() || *count != queries->nq || queries->nq <= 0) std::abort();
  if (queries->row_bytes > 0 && queries->bytes.size() != static_cast<size_t>(queries->nq) * static_cast<size_t>(queries->row_bytes)) std::abort();
  return 0;
}
