#include "storage/s3_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <random>
#include <thread>

#include "base/clock.h"
#include "storage/s3_xml.h"

namespace saker {
namespace {

constexpr int64_t kFirstWaitMs = 50;
constexpr int64_t kLongestWaitMs = 1000;
constexpr size_t kShownBytes = 300;
constexpr int kMaxDoubtfulRefusals = 6;  // within about two seconds

// Grows from 50 ms to a second, by chance between half and all of it: clients that failed together don't return
// together.
int64_t WaitMs(int attempt) {
  thread_local std::minstd_rand random{std::random_device{}()};
  const int64_t longest = std::min(kLongestWaitMs, kFirstWaitMs << std::min(attempt - 1, 10));
  return std::uniform_int_distribution<int64_t>(longest / 2, longest)(random);
}

// What a server said, fit for a line of log.
std::string Shown(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, kShownBytes)) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
  return text.size() > kShownBytes ? out + "…" : out;
}

template <size_t N>
bool IsOneOf(std::string_view code, const std::array<std::string_view, N>& codes) {
  return std::find(codes.begin(), codes.end(), code) != codes.end();
}

bool MeansFull(int status, std::string_view code) {
  static constexpr std::array<std::string_view, 6> kFull = {"InsufficientStorage",  "QuotaExceeded",
                                                            "XMinioStorageFull",    "XMinioAdminBucketQuotaExceeded",
                                                            "InsufficientCapacity", "ServiceQuotaExceeded"};
  return status == 507 || IsOneOf(code, kFull);
}

// ConditionalRequestConflict: somebody else was writing at the same moment; whether the object is there now, only the
// next attempt tells.
bool MayPass(int status, std::string_view code) {
  static constexpr std::array<std::string_view, 6> kPassing = {"SlowDown",           "RequestTimeout",
                                                               "InternalError",      "OperationAborted",
                                                               "ServiceUnavailable", "ConditionalRequestConflict"};
  return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504 ||
         IsOneOf(code, kPassing);
}

// A server whose keys are files.
bool MeansDirectory(std::string_view code) {
  static constexpr std::array<std::string_view, 3> kCodes = {"ExistingObjectIsDirectory", "ObjectParentIsFile",
                                                             "DirectoryObjectContainsData"};
  return IsOneOf(code, kCodes);
}

// What versitygw (ExistingObjectIsDirectory) and MinIO on a single drive (AccessDenied) also say when a directory
// vanishes, with its last object, under a PUT.
bool MayBeARace(const S3Call& call) {
  return call.method == "PUT" && !call.key.empty() && (MeansDirectory(call.code) || call.code == "AccessDenied");
}

bool MeansCredentials(int status, std::string_view code) {
  static constexpr std::array<std::string_view, 9> kRefused = {
      "AccessDenied",      "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken",      "InvalidToken",
      "AllAccessDisabled", "AccountProblem",     "InvalidSecurity",       "XAdminUserNotFound"};
  return status == 401 || status == 403 || IsOneOf(code, kRefused);
}

Status Invalid(std::string_view setting, std::string_view value, std::string_view want) {
  return {ErrorCode::kParameterInvalid, fmt::format("S3 setting {} is \"{}\": it must be {}", setting, value, want)};
}

Status CheckSettings(const S3StoreSettings& settings) {
  const std::string& bucket = settings.bucket;
  const auto allowed = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.'; };
  if (bucket.size() < 3 || bucket.size() > 63 || !std::all_of(bucket.begin(), bucket.end(), allowed) ||
      bucket.front() == '.' || bucket.front() == '-') {
    return Invalid("bucket", bucket, "3 to 63 lower-case letters, digits, dots and hyphens");
  }
  if (settings.region.empty()) return Invalid("region", "", "the bucket's, us-east-1 for most servers other than AWS");
  if (settings.access_key.empty()) return Invalid("access_key", "", "set");
  if (settings.secret_key.empty()) return Invalid("secret_key", "", "set");
  if (settings.part_bytes < (5 << 20) || settings.part_bytes > (1 << 30)) {
    return Invalid("part_bytes", std::to_string(settings.part_bytes), "between 5 MiB and 1 GiB");
  }
  if (settings.parallel_parts < 1 || settings.parallel_parts > 16) {
    return Invalid("parallel_parts", std::to_string(settings.parallel_parts), "between 1 and 16");
  }
  if (settings.connect_timeout.count() <= 0 || settings.request_timeout.count() <= 0 ||
      settings.total_timeout.count() <= 0) {
    return Invalid("connect_timeout, request_timeout, total_timeout", "≤ 0", "positive");
  }
  return {};
}

// Headers go into requests as they are.
bool HasControls(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; });
}

HttpSettings HttpOf(const S3StoreSettings& settings) {
  return {settings.ca_file, settings.verify_certificate, settings.connect_timeout, settings.request_timeout};
}

}  // namespace

Result<std::unique_ptr<S3Client>> S3Client::Create(const S3StoreSettings& settings) {
  RETURN_IF_ERROR(CheckSettings(settings));
  for (const std::string* value :
       {&settings.region, &settings.access_key, &settings.secret_key, &settings.session_token}) {
    if (HasControls(*value)) {
      return Status(ErrorCode::kParameterInvalid,
                    "S3 settings region, access_key, secret_key, session_token must not contain spaces or line breaks");
    }
  }
  const std::string want = "http://HOST[:PORT] or https://HOST[:PORT]";
  std::string_view rest = settings.endpoint;
  const std::string scheme = rest.starts_with("https://") ? "https" : rest.starts_with("http://") ? "http" : "";
  if (scheme.empty()) return Invalid("endpoint", settings.endpoint, want);
  rest.remove_prefix(scheme.size() + 3);
  if (rest.ends_with('/')) rest.remove_suffix(1);
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == ':' || c == '[' || c == ']' || c == '_';
  };
  if (rest.empty() || !std::all_of(rest.begin(), rest.end(), allowed))
    return Invalid("endpoint", settings.endpoint, want);

  std::unique_ptr<S3Client> client(new S3Client(settings));
  client->scheme_ = scheme;
  client->host_ = settings.path_style ? std::string(rest) : settings.bucket + "." + std::string(rest);
  return client;
}

S3Client::S3Client(const S3StoreSettings& settings)
    : settings_(settings),
      credentials_{settings.access_key, settings.secret_key, settings.session_token},
      where_(fmt::format("S3 {}, bucket {}", settings.endpoint, settings.bucket)),
      http_(HttpOf(settings)) {}

Status S3Client::Do(S3Call& call) const { return Run({&call, 1}, settings_.total_timeout); }

Status S3Client::DoAll(std::span<S3Call> calls) const { return Run(calls, settings_.total_timeout); }

Status S3Client::DoWithin(S3Call& call, std::chrono::milliseconds total_timeout) const {
  return Run({&call, 1}, total_timeout);
}

Status S3Client::Run(std::span<S3Call> calls, std::chrono::milliseconds total_timeout) const {
  const Stopwatch watch;
  const int64_t start_us = MonotonicUs();
  std::vector<S3Call*> pending;
  for (S3Call& call : calls) pending.push_back(&call);
  // Tries at most max_retries + 1 times.
  for (int attempt = 1;; ++attempt) {
    // What bodies and answers take comes on top; the client adds the bodies of this attempt by itself.
    int64_t sent = 0;
    int64_t received = 0;
    for (const S3Call& call : calls) {
      sent += static_cast<int64_t>(call.body.size());
      received += call.http.answer_bytes;
    }
    const int64_t received_us = received * 1'000'000 / kHttpSlowestBytesPerSecond;
    const int64_t deadline_us = start_us + std::chrono::microseconds(total_timeout).count() + received_us;
    const int64_t allowed_us = deadline_us - start_us + sent * 1'000'000 / kHttpSlowestBytesPerSecond;
    Attempt(pending, deadline_us);
    std::erase_if(pending, [this](S3Call* call) { return !Judge(*call); });
    if (pending.empty()) break;
    const int64_t wait_ms = WaitMs(attempt);
    if (attempt > settings_.max_retries || watch.elapsed_us() + wait_ms * 1000 >= allowed_us) {
      for (S3Call* call : pending) {
        call->status = {call->status.code(), fmt::format("{}; gave up after {} attempts in {} ms",
                                                         call->status.message(), attempt, watch.elapsed_ms())};
      }
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(wait_ms));
  }
  for (const S3Call& call : calls) RETURN_IF_ERROR(call.status);
  return {};
}

void S3Client::Attempt(std::span<S3Call* const> calls, int64_t deadline_us) const {
  std::vector<HttpExchange*> exchanges;
  for (S3Call* call : calls) {
    call->http = Signed(*call);
    call->http.deadline_us = deadline_us;
    exchanges.push_back(&call->http);
  }
  http_.Perform(exchanges);
}

HttpExchange S3Client::Signed(const S3Call& call) const {
  S3Request request;
  request.method = call.method;
  request.path = settings_.path_style ? "/" + settings_.bucket : "";
  if (!call.key.empty() || request.path.empty()) request.path += "/" + call.key;
  request.query = call.query;
  request.headers = call.headers;
  request.headers.emplace_back("host", host_);
  request.payload_sha256 = Sha256Hex(call.body);
  SignS3Request(request, credentials_, settings_.region, WallMs() / 1000);

  HttpExchange exchange;
  exchange.method = call.method;
  exchange.url = fmt::format("{}://{}{}", scheme_, host_, UriEncode(request.path, true));
  if (!request.query.empty()) exchange.url += "?" + CanonicalQuery(request.query);
  for (const auto& [name, value] : request.headers) exchange.headers.push_back(fmt::format("{}: {}", name, value));
  exchange.body = call.body;
  exchange.max_answer_bytes = call.max_answer_bytes;
  exchange.sink = call.sink;
  return exchange;
}

Status S3Client::Explained(const S3Call& call, ErrorCode code, std::string_view why) const {
  const std::string what = call.key.empty() ? std::string(call.action) : fmt::format("{} {}", call.action, call.key);
  return {code, fmt::format("{}: {} failed: {}", where_, what, why)};
}

bool S3Client::Judge(S3Call& call) const {
  call.status = {};
  call.code.clear();
  if (call.http.failure != HttpFailure::kNone) return JudgeFailure(call);
  if (!call.http.ok()) return JudgeError(call);
  // CompleteMultipartUpload may begin to answer 200 before it knows that it failed.
  if (call.xml_answer && !ParseS3Error(call.http.answer).code.empty()) return JudgeError(call);
  if (!call.accept) return false;
  const Status accepted = call.accept(call.http);
  if (accepted.ok()) return false;
  call.repeated = true;
  call.status = Explained(call, ErrorCode::kServiceUnavailable, accepted.message());
  return true;
}

bool S3Client::JudgeFailure(S3Call& call) const {
  const std::string text = Shown(call.http.failure_text);
  switch (call.http.failure) {
    case HttpFailure::kSink: call.status = call.http.sink_status; return false;
    case HttpFailure::kAnswerTooLong: call.status = Explained(call, ErrorCode::kIoFailed, text); return false;
    case HttpFailure::kCertificate:
      call.status =
          Explained(call, ErrorCode::kServiceUnavailable,
                    text + ": the server's certificate isn't trusted; set ca_file to the authority that signed it");
      return false;
    case HttpFailure::kConnect: call.status = Explained(call, ErrorCode::kServiceUnavailable, text); return true;
    case HttpFailure::kNone:
    case HttpFailure::kBroken:
    case HttpFailure::kTimeout: break;
  }
  call.repeated = true;
  call.status = Explained(call, ErrorCode::kServiceUnavailable, text);
  return true;
}

bool S3Client::JudgeError(S3Call& call) const {
  const int http_status = call.http.status;
  const S3Error error = ParseS3Error(call.http.answer);
  call.code = error.code;
  const std::string said =
      error.code.empty()
          ? fmt::format("HTTP {}{}", http_status, call.http.answer.empty() ? "" : ": " + Shown(call.http.answer))
          : fmt::format("{}: {} (HTTP {})", Shown(error.code), Shown(error.message), http_status);
  const auto fail = [&](ErrorCode code, const std::string& advice) {
    call.status = Explained(call, code, advice.empty() ? said : said + "; " + advice);
    return false;
  };
  if (MeansFull(http_status, error.code))
    return fail(ErrorCode::kDiskLimitExceeded, "the server has no space left for this bucket");
  const std::string region = !error.region.empty() ? error.region : call.http.Header("x-amz-bucket-region");
  const bool elsewhere = http_status == 301 || http_status == 307 || http_status == 308 ||
                         error.code == "AuthorizationHeaderMalformed" ||
                         error.code == "IllegalLocationConstraintException";
  if (elsewhere) {
    return fail(ErrorCode::kParameterInvalid,
                region.empty() ? fmt::format("check endpoint and region (now {})", settings_.region)
                               : fmt::format("set region to {} (now {}) and endpoint to that region's", Shown(region),
                                             settings_.region));
  }
  if (error.code == "RequestTimeTooSkewed") {
    return fail(ErrorCode::kServiceUnavailable,
                fmt::format("this machine's clock or the server's is wrong (server: {}); synchronise them",
                            Shown(call.http.Header("date"))));
  }
  if (error.code == "NoSuchBucket") {
    return fail(ErrorCode::kParameterInvalid, fmt::format("create bucket {}, or set create_bucket", settings_.bucket));
  }
  if (error.code == "NoSuchKey") return fail(ErrorCode::kIoKeyNotFound, "");
  if (http_status == 412) return fail(ErrorCode::kConflict, "");
  if (MayPass(http_status, error.code)) {
    call.repeated = true;  // a 500 or 504 may come after the deed
    fail(ErrorCode::kServiceUnavailable, "");
    return true;
  }
  if (MeansDirectory(error.code)) {
    fail(ErrorCode::kParameterInvalid, "on this server an object's name may not be the directory of another's");
  } else if (MeansCredentials(http_status, error.code)) {
    fail(
        ErrorCode::kPrivilegeNotPermitted,
        "check access_key and secret_key, that they may read, write, list and delete in this bucket, and for temporary "
        "ones session_token and their expiry");
  } else {
    const bool unknown = http_status == 501 || error.code == "NotImplemented";
    fail(unknown ? ErrorCode::kUnimplemented : ErrorCode::kIoFailed,
         error.code.empty() ? "this isn't an answer of S3: check endpoint" : "");
  }
  return MayBeARace(call) && ++call.doubtful_refusals < kMaxDoubtfulRefusals;
}

}  // namespace saker
