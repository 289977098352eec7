// The Python extension serl_rt.controller._core: thin, conversions only.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include "app/config.hpp"
#include "app/controller_app.hpp"
#include "app/sim_env.hpp"
#include "core/error.hpp"

namespace py = pybind11;

namespace serl_rt {
namespace {

using FloatArray = py::array_t<float, py::array::c_style | py::array::forcecast>;

py::dict observation_dict(const SimEnv& env) {
  py::dict result;
  const std::span<const float> flat = env.observation();
  for (const auto& slice : env.layout()) {
    py::array_t<float> field(std::vector<py::ssize_t>(slice.shape.begin(), slice.shape.end()));
    std::copy_n(flat.data() + slice.offset, slice.size, field.mutable_data());
    result[py::str(slice.name)] = std::move(field);
  }
  return result;
}

std::span<const float> checked_action(const FloatArray& action, const Contract& contract) {
  if (action.ndim() != 1 || action.size() != contract.action_dim()) {
    throw Error("the action must have shape (" + std::to_string(contract.action_dim()) + ",)");
  }
  return {action.data(), static_cast<std::size_t>(action.size())};
}

void bind_sim_env(py::module_& module) {
  py::class_<SimEnv>(module, "SimEnv", "The simulated arm in lockstep, one episode at a time.")
      .def(py::init([](const std::filesystem::path& task_file, const std::string& reward,
                       const std::filesystem::path& assets_dir) {
             return std::make_unique<SimEnv>(load_task_config(task_file, reward), assets_dir);
           }),
           py::arg("task_file"), py::arg("reward"), py::arg("assets_dir"))
      .def(
          "reset",
          [](SimEnv& env, std::uint64_t seed) {
            env.reset(seed);
            return observation_dict(env);
          },
          py::arg("seed"))
      .def(
          "step",
          [](SimEnv& env, const FloatArray& action) {
            const StepResult result = env.step(checked_action(action, env.contract()));
            return py::make_tuple(observation_dict(env), result.reward, result.terminated,
                                  result.truncated, result.success);
          },
          py::arg("action"))
      .def_property_readonly("contract_json",
                             [](const SimEnv& env) { return env.contract().canonical_json(); })
      .def_property_readonly("ticks", &SimEnv::ticks)
      .def_property_readonly("qpos", [](SimEnv& env) {
        const std::span<const double> qpos = env.qpos();
        return py::array_t<double>(static_cast<py::ssize_t>(qpos.size()), qpos.data());
      });
}

void bind_controller(py::module_& module) {
  module.def(
      "run_controller",
      [](const std::vector<std::string>& arguments, const std::filesystem::path& tasks_dir,
         const std::optional<std::filesystem::path>& assets_dir,
         const std::optional<std::filesystem::path>& onnxruntime) {
        Options defaults;
        defaults.tasks_dir = tasks_dir;
        defaults.assets_dir = assets_dir.value_or(std::filesystem::path());
        defaults.onnxruntime = onnxruntime.value_or(std::filesystem::path());
        const py::gil_scoped_release release;
        return run_controller(arguments, defaults);
      },
      py::arg("arguments"), py::arg("tasks_dir"), py::arg("assets_dir"), py::arg("onnxruntime"),
      "Run the controller with command-line arguments; returns the exit status.");
}

}  // namespace
}  // namespace serl_rt

PYBIND11_MODULE(_core, module) {
  using namespace serl_rt;
  module.doc() = "The C++ controller.";
  py::register_exception<Error>(module, "ControllerError", PyExc_ValueError);
  bind_sim_env(module);
  bind_controller(module);
}
