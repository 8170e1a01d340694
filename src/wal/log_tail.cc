#include "wal/log_tail.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "base/log.h"

namespace saker {
namespace {

// Files grow by so much at a time, so that most syncs have no new file size to write.
constexpr int64_t kReserveAheadBytes = 4 << 20;
// Others use the disk too: free space is looked at again after so many bytes at the latest.
constexpr int64_t kRecheckBytes = 4 << 20;

uint64_t DrawSalt() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

Status DiskFull(const std::string& directory, int64_t needed_bytes, int64_t reserve_bytes) {
  const Result<int64_t> free_bytes = FreeDiskBytes(directory);
  return {ErrorCode::kDiskLimitExceeded,
          fmt::format("the log in {} cannot take {} bytes: {} bytes are free and {} are kept in reserve; free disk space",
                      directory, needed_bytes, free_bytes.ok() ? std::to_string(*free_bytes) : "unknown",
                      reserve_bytes)};
}

}  // namespace

Status LogTail::Continue(std::shared_ptr<const LogFile> file, int64_t end, bool full) {
  // A crash without power loss leaves frames that were never synced: they count from now on, so they must be durable.
  RETURN_IF_ERROR(file->file.Truncate(end));
  RETURN_IF_ERROR(file->file.SyncData());
  RETURN_IF_ERROR(SyncDirectory(settings_.directory));
  file_ = std::move(file);
  end_ = reserved_to_ = end;
  must_begin_ = full;
  return {};
}

Status LogTail::Prepare(const std::vector<LogChannelState>& channels, uint64_t next_frame, bool* begun) {
  *begun = false;
  if (file_ != nullptr && end_ >= settings_.file_bytes) must_begin_ = true;
  if (!must_begin_) return {};
  const Status status = BeginFile(channels, next_frame);
  *begun = status.ok();
  if (status.code() == ErrorCode::kDiskLimitExceeded) return DiskFull(settings_.directory, 4096, settings_.reserve_bytes);
  if (!status.ok()) return {ErrorCode::kIoFailed, "no new log file can be begun: " + status.message()};
  return {};
}

Status LogTail::BeginFile(const std::vector<LogChannelState>& channels, uint64_t next_frame) {
  LogFileHeader header;
  header.number = file_ == nullptr ? 1 : file_->number + 1;
  header.salt = DrawSalt();
  header.first_frame = next_frame;
  header.previous_end = end_;
  header.channels = channels;
  const std::string bytes = EncodeLogFileHeader(header);
  const std::string path = settings_.directory + "/" + LogFileName(header.number);
  // Under its own name it exists only with a durable header, so that a bad header always means damage.
  {
    ASSIGN_OR_RETURN(const File file, File::Open(path + ".tmp", O_RDWR | O_CREAT | O_TRUNC));
    Status written = file.WriteAt(bytes, 0);
    if (written.ok()) written = file.SyncData();
    if (written.ok()) written = RenameFile(path + ".tmp", path);
    if (!written.ok()) {
      (void)RemoveFile(path + ".tmp").ok();
      return written;
    }
  }
  RETURN_IF_ERROR(SyncDirectory(settings_.directory));
  ASSIGN_OR_RETURN(File file, File::Open(path, O_RDWR));
  Close();
  file_ = std::make_shared<const LogFile>(LogFile{std::move(file), header.number, header.salt});
  end_ = reserved_to_ = static_cast<int64_t>(bytes.size());
  must_begin_ = false;
  can_reserve_ahead_ = true;
  return {};
}

Status LogTail::CheckRoom(int64_t bytes) {
  if (settings_.reserve_bytes <= 0) return {};
  if (room_bytes_ < bytes || unchecked_bytes_ >= kRecheckBytes) {
    ASSIGN_OR_RETURN(const int64_t free_bytes, FreeDiskBytes(settings_.directory));
    room_bytes_ = free_bytes - settings_.reserve_bytes;
    unchecked_bytes_ = 0;
  }
  if (room_bytes_ < bytes) return DiskFull(settings_.directory, bytes, settings_.reserve_bytes);
  room_bytes_ -= bytes;
  unchecked_bytes_ += bytes;
  return {};
}

void LogTail::ReserveAhead(int64_t end) {
  if (end <= reserved_to_ || !can_reserve_ahead_) return;
  const int64_t target = std::max(end, std::min(end + kReserveAheadBytes, settings_.file_bytes));
  if (settings_.reserve_bytes > 0 && target - reserved_to_ > room_bytes_) return;
  if (file_->file.Preallocate(target).ok()) {
    reserved_to_ = target;
  } else {
    can_reserve_ahead_ = false;  // the file system can't, or the disk is nearly full: writing does without
  }
}

Status LogTail::Commit(std::string_view bytes) {
  const int64_t new_end = end_ + static_cast<int64_t>(bytes.size());
  ReserveAhead(new_end);
  const Status written = file_->file.WriteAt(bytes, end_);
  if (!written.ok()) return TakeBack(written);
  const Status synced = file_->file.SyncData();
  if (!synced.ok()) {
    must_begin_ = true;
    return {ErrorCode::kIoFailed, synced.message() + "; whether the records are in the log is unknown"};
  }
  end_ = new_end;
  reserved_to_ = std::max(reserved_to_, end_);
  return {};
}

Status LogTail::TakeBack(const Status& failure) {
  Status undone = file_->file.Truncate(end_);
  // Synced, lest a power loss bring back frames that the caller was told are refused.
  if (undone.ok()) undone = file_->file.SyncData();
  reserved_to_ = end_;
  if (undone.ok() && failure.code() == ErrorCode::kDiskLimitExceeded) {
    room_bytes_ = 0;
    return {ErrorCode::kDiskLimitExceeded, failure.message() + "; nothing was written: free disk space"};
  }
  must_begin_ = true;
  return {ErrorCode::kIoFailed, failure.message() + "; whether the records are in the log is unknown"};
}

void LogTail::Close() {
  if (file_ == nullptr || reserved_to_ == end_) return;
  // What is cut off is void anyhow: its loss or return changes nothing.
  if (!file_->file.Truncate(end_).ok()) LogWarn("log file {} keeps {} unused bytes", file_->file.path(), reserved_to_ - end_);
  reserved_to_ = end_;
}

}  // namespace saker
