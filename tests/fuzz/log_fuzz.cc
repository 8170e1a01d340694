// A log directory whose one file is the fuzzer's: opening and reading it may fail, never crash, and the memory it takes
// stays within bounds of the file's size.
//
// Raw bytes would rarely get past the checksums. So the input is a program that builds a file: the first byte says how,
// what follows are steps of a byte that chooses and what it needs; all checksums are made right unless a step says not.
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/file.h"
#include "wal/log.h"
#include "wal/log_format.h"

namespace saker {
namespace {

constexpr int kChannels = 4;
constexpr uint64_t kSalt = 0x5a17;

LogFileHeader HeaderFrom(ByteReader& in) {
  LogFileHeader header;
  header.salt = kSalt;
  header.channels.resize(in.Get<uint8_t>() % (kChannels + 2));
  for (LogChannelState& state : header.channels) {
    state.begin = in.Get<int8_t>();
    state.end = in.Get<int8_t>();
    state.fenced_epoch = in.Get<int8_t>();
    state.fence_offset = in.Get<int8_t>();
  }
  return header;
}

// A frame whose checksums are right, whatever its body.
void AddFrame(std::string_view body, uint64_t number, uint32_t durable_to, std::string& file) {
  LogFrame mark;
  std::string frame;
  EncodeLogFrame(mark, number, durable_to, kSalt, frame);
  const auto seed = static_cast<uint32_t>(kSalt ^ (kSalt >> 32));
  std::string header;
  ByteWriter writer(header);
  writer.Put<uint32_t>(kLogFrameMagic);
  writer.Put<uint32_t>(static_cast<uint32_t>(body.size()));
  writer.Put<uint64_t>(number);
  writer.Put<uint32_t>(durable_to);
  writer.Put<uint32_t>(Crc32c(body, seed ^ static_cast<uint32_t>(number * 0x9e3779b1)));
  writer.Put<uint32_t>(0);
  writer.Put<uint32_t>(Crc32c(header, seed));
  file += header;
  file += body;
  file.resize((file.size() + kLogAlignment - 1) / kLogAlignment * kLogAlignment, '\0');
}

LogRecordView RecordFrom(ByteReader& in, std::string_view payload) {
  LogRecordView record;
  record.channel = in.Get<int8_t>();
  record.type = static_cast<LogRecordType>(in.Get<uint8_t>() % 2);
  record.offset = in.Get<int8_t>();
  record.epoch = in.Get<int8_t>();
  record.payload = payload.substr(0, in.Get<uint8_t>());
  return record;
}

std::string FileFrom(std::string_view input) {
  ByteReader in(input);
  if (in.Get<uint8_t>() == 0) return std::string(input.substr(std::min<size_t>(1, input.size())));
  const std::string payload(256, 'x');
  std::string file = EncodeLogFileHeader(HeaderFrom(in));
  uint64_t number = 1;
  while (in.ok() && in.remaining() > 0) {
    const auto step = in.Get<uint8_t>();
    LogFrame frame;
    switch (step % 6) {
      case 0:
        frame.kind = LogFrameKind::kRecords;
        for (int n = in.Get<uint8_t>() % 8; n > 0; --n) frame.records.push_back(RecordFrom(in, payload));
        EncodeLogFrame(frame, number++, static_cast<int64_t>(file.size()), kSalt, file);
        break;
      case 1:
        frame.kind = LogFrameKind::kTruncation;
        frame.channel = in.Get<int8_t>();
        frame.before = in.Get<int8_t>();
        frame.epoch = in.Get<int8_t>();
        EncodeLogFrame(frame, number++, static_cast<int64_t>(file.size()), kSalt, file);
        break;
      case 2: AddFrame(in.GetRaw(std::min<size_t>(in.remaining(), in.Get<uint8_t>())), number++, 0, file); break;
      case 3: AddFrame(std::string("\x03"), in.Get<uint8_t>(), in.Get<uint32_t>(), file); break;
      case 4: file.append(in.Get<uint8_t>() / kLogAlignment * kLogAlignment, '\0'); break;
      default: {
        const auto at = in.Get<uint16_t>();
        if (at < file.size()) file[at] = static_cast<char>(file[at] ^ in.Get<uint8_t>());
      }
    }
  }
  return file;
}

void ReadEverything(Log& log) {
  for (ChannelId channel = 0; channel < log.channel_count(); ++channel) {
    const auto end = log.End(channel);
    auto from = log.Begin(channel);
    if (!end.ok() || !from.ok()) std::abort();
    while (*from < *end) {
      const auto read = log.Read(channel, *from, 1000);
      if (!read.ok()) std::abort();  // all of it was checked at open
      if (read->empty()) break;
      if (read->back().offset < *from) std::abort();
      *from = read->back().offset + 1;
    }
  }
}

}  // namespace
}  // namespace saker

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace saker;  // NOLINT
  static const std::string directory = [] {
    // In memory if that is there: the fuzzer syncs a lot.
    const bool shm = std::filesystem::exists("/dev/shm");
    std::string pattern = std::string(shm ? "/dev/shm" : "/tmp") + "/saker_log_fuzz_XXXXXX";
    return std::string(::mkdtemp(pattern.data()));
  }();
  for (const auto& entry : std::filesystem::directory_iterator(directory)) std::filesystem::remove(entry.path());
  const std::string path = directory + "/" + LogFileName(1);
  {
    const std::string bytes = FileFrom({reinterpret_cast<const char*>(data), size});
    std::ofstream(path, std::ios::binary) << bytes;
  }
  FileLogSettings settings;
  settings.directory = directory;
  settings.channels = kChannels;
  settings.reserve_bytes = 0;
  const auto log = OpenFileLog(settings);
  if (!log.ok()) return 0;
  ReadEverything(**log);
  return 0;
}
