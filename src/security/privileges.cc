#include "security/privileges.h"

#include <algorithm>
#include <array>

namespace saker {
namespace {

struct Known {
  std::string_view object_type;
  std::string_view privilege;
};

constexpr Known kKnown[] = {
    {"Collection", "Load"},
    {"Collection", "Release"},
    {"Collection", "Compaction"},
    {"Collection", "Insert"},
    {"Collection", "Delete"},
    {"Collection", "Upsert"},
    {"Collection", "GetStatistics"},
    {"Collection", "CreateIndex"},
    {"Collection", "IndexDetail"},
    {"Collection", "DropIndex"},
    {"Collection", "Search"},
    {"Collection", "Flush"},
    {"Collection", "Query"},
    {"Collection", "LoadBalance"},
    {"Collection", "Import"},
    {"Collection", "GetLoadingProgress"},
    {"Collection", "GetLoadState"},
    {"Collection", "CreatePartition"},
    {"Collection", "DropPartition"},
    {"Collection", "ShowPartitions"},
    {"Collection", "HasPartition"},
    {"Collection", "GetFlushState"},
    {"Collection", "AddCollectionField"},
    {"Global", "All"},
    {"Global", "CreateCollection"},
    {"Global", "DropCollection"},
    {"Global", "DescribeCollection"},
    {"Global", "ShowCollections"},
    {"Global", "RenameCollection"},
    {"Global", "CreateOwnership"},
    {"Global", "DropOwnership"},
    {"Global", "SelectOwnership"},
    {"Global", "ManageOwnership"},
    {"Global", "CreateResourceGroup"},
    {"Global", "UpdateResourceGroups"},
    {"Global", "DropResourceGroup"},
    {"Global", "DescribeResourceGroup"},
    {"Global", "ListResourceGroups"},
    {"Global", "TransferReplica"},
    {"Global", "TransferNode"},
    {"Global", "FlushAll"},
    {"Global", "CreateDatabase"},
    {"Global", "DropDatabase"},
    {"Global", "ListDatabases"},
    {"Global", "AlterDatabase"},
    {"Global", "DescribeDatabase"},
    {"Global", "CreateAlias"},
    {"Global", "DropAlias"},
    {"Global", "DescribeAlias"},
    {"Global", "ListAliases"},
    {"User", "UpdateUser"},
    {"User", "SelectUser"},
};

constexpr std::array kObjectTypes = {std::string_view("Collection"), std::string_view("Global"), std::string_view("User")};

// Read-only, what read-write adds, what admin adds: of the three levels of built-in groups.
constexpr std::string_view kCollectionReadOnly[] = {"Query",        "Search",         "IndexDetail",        "GetFlushState",
                                                    "GetLoadState", "GetLoadingProgress", "HasPartition",   "ShowPartitions",
                                                    "DescribeCollection", "DescribeAlias", "GetStatistics", "ListAliases"};
constexpr std::string_view kCollectionReadWrite[] = {"Load",   "Release", "Insert",      "Delete",    "Upsert",         "Import",
                                                     "Flush",  "Compaction", "LoadBalance", "CreateIndex", "DropIndex",
                                                     "CreatePartition", "DropPartition", "AddCollectionField"};
constexpr std::string_view kCollectionAdmin[] = {"CreateAlias", "DropAlias"};
constexpr std::string_view kDatabaseReadOnly[] = {"ShowCollections", "DescribeDatabase"};
constexpr std::string_view kDatabaseReadWrite[] = {"AlterDatabase"};
constexpr std::string_view kDatabaseAdmin[] = {"CreateCollection", "DropCollection"};
constexpr std::string_view kClusterReadOnly[] = {"ListDatabases", "SelectOwnership", "SelectUser", "DescribeResourceGroup",
                                                 "ListResourceGroups"};
constexpr std::string_view kClusterReadWrite[] = {"FlushAll", "TransferNode", "TransferReplica", "UpdateResourceGroups"};
constexpr std::string_view kClusterAdmin[] = {"RenameCollection", "CreateOwnership",     "UpdateUser",     "DropOwnership",
                                              "ManageOwnership",  "CreateResourceGroup", "DropResourceGroup",
                                              "CreateDatabase",   "DropDatabase"};

bool NameMatches(std::string_view pattern, std::string_view name) { return pattern == kAnyWord || pattern == name; }

}  // namespace

bool IsDefaultRole(std::string_view role) { return role == kAdminRole || role == kPublicRole; }

bool IsObjectType(std::string_view name) {
  return std::find(kObjectTypes.begin(), kObjectTypes.end(), name) != kObjectTypes.end();
}

bool IsPrivilege(std::string_view name) { return !ObjectTypeOf(name).empty(); }

bool IsPrivilegeOf(std::string_view object_type, std::string_view privilege) {
  return std::any_of(std::begin(kKnown), std::end(kKnown), [&](const Known& known) {
    return known.object_type == object_type && known.privilege == privilege;
  });
}

std::string_view ObjectTypeOf(std::string_view privilege) {
  for (const Known& known : kKnown) {
    if (known.privilege == privilege) return known.object_type;
  }
  return {};
}

std::vector<std::string_view> PrivilegesOfGroup(std::string_view group) {
  std::vector<std::string_view> out;
  const auto add = [&out](const auto& list) { out.insert(out.end(), std::begin(list), std::end(list)); };
  const auto is = [&group](std::string_view level, std::string_view rank) {
    return group.size() == level.size() + rank.size() && group.starts_with(level) && group.ends_with(rank);
  };
  const auto levels = [&](std::string_view level, const auto& read, const auto& write, const auto& admin) {
    if (is(level, "ReadOnly") || is(level, "ReadWrite") || is(level, "Admin")) add(read);
    if (is(level, "ReadWrite") || is(level, "Admin")) add(write);
    if (is(level, "Admin")) add(admin);
  };
  levels("Collection", kCollectionReadOnly, kCollectionReadWrite, kCollectionAdmin);
  levels("Database", kDatabaseReadOnly, kDatabaseReadWrite, kDatabaseAdmin);
  levels("Cluster", kClusterReadOnly, kClusterReadWrite, kClusterAdmin);
  return out;
}

bool Allows(const GrantView& grant, const NeededPrivilege& needed) {
  if (!NameMatches(grant.database, needed.database)) return false;
  if (grant.object_type == "Global" && grant.privilege == kAllPrivileges) return true;
  if (grant.object_type != needed.object_type || !NameMatches(grant.object, needed.object)) return false;
  return grant.privilege == kAnyWord || grant.privilege == needed.privilege;
}

bool IsPublicPrivilege(std::string_view object_type, std::string_view privilege) {
  if (object_type == "Global") return privilege == "DescribeCollection" || privilege == "ShowCollections";
  return object_type == "Collection" && privilege == "IndexDetail";
}

}  // namespace saker
