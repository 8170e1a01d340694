#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "query/row_selection.h"

namespace saker {

Status RowsGone(Timestamp read_ts) {
  return {ErrorCode::kParameterInvalid,
          "the rows as of timestamp " + std::to_string(read_ts) +
              " are gone: they are kept for an iterator while it asks for a page every 10 minutes and the server is not "
              "restarted; start the iterator anew"};
}

namespace {

// limit + offset, or all.
int64_t MostRows(const QueryPlan& plan) {
  return plan.limit < 0 ? std::numeric_limits<int64_t>::max() : plan.limit + std::max<int64_t>(plan.offset, 0);
}

// Picks the rows that a leg answers with: by rising key, of each key the newest, as many as the request can need.
template <typename Key>
class RowPicker {
 public:
  RowPicker(const SegmentSnapshot& snapshot, FieldId key_field, int64_t most)
      : snapshot_(snapshot), segment_(snapshot.segment()), key_field_(key_field), most_(most) {}

  std::vector<int64_t> Pick(const RowSelection& selection) {
    if (most_ == 0) return {};
    const bool has_order = segment_.RowInKeyOrder(0) >= 0;
    // Walking all rows in key order pays unless the selection is sparse: a list, or far fewer than half.
    if (has_order && !selection.list && selection.count * 8 >= snapshot_.rows()) return PickInOrder(selection);
    return PickAndSort(selection);
  }

 private:
  std::vector<int64_t> PickInOrder(const RowSelection& selection) {
    std::vector<int64_t> picked;
    for (int64_t i = 0; i < snapshot_.rows(); ++i) {
      const int64_t row = segment_.RowInKeyOrder(i);
      if (!selection.all && !selection.bits.Test(row)) continue;
      if (!picked.empty() && segment_.may_repeat_keys() && KeyOf(picked.back()) == KeyOf(row)) {
        if (IsNewer(row, picked.back())) picked.back() = row;
        continue;
      }
      if (static_cast<int64_t>(picked.size()) == most_) break;
      picked.push_back(row);
    }
    return picked;
  }

  std::vector<int64_t> PickAndSort(const RowSelection& selection) {
    std::vector<std::pair<Key, int64_t>> rows;
    rows.reserve(static_cast<size_t>(selection.count));
    selection.ForEach(snapshot_.rows(), [&](int64_t row) { rows.emplace_back(KeyOf(row), row); });
    const auto before = [&](const auto& a, const auto& b) {
      return a.first != b.first ? a.first < b.first : IsNewer(a.second, b.second);
    };
    // Repeated keys may take more rows than are needed in the end; without them the rest need not be sorted.
    if (!segment_.may_repeat_keys() && most_ < static_cast<int64_t>(rows.size())) {
      std::nth_element(rows.begin(), rows.begin() + most_, rows.end(), before);
      rows.resize(static_cast<size_t>(most_));
    }
    std::sort(rows.begin(), rows.end(), before);
    std::vector<int64_t> picked;
    for (size_t i = 0; i < rows.size() && static_cast<int64_t>(picked.size()) < most_; ++i) {
      if (i == 0 || rows[i].first != rows[i - 1].first) picked.push_back(rows[i].second);
    }
    return picked;
  }

  bool IsNewer(int64_t a, int64_t b) const {
    const Timestamp ts_a = segment_.RowTimestamp(a);
    const Timestamp ts_b = segment_.RowTimestamp(b);
    return ts_a != ts_b ? ts_a > ts_b : a > b;
  }

  Key KeyOf(int64_t row) {
    if (!chunk_ || row < chunk_->first_row || row >= chunk_->first_row + chunk_->column.rows) {
      chunk_ = snapshot_.ChunkAt(key_field_, row);
    }
    if constexpr (std::is_same_v<Key, int64_t>) {
      return chunk_->column.template At<int64_t>(row - chunk_->first_row);
    } else {
      return chunk_->column.Bytes(row - chunk_->first_row);
    }
  }

  const SegmentSnapshot& snapshot_;
  const Segment& segment_;
  const FieldId key_field_;
  const int64_t most_;
  std::optional<FilterSource::Chunk> chunk_;
};

// What `rows` take at least: the fixed-width fields are known before anything is copied.
int64_t FixedBytes(const QueryPlan& plan, size_t rows) {
  int64_t bytes = 0;
  for (const FieldId id : plan.output_fields) {
    const FieldSchema* field = plan.schema->Find(id);
    if (field != nullptr && IsFixedWidth(field->type)) bytes += FixedWidth(field->type, field->dim);
  }
  return bytes * static_cast<int64_t>(rows);
}

}  // namespace

Status FetchBudget::Take(int64_t bytes) {
  if (left.fetch_sub(bytes, std::memory_order_relaxed) >= bytes) return {};
  return {ErrorCode::kUnexpected, fmt::format("query results exceed the maxOutputSize Limit {}", limit)};
}

Result<QueryRows> QuerySegment(const QueryPlan& plan, const Segment& segment, const ReadView& view) {
  if (plan.filter != nullptr) {
    const std::vector<FieldId> fields(plan.filter->fields().begin(), plan.filter->fields().end());
    RETURN_IF_ERROR(segment.Check(fields));
  }
  const SegmentSnapshot snapshot(segment);
  const RowSelection selection = SelectRows(snapshot, plan.filter.get(), view);
  QueryRows out;
  if (plan.count_only) {
    out.count = selection.count;
    return out;
  }
  const FieldSchema& key = segment.schema().PrimaryKey();
  out.keys.is_string = IsString(key.type);
  const std::vector<int64_t> rows = selection.count == 0 ? std::vector<int64_t>()
                                    : out.keys.is_string
                                        ? RowPicker<std::string_view>(snapshot, key.id, MostRows(plan)).Pick(selection)
                                        : RowPicker<int64_t>(snapshot, key.id, MostRows(plan)).Pick(selection);
  const int64_t fixed_bytes = FixedBytes(plan, rows.size());
  if (plan.budget != nullptr) RETURN_IF_ERROR(plan.budget->Take(fixed_bytes));
  for (const int64_t row : rows) {
    AppendKey(segment, key.id, row, out.keys);
    out.timestamps.push_back(segment.RowTimestamp(row));
  }
  ASSIGN_OR_RETURN(out.rows, FetchRows(segment, *plan.schema, rows, plan.output_fields));
  if (plan.budget != nullptr) RETURN_IF_ERROR(plan.budget->Take(std::max<int64_t>(0, out.rows.size_bytes() - fixed_bytes)));
  return out;
}

}  // namespace saker
