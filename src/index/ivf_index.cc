// IVF_FLAT, IVF_SQ8, BIN_IVF_FLAT: rows in lists by their nearest centroid; a search looks into the nearest lists.
#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "distance/kernels.h"
#include "index/build_threads.h"
#include "index/clustering.h"
#include "index/codes.h"
#include "index/exact_search.h"
#include "index/hnsw_graph.h"
#include "index/index_file.h"
#include "index/index_params.h"

namespace saker {
namespace {

constexpr int64_t kMinRowsPerList = 16;
constexpr int kMaxLists = 65536;

enum Section { kCentroids, kFirst, kRows, kCodes, kTails, kCenter, kSections };

// Plain arrays, of a built index or of a mapped file.
struct IvfLists {
  int lists = 0;
  const float* centroids = nullptr;
  const uint8_t* bit_centroids = nullptr;
  const uint32_t* first = nullptr;  // list -> its first place in `rows`; one more at the end
  const uint32_t* rows = nullptr;   // by list
  CodeView codes;                   // IVF_SQ8: by place, not by row
};
struct IvfArrays {
  Clustering clustering;
  std::vector<uint32_t> first, rows;
  std::vector<uint8_t> codes;
  std::vector<CodeTail> tails;
};

struct IvfScratch {
  std::vector<std::pair<float, uint32_t>> order;
  std::vector<float> products;
  std::vector<uint32_t> places;
  std::vector<int32_t> sums;
  CodeQuery query;
  CandidatePool pool;
  std::vector<uint32_t> refine;
};
IvfScratch& Scratch() {
  thread_local IvfScratch scratch;
  return scratch;
}

class IvfIndex : public VectorIndex {
 public:
  IvfIndex(IndexKind kind, Metric metric, const VectorView& vectors, const IvfLists& lists,
           std::unique_ptr<CodeEncoder> encoder, std::unique_ptr<IvfArrays> arrays)
      : kind_(kind), metric_(metric), vectors_(vectors), lists_(lists), encoder_(std::move(encoder)), arrays_(std::move(arrays)) {}
  std::string_view type() const override { return Name(kind_); }
  Metric metric() const override { return metric_; }
  int64_t rows() const override { return vectors_.rows; }
  int64_t memory_bytes() const override {
    const int64_t centroid = kind_ == IndexKind::kBinIvfFlat ? vectors_.row_bytes : vectors_.dim * 4;
    return lists_.lists * (centroid + 4) + rows() * 4 +
           (kind_ == IndexKind::kIvfSq8 ? rows() * static_cast<int64_t>(lists_.codes.stride + sizeof(CodeTail)) : 0);
  }

  void Search(const uint8_t* query, const VectorSearchParams& params, const Bitmap* allowed, int64_t allowed_count,
              std::vector<Neighbor>& out) const override {
    if (allowed == nullptr || allowed_count >= rows()) allowed = nullptr, allowed_count = rows();
    if (params.k <= 0 || allowed_count <= 0) return;
    const int nprobe = std::min(lists_.lists, params.nprobe > 0 ? params.nprobe : std::max(16, lists_.lists / 16));
    // Fewer rows pass than the lists to look into hold: look at all of them.
    if (allowed_count <= params.k || allowed_count <= rows() * nprobe / std::max(1, lists_.lists) / 2) {
      return Exact(query, params, allowed, out);
    }
    OrderLists(query);
    if (kind_ == IndexKind::kIvfSq8) return SearchCodes(query, params, allowed, nprobe, out);
    SearchRows(query, params, allowed, nprobe, out);
  }

  Status Save(const std::function<Status(std::string_view)>& append) const override {
    std::string_view sections[kSections];
    const size_t rows = static_cast<size_t>(vectors_.rows), lists = static_cast<size_t>(lists_.lists);
    const auto bytes = [](const void* data, size_t n) { return std::string_view(static_cast<const char*>(data), n); };
    sections[kCentroids] = kind_ == IndexKind::kBinIvfFlat ? bytes(lists_.bit_centroids, lists * vectors_.row_bytes)
                                                           : bytes(lists_.centroids, lists * vectors_.dim * sizeof(float));
    sections[kFirst] = bytes(lists_.first, (lists + 1) * sizeof(uint32_t));
    sections[kRows] = bytes(lists_.rows, rows * sizeof(uint32_t));
    if (encoder_ != nullptr) {
      sections[kCodes] = bytes(lists_.codes.codes, rows * lists_.codes.stride);
      sections[kTails] = bytes(lists_.codes.tails, rows * sizeof(CodeTail));
      sections[kCenter] = bytes(encoder_->center().data(), encoder_->center().size() * sizeof(float));
    }
    return WriteIndexFile({kind_, metric_, vectors_.type, vectors_.dim, vectors_.rows}, sections, append);
  }

 private:
  void Exact(const uint8_t* query, const VectorSearchParams& params, const Bitmap* allowed, std::vector<Neighbor>& out) const {
    TopK top(params.k);
    ExactSearch(vectors_, metric_, query, params, allowed, 0, top);
    const auto found = top.TakeSorted();
    out.insert(out.end(), found.begin(), found.end());
  }

  // All lists, nearest first, into the scratch.
  void OrderLists(const uint8_t* query) const {
    IvfScratch& s = Scratch();
    s.order.resize(lists_.lists);
    if (kind_ == IndexKind::kBinIvfFlat) {
      ExactScorer scorer(DataType::kBinaryVector, metric_, vectors_.dim, query);
      for (int l = 0; l < lists_.lists; ++l) {
        const uint8_t* centroid = lists_.bit_centroids + static_cast<size_t>(l) * vectors_.row_bytes;
        s.order[l] = {scorer.Score(centroid), static_cast<uint32_t>(l)};
      }
    } else {
      s.products.resize(vectors_.dim);
      ToFloats(vectors_.type, query, vectors_.dim, s.products.data());
      ExactScorer scorer(DataType::kFloatVector, metric_, vectors_.dim, reinterpret_cast<const uint8_t*>(s.products.data()));
      for (int l = 0; l < lists_.lists; ++l) {
        const float* centroid = lists_.centroids + static_cast<size_t>(l) * vectors_.dim;
        s.order[l] = {scorer.Score(reinterpret_cast<const uint8_t*>(centroid)), static_cast<uint32_t>(l)};
      }
    }
    std::sort(s.order.begin(), s.order.end());
  }

  // Calls f(places) with the passing places of one list after another, until nprobe lists are done and k rows were seen.
  // Lists in which nothing passes don't count: a filter that opposes the query would use up its nprobe on them.
  template <typename F>
  void ForLists(const Bitmap* allowed, int nprobe, const VectorSearchParams& params, F&& f) const {
    IvfScratch& s = Scratch();
    int64_t seen = 0;
    int probed = 0;
    for (int i = 0; i < lists_.lists && (probed < nprobe || (seen < params.k && !params.has_range)); ++i) {
      const uint32_t list = s.order[i].second;
      s.places.clear();
      for (uint32_t place = lists_.first[list]; place < lists_.first[list + 1]; ++place) {
        if (allowed == nullptr || allowed->Test(lists_.rows[place])) s.places.push_back(place);
      }
      if (s.places.empty()) continue;
      seen += static_cast<int64_t>(s.places.size());
      ++probed;
      f(s.places);
    }
  }

  void SearchRows(const uint8_t* query, const VectorSearchParams& params, const Bitmap* allowed, int nprobe,
                  std::vector<Neighbor>& out) const {
    TopK top(params.k);
    ExactScorer scorer(vectors_.type, metric_, vectors_.dim, query);
    ForLists(allowed, nprobe, params, [&](const std::vector<uint32_t>& places) {
      constexpr size_t kBatch = 32;
      const uint8_t* pointers[kBatch];
      float distances[kBatch];
      for (size_t i = 0; i < places.size(); i += kBatch) {
        const size_t n = std::min(kBatch, places.size() - i);
        for (size_t j = 0; j < n; ++j) pointers[j] = vectors_.Row(lists_.rows[places[i + j]]);
        scorer.Score(pointers, static_cast<int>(n), distances);
        for (size_t j = 0; j < n; ++j) {
          if (distances[j] <= top.worst() && InRange(params, distances[j])) top.Push({distances[j], lists_.rows[places[i + j]]});
        }
      }
    });
    const auto found = top.TakeSorted();
    out.insert(out.end(), found.begin(), found.end());
  }

  void SearchCodes(const uint8_t* query, const VectorSearchParams& params, const Bitmap* allowed, int nprobe,
                   std::vector<Neighbor>& out) const {
    IvfScratch& s = Scratch();
    encoder_->EncodeQuery(query, &s.query);
    // A range may begin far out: then the k nearest by code need not hold those in range.
    const int refine = params.k + std::max(12, params.k / 3) + (params.has_range ? 1000 : 0);
    s.pool.Reset(refine);
    ForLists(allowed, nprobe, params, [&](const std::vector<uint32_t>& places) {
      if (s.sums.size() < places.size()) s.sums.resize(places.size());
      Kernels().dot_codes(lists_.codes.codes, lists_.codes.stride, places.data(), static_cast<int>(places.size()),
                          s.query.code.data(), static_cast<int>(lists_.codes.stride), s.sums.data());
      for (size_t i = 0; i < places.size(); ++i) {
        s.pool.Insert(s.query.Distance(s.sums[i], lists_.codes.tails[places[i]]), places[i]);
      }
    });
    s.refine.clear();
    for (int i = 0; i < s.pool.size(); ++i) s.refine.push_back(lists_.rows[s.pool.Id(i)]);
    ScoreRows(vectors_, metric_, params, query, s.refine, out);
  }

  const IndexKind kind_;
  const Metric metric_;
  const VectorView vectors_;
  const IvfLists lists_;
  const std::unique_ptr<CodeEncoder> encoder_;  // IVF_SQ8
  const std::unique_ptr<IvfArrays> arrays_;     // null: the lists lie in a mapped file
};

int NumberOfLists(const KeyValues& params, int64_t rows) {
  const int64_t by_rows = std::max<int64_t>(1, static_cast<int64_t>(2 * std::sqrt(static_cast<double>(rows))));
  const int64_t wanted = IntegerParam(params, "nlist", by_rows);
  return static_cast<int>(std::clamp<int64_t>(wanted, 1, std::min<int64_t>(kMaxLists, std::max<int64_t>(1, rows / kMinRowsPerList))));
}

Status EncodeLists(const VectorView& vectors, Metric metric, const CodeEncoder& encoder, const VectorBuildOptions& options,
                   IvfArrays& arrays) {
  const size_t stride = encoder.stride();
  arrays.codes.resize(static_cast<size_t>(vectors.rows) * stride);
  arrays.tails.resize(static_cast<size_t>(vectors.rows));
  return ForAll(vectors.rows, options, "encoding vectors", [&] {
    return [&, stride](int64_t place) {
      encoder.EncodeRow(vectors.Row(arrays.rows[place]), 0, &arrays.codes[place * stride], &arrays.tails[place]);
    };
  });
}

Status Damaged(std::string_view what) { return {ErrorCode::kCorrupted, fmt::format("index file: IVF: {}", what)}; }

}  // namespace

Result<std::unique_ptr<VectorIndex>> BuildIvfIndex(IndexKind kind, Metric metric, const KeyValues& params,
                                                   const VectorView& vectors, const VectorBuildOptions& options) {
  auto arrays = std::make_unique<IvfArrays>();
  ASSIGN_OR_RETURN(arrays->clustering, Cluster(vectors, metric, NumberOfLists(params, vectors.rows), options));
  const Clustering& c = arrays->clustering;
  arrays->first.assign(static_cast<size_t>(c.lists) + 1, 0);
  for (const uint32_t list : c.list_of) ++arrays->first[list + 1];
  for (int l = 0; l < c.lists; ++l) arrays->first[l + 1] += arrays->first[l];
  arrays->rows.resize(static_cast<size_t>(vectors.rows));
  std::vector<uint32_t> at(arrays->first.begin(), arrays->first.end());
  for (uint32_t row = 0; row < vectors.rows; ++row) arrays->rows[at[c.list_of[row]]++] = row;
  std::unique_ptr<CodeEncoder> encoder;
  IvfLists lists;
  if (kind == IndexKind::kIvfSq8) {
    encoder = std::make_unique<CodeEncoder>(vectors.type, metric, vectors.dim, CodeEncoder::Center(vectors, metric));
    RETURN_IF_ERROR(EncodeLists(vectors, metric, *encoder, options, *arrays));
    lists.codes = {arrays->codes.data(), arrays->tails.data(), static_cast<size_t>(encoder->stride())};
  }
  arrays->clustering.list_of = {};
  lists.lists = c.lists;
  lists.centroids = c.centroids.data();
  lists.bit_centroids = c.bit_centroids.data();
  lists.first = arrays->first.data();
  lists.rows = arrays->rows.data();
  return std::unique_ptr<VectorIndex>(
      std::make_unique<IvfIndex>(kind, metric, vectors, lists, std::move(encoder), std::move(arrays)));
}

Result<std::unique_ptr<VectorIndex>> OpenIvfIndex(const IndexFile& file, const VectorView& vectors) {
  if (file.sections.size() != kSections) return Damaged("wrong number of sections");
  const IndexFileHeader& h = file.header;
  const size_t first_count = file.sections[kFirst].size() / sizeof(uint32_t);
  if (first_count == 0 || first_count > kMaxLists + 1) return Damaged("impossible number of lists");
  IvfLists lists;
  lists.lists = static_cast<int>(first_count) - 1;
  if ((h.rows == 0) != (lists.lists == 0)) return Damaged("impossible number of lists");
  ASSIGN_OR_RETURN(const auto first, SectionArray<uint32_t>(file, kFirst, int64_t{lists.lists} + 1));
  ASSIGN_OR_RETURN(const auto rows, SectionArray<uint32_t>(file, kRows, h.rows));
  lists.first = first.data();
  lists.rows = rows.data();
  if (h.kind == IndexKind::kBinIvfFlat) {
    ASSIGN_OR_RETURN(const auto centroids, SectionArray<uint8_t>(file, kCentroids, int64_t{lists.lists} * vectors.row_bytes));
    lists.bit_centroids = centroids.data();
  } else {
    ASSIGN_OR_RETURN(const auto centroids, SectionArray<float>(file, kCentroids, int64_t{lists.lists} * h.dim));
    lists.centroids = centroids.data();
  }
  if (first.front() != 0 || first.back() != h.rows) return Damaged("the lists do not hold all rows");
  for (int l = 0; l < lists.lists; ++l) {
    if (first[l] > first[l + 1]) return Damaged("a list that ends before it begins");
  }
  for (const uint32_t row : rows) {
    if (row >= h.rows) return Damaged("a row beyond the last");
  }
  std::unique_ptr<CodeEncoder> encoder;
  if (h.kind == IndexKind::kIvfSq8) {
    const int64_t center_size = h.metric != Metric::kIp && h.rows > 0 ? h.dim : 0;
    ASSIGN_OR_RETURN(const auto center, SectionArray<float>(file, kCenter, center_size));
    encoder = std::make_unique<CodeEncoder>(h.type, h.metric, h.dim, std::vector<float>(center.begin(), center.end()));
    ASSIGN_OR_RETURN(const auto codes, SectionArray<uint8_t>(file, kCodes, h.rows * encoder->stride()));
    ASSIGN_OR_RETURN(const auto tails, SectionArray<CodeTail>(file, kTails, h.rows));
    lists.codes = {codes.data(), tails.data(), static_cast<size_t>(encoder->stride())};
  }
  return std::unique_ptr<VectorIndex>(
      std::make_unique<IvfIndex>(h.kind, h.metric, vectors, lists, std::move(encoder), nullptr));
}

}  // namespace saker
