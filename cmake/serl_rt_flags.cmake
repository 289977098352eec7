# Warnings and sanitizers for the project's own targets.
add_library(serl_rt_flags INTERFACE)
target_compile_options(serl_rt_flags INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wpedantic)
# Eigen's temporaries trip GCC 12's maybe-uninitialized at -O3; they are false alarms.
target_compile_options(serl_rt_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
target_include_directories(serl_rt_flags INTERFACE "${PROJECT_SOURCE_DIR}/controller/cpp")

if(SERL_RT_SANITIZE)
  target_compile_options(serl_rt_flags INTERFACE -fsanitize=${SERL_RT_SANITIZE} -fno-omit-frame-pointer -g1 -O1)
  target_link_options(serl_rt_flags INTERFACE -fsanitize=${SERL_RT_SANITIZE})
endif()
