// EtcdStore: the MetaStore of a cluster, over etcd's v3 API (3.4 and later; docs/etcd.md says what it expects of etcd).
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "meta/meta_store.h"

namespace saker {

struct EtcdStoreSettings {
  // "host:port", "http://host:port" or "https://host:port"; all with TLS or all without. Members of one cluster.
  std::vector<std::string> endpoints;
  // All keys lie under "<root>/"; callers see them without. At most kMaxEtcdRootBytes, not empty, no zero byte.
  std::string root = "saker";
  // Both empty: no authentication. They are read at the start: changing them needs a new store.
  std::string username;
  std::string password;
  // PEM files. ca_file empty: the system's authorities. cert_file and key_file together, for etcd's --client-cert-auth.
  // With any of them, endpoints without a scheme are https.
  std::string ca_file;
  std::string cert_file;
  std::string key_file;
  std::string server_name;  // expected in the server's certificate instead of the endpoint's host
  // Every call answers within it (a Range of more than one page: each page).
  std::chrono::milliseconds request_timeout{2000};
  // Called once, from any thread, when etcd turns out to have lost data (see below). Short, may not destroy the store.
  std::function<void(const Status&)> on_data_lost;
};
inline constexpr size_t kMaxEtcdRootBytes = 64;

// kParameterInvalid for settings that can never work, kIoFailed if a PEM file can't be read. It does not wait for etcd:
// a store that can't reach it is made all the same, connects by itself once etcd is there, and answers calls meanwhile
// with the reason.
//
// What calls answer, beyond what meta_store.h says:
//   kServiceUnavailable – etcd can't be reached, has no leader or took too long; nothing was done. The message names
//   the
//       endpoints and, where known, why each failed.
//   kDeadlineExceeded – of Commit alone: it was sent and no answer came, so that it may or may not have been made, now
//   or
//       a little later. Read before going on (catalog_writer.h and election.cc do). All other calls are repeated at
//       another endpoint, within the time.
//   kDiskLimitExceeded – etcd's NOSPACE alarm is on: writes and new leases are refused until somebody frees space,
//   reads
//       go on.
//   kServiceInternal – etcd refuses user, password or permission; asked anew with each call, so that it works as soon
//   as
//       etcd's side is put right.
//   kCorrupted – etcd lost data: its revision went back below one it had answered, or another cluster answers (its data
//       was deleted or restored from a copy, or endpoints are mixed up). Sticky: from then on every call answers it
//       without asking etcd, all watches end with it, and on_data_lost is called. What the process has read stays valid
//       as the last good state; nothing is shown of the new one. The owner recovers and opens a new store
//       (protocol.md, rule 15). An older state can only be noticed by who saw a newer one: not across restarts, and not
//       once it was written to beyond what was seen; watches say that they were resumed, so that the owner looks.
//
// Calls go to one member, another one is taken when it fails or doesn't answer: for a repeatable call after half of
// request_timeout. Processes spread over the members at random.
//
// Watches: all of a store share one etcd watch of "<root>/". So each learns of every revision under the root at once,
// in order, and one that begins in the recent past is served from memory. A lost connection is resumed from the next
// revision, at another member if need be; watches notice nothing but the delay, unless etcd compacted meanwhile
// (kCompacted). A watch that begins at the very revision etcd was compacted to gets kCompacted as well: etcd before
// 3.6 may have dropped that revision's deletions. Revisions that other users of the same etcd made outside of the root
// are told to watches when CurrentRevision, or a Commit that changed nothing, has returned one of them: they write
// "<root>/\0" for that, a key nobody sees, and which is not written where etcd serves Saker alone.
Result<std::unique_ptr<MetaStore>> OpenEtcdStore(const EtcdStoreSettings& settings);

}  // namespace saker
