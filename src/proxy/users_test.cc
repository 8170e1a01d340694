// Who may come in, and who may do what.
#include "proxy/proxy_fixture.h"

namespace saker {
namespace {

TEST_F(ProxyPaths, UsersAreKnownByTheirPasswords) {
  User root{"root", *HashPassword("Milvus"), {}};
  User bob{"bob", *HashPassword("bobs:word"), {"reader"}};
  Role reader{"reader", {{"reader", "Collection", "c", "default", "Search", "root"}}};
  Put(UserKey("root"), Encode(root));
  Put(UserKey("bob"), Encode(bob));
  ASSERT_TRUE(catalog_->WaitFor(Put(RoleKey("reader"), Encode(reader)), std::chrono::seconds(5)).ok());
  EXPECT_EQ(*proxy_->Authenticate(Base64Encode("root:Milvus")), "root");
  EXPECT_EQ(*proxy_->Authenticate(Base64Encode("bob:bobs:word")), "bob");
  for (const std::string bad : {"", "root:Milvus", "cm9vdA=="}) {
    EXPECT_EQ(proxy_->Authenticate(bad).status().code(), ErrorCode::kUnauthenticated) << bad;
  }
  EXPECT_EQ(proxy_->Authenticate(Base64Encode("root:milvus")).status().message(),
            "auth check failure, please check username and password are correct");
  EXPECT_TRUE(proxy_->Authorize("root", {"Global", "*", "default", "DropCollection"}).ok());
  EXPECT_TRUE(proxy_->Authorize("bob", {"Collection", "c", "default", "Search"}).ok());
  EXPECT_TRUE(proxy_->Authorize("bob", {"User", "bob", "default", "UpdateUser"}).ok());
  const Status denied = proxy_->Authorize("bob", {"Collection", "c", "default", "Insert"});
  EXPECT_EQ(denied.code(), ErrorCode::kPrivilegeNotPermitted);
  EXPECT_EQ(denied.message(), "PrivilegeInsert: permission deny to bob");

  // The same through a request's own description of what it needs.
  RequestContext context;
  context.user = "bob";
  wire::milvus::SearchRequest search;
  search.set_collection_name("c");
  EXPECT_TRUE(AuthorizeMessage(*proxy_, context, search).ok());
  search.set_collection_name("d");
  EXPECT_FALSE(AuthorizeMessage(*proxy_, context, search).ok());
  wire::milvus::InsertRequest insert;
  insert.set_collection_name("c");
  EXPECT_FALSE(AuthorizeMessage(*proxy_, context, insert).ok());
  wire::milvus::FlushRequest flush;
  flush.add_collection_names("c");
  EXPECT_FALSE(AuthorizeMessage(*proxy_, context, flush).ok());
  EXPECT_TRUE(AuthorizeMessage(*proxy_, context, wire::milvus::GetVersionRequest()).ok());
  EXPECT_TRUE(AuthorizeMessage(*proxy_, context, wire::milvus::ShowCollectionsRequest()).ok());
}

TEST_F(ProxyPaths, WhoIsGoneStaysOut) {
  Put(UserKey("bob"), Encode(User{"bob", *HashPassword("abc123"), {}}));
  ASSERT_TRUE(catalog_->WaitFor(Put(UserKey("bob"), Encode(User{"bob", *HashPassword("abc123"), {}})), std::chrono::seconds(5)).ok());
  EXPECT_TRUE(proxy_->Authenticate(Base64Encode("bob:abc123")).ok());
  EXPECT_TRUE(proxy_->Authenticate(Base64Encode("bob:abc123")).ok());  // remembered
  ASSERT_TRUE(catalog_->WaitFor(Put(UserKey("bob"), Encode(User{"bob", *HashPassword("abc124"), {}})), std::chrono::seconds(5)).ok());
  EXPECT_FALSE(proxy_->Authenticate(Base64Encode("bob:abc123")).ok());
  EXPECT_TRUE(proxy_->Authenticate(Base64Encode("bob:abc124")).ok());
  const auto deleted = store_->Commit({}, {MetaOp::Delete(UserKey("bob"))});
  ASSERT_TRUE(catalog_->WaitFor(*deleted, std::chrono::seconds(5)).ok());
  EXPECT_EQ(proxy_->Authenticate(Base64Encode("bob:abc124")).status().code(), ErrorCode::kUnauthenticated);
}

TEST_F(ProxyPaths, GrantsOfTheDatabaseTheClientIsIn) {
  Put(UserKey("ann"), Encode(User{"ann", *HashPassword("abc123"), {"maker"}}));
  Role maker{"maker", {{"maker", "Global", "*", "default", "CreateDatabase", "root"},
                       {"maker", "Collection", "c", "default", "GetLoadingProgress", "root"}}};
  ASSERT_TRUE(catalog_->WaitFor(Put(RoleKey("maker"), Encode(maker)), std::chrono::seconds(5)).ok());
  RequestContext context;
  context.user = "ann";
  wire::milvus::CreateDatabaseRequest create;
  create.set_db_name("new");
  EXPECT_TRUE(AuthorizeMessage(*proxy_, context, create).ok());
  wire::milvus::DropDatabaseRequest drop;
  drop.set_db_name("new");
  EXPECT_FALSE(AuthorizeMessage(*proxy_, context, drop).ok());
  context.db_name = "other";
  EXPECT_FALSE(AuthorizeMessage(*proxy_, context, create).ok());

  // Out of the database is more than a grant in it allows.
  Role mover{"maker", {{"maker", "Global", "*", "default", "RenameCollection", "root"}}};
  ASSERT_TRUE(catalog_->WaitFor(Put(RoleKey("maker"), Encode(mover)), std::chrono::seconds(5)).ok());
  context.db_name = "default";
  wire::milvus::RenameCollectionRequest rename;
  rename.set_newdbname("default");
  EXPECT_TRUE(AuthorizeMessage(*proxy_, context, rename).ok());
  rename.set_newdbname("other");
  EXPECT_FALSE(AuthorizeMessage(*proxy_, context, rename).ok());
  mover.grants.front().database = "*";
  ASSERT_TRUE(catalog_->WaitFor(Put(RoleKey("maker"), Encode(mover)), std::chrono::seconds(5)).ok());
  EXPECT_TRUE(AuthorizeMessage(*proxy_, context, rename).ok());
  ASSERT_TRUE(catalog_->WaitFor(Put(RoleKey("maker"), Encode(maker)), std::chrono::seconds(5)).ok());

  // The privilege 2.3.5 had for this alone.
  context.db_name.clear();
  wire::milvus::GetLoadingProgressRequest progress;
  progress.set_collection_name("c");
  EXPECT_TRUE(AuthorizeMessage(*proxy_, context, progress).ok());
  progress.set_collection_name("d");
  EXPECT_EQ(AuthorizeMessage(*proxy_, context, progress).message(), "PrivilegeGetLoadState: permission deny to ann");
  wire::milvus::GetLoadStateRequest state;
  state.set_collection_name("c");
  EXPECT_FALSE(AuthorizeMessage(*proxy_, context, state).ok());
}

}  // namespace
}  // namespace saker
