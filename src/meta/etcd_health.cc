#include "meta/etcd_health.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

namespace saker {
namespace {

constexpr int64_t kDefaultQuota = int64_t{2} << 30;
constexpr double kNearlyFull = 0.8;
// Auto-compaction as docs/etcd.md asks for keeps an hour or 10,000 revisions of history.
constexpr int64_t kMuchHistory = 100'000;
constexpr int64_t kSomeHistory = 20'000;
constexpr std::chrono::hours kLongUncompacted{2};

struct Version {
  int major = 0;
  int minor = 0;
  auto operator<=>(const Version&) const = default;
};
constexpr Version kOldest{3, 4};
constexpr Version kTellsQuota{3, 6};

Version VersionOf(const EtcdMemberStatus& member) {
  Version version;
  (void)std::sscanf(member.version.c_str(), "%d.%d", &version.major, &version.minor);
  return version;
}

bool Mentions(const EtcdMemberStatus& member, std::string_view what) {
  return std::any_of(member.errors.begin(), member.errors.end(),
                     [&](const std::string& error) { return error.find(what) != std::string::npos; });
}

bool AnyWithheld(const std::vector<EtcdMemberStatus>& members) {
  return std::any_of(members.begin(), members.end(), [](const auto& member) { return member.withheld; });
}

using Findings = std::vector<EtcdFinding>;

void JudgeReach(const EtcdExamination& now, Findings& out) {
  std::vector<std::string> away;
  for (const EtcdMemberStatus& member : now.members) {
    if (!member.reached.ok()) away.push_back(member.endpoint);
  }
  if (away.empty()) return;
  const auto first =
      std::find_if(now.members.begin(), now.members.end(), [](const auto& m) { return !m.reached.ok(); });
  // Some endpoints may be all that is configured of a larger cluster: only etcd knows whether it has a quorum, and says
  // so below.
  const bool none = away.size() == now.members.size();
  out.push_back({none, fmt::format("{} of {} members of etcd can't be reached ({}): {}{}", away.size(),
                                   now.members.size(), fmt::join(away, ", "), first->reached.message(),
                                   none ? "; rows are read and written on, metadata can't be changed" : "")});
}

void JudgeWithheld(const EtcdExamination& now, Findings& out) {
  if (!AnyWithheld(now.members)) return;
  out.push_back(
      {false, "etcd tells its status to users of its role root alone: its version, its leader and how full it is are not "
              "watched from here; watch etcd's own metrics, or give the user that role"});
}

void JudgeMember(const EtcdMemberStatus& member, Findings& out) {
  if (member.withheld) return;
  if (VersionOf(member) < kOldest) {
    out.push_back({true, fmt::format("etcd {} is version {}: 3.4 or later is needed, upgrade it", member.endpoint,
                                     member.version)});
  }
  if (member.leader_id == 0) {
    out.push_back(
        {true,
         fmt::format("etcd {} knows of no leader: etcd has no quorum, metadata can't be changed until most members "
                     "are back and reach each other",
                     member.endpoint)});
  }
  for (const std::string& error : member.errors) {
    if (error.find("NOSPACE") != std::string::npos || error.find("CORRUPT") != std::string::npos) continue;
    if (error.find("no leader") != std::string::npos) continue;
    out.push_back({true, fmt::format("etcd {} says: {}", member.endpoint, error)});
  }
}

void JudgeClusters(const EtcdExamination& now, Findings& out) {
  const EtcdMemberStatus* first = nullptr;
  for (const EtcdMemberStatus& member : now.members) {
    if (!member.reached.ok()) continue;
    if (first == nullptr) first = &member;
    if (member.cluster_id == first->cluster_id) continue;
    out.push_back(
        {true, fmt::format(
                   "etcd.endpoints names members of different clusters: {} is of cluster {:x}, {} of {:x}; correct it",
                   first->endpoint, first->cluster_id, member.endpoint, member.cluster_id)});
    return;
  }
}

std::string SpaceOf(const EtcdMemberStatus& member) {
  const int64_t quota = EtcdQuota(member);
  return fmt::format(": its file has {}, {} of it in use, of a quota of {}", HumanBytes(member.db_bytes),
                     HumanBytes(member.db_in_use_bytes),
                     quota > 0 ? HumanBytes(quota) : "2 GiB, unless --quota-backend-bytes says otherwise");
}

// Every member lists the alarms of all.
void JudgeAlarms(const EtcdExamination& now, Findings& out) {
  for (const EtcdMemberStatus& member : now.members) {
    if (!member.reached.ok() || !Mentions(member, "CORRUPT")) continue;
    out.push_back(
        {true,
         fmt::format(
             "etcd's data is corrupt (alarm CORRUPT, told by {}): remove the member that its log names, delete its "
             "data directory, add it anew, then disarm the alarm; `saker ctl etcd restore` if most are damaged",
             member.endpoint)});
    break;
  }
  for (const EtcdMemberStatus& member : now.members) {
    if (!member.reached.ok() || !member.quota_exceeded) continue;
    out.push_back(
        {true, fmt::format("etcd is out of space (alarm NOSPACE){}; metadata can't be changed until it is compacted, "
                           "defragmented and the alarm disarmed: `saker ctl etcd defrag` does all three (or raise "
                           "--quota-backend-bytes first)",
                           member.withheld ? "" : SpaceOf(member))});
    break;
  }
}

void JudgeSpace(const EtcdMemberStatus& member, Findings& out) {
  if (member.quota_exceeded || member.withheld) return;
  const int64_t told = EtcdQuota(member);
  if (told < 0) return;  // switched off
  const double quota = static_cast<double>(told > 0 ? told : kDefaultQuota);
  if (static_cast<double>(member.db_bytes) < kNearlyFull * quota) return;
  const bool fragmented = static_cast<double>(member.db_in_use_bytes) < kNearlyFull * quota;
  out.push_back(
      {false, fmt::format("etcd {} has {} of its quota of {}{}, {} in use: beyond it metadata can't be changed; {}",
                          member.endpoint, HumanBytes(member.db_bytes), HumanBytes(static_cast<int64_t>(quota)),
                          told > 0 ? "" : " (the default: it doesn't tell)", HumanBytes(member.db_in_use_bytes),
                          fragmented ? "`saker ctl etcd defrag` makes space" : "raise --quota-backend-bytes")});
}

void JudgeSafety(const EtcdExamination& now, Findings& out) {
  if (!now.member_list) return;
  const auto voters = std::count_if(now.member_list->begin(), now.member_list->end(),
                                    [](const EtcdMember& m) { return !m.is_learner; });
  if (voters < 3) {
    out.push_back(
        {false, fmt::format("etcd has {} voting member{}: when one fails metadata can't be changed any more; run 3",
                            voters, voters == 1 ? "" : "s")});
  }
  if (static_cast<int64_t>(now.members.size()) < voters) {
    out.push_back(
        {false,
         fmt::format("etcd has {} members, etcd.endpoints names {}: name them all, so that another one is found when "
                     "these fail",
                     voters, now.members.size())});
  }
}

void JudgeHistory(const EtcdExamination& now, Findings& out) {
  if (!now.history) return;
  const int64_t kept = now.history->revision - now.history->compacted;
  const bool long_ago = now.uncompacted_for >= kLongUncompacted && kept >= kSomeHistory;
  if (kept < kMuchHistory && !long_ago) return;
  out.push_back(
      {false,
       fmt::format(
           "etcd keeps {} revisions of history{}: auto-compaction seems to be off, and its quota fills up; start it "
           "with --auto-compaction-mode=periodic --auto-compaction-retention=1h",
           kept,
           long_ago ? fmt::format(" and was not compacted for {} h",
                                  std::chrono::duration_cast<std::chrono::hours>(now.uncompacted_for).count())
                    : std::string())});
}

// Alarms are told to everybody, a status isn't.
void FillAlarms(EtcdAdmin* admin, std::vector<EtcdMemberStatus>& members) {
  if (!AnyWithheld(members)) return;
  const auto alarms = admin->Alarms();
  if (!alarms.ok()) return;
  for (EtcdMemberStatus& member : members) {
    if (!member.withheld) continue;
    for (const EtcdAlarm& alarm : *alarms) {
      const bool space = alarm.kind == EtcdAlarm::Kind::kNoSpace;
      member.quota_exceeded = member.quota_exceeded || space;
      member.errors.push_back(fmt::format("alarm:{} of member {:x}", space ? "NOSPACE" : "CORRUPT", alarm.member_id));
    }
  }
}

}  // namespace

int64_t EtcdQuota(const EtcdMemberStatus& member) {
  if (member.quota_bytes != 0 || VersionOf(member) < kTellsQuota) return member.quota_bytes;
  return kDefaultQuota;
}

std::string HumanBytes(int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes >= int64_t{1} << 30) return fmt::format("{:.1f} GiB", value / (1 << 30));
  if (bytes >= 1 << 20) return fmt::format("{:.1f} MiB", value / (1 << 20));
  return fmt::format("{:.1f} KiB", value / 1024);
}

EtcdExamination ExamineEtcd(EtcdAdmin* admin) {
  EtcdExamination out;
  out.members = admin->Members();
  const bool served = std::any_of(out.members.begin(), out.members.end(),
                                  [](const EtcdMemberStatus& m) { return m.reached.ok() && (m.withheld || m.leader_id != 0); });
  if (!served) return out;  // the rest needs a quorum
  FillAlarms(admin, out.members);
  if (auto list = admin->MemberList(); list.ok()) out.member_list = std::move(*list);
  if (const auto history = admin->History(); history.ok()) out.history = *history;
  return out;
}

std::vector<EtcdFinding> JudgeEtcd(const EtcdExamination& examination) {
  Findings out;
  JudgeReach(examination, out);
  JudgeWithheld(examination, out);
  JudgeClusters(examination, out);
  JudgeAlarms(examination, out);
  for (const EtcdMemberStatus& member : examination.members) {
    if (!member.reached.ok()) continue;
    JudgeMember(member, out);
    JudgeSpace(member, out);
  }
  JudgeSafety(examination, out);
  JudgeHistory(examination, out);
  std::stable_partition(out.begin(), out.end(), [](const EtcdFinding& finding) { return finding.degraded; });
  return out;
}

}  // namespace saker
