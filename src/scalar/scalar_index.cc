#include "scalar/scalar_index.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "scalar/number_order.h"
#include "scalar/postings.h"

namespace saker {
namespace {

constexpr std::string_view kSortedName = "STL_SORT";
constexpr std::string_view kTrieName = "Trie";
constexpr std::string_view kInvertedName = "INVERTED";
constexpr std::string_view kAutoName = "AUTOINDEX";

struct KeyRange {
  uint64_t begin = 0;
  uint64_t end = 0;
};

class PostingsIndex : public ScalarIndex {
 public:
  // `file` is what Save writes; `owned` keeps it alive if the caller does not.
  PostingsIndex(PostingsView view, std::string_view file, std::unique_ptr<std::string> owned)
      : view_(view), file_(file), owned_(std::move(owned)) {}

  std::string_view type() const override {
    switch (view_.kind) {
      case IndexKind::kSorted: return kSortedName;
      case IndexKind::kTrie: return kTrieName;
      case IndexKind::kInverted: return kInvertedName;
    }
    return {};
  }
  int64_t rows() const override { return static_cast<int64_t>(view_.rows); }

  void In(std::span<const Value> values, Bitmap& out) const override {
    for (const Value& value : values) {
      const uint64_t key = LowerBound(value);
      if (key < view_.keys && Compare(key, value) == std::partial_ordering::equivalent) SetRows({key, key + 1}, out);
    }
  }

  void Range(const ValueRange& range, Bitmap& out) const override {
    KeyRange keys{0, view_.keys};
    if (range.low != nullptr) {
      if (!Comparable(*range.low)) return;
      keys.begin = range.low_inclusive ? LowerBound(*range.low) : UpperBound(*range.low);
    }
    if (range.high != nullptr) {
      if (!Comparable(*range.high)) return;
      keys.end = range.high_inclusive ? UpperBound(*range.high) : LowerBound(*range.high);
    }
    SetRows(keys, out);
  }

  bool HasPrefix() const override { return view_.key_class == KeyClass::kString; }
  void Prefix(std::string_view prefix, Bitmap& out) const override {
    if (!HasPrefix()) return;
    const uint64_t begin = FirstKey([&](uint64_t key) { return view_.TextKey(key) >= prefix; });
    const uint64_t end =
        FirstKey([&](uint64_t key) { return view_.TextKey(key).substr(0, prefix.size()) > prefix; });
    SetRows({begin, end}, out);
  }

  void NotNull(Bitmap& out) const override {
    if (view_.not_null == nullptr) {
      out.SetRange(0, rows());
      return;
    }
    for (int64_t row = 0; row < rows(); ++row) {
      const auto word = PostingsView::Load<uint64_t>(view_.not_null, static_cast<uint64_t>(row) / 64);
      if (((word >> (row & 63)) & 1) != 0) out.Set(row);
    }
  }

  int64_t memory_bytes() const override { return static_cast<int64_t>(file_.size()); }
  Status Save(const std::function<Status(std::string_view)>& append) const override { return append(file_); }

 private:
  bool Comparable(const Value& value) const {
    const bool is_text = std::holds_alternative<std::string>(value);
    const auto* number = std::get_if<double>(&value);
    if (std::holds_alternative<std::monostate>(value) || (number != nullptr && std::isnan(*number))) return false;
    return is_text == (view_.key_class == KeyClass::kString);
  }

  // Key against value; unordered if they are not of one kind. A value for a Float field is one only after rounding.
  std::partial_ordering Compare(uint64_t key, const Value& value) const {
    if (view_.key_class == KeyClass::kString) {
      const auto* text = std::get_if<std::string>(&value);
      return text == nullptr ? std::partial_ordering::unordered
                             : std::partial_ordering(view_.TextKey(key) <=> std::string_view(*text));
    }
    if (const auto* flag = std::get_if<bool>(&value)) return CompareKey(key, int64_t{*flag});
    if (const auto* number = std::get_if<int64_t>(&value)) {
      // An integer too large for a float is rounded as the column's values were.
      if (view_.value_type == DataType::kFloat) return CompareKey(key, double{static_cast<float>(*number)});
      return CompareKey(key, *number);
    }
    if (const auto* number = std::get_if<double>(&value)) {
      return CompareKey(key, view_.value_type == DataType::kFloat ? double{static_cast<float>(*number)} : *number);
    }
    return std::partial_ordering::unordered;
  }
  template <typename Number>
  std::partial_ordering CompareKey(uint64_t key, Number value) const {
    return view_.key_class == KeyClass::kInteger ? CompareNumbers(view_.IntegerKey(key), value)
                                                 : CompareNumbers(view_.FloatingKey(key), value);
  }

  // The first key for which `passed` holds; it must hold for all keys behind it.
  template <typename Passed>
  uint64_t FirstKey(Passed&& passed) const {
    uint64_t low = 0, high = view_.keys;
    while (low < high) {
      const uint64_t middle = low + (high - low) / 2;
      passed(middle) ? high = middle : low = middle + 1;
    }
    return low;
  }
  uint64_t LowerBound(const Value& value) const {
    return FirstKey([&](uint64_t key) { return Compare(key, value) >= 0; });
  }
  uint64_t UpperBound(const Value& value) const {
    return FirstKey([&](uint64_t key) { return Compare(key, value) > 0; });
  }

  void SetRows(KeyRange keys, Bitmap& out) const {
    if (keys.begin >= keys.end) return;
    const uint32_t end = view_.RowOffset(keys.end);
    for (uint32_t i = view_.RowOffset(keys.begin); i < end; ++i) out.Set(view_.Row(i));
  }

  const PostingsView view_;
  const std::string_view file_;
  const std::unique_ptr<std::string> owned_;
};

DataType ValueType(const FieldSchema& field) {
  return field.type == DataType::kArray ? field.element_type : field.type;
}

bool CanBeIndexed(DataType type) { return type == DataType::kBool || IsNumeric(type) || IsString(type); }

std::string_view DefaultKind(DataType type) {
  if (IsNumeric(type)) return kSortedName;
  return IsString(type) ? kTrieName : kInvertedName;
}

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return (x | 0x20) == (y | 0x20); });
}

std::optional<IndexKind> ParseKind(std::string_view name, DataType type) {
  if (name.empty() || EqualsIgnoringCase(name, kAutoName)) name = DefaultKind(type);
  if (EqualsIgnoringCase(name, kSortedName)) return IndexKind::kSorted;
  if (EqualsIgnoringCase(name, kTrieName)) return IndexKind::kTrie;
  if (EqualsIgnoringCase(name, kInvertedName)) return IndexKind::kInverted;
  return std::nullopt;
}

Result<std::unique_ptr<ScalarIndex>> FromFile(std::string_view file, std::unique_ptr<std::string> owned) {
  ASSIGN_OR_RETURN(const PostingsView view, ReadPostings(file));
  return std::unique_ptr<ScalarIndex>(new PostingsIndex(view, file, std::move(owned)));
}

}  // namespace

Status CheckScalarIndexParams(std::string_view index_type, const FieldSchema& field, const KeyValues& params) {
  if (!CanBeIndexed(ValueType(field))) {
    return Status(ErrorCode::kParameterInvalid,
                  fmt::format("create index on {0} field is not supported: invalid parameter[expected=supported field]"
                              "[actual=create index on {0} field]",
                              Name(field.type)));
  }
  const std::optional<IndexKind> kind = ParseKind(index_type, field.type);
  const bool fits = kind == IndexKind::kInverted || (kind == IndexKind::kSorted && IsNumeric(field.type)) ||
                    (kind == IndexKind::kTrie && IsString(field.type));
  if (fits) return Status::Ok();
  return Status(ErrorCode::kParameterInvalid,
                fmt::format("index type not match: invalid parameter[expected={}][actual={}]", DefaultKind(field.type),
                            index_type));
}

Result<std::unique_ptr<ScalarIndex>> BuildScalarIndex(std::string_view index_type, const ColumnView& column) {
  const std::optional<IndexKind> kind = ParseKind(index_type, column.type);
  FieldSchema field;
  field.type = column.type;
  field.element_type = column.element_type;
  RETURN_IF_ERROR(CheckScalarIndexParams(index_type, field, {}));
  ASSIGN_OR_RETURN(std::string encoded, EncodePostings(*kind, column));
  auto owned = std::make_unique<std::string>(std::move(encoded));
  const std::string_view file = *owned;
  return FromFile(file, std::move(owned));
}

Result<std::unique_ptr<ScalarIndex>> OpenScalarIndex(std::string_view file) { return FromFile(file, nullptr); }

}  // namespace saker
