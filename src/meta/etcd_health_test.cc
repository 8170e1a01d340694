#include "meta/etcd_health.h"

#include <gtest/gtest.h>

namespace saker {
namespace {

constexpr int64_t kGib = int64_t{1} << 30;

EtcdMemberStatus Member(int n) {
  EtcdMemberStatus member;
  member.endpoint = "http://e" + std::to_string(n) + ":2379";
  member.version = "3.6.5";
  member.cluster_id = 7;
  member.member_id = static_cast<uint64_t>(n);
  member.leader_id = 1;
  member.db_bytes = 1 << 20;
  member.db_in_use_bytes = 1 << 19;
  member.quota_bytes = 2 * kGib;
  return member;
}

// Three members, nothing wrong.
EtcdExamination Well() {
  EtcdExamination now;
  now.member_list.emplace();
  for (int n = 1; n <= 3; ++n) {
    now.members.push_back(Member(n));
    now.member_list->push_back({static_cast<uint64_t>(n), "e" + std::to_string(n), {}, {}, false});
  }
  now.history = EtcdHistory{5000, 1000};
  return now;
}

// The only finding, which is as degraded as told and holds all these words.
void ExpectOnly(const EtcdExamination& now, bool degraded, const std::vector<std::string>& words) {
  const auto findings = JudgeEtcd(now);
  ASSERT_EQ(findings.size(), 1u) << (findings.empty() ? "nothing was found" : findings[1].text);
  EXPECT_EQ(findings[0].degraded, degraded) << findings[0].text;
  for (const std::string& word : words)
    EXPECT_NE(findings[0].text.find(word), std::string::npos) << word << " in: " << findings[0].text;
}

TEST(EtcdHealthTest, NothingIsFoundWhereAllIsWell) { EXPECT_TRUE(JudgeEtcd(Well()).empty()); }

TEST(EtcdHealthTest, AMemberThatIsAwayIsAWarningAllOfThemAreNot) {
  EtcdExamination now = Well();
  now.members[1].reached = Status(ErrorCode::kServiceUnavailable, "connection refused");
  ExpectOnly(now, false, {"1 of 3", "http://e2:2379", "connection refused"});
  for (auto& member : now.members) member.reached = Status(ErrorCode::kServiceUnavailable, "connection refused");
  now.member_list.reset();
  now.history.reset();
  ExpectOnly(now, true, {"3 of 3", "metadata can't be changed"});
}

// Where etcd has authentication, and the user no more than it needs.
TEST(EtcdHealthTest, AStatusThatIsWithheldIsNoFault) {
  EtcdExamination now = Well();
  for (auto& member : now.members) {
    EtcdMemberStatus known;
    known.endpoint = member.endpoint;
    known.withheld = true;
    known.cluster_id = member.cluster_id;
    known.member_id = member.member_id;
    member = known;
  }
  ExpectOnly(now, false, {"role root"});
  for (auto& member : now.members) member.quota_exceeded = true;
  const auto findings = JudgeEtcd(now);
  ASSERT_EQ(findings.size(), 2u);
  EXPECT_TRUE(findings[0].degraded && findings[0].text.find("NOSPACE") != std::string::npos) << findings[0].text;
}

TEST(EtcdHealthTest, WithoutALeaderItIsDegraded) {
  EtcdExamination now = Well();
  now.members[2].leader_id = 0;
  now.members[2].errors = {"etcdserver: no leader"};
  ExpectOnly(now, true, {"http://e3:2379", "no quorum"});
}

TEST(EtcdHealthTest, AnOldVersionIsNamed) {
  EtcdExamination now = Well();
  now.members[0].version = "3.3.25";
  ExpectOnly(now, true, {"3.3.25", "3.4 or later"});
}

TEST(EtcdHealthTest, MembersOfDifferentClustersAreNamed) {
  EtcdExamination now = Well();
  now.members[1].cluster_id = 0xabc;
  ExpectOnly(now, true, {"different clusters", "http://e1:2379", "http://e2:2379", "abc"});
}

TEST(EtcdHealthTest, NoSpaceTellsTheQuotaAndWhatToDoOnce) {
  EtcdExamination now = Well();
  for (auto& member : now.members) {
    member.quota_exceeded = true;
    member.errors = {"memberID:1 alarm:NOSPACE "};
    member.db_bytes = 2 * kGib;
  }
  ExpectOnly(now, true, {"out of space", "NOSPACE", "quota of 2.0 GiB", "512.0 KiB", "saker ctl etcd defrag"});
}

TEST(EtcdHealthTest, CorruptionIsNamed) {
  EtcdExamination now = Well();
  now.members[1].errors = {"memberID:2 alarm:CORRUPT "};
  ExpectOnly(now, true, {"CORRUPT", "http://e2:2379"});
}

TEST(EtcdHealthTest, WarnsBeforeTheQuotaIsReached) {
  EtcdExamination now = Well();
  now.members[0].db_bytes = static_cast<int64_t>(1.6 * kGib) - 1;
  EXPECT_TRUE(JudgeEtcd(now).empty());
  now.members[0].db_bytes = static_cast<int64_t>(1.7 * kGib);
  ExpectOnly(now, false, {"1.7 GiB", "2.0 GiB", "defrag"});
  now.members[0].db_in_use_bytes = static_cast<int64_t>(1.65 * kGib);
  ExpectOnly(now, false, {"raise --quota-backend-bytes"});
  // etcd before 3.6 doesn't tell its quota.
  now.members[0].version = "3.5.9";
  now.members[0].quota_bytes = 0;
  ExpectOnly(now, false, {"2.0 GiB (the default"});
}

TEST(EtcdHealthTest, WithoutAQuotaNoneIsReached) {
  EtcdExamination now = Well();
  now.members[0].quota_bytes = -1;  // --quota-backend-bytes=-1
  now.members[0].db_bytes = 10 * kGib;
  EXPECT_TRUE(JudgeEtcd(now).empty());
}

TEST(EtcdHealthTest, FewMembersAreAWarning) {
  EtcdExamination now = Well();
  now.members.resize(1);
  ExpectOnly(now, false, {"3 members", "names 1"});
  now.member_list->resize(1);
  ExpectOnly(now, false, {"1 voting member:", "run 3"});
}

TEST(EtcdHealthTest, HistoryThatIsNeverCompactedIsAWarning) {
  EtcdExamination now = Well();
  now.history = EtcdHistory{30'000, 0};
  EXPECT_TRUE(JudgeEtcd(now).empty());
  now.uncompacted_for = std::chrono::hours(3);
  ExpectOnly(now, false, {"30000 revisions", "3 h", "--auto-compaction-mode"});
  now.uncompacted_for = {};
  now.history = EtcdHistory{500'000, 300'000};
  ExpectOnly(now, false, {"200000 revisions"});
}

TEST(EtcdHealthTest, WhatIsDegradedComesFirst) {
  EtcdExamination now = Well();
  now.member_list->resize(2);
  now.members.resize(2);
  now.members[1].version = "3.2.1";
  const auto findings = JudgeEtcd(now);
  ASSERT_EQ(findings.size(), 2u);
  EXPECT_TRUE(findings[0].degraded);
  EXPECT_FALSE(findings[1].degraded);
}

}  // namespace
}  // namespace saker
