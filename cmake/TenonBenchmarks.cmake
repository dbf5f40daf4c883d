# src/UNIT/*_bench.cpp together make build/PRESET/tenon_bench (Google Benchmark), where the library is found.
find_package(benchmark QUIET)
file(GLOB_RECURSE bench_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/*_bench.cpp)
if(benchmark_FOUND AND bench_sources)
  add_executable(tenon_bench ${bench_sources} $<TARGET_OBJECTS:tenon_objects> ${isa_objects})
  target_link_libraries(tenon_bench PRIVATE tenon_flags tenon_netlib Threads::Threads ZLIB::ZLIB ${CMAKE_DL_LIBS} benchmark::benchmark_main)
endif()

# The cost model of products against the clock, and its fit: built when asked for.
add_executable(tenon_costs EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/tools/costs.cpp $<TARGET_OBJECTS:tenon_objects> ${isa_objects})
target_link_libraries(tenon_costs PRIVATE tenon_flags tenon_netlib Threads::Threads ZLIB::ZLIB ${CMAKE_DL_LIBS})
