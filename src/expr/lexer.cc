#include "expr/lexer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>

#include <fmt/format.h>

namespace saker {
namespace {

constexpr std::string_view kSmallestIntegersDigits = "9223372036854775808";

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsHexDigit(char c) { return IsDigit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'); }
// Bytes of characters beyond ASCII may be part of a name, as in Milvus since 2.4.
bool IsLetter(char c) { return ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' || (c & 0x80) != 0; }

struct Keyword {
  std::string_view text;
  TokenKind kind;
};
constexpr std::array kKeywords = {
    Keyword{"and", TokenKind::kAnd},       Keyword{"AND", TokenKind::kAnd},     Keyword{"or", TokenKind::kOr},
    Keyword{"OR", TokenKind::kOr},         Keyword{"not", TokenKind::kNot},     Keyword{"NOT", TokenKind::kNot},
    Keyword{"in", TokenKind::kIn},         Keyword{"IN", TokenKind::kIn},       Keyword{"like", TokenKind::kLike},
    Keyword{"LIKE", TokenKind::kLike},     Keyword{"exists", TokenKind::kExists}, Keyword{"EXISTS", TokenKind::kExists},
    Keyword{"true", TokenKind::kBoolean},  Keyword{"True", TokenKind::kBoolean},  Keyword{"TRUE", TokenKind::kBoolean},
    Keyword{"false", TokenKind::kBoolean}, Keyword{"False", TokenKind::kBoolean}, Keyword{"FALSE", TokenKind::kBoolean},
};

// Longest first among those that share a beginning.
struct Punctuation {
  std::string_view text;
  TokenKind kind;
};
constexpr std::array kPunctuation = {
    Punctuation{"<<", TokenKind::kShiftLeft},   Punctuation{"<=", TokenKind::kLessEqual},
    Punctuation{"<", TokenKind::kLess},         Punctuation{">>", TokenKind::kShiftRight},
    Punctuation{">=", TokenKind::kGreaterEqual}, Punctuation{">", TokenKind::kGreater},
    Punctuation{"==", TokenKind::kEqual},       Punctuation{"=~", TokenKind::kRegexMatch},
    Punctuation{"!=", TokenKind::kNotEqual},    Punctuation{"!", TokenKind::kNot},
    Punctuation{"&&", TokenKind::kAnd},         Punctuation{"&", TokenKind::kBitAnd},
    Punctuation{"||", TokenKind::kOr},          Punctuation{"|", TokenKind::kBitOr},
    Punctuation{"**", TokenKind::kPower},       Punctuation{"*", TokenKind::kMultiply},
    Punctuation{"+", TokenKind::kAdd},          Punctuation{"-", TokenKind::kSubtract},
    Punctuation{"/", TokenKind::kDivide},       Punctuation{"%", TokenKind::kModulo},
    Punctuation{"^", TokenKind::kBitXor},       Punctuation{"~", TokenKind::kBitNot},
    Punctuation{"(", TokenKind::kLeftParen},    Punctuation{")", TokenKind::kRightParen},
    Punctuation{"[", TokenKind::kLeftBracket},  Punctuation{"]", TokenKind::kRightBracket},
    Punctuation{"{", TokenKind::kLeftBrace},    Punctuation{"}", TokenKind::kRightBrace},
    Punctuation{",", TokenKind::kComma},
};

void AppendUtf8(std::string& out, uint32_t code) {
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    out.push_back(static_cast<char>(0xC0 | (code >> 6)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3F)));
  } else if (code < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | (code >> 12)));
    out.push_back(static_cast<char>(0x80 | ((code >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3F)));
  } else {
    out.push_back(static_cast<char>(0xF0 | (code >> 18)));
    out.push_back(static_cast<char>(0x80 | ((code >> 12) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | ((code >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3F)));
  }
}

// How far the number at the beginning of `text` reaches, and whether it has a point or an exponent.
struct NumberShape {
  size_t length = 0;
  bool floating = false;
  int base = 10;
};

size_t CountDigits(std::string_view text, size_t at, bool hex) {
  const size_t begin = at;
  while (at < text.size() && (hex ? IsHexDigit(text[at]) : IsDigit(text[at]))) ++at;
  return at - begin;
}

size_t ExponentLength(std::string_view text, size_t at, char mark) {
  if (at >= text.size() || (text[at] | 0x20) != mark) return 0;
  size_t digits_at = at + 1;
  if (digits_at < text.size() && (text[digits_at] == '+' || text[digits_at] == '-')) ++digits_at;
  const size_t digits = CountDigits(text, digits_at, false);
  return digits == 0 ? 0 : digits_at + digits - at;
}

NumberShape ShapeOfHex(std::string_view text) {
  const size_t whole = CountDigits(text, 2, true);
  size_t end = 2 + whole;
  size_t fraction = 0;
  if (end < text.size() && text[end] == '.') fraction = CountDigits(text, end + 1, true) + 1;
  const size_t exponent = ExponentLength(text, end + fraction, 'p');
  if (exponent != 0 && (whole != 0 || fraction > 1)) return {end + fraction + exponent, true, 16};
  return {whole == 0 ? 1 : end, false, whole == 0 ? 10 : 16};
}

NumberShape ShapeOfNumber(std::string_view text) {
  if (text.size() > 2 && text[0] == '0' && (text[1] | 0x20) == 'x') return ShapeOfHex(text);
  if (text.size() > 2 && text[0] == '0' && (text[1] | 0x20) == 'b') {
    size_t end = 2;
    while (end < text.size() && (text[end] == '0' || text[end] == '1')) ++end;
    if (end > 2) return {end, false, 2};
  }
  NumberShape shape;
  shape.length = CountDigits(text, 0, false);
  if (shape.length < text.size() && text[shape.length] == '.') {
    shape.length += 1 + CountDigits(text, shape.length + 1, false);
    shape.floating = true;
  }
  const size_t exponent = ExponentLength(text, shape.length, 'e');
  if (exponent != 0) return {shape.length + exponent, true, 10};
  if (!shape.floating && text[0] == '0' && shape.length > 1) {
    // Octal: 08 is 0 and then an 8 that belongs to nothing.
    size_t end = 1;
    while (end < shape.length && text[end] < '8') ++end;
    return {end, false, 8};
  }
  return shape;
}

}  // namespace

Token Lexer::Next() {
  while (true) {
    SkipBlank();
    const uint32_t begin = at_;
    if (at_ == text_.size()) return Finish(TokenKind::kEnd, begin);
    const char c = text_[at_];
    if (c == '"' || c == '\'') {
      const Token token = String(begin);
      if (token.kind != TokenKind::kEnd) return token;
      continue;
    }
    if (IsLetter(c) || text_.substr(at_, 5) == "$meta") {
      const Token token = Word();
      if (token.kind != TokenKind::kEnd) return token;
      continue;
    }
    if (IsDigit(c) || (c == '.' && at_ + 1 < text_.size() && IsDigit(text_[at_ + 1]))) return Number();
    for (const Punctuation& punctuation : kPunctuation) {
      if (Accept(punctuation.text)) return Finish(punctuation.kind, begin);
    }
    SkipUnknown();
  }
}

void Lexer::SkipBlank() {
  while (at_ < text_.size() && IsBlank(text_[at_])) ++at_;
}

bool Lexer::Accept(std::string_view operator_text) {
  if (text_.substr(at_, operator_text.size()) != operator_text) return false;
  at_ += static_cast<uint32_t>(operator_text.size());
  return true;
}

Token Lexer::Finish(TokenKind kind, uint32_t begin) { return {kind, {begin, at_}, {}}; }

Token Lexer::Bad(uint32_t begin, std::string why) {
  literal_error_ = std::move(why);
  return Finish(TokenKind::kBad, begin);
}

void Lexer::SkipUnknown() {
  // ANTLR reads on while a token might still come of it, so `=`, `.` and `$` take the next character along.
  const bool may_begin_a_token = text_[at_] == '=' || text_[at_] == '.' || text_[at_] == '$';
  const uint32_t length = may_begin_a_token && at_ + 1 < text_.size() ? 2 : 1;
  if (skipped_.empty()) {
    skipped_ = fmt::format("{} token recognition error at: '{}'", Position(at_), text_.substr(at_, length));
  }
  at_ += length;
}

Token Lexer::Word() {
  const uint32_t begin = at_;
  if (text_[at_] == '$') ++at_;
  while (at_ < text_.size() && (IsLetter(text_[at_]) || IsDigit(text_[at_]))) ++at_;
  const std::string_view word = text_.substr(begin, at_ - begin);
  const bool is_prefix = word == "u8" || word == "u" || word == "U" || word == "L";
  if (is_prefix && at_ < text_.size() && (text_[at_] == '"' || text_[at_] == '\'')) return String(begin);
  for (const Keyword& keyword : kKeywords) {
    if (word != keyword.text) continue;
    Token token = Finish(keyword.kind, begin);
    if (keyword.kind == TokenKind::kBoolean) token.value = (word[0] | 0x20) == 't';
    return token;
  }
  return Finish(TokenKind::kIdentifier, begin);
}

Token Lexer::Number() {
  const uint32_t begin = at_;
  const NumberShape shape = ShapeOfNumber(text_.substr(begin));
  at_ += static_cast<uint32_t>(shape.length);
  const std::string text(text_.substr(begin, shape.length));
  if (shape.floating) {
    const double number = std::strtod(text.c_str(), nullptr);
    if (std::isinf(number)) return Bad(begin, fmt::format("strconv.ParseFloat: parsing \"{}\": value out of range", text));
    Token token = Finish(TokenKind::kFloating, begin);
    token.value = number;
    return token;
  }
  const size_t skip = shape.base == 16 || shape.base == 2 ? 2 : 0;
  int64_t number = 0;
  const auto read = std::from_chars(text.data() + skip, text.data() + text.size(), number, shape.base);
  Token token = Finish(TokenKind::kInteger, begin);
  if (read.ec == std::errc()) {
    token.value = number;
  } else if (text != kSmallestIntegersDigits) {
    return Bad(begin, fmt::format("strconv.ParseInt: parsing \"{}\": value out of range", text));
  }
  return token;
}

// A string that never ends is skipped as a whole: kEnd stands for "nothing here".
Token Lexer::String(uint32_t begin) {
  const char quote = text_[at_++];
  std::string out;
  while (at_ < text_.size() && text_[at_] != quote && text_[at_] != '\n' && text_[at_] != '\r') {
    if (text_[at_] != '\\') {
      out.push_back(text_[at_++]);
      continue;
    }
    if (!ReadEscape(out)) {
      return Bad(begin, fmt::format("{} invalid escape sequence in the string beginning {}", Position(at_),
                                    text_.substr(begin, std::min<size_t>(32, at_ + 2 - begin))));
    }
  }
  if (at_ == text_.size() || text_[at_] != quote) {
    if (skipped_.empty()) {
      skipped_ = fmt::format("{} token recognition error at: '{}'", Position(begin), text_.substr(begin, at_ - begin));
    }
    return Finish(TokenKind::kEnd, begin);
  }
  ++at_;
  Token token = Finish(TokenKind::kString, begin);
  token.value = std::move(out);
  return token;
}

// At a backslash. \% and \_ stay as they are: they are for `like`.
bool Lexer::ReadEscape(std::string& out) {
  if (at_ + 1 >= text_.size()) return false;
  const char c = text_[at_ + 1];
  constexpr std::string_view kNames = "abfnrtv\\'\"?";
  constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"?";
  if (const size_t i = kNames.find(c); i != std::string_view::npos) {
    out.push_back(kMeanings[i]);
    at_ += 2;
    return true;
  }
  if (c == '%' || c == '_') {
    out.append({'\\', c});
    at_ += 2;
    return true;
  }
  const auto read_code = [&](size_t skip, size_t digits, int base) -> std::optional<uint32_t> {
    const std::string_view code = text_.substr(std::min<size_t>(text_.size(), at_ + skip), digits);
    uint32_t value = 0;
    const auto read = std::from_chars(code.data(), code.data() + code.size(), value, base);
    if (read.ec != std::errc() || read.ptr != code.data() + digits) return std::nullopt;
    at_ += static_cast<uint32_t>(skip + digits);
    return value;
  };
  if (c == 'u' || c == 'U') {
    const std::optional<uint32_t> code = read_code(2, c == 'u' ? 4 : 8, 16);
    if (!code.has_value() || *code > 0x10FFFF || (*code >= 0xD800 && *code < 0xE000)) return false;
    AppendUtf8(out, *code);
    return true;
  }
  const std::optional<uint32_t> byte = c == 'x' ? read_code(2, 2, 16) : read_code(1, 3, 8);
  if (!byte.has_value() || *byte > 0xFF) return false;
  out.push_back(static_cast<char>(*byte));
  return true;
}

std::string Lexer::Position(uint32_t at) const {
  size_t line = 1, column = 0;
  for (const char c : text_.substr(0, at)) {
    if (c == '\n') {
      ++line;
      column = 0;
    } else if ((c & 0xC0) != 0x80) {
      ++column;
    }
  }
  return fmt::format("line {}:{}", line, column);
}

std::string WithoutBlanks(std::string_view text) {
  std::string out;
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote == 0 && IsBlank(c)) continue;
    out.push_back(c);
    if (quote != 0 && c == '\\' && i + 1 < text.size()) {
      out.push_back(text[++i]);
    } else if (quote == 0 && (c == '"' || c == '\'')) {
      quote = c;
    } else if (c == quote) {
      quote = 0;
    }
  }
  return out;
}

}  // namespace saker
