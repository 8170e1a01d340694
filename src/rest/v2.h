// REST: Milvus's /v2/vectordb/… over the proxy's calls. POST with a JSON body; {"code":0,"data":…} or
// {"code":<Milvus's number>,"message":…} back, with HTTP status 200 but for a missing or insufficient authorization.
#pragma once

#include "proxy/proxy.h"
#include "rpc/http_server.h"

namespace saker {

// The proxy outlives the server that serves these routes.
void AddRestRoutes(HttpRoutes* routes, Proxy* proxy);

}  // namespace saker
