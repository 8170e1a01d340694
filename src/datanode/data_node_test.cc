// The datanode over the embedded stores: what it acknowledges is durable and found, before and after flushes, faults,
// take-overs and restarts.
#include "datanode/data_node_role.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <random>
#include <set>

#include "base/log.h"
#include "catalog/node_fixture.h"
#include "datanode/record.h"

namespace saker {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using testing::UnorderedElementsAre;

const CollectionId kSecondCollection{51};
using Texts = std::map<int64_t, std::string>;

// The file log, with faults on demand. They come back in append order, as the log's own do.
class FaultyLog final : public Log {
 public:
  enum class Fault { kNone, kRefused, kFailedUnwritten, kFailedWritten };
  explicit FaultyLog(std::unique_ptr<Log> real) : real_(std::move(real)) {}

  int channel_count() const override { return real_->channel_count(); }
  bool exclusive() const override { return !shared; }
  void Append(std::vector<LogAppend> records, Appended done) override {
    ++appends;
    switch (fault.load()) {
      case Fault::kNone:
        return real_->Append(std::move(records), std::move(done));
      case Fault::kRefused:
        if (std::all_of(records.begin(), records.end(), [](const LogAppend& record) { return record.essential; })) {
          return real_->Append(std::move(records), std::move(done));
        }
        return real_->Append({}, [done = std::move(done)](auto) { done(Status(ErrorCode::kDiskLimitExceeded, "the disk is full")); });
      case Fault::kFailedUnwritten:
        return real_->Append({}, [done = std::move(done)](auto) { done(Status(ErrorCode::kIoFailed, "the sync failed")); });
      case Fault::kFailedWritten:
        return real_->Append(std::move(records), [done = std::move(done)](auto) { done(Status(ErrorCode::kIoFailed, "the sync failed")); });
    }
  }
  Result<LogOffset> Fence(ChannelId channel, Epoch epoch, std::string payload) override {
    return real_->Fence(channel, epoch, std::move(payload));
  }
  Result<Epoch> FencedEpoch(ChannelId channel) override { return real_->FencedEpoch(channel); }
  Result<std::vector<LogRecord>> Read(ChannelId channel, LogOffset from, int64_t max_bytes) override {
    if (before_read) before_read(channel, from);
    return real_->Read(channel, from, read_bytes > 0 ? read_bytes : max_bytes);
  }
  Result<LogOffset> Begin(ChannelId channel) override { return real_->Begin(channel); }
  Result<LogOffset> End(ChannelId channel) override { return real_->End(channel); }
  Status Truncate(ChannelId channel, LogOffset before, Epoch epoch) override { return real_->Truncate(channel, before, epoch); }
  int64_t size_bytes() const override { return real_->size_bytes(); }

  std::atomic<Fault> fault{Fault::kNone};
  std::atomic<bool> shared{false};  // others could append too, as with Kafka
  std::atomic<int> appends{0};
  // Set before the node starts.
  std::function<void(ChannelId, LogOffset)> before_read;
  int64_t read_bytes = 0;

 private:
  std::unique_ptr<Log> real_;
};

// Commits as the datacoord does, raises epochs that are used up, and does what a test puts in between.
class CommittingCoord final : public IdleDataCoord {
 public:
  explicit CommittingCoord(NodeStores* stores) : stores_(stores) {}

  Status UpdateChannel(ChannelId channel, const std::function<bool(ChannelAssignment&)>& change) {
    for (int i = 0; i < 100; ++i) {
      ASSIGN_OR_RETURN(const KeyValue kv, stores_->meta->Get(ChannelKey(channel)));
      ASSIGN_OR_RETURN(ChannelAssignment assignment, DecodeChannelAssignment(kv.value));
      if (!change(assignment)) return {};
      const auto committed = stores_->meta->Commit({Compare::Unchanged(kv.key, kv.mod_revision)},
                                                   {MetaOp::Put(kv.key, Encode(assignment))});
      if (committed.status().code() != ErrorCode::kConflict) return committed.status();
    }
    return {ErrorCode::kConflict, "the channel is changing all the time"};
  }
  void RaiseEpoch(ChannelId channel, Epoch above = 0) {
    EXPECT_TRUE(UpdateChannel(channel, [&](ChannelAssignment& assignment) {
      if (above != 0 && assignment.epoch > above) return false;
      assignment.epoch = std::max(assignment.epoch, above) + 1;
      return true;
    }).ok());
  }

  Result<Revision> CommitFlush(ChannelId channel, Epoch epoch, const std::vector<SegmentMeta>& segments) override {
    if (before_commit) RETURN_IF_ERROR(before_commit());
    for (int i = 0; i < 100; ++i) {
      ASSIGN_OR_RETURN(const KeyValue channel_kv, stores_->meta->Get(ChannelKey(channel)));
      ASSIGN_OR_RETURN(const ChannelAssignment assignment, DecodeChannelAssignment(channel_kv.value));
      if (assignment.epoch != epoch) return Status(ErrorCode::kSuperseded, "the channel has another owner");
      ASSIGN_OR_RETURN(const KeyValue kv, stores_->meta->Get(CollectionKey(segments.front().collection)));
      ASSIGN_OR_RETURN(const Collection collection, DecodeCollection(kv.value));
      if (collection.dropped) return Status(ErrorCode::kCollectionNotFound, "dropped");
      std::vector<MetaOp> ops;
      for (const SegmentMeta& segment : segments) ops.push_back(MetaOp::Put(SegmentKey(segment.collection, segment.id), Encode(segment)));
      auto committed = stores_->meta->Commit({Compare::Unchanged(channel_kv.key, channel_kv.mod_revision),
                                              Compare::Unchanged(kv.key, kv.mod_revision)}, ops);
      if (committed.ok() && loses_answers) return Status(ErrorCode::kDeadlineExceeded, "no answer");
      if (committed.status().code() != ErrorCode::kConflict) return committed;
    }
    return Status(ErrorCode::kServiceUnavailable, "changing all the time");
  }
  Status ReportSealed(ChannelId channel, Epoch epoch, CollectionId collection, Timestamp sealed_before) override {
    return UpdateChannel(channel, [&](ChannelAssignment& assignment) {
      const auto it = assignment.seal_before.find(collection);
      if (assignment.epoch != epoch || it == assignment.seal_before.end() || it->second > sealed_before) return false;
      assignment.seal_before.erase(it);
      return true;
    });
  }
  Status ReportChannelLost(ChannelId channel, NodeId, Epoch seen) override {
    if (!heed_losses) return {};
    RaiseEpoch(channel, seen);
    return {};
  }
  Status ReportCheckpoint(ChannelId channel, Epoch, int64_t checkpoint) override {
    MutexLock lock(mutex_);
    if (refused_checkpoints_ > 0) {
      --refused_checkpoints_;
      return {ErrorCode::kServiceNotReady, "elected, and not serving yet"};
    }
    checkpoints_[channel] = checkpoint;
    return {};
  }
  void RefuseCheckpoints(int times) {
    MutexLock lock(mutex_);
    refused_checkpoints_ = times;
  }
  Status ReportHandedOver(ChannelId channel, Epoch epoch) override {
    MutexLock lock(mutex_);
    if (refused_handovers_ > 0) {
      --refused_handovers_;
      return {ErrorCode::kServiceNotReady, "elected, and not serving yet"};
    }
    handed_over_[channel] = epoch;
    return {};
  }
  void RefuseHandovers(int times) {
    MutexLock lock(mutex_);
    refused_handovers_ = times;
  }
  Epoch handed_over(ChannelId channel) {
    MutexLock lock(mutex_);
    return handed_over_[channel];
  }
  int64_t checkpoint(ChannelId channel) {
    MutexLock lock(mutex_);
    return checkpoints_[channel];
  }

  std::function<Status()> before_commit;  // set while nothing is flushed
  std::atomic<bool> loses_answers{false};  // of commits that were made
  std::atomic<bool> heed_losses{true};

 private:
  NodeStores* const stores_;
  Mutex mutex_;
  std::map<ChannelId, int64_t> checkpoints_ GUARDED_BY(mutex_);
  int refused_checkpoints_ GUARDED_BY(mutex_) = 0;
  std::map<ChannelId, Epoch> handed_over_ GUARDED_BY(mutex_);
  int refused_handovers_ GUARDED_BY(mutex_) = 0;
};

struct ProcessOptions {
  DataNodeSettings settings = {};
  std::function<void(FaultyLog&)> log = {};
  bool start = true;
  bool generations = false;
};

// A process with a datanode; another one on the same directory is the next.
class Process {
 public:
  explicit Process(const std::string& directory, ProcessOptions options = {}) : stores(directory, options.generations), coord(&stores) {
    FileLogSettings settings;
    settings.directory = directory + "/log";
    settings.channels = 2;
    settings.reserve_bytes = 0;
    auto opened = OpenFileLog(settings);
    EXPECT_TRUE(opened.ok()) << opened.status().ToString();
    log = std::make_unique<FaultyLog>(std::move(*opened));
    if (options.log) options.log(*log);
    peers.data = &coord;
    DataNodeDeps deps;
    deps.node = kThisNode;
    deps.catalog = stores.catalog.get();
    deps.meta = stores.meta.get();
    deps.log = log.get();
    deps.objects = stores.objects.get();
    deps.peers = &peers;
    deps.apply = stores.control.get();
    deps.io = stores.io.get();
    deps.timer = stores.timer.get();
    deps.next_id = [this] { return stores.ids->Next(1); };
    node = std::make_unique<DataNodeRole>(std::move(deps), options.settings);
    if (options.start) node->Start();
  }
  ~Process() {
    node->Stop();
    log.reset();
    stores.StopPools();
  }

  NodeStores stores;
  CommittingCoord coord;
  TestPeers peers;
  std::unique_ptr<FaultyLog> log;
  std::unique_ptr<DataNodeRole> node;
};

struct Write {
  ModelRows inserts = {};
  std::vector<int64_t> deletes = {};
  PartitionId partition = kModelPartition;
  PartitionId delete_partition = {};
  ChannelId channel = 0;
  CollectionId collection = kModelCollection;
  int64_t version = 1;
  uint64_t batch_id = 0;
};

constexpr int64_t kLatestRoute = -1;  // as this node sees it

struct Leg {
  std::vector<SegmentId> sealed = {};
  int64_t route = 0;
  std::vector<PartitionId> partitions = {};
  CollectionId collection = kModelCollection;
  ChannelId channel = 0;
  bool count_only = false;
  bool pinned = false;
};

class DataNodeTest : public testing::Test {
 protected:
  void SetUp() override {
    SetLogLevel(LogLevel::kError);
    NewProcess(options_);
    collection_ = ModelCollection(/*loaded=*/true, ModelSchema(false));
    stores().Put(collection_);
    for (ChannelId channel = 0; channel < 2; ++channel) {
      ChannelAssignment assignment;
      assignment.channel = channel;
      assignment.owner = kThisNode;
      assignment.epoch = 1;
      stores().Put(assignment);
    }
    ASSERT_TRUE(AwaitServing());
  }
  void TearDown() override {
    process_.reset();
    SetLogLevel(LogLevel::kInfo);
  }

  NodeStores& stores() { return process_->stores; }
  CommittingCoord& coord() { return process_->coord; }
  FaultyLog& log() { return *process_->log; }
  DataNodeRole& node() { return *process_->node; }

  bool Serves(ChannelId channel) {
    return WaitFor<ReadPoint>([&](auto done) {
      node().BeginRead({kModelCollection, {channel}, ConsistencyLevel::kStrong, 0}, done);
    }).ok();
  }
  bool AwaitServing() {
    return Eventually([&] { return Serves(0) && Serves(1); });
  }
  void NewProcess(ProcessOptions options = {}) {
    process_.reset();
    process_ = std::make_unique<Process>(directories_.back()->path(), std::move(options));
  }
  void Restart(ProcessOptions options = {}) {
    NewProcess(std::move(options));
    ASSERT_TRUE(AwaitServing());
  }
  static std::vector<std::unique_ptr<TestDirectory>> NewDirectories() {
    std::vector<std::unique_ptr<TestDirectory>> out;
    out.push_back(std::make_unique<TestDirectory>());
    return out;
  }
  // Goes on with what a kill at this moment would have left.
  void Kill() {
    directories_.push_back(std::make_unique<TestDirectory>());
    // What refers comes after what it refers to has been there.
    for (const char* part : {"log", "meta", "objects"}) directories_[directories_.size() - 2]->CopyTo(*directories_.back(), part);
    Restart();
  }

  // ---- writing

  WriteRequest RequestOf(const Write& write) {
    WriteRequest request;
    request.collection = write.collection;
    request.collection_version = write.version;
    request.batch_id = write.batch_id != 0 ? write.batch_id : ++next_batch_;
    ShardWrite shard;
    shard.channel = write.channel;
    shard.deletes = KeysOf(write.deletes, false);
    shard.delete_partition = write.delete_partition;
    if (!write.inserts.empty()) shard.inserts.emplace_back(write.partition, BatchOf(*collection_.schema, write.inserts));
    request.shards.push_back(std::move(shard));
    return request;
  }
  Result<Timestamp> Do(const Write& write) {
    const auto response = WaitFor<WriteResponse>([&](auto done) { node().Write(RequestOf(write), done); });
    if (!response.ok()) return response.status();
    return response->ts;
  }
  Timestamp Insert(const Texts& rows) { return MustDo({.inserts = RowsOf(rows)}); }
  Timestamp Upsert(const Texts& rows) {
    Write write{.inserts = RowsOf(rows)};
    for (const auto& [key, text] : rows) write.deletes.push_back(key);
    return MustDo(write);
  }
  Timestamp Delete(std::vector<int64_t> keys) { return MustDo({.deletes = std::move(keys)}); }
  Timestamp MustDo(const Write& write) {
    const auto ts = Do(write);
    EXPECT_TRUE(ts.ok()) << ts.status().ToString();
    return ts.ok() ? *ts : 0;
  }
  static ModelRows RowsOf(const Texts& texts) {
    ModelRows rows;
    for (const auto& [key, text] : texts) rows.push_back(RowWith(key, text));
    return rows;
  }

  // ---- reading

  Result<ReadPoint> BeginRead(ConsistencyLevel level, ChannelId channel = 0) {
    return WaitFor<ReadPoint>([&](auto done) { node().BeginRead({kModelCollection, {channel}, level, 0}, done); });
  }
  Timestamp ReadPointNow(ChannelId channel = 0, Timestamp at_least = 0) {
    const auto point = WaitFor<ReadPoint>([&](auto done) {
      node().BeginRead({kModelCollection, {channel}, ConsistencyLevel::kStrong, at_least}, done);
    });
    EXPECT_TRUE(point.ok()) << point.status().ToString();
    return point.ok() ? point->ts : 0;
  }
  Result<QueryRows> QueryAt(Timestamp ts, const Leg& leg = {}) {
    GrowingLeg growing;
    growing.collection = leg.collection;
    growing.channels = {leg.channel};
    growing.partitions = leg.partitions;
    growing.route_version = leg.route == kLatestRoute ? stores().catalog->revision() : leg.route;
    growing.sealed = leg.sealed;
    growing.view.read_ts = ts;
    growing.pinned = leg.pinned;
    return WaitFor<QueryRows>([&](auto done) { node().Query(growing, AllRowsPlan(collection_.schema, leg.count_only), done); });
  }
  Texts At(Timestamp ts, const Leg& leg = {}) {
    const auto rows = QueryAt(ts, leg);
    EXPECT_TRUE(rows.ok()) << rows.status().ToString();
    return rows.ok() ? TextsOf(*rows) : Texts{};
  }
  Texts Now(const Leg& leg = {}) { return At(ReadPointNow(leg.channel), leg); }

  // Committed row segments of a collection, sorted.
  std::vector<SegmentId> Committed(CollectionId collection = kModelCollection) {
    std::vector<SegmentId> out;
    for (const auto& segment : stores().catalog->Segments(collection)) {
      if (segment->kind == SegmentKind::kRows && segment->state == SegmentState::kFlushed) out.push_back(segment->id);
    }
    return out;
  }
  // What a querynode that holds all committed segments would answer with the growing leg's part: each row must come once.
  Texts Everything(CollectionId collection = kModelCollection) {
    const std::vector<SegmentId> sealed = Committed(collection);
    const Timestamp ts = ReadPointNow();
    Texts out = At(ts, {.sealed = sealed, .route = kLatestRoute, .collection = collection});
    for (const SegmentId id : sealed) {
      const auto meta = stores().catalog->FindSegment(id);
      const auto segment = OpenSegment(stores().objects.get(), *meta);
      EXPECT_TRUE(segment.ok()) << segment.status().ToString();
      for (const DeleteBatch& batch : DeletesBeyond(*meta)) (*segment)->Delete(batch);
      const auto rows = QuerySegment(*AllRowsPlan(collection_.schema), **segment, {ts, 0});
      EXPECT_TRUE(rows.ok());
      for (const auto& [key, text] : TextsOf(*rows)) EXPECT_TRUE(out.emplace(key, text).second) << "key " << key << " twice";
    }
    return out;
  }
  std::vector<DeleteBatch> DeletesBeyond(const SegmentMeta& meta) {
    std::vector<DeleteBatch> out;
    Timestamp position = meta.deletes_until;
    for (const auto& file : stores().catalog->Segments(meta.collection)) {
      if (file->kind != SegmentKind::kDeletes || file->max_ts <= meta.deletes_until) continue;
      const auto batches = ReadDeletes(stores().objects.get(), *file);
      EXPECT_TRUE(batches.ok());
      out.insert(out.end(), batches->begin(), batches->end());
      position = std::max(position, file->max_ts);
    }
    const auto stream = node().Deletes({meta.collection, meta.channel, position, kMaxTimestamp});
    EXPECT_TRUE(stream.ok()) << stream.status().ToString();
    if (stream.ok()) out.insert(out.end(), stream->batches.begin(), stream->batches.end());
    std::erase_if(out, [&](const DeleteBatch& batch) { return batch.ts <= meta.deletes_until; });
    std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.ts < b.ts; });
    return out;
  }

  // ---- flushing

  void RequestFlush(CollectionId collection = kModelCollection, ChannelId channel = 0) {
    const Timestamp until = ReadPointNow(channel);
    ASSERT_TRUE(coord().UpdateChannel(channel, [&](ChannelAssignment& assignment) {
      assignment.seal_before[collection] = until;
      return true;
    }).ok());
  }
  bool IsFlushed(CollectionId collection = kModelCollection, ChannelId channel = 0) {
    const auto kv = stores().meta->Get(ChannelKey(channel));
    return kv.ok() && !DecodeChannelAssignment(kv->value)->seal_before.contains(collection) &&
           stores().catalog->WaitFor(kv->mod_revision, std::chrono::seconds(10)).ok();
  }
  void Flush(CollectionId collection = kModelCollection, ChannelId channel = 0) {
    RequestFlush(collection, channel);
    ASSERT_TRUE(Eventually([&] { return IsFlushed(collection, channel); }));
  }

  ProcessOptions options_;  // of the first process
  std::vector<std::unique_ptr<TestDirectory>> directories_ = NewDirectories();
  std::unique_ptr<Process> process_;
  Collection collection_;
  std::atomic<uint64_t> next_batch_{0};
};

// ---- what is acknowledged

TEST_F(DataNodeTest, AnAcknowledgedWriteIsFoundAtOnceAndAfterAKill) {
  const Timestamp first = Insert({{1, "a"}, {2, "b"}});
  const Timestamp second = Insert({{3, "c"}});
  EXPECT_GT(second, first);
  EXPECT_GE(ReadPointNow(), second);
  EXPECT_THAT(Now(), ElementsAre(Pair(1, "a"), Pair(2, "b"), Pair(3, "c")));
  EXPECT_THAT(At(first), ElementsAre(Pair(1, "a"), Pair(2, "b")));
  EXPECT_THAT(At(first - 1), IsEmpty());
  const Timestamp read = ReadPointNow();
  Kill();
  EXPECT_GE(ReadPointNow(), read);
  EXPECT_THAT(Now(), ElementsAre(Pair(1, "a"), Pair(2, "b"), Pair(3, "c")));
  const auto rows = QueryAt(ReadPointNow());
  EXPECT_THAT(rows->timestamps, ElementsAre(first, first, second));
  EXPECT_GT(Insert({{4, "d"}}), read);
  EXPECT_EQ(Now().size(), 4u);
}

TEST_F(DataNodeTest, AnUpsertIsOneTimestamp) {
  Insert({{1, "a"}, {2, "b"}});
  const Timestamp ts = Upsert({{1, "A"}});
  EXPECT_THAT(At(ts - 1), ElementsAre(Pair(1, "a"), Pair(2, "b")));
  EXPECT_THAT(At(ts), ElementsAre(Pair(1, "A"), Pair(2, "b")));
  Upsert({{1, "AA"}});
  EXPECT_EQ(QueryAt(ReadPointNow(), {.count_only = true})->count, 2);
  Kill();
  EXPECT_THAT(At(ts - 1), ElementsAre(Pair(1, "a"), Pair(2, "b")));
  EXPECT_THAT(At(ts), ElementsAre(Pair(1, "A"), Pair(2, "b")));
  EXPECT_THAT(Now(), ElementsAre(Pair(1, "AA"), Pair(2, "b")));
  EXPECT_EQ(QueryAt(ReadPointNow(), {.count_only = true})->count, 2);
}

TEST_F(DataNodeTest, ADeleteCountsFromItsTimestampOnForWhatWasInsertedBefore) {
  Insert({{1, "a"}, {2, "b"}});
  const Timestamp gone = Delete({1, 99});
  const Timestamp back = Insert({{1, "again"}});
  EXPECT_THAT(At(gone - 1), ElementsAre(Pair(1, "a"), Pair(2, "b")));
  EXPECT_THAT(At(gone), ElementsAre(Pair(2, "b")));
  EXPECT_THAT(At(back), ElementsAre(Pair(1, "again"), Pair(2, "b")));
  Kill();
  EXPECT_THAT(At(gone - 1), ElementsAre(Pair(1, "a"), Pair(2, "b")));
  EXPECT_THAT(At(gone), ElementsAre(Pair(2, "b")));
  EXPECT_THAT(Now(), ElementsAre(Pair(1, "again"), Pair(2, "b")));
}

TEST_F(DataNodeTest, AKeyMayStandTwiceInABatch) {
  MustDo({.inserts = {RowWith(7, "x"), RowWith(7, "y"), RowWith(8, "z")}});
  EXPECT_EQ(QueryAt(ReadPointNow(), {.count_only = true})->count, 3);
  EXPECT_EQ(Now().size(), 2u);
  Delete({7});
  EXPECT_THAT(Now(), ElementsAre(Pair(8, "z")));
  Kill();
  EXPECT_THAT(Now(), ElementsAre(Pair(8, "z")));
  Flush();
  EXPECT_THAT(Everything(), ElementsAre(Pair(8, "z")));
}

TEST_F(DataNodeTest, ADeleteMayBeOfOnePartition) {
  MustDo({.inserts = {RowWith(1, "a")}});
  MustDo({.inserts = {RowWith(1, "b")}, .partition = kOtherPartition});
  MustDo({.deletes = {1}, .delete_partition = kOtherPartition});
  EXPECT_THAT(Now({.partitions = {kModelPartition}}), ElementsAre(Pair(1, "a")));
  EXPECT_THAT(Now({.partitions = {kOtherPartition}}), IsEmpty());
  Kill();
  EXPECT_THAT(Now(), ElementsAre(Pair(1, "a")));
}

TEST_F(DataNodeTest, AWriteOverSeveralShardsIsOneTimestampOnAll) {
  WriteRequest request = RequestOf({.inserts = {RowWith(1, "a")}, .channel = 0});
  request.shards.push_back(RequestOf({.inserts = {RowWith(2, "b")}, .channel = 1}).shards[0]);
  const auto response = WaitFor<WriteResponse>([&](auto done) { node().Write(std::move(request), done); });
  ASSERT_TRUE(response.ok());
  EXPECT_THAT(At(response->ts, {.channel = 0}), ElementsAre(Pair(1, "a")));
  EXPECT_THAT(At(response->ts, {.channel = 1}), ElementsAre(Pair(2, "b")));
  EXPECT_THAT(At(response->ts - 1, {.channel = 1}), IsEmpty());
  Kill();
  EXPECT_THAT(Now({.channel = 0}), ElementsAre(Pair(1, "a")));
  EXPECT_THAT(Now({.channel = 1}), ElementsAre(Pair(2, "b")));
}

TEST_F(DataNodeTest, ABatchThatIsSentAgainGetsTheFirstAnswer) {
  const Write write{.inserts = {RowWith(1, "a")}, .batch_id = 4711};
  const Timestamp ts = MustDo(write);
  EXPECT_EQ(MustDo(write), ts);
  Kill();
  EXPECT_EQ(MustDo(write), ts);
  EXPECT_EQ(QueryAt(ReadPointNow(), {.count_only = true})->count, 1);
}

// A request goes to several owners, and what one of them didn't get may be sent to another that had its own part.
TEST_F(DataNodeTest, AnotherPartOfABatchIsNotTakenForTheSameOne) {
  const Write first{.inserts = {RowWith(1, "a")}, .channel = 0, .batch_id = 4711};
  const Write second{.inserts = {RowWith(2, "b")}, .channel = 1, .batch_id = 4711};
  const Timestamp ts = MustDo(first);
  EXPECT_GT(MustDo(second), ts);
  EXPECT_THAT(Now({.channel = 1}), ElementsAre(Pair(2, "b")));
  // Both at once, of which the log had one.
  WriteRequest both = RequestOf({.inserts = {RowWith(3, "c")}, .channel = 0, .batch_id = 4712});
  MustDo({.inserts = {RowWith(3, "c")}, .channel = 0, .batch_id = 4712});
  both.shards.push_back(RequestOf({.inserts = {RowWith(4, "d")}, .channel = 1}).shards.front());
  Kill();
  ASSERT_TRUE(WaitFor<WriteResponse>([&](auto done) { node().Write(both, done); }).ok());
  EXPECT_THAT(Now({.channel = 0}), UnorderedElementsAre(Pair(1, "a"), Pair(3, "c")));
  EXPECT_THAT(Now({.channel = 1}), UnorderedElementsAre(Pair(2, "b"), Pair(4, "d")));
  EXPECT_EQ(QueryAt(ReadPointNow(), {.count_only = true})->count, 2);
}

TEST_F(DataNodeTest, ABatchThatIsSentAgainWhileItIsUnderWayIsWrittenOnce) {
  constexpr int kTimes = 20;
  const Write write{.inserts = {RowWith(1, "a")}, .batch_id = 4711};
  std::vector<std::future<Result<WriteResponse>>> answers;
  for (int i = 0; i < kTimes; ++i) {
    auto promise = std::make_shared<std::promise<Result<WriteResponse>>>();
    answers.push_back(promise->get_future());
    node().Write(RequestOf(write), [promise](Result<WriteResponse> answer) { promise->set_value(std::move(answer)); });
  }
  std::set<Timestamp> stamps;
  for (auto& answer : answers) stamps.insert(answer.get()->ts);
  EXPECT_EQ(stamps.size(), 1u);
  EXPECT_EQ(QueryAt(ReadPointNow(), {.count_only = true})->count, 1);
}

// ---- timestamps

TEST_F(DataNodeTest, NothingIsStampedBelowWhatEarlierOwnersMayHaveServed) {
  process_.reset();
  const Timestamp ceiling = MakeTimestamp(WallMs() + 3'600'000);
  {
    FileLogSettings settings;
    settings.directory = directories_.back()->path() + "/log";
    settings.channels = 2;
    auto log = OpenFileLog(settings);
    ASSERT_TRUE(log.ok());
    ASSERT_TRUE((*log)->Fence(0, 5, Encode(CeilingRecord{ceiling})).ok());
  }
  Restart();
  EXPECT_GT(ReadPointNow(), ceiling);
  EXPECT_GT(Insert({{1, "a"}}), ceiling);
}

// Also when all that was stamped high is flushed and gone from the log, and the wall clock went back.
TEST_F(DataNodeTest, ADeleteAfterARestartIsNeverTakenForOneThatIsInTheFiles) {
  process_.reset();
  {
    FileLogSettings settings;
    settings.directory = directories_.back()->path() + "/log";
    settings.channels = 2;
    auto log = OpenFileLog(settings);
    ASSERT_TRUE(log.ok());
    ASSERT_TRUE((*log)->Fence(0, 5, Encode(CeilingRecord{MakeTimestamp(WallMs() + 3'600'000)})).ok());
  }
  Restart();
  Texts rows;
  for (int64_t key = 0; key < 100; ++key) rows[key] = std::string(60'000, 'x');
  Insert(rows);
  for (int i = 0; i < 10; ++i) ReadPointNow(0, ReadPointNow() + 1);  // the seal lies beyond the last row
  const Timestamp served = ReadPointNow();
  Flush();
  ASSERT_TRUE(Eventually([&] { return log().size_bytes() < (1 << 20); })) << log().size_bytes();
  Restart();
  EXPECT_GE(ReadPointNow(), served);
  Delete({5});
  EXPECT_EQ(Everything().size(), 99u);
}

TEST_F(DataNodeTest, AnOwnerCatchesUpWithAnotherOnesReadPoint) {
  Insert({{1, "a"}});
  const Timestamp ahead = ReadPointNow() + 1'000'000;
  EXPECT_GE(ReadPointNow(0, ahead), ahead);
  const Timestamp later = Insert({{2, "b"}});
  EXPECT_GT(later, ahead);
  EXPECT_THAT(At(ahead), ElementsAre(Pair(1, "a")));
  Kill();
  EXPECT_GT(Insert({{3, "c"}}), later);
}

TEST_F(DataNodeTest, AReadPointNeverGoesBackAndHasAllThatWasAcknowledged) {
  std::atomic<bool> done{false};
  std::atomic<Timestamp> acknowledged{0};
  std::vector<std::thread> threads;
  for (int w = 0; w < 2; ++w) {
    threads.emplace_back([&, w] {
      for (int64_t i = 0; i < 200; ++i) {
        const Timestamp ts = MustDo({.inserts = {RowWith(i * 2 + w, "x")}, .channel = w});
        Timestamp seen = acknowledged;
        while (seen < ts && !acknowledged.compare_exchange_weak(seen, ts)) {
        }
      }
    });
  }
  for (int r = 0; r < 2; ++r) {
    threads.emplace_back([&, r] {
      Timestamp last = 0;
      std::map<Timestamp, int64_t> counts;
      while (!done) {
        const Timestamp floor = acknowledged;
        const Timestamp ts = ReadPointNow(r);
        EXPECT_GE(ts, last);
        EXPECT_GE(ts, floor);
        last = ts;
        // What a read at T saw is all that there will ever be at T.
        const int64_t count = QueryAt(ts, {.channel = r, .count_only = true})->count;
        const auto [it, fresh] = counts.emplace(ts, count);
        EXPECT_EQ(it->second, count);
      }
      for (const auto& [ts, count] : counts) {
        if (counts.size() > 50 && ts % 7 != 0) continue;
        EXPECT_EQ(QueryAt(ts, {.channel = r, .count_only = true})->count, count);
      }
    });
  }
  for (int w = 0; w < 2; ++w) threads[static_cast<size_t>(w)].join();
  done = true;
  threads[2].join();
  threads[3].join();
  EXPECT_EQ(Now().size(), 200u);
  EXPECT_EQ(Now({.channel = 1}).size(), 200u);
}

// ---- flushing

TEST_F(DataNodeTest, TheGrowingCopyIsServedUntilTheSealedOneIs) {
  Insert({{1, "a"}, {2, "b"}});
  const int64_t old_route = stores().Place({});
  Flush();
  const std::vector<SegmentId> sealed = Committed();
  ASSERT_EQ(sealed.size(), 1u);
  EXPECT_THAT(*node().GrowingSegments(kModelCollection), IsEmpty());
  EXPECT_EQ(Now({.route = old_route}).size(), 2u);
  const int64_t loading_route = stores().Place(sealed, /*serving=*/false);
  EXPECT_EQ(Now({.route = loading_route}).size(), 2u);
  // A later route may have it, or what a compaction made of it, among the sealed ones: this node doesn't know.
  EXPECT_EQ(QueryAt(ReadPointNow(), {.route = stores().catalog->revision() + 1}).status().code(), ErrorCode::kStaleRoute);
  // A delete reaches the copy as well.
  Delete({2});
  EXPECT_EQ(Now({.route = loading_route}).size(), 1u);

  const int64_t route = stores().Place(sealed);
  ASSERT_TRUE(Eventually([&] { return !QueryAt(ReadPointNow(), {.route = loading_route}).ok(); }));
  EXPECT_EQ(QueryAt(ReadPointNow(), {.route = loading_route}).status().code(), ErrorCode::kStaleRoute);
  EXPECT_THAT(Now({.sealed = sealed, .route = route}), IsEmpty());
  EXPECT_THAT(Everything(), ElementsAre(Pair(1, "a")));
  const auto fetched = WaitFor<RowBatch>([&](auto done) {
    node().Fetch({kModelCollection, sealed[0], {0}, {kTextField}}, done);
  });
  EXPECT_EQ(fetched.status().code(), ErrorCode::kStaleRoute);
}

// What was flushed before a takeover is replayed by nobody: a proxy whose route is from before it was served would miss it.
TEST_F(DataNodeTest, ANewOwnerRefusesRoutesFromBeforeWhatItFoundServed) {
  Insert({{1, "a"}});
  const int64_t before = stores().Place({});
  Flush();
  const std::vector<SegmentId> sealed = Committed();
  const int64_t now = stores().Place(sealed);
  Insert({{2, "b"}});
  Restart();
  EXPECT_EQ(QueryAt(ReadPointNow(), {.route = before}).status().code(), ErrorCode::kStaleRoute);
  EXPECT_THAT(Now({.sealed = sealed, .route = now}), ElementsAre(Pair(2, "b")));
}

// A segment of which nothing was left is in no route that could tell.
TEST_F(DataNodeTest, ANewOwnerRefusesIteratorsWhoseRowsAreGone) {
  Insert({{1, "a"}});
  MustDo({.inserts = {RowWith(2, "b")}, .partition = kOtherPartition});
  const Timestamp before = ReadPointNow();
  Delete({1});
  const Timestamp after = ReadPointNow();
  Flush();
  const std::vector<SegmentId> sealed = Committed();
  ASSERT_EQ(sealed.size(), 1u);
  const int64_t route = stores().Place(sealed);
  Restart();
  const auto page = [&](Timestamp ts, const std::vector<PartitionId>& partitions) {
    return QueryAt(ts, {.sealed = sealed, .route = route, .partitions = partitions, .pinned = true}).status().code();
  };
  EXPECT_EQ(page(before, {}), ErrorCode::kParameterInvalid);
  EXPECT_EQ(page(before, {kModelPartition}), ErrorCode::kParameterInvalid);
  EXPECT_EQ(page(before, {kOtherPartition}), ErrorCode::kOk);
  EXPECT_EQ(page(after, {}), ErrorCode::kOk);
  EXPECT_TRUE(QueryAt(before, {.sealed = sealed, .route = route}).ok()) << "not an iterator's";
  EXPECT_EQ(QueryAt(after, {.sealed = sealed, .route = stores().catalog->revision() + 1, .pinned = true}).status().code(), ErrorCode::kStaleRoute);
}

class DataNodeGenerationsTest : public DataNodeTest {
 protected:
  DataNodeGenerationsTest() { options_.generations = true; }
  // The meta store is lost, and brought back with this placement instead of the last one; its version.
  int64_t NewGenerationWith(const std::vector<SegmentId>& served) {
    Placement placement;
    placement.collection = kModelCollection;
    placement.loaded = true;
    for (const SegmentId segment : served) placement.segments.push_back({segment, {kThisNode}, true});
    stores().brought_back = {{PlacementKey(kModelCollection), Encode(placement)}};
    stores().generations->Lose(Status(ErrorCode::kCorrupted, "for a test"));
    EXPECT_TRUE(Eventually([&] { return stores().meta->CurrentRevision().ok(); }));
    const auto kv = stores().meta->Get(PlacementKey(kModelCollection));
    EXPECT_TRUE(kv.ok()) << kv.status().ToString();
    return kv.ok() ? kv->mod_revision : 0;
  }
};

// The route that came back is older than the one by which the growing copy was let go.
TEST_F(DataNodeGenerationsTest, ReadsWaitForWhatALaterRouteServedBefore) {
  Insert({{1, "a"}, {2, "b"}});
  const int64_t before = stores().Place({});
  Flush();
  const std::vector<SegmentId> sealed = Committed();
  ASSERT_EQ(sealed.size(), 1u);
  stores().Place(sealed);
  ASSERT_TRUE(Eventually([&] { return !QueryAt(ReadPointNow(), {.route = before}).ok(); }));
  Insert({{3, "c"}});
  const int64_t older = NewGenerationWith({});
  ASSERT_GT(older, before);
  // At no moment are the rows left out.
  for (const auto until = MonotonicUs() + 300'000; MonotonicUs() < until;) {
    EXPECT_EQ(QueryAt(ReadPointNow(), {.route = older}).status().code(), ErrorCode::kStaleRoute);
  }
  const int64_t route = stores().Place(sealed);
  ASSERT_TRUE(Eventually([&] { return QueryAt(ReadPointNow(), {.sealed = sealed, .route = route}).ok(); }));
  EXPECT_THAT(Now({.sealed = sealed, .route = route}), ElementsAre(Pair(3, "c")));
  EXPECT_EQ(QueryAt(ReadPointNow(), {.route = older}).status().code(), ErrorCode::kStaleRoute);
}

TEST_F(DataNodeGenerationsTest, ReadsGoOnWhereTheSameRouteCameBack) {
  Insert({{1, "a"}});
  stores().Place({});
  Flush();
  const std::vector<SegmentId> sealed = Committed();
  const int64_t last = stores().Place(sealed);
  Insert({{2, "b"}});
  ASSERT_TRUE(Eventually([&] { return QueryAt(ReadPointNow(), {.sealed = sealed, .route = last}).ok(); }));
  const int64_t same = NewGenerationWith(sealed);
  EXPECT_THAT(Now({.sealed = sealed, .route = last}), ElementsAre(Pair(2, "b"))) << "a proxy that has not seen the new one yet";
  ASSERT_TRUE(Eventually([&] { return QueryAt(ReadPointNow(), {.sealed = sealed, .route = same}).ok(); }));
  EXPECT_THAT(Now({.sealed = sealed, .route = same}), ElementsAre(Pair(2, "b")));
  EXPECT_EQ(QueryAt(ReadPointNow(), {.sealed = sealed, .route = same + (int64_t{1} << kGenerationShift)}).status().code(),
            ErrorCode::kStaleRoute)
      << "of a generation that this node is yet to see";
}

// What is flushed but not served yet is read from its growing copy, whatever generation it is.
TEST_F(DataNodeGenerationsTest, AGrowingCopyThatIsStillThereIsRead) {
  Insert({{1, "a"}});
  stores().Place({});
  Flush();
  const int64_t route = NewGenerationWith({});
  ASSERT_TRUE(Eventually([&] { return QueryAt(ReadPointNow(), {.route = route}).ok(); }));
  EXPECT_THAT(Now({.route = route}), ElementsAre(Pair(1, "a")));
}

TEST_F(DataNodeTest, OfAnUnloadedCollectionNoCopyIsKept) {
  collection_.load = {};
  ++collection_.version;
  stores().Put(collection_);
  MustDo({.inserts = {RowWith(1, "a")}});
  Flush();
  ASSERT_TRUE(Eventually([&] { return Now({.route = 0}).empty(); }));
  EXPECT_EQ(Everything().size(), 1u);
}

TEST_F(DataNodeTest, CommittedRowsAreNotReplayed) {
  Insert({{1, "a"}, {2, "b"}});
  Delete({1});
  Flush();
  Insert({{3, "c"}});
  Delete({2});
  Kill();
  // The log still has all of it, but the first two are in a segment, which no route serves yet.
  EXPECT_EQ(QueryAt(ReadPointNow(), {.route = kLatestRoute}).status().code(), ErrorCode::kStaleRoute);
  EXPECT_THAT(Now({.sealed = Committed(), .route = kLatestRoute}), ElementsAre(Pair(3, "c")));
  EXPECT_THAT(Everything(), ElementsAre(Pair(3, "c")));
  // Dropped for a compaction's sake: its records bring nothing back.
  SegmentMeta dropped = *stores().catalog->FindSegment(Committed()[0]);
  dropped.state = SegmentState::kDropped;
  stores().Put(dropped);
  Restart();
  EXPECT_THAT(Now({.route = kLatestRoute}), ElementsAre(Pair(3, "c")));
}

TEST_F(DataNodeTest, DeletesOfSealedRowsAreStreamedAndFlushed) {
  Insert({{1, "a"}, {2, "b"}, {3, "c"}});
  Flush();
  const SegmentMeta meta = *stores().catalog->FindSegment(Committed()[0]);
  EXPECT_EQ(meta.rows, 3);
  const Timestamp first = Delete({1});
  EXPECT_GT(first, meta.deletes_until);
  auto stream = node().Deletes({kModelCollection, 0, meta.deletes_until, kMaxTimestamp});
  ASSERT_TRUE(stream.ok());
  ASSERT_EQ(stream->batches.size(), 1u);
  EXPECT_EQ(stream->batches[0].ts, first);
  EXPECT_GE(stream->complete_until, first);
  EXPECT_THAT(node().Deletes({kModelCollection, 0, first, kMaxTimestamp})->batches, IsEmpty());
  EXPECT_THAT(Everything(), ElementsAre(Pair(2, "b"), Pair(3, "c")));
  Kill();
  EXPECT_THAT(Everything(), ElementsAre(Pair(2, "b"), Pair(3, "c")));

  Flush();  // deletes alone
  const Timestamp second = Delete({2});
  EXPECT_THAT(Everything(), ElementsAre(Pair(3, "c")));
  Restart();
  // Now the first is in a delete segment only, and the owner says so.
  EXPECT_EQ(node().Deletes({kModelCollection, 0, meta.deletes_until, kMaxTimestamp}).status().code(), ErrorCode::kCompacted);
  stream = node().Deletes({kModelCollection, 0, first, kMaxTimestamp});
  ASSERT_TRUE(stream.ok()) << stream.status().ToString();
  ASSERT_EQ(stream->batches.size(), 1u);
  EXPECT_EQ(stream->batches[0].ts, second);
  EXPECT_THAT(Everything(), ElementsAre(Pair(3, "c")));
}

TEST_F(DataNodeTest, ASegmentWhoseRowsAreAllDeletedIsKnownAsDropped) {
  Insert({{1, "a"}});
  Delete({1});
  Flush();
  EXPECT_THAT(Committed(), IsEmpty());
  for (const auto& segment : stores().catalog->Segments(kModelCollection)) {
    if (segment->kind != SegmentKind::kRows) continue;
    EXPECT_EQ(segment->deleted_rows, 1) << "statistics count them until a compaction";
  }
  Kill();
  EXPECT_THAT(Now({.route = kLatestRoute}), IsEmpty());
  EXPECT_THAT(Everything(), IsEmpty());
}

TEST_F(DataNodeTest, AFlushThatFailedIsTriedAgain) {
  std::atomic<int> failures{1};
  coord().before_commit = [&]() -> Status {
    if (failures-- > 0) return {ErrorCode::kServiceUnavailable, "not now"};
    return {};
  };
  Insert({{1, "a"}});
  RequestFlush();
  ASSERT_TRUE(Eventually([&] { return failures < 1; }));
  Insert({{2, "b"}});
  Delete({1});
  EXPECT_THAT(Everything(), ElementsAre(Pair(2, "b")));
  ASSERT_TRUE(Eventually([&] { return IsFlushed(); }));
  EXPECT_LT(failures, 0);
  EXPECT_THAT(Everything(), ElementsAre(Pair(2, "b")));
  Kill();
  EXPECT_THAT(Everything(), ElementsAre(Pair(2, "b")));
}

// The commit was made, its answer lost; then a compaction replaced the segment before the next attempt found out.
TEST_F(DataNodeTest, WhatWasCommittedUnknownToItsOwnerIsNotReadBesideWhatReplacedIt) {
  std::atomic<bool> once{false};
  coord().loses_answers = true;
  coord().before_commit = [&]() -> Status {
    return once.exchange(true) ? Status(ErrorCode::kServiceUnavailable, "datacoord is away") : Status();
  };
  Insert({{1, "a"}});
  RequestFlush();
  ASSERT_TRUE(Eventually([&] { return Committed().size() == 1; }));
  SegmentMeta input = *stores().catalog->FindSegment(Committed()[0]);
  SegmentMeta output = input;
  output.id = SegmentId(stores().NextId());
  output.compacted_from = {input.id};
  input.state = SegmentState::kDropped;
  stores().Put(output);
  stores().Put(input);
  const int64_t route = stores().Place({output.id});
  Result<QueryRows> rows = Status(ErrorCode::kStaleRoute, "not asked");
  ASSERT_TRUE(Eventually([&] { return (rows = QueryAt(ReadPointNow(), {.sealed = {output.id}, .route = route})).ok(); })) << rows.status().ToString();
  EXPECT_EQ(rows->keys.size(), 0) << "the route has it in what replaced it";
}

TEST_F(DataNodeTest, RowsThatArriveWhileAFlushIsWrittenBelongToTheNext) {
  std::promise<void> entered, go;
  std::atomic<bool> first{true};
  coord().before_commit = [&]() -> Status {
    if (first.exchange(false)) {
      entered.set_value();
      go.get_future().wait();
    }
    return {};
  };
  Insert({{1, "a"}, {2, "b"}});
  RequestFlush();
  entered.get_future().wait();
  Insert({{3, "c"}});
  Delete({1});
  EXPECT_THAT(Now(), ElementsAre(Pair(2, "b"), Pair(3, "c")));
  go.set_value();
  ASSERT_TRUE(Eventually([&] { return IsFlushed(); }));
  EXPECT_THAT(Everything(), ElementsAre(Pair(2, "b"), Pair(3, "c")));
  Kill();
  EXPECT_THAT(Everything(), ElementsAre(Pair(2, "b"), Pair(3, "c")));
}

class AgingDataNodeTest : public DataNodeTest {
 protected:
  AgingDataNodeTest() { options_.settings.flush_age = std::chrono::milliseconds(100); }
};

TEST_F(AgingDataNodeTest, OldRowsAreFlushedByThemselves) {
  Insert({{1, "a"}});
  ASSERT_TRUE(Eventually([&] { return Committed().size() == 1; }));
  EXPECT_THAT(Everything(), ElementsAre(Pair(1, "a")));
}

class FullDataNodeTest : public DataNodeTest {
 protected:
  // Writes until that is refused, while no flush comes through; then one does, and writes are taken again. The refusal; at
  // least `least` writes were tried.
  Status Fill(const DataNodeSettings& settings, int64_t least) {
    ProcessOptions options;
    options.settings = settings;
    Restart(options);
    std::promise<void> go;
    std::shared_future<void> gone = go.get_future().share();
    coord().before_commit = [gone]() -> Status {
      gone.wait();
      return {};
    };
    const std::string big(400'000, 'x');
    Status refused;
    int64_t key = 0;
    for (; key < 20 && refused.ok(); ++key) refused = Do({.inserts = {RowWith(key, big)}}).status();
    EXPECT_EQ(refused.code(), ErrorCode::kRateLimit) << refused.ToString();
    EXPECT_GE(key, least);
    go.set_value();
    EXPECT_TRUE(Eventually([&] { return Do({.inserts = {RowWith(100, "y")}}).ok(); }));
    EXPECT_EQ(Everything().size(), static_cast<size_t>(key));  // the refused one isn't there, the last one is
    return refused;
  }
};

TEST_F(FullDataNodeTest, AFullChannelIsFlushedAndUntilThenRefusesMore) { (void)Fill({.channel_unflushed_bytes = 1 << 20}, 5); }

// However many channels it has.
TEST_F(FullDataNodeTest, AFullNodeFlushesAndUntilThenRefusesMore) {
  const Status refused = Fill({.unflushed_bytes = 1 << 20}, 3);
  EXPECT_NE(refused.message().find("saker.memoryLimitMb"), std::string::npos) << refused.ToString();
}

TEST_F(DataNodeTest, ALargeSegmentIsFollowedByAnother) {
  ProcessOptions options;
  options.settings.segment_bytes = 1 << 20;
  Restart(options);
  for (int64_t key = 0; key < 5; ++key) MustDo({.inserts = {RowWith(key, std::string(60'000, 'x')), RowWith(key + 100, std::string(300'000, 'x'))}});
  EXPECT_GE(node().GrowingSegments(kModelCollection)->size(), 2u);
  EXPECT_EQ(Now().size(), 10u);
}

// ---- the checkpoint

TEST_F(DataNodeTest, TheLogIsCutOnlyUpToWhatIsStillNeeded) {
  Collection second = collection_;
  second.id = kSecondCollection;
  second.name = "second";
  stores().Put(second);
  Insert({{1, "first"}});
  Flush();
  // A row of one collection, a delete of the other that is in no file yet, then much that will be flushed.
  const LogOffset needed = *log().End(0);
  MustDo({.inserts = {RowWith(9, "held")}, .collection = kSecondCollection});
  const auto fill = [&](CollectionId collection) {
    for (int64_t i = 0; i < 12; ++i) {
      ModelRows rows;
      for (int64_t j = 0; j < 10; ++j) rows.push_back(RowWith(1000 + i * 10 + j, std::string(60'000, 'x')));
      MustDo({.inserts = rows, .collection = collection});
    }
  };
  fill(kModelCollection);
  coord().RefuseCheckpoints(3);  // a report that isn't taken is repeated
  Flush();
  EXPECT_TRUE(Eventually([&] { return coord().checkpoint(0) == needed; })) << coord().checkpoint(0) << " " << needed;
  EXPECT_EQ(*log().Begin(0), needed);
  Kill();
  EXPECT_THAT(Now({.route = kLatestRoute, .collection = kSecondCollection}), ElementsAre(Pair(9, "held")));
  EXPECT_EQ(Everything().size(), 121u);

  // A delete holds it too.
  Delete({1});
  const LogOffset held_by_delete = *log().End(0) - 1;
  fill(kSecondCollection);
  Flush(kSecondCollection);
  EXPECT_TRUE(Eventually([&] { return *log().Begin(0) >= held_by_delete; }));
  EXPECT_EQ(*log().Begin(0), held_by_delete);
  Restart();
  EXPECT_EQ(Everything().size(), 120u);

  // Once all is flushed, nothing is held.
  Flush();
  EXPECT_TRUE(Eventually([&] { return log().size_bytes() < (1 << 20); })) << log().size_bytes();
  Restart();
  EXPECT_EQ(Everything().size(), 120u);
  EXPECT_EQ(Everything(kSecondCollection).size(), 121u);
}

// ---- what was served stays served

TEST_F(DataNodeTest, AReadAboveTheChannelsCeilingLogsAHigherOneFirst) {
  const Timestamp far = ReadPointNow(0) + MakeTimestamp(3'600'000);
  ASSERT_GE(ReadPointNow(0, far), far);  // an hour ahead, which channel 1's log knows nothing of
  const int before = log().appends;
  const Timestamp served = ReadPointNow(1);
  EXPECT_GE(served, far);
  EXPECT_EQ(log().appends, before + 1);
  EXPECT_EQ(ReadPointNow(1), served);
  EXPECT_EQ(log().appends, before + 1) << "the ceiling is ahead";
  const auto records = log().Read(1, *log().Begin(1), 1 << 20);
  ASSERT_TRUE(records.ok());
  const auto ceiling = DecodeCeiling(records->back().payload);
  ASSERT_TRUE(ceiling.ok());
  EXPECT_GE(ceiling->ceiling, served);
}

// A querynode that hears that no delete is missing asks the next owner for later ones alone.
TEST_F(DataNodeTest, DeletesAreCompleteUpToTheChannelsCeilingAlone) {
  const Timestamp far = ReadPointNow(0) + MakeTimestamp(3'600'000);
  ASSERT_GE(ReadPointNow(0, far), far);  // an hour ahead, which channel 1's log knows nothing of
  EXPECT_LT(node().Deletes({kModelCollection, 1, 0, kMaxTimestamp})->complete_until, far);
  const Timestamp read = ReadPointNow(1);
  ASSERT_GE(read, far);
  EXPECT_GE(node().Deletes({kModelCollection, 1, 0, read})->complete_until, read);
  EXPECT_GE(node().Deletes({kModelCollection, 1, 0, kMaxTimestamp})->complete_until, read);
}

// However little was stamped since: the next owner must find it.
TEST_F(DataNodeTest, TheCeilingOutlivesTheLogThatWasCut) {
  log().shared = true;
  const Timestamp served = ReadPointNow(0, ReadPointNow(0) + MakeTimestamp(3'600'000));
  const auto before = log().Read(0, *log().Begin(0), 1 << 20);
  ASSERT_TRUE(before.ok());
  const Timestamp ceiling = DecodeCeiling(before->back().payload)->ceiling;
  ASSERT_GE(ceiling, served);
  Texts rows;
  for (int64_t key = 0; key < 100; ++key) rows[key] = std::string(60'000, 'x');
  Insert(rows);
  Flush();
  ASSERT_TRUE(Eventually([&] { return *log().Begin(0) > before->back().offset; }));
  const auto after = log().Read(0, *log().Begin(0), 16 << 20);
  ASSERT_TRUE(after.ok());
  EXPECT_TRUE(std::any_of(after->begin(), after->end(), [&](const LogRecord& record) {
    const auto kind = KindOf(record.payload);
    return kind.ok() && *kind == RecordKind::kCeiling && DecodeCeiling(record.payload)->ceiling >= ceiling;
  }));
  Restart();
  EXPECT_GT(ReadPointNow(0), ceiling);
}

// So must the batches in it: who got no answer asks the next owner.
TEST_F(DataNodeTest, BatchesOutliveTheLogThatWasCut) {
  log().shared = true;
  const Write once{.inserts = {RowWith(1000, "once")}, .batch_id = 7'000'000};
  const Timestamp first = MustDo(once);
  const LogOffset end = *log().End(0);
  for (int round = 0; round < 2; ++round) {
    Texts rows;
    for (int64_t key = 0; key < 100; ++key) rows[key + 100 * round] = std::string(60'000, 'x');
    Insert(rows);
    Flush();
    ASSERT_TRUE(Eventually([&] { return *log().Begin(0) > end + round; }));
    Restart();
    log().shared = true;
    EXPECT_EQ(MustDo(once), first) << "after takeover " << round + 1;
  }
  EXPECT_EQ(Everything().size(), 201u);
}

// The log may have been cut behind what told an earlier owner so.
TEST_F(DataNodeTest, ANewOwnerRefusesVersionsOlderThanWhatItFound) {
  collection_.version = 2;
  stores().Put(collection_);
  EXPECT_TRUE(Do({.inserts = {RowWith(1, "a")}, .version = 1}).ok()) << "nobody told the owner";
  Restart();
  EXPECT_EQ(Do({.inserts = {RowWith(2, "b")}, .version = 1}).status().code(), ErrorCode::kStaleRoute);
  EXPECT_TRUE(Do({.inserts = {RowWith(3, "c")}, .version = 2}).ok());
}

TEST_F(DataNodeTest, AFullDiskDoesNotKeepFromReading) {
  Insert({{1, "a"}});
  const Timestamp far = ReadPointNow(0) + MakeTimestamp(3'600'000);
  ASSERT_GE(ReadPointNow(0, far), far);
  log().fault = FaultyLog::Fault::kRefused;
  EXPECT_GE(ReadPointNow(1), far);
  log().fault = FaultyLog::Fault::kNone;
}

// ---- proofs of ownership

TEST_F(DataNodeTest, AStrongReadProvesOwnershipOfASharedLog) {
  log().shared = true;
  ASSERT_TRUE(BeginRead(ConsistencyLevel::kStrong).ok());
  const int before = log().appends;
  ASSERT_TRUE(BeginRead(ConsistencyLevel::kEventually).ok());
  ASSERT_TRUE(BeginRead(ConsistencyLevel::kBounded).ok());
  ASSERT_TRUE(BeginRead(ConsistencyLevel::kSession).ok());
  EXPECT_EQ(log().appends, before) << "the last proof is young enough";
  ASSERT_TRUE(BeginRead(ConsistencyLevel::kStrong).ok());
  EXPECT_EQ(log().appends, before + 1);
  Insert({{1, "a"}});
  const int written = log().appends;
  ASSERT_TRUE(BeginRead(ConsistencyLevel::kBounded).ok());
  EXPECT_EQ(log().appends, written) << "a write proves it too";
}

TEST_F(DataNodeTest, ReadsThatWaitShareAProof) {
  log().shared = true;
  const int before = log().appends;
  std::atomic<int> answered{0};
  for (int i = 0; i < 200; ++i) {
    node().BeginRead({kModelCollection, {0, 1}, ConsistencyLevel::kStrong, 0}, [&](const Result<ReadPoint>& point) {
      EXPECT_TRUE(point.ok()) << point.status().ToString();
      ++answered;
    });
  }
  ASSERT_TRUE(Eventually([&] { return answered == 200; }));
  EXPECT_LT(log().appends - before, 200);
}

TEST_F(DataNodeTest, AReplacedOwnerServesNoStrongReadAndOthersNotForLong) {
  ProcessOptions options;
  options.settings.proof_age = std::chrono::milliseconds(300);
  Restart(options);
  Insert({{1, "a"}});
  log().shared = true;
  ASSERT_TRUE(log().Fence(0, 70, Encode(CeilingRecord{})).ok());
  EXPECT_TRUE(BeginRead(ConsistencyLevel::kEventually).ok());
  EXPECT_TRUE(Eventually([&] { return !BeginRead(ConsistencyLevel::kBounded).ok(); }));
  EXPECT_EQ(BeginRead(ConsistencyLevel::kEventually).status().code(), ErrorCode::kChannelNotAvailable) << "it has stepped down";
  EXPECT_TRUE(BeginRead(ConsistencyLevel::kStrong, 1).ok());
}

// ---- owners

TEST_F(DataNodeTest, AnOwnerThatWasReplacedAcknowledgesNothing) {
  Insert({{1, "a"}});
  // Somebody else fences first, and is announced later.
  coord().heed_losses = false;
  ASSERT_TRUE(log().Fence(0, 7, Encode(CeilingRecord{})).ok());
  const auto refused = Do({.inserts = {RowWith(2, "b")}});
  EXPECT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), ErrorCode::kSuperseded);
  EXPECT_EQ(Do({.inserts = {RowWith(3, "c")}}).status().code(), ErrorCode::kChannelNotAvailable);
  EXPECT_EQ(QueryAt(1).status().code(), ErrorCode::kChannelNotAvailable);
  EXPECT_EQ(node().Deletes({kModelCollection, 0, 0, kMaxTimestamp}).status().code(), ErrorCode::kChannelNotAvailable);
  EXPECT_TRUE(Serves(1));
  ASSERT_TRUE(coord().UpdateChannel(0, [](ChannelAssignment& assignment) {
    assignment.owner = NodeId(2);
    assignment.epoch = 7;
    return true;
  }).ok());
  coord().heed_losses = true;
  EXPECT_FALSE(Eventually([&] { return Serves(0); }, std::chrono::milliseconds(100)));
  // It comes back with a higher epoch: only what was acknowledged is there.
  ASSERT_TRUE(coord().UpdateChannel(0, [](ChannelAssignment& assignment) {
    assignment.owner = kThisNode;
    assignment.epoch = 8;
    return true;
  }).ok());
  ASSERT_TRUE(AwaitServing());
  EXPECT_THAT(Now(), ElementsAre(Pair(1, "a")));
}

// The metadata came back as it was before this node's epoch was given: its flushes are refused, and the channel is given
// at an epoch that this node used up itself.
TEST_F(DataNodeTest, AnOwnerWhoseEpochWasLostWithTheMetadataComesBack) {
  coord().RaiseEpoch(0, 6);
  ASSERT_TRUE(Eventually([&] { return Serves(0) && *log().FencedEpoch(0) == 7; }));
  Insert({{1, "a"}});
  ASSERT_TRUE(coord().UpdateChannel(0, [](ChannelAssignment& assignment) {
    assignment.epoch = 6;
    return true;
  }).ok());
  ASSERT_TRUE(Eventually([&] { return *log().FencedEpoch(0) == 8 && Serves(0); }));
  Insert({{2, "b"}});
  Flush();
  EXPECT_EQ(Everything().size(), 2u);
  // Also where the very epoch is given once more.
  ASSERT_TRUE(coord().UpdateChannel(0, [](ChannelAssignment& assignment) {
    assignment.epoch = 7;
    return true;
  }).ok());
  ASSERT_TRUE(Eventually([&] { return *log().FencedEpoch(0) == 9 && Serves(0); }));
  Insert({{3, "c"}});
  Flush();
  EXPECT_EQ(Everything().size(), 3u);
}

TEST_F(DataNodeTest, AnAnnouncedOwnerIsObeyedWithoutAnAppend) {
  Insert({{1, "a"}});
  ASSERT_TRUE(coord().UpdateChannel(0, [](ChannelAssignment& assignment) {
    assignment.owner = NodeId(2);
    ++assignment.epoch;
    return true;
  }).ok());
  EXPECT_TRUE(Eventually([&] { return !Serves(0); }));
  EXPECT_THAT(*node().GrowingSegments(kModelCollection), IsEmpty());
  EXPECT_TRUE(Serves(1));
}

TEST_F(DataNodeTest, AFlushThatBeganBeforeATakeOverIsRefused) {
  std::promise<void> entered, go;
  std::atomic<bool> first{true};
  coord().before_commit = [&]() -> Status {
    if (first.exchange(false)) {
      entered.set_value();
      go.get_future().wait();
    }
    return {};
  };
  Insert({{1, "a"}, {2, "b"}});
  RequestFlush();
  entered.get_future().wait();
  coord().RaiseEpoch(0);
  ASSERT_TRUE(Eventually([&] { return *log().FencedEpoch(0) == 2 && Serves(0); }));
  Insert({{3, "c"}});
  Delete({1});
  go.set_value();
  ASSERT_TRUE(Eventually([&] { return IsFlushed(); }));
  EXPECT_TRUE(Serves(0)) << "the new ownership must outlive the old one's flush";
  Insert({{4, "d"}});
  EXPECT_THAT(Everything(), ElementsAre(Pair(2, "b"), Pair(3, "c"), Pair(4, "d")));
  Kill();
  EXPECT_THAT(Everything(), ElementsAre(Pair(2, "b"), Pair(3, "c"), Pair(4, "d")));
}

// What has lain in the log for long is due for a flush while it is being replayed.
TEST_F(DataNodeTest, AShardIsNotSealedWhileItIsReplayed) {
  constexpr int64_t kRows = 200;
  for (int64_t key = 0; key < kRows; ++key) Insert({{key, "row " + std::to_string(key)}});
  std::atomic<bool> replaying{true};
  ProcessOptions options;
  options.settings.flush_age = std::chrono::milliseconds(1);
  options.log = [&](FaultyLog& log) {
    log.read_bytes = 4096;
    log.before_read = [&, reads = std::make_shared<std::atomic<int>>(0)](ChannelId channel, LogOffset) {
      if (channel != 0 || ++*reads != 5) return;
      // Half of it is there. The loop runs now, and again.
      for (int i = 0; i < 20; ++i) {
        stores().Commit({MetaOp::Put(PlacementKey(CollectionId(999)), Encode(Placement{}))});
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
      replaying = false;
    };
  };
  options.start = false;
  NewProcess(options);
  node().Start();
  ASSERT_TRUE(AwaitServing());
  EXPECT_FALSE(replaying);
  ASSERT_TRUE(Eventually([&] { return node().GrowingSegments(kModelCollection)->empty(); }));
  EXPECT_EQ(Everything().size(), static_cast<size_t>(kRows));
  Kill();
  EXPECT_EQ(Everything().size(), static_cast<size_t>(kRows));
}

// ---- faults of the log

TEST_F(DataNodeTest, AFullDiskRefusesWritesAndNothingElse) {
  Insert({{1, "a"}});
  log().fault = FaultyLog::Fault::kRefused;
  EXPECT_EQ(Do({.inserts = {RowWith(2, "b")}}).status().code(), ErrorCode::kDiskLimitExceeded);
  EXPECT_THAT(Now(), ElementsAre(Pair(1, "a")));
  RequestFlush();  // waits for space
  EXPECT_EQ(Do({.deletes = {1}}).status().code(), ErrorCode::kDiskLimitExceeded);
  EXPECT_THAT(Now(), ElementsAre(Pair(1, "a")));
  log().fault = FaultyLog::Fault::kNone;
  Insert({{3, "c"}});
  EXPECT_THAT(Now(), ElementsAre(Pair(1, "a"), Pair(3, "c")));
  EXPECT_TRUE(Eventually([&] { return IsFlushed(); }));
  EXPECT_EQ(*log().FencedEpoch(0), 1);
  EXPECT_THAT(Everything(), ElementsAre(Pair(1, "a"), Pair(3, "c")));
}

// Space comes back by it.
TEST_F(DataNodeTest, ADropIsTakenOnAFullDisk) {
  Insert({{1, "a"}});
  log().fault = FaultyLog::Fault::kRefused;
  EXPECT_EQ(node().BarrierCollection(kModelCollection, {0, 1}, 2, false, {}).code(), ErrorCode::kDiskLimitExceeded);
  EXPECT_TRUE(node().BarrierCollection(kModelCollection, {0, 1}, 2, false, {kOtherPartition}).ok());
  EXPECT_TRUE(node().BarrierCollection(kModelCollection, {0, 1}, 3, true, {}).ok());
}

// Whole by its checksum, yet nothing we know: to go on without it would lose its rows.
TEST_F(DataNodeTest, ARecordThatCanNotBeReplayedIsNotSkipped) {
  Insert({{1, "a"}});
  std::string bytes = Encode(CeilingRecord{});
  bytes[0] = static_cast<char>(RecordKind::kWrite);
  std::promise<Status> appended;
  log().Append({{0, *log().FencedEpoch(0), bytes}},
               [&](const Result<std::vector<LogOffset>>& offsets) { appended.set_value(offsets.status()); });
  ASSERT_TRUE(appended.get_future().get().ok());
  NewProcess();
  ASSERT_TRUE(Eventually([&] { return Serves(1); }));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_FALSE(Serves(0));
  EXPECT_EQ(Do({.inserts = {RowWith(2, "b")}}).status().code(), ErrorCode::kChannelNotAvailable);
}

TEST_F(DataNodeTest, OnAFullDiskARestartedNodeReads) {
  Insert({{1, "a"}});
  ProcessOptions options;
  options.log = [](FaultyLog& log) { log.fault = FaultyLog::Fault::kRefused; };
  Restart(options);
  EXPECT_THAT(Now(), ElementsAre(Pair(1, "a")));
  EXPECT_EQ(Do({.inserts = {RowWith(2, "b")}}).status().code(), ErrorCode::kDiskLimitExceeded);
  log().fault = FaultyLog::Fault::kNone;
  Insert({{2, "b"}});
  EXPECT_THAT(Now(), ElementsAre(Pair(1, "a"), Pair(2, "b")));
}

TEST_F(DataNodeTest, AfterAFailedSyncNothingIsAcknowledgedBeforeTheChannelIsFencedAgain) {
  for (const auto fault : {FaultyLog::Fault::kFailedUnwritten, FaultyLog::Fault::kFailedWritten}) {
    const bool written = fault == FaultyLog::Fault::kFailedWritten;
    const int64_t key = written ? 20 : 10;
    Insert({{key, "before"}});
    const Epoch epoch = *log().FencedEpoch(0);
    const Write write{.inserts = {RowWith(key + 1, "in doubt")}, .batch_id = static_cast<uint64_t>(9000 + key)};
    log().fault = fault;
    EXPECT_EQ(Do(write).status().code(), ErrorCode::kIoFailed);
    log().fault = FaultyLog::Fault::kNone;
    ASSERT_TRUE(Eventually([&] { return *log().FencedEpoch(0) > epoch && Serves(0); }));
    EXPECT_EQ(Now().contains(key + 1), written);
    // Sent again, it is there once.
    EXPECT_TRUE(Do(write).ok());
    EXPECT_TRUE(Now().contains(key));
    EXPECT_TRUE(Now().contains(key + 1));
    EXPECT_EQ(QueryAt(ReadPointNow(), {.count_only = true})->count, static_cast<int64_t>(Now().size()));
  }
  Kill();
  EXPECT_EQ(Now().size(), 4u);
}

TEST_F(DataNodeTest, AStoppedNodeAnswersAndTouchesNoLog) {
  Insert({{1, "a"}});
  node().Stop();
  const LogOffset end = *log().End(0);
  EXPECT_EQ(Do({.inserts = {RowWith(2, "b")}}).status().code(), ErrorCode::kServiceUnavailable);
  EXPECT_EQ(*log().End(0), end);
}

// ---- a channel moves to another owner

TEST_F(DataNodeTest, AChannelThatIsToMoveIsFlushedAndServedUntilItDoes) {
  Insert({{1, "a"}, {2, "b"}});
  coord().RefuseHandovers(2);
  ASSERT_TRUE(coord().UpdateChannel(0, [](ChannelAssignment& assignment) {
    assignment.successor = NodeId(2);
    return true;
  }).ok());
  ASSERT_TRUE(Eventually([&] { return stores().catalog->Segments(kModelCollection).size() == 1; })) << "it is flushed";
  Insert({{3, "c"}});
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(coord().handed_over(0), 0) << "its growing copy is all there is to read: no querynode serves it yet";
  EXPECT_THAT(Now(), ElementsAre(Pair(1, "a"), Pair(2, "b"), Pair(3, "c")));
  const SegmentId flushed = stores().catalog->Segments(kModelCollection).front()->id;
  const int64_t route = stores().Place({flushed});
  ASSERT_TRUE(Eventually([&] { return coord().handed_over(0) == 1; })) << "repeated until somebody took the report";
  EXPECT_EQ(coord().handed_over(1), 0);
  // It goes on until the channel has its new owner; then it owns nothing any more.
  Insert({{4, "d"}});
  EXPECT_THAT(Now({.sealed = {flushed}, .route = route}), ElementsAre(Pair(3, "c"), Pair(4, "d")));
  ASSERT_TRUE(coord().UpdateChannel(0, [](ChannelAssignment& assignment) {
    assignment.owner = std::exchange(assignment.successor, NodeId());
    ++assignment.epoch;
    return true;
  }).ok());
  EXPECT_TRUE(Eventually([&] { return Do({.inserts = {RowWith(5, "e")}}).status().code() == ErrorCode::kChannelNotAvailable; }));
  EXPECT_TRUE(Do({.inserts = {RowWith(6, "f")}, .channel = 1}).ok());
}

// ---- changes of the catalog

TEST_F(DataNodeTest, OlderVersionsOfACollectionAreRefusedAfterABarrier) {
  Insert({{1, "a"}});
  EXPECT_EQ(Do({.inserts = {RowWith(2, "b")}, .version = 5}).status().code(), ErrorCode::kStaleRoute) << "not seen here yet";
  collection_.version = 5;
  stores().Put(collection_);
  ASSERT_TRUE(node().BarrierCollection(kModelCollection, {0}, 5, false, {}).ok());
  EXPECT_EQ(Do({.inserts = {RowWith(2, "b")}, .version = 4}).status().code(), ErrorCode::kStaleRoute);
  EXPECT_TRUE(Do({.inserts = {RowWith(3, "c")}, .version = 5}).ok());
  Kill();
  EXPECT_EQ(Do({.inserts = {RowWith(2, "b")}, .version = 4}).status().code(), ErrorCode::kStaleRoute);
  EXPECT_THAT(Now(), ElementsAre(Pair(1, "a"), Pair(3, "c")));
}

// A proxy that sends its batch again names the version it has learnt of meanwhile.
TEST_F(DataNodeTest, RowsOfADroppedPartitionAreRefusedAtWhateverVersion) {
  ASSERT_TRUE(Do({.inserts = {RowWith(1, "a")}, .partition = kOtherPartition}).ok());
  std::erase_if(collection_.partitions, [](const Partition& p) { return p.id == kOtherPartition; });
  collection_.version = 2;
  stores().Put(collection_);
  ASSERT_TRUE(node().BarrierCollection(kModelCollection, {0}, 2, false, {kOtherPartition}).ok());
  EXPECT_EQ(Do({.inserts = {RowWith(2, "b")}, .partition = kOtherPartition, .version = 1}).status().code(), ErrorCode::kStaleRoute);
  EXPECT_EQ(Do({.inserts = {RowWith(2, "b")}, .partition = kOtherPartition, .version = 2}).status().code(), ErrorCode::kPartitionNotFound);
  collection_.version = 3;  // of a change that needs no barrier
  stores().Put(collection_);
  EXPECT_EQ(Do({.inserts = {RowWith(2, "b")}, .partition = kOtherPartition, .version = 2}).status().code(), ErrorCode::kStaleRoute);
}

TEST_F(DataNodeTest, ADroppedCollectionsRowsAreForgotten) {
  Insert({{1, "a"}});
  collection_.dropped = true;
  collection_.version = 2;
  stores().Put(collection_);
  ASSERT_TRUE(node().BarrierCollection(kModelCollection, {0}, 2, true, {}).ok());
  EXPECT_THAT(*node().GrowingSegments(kModelCollection), IsEmpty());
  EXPECT_EQ(Do({.inserts = {RowWith(2, "b")}, .version = 2}).status().code(), ErrorCode::kCollectionNotFound);
  EXPECT_THAT(Now({.route = kLatestRoute}), IsEmpty());
  Kill();
  EXPECT_THAT(*node().GrowingSegments(CollectionId()), IsEmpty());
}

TEST_F(DataNodeTest, ADropThatOnlyTheCatalogKnowsIsFollowed) {
  Insert({{1, "a"}});
  collection_.dropped = true;
  stores().Put(collection_);
  EXPECT_TRUE(Eventually([&] { return node().GrowingSegments(CollectionId())->empty(); }));
}

TEST_F(DataNodeTest, AFlushOfADroppedCollectionIsGivenUp) {
  std::promise<void> entered, go;
  coord().before_commit = [&]() -> Status {
    entered.set_value();
    go.get_future().wait();
    return {};
  };
  Insert({{1, "a"}});
  RequestFlush();
  entered.get_future().wait();
  collection_.dropped = true;
  stores().Put(collection_);
  go.set_value();
  EXPECT_TRUE(Eventually([&] { return IsFlushed(); }));
  EXPECT_THAT(Committed(), IsEmpty());
  EXPECT_TRUE(Eventually([&] { return node().GrowingSegments(CollectionId())->empty(); }));
}

TEST_F(DataNodeTest, ADroppedPartitionsRowsAreForgotten) {
  MustDo({.inserts = {RowWith(1, "a")}});
  MustDo({.inserts = {RowWith(2, "b")}, .partition = kOtherPartition});
  EXPECT_EQ(Now().size(), 2u);
  collection_.partitions.pop_back();
  collection_.version = 2;
  stores().Put(collection_);
  ASSERT_TRUE(node().BarrierCollection(kModelCollection, {0}, 2, false, {kOtherPartition}).ok());
  EXPECT_EQ(node().GrowingSegments(kModelCollection)->size(), 1u);
  EXPECT_EQ(Do({.inserts = {RowWith(3, "c")}, .partition = kOtherPartition}).status().code(), ErrorCode::kStaleRoute);
  EXPECT_THAT(Now(), ElementsAre(Pair(1, "a")));
  Kill();
  EXPECT_THAT(Now(), ElementsAre(Pair(1, "a")));
  Flush();
  EXPECT_EQ(Committed().size(), 1u);
}

TEST_F(DataNodeTest, AnotherSchemaBeginsAnotherSegment) {
  Insert({{1, "a"}});
  collection_.schema = ModelSchema(false, /*with_later_field=*/true);
  collection_.version = 2;
  collection_.updated = 2;
  stores().Put(collection_);
  MustDo({.inserts = {RowWith(2, "b")}, .version = 2});
  EXPECT_EQ(node().GrowingSegments(kModelCollection)->size(), 2u);
  EXPECT_EQ(Now().size(), 2u);
  Kill();
  EXPECT_EQ(Now().size(), 2u);
  Flush();
  EXPECT_EQ(Everything().size(), 2u);
}

// ---- everything at once

// Keys that one thread owns, with what was acknowledged of them.
class Ledger {
 public:
  void Acknowledge(int64_t key, std::optional<int64_t> value) {
    MutexLock lock(mutex_);
    acknowledged_[key] = value;
  }
  std::map<int64_t, std::optional<int64_t>> Snapshot() {
    MutexLock lock(mutex_);
    return acknowledged_;
  }

 private:
  Mutex mutex_;
  std::map<int64_t, std::optional<int64_t>> acknowledged_ GUARDED_BY(mutex_);
};

class DataNodeStress : public DataNodeTest {
 protected:
  static constexpr int kWriters = 3;
  static constexpr int64_t kKeys = 8;  // of each writer

  // Upserts rising values, now and then a delete followed by more. Values never fall, so whoever reads a key must find
  // at least what was acknowledged before.
  void WriteUntil(const std::atomic<bool>& stop, int writer) {
    std::mt19937 random(static_cast<uint32_t>(writer + 1));
    int64_t value = 0;
    while (!stop) {
      const int64_t key = writer * 100 + static_cast<int64_t>(random() % kKeys);
      const bool deletes = random() % 5 == 0;
      Write write{.deletes = {key}, .batch_id = ++next_batch_};
      ++value;
      if (!deletes) write.inserts = {RowWith(key, std::to_string(value))};
      while (true) {
        const auto ts = Do(write);
        if (ts.ok()) break;
        // Nobody else touches this key: it is sent again until it is there.
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      ledger_.Acknowledge(key, deletes ? std::optional<int64_t>() : value);
      ++writes_;
    }
  }
  void ReadUntil(const std::atomic<bool>& stop) {
    while (!stop) {
      const auto before = ledger_.Snapshot();
      const auto point = WaitFor<ReadPoint>([&](auto done) {
        node().BeginRead({kModelCollection, {0}, ConsistencyLevel::kStrong, 0}, done);
      });
      if (!point.ok()) continue;
      const auto rows = QueryAt(point->ts);
      const auto count = QueryAt(point->ts, {.count_only = true});
      if (!rows.ok() || !count.ok()) continue;
      const Texts texts = TextsOf(*rows);
      EXPECT_EQ(count->count, static_cast<int64_t>(texts.size())) << "some key is there twice";
      for (const auto& [key, value] : before) {
        const auto found = texts.find(key);
        if (value.has_value() && found != texts.end()) {
          EXPECT_GE(std::stoll(found->second), *value);
        }
        if (value.has_value() && found == texts.end()) CheckDeletedSince(key, *value);
      }
      ++reads_;
    }
  }
  // A key that was acknowledged may be missing only if a delete was sent after it.
  void CheckDeletedSince(int64_t key, int64_t value) {
    EXPECT_TRUE(Eventually([&] {
      const auto now = ledger_.Snapshot().at(key);
      return !now.has_value() || *now > value;
    }, std::chrono::seconds(5))) << "key " << key << " with value " << value << " is lost";
  }
  void ExpectLedger() {
    const Texts found = Everything();
    for (const auto& [key, value] : ledger_.Snapshot()) {
      const auto it = found.find(key);
      if (value.has_value()) {
        ASSERT_NE(it, found.end()) << "key " << key << " is lost";
        EXPECT_EQ(it->second, std::to_string(*value)) << "key " << key;
      } else {
        EXPECT_EQ(it, found.end()) << "key " << key << " is back";
      }
    }
  }
  void Run(std::chrono::milliseconds time, const std::function<void()>& disturb) {
    std::atomic<bool> stop_reading{false}, stop_writing{false};
    std::vector<std::thread> writers, readers;
    for (int w = 0; w < kWriters; ++w) writers.emplace_back([&, w] { WriteUntil(stop_writing, w); });
    for (int r = 0; r < 2; ++r) readers.emplace_back([&] { ReadUntil(stop_reading); });
    const auto until = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < until) disturb();
    ASSERT_TRUE(AwaitServing());
    stop_reading = true;
    for (auto& thread : readers) thread.join();
    stop_writing = true;
    for (auto& thread : writers) thread.join();
    EXPECT_GT(writes_, 10);
    EXPECT_GT(reads_, 5);
  }

  Ledger ledger_;
  std::atomic<int64_t> writes_{0}, reads_{0};
};

TEST_F(DataNodeStress, NothingIsLostOrDoubledWhileTheChannelIsTakenOverAgainAndAgain) {
  Run(std::chrono::milliseconds(1500), [&] {
    const Epoch epoch = *log().FencedEpoch(0);
    coord().RaiseEpoch(0);
    EXPECT_TRUE(Eventually([&] { return *log().FencedEpoch(0) > epoch && Serves(0); }));
    std::this_thread::sleep_for(std::chrono::milliseconds(15));
  });
  ASSERT_TRUE(AwaitServing());
  ExpectLedger();
  Kill();
  ExpectLedger();
}

TEST_F(DataNodeStress, NothingIsLostOrDoubledWhileSyncsFail) {
  Run(std::chrono::milliseconds(1500), [&] {
    log().fault = writes_ % 2 == 0 ? FaultyLog::Fault::kFailedWritten : FaultyLog::Fault::kFailedUnwritten;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    log().fault = FaultyLog::Fault::kNone;
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
  });
  ASSERT_TRUE(AwaitServing());
  ExpectLedger();
  Kill();
  ExpectLedger();
}

// The route never comes to serve what was flushed, so that every row stays readable here.
TEST_F(DataNodeStress, NothingIsLostOrDoubledWhileItIsFlushed) {
  stores().Place({});
  Run(std::chrono::milliseconds(1500), [&] {
    Flush();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  });
  EXPECT_GT(Committed().size(), 3u);
  ExpectLedger();
  Kill();
  ExpectLedger();
  Flush();
  ExpectLedger();
}

}  // namespace
}  // namespace saker
