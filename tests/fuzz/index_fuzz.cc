// Arbitrary bytes as an index file: opened, and if that works, searched. The first two bytes choose the segment the file
// is said to belong to; the checksums are made right so that the checks behind them are reached too.
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "index/vector_index.h"

namespace {

constexpr int kDim = 16;
constexpr int64_t kRows = 50;

// Header and section checksums as a writer would have left them, as far as the header makes sense.
void RepairChecksums(std::string& file) {
  constexpr size_t kCountAt = 32, kTable = 40, kEntry = 24;
  if (file.size() < kTable + 4) return;
  uint32_t count = 0;
  std::memcpy(&count, &file[kCountAt], 4);
  if (count > 16 || kTable + count * kEntry + 4 > file.size()) return;
  for (uint32_t i = 0; i < count; ++i) {
    uint64_t offset = 0, length = 0;
    std::memcpy(&offset, &file[kTable + i * kEntry], 8);
    std::memcpy(&length, &file[kTable + i * kEntry + 8], 8);
    if (offset > file.size() || length > file.size() - offset) continue;
    const uint32_t crc = saker::Crc32c(std::string_view(file).substr(offset, length));
    std::memcpy(&file[kTable + i * kEntry + 16], &crc, 4);
  }
  const uint32_t crc = saker::Crc32c(std::string_view(file).substr(0, kTable + count * kEntry));
  std::memcpy(&file[kTable + count * kEntry], &crc, 4);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace saker;
  if (size < 2) return 0;
  const bool binary = (data[0] & 1) != 0;
  const bool repair = (data[0] & 2) != 0;
  const int64_t rows = data[1] % (kRows + 1);
  const int row_bytes = binary ? kDim / 8 : kDim * 4;
  std::vector<float> aligned(static_cast<size_t>(kRows) * kDim);
  for (size_t i = 0; i < aligned.size(); ++i) aligned[i] = static_cast<float>((i * 7919) % 101) - 50.0f;
  const VectorView view{binary ? DataType::kBinaryVector : DataType::kFloatVector, kDim, rows,
                        reinterpret_cast<const uint8_t*>(aligned.data()), row_bytes};
  std::string bytes(reinterpret_cast<const char*>(data + 2), size - 2);
  if (repair) RepairChecksums(bytes);
  // A mapping is aligned to pages; a string's bytes are not.
  std::vector<uint64_t> file(bytes.size() / 8 + 1);
  std::memcpy(file.data(), bytes.data(), bytes.size());
  const auto index = OpenVectorIndex({reinterpret_cast<const char*>(file.data()), bytes.size()}, view);
  if (!index.ok()) return 0;
  Bitmap some(rows);
  for (int64_t i = 0; i < rows; i += 3) some.Set(i);
  for (const bool range : {false, true}) {
    const VectorSearchParams params{.k = 5, .ef = 8, .nprobe = 2, .has_range = range, .max_distance = 1e9f, .min_distance = -1e9f};
    std::vector<Neighbor> found;
    (*index)->Search(view.data, params, nullptr, rows, found);
    (*index)->Search(view.data, params, &some, some.Count(), found);
  }
  return 0;
}
