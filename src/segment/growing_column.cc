#include "segment/growing_column.h"

#include <algorithm>
#include <cstring>

namespace saker {
namespace {

constexpr int64_t kFirstChunkRows = 16;
constexpr int64_t kMaxChunkRows = 8192;
constexpr int64_t kMaxFixedChunkBytes = 4 << 20;
constexpr int64_t kMaxVariableChunkBytes = 1 << 20;

}  // namespace

GrowingColumn::GrowingColumn(const FieldSchema& field)
    : field_(field), width_(IsFixedWidth(field.type) ? FixedWidth(field.type, field.dim) : 0) {}

void GrowingColumn::AddChunk(int64_t rows_to_come, uint64_t bytes_to_come, uint64_t next_row_bytes) {
  auto chunk = std::make_unique<Chunk>();
  const int64_t before = tail_ == nullptr ? 0 : tail_->row_capacity;
  chunk->first_row = tail_ == nullptr ? 0 : tail_->first_row + tail_rows_;
  int64_t rows = std::max({kFirstChunkRows, before * 2, rows_to_come});
  const int64_t average = width_ > 0 ? width_ : static_cast<int64_t>(bytes_to_come) / rows_to_come + 1;
  const int64_t most = (width_ > 0 ? kMaxFixedChunkBytes : kMaxVariableChunkBytes) / average;
  rows = std::clamp(rows, kFirstChunkRows, std::clamp(most, kFirstChunkRows, kMaxChunkRows));
  chunk->row_capacity = rows;
  int64_t memory = sizeof(Chunk);
  if (width_ > 0) {
    chunk->fixed.reset(new uint8_t[rows * width_]);
    memory += rows * width_;
  } else {
    chunk->byte_capacity = std::max(next_row_bytes, static_cast<uint64_t>(rows * (average + average / 4)));
    chunk->bytes.reset(new char[chunk->byte_capacity]);
    chunk->offsets.reset(new uint64_t[rows + 1]);
    chunk->offsets[0] = 0;
    memory += static_cast<int64_t>(chunk->byte_capacity) + (rows + 1) * static_cast<int64_t>(sizeof(uint64_t));
  }
  if (field_.nullable) {
    chunk->valid.reset(new uint8_t[rows]);
    memory += rows;
  }
  tail_ = chunk.get();
  tail_rows_ = 0;
  chunks_.PushBack(std::move(chunk));
  memory_bytes_.fetch_add(memory, std::memory_order_relaxed);
}

void GrowingColumn::Append(const ColumnView& rows) {
  SAKER_CHECK(rows.width == width_);
  for (int64_t done = 0; done < rows.rows;) {
    const int64_t taken = width_ > 0 ? AppendFixed(rows, done) : AppendVariable(rows, done);
    if (field_.nullable && taken > 0) SetValid(rows, done, tail_rows_, taken);
    tail_rows_ += taken;
    done += taken;
  }
}

int64_t GrowingColumn::AppendFixed(const ColumnView& rows, int64_t from) {
  if (tail_ == nullptr || tail_rows_ == tail_->row_capacity) AddChunk(rows.rows - from, 0, 0);
  const int64_t count = std::min(rows.rows - from, tail_->row_capacity - tail_rows_);
  std::memcpy(tail_->fixed.get() + tail_rows_ * width_, rows.Row(from), static_cast<size_t>(count * width_));
  return count;
}

int64_t GrowingColumn::AppendVariable(const ColumnView& rows, int64_t from) {
  const uint64_t first_bytes = rows.offsets[from + 1] - rows.offsets[from];
  const bool fits = tail_ != nullptr && tail_rows_ < tail_->row_capacity &&
                    tail_->offsets[tail_rows_] + first_bytes <= tail_->byte_capacity;
  if (!fits) AddChunk(rows.rows - from, rows.offsets[rows.rows] - rows.offsets[from], first_bytes);
  uint64_t* offsets = tail_->offsets.get() + tail_rows_;
  const uint64_t room = tail_->byte_capacity - offsets[0];
  int64_t count = 0;
  while (from + count < rows.rows && tail_rows_ + count < tail_->row_capacity) {
    const uint64_t bytes = rows.offsets[from + count + 1] - rows.offsets[from];
    if (bytes > room) break;
    ++count;
    offsets[count] = offsets[0] + bytes;
  }
  std::memcpy(tail_->bytes.get() + offsets[0], rows.bytes + rows.offsets[from],
              static_cast<size_t>(offsets[count] - offsets[0]));
  return count;
}

void GrowingColumn::SetValid(const ColumnView& rows, int64_t from, int64_t at, int64_t count) {
  uint8_t* valid = tail_->valid.get() + at;
  if (rows.valid == nullptr) {
    std::memset(valid, 1, static_cast<size_t>(count));
  } else {
    std::memcpy(valid, rows.valid + from, static_cast<size_t>(count));
  }
}

FilterSource::Chunk GrowingColumn::ChunkAt(int64_t row, int64_t published) const {
  int64_t low = 0;
  int64_t high = chunks_.size();  // the chunk is in [low, high)
  const int64_t chunk_count = high;
  if (chunks_[high - 1]->first_row <= row) low = high - 1;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (chunks_[middle]->first_row <= row ? low : high) = middle;
  }
  const Chunk& chunk = *chunks_[low];
  const int64_t end = low + 1 < chunk_count ? std::min(published, chunks_[low + 1]->first_row) : published;
  FilterSource::Chunk out;
  out.first_row = chunk.first_row;
  out.column.type = field_.type;
  out.column.element_type = field_.element_type;
  out.column.dim = field_.dim;
  out.column.width = width_;
  out.column.rows = end - chunk.first_row;
  out.column.fixed = chunk.fixed.get();
  out.column.offsets = chunk.offsets.get();
  out.column.bytes = chunk.bytes.get();
  out.column.valid = chunk.valid.get();
  return out;
}

Column MissingColumn(const FieldSchema& field, int64_t rows) {
  Column column(field);
  for (int64_t i = 0; i < rows; ++i) {
    field.default_value ? column.AppendValue(*field.default_value) : column.AppendNull();
  }
  return column;
}

}  // namespace saker
