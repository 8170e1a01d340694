// `saker ctl etcd …`: what is to be done to etcd by hand. docs/etcd.md says when.
#pragma once

#include "server/ctl.h"

namespace saker {

int EtcdStatusCommand(const Config& config, const CtlArguments& arguments);
int EtcdDefragCommand(const Config& config, const CtlArguments& arguments);
int EtcdSnapshotCommand(const Config& config, const CtlArguments& arguments);
int EtcdSnapshotsCommand(const Config& config, const CtlArguments& arguments);
int EtcdRestoreCommand(const Config& config, const CtlArguments& arguments);

}  // namespace saker
