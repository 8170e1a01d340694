#include "storage/s3_bucket.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <random>

#include "base/clock.h"
#include "base/log.h"
#include "storage/object_name.h"
#include "storage/s3_xml.h"

namespace saker {
namespace {

constexpr int64_t kMaxGetBytes = int64_t{4} << 30;  // in memory at once; what is larger is mapped
constexpr int64_t kMaxObjectBytes = int64_t{5} << 40;
constexpr int64_t kMaxXmlBytes = 16 << 20;  // of a page of 1,000 keys, each at most 1,024 bytes
constexpr int kMaxPages = 100'000;
constexpr int kMaxDownloads = 3;  // each but the last met another version of the object on its way
constexpr std::string_view kNonceHeader = "x-amz-meta-saker-put";
// Begins with a dot, as no object's name may.
constexpr std::string_view kStoreIdName = ".saker/store";
constexpr int64_t kMaxStoreIdBytes = 256;

std::string RandomId() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

Status HasETag(const HttpExchange& http) {
  if (!http.Header("etag").empty()) return {};
  return {ErrorCode::kIoFailed, "the answer has no ETag: this isn't an answer of S3, check endpoint"};
}

// The end of a body is known by its length or its last chunk; without either a cut connection looks like the end.
Status IsWhole(const HttpExchange& http) {
  const bool delimited = !http.Header("content-length").empty() || !http.Header("transfer-encoding").empty();
  return delimited ? Status() : Status(ErrorCode::kIoFailed, "the answer doesn't say how long it is");
}

struct ContentRange {
  int64_t first = 0;
  int64_t total = 0;
};

// "bytes 0-99/1000"
std::optional<ContentRange> ParseContentRange(std::string_view text) {
  if (!text.starts_with("bytes ")) return std::nullopt;
  text.remove_prefix(6);
  const size_t dash = text.find('-');
  const size_t slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos) return std::nullopt;
  ContentRange range{-1, -1};
  std::from_chars(text.data(), text.data() + dash, range.first);
  std::from_chars(text.data() + slash + 1, text.data() + text.size(), range.total);
  if (range.first < 0 || range.total < 0) return std::nullopt;
  return range;
}

// Whether a 206 answer has the bytes that were asked for, as many as there are.
Status HasRange(const HttpExchange& http, int64_t offset, int64_t length) {
  if (http.status != 206) return IsWhole(http);
  const auto range = ParseContentRange(http.Header("content-range"));
  if (!range)
    return {ErrorCode::kIoFailed, fmt::format("its range \"{}\" can't be read", http.Header("content-range"))};
  const int64_t want = std::min(length, range->total - offset);
  if (range->first == offset && http.answer_bytes == want) return {};
  return {ErrorCode::kIoFailed, fmt::format("asked for {} bytes at {}, it answered with {} bytes, \"{}\"", want, offset,
                                            http.answer_bytes, http.Header("content-range"))};
}

bool EndsWithDots(std::string_view prefix) {
  const std::string_view last = prefix.substr(prefix.find_last_of('/') + 1);
  return last == "." || last == "..";
}

bool IsBeyondTheEnd(const S3Call& call) { return call.http.status == 416 && call.code == "InvalidRange"; }

}  // namespace

S3Bucket::S3Bucket(const S3StoreSettings& settings, std::unique_ptr<S3Client> client)
    : settings_(settings),
      key_prefix_(settings.prefix.empty() ? "" : settings.prefix + "/"),
      client_(std::move(client)) {}

S3Call S3Bucket::Call(std::string_view action, std::string method, const std::string& name) const {
  S3Call call;
  call.action = action;
  call.method = std::move(method);
  call.key = KeyOf(name);
  return call;
}

// ---- opening

Result<std::unique_ptr<S3Bucket>> S3Bucket::Open(const S3StoreSettings& settings) {
  if (!settings.prefix.empty()) RETURN_IF_ERROR(CheckObjectName(settings.prefix).WithContext("S3 setting prefix"));
  ASSIGN_OR_RETURN(std::unique_ptr<S3Client> client, S3Client::Create(settings));
  std::unique_ptr<S3Bucket> bucket(new S3Bucket(settings, std::move(client)));
  RETURN_IF_ERROR(bucket->CheckBucket());
  RETURN_IF_ERROR(bucket->CheckConditionalWrites());
  bucket->AbortAbandonedUploads();
  return bucket;
}

Status S3Bucket::CheckBucket() const {
  S3Call call;
  call.action = "list";
  call.method = "GET";
  call.query = {{"list-type", "2"}, {"max-keys", "1"}, {"prefix", key_prefix_}};
  call.xml_answer = true;
  call.accept = [](const HttpExchange& http) { return ParseS3List(http.answer).status(); };
  const Status listed = client_->Do(call);
  return call.code == "NoSuchBucket" && settings_.create_bucket ? CreateBucket() : listed;
}

Status S3Bucket::CreateBucket() const {
  S3Call call;
  call.action = "create bucket";
  call.method = "PUT";
  const std::string body =
      fmt::format("<CreateBucketConfiguration><LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
                  settings_.region);
  if (settings_.region != "us-east-1") call.body = body;  // AWS has no name for its first region here
  const Status created = client_->Do(call);
  // Another process of the cluster may start at the same moment.
  const bool there = call.code == "BucketAlreadyOwnedByYou" || call.code == "BucketAlreadyExists";
  return there ? Status() : created;
}

// The catalog's order and the generations of a cluster hang on put-if-absent (one winner each). An object that is put
// so anew by each start tells whether the server knows what If-None-Match means; what it holds is the store's identity.
Status S3Bucket::CheckConditionalWrites() {
  const std::string name(kStoreIdName);
  for (int i = 0; i < 2; ++i) {
    S3Call call = Call("put", "PUT", name);
    const std::string id = RandomId();
    call.body = id;
    call.headers = {{"if-none-match", "*"}};
    call.accept = HasETag;
    const Status put = client_->Do(call);
    if (call.http.status == 412) break;
    if (!put.ok() && put.code() != ErrorCode::kUnimplemented) return put;
    if (i == 0 && put.ok()) continue;  // it was absent, or seems so: now it isn't
    return {ErrorCode::kUnimplemented,
            fmt::format(
                "{}: the server does not honour If-None-Match: * (put {} twice: {}). Without it two leaders could both "
                "believe to be the first; use a server that does, as AWS S3, MinIO and versitygw 1.8 do",
                client_->where(), call.key, put.ok() ? "both times it succeeded" : put.message())};
  }
  ASSIGN_OR_RETURN(store_id_, GetRange(name, 0, kMaxStoreIdBytes));
  return {};
}

void S3Bucket::AbortAbandonedUploads() const {
  const Result<int> aborted = AbortUploadsBefore(WallMs() - settings_.abandoned_upload_age.count());
  if (!aborted.ok()) {
    LogWarn("abandoned uploads can't be removed, the next start tries again: {}", aborted.status().message());
  } else if (*aborted > 0) {
    LogInfo("{}: removed {} uploads that nobody finished", client_->where(), *aborted);
  }
}

Result<int> S3Bucket::AbortUploadsBefore(int64_t unix_ms) const {
  int aborted = 0;
  std::string key_marker;
  std::string id_marker;
  for (int i = 0; i < kMaxPages; ++i) {
    S3Call call;
    call.action = "list uploads";
    call.method = "GET";
    call.query = {{"uploads", ""}, {"prefix", key_prefix_}, {"encoding-type", "url"}};
    if (!key_marker.empty())
      call.query.insert(call.query.end(), {{"key-marker", key_marker}, {"upload-id-marker", id_marker}});
    call.max_answer_bytes = kMaxXmlBytes;
    call.xml_answer = true;
    S3UploadPage page;
    call.accept = [&page](const HttpExchange& http) {
      ASSIGN_OR_RETURN(page, ParseS3Uploads(http.answer));
      return Status();
    };
    RETURN_IF_ERROR(client_->Do(call));
    for (const S3Upload& found : page.uploads) {
      if (found.started_unix_ms > unix_ms || !found.key.starts_with(key_prefix_)) continue;
      RETURN_IF_ERROR(AbortUpload({found.key.substr(key_prefix_.size()), found.id, "", {}}));
      ++aborted;
    }
    const bool goes_on = page.truncated && (page.next_key_marker != key_marker || page.next_id_marker != id_marker);
    if (!goes_on) break;
    key_marker = page.next_key_marker;
    id_marker = page.next_id_marker;
  }
  return aborted;
}

// ---- writing

Status S3Bucket::Put(const std::string& name, std::string_view bytes) const {
  S3Call call = Call("put", "PUT", name);
  call.body = bytes;
  call.accept = HasETag;
  return client_->Do(call);
}

// If an answer is lost, the next attempt finds the object there, and it may be our own: each carries a nonce of its
// call. libcurl, too, sends again by itself when a kept connection turns out to be closed.
Status S3Bucket::PutIfAbsent(const std::string& name, std::string_view bytes) const {
  S3Call call = Call("put if absent", "PUT", name);
  const std::string nonce = RandomId();
  call.body = bytes;
  call.headers = {{"if-none-match", "*"}, {std::string(kNonceHeader), nonce}};
  call.accept = HasETag;
  const Status put = client_->Do(call);
  if (put.code() != ErrorCode::kConflict) return put;
  ASSIGN_OR_RETURN(const bool ours, IsOurs(name, nonce, call.repeated ? bytes : std::string_view()));
  if (ours) return {};
  return {ErrorCode::kAlreadyExists, fmt::format("{}: object {} exists already", client_->where(), name)};
}

// By its nonce; a server or a copy that lost it leaves the content, if there may have been an attempt of ours.
Result<bool> S3Bucket::IsOurs(const std::string& name, const std::string& nonce, std::string_view bytes) const {
  S3Call call = RangeCall(name, 0, static_cast<int64_t>(bytes.size()) + 1);
  const Status got = client_->Do(call);
  if (IsBeyondTheEnd(call) || got.code() == ErrorCode::kIoKeyNotFound) return false;
  RETURN_IF_ERROR(got);
  const std::string& found = call.http.Header(std::string(kNonceHeader));
  if (!found.empty()) return found == nonce;
  return !bytes.empty() && call.http.answer == bytes;
}

Result<S3Bucket::Upload> S3Bucket::StartUpload(const std::string& name) const {
  Upload upload{name, "", RandomId(), {}};
  S3Call call = Call("start upload of", "POST", name);
  call.query = {{"uploads", ""}};
  call.headers = {{std::string(kNonceHeader), upload.nonce}};
  call.xml_answer = true;
  call.accept = [&upload](const HttpExchange& http) {
    ASSIGN_OR_RETURN(upload.id, ParseS3UploadId(http.answer));
    return Status();
  };
  RETURN_IF_ERROR(client_->Do(call));
  return upload;
}

Status S3Bucket::UploadParts(Upload& upload, const std::vector<std::string_view>& parts) const {
  std::vector<S3Call> calls;
  for (size_t i = 0; i < parts.size(); ++i) {
    S3Call call = Call("upload part of", "PUT", upload.name);
    call.query = {{"partNumber", std::to_string(upload.etags.size() + i + 1)}, {"uploadId", upload.id}};
    call.body = parts[i];
    call.accept = HasETag;
    calls.push_back(std::move(call));
  }
  RETURN_IF_ERROR(client_->DoAll(calls));
  for (const S3Call& call : calls) upload.etags.push_back(call.http.Header("etag"));
  return {};
}

Status S3Bucket::CompleteUpload(const Upload& upload) const {
  S3Call call = Call("complete upload of", "POST", upload.name);
  const std::string body = S3CompleteBody(upload.etags);
  call.query = {{"uploadId", upload.id}};
  call.body = body;
  call.xml_answer = true;
  call.accept = [](const HttpExchange& http) { return CheckS3Completed(http.answer); };
  const Status completed = client_->Do(call);
  if (completed.ok() || !call.repeated || call.code != "NoSuchUpload") return completed;
  // An earlier attempt, whose answer was lost, may have done it.
  ASSIGN_OR_RETURN(const bool ours, IsOurs(upload.name, upload.nonce, {}));
  return ours ? Status() : completed;
}

Status S3Bucket::AbortUpload(const Upload& upload) const {
  // Called while something else fails: not to be waited for. What stays is removed by age at a later start.
  constexpr std::chrono::milliseconds kPatience{2000};
  S3Call call = Call("abort upload of", "DELETE", upload.name);
  call.query = {{"uploadId", upload.id}};
  const Status aborted = client_->DoWithin(call, kPatience);
  return call.code == "NoSuchUpload" ? Status() : aborted;
}

Status S3Bucket::Delete(const std::string& name) const {
  S3Call call = Call("delete", "DELETE", name);
  const Status deleted = client_->Do(call);
  return deleted.code() == ErrorCode::kIoKeyNotFound ? Status() : deleted;
}

// ---- reading

S3Call S3Bucket::RangeCall(const std::string& name, int64_t offset, int64_t length) const {
  S3Call call = Call("get", "GET", name);
  const int64_t last =
      offset > std::numeric_limits<int64_t>::max() - length ? std::numeric_limits<int64_t>::max() : offset + length - 1;
  call.headers = {{"range", fmt::format("bytes={}-{}", offset, last)}};
  call.max_answer_bytes = std::min(length, kMaxGetBytes);
  call.accept = [offset, length](const HttpExchange& http) { return HasRange(http, offset, length); };
  return call;
}

Result<std::string> S3Bucket::Get(const std::string& name) const {
  S3Call call = Call("get", "GET", name);
  call.max_answer_bytes = kMaxGetBytes;
  call.accept = IsWhole;
  RETURN_IF_ERROR(client_->Do(call));
  return std::move(call.http.answer);
}

Result<std::string> S3Bucket::GetRange(const std::string& name, int64_t offset, int64_t length) const {
  S3Call call =
      RangeCall(name, offset, std::max<int64_t>(length, 1));  // no range is empty: one byte tells if it is there
  const Status got = client_->Do(call);
  if (IsBeyondTheEnd(call)) return std::string();
  RETURN_IF_ERROR(got);
  if (call.http.status == 206) return length == 0 ? std::string() : std::move(call.http.answer);
  // The whole object, which was no longer than the range.
  if (offset >= call.http.answer_bytes) return std::string();
  return call.http.answer.substr(static_cast<size_t>(offset), static_cast<size_t>(length));
}

Status S3Bucket::Download(const std::string& name, const File& file,
                          const std::function<Status(int64_t)>& reserve) const {
  Status downloaded;
  for (int i = 0; i < kMaxDownloads; ++i) {
    downloaded = DownloadOnce(name, file, reserve);
    if (downloaded.code() != ErrorCode::kConflict) return downloaded;
    RETURN_IF_ERROR(file.Truncate(0));
  }
  return {ErrorCode::kIoFailed, fmt::format("object {} changes all the time: {}", name, downloaded.message())};
}

// The first part tells the size and the version (ETag); the others are asked for of that version only: kConflict if it
// is another one by now.
Status S3Bucket::DownloadOnce(const std::string& name, const File& file,
                              const std::function<Status(int64_t)>& reserve) const {
  S3Call first = RangeCall(name, 0, settings_.part_bytes);
  first.max_answer_bytes = kMaxObjectBytes;  // a server that doesn't know ranges sends it all
  first.sink = [&file](int64_t offset, std::string_view bytes) { return file.WriteAt(bytes, offset); };
  const Status got = client_->Do(first);
  if (IsBeyondTheEnd(first)) return file.Truncate(0);  // an empty object has no first byte
  RETURN_IF_ERROR(got);
  int64_t total = first.http.answer_bytes;
  if (first.http.status == 206) total = ParseContentRange(first.http.Header("content-range"))->total;
  RETURN_IF_ERROR(reserve(total));
  RETURN_IF_ERROR(file.Truncate(total));  // a failed attempt may have written more
  const std::string& etag = first.http.Header("etag");

  for (int64_t at = first.http.answer_bytes; at < total;) {
    std::vector<S3Call> calls;
    for (int i = 0; i < settings_.parallel_parts && at < total; ++i, at += settings_.part_bytes) {
      S3Call call = RangeCall(name, at, settings_.part_bytes);
      call.sink = [&file, at](int64_t offset, std::string_view bytes) { return file.WriteAt(bytes, at + offset); };
      if (!etag.empty()) call.headers.emplace_back("if-match", etag);
      calls.push_back(std::move(call));
    }
    RETURN_IF_ERROR(client_->DoAll(calls));
    for (const S3Call& call : calls) {
      if (call.http.status != 206) {
        return {ErrorCode::kIoFailed,
                fmt::format("{}: get {} failed: the server knows ranges only sometimes", client_->where(), name)};
      }
    }
  }
  return {};
}

Result<std::vector<ObjectInfo>> S3Bucket::List(const std::string& prefix) const {
  // MinIO refuses "." and ".." as the last part, though a name may begin so ("..x"): ask for more.
  const std::string asked = KeyOf(EndsWithDots(prefix) ? prefix.substr(0, prefix.find_last_of('/') + 1) : prefix);
  std::vector<ObjectInfo> found;
  std::string token;
  for (int i = 0; i < kMaxPages; ++i) {
    S3Call call;
    call.action = "list";
    call.method = "GET";
    call.query = {{"list-type", "2"}, {"encoding-type", "url"}, {"prefix", asked}};
    if (!token.empty()) call.query.emplace_back("continuation-token", token);
    call.max_answer_bytes = kMaxXmlBytes;
    call.xml_answer = true;
    S3ListPage page;
    call.accept = [&page](const HttpExchange& http) {
      ASSIGN_OR_RETURN(page, ParseS3List(http.answer));
      return Status();
    };
    RETURN_IF_ERROR(client_->Do(call));
    for (ObjectInfo& object : page.objects) {
      if (!object.name.starts_with(key_prefix_)) continue;
      object.name.erase(0, key_prefix_.size());
      // What isn't a valid name isn't ours: our identity, others' objects, markers of directories ("a/").
      if (object.name.starts_with(prefix) && CheckObjectName(object.name).ok()) found.push_back(std::move(object));
    }
    if (page.next_token.empty()) {
      std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
      return found;
    }
    if (page.next_token == token) break;
    token = std::move(page.next_token);
  }
  return Status(ErrorCode::kIoFailed,
                fmt::format("{}: list {} failed: the server's list has no end", client_->where(), prefix));
}

}  // namespace saker
