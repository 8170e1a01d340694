// The graph of HNSW as plain arrays, whether just built or mapped from a file, and the scratch memory of its walks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/bitmap.h"
#include "distance/kernels.h"
#include "index/codes.h"

namespace saker {

inline constexpr uint32_t kNoNode = ~uint32_t{0};

// Every row is a node, but of rows with the same code only the first is linked into the graph; the others hang on it
// (`next_duplicate`). Upper levels number their nodes 0, 1, … on their own; upper edges hold those numbers.
struct HnswGraph {
  uint32_t nodes = 0;
  uint32_t upper_nodes = 0;
  int degree = 0;        // of level 0; M above
  int upper_degree = 0;
  int max_level = 0;
  uint32_t entry = 0;    // a node; if max_level > 0, the number of an upper node
  CodeView codes;
  const uint32_t* edges = nullptr;        // nodes x degree, filled up with kNoNode
  const uint32_t* upper_rows = nullptr;   // upper node -> node
  const uint32_t* upper_first = nullptr;  // upper node -> its row in upper_edges for level 1; one more at the end
  const uint32_t* upper_edges = nullptr;  // rows x upper_degree
  const uint32_t* next_duplicate = nullptr;  // null: no row is a duplicate
  // IP only. Walks begin also at the longest vectors, which are near to most queries; and they are this much wider than
  // asked for where the data need it, as found out after building. 0: the graph is no good, scan instead.
  std::vector<uint32_t> longest;
  int ef_factor = 1;

  const uint32_t* Edges(uint32_t node) const { return edges + static_cast<size_t>(node) * degree; }
  int UpperLevels(uint32_t upper) const { return static_cast<int>(upper_first[upper + 1] - upper_first[upper]); }
  const uint32_t* UpperEdges(uint32_t upper, int level) const {
    return upper_edges + (static_cast<size_t>(upper_first[upper]) + level - 1) * upper_degree;
  }
};

struct Candidate {
  float distance;
  uint32_t id;  // the top bit marks an expanded one
};
inline constexpr uint32_t kExpanded = uint32_t{1} << 31;
inline constexpr int64_t kMaxHnswRows = (int64_t{1} << 31) - 2;

// The nearest `capacity` candidates seen, sorted, with a cursor at the nearest one not yet expanded.
class CandidatePool {
 public:
  void Reset(int capacity) {
    capacity_ = capacity;
    if (items_.size() < static_cast<size_t>(capacity) + 1) items_.resize(static_cast<size_t>(capacity) + 1);
    size_ = 0;
    cursor_ = 0;
  }
  // More room, everything kept.
  void Grow(int capacity) {
    capacity_ = capacity;
    if (items_.size() < static_cast<size_t>(capacity) + 1) items_.resize(static_cast<size_t>(capacity) + 1);
  }
  bool full() const { return size_ == capacity_; }
  bool Admits(float distance) const { return size_ < capacity_ || distance < items_[size_ - 1].distance; }
  float worst() const { return size_ < capacity_ ? 3.4e38f : items_[size_ - 1].distance; }
  void Insert(float distance, uint32_t id) {
    if (!Admits(distance)) return;
    int low = 0, high = size_;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (items_[middle].distance <= distance) low = middle + 1; else high = middle;
    }
    if (size_ == capacity_) --size_;
    std::memmove(&items_[low + 1], &items_[low], sizeof(Candidate) * static_cast<size_t>(size_ - low));
    items_[low] = {distance, id};
    ++size_;
    if (low < cursor_) cursor_ = low;
  }
  // The nearest unexpanded one, now marked; false if there is none.
  bool Next(Candidate* out) {
    while (cursor_ < size_ && (items_[cursor_].id & kExpanded) != 0) ++cursor_;
    if (cursor_ == size_) return false;
    *out = items_[cursor_];
    items_[cursor_++].id |= kExpanded;
    return true;
  }
  // The one Next() would return if nothing nearer came; for prefetching.
  uint32_t Peek() const {
    for (int i = cursor_; i < size_; ++i) {
      if ((items_[i].id & kExpanded) == 0) return items_[i].id;
    }
    return kNoNode;
  }
  int size() const { return size_; }
  float Distance(int i) const { return items_[i].distance; }
  uint32_t Id(int i) const { return items_[i].id & ~kExpanded; }

 private:
  std::vector<Candidate> items_;
  int capacity_ = 0, size_ = 0, cursor_ = 0;
};

// Which nodes a walk has seen: one byte a node, of the thread; a walk begins by taking the next stamp.
class VisitedTable {
 public:
  void Begin(uint32_t nodes) {
    if (stamps_.size() < nodes) {
      stamps_.assign(nodes, 0);
      stamp_ = 0;
    }
    if (++stamp_ == 0) {
      std::fill(stamps_.begin(), stamps_.end(), 0);
      stamp_ = 1;
    }
  }
  // True the first time.
  bool Mark(uint32_t node) {
    if (stamps_[node] == stamp_) return false;
    stamps_[node] = stamp_;
    return true;
  }
  const uint8_t* data() const { return stamps_.data(); }

 private:
  std::vector<uint8_t> stamps_;
  uint8_t stamp_ = 0;
};

// Memory of one thread's walks, kept between searches.
struct HnswScratch {
  VisitedTable visited;
  CandidatePool pool;
  CandidatePool found;  // of a filtered walk: the rows that pass
  CodeQuery query;
  std::vector<uint32_t> ids;
  std::vector<int32_t> sums;
  std::vector<uint32_t> refine;  // rows that get an exact distance
  void Room(size_t n) {
    if (ids.size() < n) {
      ids.resize(n);
      sums.resize(n);
    }
  }
};
HnswScratch& ThreadHnswScratch();

// Distances of `count` nodes to the query: distances[i] of ids[i].
inline float ScoreOne(const CodeView& codes, const CodeQuery& query, uint32_t id) {
  int32_t sum = 0;
  Kernels().dot_codes(codes.codes, codes.stride, &id, 1, query.code.data(), static_cast<int>(codes.stride), &sum);
  return query.Distance(sum, codes.tails[id]);
}

// From the entry down to level 1, always to the nearest: where the walk of level 0 begins.
Candidate DescendUpperLevels(const HnswGraph& graph, const CodeQuery& query, HnswScratch& scratch);

}  // namespace saker
