// The log in files. One thread writes: it takes all requests queued, writes them in one go, syncs once, makes them
// known to readers, and answers in order. While it syncs the next batch gathers, so the busier the log, the larger the
// batches; an idle log has no work.
#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <future>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "wal/channel_index.h"
#include "wal/frame_reader.h"
#include "wal/log.h"
#include "wal/log_recovery.h"
#include "wal/log_tail.h"

namespace saker {
namespace {

constexpr int64_t kMaxBatchBytes = 32 << 20;      // a batch takes no further request beyond this
constexpr size_t kKeepBufferBytes = 8 << 20;      // a larger write buffer is given back
constexpr int64_t kWorthReclaimingBytes = 4 << 20;  // a file with nothing needed in it is left once it is as long
constexpr int64_t kMaxReadWindowBytes = 256 << 10;
constexpr size_t kLocateRecords = 1024;           // positions copied under the mutex at a time

struct Request {
  enum class Kind { kAppend, kFence, kTruncation };
  Kind kind = Kind::kAppend;
  std::vector<LogAppend> records;  // of kAppend and kFence
  ChannelId channel = 0;           // of kTruncation, with the next two
  LogOffset before = 0;
  Epoch epoch = 0;
  Log::Appended done;
  int64_t bytes = 0;

  // What became of it. Filled in by the writer.
  Status status;
  int64_t position = -1;  // of its frame; -1: it has none
  std::vector<LogOffset> offsets;
};

class FileLog final : public Log {
 public:
  FileLog(const FileLogSettings& settings, File lock, RecoveredLog recovered)
      : settings_(settings),
        lock_(std::move(lock)),
        tail_(settings),
        next_frame_(recovered.next_frame),
        channels_(std::move(recovered.channels)),
        files_(std::move(recovered.files)) {
    CopyDurableState();
  }

  ~FileLog() override {
    {
      const MutexLock lock(queue_mutex_);
      stopping_ = true;
      queued_.NotifyOne();
    }
    if (writer_.joinable()) writer_.join();
  }

  Status Start(int channels_in_last_file) {
    if (const RecoveredLogFile last = LastFile(); last.file != nullptr) {
      RETURN_IF_ERROR(tail_.Continue(last.file, last.end, channel_count() > channels_in_last_file));
    }
    RETURN_IF_ERROR(PrepareTail());
    ReleaseFiles();
    writer_ = std::thread([this] { Run(); });
    return {};
  }

  bool exclusive() const override { return true; }
  int channel_count() const override { return settings_.channels; }

  void Append(std::vector<LogAppend> records, Appended done) override {
    Request request;
    request.records = std::move(records);
    request.done = std::move(done);
    Enqueue(std::move(request));
  }

  Result<LogOffset> Fence(ChannelId channel, Epoch epoch, std::string payload) override {
    RETURN_IF_ERROR(CheckChannel(channel));
    if (epoch <= 0) {
      return Status(ErrorCode::kParameterInvalid, fmt::format("a fence's epoch is {}: it must be above 0", epoch));
    }
    Request request;
    request.kind = Request::Kind::kFence;
    request.records.push_back({channel, epoch, std::move(payload)});
    ASSIGN_OR_RETURN(const std::vector<LogOffset> offsets, EnqueueAndWait(std::move(request)));
    return offsets.front();
  }

  Status Truncate(ChannelId channel, LogOffset before, Epoch epoch) override {
    RETURN_IF_ERROR(CheckChannel(channel));
    Request request;
    request.kind = Request::Kind::kTruncation;
    request.channel = channel;
    request.before = before;
    request.epoch = epoch;
    return EnqueueAndWait(std::move(request)).status();
  }

  Result<Epoch> FencedEpoch(ChannelId channel) override {
    ASSIGN_OR_RETURN(const LogChannelState state, StateOf(channel));
    return state.fenced_epoch;
  }
  Result<LogOffset> Begin(ChannelId channel) override {
    ASSIGN_OR_RETURN(const LogChannelState state, StateOf(channel));
    return state.begin;
  }
  Result<LogOffset> End(ChannelId channel) override {
    ASSIGN_OR_RETURN(const LogChannelState state, StateOf(channel));
    return state.end;
  }
  int64_t size_bytes() const override { return size_bytes_; }

  Result<std::vector<LogRecord>> Read(ChannelId channel, LogOffset from, int64_t max_bytes) override;

 private:
  struct Located {
    std::vector<LogPosition> positions;
    std::vector<std::pair<LogOffset, Epoch>> fences;
  };

  // Callers' side.
  Status CheckChannel(ChannelId channel) const {
    if (channel >= 0 && channel < channel_count()) return {};
    return {ErrorCode::kChannelNotFound,
            fmt::format("channel {} does not exist: the log has channels 0 to {}", channel, channel_count() - 1)};
  }
  Result<LogChannelState> StateOf(ChannelId channel) {
    RETURN_IF_ERROR(CheckChannel(channel));
    const MutexLock lock(state_mutex_);
    return channels_[static_cast<size_t>(channel)].state();
  }
  void Enqueue(Request request);
  Result<std::vector<LogOffset>> EnqueueAndWait(Request request);
  Result<Located> Locate(ChannelId channel, LogOffset from);
  Status ReadFrames(ChannelId channel, const Located& located, int64_t max_bytes, FrameReader& reader,
                    LogOffset* next, int64_t* bytes, std::vector<LogRecord>* out);

  RecoveredLogFile LastFile() {
    const MutexLock lock(state_mutex_);
    return files_.empty() ? RecoveredLogFile{} : files_.back();
  }

  // The writer's side; all of it on the log's own thread, but for Start.
  void Run();
  bool TakeBatch(std::vector<Request>& batch);
  void Work(std::vector<Request>& batch);
  Status PrepareTail();
  void Encode(Request& request);
  Status EncodeRecords(Request& request);
  Status EncodeTruncation(Request& request);
  Status CheckEpoch(const LogAppend& record, Request::Kind kind, Epoch fenced_epoch) const;
  void EncodeFrame(const LogFrame& frame, Request& request);
  void Publish(const std::vector<Request>& batch);
  void Fail(std::vector<Request>& batch, const Status& failure);
  void LeaveDeadFile();
  void ReleaseFiles();
  void WriteMark();
  void CopyDurableState();

  // Constant after construction.
  const FileLogSettings settings_;
  const File lock_;

  // The writer's own.
  LogTail tail_;
  uint64_t next_frame_;
  std::string buffer_;                      // the frames of the batch
  std::vector<LogChannelState> pending_;    // the channels as they are once the batch is durable
  bool mark_due_ = false;

  Mutex queue_mutex_;
  CondVar queued_;
  // Bounded by the callers: each holds its request until it is answered (admission at the door, one fence or
  // truncation a channel).
  std::deque<Request> queue_ GUARDED_BY(queue_mutex_);
  bool waiting_ GUARDED_BY(queue_mutex_) = false;
  bool stopping_ GUARDED_BY(queue_mutex_) = false;

  Mutex state_mutex_;
  std::vector<ChannelIndex> channels_ GUARDED_BY(state_mutex_);  // what is durable
  std::deque<RecoveredLogFile> files_ GUARDED_BY(state_mutex_);  // oldest first
  std::atomic<int64_t> size_bytes_{0};

  std::thread writer_;
};

// ---------------------------------------------------------------------------------------------- the callers' side

void FileLog::Enqueue(Request request) {
  for (const LogAppend& record : request.records) {
    request.bytes += LogRecordBytes(static_cast<int64_t>(record.payload.size()));
  }
  MutexLock lock(queue_mutex_);
  SAKER_CHECK(!stopping_);
  queue_.push_back(std::move(request));
  const bool wake = waiting_;
  lock.Unlock();
  if (wake) queued_.NotifyOne();
}

Result<std::vector<LogOffset>> FileLog::EnqueueAndWait(Request request) {
  SAKER_CHECK(std::this_thread::get_id() != writer_.get_id());
  std::promise<Result<std::vector<LogOffset>>> answer;
  request.done = [&answer](Result<std::vector<LogOffset>> result) { answer.set_value(std::move(result)); };
  Enqueue(std::move(request));
  return answer.get_future().get();
}

Result<FileLog::Located> FileLog::Locate(ChannelId channel, LogOffset from) {
  const MutexLock lock(state_mutex_);
  const ChannelIndex& index = channels_[static_cast<size_t>(channel)];
  if (from < index.state().begin) {
    return Status(ErrorCode::kCompacted, fmt::format("channel {} begins at offset {}: offset {} was truncated away",
                                                     channel, index.state().begin, from));
  }
  if (from > index.state().end) {
    return Status(ErrorCode::kParameterInvalid,
                  fmt::format("channel {} ends at offset {}: there is no offset {}; if it was known before, the log has "
                              "lost data",
                              channel, index.state().end, from));
  }
  return Located{index.Locate(from, kLocateRecords), {index.fences().begin(), index.fences().end()}};
}

Result<std::vector<LogRecord>> FileLog::Read(ChannelId channel, LogOffset from, int64_t max_bytes) {
  RETURN_IF_ERROR(CheckChannel(channel));
  std::vector<LogRecord> out;
  FrameReader reader(std::clamp<int64_t>(max_bytes, 4096, kMaxReadWindowBytes));
  int64_t bytes = 0;
  while (out.empty() || bytes < max_bytes) {
    Result<Located> located = Locate(channel, from);
    if (!located.ok()) {
      if (out.empty()) return located.status();
      return out;  // truncated while we read; the caller will hear of it if it asks on
    }
    if (located->positions.empty()) return out;
    RETURN_IF_ERROR(ReadFrames(channel, *located, max_bytes, reader, &from, &bytes, &out));
  }
  return out;
}

Status FileLog::ReadFrames(ChannelId channel, const Located& located, int64_t max_bytes, FrameReader& reader,
                           LogOffset* next, int64_t* bytes, std::vector<LogRecord>* out) {
  const LogOffset first = *next;
  LogFrameHeader header;
  LogFrame frame;
  while (*next < first + static_cast<LogOffset>(located.positions.size())) {
    const LogPosition& at = located.positions[static_cast<size_t>(*next - first)];
    ASSIGN_OR_RETURN(const int64_t limit, at.file->file.Size());
    ASSIGN_OR_RETURN(const FrameReader::Outcome outcome, reader.Read(*at.file, at.position, limit, &header, &frame));
    if (outcome == FrameReader::Outcome::kBad) return CorruptedLogFile(*at.file, at.position, reader.why());
    const LogOffset before = *next;
    for (const LogRecordView& record : frame.records) {
      if (record.channel != channel || record.offset != *next) continue;
      ++*next;
      if (IsVoidRecord(located.fences, record.offset, record.epoch, record.type)) continue;
      *bytes += LogRecordBytes(static_cast<int64_t>(record.payload.size()));
      out->push_back({channel, record.offset, record.epoch, record.type, std::string(record.payload)});
    }
    if (*next == before) return CorruptedLogFile(*at.file, at.position, fmt::format("offset {} isn't here", before));
    if (!out->empty() && *bytes >= max_bytes) break;
  }
  return {};
}

// ---------------------------------------------------------------------------------------------- the writer's side

void FileLog::Run() {
  pthread_setname_np(pthread_self(), "saker-log");
  std::vector<Request> batch;
  while (TakeBatch(batch)) {
    Work(batch);
    batch.clear();
  }
  WriteMark();
  tail_.Close();
}

bool FileLog::TakeBatch(std::vector<Request>& batch) {
  MutexLock lock(queue_mutex_);
  waiting_ = true;
  queued_.Wait(lock, [this]() REQUIRES(queue_mutex_) { return !queue_.empty() || stopping_; });
  waiting_ = false;
  int64_t bytes = 0;
  while (!queue_.empty() && (batch.empty() || bytes + queue_.front().bytes <= kMaxBatchBytes)) {
    bytes += queue_.front().bytes;
    batch.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  return !batch.empty();
}

void FileLog::Work(std::vector<Request>& batch) {
  static Histogram& latency = Metrics().GetHistogram("saker_log_sync_latency", "Milliseconds to write and sync a batch");
  static Counter& synced_bytes = Metrics().GetCounter("saker_log_written_bytes", "Bytes written to the log");
  const Status prepared = PrepareTail();
  buffer_.clear();
  if (prepared.ok()) {
    for (Request& request : batch) Encode(request);
  } else {
    Fail(batch, prepared);
  }
  if (!buffer_.empty()) {
    const Stopwatch watch;
    const Status committed = tail_.Commit(buffer_);
    if (committed.ok()) {
      latency.Observe(static_cast<double>(watch.elapsed_us()) / 1000.0);
      synced_bytes.Add(static_cast<double>(buffer_.size()));
      mark_due_ = true;
      Publish(batch);
    } else {
      LogError("the log failed: {}", committed.message());
      Fail(batch, committed);
    }
  }
  bool truncated = false;
  for (Request& request : batch) {
    truncated |= request.kind == Request::Kind::kTruncation && request.status.ok();
    if (!request.done) continue;
    if (request.status.ok()) {
      request.done(std::move(request.offsets));
    } else {
      request.done(request.status);
    }
  }
  if (truncated) ReleaseFiles();
  if (buffer_.capacity() > kKeepBufferBytes) std::string().swap(buffer_);
}

Status FileLog::PrepareTail() {
  bool begun = false;
  RETURN_IF_ERROR(tail_.Prepare(pending_, next_frame_, &begun));
  if (begun) {
    const MutexLock lock(state_mutex_);
    files_.push_back({tail_.file(), tail_.end()});
    size_bytes_ += tail_.end();
  }
  return {};
}

void FileLog::Encode(Request& request) {
  request.status = request.kind == Request::Kind::kTruncation ? EncodeTruncation(request) : EncodeRecords(request);
}

Status FileLog::CheckEpoch(const LogAppend& record, Request::Kind kind, Epoch fenced_epoch) const {
  const bool fence = kind == Request::Kind::kFence;
  if (record.epoch < fenced_epoch || (fence && record.epoch == fenced_epoch)) {
    return {ErrorCode::kSuperseded, fmt::format("channel {} is fenced at epoch {}: epoch {} has been replaced",
                                                record.channel, fenced_epoch, record.epoch)};
  }
  if (!fence && record.epoch > fenced_epoch) {
    return {ErrorCode::kParameterInvalid, fmt::format("channel {} is fenced at epoch {}: epoch {} must fence it first",
                                                      record.channel, fenced_epoch, record.epoch)};
  }
  return {};
}

Status FileLog::EncodeRecords(Request& request) {
  // All checks come before the first change: a refused request leaves no trace.
  if (request.bytes > kMaxLogFrameBytes - 16) {
    return {ErrorCode::kParameterInvalid, fmt::format("a request of {} bytes is too large for the log: at most {}",
                                                      request.bytes, kMaxLogFrameBytes - 16)};
  }
  for (const LogAppend& record : request.records) {
    RETURN_IF_ERROR(CheckChannel(record.channel));
    RETURN_IF_ERROR(CheckEpoch(record, request.kind, pending_[static_cast<size_t>(record.channel)].fenced_epoch));
  }
  if (request.records.empty()) return {};
  // The reserve is for fences and truncations: they are small, and space comes back through them.
  const bool essential = std::all_of(request.records.begin(), request.records.end(), [](const LogAppend& record) { return record.essential; });
  if (request.kind == Request::Kind::kAppend && !essential) RETURN_IF_ERROR(tail_.CheckRoom(LogFrameBytes(request.bytes + 16)));

  LogFrame frame;
  frame.kind = LogFrameKind::kRecords;
  const bool fence = request.kind == Request::Kind::kFence;
  for (const LogAppend& record : request.records) {
    LogChannelState& state = pending_[static_cast<size_t>(record.channel)];
    if (fence) {
      state.fenced_epoch = record.epoch;
      state.fence_offset = state.end;
    }
    request.offsets.push_back(state.end);
    frame.records.push_back({record.channel, fence ? LogRecordType::kFence : LogRecordType::kData, state.end,
                             record.epoch, record.payload});
    ++state.end;
  }
  EncodeFrame(frame, request);
  return {};
}

Status FileLog::EncodeTruncation(Request& request) {
  LogChannelState& state = pending_[static_cast<size_t>(request.channel)];
  if (request.epoch != state.fenced_epoch) {
    return {ErrorCode::kSuperseded, fmt::format("channel {} is fenced at epoch {}: epoch {} may not truncate it",
                                                request.channel, state.fenced_epoch, request.epoch)};
  }
  if (request.before > state.end) {
    return {ErrorCode::kParameterInvalid, fmt::format("channel {} ends at offset {}: it can't be truncated at {}",
                                                      request.channel, state.end, request.before)};
  }
  if (request.before <= state.begin) return {};
  state.begin = request.before;
  LogFrame frame;
  frame.kind = LogFrameKind::kTruncation;
  frame.channel = request.channel;
  frame.before = request.before;
  frame.epoch = request.epoch;
  EncodeFrame(frame, request);
  return {};
}

void FileLog::EncodeFrame(const LogFrame& frame, Request& request) {
  request.position = tail_.end() + static_cast<int64_t>(buffer_.size());
  EncodeLogFrame(frame, next_frame_++, tail_.end(), tail_.file()->salt, buffer_);
}

void FileLog::Publish(const std::vector<Request>& batch) {
  const MutexLock lock(state_mutex_);
  for (const Request& request : batch) {
    if (request.position < 0) continue;
    if (request.kind == Request::Kind::kTruncation) {
      channels_[static_cast<size_t>(request.channel)].Truncate(request.before);
      continue;
    }
    const LogRecordType type = request.kind == Request::Kind::kFence ? LogRecordType::kFence : LogRecordType::kData;
    for (size_t i = 0; i < request.records.size(); ++i) {
      const LogAppend& record = request.records[i];
      channels_[static_cast<size_t>(record.channel)].Add(
          {record.channel, type, request.offsets[i], record.epoch, {}}, tail_.file(),
          static_cast<uint32_t>(request.position));
    }
  }
  files_.back().end = tail_.end();
  size_bytes_ += static_cast<int64_t>(buffer_.size());
}

// A request that was refused for its own sake keeps that answer.
void FileLog::Fail(std::vector<Request>& batch, const Status& failure) {
  for (Request& request : batch) {
    if (request.position >= 0) --next_frame_;
    if (request.status.ok()) request.status = failure;
  }
  CopyDurableState();
}

void FileLog::CopyDurableState() {
  const MutexLock lock(state_mutex_);
  pending_.clear();
  for (const ChannelIndex& channel : channels_) pending_.push_back(channel.state());
}

// A file that nobody needs a record of is given up before it is full once it is worth it: otherwise a quiet log would
// keep up to a file's size of what was flushed long ago.
void FileLog::LeaveDeadFile() {
  {
    const MutexLock lock(state_mutex_);
    for (const ChannelIndex& channel : channels_) {
      if (channel.oldest_file() != kNoFile) return;
    }
  }
  if (!tail_.writable() || tail_.end() < kWorthReclaimingBytes) return;
  tail_.BeginNext();
  if (const Status begun = PrepareTail(); !begun.ok()) LogWarn("{}", begun.message());  // the next batch tries again
}

void FileLog::ReleaseFiles() {
  LeaveDeadFile();
  std::vector<std::string> released;
  {
    const MutexLock lock(state_mutex_);
    uint64_t oldest = files_.back().file->number;
    for (const ChannelIndex& channel : channels_) oldest = std::min(oldest, channel.oldest_file());
    while (files_.front().file->number < oldest) {
      released.push_back(files_.front().file->file.path());
      files_.pop_front();
    }
    int64_t size = 0;
    for (const RecoveredLogFile& file : files_) size += file.end;
    size_bytes_ = size;
  }
  // A crash in between, or a directory not synced, brings back files that recovery removes again.
  for (const std::string& path : released) {
    if (const Status removed = RemoveFile(path); !removed.ok()) LogWarn("{}", removed.message());
  }
}

// Says, behind the last batch, that it was durable: damage to it is then told from a torn tail.
void FileLog::WriteMark() {
  if (!mark_due_ || !tail_.writable()) return;
  buffer_.clear();
  EncodeLogFrame(LogFrame(), next_frame_++, tail_.end(), tail_.file()->salt, buffer_);
  if (const Status marked = tail_.Commit(buffer_); !marked.ok()) LogWarn("{}", marked.message());
}

Status CheckSettings(const FileLogSettings& settings) {
  if (settings.channels < 1 || settings.channels > kMaxLogChannels) {
    return {ErrorCode::kParameterInvalid,
            fmt::format("the log's channels are {}: choose 1 to {}", settings.channels, kMaxLogChannels)};
  }
  if (settings.file_bytes < 1 || settings.file_bytes > kMaxLogFrameBytes) {
    return {ErrorCode::kParameterInvalid,
            fmt::format("the log's file_bytes are {}: choose 1 to {}", settings.file_bytes, kMaxLogFrameBytes)};
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Log>> OpenFileLog(const FileLogSettings& settings) {
  RETURN_IF_ERROR(CheckSettings(settings));
  RETURN_IF_ERROR(MakeDirectories(settings.directory));
  ASSIGN_OR_RETURN(File lock, LockDirectory(settings.directory));
  ASSIGN_OR_RETURN(RecoveredLog recovered, RecoverLog(settings.directory, settings.channels));
  const int channels_in_last_file = recovered.channels_in_last_file;
  auto log = std::make_unique<FileLog>(settings, std::move(lock), std::move(recovered));
  RETURN_IF_ERROR(log->Start(channels_in_last_file));
  return std::unique_ptr<Log>(std::move(log));
}

}  // namespace saker
