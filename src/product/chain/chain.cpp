#include "product/chain/chain.h"

#include "base/storage.h"
#include "product/chain/cost.h"
#include "product/chain/prepared.h"
#include "tenon/threads.h"

namespace tenon::product {
namespace chain {
namespace {

double bytes_of(const View& v) { return static_cast<double>(v.layout.count()) * static_cast<double>(size_of(v.dtype)); }

double input_bytes(const Epilogue* epilogue) {
    double bytes = 0;
    if (epilogue)
        for (const View& input : epilogue->inputs) {
            double own = static_cast<double>(size_of(input.dtype));
            for (int i = 0; i < input.layout.rank(); ++i)
                if (input.layout.strides[i] != 0) own *= static_cast<double>(input.shape()[i]);
            bytes += own;
        }
    return bytes;
}

}  // namespace

ChainCost cost_of(const Chain& c, const Intermediate& m) {
    ChainCost cost;
    const double z = static_cast<double>(m.elements);
    cost.operations = 2 * z * static_cast<double>(m.summed.count()) + 2 * z * static_cast<double>(m.column_count());
    cost.bytes = bytes_of(c.a) + bytes_of(c.b) + bytes_of(c.c) + bytes_of(c.out) + input_bytes(c.between) +
                 input_bytes(c.epilogue);
    cost.intermediate_bytes = z * static_cast<double>(size_of(c.product) + size_of(intermediate_dtype(c)));
    if (c.between)
        cost.intermediate_bytes += z * static_cast<double>(size_of(c.product) + size_of(intermediate_dtype(c)));
    for (const View* kept : {c.kept_product, c.kept_intermediate})
        if (kept) cost.intermediate_bytes -= bytes_of(*kept), cost.bytes += bytes_of(*kept);
    return cost;
}

}  // namespace chain

const char* declines(const Chain& c) { return chain::choose(c, chain::analyse(c)).declines; }

ChainCost cost(const Chain& c) { return chain::cost_of(c, chain::analyse(c)); }

namespace {

struct Runner {
    const Chain& chain;
    void operator()(std::monostate) const { run_unfused(chain); }
    void operator()(chain::SmallForm& form) const { chain::run_small(chain, form); }
    void operator()(const chain::PanelsForm& form) const { chain::run_panels(chain, form); }
    void operator()(const chain::LanesForm& form) const { chain::run_lanes(chain, form); }
    void operator()(const chain::RowsForm& form) const { chain::run_rows(chain, form); }
    void operator()(const chain::BlocksForm& form) const { chain::run_blocks(chain, form); }
};

}  // namespace

void run(const Chain& c) {
    if (chain::is_tiny(c) && !c.always) return run_unfused(c);
    chain::Borrowed prepared(c);
    std::visit(Runner{c}, prepared.form());
}

const char* form_of(const Chain& c) {
    constexpr const char* kNames[] = {"one product after the other", "small", "panels", "lanes", "rows", "blocks"};
    return kNames[chain::choose(c, chain::analyse(c)).form.index()];
}

void run_unfused(const Chain& c) {
    View z = chain::product_view(c), reading = chain::reading_view(c);
    const auto allocate = [](View& v) {
        const std::int64_t bytes = v.layout.count() * static_cast<std::int64_t>(size_of(v.dtype));
        auto memory = Storage::allocate(bytes);
        v.data = memory->data();
        return memory;
    };
    const auto memory = allocate(z);
    contract(c.a, c.b, z, c.first);
    const auto keep = [](const View* to, const View& from) {
        if (to) tape::run(tape::Tape{{from.dtype}, {}, {0}}, {&from, 1}, {to, 1});
    };
    keep(c.kept_product, z);
    std::shared_ptr<Storage> mapped;
    reading.data = z.data;
    if (c.between) {
        View to = z;
        to.dtype = reading.dtype;
        if (to.dtype != z.dtype) mapped = allocate(to);
        std::vector<View> inputs{z};
        inputs.insert(inputs.end(), c.between->inputs.begin(), c.between->inputs.end());
        tape::run(c.between->tape, inputs, {&to, 1});
        reading.data = to.data;
        keep(c.kept_intermediate, to);
    } else {
        keep(c.kept_intermediate, z);
    }
    reading = with_layout(reading, reading.layout);
    if (c.z_is_a)
        contract(reading, c.c, c.out, c.second, c.finish, c.epilogue);
    else
        contract(c.c, reading, c.out, c.second, c.finish, c.epilogue);
}

Shape intermediate_shape(const Chain& c) { return chain::product_view(c).shape(); }

}  // namespace tenon::product
