#include "wal/log_recovery.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "wal/frame_reader.h"

namespace saker {
namespace {

constexpr int64_t kScanWindowBytes = 1 << 20;

struct FoundFile {
  std::shared_ptr<const LogFile> file;
  LogFileHeader header;
  int64_t header_bytes = 0;
  int64_t size = 0;
};

Result<std::vector<std::string>> DirectoryEntries(const std::string& directory) {
  DIR* dir = ::opendir(directory.c_str());
  if (dir == nullptr) return ErrnoStatus("list directory", directory, errno);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir)) names.emplace_back(entry->d_name);
  ::closedir(dir);
  return names;
}

Result<std::vector<uint64_t>> FileNumbers(const std::string& directory) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, DirectoryEntries(directory));
  std::vector<uint64_t> numbers;
  for (const std::string& name : names) {
    if (name.ends_with(".log.tmp")) RETURN_IF_ERROR(RemoveFile(directory + "/" + name));
    if (const uint64_t number = ParseLogFileName(name); number != 0) numbers.push_back(number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

Result<FoundFile> OpenLogFile(const std::string& directory, uint64_t number) {
  FoundFile found;
  const std::string path = directory + "/" + LogFileName(number);
  ASSIGN_OR_RETURN(File file, File::Open(path, O_RDWR));
  ASSIGN_OR_RETURN(found.size, file.Size());
  ASSIGN_OR_RETURN(const std::string start, file.ReadAt(0, std::min(found.size, MaxLogFileHeaderBytes())));
  ASSIGN_OR_RETURN(found.header, DecodeLogFileHeader(start, path, &found.header_bytes));
  if (found.header.number != number) {
    return Status(ErrorCode::kCorrupted, fmt::format("log file {} is damaged at offset 0: it is number {} by its header",
                                                     path, found.header.number));
  }
  found.file = std::make_shared<const LogFile>(LogFile{std::move(file), number, found.header.salt});
  return found;
}

// The files without a gap up to the newest; older ones are left-overs of a deletion that a crash cut short. Whether
// anything is missing is checked against the channels afterwards.
Result<std::vector<FoundFile>> OpenNewestRun(const std::string& directory) {
  ASSIGN_OR_RETURN(const std::vector<uint64_t> numbers, FileNumbers(directory));
  size_t first = numbers.size();
  while (first > 0 && (first == numbers.size() || numbers[first - 1] + 1 == numbers[first])) --first;
  std::vector<FoundFile> files;
  for (size_t i = first; i < numbers.size(); ++i) {
    ASSIGN_OR_RETURN(FoundFile file, OpenLogFile(directory, numbers[i]));
    files.push_back(std::move(file));
  }
  return files;
}

class Scan {
 public:
  Scan(RecoveredLog* log) : log_(log), reader_(kScanWindowBytes) {}

  Status Begin(const FoundFile& first) {
    for (const LogChannelState& state : first.header.channels) {
      // What the file begins with: records before it are kept only if an older file holds them.
      log_->channels.emplace_back(state);
    }
    log_->next_frame = first.header.first_frame;
    return {};
  }

  Status File(const FoundFile& found, const FoundFile* next) {
    RETURN_IF_ERROR(CheckHeader(found));
    const int64_t limit = next != nullptr ? next->header.previous_end : found.size;
    if (limit > found.size) return CorruptedLogFile(*found.file, found.size, "the file ends too early");
    int64_t position = found.header_bytes;
    while (position < limit) {
      LogFrameHeader header;
      ASSIGN_OR_RETURN(const FrameReader::Outcome outcome,
                       reader_.Read(*found.file, position, limit, &header, &frame_));
      if (outcome == FrameReader::Outcome::kBad) {
        if (next != nullptr) return CorruptedLogFile(*found.file, position, reader_.why());
        RETURN_IF_ERROR(CheckTorn(found, position));
        break;
      }
      if (const std::string why = Apply(found, header, position); !why.empty()) {
        return CorruptedLogFile(*found.file, position, why);
      }
      position += LogFrameBytes(header.body_bytes);
    }
    log_->files.push_back({found.file, position});
    return {};
  }

 private:
  Status CheckHeader(const FoundFile& found) {
    const auto& states = found.header.channels;
    bool fits = states.size() >= log_->channels.size() && found.header.first_frame == log_->next_frame;
    for (size_t i = 0; fits && i < log_->channels.size(); ++i) fits = states[i] == log_->channels[i].state();
    if (!fits) return CorruptedLogFile(*found.file, 0, "it doesn't continue the file before it");
    for (size_t i = log_->channels.size(); i < states.size(); ++i) log_->channels.emplace_back(states[i]);
    log_->channels_in_last_file = static_cast<int>(states.size());
    return {};
  }

  // A frame of the last file is not whole. If anything shows that it once was durable, data is lost and must not be
  // passed over; otherwise it is what a crash left of requests that nobody was told about.
  Status CheckTorn(const FoundFile& found, int64_t position) {
    const std::string why = reader_.why();
    ASSIGN_OR_RETURN(const bool durable,
                     reader_.ProvenDurableBeyond(*found.file, position, position + kLogAlignment, log_->next_frame,
                                                 found.size));
    if (durable) return CorruptedLogFile(*found.file, position, why);
    log_->torn_bytes = found.size - position;
    return {};
  }

  // What is wrong with the frame; empty if it could be applied.
  std::string Apply(const FoundFile& found, const LogFrameHeader& header, int64_t position) {
    if (header.number != log_->next_frame) {
      return fmt::format("frame {} where {} is due", header.number, log_->next_frame);
    }
    ++log_->next_frame;
    const auto channels = static_cast<ChannelId>(log_->channels.size());
    if (frame_.kind == LogFrameKind::kTruncation) {
      if (frame_.channel < 0 || frame_.channel >= channels) return fmt::format("no channel {}", frame_.channel);
      ChannelIndex& channel = log_->channels[static_cast<size_t>(frame_.channel)];
      if (frame_.before > channel.state().end) return "a truncation beyond the channel's end";
      channel.Truncate(frame_.before);
    }
    for (const LogRecordView& record : frame_.records) {
      if (record.channel < 0 || record.channel >= channels) return fmt::format("no channel {}", record.channel);
      ChannelIndex& channel = log_->channels[static_cast<size_t>(record.channel)];
      if (record.offset != channel.state().end) {
        return fmt::format("channel {} has offset {} where {} is due", record.channel, record.offset,
                           channel.state().end);
      }
      channel.Add(record, found.file, static_cast<uint32_t>(position));
    }
    return {};
  }

  RecoveredLog* const log_;
  FrameReader reader_;
  LogFrame frame_;
};

// Every record kept must be in one of the files found.
Status CheckComplete(const RecoveredLog& log, const std::string& directory) {
  for (size_t i = 0; i < log.channels.size(); ++i) {
    if (!log.channels[i].missing()) continue;
    const uint64_t first = log.files.front().file->number;
    return {ErrorCode::kCorrupted,
            fmt::format("log file {}/{} is missing: channel {} needs its records from offset {} on; restore it from a "
                        "backup",
                        directory, LogFileName(first - 1), i, log.channels[i].state().begin)};
  }
  return {};
}

Status RemoveOlderFiles(const std::string& directory, uint64_t first) {
  ASSIGN_OR_RETURN(const std::vector<uint64_t> numbers, FileNumbers(directory));
  for (const uint64_t number : numbers) {
    if (number < first) RETURN_IF_ERROR(RemoveFile(directory + "/" + LogFileName(number)));
  }
  return {};
}

}  // namespace

Result<RecoveredLog> RecoverLog(const std::string& directory, int channels) {
  RecoveredLog log;
  ASSIGN_OR_RETURN(const std::vector<FoundFile> files, OpenNewestRun(directory));
  Scan scan(&log);
  if (!files.empty()) {
    RETURN_IF_ERROR(scan.Begin(files.front()));
    for (size_t i = 0; i < files.size(); ++i) {
      RETURN_IF_ERROR(scan.File(files[i], i + 1 < files.size() ? &files[i + 1] : nullptr));
    }
    RETURN_IF_ERROR(CheckComplete(log, directory));
    RETURN_IF_ERROR(RemoveOlderFiles(directory, files.front().file->number));
  }
  if (log.channels.size() > static_cast<size_t>(channels)) {
    return Status(ErrorCode::kParameterInvalid,
                  fmt::format("the log in {} has {} channels, {} are configured: the number can't be lowered", directory,
                              log.channels.size(), channels));
  }
  log.channels.resize(static_cast<size_t>(channels), ChannelIndex(LogChannelState{}));
  return log;
}

}  // namespace saker
