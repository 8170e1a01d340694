// What every object store must do, as tests over a factory:
//   INSTANTIATE_TEST_SUITE_P(Directory, ObjectStoreContract, testing::Values([] { return …; }));
// The store may hold other objects: the tests use names of their own.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "storage/object_store.h"

namespace saker {

// A store to test, and a way to open it anew, which must find what was put.
class ObjectStoreFixture {
 public:
  virtual ~ObjectStoreFixture() = default;
  virtual ObjectStore& store() = 0;
  virtual void Reopen() = 0;
};
using ObjectStoreFactory = std::function<std::unique_ptr<ObjectStoreFixture>()>;

using NameList = std::vector<std::string>;

class ObjectStoreContract : public testing::TestWithParam<ObjectStoreFactory> {
 protected:
  ObjectStoreContract() : fixture_(GetParam()()) {}
  ObjectStore& store() { return fixture_->store(); }
  void Reopen() { fixture_->Reopen(); }

  std::vector<std::string> Names(const std::string& prefix) {
    const auto listed = store().List(prefix);
    EXPECT_TRUE(listed.ok()) << listed.status().ToString();
    std::vector<std::string> names;
    if (listed.ok()) {
      for (const ObjectInfo& info : *listed) names.push_back(info.name);
    }
    return names;
  }
  std::string Content(const std::string& name) {
    const auto got = store().Get(name);
    return got.ok() ? *got : got.status().ToString();
  }
  static std::string Pattern(size_t n) {
    std::string out(n, '\0');
    for (size_t i = 0; i < n; ++i) out[i] = static_cast<char>((i * 2654435761u) >> 13);
    return out;
  }

 private:
  std::unique_ptr<ObjectStoreFixture> fixture_;
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(ObjectStoreContract);


TEST_P(ObjectStoreContract, PutIsFoundAndReplaces) {
  ASSERT_TRUE(store().Put("a/b/one", "first").ok());
  EXPECT_EQ(Content("a/b/one"), "first");
  ASSERT_TRUE(store().Put("a/b/one", "2nd").ok());
  EXPECT_EQ(Content("a/b/one"), "2nd");
  const std::string binary("\0\xff\n\0", 4);
  ASSERT_TRUE(store().Put("binary", binary).ok());
  EXPECT_EQ(Content("binary"), binary);
}

TEST_P(ObjectStoreContract, SurvivesReopening) {
  ASSERT_TRUE(store().Put("x/kept", Pattern(3'000'000)).ok());
  ASSERT_TRUE(store().Put("x/gone", "y").ok());
  ASSERT_TRUE(store().Delete("x/gone").ok());
  Reopen();
  EXPECT_TRUE(Content("x/kept") == Pattern(3'000'000));
  EXPECT_EQ(Names(""), NameList{"x/kept"});
}

TEST_P(ObjectStoreContract, MissingIsKeyNotFound) {
  ASSERT_TRUE(store().Put("dir/object", "x").ok());
  for (const char* name : {"nothing", "dir", "dir/object/below", "dir/obj", "other/object"}) {
    EXPECT_EQ(store().Get(name).status().code(), ErrorCode::kIoKeyNotFound) << name;
    EXPECT_EQ(store().GetRange(name, 0, 1).status().code(), ErrorCode::kIoKeyNotFound) << name;
    EXPECT_EQ(store().Map(name).status().code(), ErrorCode::kIoKeyNotFound) << name;
    EXPECT_TRUE(store().Delete(name).ok()) << name;
  }
  EXPECT_EQ(Content("dir/object"), "x");
}

TEST_P(ObjectStoreContract, PutIfAbsentKeepsTheFirst) {
  ASSERT_TRUE(store().PutIfAbsent("token/1", "mine").ok());
  EXPECT_EQ(store().PutIfAbsent("token/1", "yours").code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(Content("token/1"), "mine");
  ASSERT_TRUE(store().Delete("token/1").ok());
  EXPECT_TRUE(store().PutIfAbsent("token/1", "yours").ok());
  EXPECT_EQ(Content("token/1"), "yours");
}

TEST_P(ObjectStoreContract, PutIfAbsentHasOneWinner) {
  for (int round = 0; round < 10; ++round) {
    const std::string name = "race/" + std::to_string(round);
    std::atomic<int> winners{0};
    std::atomic<int> losers{0};
    std::string winner;
    std::vector<std::thread> threads;
    for (int t = 0; t < 6; ++t) {
      threads.emplace_back([&, t] {
        const Status put = store().PutIfAbsent(name, std::to_string(t));
        if (put.ok()) {
          ++winners;
          winner = std::to_string(t);
        }
        if (put.code() == ErrorCode::kAlreadyExists) ++losers;
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(winners, 1);
    EXPECT_EQ(losers, 5);
    EXPECT_EQ(Content(name), winner);
  }
}

TEST_P(ObjectStoreContract, RangesEndAtTheObjectsEnd) {
  const std::string content = Pattern(10'000);
  ASSERT_TRUE(store().Put("ranged", content).ok());
  const auto range = [this](int64_t offset, int64_t length) {
    const auto got = store().GetRange("ranged", offset, length);
    return got.ok() ? *got : got.status().ToString();
  };
  EXPECT_EQ(range(0, 10), content.substr(0, 10));
  EXPECT_EQ(range(4095, 3), content.substr(4095, 3));
  EXPECT_EQ(range(9'990, 100), content.substr(9'990));
  EXPECT_EQ(range(10'000, 5), "");
  EXPECT_EQ(range(50'000, 5), "");
  EXPECT_EQ(range(7, 0), "");
  EXPECT_EQ(store().GetRange("ranged", -1, 5).status().code(), ErrorCode::kParameterInvalid);
  EXPECT_EQ(store().GetRange("ranged", 0, -5).status().code(), ErrorCode::kParameterInvalid);
}

TEST_P(ObjectStoreContract, EmptyObjects) {
  ASSERT_TRUE(store().Put("empty", "").ok());
  EXPECT_EQ(Content("empty"), "");
  const auto mapped = store().Map("empty");
  ASSERT_TRUE(mapped.ok());
  EXPECT_EQ((*mapped)->bytes(), "");
  const auto listed = store().List("empty");
  ASSERT_TRUE(listed.ok());
  ASSERT_EQ(listed->size(), 1u);
  EXPECT_EQ((*listed)[0].size_bytes, 0);
}

TEST_P(ObjectStoreContract, ListIsInNameOrderAndByPrefix) {
  // "a-b" and "a.b" sort before "a/b", though a walk of directories meets them otherwise.
  for (const char* name : {"seg/a/2", "seg/a/10", "seg/a-b", "seg/a.b", "seg/ab", "segment", "other/x", "seg/b/c/d"}) {
    ASSERT_TRUE(store().Put(name, name).ok());
  }
  EXPECT_EQ(Names(""), (NameList{"other/x", "seg/a-b", "seg/a.b", "seg/a/10", "seg/a/2", "seg/ab", "seg/b/c/d", "segment"}));
  EXPECT_EQ(Names("seg"), (NameList{"seg/a-b", "seg/a.b", "seg/a/10", "seg/a/2", "seg/ab", "seg/b/c/d", "segment"}));
  EXPECT_EQ(Names("seg/"), (NameList{"seg/a-b", "seg/a.b", "seg/a/10", "seg/a/2", "seg/ab", "seg/b/c/d"}));
  EXPECT_EQ(Names("seg/a"), (NameList{"seg/a-b", "seg/a.b", "seg/a/10", "seg/a/2", "seg/ab"}));
  EXPECT_EQ(Names("seg/a/"), (NameList{"seg/a/10", "seg/a/2"}));
  EXPECT_EQ(Names("seg/a/1"), NameList{"seg/a/10"});
  EXPECT_EQ(Names("seg/b/c/d"), NameList{"seg/b/c/d"});
  EXPECT_EQ(Names("seg/a/10/"), NameList{});
  EXPECT_EQ(Names("nothing/"), NameList{});
  const auto listed = store().List("seg/b");
  ASSERT_TRUE(listed.ok());
  EXPECT_EQ((*listed)[0].size_bytes, 9);
  EXPECT_GT((*listed)[0].modified_unix_ms, 1'600'000'000'000);
}

TEST_P(ObjectStoreContract, WriterAppearsWholeWithFinish) {
  const std::string content = Pattern(5'000'000);
  auto writer = store().Create("streamed/object");
  ASSERT_TRUE(writer.ok());
  size_t step = 1;
  for (size_t at = 0; at < content.size(); at += step, step = step * 3 % 700'001) {
    ASSERT_TRUE((*writer)->Append(std::string_view(content).substr(at, step)).ok());
    EXPECT_EQ((*writer)->size(), static_cast<int64_t>(std::min(content.size(), at + step)));
  }
  EXPECT_EQ(store().Get("streamed/object").status().code(), ErrorCode::kIoKeyNotFound);
  EXPECT_EQ(Names(""), NameList{});
  ASSERT_TRUE((*writer)->Finish().ok());
  EXPECT_TRUE(Content("streamed/object") == content);
  EXPECT_FALSE((*writer)->Finish().ok());
  EXPECT_FALSE((*writer)->Append("more").ok());
  writer->reset();
  EXPECT_TRUE(Content("streamed/object") == content);
}

TEST_P(ObjectStoreContract, WriterWithoutFinishLeavesNothing) {
  {
    auto writer = store().Create("abandoned");
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->Append(Pattern(2'000'000)).ok());
  }
  Reopen();
  EXPECT_EQ(Names(""), NameList{});
}

TEST_P(ObjectStoreContract, MappedOutlivesDeletion) {
  const std::string content = Pattern(1'000'000);
  ASSERT_TRUE(store().Put("mapped", content).ok());
  const auto mapped = store().Map("mapped");
  ASSERT_TRUE(mapped.ok());
  EXPECT_EQ((*mapped)->name(), "mapped");
  ASSERT_TRUE(store().Delete("mapped").ok());
  EXPECT_TRUE((*mapped)->bytes() == content);
  EXPECT_EQ(store().Map("mapped").status().code(), ErrorCode::kIoKeyNotFound);
}

TEST_P(ObjectStoreContract, NamesAreChecked) {
  const std::string long_part(201, 'x');
  const std::string long_name = [] {
    std::string out;
    while (out.size() < 1001) out += "abcdefghi/";
    return out + "x";
  }();
  for (const std::string& name : std::vector<std::string>{
           "", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a b", "a\\b", "a\nb", ".tmp/x", ".hidden",
           std::string("a\0b", 3), "\xc3\xa4", long_part, long_name}) {
    EXPECT_EQ(store().Put(name, "x").code(), ErrorCode::kParameterInvalid) << name;
    EXPECT_EQ(store().PutIfAbsent(name, "x").code(), ErrorCode::kParameterInvalid) << name;
    EXPECT_EQ(store().Create(name).status().code(), ErrorCode::kParameterInvalid) << name;
    EXPECT_EQ(store().Get(name).status().code(), ErrorCode::kParameterInvalid) << name;
    EXPECT_EQ(store().Map(name).status().code(), ErrorCode::kParameterInvalid) << name;
    EXPECT_EQ(store().Delete(name).code(), ErrorCode::kParameterInvalid) << name;
  }
  for (const char* prefix : {"/", "a//", "../", "a b", "a/../b", ".tmp/"}) {
    EXPECT_EQ(store().List(prefix).status().code(), ErrorCode::kParameterInvalid) << prefix;
  }
  EXPECT_TRUE(store().Put("A-z_0.9/..x/.y", "fine").ok());
  EXPECT_EQ(Names("A-z_0.9/.."), NameList{"A-z_0.9/..x/.y"});
  EXPECT_TRUE(store().Put(std::string(200, 'x'), "fine").ok());
}

TEST_P(ObjectStoreContract, ConcurrentWritersAndReaders) {
  constexpr int kThreads = 4;
  constexpr int kObjects = 40;
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kObjects; ++i) {
        // All threads share the directories, which empty and fill again.
        const std::string name = "shared/" + std::to_string(i % 3) + "/" + std::to_string(t);
        const std::string content = Pattern(static_cast<size_t>(1000 * t + i));
        if (!store().Put(name, content).ok()) ++failures;
        if (store().Get(name).status().ok() && Content(name) != content) ++failures;
        if (!store().List("shared/").ok()) ++failures;
        if (!store().Delete(name).ok()) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(Names(""), NameList{});
}

}  // namespace saker
