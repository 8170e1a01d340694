#include "segment/segment.h"

#include <algorithm>

namespace saker {

void Segment::ClearDeleted(Timestamp until, Bitmap& rows) const {
  std::vector<int64_t> gone;
  rows.ForEach([&](int64_t row) {
    // At its own insertion a row is there, whatever was deleted before.
    if (!IsVisible(row, std::max(until, RowTimestamp(row)), 0)) gone.push_back(row);
  });
  for (const int64_t row : gone) rows.Clear(row);
}

}  // namespace saker
