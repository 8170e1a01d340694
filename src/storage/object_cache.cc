#include "storage/object_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>

#include "base/bytes.h"
#include "base/log.h"
#include "storage/mapped_file.h"
#include "storage/s3_sign.h"

namespace saker {
namespace {

constexpr size_t kKeyLetters = 32;  // 128 bits of SHA-256: no two names share them
constexpr std::string_view kTemporary = "tmp-";
constexpr const char* kOwnerFile = "STORE";
constexpr size_t kMaxOwnerBytes = 256;
constexpr size_t kSpareEntries = 256;

std::string KeyOf(const std::string& name) { return Sha256Hex(name).substr(0, kKeyLetters); }

std::string FileName(const std::string& key, int64_t bytes, uint32_t crc) {
  return fmt::format("{}-{}-{:08x}", key, bytes, crc);
}

struct ParsedName {
  std::string key;
  int64_t bytes = 0;
  uint32_t crc = 0;
};

// Only what FileName() made: a directory given by mistake loses nothing.
std::optional<ParsedName> ParseFileName(const std::string& name) {
  const size_t dash = name.rfind('-');
  if (dash == std::string::npos || dash <= kKeyLetters + 1 || name[kKeyLetters] != '-') return std::nullopt;
  ParsedName parsed{name.substr(0, kKeyLetters)};
  std::from_chars(name.data() + kKeyLetters + 1, name.data() + dash, parsed.bytes);
  std::from_chars(name.data() + dash + 1, name.data() + name.size(), parsed.crc, 16);
  if (FileName(parsed.key, parsed.bytes, parsed.crc) != name) return std::nullopt;
  return parsed;
}

Result<std::vector<std::string>> FilesOf(const std::string& directory) {
  DIR* dir = ::opendir(directory.c_str());
  if (dir == nullptr) return ErrnoStatus("list directory", directory, errno);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir)) names.emplace_back(entry->d_name);
  ::closedir(dir);
  return names;
}

}  // namespace

Result<std::unique_ptr<ObjectCache>> ObjectCache::Open(const std::string& directory, int64_t max_bytes,
                                                       const std::string& store_id) {
  RETURN_IF_ERROR(MakeDirectories(directory));
  ASSIGN_OR_RETURN(File lock, LockDirectory(directory));
  std::unique_ptr<ObjectCache> cache(new ObjectCache(directory, max_bytes, std::move(lock)));
  RETURN_IF_ERROR(cache->TakeUp(store_id));
  return cache;
}

// Takes up the files of an earlier process, those used last as such, and removes what isn't whole or isn't ours.
Status ObjectCache::TakeUp(const std::string& store_id) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, FilesOf(directory_));
  RETURN_IF_ERROR(CheckOwner(store_id, names));
  std::vector<std::pair<int64_t, std::string>> by_age;
  for (const std::string& name : names) {
    const std::string path = directory_ + "/" + name;
    const auto parsed = ParseFileName(name);
    struct stat info{};
    const bool whole =
        parsed && ::lstat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_size == parsed->bytes;
    if (whole) {
      by_age.emplace_back(static_cast<int64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec, name);
    } else if (parsed || name.starts_with(kTemporary)) {
      (void)RemoveFile(path).ok();
    }
  }
  std::sort(by_age.begin(), by_age.end());
  const MutexLock lock(mutex_);
  for (const auto& [age, name] : by_age) {
    const auto parsed = ParseFileName(name);
    Add(parsed->key, {directory_ + "/" + name, parsed->bytes, parsed->crc, false});
  }
  EvictDownTo(max_bytes_);
  return {};
}

// Object names are unique within a store only: the files of another one are removed, and left out of `files`.
Status ObjectCache::CheckOwner(const std::string& store_id, std::vector<std::string>& files) const {
  const std::string path = directory_ + "/" + kOwnerFile;
  {
    const Result<File> file = File::Open(path, O_RDONLY);
    const Result<std::string> owner = file.ok() ? file->ReadAt(0, kMaxOwnerBytes) : Result<std::string>(file.status());
    if (owner.ok() && *owner == store_id) return {};
  }
  for (const std::string& name : files) {
    if (ParseFileName(name) || name.starts_with(kTemporary)) RETURN_IF_ERROR(RemoveFile(directory_ + "/" + name));
  }
  files.clear();
  ASSIGN_OR_RETURN(const File file,
                   File::Open(directory_ + "/" + std::string(kTemporary) + kOwnerFile, O_RDWR | O_CREAT | O_TRUNC));
  RETURN_IF_ERROR(file.WriteAt(store_id, 0));
  return RenameFile(file.path(), path);
}

Result<ObjectCache::Mapping> ObjectCache::Map(const std::string& name, const Fetch& fetch) {
  const std::string key = KeyOf(name);
  const auto flight = std::make_shared<Flight>();
  Kept kept;
  {
    MutexLock lock(mutex_);
    Entry& entry = entries_[key];
    if (Mapping live = entry.mapped.lock()) {
      if (!entry.kept.path.empty()) used_.splice(used_.begin(), used_, entry.used);
      return live;
    }
    if (const auto other = entry.flight) {
      flight_done_.Wait(lock, [&other] { return other->done; });
      if (!other->status.ok()) return other->status;
      return other->mapping;
    }
    entry.flight = flight;
    kept = entry.kept;
  }
  Result<Mapping> loaded = Load(key, name, kept, fetch, *flight);
  {
    const MutexLock lock(mutex_);
    flight->done = true;
    flight->status = loaded.status();
    if (loaded.ok()) flight->mapping = *loaded;
    Entry& entry = entries_[key];
    if (entry.flight == flight) {
      entry.flight = nullptr;
      if (loaded.ok()) entry.mapped = *loaded;
    }
    EvictDownTo(max_bytes_);
    SweepExpired();
  }
  flight_done_.NotifyAll();
  return loaded;
}

Result<ObjectCache::Mapping> ObjectCache::Load(const std::string& key, const std::string& name, const Kept& kept,
                                               const Fetch& fetch, Flight& flight) {
  if (!kept.path.empty()) {
    if (Mapping mapping = OpenKept(key, name, kept)) return mapping;
  }
  return FetchNew(key, name, fetch, flight);
}

// Null if the file isn't there any more, or isn't what its name says.
ObjectCache::Mapping ObjectCache::OpenKept(const std::string& key, const std::string& name, const Kept& kept) {
  const Result<File> file = File::Open(kept.path, O_RDONLY);
  if (!file.ok()) return nullptr;
  Result<Mapping> mapping = MapFile(name, *file);
  if (!mapping.ok()) return nullptr;
  const std::string_view bytes = (*mapping)->bytes();
  // Files aren't synced: after a power loss one may have its size, but not its bytes.
  const bool sound = kept.checked || (static_cast<int64_t>(bytes.size()) == kept.bytes && Crc32c(bytes) == kept.crc);
  if (sound) ::futimens(file->fd(), nullptr);  // for the order of use, should a later process take it up
  const MutexLock lock(mutex_);
  Entry& entry = entries_[key];
  if (entry.kept.path == kept.path) {
    if (sound) {
      entry.kept.checked = true;
      used_.splice(used_.begin(), used_, entry.used);
    } else {
      LogWarn("{}, the copy of object {}, is damaged: it is fetched again", kept.path, name);
      DropFile(entry);
    }
  }
  return sound ? std::move(mapping).value() : nullptr;
}

Result<ObjectCache::Mapping> ObjectCache::FetchNew(const std::string& key, const std::string& name, const Fetch& fetch,
                                                   Flight& flight) {
  std::string path;
  {
    const MutexLock lock(mutex_);
    path = fmt::format("{}/{}{}", directory_, kTemporary, next_temporary_++);
  }
  ASSIGN_OR_RETURN(const File file, File::Open(path, O_RDWR | O_CREAT | O_TRUNC));
  int64_t reserved = 0;
  Status fetched = FetchInto(file, fetch, reserved);
  if (fetched.code() == ErrorCode::kDiskLimitExceeded && SpareUnmapped()) fetched = FetchInto(file, fetch, reserved);
  if (fetched.code() == ErrorCode::kDiskLimitExceeded) {
    fetched = {fetched.code(),
               fmt::format("object {} can't be fetched into the cache: {}; make room on the disk of {}, or give "
                           "the cache another directory",
                           name, fetched.message(), directory_)};
  }
  Result<Mapping> mapping = fetched.ok() ? Keep(key, name, file, flight) : Result<Mapping>(fetched);
  {
    const MutexLock lock(mutex_);
    reserved_ -= reserved;
  }
  if (!mapping.ok()) (void)RemoveFile(path).ok();
  return mapping;
}

Status ObjectCache::FetchInto(const File& file, const Fetch& fetch, int64_t& reserved) {
  RETURN_IF_ERROR(file.Truncate(0));
  return fetch(file, [this, &file, &reserved](int64_t bytes) {
    RETURN_IF_ERROR(Grow(bytes, reserved));
    // Better to learn now that the disk is full than after a download. Not every file system can tell.
    const Status allocated = bytes > 0 ? file.Preallocate(bytes) : Status();
    return allocated.code() == ErrorCode::kDiskLimitExceeded ? allocated : Status();
  });
}

Status ObjectCache::Grow(int64_t bytes, int64_t& reserved) {
  const MutexLock lock(mutex_);
  reserved_ += bytes - reserved;
  reserved = bytes;
  EvictDownTo(max_bytes_ - reserved_);
  return {};
}

bool ObjectCache::SpareUnmapped() {
  const MutexLock lock(mutex_);
  bool spared = false;
  while (EvictOne(false)) spared = true;
  return spared;
}

Result<ObjectCache::Mapping> ObjectCache::Keep(const std::string& key, const std::string& name, const File& file,
                                               const Flight& flight) {
  ASSIGN_OR_RETURN(Mapping mapping, MapFile(name, file));
  const auto bytes = static_cast<int64_t>(mapping->bytes().size());
  const uint32_t crc = Crc32c(mapping->bytes());
  const std::string path = directory_ + "/" + FileName(key, bytes, crc);
  const MutexLock lock(mutex_);
  if (flight.forgotten) {
    (void)RemoveFile(file.path()).ok();
  } else {
    DropFile(entries_[key]);
    RETURN_IF_ERROR(RenameFile(file.path(), path));
    Add(key, {path, bytes, crc, true});
  }
  return mapping;
}

void ObjectCache::Forget(const std::string& name) {
  const MutexLock lock(mutex_);
  const auto found = entries_.find(KeyOf(name));
  if (found == entries_.end()) return;
  if (found->second.flight) found->second.flight->forgotten = true;
  DropFile(found->second);
  entries_.erase(found);
}

int64_t ObjectCache::bytes() const {
  const MutexLock lock(mutex_);
  return bytes_;
}

void ObjectCache::Add(const std::string& key, Kept kept) {
  Entry& entry = entries_[key];
  if (!entry.kept.path.empty()) DropFile(entry);  // two files of one object: the later one
  bytes_ += kept.bytes;
  entry.kept = std::move(kept);
  used_.push_front(key);
  entry.used = used_.begin();
}

void ObjectCache::EvictDownTo(int64_t bytes) {
  while (bytes_ > bytes && (EvictOne(false) || EvictOne(true))) {
  }
}

bool ObjectCache::EvictOne(bool mapped_too) {
  for (auto at = used_.rbegin(); at != used_.rend(); ++at) {
    Entry& entry = entries_[*at];
    const bool mapped = entry.flight != nullptr || !entry.mapped.expired();
    if (mapped && !mapped_too) continue;
    DropFile(entry);
    return true;
  }
  return false;
}

void ObjectCache::DropFile(Entry& entry) {
  if (entry.kept.path.empty()) return;
  (void)RemoveFile(entry.kept.path).ok();
  bytes_ -= entry.kept.bytes;
  used_.erase(entry.used);
  entry.kept = {};
}

// Entries without a file are there for those who have the object mapped, or wait for it.
void ObjectCache::SweepExpired() {
  if (entries_.size() <= 2 * used_.size() + kSpareEntries) return;
  std::erase_if(entries_, [](const auto& at) {
    return at.second.kept.path.empty() && at.second.flight == nullptr && at.second.mapped.expired();
  });
}

}  // namespace saker
