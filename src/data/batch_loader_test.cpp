// Batches: each image once an epoch, the same for the same key from any starting point, and the exact numbers.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <set>
#include <system_error>
#include <thread>

#include "base/fork_testing.h"
#include "base/parallel.h"
#include "data/batches.h"
#include "data/prefetch.h"
#include "tenon/data.h"
#include "tenon/error.h"
#include "tenon/threads.h"

namespace tenon {
namespace {

/// N images of 2 x 3; image i has the pixels 10 i to 10 i + 5, and the label i mod 10.
Dataset numbered(std::int64_t n) {
    std::vector<std::uint8_t> pixels, labels;
    for (std::int64_t i = 0; i < n; ++i) {
        for (int p = 0; p < 6; ++p) pixels.push_back(static_cast<std::uint8_t>(10 * i + p));
        labels.push_back(static_cast<std::uint8_t>(i % 10));
    }
    return {Tensor::from(pixels, {n, 2, 3}), Tensor::from(labels, {n})};
}

std::vector<float> row(const Batch& b, std::int64_t i) {
    const auto all = b.images.to<float>();
    const auto pixels = static_cast<std::ptrdiff_t>(b.images.size() / b.images.extent(0));
    return {all.begin() + i * pixels, all.begin() + (i + 1) * pixels};
}

bool same(const Batch& a, const Batch& b) {
    return a.position == b.position && a.images.shape() == b.images.shape() &&
           a.images.to<float>() == b.images.to<float>() && a.labels.to<std::int64_t>() == b.labels.to<std::int64_t>();
}

TEST(BatchLoader, EveryImageOnceAnEpoch) {
    BatchLoader loader(numbered(23), 7, {.batch_size = 5});
    ASSERT_EQ(loader.batches_per_epoch(), 5);
    std::vector<std::vector<float>> orders;
    for (int epoch = 0; epoch < 3; ++epoch) {
        std::vector<float> firsts;
        for (int index = 0; index < 5; ++index) {
            EXPECT_EQ(loader.position(), (BatchPosition{epoch, index}));
            const auto b = loader.next();
            EXPECT_EQ(b.position, (BatchPosition{epoch, index}));
            EXPECT_EQ(b.images.shape(), Shape({index < 4 ? 5 : 3, 6}));
            EXPECT_EQ(b.labels.shape(), Shape({index < 4 ? 5 : 3}));
            const auto labels = b.labels.to<std::int64_t>();
            for (std::int64_t i = 0; i < b.labels.size(); ++i) {
                const auto first = std::round(row(b, i)[0] * 255.0f);
                firsts.push_back(first);
                EXPECT_EQ(static_cast<std::int64_t>(first) / 10 % 10, labels[static_cast<std::size_t>(i)]);
            }
        }
        orders.push_back(firsts);
        std::sort(firsts.begin(), firsts.end());
        for (std::size_t i = 0; i < 23; ++i) EXPECT_EQ(firsts[i], static_cast<float>(10 * i));
    }
    EXPECT_NE(orders[0], orders[1]);
    EXPECT_NE(orders[1], orders[2]);
    EXPECT_FALSE(std::is_sorted(orders[0].begin(), orders[0].end()));
}

TEST(BatchLoader, KeyAndPositionAreAllThatCounts) {
    const auto data = numbered(20);
    const BatchOptions options{.batch_size = 6, .flatten = false, .crop_padding = 1, .flip = true};
    BatchLoader first(data, 3, options), second(data, 3, options), other(data, 4, options);
    std::vector<Batch> batches;
    bool differs = false;
    for (int i = 0; i < 12; ++i) {
        batches.push_back(first.next());
        EXPECT_TRUE(same(batches.back(), second.next()));
        differs |= !same(batches.back(), other.next());
    }
    EXPECT_TRUE(differs);
    // Resumed in the middle of an epoch, and jumping about.
    for (const int start : {6, 0, 11, 3}) {
        BatchLoader resumed(data, 3, options);
        resumed.seek(batches[static_cast<std::size_t>(start)].position);
        for (std::size_t i = static_cast<std::size_t>(start); i < 12; ++i)
            EXPECT_TRUE(same(resumed.next(), batches[i]));
        second.seek(batches[static_cast<std::size_t>(start)].position);
        EXPECT_TRUE(same(second.next(), batches[static_cast<std::size_t>(start)]));
    }
}

TEST(BatchLoader, InOrderAndNormalised) {
    BatchLoader loader(
        numbered(3), 0,
        {.batch_size = 2, .shuffle = false, .flatten = false, .mean = 0.5f, .standard_deviation = 0.25f});
    const auto b = loader.next();
    EXPECT_EQ(b.images.shape(), Shape({2, 2, 3}));
    std::vector<float> expected;
    for (const int p : {0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15})
        expected.push_back((static_cast<float>(p) / 255.0f - 0.5f) / 0.25f);
    EXPECT_EQ(b.images.to<float>(), expected);
    EXPECT_EQ(b.images.dtype(), DType::float32);
    EXPECT_EQ(b.labels.dtype(), DType::int64);
    EXPECT_EQ(b.labels.to<std::int64_t>(), (std::vector<std::int64_t>{0, 1}));
    EXPECT_EQ(loader.next().labels.to<std::int64_t>(), std::vector<std::int64_t>{2});
    EXPECT_EQ(loader.next().labels.to<std::int64_t>(), (std::vector<std::int64_t>{0, 1}));
}

TEST(BatchLoader, PixelsLieInZeroToOne) {
    const Dataset data{Tensor::from<std::uint8_t>({0, 255}, {1, 1, 2}), Tensor::from<std::uint8_t>({9})};
    EXPECT_EQ(BatchLoader(data, 0).next().images.to<float>(), (std::vector<float>{0, 1}));
}

TEST(BatchLoader, DropLast) {
    BatchLoader loader(numbered(11), 1, {.batch_size = 4, .drop_last = true});
    EXPECT_EQ(loader.batches_per_epoch(), 2);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(loader.next().images.extent(0), 4);
    EXPECT_EQ(loader.position(), (BatchPosition{2, 0}));
}

TEST(BatchLoader, AugmentedBatchesAreWhatTheirPartsGive) {
    const auto data = numbered(8);
    const auto pixels = data.images.to<std::uint8_t>();
    BatchLoader loader(data, 5, {.batch_size = 8, .shuffle = false, .crop_padding = 1, .flip = true});
    for (int epoch = 0; epoch < 3; ++epoch) {
        const auto b = loader.next();
        std::array<float, 256> table;
        for (std::size_t i = 0; i < 256; ++i) table[i] = static_cast<float>(i) / 255.0f;
        for (std::int64_t i = 0; i < 8; ++i) {
            std::vector<float> expected(6);
            copy_image(pixels.data() + 6 * i, 2, 3, 1, draw_augmentation(5, epoch, i, 1, true), table, expected.data());
            EXPECT_EQ(row(b, i), expected);
        }
    }
}

TEST(BatchLoader, Refuses) {
    const auto data = numbered(4);
    EXPECT_THROW(BatchLoader({}, 0), ValueError);
    EXPECT_THROW(BatchLoader({data.labels, data.labels}, 0), ShapeError);
    EXPECT_THROW(BatchLoader({data.images, numbered(5).labels}, 0), ShapeError);
    EXPECT_THROW(BatchLoader({data.images, Tensor::from<std::int32_t>({1, 2, 3, 4})}, 0), TypeError);
    EXPECT_THROW(BatchLoader({Tensor::from<std::uint8_t>({}, {0, 2, 3}), Tensor::from<std::uint8_t>({}, {0})}, 0),
                 ValueError);
    const float nan = std::numeric_limits<float>::quiet_NaN();
    for (const auto& options : {BatchOptions{.batch_size = 0}, BatchOptions{.batch_size = -1},
                                BatchOptions{.batch_size = 5, .drop_last = true}, BatchOptions{.crop_padding = -1},
                                BatchOptions{.crop_padding = 4}, BatchOptions{.standard_deviation = 0},
                                BatchOptions{.standard_deviation = nan}, BatchOptions{.mean = nan}})
        EXPECT_THROW(BatchLoader(data, 0, options), ValueError);
    BatchLoader loader(data, 0, {.batch_size = 2});
    for (const auto& p : {BatchPosition{-1, 0}, BatchPosition{0, -1}, BatchPosition{0, 2}, BatchPosition{INT64_MAX, 1},
                          BatchPosition{(std::int64_t{1} << 62) + 1, 0}})
        EXPECT_THROW(loader.seek(p), ValueError);
    EXPECT_EQ(loader.next().position, BatchPosition());
    EXPECT_NO_THROW(loader.seek({std::int64_t{1} << 62, 0}));
}

TEST(BatchLoader, EndsWhileABatchIsPrepared) {
    const auto data = numbered(25);
    for (int i = 0; i < 50; ++i) {
        BatchLoader loader(data, 1, {.batch_size = 3});
        if (i % 2) loader.next();
        auto moved = std::move(loader);
        EXPECT_EQ(moved.next().position, (BatchPosition{0, i % 2}));
        if (i % 3) moved.seek({5, 2});
        if (i % 5) moved = BatchLoader(data, 2);
        EXPECT_EQ(moved.position(), i % 5   ? BatchPosition{}
                                    : i % 3 ? (BatchPosition{5, 2})
                                            : (BatchPosition{0, i % 2 + 1}));
    }
}

TEST(BatchLoader, BatchesOutliveTheLoader) {
    Batch batch;
    {
        BatchLoader loader(numbered(2), 1, {.shuffle = false});
        batch = loader.next();
    }
    EXPECT_EQ(batch.labels.to<std::int64_t>(), (std::vector<std::int64_t>{0, 1}));
}

TEST(EpochOrder, IsAPermutationByKeyAndEpoch) {
    for (const std::int64_t n : {0, 1, 2, 1000}) {
        const auto order = epoch_order(1, 2, n);
        const std::set<std::int64_t> distinct(order.begin(), order.end());
        EXPECT_EQ(static_cast<std::int64_t>(distinct.size()), n);
        EXPECT_TRUE(n == 0 || (*distinct.begin() == 0 && *distinct.rbegin() == n - 1));
        EXPECT_EQ(order, epoch_order(1, 2, n));
    }
    EXPECT_NE(epoch_order(1, 2, 1000), epoch_order(1, 3, 1000));
    EXPECT_NE(epoch_order(1, 2, 1000), epoch_order(2, 2, 1000));
}

TEST(EpochOrder, EveryImageComesFirstAboutAsOften) {
    std::array<int, 5> firsts{};
    for (std::int64_t epoch = 0; epoch < 5000; ++epoch) ++firsts[static_cast<std::size_t>(epoch_order(9, epoch, 5)[0])];
    for (const int n : firsts) EXPECT_NEAR(n, 1000, 150);  // five standard deviations are 141
}

TEST(Augmentation, IsUniform) {
    std::array<int, 5> tops{}, lefts{};
    int mirrored = 0;
    for (std::int64_t image = 0; image < 5000; ++image) {
        const auto a = draw_augmentation(3, 1, image, 2, true);
        ++tops.at(static_cast<std::size_t>(a.top));
        ++lefts.at(static_cast<std::size_t>(a.left));
        mirrored += a.mirrored;
        EXPECT_FALSE(draw_augmentation(3, 1, image, 2, false).mirrored);
    }
    for (const int n : tops) EXPECT_NEAR(n, 1000, 150);
    for (const int n : lefts) EXPECT_NEAR(n, 1000, 150);
    EXPECT_NEAR(mirrored, 2500, 180);
}

TEST(CopyImage, CutsAndMirrors) {
    const std::uint8_t image[] = {1, 2, 3, 4, 5, 6};
    std::array<float, 256> table;
    for (std::size_t i = 0; i < 256; ++i) table[i] = static_cast<float>(i);
    const auto cut = [&](std::int64_t padding, Augmentation a) {
        std::vector<float> out(6, -1);
        copy_image(image, 2, 3, padding, a, table, out.data());
        return out;
    };
    using V = std::vector<float>;
    EXPECT_EQ(cut(0, {0, 0, false}), V({1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(cut(0, {0, 0, true}), V({3, 2, 1, 6, 5, 4}));
    EXPECT_EQ(cut(1, {1, 1, false}), V({1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(cut(1, {0, 0, false}), V({0, 0, 0, 0, 1, 2}));
    EXPECT_EQ(cut(1, {2, 2, false}), V({5, 6, 0, 0, 0, 0}));
    EXPECT_EQ(cut(1, {2, 1, true}), V({6, 5, 4, 0, 0, 0}));
    EXPECT_EQ(cut(1, {1, 0, true}), V({2, 1, 0, 5, 4, 0}));
    EXPECT_EQ(cut(3, {0, 0, false}), V({0, 0, 0, 0, 0, 0}));
}

TEST(Prefetch, MakesTheNextValueInTheBackground) {
    const auto caller = std::this_thread::get_id();
    std::vector<int> calls;  // written by one call at a time, read once the last has ended
    {
        Prefetch<int, int> prefetch([&](int p) {
            EXPECT_EQ(std::this_thread::get_id() == caller, p == 1 || p == 7) << p;
            calls.push_back(p);
            return 10 * p;
        });
        EXPECT_EQ(prefetch.get(1, 2), 10);
        EXPECT_EQ(prefetch.get(2, 3), 20);
        EXPECT_EQ(prefetch.get(7, 8), 70);
        EXPECT_EQ(prefetch.get(8, 9), 80);
    }
    EXPECT_EQ(calls, (std::vector<int>{1, 2, 3, 7, 8, 9}));
}

TEST(Prefetch, TakesNoSignalsAndNoOtherThreads) {
    set_num_threads(4);
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, nullptr, &before);
    Prefetch<int, int> prefetch([](int) {
        sigset_t blocked;
        pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
        std::atomic<int> pieces{0};
        parallel_for(1000, 1, [&](std::int64_t, std::int64_t) { ++pieces; });
        return sigismember(&blocked, SIGINT) && sigismember(&blocked, SIGTERM) ? pieces.load() : 0;
    });
    prefetch.get(1, 2);
    EXPECT_EQ(prefetch.get(2, 3), 1);
    pthread_sigmask(SIG_SETMASK, nullptr, &after);
    EXPECT_EQ(sigismember(&before, SIGINT), sigismember(&after, SIGINT));
    set_num_threads(0);
}

TEST(Prefetch, ComputesHereWhereNoThreadIsToBeHad) {
    const int status = in_child([] {
        const rlimit none{1, 1};
        if (setrlimit(RLIMIT_NPROC, &none) != 0) return 2;
        if (geteuid() == 0 && setuid(65534) != 0) return 3;
        try {
            std::thread([] {}).join();
            return 4;  // the system does not mind
        } catch (const std::system_error&) {
        }
        BatchLoader loader(numbered(23), 7, {.batch_size = 5});
        for (int i = 0; i < 12; ++i)
            if (loader.next().position.epoch != i / 5) return 1;
        return 0;
    });
    if (status == 4) GTEST_SKIP() << "RLIMIT_NPROC does not bind here";
    EXPECT_EQ(status, 0);
}

TEST(Prefetch, CarriesExceptionsToTheCaller) {
    bool broken = true;
    Prefetch<int, int> prefetch([&](int p) {
        if (p == 2 && std::exchange(broken, false)) throw FileError("two");
        return p;
    });
    EXPECT_EQ(prefetch.get(1, 2), 1);
    EXPECT_THROW(prefetch.get(2, 3), FileError);
    EXPECT_EQ(prefetch.get(2, 3), 2);
    EXPECT_EQ(prefetch.get(3, 4), 3);
}

}  // namespace
}  // namespace tenon
