// What all leaves over one field share: walking the chunks, nulls, columns the segment does not have, indexes.
#pragma once

#include "expr/node.h"

namespace saker {

class Leaf : public Node {
 public:
  explicit Leaf(const FieldSchema& field);
  void Narrow(const FilterSource& source, Bitmap& rows) const final;
  bool Matches(const FilterSource& source, int64_t row) const final;
  void AddFields(std::set<FieldId>& fields) const final { fields.insert(field_); }
  std::optional<std::vector<Value>> LimitedTo(FieldId) const override { return std::nullopt; }
  int Cost(const FilterSource& source) const final;

 protected:
  // Rows [begin, end) of the source, which lie in `chunk`. The default asks PassesRow for each row that is set.
  virtual void NarrowChunk(const FilterSource::Chunk& chunk, int64_t begin, int64_t end, Bitmap& rows) const;
  // `row` counts from the chunk's first and is not null.
  virtual bool PassesRow(const ColumnView& column, int64_t row) const = 0;
  virtual bool PassesNull() const { return false; }
  virtual int ScanCost() const = 0;
  // Sets the rows that pass before negation; false if the index cannot tell.
  virtual bool CanLookUp(const ScalarIndex& index) const { return false; }
  virtual void LookUp(const ScalarIndex& index, Bitmap& found) const {}
  virtual bool is_negated() const = 0;

  bool Passes(const ColumnView& column, int64_t row) const {
    return column.IsNull(row) ? PassesNull() : PassesRow(column, row);
  }

 private:
  bool NarrowByIndex(const FilterSource& source, Bitmap& rows) const;
  bool AbsentPasses() const;

  const FieldId field_;
  // One row: what a row has that was written before the field was added.
  std::shared_ptr<const Column> absent_;
};

// Clears the set rows of [begin, end) that fail `passes(row)`.
template <typename Passes>
void NarrowRows(Bitmap& rows, int64_t begin, int64_t end, Passes&& passes) {
  for (int64_t w = begin >> 6; w <= (end - 1) >> 6; ++w) {
    uint64_t bits = rows.words()[w];
    if (w == begin >> 6) bits &= ~uint64_t{0} << (begin & 63);
    if (w == (end - 1) >> 6 && (end & 63) != 0) bits &= (uint64_t{1} << (end & 63)) - 1;
    uint64_t failed = 0;
    for (; bits != 0; bits &= bits - 1) {
      const int bit = std::countr_zero(bits);
      if (!passes(w * 64 + bit)) failed |= uint64_t{1} << bit;
    }
    rows.words()[w] &= ~failed;
  }
}

Cell CellAt(const ColumnView& column, int64_t row);

}  // namespace saker
