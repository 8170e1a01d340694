#include "datanode/pins.h"

#include <gtest/gtest.h>

namespace saker {
namespace {

constexpr CollectionId kBooks(1), kFilms(2);

TEST(Pins, TheOldestHoldsUntilItIsNotUsedForLong) {
  Pins pins;
  EXPECT_EQ(pins.Oldest(kBooks, 0), kMaxTimestamp);
  pins.Hold(kBooks, MakeTimestamp(10'000), 0);
  pins.Hold(kBooks, MakeTimestamp(20'000), 0);
  EXPECT_EQ(pins.Oldest(kBooks, 0), MakeTimestamp(10'000));
  EXPECT_EQ(pins.Oldest(kFilms, 0), kMaxTimestamp);
  pins.Hold(kBooks, MakeTimestamp(10'000), Pins::kLifetimeUs);
  EXPECT_EQ(pins.Oldest(kBooks, Pins::kLifetimeUs + 1), MakeTimestamp(10'000));
  EXPECT_EQ(pins.Oldest(kBooks, 2 * Pins::kLifetimeUs + 1), kMaxTimestamp);
}

TEST(Pins, IsNeverLaterThanWhatWasAskedFor) {
  Pins pins;
  pins.Hold(kBooks, MakeTimestamp(10'999, 7), 0);
  EXPECT_EQ(pins.Oldest(kBooks, 0), MakeTimestamp(10'000));
}

}  // namespace
}  // namespace saker
