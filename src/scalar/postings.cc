#include "scalar/postings.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <fmt/format.h>

#include "base/bytes.h"

namespace saker {
namespace {

constexpr uint32_t kMagic = 0x49534B53;  // "SKSI"
constexpr uint32_t kVersion = 1;
constexpr size_t kHeaderBytes = 96;
constexpr size_t kHeaderCrcAt = kHeaderBytes - sizeof(uint32_t);
constexpr size_t kBodyCrcAt = kHeaderCrcAt - sizeof(uint32_t);
constexpr uint64_t kMaxRows = std::numeric_limits<uint32_t>::max();

uint64_t Padded(uint64_t bytes) { return (bytes + 7) & ~uint64_t{7}; }

template <typename Key>
struct Entry {
  Key key;
  uint32_t row;
  bool operator<(const Entry& other) const { return key != other.key ? key < other.key : row < other.row; }
  bool operator==(const Entry& other) const { return key == other.key && row == other.row; }
};

double Canonical(double value) { return value == 0 ? 0.0 : value; }  // −0 and 0 are one key

// Calls add(row, key) for each value of each row; NaN is no key, since it equals nothing.
template <typename Add>
void ForEachInteger(const ColumnView& column, Add&& add) {
  for (int64_t row = 0; row < column.rows; ++row) {
    if (column.IsNull(row)) continue;
    if (column.type != DataType::kArray) {
      add(row, column.IntAt(row));
      continue;
    }
    for (const Value& value : DecodeArray(column.element_type, column.Bytes(row))) {
      if (const auto* flag = std::get_if<bool>(&value)) add(row, int64_t{*flag});
      if (const auto* number = std::get_if<int64_t>(&value)) add(row, *number);
    }
  }
}

template <typename Add>
void ForEachFloating(const ColumnView& column, Add&& add) {
  const auto add_number = [&](int64_t row, double number) {
    if (!std::isnan(number)) add(row, Canonical(number));
  };
  for (int64_t row = 0; row < column.rows; ++row) {
    if (column.IsNull(row)) continue;
    if (column.type != DataType::kArray) {
      add_number(row, column.NumberAt(row));
      continue;
    }
    for (const Value& value : DecodeArray(column.element_type, column.Bytes(row))) {
      if (const auto* number = std::get_if<double>(&value)) add_number(row, *number);
    }
  }
}

// Keys are views into the column: no copy of each string.
template <typename Add>
void ForEachString(const ColumnView& column, Add&& add) {
  for (int64_t row = 0; row < column.rows; ++row) {
    if (column.IsNull(row)) continue;
    if (column.type != DataType::kArray) {
      add(row, column.Bytes(row));
      continue;
    }
    ByteReader reader(column.Bytes(row));
    const auto count = reader.Get<uint32_t>();
    for (uint32_t i = 0; i < count && reader.ok(); ++i) {
      const std::string_view element = reader.GetBytes();
      if (reader.ok()) add(row, element);
    }
  }
}

Result<KeyClass> ClassOf(DataType type) {
  if (type == DataType::kBool || IsInteger(type)) return KeyClass::kInteger;
  if (type == DataType::kFloat || type == DataType::kDouble) return KeyClass::kFloating;
  if (IsString(type)) return KeyClass::kString;
  return Status(ErrorCode::kIndexNotSupported,
                fmt::format("no scalar index can be built on values of type {}", Name(type)));
}

struct Sections {
  std::string keys;         // numbers, or text offsets
  std::string text;
  std::string row_offsets;
  std::string row_list;
  uint64_t key_count = 0;
  uint64_t postings = 0;
};

template <typename Key>
Result<Sections> Sort(std::vector<Entry<Key>> entries) {
  std::sort(entries.begin(), entries.end());
  entries.erase(std::unique(entries.begin(), entries.end()), entries.end());
  if (entries.size() > kMaxRows) {
    return Status(ErrorCode::kIndexNotSupported, "a scalar index holds at most 4294967295 values; use smaller segments");
  }
  Sections out;
  out.postings = entries.size();
  ByteWriter keys(out.keys), row_offsets(out.row_offsets), row_list(out.row_list);
  for (size_t i = 0; i < entries.size(); ++i) {
    row_list.Put<uint32_t>(entries[i].row);
    if (i != 0 && entries[i].key == entries[i - 1].key) continue;
    ++out.key_count;
    row_offsets.Put<uint32_t>(static_cast<uint32_t>(i));
    if constexpr (std::is_same_v<Key, std::string_view>) {
      keys.Put<uint64_t>(out.text.size());
      out.text.append(entries[i].key);
    } else {
      keys.Put<Key>(entries[i].key);
    }
  }
  row_offsets.Put<uint32_t>(static_cast<uint32_t>(entries.size()));
  if constexpr (std::is_same_v<Key, std::string_view>) keys.Put<uint64_t>(out.text.size());
  return out;
}

Result<Sections> SortColumn(KeyClass key_class, const ColumnView& column) {
  const auto gather = [&]<typename Key>(auto&& for_each, Key) {
    std::vector<Entry<Key>> entries;
    entries.reserve(static_cast<size_t>(column.rows));
    for_each(column, [&](int64_t row, Key key) { entries.push_back({key, static_cast<uint32_t>(row)}); });
    return Sort(std::move(entries));
  };
  switch (key_class) {
    case KeyClass::kInteger: return gather([](const auto& c, auto&& add) { ForEachInteger(c, add); }, int64_t{});
    case KeyClass::kFloating: return gather([](const auto& c, auto&& add) { ForEachFloating(c, add); }, double{});
    case KeyClass::kString: return gather([](const auto& c, auto&& add) { ForEachString(c, add); }, std::string_view{});
  }
  return Status(ErrorCode::kServiceInternal, "unknown class of keys");
}

std::string NotNullWords(const ColumnView& column) {
  if (column.valid == nullptr) return {};
  Bitmap bits(column.rows);
  for (int64_t row = 0; row < column.rows; ++row) {
    if (!column.IsNull(row)) bits.Set(row);
  }
  if (bits.All()) return {};
  return {reinterpret_cast<const char*>(bits.words()), static_cast<size_t>(bits.word_count()) * sizeof(uint64_t)};
}

void AppendPadded(std::string& out, std::string_view section) {
  out.append(section);
  out.resize(Padded(out.size()), '\0');
}

void PutAt(std::string& file, size_t at, uint32_t value) { std::memcpy(file.data() + at, &value, sizeof(value)); }

Status Damaged(std::string_view what) {
  return Status(ErrorCode::kCorrupted, fmt::format("scalar index file is damaged: {}; it has to be built again", what));
}

// Cuts the file into its sections, in the order they were written.
class Cutter {
 public:
  Cutter(std::string_view file, size_t at) : file_(file), at_(at) {}
  // Null if the file is too short; a section may be empty.
  const char* Take(uint64_t count, uint64_t width) {
    const uint64_t left = file_.size() - at_;
    if (!ok_ || (width != 0 && count > left / width) || Padded(count * width) > left) {
      ok_ = false;
      return nullptr;
    }
    const char* out = file_.data() + at_;
    at_ += Padded(count * width);
    return out;
  }
  bool Done() const { return ok_ && at_ == file_.size(); }

 private:
  std::string_view file_;
  size_t at_;
  bool ok_ = true;
};

bool KeysAscend(const PostingsView& view) {
  for (uint64_t i = 1; i < view.keys; ++i) {
    const bool ascends = view.key_class == KeyClass::kInteger    ? view.IntegerKey(i - 1) < view.IntegerKey(i)
                         : view.key_class == KeyClass::kFloating ? view.FloatingKey(i - 1) < view.FloatingKey(i)
                                                                 : view.TextKey(i - 1) < view.TextKey(i);
    if (!ascends) return false;
  }
  return view.key_class != KeyClass::kFloating || view.keys != 1 || !std::isnan(view.FloatingKey(0));
}

bool TextOffsetsFit(const PostingsView& view) {
  uint64_t last = 0;
  for (uint64_t i = 0; i <= view.keys; ++i) {
    const auto offset = PostingsView::Load<uint64_t>(view.text_offsets, i);
    if (offset < last || offset > view.text_bytes || (i == 0 && offset != 0)) return false;
    last = offset;
  }
  return last == view.text_bytes;
}

bool RowsFit(const PostingsView& view) {
  uint32_t last = 0;
  for (uint64_t key = 0; key <= view.keys; ++key) {
    const uint32_t offset = view.RowOffset(key);
    if (offset < last || offset > view.postings || (key == 0 && offset != 0)) return false;
    last = offset;
  }
  if (last != view.postings) return false;
  for (uint64_t i = 0; i < view.postings; ++i) {
    if (view.Row(i) >= view.rows) return false;
  }
  return true;
}

}  // namespace

Result<std::string> EncodePostings(IndexKind kind, const ColumnView& column) {
  const DataType value_type = column.type == DataType::kArray ? column.element_type : column.type;
  ASSIGN_OR_RETURN(const KeyClass key_class, ClassOf(value_type));
  if (static_cast<uint64_t>(column.rows) >= kMaxRows) {
    return Status(ErrorCode::kIndexNotSupported, "a scalar index holds at most 4294967294 rows; use smaller segments");
  }
  ASSIGN_OR_RETURN(const Sections sections, SortColumn(key_class, column));
  const std::string not_null = NotNullWords(column);

  std::string file;
  ByteWriter header(file);
  header.Put<uint32_t>(kMagic);
  header.Put<uint32_t>(kVersion);
  header.Put(kind);
  header.Put(key_class);
  header.Put<uint32_t>(static_cast<uint32_t>(value_type));
  header.Put<uint32_t>(not_null.empty() ? 0 : 1);
  header.Put<uint64_t>(static_cast<uint64_t>(column.rows));
  header.Put<uint64_t>(sections.key_count);
  header.Put<uint64_t>(sections.postings);
  header.Put<uint64_t>(sections.text.size());
  file.resize(kHeaderBytes, '\0');
  AppendPadded(file, sections.keys);
  AppendPadded(file, sections.text);
  AppendPadded(file, sections.row_offsets);
  AppendPadded(file, sections.row_list);
  AppendPadded(file, not_null);
  TEST_SealPostings(file);
  return file;
}

void TEST_SealPostings(std::string& file) {
  if (file.size() < kHeaderBytes) return;
  PutAt(file, kBodyCrcAt, Crc32c(std::string_view(file).substr(kHeaderBytes)));
  PutAt(file, kHeaderCrcAt, Crc32c(std::string_view(file).substr(0, kHeaderCrcAt)));
}

Result<PostingsView> ReadPostings(std::string_view file) {
  if (file.size() < kHeaderBytes) return Damaged(fmt::format("{} bytes are less than its header", file.size()));
  ByteReader header(file.substr(0, kHeaderBytes));
  if (header.Get<uint32_t>() != kMagic) return Damaged("it does not begin as a scalar index");
  const auto version = header.Get<uint32_t>();
  if (Crc32c(file.substr(0, kHeaderCrcAt)) != PostingsView::Load<uint32_t>(file.data() + kHeaderCrcAt, 0)) {
    return Damaged("checksum of the header");
  }
  if (version != kVersion) {
    return Damaged(fmt::format("format version {} is not known here (this server reads {})", version, kVersion));
  }
  PostingsView view;
  view.kind = header.Get<IndexKind>();
  view.key_class = header.Get<KeyClass>();
  view.value_type = static_cast<DataType>(header.Get<uint32_t>());
  const bool has_nulls = header.Get<uint32_t>() != 0;
  view.rows = header.Get<uint64_t>();
  view.keys = header.Get<uint64_t>();
  view.postings = header.Get<uint64_t>();
  view.text_bytes = header.Get<uint64_t>();
  const Result<KeyClass> expected = ClassOf(view.value_type);
  if (view.kind < IndexKind::kSorted || view.kind > IndexKind::kInverted || !expected.ok() ||
      *expected != view.key_class) {
    return Damaged("unknown kind or type");
  }
  const bool is_text = view.key_class == KeyClass::kString;
  if (view.rows >= kMaxRows || view.keys > view.postings || view.postings > kMaxRows ||
      (!is_text && view.text_bytes != 0)) {
    return Damaged("impossible counts");
  }
  if (Crc32c(file.substr(kHeaderBytes)) != PostingsView::Load<uint32_t>(file.data() + kBodyCrcAt, 0)) {
    return Damaged("checksum of the body");
  }
  Cutter cutter(file, kHeaderBytes);
  const char* keys = cutter.Take(view.keys + (is_text ? 1 : 0), sizeof(uint64_t));
  (is_text ? view.text_offsets : view.numbers) = keys;
  view.text = cutter.Take(view.text_bytes, 1);
  view.row_offsets = cutter.Take(view.keys + 1, sizeof(uint32_t));
  view.row_list = cutter.Take(view.postings, sizeof(uint32_t));
  const char* not_null = cutter.Take(has_nulls ? (view.rows + 63) / 64 : 0, sizeof(uint64_t));
  view.not_null = has_nulls ? not_null : nullptr;
  if (!cutter.Done()) return Damaged("its length does not fit its counts");
  if ((is_text && !TextOffsetsFit(view)) || !KeysAscend(view) || !RowsFit(view)) return Damaged("keys or rows");
  return view;
}

}  // namespace saker
