// Status and Result: how every fallible call in Saker reports failure.
//
// ErrorCode *is* Milvus's error number (its merr package), so that the one place that knows the wire
// (rpc/status_codec.cc) only has to print it. A Status is one pointer; ok is null and costs nothing.
// Messages are prescriptive: what is wrong, which value, which limit, what to do.
#pragma once

#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace saker {

enum class ErrorCode : int {
  kOk = 0,
  kServiceNotReady = 1,
  kServiceUnavailable = 2,
  kMemoryLimitExceeded = 3,
  kTooManyRequests = 4,
  kServiceInternal = 5,
  kCrossClusterRouting = 6,
  kDiskLimitExceeded = 7,
  kRateLimit = 8,
  kForceDeny = 9,
  kUnimplemented = 10,
  kCollectionNotFound = 100,
  kCollectionNotLoaded = 101,
  kCollectionNumLimit = 102,
  kCollectionNotFullyLoaded = 103,
  kPartitionNotFound = 200,
  kPartitionNotLoaded = 201,
  kPartitionNotFullyLoaded = 202,
  kGeneralCapacityExceeded = 250,
  kResourceGroupNotFound = 300,
  kReplicaNotFound = 400,
  kReplicaNotAvailable = 401,
  kChannelNotFound = 500,
  kChannelLacks = 501,
  kChannelReduplicate = 502,
  kChannelNotAvailable = 503,
  kSegmentNotFound = 600,
  kSegmentNotLoaded = 601,
  kSegmentLacks = 602,
  kSegmentReduplicate = 603,
  kIndexNotFound = 700,
  kIndexNotSupported = 701,
  kIndexDuplicate = 702,
  kDatabaseNotFound = 800,
  kDatabaseNumLimit = 801,
  kDatabaseInvalidName = 802,
  kNodeNotFound = 901,
  kNodeOffline = 902,
  kNodeLack = 903,
  kNodeNotMatch = 904,
  kIoKeyNotFound = 1000,
  kIoFailed = 1001,
  kParameterInvalid = 1100,
  kMetricsNotFound = 1200,
  kTopicNotFound = 1300,
  kNeedAuthenticate = 1400,
  kIncorrectParameterFormat = 1401,
  kPrivilegeNotPermitted = 1402,
  kPrivilegeNotAuthenticated = 1403,
  kAliasNotFound = 1600,
  kAliasCollectionNameConflict = 1601,
  kAliasAlreadyExist = 1602,
  kFieldNotFound = 1700,
  kFieldInvalidName = 1701,
  kInputNotValid = 1800,       // wrong content of a request's rows
  kQueryPlan = 2200,
  kUnexpected = 65535,         // Milvus's catch-all; 2.3 uses it for many user errors
  // Saker's own, never sent on the wire: the door maps them (kSuperseded, kStaleRoute make the caller retry).
  kSuperseded = 100001,        // the log or a store knows a newer owner; step down
  kStaleRoute = 100002,        // a read leg named an outdated route; take the new route and start again
  kConflict = 100003,          // a compare of a transaction failed
  kAlreadyExists = 100004,     // put-if-absent found the object
  kCompacted = 100005,         // a revision or position that is no longer kept
  kCorrupted = 100006,         // checksum mismatch: the message names the file
  kCancelled = 100007,
  kDeadlineExceeded = 100008,
  kUnauthenticated = 100009,   // becomes gRPC UNAUTHENTICATED
};

// Who is at fault, hence what the caller may do: kInput – change the request; kTransient – retry; kPermanent – neither.
enum class ErrorCategory { kInput, kTransient, kPermanent };
ErrorCategory Category(ErrorCode code);
std::string_view Name(ErrorCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(ErrorCode code, std::string message)
      : state_(code == ErrorCode::kOk ? nullptr : new State{code, std::move(message)}) {}
  Status(const Status& other) : state_(other.state_ ? new State(*other.state_) : nullptr) {}
  Status& operator=(const Status& other) {
    if (this != &other) state_.reset(other.state_ ? new State(*other.state_) : nullptr);
    return *this;
  }
  Status(Status&&) noexcept = default;
  Status& operator=(Status&&) noexcept = default;

  static Status Ok() { return {}; }
  bool ok() const { return state_ == nullptr; }
  ErrorCode code() const { return state_ ? state_->code : ErrorCode::kOk; }
  const std::string& message() const;
  bool retriable() const { return !ok() && Category(code()) == ErrorCategory::kTransient; }
  // The same code with `context: ` before the message.
  Status WithContext(std::string_view context) const;
  std::string ToString() const;  // "COLLECTION_NOT_FOUND(100): message"

 private:
  struct State {
    ErrorCode code;
    std::string message;
  };
  std::unique_ptr<State> state_;
};

// A value or the reason why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit on purpose
  Result(Status status) : value_(std::in_place_index<1>, std::move(status)) {}  // NOLINT
  Result(ErrorCode code, std::string message) : value_(std::in_place_index<1>, Status(code, std::move(message))) {}

  bool ok() const { return value_.index() == 0; }
  Status status() const { return ok() ? Status() : std::get<1>(value_); }
  T& value() & { return std::get<0>(value_); }
  const T& value() const& { return std::get<0>(value_); }
  T&& value() && { return std::get<0>(std::move(value_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Status> value_;
};

#define SAKER_CONCAT_INNER(a, b) a##b
#define SAKER_CONCAT(a, b) SAKER_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expr)                            \
  do {                                                   \
    if (::saker::Status saker_status_ = (expr); !saker_status_.ok()) return saker_status_; \
  } while (false)

// ASSIGN_OR_RETURN(auto x, F()); assigns the value of a Result or returns its status.
#define ASSIGN_OR_RETURN(lhs, expr) ASSIGN_OR_RETURN_IMPL(SAKER_CONCAT(saker_result_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                          \
  if (!tmp.ok()) return tmp.status();         \
  lhs = std::move(tmp).value()

// A programmer's error: prints and aborts. Never for input.
[[noreturn]] void CheckFailed(std::string_view what, std::source_location where = std::source_location::current());
#define SAKER_CHECK(condition)                             \
  do {                                                     \
    if (!(condition)) [[unlikely]] ::saker::CheckFailed(#condition); \
  } while (false)

}  // namespace saker
