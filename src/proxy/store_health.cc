#include "proxy/store_health.h"

#include <utility>

#include "base/mutex.h"

namespace saker {
namespace {

struct Held {
  Mutex mutex;
  StoreHealth health GUARDED_BY(mutex);
};

Held& TheOne() {
  static Held held;
  return held;
}

}  // namespace

void SetStoreHealth(StoreHealth health) {
  MutexLock lock(TheOne().mutex);
  TheOne().health = std::move(health);
}

StoreHealth CurrentStoreHealth() {
  MutexLock lock(TheOne().mutex);
  return TheOne().health;
}

}  // namespace saker
