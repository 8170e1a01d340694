// `saker ctl`: what an operator does to a running cluster from the command line. A table of commands: each is a line in
// ctl.cc and a function of its own file (ctl_<what>.cc).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "server/config.h"

namespace saker {

// Exit codes.
inline constexpr int kCtlOk = 0;
inline constexpr int kCtlFailed = 1;  // it could not be done, or what was looked at is not well
inline constexpr int kCtlUsage = 2;   // the command line or the settings make no sense

using CtlArguments = std::vector<std::string>;

struct CtlCommand {
  const char* name;       // words with spaces between them: "etcd status"
  const char* arguments;  // for the help: "[FILE] [--keep N]"
  const char* help;       // one line
  // `arguments` are those after the command's name, without the options that all commands share. Results go to stdout,
  // errors to stderr (CtlFail). Returns an exit code.
  int (*run)(const Config& config, const CtlArguments& arguments);
};

// Runs `saker ctl ARGUMENTS`. Options that all commands share (--config, and those that name etcd) may stand anywhere
// and go before `environment`, which goes before the file.
int RunCtl(const CtlArguments& arguments, const Environment& environment);
std::string CtlHelp();

// Says on stderr what went wrong; returns `code`.
int CtlFail(const std::string& message, int code = kCtlFailed);
// Takes "--name VALUE" or "--name=VALUE" out of `arguments`; nullopt if it isn't there, kParameterInvalid if it has no
// value.
Result<std::optional<std::string>> TakeOption(CtlArguments* arguments, std::string_view name);
// Takes "--name" out of `arguments`; whether it was there.
bool TakeFlag(CtlArguments* arguments, std::string_view name);
// kParameterInvalid if more than `most` arguments, or an option, are left.
Status CheckArguments(const CtlArguments& arguments, size_t most);

}  // namespace saker
