// EtcdStore over real servers: the contract, what is special about it, TLS, authentication, quota and administration.
// How it fares when etcd fails: etcd_faults_test.cc.
#include "meta/etcd_store.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <random>

#include "base/clock.h"
#include "meta/etcd_admin.h"
#include "meta/etcd_fixture.h"
#include "meta/generation_store.h"
#include "meta/meta_store_contract.h"
#include "meta/recipes_store.h"

namespace saker {

using std::chrono::milliseconds;
using std::chrono::seconds;

EtcdServer* SharedEtcd(const std::string& version) {
  static std::map<std::string, std::unique_ptr<EtcdServer>> servers;
  if (!EtcdServer::Installed(version)) return nullptr;
  auto& server = servers[version];
  if (server == nullptr) {
    EtcdServerOptions options;
    options.version = version;
    server = std::make_unique<EtcdServer>(options);
  }
  return server.get();
}

std::string FreshRoot() {
  static std::mt19937_64 random{std::random_device{}()};
  return "test-" + std::to_string(random());
}

EtcdStoreSettings SettingsOf(const EtcdServer& server, const std::string& root) {
  EtcdStoreSettings settings;
  settings.endpoints = server.endpoints();
  settings.root = root;
  return settings;
}

std::unique_ptr<MetaStore> OpenOk(const EtcdStoreSettings& settings) {
  auto store = OpenEtcdStore(settings);
  EXPECT_TRUE(store.ok()) << store.status().ToString();
  return store.ok() ? std::move(*store) : nullptr;
}

std::unique_ptr<MetaStore> OpenStoreForRecipes(const std::string&) {
  EtcdServer* server = SharedEtcd("3.6");
  return server == nullptr ? nullptr : OpenOk(SettingsOf(*server));
}

namespace {

MakeMetaStore MakerOn(const std::string& version) {
  return [version]() -> std::unique_ptr<MetaStore> {
    EtcdServer* server = SharedEtcd(version);
    if (server != nullptr) return OpenOk(SettingsOf(*server));
    [] { GTEST_SKIP() << kEtcdMissing; }();
    return nullptr;
  };
}

INSTANTIATE_TEST_SUITE_P(Etcd, MetaStoreContract, testing::Values(MakerOn("3.4"), MakerOn("3.6")),
                         [](const auto& info) { return info.index == 0 ? "V34" : "V36"; });

std::unique_ptr<MetaStore> GenerationsOnEtcd() {
  EtcdServer* server = SharedEtcd("3.6");
  if (server == nullptr) {
    [] { GTEST_SKIP() << kEtcdMissing; }();
    return nullptr;
  }
  GenerationStoreSettings settings;
  settings.open = [etcd = SettingsOf(*server)] { return OpenEtcdStore(etcd); };
  settings.rebuild = [](const GenerationStoreSettings::Under&, int64_t above) { return above + 1; };
  auto store = std::move(*GenerationStore::Open(settings));
  for (int i = 0; i < 2000 && !store->CurrentRevision().ok(); ++i) std::this_thread::sleep_for(milliseconds(5));
  EXPECT_TRUE(store->Ready().ok()) << store->Ready().message();
  return store;
}

INSTANTIATE_TEST_SUITE_P(Generations, MetaStoreContract, testing::Values(GenerationsOnEtcd), [](const auto&) { return "OnEtcd"; });

class EtcdStoreOn : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    server_ = SharedEtcd(GetParam());
    if (server_ == nullptr) GTEST_SKIP() << kEtcdMissing;
    settings_ = SettingsOf(*server_);
    store_ = OpenOk(settings_);
  }
  Revision Put(const std::string& key, const std::string& value) {
    const auto revision = store_->Commit({}, {MetaOp::Put(key, value)});
    EXPECT_TRUE(revision.ok()) << revision.status().ToString();
    return revision.ok() ? *revision : 0;
  }

  EtcdServer* server_ = nullptr;
  EtcdStoreSettings settings_;
  std::unique_ptr<MetaStore> store_;
};
INSTANTIATE_TEST_SUITE_P(Etcd, EtcdStoreOn, testing::Values("3.4", "3.6"),
                         [](const auto& info) { return info.index == 0 ? "V34" : "V36"; });

TEST_P(EtcdStoreOn, KeysLieUnderTheRootAndRootsAreApart) {
  Put("a", "mine");
  auto settings = settings_;
  settings.root += "x";
  const auto other = OpenOk(settings);
  EXPECT_EQ(other->Get("a").status().code(), ErrorCode::kIoKeyNotFound);
  ASSERT_TRUE(other->Commit({Compare::Absent("a")}, {MetaOp::Put("a", "theirs")}).ok());
  ASSERT_TRUE(store_->Commit({}, {MetaOp::DeletePrefix("")}).ok());
  EXPECT_EQ(other->Get("a")->value, "theirs");
  EXPECT_NE(server_->Ctl("get --print-value-only " + settings.root + "/a").find("theirs"), std::string::npos);
}

TEST_P(EtcdStoreOn, LargePrefixesAreReadInPagesAtOneRevision) {
  constexpr int kKeys = 3500;
  for (int i = 0; i < kKeys; i += 100) {
    std::vector<MetaOp> ops;
    for (int k = i; k < i + 100; ++k) ops.push_back(MetaOp::Put("p/" + std::to_string(100'000 + k), std::to_string(k)));
    ASSERT_TRUE(store_->Commit({}, ops).ok());
  }
  const Revision before = *store_->CurrentRevision();
  std::atomic<bool> done{false};
  // Each change moves the same number through all keys: a torn read would find two different ones.
  std::thread writer([&] {
    for (int round = 0; !done; ++round) {
      ASSERT_TRUE(store_
                      ->Commit({}, {MetaOp::Put("p/" + std::to_string(100'000), std::to_string(round)),
                                    MetaOp::Put("p/" + std::to_string(100'000 + kKeys - 1), std::to_string(round))})
                      .ok());
    }
  });
  for (int i = 0; i < 5; ++i) {
    const auto range = store_->Range("p/");
    ASSERT_TRUE(range.ok()) << range.status().ToString();
    ASSERT_EQ(range->kvs.size(), static_cast<size_t>(kKeys));
    if (range->revision > before) {
      EXPECT_EQ(range->kvs.front().value, range->kvs.back().value);
    }
    EXPECT_TRUE(std::is_sorted(range->kvs.begin(), range->kvs.end(), [](auto& a, auto& b) { return a.key < b.key; }));
  }
  done = true;
  writer.join();
  EXPECT_EQ(store_->Range("p/", before)->kvs.back().value, std::to_string(kKeys - 1));
}

TEST_P(EtcdStoreOn, LargeValuesAreReadAndWatched) {
  const std::string large(1 << 20, 'x');
  const Revision first = Put("l/00", large);
  for (int i = 1; i < 24; ++i) Put("l/" + std::to_string(10 + i), large);
  const auto range = store_->Range("l/");
  ASSERT_TRUE(range.ok()) << range.status().ToString();
  ASSERT_EQ(range->kvs.size(), 24u);
  for (const KeyValue& kv : range->kvs) EXPECT_EQ(kv.value, large);
  // Replayed by etcd in fragments: more than a message of its may hold.
  WatchRecorder recorder;
  const auto watch = store_->WatchPrefix("l/", first, recorder.Callback());
  ASSERT_TRUE(recorder.WaitForRevision(range->revision));
  const auto events = recorder.events();
  ASSERT_EQ(events.size(), 24u);
  for (const WatchEvent& event : events) EXPECT_EQ(event.kv.value.size(), large.size());
  ASSERT_TRUE(store_->Commit({}, {MetaOp::DeletePrefix("l/")}).ok());
}

TEST_P(EtcdStoreOn, TheLargestTransactionFitsIntoEtcds) {
  std::vector<MetaOp> ops;
  std::vector<Compare> compares;
  const std::string value((kMaxTxnBytes - 128 * 500) / 128, 'v');
  for (int i = 0; i < kMaxTxnOps; ++i) {
    const std::string key = "t/" + std::string(40, 'k') + std::to_string(100 + i);
    ops.push_back(MetaOp::Put(key, value));
    compares.push_back(Compare::Absent(key));
  }
  ASSERT_TRUE(store_->Commit(compares, ops).ok());
  // As full as the check lets pass: etcd may not refuse what it does.
  const size_t most = kMaxTxnBytes - 96 - 1;
  const auto full = store_->Commit({}, {MetaOp::Put("f", std::string(most, 'x'))});
  EXPECT_TRUE(full.ok()) << full.status().ToString();
  EXPECT_EQ(store_->Commit({}, {MetaOp::Put("f", std::string(most + 1, 'x'))}).status().code(),
            ErrorCode::kParameterInvalid);
  const auto conflict = store_->Commit(compares, {MetaOp::Put("x", "1")});
  EXPECT_EQ(conflict.status().code(), ErrorCode::kConflict);
  EXPECT_NE(conflict.status().message().find(compares[0].key), std::string::npos) << conflict.status().message();
}

TEST_P(EtcdStoreOn, AConflictNamesTheKey) {
  Put("a", "1");
  Put("b", "1");
  const auto number = store_->Commit({Compare::CreatedAt("none", 0), Compare::Absent("b")}, {MetaOp::Put("c", "1")});
  EXPECT_NE(number.status().message().find("\"b\""), std::string::npos) << number.status().message();
  const auto value =
      store_->Commit({{"a", Compare::Target::kValue, Compare::Op::kEqual, 0, "2"}}, {MetaOp::Put("c", "1")});
  EXPECT_EQ(value.status().code(), ErrorCode::kConflict);
  EXPECT_NE(value.status().message().find("\"a\""), std::string::npos) << value.status().message();
  EXPECT_EQ(store_->Commit({Compare::Absent("a")}, {}).status().code(), ErrorCode::kConflict)
      << "a check without a write";
}

// Revisions made outside of the root reach watches as soon as somebody holds one of them.
TEST_P(EtcdStoreOn, WatchesLearnOfRevisionsOutsideOfTheRoot) {
  Put("w/a", "0");
  WatchRecorder recorder;
  const auto watch = store_->WatchPrefix("w/", 0, recorder.Callback());
  ASSERT_TRUE(watch.ok());
  const auto elsewhere = OpenOk(SettingsOf(*server_));
  for (int round = 0; round < 3; ++round) {
    const Revision foreign = *elsewhere->Commit({}, {MetaOp::Put("x", "1")});
    const Revision now = *store_->CurrentRevision();
    EXPECT_GE(now, foreign);
    const Stopwatch waited;
    ASSERT_TRUE(recorder.WaitForRevision(now));
    EXPECT_LT(waited.elapsed_ms(), 2000);
  }
  EXPECT_THAT(recorder.events(), IsEmpty());
  const auto range = store_->Range("");
  ASSERT_EQ(range->kvs.size(), 1u) << "the store's own key is not shown";
  const auto nothing = store_->Commit({}, {MetaOp::Delete("nothing")});
  EXPECT_TRUE(recorder.WaitForRevision(*nothing));
}

TEST_P(EtcdStoreOn, WatchesJoinAndLeaveAtAnyRevision) {
  std::vector<Revision> made;
  for (int i = 0; i < 400; ++i) made.push_back(Put("w/" + std::to_string(i % 5), std::to_string(i)));
  std::mt19937 random(7);
  std::vector<std::unique_ptr<WatchRecorder>> recorders;
  std::vector<std::unique_ptr<Watch>> watches;
  std::vector<size_t> starts;
  for (int i = 0; i < 12; ++i) {
    starts.push_back(random() % made.size());
    recorders.push_back(std::make_unique<WatchRecorder>());
    auto watch = store_->WatchPrefix("w/", made[starts.back()], recorders.back()->Callback());
    ASSERT_TRUE(watch.ok());
    watches.push_back(std::move(*watch));
    if (i % 4 == 3) made.push_back(Put("w/x", "later"));
  }
  for (size_t i = 0; i < recorders.size(); ++i) {
    ASSERT_TRUE(recorders[i]->WaitForRevision(made.back()));
    const auto events = recorders[i]->events();
    ASSERT_EQ(events.size(), made.size() - starts[i]) << "watch " << i;
    for (size_t e = 0; e < events.size(); ++e) EXPECT_EQ(events[e].kv.mod_revision, made[starts[i] + e]);
  }
}

TEST_P(EtcdStoreOn, ALeaseThatIsNotKeptAliveEnds) {
  const auto lease = store_->Grant(seconds(2));
  ASSERT_TRUE(lease.ok());
  WatchRecorder recorder;
  const auto watch = store_->WatchPrefix("l/", 0, recorder.Callback());
  ASSERT_TRUE(store_->Commit({}, {MetaOp::Put("l/a", "1", *lease)}).ok());
  const Stopwatch since;
  while (since.elapsed_ms() < 3000) {
    ASSERT_TRUE(store_->KeepAlive(*lease).ok());
    std::this_thread::sleep_for(milliseconds(300));
  }
  EXPECT_TRUE(store_->Get("l/a").ok());
  for (const Stopwatch waited; waited.elapsed_ms() < 10'000 && recorder.events().size() < 2;) {
    std::this_thread::sleep_for(milliseconds(20));
  }
  EXPECT_THAT(recorder.story(), ElementsAre("+l/a=1", "-l/a"));
  EXPECT_EQ(store_->KeepAlive(*lease).code(), ErrorCode::kIoKeyNotFound);
  EXPECT_EQ(store_->Grant(seconds(0)).status().code(), ErrorCode::kParameterInvalid);
}

// ---- settings

TEST(EtcdSettings, WhatCanNeverWorkIsRefusedAtOnce) {
  const auto code = [](const std::function<void(EtcdStoreSettings&)>& change) {
    EtcdStoreSettings settings;
    settings.endpoints = {"127.0.0.1:2379"};
    change(settings);
    return OpenEtcdStore(settings).status().code();
  };
  EXPECT_EQ(code([](auto&) {}), ErrorCode::kOk) << "etcd need not be there";
  EXPECT_EQ(code([](auto& s) { s.endpoints = {}; }), ErrorCode::kParameterInvalid);
  EXPECT_EQ(code([](auto& s) { s.endpoints = {"ftp://etcd:2379"}; }), ErrorCode::kParameterInvalid);
  EXPECT_EQ(code([](auto& s) { s.endpoints = {"etcd"}; }), ErrorCode::kParameterInvalid);
  EXPECT_EQ(code([](auto& s) { s.root = ""; }), ErrorCode::kParameterInvalid);
  EXPECT_EQ(code([](auto& s) { s.root = std::string(65, 'r'); }), ErrorCode::kParameterInvalid);
  EXPECT_EQ(code([](auto& s) { s.ca_file = "/no/such/file"; }), ErrorCode::kIoFailed);
  EXPECT_EQ(code([](auto& s) { s.cert_file = "/no/such/file"; }), ErrorCode::kParameterInvalid);
  EXPECT_EQ(code([](auto& s) { s.password = "without a user"; }), ErrorCode::kParameterInvalid);
  EXPECT_EQ(code([](auto& s) { s.request_timeout = milliseconds(1); }), ErrorCode::kParameterInvalid);
}

// ---- TLS, users, quota, administration: servers of their own

class EtcdAlone : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!EtcdServer::Installed(GetParam())) GTEST_SKIP() << kEtcdMissing;
    options_.version = GetParam();
  }
  EtcdServerOptions options_;
};
INSTANTIATE_TEST_SUITE_P(Etcd, EtcdAlone, testing::Values("3.4", "3.6"),
                         [](const auto& info) { return info.index == 0 ? "V34" : "V36"; });

TEST_P(EtcdAlone, TlsWithClientCertificates) {
  options_.tls = true;
  const EtcdServer server(options_);
  EtcdStoreSettings right = SettingsOf(server);
  right.ca_file = server.ca();
  right.cert_file = server.client_certificate();
  right.key_file = server.client_key();
  const auto answer = [](const EtcdStoreSettings& settings) { return OpenOk(settings)->CurrentRevision().status(); };
  EXPECT_TRUE(answer(right).ok()) << answer(right).ToString();
  right.request_timeout = milliseconds(700);

  EtcdStoreSettings wrong = right;
  wrong.ca_file = server.other_ca();
  const Status untrusted = answer(wrong);
  EXPECT_EQ(untrusted.code(), ErrorCode::kServiceUnavailable);
  EXPECT_NE(untrusted.message().find(server.endpoint()), std::string::npos);
  EXPECT_NE(untrusted.message().find("certificate verify failed"), std::string::npos) << untrusted.message();

  wrong = right;
  wrong.cert_file = wrong.key_file = "";
  EXPECT_EQ(answer(wrong).code(), ErrorCode::kServiceUnavailable) << "without a certificate of ours";
  wrong.cert_file = server.other_client_certificate();
  wrong.key_file = server.other_client_key();
  EXPECT_EQ(answer(wrong).code(), ErrorCode::kServiceUnavailable) << "with one of an unknown authority";

  wrong = right;
  wrong.server_name = "etcd.test";
  EXPECT_TRUE(answer(wrong).ok()) << "another name of the server's certificate";
  wrong.server_name = "somebody.else";
  EXPECT_EQ(answer(wrong).code(), ErrorCode::kServiceUnavailable);
}

TEST_P(EtcdAlone, UsersAndPasswords) {
  options_.flags = {"--auth-token-ttl=1"};
  const EtcdServer server(options_);
  EtcdStoreSettings settings = SettingsOf(server, "mine");
  settings.username = "keeper";
  settings.password = "secret";
  const auto store = OpenOk(settings);
  EXPECT_TRUE(store->CurrentRevision().ok()) << "etcd without authentication takes everybody";
  server.EnableAuth("keeper", "secret", "mine");
  ASSERT_TRUE(store->Commit({}, {MetaOp::Put("a", "1")}).ok()) << "authentication was switched on under way";
  WatchRecorder recorder;
  const auto watch = store->WatchPrefix("", 0, recorder.Callback());
  ASSERT_TRUE(watch.ok()) << watch.status().ToString();
  std::this_thread::sleep_for(milliseconds(2500));  // the token's time is over
  const auto later = store->Commit({}, {MetaOp::Put("a", "2")});
  ASSERT_TRUE(later.ok()) << later.status().ToString();
  EXPECT_TRUE(recorder.WaitForRevision(*later));
  EXPECT_THAT(recorder.story(), ElementsAre("+a=2"));
  const auto lease = store->Grant(seconds(5));
  ASSERT_TRUE(lease.ok()) << lease.status().ToString();
  EXPECT_TRUE(store->KeepAlive(*lease).ok());

  EtcdStoreSettings wrong = settings;
  wrong.password = "guess";
  const Status refused = OpenOk(wrong)->CurrentRevision().status();
  EXPECT_EQ(refused.code(), ErrorCode::kServiceInternal);
  EXPECT_NE(refused.message().find("keeper"), std::string::npos) << refused.message();
  wrong.username = wrong.password = "";
  const Status nobody = OpenOk(wrong)->CurrentRevision().status();
  EXPECT_EQ(nobody.code(), ErrorCode::kServiceInternal);
  EXPECT_NE(nobody.message().find("demands authentication"), std::string::npos) << nobody.message();
  wrong = settings;
  wrong.root = "another";
  const Status outside = OpenOk(wrong)->Commit({}, {MetaOp::Put("a", "1")}).status();
  EXPECT_EQ(outside.code(), ErrorCode::kServiceInternal);
  EXPECT_NE(outside.message().find("permission"), std::string::npos) << outside.message();

  server.SetPassword("keeper", "changed");
  EXPECT_EQ(store->CurrentRevision().status().code(), ErrorCode::kServiceInternal);
  server.SetPassword("keeper", "secret");
  EXPECT_TRUE(store->CurrentRevision().ok()) << "put right at etcd's side, it works again by itself";
  const auto again = store->Commit({}, {MetaOp::Put("a", "3")});
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_TRUE(recorder.WaitForRevision(*again));
  EXPECT_THAT(recorder.story(), ElementsAre("+a=2", "+a=3"));
}

TEST_P(EtcdAlone, AFullEtcdRefusesWritesUntilSpaceIsMade) {
  options_.quota_bytes = 16 << 20;
  const EtcdServer server(options_);
  const auto store = OpenOk(SettingsOf(server));
  const auto admin = std::move(*OpenEtcdAdmin(SettingsOf(server)));
  const std::string value(1 << 20, 'x');
  Status full;
  for (int i = 0; i < 60 && full.ok(); ++i) full = store->Commit({}, {MetaOp::Put("k", value)}).status();
  EXPECT_EQ(full.code(), ErrorCode::kDiskLimitExceeded) << full.ToString();
  EXPECT_NE(full.message().find("NOSPACE"), std::string::npos) << full.message();
  EXPECT_TRUE(full.retriable());
  EXPECT_TRUE(store->Get("k").ok()) << "reads go on";
  EXPECT_EQ(store->Commit({}, {MetaOp::Put("small", "1")}).status().code(), ErrorCode::kDiskLimitExceeded);
  EXPECT_TRUE(store->Grant(seconds(5)).ok() ||
              store->Grant(seconds(5)).status().code() == ErrorCode::kDiskLimitExceeded);
  EXPECT_TRUE(admin->Members()[0].quota_exceeded);
  auto alarms = admin->Alarms();
  ASSERT_TRUE(alarms.ok());
  ASSERT_EQ(alarms->size(), 1u);
  EXPECT_EQ((*alarms)[0].kind, EtcdAlarm::Kind::kNoSpace);

  const int64_t before = admin->Members()[0].db_bytes;
  ASSERT_TRUE(admin->Compact(0, seconds(20)).ok());
  const Status defragmented = admin->Defragment(server.endpoint(), seconds(20));
  ASSERT_TRUE(defragmented.ok()) << defragmented.ToString();
  EXPECT_LT(admin->Members()[0].db_bytes, before / 2);
  ASSERT_TRUE(admin->Disarm((*alarms)[0]).ok());
  EXPECT_TRUE(admin->Alarms()->empty());
  EXPECT_TRUE(store->Commit({}, {MetaOp::Put("small", "1")}).ok());
  EXPECT_EQ(store->Get("k")->value, value);
}

TEST_P(EtcdAlone, AdministrationTellsAndSnapshots) {
  options_.quota_bytes = 64 << 20;
  const EtcdServer server(options_);
  auto settings = SettingsOf(server);
  const auto store = OpenOk(settings);
  for (int i = 0; i < 50; ++i)
    ASSERT_TRUE(store->Commit({}, {MetaOp::Put("k" + std::to_string(i), std::string(10'000, 'v'))}).ok());
  const auto admin = std::move(*OpenEtcdAdmin(settings));
  auto members = admin->Members();
  ASSERT_EQ(members.size(), 1u);
  // etcd writes to its file every 100 ms.
  for (int i = 0; i < 100 && members[0].db_bytes < 500'000; ++i) {
    std::this_thread::sleep_for(milliseconds(50));
    members = admin->Members();
  }
  ASSERT_TRUE(members[0].reached.ok()) << members[0].reached.ToString();
  EXPECT_TRUE(members[0].version.starts_with(GetParam())) << members[0].version;
  EXPECT_TRUE(members[0].is_leader());
  EXPECT_FALSE(members[0].quota_exceeded);
  EXPECT_GE(members[0].db_bytes, 500'000);
  EXPECT_GE(members[0].db_bytes, members[0].db_in_use_bytes);
  EXPECT_GT(members[0].raft_index, 50u);
  EXPECT_EQ(members[0].quota_bytes, GetParam() == "3.4" ? 0 : options_.quota_bytes);
  const auto list = admin->MemberList();
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->size(), 1u);
  EXPECT_EQ((*list)[0].id, members[0].member_id);
  EXPECT_EQ((*list)[0].client_urls, server.endpoints());
  EXPECT_TRUE(admin->Alarms()->empty());

  auto history = admin->History();
  ASSERT_TRUE(history.ok()) << history.status().ToString();
  EXPECT_EQ(history->revision, *store->CurrentRevision());
  EXPECT_EQ(history->compacted, 0);
  ASSERT_TRUE(admin->Compact(20, seconds(5)).ok());
  history = admin->History();
  ASSERT_TRUE(history.ok()) << history.status().ToString();
  EXPECT_EQ(history->compacted, 20);
  EXPECT_EQ(admin->Members()[0].revision, history->revision);

  const std::string file = server.Path("snapshot");
  std::ofstream out(file, std::ios::binary);
  const auto bytes = admin->Snapshot(server.endpoint(), seconds(5), [&](std::string_view piece) {
    out.write(piece.data(), static_cast<std::streamsize>(piece.size()));
    return Status();
  });
  out.close();
  ASSERT_TRUE(bytes.ok()) << bytes.status().ToString();
  EXPECT_EQ(std::filesystem::file_size(file), static_cast<uintmax_t>(*bytes));
  EXPECT_EQ(*bytes % 512, 32);
  // etcd's own tool takes it.
  const std::string utl = ServerProgram("etcdutl-3.6");
  if (!utl.empty()) {
    EXPECT_EQ(
        std::system((utl + " snapshot restore " + file + " --data-dir " + server.Path("restored") + " >/dev/null 2>&1")
                        .c_str()),
        0);
  }
  const auto broken = admin->Snapshot(
      server.endpoint(), seconds(5), [](std::string_view) { return Status(ErrorCode::kIoFailed, "the disk is full"); });
  EXPECT_EQ(broken.status().code(), ErrorCode::kIoFailed);
  EXPECT_EQ(admin->Defragment("http://127.0.0.1:1", seconds(1)).code(), ErrorCode::kParameterInvalid);
}

}  // namespace
}  // namespace saker
