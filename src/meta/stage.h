// What a group of transactions will change, on top of a store's present keys, before it is durable.
//
// An embedded store commits in groups, so that one sync serves many writers: it stages them one after another, each
// seeing what those before it did, makes the whole stage durable, and only then shows it to readers.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "meta/meta_store.h"
#include "meta/watch_hub.h"

namespace saker {

using KeyIndex = std::map<std::string, KeyValue, std::less<>>;
// The keys that were put under each living lease; some may have been put again under another since.
using LeaseIndex = std::map<LeaseId, std::set<std::string>>;

class Stage {
 public:
  // Both outlive the stage and don't change meanwhile.
  Stage(const KeyIndex& keys, const LeaseIndex& leases, Revision revision)
      : keys_(keys), leases_(leases), revision_(revision) {}

  // The revision of the transaction, or why it may not be; then nothing of it is staged.
  Result<Revision> Add(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops);
  // Ends a lease and deletes its keys.
  Result<Revision> End(LeaseId lease);
  // Deletes these keys as one revision.
  Revision Delete(const std::vector<std::string>& keys);

  // What turned out to be durable already.
  void Replay(CommittedRevision revision);

  Revision revision() const { return revision_; }
  const std::vector<CommittedRevision>& revisions() const { return revisions_; }
  std::vector<CommittedRevision> TakeRevisions() { return std::move(revisions_); }
  void ApplyTo(KeyIndex& keys, LeaseIndex& leases) &&;

 private:
  const KeyValue* Find(const std::string& key) const;
  std::vector<std::string> KeysUnder(const std::string& prefix) const;
  void Put(const MetaOp& op, CommittedRevision& revision);
  void Delete(const std::string& key, CommittedRevision& revision);
  Revision Finish(CommittedRevision revision);

  const KeyIndex& keys_;
  const LeaseIndex& leases_;
  Revision revision_;
  std::map<std::string, std::optional<KeyValue>, std::less<>> changes_;  // nullopt: deleted
  std::set<LeaseId> ended_;
  std::vector<CommittedRevision> revisions_;
};

}  // namespace saker
