#include <random>

#include "base/text.h"
#include "hashes.h"
#include "product/chain/blocks.h"
#include "product/chain/intermediate.h"
#include "product/chain/lanes.h"
#include "product/chain/panels.h"
#include "product/chain/rows.h"
#include "product/chain/testing.h"
#include "tenon/threads.h"

namespace tenon::hashes {
namespace {

using namespace product;
using product::testing::Operands;
using product::testing::Pair;
using product::testing::Storage;

bool in_panels(const Chain& chain, const chain::Intermediate& intermediate) {
    const chain::PanelsForm form = chain::panels_form(chain, chain::lanes_form(chain, intermediate));
    if (!form.unsupported) chain::run_panels(chain, form);
    return !form.unsupported;
}
bool in_lanes(const Chain& chain, const chain::Intermediate& intermediate) {
    const chain::LanesForm form = chain::lanes_form(chain, intermediate);
    if (!form.unsupported) chain::run_lanes(chain, form);
    return !form.unsupported;
}
bool in_rows(const Chain& chain, const chain::Intermediate& intermediate) {
    const chain::RowsForm form = chain::rows_form(chain, intermediate);
    if (!form.unsupported) chain::run_rows(chain, form);
    return !form.unsupported;
}
bool in_blocks(const Chain& chain, const chain::Intermediate& intermediate) {
    const chain::BlocksForm form = chain::blocks_form(chain, intermediate, 1);
    if (!form.unsupported) chain::run_blocks(chain, form);
    return !form.unsupported;
}

struct Form {
    const char* name;
    bool (*run)(const Chain&, const chain::Intermediate&);
};
constexpr Form kForms[] = {{"panels", in_panels}, {"lanes", in_lanes}, {"rows", in_rows}, {"blocks", in_blocks}};

/// A structured layer of random extents, or its adjoint: one product after the other, then in each form. Machines
/// differ in the forms that they have kernels for; the hash of one that is not there is that of the two products.
void hash_chain(unsigned seed) {
    std::mt19937 random(seed);
    const auto pick = [&](const auto& list) { return list[random() % std::size(list)]; };
    constexpr std::int64_t few[] = {1, 2, 4}, sides[] = {1, 3, 8, 16, 17, 32}, rows[] = {1, 5, 32, 70};
    constexpr DType types[] = {DType::float32, DType::float32, DType::bfloat16, DType::bfloat16, DType::float64};
    constexpr Storage storages[] = {Storage::row_major, Storage::row_major, Storage::padded, Storage::shuffled};
    Pair p;
    const bool adjoint = seed % 2 == 0, kronecker = seed % 3 == 0;
    const std::int64_t r = pick(few), t = pick(rows);
    std::int64_t a, b, g, d, e, f;
    do {
        a = pick(sides), b = pick(sides), d = pick(sides), e = pick(sides);
        g = kronecker ? 1 : pick(sides), f = kronecker ? 1 : pick(sides);
    } while (t * r * f * g * (d * b * (a + e) + e * a * d) > 1 << 20);
    p.extents = {{'a', a}, {'b', b}, {'g', g}, {'d', d}, {'e', e}, {'f', f}, {'r', r}, {'t', t}};
    p.first = adjoint ? "tfed,fergb->fdrgbt" : "tgba,fdrga->fdrgbt";
    p.second = adjoint ? "fdrgbt,fdrga->tgba" : "fdrgbt,fergb->tfed";
    p.dtype = p.out = pick(types);
    if (p.dtype == DType::bfloat16 && seed % 5 == 0) p.out = DType::float32;
    p.a = pick(storages), p.b = pick(storages), p.c = pick(storages), p.y = pick(storages);
    p.seed = seed;
    set_num_threads(1 + static_cast<int>(seed % 3));
    Operands operands(p);
    Chain chain = operands.chain();
    chain.always = true;
    const std::string what = text("chain ", seed, " ", name(p.dtype), " ", p.first, " ");
    const auto tell = [&](const char* form) { report(what + form, p.out, elements(operands.out(), p.out)); };
    run_unfused(chain);
    tell("unfused");
    const chain::Intermediate intermediate = chain::analyse(chain);
    for (const Form& form : kForms) {
        operands.out().randomize(seed + 9);
        if (!form.run(chain, intermediate)) run_unfused(chain);
        tell(form.name);
    }
}

}  // namespace

void chain_hashes() {
    for (unsigned seed = 1; seed <= 90; ++seed) hash_chain(seed);
    set_num_threads(0);
}

}  // namespace tenon::hashes
