#include "index/clustering.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>

#include "distance/kernels.h"
#include "index/build_threads.h"
#include "index/exact_search.h"

namespace saker {
namespace {

constexpr int kRounds = 8;
constexpr int64_t kSamplePerList = 64;
constexpr int64_t kSmallestSample = 4096;

// Every step-th row: insertion order carries no promise of randomness, an even spread over it is what one can have.
std::vector<uint32_t> Sample(int64_t rows, int lists) {
  const int64_t wanted = std::min(rows, std::max(kSmallestSample, kSamplePerList * lists));
  std::vector<uint32_t> sample(static_cast<size_t>(wanted));
  for (int64_t i = 0; i < wanted; ++i) sample[i] = static_cast<uint32_t>(i * rows / wanted);
  std::mt19937 rng(12345);
  std::shuffle(sample.begin(), sample.end(), rng);
  return sample;
}

class FloatClusters {
 public:
  FloatClusters(const VectorView& vectors, Metric metric, int lists)
      : vectors_(vectors), dim_(vectors.dim), cosine_(metric == Metric::kCosine), lists_(lists),
        centroids_(static_cast<size_t>(lists) * vectors.dim), halves_(lists), pointers_(lists) {
    for (int c = 0; c < lists; ++c) pointers_[c] = Centroid(c);
  }
  struct Point {
    std::vector<float> floats, products;
  };
  void Load(uint32_t row, std::vector<float>& floats) const {
    floats.resize(dim_);
    ToFloats(vectors_.type, vectors_.Row(row), dim_, floats.data());
    if (!cosine_) return;
    const float norm = Kernels().ip_f32(floats.data(), floats.data(), dim_);
    if (norm > 0) for (float& x : floats) x /= std::sqrt(norm);
  }
  void SetCentroid(int c, uint32_t row) {
    std::vector<float> floats;
    Load(row, floats);
    std::copy(floats.begin(), floats.end(), Centroid(c));
  }
  void Prepare() {
    for (int c = 0; c < lists_; ++c) halves_[c] = Kernels().ip_f32(Centroid(c), Centroid(c), dim_) / 2;
  }
  uint32_t Nearest(uint32_t row, Point& p) const {
    Load(row, p.floats);
    p.products.resize(lists_);
    Kernels().ip_f32_rows(p.floats.data(), pointers_.data(), lists_, dim_, p.products.data());
    int best = 0;
    for (int c = 1; c < lists_; ++c) {
      if (p.products[c] - halves_[c] > p.products[best] - halves_[best]) best = c;
    }
    return static_cast<uint32_t>(best);
  }
  // New centroids from the members' means; a list without members takes a row of the largest list.
  void Update(const std::vector<uint32_t>& sample, const std::vector<uint32_t>& list_of) {
    std::vector<float> sums(centroids_.size());
    std::vector<int64_t> counts(lists_);
    std::vector<float> floats;
    for (size_t i = 0; i < sample.size(); ++i) {
      Load(sample[i], floats);
      float* sum = &sums[static_cast<size_t>(list_of[i]) * dim_];
      for (int d = 0; d < dim_; ++d) sum[d] += floats[d];
      ++counts[list_of[i]];
    }
    for (int c = 0; c < lists_; ++c) {
      if (counts[c] > 0) {
        for (int d = 0; d < dim_; ++d) Centroid(c)[d] = sums[static_cast<size_t>(c) * dim_ + d] / static_cast<float>(counts[c]);
        if (cosine_) Normalise(Centroid(c));
        continue;
      }
      const auto largest = static_cast<uint32_t>(std::max_element(counts.begin(), counts.end()) - counts.begin());
      const size_t start = static_cast<size_t>(c) * 7919 % sample.size();
      for (size_t i = 0; i < sample.size(); ++i) {
        const size_t at = (start + i) % sample.size();
        if (list_of[at] != largest) continue;
        SetCentroid(c, sample[at]);
        break;
      }
      counts[largest] /= 2;
    }
  }
  std::vector<float> Take() { return std::move(centroids_); }

 private:
  float* Centroid(int c) { return &centroids_[static_cast<size_t>(c) * dim_]; }
  void Normalise(float* x) const {
    const float norm = Kernels().ip_f32(x, x, dim_);
    if (norm > 0) for (int d = 0; d < dim_; ++d) x[d] /= std::sqrt(norm);
  }
  const VectorView& vectors_;
  const int dim_;
  const bool cosine_;
  const int lists_;
  std::vector<float> centroids_;
  std::vector<float> halves_;
  std::vector<const float*> pointers_;
};

class BitClusters {
 public:
  BitClusters(const VectorView& vectors, Metric, int lists)
      : vectors_(vectors), bytes_(vectors.dim / 8), lists_(lists), centroids_(static_cast<size_t>(lists) * bytes_) {}
  struct Point {};
  void SetCentroid(int c, uint32_t row) { std::memcpy(&centroids_[static_cast<size_t>(c) * bytes_], vectors_.Row(row), bytes_); }
  void Prepare() {}
  uint32_t Nearest(uint32_t row, Point&) const {
    int best = 0, best_distance = 1 << 30;
    for (int c = 0; c < lists_; ++c) {
      const int d = Kernels().hamming(vectors_.Row(row), &centroids_[static_cast<size_t>(c) * bytes_], bytes_);
      if (d < best_distance) best_distance = d, best = c;
    }
    return static_cast<uint32_t>(best);
  }
  void Update(const std::vector<uint32_t>& sample, const std::vector<uint32_t>& list_of) {
    std::vector<int32_t> votes(centroids_.size() * 8);
    std::vector<int64_t> counts(lists_);
    for (size_t i = 0; i < sample.size(); ++i) {
      const uint8_t* row = vectors_.Row(sample[i]);
      int32_t* vote = &votes[static_cast<size_t>(list_of[i]) * bytes_ * 8];
      for (int b = 0; b < bytes_ * 8; ++b) vote[b] += (row[b / 8] >> (b % 8)) & 1;
      ++counts[list_of[i]];
    }
    for (int c = 0; c < lists_; ++c) {
      if (counts[c] == 0) {
        SetCentroid(c, sample[static_cast<size_t>(c) * 7919 % sample.size()]);
        continue;
      }
      uint8_t* centroid = &centroids_[static_cast<size_t>(c) * bytes_];
      std::memset(centroid, 0, bytes_);
      const int32_t* vote = &votes[static_cast<size_t>(c) * bytes_ * 8];
      for (int b = 0; b < bytes_ * 8; ++b) centroid[b / 8] |= static_cast<uint8_t>((2 * int64_t{vote[b]} > counts[c]) << (b % 8));
    }
  }
  std::vector<uint8_t> Take() { return std::move(centroids_); }

 private:
  const VectorView& vectors_;
  const int bytes_;
  const int lists_;
  std::vector<uint8_t> centroids_;
};

template <typename Clusters>
Status Lloyd(Clusters& clusters, int64_t rows, int lists, const VectorBuildOptions& options, std::vector<uint32_t>& list_of) {
  const auto assign = [&](int64_t count, const uint32_t* sample, std::vector<uint32_t>& out) {
    out.resize(static_cast<size_t>(count));
    return ForAll(count, options, "clustering", [&] {
      return [&, point = std::make_shared<typename Clusters::Point>()](int64_t i) {
        out[i] = clusters.Nearest(sample == nullptr ? static_cast<uint32_t>(i) : sample[i], *point);
      };
    });
  };
  const std::vector<uint32_t> sample = Sample(rows, lists);
  for (int c = 0; c < lists; ++c) clusters.SetCentroid(c, sample[static_cast<size_t>(c) % sample.size()]);
  std::vector<uint32_t> of_sample;
  for (int round = 0; round < kRounds; ++round) {
    clusters.Prepare();
    RETURN_IF_ERROR(assign(static_cast<int64_t>(sample.size()), sample.data(), of_sample));
    clusters.Update(sample, of_sample);
  }
  clusters.Prepare();
  return assign(rows, nullptr, list_of);
}

}  // namespace

Result<Clustering> Cluster(const VectorView& vectors, Metric metric, int lists, const VectorBuildOptions& options) {
  Clustering out;
  out.lists = vectors.rows == 0 ? 0 : lists;
  if (out.lists == 0) return out;
  if (vectors.type == DataType::kBinaryVector) {
    BitClusters clusters(vectors, metric, lists);
    RETURN_IF_ERROR(Lloyd(clusters, vectors.rows, lists, options, out.list_of));
    out.bit_centroids = clusters.Take();
  } else {
    FloatClusters clusters(vectors, metric, lists);
    RETURN_IF_ERROR(Lloyd(clusters, vectors.rows, lists, options, out.list_of));
    out.centroids = clusters.Take();
  }
  return out;
}

}  // namespace saker
