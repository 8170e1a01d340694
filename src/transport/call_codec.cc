#include "transport/call_codec.h"

#include <fmt/format.h>

namespace saker {

Status ReadVersion(FrameReader& in) {
  const auto version = in.Get<uint8_t>();
  if (version == kEnvelopeVersion) return {};
  return {ErrorCode::kCorrupted,
          fmt::format("a message from another process has envelope version {}, this one speaks version {}: is it a process of "
                      "this cluster, and of a version that may be mixed with this one?", version, kEnvelopeVersion)};
}

Frame EncodeFailure(const Status& status) {
  FrameWriter frame;
  frame.Put(kEnvelopeVersion);
  WireWriter out(frame);
  out(status);
  return std::move(frame).Finish();
}

}  // namespace saker
