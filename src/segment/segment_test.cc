#include "segment/segment.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/bytes.h"
#include "segment/delete_log.h"
#include "segment/manifest.h"
#include "segment/primary_key_index.h"
#include "segment/segment_fixture.h"

namespace saker {
namespace {

SegmentMeta MetaOf(const SegmentFiles& files, SegmentId id = SegmentId(77)) {
  SegmentMeta meta;
  meta.id = id;
  meta.partition = PartitionId(5);
  meta.rows = files.rows;
  meta.manifest = files.manifest;
  return meta;
}

SegmentWriteRequest RequestFor(ObjectStore* store, SchemaPtr schema, std::vector<SegmentPtr> sources) {
  SegmentWriteRequest request;
  request.store = store;
  request.prefix = "segments/1/77/3";
  request.id = SegmentId(77);
  request.partition = PartitionId(5);
  request.schema = std::move(schema);
  request.sources = std::move(sources);
  return request;
}

// Every cell of every row.
void ExpectSameCells(const Segment& segment, const ModelRows& model) {
  ASSERT_EQ(segment.rows(), static_cast<int64_t>(model.size()));
  for (int64_t row = 0; row < segment.rows(); ++row) {
    const ModelRow& expected = model[row];
    const auto at = [&](FieldId field) {
      const auto chunk = segment.ChunkAt(field, row);
      EXPECT_TRUE(chunk.has_value());
      EXPECT_LE(chunk->first_row, row);
      EXPECT_LT(row, chunk->first_row + chunk->column.rows);
      return chunk->column.ValueAt(row - chunk->first_row);
    };
    const Value key = at(kKeyField);
    if (std::holds_alternative<std::string>(key)) {
      ASSERT_EQ(std::get<std::string>(key), KeyText(expected.key));
    } else {
      ASSERT_EQ(std::get<int64_t>(key), expected.key);
    }
    const Value vector = at(kVectorField);
    if (expected.vector.empty()) {
      ASSERT_TRUE(std::holds_alternative<std::monostate>(vector));
    } else {
      ASSERT_EQ(std::get<std::string>(vector),
                std::string(reinterpret_cast<const char*>(expected.vector.data()), kModelDim * sizeof(float)));
    }
    ASSERT_EQ(at(kNumberField), expected.number ? Value(int64_t{*expected.number}) : Value());
    ASSERT_EQ(std::get<std::string>(at(kTextField)), expected.text);
    ASSERT_EQ(segment.RowTimestamp(row), expected.inserted);
  }
}

void ExpectSameVisibility(const Segment& segment, const ModelRows& model, Timestamp t, Timestamp expired_before) {
  Bitmap rows(segment.rows(), true);
  const bool cleared = segment.ClearInvisible(t, expired_before, rows);
  bool all = true;
  for (int64_t row = 0; row < segment.rows(); ++row) {
    const bool expected = model[row].VisibleAt(t, expired_before);
    all &= expected;
    ASSERT_EQ(rows.Test(row), expected) << "row " << row << " at " << t << " inserted " << model[row].inserted << " deleted "
                                        << model[row].deleted;
    ASSERT_EQ(segment.IsVisible(row, t, expired_before), expected) << row;
  }
  EXPECT_TRUE(cleared || all);
  EXPECT_TRUE(all || !segment.AllVisible(t, expired_before));
}

void ExpectSameVisibility(const Segment& segment, const ModelRows& model, std::mt19937& random, Timestamp last) {
  ExpectSameVisibility(segment, model, kMaxTimestamp - 1, 0);
  ExpectSameVisibility(segment, model, last, 0);
  for (int i = 0; i < 20; ++i) {
    const Timestamp t = 90 + random() % (last - 80);
    ExpectSameVisibility(segment, model, t, i % 3 == 0 ? 90 + random() % (last - 80) : 0);
    Bitmap rows(segment.rows(), true);
    segment.ClearDeleted(t, rows);
    Timestamp last_deletion = 0;
    for (int64_t row = 0; row < segment.rows(); ++row) {
      const bool deleted = model[row].deleted != 0 && model[row].deleted <= t;
      ASSERT_EQ(rows.Test(row), !deleted);
      if (deleted) last_deletion = std::max(last_deletion, model[row].deleted);
    }
    ASSERT_EQ(segment.LastDeletion(t), last_deletion);
  }
}

void ExpectSameKeys(const Segment& segment, const ModelRows& model, int64_t key_space, bool string_keys) {
  std::vector<int64_t> keys;
  for (int64_t key = -2; key < key_space + 2; ++key) keys.push_back(key);
  std::vector<std::pair<int64_t, int64_t>> found;
  segment.FindKeys(KeysOf(keys, string_keys), found);
  std::vector<std::pair<int64_t, int64_t>> expected;
  std::map<int64_t, int> versions;
  for (int64_t row = 0; row < static_cast<int64_t>(model.size()); ++row) {
    expected.emplace_back(model[row].key + 2, row);
    ++versions[model[row].key];
  }
  std::sort(found.begin(), found.end());
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(found, expected);
  const bool repeats = std::any_of(versions.begin(), versions.end(), [](const auto& v) { return v.second > 1; });
  EXPECT_EQ(segment.may_repeat_keys(), repeats);
}

// Keys in the segment's order rise; every row comes once.
void ExpectKeyOrder(const Segment& segment, const ModelRows& model, bool string_keys) {
  std::vector<bool> seen(model.size());
  for (int64_t i = 0; i < segment.rows(); ++i) {
    const int64_t row = segment.RowInKeyOrder(i);
    ASSERT_FALSE(seen[row]);
    seen[row] = true;
    if (i == 0) continue;
    const int64_t before = segment.RowInKeyOrder(i - 1);
    if (string_keys) {
      ASSERT_LE(KeyText(model[before].key), KeyText(model[row].key));
    } else {
      ASSERT_LE(model[before].key, model[row].key);
    }
  }
}

ModelRows Kept(const ModelRows& model, Timestamp deletes_until, Timestamp expired_before) {
  ModelRows out;
  for (const ModelRow& row : model) {
    const bool gone = row.deleted != 0 && row.deleted <= deletes_until;
    if (!gone && row.inserted >= expired_before) out.push_back(row);
  }
  return out;
}

class SegmentHistoryTest : public testing::TestWithParam<std::tuple<bool, int>> {};

TEST_P(SegmentHistoryTest, GrowingSealedAndCompactedSegmentsAgreeWithTheModel) {
  const auto [string_keys, seed] = GetParam();
  constexpr int64_t kKeySpace = 150;
  const SchemaPtr schema = ModelSchema(string_keys, false, seed % 2 == 0);
  RandomHistory first(seed, schema, 1);
  for (int i = 0; i < 60; ++i) first.Step(kKeySpace);
  ExpectSameCells(*first.segment, first.model);
  ExpectSameVisibility(*first.segment, first.model, first.random, first.ts);
  ExpectSameKeys(*first.segment, first.model, kKeySpace, string_keys);

  MemoryObjects store;
  const Timestamp until = 100 + first.random() % (first.ts - 100);
  SegmentWriteRequest request = RequestFor(&store, schema, {first.segment});
  request.deletes_until = until;
  const auto files = WriteSegment(request);
  ASSERT_TRUE(files.ok()) << files.status().ToString();
  const ModelRows kept = Kept(first.model, until, 0);
  auto sealed = OpenSegment(&store, MetaOf(*files));
  ASSERT_TRUE(sealed.ok()) << sealed.status().ToString();
  for (int repeat = 0; repeat < 2; ++repeat) {
    for (const DeleteBatch& batch : first.deletes) (*sealed)->Delete(batch);
    ExpectSameVisibility(**sealed, kept, first.random, first.ts);
  }
  ExpectSameCells(**sealed, kept);
  ExpectSameKeys(**sealed, kept, kKeySpace, string_keys);
  ExpectKeyOrder(**sealed, kept, string_keys);
  EXPECT_EQ((*sealed)->id(), SegmentId(77));

  // Compaction: the sealed one with its deletes, and another growing one, with some rows too old.
  RandomHistory second(seed + 1000, schema, 2);
  for (int i = 0; i < 20; ++i) second.Step(kKeySpace);
  SegmentWriteRequest compaction = RequestFor(&store, schema, {*sealed, second.segment});
  compaction.prefix = "segments/1/78/4";
  compaction.deletes_until = 130;
  compaction.expired_before = 110;
  const auto compacted_files = WriteSegment(compaction);
  ASSERT_TRUE(compacted_files.ok()) << compacted_files.status().ToString();
  ModelRows all = Kept(kept, 130, 110);
  const ModelRows more = Kept(second.model, 130, 110);
  all.insert(all.end(), more.begin(), more.end());
  auto compacted = OpenSegment(&store, MetaOf(*compacted_files));
  ASSERT_TRUE(compacted.ok()) << compacted.status().ToString();
  ExpectSameCells(**compacted, all);
  ExpectSameKeys(**compacted, all, kKeySpace, string_keys);
  ExpectKeyOrder(**compacted, all, string_keys);
}

INSTANTIATE_TEST_SUITE_P(Histories, SegmentHistoryTest, testing::Combine(testing::Bool(), testing::Range(1, 9)));

TEST(GrowingSegmentTest, AFewRowsCostLittleMemory) {
  RandomHistory history(1, ModelSchema(false));
  history.Insert(3, 1000, false);
  EXPECT_LT(history.segment->memory_bytes(), 16 << 10);
  EXPECT_GT(history.segment->size_bytes(), 0);
  EXPECT_EQ(history.segment->min_ts(), history.ts);
  EXPECT_EQ(history.segment->max_ts(), history.ts);
}

TEST(GrowingSegmentTest, VectorsOfAChunkAreContiguousAndChunksGrow) {
  RandomHistory history(1, ModelSchema(false));
  for (int i = 0; i < 300; ++i) history.Insert(100, 1 << 30, false);
  const int64_t rows = history.segment->rows();
  ASSERT_GT(rows, 25000);
  int chunks = 0;
  for (int64_t row = 0; row < rows; ++chunks) {
    const auto chunk = history.segment->ChunkAt(kVectorField, row);
    ASSERT_TRUE(chunk.has_value());
    ASSERT_EQ(chunk->first_row, row);
    row += chunk->column.rows;
  }
  EXPECT_LT(chunks, 16);
  ExpectSameCells(*history.segment, history.model);
}

TEST(GrowingSegmentTest, AKeyWrittenOverAndOverStaysQuick) {
  const SchemaPtr schema = ModelSchema(false);
  RandomHistory history(1, schema);
  const ModelRow row = history.NewRow(42);
  auto segment = NewGrowingSegment(SegmentId(1), PartitionId(5), schema);
  const RowBatch batch = BatchOf(*schema, std::span(&row, 1));
  constexpr Timestamp kTimes = 30000;  // quadratic work would take minutes
  for (Timestamp ts = 1; ts <= kTimes; ++ts) {
    segment->Delete({ts, PartitionId(), KeysOf({42}, false)});
    segment->Append(batch, ts);
  }
  EXPECT_EQ(segment->deleted_rows(), static_cast<int64_t>(kTimes) - 1);
  for (const Timestamp t : {Timestamp{1}, kTimes / 2, kTimes}) {
    Bitmap rows(segment->rows(), true);
    EXPECT_TRUE(segment->ClearInvisible(t, 0, rows));
    EXPECT_EQ(rows.Count(), 1);
    EXPECT_TRUE(rows.Test(static_cast<int64_t>(t) - 1));
  }
}

TEST(GrowingSegmentTest, NothingDeletedAndAllOldEnoughIsFree) {
  RandomHistory history(1, ModelSchema(false));
  history.Insert(50, 1000, false);
  EXPECT_TRUE(history.segment->AllVisible(history.ts, 0));
  EXPECT_FALSE(history.segment->AllVisible(history.ts - 1, 0));
  EXPECT_FALSE(history.segment->AllVisible(history.ts, history.ts + 1));
  Bitmap rows(history.segment->rows(), true);
  EXPECT_FALSE(history.segment->ClearInvisible(history.ts, 0, rows));
  EXPECT_TRUE(rows.All());
}

TEST(GrowingSegmentTest, ReadersSeeWholeBatchesWhileOneWrites) {
  const SchemaPtr schema = ModelSchema(true);
  RandomHistory history(7, schema);
  constexpr int kBatch = 10;
  ModelRows rows;
  for (int i = 0; i < kBatch; ++i) rows.push_back(history.NewRow(i));
  auto segment = NewGrowingSegment(SegmentId(1), PartitionId(5), schema);
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::thread reader([&] {
    while (!done) {
      const int64_t n = segment->rows();
      if (n % kBatch != 0) ++wrong;
      if (n == 0) continue;
      for (const int64_t row : {int64_t{0}, n / 2, n - 1}) {
        const auto chunk = segment->ChunkAt(kTextField, row);
        if (!chunk || chunk->column.Bytes(row - chunk->first_row) != rows[row % kBatch].text) ++wrong;
      }
      std::vector<std::pair<int64_t, int64_t>> found;
      segment->FindKeys(KeysOf({3}, true), found);
      if (static_cast<int64_t>(found.size()) < n / kBatch) ++wrong;
      Bitmap visible(n, true);
      segment->ClearInvisible(segment->RowTimestamp(n - 1), 0, visible);
      if (visible.Count() < kBatch) ++wrong;
    }
  });
  for (Timestamp ts = 1; ts <= 1500; ++ts) {
    for (ModelRow& row : rows) row.inserted = ts;
    if (ts % 3 == 0) segment->Delete({ts, PartitionId(), KeysOf({1, 2, 3}, true)});
    segment->Append(BatchOf(*schema, rows), ts);
  }
  done = true;
  reader.join();
  EXPECT_EQ(wrong, 0);
}

TEST(DeleteLogTest, EarlierDeleteOfTheSameRowWins) {
  DeleteLog log;
  log.Add(50, 7);
  log.Add(60, 7);
  log.Add(40, 7);
  log.Add(45, 8);
  EXPECT_EQ(log.count(), 2);
  EXPECT_FALSE(log.IsDeleted(7, 39));
  EXPECT_TRUE(log.IsDeleted(7, 40));
  EXPECT_FALSE(log.IsDeleted(8, 44));
  EXPECT_TRUE(log.NothingUntil(39));
  EXPECT_FALSE(log.NothingUntil(40));
}

TEST(KeyFilterTest, FindsAllItHasAndErrsRarely) {
  std::vector<uint64_t> hashes;
  for (int64_t key = 0; key < 20000; ++key) hashes.push_back(KeyHash(key));
  const std::string bytes = KeyFilter::Build(hashes);
  const KeyFilter filter(bytes);
  for (const uint64_t hash : hashes) ASSERT_TRUE(filter.MayHave(hash));
  int errors = 0;
  for (int64_t key = 20000; key < 40000; ++key) errors += filter.MayHave(KeyHash(key)) ? 1 : 0;
  EXPECT_LT(errors, 400);
  EXPECT_TRUE(KeyFilter().MayHave(1));
}

TEST(SealedSegmentTest, LargeVectorsGetTheirOwnObjectAndAllObjectsAreListed) {
  const SchemaPtr schema = ModelSchema(false);
  RandomHistory history(3, schema);
  for (int i = 0; i < 400; ++i) history.Insert(100, 1 << 30, false);
  MemoryObjects store;
  const auto files = WriteSegment(RequestFor(&store, schema, {history.segment}));
  ASSERT_TRUE(files.ok());
  EXPECT_EQ(store.objects.size(), 3u);
  int64_t bytes = 0;
  for (const auto& [name, object] : store.objects) bytes += static_cast<int64_t>(object.size());
  EXPECT_EQ(files->size_bytes, bytes);
  SegmentMeta meta = MetaOf(*files);
  meta.indexes.push_back({IndexId(1), "segments/1/77/index"});
  const auto objects = ObjectsOf(&store, meta);
  ASSERT_TRUE(objects.ok());
  EXPECT_EQ(objects->size(), 4u);
  for (const auto& [name, object] : store.objects) {
    EXPECT_NE(std::find(objects->begin(), objects->end(), name), objects->end()) << name;
  }
  EXPECT_TRUE(VerifySegment(&store, meta).ok());
  const auto segment = OpenSegment(&store, meta);
  ASSERT_TRUE(segment.ok());
  ExpectSameCells(**segment, history.model);
  const auto vectors = VectorsOf(**segment, kVectorField);
  ASSERT_TRUE(vectors.ok());
  EXPECT_EQ(vectors->rows, files->rows);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(vectors->data) % 8, 0u);
  EXPECT_FALSE(VectorsOf(**segment, kTextField).ok());

  store.objects["segments/1/77/3/vectors"][(1 << 20) + 5] ^= 1;
  const Status damage = VerifySegment(&store, meta);
  EXPECT_EQ(damage.code(), ErrorCode::kCorrupted);
  EXPECT_NE(damage.message().find("segments/1/77/3/vectors"), std::string::npos);
  EXPECT_NE(damage.message().find("1048576"), std::string::npos) << damage.message();
}

TEST(SealedSegmentTest, BoundsAreThoseOfTheRows) {
  const SchemaPtr schema = ModelSchema(false);
  RandomHistory history(3, schema);
  history.Insert(100, 1000, false);
  MemoryObjects store;
  const auto files = WriteSegment(RequestFor(&store, schema, {history.segment}));
  const auto segment = OpenSegment(&store, MetaOf(*files));
  ASSERT_TRUE(segment.ok());
  const auto bounds = (*segment)->BoundsOf(kKeyField);
  ASSERT_TRUE(bounds.has_value());
  const auto [low, high] = std::minmax_element(history.model.begin(), history.model.end(),
                                               [](const ModelRow& a, const ModelRow& b) { return a.key < b.key; });
  EXPECT_EQ(bounds->min, Value(low->key));
  EXPECT_EQ(bounds->max, Value(high->key));
  EXPECT_FALSE((*segment)->BoundsOf(kVectorField).has_value());
}

TEST(SealedSegmentTest, EmptyAndFieldsAddedLater) {
  MemoryObjects store;
  const SchemaPtr old_schema = ModelSchema(true);
  const auto empty = WriteSegment(RequestFor(&store, old_schema, {}));
  ASSERT_TRUE(empty.ok()) << empty.status().ToString();
  EXPECT_EQ(empty->rows, 0);
  const auto opened = OpenSegment(&store, MetaOf(*empty));
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  EXPECT_EQ((*opened)->rows(), 0);

  RandomHistory history(3, old_schema);
  history.Insert(40, 1000, false);
  EXPECT_FALSE(history.segment->ChunkAt(kLaterField, 0).has_value());
  SegmentWriteRequest request = RequestFor(&store, ModelSchema(true, true), {history.segment});
  request.prefix = "segments/1/79/1";
  const auto files = WriteSegment(request);
  ASSERT_TRUE(files.ok());
  const auto segment = OpenSegment(&store, MetaOf(*files));
  ASSERT_TRUE(segment.ok()) << segment.status().ToString();
  ExpectSameCells(**segment, history.model);
  const auto chunk = (*segment)->ChunkAt(kLaterField, 0);
  ASSERT_TRUE(chunk.has_value());
  for (int64_t row = 0; row < (*segment)->rows(); ++row) EXPECT_EQ(chunk->column.IntAt(row), 7);
}

// Whatever byte is damaged: opening or checking says so and names the object, and nothing is ever read wrong.
TEST(SealedSegmentTest, DamageAnywhereIsReportedByName) {
  const SchemaPtr schema = ModelSchema(true);
  RandomHistory history(11, schema);
  for (int i = 0; i < 5; ++i) history.Step(60);
  MemoryObjects store;
  const auto files = WriteSegment(RequestFor(&store, schema, {history.segment}));
  ASSERT_TRUE(files.ok());
  const std::vector<FieldId> fields = {kKeyField, kVectorField, kNumberField, kTextField};
  int unnoticed = 0;
  for (auto& [name, bytes] : store.objects) {
    const std::string whole = bytes;
    for (size_t at = 0; at < whole.size(); at += 1 + history.random() % 7) {
      bytes[at] = static_cast<char>(whole[at] ^ (1 << (history.random() % 8)));
      const auto segment = OpenSegment(&store, MetaOf(*files));
      Status status = segment.ok() ? (*segment)->Check(fields) : segment.status();
      if (status.ok()) {
        // Only the zeroes between columns may change unnoticed.
        EXPECT_EQ(whole[at], 0);
        ++unnoticed;
        ExpectSameCells(**segment, history.model);
      } else if (status.code() != ErrorCode::kUnimplemented) {
        EXPECT_EQ(status.code(), ErrorCode::kCorrupted) << status.ToString();
        EXPECT_NE(status.message().find(name), std::string::npos) << status.ToString();
      }
      bytes[at] = whole[at];
    }
    for (size_t length = 0; length < whole.size(); length += 1 + length / 3) {
      bytes = whole.substr(0, length);
      const auto segment = OpenSegment(&store, MetaOf(*files));
      EXPECT_EQ(segment.status().code(), ErrorCode::kCorrupted);
      bytes = whole;
    }
  }
  EXPECT_LT(unnoticed, 300);
  store.objects.erase("segments/1/77/3/columns");
  EXPECT_EQ(OpenSegment(&store, MetaOf(*files)).status().code(), ErrorCode::kIoKeyNotFound);
}

TEST(SealedSegmentTest, AManifestOfAnotherVersionIsRefused) {
  MemoryObjects store;
  const SchemaPtr schema = ModelSchema(false);
  RandomHistory history(11, schema);
  history.Insert(5, 100, false);
  const auto files = WriteSegment(RequestFor(&store, schema, {history.segment}));
  store.objects[files->manifest][4] = 9;
  const Status status = OpenSegment(&store, MetaOf(*files)).status();
  EXPECT_EQ(status.code(), ErrorCode::kUnimplemented);
  EXPECT_NE(status.message().find("version 9"), std::string::npos);
}

TEST(SealedSegmentTest, ADamagedSourceIsNotCompacted) {
  MemoryObjects store;
  const SchemaPtr schema = ModelSchema(false);
  RandomHistory history(11, schema);
  history.Insert(50, 1000, false);
  const auto files = WriteSegment(RequestFor(&store, schema, {history.segment}));
  // The text column is checked only when it is read.
  std::string& columns = store.objects["segments/1/77/3/columns"];
  size_t at = columns.find(history.model[0].text + history.model[1].text + history.model[2].text);
  ASSERT_NE(at, std::string::npos);
  columns[at] ^= 1;
  const auto segment = OpenSegment(&store, MetaOf(*files));
  ASSERT_TRUE(segment.ok()) << segment.status().ToString();
  SegmentWriteRequest request = RequestFor(&store, schema, {*segment});
  request.prefix = "segments/1/78/1";
  EXPECT_EQ(WriteSegment(request).status().code(), ErrorCode::kCorrupted);
  EXPECT_FALSE((*segment)->ChunkAt(kTextField, 0).has_value());
  EXPECT_TRUE((*segment)->ChunkAt(kVectorField, 0).has_value());
}

TEST(DeleteFileTest, RoundTripAndDamage) {
  MemoryObjects store;
  RandomHistory history(5, ModelSchema(true));
  for (int i = 0; i < 20; ++i) history.Delete(10, 1000, PartitionId(i % 2));
  const auto files = WriteDeletes(&store, "segments/1/80/2", SegmentId(80), history.deletes);
  ASSERT_TRUE(files.ok());
  EXPECT_EQ(files->rows, 200);
  EXPECT_EQ(files->min_ts, history.deletes.front().ts);
  EXPECT_EQ(files->max_ts, history.deletes.back().ts);
  SegmentMeta meta = MetaOf(*files, SegmentId(80));
  meta.kind = SegmentKind::kDeletes;
  const auto read = ReadDeletes(&store, meta);
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  ASSERT_EQ(read->size(), history.deletes.size());
  for (size_t i = 0; i < read->size(); ++i) {
    EXPECT_EQ((*read)[i].ts, history.deletes[i].ts);
    EXPECT_EQ((*read)[i].partition, history.deletes[i].partition);
    EXPECT_EQ((*read)[i].keys.strings, history.deletes[i].keys.strings);
  }
  EXPECT_EQ(ObjectsOf(&store, meta)->size(), 1u);
  EXPECT_TRUE(VerifySegment(&store, meta).ok());
  std::string& bytes = store.objects[files->manifest];
  const std::string whole = bytes;
  for (size_t at = 0; at < whole.size(); at += 3) {
    bytes[at] ^= 4;
    EXPECT_FALSE(ReadDeletes(&store, meta).ok());
    bytes = whole.substr(0, at);
    EXPECT_FALSE(ReadDeletes(&store, meta).ok());
    bytes = whole;
  }
}

}  // namespace
}  // namespace saker
