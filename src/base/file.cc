#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>

namespace saker {
namespace {

std::atomic<bool> fault_set{false};
std::mutex fault_mutex;
FileFault& Fault() {
  static FileFault fault;
  return fault;
}

int Injected(FileOperation operation, const std::string& path) {
  if (!fault_set.load(std::memory_order_relaxed)) [[likely]] return 0;
  const std::lock_guard lock(fault_mutex);
  return Fault() ? Fault()(operation, path) : 0;
}

std::string ParentOf(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

bool IsDirectory(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

}  // namespace

void TEST_SetFileFault(FileFault fault) {
  const std::lock_guard lock(fault_mutex);
  fault_set = static_cast<bool>(fault);
  Fault() = std::move(fault);
}

Status ErrnoStatus(std::string_view action, const std::string& path, int error) {
  ErrorCode code = ErrorCode::kIoFailed;
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) code = ErrorCode::kDiskLimitExceeded;
  if (error == ENOENT) code = ErrorCode::kIoKeyNotFound;
  return {code, fmt::format("cannot {} {}: {}", action, path, std::strerror(error))};
}

Result<File> File::Open(const std::string& path, int flags, int mode) {
  if (const int error = Injected(FileOperation::kOpen, path); error != 0) return ErrnoStatus("open", path, error);
  int fd = -1;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return ErrnoStatus((flags & O_CREAT) != 0 ? "create" : "open", path, errno);
  return File(fd, path);
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

File::File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
    path_ = std::move(other.path_);
  }
  return *this;
}

Result<int64_t> File::Size() const {
  struct stat info {};
  if (::fstat(fd_, &info) != 0) return ErrnoStatus("stat", path_, errno);
  return static_cast<int64_t>(info.st_size);
}

Status File::WriteAt(std::string_view bytes, int64_t offset) const {
  if (const int error = Injected(FileOperation::kWrite, path_); error != 0) return ErrnoStatus("write", path_, error);
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return ErrnoStatus("write", path_, n < 0 ? errno : EIO);
    bytes.remove_prefix(static_cast<size_t>(n));
    offset += n;
  }
  return {};
}

Result<std::string> File::ReadAt(int64_t offset, int64_t length) const {
  std::string out(static_cast<size_t>(length), '\0');
  size_t filled = 0;
  while (filled < out.size()) {
    const ssize_t n = ::pread(fd_, out.data() + filled, out.size() - filled, offset + static_cast<int64_t>(filled));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("read", path_, errno);
    if (n == 0) break;
    filled += static_cast<size_t>(n);
  }
  out.resize(filled);
  return out;
}

Status File::SyncData() const {
  if (const int error = Injected(FileOperation::kSync, path_); error != 0) return ErrnoStatus("sync", path_, error);
  if (::fdatasync(fd_) != 0) return ErrnoStatus("sync", path_, errno);
  return {};
}

Status File::Truncate(int64_t size) const {
  if (const int error = Injected(FileOperation::kTruncate, path_); error != 0) {
    return ErrnoStatus("truncate", path_, error);
  }
  if (::ftruncate(fd_, size) != 0) return ErrnoStatus("truncate", path_, errno);
  return {};
}

Status File::Preallocate(int64_t size) const {
  if (::fallocate(fd_, 0, 0, size) != 0) return ErrnoStatus("reserve space in", path_, errno);
  return {};
}

Status SyncDirectory(const std::string& path) {
  if (const int error = Injected(FileOperation::kSyncDirectory, path); error != 0) {
    return ErrnoStatus("sync directory", path, error);
  }
  ASSIGN_OR_RETURN(const File directory, File::Open(path, O_RDONLY | O_DIRECTORY));
  if (::fsync(directory.fd()) != 0) return ErrnoStatus("sync directory", path, errno);
  return {};
}

Status RenameFile(const std::string& from, const std::string& to) {
  if (const int error = Injected(FileOperation::kRename, to); error != 0) return ErrnoStatus("rename to", to, error);
  if (::rename(from.c_str(), to.c_str()) != 0) return ErrnoStatus("rename to", to, errno);
  return {};
}

Status RemoveFile(const std::string& path) {
  if (::unlink(path.c_str()) != 0) return ErrnoStatus("remove", path, errno);
  return {};
}

Status MakeDirectories(const std::string& path) {
  if (path.empty()) return {ErrorCode::kParameterInvalid, "a directory's path is empty: name one"};
  if (IsDirectory(path)) return {};
  const std::string parent = ParentOf(path);
  if (parent != path) RETURN_IF_ERROR(MakeDirectories(parent));
  if (::mkdir(path.c_str(), 0755) != 0 && !(errno == EEXIST && IsDirectory(path))) {
    return ErrnoStatus("create directory", path, errno);
  }
  return SyncDirectory(parent);
}

Result<int64_t> FreeDiskBytes(const std::string& path) {
  if (const int error = Injected(FileOperation::kFreeSpace, path); error != 0) return int64_t{0};
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) != 0) return ErrnoStatus("read the free space of", path, errno);
  return static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize);
}

Result<File> LockDirectory(const std::string& directory) {
  ASSIGN_OR_RETURN(File lock, File::Open(directory + "/LOCK", O_RDWR | O_CREAT));
  if (::flock(lock.fd(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoStatus("lock", lock.path(), errno);
    const Result<std::string> holder = lock.ReadAt(0, 32);
    return Status(ErrorCode::kServiceUnavailable,
                  fmt::format("directory {} is in use by process {}: stop it, or use another directory", directory,
                              holder.ok() && !holder->empty() ? *holder : "(unknown)"));
  }
  RETURN_IF_ERROR(lock.Truncate(0));
  // Only a help for the reader of the message: a full disk must not keep the log from opening.
  (void)lock.WriteAt(std::to_string(::getpid()), 0).ok();
  return lock;
}

}  // namespace saker
