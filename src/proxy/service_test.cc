// Calls through the table of methods, as a client sees them.
#include "proxy/proxy_fixture.h"

namespace saker {
namespace {

class ProxyRpc : public ProxyPaths {
 protected:
  void SetUp() override {
    ProxyPaths::SetUp();
    proxy_->RegisterMethods(table_);
  }
  template <typename Response, typename Request>
  Response Call(const std::string& name, const Request& request) {
    std::promise<Response> promise;
    table_.Call<Request, Response>("/milvus.proto.milvus.MilvusService/" + name, request, nullptr,
                                   [&](const Status& status, const Response& response) {
                                     EXPECT_TRUE(status.ok()) << status.message();
                                     promise.set_value(response);
                                   });
    return promise.get_future().get();
  }
  wire::milvus::SearchRequest SearchRequest(int64_t limit) {
    wire::milvus::SearchRequest request;
    request.set_collection_name("c");
    request.set_dsl_type(wire::common::BoolExprV1);
    wire::common::PlaceholderGroup group;
    auto* placeholder = group.add_placeholders();
    placeholder->set_type(wire::common::FloatVector);
    const float query[2] = {0, 0};
    placeholder->add_values(std::string(reinterpret_cast<const char*>(query), sizeof(query)));
    request.set_placeholder_group(group.SerializeAsString());
    const auto add = [&](const char* key, const std::string& value) {
      auto* pair = request.add_search_params();
      pair->set_key(key);
      pair->set_value(value);
    };
    add("topk", std::to_string(limit));
    add("anns_field", "v");
    add("metric_type", "L2");
    add("params", "{}");
    return request;
  }
  MethodTable table_;
};

TEST_F(ProxyRpc, NamesAndTypesAreTheProtocols) {
  const Status status = table_.CheckAgainstDescriptors();
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_GE(table_.names().size(), 70u);
}

TEST_F(ProxyRpc, MissingCollectionsAreToldAsMilvusDoes) {
  wire::milvus::DescribeCollectionRequest describe;
  describe.set_collection_name("nope");
  auto described = Call<wire::milvus::DescribeCollectionResponse>("DescribeCollection", describe);
  EXPECT_EQ(described.status().error_code(), wire::common::UnexpectedError);
  EXPECT_EQ(described.status().code(), 100);
  EXPECT_EQ(described.status().reason(), "can't find collection collection not found[database=default][collection=nope]");
  describe.set_collection_name("");
  described = Call<wire::milvus::DescribeCollectionResponse>("DescribeCollection", describe);
  EXPECT_EQ(described.status().error_code(), wire::common::IllegalArgument);
  EXPECT_EQ(described.status().code(), 1100);
  EXPECT_EQ(described.status().reason(), "collection name should not be empty: invalid parameter");
  wire::milvus::DropCollectionRequest drop;
  drop.set_collection_name("nope");
  EXPECT_EQ(Call<wire::common::Status>("DropCollection", drop).code(), 0);
  wire::milvus::LoadCollectionRequest load;
  load.set_collection_name("nope");
  const auto loaded = Call<wire::common::Status>("LoadCollection", load);
  EXPECT_EQ(loaded.error_code(), wire::common::CollectionNotExists);
  EXPECT_EQ(loaded.reason(), "collection not found[database=default][collection=nope]");
  wire::milvus::GetLoadStateRequest state;
  state.set_collection_name("nope");
  EXPECT_EQ(Call<wire::milvus::GetLoadStateResponse>("GetLoadState", state).state(), wire::common::LoadStateNotExist);
  wire::milvus::HasCollectionRequest has;
  has.set_collection_name("nope");
  EXPECT_FALSE(Call<wire::milvus::BoolResponse>("HasCollection", has).value());
  has.set_db_name("nodb");
  const auto nodb = Call<wire::milvus::BoolResponse>("HasCollection", has);
  EXPECT_EQ(nodb.status().code(), 800);
  EXPECT_EQ(nodb.status().reason(), "database not found[database=nodb]");
}

TEST_F(ProxyRpc, DescribesTheCollection) {
  wire::milvus::DescribeCollectionRequest describe;
  describe.set_collection_name("c");
  const auto described = Call<wire::milvus::DescribeCollectionResponse>("DescribeCollection", describe);
  EXPECT_EQ(described.status().code(), 0);
  EXPECT_EQ(described.collectionid(), 50);
  EXPECT_EQ(described.schema().fields_size(), 3);
  EXPECT_EQ(described.schema().fields(0).fieldid(), 100);
  EXPECT_EQ(described.db_name(), "default");
  EXPECT_EQ(described.shards_num(), 1);
  EXPECT_EQ(described.virtual_channel_names_size(), 1);
}

TEST_F(ProxyRpc, InsertSearchAndQueryOverTheWire) {
  wire::milvus::InsertRequest insert;
  insert.set_collection_name("c");
  insert.set_num_rows(2);
  auto* ids = insert.add_fields_data();
  ids->set_field_name("id");
  auto* vectors = insert.add_fields_data();
  vectors->set_field_name("v");
  auto* texts = insert.add_fields_data();
  texts->set_field_name("t");
  for (int i = 1; i <= 2; ++i) {
    ids->mutable_scalars()->mutable_long_data()->add_data(i);
    vectors->mutable_vectors()->mutable_float_vector()->add_data(static_cast<float>(i));
    vectors->mutable_vectors()->mutable_float_vector()->add_data(0);
    texts->mutable_scalars()->mutable_string_data()->add_data("text " + std::to_string(i));
  }
  const auto inserted = Call<wire::milvus::MutationResult>("Insert", insert);
  EXPECT_EQ(inserted.status().code(), 0) << inserted.status().reason();
  EXPECT_EQ(inserted.insert_cnt(), 2);
  EXPECT_THAT(inserted.ids().int_id().data(), ElementsAre(1, 2));
  EXPECT_THAT(inserted.succ_index(), ElementsAre(0, 1));
  EXPECT_GT(inserted.timestamp(), 0u);

  auto request = SearchRequest(10);
  request.add_output_fields("t");
  const auto found = Call<wire::milvus::SearchResults>("Search", request);
  ASSERT_EQ(found.status().code(), 0) << found.status().reason();
  EXPECT_EQ(found.results().num_queries(), 1);
  EXPECT_THAT(found.results().topks(), ElementsAre(2));
  EXPECT_THAT(found.results().ids().int_id().data(), ElementsAre(1, 2));
  EXPECT_THAT(found.results().scores(), ElementsAre(1.0f, 4.0f));
  ASSERT_EQ(found.results().fields_data_size(), 1);
  EXPECT_THAT(found.results().fields_data(0).scalars().string_data().data(), ElementsAre("text 1", "text 2"));
  EXPECT_THAT(found.results().output_fields(), ElementsAre("t"));

  wire::milvus::QueryRequest query;
  query.set_collection_name("c");
  query.set_expr("id == 2");
  query.add_output_fields("v");
  const auto rows = Call<wire::milvus::QueryResults>("Query", query);
  ASSERT_EQ(rows.status().code(), 0) << rows.status().reason();
  ASSERT_EQ(rows.fields_data_size(), 2);
  EXPECT_EQ(rows.fields_data(0).vectors().dim(), 2);
  EXPECT_THAT(rows.fields_data(0).vectors().float_vector().data(), ElementsAre(2.0f, 0.0f));
  EXPECT_THAT(rows.fields_data(1).scalars().long_data().data(), ElementsAre(2));
  query.clear_output_fields();
  query.add_output_fields("count(*)");
  EXPECT_EQ(Call<wire::milvus::QueryResults>("Query", query).fields_data(0).scalars().long_data().data(0), 1);

  auto nothing = SearchRequest(10);
  nothing.set_dsl("id == 77");
  const auto empty = Call<wire::milvus::SearchResults>("Search", nothing);
  EXPECT_EQ(empty.status().code(), 0);
  EXPECT_EQ(empty.status().reason(), "search result is empty");
  EXPECT_THAT(empty.results().topks(), ElementsAre(0));

  auto unsupported = SearchRequest(10);
  unsupported.mutable_highlighter();
  EXPECT_EQ(Call<wire::milvus::SearchResults>("Search", unsupported).status().code(), 1100);

  insert.set_schema_timestamp(12345);
  EXPECT_EQ(Call<wire::milvus::MutationResult>("Insert", insert).status().error_code(), wire::common::SchemaMismatch);
}

TEST_F(ProxyRpc, ConnectAndVersion) {
  const auto connected = Call<wire::milvus::ConnectResponse>("Connect", wire::milvus::ConnectRequest());
  EXPECT_EQ(connected.status().code(), 0);
  EXPECT_FALSE(connected.server_info().build_tags().empty());
  EXPECT_GT(connected.identifier(), 0);
  EXPECT_EQ(Call<wire::milvus::GetVersionResponse>("GetVersion", wire::milvus::GetVersionRequest()).version(), proxy_->settings().version);
}

TEST_F(ProxyRpc, GrantsReadTheUserFromTheHeaderEvenWithoutAuthentication) {
  wire::milvus::OperatePrivilegeRequest grant;
  auto* entity = grant.mutable_entity();
  entity->mutable_role()->set_name("r");
  entity->mutable_object()->set_name("Collection");
  entity->set_object_name("*");
  entity->mutable_grantor()->mutable_privilege()->set_name("Search");
  EXPECT_THAT(Call<wire::common::Status>("OperatePrivilege", grant).reason(), HasSubstr("fail to get authorization from the md"));
}

// A number of a newer protocol must not be taken for something known.
TEST_F(ProxyRpc, UnknownOperationsAreRefused) {
  wire::milvus::OperatePrivilegeRequest grant;
  auto* entity = grant.mutable_entity();
  entity->mutable_role();
  entity->mutable_object();
  entity->mutable_grantor()->mutable_privilege();
  grant.set_type(static_cast<wire::milvus::OperatePrivilegeType>(7));
  EXPECT_EQ(Call<wire::common::Status>("OperatePrivilege", grant).reason(), "invalid operate privilege type, current type: 7");
  wire::milvus::OperatePrivilegeV2Request grant2;
  grant2.set_type(static_cast<wire::milvus::OperatePrivilegeType>(7));
  EXPECT_EQ(Call<wire::common::Status>("OperatePrivilegeV2", grant2).reason(), "invalid operate privilege type, current type: 7");
  wire::milvus::OperateUserRoleRequest user_role;
  user_role.set_type(static_cast<wire::milvus::OperateUserRoleType>(7));
  EXPECT_EQ(Call<wire::common::Status>("OperateUserRole", user_role).reason(), "invalid operate user role type, operate type: 7");
}

TEST_F(ProxyRpc, CollectionsThatContradictThemselves) {
  wire::schema::CollectionSchema schema;
  schema.set_name("d");
  auto* id = schema.add_fields();
  id->set_name("id");
  id->set_is_primary_key(true);
  id->set_data_type(wire::schema::Int64);
  wire::milvus::CreateCollectionRequest create;
  create.set_collection_name("e");
  create.set_schema(schema.SerializeAsString());
  auto answer = Call<wire::common::Status>("CreateCollection", create);
  EXPECT_EQ(answer.code(), 1100);
  EXPECT_EQ(answer.reason(),
            "collection name = e, schema.Name=d: invalid parameter[expected=collection name matches schema name][actual=don't match]");
  create.set_collection_name("d");
  create.set_num_partitions(-4294967295);  // 1, in 32 bits
  EXPECT_EQ(Call<wire::common::Status>("CreateCollection", create).reason(), "num_partitions -4294967295 is out of range: invalid parameter");
  create.clear_num_partitions();
  create.set_consistency_level(static_cast<wire::common::ConsistencyLevel>(9));
  EXPECT_EQ(Call<wire::common::Status>("CreateCollection", create).reason(), "consistency level 9 is not known: invalid parameter");
}

TEST_F(ProxyRpc, AnUnknownConsistencyLevelLeavesTheTimestampToDecide) {
  wire::milvus::QueryRequest query;
  query.set_collection_name("c");
  query.set_expr("id > 0");
  query.set_consistency_level(static_cast<wire::common::ConsistencyLevel>(9));
  EXPECT_EQ(Call<wire::milvus::QueryResults>("Query", query).status().code(), 0);
  EXPECT_EQ(peers_.node.read_points.back().level, ConsistencyLevel::kEventually);
}

TEST_F(ProxyRpc, ASecondIndexOnAField) {
  wire::milvus::CreateIndexRequest create;
  create.set_collection_name("c");
  create.set_field_name("v");
  create.set_index_name("other");
  const auto add = [&](const char* key, const char* value) {
    auto* pair = create.add_extra_params();
    pair->set_key(key);
    pair->set_value(value);
  };
  add("index_type", "FLAT");
  add("metric_type", "L2");
  EXPECT_EQ(Call<wire::common::Status>("CreateIndex", create).reason(),
            "CreateIndex failed: creating multiple indexes on same field is not supported");
}

TEST_F(ProxyRpc, DroppingAnUnknownDatabaseSucceeds) {
  wire::milvus::DropDatabaseRequest drop;
  drop.set_db_name("nodb");
  EXPECT_EQ(Call<wire::common::Status>("DropDatabase", drop).code(), 0);
  drop.set_db_name("no-db");
  EXPECT_EQ(Call<wire::common::Status>("DropDatabase", drop).code(), 802);
}

TEST_F(ProxyRpc, FlushingAnUnknownDatabase) {
  wire::milvus::FlushAllRequest flush;
  flush.set_db_name("nodb");
  EXPECT_EQ(Call<wire::milvus::FlushAllResponse>("FlushAll", flush).status().code(), 800);
}

}  // namespace
}  // namespace saker
