#include "wal/frame_reader.h"

#include <fmt/format.h>

#include <algorithm>

namespace saker {

Status CorruptedLogFile(const LogFile& file, int64_t position, std::string_view why) {
  return {ErrorCode::kCorrupted, fmt::format("log file {} is damaged at offset {}: {}; restore it from a backup",
                                             file.file.path(), position, why)};
}

Result<std::string_view> FrameReader::Bytes(const LogFile& file, int64_t position, int64_t length) {
  const int64_t window_end = window_start_ + static_cast<int64_t>(window_.size());
  if (file_number_ != file.number || position < window_start_ || position + length > window_end) {
    file_number_ = 0;
    ASSIGN_OR_RETURN(window_, file.file.ReadAt(position, std::max(length, window_bytes_)));
    file_number_ = file.number;
    window_start_ = position;
  }
  const auto start = static_cast<size_t>(position - window_start_);
  return std::string_view(window_).substr(start, static_cast<size_t>(length));
}

Result<FrameReader::Outcome> FrameReader::Read(const LogFile& file, int64_t position, int64_t limit,
                                               LogFrameHeader* header, LogFrame* frame) {
  if (limit - position < kLogFrameHeaderBytes) return Bad("the file ends within a frame's header");
  ASSIGN_OR_RETURN(std::string_view bytes, Bytes(file, position, kLogFrameHeaderBytes));
  if (bytes.size() < static_cast<size_t>(kLogFrameHeaderBytes)) return Bad("the file ends within a frame's header");
  if (!DecodeLogFrameHeader(bytes, file.salt, header)) return Bad("there is no frame header");
  if (LogFrameBytes(header->body_bytes) > limit - position) return Bad("the file ends within a frame");
  ASSIGN_OR_RETURN(bytes, Bytes(file, position, LogFrameBytes(header->body_bytes)));
  if (bytes.size() < static_cast<size_t>(kLogFrameHeaderBytes) + header->body_bytes) {
    return Bad("the file ends within a frame");
  }
  const std::string_view body = bytes.substr(static_cast<size_t>(kLogFrameHeaderBytes), header->body_bytes);
  if (!LogFrameBodyMatches(*header, file.salt, body)) return Bad("a frame's checksum doesn't match");
  if (!DecodeLogFrameBody(body, frame)) return Bad("a frame's content makes no sense");
  return Outcome::kFrame;
}

Result<bool> FrameReader::ProvenDurableBeyond(const LogFile& file, int64_t position, int64_t from,
                                              uint64_t after_number, int64_t limit) {
  constexpr char kFirstByte = static_cast<char>(kLogFrameMagic & 0xff);
  LogFrameHeader header;
  for (int64_t at = from; at + kLogFrameHeaderBytes <= limit; at += kLogAlignment) {
    ASSIGN_OR_RETURN(const std::string_view bytes, Bytes(file, at, kLogFrameHeaderBytes));
    if (bytes.size() < static_cast<size_t>(kLogFrameHeaderBytes)) return false;
    if (bytes[0] != kFirstByte || !DecodeLogFrameHeader(bytes, file.salt, &header)) continue;
    if (header.number > after_number && header.durable_to > position && header.durable_to <= at) return true;
  }
  return false;
}

}  // namespace saker
