#include "sim/cluster.h"

#include <sys/stat.h>

#include "rest/v2.h"

namespace saker::sim {
namespace {

std::map<Host*, Proxy*>& Proxies() {
  static std::map<Host*, Proxy*> proxies;
  return proxies;
}

}  // namespace

Process& Cluster::Add(const std::string& name, RoleNames roles) {
  auto process = std::make_unique<Process>();
  process->machine = kFirstMachine + static_cast<int>(processes_.size());
  process->name = name;
  process->roles = std::move(roles);
  processes_.push_back(std::move(process));
  return *processes_.back();
}

std::vector<Process*> Cluster::With(const char* role) const {
  std::vector<Process*> out;
  for (const auto& process : processes_) {
    if (process->Is(role)) out.push_back(process.get());
  }
  return out;
}

void Cluster::Start(Process& process) {
  if (process.host != nullptr && !process.host->dead) return;
  Trace("starts " + process.name);
  Config config;
  config.data_dir = directory_ + "/" + process.name;
  mkdir(config.data_dir.c_str(), 0700);
  config.etcd.endpoints = {"etcd:2379"};
  config.kafka.brokers = "kafka:9092";
  config.s3.endpoint = "http://s3:9000";
  config.s3.bucket = config.s3.access_key = config.s3.secret_key = "saker";
  config.channels = config.kafka.channels = 3;
  config.search_threads = 2;
  config.io_threads = 4;
  config.session_ttl_s = 5;
  config.etcd_snapshot_interval_s = 0;
  config.segment_max_idle_s = 4;
  config.log_keep_mb = 0;
  for (const char* role : {"proxy", "rootcoord", "datacoord", "querycoord", "indexcoord", "datanode", "querynode", "indexnode"}) {
    config.internal_listen[role] = "10.0.0." + std::to_string(process.machine) + ":20000";
  }
  auto* host = new Host;
  host->name = process.name;
  host->machine = process.machine;
  host->wall_offset_us = process.host == nullptr ? Between(-2 * kSecond, 2 * kSecond) : process.host->wall_offset_us;
  process.host = host;
  process.ready = false;
  process.proxy = nullptr;
  process.running.reset();
  process.calls = std::make_shared<int>(0);
  Spawn(host, [&process, host, config] {
    MethodTable methods;
    HttpRoutes rest;
    auto started = ClusterProcess::Start(config, process.roles, [](std::chrono::milliseconds delay, const std::string&) {
      SleepUs(delay.count() * kMs);
      return false;
    }, &methods, &rest);
    if (!started.ok()) {
      Trace("can't start: " + started.status().ToString());
      return;
    }
    if (process.host != host) return;
    process.running = std::shared_ptr<ClusterProcess>(std::move(*started));
    process.proxy = Proxies()[host];
    process.ready = true;
    (void)WaitFor(host, INT64_MAX);  // the methods live as long as the process
  });
}

void Cluster::KillNow(Process& process) {
  if (process.host->dead) return;
  Trace("kills " + process.name);
  Kill(process.host);
  // What it had in memory is left alone, as after kill -9.
  new std::shared_ptr<ClusterProcess>(std::move(process.running));
  process.ready = false;
  process.proxy = nullptr;
}

void Cluster::StopGracefully(Process& process) {
  if (process.running == nullptr) return KillNow(process);
  Trace("stops " + process.name);
  process.ready = false;
  process.proxy = nullptr;
  const auto running = process.running;
  const std::shared_ptr<int> calls = process.calls;
  for (const int64_t deadline = NowUs() + 15 * kSecond; *calls > 0 && NowUs() < deadline;) SleepUs(50 * kMs);
  if (*calls > 0) return KillNow(process);
  (void)RunOn<bool>(process.host, 15 * kSecond, [running](const std::function<void(bool)>& done) {
    running->Stop();
    done(true);
  });
  KillNow(process);
}

}  // namespace saker::sim

namespace saker {

// Here for the proxy alone, which nobody else hands out.
void AddRestRoutes(HttpRoutes*, Proxy* proxy) { sim::Proxies()[sim::CurrentHost()] = proxy; }

// ---- one line of log per event, in the trace

void StartLogging(const LogSettings&) {}
void StopLogging() {}
void SetLogLevel(LogLevel) {}
bool LogEnabled(LogLevel level) { return sim::tracing && level >= LogLevel::kInfo; }
void LogLine(LogLevel level, std::string_view text) {
  static const char* const kNames[] = {"debug", "info ", "WARN ", "ERROR"};
  sim::Trace(std::string(kNames[static_cast<int>(level)]) + " " + std::string(text));
}

}  // namespace saker
