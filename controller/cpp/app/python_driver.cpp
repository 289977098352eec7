#include "app/python_driver.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <atomic>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "drivers/robot_clock.hpp"

namespace py = pybind11;

namespace serl_rt {
namespace {

// What the Python side fills in read(); the arrays that it writes into are views of this.
struct Sample {
  double time_s = 0.0;
  double success_rate = 1.0;
  Vec7 q = Vec7::Zero();
  Vec7 dq = Vec7::Zero();
  Vec7 tau_J = Vec7::Zero();
  Vec7 tau_J_d = Vec7::Zero();
  std::array<double, 16> O_T_EE{};         // column-major
  std::array<double, 42> zero_jacobian{};  // column-major 6x7
  Vec7 coriolis = Vec7::Zero();
  Vec7 gravity = Vec7::Zero();
  Vec6 O_F_ext = Vec6::Zero();
};

py::array_t<double> view(double* data, std::size_t size) {
  const py::capsule not_owned(data, [](void*) {});
  return py::array_t<double>(static_cast<py::ssize_t>(size), data, not_owned);
}

// As in RobotSettings; empty: as the robot has it.
py::dict load_settings(const std::optional<RobotLoad>& load) {
  py::dict settings;
  if (!load) return settings;
  settings["load_mass"] = load->mass;
  settings["load_centre"] = std::vector<double>(load->centre.begin(), load->centre.end());
  settings["load_inertia"] = std::vector<double>(load->inertia.begin(), load->inertia.end());
  return settings;
}

// Why a call failed: an exception with the attribute `absence` ("reflex", "network", "operator",
// "unusable") says so; anything else is a mistake in the driver.
Trouble trouble_of(const py::error_already_set& error) {
  const std::string what = py::str(error.value());
  if (!py::hasattr(error.value(), "absence")) {
    return {Absence::kUnusable, std::string(py::str(error.type().attr("__name__"))) + ": " + what};
  }
  const std::string absence = py::str(error.value().attr("absence"));
  const Absence kind = absence == "reflex"     ? Absence::kReflex
                       : absence == "network"  ? Absence::kNetwork
                       : absence == "operator" ? Absence::kOperator
                                               : Absence::kUnusable;
  return {kind, what};
}

// The GIL while it lives.
class Gil {
 public:
  Gil() noexcept : state_(PyGILState_Ensure()) {}
  ~Gil() { PyGILState_Release(state_); }
  Gil(const Gil&) = delete;
  Gil& operator=(const Gil&) = delete;

 private:
  PyGILState_STATE state_;
};

// While it lives, the calling thread keeps its Python thread state, which Gil would otherwise make
// and destroy each time. Same thread for construction and destruction; it does not hold the GIL.
class ThreadState {
 public:
  ThreadState() noexcept : state_(PyGILState_Ensure()), saved_(PyEval_SaveThread()) {}
  ~ThreadState() {
    PyEval_RestoreThread(saved_);
    PyGILState_Release(state_);
  }
  ThreadState(const ThreadState&) = delete;
  ThreadState& operator=(const ThreadState&) = delete;

 private:
  PyGILState_STATE state_;
  PyThreadState* saved_;
};

class PythonDriver final : public RobotDriver {
 public:
  explicit PythonDriver(py::object object) : object_(std::move(object)) {
    py::dict arrays;
    const auto add = [&arrays](const char* name, double* data, std::size_t size) {
      arrays[name] = view(data, size);
    };
    add("time_s", &sample_.time_s, 1);
    add("success_rate", &sample_.success_rate, 1);
    add("q", sample_.q.data(), 7);
    add("dq", sample_.dq.data(), 7);
    add("tau_J", sample_.tau_J.data(), 7);
    add("tau_J_d", sample_.tau_J_d.data(), 7);
    add("O_T_EE", sample_.O_T_EE.data(), 16);
    add("zero_jacobian", sample_.zero_jacobian.data(), 42);
    add("coriolis", sample_.coriolis.data(), 7);
    add("gravity", sample_.gravity.data(), 7);
    add("O_F_ext", sample_.O_F_ext.data(), 6);
    object_.attr("attach")(arrays, view(tau_.data(), 7));
    read_ = object_.attr("read");
    write_ = object_.attr("write");
  }

  ~PythonDriver() override {
    const Gil gil;
    read_ = write_ = object_ = py::object();
  }

  Trouble start() override {
    if (!thread_state_) thread_state_.emplace();
    const Gil gil;
    try {
      object_.attr("start")();
      clock_.restart();
      return {};
    } catch (const py::error_already_set& error) {
      return trouble_of(error);
    }
  }

  bool read(State& state) noexcept override {
    if (!call(read_)) return false;
    fill(state);
    return true;
  }

  bool write(const Vec7& tau) noexcept override {
    tau_ = tau;
    return call(write_);
  }

  void stop() noexcept override {
    {
      const Gil gil;
      try {
        object_.attr("stop")();
      } catch (const py::error_already_set&) {
        // It is not in control any more either way.
      }
    }
    thread_state_.reset();
  }

  std::string set_load(const std::optional<RobotLoad>& load) override {
    const Gil gil;
    if (!py::hasattr(object_, "set_load")) return RobotDriver::set_load(load);
    try {
      object_.attr("set_load")(load_settings(load));
      return {};
    } catch (const py::error_already_set& error) {
      return trouble_of(error).what;
    }
  }

  Trouble trouble() const override { return trouble_; }

  CommandQuality quality() const noexcept override {
    return {success_rate_.load(std::memory_order_relaxed), clock_.lost()};
  }

 private:
  bool call(const py::object& method) noexcept {
    const Gil gil;
    PyObject* result = PyObject_CallNoArgs(method.ptr());
    if (result != nullptr) {
      Py_DECREF(result);
      return true;
    }
    try {
      trouble_ = trouble_of(py::error_already_set());
    } catch (...) {
      trouble_ = {Absence::kUnusable, "an error in the Python driver that cannot be told"};
    }
    return false;
  }

  void fill(State& state) noexcept {
    state.time_ns = clock_.sample(static_cast<std::uint64_t>(sample_.time_s * 1e3 + 0.5));
    state.q = sample_.q;
    state.dq = sample_.dq;
    state.tau_J = sample_.tau_J;
    state.tau_J_d = sample_.tau_J_d;
    const Eigen::Map<const Eigen::Matrix4d> pose(sample_.O_T_EE.data());
    state.O_T_EE.position = pose.topRightCorner<3, 1>();
    state.O_T_EE.orientation = Quat(Eigen::Matrix3d(pose.topLeftCorner<3, 3>()));
    state.zero_jacobian = Jacobian::Map(sample_.zero_jacobian.data());
    state.coriolis = sample_.coriolis;
    state.gravity = sample_.gravity;
    state.O_F_ext = sample_.O_F_ext;
    success_rate_.store(sample_.success_rate, std::memory_order_relaxed);
  }

  py::object object_, read_, write_;
  std::optional<ThreadState> thread_state_;  // of the control thread, from start() to stop()
  Sample sample_;
  Vec7 tau_ = Vec7::Zero();
  RobotClock clock_;
  Trouble trouble_;
  std::atomic<double> success_rate_ = 0.0;
};

}  // namespace

std::unique_ptr<RobotDriver> make_python_driver(py::object object) {
  return std::make_unique<PythonDriver>(std::move(object));
}

}  // namespace serl_rt
