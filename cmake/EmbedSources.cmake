# Writes OUTPUT, a C++ source that holds the files of ROOTS-relative NAMES as string literals: what the run-time compiler
# of a GPU reads. Called by cmake -P with OUTPUT, FILES (a list of ROOT|NAME, joined by commas).
string(REPLACE "," ";" files "${FILES}")
set(text "// Made by cmake/EmbedSources.cmake.\n#include \"cuda/embedded.h\"\n\nnamespace tenon::cuda {\nnamespace {\n\n")
string(APPEND text "constexpr Source kSources[] = {\n")
foreach(file ${files})
  string(REPLACE "|" ";" parts "${file}")
  list(GET parts 0 root)
  list(GET parts 1 name)
  file(READ "${root}/${name}" content)
  string(APPEND text "    {\"${name}\", R\"tenon_source(${content})tenon_source\"},\n")
endforeach()
string(APPEND text "};\n\n}  // namespace\n\nstd::span<const Source> sources() { return kSources; }\n\n}  // namespace tenon::cuda\n")
file(WRITE "${OUTPUT}" "${text}")
