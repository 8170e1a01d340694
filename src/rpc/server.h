// The gRPC server in front of a MethodTable, and the one port it shares with HTTP/1.1.
//
// Without TLS, gRPC and HTTP share `listen`: HttpServer accepts, looks at the first bytes and hands HTTP/2 connections
// to gRPC. With TLS, gRPC listens by itself (as in Milvus) and REST gets a port of its own if one is given.
// Serves also grpc.health.v1.Health (Check and Watch).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/status.h"
#include "rpc/http_server.h"
#include "rpc/method_table.h"

namespace saker {

enum class TlsMode { kOff = 0, kServer = 1, kMutual = 2 };  // Milvus's common.security.tlsMode

struct RpcServerOptions {
  std::string listen = "127.0.0.1:19530";
  int64_t max_receive_bytes = 64 << 20;
  TlsMode tls_mode = TlsMode::kOff;
  TlsFiles tls;
  std::string http_listen;  // REST's own port; empty: shares `listen`, or with TLS there is no REST
};

class RpcServer {
 public:
  // `methods`, `rest` (routes for HTTP on the port; may be empty) and `http` must outlive the server.
  static Result<std::unique_ptr<RpcServer>> Start(const RpcServerOptions& options, const MethodTable* methods,
                                                  HttpServer* http, const HttpRoutes* rest);
  ~RpcServer();
  RpcServer(const RpcServer&) = delete;

  int port() const;
  // What grpc.health.v1 answers; serving from the start.
  void SetServing(bool serving);
  // Refuses new calls, gives those under way `grace_ms`, then cancels them and waits for their handlers' answers.
  // Stop the HttpServer first: it is what hands over connections.
  void Stop(int grace_ms = 2000);

 private:
  struct State;
  explicit RpcServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace saker
