// Opening sealed segments, attaching what was built over them, and listing what they consist of.
#include <fmt/format.h>

#include "segment/sealed_segment.h"

namespace saker {
namespace {

Result<Manifest> ReadManifest(ObjectStore* store, const SegmentMeta& meta) {
  ASSIGN_OR_RETURN(const std::string bytes, store->Get(meta.manifest));
  ASSIGN_OR_RETURN(Manifest manifest, DecodeManifest(bytes, meta.manifest));
  if (meta.rows != 0 && meta.rows != manifest.rows) {
    return Status(ErrorCode::kCorrupted, fmt::format("segment manifest {} has {} rows, segment {} should have {}",
                                                     meta.manifest, manifest.rows, meta.id.value, meta.rows));
  }
  // Files may be shared under another id (a restored backup): the catalog's word is the one that counts.
  if (meta.id) manifest.id = meta.id;
  if (meta.partition) manifest.partition = meta.partition;
  return manifest;
}

Result<std::shared_ptr<SealedSegment>> OpenSealed(ObjectStore* store, const SegmentMeta& meta) {
  ASSIGN_OR_RETURN(Manifest manifest, ReadManifest(store, meta));
  return SealedSegment::Open(store, meta.manifest, std::move(manifest));
}

// An index, and whatever it borrows from.
template <typename Index>
struct Attached {
  std::shared_ptr<const MappedObject> file;
  std::shared_ptr<const MappedObject> vectors;
  std::unique_ptr<Index> index;
};

template <typename Index>
Result<std::shared_ptr<const Index>> Hold(Result<std::unique_ptr<Index>> opened, const Segment& segment,
                                          std::shared_ptr<const MappedObject> file,
                                          std::shared_ptr<const MappedObject> vectors) {
  if (!opened.ok()) return opened.status().WithContext(fmt::format("index file {}", file->name()));
  if ((*opened)->rows() != segment.rows()) {
    return Status(ErrorCode::kCorrupted, fmt::format("index file {} covers {} rows, segment {} has {}", file->name(),
                                                     (*opened)->rows(), segment.id().value, segment.rows()));
  }
  auto attached = std::make_shared<Attached<Index>>();
  attached->file = std::move(file);
  attached->vectors = std::move(vectors);
  attached->index = *std::move(opened);
  const Index* index = attached->index.get();
  return std::shared_ptr<const Index>(std::move(attached), index);
}

VectorView ViewOf(const ColumnView& column) {
  VectorView view;
  view.type = column.type;
  view.dim = column.dim;
  view.rows = column.rows;
  view.data = column.fixed;
  view.row_bytes = column.width;
  return view;
}

}  // namespace

Result<SegmentPtr> OpenSegment(ObjectStore* store, const SegmentMeta& meta) {
  ASSIGN_OR_RETURN(std::shared_ptr<SealedSegment> segment, OpenSealed(store, meta));
  segment->SetDroppedUntil(meta.dropped_until);
  return SegmentPtr(std::move(segment));
}

Status VerifySegment(ObjectStore* store, const SegmentMeta& meta) {
  if (meta.kind == SegmentKind::kDeletes) return ReadDeletes(store, meta).status();
  ASSIGN_OR_RETURN(const std::shared_ptr<SealedSegment> segment, OpenSealed(store, meta));
  return segment->CheckAll();
}

Status AttachIndex(const SegmentPtr& segment, ObjectStore* store, const IndexMeta& index, const SegmentIndex& built) {
  auto* sealed = dynamic_cast<SealedSegment*>(segment.get());
  SAKER_CHECK(sealed != nullptr);
  const MappedColumn* column = sealed->ColumnOf(index.field);
  if (column == nullptr) {
    return {ErrorCode::kFieldNotFound, fmt::format("segment {} has no field {} to attach index {} to",
                                                   segment->id().value, index.field.value, index.name)};
  }
  ASSIGN_OR_RETURN(std::shared_ptr<const MappedObject> file, store->Map(built.object));
  const std::string_view bytes = file->bytes();
  if (IsVector(column->file().type)) {
    // The raw vectors are checked by the first search, not here: attaching reads no more than it must.
    ASSIGN_OR_RETURN(auto opened, Hold(OpenVectorIndex(bytes, ViewOf(column->view())), *segment, file, column->object()));
    sealed->SetVectorIndex(index.field, std::move(opened));
  } else {
    ASSIGN_OR_RETURN(auto opened, Hold(OpenScalarIndex(bytes), *segment, file, nullptr));
    sealed->SetScalarIndex(index.field, std::move(opened));
  }
  return {};
}

void DetachIndex(const SegmentPtr& segment, FieldId field) {
  if (auto* sealed = dynamic_cast<SealedSegment*>(segment.get())) sealed->DropIndexes(field);
}

Result<std::vector<std::string>> ObjectsOf(ObjectStore* store, const SegmentMeta& meta) {
  std::vector<std::string> names = {meta.manifest};
  if (meta.kind == SegmentKind::kRows) {
    ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(store, meta));
    for (const Manifest::Object& object : manifest.objects) names.push_back(Beside(meta.manifest, object.name));
  }
  for (const SegmentIndex& index : meta.indexes) {
    if (!index.object.empty()) names.push_back(index.object);
  }
  return names;
}

Result<VectorView> VectorsOf(const Segment& segment, FieldId field) {
  const auto* sealed = dynamic_cast<const SealedSegment*>(&segment);
  SAKER_CHECK(sealed != nullptr);
  const MappedColumn* column = sealed->ColumnOf(field);
  if (column == nullptr || !IsVector(column->file().type) || column->view().width == 0) {
    return Status(ErrorCode::kFieldNotFound,
                  fmt::format("segment {} has no vectors of fixed width in field {}", segment.id().value, field.value));
  }
  RETURN_IF_ERROR(column->Check());
  return ViewOf(column->view());
}

}  // namespace saker
