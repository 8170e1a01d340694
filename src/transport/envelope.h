// What goes with every call beside its arguments, and who may call.
//
// Request: u8 version, sized header, sized arguments. Answer: u8 version, the status, sized result. A version other than
// kEnvelopeVersion is refused: it changes only with what a reader that skips unknown fields could not read.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"
#include "base/status.h"
#include "transport/codec.h"

namespace saker {

inline constexpr uint8_t kEnvelopeVersion = 1;

// Proof of leading a role, protocol.md rules 15 and 16: generations rise with every rebuild of the meta store, revisions
// with every leader.
struct LeaderToken {
  std::string role;  // "rootcoord", …
  int64_t generation = 0;
  int64_t revision = 0;
};
template <typename Codec, Is<LeaderToken> T>
void Fields(Codec& codec, T& t) {
  codec(t.role), codec(t.generation), codec(t.revision);
}

struct CallHeader {
  std::string cluster;               // the cluster's id: processes of different clusters never obey each other
  NodeId target;                     // who is meant: a process that got another's port refuses
  NodeId caller;
  std::vector<LeaderToken> tokens;   // of commands: the roles that the caller leads
};
template <typename Codec, Is<CallHeader> T>
void Fields(Codec& codec, T& h) {
  codec(h.cluster), codec(h.target), codec(h.caller), codec(h.tokens);
}

// Refuses calls that are meant for somebody else, and commands of leaders that were superseded. Thread-safe.
class Admission {
 public:
  Admission(std::string cluster, NodeId node) : cluster_(std::move(cluster)), node_(node) {}
  // kCrossClusterRouting or kNodeNotMatch; of a command also kPrivilegeNotPermitted without a token and kSuperseded if
  // any of its tokens is lower than one seen before. What was seen is forgotten with the process.
  Status Check(const CallHeader& header, bool is_command);
  // A token learnt elsewhere, of an election followed in the meta store.
  void Observe(const LeaderToken& token);

 private:
  using Token = std::pair<int64_t, int64_t>;  // generation, revision
  const std::string cluster_;
  const NodeId node_;
  Mutex mutex_;
  std::map<std::string, Token> highest_ GUARDED_BY(mutex_);  // by role
};

}  // namespace saker
