// How the meta store runs RocksDB.
#pragma once

#include <atomic>

namespace rocksdb {
class Env;
struct Options;
}  // namespace rocksdb

namespace saker {

// Small, and silent when idle: the catalog is a few megabytes, and what is durable needs no flush at either end.
// `env` null: the machine's. *stopped is set when RocksDB stops writing; it doesn't recover by itself.
rocksdb::Options RocksdbOptions(rocksdb::Env* env, std::atomic<bool>* stopped);

}  // namespace saker
