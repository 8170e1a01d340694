// Searches and queries through a proxy whose nodes misbehave on demand.
#include "proxy/proxy_fixture.h"

namespace saker {
namespace {

TEST_F(ProxyPaths, RowsOfBothKindsAreFoundWithTheirFields) {
  Seal({1, 2, 3});
  ASSERT_TRUE(Insert({4, 5}).ok());
  SearchCall call = SearchFor(3.4f, 3);
  call.output_fields = {"t", "id", "v"};
  const auto reply = Search(call);
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_THAT(reply->keys.ints, ElementsAre(3, 4, 2));
  EXPECT_THAT(reply->counts, ElementsAre(3));
  EXPECT_NEAR(reply->scores[0], 0.16, 1e-5);
  ASSERT_EQ(reply->columns.size(), 3u);
  EXPECT_EQ(reply->columns[0].View().Bytes(0), "row 3.0");
  EXPECT_EQ(reply->columns[0].View().Bytes(1), "row 4.0");
  EXPECT_EQ(reply->columns[1].View().At<int64_t>(2), 2);
  EXPECT_EQ(reply->columns[2].View().At<float>(0), 3.0f);
  EXPECT_EQ(peers_.node.growing_legs, 1);

  call.parts[0].offset = 1;
  call.parts[0].limit = 1;
  EXPECT_THAT(Search(call)->keys.ints, ElementsAre(4));
  call.parts[0].offset = 100;
  EXPECT_TRUE(Search(call)->keys.ints.empty());
  call = SearchFor(3.4f, 10);
  call.parts[0].filter = "id >= 4";
  EXPECT_THAT(Search(call)->keys.ints, ElementsAre(4, 5));
  call.parts[0].ignore_growing = true;
  EXPECT_TRUE(Search(call)->keys.ints.empty());
}

TEST_F(ProxyPaths, HybridSearchJoinsItsParts) {
  Seal({1, 2, 3});
  ASSERT_TRUE(Insert({10, 11}).ok());
  SearchCall call = SearchFor(1, 2);
  call.parts.push_back(Part(11, 2));
  call.parts.push_back(Part(11, 2));
  call.rank = RankWish();
  call.rank->limit = 3;
  call.output_fields = {"t"};
  const auto reply = Search(call);
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_THAT(reply->keys.ints, ElementsAre(11, 10, 1));
  EXPECT_EQ(reply->columns[0].View().Bytes(0), "row 11.0");
  EXPECT_EQ(reply->columns[0].View().Bytes(2), "row 1.0");
  call.rank->strategy = RankWish::Strategy::kWeighted;
  call.rank->weights = {1, 1};
  EXPECT_THAT(Search(call).status().message(), HasSubstr("the length of weights param mismatch with ann search requests"));
  call.rank = RankWish();
  for (const int64_t offset : {INT64_MAX, INT64_MAX - 9, int64_t{16384}, int64_t{-1}}) {
    call.rank->offset = offset;
    EXPECT_THAT(Search(call).status().message(), HasSubstr("is invalid, top k should be in range [1, 16384]")) << offset;
  }
}

TEST_F(ProxyPaths, AStaleRouteStartsTheReadAgain) {
  Seal({1});
  ASSERT_TRUE(Insert({2}).ok());
  const Status stale(ErrorCode::kStaleRoute, "stale");
  peers_.node.growing_faults = {stale};
  peers_.node.sealed_faults = {Status(), stale};
  peers_.node.fetch_faults = {stale};
  SearchCall call = SearchFor(0, 5);
  call.output_fields = {"t"};
  const auto reply = Search(call);
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_THAT(reply->keys.ints, ElementsAre(1, 2));
  EXPECT_TRUE(peers_.node.fetch_faults.empty());
  peers_.node.sealed_faults = {stale};
  EXPECT_EQ(Texts("id > 0").size(), 2u);
}

TEST_F(ProxyPaths, OtherFaultsEndTheRead) {
  peers_.node.sealed_faults = {Status(ErrorCode::kCorrupted, "file x is damaged")};
  const auto search = Search(SearchFor(0, 5));
  EXPECT_EQ(search.status().message(), "failed to search: file x is damaged");
  peers_.node.growing_faults = {Status(ErrorCode::kCorrupted, "file y is damaged")};
  EXPECT_EQ(Query(QueryFor("id > 0")).status().message(), "failed to query: file y is damaged");
}

TEST_F(ProxyPaths, AReadGivesUpAtItsDeadline) {
  peers_.node_there = false;
  const Stopwatch watch;
  const auto reply = Search(SearchFor(0, 5), 200);
  EXPECT_EQ(reply.status().code(), ErrorCode::kChannelNotAvailable);
  EXPECT_LT(watch.elapsed_ms(), 5'000);
}

TEST_F(ProxyPaths, ASegmentThatNobodyHoldsIsWaitedFor) {
  Placement placement;
  placement.collection = kCollection;
  placement.loaded = true;
  placement.segments.push_back({SegmentId(70), {}, true});
  ASSERT_TRUE(catalog_->WaitFor(Put(PlacementKey(kCollection), Encode(placement)), std::chrono::seconds(5)).ok());
  EXPECT_EQ(Search(SearchFor(0, 5), 200).status().code(), ErrorCode::kNodeNotFound);
  SetLoadedAndSeen(true);
  EXPECT_TRUE(Search(SearchFor(0, 5)).ok());
}

TEST_F(ProxyPaths, UnloadedIsRefusedWithMilvussText) {
  SetLoadedAndSeen(false);
  const auto search = Search(SearchFor(0, 5));
  EXPECT_EQ(search.status().code(), ErrorCode::kCollectionNotLoaded);
  EXPECT_EQ(search.status().message(), "failed to search: collection not loaded[collection=50]");
  EXPECT_EQ(Query(QueryFor("id > 0")).status().message(), "failed to query: collection not loaded[collection=50]");
  EXPECT_EQ(Delete("t == 'x'").status().message(), "collection not loaded[collection=50]");
  EXPECT_TRUE(Delete("id in [1]").ok());  // needs no reading
}

TEST_F(ProxyPaths, LoadsOnFirstUseWhereThatIsAskedFor) {
  SetLoadedAndSeen(false);
  ProxySettings settings;
  settings.load_on_first_use = true;
  Restart(settings);
  peers_.coords.on_load = [this] { return SetLoaded(true); };
  Seal({1});
  const auto reply = Search(SearchFor(0, 5));
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_THAT(reply->keys.ints, ElementsAre(1));
}

TEST_F(ProxyPaths, IteratorsReadAtTheirTimestamp) {
  ASSERT_TRUE(Insert({1, 2}).ok());
  QueryCall call = QueryFor("id > 0");
  call.pinned = true;
  const auto first = Query(call);
  ASSERT_TRUE(first.ok());
  ASSERT_GT(first->read_ts, 0u);
  ASSERT_TRUE(Insert({3}).ok());
  ASSERT_TRUE(Delete("id in [1]").ok());
  call.consistency = {true, ConsistencyLevel::kBounded, first->read_ts};
  const auto later = Query(call);
  ASSERT_TRUE(later.ok());
  EXPECT_EQ(later->columns[0].rows(), 2);
  EXPECT_EQ(later->read_ts, first->read_ts);
  call.pinned = false;
  EXPECT_EQ(Query(call)->columns[0].rows(), 2);  // 2 and 3
  EXPECT_THAT(Texts("id > 0"), ElementsAre("row 2.0", "row 3.0"));
}

TEST_F(ProxyPaths, AGuaranteeAheadOfTheOwnerIsReadAsStrong) {
  peers_.node.behind = Timestamp{10'000} << kLogicalBits;
  const auto inserted = Insert({1});
  QueryCall call = QueryFor("id > 0");
  call.consistency = {false, ConsistencyLevel::kSession, inserted->ts};
  const auto reply = Query(call);
  ASSERT_TRUE(reply.ok());
  EXPECT_EQ(reply->columns[0].rows(), 1);
  ASSERT_EQ(peers_.node.read_points.size(), 2u);
  EXPECT_EQ(peers_.node.read_points[1].level, ConsistencyLevel::kStrong);
  // one that no clock will reach: answered all the same
  call.consistency.guarantee_ts = kMaxTimestamp - 1;
  EXPECT_TRUE(Query(call).ok());
}

TEST_F(ProxyPaths, QueriesCountPageAndRefuse) {
  Seal({1, 2, 3});
  ASSERT_TRUE(Insert({4, 5, 6}).ok());
  QueryCall call = QueryFor("");
  EXPECT_EQ(Query(call).status().message(), "empty expression should be used with limit");
  call.limit = 2;
  call.offset = 3;
  auto reply = Query(call);
  ASSERT_TRUE(reply.ok());
  EXPECT_THAT(reply->output_fields, ElementsAre("t", "id"));
  EXPECT_EQ(reply->columns[1].View().At<int64_t>(0), 4);
  EXPECT_EQ(reply->columns[1].rows(), 2);
  call.offset = 100;
  EXPECT_EQ(Query(call)->columns[1].rows(), 0);
  call.limit = 16385;
  EXPECT_THAT(Query(call).status().message(), HasSubstr("invalid max query result window, (offset+limit) should be in range [1, 16384]"));
  call.output_fields = {"count(*)"};
  call.limit = 5;
  call.offset = 0;
  EXPECT_EQ(Query(call).status().message(), "count entities with pagination is not allowed");
  call.limit = -1;
  EXPECT_EQ(Query(call)->count, 6);
  call.filter = "id > 4";
  EXPECT_EQ(Query(call)->count, 2);
  call = QueryFor("");
  call.keys.emplace();
  call.keys->ints = {5, 2, 77};
  EXPECT_EQ(Query(call)->columns[0].rows(), 2);
  call = QueryFor("zz > 1");
  EXPECT_THAT(Query(call).status().message(), HasSubstr("cannot parse expression: zz > 1, error: field zz not exist"));
  call = QueryFor("id > 1");
  call.partitions = {"nope"};
  EXPECT_EQ(Query(call).status().message(), "partition name nope not found");
}

TEST_F(ProxyPaths, SearchesAreRefusedWithMilvussReasons) {
  const auto refusal = [this](const std::function<void(SearchCall&)>& change) {
    SearchCall call = SearchFor(0, 5);
    change(call);
    return Search(call).status().message();
  };
  EXPECT_EQ(refusal([](auto& c) { c.collection = "nope"; }), "collection not found[database=default][collection=nope]");
  EXPECT_EQ(refusal([](auto& c) { c.parts[0].limit = 16385; }),
            "topk [16385] is invalid, top k should be in range [1, 16384], but got 16385");
  EXPECT_THAT(refusal([](auto& c) { c.parts[0].offset = 16384; }), HasSubstr("offset+topk [16389] is invalid"));
  EXPECT_THAT(refusal([](auto& c) { c.parts[0].nq = 0; }), HasSubstr("nq [0] is invalid, nq (number of search vector per search"));
  EXPECT_THAT(refusal([](auto& c) { c.parts[0].filter = "id >"; }), HasSubstr("failed to create query plan: cannot parse expression: id >"));
  EXPECT_THAT(refusal([](auto& c) { c.parts[0].metric = "IP"; }), HasSubstr("metric type not match: invalid parameter[expected=L2][actual=IP]"));
  EXPECT_THAT(refusal([](auto& c) { c.parts[0].row_bytes = 4, c.parts[0].queries.resize(4); }), HasSubstr("vector dimension mismatch"));
  EXPECT_THAT(refusal([](auto& c) { c.parts[0].vector_field = "t"; }), HasSubstr("is not of vector data type"));
  EXPECT_EQ(refusal([](auto& c) { c.output_fields = {"zz"}; }), "field zz not exist");
  EXPECT_EQ(refusal([](auto& c) { c.partitions = {"zz"}; }), "partition name zz not found");
  EXPECT_THAT(refusal([](auto& c) { c.parts[0].group_by = "zz"; }), HasSubstr("groupBy field not found in schema"));
  EXPECT_THAT(refusal([](auto& c) { c.parts[0].round_decimal = 7; }), HasSubstr("round_decimal [7] is invalid"));
  EXPECT_EQ(refusal([](auto& c) { c.parts[0].metric = "l2"; }), "");
}

// Growing rows of a partition that was released stay with their owner, and must not be found.
TEST_F(ProxyPaths, ReleasedPartitionsAreNotRead) {
  collection_.partitions.push_back({PartitionId(61), "other", 1});
  SetLoadedAndSeen(true);
  ASSERT_TRUE(Search(SearchFor(0, 5)).ok());
  EXPECT_THAT(peers_.node.leg_partitions, ElementsAre());
  collection_.load.partitions = {PartitionId(61)};
  collection_.load.loaded = true;
  collection_.load.whole = false;
  ++collection_.version;
  ASSERT_TRUE(catalog_->WaitFor(Put(CollectionKey(kCollection), Encode(collection_)), std::chrono::seconds(5)).ok());
  ASSERT_TRUE(Search(SearchFor(0, 5)).ok());
  EXPECT_THAT(peers_.node.leg_partitions, ElementsAre(PartitionId(61)));
  Texts("id > 0");
  EXPECT_THAT(peers_.node.leg_partitions, ElementsAre(PartitionId(61)));
  SearchCall call = SearchFor(0, 5);
  call.partitions = {"_default"};
  EXPECT_EQ(Search(call).status().code(), ErrorCode::kPartitionNotLoaded);
}

// More hits than memory bears are refused before anything is searched, if there are as many rows.
TEST_F(ProxyPaths, TooManyHitsAtOnce) {
  ProxySettings settings;
  settings.limits.result_hits = 10;
  Restart(settings);
  ASSERT_TRUE(Insert({1, 2, 3}).ok());
  peers_.coords.rows = 3;
  EXPECT_EQ(Search(SearchFor(0, 11))->keys.size(), 3);
  peers_.coords.rows = 11;
  EXPECT_THAT(Search(SearchFor(0, 11)).status().message(), HasSubstr("exceed the limit of 10 hits: 1 queries with up to 11 hits each"));
  EXPECT_EQ(Search(SearchFor(0, 10))->keys.size(), 3);
}

TEST_F(ProxyPaths, ALifetimeBeyondAllClocksHidesNothing) {
  ASSERT_TRUE(Insert({1}).ok());
  for (const char* seconds : {"9223372036854775807", "-9223372036854775808", "x"}) {
    collection_.properties = {{"collection.ttl.seconds", seconds}};
    SetLoadedAndSeen(true);
    EXPECT_EQ(Texts("id > 0").size(), 1u) << seconds;
    EXPECT_EQ(peers_.node.views.back().expired_before >> 18, 0u) << seconds;
  }
}

TEST_F(ProxyPaths, RangeAndGrouping) {
  Seal({1, 2, 3});
  ASSERT_TRUE(Insert({4, 5}).ok());
  SearchCall call = SearchFor(0, 10);
  call.parts[0].params = {{"radius", "16"}, {"range_filter", "4"}};  // 4 <= d < 16
  EXPECT_THAT(Search(call)->keys.ints, ElementsAre(2, 3));
  call = SearchFor(0, 2);
  call.parts[0].group_by = "t";
  const auto reply = Search(call);
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_THAT(reply->keys.ints, ElementsAre(1, 2));
  ASSERT_EQ(reply->groups.size(), 2u);
  EXPECT_EQ(std::get<std::string>(reply->groups[0]), "row 1.0");
}

}  // namespace
}  // namespace saker
