// Collections as REST's JSON says them. Of this room only.
#pragma once

#include "rest/body.h"
#include "roles/coordinators.h"
#include "proxy/core.h"

namespace saker {

// What collections/create asks for: the collection, its indexes (without the collection's name) and whether to load it.
struct CreateWish {
  CollectionDraft draft;
  std::vector<IndexCall> indexes;
  bool load = false;
};
Result<CreateWish> ReadCreate(const Members& body);

// One of indexParams.
Result<IndexCall> ReadIndex(const Members& index);

// The fields of collections/describe, without $meta.
std::string FieldsJson(const CollectionSchema& schema);

}  // namespace saker
