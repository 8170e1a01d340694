// DirtyCollections: which collections a control loop has to look at again, now or later. It listens to the catalog, so
// that a change costs as much as what it concerns, whatever the number of collections.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
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
  // To be looked at when `delay` is over, if not before. Who takes the collection earlier says again what it waits for.
  void AddAfter(CollectionId id, std::chrono::milliseconds delay) {
    const auto due = Clock::now() + delay;
    MutexLock lock(mutex_);
    const auto [it, added] = later_.emplace(id, due);
    if (!added && it->second <= due) return;
    if (!added) by_time_.erase({it->second, id});
    it->second = due;
    by_time_.emplace(due, id);
  }
  // What is dirty now, with what has become due.
  std::set<CollectionId> Take() {
    const auto now = Clock::now();
    MutexLock lock(mutex_);
    std::set<CollectionId> out;
    out.swap(dirty_);
    for (auto it = by_time_.begin(); it != by_time_.end() && it->first <= now; ++it) out.insert(it->second);
    for (const CollectionId id : out) {
      const auto it = later_.find(id);
      if (it == later_.end()) continue;
      by_time_.erase({it->second, id});
      later_.erase(it);
    }
    return out;
  }
  // Until the next one is due; 0: none will be. For a ControlLoop's step to return.
  std::chrono::milliseconds NextDue() const {
    MutexLock lock(mutex_);
    if (by_time_.empty()) return std::chrono::milliseconds(0);
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(by_time_.begin()->first - Clock::now());
    return std::max(left, std::chrono::milliseconds(1));
  }

 private:
  using Clock = std::chrono::steady_clock;

  void OnChange(const Catalog::Change& change) {
    // A node came or went: what waits for one, or was on it, may be anywhere.
    if (change.sessions) AddAll();
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
  mutable Mutex mutex_;
  std::set<CollectionId> dirty_ GUARDED_BY(mutex_);
  std::map<CollectionId, Clock::time_point> later_ GUARDED_BY(mutex_);
  std::set<std::pair<Clock::time_point, CollectionId>> by_time_ GUARDED_BY(mutex_);  // of later_
  int subscription_ = 0;
};

}  // namespace saker
