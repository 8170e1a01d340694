#include "indexnode/index_node_role.h"

#include <algorithm>

#include "base/log.h"
#include "index/vector_index.h"
#include "scalar/scalar_index.h"

namespace saker {
namespace {

// Writes an index through its Save() into one object.
template <typename Index>
Result<int64_t> SaveTo(ObjectStore* objects, const std::string& name, const Index& index) {
  ASSIGN_OR_RETURN(const std::unique_ptr<ObjectWriter> writer, objects->Create(name));
  RETURN_IF_ERROR(index.Save([&](std::string_view bytes) { return writer->Append(bytes); }));
  const int64_t size = writer->size();
  RETURN_IF_ERROR(writer->Finish());
  return size;
}

// How often a result is offered to a coordinator that doesn't take it (the meta store is away, the disk is full), and how
// long at most in between.
constexpr int kReportTries = 20;
constexpr auto kFirstPause = std::chrono::milliseconds(20);
constexpr auto kLongestPause = std::chrono::milliseconds(5'000);

Status Unwanted() { return {ErrorCode::kCancelled, "the collection or the index was dropped meanwhile"}; }

std::string JobName(const TaskSpec& task) { return "j" + std::to_string(task.id) + "-" + std::to_string(MonotonicUs()); }

}  // namespace

IndexNodeRole::IndexNodeRole(IndexNodeDeps deps, IndexNodeSettings settings) : deps_(deps), settings_(settings) {}

IndexNodeRole::~IndexNodeRole() { Stop(); }

void IndexNodeRole::Start() {
  subscription_ = deps_.catalog->Subscribe([this](const Catalog::Change& change) {
    if (change.tasks) TakeTasks();
  });
  TakeTasks();
}

void IndexNodeRole::Stop() {
  if (stopping_.exchange(true)) return;
  if (subscription_ != 0) deps_.catalog->Unsubscribe(subscription_);
  {
    MutexLock lock(mutex_);
    stop_.NotifyAll();
  }
  gate_.Close();
}

void IndexNodeRole::TakeTasks() {
  const std::vector<TaskSpec> tasks = deps_.catalog->Tasks();
  MutexLock lock(mutex_);
  std::erase_if(taken_, [&](int64_t id) {
    return std::none_of(tasks.begin(), tasks.end(), [&](const TaskSpec& task) { return task.id == id; });
  });
  for (const TaskSpec& task : tasks) {
    if (task.node != deps_.node || !taken_.insert(task.id).second) continue;
    deps_.build->Post([this, task] {
      const Gate::Hold hold(gate_);
      if (hold && !stopping_) Run(task);
    });
  }
}

bool IndexNodeRole::Abandoned(const TaskSpec& task) const {
  if (stopping_ || deps_.catalog->IsDropped(task.collection)) return true;
  if (task.kind != TaskKind::kBuildIndex) return false;
  const CollectionPtr collection = deps_.catalog->GetCollection(task.collection);
  if (collection == nullptr) return false;
  return std::none_of(collection->indexes.begin(), collection->indexes.end(),
                      [&](const IndexMeta& index) { return index.id == task.index.id && !index.dropped; });
}

void IndexNodeRole::Run(const TaskSpec& task) {
  ++running_;
  const Stopwatch watch;
  if (task.kind == TaskKind::kBuildIndex) {
    const auto built = BuildIndex(task);
    if (built.ok()) {
      LogInfo("segment {}: index {} ({}) built over {} rows, {} KiB, in {} ms", task.segment.value, task.index.name,
              task.index.type, built->rows, built->size_bytes >> 10, watch.elapsed_ms());
    } else {
      LogWarn("segment {}: building index {} failed: {}", task.segment.value, task.index.name, built.status().ToString());
    }
    Report(task, [&]() -> Status {
      auto* coord = deps_.peers->index_coord();
      if (coord == nullptr) return {ErrorCode::kServiceUnavailable, "indexcoord is away"};
      return coord->ReportIndex(task.id, built);
    });
  } else {
    const auto output = Compact(task);
    if (output.ok()) {
      LogInfo("collection {}: compacted {} segments into {} ({} rows) in {} ms", task.collection.value, task.inputs.size(),
              task.segment.value, output->rows, watch.elapsed_ms());
    } else {
      LogWarn("collection {}: compaction {} failed: {}", task.collection.value, task.id, output.status().ToString());
    }
    Report(task, [&]() -> Status {
      auto* coord = deps_.peers->data_coord();
      if (coord == nullptr) return {ErrorCode::kServiceUnavailable, "datacoord is away"};
      return coord->ReportCompaction(task.id, output);
    });
  }
  --running_;
}

// A task ends when its coordinator has taken its result, an error too: until then its key stands, and counts as one that
// is being worked at.
void IndexNodeRole::Report(const TaskSpec& task, const std::function<Status()>& report) {
  auto pause = kFirstPause;
  for (int i = 0; i < kReportTries && !stopping_; ++i) {
    const Status status = report();
    if (status.ok()) return;
    LogWarn("task {}: its result was not taken: {}", task.id, status.ToString());
    MutexLock lock(mutex_);
    stop_.WaitFor(lock, pause, [this] { return stopping_.load(); });
    pause = std::min(pause * 2, kLongestPause);
  }
  MutexLock lock(mutex_);
  taken_.erase(task.id);  // done again when tasks change the next time
}

Result<SegmentIndex> IndexNodeRole::BuildIndex(const TaskSpec& task) {
  if (Abandoned(task)) return Unwanted();
  const auto meta = deps_.catalog->FindSegment(task.segment);
  if (meta == nullptr || meta->state == SegmentState::kDropped) {
    return Status(ErrorCode::kSegmentNotFound, "segment " + std::to_string(task.segment.value) + " is gone");
  }
  ASSIGN_OR_RETURN(const SegmentPtr segment, OpenSegment(deps_.objects, *meta));
  SegmentIndex built;
  built.index = task.index.id;
  built.rows = segment->rows();
  const FieldSchema* field = segment->schema().Find(task.index.field);
  if (field == nullptr) return built;  // written before the field was added: all its rows have the default
  const std::vector<FieldId> fields{task.index.field};
  RETURN_IF_ERROR(segment->Check(fields));
  built.object = "indexes/" + std::to_string(task.collection.value) + "/" + std::to_string(task.segment.value) + "/" +
                 std::to_string(task.index.id.value) + "-" + JobName(task);
  if (IsVector(field->type)) {
    ASSIGN_OR_RETURN(const VectorView vectors, VectorsOf(*segment, task.index.field));
    VectorBuildOptions options;
    options.threads = settings_.build_threads;
    options.cancelled = [this, &task] { return Abandoned(task); };
    ASSIGN_OR_RETURN(const auto index,
                     BuildVectorIndex(task.index.type, task.index.metric, task.index.params, vectors, options));
    ASSIGN_OR_RETURN(built.size_bytes, SaveTo(deps_.objects, built.object, *index));
    return built;
  }
  const auto chunk = segment->ChunkAt(task.index.field, 0);
  if (!chunk.has_value()) return Status(ErrorCode::kFieldNotFound, "the segment has no column for field " + field->name);
  ASSIGN_OR_RETURN(const auto index, BuildScalarIndex(task.index.type, chunk->column));
  ASSIGN_OR_RETURN(built.size_bytes, SaveTo(deps_.objects, built.object, *index));
  return built;
}

Result<SegmentMeta> IndexNodeRole::Compact(const TaskSpec& task) {
  if (Abandoned(task)) return Unwanted();
  const CollectionPtr collection = deps_.catalog->GetCollection(task.collection);
  if (collection == nullptr) return Status(ErrorCode::kCollectionNotFound, "the collection was dropped");
  std::vector<DeleteBatch> deletes;
  for (const SegmentId id : task.deletes) {
    const auto meta = deps_.catalog->FindSegment(id);
    if (meta == nullptr || meta->state == SegmentState::kDropped) continue;
    ASSIGN_OR_RETURN(auto batches, ReadDeletes(deps_.objects, *meta));
    std::move(batches.begin(), batches.end(), std::back_inserter(deletes));
  }
  std::sort(deletes.begin(), deletes.end(), [](const DeleteBatch& a, const DeleteBatch& b) { return a.ts < b.ts; });

  SegmentMeta output;
  output.id = task.segment;
  output.collection = task.collection;
  output.deletes_until = task.deletes_until;
  output.compacted_from = task.inputs;
  SegmentWriteRequest request;
  for (const SegmentId id : task.inputs) {
    const auto meta = deps_.catalog->FindSegment(id);
    if (meta == nullptr || meta->state == SegmentState::kDropped) {
      return Status(ErrorCode::kSegmentNotFound, "input segment " + std::to_string(id.value) + " is gone");
    }
    ASSIGN_OR_RETURN(SegmentPtr segment, OpenSegment(deps_.objects, *meta));
    for (const DeleteBatch& batch : deletes) {
      if (batch.ts > meta->deletes_until) segment->Delete(batch);
    }
    output.partition = meta->partition;
    output.channel = meta->channel;
    output.log_end = std::max(output.log_end, meta->log_end);
    request.sources.push_back(std::move(segment));
  }
  request.store = deps_.objects;
  request.prefix = "segments/" + std::to_string(task.collection.value) + "/" + std::to_string(task.segment.value) + "/" + JobName(task);
  request.id = task.segment;
  request.partition = output.partition;
  request.schema = collection->schema;
  request.deletes_until = task.deletes_until;
  request.expired_before = task.expired_before;
  ASSIGN_OR_RETURN(const SegmentFiles files, WriteSegment(request));
  output.rows = files.rows;
  output.size_bytes = files.size_bytes;
  output.min_ts = files.min_ts;
  output.max_ts = files.max_ts;
  output.dropped_until = files.dropped_until;
  output.manifest = files.manifest;
  output.epoch = task.id;
  return output;
}

}  // namespace saker
