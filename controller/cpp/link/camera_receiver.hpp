// Images from another process (serl-rt cameras), on a thread of its own: checked, and the newest of
// each camera kept for the policy thread.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "drivers/camera.hpp"
#include "drivers/image_slot.hpp"
#include "link/socket.hpp"

namespace serl_rt {

// A snapshot; counts are since the start.
struct CameraStats {
  std::uint64_t received = 0;
  std::uint64_t refused = 0;
  std::string last_refusal;  // what was wrong with the last refused image
};

class CameraReceiver final : public Cameras {
 public:
  // Starts listening. Throws Error: the endpoint is in use, or not local (images are not for other
  // machines: their times would mean nothing here).
  CameraReceiver(std::shared_ptr<Messaging> messaging, const std::string& endpoint,
                 std::vector<CameraImage> images);
  ~CameraReceiver() override;

  const std::vector<CameraImage>& images() const noexcept override { return images_; }
  void read(std::span<std::byte> out, std::span<std::int64_t> ages_ns) noexcept override;

  const std::string& endpoint() const noexcept { return endpoint_; }
  CameraStats stats() const;  // any thread

 private:
  void run();
  void take(const std::vector<BytesView>& frames);

  const std::vector<CameraImage> images_;
  std::vector<std::unique_ptr<ImageSlot>> slots_;
  std::vector<std::int64_t> newest_ns_;  // the receiving thread's
  Socket socket_;
  const std::string endpoint_;
  WakeUp wake_;
  std::atomic<bool> stopping_ = false;
  mutable std::mutex mutex_;  // stats_
  CameraStats stats_;
  std::thread thread_;
};

}  // namespace serl_rt
