#include "server/runtime.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <thread>

namespace saker {
namespace {

// bcrypt of "Milvus", the password that clients know the user root by until it is changed.
constexpr const char* kDefaultRootHash = "$2b$10$N9NgiHEYpGj8Ks3YH//yfuDG2PzHl6jpekpZNp5BKslh41pA10wuW";

int Cores() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

// The machine's, or what its control group leaves of it.
int64_t MachineMemory() {
  int64_t limit = int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  int64_t of_group = 0;
  if (std::ifstream file("/sys/fs/cgroup/memory.max"); file >> of_group) limit = std::min(limit, of_group);
  return limit;
}

// What segments may take on a querynode; 0: no limit.
int64_t MemoryLimit(const Config& config) {
  return config.query_memory_mb != 0 ? std::max<int64_t>(0, config.query_memory_mb) << 20 : MachineMemory();
}

int Threads(int64_t asked, int otherwise) { return asked > 0 ? static_cast<int>(asked) : otherwise; }

}  // namespace

Pools::Pools(const Config& config)
    : search(std::make_unique<ThreadPool>("search", Threads(config.search_threads, std::max(2, Cores())))),
      control(std::make_unique<ThreadPool>("control", std::max(4, Cores()))),
      apply(std::make_unique<ThreadPool>("apply", 2)),
      io(std::make_unique<ThreadPool>("io", Threads(config.io_threads, std::max(4, 2 * Cores())))),
      build(std::make_unique<ThreadPool>("build", 1, /*nice=*/10)),
      timer(std::make_unique<Timer>(control.get())) {}

void Pools::Stop() {
  timer->Stop();
  for (auto* pool : {&search, &build, &io, &control, &apply}) (*pool)->Stop();
}

Status Runtime::OpenCatalog(const std::function<void(const Status&)>& on_lost, std::optional<Recovered> recovered) {
  const auto listed = [&](Copies Recovered::*copies) {
    return recovered ? std::optional<Copies>(std::move((*recovered).*copies)) : std::nullopt;
  };
  ids = std::make_unique<IdAllocator>(meta.get());
  catalog_sequence = std::make_shared<CopiedSequence>(meta.get(), objects.get(), kCatalogKeys, on_lost, listed(&Recovered::catalog));
  segment_sequence = std::make_shared<CopiedSequence>(meta.get(), objects.get(), kSegmentKeys, on_lost, listed(&Recovered::segments));
  catalog = std::make_unique<Catalog>(meta.get(), pools.apply.get(), pools.timer.get());
  return catalog->Start(/*with_segments=*/true);
}

CoordinatorDeps Runtime::CoordinatorDepsFor(const Election* election) {
  CoordinatorDeps deps;
  deps.catalog = catalog.get();
  deps.fence = [election]() -> Result<Compare> {
    if (!election->MayLead()) {
      return Status(ErrorCode::kServiceUnavailable, "the meta store doesn't confirm that this process leads; retry");
    }
    return election->Fence();
  };
  deps.writer = std::make_shared<CatalogWriter>(catalog_sequence, deps.fence);
  deps.segments = segment_sequence;
  deps.meta = meta.get();
  deps.objects = objects.get();
  deps.peers = peers;
  deps.control = pools.control.get();
  deps.io = pools.io.get();
  deps.timer = pools.timer.get();
  deps.next_ids = [this](int64_t count) { return ids->Next(count); };
  return deps;
}

std::unique_ptr<RootCoordRole> Runtime::MakeRootCoord(const Election* election) {
  RootCoordSettings settings;
  settings.max_databases = static_cast<int>(config.max_databases);
  settings.max_collections = static_cast<int>(config.max_collections);
  settings.max_partitions = static_cast<int>(config.max_partitions);
  settings.channels = static_cast<int>(config.channels);
  settings.root_password_hash = kDefaultRootHash;
  return std::make_unique<RootCoordRole>(CoordinatorDepsFor(election), settings);
}

std::unique_ptr<DataCoordRole> Runtime::MakeDataCoord(const Election* election) {
  DataCoordSettings settings;
  settings.channels = static_cast<int>(config.channels);
  settings.compaction.segment_bytes = config.segment_max_mb << 20;
  settings.balance_channels = config.auto_balance_channels;
  return std::make_unique<DataCoordRole>(CoordinatorDepsFor(election), settings);
}

std::unique_ptr<QueryCoordRole> Runtime::MakeQueryCoord(const Election* election) {
  QueryCoordSettings settings;
  settings.balance.enabled = config.auto_balance;
  settings.balance.tolerance = config.balance_tolerance;
  settings.balance.overloaded = config.overloaded_memory_percent / 100.0;
  settings.balance_interval = std::chrono::seconds(config.balance_interval_s);
  return std::make_unique<QueryCoordRole>(CoordinatorDepsFor(election), settings);
}

std::unique_ptr<IndexCoordRole> Runtime::MakeIndexCoord(const Election* election) {
  return std::make_unique<IndexCoordRole>(CoordinatorDepsFor(election));
}

std::unique_ptr<DataNodeRole> Runtime::MakeDataNode() {
  DataNodeSettings settings;
  settings.unflushed_bytes = config.memory_limit_mb > 0 ? config.memory_limit_mb << 20 : MachineMemory() / 2;
  settings.segment_bytes = config.segment_max_mb << 20;
  settings.flush_age = std::chrono::seconds(config.segment_max_idle_s);
  settings.log_keep_bytes = config.log_keep_mb << 20;
  settings.proof_age = std::chrono::milliseconds(config.graceful_time_ms);
  DataNodeDeps deps;
  deps.node = node;
  deps.catalog = catalog.get();
  deps.meta = meta.get();
  deps.log = log.get();
  deps.objects = objects.get();
  deps.peers = peers;
  deps.apply = pools.apply.get();
  deps.io = pools.io.get();
  deps.timer = pools.timer.get();
  deps.next_id = [this] { return ids->Next(1); };
  return std::make_unique<DataNodeRole>(std::move(deps), settings);
}

std::unique_ptr<QueryNodeRole> Runtime::MakeQueryNode() {
  QueryNodeDeps deps;
  deps.node = node;
  deps.memory_limit_bytes = MemoryLimit(config);
  deps.catalog = catalog.get();
  deps.objects = objects.get();
  deps.peers = peers;
  deps.search = pools.search.get();
  deps.io = pools.io.get();
  deps.timer = pools.timer.get();
  return std::make_unique<QueryNodeRole>(deps);
}

std::unique_ptr<IndexNodeRole> Runtime::MakeIndexNode() {
  IndexNodeSettings settings;
  settings.build_threads = Threads(config.build_threads, Cores());
  return std::make_unique<IndexNodeRole>(IndexNodeDeps{node, catalog.get(), objects.get(), peers, pools.build.get()}, settings);
}

std::unique_ptr<Proxy> Runtime::MakeProxy() {
  ProxySettings settings;
  settings.limits = config.limits;
  settings.authorization = config.authorization;
  settings.super_users = config.super_users;
  settings.load_on_first_use = config.load_on_first_use;
  settings.slow_query_ms = config.slow_query_ms;
  settings.node = node;
  return std::make_unique<Proxy>(catalog.get(), peers, pools.search.get(), pools.control.get(), settings);
}

}  // namespace saker
