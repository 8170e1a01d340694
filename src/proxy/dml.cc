// Insert, upsert, delete: checked, routed, sent to the shards' owners.
#include <fmt/format.h>

#include <map>
#include <random>

#include "base/metrics.h"
#include "proxy/proxy.h"
#include "proxy/route_rows.h"
#include "proxy/validate.h"

namespace saker {
namespace {

uint64_t RandomBatchId() {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  uint64_t id = 0;
  while (id == 0) id = generator();
  return id;
}

constexpr std::chrono::milliseconds kFirstPause{5};
constexpr std::chrono::milliseconds kLongestPause{200};

// Errors after which the same batch may be sent again, to whoever owns the channel by then.
bool MaySendAgain(ErrorCode code) {
  switch (code) {
    case ErrorCode::kChannelNotAvailable:
    case ErrorCode::kChannelNotFound:
    case ErrorCode::kSuperseded:
    case ErrorCode::kStaleRoute:
    case ErrorCode::kNodeNotFound:
    case ErrorCode::kNodeOffline:
    case ErrorCode::kNodeNotMatch:
    case ErrorCode::kServiceUnavailable:
    case ErrorCode::kServiceNotReady:
      return true;
    default:
      return false;
  }
}

// One request's writes on their way to the owners, until all have acknowledged or the deadline has passed.
class WriteOperation : public std::enable_shared_from_this<WriteOperation> {
 public:
  WriteOperation(Proxy* proxy, const CallContext& context, CollectionPtr collection, std::vector<ShardWrite> writes,
                 Callback<Timestamp> done)
      : proxy_(proxy), context_(context), collection_(std::move(collection)), pending_(std::move(writes)), done_(std::move(done)) {}

  void Start() { Send(); }

 private:
  void Send() {
    std::map<NodeId, WriteRequest> requests;
    Status missing;
    for (const ShardWrite& write : pending_) {
      const NodeId owner = proxy_->catalog()->Channel(write.channel).owner;
      if (!owner || proxy_->peers()->data_node(owner) == nullptr) {
        missing = Status(ErrorCode::kChannelNotAvailable, fmt::format("channel not available[channel={}]: it has no owner right now",
                                                                      Collection::PhysicalChannel(write.channel)));
        break;
      }
      requests[owner].shards.push_back(write);
    }
    if (!missing.ok()) return Again(missing);
    {
      MutexLock lock(mutex_);
      waiting_ = requests.size();
      failed_ = Status();
    }
    // The map must not be touched after the last send: its callback may end everything.
    std::vector<std::pair<NodeId, WriteRequest>> sends(std::make_move_iterator(requests.begin()), std::make_move_iterator(requests.end()));
    for (auto& [owner, request] : sends) {
      request.collection = collection_->id;
      request.collection_version = collection_->version;
      request.batch_id = batch_id_;
      std::vector<int> shards;
      for (const ShardWrite& write : request.shards) shards.push_back(write.shard);
      DataNode* node = proxy_->peers()->data_node(owner);
      auto answer = [self = shared_from_this(), shards = std::move(shards)](Result<WriteResponse> response) {
        self->Answered(shards, std::move(response));
      };
      if (node == nullptr) {
        answer(Status(ErrorCode::kNodeNotFound, fmt::format("node not found[node={}]", owner.value)));
      } else {
        node->Write(std::move(request), std::move(answer));
      }
    }
  }

  void Answered(const std::vector<int>& shards, Result<WriteResponse> response) {
    MutexLock lock(mutex_);
    if (response.ok()) {
      ts_ = std::max(ts_, response->ts);
      std::erase_if(pending_, [&](const ShardWrite& w) { return std::find(shards.begin(), shards.end(), w.shard) != shards.end(); });
    } else if (failed_.ok() || MaySendAgain(failed_.code())) {
      failed_ = response.status();
    }
    if (--waiting_ > 0) return;
    const Status failed = failed_;
    lock.Unlock();
    if (failed.ok()) return done_(ts_);
    if (MaySendAgain(failed.code())) return Again(failed);
    done_(failed);
  }

  // Waits a moment, off the caller's thread, and sends what is not acknowledged again.
  void Again(const Status& why) {
    if (std::chrono::steady_clock::now() + pause_ >= context_.deadline) return done_(why);
    proxy_->control_pool()->Post([self = shared_from_this()] {
      const Catalog& catalog = *self->proxy_->catalog();
      // Whatever comes first: the catalog moves on, or the pause is over.
      (void)self->proxy_->catalog()->WaitFor(catalog.revision() + 1, self->pause_);
      self->pause_ = std::min(self->pause_ * 2, kLongestPause);
      const CollectionPtr now = catalog.GetCollection(self->collection_->id);
      if (now == nullptr) {
        return self->done_(Status(ErrorCode::kCollectionNotFound,
                                  fmt::format("collection not found[database={}][collection={}]", self->context_.database,
                                              self->collection_->name)));
      }
      // Only what doesn't touch the rows may have changed meanwhile.
      if (now->schema->fields.size() == self->collection_->schema->fields.size() && now->shards == self->collection_->shards) {
        self->collection_ = now;
      }
      self->Send();
    });
  }

  Proxy* const proxy_;
  const CallContext context_;
  CollectionPtr collection_;
  const uint64_t batch_id_ = RandomBatchId();
  std::chrono::milliseconds pause_ = kFirstPause;
  std::vector<ShardWrite> pending_;
  const Callback<Timestamp> done_;
  Mutex mutex_;
  size_t waiting_ GUARDED_BY(mutex_) = 0;
  Status failed_ GUARDED_BY(mutex_);
  Timestamp ts_ = 0;
};

struct CheckedRows {
  CollectionPtr collection;
  PartitionId partition;   // 0: by partition key
  RowBatch batch;
};

Result<CheckedRows> CheckRows(Proxy* proxy, const CallContext& context, RowsCall& call, bool upsert) {
  CheckedRows out;
  ASSIGN_OR_RETURN(out.collection, proxy->FindCollection(context, call.collection));
  const IdSource ids = [proxy](int64_t count) { return proxy->AllocateIds(count); };
  ASSIGN_OR_RETURN(out.batch, AssembleRows(*out.collection->schema, call, upsert, proxy->limits(), ids));
  if (out.collection->schema->PartitionKey() != nullptr) return out;
  const std::string partition = call.partition.empty() ? std::string(kDefaultPartition) : call.partition;
  RETURN_IF_ERROR(CheckPartitionName(partition, true, proxy->limits()));
  ASSIGN_OR_RETURN(const auto found, Proxy::PartitionIds(*out.collection, {partition}));
  out.partition = found.front();
  return out;
}

void CountRows(const char* name, const char* help, int64_t rows) {
  static Counter& inserts = Metrics().GetCounter("milvus_proxy_insert_vectors_count", "Rows inserted", {{"node_id", "1"}});
  static Counter& upserts = Metrics().GetCounter("milvus_proxy_upsert_vectors_count", "Rows upserted", {{"node_id", "1"}});
  static Counter& deletes = Metrics().GetCounter("milvus_proxy_delete_vectors_count", "Keys deleted", {{"node_id", "1"}});
  (void)help;
  (*name == 'i' ? inserts : *name == 'u' ? upserts : deletes).Add(static_cast<double>(rows));
}

}  // namespace

void Proxy::Insert(const CallContext& context, RowsCall call, Callback<MutationReply> done) {
  auto rows = CheckRows(this, context, call, /*upsert=*/false);
  if (!rows.ok()) return done(rows.status());
  auto reply = std::make_shared<MutationReply>();
  reply->keys = PrimaryKeys::FromColumn(rows->batch.Find(rows->collection->schema->PrimaryKey().id)->View());
  reply->inserted = rows->batch.rows;
  auto writes = RouteInserts(*rows->collection, rows->partition, std::move(rows->batch), nullptr);
  std::make_shared<WriteOperation>(this, context, rows->collection, std::move(writes), [reply, done = std::move(done)](Result<Timestamp> ts) {
    if (!ts.ok()) return done(ts.status());
    CountRows("insert", "", reply->inserted);
    reply->ts = *ts;
    done(std::move(*reply));
  })->Start();
}

void Proxy::Upsert(const CallContext& context, RowsCall call, Callback<MutationReply> done) {
  auto rows = CheckRows(this, context, call, /*upsert=*/true);
  if (!rows.ok()) return done(rows.status());
  const ColumnView keys = rows->batch.Find(rows->collection->schema->PrimaryKey().id)->View();
  auto reply = std::make_shared<MutationReply>();
  reply->keys = PrimaryKeys::FromColumn(keys);
  reply->inserted = reply->deleted = reply->upserted = rows->batch.rows;
  const std::vector<int64_t> last = LastRows(keys);
  const bool all = static_cast<int64_t>(last.size()) == rows->batch.rows;
  PrimaryKeys gone;
  gone.is_string = reply->keys.is_string;
  for (const int64_t row : last) gone.Append(reply->keys, row);
  auto writes = RouteInserts(*rows->collection, rows->partition, std::move(rows->batch), all ? nullptr : &last);
  RouteDeletes(*rows->collection, rows->partition, gone, writes);
  std::make_shared<WriteOperation>(this, context, rows->collection, std::move(writes), [reply, done = std::move(done)](Result<Timestamp> ts) {
    if (!ts.ok()) return done(ts.status());
    CountRows("upsert", "", reply->upserted);
    reply->ts = *ts;
    done(std::move(*reply));
  })->Start();
}

void Proxy::Delete(const CallContext& context, DeleteCall call, Callback<MutationReply> done) {
  const auto found = FindCollection(context, call.collection);
  if (!found.ok()) return done(found.status());
  const CollectionPtr collection = *found;
  PartitionId partition;
  if (!call.partition.empty()) {
    if (collection->schema->PartitionKey() != nullptr) {
      return done(Unexpected("not support manually specifying the partition names if partition key mode is used"));
    }
    if (Status bad = CheckPartitionName(call.partition, true, limits()); !bad.ok()) return done(bad);
    const auto ids = PartitionIds(*collection, {call.partition});
    if (!ids.ok()) return done(ids.status());
    partition = ids->front();
  }
  const auto filter = ParseFilterCached(collection, call.filter, call.templates);
  if (!filter.ok() || *filter == nullptr) return done(Unexpected(fmt::format("failed to create expr plan, expr = {}", call.filter)));

  const auto remove = [this, context, collection, partition, done](const PrimaryKeys& keys, int64_t count) {
    std::vector<ShardWrite> writes;
    RouteDeletes(*collection, partition, keys, writes);
    auto reply = std::make_shared<MutationReply>();
    reply->deleted = count;
    if (writes.empty()) return done(std::move(*reply));
    std::make_shared<WriteOperation>(this, context, collection, std::move(writes), [reply, done](Result<Timestamp> ts) {
      if (!ts.ok()) return done(ts.status());
      CountRows("delete", "", reply->deleted);
      reply->ts = *ts;
      done(std::move(*reply));
    })->Start();
  };
  if ((*filter)->IsKeysOnly() && (*filter)->LimitedToKeys().has_value()) {
    // Milvus counts the keys as they are named: whether there is such a row, or the same one twice, it doesn't look.
    const auto named = (*filter)->LimitedTo(collection->schema->PrimaryKey().id);
    return remove(*(*filter)->LimitedToKeys(), named.has_value() ? static_cast<int64_t>(named->size()) : (*filter)->LimitedToKeys()->size());
  }

  // Any other filter: the keys it finds now, strongly, are what goes.
  QueryCall query;
  query.collection = call.collection;
  if (!call.partition.empty()) query.partitions = {call.partition};
  query.filter = call.filter;
  query.templates = call.templates;
  query.output_fields = {collection->schema->PrimaryKey().name};
  query.consistency.level = ConsistencyLevel::kStrong;
  Query(context, std::move(query), [remove, done](Result<QueryReply> rows) {
    if (!rows.ok()) {
      // Without the reader's "failed to query: ", as Milvus.
      constexpr std::string_view kPrefix = "failed to query: ";
      const Status status = rows.status();
      const bool strip = std::string_view(status.message()).starts_with(kPrefix);
      return done(strip ? Status(status.code(), status.message().substr(kPrefix.size())) : status);
    }
    const PrimaryKeys keys = PrimaryKeys::FromColumn(rows->columns.front().View());
    remove(keys, keys.size());
  });
}

}  // namespace saker
