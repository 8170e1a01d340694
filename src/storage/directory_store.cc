// Objects as files. An object is written to root/.tmp, synced, renamed to its name, and the directory synced: it is
// there whole and for good, or not at all. docs/format/objects.md describes the layout.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <limits>
#include <random>
#include <unordered_set>

#include "base/file.h"
#include "base/log.h"
#include "base/mutex.h"
#include "storage/mapped_file.h"
#include "storage/object_name.h"
#include "storage/object_store.h"

namespace saker {
namespace {

constexpr size_t kWriteBufferBytes = 1 << 20;
constexpr size_t kMaxKnownDirectories = 4096;
constexpr int kMaxPlaceAttempts = 100;  // each lost to a deletion that emptied the directory in between

std::string ParentOf(const std::string& path) { return path.substr(0, path.find_last_of('/')); }

bool IsDirectory(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// True if something between `root` and `path` is a file, so that `path` can't exist.
bool IsBelowFile(const std::string& path, const std::string& root) {
  for (std::string above = ParentOf(path); above.size() > root.size(); above = ParentOf(above)) {
    struct stat info {};
    if (::lstat(above.c_str(), &info) == 0) return !S_ISDIR(info.st_mode);
  }
  return false;
}

// The directory's side of object names: making directories durable, and removing them when they are empty.
class Directories {
 public:
  explicit Directories(std::string root) : root_(std::move(root)) {}

  // Makes `path` (root or below) exist, and its entry in each directory above durable. A directory that is merely there
  // may have been made by someone who hasn't synced it yet, or had no time to: only what we synced is known.
  Status Ensure(const std::string& path) {
    const MutexLock lock(mutex_);
    return EnsureLocked(path);
  }

  // Makes Ensure() look again at `path` and those above.
  void Forget(std::string path) {
    const MutexLock lock(mutex_);
    for (; path.size() > root_.size(); path = ParentOf(path)) known_.erase(path);
  }

  // Removes `path` and those above while they are empty, up to root.
  void Prune(std::string path) {
    const MutexLock lock(mutex_);
    for (; path.size() > root_.size(); path = ParentOf(path)) {
      if (::rmdir(path.c_str()) != 0) return;
      known_.erase(path);
    }
  }

 private:
  Status EnsureLocked(const std::string& path) REQUIRES(mutex_) {
    if (path.size() <= root_.size() || known_.contains(path)) return {};
    const std::string parent = ParentOf(path);
    RETURN_IF_ERROR(EnsureLocked(parent));
    if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return ErrnoStatus("create directory", path, errno);
    RETURN_IF_ERROR(SyncDirectory(parent));
    if (known_.size() >= kMaxKnownDirectories) known_.clear();
    known_.insert(path);
    return {};
  }

  const std::string root_;
  Mutex mutex_;
  std::unordered_set<std::string> known_ GUARDED_BY(mutex_);
};

// Files being written, under root/.tmp as <instance>.<n>. Each open store holds a lock on <instance>.lock, so that
// another one knows whose files are left-overs.
class TemporaryFiles {
 public:
  static Result<std::unique_ptr<TemporaryFiles>> Open(const std::string& root) {
    const std::string directory = root + "/.tmp";
    RETURN_IF_ERROR(MakeDirectories(directory));
    RETURN_IF_ERROR(RemoveLeftOvers(directory));
    for (int attempt = 0; attempt < kMaxPlaceAttempts; ++attempt) {
      const std::string instance = fmt::format("{:08x}{:08x}", std::random_device()(), std::random_device()());
      ASSIGN_OR_RETURN(File lock, File::Open(directory + "/" + instance + ".lock", O_RDWR | O_CREAT | O_EXCL));
      struct stat info {};
      // Between its creation and the lock it may have been taken for a left-over.
      if (::flock(lock.fd(), LOCK_EX | LOCK_NB) != 0 || ::fstat(lock.fd(), &info) != 0 || info.st_nlink == 0) continue;
      return std::unique_ptr<TemporaryFiles>(new TemporaryFiles(directory + "/" + instance, std::move(lock)));
    }
    return Status(ErrorCode::kIoFailed, fmt::format("cannot lock a file in {}", directory));
  }

  ~TemporaryFiles() { (void)RemoveFile(lock_.path()).ok(); }

  std::string NextPath() { return fmt::format("{}.{}", prefix_, next_.fetch_add(1, std::memory_order_relaxed)); }

 private:
  TemporaryFiles(std::string prefix, File lock) : prefix_(std::move(prefix)), lock_(std::move(lock)) {}

  static Status RemoveLeftOvers(const std::string& directory) {
    std::vector<std::string> names;
    DIR* dir = ::opendir(directory.c_str());
    if (dir == nullptr) return ErrnoStatus("list directory", directory, errno);
    while (const dirent* entry = ::readdir(dir)) {
      if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
    }
    ::closedir(dir);
    std::unordered_set<std::string> alive;
    for (const std::string& name : names) {
      if (!name.ends_with(".lock")) continue;
      const Result<File> lock = File::Open(directory + "/" + name, O_RDWR);
      if (lock.ok() && ::flock(lock->fd(), LOCK_EX | LOCK_NB) == 0) {
        (void)RemoveFile(lock->path()).ok();  // while it is locked: nobody takes it up any more
      } else {
        alive.insert(name.substr(0, name.find('.')));
      }
    }
    for (const std::string& name : names) {
      if (name.ends_with(".lock") || alive.contains(name.substr(0, name.find('.')))) continue;
      const Status removed = RemoveFile(directory + "/" + name);
      if (!removed.ok() && removed.code() != ErrorCode::kIoKeyNotFound) return removed;
    }
    return {};
  }

  const std::string prefix_;
  const File lock_;
  std::atomic<uint64_t> next_{0};
};

enum class IfPresent { kReplace, kRefuse };

// Puts finished temporary files in their places. Shared by the store and its writers.
class Placement {
 public:
  Placement(std::string root, std::unique_ptr<TemporaryFiles> temporary)
      : root_(std::move(root)), directories_(root_), temporary_(std::move(temporary)) {}

  const std::string& root() const { return root_; }
  std::string PathOf(const std::string& name) const { return root_ + "/" + name; }
  std::string NextTemporary() { return temporary_->NextPath(); }
  void Prune(const std::string& directory) { directories_.Prune(directory); }

  // The temporary file, which is synced, becomes the object; it is gone afterwards.
  Status Place(const std::string& temporary, const std::string& name, IfPresent if_present) {
    Status placed = TryPlace(temporary, name, if_present);
    if (!placed.ok() || if_present == IfPresent::kRefuse) (void)RemoveFile(temporary).ok();
    if (placed.code() == ErrorCode::kIoKeyNotFound) placed = {ErrorCode::kIoFailed, placed.message()};
    return placed;
  }

 private:
  Status TryPlace(const std::string& temporary, const std::string& name, IfPresent if_present) {
    const std::string path = PathOf(name);
    const std::string directory = ParentOf(path);
    for (int attempt = 0; attempt < kMaxPlaceAttempts; ++attempt) {
      RETURN_IF_ERROR(Explain(directories_.Ensure(directory), name));
      const Status moved = if_present == IfPresent::kReplace ? RenameFile(temporary, path) : Link(temporary, path);
      // Also when it is there already: who put it may not have come to this, or was told that it failed.
      if (moved.ok() || moved.code() == ErrorCode::kAlreadyExists) {
        RETURN_IF_ERROR(SyncDirectory(directory));
        return Explain(moved, name);
      }
      if (moved.code() != ErrorCode::kIoKeyNotFound) return Explain(moved, name);
      directories_.Forget(directory);  // another store over the same root has removed it
    }
    return {ErrorCode::kIoFailed, fmt::format("object {} cannot be put: {} vanishes again and again", name, directory)};
  }

  static Status Link(const std::string& from, const std::string& to) {
    if (::link(from.c_str(), to.c_str()) == 0) return {};
    if (errno == EEXIST) return {ErrorCode::kAlreadyExists, fmt::format("object file {} exists already", to)};
    return ErrnoStatus("link to", to, errno);
  }

  // A store of files can't have both "a" and "a/b": say so instead of "not a directory".
  Status Explain(const Status& status, const std::string& name) const {
    if (status.ok() || (!IsDirectory(PathOf(name)) && !IsBelowFile(PathOf(name), root_))) return status;
    return {ErrorCode::kParameterInvalid,
            fmt::format("object {} cannot be put: an object's name may not be the directory of another ({})", name,
                        status.message())};
  }

  const std::string root_;
  Directories directories_;
  const std::unique_ptr<TemporaryFiles> temporary_;
};

class FileWriter final : public ObjectWriter {
 public:
  FileWriter(std::shared_ptr<Placement> placement, std::string name, IfPresent if_present, File file)
      : placement_(std::move(placement)), name_(std::move(name)), if_present_(if_present), file_(std::move(file)) {}

  ~FileWriter() override {
    if (!done_) (void)RemoveFile(file_.path()).ok();
  }

  Status Append(std::string_view bytes) override {
    RETURN_IF_ERROR(CheckUsable());
    size_ += static_cast<int64_t>(bytes.size());
    if (buffer_.size() + bytes.size() >= kWriteBufferBytes) {
      RETURN_IF_ERROR(Write(buffer_));
      buffer_.clear();
      if (bytes.size() >= kWriteBufferBytes / 2) return Write(bytes);
    }
    buffer_.append(bytes);
    return {};
  }

  int64_t size() const override { return size_; }

  Status Finish() override {
    RETURN_IF_ERROR(CheckUsable());
    RETURN_IF_ERROR(Write(buffer_));
    RETURN_IF_ERROR(Keep(file_.SyncData()));
    done_ = true;  // Place() removes the file whatever comes of it
    return placement_->Place(file_.path(), name_, if_present_);
  }

 private:
  Status CheckUsable() const {
    if (done_) return {ErrorCode::kServiceInternal, fmt::format("object {} is finished already", name_)};
    return failure_;
  }
  Status Write(std::string_view bytes) {
    RETURN_IF_ERROR(Keep(file_.WriteAt(bytes, written_)));
    written_ += static_cast<int64_t>(bytes.size());
    return {};
  }
  // After a failure what the file holds is unknown: every later call fails alike.
  Status Keep(Status status) {
    if (!status.ok()) failure_ = status.WithContext("object " + name_);
    return failure_;
  }

  const std::shared_ptr<Placement> placement_;
  const std::string name_;
  const IfPresent if_present_;
  const File file_;
  std::string buffer_;
  int64_t written_ = 0;
  int64_t size_ = 0;
  bool done_ = false;
  Status failure_;
};

class DirectoryStore final : public ObjectStore {
 public:
  DirectoryStore(const std::string& root, std::unique_ptr<TemporaryFiles> temporary)
      : placement_(std::make_shared<Placement>(root, std::move(temporary))) {}

  Status Put(const std::string& name, std::string_view bytes) override {
    return Write(name, bytes, IfPresent::kReplace);
  }

  Status PutIfAbsent(const std::string& name, std::string_view bytes) override {
    RETURN_IF_ERROR(CheckObjectName(name));
    struct stat info {};
    const std::string path = placement_->PathOf(name);
    if (::lstat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode)) {
      RETURN_IF_ERROR(SyncDirectory(ParentOf(path)));  // as Place() does
      return {ErrorCode::kAlreadyExists, fmt::format("object {} exists already", name)};
    }
    return Write(name, bytes, IfPresent::kRefuse);
  }

  Result<std::unique_ptr<ObjectWriter>> Create(const std::string& name) override {
    ASSIGN_OR_RETURN(std::unique_ptr<FileWriter> writer, NewWriter(name, IfPresent::kReplace));
    return std::unique_ptr<ObjectWriter>(std::move(writer));
  }

  Result<std::string> Get(const std::string& name) override {
    return GetRange(name, 0, std::numeric_limits<int64_t>::max());
  }

  Result<std::string> GetRange(const std::string& name, int64_t offset, int64_t length) override {
    if (offset < 0 || length < 0) {
      return Status(ErrorCode::kParameterInvalid, fmt::format("object {}: offset {} and length {} must not be negative",
                                                              name, offset, length));
    }
    ASSIGN_OR_RETURN(const File file, OpenObject(name));
    ASSIGN_OR_RETURN(const int64_t size, file.Size());
    if (offset >= size) return std::string();
    return file.ReadAt(offset, std::min(length, size - offset));
  }

  Result<std::shared_ptr<const MappedObject>> Map(const std::string& name) override {
    ASSIGN_OR_RETURN(const File file, OpenObject(name));
    return MapFile(name, file);
  }

  Result<std::vector<ObjectInfo>> List(const std::string& prefix) override {
    RETURN_IF_ERROR(CheckObjectPrefix(prefix));
    const size_t slash = prefix.find_last_of('/');
    const std::string directory = slash == std::string::npos ? "" : prefix.substr(0, slash + 1);
    std::vector<ObjectInfo> found;
    RETURN_IF_ERROR(Walk(directory, std::string_view(prefix).substr(directory.size()), found));
    std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    return found;
  }

  Status Delete(const std::string& name) override {
    RETURN_IF_ERROR(CheckObjectName(name));
    const std::string path = placement_->PathOf(name);
    if (::unlink(path.c_str()) != 0) {
      const int error = errno;
      const bool no_object = error == ENOENT || error == ENOTDIR || IsDirectory(path);
      return no_object ? Status() : ErrnoStatus("remove", path, error);
    }
    placement_->Prune(ParentOf(path));
    return {};
  }

 private:
  Result<std::unique_ptr<FileWriter>> NewWriter(const std::string& name, IfPresent if_present) {
    RETURN_IF_ERROR(CheckObjectName(name));
    ASSIGN_OR_RETURN(File file, File::Open(placement_->NextTemporary(), O_RDWR | O_CREAT | O_EXCL));
    return std::make_unique<FileWriter>(placement_, name, if_present, std::move(file));
  }

  Status Write(const std::string& name, std::string_view bytes, IfPresent if_present) {
    ASSIGN_OR_RETURN(const std::unique_ptr<FileWriter> writer, NewWriter(name, if_present));
    RETURN_IF_ERROR(writer->Append(bytes));
    return writer->Finish();
  }

  Result<File> OpenObject(const std::string& name) {
    RETURN_IF_ERROR(CheckObjectName(name));
    const Status absent(ErrorCode::kIoKeyNotFound, fmt::format("object {} does not exist", name));
    Result<File> file = File::Open(placement_->PathOf(name), O_RDONLY);
    if (!file.ok()) {
      const bool missing = file.status().code() == ErrorCode::kIoKeyNotFound ||
                           IsBelowFile(placement_->PathOf(name), placement_->root());
      if (missing) return absent;
      return file;
    }
    struct stat info {};
    if (::fstat(file->fd(), &info) != 0) return ErrnoStatus("stat", file->path(), errno);
    if (!S_ISREG(info.st_mode)) return absent;
    return file;
  }

  // Objects below `directory` ("" or "a/b/"); of its own entries only those whose name starts with `start`.
  Status Walk(const std::string& directory, std::string_view start, std::vector<ObjectInfo>& found) {
    const std::string path = placement_->PathOf(directory);
    DIR* dir = ::opendir(path.c_str());
    if (dir == nullptr) {
      // Not there, or removed while we walk: there is nothing in it.
      return errno == ENOENT || errno == ENOTDIR ? Status() : ErrnoStatus("list directory", path, errno);
    }
    Status status;
    while (status.ok()) {
      errno = 0;
      const dirent* entry = ::readdir(dir);
      if (entry == nullptr) {
        if (errno != 0) status = ErrnoStatus("list directory", path, errno);
        break;
      }
      const std::string_view name = entry->d_name;
      if (name == "." || name == ".." || !name.starts_with(start)) continue;
      if (directory.empty() && name.starts_with('.')) continue;
      struct stat info {};
      if (::fstatat(::dirfd(dir), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ENOENT) status = ErrnoStatus("stat", path + "/" + entry->d_name, errno);
        continue;  // ENOENT: deleted meanwhile
      }
      const std::string full = directory + std::string(name);
      if (S_ISDIR(info.st_mode)) {
        status = Walk(full + "/", {}, found);
      } else if (S_ISREG(info.st_mode)) {
        found.push_back({full, static_cast<int64_t>(info.st_size),
                         static_cast<int64_t>(info.st_mtim.tv_sec) * 1000 + info.st_mtim.tv_nsec / 1'000'000});
      }
    }
    ::closedir(dir);
    return status;
  }

  const std::shared_ptr<Placement> placement_;
};

}  // namespace

Result<std::unique_ptr<ObjectStore>> OpenDirectoryStore(const std::string& root) {
  std::string trimmed = root;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  RETURN_IF_ERROR(MakeDirectories(trimmed));
  ASSIGN_OR_RETURN(std::unique_ptr<TemporaryFiles> temporary, TemporaryFiles::Open(trimmed));
  return std::unique_ptr<ObjectStore>(std::make_unique<DirectoryStore>(trimmed, std::move(temporary)));
}

}  // namespace saker
