// The fields of catalog values, said once for all codecs: of the meta store's format (schema_codec.cc) and of calls
// between processes (src/transport). A codec is called with each field in turn: a writer appends it, a reader fills it.
#pragma once

#include <type_traits>

#include "model/schema.h"

namespace saker {

// T is const for a Writer, not for a Reader; `Is` tells the types apart.
template <typename T, typename U>
concept Is = std::is_same_v<std::remove_const_t<T>, U>;

template <typename Codec, Is<FieldSchema> T>
void Fields(Codec& codec, T& f) {
  codec(f.id), codec(f.name), codec(f.description), codec(f.type), codec(f.element_type);
  codec(f.is_primary), codec(f.auto_id), codec(f.is_partition_key), codec(f.is_clustering_key), codec(f.is_dynamic);
  codec(f.nullable), codec(f.is_function_output), codec(f.default_value);
  codec(f.type_params), codec(f.index_params), codec(f.dim), codec(f.max_length), codec(f.max_capacity);
}
template <typename Codec, Is<CollectionSchema> T>
void Fields(Codec& codec, T& s) {
  codec(s.name), codec(s.description), codec(s.auto_id), codec(s.enable_dynamic_field);
  codec(s.fields), codec(s.properties);
}
template <typename Codec, Is<Partition> T>
void Fields(Codec& codec, T& p) {
  codec(p.id), codec(p.name), codec(p.created);
}
template <typename Codec, Is<IndexMeta> T>
void Fields(Codec& codec, T& i) {
  codec(i.id), codec(i.field), codec(i.name), codec(i.type), codec(i.metric), codec(i.params), codec(i.type_params);
  codec(i.created), codec(i.dropped);
}
template <typename Codec, Is<SegmentIndex> T>
void Fields(Codec& codec, T& i) {
  codec(i.index), codec(i.object), codec(i.size_bytes), codec(i.rows);
}
template <typename Codec, Is<SegmentMeta> T>
void Fields(Codec& codec, T& s) {
  codec(s.id), codec(s.collection), codec(s.partition), codec(s.channel), codec(s.kind), codec(s.state);
  codec(s.rows), codec(s.deleted_rows), codec(s.size_bytes), codec(s.min_ts), codec(s.max_ts);
  codec(s.deletes_until), codec(s.dropped_until);
  codec(s.log_end), codec(s.epoch), codec(s.manifest), codec(s.indexes), codec(s.compacted_from);
}
template <typename Codec, Is<Database> T>
void Fields(Codec& codec, T& d) {
  codec(d.id), codec(d.name), codec(d.properties), codec(d.created);
}
template <typename Codec, Is<User> T>
void Fields(Codec& codec, T& u) {
  codec(u.name), codec(u.password_hash), codec(u.roles);
}
template <typename Codec, Is<Grant> T>
void Fields(Codec& codec, T& g) {
  codec(g.role), codec(g.object_type), codec(g.object), codec(g.database), codec(g.privilege), codec(g.grantor);
}
template <typename Codec, Is<Role> T>
void Fields(Codec& codec, T& r) {
  codec(r.name), codec(r.grants);
}

// What later code switches or divides on: of a schema that comes from outside, this is to be true.
bool IsSound(const FieldSchema& field);
bool IsSound(const CollectionSchema& schema);

}  // namespace saker
