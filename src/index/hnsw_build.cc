#include "index/hnsw_build.h"

#include <atomic>
#include <cmath>
#include <functional>
#include <string>
#include <thread>
#include <unordered_map>

#include <fmt/format.h>

#include "index/build_threads.h"
#include "index/exact_search.h"

namespace saker {
namespace {

constexpr int kMaxLevel = 12;
constexpr uint32_t kNotUpper = kNoNode;

uint64_t Mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdu;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53u;
  return x ^ (x >> 33);
}

// One bit of waiting per node: held for a few microseconds, hardly ever contended.
class SpinLocks {
 public:
  explicit SpinLocks(size_t count) : flags_(count) {}
  void Lock(size_t i) {
    while (flags_[i].exchange(1, std::memory_order_acquire) != 0) {
      while (flags_[i].load(std::memory_order_relaxed) != 0) std::this_thread::yield();
    }
  }
  void Unlock(size_t i) { flags_[i].store(0, std::memory_order_release); }

 private:
  std::vector<std::atomic<uint8_t>> flags_;
};

// Rows of edges are read without a lock while others write them: a reader may see a mixture of an old and a new row,
// all of it valid nodes.
inline uint32_t LoadEdge(const uint32_t& edge) {
  return std::atomic_ref<uint32_t>(const_cast<uint32_t&>(edge)).load(std::memory_order_relaxed);
}
inline void StoreEdge(uint32_t& edge, uint32_t value) {
  std::atomic_ref<uint32_t>(edge).store(value, std::memory_order_relaxed);
}

struct BuildScratch {
  HnswScratch walk;
  CodeQuery row_query;       // the row being inserted
  CodeQuery other_query;     // a neighbour whose edges are chosen anew
  CodeQuery candidate_query;
  std::vector<Candidate> found[kMaxLevel + 1];  // the walk's outcome on each level
  std::vector<Candidate> candidates;
  std::vector<uint32_t> selected;
  std::vector<int32_t> sums;
};

class HnswBuilder {
 public:
  HnswBuilder(const CodeEncoder& encoder, Metric metric, const HnswParams& params, const VectorView& vectors,
              const VectorBuildOptions& options)
      : encoder_(encoder), metric_(metric), params_(params), vectors_(vectors), options_(options),
        nodes_(static_cast<uint32_t>(vectors.rows)), arrays_(std::make_unique<HnswArrays>()),
        locks_(static_cast<size_t>(vectors.rows)) {}

  Result<std::unique_ptr<HnswArrays>> Build() {
    RETURN_IF_ERROR(EncodeRows());
    GroupDuplicates();
    LayOut();
    RETURN_IF_ERROR(InsertAll());
    ReachAll();
    return std::move(arrays_);
  }

 private:
  HnswGraph& graph() { return arrays_->graph; }

  template <typename MakeStep>
  Status ForAllRows(const char* what, MakeStep&& make_step) {
    return ForAll(nodes_, options_, what, make_step);
  }

  Status EncodeRows() {
    const size_t stride = encoder_.stride();
    arrays_->codes.resize(nodes_ * stride);
    arrays_->tails.resize(nodes_);
    float max_norm = 0;
    if (metric_ == Metric::kIp) {
      std::vector<float> row(vectors_.dim);
      for (int64_t i = 0; i < vectors_.rows; ++i) {
        ToFloats(vectors_.type, vectors_.Row(i), vectors_.dim, row.data());
        const float norm = Kernels().ip_f32(row.data(), row.data(), vectors_.dim);
        if (norm > max_norm && norm < 1e30f) max_norm = norm;
      }
      max_norm = std::sqrt(max_norm) * 1.01f;
    }
    return ForAllRows("encoding vectors", [&] {
      return [&, stride](uint32_t row) {
        encoder_.EncodeRow(vectors_.Row(row), max_norm, &arrays_->codes[row * stride], &arrays_->tails[row]);
      };
    });
  }

  bool SameCode(uint32_t a, uint32_t b) const {
    const CodeTail &x = arrays_->tails[a], &y = arrays_->tails[b];
    const size_t stride = encoder_.stride();
    return std::fabs(x.scale - y.scale) <= 1e-5f * x.scale && std::fabs(x.term - y.term) <= 1e-5f * std::fabs(x.term) &&
           std::memcmp(&arrays_->codes[a * stride], &arrays_->codes[b * stride], stride) == 0;
  }

  // Identical vectors would fill one another's edges and cut themselves off: only the first of them gets edges.
  void GroupDuplicates() {
    const size_t stride = encoder_.stride();
    std::vector<uint32_t> last(nodes_);
    std::unordered_map<uint64_t, uint32_t> first;
    first.reserve(nodes_);
    is_duplicate_.assign(nodes_, 0);
    const std::hash<std::string_view> hash;
    for (uint32_t row = 0; row < nodes_; ++row) {
      last[row] = row;
      const uint64_t key = hash({reinterpret_cast<const char*>(&arrays_->codes[row * stride]), stride});
      const auto [it, is_new] = first.emplace(key, row);
      if (is_new || !SameCode(it->second, row)) continue;
      if (arrays_->next_duplicate.empty()) arrays_->next_duplicate.assign(nodes_, kNoNode);
      arrays_->next_duplicate[last[it->second]] = row;
      last[it->second] = row;
      is_duplicate_[row] = 1;
    }
  }

  int RandomLevel(uint32_t row) const {
    const double uniform = (static_cast<double>(Mix(row + 1) >> 11) + 0.5) / 9007199254740992.0;
    return std::min(kMaxLevel, static_cast<int>(-std::log(uniform) / std::log(std::max(2.0, double(params_.m)))));
  }

  // Levels are known before anything is inserted: the entry, of the highest level, goes first and stays.
  void LayOut() {
    HnswGraph& g = graph();
    g.nodes = nodes_;
    g.degree = params_.m * 2;
    g.upper_degree = params_.m;
    arrays_->edges.assign(static_cast<size_t>(nodes_) * g.degree, kNoNode);
    upper_of_.assign(nodes_, kNotUpper);
    arrays_->upper_first.push_back(0);
    uint32_t entry_row = 0;
    for (uint32_t row = 0; row < nodes_; ++row) {
      const int level = is_duplicate_[row] != 0 ? 0 : RandomLevel(row);
      if (level == 0) continue;
      upper_of_[row] = static_cast<uint32_t>(arrays_->upper_rows.size());
      arrays_->upper_rows.push_back(row);
      arrays_->upper_first.push_back(arrays_->upper_first.back() + static_cast<uint32_t>(level));
      if (level > g.max_level) g.max_level = level, entry_row = row;
    }
    entry_row_ = entry_row;
    g.entry = g.max_level > 0 ? upper_of_[entry_row] : entry_row;
    g.upper_nodes = static_cast<uint32_t>(arrays_->upper_rows.size());
    arrays_->upper_edges.assign(static_cast<size_t>(arrays_->upper_first.back()) * g.upper_degree, kNoNode);
    g.codes = {arrays_->codes.data(), arrays_->tails.data(), static_cast<size_t>(encoder_.stride())};
    g.edges = arrays_->edges.data();
    g.upper_rows = arrays_->upper_rows.data();
    g.upper_first = arrays_->upper_first.data();
    g.upper_edges = arrays_->upper_edges.data();
    g.next_duplicate = arrays_->next_duplicate.empty() ? nullptr : arrays_->next_duplicate.data();
  }

  Status InsertAll() {
    return ForAllRows("linking the graph", [&] {
      return [&, scratch = std::make_shared<BuildScratch>()](uint32_t row) {
        if (row != entry_row_ && is_duplicate_[row] == 0) Insert(row, *scratch);
      };
    });
  }

  uint32_t* EdgeRow(uint32_t node, int level) {  // node: an upper node's number if level > 0
    if (level == 0) return &arrays_->edges[static_cast<size_t>(node) * graph().degree];
    return &arrays_->upper_edges[(static_cast<size_t>(arrays_->upper_first[node]) + level - 1) * graph().upper_degree];
  }
  int Degree(int level) const { return level == 0 ? arrays_->graph.degree : arrays_->graph.upper_degree; }
  uint32_t RowOf(uint32_t node, int level) const { return level == 0 ? node : arrays_->upper_rows[node]; }

  void Score(const CodeQuery& query, const uint32_t* rows, int count, std::vector<int32_t>& sums) {
    if (sums.size() < static_cast<size_t>(count)) sums.resize(count);
    const CodeView& codes = graph().codes;
    Kernels().dot_codes(codes.codes, codes.stride, rows, count, query.code.data(), static_cast<int>(codes.stride), sums.data());
  }

  void Insert(uint32_t row, BuildScratch& s) {
    const HnswGraph& g = graph();
    encoder_.RowAsQuery(g.codes.Code(row), g.codes.tails[row], &s.row_query);
    const uint32_t upper = upper_of_[row];
    const int level = upper == kNotUpper ? 0 : g.UpperLevels(upper);
    Candidate at{0, g.entry};
    at.distance = ScoreOne(g.codes, s.row_query, entry_row_);
    for (int l = g.max_level; l > level; --l) at = Greedy(at, l, s);
    for (int l = std::min(level, g.max_level); l >= 1; --l) {
      Walk(at, l, s);
      at = {s.walk.pool.Distance(0), s.walk.pool.Id(0)};
      TakeFound(s, &s.found[l]);
    }
    if (g.max_level > 0) at.id = arrays_->upper_rows[at.id];
    Walk(at, 0, s);
    TakeFound(s, &s.found[0]);
    // From below upwards: whoever finds the row on a level finds it linked on those below.
    for (int l = 0; l <= level; ++l) Link(l == 0 ? row : upper, l, s.found[l], s);
  }
  static void TakeFound(const BuildScratch& s, std::vector<Candidate>* out) {
    out->clear();
    for (int i = 0; i < s.walk.pool.size(); ++i) out->push_back({s.walk.pool.Distance(i), s.walk.pool.Id(i)});
  }

  Candidate Greedy(Candidate at, int level, BuildScratch& s) {
    const int degree = graph().upper_degree;
    s.walk.Room(degree);
    for (bool moved = true; moved;) {
      moved = false;
      const uint32_t* edges = EdgeRow(at.id, level);
      uint32_t uppers[2048];
      int count = 0;
      for (; count < degree; ++count) {
        uppers[count] = LoadEdge(edges[count]);
        if (uppers[count] == kNoNode) break;
        s.walk.ids[count] = arrays_->upper_rows[uppers[count]];
      }
      Score(s.row_query, s.walk.ids.data(), count, s.sums);
      for (int i = 0; i < count; ++i) {
        const float d = s.row_query.Distance(s.sums[i], arrays_->tails[s.walk.ids[i]]);
        if (d < at.distance) at = {d, uppers[i]}, moved = true;
      }
    }
    return at;
  }

  // The ef_construction nearest found on a level, into s.walk.pool.
  void Walk(Candidate at, int level, BuildScratch& s) {
    const int degree = Degree(level);
    HnswScratch& w = s.walk;
    w.Room(static_cast<size_t>(degree) * 2);
    uint32_t* nodes = w.ids.data();
    uint32_t* rows = w.ids.data() + degree;
    w.visited.Begin(nodes_);
    w.pool.Reset(params_.ef_construction);
    w.visited.Mark(at.id);
    w.pool.Insert(at.distance, at.id);
    Candidate next;
    while (w.pool.Next(&next)) {
      const uint32_t* edges = EdgeRow(next.id, level);
      int count = 0;
      for (int i = 0; i < degree; ++i) {
        const uint32_t node = LoadEdge(edges[i]);
        if (node == kNoNode) break;
        if (!w.visited.Mark(node)) continue;
        nodes[count] = node;
        rows[count] = RowOf(node, level);
        __builtin_prefetch(&arrays_->tails[rows[count]]);
        ++count;
      }
      if (const uint32_t peek = w.pool.Peek(); peek != kNoNode) __builtin_prefetch(EdgeRow(peek, level));
      Score(s.row_query, rows, count, w.sums);
      for (int i = 0; i < count; ++i) {
        w.pool.Insert(s.row_query.Distance(w.sums[i], arrays_->tails[rows[i]]), nodes[i]);
      }
    }
  }

  // Of candidates sorted by distance to a base, those nearer to the base than to any chosen before them: edges in
  // all directions instead of many into one cluster. Equal distances count as nearer to the chosen one.
  void Select(const std::vector<Candidate>& candidates, int limit, int level, BuildScratch& s) {
    s.selected.clear();
    uint32_t chosen_rows[4096];
    const CodeView& codes = graph().codes;
    for (const Candidate& c : candidates) {
      if (static_cast<int>(s.selected.size()) >= limit) break;
      const uint32_t row = RowOf(c.id, level);
      bool keep = true;
      if (!s.selected.empty()) {
        encoder_.RowAsQuery(codes.Code(row), codes.tails[row], &s.candidate_query);
        constexpr int kStep = 8;
        const int count = static_cast<int>(s.selected.size());
        for (int i = 0; i < count && keep; i += kStep) {
          const int n = std::min(kStep, count - i);
          Score(s.candidate_query, chosen_rows + i, n, s.sums);
          for (int j = 0; j < n && keep; ++j) {
            keep = s.candidate_query.Distance(s.sums[j], codes.tails[chosen_rows[i + j]]) > c.distance;
          }
        }
      }
      if (!keep) continue;
      chosen_rows[s.selected.size()] = row;
      s.selected.push_back(c.id);
    }
  }

  void Link(uint32_t node, int level, const std::vector<Candidate>& found, BuildScratch& s) {
    Select(found, params_.m, level, s);
    const std::vector<uint32_t> neighbors = s.selected;
    const size_t lock = RowOf(node, level);
    locks_.Lock(lock);
    uint32_t* edges = EdgeRow(node, level);
    // Others may have linked to this node already while it was looking: what they wrote stays behind its own choice.
    std::vector<uint32_t> before;
    for (int i = 0; i < Degree(level) && edges[i] != kNoNode; ++i) before.push_back(edges[i]);
    size_t count = 0;
    for (const uint32_t n : neighbors) StoreEdge(edges[count++], n);
    for (const uint32_t n : before) {
      if (count < static_cast<size_t>(Degree(level)) && std::find(neighbors.begin(), neighbors.end(), n) == neighbors.end()) {
        StoreEdge(edges[count++], n);
      }
    }
    locks_.Unlock(lock);
    for (const uint32_t neighbor : neighbors) LinkBack(neighbor, node, level, s);
  }

  void LinkBack(uint32_t node, uint32_t neighbor, int level, BuildScratch& s) {
    const int degree = Degree(level);
    const uint32_t row = RowOf(node, level);
    uint32_t* edges = EdgeRow(node, level);
    locks_.Lock(row);
    int count = 0;
    for (; count < degree && edges[count] != kNoNode; ++count) {
      if (edges[count] == neighbor) {
        locks_.Unlock(row);
        return;
      }
    }
    if (count < degree) {
      StoreEdge(edges[count], neighbor);
    } else {
      ChooseAnew(node, neighbor, level, s);
    }
    locks_.Unlock(row);
  }

  // The edges of a full node, with one more candidate.
  void ChooseAnew(uint32_t node, uint32_t extra, int level, BuildScratch& s) {
    const int degree = Degree(level);
    const uint32_t row = RowOf(node, level);
    const CodeView& codes = graph().codes;
    uint32_t* edges = EdgeRow(node, level);
    encoder_.RowAsQuery(codes.Code(row), codes.tails[row], &s.other_query);
    s.walk.Room(static_cast<size_t>(degree) + 1);
    uint32_t* rows = s.walk.ids.data();
    for (int i = 0; i < degree; ++i) rows[i] = RowOf(edges[i], level);
    rows[degree] = RowOf(extra, level);
    Score(s.other_query, rows, degree + 1, s.sums);
    s.candidates.clear();
    for (int i = 0; i <= degree; ++i) {
      s.candidates.push_back({s.other_query.Distance(s.sums[i], codes.tails[rows[i]]), i < degree ? edges[i] : extra});
    }
    std::sort(s.candidates.begin(), s.candidates.end(), [](const Candidate& a, const Candidate& b) {
      return a.distance < b.distance || (a.distance == b.distance && a.id < b.id);
    });
    Select(s.candidates, degree, level, s);
    for (int i = 0; i < degree; ++i) {
      StoreEdge(edges[i], i < static_cast<int>(s.selected.size()) ? s.selected[i] : kNoNode);
    }
  }

  // Every linked row must be reachable on level 0 from the entry. Pruning may leave a few that are not: each gets an
  // edge from one of its own neighbours.
  void ReachAll() {
    for (int round = 0; round < 4; ++round) {
      std::vector<uint8_t> reached = Reached();
      std::vector<uint32_t> in_degree(nodes_, 0);
      for (const uint32_t edge : arrays_->edges) {
        if (edge != kNoNode) ++in_degree[edge];
      }
      bool complete = true;
      for (uint32_t node = 0; node < nodes_; ++node) {
        if (reached[node] != 0 || is_duplicate_[node] != 0) continue;
        complete = false;
        Attach(node, reached, in_degree);
      }
      if (complete) return;
    }
  }
  std::vector<uint8_t> Reached() {
    std::vector<uint8_t> reached(nodes_, 0);
    std::vector<uint32_t> queue;
    if (nodes_ == 0) return reached;
    queue.push_back(entry_row_);
    reached[entry_row_] = 1;
    while (!queue.empty()) {
      const uint32_t node = queue.back();
      queue.pop_back();
      const uint32_t* edges = graph().Edges(node);
      for (int i = 0; i < graph().degree && edges[i] != kNoNode; ++i) {
        if (reached[edges[i]] == 0) {
          reached[edges[i]] = 1;
          queue.push_back(edges[i]);
        }
      }
    }
    return reached;
  }
  void Attach(uint32_t node, std::vector<uint8_t>& reached, std::vector<uint32_t>& in_degree) {
    const int degree = graph().degree;
    const uint32_t* own = EdgeRow(node, 0);
    for (int i = 0; i <= degree; ++i) {
      // Its own neighbours first, the entry if none of them will do.
      const uint32_t from = i < degree && own[i] != kNoNode ? own[i] : entry_row_;
      if (reached[from] == 0 || from == node) continue;
      uint32_t* edges = EdgeRow(from, 0);
      for (int j = degree - 1; j >= 0; --j) {
        if (edges[j] != kNoNode && in_degree[edges[j]] < 2) continue;
        if (edges[j] == kNoNode && j > 0 && edges[j - 1] == kNoNode) continue;  // rows have no gaps
        if (edges[j] != kNoNode) --in_degree[edges[j]];
        edges[j] = node;
        ++in_degree[node];
        reached[node] = 1;
        return;
      }
    }
  }

  const CodeEncoder& encoder_;
  const Metric metric_;
  const HnswParams params_;
  const VectorView& vectors_;
  const VectorBuildOptions& options_;
  const uint32_t nodes_;
  std::unique_ptr<HnswArrays> arrays_;
  SpinLocks locks_;
  std::vector<uint8_t> is_duplicate_;
  std::vector<uint32_t> upper_of_;
  uint32_t entry_row_ = 0;
};

}  // namespace

Result<std::unique_ptr<HnswArrays>> BuildHnswGraph(const CodeEncoder& encoder, Metric metric, const HnswParams& params,
                                                   const VectorView& vectors, const VectorBuildOptions& options) {
  return HnswBuilder(encoder, metric, params, vectors, options).Build();
}

}  // namespace saker
