// One etcd of each version for a whole test program, and stores on it under a root of their own.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "meta/etcd_store.h"
#include "servers/etcd_server.h"

namespace saker {

inline constexpr const char* kEtcdMissing = "etcd isn't installed: tests/servers/install.sh etcd puts it there";

// Started at its first use; null if it isn't installed.
EtcdServer* SharedEtcd(const std::string& version);
std::string FreshRoot();
EtcdStoreSettings SettingsOf(const EtcdServer& server, const std::string& root = FreshRoot());
std::unique_ptr<MetaStore> OpenOk(const EtcdStoreSettings& settings);

}  // namespace saker
