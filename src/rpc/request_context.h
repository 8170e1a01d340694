// What is known of a request beside its message: who asks, for which database, until when.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace saker {

struct RequestContext {
  static constexpr int64_t kNoDeadline = INT64_MAX;

  std::string_view method;  // "/milvus.proto.milvus.MilvusService/Search"; lives as long as the method table

  // Metadata as sent (empty: not sent).
  std::string authorization;  // base64("user:password"), base64(token) or a raw key
  std::string db_name;        // "dbname"; a name in the request's body goes before it
  std::string identifier;     // what Connect handed out
  std::string client_request_id;
  std::string user_agent;
  std::string traceparent;    // W3C trace context

  std::string peer;           // "ipv4:127.0.0.1:4711"
  std::string user;           // set by the authenticator; empty while authentication is off
  int64_t received_us = MonotonicUs();
  int64_t deadline_us = kNoDeadline;  // of MonotonicUs()
  std::atomic<bool> cancelled{false};

  bool expired() const { return cancelled.load(std::memory_order_relaxed) || MonotonicUs() >= deadline_us; }
  int64_t elapsed_us() const { return MonotonicUs() - received_us; }
  // "Search": the last part of the method.
  std::string_view function_name() const { return method.substr(method.rfind('/') + 1); }
};

}  // namespace saker
