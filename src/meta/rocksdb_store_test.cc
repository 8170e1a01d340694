#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <random>

#include "base/clock.h"
#include "base/file.h"
#include "meta/meta_store_contract.h"
#include "meta/recipes_store.h"
#include "meta/rocksdb_rows.h"
#include "meta/rocksdb_store_internal.h"
#include "meta/stage.h"

namespace saker {
namespace {

constexpr int kAcknowledgements = 3;  // the writing process's descriptor

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "saker-meta-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::unique_ptr<MetaStore> Open(const std::string& directory, int64_t keep_revisions = 10'000) {
  auto store = OpenRocksdbStore({directory, keep_revisions});
  EXPECT_TRUE(store.ok()) << store.status().ToString();
  return store.ok() ? std::move(*store) : nullptr;
}

std::unique_ptr<MetaStore> OpenFresh() {
  static std::vector<std::unique_ptr<TemporaryDirectory>> directories;
  directories.push_back(std::make_unique<TemporaryDirectory>());
  return Open(directories.back()->path());
}

INSTANTIATE_TEST_SUITE_P(Rocksdb, MetaStoreContract, testing::Values(MakeMetaStore(OpenFresh)),
                         [](const auto&) { return "Embedded"; });

TEST(RocksdbStore, RemembersEverythingAfterReopening) {
  const TemporaryDirectory directory;
  Revision first = 0;
  Revision last = 0;
  {
    const auto store = Open(directory.path());
    first = *store->Commit({}, {MetaOp::Put("a", "1"), MetaOp::Put("b", "1")});
    ASSERT_TRUE(store->Commit({}, {MetaOp::Delete("b")}).ok());
    last = *store->Commit({}, {MetaOp::Put("a", "2")});
  }
  const auto store = Open(directory.path());
  EXPECT_EQ(*store->CurrentRevision(), last);
  const Result<KeyValue> kv = store->Get("a");
  ASSERT_TRUE(kv.ok());
  EXPECT_EQ(kv->value, "2");
  EXPECT_EQ(kv->version, 2);
  EXPECT_EQ(kv->create_revision, first);
  EXPECT_FALSE(store->Get("b").ok());
  EXPECT_EQ(store->Get("b", first)->value, "1");
  WatchRecorder recorder;
  const auto watch = store->WatchPrefix("", first, recorder.Callback());
  ASSERT_TRUE(recorder.WaitForRevision(last));
  EXPECT_THAT(recorder.story(), ElementsAre("+a=1", "+b=1", "-b", "+a=2"));
}

TEST(RocksdbStore, LeasesEndWithTheProcess) {
  const TemporaryDirectory directory;
  Revision before = 0;
  {
    const auto store = Open(directory.path());
    const LeaseId lease = *store->Grant(std::chrono::seconds(1));
    ASSERT_TRUE(store->Commit({}, {MetaOp::Put("session", "1", lease), MetaOp::Put("other", "1")}).ok());
    ASSERT_TRUE(store->Commit({}, {MetaOp::Put("leader", "1", lease)}).ok());
    before = *store->CurrentRevision();
  }
  const auto store = Open(directory.path());
  EXPECT_EQ(*store->CurrentRevision(), before + 1);
  EXPECT_FALSE(store->Get("session").ok());
  EXPECT_FALSE(store->Get("leader").ok());
  EXPECT_TRUE(store->Get("other").ok());
  WatchRecorder recorder;
  const auto watch = store->WatchPrefix("", before + 1, recorder.Callback());
  ASSERT_TRUE(recorder.WaitForRevision(before + 1));
  EXPECT_THAT(recorder.story(), ElementsAre("-leader", "-session"));
}

TEST(RocksdbStore, ASecondOpenIsRefusedByName) {
  const TemporaryDirectory directory;
  const auto store = Open(directory.path());
  const auto second = OpenRocksdbStore({directory.path()});
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.status().message().find(directory.path()), std::string::npos) << second.status().message();
}

TEST(RocksdbStore, HistoryIsCompactedByItself) {
  const TemporaryDirectory directory;
  constexpr int64_t kKeep = 50;
  {
    const auto store = Open(directory.path(), kKeep);
    ASSERT_TRUE(store->Commit({}, {MetaOp::Put("steady", "1")}).ok());
    const Revision start = *store->CurrentRevision();
    for (int i = 0; i < 400; ++i) ASSERT_TRUE(store->Commit({}, {MetaOp::Put("hot", std::to_string(i))}).ok());
    const Revision now = *store->CurrentRevision();
    EXPECT_EQ(store->Range("", start + 1).status().code(), ErrorCode::kCompacted);
    EXPECT_TRUE(store->Range("", now - kKeep + 1).ok());
    EXPECT_EQ(store->Get("hot", now - 10)->value, "389");
    EXPECT_EQ(store->Get("steady", now - 10)->value, "1");
  }
  const auto store = Open(directory.path(), kKeep);
  EXPECT_EQ(store->Get("hot")->value, "399");
  EXPECT_EQ(store->Get("hot")->version, 400);
  EXPECT_EQ(store->Get("steady")->value, "1");
  EXPECT_EQ(store->Range("", 5).status().code(), ErrorCode::kCompacted);
}

// A large value that changes again and again takes up a bounded amount of history, also over restarts.
TEST(RocksdbStore, KeepsNoMoreBytesOfHistoryThanAsked) {
  const TemporaryDirectory directory;
  RocksdbStoreSettings settings{directory.path()};
  settings.keep_bytes = 4 << 20;
  const std::string large(200'000, 'x');
  Revision now = 0;
  for (int round = 0; round < 2; ++round) {
    const auto store = std::move(*OpenRocksdbStore(settings));
    ASSERT_TRUE(store->Commit({}, {MetaOp::Put("small", "1")}).ok());
    for (int i = 0; i < 30; ++i) now = *store->Commit({}, {MetaOp::Put("large", large + std::to_string(i))});
    EXPECT_EQ(store->Range("", now - 25).status().code(), ErrorCode::kCompacted) << round;
    EXPECT_EQ(store->Get("large", now - 10)->value, large + "19");
    EXPECT_EQ(store->Get("small")->value, "1");
    // Some revisions are kept however large they are.
    for (int i = 0; i < 20; ++i) {
      std::vector<MetaOp> ops;
      for (int k = 0; k < 5; ++k) ops.push_back(MetaOp::Put("large" + std::to_string(k), large));
      now = *store->Commit({}, ops);
    }
    EXPECT_TRUE(store->Get("large0", now - 10).ok());
  }
}

// A watch that falls behind while writers compact history under it gets all of it, or is told that it didn't.
TEST(RocksdbStore, ASlowWatchIsToldWhenHistoryRanAway) {
  const TemporaryDirectory directory;
  const auto store = Open(directory.path(), 20);
  std::atomic<bool> go{false};
  std::vector<Revision> seen;
  Status ended;
  Mutex mutex;
  CondVar changed;
  const Revision start = *store->CurrentRevision();
  const auto watch = store->WatchPrefix("", start + 1, [&](WatchBatch batch) {
    while (!go) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    MutexLock lock(mutex);
    for (const WatchEvent& event : batch.events) seen.push_back(event.kv.mod_revision);
    if (!batch.status.ok()) ended = batch.status;
    changed.NotifyAll();
  });
  // More than the memory of recent revisions holds.
  std::vector<std::thread> writers;
  for (int t = 0; t < 8; ++t) {
    writers.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) EXPECT_TRUE(store->Commit({}, {MetaOp::Put("k" + std::to_string(t), "v")}).ok());
    });
  }
  for (std::thread& writer : writers) writer.join();
  go = true;
  MutexLock lock(mutex);
  ASSERT_TRUE(changed.WaitFor(lock, std::chrono::seconds(20), [&] { return !ended.ok(); }));
  EXPECT_EQ(ended.code(), ErrorCode::kCompacted);
  for (size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], start + 1 + static_cast<Revision>(i));
}

// Random transactions against a plain map, compactions and restarts among them: present, past and watches agree.
TEST(RocksdbStore, AgreesWithAModel) {
  const TemporaryDirectory directory;
  std::mt19937 random(7);
  std::map<Revision, std::map<std::string, std::string>> model;  // the state as of each revision
  auto store = Open(directory.path());
  Revision compacted = 0;
  model[*store->CurrentRevision()] = {};
  const auto key = [&] { return std::string(1, static_cast<char>('a' + random() % 3)) + "/" + std::to_string(random() % 4); };
  for (int step = 0; step < 600; ++step) {
    auto [revision, state] = *model.rbegin();
    std::vector<MetaOp> ops;
    for (int i = 1 + static_cast<int>(random() % 3); i > 0; --i) {
      switch (random() % 4) {
        case 0: ops.push_back(MetaOp::Delete(key())); break;
        case 1: if (random() % 4 == 0) ops.push_back(MetaOp::DeletePrefix(key().substr(0, 2))); break;
        default: ops.push_back(MetaOp::Put(key(), std::to_string(step))); break;
      }
    }
    const Result<Revision> done = store->Commit({}, ops);
    if (done.ok() && *done > revision) {
      for (const MetaOp& op : ops) {
        if (op.kind == MetaOp::Kind::kPut) state[op.key] = op.value;
        if (op.kind == MetaOp::Kind::kDelete) state.erase(op.key);
        if (op.kind == MetaOp::Kind::kDeletePrefix) std::erase_if(state, [&](const auto& e) { return e.first.starts_with(op.key); });
      }
      ASSERT_EQ(*done, revision + 1);
      model[*done] = state;
    }
    if (random() % 40 == 0) {
      compacted = std::max<Revision>(compacted, model.rbegin()->first - static_cast<Revision>(random() % 20));
      compacted = std::max<Revision>(compacted, 1);
      ASSERT_TRUE(store->Compact(compacted).ok());
    }
    if (random() % 60 == 0) {
      store.reset();
      store = Open(directory.path());
    }
    const Revision at = model.rbegin()->first - static_cast<Revision>(random() % 30);
    if (!model.contains(at)) continue;
    const Result<RangeResult> range = store->Range("", at);
    if (at < compacted) {
      ASSERT_EQ(range.status().code(), ErrorCode::kCompacted);
      continue;
    }
    std::map<std::string, std::string> read;
    ASSERT_TRUE(range.ok()) << range.status().ToString();
    for (const KeyValue& kv : range->kvs) read[kv.key] = kv.value;
    ASSERT_EQ(read, model[at]) << "at " << at;
  }
  // A watch over all kept history turns the oldest kept state into the present.
  WatchRecorder recorder;
  const Revision last = model.rbegin()->first;
  const auto watch = store->WatchPrefix("", compacted + 1, recorder.Callback());
  ASSERT_TRUE(recorder.WaitForRevision(last));
  auto state = model[compacted];
  for (const WatchEvent& event : recorder.events()) {
    if (event.kind == WatchEvent::Kind::kPut) {
      state[event.kv.key] = event.kv.value;
    } else {
      state.erase(event.kv.key);
    }
  }
  EXPECT_EQ(state, model[last]);
}

// The other half of SurvivesKills: writes and says so until it is killed.
TEST(RocksdbStoreWriter, DISABLED_WritesUntilKilled) {
  const char* directory = std::getenv("SAKER_TEST_DIRECTORY");
  ASSERT_NE(directory, nullptr);
  auto store = OpenRocksdbStore({directory, 20});
  ASSERT_TRUE(store.ok());
  const Result<KeyValue> before = (*store)->Get("n");
  for (int64_t n = before.ok() ? std::stoll(before->value) + 1 : 1;; ++n) {
    const std::string value = std::to_string(n);
    ASSERT_TRUE((*store)->Commit({}, {MetaOp::Put("n", value), MetaOp::Put("twin", value)}).ok());
    ASSERT_EQ(write(kAcknowledgements, &n, sizeof(n)), static_cast<ssize_t>(sizeof(n)));
  }
}

// A process killed at any moment loses no acknowledged transaction, and none is there by halves.
TEST(RocksdbStore, SurvivesKills) {
  const TemporaryDirectory directory;
  for (int round = 0; round < 8; ++round) {
    int acknowledged[2];
    ASSERT_EQ(pipe2(acknowledged, O_CLOEXEC), 0);
    const pid_t child = fork();
    if (child == 0) {
      dup2(acknowledged[1], kAcknowledgements);
      const int quiet = open("/dev/null", O_WRONLY);
      dup2(quiet, STDOUT_FILENO);
      setenv("SAKER_TEST_DIRECTORY", directory.path().c_str(), 1);
      execl("/proc/self/exe", "meta_test", "--gtest_also_run_disabled_tests",
            "--gtest_filter=RocksdbStoreWriter.DISABLED_WritesUntilKilled", nullptr);
      _exit(1);
    }
    close(acknowledged[1]);
    int64_t last = 0;
    const int64_t enough = 5 + round * 3;
    for (int64_t i = 0, n = 0; i < enough && read(acknowledged[0], &n, sizeof(n)) == sizeof(n); ++i) last = n;
    kill(child, SIGKILL);
    for (int64_t n = 0; read(acknowledged[0], &n, sizeof(n)) == sizeof(n);) last = n;
    int status = 0;
    waitpid(child, &status, 0);
    close(acknowledged[0]);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writer ended by itself: " << status;
    const auto store = Open(directory.path());
    const int64_t found = std::stoll(store->Get("n")->value);
    EXPECT_GE(found, last);
    EXPECT_LE(found, last + 1);
    EXPECT_EQ(store->Get("twin")->value, std::to_string(found));
  }
}

// ---- a full disk

// Fails writes as a full disk does while `full` is set.
class FullDisk : public rocksdb::FileSystemWrapper {
 public:
  explicit FullDisk(const std::shared_ptr<rocksdb::FileSystem>& target) : FileSystemWrapper(target) {}
  const char* Name() const override { return "FullDisk"; }
  std::atomic<bool> full{false};
  std::atomic<bool> sync_fails{false};

  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result, rocksdb::IODebugContext* context) override {
    if (full) return Full();
    std::unique_ptr<rocksdb::FSWritableFile> file;
    const rocksdb::IOStatus opened = FileSystemWrapper::NewWritableFile(name, options, &file, context);
    if (opened.ok()) result->reset(new FullFile(std::move(file), this));
    return opened;
  }

 private:
  static rocksdb::IOStatus Full() { return rocksdb::IOStatus::NoSpace("no space left on device"); }
  class FullFile : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    FullFile(std::unique_ptr<rocksdb::FSWritableFile> file, FullDisk* disk)
        : FSWritableFileOwnerWrapper(std::move(file)), disk_(disk) {}
    rocksdb::IOStatus Sync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* context) override {
      return disk_->sync_fails ? rocksdb::IOStatus::IOError("the disk is ill") : FSWritableFileOwnerWrapper::Sync(options, context);
    }
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options, rocksdb::IODebugContext* context) override {
      return disk_->full ? Full() : FSWritableFileOwnerWrapper::Append(data, options, context);
    }
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             const rocksdb::DataVerificationInfo& info, rocksdb::IODebugContext* context) override {
      return disk_->full ? Full() : FSWritableFileOwnerWrapper::Append(data, options, info, context);
    }

   private:
    FullDisk* const disk_;
  };
};

TEST(RocksdbStore, AFullDiskIsSaidAndRecoversByItself) {
  const TemporaryDirectory directory;
  const auto disk = std::make_shared<FullDisk>(rocksdb::FileSystem::Default());
  const auto env = rocksdb::NewCompositeEnv(disk);
  Revision last = 0;
  {
    auto opened = TEST_OpenRocksdbStore({directory.path(), 10}, env.get());
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    const auto store = std::move(*opened);
    last = *store->Commit({}, {MetaOp::Put("a", "1")});
    for (int round = 0; round < 3; ++round) {
      disk->full = true;
      for (int i = 0; i < 3; ++i) {
        const Result<Revision> refused = store->Commit({}, {MetaOp::Put("a", "lost")});
        ASSERT_FALSE(refused.ok());
        EXPECT_EQ(refused.status().code(), ErrorCode::kDiskLimitExceeded) << refused.status().ToString();
        EXPECT_NE(refused.status().message().find(directory.path()), std::string::npos);
        EXPECT_EQ(*store->CurrentRevision(), last);
        EXPECT_TRUE(store->Range("", last).ok());
      }
      disk->full = false;
      const Stopwatch since_freed;
      for (int i = 0; i < 20; ++i) {
        const Result<Revision> done = store->Commit({}, {MetaOp::Put("a", std::to_string(i))});
        ASSERT_TRUE(done.ok()) << "round " << round << ", write " << i << ": " << done.status().ToString();
        EXPECT_EQ(*done, last + 1);
        last = *done;
      }
      EXPECT_LT(since_freed.elapsed_ms(), 5000);
    }
  }
  auto reopened = TEST_OpenRocksdbStore({directory.path(), 10}, env.get());
  ASSERT_TRUE(reopened.ok()) << reopened.status().ToString();
  EXPECT_EQ(*(*reopened)->CurrentRevision(), last);
  EXPECT_EQ((*reopened)->Get("a")->value, "19");
}

// A transaction is written, but the sync fails: whoever committed it was told so, yet it may have happened. The store
// and its watches agree with the disk about that afterwards.
TEST(RocksdbStore, AWriteOfUnknownFateIsSettledByTheDisk) {
  const TemporaryDirectory directory;
  const auto disk = std::make_shared<FullDisk>(rocksdb::FileSystem::Default());
  const auto env = rocksdb::NewCompositeEnv(disk);
  auto opened = TEST_OpenRocksdbStore({directory.path()}, env.get());
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  const auto store = std::move(*opened);
  const Revision first = *store->Commit({}, {MetaOp::Put("a", "1")});
  WatchRecorder recorder;
  const auto watch = store->WatchPrefix("", first + 1, recorder.Callback());
  disk->sync_fails = true;
  EXPECT_FALSE(store->Commit({}, {MetaOp::Put("a", "unknown"), MetaOp::Put("b", "unknown")}).ok());
  EXPECT_EQ(store->Get("a")->value, "1");
  disk->sync_fails = false;
  const Revision last = *store->Commit({}, {MetaOp::Put("c", "1")});
  ASSERT_TRUE(recorder.WaitForRevision(last));
  EXPECT_EQ(store->Get("a").ok() && store->Get("a")->value == "unknown", store->Get("b").ok());
  const auto story = recorder.story();
  if (store->Get("b").ok()) {
    EXPECT_EQ(last, first + 2);
    EXPECT_THAT(story, ElementsAre("+a=unknown", "+b=unknown", "+c=1"));
  } else {
    EXPECT_EQ(last, first + 1);
    EXPECT_THAT(story, ElementsAre("+c=1"));
  }
}

TEST(RocksdbStore, RefusesWritesBeforeTheDiskIsFull) {
  const TemporaryDirectory directory;
  const auto store = Open(directory.path());
  const Revision before = *store->CurrentRevision();
  TEST_SetFileFault([](FileOperation operation, const std::string&) { return operation == FileOperation::kFreeSpace ? ENOSPC : 0; });
  const Result<Revision> refused = store->Commit({}, {MetaOp::Put("a", "1")});
  TEST_SetFileFault({});
  EXPECT_EQ(refused.status().code(), ErrorCode::kDiskLimitExceeded);
  EXPECT_NE(refused.status().message().find(directory.path()), std::string::npos) << refused.status().message();
  EXPECT_EQ(*store->Commit({}, {MetaOp::Put("a", "2")}), before + 1);
}

// ---- rows

// docs/format/meta_store.md
TEST(RocksdbRows, StayAsTheyAre) {
  EXPECT_EQ(HistoryKey("a/b", 0x0102), std::string("k/a/b\0\0\0\0\0\0\0\1\2", 14));
  EXPECT_EQ(RevisionKey(0x0102), std::string("r/\0\0\0\0\0\0\1\2", 10));
  HistoryRow row;
  row.deleted = true;
  row.create_revision = 2;
  row.version = 3;
  row.lease = 4;
  row.value = "v";
  EXPECT_EQ(EncodeHistory(row), std::string("\1\1\2\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0v", 27));
  EXPECT_EQ(EncodeState({5, 6}), std::string("\1\5\0\0\0\0\0\0\0\6\0\0\0\0\0\0\0", 17));
  const auto back = DecodeHistory(EncodeHistory(row));
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->lease, 4);
  EXPECT_EQ(back->value, "v");
  EXPECT_FALSE(DecodeHistory("\1\1").has_value());
  EXPECT_FALSE(DecodeKeys("\5\0").has_value());
  EXPECT_FALSE(DecodeState(std::string("\2\5\0", 3)).ok());
}

// ---- stages

TEST(Stage, TransactionsOfAGroupSeeEachOther) {
  const KeyIndex keys;
  LeaseIndex leases;
  leases[7];
  Stage stage(keys, leases, 10);
  EXPECT_EQ(*stage.Add({Compare::Absent("a")}, {MetaOp::Put("a", "1", 7)}), 11);
  EXPECT_EQ(stage.Add({Compare::Absent("a")}, {MetaOp::Put("a", "2")}).status().code(), ErrorCode::kConflict);
  EXPECT_EQ(*stage.Add({Compare::Unchanged("a", 11)}, {MetaOp::Put("p/a", "1"), MetaOp::Put("p/b", "1", 7)}), 12);
  EXPECT_EQ(*stage.End(7), 13);
  EXPECT_FALSE(stage.End(7).ok());
  EXPECT_EQ(stage.Add({}, {MetaOp::Put("late", "1", 7)}).status().code(), ErrorCode::kIoKeyNotFound);
  EXPECT_EQ(*stage.Add({}, {MetaOp::DeletePrefix("p/"), MetaOp::Put("q", "1")}), 14);
  ASSERT_EQ(stage.revisions().size(), 4u);
  EXPECT_EQ(stage.revisions()[2].events.size(), 2u);  // a and p/b went with the lease
  EXPECT_EQ(stage.revisions()[3].events.size(), 2u);  // only p/a was left
  KeyIndex after = keys;
  std::move(stage).ApplyTo(after, leases);
  ASSERT_EQ(after.size(), 1u);
  EXPECT_EQ(after.begin()->first, "q");
  EXPECT_TRUE(leases.empty());
}

}  // namespace

std::unique_ptr<MetaStore> OpenStoreForRecipes(const std::string& directory) { return Open(directory); }

}  // namespace saker
