#include "drivers/sim_renderer.hpp"

#include <mujoco/mujoco.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#include "core/error.hpp"
#include "drivers/offscreen.hpp"
#include "drivers/pattern.hpp"
#include "drivers/random.hpp"

namespace serl_rt {
namespace {

constexpr int kMostGeoms = 1000;

// Round shapes are drawn with this many faces around and from pole to pole: nobody sees more of
// them in a small image, and a software renderer spends most of its time on vertices (28 and 16,
// which are usual, take five times as long).
constexpr int kSlices = 12;
constexpr int kStacks = 6;

// Pixels along an edge of a random texture: finer than the surfaces are in a small image.
constexpr int kTextureSize = 64;
constexpr std::size_t kTextureBytes = 3U * kTextureSize * kTextureSize;

// Separates this stream from the others of an episode's seed.
constexpr std::uint64_t kSceneStream = 0x7363656e65U;

struct ModelDeleter {
  void operator()(mjModel* model) const { mj_deleteModel(model); }
};
struct DataDeleter {
  void operator()(mjData* data) const { mj_deleteData(data); }
};

struct SpecDeleter {
  void operator()(mjSpec* spec) const { mj_deleteSpec(spec); }
};

using ModelPtr = std::unique_ptr<mjModel, ModelDeleter>;

int find(const mjModel& model, mjtObj type, const std::string& name) {
  const int id = mj_name2id(&model, type, name.c_str());
  if (id >= 0) return id;
  std::string known;
  const int count = type == mjOBJ_CAMERA ? model.ncam : model.nmat;
  for (int i = 0; i < count; ++i) {
    known += (known.empty() ? "" : ", ") + std::string(mj_id2name(&model, type, i));
  }
  throw Error("the MuJoCo model has no " + std::string(mju_type2Str(type)) + " named \"" + name +
              "\"; it has " + (known.empty() ? "none" : known));
}

bool is_on_plane(const mjModel& model, int material) {
  for (int geom = 0; geom < model.ngeom; ++geom) {
    if (model.geom_matid[geom] == material && model.geom_type[geom] == mjGEOM_PLANE) return true;
  }
  return false;
}

ModelPtr read_model(const std::filesystem::path& mjcf) {
  std::array<char, 1024> error{};
  ModelPtr model(mj_loadXML(mjcf.c_str(), nullptr, error.data(), error.size()));
  if (!model) throw Error("cannot load the MuJoCo model " + mjcf.string() + ": " + error.data());
  return model;
}

// The model with a texture for each of the materials, white: they look as without. A plane takes a
// flat texture; on anything else one on each side of a cube covers all faces alike.
ModelPtr read_textured_model(const std::filesystem::path& mjcf,
                             const std::vector<SceneRandomisation::Texture>& textures) {
  const ModelPtr plain = read_model(mjcf);
  std::array<char, 1024> error{};
  const std::unique_ptr<mjSpec, SpecDeleter> spec(
      mj_parseXML(mjcf.c_str(), nullptr, error.data(), error.size()));
  if (!spec) throw Error("cannot load the MuJoCo model " + mjcf.string() + ": " + error.data());
  for (const auto& [material, range] : textures) {
    const int id = find(*plain, mjOBJ_MATERIAL, material);
    if (plain->mat_texid[id * mjNTEXROLE + mjTEXROLE_RGB] >= 0) {
      throw Error("the material \"" + material + "\" cannot have a random texture: it has one in " +
                  mjcf.string());
    }
    const std::string name = "random texture of " + material;
    mjsTexture* texture = mjs_addTexture(spec.get(), nullptr);
    if (mjs_setName(texture->element, name.c_str()) != 0) {
      throw Error("the material \"" + material + "\" is given two random textures: give it one");
    }
    texture->type = is_on_plane(*plain, id) ? mjTEXTURE_2D : mjTEXTURE_CUBE;
    texture->colorspace = mjCOLORSPACE_LINEAR;  // as colours of materials are
    texture->builtin = mjBUILTIN_FLAT;
    std::fill_n(texture->rgb1, 3, 1.0);
    std::fill_n(texture->rgb2, 3, 1.0);
    texture->width = texture->height = kTextureSize;
    texture->nchannel = 3;
    mjsElement* element = mjs_findElement(spec.get(), mjOBJ_MATERIAL, material.c_str());
    mjs_setInStringVec(mjs_asMaterial(element)->textures, mjTEXROLE_RGB, name.c_str());
  }
  ModelPtr model(mj_compile(spec.get(), nullptr));
  if (!model) throw Error("cannot add random textures: " + std::string(mjs_getError(spec.get())));
  return model;
}

// Multisampling and shadows are what software drawing spends its time on, and a buffer that is
// larger than the images is cleared for nothing.
ModelPtr load_model(const std::filesystem::path& mjcf, const std::vector<CameraImage>& images,
                    const std::vector<SceneRandomisation::Texture>& textures) {
  ModelPtr model = textures.empty() ? read_model(mjcf) : read_textured_model(mjcf, textures);
  model->vis.quality.offsamples = 0;
  model->vis.quality.shadowsize = 0;
  model->vis.quality.numslices = std::min(model->vis.quality.numslices, kSlices);
  model->vis.quality.numstacks = std::min(model->vis.quality.numstacks, kStacks);
  model->vis.global.offheight = model->vis.global.offwidth = 1;
  for (const CameraImage& image : images) {
    model->vis.global.offheight = std::max(model->vis.global.offheight, image.height);
    model->vis.global.offwidth = std::max(model->vis.global.offwidth, image.width);
  }
  return model;
}

// Symmetric about 0.
double within(Random& random, double range) { return random.uniform(-range, range); }

// Turns a quaternion (wxyz) by a small rotation about each axis of its own frame.
void turn(mjtNum* quat, double range, Random& random) {
  mjtNum by[4];
  const mjtNum angles[3] = {within(random, range), within(random, range), within(random, range)};
  mjtNum axis[3] = {angles[0], angles[1], angles[2]};
  mju_axisAngle2Quat(by, axis, mju_normalize3(axis));
  mjtNum turned[4];
  mju_mulQuat(turned, quat, by);
  mju_copy4(quat, turned);
}

}  // namespace

struct SimRenderer::Impl {
  std::vector<CameraImage> images;
  SceneRandomisation randomisation;
  ModelPtr model;
  ModelPtr original;  // what randomise() starts from
  std::unique_ptr<mjData, DataDeleter> data;
  std::vector<int> cameras;
  std::vector<int> materials;  // of randomisation.colours
  std::vector<int> textured;   // of randomisation.textures
  bool new_textures = false;   // not yet in the graphics context
  OffscreenContext context;
  mjvOption option{};
  mjvScene scene{};
  mjrContext gl{};
  std::vector<unsigned char> rows;  // one image as OpenGL gives it: last row first

  Impl(const std::filesystem::path& mjcf, std::vector<CameraImage> wanted,
       SceneRandomisation random)
      : images(std::move(wanted)),
        randomisation(std::move(random)),
        model(load_model(mjcf, images, randomisation.textures)),
        original(mj_copyModel(nullptr, model.get())),
        data(mj_makeData(model.get())) {
    if (!original || !data) throw Error("not enough memory for the model " + mjcf.string());
    std::size_t largest = 0;
    for (const CameraImage& image : images) {
      cameras.push_back(find(*model, mjOBJ_CAMERA, image.name));
      largest = std::max(largest, image.bytes());
    }
    rows.resize(largest);
    for (const auto& colour : randomisation.colours) {
      materials.push_back(find(*model, mjOBJ_MATERIAL, colour.material));
    }
    for (const auto& texture : randomisation.textures) {
      textured.push_back(find(*model, mjOBJ_MATERIAL, texture.material));
    }
    if (!context.acquire()) throw Error("the graphics context cannot be used");
    mjv_defaultOption(&option);
    mjv_defaultScene(&scene);
    mjr_defaultContext(&gl);
    mjv_makeScene(model.get(), &scene, kMostGeoms);
    scene.flags[mjRND_SHADOW] = 0;
    scene.flags[mjRND_REFLECTION] = 0;
    mjr_makeContext(model.get(), &gl, mjFONTSCALE_50);
    mjr_setBuffer(mjFB_OFFSCREEN, &gl);
    context.release();
  }

  ~Impl() {
    if (context.acquire()) mjr_freeContext(&gl);
    mjv_freeScene(&scene);
  }

  mjvCamera camera(std::size_t number) const noexcept {
    mjvCamera result;
    mjv_defaultCamera(&result);
    result.type = mjCAMERA_FIXED;
    result.fixedcamid = cameras[number];
    return result;
  }

  void draw(std::size_t number, std::byte* out) noexcept {
    const CameraImage& image = images[number];
    mjvCamera from = camera(number);
    mjv_updateCamera(model.get(), data.get(), &from, &scene);
    const mjrRect viewport{0, 0, image.width, image.height};
    mjr_render(viewport, &scene, &gl);
    mjr_readPixels(rows.data(), nullptr, viewport, &gl);
    const auto row = static_cast<std::size_t>(image.width) * 3;
    for (int y = 0; y < image.height; ++y) {
      const auto source = static_cast<std::size_t>(image.height - 1 - y);
      std::memcpy(out + static_cast<std::size_t>(y) * row, rows.data() + source * row, row);
    }
  }

  void randomise_lights(Random& random) {
    const double range = randomisation.light_strength;
    auto& head = model->vis.headlight;
    const auto& plain = original->vis.headlight;
    const double ambient = 1.0 + within(random, range);
    for (int i = 0; i < 3; ++i) {
      head.ambient[i] = static_cast<float>(plain.ambient[i] * ambient);
      head.diffuse[i] = static_cast<float>(plain.diffuse[i] * ambient);
    }
    for (int light = 0; light < model->nlight; ++light) {
      const double strength = 1.0 + within(random, range);
      for (int i = 3 * light; i < 3 * light + 3; ++i) {
        model->light_diffuse[i] = static_cast<float>(original->light_diffuse[i] * strength);
        model->light_dir[i] = original->light_dir[i] + within(random, randomisation.light_angle);
      }
      mju_normalize3(model->light_dir + 3 * light);
    }
  }

  void randomise_colours(Random& random) {
    std::copy_n(original->mat_rgba, 4 * model->nmat, model->mat_rgba);
    for (std::size_t i = 0; i < materials.size(); ++i) {
      float* rgba = model->mat_rgba + 4 * materials[i];
      const float* plain = original->mat_rgba + 4 * materials[i];
      for (int c = 0; c < 3; ++c) {
        const double value = plain[c] + within(random, randomisation.colours[i].range);
        rgba[c] = static_cast<float>(std::clamp(value, 0.0, 1.0));
      }
    }
  }

  // The pattern holds the colours, so its material turns white.
  void randomise_textures(Random& random) {
    for (std::size_t i = 0; i < textured.size(); ++i) {
      float* rgba = model->mat_rgba + 4 * textured[i];
      std::array<Rgb, 2> colours{};
      for (Rgb& colour : colours) {
        for (std::size_t c = 0; c < 3; ++c) {
          const double value = rgba[c] + within(random, randomisation.textures[i].range);
          colour[c] = std::clamp(value, 0.0, 1.0);
        }
      }
      std::fill_n(rgba, 3, 1.0F);
      const int texture = texture_of(textured[i]);
      const std::span<mjtByte> side(model->tex_data + model->tex_adr[texture], kTextureBytes);
      draw_pattern(random, colours[0], colours[1], kTextureSize, side);
      const int sides = model->tex_height[texture] / kTextureSize;
      for (int other = 1; other < sides; ++other) {
        std::copy(side.begin(), side.end(), side.data() + other * side.size());
      }
    }
    new_textures = !textured.empty();
  }

  int texture_of(int material) const noexcept {
    return model->mat_texid[material * mjNTEXROLE + mjTEXROLE_RGB];
  }

  // The graphics context must be acquired.
  void upload_textures() noexcept {
    if (!new_textures) return;
    for (const int material : textured) mjr_uploadTexture(model.get(), &gl, texture_of(material));
    new_textures = false;
  }

  void randomise_cameras(Random& random) {
    for (const int camera : cameras) {
      mjtNum* position = model->cam_pos + 3 * camera;
      mjtNum* quat = model->cam_quat + 4 * camera;
      for (int i = 0; i < 3; ++i) {
        position[i] =
            original->cam_pos[3 * camera + i] + within(random, randomisation.camera_position);
      }
      mju_copy4(quat, original->cam_quat + 4 * camera);
      turn(quat, randomisation.camera_angle, random);
    }
  }
};

SimRenderer::SimRenderer(const std::filesystem::path& mjcf, std::vector<CameraImage> images,
                         SceneRandomisation randomisation)
    : impl_(std::make_unique<Impl>(mjcf, std::move(images), std::move(randomisation))) {}
SimRenderer::~SimRenderer() = default;
SimRenderer::SimRenderer(SimRenderer&&) noexcept = default;
SimRenderer& SimRenderer::operator=(SimRenderer&&) noexcept = default;

const std::vector<CameraImage>& SimRenderer::images() const noexcept { return impl_->images; }

void SimRenderer::randomise(std::uint64_t seed) noexcept {
  Random random(seed ^ kSceneStream);
  impl_->randomise_lights(random);
  impl_->randomise_colours(random);
  impl_->randomise_cameras(random);
  impl_->randomise_textures(random);
}

bool SimRenderer::render(std::span<const double> qpos, std::span<std::byte> out) noexcept {
  Impl& impl = *impl_;
  if (!impl.context.acquire()) return false;
  impl.upload_textures();
  const mjModel* model = impl.model.get();
  mjData* data = impl.data.get();
  std::copy_n(qpos.begin(), std::min(qpos.size(), static_cast<std::size_t>(model->nq)), data->qpos);
  mj_kinematics(model, data);
  mj_camlight(model, data);
  mjvCamera first = impl.camera(0);
  mjv_updateScene(model, data, &impl.option, nullptr, &first, mjCAT_ALL, &impl.scene);
  std::size_t at = 0;
  for (std::size_t i = 0; i < impl.images.size(); ++i) {
    impl.draw(i, out.data() + at);
    at += impl.images[i].bytes();
  }
  impl.context.release();
  return true;
}

}  // namespace serl_rt
