# Every target of the project is made by one of these, so that warnings, sanitizers and include paths are the same.
add_library(cohort_options INTERFACE)
target_include_directories(cohort_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(cohort_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Werror -fno-omit-frame-pointer>
  $<$<COMPILE_LANGUAGE:CUDA>:--Werror=all-warnings -Xcompiler=-Wall,-Wextra,-Werror>)
# The bits of a sum must not depend on what the compiler chose to fuse: a fused multiply-add is written where it is meant.
target_compile_options(cohort_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
# AVX2, FMA and F16C are the least that a node has; wider instructions are chosen at run time.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_compile_options(cohort_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-march=x86-64-v3>)
endif()
if(COHORT_SANITIZE)
  target_compile_options(cohort_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${COHORT_SANITIZE} -fno-sanitize-recover=all>)
  target_link_options(cohort_options INTERFACE -fsanitize=${COHORT_SANITIZE})
endif()
if(COHORT_FUZZ)   # coverage for libFuzzer in everything that a target links
  target_compile_options(cohort_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=fuzzer-no-link>)
endif()

# cohort_library(NAME SOURCES a.cc ... [DEPENDS targets that users of it see] [PRIVATE targets they do not])
function(cohort_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC ${ARG_DEPENDS} PRIVATE cohort_options ${ARG_PRIVATE})
endfunction()

# cohort_proto_library(NAME file.proto): generated code, included as "path/from/root/file.pb.h". It is not ours to warn about.
# The file says "option optimize_for = LITE_RUNTIME".
function(cohort_proto_library name proto)
  get_filename_component(source ${proto} ABSOLUTE)
  file(RELATIVE_PATH path ${PROJECT_SOURCE_DIR} ${source})
  string(REGEX REPLACE "\\.proto$" ".pb" stem ${PROJECT_BINARY_DIR}/${path})
  add_custom_command(OUTPUT ${stem}.cc ${stem}.h DEPENDS ${source}
    COMMAND protobuf::protoc --cpp_out=${PROJECT_BINARY_DIR} --proto_path=${PROJECT_SOURCE_DIR} ${source})
  add_library(${name} STATIC ${stem}.cc ${stem}.h)
  target_include_directories(${name} SYSTEM PUBLIC ${PROJECT_BINARY_DIR})
  target_link_libraries(${name} PUBLIC protobuf_lite)
endfunction()

# cohort_executable(NAME SOURCES a.cc ... [DEPENDS targets])
function(cohort_executable name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE cohort_options ${ARG_DEPENDS})
endfunction()

# cohort_test(NAME SOURCES a.cc ... [DEPENDS targets]): a GoogleTest program; each of its cases is one ctest case.
function(cohort_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  cohort_executable(${name} SOURCES ${ARG_SOURCES} DEPENDS ${ARG_DEPENDS} GTest::gtest_main)
  gtest_discover_tests(${name} TEST_PREFIX "${name}." DISCOVERY_TIMEOUT 60
                       DISCOVERY_MODE PRE_TEST PROPERTIES TIMEOUT 300)
endfunction()
