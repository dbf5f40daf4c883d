#include "primitive/indexing.h"

#include "base/text.h"
#include "tenon/error.h"

namespace tenon {

void check_index_dtype(const char* op, const Tensor& indices) {
    if (!is_integer(indices.dtype()))
        throw TypeError(text(op, ": indices are ", name(indices.dtype()), ", not integers"));
}

std::vector<std::int64_t> checked_indices(const char* op, const View& indices, std::int64_t n) {
    std::vector<std::int64_t> rows(static_cast<std::size_t>(indices.layout.count()));
    const View out{rows.data(), DType::int64, Layout::contiguous(indices.shape())};
    const DType type = indices.dtype;
    tape::run(tape::single(tape::Opcode::cast, {&type, 1}, DType::int64), {&indices, 1}, {&out, 1});
    for (std::int64_t r : rows)
        if (r < 0 || r >= n) throw ValueError(text(op, ": index ", r, " is outside [0, ", n, ")"));
    return rows;
}

View with_rows(const View& v, int axes) {
    Shape s{1};
    for (int i = 0; i < v.shape().rank(); ++i) {
        if (i < axes)
            s[0] *= v.shape()[i];
        else
            s.push_back(v.shape()[i]);
    }
    Layout l;
    v.layout.reshape(s, l);
    return with_layout(v, l);
}

}  // namespace tenon
