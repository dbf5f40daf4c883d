// Uses the installed library; prints the version of nothing but its results, and fails where they are wrong.
#include <tenon/dtype.h>
#include <tenon/threads.h>

#include <cstdio>

int main() {
    if (tenon::name(tenon::DType::float32) != "float32" || tenon::num_threads() < 1) {
        std::puts("consumer: wrong");
        return 1;
    }
    std::puts("consumer: right");
    return 0;
}
