#include "meta/etcd_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "meta/etcd_client.h"
#include "meta/etcd_watch.h"
#include "meta/transaction.h"

namespace saker {
namespace {

namespace pb = etcdserverpb;
using Repeat = EtcdClient::Repeat;

constexpr int64_t kPageKeys = 1000;
constexpr int64_t kPageBytes = 4 << 20;  // aimed at: pages of large values have fewer keys
constexpr int kRangeTries = 5;           // each but the last met a compaction

class EtcdStore : public MetaStore {
 public:
  EtcdStore(std::shared_ptr<EtcdClient> client, const std::string& root)
      : client_(std::move(client)), root_(root + "/"), hub_(std::make_unique<EtcdWatchHub>(client_, root_)) {}

  Result<RangeResult> Range(const std::string& prefix, Revision at) override;
  Result<KeyValue> Get(const std::string& key, Revision at) override;
  Result<Revision> Commit(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops) override;
  Result<std::unique_ptr<Watch>> WatchPrefix(const std::string& prefix, Revision from, OnWatch on_batch) override;
  Result<LeaseId> Grant(std::chrono::seconds ttl) override;
  Status KeepAlive(LeaseId lease) override;
  Status Revoke(LeaseId lease) override;
  Result<Revision> CurrentRevision() override;
  std::string Identity() const override;
  Status Compact(Revision revision) override;

 private:
  Result<RangeResult> RangeOnce(const std::string& prefix, Revision at, bool& compacted_between);
  Status ReadPage(const pb::RangeRequest& request, pb::RangeResponse& response);
  pb::Compare ToEtcd(const Compare& compare) const;
  pb::RequestOp ToEtcd(const MetaOp& op) const;
  pb::TxnRequest ToEtcd(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops) const;
  KeyValue FromEtcd(pb::KeyValue& kv) const;
  std::string First(const std::string& prefix) const;
  Status ConflictIn(const std::vector<Compare>& compares, pb::TxnResponse& response) const;
  Revision Settled(Revision revision);

  const std::shared_ptr<EtcdClient> client_;
  const std::string root_;  // with its slash
  const std::unique_ptr<EtcdWatchHub> hub_;
};

// ---- translation

// Where keys of the prefix begin: below are no keys of callers, but perhaps the store's own "<root>/\0".
std::string EtcdStore::First(const std::string& prefix) const { return root_ + (prefix.empty() ? "\x01" : prefix); }

pb::Compare EtcdStore::ToEtcd(const Compare& compare) const {
  pb::Compare out;
  out.set_key(root_ + compare.key);
  switch (compare.op) {
    case Compare::Op::kEqual: out.set_result(pb::Compare::EQUAL); break;
    case Compare::Op::kNotEqual: out.set_result(pb::Compare::NOT_EQUAL); break;
    case Compare::Op::kLess: out.set_result(pb::Compare::LESS); break;
    case Compare::Op::kGreater: out.set_result(pb::Compare::GREATER); break;
  }
  switch (compare.target) {
    case Compare::Target::kModRevision:
      out.set_target(pb::Compare::MOD);
      out.set_mod_revision(compare.number);
      break;
    case Compare::Target::kCreateRevision:
      out.set_target(pb::Compare::CREATE);
      out.set_create_revision(compare.number);
      break;
    case Compare::Target::kVersion:
      out.set_target(pb::Compare::VERSION);
      out.set_version(compare.number);
      break;
    case Compare::Target::kValue:
      out.set_target(pb::Compare::VALUE);
      out.set_value(compare.value);
      break;
  }
  return out;
}

pb::RequestOp EtcdStore::ToEtcd(const MetaOp& op) const {
  pb::RequestOp out;
  switch (op.kind) {
    case MetaOp::Kind::kPut:
      out.mutable_request_put()->set_key(root_ + op.key);
      out.mutable_request_put()->set_value(op.value);
      out.mutable_request_put()->set_lease(op.lease);
      break;
    case MetaOp::Kind::kDelete: out.mutable_request_delete_range()->set_key(root_ + op.key); break;
    case MetaOp::Kind::kDeletePrefix:
      out.mutable_request_delete_range()->set_key(First(op.key));
      out.mutable_request_delete_range()->set_range_end(PrefixEnd(root_ + op.key));
      break;
  }
  return out;
}

// If it fails, the present state of the compared keys tells which compare it was.
pb::TxnRequest EtcdStore::ToEtcd(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops) const {
  pb::TxnRequest request;
  for (const Compare& compare : compares) {
    *request.add_compare() = ToEtcd(compare);
    auto* present = request.add_failure()->mutable_request_range();
    present->set_key(root_ + compare.key);
    present->set_keys_only(true);
  }
  for (const MetaOp& op : ops) *request.add_success() = ToEtcd(op);
  // Without one etcd would take the transaction for a read that may be stale.
  if (ops.empty()) {
    request.add_success()->mutable_request_range()->set_key(root_);
    request.mutable_success(0)->mutable_request_range()->set_count_only(true);
  }
  return request;
}

KeyValue EtcdStore::FromEtcd(pb::KeyValue& kv) const {
  KeyValue out;
  out.key = kv.key().substr(root_.size());
  out.value = std::move(*kv.mutable_value());
  out.create_revision = kv.create_revision();
  out.mod_revision = kv.mod_revision();
  out.version = kv.version();
  out.lease = kv.lease();
  return out;
}

// ---- reading

Status EtcdStore::ReadPage(const pb::RangeRequest& request, pb::RangeResponse& response) {
  const Revision floor = client_->newest();
  RETURN_IF_ERROR(client_->Call("a read", Repeat::kSafely, [&](EtcdLink& link, grpc::ClientContext& context) {
    return link.kv->Range(&context, request, &response);
  }));
  return client_->Check(response.header(), floor);
}

Result<RangeResult> EtcdStore::RangeOnce(const std::string& prefix, Revision at, bool& compacted_between) {
  pb::RangeRequest request;
  request.set_key(First(prefix));
  request.set_range_end(PrefixEnd(root_ + prefix));
  request.set_limit(kPageKeys);
  request.set_revision(at);
  RangeResult result;
  for (;;) {
    pb::RangeResponse page;
    const Status read = ReadPage(request, page);
    compacted_between = read.code() == ErrorCode::kCompacted && at == 0;
    RETURN_IF_ERROR(read);
    if (result.revision == 0) result.revision = page.header().revision();
    if (request.revision() == 0) request.set_revision(result.revision);
    const auto bytes = static_cast<int64_t>(page.ByteSizeLong());
    for (pb::KeyValue& kv : *page.mutable_kvs()) result.kvs.push_back(FromEtcd(kv));
    if (!page.more() || page.kvs().empty()) return result;
    request.set_key(page.kvs().rbegin()->key() + '\0');
    const int64_t bytes_per_key = bytes / page.kvs_size() + 1;
    request.set_limit(std::clamp<int64_t>(kPageBytes / bytes_per_key, 1, kPageKeys));
  }
}

Result<RangeResult> EtcdStore::Range(const std::string& prefix, Revision at) {
  for (int i = 1;; ++i) {
    bool compacted_between = false;
    Result<RangeResult> result = RangeOnce(prefix, at, compacted_between);
    if (!compacted_between || i == kRangeTries) return result;
  }
}

Result<KeyValue> EtcdStore::Get(const std::string& key, Revision at) {
  RETURN_IF_ERROR(CheckKey(key));
  pb::RangeRequest request;
  request.set_key(root_ + key);
  request.set_revision(at);
  pb::RangeResponse response;
  RETURN_IF_ERROR(ReadPage(request, response));
  if (!response.kvs().empty()) return FromEtcd(*response.mutable_kvs(0));
  return {ErrorCode::kIoKeyNotFound, fmt::format("key \"{}\" is not in the meta store", key)};
}

Result<Revision> EtcdStore::CurrentRevision() {
  ASSIGN_OR_RETURN(const Revision revision, client_->ReadRevision());
  return Settled(revision);
}

std::string EtcdStore::Identity() const {
  const uint64_t cluster = client_->cluster();
  return cluster == 0 ? std::string() : fmt::format("{:x}", cluster);
}

// A revision the caller may wait for. If it was made outside of the root, one under the root lets watches pass it.
Revision EtcdStore::Settled(Revision revision) {
  if (hub_->Arrives(revision)) return revision;
  pb::PutRequest request;
  request.set_key(root_ + '\0');
  pb::PutResponse response;
  const Status put = client_->Call(
      "a mark for watches", Repeat::kSafely,
      [&](EtcdLink& link, grpc::ClientContext& context) { return link.kv->Put(&context, request, &response); });
  if (put.ok()) hub_->Expect(response.header().revision());
  return revision;
}

// ---- writing

Result<Revision> EtcdStore::Commit(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops) {
  RETURN_IF_ERROR(CheckTransaction(compares, ops));
  if (compares.empty() && ops.empty()) return CurrentRevision();
  const pb::TxnRequest request = ToEtcd(compares, ops);
  pb::TxnResponse response;
  const Revision floor = client_->newest();
  // What writes nothing may be asked again.
  const Repeat repeat = ops.empty() ? Repeat::kSafely : Repeat::kNever;
  RETURN_IF_ERROR(client_->Call("a transaction", repeat, [&](EtcdLink& link, grpc::ClientContext& context) {
    return link.kv->Txn(&context, request, &response);
  }));
  RETURN_IF_ERROR(client_->Check(response.header(), floor));
  if (!response.succeeded()) return ConflictIn(compares, response);
  const Revision revision = response.header().revision();
  const bool changed =
      std::any_of(response.responses().begin(), response.responses().end(), [](const pb::ResponseOp& done) {
        return done.has_response_put() ||
               (done.has_response_delete_range() && done.response_delete_range().deleted() > 0);
      });
  if (!changed) return Settled(revision);
  hub_->Expect(revision);
  return revision;
}

Status EtcdStore::ConflictIn(const std::vector<Compare>& compares, pb::TxnResponse& response) const {
  const Compare* by_value = &compares.front();
  for (size_t i = 0; i < compares.size() && i < static_cast<size_t>(response.responses_size()); ++i) {
    if (compares[i].target == Compare::Target::kValue) {
      by_value = &compares[i];
      continue;
    }
    auto* kvs = response.mutable_responses(static_cast<int>(i))->mutable_response_range()->mutable_kvs();
    const KeyValue present = kvs->empty() ? KeyValue() : FromEtcd(kvs->at(0));
    if (!Holds(compares[i], kvs->empty() ? nullptr : &present)) return ConflictOn(compares[i]);
  }
  return ConflictOn(*by_value);
}

// ---- watching

Result<std::unique_ptr<Watch>> EtcdStore::WatchPrefix(const std::string& prefix, Revision from, OnWatch on_batch) {
  RETURN_IF_ERROR(client_->lost());
  if (from <= 0) {
    ASSIGN_OR_RETURN(const Revision now, client_->ReadRevision());
    from = now + 1;
  }
  return hub_->Add(prefix, from, std::move(on_batch));
}

// ---- leases

Result<LeaseId> EtcdStore::Grant(std::chrono::seconds ttl) {
  if (ttl.count() < 1) {
    return {ErrorCode::kParameterInvalid,
            fmt::format("a lease of {} s can't be granted: at least 1 s is needed", ttl.count())};
  }
  pb::LeaseGrantRequest request;
  request.set_ttl(ttl.count());
  pb::LeaseGrantResponse response;
  RETURN_IF_ERROR(client_->Call("a new lease", Repeat::kSafely, [&](EtcdLink& link, grpc::ClientContext& context) {
    return link.lease->LeaseGrant(&context, request, &response);
  }));
  RETURN_IF_ERROR(client_->CheckCluster(response.header()));
  if (!response.error().empty()) return {ErrorCode::kServiceInternal, "etcd grants no lease: " + response.error()};
  return response.id();
}

Status EtcdStore::KeepAlive(LeaseId lease) {
  pb::LeaseKeepAliveRequest request;
  request.set_id(lease);
  pb::LeaseKeepAliveResponse response;
  RETURN_IF_ERROR(
      client_->Call("the renewal of a lease", Repeat::kSafely, [&](EtcdLink& link, grpc::ClientContext& context) {
        const auto stream = link.lease->LeaseKeepAlive(&context);
        const bool answered = stream->Write(request) && stream->WritesDone() && stream->Read(&response);
        const grpc::Status end = stream->Finish();
        if (answered) return grpc::Status::OK;
        return end.ok() ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "the stream ended without an answer") : end;
      }));
  RETURN_IF_ERROR(client_->CheckCluster(response.header()));
  if (response.ttl() > 0) return {};
  return {ErrorCode::kIoKeyNotFound, fmt::format("lease {:x} of etcd has ended", lease)};
}

Status EtcdStore::Revoke(LeaseId lease) {
  pb::LeaseRevokeRequest request;
  request.set_id(lease);
  pb::LeaseRevokeResponse response;
  bool repeated = false;
  const Status revoked = client_->Call(
      "the end of a lease", Repeat::kSafely,
      [&](EtcdLink& link, grpc::ClientContext& context) {
        return link.lease->LeaseRevoke(&context, request, &response);
      },
      &repeated);
  // An earlier try whose answer was lost.
  if (repeated && revoked.code() == ErrorCode::kIoKeyNotFound) return {};
  RETURN_IF_ERROR(revoked);
  return client_->CheckCluster(response.header());
}

// ---- forgetting

Status EtcdStore::Compact(Revision revision) {
  if (revision <= 0) return {};
  pb::CompactionRequest request;
  request.set_revision(revision);
  pb::CompactionResponse response;
  const Status compacted = client_->Call(
      "a compaction", Repeat::kSafely,
      [&](EtcdLink& link, grpc::ClientContext& context) { return link.kv->Compact(&context, request, &response); });
  return compacted.code() == ErrorCode::kCompacted ? Status() : compacted;
}

}  // namespace

Result<std::unique_ptr<MetaStore>> OpenEtcdStore(const EtcdStoreSettings& settings) {
  ASSIGN_OR_RETURN(auto client, EtcdClient::Make(settings));
  return std::unique_ptr<MetaStore>(std::make_unique<EtcdStore>(std::move(client), settings.root));
}

}  // namespace saker
