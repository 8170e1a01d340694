#include "server/roles.h"

namespace saker {

// The roles come here; until they do, the process serves its health alone.
struct Standalone::State {};

Standalone::Standalone(std::unique_ptr<State> state) : state_(std::move(state)) {}
Standalone::~Standalone() = default;

Result<std::unique_ptr<Standalone>> Standalone::Start(const Config&, MethodTable*, HttpRoutes*) {
  return std::unique_ptr<Standalone>(new Standalone(std::make_unique<State>()));
}

Status Standalone::Health() const { return Status(); }
void Standalone::Stop() {}

}  // namespace saker
