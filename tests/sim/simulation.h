// One simulated life of a cluster: it starts, clients write, read and change the catalog while faults strike, the faults
// stop, and everything has to be there and to work again.
#pragma once

#include <cstdint>
#include <string>

namespace saker::sim {

struct Outcome {
  std::string violation;  // "": none
  uint64_t operations = 0;
  uint64_t acknowledged = 0;
  uint64_t reads = 0;
  int64_t simulated_us = 0;
  int64_t switches = 0;
};

// Once in a process's life: nothing is cleaned up. `directory` is there for the processes' small files.
Outcome Simulate(uint64_t seed, const std::string& directory);

}  // namespace saker::sim
