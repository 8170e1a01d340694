// The settings of a process: defaults, overlaid by a YAML file with Milvus's keys, overlaid by the command line.
//
// Only values, no objects. docs/configuration.md lists the keys; a key of Milvus's that has no meaning here is ignored
// with one line of log, a value that makes no sense is an error.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/status.h"
#include "proxy/limits.h"
#include "meta/etcd_store.h"
#include "rpc/server.h"
#include "storage/s3_store.h"
#include "transport/tls.h"
#include "wal/kafka_log.h"

namespace saker {

struct RateLimit {
  double per_second = -1;  // negative: none
};

struct Config {
  // Where.
  std::string data_dir = "./data";
  std::string listen = "127.0.0.1:19530";  // gRPC and REST
  std::string http = "127.0.0.1:9091";     // health, metrics
  std::string rest_listen;                 // REST's own port, if proxy.http.port names another
  bool rest_enabled = true;                // proxy.http.enabled

  // Security.
  bool authorization = false;       // common.security.authorizationEnabled
  std::vector<std::string> super_users;  // common.security.superUsers: may set passwords without the old one
  TlsMode tls_mode = TlsMode::kOff; // common.security.tlsMode
  TlsFiles tls;                     // tls.serverPemPath, tls.serverKeyPath, tls.caPemPath

  LogSettings log;                  // log.level, log.format, log.file.rootPath
  int64_t slow_query_ms = 1000;     // saker.slowQueryMs: longer searches and queries are logged; 0: none

  // Limits.
  ProxyLimits limits;
  int64_t max_receive_bytes = 64 << 20;     // proxy.grpc.serverMaxRecvSize
  int64_t max_databases = 64;               // rootCoord.maxDatabaseNum
  int64_t max_partitions = 4096;            // rootCoord.maxPartitionNum
  int64_t max_collections = 65536;          // quotaAndLimits.limits.maxCollectionNum
  int64_t max_collections_per_db = 65536;   // quotaAndLimits.limits.maxCollectionNumPerDB

  // Quotas (quotaAndLimits.*); rates in MB (insert, upsert, delete) or requests or query vectors per second.
  bool quotas_enabled = true;
  bool dml_rates_enabled = false, dql_rates_enabled = false, ddl_rates_enabled = false;
  bool index_rate_enabled = false, flush_rate_enabled = false, compaction_rate_enabled = false;
  RateLimit insert_rate, upsert_rate, delete_rate, search_rate, query_rate, collection_rate, partition_rate, index_rate,
      flush_rate, compaction_rate;
  RateLimit insert_rate_per_collection, upsert_rate_per_collection, delete_rate_per_collection,
      search_rate_per_collection, query_rate_per_collection;
  bool deny_writing = false;                // quotaAndLimits.limitWriting.forceDeny
  bool deny_reading = false;                // quotaAndLimits.limitReading.forceDeny
  bool disk_protection = true;              // quotaAndLimits.limitWriting.diskProtection.enabled
  int64_t disk_quota_mb = -1;               // …diskQuota; negative: none

  // Data.
  int64_t graceful_time_ms = 5000;          // common.gracefulTime: how stale Bounded may be
  int64_t channels = 16;                    // rootCoord.dmlChannelNum
  int64_t segment_max_mb = 1024;            // dataCoord.segment.maxSize
  int64_t log_keep_mb = 4;                  // saker.logKeepMb: a log smaller than this is not truncated
  double segment_seal_proportion = 0.12;    // dataCoord.segment.sealProportion
  int64_t segment_max_life_s = 86400;       // dataCoord.segment.maxLife
  int64_t segment_max_idle_s = 600;         // dataCoord.segment.maxIdleTime
  int64_t min_rows_to_index = 1024;         // rootCoord.minSegmentSizeToEnableIndex
  bool compaction_enabled = true;           // dataCoord.enableCompaction
  bool auto_compaction = true;              // dataCoord.compaction.enableAutoCompaction
  bool garbage_collection = true;           // dataCoord.enableGarbageCollection
  int64_t gc_drop_tolerance_s = 10800;      // dataCoord.gc.dropTolerance
  int64_t entity_expiration_s = -1;         // common.entityExpiration

  // A cluster's stores; standalone has its own and passes over these keys.
  EtcdStoreSettings etcd;                   // etcd.*
  KafkaLogSettings kafka;                   // kafka.*
  S3StoreSettings s3;                       // minio.*
  // Between its processes.
  std::map<std::string, std::string> internal_listen;  // by role: <role>.ip, <role>.port; the proxy's: proxy.internalPort
  std::string advertise;                    // saker.advertise: the host others are told, if it isn't the one listened on
  InternalTls internal_tls;                 // saker.internalTls.*
  int64_t session_ttl_s = 15;               // common.session.ttl
  int64_t graceful_stop_s = 30;             // common.gracefulStopTimeout: for a node to be emptied before it ends; 0: at once
  bool auto_balance = true;                 // queryCoord.autoBalance
  int64_t balance_interval_s = 10;          // queryCoord.balanceIntervalSeconds
  double balance_tolerance = 0.05;          // queryCoord.scoreUnbalanceTolerationFactor
  double overloaded_memory_percent = 90;    // queryCoord.overloadedMemoryThresholdPercentage
  bool auto_balance_channels = true;        // dataCoord.autoBalance
  int64_t etcd_snapshot_interval_s = 21'600;  // saker.etcd.snapshot.interval; 0: none are taken by schedule
  int64_t etcd_snapshot_keep = 28;          // saker.etcd.snapshot.keep; 0: all

  // Our own.
  bool load_on_first_use = false;           // saker.loadOnFirstUse: a search of an unloaded collection loads it
  int64_t search_threads = 0;               // saker.searchThreads; 0: one for each core
  int64_t io_threads = 0;                   // saker.ioThreads; 0: two for each core
  int64_t build_threads = 0;                // saker.buildThreads; 0: half the cores
  int64_t memory_limit_mb = 0;              // saker.memoryLimitMb of rows not flushed yet; 0: half the machine's
  int64_t query_memory_mb = 0;              // saker.queryMemoryMb of segments; 0: the machine's (standalone: no limit); -1: no limit
  int64_t disk_reserve_mb = 256;            // saker.diskReserveMb: writes are refused when less is free
};

// A key's name in capitals with '_' for '.', such as ETCD_ENDPOINTS, and its value.
using Environment = std::vector<std::pair<std::string, std::string>>;
Environment ProcessEnvironment();

// Reads a file (none: "") into `config`, then what the environment says, which goes before it. Keys that mean nothing here
// are appended to `ignored`; variables that mean nothing are nobody's business.
Status ReadConfigFile(const std::string& path, const Environment& environment, Config* config, std::vector<std::string>* ignored);
// The same, from text (`name` is for messages).
Status ReadConfigText(const std::string& text, const std::string& name, const Environment& environment, Config* config,
                      std::vector<std::string>* ignored);
// Whether a process of a cluster has all it needs: kParameterInvalid names every key that is missing.
Status CheckClusterConfig(const Config& config);
// The keys that mean something.
std::vector<std::string> ConfigKeys();

}  // namespace saker
