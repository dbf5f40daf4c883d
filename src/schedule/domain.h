// How the elements of a group are visited, and whether strides can express what its members read.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "schedule/program.h"

namespace tenon::schedule {

/// Without rows, all members have the same elements, in one shape. By rows, `shape` is that of the rows followed by a
/// row's length; a member has a value for each element, or one for each row.
struct Domain {
    bool by_rows = false;
    Shape shape;
};

/// A domain in which the members, operands first, run together; empty, with the reason, if there is none.
std::optional<Domain> domain_of(const Program& program, std::span<const Index> members,
                                std::string_view* why = nullptr);

/// Whether a reduction has few long rows, which are reduced in parts: it is in no region.
bool is_reduced_in_parts(const Program& program, Index reduction);

/// The layout of an operand in memory, in the domain's shape (without its last axis for `per_row`). Empty if strides
/// cannot express it.
std::optional<Layout> in_domain(const Domain& domain, const Layout& layout, bool per_row);

/// Whether a member of a domain by rows has one value for each row.
bool is_per_row(const Program& program, const Domain& domain, Index member);

}  // namespace tenon::schedule
