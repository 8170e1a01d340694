// DirtyCollections: which collections a control loop has to look at again. It listens to the catalog, so that a change
// costs as much as what it concerns, whatever the number of collections.
#pragma once

#include <functional>
#include <set>

#include "base/mutex.h"
#include "catalog/catalog.h"

namespace saker {

class DirtyCollections {
 public:
  // `poke` runs on the catalog's thread after something was added. Other changes poke too, without adding.
  DirtyCollections(Catalog* catalog, std::function<void()> poke) : catalog_(catalog), poke_(std::move(poke)) {}
  ~DirtyCollections() { Stop(); }

  void Start() {
    subscription_ = catalog_->Subscribe([this](const Catalog::Change& change) { OnChange(change); });
    AddAll();
  }
  void Stop() {
    if (subscription_ != 0) catalog_->Unsubscribe(subscription_);
    subscription_ = 0;
  }
  void AddAll() {
    MutexLock lock(mutex_);
    for (const auto& collection : catalog_->Collections("")) dirty_.insert(collection->id);
    for (const auto& collection : catalog_->DroppedCollections()) dirty_.insert(collection->id);
  }
  void Add(CollectionId id) {
    MutexLock lock(mutex_);
    dirty_.insert(id);
  }
  std::set<CollectionId> Take() {
    MutexLock lock(mutex_);
    std::set<CollectionId> out;
    out.swap(dirty_);
    return out;
  }

 private:
  void OnChange(const Catalog::Change& change) {
    {
      MutexLock lock(mutex_);
      dirty_.insert(change.collections.begin(), change.collections.end());
      dirty_.insert(change.placements.begin(), change.placements.end());
      for (const SegmentId id : change.segments) {
        if (const auto segment = catalog_->FindSegment(id)) dirty_.insert(segment->collection);
      }
    }
    poke_();
  }

  Catalog* const catalog_;
  const std::function<void()> poke_;
  Mutex mutex_;
  std::set<CollectionId> dirty_ GUARDED_BY(mutex_);
  int subscription_ = 0;
};

}  // namespace saker
