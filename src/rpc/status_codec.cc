#include "rpc/status_codec.h"

namespace saker {
namespace wire = milvus::proto::common;
namespace {

constexpr int kMilvusCancelled = 10000;
constexpr int kMilvusTimeout = 10001;

// merr's numbers of 2.3.5 where they differ from ErrorCode's own.
int32_t MilvusCode(ErrorCode code) {
  switch (code) {
    case ErrorCode::kPrivilegeNotAuthenticated: return 1400;
    case ErrorCode::kUnauthenticated: return 1400;
    case ErrorCode::kPrivilegeNotPermitted: return 1401;
    case ErrorCode::kNeedAuthenticate: return 1800;         // REST
    case ErrorCode::kIncorrectParameterFormat: return 1801; // REST
    case ErrorCode::kInputNotValid: return 1100;
    case ErrorCode::kGeneralCapacityExceeded: return 65535; // 2.3.5 has no number of its own for these two
    case ErrorCode::kQueryPlan: return 65535;
    case ErrorCode::kSuperseded:                            // ours: the caller may try again
    case ErrorCode::kStaleRoute:
    case ErrorCode::kConflict: return 2;
    case ErrorCode::kAlreadyExists:
    case ErrorCode::kCompacted:
    case ErrorCode::kCorrupted: return 65535;
    case ErrorCode::kCancelled: return kMilvusCancelled;
    case ErrorCode::kDeadlineExceeded: return kMilvusTimeout;
    default: return static_cast<int32_t>(code);
  }
}

wire::ErrorCode LegacyCode(int32_t code) {
  switch (code) {
    case 0: return wire::Success;
    case 1: return wire::NotReadyServe;
    case 3: return wire::InsufficientMemoryToLoad;
    case 7: return wire::DiskQuotaExhausted;
    case 8: return wire::RateLimit;
    case 9: return wire::ForceDeny;
    case 11: return wire::TimeTickLongDelay;
    case 100: return wire::CollectionNotExists;
    case 200:
    case 400: return wire::MetaFailed;
    case 401:
    case 503:
    case 905: return wire::NoReplicaAvailable;
    case 501: return wire::MetaFailed;
    case 600: return wire::SegmentNotFound;
    case 700: return wire::IndexNotExist;
    case 904: return wire::NodeIDNotMatch;
    case 1100: return wire::IllegalArgument;
    default: return wire::UnexpectedError;
  }
}

}  // namespace

WireError ToWire(ErrorCode code) {
  const int32_t number = MilvusCode(code);
  return {number, LegacyCode(number), code != ErrorCode::kOk && Category(code) == ErrorCategory::kTransient};
}

void SetStatus(const Status& status, wire::Status* out) {
  SetStatus(status, ToWire(status.code()).legacy, out);
}

void SetStatus(const Status& status, wire::ErrorCode legacy, wire::Status* out) {
  out->Clear();
  if (status.ok()) return;
  const WireError error = ToWire(status.code());
  out->set_code(error.code);
  out->set_error_code(legacy);
  out->set_retriable(error.retriable);
  out->set_reason(status.message());
  out->set_detail(status.message());
}

int TransportCode(ErrorCode code) {
  constexpr int kPermissionDenied = 7, kUnimplemented = 12, kUnauthenticated = 16;  // grpc::StatusCode
  switch (code) {
    case ErrorCode::kUnauthenticated: return kUnauthenticated;
    case ErrorCode::kPrivilegeNotPermitted: return kPermissionDenied;
    case ErrorCode::kUnimplemented: return kUnimplemented;
    default: return 0;
  }
}

}  // namespace saker
