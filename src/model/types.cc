#include "model/types.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace saker {

std::string_view Name(DataType type) {
  switch (type) {
    case DataType::kNone: return "None";
    case DataType::kBool: return "Bool";
    case DataType::kInt8: return "Int8";
    case DataType::kInt16: return "Int16";
    case DataType::kInt32: return "Int32";
    case DataType::kInt64: return "Int64";
    case DataType::kFloat: return "Float";
    case DataType::kDouble: return "Double";
    case DataType::kString: return "String";
    case DataType::kVarChar: return "VarChar";
    case DataType::kArray: return "Array";
    case DataType::kJson: return "JSON";
    case DataType::kGeometry: return "Geometry";
    case DataType::kText: return "Text";
    case DataType::kTimestamptz: return "Timestamptz";
    case DataType::kBinaryVector: return "BinaryVector";
    case DataType::kFloatVector: return "FloatVector";
    case DataType::kFloat16Vector: return "Float16Vector";
    case DataType::kBFloat16Vector: return "BFloat16Vector";
    case DataType::kSparseFloatVector: return "SparseFloatVector";
    case DataType::kInt8Vector: return "Int8Vector";
    case DataType::kArrayOfVector: return "ArrayOfVector";
    case DataType::kArrayOfStruct: return "ArrayOfStruct";
    case DataType::kStruct: return "Struct";
  }
  return "Unknown";
}

bool IsVector(DataType type) {
  switch (type) {
    case DataType::kBinaryVector:
    case DataType::kFloatVector:
    case DataType::kFloat16Vector:
    case DataType::kBFloat16Vector:
    case DataType::kSparseFloatVector:
    case DataType::kInt8Vector:
    case DataType::kArrayOfVector:
      return true;
    default:
      return false;
  }
}

bool IsString(DataType type) {
  return type == DataType::kVarChar || type == DataType::kString || type == DataType::kText;
}

bool IsInteger(DataType type) {
  return type == DataType::kInt8 || type == DataType::kInt16 || type == DataType::kInt32 || type == DataType::kInt64;
}

bool IsNumeric(DataType type) {
  return IsInteger(type) || type == DataType::kFloat || type == DataType::kDouble;
}

bool IsFixedWidth(DataType type) {
  switch (type) {
    case DataType::kBool:
    case DataType::kInt8:
    case DataType::kInt16:
    case DataType::kInt32:
    case DataType::kInt64:
    case DataType::kFloat:
    case DataType::kDouble:
    case DataType::kTimestamptz:
    case DataType::kBinaryVector:
    case DataType::kFloatVector:
    case DataType::kFloat16Vector:
    case DataType::kBFloat16Vector:
    case DataType::kInt8Vector:
      return true;
    default:
      return false;
  }
}

int FixedWidth(DataType type, int dim) {
  switch (type) {
    case DataType::kBool:
    case DataType::kInt8:
      return 1;
    case DataType::kInt16:
      return 2;
    case DataType::kInt32:
    case DataType::kFloat:
      return 4;
    case DataType::kInt64:
    case DataType::kDouble:
    case DataType::kTimestamptz:
      return 8;
    case DataType::kBinaryVector:
      return (dim + 7) / 8;
    case DataType::kFloatVector:
      return dim * 4;
    case DataType::kFloat16Vector:
    case DataType::kBFloat16Vector:
      return dim * 2;
    case DataType::kInt8Vector:
      return dim;
    default:
      return 0;
  }
}

std::string_view Name(Metric metric) {
  switch (metric) {
    case Metric::kNone: return "";
    case Metric::kL2: return "L2";
    case Metric::kIp: return "IP";
    case Metric::kCosine: return "COSINE";
    case Metric::kHamming: return "HAMMING";
    case Metric::kJaccard: return "JACCARD";
    case Metric::kSubstructure: return "SUBSTRUCTURE";
    case Metric::kSuperstructure: return "SUPERSTRUCTURE";
    case Metric::kBm25: return "BM25";
  }
  return "";
}

std::optional<Metric> ParseMetric(std::string_view name) {
  static constexpr std::array kAll = {Metric::kL2,      Metric::kIp,           Metric::kCosine,         Metric::kHamming,
                                      Metric::kJaccard, Metric::kSubstructure, Metric::kSuperstructure, Metric::kBm25};
  for (const Metric metric : kAll) {
    const std::string_view known = Name(metric);
    const bool same = std::equal(name.begin(), name.end(), known.begin(), known.end(), [](char a, char b) {
      return std::toupper(static_cast<unsigned char>(a)) == b;
    });
    if (same) return metric;
  }
  return std::nullopt;
}

bool LargerIsNearer(Metric metric) {
  return metric == Metric::kIp || metric == Metric::kCosine || metric == Metric::kBm25;
}

const std::string* Find(const KeyValues& pairs, std::string_view key) {
  for (const auto& [name, value] : pairs) {
    if (name == key) return &value;
  }
  return nullptr;
}

void Assign(KeyValues& pairs, std::string_view key, std::string value) {
  for (auto& [name, old] : pairs) {
    if (name == key) {
      old = std::move(value);
      return;
    }
  }
  pairs.emplace_back(std::string(key), std::move(value));
}

bool Erase(KeyValues& pairs, std::string_view key) {
  return std::erase_if(pairs, [&](const auto& pair) { return pair.first == key; }) > 0;
}

}  // namespace saker
