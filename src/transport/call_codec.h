// Requests and answers as frames: envelope, then arguments or result. Used by both ends.
#pragma once

#include <tuple>
#include <utility>
#include <variant>

#include "transport/envelope.h"
#include "transport/messages.h"
#include "transport/plan_codec.h"

namespace saker {

// What a method without a result answers.
using Nothing = std::monostate;

// `owner` keeps alive what the arguments refer to, so that large arrays need not be copied; null: they are.
template <typename... Args>
Frame EncodeRequest(const CallHeader& header, std::shared_ptr<const void> owner, const Args&... args) {
  FrameWriter frame(std::move(owner));
  WireWriter out(frame);
  frame.Put(kEnvelopeVersion);
  out(header);
  const FrameWriter::Mark mark = frame.Begin();
  (out(args), ...);
  frame.End(mark);
  return std::move(frame).Finish();
}

// The envelope's version, checked; the reader stands at the header (request) or at the status (answer) then.
Status ReadVersion(FrameReader& in);

// The arguments, in order. The reader stands behind the header.
template <typename... Args>
Status DecodeArguments(WireReader& in, Args&... args) {
  const size_t outer = in.in().Enter();
  (in(args), ...);
  in.in().Leave(outer);
  return in.status();
}

Frame EncodeFailure(const Status& status);

template <typename T>
Frame EncodeAnswer(Result<T> result) {
  if (!result.ok()) return EncodeFailure(result.status());
  const auto owned = std::make_shared<const T>(std::move(*result));
  FrameWriter frame(owned);
  WireWriter out(frame);
  frame.Put(kEnvelopeVersion);
  out(Status());
  const FrameWriter::Mark mark = frame.Begin();
  if constexpr (!std::is_same_v<T, Nothing>) out(*owned);
  frame.End(mark);
  return std::move(frame).Finish();
}

template <typename T>
Result<T> DecodeAnswer(const Result<Frame>& frame) {
  RETURN_IF_ERROR(frame.status());
  FrameReader in(*frame);
  RETURN_IF_ERROR(ReadVersion(in));
  WireReader reader(in);
  Status status;
  reader(status);
  RETURN_IF_ERROR(in.status());
  RETURN_IF_ERROR(status);
  T value{};
  const size_t outer = in.Enter();
  if constexpr (!std::is_same_v<T, Nothing>) reader(value);
  in.Leave(outer);
  RETURN_IF_ERROR(in.status());
  return value;
}

}  // namespace saker
