// A cluster's metadata brought back from the copies, as a new generation: protocol.md, rules 14 and 15.
#include "catalog/recovery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/file.h"
#include "catalog/catalog_writer.h"
#include "catalog/node_fixture.h"
#include "meta/generation_store.h"
#include "meta/id_allocator.h"
#include "meta/losable_server.h"

namespace saker {
namespace {

using std::chrono::milliseconds;

// One process: its own connection to the meta store, and its own writers.
class Process {
 public:
  Process(LosableServer* server, ObjectStore* objects, bool coordinates = true) : objects_(objects) {
    GenerationStoreSettings settings;
    settings.open = [server]() -> Result<std::unique_ptr<MetaStore>> { return server->Connect(); };
    settings.check = [objects](MetaStore* generation) { return CheckUpToCopies(generation, objects); };
    if (coordinates) {
      settings.rebuild = [this](const GenerationStoreSettings::Under& under, int64_t above) {
        return FillGeneration(under, above, objects_, known);
      };
    }
    meta = std::move(*GenerationStore::Open(settings));
    const auto lost = [this](const Status& why) { meta->Lose(why); };
    catalog = std::make_unique<CatalogWriter>(std::make_shared<CopiedSequence>(meta.get(), objects, kCatalogKeys, lost));
    segments = std::make_shared<CopiedSequence>(meta.get(), objects, kSegmentKeys, lost);
  }
  bool Ready() {
    return Eventually([&] { return meta->CurrentRevision().ok(); });
  }
  Result<Revision> PutDatabase(int64_t id, const std::string& name) {
    return catalog->Commit({}, {MetaOp::Put(DatabaseKey(DatabaseId(id)), Encode(Database{DatabaseId(id), name, {}, 1}))});
  }
  Result<Revision> PutSegment(int64_t collection, int64_t segment) {
    return segments->Commit({}, {MetaOp::Put(SegmentKey(CollectionId(collection), SegmentId(segment)), "rows")});
  }
  std::string NameOf(int64_t id) {
    const auto kv = meta->Get(DatabaseKey(DatabaseId(id)));
    return kv.ok() ? DecodeDatabase(kv->value)->name : kv.status().message();
  }

  LastKnown known;
  std::unique_ptr<GenerationStore> meta;
  std::unique_ptr<CatalogWriter> catalog;
  std::shared_ptr<CopiedSequence> segments;

 private:
  ObjectStore* const objects_;
};

class RebuildTest : public testing::Test {
 protected:
  std::unique_ptr<Process> Begin(bool coordinates = true) {
    auto process = std::make_unique<Process>(&server_, objects_.get(), coordinates);
    EXPECT_TRUE(process->Ready());
    return process;
  }
  int64_t Generation(Process& process) {
    const auto revision = process.meta->CurrentRevision();
    EXPECT_TRUE(revision.ok()) << revision.status().ToString();
    return revision.ok() ? GenerationOf(*revision) : 0;
  }

  TestDirectory directory_;
  std::unique_ptr<ObjectStore> objects_ = *OpenDirectoryStore(directory_.path() + "/objects");
  LosableServer server_;
};

TEST_F(RebuildTest, EverythingAcknowledgedIsBack) {
  const auto process = Begin();
  for (int64_t i = 1; i <= 250; ++i) ASSERT_TRUE(process->PutDatabase(i, "d" + std::to_string(i)).ok());
  for (int64_t i = 1; i <= 150; ++i) ASSERT_TRUE(process->PutSegment(7, i).ok());
  ASSERT_TRUE(process->catalog->Commit({}, {MetaOp::Delete(DatabaseKey(DatabaseId(3)))}).ok());
  for (int round = 1; round <= 3; ++round) {
    server_.Wipe();
    ASSERT_TRUE(process->Ready());
    EXPECT_EQ(Generation(*process), 1 + round);
    EXPECT_EQ(process->meta->Range(std::string(kDatabasePrefix))->kvs.size(), 249u + (round - 1));
    EXPECT_EQ(process->meta->Range(std::string(kSegmentPrefix))->kvs.size(), 150u);
    // It goes on from there.
    ASSERT_TRUE(process->PutDatabase(1000 + round, "after").ok());
  }
  EXPECT_EQ(process->NameOf(250), "d250");
}

TEST_F(RebuildTest, AnOlderBackupIsBroughtUp) {
  const auto process = Begin();
  ASSERT_TRUE(process->PutDatabase(1, "old").ok());
  const std::string saved = server_.Save();
  ASSERT_TRUE(process->PutDatabase(1, "new").ok());
  ASSERT_TRUE(process->PutSegment(7, 1).ok());
  server_.Restore(saved);
  ASSERT_TRUE(process->Ready());
  EXPECT_EQ(process->NameOf(1), "new");
  EXPECT_EQ(process->meta->Range(std::string(kSegmentPrefix))->kvs.size(), 1u);
  // A process that starts on one sees it by the copies.
  const std::string again = server_.Save();
  ASSERT_TRUE(process->PutDatabase(1, "newer").ok());
  server_.Restore(again);
  const auto starting = Begin();
  EXPECT_EQ(starting->NameOf(1), "newer");
}

// The store says it made the change; then it is lost, and brought back before the copy was made. It can't be acknowledged.
TEST_F(RebuildTest, AChangeThatWasNotCopiedIsNeverAcknowledgedAfterwards) {
  const auto process = Begin();
  ASSERT_TRUE(process->PutDatabase(1, "a").ok());
  TEST_SetFileFault([root = directory_.path() + "/objects"](FileOperation operation, const std::string& path) {
    return operation == FileOperation::kWrite && path.starts_with(root) ? ENOSPC : 0;
  });
  EXPECT_FALSE(process->PutDatabase(2, "unacknowledged").ok());
  const auto sequence = process->meta->Get(std::string(kCatalogSequenceKey));
  ASSERT_TRUE(sequence.ok());
  TEST_SetFileFault({});
  server_.Wipe();
  ASSERT_TRUE(process->Ready());
  EXPECT_FALSE(process->meta->Get(DatabaseKey(DatabaseId(2))).ok());
  // The process that was to copy it had stood still until now: its place is taken, whatever else has happened since.
  const auto late = DecodeSequence(kCatalogSequenceKey, sequence->value);
  const std::string name = CopyName(kCatalogKeys.log_prefix, late->number);
  EXPECT_EQ(objects_->PutIfAbsent(name, late->changes).code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(FencedBy(kCatalogKeys, *objects_->Get(name)), 2);
  for (int i = 0; i < 40; ++i) {  // enough for a snapshot, which removes the copies before it
    Database large{DatabaseId(3), "large", {{"filler", std::string(400'000, static_cast<char>('a' + i % 26))}}, 1};
    ASSERT_TRUE(process->catalog->Commit({}, {MetaOp::Put(DatabaseKey(large.id), Encode(large))}).ok());
  }
  ASSERT_FALSE(objects_->List(std::string(kCatalogKeys.snapshot_prefix))->empty());
  EXPECT_FALSE(objects_->Get(CopyName(kCatalogKeys.log_prefix, 1)).ok()) << "copies are removed";
  EXPECT_EQ(objects_->PutIfAbsent(name, late->changes).code(), ErrorCode::kAlreadyExists) << "the fence is not";
}

// Somebody else began a later generation, as far as the fence, and died: nothing is acknowledged that it would not have
// seen, and the metadata moves on by itself.
TEST_F(RebuildTest, ARebuildThatDiedHalfWayIsFollowedByAnother) {
  const auto process = Begin();
  ASSERT_TRUE(process->PutDatabase(1, "a").ok());
  const auto elsewhere = Begin();
  const auto dies = FillGeneration([&](int64_t) { return server_.data().get(); }, 1, objects_.get(), {});
  ASSERT_TRUE(dies.ok()) << dies.status().ToString();
  Result<Revision> put = Status(ErrorCode::kServiceUnavailable, "");
  ASSERT_TRUE(Eventually([&] { return (put = process->PutDatabase(2, "b")).ok(); }));
  EXPECT_GT(Generation(*process), *dies);
  EXPECT_EQ(GenerationOf(*put), Generation(*process));
  EXPECT_EQ(process->NameOf(1), "a");
  server_.Wipe();
  ASSERT_TRUE(process->Ready());
  EXPECT_EQ(process->NameOf(2), "b");
}

// Many losses while two processes change the catalog: whatever was acknowledged is there, and numbered once.
TEST_F(RebuildTest, ThroughManyLossesNothingAcknowledgedIsMissing) {
  const auto first = Begin();
  const auto second = Begin();
  std::set<int64_t> acknowledged;
  Mutex mutex;
  std::atomic<bool> done{false};
  std::atomic<int64_t> next{1};
  std::vector<std::thread> writers;
  for (Process* process : {first.get(), second.get()}) {
    writers.emplace_back([&, process] {
      while (!done) {
        const int64_t id = next++;
        const auto made = process->PutDatabase(id, "d");
        if (!made.ok()) {
          std::this_thread::sleep_for(milliseconds(2));
          continue;
        }
        MutexLock lock(mutex);
        acknowledged.insert(id);
      }
    });
  }
  std::string saved = server_.Save();
  for (int round = 0; round < 12; ++round) {
    std::this_thread::sleep_for(milliseconds(150));
    switch (round % 4) {
      case 0: server_.Wipe(); break;
      case 1: server_.Exchange(); break;
      case 2: saved = server_.Save(); break;
      case 3: server_.Restore(saved, /*noticed=*/round % 8 == 3); break;
    }
  }
  std::this_thread::sleep_for(milliseconds(200));
  done = true;
  for (auto& writer : writers) writer.join();
  ASSERT_TRUE(first->Ready());
  EXPECT_GT(acknowledged.size(), 20u);
  server_.Wipe();  // what the copies alone say
  Result<RangeResult> range = Status(ErrorCode::kServiceUnavailable, "");
  ASSERT_TRUE(Eventually([&] { return (range = first->meta->Range(std::string(kDatabasePrefix))).ok(); }));
  std::set<int64_t> present;
  for (const KeyValue& kv : range->kvs) present.insert(*IdInKey(kv.key));
  for (const int64_t id : acknowledged) EXPECT_TRUE(present.contains(id)) << id;
}

TEST_F(RebuildTest, NoIdIsGivenTwice) {
  const auto first = Begin();
  const auto second = Begin();
  ASSERT_TRUE(first->PutDatabase(1, "a").ok());
  std::set<int64_t> given;
  for (int round = 0; round < 5; ++round) {
    for (Process* process : {first.get(), second.get()}) {
      IdAllocator ids(process->meta.get(), 10);
      for (int i = 0; i < 25; ++i) {
        const auto id = ids.Next();
        ASSERT_TRUE(id.ok()) << id.status().ToString();
        EXPECT_TRUE(given.insert(*id).second) << *id;
      }
    }
    server_.Wipe();
    ASSERT_TRUE(first->Ready() && second->Ready());
    // Both rebuild: the higher one is taken by the other a little later.
    ASSERT_TRUE(Eventually([&] {
      const auto a = first->meta->CurrentRevision();
      const auto b = second->meta->CurrentRevision();
      return a.ok() && b.ok() && GenerationOf(*a) == GenerationOf(*b);
    }));
  }
}

TEST_F(RebuildTest, WhatAProcessKnewIsTakenOver) {
  const auto process = Begin();
  Collection collection = ModelCollection(false, ModelSchema(false));
  ASSERT_TRUE(process->catalog->Commit({}, {MetaOp::Put(CollectionKey(collection.id), Encode(collection))}).ok());
  ASSERT_TRUE(process->PutSegment(collection.id.value, 5).ok());
  Placement whole;
  whole.collection = collection.id;
  whole.loaded = true;
  whole.segments = {{SegmentId(5), {NodeId(3)}, true}};
  Placement of_nothing = whole;
  of_nothing.collection = CollectionId(999);
  ChannelAssignment channel;
  channel.channel = 2;
  channel.owner = NodeId(4);
  channel.epoch = 17;
  process->known = {{whole, of_nothing}, {channel}, {SessionInfo{NodeId(3), "querynode", "here:1", "1", 1, 1}}};
  server_.Wipe();
  ASSERT_TRUE(process->Ready());
  const auto placed = process->meta->Get(PlacementKey(collection.id));
  ASSERT_TRUE(placed.ok());
  EXPECT_EQ(placed->value, Encode(whole));
  EXPECT_FALSE(process->meta->Get(PlacementKey(CollectionId(999))).ok());
  EXPECT_EQ(DecodeChannelAssignment(process->meta->Get(ChannelKey(2))->value)->epoch, 17);
  const auto session = process->meta->Get(SessionKey("querynode", NodeId(3)));
  ASSERT_TRUE(session.ok());
  EXPECT_NE(session->lease, 0) << "it ends unless its process registers again";
  // A route that names a segment nobody acknowledged would miss rows.
  process->known.placements.front().segments.push_back({SegmentId(6), {NodeId(3)}, true});
  server_.Wipe();
  ASSERT_TRUE(process->Ready());
  EXPECT_FALSE(process->meta->Get(PlacementKey(collection.id)).ok());
}

TEST_F(RebuildTest, AnotherClustersMetaStoreIsRefused) {
  ASSERT_TRUE(objects_->Put("cluster/id", "ours").ok());
  { const auto process = Begin(); }
  const auto other = *OpenDirectoryStore(directory_.path() + "/other");
  ASSERT_TRUE(other->Put("cluster/id", "theirs").ok());
  Process stranger(&server_, other.get());
  ASSERT_TRUE(Eventually([&] { return stranger.meta->Ready().message().find("cluster ours") != std::string::npos; }))
      << stranger.meta->Ready().message();
  EXPECT_NE(stranger.meta->Ready().message().find("theirs"), std::string::npos);
  EXPECT_EQ(*NewestGeneration(other.get()), 0) << "nothing was begun";
  const auto process = Begin();
  EXPECT_EQ(process->meta->Get(std::string(kClusterIdKey))->value, "ours");
}

TEST_F(RebuildTest, ADamagedCopyIsNamedAndNothingServed) {
  const auto process = Begin();
  for (int64_t i = 1; i <= 3; ++i) ASSERT_TRUE(process->PutDatabase(i, "a").ok());
  const std::string name = CopyName(kCatalogKeys.log_prefix, 2);
  const std::string bytes = *objects_->Get(name);
  ASSERT_TRUE(objects_->Put(name, bytes.substr(0, bytes.size() - 1)).ok());
  server_.Wipe();
  ASSERT_TRUE(Eventually([&] { return process->meta->Get("x").status().message().find(name) != std::string::npos; }));
  EXPECT_EQ(process->meta->Range("").status().code(), ErrorCode::kServiceUnavailable);
  ASSERT_TRUE(objects_->Put(name, bytes).ok());
  ASSERT_TRUE(process->Ready());
  EXPECT_EQ(process->meta->Range(std::string(kDatabasePrefix))->kvs.size(), 3u);
}

}  // namespace
}  // namespace saker
