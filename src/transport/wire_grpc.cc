#include "transport/wire_grpc.h"

#include <vector>

namespace saker {
namespace {

constexpr size_t kCopied = 2 << 10;  // below it a copy costs less than sharing

void Release(void* owner) { delete static_cast<std::shared_ptr<const void>*>(owner); }

}  // namespace

grpc::ByteBuffer ToByteBuffer(const Frame& frame) {
  std::vector<grpc::Slice> slices;
  slices.reserve(frame.pieces.size());
  for (const Frame::Piece& piece : frame.pieces) {
    if (piece.owner == nullptr || piece.bytes.size() < kCopied) {
      slices.emplace_back(piece.bytes.data(), piece.bytes.size());
    } else {
      auto* owner = new std::shared_ptr<const void>(piece.owner);
      slices.emplace_back(const_cast<char*>(piece.bytes.data()), piece.bytes.size(), Release, owner);
    }
  }
  return {slices.data(), slices.size()};
}

Frame FromByteBuffer(const grpc::ByteBuffer& buffer) {
  auto slices = std::make_shared<std::vector<grpc::Slice>>();
  Frame frame;
  if (!buffer.Valid() || !buffer.Dump(slices.get()).ok()) return frame;
  frame.pieces.reserve(slices->size());
  for (const grpc::Slice& slice : *slices) {
    frame.pieces.push_back({{reinterpret_cast<const char*>(slice.begin()), slice.size()}, slices});
  }
  return frame;
}

}  // namespace saker
