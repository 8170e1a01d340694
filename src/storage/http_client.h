// HTTP/1.1 requests with connections kept alive between them, over libcurl. One request, or several side by side, run
// on the calling thread, which blocks until all have ended. Redirects are not followed, proxies not used. SIGPIPE is
// ignored from the first client on, unless the process has a handler of its own.
//
// Thread-safe. Each thread that is inside Perform has a set of connections of its own; they are kept for the next
// caller.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace saker {

struct HttpSettings {
  std::string ca_file;  // PEM; empty: the system's
  bool verify_certificate = true;
  std::chrono::milliseconds connect_timeout{2000};  // the TLS handshake included
  std::chrono::milliseconds stall_timeout{5000};    // how long no byte may move in either direction
};

enum class HttpFailure {
  kNone,           // there is an answer, whatever its status
  kConnect,        // nothing was sent: name not found, refused, no route
  kCertificate,    // nothing was sent: the server's certificate isn't trusted
  kBroken,         // the connection ended before the whole answer was there: the request may have been carried out
  kTimeout,        // no byte moved for too long, or the deadline passed: it may have been carried out
  kAnswerTooLong,  // or its headers
  kSink,           // `sink` refused bytes
};

// A request and what came of it.
struct HttpExchange {
  // ---- the request; `body` is borrowed
  std::string method;
  std::string url;
  std::vector<std::string> headers;  // "name: value"
  std::string_view body;
  int64_t deadline_us = 0;  // of MonotonicUs(); extended by what moves, at kHttpSlowestBytesPerSecond
  int64_t max_answer_bytes = 0;
  // Takes the body of a 2xx answer piece by piece: (offset in the body, bytes). Empty: it goes to `answer`.
  std::function<Status(int64_t, std::string_view)> sink;

  // ---- the outcome
  HttpFailure failure = HttpFailure::kNone;
  std::string failure_text;
  Status sink_status;
  int status = 0;
  std::map<std::string, std::string> answer_headers;  // names in lower case
  std::string answer;                                 // of another status than 2xx: no more than its first 64 KiB
  int64_t answer_bytes = 0;                           // of the body, wherever it went

  const std::string& Header(const std::string& name) const;  // empty if there is none
  bool ok() const { return failure == HttpFailure::kNone && status >= 200 && status < 300; }
};

// A transfer of n bytes gets n / this seconds more than its deadline.
inline constexpr int64_t kHttpSlowestBytesPerSecond = 1 << 20;

class HttpClient {
 public:
  explicit HttpClient(HttpSettings settings);
  ~HttpClient();

  // Every exchange has its outcome afterwards. At most as long as the deadlines allow.
  void Perform(std::span<HttpExchange* const> exchanges);

 private:
  class Connections;

  std::unique_ptr<Connections> Take();
  void GiveBack(std::unique_ptr<Connections> connections);

  struct Pool;
  const HttpSettings settings_;
  const std::unique_ptr<Pool> pool_;
};

}  // namespace saker
