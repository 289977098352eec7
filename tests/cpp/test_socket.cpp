// What the sockets ask of the kernel.
#include "link/socket.hpp"

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

using namespace serl_rt;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t kMaxFrameBytes = 1000;
// The kernel doubles what it is asked for. Unasked it begins with less, and then takes megabytes.
constexpr int kBuffer = 2 * 128 * 1024;

int port_of(const sockaddr_in& address) { return ntohs(address.sin_port); }

// The receive buffers [bytes] of this process's connections from or to a port of this machine.
std::vector<int> receive_buffers(int port) {
  std::vector<int> sizes;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int descriptor = std::stoi(entry.path().filename().string());
    sockaddr_in peer{};
    sockaddr_in own{};
    socklen_t length = sizeof(peer);
    if (getpeername(descriptor, reinterpret_cast<sockaddr*>(&peer), &length) != 0) continue;
    length = sizeof(own);
    if (getsockname(descriptor, reinterpret_cast<sockaddr*>(&own), &length) != 0) continue;
    if (peer.sin_family != AF_INET || (port_of(peer) != port && port_of(own) != port)) continue;
    int size = 0;
    length = sizeof(size);
    REQUIRE(getsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, &length) == 0);
    sizes.push_back(size);
  }
  return sizes;
}

}  // namespace

TEST_CASE("the kernel may have little of a large message in hand, on both sides") {
  const auto messaging = Messaging::create();
  Socket server(messaging, Socket::Kind::kRouter, kMaxFrameBytes);
  server.bind("tcp://127.0.0.1:*");
  const std::string endpoint = server.endpoint();
  Socket client(messaging, Socket::Kind::kDealer, kMaxFrameBytes);
  client.connect(endpoint, "learner");

  const std::array<std::byte, 1> byte{};
  const BytesView frame(byte);
  WakeUp wake;
  const auto end = std::chrono::steady_clock::now() + 20s;
  bool connected = false;
  while (!connected && std::chrono::steady_clock::now() < end) {
    (void)client.send({&frame, 1});
    server.wait(20ms, wake);
    connected = server.receive().has_value();
  }
  REQUIRE(connected);
  const std::vector<int> sizes =
      receive_buffers(std::stoi(endpoint.substr(endpoint.rfind(':') + 1)));
  CHECK(sizes.size() == 2);
  for (const int size : sizes) CHECK(size == kBuffer);
}
