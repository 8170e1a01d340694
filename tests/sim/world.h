// What the processes share: the machines they run on, the network between them, and the servers of the three stores.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "sim/fibers.h"

namespace saker::sim {

// Machines of the stores' servers; processes have those from kFirstMachine on.
inline constexpr int kEtcd = 0, kKafka = 1, kS3 = 2, kFirstMachine = 3, kMachines = 16;

struct World {
  bool cut[kMachines][kMachines] = {};  // nothing gets from one to the other
  int64_t latency_us = 200;             // of a message, about
  double slow = 0.01;                   // share of messages that take very much longer
  double s3_faults = 0;                 // share of S3's requests that fail, carried out or not
  Host servers[kFirstMachine];          // where their requests are carried out
  bool down[kFirstMachine] = {};        // refuses connections
  std::string violation;                // the first that a server saw
};
World& TheWorld();
// A server saw what must never be.
void Violation(const std::string& what);

bool Reaches(int from, int to);
int64_t Latency();

// A request to one of the stores' servers, carried out there by `op`: true once its answer is back. False: no answer came
// within the time; it was carried out, or not, or will be. What `op` uses has to outlive the call.
bool Ask(int server, int64_t timeout_us, std::function<void()> op);
// The server refuses connections, which tells that nothing was carried out.
bool IsRefusing(int server);

// ---- the stores' servers, as faults see them (etcd.cc, kafka.cc, s3.cc)
void CompactEtcd(int64_t keep);
void WipeEtcd();                // all keys and history are gone, revisions begin anew
void RestartEtcdLeases();       // etcd was started again: leases have all their time
std::string DumpEtcd();         // every key, for traces

// The proxy that runs in a process, once it does.
}  // namespace saker::sim
