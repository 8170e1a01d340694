#include "server/ctl_etcd.h"

#include <fmt/format.h>

#include "meta/etcd_admin.h"

namespace saker {
namespace {

Result<std::unique_ptr<EtcdAdmin>> Open(const Config& config) {
  if (config.etcd.endpoints.empty()) {
    return Status(ErrorCode::kParameterInvalid, "where is etcd? Give --endpoints, or --config with etcd.endpoints in it");
  }
  return OpenEtcdAdmin(config.etcd);
}

std::string Mib(int64_t bytes) { return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20)); }

void PrintMember(const EtcdMemberStatus& member) {
  if (!member.reached.ok()) {
    fmt::print("{}  unreachable: {}\n", member.endpoint, member.reached.message());
    return;
  }
  const char* role = member.is_leader() ? "leader" : member.is_learner ? "learner" : "follower";
  fmt::print("{}  {:x}  {}  etcd {}  {} ({} in use)  term {}  index {} (applied {})\n", member.endpoint, member.member_id, role,
             member.version, Mib(member.db_bytes), Mib(member.db_in_use_bytes), member.raft_term, member.raft_index,
             member.raft_applied_index);
  for (const std::string& error : member.errors) fmt::print("  error: {}\n", error);
}

}  // namespace

int EtcdStatusCommand(const Config& config, const CtlArguments& arguments) {
  if (const Status usage = CheckArguments(arguments, 0); !usage.ok()) return CtlFail(usage.message(), kCtlUsage);
  const auto admin = Open(config);
  if (!admin.ok()) return CtlFail(admin.status().message(), kCtlUsage);
  bool well = true;
  for (const EtcdMemberStatus& member : (*admin)->Members()) {
    PrintMember(member);
    well = well && member.reached.ok() && member.errors.empty();
  }
  return well ? kCtlOk : kCtlFailed;
}

}  // namespace saker
