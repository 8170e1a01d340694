// Frames from anybody: requests, answers and plans, whole or in pieces. What decodes must encode to what decodes again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "transport/call_codec.h"
#include "transport/topology.h"

namespace saker {
namespace {

// In pieces of the given length: values lie across their borders.
Frame InPieces(std::string_view bytes, size_t length) {
  Frame frame;
  for (size_t at = 0; at < bytes.size(); at += length) frame.pieces.push_back({bytes.substr(at, length), nullptr});
  return frame;
}

template <typename T>
void Answer(const Frame& frame) {
  auto value = DecodeAnswer<T>(frame);
  if (!value.ok()) return;
  const Frame again = EncodeAnswer(std::move(value));
  if (!DecodeAnswer<T>(again).ok()) std::abort();
}

template <typename... Args>
void Request(const Frame& frame, PlanReader& plans) {
  FrameReader in(frame);
  if (!ReadVersion(in).ok()) return;
  WireReader reader(in, &plans);
  CallHeader header;
  reader(header);
  std::tuple<Args...> args;
  const Status read = std::apply([&](auto&... each) { return DecodeArguments(reader, each...); }, args);
  if (!read.ok()) return;
  const Frame again = std::apply([&](auto&... each) { return EncodeRequest(header, nullptr, each...); }, args);
  FrameReader second(again);
  if (!ReadVersion(second).ok()) std::abort();
  WireReader second_reader(second, &plans);
  second_reader(header);
  if (!std::apply([&](auto&... each) { return DecodeArguments(second_reader, each...); }, args).ok()) std::abort();
}

}  // namespace
}  // namespace saker

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace saker;
  static PlanReader plans;
  if (size < 2) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const Frame frame = InPieces(bytes, 1 + data[1] % 64);
  switch (data[0] % 12) {
    case 0: Request<WriteRequest>(frame, plans); break;
    case 1: Request<GrowingLeg, std::shared_ptr<const SearchPlan>>(frame, plans); break;
    case 2: Request<SealedLeg, std::shared_ptr<const QueryPlan>>(frame, plans); break;
    case 3: Request<CollectionDraft>(frame, plans); break;
    case 4: Request<int64_t, std::vector<SegmentMeta>, KeyValues>(frame, plans); break;
    case 5: Request<FetchRequest>(frame, plans); break;
    case 6: Answer<SearchHits>(frame); break;
    case 7: Answer<QueryRows>(frame); break;
    case 8: Answer<DeleteStream>(frame); break;
    case 9: Answer<std::vector<SegmentReport>>(frame); break;
    case 10: Answer<PingReply>(frame); break;
    default: (void)DecodeTopology(bytes).ok();
  }
  return 0;
}
