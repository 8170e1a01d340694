// GenerationStore: the metadata of a cluster in a store that may lose its data, or be restored to an older state, while
// processes use it. protocol.md, rules 15 and 16.
//
// All keys lie under "g<generation>/"; the key "generation" says which one counts. Whoever sees that the store has lost data
// stops using it: calls answer kServiceUnavailable, watches stay silent, so that everybody keeps the last good state. A
// process that may rebuild fills a new generation, and names it in the root key as the last step; nobody ever sees one half
// built. Then watches end with kCompacted: who follows a prefix reads it anew and learns the difference.
//
// The root key also says which store it was written to (MetaStore::Identity): who starts on a copy that was restored
// elsewhere begins a new generation.
//
// Revisions are generation << kGenerationShift | the store's own: they rise over generations, and with them leaders'
// tokens and versions of routes. A transaction also compares the root key, a read that finds nothing (or a range) reads it
// again: a store that was exchanged behind our back can't pass for the one we know.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "meta/meta_store.h"

namespace saker {

inline constexpr const char* kGenerationKey = "generation";
std::string GenerationPrefix(int64_t generation);  // of its keys
// Of the root key's value: the generation, and '@' and the store's identity where it has one.
Result<int64_t> GenerationInRoot(std::string_view value);
inline constexpr int kGenerationShift = 40;
inline constexpr int64_t GenerationOf(Revision revision) { return revision >> kGenerationShift; }  // 0: of a store without any

struct GenerationStoreSettings {
  // A new connection to the store that everything is in. Where its calls answer kCorrupted it has lost data.
  std::function<Result<std::unique_ptr<MetaStore>>()> open;
  // Asked before a generation is entered. kCorrupted: it is not to be used, a later one has to be made; any other error:
  // not now. Optional.
  std::function<Status(MetaStore* generation)> check;
  // Fills a generation above `above`, and returns its number. An error is logged, and it is called again soon. Without
  // it this process waits until another one has done so.
  using Under = std::function<MetaStore*(int64_t generation)>;
  std::function<Result<int64_t>(const Under& under, int64_t above)> rebuild;
};

// Thread-safe. Has a thread of its own, asleep while nothing is lost; `open`, `check` and `rebuild` run on it.
class GenerationStore : public MetaStore {
 public:
  // Fails only if the store can't even be made (settings that can never work); calls answer kServiceUnavailable, with the
  // reason, until there is a generation.
  static Result<std::unique_ptr<GenerationStore>> Open(GenerationStoreSettings settings);
  ~GenerationStore() override;  // after all watches

  // The current generation is no good: another one has to be made, or waited for.
  void Lose(const Status& why);
  // Ok while there is a generation to be used; else kServiceUnavailable, with the reason. Asks nobody.
  Status Ready() const;

  Result<RangeResult> Range(const std::string& prefix, Revision at = 0) override;
  Result<KeyValue> Get(const std::string& key, Revision at = 0) override;
  // At most kMaxTxnOps - 1 compares.
  Result<Revision> Commit(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops) override;
  Result<std::unique_ptr<Watch>> WatchPrefix(const std::string& prefix, Revision from, OnWatch on_batch) override;
  Result<LeaseId> Grant(std::chrono::seconds ttl) override;
  Status KeepAlive(LeaseId lease) override;  // a lease of an earlier generation has ended
  Status Revoke(LeaseId lease) override;
  bool LeasesExpire() const override;
  Result<Revision> CurrentRevision() override;
  Status Compact(Revision revision) override;

 private:
  struct State;
  explicit GenerationStore(std::unique_ptr<State> state);
  const std::unique_ptr<State> state_;
};

}  // namespace saker
