// Delivers committed revisions to watches: the watching half of an embedded meta store.
//
// One thread, asleep unless a watch is behind. A watch that is close to the present is served from memory, one that is
// further back from the store's history; both ways deliver whole revisions, in order, once.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "meta/meta_store.h"

namespace saker {

struct CommittedRevision {
  Revision revision = 0;
  std::vector<WatchEvent> events;
};

class WatchHub {
 public:
  // Events under `prefix` of the revisions [from, x] for some x ≤ until: enough for one batch.
  struct History {
    std::vector<WatchEvent> events;
    Revision until = 0;
  };
  using ReadHistory = std::function<Result<History>(const std::string& prefix, Revision from, Revision until)>;

  WatchHub(Revision committed, ReadHistory read_history);
  ~WatchHub();  // no callback runs any more afterwards

  std::unique_ptr<Watch> Add(std::string prefix, Revision from, MetaStore::OnWatch on_batch);
  // Revisions that are durable and readable, in order.
  void Publish(std::vector<CommittedRevision> revisions);

 private:
  struct State;
  class HubWatch;
  std::shared_ptr<State> state_;
};

}  // namespace saker
