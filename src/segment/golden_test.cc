// Files of version 1, kept in testdata/: they can be read for ever. SAKER_WRITE_GOLDEN=1 writes them anew (for a new
// version, into a new folder).
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "segment/segment_fixture.h"

namespace saker {
namespace {

const std::filesystem::path kFolder = std::filesystem::path(SAKER_TESTDATA) / "segment-v1";

ModelRows GoldenRows() {
  ModelRows rows;
  for (int i = 0; i < 12; ++i) {
    ModelRow row;
    row.key = (i * 7) % 12;
    for (int d = 0; d < kModelDim; ++d) row.vector.push_back(static_cast<float>(i) + static_cast<float>(d) / 8);
    if (i == 4) row.vector.clear();
    if (i % 3 != 0) row.number = i * i;
    row.text = std::string(static_cast<size_t>(i), 'x');
    row.inserted = MakeTimestamp(1700000000000 + i / 4);
    rows.push_back(row);
  }
  return rows;
}

SchemaPtr GoldenSchema() { return ModelSchema(true, false, true); }

std::vector<DeleteBatch> GoldenDeletes() {
  return {{MakeTimestamp(1700000000005), PartitionId(0), KeysOf({1, 2}, true)},
          {MakeTimestamp(1700000000006, 3), PartitionId(5), KeysOf({11}, true)}};
}

Status WriteGolden(MemoryObjects& store) {
  const ModelRows rows = GoldenRows();
  auto segment = NewGrowingSegment(SegmentId(1), PartitionId(5), GoldenSchema());
  for (size_t i = 0; i < rows.size(); i += 4) {
    segment->Append(BatchOf(*GoldenSchema(), std::span(rows).subspan(i, 4)), rows[i].inserted);
  }
  SegmentWriteRequest request;
  request.store = &store;
  request.prefix = "segment";
  request.id = SegmentId(1);
  request.partition = PartitionId(5);
  request.schema = GoldenSchema();
  request.sources = {segment};
  RETURN_IF_ERROR(WriteSegment(request).status());
  return WriteDeletes(&store, "segment", SegmentId(2), GoldenDeletes()).status();
}

MemoryObjects ReadGolden() {
  MemoryObjects store;
  for (const char* name : {"manifest", "columns", "deletes"}) {
    std::ifstream in(kFolder / name, std::ios::binary);
    store.objects["segment/" + std::string(name)] = std::string(std::istreambuf_iterator<char>(in), {});
  }
  return store;
}

TEST(GoldenSegmentTest, VersionOneIsWrittenAsItWas) {
  MemoryObjects written;
  ASSERT_TRUE(WriteGolden(written).ok());
  if (std::getenv("SAKER_WRITE_GOLDEN") != nullptr) {
    std::filesystem::create_directories(kFolder);
    for (const auto& [name, bytes] : written.objects) {
      std::ofstream(kFolder / std::filesystem::path(name).filename(), std::ios::binary) << bytes;
    }
  }
  MemoryObjects golden = ReadGolden();
  EXPECT_EQ(written.objects["segment/columns"], golden.objects["segment/columns"]);
  EXPECT_EQ(written.objects["segment/deletes"], golden.objects["segment/deletes"]);
}

TEST(GoldenSegmentTest, VersionOneIsRead) {
  MemoryObjects golden = ReadGolden();
  SegmentMeta meta;
  meta.manifest = "segment/manifest";
  const auto segment = OpenSegment(&golden, meta);
  ASSERT_TRUE(segment.ok()) << segment.status().ToString();
  ASSERT_TRUE(VerifySegment(&golden, meta).ok());
  const ModelRows rows = GoldenRows();
  ASSERT_EQ((*segment)->rows(), static_cast<int64_t>(rows.size()));
  EXPECT_EQ((*segment)->id(), SegmentId(1));
  EXPECT_EQ((*segment)->max_ts(), rows.back().inserted);
  for (int64_t row = 0; row < (*segment)->rows(); ++row) {
    EXPECT_EQ((*segment)->RowTimestamp(row), rows[row].inserted);
    EXPECT_EQ((*segment)->ChunkAt(kKeyField, row)->column.Bytes(row), KeyText(rows[row].key));
    EXPECT_EQ((*segment)->ChunkAt(kTextField, row)->column.Bytes(row), rows[row].text);
    EXPECT_EQ((*segment)->ChunkAt(kNumberField, row)->column.IsNull(row), !rows[row].number.has_value());
    const ColumnView vectors = (*segment)->ChunkAt(kVectorField, row)->column;
    EXPECT_EQ(vectors.IsNull(row), rows[row].vector.empty());
    std::vector<std::pair<int64_t, int64_t>> found;
    (*segment)->FindKeys(KeysOf({rows[row].key}, true), found);
    EXPECT_EQ(found, (std::vector<std::pair<int64_t, int64_t>>{{0, row}}));
  }
  meta.manifest = "segment/deletes";
  meta.kind = SegmentKind::kDeletes;
  const auto deletes = ReadDeletes(&golden, meta);
  ASSERT_TRUE(deletes.ok()) << deletes.status().ToString();
  ASSERT_EQ(deletes->size(), 2u);
  EXPECT_EQ((*deletes)[1].ts, MakeTimestamp(1700000000006, 3));
  EXPECT_EQ((*deletes)[1].partition, PartitionId(5));
  EXPECT_EQ((*deletes)[0].keys.strings, (std::vector<std::string>{"key-1", "key-2"}));
}

}  // namespace
}  // namespace saker
