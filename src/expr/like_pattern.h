// The pattern of `like`: % is any text, _ any one character, \ makes the next character mean itself.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace saker {

class LikePattern {
 public:
  explicit LikePattern(std::string_view pattern);
  bool Matches(std::string_view text) const;
  // What an index can look up: the text every match begins with, and whether that alone decides.
  const std::string& prefix() const { return parts_.front().text; }
  bool is_prefix() const { return kind_ == Kind::kPrefix; }
  bool is_exact() const { return kind_ == Kind::kExact; }

 private:
  enum class Kind { kExact, kPrefix, kSuffix, kInner, kGeneral };
  // A literal piece and the number of _ behind it.
  struct Piece {
    std::string text;
    int any_characters = 0;
  };
  // What stands between two %: pieces that match one after the other.
  struct Part {
    std::string text;           // if there is no _
    std::vector<Piece> pieces;  // if there is
  };
  static size_t MatchAt(const Part& part, std::string_view text, size_t at);
  bool MatchesGeneral(std::string_view text) const;

  Kind kind_ = Kind::kGeneral;
  std::vector<Part> parts_;  // one more than there are runs of %
};

}  // namespace saker
