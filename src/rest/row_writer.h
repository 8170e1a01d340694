// Columns → JSON rows, as Milvus's REST shows them: Int64 as strings unless the client takes numbers; JSON fields as
// strings; members of $meta on their own; binary and 16-bit vectors as base64.
#pragma once

#include <span>

#include "proxy/core.h"

namespace saker {

struct RowsToWrite {
  const std::vector<Column>* columns = nullptr;
  const std::vector<std::string>* output_fields = nullptr;  // dynamic keys by their own names
  int64_t rows = 0;
  std::string_view key_name;              // "": the keys are not written
  const PrimaryKeys* keys = nullptr;
  std::span<const float> scores;
  bool int64_as_number = false;
};
// [{…},{…}]
void WriteRows(const RowsToWrite& rows, std::string& out);
// The ids of a mutation.
void WriteKeys(const PrimaryKeys& keys, bool int64_as_number, std::string& out);
void WriteString(std::string_view text, std::string& out);
void WriteNumber(double value, std::string& out);
void WriteNumber(float value, std::string& out);

}  // namespace saker
