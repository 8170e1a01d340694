// Opening and reading a segment whose files were tampered with. The input is a list of edits (u8 object, u16 place, u8
// new byte) of a small segment's files; an odd first byte has the manifest's and the columns' checksums made right
// again, so that the checks behind them are reached too.
#include <cstdint>
#include <cstring>

#include "base/bytes.h"
#include "query/search.h"
#include "segment/manifest.h"
#include "segment/segment_fixture.h"

namespace {

using namespace saker;

constexpr std::string_view kManifest = "fuzz/manifest";
constexpr std::string_view kColumns = "fuzz/columns";

const MemoryObjects& Pristine() {
  static const MemoryObjects objects = [] {
    MemoryObjects store;
    RandomHistory history(1, ModelSchema(true, false, true));
    for (int i = 0; i < 4; ++i) history.Step(40);
    SegmentWriteRequest request;
    request.store = &store;
    request.prefix = "fuzz";
    request.id = SegmentId(1);
    request.schema = history.schema;
    request.sources = {history.segment};
    (void)WriteSegment(request);
    return store;
  }();
  return objects;
}

// Makes every checksum fit what is there now.
void Reseal(MemoryObjects& store) {
  std::string& manifest_bytes = store.objects[std::string(kManifest)];
  const std::string& columns = store.objects[std::string(kColumns)];
  const auto seal = [&] {
    if (manifest_bytes.size() < sizeof(uint32_t)) return;
    const uint32_t crc = Crc32c(std::string_view(manifest_bytes).substr(0, manifest_bytes.size() - sizeof(uint32_t)));
    std::memcpy(manifest_bytes.data() + manifest_bytes.size() - sizeof(crc), &crc, sizeof(crc));
  };
  seal();
  auto manifest = DecodeManifest(manifest_bytes, kManifest);
  if (!manifest.ok()) return;
  for (ColumnFile& column : manifest->columns) {
    if (column.offset > columns.size() || column.length > columns.size() - column.offset) return;
    for (size_t block = 0; block < column.checksums.size(); ++block) {
      const uint64_t at = block * kChecksumBlockBytes;
      const auto length = std::min<uint64_t>(kChecksumBlockBytes, column.length - at);
      column.checksums[block] = Crc32c(std::string_view(columns).substr(column.offset + at, length));
    }
  }
  manifest_bytes = EncodeManifest(*manifest);
}

void ReadEverything(const Segment& segment) {
  std::vector<FieldId> fields;
  for (const FieldSchema& field : segment.schema().fields) fields.push_back(field.id);
  if (!segment.Check(fields).ok()) return;
  std::vector<int64_t> rows;
  for (int64_t row = 0; row < std::min<int64_t>(segment.rows(), 1000); ++row) rows.push_back(row);
  (void)FetchRows(segment, segment.schema(), rows, fields);
  Bitmap visible(segment.rows(), true);
  segment.ClearInvisible(110, 0, visible);
  std::vector<std::pair<int64_t, int64_t>> found;
  segment.FindKeys(KeysOf({1, 2, 3}, true), found);
  segment.FindKeys(KeysOf({1, 2, 3}, false), found);
  QueryPlan plan;
  plan.schema = std::make_shared<CollectionSchema>(segment.schema());
  plan.limit = 10;
  plan.output_fields = fields;
  (void)QuerySegment(plan, segment, {kMaxTimestamp - 1, 0});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  MemoryObjects store = Pristine();
  for (size_t i = 1; i + 4 <= size; i += 4) {
    std::string& bytes = store.objects[std::string(data[i] % 2 == 0 ? kManifest : kColumns)];
    const size_t place = data[i + 1] | (size_t{data[i + 2]} << 8);
    if (data[i] >= 0xf0) {
      bytes.resize(std::min(bytes.size(), place));
    } else if (place < bytes.size()) {
      bytes[place] = static_cast<char>(data[i + 3]);
    }
  }
  if (data[0] % 2 != 0) Reseal(store);
  SegmentMeta meta;
  meta.manifest = kManifest;
  const auto segment = OpenSegment(&store, meta);
  if (!segment.ok()) return 0;
  (*segment)->Delete({120, PartitionId(), KeysOf({1, 2}, true)});
  ReadEverything(**segment);
  return 0;
}
