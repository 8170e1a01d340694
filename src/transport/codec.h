// From values to frames and back: a type's fields are said once (Fields, in messages.h and model/fields.h) for both
// directions. A struct is a sized value; a list is a u32 count and its items; optional: a bool, then the value.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "model/fields.h"
#include "query/search.h"
#include "transport/frame.h"

namespace saker {

class PlanReader;

namespace codec_internal {

template <typename T>
inline constexpr bool kIsId = false;
template <typename Tag>
inline constexpr bool kIsId<Id<Tag>> = true;
// Lists of these travel as their memory.
template <typename T>
inline constexpr bool kIsFlat = (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) || kIsId<T>;
// How few bytes a value may take.
template <typename T>
constexpr size_t LeastBytes() {
  if constexpr (kIsFlat<T> || std::is_enum_v<T> || std::is_same_v<T, bool>) return sizeof(T);
  if constexpr (std::is_same_v<T, Value>) return 1;
  return sizeof(uint32_t);
}

}  // namespace codec_internal

class WireWriter {
 public:
  explicit WireWriter(FrameWriter& out) : out_(out) {}
  FrameWriter& out() { return out_; }

  template <typename T>
  void operator()(const T& value) {
    if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
      out_.Put(value);
    } else {
      Put(value);
    }
  }

 private:
  void Put(const std::string& value) { out_.PutBytes(value); }
  void Put(const Value& value);
  void Put(const Status& status);
  void Put(const Column& column);
  void Put(const RowBatch& batch);
  void Put(const PrimaryKeys& keys);
  void Put(const std::shared_ptr<const SearchPlan>& plan);
  void Put(const std::shared_ptr<const QueryPlan>& plan);
  template <typename Tag>
  void Put(const Id<Tag>& id) {
    out_.Put(id.value);
  }
  template <typename A, typename B>
  void Put(const std::pair<A, B>& pair) {
    (*this)(pair.first);
    (*this)(pair.second);
  }
  template <typename T>
  void Put(const std::optional<T>& value) {
    (*this)(value.has_value());
    if (value) (*this)(*value);
  }
  template <typename T>
  void Put(const Result<T>& result) {
    (*this)(result.status());
    if (result.ok()) (*this)(*result);
  }
  template <typename T>
  void Put(const std::vector<T>& list) {
    out_.Put<uint32_t>(static_cast<uint32_t>(list.size()));
    if constexpr (codec_internal::kIsFlat<T>) {
      out_.Large({reinterpret_cast<const char*>(list.data()), list.size() * sizeof(T)});
    } else {
      for (const T& item : list) (*this)(item);
    }
  }
  template <typename T>
  void Put(const std::set<T>& items) {
    out_.Put<uint32_t>(static_cast<uint32_t>(items.size()));
    for (const T& item : items) (*this)(item);
  }
  template <typename K, typename V>
  void Put(const std::map<K, V>& items) {
    out_.Put<uint32_t>(static_cast<uint32_t>(items.size()));
    for (const auto& item : items) (*this)(item);
  }
  template <typename T>
    requires requires(WireWriter& codec, const T& value) { Fields(codec, value); }
  void Put(const T& value) {
    const FrameWriter::Mark mark = out_.Begin();
    Fields(*this, value);
    out_.End(mark);
  }

  FrameWriter& out_;
};

class WireReader {
 public:
  // `plans` makes the plans, with this deadline; null where no message has one.
  explicit WireReader(FrameReader& in, PlanReader* plans = nullptr, int64_t deadline_us = kNoDeadlineUs)
      : in_(in), plans_(plans), deadline_us_(deadline_us) {}
  FrameReader& in() { return in_; }
  int64_t deadline_us() const { return deadline_us_; }
  bool ok() const { return in_.ok(); }
  Status status() const { return in_.status(); }

  template <typename T>
  void operator()(T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      const auto byte = in_.Get<uint8_t>();
      if (byte > 1) in_.Fail("a truth value is neither 0 nor 1");
      value = byte == 1;
    } else if constexpr (std::is_arithmetic_v<T>) {
      value = in_.Get<T>();
    } else if constexpr (std::is_enum_v<T>) {
      value = in_.Get<T>();
      CheckKnown(value);
    } else {
      Take(value);
    }
  }

 private:
  void CheckKnown(DataType type);
  void CheckKnown(Metric metric);
  void CheckKnown(ConsistencyLevel level);
  void CheckKnown(SegmentState state);
  void CheckKnown(SegmentKind kind);
  void CheckKnown(ErrorCode) {}  // a newer version's code is passed on
  void Take(std::string& value) {
    value.clear();
    in_.AppendTo(value, in_.Get<uint32_t>());
  }
  void Take(Value& value);
  void Take(Status& status);
  void Take(Column& column);
  void Take(RowBatch& batch);
  void Take(PrimaryKeys& keys);
  void Take(CollectionSchema& schema);
  void Take(FieldSchema& field);
  void Take(std::shared_ptr<const SearchPlan>& plan);
  void Take(std::shared_ptr<const QueryPlan>& plan);
  template <typename Tag>
  void Take(Id<Tag>& id) {
    id.value = in_.Get<int64_t>();
  }
  template <typename A, typename B>
  void Take(std::pair<A, B>& pair) {
    (*this)(pair.first);
    (*this)(pair.second);
  }
  template <typename T>
  void Take(std::optional<T>& value) {
    bool there = false;
    (*this)(there);
    value.reset();
    if (there) (*this)(value.emplace());
  }
  template <typename T>
  void Take(Result<T>& result) {
    Status status;
    (*this)(status);
    if (!status.ok()) {
      result = Result<T>(std::move(status));
      return;
    }
    T value{};
    (*this)(value);
    result = Result<T>(std::move(value));
  }
  template <typename T>
  void Take(std::vector<T>& list) {
    list.clear();
    const uint32_t count = in_.Count(codec_internal::LeastBytes<T>(), sizeof(T));
    if constexpr (codec_internal::kIsFlat<T>) {
      in_.GetArray(list, count);
    } else {
      list.reserve(count);
      for (uint32_t i = 0; i < count && More(); ++i) (*this)(list.emplace_back());
    }
  }
  template <typename T>
  void Take(std::set<T>& items) {
    items.clear();
    const uint32_t count = in_.Count(codec_internal::LeastBytes<T>(), kNodeBytes + sizeof(T));
    for (uint32_t i = 0; i < count && More(); ++i) {
      T item{};
      (*this)(item);
      items.insert(std::move(item));
    }
  }
  template <typename K, typename V>
  void Take(std::map<K, V>& items) {
    items.clear();
    const uint32_t count = in_.Count(codec_internal::LeastBytes<K>(), kNodeBytes + sizeof(std::pair<K, V>));
    for (uint32_t i = 0; i < count && More(); ++i) {
      std::pair<K, V> item{};
      (*this)(item);
      items.insert(std::move(item));
    }
  }
  template <typename T>
    requires requires(WireReader& codec, T& value) { Fields(codec, value); }
  void Take(T& value) {
    const size_t outer = in_.Enter();
    Fields(*this, value);
    in_.Leave(outer);
  }
  // Of a list's items none may be missing.
  bool More() {
    if (in_.ok() && in_.remaining() == 0) in_.Fail("a list has fewer items than it says");
    return in_.ok();
  }

  static constexpr size_t kNodeBytes = 48;
  FrameReader& in_;
  PlanReader* const plans_;
  const int64_t deadline_us_;
};

}  // namespace saker
