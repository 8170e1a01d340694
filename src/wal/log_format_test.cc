// Pins the bytes of the log's files: what an earlier version wrote must be readable for ever.
#include "wal/log_format.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace saker {
namespace {

std::string Hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return out;
}

constexpr uint64_t kSalt = 0x0123456789abcdef;

std::string SampleFrame() {
  LogFrame frame;
  frame.kind = LogFrameKind::kRecords;
  frame.records = {{3, LogRecordType::kFence, 10, 5, "F"}, {3, LogRecordType::kData, 11, 5, "data"}};
  std::string out;
  EncodeLogFrame(frame, 77, 4096, kSalt, out);
  return out;
}

TEST(LogFormatTest, FileHeaderIsPinned) {
  LogFileHeader header;
  header.number = 2;
  header.salt = kSalt;
  header.first_frame = 9;
  header.previous_end = 640;
  header.channels = {{1, 4, 2, 3}, {}};
  const std::string bytes = EncodeLogFileHeader(header);
  EXPECT_EQ(Hex(bytes), "53414b524c4f473101000000800000000200000000000000efcdab896745230109000000000000008002000000000000"
            "020000000000000001000000000000000400000000000000020000000000000003000000000000000000000000000000"
            "00000000000000000000000000000000ffffffffffffffff00000000170441fa");
  int64_t length = 0;
  const auto decoded = DecodeLogFileHeader(bytes + "rest", "x", &length);
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(length, static_cast<int64_t>(bytes.size()));
  EXPECT_EQ(decoded->number, 2u);
  EXPECT_EQ(decoded->salt, kSalt);
  EXPECT_EQ(decoded->first_frame, 9u);
  EXPECT_EQ(decoded->previous_end, 640);
  EXPECT_EQ(decoded->channels, header.channels);
}

TEST(LogFormatTest, EveryBitOfTheFileHeaderIsChecked) {
  LogFileHeader header;
  header.channels.resize(3);
  const std::string bytes = EncodeLogFileHeader(header);
  int64_t length = 0;
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    const auto decoded = DecodeLogFileHeader(flipped, "the/path.log", &length);
    ASSERT_EQ(decoded.status().code(), ErrorCode::kCorrupted) << "bit " << bit;
    EXPECT_NE(decoded.status().message().find("the/path.log"), std::string::npos);
  }
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeLogFileHeader(std::string_view(bytes).substr(0, size), "x", &length).ok());
  }
}

TEST(LogFormatTest, FrameIsPinned) {
  const std::string bytes = SampleFrame();
  EXPECT_EQ(Hex(bytes), "5346524d3c0000004d0000000000000000100000a203978300000000d4e2ca35010200000003000000010a0000000000"
            "00000500000000000000010000004603000000000b000000000000000500000000000000040000006461746100000000");
  EXPECT_EQ(static_cast<int64_t>(bytes.size()), LogFrameBytes(5 + 2 * LogRecordBytes(0) + 5));
  LogFrameHeader header;
  ASSERT_TRUE(DecodeLogFrameHeader(bytes, kSalt, &header));
  EXPECT_EQ(header.number, 77u);
  EXPECT_EQ(header.durable_to, 4096u);
  const std::string_view body = std::string_view(bytes).substr(kLogFrameHeaderBytes, header.body_bytes);
  ASSERT_TRUE(LogFrameBodyMatches(header, kSalt, body));
  LogFrame frame;
  ASSERT_TRUE(DecodeLogFrameBody(body, &frame));
  ASSERT_EQ(frame.records.size(), 2u);
  EXPECT_EQ(frame.records[1].payload, "data");
  EXPECT_EQ(frame.records[1].offset, 11);
}

TEST(LogFormatTest, TruncationsAndMarksArePinned) {
  std::string bytes;
  EncodeLogFrame({.kind = LogFrameKind::kTruncation, .channel = 1, .before = 20, .epoch = 6}, 78, 4096, kSalt, bytes);
  EncodeLogFrame({.kind = LogFrameKind::kMark}, 79, 4160, kSalt, bytes);
  EXPECT_EQ(Hex(bytes), "5346524d150000004e0000000000000000100000bb26f3ab00000000e521db8002010000001400000000000000060000"
            "00000000000000005346524d010000004f00000000000000401000002495e28500000000054d99310300000000000000");
}

TEST(LogFormatTest, EveryBitOfAFrameIsChecked) {
  const std::string bytes = SampleFrame();
  LogFrameHeader header;
  ASSERT_TRUE(DecodeLogFrameHeader(bytes, kSalt, &header));
  const size_t used = static_cast<size_t>(kLogFrameHeaderBytes) + header.body_bytes;
  for (size_t bit = 0; bit < used * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    const bool accepted = DecodeLogFrameHeader(flipped, kSalt, &header) &&
                          LogFrameBodyMatches(header, kSalt, std::string_view(flipped).substr(kLogFrameHeaderBytes,
                                                                                              header.body_bytes));
    ASSERT_FALSE(accepted) << "bit " << bit;
  }
  EXPECT_FALSE(DecodeLogFrameHeader(bytes, kSalt + 1, &header));  // another file's frame
}

TEST(LogFormatTest, BodiesThatMakeNoSense) {
  LogFrame frame;
  EXPECT_FALSE(DecodeLogFrameBody("", &frame));
  EXPECT_FALSE(DecodeLogFrameBody("\x09", &frame));
  EXPECT_FALSE(DecodeLogFrameBody(std::string("\x03\x00", 2), &frame));  // bytes left over
  EXPECT_FALSE(DecodeLogFrameBody(std::string("\x01\xff\xff\xff\xff", 5), &frame));  // 4 billion records
  EXPECT_FALSE(DecodeLogFrameBody(std::string("\x02\x00\x00", 3), &frame));
  EXPECT_TRUE(DecodeLogFrameBody("\x03", &frame));
}

TEST(LogFormatTest, FileNames) {
  EXPECT_EQ(LogFileName(0xa1), "00000000000000a1.log");
  EXPECT_EQ(ParseLogFileName("00000000000000a1.log"), 0xa1u);
  for (const char* name : {"", "LOCK", "00000000000000A1.log", "00000000000000a1.log.tmp", "0000000000000000.log",
                           "-000000000000001.log", "a1.log"}) {
    EXPECT_EQ(ParseLogFileName(name), 0u) << name;
  }
}

}  // namespace
}  // namespace saker
