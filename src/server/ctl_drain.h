// saker ctl drain NODE [--undo] [--timeout SECONDS]: has a node give its work to others, so that it can be stopped without
// a failed request. NODE is a node's id or the address it serves the others on. The request stays when the command ends
// before the node is empty; --undo takes it back, and so does a start of the node.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "meta/session.h"
#include "roles/peers.h"
#include "server/config.h"

namespace saker {

struct DrainArguments {
  std::string node;
  bool undo = false;
  std::chrono::seconds timeout{600};  // to wait for it to be empty
};
// kParameterInvalid with the usage.
Result<DrainArguments> ParseDrainArguments(const std::vector<std::string>& args);

// Asks the coordinators of the node's roles, and waits until it holds nothing, telling how far it is. kNodeNotFound: no
// session has that id or address; kDeadlineExceeded says what it still holds. Coordinators that are away are asked again.
Status DrainAndWait(const DrainArguments& arguments, const std::vector<SessionInfo>& sessions, Peers& peers,
                    const std::function<void(const std::string& line)>& tell,
                    std::chrono::milliseconds poll = std::chrono::milliseconds(200));

// The process's exit code: 0 it is empty (or taken back), 1 it isn't, 2 wrong arguments.
int DrainCommand(const Config& config, const std::vector<std::string>& args);

}  // namespace saker
