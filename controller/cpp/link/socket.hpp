// ZeroMQ sockets that send and receive whole messages and never block, except in wait().
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "link/value.hpp"

namespace serl_rt {

// True for endpoints that only this machine can reach: loopback addresses, ipc, inproc.
bool is_local(const std::string& endpoint);

// What the sockets of a process share. With keys, every socket is encrypted and only trusted
// machines may connect; without, only local endpoints are allowed. Thread safe; outlives its
// sockets by shared ownership.
class Messaging {
 public:
  // `keys`: a folder that `serl-rt keys` made; empty: no encryption. Throws Error.
  static std::shared_ptr<Messaging> create(const std::filesystem::path& keys = {});
  ~Messaging();

  struct Impl;
  Impl& impl() noexcept { return *impl_; }

 private:
  Messaging();
  std::unique_ptr<Impl> impl_;
};

// A received message; frames are views into it.
class Received {
 public:
  Received();
  ~Received();
  Received(Received&&) noexcept;
  Received& operator=(Received&&) noexcept;

  const std::vector<BytesView>& frames() const noexcept { return frames_; }

 private:
  friend class Socket;
  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::vector<BytesView> frames_;
};

// Wakes a thread that waits in Socket::wait(). Any thread may signal; the waiting one clears.
class WakeUp {
 public:
  WakeUp();
  ~WakeUp();
  WakeUp(const WakeUp&) = delete;
  WakeUp& operator=(const WakeUp&) = delete;

  void signal() noexcept;
  void clear() noexcept;
  int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

// Belongs to one thread at a time.
class Socket {
 public:
  enum class Kind { kDealer, kRouter, kPub, kSub };

  // A message with a frame larger than `max_frame_bytes` ends the connection it came from.
  Socket(std::shared_ptr<Messaging> messaging, Kind kind, std::size_t max_frame_bytes);
  ~Socket();
  Socket(Socket&&) noexcept;
  Socket& operator=(Socket&&) noexcept;

  // Throws Error: the endpoint is malformed, in use, or not local while there are no keys.
  // A port may be given as *; endpoint() then tells which.
  void bind(const std::string& endpoint);

  // `server`: whose key the other side has, one of the trusted. Returns at once; the connection is
  // made, and made again when it breaks, in the background. Until then send() returns false.
  void connect(const std::string& endpoint, const std::string& server);

  // All or nothing. False: not now (no connection, or its queue is full).
  bool send(std::span<const BytesView> frames);

  // The next message, if there is one.
  std::optional<Received> receive();

  // Until a message can be received, `wake` is signalled or the time is over.
  void wait(std::chrono::milliseconds timeout, WakeUp& wake);

  std::string endpoint() const;  // that was bound

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace serl_rt
