#include "storage/object_cache.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

namespace saker {
namespace {

namespace fs = std::filesystem;

class ObjectCacheTest : public testing::Test {
 protected:
  ObjectCacheTest() {
    std::string pattern = (fs::temp_directory_path() / "saker_cache_XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
    Open(1000, "store-1");
  }
  ~ObjectCacheTest() override {
    TEST_SetFileFault({});
    fs::remove_all(directory_);
  }

  void Open(int64_t max_bytes, const std::string& store_id) {
    cache_.reset();
    auto cache = ObjectCache::Open(directory_, max_bytes, store_id);
    ASSERT_TRUE(cache.ok()) << cache.status().ToString();
    cache_ = std::move(cache).value();
  }

  // Maps `name`, fetching `content` if it has to.
  Result<std::shared_ptr<const MappedObject>> Map(const std::string& name, const std::string& content) {
    return cache_->Map(name, [this, content](const File& file, const ObjectCache::Reserve& reserve) {
      ++fetches_;
      RETURN_IF_ERROR(reserve(static_cast<int64_t>(content.size())));
      return file.WriteAt(content, 0);
    });
  }
  std::string Content(const std::string& name, const std::string& content) {
    const auto mapped = Map(name, content);
    return mapped.ok() ? std::string((*mapped)->bytes()) : mapped.status().ToString();
  }
  // Of the objects: without LOCK and STORE.
  std::vector<fs::path> Files() const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(directory_)) {
      const std::string name = entry.path().filename();
      if (name != "LOCK" && name != "STORE") files.push_back(entry.path());
    }
    return files;
  }

  std::string directory_;
  std::unique_ptr<ObjectCache> cache_;
  std::atomic<int> fetches_{0};
};

TEST_F(ObjectCacheTest, FetchesOnceAndForgets) {
  EXPECT_EQ(Content("a", "first"), "first");
  EXPECT_EQ(Content("a", "second"), "first");
  EXPECT_EQ(fetches_, 1);
  cache_->Forget("a");
  EXPECT_EQ(Files().size(), 0u);
  EXPECT_EQ(cache_->bytes(), 0);
  EXPECT_EQ(Content("a", "second"), "second");
  EXPECT_EQ(Content("empty", ""), "");
  EXPECT_EQ(fetches_, 3);
}

TEST_F(ObjectCacheTest, EvictsWhatWasUsedLongestAgo) {
  for (const char* name : {"a", "b", "c"}) EXPECT_EQ(Content(name, std::string(300, *name)), std::string(300, *name));
  EXPECT_EQ(Content("a", ""), std::string(300, 'a'));
  EXPECT_EQ(Content("d", std::string(300, 'd')), std::string(300, 'd'));  // b has to go
  EXPECT_EQ(cache_->bytes(), 900);
  EXPECT_EQ(Files().size(), 3u);
  fetches_ = 0;
  EXPECT_EQ(Content("a", ""), std::string(300, 'a'));
  EXPECT_EQ(Content("d", ""), std::string(300, 'd'));
  EXPECT_EQ(fetches_, 0);
  EXPECT_EQ(Content("b", "again"), "again");
  EXPECT_EQ(fetches_, 1);
}

TEST_F(ObjectCacheTest, MappedOutlivesEvictionAndIsShared) {
  const auto mapped = Map("mapped", std::string(600, 'm'));
  ASSERT_TRUE(mapped.ok());
  EXPECT_EQ(Content("other", std::string(300, 'o')), std::string(300, 'o'));
  EXPECT_EQ(Content("another", std::string(300, 'p')), std::string(300, 'p'));  // "other" goes, though used later
  EXPECT_EQ(cache_->bytes(), 900);
  const auto large = Map("large", std::string(900, 'l'));  // now it has to go as well
  ASSERT_TRUE(large.ok());
  EXPECT_EQ(Files().size(), 1u);
  EXPECT_EQ((*mapped)->bytes(), std::string(600, 'm'));
  fetches_ = 0;
  const auto again = Map("mapped", "");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->get(), mapped->get());
  EXPECT_EQ(fetches_, 0);
}

TEST_F(ObjectCacheTest, LargerThanTheCache) {
  const auto mapped = Map("huge", std::string(5000, 'h'));
  ASSERT_TRUE(mapped.ok());
  EXPECT_EQ((*mapped)->bytes().size(), 5000u);
  EXPECT_EQ(cache_->bytes(), 0);
  EXPECT_EQ(Files().size(), 0u);
}

TEST_F(ObjectCacheTest, LaterProcessesTakeFilesUp) {
  EXPECT_EQ(Content("a", "kept"), "kept");
  Open(1000, "store-1");
  EXPECT_EQ(cache_->bytes(), 4);
  EXPECT_EQ(Content("a", "fetched"), "kept");
  EXPECT_EQ(fetches_, 1);
  Open(1000, "store-2");  // another store's object of that name is another one
  EXPECT_EQ(Content("a", "of store 2"), "of store 2");
  Open(3, "store-2");
  EXPECT_EQ(cache_->bytes(), 0);
  EXPECT_EQ(Files().size(), 0u);
}

TEST_F(ObjectCacheTest, DamagedAndTornFilesAreFetchedAgain) {
  EXPECT_EQ(Content("damaged", "good bytes"), "good bytes");
  EXPECT_EQ(Content("torn", "ten bytes!"), "ten bytes!");
  cache_.reset();
  std::ofstream(directory_ + "/tmp-17") << "left over";
  std::ofstream(directory_ + "/not-ours") << "stays";
  for (const fs::path& file : Files()) {
    std::ifstream in(file);
    const std::string content(std::istreambuf_iterator<char>(in), {});
    if (content == "good bytes") std::ofstream(file) << "goob bytes";
    if (content == "ten bytes!") std::ofstream(file) << "ten";
  }
  Open(1000, "store-1");
  EXPECT_FALSE(fs::exists(directory_ + "/tmp-17"));
  EXPECT_TRUE(fs::exists(directory_ + "/not-ours"));
  EXPECT_EQ(Content("damaged", "fetched"), "fetched");
  EXPECT_EQ(Content("torn", "fetched, too"), "fetched, too");
  EXPECT_EQ(Content("damaged", ""), "fetched");
}

TEST_F(ObjectCacheTest, OneFetchForAllWhoWait) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      const auto mapped = cache_->Map("shared", [&](const File& file, const ObjectCache::Reserve& reserve) {
        ++fetches_;
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        RETURN_IF_ERROR(reserve(6));
        return file.WriteAt("shared", 0);
      });
      if (!mapped.ok() || (*mapped)->bytes() != "shared") ++wrong;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(fetches_, 1);
}

TEST_F(ObjectCacheTest, WhatChangesDuringAFetchIsNotKept) {
  const auto mapped = cache_->Map("changing", [&](const File& file, const ObjectCache::Reserve&) {
    cache_->Forget("changing");
    EXPECT_EQ(Content("changing", "new"), "new");
    return file.WriteAt("old", 0);
  });
  ASSERT_TRUE(mapped.ok());
  EXPECT_EQ((*mapped)->bytes(), "old");
  EXPECT_EQ(Content("changing", "newer"), "new");
  EXPECT_EQ(Files().size(), 1u);
}

TEST_F(ObjectCacheTest, AFailedFetchLeavesNothing) {
  const auto mapped = cache_->Map("a", [](const File& file, const ObjectCache::Reserve&) {
    RETURN_IF_ERROR(file.WriteAt("half", 0));
    return Status(ErrorCode::kServiceUnavailable, "gone");
  });
  EXPECT_EQ(mapped.status().code(), ErrorCode::kServiceUnavailable);
  EXPECT_EQ(Files().size(), 0u);
  EXPECT_EQ(Content("a", "whole"), "whole");
}

TEST_F(ObjectCacheTest, AFullDiskIsNamedAfterWhatCouldBeSpared) {
  EXPECT_EQ(Content("spare", "spare"), "spare");
  const auto held = Map("held", "held");
  ASSERT_TRUE(held.ok());
  // Full as long as "spare" has its file.
  const std::string spare = [this] {
    for (const fs::path& file : Files()) {
      if (fs::file_size(file) == 5) return file.string();
    }
    return std::string();
  }();
  TEST_SetFileFault([spare](FileOperation operation, const std::string&) {
    return operation == FileOperation::kWrite && fs::exists(spare) ? ENOSPC : 0;
  });
  EXPECT_EQ(Content("a", "fits now"), "fits now");
  EXPECT_FALSE(fs::exists(spare));
  TEST_SetFileFault(
      [](FileOperation operation, const std::string&) { return operation == FileOperation::kWrite ? ENOSPC : 0; });
  const auto full = Map("b", "b");
  EXPECT_EQ(full.status().code(), ErrorCode::kDiskLimitExceeded);
  EXPECT_NE(full.status().message().find(directory_), std::string::npos) << full.status().ToString();
  TEST_SetFileFault({});
  EXPECT_EQ(Content("b", "b"), "b");
  EXPECT_EQ((*held)->bytes(), "held");
}

TEST_F(ObjectCacheTest, ADirectoryHasOneOwner) {
  const auto second = ObjectCache::Open(directory_, 1000, "store-1");
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.status().message().find("in use"), std::string::npos);
}

// Bytes stay right and the bound holds, whatever threads map, forget and let go.
TEST_F(ObjectCacheTest, ManyThreads) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      std::vector<std::shared_ptr<const MappedObject>> held;
      for (int i = 0; i < 300; ++i) {
        const int n = (i * 7 + t * 3) % 13;
        const std::string content(static_cast<size_t>(50 + n * 20), static_cast<char>('a' + n));
        const auto mapped = Map("object" + std::to_string(n), content);
        if (!mapped.ok() || (*mapped)->bytes() != content) ++wrong;
        if (mapped.ok() && i % 5 == 0) held.push_back(*mapped);
        if (held.size() > 4) held.clear();
        if (i % 17 == 0) cache_->Forget("object" + std::to_string(n));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  int64_t bytes = 0;
  for (const fs::path& file : Files()) bytes += static_cast<int64_t>(fs::file_size(file));
  EXPECT_EQ(bytes, cache_->bytes());
  EXPECT_LE(bytes, 1000);
}

}  // namespace
}  // namespace saker
