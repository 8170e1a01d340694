#include "storage/object_name.h"

#include <fmt/format.h>

#include <algorithm>

namespace saker {
namespace {

constexpr size_t kShownBytes = 100;

Status Invalid(std::string_view kind, std::string_view name, std::string_view why) {
  return {ErrorCode::kParameterInvalid,
          fmt::format("object {} \"{}\"{} is not valid: {}", kind, name.substr(0, kShownBytes),
                      name.size() > kShownBytes ? "…" : "", why)};
}

bool Allowed(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
         c == '-' || c == '/';
}

// Why it isn't valid; empty if it is. The last part of a prefix may be anything that can still become a part.
std::string WhyInvalid(std::string_view name, bool prefix) {
  if (name.size() > kMaxObjectNameBytes) return fmt::format("it is longer than {} bytes", kMaxObjectNameBytes);
  if (!std::all_of(name.begin(), name.end(), Allowed)) return "only letters, digits and . _ / - may be in it";
  if (!name.empty() && name[0] == '.') return "it begins with a dot";
  while (true) {
    const size_t slash = name.find('/');
    const std::string_view part = name.substr(0, slash);
    const bool last = slash == std::string_view::npos;
    if (part.size() > kMaxObjectNamePartBytes) {
      return fmt::format("a part is longer than {} bytes", kMaxObjectNamePartBytes);
    }
    if (!(prefix && last)) {
      if (part.empty()) return "a part is empty";
      if (part == "." || part == "..") return "a part is . or ..";
    }
    if (last) return {};
    name.remove_prefix(slash + 1);
  }
}

}  // namespace

Status CheckObjectName(std::string_view name) {
  const std::string why = WhyInvalid(name, false);
  return why.empty() ? Status() : Invalid("name", name, why);
}

Status CheckObjectPrefix(std::string_view prefix) {
  const std::string why = WhyInvalid(prefix, true);
  return why.empty() ? Status() : Invalid("prefix", prefix, why);
}

}  // namespace saker
