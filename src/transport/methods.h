// Every method of every role that another process may call: its name, where it runs, how long a caller waits.
#pragma once

#include <chrono>

#include "roles/coordinators.h"
#include "roles/query_node.h"

namespace saker {

enum class CallPool {
  kData,     // the search pool, or the thread it arrived on while its calls are brief
  kControl,  // coordinators' calls
  kWaiting,  // calls that wait for tasks of other pools
};

struct MethodSpec {
  const char* name;  // "/saker.internal.v1.DataNode/Write"
  CallPool pool;
  std::chrono::milliseconds timeout;  // a search or query has its request's deadline instead, if it has one
  bool is_command = false;            // of a leader: needs its token
};

inline constexpr const char* kPingMethod = "/saker.internal.v1.Node/Ping";
inline constexpr const char* kReachesMethod = "/saker.internal.v1.Node/Reaches";

template <auto kMethod>
inline constexpr bool kHasSpec = false;
template <auto kMethod>
inline constexpr MethodSpec kSpec{};

#define SAKER_METHOD(role, method, pool, timeout_ms, ...)                                                      \
  template <>                                                                                                  \
  inline constexpr bool kHasSpec<&role::method> = true;                                                        \
  template <>                                                                                                  \
  inline constexpr MethodSpec kSpec<&role::method> {                                                           \
    "/saker.internal.v1." #role "/" #method, CallPool::pool, std::chrono::milliseconds(timeout_ms), ##__VA_ARGS__ \
  }

SAKER_METHOD(RootCoord, CreateDatabase, kControl, 10'000);
SAKER_METHOD(RootCoord, DropDatabase, kControl, 10'000);
SAKER_METHOD(RootCoord, AlterDatabase, kControl, 10'000);
SAKER_METHOD(RootCoord, CreateCollection, kControl, 10'000);
SAKER_METHOD(RootCoord, DropCollection, kControl, 10'000);
SAKER_METHOD(RootCoord, RenameCollection, kControl, 10'000);
SAKER_METHOD(RootCoord, AlterCollection, kControl, 10'000);
SAKER_METHOD(RootCoord, AlterField, kControl, 10'000);
SAKER_METHOD(RootCoord, AddField, kControl, 10'000);
SAKER_METHOD(RootCoord, CreatePartition, kControl, 10'000);
SAKER_METHOD(RootCoord, DropPartition, kControl, 10'000);
SAKER_METHOD(RootCoord, CreateAlias, kControl, 10'000);
SAKER_METHOD(RootCoord, DropAlias, kControl, 10'000);
SAKER_METHOD(RootCoord, AlterAlias, kControl, 10'000);
SAKER_METHOD(RootCoord, CreateUser, kControl, 10'000);
SAKER_METHOD(RootCoord, UpdateUser, kControl, 10'000);
SAKER_METHOD(RootCoord, DropUser, kControl, 10'000);
SAKER_METHOD(RootCoord, CreateRole, kControl, 10'000);
SAKER_METHOD(RootCoord, DropRole, kControl, 10'000);
SAKER_METHOD(RootCoord, AddUserToRole, kControl, 10'000);
SAKER_METHOD(RootCoord, RemoveUserFromRole, kControl, 10'000);
SAKER_METHOD(RootCoord, GrantPrivilege, kControl, 10'000);
SAKER_METHOD(RootCoord, RevokePrivilege, kControl, 10'000);
SAKER_METHOD(RootCoord, AllocateIds, kControl, 5'000);

SAKER_METHOD(DataCoord, Flush, kControl, 10'000);
SAKER_METHOD(DataCoord, IsFlushed, kControl, 5'000);
SAKER_METHOD(DataCoord, Compact, kControl, 10'000);
SAKER_METHOD(DataCoord, GetCompactionState, kControl, 5'000);
SAKER_METHOD(DataCoord, RowCount, kControl, 5'000);
SAKER_METHOD(DataCoord, Segments, kControl, 5'000);
SAKER_METHOD(DataCoord, CommitFlush, kControl, 10'000);
SAKER_METHOD(DataCoord, ReportSealed, kControl, 5'000);
SAKER_METHOD(DataCoord, ReportChannelLost, kControl, 5'000);
SAKER_METHOD(DataCoord, ReportCheckpoint, kControl, 5'000);
SAKER_METHOD(DataCoord, ReportCompaction, kControl, 10'000);
SAKER_METHOD(DataCoord, ReportHandedOver, kControl, 5'000);
SAKER_METHOD(DataCoord, DrainNode, kControl, 10'000);
SAKER_METHOD(DataCoord, GetDrainProgress, kControl, 5'000);

SAKER_METHOD(QueryCoord, Load, kControl, 10'000);
SAKER_METHOD(QueryCoord, Release, kControl, 10'000);
SAKER_METHOD(QueryCoord, Progress, kControl, 5'000);
SAKER_METHOD(QueryCoord, ReportLoaded, kControl, 5'000);
SAKER_METHOD(QueryCoord, ReportLoadFailed, kControl, 5'000);
SAKER_METHOD(QueryCoord, DrainNode, kControl, 10'000);
SAKER_METHOD(QueryCoord, GetDrainProgress, kControl, 5'000);
SAKER_METHOD(QueryCoord, CreateResourceGroup, kControl, 10'000);
SAKER_METHOD(QueryCoord, UpdateResourceGroups, kControl, 10'000);
SAKER_METHOD(QueryCoord, DropResourceGroup, kControl, 10'000);
SAKER_METHOD(QueryCoord, TransferNode, kControl, 10'000);
SAKER_METHOD(QueryCoord, TransferReplica, kControl, 10'000);
SAKER_METHOD(QueryCoord, DescribeResourceGroup, kControl, 5'000);

SAKER_METHOD(IndexCoord, CreateIndex, kControl, 10'000);
SAKER_METHOD(IndexCoord, DropIndex, kControl, 10'000);
SAKER_METHOD(IndexCoord, AlterIndex, kControl, 10'000);
SAKER_METHOD(IndexCoord, Progress, kControl, 5'000);
SAKER_METHOD(IndexCoord, ReportIndex, kControl, 10'000);
SAKER_METHOD(IndexCoord, DrainNode, kControl, 10'000);
SAKER_METHOD(IndexCoord, GetDrainProgress, kControl, 5'000);

SAKER_METHOD(DataNode, Write, kData, 10'000);
SAKER_METHOD(DataNode, BeginRead, kData, 5'000);
SAKER_METHOD(DataNode, Search, kData, 30'000);
SAKER_METHOD(DataNode, Query, kData, 30'000);
SAKER_METHOD(DataNode, Fetch, kData, 10'000);
SAKER_METHOD(DataNode, Deletes, kData, 5'000);
SAKER_METHOD(DataNode, GrowingSegments, kControl, 5'000);
SAKER_METHOD(DataNode, OldestPin, kControl, 5'000);
SAKER_METHOD(DataNode, BarrierCollection, kWaiting, 10'000, /*is_command=*/true);

SAKER_METHOD(QueryNode, Search, kData, 30'000);
SAKER_METHOD(QueryNode, Query, kData, 30'000);
SAKER_METHOD(QueryNode, Fetch, kData, 10'000);
SAKER_METHOD(QueryNode, LoadedSegments, kControl, 5'000);

#undef SAKER_METHOD

inline constexpr MethodSpec kPingSpec{kPingMethod, CallPool::kControl, std::chrono::milliseconds(400)};
// Whether the called process reaches a third one: it pings it.
inline constexpr MethodSpec kReachesSpec{kReachesMethod, CallPool::kControl, std::chrono::milliseconds(800)};

// "DataNode/Write", for messages.
inline std::string ShortName(const MethodSpec& spec) {
  const std::string name = spec.name;
  return name.substr(name.rfind('.') + 1);
}

}  // namespace saker
