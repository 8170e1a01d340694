// Tokens of a filter. Unknown characters are skipped and the first of them is remembered, as Milvus's lexer does: the
// parser then says what is wrong first.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "expr/ast.h"

namespace saker {

enum class TokenKind {
  kEnd,
  kInteger,     // value: int64, or monostate for 9223372036854775808, which only `-` may precede
  kFloating,    // value: double
  kBoolean,     // value: bool
  kString,      // value: the unescaped text
  kIdentifier,  // $meta too
  kLeftParen, kRightParen, kLeftBracket, kRightBracket, kLeftBrace, kRightBrace, kComma,
  kLess, kLessEqual, kGreater, kGreaterEqual, kEqual, kNotEqual, kRegexMatch,
  kAdd, kSubtract, kMultiply, kDivide, kModulo, kPower, kShiftLeft, kShiftRight, kBitAnd, kBitOr, kBitXor, kBitNot,
  kAnd, kOr, kNot, kIn, kLike, kExists,
  kBad,         // a literal that is no value; error() says why
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  Span span;
  Value value;
};

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}
  Token Next();
  std::string_view Text(const Token& token) const { return Text(token.span); }
  std::string_view Text(Span span) const { return text_.substr(span.begin, span.end - span.begin); }
  // "line 1:4", counted as ANTLR does: lines from 1, characters (not bytes) from 0.
  std::string Position(uint32_t at) const;
  // Of a kBad token: what is wrong with it. Of skipped characters: the message, with its position.
  const std::string& literal_error() const { return literal_error_; }
  const std::string& skipped() const { return skipped_; }

 private:
  void SkipBlank();
  bool Accept(std::string_view operator_text);
  Token Finish(TokenKind kind, uint32_t begin);
  Token Bad(uint32_t begin, std::string why);
  Token Word();
  Token Number();
  Token String(uint32_t begin);
  bool ReadEscape(std::string& out);
  void SkipUnknown();

  std::string_view text_;
  uint32_t at_ = 0;
  std::string literal_error_;
  std::string skipped_;
};

// A piece of the text without the blanks between its tokens: how Milvus quotes expressions in its messages.
std::string WithoutBlanks(std::string_view text);

}  // namespace saker
