// A process of a cluster: one or more roles over etcd, Kafka and S3, found by the others through its sessions.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "rpc/http_server.h"
#include "rpc/method_table.h"
#include "server/config.h"

namespace saker {

// "proxy", "rootcoord", "datacoord", "querycoord", "indexcoord", "datanode", "querynode", "indexnode".
using RoleNames = std::set<std::string>;
// What a subcommand runs: a role, or "mixcoord", the four coordinators. Empty: no such thing.
RoleNames RolesOf(const std::string& subcommand);

class ClusterProcess {
 public:
  // Waits for `delay`; true if the process is to end. Called between attempts to reach a store; `why` says what is
  // waited for, and what is to be done where that is in somebody's hands.
  using Interrupted = std::function<bool(std::chrono::milliseconds delay, const std::string& why)>;

  // Waits for etcd, Kafka and S3 for as long as they are away, full, or refuse user or password, saying what it waits
  // for; fails for what can only be put right in this process's settings, and for stores of different clusters. The
  // proxy's methods and REST routes are registered when it returns. kCancelled: interrupted.
  static Result<std::unique_ptr<ClusterProcess>> Start(const Config& config, const RoleNames& roles,
                                                       const Interrupted& interrupted, MethodTable* methods, HttpRoutes* rest);
  ~ClusterProcess();
  ClusterProcess(const ClusterProcess&) = delete;

  // Ok, or what is degraded, as of the last look; cheap, from any thread.
  Status Health() const;
  // What is no trouble yet, or one that nobody feels.
  std::vector<std::string> Warnings() const;
  // Looks at etcd, unless that was done just now, and calls back, on any thread; within a second.
  void RefreshHealth(std::function<void()> done);
  std::string address() const;  // where other processes reach it
  // Call once the doors are closed.
  void Stop();

 private:
  struct State;
  explicit ClusterProcess(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace saker
