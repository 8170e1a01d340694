// A request's JSON, read as Milvus reads it: member names in any case, what is missing and what has the wrong type told
// by name. Of this room only: simdjson shows.
#pragma once

#include <simdjson.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/types.h"

namespace saker {

// Milvus's numbers of the REST door, beside kNeedAuthenticate and kIncorrectParameterFormat.
inline constexpr ErrorCode kMissingParameters{1802};
inline constexpr ErrorCode kInvalidInsertData{1804};
inline constexpr ErrorCode kCheckPrimaryKey{1806};

Status WrongFormat(std::string_view message);        // 1801
Status MissingParameter(std::string_view what);      // 1802

using Json = simdjson::dom::element;

// A value as text: a string's characters, anything else as JSON.
std::string TextOf(Json value);
// For messages: as JSON, cut short.
std::string Shown(Json value);
std::string_view KindOf(Json value);  // "a string", "an array", …

// The members of an object. `where` leads every message: "" or "schema." or "search[1].".
class Members {
 public:
  Members() = default;
  Members(simdjson::dom::object object, std::string where) : object_(object), where_(std::move(where)) {}

  // Exactly so named, else in any case; null counts as absent.
  std::optional<Json> Find(std::string_view name) const;
  std::string At(std::string_view name) const { return where_ + std::string(name); }
  bool empty() const { return !object_.has_value() || object_->size() == 0; }

  Result<std::string> Text(std::string_view name) const;          // "" if absent
  Result<std::string> RequiredText(std::string_view name) const;  // neither absent nor empty
  Result<int64_t> Int(std::string_view name, int64_t otherwise, int64_t least = INT32_MIN, int64_t most = INT32_MAX) const;
  Result<bool> Bool(std::string_view name, bool otherwise) const;
  Result<std::vector<std::string>> Texts(std::string_view name) const;
  Result<Members> Object(std::string_view name) const;            // empty if absent
  Result<std::optional<simdjson::dom::array>> Array(std::string_view name) const;
  Result<KeyValues> Pairs(std::string_view name) const;           // of an object; values as text

  // All of them, in order.
  KeyValues AllPairs() const;
  const std::optional<simdjson::dom::object>& object() const { return object_; }

 private:
  std::optional<simdjson::dom::object> object_;
  std::string where_;
};

// The parsed request; everything taken from it lives as long as it does.
class Body {
 public:
  static Result<std::unique_ptr<Body>> Parse(std::string_view text);
  const Members& members() const { return members_; }

 private:
  simdjson::dom::parser parser_;
  Members members_;
};

// Any JSON number, or a string that is one, if it is a whole number that int64 holds.
std::optional<int64_t> WholeNumber(Json value);
// The same for finite floating point.
std::optional<double> RealNumber(Json value);

}  // namespace saker
