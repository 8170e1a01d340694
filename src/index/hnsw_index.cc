// HNSW: walks over codes, exact distances for the answer.
#include <cmath>

#include <fmt/format.h>

#include "index/exact_search.h"
#include "index/hnsw_build.h"
#include "index/index_file.h"
#include "index/index_params.h"

namespace saker {

HnswScratch& ThreadHnswScratch() {
  thread_local HnswScratch scratch;
  return scratch;
}

Candidate DescendUpperLevels(const HnswGraph& graph, const CodeQuery& query, HnswScratch& scratch) {
  const uint32_t entry_row = graph.max_level > 0 ? graph.upper_rows[graph.entry] : graph.entry;
  Candidate at{ScoreOne(graph.codes, query, entry_row), graph.entry};
  scratch.Room(graph.upper_degree);
  for (int level = graph.max_level; level >= 1; --level) {
    for (bool moved = true; moved;) {
      moved = false;
      const uint32_t* edges = graph.UpperEdges(at.id, level);
      int count = 0;
      for (; count < graph.upper_degree && edges[count] != kNoNode; ++count) {
        scratch.ids[count] = graph.upper_rows[edges[count]];
      }
      Kernels().dot_codes(graph.codes.codes, graph.codes.stride, scratch.ids.data(), count, query.code.data(),
                          static_cast<int>(graph.codes.stride), scratch.sums.data());
      for (int i = 0; i < count; ++i) {
        const float d = query.Distance(scratch.sums[i], graph.codes.tails[scratch.ids[i]]);
        if (d < at.distance) at = {d, edges[i]}, moved = true;
      }
    }
  }
  if (graph.max_level > 0) at.id = graph.upper_rows[at.id];
  return at;
}

namespace {

constexpr int kDefaultEf = 64;
constexpr int kMaxEf = 32768;
// Codes rank with a little noise: a few more places in the pool than the client asked for make up for it.
constexpr int kExtraEf = 4;
// Below this share of passing rows a filtered walk finds too few ways to go, below the other it needs a wider pool.
constexpr double kLeastPassForGraph = 0.02;
constexpr double kFewPass = 0.08;

// What the meta section begins with; the centre's floats follow.
struct MetaRecord {
  uint32_t m = 0;
  uint32_t ef_construction = 0;
  uint32_t max_level = 0;
  uint32_t entry = 0;
  uint32_t upper_nodes = 0;
  uint32_t stride = 0;
  uint32_t center_size = 0;
  uint32_t ef_factor = 1;
};
enum Section { kMeta, kCodes, kTails, kEdges, kUpperRows, kUpperFirst, kUpperEdges, kNextDuplicate, kSections };

class HnswIndex : public VectorIndex {
 public:
  HnswIndex(Metric metric, const HnswParams& params, const VectorView& vectors, std::unique_ptr<CodeEncoder> encoder,
            HnswGraph graph, std::unique_ptr<HnswArrays> arrays)
      : metric_(metric), params_(params), vectors_(vectors), encoder_(std::move(encoder)), graph_(std::move(graph)),
        arrays_(std::move(arrays)) {
    if (metric == Metric::kIp) FindLongest();
  }
  // For IP: how much wider walks must be than asked for to find what they would in a metric space.
  void MeasureEfFactor();

  std::string_view type() const override { return "HNSW"; }
  Metric metric() const override { return metric_; }
  int64_t rows() const override { return vectors_.rows; }
  int64_t memory_bytes() const override;
  void Search(const uint8_t* query, const VectorSearchParams& params, const Bitmap* allowed, int64_t allowed_count,
              std::vector<Neighbor>& out) const override;
  Status Save(const std::function<Status(std::string_view)>& append) const override;

 private:
  struct Request {
    const uint8_t* query;
    const VectorSearchParams& params;
    const Bitmap* allowed;  // null: all
    int64_t allowed_count;
    int ef;
  };

  int Ef(const VectorSearchParams& params) const;
  // How many of the nearest by code get an exact distance, so that the k nearest are among them.
  static int RefineCount(int k) { return k + std::max(12, k / 3); }
  bool ScanIsCheaper(const Request& request) const;

  void SearchGraph(const Request& request, int refine, std::vector<Neighbor>& out) const;
  void SearchRange(Request request, std::vector<Neighbor>& out) const;
  void SearchScan(const Request& request, std::vector<Neighbor>& out) const;
  void SearchExact(const Request& request, std::vector<Neighbor>& out) const;

  void FindLongest();
  void Walk(Candidate from, int ef, HnswScratch& s) const;
  // The walk that suits the request's filter. False: scanning is cheaper, as turned out on the way.
  bool WalkFor(const Request& request, Candidate from, HnswScratch& s) const;
  bool WalkFiltered(Candidate from, const Request& request, HnswScratch& s) const;
  // Nodes not yet seen that pass, of an expanded node: its neighbours and, where few of those pass, theirs.
  int GatherPassing(uint32_t node, const Bitmap& allowed, int limit, HnswScratch& s) const;
  void SeedFrom(const Bitmap& allowed, int seeds, HnswScratch& s) const;
  void ScoreInto(int count, CandidatePool& pool, HnswScratch& s) const;
  bool Passes(uint32_t node, const Bitmap& allowed) const {
    if (allowed.Test(node)) return true;
    if (graph_.next_duplicate == nullptr) return false;
    for (uint32_t d = graph_.next_duplicate[node]; d != kNoNode; d = graph_.next_duplicate[d]) {
      if (allowed.Test(d)) return true;
    }
    return false;
  }
  // The pool's nodes as rows, duplicates spelled out, up to `limit`, into s.refine.
  void TakeRows(const CandidatePool& pool, const Bitmap* allowed, size_t limit, HnswScratch& s) const;
  int Refine(const Request& request, const HnswScratch& s, std::vector<Neighbor>& out) const {
    return ScoreRows(vectors_, metric_, request.params, request.query, s.refine, out);
  }

  const Metric metric_;
  const HnswParams params_;
  const VectorView vectors_;
  const std::unique_ptr<CodeEncoder> encoder_;
  HnswGraph graph_;
  const std::unique_ptr<HnswArrays> arrays_;  // null: the graph lies in a mapped file
};

int HnswIndex::Ef(const VectorSearchParams& params) const {
  int ef = params.ef;
  if (ef <= 0) {
    ef = std::max(kDefaultEf, params.k + params.k / 2);
    if (params.level > 1) ef = static_cast<int>(ef * (1 + 0.5 * (std::min(params.level, 10) - 1)));
  }
  return std::clamp((ef + kExtraEf) * std::max(1, graph_.ef_factor), std::max(1, params.k), std::max(kMaxEf, params.k));
}

void HnswIndex::FindLongest() {
  constexpr size_t kLongest = 64;
  std::vector<uint32_t> linked;
  std::vector<uint8_t> is_duplicate(graph_.next_duplicate == nullptr ? 0 : graph_.nodes);
  for (uint32_t i = 0; i < is_duplicate.size(); ++i) {
    if (graph_.next_duplicate[i] != kNoNode) is_duplicate[graph_.next_duplicate[i]] = 1;
  }
  for (uint32_t i = 0; i < graph_.nodes; ++i) {
    if (is_duplicate.empty() || is_duplicate[i] == 0) linked.push_back(i);
  }
  const size_t count = std::min(kLongest, linked.size());
  // The extra coordinate of IP is the smaller the longer the vector; NaN, which only a made-up file has, goes last.
  const auto key = [&](uint32_t i) { return std::isnan(graph_.codes.tails[i].term) ? INFINITY : graph_.codes.tails[i].term; };
  std::partial_sort(linked.begin(), linked.begin() + static_cast<ptrdiff_t>(count), linked.end(), [&](uint32_t a, uint32_t b) {
    return key(a) < key(b) || (key(a) == key(b) && a < b);
  });
  linked.resize(count);
  graph_.longest = std::move(linked);
}

void HnswIndex::MeasureEfFactor() {
  constexpr int kSamples = 64, kK = 10;
  constexpr double kEnough = 0.96;
  if (rows() < 1000) return;
  std::vector<std::vector<Neighbor>> truth(kSamples);
  const VectorSearchParams params{.k = kK, .ef = kDefaultEf};
  const auto query = [&](int i) { return vectors_.Row(i * (rows() / kSamples)); };
  for (int i = 0; i < kSamples; ++i) {
    encoder_->EncodeQuery(query(i), &ThreadHnswScratch().query);
    SearchScan({query(i), params, nullptr, rows(), kDefaultEf}, truth[i]);
  }
  for (const int factor : {1, 2, 4, 8, 16}) {
    int hits = 0, wanted = 0;
    for (int i = 0; i < kSamples; ++i) {
      std::vector<Neighbor> found;
      encoder_->EncodeQuery(query(i), &ThreadHnswScratch().query);
      SearchGraph({query(i), params, nullptr, rows(), kDefaultEf * factor}, RefineCount(kK), found);
      wanted += static_cast<int>(truth[i].size());
      for (const Neighbor& n : found) hits += !truth[i].empty() && n.distance <= truth[i].back().distance ? 1 : 0;
    }
    graph_.ef_factor = factor;
    if (hits >= kEnough * wanted) return;
  }
  graph_.ef_factor = 0;
}

// Both in units of one distance of codes met in order; the weights are measured (bench/engine).
bool HnswIndex::ScanIsCheaper(const Request& request) const {
  if (graph_.ef_factor == 0) return true;
  const double scan = static_cast<double>(request.allowed_count);
  const double pass = scan / std::max<double>(1, static_cast<double>(graph_.nodes));
  const double expansions = request.ef + 20.0;
  if (pass < kLeastPassForGraph) return true;
  const double per_expansion = request.allowed == nullptr ? 30 : (35 + 2.0 / pass) * (pass < kFewPass ? 1.5 : 1);
  return scan < expansions * per_expansion;
}

void HnswIndex::Search(const uint8_t* query, const VectorSearchParams& params, const Bitmap* allowed, int64_t allowed_count,
                       std::vector<Neighbor>& out) const {
  if (allowed == nullptr || allowed_count >= rows()) {
    allowed = nullptr;
    allowed_count = rows();
  }
  if (allowed_count <= 0 || params.k <= 0) return;
  const Request request{query, params, allowed, allowed_count, Ef(params)};
  encoder_->EncodeQuery(query, &ThreadHnswScratch().query);
  if (params.has_range) return SearchRange(request, out);
  if (ScanIsCheaper(request)) return SearchScan(request, out);
  const size_t before = out.size();
  SearchGraph(request, RefineCount(params.k), out);
  if (static_cast<int64_t>(out.size() - before) < std::min<int64_t>(params.k, allowed_count)) {
    out.resize(before);
    SearchScan(request, out);
  }
}

void HnswIndex::SearchGraph(const Request& request, int refine, std::vector<Neighbor>& out) const {
  HnswScratch& s = ThreadHnswScratch();
  const Candidate from = DescendUpperLevels(graph_, s.query, s);
  if (!WalkFor(request, from, s)) return SearchScan(request, out);
  TakeRows(s.pool, request.allowed, static_cast<size_t>(refine), s);
  Refine(request, s, out);
}

void HnswIndex::ScoreInto(int count, CandidatePool& pool, HnswScratch& s) const {
  Kernels().dot_codes(graph_.codes.codes, graph_.codes.stride, s.ids.data(), count, s.query.code.data(),
                      static_cast<int>(graph_.codes.stride), s.sums.data());
  for (int i = 0; i < count; ++i) pool.Insert(s.query.Distance(s.sums[i], graph_.codes.tails[s.ids[i]]), s.ids[i]);
}

void HnswIndex::Walk(Candidate from, int ef, HnswScratch& s) const {
  const int degree = graph_.degree;
  s.Room(degree);
  s.visited.Begin(graph_.nodes);
  s.pool.Reset(ef);
  s.visited.Mark(from.id);
  s.pool.Insert(from.distance, from.id);
  if (!graph_.longest.empty()) {
    s.Room(graph_.longest.size());
    int count = 0;
    for (const uint32_t node : graph_.longest) {
      if (s.visited.Mark(node)) s.ids[count++] = node;
    }
    ScoreInto(count, s.pool, s);
  }
  Candidate next;
  while (s.pool.Next(&next)) {
    const uint32_t* edges = graph_.Edges(next.id);
    int count = 0;
    for (int i = 0; i < degree && edges[i] != kNoNode; ++i) {
      if (!s.visited.Mark(edges[i])) continue;
      s.ids[count++] = edges[i];
      __builtin_prefetch(&graph_.codes.tails[edges[i]]);
    }
    if (const uint32_t peek = s.pool.Peek(); peek != kNoNode) {
      __builtin_prefetch(graph_.Edges(peek));
      __builtin_prefetch(graph_.Edges(peek) + 16);
    }
    ScoreInto(count, s.pool, s);
  }
}

int HnswIndex::GatherPassing(uint32_t node, const Bitmap& allowed, int limit, HnswScratch& s) const {
  const int degree = graph_.degree;
  const uint32_t* edges = graph_.Edges(node);
  uint32_t blocked[4096];
  int count = 0, blocked_count = 0, passing = 0;
  for (int i = 0; i < degree && edges[i] != kNoNode; ++i) {
    if (Passes(edges[i], allowed)) {
      ++passing;
      if (s.visited.Mark(edges[i])) s.ids[count++] = edges[i];
    } else if (s.visited.Mark(edges[i])) {
      blocked[blocked_count++] = edges[i];
    }
  }
  if (passing >= limit) return count;
  for (int b = 0; b < blocked_count && b < 4; ++b) __builtin_prefetch(graph_.Edges(blocked[b]));
  for (int b = 0; b < blocked_count && passing < limit; ++b) {
    if (b + 4 < blocked_count) {
      __builtin_prefetch(graph_.Edges(blocked[b + 4]));
      __builtin_prefetch(graph_.Edges(blocked[b + 4]) + 16);
    }
    const uint32_t* second = graph_.Edges(blocked[b]);
    for (int i = 0; i < degree && second[i] != kNoNode; ++i) {
      if (!Passes(second[i], allowed)) continue;
      ++passing;
      if (s.visited.Mark(second[i])) s.ids[count++] = second[i];
    }
  }
  return count;
}

// Some passing rows from all over the segment, for filters whose rows lie far from where the query's walk ends.
void HnswIndex::SeedFrom(const Bitmap& allowed, int seeds, HnswScratch& s) const {
  const int64_t words = allowed.word_count();
  const int64_t step = std::max<int64_t>(1, words / seeds);
  int count = 0;
  for (int64_t begin = 0; begin < words && count < seeds; begin += step) {
    for (int64_t w = begin; w < std::min(begin + step, words); ++w) {
      if (allowed.words()[w] == 0) continue;
      const int64_t row = w * 64 + std::countr_zero(allowed.words()[w]);
      if (row < graph_.nodes && s.visited.Mark(static_cast<uint32_t>(row))) s.ids[count++] = static_cast<uint32_t>(row);
      break;
    }
  }
  ScoreInto(count, s.pool, s);
}

bool HnswIndex::WalkFor(const Request& request, Candidate from, HnswScratch& s) const {
  constexpr double kMostPass = 0.4;
  if (request.allowed == nullptr) {
    Walk(from, request.ef, s);
    return true;
  }
  const double pass = static_cast<double>(request.allowed_count) / static_cast<double>(graph_.nodes);
  if (pass >= kMostPass) {
    // A somewhat wider walk over all rows finds enough of those that pass, unless the filter opposes the query.
    Walk(from, static_cast<int>(request.ef / pass), s);
    int passing = 0;
    for (int i = 0; i < s.pool.size(); ++i) passing += Passes(s.pool.Id(i), *request.allowed) ? 1 : 0;
    if (passing >= request.ef * 3 / 4) return true;
  }
  return WalkFiltered(from, request, s);
}

bool HnswIndex::WalkFiltered(Candidate from, const Request& request, HnswScratch& s) const {
  constexpr int kApproach = 16;  // the unfiltered walk to the query's surroundings
  constexpr int kSeeds = 32, kManySeeds = 128;
  const Bitmap& allowed = *request.allowed;
  const int degree = graph_.degree;
  s.Room(static_cast<size_t>(degree) * 2 + kManySeeds);
  Walk(from, kApproach, s);
  uint32_t near[kApproach];
  const int near_count = s.pool.size();
  for (int i = 0; i < near_count; ++i) near[i] = s.pool.Id(i);
  s.visited.Begin(graph_.nodes);
  const double pass = static_cast<double>(request.allowed_count) / static_cast<double>(graph_.nodes);
  int near_passing = 0;
  for (int i = 0; i < near_count; ++i) near_passing += Passes(near[i], allowed) ? 1 : 0;
  // Few pass at all, or few where the query is: the way to those that do is less certain, so more of it is looked at.
  const bool opposed = near_passing < 0.5 * pass * near_count;
  Request wider = request;
  wider.ef = pass < kFewPass || (opposed && near_passing == 0) ? request.ef * 2 : opposed ? request.ef * 3 / 2 : request.ef;
  if (opposed && pass >= kFewPass && ScanIsCheaper(wider)) return false;
  s.pool.Reset(wider.ef);
  for (int i = 0; i < near_count; ++i) {
    if (Passes(near[i], allowed) && s.visited.Mark(near[i])) {
      s.ids[0] = near[i];
      ScoreInto(1, s.pool, s);
    }
  }
  for (int i = 0; i < near_count && i < 4; ++i) ScoreInto(GatherPassing(near[i], allowed, degree, s), s.pool, s);
  if (opposed || s.pool.size() < kSeeds) SeedFrom(allowed, opposed ? kManySeeds : kSeeds, s);
  Candidate next;
  while (s.pool.Next(&next)) {
    if (const uint32_t peek = s.pool.Peek(); peek != kNoNode) {
      __builtin_prefetch(graph_.Edges(peek));
      __builtin_prefetch(graph_.Edges(peek) + 16);
    }
    ScoreInto(GatherPassing(next.id, allowed, degree, s), s.pool, s);
  }
  return true;
}

void HnswIndex::TakeRows(const CandidatePool& pool, const Bitmap* allowed, size_t limit, HnswScratch& s) const {
  s.refine.clear();
  for (int i = 0; i < pool.size() && s.refine.size() < limit; ++i) {
    uint32_t row = pool.Id(i);
    if (allowed == nullptr || allowed->Test(row)) s.refine.push_back(row);
    if (graph_.next_duplicate == nullptr) continue;
    for (row = graph_.next_duplicate[row]; row != kNoNode && s.refine.size() < limit; row = graph_.next_duplicate[row]) {
      if (allowed == nullptr || allowed->Test(row)) s.refine.push_back(row);
    }
  }
}

// Every passing row by its code, the nearest of them exactly.
void HnswIndex::SearchScan(const Request& request, std::vector<Neighbor>& out) const {
  const int refine = RefineCount(request.params.k);
  if (request.allowed_count <= 2 * refine || request.params.k > 4096) return SearchExact(request, out);
  HnswScratch& s = ThreadHnswScratch();
  constexpr int kBatch = 256;
  s.Room(kBatch);
  s.pool.Reset(refine);
  int count = 0;
  const auto add = [&](int64_t row) {
    s.ids[count++] = static_cast<uint32_t>(row);
    if (count == kBatch) {
      ScoreInto(count, s.pool, s);
      count = 0;
    }
  };
  if (request.allowed == nullptr) {
    for (int64_t row = 0; row < rows(); ++row) add(row);
  } else {
    request.allowed->ForEach([&](int64_t row) {
      if (row < rows()) add(row);
    });
  }
  ScoreInto(count, s.pool, s);
  s.refine.clear();
  for (int i = 0; i < s.pool.size(); ++i) s.refine.push_back(s.pool.Id(i));
  Refine(request, s, out);
}

void HnswIndex::SearchExact(const Request& request, std::vector<Neighbor>& out) const {
  TopK top(request.params.k);
  ExactSearch(vectors_, metric_, request.query, request.params, request.allowed, 0, top);
  const std::vector<Neighbor> found = top.TakeSorted();
  out.insert(out.end(), found.begin(), found.end());
}

// Wider and wider walks until enough rows are in range or the walk has clearly left it.
void HnswIndex::SearchRange(Request request, std::vector<Neighbor>& out) const {
  const size_t before = out.size();
  for (;; request.ef *= 4) {
    if (ScanIsCheaper(request) || request.ef > kMaxEf || request.ef > request.allowed_count / 4) {
      return SearchExact(request, out);
    }
    HnswScratch& s = ThreadHnswScratch();
    const Candidate from = DescendUpperLevels(graph_, s.query, s);
    if (!WalkFor(request, from, s)) return SearchExact(request, out);
    TakeRows(s.pool, request.allowed, static_cast<size_t>(request.ef), s);
    const int beyond = Refine(request, s, out);
    const size_t found = out.size() - before;
    if (found >= static_cast<size_t>(request.params.k) || beyond >= std::max(8, request.ef / 4)) return;
    out.resize(before);
  }
}

int64_t HnswIndex::memory_bytes() const {
  const int64_t nodes = graph_.nodes;
  return nodes * static_cast<int64_t>(graph_.codes.stride + sizeof(CodeTail) + graph_.degree * sizeof(uint32_t)) +
         (graph_.next_duplicate != nullptr ? nodes * 4 : 0) + int64_t{graph_.upper_nodes} * 8 +
         (graph_.upper_nodes > 0 ? int64_t{graph_.upper_first[graph_.upper_nodes]} * graph_.upper_degree * 4 : 0);
}

template <typename T>
std::string_view Bytes(const T* data, size_t count) {
  return {reinterpret_cast<const char*>(data), count * sizeof(T)};
}

Status HnswIndex::Save(const std::function<Status(std::string_view)>& append) const {
  const std::vector<float>& center = encoder_->center();
  const MetaRecord meta{.m = static_cast<uint32_t>(params_.m),
                        .ef_construction = static_cast<uint32_t>(params_.ef_construction),
                        .max_level = static_cast<uint32_t>(graph_.max_level),
                        .entry = graph_.entry,
                        .upper_nodes = graph_.upper_nodes,
                        .stride = static_cast<uint32_t>(graph_.codes.stride),
                        .center_size = static_cast<uint32_t>(center.size()),
                        .ef_factor = static_cast<uint32_t>(graph_.ef_factor)};
  std::string meta_bytes(Bytes(&meta, 1));
  meta_bytes += Bytes(center.data(), center.size());
  const size_t nodes = graph_.nodes;
  std::string_view sections[kSections];
  sections[kMeta] = meta_bytes;
  sections[kCodes] = Bytes(graph_.codes.codes, nodes * graph_.codes.stride);
  sections[kTails] = Bytes(graph_.codes.tails, nodes);
  sections[kEdges] = Bytes(graph_.edges, nodes * static_cast<size_t>(graph_.degree));
  sections[kUpperRows] = Bytes(graph_.upper_rows, graph_.upper_nodes);
  sections[kUpperFirst] = Bytes(graph_.upper_first, size_t{graph_.upper_nodes} + 1);
  sections[kUpperEdges] =
      Bytes(graph_.upper_edges, size_t{graph_.upper_first[graph_.upper_nodes]} * static_cast<size_t>(graph_.upper_degree));
  sections[kNextDuplicate] = graph_.next_duplicate == nullptr ? std::string_view() : Bytes(graph_.next_duplicate, nodes);
  return WriteIndexFile({IndexKind::kHnsw, metric_, vectors_.type, vectors_.dim, vectors_.rows}, sections, append);
}

Status Damaged(std::string_view what) {
  return {ErrorCode::kCorrupted, fmt::format("index file: HNSW: {}", what)};
}

// A file with right checksums may still be wrong (or made to be): nothing a walk follows may lead outside.
Status CheckGraph(const HnswGraph& g) {
  if (g.nodes == 0) return g.max_level == 0 && g.upper_nodes == 0 ? Status::Ok() : Damaged("levels without nodes");
  if (g.upper_first[0] != 0) return Damaged("the upper levels do not begin at 0");
  for (uint32_t u = 0; u < g.upper_nodes; ++u) {
    if (g.upper_rows[u] >= g.nodes) return Damaged("an upper node beyond the last row");
    if (g.upper_first[u + 1] <= g.upper_first[u]) return Damaged("an upper node without levels");
  }
  const uint32_t nodes = g.nodes;
  uint32_t bad = 0;
  const size_t edges = static_cast<size_t>(nodes) * static_cast<size_t>(g.degree);
  for (size_t i = 0; i < edges; ++i) bad |= static_cast<uint32_t>(g.edges[i] >= nodes) & static_cast<uint32_t>(g.edges[i] != kNoNode);
  if (bad != 0) return Damaged("an edge beyond the last row");
  for (uint32_t u = 0; u < g.upper_nodes; ++u) {
    for (int level = 1; level <= g.UpperLevels(u); ++level) {
      const uint32_t* row = g.UpperEdges(u, level);
      for (int i = 0; i < g.upper_degree && row[i] != kNoNode; ++i) {
        if (row[i] >= g.upper_nodes || g.UpperLevels(row[i]) < level) return Damaged("an upper edge to nowhere");
      }
    }
  }
  if (g.max_level > 0) {
    if (g.entry >= g.upper_nodes || g.UpperLevels(g.entry) < g.max_level) return Damaged("the entry is not on the top level");
  } else if (g.entry >= nodes || g.upper_nodes != 0) {
    return Damaged("the entry is beyond the last row");
  }
  for (uint32_t i = 0; g.next_duplicate != nullptr && i < nodes; ++i) {
    const uint32_t next = g.next_duplicate[i];
    if (next != kNoNode && (next <= i || next >= nodes)) return Damaged("a chain of duplicates that leads back or outside");
  }
  return Status::Ok();
}

}  // namespace

Result<std::unique_ptr<VectorIndex>> BuildHnswIndex(Metric metric, const KeyValues& params, const VectorView& vectors,
                                                    const VectorBuildOptions& options) {
  if (vectors.rows > kMaxHnswRows) {
    return Status(ErrorCode::kParameterInvalid, fmt::format("{} rows in one HNSW index, at most {}", vectors.rows, kMaxHnswRows));
  }
  HnswParams hnsw;
  hnsw.m = static_cast<int>(std::clamp<int64_t>(IntegerParam(params, "M", hnsw.m), 2, 2048));
  hnsw.ef_construction = static_cast<int>(
      std::clamp<int64_t>(IntegerParam(params, "efConstruction", hnsw.ef_construction), hnsw.m, 10000));
  auto encoder = std::make_unique<CodeEncoder>(vectors.type, metric, vectors.dim, CodeEncoder::Center(vectors, metric));
  ASSIGN_OR_RETURN(std::unique_ptr<HnswArrays> arrays, BuildHnswGraph(*encoder, metric, hnsw, vectors, options));
  const HnswGraph graph = arrays->graph;
  auto index = std::make_unique<HnswIndex>(metric, hnsw, vectors, std::move(encoder), graph, std::move(arrays));
  if (metric == Metric::kIp) index->MeasureEfFactor();
  return std::unique_ptr<VectorIndex>(std::move(index));
}

Result<std::unique_ptr<VectorIndex>> OpenHnswIndex(const IndexFile& file, const VectorView& vectors) {
  if (file.sections.size() != kSections) return Damaged("wrong number of sections");
  MetaRecord meta;
  const std::string_view meta_bytes = file.sections[kMeta];
  if (meta_bytes.size() < sizeof(meta)) return Damaged("its description is cut off");
  std::memcpy(&meta, meta_bytes.data(), sizeof(meta));
  const bool centered = file.header.metric != Metric::kIp && file.header.rows > 0;
  if (meta.m < 2 || meta.m > 2048 || meta.max_level > 64 || meta.ef_factor > 64 || meta.center_size != (centered ? static_cast<uint32_t>(file.header.dim) : 0) ||
      meta_bytes.size() != sizeof(meta) + meta.center_size * sizeof(float) || file.header.rows > kMaxHnswRows) {
    return Damaged("impossible parameters");
  }
  std::vector<float> center(meta.center_size);
  if (!center.empty()) std::memcpy(center.data(), meta_bytes.data() + sizeof(meta), center.size() * sizeof(float));
  auto encoder = std::make_unique<CodeEncoder>(file.header.type, file.header.metric, file.header.dim, std::move(center));
  if (meta.stride != static_cast<uint32_t>(encoder->stride())) return Damaged("the codes have another length than the vectors");
  const int64_t rows = file.header.rows;
  HnswGraph g;
  g.nodes = static_cast<uint32_t>(rows);
  g.degree = static_cast<int>(meta.m) * 2;
  g.upper_degree = static_cast<int>(meta.m);
  g.max_level = static_cast<int>(meta.max_level);
  g.entry = meta.entry;
  g.upper_nodes = meta.upper_nodes;
  g.ef_factor = static_cast<int>(meta.ef_factor);
  ASSIGN_OR_RETURN(const auto codes, SectionArray<uint8_t>(file, kCodes, rows * meta.stride));
  ASSIGN_OR_RETURN(const auto tails, SectionArray<CodeTail>(file, kTails, rows));
  ASSIGN_OR_RETURN(const auto edges, SectionArray<uint32_t>(file, kEdges, rows * g.degree));
  ASSIGN_OR_RETURN(const auto upper_rows, SectionArray<uint32_t>(file, kUpperRows, g.upper_nodes));
  ASSIGN_OR_RETURN(const auto upper_first, SectionArray<uint32_t>(file, kUpperFirst, int64_t{g.upper_nodes} + 1));
  ASSIGN_OR_RETURN(const auto upper_edges,
                   SectionArray<uint32_t>(file, kUpperEdges, int64_t{upper_first.back()} * g.upper_degree));
  if (!file.sections[kNextDuplicate].empty()) {
    ASSIGN_OR_RETURN(const auto next, SectionArray<uint32_t>(file, kNextDuplicate, rows));
    g.next_duplicate = next.data();
  }
  g.codes = {codes.data(), tails.data(), meta.stride};
  g.edges = edges.data();
  g.upper_rows = upper_rows.data();
  g.upper_first = upper_first.data();
  g.upper_edges = upper_edges.data();
  RETURN_IF_ERROR(CheckGraph(g));
  const HnswParams params{static_cast<int>(meta.m), static_cast<int>(meta.ef_construction)};
  return std::unique_ptr<VectorIndex>(
      std::make_unique<HnswIndex>(file.header.metric, params, vectors, std::move(encoder), g, nullptr));
}

}  // namespace saker
