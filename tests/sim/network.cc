// The network between processes: PeerChannel and Door over simulated messages. A call's request and its answer take
// their time, each on its own; a cut between the two loses them, and is noticed as gRPC's keepalive notices it; a process
// that died refuses, or its connections break.
#include <fmt/format.h>

#include <unordered_set>

#include "base/clock.h"
#include "base/log.h"
#include "sim/world.h"
#include "transport/channel.h"
#include "transport/door.h"

namespace saker {
namespace {

using sim::kMs;

constexpr std::string_view kFateUnknown = "; whether it was carried out is not known";
constexpr int64_t kKeepaliveUs = 800 * kMs;

struct Listening {
  sim::Host* host = nullptr;
  Door::Settings settings;
  bool closed = false;
};
std::map<std::string, std::shared_ptr<Listening>>& Doors() {
  static std::map<std::string, std::shared_ptr<Listening>> doors;
  return doors;
}

// From MonotonicUs(), which the processes see, to the simulation's time.
int64_t SimulatedUs(int64_t monotonic_us) { return monotonic_us == INT64_MAX ? INT64_MAX : sim::NowUs() + monotonic_us - MonotonicUs(); }

}  // namespace

// ---- the side that is called

struct Door::State {
  std::string address;
  std::shared_ptr<Listening> listening;
};

Door::Door(std::unique_ptr<State> state) : state_(std::move(state)) {}
Door::~Door() = default;
int Door::port() const { return std::stoi(state_->address.substr(state_->address.rfind(':') + 1)); }

Result<std::unique_ptr<Door>> Door::Open(Settings settings) {
  auto state = std::make_unique<State>();
  state->address = settings.listen;
  state->listening = std::make_shared<Listening>(Listening{sim::CurrentHost(), std::move(settings)});
  Doors()[state->address] = state->listening;
  return std::unique_ptr<Door>(new Door(std::move(state)));
}

void Door::Close(std::chrono::milliseconds grace) {
  if (Doors()[state_->address] == state_->listening) Doors().erase(state_->address);
  sim::SleepUs(std::min<int64_t>(grace.count() * kMs, 10 * kMs));
  state_->listening->closed = true;
}

// ---- the side that calls

bool MayHaveBeenCarriedOut(const Status& status) { return status.message().ends_with(kFateUnknown); }

struct PeerChannel::State {
  NodeId node;
  std::string address;
  bool closed = false;
  int64_t under_way = 0;
};

namespace {

// One call; it ends once, whatever comes first.
struct Exchange {
  std::function<void(Result<Frame>)> done;
  bool ended = false;
  std::weak_ptr<IncomingCall> incoming;

  void End(Result<Frame> answer) {
    if (std::exchange(ended, true)) return;
    const auto callback = std::move(done);
    callback(std::move(answer));
  }
};

size_t NumberOf(const Door::Settings& settings, const char* method) {
  const auto it = std::find(settings.methods.begin(), settings.methods.end(), method);
  return static_cast<size_t>(it - settings.methods.begin());
}

std::string PeerName(NodeId node, const std::string& address) { return fmt::format("node {} at {}", node.value, address); }

void Arrive(const std::shared_ptr<Exchange>& exchange, const std::shared_ptr<Listening>& door, const MethodSpec& method, std::string bytes,
            int64_t deadline_us, sim::Host* caller) {
  if (door->closed) return;
  const size_t number = NumberOf(door->settings, method.name);
  const int server = door->host->machine;
  IncomingCallPtr call = door->settings.begin(Frame::Of(std::move(bytes)), deadline_us, [exchange, caller, server](const Frame& answer) {
    if (!sim::Reaches(server, caller->machine)) return;
    sim::SpawnAt(sim::NowUs() + sim::Latency(), caller, [exchange, flat = answer.Flat()] { exchange->End(Frame::Of(flat)); });
  });
  exchange->incoming = call;
  door->settings.dispatch(number, std::move(call));
}

// What gRPC notices while it waits: the connection's end, a peer that answers no pings, the deadline.
void WatchOver(const std::shared_ptr<Exchange>& exchange, const std::shared_ptr<Listening>& door, const std::string& peer, int64_t deadline_us,
               int strikes) {
  if (exchange->ended) return;
  const int me = sim::CurrentHost()->machine;
  const int other = door->host->machine;
  if (sim::NowUs() >= deadline_us) {
    if (const auto incoming = exchange->incoming.lock(); incoming && sim::Reaches(me, other)) incoming->Cancel();
    return exchange->End(Status(ErrorCode::kDeadlineExceeded, fmt::format("{} gave no answer in time{}", peer, kFateUnknown)));
  }
  const bool reachable = sim::Reaches(me, other) && sim::Reaches(other, me);
  if (reachable && (door->host->dead || door->closed)) {
    return exchange->End(Status(ErrorCode::kServiceUnavailable, fmt::format("{} does not answer: connection reset{}", peer, kFateUnknown)));
  }
  strikes = reachable && !door->host->paused ? 0 : strikes + 1;
  if (strikes > 2) {
    return exchange->End(Status(ErrorCode::kServiceUnavailable, fmt::format("{} does not answer: keepalive failed{}", peer, kFateUnknown)));
  }
  const int64_t next = std::min(deadline_us, sim::NowUs() + (door->host->dead ? kMs : kKeepaliveUs));
  sim::SpawnAt(next, sim::CurrentHost(), [=] { WatchOver(exchange, door, peer, deadline_us, strikes); });
}

void Begin(const std::shared_ptr<Exchange>& exchange, NodeId node, const std::string& address, const MethodSpec& method, const Frame& request,
           int64_t monotonic_deadline_us) {
  sim::Host* const caller = sim::CurrentHost();
  const std::string peer = PeerName(node, address);
  const auto found = Doors().find(address);
  const auto door = found == Doors().end() ? nullptr : found->second;
  const int64_t deadline_us = SimulatedUs(monotonic_deadline_us);
  if (door == nullptr || (door->host->dead && sim::Reaches(caller->machine, door->host->machine))) {
    sim::SpawnAt(sim::NowUs() + sim::Latency(), caller, [=] {
      exchange->End(Status(ErrorCode::kServiceUnavailable, fmt::format("{} does not answer: failed to connect", peer)));
    });
    return;
  }
  if (sim::Reaches(caller->machine, door->host->machine)) {
    sim::SpawnAt(sim::NowUs() + sim::Latency(), door->host,
                 [=, method = &method, bytes = request.Flat()] { Arrive(exchange, door, *method, bytes, monotonic_deadline_us, caller); });
  }
  sim::SpawnAt(std::min(deadline_us, sim::NowUs() + 50 * kMs), caller, [=] { WatchOver(exchange, door, peer, deadline_us, 0); });
}

}  // namespace

PeerChannel::PeerChannel(std::unique_ptr<State> state) : state_(std::move(state)) {}
PeerChannel::~PeerChannel() { Close(); }

Result<std::shared_ptr<PeerChannel>> PeerChannel::Open(NodeId node, const std::string& address, const InternalTls&, ThreadPool*) {
  auto state = std::make_unique<State>();
  state->node = node;
  state->address = address;
  return std::shared_ptr<PeerChannel>(new PeerChannel(std::move(state)));
}

void PeerChannel::Call(const MethodSpec& method, const Frame& request, int64_t deadline_us, Done done) {
  const Status closed(ErrorCode::kServiceUnavailable, PeerName(state_->node, state_->address) + " is not called any more");
  if (state_->closed) return done(closed);
  ++state_->under_way;
  auto exchange = std::make_shared<Exchange>();
  exchange->done = [state = state_.get(), done = std::move(done), closed](Result<Frame> answer) {
    done(state->closed && answer.ok() ? Result<Frame>(Status(closed.code(), closed.message() + std::string(kFateUnknown))) : std::move(answer));
    if (--state->under_way == 0) sim::WakeAll(state);
  };
  Begin(exchange, state_->node, state_->address, method, request, deadline_us);
}

Result<Frame> PeerChannel::CallAndWait(const MethodSpec& method, const Frame& request, int64_t deadline_us) {
  auto answer = std::make_shared<std::optional<Result<Frame>>>();
  Call(method, request, deadline_us, [answer](Result<Frame> frame) {
    answer->emplace(std::move(frame));
    sim::WakeAll(answer.get());
  });
  while (!answer->has_value()) (void)sim::WaitFor(answer.get(), INT64_MAX);
  return std::move(**answer);
}

void PeerChannel::Cancel() { state_->closed = true; }

void PeerChannel::Close() {
  Cancel();
  while (state_->under_way != 0) (void)sim::WaitFor(state_.get(), INT64_MAX);
}

bool PeerChannel::idle() const { return state_->under_way == 0; }
NodeId PeerChannel::node() const { return state_->node; }
const std::string& PeerChannel::address() const { return state_->address; }

}  // namespace saker
