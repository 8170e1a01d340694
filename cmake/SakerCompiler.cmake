# Flags for all targets. SAKER_SANITIZE: "address,undefined" or "thread"; empty for none. SAKER_FUZZ: clang's libFuzzer.
set(SAKER_SANITIZE "" CACHE STRING "Sanitizers to build with")
option(SAKER_FUZZ "Build the fuzzers (needs clang)" OFF)

# The floor every x86-64 server of the last decade has; wider instructions are chosen at run time (src/distance).
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  add_compile_options(-march=x86-64-v2 -mtune=generic)
endif()
add_compile_options(-Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -Werror=switch
                    -Werror=return-type -Werror=unused-result)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")  # the fuzzers' compiler: checks what base/mutex.h annotates
  add_compile_options(-Wthread-safety -Werror=thread-safety)
endif()
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")
set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g")

if(SAKER_SANITIZE)
  add_compile_options(-fsanitize=${SAKER_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${SAKER_SANITIZE})
endif()
if(SAKER_SANITIZE STREQUAL "thread")
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1")  # a third of the compile time less
endif()
if(SAKER_FUZZ)
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1")  # half the compile time; the instrumentation costs more than it gains
  add_compile_options(-fsanitize=fuzzer-no-link,address)
  add_link_options(-fsanitize=address)
endif()

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
endif()
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
