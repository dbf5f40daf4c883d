# libtenon_blas.so: BLAS and CBLAS by their own names, on the products alone. Of the library's objects the linker takes those
# that are needed; their symbols stay inside, so that it lives beside libtenon and any other BLAS. Its soname is the system's
# BLAS's, so that a file of that name, or the alternative of Debian, can be this one (docs/blas.md).
add_library(tenon_blas_objects OBJECT ${blas_symbol_sources})
target_link_libraries(tenon_blas_objects PUBLIC tenon_flags)

add_library(tenon_archive STATIC $<TARGET_OBJECTS:tenon_objects> ${isa_objects})
add_library(tenon_blas SHARED $<TARGET_OBJECTS:tenon_blas_objects>)
target_link_libraries(tenon_blas PRIVATE tenon_archive tenon_netlib Threads::Threads)
target_link_options(tenon_blas PRIVATE -Wl,--exclude-libs,ALL -Wl,-z,nodelete -Wl,--no-undefined)
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  set_target_properties(tenon_blas PROPERTIES NO_SONAME TRUE)
  target_link_options(tenon_blas PRIVATE -Wl,-soname,libblas.so.3)
endif()
