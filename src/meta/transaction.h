// What every implementation of MetaStore refuses before it touches anything, in the same words.
#pragma once

#include "meta/meta_store.h"

namespace saker {

Status CheckKey(const std::string& key);
// Limits, keys, and that no key is written twice (by two puts, or by a put and a delete that covers it).
Status CheckTransaction(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops);
// Whether the compare holds for the key's present state; null: it isn't there.
bool Holds(const Compare& compare, const KeyValue* present);
Status ConflictOn(const Compare& compare);
// The first string after all that start with `prefix`; empty: there is none.
std::string PrefixEnd(std::string prefix);

}  // namespace saker
