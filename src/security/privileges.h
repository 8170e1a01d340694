// Milvus's objects and privileges, and who may do what: pure functions over grants.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace saker {

inline constexpr std::string_view kRootUser = "root";
inline constexpr std::string_view kDefaultRootPassword = "Milvus";
inline constexpr std::string_view kAdminRole = "admin";
inline constexpr std::string_view kPublicRole = "public";
inline constexpr std::string_view kAnyWord = "*";
inline constexpr std::string_view kAllPrivileges = "All";

bool IsDefaultRole(std::string_view role);

// "Collection", "Global", "User".
bool IsObjectType(std::string_view name);
// Known in any object type: "Search", "CreateCollection", … (what comes after "Privilege" in the protocol).
bool IsPrivilege(std::string_view name);
// Grantable on this type of object.
bool IsPrivilegeOf(std::string_view object_type, std::string_view privilege);
// The object type a privilege belongs to: how the newer protocol, which names none, is translated. "" if unknown.
std::string_view ObjectTypeOf(std::string_view privilege);
// The privileges a built-in group of the newer protocol stands for ("CollectionReadOnly", "DatabaseAdmin", …); empty for
// what is no group.
std::vector<std::string_view> PrivilegesOfGroup(std::string_view group);

// What a call needs.
struct NeededPrivilege {
  std::string_view object_type;
  std::string_view object;     // a name, or "*" for none in particular
  std::string_view database;
  std::string_view privilege;
};
// One grant, as stored.
struct GrantView {
  std::string_view object_type;
  std::string_view object;
  std::string_view database;
  std::string_view privilege;
};
// Does this grant allow it? Names match exactly or by "*"; All on Global of a database allows everything in it.
bool Allows(const GrantView& grant, const NeededPrivilege& needed);
// What every user may do without a grant (the role `public`).
bool IsPublicPrivilege(std::string_view object_type, std::string_view privilege);

}  // namespace saker
