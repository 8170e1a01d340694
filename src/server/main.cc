// saker: the command line, and the life of the process: settings, logging, the data directory's lock, roles, doors, and
// back again on SIGTERM.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>

#include "base/clock.h"
#include "base/log.h"
#include "base/mutex.h"
#include "rpc/server.h"
#include "server/admin_http.h"
#include "server/cluster_process.h"
#include "server/config.h"
#include "server/ctl.h"
#include "server/roles.h"

#ifdef SAKER_JEMALLOC
// Few arenas and quick return of what is free, so that an idle server is small; no thread of its own.
extern "C" {
const char* malloc_conf = "background_thread:false,narenas:4,dirty_decay_ms:1000,muzzy_decay_ms:0,abort_conf:true";
int mallctl(const char* name, void* old, size_t* old_size, void* value, size_t size) noexcept;
}
#endif

namespace saker {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

int Fail(int code, const std::string& message) {
  std::fprintf(stderr, "saker: %s\n", message.c_str());
  return code;
}

// One process for each data directory: an advisory lock that the kernel gives back however the process ends.
class DirectoryLock {
 public:
  DirectoryLock() = default;
  ~DirectoryLock() {
    if (fd_ >= 0) ::close(fd_);
  }
  DirectoryLock(const DirectoryLock&) = delete;

  Status Take(const std::string& directory) {
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    if (error) {
      return Status(ErrorCode::kIoFailed, fmt::format("cannot make the data directory {}: {}", directory, error.message()));
    }
    const std::string path = directory + "/LOCK";
    fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0) return Status(ErrorCode::kIoFailed, fmt::format("cannot open {}: {}", path, std::strerror(errno)));
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      char holder[32] = {};
      (void)!::pread(fd_, holder, sizeof(holder) - 1, 0);
      return Status(ErrorCode::kIoFailed,
                    fmt::format("the data directory {} is in use by process {}: stop it first, or choose another --data",
                                directory, *holder != 0 ? holder : "?"));
    }
    const std::string pid = std::to_string(::getpid());
    if (::ftruncate(fd_, 0) != 0 || ::pwrite(fd_, pid.data(), pid.size(), 0) < 0) {
      // Who holds it is a courtesy; a full disk must not keep us from starting to read.
    }
    return Status();
  }

 private:
  int fd_ = -1;
};

void RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
}

// What only starting up needed: heap pages that are free again, and code pages (they are the files' own, never written,
// and come back from the page cache when they run again).
void ReturnStartupMemory() {
#ifdef SAKER_JEMALLOC
  mallctl("arena.4096.purge", nullptr, nullptr, nullptr, 0);  // MALLCTL_ARENAS_ALL
#endif
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin = 0, end = 0;
    char mode[5] = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, mode) != 3) continue;
    if (std::string_view(mode) != "r-xp" || line.find(" /") == std::string::npos) continue;
    ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
}

// Waits for SIGTERM or SIGINT, which are blocked in all threads.
int WaitForSignal() {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGINT);
  int signal = 0;
  while (::sigwait(&signals, &signal) != 0) {
  }
  return signal;
}

void BlockSignals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

// SIGTERM or SIGINT, waited for at most so long; 0: none came.
int WaitForSignal(std::chrono::milliseconds limit) {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGINT);
  const timespec time{limit.count() / 1000, (limit.count() % 1000) * 1'000'000};
  const int signal = ::sigtimedwait(&signals, nullptr, &time);
  return signal > 0 ? signal : 0;
}

// What runs behind the doors.
struct Behind {
  std::function<Status()> health;
  std::function<std::vector<std::string>()> warnings;
  std::function<void(std::function<void()>)> refresh;
  std::function<void()> stop;
  std::string where;  // told when ready
};
// Why nothing is served yet. Thread-safe.
class Starting {
 public:
  void Tell(const std::string& why) {
    MutexLock lock(mutex_);
    why_ = why;
  }
  std::string why() const {
    MutexLock lock(mutex_);
    return why_;
  }

 private:
  mutable Mutex mutex_;
  std::string why_ GUARDED_BY(mutex_) = "starting";
};
using StartRoles = std::function<Result<Behind>(MethodTable* methods, HttpRoutes* rest, Starting* starting)>;

Result<std::unique_ptr<RpcServer>> OpenDoor(const Config& config, const MethodTable* methods, HttpServer* http, const HttpRoutes* rest) {
  static const HttpRoutes kNothing;
  RpcServerOptions options;
  options.listen = config.listen;
  options.max_receive_bytes = config.max_receive_bytes;
  options.tls_mode = config.tls_mode;
  options.tls = config.tls;
  options.http_listen = config.rest_listen;
  const bool with_rest = config.rest_enabled || !config.rest_listen.empty();
  return RpcServer::Start(options, methods, http, with_rest ? rest : &kNothing);
}

// `door`: whether clients come here.
int Run(const Config& config, bool door, const StartRoles& start) {
  const Stopwatch since_start;
  RaiseDescriptorLimit();
  DirectoryLock lock;
  if (Status status = lock.Take(config.data_dir); !status.ok()) return Fail(kExitFailed, status.message());

  // The admin port answers from the start: /healthz tells that a recovery is still going on.
  std::atomic<bool> ready{false};
  MethodTable methods;
  HttpRoutes admin, rest;
  Behind behind;
  Starting starting;
  AddProcessMetrics();
  AddAdminRoutes(&admin, {.ready = [&ready] { return ready.load(); },
                          .starting = [&starting] { return starting.why(); },
                          .health = [&behind] { return behind.health(); },
                          .warnings = [&behind] { return behind.warnings(); },
                          .refresh = [&behind](std::function<void()> done) { behind.refresh(std::move(done)); }});
  HttpServer http(HttpLimits{.body_bytes = config.max_receive_bytes});
  const auto admin_port = http.Listen(config.http, &admin);
  if (!admin_port.ok()) return Fail(kExitFailed, admin_port.status().message() + " (--http)");

  auto started = start(&methods, &rest, &starting);
  if (!started.ok()) {
    http.Stop();
    return started.status().code() == ErrorCode::kCancelled ? 0 : Fail(kExitFailed, started.status().message());
  }
  behind = std::move(*started);

  std::unique_ptr<RpcServer> server;
  if (door) {
    auto opened = OpenDoor(config, &methods, &http, &rest);
    if (!opened.ok()) {
      http.Stop();
      behind.stop();
      return Fail(kExitFailed, opened.status().message() + " (--listen)");
    }
    server = std::move(*opened);
  }
  ready = true;
  ReturnStartupMemory();
  const bool rest_shares = config.rest_enabled && config.rest_listen.empty() && config.tls_mode == TlsMode::kOff;
  const std::string clients = door ? fmt::format("gRPC{} on {}, ", rest_shares ? " and REST" : "", config.listen) : "";
  fmt::print("saker {} ready: {}{}health and metrics on http://{}, data in {} ({} ms)\n", SAKER_VERSION, clients, behind.where,
             config.http, config.data_dir, since_start.elapsed_ms());
  std::fflush(stdout);
  LogInfo("ready after {} ms", since_start.elapsed_ms());

  const int signal = WaitForSignal();
  LogInfo("stopping on {}", signal == SIGINT ? "SIGINT" : "SIGTERM");
  const Stopwatch stopping;
  if (server) server->SetServing(false);
  ready = false;
  http.Stop();
  if (server) server->Stop();
  behind.stop();
  LogInfo("stopped after {} ms", stopping.elapsed_ms());
  return 0;
}

int RunStandalone(const Config& config) {
  return Run(config, /*door=*/true, [&](MethodTable* methods, HttpRoutes* rest, Starting*) -> Result<Behind> {
    ASSIGN_OR_RETURN(std::shared_ptr<Standalone> roles, Standalone::Start(config, methods, rest));
    return Behind{[roles] { return roles->Health(); }, [] { return std::vector<std::string>(); }, [](const auto& done) { done(); },
                  [roles] { roles->Stop(); }, ""};
  });
}

int RunRoles(const Config& config, const RoleNames& names) {
  return Run(config, names.contains("proxy"), [&](MethodTable* methods, HttpRoutes* rest, Starting* starting) -> Result<Behind> {
    const auto interrupted = [starting](std::chrono::milliseconds delay, const std::string& why) {
      starting->Tell(why);
      return WaitForSignal(delay) != 0;
    };
    ASSIGN_OR_RETURN(std::shared_ptr<ClusterProcess> process, ClusterProcess::Start(config, names, interrupted, methods, rest));
    return Behind{[process] { return process->Health(); }, [process] { return process->Warnings(); },
                  [process](std::function<void()> done) { process->RefreshHealth(std::move(done)); }, [process] { process->Stop(); },
                  fmt::format("{} on {}, ", fmt::join(names, " "), process->address())};
  });
}

// For those who write configuration files: what a start would say of them, without starting.
int TellChecked(const std::string& subcommand, const std::string& file, const std::vector<std::string>& ignored) {
  if (!ignored.empty()) {
    return Fail(kExitUsage, fmt::format("{}: {} settings have no meaning here: {}; is a name misspelt?", file, ignored.size(),
                                        fmt::join(ignored, ", ")));
  }
  fmt::print("saker {}: {} and the environment are in order\n", subcommand, file.empty() ? "the command line" : file);
  return 0;
}

int Main(int argc, char** argv) {
  // The words after it are its own: a table of commands with options that may stand anywhere.
  if (argc > 1 && std::string_view(argv[1]) == "ctl") return RunCtl({argv + 2, argv + argc}, ProcessEnvironment());
  BlockSignals();
  CLI::App app("Saker: a vector database that speaks Milvus's protocol", "saker");
  app.set_version_flag("--version", std::string("saker ") + SAKER_VERSION);
  app.require_subcommand(1);
  std::string data, listen, http, file, internal;
  bool check = false;
  const auto add = [&](const std::string& name, const std::string& what) {
    auto* command = app.add_subcommand(name, what);
    command->add_option("--data", data, "the data directory (default ./data)");
    command->add_option("--http", http, "HOST:PORT of health and metrics (default 127.0.0.1:9091)");
    command->add_option("--config", file, "a YAML file with Milvus's keys; environment variables go before it");
    command->add_flag("--check", check, "check the settings and end: exit code 2 if one is wrong, missing or unknown");
    if (name == "standalone" || name == "proxy") {
      command->add_option("--listen", listen, "HOST:PORT of gRPC and REST (default 127.0.0.1:19530)");
    }
    if (name != "standalone") command->add_option("--internal", internal, "HOST:PORT for the other processes");
  };
  add("standalone", "all roles in one process, everything embedded");
  add("proxy", "clients' entry (in a cluster, as all that follow: over etcd, Kafka and S3)");
  add("mixcoord", "the four coordinators");
  for (const char* role : {"rootcoord", "datacoord", "querycoord", "indexcoord"}) add(role, "one coordinator");
  add("datanode", "owns channels of the log: writes, growing segments");
  add("querynode", "serves sealed segments");
  add("indexnode", "builds indexes, compacts");
  app.add_subcommand("ctl", "operates a cluster: saker ctl --help");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  const std::string subcommand = app.get_subcommands().front()->get_name();
  const RoleNames roles = RolesOf(subcommand);

  Config config;
  std::vector<std::string> ignored;
  if (Status status = ReadConfigFile(file, ProcessEnvironment(), &config, &ignored); !status.ok()) {
    return Fail(kExitUsage, status.message());
  }
  if (!data.empty()) config.data_dir = data;
  if (!listen.empty()) config.listen = listen;
  if (!http.empty()) config.http = http;
  if (!internal.empty()) {
    for (const std::string& role : roles) config.internal_listen[role] = internal;
  }
  std::vector<std::string> addresses{config.listen, config.http};
  for (const std::string& role : roles) addresses.push_back(config.internal_listen.at(role));
  for (const std::string& address : addresses) {
    if (const auto split = SplitAddress(address); !split.ok()) return Fail(kExitUsage, split.status().message());
  }
  if (!roles.empty()) {
    if (const Status complete = CheckClusterConfig(config); !complete.ok()) return Fail(kExitUsage, complete.message());
  }
  if (check) return TellChecked(subcommand, file, ignored);
  StartLogging(config.log);
  if (!ignored.empty()) {
    LogInfo("{}: {} settings have no meaning here and are ignored: {}", file, ignored.size(), fmt::join(ignored, ", "));
  }
  const int code = roles.empty() ? RunStandalone(config) : RunRoles(config, roles);
  StopLogging();
  return code;
}

}  // namespace
}  // namespace saker

int main(int argc, char** argv) { return saker::Main(argc, argv); }
