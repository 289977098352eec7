// The Python extension serl_rt.controller._core: thin, conversions only.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <chrono>
#include <cstring>
#include <future>
#include <stop_token>

#include "app/bind_sim_robot.hpp"
#include "app/config.hpp"
#include "app/python_driver.hpp"
#include "app/run_controller.hpp"
#include "app/sim_env.hpp"
#include "app/wakeup.hpp"
#include "core/error.hpp"
#include "drivers/franka_trouble.hpp"
#include "policy/onnx_model.hpp"

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
  const std::byte* at = env.images().data();
  for (const ImageField& image : env.contract().images) {
    py::array_t<std::uint8_t> array({image.height, image.width, 3});
    std::memcpy(array.mutable_data(), at, image.bytes());
    at += image.bytes();
    result[py::str(image.name)] = std::move(array);
  }
  return result;
}

py::dict truth_dict(SimEnv& env) {
  py::dict result;
  for (std::size_t i = 0; i < env.task_fields().size(); ++i) {
    const std::vector<float> value = env.task_value(i);
    result[py::str(env.task_fields()[i].name)] =
        py::array_t<float>(static_cast<py::ssize_t>(value.size()), value.data());
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
                       const std::filesystem::path& assets_dir,
                       const std::filesystem::path& classifier,
                       const std::optional<std::filesystem::path>& onnxruntime) {
             if (onnxruntime) set_onnxruntime_hint(*onnxruntime);
             return std::make_unique<SimEnv>(load_task_config(task_file, {reward, classifier}),
                                             assets_dir);
           }),
           py::arg("task_file"), py::arg("reward"), py::arg("assets_dir"), py::arg("classifier"),
           py::arg("onnxruntime"))
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
                                  result.truncated, result.success, result.grasp_penalty);
          },
          py::arg("action"))
      .def_property_readonly("contract_json",
                             [](const SimEnv& env) { return env.contract().canonical_json(); })
      .def_property_readonly("truth", &truth_dict)
      .def_property_readonly("ticks", &SimEnv::ticks)
      .def_property_readonly("qpos", [](SimEnv& env) {
        const std::span<const double> qpos = env.qpos();
        return py::array_t<double>(static_cast<py::ssize_t>(qpos.size()), qpos.data());
      });
}

py::dict to_dict(const RobotConfig& config) {
  const auto list = [](const auto& v) {
    return std::vector<double>(v.data(), v.data() + v.size());
  };
  py::dict result;
  result["ip"] = config.ip;
  result["contact_torque"] = list(config.contact_torque);
  result["collision_torque"] = list(config.collision_torque);
  result["contact_force"] = list(config.contact_force);
  result["collision_force"] = list(config.collision_force);
  if (config.load) {
    result["load_mass"] = config.load->mass;
    result["load_centre"] = list(config.load->centre);
    result["load_inertia"] = list(config.load->inertia);
  }
  if (config.ee) {
    Eigen::Isometry3d transform = Eigen::Isometry3d::Identity();
    transform.translate(config.ee->position).rotate(config.ee->orientation);
    result["NE_T_EE"] = list(transform.matrix());
  }
  return result;
}

// Calls a Python function that makes a driver from the [robot] settings.
DriverFactory python_factory(const py::object& function) {
  // Shared, so that copies of the factory, made without the GIL, do not count Python references.
  return [make = std::make_shared<py::object>(function)](const RobotConfig& config) {
    const py::gil_scoped_acquire gil;
    try {
      return make_python_driver((*make)(to_dict(config)));
    } catch (const py::error_already_set& error) {
      throw Error(std::string(py::str(error.value())));
    }
  };
}

void bind_trouble(py::module_& module) {
  const auto to_tuple = [](const Trouble& trouble) {
    return py::make_tuple(to_string(trouble.absence), trouble.what);
  };
  module.def(
      "franka_failure",
      [to_tuple](const std::string& exception, const std::string& text, const std::string& ip) {
        return to_tuple(franka_failure(exception, text, ip));
      },
      py::arg("exception"), py::arg("text"), py::arg("ip"),
      "What an exception of libfranka means: (absence, sentence).");
  module.def(
      "franka_mode", [to_tuple](const std::string& mode) { return to_tuple(franka_mode(mode)); },
      py::arg("mode"), "Whether control can begin in this mode: (absence, sentence).");
}

void bind_controller(py::module_& module) {
  module.def(
      "run_controller",
      [](const std::vector<std::string>& arguments, const std::filesystem::path& tasks_dir,
         const std::optional<std::filesystem::path>& assets_dir,
         const std::optional<std::filesystem::path>& onnxruntime,
         const std::map<std::string, py::object>& drivers) {
        Options defaults;
        defaults.tasks_dir = tasks_dir;
        defaults.assets_dir = assets_dir.value_or(std::filesystem::path());
        defaults.onnxruntime = onnxruntime.value_or(std::filesystem::path());
        for (const auto& [name, make] : drivers) defaults.drivers[name] = python_factory(make);
        const py::gil_scoped_release release;
        return run_controller(arguments, defaults);
      },
      py::arg("arguments"), py::arg("tasks_dir"), py::arg("assets_dir"), py::arg("onnxruntime"),
      py::arg("drivers"),
      "Run the controller with command-line arguments; returns the exit status.");
}

// Waits for `work` with the GIL released, but hears Ctrl-C.
template <typename Work>
auto interruptible(const Work& work) {
  std::stop_source stop;
  auto result = std::async(std::launch::async, [&] { return work(stop.get_token()); });
  const auto ready = [&result] {
    const py::gil_scoped_release release;
    return result.wait_for(std::chrono::milliseconds(100)) == std::future_status::ready;
  };
  while (!ready()) {
    if (PyErr_CheckSignals() == 0) continue;
    stop.request_stop();
    throw py::error_already_set();
  }
  return result.get();
}

void bind_wakeup(py::module_& module) {
  module.def(
      "measure_wakeup",
      [](double seconds, int priority, int cpu, const std::vector<std::int64_t>& edges) {
        if (!(seconds > 0.0 && seconds <= 3600.0)) throw Error("seconds must be in (0, 3600]");
        const std::chrono::milliseconds duration(static_cast<std::int64_t>(1000.0 * seconds));
        const WakeupResult result = interruptible([&](const std::stop_token& stop) {
          return measure_wakeup(duration, {priority, cpu}, stop);
        });
        const HistogramSnapshot& latency = result.latency;
        py::list above;
        for (const std::int64_t edge : edges) above.append(latency.count_above(edge));
        py::dict summary;
        summary["count"] = latency.count();
        summary["p50"] = latency.percentile(0.5);
        summary["p99"] = latency.percentile(0.99);
        summary["p999"] = latency.percentile(0.999);
        summary["max"] = latency.max();
        summary["above"] = above;
        summary["not_granted"] = result.not_granted;
        return summary;
      },
      py::arg("seconds"), py::arg("priority"), py::arg("cpu"), py::arg("edges"),
      "How late a thread that is set up like the control thread wakes from a 1 kHz sleep [ns].");
}

}  // namespace
}  // namespace serl_rt

PYBIND11_MODULE(_core, module) {
  using namespace serl_rt;
  module.doc() = "The C++ controller.";
  py::register_exception<Error>(module, "ControllerError", PyExc_ValueError);
  bind_sim_env(module);
  bind_sim_robot(module);
  bind_trouble(module);
  bind_controller(module);
  bind_wakeup(module);
}
