# The library: every source of every unit, but tests, benchmarks and fuzzers. A file named *_isa.cpp is compiled once an
# instruction set, with TENON_ISA naming it; such files include no standard header that defines inline functions, so that no
# wide instruction leaks into code shared with older CPUs.

add_library(tenon_flags INTERFACE)
target_compile_features(tenon_flags INTERFACE cxx_std_20)
target_include_directories(tenon_flags INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
# The arithmetic of a result is what the source says: contraction and value-changing flags stay off. The two -fno flags
# change no value: errno and exception flags of vectorised selects are nobody's result.
target_compile_options(tenon_flags INTERFACE -ffp-contract=off -fno-math-errno -fno-trapping-math)
# What is built does not depend on where: __FILE__ is relative to the repository.
target_compile_options(tenon_flags INTERFACE -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=)
if(TENON_DEVELOPER)
  target_compile_options(tenon_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Werror
                         $<$<CXX_COMPILER_ID:Clang>:-Wno-pass-failed>)  # a loop that it does not vectorize is no fault
endif()

file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/*.cpp)
list(FILTER sources EXCLUDE REGEX "_(test|bench|fuzz)\\.cpp$")
# What libtenon_blas.so has beside them (TenonBlas.cmake): the names that programs call, and the handlers of wrong arguments.
set(blas_symbol_sources ${sources})
list(FILTER blas_symbol_sources INCLUDE REGEX "/src/blas/(symbols_.?lp64|threads|xerbla)\\.cpp$")
list(REMOVE_ITEM sources ${blas_symbol_sources})
if(NOT TARGET tenon_lapack)
  list(REMOVE_ITEM sources ${lapack_sources})
endif()
set(isa_sources ${sources})
list(FILTER isa_sources INCLUDE REGEX "_isa\\.cpp$")
list(FILTER sources EXCLUDE REGEX "_isa\\.cpp$")
# Kernels of AVX-512 BF16 and VNNI: one file, compiled for what it uses, called where the CPU has it.
set(dot_source ${PROJECT_SOURCE_DIR}/src/product/dense/kernels_dot.cpp)
list(REMOVE_ITEM sources ${dot_source})

set(isas baseline)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND isas avx2 avx512)
  set(isa_options_avx2 -mavx2 -mfma -mf16c)
  set(isa_options_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mbmi2 -mprefer-vector-width=512)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  list(APPEND isas neon)
endif()

# Under a sanitizer g++ takes many minutes for the kernels at -O3.
set(kernel_optimization -O3)
if(CMAKE_CXX_FLAGS MATCHES "-fsanitize")
  set(kernel_optimization -O1)
endif()

# Adds an object library ${name}_ISA for each instruction set, and their objects to the list `objects`.
function(tenon_add_isa_objects name objects)
  foreach(isa ${isas})
    add_library(${name}_${isa} OBJECT ${ARGN})
    target_link_libraries(${name}_${isa} PRIVATE tenon_flags)
    target_compile_definitions(${name}_${isa} PRIVATE TENON_ISA=${isa})
    set(optimization ${kernel_optimization})
    if(isa STREQUAL baseline AND isa_options_avx2 AND optimization STREQUAL -O3)
      set(optimization -O2)  # for CPUs before AVX2: smaller in the place of faster
    endif()
    target_compile_options(${name}_${isa} PRIVATE ${optimization} ${isa_options_${isa}})
    list(APPEND ${objects} $<TARGET_OBJECTS:${name}_${isa}>)
  endforeach()
  set(${objects} ${${objects}} PARENT_SCOPE)
endfunction()

tenon_add_isa_objects(tenon isa_objects ${isa_sources})
if(isa_options_avx512)
  add_library(tenon_dot OBJECT ${dot_source})
  target_link_libraries(tenon_dot PRIVATE tenon_flags)
  # g++ 12 takes its own intrinsics' undefined operands for variables that were forgotten (GCC bug 105593).
  target_compile_options(tenon_dot PRIVATE ${kernel_optimization} ${isa_options_avx512} -mavx512bf16 -mavx512vnni
                         $<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized -Wno-maybe-uninitialized>)
  list(APPEND isa_objects $<TARGET_OBJECTS:tenon_dot>)
endif()

# Device code is compiled at run time: its sources, and the scalar headers that host and device share, are text in the
# library (src/cuda/embedded.h).
file(GLOB_RECURSE device_sources RELATIVE ${PROJECT_SOURCE_DIR}/src CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/*.cu ${PROJECT_SOURCE_DIR}/src/*.cuh)
set(embedded)
set(embedded_files)
foreach(name ${device_sources} tape/combine.h tape/convert.h tape/element.h tape/math.h tape/opcode.h tape/operations.h tape/reduction.h tape/trigonometry.h)
  list(APPEND embedded ${PROJECT_SOURCE_DIR}/src|${name})
  list(APPEND embedded_files ${PROJECT_SOURCE_DIR}/src/${name})
endforeach()
list(APPEND embedded ${PROJECT_SOURCE_DIR}/include|tenon/dtype.h)
list(APPEND embedded_files ${PROJECT_SOURCE_DIR}/include/tenon/dtype.h)
list(JOIN embedded "," embedded)
set(embedded_source ${PROJECT_BINARY_DIR}/embedded/sources.cpp)
add_custom_command(
  OUTPUT ${embedded_source}
  COMMAND ${CMAKE_COMMAND} -DOUTPUT=${embedded_source} "-DFILES=${embedded}" -P ${PROJECT_SOURCE_DIR}/cmake/EmbedSources.cmake
  DEPENDS ${embedded_files} ${PROJECT_SOURCE_DIR}/cmake/EmbedSources.cmake
  VERBATIM)
list(APPEND sources ${embedded_source})

# Objects, so that a primitive's registration is never dropped by a linker, for the shared library and static use alike.
add_library(tenon_objects OBJECT ${sources})
target_link_libraries(tenon_objects PUBLIC tenon_flags Threads::Threads PRIVATE ZLIB::ZLIB nlohmann_json::nlohmann_json ${CMAKE_DL_LIBS} tenon_netlib)

add_library(tenon SHARED $<TARGET_OBJECTS:tenon_objects> ${isa_objects})
add_library(Tenon::tenon ALIAS tenon)
target_compile_features(tenon PUBLIC cxx_std_20)
target_include_directories(tenon PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(tenon PRIVATE tenon_netlib Threads::Threads ZLIB::ZLIB ${CMAKE_DL_LIBS})
# Sleeping threads of the pool return into this code: it is never unloaded.
# Its own functions are called without the indirection that would let another library replace them.
target_link_options(tenon PRIVATE -Wl,-z,nodelete -Wl,-Bsymbolic-functions)
set_target_properties(tenon PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
