#include "meta/etcd_client.h"

#include <fmt/format.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <sstream>
#include <thread>

#include "base/clock.h"
#include "base/log.h"

namespace saker {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kPoll{50};                // between looks at the connections, while a call waits for one
constexpr milliseconds kPatienceWhileAway{250};  // of a call, if the one before found nobody
constexpr milliseconds kWaitForOthers{300};      // for another member to connect, before a suspect one is asked again
constexpr milliseconds kBetweenTries{50};
constexpr int64_t kSuspectUs = 3'000'000;
// etcd closes connections that are pinged more often than every 5 s (--grpc-keepalive-min-time).
constexpr int kPingMs = 6000;
constexpr int kPingTimeoutMs = 2000;
constexpr int kConnectMs = 1000;

bool Has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

Result<std::string> ReadPem(const std::string& file) {
  if (file.empty()) return std::string();
  std::ifstream in(file, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  std::string text = out.str();
  if (in.good() && Has(text, "-----BEGIN")) return text;
  return {ErrorCode::kIoFailed, fmt::format("{} can't be read as a PEM file: it is needed to connect to etcd", file)};
}

bool WantsTls(const EtcdStoreSettings& settings) {
  return !settings.ca_file.empty() || !settings.cert_file.empty() || !settings.server_name.empty();
}

struct Address {
  std::string host_port;
  bool tls = false;
};

Result<Address> Parse(const std::string& endpoint, const EtcdStoreSettings& settings) {
  Address address{endpoint, WantsTls(settings)};
  if (endpoint.starts_with("http://")) address = {endpoint.substr(7), false};
  if (endpoint.starts_with("https://")) address = {endpoint.substr(8), true};
  while (address.host_port.ends_with('/')) address.host_port.pop_back();
  const size_t colon = address.host_port.rfind(':');
  const bool has_port = colon != std::string::npos && colon > 0 && colon + 1 < address.host_port.size() &&
                        std::all_of(address.host_port.begin() + static_cast<std::ptrdiff_t>(colon) + 1,
                                    address.host_port.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (has_port && !Has(address.host_port, "/")) return address;
  return {ErrorCode::kParameterInvalid,
          fmt::format("\"{}\" is no endpoint of etcd: http://host:port or https://host:port is", endpoint)};
}

Result<std::shared_ptr<grpc::ChannelCredentials>> Credentials(const EtcdStoreSettings& settings, bool tls) {
  if (!tls) return grpc::InsecureChannelCredentials();
  if (settings.cert_file.empty() != settings.key_file.empty()) {
    return Status(ErrorCode::kParameterInvalid,
                  "etcd's client certificate and its key belong together: only one of them is set");
  }
  grpc::SslCredentialsOptions options;
  ASSIGN_OR_RETURN(options.pem_root_certs, ReadPem(settings.ca_file));
  ASSIGN_OR_RETURN(options.pem_cert_chain, ReadPem(settings.cert_file));
  ASSIGN_OR_RETURN(options.pem_private_key, ReadPem(settings.key_file));
  return grpc::SslCredentials(options);
}

grpc::ChannelArguments Arguments(const EtcdStoreSettings& settings) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectMs);  // and how long one attempt may take
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kPingMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (!settings.server_name.empty()) arguments.SetSslTargetNameOverride(settings.server_name);
  return arguments;
}

Status CheckSettings(const EtcdStoreSettings& settings) {
  const auto invalid = [](std::string text) { return Status(ErrorCode::kParameterInvalid, std::move(text)); };
  if (settings.endpoints.empty()) return invalid("no endpoint of etcd is given");
  if (settings.root.empty() || settings.root.size() > kMaxEtcdRootBytes ||
      Has(settings.root, std::string_view("\0", 1)) || settings.root.ends_with('/')) {
    return invalid(
        fmt::format("\"{}\" can't be the root of keys in etcd: 1 to {} bytes, not ending in a slash, are allowed",
                    settings.root, kMaxEtcdRootBytes));
  }
  if (settings.request_timeout < milliseconds(100)) {
    return invalid(fmt::format("a timeout of {} ms for etcd is too short: at least 100 ms are needed",
                               settings.request_timeout.count()));
  }
  if (settings.username.empty() && !settings.password.empty())
    return invalid("a password for etcd is given, but no user name");
  return {};
}

// gRPC takes deadlines by the wall clock, and turns them into what is left of them at once.
std::chrono::system_clock::time_point WallTime(EtcdTime deadline) {
  const auto left = std::max(deadline - Clock::now(), Clock::duration(milliseconds(1)));
  return std::chrono::system_clock::now() + std::chrono::duration_cast<milliseconds>(left);
}

EtcdFailure Refused(ErrorCode code) { return {EtcdFailure::Fate::kRefused, code}; }
EtcdFailure NotDone(ErrorCode code) { return {EtcdFailure::Fate::kNotDone, code}; }

}  // namespace

Result<std::vector<std::unique_ptr<EtcdLink>>> MakeEtcdLinks(const EtcdStoreSettings& settings) {
  RETURN_IF_ERROR(CheckSettings(settings));
  std::vector<std::unique_ptr<EtcdLink>> links;
  for (const std::string& endpoint : settings.endpoints) {
    ASSIGN_OR_RETURN(const Address address, Parse(endpoint, settings));
    if (!address.tls && WantsTls(settings)) {
      return Status(
          ErrorCode::kParameterInvalid,
          fmt::format("endpoint {} of etcd is without TLS, but certificates for it are set: use https://", endpoint));
    }
    ASSIGN_OR_RETURN(const auto credentials, Credentials(settings, address.tls));
    auto link = std::make_unique<EtcdLink>();
    link->endpoint = (address.tls ? "https://" : "http://") + address.host_port;
    link->channel = grpc::CreateCustomChannel(address.host_port, credentials, Arguments(settings));
    link->kv = etcdserverpb::KV::NewStub(link->channel);
    link->watch = etcdserverpb::Watch::NewStub(link->channel);
    link->lease = etcdserverpb::Lease::NewStub(link->channel);
    link->auth = etcdserverpb::Auth::NewStub(link->channel);
    link->cluster = etcdserverpb::Cluster::NewStub(link->channel);
    link->maintenance = etcdserverpb::Maintenance::NewStub(link->channel);
    links.push_back(std::move(link));
  }
  return links;
}

// By etcd's own words: its codes alone don't tell what was done from what wasn't.
EtcdFailure ClassifyEtcd(const grpc::Status& answer) {
  const std::string& text = answer.error_message();
  if (Has(text, "invalid auth token") || Has(text, "revision of auth store is old") ||
      Has(text, "user name is empty")) {
    return {EtcdFailure::Fate::kTokenInvalid, ErrorCode::kServiceInternal};
  }
  if (Has(text, "revision has been compacted")) return Refused(ErrorCode::kCompacted);
  if (Has(text, "required revision is a future revision")) return Refused(ErrorCode::kParameterInvalid);
  if (Has(text, "requested lease not found")) return Refused(ErrorCode::kIoKeyNotFound);
  if (Has(text, "database space exceeded")) return Refused(ErrorCode::kDiskLimitExceeded);
  if (Has(text, "too many requests")) return Refused(ErrorCode::kTooManyRequests);
  if (Has(text, "permission denied") || Has(text, "authentication failed")) return Refused(ErrorCode::kServiceInternal);
  if (Has(text, "no leader") || Has(text, "not supported for learner") || Has(text, "not capable")) {
    return NotDone(ErrorCode::kServiceUnavailable);
  }
  switch (answer.error_code()) {
    case grpc::StatusCode::INVALID_ARGUMENT: return Refused(ErrorCode::kParameterInvalid);
    case grpc::StatusCode::RESOURCE_EXHAUSTED:  // gRPC's own limit of a message
      return Refused(Has(text, "larger than max") ? ErrorCode::kParameterInvalid : ErrorCode::kServiceUnavailable);
    case grpc::StatusCode::UNIMPLEMENTED: return Refused(ErrorCode::kUnimplemented);
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED: return Refused(ErrorCode::kServiceInternal);
    case grpc::StatusCode::DATA_LOSS: return Refused(ErrorCode::kServiceInternal);
    default: return {};
  }
}

Result<std::shared_ptr<EtcdClient>> EtcdClient::Make(const EtcdStoreSettings& settings) {
  std::shared_ptr<EtcdClient> client(new EtcdClient(settings));
  ASSIGN_OR_RETURN(client->links_, MakeEtcdLinks(settings));
  client->current_ = std::random_device{}() % client->links_.size();
  return client;
}

std::string EtcdClient::endpoints() const {
  std::string out;
  for (const auto& link : links_) out += (out.empty() ? "" : ", ") + link->endpoint;
  return out;
}

// ---- which member

// The current member if it is connected, else the next that is; asks those that aren't to connect.
EtcdLink* EtcdClient::ReadyLink(bool even_suspects) {
  const size_t first = current_;
  EtcdLink* suspect = nullptr;
  for (size_t i = 0; i < links_.size(); ++i) {
    EtcdLink& link = *links_[(first + i) % links_.size()];
    if (link.channel->GetState(true) != GRPC_CHANNEL_READY) continue;
    if (IsSuspect(link)) {
      if (suspect == nullptr) suspect = &link;
      continue;
    }
    size_t expected = first;
    current_.compare_exchange_strong(expected, (first + i) % links_.size());
    return &link;
  }
  return even_suspects || alone() ? suspect : nullptr;
}

Result<EtcdLink*> EtcdClient::PickUntil(EtcdTime deadline) {
  const EtcdTime begun = Clock::now();
  for (;;) {
    const EtcdTime now = Clock::now();
    EtcdLink* link = ReadyLink(now >= std::min(begun + kWaitForOthers, deadline));
    if (link != nullptr) {
      away_ = false;
      return link;
    }
    if (now >= deadline) return Unreachable();
    EtcdLink& waited_for = *links_[current_];
    const auto state = waited_for.channel->GetState(true);
    // A member that is down is not waited for alone: another one may connect meanwhile.
    if (state != GRPC_CHANNEL_READY) {
      waited_for.channel->WaitForStateChange(state, std::chrono::system_clock::now() + kPoll);
    } else {
      std::this_thread::sleep_for(kPoll);
    }
  }
}

Result<EtcdLink*> EtcdClient::Pick(EtcdTime deadline) {
  RETURN_IF_ERROR(lost());
  return PickUntil(deadline);
}

void EtcdClient::MoveAwayFrom(EtcdLink& link) {
  for (size_t i = 0; i < links_.size(); ++i) {
    size_t expected = i;
    if (links_[i].get() == &link) current_.compare_exchange_strong(expected, (i + 1) % links_.size());
  }
}

bool EtcdClient::IsSuspect(const EtcdLink& link) const { return link.suspect_until_us > MonotonicUs(); }

void EtcdClient::Suspect(EtcdLink& link) {
  link.suspect_until_us = MonotonicUs() + kSuspectUs;
  MoveAwayFrom(link);
  Tell();
}

// The reason isn't kept by a channel; a request that is refused at once tells it.
std::string EtcdClient::WhyUnreachable(EtcdLink& link) {
  if (link.channel->GetState(true) != GRPC_CHANNEL_TRANSIENT_FAILURE) return link.endpoint + ": no connection yet";
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPoll);
  etcdserverpb::StatusResponse response;
  const grpc::Status status = link.maintenance->Status(&context, etcdserverpb::StatusRequest(), &response);
  return link.endpoint + ": " + (status.ok() ? "just came back" : status.error_message());
}

Status EtcdClient::Unreachable() {
  std::string reasons;
  for (const auto& link : links_) reasons += (reasons.empty() ? "" : "; ") + WhyUnreachable(*link);
  return {ErrorCode::kServiceUnavailable, fmt::format("etcd can't be reached ({}): retry once it is back", reasons)};
}

// ---- calls

Status EtcdClient::Call(std::string_view what, Repeat repeat, const Send& send, bool* repeated) {
  const EtcdTime deadline = Clock::now() + timeout();
  bool maybe_done = false;
  bool authenticated_anew = false;
  Status last;
  while (last.ok() || Clock::now() < deadline) {
    RETURN_IF_ERROR(lost());
    Result<EtcdLink*> picked = PickUntil(away_ ? std::min(deadline, Clock::now() + kPatienceWhileAway) : deadline);
    if (!picked.ok()) {
      away_ = true;
      return last.ok() ? picked.status() : last;
    }
    EtcdLink& link = **picked;
    grpc::ClientContext context;
    const EtcdTime now = Clock::now();
    const bool in_halves = repeat == Repeat::kSafely && !alone();
    const EtcdTime until =
        in_halves ? std::min(deadline, now + std::max<Clock::duration>(timeout() / 2, kPoll)) : deadline;
    context.set_deadline(WallTime(until));
    if (Status prepared = Prepare(link, context, until); !prepared.ok()) {
      if (prepared.code() != ErrorCode::kServiceUnavailable) return prepared;
      last = std::move(prepared);
      std::this_thread::sleep_for(kBetweenTries);
      continue;
    }
    const grpc::Status answer = send(link, context);
    if (repeated != nullptr) *repeated = maybe_done;
    if (answer.ok()) return {};
    const EtcdFailure failure = ClassifyEtcd(answer);
    last = Failed(what, link, answer, failure);
    if (failure.fate == EtcdFailure::Fate::kRefused) return last;
    if (failure.fate == EtcdFailure::Fate::kTokenInvalid) {
      if (settings_.username.empty() || authenticated_anew) return last;
      authenticated_anew = true;
      ForgetToken();
      continue;
    }
    maybe_done = maybe_done || failure.fate == EtcdFailure::Fate::kUnknown;
    answer.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED ? Suspect(link) : MoveAwayFrom(link);
    if (failure.fate == EtcdFailure::Fate::kUnknown && repeat == Repeat::kNever) {
      return {ErrorCode::kDeadlineExceeded,
              fmt::format(
                  "etcd {}: {} was sent, but not answered ({}): it may have been done or not, read before you retry",
                  link.endpoint, what, answer.error_message())};
    }
    std::this_thread::sleep_for(kBetweenTries);
  }
  return last;
}

Result<Revision> EtcdClient::ReadRevision() {
  etcdserverpb::RangeRequest request;
  request.set_key(settings_.root + "/");
  request.set_keys_only(true);
  etcdserverpb::RangeResponse response;
  const Revision floor = newest();
  RETURN_IF_ERROR(Call("a read of its revision", Repeat::kSafely, [&](EtcdLink& link, grpc::ClientContext& context) {
    return link.kv->Range(&context, request, &response);
  }));
  RETURN_IF_ERROR(Check(response.header(), floor));
  return response.header().revision();
}

Status EtcdClient::Failed(std::string_view what, const EtcdLink& link, const grpc::Status& answer,
                          const EtcdFailure& failure) const {
  std::string_view advice;
  if (failure.code == ErrorCode::kDiskLimitExceeded) {
    advice =
        ": alarm NOSPACE is on; compact and defragment etcd or raise --quota-backend-bytes, then disarm the alarm "
        "(reads go on)";
  } else if (failure.code == ErrorCode::kServiceInternal && settings_.username.empty()) {
    advice = ": etcd demands authentication; set its user name and password";
  } else if (failure.code == ErrorCode::kServiceInternal) {
    advice = ": check user name, password and the role's permission for the root's keys";
  }
  if (failure.code == ErrorCode::kServiceUnavailable) {
    return {failure.code,
            fmt::format("etcd did not answer {} in time ({}; {}): retry", what, endpoints(), answer.error_message())};
  }
  return {failure.code, fmt::format("etcd {} refuses {}: {}{}", link.endpoint, what, answer.error_message(), advice)};
}

// ---- authentication

Status EtcdClient::Prepare(EtcdLink& link, grpc::ClientContext& context, EtcdTime deadline) {
  // A member that lost its leader says so instead of answering from what it remembers.
  if (demand_leader_) context.AddMetadata("hasleader", "true");
  if (settings_.username.empty()) return {};
  RETURN_IF_ERROR(Authenticate(link, deadline));
  MutexLock lock(mutex_);
  if (!token_.empty()) context.AddMetadata("token", token_);
  return {};
}

void EtcdClient::ForgetToken() {
  MutexLock lock(mutex_);
  token_known_ = false;
}

Status EtcdClient::Authenticate(EtcdLink& link, EtcdTime deadline) {
  MutexLock one_at_a_time(authenticating_);
  {
    MutexLock lock(mutex_);
    if (token_known_) return {};
  }
  grpc::ClientContext context;
  context.set_deadline(WallTime(deadline));
  etcdserverpb::AuthenticateRequest request;
  request.set_name(settings_.username);
  request.set_password(settings_.password);
  etcdserverpb::AuthenticateResponse response;
  const grpc::Status answer = link.auth->Authenticate(&context, request, &response);
  // etcd without authentication takes everybody.
  const bool not_enabled = !answer.ok() && Has(answer.error_message(), "authentication is not enabled");
  if (!answer.ok() && !not_enabled) {
    const EtcdFailure failure = ClassifyEtcd(answer);
    if (failure.code == ErrorCode::kServiceInternal) {
      return {failure.code, fmt::format("etcd {} refuses user \"{}\": {}: check the user name and password for etcd",
                                        link.endpoint, settings_.username, answer.error_message())};
    }
    answer.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED ? Suspect(link) : MoveAwayFrom(link);
    return {ErrorCode::kServiceUnavailable, fmt::format("etcd did not answer an authentication in time ({}; {}): retry",
                                                        endpoints(), answer.error_message())};
  }
  MutexLock lock(mutex_);
  token_ = not_enabled ? std::string() : response.token();
  token_known_ = true;
  return {};
}

// ---- lost data

Status EtcdClient::lost() const {
  MutexLock lock(mutex_);
  return lost_;
}

uint64_t EtcdClient::cluster() const {
  MutexLock lock(mutex_);
  return cluster_;
}

void EtcdClient::Saw(Revision revision) {
  Revision newest = newest_;
  while (newest < revision && !newest_.compare_exchange_weak(newest, revision)) {
  }
}

Status EtcdClient::CheckCluster(const etcdserverpb::ResponseHeader& header) {
  MutexLock lock(mutex_);
  if (cluster_ == 0) cluster_ = header.cluster_id();
  const uint64_t known = cluster_;
  lock.Unlock();
  // A proxy may leave it out.
  if (header.cluster_id() != known && header.cluster_id() != 0) {
    Lose(fmt::format("cluster {:x} answered before, cluster {:x} does now", known, header.cluster_id()));
  }
  return lost();
}

Status EtcdClient::Check(const etcdserverpb::ResponseHeader& header, Revision floor) {
  RETURN_IF_ERROR(CheckCluster(header));
  if (header.revision() < floor) {
    Lose(fmt::format("its revision is {}, though it had answered revision {} before", header.revision(), floor));
    return lost();
  }
  Saw(header.revision());
  return {};
}

void EtcdClient::Lose(std::string why) {
  Status status(
      ErrorCode::kCorrupted,
      fmt::format("etcd ({}) has lost data: {}; nothing more is read from it or written to it until the metadata was "
                  "recovered and the store is opened anew",
                  endpoints(), why));
  {
    MutexLock lock(mutex_);
    if (!lost_.ok()) return;
    lost_ = status;
  }
  LogError("{}", status.message());
  if (settings_.on_data_lost) settings_.on_data_lost(status);
  Tell();
}

void EtcdClient::SetListener(std::function<void()> listener) {
  MutexLock lock(mutex_);
  listener_ = std::move(listener);
}

void EtcdClient::Tell() {
  std::function<void()> listener;
  {
    MutexLock lock(mutex_);
    listener = listener_;
  }
  if (listener) listener();
}

}  // namespace saker
