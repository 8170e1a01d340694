#include "transport/topology.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <optional>

#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mutex.h"
#include "meta/keys.h"

namespace saker {
namespace {

constexpr uint8_t kVersion = 1;

std::optional<NodeId> ParseNode(std::string_view text) {
  int64_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return NodeId(id);
}

}  // namespace

std::string Encode(const Topology& topology) {
  std::string bytes;
  ByteWriter out(bytes);
  out.Put(kVersion);
  out.Put<uint32_t>(static_cast<uint32_t>(topology.sessions.size()));
  for (const SessionInfo& session : topology.sessions) out.PutBytes(Encode(session));
  out.Put<uint32_t>(static_cast<uint32_t>(topology.leaders.size()));
  for (const auto& [role, node] : topology.leaders) {
    out.PutBytes(role);
    out.Put(node.value);
  }
  out.Put(Crc32c(bytes));
  return bytes;
}

Result<Topology> DecodeTopology(std::string_view bytes) {
  const Status damaged(ErrorCode::kCorrupted, fmt::format("a topology of {} bytes does not decode", bytes.size()));
  if (bytes.size() < sizeof(uint32_t)) return damaged;
  const std::string_view content = bytes.substr(0, bytes.size() - sizeof(uint32_t));
  if (ByteReader(bytes.substr(content.size())).Get<uint32_t>() != Crc32c(content)) return damaged;
  ByteReader in(content);
  if (in.Get<uint8_t>() != kVersion) return damaged;
  Topology topology;
  for (uint32_t left = in.Get<uint32_t>(); left > 0 && in.ok(); --left) {
    ASSIGN_OR_RETURN(SessionInfo session, DecodeSession(in.GetBytes()));
    topology.sessions.push_back(std::move(session));
  }
  for (uint32_t left = in.Get<uint32_t>(); left > 0 && in.ok(); --left) {
    const std::string role(in.GetBytes());
    topology.leaders[role] = NodeId(in.Get<int64_t>());
  }
  if (!in.ok()) return damaged;
  return topology;
}

Status SaveTopology(const std::string& path, const Topology& topology) {
  const std::string draft = path + ".new";
  {
    ASSIGN_OR_RETURN(const File file, File::Open(draft, O_WRONLY | O_CREAT | O_TRUNC));
    RETURN_IF_ERROR(file.WriteAt(Encode(topology), 0));
    RETURN_IF_ERROR(file.SyncData());
  }
  RETURN_IF_ERROR(RenameFile(draft, path));
  const std::string directory = std::filesystem::path(path).parent_path();
  return SyncDirectory(directory.empty() ? "." : directory);
}

Result<Topology> LoadTopology(const std::string& path) {
  ASSIGN_OR_RETURN(const File file, File::Open(path, O_RDONLY));
  ASSIGN_OR_RETURN(const int64_t size, file.Size());
  ASSIGN_OR_RETURN(const std::string bytes, file.ReadAt(0, size));
  auto topology = DecodeTopology(bytes);
  return topology.ok() ? topology : Result<Topology>(topology.status().WithContext(path));
}

struct TopologyView::State {
  explicit State(OnChange change) : on_change(std::move(change)) {}
  const OnChange on_change;
  const SessionView* sessions = nullptr;

  Mutex mutex;
  bool have_sessions GUARDED_BY(mutex) = false;
  bool have_leaders GUARDED_BY(mutex) = false;
  std::map<std::string, NodeId> leaders GUARDED_BY(mutex);
  std::string last GUARDED_BY(mutex);  // encoded

  void PutLeader(const KeyValue& kv) REQUIRES(mutex) {
    const std::string role = kv.key.substr(kLeaderPrefix.size());
    if (const auto node = ParseNode(kv.value)) {
      leaders[role] = *node;
    } else {
      LogWarn("key {}: its value is no node id: '{}'", kv.key, kv.value);
      leaders.erase(role);
    }
  }

  // Held while the listener runs, so that it hears of topologies in their order.
  Mutex publishing;
  void Publish() {
    MutexLock one_at_a_time(publishing);
    Topology topology;
    {
      MutexLock lock(mutex);
      if (!have_leaders || !have_sessions) return;
      topology.leaders = leaders;
    }
    topology.sessions = sessions->List();
    std::string encoded = Encode(topology);
    {
      MutexLock lock(mutex);
      if (encoded == last) return;
      last = std::move(encoded);
    }
    on_change(topology);
  }
};

TopologyView::TopologyView(MetaStore* store, ThreadPool* pool, Timer* timer, OnChange on_change)
    : state_(std::make_shared<State>(std::move(on_change))) {
  State* const state = state_.get();
  sessions_ = std::make_unique<SessionView>(store, "", pool, timer, [state] {
    {
      MutexLock lock(state->mutex);
      state->have_sessions = true;
    }
    state->Publish();
  });
  state->sessions = sessions_.get();
  leaders_ = std::make_unique<PrefixView>(
      store, std::string(kLeaderPrefix), pool, timer,
      [state](const std::vector<KeyValue>& kvs, Revision) {
        {
          MutexLock lock(state->mutex);
          state->leaders.clear();
          for (const KeyValue& kv : kvs) state->PutLeader(kv);
          state->have_leaders = true;
        }
        state->Publish();
      },
      [state](const std::vector<WatchEvent>& events, Revision) {
        {
          MutexLock lock(state->mutex);
          for (const WatchEvent& event : events) {
            if (event.kind == WatchEvent::Kind::kPut) {
              state->PutLeader(event.kv);
            } else {
              state->leaders.erase(event.kv.key.substr(kLeaderPrefix.size()));
            }
          }
        }
        state->Publish();
      });
}

TopologyView::~TopologyView() {
  leaders_.reset();
  sessions_.reset();
}

Status TopologyView::Start() {
  const Status sessions = sessions_->Start();
  const Status leaders = leaders_->Start();
  return sessions.ok() ? leaders : sessions;
}

}  // namespace saker
