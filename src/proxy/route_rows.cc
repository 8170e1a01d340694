#include "proxy/route_rows.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <unordered_map>

namespace saker {
namespace {

uint32_t HashOf(const ColumnView& column, int64_t row) {
  return column.width > 0 ? HashKey(column.IntAt(row)) : HashKey(column.Bytes(row));
}

int64_t SuffixNumber(const std::string& name) {
  const size_t at = name.rfind('_');
  int64_t number = INT64_MAX;
  if (at != std::string::npos) std::from_chars(name.data() + at + 1, name.data() + name.size(), number);
  return number;
}

ShardWrite& WriteOf(const Collection& collection, int shard, std::vector<ShardWrite>& writes) {
  for (ShardWrite& write : writes) {
    if (write.shard == shard) return write;
  }
  ShardWrite& write = writes.emplace_back();
  write.shard = shard;
  write.channel = collection.shards[static_cast<size_t>(shard)];
  return write;
}

}  // namespace

std::vector<PartitionId> PartitionsByKey(const Collection& collection) {
  std::vector<std::pair<int64_t, PartitionId>> numbered;
  for (const Partition& partition : collection.partitions) numbered.emplace_back(SuffixNumber(partition.name), partition.id);
  std::sort(numbered.begin(), numbered.end());
  std::vector<PartitionId> ids;
  for (const auto& [number, id] : numbered) ids.push_back(id);
  return ids;
}

PartitionId PartitionOfKey(const std::vector<PartitionId>& partitions, const Value& key) {
  const auto* text = std::get_if<std::string>(&key);
  const auto* number = std::get_if<int64_t>(&key);
  const uint32_t hash = text != nullptr ? HashKey(*text) : HashKey(number != nullptr ? *number : 0);
  return partitions[hash % partitions.size()];
}

std::vector<int64_t> LastRows(const ColumnView& keys) {
  std::vector<int64_t> rows;
  const auto keep = [&](auto seen, auto key_of) {
    seen.reserve(static_cast<size_t>(keys.rows));
    for (int64_t i = keys.rows - 1; i >= 0; --i) {
      if (seen.emplace(key_of(i), i).second) rows.push_back(i);
    }
  };
  if (keys.width > 0) {
    keep(std::unordered_map<int64_t, int64_t>(), [&](int64_t i) { return keys.IntAt(i); });
  } else {
    keep(std::unordered_map<std::string_view, int64_t>(), [&](int64_t i) { return keys.Bytes(i); });
  }
  std::reverse(rows.begin(), rows.end());
  return rows;
}

std::vector<ShardWrite> RouteInserts(const Collection& collection, PartitionId fixed, RowBatch batch, const std::vector<int64_t>* chosen) {
  const FieldSchema& key_field = collection.schema->PrimaryKey();
  const Column* key_column = batch.Find(key_field.id);
  const FieldSchema* partition_field = fixed ? nullptr : collection.schema->PartitionKey();
  const Column* partition_column = partition_field == nullptr ? nullptr : batch.Find(partition_field->id);
  SAKER_CHECK(key_column != nullptr && !collection.shards.empty());
  SAKER_CHECK(fixed || partition_column != nullptr);

  std::vector<ShardWrite> writes;
  const size_t shards = collection.shards.size();
  if (shards == 1 && fixed && chosen == nullptr) {
    WriteOf(collection, 0, writes).inserts.emplace_back(fixed, std::move(batch));
    return writes;
  }
  const std::vector<PartitionId> by_key = fixed ? std::vector<PartitionId>() : PartitionsByKey(collection);
  const ColumnView keys = key_column->View();
  const ColumnView partition_keys = partition_column == nullptr ? ColumnView() : partition_column->View();
  std::map<std::pair<int, PartitionId>, std::vector<int64_t>> targets;
  const int64_t count = chosen == nullptr ? batch.rows : static_cast<int64_t>(chosen->size());
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = chosen == nullptr ? i : (*chosen)[static_cast<size_t>(i)];
    const int shard = shards == 1 ? 0 : static_cast<int>(HashOf(keys, row) % shards);
    const PartitionId partition = fixed ? fixed : by_key[HashOf(partition_keys, row) % by_key.size()];
    targets[{shard, partition}].push_back(row);
  }
  for (const auto& [target, rows] : targets) {
    ShardWrite& write = WriteOf(collection, target.first, writes);
    if (static_cast<int64_t>(rows.size()) == batch.rows) {  // then there is no other target
      write.inserts.emplace_back(target.second, std::move(batch));
      return writes;
    }
    RowBatch part;
    part.rows = static_cast<int64_t>(rows.size());
    for (const Column& column : batch.columns) {
      Column copy(column.type(), column.dim(), column.element_type());
      copy.field = column.field;
      copy.name = column.name;
      copy.is_dynamic = column.is_dynamic;
      const ColumnView view = column.View();
      copy.Reserve(part.rows);
      for (const int64_t row : rows) copy.AppendFrom(view, row);
      part.columns.push_back(std::move(copy));
    }
    write.inserts.emplace_back(target.second, std::move(part));
  }
  return writes;
}

void RouteDeletes(const Collection& collection, PartitionId partition, const PrimaryKeys& keys, std::vector<ShardWrite>& writes) {
  const size_t shards = collection.shards.size();
  for (int64_t i = 0; i < keys.size(); ++i) {
    const uint32_t hash = shards == 1 ? 0 : keys.is_string ? HashKey(keys.strings[static_cast<size_t>(i)])
                                                           : HashKey(keys.ints[static_cast<size_t>(i)]);
    ShardWrite& write = WriteOf(collection, static_cast<int>(hash % shards), writes);
    write.delete_partition = partition;
    write.deletes.Append(keys, i);
  }
}

}  // namespace saker
