# Finds what the controller needs, and says what to install when it is missing.
find_package(Threads REQUIRED)
find_package(Eigen3 3.3 REQUIRED NO_MODULE)
find_package(nlohmann_json 3.10 REQUIRED)
if(SERL_RT_PYTHON)
  find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
else()
  find_package(Python REQUIRED COMPONENTS Interpreter)
endif()

find_package(PkgConfig REQUIRED)
pkg_check_modules(libzmq REQUIRED IMPORTED_TARGET libzmq>=4.3)
pkg_check_modules(libmodbus REQUIRED IMPORTED_TARGET libmodbus>=3.1)  # LGPL-2.1+, linked dynamically

function(serl_rt_header_only target header package)
  find_path(${target}_INCLUDE_DIR ${header})
  if(NOT ${target}_INCLUDE_DIR)
    message(FATAL_ERROR "${header} was not found: run 'make setup', or install the package ${package}.")
  endif()
  add_library(serl_rt::${target} INTERFACE IMPORTED)
  set_target_properties(serl_rt::${target} PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${${target}_INCLUDE_DIR}")
endfunction()
serl_rt_header_only(cppzmq zmq.hpp cppzmq-dev)
serl_rt_header_only(msgpack msgpack.hpp libmsgpack-cxx-dev)
serl_rt_header_only(tomlplusplus toml++/toml.h libtomlplusplus-dev)
serl_rt_header_only(cli11 CLI/CLI.hpp libcli11-dev)
set_property(TARGET serl_rt::msgpack PROPERTY INTERFACE_COMPILE_DEFINITIONS MSGPACK_NO_BOOST)

# MuJoCo: a system installation, or the headers and the library of the Python wheel.
find_package(mujoco CONFIG QUIET)
if(NOT TARGET mujoco::mujoco)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -c
      "import importlib.util as u,os; s=u.find_spec('mujoco'); print(os.path.dirname(s.origin) if s else '')"
    OUTPUT_VARIABLE mujoco_dir OUTPUT_STRIP_TRAILING_WHITESPACE)
  file(GLOB mujoco_library "${mujoco_dir}/libmujoco.so.*")
  if(NOT mujoco_library)
    message(FATAL_ERROR "MuJoCo was not found by ${Python_EXECUTABLE}: run 'make setup', or pip install mujoco==4.0.0.")
  endif()
  add_library(mujoco::mujoco SHARED IMPORTED)
  set_target_properties(mujoco::mujoco PROPERTIES
    IMPORTED_LOCATION "${mujoco_library}" INTERFACE_INCLUDE_DIRECTORIES "${mujoco_dir}/include")
endif()

# ONNX Runtime: headers only. The library is opened at run time, never linked, because the wheel's symbols
# carry its exact version.
find_path(onnxruntime_INCLUDE_DIR onnxruntime_cxx_api.h
  HINTS "$ENV{ONNXRUNTIME_INCLUDE_DIR}" "${PROJECT_SOURCE_DIR}/.deps/include"
  PATH_SUFFIXES onnxruntime onnxruntime/core/session)
if(NOT onnxruntime_INCLUDE_DIR)
  message(FATAL_ERROR "onnxruntime_cxx_api.h was not found: run 'make setup' or 'scripts/fetch_onnxruntime_headers.sh .deps', or set ONNXRUNTIME_INCLUDE_DIR.")
endif()
add_library(serl_rt::onnxruntime_headers INTERFACE IMPORTED)
set_target_properties(serl_rt::onnxruntime_headers PROPERTIES
  INTERFACE_INCLUDE_DIRECTORIES "${onnxruntime_INCLUDE_DIR}"
  INTERFACE_COMPILE_DEFINITIONS ORT_API_MANUAL_INIT
  INTERFACE_LINK_LIBRARIES "${CMAKE_DL_LIBS}")
