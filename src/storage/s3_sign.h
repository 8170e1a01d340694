// AWS Signature Version 4 for S3: what makes a request an authenticated one. Pure functions, thread-safe.
// (libcurl 7.88 can sign by itself, but leaves out what S3 asks for: MinIO refuses it.)
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace saker {

struct S3Credentials {
  std::string access_key;
  std::string secret_key;
  std::string session_token;  // of temporary credentials; may be empty
};

using S3Fields = std::vector<std::pair<std::string, std::string>>;

struct S3Request {
  std::string method;
  std::string path;            // begins with a slash; not encoded
  S3Fields query;              // not encoded
  S3Fields headers;            // names in lower case, "host" among them; all of them are signed
  std::string payload_sha256;  // hexadecimal
};

// Everything but letters, digits and -._~ becomes %XX.
std::string UriEncode(std::string_view text, bool keep_slashes = false);
// The query string as it is signed and sent: encoded, in order, without the question mark.
std::string CanonicalQuery(const S3Fields& query);
std::string Sha256Hex(std::string_view bytes);

// Adds x-amz-date, x-amz-content-sha256, x-amz-security-token and authorization to the headers. The request must be
// sent as it is: any server refuses it 15 minutes later.
void SignS3Request(S3Request& request, const S3Credentials& credentials, const std::string& region,
                   int64_t unix_seconds);

}  // namespace saker
