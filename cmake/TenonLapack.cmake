# LAPACK twice, of one archive: the reference one of Debian's liblapack-dev, compiled for shared libraries, whose routines
# src/lapack replaces where a better form pays (docs/decisions/lapack.md).
#   tenon_netlib      what libtenon links: every name begins with `tenon_`, and nothing of it is exported
#   tenon_lapack      libtenon_lapack.so, LAPACK by its own names over libtenon_blas.so, in the place of liblapack.so.3
# Without the archive there is neither, and linear algebra that needs it says so.
find_library(TENON_LAPACK_ARCHIVE liblapack_pic.a DOC "The reference LAPACK as position-independent objects")
file(GLOB lapack_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/lapack/*.cpp)
# Tests and kernels, which are taken from the objects of libtenon.
list(FILTER lapack_sources EXCLUDE REGEX "_(test|bench|fuzz|isa)\\.cpp$")
# What libtenon has with or without LAPACK: its calls, or why they decline, and handlers of wrong arguments.
list(FILTER lapack_sources EXCLUDE REGEX "/(lapack|xerbla)\\.cpp$")
add_library(tenon_netlib INTERFACE)
if(NOT TENON_LAPACK_ARCHIVE OR NOT CMAKE_OBJCOPY OR NOT CMAKE_NM)
  message(STATUS "No liblapack_pic.a (Debian: liblapack-dev): built without LAPACK")
  return()
endif()

# Adds a command that makes the archive `name` with `prefix` before its routines.
function(tenon_rename_lapack name prefix)
  add_custom_command(
    OUTPUT ${name}.a ${name}.a.names
    COMMAND ${CMAKE_COMMAND} -DNM=${CMAKE_NM} -DOBJCOPY=${CMAKE_OBJCOPY} -DINPUT=${TENON_LAPACK_ARCHIVE} -DPREFIX=${prefix}
            -DOUTPUT=${name}.a -P ${PROJECT_SOURCE_DIR}/cmake/RenameLapack.cmake
    DEPENDS ${TENON_LAPACK_ARCHIVE} ${PROJECT_SOURCE_DIR}/cmake/RenameLapack.cmake
    VERBATIM)
  add_custom_target(${name}_archive DEPENDS ${name}.a)
endfunction()

tenon_rename_lapack(libtenon_netlib tenon_)
tenon_rename_lapack(libreference_netlib reference_)  # what tests compare with
set_source_files_properties(${PROJECT_SOURCE_DIR}/src/lapack/lapack.cpp PROPERTIES COMPILE_DEFINITIONS TENON_LAPACK=1)
target_link_libraries(tenon_netlib INTERFACE ${PROJECT_BINARY_DIR}/libtenon_netlib.a -lm)
target_link_options(tenon_netlib INTERFACE -Wl,--exclude-libs,libtenon_netlib.a)
add_dependencies(tenon_netlib libtenon_netlib_archive)

# Of the archive the linker takes every routine that src/lapack lacks.
add_custom_command(
  OUTPUT lapack_routines
  COMMAND ${CMAKE_COMMAND} -DNM=${CMAKE_NM} -DINPUT=${TENON_LAPACK_ARCHIVE} -DNAMES=lapack_routines
          -P ${PROJECT_SOURCE_DIR}/cmake/RenameLapack.cmake
  DEPENDS ${TENON_LAPACK_ARCHIVE} ${PROJECT_SOURCE_DIR}/cmake/RenameLapack.cmake
  VERBATIM)
add_custom_target(tenon_lapack_routines DEPENDS lapack_routines)

add_library(tenon_lapack SHARED ${lapack_sources})
target_compile_definitions(tenon_lapack PRIVATE TENON_LAPACK_OWN_NAMES=1)
# BLAS first, so that handlers are not taken out of the archive.
target_link_libraries(tenon_lapack PRIVATE tenon_flags -Wl,--push-state,--no-as-needed tenon_blas -Wl,--pop-state
                                           ${TENON_LAPACK_ARCHIVE} tenon_archive m)
target_link_options(tenon_lapack PRIVATE -Wl,@${PROJECT_BINARY_DIR}/lapack_routines -Wl,--exclude-libs,libtenon_archive.a
                                         -Wl,-z,nodelete -Wl,--no-undefined)
set_target_properties(tenon_lapack PROPERTIES LINK_DEPENDS ${PROJECT_BINARY_DIR}/lapack_routines)
add_dependencies(tenon_lapack tenon_lapack_routines)
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  set_target_properties(tenon_lapack PROPERTIES NO_SONAME TRUE)
  target_link_options(tenon_lapack PRIVATE -Wl,-soname,liblapack.so.3)
endif()
