#include "app/bind_sim_robot.hpp"

#include <pybind11/eigen.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <memory>

#include "app/sim_robot.hpp"
#include "core/error.hpp"

namespace py = pybind11;

namespace serl_rt {
namespace {

Value to_value(const py::handle& object) {
  if (object.is_none()) return {};
  if (py::isinstance<py::bool_>(object)) return object.cast<bool>();
  if (py::isinstance<py::int_>(object)) return object.cast<std::int64_t>();
  if (py::isinstance<py::float_>(object)) return object.cast<double>();
  if (py::isinstance<py::str>(object)) return object.cast<std::string>();
  if (py::isinstance<py::list>(object)) {
    Value::List list;
    for (const py::handle item : object) list.push_back(to_value(item));
    return list;
  }
  throw Error("an argument is neither a number, a text, a boolean nor a list of these");
}

Value::Map to_map(const py::dict& dict) {
  Value::Map map;
  for (const auto& [key, value] : dict) map.emplace_back(key.cast<std::string>(), to_value(value));
  return map;
}

py::object to_python(const Value& value) {
  if (const bool* flag = value.flag()) return py::bool_(*flag);
  if (const std::int64_t* integer = value.integer()) return py::int_(*integer);
  if (const std::uint64_t* integer = value.big_integer()) return py::int_(*integer);
  if (const double* real = value.real()) return py::float_(*real);
  if (const std::string* text = value.text()) return py::str(*text);
  if (const Value::List* list = value.list()) {
    py::list result;
    for (const Value& item : *list) result.append(to_python(item));
    return result;
  }
  if (const Value::Map* map = value.map()) {
    py::dict result;
    for (const auto& [key, item] : *map) result[py::str(key)] = to_python(item);
    return result;
  }
  return py::none();
}

Vec7 to_vector(const Pose& pose) {
  Vec7 values;
  values << pose.position, pose.orientation.coeffs();  // x y z w
  return values;
}

// The same names as in a state message.
py::dict arrays(const SimRobot& robot) {
  const State& state = robot.state();
  Eigen::Matrix<double, 6, 7, Eigen::RowMajor> jacobian = state.zero_jacobian;
  py::dict result;
  result["q"] = state.q;
  result["dq"] = state.dq;
  result["tau_J"] = state.tau_J;
  result["tcp_pose"] = to_vector(state.O_T_EE);
  result["tcp_vel"] = tcp_twist(state);
  result["tcp_wrench"] = state.O_F_ext;
  result["gripper"] = Eigen::Matrix<double, 1, 1>(robot.gripper_opening());
  result["jacobian"] =
      Eigen::Matrix<double, 42, 1>(Eigen::Map<Eigen::Matrix<double, 42, 1>>(jacobian.data()));
  result["reference"] = to_vector(robot.reference());
  return result;
}

}  // namespace

void bind_sim_robot(py::module_& module) {
  py::class_<SimRobot>(module, "SimRobotCore", "The simulated arm in lockstep, under commands.")
      .def(py::init(
               [](const std::filesystem::path& task_file, const std::filesystem::path& assets_dir) {
                 // Nobody is rewarded here: a reward by a classifier needs no model.
                 return std::make_unique<SimRobot>(load_task_config(task_file, {"sparse", {}}),
                                                   assets_dir);
               }),
           py::arg("task_file"), py::arg("assets_dir"))
      .def(
          "command",
          [](SimRobot& robot, const std::string& name, const py::dict& arguments) {
            return to_python(robot.command(name, to_map(arguments)));
          },
          py::arg("name"), py::arg("arguments"))
      .def(
          "follow",
          [](SimRobot& robot, const py::bytes& message) {
            const std::string_view bytes = message;
            const BytesView frame(reinterpret_cast<const std::byte*>(bytes.data()), bytes.size());
            robot.follow(std::get<wire::StreamTarget>(wire::decode_operator_message({frame})));
          },
          py::arg("message"), "A `target` message of the command socket.")
      .def("advance", &SimRobot::advance, py::arg("ticks"),
           py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("time_ns", [](const SimRobot& robot) { return robot.state().time_ns; })
      .def("arrays", &arrays)
      .def("report", [](const SimRobot& robot) { return to_python(robot.report()); });
}

}  // namespace serl_rt
