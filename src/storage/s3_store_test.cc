// The S3 store against real servers, and against a proxy that misbehaves. tests/servers/install.sh s3 installs the
// servers.
#include "storage/s3_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <random>
#include <thread>

#include "base/clock.h"
#include "base/file.h"
#include "servers/s3_server.h"
#include "storage/faulty_proxy.h"
#include "storage/object_store_contract.h"
#include "storage/s3_bucket.h"

namespace saker {
namespace {

using std::chrono::milliseconds;

constexpr const char* kBucket = "saker-tests";

std::string RandomPrefix() {
  std::random_device random;
  return "t" + std::to_string(random()) + "/" + std::to_string(random());
}

std::string Pattern(size_t n, uint32_t seed = 1) {
  std::string out(n, '\0');
  uint64_t x = seed * 0x9e3779b97f4a7c15ull + 1;
  for (char& c : out) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    c = static_cast<char>(x);
  }
  return out;
}

// One server of a kind for the whole program: its tests use prefixes of their own.
S3Server& ServerOf(S3Kind kind) {
  static std::unique_ptr<S3Server> servers[2];
  auto& server = servers[static_cast<int>(kind)];
  if (!server) server = std::make_unique<S3Server>(kind);
  return *server;
}

S3StoreSettings SettingsFor(const S3Server& server, const std::string& cache_directory, const std::string& prefix) {
  S3StoreSettings settings;
  settings.endpoint = server.endpoint();
  settings.bucket = kBucket;
  settings.prefix = prefix;
  settings.access_key = server.access_key();
  settings.secret_key = server.secret_key();
  settings.create_bucket = true;
  settings.cache_directory = cache_directory;
  settings.connect_timeout = milliseconds(5000);  // the machine may be busy
  settings.request_timeout = milliseconds(20'000);
  settings.total_timeout = milliseconds(30'000);
  return settings;
}

class S3Fixture final : public ObjectStoreFixture {
 public:
  explicit S3Fixture(S3Kind kind)
      : settings_(SettingsFor(ServerOf(kind), directory_.path() + "/cache", RandomPrefix())) {
    Reopen();
  }
  ObjectStore& store() override { return *store_; }
  void Reopen() override {
    store_.reset();
    auto store = OpenS3Store(settings_);
    if (!store.ok()) throw std::runtime_error(store.status().ToString());
    store_ = std::move(store).value();
  }

 private:
  TemporaryDirectory directory_;
  const S3StoreSettings settings_;
  std::unique_ptr<ObjectStore> store_;
};

std::vector<ObjectStoreFactory> FactoriesOf(S3Kind kind) {
  if (!S3Server::Available(kind)) return {};
  return {[kind]() -> std::unique_ptr<ObjectStoreFixture> { return std::make_unique<S3Fixture>(kind); }};
}
INSTANTIATE_TEST_SUITE_P(VersityGw, ObjectStoreContract, testing::ValuesIn(FactoriesOf(S3Kind::kVersityGw)));
INSTANTIATE_TEST_SUITE_P(Minio, ObjectStoreContract, testing::ValuesIn(FactoriesOf(S3Kind::kMinio)));

class S3StoreTest : public testing::TestWithParam<S3Kind> {
 protected:
  void SetUp() override {
    if (!S3Server::Available(GetParam())) {
      GTEST_SKIP() << S3Server::ProgramName(GetParam())
                   << " isn't installed: tests/servers/install.sh s3 puts it there";
    }
  }

  S3Server& server() { return ServerOf(GetParam()); }
  S3StoreSettings Settings() { return SettingsFor(server(), directory_.path() + "/cache", prefix_); }
  std::unique_ptr<ObjectStore> Open(const S3StoreSettings& settings) {
    auto store = OpenS3Store(settings);
    if (!store.ok()) throw std::runtime_error(store.status().ToString());
    return std::move(store).value();
  }
  static std::string Content(ObjectStore& store, const std::string& name) {
    const auto got = store.Get(name);
    return got.ok() ? *got : got.status().ToString();
  }
  static void ExpectRefused(const S3StoreSettings& settings, ErrorCode code, const std::string& word) {
    const auto store = OpenS3Store(settings);
    ASSERT_FALSE(store.ok());
    EXPECT_EQ(store.status().code(), code) << store.status().ToString();
    EXPECT_NE(store.status().message().find(word), std::string::npos) << store.status().ToString();
    EXPECT_EQ(store.status().message().find(settings.secret_key), std::string::npos);
    std::printf("  %s\n", store.status().ToString().c_str());
  }

  TemporaryDirectory directory_;
  const std::string prefix_ = RandomPrefix();
};
std::string KindName(const testing::TestParamInfo<S3Kind>& info) {
  return info.param == S3Kind::kMinio ? "Minio" : "VersityGw";
}
INSTANTIATE_TEST_SUITE_P(Servers, S3StoreTest, testing::Values(S3Kind::kVersityGw, S3Kind::kMinio), KindName);

// ---- conditional writes

// Equal contents, too: only who put it is told so.
TEST_P(S3StoreTest, PutIfAbsentRacedBy16ThreadsHasOneWinner) {
  const auto first = Open(Settings());
  S3StoreSettings other = Settings();
  other.cache_directory += "-2";
  const auto second = Open(other);
  for (int round = 0; round < 8; ++round) {
    const std::string name = "race/" + std::to_string(round);
    std::atomic<int> winners{0};
    std::atomic<int> losers{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 16; ++t) {
      threads.emplace_back([&, t] {
        const Status put =
            (t % 2 == 0 ? first : second)->PutIfAbsent(name, round % 2 == 0 ? "same" : std::to_string(t));
        winners += put.ok();
        losers += put.code() == ErrorCode::kAlreadyExists;
        if (!put.ok() && put.code() != ErrorCode::kAlreadyExists) ADD_FAILURE() << put.ToString();
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(winners, 1);
    EXPECT_EQ(losers, 15);
  }
}

// The object is put, the answer lost: the retry finds it there and knows that it is its own.
TEST_P(S3StoreTest, ALostAnswerOfPutIfAbsentIsNotSomeoneElses) {
  FaultyProxy proxy(server().port());
  S3StoreSettings settings = Settings();
  settings.endpoint = proxy.endpoint();
  const auto store = Open(settings);
  proxy.Add(FaultyProxy::LoseAnswer(), 2);
  EXPECT_TRUE(store->PutIfAbsent("lost", "mine").ok());
  EXPECT_EQ(Content(*store, "lost"), "mine");
  // Someone else's with the same content, and our attempt lost on its way there.
  ASSERT_TRUE(store->PutIfAbsent("theirs", "equal").ok());
  proxy.Add(FaultyProxy::Close());
  EXPECT_EQ(store->PutIfAbsent("theirs", "equal").code(), ErrorCode::kAlreadyExists);
}

TEST_P(S3StoreTest, AServerThatIgnoresConditionsIsRefused) {
  FaultyProxy proxy(server().port());
  S3StoreSettings settings = Settings();
  (void)Open(settings);  // makes the bucket
  settings.prefix += "x";
  settings.endpoint = proxy.endpoint();
  proxy.Add(FaultyProxy::Pass());  // the bucket's check
  proxy.Add(FaultyProxy::Answer(FaultyProxy::Http("200 OK", "", "ETag: \"x\"\r\n")), 2);
  ExpectRefused(settings, ErrorCode::kUnimplemented, "If-None-Match");
}

// On versitygw keys are files: directories vanish with their last object while others are being put there.
TEST_P(S3StoreTest, PutsAndDeletesSideBySide) {
  const auto store = Open(Settings());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 60; ++i) {
        const std::string name = "shared/" + std::to_string(i % 3) + "/" + std::to_string(t);
        const Status put = i % 2 == 0 ? store->Put(name, name) : store->PutIfAbsent(name, name);
        EXPECT_TRUE(put.ok()) << put.ToString();
        EXPECT_EQ(Content(*store, name), name);
        const auto listed = store->List("shared/");
        EXPECT_TRUE(listed.ok()) << listed.status().ToString();
        const Status deleted = store->Delete(name);
        EXPECT_TRUE(deleted.ok()) << deleted.ToString();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store->List("")->size(), 0u);
}

// ---- streams and ranges

TEST_P(S3StoreTest, AHundredMegabytes) {
  const auto store = Open(Settings());
  const std::string content = Pattern(100'000'000);
  auto writer = store->Create("large");
  ASSERT_TRUE(writer.ok());
  for (size_t at = 0; at < content.size(); at += 999'983) {
    ASSERT_TRUE((*writer)->Append(std::string_view(content).substr(at, 999'983)).ok());
  }
  EXPECT_EQ(store->Get("large").status().code(), ErrorCode::kIoKeyNotFound);
  const Status finished = (*writer)->Finish();
  ASSERT_TRUE(finished.ok()) << finished.ToString();
  for (const auto& [offset, length] : std::vector<std::pair<int64_t, int64_t>>{
           {0, 1}, {8 << 20, 10}, {(8 << 20) - 5, 10}, {99'999'999, 5}, {100'000'000, 5}, {33'333'333, 20'000'000}}) {
    const auto range = store->GetRange("large", offset, length);
    ASSERT_TRUE(range.ok()) << range.status().ToString();
    EXPECT_TRUE(*range == content.substr(static_cast<size_t>(offset), static_cast<size_t>(length))) << offset;
  }
  const auto mapped = store->Map("large");
  ASSERT_TRUE(mapped.ok()) << mapped.status().ToString();
  EXPECT_TRUE((*mapped)->bytes() == content);
  EXPECT_TRUE(store->Delete("large").ok());
}

TEST_P(S3StoreTest, AWriterWithoutFinishLeavesNoUpload) {
  const S3StoreSettings settings = Settings();
  const auto store = Open(settings);
  {
    auto writer = store->Create("abandoned");
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->Append(Pattern(40'000'000)).ok());
  }
  EXPECT_EQ(store->List("")->size(), 0u);
  // An upload whose process died is removed at a start that takes it for old enough.
  auto bucket = S3Bucket::Open(settings);
  ASSERT_TRUE(bucket.ok());
  auto upload = (*bucket)->StartUpload("died");
  ASSERT_TRUE(upload.ok()) << upload.status().ToString();
  const std::string part = Pattern(6'000'000);
  ASSERT_TRUE((*bucket)->UploadParts(*upload, {part}).ok());
  ASSERT_TRUE(S3Bucket::Open(settings).ok());
  EXPECT_TRUE((*bucket)->UploadParts(*upload, {part}).ok());  // not old enough
  S3StoreSettings later = settings;
  later.abandoned_upload_age = milliseconds(0);
  std::this_thread::sleep_for(milliseconds(1100));  // servers tell the time in seconds
  ASSERT_TRUE(S3Bucket::Open(later).ok());
  const Status more = (*bucket)->UploadParts(*upload, {part});
  if (GetParam() == S3Kind::kMinio) {
    // MinIO lists uploads of one key only, never of a prefix; it removes them itself after a day.
    EXPECT_TRUE(more.ok());
    EXPECT_TRUE((*bucket)->AbortUpload(*upload).ok());
  } else {
    EXPECT_FALSE(more.ok());
    EXPECT_NE(more.message().find("NoSuchUpload"), std::string::npos) << more.ToString();
  }
  EXPECT_TRUE((*bucket)->AbortUpload(*upload).ok());
  EXPECT_EQ(store->List("")->size(), 0u);
}

TEST_P(S3StoreTest, ALostAnswerOfTheLastStepOfAnUpload) {
  FaultyProxy proxy(server().port());
  S3StoreSettings settings = Settings();
  settings.endpoint = proxy.endpoint();
  settings.part_bytes = 5 << 20;
  settings.parallel_parts = 1;
  const auto store = Open(settings);
  const std::string content = Pattern(7'000'000);
  auto writer = store->Create("object");
  ASSERT_TRUE((*writer)->Append(content).ok());
  proxy.Add(FaultyProxy::Pass());  // the last part
  proxy.Add(FaultyProxy::LoseAnswer());
  const Status finished = (*writer)->Finish();
  EXPECT_TRUE(finished.ok()) << finished.ToString();
  EXPECT_TRUE(Content(*store, "object") == content);
}

TEST_P(S3StoreTest, ListsOfManyPages) {
  const auto store = Open(Settings());
  constexpr int kObjects = 2'100;
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = t; i < kObjects; i += 8) failures += !store->Put("many/" + std::to_string(i), "x").ok();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  const auto listed = store->List("many/");
  ASSERT_TRUE(listed.ok()) << listed.status().ToString();
  ASSERT_EQ(listed->size(), static_cast<size_t>(kObjects));
  EXPECT_TRUE(
      std::is_sorted(listed->begin(), listed->end(), [](const auto& a, const auto& b) { return a.name < b.name; }));
}

// ---- the local copies

TEST_P(S3StoreTest, MapFetchesOnceAndSurvivesAnOutage) {
  FaultyProxy proxy(server().port());
  S3StoreSettings settings = Settings();
  settings.endpoint = proxy.endpoint();
  settings.total_timeout = milliseconds(2000);
  const std::string content = Pattern(20'000'000);
  {
    auto writing = Settings();
    ASSERT_TRUE(Open(writing)->Put("object", content).ok());
  }
  auto store = Open(settings);
  int before = proxy.requests();
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      const auto mapped = store->Map("object");
      right += mapped.ok() && (*mapped)->bytes() == content;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 8);
  EXPECT_EQ(proxy.requests() - before, 3);  // its three parts, once
  store.reset();
  store = Open(settings);
  before = proxy.requests();
  proxy.Add(FaultyProxy::Close(), 1000);
  const auto mapped = store->Map("object");
  ASSERT_TRUE(mapped.ok()) << mapped.status().ToString();
  EXPECT_TRUE((*mapped)->bytes() == content);
  EXPECT_EQ(proxy.requests(), before);
  const auto other = store->Map("another");
  EXPECT_EQ(other.status().code(), ErrorCode::kServiceUnavailable) << other.status().ToString();
  proxy.Clear();
  EXPECT_EQ(store->Map("another").status().code(), ErrorCode::kIoKeyNotFound);
}

TEST_P(S3StoreTest, AFullLocalDisk) {
  const S3StoreSettings settings = Settings();
  const auto store = Open(settings);
  ASSERT_TRUE(store->Put("object", "content").ok());
  TEST_SetFileFault([&settings](FileOperation operation, const std::string& path) {
    return operation == FileOperation::kWrite && path.starts_with(settings.cache_directory) ? ENOSPC : 0;
  });
  const auto mapped = store->Map("object");
  TEST_SetFileFault({});
  EXPECT_EQ(mapped.status().code(), ErrorCode::kDiskLimitExceeded);
  EXPECT_NE(mapped.status().message().find(settings.cache_directory), std::string::npos) << mapped.status().ToString();
  EXPECT_TRUE(store->Map("object").ok());
}

// ---- bad times

TEST_P(S3StoreTest, APausedServerAnswersWhenItGoesOn) {
  const auto store = Open(Settings());
  ASSERT_TRUE(store->Put("before", "x").ok());
  server().Pause();
  std::thread resume([this] {
    std::this_thread::sleep_for(milliseconds(3000));
    server().Resume();
  });
  const Stopwatch watch;
  const Status put = store->Put("during", "y");
  resume.join();
  EXPECT_TRUE(put.ok()) << put.ToString();
  EXPECT_GE(watch.elapsed_ms(), 2500);
  EXPECT_EQ(Content(*store, "during"), "y");
}

TEST_P(S3StoreTest, APausedServerIsNotWaitedForForEver) {
  S3StoreSettings settings = Settings();
  auto store = Open(settings);
  settings.cache_directory += "-2";
  settings.connect_timeout = milliseconds(1000);
  settings.request_timeout = milliseconds(1000);
  settings.total_timeout = milliseconds(2500);
  store = Open(settings);
  server().Pause();
  const Stopwatch watch;
  const auto got = store->Get("object");
  const int64_t waited_ms = watch.elapsed_ms();
  server().Resume();
  EXPECT_EQ(got.status().code(), ErrorCode::kServiceUnavailable);
  EXPECT_TRUE(got.status().retriable());
  for (const std::string& word : {settings.endpoint, settings.bucket, std::string("object"), std::string("attempts")}) {
    EXPECT_NE(got.status().message().find(word), std::string::npos) << got.status().ToString();
  }
  EXPECT_GE(waited_ms, 1900);
  EXPECT_LT(waited_ms, 5000);
  EXPECT_EQ(store->Get("object").status().code(), ErrorCode::kIoKeyNotFound);
}

TEST_P(S3StoreTest, KilledAndRestartedDuringPuts) {
  S3Server own(GetParam());
  S3StoreSettings settings = SettingsFor(own, directory_.path() + "/cache", prefix_);
  const auto store = Open(settings);
  std::atomic<bool> stop{false};
  std::atomic<int> next{0};
  std::mutex mutex;
  std::vector<int> acknowledged;
  std::vector<std::thread> threads;
  const auto content = [](int i) {
    return Pattern(static_cast<size_t>(50'000 + i % 7 * 30'000), static_cast<uint32_t>(i));
  };
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      while (!stop) {
        const int i = next++;
        const std::string name = "object/" + std::to_string(i);
        const Status put = t == 0 ? store->PutIfAbsent(name, content(i)) : store->Put(name, content(i));
        const std::lock_guard lock(mutex);
        if (put.ok()) acknowledged.push_back(i);
        // A name of its own each: nobody else can have put it.
        EXPECT_NE(put.code(), ErrorCode::kAlreadyExists) << put.ToString();
      }
    });
  }
  for (int i = 0; i < 2; ++i) {
    std::this_thread::sleep_for(milliseconds(700));
    own.Kill();
    std::this_thread::sleep_for(milliseconds(300));
    own.Start();
  }
  std::this_thread::sleep_for(milliseconds(700));
  stop = true;
  for (std::thread& thread : threads) thread.join();
  const auto listed = store->List("object/");
  ASSERT_TRUE(listed.ok()) << listed.status().ToString();
  for (const ObjectInfo& object : *listed) {
    EXPECT_TRUE(Content(*store, object.name) == content(std::stoi(object.name.substr(7)))) << object.name << " is half";
  }
  for (const int i : acknowledged) {
    const std::string name = "object/" + std::to_string(i);
    EXPECT_TRUE(std::any_of(listed->begin(), listed->end(), [&](const auto& object) { return object.name == name; }))
        << name;
  }
  EXPECT_GT(acknowledged.size(), 10u);
  std::printf("  %d puts, %zu acknowledged, %zu there\n", next.load(), acknowledged.size(), listed->size());
}

TEST_P(S3StoreTest, WrongSettingsAreNamed) {
  (void)Open(Settings());  // makes the bucket
  S3StoreSettings wrong = Settings();
  wrong.secret_key = "not-the-secret-of-this-key";
  ExpectRefused(wrong, ErrorCode::kPrivilegeNotPermitted, "secret_key");
  wrong = Settings();
  wrong.access_key = "nobody";
  ExpectRefused(wrong, ErrorCode::kPrivilegeNotPermitted, "access_key");
  wrong = Settings();
  wrong.bucket = "no-such-bucket";
  wrong.create_bucket = false;
  ExpectRefused(wrong, ErrorCode::kParameterInvalid, "no-such-bucket");
  wrong = Settings();
  wrong.endpoint = "http://127.0.0.1:" + std::to_string(FreePort());
  wrong.total_timeout = milliseconds(500);
  ExpectRefused(wrong, ErrorCode::kServiceUnavailable, wrong.endpoint);
  wrong = Settings();
  wrong.endpoint = "http://no-such-host.invalid:9000";
  wrong.total_timeout = milliseconds(500);
  ExpectRefused(wrong, ErrorCode::kServiceUnavailable, "no-such-host.invalid");
  wrong = Settings();
  wrong.endpoint = "https://127.0.0.1:" + std::to_string(server().port());  // speaks no TLS
  wrong.total_timeout = milliseconds(500);
  ExpectRefused(wrong, ErrorCode::kServiceUnavailable, wrong.endpoint);
  for (const char* endpoint :
       {"", "127.0.0.1:9000", "ftp://x", "http://", "http://user:secret@x", "http://x/path", "http://x y"}) {
    wrong = Settings();
    wrong.endpoint = endpoint;
    ExpectRefused(wrong, ErrorCode::kParameterInvalid, "endpoint");
  }
  wrong = Settings();
  wrong.bucket = "No";
  ExpectRefused(wrong, ErrorCode::kParameterInvalid, "bucket");
  wrong = Settings();
  wrong.part_bytes = 1000;
  ExpectRefused(wrong, ErrorCode::kParameterInvalid, "part_bytes");
  wrong = Settings();
  wrong.cache_directory = "";
  ExpectRefused(wrong, ErrorCode::kParameterInvalid, "cache_directory");
  wrong = Settings();
  wrong.prefix = "../x";
  ExpectRefused(wrong, ErrorCode::kParameterInvalid, "prefix");
}

TEST_P(S3StoreTest, Tls) {
  S3Server own(GetParam(), true);
  S3StoreSettings settings = SettingsFor(own, directory_.path() + "/cache", prefix_);
  settings.ca_file = own.ca_file();
  {
    const auto store = Open(settings);
    ASSERT_TRUE(store->Put("object", "over TLS").ok());
    EXPECT_EQ(Content(*store, "object"), "over TLS");
    own.Kill();  // what it kept open is closed now
    own.Start();
    EXPECT_TRUE(store->Put("object", "over TLS").ok());
  }
  settings.ca_file.clear();
  settings.total_timeout = milliseconds(3000);
  const Stopwatch watch;
  ExpectRefused(settings, ErrorCode::kServiceUnavailable, "ca_file");
  EXPECT_LT(watch.elapsed_ms(), 2000);  // no retries help
  settings.verify_certificate = false;
  EXPECT_EQ(Content(*Open(settings), "object"), "over TLS");
}

// Printed, not judged: the machine may be busy.
TEST_P(S3StoreTest, Throughput) {
  const auto store = Open(Settings());
  const std::string content = Pattern(64 << 20);
  const auto rate = [&](const char* what, const std::function<Status()>& work) {
    const Stopwatch watch;
    const Status done = work();
    EXPECT_TRUE(done.ok()) << done.ToString();
    std::printf("  %-22s 64 MiB in %5ld ms: %.0f MiB/s\n", what, watch.elapsed_ms(),
                64e3 / static_cast<double>(std::max<int64_t>(1, watch.elapsed_ms())));
  };
  rate("put", [&] { return store->Put("one", content); });
  rate("put in parts", [&] {
    auto writer = store->Create("parts");
    RETURN_IF_ERROR((*writer)->Append(content));
    return (*writer)->Finish();
  });
  rate("get", [&] { return store->Get("one").status(); });
  rate("map", [&] { return store->Map("parts").status(); });
  std::vector<int64_t> us;
  for (int i = 0; i < 100; ++i) {
    const Stopwatch watch;
    EXPECT_TRUE(store->Put("small/" + std::to_string(i), std::string(1000, 'x')).ok());
    us.push_back(watch.elapsed_us());
  }
  std::sort(us.begin(), us.end());
  std::printf("  put of 1 kB            p50 %.1f ms, p99 %.1f ms\n", static_cast<double>(us[50]) / 1e3,
              static_cast<double>(us[98]) / 1e3);
}

// ---- a server that misbehaves: a proxy before one of the two

class S3FaultTest : public testing::Test {
 protected:
  void SetUp() override {
    kind_ = S3Server::Available(S3Kind::kVersityGw) ? S3Kind::kVersityGw : S3Kind::kMinio;
    if (!S3Server::Available(kind_))
      GTEST_SKIP() << "no S3 server is installed: tests/servers/install.sh s3 puts them there";
    proxy_ = std::make_unique<FaultyProxy>(ServerOf(kind_).port());
    settings_ = SettingsFor(ServerOf(kind_), directory_.path() + "/cache", RandomPrefix());
    settings_.endpoint = proxy_->endpoint();
    settings_.request_timeout = milliseconds(1000);
    settings_.total_timeout = milliseconds(5000);
    auto store = OpenS3Store(settings_);
    ASSERT_TRUE(store.ok()) << store.status().ToString();
    store_ = std::move(store).value();
    ASSERT_TRUE(store_->Put("object", content_).ok());
  }

  // What Get says while every request meets the fault.
  Status GetThrough(const FaultyProxy::Fault& fault) {
    proxy_->Add(fault, 1000);
    const Status got = store_->Get("object").status();
    proxy_->Clear();
    std::printf("  %.300s\n", got.ToString().c_str());
    EXPECT_EQ(Content(), content_);
    return got;
  }
  std::string Content() {
    const auto got = store_->Get("object");
    return got.ok() ? *got : got.status().ToString();
  }

  TemporaryDirectory directory_;
  S3Kind kind_{};
  S3StoreSettings settings_;
  const std::string content_ = Pattern(200'000);
  std::unique_ptr<FaultyProxy> proxy_;
  std::unique_ptr<ObjectStore> store_;  // before the proxy: it waits for connections to end
};

TEST_F(S3FaultTest, PassingErrorsAreRetried) {
  const std::vector<FaultyProxy::Fault> faults = {
      FaultyProxy::Error("503 Slow Down", "SlowDown"),
      FaultyProxy::Error("500 Internal Server Error", "InternalError"),
      FaultyProxy::Error("400 Bad Request", "RequestTimeout"),
      FaultyProxy::Error("409 Conflict", "OperationAborted"),
      FaultyProxy::Answer(FaultyProxy::Http("502 Bad Gateway", "<html>bad gateway</html>")),
      FaultyProxy::Answer(FaultyProxy::Http("429 Too Many Requests", "")),
      FaultyProxy::Answer("HTTP/1.1 504 "),
      FaultyProxy::Answer("not HTTP at all\r\n\r\n"),
      FaultyProxy::Answer("HTTP/1.1 200 OK\r\n\r\nwithout a length"),
      FaultyProxy::Close(),
      FaultyProxy::CutAnswer(100),
      FaultyProxy::CutAnswer(100'000),
      FaultyProxy::LoseAnswer(),
  };
  for (size_t i = 0; i < faults.size(); ++i) {
    proxy_->Add(faults[i], 2);
    EXPECT_TRUE(Content() == content_) << i;
    proxy_->Add(faults[i]);
    const auto range = store_->GetRange("object", 1000, 50'000);
    EXPECT_TRUE(range.ok() && *range == content_.substr(1000, 50'000)) << i << range.status().ToString();
    proxy_->Add(faults[i]);
    const auto mapped = store_->Map("object");
    EXPECT_TRUE(mapped.ok() && (*mapped)->bytes() == content_) << i << mapped.status().ToString();
    proxy_->Add(faults[i]);
    const Status deleted = store_->Delete("other");
    EXPECT_TRUE(deleted.ok() || i == 8) << i << deleted.ToString();
    proxy_->Add(faults[i]);
    const Status put = store_->Put("object", content_);  // and so the next one maps anew
    EXPECT_TRUE(put.ok()) << i << put.ToString();
    proxy_->Clear();
  }
}

TEST_F(S3FaultTest, GivesUpInTimeAndSaysWhat) {
  const Stopwatch watch;
  const Status got = GetThrough(FaultyProxy::Error("503 Slow Down", "SlowDown"));
  EXPECT_LT(watch.elapsed_ms(), 8000);
  EXPECT_EQ(got.code(), ErrorCode::kServiceUnavailable);
  for (const std::string& word : {settings_.endpoint, std::string(kBucket), std::string("object"),
                                  std::string("SlowDown"), std::string("as the test wants"), std::string("503")}) {
    EXPECT_NE(got.message().find(word), std::string::npos) << word;
  }
}

TEST_F(S3FaultTest, ErrorsThatStayAreToldAtOnce) {
  const Stopwatch watch;
  const auto refused = [](const std::string& status, const std::string& code) {
    return FaultyProxy::Error(status, code);
  };
  EXPECT_EQ(GetThrough(refused("403 Forbidden", "AccessDenied")).code(), ErrorCode::kPrivilegeNotPermitted);
  EXPECT_EQ(GetThrough(refused("507 Insufficient Storage", "XMinioStorageFull")).code(), ErrorCode::kDiskLimitExceeded);
  EXPECT_EQ(GetThrough(refused("403 Forbidden", "QuotaExceeded")).code(), ErrorCode::kDiskLimitExceeded);
  EXPECT_EQ(GetThrough(refused("404 Not Found", "NoSuchKey")).code(), ErrorCode::kIoKeyNotFound);
  const Status skewed = GetThrough(refused("403 Forbidden", "RequestTimeTooSkewed"));
  EXPECT_NE(skewed.message().find("clock"), std::string::npos);
  const Status elsewhere = GetThrough(FaultyProxy::Answer(
      FaultyProxy::Http("301 Moved Permanently", "<Error><Code>PermanentRedirect</Code><Message>x</Message></Error>",
                        "x-amz-bucket-region: eu-west-3\r\nLocation: http://127.0.0.1:1/\r\n")));
  EXPECT_EQ(elsewhere.code(), ErrorCode::kParameterInvalid);
  EXPECT_NE(elsewhere.message().find("eu-west-3"), std::string::npos);
  const Status bucket = GetThrough(refused("404 Not Found", "NoSuchBucket"));
  EXPECT_EQ(bucket.code(), ErrorCode::kParameterInvalid);
  // Some web server's 404 doesn't mean that the object is gone.
  EXPECT_EQ(GetThrough(FaultyProxy::Answer(FaultyProxy::Http("404 Not Found", "<html>nothing here</html>"))).code(),
            ErrorCode::kIoFailed);
  EXPECT_LT(watch.elapsed_ms(), 5000);
}

TEST_F(S3FaultTest, AHugeErrorBodyIsNotRead) {
  std::string huge = "<Error><Code>AccessDenied</Code>";
  huge.resize(50'000'000, 'x');
  const Stopwatch watch;
  const Status got = GetThrough(FaultyProxy::Answer(FaultyProxy::Http("403 Forbidden", huge)));
  EXPECT_EQ(got.code(), ErrorCode::kPrivilegeNotPermitted);
  EXPECT_LT(got.message().size(), 1000u);
  std::string headers = "HTTP/1.1 200 OK\r\n";
  while (headers.size() < 1'000'000) headers += "x-nonsense: " + std::string(1000, 'x') + "\r\n";
  EXPECT_EQ(GetThrough(FaultyProxy::Answer(headers + "\r\n")).code(), ErrorCode::kIoFailed);
}

TEST_F(S3FaultTest, MoreThanWasAskedForIsRefused) {
  proxy_->Add(FaultyProxy::Answer(FaultyProxy::Http("200 OK", std::string(10'000'000, 'x'))));
  EXPECT_EQ(store_->GetRange("object", 0, 10).status().code(), ErrorCode::kIoFailed);
  proxy_->Add(FaultyProxy::Answer(
      FaultyProxy::Http("206 Partial Content", "wrong", "Content-Range: bytes 100-104/200000\r\n")));
  const auto range = store_->GetRange("object", 0, 5);  // not what was asked for: asked again
  EXPECT_TRUE(range.ok() && *range == content_.substr(0, 5)) << range.status().ToString();
}

TEST_F(S3FaultTest, ListsThatAreGarbage) {
  settings_.total_timeout = milliseconds(500);
  settings_.cache_directory += "-2";
  const auto hasty = OpenS3Store(settings_);
  ASSERT_TRUE(hasty.ok()) << hasty.status().ToString();
  const std::string cut =
      "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key>";
  for (const std::string& body : {cut, std::string("<html/>"), std::string(), std::string("\0\xff", 2)}) {
    proxy_->Add(FaultyProxy::Answer(FaultyProxy::Http("200 OK", body)));
    const auto listed = store_->List("");
    ASSERT_TRUE(listed.ok()) << listed.status().ToString();
    EXPECT_EQ(listed->size(), 1u);
    proxy_->Add(FaultyProxy::Answer(FaultyProxy::Http("200 OK", body)), 1000);
    EXPECT_EQ((*hasty)->List("").status().code(), ErrorCode::kServiceUnavailable);
    proxy_->Clear();
  }
  // A list without an end.
  proxy_->Add(
      FaultyProxy::Answer(FaultyProxy::Http("200 OK",
                                            "<ListBucketResult><IsTruncated>true</IsTruncated>"
                                            "<NextContinuationToken>again</NextContinuationToken></ListBucketResult>")),
      1000);
  EXPECT_EQ(store_->List("").status().code(), ErrorCode::kIoFailed);
}

// An endless answer of a byte now and then: no stall, and yet an end.
TEST_F(S3FaultTest, ATricklingAnswerEnds) {
  settings_.total_timeout = milliseconds(1500);
  settings_.cache_directory += "-2";
  auto hasty = OpenS3Store(settings_);
  ASSERT_TRUE(hasty.ok()) << hasty.status().ToString();
  store_ = std::move(hasty).value();
  const Stopwatch watch;
  const Status got = GetThrough([](int client, const std::string&, const FaultyProxy::Forward&) {
    FaultyProxy::Send(client, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    for (int i = 0; i < 15; ++i) {
      FaultyProxy::Send(client, "x");
      std::this_thread::sleep_for(milliseconds(200));
    }
  });
  EXPECT_EQ(got.code(), ErrorCode::kServiceUnavailable);
  EXPECT_LT(watch.elapsed_ms(), 2900);  // before the proxy's end of it
}

TEST_F(S3FaultTest, PutsThatFailLeaveWhatWasThere) {
  // Asked again a few times: MinIO says so, too, when a directory vanishes under a put.
  proxy_->Add(FaultyProxy::Error("403 Forbidden", "AccessDenied"), 6);
  EXPECT_EQ(store_->Put("object", "new").code(), ErrorCode::kPrivilegeNotPermitted);
  EXPECT_TRUE(Content() == content_);
  // A web server's friendly 200 is no acknowledgement.
  settings_.total_timeout = milliseconds(500);
  settings_.cache_directory += "-2";
  const auto hasty = OpenS3Store(settings_);
  ASSERT_TRUE(hasty.ok()) << hasty.status().ToString();
  proxy_->Add(FaultyProxy::Answer(FaultyProxy::Http("200 OK", "<html>welcome</html>")), 1000);
  EXPECT_EQ((*hasty)->Put("unreal", "x").code(), ErrorCode::kServiceUnavailable);
  proxy_->Clear();
  EXPECT_EQ(store_->Get("unreal").status().code(), ErrorCode::kIoKeyNotFound);
}

TEST_F(S3FaultTest, AnUploadSurvivesFaultsOfEachStep) {
  settings_.part_bytes = 5 << 20;
  settings_.cache_directory += "-2";
  settings_.parallel_parts = 2;
  auto store = OpenS3Store(settings_);
  ASSERT_TRUE(store.ok());
  const std::string content = Pattern(12'000'000);
  for (int step = 0; step < 5; ++step) {
    if (step > 0) proxy_->Add(FaultyProxy::Pass(), step);
    proxy_->Add(FaultyProxy::Error("503 Slow Down", "SlowDown"));
    proxy_->Add(FaultyProxy::Close());
    auto writer = (*store)->Create("upload/" + std::to_string(step));
    ASSERT_TRUE(writer.ok());
    const Status appended = (*writer)->Append(content);
    ASSERT_TRUE(appended.ok()) << step << appended.ToString();
    const Status finished = (*writer)->Finish();
    ASSERT_TRUE(finished.ok()) << step << finished.ToString();
    const auto got = (*store)->Get("upload/" + std::to_string(step));
    EXPECT_TRUE(got.ok() && *got == content) << step;
  }
  // 200 with an error in it, as CompleteMultipartUpload may answer.
  auto writer = (*store)->Create("upload/last");
  ASSERT_TRUE((*writer)->Append(content).ok());
  proxy_->Add(FaultyProxy::Pass());
  proxy_->Add(FaultyProxy::Error("200 OK", "InternalError"));
  EXPECT_TRUE((*writer)->Finish().ok());
  EXPECT_TRUE((*store)->Get("upload/last").ok());
}

}  // namespace
}  // namespace saker
