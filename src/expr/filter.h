// Filters: Milvus's boolean expressions, parsed once per request, bound to a schema, evaluated a column chunk at a time.
//   parse:    text → Expr (lexer + Pratt parser; grammar of milvus-surface.md section 6)
//   bind:     names → fields, types checked, templates filled, constants folded → Filter
//   evaluate: Filter × FilterSource → bitmap of rows that are true (three-valued logic: unknown is not true)
// Errors read as Milvus's: code kUnexpected, "cannot parse expression: <text>, error: …" with the position.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/bitmap.h"
#include "model/column.h"
#include "scalar/scalar_index.h"

namespace saker {

// A template value ({name} in the text): a scalar or a list.
struct TemplateValue {
  std::optional<Value> scalar;
  std::vector<Value> list;
  bool is_list = false;
};
using TemplateValues = std::map<std::string, TemplateValue>;

// The columns of one segment, in chunks that tile its rows [0, rows()). Implemented by segments.
class FilterSource {
 public:
  virtual ~FilterSource() = default;
  virtual int64_t rows() const = 0;
  // The chunk of `field` that holds `row`: its view, and the row number of its first row. A field the segment was
  // written without (added later) has no chunk: nullopt, and every row is its default or null.
  struct Chunk {
    int64_t first_row = 0;
    ColumnView column;
  };
  virtual std::optional<Chunk> ChunkAt(FieldId field, int64_t row) const = 0;
  virtual const ScalarIndex* IndexOn(FieldId field) const { (void)field; return nullptr; }
};

// What a filter was parsed from: with the same schema it gives the same filter again, in another process too.
struct FilterOrigin {
  std::string text;
  TemplateValues templates;
};

class Filter {
 public:
  virtual ~Filter() = default;
  // The rows [0, source.rows()) for which the filter is true. `out` is reset.
  virtual void Evaluate(const FilterSource& source, Bitmap& out) const = 0;
  // True for these rows only: for a handful of candidates (post-filtering, queries by key).
  virtual bool Matches(const FilterSource& source, int64_t row) const = 0;
  // The keys it is limited to, if it is `pk in […]` or `pk == …` (alone or and-ed): the way of get and of delete.
  virtual const std::optional<PrimaryKeys>& LimitedToKeys() const = 0;
  // Only `pk in […]`/`pk == …` and nothing else.
  virtual bool IsKeysOnly() const = 0;
  // The values that a partition key must have, if the filter limits it: for pruning.
  virtual std::optional<std::vector<Value>> LimitedTo(FieldId field) const = 0;
  virtual const std::set<FieldId>& fields() const = 0;
  // Null: it was not parsed; or IsKeysOnly(), and `key in {LimitedToKeys()}` says the same.
  virtual const FilterOrigin* origin() const { return nullptr; }
};
using FilterPtr = std::shared_ptr<const Filter>;

// Empty text (or blank) gives a null FilterPtr: everything matches.
Result<FilterPtr> ParseFilter(std::string_view text, SchemaPtr schema, const TemplateValues& templates = {});

}  // namespace saker
