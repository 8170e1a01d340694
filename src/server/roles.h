// The room that assembles the roles: pools, stores, components and their wiring, for the process that main.cc starts.
#pragma once

#include <memory>

#include "base/status.h"
#include "rpc/http_server.h"
#include "rpc/method_table.h"
#include "server/config.h"

namespace saker {

// All roles in one process over the embedded stores.
class Standalone {
 public:
  // Opens the data directory (recovering what a crash left), starts the roles, and registers their methods and REST
  // routes. Returns when requests can be served; the caller then opens the doors.
  static Result<std::unique_ptr<Standalone>> Start(const Config& config, MethodTable* methods, HttpRoutes* rest);
  ~Standalone();
  Standalone(const Standalone&) = delete;

  // Ok, or what is degraded (disk full, a role that is down …); cheap, from any thread.
  Status Health() const;
  // Stops the roles in reverse order, then the stores and pools. Call once the doors are closed.
  void Stop();

 private:
  struct State;
  explicit Standalone(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace saker
