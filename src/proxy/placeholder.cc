#include "proxy/placeholder.h"

#include <fmt/format.h>

#include "common.pb.h"
#include "proxy/validate.h"

namespace saker {
namespace {

Result<milvus::proto::common::PlaceholderGroup> Parse(std::string_view bytes) {
  milvus::proto::common::PlaceholderGroup group;
  if (!group.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return InvalidParameter("placeholder_group is not a serialized PlaceholderGroup");
  }
  return group;
}

}  // namespace

Result<Queries> DecodePlaceholders(std::string_view bytes) {
  if (bytes.size() > INT32_MAX) return InvalidParameter("placeholder_group is larger than 2 GiB");
  ASSIGN_OR_RETURN(const auto group, Parse(bytes));
  if (group.placeholders_size() != 1) {
    return InvalidParameter(fmt::format("placeholder_group should have one placeholder, but has {}", group.placeholders_size()));
  }
  const auto& placeholder = group.placeholders(0);
  Queries out;
  out.type = static_cast<DataType>(placeholder.type());
  out.nq = placeholder.values_size();
  if (out.nq == 0) return InvalidParameter("placeholder_group has no query vectors");
  if (!IsVector(out.type)) {
    return InvalidParameter(fmt::format("query vectors of placeholder type {} are not supported", static_cast<int>(placeholder.type())));
  }
  const size_t row = placeholder.values(0).size();
  out.row_bytes = static_cast<int>(row);
  out.bytes.reserve(row * static_cast<size_t>(out.nq));
  for (int i = 0; i < placeholder.values_size(); ++i) {
    const std::string& value = placeholder.values(i);
    if (value.size() != row && out.type != DataType::kSparseFloatVector) {
      return InvalidParameter(fmt::format("query vector {} has {} bytes, but the first one has {}", i, value.size(), row));
    }
    if (value.size() != row) out.row_bytes = 0;
    out.bytes += value;
  }
  return out;
}

Result<int64_t> CountPlaceholders(std::string_view bytes) {
  if (bytes.size() > INT32_MAX) return InvalidParameter("placeholder_group is larger than 2 GiB");
  ASSIGN_OR_RETURN(const auto group, Parse(bytes));
  int64_t total = 0;
  for (const auto& placeholder : group.placeholders()) total += placeholder.values_size();
  return total;
}

}  // namespace saker
