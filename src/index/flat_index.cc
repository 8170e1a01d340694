// FLAT and BIN_FLAT: the raw vectors themselves are the index.
#include "index/index_file.h"

namespace saker {
namespace {

class FlatIndex : public VectorIndex {
 public:
  FlatIndex(IndexKind kind, Metric metric, const VectorView& vectors) : kind_(kind), metric_(metric), vectors_(vectors) {}
  std::string_view type() const override { return Name(kind_); }
  Metric metric() const override { return metric_; }
  int64_t rows() const override { return vectors_.rows; }
  int64_t memory_bytes() const override { return sizeof(*this); }
  void Search(const uint8_t* query, const VectorSearchParams& params, const Bitmap* allowed, int64_t,
              std::vector<Neighbor>& out) const override {
    TopK top(params.k);
    ExactSearch(vectors_, metric_, query, params, allowed, 0, top);
    const auto found = top.TakeSorted();
    out.insert(out.end(), found.begin(), found.end());
  }
  Status Save(const std::function<Status(std::string_view)>& append) const override {
    return WriteIndexFile({kind_, metric_, vectors_.type, vectors_.dim, vectors_.rows}, {}, append);
  }

 private:
  const IndexKind kind_;
  const Metric metric_;
  const VectorView vectors_;
};

}  // namespace

std::unique_ptr<VectorIndex> MakeFlatIndex(IndexKind kind, Metric metric, const VectorView& vectors) {
  return std::make_unique<FlatIndex>(kind, metric, vectors);
}

Result<std::unique_ptr<VectorIndex>> OpenFlatIndex(const IndexFile& file, const VectorView& vectors) {
  return MakeFlatIndex(file.header.kind, file.header.metric, vectors);
}

}  // namespace saker
