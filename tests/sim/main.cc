// saker_sim --seeds A..B [--off RULE | --every-rule] [--trace] [--jobs N] [--first]
//
// Simulates each seed in a process of its own, so that nothing is left of one when the next begins, and a crash is a
// result like any other. Ends with 0 if no seed violated anything, with 1 otherwise. --trace prints what happens, --first
// stops at the first violation. --off drops a rule (base/rules.h; --rules lists them); --every-rule drops one after the
// other, and fails for each that no seed misses.
#include <fmt/format.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>

#include "sim/fibers.h"
#include "sim/rules.h"
#include "sim/simulation.h"

namespace saker::sim {
namespace {

struct Options {
  uint64_t first = 1;
  uint64_t last = 1;
  int jobs = 2;
  bool trace = false;
  bool stop_at_first = false;
  bool every_rule = false;
  bool twice = false;
  int64_t limit_s = 120;  // of a seed's own time
};

struct Running {
  pid_t child = -1;
  uint64_t seed = 0;
  int output = -1;
  std::string directory;
};

struct Totals {
  std::map<uint64_t, std::string> outputs;  // --twice: of seeds that ran once
  uint64_t seeds = 0, failed = 0, operations = 0, acknowledged = 0, reads = 0;
};

// Of the same length for all: a path may lie on the heap.
std::string Directory(uint64_t seed, bool again) { return fmt::format("/dev/shm/saker_sim_{:010}_{:010}{}", getpid(), seed, again ? "b" : "a"); }

Running Begin(uint64_t seed, bool again, const Options& options) {
  Running running{-1, seed, -1, Directory(seed, again)};
  std::filesystem::create_directories(running.directory);
  int ends[2];
  if (pipe(ends) != 0) abort();
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    alarm(static_cast<unsigned>(options.limit_s));
    tracing = options.trace;
    // Everything lies elsewhere; the run must be the same.
    static char* volatile shift = nullptr;
    if (again) shift = new char[5'000'000];
    const Outcome outcome = Simulate(seed, running.directory);
    fflush(stdout);
    const std::string line = fmt::format("{} {} {} {} {}\n{}", outcome.operations, outcome.acknowledged, outcome.reads, outcome.simulated_us,
                                         outcome.switches, outcome.violation);
    (void)!write(ends[1], line.data(), line.size());
    _exit(outcome.violation.empty() ? 0 : 1);
  }
  close(ends[1]);
  running.child = child;
  running.output = ends[0];
  return running;
}

std::string ReadAll(int fd) {
  std::string out;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(fd, buffer, sizeof(buffer))) > 0;) out.append(buffer, static_cast<size_t>(n));
  close(fd);
  return out;
}

void End(const Running& running, int status, Totals& totals, const Options& options) {
  const std::string output = ReadAll(running.output);
  std::filesystem::remove_all(running.directory);
  if (options.twice) {
    const auto [first, fresh] = totals.outputs.emplace(running.seed, output);
    if (fresh) return;
    const bool same = output == first->second;
    totals.outputs.erase(first);
    if (!same) {
      ++totals.failed;
      fmt::print("seed {}: two runs of it differ\n", running.seed);
    }
  }
  ++totals.seeds;
  uint64_t operations = 0, acknowledged = 0, reads = 0;
  long long simulated_us = 0, switches = 0;
  if (sscanf(output.c_str(), "%lu %lu %lu %lld %lld", &operations, &acknowledged, &reads, &simulated_us, &switches) == 5) {
    totals.operations += operations;
    totals.acknowledged += acknowledged;
    totals.reads += reads;
  }
  if (options.first == options.last) {
    fmt::print("seed {}: {} operations, {} acknowledged, {} reads, {:.1f} s simulated, {} switches\n", running.seed, operations, acknowledged,
               reads, static_cast<double>(simulated_us) / 1e6, switches);
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  ++totals.failed;
  const size_t text = output.find('\n');
  const std::string why = WIFSIGNALED(status)            ? fmt::format("died of signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)))
                          : text == std::string::npos ? fmt::format("ended with {}", WEXITSTATUS(status))
                                                      : output.substr(text + 1);
  fmt::print("seed {}: {}\n", running.seed, why);
  fflush(stdout);
}

int Run(const Options& options) {
  Totals totals;
  std::map<pid_t, Running> running;
  timeval start{};
  gettimeofday(&start, nullptr);
  bool again = false;
  for (uint64_t next = options.first; next <= options.last || !running.empty();) {
    const bool enough = options.stop_at_first && totals.failed > 0;
    if (enough && running.empty()) break;
    if (!enough && next <= options.last && static_cast<int>(running.size()) < options.jobs) {
      Running begun = Begin(next, again, options);
      again = options.twice && !again;
      if (!again) ++next;
      running.emplace(begun.child, std::move(begun));
      continue;
    }
    int status = 0;
    const pid_t ended = wait(&status);
    const auto it = running.find(ended);
    if (it == running.end()) abort();
    End(it->second, status, totals, options);
    running.erase(it);
  }
  timeval end{};
  gettimeofday(&end, nullptr);
  fmt::print("{} seeds, {} failed; {} operations, {} acknowledged, {} reads; {:.1f} s\n", totals.seeds, totals.failed, totals.operations,
             totals.acknowledged, totals.reads, static_cast<double>(end.tv_sec - start.tv_sec) + static_cast<double>(end.tv_usec - start.tv_usec) / 1e6);
  return totals.failed == 0 ? 0 : 1;
}

// Each rule dropped alone has to be noticed.
int RunEveryRule(Options options) {
  options.stop_at_first = true;
  std::vector<std::string> unnoticed;
  for (const std::string& rule : RuleNames()) {
    fmt::print("without {}: ", rule);
    DropRule(rule);
    if (Run(options) == 0) unnoticed.push_back(rule);
  }
  fmt::print("{} passed, {} failed\n", RuleNames().size() - unnoticed.size(), unnoticed.size());
  if (unnoticed.empty()) return 0;
  fmt::print("nobody misses: {}\n", fmt::join(unnoticed, ", "));
  return 1;
}

int Usage() {
  fmt::print(stderr, "saker_sim --seeds A..B [--off RULE | --every-rule] [--twice] [--trace] [--jobs N] [--first] | --rules\n");
  return 2;
}

}  // namespace
}  // namespace saker::sim

int main(int argc, char** argv) {
  // The same addresses in every process: what is ordered by them is then the same for the same seed.
  if (getenv("SAKER_SIM_FIXED") == nullptr && personality(ADDR_NO_RANDOMIZE) != -1) {
    setenv("SAKER_SIM_FIXED", "1", 1);
    execv("/proc/self/exe", argv);
  }
  saker::sim::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    const bool more = i + 1 < argc;
    if (option == "--seeds" && more) {
      unsigned long first = 0, last = 0;
      const int read = sscanf(argv[++i], "%lu..%lu", &first, &last);
      if (read < 1) return saker::sim::Usage();
      options.first = first;
      options.last = read == 2 ? last : first;
    } else if (option == "--off" && more) {
      if (!saker::sim::DropRule(argv[++i])) {
        fmt::print(stderr, "there is no rule {}; there are {}\n", argv[i], fmt::join(saker::sim::RuleNames(), ", "));
        return 2;
      }
    } else if (option == "--every-rule") {
      options.every_rule = true;
    } else if (option == "--rules") {
      for (const std::string& name : saker::sim::RuleNames()) fmt::print("{}\n", name);
      return 0;
    } else if (option == "--trace") {
      options.trace = true;
    } else if (option == "--twice") {
      options.twice = true;
    } else if (option == "--first") {
      options.stop_at_first = true;
    } else if (option == "--jobs" && more) {
      options.jobs = atoi(argv[++i]);
    } else {
      return saker::sim::Usage();
    }
  }
  return options.every_rule ? saker::sim::RunEveryRule(options) : saker::sim::Run(options);
}
