// Arbitrary bytes as a scalar index file, as they are and with checksums made to fit: opened or refused, never a crash.
#include <string>

#include "scalar/postings.h"

namespace {

void Use(std::string_view file) {
  using namespace saker;
  const auto index = OpenScalarIndex(file);
  if (!index.ok() || (*index)->rows() > (1 << 20)) return;
  Bitmap rows((*index)->rows());
  const std::vector<Value> values = {true, int64_t{3}, 0.5, "a", Value()};
  (*index)->In(values, rows);
  for (const Value& value : values) {
    (*index)->Range({&value, true, nullptr, false}, rows);
    (*index)->Range({nullptr, false, &value, true}, rows);
  }
  (*index)->Prefix("a", rows);
  (*index)->NotNull(rows);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string file(reinterpret_cast<const char*>(data), size);
  Use(file);
  saker::TEST_SealPostings(file);
  Use(file);
  return 0;
}
