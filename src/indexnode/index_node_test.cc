// The indexnode over the embedded stores: tasks in, files and reports out.
#include "indexnode/index_node_role.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/log.h"
#include "catalog/node_fixture.h"

namespace saker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::SizeIs;

inline constexpr FieldId kBinaryField{110};
const SegmentId kOutput{90};

// Takes results as the coordinators do: the task's key goes with its report.
class Results final : public IdleIndexCoord {
 public:
  explicit Results(NodeStores* stores) : stores_(stores), compactions_(this) {}

  Status ReportIndex(int64_t task, Result<SegmentIndex> built) override {
    RETURN_IF_ERROR(Take(task));
    MutexLock lock(mutex_);
    built_.emplace(task, std::move(built));
    return {};
  }
  Status ReportCompaction(int64_t task, Result<SegmentMeta> output) {
    RETURN_IF_ERROR(Take(task));
    MutexLock lock(mutex_);
    compacted_.emplace(task, std::move(output));
    return {};
  }
  DataCoord* data_coord() { return &compactions_; }

  std::optional<Result<SegmentIndex>> built(int64_t task) {
    MutexLock lock(mutex_);
    const auto it = built_.find(task);
    return it == built_.end() ? std::nullopt : std::optional(it->second);
  }
  std::optional<Result<SegmentMeta>> compacted(int64_t task) {
    MutexLock lock(mutex_);
    const auto it = compacted_.find(task);
    return it == compacted_.end() ? std::nullopt : std::optional(it->second);
  }
  std::atomic<int> refusals{0};  // so many reports are not taken
  std::atomic<int> reports{0};

 private:
  class Compactions final : public IdleDataCoord {
   public:
    explicit Compactions(Results* results) : results_(results) {}
    Status ReportCompaction(int64_t task, Result<SegmentMeta> output) override {
      return results_->ReportCompaction(task, std::move(output));
    }

   private:
    Results* const results_;
  };
  Status Take(int64_t task) {
    ++reports;
    if (refusals > 0) {
      --refusals;
      return {ErrorCode::kServiceUnavailable, "not now"};
    }
    return stores_->meta->Commit({}, {MetaOp::Delete(TaskKey(task))}).status();
  }

  NodeStores* const stores_;
  Compactions compactions_;
  Mutex mutex_;
  std::map<int64_t, Result<SegmentIndex>> built_ GUARDED_BY(mutex_);
  std::map<int64_t, Result<SegmentMeta>> compacted_ GUARDED_BY(mutex_);
};

SchemaPtr SchemaWithBinaryVectors() {
  auto schema = std::make_shared<CollectionSchema>(*ModelSchema(false));
  FieldSchema field;
  field.id = kBinaryField;
  field.name = "bits";
  field.type = DataType::kBinaryVector;
  field.dim = 64;
  schema->fields.push_back(field);
  return schema;
}

class IndexNodeTest : public testing::Test {
 protected:
  void SetUp() override {
    SetLogLevel(LogLevel::kError);
    peers_.index = &results_;
    peers_.data = results_.data_coord();
    collection_ = ModelCollection(/*loaded=*/false, schema_);
    stores_->Put(collection_);
    Start();
  }
  void TearDown() override {
    node_->Stop();
    stores_->StopPools();
    node_.reset();
    stores_.reset();
    SetLogLevel(LogLevel::kInfo);
  }
  void Start() {
    node_ = std::make_unique<IndexNodeRole>(
        IndexNodeDeps{kThisNode, stores_->catalog.get(), stores_->objects.get(), &peers_, stores_->build.get()},
        IndexNodeSettings{});
    node_->Start();
  }

  // `count` rows from key `first` on, with all that the schema has.
  std::shared_ptr<GrowingSegment> Grow(SegmentId id, int64_t first, int64_t count, Timestamp ts) {
    ModelRows rows;
    for (int64_t key = first; key < first + count; ++key) rows.push_back(RowWith(key, "text " + std::to_string(key % 50)));
    const auto segment = NewGrowingSegment(id, kModelPartition, schema_);
    RowBatch batch = BatchOf(*ModelSchema(false), rows);
    Column bits(*schema_->Find(kBinaryField));
    for (int64_t key = first; key < first + count; ++key) bits.Append<uint64_t>(static_cast<uint64_t>(key) * 0x9E3779B97F4A7C15u);
    batch.columns.push_back(std::move(bits));
    segment->Append(batch, ts);
    return segment;
  }
  SegmentMeta Write(SegmentId id, const std::vector<SegmentPtr>& sources, Timestamp deletes_until) {
    SegmentWriteRequest request;
    request.store = stores_->objects.get();
    request.prefix = "segments/50/" + std::to_string(id.value) + "/e1";
    request.id = id;
    request.partition = kModelPartition;
    request.schema = schema_;
    request.sources = sources;
    request.deletes_until = deletes_until;
    const auto files = WriteSegment(request);
    EXPECT_TRUE(files.ok()) << files.status().ToString();
    SegmentMeta meta;
    meta.id = id;
    meta.collection = kModelCollection;
    meta.partition = kModelPartition;
    meta.channel = 3;
    meta.rows = files->rows;
    meta.size_bytes = files->size_bytes;
    meta.min_ts = files->min_ts;
    meta.max_ts = files->max_ts;
    meta.deletes_until = deletes_until;
    meta.manifest = files->manifest;
    stores_->Put(meta);
    return meta;
  }

  TaskSpec IndexTask(SegmentId segment, FieldId field, const std::string& type, Metric metric = Metric::kNone, KeyValues params = {}) {
    TaskSpec task;
    task.id = ++next_task_;
    task.node = kThisNode;
    task.collection = kModelCollection;
    task.segment = segment;
    task.index.id = IndexId(800 + task.id);
    task.index.field = field;
    task.index.name = type;
    task.index.type = type;
    task.index.metric = metric;
    task.index.params = std::move(params);
    return task;
  }
  // Makes the collection have the index as well.
  void Submit(const TaskSpec& task) {
    if (task.kind == TaskKind::kBuildIndex) collection_.indexes.push_back(task.index);
    stores_->Commit({MetaOp::Put(CollectionKey(kModelCollection), Encode(collection_)), MetaOp::Put(TaskKey(task.id), Encode(task))});
  }
  Result<SegmentIndex> Built(const TaskSpec& task) {
    if (!Eventually([&] { return results_.built(task.id).has_value(); }, std::chrono::seconds(60))) {
      ADD_FAILURE() << "no report of task " << task.id;
      return Status(ErrorCode::kDeadlineExceeded, "no report");
    }
    return *results_.built(task.id);
  }
  TaskSpec CompactTask(std::vector<SegmentId> inputs, std::vector<SegmentId> deletes, Timestamp deletes_until) {
    TaskSpec task;
    task.id = ++next_task_;
    task.kind = TaskKind::kCompact;
    task.node = kThisNode;
    task.collection = kModelCollection;
    task.segment = kOutput;
    task.inputs = std::move(inputs);
    task.deletes = std::move(deletes);
    task.deletes_until = deletes_until;
    return task;
  }
  Result<SegmentMeta> Compacted(const TaskSpec& task) {
    Submit(task);
    if (!Eventually([&] { return results_.compacted(task.id).has_value(); }, std::chrono::seconds(60))) {
      ADD_FAILURE() << "no report of task " << task.id;
      return Status(ErrorCode::kDeadlineExceeded, "no report");
    }
    return *results_.compacted(task.id);
  }
  // Keys and insert timestamps of all rows of a segment, whatever is deleted.
  std::map<int64_t, Timestamp> RowsOf(const SegmentMeta& meta) {
    const auto segment = OpenSegment(stores_->objects.get(), meta);
    EXPECT_TRUE(segment.ok()) << segment.status().ToString();
    const auto rows = QuerySegment(*AllRowsPlan(schema_), **segment, {kMaxTimestamp, 0});
    EXPECT_TRUE(rows.ok());
    std::map<int64_t, Timestamp> out;
    for (size_t i = 0; i < rows->keys.ints.size(); ++i) out[rows->keys.ints[i]] = rows->timestamps[i];
    return out;
  }

  TestDirectory directory_;
  const SchemaPtr schema_ = SchemaWithBinaryVectors();
  std::unique_ptr<NodeStores> stores_ = std::make_unique<NodeStores>(directory_.path());
  Results results_{stores_.get()};
  TestPeers peers_;
  Collection collection_;
  std::unique_ptr<IndexNodeRole> node_;
  int64_t next_task_ = 0;
};

// ---- building

TEST_F(IndexNodeTest, BuildsEveryKindOfVectorIndex) {
  constexpr int64_t kRows = 600;
  const SegmentMeta meta = Write(SegmentId(1), {Grow(SegmentId(1), 0, kRows, 100)}, 200);
  struct Case {
    const char* type;
    FieldId field;
    Metric metric;
    KeyValues params;
  };
  const Case cases[] = {
      {"FLAT", kVectorField, Metric::kL2, {}},
      {"IVF_FLAT", kVectorField, Metric::kL2, {{"nlist", "8"}}},
      {"IVF_SQ8", kVectorField, Metric::kCosine, {{"nlist", "8"}}},
      {"HNSW", kVectorField, Metric::kIp, {{"M", "8"}, {"efConstruction", "64"}}},
      {"AUTOINDEX", kVectorField, Metric::kCosine, {}},
      {"BIN_FLAT", kBinaryField, Metric::kHamming, {}},
      {"BIN_IVF_FLAT", kBinaryField, Metric::kJaccard, {{"nlist", "8"}}},
  };
  for (const Case& c : cases) {
    const TaskSpec task = IndexTask(SegmentId(1), c.field, c.type, c.metric, c.params);
    Submit(task);
    const auto built = Built(task);
    ASSERT_TRUE(built.ok()) << c.type << ": " << built.status().ToString();
    EXPECT_EQ(built->index, task.index.id);
    EXPECT_EQ(built->rows, kRows);
    const auto file = stores_->objects->Get(built->object);
    ASSERT_TRUE(file.ok());
    EXPECT_EQ(static_cast<int64_t>(file->size()), built->size_bytes);
    // A segment that opens it finds each row by itself.
    const auto segment = OpenSegment(stores_->objects.get(), meta);
    ASSERT_TRUE(AttachIndex(*segment, stores_->objects.get(), task.index, *built).ok());
    const auto index = (*segment)->VectorIndexOn(c.field);
    ASSERT_NE(index, nullptr);
    EXPECT_EQ(index->metric(), c.metric);
    if (c.metric == Metric::kIp) continue;
    const auto vectors = VectorsOf(**segment, c.field);
    VectorSearchParams params;
    params.k = 1;
    params.nprobe = 8;
    std::vector<Neighbor> found;
    index->Search(vectors->Row(77), params, nullptr, kRows, found);
    ASSERT_THAT(found, SizeIs(1)) << c.type;
    EXPECT_EQ(found[0].row, 77) << c.type;
  }
}

TEST_F(IndexNodeTest, BuildsEveryKindOfScalarIndex) {
  const SegmentMeta meta = Write(SegmentId(1), {Grow(SegmentId(1), 0, 300, 100)}, 200);
  const auto filter = ParseFilter("text == 'text 7' or number == 11", schema_);
  ASSERT_TRUE(filter.ok()) << filter.status().ToString();
  Bitmap expected;
  {
    const auto segment = OpenSegment(stores_->objects.get(), meta);
    (*filter)->Evaluate(**segment, expected);
  }
  EXPECT_EQ(expected.Count(), 7);
  const std::pair<const char*, FieldId> cases[] = {
      {"STL_SORT", kNumberField}, {"Trie", kTextField}, {"INVERTED", kTextField}, {"INVERTED", kNumberField}};
  for (const auto& [type, field] : cases) {
    const TaskSpec task = IndexTask(SegmentId(1), field, type);
    Submit(task);
    const auto built = Built(task);
    ASSERT_TRUE(built.ok()) << type << ": " << built.status().ToString();
    EXPECT_EQ(built->rows, 300);
    const auto segment = OpenSegment(stores_->objects.get(), meta);
    ASSERT_TRUE(AttachIndex(*segment, stores_->objects.get(), task.index, *built).ok());
    ASSERT_NE((*segment)->ScalarIndexOn(field), nullptr);
    Bitmap found;
    (*filter)->Evaluate(**segment, found);
    for (int64_t row = 0; row < 300; ++row) EXPECT_EQ(found.Test(row), expected.Test(row)) << type << " row " << row;
  }
}

TEST_F(IndexNodeTest, TellsWhyAnIndexCanNotBeBuilt) {
  const auto failure = [&](const TaskSpec& task) {
    Submit(task);
    const auto built = Built(task);
    EXPECT_FALSE(built.ok());
    EXPECT_TRUE(Eventually([&] { return stores_->catalog->Tasks().empty(); }));
    return built.status();
  };
  EXPECT_EQ(failure(IndexTask(SegmentId(9), kVectorField, "FLAT", Metric::kL2)).code(), ErrorCode::kSegmentNotFound);

  SegmentMeta dropped = Write(SegmentId(2), {Grow(SegmentId(2), 0, 10, 100)}, 200);
  dropped.state = SegmentState::kDropped;
  stores_->Put(dropped);
  EXPECT_EQ(failure(IndexTask(SegmentId(2), kVectorField, "FLAT", Metric::kL2)).code(), ErrorCode::kSegmentNotFound);

  const SegmentMeta gone = Write(SegmentId(3), {Grow(SegmentId(3), 0, 10, 100)}, 200);
  ASSERT_TRUE(stores_->objects->Delete(gone.manifest).ok());
  EXPECT_EQ(failure(IndexTask(SegmentId(3), kVectorField, "FLAT", Metric::kL2)).code(), ErrorCode::kIoKeyNotFound);

  const SegmentMeta damaged = Write(SegmentId(4), {Grow(SegmentId(4), 0, 1000, 100)}, 200);
  const std::string columns = damaged.manifest.substr(0, damaged.manifest.rfind('/')) + "/columns";
  {
    std::fstream file(directory_.path() + "/objects/" + columns, std::ios::in | std::ios::out | std::ios::binary);
    ASSERT_TRUE(file.good());
    file.seekp(1000 * 8 + 1000 * kModelDim * 2);  // within the vectors
    file.put('\x55');
    file.put('\x55');
  }
  const Status status = failure(IndexTask(SegmentId(4), kVectorField, "HNSW", Metric::kL2));
  EXPECT_EQ(status.code(), ErrorCode::kCorrupted);
  EXPECT_THAT(status.message(), HasSubstr(columns));

  Write(SegmentId(5), {Grow(SegmentId(5), 0, 10, 100)}, 200);
  EXPECT_FALSE(failure(IndexTask(SegmentId(5), kVectorField, "NO_SUCH_INDEX", Metric::kL2)).ok());
}

TEST_F(IndexNodeTest, ASegmentFromBeforeTheFieldHasNothingToIndex) {
  Write(SegmentId(5), {Grow(SegmentId(5), 0, 10, 100)}, 200);
  const TaskSpec task = IndexTask(SegmentId(5), FieldId(199), "INVERTED");
  Submit(task);
  const auto built = Built(task);
  ASSERT_TRUE(built.ok()) << built.status().ToString();
  EXPECT_EQ(built->object, "");
  EXPECT_EQ(built->rows, 10);
}

TEST_F(IndexNodeTest, LeavesOtherNodesTasksAlone) {
  Write(SegmentId(1), {Grow(SegmentId(1), 0, 10, 100)}, 200);
  TaskSpec others = IndexTask(SegmentId(1), kVectorField, "FLAT", Metric::kL2);
  others.node = NodeId(2);
  Submit(others);
  const TaskSpec ours = IndexTask(SegmentId(1), kVectorField, "FLAT", Metric::kL2);
  Submit(ours);
  EXPECT_TRUE(Built(ours).ok());
  EXPECT_FALSE(results_.built(others.id).has_value());
}

// What it was at when it died is simply done again.
TEST_F(IndexNodeTest, TasksFromBeforeARestartAreDone) {
  node_->Stop();
  Write(SegmentId(1), {Grow(SegmentId(1), 0, 10, 100)}, 200);
  const TaskSpec task = IndexTask(SegmentId(1), kVectorField, "FLAT", Metric::kL2);
  Submit(task);
  EXPECT_FALSE(Eventually([&] { return results_.built(task.id).has_value(); }, std::chrono::milliseconds(50)));
  Start();
  EXPECT_TRUE(Built(task).ok());
  EXPECT_EQ(results_.reports, 1);
}

TEST_F(IndexNodeTest, AResultIsOfferedUntilItIsTaken) {
  Write(SegmentId(1), {Grow(SegmentId(1), 0, 10, 100)}, 200);
  results_.refusals = 3;
  const TaskSpec task = IndexTask(SegmentId(1), kVectorField, "FLAT", Metric::kL2);
  Submit(task);
  EXPECT_TRUE(Built(task).ok());
  EXPECT_EQ(results_.reports, 4);
  results_.refusals = 1;
  const TaskSpec compaction = CompactTask({SegmentId(1)}, {}, 200);
  EXPECT_TRUE(Compacted(compaction).ok());
  EXPECT_TRUE(Eventually([&] { return stores_->catalog->Tasks().empty() && node_->tasks_running() == 0; }));
}

// ---- what nobody wants any more

// Its task must go: coordinators count it as work under way.
TEST_F(IndexNodeTest, ATaskWhoseCollectionWasDroppedBeforeItBeganIsEnded) {
  Write(SegmentId(1), {Grow(SegmentId(1), 0, 10, 100)}, 200);
  std::promise<void> go;
  stores_->build->Post([&] { go.get_future().wait(); });
  const TaskSpec build = IndexTask(SegmentId(1), kVectorField, "FLAT", Metric::kL2);
  Submit(build);
  const TaskSpec compact = CompactTask({SegmentId(1)}, {}, 200);
  Submit(compact);
  collection_.dropped = true;
  stores_->Put(collection_);
  go.set_value();
  const auto built = Built(build);
  EXPECT_EQ(built.status().code(), ErrorCode::kCancelled);
  EXPECT_TRUE(Eventually([&] { return stores_->catalog->Tasks().empty(); }));
  EXPECT_FALSE(results_.compacted(compact.id)->ok());
  EXPECT_THAT(*stores_->objects->List("indexes/"), SizeIs(0));
}

TEST_F(IndexNodeTest, ABuildIsCancelledWhenItsCollectionOrItsIndexIsDropped) {
  const auto segment = Grow(SegmentId(1), 0, 20'000, 100);
  Write(SegmentId(1), {segment}, 200);
  for (const bool whole_collection : {false, true}) {
    const TaskSpec task = IndexTask(SegmentId(1), kVectorField, "HNSW", Metric::kL2, {{"M", "64"}, {"efConstruction", "2000"}});
    Submit(task);
    ASSERT_TRUE(Eventually([&] { return node_->tasks_running() == 1; }));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (whole_collection) {
      collection_.dropped = true;
    } else {
      collection_.indexes.clear();
    }
    stores_->Put(collection_);
    EXPECT_EQ(Built(task).status().code(), ErrorCode::kCancelled);
  }
  EXPECT_THAT(*stores_->objects->List("indexes/"), SizeIs(0));
}

TEST_F(IndexNodeTest, StoppingEndsABuild) {
  Write(SegmentId(1), {Grow(SegmentId(1), 0, 20'000, 100)}, 200);
  const TaskSpec task = IndexTask(SegmentId(1), kVectorField, "HNSW", Metric::kL2, {{"M", "64"}, {"efConstruction", "2000"}});
  Submit(task);
  ASSERT_TRUE(Eventually([&] { return node_->tasks_running() == 1; }));
  const Stopwatch watch;
  node_->Stop();
  EXPECT_LT(watch.elapsed_ms(), 10'000);
  EXPECT_EQ(node_->tasks_running(), 0);
  EXPECT_FALSE(results_.built(task.id).has_value());  // it stands, for the next process
  EXPECT_THAT(stores_->catalog->Tasks(), SizeIs(1));
}

// ---- compaction

TEST_F(IndexNodeTest, ACompactionMergesItsInputsAndLeavesOutWhatIsDeleted) {
  // The first segment has the deletes up to 200 in its files, the second up to 300.
  SegmentMeta first = Write(SegmentId(1), {Grow(SegmentId(1), 0, 10, 100)}, 200);
  first.log_end = 40;
  stores_->Put(first);
  SegmentMeta second = Write(SegmentId(2), {Grow(SegmentId(2), 10, 10, 250), Grow(SegmentId(2), 3, 1, 280)}, 300);
  second.log_end = 30;
  stores_->Put(second);
  // Key 3 was deleted at 270 and came again at 280. Key 12's delete at 290 is in the second's files already, as far as
  // the catalog says, and must not be applied to it again; key 5's at 400 lies beyond what this compaction covers.
  const SegmentMeta deletes = WriteModelDeletes(*stores_, SegmentId(5), {
      {150, PartitionId(), KeysOf({9}, false)}, {270, PartitionId(), KeysOf({3, 4}, false)},
      {290, PartitionId(), KeysOf({12}, false)}, {310, PartitionId(), KeysOf({6, 13}, false)},
      {320, kOtherPartition, KeysOf({7}, false)}, {400, PartitionId(), KeysOf({5}, false)}});
  stores_->Put(deletes);
  const TaskSpec task = CompactTask({SegmentId(1), SegmentId(2)}, {SegmentId(5)}, 350);
  const auto output = Compacted(task);
  ASSERT_TRUE(output.ok()) << output.status().ToString();
  EXPECT_EQ(output->id, kOutput);
  EXPECT_EQ(output->collection, kModelCollection);
  EXPECT_EQ(output->partition, kModelPartition);
  EXPECT_EQ(output->channel, 3);
  EXPECT_EQ(output->deletes_until, 350u);
  EXPECT_EQ(output->log_end, 40);
  EXPECT_EQ(output->epoch, task.id);
  EXPECT_THAT(output->compacted_from, ElementsAre(SegmentId(1), SegmentId(2)));
  EXPECT_EQ(output->min_ts, 100u);
  EXPECT_EQ(output->max_ts, 280u);
  const auto rows = RowsOf(*output);
  EXPECT_EQ(static_cast<int64_t>(rows.size()), output->rows);
  std::map<int64_t, Timestamp> expected;
  for (int64_t key = 0; key < 10; ++key) expected[key] = 100;
  for (int64_t key = 10; key < 20; ++key) expected[key] = 250;
  expected[3] = 280;
  for (const int64_t key : {4, 6, 13}) expected.erase(key);
  EXPECT_EQ(rows, expected);
  EXPECT_TRUE(VerifySegment(stores_->objects.get(), *output).ok());
}

TEST_F(IndexNodeTest, ACompactionOfWhatIsAllDeletedOrExpiredHasNoRows) {
  Write(SegmentId(1), {Grow(SegmentId(1), 0, 3, 100), Grow(SegmentId(1), 3, 3, 150)}, 200);
  std::vector<int64_t> keys{0, 1, 2, 3, 4, 5};
  stores_->Put(WriteModelDeletes(*stores_, SegmentId(5), {{300, PartitionId(), KeysOf(keys, false)}}));
  const auto nothing = Compacted(CompactTask({SegmentId(1)}, {SegmentId(5)}, 300));
  ASSERT_TRUE(nothing.ok()) << nothing.status().ToString();
  EXPECT_EQ(nothing->rows, 0);
  TaskSpec expiring = CompactTask({SegmentId(1)}, {}, 200);
  expiring.expired_before = 120;
  const auto half = Compacted(expiring);
  ASSERT_TRUE(half.ok());
  EXPECT_THAT(RowsOf(*half), ElementsAre(Pair(3, 150), Pair(4, 150), Pair(5, 150)));
}

TEST_F(IndexNodeTest, ACompactionFillsInFieldsThatWereAddedLater) {
  Write(SegmentId(1), {Grow(SegmentId(1), 0, 3, 100)}, 200);
  auto wider = std::make_shared<CollectionSchema>(*schema_);
  FieldSchema later;
  later.id = kLaterField;
  later.name = "later";
  later.type = DataType::kInt64;
  later.default_value = Value(int64_t{7});
  wider->fields.push_back(later);
  collection_.schema = wider;
  const auto output = Compacted(CompactTask({SegmentId(1)}, {}, 200));
  ASSERT_TRUE(output.ok());
  const auto segment = OpenSegment(stores_->objects.get(), *output);
  const auto chunk = (*segment)->ChunkAt(kLaterField, 0);
  ASSERT_TRUE(chunk.has_value());
  EXPECT_EQ(chunk->column.At<int64_t>(2), 7);
}

TEST_F(IndexNodeTest, TellsWhyItCanNotCompact) {
  Write(SegmentId(1), {Grow(SegmentId(1), 0, 3, 100)}, 200);
  const auto missing = Compacted(CompactTask({SegmentId(1), SegmentId(9)}, {}, 200));
  EXPECT_EQ(missing.status().code(), ErrorCode::kSegmentNotFound);
  EXPECT_THAT(missing.status().message(), HasSubstr("9"));
  const SegmentMeta gone = Write(SegmentId(2), {Grow(SegmentId(2), 0, 3, 100)}, 200);
  ASSERT_TRUE(stores_->objects->Delete(gone.manifest.substr(0, gone.manifest.rfind('/')) + "/columns").ok());
  EXPECT_EQ(Compacted(CompactTask({SegmentId(1), SegmentId(2)}, {}, 200)).status().code(), ErrorCode::kIoKeyNotFound);
  const SegmentMeta deletes = WriteModelDeletes(*stores_, SegmentId(5), {{300, PartitionId(), KeysOf({1}, false)}});
  ASSERT_TRUE(stores_->objects->Put(deletes.manifest, "garbage").ok());
  stores_->Put(deletes);
  EXPECT_EQ(Compacted(CompactTask({SegmentId(1)}, {SegmentId(5)}, 300)).status().code(), ErrorCode::kCorrupted);
  // What failed left no output behind that would be taken for a segment.
  EXPECT_TRUE(Eventually([&] { return stores_->catalog->Tasks().empty(); }));
  const auto left = stores_->objects->List("segments/50/90/");
  ASSERT_TRUE(left.ok());
  for (const ObjectInfo& object : *left) EXPECT_THAT(object.name, testing::Not(HasSubstr("manifest")));
}

TEST_F(IndexNodeTest, ManyTasksAreEachDoneOnce) {
  Write(SegmentId(1), {Grow(SegmentId(1), 0, 200, 100)}, 200);
  std::vector<TaskSpec> tasks;
  std::vector<std::thread> threads;
  for (int i = 0; i < 40; ++i) tasks.push_back(IndexTask(SegmentId(1), kVectorField, "FLAT", Metric::kL2));
  for (const TaskSpec& task : tasks) collection_.indexes.push_back(task.index);
  stores_->Put(collection_);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = t; i < 40; i += 4) {
        stores_->Commit({MetaOp::Put(TaskKey(tasks[static_cast<size_t>(i)].id), Encode(tasks[static_cast<size_t>(i)]))});
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (const TaskSpec& task : tasks) EXPECT_TRUE(Built(task).ok());
  EXPECT_EQ(results_.reports, 40);
  EXPECT_TRUE(Eventually([&] { return node_->tasks_running() == 0; }));
}

}  // namespace
}  // namespace saker
