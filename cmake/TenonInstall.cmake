# The install tree: library, headers, command, find_package(Tenon) and pkg-config. It is relocatable: every path in it is
# relative to the file that holds it.
option(TENON_INSTALL "Install rules" ${PROJECT_IS_TOP_LEVEL})
if(NOT TENON_INSTALL)
  return()
endif()
include(CMakePackageConfigHelpers)

set(tenon_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Tenon)

install(TARGETS tenon EXPORT TenonTargets)
if(TARGET tenon_cli)
  install(TARGETS tenon_cli)
endif()
install(TARGETS tenon_blas)
if(TARGET tenon_lapack)
  install(TARGETS tenon_lapack)
endif()
install(DIRECTORY include/tenon DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(FILES LICENSE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md")

# Before 1.0 a minor version may change the interface.
install(EXPORT TenonTargets NAMESPACE Tenon:: DESTINATION ${tenon_cmake_dir})
configure_package_config_file(cmake/TenonConfig.cmake.in TenonConfig.cmake INSTALL_DESTINATION ${tenon_cmake_dir}
                              NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(TenonConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/TenonConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/TenonConfigVersion.cmake
        DESTINATION ${tenon_cmake_dir})

# tenon.pc finds the prefix from where it lies: from lib/pkgconfig or lib/TRIPLET/pkgconfig up to the prefix.
file(RELATIVE_PATH tenon_prefix_from_pc ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" tenon_prefix_from_pc "${tenon_prefix_from_pc}")
configure_file(cmake/tenon.pc.in tenon.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/tenon.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
