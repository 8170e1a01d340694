// Requests to one bucket: signed, retried, their failures told as Status. What they mean is the store's business
// (s3_store.cc).
//
// Thread-safe; calls block.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "storage/http_client.h"
#include "storage/s3_sign.h"
#include "storage/s3_store.h"

namespace saker {

struct S3Call {
  // ---- the request
  std::string_view action;  // for messages: "put"
  std::string method;
  std::string key;  // empty: the bucket itself
  S3Fields query;
  S3Fields headers;  // names in lower case
  std::string_view body;
  int64_t max_answer_bytes = 64 << 10;
  std::function<Status(int64_t, std::string_view)> sink;  // as HttpExchange's; after a failure it begins at 0 again
  bool xml_answer = false;                                // of a 2xx status, too: then an error in it counts as one
  // Whether a 2xx answer is what was asked for; if not, it is asked again. May be empty.
  std::function<Status(const HttpExchange&)> accept;

  // ---- the outcome
  Status status;
  std::string code;           // S3's name of the error: "NoSuchKey"; empty if it gave none
  HttpExchange http;          // the last attempt
  bool repeated = false;      // an earlier attempt may have been carried out
  int doubtful_refusals = 0;  // answers that look final, but may come from a race on the server
};

class S3Client {
 public:
  // kParameterInvalid names the setting that makes no sense.
  static Result<std::unique_ptr<S3Client>> Create(const S3StoreSettings& settings);

  Status Do(S3Call& call) const;
  // Side by side; the first failure, after all have ended.
  Status DoAll(std::span<S3Call> calls) const;
  // The same with a total time-out of its own.
  Status DoWithin(S3Call& call, std::chrono::milliseconds total_timeout) const;

  // "S3 http://host:9000, bucket b"
  const std::string& where() const { return where_; }

 private:
  explicit S3Client(const S3StoreSettings& settings);

  Status Run(std::span<S3Call> calls, std::chrono::milliseconds total_timeout) const;
  void Attempt(std::span<S3Call* const> calls, int64_t deadline_us) const;
  HttpExchange Signed(const S3Call& call) const;
  // Sets status and code from the exchange; true if another attempt may help.
  bool Judge(S3Call& call) const;
  bool JudgeFailure(S3Call& call) const;
  bool JudgeError(S3Call& call) const;
  Status Explained(const S3Call& call, ErrorCode code, std::string_view why) const;

  const S3StoreSettings settings_;
  const S3Credentials credentials_;
  const std::string where_;
  std::string scheme_;
  std::string host_;  // with the port, and the bucket where it belongs to the host's name
  mutable HttpClient http_;
};

}  // namespace saker
