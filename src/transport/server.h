// The door for the other processes of the cluster: calls to this process's roles, on a port of its own.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "transport/envelope.h"
#include "transport/messages.h"
#include "transport/tls.h"

namespace saker {

struct InternalServerOptions {
  std::string listen = "127.0.0.1:0";  // HOST:PORT; port 0: any free one
  InternalTls tls;
  std::string cluster;                 // calls of other clusters are refused
  NodeId node;
  int64_t incarnation = 0;             // told by Ping
  std::vector<std::string> roles;      // told by Ping, beside those that are served here
  ThreadPool* data = nullptr;          // reads and writes that are not brief of late
  ThreadPool* control = nullptr;       // calls of and to coordinators
  ThreadPool* waiting = nullptr;       // calls that wait for tasks of `control`
  std::function<NodeLoad()> load;      // told by Ping; short. Null: zeroes
  // Pings another node for a process that doesn't reach it; calls back once, within a second. Null: refused.
  std::function<void(NodeId node, Callback<bool> done)> reaches;
  // The schema that rows written here are to fit; null: unknown, not checked. May itself be null.
  std::function<SchemaPtr(CollectionId)> schema;
};

// Thread-safe. Roles and pools outlive it.
class InternalServer {
 public:
  // kIoFailed if it can't listen; kParameterInvalid for TLS files that can't be used.
  static Result<std::unique_ptr<InternalServer>> Start(InternalServerOptions options);
  ~InternalServer();  // as Stop()
  InternalServer(const InternalServer&) = delete;
  InternalServer& operator=(const InternalServer&) = delete;

  int port() const;
  Admission& admission();

  // Serves this role from now on; null: not any more, and no call is in the former one when it returns (a role that has
  // stopped answers its calls). Meanwhile callers get kServiceNotReady.
  void Serve(RootCoord* role);
  void Serve(DataCoord* role);
  void Serve(QueryCoord* role);
  void Serve(IndexCoord* role);
  void Serve(DataNode* role);
  void Serve(QueryNode* role);

  // Refuses new calls, gives those under way `grace_ms`, then cancels them and waits for their answers.
  void Stop(int grace_ms = 1000);

 private:
  struct State;
  explicit InternalServer(std::unique_ptr<State> state);
  const std::unique_ptr<State> state_;
};

}  // namespace saker
