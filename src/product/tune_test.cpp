// Tuning: what is saved is read again, and no content of the file can do harm.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "product/dense/tuning.h"
#include "product/matrices.h"
#include "product/product_testing.h"
#include "tenon/error.h"
#include "tenon/threads.h"

namespace tenon::product {
namespace {

namespace fs = std::filesystem;

class Tuning : public ::testing::Test {
  protected:
    void SetUp() override {
        directory_ = fs::temp_directory_path() / ("tenon-tuning-" + std::to_string(getpid()));
        fs::create_directories(directory_);
        path_ = (directory_ / "deeper" / "tuning.json").string();
        setenv("TENON_TUNING", path_.c_str(), 1);
        dense::forget_tuning();
    }
    void TearDown() override {
        unsetenv("TENON_TUNING");
        dense::forget_tuning();
        fs::remove_all(directory_);
    }
    void write(const std::string& content) {
        fs::create_directories(fs::path(path_).parent_path());
        std::ofstream(path_, std::ios::binary) << content;
        dense::forget_tuning();
    }
    std::string content() const {
        std::ifstream file(path_, std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }

    static constexpr std::int64_t kM = 3, kN = 600, kK = 700;
    std::vector<float> a_ = std::vector<float>(kM * kK, 1.5f), b_ = std::vector<float>(kK * kN, 0.25f),
                       c_ = std::vector<float>(kM * kN);
    Matrix a() const { return row_major(a_.data(), DType::float32, kM, kK); }
    Matrix b() const { return row_major(b_.data(), DType::float32, kK, kN); }
    Matrix c() { return row_major(c_.data(), DType::float32, kM, kN); }
    dense::Choice kept() {
        dense::Choice choice;
        dense::find_tuned(
            dense::lower(roles_of(a(), b(), c(), 1), elements_of(a()), elements_of(b()), elements_of(c()), 0), false,
            choice);
        return choice;
    }

    fs::path directory_;
    std::string path_;
};

TEST_F(Tuning, TheBestIsTakenKeptAndReadAgain) {
    EXPECT_EQ(kept(), dense::Choice{});
    const std::vector<Timing> timings = tune(a(), b(), c());
    ASSERT_GT(timings.size(), 2u);
    int best = 0;
    for (const Timing& t : timings) {
        EXPECT_GT(t.warm, 0) << t.way;
        EXPECT_GT(t.cold, 0) << t.way;
        best += t.best;
    }
    EXPECT_EQ(best, 1);
    const dense::Choice choice = kept();
    EXPECT_GE(choice.way, 0);
    EXPECT_FALSE(fs::exists(path_));
    EXPECT_EQ(save_tuning(), path_);
    dense::forget_tuning();
    EXPECT_EQ(kept(), choice);
}

TEST_F(Tuning, ATunedProductHasTheSameBits) {
    for (std::size_t i = 0; i < a_.size(); ++i) a_[i] = static_cast<float>(i % 97) * 0.37f - 11;
    for (std::size_t i = 0; i < b_.size(); ++i) b_[i] = static_cast<float>(i % 89) * 0.21f - 9;
    gemm(a(), b(), c());
    const std::vector<float> untuned = c_;
    (void)tune(a(), b(), c());
    gemm(a(), b(), c());
    EXPECT_EQ(c_, untuned);
}

TEST_F(Tuning, FilesThatAreNoneOfOursPlayNoPartAndAreLeftAlone) {
    for (const char* bad : {"", "{", "[]", "null", "{\"format\": 7}", "{\"format\": \"tenon tuning 2\"}",
                            "{\"format\": \"tenon tuning 2\", \"machines\": []}", "\xff\xfe binary \x00"}) {
        write(bad);
        ::testing::internal::CaptureStderr();
        EXPECT_EQ(kept(), dense::Choice{}) << bad;
        EXPECT_EQ(kept(), dense::Choice{}) << bad;
        const std::string said = ::testing::internal::GetCapturedStderr();
        EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << bad << ": " << said;
        EXPECT_NE(said.find(path_), std::string::npos) << said;
        EXPECT_EQ(said.find("json.exception"), std::string::npos) << said;
        try {
            save_tuning();
            ADD_FAILURE() << bad;
        } catch (const FileError& e) {
            EXPECT_EQ(std::string_view(e.what()).find("json.exception"), std::string_view::npos) << e.what();
        }
        EXPECT_EQ(content(), bad);
    }
}

TEST_F(Tuning, ADirectoryIsNoFile) {
    fs::create_directories(path_);
    dense::forget_tuning();
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(kept(), dense::Choice{});
    const std::string said = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find("(Is a directory)"), std::string::npos) << said;
    EXPECT_EQ(said.find("filesystem"), std::string::npos) << said;
}

TEST_F(Tuning, RecordsOutOfRangeAreRefused) {
    (void)tune(a(), b(), c());
    (void)save_tuning();
    const std::string good = content();
    for (const auto& [field, bad] :
         {std::pair{"\"row\": ", "99"}, std::pair{"\"row\": ", "-2"}, std::pair{"\"row\": ", "1.5"},
          std::pair{"\"chunk_bytes\": ", "-1"}, std::pair{"\"tasks\": ", "\"x\""}, std::pair{"\"a\": ", "77"},
          std::pair{"\"m\": ", "0"}}) {
        std::string changed = good;
        const std::size_t at = changed.find(field) + std::string_view(field).size();
        changed.replace(at, changed.find_first_of(",\n}", at) - at, bad);
        write(changed);
        ::testing::internal::CaptureStderr();
        EXPECT_EQ(kept(), dense::Choice{}) << field << bad;
        const std::string said = ::testing::internal::GetCapturedStderr();
        EXPECT_NE(said.find("plays no part"), std::string::npos) << said;
        const std::string name(field + 1, std::string_view(field).find('"', 1) - 1);
        EXPECT_NE(said.find(name + " is out of range"), std::string::npos) << said;
    }
}

TEST_F(Tuning, OtherMachinesRecordsStay) {
    write("{\"format\": \"tenon tuning 2\", \"machines\": {\"another\": [1, 2, 3]}}");
    EXPECT_EQ(kept(), dense::Choice{});
    (void)tune(a(), b(), c());
    (void)save_tuning();
    EXPECT_NE(content().find("another"), std::string::npos);
}

TEST_F(Tuning, RecordsOfACpuOfTheSameNameWithOtherCachesPlayNoPart) {
    (void)tune(a(), b(), c());
    (void)save_tuning();
    std::string changed = content();
    const std::string caches = " KiB, ";
    for (std::size_t at = 0; (at = changed.find(caches, at)) != std::string::npos; at += 2 + caches.size())
        changed.insert(at, "77");
    EXPECT_NE(changed, content());
    write(changed);
    EXPECT_EQ(kept(), dense::Choice{});
}

TEST_F(Tuning, WhatAnotherProcessKeptMeanwhileStays) {
    set_num_threads(1);
    (void)tune(a(), b(), c());
    (void)save_tuning();
    const std::string theirs = content();
    fs::remove(path_);
    dense::forget_tuning();
    EXPECT_EQ(kept(), dense::Choice{});  // read before they wrote
    std::ofstream(path_, std::ios::binary) << theirs;
    set_num_threads(2);
    (void)tune(a(), b(), c());
    (void)save_tuning();
    dense::forget_tuning();
    EXPECT_NE(kept(), dense::Choice{});
    set_num_threads(1);
    EXPECT_NE(kept(), dense::Choice{});
    set_num_threads(0);
}

TEST_F(Tuning, AnEmptyPathKeepsNothingAndSaysSo) {
    setenv("TENON_TUNING", "", 1);
    try {
        save_tuning();
        ADD_FAILURE();
    } catch (const FileError& e) {
        EXPECT_EQ(std::string_view(e.what()), "tuning: TENON_TUNING is empty: nothing is kept");
    }
}

TEST_F(Tuning, BetaIsZero) { EXPECT_THROW((void)tune(a(), b(), c(), {.beta = 1}), ValueError); }

}  // namespace
}  // namespace tenon::product
