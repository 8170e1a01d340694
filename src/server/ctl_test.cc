// `saker ctl` against real servers (tests/servers/install.sh etcd s3): what it says and does, as an operator meets it.
#include "server/ctl.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/clock.h"
#include "catalog/catalog_writer.h"
#include "catalog/recovery.h"
#include "meta/generation_store.h"
#include "meta/keys.h"
#include "server/etcd_monitor.h"
#include "server/etcd_snapshots.h"
#include "servers/etcd_server.h"
#include "servers/s3_server.h"

namespace saker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kRoot = "ctl";

template <typename Predicate>
bool Eventually(Predicate done, seconds limit = seconds(20)) {
  const Stopwatch since;
  while (since.elapsed_ms() < milliseconds(limit).count()) {
    if (done()) return true;
    std::this_thread::sleep_for(milliseconds(20));
  }
  return false;
}

bool Has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

struct Said {
  int code = 0;
  std::string out;
  std::string error;
};

Said Ctl(const CtlArguments& arguments, const Environment& environment = {}) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Said said;
  said.code = RunCtl(arguments, environment);
  std::fflush(stdout);
  said.out = testing::internal::GetCapturedStdout();
  said.error = testing::internal::GetCapturedStderr();
  return said;
}

TEST(CtlUsage, TellsWhatThereIs) {
  const Said help = Ctl({"--help"});
  EXPECT_EQ(help.code, kCtlOk);
  for (const char* command :
       {"etcd status", "etcd defrag", "etcd snapshot", "etcd restore", "--endpoints", "--config"}) {
    EXPECT_TRUE(Has(help.out, command)) << command;
  }
  EXPECT_EQ(Ctl({}).code, kCtlUsage);
}

TEST(CtlUsage, WrongCommandLinesAreNamed) {
  const struct {
    CtlArguments arguments;
    const char* says;
  } cases[] = {
      {{"etcd", "sttus"}, "'etcd sttus'"},
      {{"etcd"}, "'etcd'"},
      {{"etcd", "status"}, "where is etcd"},
      {{"etcd", "status", "more", "--endpoints", "127.0.0.1:1"}, "'more'"},
      {{"etcd", "status", "--fast", "--endpoints=127.0.0.1:1"}, "--fast"},
      {{"etcd", "status", "--endpoints"}, "--endpoints wants a value"},
      {{"etcd", "status", "--user", "root"}, "NAME:PASSWORD"},
      {{"etcd", "status", "--endpoints", "nonsense"}, "nonsense"},
      {{"etcd", "status", "--endpoints", "127.0.0.1:1", "--cacert", "/nowhere.pem"}, "/nowhere.pem"},
      {{"etcd", "status", "--config", "/nowhere.yaml"}, "/nowhere.yaml"},
      {{"etcd", "defrag", "--timeout", "soon", "--endpoints", "127.0.0.1:1"}, "'soon'"},
      {{"etcd", "restore", "--member", "e1"}, "--data-dir"},
  };
  for (const auto& one : cases) {
    const Said said = Ctl(one.arguments);
    EXPECT_EQ(said.code, kCtlUsage) << said.error;
    EXPECT_TRUE(Has(said.error, one.says)) << said.error;
  }
}

TEST(EtcdSnapshotFormat, SurvivesItsEncoding) {
  EtcdSnapshot s;
  s.name = "20261123T190000Z-00000000000000000012";
  s.data = "etcd/snapshot/20261123T190000Z-00000000000000000012/data-01234567";
  s.cluster = "0123";
  s.root = "a root with spaces";
  s.version = "3.6.5";
  s.endpoint = "http://e1:2379";
  s.etcd_cluster = 0xfedcba9876543210;
  s.revision = 12;
  s.bytes = 20512;
  s.sha256 = std::string(64, 'a');
  s.taken_unix_ms = 1'700'000'000'123;
  s.members = {{0, "e1", {"http://e1:2380"}, {"http://e1:2379", "http://e1:2399"}, false},
               {0, "", {"http://e2:2380"}, {}, false}};
  const auto back = DecodeEtcdSnapshot(Encode(s) + "later something new\n");
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_EQ(Encode(*back), Encode(s));
  EXPECT_EQ(back->root, s.root);
  EXPECT_EQ(back->etcd_cluster, s.etcd_cluster);
  ASSERT_EQ(back->members.size(), 2u);
  EXPECT_EQ(back->members[0].client_urls.size(), 2u);
  EXPECT_EQ(back->members[1].name, "");
  for (const char* damaged :
       {"", "nonsense", "saker etcd snapshot 1\nname x\n", "saker etcd snapshot 1\nbytes many\n"}) {
    EXPECT_EQ(DecodeEtcdSnapshot(damaged).status().code(), ErrorCode::kCorrupted) << damaged;
  }
}

class CtlEtcd : public testing::Test {
 protected:
  void SetUp() override {
    if (!EtcdServer::Installed("3.6") || ServerProgram("etcdutl-3.6").empty() ||
        !S3Server::Available(S3Kind::kVersityGw)) {
      GTEST_SKIP() << "the servers aren't installed: tests/servers/install.sh etcd s3";
    }
  }
  void Begin(EtcdServerOptions options = {}) {
    server_ = std::make_unique<EtcdServer>(options);
    settings_.endpoints = server_->endpoints();
    settings_.root = kRoot;
    if (options.tls) {
      settings_.ca_file = server_->ca();
      settings_.cert_file = server_->client_certificate();
      settings_.key_file = server_->client_key();
    }
    store_ = std::move(*OpenEtcdStore(settings_));
    ASSERT_TRUE(Eventually([&] { return store_->CurrentRevision().ok(); }));
  }
  void BeginObjects() {
    s3_ = std::make_unique<S3Server>(S3Kind::kVersityGw);
    S3StoreSettings settings;
    settings.endpoint = s3_->endpoint();
    settings.bucket = "ctl";
    settings.create_bucket = true;
    settings.access_key = s3_->access_key();
    settings.secret_key = s3_->secret_key();
    settings.cache_directory = directory_.path() + "/cache";
    objects_ = std::move(*OpenS3Store(settings));
  }
  // The configuration file of the cluster.
  std::string ConfigFile() const {
    const std::string path = directory_.path() + "/saker.yaml";
    std::ofstream out(path);
    std::string endpoints;
    for (const std::string& endpoint : settings_.endpoints) endpoints += (endpoints.empty() ? "" : ",") + endpoint;
    out << "etcd:\n  endpoints: " << endpoints << "\n  rootPath: " << kRoot << "\n";
    if (!settings_.ca_file.empty()) {
      out << "  ssl: {enabled: true, tlsCACert: " << settings_.ca_file << ", tlsCert: " << settings_.cert_file
          << ", tlsKey: " << settings_.key_file << "}\n";
    }
    if (s3_) {
      out << "minio: {address: 127.0.0.1, port: " << s3_->port() << ", accessKeyID: " << s3_->access_key()
          << ", secretAccessKey: " << s3_->secret_key() << ", bucketName: ctl}\n";
    }
    return path;
  }
  Said Etcd(CtlArguments arguments) {
    arguments.insert(arguments.begin(), "etcd");
    arguments.insert(arguments.end(), {"--config", ConfigFile()});
    return Ctl(arguments);
  }
  Status PutClusterId(const std::string& id) {
    RETURN_IF_ERROR(Put(kGenerationKey, "3"));
    return Put(GenerationPrefix(3) + std::string(kClusterIdKey), id);
  }
  Status Put(const std::string& key, const std::string& value) {
    return store_->Commit({}, {MetaOp::Put(key, value)}).status();
  }
  // Writes until etcd's quota is reached.
  void Fill() {
    const std::string value(1 << 20, 'x');
    Status status;
    for (int i = 0; i < 100 && status.ok(); ++i) status = Put("filler", value);
    ASSERT_EQ(status.code(), ErrorCode::kDiskLimitExceeded) << status.ToString();
  }

  TemporaryDirectory directory_;
  EtcdStoreSettings settings_;
  std::unique_ptr<EtcdServer> server_;
  std::unique_ptr<MetaStore> store_;
  std::unique_ptr<S3Server> s3_;
  std::unique_ptr<ObjectStore> objects_;
};

TEST_F(CtlEtcd, StatusOfAHealthyClusterWithTls) {
  EtcdServerOptions options;
  options.members = 3;
  options.tls = true;
  Begin(options);
  ASSERT_TRUE(Put("catalog/collection/1", "x").ok());
  ASSERT_TRUE(Put("catalog/collection/2", "y").ok());
  ASSERT_TRUE(Put("session/proxy/1", "z").ok());
  ASSERT_TRUE(Put("alone", "z").ok());
  Said said = Etcd({"status"});
  EXPECT_EQ(said.code, kCtlOk) << said.out << said.error;
  for (const std::string& endpoint : server_->endpoints()) EXPECT_TRUE(Has(said.out, endpoint)) << said.out;
  for (const char* word : {"version  3.6", "leader", "follower", "quota 2.0 GiB", "catalog/            2",
                           "alone               1", "session/            1", "etcd is well"}) {
    EXPECT_TRUE(Has(said.out, word)) << word << " in\n" << said.out;
  }
  server_->Kill(2);
  said = Etcd({"status"});
  EXPECT_EQ(said.code, kCtlOk) << "two of three do: " << said.out;
  EXPECT_TRUE(Has(said.out, "warning: 1 of 3 members of etcd can't be reached (" + server_->endpoint(2))) << said.out;
  server_->Kill(1);
  EXPECT_TRUE(Eventually([&] { return Etcd({"status"}).code == kCtlFailed; })) << "one of three has no quorum";
  said = Etcd({"status"});
  EXPECT_TRUE(Has(said.out, "no quorum")) << said.out;
}

TEST_F(CtlEtcd, OptionsOnTheCommandLineGoBeforeTheFile) {
  Begin();
  const Said said = Ctl({"etcd", "status", "--config", ConfigFile(), "--endpoints", "127.0.0.1:1"});
  EXPECT_EQ(said.code, kCtlFailed);
  EXPECT_TRUE(Has(said.out, "127.0.0.1:1")) << said.out;
  EXPECT_EQ(Ctl({"etcd", "status"}, {{"ETCD_ENDPOINTS", server_->endpoint()}}).code, kCtlOk);
}

TEST_F(CtlEtcd, EndpointsOfTwoClustersAreNamed) {
  Begin();
  const EtcdServer other;
  const Said said = Ctl({"etcd", "status", "--endpoints", server_->endpoint() + "," + other.endpoint()});
  EXPECT_EQ(said.code, kCtlFailed) << said.out;
  EXPECT_TRUE(Has(said.out, "different clusters")) << said.out;
}

TEST_F(CtlEtcd, WithAuthenticationTheUserDecides) {
  Begin();
  server_->EnableAuth("keeper", "secret", kRoot);
  const auto ctl = [&](CtlArguments arguments, const std::string& user) {
    arguments.insert(arguments.begin(), "etcd");
    arguments.insert(arguments.end(), {"--endpoints", server_->endpoint(), "--root", kRoot});
    if (!user.empty()) arguments.insert(arguments.end(), {"--user", user});
    return Ctl(arguments);
  };
  const std::string file = directory_.path() + "/copy.db";
  const Said well = ctl({"status"}, "keeper:secret");
  EXPECT_EQ(well.code, kCtlOk) << well.out << well.error;
  EXPECT_TRUE(Has(well.out, "role root")) << "it says what it can't know:\n" << well.out;
  EXPECT_FALSE(Has(ctl({"status"}, "root:rootpass").out, "role root"));
  EtcdStoreSettings settings = settings_;
  settings.username = "keeper";
  settings.password = "secret";
  EXPECT_TRUE((*OpenEtcdAdmin(settings))->Alarms().ok()) << "told to everybody";
  for (const char* user : {"keeper:wrong", ""}) {
    const Said refused = ctl({"status"}, user);
    EXPECT_EQ(refused.code, kCtlFailed) << refused.out;
    EXPECT_TRUE(Has(refused.out + refused.error, "user name")) << refused.out << refused.error;
  }
  const Said snapshot = ctl({"snapshot", file}, "keeper:secret");
  EXPECT_EQ(snapshot.code, kCtlFailed) << "it needs etcd's role root";
  EXPECT_TRUE(Has(snapshot.error, "permission denied")) << snapshot.error;
  EXPECT_FALSE(std::filesystem::exists(file));
  EXPECT_EQ(ctl({"snapshot", file}, "root:rootpass").code, kCtlOk);
  EXPECT_EQ(ctl({"defrag"}, "root:rootpass").code, kCtlOk);
}

TEST_F(CtlEtcd, AFullEtcdIsNamedAndDefragMakesItWriteAgain) {
  EtcdServerOptions options;
  options.members = 3;
  options.quota_bytes = 16 << 20;
  Begin(options);
  ThreadPool pool("ctl", 2);
  Timer timer(&pool);
  {
    EtcdMonitor monitor(std::move(*OpenEtcdAdmin(settings_)), &pool, &timer);
    const auto findings = [&] {
      std::atomic<bool> done{false};
      monitor.Refresh(seconds(5), [&] { done = true; });
      EXPECT_TRUE(Eventually([&] { return done.load(); }));
      return monitor.findings();
    };
    EXPECT_TRUE(findings().empty());
    Fill();
    ASSERT_TRUE(Eventually([&] { return !findings().empty(); }));
    const auto full = findings();
    EXPECT_TRUE(full[0].degraded);
    EXPECT_TRUE(Has(full[0].text, "NOSPACE") && Has(full[0].text, "quota of 16.0 MiB") &&
                Has(full[0].text, "saker ctl etcd defrag"))
        << full[0].text;
    Said said = Etcd({"status"});
    EXPECT_EQ(said.code, kCtlFailed);
    EXPECT_TRUE(Has(said.out, "out of space")) << said.out;

    said = Etcd({"defrag"});
    EXPECT_EQ(said.code, kCtlOk) << said.out << said.error;
    EXPECT_TRUE(Has(said.out, "compacted history")) << said.out;
    EXPECT_TRUE(Has(said.out, "disarmed the alarm NOSPACE")) << said.out;
    // The leader comes last.
    const size_t leader = said.out.find("(leader)");
    ASSERT_NE(leader, std::string::npos) << said.out;
    for (const std::string& endpoint : server_->endpoints()) {
      ASSERT_TRUE(Has(said.out, endpoint)) << said.out;
      EXPECT_LT(said.out.find(endpoint), leader) << said.out;
    }
    EXPECT_TRUE(Put("again", "1").ok());
    EXPECT_TRUE(Eventually([&] { return findings().empty(); })) << "health recovers by itself";
  }
  EXPECT_EQ(Etcd({"status"}).code, kCtlOk);
  timer.Stop();
  pool.Stop();
}

TEST_F(CtlEtcd, DefragLeavesEtcdAloneWhileAMemberIsAway) {
  EtcdServerOptions options;
  options.members = 3;
  Begin(options);
  server_->Kill(1);
  const Said said = Etcd({"defrag"});
  EXPECT_EQ(said.code, kCtlFailed);
  EXPECT_TRUE(Has(said.error, "a member is away")) << said.error;
  EXPECT_TRUE(Has(said.error, server_->endpoint(1))) << said.error;
}

TEST_F(CtlEtcd, SnapshotsAreKeptInTheObjectStoreAndPruned) {
  Begin();
  BeginObjects();
  ASSERT_TRUE(objects_->PutIfAbsent("cluster/id", "c1").ok());
  ASSERT_TRUE(PutClusterId("c1").ok());
  std::vector<std::string> names;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Put("k", std::to_string(i)).ok());
    const Said said = Etcd({"snapshot", "--keep", "2"});
    ASSERT_EQ(said.code, kCtlOk) << said.error;
    EXPECT_TRUE(Has(said.out, "cluster c1")) << said.out;
    names.push_back(said.out.substr(said.out.find("20"), 16 + 1 + 20));
    std::this_thread::sleep_for(milliseconds(1100));  // names are of a second
  }
  const auto kept = ListEtcdSnapshots(objects_.get());
  ASSERT_TRUE(kept.ok());
  ASSERT_EQ(kept->size(), 2u);
  EXPECT_EQ(kept->front().cluster, "c1");
  EXPECT_EQ(kept->front().root, kRoot);
  ASSERT_EQ(kept->front().members.size(), 1u);
  EXPECT_EQ(kept->front().members[0].name, "m0");
  EXPECT_GE(kept->back().revision, *store_->CurrentRevision());
  EXPECT_EQ(objects_->List("etcd/snapshot/")->size(), 4u) << "an object for the data, one for what is known of it";
  const Said list = Etcd({"snapshots"});
  EXPECT_EQ(std::count(list.out.begin(), list.out.end(), '\n'), 2) << list.out;

  // Stores of different clusters are not mixed.
  ASSERT_TRUE(PutClusterId("c2").ok());
  const Said mixed = Etcd({"snapshot"});
  EXPECT_EQ(mixed.code, kCtlFailed);
  EXPECT_TRUE(Has(mixed.error, "c1") && Has(mixed.error, "c2")) << mixed.error;
}

TEST_F(CtlEtcd, ADamagedSnapshotIsNotRestored) {
  Begin();
  BeginObjects();
  ASSERT_EQ(Etcd({"snapshot"}).code, kCtlOk);
  const EtcdSnapshot snapshot = ListEtcdSnapshots(objects_.get())->back();
  std::string bytes = *objects_->Get(snapshot.data);
  bytes[bytes.size() / 2] ^= 1;
  ASSERT_TRUE(objects_->Put(snapshot.data, bytes).ok());
  const Said said = Etcd({"restore", "--to", directory_.path() + "/fetched.db"});
  EXPECT_EQ(said.code, kCtlFailed);
  EXPECT_TRUE(Has(said.error, "SHA-256")) << said.error;
  const Said missing = Etcd({"restore", "20200101T000000Z-00000000000000000001"});
  EXPECT_EQ(missing.code, kCtlFailed);
  EXPECT_TRUE(Has(missing.error, "20200101T000000Z")) << missing.error;
}

// The whole way: a copy, changes after it, etcd's data gone, the copy made a member again, what came later brought in
// from the object store's copies, as a process does at its start.
TEST_F(CtlEtcd, ARestoredEtcdIsBroughtUpToTheObjectStoresCopies) {
  Begin();
  BeginObjects();
  auto sequence = std::make_shared<CopiedSequence>(store_.get(), objects_.get(), kCatalogKeys);
  ASSERT_TRUE(sequence->Start().ok());
  const auto change = [&](const std::string& key, const std::string& value) {
    return sequence->Commit({}, {MetaOp::Put(std::string(kCatalogKeys.prefix) + key, value)}).status();
  };
  ASSERT_TRUE(change("user/before", "1").ok());
  ASSERT_TRUE(Put("channel/0", "owner").ok());
  Said said = Etcd({"snapshot"});
  ASSERT_EQ(said.code, kCtlOk) << said.error;
  ASSERT_TRUE(change("user/after", "2").ok());
  const Revision newest = *store_->CurrentRevision();
  const uint64_t cluster = OpenEtcdAdmin(settings_)->get()->Members()[0].cluster_id;
  sequence.reset();

  const std::string file = directory_.path() + "/fetched.db";
  said = Etcd({"restore", "--to", file});
  ASSERT_EQ(said.code, kCtlOk) << said.error;
  for (const char* word : {"etcdutl snapshot restore", "--name m0",
                           "--initial-cluster m0=http://127.0.0.1:", "--bump-revision", "Stop every process"}) {
    EXPECT_TRUE(Has(said.out, word)) << word << " in\n" << said.out;
  }
  server_->Wipe();
  said = Etcd({"restore", "--to", file, "--member", "m0", "--data-dir", server_->Path("data0"), "--etcdutl",
               ServerProgram("etcdutl-3.6")});
  ASSERT_EQ(said.code, kCtlOk) << said.out << said.error;
  server_->Start();

  const auto restored = std::move(*OpenEtcdStore(settings_));
  ASSERT_TRUE(Eventually([&] { return restored->CurrentRevision().ok(); }));
  EXPECT_GT(*restored->CurrentRevision(), newest) << "tokens, which are revisions, go on rising";
  EXPECT_NE(OpenEtcdAdmin(settings_)->get()->Members()[0].cluster_id, cluster);
  EXPECT_EQ(store_->CurrentRevision().status().code(), ErrorCode::kCorrupted)
      << "who still runs notices that the data went back";
  EXPECT_EQ(restored->Get("channel/0")->value, "owner");
  EXPECT_EQ(restored->Get("catalog/user/after").status().code(), ErrorCode::kIoKeyNotFound);
  ASSERT_TRUE(Recover(restored.get(), objects_.get()).ok());
  EXPECT_EQ(restored->Get("catalog/user/before")->value, "1");
  EXPECT_EQ(restored->Get("catalog/user/after")->value, "2");
}

TEST_F(CtlEtcd, ASnapshotInAFileIsRestoredToo) {
  Begin();
  ASSERT_TRUE(Put("k", "v").ok());
  const std::string file = directory_.path() + "/copy.db";
  Said said = Etcd({"snapshot", file});
  ASSERT_EQ(said.code, kCtlOk) << said.error;
  said = Etcd({"snapshot", file});
  EXPECT_EQ(said.code, kCtlFailed) << "nothing is replaced";
  EXPECT_TRUE(Has(said.error, file)) << said.error;
  server_->Wipe();
  said = Etcd({"restore", file, "--member", "other", "--data-dir", server_->Path("data0")});
  EXPECT_EQ(said.code, kCtlFailed);
  EXPECT_TRUE(Has(said.error, "no member other: it had m0")) << said.error;
  said = Etcd({"restore", file, "--member", "m0", "--data-dir", server_->Path("data0"), "--etcdutl", "/no/etcdutl"});
  EXPECT_EQ(said.code, kCtlFailed);
  EXPECT_TRUE(Has(said.error, "/no/etcdutl")) << said.error;
  EXPECT_TRUE(Has(said.out, "snapshot restore " + file)) << said.out;
  said = Etcd({"restore", file, "--member", "m0", "--data-dir", server_->Path("data0"), "--etcdutl",
               ServerProgram("etcdutl-3.6")});
  ASSERT_EQ(said.code, kCtlOk) << said.out << said.error;
  server_->Start();
  const auto restored = std::move(*OpenEtcdStore(settings_));
  ASSERT_TRUE(Eventually([&] { return restored->CurrentRevision().ok(); }));
  EXPECT_EQ(restored->Get("k")->value, "v");
}

TEST_F(CtlEtcd, SnapshotsAreTakenBySchedule) {
  Begin();
  const auto objects = std::move(*OpenDirectoryStore(directory_.path() + "/objects"));
  ThreadPool pool("ctl", 2);
  Timer timer(&pool);
  EtcdSnapshotSchedule::Options options;
  options.etcd = settings_;
  options.cluster = "c";
  options.interval = milliseconds(1200);
  options.keep = 2;
  options.retry = milliseconds(200);
  const auto count = [&] { return ListEtcdSnapshots(objects.get())->size(); };
  {
    EtcdSnapshotSchedule schedule(options, objects.get(), &pool, &timer);
    ASSERT_TRUE(Put("k", "1").ok());
    ASSERT_TRUE(Eventually([&] { return count() == 1; })) << "the first at once";
    const Stopwatch since;
    ASSERT_TRUE(Put("k", "2").ok());
    ASSERT_TRUE(Eventually([&] { return count() == 2; }));
    EXPECT_GT(since.elapsed_ms(), 500);
    const std::string oldest = ListEtcdSnapshots(objects.get())->front().name;
    ASSERT_TRUE(Put("k", "3").ok());
    ASSERT_TRUE(Eventually([&] { return ListEtcdSnapshots(objects.get())->front().name != oldest; }));
    EXPECT_EQ(count(), 2u) << "the oldest went";
    const std::string newest = ListEtcdSnapshots(objects.get())->back().name;
    std::this_thread::sleep_for(options.interval + milliseconds(500));
    EXPECT_EQ(ListEtcdSnapshots(objects.get())->back().name, newest) << "what hasn't changed isn't copied again";
    EXPECT_TRUE(schedule.Health().ok());

    server_->Kill();
    ASSERT_TRUE(Eventually([&] { return !schedule.Health().ok(); }));
    EXPECT_TRUE(Has(schedule.Health().message(), "failed") && Has(schedule.Health().message(), "h old"))
        << schedule.Health().message();
    server_->Start();
    EXPECT_TRUE(Eventually([&] { return schedule.Health().ok(); }));
  }
  // Another leader goes on with the schedule instead of beginning anew.
  options.interval = std::chrono::hours(1);
  const std::string newest = ListEtcdSnapshots(objects.get())->back().name;
  ASSERT_TRUE(Put("k", "4").ok());
  {
    EtcdSnapshotSchedule schedule(options, objects.get(), &pool, &timer);
    std::this_thread::sleep_for(milliseconds(800));
  }
  EXPECT_EQ(ListEtcdSnapshots(objects.get())->back().name, newest);
  timer.Stop();
  pool.Stop();
}

}  // namespace
}  // namespace saker
