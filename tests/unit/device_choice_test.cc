// Which device each rank takes, however a launcher shows them devices.
#include "launcher/bootstrap/device_choice.h"

#include <gtest/gtest.h>

namespace cohort {
namespace {

using Ids = std::vector<std::string>;

TEST(DeviceChoice, RanksThatSeeAllDevicesOfTheirHostTakeThemInOrder) {
  const Ids host0 = {"a", "b", "c", "d"};
  const Ids host1 = {"e", "f", "g", "h"};
  EXPECT_EQ(choose_devices({host0, host0, host1, host1}), (std::vector<int>{0, 1, 0, 1}));
  EXPECT_EQ(choose_devices({host0, host1, host0, host1}), (std::vector<int>{0, 0, 1, 1}));
}

TEST(DeviceChoice, ARankThatSeesItsOwnDeviceTakesIt) {
  EXPECT_EQ(choose_devices({{"a"}, {"b"}, {"c"}}), (std::vector<int>{0, 0, 0}));
  EXPECT_EQ(choose_devices({{"a", "b"}, {"c", "d"}}), (std::vector<int>{0, 0}));
}

TEST(DeviceChoice, OrdinalsAreOfWhatARankSees) {
  EXPECT_EQ(choose_devices({{"a", "b"}, {"b", "a"}}), (std::vector<int>{0, 0}));
  EXPECT_EQ(choose_devices({{"a", "b"}, {"a", "c"}}), (std::vector<int>{0, 1}));
}

TEST(DeviceChoice, NoDeviceServesTwoRanks) {
  EXPECT_EQ(choose_devices({{"a"}, {"a"}}), (std::vector<int>{0, -1}));
  EXPECT_EQ(choose_devices({{"a", "b"}, {"a", "b"}, {"a", "b"}}), (std::vector<int>{0, 1, -1}));
}

TEST(DeviceChoice, ARankWithoutDevices) {
  EXPECT_EQ(choose_devices({{}, {"a"}, {}}), (std::vector<int>{-1, 0, -1}));
  EXPECT_EQ(choose_devices({}), std::vector<int>());
}

}  // namespace
}  // namespace cohort
