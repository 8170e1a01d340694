#include "server/ctl.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "server/ctl_drain.h"
#include "server/ctl_etcd.h"

namespace saker {
namespace {

constexpr CtlCommand kCommands[] = {
    {"etcd status", "", "its members, alarms, space and keys; exits with 1 if it is not well", EtcdStatusCommand},
    {"etcd defrag", "[--no-compact] [--timeout SECONDS]",
     "compacts history, defragments one member after another, the leader last, then disarms NOSPACE",
     EtcdDefragCommand},
    {"etcd snapshot", "[FILE] [--keep N]", "copies etcd's database to the object store, or to a file",
     EtcdSnapshotCommand},
    {"etcd snapshots", "", "lists the copies in the object store", EtcdSnapshotsCommand},
    {"etcd restore", "[SNAPSHOT | FILE] [--to FILE] [--member NAME --data-dir DIR] [--etcdutl PROGRAM]",
     "fetches and checks the newest copy, or the one named; makes a member's data directory of it, or tells how",
     EtcdRestoreCommand},
    {"drain", "NODE [--undo] [--timeout SECONDS]",
     "has a node give its work to others, so that it can be stopped; NODE is its id or its address", DrainCommand},
};

// An option that all commands share, and the setting that it is another way to give.
struct SharedOption {
  const char* name;
  const char* value;
  const char* variable;  // of the environment, which is how settings are overruled
  const char* enables;   // a variable to be "true" with it, or null
  const char* help;
};
constexpr SharedOption kShared[] = {
    {"--endpoints", "HOST:PORT,…", "ETCD_ENDPOINTS", nullptr, "etcd's members"},
    {"--root", "PREFIX", "ETCD_ROOTPATH", nullptr, "under which all keys lie"},
    {"--cacert", "FILE", "ETCD_SSL_TLSCACERT", "ETCD_SSL_ENABLED", "etcd's authority"},
    {"--cert", "FILE", "ETCD_SSL_TLSCERT", "ETCD_SSL_ENABLED", "this client's certificate"},
    {"--key", "FILE", "ETCD_SSL_TLSKEY", "ETCD_SSL_ENABLED", "its key"},
    {"--user", "NAME:PASSWORD", "ETCD_AUTH_USERNAME", "ETCD_AUTH_ENABLED",
     "of etcd; alarms, defrag and snapshot need its role root"},
};

// How many words of `arguments` are the command's name; 0: they don't begin with it.
size_t WordsOf(const CtlCommand& command, const CtlArguments& arguments) {
  std::istringstream name(command.name);
  size_t words = 0;
  for (std::string word; name >> word; ++words) {
    if (words >= arguments.size() || arguments[words] != word) return 0;
  }
  return words;
}

Status TakeShared(CtlArguments* arguments, std::string* file, Environment* environment) {
  ASSIGN_OR_RETURN(const auto config, TakeOption(arguments, "--config"));
  *file = config.value_or("");
  for (const SharedOption& option : kShared) {
    ASSIGN_OR_RETURN(auto value, TakeOption(arguments, option.name));
    if (!value) continue;
    if (std::string_view(option.name) == "--user") {
      const size_t colon = value->find(':');
      if (colon == std::string::npos) return {ErrorCode::kParameterInvalid, "--user wants NAME:PASSWORD"};
      environment->emplace_back("ETCD_AUTH_PASSWORD", value->substr(colon + 1));
      value->resize(colon);
    }
    environment->emplace_back(option.variable, *value);
    if (option.enables != nullptr) environment->emplace_back(option.enables, "true");
  }
  return {};
}

}  // namespace

std::string CtlHelp() {
  std::string out = "saker ctl COMMAND [OPTIONS]\n\nCommands:\n";
  for (const CtlCommand& command : kCommands) {
    out += fmt::format("  {}{}{}\n      {}\n", command.name, *command.arguments != 0 ? " " : "", command.arguments,
                       command.help);
  }
  out += "\nOptions of all commands (settings come from them, the environment and the file, in this order):\n";
  out += fmt::format("  {:24} {}\n", "--config FILE", "the cluster's YAML file");
  for (const SharedOption& option : kShared) {
    out += fmt::format("  {:24} {}\n", fmt::format("{} {}", option.name, option.value), option.help);
  }
  return out + "\nExit code 0: done, all is well; 1: it failed, or what was looked at is not well; 2: wrong usage.\n";
}

int RunCtl(const CtlArguments& given, const Environment& environment) {
  CtlArguments arguments = given;
  if (TakeFlag(&arguments, "--help") || TakeFlag(&arguments, "-h") || arguments.empty() ||
      arguments.front() == "help") {
    std::fputs(CtlHelp().c_str(), given.empty() ? stderr : stdout);
    return given.empty() ? kCtlUsage : kCtlOk;
  }
  std::string file;
  Environment settings = environment;
  if (const Status taken = TakeShared(&arguments, &file, &settings); !taken.ok())
    return CtlFail(taken.message(), kCtlUsage);
  for (const CtlCommand& command : kCommands) {
    const size_t words = WordsOf(command, arguments);
    if (words == 0) continue;
    Config config;
    std::vector<std::string> ignored;
    const Status read = ReadConfigFile(file, settings, &config, &ignored);
    if (!read.ok()) return CtlFail(read.message(), kCtlUsage);
    arguments.erase(arguments.begin(), arguments.begin() + static_cast<std::ptrdiff_t>(words));
    return command.run(config, arguments);
  }
  return CtlFail(fmt::format("there is no command '{}': saker ctl --help lists them", fmt::join(arguments, " ")),
                 kCtlUsage);
}

int CtlFail(const std::string& message, int code) {
  std::fflush(stdout);
  std::fprintf(stderr, "saker ctl: %s\n", message.c_str());
  return code;
}

Result<std::optional<std::string>> TakeOption(CtlArguments* arguments, std::string_view name) {
  for (auto it = arguments->begin(); it != arguments->end(); ++it) {
    if (it->starts_with(std::string(name) + "=")) {
      std::string value = it->substr(name.size() + 1);
      arguments->erase(it);
      return std::optional(std::move(value));
    }
    if (*it != name) continue;
    if (it + 1 == arguments->end()) return Status(ErrorCode::kParameterInvalid, fmt::format("{} wants a value", name));
    std::string value = *(it + 1);
    arguments->erase(it, it + 2);
    return std::optional(std::move(value));
  }
  return std::optional<std::string>();
}

bool TakeFlag(CtlArguments* arguments, std::string_view name) {
  const auto it = std::find(arguments->begin(), arguments->end(), name);
  if (it == arguments->end()) return false;
  arguments->erase(it);
  return true;
}

Status CheckArguments(const CtlArguments& arguments, size_t most) {
  for (const std::string& argument : arguments) {
    if (argument.starts_with("--"))
      return {ErrorCode::kParameterInvalid, fmt::format("{} is no option of this command", argument)};
  }
  if (arguments.size() <= most) return {};
  return {ErrorCode::kParameterInvalid, fmt::format("'{}' is one argument too many", arguments[most])};
}

}  // namespace saker
