#include "base/status.h"

#include <cstdio>
#include <cstdlib>

namespace saker {

const std::string& Status::message() const {
  static const std::string kEmpty;
  return state_ ? state_->message : kEmpty;
}

Status Status::WithContext(std::string_view context) const {
  if (ok()) return *this;
  return {code(), std::string(context) + ": " + message()};
}

std::string Status::ToString() const {
  if (ok()) return "OK";
  return std::string(Name(code())) + "(" + std::to_string(static_cast<int>(code())) + "): " + message();
}

ErrorCategory Category(ErrorCode code) {
  switch (code) {
    case ErrorCode::kServiceNotReady:
    case ErrorCode::kServiceUnavailable:
    case ErrorCode::kMemoryLimitExceeded:
    case ErrorCode::kTooManyRequests:
    case ErrorCode::kDiskLimitExceeded:
    case ErrorCode::kRateLimit:
    case ErrorCode::kReplicaNotAvailable:
    case ErrorCode::kChannelNotAvailable:
    case ErrorCode::kChannelLacks:
    case ErrorCode::kSegmentLacks:
    case ErrorCode::kCollectionNotFullyLoaded:
    case ErrorCode::kPartitionNotFullyLoaded:
    case ErrorCode::kNodeOffline:
    case ErrorCode::kNodeLack:
    case ErrorCode::kIoFailed:
    case ErrorCode::kSuperseded:
    case ErrorCode::kStaleRoute:
    case ErrorCode::kConflict:
    case ErrorCode::kCompacted:
    case ErrorCode::kCancelled:
    case ErrorCode::kDeadlineExceeded:
      return ErrorCategory::kTransient;
    case ErrorCode::kServiceInternal:
    case ErrorCode::kCorrupted:
    case ErrorCode::kUnimplemented:
    case ErrorCode::kForceDeny:
      return ErrorCategory::kPermanent;
    case ErrorCode::kOk:
    case ErrorCode::kCrossClusterRouting:
    case ErrorCode::kCollectionNotFound:
    case ErrorCode::kCollectionNotLoaded:
    case ErrorCode::kCollectionNumLimit:
    case ErrorCode::kPartitionNotFound:
    case ErrorCode::kPartitionNotLoaded:
    case ErrorCode::kGeneralCapacityExceeded:
    case ErrorCode::kResourceGroupNotFound:
    case ErrorCode::kReplicaNotFound:
    case ErrorCode::kChannelNotFound:
    case ErrorCode::kChannelReduplicate:
    case ErrorCode::kSegmentNotFound:
    case ErrorCode::kSegmentNotLoaded:
    case ErrorCode::kSegmentReduplicate:
    case ErrorCode::kIndexNotFound:
    case ErrorCode::kIndexNotSupported:
    case ErrorCode::kIndexDuplicate:
    case ErrorCode::kDatabaseNotFound:
    case ErrorCode::kDatabaseNumLimit:
    case ErrorCode::kDatabaseInvalidName:
    case ErrorCode::kNodeNotFound:
    case ErrorCode::kNodeNotMatch:
    case ErrorCode::kIoKeyNotFound:
    case ErrorCode::kParameterInvalid:
    case ErrorCode::kMetricsNotFound:
    case ErrorCode::kTopicNotFound:
    case ErrorCode::kNeedAuthenticate:
    case ErrorCode::kIncorrectParameterFormat:
    case ErrorCode::kPrivilegeNotPermitted:
    case ErrorCode::kPrivilegeNotAuthenticated:
    case ErrorCode::kAliasNotFound:
    case ErrorCode::kAliasCollectionNameConflict:
    case ErrorCode::kAliasAlreadyExist:
    case ErrorCode::kFieldNotFound:
    case ErrorCode::kFieldInvalidName:
    case ErrorCode::kInputNotValid:
    case ErrorCode::kQueryPlan:
    case ErrorCode::kUnexpected:
    case ErrorCode::kAlreadyExists:
    case ErrorCode::kUnauthenticated:
      return ErrorCategory::kInput;
  }
  return ErrorCategory::kPermanent;
}

std::string_view Name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kOk: return "OK";
    case ErrorCode::kServiceNotReady: return "SERVICE_NOT_READY";
    case ErrorCode::kServiceUnavailable: return "SERVICE_UNAVAILABLE";
    case ErrorCode::kMemoryLimitExceeded: return "MEMORY_LIMIT_EXCEEDED";
    case ErrorCode::kTooManyRequests: return "TOO_MANY_REQUESTS";
    case ErrorCode::kServiceInternal: return "SERVICE_INTERNAL";
    case ErrorCode::kCrossClusterRouting: return "CROSS_CLUSTER_ROUTING";
    case ErrorCode::kDiskLimitExceeded: return "DISK_LIMIT_EXCEEDED";
    case ErrorCode::kRateLimit: return "RATE_LIMIT";
    case ErrorCode::kForceDeny: return "FORCE_DENY";
    case ErrorCode::kUnimplemented: return "UNIMPLEMENTED";
    case ErrorCode::kCollectionNotFound: return "COLLECTION_NOT_FOUND";
    case ErrorCode::kCollectionNotLoaded: return "COLLECTION_NOT_LOADED";
    case ErrorCode::kCollectionNumLimit: return "COLLECTION_NUM_LIMIT";
    case ErrorCode::kCollectionNotFullyLoaded: return "COLLECTION_NOT_FULLY_LOADED";
    case ErrorCode::kPartitionNotFound: return "PARTITION_NOT_FOUND";
    case ErrorCode::kPartitionNotLoaded: return "PARTITION_NOT_LOADED";
    case ErrorCode::kPartitionNotFullyLoaded: return "PARTITION_NOT_FULLY_LOADED";
    case ErrorCode::kGeneralCapacityExceeded: return "GENERAL_CAPACITY_EXCEEDED";
    case ErrorCode::kResourceGroupNotFound: return "RESOURCE_GROUP_NOT_FOUND";
    case ErrorCode::kReplicaNotFound: return "REPLICA_NOT_FOUND";
    case ErrorCode::kReplicaNotAvailable: return "REPLICA_NOT_AVAILABLE";
    case ErrorCode::kChannelNotFound: return "CHANNEL_NOT_FOUND";
    case ErrorCode::kChannelLacks: return "CHANNEL_LACKS";
    case ErrorCode::kChannelReduplicate: return "CHANNEL_REDUPLICATE";
    case ErrorCode::kChannelNotAvailable: return "CHANNEL_NOT_AVAILABLE";
    case ErrorCode::kSegmentNotFound: return "SEGMENT_NOT_FOUND";
    case ErrorCode::kSegmentNotLoaded: return "SEGMENT_NOT_LOADED";
    case ErrorCode::kSegmentLacks: return "SEGMENT_LACKS";
    case ErrorCode::kSegmentReduplicate: return "SEGMENT_REDUPLICATE";
    case ErrorCode::kIndexNotFound: return "INDEX_NOT_FOUND";
    case ErrorCode::kIndexNotSupported: return "INDEX_NOT_SUPPORTED";
    case ErrorCode::kIndexDuplicate: return "INDEX_DUPLICATE";
    case ErrorCode::kDatabaseNotFound: return "DATABASE_NOT_FOUND";
    case ErrorCode::kDatabaseNumLimit: return "DATABASE_NUM_LIMIT";
    case ErrorCode::kDatabaseInvalidName: return "DATABASE_INVALID_NAME";
    case ErrorCode::kNodeNotFound: return "NODE_NOT_FOUND";
    case ErrorCode::kNodeOffline: return "NODE_OFFLINE";
    case ErrorCode::kNodeLack: return "NODE_LACK";
    case ErrorCode::kNodeNotMatch: return "NODE_NOT_MATCH";
    case ErrorCode::kIoKeyNotFound: return "IO_KEY_NOT_FOUND";
    case ErrorCode::kIoFailed: return "IO_FAILED";
    case ErrorCode::kParameterInvalid: return "PARAMETER_INVALID";
    case ErrorCode::kMetricsNotFound: return "METRICS_NOT_FOUND";
    case ErrorCode::kTopicNotFound: return "TOPIC_NOT_FOUND";
    case ErrorCode::kNeedAuthenticate: return "NEED_AUTHENTICATE";
    case ErrorCode::kIncorrectParameterFormat: return "INCORRECT_PARAMETER_FORMAT";
    case ErrorCode::kPrivilegeNotPermitted: return "PRIVILEGE_NOT_PERMITTED";
    case ErrorCode::kPrivilegeNotAuthenticated: return "PRIVILEGE_NOT_AUTHENTICATED";
    case ErrorCode::kAliasNotFound: return "ALIAS_NOT_FOUND";
    case ErrorCode::kAliasCollectionNameConflict: return "ALIAS_COLLECTION_NAME_CONFLICT";
    case ErrorCode::kAliasAlreadyExist: return "ALIAS_ALREADY_EXIST";
    case ErrorCode::kFieldNotFound: return "FIELD_NOT_FOUND";
    case ErrorCode::kFieldInvalidName: return "FIELD_INVALID_NAME";
    case ErrorCode::kInputNotValid: return "INPUT_NOT_VALID";
    case ErrorCode::kQueryPlan: return "QUERY_PLAN";
    case ErrorCode::kUnexpected: return "UNEXPECTED";
    case ErrorCode::kSuperseded: return "SUPERSEDED";
    case ErrorCode::kStaleRoute: return "STALE_ROUTE";
    case ErrorCode::kConflict: return "CONFLICT";
    case ErrorCode::kAlreadyExists: return "ALREADY_EXISTS";
    case ErrorCode::kCompacted: return "COMPACTED";
    case ErrorCode::kCorrupted: return "CORRUPTED";
    case ErrorCode::kCancelled: return "CANCELLED";
    case ErrorCode::kDeadlineExceeded: return "DEADLINE_EXCEEDED";
    case ErrorCode::kUnauthenticated: return "UNAUTHENTICATED";
  }
  return "UNKNOWN";
}

void CheckFailed(std::string_view what, std::source_location where) {
  std::fprintf(stderr, "CHECK failed: %.*s at %s:%u\n", static_cast<int>(what.size()), what.data(), where.file_name(),
               where.line());
  std::abort();
}

}  // namespace saker
