// What an indexnode offers: nothing to call. It watches task/…, does what names it, and reports to the coordinators.
#pragma once

#include "roles/state.h"

namespace saker {

class IndexNode {
 public:
  virtual ~IndexNode() = default;
  virtual int64_t tasks_running() = 0;
};

}  // namespace saker
