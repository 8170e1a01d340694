// What a proxy refuses beyond. Defaults are Milvus's; server/config.cc sets them.
#pragma once

#include <cstdint>

namespace saker {

struct ProxyLimits {
  int64_t name_length = 255;
  int64_t fields = 64;
  int64_t vector_fields = 4;
  int64_t shards = 16;
  int64_t dimension = 32768;
  int64_t varchar_length = 65535;
  int64_t array_capacity = 4096;
  int64_t json_length = 65536;
  int64_t top_k = 16384;
  int64_t nq = 16384;
  int64_t result_window = 16384;         // offset + limit of a query
  int64_t result_bytes = 100 << 20;      // of one query's answer
  int64_t result_hits = 32 << 20;        // of all queries of one search
  int64_t users = 100;
  int64_t roles = 10;                    // admin and public among them
  int64_t user_name_length = 32;
  int64_t password_min = 6;
  int64_t password_max = 256;
  int64_t partition_key_partitions = 64; // if the client names no number: 2.3.5's (later versions: 16)
  int64_t partitions = 4096;             // of a collection
};

}  // namespace saker
