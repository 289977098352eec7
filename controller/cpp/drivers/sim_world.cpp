#include "drivers/sim_world.hpp"

#include <mujoco/mujoco.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace serl_rt {
namespace {

// Fraction of the newest contact wrench that enters the estimate each tick: a 10 ms low-pass.
constexpr double kWrenchFilter = 0.1;

using ConstMap3 = Eigen::Map<const Vec3>;
using ConstMap7 = Eigen::Map<const Vec7>;

// Entry number `index` of an array of `size`-vectors.
const mjtNum* entry(const mjtNum* array, int index, std::ptrdiff_t size = 3) noexcept {
  return array + size * index;
}

struct ModelDeleter {
  void operator()(mjModel* model) const { mj_deleteModel(model); }
};
struct DataDeleter {
  void operator()(mjData* data) const { mj_deleteData(data); }
};
using ModelPtr = std::unique_ptr<mjModel, ModelDeleter>;
using DataPtr = std::unique_ptr<mjData, DataDeleter>;

ModelPtr load_model(const std::filesystem::path& mjcf) {
  std::array<char, 1024> error{};
  ModelPtr model(mj_loadXML(mjcf.c_str(), nullptr, error.data(), error.size()));
  if (!model) {
    throw Error("cannot load the MuJoCo model " + mjcf.string() + ": " + error.data());
  }
  return model;
}

int find(const mjModel* model, mjtObj type, const std::string& name) {
  const int id = mj_name2id(model, type, name.c_str());
  if (id < 0) {
    throw Error("the MuJoCo model has no " + std::string(mju_type2Str(type)) + " named \"" + name +
                "\"");
  }
  return id;
}

}  // namespace

struct SimWorld::Impl {
  ModelPtr model;
  DataPtr data;
  int tcp = 0;             // site
  int gripper = 0;         // actuator
  int left_finger = 0;     // address in qpos
  int right_finger = 0;    // address in qpos
  int first_arm_body = 0;  // body ids from here to last_arm_body move with the arm
  int last_arm_body = 0;
  std::vector<int> held;  // bodies that are welded to the arm
  double max_width = 0.0;
  Vec6 wrench = Vec6::Zero();

  explicit Impl(const std::filesystem::path& mjcf)
      : model(load_model(mjcf)), data(mj_makeData(model.get())) {
    if (!data) {
      throw Error("not enough memory for the MuJoCo model " + mjcf.string());
    }
    locate_arm();
    locate_gripper();
    locate_held();
    if (std::abs(model->opt.timestep - kTickSeconds) > 1e-9) {
      throw Error("the MuJoCo model's timestep is " + std::to_string(model->opt.timestep) +
                  " s; the controller needs " + std::to_string(kTickSeconds) + " s");
    }
  }

  // The arm's seven joints and motors come first, so that its rows are the first seven everywhere.
  void locate_arm() {
    tcp = find(model.get(), mjOBJ_SITE, "tcp");
    for (int i = 0; i < kJoints; ++i) {
      const std::string name = "joint" + std::to_string(i + 1);
      const int joint = find(model.get(), mjOBJ_JOINT, name);
      if (model->jnt_type[joint] != mjJNT_HINGE || model->jnt_qposadr[joint] != i ||
          model->jnt_dofadr[joint] != i || find(model.get(), mjOBJ_ACTUATOR, name) != i) {
        throw Error("the MuJoCo model's " + name + " must be hinge and actuator number " +
                    std::to_string(i));
      }
    }
    first_arm_body = model->jnt_bodyid[0];
    const int root = model->body_rootid[first_arm_body];
    for (int body = first_arm_body; body < model->nbody && model->body_rootid[body] == root;
         ++body) {
      last_arm_body = body;
      if (model->body_gravcomp[body] != 1.0) {
        throw Error("body " + std::to_string(body) +
                    " of the MuJoCo model's arm needs gravcomp=\"1\"");
      }
    }
  }

  void locate_gripper() {
    gripper = find(model.get(), mjOBJ_ACTUATOR, "gripper");
    left_finger = model->jnt_qposadr[find(model.get(), mjOBJ_JOINT, "left_finger")];
    right_finger = model->jnt_qposadr[find(model.get(), mjOBJ_JOINT, "right_finger")];
    max_width = model->actuator_ctrlrange[2 * gripper + 1];
    if (!(max_width > 0.0)) {
      throw Error("the MuJoCo model's actuator \"gripper\" needs ctrlrange 0 to width");
    }
  }

  double width() const noexcept { return data->qpos[left_finger] + data->qpos[right_finger]; }

  bool is_arm(int body) const noexcept { return body >= first_arm_body && body <= last_arm_body; }

  // The arm, and what the model welds to it: what a held body touches, the arm feels.
  bool of_arm(int geom) const noexcept {
    const int body = model->geom_bodyid[geom];
    return is_arm(body) || std::find(held.begin(), held.end(), body) != held.end();
  }

  void locate_held() {
    for (int i = 0; i < model->neq; ++i) {
      const int one = model->eq_obj1id[i];
      const int other = model->eq_obj2id[i];
      if (model->eq_type[i] != mjEQ_WELD || model->eq_objtype[i] != mjOBJ_BODY) continue;
      if (is_arm(one) != is_arm(other)) held.push_back(is_arm(one) ? other : one);
    }
  }

  // What the arm presses on its surroundings, from the contact forces of the last step. Sign as
  // libfranka's O_F_ext_hat_K: positive is the force that the robot applies.
  Vec6 contact_wrench(const Vec3& at) const noexcept {
    Vec6 sum = Vec6::Zero();
    for (int i = 0; i < data->ncon; ++i) {
      const mjContact& contact = data->contact[i];
      const bool first = of_arm(contact.geom[0]);
      if (first == of_arm(contact.geom[1]) || contact.efc_address < 0) continue;
      std::array<mjtNum, 6> local{};  // acts from geom[0] on geom[1]
      mj_contactForce(model.get(), data.get(), i, local.data());
      const Eigen::Map<const Eigen::Matrix3d> world_R(contact.frame);  // rows are axes: transposed
      const double sign = first ? 1.0 : -1.0;
      const Vec3 force = sign * (world_R * ConstMap3(local.data()));
      const Vec3 torque = sign * (world_R * ConstMap3(local.data() + 3));
      sum.head<3>() += force;
      sum.tail<3>() += torque + (ConstMap3(contact.pos) - at).cross(force);
    }
    return sum;
  }

  void fill(State& state) const noexcept {
    const mjData& d = *data;
    state.q = ConstMap7(d.qpos);
    state.dq = ConstMap7(d.qvel);
    // Every arm body compensates its weight, so that force is the gravity torque.
    state.gravity = ConstMap7(d.qfrc_gravcomp);
    state.coriolis = ConstMap7(d.qfrc_bias) - state.gravity;
    state.tau_J_d = ConstMap7(d.ctrl);
    state.tau_J = state.tau_J_d + state.gravity;
    state.O_F_ext = wrench;
    state.gripper_width = width();

    const Vec3 position = ConstMap3(entry(d.site_xpos, tcp));
    state.O_T_EE.position = position;
    // Composed of quaternions, so that its sign never jumps (a matrix would not say which).
    std::array<mjtNum, 4> wxyz{};
    mju_mulQuat(wxyz.data(), entry(d.xquat, model->site_bodyid[tcp], 4),
                entry(model->site_quat, tcp, 4));
    state.O_T_EE.orientation = Quat(wxyz[0], wxyz[1], wxyz[2], wxyz[3]);

    for (int i = 0; i < kJoints; ++i) {
      const ConstMap3 axis(entry(d.xaxis, i));
      state.zero_jacobian.col(i) << axis.cross(position - ConstMap3(entry(d.xanchor, i))), axis;
    }
  }
};

SimWorld::SimWorld(const std::filesystem::path& mjcf) : impl_(std::make_unique<Impl>(mjcf)) {}
SimWorld::~SimWorld() = default;
SimWorld::SimWorld(SimWorld&&) noexcept = default;
SimWorld& SimWorld::operator=(SimWorld&&) noexcept = default;

void SimWorld::observe(State& state) noexcept {
  mj_step1(impl_->model.get(), impl_->data.get());
  impl_->fill(state);
}

void SimWorld::step(const Vec7& tau) noexcept {
  mjData* data = impl_->data.get();
  std::copy_n(tau.data(), kJoints, data->ctrl);
  mj_step2(impl_->model.get(), data);
  const Vec3 at = ConstMap3(entry(data->site_xpos, impl_->tcp));
  impl_->wrench += kWrenchFilter * (impl_->contact_wrench(at) - impl_->wrench);
}

bool SimWorld::healthy() const noexcept {
  const mjWarningStat* warning = impl_->data->warning;
  return warning[mjWARN_BADQPOS].number + warning[mjWARN_BADQVEL].number +
             warning[mjWARN_BADQACC].number ==
         0;
}

void SimWorld::command_gripper(double opening) noexcept {
  impl_->data->ctrl[impl_->gripper] = std::clamp(opening, 0.0, 1.0) * impl_->max_width;
}

double SimWorld::gripper_opening() const noexcept {
  return std::clamp(impl_->width() / impl_->max_width, 0.0, 1.0);
}

double SimWorld::max_gripper_width() const noexcept { return impl_->max_width; }

void SimWorld::reset(const Vec7& q, double opening) noexcept {
  mjData* data = impl_->data.get();
  mj_resetData(impl_->model.get(), data);
  std::copy_n(q.data(), kJoints, data->qpos);
  const double width = std::clamp(opening, 0.0, 1.0) * impl_->max_width;
  data->qpos[impl_->left_finger] = data->qpos[impl_->right_finger] = width / 2.0;
  command_gripper(opening);
  impl_->wrench.setZero();
}

void SimWorld::place_object(FreeBody object, const Pose& pose) noexcept {
  mjData* data = impl_->data.get();
  mjtNum* qpos = data->qpos + object.qpos;
  Vec3::Map(qpos) = pose.position;
  qpos[3] = pose.orientation.w();
  Vec3::Map(qpos + 4) = pose.orientation.vec();
  std::fill_n(data->qvel + object.qvel, 6, 0.0);
  std::fill_n(data->qacc_warmstart + object.qvel, 6, 0.0);
}

FreeBody SimWorld::find_object(std::string_view name) const {
  const mjModel& model = *impl_->model;
  const int joint = model.body_jntadr[find(&model, mjOBJ_BODY, std::string(name))];
  if (joint < 0 || model.jnt_type[joint] != mjJNT_FREE) {
    throw Error("the MuJoCo model's body \"" + std::string(name) + "\" needs a freejoint");
  }
  return {model.jnt_qposadr[joint], model.jnt_dofadr[joint]};
}

std::span<const double> SimWorld::qpos() const noexcept {
  return {impl_->data->qpos, static_cast<std::size_t>(impl_->model->nq)};
}

}  // namespace serl_rt
