#include "wal/log_format.h"

#include <fmt/format.h>

#include <charconv>

#include "base/bytes.h"

namespace saker {
namespace {

constexpr int64_t kFixedHeaderBytes = 56;
constexpr int64_t kChannelStateBytes = 32;
constexpr int64_t kRecordHeaderBytes = 4 + 1 + 8 + 8 + 4;

constexpr int64_t HeaderBytes(int64_t channels) { return kFixedHeaderBytes + channels * kChannelStateBytes + 8; }

uint32_t Seed(uint64_t salt) { return static_cast<uint32_t>(salt ^ (salt >> 32)); }

// A record's body is bound to its file and its place in the order.
uint32_t BodyCrc(std::string_view body, uint64_t salt, uint64_t number) {
  return Crc32c(body, Seed(salt) ^ static_cast<uint32_t>(number * 0x9e3779b1));
}

bool Plausible(const LogChannelState& state) {
  return state.begin >= 0 && state.end >= state.begin && state.fenced_epoch >= 0 && state.fence_offset >= -1 &&
         state.fence_offset < state.end;
}

}  // namespace

int64_t MaxLogFileHeaderBytes() { return HeaderBytes(kMaxLogChannels); }

int64_t LogRecordBytes(int64_t payload_bytes) { return kRecordHeaderBytes + payload_bytes; }

std::string EncodeLogFileHeader(const LogFileHeader& header) {
  std::string out;
  ByteWriter writer(out);
  writer.Put<uint64_t>(kLogFileMagic);
  writer.Put<uint32_t>(kLogFileVersion);
  writer.Put<uint32_t>(static_cast<uint32_t>(HeaderBytes(static_cast<int64_t>(header.channels.size()))));
  writer.Put<uint64_t>(header.number);
  writer.Put<uint64_t>(header.salt);
  writer.Put<uint64_t>(header.first_frame);
  writer.Put<int64_t>(header.previous_end);
  writer.Put<uint32_t>(static_cast<uint32_t>(header.channels.size()));
  writer.Put<uint32_t>(0);
  for (const LogChannelState& state : header.channels) {
    writer.Put<int64_t>(state.begin);
    writer.Put<int64_t>(state.end);
    writer.Put<int64_t>(state.fenced_epoch);
    writer.Put<int64_t>(state.fence_offset);
  }
  writer.Put<uint32_t>(0);
  writer.Put<uint32_t>(Crc32c(out));
  return out;
}

Result<LogFileHeader> DecodeLogFileHeader(std::string_view bytes, const std::string& path, int64_t* header_bytes) {
  const auto corrupted = [&path](std::string_view what) {
    return Status(ErrorCode::kCorrupted, fmt::format("log file {} is damaged at offset 0: {}", path, what));
  };
  ByteReader reader(bytes);
  if (reader.Get<uint64_t>() != kLogFileMagic || !reader.ok()) return corrupted("it doesn't begin as a log file does");
  const auto version = reader.Get<uint32_t>();
  if (version != kLogFileVersion) {
    return corrupted(fmt::format("format version {}, this program reads version {}", version, kLogFileVersion));
  }
  const auto length = reader.Get<uint32_t>();
  LogFileHeader header;
  header.number = reader.Get<uint64_t>();
  header.salt = reader.Get<uint64_t>();
  header.first_frame = reader.Get<uint64_t>();
  header.previous_end = reader.Get<int64_t>();
  const auto channels = reader.Get<uint32_t>();
  reader.Get<uint32_t>();
  if (!reader.ok() || channels > kMaxLogChannels || HeaderBytes(channels) != length || bytes.size() < length) {
    return corrupted("the header's length is wrong");
  }
  const auto crc = ByteReader(bytes.substr(length - 4)).Get<uint32_t>();
  if (crc != Crc32c(bytes.substr(0, length - 4))) return corrupted("the header's checksum doesn't match");
  header.channels.resize(channels);
  for (LogChannelState& state : header.channels) {
    state.begin = reader.Get<int64_t>();
    state.end = reader.Get<int64_t>();
    state.fenced_epoch = reader.Get<int64_t>();
    state.fence_offset = reader.Get<int64_t>();
    if (!Plausible(state)) return corrupted("a channel's state makes no sense");
  }
  if (header.number == 0 || header.first_frame == 0 || header.previous_end < 0) {
    return corrupted("the header makes no sense");
  }
  *header_bytes = length;
  return header;
}

bool DecodeLogFrameHeader(std::string_view bytes, uint64_t salt, LogFrameHeader* header) {
  ByteReader reader(bytes);
  if (reader.Get<uint32_t>() != kLogFrameMagic) return false;
  header->body_bytes = reader.Get<uint32_t>();
  header->number = reader.Get<uint64_t>();
  header->durable_to = reader.Get<uint32_t>();
  header->body_crc = reader.Get<uint32_t>();
  reader.Get<uint32_t>();
  const auto crc = reader.Get<uint32_t>();
  return reader.ok() && crc == Crc32c(bytes.substr(0, kLogFrameHeaderBytes - 4), Seed(salt)) &&
         header->body_bytes > 0 && header->body_bytes <= kMaxLogFrameBytes;
}

bool LogFrameBodyMatches(const LogFrameHeader& header, uint64_t salt, std::string_view body) {
  return body.size() == header.body_bytes && BodyCrc(body, salt, header.number) == header.body_crc;
}

void EncodeLogFrame(const LogFrame& frame, uint64_t number, int64_t durable_to, uint64_t salt, std::string& out) {
  const size_t start = out.size();
  SAKER_CHECK(start % kLogAlignment == 0);
  out.resize(start + kLogFrameHeaderBytes);
  ByteWriter writer(out);
  writer.Put(frame.kind);
  if (frame.kind == LogFrameKind::kRecords) {
    writer.Put<uint32_t>(static_cast<uint32_t>(frame.records.size()));
    for (const LogRecordView& record : frame.records) {
      writer.Put<int32_t>(record.channel);
      writer.Put(record.type);
      writer.Put<int64_t>(record.offset);
      writer.Put<int64_t>(record.epoch);
      writer.PutBytes(record.payload);
    }
  } else if (frame.kind == LogFrameKind::kTruncation) {
    writer.Put<int32_t>(frame.channel);
    writer.Put<int64_t>(frame.before);
    writer.Put<int64_t>(frame.epoch);
  }
  const std::string_view body = std::string_view(out).substr(start + kLogFrameHeaderBytes);
  SAKER_CHECK(static_cast<int64_t>(body.size()) <= kMaxLogFrameBytes);
  std::string header;
  ByteWriter header_writer(header);
  header_writer.Put<uint32_t>(kLogFrameMagic);
  header_writer.Put<uint32_t>(static_cast<uint32_t>(body.size()));
  header_writer.Put<uint64_t>(number);
  header_writer.Put<uint32_t>(static_cast<uint32_t>(durable_to));
  header_writer.Put<uint32_t>(BodyCrc(body, salt, number));
  header_writer.Put<uint32_t>(0);
  header_writer.Put<uint32_t>(Crc32c(header, Seed(salt)));
  out.replace(start, header.size(), header);
  out.resize((out.size() + kLogAlignment - 1) / kLogAlignment * kLogAlignment, '\0');
}

bool DecodeLogFrameBody(std::string_view body, LogFrame* frame) {
  ByteReader reader(body);
  frame->kind = reader.Get<LogFrameKind>();
  frame->records.clear();
  switch (frame->kind) {
    case LogFrameKind::kRecords: {
      const auto count = reader.Get<uint32_t>();
      if (!reader.ok() || count > reader.remaining() / kRecordHeaderBytes) return false;
      frame->records.resize(count);
      for (LogRecordView& record : frame->records) {
        record.channel = reader.Get<int32_t>();
        record.type = static_cast<LogRecordType>(reader.Get<uint8_t>());
        record.offset = reader.Get<int64_t>();
        record.epoch = reader.Get<int64_t>();
        record.payload = reader.GetBytes();
        if (record.type != LogRecordType::kData && record.type != LogRecordType::kFence) return false;
      }
      break;
    }
    case LogFrameKind::kTruncation:
      frame->channel = reader.Get<int32_t>();
      frame->before = reader.Get<int64_t>();
      frame->epoch = reader.Get<int64_t>();
      break;
    case LogFrameKind::kMark: break;
    default: return false;
  }
  return reader.ok() && reader.done();
}

std::string LogFileName(uint64_t number) { return fmt::format("{:016x}.log", number); }

uint64_t ParseLogFileName(std::string_view name) {
  if (name.size() != 20 || name.substr(16) != ".log") return 0;
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + 16, number, 16);
  if (error != std::errc() || end != name.data() + 16 || LogFileName(number) != name) return 0;
  return number;
}

}  // namespace saker
