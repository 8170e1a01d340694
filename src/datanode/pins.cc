#include "datanode/pins.h"

namespace saker {

void Pins::Hold(CollectionId collection, Timestamp ts, int64_t now_us) {
  MutexLock lock(mutex_);
  last_used_us_[collection][MakeTimestamp(UnixMs(ts) / 1000 * 1000)] = now_us;
}

Timestamp Pins::Oldest(CollectionId collection, int64_t now_us) {
  MutexLock lock(mutex_);
  const auto pins = last_used_us_.find(collection);
  if (pins == last_used_us_.end()) return kMaxTimestamp;
  std::erase_if(pins->second, [&](const auto& pin) { return pin.second + kLifetimeUs < now_us; });
  if (!pins->second.empty()) return pins->second.begin()->first;
  last_used_us_.erase(pins);
  return kMaxTimestamp;
}

}  // namespace saker
