#include "index/index_file.h"

#include <algorithm>

#include "base/bytes.h"

namespace saker {
namespace {

constexpr uint32_t kMagic = 0x58444953;  // "SIDX"
constexpr uint32_t kVersion = 1;
constexpr size_t kFixedHeader = 40;      // up to the section table
constexpr size_t kTableEntry = 24;       // u64 offset, u64 length, u32 crc, u32 zero
constexpr uint32_t kMaxSections = 16;

size_t RoundUp(size_t n) { return (n + kSectionAlignment - 1) / kSectionAlignment * kSectionAlignment; }
size_t HeaderBytes(size_t sections) { return kFixedHeader + sections * kTableEntry + sizeof(uint32_t); }

Status Corrupted(std::string what) { return {ErrorCode::kCorrupted, "index file: " + std::move(what)}; }

}  // namespace

std::string_view Name(IndexKind kind) {
  switch (kind) {
    case IndexKind::kFlat: return "FLAT";
    case IndexKind::kIvfFlat: return "IVF_FLAT";
    case IndexKind::kIvfSq8: return "IVF_SQ8";
    case IndexKind::kHnsw: return "HNSW";
    case IndexKind::kBinFlat: return "BIN_FLAT";
    case IndexKind::kBinIvfFlat: return "BIN_IVF_FLAT";
  }
  return "";
}

Status WriteIndexFile(const IndexFileHeader& header, std::span<const std::string_view> sections,
                      const std::function<Status(std::string_view)>& append) {
  std::string out;
  ByteWriter writer(out);
  writer.Put(kMagic);
  writer.Put(kVersion);
  writer.Put(header.kind);
  writer.Put(header.metric);
  writer.Put(header.type);
  writer.Put<int32_t>(header.dim);
  writer.Put<int64_t>(header.rows);
  writer.Put<uint32_t>(static_cast<uint32_t>(sections.size()));
  writer.Put<uint32_t>(0);
  size_t offset = RoundUp(HeaderBytes(sections.size()));
  for (const std::string_view section : sections) {
    writer.Put<uint64_t>(offset);
    writer.Put<uint64_t>(section.size());
    writer.Put<uint32_t>(Crc32c(section));
    writer.Put<uint32_t>(0);
    offset = RoundUp(offset + section.size());
  }
  writer.Put<uint32_t>(Crc32c(out));
  out.resize(RoundUp(out.size()));
  RETURN_IF_ERROR(append(out));
  const std::string padding(kSectionAlignment, '\0');
  for (const std::string_view section : sections) {
    if (!section.empty()) RETURN_IF_ERROR(append(section));
    const size_t rest = RoundUp(section.size()) - section.size();
    if (rest != 0) RETURN_IF_ERROR(append(std::string_view(padding).substr(0, rest)));
  }
  return Status::Ok();
}

Result<IndexFile> ReadIndexFile(std::string_view file) {
  ByteReader reader(file);
  const auto magic = reader.Get<uint32_t>();
  const auto version = reader.Get<uint32_t>();
  IndexFile out;
  out.header.kind = reader.Get<IndexKind>();
  out.header.metric = reader.Get<Metric>();
  out.header.type = reader.Get<DataType>();
  out.header.dim = reader.Get<int32_t>();
  out.header.rows = reader.Get<int64_t>();
  const auto count = reader.Get<uint32_t>();
  reader.Get<uint32_t>();
  if (!reader.ok() || magic != kMagic) return Corrupted("it does not begin like one");
  if (version != kVersion) {
    return Status(ErrorCode::kUnimplemented, "index file: version " + std::to_string(version) +
                                                 ", this build reads version " + std::to_string(kVersion));
  }
  if (count > kMaxSections || HeaderBytes(count) > file.size()) return Corrupted("its header is cut off");
  const size_t header_bytes = HeaderBytes(count);
  ByteReader crc_reader(file.substr(header_bytes - sizeof(uint32_t)));
  if (crc_reader.Get<uint32_t>() != Crc32c(file.substr(0, header_bytes - sizeof(uint32_t)))) {
    return Corrupted("the checksum of its header does not match");
  }
  if (out.header.dim <= 0 || out.header.rows < 0 || out.header.rows >= (int64_t{1} << 32) - 1) {
    return Corrupted("impossible dimension or number of rows");
  }
  for (uint32_t i = 0; i < count; ++i) {
    const auto offset = reader.Get<uint64_t>();
    const auto length = reader.Get<uint64_t>();
    const auto crc = reader.Get<uint32_t>();
    reader.Get<uint32_t>();
    if (offset % kSectionAlignment != 0 || offset < header_bytes || offset > file.size() || length > file.size() - offset) {
      return Corrupted("section " + std::to_string(i) + " is cut off");
    }
    const std::string_view section = file.substr(offset, length);
    if (Crc32c(section) != crc) return Corrupted("the checksum of section " + std::to_string(i) + " does not match");
    out.sections.push_back(section);
  }
  return out;
}

}  // namespace saker
