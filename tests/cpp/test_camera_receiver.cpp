// Images from another process: the right ones reach the policy thread, the wrong ones are named.
#include "link/camera_receiver.hpp"

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <thread>

#include "golden_wire.hpp"

using namespace serl_rt;

namespace {

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// What serl-rt cameras sends.
class Sender {
 public:
  explicit Sender(const std::string& endpoint)
      : socket_(Messaging::create(), Socket::Kind::kDealer, 1 << 20) {
    socket_.connect(endpoint, "controller");
  }

  void send(const Value::Map& header, std::size_t bytes, int value) {
    const Bytes packed = pack(header);
    const Bytes image(bytes, std::byte(value));
    const std::array<BytesView, 2> frames = {packed, image};
    for (int i = 0; i < 1000 && !socket_.send(frames); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

 private:
  Socket socket_;
};

Value::Map header(const std::string& name, int height, int width, std::int64_t time_ns) {
  return {{"type", "image"}, {"image", name},     {"height", height},  {"width", width},
          {"dtype", "u1"},   {"channels", "rgb"}, {"time_ns", time_ns}};
}

template <class Condition>
bool eventually(const Condition& condition) {
  for (int i = 0; i < 10'000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

}  // namespace

TEST_CASE("images arrive in the contract's order, with their ages") {
  CameraReceiver receiver(Messaging::create(), "tcp://127.0.0.1:*",
                          {{"front", 2, 3}, {"wrist", 1, 1}});
  Sender sender(receiver.endpoint());
  std::vector<std::byte> out(21);
  std::vector<std::int64_t> ages(2);
  receiver.read(out, ages);
  CHECK(ages[0] == kNoImage);
  sender.send(header("wrist", 1, 1, now_ns()), 3, 7);
  REQUIRE(eventually([&] { return receiver.stats().received == 1; }));
  receiver.read(out, ages);
  CHECK(ages[0] == kNoImage);
  CHECK(ages[1] >= 0);
  CHECK(out[18] == std::byte{7});
  const std::int64_t taken = now_ns() - 500'000'000;
  sender.send(header("front", 2, 3, taken), 18, 9);
  REQUIRE(eventually([&] { return receiver.stats().received == 2; }));
  receiver.read(out, ages);
  CHECK(ages[0] >= 500'000'000);
  CHECK(out[0] == std::byte{9});
  CHECK(out[17] == std::byte{9});
  CHECK(out[18] == std::byte{7});
}

TEST_CASE("a wrong image is refused by name, and the one before stays") {
  CameraReceiver receiver(Messaging::create(), "tcp://127.0.0.1:*", {{"front", 2, 3}});
  Sender sender(receiver.endpoint());
  const std::int64_t taken = now_ns();
  sender.send(header("front", 2, 3, taken), 18, 1);
  REQUIRE(eventually([&] { return receiver.stats().received == 1; }));
  const auto changed = [&](const std::string& key, Value value) {
    Value::Map fields = header("front", 2, 3, now_ns());
    for (auto& [name, old] : fields) {
      if (name == key) old = std::move(value);
    }
    return fields;
  };
  struct Wrong {
    Value::Map header;
    std::size_t bytes;
    const char* reason;
  };
  const Wrong wrong[] = {
      {changed("image", "back"), 18, "back is not in the contract"},
      {changed("height", 3), 18, "has shape (3, 3, 3); the contract has (2, 3, 3)"},
      {changed("width", 2), 18, "has shape (2, 2, 3)"},
      {changed("dtype", "f4"), 18, "dtype"},
      {changed("channels", "bgr"), 18, "channels"},
      {changed("type", "picture"), 18, "picture"},
      {header("front", 2, 3, now_ns()), 17, "has 17 bytes"},
      {header("front", 2, 3, taken), 18, "stale"},
      {header("front", 2, 3, now_ns() + 10'000'000'000), 18, "future"},
  };
  std::uint64_t refused = 0;
  for (const Wrong& image : wrong) {
    sender.send(image.header, image.bytes, 2);
    ++refused;
    REQUIRE(eventually([&] { return receiver.stats().refused == refused; }));
    CHECK(receiver.stats().last_refusal.find(image.reason) != std::string::npos);
  }
  std::vector<std::byte> out(18);
  std::vector<std::int64_t> ages(1);
  receiver.read(out, ages);
  CHECK(out[0] == std::byte{1});
  CHECK(receiver.stats().received == 1);
}

TEST_CASE("images of other machines are not taken") {
  CHECK_THROWS_WITH_AS(CameraReceiver(Messaging::create(), "tcp://0.0.0.0:5592", {{"front", 2, 3}}),
                       doctest::Contains("this machine"), Error);
}
