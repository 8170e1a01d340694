#include "storage/s3_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "storage/object_cache.h"
#include "storage/object_name.h"
#include "storage/s3_bucket.h"

namespace saker {
namespace {

constexpr size_t kMaxParts = 10'000;                // S3's limit
constexpr int64_t kMaxPutBytes = int64_t{5} << 30;  // S3's limit of a single request

struct Shared {
  std::unique_ptr<S3Bucket> bucket;
  std::unique_ptr<ObjectCache> cache;
};

// What fits into memory becomes one request with Finish(). More is uploaded as the parts of a multipart upload, several
// at a time, each time the memory is full.
class S3Writer final : public ObjectWriter {
 public:
  S3Writer(std::shared_ptr<const Shared> shared, std::string name)
      : shared_(std::move(shared)),
        name_(std::move(name)),
        part_bytes_(static_cast<size_t>(bucket().settings().part_bytes)),
        capacity_(part_bytes_ * static_cast<size_t>(bucket().settings().parallel_parts)) {}

  ~S3Writer() override {
    if (done_ || upload_.id.empty()) return;
    const Status aborted = bucket().AbortUpload(upload_);
    if (!aborted.ok()) LogWarn("an upload stays until its age removes it: {}", aborted.message());
  }

  Status Append(std::string_view bytes) override {
    RETURN_IF_ERROR(CheckUsable());
    size_ += static_cast<int64_t>(bytes.size());
    while (!bytes.empty()) {
      // Full and more to come: an object that just fits is still a single request.
      if (buffer_.size() == capacity_) RETURN_IF_ERROR(Keep(UploadBuffer()));
      const size_t take = std::min(bytes.size(), capacity_ - buffer_.size());
      buffer_.append(bytes.substr(0, take));
      bytes.remove_prefix(take);
    }
    return {};
  }

  int64_t size() const override { return size_; }

  Status Finish() override {
    RETURN_IF_ERROR(CheckUsable());
    const Status written = upload_.id.empty() ? bucket().Put(name_, buffer_) : FinishUpload();
    shared_->cache->Forget(name_);
    RETURN_IF_ERROR(Keep(written));
    done_ = true;
    buffer_ = {};
    return {};
  }

 private:
  const S3Bucket& bucket() const { return *shared_->bucket; }

  Status CheckUsable() const {
    if (done_) return {ErrorCode::kServiceInternal, fmt::format("object {} is finished already", name_)};
    return failure_;
  }
  // After a failure it isn't known which parts are there: every later call fails alike.
  Status Keep(Status status) {
    if (!status.ok()) {
      failure_ = std::move(status);
      buffer_ = {};
    }
    return failure_;
  }

  Status UploadBuffer() {
    if (upload_.id.empty()) {
      ASSIGN_OR_RETURN(upload_, bucket().StartUpload(name_));
    }
    std::vector<std::string_view> parts;
    for (size_t at = 0; at < buffer_.size(); at += part_bytes_) {
      parts.push_back(std::string_view(buffer_).substr(at, part_bytes_));
    }
    if (upload_.etags.size() + parts.size() > kMaxParts) {
      return {ErrorCode::kParameterInvalid,
              fmt::format("object {} is too large: more than {} parts of {} bytes; raise part_bytes", name_, kMaxParts,
                          part_bytes_)};
    }
    RETURN_IF_ERROR(bucket().UploadParts(upload_, parts));
    buffer_.clear();
    return {};
  }
  Status FinishUpload() {
    RETURN_IF_ERROR(UploadBuffer());
    return bucket().CompleteUpload(upload_);
  }

  const std::shared_ptr<const Shared> shared_;
  const std::string name_;
  const size_t part_bytes_;
  const size_t capacity_;
  std::string buffer_;
  S3Bucket::Upload upload_;  // id empty: not begun
  int64_t size_ = 0;
  bool done_ = false;
  Status failure_;
};

class S3Store final : public ObjectStore {
 public:
  explicit S3Store(std::shared_ptr<const Shared> shared) : shared_(std::move(shared)) {}

  Status Put(const std::string& name, std::string_view bytes) override {
    RETURN_IF_ERROR(CheckObjectName(name));
    if (static_cast<int64_t>(bytes.size()) > kMaxPutBytes) return PutInParts(name, bytes);
    const Status put = bucket().Put(name, bytes);
    shared_->cache->Forget(name);  // also after a failure: it may have been carried out
    return put;
  }

  Status PutIfAbsent(const std::string& name, std::string_view bytes) override {
    RETURN_IF_ERROR(CheckObjectName(name));
    return bucket().PutIfAbsent(name, bytes);
  }

  Result<std::unique_ptr<ObjectWriter>> Create(const std::string& name) override {
    RETURN_IF_ERROR(CheckObjectName(name));
    return std::unique_ptr<ObjectWriter>(std::make_unique<S3Writer>(shared_, name));
  }

  Result<std::string> Get(const std::string& name) override {
    RETURN_IF_ERROR(CheckObjectName(name));
    return bucket().Get(name);
  }

  Result<std::string> GetRange(const std::string& name, int64_t offset, int64_t length) override {
    RETURN_IF_ERROR(CheckObjectName(name));
    if (offset < 0 || length < 0) {
      return Status(ErrorCode::kParameterInvalid,
                    fmt::format("object {}: offset {} and length {} must not be negative", name, offset, length));
    }
    return bucket().GetRange(name, offset, length);
  }

  Result<std::shared_ptr<const MappedObject>> Map(const std::string& name) override {
    RETURN_IF_ERROR(CheckObjectName(name));
    return shared_->cache->Map(name, [this, &name](const File& file, const ObjectCache::Reserve& reserve) {
      return bucket().Download(name, file, reserve);
    });
  }

  Result<std::vector<ObjectInfo>> List(const std::string& prefix) override {
    RETURN_IF_ERROR(CheckObjectPrefix(prefix));
    return bucket().List(prefix);
  }

  Status Delete(const std::string& name) override {
    RETURN_IF_ERROR(CheckObjectName(name));
    const Status deleted = bucket().Delete(name);
    shared_->cache->Forget(name);
    return deleted;
  }

 private:
  const S3Bucket& bucket() const { return *shared_->bucket; }

  Status PutInParts(const std::string& name, std::string_view bytes) {
    S3Writer writer(shared_, name);
    RETURN_IF_ERROR(writer.Append(bytes));
    return writer.Finish();
  }

  const std::shared_ptr<const Shared> shared_;
};

}  // namespace

Result<std::unique_ptr<ObjectStore>> OpenS3Store(const S3StoreSettings& settings) {
  if (settings.cache_directory.empty() || settings.cache_bytes <= 0) {
    return Status(
        ErrorCode::kParameterInvalid,
        fmt::format("S3 settings cache_directory (\"{}\") and cache_bytes ({}) must name a directory and a positive "
                    "number of bytes",
                    settings.cache_directory, settings.cache_bytes));
  }
  if (!settings.verify_certificate)
    LogWarn("the certificate of {} is not verified: anyone in between can read and change everything",
            settings.endpoint);
  auto shared = std::make_shared<Shared>();
  ASSIGN_OR_RETURN(shared->bucket, S3Bucket::Open(settings));
  ASSIGN_OR_RETURN(shared->cache,
                   ObjectCache::Open(settings.cache_directory, settings.cache_bytes, shared->bucket->store_id()));
  return std::unique_ptr<ObjectStore>(std::make_unique<S3Store>(std::move(shared)));
}

}  // namespace saker
