// S3: objects by name, and requests that fail, carried out or not.
#include "sim/world.h"
#include "storage/s3_store.h"

namespace saker::sim {
namespace {

struct Object {
  std::shared_ptr<const std::string> bytes;
  int64_t modified_unix_ms = 0;
};
std::map<std::string, Object>& TheBucket() {
  static std::map<std::string, Object> bucket;
  return bucket;
}

class Mapped final : public MappedObject {
 public:
  Mapped(std::string name, const std::string& bytes) : name_(std::move(name)), words_(bytes.size() / 8 + 1), size_(bytes.size()) {
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(words_.data()));
  }
  std::string_view bytes() const override { return {reinterpret_cast<const char*>(words_.data()), size_}; }
  const std::string& name() const override { return name_; }

 private:
  const std::string name_;
  std::vector<uint64_t> words_;  // aligned, as a mapping is
  const size_t size_;
};

Status NotFound(const std::string& name) { return {ErrorCode::kIoKeyNotFound, "there is no object " + name}; }

class Bucket final : public ObjectStore {
 public:
  explicit Bucket(const S3StoreSettings& settings) : timeout_us_(settings.total_timeout.count() * kMs) {}

  Status Put(const std::string& name, std::string_view bytes) override {
    return Call([name, copy = std::make_shared<const std::string>(bytes)] { Store(name, copy); });
  }
  Status PutIfAbsent(const std::string& name, std::string_view bytes) override {
    auto exists = std::make_shared<bool>(false);
    RETURN_IF_ERROR(Call([name, exists, copy = std::make_shared<const std::string>(bytes)] {
      *exists = TheBucket().contains(name);
      if (!*exists) Store(name, copy);
    }));
    return *exists ? Status(ErrorCode::kAlreadyExists, "object " + name + " exists") : Status();
  }
  Result<std::unique_ptr<ObjectWriter>> Create(const std::string& name) override {
    return std::unique_ptr<ObjectWriter>(new Writer(this, name));
  }
  Result<std::string> Get(const std::string& name) override {
    ASSIGN_OR_RETURN(const auto bytes, Fetch(name));
    return *bytes;
  }
  Result<std::string> GetRange(const std::string& name, int64_t offset, int64_t length) override {
    ASSIGN_OR_RETURN(const auto bytes, Fetch(name));
    return bytes->substr(std::min<size_t>(static_cast<size_t>(offset), bytes->size()), static_cast<size_t>(length));
  }
  Result<std::shared_ptr<const MappedObject>> Map(const std::string& name) override {
    ASSIGN_OR_RETURN(const auto bytes, Fetch(name));
    return std::shared_ptr<const MappedObject>(new Mapped(name, *bytes));
  }
  Result<std::vector<ObjectInfo>> List(const std::string& prefix) override {
    auto out = std::make_shared<std::vector<ObjectInfo>>();
    RETURN_IF_ERROR(Call([prefix, out] {
      const auto& bucket = TheBucket();
      for (auto it = bucket.lower_bound(prefix); it != bucket.end() && it->first.starts_with(prefix); ++it) {
        out->push_back({it->first, static_cast<int64_t>(it->second.bytes->size()), it->second.modified_unix_ms});
      }
    }));
    return *out;
  }
  Status Delete(const std::string& name) override {
    return Call([name] {
      Trace("s3 deletes " + name);
      TheBucket().erase(name);
    });
  }

 private:
  class Writer final : public ObjectWriter {
   public:
    Writer(Bucket* bucket, std::string name) : bucket_(bucket), name_(std::move(name)) {}
    Status Append(std::string_view bytes) override {
      bytes_.append(bytes);
      return {};
    }
    int64_t size() const override { return static_cast<int64_t>(bytes_.size()); }
    Status Finish() override { return bucket_->Put(name_, bytes_); }

   private:
    Bucket* const bucket_;
    const std::string name_;
    std::string bytes_;
  };

  static void Store(const std::string& name, const std::shared_ptr<const std::string>& bytes) {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    TheBucket()[name] = {bytes, now.tv_sec * 1000 + now.tv_nsec / 1'000'000};
  }
  Result<std::shared_ptr<const std::string>> Fetch(const std::string& name) {
    auto found = std::make_shared<std::shared_ptr<const std::string>>();
    RETURN_IF_ERROR(Call([name, found] {
      const auto it = TheBucket().find(name);
      if (it != TheBucket().end()) *found = it->second.bytes;
    }));
    if (*found == nullptr) return NotFound(name);
    return *found;
  }
  Status Call(std::function<void()> op) {
    const Status away(ErrorCode::kServiceUnavailable, "S3 does not answer");
    const bool fails = Chance(TheWorld().s3_faults);
    if (fails && Chance(0.5)) {
      SleepUs(Between(kMs, 100 * kMs));
      return away;
    }
    const bool answered = Ask(kS3, timeout_us_, std::move(op));
    return answered && !fails ? Status() : away;
  }

  const int64_t timeout_us_;
};

}  // namespace
}  // namespace saker::sim

namespace saker {

Result<std::unique_ptr<ObjectStore>> OpenS3Store(const S3StoreSettings& settings) {
  return std::unique_ptr<ObjectStore>(std::make_unique<sim::Bucket>(settings));
}

}  // namespace saker
