#include "meta/etcd_admin.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "base/mutex.h"
#include "meta/etcd_client.h"

namespace saker {
namespace {

namespace pb = etcdserverpb;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;
using Repeat = EtcdClient::Repeat;


// Cancels a call that got no answer in time; to be told of each sign of life.
class Watchdog {
 public:
  Watchdog(grpc::ClientContext& context, milliseconds patience) : context_(context), patience_(patience) {
    Alive();
    thread_ = std::thread([this] { Run(); });
  }
  ~Watchdog() {
    {
      MutexLock lock(mutex_);
      done_ = true;
      changed_.NotifyAll();
    }
    thread_.join();
  }
  void Alive() {
    MutexLock lock(mutex_);
    deadline_ = Clock::now() + patience_;
  }

 private:
  void Run() {
    MutexLock lock(mutex_);
    while (!done_ && Clock::now() < deadline_) {
      changed_.WaitFor(lock, deadline_ - Clock::now(), [this]() REQUIRES(mutex_) { return done_; });
    }
    if (!done_) context_.TryCancel();
  }

  grpc::ClientContext& context_;
  const milliseconds patience_;
  Mutex mutex_;
  CondVar changed_;
  EtcdTime deadline_ GUARDED_BY(mutex_);
  bool done_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// etcd tells how far it was compacted only to a watch that wants older history. One of a key that isn't there sees
// nothing else.
Result<Revision> CompactedRevision(EtcdLink& link, grpc::ClientContext& context, const std::string& key) {
  const auto stream = link.watch->Watch(&context);
  pb::WatchRequest request;
  request.mutable_create_request()->set_key(key);
  request.mutable_create_request()->set_start_revision(1);
  pb::WatchResponse response;
  Revision compacted = 0;
  bool over = !stream->Write(request);
  while (!over && stream->Read(&response)) {
    compacted = response.compact_revision();
    over = response.canceled() || compacted != 0;
  }
  context.TryCancel();
  const grpc::Status end = stream->Finish();
  if (compacted != 0) return compacted;
  return Status(ErrorCode::kServiceUnavailable,
                fmt::format("etcd {} does not tell how far it was compacted: {}", link.endpoint, end.error_message()));
}

void Fill(const pb::ResponseHeader& header, EtcdMemberStatus& out) {
  out.cluster_id = header.cluster_id();
  out.member_id = header.member_id();
  out.revision = header.revision();
  out.raft_term = header.raft_term();
}

class Admin : public EtcdAdmin {
 public:
  Admin(EtcdStoreSettings settings, std::shared_ptr<EtcdClient> client)
      : settings_(std::move(settings)), client_(std::move(client)) {}

  std::vector<EtcdMemberStatus> Members() override;
  Result<std::vector<EtcdMember>> MemberList() override;
  Result<std::vector<EtcdAlarm>> Alarms() override;
  Result<EtcdHistory> History() override;
  Status Disarm(const EtcdAlarm& alarm) override;
  Status Defragment(const std::string& endpoint, milliseconds timeout) override;
  Result<Revision> Compact(Revision revision, milliseconds timeout) override;
  Result<int64_t> Snapshot(const std::string& endpoint, milliseconds timeout, const Sink& sink) override;

 private:
  // A connection to one member alone, with a time of its own.
  Result<std::shared_ptr<EtcdClient>> At(const std::string& endpoint, milliseconds timeout) const;
  EtcdMemberStatus StatusOf(const std::string& endpoint) const;
  // What any answer tells; fails unless the member serves our keys, which takes a quorum.
  Status ReadHeader(EtcdClient& client, EtcdMemberStatus& out) const;

  const EtcdStoreSettings settings_;
  const std::shared_ptr<EtcdClient> client_;
};

Result<std::shared_ptr<EtcdClient>> Admin::At(const std::string& endpoint, milliseconds timeout) const {
  EtcdStoreSettings settings = settings_;
  if (std::find(settings.endpoints.begin(), settings.endpoints.end(), endpoint) == settings.endpoints.end()) {
    return Status(ErrorCode::kParameterInvalid,
                  fmt::format("{} is none of the configured endpoints of etcd", endpoint));
  }
  settings.endpoints = {endpoint};
  settings.request_timeout = timeout;
  ASSIGN_OR_RETURN(auto client, EtcdClient::Make(settings));
  client->TakeAnyMember();
  return client;
}

EtcdMemberStatus Admin::StatusOf(const std::string& endpoint) const {
  EtcdMemberStatus out;
  out.endpoint = endpoint;
  const auto client = At(endpoint, settings_.request_timeout);
  out.reached = client.status();
  if (!client.ok()) return out;
  pb::StatusResponse response;
  out.reached = (*client)->Call("for its status", Repeat::kSafely, [&](EtcdLink& link, grpc::ClientContext& context) {
    return link.maintenance->Status(&context, pb::StatusRequest(), &response);
  });
  if (out.reached.code() == ErrorCode::kServiceInternal && ReadHeader(**client, out).ok()) {
    out.reached = {};
    out.withheld = true;
  }
  if (!out.reached.ok() || out.withheld) return out;
  out.version = response.version();
  Fill(response.header(), out);
  out.leader_id = response.leader();
  out.is_learner = response.islearner();
  out.db_bytes = response.dbsize();
  out.db_in_use_bytes = response.dbsizeinuse();
  out.quota_bytes = response.dbsizequota();
  out.raft_index = response.raftindex();
  out.raft_applied_index = response.raftappliedindex();
  out.errors.assign(response.errors().begin(), response.errors().end());
  out.quota_exceeded = std::any_of(out.errors.begin(), out.errors.end(),
                                   [](const std::string& error) { return error.find("NOSPACE") != std::string::npos; });
  return out;
}

Status Admin::ReadHeader(EtcdClient& client, EtcdMemberStatus& out) const {
  pb::RangeRequest request;
  request.set_key(settings_.root + "/");
  request.set_count_only(true);
  pb::RangeResponse response;
  RETURN_IF_ERROR(client.Call("its revision", Repeat::kSafely, [&](EtcdLink& link, grpc::ClientContext& context) {
    return link.kv->Range(&context, request, &response);
  }));
  Fill(response.header(), out);
  return {};
}

std::vector<EtcdMemberStatus> Admin::Members() {
  std::vector<EtcdMemberStatus> out(settings_.endpoints.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < out.size(); ++i) {
    threads.emplace_back([&, i] { out[i] = StatusOf(settings_.endpoints[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  return out;
}

Result<std::vector<EtcdMember>> Admin::MemberList() {
  pb::MemberListResponse response;
  RETURN_IF_ERROR(
      client_->Call("the list of members", Repeat::kSafely, [&](EtcdLink& link, grpc::ClientContext& context) {
        return link.cluster->MemberList(&context, pb::MemberListRequest(), &response);
      }));
  std::vector<EtcdMember> out;
  for (const pb::Member& member : response.members()) {
    out.push_back({member.id(),
                   member.name(),
                   {member.peerurls().begin(), member.peerurls().end()},
                   {member.clienturls().begin(), member.clienturls().end()},
                   member.islearner()});
  }
  return out;
}

Result<std::vector<EtcdAlarm>> Admin::Alarms() {
  pb::AlarmRequest request;
  request.set_action(pb::AlarmRequest::GET);
  pb::AlarmResponse response;
  RETURN_IF_ERROR(
      client_->Call("the list of alarms", Repeat::kSafely, [&](EtcdLink& link, grpc::ClientContext& context) {
        return link.maintenance->Alarm(&context, request, &response);
      }));
  std::vector<EtcdAlarm> out;
  for (const pb::AlarmMember& alarm : response.alarms()) {
    if (alarm.alarm() == pb::NOSPACE) out.push_back({alarm.memberid(), EtcdAlarm::Kind::kNoSpace});
    if (alarm.alarm() == pb::CORRUPT) out.push_back({alarm.memberid(), EtcdAlarm::Kind::kCorrupt});
  }
  return out;
}

Result<EtcdHistory> Admin::History() {
  EtcdHistory out;
  const std::string key = settings_.root + "/";
  pb::RangeRequest request;
  request.set_key(key);
  request.set_revision(1);
  pb::RangeResponse response;
  const Status first =
      client_->Call("its first revision", Repeat::kSafely, [&](EtcdLink& link, grpc::ClientContext& context) {
        return link.kv->Range(&context, request, &response);
      });
  if (!first.ok() && first.code() != ErrorCode::kCompacted) return first;
  ASSIGN_OR_RETURN(out.revision, client_->ReadRevision());
  if (first.ok()) return out;
  const EtcdTime deadline = Clock::now() + settings_.request_timeout;
  ASSIGN_OR_RETURN(EtcdLink* const link, client_->Pick(deadline));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + settings_.request_timeout);
  RETURN_IF_ERROR(client_->Prepare(*link, context, deadline));
  ASSIGN_OR_RETURN(out.compacted, CompactedRevision(*link, context, key));
  return out;
}

Status Admin::Disarm(const EtcdAlarm& alarm) {
  pb::AlarmRequest request;
  request.set_action(pb::AlarmRequest::DEACTIVATE);
  request.set_memberid(alarm.member_id);
  request.set_alarm(alarm.kind == EtcdAlarm::Kind::kNoSpace ? pb::NOSPACE : pb::CORRUPT);
  pb::AlarmResponse response;
  return client_->Call("to disarm an alarm", Repeat::kSafely, [&](EtcdLink& link, grpc::ClientContext& context) {
    return link.maintenance->Alarm(&context, request, &response);
  });
}

Status Admin::Defragment(const std::string& endpoint, milliseconds timeout) {
  ASSIGN_OR_RETURN(const auto client, At(endpoint, timeout));
  pb::DefragmentResponse response;
  return client->Call("a defragmentation", Repeat::kNever, [&](EtcdLink& link, grpc::ClientContext& context) {
    return link.maintenance->Defragment(&context, pb::DefragmentRequest(), &response);
  });
}

Result<Revision> Admin::Compact(Revision revision, milliseconds timeout) {
  if (revision <= 0) {
    ASSIGN_OR_RETURN(revision, client_->ReadRevision());
  }
  EtcdStoreSettings settings = settings_;
  settings.request_timeout = timeout;
  ASSIGN_OR_RETURN(const auto client, EtcdClient::Make(settings));
  pb::CompactionRequest request;
  request.set_revision(revision);
  request.set_physical(true);
  pb::CompactionResponse response;
  const Status done = client->Call("a compaction", Repeat::kSafely, [&](EtcdLink& link, grpc::ClientContext& context) {
    return link.kv->Compact(&context, request, &response);
  });
  if (!done.ok() && done.code() != ErrorCode::kCompacted) return done;
  return revision;
}

Result<int64_t> Admin::Snapshot(const std::string& endpoint, milliseconds timeout, const Sink& sink) {
  ASSIGN_OR_RETURN(const auto client, At(endpoint, settings_.request_timeout));
  ASSIGN_OR_RETURN(EtcdLink* const link, client->Pick(Clock::now() + settings_.request_timeout));
  grpc::ClientContext context;
  RETURN_IF_ERROR(client->Prepare(*link, context, Clock::now() + settings_.request_timeout));
  EtcdSnapshotSum sum;
  int64_t bytes = 0;
  Status sunk;
  grpc::Status end;
  {
    Watchdog watchdog(context, timeout);
    const auto stream = link->maintenance->Snapshot(&context, pb::SnapshotRequest());
    pb::SnapshotResponse piece;
    while (sunk.ok() && stream->Read(&piece)) {
      watchdog.Alive();
      bytes += static_cast<int64_t>(piece.blob().size());
      sum.Add(piece.blob());
      sunk = sink(piece.blob());
    }
    if (!sunk.ok()) context.TryCancel();
    end = stream->Finish();
  }
  RETURN_IF_ERROR(sunk);
  if (!end.ok()) {
    const ErrorCode code = ClassifyEtcd(end).code;
    return {code,
            fmt::format("the snapshot of etcd {} broke off after {} bytes: {}", endpoint, bytes, end.error_message())};
  }
  if (sum.Holds()) return bytes;
  return {ErrorCode::kCorrupted,
          fmt::format("the snapshot of etcd {}, {} bytes, does not have the SHA-256 it ends with: take another",
                      endpoint, bytes)};
}

}  // namespace

Result<std::unique_ptr<EtcdAdmin>> OpenEtcdAdmin(const EtcdStoreSettings& settings) {
  ASSIGN_OR_RETURN(auto client, EtcdClient::Make(settings));
  return std::unique_ptr<EtcdAdmin>(std::make_unique<Admin>(settings, std::move(client)));
}

}  // namespace saker
