#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "base/file.h"
#include "catalog/catalog_writer.h"
#include "catalog/recovery.h"
#include "catalog/dirty_collections.h"
#include "catalog/node_fixture.h"
#include "meta/id_allocator.h"

namespace saker {
namespace {

using std::chrono::milliseconds;

class CatalogWriterTest : public testing::Test {
 protected:
  CatalogWriterTest() { EXPECT_TRUE(writer_.Start().ok()); }

  static Database Named(int64_t id, const std::string& name) { return {DatabaseId(id), name, {}, 1}; }
  static std::vector<MetaOp> Put(const Database& database) { return {MetaOp::Put(DatabaseKey(database.id), Encode(database))}; }
  std::vector<std::string> Objects(const std::string& prefix) {
    std::vector<std::string> names;
    const auto listed = objects_->List(prefix);
    for (const ObjectInfo& object : *listed) names.push_back(object.name);
    return names;
  }
  // What the object store alone says the catalog is.
  std::map<std::string, std::string> Rebuilt() {
    std::map<std::string, std::string> keys;
    for (const char* prefix : {"catalog/snapshot/", "catalog/log/"}) {
      for (const std::string& name : Objects(prefix)) {
        const auto ops = DecodeChanges(*objects_->Get(name));
        EXPECT_TRUE(ops.ok()) << name;
        for (const MetaOp& op : *ops) {
          if (op.kind == MetaOp::Kind::kPut) keys[op.key] = op.value;
          if (op.kind == MetaOp::Kind::kDelete) keys.erase(op.key);
        }
      }
    }
    return keys;
  }
  std::map<std::string, std::string> Present() {
    std::map<std::string, std::string> keys;
    const auto range = meta_->Range(std::string(kCatalogPrefix));
    for (const KeyValue& kv : range->kvs) keys[kv.key] = kv.value;
    keys.erase(std::string(kCatalogSequenceKey));
    return keys;
  }

  void FillDisk() {
    TEST_SetFileFault([root = directory_.path() + "/objects"](FileOperation operation, const std::string& path) {
      return operation == FileOperation::kWrite && path.starts_with(root) ? ENOSPC : 0;
    });
  }
  void FreeDisk() { TEST_SetFileFault({}); }

  TestDirectory directory_;
  std::unique_ptr<MetaStore> meta_ = *OpenRocksdbStore({directory_.path() + "/meta"});
  std::unique_ptr<ObjectStore> objects_ = *OpenDirectoryStore(directory_.path() + "/objects");
  CatalogWriter writer_{meta_.get(), objects_.get()};
  CatalogWriter segments_{meta_.get(), objects_.get(), kSegmentKeys};
};

TEST_F(CatalogWriterTest, EveryChangeIsCopied) {
  ASSERT_TRUE(writer_.Commit({}, Put(Named(1, "a"))).ok());
  ASSERT_TRUE(writer_.Commit({}, Put(Named(2, "b"))).ok());
  ASSERT_TRUE(writer_.Commit({}, {MetaOp::Delete(DatabaseKey(DatabaseId(1)))}).ok());
  EXPECT_EQ(Objects("catalog/").size(), 3u);
  EXPECT_EQ(Rebuilt(), Present());
  EXPECT_EQ(Present().size(), 1u);
}

// A copy that failed is made before anything else changes: what the object store has is never with a gap.
TEST_F(CatalogWriterTest, NoChangeIsMadeBeforeTheLastOneIsCopied) {
  FillDisk();
  EXPECT_EQ(writer_.Commit({}, Put(Named(1, "a"))).status().code(), ErrorCode::kDiskLimitExceeded);
  EXPECT_EQ(Present().size(), 1u) << "made, and not acknowledged";
  EXPECT_EQ(writer_.Commit({}, Put(Named(2, "b"))).status().code(), ErrorCode::kDiskLimitExceeded);
  EXPECT_EQ(Present().size(), 1u) << "refused before it was made";
  FreeDisk();
  ASSERT_TRUE(writer_.Commit({}, Put(Named(3, "c"))).ok());
  EXPECT_EQ(Objects("catalog/log/").size(), 2u);
  EXPECT_EQ(Rebuilt(), Present());
}

// Two writers never give two changes one number, and each waits for the other's copy.
TEST_F(CatalogWriterTest, TwoWritersShareOneSequence) {
  CatalogWriter other(meta_.get(), objects_.get());
  ASSERT_TRUE(other.Start().ok());
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(writer_.Commit({}, Put(Named(2 * i + 1, "a"))).ok());
    ASSERT_TRUE(other.Commit({}, Put(Named(2 * i + 2, "b"))).ok());
  }
  EXPECT_EQ(Objects("catalog/log/").size(), 20u);
  EXPECT_EQ(Rebuilt(), Present());
  const auto conflict = writer_.Commit({Compare::Absent(DatabaseKey(DatabaseId(1)))}, Put(Named(1, "x")));
  EXPECT_EQ(conflict.status().code(), ErrorCode::kConflict);
}

TEST_F(CatalogWriterTest, AnOlderMetaStoreIsRefused) {
  ASSERT_TRUE(writer_.Commit({}, Put(Named(1, "a"))).ok());
  EXPECT_TRUE(CatalogWriter(meta_.get(), objects_.get()).Start().ok());
  TestDirectory empty;
  const auto fresh = *OpenRocksdbStore({empty.path()});
  const Status refused = CatalogWriter(fresh.get(), objects_.get()).Start();
  EXPECT_EQ(refused.code(), ErrorCode::kCorrupted);
  EXPECT_NE(refused.message().find("up to change 1"), std::string::npos) << refused.message();
}

TEST_F(CatalogWriterTest, OnlyItsOwnKeysAreCopied) {
  ASSERT_TRUE(segments_.Start().ok());
  ASSERT_TRUE(segments_.Commit({}, {MetaOp::Put(SegmentKey(CollectionId(1), SegmentId(2)), "s"), MetaOp::Put(TaskKey(3), "t")}).ok());
  const auto copied = DecodeChanges(*objects_->Get(Objects("catalog/segment-log/").at(0)));
  ASSERT_EQ(copied->size(), 1u);
  EXPECT_EQ(copied->front().key, SegmentKey(CollectionId(1), SegmentId(2)));
  EXPECT_TRUE(meta_->Get(TaskKey(3)).ok());
  EXPECT_THAT(Objects("catalog/log/"), testing::IsEmpty());
}

// Who is poked by a change and then looks at the revision must find it: no other change may follow to poke again.
TEST(CatalogTest, AListenerFindsTheCatalogAtTheChangesRevision) {
  TestDirectory directory;
  NodeStores stores(directory.path());
  std::atomic<int> told{0};
  const int handle = stores.catalog->Subscribe([&](const Catalog::Change& change) {
    EXPECT_GE(stores.catalog->revision(), change.revision);
    ++told;
  });
  for (int i = 0; i < 50; ++i) stores.Put(ModelCollection(false, ModelSchema(false)));
  EXPECT_GT(told, 0);
  stores.catalog->Unsubscribe(handle);
  stores.StopPools();
}

// ---- recovery

class RecoveryTest : public CatalogWriterTest {
 protected:
  RecoveryTest() { EXPECT_TRUE(segments_.Start().ok()); }
  Status PutSegment(int64_t id, const std::string& value) {
    return segments_.Commit({}, {MetaOp::Put(SegmentKey(CollectionId(1), SegmentId(id)), value)}).status();
  }
  // Keys and values of both families.
  static std::map<std::string, std::string> All(MetaStore& store) {
    std::map<std::string, std::string> keys;
    for (const auto prefix : {kCatalogPrefix, kSegmentPrefix, kSegmentSequenceKey}) {
      const auto range = store.Range(std::string(prefix));
      for (const KeyValue& kv : range->kvs) keys[kv.key] = kv.value;
    }
    return keys;
  }
  std::unique_ptr<MetaStore> Fresh() {
    directories_.push_back(std::make_unique<TestDirectory>());
    return *OpenRocksdbStore({directories_.back()->path()});
  }
  std::vector<std::unique_ptr<TestDirectory>> directories_;
};

TEST_F(RecoveryTest, ALostMetaStoreComesBackFromTheCopies) {
  for (int64_t i = 1; i <= 300; ++i) ASSERT_TRUE(writer_.Commit({}, Put(Named(i, "d" + std::to_string(i)))).ok());
  ASSERT_TRUE(writer_.Commit({}, {MetaOp::Delete(DatabaseKey(DatabaseId(7)))}).ok());
  ASSERT_TRUE(PutSegment(1'000'000, "rows").ok());
  ASSERT_TRUE(PutSegment(1'000'001, "more").ok());
  const auto lost = Fresh();
  const auto recovered = Recover(lost.get(), objects_.get());
  ASSERT_TRUE(recovered.ok()) << recovered.status().ToString();
  EXPECT_EQ(recovered->keys_written, 301);
  EXPECT_EQ(recovered->catalog.up_to, 301);
  EXPECT_EQ(All(*lost), All(*meta_));
  EXPECT_EQ(Recover(lost.get(), objects_.get())->keys_written, 0) << "nothing is missing any more";
  // It goes on from there.
  CatalogWriter next(lost.get(), objects_.get());
  ASSERT_TRUE(next.Start().ok());
  ASSERT_TRUE(next.Commit({}, Put(Named(400, "new"))).ok());
  EXPECT_GT(*IdAllocator(lost.get()).Next(), int64_t{1} << 39) << "above all ids that were handed out";
}

TEST_F(RecoveryTest, AnOlderOneIsBroughtUpToThem) {
  const auto older = Fresh();
  CatalogWriter early(older.get(), objects_.get());
  ASSERT_TRUE(early.Start().ok());
  ASSERT_TRUE(early.Commit({}, Put(Named(1, "a"))).ok());
  ASSERT_TRUE(early.Commit({}, Put(Named(2, "b"))).ok());
  // The real one went on: from the same two changes.
  ASSERT_TRUE(Recover(meta_.get(), objects_.get()).ok());
  CatalogWriter real(meta_.get(), objects_.get());
  ASSERT_TRUE(real.Start().ok());
  ASSERT_TRUE(real.Commit({}, {MetaOp::Delete(DatabaseKey(DatabaseId(1)))}).ok());
  Database large = Named(3, "large");
  for (int i = 0; i < 20; ++i) {  // enough for a snapshot, so that the changes in between are gone
    large.properties = {{"filler", std::string(400'000, static_cast<char>('a' + i))}};
    ASSERT_TRUE(real.Commit({}, Put(large)).ok());
  }
  ASSERT_FALSE(Objects("catalog/snapshot/").empty());
  ASSERT_TRUE(Recover(older.get(), objects_.get()).ok());
  EXPECT_EQ(Present(), [&] {
    auto keys = All(*older);
    keys.erase(std::string(kCatalogSequenceKey));
    return keys;
  }());
}

TEST_F(RecoveryTest, NeitherADamagedNorAMissingCopyIsPassedOver) {
  for (int64_t i = 1; i <= 3; ++i) ASSERT_TRUE(writer_.Commit({}, Put(Named(i, "a"))).ok());
  const std::string second = Objects("catalog/log/").at(1);
  const std::string bytes = *objects_->Get(second);
  std::string damaged = bytes;
  damaged.back() = static_cast<char>(damaged.back() ^ 1);
  ASSERT_TRUE(objects_->Put(second, damaged).ok());
  const auto lost = Fresh();
  Status refused = Recover(lost.get(), objects_.get()).status();
  EXPECT_EQ(refused.code(), ErrorCode::kCorrupted);
  EXPECT_NE(refused.message().find(second), std::string::npos) << refused.message();
  ASSERT_TRUE(objects_->Delete(second).ok());
  refused = Recover(lost.get(), objects_.get()).status();
  EXPECT_EQ(refused.code(), ErrorCode::kCorrupted);
  EXPECT_NE(refused.message().find("change 2"), std::string::npos) << refused.message();
  EXPECT_TRUE(All(*lost).empty());
  ASSERT_TRUE(objects_->Put(second, bytes).ok());
  EXPECT_EQ(Recover(lost.get(), objects_.get())->keys_written, 3);
}

// Lets the first few transactions through: then the process "ends".
class FailingStore final : public MetaStore {
 public:
  FailingStore(MetaStore* real, int commits) : real_(real), left_(commits) {}
  Result<RangeResult> Range(const std::string& prefix, Revision at) override { return real_->Range(prefix, at); }
  Result<KeyValue> Get(const std::string& key, Revision at) override { return real_->Get(key, at); }
  Result<Revision> Commit(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops) override {
    if (left_-- <= 0) return Status(ErrorCode::kServiceUnavailable, "gone");
    return real_->Commit(compares, ops);
  }
  Result<std::unique_ptr<Watch>> WatchPrefix(const std::string& prefix, Revision from, OnWatch on_batch) override {
    return real_->WatchPrefix(prefix, from, std::move(on_batch));
  }
  Result<LeaseId> Grant(std::chrono::seconds ttl) override { return real_->Grant(ttl); }
  Status KeepAlive(LeaseId lease) override { return real_->KeepAlive(lease); }
  Status Revoke(LeaseId lease) override { return real_->Revoke(lease); }
  Result<Revision> CurrentRevision() override { return real_->CurrentRevision(); }
  Status Compact(Revision revision) override { return real_->Compact(revision); }

 private:
  MetaStore* const real_;
  int left_;
};

TEST_F(RecoveryTest, OneThatWasInterruptedIsDoneAgain) {
  for (int64_t i = 1; i <= 250; ++i) ASSERT_TRUE(writer_.Commit({}, Put(Named(i, "d"))).ok());
  ASSERT_TRUE(PutSegment(1, "rows").ok());
  for (int commits = 0;; ++commits) {
    const auto lost = Fresh();
    FailingStore failing(lost.get(), commits);
    if (Recover(&failing, objects_.get()).ok()) {
      EXPECT_GE(commits, 6);
      break;
    }
    EXPECT_FALSE(lost->Get(std::string(kCatalogSequenceKey)).ok()) << "never taken for whole";
    ASSERT_TRUE(Recover(lost.get(), objects_.get()).ok());
    EXPECT_EQ(All(*lost), All(*meta_));
  }
}

// However often the catalog changes, what its copies take up stays in proportion to it.
TEST_F(CatalogWriterTest, CopiesAreReplacedBySnapshots) {
  Database large = Named(1, "large");
  for (int i = 0; i < 60; ++i) {
    large.properties = {{"filler", std::string(400'000, static_cast<char>('a' + i % 26))}};
    ASSERT_TRUE(writer_.Commit({}, Put(large)).ok());
    ASSERT_TRUE(writer_.Commit({}, Put(Named(2 + i, "small"))).ok());
  }
  int64_t bytes = 0;
  const auto listed = objects_->List("");
  for (const ObjectInfo& object : *listed) bytes += object.size_bytes;
  EXPECT_LT(bytes, 6 << 20);
  EXPECT_EQ(Objects("catalog/snapshot/").size(), 1u);
  EXPECT_EQ(Rebuilt(), Present());
  CatalogWriter next(meta_.get(), objects_.get());
  ASSERT_TRUE(next.Start().ok());
  ASSERT_TRUE(next.Commit({}, Put(Named(1, "small again"))).ok());
  EXPECT_EQ(Rebuilt(), Present());
}

TEST_F(CatalogWriterTest, UpdatesTakeTurns) {
  Collection a = ModelCollection(false, ModelSchema(false));
  Collection b = a;
  b.id = CollectionId(51);
  ASSERT_TRUE(writer_.Commit({}, {MetaOp::Put(CollectionKey(a.id), Encode(a)), MetaOp::Put(CollectionKey(b.id), Encode(b))}).ok());
  CatalogWriter other(meta_.get(), objects_.get());
  std::vector<std::future<void>> done;
  for (int t = 0; t < 4; ++t) {
    done.push_back(std::async(std::launch::async, [&, t] {
      for (int i = 0; i < 20; ++i) {
        const std::string alias = std::to_string(t) + "-" + std::to_string(i);
        auto& writer = t % 2 == 0 ? writer_ : other;
        EXPECT_TRUE(writer.UpdateBoth(a.id, b.id, [&](Collection& x, Collection& y) {
          x.aliases.push_back(alias);
          y.aliases.push_back(alias);
          return Status();
        }).ok());
      }
    }));
  }
  for (auto& one : done) one.wait();
  for (const CollectionId id : {a.id, b.id}) {
    const auto after = DecodeCollection(meta_->Get(CollectionKey(id))->value);
    EXPECT_EQ(after->aliases.size(), 80u);
    EXPECT_EQ(after->version, 81);
  }
}

// ---- what a control loop looks at

class DirtyTest : public testing::Test {
 protected:
  TestDirectory directory_;
  NodeStores stores_{directory_.path()};
  std::atomic<int> pokes_{0};
  DirtyCollections dirty_{stores_.catalog.get(), [this] { ++pokes_; }};
};

TEST_F(DirtyTest, WhatComesLaterIsTakenWhenItIsDue) {
  dirty_.AddAfter(CollectionId(1), milliseconds(30));
  dirty_.AddAfter(CollectionId(2), std::chrono::hours(1));
  dirty_.AddAfter(CollectionId(1), std::chrono::hours(1));  // it is due before that
  EXPECT_TRUE(dirty_.Take().empty());
  EXPECT_GT(dirty_.NextDue(), milliseconds(0));
  EXPECT_LE(dirty_.NextDue(), milliseconds(30));
  std::this_thread::sleep_for(milliseconds(31));
  EXPECT_EQ(dirty_.Take(), std::set<CollectionId>{CollectionId(1)});
  EXPECT_GT(dirty_.NextDue(), std::chrono::minutes(59));
  dirty_.Add(CollectionId(2));
  EXPECT_EQ(dirty_.Take(), std::set<CollectionId>{CollectionId(2)});
  EXPECT_EQ(dirty_.NextDue(), milliseconds(0)) << "looked at, so no longer waited for";
}

// What waits for a node has to be looked at when one comes.
TEST_F(DirtyTest, ANodeThatComesMakesAllDirty) {
  stores_.Put(ModelCollection(false, ModelSchema(false)));
  dirty_.Start();
  EXPECT_EQ(dirty_.Take().size(), 1u);
  stores_.Commit({MetaOp::Put(SessionKey("querynode", NodeId(7)), "…")});
  EXPECT_TRUE(Eventually([&] { return dirty_.Take().contains(kModelCollection); }));
}

}  // namespace
}  // namespace saker
