// One column of a growing segment, in chunks that never move. One writer, readers without a lock.
#pragma once

#include <memory>

#include "expr/filter.h"
#include "segment/append_array.h"

namespace saker {

// Chunks start small and double up to a limit, so that a collection of a few rows costs a few kilobytes and a large one
// scans long runs of contiguous vectors. A reader names how many rows are published; chunks beyond that are the
// writer's.
class GrowingColumn {
 public:
  explicit GrowingColumn(const FieldSchema& field);

  void Append(const ColumnView& rows);
  FilterSource::Chunk ChunkAt(int64_t row, int64_t published) const;
  const FieldSchema& field() const { return field_; }
  int64_t memory_bytes() const { return memory_bytes_.load(std::memory_order_relaxed); }

 private:
  struct Chunk {
    int64_t first_row = 0;
    int64_t row_capacity = 0;
    uint64_t byte_capacity = 0;
    std::unique_ptr<uint8_t[]> fixed;
    std::unique_ptr<uint64_t[]> offsets;
    std::unique_ptr<char[]> bytes;
    std::unique_ptr<uint8_t[]> valid;
  };
  void AddChunk(int64_t rows_to_come, uint64_t bytes_to_come, uint64_t next_row_bytes);
  int64_t AppendFixed(const ColumnView& rows, int64_t from);
  int64_t AppendVariable(const ColumnView& rows, int64_t from);
  void SetValid(const ColumnView& rows, int64_t from, int64_t at, int64_t count);

  const FieldSchema field_;
  const int width_;
  AppendArray<std::unique_ptr<Chunk>> chunks_;
  std::atomic<int64_t> memory_bytes_{0};
  // The writer's: the last chunk and how far it is filled.
  Chunk* tail_ = nullptr;
  int64_t tail_rows_ = 0;
};

// A column of `rows` defaults or nulls, for a field that a batch or a segment lacks.
Column MissingColumn(const FieldSchema& field, int64_t rows);

}  // namespace saker
