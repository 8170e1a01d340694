// Where rows go: shards by hash of the primary key, partitions by name or by hash of the partition key.
#pragma once

#include "model/column.h"
#include "roles/data_node.h"

namespace saker {

// Row numbers that go to one partition of one shard.
struct RowTarget {
  int shard = 0;
  PartitionId partition;
  std::vector<int64_t> rows;
};

// Partitions that a partition key is spread over, in the order of their hash: "_default_0", "_default_1", …
std::vector<PartitionId> PartitionsByKey(const Collection& collection);
PartitionId PartitionOfKey(const std::vector<PartitionId>& partitions, const Value& key);

// The last row of every key, in order: within one upsert the last row of a key wins.
std::vector<int64_t> LastRows(const ColumnView& keys);

// One write for each shard. `fixed` is the partition, or 0 if the partition key decides. The rows of the batch that are
// chosen, or all if null. A batch that goes to one place as a whole is moved, not copied.
std::vector<ShardWrite> RouteInserts(const Collection& collection, PartitionId fixed, RowBatch batch, const std::vector<int64_t>* chosen);
void RouteDeletes(const Collection& collection, PartitionId partition, const PrimaryKeys& keys, std::vector<ShardWrite>& writes);

}  // namespace saker
