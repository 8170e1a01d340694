#include "server/identity.h"

#include <gtest/gtest.h>

#include <fstream>

#include "catalog/node_fixture.h"
#include "meta/keys.h"

namespace saker {
namespace {

class IdentityTest : public testing::Test {
 protected:
  Result<Identity> Start(const TestDirectory& data) { return EstablishIdentity(data.path(), meta_.get(), objects_.get()); }

  TestDirectory stores_;
  std::unique_ptr<MetaStore> meta_ = *OpenRocksdbStore({stores_.path() + "/meta"});
  std::unique_ptr<ObjectStore> objects_ = *OpenDirectoryStore(stores_.path() + "/objects");
};

TEST_F(IdentityTest, ANodeIsTheSameAtEveryStart) {
  const TestDirectory one, two;
  const auto first = Start(one);
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  EXPECT_EQ(first->cluster.size(), 32u);
  const auto other = Start(two);
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(other->cluster, first->cluster);
  EXPECT_NE(other->node, first->node);
  const auto again = Start(one);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->node, first->node);
  EXPECT_GT(again->incarnation, first->incarnation);
}

TEST_F(IdentityTest, StoresOfDifferentClustersAreNotMixed) {
  const TestDirectory data, other_stores;
  const auto here = Start(data);
  ASSERT_TRUE(here.ok());
  const auto other_objects = *OpenDirectoryStore(other_stores.path() + "/objects");
  const auto other_meta = *OpenRocksdbStore({other_stores.path() + "/meta"});
  const TestDirectory fresh;
  ASSERT_TRUE(EstablishIdentity(fresh.path(), other_meta.get(), other_objects.get()).ok());

  const Status mixed = EstablishIdentity(fresh.path(), meta_.get(), other_objects.get()).status();
  EXPECT_EQ(mixed.code(), ErrorCode::kCrossClusterRouting);
  EXPECT_NE(mixed.message().find(here->cluster), std::string::npos) << mixed.message();
  const Status moved = EstablishIdentity(data.path(), other_meta.get(), other_objects.get()).status();
  EXPECT_EQ(moved.code(), ErrorCode::kCrossClusterRouting);
  EXPECT_NE(moved.message().find(data.path()), std::string::npos) << moved.message();
}

// The object store knows which cluster it is: a meta store that lost its data is told.
TEST_F(IdentityTest, ALostMetaStoreStaysInItsCluster) {
  const TestDirectory data, empty;
  const auto before = Start(data);
  ASSERT_TRUE(before.ok());
  const auto lost = *OpenRocksdbStore({empty.path()});
  const auto after = EstablishIdentity(data.path(), lost.get(), objects_.get());
  ASSERT_TRUE(after.ok()) << after.status().ToString();
  EXPECT_EQ(after->cluster, before->cluster);
  EXPECT_EQ(after->node, before->node);
  EXPECT_EQ(lost->Get(std::string(kClusterIdKey))->value, before->cluster);
}

TEST_F(IdentityTest, ADamagedNodeFileIsNamed) {
  const TestDirectory data;
  std::ofstream(data.path() + "/node") << "nonsense";
  const Status damaged = Start(data).status();
  EXPECT_EQ(damaged.code(), ErrorCode::kCorrupted);
  EXPECT_NE(damaged.message().find(data.path() + "/node"), std::string::npos) << damaged.message();
}

}  // namespace
}  // namespace saker
