#include "catalog/catalog_writer.h"

#include <charconv>

#include "base/bytes.h"
#include "base/log.h"
#include "meta/keys.h"

namespace saker {
namespace {

constexpr uint32_t kMagic = 0x314c4353;  // "SCL1"
constexpr int kMaxTries = 100;

std::string LogName(int64_t sequence) {
  std::string number = std::to_string(sequence);
  return "catalog/log/" + std::string(20 - number.size(), '0') + number;
}

// The value of catalog/seq: the number, then the changes it stands for, so that a new leader can copy them.
std::string SequenceValue(int64_t sequence, const std::vector<MetaOp>& ops) {
  std::string bytes;
  ByteWriter out(bytes);
  out.Put(sequence);
  out.PutRaw(EncodeChanges(ops));
  return bytes;
}

}  // namespace

std::string EncodeChanges(const std::vector<MetaOp>& ops) {
  std::string body;
  ByteWriter out(body);
  out.Put<uint32_t>(static_cast<uint32_t>(ops.size()));
  for (const MetaOp& op : ops) {
    out.Put<uint8_t>(static_cast<uint8_t>(op.kind));
    out.PutBytes(op.key);
    out.PutBytes(op.value);
  }
  std::string bytes;
  ByteWriter framed(bytes);
  framed.Put(kMagic);
  framed.Put(Crc32c(body));
  framed.PutBytes(body);
  return bytes;
}

Result<std::vector<MetaOp>> DecodeChanges(std::string_view bytes) {
  ByteReader in(bytes);
  const auto magic = in.Get<uint32_t>();
  const auto crc = in.Get<uint32_t>();
  const std::string_view body = in.GetBytes();
  if (!in.ok() || magic != kMagic || Crc32c(body) != crc) {
    return Status(ErrorCode::kCorrupted, "a copy of a catalog change is damaged");
  }
  ByteReader ops_in(body);
  std::vector<MetaOp> ops;
  const auto count = ops_in.Get<uint32_t>();
  for (uint32_t i = 0; i < count && ops_in.ok(); ++i) {
    MetaOp op;
    op.kind = static_cast<MetaOp::Kind>(ops_in.Get<uint8_t>());
    op.key = ops_in.GetBytes();
    op.value = ops_in.GetBytes();
    ops.push_back(std::move(op));
  }
  if (!ops_in.ok()) return Status(ErrorCode::kCorrupted, "a copy of a catalog change is shorter than it says");
  return ops;
}

Status CatalogWriter::Start() {
  MutexLock lock(mutex_);
  auto kv = store_->Get(std::string(kCatalogSequenceKey));
  if (kv.status().code() == ErrorCode::kIoKeyNotFound) {
    sequence_ = 0;
    return {};
  }
  RETURN_IF_ERROR(kv.status());
  ByteReader in(kv->value);
  sequence_ = in.Get<int64_t>();
  if (!in.ok()) return {ErrorCode::kCorrupted, "meta store key catalog/seq is damaged"};
  ASSIGN_OR_RETURN(const std::vector<MetaOp> last, DecodeChanges(std::string_view(kv->value).substr(sizeof(int64_t))));
  return Copy(sequence_, last);
}

Status CatalogWriter::Copy(int64_t sequence, const std::vector<MetaOp>& ops) {
  const Status status = objects_->PutIfAbsent(LogName(sequence), EncodeChanges(ops));
  return status.code() == ErrorCode::kAlreadyExists ? Status() : status;
}

void CatalogWriter::SetFence(std::function<std::vector<Compare>()> fence) {
  MutexLock lock(mutex_);
  fence_ = std::move(fence);
}

Result<Revision> CatalogWriter::Commit(std::vector<Compare> compares, std::vector<MetaOp> ops) {
  MutexLock lock(mutex_);
  if (fence_) {
    for (Compare& compare : fence_()) compares.push_back(std::move(compare));
  }
  const int64_t next = sequence_ + 1;
  std::vector<MetaOp> with_sequence = ops;
  with_sequence.push_back(MetaOp::Put(std::string(kCatalogSequenceKey), SequenceValue(next, ops)));
  ASSIGN_OR_RETURN(const Revision revision, store_->Commit(compares, with_sequence));
  sequence_ = next;
  // Not acknowledged before the copy is safe. If it fails the change stands: whoever asked may ask again, and finds it.
  RETURN_IF_ERROR(Copy(next, ops).WithContext("the change is made, but its copy in the object store failed"));
  return revision;
}

Result<Revision> CatalogWriter::Update(CollectionId id, const Change& change, Collection* after) {
  for (int i = 0; i < kMaxTries; ++i) {
    auto kv = store_->Get(CollectionKey(id));
    if (kv.status().code() == ErrorCode::kIoKeyNotFound) {
      return Status(ErrorCode::kCollectionNotFound, "collection not found[collection=" + std::to_string(id.value) + "]");
    }
    RETURN_IF_ERROR(kv.status());
    ASSIGN_OR_RETURN(Collection collection, DecodeCollection(kv->value));
    if (collection.dropped) {
      return Status(ErrorCode::kCollectionNotFound, "collection not found[collection=" + std::to_string(id.value) + "]");
    }
    RETURN_IF_ERROR(change(collection));
    ++collection.version;
    auto revision = Commit({Compare::Unchanged(kv->key, kv->mod_revision)}, {MetaOp::Put(kv->key, Encode(collection))});
    if (revision.status().code() == ErrorCode::kConflict) continue;
    if (revision.ok() && after != nullptr) *after = std::move(collection);
    return revision;
  }
  return Status(ErrorCode::kServiceUnavailable, "the collection is being changed by others all the time; retry");
}

}  // namespace saker
