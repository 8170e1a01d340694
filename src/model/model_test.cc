#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/bytes.h"
#include "model/column.h"
#include "model/schema.h"

namespace saker {
namespace {

TEST(Types, NamesAreMilvus) {
  EXPECT_EQ(Name(DataType::kInt64), "Int64");
  EXPECT_EQ(Name(DataType::kJson), "JSON");
  EXPECT_EQ(Name(DataType::kBFloat16Vector), "BFloat16Vector");
  EXPECT_EQ(Name(Metric::kCosine), "COSINE");
  EXPECT_EQ(ParseMetric("l2"), Metric::kL2);
  EXPECT_EQ(ParseMetric("Ip"), Metric::kIp);
  EXPECT_EQ(ParseMetric("ipp"), std::nullopt);
  EXPECT_EQ(ParseMetric(""), std::nullopt);
}

TEST(Types, WidthsAndKinds) {
  EXPECT_EQ(FixedWidth(DataType::kFloatVector, 768), 3072);
  EXPECT_EQ(FixedWidth(DataType::kBinaryVector, 128), 16);
  EXPECT_EQ(FixedWidth(DataType::kFloat16Vector, 8), 16);
  EXPECT_EQ(FixedWidth(DataType::kBool, 0), 1);
  EXPECT_FALSE(IsFixedWidth(DataType::kSparseFloatVector));
  EXPECT_FALSE(IsFixedWidth(DataType::kArray));
  EXPECT_TRUE(IsVector(DataType::kSparseFloatVector));
  EXPECT_TRUE(IsNumeric(DataType::kInt8));
  EXPECT_FALSE(IsNumeric(DataType::kBool));
}

TEST(Types, ScoresAreNegatedDistancesOnlyWhereLargerIsNearer) {
  EXPECT_EQ(ScoreOf(Metric::kIp, -2.5f), 2.5f);
  EXPECT_EQ(ScoreOf(Metric::kL2, 2.5f), 2.5f);
  EXPECT_EQ(DistanceOf(Metric::kCosine, 0.5f), -0.5f);
}

TEST(Types, KeyValuesKeepTheirOrder) {
  KeyValues pairs = {{"b", "1"}, {"a", "2"}};
  Assign(pairs, "b", "3");
  Assign(pairs, "c", "4");
  EXPECT_EQ(pairs, (KeyValues{{"b", "3"}, {"a", "2"}, {"c", "4"}}));
  EXPECT_EQ(*Find(pairs, "a"), "2");
  EXPECT_EQ(Find(pairs, "z"), nullptr);
  EXPECT_TRUE(Erase(pairs, "a"));
  EXPECT_FALSE(Erase(pairs, "a"));
  EXPECT_EQ(pairs.size(), 2u);
}

// Values computed with an independent murmur3_32 and with zlib's crc32.
TEST(HashKey, IsMilvus) {
  EXPECT_EQ(HashKey(int64_t{0}), 1669671676u);
  EXPECT_EQ(HashKey(int64_t{1}), 1392991556u);
  EXPECT_EQ(HashKey(int64_t{-1}), 1651860712u);
  EXPECT_EQ(HashKey(int64_t{42}), 1871679806u);
  EXPECT_EQ(HashKey(INT64_MAX), 40977599u);
  EXPECT_EQ(HashKey(INT64_MIN), 1366273829u);
  EXPECT_EQ(HashKey(int64_t{449000000000000001}), 532454732u);
  EXPECT_EQ(HashKey(""), 0u);
  EXPECT_EQ(HashKey("abc"), 891568578u);
  EXPECT_EQ(HashKey(std::string(100, 'a')), 2943384164u);
  EXPECT_EQ(HashKey(std::string(101, 'a') + "z"), 2943384164u);
}

TEST(Column, FixedWidthRowsAndNulls) {
  Column column(DataType::kInt16, 0);
  column.Append<int16_t>(-7);
  EXPECT_FALSE(column.has_nulls());
  column.AppendNull();
  column.Append<int16_t>(300);
  column.AppendValue(int64_t{12});
  column.AppendValue(std::monostate{});
  const ColumnView view = column.View();
  ASSERT_EQ(view.rows, 5);
  EXPECT_EQ(view.IntAt(0), -7);
  EXPECT_FALSE(view.IsNull(0));
  EXPECT_TRUE(view.IsNull(1));
  EXPECT_EQ(view.NumberAt(2), 300.0);
  EXPECT_EQ(view.ValueAt(3), Value(int64_t{12}));
  EXPECT_EQ(view.ValueAt(4), Value(std::monostate{}));
}

TEST(Column, EveryScalarTypeTakesAValueAndGivesItBack) {
  for (const DataType type : {DataType::kInt8, DataType::kInt16, DataType::kInt32, DataType::kInt64}) {
    Column column(type, 0);
    column.AppendValue(int64_t{-5});
    EXPECT_EQ(column.View().ValueAt(0), Value(int64_t{-5})) << Name(type);
    EXPECT_EQ(column.View().IntAt(0), -5);
  }
  for (const DataType type : {DataType::kFloat, DataType::kDouble}) {
    Column column(type, 0);
    column.AppendValue(2.5);
    column.AppendValue(int64_t{3});
    EXPECT_EQ(column.View().ValueAt(0), Value(2.5));
    EXPECT_EQ(column.View().NumberAt(1), 3.0);
  }
  Column flag(DataType::kBool, 0);
  flag.AppendValue(true);
  EXPECT_EQ(flag.View().ValueAt(0), Value(true));
  Column text(DataType::kVarChar, 0);
  text.AppendValue(std::string("x"));
  EXPECT_EQ(text.View().ValueAt(0), Value(std::string("x")));
  Column vector(DataType::kFloatVector, 2);
  const float row[2] = {1, 2};
  vector.AppendFixed(row);
  EXPECT_EQ(std::get<std::string>(vector.View().ValueAt(0)).size(), 8u);
}

TEST(Column, AppendAllAndAppendFromJoinNullsBothWays) {
  Column plain(DataType::kVarChar, 0);
  plain.AppendBytes("a");
  plain.AppendBytes("");
  Column nulls(DataType::kVarChar, 0);
  nulls.AppendNull();
  nulls.AppendBytes("long enough a string");
  Column joined(DataType::kVarChar, 0);
  joined.AppendAll(plain.View());
  joined.AppendAll(nulls.View());
  joined.AppendAll(plain.View());
  joined.AppendFrom(nulls.View(), 0);
  joined.AppendFrom(nulls.View(), 1);
  const ColumnView view = joined.View();
  ASSERT_EQ(view.rows, 8);
  EXPECT_EQ(view.Bytes(0), "a");
  EXPECT_EQ(view.Bytes(3), "long enough a string");
  EXPECT_EQ(view.Bytes(4), "a");
  EXPECT_EQ(view.Bytes(7), "long enough a string");
  for (int64_t i = 0; i < 8; ++i) EXPECT_EQ(view.IsNull(i), i == 2 || i == 6) << i;
}

TEST(Column, AppendAllTakesAViewIntoTheMiddleOfBytes) {
  Column source(DataType::kJson, 0);
  for (const char* row : {"{}", "[1]", "null"}) source.AppendBytes(row);
  ColumnView tail = source.View();
  tail.offsets += 1;
  tail.rows = 2;
  Column out(DataType::kJson, 0);
  out.AppendAll(tail);
  EXPECT_EQ(out.View().Bytes(0), "[1]");
  EXPECT_EQ(out.View().Bytes(1), "null");
}

RowBatch SampleBatch() {
  RowBatch batch;
  batch.rows = 3;
  FieldSchema vector_field;
  vector_field.id = FieldId(101);
  vector_field.name = "v";
  vector_field.type = DataType::kFloatVector;
  vector_field.dim = 4;
  Column vectors(vector_field);
  const std::vector<float> data = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  vectors.AppendFixed(data.data(), 3);
  Column texts(DataType::kVarChar, 0);
  texts.field = FieldId(102);
  texts.AppendBytes("one");
  texts.AppendNull();
  texts.AppendBytes("");
  batch.columns.push_back(std::move(vectors));
  batch.columns.push_back(std::move(texts));
  return batch;
}

TEST(RowBatch, EncodesAndDecodes) {
  const RowBatch batch = SampleBatch();
  std::string bytes = "before";
  batch.EncodeTo(bytes);
  bytes += "after";
  size_t position = 6;
  const auto decoded = RowBatch::Decode(bytes, position);
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(position, bytes.size() - 5);
  ASSERT_EQ(decoded->columns.size(), 2u);
  const Column* texts = decoded->Find(FieldId(102));
  ASSERT_NE(texts, nullptr);
  EXPECT_EQ(texts->View().Bytes(0), "one");
  EXPECT_TRUE(texts->View().IsNull(1));
  EXPECT_FALSE(texts->View().IsNull(2));
  const Column* vectors = decoded->Find(FieldId(101));
  EXPECT_EQ(vectors->name, "v");
  EXPECT_EQ(vectors->dim(), 4);
  float row[4];
  std::memcpy(row, vectors->View().Row(2), sizeof(row));
  EXPECT_EQ(row[3], 12);
  EXPECT_EQ(decoded->Find(FieldId(9)), nullptr);
}

// Every truncation is refused, and no flipped byte makes the decoder crash or take memory out of proportion.
TEST(RowBatch, DecodesArbitraryBytesSafely) {
  std::string bytes;
  SampleBatch().EncodeTo(bytes);
  for (size_t n = 0; n < bytes.size(); ++n) {
    size_t position = 0;
    EXPECT_FALSE(RowBatch::Decode(std::string_view(bytes).substr(0, n), position).ok()) << n;
    EXPECT_EQ(position, 0u);
  }
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::string damaged = bytes;
    for (int flips = 1 + static_cast<int>(random() % 3); flips > 0; --flips) damaged[random() % damaged.size()] = static_cast<char>(random());
    size_t position = 0;
    const auto decoded = RowBatch::Decode(damaged, position);
    if (!decoded.ok()) continue;
    EXPECT_LE(decoded->size_bytes(), static_cast<int64_t>(16 * damaged.size()));
    for (const Column& column : decoded->columns) {
      for (int64_t row = 0; row < column.rows(); ++row) column.View().ValueAt(row);
    }
  }
}

TEST(PrimaryKeys, EncodeAndDecode) {
  Column ints(DataType::kInt64, 0);
  ints.Append<int64_t>(5);
  ints.Append<int64_t>(-6);
  Column texts(DataType::kVarChar, 0);
  texts.AppendBytes("k1");
  for (const Column* column : {&ints, &texts}) {
    const PrimaryKeys keys = PrimaryKeys::FromColumn(column->View());
    std::string bytes;
    keys.EncodeTo(bytes);
    size_t position = 0;
    const auto decoded = PrimaryKeys::Decode(bytes, position);
    ASSERT_TRUE(decoded.ok());
    EXPECT_EQ(position, bytes.size());
    EXPECT_EQ(decoded->ints, keys.ints);
    EXPECT_EQ(decoded->strings, keys.strings);
    EXPECT_EQ(decoded->size(), column->rows());
    for (size_t n = 0; n < bytes.size(); ++n) {
      size_t at = 0;
      EXPECT_FALSE(PrimaryKeys::Decode(std::string_view(bytes).substr(0, n), at).ok());
    }
  }
}

TEST(Array, EncodesElementsInTheirWidth) {
  const std::vector<Value> numbers = {int64_t{1}, int64_t{-2}, int64_t{3}};
  const std::string packed = EncodeArray(DataType::kInt16, numbers);
  EXPECT_EQ(packed.size(), 4u + 3 * 2);
  EXPECT_EQ(ArrayLength(packed), 3);
  EXPECT_EQ(DecodeArray(DataType::kInt16, packed), numbers);
  const std::vector<Value> texts = {std::string("a"), std::string("")};
  EXPECT_EQ(DecodeArray(DataType::kVarChar, EncodeArray(DataType::kVarChar, texts)), texts);
  const std::vector<Value> flags = {true, false};
  EXPECT_EQ(DecodeArray(DataType::kBool, EncodeArray(DataType::kBool, flags)), flags);
  EXPECT_TRUE(DecodeArray(DataType::kInt64, packed).empty());
  EXPECT_TRUE(DecodeArray(DataType::kInt64, "").empty());
  EXPECT_EQ(ArrayLength("x"), 0);
}

CollectionPtr SampleCollection() {
  auto schema = std::make_shared<CollectionSchema>();
  schema->name = "books";
  schema->enable_dynamic_field = true;
  FieldSchema key;
  key.id = FieldId(100);
  key.name = "id";
  key.type = DataType::kInt64;
  key.is_primary = true;
  FieldSchema vector;
  vector.id = FieldId(101);
  vector.name = "v";
  vector.type = DataType::kFloatVector;
  vector.dim = 8;
  vector.type_params = {{"dim", "8"}};
  FieldSchema price;
  price.id = FieldId(102);
  price.name = "price";
  price.type = DataType::kDouble;
  price.nullable = true;
  price.is_partition_key = true;
  price.default_value = Value(1.5);
  FieldSchema meta;
  meta.id = FieldId(103);
  meta.name = kDynamicFieldName;
  meta.type = DataType::kJson;
  meta.is_dynamic = true;
  schema->fields = {key, vector, price, meta};
  schema->properties = {{"ttl", "7"}};
  auto collection = std::make_shared<Collection>();
  collection->id = CollectionId(4711);
  collection->database = DatabaseId(1);
  collection->name = "books";
  collection->schema = schema;
  collection->version = 9;
  collection->created = MakeTimestamp(1000);
  collection->consistency = ConsistencyLevel::kSession;
  collection->shards = {3, 5};
  collection->partitions = {{PartitionId(7), "_default", 1}, {PartitionId(8), "p", 2}};
  collection->aliases = {"b", "c"};
  IndexMeta dropped;
  dropped.id = IndexId(1);
  dropped.field = FieldId(101);
  dropped.name = "v_idx";
  dropped.dropped = true;
  IndexMeta index = dropped;
  index.id = IndexId(2);
  index.dropped = false;
  index.metric = Metric::kIp;
  index.params = {{"index_type", "HNSW"}, {"M", "16"}};
  collection->indexes = {dropped, index};
  collection->load.loaded = true;
  collection->load.partitions = {PartitionId(8)};
  collection->load.resource_groups = {"rg"};
  return collection;
}

TEST(Schema, FindsFields) {
  const CollectionPtr c = SampleCollection();
  EXPECT_EQ(c->schema->PrimaryKey().name, "id");
  EXPECT_EQ(c->schema->PartitionKey()->name, "price");
  EXPECT_EQ(c->schema->DynamicField()->name, "$meta");
  EXPECT_EQ(c->schema->VectorFields().size(), 1u);
  EXPECT_EQ(c->schema->Find("v")->id, FieldId(101));
  EXPECT_EQ(c->schema->Find("w"), nullptr);
}

TEST(Collection, KnowsItsParts) {
  const CollectionPtr c = SampleCollection();
  EXPECT_EQ(c->VirtualChannel(0), "by-dev-rootcoord-dml_3_4711v0");
  EXPECT_EQ(c->VirtualChannel(1), "by-dev-rootcoord-dml_5_4711v1");
  EXPECT_EQ(Collection::PhysicalChannel(3), "by-dev-rootcoord-dml_3");
  EXPECT_EQ(c->FindIndex("v_idx")->id, IndexId(2));
  EXPECT_EQ(c->IndexOn(FieldId(101))->id, IndexId(2));
  EXPECT_EQ(c->IndexOn(FieldId(102)), nullptr);
  EXPECT_FALSE(c->IsLoaded(PartitionId(7)));
  EXPECT_TRUE(c->IsLoaded(PartitionId(8)));
  Collection whole = *c;
  whole.load.whole = true;
  EXPECT_TRUE(whole.IsLoaded(PartitionId(7)));
  whole.load.loaded = false;
  EXPECT_FALSE(whole.IsLoaded(PartitionId(7)));
}

TEST(Codec, CollectionSurvives) {
  const CollectionPtr c = SampleCollection();
  const std::string bytes = Encode(*c);
  const auto decoded = DecodeCollection(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(Encode(*decoded), bytes);
  EXPECT_EQ(decoded->schema->fields[2].default_value, Value(1.5));
  EXPECT_EQ(decoded->schema->fields[1].type_params, (KeyValues{{"dim", "8"}}));
  EXPECT_EQ(decoded->shards, (std::vector<ChannelId>{3, 5}));
  EXPECT_EQ(decoded->load.partitions, std::set<PartitionId>{PartitionId(8)});
  EXPECT_EQ(decoded->indexes[1].params, c->indexes[1].params);
  EXPECT_EQ(decoded->consistency, ConsistencyLevel::kSession);
}

TEST(Codec, OthersSurvive) {
  SegmentMeta segment;
  segment.id = SegmentId(5);
  segment.channel = 2;
  segment.kind = SegmentKind::kDeletes;
  segment.state = SegmentState::kDropped;
  segment.log_end = 77;
  segment.manifest = "m";
  segment.indexes = {{IndexId(3), "o", 10, 20}};
  segment.compacted_from = {SegmentId(1), SegmentId(2)};
  const auto back = DecodeSegment(Encode(segment));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(Encode(*back), Encode(segment));
  EXPECT_EQ(back->FindIndex(IndexId(3))->rows, 20);
  EXPECT_EQ(back->FindIndex(IndexId(4)), nullptr);
  EXPECT_EQ(back->log_end, 77);
  const Database database{DatabaseId(1), "d", {{"a", "b"}}, 5};
  EXPECT_EQ(DecodeDatabase(Encode(database))->properties, database.properties);
  EXPECT_EQ(DecodeUser(Encode(User{"u", "hash", {"r1", "r2"}}))->roles.size(), 2u);
  EXPECT_EQ(DecodeRole(Encode(Role{"r", {{"r", "Collection", "*", "*", "Search", "root"}}}))->grants[0].privilege, "Search");
}

TEST(Codec, SchemaStandsAloneInALongerFile) {
  std::string bytes = "xx";
  EncodeSchema(*SampleCollection()->schema, bytes);
  const size_t end = bytes.size();
  bytes += "tail";
  size_t position = 2;
  const auto schema = DecodeSchema(bytes, position);
  ASSERT_TRUE(schema.ok()) << schema.status().ToString();
  EXPECT_EQ(position, end);
  EXPECT_EQ(schema->fields.size(), 4u);
}

// The formats of docs/format/catalog.md: if one of these fails, data of earlier builds can't be read any more. Raise the
// version instead.
TEST(Codec, FormatsStayAsTheyAre) {
  const auto pin = [](const std::string& bytes) { return std::make_pair(bytes.size(), Crc32c(bytes)); };
  const auto golden = [](size_t size, uint32_t crc) { return std::make_pair(size, crc); };
  EXPECT_EQ(pin(Encode(*SampleCollection())), golden(589, 218244297));
  SegmentMeta segment;
  segment.id = SegmentId(5);
  segment.manifest = "m";
  segment.indexes = {{IndexId(3), "o", 10, 20}};
  segment.compacted_from = {SegmentId(1)};
  EXPECT_EQ(pin(Encode(segment)), golden(159, 2710242334));
  EXPECT_EQ(pin(Encode(Database{DatabaseId(1), "d", {{"a", "b"}}, 5})), golden(36, 2584873300));
  EXPECT_EQ(pin(Encode(User{"u", "hash", {"r1", "r2"}})), golden(30, 3300865432));
  EXPECT_EQ(pin(Encode(Role{"r", {{"r", "Collection", "*", "*", "Search", "root"}}})), golden(57, 3343056041));
  std::string bytes;
  SampleBatch().EncodeTo(bytes);
  EXPECT_EQ(pin(bytes), golden(147, 868692277));
  EXPECT_EQ(EncodeArray(DataType::kInt16, std::vector<Value>{int64_t{1}, int64_t{-2}}), std::string("\2\0\0\0\1\0\xfe\xff", 8));
}

TEST(Codec, ALaterVersionIsRefusedByNumber) {
  std::string bytes = Encode(User{"u", "h", {}});
  bytes[0] = 9;
  const auto user = DecodeUser(bytes);
  ASSERT_FALSE(user.ok());
  EXPECT_NE(user.status().message().find("version 9"), std::string::npos) << user.status().message();
}

TEST(Codec, ArbitraryBytesAreRefusedSafely) {
  const std::string bytes = Encode(*SampleCollection());
  for (size_t n = 0; n < bytes.size(); ++n) EXPECT_FALSE(DecodeCollection(std::string_view(bytes).substr(0, n)).ok());
  EXPECT_FALSE(DecodeCollection(bytes + "x").ok());
  std::mt19937 random(2);
  for (int round = 0; round < 20000; ++round) {
    std::string damaged = bytes;
    for (int flips = 1 + static_cast<int>(random() % 3); flips > 0; --flips) damaged[random() % damaged.size()] = static_cast<char>(random());
    const auto decoded = DecodeCollection(damaged);
    if (decoded.ok()) decoded->schema->PrimaryKey();
  }
}

}  // namespace
}  // namespace saker
