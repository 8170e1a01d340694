// Objects in a bucket of an S3-compatible server (AWS, MinIO, versitygw …). docs/s3.md says what is asked of the
// server, which permissions are needed and what each error means.
//
// What is promised: an acknowledged object is there, whole; PutIfAbsent has one winner, also when answers are lost (a
// retry recognises its own object). Every call ends within `total_timeout` plus a second for each MiB it moves: trouble
// that may pass (no connection, time-outs, 429, 5xx) is retried until then, then reported as kServiceUnavailable.
//
// Map() keeps what it fetched under `cache_directory`, for this and later processes, and serves it without asking the
// server: that names are written once is taken at its word. A Put or Delete of another process isn't seen by Map for as
// long as the object is kept.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "storage/object_store.h"

namespace saker {

struct S3StoreSettings {
  std::string endpoint;              // http://host[:port] or https://host[:port]
  std::string region = "us-east-1";  // MinIO and versitygw: what they were started with
  std::string bucket;
  std::string prefix;  // objects are <prefix>/<name>; empty: <name>. A valid object name
  std::string access_key;
  std::string secret_key;
  std::string session_token;   // of temporary credentials
  bool path_style = true;      // endpoint/bucket/key; otherwise bucket.endpoint/key
  bool create_bucket = false;  // if it isn't there

  std::string ca_file;             // PEM, for a server with a certificate of one's own; empty: the system's
  bool verify_certificate = true;  // off: anyone in between can read and change everything

  std::string cache_directory;              // of this store alone; made if it isn't there
  int64_t cache_bytes = int64_t{10} << 30;  // what is kept there at most; mapped objects stay beyond it while mapped

  int64_t part_bytes = 8 << 20;  // of an upload or a download; 5 MiB … 1 GiB. An object has at most 10,000 parts
  int parallel_parts = 4;        // at a time, 1 … 16. A writer holds up to part_bytes × parallel_parts in memory

  std::chrono::milliseconds connect_timeout{2000};
  std::chrono::milliseconds request_timeout{5000};  // of one attempt: how long no byte may move
  std::chrono::milliseconds total_timeout{10'000};  // of all attempts
  int max_retries = 30;
  // Uploads by parts that nobody finished are removed at open, once they are as old as that: they may be another
  // process's that is at it. Longer than any flush or index build may take.
  std::chrono::milliseconds abandoned_upload_age{std::chrono::hours(24)};
};

// Checks the bucket, the credentials, and that the server honours If-None-Match.
//   kParameterInvalid       a setting makes no sense, there is no such bucket, or it is in another region
//   kPrivilegeNotPermitted  the server refuses the credentials, or they lack a permission
//   kUnimplemented          the server ignores If-None-Match: two writers would both believe to be the first
//   kServiceUnavailable     the server can't be reached or isn't ready; try again
//   kDiskLimitExceeded, kIoFailed  the cache directory is full, in use by another store, can't be written
Result<std::unique_ptr<ObjectStore>> OpenS3Store(const S3StoreSettings& settings);

}  // namespace saker
