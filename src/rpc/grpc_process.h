// What every user of gRPC in this process needs: gRPC set up, and keys and certificates read.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace saker {

// Sends gRPC's own lines to our log and switches off what Debian's build of it checks at every lock. Call it before the
// first server or channel is made; again does no harm.
void PrepareGrpc();

// A PEM file's text. kParameterInvalid says which file could not be read, and what it is for ("certificate").
Result<std::string> ReadPem(const std::string& path, std::string_view what);

}  // namespace saker
