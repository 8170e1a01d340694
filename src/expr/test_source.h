// A FilterSource over columns held in memory, cut into chunks of any size: for tests and fuzzers.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "expr/filter.h"

namespace saker {

class TestSource : public FilterSource {
 public:
  TestSource(SchemaPtr schema, int64_t rows_per_chunk) : schema_(std::move(schema)), rows_per_chunk_(rows_per_chunk) {}

  // Appends to the column of a field; every column must get the same number of values. Arrays and JSON as bytes.
  void Append(const std::string& field_name, const Value& value) {
    const FieldSchema& field = *schema_->Find(field_name);
    std::vector<Column>& chunks = columns_[field.id];
    if (chunks.empty() || chunks.back().rows() == rows_per_chunk_) chunks.emplace_back(field);
    Column& column = chunks.back();
    const auto* text = std::get_if<std::string>(&value);
    const bool is_bytes = field.type == DataType::kJson || field.type == DataType::kArray;
    is_bytes && text != nullptr ? column.AppendBytes(*text) : column.AppendValue(value);
  }
  void set_rows(int64_t rows) { rows_ = rows; }

  // The whole column as one, for building an index.
  Column Whole(const std::string& field_name) const {
    const FieldSchema& field = *schema_->Find(field_name);
    Column out(field);
    for (const Column& chunk : columns_.at(field.id)) out.AppendAll(chunk.View());
    return out;
  }
  Status BuildIndex(const std::string& field_name, const std::string& type) {
    auto index = BuildScalarIndex(type, Whole(field_name).View());
    if (!index.ok()) return index.status();
    indexes_[schema_->Find(field_name)->id] = std::move(*index);
    return Status::Ok();
  }
  void DropIndexes() { indexes_.clear(); }

  int64_t rows() const override { return rows_; }
  std::optional<Chunk> ChunkAt(FieldId field, int64_t row) const override {
    const auto found = columns_.find(field);
    if (found == columns_.end()) return std::nullopt;
    const int64_t chunk = row / rows_per_chunk_;
    return Chunk{chunk * rows_per_chunk_, found->second[static_cast<size_t>(chunk)].View()};
  }
  const ScalarIndex* IndexOn(FieldId field) const override {
    const auto found = indexes_.find(field);
    return found == indexes_.end() ? nullptr : found->second.get();
  }

 private:
  const SchemaPtr schema_;
  const int64_t rows_per_chunk_;
  int64_t rows_ = 0;
  std::map<FieldId, std::vector<Column>> columns_;
  std::map<FieldId, std::unique_ptr<ScalarIndex>> indexes_;
};

}  // namespace saker
