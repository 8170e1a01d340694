#include "sim/simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "sim/cluster.h"
#include "sim/workload.h"

namespace saker::sim {
namespace {

constexpr int64_t kStartUs = 60 * kSecond;     // for the cluster's first start
constexpr int64_t kRecoverUs = 60 * kSecond;   // from the last fault until everything works

// Draws what goes wrong. Everything it does comes to an end by itself.
class Faults {
 public:
  explicit Faults(Cluster* cluster) : cluster_(cluster) {}

  void Run(int64_t until_us) {
    const int64_t wipe_us = Chance(0.15) ? Between(NowUs(), until_us) : INT64_MAX;
    while (NowUs() < until_us) {
      SleepUs(Between(50, 1'500) * kMs);
      if (NowUs() >= wipe_us && !std::exchange(wiped_, true)) Wipe();
      One();
    }
    Heal();
  }

 private:
  static int64_t AWhile() { return Chance(0.7) ? Between(50, 3'000) * kMs : Between(3, 10) * kSecond; }

  Process* AnyProcess() {
    auto& processes = cluster_->processes();
    return processes[Draw() % processes.size()].get();
  }
  Process* AnyWith(const char* role) {
    const auto processes = cluster_->With(role);
    return processes[Draw() % processes.size()];
  }
  Host* here() const { return CurrentHost(); }
  void Later(int64_t us, std::function<void()> body) { SpawnAt(NowUs() + us, here(), std::move(body)); }

  void One() {
    switch (Draw() % 17) {
      case 0: case 1: case 2: return Crash();
      case 3: return GracefulStop();
      case 4: case 5: return PauseOne();
      case 6: case 7: return CutFromServer();
      case 8: return CutPair();
      case 9: return CutOff();
      case 10: return ServerTrouble();
      case 11: return ServerTrouble();
      case 12: return Slow();
      case 13: return SmallTroubles();
      case 14: return CutOffAnOwner();
      case 15: return CutOffFromMetadata();
      case 16: return PauseACoordinator();
    }
  }

  void Crash() {
    Process* process = AnyProcess();
    if (process->host->dead) return;
    cluster_->KillNow(*process);
    Later(Chance(0.5) ? Between(10, 500) * kMs : AWhile(), [this, process] { cluster_->Start(*process); });
  }
  void GracefulStop() {
    Process* process = AnyProcess();
    if (process->host->dead || process->host->paused || process->running == nullptr) return;
    Spawn(here(), [this, process] {
      cluster_->StopGracefully(*process);
      SleepUs(Between(10, 1'000) * kMs);
      cluster_->Start(*process);
    });
  }
  void PauseOne() {
    Host* host = AnyProcess()->host;
    if (host->dead || host->paused) return;
    Trace("pauses " + host->name);
    Pause(host);
    Later(AWhile(), [host] {
      Trace("resumes " + host->name);
      Resume(host);
    });
  }
  // For longer than a lease: another one leads meanwhile, and this one goes on where it was.
  void PauseACoordinator() {
    Host* host = AnyWith("rootcoord")->host;
    if (host->dead || host->paused) return;
    Trace("pauses " + host->name + " for long");
    Pause(host);
    Later(Between(2'500, 7'000) * kMs, [host] {
      Trace("resumes " + host->name);
      Resume(host);
    });
  }
  void SetCut(int from, int to, bool cut) { TheWorld().cut[from][to] = cut; }
  void CutFromServer() {
    Process* process = AnyProcess();
    const int server = static_cast<int>(Draw() % kFirstMachine);
    const bool both = Chance(0.7);
    const bool requests = both || Chance(0.5);
    const int machine = process->machine;
    Trace(fmt::format("cuts {} from server {} ({})", process->name, server, both ? "both ways" : requests ? "requests" : "answers"));
    if (requests) SetCut(machine, server, true);
    if (both || !requests) SetCut(server, machine, true);
    Later(AWhile(), [=, this] {
      Trace(fmt::format("mends {} and server {}", process->name, server));
      SetCut(machine, server, false), SetCut(server, machine, false);
    });
  }
  void CutPair() {
    Process* one = AnyProcess();
    Process* other = AnyProcess();
    if (one == other) return;
    const bool both = Chance(0.6);
    Trace(fmt::format("cuts {} from {}{}", one->name, other->name, both ? "" : " (one way)"));
    SetCut(one->machine, other->machine, true);
    if (both) SetCut(other->machine, one->machine, true);
    Later(AWhile(), [=, this] { SetCut(one->machine, other->machine, false), SetCut(other->machine, one->machine, false); });
  }
  // From everything but, perhaps, some of the stores.
  void CutOff() {
    Process* process = AnyProcess();
    Trace("cuts off " + process->name);
    const int first = Chance(0.5) ? kFirstMachine : 0;
    for (int m = first; m < kMachines; ++m) SetCut(process->machine, m, true), SetCut(m, process->machine, true);
    Later(AWhile(), [=, this] {
      Trace("mends " + process->name);
      for (int m = 0; m < kMachines; ++m) SetCut(process->machine, m, false), SetCut(m, process->machine, false);
    });
  }
  // From all processes but one proxy, which hears as little of its channels' next owner: the log alone can tell, or it can't
  // be asked either.
  void CutOffAnOwner() {
    const Process* owner = AnyWith("datanode");
    const Process* proxy = AnyWith("proxy");
    Trace("cuts off " + owner->name + " with " + proxy->name);
    const bool from_log = Chance(0.7);
    const auto cut = [=, this](bool is_cut) {
      const auto both_ways = [&](int from, int to) { SetCut(from, to, is_cut), SetCut(to, from, is_cut); };
      for (const auto& process : cluster_->processes()) {
        if (process->machine != proxy->machine) both_ways(owner->machine, process->machine);
        if (process->Is("rootcoord")) both_ways(proxy->machine, process->machine);
      }
      for (const Process* process : {owner, proxy}) both_ways(process->machine, kEtcd);
      if (from_log) both_ways(owner->machine, kKafka);
    };
    cut(true);
    Later(Between(1, 8) * kSecond, [=, name = owner->name] {
      Trace("mends " + name);
      cut(false);
    });
  }
  // A proxy and an owner that still talk, and learn of no change but by being told.
  void CutOffFromMetadata() {
    const Process* owner = AnyWith("datanode");
    const Process* proxy = AnyWith("proxy");
    Trace("cuts off " + owner->name + " and " + proxy->name + " from the metadata");
    const auto cut = [=, this](bool is_cut) {
      for (const int machine : {owner->machine, proxy->machine}) SetCut(machine, kEtcd, is_cut), SetCut(kEtcd, machine, is_cut);
    };
    cut(true);
    Later(Between(1, 6) * kSecond, [=, name = owner->name] {
      Trace("mends " + name);
      cut(false);
    });
  }
  void ServerTrouble() {
    const int server = static_cast<int>(Draw() % kFirstMachine);
    World& world = TheWorld();
    Host* host = &world.servers[server];
    if (host->paused || world.down[server]) return;
    if (Chance(0.5)) {
      Trace(fmt::format("pauses server {}", server));
      Pause(host);
      return Later(AWhile(), [=] {
        Trace(fmt::format("resumes server {}", server));
        Resume(host);
      });
    }
    Trace(fmt::format("stops server {}", server));
    world.down[server] = true;
    Later(AWhile(), [=] {
      Trace(fmt::format("starts server {}", server));
      TheWorld().down[server] = false;
      if (server == kEtcd) RestartEtcdLeases();
    });
  }
  void Slow() {
    World& world = TheWorld();
    world.latency_us = Between(1, 20) * kMs;
    world.slow = 0.05;
    Later(AWhile(), [] { TheWorld().latency_us = 200, TheWorld().slow = 0.01; });
  }
  void SmallTroubles() {
    switch (Draw() % 3) {
      case 0: return CompactEtcd(Between(0, 20));
      case 1:
        TheWorld().s3_faults = 0.3;
        return Later(AWhile(), [] { TheWorld().s3_faults = 0; });
      case 2: {
        Host* host = AnyProcess()->host;
        host->wall_offset_us += Between(-600, 600) * kSecond;
        Trace(fmt::format("the clock of {} jumps to {} s off", host->name, host->wall_offset_us / kSecond));
      }
    }
  }
  // etcd's data is lost. Whoever notices is of no use any more; everything is started anew, and the first to come has to
  // find the catalog in the object store.
  void Wipe() {
    Trace("wipes etcd");
    const bool at_once = Chance(0.5);
    if (at_once) WipeEtcd();
    for (auto& process : cluster_->processes()) {
      SleepUs(Between(0, 300) * kMs);
      cluster_->KillNow(*process);
    }
    for (auto& process : cluster_->processes()) cluster_->KillNow(*process);  // also those that came back meanwhile
    if (!at_once) WipeEtcd();
    for (auto& process : cluster_->processes()) cluster_->Start(*process);
  }

  void Heal() {
    Trace("all faults stop");
    World& world = TheWorld();
    for (auto& row : world.cut) std::fill(std::begin(row), std::end(row), false);
    world.latency_us = 200;
    world.slow = 0.01;
    world.s3_faults = 0;
    for (int server = 0; server < kFirstMachine; ++server) {
      world.down[server] = false;
      if (world.servers[server].paused) Resume(&world.servers[server]);
    }
    RestartEtcdLeases();
    for (auto& process : cluster_->processes()) {
      if (process->host->paused) Resume(process->host);
    }
  }

  Cluster* const cluster_;
  bool wiped_ = false;
};

void Live(uint64_t seed, const std::string& directory, Outcome* outcome) {
  for (int server = 0; server < kFirstMachine; ++server) {
    TheWorld().servers[server].name = server == kEtcd ? "etcd" : server == kKafka ? "kafka" : "s3";
    TheWorld().servers[server].machine = server;
  }
  Cluster cluster(directory);
  const RoleNames coordinators = RolesOf("mixcoord");
  cluster.Add("coord1", coordinators);
  cluster.Add("coord2", coordinators);
  cluster.Add("data1", {"datanode"});
  cluster.Add("data2", {"datanode"});
  cluster.Add("query1", {"querynode"});
  cluster.Add("query2", {"querynode", "indexnode"});
  cluster.Add("proxy1", {"proxy"});
  cluster.Add("proxy2", {"proxy"});
  for (auto& process : cluster.processes()) cluster.Start(*process);
  Workload workload(&cluster);
  const auto ends = [&] {
    outcome->violation = workload.violation();
    outcome->operations = workload.history().operations();
    outcome->acknowledged = workload.history().acknowledged();
    outcome->reads = workload.history().reads();
    outcome->simulated_us = NowUs();
    outcome->switches = Switches();
    Finish();
    SleepUs(kSecond);
  };
  if (!workload.Prepare(kStartUs)) {
    if (workload.violation().empty()) outcome->violation = "the cluster does not come up within a minute";
    return ends();
  }
  (void)seed;
  const int64_t until_us = NowUs() + Between(6, 14) * kSecond;
  workload.Run(until_us);
  Faults faults(&cluster);
  faults.Run(until_us);
  // What was killed is on its way back; clients end what they are at.
  while (workload.running() || std::any_of(cluster.processes().begin(), cluster.processes().end(), [](const auto& p) { return p->host->dead; })) {
    if (!workload.violation().empty()) return ends();
    SleepUs(100 * kMs);
  }
  const int64_t deadline_us = NowUs() + kRecoverUs;
  workload.CheckRows(deadline_us);
  workload.CheckFlushed(deadline_us);
  workload.CheckRows(deadline_us + 10 * kSecond);
  workload.CheckNumbered(deadline_us + 10 * kSecond);
  workload.CheckCatalog(deadline_us + 10 * kSecond);
  ends();
}

}  // namespace

Outcome Simulate(uint64_t seed, const std::string& directory) {
  Seed(seed);
  Outcome outcome;
  Host clients{"clients", kMachines - 1};
  RunAll(&clients, [&] { Live(seed, directory, &outcome); });
  return outcome;
}

}  // namespace saker::sim
