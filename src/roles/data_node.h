// What a datanode offers. It owns channels of the log: stamps, appends and applies writes, serves growing segments and
// the delete stream, flushes. In a cluster this is spoken over gRPC, in standalone it is a function call.
//
// Data calls are asynchronous: the callback may run on any thread, also before the call returns.
#pragma once

#include <chrono>

#include "query/search.h"
#include "roles/state.h"

namespace saker {

// What one request writes to one shard. An upsert has both: its delete and its insert share one timestamp.
struct ShardWrite {
  int shard = 0;
  ChannelId channel = 0;
  std::vector<std::pair<PartitionId, RowBatch>> inserts;   // columns in schema order, complete: ids and defaults filled
  PrimaryKeys deletes;
  PartitionId delete_partition;                            // 0: all partitions
};
struct WriteRequest {
  CollectionId collection;
  int64_t collection_version = 0;   // schema the rows were checked against; an older one than the owner's is refused
  uint64_t batch_id = 0;            // unique per request: a retry of a logged batch gets the first answer
  std::vector<ShardWrite> shards;   // all owned by this node; embedded they are one log record, all or nothing
};
struct WriteResponse {
  Timestamp ts = 0;                 // of the batch: usable as a guarantee timestamp
};

// Where a read happens. protocol.md, visibility, rules 2 to 4.
struct ReadPointRequest {
  CollectionId collection;
  std::vector<ChannelId> channels;
  ConsistencyLevel level = ConsistencyLevel::kBounded;
  Timestamp at_least = 0;           // the maximum of other owners' answers, or 0
  bool iterator = false;            // reads at the same timestamp will follow: see OldestPin
  Timestamp pinned_at = 0;          // an iterator's later pages: where its first one was read; 0: this is the first
};
struct ReadPoint {
  Timestamp ts = 0;                 // everything acknowledged is at or before; nothing will be stamped at or before
};

struct GrowingLeg {
  CollectionId collection;
  std::vector<ChannelId> channels;
  std::vector<PartitionId> partitions;   // empty: all
  int64_t route_version = 0;             // kStaleRoute if this node has released what that route says is growing
  std::vector<SegmentId> sealed;         // of the route, sorted: these are searched at querynodes, not here
  ReadView view;
  bool pinned = false;                   // an iterator's later page: refused if rows that it may need are gone
};

struct FetchRequest {
  CollectionId collection;
  SegmentId segment;
  std::vector<int64_t> rows;
  std::vector<FieldId> fields;
};

struct DeleteStreamRequest {
  CollectionId collection;
  ChannelId channel = 0;
  Timestamp after = 0;              // exclusive
  Timestamp until = 0;              // where it is read; kMaxTimestamp: by nobody yet. All there is comes, also what is later
};
struct DeleteStream {
  std::vector<DeleteBatch> batches; // rising ts
  Timestamp complete_until = 0;     // no delete in (after, this] is missing
};

struct GrowingSegmentInfo {
  SegmentId segment;
  CollectionId collection;
  PartitionId partition;
  ChannelId channel = 0;
  int64_t rows = 0;
  int64_t size_bytes = 0;
  bool sealing = false;
};

// How long an iterator's rows are kept after its last page.
inline constexpr std::chrono::minutes kPinLifetime{10};

class DataNode {
 public:
  virtual ~DataNode() = default;
  virtual void Write(WriteRequest request, Callback<WriteResponse> done) = 0;
  virtual void BeginRead(const ReadPointRequest& request, Callback<ReadPoint> done) = 0;
  virtual void Search(const GrowingLeg& leg, std::shared_ptr<const SearchPlan> plan, Callback<SearchHits> done) = 0;
  virtual void Query(const GrowingLeg& leg, std::shared_ptr<const QueryPlan> plan, Callback<QueryRows> done) = 0;
  // kStaleRoute if the segment is no longer here.
  virtual void Fetch(const FetchRequest& request, Callback<RowBatch> done) = 0;
  // kCompacted if deletes after `after` may have been forgotten here: they are in committed delete segments.
  virtual Result<DeleteStream> Deletes(const DeleteStreamRequest& request) = 0;
  virtual Result<std::vector<GrowingSegmentInfo>> GrowingSegments(CollectionId collection) = 0;  // 0: of all
  // The oldest timestamp at which an iterator may still read; kMaxTimestamp: none. What was deleted later is to be kept.
  // Pins are of this process: after its end an iterator may be told that its rows are gone. protocol.md rule 5.
  virtual Result<Timestamp> OldestPin(CollectionId collection) = 0;
  // Refuses the collection's (or a partition's) older versions from now on; logged before it returns. Of a drop the
  // growing rows are forgotten. protocol.md rule 17.
  virtual Status BarrierCollection(CollectionId collection, const std::vector<ChannelId>& channels, int64_t version,
                                   bool dropped, const std::vector<PartitionId>& dropped_partitions) = 0;
};

}  // namespace saker
