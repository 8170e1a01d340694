// The way in for tests: the store on a file system of their own.
#pragma once

#include "meta/meta_store.h"

namespace rocksdb {
class Env;
}

namespace saker {

// `env` outlives the store; null: the machine's.
Result<std::unique_ptr<MetaStore>> TEST_OpenRocksdbStore(const RocksdbStoreSettings& settings, rocksdb::Env* env);

}  // namespace saker
