// Leaves over plain columns: tight loops over blocks of 64 rows where the type allows.
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "expr/leaf.h"
#include "scalar/number_order.h"

namespace saker {
namespace {

constexpr int kNumberCost = 1;
constexpr int kListCost = 4;
constexpr int kTextCost = 8;
constexpr int kArithmeticCost = 4;
constexpr int kPairCost = 12;
constexpr int kNullCost = 1;

// One bit for each of 64 bytes that are 0 or 0xFF.
uint64_t PackBytes(const uint8_t* bytes) {
#if defined(__SSE2__)
  uint64_t out = 0;
  for (int i = 0; i < 4; ++i) {
    const __m128i lane = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + i * 16));
    out |= static_cast<uint64_t>(static_cast<uint16_t>(_mm_movemask_epi8(lane))) << (i * 16);
  }
  return out;
#else
  uint64_t out = 0;
  for (int i = 0; i < 64; ++i) out |= static_cast<uint64_t>(bytes[i] >> 7) << i;
  return out;
#endif
}

template <typename Test>
uint64_t Pack64(Test&& test) {
  uint8_t bytes[64];
  for (int i = 0; i < 64; ++i) bytes[i] = test(i) ? 0xFF : 0;
  return PackBytes(bytes);
}

uint64_t ValidBits(const ColumnView& column, int64_t row) {
  if (column.valid == nullptr) return ~uint64_t{0};
  const uint8_t* valid = column.valid + row;
  return Pack64([valid](int i) { return valid[i] != 0; });
}

// Goes over [begin, end) word by word: `block(row)` gives 64 answers at once for rows from `row` on (counted in the
// chunk), `one(row)` a single one for the edges. Neither need care for nulls or negation.
template <typename Block, typename One>
void NarrowBlocks(const FilterSource::Chunk& chunk, int64_t begin, int64_t end, bool negated, Bitmap& rows,
                  Block&& block, One&& one) {
  const ColumnView& column = chunk.column;
  const auto edge = [&](int64_t from, int64_t to) {
    NarrowRows(rows, from, to, [&](int64_t row) {
      const int64_t local = row - chunk.first_row;
      return !column.IsNull(local) && one(local) != negated;
    });
  };
  const int64_t first_whole = std::min(end, (begin + 63) & ~int64_t{63});
  const int64_t last_whole = std::max(first_whole, end & ~int64_t{63});
  if (begin < first_whole) edge(begin, first_whole);
  for (int64_t row = first_whole; row < last_whole; row += 64) {
    uint64_t& bits = rows.words()[row >> 6];
    if (bits == 0) continue;
    const int64_t local = row - chunk.first_row;
    const uint64_t passed = block(local);
    bits &= (negated ? ~passed : passed) & ValidBits(column, local);
  }
  if (last_whole < end) edge(last_whole, end);
}

// Closed bounds in a type of numbers; empty if low > high.
template <typename T>
struct Interval {
  T low;
  T high;
  bool Has(T value) const { return value >= low && value <= high; }
  static Interval Empty() { return {T{1}, T{0}}; }
  bool IsEmpty() const { return low > high; }
};

std::optional<int64_t> LowestInteger(const Bound& bound) {
  if (std::holds_alternative<std::monostate>(bound.value)) return std::numeric_limits<int64_t>::min();
  if (const auto* number = std::get_if<int64_t>(&bound.value)) {
    if (bound.inclusive) return *number;
    if (*number == std::numeric_limits<int64_t>::max()) return std::nullopt;
    return *number + 1;
  }
  const auto* number = std::get_if<double>(&bound.value);
  if (number == nullptr || std::isnan(*number) || *number >= 9223372036854775808.0) return std::nullopt;
  if (*number < -9223372036854775808.0) return std::numeric_limits<int64_t>::min();
  const double floor = std::floor(*number);
  const auto whole = static_cast<int64_t>(floor);
  if (floor == *number && bound.inclusive) return whole;
  if (whole == std::numeric_limits<int64_t>::max()) return std::nullopt;
  return whole + 1;
}

std::optional<int64_t> HighestInteger(const Bound& bound) {
  if (std::holds_alternative<std::monostate>(bound.value)) return std::numeric_limits<int64_t>::max();
  if (const auto* number = std::get_if<int64_t>(&bound.value)) {
    if (bound.inclusive) return *number;
    if (*number == std::numeric_limits<int64_t>::min()) return std::nullopt;
    return *number - 1;
  }
  const auto* number = std::get_if<double>(&bound.value);
  if (number == nullptr || std::isnan(*number) || *number < -9223372036854775808.0) return std::nullopt;
  if (*number >= 9223372036854775808.0) return std::numeric_limits<int64_t>::max();
  const double floor = std::floor(*number);
  const auto whole = static_cast<int64_t>(floor);
  if (floor != *number || bound.inclusive) return whole;
  if (whole == std::numeric_limits<int64_t>::min()) return std::nullopt;
  return whole - 1;
}

Interval<int64_t> IntegerInterval(const ValueTest::Bounds& bounds) {
  const std::optional<int64_t> low = LowestInteger(bounds.low), high = HighestInteger(bounds.high);
  if (!low.has_value() || !high.has_value() || *low > *high) return Interval<int64_t>::Empty();
  return {*low, *high};
}

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The nearest double inside the bound; `outward` is the infinity on the bound's open side.
std::optional<double> NearestInside(const Bound& bound, double inward) {
  if (std::holds_alternative<std::monostate>(bound.value)) return -inward;
  double nearest = 0;
  bool inclusive = bound.inclusive;
  if (const auto* number = std::get_if<double>(&bound.value)) {
    nearest = *number;
  } else if (const auto* whole = std::get_if<int64_t>(&bound.value)) {
    nearest = static_cast<double>(*whole);
    const auto order = CompareNumbers(*whole, nearest);
    // Rounded away from the exact bound: inward it is inside, outward it is not.
    if (order != 0) inclusive = inward > 0 ? order < 0 : order > 0;
  } else {
    return std::nullopt;
  }
  if (std::isnan(nearest) || (!inclusive && nearest == inward)) return std::nullopt;
  return inclusive ? nearest : std::nextafter(nearest, inward);
}

Interval<double> FloatingInterval(const ValueTest::Bounds& bounds) {
  const std::optional<double> low = NearestInside(bounds.low, kInfinity), high = NearestInside(bounds.high, -kInfinity);
  if (!low.has_value() || !high.has_value()) return Interval<double>::Empty();
  return {*low, *high};
}

template <typename T>
Interval<T> IntervalIn(const ValueTest::Bounds& bounds) {
  if constexpr (std::is_floating_point_v<T>) {
    const Interval<double> wide = FloatingInterval(bounds);
    if (wide.IsEmpty()) return Interval<T>::Empty();
    // Float: the nearest floats inside.
    T low = static_cast<T>(wide.low), high = static_cast<T>(wide.high);
    if (double{low} < wide.low) low = std::nextafter(low, std::numeric_limits<T>::infinity());
    if (double{high} > wide.high) high = std::nextafter(high, -std::numeric_limits<T>::infinity());
    return {low, high};
  } else {
    const Interval<int64_t> wide = IntegerInterval(bounds);
    const int64_t low = std::max<int64_t>(wide.low, std::numeric_limits<T>::min());
    const int64_t high = std::min<int64_t>(wide.high, std::numeric_limits<T>::max());
    if (wide.IsEmpty() || low > high) return Interval<T>::Empty();
    return {static_cast<T>(low), static_cast<T>(high)};
  }
}

template <typename T>
T LoadAt(const uint8_t* base, int64_t i) {
  T value;
  __builtin_memcpy(&value, base + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// Calls f(T{}) with the C++ type of a numeric or bool column; false for any other.
template <typename F>
bool WithNumberType(DataType type, F&& f) {
  switch (type) {
    case DataType::kBool: f(uint8_t{}); return true;
    case DataType::kInt8: f(int8_t{}); return true;
    case DataType::kInt16: f(int16_t{}); return true;
    case DataType::kInt32: f(int32_t{}); return true;
    case DataType::kInt64: f(int64_t{}); return true;
    case DataType::kFloat: f(float{}); return true;
    case DataType::kDouble: f(double{}); return true;
    default: return false;
  }
}

Value AsNumber(const Value& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return int64_t{*flag};
  return value;
}

class ColumnLeaf final : public Leaf {
 public:
  ColumnLeaf(const FieldSchema& field, std::vector<ArithmeticStep> steps, ValueTestPtr test)
      : Leaf(field), id_(field.id), type_(field.type), steps_(std::move(steps)), test_(std::move(test)) {
    if (const ValueTest::Bounds* bounds = test_->bounds(); bounds != nullptr) {
      bounds_ = {{AsNumber(bounds->low.value), bounds->low.inclusive},
                 {AsNumber(bounds->high.value), bounds->high.inclusive}};
      has_bounds_ = true;
    }
    if (const Value* only = OnlyValue(*test_); only != nullptr) only_text_ = std::get_if<std::string>(only);
  }

  NodePtr Negated() const override {
    auto out = std::make_shared<ColumnLeaf>(*this);
    out->negated_ = !negated_;
    return out;
  }

  std::optional<std::vector<Value>> LimitedTo(FieldId field) const override {
    if (field != id_ || negated_ || !steps_.empty()) return std::nullopt;
    if (const Value* only = OnlyValue(*test_); only != nullptr) return Typed({*only});
    if (const std::vector<Value>* list = test_->list(); list != nullptr) return Typed(*list);
    return std::nullopt;
  }
  bool IsLimitOnly(FieldId field) const override { return LimitedTo(field).has_value(); }

 protected:
  bool is_negated() const override { return negated_; }
  int ScanCost() const override {
    if (IsString(type_)) return kTextCost;
    if (!steps_.empty()) return kArithmeticCost;
    return has_bounds_ ? kNumberCost : kListCost;
  }

  bool PassesRow(const ColumnView& column, int64_t row) const override {
    if (only_text_ != nullptr && steps_.empty()) return (column.Bytes(row) == *only_text_) != negated_;
    const Cell cell = Apply(steps_, CellAt(column, row));
    // x / 0 has no value: neither the test nor its negation is true.
    return cell.kind != Cell::Kind::kMissing && test_->Passes(cell) != negated_;
  }

  void NarrowChunk(const FilterSource::Chunk& chunk, int64_t begin, int64_t end, Bitmap& rows) const override {
    const bool done = WithNumberType(chunk.column.type, [&]<typename T>(T) {
      if (steps_.empty()) {
        if (has_bounds_) return NarrowByBounds<T>(chunk, begin, end, rows);
        if (test_->numbers() != nullptr && !std::is_same_v<T, uint8_t>) return NarrowByList<T>(chunk, begin, end, rows);
      } else if (has_bounds_ && CanRunBlocks(std::is_floating_point_v<T>)) {
        return RunBlocks<T>(chunk, begin, end, rows);
      }
      Leaf::NarrowChunk(chunk, begin, end, rows);
    });
    if (!done) Leaf::NarrowChunk(chunk, begin, end, rows);
  }

  bool CanLookUp(const ScalarIndex& index) const override {
    if (!steps_.empty()) return false;
    if (has_bounds_ || test_->list() != nullptr) return true;
    const LikePattern* pattern = test_->pattern();
    return pattern != nullptr && (pattern->is_exact() || (pattern->is_prefix() && index.HasPrefix()));
  }

  void LookUp(const ScalarIndex& index, Bitmap& found) const override {
    if (const std::vector<Value>* list = test_->list(); list != nullptr) return index.In(*list, found);
    if (const Value* only = OnlyValue(*test_); only != nullptr) return index.In({only, 1}, found);
    if (const ValueTest::Bounds* bounds = test_->bounds(); bounds != nullptr) {
      const auto open_or = [](const Bound& bound) {
        return std::holds_alternative<std::monostate>(bound.value) ? nullptr : &bound.value;
      };
      return index.Range({open_or(bounds->low), bounds->low.inclusive, open_or(bounds->high), bounds->high.inclusive},
                         found);
    }
    const LikePattern* pattern = test_->pattern();
    if (pattern->is_prefix()) return index.Prefix(pattern->prefix(), found);
    const Value exact = pattern->prefix();
    index.In({&exact, 1}, found);
  }

 private:
  // As the field's own type would have it: 1.0 is the key 1, 1.5 is none.
  std::vector<Value> Typed(std::vector<Value> values) const {
    std::vector<Value> out;
    for (Value& value : values) {
      if (const auto* number = std::get_if<double>(&value); number != nullptr && IsInteger(type_)) {
        const Interval<int64_t> whole = IntegerInterval({{value, true}, {value, true}});
        if (whole.IsEmpty()) continue;
        value = whole.low;
      }
      out.push_back(std::move(value));
    }
    return out;
  }

  template <typename T>
  void NarrowByBounds(const FilterSource::Chunk& chunk, int64_t begin, int64_t end, Bitmap& rows) const {
    const Interval<T> interval = IntervalIn<T>(bounds_);
    const uint8_t* base = chunk.column.fixed;
    NarrowBlocks(
        chunk, begin, end, negated_, rows,
        [&](int64_t row) {
          const uint8_t* block = base + row * static_cast<int64_t>(sizeof(T));
          const T low = interval.low, high = interval.high;
          return Pack64([=](int i) {
            const T value = LoadAt<T>(block, i);
            return (value >= low) & (value <= high);
          });
        },
        [&](int64_t row) { return interval.Has(LoadAt<T>(base, row)); });
  }

  template <typename T>
  void NarrowByList(const FilterSource::Chunk& chunk, int64_t begin, int64_t end, Bitmap& rows) const {
    using Wide = std::conditional_t<std::is_floating_point_v<T>, double, int64_t>;
    const NumberSet& numbers = *test_->numbers();
    const ColumnView& column = chunk.column;
    NarrowRows(rows, begin, end, [&](int64_t row) {
      const int64_t local = row - chunk.first_row;
      return !column.IsNull(local) && numbers.Has(Wide{LoadAt<T>(column.fixed, local)}) != negated_;
    });
  }

  // Whole blocks can be computed if all is of one type and nothing divides by a column.
  bool CanRunBlocks(bool column_is_floating) const {
    const bool floating = column_is_floating || std::holds_alternative<double>(steps_.front().operand);
    return std::all_of(steps_.begin(), steps_.end(), [&](const ArithmeticStep& step) {
      const bool divides = step.op == Operator::kDivide || step.op == Operator::kModulo;
      if (divides && step.operand_first) return false;
      if (floating) return step.op != Operator::kModulo;
      return std::holds_alternative<int64_t>(step.operand);
    });
  }

  template <typename T>
  void RunBlocks(const FilterSource::Chunk& chunk, int64_t begin, int64_t end, Bitmap& rows) const {
    if (std::is_floating_point_v<T> || std::holds_alternative<double>(steps_.front().operand)) {
      return RunBlocksAs<T, double>(chunk, begin, end, rows);
    }
    RunBlocksAs<T, int64_t>(chunk, begin, end, rows);
  }

  template <typename T, typename Wide>
  void RunBlocksAs(const FilterSource::Chunk& chunk, int64_t begin, int64_t end, Bitmap& rows) const {
    const Interval<Wide> interval = IntervalIn<Wide>(bounds_);
    const uint8_t* base = chunk.column.fixed;
    NarrowBlocks(
        chunk, begin, end, negated_, rows,
        [&](int64_t row) {
          Wide values[64];
          const uint8_t* block = base + row * static_cast<int64_t>(sizeof(T));
          for (int i = 0; i < 64; ++i) values[i] = static_cast<Wide>(LoadAt<T>(block, i));
          for (const ArithmeticStep& step : steps_) RunStep(step, values);
          return Pack64([&](int i) { return interval.Has(values[i]); });
        },
        [&](int64_t row) {
          Wide value[1] = {static_cast<Wide>(LoadAt<T>(base, row))};
          for (const ArithmeticStep& step : steps_) RunStep(step, value);
          return interval.Has(value[0]);
        });
  }

  template <int kCount>
  static void RunStep(const ArithmeticStep& step, double (&values)[kCount]) {
    const Cell operand = Cell::Of(step.operand);
    const double c = operand.kind == Cell::Kind::kInteger ? static_cast<double>(operand.integer) : operand.floating;
    switch (step.op) {
      case Operator::kAdd: for (double& v : values) v = v + c; return;
      case Operator::kMultiply: for (double& v : values) v = v * c; return;
      case Operator::kDivide: for (double& v : values) v = v / c; return;
      default: for (double& v : values) v = step.operand_first ? c - v : v - c; return;
    }
  }

  template <int kCount>
  static void RunStep(const ArithmeticStep& step, int64_t (&values)[kCount]) {
    const int64_t c = std::get<int64_t>(step.operand);
    const auto u = static_cast<uint64_t>(c);
    const auto wrap = [](uint64_t v) { return static_cast<int64_t>(v); };
    switch (step.op) {
      case Operator::kAdd: for (int64_t& v : values) v = wrap(static_cast<uint64_t>(v) + u); return;
      case Operator::kMultiply: for (int64_t& v : values) v = wrap(static_cast<uint64_t>(v) * u); return;
      case Operator::kDivide:
        // The smallest integer has no positive twin: −1 is done by subtraction, which wraps.
        for (int64_t& v : values) v = c == -1 ? wrap(0 - static_cast<uint64_t>(v)) : v / c;
        return;
      case Operator::kModulo: for (int64_t& v : values) v = c == -1 ? 0 : v % c; return;
      default:
        for (int64_t& v : values) {
          v = step.operand_first ? wrap(u - static_cast<uint64_t>(v)) : wrap(static_cast<uint64_t>(v) - u);
        }
        return;
    }
  }

  const FieldId id_;
  const DataType type_;
  const std::vector<ArithmeticStep> steps_;
  const ValueTestPtr test_;
  ValueTest::Bounds bounds_;  // of the test, with bools as numbers
  bool has_bounds_ = false;
  bool negated_ = false;
  const std::string* only_text_ = nullptr;  // in test_
};

class NullLeaf final : public Leaf {
 public:
  explicit NullLeaf(const FieldSchema& field) : Leaf(field) {}
  NodePtr Negated() const override {
    auto out = std::make_shared<NullLeaf>(*this);
    out->negated_ = !negated_;
    return out;
  }

 protected:
  bool is_negated() const override { return negated_; }
  int ScanCost() const override { return kNullCost; }
  bool PassesRow(const ColumnView&, int64_t) const override { return negated_; }
  bool PassesNull() const override { return !negated_; }

 private:
  bool negated_ = false;  // is not null
};

bool Holds(Operator op, std::partial_ordering order) {
  switch (op) {
    case Operator::kLess: return order < 0;
    case Operator::kLessEqual: return order <= 0;
    case Operator::kGreater: return order > 0;
    case Operator::kGreaterEqual: return order >= 0;
    case Operator::kEqual: return order == 0;
    default: return order != 0;
  }
}

std::partial_ordering OrderOf(const Cell& a, const Cell& b) {
  using Kind = Cell::Kind;
  if (a.kind == Kind::kString && b.kind == Kind::kString) return a.text <=> b.text;
  if (a.kind == Kind::kBool && b.kind == Kind::kBool) return int{a.flag} <=> int{b.flag};
  if (a.kind == Kind::kInteger && b.kind == Kind::kInteger) return a.integer <=> b.integer;
  if (a.kind == Kind::kInteger && b.kind == Kind::kFloating) return CompareNumbers(a.integer, b.floating);
  if (a.kind == Kind::kFloating && b.kind == Kind::kInteger) return CompareNumbers(a.floating, b.integer);
  if (a.kind == Kind::kFloating && b.kind == Kind::kFloating) return a.floating <=> b.floating;
  return std::partial_ordering::unordered;
}

// Reads one column row by row, holding on to the chunk it is in.
class Cursor {
 public:
  Cursor(const FilterSource& source, FieldId field, const Column& absent)
      : source_(source), field_(field), absent_(absent.View()) {}
  // Null if the row has no value.
  Cell At(int64_t row) {
    if (row < begin_ || row >= end_) Move(row);
    const int64_t local = is_absent_ ? 0 : row - begin_;
    const ColumnView& column = is_absent_ ? absent_ : column_;
    return column.IsNull(local) ? Cell{.kind = Cell::Kind::kNull} : CellAt(column, local);
  }

 private:
  void Move(int64_t row) {
    const std::optional<FilterSource::Chunk> chunk = source_.ChunkAt(field_, row);
    is_absent_ = !chunk.has_value();
    begin_ = is_absent_ ? row : chunk->first_row;
    end_ = is_absent_ ? row + 1 : chunk->first_row + chunk->column.rows;
    if (!is_absent_) column_ = chunk->column;
  }
  const FilterSource& source_;
  const FieldId field_;
  const ColumnView absent_;
  ColumnView column_;
  int64_t begin_ = 0;
  int64_t end_ = 0;
  bool is_absent_ = false;
};

class PairNode final : public Node {
 public:
  PairNode(const FieldSchema& left, Operator op, const FieldSchema& right)
      : left_(left.id), right_(right.id), op_(op), absent_left_(Absent(left)), absent_right_(Absent(right)) {}
  void Narrow(const FilterSource& source, Bitmap& rows) const override {
    if (rows.size() == 0) return;
    Cursor left(source, left_, *absent_left_), right(source, right_, *absent_right_);
    NarrowRows(rows, 0, rows.size(), [&](int64_t row) { return Compare(left.At(row), right.At(row)); });
  }
  bool Matches(const FilterSource& source, int64_t row) const override {
    return Compare(Cursor(source, left_, *absent_left_).At(row), Cursor(source, right_, *absent_right_).At(row));
  }
  int Cost(const FilterSource&) const override { return kPairCost; }
  NodePtr Negated() const override {
    auto out = std::make_shared<PairNode>(*this);
    out->negated_ = !negated_;
    return out;
  }
  void AddFields(std::set<FieldId>& fields) const override { fields.insert({left_, right_}); }
  std::optional<std::vector<Value>> LimitedTo(FieldId) const override { return std::nullopt; }

 private:
  static std::shared_ptr<const Column> Absent(const FieldSchema& field) {
    auto column = std::make_shared<Column>(field);
    field.default_value.has_value() ? column->AppendValue(*field.default_value) : column->AppendNull();
    return column;
  }
  bool Compare(const Cell& left, const Cell& right) const {
    if (left.kind == Cell::Kind::kNull || right.kind == Cell::Kind::kNull) return false;
    return Holds(op_, OrderOf(left, right)) != negated_;
  }
  const FieldId left_;
  const FieldId right_;
  const Operator op_;
  const std::shared_ptr<const Column> absent_left_;
  const std::shared_ptr<const Column> absent_right_;
  bool negated_ = false;
};

}  // namespace

NodePtr TestColumn(const FieldSchema& field, std::vector<ArithmeticStep> steps, ValueTestPtr test) {
  return std::make_shared<ColumnLeaf>(field, std::move(steps), std::move(test));
}
NodePtr CompareColumns(const FieldSchema& left, Operator op, const FieldSchema& right) {
  return std::make_shared<PairNode>(left, op, right);
}
NodePtr TestNull(const FieldSchema& field) { return std::make_shared<NullLeaf>(field); }

}  // namespace saker
