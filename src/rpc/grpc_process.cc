#include "rpc/grpc_process.h"

#include <absl/synchronization/mutex.h>
#include <fmt/format.h>
#include <grpc/support/log.h>

#include <atomic>
#include <fstream>
#include <sstream>

#include "base/clock.h"
#include "base/log.h"

namespace saker {
namespace {

// gRPC's own lines go into our log, a few a second at most: what a client sends must not fill the disk.
void ForwardLog(gpr_log_func_args* line) {
  static std::atomic<int64_t> second{0};
  static std::atomic<int> lines{0};
  const int64_t now = MonotonicUs() / 1000000;
  if (second.exchange(now) != now) lines = 0;
  if (++lines > 5) return;
  if (line->severity == GPR_LOG_SEVERITY_ERROR) {
    LogWarn("gRPC: {}", line->message);
  } else {
    LogDebug("gRPC: {}", line->message);
  }
}

}  // namespace

void PrepareGrpc() {
  gpr_set_log_function(ForwardLog);
  // Debian builds abseil with its search for lock cycles on, which every lock of gRPC would pay for.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

Result<std::string> ReadPem(const std::string& path, std::string_view what) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  if (!in || text.str().empty()) {
    return Status(ErrorCode::kParameterInvalid, fmt::format("cannot read the TLS {} '{}'", what, path));
  }
  return text.str();
}

}  // namespace saker
