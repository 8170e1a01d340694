#include "storage/s3_xml.h"

#include <fmt/format.h>

#include <charconv>
#include <ctime>
#include <pugixml.hpp>

namespace saker {
namespace {

Status NotS3(std::string_view wanted, std::string_view why) {
  return {ErrorCode::kIoFailed, fmt::format("the answer is not a {} of S3: {}", wanted, why)};
}

// Its root element, which must be `wanted`.
Result<pugi::xml_node> Load(pugi::xml_document& document, std::string_view body, const char* wanted) {
  const pugi::xml_parse_result parsed =
      document.load_buffer(body.data(), body.size(), pugi::parse_default, pugi::encoding_utf8);
  if (!parsed) return NotS3(wanted, parsed.description());
  const pugi::xml_node root = document.child(wanted);
  if (!root) return NotS3(wanted, "it has another root element");
  return root;
}

int64_t Number(const char* text, size_t digits) {
  int64_t value = -1;
  const auto [end, error] = std::from_chars(text, text + digits, value);
  return error == std::errc() && end == text + digits ? value : -1;
}

// "2026-11-23T15:04:05.678Z" and without the fraction, in milliseconds; -1 if it is anything else.
int64_t ParseTime(std::string_view text) {
  if (text.size() < 20 || text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' || text[16] != ':') {
    return -1;
  }
  int64_t fields[6];
  static constexpr int kStarts[6] = {0, 5, 8, 11, 14, 17};
  for (int i = 0; i < 6; ++i) {
    fields[i] = Number(text.data() + kStarts[i], i == 0 ? 4 : 2);
    if (fields[i] < 0) return -1;
  }
  std::tm utc{};
  utc.tm_year = static_cast<int>(fields[0] - 1900);
  utc.tm_mon = static_cast<int>(fields[1] - 1);
  utc.tm_mday = static_cast<int>(fields[2]);
  utc.tm_hour = static_cast<int>(fields[3]);
  utc.tm_min = static_cast<int>(fields[4]);
  utc.tm_sec = static_cast<int>(fields[5]);
  int64_t ms = 0;
  if (text[19] == '.') {
    int scale = 100;
    for (size_t i = 20; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i, scale /= 10)
      ms += (text[i] - '0') * scale;
  }
  return static_cast<int64_t>(::timegm(&utc)) * 1000 + ms;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// encoding-type=url: %XX, and + for a space.
std::string UriDecode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && HexDigit(text[i + 1]) >= 0 && HexDigit(text[i + 2]) >= 0) {
      out += static_cast<char>(HexDigit(text[i + 1]) * 16 + HexDigit(text[i + 2]));
      i += 2;
    } else {
      out += text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

std::string Key(const pugi::xml_node& parent, const pugi::xml_node& root) {
  const char* key = parent.child_value("Key");
  return std::string_view(root.child_value("EncodingType")) == "url" ? UriDecode(key) : key;
}

bool IsTruncated(const pugi::xml_node& root) { return std::string_view(root.child_value("IsTruncated")) == "true"; }

}  // namespace

S3Error ParseS3Error(std::string_view body) {
  pugi::xml_document document;
  const auto root = Load(document, body, "Error");
  if (!root.ok()) return {};
  return {root->child_value("Code"), root->child_value("Message"), root->child_value("Region")};
}

Result<S3ListPage> ParseS3List(std::string_view body) {
  pugi::xml_document document;
  ASSIGN_OR_RETURN(const pugi::xml_node root, Load(document, body, "ListBucketResult"));
  S3ListPage page;
  for (const pugi::xml_node& object : root.children("Contents")) {
    const std::string_view size = object.child_value("Size");
    ObjectInfo info{Key(object, root), Number(size.data(), size.size()), ParseTime(object.child_value("LastModified"))};
    if (info.name.empty()) return NotS3("ListBucketResult", "an object has no key");
    if (info.size_bytes < 0) return NotS3("ListBucketResult", fmt::format("the size of {} is \"{}\"", info.name, size));
    if (info.modified_unix_ms < 0)
      return NotS3("ListBucketResult", fmt::format("the time of {} can't be read", info.name));
    page.objects.push_back(std::move(info));
  }
  if (IsTruncated(root)) {
    page.next_token = root.child_value("NextContinuationToken");
    if (page.next_token.empty()) return NotS3("ListBucketResult", "it goes on, but doesn't say where");
  } else if (std::string_view(root.child_value("IsTruncated")) != "false") {
    return NotS3("ListBucketResult", "it doesn't say whether it goes on");
  }
  return page;
}

Result<S3UploadPage> ParseS3Uploads(std::string_view body) {
  pugi::xml_document document;
  ASSIGN_OR_RETURN(const pugi::xml_node root, Load(document, body, "ListMultipartUploadsResult"));
  S3UploadPage page;
  for (const pugi::xml_node& upload : root.children("Upload")) {
    S3Upload found{Key(upload, root), upload.child_value("UploadId"), ParseTime(upload.child_value("Initiated"))};
    if (found.key.empty() || found.id.empty() || found.started_unix_ms < 0) {
      return NotS3("ListMultipartUploadsResult", "an upload lacks its key, id or time");
    }
    page.uploads.push_back(std::move(found));
  }
  page.truncated = IsTruncated(root);
  page.next_key_marker = root.child_value("NextKeyMarker");
  page.next_id_marker = root.child_value("NextUploadIdMarker");
  return page;
}

Result<std::string> ParseS3UploadId(std::string_view body) {
  pugi::xml_document document;
  ASSIGN_OR_RETURN(const pugi::xml_node root, Load(document, body, "InitiateMultipartUploadResult"));
  std::string id = root.child_value("UploadId");
  if (id.empty()) return NotS3("InitiateMultipartUploadResult", "it has no upload id");
  return id;
}

Status CheckS3Completed(std::string_view body) {
  pugi::xml_document document;
  return Load(document, body, "CompleteMultipartUploadResult").status();
}

std::string S3CompleteBody(const std::vector<std::string>& etags) {
  std::string out = "<CompleteMultipartUpload>";
  for (size_t i = 0; i < etags.size(); ++i) {
    std::string escaped;  // an ETag is the server's: mostly quoted hexadecimal digits
    for (const char c : etags[i]) {
      if (c == '&') {
        escaped += "&amp;";
      } else if (c == '<') {
        escaped += "&lt;";
      } else {
        escaped += c;
      }
    }
    out += fmt::format("<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>", i + 1, escaped);
  }
  return out + "</CompleteMultipartUpload>";
}

}  // namespace saker
