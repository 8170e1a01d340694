// The contract of ScalarIndex, for each kind and type against brute force, built and opened from its file; and damage.
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "scalar/number_order.h"
#include "scalar/postings.h"
#include "scalar/scalar_index.h"

namespace saker {
namespace {

using ::testing::Eq;

struct Kind {
  const char* index;
  DataType type;
  DataType element = DataType::kNone;
};

std::string NameOf(const ::testing::TestParamInfo<Kind>& info) {
  return std::string(info.param.index) + "_" + std::string(Name(info.param.type)) +
         (info.param.element == DataType::kNone ? "" : std::string(Name(info.param.element)));
}

// -1, 0, 1, or 2 for "not comparable".
int Order(const Value& a, const Value& b) {
  const auto number = [](const Value& v) -> std::optional<long double> {
    if (const auto* flag = std::get_if<bool>(&v)) return *flag;
    if (const auto* whole = std::get_if<int64_t>(&v)) return *whole;
    if (const auto* floating = std::get_if<double>(&v)) return *floating;
    return std::nullopt;
  };
  if (std::holds_alternative<std::string>(a) && std::holds_alternative<std::string>(b)) {
    const int order = std::get<std::string>(a).compare(std::get<std::string>(b));
    return order < 0 ? -1 : order > 0;
  }
  const auto x = number(a), y = number(b);
  if (!x.has_value() || !y.has_value() || std::isnan(*x) || std::isnan(*y)) return 2;
  return *x < *y ? -1 : *x > *y;
}

class ScalarIndexContract : public ::testing::TestWithParam<Kind> {
 protected:
  DataType value_type() const { return GetParam().element == DataType::kNone ? GetParam().type : GetParam().element; }

  Value RandomValue() {
    switch (value_type()) {
      case DataType::kBool: return random_() % 2 == 0;
      case DataType::kInt8: return static_cast<int64_t>(static_cast<int8_t>(random_()));
      case DataType::kInt64: {
        const int64_t near = static_cast<int64_t>(random_() % 50) - 25;
        switch (random_() % 4) {
          case 0: return std::numeric_limits<int64_t>::max() - (near & 3);
          case 1: return (int64_t{1} << 53) + near;
          default: return near;
        }
      }
      case DataType::kFloat: return double{static_cast<float>(static_cast<int>(random_() % 60) - 30) / 10};
      case DataType::kDouble: {
        if (random_() % 20 == 0) return std::numeric_limits<double>::quiet_NaN();
        if (random_() % 20 == 0) return random_() % 2 == 0 ? -0.0 : std::numeric_limits<double>::infinity();
        return (static_cast<double>(random_() % 60) - 30) / 4;
      }
      default: {
        std::string out;
        for (size_t n = random_() % 5; n > 0; --n) out += "ab\xC3\xA9z"[random_() % 5];
        return out;
      }
    }
  }

  // 500 rows, a tenth of them null.
  void Fill() {
    column_ = Column(GetParam().type, 0, GetParam().element);
    for (int i = 0; i < 500; ++i) {
      std::vector<Value> values;
      if (random_() % 10 == 0) {
        column_.AppendNull();
        values_.push_back({});
        is_null_.push_back(true);
        continue;
      }
      for (size_t n = GetParam().type == DataType::kArray ? random_() % 4 : 1; n > 0; --n) values.push_back(RandomValue());
      if (GetParam().type == DataType::kArray) {
        column_.AppendBytes(EncodeArray(GetParam().element, values));
      } else {
        column_.AppendValue(values[0]);
      }
      values_.push_back(values);
      is_null_.push_back(false);
    }
  }

  Bitmap Expected(const std::function<bool(const Value&)>& test) const {
    Bitmap out(static_cast<int64_t>(values_.size()));
    for (size_t row = 0; row < values_.size(); ++row) {
      if (std::any_of(values_[row].begin(), values_[row].end(), test)) out.Set(static_cast<int64_t>(row));
    }
    return out;
  }

  void Check(const ScalarIndex& index) {
    ASSERT_EQ(index.rows(), 500);
    EXPECT_GT(index.memory_bytes(), 0);
    Bitmap known(500);
    index.NotNull(known);
    for (int64_t row = 0; row < 500; ++row) EXPECT_EQ(known.Test(row), !is_null_[static_cast<size_t>(row)]);
    for (int i = 0; i < 200; ++i) {
      CheckIn(index);
      CheckRange(index);
      if (index.HasPrefix()) CheckPrefix(index);
    }
  }
  static void ExpectSame(const Bitmap& actual, const Bitmap& expected) {
    for (int64_t w = 0; w < expected.word_count(); ++w) ASSERT_EQ(actual.words()[w], expected.words()[w]) << "word " << w;
  }
  void CheckIn(const ScalarIndex& index) {
    std::vector<Value> wanted;
    for (size_t n = random_() % 4; n > 0; --n) wanted.push_back(RandomValue());
    if (random_() % 4 == 0) wanted.emplace_back(0.5);
    if (random_() % 4 == 0) wanted.emplace_back(int64_t{1});
    if (random_() % 8 == 0) wanted.emplace_back(std::string("a"));
    if (random_() % 8 == 0) wanted.emplace_back();
    Bitmap actual(500);
    index.In(wanted, actual);
    ExpectSame(actual, Expected([&](const Value& value) {
                 return std::any_of(wanted.begin(), wanted.end(), [&](const Value& w) { return Order(value, w) == 0; });
               }));
  }
  void CheckRange(const ScalarIndex& index) {
    const Value low = RandomValue(), high = RandomValue();
    ValueRange range;
    if (random_() % 4 != 0) range.low = &low;
    if (random_() % 4 != 0) range.high = &high;
    range.low_inclusive = random_() % 2 == 0;
    range.high_inclusive = random_() % 2 == 0;
    Bitmap actual(500);
    index.Range(range, actual);
    ExpectSame(actual, Expected([&](const Value& value) {
                 const int a = range.low == nullptr ? 1 : Order(value, low);
                 const int b = range.high == nullptr ? -1 : Order(value, high);
                 if (a == 2 || b == 2 || Order(value, value) == 2) return false;
                 return (a > 0 || (a == 0 && range.low_inclusive)) && (b < 0 || (b == 0 && range.high_inclusive));
               }));
  }
  void CheckPrefix(const ScalarIndex& index) {
    const std::string prefix = std::get<std::string>(RandomValue());
    Bitmap actual(500);
    index.Prefix(prefix, actual);
    ExpectSame(actual, Expected([&](const Value& value) { return std::get<std::string>(value).starts_with(prefix); }));
  }

  std::string Saved(const ScalarIndex& index) {
    std::string file;
    EXPECT_TRUE(index.Save([&](std::string_view bytes) {
                       file.append(bytes);
                       return Status::Ok();
                     }).ok());
    return file;
  }

  std::mt19937 random_{7};
  Column column_;
  std::vector<std::vector<Value>> values_;
  std::vector<bool> is_null_;
};

TEST_P(ScalarIndexContract, AgreesWithBruteForce) {
  Fill();
  auto index = BuildScalarIndex(GetParam().index, column_.View());
  ASSERT_TRUE(index.ok()) << index.status().message();
  EXPECT_EQ((*index)->type(), GetParam().index);
  Check(**index);
}

TEST_P(ScalarIndexContract, IsTheSameFromItsFile) {
  Fill();
  auto index = BuildScalarIndex(GetParam().index, column_.View());
  ASSERT_TRUE(index.ok());
  const std::string file = Saved(**index);
  auto opened = OpenScalarIndex(file);
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  Check(**opened);
  EXPECT_EQ(Saved(**opened), file);
  // A file need not lie at an aligned address.
  const std::string shifted = "x" + file;
  auto unaligned = OpenScalarIndex(std::string_view(shifted).substr(1));
  ASSERT_TRUE(unaligned.ok());
  Check(**unaligned);
}

TEST_P(ScalarIndexContract, EveryDamageIsFound) {
  Fill();
  const std::string file = Saved(**BuildScalarIndex(GetParam().index, column_.View()));
  for (size_t at = 0; at < file.size(); at += 1 + at / 64) {
    std::string damaged = file;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << (at % 8)));
    EXPECT_EQ(OpenScalarIndex(damaged).status().code(), ErrorCode::kCorrupted) << at;
    EXPECT_EQ(OpenScalarIndex(std::string_view(file).substr(0, at)).status().code(), ErrorCode::kCorrupted) << at;
  }
  EXPECT_EQ(OpenScalarIndex(file + "x").status().code(), ErrorCode::kCorrupted);
}

// With checksums that fit, what is opened must still be safe to use.
TEST_P(ScalarIndexContract, SealedNonsenseIsHarmless) {
  Fill();
  const std::string file = Saved(**BuildScalarIndex(GetParam().index, column_.View()));
  int opened = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string damaged = file;
    for (size_t n = 1 + random_() % 3; n > 0; --n) damaged[random_() % (i % 2 == 0 ? 96 : damaged.size())] ^= 1 << (random_() % 8);
    TEST_SealPostings(damaged);
    auto index = OpenScalarIndex(damaged);
    if (!index.ok()) {
      EXPECT_EQ(index.status().code(), ErrorCode::kCorrupted);
      continue;
    }
    ++opened;
    Bitmap rows((*index)->rows());
    const Value value = RandomValue();
    (*index)->In({&value, 1}, rows);
    (*index)->Range({}, rows);
    (*index)->Prefix("a", rows);
    (*index)->NotNull(rows);
  }
  EXPECT_GT(opened, 0);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, ScalarIndexContract,
    ::testing::Values(Kind{"STL_SORT", DataType::kInt8}, Kind{"STL_SORT", DataType::kInt64},
                      Kind{"STL_SORT", DataType::kFloat}, Kind{"STL_SORT", DataType::kDouble},
                      Kind{"Trie", DataType::kVarChar}, Kind{"INVERTED", DataType::kBool},
                      Kind{"INVERTED", DataType::kInt64}, Kind{"INVERTED", DataType::kDouble},
                      Kind{"INVERTED", DataType::kVarChar}, Kind{"INVERTED", DataType::kArray, DataType::kInt64},
                      Kind{"INVERTED", DataType::kArray, DataType::kVarChar},
                      Kind{"INVERTED", DataType::kArray, DataType::kBool},
                      Kind{"INVERTED", DataType::kArray, DataType::kDouble}),
    NameOf);

TEST(ScalarIndex, OfNoRowsAndOfNullsOnly) {
  for (const int nulls : {0, 70}) {
    Column column(DataType::kVarChar, 0);
    for (int i = 0; i < nulls; ++i) column.AppendNull();
    auto index = BuildScalarIndex("", column.View());
    ASSERT_TRUE(index.ok());
    EXPECT_EQ((*index)->rows(), nulls);
    Bitmap rows(nulls);
    (*index)->Range({}, rows);
    (*index)->Prefix("", rows);
    (*index)->NotNull(rows);
    EXPECT_EQ(rows.Count(), 0);
  }
}

TEST(ScalarIndex, AFloatIsFoundByItsDecimals) {
  Column column(DataType::kFloat, 0);
  for (const float value : {0.1f, 0.2f, 16777216.0f}) column.Append(value);
  auto index = BuildScalarIndex("STL_SORT", column.View());
  const std::vector<Value> wanted = {0.1, int64_t{16777217}};
  Bitmap rows(3);
  (*index)->In(wanted, rows);
  EXPECT_TRUE(rows.Test(0) && !rows.Test(1) && rows.Test(2));
}

TEST(ScalarIndex, KindsThatDoNotFitAreRefused) {
  FieldSchema field;
  field.type = DataType::kVarChar;
  EXPECT_THAT(CheckScalarIndexParams("STL_SORT", field, {}).message(), Eq("index type not match: invalid parameter[expected=Trie][actual=STL_SORT]"));
  EXPECT_EQ(CheckScalarIndexParams("FOO", field, {}).code(), ErrorCode::kParameterInvalid);
  EXPECT_TRUE(CheckScalarIndexParams("", field, {}).ok());
  EXPECT_TRUE(CheckScalarIndexParams("Trie", field, {}).ok());
  field.type = DataType::kInt64;
  EXPECT_FALSE(CheckScalarIndexParams("Trie", field, {}).ok());
  EXPECT_TRUE(CheckScalarIndexParams("STL_SORT", field, {}).ok());
  EXPECT_TRUE(CheckScalarIndexParams("AUTOINDEX", field, {}).ok());
  field.type = DataType::kJson;
  EXPECT_THAT(CheckScalarIndexParams("INVERTED", field, {}).message(),
              Eq("create index on JSON field is not supported: invalid parameter[expected=supported field]"
                 "[actual=create index on JSON field]"));
  EXPECT_FALSE(CheckScalarIndexParams("", field, {}).ok());
  field.type = DataType::kBool;
  EXPECT_TRUE(CheckScalarIndexParams("", field, {}).ok());
  EXPECT_FALSE(BuildScalarIndex("Trie", Column(DataType::kInt64, 0).View()).ok());
}

TEST(NumberOrder, IntegersAndDoublesCompareExactly) {
  const int64_t big = (int64_t{1} << 53) + 1;
  EXPECT_TRUE(CompareNumbers(big, 9007199254740992.0) > 0);
  EXPECT_TRUE(CompareNumbers(big - 1, 9007199254740992.0) == 0);
  EXPECT_TRUE(CompareNumbers(std::numeric_limits<int64_t>::max(), 9223372036854775808.0) < 0);
  EXPECT_TRUE(CompareNumbers(std::numeric_limits<int64_t>::min(), -9223372036854775808.0) == 0);
  EXPECT_TRUE(CompareNumbers(int64_t{-2}, -1.5) < 0);
  EXPECT_TRUE(CompareNumbers(int64_t{-1}, -1.5) > 0);
  EXPECT_TRUE(CompareNumbers(1.5, int64_t{1}) > 0);
  EXPECT_TRUE(CompareNumbers(int64_t{0}, std::nan("")) == std::partial_ordering::unordered);
}

}  // namespace
}  // namespace saker
