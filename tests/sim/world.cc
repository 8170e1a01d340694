#include "sim/world.h"

namespace saker::sim {
namespace {

constexpr int64_t kRefusedUs = 300;

struct Exchange {
  bool answered = false;
};

}  // namespace

World& TheWorld() {
  static World world;
  return world;
}

void Violation(const std::string& what) {
  Trace("VIOLATION " + what);
  if (TheWorld().violation.empty()) TheWorld().violation = what;
}

bool Reaches(int from, int to) { return from == to || !TheWorld().cut[from][to]; }

int64_t Latency() {
  const World& world = TheWorld();
  const int64_t usual = Between(world.latency_us / 2, world.latency_us * 2);
  return Chance(world.slow) ? usual * Between(10, 200) : usual;
}

bool IsRefusing(int server) { return TheWorld().down[server] && Reaches(CurrentHost()->machine, server); }

bool Ask(int server, int64_t timeout_us, std::function<void()> op) {
  Host* const caller = CurrentHost();
  Host* const host = &TheWorld().servers[server];
  const int64_t deadline = NowUs() + timeout_us;
  if (IsRefusing(server)) {
    SleepUs(kRefusedUs);
    return false;
  }
  auto exchange = std::make_shared<Exchange>();
  if (Reaches(caller->machine, server)) {
    SpawnAt(NowUs() + Latency(), host, [=, op = std::move(op)] {
      if (TheWorld().down[server]) return;
      op();
      if (!Reaches(server, caller->machine)) return;
      SpawnAt(NowUs() + Latency(), caller, [exchange] {
        exchange->answered = true;
        WakeAll(exchange.get());
      });
    });
  }
  while (!exchange->answered && NowUs() < deadline) (void)WaitFor(exchange.get(), deadline);
  return exchange->answered;
}

}  // namespace saker::sim
