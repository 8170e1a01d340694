// The one table of errors: how a Status looks on the wire, as Milvus 2.3.5 would send it.
//
// A milvus.proto.common.Status carries the number twice: `code` (Milvus's merr package) and `error_code` (the enum that
// older clients read). Both come from here, and only from here, so that a later version's numbers are one edit away.
#pragma once

#include "base/status.h"
#include "common.pb.h"

namespace saker {

// What a caller gets to see of an ErrorCode.
struct WireError {
  int32_t code;                             // merr's number
  milvus::proto::common::ErrorCode legacy;  // the old enum
  bool retriable;
};
WireError ToWire(ErrorCode code);

// Fills `out`; an ok status leaves it empty, which is how success looks.
void SetStatus(const Status& status, milvus::proto::common::Status* out);
// The same with another legacy code: some calls (users, roles) have codes of their own.
void SetStatus(const Status& status, milvus::proto::common::ErrorCode legacy, milvus::proto::common::Status* out);

// Errors that aren't a message of Milvus's but a gRPC status: the number of grpc::StatusCode, or 0 when the error
// belongs into the response's status field.
int TransportCode(ErrorCode code);

}  // namespace saker
