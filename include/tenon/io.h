// Checkpoints: trees of tensors on disk, in the safetensors format (github.com/huggingface/safetensors).
#pragma once

#include <map>
#include <string>

#include "tenon/export.h"
#include "tenon/tree.h"

namespace tenon {

/// What a file holds: a tensor for every leaf, named by its path ("block0.up.weight"), and text beside them.
struct Checkpoint {
    Tree tensors;
    std::map<std::string, std::string> metadata;
};

/// Computes the leaves and replaces the file at `path`, or the one that it leads to by symbolic links, which keeps its
/// permissions. Until the new content is whole and on the disk the old one stays, also through a crash or kill -9. A
/// call that throws leaves the old file and nothing else; one that is killed may leave ".NAME.tmp", which the next call
/// for that path reuses. Equal content gives equal bytes, whatever the order of children.
///
/// Every tensor gets a checksum (XXH3, 128 bits, under the metadata key "xxh3:NAME"), and so do names, shapes and
/// metadata (under "xxh3"); other programs read the file as any safetensors file.
///
/// Throws FileError where the file cannot be written (the message names it and the system's reason), or when two leaves
/// have one name; TypeError for a complex tensor; ValueError for text that is not UTF-8 or a metadata key that begins
/// with "xxh3". Memory: none beside the tensors themselves, but a copy of each that does not lie row-major.
TENON_API void save(const std::string& path, const Checkpoint& checkpoint);

/// Reads a safetensors file, by Tenon or any other program. Files are untrusted: whatever is in one, the result is
/// what the file says or a FileError of one line that names the file, the tensor and the rule. Checksums that are there
/// are verified; they do not appear in the metadata of the result.
///
/// Names become paths: "block0.up.weight" is the tensor "weight" of "up" of "block0". Children come sorted by name; see
/// `restore` for another order. Memory: the tensors, and at most twice the header.
///
/// Limits: a header of 100 MB, one name or metadata value of 128 KiB, kMaxRank axes. Dtypes: BOOL, I8 to I64, U8 to
/// U64, F16, BF16, F32, F64.
TENON_API Checkpoint load(const std::string& path);

/// The tensors of `saved`, in the structure and order of `like`. Throws ValueError naming the first leaf that `saved`
/// lacks or has beyond those of `like`, ShapeError or TypeError for one of another shape or dtype.
TENON_API Tree restore(const Tree& like, const Tree& saved);

}  // namespace tenon
