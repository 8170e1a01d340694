#include "rest/row_writer.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "security/password.h"

namespace saker {
namespace {

void WriteInt64(int64_t value, bool as_number, std::string& out) {
  if (!as_number) out += '"';
  fmt::format_to(std::back_inserter(out), FMT_STRING("{}"), value);
  if (!as_number) out += '"';
}

void WriteInt(int64_t value, std::string& out) { fmt::format_to(std::back_inserter(out), FMT_STRING("{}"), value); }

template <typename T>
void WriteReal(T value, std::string& out) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  fmt::format_to(std::back_inserter(out), FMT_STRING("{}"), value);
}

void WriteFloats(const uint8_t* row, int dim, std::string& out) {
  out += '[';
  for (int i = 0; i < dim; ++i) {
    float value;
    std::memcpy(&value, row + static_cast<size_t>(i) * sizeof(value), sizeof(value));
    if (i > 0) out += ',';
    WriteReal(value, out);
  }
  out += ']';
}

void WriteSparse(std::string_view row, std::string& out) {
  constexpr size_t kPair = sizeof(uint32_t) + sizeof(float);
  out += '{';
  for (size_t at = 0; at + kPair <= row.size(); at += kPair) {
    uint32_t index;
    float value;
    std::memcpy(&index, row.data() + at, sizeof(index));
    std::memcpy(&value, row.data() + at + sizeof(index), sizeof(value));
    if (at > 0) out += ',';
    fmt::format_to(std::back_inserter(out), FMT_STRING("\"{}\":"), index);
    WriteReal(value, out);
  }
  out += '}';
}

// A number within an array of Float was widened: written as the float it is.
void WriteScalar(const Value& value, DataType type, bool int64_as_number, std::string& out) {
  if (const auto* yes = std::get_if<bool>(&value)) {
    out += *yes ? "true" : "false";
  } else if (const auto* whole = std::get_if<int64_t>(&value)) {
    type == DataType::kInt64 ? WriteInt64(*whole, int64_as_number, out) : WriteInt(*whole, out);
  } else if (const auto* real = std::get_if<double>(&value)) {
    type == DataType::kFloat ? WriteReal(static_cast<float>(*real), out) : WriteReal(*real, out);
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    WriteString(*text, out);
  } else {
    out += "null";
  }
}

void WriteArray(const ColumnView& column, int64_t row, bool int64_as_number, std::string& out) {
  out += '[';
  bool first = true;
  for (const Value& value : DecodeArray(column.element_type, column.Bytes(row))) {
    if (!std::exchange(first, false)) out += ',';
    WriteScalar(value, column.element_type, int64_as_number, out);
  }
  out += ']';
}

void WriteValue(const ColumnView& column, int64_t row, bool int64_as_number, std::string& out) {
  if (column.IsNull(row)) {
    out += "null";
    return;
  }
  switch (column.type) {
    case DataType::kBool: out += *column.Row(row) != 0 ? "true" : "false"; return;
    case DataType::kInt8:
    case DataType::kInt16:
    case DataType::kInt32: return WriteInt(column.IntAt(row), out);
    case DataType::kInt64: return WriteInt64(column.IntAt(row), int64_as_number, out);
    case DataType::kFloat: return WriteReal(column.At<float>(row), out);
    case DataType::kDouble: return WriteReal(column.At<double>(row), out);
    case DataType::kArray: return WriteArray(column, row, int64_as_number, out);
    case DataType::kFloatVector: return WriteFloats(column.Row(row), column.dim, out);
    case DataType::kBinaryVector:
    case DataType::kFloat16Vector:
    case DataType::kBFloat16Vector:
      return WriteString(Base64Encode({reinterpret_cast<const char*>(column.Row(row)), static_cast<size_t>(column.width)}), out);
    case DataType::kInt8Vector: {
      out += '[';
      for (int i = 0; i < column.dim; ++i) {
        if (i > 0) out += ',';
        WriteInt(static_cast<int8_t>(column.Row(row)[i]), out);
      }
      out += ']';
      return;
    }
    case DataType::kSparseFloatVector: return WriteSparse(column.Bytes(row), out);
    default: return WriteString(column.Bytes(row), out);
  }
}

// Puts a row's members together.
class RowText {
 public:
  explicit RowText(std::string& out) : out_(out) { out_ += '{'; }
  std::string& Name(std::string_view name) {
    if (!std::exchange(first_, false)) out_ += ',';
    WriteString(name, out_);
    out_ += ':';
    return out_;
  }
  void End() { out_ += '}'; }

 private:
  std::string& out_;
  bool first_ = true;
};

class DynamicMembers {
 public:
  explicit DynamicMembers(const RowsToWrite& rows) {
    std::vector<std::string_view> fields;
    for (const Column& column : *rows.columns) {
      if (!column.is_dynamic) fields.push_back(column.name);
    }
    for (const std::string& name : *rows.output_fields) {
      if (std::find(fields.begin(), fields.end(), name) != fields.end()) continue;
      if (name == kDynamicFieldName) all_ = true;
      names_.push_back(name);
    }
  }

  void Write(std::string_view json, RowText& row) {
    simdjson::dom::object object;
    if (parser_.parse(json.data(), json.size()).get_object().get(object) != simdjson::SUCCESS) return;
    for (const auto& [key, value] : object) {
      if (!all_ && std::find(names_.begin(), names_.end(), key) == names_.end()) continue;
      row.Name(key) += static_cast<std::string>(simdjson::minify(value));
    }
  }

 private:
  std::vector<std::string_view> names_;
  bool all_ = false;
  simdjson::dom::parser parser_;
};

}  // namespace

void WriteNumber(double value, std::string& out) { WriteReal(value, out); }
void WriteNumber(float value, std::string& out) { WriteReal(value, out); }

void WriteString(std::string_view text, std::string& out) {
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 && byte < 0x7F && c != '"' && c != '\\';
  });
  if (!plain) {  // bytes that are no UTF-8 become U+FFFD
    out += nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    return;
  }
  out += '"';
  out += text;
  out += '"';
}

void WriteKeys(const PrimaryKeys& keys, bool int64_as_number, std::string& out) {
  out += '[';
  for (int64_t i = 0; i < keys.size(); ++i) {
    if (i > 0) out += ',';
    keys.is_string ? WriteString(keys.strings[static_cast<size_t>(i)], out) : WriteInt64(keys.ints[static_cast<size_t>(i)], int64_as_number, out);
  }
  out += ']';
}

void WriteRows(const RowsToWrite& rows, std::string& out) {
  // The key is always there by its own name, and as "id", where Milvus up to 2.5 puts it, if nothing else is called so.
  const bool has_dynamic = std::any_of(rows.columns->begin(), rows.columns->end(), [](const Column& c) { return c.is_dynamic; });
  const auto has = [&](std::string_view name) {
    return std::any_of(rows.columns->begin(), rows.columns->end(), [name](const Column& c) { return c.name == name; });
  };
  const bool write_key = rows.keys != nullptr && !rows.key_name.empty() && !has(rows.key_name);
  const bool write_id = rows.keys != nullptr && rows.key_name != "id" && !has_dynamic && !has("id");
  DynamicMembers dynamic(rows);
  std::vector<ColumnView> views;
  for (const Column& column : *rows.columns) views.push_back(column.View());
  const auto write_key_of = [&](int64_t row, std::string& to) {
    const auto i = static_cast<size_t>(row);
    rows.keys->is_string ? WriteString(rows.keys->strings[i], to) : WriteInt64(rows.keys->ints[i], rows.int64_as_number, to);
  };
  out += '[';
  for (int64_t row = 0; row < rows.rows; ++row) {
    if (row > 0) out += ',';
    RowText text(out);
    if (write_key) write_key_of(row, text.Name(rows.key_name));
    if (write_id) write_key_of(row, text.Name("id"));
    if (static_cast<size_t>(row) < rows.scores.size()) WriteReal(rows.scores[static_cast<size_t>(row)], text.Name("distance"));
    for (size_t i = 0; i < views.size(); ++i) {
      if (row >= views[i].rows) continue;
      const Column& column = (*rows.columns)[i];
      if (column.is_dynamic) {
        if (!views[i].IsNull(row)) dynamic.Write(views[i].Bytes(row), text);
        continue;
      }
      WriteValue(views[i], row, rows.int64_as_number, text.Name(column.name));
    }
    text.End();
  }
  out += ']';
}

}  // namespace saker
