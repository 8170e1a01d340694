// What CheckHealth and GetComponentStates tell of the stores behind this process, which the proxy itself knows nothing
// of: the process that runs it says how to ask.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace saker {

// Asks what is wrong with them, and calls back once, on any thread, with a line for each thing.
using StoreHealth = std::function<void(std::function<void(const std::vector<std::string>& troubles)>)>;

// For this process; empty: nothing is asked. To be emptied before what it refers to goes. Thread-safe.
void SetStoreHealth(StoreHealth health);
// The one that was set; it may be empty.
StoreHealth CurrentStoreHealth();

}  // namespace saker
