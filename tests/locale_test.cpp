// A program may set a global locale for its users. What Tenon writes is the same in every locale.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <locale>
#include <sstream>

#include "base/text.h"
#include "tenon/tenon.h"

namespace tenon {
namespace {

/// Numbers as "1.234,5".
class Grouped : public std::numpunct<char> {
    char do_decimal_point() const override { return ','; }
    char do_thousands_sep() const override { return '.'; }
    std::string do_grouping() const override { return "\3"; }
};

class WithGrouped {
  public:
    WithGrouped() : before_(std::locale::global(std::locale(std::locale::classic(), new Grouped))) {}
    WithGrouped(const WithGrouped&) = delete;
    WithGrouped& operator=(const WithGrouped&) = delete;
    ~WithGrouped() { std::locale::global(before_); }

  private:
    std::locale before_;
};

/// What f gives in the classic locale and in the other one.
template <class F>
void expect_same(F&& f) {
    const std::string classic = f();
    const WithGrouped grouped;
    EXPECT_EQ(f(), classic);
}

TEST(Locale, IsTheOther) {
    const WithGrouped grouped;
    std::ostringstream out;
    out << 1234.5;
    EXPECT_EQ(out.str(), "1.234,5");
}

TEST(Locale, TextsAreTheSame) {
    EXPECT_EQ(text(1234567, " ", 0.5), "1234567 0.5");
    expect_same([] { return text(1234567, " ", 0.5); });
    expect_same([] {
        try {
            matmul(zeros({1200, 1300}), zeros({1400, 2}));
        } catch (const ShapeError& e) {
            return std::string(e.what());
        }
        return std::string();
    });
    expect_same([] { return explain(matmul(full({1200, 1300}, 0.5), full({1300, 1400}, 0.5)) + 1); });
}

TEST(Locale, TensorsPrintTheSame) {
    for (const DType t : {DType::float64, DType::float32, DType::bfloat16, DType::float16, DType::int64})
        expect_same([&] {
            std::ostringstream out;
            out.imbue(std::locale::classic());
            out << astype(Tensor::from<double>({1234.5, -0.125, 1e4}, {3}), t) << arange(1e5, 1e5 + 3);
            return out.str();
        });
}

TEST(Locale, FilesAreTheSame) {
    const std::filesystem::path path =
        std::filesystem::temp_directory_path() / ("tenon-locale-" + std::to_string(getpid()) + ".safetensors");
    expect_same([&] {
        save(path.string(), {Tree({{"x", arange(1200)}, {"y", full({1100, 3}, 0.25)}}), {{"step", "1"}}});
        std::ifstream file(path, std::ios::binary);
        return std::string{std::istreambuf_iterator<char>(file), {}};
    });
    const WithGrouped grouped;
    EXPECT_EQ(load(path.string()).tensors["y"].tensor().shape(), (Shape{1100, 3}));
    std::filesystem::remove(path);
}

}  // namespace
}  // namespace tenon
