// Objects of a thread may record and compute in their destructors, which run after those of the library's own.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "tenon/functions.h"
#include "tenon/random.h"

namespace tenon {
namespace {

Tensor values(std::int64_t rows) { return random::normal(random::Key(3), {rows, 200}).eval(); }

/// Of every kind of working memory.
Tensor computed(const Tensor& x) { return sum(tanh(matmul(x, matrix_transpose(x)) / 200), 0).eval(); }

std::vector<Tensor> kept;

struct Late {
    ~Late() {
        kept.push_back(computed(values(10)));  // in what is there
        kept.push_back(computed(values(700)));  // in more
        for (int i = 0; i < 200; ++i) kept.push_back(Tensor(i) + 1);
    }
    void touch() {}
};

thread_local Late late;

TEST(ThreadExit, DestructorsThatRunLaterMayCompute) {
    kept.clear();
    std::thread([] {
        late.touch();  // before the library's own
        computed(values(30));
    }).join();
    std::vector<Tensor> others;  // would have the same nodes, were they given back and used
    for (int i = 0; i < 400; ++i) others.push_back(Tensor(i) * 3);
    ASSERT_EQ(kept.size(), 202u);
    EXPECT_EQ(kept[0].to<float>(), computed(values(10)).to<float>());
    EXPECT_EQ(kept[1].to<float>(), computed(values(700)).to<float>());
    for (std::size_t i = 0; i < 200; ++i) EXPECT_EQ(kept[i + 2].item<int>(), static_cast<int>(i) + 1);
    kept.clear();
}

}  // namespace
}  // namespace tenon
