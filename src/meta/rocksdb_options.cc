#include "meta/rocksdb_options.h"

#include <rocksdb/cache.h>
#include <rocksdb/env.h>
#include <rocksdb/listener.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>

#include <cstdarg>

#include "base/log.h"

namespace saker {
namespace {

// RocksDB's own log: what is wrong is worth a line of ours, the rest is not.
class ErrorLog : public rocksdb::Logger {
 public:
  ErrorLog() : Logger(rocksdb::ERROR_LEVEL) {}
  using Logger::Logv;
  void Logv(const char* format, va_list args) override {
    char line[512];
    std::vsnprintf(line, sizeof(line), format, args);
    LogWarn("meta store: {}", line);
  }
};

// Tells the store that RocksDB stopped writing. RocksDB's own recovery is not wanted: it polls for space, and fails for
// good if the disk fills up once more meanwhile. The store opens it anew instead.
class StopListener : public rocksdb::EventListener {
 public:
  explicit StopListener(std::atomic<bool>* stopped) : stopped_(stopped) {}
  void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status*) override { *stopped_ = true; }
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status, bool* auto_recovery) override {
    *auto_recovery = false;
  }

 private:
  std::atomic<bool>* const stopped_;
};

}  // namespace

rocksdb::Options RocksdbOptions(rocksdb::Env* env, std::atomic<bool>* stopped) {
  rocksdb::Options options;
  if (env != nullptr) options.env = env;
  options.create_if_missing = true;
  options.info_log = std::make_shared<ErrorLog>();
  options.listeners.push_back(std::make_shared<StopListener>(stopped));
  options.write_buffer_size = 4 << 20;
  options.max_write_buffer_number = 2;
  options.max_total_wal_size = 16 << 20;
  options.target_file_size_base = 8 << 20;
  options.max_bytes_for_level_base = 32 << 20;
  options.level0_file_num_compaction_trigger = 4;
  options.max_background_jobs = 2;
  options.max_open_files = 64;
  options.max_file_opening_threads = 1;
  options.table_cache_numshardbits = 2;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.periodic_compaction_seconds = 0;
  options.ttl = 0;
  options.delete_obsolete_files_period_micros = 0;
  options.skip_stats_update_on_db_open = true;
  options.skip_checking_sst_file_sizes_on_db_open = true;
  options.avoid_flush_during_recovery = true;
  options.avoid_flush_during_shutdown = true;
  options.enable_pipelined_write = false;
  options.allow_concurrent_memtable_write = false;
  options.enable_write_thread_adaptive_yield = false;
  options.compression = rocksdb::kNoCompression;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(1 << 20, 0);
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

}  // namespace saker
