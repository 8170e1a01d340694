#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "transport/plan_codec.h"
#include "transport/random_values.h"

namespace saker {
namespace {

// ---- every field of every type is in its codec

struct CountingCodec {
  int fields = 0;
  template <typename T>
  void operator()(T&) {
    ++fields;
  }
};

// Does not compile unless T has exactly N members.
template <size_t N, typename T>
void BindMembers(T& t) {
  if constexpr (N == 1) { auto& [a] = t; (void)a; }
  if constexpr (N == 2) { auto& [a, b] = t; (void)a; }
  if constexpr (N == 3) { auto& [a, b, c] = t; (void)a; }
  if constexpr (N == 4) { auto& [a, b, c, d] = t; (void)a; }
  if constexpr (N == 5) { auto& [a, b, c, d, e] = t; (void)a; }
  if constexpr (N == 6) { auto& [a, b, c, d, e, f] = t; (void)a; }
  if constexpr (N == 7) { auto& [a, b, c, d, e, f, g] = t; (void)a; }
  if constexpr (N == 9) { auto& [a, b, c, d, e, f, g, h, i] = t; (void)a; }
  if constexpr (N == 10) { auto& [a, b, c, d, e, f, g, h, i, j] = t; (void)a; }
  if constexpr (N == 18) { auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r] = t; (void)a; }
}

template <typename T, size_t N>
void ExpectAllFields(const char* what) {
  T value{};
  BindMembers<N>(value);
  CountingCodec codec;
  Fields(codec, value);
  EXPECT_EQ(codec.fields, static_cast<int>(N)) << what << " has a field that does not travel";
}
#define EXPECT_ALL_FIELDS(type, n) ExpectAllFields<type, n>(#type)

TEST(Codec, HasEveryField) {
  EXPECT_ALL_FIELDS(FieldSchema, 18);
  EXPECT_ALL_FIELDS(CollectionSchema, 6);
  EXPECT_ALL_FIELDS(IndexMeta, 9);
  EXPECT_ALL_FIELDS(SegmentIndex, 4);
  EXPECT_ALL_FIELDS(SegmentMeta, 18);
  EXPECT_ALL_FIELDS(User, 3);
  EXPECT_ALL_FIELDS(Grant, 6);
  EXPECT_ALL_FIELDS(CollectionDraft, 6);
  EXPECT_ALL_FIELDS(FlushResult, 3);
  EXPECT_ALL_FIELDS(CompactionState, 5);
  EXPECT_ALL_FIELDS(SegmentReport, 3);
  EXPECT_ALL_FIELDS(LoadProgress, 3);
  EXPECT_ALL_FIELDS(IndexProgress, 5);
  EXPECT_ALL_FIELDS(ShardWrite, 5);
  EXPECT_ALL_FIELDS(WriteRequest, 4);
  EXPECT_ALL_FIELDS(WriteResponse, 1);
  EXPECT_ALL_FIELDS(ReadPointRequest, 6);
  EXPECT_ALL_FIELDS(ReadPoint, 1);
  EXPECT_ALL_FIELDS(ReadView, 2);
  EXPECT_ALL_FIELDS(GrowingLeg, 7);
  EXPECT_ALL_FIELDS(SealedLeg, 5);
  EXPECT_ALL_FIELDS(FetchRequest, 4);
  EXPECT_ALL_FIELDS(DeleteStreamRequest, 4);
  EXPECT_ALL_FIELDS(DeleteBatch, 3);
  EXPECT_ALL_FIELDS(DeleteStream, 2);
  EXPECT_ALL_FIELDS(GrowingSegmentInfo, 7);
  EXPECT_ALL_FIELDS(LoadedSegmentInfo, 6);
  EXPECT_ALL_FIELDS(TemplateValue, 3);
  EXPECT_ALL_FIELDS(VectorSearchParams, 7);
  EXPECT_ALL_FIELDS(QueryRows, 4);
  EXPECT_ALL_FIELDS(NodeLoad, 3);
  EXPECT_ALL_FIELDS(PingReply, 4);
  EXPECT_ALL_FIELDS(LeaderToken, 3);
  EXPECT_ALL_FIELDS(CallHeader, 4);
  // Plans have codecs of their own (plan_codec.cc); whoever adds a member to one comes by here.
  SearchPlan search;
  BindMembers<18>(search);
  QueryPlan query;
  BindMembers<10>(query);
}

// ---- round trips

// The frame cut into pieces at random places.
Frame Shredded(const std::string& bytes, RandomCodec& random) {
  Frame frame;
  for (size_t at = 0; at < bytes.size();) {
    const auto n = std::min<size_t>(static_cast<size_t>(random.Below(random.Below(2) == 0 ? 4 : 60)), bytes.size() - at);
    const auto piece = std::make_shared<const std::string>(bytes.substr(at, n));
    frame.pieces.push_back({*piece, piece});
    at += n;
  }
  return frame;
}

template <typename T>
void ExpectRoundTrip(RandomCodec& random) {
  for (int i = 0; i < 60; ++i) {
    T value{};
    random(value);
    const std::string bytes = EncodeAnswer(Result<T>(value)).Flat();
    const Frame frame = i % 2 == 0 ? Frame::Of(bytes) : Shredded(bytes, random);
    const auto back = DecodeAnswer<T>(frame);
    ASSERT_TRUE(back.ok()) << back.status().ToString();
    ASSERT_EQ(Encoded(*back), Encoded(value));
    if (i > 3) continue;
    for (size_t cut = 0; cut < bytes.size(); ++cut) {
      ASSERT_FALSE(DecodeAnswer<T>(Frame::Of(bytes.substr(0, cut))).ok()) << "cut at " << cut << " of " << bytes.size();
    }
  }
}

template <typename... T>
void ExpectRoundTrips() {
  RandomCodec random(1);
  (ExpectRoundTrip<T>(random), ...);
}

TEST(Codec, RoundTripsOfEverything) {
  ExpectRoundTrips<CollectionDraft, FieldSchema, IndexMeta, SegmentMeta, SegmentIndex, User, Grant, KeyValues, Value, std::string,
                   int64_t, bool, double>();
  ExpectRoundTrips<FlushResult, CompactionState, std::vector<SegmentReport>, LoadProgress, IndexProgress, PingReply, CallHeader>();
  ExpectRoundTrips<WriteRequest, WriteResponse, ReadPointRequest, ReadPoint, GrowingLeg, SealedLeg, FetchRequest,
                   DeleteStreamRequest, DeleteStream, std::vector<GrowingSegmentInfo>, std::vector<LoadedSegmentInfo>>();
  ExpectRoundTrips<SearchHits, QueryRows, RowBatch, PrimaryKeys, std::optional<Value>, TemplateValues>();
}

TEST(Codec, ColumnsKeepTheirValues) {
  RandomCodec random(2);
  const SchemaPtr schema = EveryTypeSchema();
  for (const FieldSchema& field : schema->fields) {
    for (const int64_t rows : {0, 1, 100}) {
      Column column = random.RandomColumn(field, rows);
      column.is_dynamic = field.is_dynamic;
      RowBatch batch;
      batch.rows = rows;
      batch.columns.push_back(column);
      const auto back = DecodeAnswer<RowBatch>(EncodeAnswer(Result<RowBatch>(batch)));
      ASSERT_TRUE(back.ok()) << field.name << ": " << back.status().ToString();
      const Column& got = back->columns.at(0);
      EXPECT_EQ(got.field, column.field);
      EXPECT_EQ(got.name, column.name);
      EXPECT_EQ(got.is_dynamic, column.is_dynamic);
      EXPECT_EQ(got.type(), column.type());
      EXPECT_EQ(got.element_type(), column.element_type());
      EXPECT_EQ(got.dim(), column.dim());
      ASSERT_EQ(got.rows(), rows);
      for (int64_t i = 0; i < rows; ++i) ASSERT_EQ(got.View().ValueAt(i), column.View().ValueAt(i)) << field.name << " row " << i;
    }
  }
}

TEST(Codec, LargeArraysAreNotCopied) {
  RandomCodec random(3);
  auto request = std::make_shared<WriteRequest>();
  request->shards.resize(1);
  RowBatch rows = random.RandomRows(*EveryTypeSchema(), 5000);
  const auto* vectors = rows.columns[1].View().fixed;
  request->shards[0].inserts.emplace_back(PartitionId(1), std::move(rows));
  const Frame frame = EncodeRequest({"c", NodeId(1), NodeId(2), {}}, request, *request);
  EXPECT_EQ(frame.Flat(), EncodeRequest({"c", NodeId(1), NodeId(2), {}}, nullptr, *request).Flat());
  const auto in_place = std::find_if(frame.pieces.begin(), frame.pieces.end(), [&](const Frame::Piece& piece) {
    return piece.bytes.data() == reinterpret_cast<const char*>(vectors);
  });
  ASSERT_NE(in_place, frame.pieces.end());
  EXPECT_EQ(in_place->bytes.size(), 5000u * 32);
}

TEST(Codec, AnAnswerCanBeAnyStatus) {
  for (const ErrorCode code : {ErrorCode::kStaleRoute, ErrorCode::kSuperseded, ErrorCode::kConflict, ErrorCode::kUnexpected,
                               ErrorCode::kCompacted, ErrorCode::kCollectionNotFound, static_cast<ErrorCode>(999'999)}) {
    const auto back = DecodeAnswer<ReadPoint>(EncodeFailure(Status(code, "why not?")));
    EXPECT_EQ(back.status().code(), code);
    EXPECT_EQ(back.status().message(), "why not?");
  }
}

// ---- other versions

// FlushResult as versions before and after this one may have it.
struct OlderFlush {
  Timestamp flush_ts = 0;
};
template <typename Codec, Is<OlderFlush> T>
void Fields(Codec& codec, T& f) {
  codec(f.flush_ts);
}
struct NewerFlush {
  FlushResult known;
  std::string more;
};
template <typename Codec, Is<NewerFlush> T>
void Fields(Codec& codec, T& f) {
  Fields(codec, f.known);
  codec(f.more);
}

TEST(Codec, OlderSendersLeaveDefaults) {
  const std::vector<OlderFlush> older = {{4}, {5}};
  const auto read = DecodeAnswer<std::vector<FlushResult>>(EncodeAnswer(Result<std::vector<OlderFlush>>(older)));
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  ASSERT_EQ(read->size(), 2u);
  EXPECT_EQ(read->at(1).flush_ts, 5u);
  EXPECT_THAT(read->at(1).segments, testing::IsEmpty());
}

TEST(Codec, NewerSendersFieldsAreSkipped) {
  const NewerFlush one{{7, {SegmentId(1)}, {SegmentId(2), SegmentId(3)}}, "what this version doesn't know"};
  const std::vector<NewerFlush> newer = {one, one};
  const auto read = DecodeAnswer<std::vector<FlushResult>>(EncodeAnswer(Result<std::vector<NewerFlush>>(newer)));
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  ASSERT_EQ(read->size(), 2u);
  EXPECT_EQ(read->at(1).flush_ts, 7u);
  EXPECT_THAT(read->at(1).flushed_segments, testing::ElementsAre(SegmentId(2), SegmentId(3)));
}

TEST(Codec, NewerArgumentsAreSkippedAndOlderOnesDefault) {
  const Frame newer = EncodeRequest({}, nullptr, int64_t{1}, std::string("two"), int64_t{3});
  const Frame older = EncodeRequest({}, nullptr, int64_t{1});
  for (const auto& [frame, expected] : {std::pair(newer, "two"), std::pair(older, "")}) {
    FrameReader in(frame);
    ASSERT_TRUE(ReadVersion(in).ok());
    WireReader reader(in);
    CallHeader header;
    reader(header);
    int64_t one = 0;
    std::string two;
    ASSERT_TRUE(DecodeArguments(reader, one, two).ok());
    EXPECT_EQ(one, 1);
    EXPECT_EQ(two, expected);
  }
}

TEST(Codec, AnotherEnvelopeVersionIsRefused) {
  std::string bytes = EncodeAnswer(Result<ReadPoint>(ReadPoint{5})).Flat();
  bytes[0] = 2;
  const auto read = DecodeAnswer<ReadPoint>(Frame::Of(bytes));
  EXPECT_EQ(read.status().code(), ErrorCode::kCorrupted);
  EXPECT_THAT(read.status().message(), testing::HasSubstr("version 2"));
}

// ---- garbage

TEST(Codec, GarbageIsRefusedOrHarmless) {
  RandomCodec random(4);
  PlanReader plans;
  WriteRequest write;
  random(write);
  const auto filter = ParseFilter("json[\"a\"] > 3 and id in [1, 2]", EveryTypeSchema());
  const std::shared_ptr<const SearchPlan> plan = RandomSearchPlan(random, *filter, 3, EveryTypeSchema());
  const std::string requests[] = {EncodeRequest({}, nullptr, write).Flat(), EncodeRequest({}, nullptr, GrowingLeg(), plan).Flat()};
  int refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = i % 4 == 0 ? random.Bytes(random.Below(200)) : requests[i % 2];
    if (bytes.empty()) continue;
    if (i % 4 != 0) {
      for (int64_t flips = 1 + random.Below(4); flips > 0; --flips) {
        bytes[static_cast<size_t>(random.Below(static_cast<int64_t>(bytes.size())))] = static_cast<char>(random.random()());
      }
    }
    const Frame frame = Shredded(bytes, random);
    FrameReader in(frame);
    if (!ReadVersion(in).ok()) continue;
    WireReader reader(in, &plans);
    CallHeader header;
    reader(header);
    Status status;
    if (i % 2 == 0) {
      WriteRequest read;
      status = DecodeArguments(reader, read);
      if (status.ok()) (void)Encoded(read);
    } else {
      GrowingLeg leg;
      std::shared_ptr<const SearchPlan> read;
      status = DecodeArguments(reader, leg, read);
      if (status.ok()) {
        ASSERT_NE(read, nullptr);
        EXPECT_EQ(read->queries.size(), static_cast<size_t>(read->nq) * static_cast<size_t>(read->row_bytes));
      }
    }
    refused += status.ok() ? 0 : 1;
  }
  EXPECT_GT(refused, 1000);
}

TEST(Codec, ListsThatLieAboutTheirLengthTakeNoMemory) {
  // A million sized items of four bytes each would be 200 MB of WriteRequests.
  std::string bytes;
  ByteWriter out(bytes);
  out.Put(kEnvelopeVersion);
  out.Put<int32_t>(0);
  out.Put<uint32_t>(4 + 8'000'000);
  out.Put<uint32_t>(2'000'000);
  bytes.resize(bytes.size() + 8'000'000);
  const auto read = DecodeAnswer<std::vector<SegmentMeta>>(Frame::Of(bytes));
  EXPECT_EQ(read.status().code(), ErrorCode::kCorrupted);
  EXPECT_THAT(read.status().message(), testing::HasSubstr("memory"));
}

TEST(Codec, SchemasOfNoUseAreRefused) {
  const auto refused = [](const std::function<void(FieldSchema&)>& spoil, size_t field) {
    CollectionDraft draft;
    draft.schema = *EveryTypeSchema();
    spoil(draft.schema.fields[field]);
    return !DecodeAnswer<CollectionDraft>(EncodeAnswer(Result<CollectionDraft>(draft))).ok();
  };
  EXPECT_FALSE(refused([](FieldSchema&) {}, 0));
  EXPECT_TRUE(refused([](FieldSchema& f) { f.is_primary = false; }, 0));
  EXPECT_TRUE(refused([](FieldSchema& f) { f.type = DataType::kFloat; }, 0));
  EXPECT_TRUE(refused([](FieldSchema& f) { f.is_primary = true; }, 11));
  EXPECT_TRUE(refused([](FieldSchema& f) { f.dim = 0; }, 1));
  EXPECT_TRUE(refused([](FieldSchema& f) { f.dim = -1; }, 1));
  EXPECT_TRUE(refused([](FieldSchema& f) { f.type = static_cast<DataType>(77); }, 1));
  EXPECT_TRUE(refused([](FieldSchema& f) { f.default_value = Value(std::string("x")); }, 9));
  EXPECT_TRUE(refused([](FieldSchema& f) { f.default_value = Value(int64_t{1}); }, 14));
  EXPECT_TRUE(refused([](FieldSchema& f) { f.default_value = Value(std::string("short")); }, 1));
  EXPECT_TRUE(refused([](FieldSchema& f) { f.is_dynamic = true; }, 9));
  EXPECT_FALSE(refused([](FieldSchema& f) { f.default_value = Value(int64_t{1}); }, 9));
  EXPECT_FALSE(refused([](FieldSchema& f) { f.default_value = Value(std::string("x")); }, 14));
}

// ---- plans

template <typename Plan>
Result<std::shared_ptr<const Plan>> Travelled(const std::shared_ptr<const Plan>& plan, PlanReader& plans, int64_t deadline_us = 77) {
  const Frame frame = EncodeRequest({}, nullptr, plan);
  FrameReader in(frame);
  RETURN_IF_ERROR(ReadVersion(in));
  WireReader reader(in, &plans, deadline_us);
  CallHeader header;
  reader(header);
  std::shared_ptr<const Plan> back;
  RETURN_IF_ERROR(DecodeArguments(reader, back));
  return back;
}

TEST(Plans, TravelWhole) {
  RandomCodec random(5);
  PlanReader plans;
  for (const TestFilter& test : TestFilters()) {
    SCOPED_TRACE(test.text);
    const auto filter = ParseFilter(test.text, EveryTypeSchema(), test.templates);
    ASSERT_TRUE(filter.ok()) << filter.status().ToString();
    const std::shared_ptr<const SearchPlan> search = RandomSearchPlan(random, *filter, 1 + static_cast<int>(random.Below(5)), EveryTypeSchema());
    const auto searched = Travelled(search, plans);
    ASSERT_TRUE(searched.ok()) << searched.status().ToString();
    EXPECT_EQ(Encoded(*searched), Encoded(search));
    EXPECT_EQ((*searched)->deadline_us, 77);
    EXPECT_EQ((*searched)->filter->fields(), (*filter)->fields());
    EXPECT_EQ((*searched)->filter->IsKeysOnly(), (*filter)->IsKeysOnly());
    ASSERT_EQ((*searched)->filter->LimitedToKeys().has_value(), (*filter)->LimitedToKeys().has_value());
    if ((*filter)->LimitedToKeys()) {
      EXPECT_EQ((*searched)->filter->LimitedToKeys()->ints, (*filter)->LimitedToKeys()->ints);
    }
    const std::shared_ptr<const QueryPlan> query = RandomQueryPlan(random, *filter, EveryTypeSchema());
    const auto queried = Travelled(query, plans);
    ASSERT_TRUE(queried.ok()) << queried.status().ToString();
    EXPECT_EQ(Encoded(*queried), Encoded(query));
    ASSERT_EQ((*queried)->budget != nullptr, query->budget != nullptr);
    if (query->budget != nullptr) {
      EXPECT_NE((*queried)->budget, query->budget);
      EXPECT_EQ((*queried)->budget->limit, query->budget->limit);
      EXPECT_EQ((*queried)->budget->left, 2 * query->budget->limit);
    }
  }
}

TEST(Plans, WithoutAFilterAndWithManyQueries) {
  RandomCodec random(6);
  PlanReader plans;
  for (const int nq : {0, 1, 16'384}) {
    const std::shared_ptr<const SearchPlan> plan = RandomSearchPlan(random, nullptr, nq, EveryTypeSchema());
    const auto back = Travelled(plan, plans);
    ASSERT_TRUE(back.ok()) << back.status().ToString();
    EXPECT_EQ((*back)->filter, nullptr);
    EXPECT_EQ((*back)->queries, plan->queries);
  }
}

// The rows of a batch as a filter's source.
class BatchSource final : public FilterSource {
 public:
  explicit BatchSource(const RowBatch& batch) : batch_(batch) {}
  int64_t rows() const override { return batch_.rows; }
  std::optional<Chunk> ChunkAt(FieldId field, int64_t) const override {
    const Column* column = batch_.Find(field);
    if (column == nullptr) return std::nullopt;
    return Chunk{0, column->View()};
  }

 private:
  const RowBatch& batch_;
};

// Rows on which the filters are true for some and false for others.
RowBatch FilteredRows() {
  RandomCodec random(7);
  const SchemaPtr schema = EveryTypeSchema();
  RowBatch batch;
  batch.rows = 400;
  for (const FieldSchema& field : schema->fields) {
    Column column(field);
    for (int64_t i = 0; i < batch.rows; ++i) {
      const int64_t n = random.Below(12);
      if (field.nullable && n == 0) {
        column.AppendNull();
      } else if (field.type == DataType::kJson) {
        column.AppendBytes(n < 6 ? R"({"a":{"b":5},"c":1,"tags":["red"],"colour":"red"})" : R"({"a":{"b":1},"dynamic_thing":7})");
      } else if (field.type == DataType::kVarChar) {
        column.AppendBytes(n < 4 ? "abcd" : n < 8 ? "\xc3\xa4xzy" : "a\"b\\c\xc3\xa4");
      } else if (field.type == DataType::kArray) {
        const Value element = field.element_type == DataType::kVarChar ? Value(std::string(n < 6 ? "a" : "b")) : Value(int64_t{n % 4});
        column.AppendBytes(EncodeArray(field.element_type, std::vector<Value>{element, Value(element)}));
      } else if (IsVector(field.type)) {
        column.width() > 0 ? column.AppendFixed(std::string(static_cast<size_t>(column.width()), 'x').data()) : column.AppendBytes("");
      } else if (field.type == DataType::kFloat || field.type == DataType::kDouble) {
        column.AppendValue(Value(static_cast<double>(n) / 2));
      } else {
        column.AppendValue(field.is_primary ? Value(i) : Value(n));
      }
    }
    batch.columns.push_back(std::move(column));
  }
  return batch;
}

TEST(Plans, FiltersMeanTheSameAfterwards) {
  const RowBatch batch = FilteredRows();
  const BatchSource source(batch);
  RandomCodec random(8);
  PlanReader plans;
  int64_t all = 0;
  for (const TestFilter& test : TestFilters()) {
    SCOPED_TRACE(test.text);
    const auto filter = ParseFilter(test.text, EveryTypeSchema(), test.templates);
    ASSERT_TRUE(filter.ok());
    const std::shared_ptr<const QueryPlan> plan = RandomQueryPlan(random, *filter, EveryTypeSchema());
    const auto back = Travelled(plan, plans);
    ASSERT_TRUE(back.ok()) << back.status().ToString();
    Bitmap here, there;
    (*filter)->Evaluate(source, here);
    (*back)->filter->Evaluate(source, there);
    for (int64_t i = 0; i < batch.rows; ++i) ASSERT_EQ(here.Test(i), there.Test(i)) << "row " << i;
    all += here.Count();
  }
  EXPECT_GT(all, 500);  // the comparison had something to compare
}

TEST(Plans, AreEncodedOnceForAllLegs) {
  RandomCodec random(9);
  const std::shared_ptr<const SearchPlan> plan = RandomSearchPlan(random, nullptr, 100, EveryTypeSchema());
  const Frame first = EncodeRequest({}, nullptr, GrowingLeg(), plan);
  const Frame second = EncodeRequest({}, nullptr, SealedLeg(), plan);
  ASSERT_GE(first.pieces.size(), 2u);
  EXPECT_EQ(first.pieces.back().bytes.data(), second.pieces.back().bytes.data());
  SearchPlan copy = *plan;
  copy.nq = 1;
  copy.queries.resize(32);
  const auto changed = std::make_shared<const SearchPlan>(std::move(copy));
  EXPECT_LT(EncodeRequest({}, nullptr, GrowingLeg(), changed).size(), first.size());
}

TEST(Plans, FiltersThatComeAgainAreNotParsedAgain) {
  RandomCodec random(10);
  PlanReader plans;
  const char* text = "i64 > 3 and text like \"a%\"";
  std::set<const Filter*> filters;
  for (int i = 0; i < 5; ++i) {
    const std::shared_ptr<const SearchPlan> plan = RandomSearchPlan(random, *ParseFilter(text, EveryTypeSchema()), 1, EveryTypeSchema());
    const auto back = Travelled(plan, plans);
    ASSERT_TRUE(back.ok());
    filters.insert((*back)->filter.get());
  }
  EXPECT_EQ(filters.size(), 1u);
  EXPECT_EQ(plans.filters_parsed(), 1);
  // Another schema, the same text: another filter.
  auto other = std::make_shared<CollectionSchema>(*EveryTypeSchema());
  other->fields.push_back(TestField(130, "later", DataType::kInt64));
  const std::shared_ptr<const SearchPlan> plan = RandomSearchPlan(random, *ParseFilter(text, other), 1, other);
  ASSERT_TRUE(Travelled(plan, plans).ok());
  EXPECT_EQ(plans.filters_parsed(), 2);
}

TEST(Plans, WhatIsNotSoundIsRefused) {
  RandomCodec random(11);
  PlanReader plans;
  const auto refused = [&](const std::function<void(SearchPlan&)>& spoil) {
    auto plan = RandomSearchPlan(random, nullptr, 2, EveryTypeSchema());
    spoil(*plan);
    return !Travelled(std::shared_ptr<const SearchPlan>(plan), plans).ok();
  };
  EXPECT_FALSE(refused([](SearchPlan&) {}));
  EXPECT_TRUE(refused([](SearchPlan& p) { p.queries.pop_back(); }));
  EXPECT_TRUE(refused([](SearchPlan& p) { p.nq = 3; }));
  EXPECT_TRUE(refused([](SearchPlan& p) { p.nq = -1; }));
  EXPECT_TRUE(refused([](SearchPlan& p) { p.row_bytes = 0; }));
  EXPECT_TRUE(refused([](SearchPlan& p) { p.dim = 9; }));
  EXPECT_TRUE(refused([](SearchPlan& p) { p.vector_field = FieldId(100); }));
  EXPECT_TRUE(refused([](SearchPlan& p) { p.vector_field = FieldId(999); }));
  EXPECT_TRUE(refused([](SearchPlan& p) { p.vector_type = DataType::kBinaryVector; }));
  EXPECT_TRUE(refused([](SearchPlan& p) { p.group_by = FieldId(999); }));
  EXPECT_TRUE(refused([](SearchPlan& p) { p.group_size = 0; }));
  EXPECT_TRUE(refused([](SearchPlan& p) { p.params.k = -1; }));
  auto query = RandomQueryPlan(random, nullptr, EveryTypeSchema());
  query->output_fields.push_back(FieldId(999));
  EXPECT_FALSE(Travelled(std::shared_ptr<const QueryPlan>(query), plans).ok());
}

TEST(Plans, AnswersThatDoNotFitAreRefused) {
  RandomCodec random(12);
  SearchPlan plan;
  plan.nq = 2;
  SearchHits good{{0, 1, 2}, {{1, SegmentId(1), 0}, {2, SegmentId(1), 1}}, random.RandomKeys(false, 2), {}, 1, 2};
  EXPECT_TRUE(CheckAnswer(plan, good).ok());
  EXPECT_TRUE(CheckAnswer(plan, SearchHits()).ok());
  SearchHits bad = good;
  bad.offsets = {0, 2, 1};
  EXPECT_FALSE(CheckAnswer(plan, bad).ok());
  bad.offsets = {0, 2};
  EXPECT_FALSE(CheckAnswer(plan, bad).ok());
  bad.offsets = {0, 1, 3};
  EXPECT_FALSE(CheckAnswer(plan, bad).ok());
  bad = good;
  bad.keys.ints.pop_back();
  EXPECT_FALSE(CheckAnswer(plan, bad).ok());
  plan.group_by = FieldId(111);
  EXPECT_FALSE(CheckAnswer(plan, good).ok());

  QueryPlan query;
  query.schema = EveryTypeSchema();
  query.output_fields = {FieldId(100), FieldId(114)};
  QueryRows rows;
  EXPECT_TRUE(CheckAnswer(query, rows).ok());
  rows.keys = random.RandomKeys(false, 2);
  rows.timestamps = {1, 2};
  rows.rows.rows = 2;
  rows.rows.columns = {random.RandomColumn(query.schema->fields[0], 2), random.RandomColumn(query.schema->fields[14], 2)};
  EXPECT_TRUE(CheckAnswer(query, rows).ok()) << CheckAnswer(query, rows).ToString();
  std::swap(rows.rows.columns[0], rows.rows.columns[1]);
  EXPECT_FALSE(CheckAnswer(query, rows).ok());
  rows.rows.columns.pop_back();
  EXPECT_FALSE(CheckAnswer(query, rows).ok());
  rows.rows.columns.clear();
  EXPECT_FALSE(CheckAnswer(query, rows).ok());
  rows.timestamps.pop_back();
  EXPECT_FALSE(CheckAnswer(query, rows).ok());
}

// ---- who may call

TEST(Admission, RefusesWhatIsMeantForOthers) {
  Admission admission("ours", NodeId(7));
  const CallHeader good{"ours", NodeId(7), NodeId(3), {}};
  EXPECT_TRUE(admission.Check(good, false).ok());
  CallHeader header = good;
  header.cluster = "theirs";
  EXPECT_EQ(admission.Check(header, false).code(), ErrorCode::kCrossClusterRouting);
  header = good;
  header.target = NodeId(8);
  EXPECT_EQ(admission.Check(header, false).code(), ErrorCode::kNodeNotMatch);
  EXPECT_THAT(admission.Check(header, false).message(), testing::HasSubstr("node mismatch"));
}

TEST(Admission, CommandsNeedATokenNotLowerThanSeen) {
  Admission admission("c", NodeId(1));
  const auto command = [&](std::vector<LeaderToken> tokens) { return admission.Check({"c", NodeId(1), NodeId(2), std::move(tokens)}, true).code(); };
  EXPECT_EQ(command({}), ErrorCode::kPrivilegeNotPermitted);
  EXPECT_EQ(command({{"rootcoord", 1, 0}}), ErrorCode::kPrivilegeNotPermitted);  // stands by
  EXPECT_EQ(command({{"rootcoord", 1, 10}}), ErrorCode::kOk);
  EXPECT_EQ(command({{"rootcoord", 1, 10}}), ErrorCode::kOk);
  EXPECT_EQ(command({{"rootcoord", 1, 12}}), ErrorCode::kOk);
  EXPECT_EQ(command({{"rootcoord", 1, 10}}), ErrorCode::kSuperseded);
  EXPECT_EQ(command({{"datacoord", 1, 5}}), ErrorCode::kOk);  // each role has its own
  EXPECT_EQ(command({{"rootcoord", 2, 3}}), ErrorCode::kOk);  // a rebuilt meta store counts from the beginning
  EXPECT_EQ(command({{"rootcoord", 1, 99}}), ErrorCode::kSuperseded);
  admission.Observe({"rootcoord", 2, 8});
  EXPECT_EQ(command({{"rootcoord", 2, 7}}), ErrorCode::kSuperseded);
  // A refused command leaves no trace of its other tokens.
  EXPECT_EQ(command({{"datacoord", 1, 9}, {"rootcoord", 2, 7}}), ErrorCode::kSuperseded);
  EXPECT_EQ(command({{"datacoord", 1, 5}}), ErrorCode::kOk);
}

}  // namespace
}  // namespace saker
