#include <algorithm>

#include "cuda/register_printer.h"

namespace tenon::cuda {

using tape::RowTape;
std::string print(const RowTape& tape, const RegisterForm& form) { return RegisterPrinter(tape, form).print(); }

int kept_words(const RowTape& tape, bool several_warps) {
    const RowPlan plan = plan_of(tape, kept_packed(tape));
    int most = 0;
    for (int p = 0; p < plan.timing.phases; ++p) {
        int words = 0;
        if (several_warps)
            for (const std::size_t k : plan.phases[static_cast<std::size_t>(p)].reductions) {
                const std::size_t r = tape.code[k].instruction.operands[0];
                if (std::find(plan.kept.begin(), plan.kept.end(), r) == plan.kept.end())
                    words += size_of(tape::type_of(tape, r)) == 8 ? 2 : 1;
            }
        for (std::size_t i = 0; i < plan.kept.size(); ++i)
            if (plan.first[i] < p && plan.last[i] >= p)
                words += size_of(tape::type_of(tape, plan.kept[i])) == 8 ? 2 : 1;
        most = std::max(most, words);
    }
    return most;
}

}  // namespace tenon::cuda
