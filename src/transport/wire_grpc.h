// Frames as gRPC's buffers, for channel.cc and server.cc alone.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include "transport/frame.h"

namespace saker {

// Shares the frame's pieces; only small ones are copied.
grpc::ByteBuffer ToByteBuffer(const Frame& frame);
// Shares the buffer's slices.
Frame FromByteBuffer(const grpc::ByteBuffer& buffer);

}  // namespace saker
