// The JSON side of REST, without network or proxy: rows and vectors in, rows out, what is told of wrong input.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "rest/call.h"
#include "rest/half.h"
#include "rest/json_input.h"
#include "rest/row_writer.h"
#include "rest/schema_json.h"

namespace saker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using nlohmann::json;

FieldSchema Field(std::string name, DataType type, int dim = 0) {
  FieldSchema field;
  field.name = std::move(name);
  field.type = type;
  field.dim = dim;
  return field;
}

FieldSchema ArrayField(std::string name, DataType element) {
  FieldSchema field = Field(std::move(name), DataType::kArray);
  field.element_type = element;
  return field;
}

CollectionSchema SchemaOf(std::vector<FieldSchema> fields, bool dynamic = false) {
  CollectionSchema schema;
  FieldSchema key = Field("id", DataType::kInt64);
  key.is_primary = true;
  schema.fields.push_back(key);
  for (FieldSchema& field : fields) schema.fields.push_back(std::move(field));
  schema.enable_dynamic_field = dynamic;
  if (dynamic) {
    FieldSchema meta = Field(std::string(kDynamicFieldName), DataType::kJson);
    meta.is_dynamic = true;
    schema.fields.push_back(meta);
  }
  return schema;
}

std::string BodyOf(const std::string& rows) { return "{\"data\":" + rows + "}"; }

const Column& ColumnNamed(const RowsCall& call, std::string_view name) {
  for (const InputColumn& column : call.columns) {
    if (column.name == name) return *column.column;
  }
  ADD_FAILURE() << "no column " << name;
  static const Column none;
  return none;
}

// What a field's value comes back as after it went in.
json RoundTrip(FieldSchema field, const std::string& value) {
  const CollectionSchema schema = SchemaOf({field});
  auto call = ReadRows(BodyOf("[{\"id\":1,\"" + field.name + "\":" + value + "}]"), schema);
  if (!call.ok()) return "error: " + call.status().message();
  std::vector<Column> columns;
  std::vector<std::string> names{field.name};
  columns.push_back(ColumnNamed(*call, field.name));
  columns[0].name = field.name;
  RowsToWrite rows;
  rows.columns = &columns;
  rows.output_fields = &names;
  rows.rows = call->rows;
  std::string out;
  WriteRows(rows, out);
  const json parsed = json::parse(out, nullptr, false);
  if (parsed.is_discarded()) return "not JSON: " + out;
  return parsed[0][field.name];
}

std::string ErrorOf(FieldSchema field, const std::string& value) {
  const json result = RoundTrip(std::move(field), value);
  return result.is_string() ? result.get<std::string>() : "no error: " + result.dump();
}

TEST(Rows, EveryTypeComesBackAsItWent) {
  EXPECT_EQ(RoundTrip(Field("f", DataType::kBool), "true"), true);
  EXPECT_EQ(RoundTrip(Field("f", DataType::kBool), "\"false\""), false);
  EXPECT_EQ(RoundTrip(Field("f", DataType::kInt8), "-128"), -128);
  EXPECT_EQ(RoundTrip(Field("f", DataType::kInt16), "\"32767\""), 32767);
  EXPECT_EQ(RoundTrip(Field("f", DataType::kInt32), "7.0"), 7);
  EXPECT_EQ(RoundTrip(Field("f", DataType::kInt64), "9007199254740993"), "9007199254740993");
  EXPECT_EQ(RoundTrip(Field("f", DataType::kInt64), "\"-9223372036854775808\""), "-9223372036854775808");
  EXPECT_EQ(RoundTrip(Field("f", DataType::kFloat), "0.1"), 0.1);  // printed as short as a float can be
  EXPECT_EQ(RoundTrip(Field("f", DataType::kDouble), "1e300"), 1e300);
  EXPECT_EQ(RoundTrip(Field("f", DataType::kVarChar), R"("a\"b\\c\n\u00e9\u0000")"), std::string("a\"b\\c\n\u00e9\0", 9));
  EXPECT_EQ(RoundTrip(Field("f", DataType::kVarChar), "12"), "12");
  EXPECT_EQ(json::parse(RoundTrip(Field("f", DataType::kJson), R"({"a":[1,{"b":null}],"n":9007199254740993})").get<std::string>()),
            json::parse(R"({"a":[1,{"b":null}],"n":9007199254740993})"));
  EXPECT_EQ(RoundTrip(Field("f", DataType::kJson), R"("{\"a\": 1}")"), "{\"a\": 1}");
  EXPECT_EQ(RoundTrip(Field("f", DataType::kJson), R"("word")"), "\"word\"");
  EXPECT_EQ(RoundTrip(Field("f", DataType::kFloatVector, 3), "[1, -0.5, 1e-3]"), json({1, -0.5, 1e-3}));
  EXPECT_EQ(RoundTrip(Field("f", DataType::kBinaryVector, 16), "[255, 1]"), "/wE=");
  EXPECT_EQ(RoundTrip(Field("f", DataType::kBinaryVector, 16), "\"/wE=\""), "/wE=");
  EXPECT_EQ(RoundTrip(Field("f", DataType::kFloat16Vector, 2), "[1, -2]"), "ADwAwA==");
  EXPECT_EQ(RoundTrip(Field("f", DataType::kBFloat16Vector, 2), "[1, -2]"), "gD8AwA==");
  EXPECT_EQ(RoundTrip(Field("f", DataType::kInt8Vector, 3), "[-128, 0, 127]"), json({-128, 0, 127}));
  EXPECT_EQ(RoundTrip(Field("f", DataType::kSparseFloatVector), R"({"9": 0.5, "2": 1})"), (json{{"2", 1}, {"9", 0.5}}));
  EXPECT_EQ(RoundTrip(Field("f", DataType::kSparseFloatVector), R"({"indices": [9, 2], "values": [0.5, 1]})"), (json{{"2", 1}, {"9", 0.5}}));
}

TEST(Rows, ArraysOfEveryElementType) {
  EXPECT_EQ(RoundTrip(ArrayField("f", DataType::kBool), "[true, false]"), json({true, false}));
  EXPECT_EQ(RoundTrip(ArrayField("f", DataType::kInt8), "[1, -1]"), json({1, -1}));
  EXPECT_EQ(RoundTrip(ArrayField("f", DataType::kInt64), "[1, 2]"), json({"1", "2"}));
  EXPECT_EQ(RoundTrip(ArrayField("f", DataType::kFloat), "[0.1]"), json({0.1}));
  EXPECT_EQ(RoundTrip(ArrayField("f", DataType::kVarChar), R"(["a", "é"])"), json({"a", "é"}));
  EXPECT_EQ(RoundTrip(ArrayField("f", DataType::kInt32), "[]"), json::array());
}

TEST(Rows, WrongValuesAreToldWithRowFieldAndReason) {
  const std::string where = "row 0, field f: ";
  EXPECT_THAT(ErrorOf(Field("f", DataType::kInt8), "128"), HasSubstr(where + "128 is out of the range of Int8: [-128, 127]"));
  EXPECT_THAT(ErrorOf(Field("f", DataType::kInt32), "1.5"), HasSubstr(where + "an Int32 is expected, but is 1.5"));
  EXPECT_THAT(ErrorOf(Field("f", DataType::kInt64), "18446744073709551615"), HasSubstr(where + "an Int64 is expected"));
  EXPECT_THAT(ErrorOf(Field("f", DataType::kInt64), "\"12x\""), HasSubstr(where));
  EXPECT_THAT(ErrorOf(Field("f", DataType::kBool), "2"), HasSubstr(where + "true or false is expected, but is 2"));
  EXPECT_THAT(ErrorOf(Field("f", DataType::kFloat), "1e39"), HasSubstr(where));
  EXPECT_THAT(ErrorOf(Field("f", DataType::kDouble), "\"nan\""), HasSubstr(where + "a Double is expected"));
  EXPECT_THAT(ErrorOf(Field("f", DataType::kVarChar), "[1]"), HasSubstr(where + "a string is expected, but is [1]"));
  EXPECT_THAT(ErrorOf(Field("f", DataType::kFloatVector, 4), "[1, 2]"), HasSubstr(where + "the vector has 2 values, but dim is 4"));
  EXPECT_THAT(ErrorOf(Field("f", DataType::kFloatVector, 1), "[1, 2, 3]"), HasSubstr("has 3 values, but dim is 1"));
  EXPECT_THAT(ErrorOf(Field("f", DataType::kFloatVector, 2), "[1, \"x\"]"), HasSubstr(where + "a number is expected at position 1, but is \"x\""));
  EXPECT_THAT(ErrorOf(Field("f", DataType::kFloatVector, 2), "\"AAAA\""), HasSubstr(where + "an array of numbers is expected"));
  EXPECT_THAT(ErrorOf(Field("f", DataType::kFloatVector, 1), "[1e39]"), HasSubstr("out of the range of Float"));
  EXPECT_THAT(ErrorOf(Field("f", DataType::kFloat16Vector, 1), "[70000]"), HasSubstr("out of the range of Float16Vector"));
  EXPECT_THAT(ErrorOf(Field("f", DataType::kBinaryVector, 16), "[256, 0]"), HasSubstr("[0, 255] is expected at position 0, but is 256"));
  EXPECT_THAT(ErrorOf(Field("f", DataType::kBinaryVector, 16), "\"AA==\""), HasSubstr("holds 1 bytes, but the vector should have 2"));
  EXPECT_THAT(ErrorOf(Field("f", DataType::kBinaryVector, 16), "\"!!\""), HasSubstr("not valid base64"));
  EXPECT_THAT(ErrorOf(Field("f", DataType::kSparseFloatVector), R"({"-1": 1})"), HasSubstr("an index in [0, 4294967295) is expected, but is -1"));
  EXPECT_THAT(ErrorOf(Field("f", DataType::kSparseFloatVector), R"({"indices": [1, 1], "values": [1, 2]})"), HasSubstr("index 1 is there twice"));
  EXPECT_THAT(ErrorOf(Field("f", DataType::kSparseFloatVector), R"({"indices": [1], "values": []})"), HasSubstr("more indices than values"));
  EXPECT_THAT(ErrorOf(ArrayField("f", DataType::kInt8), "[1, 300]"), HasSubstr(where + "element 1: 300 is out of the range of Int8"));
  EXPECT_THAT(ErrorOf(Field("f", DataType::kArrayOfVector), "[]"), HasSubstr("not supported over REST"));
}

TEST(Rows, WhatIsWrongWithTheRowItself) {
  const CollectionSchema schema = SchemaOf({Field("v", DataType::kFloatVector, 1)});
  const auto error = [&](const std::string& body) {
    const auto call = ReadRows(body, schema);
    EXPECT_FALSE(call.ok()) << body;
    return call.status();
  };
  EXPECT_EQ(error(BodyOf("[{\"id\":1}]")).code(), kInvalidInsertData);
  EXPECT_THAT(error(BodyOf("[{\"id\":1,\"v\":[1]},{\"id\":2}]")).message(), HasSubstr("row 1, field v: missing vector field"));
  EXPECT_THAT(error(BodyOf("[{\"v\":[1]}]")).message(), HasSubstr("row 0, field id: it has no value"));
  EXPECT_THAT(error(BodyOf("[{\"id\":1,\"v\":[1],\"x\":2}]")).message(), HasSubstr("has pass more field without dynamic schema"));
  EXPECT_THAT(error(BodyOf("[{\"id\":1,\"id\":2,\"v\":[1]}]")).message(), HasSubstr("row 0, field id: it is there twice"));
  EXPECT_THAT(error(BodyOf("[5]")).message(), HasSubstr("row 0 should be an object, but is 5"));
  EXPECT_EQ(error(BodyOf("[]")).code(), kMissingParameters);
  EXPECT_EQ(error("{}").code(), kMissingParameters);
  EXPECT_EQ(error("{\"data\":\"x\"}").code(), ErrorCode::kIncorrectParameterFormat);
  EXPECT_EQ(error("{\"data\":").code(), ErrorCode::kIncorrectParameterFormat);
  EXPECT_EQ(error("").code(), ErrorCode::kIncorrectParameterFormat);
  EXPECT_EQ(error("[]").code(), ErrorCode::kIncorrectParameterFormat);
  EXPECT_EQ(error(std::string(5000, '[')).code(), ErrorCode::kIncorrectParameterFormat);
}

TEST(Rows, OneRowMayComeWithoutItsList) {
  const auto call = ReadRows(BodyOf("{\"id\":4,\"v\":[1]}"), SchemaOf({Field("v", DataType::kFloatVector, 1)}));
  ASSERT_TRUE(call.ok()) << call.status().message();
  EXPECT_EQ(call->rows, 1);
  EXPECT_EQ(ColumnNamed(*call, "id").View().IntAt(0), 4);
}

TEST(Rows, NullsWhereTheFieldTakesThemAndTheDefaultsTurn) {
  FieldSchema nullable = Field("n", DataType::kInt32);
  nullable.nullable = true;
  FieldSchema with_default = Field("d", DataType::kVarChar);
  with_default.default_value = Value(std::string("x"));
  const auto call = ReadRows(BodyOf("[{\"id\":1,\"n\":null},{\"id\":2,\"n\":7,\"d\":\"y\"}]"), SchemaOf({nullable, with_default}));
  ASSERT_TRUE(call.ok()) << call.status().message();
  const ColumnView n = ColumnNamed(*call, "n").View(), d = ColumnNamed(*call, "d").View();
  EXPECT_TRUE(n.IsNull(0));
  EXPECT_FALSE(n.IsNull(1));
  EXPECT_EQ(n.IntAt(1), 7);
  EXPECT_TRUE(d.IsNull(0));
  EXPECT_EQ(d.Bytes(1), "y");
}

TEST(Rows, GeneratedKeysAreLeftOut) {
  CollectionSchema schema = SchemaOf({Field("v", DataType::kFloatVector, 1)});
  schema.fields[0].auto_id = true;
  const auto without = ReadRows(BodyOf("[{\"v\":[1]},{\"v\":[2]}]"), schema);
  ASSERT_TRUE(without.ok()) << without.status().message();
  ASSERT_EQ(without->columns.size(), 1u);
  EXPECT_EQ(without->columns[0].name, "v");
  const auto with = ReadRows(BodyOf("[{\"id\":1,\"v\":[1]}]"), schema);
  ASSERT_TRUE(with.ok());
  EXPECT_EQ(with->columns.size(), 2u);  // for the proxy to refuse
  EXPECT_FALSE(ReadRows(BodyOf("[{\"v\":[1]},{\"id\":1,\"v\":[1]}]"), schema).ok());
  EXPECT_FALSE(ReadRows(BodyOf("[{\"id\":1,\"v\":[1]},{\"v\":[1]}]"), schema).ok());
}

TEST(Rows, DynamicMembersGoToMetaAndComeBack) {
  const CollectionSchema schema = SchemaOf({}, true);
  const auto call = ReadRows(BodyOf(R"([{"id":1,"a\"b":{"c":[1,2.5]},"big":9007199254740993,"gone":null},{"id":2}])"), schema);
  ASSERT_TRUE(call.ok()) << call.status().message();
  std::vector<Column> columns{ColumnNamed(*call, "$meta")};
  columns[0].name = kDynamicFieldName;
  columns[0].is_dynamic = true;
  EXPECT_EQ(columns[0].View().Bytes(1), "{}");
  std::vector<std::string> names{"$meta"};
  RowsToWrite rows;
  rows.columns = &columns;
  rows.output_fields = &names;
  rows.rows = 2;
  std::string all;
  WriteRows(rows, all);
  EXPECT_EQ(json::parse(all), json::parse(R"([{"a\"b":{"c":[1,2.5]},"big":9007199254740993},{}])"));
  names = {"big", "nothing"};
  std::string some;
  WriteRows(rows, some);
  EXPECT_EQ(json::parse(some), json::parse(R"([{"big":9007199254740993},{}])"));
  EXPECT_FALSE(ReadRows(BodyOf(R"([{"id":1,"$meta":{}}])"), schema).ok());
}

TEST(Rows, ResultsCarryKeyAndDistance) {
  std::vector<Column> columns;
  std::vector<std::string> names;
  PrimaryKeys keys;
  keys.ints = {7, 8};
  const std::vector<float> scores{0.25f, std::numeric_limits<float>::quiet_NaN()};
  RowsToWrite rows;
  rows.columns = &columns;
  rows.output_fields = &names;
  rows.rows = 2;
  rows.key_name = "pk";
  rows.keys = &keys;
  rows.scores = scores;
  std::string out;
  WriteRows(rows, out);
  EXPECT_EQ(json::parse(out), json::parse(R"([{"pk":"7","id":"7","distance":0.25},{"pk":"8","id":"8","distance":null}])"));
  rows.int64_as_number = true;
  rows.key_name = "id";
  out.clear();
  WriteRows(rows, out);
  EXPECT_EQ(json::parse(out)[0], json::parse(R"({"id":7,"distance":0.25})"));
}

TEST(Rows, StringsThatAreNoUtf8StillGiveJson) {
  std::string out;
  WriteString("a\xff\x01z", out);
  EXPECT_EQ(json::parse(out).get<std::string>(), "a\uFFFD\x01z");
}

class FromBody {
 public:
  explicit FromBody(const std::string& text) {
    auto parsed = Body::Parse(text);
    EXPECT_TRUE(parsed.ok()) << parsed.status().message();
    body_ = std::move(*parsed);
  }
  const Members& operator*() const { return body_->members(); }
  const Members* operator->() const { return &body_->members(); }

 private:
  std::unique_ptr<Body> body_;
};

TEST(Members, AnyCaseAndClearErrors) {
  const FromBody body(R"({"AUTOID": true, "limit": "x", "Limit2": 3, "big": 5000000000, "list": ["a", 1], "none": null, "name": 7})");
  EXPECT_TRUE(*body->Bool("autoId", false));
  EXPECT_EQ(*body->Int("limit2", 0), 3);
  EXPECT_EQ(*body->Int("absent", 9), 9);
  EXPECT_FALSE(body->Find("none").has_value());
  EXPECT_THAT(body->Int("limit", 0).status().message(), HasSubstr("limit should be an integer, but is \"x\""));
  EXPECT_THAT(body->Int("big", 0).status().message(), HasSubstr("big should be in [-2147483648, 2147483647], but is 5000000000"));
  EXPECT_THAT(body->Texts("list").status().message(), HasSubstr("list[1] should be a string, but is 1"));
  EXPECT_THAT(body->Text("name").status().message(), HasSubstr("name should be a string, but is 7"));
  EXPECT_EQ(body->Text("name").status().code(), ErrorCode::kIncorrectParameterFormat);
  EXPECT_EQ(body->RequiredText("nope").status().code(), kMissingParameters);
  EXPECT_THAT(body->RequiredText("nope").status().message(), HasSubstr("missing required parameters"));
}

TEST(Queries, BytesOfTheFieldsType) {
  const CollectionSchema schema = SchemaOf({Field("v", DataType::kFloatVector, 2), Field("b", DataType::kBinaryVector, 8)});
  SearchPart part;
  part.vector_field = "v";
  ASSERT_TRUE(ReadQueries(*FromBody(R"({"data": [[1, 2], [3, 4]]})"), schema, part).ok());
  EXPECT_EQ(part.nq, 2);
  EXPECT_EQ(part.row_bytes, 8);
  float last;
  std::memcpy(&last, part.queries.data() + 12, sizeof(last));
  EXPECT_EQ(last, 4);
  SearchPart unnamed;
  EXPECT_THAT(ReadQueries(*FromBody(R"({"data": [[1, 2]]})"), schema, unnamed).message(), HasSubstr("multiple vector fields: [v, b"));
  const Status wrong = ReadQueries(*FromBody(R"({"data": [[1, 2], [3]]})"), schema, part);
  EXPECT_EQ(wrong.code(), ErrorCode::kIncorrectParameterFormat);
  EXPECT_THAT(wrong.message(), HasSubstr("data[1], for field v: the vector has 1 values, but dim is 2"));
  EXPECT_FALSE(ReadQueries(*FromBody(R"({"data": []})"), schema, part).ok());
  EXPECT_FALSE(ReadQueries(*FromBody(R"({"data": [1, 2]})"), schema, part).ok());
}

TEST(Keys, OneOrManyOfTheKeysType) {
  const FromBody body(R"({"one": 5, "text": "6", "many": [1, "2"], "bad": [1, 1.5], "strings": ["a"]})");
  FieldSchema key = Field("id", DataType::kInt64);
  EXPECT_THAT(ReadKeys(*body->Find("one"), key)->ints, ElementsAre(5));
  EXPECT_THAT(ReadKeys(*body->Find("text"), key)->ints, ElementsAre(6));
  EXPECT_THAT(ReadKeys(*body->Find("many"), key)->ints, ElementsAre(1, 2));
  EXPECT_EQ(ReadKeys(*body->Find("bad"), key).status().code(), kCheckPrimaryKey);
  EXPECT_THAT(ReadKeys(*body->Find("bad"), key).status().message(), HasSubstr("id[1]: an Int64 is expected, but is 1.5"));
  key.type = DataType::kVarChar;
  EXPECT_THAT(ReadKeys(*body->Find("strings"), key)->strings, ElementsAre("a"));
  EXPECT_FALSE(ReadKeys(*body->Find("one"), key).ok());
}

TEST(Templates, ScalarsAndLists) {
  const FromBody body(R"({"exprParams": {"a": 1, "b": [1, 2.5], "c": ["x"], "d": true}, "bad": {"a": {}}, "mixed": {"a": [1, "x"]}})");
  const auto templates = ReadTemplates(*body, "exprParams");
  ASSERT_TRUE(templates.ok()) << templates.status().message();
  EXPECT_EQ(std::get<int64_t>(*templates->at("a").scalar), 1);
  EXPECT_TRUE(templates->at("b").is_list);
  EXPECT_EQ(std::get<double>(templates->at("b").list[0]), 1.0);
  EXPECT_EQ(std::get<std::string>(templates->at("c").list[0]), "x");
  EXPECT_FALSE(ReadTemplates(*body, "bad").ok());
  EXPECT_FALSE(ReadTemplates(*body, "mixed").ok());
}

TEST(Create, TheQuickWay) {
  const FromBody body(R"({"collectionName": "c", "dimension": 4, "idType": "VarChar", "autoID": true,
                          "params": {"max_length": 32, "consistencyLevel": "Strong", "ttlSeconds": 60}})");
  const auto wish = ReadCreate(*body);
  ASSERT_TRUE(wish.ok()) << wish.status().message();
  const CollectionSchema& schema = wish->draft.schema;
  ASSERT_EQ(schema.fields.size(), 2u);
  EXPECT_EQ(schema.fields[0].name, "id");
  EXPECT_EQ(schema.fields[0].type, DataType::kVarChar);
  EXPECT_TRUE(schema.fields[0].auto_id);
  EXPECT_EQ(*Find(schema.fields[0].type_params, "max_length"), "32");
  EXPECT_EQ(*Find(schema.fields[1].type_params, "dim"), "4");
  EXPECT_TRUE(schema.enable_dynamic_field);
  EXPECT_EQ(wish->draft.consistency, ConsistencyLevel::kStrong);
  EXPECT_EQ(*Find(wish->draft.properties, "collection.ttl.seconds"), "60");
  ASSERT_EQ(wish->indexes.size(), 1u);
  EXPECT_EQ(wish->indexes[0].field, "vector");
  EXPECT_EQ(*Find(wish->indexes[0].params, "metric_type"), "COSINE");
  EXPECT_TRUE(wish->load);
}

TEST(Create, WithASchema) {
  const FromBody body(R"({"collectionName": "c", "schema": {"autoId": true, "enableDynamicField": true, "fields": [
      {"fieldName": "k", "dataType": "Int64", "isPrimary": true},
      {"fieldName": "t", "dataType": "Array", "elementDataType": "VarChar", "elementTypeParams": {"max_capacity": 8, "max_length": "9"}},
      {"fieldName": "g", "dataType": "Int32", "isPartitionKey": true, "nullable": true, "defaultValue": 5},
      {"fieldName": "v", "dataType": "FloatVector", "elementTypeParams": {"dim": 2}}]},
      "indexParams": [{"fieldName": "v", "indexName": "i", "metricType": "L2", "params": {"index_type": "HNSW", "M": 8}}],
      "params": {"partitionsNum": "12", "shardsNum": 2}})");
  const auto wish = ReadCreate(*body);
  ASSERT_TRUE(wish.ok()) << wish.status().message();
  const auto& fields = wish->draft.schema.fields;
  ASSERT_EQ(fields.size(), 4u);
  EXPECT_TRUE(fields[0].is_primary && fields[0].auto_id);
  EXPECT_EQ(fields[1].element_type, DataType::kVarChar);
  EXPECT_EQ(*Find(fields[1].type_params, "max_capacity"), "8");
  EXPECT_TRUE(fields[2].nullable);
  EXPECT_EQ(std::get<int64_t>(*fields[2].default_value), 5);
  EXPECT_EQ(wish->draft.partitions, 12);
  EXPECT_EQ(wish->draft.shards, 2);
  ASSERT_EQ(wish->indexes.size(), 1u);
  EXPECT_EQ(*Find(wish->indexes[0].params, "index_type"), "HNSW");
  EXPECT_TRUE(json::parse(FieldsJson(wish->draft.schema)).is_array());
  EXPECT_EQ(json::parse(FieldsJson(wish->draft.schema))[2]["defaultValue"], json::parse(R"({"Data":{"IntData":5}})"));
}

TEST(Create, WhatIsWrongIsTold) {
  const auto error = [](const std::string& text) {
    const FromBody body(text);
    const auto wish = ReadCreate(*body);
    EXPECT_FALSE(wish.ok()) << text;
    return wish.status();
  };
  EXPECT_EQ(error("{}").code(), kMissingParameters);
  EXPECT_EQ(error(R"({"collectionName": "c"})").code(), ErrorCode::kParameterInvalid);
  EXPECT_THAT(error(R"({"collectionName": "c"})").message(), HasSubstr("dimension is required for quickly create collection"));
  EXPECT_THAT(error(R"({"collectionName": "c", "dimension": "4"})").message(), HasSubstr("dimension should be an integer"));
  EXPECT_THAT(error(R"({"collectionName": "c", "dimension": 4, "idType": "Float"})").message(), HasSubstr("idType can only be [Int64, VarChar]"));
  EXPECT_THAT(error(R"({"collectionName": "c", "dimension": 4, "params": {"consistencyLevel": "x"}})").message(),
              HasSubstr("consistencyLevel can only be"));
  EXPECT_THAT(error(R"({"collectionName": "c", "schema": {"fields": [{"fieldName": "k", "dataType": "int64"}]}})").message(),
              HasSubstr("data type int64 is invalid(case sensitive)"));
  EXPECT_THAT(error(R"({"collectionName": "c", "schema": {"fields": [{"dataType": "Int64"}]}})").message(),
              HasSubstr("schema.fields[0].fieldName is required"));
  EXPECT_THAT(error(R"({"collectionName": "c", "schema": {"fields": [{"fieldName": "k", "dataType": "Int64"}]},
                        "indexParams": [{"fieldName": "zz"}]})").message(), HasSubstr("`zz` hasn't defined in schema"));
  EXPECT_THAT(error(R"({"collectionName": "c", "schema": {"functions": [{}], "fields": []}})").message(), HasSubstr("not supported"));
}

TEST(Half, RoundsToTheNearest) {
  EXPECT_EQ(ToFloat16(1.0f), 0x3C00);
  EXPECT_EQ(ToFloat16(-2.0f), 0xC000);
  EXPECT_EQ(ToFloat16(65504.0f), 0x7BFF);
  EXPECT_EQ(ToFloat16(65520.0f), 0x7C00);
  EXPECT_EQ(ToFloat16(5.9604645e-8f), 0x0001);  // the least
  EXPECT_EQ(ToFloat16(2.9802322e-8f), 0x0000);  // half of it: to even
  EXPECT_EQ(ToFloat16(4.5e-8f), 0x0001);
  EXPECT_EQ(ToFloat16(6.1035156e-5f), 0x0400);  // the least normal one
  EXPECT_EQ(ToFloat16(1.00048828125f), 0x3C00);  // a tie
  EXPECT_EQ(ToFloat16(0.1f), 0x2E66);
  EXPECT_EQ(ToBFloat16(1.0f), 0x3F80);
  EXPECT_EQ(ToBFloat16(0.1f), 0x3DCD);
}

TEST(Endpoints, NeedMessagesThatAreThereAndAnswerOneWay) {
  Endpoints endpoints;
  AddCollectionEndpoints(endpoints);
  AddEntityEndpoints(endpoints);
  AddMetadataEndpoints(endpoints);
  AddUserEndpoints(endpoints);
  std::set<std::string_view> paths;
  for (const Endpoint& endpoint : endpoints) {
    EXPECT_TRUE(paths.insert(endpoint.path).second) << endpoint.path;
    EXPECT_TRUE(endpoint.needs == nullptr || IsRequestMessage(endpoint.needs)) << endpoint.path;
    EXPECT_NE(endpoint.now == nullptr, endpoint.later == nullptr) << endpoint.path;
  }
  EXPECT_FALSE(IsRequestMessage("NoSuchRequest"));
}

TEST(Timeouts, FromTheHeader) {
  using std::chrono::milliseconds;
  EXPECT_EQ(RequestTimeout("", milliseconds(7)), milliseconds(7));
  EXPECT_EQ(RequestTimeout("5", milliseconds(7)), milliseconds(5000));
  EXPECT_EQ(RequestTimeout("5s", milliseconds(7)), milliseconds(7));
  EXPECT_EQ(RequestTimeout("-1", milliseconds(7)), milliseconds(7));
  EXPECT_EQ(RequestTimeout("999999999", milliseconds(7)), milliseconds(600'000));
}

}  // namespace
}  // namespace saker
