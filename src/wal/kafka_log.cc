// The log in Kafka. What counts in a channel is decided by its records' order alone (kafka_channel.h), so a writer need
// not be trusted to know that it was replaced; it must only not acknowledge what a reader would void. It knows each
// channel up to some offset: its own records extend that when Kafka says they lie right behind it. If one lies further
// on, somebody else's records lie between: they are read first.
#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <deque>
#include <random>
#include <thread>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "wal/kafka_channel.h"
#include "wal/kafka_topic.h"
#include "wal/log_format.h"

namespace saker {
namespace {

constexpr int64_t kRecordOverheadBytes = kKafkaHeaderBytes + 16;  // about what Kafka adds to a value
constexpr auto kSuspicionPause = std::chrono::milliseconds(200);
constexpr int64_t kSuspicionUs = 3'000'000;  // an end that went back is asked for again so long: a leader may be new
constexpr auto kGiveUpWait = std::chrono::seconds(2);
constexpr KafkaRecordHeader kForeignHeader{.epoch = -1};  // counts nowhere

struct Request {
  KafkaRecordType type = KafkaRecordType::kData;
  std::vector<LogAppend> records;
  std::vector<LogOffset> offsets;
  std::vector<bool> failed;
  Status status;           // the first failure
  bool unknown = false;    // a record may be in the log or not
  bool abandoned = false;  // nobody waits for this fence any more
  size_t open = 0;         // of Kafka's records, not delivered yet
  Stopwatch watch;
  Log::Appended done;
};

// One of Kafka's records on its way.
struct Sent {
  ChannelId channel = 0;
  std::shared_ptr<Request> request;
  size_t index = 0;  // in the request
  KafkaRecordHeader header;
  std::string_view value;
  LogOffset found = -1;  // where it was read, or is known to be
  bool counts = false;   // there
};

struct Channel {
  // Held while the channel is read: before KafkaLog's mutex.
  Mutex reading;

  // Guarded by KafkaLog's mutex, all of it.
  bool known = false;  // it was read once
  KafkaChannelIndex index;
  uint32_t last_checksum = 0;  // of the record at index.next() - 1, if there is one that was seen
  bool last_seen = false;
  Status lost;        // records that were known are gone: the channel is refused for good
  Epoch epoch = 0;    // of our fence, while we own the channel
  Epoch fencing = 0;  // of the last fence sent
  uint64_t next_sequence = 1;
  // Why nothing more is appended at `epoch`: until the next fence, or, if everything's fate is known, until what is on
  // its way has been delivered.
  Status failure;
  bool unknown = false;
  std::deque<std::unique_ptr<Sent>> sent;
};

class KafkaLog final : public Log {
 public:
  KafkaLog(const KafkaLogSettings& settings, std::unique_ptr<KafkaTopic> topic)
      : settings_(settings), incarnation_(DrawIncarnation()), topic_(std::move(topic)) {
    for (int i = 0; i < settings.channels; ++i) channels_.push_back(std::make_unique<Channel>());
    deliveries_ = std::thread([this] { Run(); });
  }
  ~KafkaLog() override;

  int channel_count() const override { return settings_.channels; }
  void Append(std::vector<LogAppend> records, Appended done) override;
  Result<LogOffset> Fence(ChannelId channel, Epoch epoch, std::string payload) override;
  Result<Epoch> FencedEpoch(ChannelId channel) override;
  Result<std::vector<LogRecord>> Read(ChannelId channel, LogOffset from, int64_t max_bytes) override;
  Result<LogOffset> Begin(ChannelId channel) override;
  Result<LogOffset> End(ChannelId channel) override;
  Status Truncate(ChannelId channel, LogOffset before, Epoch epoch) override;
  int64_t size_bytes() const override;

 private:
  static uint64_t DrawIncarnation() {
    std::random_device random;
    return uint64_t{random()} << 32 | random();
  }
  Channel& At(ChannelId channel) const { return *channels_[static_cast<size_t>(channel)]; }
  std::string NameOf(ChannelId channel) const { return fmt::format("topic {} partition {}", settings_.topic, channel); }
  Status CheckChannel(ChannelId channel) const;

  // Writing. All with mutex_ held.
  Status CheckAppend(const Request& request) const REQUIRES(mutex_);
  Status CheckEpoch(const LogAppend& record) const REQUIRES(mutex_);
  void Send(const std::shared_ptr<Request>& request, size_t index, const std::vector<uint32_t>& checksums)
      REQUIRES(mutex_);
  std::vector<uint32_t> Checksums(std::string_view payload) const;
  Result<LogOffset> SendAndWait(ChannelId channel, KafkaRecordType type, Epoch epoch, std::string payload,
                                const std::function<Status()>& check);

  // Deliveries: on the log's own thread.
  void Run();
  void Deliver(const KafkaDelivery& delivery);
  void Judge(Sent& sent, const KafkaDelivery& delivery, const Status& read) REQUIRES(mutex_);
  void Land(Sent& sent) REQUIRES(mutex_);
  void Fail(Sent& sent, Status why, bool unknown) REQUIRES(mutex_);
  void Settle(Sent& sent) REQUIRES(mutex_);
  void Answer();
  static Result<std::vector<LogOffset>> Outcome(Request& request);

  // Reading.
  bool Take(Channel& channel, const KafkaRecordHeader& header, std::string_view value) REQUIRES(mutex_);
  void Found(Channel& channel, LogOffset offset, const KafkaRecordHeader& header, bool counts) REQUIRES(mutex_);
  Status CatchUp(ChannelId channel);
  Status CatchUp(ChannelId channel, Channel& at) REQUIRES(at.reading);
  Status Scan(ChannelId channel, Channel& at, const KafkaTopic::Bounds& bounds) REQUIRES(at.reading);
  Status Decode(ChannelId channel, LogOffset due, LogOffset offset, std::string_view key, std::string_view value,
                KafkaRecordHeader* header);
  Status ReadRecords(ChannelId channel, Channel& at, LogOffset from, LogOffset to, int64_t max_bytes,
                     std::vector<LogRecord>* out) REQUIRES(at.reading);
  Status Lose(ChannelId channel, const std::string& what) REQUIRES(mutex_);

  // Constant after construction.
  const KafkaLogSettings settings_;
  const uint64_t incarnation_;
  std::vector<std::unique_ptr<Channel>> channels_;

  mutable Mutex mutex_;
  // In the order of the calls, fences and truncations among them: whoever gets a fence's answer has had those of what
  // was appended before it. Bounded by the callers, as in the log of files.
  std::deque<std::shared_ptr<Request>> queue_ GUARDED_BY(mutex_);
  CondVar answered_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  bool stopped_ GUARDED_BY(mutex_) = false;
  bool foreign_seen_ GUARDED_BY(mutex_) = false;

  const std::unique_ptr<KafkaTopic> topic_;  // goes first: it may still look at what is sent
  std::thread deliveries_;
};

KafkaLog::~KafkaLog() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    const auto limit = std::chrono::milliseconds(settings_.request_timeout_ms);
    const auto all = [this]() REQUIRES(mutex_) { return queue_.empty(); };
    if (!answered_.WaitFor(lock, limit, all)) {
      lock.Unlock();
      topic_->GiveUp();
      lock.Lock();
      answered_.WaitFor(lock, kGiveUpWait, all);
    }
    stopped_ = true;
  }
  topic_->Wake();
  deliveries_.join();
}

Status KafkaLog::CheckChannel(ChannelId channel) const {
  if (channel >= 0 && channel < channel_count()) return {};
  return {ErrorCode::kChannelNotFound,
          fmt::format("channel {} does not exist: the log has channels 0 to {}", channel, channel_count() - 1)};
}

// -------------------------------------------------------------------------------------------------------- writing

void KafkaLog::Append(std::vector<LogAppend> records, Appended done) {
  auto request = std::make_shared<Request>();
  request->records = std::move(records);
  request->done = std::move(done);
  std::vector<std::vector<uint32_t>> checksums;
  for (const LogAppend& record : request->records) checksums.push_back(Checksums(record.payload));
  request->offsets.assign(request->records.size(), -1);
  request->failed.assign(request->records.size(), false);

  const MutexLock lock(mutex_);
  SAKER_CHECK(!stopping_);
  queue_.push_back(request);
  request->status = CheckAppend(*request);
  if (request->status.ok()) {
    for (size_t i = 0; i < request->records.size(); ++i) Send(request, i, checksums[i]);
  }
  if (request->open == 0) topic_->Wake();
}

Status KafkaLog::CheckAppend(const Request& request) const {
  int64_t bytes = 0;
  for (const LogAppend& record : request.records) {
    RETURN_IF_ERROR(CheckChannel(record.channel));
    RETURN_IF_ERROR(CheckEpoch(record));
    bytes += LogRecordBytes(static_cast<int64_t>(record.payload.size()));
  }
  if (bytes <= kMaxLogFrameBytes - 16) return {};
  return {ErrorCode::kParameterInvalid,
          fmt::format("a request of {} bytes is too large for the log: at most {}", bytes, kMaxLogFrameBytes - 16)};
}

Status KafkaLog::CheckEpoch(const LogAppend& record) const {
  const Channel& at = At(record.channel);
  if (!at.lost.ok()) return at.lost;
  const KafkaChannelIndex::Fence standing = at.index.fence();
  const Epoch highest = std::max({standing.epoch, at.epoch, at.fencing});
  if (record.epoch < highest || (at.epoch == 0 && at.fencing == 0)) {
    return {ErrorCode::kSuperseded,
            fmt::format("channel {} is fenced at epoch {}: epoch {} has been replaced, or this process never fenced it",
                        record.channel, highest, record.epoch)};
  }
  if (record.epoch > highest) {
    return {ErrorCode::kParameterInvalid, fmt::format("channel {} is fenced at epoch {}: epoch {} must fence it first",
                                                      record.channel, highest, record.epoch)};
  }
  if (at.epoch == record.epoch) return at.failure;
  if (standing.epoch == record.epoch && standing.incarnation != incarnation_) {
    return {ErrorCode::kSuperseded,
            fmt::format("channel {} was fenced at epoch {} by another process first", record.channel, record.epoch)};
  }
  return {ErrorCode::kIoFailed,
          fmt::format("what became of the fence of epoch {} of channel {} isn't known: fence again "
                      "with a higher epoch",
                      record.epoch, record.channel)};
}

std::vector<uint32_t> KafkaLog::Checksums(std::string_view payload) const {
  const auto piece = static_cast<size_t>(settings_.piece_bytes);
  std::vector<uint32_t> out;
  do {
    out.push_back(Crc32c(payload.substr(0, piece)));
    payload.remove_prefix(std::min(piece, payload.size()));
  } while (!payload.empty());
  return out;
}

void KafkaLog::Send(const std::shared_ptr<Request>& request, size_t index, const std::vector<uint32_t>& checksums) {
  if (!request->status.ok()) {  // a record before it failed: nothing may overtake
    request->failed[index] = true;
    return;
  }
  const LogAppend& record = request->records[index];
  Channel& at = At(record.channel);
  std::string_view rest = record.payload;
  for (size_t i = 0; i < checksums.size(); ++i) {
    auto sent = std::make_unique<Sent>();
    sent->channel = record.channel;
    sent->request = request;
    sent->index = index;
    sent->value = rest.substr(0, static_cast<size_t>(settings_.piece_bytes));
    rest.remove_prefix(sent->value.size());
    const uint64_t sequence = request->type == KafkaRecordType::kFence ? 0 : at.next_sequence;
    sent->header = {request->type,
                    record.epoch,
                    incarnation_,
                    sequence,
                    static_cast<uint32_t>(i),
                    static_cast<uint32_t>(checksums.size()),
                    0};
    const std::string key = EncodeKafkaHeader(sent->header, checksums[i]);
    ++request->open;
    at.sent.push_back(std::move(sent));
    Sent& queued = *at.sent.back();
    if (Status status = topic_->Produce(record.channel, key, queued.value, &queued); !status.ok()) {
      return Fail(queued, std::move(status), false);
    }
    if (sequence != 0) ++at.next_sequence;
  }
}

Result<LogOffset> KafkaLog::SendAndWait(ChannelId channel, KafkaRecordType type, Epoch epoch, std::string payload,
                                        const std::function<Status()>& check) {
  struct Waiting {
    Mutex mutex;
    CondVar answered;
    bool finished = false;
    Status status;
    LogOffset offset = -1;
  };
  auto waiting = std::make_shared<Waiting>();
  auto request = std::make_shared<Request>();
  request->type = type;
  request->records.push_back({channel, epoch, std::move(payload)});
  request->offsets.assign(1, -1);
  request->failed.assign(1, false);
  request->done = [waiting](const Result<std::vector<LogOffset>>& result) {
    const MutexLock lock(waiting->mutex);
    waiting->status = result.status();
    if (result.ok()) waiting->offset = result->front();
    waiting->finished = true;
    waiting->answered.NotifyAll();
  };
  {
    const MutexLock lock(mutex_);
    SAKER_CHECK(!stopping_);
    RETURN_IF_ERROR(check());
    queue_.push_back(request);
    Send(request, 0, Checksums(request->records[0].payload));
    if (request->open == 0) topic_->Wake();
  }
  {
    MutexLock lock(waiting->mutex);
    const auto limit = std::chrono::milliseconds(settings_.request_timeout_ms);
    if (waiting->answered.WaitFor(lock, limit, [&] { return waiting->finished; })) {
      RETURN_IF_ERROR(waiting->status);
      return waiting->offset;
    }
  }
  const MutexLock lock(mutex_);
  request->abandoned = true;
  Status late(ErrorCode::kServiceUnavailable,
              fmt::format("{}: Kafka has not acknowledged a {} within {} ms; try again", NameOf(channel),
                          type == KafkaRecordType::kFence ? "fence" : "checkpoint", settings_.request_timeout_ms));
  if (Channel& at = At(channel); type == KafkaRecordType::kFence && at.epoch == epoch) {
    at.failure = Status(ErrorCode::kIoFailed, late.message());
    at.unknown = true;
  }
  return late;
}

Result<LogOffset> KafkaLog::Fence(ChannelId channel, Epoch epoch, std::string payload) {
  RETURN_IF_ERROR(CheckChannel(channel));
  if (epoch <= 0) {
    return Status(ErrorCode::kParameterInvalid, fmt::format("a fence's epoch is {}: it must be above 0", epoch));
  }
  if (static_cast<int64_t>(payload.size()) > settings_.piece_bytes) {
    return Status(ErrorCode::kParameterInvalid, fmt::format("a fence's payload of {} bytes is too large: at most {}",
                                                            payload.size(), settings_.piece_bytes));
  }
  RETURN_IF_ERROR(CatchUp(channel));
  // The lambda runs with the lock held, which the analysis can't see through a std::function.
  return SendAndWait(channel, KafkaRecordType::kFence, epoch, std::move(payload), [&]() REQUIRES(mutex_) -> Status {
    Channel& at = At(channel);
    if (!at.lost.ok()) return at.lost;
    const Epoch highest = std::max(at.index.fence().epoch, at.fencing);
    if (epoch <= highest) {
      return {ErrorCode::kSuperseded,
              fmt::format("channel {} is fenced at epoch {}: epoch {} comes too late", channel, highest, epoch)};
    }
    at.fencing = epoch;
    at.epoch = 0;
    return {};
  });
}

// A checkpoint is a record like any other: it counts if no higher fence precedes it, so a deposed owner's is void, and
// nothing is deleted on its word. Between a checkpoint that counts and the deletion the owner may be replaced; what the
// checkpoint let go is gone for the new owner too, who reads it in the channel.
Status KafkaLog::Truncate(ChannelId channel, LogOffset before, Epoch epoch) {
  RETURN_IF_ERROR(CheckChannel(channel));
  bool current = false;
  {
    const MutexLock lock(mutex_);
    current = At(channel).epoch == epoch && before <= At(channel).index.readable_end();
  }
  if (!current) RETURN_IF_ERROR(CatchUp(channel));
  KafkaCheckpoint checkpoint;
  {
    const MutexLock lock(mutex_);
    const Channel& at = At(channel);
    if (!at.lost.ok()) return at.lost;
    if (const Epoch fenced = at.index.fence().epoch; fenced != epoch || at.epoch != epoch) {
      return {ErrorCode::kSuperseded,
              fmt::format("channel {} is fenced at epoch {}: epoch {}, or this process at it, may "
                          "not truncate it",
                          channel, fenced, epoch)};
    }
    if (before <= at.index.begin()) return {};
    const auto found = at.index.CheckpointAt(before);
    if (!found) {
      return {ErrorCode::kParameterInvalid, fmt::format("channel {} ends at offset {}: it can't be truncated before {}",
                                                        channel, at.index.readable_end(), before)};
    }
    checkpoint = *found;
  }
  const auto logged = SendAndWait(channel, KafkaRecordType::kCheckpoint, epoch, EncodeKafkaCheckpoint(checkpoint),
                                  [&]() REQUIRES(mutex_) { return CheckEpoch({channel, epoch, {}}); });
  RETURN_IF_ERROR(logged.status());
  // The channel begins there now, whatever Kafka still keeps: the next truncation deletes it too.
  if (Status deleted = topic_->DeleteBefore(channel, before); !deleted.ok()) {
    LogWarn("{}: deleting what lies before offset {} failed, the next truncation will: {}", NameOf(channel), before,
            deleted.ToString());
  }
  return {};
}

// ----------------------------------------------------------------------------------------------------- deliveries

void KafkaLog::Run() {
  pthread_setname_np(pthread_self(), "saker-log");
  while (true) {
    for (const KafkaDelivery& delivery : topic_->TakeDeliveries()) Deliver(delivery);
    Answer();
    const MutexLock lock(mutex_);
    if (stopped_) break;
  }
  // What Kafka has not answered though it was told to give up.
  const MutexLock lock(mutex_);
  for (const auto& request : queue_) {
    if (request->done)
      request->done(Status(ErrorCode::kIoFailed, "the log was closed before Kafka acknowledged the append"));
  }
}

void KafkaLog::Deliver(const KafkaDelivery& delivery) {
  Sent& sent = *static_cast<Sent*>(delivery.record);
  MutexLock lock(mutex_);
  if (delivery.outcome != KafkaDelivery::Outcome::kAppended) {
    const bool unknown = delivery.outcome == KafkaDelivery::Outcome::kUnknown;
    return Fail(sent,
                Status(unknown ? ErrorCode::kIoFailed : ErrorCode::kServiceUnavailable,
                       fmt::format("{}: {}{}", NameOf(sent.channel), delivery.why,
                                   unknown ? "; whether the record is in the log isn't known" : "")),
                unknown);
  }
  Channel& at = At(sent.channel);
  Status read;
  if (sent.found < 0 && at.known && delivery.offset == at.index.next()) {
    Take(at, sent.header, sent.value);
  } else if (sent.found < 0 && at.lost.ok() && (delivery.offset < 0 || delivery.offset > at.index.next())) {
    lock.Unlock();
    read = CatchUp(sent.channel);
    lock.Lock();
  }
  Judge(sent, delivery, read);
}

void KafkaLog::Judge(Sent& sent, const KafkaDelivery& delivery, const Status& read) {
  const Channel& at = At(sent.channel);
  const KafkaChannelIndex::Fence standing = at.index.fence();
  const bool replaced = standing.epoch > sent.header.epoch ||
                        (standing.epoch == sent.header.epoch && standing.incarnation != incarnation_);
  if (sent.found >= 0 && sent.counts) return Land(sent);
  if (!at.lost.ok()) return Fail(sent, at.lost, true);
  if (replaced) {
    return Fail(
        sent,
        Status(ErrorCode::kSuperseded, fmt::format("channel {} was fenced at epoch {}: epoch {} has been replaced",
                                                   sent.channel, standing.epoch, sent.header.epoch)),
        false);
  }
  if (sent.found >= 0) {
    // Something before it failed, so readers miss a sequence number and void it.
    return Fail(
        sent,
        Status(ErrorCode::kServiceUnavailable, fmt::format("{}: an append before it failed", NameOf(sent.channel))),
        false);
  }
  if (!read.ok() || delivery.offset < 0 || delivery.offset >= at.index.next()) {
    return Fail(sent,
                Status(ErrorCode::kIoFailed, fmt::format("{}: whether a fence precedes the record isn't known: {}",
                                                         NameOf(sent.channel), read.ToString())),
                true);
  }
  Fail(sent,
       Lose(sent.channel, fmt::format("Kafka appended at offset {}, where records up to offset {} were known",
                                      delivery.offset, at.index.next())),
       true);
}

void KafkaLog::Land(Sent& sent) {
  Request& request = *sent.request;
  if (sent.header.piece == 0) request.offsets[sent.index] = sent.found;
  if (sent.header.type == KafkaRecordType::kFence && !request.abandoned) {
    Channel& at = At(sent.channel);
    if (at.fencing == sent.header.epoch) {
      at.epoch = sent.header.epoch;
      at.next_sequence = 1;
      at.failure = {};
      at.unknown = false;
    }
  }
  Settle(sent);
}

void KafkaLog::Fail(Sent& sent, Status why, bool unknown) {
  Request& request = *sent.request;
  Channel& at = At(sent.channel);
  if (sent.header.type == KafkaRecordType::kFence) {
    // Nothing came of it: the epoch may be tried again.
    if (!unknown && why.code() == ErrorCode::kServiceUnavailable && at.fencing == sent.header.epoch) at.fencing = 0;
  } else if (sent.header.epoch == at.epoch) {
    if (at.failure.ok() || (unknown && !at.unknown)) {
      at.failure = unknown && why.code() == ErrorCode::kIoFailed
                       ? Status(why.code(), why.message() + "; fence again with a higher epoch")
                       : why;
    }
    at.unknown = at.unknown || unknown;
  }
  if (request.status.ok() || (unknown && !request.unknown)) request.status = std::move(why);
  request.unknown = request.unknown || unknown;
  request.failed[sent.index] = true;
  Settle(sent);
}

void KafkaLog::Settle(Sent& sent) {
  Channel& at = At(sent.channel);
  --sent.request->open;
  at.sent.erase(std::find_if(at.sent.begin(), at.sent.end(), [&](const auto& entry) { return entry.get() == &sent; }));
  if (!at.sent.empty() || at.failure.ok() || at.unknown) return;
  // Nothing is on its way, and what failed is not in the log: go on from what is.
  const KafkaChannelIndex::Fence standing = at.index.fence();
  if (standing.epoch != at.epoch || standing.incarnation != incarnation_) return;
  at.failure = {};
  at.next_sequence = at.index.next_sequence();
}

void KafkaLog::Answer() {
  static Histogram& latency =
      Metrics().GetHistogram("saker_log_sync_latency", "Milliseconds to write and sync a batch");
  static Counter& bytes = Metrics().GetCounter("saker_log_written_bytes", "Bytes written to the log");
  MutexLock lock(mutex_);
  while (!queue_.empty() && queue_.front()->open == 0) {
    const std::shared_ptr<Request> request = std::move(queue_.front());
    queue_.pop_front();
    lock.Unlock();
    auto outcome = Outcome(*request);
    if (outcome.ok()) {
      latency.Observe(static_cast<double>(request->watch.elapsed_us()) / 1000.0);
      for (const LogAppend& record : request->records) bytes.Add(static_cast<double>(record.payload.size()));
    }
    if (request->done) request->done(std::move(outcome));
    lock.Lock();
  }
  if (queue_.empty()) answered_.NotifyAll();
}

Result<std::vector<LogOffset>> KafkaLog::Outcome(Request& request) {
  if (request.status.ok()) return std::move(request.offsets);
  bool landed = false;
  for (size_t i = 0; i < request.offsets.size(); ++i) landed |= request.offsets[i] >= 0 && !request.failed[i];
  if (!landed || request.unknown) return request.status;
  return Status(ErrorCode::kIoFailed, "a part of the request is in the log, but: " + request.status.ToString());
}

// -------------------------------------------------------------------------------------------------------- reading

bool KafkaLog::Take(Channel& channel, const KafkaRecordHeader& header, std::string_view value) {
  const LogOffset offset = channel.index.next();
  const bool counts = channel.index.Add(header, value, static_cast<int64_t>(value.size()) + kRecordOverheadBytes);
  channel.last_checksum = header.checksum;
  channel.last_seen = true;
  Found(channel, offset, header, counts);
  return counts;
}

void KafkaLog::Found(Channel& channel, LogOffset offset, const KafkaRecordHeader& header, bool counts) {
  if (header.incarnation != incarnation_) return;
  for (const auto& sent : channel.sent) {  // ours come back in the order they went
    if (sent->found >= 0 || !(sent->header == header)) continue;
    sent->found = offset;
    sent->counts = counts;
    return;
  }
}

// An owner that knows all there is need not wait for those who read.
Status KafkaLog::CatchUp(ChannelId channel) {
  Channel& at = At(channel);
  LogOffset known = -1;
  {
    const MutexLock lock(mutex_);
    if (!at.lost.ok()) return at.lost;
    if (at.known) known = at.index.next();
  }
  if (known >= 0) {
    ASSIGN_OR_RETURN(const KafkaTopic::Bounds bounds, topic_->GetBounds(channel));
    const MutexLock lock(mutex_);
    const bool all = bounds.end >= known && bounds.end <= at.index.next() && bounds.begin <= at.index.begin();
    if (all && at.lost.ok()) return {};
  }
  const MutexLock reading(at.reading);
  return CatchUp(channel, at);
}

// Reads what is not yet known of the channel. Says so if what was known is gone.
Status KafkaLog::CatchUp(ChannelId channel, Channel& at) {
  const Stopwatch watch;
  LogOffset deleted = -1;  // deleted before this offset, though no checkpoint was found that says so
  while (true) {
    LogOffset known = 0;
    {
      const MutexLock lock(mutex_);
      if (!at.lost.ok()) return at.lost;
      if (at.known) known = at.index.next();
    }
    ASSIGN_OR_RETURN(const KafkaTopic::Bounds bounds, topic_->GetBounds(channel));
    if (bounds.end < known) {
      if (watch.elapsed_us() > kSuspicionUs) {
        const MutexLock lock(mutex_);
        return Lose(channel,
                    fmt::format("it ends at offset {}, but records up to offset {} were known", bounds.end, known));
      }
      std::this_thread::sleep_for(kSuspicionPause);
      continue;
    }
    const Status scanned = Scan(channel, at, bounds);
    if (scanned.code() == ErrorCode::kCompacted && watch.elapsed_us() < kSuspicionUs) continue;  // truncated meanwhile
    RETURN_IF_ERROR(scanned);
    const MutexLock lock(mutex_);
    if (deleted > at.index.begin()) {
      return Lose(channel,
                  fmt::format("records from offset {} to {} were deleted, but no checkpoint allowed it: by hand, or "
                              "by retention.ms or retention.bytes",
                              at.index.begin(), deleted - 1));
    }
    if (bounds.begin <= at.index.begin()) return {};
    deleted = bounds.begin;  // the checkpoint was logged before, but maybe after `bounds`
  }
}

Status KafkaLog::Scan(ChannelId channel, Channel& at, const KafkaTopic::Bounds& bounds) {
  bool fresh = false;
  bool overlap = false;  // also read the last record known: is it still the same?
  LogOffset from = 0;
  uint32_t last_checksum = 0;
  {
    const MutexLock lock(mutex_);
    fresh = !at.known || at.index.next() < bounds.begin;
    from = fresh ? bounds.begin : at.index.next();
    overlap = !fresh && at.last_seen && from > bounds.begin;
    last_checksum = at.last_checksum;
  }
  if (!fresh && from >= bounds.end) return {};
  KafkaChannelScan scan(bounds.begin);
  LogOffset due = overlap ? from - 1 : from;
  KafkaRecordHeader header;
  Status bad;
  const auto visit = [&](LogOffset offset, std::string_view key, std::string_view value) {
    bad = Decode(channel, due++, offset, key, value, &header);
    if (!bad.ok()) return false;
    const int64_t bytes = static_cast<int64_t>(value.size()) + kRecordOverheadBytes;
    if (fresh) {
      scan.Add(header, value, bytes);
      return true;
    }
    const MutexLock lock(mutex_);
    if (offset < from && header.checksum != last_checksum) {
      bad = Lose(channel, fmt::format("the record at offset {} is another one than before", offset));
      return false;
    }
    if (offset == at.index.next()) Take(at, header, value);
    return true;
  };
  if (due < bounds.end) RETURN_IF_ERROR(topic_->Read(channel, due, bounds.end, visit));
  RETURN_IF_ERROR(bad);
  if (!fresh) return {};

  const MutexLock lock(mutex_);
  auto index = scan.Finish([&](LogOffset offset, const KafkaRecordHeader& seen, bool counts)
                               REQUIRES(mutex_) { Found(at, offset, seen, counts); });
  if (!index) {
    return Lose(channel,
                fmt::format("records before offset {} were deleted, but no checkpoint allowed it: by hand, or by "
                            "retention.ms or retention.bytes",
                            bounds.begin));
  }
  at.index = std::move(*index);
  at.known = true;
  at.last_checksum = header.checksum;
  at.last_seen = due > bounds.begin;
  return {};
}

Status KafkaLog::Decode(ChannelId channel, LogOffset due, LogOffset offset, std::string_view key,
                        std::string_view value, KafkaRecordHeader* header) {
  if (offset != due) {
    return {ErrorCode::kCorrupted,
            fmt::format("{}: the record at offset {} is missing, the next is at {}; was the topic "
                        "compacted, or written to with transactions?",
                        NameOf(channel), due, offset)};
  }
  switch (DecodeKafkaHeader(key, value, header)) {
    case KafkaRecordKind::kOurs: return {};
    case KafkaRecordKind::kForeign: break;
    case KafkaRecordKind::kLater:
      return {ErrorCode::kCorrupted,
              fmt::format("{}: the record at offset {} is in a format of a later version", NameOf(channel), offset)};
    case KafkaRecordKind::kDamaged:
      return {ErrorCode::kCorrupted, fmt::format("{}: the record at offset {} is damaged: its checksum doesn't match",
                                                 NameOf(channel), offset)};
  }
  *header = kForeignHeader;
  const MutexLock lock(mutex_);
  if (!foreign_seen_)
    LogWarn("{}: somebody else's record at offset {}: left out, as are others", NameOf(channel), offset);
  foreign_seen_ = true;
  return {};
}

Status KafkaLog::Lose(ChannelId channel, const std::string& what) {
  Channel& at = At(channel);
  if (!at.lost.ok()) return at.lost;
  at.lost =
      Status(ErrorCode::kCorrupted, fmt::format("{} has lost data: {}. The channel is refused until this process is "
                                                "started anew",
                                                NameOf(channel), what));
  LogError("{}", at.lost.message());
  return at.lost;
}

Result<std::vector<LogRecord>> KafkaLog::Read(ChannelId channel, LogOffset from, int64_t max_bytes) {
  RETURN_IF_ERROR(CheckChannel(channel));
  Channel& at = At(channel);
  const MutexLock reading(at.reading);
  bool current = false;
  {
    const MutexLock lock(mutex_);
    current = at.known && at.lost.ok() && from < at.index.readable_end();
  }
  for (bool again = false;; again = true) {
    if (!current || again) RETURN_IF_ERROR(CatchUp(channel, at));
    LogOffset to = 0;
    {
      const MutexLock lock(mutex_);
      if (from < at.index.begin()) {
        return Status(ErrorCode::kCompacted, fmt::format("channel {} begins at offset {}: offset {} was truncated away",
                                                         channel, at.index.begin(), from));
      }
      if (from > at.index.next()) {
        return Status(
            ErrorCode::kParameterInvalid,
            fmt::format("channel {} ends at offset {}: there is no offset {}; if it was known before, the log has "
                        "lost data",
                        channel, at.index.next(), from));
      }
      to = at.index.readable_end();
    }
    std::vector<LogRecord> out;
    if (from >= to) return out;
    const Status read = ReadRecords(channel, at, from, to, max_bytes, &out);
    if (!out.empty()) return out;
    if (read.code() == ErrorCode::kCompacted && !again) continue;  // another owner has truncated the channel
    RETURN_IF_ERROR(read);
    return out;
  }
}

Status KafkaLog::ReadRecords(ChannelId channel, Channel& at, LogOffset from, LogOffset to, int64_t max_bytes,
                             std::vector<LogRecord>* out) {
  LogOffset due = from;
  int64_t bytes = 0;
  LogRecord open;  // of which not all pieces were read
  uint32_t open_next = 0;
  KafkaRecordHeader header;
  Status bad;
  const auto visit = [&](LogOffset offset, std::string_view key, std::string_view value) {
    bad = Decode(channel, due++, offset, key, value, &header);
    if (!bad.ok()) return false;
    {
      const MutexLock lock(mutex_);
      if (!at.index.Counts(offset)) return true;
    }
    if (header.type == KafkaRecordType::kCheckpoint || header.piece != open_next)
      return true;  // or begun before `from`
    if (header.piece == 0) {
      const auto type = header.type == KafkaRecordType::kFence ? LogRecordType::kFence : LogRecordType::kData;
      open = {channel, offset, header.epoch, type, {}};
      if (header.pieces > 1) open.payload.reserve(value.size() * header.pieces);
    }
    open.payload.append(value);
    open_next = header.piece + 1 == header.pieces ? 0 : header.piece + 1;
    if (open_next != 0) return true;
    bytes += LogRecordBytes(static_cast<int64_t>(open.payload.size()));
    out->push_back(std::move(open));
    return bytes < max_bytes;
  };
  RETURN_IF_ERROR(topic_->Read(channel, from, to, visit));
  return bad;
}

Result<Epoch> KafkaLog::FencedEpoch(ChannelId channel) {
  RETURN_IF_ERROR(CheckChannel(channel));
  RETURN_IF_ERROR(CatchUp(channel));
  const MutexLock lock(mutex_);
  return At(channel).index.fence().epoch;
}

Result<LogOffset> KafkaLog::Begin(ChannelId channel) {
  RETURN_IF_ERROR(CheckChannel(channel));
  RETURN_IF_ERROR(CatchUp(channel));
  const MutexLock lock(mutex_);
  return At(channel).index.begin();
}

Result<LogOffset> KafkaLog::End(ChannelId channel) {
  RETURN_IF_ERROR(CheckChannel(channel));
  RETURN_IF_ERROR(CatchUp(channel));
  const MutexLock lock(mutex_);
  return At(channel).index.next();
}

int64_t KafkaLog::size_bytes() const {
  const MutexLock lock(mutex_);
  int64_t bytes = 0;
  for (const auto& channel : channels_) bytes += channel->index.bytes();
  return bytes;
}

}  // namespace

std::unique_ptr<Log> NewKafkaLog(const KafkaLogSettings& settings, std::unique_ptr<KafkaTopic> topic) {
  return std::make_unique<KafkaLog>(settings, std::move(topic));
}

Result<std::unique_ptr<Log>> OpenKafkaLog(const KafkaLogSettings& settings) {
  ASSIGN_OR_RETURN(std::unique_ptr<KafkaTopic> topic, OpenKafkaTopic(settings));
  return NewKafkaLog(settings, std::move(topic));
}

}  // namespace saker
