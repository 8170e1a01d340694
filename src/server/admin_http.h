// What operators ask: /healthz, /livez, /readyz, /metrics, /log/level, /version.
#pragma once

#include <functional>

#include "base/status.h"
#include "rpc/http_server.h"

namespace saker {

// What the admin port tells of the process. Called on the HTTP thread: cheap, thread-safe.
struct ProcessHealth {
  std::function<bool()> ready;     // requests are served
  std::function<Status()> health;  // ok, or what is degraded
};

void AddAdminRoutes(HttpRoutes* routes, ProcessHealth process);
// Memory, CPU, descriptors of the process, as Prometheus names them.
void AddProcessMetrics();

}  // namespace saker
