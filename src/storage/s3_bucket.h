// Objects of a bucket by their names: what the store and its writers share. Reading and writing whole objects and parts
// of them; nothing is cached.
//
// Thread-safe; calls block.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "storage/object_store.h"
#include "storage/s3_client.h"

namespace saker {

class S3Bucket {
 public:
  static Result<std::unique_ptr<S3Bucket>> Open(const S3StoreSettings& settings);

  const S3StoreSettings& settings() const { return settings_; }
  const std::string& store_id() const { return store_id_; }

  Status Put(const std::string& name, std::string_view bytes) const;
  Status PutIfAbsent(const std::string& name, std::string_view bytes) const;
  Result<std::string> Get(const std::string& name) const;
  Result<std::string> GetRange(const std::string& name, int64_t offset, int64_t length) const;
  // The whole object, several parts at a time; `reserve` hears the size before most of it comes.
  Status Download(const std::string& name, const File& file, const std::function<Status(int64_t)>& reserve) const;
  Result<std::vector<ObjectInfo>> List(const std::string& prefix) const;
  Status Delete(const std::string& name) const;

  // An upload by parts: begun, given parts 1, 2, … in batches, and completed or aborted.
  struct Upload {
    std::string name;
    std::string id;
    std::string nonce;               // kept with the object: how we recognise it as ours
    std::vector<std::string> etags;  // of the parts so far
  };
  Result<Upload> StartUpload(const std::string& name) const;
  Status UploadParts(Upload& upload, const std::vector<std::string_view>& parts) const;
  Status CompleteUpload(const Upload& upload) const;
  Status AbortUpload(const Upload& upload) const;

 private:
  S3Bucket(const S3StoreSettings& settings, std::unique_ptr<S3Client> client);

  std::string KeyOf(std::string_view name) const { return key_prefix_ + std::string(name); }
  S3Call Call(std::string_view action, std::string method, const std::string& name) const;
  S3Call RangeCall(const std::string& name, int64_t offset, int64_t length) const;
  Status DownloadOnce(const std::string& name, const File& file, const std::function<Status(int64_t)>& reserve) const;
  Result<bool> IsOurs(const std::string& name, const std::string& nonce, std::string_view bytes) const;

  Status CheckBucket() const;
  Status CreateBucket() const;
  Status CheckConditionalWrites();
  void AbortAbandonedUploads() const;
  Result<int> AbortUploadsBefore(int64_t unix_ms) const;

  const S3StoreSettings settings_;
  const std::string key_prefix_;  // empty, or ends with a slash
  const std::unique_ptr<S3Client> client_;
  std::string store_id_;
};

}  // namespace saker
