// Leaves over Array columns, whose rows are encoded as EncodeArray writes them.
#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "expr/leaf.h"

namespace saker {
namespace {

constexpr int kElementCost = 12;
constexpr int kWholeArrayCost = 40;

Cell FixedElement(DataType type, const char* bytes) {
  const auto load = [bytes]<typename T>(T value) {
    std::memcpy(&value, bytes, sizeof(T));
    return value;
  };
  switch (type) {
    case DataType::kBool: return Cell::Of(load(uint8_t{}) != 0);
    case DataType::kInt8: return Cell::Of(int64_t{load(int8_t{})});
    case DataType::kInt16: return Cell::Of(int64_t{load(int16_t{})});
    case DataType::kInt32: return Cell::Of(int64_t{load(int32_t{})});
    case DataType::kInt64: return Cell::Of(load(int64_t{}));
    case DataType::kFloat: return Cell::Of(double{load(float{})});
    case DataType::kDouble: return Cell::Of(load(double{}));
    default: return {.kind = Cell::Kind::kOther};
  }
}

// Calls f(cell) for each element until it returns false.
template <typename F>
void ForEachElement(DataType type, std::string_view bytes, F&& f) {
  ByteReader reader(bytes);
  const auto count = reader.Get<uint32_t>();
  const auto width = static_cast<size_t>(FixedWidth(type, 0));
  for (uint32_t i = 0; i < count && reader.ok(); ++i) {
    const std::string_view element = width > 0 ? reader.GetRaw(width) : reader.GetBytes();
    if (!reader.ok()) return;
    if (!f(width > 0 ? FixedElement(type, element.data()) : Cell::Of(element))) return;
  }
}

Cell ElementAt(DataType type, std::string_view bytes, int64_t index) {
  ByteReader header(bytes);
  if (index < 0 || index >= int64_t{header.Get<uint32_t>()}) return {};
  const auto width = static_cast<size_t>(FixedWidth(type, 0));
  if (width > 0) {
    const size_t at = sizeof(uint32_t) + static_cast<size_t>(index) * width;
    return at + width <= bytes.size() ? FixedElement(type, bytes.data() + at) : Cell{};
  }
  Cell out;
  int64_t i = 0;
  ForEachElement(type, bytes, [&](const Cell& cell) {
    if (i++ < index) return true;
    out = cell;
    return false;
  });
  return out;
}

bool Equals(const Cell& cell, const Constant& constant) {
  return !constant.is_list && SameValue(cell, constant.scalar);
}

template <typename Self>
class ArrayLeaf : public Leaf {
 public:
  ArrayLeaf(const FieldSchema& field, int cost) : Leaf(field), element_type_(field.element_type), cost_(cost) {}
  NodePtr Negated() const override {
    auto out = std::make_shared<Self>(static_cast<const Self&>(*this));
    out->negated_ = !negated_;
    return out;
  }

 protected:
  bool is_negated() const override { return negated_; }
  int ScanCost() const override { return cost_; }
  const DataType element_type_;
  bool negated_ = false;

 private:
  const int cost_;
};

class ElementLeaf final : public ArrayLeaf<ElementLeaf> {
 public:
  ElementLeaf(const FieldSchema& field, int64_t index, std::vector<ArithmeticStep> steps, ValueTestPtr test,
              bool missing_passes)
      : ArrayLeaf(field, kElementCost), index_(index), steps_(std::move(steps)), test_(std::move(test)),
        missing_passes_(missing_passes) {}

 protected:
  bool PassesRow(const ColumnView& column, int64_t row) const override {
    Cell cell = ElementAt(element_type_, column.Bytes(row), index_);
    if (cell.kind != Cell::Kind::kMissing) cell = Apply(steps_, cell);
    if (cell.kind == Cell::Kind::kMissing) return missing_passes_ != negated_;
    return test_->Passes(cell) != negated_;
  }

 private:
  const int64_t index_;
  const std::vector<ArithmeticStep> steps_;
  const ValueTestPtr test_;
  const bool missing_passes_;
};

class LengthLeaf final : public ArrayLeaf<LengthLeaf> {
 public:
  LengthLeaf(const FieldSchema& field, std::vector<ArithmeticStep> steps, ValueTestPtr test)
      : ArrayLeaf(field, kElementCost), steps_(std::move(steps)), test_(std::move(test)) {}

 protected:
  bool PassesRow(const ColumnView& column, int64_t row) const override {
    const Cell cell = Apply(steps_, Cell::Of(ArrayLength(column.Bytes(row))));
    return cell.kind != Cell::Kind::kMissing && test_->Passes(cell) != negated_;
  }

 private:
  const std::vector<ArithmeticStep> steps_;
  const ValueTestPtr test_;
};

class ContainsLeaf final : public ArrayLeaf<ContainsLeaf> {
 public:
  ContainsLeaf(const FieldSchema& field, bool all, std::vector<Constant> wanted)
      : ArrayLeaf(field, kWholeArrayCost), all_(all) {
    for (const Constant& constant : wanted) {
      if (!constant.is_list) values_.push_back(constant.scalar);
      has_lists_ = has_lists_ || constant.is_list;
    }
    if (!all) any_of_ = AmongValues(values_);
    for (const Value& value : values_) tests_.push_back(EqualTo(value));
  }

 protected:
  bool PassesRow(const ColumnView& column, int64_t row) const override {
    return (all_ ? HasAll(column.Bytes(row)) : HasAny(column.Bytes(row))) != negated_;
  }
  bool CanLookUp(const ScalarIndex&) const override { return !has_lists_ && !values_.empty(); }
  void LookUp(const ScalarIndex& index, Bitmap& found) const override {
    if (!all_) return index.In(values_, found);
    found.SetRange(0, found.size());
    for (const Value& value : values_) {
      Bitmap one(found.size());
      index.In({&value, 1}, one);
      found.And(one);
    }
  }

 private:
  bool HasAny(std::string_view bytes) const {
    bool found = false;
    ForEachElement(element_type_, bytes, [&](const Cell& cell) {
      found = any_of_->Passes(cell);
      return !found;
    });
    return found;
  }
  bool HasAll(std::string_view bytes) const {
    if (has_lists_) return false;
    return std::all_of(tests_.begin(), tests_.end(), [&](const ValueTestPtr& test) {
      bool found = false;
      ForEachElement(element_type_, bytes, [&](const Cell& cell) {
        found = test->Passes(cell);
        return !found;
      });
      return found;
    });
  }

  const bool all_;
  std::vector<Value> values_;
  bool has_lists_ = false;  // arrays have no arrays as elements
  ValueTestPtr any_of_;
  std::vector<ValueTestPtr> tests_;
};

class EqualsLeaf final : public ArrayLeaf<EqualsLeaf> {
 public:
  EqualsLeaf(const FieldSchema& field, std::vector<Constant> wanted)
      : ArrayLeaf(field, kWholeArrayCost), wanted_(std::move(wanted)) {}

 protected:
  bool PassesRow(const ColumnView& column, int64_t row) const override {
    const std::string_view bytes = column.Bytes(row);
    size_t matched = 0;
    if (ArrayLength(bytes) == static_cast<int64_t>(wanted_.size())) {
      ForEachElement(element_type_, bytes, [&](const Cell& cell) {
        if (!Equals(cell, wanted_[matched])) return false;
        return ++matched < wanted_.size();
      });
    } else {
      return negated_;
    }
    return (matched == wanted_.size()) != negated_;
  }

 private:
  const std::vector<Constant> wanted_;
};

}  // namespace

NodePtr TestElement(const FieldSchema& field, int64_t index, std::vector<ArithmeticStep> steps, ValueTestPtr test,
                    bool missing_passes) {
  return std::make_shared<ElementLeaf>(field, index, std::move(steps), std::move(test), missing_passes);
}
NodePtr TestArrayLength(const FieldSchema& field, std::vector<ArithmeticStep> steps, ValueTestPtr test) {
  return std::make_shared<LengthLeaf>(field, std::move(steps), std::move(test));
}
NodePtr TestArrayContains(const FieldSchema& field, bool all, std::vector<Constant> wanted) {
  return std::make_shared<ContainsLeaf>(field, all, std::move(wanted));
}
NodePtr TestArrayEquals(const FieldSchema& field, std::vector<Constant> wanted) {
  return std::make_shared<EqualsLeaf>(field, std::move(wanted));
}

}  // namespace saker
