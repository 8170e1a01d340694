#include "proxy/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "proxy/validate.h"

namespace saker {
namespace {

std::string AsText(const nlohmann::ordered_json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// For messages: not too much of it, and no half of a character.
std::string_view Shortened(std::string_view text) {
  size_t length = std::min<size_t>(text.size(), 200);
  while (length < text.size() && length > 0 && (static_cast<unsigned char>(text[length]) & 0xc0) == 0x80) --length;
  return text.substr(0, length);
}

// Writing a value out goes down into it call by call, so that what is nested deep enough would end the process.
Status CheckDepth(std::string_view text) {
  constexpr int kDeepest = 64;
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\') {
      ++i;
    } else if (c == '"') {
      in_string = !in_string;
    } else if (!in_string && (c == '[' || c == '{')) {
      deepest = std::max(deepest, ++depth);
    } else if (!in_string && (c == ']' || c == '}')) {
      --depth;
    }
  }
  if (deepest <= kDeepest) return {};
  return InvalidParameter(fmt::format("parameters are nested {} levels deep, at most {} are allowed", deepest, kDeepest));
}

}  // namespace

Result<KeyValues> ParseFlatJson(std::string_view text) {
  KeyValues out;
  if (text.empty()) return out;
  RETURN_IF_ERROR(CheckDepth(text));
  const auto root = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (root.is_null()) return out;
  if (!root.is_object()) return InvalidParameter(fmt::format("parameters should be a JSON object, but are: {}", Shortened(text)));
  for (const auto& [key, value] : root.items()) out.emplace_back(key, AsText(value));
  return out;
}

Result<std::vector<double>> ParseNumbers(std::string_view text) {
  RETURN_IF_ERROR(CheckDepth(text));
  const auto root = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!root.is_array()) return InvalidParameter(fmt::format("should be a JSON array of numbers, but is: {}", Shortened(text)));
  std::vector<double> out;
  for (const auto& value : root) {
    if (!value.is_number()) return InvalidParameter(fmt::format("should be a JSON array of numbers, but is: {}", Shortened(text)));
    out.push_back(value.get<double>());
  }
  return out;
}

}  // namespace saker
