// The cluster under test: real processes (server/cluster_process.h), each on a machine of its own.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/proxy.h"
#include "server/cluster_process.h"
#include "sim/world.h"

namespace saker::sim {

struct Process {
  int machine = 0;
  RoleNames roles;
  std::string name;
  Host* host = nullptr;        // of its present incarnation; null: not started
  Proxy* proxy = nullptr;      // once it is ready, if it has one
  std::shared_ptr<ClusterProcess> running;
  bool ready = false;
  std::shared_ptr<int> calls;  // of clients, not answered yet, in its present incarnation
  bool Is(const char* role) const { return roles.contains(role); }
};

class Cluster {
 public:
  explicit Cluster(std::string directory) : directory_(std::move(directory)) {}
  Process& Add(const std::string& name, RoleNames roles);
  std::vector<std::unique_ptr<Process>>& processes() { return processes_; }
  std::vector<Process*> With(const char* role) const;

  void Start(Process& process);
  void KillNow(Process& process);
  void StopGracefully(Process& process);  // and waits for it, but not for ever

 private:
  const std::string directory_;
  std::vector<std::unique_ptr<Process>> processes_;
};

// Runs `call` on a process's host; nothing if it hasn't answered within the time, or the process died.
template <typename T>
std::optional<T> RunOn(Host* host, int64_t timeout_us, std::function<void(std::function<void(T)>)> call) {
  auto answer = std::make_shared<std::optional<T>>();
  Spawn(host, [answer, call = std::move(call)] {
    call([answer](T value) {
      answer->emplace(std::move(value));
      WakeAll(answer.get());
    });
  });
  const int64_t deadline = NowUs() + timeout_us;
  while (!answer->has_value() && NowUs() < deadline && !host->dead) (void)WaitFor(answer.get(), std::min(deadline, NowUs() + 100 * kMs));
  return *answer;
}

// The same as a client's call: one that stops answers it first, as a server does.
template <typename T>
std::optional<T> CallOf(Process& process, int64_t timeout_us, std::function<void(std::function<void(T)>)> call) {
  const std::shared_ptr<int> calls = process.calls;
  ++*calls;
  return RunOn<T>(process.host, timeout_us, [calls, call = std::move(call)](const std::function<void(T)>& done) {
    call([calls, done](T value) {
      --*calls;
      done(std::move(value));
    });
  });
}

}  // namespace saker::sim
