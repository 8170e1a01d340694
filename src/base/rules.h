// The rules that keep acknowledged work safe (ARCHITECTURE.md, "What always holds"), at the places where they are held.
// They always hold, and the question costs nothing; only the simulation (tests/sim) is built so that it can drop one of
// them, to see that it notices.
#pragma once

namespace saker {

enum class Rule {
  kCeilings,             // a successor stamps above what its predecessors may have read at
  kProof,                // a strong read proves that the channel is still its owner's
  kMinimumRoute,         // an owner refuses routes that say a segment grows which it has released
  kGrowingCopy,          // a growing copy stays until a route serves the sealed one
  kVoidAfterFence,       // records after a higher fence count for nothing
  kUnknownAppend,        // after an append of unknown fate the channel is fenced again
  kKeptVersions,         // an iterator that needs rows which are gone is refused
  kDeletesHoldLog,       // the checkpoint precedes deletes that are in no committed file
  kBatchOnce,            // a retry of a batch that was logged is answered, not logged again
  kFlushEpoch,           // a flush commit compares the channel's epoch
  kSkipCommitted,        // a replay leaves out rows of committed segments
  kOpenWriters,          // garbage collection leaves alone what an open epoch or task may have made
  kTombstones,           // a segment's key stays until the checkpoint has passed its records
  kCopyFirst,            // a catalog change is acknowledged once its copy is in the object store
  kCatchUpCopies,        // a new leader copies what the last one left uncopied
  kLeaderCompared,       // a coordinator's transaction compares its leader key
  kVersions,             // owners refuse writes against versions older than the last barrier
  kIdBlocks,             // blocks of ids are taken by compare-and-write
  kRecoverLost,          // a lost meta store is brought up to the copies before anybody reads it
};

#ifdef SAKER_SIMULATION
bool RuleHolds(Rule rule);
#else
constexpr bool RuleHolds(Rule) { return true; }
#endif

}  // namespace saker
