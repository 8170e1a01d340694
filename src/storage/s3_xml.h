// The XML of S3's answers. What a server sends is not trusted: a document that isn't what was asked for is kIoFailed,
// whatever its bytes are. Entities and document types are never followed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "storage/object_store.h"

namespace saker {

struct S3Error {
  std::string code;  // empty: the body isn't an S3 error
  std::string message;
  std::string region;  // where the server says the bucket is; mostly empty
};
S3Error ParseS3Error(std::string_view body);

struct S3ListPage {
  std::vector<ObjectInfo> objects;  // with their keys as names
  std::string next_token;           // empty: the last page
};
Result<S3ListPage> ParseS3List(std::string_view body);

struct S3Upload {
  std::string key;
  std::string id;
  int64_t started_unix_ms = 0;
};
struct S3UploadPage {
  std::vector<S3Upload> uploads;
  bool truncated = false;
  std::string next_key_marker;
  std::string next_id_marker;
};
Result<S3UploadPage> ParseS3Uploads(std::string_view body);

// Of an InitiateMultipartUploadResult.
Result<std::string> ParseS3UploadId(std::string_view body);
// OK for a CompleteMultipartUploadResult.
Status CheckS3Completed(std::string_view body);
// The request that completes an upload of parts 1, 2, … with these ETags.
std::string S3CompleteBody(const std::vector<std::string>& etags);

}  // namespace saker
