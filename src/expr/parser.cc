#include "expr/parser.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include <fmt/format.h>

#include "expr/lexer.h"

namespace saker {
namespace {

constexpr std::string_view kExpectedOperand =
    "{'(', '[', EXISTS, '+', '-', '~', NOT, JSONContains, JSONContainsAll, JSONContainsAny, ArrayContains, "
    "ArrayContainsAll, ArrayContainsAny, ArrayLength, BooleanConstant, IntegerConstant, FloatingConstant, Identifier, "
    "StringLiteral, JSONIdentifier}";

enum Precedence : int {
  kNone = 0, kOrLevel, kAndLevel, kBitOrLevel, kBitXorLevel, kBitAndLevel, kEqualityLevel, kRelationLevel, kInLevel,
  kShiftLevel, kAddLevel, kMultiplyLevel, kUnaryLevel, kPowerLevel, kLikeLevel,
};

struct Infix {
  int precedence = kNone;
  Operator op = Operator::kEqual;
};

Infix InfixOf(TokenKind kind) {
  switch (kind) {
    case TokenKind::kOr: return {kOrLevel, {}};
    case TokenKind::kAnd: return {kAndLevel, {}};
    case TokenKind::kBitOr: return {kBitOrLevel, Operator::kBitOr};
    case TokenKind::kBitXor: return {kBitXorLevel, Operator::kBitXor};
    case TokenKind::kBitAnd: return {kBitAndLevel, Operator::kBitAnd};
    case TokenKind::kEqual: return {kEqualityLevel, Operator::kEqual};
    case TokenKind::kNotEqual: return {kEqualityLevel, Operator::kNotEqual};
    case TokenKind::kLess: return {kRelationLevel, Operator::kLess};
    case TokenKind::kLessEqual: return {kRelationLevel, Operator::kLessEqual};
    case TokenKind::kGreater: return {kRelationLevel, Operator::kGreater};
    case TokenKind::kGreaterEqual: return {kRelationLevel, Operator::kGreaterEqual};
    case TokenKind::kIn: return {kInLevel, {}};
    case TokenKind::kNot: return {kInLevel, {}};  // only as `not in`
    case TokenKind::kShiftLeft: return {kShiftLevel, Operator::kShiftLeft};
    case TokenKind::kShiftRight: return {kShiftLevel, Operator::kShiftRight};
    case TokenKind::kAdd: return {kAddLevel, Operator::kAdd};
    case TokenKind::kSubtract: return {kAddLevel, Operator::kSubtract};
    case TokenKind::kMultiply: return {kMultiplyLevel, Operator::kMultiply};
    case TokenKind::kDivide: return {kMultiplyLevel, Operator::kDivide};
    case TokenKind::kModulo: return {kMultiplyLevel, Operator::kModulo};
    case TokenKind::kPower: return {kPowerLevel, Operator::kPower};
    case TokenKind::kLike: return {kLikeLevel, {}};
    case TokenKind::kRegexMatch: return {kLikeLevel, {}};
    default: return {};
  }
}

std::optional<Operator> PrefixOf(TokenKind kind) {
  switch (kind) {
    case TokenKind::kAdd: return Operator::kPlus;
    case TokenKind::kSubtract: return Operator::kMinus;
    case TokenKind::kNot: return Operator::kNot;
    case TokenKind::kBitNot: return Operator::kBitNot;
    default: return std::nullopt;
  }
}

bool IsUpward(Operator op) { return op == Operator::kLess || op == Operator::kLessEqual; }
bool IsRelation(Operator op) {
  return IsUpward(op) || op == Operator::kGreater || op == Operator::kGreaterEqual;
}

struct Function {
  std::string_view name;
  ExprKind kind;
};
constexpr std::array kFunctions = {
    Function{"json_contains", ExprKind::kContains},          Function{"array_contains", ExprKind::kContains},
    Function{"json_contains_all", ExprKind::kContainsAll},   Function{"array_contains_all", ExprKind::kContainsAll},
    Function{"json_contains_any", ExprKind::kContainsAny},   Function{"array_contains_any", ExprKind::kContainsAny},
    Function{"array_length", ExprKind::kArrayLength},
};
// Of later versions of Milvus: known by name, so that the message can say so.
constexpr std::array<std::string_view, 22> kUnsupportedFunctions = {
    "text_match",   "text_match_fuzzy", "phrase_match",  "random_sample", "element_filter", "match_any",
    "match_all",    "match_least",      "match_most",    "match_exact",   "st_equals",      "st_touches",
    "st_overlaps",  "st_crosses",       "st_contains",   "st_intersects", "st_within",      "st_dwithin",
    "st_isvalid",   "st_isempty",       "st_distance",   "bloom_match"};

// Milvus knows each name in lower and in upper case, but not mixed.
bool IsName(std::string_view text, std::string_view lower) {
  const auto upper_matches = [](char a, char b) { return a == (b >= 'a' && b <= 'z' ? b - 0x20 : b); };
  return text == lower || std::equal(text.begin(), text.end(), lower.begin(), lower.end(), upper_matches);
}

class Parser {
 public:
  explicit Parser(std::string_view text) : lexer_(text), text_(text) { Advance(); }

  Result<ExprPtr> ParseAll() {
    Result<ExprPtr> expr = ParseOperators(kOrLevel);
    if (expr.ok() && token_.kind != TokenKind::kEnd) {
      if (token_.kind == TokenKind::kBad) return Fail(lexer_.literal_error());
      // A skipped character explains more than what is left over behind it.
      if (lexer_.skipped().empty()) return Fail(fmt::format("invalid expression: {}", text_));
    }
    if (expr.ok() && !lexer_.skipped().empty()) return Fail(lexer_.skipped());
    return expr;
  }

 private:
  static Status Fail(std::string message) { return Status(ErrorCode::kUnexpected, std::move(message)); }

  void Advance() {
    last_end_ = token_.span.end;
    token_ = has_ahead_ ? std::move(ahead_) : lexer_.Next();
    has_ahead_ = false;
  }
  const Token& Ahead() {
    if (!has_ahead_) ahead_ = lexer_.Next();
    has_ahead_ = true;
    return ahead_;
  }
  bool Accept(TokenKind kind) {
    if (token_.kind != kind) return false;
    Advance();
    return true;
  }
  std::string Here() const { return lexer_.Position(token_.span.begin); }
  std::string Shown() const {
    return token_.kind == TokenKind::kEnd ? "<EOF>" : std::string(lexer_.Text(token_));
  }
  Status Expect(TokenKind kind, std::string_view shown) {
    if (token_.kind == TokenKind::kBad) return Fail(lexer_.literal_error());
    if (Accept(kind)) return Status::Ok();
    return Fail(fmt::format("{} missing '{}' at '{}'", Here(), shown, Shown()));
  }

  static bool BeginsOperand(TokenKind kind) {
    switch (kind) {
      case TokenKind::kInteger: case TokenKind::kFloating: case TokenKind::kBoolean: case TokenKind::kString:
      case TokenKind::kIdentifier: case TokenKind::kLeftParen: case TokenKind::kLeftBracket: case TokenKind::kLeftBrace:
      case TokenKind::kExists: case TokenKind::kAdd: case TokenKind::kSubtract: case TokenKind::kNot:
      case TokenKind::kBitNot:
        return true;
      default:
        return false;
    }
  }
  [[gnu::noinline]] Status NoOperand() {
    if (token_.kind == TokenKind::kBad) return Fail(lexer_.literal_error());
    const std::string position = Here(), shown = Shown();
    const bool is_extra = token_.kind != TokenKind::kEnd && BeginsOperand(Ahead().kind);
    return Fail(fmt::format("{} {} input '{}' expecting {}", position, is_extra ? "extraneous" : "mismatched", shown,
                            kExpectedOperand));
  }
  Status NoAlternative(std::string_view read) {
    if (token_.kind == TokenKind::kBad) return Fail(lexer_.literal_error());
    const std::string rest = token_.kind == TokenKind::kEnd ? "" : Shown();
    return Fail(fmt::format("{} no viable alternative at input '{}{}'", Here(), read, rest));
  }

  ExprPtr Make(ExprKind kind, uint32_t begin) {
    auto expr = std::make_unique<Expr>();
    expr->kind = kind;
    expr->span = {begin, last_end_};
    return expr;
  }
  // Adds a child and keeps the tree's height within what recursion can bear.
  static Status Adopt(Expr& parent, ExprPtr child) {
    parent.height = std::max(parent.height, child->height + 1);
    parent.children.push_back(std::move(child));
    if (parent.height <= kMaxFilterDepth) return Status::Ok();
    return TooDeep();
  }
  static Status TooDeep() {
    return Fail(fmt::format("the expression is nested more than {} levels deep; write long alternatives as `in [...]`",
                            kMaxFilterDepth));
  }

  class Descent {
   public:
    explicit Descent(int& depth) : depth_(depth) { ++depth_; }
    ~Descent() { --depth_; }
    Descent(const Descent&) = delete;

   private:
    int& depth_;
  };

  Result<ExprPtr> ParseOperators(int least) {
    const Descent descent(depth_);
    // Each level of nesting passes here twice at most: once for the bracket, once for the operator.
    if (depth_ > 2 * kMaxFilterDepth) return TooDeep();
    ASSIGN_OR_RETURN(ExprPtr left, ParsePrefix());
    while (true) {
      if (token_.kind == TokenKind::kBad) return Fail(lexer_.literal_error());
      const Infix infix = InfixOf(token_.kind);
      if (infix.precedence < least || infix.precedence == kNone) return left;
      if (token_.kind == TokenKind::kNot && Ahead().kind != TokenKind::kIn) return left;
      ASSIGN_OR_RETURN(left, ParseInfix(std::move(left), infix));
    }
  }

  [[gnu::noinline]] Result<ExprPtr> ParseInfix(ExprPtr left, Infix infix) {
    switch (infix.precedence) {
      case kOrLevel: return ParseLogic(std::move(left), ExprKind::kOr, TokenKind::kOr, kOrLevel);
      case kAndLevel: return ParseLogic(std::move(left), ExprKind::kAnd, TokenKind::kAnd, kAndLevel);
      case kInLevel: return ParseIn(std::move(left));
      case kLikeLevel: return ParseLike(std::move(left));
      case kRelationLevel: return ParseRelation(std::move(left), infix.op);
      default: break;
    }
    Advance();
    ASSIGN_OR_RETURN(ExprPtr right, ParseOperators(infix.precedence + 1));
    return MakeBinary(infix.op, std::move(left), std::move(right));
  }

  Result<ExprPtr> MakeBinary(Operator op, ExprPtr left, ExprPtr right) {
    ExprPtr expr = Make(ExprKind::kBinary, left->span.begin);
    expr->op = op;
    RETURN_IF_ERROR(Adopt(*expr, std::move(left)));
    RETURN_IF_ERROR(Adopt(*expr, std::move(right)));
    return expr;
  }

  // `a and b and c` is one node with three children: long chains stay flat.
  Result<ExprPtr> ParseLogic(ExprPtr first, ExprKind kind, TokenKind token, int precedence) {
    const uint32_t begin = first->span.begin;
    ExprPtr expr = Make(kind, begin);
    RETURN_IF_ERROR(Adopt(*expr, std::move(first)));
    while (Accept(token)) {
      ASSIGN_OR_RETURN(ExprPtr next, ParseOperators(precedence + 1));
      RETURN_IF_ERROR(Adopt(*expr, std::move(next)));
    }
    expr->span.end = last_end_;
    return expr;
  }

  [[gnu::noinline]] Result<ExprPtr> ParseRelation(ExprPtr left, Operator op) {
    const std::string_view shown = lexer_.Text(token_);
    Advance();
    if (!BeginsOperand(token_.kind)) return NoAlternative(shown);
    ASSIGN_OR_RETURN(ExprPtr middle, ParseOperators(kRelationLevel + 1));
    const Infix second = InfixOf(token_.kind);
    const bool is_chain = second.precedence == kRelationLevel && IsUpward(second.op) == IsUpward(op) &&
                          IsRelation(second.op) && HasField(*middle);
    if (!is_chain) return MakeBinary(op, std::move(left), std::move(middle));
    Advance();
    ASSIGN_OR_RETURN(ExprPtr right, ParseOperators(kRelationLevel + 1));
    ExprPtr expr = Make(ExprKind::kRange, left->span.begin);
    expr->op = op;
    expr->second_op = second.op;
    RETURN_IF_ERROR(Adopt(*expr, std::move(left)));
    RETURN_IF_ERROR(Adopt(*expr, std::move(middle)));
    RETURN_IF_ERROR(Adopt(*expr, std::move(right)));
    return expr;
  }

  static bool HasField(const Expr& expr) {
    if (expr.kind == ExprKind::kField || expr.kind == ExprKind::kArrayLength) return true;
    if (expr.kind != ExprKind::kBinary && expr.kind != ExprKind::kUnary) return false;
    return std::any_of(expr.children.begin(), expr.children.end(), [](const ExprPtr& c) { return HasField(*c); });
  }

  [[gnu::noinline]] Result<ExprPtr> ParseIn(ExprPtr left) {
    ExprPtr expr = Make(ExprKind::kIn, left->span.begin);
    expr->negated = Accept(TokenKind::kNot);
    const std::string read = (expr->negated ? "not" : "") + std::string(lexer_.Text(token_));
    Advance();
    if (token_.kind != TokenKind::kLeftBracket && token_.kind != TokenKind::kLeftBrace) return NoAlternative(read);
    ASSIGN_OR_RETURN(ExprPtr list, ParsePrefix());
    RETURN_IF_ERROR(Adopt(*expr, std::move(left)));
    RETURN_IF_ERROR(Adopt(*expr, std::move(list)));
    expr->span.end = last_end_;
    return expr;
  }

  [[gnu::noinline]] Result<ExprPtr> ParseLike(ExprPtr left) {
    ExprPtr expr = Make(token_.kind == TokenKind::kLike ? ExprKind::kLike : ExprKind::kRegex, left->span.begin);
    Advance();
    if (token_.kind == TokenKind::kBad) return Fail(lexer_.literal_error());
    if (token_.kind == TokenKind::kLeftBrace) {
      ASSIGN_OR_RETURN(ExprPtr pattern, ParseTemplate());
      RETURN_IF_ERROR(Adopt(*expr, std::move(left)));
      RETURN_IF_ERROR(Adopt(*expr, std::move(pattern)));
      return expr;
    }
    if (token_.kind != TokenKind::kString) {
      if (token_.kind == TokenKind::kEnd) return Fail(fmt::format("{} missing StringLiteral at '<EOF>'", Here()));
      return Fail(fmt::format("{} mismatched input '{}' expecting StringLiteral", Here(), Shown()));
    }
    expr->value = std::move(token_.value);
    Advance();
    RETURN_IF_ERROR(Adopt(*expr, std::move(left)));
    expr->span.end = last_end_;
    return expr;
  }

  Result<ExprPtr> ParsePrefix() {
    switch (token_.kind) {
      case TokenKind::kInteger:
        return std::holds_alternative<std::monostate>(token_.value) ? OutOfRange() : ParseLiteral();
      case TokenKind::kFloating: case TokenKind::kBoolean: case TokenKind::kString:
        return ParseLiteral();
      case TokenKind::kIdentifier:
        return ParseName();
      case TokenKind::kLeftBracket:
        return ParseList();
      case TokenKind::kLeftBrace:
        return ParseTemplate();
      case TokenKind::kLeftParen:
        return ParseParenthesized();
      case TokenKind::kExists:
        return ParseExists();
      default:
        break;
    }
    if (const std::optional<Operator> op = PrefixOf(token_.kind); op.has_value()) return ParseUnary(*op);
    return NoOperand();
  }

  // Not inlined, as all that ParsePrefix calls: its frame lies on the stack once for every level of nesting.
  [[gnu::noinline]] Result<ExprPtr> ParseParenthesized() {
    const uint32_t begin = token_.span.begin;
    Advance();
    ASSIGN_OR_RETURN(ExprPtr expr, ParseOperators(kOrLevel));
    RETURN_IF_ERROR(Expect(TokenKind::kRightParen, ")"));
    expr->span = {begin, last_end_};
    return expr;
  }

  [[gnu::noinline]] Result<ExprPtr> ParseExists() {
    const uint32_t begin = token_.span.begin;
    Advance();
    ASSIGN_OR_RETURN(ExprPtr child, ParseOperators(kUnaryLevel));
    ExprPtr expr = Make(ExprKind::kExists, begin);
    RETURN_IF_ERROR(Adopt(*expr, std::move(child)));
    return expr;
  }

  [[gnu::noinline]] Status OutOfRange() const {
    return Fail(fmt::format("strconv.ParseInt: parsing \"{}\": value out of range", Shown()));
  }

  [[gnu::noinline]] Result<ExprPtr> ParseLiteral() {
    ExprPtr expr = Make(ExprKind::kLiteral, token_.span.begin);
    expr->value = std::move(token_.value);
    Advance();
    expr->span.end = last_end_;
    return expr;
  }

  [[gnu::noinline]] Result<ExprPtr> ParseUnary(Operator op) {
    const uint32_t begin = token_.span.begin;
    Advance();
    if (op == Operator::kMinus && token_.kind == TokenKind::kInteger &&
        std::holds_alternative<std::monostate>(token_.value)) {
      Advance();
      ExprPtr smallest = Make(ExprKind::kLiteral, begin);
      smallest->value = std::numeric_limits<int64_t>::min();
      return smallest;
    }
    ASSIGN_OR_RETURN(ExprPtr child, ParseOperators(kUnaryLevel));
    ExprPtr expr = Make(ExprKind::kUnary, begin);
    expr->op = op;
    RETURN_IF_ERROR(Adopt(*expr, std::move(child)));
    return expr;
  }

  [[gnu::noinline]] Result<ExprPtr> ParseTemplate() {
    const uint32_t begin = token_.span.begin;
    Advance();
    if (token_.kind != TokenKind::kIdentifier) {
      return Fail(fmt::format("{} mismatched input '{}' expecting Identifier", Here(), Shown()));
    }
    ExprPtr expr = Make(ExprKind::kTemplate, begin);
    expr->name = lexer_.Text(token_);
    Advance();
    RETURN_IF_ERROR(Expect(TokenKind::kRightBrace, "}"));
    expr->span.end = last_end_;
    return expr;
  }

  [[gnu::noinline]] Result<ExprPtr> ParseName() {
    const uint32_t begin = token_.span.begin;
    const std::string_view name = lexer_.Text(token_);
    if (Ahead().kind == TokenKind::kLeftParen) return ParseCall(name);
    Advance();
    ExprPtr expr = Make(ExprKind::kField, begin);
    expr->name = name;
    while (token_.kind == TokenKind::kLeftBracket) RETURN_IF_ERROR(ParsePathStep(*expr));
    expr->span.end = last_end_;
    return ParseNullTest(std::move(expr));
  }

  Status ParsePathStep(Expr& field) {
    Advance();
    if (token_.kind == TokenKind::kBad) return Fail(lexer_.literal_error());
    PathStep step;
    const auto* index = std::get_if<int64_t>(&token_.value);
    if (auto* key = std::get_if<std::string>(&token_.value); key != nullptr) {
      if (key->empty()) return Fail(fmt::format("invalid identifier: {}[\"\"]", field.name));
      step.key = std::move(*key);
    } else if (token_.kind == TokenKind::kInteger && index != nullptr) {
      step.key = std::to_string(*index);
      step.is_index = true;
    } else {
      return Fail(fmt::format("{} mismatched input '{}' expecting a key in quotes or an index", Here(), Shown()));
    }
    Advance();
    RETURN_IF_ERROR(Expect(TokenKind::kRightBracket, "]"));
    field.path.push_back(std::move(step));
    if (field.path.size() > kMaxFilterDepth) return TooDeep();
    return Status::Ok();
  }

  // `is null` and `is not null`; `is` and `null` are names like any other elsewhere.
  Result<ExprPtr> ParseNullTest(ExprPtr field) {
    const auto at_word = [&](std::string_view word) {
      return token_.kind == TokenKind::kIdentifier && IsName(lexer_.Text(token_), word);
    };
    if (!at_word("is")) return field;
    Advance();
    ExprPtr expr = Make(ExprKind::kIsNull, field->span.begin);
    expr->negated = Accept(TokenKind::kNot);
    if (!at_word("null")) return Fail(fmt::format("{} mismatched input '{}' expecting null", Here(), Shown()));
    Advance();
    RETURN_IF_ERROR(Adopt(*expr, std::move(field)));
    expr->span.end = last_end_;
    return expr;
  }

  Result<ExprPtr> ParseCall(std::string_view name) {
    const auto function = std::find_if(kFunctions.begin(), kFunctions.end(),
                                       [&](const Function& known) { return IsName(name, known.name); });
    if (function == kFunctions.end()) {
      const bool is_later = std::any_of(kUnsupportedFunctions.begin(), kUnsupportedFunctions.end(),
                                        [&](std::string_view known) { return IsName(name, known); });
      if (is_later) return Fail(fmt::format("{} {} is not supported", Here(), name));
      return Fail(fmt::format("{} function {} is not known, expecting one of json_contains, json_contains_all, "
                              "json_contains_any, array_contains, array_contains_all, array_contains_any, array_length",
                              Here(), name));
    }
    const uint32_t begin = token_.span.begin;
    Advance();
    Advance();
    ExprPtr expr = Make(function->kind, begin);
    ASSIGN_OR_RETURN(ExprPtr subject, ParseOperators(kOrLevel));
    RETURN_IF_ERROR(Adopt(*expr, std::move(subject)));
    if (function->kind != ExprKind::kArrayLength) {
      if (token_.kind != TokenKind::kComma) {
        if (BeginsOperand(token_.kind)) return Fail(fmt::format("{} missing ',' at '{}'", Here(), Shown()));
        return Fail(fmt::format("{} mismatched input '{}' expecting ','", Here(), Shown()));
      }
      Advance();
      ASSIGN_OR_RETURN(ExprPtr element, ParseOperators(kOrLevel));
      RETURN_IF_ERROR(Adopt(*expr, std::move(element)));
    }
    RETURN_IF_ERROR(Expect(TokenKind::kRightParen, ")"));
    expr->span.end = last_end_;
    return expr;
  }

  [[gnu::noinline]] Result<ExprPtr> ParseList() {
    ExprPtr list = Make(ExprKind::kList, token_.span.begin);
    Advance();
    while (!Accept(TokenKind::kRightBracket)) {
      RETURN_IF_ERROR(ParseItem(*list));
      if (token_.kind == TokenKind::kComma || token_.kind == TokenKind::kRightBracket) {
        Accept(TokenKind::kComma);
        continue;
      }
      if (token_.kind == TokenKind::kBad) return Fail(lexer_.literal_error());
      return Fail(fmt::format("{} {} input '{}' expecting {{',', ']'}}", Here(),
                              token_.kind == TokenKind::kEnd ? "mismatched" : "extraneous", Shown()));
    }
    list->span.end = last_end_;
    return list;
  }

  Status ParseItem(Expr& list) {
    ListItem item;
    if (TakeLiteral(item)) {
      list.items.push_back(std::move(item));
      return Status::Ok();
    }
    ASSIGN_OR_RETURN(item.expr, ParseOperators(kOrLevel));
    item.span = item.expr->span;
    list.height = std::max(list.height, item.expr->height + 1);
    if (list.height > kMaxFilterDepth) return TooDeep();
    list.items.push_back(std::move(item));
    return Status::Ok();
  }

  // A literal with a `,` or `]` behind it: the way nearly all elements are, without a node for each.
  bool TakeLiteral(ListItem& item) {
    const bool is_literal = token_.kind == TokenKind::kInteger || token_.kind == TokenKind::kFloating ||
                            token_.kind == TokenKind::kString || token_.kind == TokenKind::kBoolean;
    if (!is_literal || std::holds_alternative<std::monostate>(token_.value)) return false;
    const TokenKind next = Ahead().kind;
    if (next != TokenKind::kComma && next != TokenKind::kRightBracket) return false;
    item.literal = std::move(token_.value);
    item.span = token_.span;
    Advance();
    return true;
  }

  Lexer lexer_;
  std::string_view text_;
  Token token_;
  Token ahead_;
  bool has_ahead_ = false;
  uint32_t last_end_ = 0;
  int depth_ = 0;
};

}  // namespace

Result<ExprPtr> ParseExpression(std::string_view text) {
  if (text.size() > kMaxFilterBytes) {
    return Status(ErrorCode::kUnexpected,
                  fmt::format("the expression has {} bytes, the limit is {}; send its values in several requests",
                              text.size(), kMaxFilterBytes));
  }
  return Parser(text).ParseAll();
}

}  // namespace saker
