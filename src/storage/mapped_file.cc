#include "storage/mapped_file.h"

#include <sys/mman.h>

#include <cerrno>

namespace saker {
namespace {

class MappedFile final : public MappedObject {
 public:
  MappedFile(std::string name, void* start, size_t size) : name_(std::move(name)), start_(start), size_(size) {}
  ~MappedFile() override {
    if (start_ != nullptr) ::munmap(start_, size_);
  }
  std::string_view bytes() const override { return {static_cast<const char*>(start_), size_}; }
  const std::string& name() const override { return name_; }

 private:
  const std::string name_;
  void* const start_;
  const size_t size_;
};

}  // namespace

Result<std::shared_ptr<const MappedObject>> MapFile(const std::string& name, const File& file) {
  ASSIGN_OR_RETURN(const int64_t size, file.Size());
  void* start = nullptr;
  if (size > 0) {
    start = ::mmap(nullptr, static_cast<size_t>(size), PROT_READ, MAP_SHARED, file.fd(), 0);
    if (start == MAP_FAILED) return ErrnoStatus("map", file.path(), errno);
  }
  return std::shared_ptr<const MappedObject>(std::make_shared<MappedFile>(name, start, static_cast<size_t>(size)));
}

}  // namespace saker
