#include "link/camera_receiver.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "link/fields.hpp"
#include "link/wire.hpp"

namespace serl_rt {
namespace {

// How far ahead of this process's clock an image may be: both read the same one.
constexpr std::int64_t kClockSlack_ns = 1'000'000;

// The monotonic clock, which the processes of a machine share (steady_clock on Linux).
std::int64_t now_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string shape(std::uint64_t height, std::uint64_t width) {
  return "(" + std::to_string(height) + ", " + std::to_string(width) + ", 3)";
}

Socket bound_socket(std::shared_ptr<Messaging> messaging, const std::string& endpoint,
                    const std::vector<CameraImage>& images) {
  if (!is_local(endpoint)) {
    throw Error("--cameras " + endpoint + ": images come from this machine: use tcp://127.0.0.1");
  }
  std::size_t largest = kMaxHeaderBytes;
  for (const CameraImage& image : images) largest = std::max(largest, image.bytes());
  Socket socket(std::move(messaging), Socket::Kind::kRouter, largest);
  socket.bind(endpoint);
  return socket;
}

}  // namespace

CameraReceiver::CameraReceiver(std::shared_ptr<Messaging> messaging, const std::string& endpoint,
                               std::vector<CameraImage> images)
    : images_(std::move(images)),
      newest_ns_(images_.size(), 0),
      socket_(bound_socket(std::move(messaging), endpoint, images_)),
      endpoint_(socket_.endpoint()) {
  for (const CameraImage& image : images_) {
    slots_.push_back(std::make_unique<ImageSlot>(image.bytes()));
  }
  thread_ = std::thread([this] { run(); });
}

CameraReceiver::~CameraReceiver() {
  stopping_ = true;
  wake_.signal();
  thread_.join();
}

void CameraReceiver::read(std::span<std::byte> out, std::span<std::int64_t> ages_ns) noexcept {
  std::size_t at = 0;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const auto taken_ns = slots_[i]->read(out.subspan(at, images_[i].bytes()));
    ages_ns[i] = taken_ns ? now_ns() - *taken_ns : kNoImage;
    at += images_[i].bytes();
  }
}

CameraStats CameraReceiver::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void CameraReceiver::run() {
  while (!stopping_) {
    while (const std::optional<Received> message = socket_.receive()) {
      std::string refusal;
      try {
        take(message->frames());
      } catch (const std::exception& error) {
        refusal = error.what();
      }
      const std::lock_guard lock(mutex_);
      ++(refusal.empty() ? stats_.received : stats_.refused);
      if (!refusal.empty()) stats_.last_refusal = clean_text(refusal);
    }
    socket_.wait(std::chrono::seconds(1), wake_);
  }
}

// ROUTER: the first frame says who sends.
void CameraReceiver::take(const std::vector<BytesView>& frames) {
  if (frames.size() != 3) throw WireError("image has " + std::to_string(frames.size()) + " frames");
  const Fields fields(unpack(frames[1]));
  if (fields.type() != "image") throw WireError("unexpected message " + fields.type());
  const std::string name = fields.name("image");
  const auto found = std::find_if(images_.begin(), images_.end(),
                                  [&](const CameraImage& image) { return image.name == name; });
  if (found == images_.end()) throw WireError("image " + name + " is not in the contract");
  fields.choice("dtype", {"u1"});
  fields.choice("channels", {"rgb"});
  const std::uint64_t height = fields.u64("height");
  const std::uint64_t width = fields.u64("width");
  if (height != static_cast<std::uint64_t>(found->height) ||
      width != static_cast<std::uint64_t>(found->width)) {
    throw WireError(
        "image " + name + " has shape " + shape(height, width) + "; the contract has " +
        shape(static_cast<std::uint64_t>(found->height), static_cast<std::uint64_t>(found->width)));
  }
  if (frames[2].size() != found->bytes()) {
    throw WireError("image " + name + " has " + std::to_string(frames[2].size()) + " bytes");
  }
  const auto index = static_cast<std::size_t>(found - images_.begin());
  const auto taken_ns = static_cast<std::int64_t>(fields.u64("time_ns", 0, INT64_MAX));
  if (taken_ns <= newest_ns_[index]) throw WireError("image " + name + " is not newer: stale");
  if (taken_ns > now_ns() + kClockSlack_ns) {
    throw WireError("image " + name + " was taken in the future: time_ns must be this machine's " +
                    "monotonic clock");
  }
  newest_ns_[index] = taken_ns;
  std::copy(frames[2].begin(), frames[2].end(), slots_[index]->back().begin());
  slots_[index]->publish(taken_ns);
}

}  // namespace serl_rt
