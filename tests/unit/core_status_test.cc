#include "kernels/core/status.h"

#include <gtest/gtest.h>

#include <memory>

#include "kernels/core/check.h"

namespace cohort {
namespace {

TEST(Status, IsOkUntilSaidOtherwise) {
  EXPECT_TRUE(Status().ok());
  EXPECT_TRUE(ok_status().ok());
  const Status status = invalid_argument("top_p: expected a number");
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "top_p: expected a number");
  EXPECT_EQ(not_found("x").code(), StatusCode::kNotFound);
  EXPECT_EQ(unimplemented("x").code(), StatusCode::kUnimplemented);
  EXPECT_EQ(data_loss("x").code(), StatusCode::kDataLoss);
  EXPECT_EQ(resource_exhausted("x").code(), StatusCode::kResourceExhausted);
}

TEST(Status, NamesOfCodes) {
  EXPECT_EQ(status_code_name(StatusCode::kOk), "OK");
  EXPECT_EQ(status_code_name(StatusCode::kInvalidArgument), "INVALID_ARGUMENT");
  EXPECT_EQ(status_code_name(StatusCode::kUnavailable), "UNAVAILABLE");
  EXPECT_EQ(status_code_name(StatusCode::kCancelled), "CANCELLED");
  EXPECT_EQ(status_code_name(StatusCode::kInternal), "INTERNAL");
}

TEST(Status, AnnotatePutsTheWhereBefore) {
  EXPECT_EQ(not_found("no such key").annotate("a.yaml").annotate("load").message(), "load: a.yaml: no such key");
  EXPECT_TRUE(ok_status().annotate("a.yaml").message().empty());
}

Result<std::unique_ptr<int>> make(int value) {
  if (value < 0) return invalid_argument("value: expected at least 0");
  return std::make_unique<int>(value);
}

TEST(Result, HoldsAValueOrAStatus) {
  Result<std::unique_ptr<int>> good = make(3);
  ASSERT_TRUE(good.ok());
  EXPECT_TRUE(good.status().ok());
  EXPECT_EQ(**good, 3);
  EXPECT_EQ(*good->get(), 3);
  const std::unique_ptr<int> moved = *std::move(good);
  EXPECT_EQ(*moved, 3);
  const Result<std::unique_ptr<int>> bad = make(-1);
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.status().code(), StatusCode::kInvalidArgument);
}

Status check_positive(int value, int& num_evaluations) {
  ++num_evaluations;
  return value > 0 ? ok_status() : invalid_argument("value");
}

Result<int> add(int a, int b, int& num_evaluations) {
  COHORT_RETURN_IF_ERROR(check_positive(a, num_evaluations));
  if (b > 0) COHORT_RETURN_IF_ERROR(check_positive(b, num_evaluations));
  COHORT_ASSIGN_OR_RETURN(const std::unique_ptr<int> x, make(a));
  COHORT_ASSIGN_OR_RETURN(const std::unique_ptr<int> y, make(b));
  return *x + *y;
}

TEST(Result, MacrosReturnTheFirstError) {
  int num_evaluations = 0;
  EXPECT_EQ(*add(1, 2, num_evaluations), 3);
  EXPECT_EQ(num_evaluations, 2);
  EXPECT_EQ(add(0, 2, num_evaluations).status().message(), "value");
  EXPECT_EQ(num_evaluations, 3);
  EXPECT_EQ(add(1, -2, num_evaluations).status().message(), "value: expected at least 0");
}

TEST(Check, ThrowsWithPlaceExpressionAndMessage) {
  bool was_built = false;
  const auto message = [&] {
    was_built = true;
    return std::string("two is not three");
  };
  COHORT_CHECK(2 == 2, message());
  EXPECT_FALSE(was_built);
  try {
    COHORT_CHECK(2 == 3, message());
    FAIL() << "did not throw";
  } catch (const CheckError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("core_status_test.cc:"), std::string::npos) << text;
    EXPECT_NE(text.find("check failed: 2 == 3: two is not three"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace cohort
