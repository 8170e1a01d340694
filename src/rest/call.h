// One REST request on its way: what its handler gets. Of this room only.
#pragma once

#include <chrono>
#include <memory>

#include "proxy/proxy.h"
#include "rest/body.h"
#include "rpc/http_server.h"

namespace saker {

struct RestCall {
  Proxy* proxy = nullptr;
  CallContext context;
  std::unique_ptr<Body> body;
  bool int64_as_number = false;  // Accept-Type-Allow-Int64
  HttpRespond respond;

  const Members& members() const { return body->members(); }
  // The body's collectionName; code 1802 without.
  Result<std::string> CollectionName() const { return members().RequiredText("collectionName"); }
  // `data` is JSON. `more`: further members of the answer, each with a comma before it.
  void Succeed(std::string_view data, std::string_view more = {}) const;
  void Fail(const Status& status) const;
};
using RestCallPtr = std::shared_ptr<RestCall>;

// How long a request with this header may take; `otherwise` without or if it is no whole number of seconds.
std::chrono::milliseconds RequestTimeout(std::string_view header, std::chrono::milliseconds otherwise);

// May the caller do what this message of MilvusService stands for ("LoadCollectionRequest")? Milvus's protocol says in
// the message's own definition which privilege it needs. Ok with authorization off.
Status MayDo(const RestCall& call, const char* message);
bool IsRequestMessage(const char* message);

// An endpoint below /v2/vectordb/.
struct Endpoint {
  const char* path;         // "collections/list"
  const char* needs;        // as for MayDo; null: anybody may
  bool in_database;         // the database must exist
  bool data;                // on the search pool, with a data request's timeout
  Result<std::string> (*now)(RestCall&);  // answers with the JSON of `data`; or
  void (*later)(RestCallPtr);             // answers in time
};
using Endpoints = std::vector<Endpoint>;
void AddCollectionEndpoints(Endpoints& endpoints);  // collections.cc
void AddEntityEndpoints(Endpoints& endpoints);      // entities.cc
void AddMetadataEndpoints(Endpoints& endpoints);    // metadata.cc: partitions, indexes, aliases, databases
void AddUserEndpoints(Endpoints& endpoints);        // users.cc

inline constexpr const char* kEmptyData = "{}";
// For handlers that only do something.
inline Result<std::string> Done(const Status& status) {
  if (!status.ok()) return status;
  return std::string(kEmptyData);
}
std::string ListJson(const std::vector<std::string>& names);
std::string PairsJson(const KeyValues& pairs);  // [{"key":…,"value":…}]
// "Strong", …; std::nullopt if it is none.
std::optional<ConsistencyLevel> ParseConsistency(std::string_view name);

}  // namespace saker
