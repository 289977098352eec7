// EGL is opened at run time, like ONNX Runtime: a robot PC without cameras in simulation needs
// neither the library nor its headers.
#include "drivers/offscreen.hpp"

#include <dlfcn.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <type_traits>

#include "core/error.hpp"

namespace serl_rt {
namespace {

// The part of EGL 1.5 that is used here; values as in the Khronos registry.
using Boolean = unsigned int;
using Display = void*;
using Config = void*;
using Surface = void*;
using Context = void*;
constexpr std::int32_t kNone = 0x3038;
constexpr std::int32_t kSurfaceType = 0x3033;
constexpr std::int32_t kPbufferBit = 0x0001;
constexpr std::int32_t kRenderableType = 0x3040;
constexpr std::int32_t kOpenGlBit = 0x0008;
constexpr std::int32_t kRedSize = 0x3024;
constexpr std::int32_t kGreenSize = 0x3023;
constexpr std::int32_t kBlueSize = 0x3022;
constexpr std::int32_t kDepthSize = 0x3025;
constexpr std::int32_t kWidth = 0x3057;
constexpr std::int32_t kHeight = 0x3056;
constexpr unsigned kOpenGlApi = 0x30A2;
constexpr unsigned kPlatformDevice = 0x313F;       // EGL_EXT_platform_device
constexpr unsigned kPlatformSurfaceless = 0x31DD;  // EGL_MESA_platform_surfaceless
constexpr int kMostDevices = 16;

struct Egl {
  void* (*get_proc_address)(const char*) = nullptr;
  Display (*get_display)(void*) = nullptr;
  Boolean (*initialize)(Display, std::int32_t*, std::int32_t*) = nullptr;
  Boolean (*bind_api)(unsigned) = nullptr;
  Boolean (*choose_config)(Display, const std::int32_t*, Config*, std::int32_t,
                           std::int32_t*) = nullptr;
  Context (*create_context)(Display, Config, Context, const std::int32_t*) = nullptr;
  Surface (*create_pbuffer)(Display, Config, const std::int32_t*) = nullptr;
  Boolean (*make_current)(Display, Surface, Surface, Context) = nullptr;
  Boolean (*destroy_context)(Display, Context) = nullptr;
  Boolean (*destroy_surface)(Display, Surface) = nullptr;
  Display (*get_platform_display)(unsigned, void*, const std::int32_t*) = nullptr;  // maybe null
  Boolean (*query_devices)(std::int32_t, void**, std::int32_t*) = nullptr;          // maybe null
};

constexpr char kAdvice[] =
    "drawing the simulated cameras needs EGL: install libegl1 and libgl1-mesa-dri (software), or "
    "a GPU's driver";

// Opened once, never closed: drivers do not survive that.
const Egl& egl() {
  static const Egl functions = [] {
    // Software drawing by the calling thread alone: no workers that take the control loop's core.
    setenv("LP_NUM_THREADS", "0", 0);
    void* library = dlopen("libEGL.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) throw Error(std::string(kAdvice) + " (" + dlerror() + ")");
    Egl egl;
    const auto load = [library](auto& function, const char* name) {
      function =
          reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
      if (function == nullptr) throw Error(std::string(kAdvice) + " (no " + name + ")");
    };
    load(egl.get_proc_address, "eglGetProcAddress");
    load(egl.get_display, "eglGetDisplay");
    load(egl.initialize, "eglInitialize");
    load(egl.bind_api, "eglBindAPI");
    load(egl.choose_config, "eglChooseConfig");
    load(egl.create_context, "eglCreateContext");
    load(egl.create_pbuffer, "eglCreatePbufferSurface");
    load(egl.make_current, "eglMakeCurrent");
    load(egl.destroy_context, "eglDestroyContext");
    load(egl.destroy_surface, "eglDestroySurface");
    const auto extension = [&egl](auto& function, const char* name) {
      function =
          reinterpret_cast<std::remove_reference_t<decltype(function)>>(egl.get_proc_address(name));
    };
    extension(egl.get_platform_display, "eglGetPlatformDisplayEXT");
    extension(egl.query_devices, "eglQueryDevicesEXT");
    return egl;
  }();
  return functions;
}

// The first of: each device (GPUs come first), no window system at all, whatever is the default.
Display open_display() {
  const Egl& e = egl();
  const auto usable = [&e](Display display) {
    std::int32_t major = 0;
    std::int32_t minor = 0;
    return display != nullptr && e.initialize(display, &major, &minor) != 0;
  };
  if (e.get_platform_display != nullptr) {
    std::array<void*, kMostDevices> devices{};
    std::int32_t count = 0;
    if (e.query_devices != nullptr && e.query_devices(kMostDevices, devices.data(), &count) != 0) {
      for (std::int32_t i = 0; i < count; ++i) {
        void* const device = devices[static_cast<std::size_t>(i)];
        const Display display = e.get_platform_display(kPlatformDevice, device, nullptr);
        if (usable(display)) return display;
      }
    }
    const Display display = e.get_platform_display(kPlatformSurfaceless, nullptr, nullptr);
    if (usable(display)) return display;
  }
  const Display display = e.get_display(nullptr);
  if (usable(display)) return display;
  throw Error(std::string(kAdvice) + " (no display)");
}

}  // namespace

struct OffscreenContext::Impl {
  Display display = nullptr;
  Surface surface = nullptr;
  Context context = nullptr;
};

OffscreenContext::OffscreenContext() : impl_(std::make_unique<Impl>()) {
  const Egl& e = egl();
  impl_->display = open_display();  // shared by the process, so it is never terminated
  constexpr std::array kWanted{
      kSurfaceType, kPbufferBit, kRenderableType, kOpenGlBit, kRedSize, 8, kGreenSize, 8,
      kBlueSize,    8,           kDepthSize,      24,         kNone};
  constexpr std::array kSmall{kWidth, 8, kHeight, 8,
                              kNone};  // one draws into a buffer of one's own
  Config config = nullptr;
  std::int32_t found = 0;
  if (e.bind_api(kOpenGlApi) == 0 ||
      e.choose_config(impl_->display, kWanted.data(), &config, 1, &found) == 0 || found == 0) {
    throw Error(std::string(kAdvice) + " (no OpenGL)");
  }
  impl_->surface = e.create_pbuffer(impl_->display, config, kSmall.data());
  impl_->context = e.create_context(impl_->display, config, nullptr, nullptr);
  if (impl_->context == nullptr) throw Error(std::string(kAdvice) + " (no context)");
}

OffscreenContext::~OffscreenContext() {
  release();
  egl().destroy_context(impl_->display, impl_->context);
  if (impl_->surface != nullptr) egl().destroy_surface(impl_->display, impl_->surface);
}

bool OffscreenContext::acquire() noexcept {
  return egl().bind_api(kOpenGlApi) != 0 &&
         egl().make_current(impl_->display, impl_->surface, impl_->surface, impl_->context) != 0;
}

void OffscreenContext::release() noexcept {
  egl().make_current(impl_->display, nullptr, nullptr, nullptr);
}

}  // namespace serl_rt
