// VectorIndex: nearest neighbours over the vectors of one segment. Built once, then immutable; search is thread-safe and
// allocates nothing per call beyond its result. Rows are the segment's row numbers.
//
// Ranking is by *distance*, smaller is nearer (model/types.h says how scores relate). An index may be built on codes;
// what it returns is ranked by exact distances on the raw vectors unless its type says otherwise (IVF_SQ8).
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bitmap.h"
#include "base/status.h"
#include "model/types.h"

namespace saker {

// Raw vectors, one row after another; borrowed. Binary vectors: dim bits, dim / 8 bytes a row.
struct VectorView {
  DataType type = DataType::kFloatVector;
  int dim = 0;
  int64_t rows = 0;
  const uint8_t* data = nullptr;
  int row_bytes = 0;
  const uint8_t* Row(int64_t i) const { return data + i * static_cast<int64_t>(row_bytes); }
};

struct Neighbor {
  float distance = 0;
  int64_t row = 0;
  bool operator<(const Neighbor& other) const {
    return distance < other.distance || (distance == other.distance && row < other.row);
  }
};

// How to search, parsed once per request (index/params.h) from what the client sent.
struct VectorSearchParams {
  int k = 10;
  int ef = 0;            // HNSW; 0: the index's default for k
  int nprobe = 0;        // IVF; 0: the index's default
  int level = 0;         // AUTOINDEX 1..10; 0: default
  // Range search: only rows with min_distance <= distance < max_distance (as distances; the proxy translated
  // radius/range_filter). Exclusive/inclusive ends follow Milvus: L2: range_filter <= d < radius; IP: radius < s <= range_filter.
  bool has_range = false;
  float max_distance = 0;   // exclusive
  float min_distance = 0;   // inclusive; -inf if not given
};

// The stop signal of a build, looked at every few thousand rows.
using Cancelled = std::function<bool()>;

struct VectorBuildOptions {
  int threads = 1;        // above 1: so many threads are started and joined before it returns; 1: the caller's own
  int nice = 10;          // their niceness, so that searches come first
  Cancelled cancelled;    // may be empty
};

class VectorIndex {
 public:
  virtual ~VectorIndex() = default;
  virtual std::string_view type() const = 0;   // "HNSW", "IVF_FLAT", …: what it is, never "AUTOINDEX"
  virtual Metric metric() const = 0;
  virtual int64_t rows() const = 0;
  // Up to params.k nearest of the rows whose bit in `allowed` is set (null: all), nearest first, appended to `out`.
  // `allowed_count` is the number of set bits (rows() if null): the index picks graph, filtered or exact search by it.
  // At least min(k, allowed_count) are found except where an IVF's nprobe says otherwise or a range is given.
  virtual void Search(const uint8_t* query, const VectorSearchParams& params, const Bitmap* allowed, int64_t allowed_count,
                      std::vector<Neighbor>& out) const = 0;
  virtual int64_t memory_bytes() const = 0;
  // The index file (docs/format/index.md): header with magic, version, type; sections with checksums; can be mapped.
  virtual Status Save(const std::function<Status(std::string_view)>& append) const = 0;
};

// Exact search over raw vectors: FLAT, growing segments, and what filters leave over. Rows begin at `first_row` of the
// segment (a growing segment has several chunks); nearest first, merged into `heap` kept by the caller.
class TopK {
 public:
  explicit TopK(int k) : k_(k) {}
  float worst() const { return static_cast<int>(heap_.size()) < k_ ? kInfinite : heap_.front().distance; }
  void Push(Neighbor n);
  std::vector<Neighbor> TakeSorted();
  int k() const { return k_; }

 private:
  static constexpr float kInfinite = 3.4e38f;
  int k_;
  std::vector<Neighbor> heap_;
};
void ExactSearch(const VectorView& vectors, Metric metric, const uint8_t* query, const VectorSearchParams& params,
                 const Bitmap* allowed, int64_t first_row, TopK& top);
// Distances of chosen rows to a query (refine, grouping, iterators).
float ExactDistance(DataType type, Metric metric, int dim, const uint8_t* query, const uint8_t* vector);

// ---- making one

// What a client asked for, checked against Milvus's rules for this field. The message is Milvus's.
Status CheckIndexParams(std::string_view index_type, Metric metric, DataType field_type, int dim, const KeyValues& params);
// Metric by default for a field type: COSINE for float, HAMMING for binary, IP for sparse.
Metric DefaultMetric(DataType field_type);
// Search parameters from the request's `params` JSON object, checked for the index type ("" = no index yet). The
// message is Milvus's.
Result<VectorSearchParams> ParseSearchParams(std::string_view index_type, Metric metric, int k, const KeyValues& params);

Result<std::unique_ptr<VectorIndex>> BuildVectorIndex(std::string_view index_type, Metric metric, const KeyValues& params,
                                                      const VectorView& vectors, const VectorBuildOptions& options);
// `file` and `vectors` must outlive the index (the caller keeps the mappings). kCorrupted for a damaged file, also of
// lengths; kUnimplemented for a version this build does not know. Touches only what it must: mapping is loading.
Result<std::unique_ptr<VectorIndex>> OpenVectorIndex(std::string_view file, const VectorView& vectors);

}  // namespace saker
