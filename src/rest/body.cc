#include "rest/body.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace saker {
namespace {

constexpr size_t kShownBytes = 100;

}  // namespace

Status WrongFormat(std::string_view message) {
  return {ErrorCode::kIncorrectParameterFormat, fmt::format("can only accept json format request, error: {}", message)};
}

Status MissingParameter(std::string_view what) {
  return {kMissingParameters, fmt::format("missing required parameters, error: {}", what)};
}

std::string TextOf(Json value) {
  std::string_view text;
  if (value.get_string().get(text) == simdjson::SUCCESS) return std::string(text);
  return simdjson::minify(value);
}

std::string Shown(Json value) {
  std::string text = simdjson::minify(value);
  if (text.size() <= kShownBytes) return text;
  size_t cut = kShownBytes;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;  // not inside a character
  text.resize(cut);
  return text + "…";
}

std::string_view KindOf(Json value) {
  switch (value.type()) {
    case simdjson::dom::element_type::ARRAY: return "an array";
    case simdjson::dom::element_type::OBJECT: return "an object";
    case simdjson::dom::element_type::INT64:
    case simdjson::dom::element_type::UINT64:
    case simdjson::dom::element_type::DOUBLE: return "a number";
    case simdjson::dom::element_type::STRING: return "a string";
    case simdjson::dom::element_type::BOOL: return "a boolean";
    default: return "null";
  }
}

std::optional<int64_t> WholeNumber(Json value) {
  constexpr double kExact = 9007199254740992.0;  // 2^53: beyond, a double is no whole number in particular
  int64_t whole = 0;
  if (value.get_int64().get(whole) == simdjson::SUCCESS) return whole;
  double real = 0;
  if (value.is<double>() && value.get_double().get(real) == simdjson::SUCCESS) {
    if (real != std::floor(real) || std::fabs(real) > kExact) return std::nullopt;
    return static_cast<int64_t>(real);
  }
  std::string_view text;
  if (value.get_string().get(text) != simdjson::SUCCESS) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), whole);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return whole;
}

std::optional<double> RealNumber(Json value) {
  double real = 0;
  std::string_view text;
  if (value.get_string().get(text) == simdjson::SUCCESS) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), real);
    if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  } else if (value.get_double().get(real) != simdjson::SUCCESS) {  // takes whole numbers too
    return std::nullopt;
  }
  if (!std::isfinite(real)) return std::nullopt;
  return real;
}

std::optional<Json> Members::Find(std::string_view name) const {
  if (!object_.has_value()) return std::nullopt;
  Json value;
  if (object_->at_key(name).get(value) != simdjson::SUCCESS && object_->at_key_case_insensitive(name).get(value) != simdjson::SUCCESS) {
    return std::nullopt;
  }
  if (value.is_null()) return std::nullopt;
  return value;
}

Result<std::string> Members::Text(std::string_view name) const {
  const auto value = Find(name);
  if (!value.has_value()) return std::string();
  std::string_view text;
  if (value->get_string().get(text) == simdjson::SUCCESS) return std::string(text);
  return WrongFormat(fmt::format("{} should be a string, but is {}", At(name), Shown(*value)));
}

Result<std::string> Members::RequiredText(std::string_view name) const {
  ASSIGN_OR_RETURN(std::string text, Text(name));
  if (text.empty()) return MissingParameter(fmt::format("{} is required", At(name)));
  return text;
}

Result<int64_t> Members::Int(std::string_view name, int64_t otherwise, int64_t least, int64_t most) const {
  const auto value = Find(name);
  if (!value.has_value()) return otherwise;
  const auto number = value->is_string() ? std::nullopt : WholeNumber(*value);
  if (!number.has_value()) return WrongFormat(fmt::format("{} should be an integer, but is {}", At(name), Shown(*value)));
  if (*number < least || *number > most) {
    return WrongFormat(fmt::format("{} should be in [{}, {}], but is {}", At(name), least, most, *number));
  }
  return *number;
}

Result<bool> Members::Bool(std::string_view name, bool otherwise) const {
  const auto value = Find(name);
  if (!value.has_value()) return otherwise;
  bool yes = false;
  if (value->get_bool().get(yes) == simdjson::SUCCESS) return yes;
  const std::string text = TextOf(*value);
  if (text == "true" || text == "True") return true;
  if (text == "false" || text == "False") return false;
  return WrongFormat(fmt::format("{} should be true or false, but is {}", At(name), Shown(*value)));
}

Result<std::vector<std::string>> Members::Texts(std::string_view name) const {
  std::vector<std::string> texts;
  ASSIGN_OR_RETURN(const auto array, Array(name));
  if (!array.has_value()) return texts;
  for (const Json value : *array) {
    std::string_view text;
    if (value.get_string().get(text) != simdjson::SUCCESS) {
      return WrongFormat(fmt::format("{}[{}] should be a string, but is {}", At(name), texts.size(), Shown(value)));
    }
    texts.emplace_back(text);
  }
  return texts;
}

Result<Members> Members::Object(std::string_view name) const {
  const auto value = Find(name);
  if (!value.has_value()) return Members();
  simdjson::dom::object object;
  if (value->get_object().get(object) != simdjson::SUCCESS) {
    return WrongFormat(fmt::format("{} should be an object, but is {}", At(name), Shown(*value)));
  }
  return Members(object, At(name) + ".");
}

Result<std::optional<simdjson::dom::array>> Members::Array(std::string_view name) const {
  const auto value = Find(name);
  if (!value.has_value()) return std::optional<simdjson::dom::array>();
  simdjson::dom::array array;
  if (value->get_array().get(array) != simdjson::SUCCESS) {
    return WrongFormat(fmt::format("{} should be an array, but is {}", At(name), Shown(*value)));
  }
  return std::optional<simdjson::dom::array>(array);
}

Result<KeyValues> Members::Pairs(std::string_view name) const {
  ASSIGN_OR_RETURN(const Members object, Object(name));
  return object.AllPairs();
}

KeyValues Members::AllPairs() const {
  KeyValues pairs;
  if (!object_.has_value()) return pairs;
  for (const auto& [key, value] : *object_) pairs.emplace_back(std::string(key), TextOf(value));
  return pairs;
}

Result<std::unique_ptr<Body>> Body::Parse(std::string_view text) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    return {ErrorCode::kIncorrectParameterFormat,
            "can only accept json format request, the request body should be nil, however {} is valid"};
  }
  auto body = std::make_unique<Body>();
  Json root;
  const auto error = body->parser_.parse(text.data(), text.size()).get(root);
  if (error != simdjson::SUCCESS) return WrongFormat(fmt::format("the body is not valid JSON: {}", simdjson::error_message(error)));
  simdjson::dom::object object;
  if (root.get_object().get(object) != simdjson::SUCCESS) {
    return WrongFormat(fmt::format("the body should be a JSON object, but is {}", KindOf(root)));
  }
  body->members_ = Members(object, "");
  return body;
}

}  // namespace saker
