// The connection to an etcd cluster: endpoints, TLS, authentication, failover, and what etcd's errors mean.
// Included by etcd_*.cc alone.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "etcd.grpc.pb.h"
#include "meta/etcd_store.h"

namespace saker {

using EtcdTime = std::chrono::steady_clock::time_point;

// One member's channel and stubs.
struct EtcdLink {
  std::string endpoint;  // as configured, with its scheme
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<etcdserverpb::KV::Stub> kv;
  std::unique_ptr<etcdserverpb::Watch::Stub> watch;
  std::unique_ptr<etcdserverpb::Lease::Stub> lease;
  std::unique_ptr<etcdserverpb::Auth::Stub> auth;
  std::unique_ptr<etcdserverpb::Cluster::Stub> cluster;
  std::unique_ptr<etcdserverpb::Maintenance::Stub> maintenance;
  // Did not answer in time: others are preferred until then (steady clock's microseconds).
  std::atomic<int64_t> suspect_until_us{0};
};

Result<std::vector<std::unique_ptr<EtcdLink>>> MakeEtcdLinks(const EtcdStoreSettings& settings);

// What an answer other than OK says about the request.
struct EtcdFailure {
  enum class Fate {
    kRefused,       // etcd answered: it will say the same again
    kNotDone,       // it was not done; may be sent again, elsewhere
    kUnknown,       // it may have been done
    kTokenInvalid,  // not done: authenticate and send it again
  };
  Fate fate = Fate::kUnknown;
  ErrorCode code = ErrorCode::kServiceUnavailable;
};
EtcdFailure ClassifyEtcd(const grpc::Status& answer);

// Thread-safe.
class EtcdClient {
 public:
  enum class Repeat {
    kSafely,  // an idempotent call
    kNever,   // one whose second execution would be another one
  };
  using Send = std::function<grpc::Status(EtcdLink& link, grpc::ClientContext& context)>;

  static Result<std::shared_ptr<EtcdClient>> Make(const EtcdStoreSettings& settings);

  // Sends within request_timeout, repeating as far as that is allowed. `repeated`, if given, tells whether an earlier
  // try may have been executed.
  Status Call(std::string_view what, Repeat repeat, const Send& send, bool* repeated = nullptr);

  // A member to open a stream at; and what the stream's context needs (authenticating by `deadline`).
  Result<EtcdLink*> Pick(EtcdTime deadline);
  Status Prepare(EtcdLink& link, grpc::ClientContext& context, EtcdTime deadline);
  // Answers of a member that knows of no leader are wanted too. Before the first call.
  void TakeAnyMember() { demand_leader_ = false; }
  // etcd's present revision, read with its leader's consent.
  Result<Revision> ReadRevision();
  // The link failed or does not answer.
  void Suspect(EtcdLink& link);
  bool IsSuspect(const EtcdLink& link) const;
  void MoveAwayFrom(EtcdLink& link);
  void ForgetToken();
  // Called (from any thread, no lock held) when a link became suspect, and when the data was lost.
  void SetListener(std::function<void()> listener);

  // The newest revision seen so far: to be asked before a linearizable request is sent and given to Check with its
  // answer. kCorrupted if the answer shows that data was lost.
  Revision newest() const { return newest_.load(); }
  Status Check(const etcdserverpb::ResponseHeader& header, Revision floor);
  Status CheckCluster(const etcdserverpb::ResponseHeader& header);
  void Saw(Revision revision);
  Status lost() const;  // kCorrupted once it is
  uint64_t cluster() const;  // etcd's id of it; 0: it hasn't answered yet

  std::string endpoints() const;
  bool alone() const { return links_.size() == 1; }
  std::chrono::milliseconds timeout() const { return settings_.request_timeout; }

 private:
  explicit EtcdClient(const EtcdStoreSettings& settings) : settings_(settings) {}
  Result<EtcdLink*> PickUntil(EtcdTime deadline);
  EtcdLink* ReadyLink(bool even_suspects);
  Status Unreachable();
  std::string WhyUnreachable(EtcdLink& link);
  Status Authenticate(EtcdLink& link, EtcdTime deadline);
  Status Failed(std::string_view what, const EtcdLink& link, const grpc::Status& answer,
                const EtcdFailure& failure) const;
  void Lose(std::string why);
  void Tell();

  const EtcdStoreSettings settings_;
  std::vector<std::unique_ptr<EtcdLink>> links_;
  bool demand_leader_ = true;
  std::atomic<size_t> current_{0};
  std::atomic<bool> away_{false};  // the last call found nobody: the next ones wait but shortly
  std::atomic<Revision> newest_{0};

  mutable Mutex mutex_;
  std::string token_ GUARDED_BY(mutex_);
  bool token_known_ GUARDED_BY(mutex_) = false;
  uint64_t cluster_ GUARDED_BY(mutex_) = 0;
  Status lost_ GUARDED_BY(mutex_);
  std::function<void()> listener_ GUARDED_BY(mutex_);
  Mutex authenticating_;
};

}  // namespace saker
