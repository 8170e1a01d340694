// Names, schemas, rows, codecs, routing and ranking: all that needs no other role.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "proxy/column_codec.h"
#include "proxy/json.h"
#include "proxy/placeholder.h"
#include "proxy/rank.h"
#include "proxy/read.h"
#include "proxy/result_codec.h"
#include "proxy/route_rows.h"
#include "proxy/validate.h"

namespace saker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const ProxyLimits kLimits;

FieldSchema Field(const std::string& name, DataType type, KeyValues params = {}) {
  FieldSchema field;
  field.name = name;
  field.type = type;
  field.type_params = std::move(params);
  return field;
}

CollectionDraft Draft() {
  CollectionDraft draft;
  draft.schema.name = "c";
  draft.schema.fields.push_back(Field("id", DataType::kInt64));
  draft.schema.fields.back().is_primary = true;
  draft.schema.fields.push_back(Field("v", DataType::kFloatVector, {{"dim", "4"}}));
  return draft;
}

// Every type that can be stored, with ids given as the rootcoord would.
CollectionSchema WideSchema() {
  CollectionDraft draft = Draft();
  auto& fields = draft.schema.fields;
  fields.push_back(Field("b", DataType::kBool));
  fields.push_back(Field("i8", DataType::kInt8));
  fields.push_back(Field("i16", DataType::kInt16));
  fields.push_back(Field("i32", DataType::kInt32));
  fields.push_back(Field("i64", DataType::kInt64));
  fields.push_back(Field("f", DataType::kFloat));
  fields.push_back(Field("d", DataType::kDouble));
  fields.push_back(Field("t", DataType::kVarChar, {{"max_length", "8"}}));
  fields.push_back(Field("j", DataType::kJson));
  fields.push_back(Field("a", DataType::kArray, {{"max_capacity", "4"}, {"max_length", "3"}}));
  fields.back().element_type = DataType::kVarChar;
  fields.push_back(Field("ai", DataType::kArray, {{"max_capacity", "4"}}));
  fields.back().element_type = DataType::kInt16;
  fields.push_back(Field("bin", DataType::kBinaryVector, {{"dim", "16"}}));
  draft.schema.enable_dynamic_field = true;
  const Status status = CheckNewCollection(draft, kLimits);
  EXPECT_TRUE(status.ok()) << status.message();
  int64_t id = kFirstUserField;
  for (FieldSchema& field : draft.schema.fields) field.id = FieldId(id++);
  return draft.schema;
}

// ---- names

TEST(Names, CollectionNamesAreMilvuss) {
  EXPECT_TRUE(CheckCollectionName("_a1", kLimits).ok());
  EXPECT_TRUE(CheckCollectionName(std::string(255, 'a'), kLimits).ok());
  EXPECT_EQ(CheckCollectionName("", kLimits).message(), "collection name should not be empty: invalid parameter");
  EXPECT_EQ(CheckCollectionName("  ", kLimits).message(), "collection name should not be empty: invalid parameter");
  EXPECT_EQ(CheckCollectionName("1-bad", kLimits).message(),
            "Invalid collection name: 1-bad. the first character of a collection name must be an underscore or letter: invalid parameter");
  EXPECT_EQ(CheckCollectionName("a-b", kLimits).message(),
            "Invalid collection name: a-b. collection name can only contain numbers, letters and underscores: invalid parameter");
  EXPECT_EQ(CheckCollectionName(std::string(256, 'a'), kLimits).code(), ErrorCode::kParameterInvalid);
  EXPECT_THAT(CheckAlias("1", kLimits).message(), HasSubstr("Invalid collection alias: 1."));
}

TEST(Names, OthersToo) {
  EXPECT_EQ(CheckDatabaseName("", kLimits).code(), ErrorCode::kDatabaseInvalidName);
  EXPECT_EQ(CheckDatabaseName("a b", kLimits).message(),
            "database name can only contain numbers, letters and underscores: invalid database name[database=a b]");
  EXPECT_TRUE(CheckPartitionName("1a", true, kLimits).ok());
  EXPECT_EQ(CheckPartitionName("", true, kLimits).message(), "Invalid partition name: . Partition name should not be empty.");
  EXPECT_EQ(CheckPartitionName("a-b", true, kLimits).message(),
            "Invalid partition name: a-b. Partition name can only contain numbers, letters and underscores.");
  EXPECT_TRUE(CheckPartitionName("a-b", false, kLimits).ok());
  EXPECT_EQ(CheckFieldName("1x", kLimits).code(), ErrorCode::kFieldInvalidName);
  EXPECT_TRUE(CheckIndexName("", kLimits).ok());
  EXPECT_THAT(CheckIndexName("1x", kLimits).message(), HasSubstr("Invalid index name: 1x."));
  EXPECT_THAT(CheckUserName("1x", kLimits).message(), HasSubstr("the first character must be a letter"));
  EXPECT_FALSE(CheckPassword("12345", kLimits).ok());
  EXPECT_TRUE(CheckPassword("123456", kLimits).ok());
  EXPECT_FALSE(CheckPassword(std::string("123456\0", 7), kLimits).ok());
  EXPECT_EQ(CheckPassword("1", kLimits).message(), "invalid password length: invalid parameter[1 out of range 6 <= value <= 256]");
  EXPECT_TRUE(CheckEntityName("r$1", "role name", kLimits).ok());
  EXPECT_FALSE(CheckEntityName("1r", "role name", kLimits).ok());
}

// A character of two bytes is shown as Go shows its first: the answer stays UTF-8, or clients could not read it.
TEST(Names, MessagesShowNoHalfCharacters) {
  EXPECT_THAT(CheckUserName("\u00e9mile", kLimits).message(), testing::EndsWith("must be a letter, but got \u00c3: invalid parameter"));
  EXPECT_THAT(CheckUserName("a\u00e9", kLimits).message(), testing::EndsWith("underscores, but got \u00c3: invalid parameter"));
  EXPECT_THAT(CheckEntityName("a\u00e9", "role name", kLimits).message(), HasSubstr("found \u00c3 at 1"));
}

// ---- schemas

std::string Refusal(CollectionDraft draft) { return CheckNewCollection(draft, kLimits).message(); }

TEST(Schemas, AreRefusedWithMilvussReasons) {
  EXPECT_EQ(Refusal(Draft()), "");
  CollectionDraft d = Draft();
  d.shards = 17;
  EXPECT_EQ(Refusal(d), "maximum shards's number should be limited to 16");
  d = Draft();
  d.schema.fields[0].is_primary = false;
  EXPECT_EQ(Refusal(d), "primary key is not specified");
  d = Draft();
  d.schema.fields.push_back(d.schema.fields[0]);
  EXPECT_EQ(Refusal(d), "duplicated field name");
  d = Draft();
  d.schema.fields[0].type = DataType::kFloat;
  EXPECT_EQ(Refusal(d), "the data type of primary key should be Int64 or VarChar");
  d = Draft();
  d.schema.fields[1].type_params.clear();
  EXPECT_EQ(Refusal(d), "dimension is not defined in field type params, check type param `dim` for vector field");
  d = Draft();
  d.schema.fields[1].type_params = {{"dim", "32769"}};
  EXPECT_EQ(Refusal(d), "invalid dimension: 32769. should be in range 1 ~ 32768");
  d = Draft();
  d.schema.fields[1].type_params = {{"dim", "x"}};
  EXPECT_EQ(Refusal(d), "strconv.ParseInt: parsing \"x\": invalid syntax");
  d = Draft();
  d.schema.fields.push_back(Field("Timestamp", DataType::kInt64));
  EXPECT_EQ(Refusal(d), "schema contains system field: RowID, Timestamp, $meta: invalid parameter"
                        "[expected=schema don't contains system field][actual=contains]");
  d = Draft();
  d.schema.fields[1].type = DataType::kBinaryVector;
  EXPECT_EQ(Refusal(d), "invalid dimension: 4. should be multiple of 8. ");
  d = Draft();
  d.schema.fields.push_back(Field("t", DataType::kVarChar));
  EXPECT_EQ(Refusal(d), "type param(max_length) should be specified for varChar field of collection c");
  d.schema.fields[2].type_params = {{"max_length", "65536"}};
  EXPECT_EQ(Refusal(d), "the maximum length specified for a VarChar should be in (0, 65535]: invalid parameter");
  d = Draft();
  d.schema.fields.push_back(Field("s", DataType::kString));
  EXPECT_EQ(Refusal(d), "string data type not supported yet, please use VarChar type instead");
  d = Draft();
  d.schema.fields.push_back(Field("n", DataType::kNone));
  EXPECT_EQ(Refusal(d), "data type None is not valid");
  d = Draft();
  d.schema.fields.push_back(Field("u", static_cast<DataType>(99)));
  EXPECT_THAT(Refusal(d), HasSubstr("not supported by this version"));
  d = Draft();
  d.partitions = 4;
  EXPECT_EQ(Refusal(d), "num_partitions should only be specified with partition key field enabled");
  d = Draft();
  d.schema.fields[1].auto_id = true;
  EXPECT_EQ(Refusal(d), "only primary field can speficy AutoID with true, field name = v");
  d = Draft();
  for (int i = 0; i < 63; ++i) d.schema.fields.push_back(Field("f" + std::to_string(i), DataType::kBool));
  EXPECT_EQ(Refusal(d), "maximum field's number should be limited to 64");
  d = Draft();
  for (int i = 0; i < 4; ++i) d.schema.fields.push_back(Field("v" + std::to_string(i), DataType::kFloatVector, {{"dim", "4"}}));
  EXPECT_EQ(Refusal(d), "maximum vector field's number should be limited to 4");
}

TEST(Schemas, PartitionKeyAndDynamicField) {
  CollectionDraft d = Draft();
  d.schema.fields.push_back(Field("k", DataType::kInt64));
  d.schema.fields.back().is_partition_key = true;
  d.schema.enable_dynamic_field = true;
  ASSERT_TRUE(CheckNewCollection(d, kLimits).ok());
  EXPECT_EQ(d.partitions, 64);
  d = Draft();
  d.schema.fields.push_back(Field("k", DataType::kInt64));
  d.schema.fields.back().is_partition_key = true;
  d.partitions = 4097;
  EXPECT_EQ(Refusal(d), "partition number (4097) exceeds max configuration (4096), collection: c");
  d.partitions = 0;
  d.schema.enable_dynamic_field = true;
  ASSERT_TRUE(CheckNewCollection(d, kLimits).ok());
  ASSERT_NE(d.schema.DynamicField(), nullptr);
  EXPECT_EQ(d.schema.DynamicField()->name, "$meta");
}

TEST(Schemas, AddedFields) {
  const CollectionSchema schema = WideSchema();
  const auto refusal = [&](FieldSchema field) {
    field.nullable = true;
    return CheckAddedField(field, schema, kLimits).message();
  };
  EXPECT_EQ(refusal(Field("new", DataType::kInt64)), "");
  EXPECT_EQ(refusal(Field("i8", DataType::kInt64)), "duplicate field name: i8: invalid parameter");
  EXPECT_THAT(refusal(Field("new", static_cast<DataType>(77))), HasSubstr("is not supported by this version"));
  EXPECT_THAT(refusal(Field("new", DataType::kGeometry)), HasSubstr("is not supported by this version"));
  EXPECT_THAT(refusal(Field("new", DataType::kArray, {{"max_capacity", "4"}})), HasSubstr("element data type None is not valid"));
  EXPECT_THAT(refusal(Field("new", DataType::kFloatVector, {{"dim", "4"}})), HasSubstr("vector type not support null"));
  EXPECT_THAT(refusal(Field("$meta", DataType::kJson)), HasSubstr("duplicate field name"));
  FieldSchema strict = Field("new", DataType::kInt64);
  EXPECT_THAT(CheckAddedField(strict, schema, kLimits).message(), HasSubstr("added field must be nullable"));
}

TEST(Schemas, ChangedFields) {
  const CollectionSchema schema = WideSchema();
  const auto refusal = [&](const char* field, const char* key, const char* value) {
    return CheckFieldChange(*schema.Find(field), {{key, value}}, {}, kLimits).message();
  };
  EXPECT_EQ(refusal("t", "max_length", "100"), "");
  EXPECT_EQ(refusal("a", "max_capacity", "100"), "");
  EXPECT_EQ(refusal("v", "mmap.enabled", "true"), "");
  EXPECT_THAT(refusal("t", "max_length", "abc"), HasSubstr("invalid syntax"));
  EXPECT_THAT(refusal("t", "max_length", "65536"), HasSubstr("should be in (0, 65535]"));
  EXPECT_THAT(refusal("a", "max_capacity", "0"), HasSubstr("should be in (0, 4096]"));
  EXPECT_THAT(refusal("i8", "max_length", "10"), HasSubstr("can not modify the maxlength for non-string types"));
  EXPECT_THAT(refusal("t", "max_capacity", "10"), HasSubstr("can not modify the maxcapacity for non-array types"));
  EXPECT_THAT(refusal("v", "mmap.enabled", "2"), HasSubstr("expected: true, false"));
  EXPECT_EQ(refusal("v", "dim", "8"), "dim does not allow update in collection field param: invalid parameter");
  EXPECT_EQ(CheckFieldChange(*schema.Find("t"), {}, {"max_length"}, kLimits).message(),
            "max_length is not allowed to drop in collection field param: invalid parameter");
  EXPECT_TRUE(CheckFieldChange(*schema.Find("t"), {}, {"mmap.enabled"}, kLimits).ok());
}

TEST(Schemas, DefaultsMustFit) {
  const auto with = [](DataType type, Value value, KeyValues params = {}) {
    CollectionDraft d = Draft();
    d.schema.fields.push_back(Field("x", type, std::move(params)));
    d.schema.fields.back().default_value = std::move(value);
    return Refusal(d);
  };
  EXPECT_EQ(with(DataType::kInt8, int64_t{5}), "");
  EXPECT_THAT(with(DataType::kInt8, int64_t{500}), HasSubstr("out of range: [-128, 127]"));
  EXPECT_EQ(with(DataType::kInt64, INT64_MIN), "");
  EXPECT_THAT(with(DataType::kInt64, 1.5), HasSubstr("is not equal to the type of its default value"));
  EXPECT_EQ(with(DataType::kVarChar, std::string("abc"), {{"max_length", "3"}}), "");
  EXPECT_THAT(with(DataType::kVarChar, std::string("abcd"), {{"max_length", "3"}}), HasSubstr("exceeds max length (3)"));
  EXPECT_THAT(with(DataType::kJson, std::string("{}")), HasSubstr("does not support a default value"));
  // a value of a kind that only newer protocols know: what ended the real server
  EXPECT_THAT(with(DataType::kBool, std::monostate{}), HasSubstr("has a type that is not known here"));
}

TEST(Schemas, UnknownDefaultOfANewerProtocolIsRefusedNotFatal) {
  wire::schema::FieldSchema field;
  field.set_name("ts");
  field.set_data_type(wire::schema::Int64);
  field.mutable_default_value()->set_timestamptz_data(8);
  const FieldSchema converted = ToField(field);
  ASSERT_TRUE(converted.default_value.has_value());
  EXPECT_TRUE(std::holds_alternative<std::monostate>(*converted.default_value));
}

TEST(Schemas, ProtobufRoundTrip) {
  const CollectionSchema schema = WideSchema();
  wire::schema::CollectionSchema out;
  FromSchema(schema, &out);
  EXPECT_EQ(out.fields_size(), static_cast<int>(schema.fields.size()) - 1);  // $meta is hidden
  const auto back = ToSchema(out);
  ASSERT_TRUE(back.ok());
  for (size_t i = 0; i < back->fields.size(); ++i) {
    EXPECT_EQ(back->fields[i].name, schema.fields[i].name);
    EXPECT_EQ(back->fields[i].type, schema.fields[i].type);
    EXPECT_EQ(back->fields[i].element_type, schema.fields[i].element_type);
    EXPECT_EQ(back->fields[i].type_params, schema.fields[i].type_params);
    EXPECT_EQ(back->fields[i].is_primary, schema.fields[i].is_primary);
  }
}

// ---- rows

struct Wire {
  std::vector<wire::schema::FieldData> fields;
  int64_t rows = 2;
  std::string partition;

  wire::schema::FieldData& Add(const std::string& name) {
    fields.emplace_back().set_field_name(name);
    return fields.back();
  }
  RowsCall Call(const CollectionSchema& schema) const {
    RowsCall call;
    call.collection = schema.name;
    call.partition = partition;
    call.rows = rows;
    for (const auto& field : fields) call.columns.push_back(DecodeColumn(field, schema, rows));
    return call;
  }
};

Result<RowBatch> Assemble(const CollectionSchema& schema, const Wire& wire, bool upsert = false) {
  RowsCall call = wire.Call(schema);
  return AssembleRows(schema, call, upsert, kLimits, [](int64_t) -> Result<int64_t> { return int64_t{1000}; });
}

// id Int64, t VarChar(8), v FloatVector(4): the collection of the recorded errors.
CollectionSchema ErrorsSchema() {
  CollectionDraft draft = Draft();
  draft.schema.name = "errs";
  draft.schema.fields.insert(draft.schema.fields.begin() + 1, Field("t", DataType::kVarChar, {{"max_length", "8"}}));
  EXPECT_TRUE(CheckNewCollection(draft, kLimits).ok());
  int64_t id = kFirstUserField;
  for (FieldSchema& field : draft.schema.fields) field.id = FieldId(id++);
  return draft.schema;
}

Wire GoodRows() {
  Wire wire;
  auto* ids = wire.Add("id").mutable_scalars()->mutable_long_data();
  ids->add_data(7);
  ids->add_data(8);
  auto* texts = wire.Add("t").mutable_scalars()->mutable_string_data();
  texts->add_data("one");
  texts->add_data("two");
  auto* vectors = wire.Add("v").mutable_vectors();
  vectors->set_dim(4);
  for (int i = 0; i < 8; ++i) vectors->mutable_float_vector()->add_data(static_cast<float>(i));
  return wire;
}

TEST(Rows, GoodOnesAreTaken) {
  const auto batch = Assemble(ErrorsSchema(), GoodRows());
  ASSERT_TRUE(batch.ok()) << batch.status().message();
  EXPECT_EQ(batch->rows, 2);
  ASSERT_EQ(batch->columns.size(), 3u);
  EXPECT_EQ(batch->columns[1].View().Bytes(1), "two");
  EXPECT_EQ(batch->columns[2].rows(), 2);
}

// The reasons a real 2.3.5 gave for the same requests.
TEST(Rows, RecordedErrors) {
  const CollectionSchema schema = ErrorsSchema();
  Wire wire = GoodRows();
  wire.fields[2].mutable_vectors()->mutable_float_vector()->mutable_data()->Truncate(6);
  EXPECT_EQ(Assemble(schema, wire).status().message(), "the length(6) of float data should divide the dim(4)");
  EXPECT_EQ(Assemble(schema, wire).status().code(), ErrorCode::kUnexpected);

  wire = GoodRows();
  wire.fields.erase(wire.fields.begin() + 1);
  EXPECT_EQ(Assemble(schema, wire).status().message(),
            "varchar field 't' is illegal, array type mismatch: invalid parameter[expected=need string array][actual=got nil]");

  wire = GoodRows();
  wire.Add("zz").mutable_scalars()->mutable_long_data()->add_data(1);
  EXPECT_EQ(Assemble(schema, wire).status().message(), "the number of fields is less than needed: invalid parameter[expected=3][actual=4]");

  wire = GoodRows();
  wire.rows = 3;
  EXPECT_EQ(Assemble(schema, wire).status().message(),
            "the num_rows (2) of field (id) is not equal to passed num_rows (3): invalid parameter[expected=3][actual=3]");

  wire = GoodRows();
  wire.fields[1].mutable_scalars()->mutable_string_data()->set_data(0, "ninechars");
  EXPECT_EQ(Assemble(schema, wire).status().message(),
            "the length (9) of 0th string exceeds max length (8): invalid parameter[expected=valid length string][actual=string length "
            "exceeds max length]");

  wire = GoodRows();
  wire.rows = 0;
  EXPECT_EQ(Assemble(schema, wire).status().message(),
            "num_rows should be greater than 0: invalid parameter[expected=invalid num_rows][actual=0]");
}

TEST(Rows, OtherFaults) {
  const CollectionSchema schema = ErrorsSchema();
  Wire wire = GoodRows();
  wire.fields[2].mutable_vectors()->mutable_float_vector()->set_data(3, std::numeric_limits<float>::quiet_NaN());
  EXPECT_THAT(Assemble(schema, wire).status().message(), HasSubstr("is not a number or infinity"));
  wire = GoodRows();
  wire.fields[2].mutable_vectors()->mutable_float_vector()->set_data(7, -std::numeric_limits<float>::infinity());
  EXPECT_THAT(Assemble(schema, wire).status().message(), HasSubstr("row 1"));
  wire = GoodRows();
  wire.fields[0].mutable_scalars()->mutable_string_data()->add_data("x");
  EXPECT_THAT(Assemble(schema, wire).status().message(), HasSubstr("[expected=need int64 array][actual=got string array]"));
  wire = GoodRows();
  wire.fields.push_back(wire.fields[0]);
  EXPECT_EQ(Assemble(schema, wire).status().message(), "duplicated field id found: invalid parameter");
  wire = GoodRows();
  wire.Add("").set_is_dynamic(true);
  EXPECT_EQ(Assemble(schema, wire).status().message(), "without dynamic schema enabled, the field name cannot be set to $meta");
}

TEST(Rows, AutoIdsAreFilledAndMustNotBeGiven) {
  CollectionSchema schema = ErrorsSchema();
  schema.fields[0].auto_id = true;
  Wire wire = GoodRows();
  EXPECT_FALSE(Assemble(schema, wire).ok());
  EXPECT_THAT(Assemble(schema, wire, true).status().message(), HasSubstr("upsert can not assign primary field data when auto id enabled id"));
  wire.fields.erase(wire.fields.begin());
  const auto batch = Assemble(schema, wire);
  ASSERT_TRUE(batch.ok()) << batch.status().message();
  EXPECT_EQ(batch->columns[0].View().At<int64_t>(1), 1001);
}

TEST(Rows, PartitionMayNotBeNamedWithAPartitionKey) {
  CollectionSchema schema = ErrorsSchema();
  schema.fields[1].is_partition_key = true;
  Wire wire = GoodRows();
  wire.partition = "p";
  EXPECT_EQ(Assemble(schema, wire).status().message(),
            "not support manually specifying the partition names if partition key mode is used");
}

TEST(Rows, NullsAndDefaults) {
  CollectionSchema schema = ErrorsSchema();
  Wire wire = GoodRows();
  wire.fields[1].add_valid_data(true);
  wire.fields[1].add_valid_data(false);
  EXPECT_THAT(Assemble(schema, wire).status().message(), HasSubstr("neither nullable nor has a default"));

  schema.fields[1].nullable = true;
  auto batch = Assemble(schema, wire);
  ASSERT_TRUE(batch.ok()) << batch.status().message();
  EXPECT_FALSE(batch->columns[1].View().IsNull(0));
  EXPECT_TRUE(batch->columns[1].View().IsNull(1));

  // only the valid values sent
  wire.fields[1].mutable_scalars()->mutable_string_data()->mutable_data()->RemoveLast();
  batch = Assemble(schema, wire);
  ASSERT_TRUE(batch.ok()) << batch.status().message();
  EXPECT_EQ(batch->columns[1].View().Bytes(0), "one");
  EXPECT_TRUE(batch->columns[1].View().IsNull(1));

  schema.fields[1].default_value = Value(std::string("dflt"));
  batch = Assemble(schema, wire);
  ASSERT_TRUE(batch.ok());
  EXPECT_EQ(batch->columns[1].View().Bytes(1), "dflt");

  wire.fields.erase(wire.fields.begin() + 1);
  batch = Assemble(schema, wire);
  ASSERT_TRUE(batch.ok());
  EXPECT_EQ(batch->columns[1].View().Bytes(0), "dflt");

  wire = GoodRows();
  wire.fields[1].add_valid_data(true);  // of one row only
  EXPECT_FALSE(Assemble(schema, wire).ok());
}

// Rows of every type, random; decoded, assembled, encoded: the same again.
TEST(Columns, EveryTypeRoundTrips) {
  const CollectionSchema schema = WideSchema();
  constexpr int kRows = 50;
  std::mt19937 random(7);
  Wire wire;
  wire.rows = kRows;
  auto& id = wire.Add("id");
  auto& v = wire.Add("v");
  auto& b = wire.Add("b");
  auto& i8 = wire.Add("i8");
  wire.fields.reserve(32);
  for (const char* name : {"i16", "i32", "i64", "f", "d", "t", "j", "a", "ai", "bin", "$meta"}) wire.Add(name);
  (void)id, (void)v, (void)b, (void)i8;
  const auto at = [&](const std::string& name) -> wire::schema::FieldData& {
    for (auto& field : wire.fields) {
      if (field.field_name() == name) return field;
    }
    std::abort();
  };
  at("$meta").set_is_dynamic(true);
  std::string bin;
  for (int i = 0; i < kRows; ++i) {
    at("id").mutable_scalars()->mutable_long_data()->add_data(i * 1'000'000'007LL);
    for (int k = 0; k < 4; ++k) at("v").mutable_vectors()->mutable_float_vector()->add_data(static_cast<float>(random() % 1000) / 7);
    at("b").mutable_scalars()->mutable_bool_data()->add_data(random() % 2 == 0);
    at("i8").mutable_scalars()->mutable_int_data()->add_data(static_cast<int>(random() % 256) - 128);
    at("i16").mutable_scalars()->mutable_int_data()->add_data(static_cast<int>(random() % 65536) - 32768);
    at("i32").mutable_scalars()->mutable_int_data()->add_data(static_cast<int>(random()));
    at("i64").mutable_scalars()->mutable_long_data()->add_data(static_cast<int64_t>(random()) << 31);
    at("f").mutable_scalars()->mutable_float_data()->add_data(static_cast<float>(i) / 3);
    at("d").mutable_scalars()->mutable_double_data()->add_data(i / 3.0);
    at("t").mutable_scalars()->mutable_string_data()->add_data(std::string(random() % 9, 'x'));
    at("j").mutable_scalars()->mutable_json_data()->add_data("{\"n\":" + std::to_string(i) + "}");
    auto* texts = at("a").mutable_scalars()->mutable_array_data()->add_data()->mutable_string_data();
    for (unsigned k = random() % 5; k > 0; --k) texts->add_data("ab");
    auto* numbers = at("ai").mutable_scalars()->mutable_array_data()->add_data()->mutable_int_data();
    for (unsigned k = random() % 5; k > 0; --k) numbers->add_data(static_cast<int>(random() % 1000) - 500);
    bin += static_cast<char>(random());
    bin += static_cast<char>(random());
    at("$meta").mutable_scalars()->mutable_json_data()->add_data("{\"k\": \"v\"}");
  }
  at("bin").mutable_vectors()->set_binary_vector(bin);
  const auto batch = Assemble(schema, wire);
  ASSERT_TRUE(batch.ok()) << batch.status().message();
  for (const Column& column : batch->columns) {
    wire::schema::FieldData out;
    EncodeColumn(column, &out);
    const wire::schema::FieldData& in = at(column.name);
    EXPECT_EQ(out.field_name(), column.name);
    EXPECT_EQ(out.field_id(), column.field.value);
    if (in.has_vectors()) {
      EXPECT_EQ(out.vectors().float_vector().SerializeAsString(), in.vectors().float_vector().SerializeAsString()) << column.name;
      EXPECT_EQ(out.vectors().binary_vector(), in.vectors().binary_vector()) << column.name;
    } else if (column.type() == DataType::kArray) {
      ASSERT_EQ(out.scalars().array_data().data_size(), kRows);
      for (int i = 0; i < kRows; ++i) {
        EXPECT_EQ(out.scalars().array_data().data(i).SerializeAsString(), in.scalars().array_data().data(i).SerializeAsString());
      }
    } else {
      EXPECT_EQ(out.scalars().SerializeAsString(), in.scalars().SerializeAsString()) << column.name;
    }
  }
}

TEST(Columns, LimitsOfArraysJsonAndIntegers) {
  const CollectionSchema schema = WideSchema();
  const auto fault = [&](const std::string& name, const std::function<void(wire::schema::FieldData&)>& fill) {
    wire::schema::FieldData data;
    data.set_field_name(name);
    fill(data);
    InputColumn column = DecodeColumn(data, schema, 1);
    if (!column.error.ok()) return column.error.message();
    CollectionSchema one;
    one.fields = {*schema.Find("id"), *schema.Find(name)};
    RowsCall call;
    call.rows = 1;
    InputColumn key;
    key.name = "id";
    key.column.emplace(*schema.Find("id"));
    key.column->Append<int64_t>(1);
    call.columns.push_back(std::move(key));
    call.columns.push_back(std::move(column));
    if (name == "$meta") one.enable_dynamic_field = true;
    return AssembleRows(one, call, false, kLimits, {}).status().message();
  };
  const auto array = [](wire::schema::FieldData& d) { return d.mutable_scalars()->mutable_array_data()->add_data(); };
  EXPECT_EQ(fault("i8", [](auto& d) { d.mutable_scalars()->mutable_int_data()->add_data(128); }),
            "the 0th element (128) out of range: [-128, 127]: invalid parameter[expected=integer doesn't overflow][actual=out of range]");
  EXPECT_EQ(fault("i16", [](auto& d) { d.mutable_scalars()->mutable_int_data()->add_data(-32768); }), "");
  EXPECT_THAT(fault("ai", [&](auto& d) { array(d)->mutable_int_data()->add_data(40000); }), HasSubstr("out of range: [-32768, 32767]"));
  EXPECT_THAT(fault("ai", [&](auto& d) { array(d)->mutable_long_data()->add_data(4); }), HasSubstr("insert data does not match"));
  EXPECT_THAT(fault("ai",
                    [&](auto& d) {
                      auto* list = array(d)->mutable_int_data();
                      for (int i = 0; i < 5; ++i) list->add_data(i);
                    }),
              HasSubstr("the length (5) of 0th array exceeds max capacity (4)"));
  EXPECT_THAT(fault("a", [&](auto& d) { array(d)->mutable_string_data()->add_data("abcd"); }), HasSubstr("exceeds max length (3)"));
  EXPECT_EQ(fault("a", [&](auto& d) { array(d); }), "");
  const auto json = [](std::string text) {
    return [text = std::move(text)](wire::schema::FieldData& d) { d.mutable_scalars()->mutable_json_data()->add_data(text); };
  };
  EXPECT_EQ(fault("j", json("[1, {\"a\": null}]")), "");
  EXPECT_THAT(fault("j", json("{")), HasSubstr("has no valid JSON"));
  EXPECT_THAT(fault("j", json("")), HasSubstr("has no valid JSON"));
  EXPECT_THAT(fault("j", json("\"" + std::string(65536, 'x') + "\"")), HasSubstr("exceeds max length (65536)"));
  EXPECT_THAT(fault("$meta", json("[1]")), HasSubstr("must be a JSON object"));
  EXPECT_THAT(fault("$meta", json("{\"$meta\": 1}")), HasSubstr("cannot set json key to: $meta"));
  EXPECT_EQ(fault("$meta", json("{\"a\": 1}")), "");
  EXPECT_EQ(fault("bin", [](auto& d) { d.mutable_vectors()->set_binary_vector("abc"); }),
            "the length(24) of all binary data should divide the dim(16)");
}

// ---- placeholders

std::string Placeholders(int type, const std::vector<std::string>& values, int placeholders = 1) {
  wire::common::PlaceholderGroup group;
  for (int i = 0; i < placeholders; ++i) {
    auto* placeholder = group.add_placeholders();
    placeholder->set_tag("$0");
    placeholder->set_type(static_cast<wire::common::PlaceholderType>(type));
    for (const std::string& value : values) placeholder->add_values(value);
  }
  return group.SerializeAsString();
}

TEST(Placeholder, DecodesAndRefuses) {
  const auto good = DecodePlaceholders(Placeholders(101, {"aaaabbbb", "ccccdddd"}));
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(good->type, DataType::kFloatVector);
  EXPECT_EQ(good->nq, 2);
  EXPECT_EQ(good->row_bytes, 8);
  EXPECT_EQ(good->bytes, "aaaabbbbccccdddd");
  EXPECT_FALSE(DecodePlaceholders("").ok());
  EXPECT_FALSE(DecodePlaceholders("garbage").ok());
  EXPECT_FALSE(DecodePlaceholders(Placeholders(101, {})).ok());
  EXPECT_FALSE(DecodePlaceholders(Placeholders(101, {"aaaa"}, 2)).ok());
  EXPECT_FALSE(DecodePlaceholders(Placeholders(21, {"some text"})).ok());
  EXPECT_FALSE(DecodePlaceholders(Placeholders(7777, {"aaaa"})).ok());
  EXPECT_THAT(DecodePlaceholders(Placeholders(101, {"aaaa", "aaaaaaaa"})).status().message(), HasSubstr("query vector 1 has 8 bytes"));
  EXPECT_EQ(*CountPlaceholders(Placeholders(101, {"aaaa", "b"}, 3)), 6);
}

TEST(Placeholder, RandomBytesDoNoHarm) {
  const auto previous = google::protobuf::SetLogHandler(nullptr);  // it has a line for each bad byte
  std::mt19937 random(3);
  const std::string seed = Placeholders(101, {std::string(16, 'a'), std::string(16, 'b')});
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = seed;
    for (int k = 0; k < 3; ++k) bytes[random() % bytes.size()] = static_cast<char>(random());
    bytes.resize(random() % (bytes.size() + 1));
    const auto queries = DecodePlaceholders(bytes);
    if (queries.ok() && queries->row_bytes > 0) {
      EXPECT_EQ(queries->bytes.size(), static_cast<size_t>(queries->nq * queries->row_bytes));
    }
  }
  google::protobuf::SetLogHandler(previous);
}

// ---- routing

Collection TwoShards(bool partition_key) {
  Collection collection;
  collection.id = CollectionId(1);
  CollectionSchema schema = ErrorsSchema();
  schema.fields[1].is_partition_key = partition_key;
  collection.schema = std::make_shared<CollectionSchema>(schema);
  collection.shards = {3, 5};
  if (partition_key) {
    for (const int i : {2, 0, 1, 10}) collection.partitions.push_back({PartitionId(100 + i), "_default_" + std::to_string(i), 0});
  } else {
    collection.partitions.push_back({PartitionId(9), "_default", 0});
  }
  return collection;
}

RowBatch ManyRows(const CollectionSchema& schema, int rows) {
  Wire wire;
  wire.rows = rows;
  wire.Add("id");
  wire.Add("t");
  wire.Add("v");
  for (int i = 0; i < rows; ++i) {
    wire.fields[0].mutable_scalars()->mutable_long_data()->add_data(i);
    wire.fields[1].mutable_scalars()->mutable_string_data()->add_data("k" + std::to_string(i % 7));
    for (int k = 0; k < 4; ++k) wire.fields[2].mutable_vectors()->mutable_float_vector()->add_data(static_cast<float>(i));
  }
  auto batch = Assemble(schema, wire);
  EXPECT_TRUE(batch.ok()) << batch.status().message();
  return std::move(*batch);
}

TEST(Routing, EveryRowGoesToItsShardOnce) {
  const Collection collection = TwoShards(false);
  const auto writes = RouteInserts(collection, PartitionId(9), ManyRows(*collection.schema, 100), nullptr);
  ASSERT_EQ(writes.size(), 2u);
  std::set<int64_t> seen;
  for (const ShardWrite& write : writes) {
    EXPECT_EQ(write.channel, collection.shards[static_cast<size_t>(write.shard)]);
    ASSERT_EQ(write.inserts.size(), 1u);
    const RowBatch& part = write.inserts[0].second;
    const ColumnView keys = part.columns[0].View();
    for (int64_t i = 0; i < keys.rows; ++i) {
      const int64_t key = keys.At<int64_t>(i);
      EXPECT_EQ(HashKey(key) % 2, static_cast<uint32_t>(write.shard));
      EXPECT_TRUE(seen.insert(key).second);
      float first;
      std::memcpy(&first, part.columns[2].View().Row(i), sizeof(first));
      EXPECT_EQ(first, static_cast<float>(key));  // the other columns came along
    }
  }
  EXPECT_EQ(seen.size(), 100u);
}

TEST(Routing, PartitionKeyDecidesByHashInTheOrderOfNumbers) {
  const Collection collection = TwoShards(true);
  EXPECT_THAT(PartitionsByKey(collection), ElementsAre(PartitionId(100), PartitionId(101), PartitionId(102), PartitionId(110)));
  const auto writes = RouteInserts(collection, PartitionId(), ManyRows(*collection.schema, 100), nullptr);
  int64_t rows = 0;
  for (const ShardWrite& write : writes) {
    for (const auto& [partition, part] : write.inserts) {
      rows += part.rows;
      for (int64_t i = 0; i < part.rows; ++i) {
        EXPECT_EQ(PartitionOfKey(PartitionsByKey(collection), std::string(part.columns[1].View().Bytes(i))), partition);
      }
    }
  }
  EXPECT_EQ(rows, 100);
}

TEST(Routing, DeletesFollowTheSameHash) {
  const Collection collection = TwoShards(false);
  PrimaryKeys keys;
  for (int64_t i = 0; i < 50; ++i) keys.ints.push_back(i);
  std::vector<ShardWrite> writes;
  RouteDeletes(collection, PartitionId(9), keys, writes);
  int64_t count = 0;
  for (const ShardWrite& write : writes) {
    EXPECT_EQ(write.delete_partition, PartitionId(9));
    for (const int64_t key : write.deletes.ints) EXPECT_EQ(HashKey(key) % 2, static_cast<uint32_t>(write.shard));
    count += write.deletes.size();
  }
  EXPECT_EQ(count, 50);
}

TEST(Routing, LastRowOfAKeyWins) {
  Column keys(DataType::kInt64, 0);
  for (const int64_t key : {5, 6, 5, 7, 6, 6}) keys.Append<int64_t>(key);
  EXPECT_THAT(LastRows(keys.View()), ElementsAre(2, 3, 5));
  Column texts(DataType::kVarChar, 0);
  for (const char* key : {"a", "b", "a"}) texts.AppendBytes(key);
  EXPECT_THAT(LastRows(texts.View()), ElementsAre(1, 2));
}

// ---- ranking

SearchHits Hits(const std::vector<std::pair<int64_t, float>>& rows) {
  SearchHits hits;
  hits.offsets = {0, static_cast<int64_t>(rows.size())};
  for (const auto& [key, distance] : rows) {
    hits.keys.ints.push_back(key);
    hits.hits.push_back({distance, SegmentId(1), key});
  }
  return hits;
}

TEST(Ranking, ReciprocalRanks) {
  RankWish wish;
  wish.limit = 3;
  const auto ranked = Rank(wish, {Metric::kL2, Metric::kCosine}, {Hits({{1, 0.1f}, {2, 0.2f}}), Hits({{2, -0.9f}, {3, -0.8f}, {4, -0.1f}})}, 1);
  ASSERT_EQ(ranked.hits.size(), 3u);
  EXPECT_THAT(ranked.keys.ints, ElementsAre(2, 1, 3));
  EXPECT_FLOAT_EQ(ranked.hits[0].score, 1.0f / 62 + 1.0f / 61);
  EXPECT_FLOAT_EQ(ranked.hits[1].score, 1.0f / 61);
  wish.offset = 1;
  EXPECT_THAT(Rank(wish, {Metric::kL2}, {Hits({{1, 0.1f}, {2, 0.2f}})}, 1).keys.ints, ElementsAre(2));
  wish.offset = 10;
  EXPECT_TRUE(Rank(wish, {Metric::kL2}, {Hits({{1, 0.1f}, {2, 0.2f}})}, 1).hits.empty());
}

TEST(Ranking, WeightedScores) {
  RankWish wish;
  wish.strategy = RankWish::Strategy::kWeighted;
  wish.weights = {0.7f, 0.3f};
  const auto ranked = Rank(wish, {Metric::kCosine, Metric::kL2}, {Hits({{1, -1.0f}, {2, -0.5f}}), Hits({{2, 0.0f}, {1, 3.0f}})}, 1);
  EXPECT_THAT(ranked.keys.ints, ElementsAre(2, 1));
  EXPECT_FLOAT_EQ(ranked.hits[0].score, 0.7f * 0.75f + 0.3f * 1.0f);
  EXPECT_FLOAT_EQ(ranked.hits[1].score, 0.7f * 1.0f + 0.3f * (1 - 2 * std::atan(3.0f) / static_cast<float>(M_PI)));
  EXPECT_FLOAT_EQ(NormalizedScore(Metric::kIp, 0), 0.5f);
  EXPECT_FLOAT_EQ(Rounded(0.12345f, 2), 0.12f);
  EXPECT_FLOAT_EQ(Rounded(0.12345f, -1), 0.12345f);
}

// ---- reading

TEST(Reading, WhatAClientMeansByItsConsistency) {
  const auto demand = [](bool use_default, ConsistencyLevel level, Timestamp ts) {
    const ReadDemand d = DemandOf({use_default, level, ts}, ConsistencyLevel::kBounded);
    return std::make_pair(d.level, d.guarantee);
  };
  using L = ConsistencyLevel;
  EXPECT_EQ(demand(true, L::kStrong, 12345), std::make_pair(L::kBounded, Timestamp{0}));
  EXPECT_EQ(demand(false, L::kStrong, 0), std::make_pair(L::kStrong, Timestamp{0}));
  EXPECT_EQ(demand(false, L::kStrong, 2), std::make_pair(L::kBounded, Timestamp{0}));   // legacy
  EXPECT_EQ(demand(false, L::kStrong, 1), std::make_pair(L::kEventually, Timestamp{0}));
  EXPECT_EQ(demand(false, L::kStrong, 999), std::make_pair(L::kSession, Timestamp{999}));
  EXPECT_EQ(demand(false, L::kSession, 999), std::make_pair(L::kSession, Timestamp{999}));
  EXPECT_EQ(demand(false, L::kSession, 1), std::make_pair(L::kEventually, Timestamp{0}));
  EXPECT_EQ(demand(false, L::kEventually, 1), std::make_pair(L::kEventually, Timestamp{0}));
}

TEST(Reading, OutputFields) {
  CollectionSchema schema = WideSchema();
  const auto names = [&](const std::vector<std::string>& asked, bool primary) {
    const auto out = ResolveOutputs(schema, asked, primary);
    return out.ok() ? out->names : std::vector<std::string>{out.status().message()};
  };
  EXPECT_THAT(names({}, true), ElementsAre("id"));
  EXPECT_THAT(names({"t", "t", " v "}, true), ElementsAre("t", "v", "id"));
  EXPECT_THAT(names({"color"}, false), ElementsAre("color"));
  EXPECT_EQ(ResolveOutputs(schema, {"color", "size"}, false)->fields.size(), 1u);  // both are in $meta
  EXPECT_EQ(names({"*"}, true).size(), schema.fields.size());
  EXPECT_THAT(names({"a b"}, false), ElementsAre("parse output field name failed: a b"));
  schema.enable_dynamic_field = false;
  schema.fields.pop_back();
  EXPECT_THAT(names({"zz"}, false), ElementsAre("field zz not exist"));
}

TEST(Parameters, FlatJson) {
  const auto pairs = ParseFlatJson(R"({"M": 16, "metric": "L2", "x": true, "r": 0.5, "o": {"a": [1]}})");
  ASSERT_TRUE(pairs.ok());
  EXPECT_THAT(*pairs, ElementsAre(std::make_pair("M", "16"), std::make_pair("metric", "L2"), std::make_pair("x", "true"),
                                  std::make_pair("r", "0.5"), std::make_pair("o", R"({"a":[1]})")));
  EXPECT_TRUE(ParseFlatJson("")->empty());
  for (const char* bad : {"[1]", "{", "3", "\xff\xfe"}) EXPECT_FALSE(ParseFlatJson(bad).ok()) << bad;
  EXPECT_THAT(*ParseNumbers("[0.5, 1]"), ElementsAre(0.5, 1.0));
  EXPECT_FALSE(ParseNumbers("[\"a\"]").ok());
}

// Nested a million levels deep, it would go through the stack.
TEST(Parameters, DeepNestingIsRefused) {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_TRUE(ParseFlatJson("{\"a\": " + nested(63) + "}").ok());
  EXPECT_THAT(ParseFlatJson("{\"a\": " + nested(1'000'000) + "}").status().message(), HasSubstr("nested 1000001 levels deep, at most 64"));
  EXPECT_FALSE(ParseNumbers(nested(1'000'000)).ok());
  EXPECT_TRUE(ParseFlatJson("{\"a\": \"\\\"" + std::string(100, '[') + "\"}").ok());  // brackets in a string are none
}

}  // namespace
}  // namespace saker
