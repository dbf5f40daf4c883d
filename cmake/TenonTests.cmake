# src/UNIT/*_test.cpp is one program, tenon_UNIT_test; tests/*_test.cpp, what crosses units, is tenon_test. They link the
# library's objects, so that tests reach what the shared library hides. Those named *_gpu_test.cpp need a GPU: they make
# tenon_gpu_test, have the label gpu, and are skipped with the reason where there is none.
find_package(GTest REQUIRED)
include(GoogleTest)

function(tenon_add_test name)
  if(NOT ARGN)
    return()
  endif()
  add_executable(${name} ${ARGN} $<TARGET_OBJECTS:tenon_objects> ${isa_objects})
  target_link_libraries(${name} PRIVATE tenon_flags tenon_netlib Threads::Threads ZLIB::ZLIB nlohmann_json::nlohmann_json ${CMAKE_DL_LIBS} GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE TENON_SOURCE_DIR="${PROJECT_SOURCE_DIR}" TENON_BINARY_DIR="${PROJECT_BINARY_DIR}")
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 900 ${labels})
endfunction()

file(GLOB units RELATIVE ${PROJECT_SOURCE_DIR}/src CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/*)
foreach(unit ${units})
  file(GLOB_RECURSE unit_tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${unit}/*_test.cpp)
  list(FILTER unit_tests EXCLUDE REGEX "_gpu_test\\.cpp$")
  tenon_add_test(tenon_${unit}_test ${unit_tests})
endforeach()
# It loads the library, which finds the test's own handlers of errors.
add_dependencies(tenon_blas_test tenon_blas)
set_target_properties(tenon_blas_test PROPERTIES ENABLE_EXPORTS ON)
file(GLOB cross_tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/*_test.cpp)
tenon_add_test(tenon_test ${cross_tests})
file(GLOB_RECURSE gpu_tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/*_gpu_test.cpp)
list(APPEND gpu_tests ${PROJECT_SOURCE_DIR}/src/schedule/random_graph_support_test.cpp)
set(labels LABELS gpu)
tenon_add_test(tenon_gpu_test ${gpu_tests})
unset(labels)
