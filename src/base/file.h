// The few POSIX calls that the rooms keeping bytes on disk (storage, wal) are built on, with errno as a Status:
// a full disk is kDiskLimitExceeded, a missing file kIoKeyNotFound, all else kIoFailed, and the message names the path.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace saker {

Status ErrnoStatus(std::string_view action, const std::string& path, int error);

// Owns a descriptor. Move-only; const calls are thread-safe.
class File {
 public:
  File() = default;
  static Result<File> Open(const std::string& path, int flags, int mode = 0644);  // open(2)'s flags; O_CLOEXEC is added
  ~File();
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;

  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  const std::string& path() const { return path_; }
  Result<int64_t> Size() const;
  // All of `bytes` or an error; after an error any part may have been written.
  Status WriteAt(std::string_view bytes, int64_t offset) const;
  // Fewer than `length` bytes only at the file's end.
  Result<std::string> ReadAt(int64_t offset, int64_t length) const;
  Status SyncData() const;  // fdatasync. After a failure nothing written since the last success may be taken for durable
  Status Truncate(int64_t size) const;
  // Reserves blocks up to `size`, which becomes the file's size; the new bytes read as zeroes.
  Status Preallocate(int64_t size) const;

 private:
  File(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  int fd_ = -1;
  std::string path_;
};

Status SyncDirectory(const std::string& path);
Status RenameFile(const std::string& from, const std::string& to);
Status RemoveFile(const std::string& path);  // kIoKeyNotFound if it isn't there
// The directory with all its parents; those that are made are durable.
Status MakeDirectories(const std::string& path);
// What an unprivileged process may still write there.
Result<int64_t> FreeDiskBytes(const std::string& path);
// Holds `directory`/LOCK for as long as the File lives; anyone else is refused with a message that names the holder.
Result<File> LockDirectory(const std::string& directory);

enum class FileOperation { kOpen, kWrite, kSync, kSyncDirectory, kTruncate, kRename, kFreeSpace };
// For tests: asked before each such call; a non-zero errno makes the call fail with it. An empty one ends it.
using FileFault = std::function<int(FileOperation, const std::string& path)>;
void TEST_SetFileFault(FileFault fault);

}  // namespace saker
