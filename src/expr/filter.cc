#include "expr/filter.h"

#include <algorithm>

#include <fmt/format.h>
#include <simdjson.h>

#include "expr/bind.h"
#include "expr/parser.h"

namespace saker {
namespace {

constexpr size_t kLongestQuotedText = 2048;

class BoundFilter final : public Filter {
 public:
  BoundFilter(SchemaPtr schema, NodePtr root, std::string_view text, const TemplateValues& templates)
      : schema_(std::move(schema)), root_(std::move(root)) {
    root_->AddFields(fields_);
    const FieldSchema& key = schema_->PrimaryKey();
    is_keys_only_ = root_->IsLimitOnly(key.id);
    if (const std::optional<std::vector<Value>> values = root_->LimitedTo(key.id); values.has_value()) {
      keys_ = KeysOf(key, *values);
    }
    // Keys may be a million: what keys_ says is not kept twice.
    if (!is_keys_only_ || !keys_.has_value()) origin_ = std::make_unique<FilterOrigin>(std::string(text), templates);
  }

  void Evaluate(const FilterSource& source, Bitmap& out) const override {
    out.Reset(source.rows(), true);
    if (!out.empty()) root_->Narrow(source, out);
  }
  bool Matches(const FilterSource& source, int64_t row) const override { return root_->Matches(source, row); }
  const std::optional<PrimaryKeys>& LimitedToKeys() const override { return keys_; }
  bool IsKeysOnly() const override { return is_keys_only_; }
  std::optional<std::vector<Value>> LimitedTo(FieldId field) const override { return root_->LimitedTo(field); }
  const std::set<FieldId>& fields() const override { return fields_; }
  const FilterOrigin* origin() const override { return origin_.get(); }

 private:
  // Each once, in the order given.
  static PrimaryKeys KeysOf(const FieldSchema& key, const std::vector<Value>& values) {
    PrimaryKeys out;
    out.is_string = IsString(key.type);
    std::set<Value> seen;
    for (const Value& value : values) {
      if (!seen.insert(value).second) continue;
      if (const auto* number = std::get_if<int64_t>(&value)) out.ints.push_back(*number);
      if (const auto* text = std::get_if<std::string>(&value)) out.strings.push_back(*text);
    }
    return out;
  }

  const SchemaPtr schema_;
  const NodePtr root_;
  std::set<FieldId> fields_;
  std::optional<PrimaryKeys> keys_;
  bool is_keys_only_ = false;
  std::unique_ptr<const FilterOrigin> origin_;
};

bool IsBlank(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; });
}

std::string_view Shortened(std::string_view text) {
  if (text.size() <= kLongestQuotedText) return text;
  size_t end = kLongestQuotedText;
  while (end > 0 && (text[end] & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

// Messages quote bytes that are no UTF-8, of an escape like \xff or of half a character; clients could not read them.
std::string Readable(std::string_view text) {
  if (simdjson::validate_utf8(text.data(), text.size())) return std::string(text);
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    const std::string_view character = text.substr(i, length);
    const bool whole = character.size() == length && simdjson::validate_utf8(character.data(), length);
    out += whole ? character : std::string_view("\uFFFD");
    i += whole ? length : 1;
  }
  return out;
}

Status CannotParse(std::string_view text, const Status& why) {
  const std::string_view quoted = Shortened(text);
  return Status(why.code(), fmt::format("cannot parse expression: {}{}, error: {}", Readable(quoted),
                                        quoted.size() < text.size() ? "…" : "", Readable(Shortened(why.message()))));
}

}  // namespace

Result<FilterPtr> ParseFilter(std::string_view text, SchemaPtr schema, const TemplateValues& templates) {
  if (IsBlank(text)) return FilterPtr();
  Result<ExprPtr> expr = ParseExpression(text);
  if (!expr.ok()) return CannotParse(text, expr.status());
  Result<BoundCondition> bound = BindCondition(**expr, text, *schema, templates);
  if (!bound.ok()) return CannotParse(text, bound.status());
  // Milvus says this one without the words before it.
  if (bound->root == nullptr) return Status(ErrorCode::kUnexpected, Readable(Shortened(bound->why_not)));
  return FilterPtr(std::make_shared<BoundFilter>(std::move(schema), std::move(bound->root), text, templates));
}

}  // namespace saker
