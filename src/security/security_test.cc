#include <gtest/gtest.h>

#include "security/password.h"
#include "security/privileges.h"

namespace saker {
namespace {

TEST(Password, HashesAreSaltedAndVerify) {
  const auto one = HashPassword("Milvus");
  const auto two = HashPassword("Milvus");
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_NE(*one, *two);
  EXPECT_TRUE(MatchesHash("Milvus", *one));
  EXPECT_FALSE(MatchesHash("milvus", *one));
  EXPECT_FALSE(MatchesHash("", *one));
  EXPECT_FALSE(MatchesHash("Milvus", "not a hash"));
  EXPECT_FALSE(MatchesHash(std::string_view("Milvus\0x", 8), *one));
}

TEST(Password, KnowsAHashOfMilvus) {
  // made by another bcrypt implementation (the published test vector of the $2a$ variant)
  EXPECT_TRUE(MatchesHash("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"));
  EXPECT_FALSE(MatchesHash("U*V", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"));
}

TEST(Password, TheSecondVerificationIsRemembered) {
  PasswordVerifier verifier;
  const std::string hash = *HashPassword("secret");
  EXPECT_FALSE(verifier.IsKnown(hash, "secret"));
  EXPECT_TRUE(verifier.Verify(hash, "secret"));
  EXPECT_TRUE(verifier.IsKnown(hash, "secret"));
  EXPECT_FALSE(verifier.IsKnown(hash, "other"));
  EXPECT_FALSE(verifier.Verify(hash, "other"));
  EXPECT_TRUE(verifier.IsKnown(hash, "secret"));
  EXPECT_FALSE(verifier.IsKnown(*HashPassword("secret"), "secret"));
}

TEST(Base64, RoundTripsAndRefusesGarbage) {
  std::string out;
  for (const std::string text : {"", "a", "ab", "abc", "root:Milvus", "\xff\x00z"}) {
    ASSERT_TRUE(Base64Decode(Base64Encode(text), out)) << text;
    EXPECT_EQ(out, text);
  }
  EXPECT_EQ(Base64Encode("root:Milvus"), "cm9vdDpNaWx2dXM=");
  for (const char* bad : {"a", "ab=", "a===", "====", "ab!=", "ab=c", "cm9v=Dp="}) EXPECT_FALSE(Base64Decode(bad, out)) << bad;
}

TEST(Privileges, GrantsMatchByNameStarAndAll) {
  const NeededPrivilege search{"Collection", "c1", "default", "Search"};
  EXPECT_TRUE(Allows({"Collection", "c1", "default", "Search"}, search));
  EXPECT_TRUE(Allows({"Collection", "*", "default", "Search"}, search));
  EXPECT_TRUE(Allows({"Collection", "c1", "*", "*"}, search));
  EXPECT_TRUE(Allows({"Global", "*", "default", "All"}, search));
  EXPECT_FALSE(Allows({"Global", "*", "other", "All"}, search));
  EXPECT_FALSE(Allows({"Global", "*", "default", "*"}, search));
  EXPECT_FALSE(Allows({"Collection", "c2", "default", "Search"}, search));
  EXPECT_FALSE(Allows({"Collection", "c1", "other", "Search"}, search));
  EXPECT_FALSE(Allows({"Collection", "c1", "default", "Insert"}, search));
}

TEST(Privileges, NamesAndGroups) {
  EXPECT_TRUE(IsPrivilegeOf("Collection", "Search"));
  EXPECT_FALSE(IsPrivilegeOf("Global", "Search"));
  EXPECT_FALSE(IsPrivilege("search"));
  EXPECT_TRUE(IsObjectType("User"));
  EXPECT_FALSE(IsObjectType("user"));
  const auto admin = PrivilegesOfGroup("CollectionAdmin");
  const auto read = PrivilegesOfGroup("CollectionReadOnly");
  EXPECT_GT(admin.size(), read.size());
  for (const auto group : {"CollectionAdmin", "DatabaseAdmin", "ClusterAdmin"}) {
    for (const auto privilege : PrivilegesOfGroup(group)) EXPECT_TRUE(IsPrivilege(privilege)) << privilege;
  }
  EXPECT_TRUE(PrivilegesOfGroup("Collection").empty());
  EXPECT_TRUE(PrivilegesOfGroup("Search").empty());
}

}  // namespace
}  // namespace saker
