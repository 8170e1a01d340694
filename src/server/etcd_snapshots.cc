#include "server/etcd_snapshots.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <sstream>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/mutex.h"

namespace saker {
namespace {

constexpr std::string_view kPrefix = "etcd/snapshot/";
constexpr std::string_view kAbout = "/about";
constexpr std::string_view kFirstLine = "saker etcd snapshot 1";
constexpr std::chrono::milliseconds kPatience{30'000};  // for each piece
constexpr int64_t kPieceBytes = 4 << 20;
constexpr int64_t kAbandonedMs = 24 * 3'600'000;

std::string NameOf(const EtcdSnapshot& snapshot) {
  return fmt::format("{:%Y%m%dT%H%M%SZ}-{:020}", fmt::gmtime(static_cast<std::time_t>(snapshot.taken_unix_ms / 1000)),
                     snapshot.revision);
}

// The followers first, so that the leader has its hands free; the one that is furthest.
Result<EtcdMemberStatus> MemberToCopy(EtcdAdmin* admin) {
  const std::vector<EtcdMemberStatus> members = admin->Members();
  const EtcdMemberStatus* best = nullptr;
  const auto rank = [](const EtcdMemberStatus& m) {
    return std::tuple(m.leader_id != 0, !m.is_learner, !m.is_leader(), m.revision);
  };
  for (const EtcdMemberStatus& member : members) {
    if (member.reached.ok() && (best == nullptr || rank(*best) < rank(member))) best = &member;
  }
  if (best != nullptr) return *best;
  return members.empty() ? Status(ErrorCode::kParameterInvalid, "no endpoint of etcd is given")
                         : members.front().reached;
}

Result<SnapshotTarget> ObjectTarget(ObjectStore* objects, const std::string& name,
                                    const std::function<bool()>& cancelled) {
  ASSIGN_OR_RETURN(std::shared_ptr<ObjectWriter> writer, objects->Create(name));
  const auto append = [writer, cancelled](std::string_view piece) {
    if (cancelled && cancelled()) return Status(ErrorCode::kCancelled, "the snapshot of etcd was broken off");
    return writer->Append(piece);
  };
  return SnapshotTarget{append, [writer] { return writer->Finish(); }};
}

std::string AboutObject(const std::string& name) { return fmt::format("{}{}{}", kPrefix, name, kAbout); }

}  // namespace

// ---- what is known of a snapshot

std::string Encode(const EtcdSnapshot& s) {
  std::string out = fmt::format(
      "{}\nname {}\ndata {}\ncluster {}\nroot {}\nversion {}\nendpoint {}\netcd_cluster {:x}\nrevision {}\nbytes "
      "{}\nsha256 {}\n"
      "taken_unix_ms {}\n",
      kFirstLine, s.name, s.data, s.cluster, s.root, s.version, s.endpoint, s.etcd_cluster, s.revision, s.bytes,
      s.sha256, s.taken_unix_ms);
  for (const EtcdMember& member : s.members) {
    out += fmt::format("member {} {} {}\n", member.name.empty() ? "-" : member.name, fmt::join(member.peer_urls, ","),
                       member.client_urls.empty() ? "-" : fmt::format("{}", fmt::join(member.client_urls, ",")));
  }
  return out;
}

namespace {

std::vector<std::string> SplitUrls(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text == "-" ? "" : text);
  for (std::string url; std::getline(in, url, ',');) out.push_back(url);
  return out;
}

// False if the value makes no sense. A later version may add lines: what isn't known is passed over.
bool TakeLine(const std::string& key, const std::string& value, EtcdSnapshot& s) {
  std::istringstream in(value);
  if (key == "name")
    s.name = value;
  else if (key == "data")
    s.data = value;
  else if (key == "cluster")
    s.cluster = value;
  else if (key == "root")
    s.root = value;
  else if (key == "version")
    s.version = value;
  else if (key == "endpoint")
    s.endpoint = value;
  else if (key == "sha256")
    s.sha256 = value;
  else if (key == "etcd_cluster")
    return static_cast<bool>(in >> std::hex >> s.etcd_cluster);
  else if (key == "revision")
    return static_cast<bool>(in >> s.revision);
  else if (key == "bytes")
    return static_cast<bool>(in >> s.bytes);
  else if (key == "taken_unix_ms")
    return static_cast<bool>(in >> s.taken_unix_ms);
  else if (key == "member") {
    std::string name, peers, clients;
    if (!(in >> name >> peers >> clients)) return false;
    s.members.push_back({0, name == "-" ? "" : name, SplitUrls(peers), SplitUrls(clients), false});
  }
  return true;
}

}  // namespace

Result<EtcdSnapshot> DecodeEtcdSnapshot(std::string_view text) {
  std::istringstream in{std::string(text)};
  std::string line;
  const auto damaged = [&] {
    return Status(ErrorCode::kCorrupted, fmt::format("'{}' does not describe a snapshot of etcd", line));
  };
  if (!std::getline(in, line) || line != kFirstLine) return damaged();
  EtcdSnapshot out;
  while (std::getline(in, line)) {
    const size_t space = line.find(' ');
    if (space == std::string::npos || !TakeLine(line.substr(0, space), line.substr(space + 1), out)) return damaged();
  }
  if (out.name.empty() || out.data.empty() || out.bytes <= 0 || out.sha256.size() != 64) return damaged();
  return out;
}

// ---- taking

Result<EtcdSnapshot> StreamEtcdSnapshot(EtcdAdmin* admin, EtcdSnapshot about, const OpenTarget& open) {
  ASSIGN_OR_RETURN(const EtcdMemberStatus member, MemberToCopy(admin));
  about.version = member.version;
  about.endpoint = member.endpoint;
  about.etcd_cluster = member.cluster_id;
  about.revision = member.revision;
  about.taken_unix_ms = WallMs();
  about.name = NameOf(about);
  if (auto members = admin->MemberList(); members.ok()) about.members = std::move(*members);
  ASSIGN_OR_RETURN(const SnapshotTarget target, open(about));
  EtcdSnapshotSum sum;
  ASSIGN_OR_RETURN(about.bytes, admin->Snapshot(member.endpoint, kPatience, [&](std::string_view piece) {
    sum.Add(piece);
    return target.append(piece);
  }));
  about.sha256 = sum.hex();
  RETURN_IF_ERROR(target.finish());
  return about;
}

Result<EtcdSnapshot> TakeEtcdSnapshot(EtcdAdmin* admin, ObjectStore* objects, EtcdSnapshot about,
                                      const std::function<bool()>& cancelled) {
  std::string data;
  ASSIGN_OR_RETURN(about, StreamEtcdSnapshot(admin, std::move(about), [&](const EtcdSnapshot& begun) {
                     data = fmt::format("{}{}/data-{:08x}", kPrefix, begun.name, std::random_device{}());
                     return ObjectTarget(objects, data, cancelled);
                   }));
  about.data = data;
  const Status put = objects->PutIfAbsent(AboutObject(about.name), Encode(about));
  if (put.ok()) return about;
  (void)objects->Delete(data).ok();  // else the day after, by PruneEtcdSnapshots
  if (put.code() != ErrorCode::kAlreadyExists) return put;
  return Status(ErrorCode::kAlreadyExists,
                fmt::format("somebody else took the snapshot {} in the same second: it is as good", about.name));
}

// ---- keeping

Result<std::vector<EtcdSnapshot>> ListEtcdSnapshots(ObjectStore* objects) {
  ASSIGN_OR_RETURN(const std::vector<ObjectInfo> found, objects->List(std::string(kPrefix)));
  std::vector<EtcdSnapshot> out;
  for (const ObjectInfo& object : found) {
    if (!object.name.ends_with(kAbout)) continue;
    const auto text = objects->Get(object.name);
    if (text.status().code() == ErrorCode::kIoKeyNotFound) continue;  // deleted meanwhile
    RETURN_IF_ERROR(text.status());
    auto snapshot = DecodeEtcdSnapshot(*text);
    if (snapshot.ok()) {
      out.push_back(std::move(*snapshot));
    } else {
      LogWarn("object {}: {}", object.name, snapshot.status().message());
    }
  }
  std::sort(out.begin(), out.end(), [](const EtcdSnapshot& a, const EtcdSnapshot& b) { return a.name < b.name; });
  return out;
}

Result<int> PruneEtcdSnapshots(ObjectStore* objects, int64_t keep) {
  ASSIGN_OR_RETURN(std::vector<EtcdSnapshot> all, ListEtcdSnapshots(objects));
  const size_t old = static_cast<int64_t>(all.size()) > keep ? all.size() - static_cast<size_t>(keep) : 0;
  for (size_t i = 0; i < old; ++i) {
    RETURN_IF_ERROR(objects->Delete(AboutObject(all[i].name)));  // first: without it there is no snapshot
    RETURN_IF_ERROR(objects->Delete(all[i].data));
  }
  ASSIGN_OR_RETURN(const std::vector<ObjectInfo> found, objects->List(std::string(kPrefix)));
  for (const ObjectInfo& object : found) {
    const bool named =
        std::any_of(all.begin(), all.end(), [&](const EtcdSnapshot& s) { return s.data == object.name; });
    const bool data = object.name.find("/data-") != std::string::npos;
    if (data && !named && object.modified_unix_ms < WallMs() - kAbandonedMs)
      RETURN_IF_ERROR(objects->Delete(object.name));
  }
  return static_cast<int>(old);
}

Status FetchEtcdSnapshot(ObjectStore* objects, const EtcdSnapshot& snapshot, const std::string& path) {
  ASSIGN_OR_RETURN(const File file, File::Open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
  int64_t at = 0;
  while (at < snapshot.bytes) {
    ASSIGN_OR_RETURN(const std::string piece,
                     objects->GetRange(snapshot.data, at, std::min(kPieceBytes, snapshot.bytes - at)));
    if (piece.empty()) break;
    RETURN_IF_ERROR(file.WriteAt(piece, at));
    at += static_cast<int64_t>(piece.size());
  }
  RETURN_IF_ERROR(file.SyncData());
  ASSIGN_OR_RETURN(const std::string sum, CheckEtcdSnapshotFile(path));
  if (at == snapshot.bytes && sum == snapshot.sha256) return {};
  return {ErrorCode::kCorrupted,
          fmt::format("object {} has {} bytes with the sum {}, but {} bytes with {} were stored: take another snapshot",
                      snapshot.data, at, sum, snapshot.bytes, snapshot.sha256)};
}

Result<std::string> CheckEtcdSnapshotFile(const std::string& path) {
  ASSIGN_OR_RETURN(const File file, File::Open(path, O_RDONLY));
  EtcdSnapshotSum sum;
  for (int64_t at = 0;;) {
    ASSIGN_OR_RETURN(const std::string piece, file.ReadAt(at, kPieceBytes));
    if (piece.empty()) break;
    sum.Add(piece);
    at += static_cast<int64_t>(piece.size());
  }
  std::string hex = sum.hex();
  if (sum.Holds()) return hex;
  return Status(
      ErrorCode::kCorrupted,
      fmt::format("{} does not end with the SHA-256 of what comes before: it is no whole snapshot of etcd", path));
}

// ---- by schedule

struct EtcdSnapshotSchedule::State {
  State(Options given, ObjectStore* store) : options(std::move(given)), objects(store) {}

  std::chrono::milliseconds Step();
  // The time until the next one is due; 0: now.
  Result<std::chrono::milliseconds> Due();
  Status Take();

  const Options options;
  ObjectStore* const objects;
  std::unique_ptr<EtcdAdmin> admin;  // of the loop alone
  std::atomic<bool> stopping{false};
  bool listed = false;
  Revision last_revision = 0;
  int64_t checked_us = 0;  // when the newest was known to be good, by the monotonic clock

  mutable Mutex mutex;
  int64_t newest_unix_ms GUARDED_BY(mutex) = 0;
  int64_t failures GUARDED_BY(mutex) = 0;  // since the last success
  Status last_failure GUARDED_BY(mutex);
};

Result<std::chrono::milliseconds> EtcdSnapshotSchedule::State::Due() {
  if (!listed) {
    ASSIGN_OR_RETURN(const std::vector<EtcdSnapshot> all, ListEtcdSnapshots(objects));
    listed = true;
    if (!all.empty()) {
      const int64_t age_ms = std::max<int64_t>(0, WallMs() - all.back().taken_unix_ms);
      last_revision = all.back().revision;
      checked_us = MonotonicUs() - age_ms * 1000;
      MutexLock lock(mutex);
      newest_unix_ms = all.back().taken_unix_ms;
    } else {
      checked_us = MonotonicUs() - std::chrono::microseconds(options.interval).count();
    }
  }
  const std::chrono::microseconds age(MonotonicUs() - checked_us);
  return std::max(std::chrono::milliseconds(0),
                  options.interval - std::chrono::duration_cast<std::chrono::milliseconds>(age));
}

Status EtcdSnapshotSchedule::State::Take() {
  if (admin == nullptr) {
    ASSIGN_OR_RETURN(admin, OpenEtcdAdmin(options.etcd));
  }
  ASSIGN_OR_RETURN(const EtcdMemberStatus member, MemberToCopy(admin.get()));
  if (last_revision != 0 && member.revision == last_revision) return {};
  EtcdSnapshot about;
  about.cluster = options.cluster;
  about.root = options.etcd.root;
  ASSIGN_OR_RETURN(const EtcdSnapshot taken,
                   TakeEtcdSnapshot(admin.get(), objects, about, [this] { return stopping.load(); }));
  last_revision = taken.revision;
  LogInfo("took the snapshot {} of etcd: {} bytes, from {}", taken.name, taken.bytes, taken.endpoint);
  {
    MutexLock lock(mutex);
    newest_unix_ms = taken.taken_unix_ms;
  }
  if (options.keep <= 0) return {};
  return PruneEtcdSnapshots(objects, options.keep).status().WithContext("deleting old snapshots");
}

std::chrono::milliseconds EtcdSnapshotSchedule::State::Step() {
  static Counter& failed =
      Metrics().GetCounter("saker_etcd_snapshot_failures_total", "Snapshots of etcd that could not be taken");
  const auto due = Due();
  if (due.ok() && due->count() > 0) return *due;
  const Status done = due.ok() ? Take() : due.status();
  MutexLock lock(mutex);
  if (done.ok()) {
    checked_us = MonotonicUs();
    failures = 0;
    last_failure = {};
    return options.interval;
  }
  ++failures;
  failed.Add();
  last_failure = done;
  LogWarn("the snapshot of etcd that was due could not be taken: {}", done.message());
  return std::min(options.retry, options.interval);
}

EtcdSnapshotSchedule::EtcdSnapshotSchedule(Options options, ObjectStore* objects, ThreadPool* io, Timer* timer)
    : state_(std::make_shared<State>(std::move(options), objects)) {
  loop_ = std::make_unique<ControlLoop>("etcd snapshots", io, timer, [state = state_.get()] { return state->Step(); });
  loop_->Poke();
}

EtcdSnapshotSchedule::~EtcdSnapshotSchedule() {
  state_->stopping = true;
  loop_->Stop();
}

int64_t EtcdSnapshotSchedule::newest_unix_ms() const {
  MutexLock lock(state_->mutex);
  return state_->newest_unix_ms;
}

Status EtcdSnapshotSchedule::Health() const {
  MutexLock lock(state_->mutex);
  if (state_->failures == 0) return {};
  const std::string newest = state_->newest_unix_ms == 0
                                 ? "there is none yet"
                                 : fmt::format("the newest is {:.1f} h old",
                                               static_cast<double>(WallMs() - state_->newest_unix_ms) / 3'600'000);
  return {ErrorCode::kServiceUnavailable,
          fmt::format("etcd's scheduled snapshot failed {} time{}, {}: {}", state_->failures,
                      state_->failures == 1 ? "" : "s", newest, state_->last_failure.message())};
}

}  // namespace saker
