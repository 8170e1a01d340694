// The fields of everything that calls between roles carry. Fields may only be added at a type's end (frame.h).
#pragma once

#include "roles/coordinators.h"
#include "roles/query_node.h"
#include "transport/codec.h"

namespace saker {

// Who answers a ping, and how it fares.
struct NodeLoad {
  int64_t memory_bytes = 0;
  int64_t segments = 0;  // growing and loaded
  int64_t rows = 0;
};
struct PingReply {
  NodeId node;
  std::vector<std::string> roles;
  int64_t incarnation = 0;  // rises with every start of this node
  NodeLoad load;
};

template <typename Codec, Is<NodeLoad> T>
void Fields(Codec& codec, T& l) {
  codec(l.memory_bytes), codec(l.segments), codec(l.rows);
}
template <typename Codec, Is<PingReply> T>
void Fields(Codec& codec, T& p) {
  codec(p.node), codec(p.roles), codec(p.incarnation), codec(p.load);
}

// ---- coordinators

template <typename Codec, Is<CollectionDraft> T>
void Fields(Codec& codec, T& d) {
  codec(d.database), codec(d.schema), codec(d.shards), codec(d.partitions), codec(d.consistency), codec(d.properties);
}
template <typename Codec, Is<FlushResult> T>
void Fields(Codec& codec, T& f) {
  codec(f.flush_ts), codec(f.segments), codec(f.flushed_segments);
}
template <typename Codec, Is<CompactionState> T>
void Fields(Codec& codec, T& c) {
  codec(c.completed), codec(c.executing), codec(c.done), codec(c.failed), codec(c.merges);
}
template <typename Codec, Is<SegmentReport> T>
void Fields(Codec& codec, T& r) {
  codec(r.meta), codec(r.growing), codec(r.sealing);
}
template <typename Codec, Is<LoadProgress> T>
void Fields(Codec& codec, T& p) {
  codec(p.exists), codec(p.loading), codec(p.percent);
}
template <typename Codec, Is<DrainProgress> T>
void Fields(Codec& codec, T& p) {
  codec(p.draining), codec(p.channels), codec(p.segments), codec(p.tasks);
}
template <typename Codec, Is<ResourceGroupLimits> T>
void Fields(Codec& codec, T& l) {
  codec(l.nodes), codec(l.limit);
}
template <typename Codec, Is<ResourceGroupState> T>
void Fields(Codec& codec, T& s) {
  codec(s.name), codec(s.capacity), codec(s.limit), codec(s.nodes), codec(s.replicas), codec(s.outgoing), codec(s.incoming);
}
template <typename Codec, Is<NodeMemory> T>
void Fields(Codec& codec, T& m) {
  codec(m.used_bytes), codec(m.limit_bytes);
}
template <typename Codec, Is<HeldSegment> T>
void Fields(Codec& codec, T& s) {
  codec(s.segment), codec(s.bytes);
}
template <typename Codec, Is<LoadedReport> T>
void Fields(Codec& codec, T& r) {
  codec(r.node), codec(r.collection), codec(r.segments), codec(r.memory);
}
template <typename Codec, Is<IndexProgress> T>
void Fields(Codec& codec, T& p) {
  codec(p.total_rows), codec(p.indexed_rows), codec(p.pending_rows), codec(p.finished), codec(p.failure);
}

// ---- datanode

template <typename Codec, Is<ShardWrite> T>
void Fields(Codec& codec, T& w) {
  codec(w.shard), codec(w.channel), codec(w.inserts), codec(w.deletes), codec(w.delete_partition);
}
template <typename Codec, Is<WriteRequest> T>
void Fields(Codec& codec, T& w) {
  codec(w.collection), codec(w.collection_version), codec(w.batch_id), codec(w.shards);
}
template <typename Codec, Is<WriteResponse> T>
void Fields(Codec& codec, T& w) {
  codec(w.ts);
}
template <typename Codec, Is<ReadPointRequest> T>
void Fields(Codec& codec, T& r) {
  codec(r.collection), codec(r.channels), codec(r.level), codec(r.at_least), codec(r.iterator), codec(r.pinned_at);
}
template <typename Codec, Is<ReadPoint> T>
void Fields(Codec& codec, T& r) {
  codec(r.ts);
}
template <typename Codec, Is<ReadView> T>
void Fields(Codec& codec, T& v) {
  codec(v.read_ts), codec(v.expired_before);
}
template <typename Codec, Is<GrowingLeg> T>
void Fields(Codec& codec, T& l) {
  codec(l.collection), codec(l.channels), codec(l.partitions), codec(l.route_version), codec(l.sealed), codec(l.view), codec(l.pinned);
}
template <typename Codec, Is<SealedLeg> T>
void Fields(Codec& codec, T& l) {
  codec(l.collection), codec(l.route_version), codec(l.segments), codec(l.partitions), codec(l.view);
}
template <typename Codec, Is<FetchRequest> T>
void Fields(Codec& codec, T& f) {
  codec(f.collection), codec(f.segment), codec(f.rows), codec(f.fields);
}
template <typename Codec, Is<DeleteStreamRequest> T>
void Fields(Codec& codec, T& r) {
  codec(r.collection), codec(r.channel), codec(r.after), codec(r.until);
}
template <typename Codec, Is<DeleteBatch> T>
void Fields(Codec& codec, T& b) {
  codec(b.ts), codec(b.partition), codec(b.keys);
}
template <typename Codec, Is<DeleteStream> T>
void Fields(Codec& codec, T& s) {
  codec(s.batches), codec(s.complete_until);
}
template <typename Codec, Is<GrowingSegmentInfo> T>
void Fields(Codec& codec, T& s) {
  codec(s.segment), codec(s.collection), codec(s.partition), codec(s.channel);
  codec(s.rows), codec(s.size_bytes), codec(s.sealing);
}
template <typename Codec, Is<LoadedSegmentInfo> T>
void Fields(Codec& codec, T& s) {
  codec(s.segment), codec(s.collection), codec(s.partition), codec(s.rows), codec(s.memory_bytes), codec(s.indexes);
}

// ---- reads

template <typename Codec, Is<TemplateValue> T>
void Fields(Codec& codec, T& v) {
  codec(v.scalar), codec(v.list), codec(v.is_list);
}
template <typename Codec, Is<VectorSearchParams> T>
void Fields(Codec& codec, T& p) {
  codec(p.k), codec(p.ef), codec(p.nprobe), codec(p.level), codec(p.has_range), codec(p.max_distance), codec(p.min_distance);
}
// Hits travel as an array of each of their fields.
void Fields(WireWriter& codec, const SearchHits& hits);
void Fields(WireReader& codec, SearchHits& hits);
template <typename Codec, Is<QueryRows> T>
void Fields(Codec& codec, T& r) {
  codec(r.count), codec(r.keys), codec(r.timestamps), codec(r.rows);
}

// Whether columns of the field or the schema can be made and filled with its defaults, and its keys be read: what code
// behind the proxy takes for granted.
Status CheckUsable(const FieldSchema& field);
Status CheckUsable(const CollectionSchema& schema);

// Whether an answer fits its question, so that merging it is safe: a peer's mistake is kServiceInternal here.
Status CheckAnswer(const SearchPlan& plan, const SearchHits& hits);
Status CheckAnswer(const QueryPlan& plan, const QueryRows& rows);
// Whether rows fit the collection's schema: each column that the schema has is of the field's type.
Status CheckRows(const CollectionSchema& schema, const RowBatch& batch);

}  // namespace saker
