#include "expr/like_pattern.h"

#include <algorithm>

namespace saker {
namespace {

constexpr size_t kNoMatch = std::string_view::npos;

// Behind the UTF-8 character at `at`; a stray byte counts as one character.
size_t SkipCharacter(std::string_view text, size_t at) {
  ++at;
  while (at < text.size() && (text[at] & 0xC0) == 0x80) ++at;
  return at;
}

}  // namespace

LikePattern::LikePattern(std::string_view pattern) {
  parts_.emplace_back();
  bool has_percent = false, has_underscore = false;
  bool last_was_percent = false;
  std::vector<Piece> pieces(1);
  const auto finish_part = [&] {
    Part& part = parts_.back();
    const bool plain = pieces.size() == 1 && pieces[0].any_characters == 0;
    part.text = pieces[0].text;
    if (!plain) part.pieces = pieces;
    pieces.assign(1, {});
  };
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '%') {
      has_percent = true;
      if (!last_was_percent) {
        finish_part();
        parts_.emplace_back();
      }
      last_was_percent = true;
      continue;
    }
    last_was_percent = false;
    if (c == '_') {
      has_underscore = true;
      ++pieces.back().any_characters;
      continue;
    }
    if (pieces.back().any_characters != 0) pieces.emplace_back();
    const bool is_escape = c == '\\' && i + 1 < pattern.size();
    pieces.back().text.push_back(is_escape ? pattern[++i] : c);
  }
  finish_part();
  if (has_underscore) return;
  if (pattern.empty()) {
    // Milvus takes the empty pattern for the empty prefix: it matches everything.
    kind_ = Kind::kPrefix;
  } else if (!has_percent) {
    kind_ = Kind::kExact;
  } else if (parts_.size() == 2 && parts_[1].text.empty()) {
    kind_ = Kind::kPrefix;
  } else if (parts_.size() == 2 && parts_[0].text.empty()) {
    kind_ = Kind::kSuffix;
  } else if (parts_.size() == 3 && parts_[0].text.empty() && parts_[2].text.empty()) {
    kind_ = Kind::kInner;
  }
}

bool LikePattern::Matches(std::string_view text) const {
  switch (kind_) {
    case Kind::kExact: return text == parts_[0].text;
    case Kind::kPrefix: return text.starts_with(parts_[0].text);
    case Kind::kSuffix: return text.ends_with(parts_[1].text);
    case Kind::kInner: return text.find(parts_[1].text) != std::string_view::npos;
    case Kind::kGeneral: return MatchesGeneral(text);
  }
  return false;
}

// The end of the match of `part` at `at`, or kNoMatch.
size_t LikePattern::MatchAt(const Part& part, std::string_view text, size_t at) {
  if (part.pieces.empty()) return text.substr(at).starts_with(part.text) ? at + part.text.size() : kNoMatch;
  for (const Piece& piece : part.pieces) {
    if (!text.substr(at).starts_with(piece.text)) return kNoMatch;
    at += piece.text.size();
    for (int i = 0; i < piece.any_characters; ++i) {
      if (at == text.size()) return kNoMatch;
      at = SkipCharacter(text, at);
    }
  }
  return at;
}

// The first part at the beginning, each following one where it first matches, the last at the end: leftmost is always
// as good as any later place, so nothing is tried twice.
bool LikePattern::MatchesGeneral(std::string_view text) const {
  size_t at = MatchAt(parts_.front(), text, 0);
  if (at == kNoMatch) return false;
  if (parts_.size() == 1) return at == text.size();
  for (size_t i = 1; i + 1 < parts_.size(); ++i) {
    size_t end = kNoMatch;
    while ((end = MatchAt(parts_[i], text, at)) == kNoMatch) {
      if (at == text.size()) return false;
      at = SkipCharacter(text, at);
    }
    at = end;
  }
  // Only one place lets the last part end with the text; it is near the end, but _ may stand for several bytes.
  while (true) {
    if (MatchAt(parts_.back(), text, at) == text.size()) return true;
    if (at == text.size()) return false;
    at = SkipCharacter(text, at);
  }
}

}  // namespace saker
