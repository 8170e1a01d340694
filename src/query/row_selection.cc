#include "query/row_selection.h"

#include <algorithm>

namespace saker {
namespace {

// True if every value lies outside of what the segment holds. Values of another type than the bounds tell nothing.
bool AllOutside(const std::vector<Value>& values, const Segment::Bounds& bounds) {
  return std::all_of(values.begin(), values.end(), [&](const Value& value) {
    return value.index() == bounds.min.index() && (value < bounds.min || bounds.max < value);
  });
}

bool CannotMatch(const Segment& segment, const Filter& filter) {
  for (const FieldId field : filter.fields()) {
    const auto values = filter.LimitedTo(field);
    if (!values) continue;
    const auto bounds = segment.BoundsOf(field);
    if (bounds && AllOutside(*values, *bounds)) return true;
  }
  return false;
}

RowSelection RowsOfKeys(const SegmentSnapshot& snapshot, const Filter& filter, const ReadView& view) {
  const Segment& segment = snapshot.segment();
  std::vector<std::pair<int64_t, int64_t>> found;
  segment.FindKeys(*filter.LimitedToKeys(), found);
  RowSelection selection;
  std::vector<int64_t>& rows = selection.list.emplace();
  for (const auto& [key, row] : found) {
    if (row >= snapshot.rows() || !segment.IsVisible(row, view.read_ts, view.expired_before)) continue;
    if (filter.IsKeysOnly() || filter.Matches(snapshot, row)) rows.push_back(row);
  }
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());  // a key may be named twice
  selection.count = static_cast<int64_t>(rows.size());
  return selection;
}

}  // namespace

std::optional<FilterSource::Chunk> SegmentSnapshot::ChunkAt(FieldId field, int64_t row) const {
  auto chunk = segment_.ChunkAt(field, row);
  if (chunk) chunk->column.rows = std::min(chunk->column.rows, rows_ - chunk->first_row);
  return chunk;
}

const ScalarIndex* SegmentSnapshot::IndexOn(FieldId field) const {
  auto index = segment_.ScalarIndexOn(field);
  if (index == nullptr || index->rows() != rows_) return nullptr;
  return held_.emplace_back(std::move(index)).get();
}

RowSelection SelectRows(const SegmentSnapshot& snapshot, const Filter* filter, const ReadView& view) {
  const Segment& segment = snapshot.segment();
  RowSelection selection;
  if (snapshot.rows() == 0) return selection;
  if (filter != nullptr && filter->LimitedToKeys()) return RowsOfKeys(snapshot, *filter, view);
  const bool all_visible = segment.AllVisible(view.read_ts, view.expired_before);
  if (filter == nullptr && all_visible) {
    selection.all = true;
    selection.count = snapshot.rows();
    return selection;
  }
  if (filter != nullptr && CannotMatch(segment, *filter)) {
    selection.bits.Reset(snapshot.rows(), false);
    return selection;
  }
  if (filter != nullptr) {
    filter->Evaluate(snapshot, selection.bits);
  } else {
    selection.bits.Reset(snapshot.rows(), true);
  }
  if (!all_visible) segment.ClearInvisible(view.read_ts, view.expired_before, selection.bits);
  selection.count = selection.bits.Count();
  return selection;
}

void AppendKey(const Segment& segment, FieldId key_field, int64_t row, PrimaryKeys& keys) {
  const auto chunk = segment.ChunkAt(key_field, row);
  const int64_t at = row - chunk->first_row;
  if (chunk->column.width == 0) {
    keys.is_string = true;
    keys.strings.emplace_back(chunk->column.Bytes(at));
  } else {
    keys.ints.push_back(chunk->column.At<int64_t>(at));
  }
}

}  // namespace saker
