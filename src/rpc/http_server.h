// HTTP/1.1 on one thread: listening, keep-alive, limits, and the sorting of connections on a shared port.
//
// A listener has routes; a request goes to the handler of the longest matching prefix, on the pool that was given with
// it, and may be answered from any thread. A listener made with `on_http2` peeks at each new connection's first bytes:
// those that start as HTTP/2 does ("PRI") are handed over untouched, the rest are served here. A connection that sends
// nothing costs a descriptor, not a thread, and is closed after a while; garbage is answered with 400 and closed.
//
// Boost stays in the .cc.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"

namespace saker {

struct HttpRequest {
  std::string method;  // "POST"
  std::string path;    // "/v2/vectordb/collections/list", percent-decoded, without the query
  std::string query;   // "a=b&c=d", as sent
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;
  std::string peer;    // "ipv4:127.0.0.1:4711"

  // Empty if absent.
  std::string_view Header(std::string_view lower_case_name) const;
  std::string QueryParameter(std::string_view name) const;  // percent-decoded
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

using HttpRespond = std::function<void(HttpResponse)>;  // once, from any thread
using HttpHandler = std::function<void(HttpRequest, HttpRespond)>;

// Filled before the server listens, immutable afterwards.
class HttpRoutes {
 public:
  // pool null: on the HTTP thread, for handlers that only look something up.
  void Add(std::string prefix, ThreadPool* pool, HttpHandler handler);
  struct Route {
    std::string prefix;
    ThreadPool* pool;
    HttpHandler handler;
  };
  const Route* Find(std::string_view path) const;

 private:
  std::vector<Route> routes_;
};

struct HttpLimits {
  int64_t header_bytes = 16 << 10;
  int64_t body_bytes = 64 << 20;
  int idle_seconds = 75;     // between requests of one connection
  int request_seconds = 60;  // to receive one
  int first_byte_seconds = 30;
};

struct TlsFiles {
  std::string certificate;  // PEM, chain included
  std::string key;
  std::string client_ca;    // empty: clients need no certificate
};

class HttpServer {
 public:
  explicit HttpServer(HttpLimits limits = {});
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;

  // Takes ownership of the connection's descriptor (non-blocking, TCP_NODELAY set). Called on the HTTP thread.
  using Http2Handover = std::function<void(int listener_fd, int connection_fd)>;

  // Listens on "HOST:PORT" (port 0: any free one) and returns the port. `routes` must outlive the server.
  // A port in use is kIoFailed, with a message that says so.
  Result<int> Listen(const std::string& address, const HttpRoutes* routes, Http2Handover on_http2 = nullptr,
                     const TlsFiles* tls = nullptr);
  // Closes listeners and connections and ends the thread. Handlers still running may respond; it goes nowhere.
  void Stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Splits "HOST:PORT" or "[IPV6]:PORT".
Result<std::pair<std::string, int>> SplitAddress(const std::string& address);

}  // namespace saker
