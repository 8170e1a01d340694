// Conditions made of conditions, and what all leaves share.
#include "expr/node.h"

#include <algorithm>

#include "expr/leaf.h"

namespace saker {
namespace {

constexpr int kIndexCost = 0;
// An index look-up touches all rows that match; below this share of candidates looking at each is cheaper.
constexpr int64_t kFewestCandidatesForIndex = 64;

void ClearRange(Bitmap& rows, int64_t begin, int64_t end) {
  for (; begin < end && (begin & 63) != 0; ++begin) rows.Clear(begin);
  for (; begin + 64 <= end; begin += 64) rows.words()[begin >> 6] = 0;
  for (; begin < end; ++begin) rows.Clear(begin);
}

// The first set row at or behind `row`; size() if there is none.
int64_t NextSet(const Bitmap& rows, int64_t row) {
  while (row < rows.size()) {
    const uint64_t bits = rows.words()[row >> 6] >> (row & 63);
    if (bits != 0) return row + std::countr_zero(bits);
    row = (row | 63) + 1;
  }
  return rows.size();
}

bool IsEmpty(const Bitmap& rows) { return NextSet(rows, 0) == rows.size(); }

class AlwaysNode final : public Node {
 public:
  explicit AlwaysNode(bool value) : value_(value) {}
  void Narrow(const FilterSource&, Bitmap& rows) const override {
    if (!value_) rows.Reset(rows.size(), false);
  }
  bool Matches(const FilterSource&, int64_t) const override { return value_; }
  int Cost(const FilterSource&) const override { return 0; }
  NodePtr Negated() const override { return Always(!value_); }
  void AddFields(std::set<FieldId>&) const override {}
  std::optional<std::vector<Value>> LimitedTo(FieldId) const override {
    if (value_) return std::nullopt;
    return std::vector<Value>();
  }

 private:
  const bool value_;
};

class Junction : public Node {
 public:
  explicit Junction(std::vector<NodePtr> nodes) : nodes_(std::move(nodes)) {}
  void AddFields(std::set<FieldId>& fields) const override {
    for (const NodePtr& node : nodes_) node->AddFields(fields);
  }
  int Cost(const FilterSource& source) const override {
    int cost = 0;
    for (const NodePtr& node : nodes_) cost = std::min(1 << 20, cost + node->Cost(source));
    return cost;
  }

 protected:
  std::vector<NodePtr> NegatedNodes() const {
    std::vector<NodePtr> out;
    for (const NodePtr& node : nodes_) out.push_back(node->Negated());
    return out;
  }
  std::vector<const Node*> CheapestFirst(const FilterSource& source) const {
    std::vector<std::pair<int, const Node*>> order;
    for (const NodePtr& node : nodes_) order.emplace_back(node->Cost(source), node.get());
    std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<const Node*> out;
    for (const auto& [cost, node] : order) out.push_back(node);
    return out;
  }
  const std::vector<NodePtr> nodes_;
};

class AllNode final : public Junction {
 public:
  using Junction::Junction;
  void Narrow(const FilterSource& source, Bitmap& rows) const override {
    for (const Node* node : CheapestFirst(source)) {
      node->Narrow(source, rows);
      if (IsEmpty(rows)) return;
    }
  }
  bool Matches(const FilterSource& source, int64_t row) const override {
    return std::all_of(nodes_.begin(), nodes_.end(), [&](const NodePtr& node) { return node->Matches(source, row); });
  }
  NodePtr Negated() const override { return AnyOf(NegatedNodes()); }
  std::optional<std::vector<Value>> LimitedTo(FieldId field) const override {
    std::optional<std::vector<Value>> all;
    for (const NodePtr& node : nodes_) {
      std::optional<std::vector<Value>> one = node->LimitedTo(field);
      if (!one.has_value()) continue;
      if (!all.has_value()) {
        all = std::move(one);
      } else {
        const std::set<Value> other(one->begin(), one->end());
        std::erase_if(*all, [&](const Value& value) { return !other.contains(value); });
      }
    }
    return all;
  }
};

class AnyNode final : public Junction {
 public:
  using Junction::Junction;
  void Narrow(const FilterSource& source, Bitmap& rows) const override {
    Bitmap found(rows.size());
    for (const Node* node : CheapestFirst(source)) {
      Bitmap left = rows;
      left.AndNot(found);
      if (IsEmpty(left)) break;
      node->Narrow(source, left);
      found.Or(left);
    }
    rows = std::move(found);
  }
  bool Matches(const FilterSource& source, int64_t row) const override {
    return std::any_of(nodes_.begin(), nodes_.end(), [&](const NodePtr& node) { return node->Matches(source, row); });
  }
  NodePtr Negated() const override { return AllOf(NegatedNodes()); }
  std::optional<std::vector<Value>> LimitedTo(FieldId field) const override {
    std::set<Value> all;
    for (const NodePtr& node : nodes_) {
      std::optional<std::vector<Value>> one = node->LimitedTo(field);
      if (!one.has_value()) return std::nullopt;
      all.insert(one->begin(), one->end());
    }
    return std::vector<Value>(all.begin(), all.end());
  }
};

}  // namespace

NodePtr Always(bool value) { return std::make_shared<AlwaysNode>(value); }
NodePtr AllOf(std::vector<NodePtr> nodes) { return std::make_shared<AllNode>(std::move(nodes)); }
NodePtr AnyOf(std::vector<NodePtr> nodes) { return std::make_shared<AnyNode>(std::move(nodes)); }

Leaf::Leaf(const FieldSchema& field) : field_(field.id) {
  auto absent = std::make_shared<Column>(field);
  if (field.default_value.has_value()) {
    absent->AppendValue(*field.default_value);
  } else if (field.is_dynamic) {
    absent->AppendBytes("{}");
  } else {
    absent->AppendNull();
  }
  absent_ = std::move(absent);
}

void Leaf::Narrow(const FilterSource& source, Bitmap& rows) const {
  if (NarrowByIndex(source, rows)) return;
  const int64_t count = rows.size();
  int64_t row = NextSet(rows, 0);
  while (row < count) {
    const std::optional<FilterSource::Chunk> chunk = source.ChunkAt(field_, row);
    int64_t end = std::min(count, (row | 63) + 1);
    if (chunk.has_value()) {
      end = std::min(count, chunk->first_row + chunk->column.rows);
      SAKER_CHECK(chunk->first_row <= row && end > row);
      NarrowChunk(*chunk, row, end, rows);
    } else {
      if (!source.ChunkAt(field_, count - 1).has_value()) end = count;
      if (!AbsentPasses()) ClearRange(rows, row, end);
    }
    row = NextSet(rows, end);
  }
}

bool Leaf::Matches(const FilterSource& source, int64_t row) const {
  const std::optional<FilterSource::Chunk> chunk = source.ChunkAt(field_, row);
  return chunk.has_value() ? Passes(chunk->column, row - chunk->first_row) : AbsentPasses();
}

int Leaf::Cost(const FilterSource& source) const {
  const ScalarIndex* index = source.IndexOn(field_);
  return index != nullptr && CanLookUp(*index) ? kIndexCost : ScanCost();
}

void Leaf::NarrowChunk(const FilterSource::Chunk& chunk, int64_t begin, int64_t end, Bitmap& rows) const {
  NarrowRows(rows, begin, end, [&](int64_t row) { return Passes(chunk.column, row - chunk.first_row); });
}

bool Leaf::NarrowByIndex(const FilterSource& source, Bitmap& rows) const {
  const ScalarIndex* index = source.IndexOn(field_);
  if (index == nullptr || index->rows() != rows.size() || !CanLookUp(*index)) return false;
  if (rows.Count() * kFewestCandidatesForIndex < rows.size()) return false;
  Bitmap found(rows.size());
  LookUp(*index, found);
  if (!is_negated()) {
    rows.And(found);
    return true;
  }
  Bitmap known(rows.size());
  index->NotNull(known);
  rows.And(known);
  rows.AndNot(found);
  return true;
}

bool Leaf::AbsentPasses() const { return Passes(absent_->View(), 0); }

Cell CellAt(const ColumnView& column, int64_t row) {
  switch (column.type) {
    case DataType::kBool: return Cell::Of(column.At<uint8_t>(row) != 0);
    case DataType::kInt8: return Cell::Of(int64_t{column.At<int8_t>(row)});
    case DataType::kInt16: return Cell::Of(int64_t{column.At<int16_t>(row)});
    case DataType::kInt32: return Cell::Of(int64_t{column.At<int32_t>(row)});
    case DataType::kInt64: return Cell::Of(column.At<int64_t>(row));
    case DataType::kFloat: return Cell::Of(double{column.At<float>(row)});
    case DataType::kDouble: return Cell::Of(column.At<double>(row));
    case DataType::kVarChar: case DataType::kString: case DataType::kText: return Cell::Of(column.Bytes(row));
    default: return {.kind = Cell::Kind::kOther};
  }
}

}  // namespace saker
