// What is wrong with an etcd, in words that say what to do about it: for health, metrics and `saker ctl etcd status`.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "meta/etcd_admin.h"

namespace saker {

struct EtcdExamination {
  std::vector<EtcdMemberStatus> members;               // of each configured endpoint
  std::optional<std::vector<EtcdMember>> member_list;  // as etcd has it, if it said so
  std::optional<EtcdHistory> history;
  // How long the compacted revision has been the same, as far as the caller saw it.
  std::chrono::milliseconds uncompacted_for{0};
};

struct EtcdFinding {
  // Metadata can't be read or changed, or isn't safe. Otherwise a warning: it will be so one day, or after one failure.
  bool degraded = false;
  std::string text;
};

// Asks etcd; blocks for up to some request timeouts. Makes no writes.
EtcdExamination ExamineEtcd(EtcdAdmin* admin);
// Empty: all is well. Degraded ones come first.
std::vector<EtcdFinding> JudgeEtcd(const EtcdExamination& examination);

// 0: not told by etcd (before 3.6). etcd's default of 2 GiB where none is set.
int64_t EtcdQuota(const EtcdMemberStatus& member);
// "1.5 GiB".
std::string HumanBytes(int64_t bytes);

}  // namespace saker
