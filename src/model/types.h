// Data types (numbers are Milvus's), metrics and scalar values. Values only, no I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"

namespace saker {

enum class DataType : int32_t {
  kNone = 0,
  kBool = 1,
  kInt8 = 2,
  kInt16 = 3,
  kInt32 = 4,
  kInt64 = 5,
  kFloat = 10,
  kDouble = 11,
  kString = 20,
  kVarChar = 21,
  kArray = 22,
  kJson = 23,
  kGeometry = 24,
  kText = 25,
  kTimestamptz = 26,
  kBinaryVector = 100,
  kFloatVector = 101,
  kFloat16Vector = 102,
  kBFloat16Vector = 103,
  kSparseFloatVector = 104,
  kInt8Vector = 105,
  kArrayOfVector = 106,
  kArrayOfStruct = 200,
  kStruct = 201,
};

std::string_view Name(DataType type);  // "Int64", "FloatVector", … as Milvus prints them
bool IsVector(DataType type);
bool IsString(DataType type);   // VarChar, String, Text
bool IsInteger(DataType type);  // Int8 … Int64
bool IsNumeric(DataType type);  // integers, Float, Double
// Rows of a type either have one fixed width in bytes, or are strings of bytes (varchar, JSON, array, sparse, …).
bool IsFixedWidth(DataType type);
// Bytes of one row of a fixed-width type; dim counts elements of a vector and is ignored otherwise.
int FixedWidth(DataType type, int dim);

enum class Metric : int32_t { kNone = 0, kL2 = 1, kIp = 2, kCosine = 3, kHamming = 4, kJaccard = 5, kSubstructure = 6, kSuperstructure = 7, kBm25 = 8 };
std::string_view Name(Metric metric);  // "L2", "IP", …
std::optional<Metric> ParseMetric(std::string_view name);  // any case
// Everything below the proxy ranks by *distance*, where smaller is nearer: squared L2, −IP, −cosine, Hamming count,
// Jaccard distance. These two are the only place that knows which metrics clients see negated.
bool LargerIsNearer(Metric metric);
inline float ScoreOf(Metric metric, float distance) { return LargerIsNearer(metric) ? -distance : distance; }
inline float DistanceOf(Metric metric, float score) { return LargerIsNearer(metric) ? -score : score; }

// A scalar: of a filter, a default value, a group. JSON and arrays travel as text/encoded bytes in the string.
using Value = std::variant<std::monostate, bool, int64_t, double, std::string>;

// Ordered key-value pairs, as clients gave them (DescribeIndex must echo the order).
using KeyValues = std::vector<std::pair<std::string, std::string>>;
const std::string* Find(const KeyValues& pairs, std::string_view key);
void Assign(KeyValues& pairs, std::string_view key, std::string value);
bool Erase(KeyValues& pairs, std::string_view key);

}  // namespace saker
