#include "server/ctl_drain.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <thread>

#include "base/clock.h"
#include "base/mutex.h"
#include "meta/etcd_store.h"
#include "meta/generation_store.h"
#include "meta/keys.h"
#include "transport/remote_peers.h"
#include "transport/topology.h"

namespace saker {
namespace {

constexpr const char* kUsage = "usage: saker ctl drain NODE [--undo] [--timeout SECONDS]   (NODE: a node's id or HOST:PORT)";
constexpr std::chrono::seconds kTopologyWait{10};
constexpr std::chrono::milliseconds kMetadataWait{10'000};
constexpr std::chrono::milliseconds kMetadataPoll{20};

// A coordinator as far as draining goes; null: it is away.
struct Coordinator {
  std::function<Status(NodeId, bool)> drain;
  std::function<Result<DrainProgress>(NodeId)> progress;
};

template <typename Role>
Coordinator Of(Role* (Peers::*get)(), Peers& peers) {
  const auto away = [] { return Status(ErrorCode::kServiceUnavailable, "its coordinator is away"); };
  return {[=, &peers](NodeId node, bool drain) -> Status {
            Role* const role = (peers.*get)();
            return role == nullptr ? away() : role->DrainNode(node, drain);
          },
          [=, &peers](NodeId node) -> Result<DrainProgress> {
            Role* const role = (peers.*get)();
            return role == nullptr ? Result<DrainProgress>(away()) : role->GetDrainProgress(node);
          }};
}

// By the node's roles; others have nothing to give away.
std::vector<Coordinator> CoordinatorsOf(const std::set<std::string>& roles, Peers& peers) {
  std::vector<Coordinator> out;
  if (roles.contains("datanode")) out.push_back(Of<DataCoord>(&Peers::data_coord, peers));
  if (roles.contains("querynode")) out.push_back(Of<QueryCoord>(&Peers::query_coord, peers));
  if (roles.contains("indexnode")) out.push_back(Of<IndexCoord>(&Peers::index_coord, peers));
  return out;
}

bool MayPass(const Status& status) { return status.retriable() || status.code() == ErrorCode::kDeadlineExceeded; }

// Again while the coordinator is away.
template <typename Call>
auto Insist(std::chrono::steady_clock::time_point until, std::chrono::milliseconds poll, Call call) {
  auto answer = call();
  const auto status = [](const auto& a) -> Status {
    if constexpr (std::is_same_v<std::decay_t<decltype(a)>, Status>) return a;
    else return a.status();
  };
  while (!status(answer).ok() && MayPass(status(answer)) && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(poll);
    answer = call();
  }
  return answer;
}

std::string Left(const DrainProgress& progress) {
  return fmt::format("{} channels, {} segments, {} tasks", progress.channels, progress.segments, progress.tasks);
}

}  // namespace

Result<DrainArguments> ParseDrainArguments(const std::vector<std::string>& args) {
  const Status usage(ErrorCode::kParameterInvalid, kUsage);
  DrainArguments out;
  for (size_t i = 0; i < args.size(); ++i) {
    if (args[i] == "--undo") {
      out.undo = true;
    } else if (args[i] == "--timeout" && i + 1 < args.size()) {
      const std::string& text = args[++i];
      const bool number = !text.empty() && text.size() < 7 && std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c); });
      if (!number) return Status(ErrorCode::kParameterInvalid, fmt::format("--timeout: '{}' is not a number of seconds below 1000000", text));
      out.timeout = std::chrono::seconds(std::stol(text));
    } else if (out.node.empty() && !args[i].starts_with("-")) {
      out.node = args[i];
    } else {
      return usage;
    }
  }
  return out.node.empty() ? Result<DrainArguments>(usage) : Result<DrainArguments>(std::move(out));
}

Status DrainAndWait(const DrainArguments& arguments, const std::vector<SessionInfo>& sessions, Peers& peers,
                    const std::function<void(const std::string& line)>& tell, std::chrono::milliseconds poll) {
  const auto until = std::chrono::steady_clock::now() + arguments.timeout;
  NodeId node;
  std::set<std::string> roles;
  for (const SessionInfo& session : sessions) {
    if (std::to_string(session.node.value) != arguments.node && session.address != arguments.node) continue;
    node = session.node;
    roles.insert(session.role);
  }
  if (!node) return {ErrorCode::kNodeNotFound, fmt::format("node not found[node={}]: no process of the cluster has this id or address", arguments.node)};
  const auto coordinators = CoordinatorsOf(roles, peers);
  if (coordinators.empty()) {
    tell(fmt::format("node {} is a {}: it holds no work and may be stopped", node.value, fmt::join(roles, ", ")));
    return {};
  }
  for (const Coordinator& coordinator : coordinators) {
    RETURN_IF_ERROR(Insist(until, poll, [&] { return coordinator.drain(node, !arguments.undo); }));
  }
  if (arguments.undo) {
    tell(fmt::format("node {} takes part again", node.value));
    return {};
  }
  std::string told;
  while (true) {
    DrainProgress left;
    for (const Coordinator& coordinator : coordinators) {
      ASSIGN_OR_RETURN(const DrainProgress part, Insist(until, poll, [&] { return coordinator.progress(node); }));
      left.channels += part.channels;
      left.segments += part.segments;
      left.tasks += part.tasks;
    }
    if (left.empty()) {
      tell(fmt::format("node {} holds nothing any more and may be stopped", node.value));
      return {};
    }
    if (std::chrono::steady_clock::now() >= until) {
      return {ErrorCode::kDeadlineExceeded, fmt::format("node {} still holds {} after {} s; it goes on being emptied (--undo takes that back)",
                                                        node.value, Left(left), arguments.timeout.count())};
    }
    if (std::string line = fmt::format("node {} holds {}", node.value, Left(left)); line != told) {
      tell(line);
      told = std::move(line);
    }
    std::this_thread::sleep_for(poll);
  }
}

namespace {

Status Run(const Config& config, const DrainArguments& arguments) {
  GenerationStoreSettings settings;
  settings.open = [&config] { return OpenEtcdStore(config.etcd); };
  ASSIGN_OR_RETURN(const std::unique_ptr<GenerationStore> meta, GenerationStore::Open(std::move(settings)));
  for (const Stopwatch watch; !meta->Ready().ok() && watch.elapsed_ms() < kMetadataWait.count();) {
    std::this_thread::sleep_for(kMetadataPoll);
  }
  ASSIGN_OR_RETURN(const KeyValue cluster, meta->Get(std::string(kClusterIdKey)));
  ThreadPool pool("ctl", 2);
  Timer timer(&pool);
  RemotePeersOptions options;
  options.caller = {cluster.value, NodeId(), nullptr};
  options.tls = config.internal_tls;
  RemotePeers peers(std::move(options));
  Mutex mutex;
  CondVar changed;
  std::vector<SessionInfo> sessions;
  Status status;
  {
    TopologyView topology(meta.get(), &pool, &timer, [&](const Topology& now) {
      peers.Update(now);
      MutexLock lock(mutex);
      sessions = now.sessions;
      changed.NotifyAll();
    });
    status = topology.Start();
    if (status.ok()) {
      std::vector<SessionInfo> known;
      {
        MutexLock lock(mutex);
        (void)changed.WaitFor(lock, kTopologyWait, [&] { return !sessions.empty(); });
        known = sessions;
      }
      status = DrainAndWait(arguments, known, peers, [](const std::string& line) {
        std::printf("%s\n", line.c_str());
        std::fflush(stdout);
      });
    }
  }
  timer.Stop();
  pool.Stop();
  return status;
}

}  // namespace

int DrainCommand(const Config& config, const std::vector<std::string>& args) {
  const auto arguments = ParseDrainArguments(args);
  const Status status = arguments.ok() ? Run(config, *arguments) : arguments.status();
  if (status.ok()) return 0;
  std::fprintf(stderr, "saker: %s\n", status.message().c_str());
  return arguments.ok() ? 1 : 2;
}

}  // namespace saker
