#include "proxy/json.h"

#include <fmt/format.h>

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

}  // namespace

Result<KeyValues> ParseFlatJson(std::string_view text) {
  KeyValues out;
  if (text.empty()) return out;
  const auto root = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (root.is_null()) return out;
  if (!root.is_object()) return InvalidParameter(fmt::format("parameters should be a JSON object, but are: {}", Shortened(text)));
  for (const auto& [key, value] : root.items()) out.emplace_back(key, AsText(value));
  return out;
}

Result<std::vector<double>> ParseNumbers(std::string_view text) {
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
