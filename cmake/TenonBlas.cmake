# libtenon_blas.so: BLAS and CBLAS by their own names, on the products alone. Of the library's objects the linker takes those
# that are needed; their symbols stay inside, so that it lives beside libtenon and any other BLAS. Its soname is the system's
# BLAS's, so that a file of that name, or the alternative of Debian, can be this one (docs/blas.md).
file(GLOB blas_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/blas/*.cpp)
list(FILTER blas_sources EXCLUDE REGEX "_(test|bench|fuzz)\\.cpp$")
set(blas_isa_sources ${blas_sources})
list(FILTER blas_isa_sources INCLUDE REGEX "_isa\\.cpp$")
list(FILTER blas_sources EXCLUDE REGEX "_isa\\.cpp$")

tenon_add_isa_objects(tenon_blas blas_objects ${blas_isa_sources})
add_library(tenon_blas_objects OBJECT ${blas_sources})
target_link_libraries(tenon_blas_objects PUBLIC tenon_flags)
list(APPEND blas_objects $<TARGET_OBJECTS:tenon_blas_objects>)

add_library(tenon_archive STATIC $<TARGET_OBJECTS:tenon_objects> ${isa_objects})
add_library(tenon_blas SHARED ${blas_objects})
target_link_libraries(tenon_blas PRIVATE tenon_archive Threads::Threads)
target_link_options(tenon_blas PRIVATE -Wl,--exclude-libs,ALL -Wl,-z,nodelete -Wl,--no-undefined)
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  set_target_properties(tenon_blas PROPERTIES NO_SONAME TRUE)
  target_link_options(tenon_blas PRIVATE -Wl,-soname,libblas.so.3)
endif()
