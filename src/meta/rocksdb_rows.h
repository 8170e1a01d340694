// The rows of the RocksDB meta store (docs/format/meta_store.md).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "meta/meta_store.h"

namespace saker {

// k/<key>\0<revision>: what a key was from that revision on.
struct HistoryRow {
  bool deleted = false;
  Revision create_revision = 0;
  int64_t version = 0;
  LeaseId lease = 0;
  std::string value;
};
std::string HistoryKey(std::string_view key, Revision revision);
std::string HistoryPrefix(std::string_view key_prefix);  // of all keys that start so
bool ParseHistoryKey(std::string_view row_key, std::string_view& key, Revision& revision);
std::string EncodeHistory(const HistoryRow& row);
std::optional<HistoryRow> DecodeHistory(std::string_view bytes);

// r/<revision>: the keys that it wrote, in order.
std::string RevisionKey(Revision revision);
bool ParseRevisionKey(std::string_view row_key, Revision& revision);
std::string EncodeKeys(const std::vector<WatchEvent>& events);
std::optional<std::vector<std::string>> DecodeKeys(std::string_view bytes);

// m/state: one row, written with every revision.
inline constexpr std::string_view kStateRow = "m/state";
struct StateRow {
  Revision revision = 1;
  Revision compacted = 0;
};
std::string EncodeState(const StateRow& state);
Result<StateRow> DecodeState(std::string_view bytes);

}  // namespace saker
