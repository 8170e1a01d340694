// What operators ask: /healthz, /livez, /readyz, /metrics, /log/level, /version.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "rpc/http_server.h"

namespace saker {

// What the admin port tells of the process. Called on the HTTP thread: cheap, thread-safe.
struct ProcessHealth {
  std::function<bool()> ready;     // requests are served
  std::function<std::string()> starting = {};  // why not yet, where ready doesn't hold; empty function: it just starts
  std::function<Status()> health;  // ok, or what is degraded
  // What will be a trouble, or is one that nobody feels yet. Empty function: none.
  std::function<std::vector<std::string>()> warnings = {};
  // Brings both up to date and calls back, on any thread. Empty function: they are.
  std::function<void(std::function<void()>)> refresh = {};
};

void AddAdminRoutes(HttpRoutes* routes, ProcessHealth process);
// Memory, CPU, descriptors of the process, as Prometheus names them.
void AddProcessMetrics();

}  // namespace saker
