#include <fmt/format.h>

#include "query/search.h"

namespace saker {
namespace {

Result<Column> FetchColumn(const Segment& segment, const FieldSchema& field, std::span<const int64_t> rows) {
  Column column(field);
  column.Reserve(static_cast<int64_t>(rows.size()));
  std::optional<FilterSource::Chunk> chunk;
  for (const int64_t row : rows) {
    const bool here = chunk && row >= chunk->first_row && row < chunk->first_row + chunk->column.rows;
    if (!here) chunk = segment.ChunkAt(field.id, row);
    if (chunk) {
      if (chunk->column.width != column.width()) {
        return Status(ErrorCode::kFieldNotFound, fmt::format("field {} of segment {} was written with another type",
                                                             field.name, segment.id().value));
      }
      column.AppendFrom(chunk->column, row - chunk->first_row);
    } else if (field.default_value) {
      column.AppendValue(*field.default_value);
    } else {
      column.AppendNull();
    }
  }
  return column;
}

}  // namespace

Result<RowBatch> FetchRows(const Segment& segment, const CollectionSchema& schema, std::span<const int64_t> rows,
                           std::span<const FieldId> fields) {
  RETURN_IF_ERROR(segment.Check(fields));
  const int64_t readable = segment.rows();
  for (const int64_t row : rows) {
    if (row >= 0 && row < readable) continue;
    return Status(ErrorCode::kParameterInvalid, fmt::format("segment {} has {} rows, row {} was asked for",
                                                            segment.id().value, readable, row));
  }
  RowBatch out;
  out.rows = static_cast<int64_t>(rows.size());
  for (const FieldId id : fields) {
    const FieldSchema* field = schema.Find(id);
    if (field == nullptr) {
      return Status(ErrorCode::kFieldNotFound, fmt::format("field {} is not in collection {}", id.value, schema.name));
    }
    ASSIGN_OR_RETURN(Column column, FetchColumn(segment, *field, rows));
    out.columns.push_back(std::move(column));
  }
  return out;
}

}  // namespace saker
