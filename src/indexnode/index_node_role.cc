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
      if (hold && !Abandoned(task)) Run(task);
    });
  }
}

bool IndexNodeRole::Abandoned(const TaskSpec& task) const {
  if (stopping_) return true;
  return deps_.catalog->IsDropped(task.collection);
}

void IndexNodeRole::Run(const TaskSpec& task) {
  ++running_;
  const Stopwatch watch;
  Status reported;
  if (task.kind == TaskKind::kBuildIndex) {
    auto built = BuildIndex(task);
    if (built.ok()) {
      LogInfo("segment {}: index {} ({}) built over {} rows, {} KiB, in {} ms", task.segment.value, task.index.name,
              task.index.type, built->rows, built->size_bytes >> 10, watch.elapsed_ms());
    } else {
      LogWarn("segment {}: building index {} failed: {}", task.segment.value, task.index.name, built.status().ToString());
    }
    if (auto* coord = deps_.peers->index_coord(); coord != nullptr && !stopping_) {
      reported = coord->ReportIndex(task.id, std::move(built));
    }
  } else {
    auto output = Compact(task);
    if (output.ok()) {
      LogInfo("collection {}: compacted {} segments into {} ({} rows) in {} ms", task.collection.value, task.inputs.size(),
              task.segment.value, output->rows, watch.elapsed_ms());
    } else {
      LogWarn("collection {}: compaction {} failed: {}", task.collection.value, task.id, output.status().ToString());
    }
    if (auto* coord = deps_.peers->data_coord(); coord != nullptr && !stopping_) {
      reported = coord->ReportCompaction(task.id, std::move(output));
    }
  }
  if (!reported.ok()) LogWarn("task {}: its result was not taken: {}", task.id, reported.ToString());
  --running_;
}

Result<SegmentIndex> IndexNodeRole::BuildIndex(const TaskSpec& task) {
  const auto meta = deps_.catalog->FindSegment(task.segment);
  if (meta == nullptr || meta->state == SegmentState::kDropped) {
    return Status(ErrorCode::kSegmentNotFound, "segment " + std::to_string(task.segment.value) + " is gone");
  }
  ASSIGN_OR_RETURN(const SegmentPtr segment, OpenSegment(deps_.objects, *meta));
  const std::vector<FieldId> fields{task.index.field};
  RETURN_IF_ERROR(segment->Check(fields));
  SegmentIndex built;
  built.index = task.index.id;
  built.rows = segment->rows();
  built.object = "indexes/" + std::to_string(task.collection.value) + "/" + std::to_string(task.segment.value) + "/" +
                 std::to_string(task.index.id.value) + "-" + JobName(task);
  const FieldSchema* field = segment->schema().Find(task.index.field);
  if (field == nullptr) {
    return Status(ErrorCode::kFieldNotFound, "the segment was written before field " + std::to_string(task.index.field.value));
  }
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
  output.manifest = files.manifest;
  output.epoch = task.id;
  return output;
}

}  // namespace saker
