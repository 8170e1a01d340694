#include "index/index_params.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace saker {
namespace {

constexpr int64_t kIntMax = 2147483647;
constexpr int64_t kMaxEf = 32768;

// Milvus 2.3 gives no code of its own to refused parameters of indexes and searches; clients see its catch-all.
Status Refused(std::string message) { return {ErrorCode::kUnexpected, std::move(message)}; }

std::optional<double> Number(const std::string& text) {
  double value = 0;
  const char* begin = text.data();
  const char* end = begin + text.size();
  while (begin < end && *begin == ' ') ++begin;
  while (end > begin && end[-1] == ' ') --end;
  // A JSON string keeps its quotes in the raw text some clients send.
  if (end - begin >= 2 && *begin == '"' && end[-1] == '"') ++begin, --end;
  const auto [stop, error] = std::from_chars(begin, end, value);
  if (error != std::errc() || stop != end || std::isnan(value)) return std::nullopt;
  return value;
}
std::optional<int64_t> Integer(const std::string& text) {
  const std::optional<double> value = Number(text);
  if (!value.has_value() || *value != std::floor(*value) || std::fabs(*value) > 1e15) return std::nullopt;
  return static_cast<int64_t>(*value);
}

// An index parameter that may be left out.
Status CheckRange(const KeyValues& params, std::string_view key, int64_t low, int64_t high) {
  const std::string* text = Find(params, key);
  if (text == nullptr) return Status::Ok();
  const std::optional<int64_t> value = Integer(*text);
  if (value.has_value() && *value >= low && *value <= high) return Status::Ok();
  return Refused(fmt::format("{} out of range: [{}, {}]", key, low, high));
}

// A search parameter that may be left out; 0 then.
Result<int> SearchInteger(const KeyValues& params, std::string_view key, int64_t low, int64_t high) {
  const std::string* text = Find(params, key);
  if (text == nullptr) return 0;
  const std::optional<double> number = Number(*text);
  if (!number.has_value()) return Refused(fmt::format("Type conflict in json: param [{}] should be integer", key));
  const std::optional<int64_t> value = Integer(*text);
  if (!value.has_value()) return Refused(fmt::format("Type conflict in json: param [{}] should be integer", key));
  if (*value < low || *value > high) {
    return Refused(fmt::format("Out of range in json: param [{}] should be in [{}, {}]", key, low, high));
  }
  return static_cast<int>(*value);
}

Status ReadRange(Metric metric, const KeyValues& params, VectorSearchParams& out) {
  const std::string* radius = Find(params, "radius");
  const std::string* filter = Find(params, "range_filter");
  if (radius == nullptr) return Status::Ok();
  const std::optional<double> r = Number(*radius);
  if (!r.has_value()) return Refused("Type conflict in json: param [radius] should be float");
  const bool larger = LargerIsNearer(metric);
  out.has_range = true;
  out.max_distance = DistanceOf(metric, static_cast<float>(*r));
  out.min_distance = -std::numeric_limits<float>::infinity();
  if (filter == nullptr) return Status::Ok();
  const std::optional<double> f = Number(*filter);
  if (!f.has_value()) return Refused("Type conflict in json: param [range_filter] should be float");
  if (larger ? *f <= *r : *f >= *r) {
    return Refused(larger ? fmt::format("range_filter must be greater than radius for IP/COSINE: range_filter={}, radius={}", *f, *r)
                          : fmt::format("range_filter must be less than radius for L2/HAMMING/JACCARD: range_filter={}, radius={}",
                                        *f, *r));
  }
  out.min_distance = DistanceOf(metric, static_cast<float>(*f));
  return Status::Ok();
}

bool Knows(std::string_view index_type) {
  static constexpr std::string_view kNames[] = {"FLAT", "IVF_FLAT", "IVF_SQ8", "HNSW", "AUTOINDEX", "BIN_FLAT", "BIN_IVF_FLAT"};
  return std::find(std::begin(kNames), std::end(kNames), index_type) != std::end(kNames);
}

Status CheckMetric(std::string_view index_type, Metric metric, DataType field_type) {
  const bool l2 = metric == Metric::kL2 || metric == Metric::kIp || metric == Metric::kCosine;
  const bool bits = metric == Metric::kHamming || metric == Metric::kJaccard;
  const bool structure = metric == Metric::kSubstructure || metric == Metric::kSuperstructure;
  const auto refused = [](std::string_view supported) {
    return Refused(fmt::format("metric type not found or not supported, supported: [{}]", supported));
  };
  if (field_type == DataType::kBinaryVector) {
    if (index_type == "BIN_IVF_FLAT" && !bits) return refused("HAMMING JACCARD");
    if (!bits && !structure) return refused("HAMMING JACCARD SUBSTRUCTURE SUPERSTRUCTURE");
    return Status::Ok();
  }
  return l2 ? Status::Ok() : refused("L2 IP COSINE");
}

}  // namespace

std::optional<IndexKind> KindOf(std::string_view index_type, DataType field_type) {
  const bool binary = field_type == DataType::kBinaryVector;
  if (index_type == "AUTOINDEX") return binary ? IndexKind::kBinIvfFlat : IndexKind::kHnsw;
  if (index_type == "FLAT") return IndexKind::kFlat;
  if (index_type == "IVF_FLAT") return IndexKind::kIvfFlat;
  if (index_type == "IVF_SQ8") return IndexKind::kIvfSq8;
  if (index_type == "HNSW") return IndexKind::kHnsw;
  if (index_type == "BIN_FLAT") return IndexKind::kBinFlat;
  if (index_type == "BIN_IVF_FLAT") return IndexKind::kBinIvfFlat;
  return std::nullopt;
}

int64_t IntegerParam(const KeyValues& params, std::string_view key, int64_t fallback) {
  const std::string* text = Find(params, key);
  return text == nullptr ? fallback : Integer(*text).value_or(fallback);
}

Metric DefaultMetric(DataType field_type) {
  if (field_type == DataType::kBinaryVector) return Metric::kHamming;
  if (field_type == DataType::kSparseFloatVector) return Metric::kIp;
  return Metric::kCosine;
}

Status CheckIndexParams(std::string_view index_type, Metric metric, DataType field_type, int dim, const KeyValues& params) {
  if (!Knows(index_type)) return Refused(fmt::format("invalid index type: {}", index_type));
  const bool binary_index = index_type.starts_with("BIN_");
  const bool float_like = field_type == DataType::kFloatVector || field_type == DataType::kFloat16Vector ||
                          field_type == DataType::kBFloat16Vector || field_type == DataType::kInt8Vector;
  if (index_type == "AUTOINDEX") {
    if (!float_like && field_type != DataType::kBinaryVector) {
      return Refused(fmt::format("AUTOINDEX does not support vectors of type {}", Name(field_type)));
    }
  } else if (binary_index && field_type != DataType::kBinaryVector) {
    return Refused("binary vector is only supported");
  } else if (!binary_index && !float_like) {
    return Refused("float vector is only supported");
  }
  if (dim <= 0) {
    return Refused("failed to check vector dimension, should be larger than 0 and smaller than math.MaxInt");
  }
  if (index_type == "HNSW" || index_type == "AUTOINDEX") {
    RETURN_IF_ERROR(CheckRange(params, "efConstruction", 1, kIntMax));
    RETURN_IF_ERROR(CheckRange(params, "M", 1, 2048));
  }
  if (index_type.find("IVF") != std::string_view::npos) RETURN_IF_ERROR(CheckRange(params, "nlist", 1, 65536));
  const bool auto_binary = index_type == "AUTOINDEX" && field_type == DataType::kBinaryVector;
  return CheckMetric(auto_binary ? "BIN_IVF_FLAT" : index_type, metric, field_type);
}

Result<VectorSearchParams> ParseSearchParams(std::string_view index_type, Metric metric, int k, const KeyValues& params) {
  VectorSearchParams out;
  out.k = k;
  if (index_type == "HNSW" || index_type == "AUTOINDEX") {
    ASSIGN_OR_RETURN(out.ef, SearchInteger(params, "ef", 1, kIntMax));
    if (Find(params, "ef") != nullptr && index_type == "HNSW") {
      if (out.ef < k) return Refused(fmt::format("ef({}) should be larger than k({})", out.ef, k));
    }
    if (out.ef > kMaxEf) {
      return Refused(fmt::format("Out of range in json: param [ef] should be in [1, {}]", kMaxEf));
    }
  }
  if (index_type == "AUTOINDEX") {
    ASSIGN_OR_RETURN(out.level, SearchInteger(params, "level", 1, 10));
  }
  if (index_type.find("IVF") != std::string_view::npos) {
    ASSIGN_OR_RETURN(out.nprobe, SearchInteger(params, "nprobe", 1, 65536));
  }
  RETURN_IF_ERROR(ReadRange(metric, params, out));
  return out;
}

}  // namespace saker
