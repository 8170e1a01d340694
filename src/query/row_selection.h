// Which rows of a segment a request is about: those that its filter matches and that are visible.
#pragma once

#include <optional>
#include <vector>

#include "query/search.h"

namespace saker {

// A segment as it was at one moment: a growing one does not grow under a filter's feet, and an index that is dropped
// meanwhile stays.
class SegmentSnapshot final : public FilterSource {
 public:
  explicit SegmentSnapshot(const Segment& segment) : segment_(segment), rows_(segment.rows()) {}
  int64_t rows() const override { return rows_; }
  std::optional<Chunk> ChunkAt(FieldId field, int64_t row) const override;
  const ScalarIndex* IndexOn(FieldId field) const override;
  const Segment& segment() const { return segment_; }

 private:
  const Segment& segment_;
  const int64_t rows_;
  mutable std::vector<std::shared_ptr<const ScalarIndex>> held_;
};

// Either all rows, or a list (when the filter names keys), or a bitmap.
struct RowSelection {
  bool all = false;
  std::optional<std::vector<int64_t>> list;  // rising
  Bitmap bits;
  int64_t count = 0;

  // Null: all rows. Not for a list.
  const Bitmap* allowed() const { return all ? nullptr : &bits; }
  // Calls f(row) in rising order.
  template <typename F>
  void ForEach(int64_t rows, F&& f) const {
    if (all) {
      for (int64_t row = 0; row < rows; ++row) f(row);
    } else if (list) {
      for (const int64_t row : *list) f(row);
    } else {
      bits.ForEach(f);
    }
  }
};

// `filter` may be null. The fields it reads have been checked (Segment::Check).
RowSelection SelectRows(const SegmentSnapshot& snapshot, const Filter* filter, const ReadView& view);

// The key column's row as it goes into PrimaryKeys.
void AppendKey(const Segment& segment, FieldId key_field, int64_t row, PrimaryKeys& keys);

}  // namespace saker
