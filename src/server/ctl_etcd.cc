#include "server/ctl_etcd.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <thread>

#include "base/clock.h"
#include "base/file.h"
#include "meta/etcd_health.h"
#include "meta/generation_store.h"
#include "meta/keys.h"
#include "server/etcd_snapshots.h"

namespace saker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kDefragTimeout{600};
constexpr seconds kCompactTimeout{60};
constexpr seconds kCatchUp{60};         // of a member that was defragmented
constexpr uint64_t kNearlyEqual = 100;  // raft entries
// Above all that the lost etcd had written since the snapshot: fencing tokens are revisions, and go on rising.
constexpr const char* kBump = "1000000000";

Status NeedEtcd(const Config& config) {
  if (!config.etcd.endpoints.empty()) return {};
  return {ErrorCode::kParameterInvalid, "where is etcd? Give --endpoints, or --config with etcd.endpoints in it"};
}

// What every command does first: its arguments looked at, etcd's settings, a connection.
Result<std::unique_ptr<EtcdAdmin>> Begin(const Config& config, const CtlArguments& arguments, size_t most = 0) {
  RETURN_IF_ERROR(CheckArguments(arguments, most));
  RETURN_IF_ERROR(NeedEtcd(config));
  return OpenEtcdAdmin(config.etcd);
}

Result<int64_t> TakeNumber(CtlArguments* arguments, std::string_view name, int64_t otherwise) {
  ASSIGN_OR_RETURN(const auto text, TakeOption(arguments, name));
  if (!text) return otherwise;
  int64_t value = 0;
  const auto end = std::from_chars(text->data(), text->data() + text->size(), value);
  if (end.ec == std::errc() && end.ptr == text->data() + text->size() && value >= 0) return value;
  return Status(ErrorCode::kParameterInvalid, fmt::format("{} wants a whole number, not '{}'", name, *text));
}

// ---- status

void PrintMember(const EtcdMemberStatus& m, const std::vector<EtcdMember>& list) {
  if (!m.reached.ok()) {
    fmt::print("{}\n  unreachable: {}\n", m.endpoint, m.reached.message());
    return;
  }
  const auto named =
      std::find_if(list.begin(), list.end(), [&](const EtcdMember& one) { return one.id == m.member_id; });
  if (m.withheld) {
    fmt::print("{}\n  member   {} ({:x}) of cluster {:x}, revision {}\n  the rest is told to users of etcd's role root alone\n",
               m.endpoint, named == list.end() ? "?" : named->name, m.member_id, m.cluster_id, m.revision);
    return;
  }
  const char* role = m.is_leader() ? "leader" : m.is_learner ? "learner" : "follower";
  const int64_t quota = EtcdQuota(m);
  fmt::print("{}\n  member   {} ({:x}) of cluster {:x}, {}\n", m.endpoint, named == list.end() ? "?" : named->name,
             m.member_id, m.cluster_id, role);
  fmt::print("  version  {}\n", m.version);
  fmt::print("  space    {} in the file, {} in use, quota {}\n", HumanBytes(m.db_bytes), HumanBytes(m.db_in_use_bytes),
             quota > 0   ? HumanBytes(quota)
             : quota < 0 ? "none"
                         : "not told (2 GiB unless set)");
  fmt::print("  raft     term {}, index {}, applied {}, leader {:x}, revision {}\n", m.raft_term, m.raft_index,
             m.raft_applied_index, m.leader_id, m.revision);
  for (const std::string& error : m.errors) fmt::print("  error    {}\n", error);
}

// Of "g12/catalog/…", "catalog/…".
std::string_view WithoutGeneration(std::string_view key) {
  const size_t slash = key.find('/');
  const bool numbered = slash != std::string_view::npos && slash > 1 && key[0] == 'g' &&
                        key.substr(1, slash - 1).find_first_not_of("0123456789") == std::string_view::npos;
  return numbered ? key.substr(slash + 1) : key;
}

// By the first part of their names, in the order in which they come.
Status PrintKeys(const Config& config) {
  ASSIGN_OR_RETURN(const auto store, OpenEtcdStore(config.etcd));
  ASSIGN_OR_RETURN(const RangeResult all, store->Range(""));
  std::map<std::string, std::pair<int64_t, int64_t>> counts;
  for (const KeyValue& kv : all.kvs) {
    const std::string_view name = WithoutGeneration(kv.key);
    const size_t slash = name.find('/');
    auto& [keys, bytes] = counts[std::string(name.substr(0, slash == std::string::npos ? slash : slash + 1))];
    ++keys;
    bytes += static_cast<int64_t>(kv.key.size() + kv.value.size());
  }
  fmt::print("keys under {}/ at revision {}\n", config.etcd.root, all.revision);
  for (const auto& [prefix, count] : counts)
    fmt::print("  {:12} {:8}  {}\n", prefix, count.first, HumanBytes(count.second));
  return {};
}

// ---- defrag

const EtcdMemberStatus* LeaderOf(const std::vector<EtcdMemberStatus>& members) {
  const auto it =
      std::find_if(members.begin(), members.end(), [](const auto& m) { return m.reached.ok() && m.is_leader(); });
  return it == members.end() ? nullptr : &*it;
}

// Waits until the member answers again, knows the leader, and has applied nearly all that the others have.
Status UntilCaughtUp(EtcdAdmin* admin, const std::string& endpoint) {
  const Stopwatch since;
  std::string why = "it doesn't answer";
  while (since.elapsed_ms() < milliseconds(kCatchUp).count()) {
    const std::vector<EtcdMemberStatus> members = admin->Members();
    uint64_t newest = 0;
    const EtcdMemberStatus* self = nullptr;
    for (const EtcdMemberStatus& member : members) {
      if (member.reached.ok()) newest = std::max(newest, member.raft_applied_index);
      if (member.endpoint == endpoint) self = &member;
    }
    if (self != nullptr && self->reached.ok() && self->leader_id != 0 &&
        self->raft_applied_index + kNearlyEqual >= newest)
      return {};
    if (self != nullptr && self->reached.ok()) {
      why = fmt::format("it has applied {} of {} raft entries, its leader is {:x}", self->raft_applied_index, newest,
                        self->leader_id);
    }
    std::this_thread::sleep_for(milliseconds(200));
  }
  return {ErrorCode::kServiceUnavailable,
          fmt::format("{} is not itself again {} s after its defragmentation ({}): the others were left alone",
                      endpoint, kCatchUp.count(), why)};
}

Status DefragMember(EtcdAdmin* admin, const EtcdMemberStatus& before, milliseconds timeout) {
  const Stopwatch took;
  RETURN_IF_ERROR(admin->Defragment(before.endpoint, timeout));
  RETURN_IF_ERROR(UntilCaughtUp(admin, before.endpoint));
  for (const EtcdMemberStatus& after : admin->Members()) {
    if (after.endpoint != before.endpoint) continue;
    fmt::print("{}{}: {} -> {} ({} ms)\n", before.endpoint, before.is_leader() ? " (leader)" : "",
               HumanBytes(before.db_bytes), HumanBytes(after.db_bytes), took.elapsed_ms());
  }
  std::fflush(stdout);
  return {};
}

Status DisarmNoSpace(EtcdAdmin* admin) {
  ASSIGN_OR_RETURN(const std::vector<EtcdAlarm> alarms, admin->Alarms());
  for (const EtcdAlarm& alarm : alarms) {
    if (alarm.kind != EtcdAlarm::Kind::kNoSpace) continue;
    RETURN_IF_ERROR(admin->Disarm(alarm));
    fmt::print("disarmed the alarm NOSPACE of member {:x}\n", alarm.member_id);
  }
  return {};
}

// The members in the order in which they are to be defragmented; a member that is away stays away for good reason, and
// another one must not be stopped beside it.
Result<std::vector<EtcdMemberStatus>> MembersToDefrag(EtcdAdmin* admin) {
  std::vector<EtcdMemberStatus> members = admin->Members();
  for (const EtcdMemberStatus& member : members) {
    if (!member.reached.ok()) return member.reached.WithContext("not defragmented, since a member is away");
  }
  if (LeaderOf(members) == nullptr) {
    return Status(ErrorCode::kServiceUnavailable,
                  "not defragmented: no member of etcd says that it leads; name all of them in the endpoints");
  }
  std::stable_partition(members.begin(), members.end(), [](const EtcdMemberStatus& m) { return !m.is_leader(); });
  return members;
}

Status Defrag(EtcdAdmin* admin, bool compact, milliseconds timeout) {
  ASSIGN_OR_RETURN(const auto members, MembersToDefrag(admin));
  if (compact) {
    ASSIGN_OR_RETURN(const Revision revision, admin->Compact(0, kCompactTimeout));
    fmt::print("compacted history before revision {}\n", revision);
  }
  for (const EtcdMemberStatus& member : members) RETURN_IF_ERROR(DefragMember(admin, member, timeout));
  return DisarmNoSpace(admin);
}

// ---- the object store

// The cluster's, with a cache of its own: that of a running process is locked.
class Objects {
 public:
  ~Objects() {
    store_.reset();
    std::error_code ignored;
    if (!cache_.empty()) std::filesystem::remove_all(cache_, ignored);
  }
  Status Open(const Config& config) {
    if (config.s3.endpoint.empty() || config.s3.bucket.empty()) {
      return {ErrorCode::kParameterInvalid,
              "where is the object store? --config FILE with minio.* in it says so; or name a local FILE"};
    }
    std::string pattern = (std::filesystem::temp_directory_path() / "saker-ctl-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) return ErrnoStatus("make a directory", pattern, errno);
    cache_ = pattern;
    S3StoreSettings settings = config.s3;
    settings.cache_directory = cache_ + "/cache";
    ASSIGN_OR_RETURN(store_, OpenS3Store(settings));
    return {};
  }
  ObjectStore* get() const { return store_.get(); }

 private:
  std::string cache_;
  std::unique_ptr<ObjectStore> store_;
};

// The cluster that etcd's keys belong to; empty if it has none yet.
Result<std::string> ClusterInEtcd(const Config& config) {
  ASSIGN_OR_RETURN(const auto store, OpenEtcdStore(config.etcd));
  const auto generation = store->Get(kGenerationKey);
  if (generation.status().code() == ErrorCode::kIoKeyNotFound) return std::string();
  RETURN_IF_ERROR(generation.status());
  ASSIGN_OR_RETURN(const int64_t number, GenerationInRoot(generation->value));
  const auto id = store->Get(GenerationPrefix(number) + std::string(kClusterIdKey));
  if (id.status().code() == ErrorCode::kIoKeyNotFound) return std::string();
  RETURN_IF_ERROR(id.status());
  return id->value;
}

Status SameCluster(const std::string& in_etcd, ObjectStore* objects) {
  const auto id = objects->Get("cluster/id");
  if (id.status().code() == ErrorCode::kIoKeyNotFound) return {};
  RETURN_IF_ERROR(id.status());
  if (in_etcd.empty() || *id == in_etcd) return {};
  return {ErrorCode::kCrossClusterRouting,
          fmt::format("etcd belongs to cluster {}, the object store to cluster {}: the settings mix two of them",
                      in_etcd, *id)};
}

void PrintSnapshot(const EtcdSnapshot& s) {
  const double hours = static_cast<double>(WallMs() - s.taken_unix_ms) / 3'600'000;
  fmt::print("{}  {:>10}  revision {}  etcd {}  cluster {}  {:.1f} h old\n", s.name, HumanBytes(s.bytes), s.revision,
             s.version, s.cluster.empty() ? "?" : s.cluster, hours);
}

// ---- snapshot

std::string AboutFile(const std::string& file) { return file + ".about"; }

Status WriteNewFile(const std::string& path, const std::string& text) {
  ASSIGN_OR_RETURN(const File file, File::Open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
  RETURN_IF_ERROR(file.WriteAt(text, 0));
  return file.SyncData();
}

// Under another name until it is whole. A file that is there already is not replaced.
Result<EtcdSnapshot> SnapshotToFile(EtcdAdmin* admin, EtcdSnapshot about, const std::string& path) {
  if (std::filesystem::exists(path))
    return Status(ErrorCode::kAlreadyExists, path + " exists already: name another file");
  const std::string draft = path + ".part";
  auto taken = StreamEtcdSnapshot(admin, std::move(about), [&](const EtcdSnapshot&) -> Result<SnapshotTarget> {
    ASSIGN_OR_RETURN(File opened, File::Open(draft, O_WRONLY | O_CREAT | O_TRUNC, 0600));
    const auto file = std::make_shared<File>(std::move(opened));
    const auto at = std::make_shared<int64_t>(0);
    return SnapshotTarget{[file, at](std::string_view piece) {
                            const Status written = file->WriteAt(piece, *at);
                            *at += static_cast<int64_t>(piece.size());
                            return written;
                          },
                          [file] { return file->SyncData(); }};
  });
  if (!taken.ok()) {
    (void)RemoveFile(draft).ok();
    return taken;
  }
  taken->data = path;
  RETURN_IF_ERROR(WriteNewFile(AboutFile(path), Encode(*taken)));
  RETURN_IF_ERROR(RenameFile(draft, path));
  return taken;
}

Result<EtcdSnapshot> Snapshot(const Config& config, EtcdAdmin* admin, const CtlArguments& arguments, int64_t keep) {
  EtcdSnapshot about;
  about.root = config.etcd.root;
  ASSIGN_OR_RETURN(about.cluster, ClusterInEtcd(config));
  if (!arguments.empty()) return SnapshotToFile(admin, std::move(about), arguments[0]);
  Objects objects;
  RETURN_IF_ERROR(objects.Open(config));
  RETURN_IF_ERROR(SameCluster(about.cluster, objects.get()));
  ASSIGN_OR_RETURN(const EtcdSnapshot taken, TakeEtcdSnapshot(admin, objects.get(), std::move(about)));
  if (keep > 0) {
    ASSIGN_OR_RETURN(const int deleted, PruneEtcdSnapshots(objects.get(), keep));
    if (deleted > 0) fmt::print("deleted {} older than the newest {}\n", deleted, keep);
  }
  return taken;
}

// ---- restore

struct Restore {
  std::string what;    // a snapshot's name, a file, or empty: the newest
  std::string to;      // where the file is put
  std::string member;  // this host's, if its data directory is to be made now
  std::string data_dir;
  std::string etcdutl = "etcdutl";
  EtcdSnapshot snapshot;
  std::string file;
};

Result<EtcdSnapshot> ChooseSnapshot(ObjectStore* objects, const std::string& name) {
  ASSIGN_OR_RETURN(const std::vector<EtcdSnapshot> all, ListEtcdSnapshots(objects));
  if (all.empty()) return Status(ErrorCode::kIoKeyNotFound, "the object store has no snapshot of etcd");
  if (name.empty()) return all.back();
  const auto it = std::find_if(all.begin(), all.end(), [&](const EtcdSnapshot& s) { return s.name == name; });
  if (it != all.end()) return *it;
  return Status(ErrorCode::kIoKeyNotFound,
                fmt::format("there is no snapshot {} and no such file: `saker ctl etcd snapshots` lists them", name));
}

// A file as SnapshotToFile left it, or as etcdctl did: then nothing but its sum is known.
Status UseFile(Restore& restore) {
  restore.file = restore.what;
  ASSIGN_OR_RETURN(const std::string sum, CheckEtcdSnapshotFile(restore.file));
  const auto about = File::Open(AboutFile(restore.file), O_RDONLY);
  if (!about.ok()) return {};
  ASSIGN_OR_RETURN(const std::string text, about->ReadAt(0, 1 << 20));
  ASSIGN_OR_RETURN(restore.snapshot, DecodeEtcdSnapshot(text));
  if (restore.snapshot.sha256 == sum) return {};
  return {ErrorCode::kCorrupted,
          fmt::format("{} is not the file that {} describes", restore.file, AboutFile(restore.file))};
}

Status UseObject(const Config& config, Restore& restore) {
  Objects objects;
  RETURN_IF_ERROR(objects.Open(config));
  ASSIGN_OR_RETURN(restore.snapshot, ChooseSnapshot(objects.get(), restore.what));
  RETURN_IF_ERROR(SameCluster(restore.snapshot.cluster, objects.get()));
  restore.file = restore.to.empty() ? "etcd-" + restore.snapshot.name + ".db" : restore.to;
  if (CheckEtcdSnapshotFile(restore.file).ok()) {  // fetched for another member before
    ASSIGN_OR_RETURN(const std::string sum, CheckEtcdSnapshotFile(restore.file));
    if (sum == restore.snapshot.sha256) return {};
  }
  return FetchEtcdSnapshot(objects.get(), restore.snapshot, restore.file);
}

std::string InitialCluster(const EtcdSnapshot& snapshot) {
  std::string out;
  for (const EtcdMember& member : snapshot.members) {
    for (const std::string& url : member.peer_urls)
      out += fmt::format("{}{}={}", out.empty() ? "" : ",", member.name, url);
  }
  return out;
}

// The token makes it another cluster to etcd's clients: who still runs notices that the data went back.
std::vector<std::string> EtcdutlCommand(const Restore& restore, const EtcdMember& member, const std::string& data_dir) {
  return {restore.etcdutl,
          "snapshot",
          "restore",
          restore.file,
          "--name",
          member.name,
          "--data-dir",
          data_dir,
          "--initial-cluster",
          InitialCluster(restore.snapshot),
          "--initial-cluster-token",
          "saker-" + restore.snapshot.name,
          "--initial-advertise-peer-urls",
          fmt::format("{}", fmt::join(member.peer_urls, ",")),
          "--bump-revision",
          kBump,
          "--mark-compacted"};
}

void PrintSteps(const Restore& restore) {
  fmt::print(
      "\nTo put it in etcd's place:\n"
      "1. Stop every process of Saker, then every member of etcd; move the members' data directories away.\n"
      "2. On each member's host, with {} there (or: saker ctl etcd restore {} --member NAME --data-dir DIR):\n",
      restore.file, restore.what.empty() ? restore.snapshot.name : restore.what);
  for (const EtcdMember& member : restore.snapshot.members) {
    fmt::print("   {}\n", fmt::join(EtcdutlCommand(restore, member, "DATA-DIR-OF-" + member.name), " "));
  }
  if (restore.snapshot.members.empty()) {
    fmt::print(
        "   etcdutl snapshot restore {} --name NAME --data-dir DIR --initial-cluster NAME=PEER-URL,… \\\n"
        "     --initial-cluster-token A-NEW-ONE --initial-advertise-peer-urls PEER-URL --bump-revision {} "
        "--mark-compacted\n",
        restore.file, kBump);
  }
  fmt::print(
      "   (etcdutl of 3.6 or later; the data directory must not exist)\n"
      "3. Start all members of etcd with those data directories and the flags they had; `saker ctl etcd status`.\n"
      "4. Start Saker. What changed in the catalog after the snapshot comes from the object store's copies, by "
      "itself.\n");
}

Status RunEtcdutl(const Restore& restore) {
  const auto& members = restore.snapshot.members;
  const auto member =
      std::find_if(members.begin(), members.end(), [&](const EtcdMember& m) { return m.name == restore.member; });
  if (member == members.end()) {
    std::vector<std::string> names;
    for (const EtcdMember& m : members) names.push_back(m.name);
    return {ErrorCode::kParameterInvalid,
            fmt::format("the snapshot's etcd had no member {}: it had {}", restore.member,
                        names.empty() ? "members that it doesn't name" : fmt::format("{}", fmt::join(names, ", ")))};
  }
  std::vector<std::string> words = EtcdutlCommand(restore, *member, restore.data_dir);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::fflush(stdout);
  pid_t pid = 0;
  if (const int error = ::posix_spawnp(&pid, argv[0], nullptr, nullptr, argv.data(), environ); error != 0) {
    return {ErrorCode::kIoFailed,
            fmt::format(
                "cannot run {}: {}; install etcdutl 3.6, name it by --etcdutl, or run the command above where it is",
                restore.etcdutl, std::strerror(error))};
  }
  int ended = 0;
  while (::waitpid(pid, &ended, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(ended) && WEXITSTATUS(ended) == 0) return {};
  return {ErrorCode::kIoFailed, fmt::format("{} failed (it said why above): the data directory {} is not to be used",
                                            restore.etcdutl, restore.data_dir)};
}

Result<Restore> ParseRestore(const CtlArguments& given) {
  Restore out;
  CtlArguments arguments = given;
  const std::pair<const char*, std::string*> options[] = {
      {"--to", &out.to}, {"--member", &out.member}, {"--data-dir", &out.data_dir}, {"--etcdutl", &out.etcdutl}};
  for (const auto& [name, value] : options) {
    ASSIGN_OR_RETURN(const auto text, TakeOption(&arguments, name));
    if (text) *value = *text;
  }
  RETURN_IF_ERROR(CheckArguments(arguments, 1));
  if (!arguments.empty()) out.what = arguments[0];
  if (out.member.empty() == out.data_dir.empty()) return out;
  return Status(ErrorCode::kParameterInvalid,
                "--member and --data-dir belong together: whose data directory is made, and where");
}

}  // namespace

int EtcdStatusCommand(const Config& config, const CtlArguments& arguments) {
  const auto admin = Begin(config, arguments);
  if (!admin.ok()) return CtlFail(admin.status().message(), kCtlUsage);
  const EtcdExamination now = ExamineEtcd(admin->get());
  const std::vector<EtcdMember> list = now.member_list.value_or(std::vector<EtcdMember>());
  for (const EtcdMemberStatus& member : now.members) PrintMember(member, list);
  if (now.history) {
    fmt::print("history: {} revisions, {} to {}\n", now.history->revision - now.history->compacted,
               now.history->compacted, now.history->revision);
  }
  const std::vector<EtcdFinding> findings = JudgeEtcd(now);
  const bool degraded = !findings.empty() && findings.front().degraded;
  const bool served = now.history.has_value();
  const Status keys = served ? PrintKeys(config) : Status();
  for (const EtcdFinding& finding : findings)
    fmt::print("{}: {}\n", finding.degraded ? "NOT WELL" : "warning", finding.text);
  if (!keys.ok()) return CtlFail(keys.message());
  fmt::print("{}\n", degraded ? "etcd is not well" : "etcd is well");
  return degraded ? kCtlFailed : kCtlOk;
}

int EtcdDefragCommand(const Config& config, const CtlArguments& given) {
  CtlArguments arguments = given;
  const bool compact = !TakeFlag(&arguments, "--no-compact");
  const auto timeout = TakeNumber(&arguments, "--timeout", kDefragTimeout.count());
  if (!timeout.ok()) return CtlFail(timeout.status().message(), kCtlUsage);
  const auto admin = Begin(config, arguments);
  if (!admin.ok()) return CtlFail(admin.status().message(), kCtlUsage);
  const Status done = Defrag(admin->get(), compact, seconds(*timeout));
  return done.ok() ? kCtlOk : CtlFail(done.message());
}

int EtcdSnapshotCommand(const Config& config, const CtlArguments& given) {
  CtlArguments arguments = given;
  const auto keep = TakeNumber(&arguments, "--keep", 0);
  if (!keep.ok()) return CtlFail(keep.status().message(), kCtlUsage);
  const auto admin = Begin(config, arguments, 1);
  if (!admin.ok()) return CtlFail(admin.status().message(), kCtlUsage);
  const auto taken = Snapshot(config, admin->get(), arguments, *keep);
  if (!taken.ok()) return CtlFail(taken.status().message());
  PrintSnapshot(*taken);
  fmt::print("in {}, checked against its SHA-256 {}\n", taken->data, taken->sha256);
  return kCtlOk;
}

int EtcdSnapshotsCommand(const Config& config, const CtlArguments& arguments) {
  if (const Status usage = CheckArguments(arguments, 0); !usage.ok()) return CtlFail(usage.message(), kCtlUsage);
  Objects objects;
  if (const Status opened = objects.Open(config); !opened.ok()) return CtlFail(opened.message());
  const auto all = ListEtcdSnapshots(objects.get());
  if (!all.ok()) return CtlFail(all.status().message());
  for (const EtcdSnapshot& snapshot : *all) PrintSnapshot(snapshot);
  return kCtlOk;
}

int EtcdRestoreCommand(const Config& config, const CtlArguments& arguments) {
  auto restore = ParseRestore(arguments);
  if (!restore.ok()) return CtlFail(restore.status().message(), kCtlUsage);
  const bool is_file = !restore->what.empty() && std::filesystem::exists(restore->what);
  const Status fetched = is_file ? UseFile(*restore) : UseObject(config, *restore);
  if (!fetched.ok()) return CtlFail(fetched.message());
  if (!restore->snapshot.name.empty()) PrintSnapshot(restore->snapshot);
  fmt::print("{} is whole\n", restore->file);
  if (restore->member.empty()) {
    PrintSteps(*restore);
    return kCtlOk;
  }
  const Status made = RunEtcdutl(*restore);
  if (!made.ok()) {
    PrintSteps(*restore);
    return CtlFail(made.message());
  }
  fmt::print("{} is the data directory of {} now; once those of all members are made, start them, then Saker\n",
             restore->data_dir, restore->member);
  return kCtlOk;
}

}  // namespace saker
