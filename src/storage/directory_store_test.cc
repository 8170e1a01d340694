#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "storage/object_store_contract.h"

namespace saker {
namespace {

namespace fs = std::filesystem;

class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string pattern = (fs::temp_directory_path() / "saker_storage_XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~ScratchDirectory() { fs::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::unique_ptr<ObjectStore> Open(const std::string& root) {
  auto store = OpenDirectoryStore(root);
  EXPECT_TRUE(store.ok()) << store.status().ToString();
  return std::move(store).value();
}

class DirectoryFixture final : public ObjectStoreFixture {
 public:
  ObjectStore& store() override { return *store_; }
  void Reopen() override {
    store_.reset();
    store_ = Open(root_);
  }

 private:
  ScratchDirectory scratch_;
  const std::string root_ = scratch_.path() + "/made/on/demand";
  std::unique_ptr<ObjectStore> store_ = Open(root_);
};

INSTANTIATE_TEST_SUITE_P(Directory, ObjectStoreContract,
                         testing::Values([]() -> std::unique_ptr<ObjectStoreFixture> {
                           return std::make_unique<DirectoryFixture>();
                         }));

class DirectoryStoreTest : public testing::Test {
 protected:
  ~DirectoryStoreTest() override { TEST_SetFileFault({}); }

  std::vector<std::string> Temporary() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(scratch_.path() + "/.tmp")) {
      if (entry.path().extension() != ".lock") names.push_back(entry.path().filename());
    }
    return names;
  }

  ScratchDirectory scratch_;
};

TEST_F(DirectoryStoreTest, ObjectsAreFilesOfTheirName) {
  const auto store = Open(scratch_.path());
  ASSERT_TRUE(store->Put("a/b/c.bin", "hello").ok());
  std::ifstream in(scratch_.path() + "/a/b/c.bin");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), "hello");
  ASSERT_TRUE(store->Delete("a/b/c.bin").ok());
  EXPECT_FALSE(fs::exists(scratch_.path() + "/a"));  // empty directories go with their last object
}

TEST_F(DirectoryStoreTest, LeftOversOfADeadProcessAreRemovedThoseOfALiveOneAreNot) {
  const auto live = Open(scratch_.path());
  auto writer = live->Create("object");
  ASSERT_TRUE(writer.ok());
  std::ofstream(scratch_.path() + "/.tmp/0123456789abcdef.7") << "half";
  std::ofstream(scratch_.path() + "/.tmp/0123456789abcdef.lock") << "";
  EXPECT_EQ(Temporary().size(), 2u);
  const auto second = Open(scratch_.path());
  EXPECT_EQ(Temporary().size(), 1u);
  EXPECT_FALSE(fs::exists(scratch_.path() + "/.tmp/0123456789abcdef.lock"));
  ASSERT_TRUE((*writer)->Append("whole").ok());
  ASSERT_TRUE((*writer)->Finish().ok());
  EXPECT_EQ(*second->Get("object"), "whole");
  EXPECT_TRUE(Temporary().empty());
}

TEST_F(DirectoryStoreTest, TwoStoresOverOneRootBearEachOthersDeletions) {
  const auto a = Open(scratch_.path());
  const auto b = Open(scratch_.path());
  ASSERT_TRUE(a->Put("d/e/x", "1").ok());
  ASSERT_TRUE(b->Delete("d/e/x").ok());
  EXPECT_FALSE(fs::exists(scratch_.path() + "/d"));
  EXPECT_TRUE(a->Put("d/e/y", "2").ok());
  EXPECT_EQ(*b->Get("d/e/y"), "2");
}

TEST_F(DirectoryStoreTest, AnObjectIsNotADirectory) {
  const auto store = Open(scratch_.path());
  ASSERT_TRUE(store->Put("a", "1").ok());
  const Status below = store->Put("a/b", "2");
  EXPECT_EQ(below.code(), ErrorCode::kParameterInvalid);
  EXPECT_NE(below.message().find("directory of another"), std::string::npos) << below.message();
  ASSERT_TRUE(store->Put("c/d", "1").ok());
  EXPECT_EQ(store->Put("c", "2").code(), ErrorCode::kParameterInvalid);
  EXPECT_EQ(store->PutIfAbsent("c", "2").code(), ErrorCode::kParameterInvalid);
  EXPECT_EQ(*store->Get("c/d"), "1");
  EXPECT_TRUE(Temporary().empty());
}

// Each step that can fail leaves the old object, or none, and no temporary file.
TEST_F(DirectoryStoreTest, AFailedPutChangesNothing) {
  const auto store = Open(scratch_.path());
  ASSERT_TRUE(store->Put("kept", "old").ok());
  for (const FileOperation failing :
       {FileOperation::kOpen, FileOperation::kWrite, FileOperation::kSync, FileOperation::kRename}) {
    for (const int error : {EIO, ENOSPC}) {
      TEST_SetFileFault([=](FileOperation operation, const std::string&) { return operation == failing ? error : 0; });
      const ErrorCode expected = error == EIO ? ErrorCode::kIoFailed : ErrorCode::kDiskLimitExceeded;
      EXPECT_EQ(store->Put("kept", "new").code(), expected);
      EXPECT_EQ(store->Put("fresh/object", "new").code(), expected);
      TEST_SetFileFault({});
      EXPECT_EQ(*store->Get("kept"), "old");
      EXPECT_EQ(store->Get("fresh/object").status().code(), ErrorCode::kIoKeyNotFound);
      EXPECT_TRUE(Temporary().empty());
    }
  }
  EXPECT_TRUE(store->Put("kept", "new").ok());
  EXPECT_EQ(*store->Get("kept"), "new");
}

TEST_F(DirectoryStoreTest, APutIsNotAcknowledgedBeforeItsDirectoriesAreDurable) {
  const auto store = Open(scratch_.path());
  std::vector<std::string> synced;
  TEST_SetFileFault([&synced](FileOperation operation, const std::string& path) {
    if (operation == FileOperation::kSyncDirectory) synced.push_back(path);
    return 0;
  });
  ASSERT_TRUE(store->Put("p/q/one", "1").ok());
  const std::string& root = scratch_.path();
  EXPECT_EQ(synced, (std::vector<std::string>{root, root + "/p", root + "/p/q"}));
  synced.clear();
  ASSERT_TRUE(store->Put("p/q/two", "2").ok());
  EXPECT_EQ(synced, std::vector<std::string>{root + "/p/q"});
  TEST_SetFileFault([](FileOperation operation, const std::string&) {
    return operation == FileOperation::kSyncDirectory ? EIO : 0;
  });
  EXPECT_EQ(store->Put("p/q/three", "3").code(), ErrorCode::kIoFailed);
}

// "It is there already" is also what somebody hears whose first attempt could not be made durable.
TEST_F(DirectoryStoreTest, WhatExistsAlreadyIsDurable) {
  const auto store = Open(scratch_.path());
  ASSERT_TRUE(store->Put("p/other", "1").ok());
  TEST_SetFileFault([](FileOperation operation, const std::string&) {
    return operation == FileOperation::kSyncDirectory ? EIO : 0;
  });
  EXPECT_EQ(store->PutIfAbsent("p/one", "1").code(), ErrorCode::kIoFailed);
  EXPECT_EQ(store->PutIfAbsent("p/one", "1").code(), ErrorCode::kIoFailed);
  int synced = 0;
  TEST_SetFileFault([&synced](FileOperation operation, const std::string&) {
    synced += operation == FileOperation::kSyncDirectory;
    return 0;
  });
  EXPECT_EQ(store->PutIfAbsent("p/one", "1").code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(synced, 1);
  EXPECT_EQ(*store->Get("p/one"), "1");
}

TEST_F(DirectoryStoreTest, AFullDiskIsDiskLimitExceeded) {
  const auto store = Open(scratch_.path());
  auto writer = store->Create("large");
  ASSERT_TRUE(writer.ok());
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old_limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  rlimit limit = old_limit;
  limit.rlim_cur = 1'500'000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  Status status;
  for (int i = 0; i < 10 && status.ok(); ++i) status = (*writer)->Append(std::string(400'000, 'x'));
  const Status finished = (*writer)->Finish();
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old_limit), 0);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(status.code(), ErrorCode::kDiskLimitExceeded);
  EXPECT_EQ(finished.code(), ErrorCode::kDiskLimitExceeded);  // not a shorter object
  writer->reset();
  EXPECT_EQ(store->Get("large").status().code(), ErrorCode::kIoKeyNotFound);
  EXPECT_TRUE(Temporary().empty());
}

}  // namespace
}  // namespace saker
