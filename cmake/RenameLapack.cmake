# What is made of INPUT, the archive of the reference LAPACK. Called by cmake -P with NM and OBJCOPY:
#     -DOUTPUT=  the archive with PREFIX before the name of every routine that it defines, and `tenon_` before those of BLAS
#                and of Fortran's run-time library that it calls
#     -DNAMES=   arguments by which a linker takes every routine out of it
function(names_of list)
  execute_process(COMMAND ${NM} ${ARGN} --format=posix ${INPUT} OUTPUT_VARIABLE table ERROR_QUIET COMMAND_ERROR_IS_FATAL ANY)
  # A routine's name ends in an underscore, a module's has its own mark; what else is called is the C library's.
  string(REGEX MATCHALL "(^|\n)(_gfortran_[a-z_]+|__[a-z_]+_MOD_[a-z]+|[a-z][a-z0-9_]*_) [TU]" lines "${table}")
  list(TRANSFORM lines REPLACE "^\n" "")
  list(TRANSFORM lines REPLACE " .*$" "")
  list(REMOVE_DUPLICATES lines)
  set(${list} "${lines}" PARENT_SCOPE)
endfunction()

names_of(defined --defined-only)
# Handlers of wrong arguments are BLAS's, and the program's.
list(REMOVE_ITEM defined xerbla_ xerbla_array_)
if(NAMES)
  list(JOIN defined "\n-u " arguments)
  file(WRITE ${NAMES} "-u ${arguments}\n")
endif()
if(OUTPUT)
  names_of(called --undefined-only)
  list(REMOVE_ITEM called ${defined})
  set(map)
  foreach(name ${defined})
    string(APPEND map "${name} ${PREFIX}${name}\n")
  endforeach()
  foreach(name ${called})
    string(APPEND map "${name} tenon_${name}\n")
  endforeach()
  file(WRITE ${OUTPUT}.names "${map}")
  execute_process(COMMAND ${OBJCOPY} --redefine-syms=${OUTPUT}.names ${INPUT} ${OUTPUT} COMMAND_ERROR_IS_FATAL ANY)
endif()
