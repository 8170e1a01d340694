// The copies of catalog changes in the object store (docs/format/catalog.md): what they are called, how they and the
// sequence keys are encoded, which there are, and what they add up to. protocol.md, rule 14.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "meta/keys.h"
#include "meta/meta_store.h"
#include "storage/object_store.h"

namespace saker {

// A family of keys with a sequence, and where its copies are. Changes of one family wait for each other, families don't.
struct CopiedKeys {
  std::string_view prefix;         // of the keys
  std::string_view sequence_key;   // its value is the number and the changes it stands for
  std::string_view log_prefix;     // of objects: a change each
  std::string_view snapshot_prefix;
};
inline constexpr CopiedKeys kCatalogKeys{kCatalogPrefix, kCatalogSequenceKey, "catalog/log/", "catalog/snapshot/"};
inline constexpr CopiedKeys kSegmentKeys{kSegmentPrefix, kSegmentSequenceKey, "catalog/segment-log/",
                                         "catalog/segment-snapshot/"};

// The changes of one sequence number, as they are stored.
std::string EncodeChanges(const std::vector<MetaOp>& ops);
Result<std::vector<MetaOp>> DecodeChanges(std::string_view bytes);

// The value of a family's sequence key: the last number, and the changes it stands for, so that a new leader can copy them.
struct Sequence {
  int64_t number = 0;
  std::string changes;  // encoded
};
std::string Encode(const Sequence& sequence);
// `key` is where it stood, for the message of kCorrupted.
Result<Sequence> DecodeSequence(std::string_view key, std::string_view value);

std::string CopyName(std::string_view prefix, int64_t number);

// Which copies of a family there are. An object whose name has no number is none of them.
struct Copies {
  std::vector<ObjectInfo> snapshots;  // by number
  std::vector<ObjectInfo> changes;    // by number
  int64_t up_to = 0;                  // the last change that is in one of them
};
Result<Copies> ListCopies(ObjectStore* objects, const CopiedKeys& family);

// What the copies of a family add up to.
struct CopiedState {
  int64_t sequence = 0;
  std::string last;  // the last change, as copied; empty if a snapshot has it
  std::map<std::string, std::string> keys;
};
// kCorrupted if a copy is damaged or missing (the message names it).
Result<CopiedState> ReadCopies(ObjectStore* objects, const CopiedKeys& family);
// What a rebuild puts in the place of the next change, so that nobody of an earlier generation can copy one there, and so
// acknowledge it, any more: the deletion of a key that never is. It stays for good, whatever snapshots there are.
std::string FenceOf(const CopiedKeys& family, int64_t generation);
// The generation that the copy is a fence of.
std::optional<int64_t> FencedBy(const CopiedKeys& family, std::string_view copy);
Result<bool> IsFence(ObjectStore* objects, const CopiedKeys& family, const ObjectInfo& copy);
// Adds one change.
Status ApplyCopy(const std::string& name, std::string bytes, CopiedState& state);

}  // namespace saker
