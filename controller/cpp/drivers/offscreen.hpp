// An OpenGL context without a window (EGL): on a GPU where there is one, else in software.
#pragma once

#include <memory>

namespace serl_rt {

class OffscreenContext {
 public:
  // Throws Error that says what to install.
  OffscreenContext();
  ~OffscreenContext();
  OffscreenContext(const OffscreenContext&) = delete;
  OffscreenContext& operator=(const OffscreenContext&) = delete;

  // Makes the calling thread the one that draws, until release(). False: another thread is.
  bool acquire() noexcept;
  void release() noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace serl_rt
