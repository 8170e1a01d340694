// Bringing the metadata back from the object store's copies: protocol.md, rules 14 and 15.
//
// Copies say what databases, collections, users, roles and segments there are. The rest of a meta store is either made
// anew by whoever it belongs to (leaders, tasks, ids, epochs of channels: the log knows of higher ones), or handed over by
// a process that still knows it, so that reads and writes go on undisturbed (LastKnown).
#pragma once

#include <functional>
#include <vector>

#include "catalog/copies.h"
#include "meta/session.h"
#include "roles/state.h"

namespace saker {

// Which copies there are of each family, once the store has all of them.
struct Recovered {
  int64_t keys_written = 0;
  Copies catalog;
  Copies segments;
};

// A store that one process alone uses, before anybody reads it: brings it up to the copies, where it stands. Ids go on far
// above all that may have been handed out. Nothing is written if it lacks nothing. A crash in between leaves a store that
// is still behind. kCorrupted if a copy is damaged or missing (the message names it).
Result<Recovered> Recover(MetaStore* store, ObjectStore* objects);

// Whether the store may be used as it is: kCorrupted if it lacks what there are copies of, or if it belongs to a cluster
// other than the object store (kCrossClusterRouting).
Status CheckUpToCopies(MetaStore* store, ObjectStore* objects);

// What a process knew last of what has no copies.
struct LastKnown {
  std::vector<Placement> placements;
  std::vector<ChannelAssignment> channels;
  std::vector<SessionInfo> sessions;
};

// Fills a new generation of a cluster's metadata (meta/generation_store.h), above `above`, and returns its number, which
// is never given twice. First it makes sure that nothing can be acknowledged in an earlier one any more, by a fence among
// the copies; several processes may do it at once, the highest generation counts.
//
// Placements of `known` are taken over if all their segments are there; sessions under a lease that ends unless the
// processes register again. kSuperseded if a later generation was begun meanwhile.
Result<int64_t> FillGeneration(const std::function<MetaStore*(int64_t generation)>& under, int64_t above, ObjectStore* objects,
                               const LastKnown& known);
// The highest generation that was ever begun; 0: none.
Result<int64_t> NewestGeneration(ObjectStore* objects);

}  // namespace saker
