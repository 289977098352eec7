// Who may connect: addresses of this machine, or those who hold keys.
#include "link/keys.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "fake_learner.hpp"
#include "link/command_server.hpp"

using namespace serl_rt;
using namespace serl_rt::test;

namespace {

std::filesystem::path make_folder(const std::string& name) {
  const auto folder = std::filesystem::temp_directory_path() /
                      ("serl_rt_test_keys_" + std::to_string(::getpid())) / name;
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

}  // namespace

TEST_CASE("addresses that others can reach need keys") {
  CHECK(is_local("tcp://127.0.0.1:5588"));
  CHECK(is_local("tcp://[::1]:5588"));
  CHECK(is_local("ipc:///tmp/socket"));
  for (const char* endpoint : {"tcp://*:5588", "tcp://0.0.0.0:5588", "tcp://192.168.1.2:5588",
                               "tcp://127.0.0.1.example.org:5588", "tcp://eth0:5588", ""}) {
    CAPTURE(endpoint);
    CHECK_FALSE(is_local(endpoint));
    CHECK_THROWS_WITH_AS(CommandServer(Messaging::create(), endpoint, {}),
                         doctest::Contains("there are no keys"), Error);
    CHECK_THROWS_WITH_AS(Link(Messaging::create(), config_for(endpoint), layout(), accept),
                         doctest::Contains("there are no keys"), Error);
  }
  CHECK_THROWS_WITH_AS(CommandServer(Messaging::create(), "tcp://127.0.0.1:port", {}),
                       doctest::Contains("cannot listen"), Error);
}

TEST_CASE("key folders are checked") {
  const auto folder = make_folder("keys");
  CHECK_THROWS_WITH_AS(load_keys(folder), doctest::Contains("cannot read"), Error);
  const auto own = folder / "own.key_secret";
  std::ofstream(own) << "curve\n    public-key = \"too short\"\n";
  CHECK_THROWS_WITH_AS(load_keys(folder), doctest::Contains("has no line: public-key"), Error);
  const std::string key = "0123456789012345678901234567890123456789";
  std::ofstream(own) << "    public-key = \"" << key << "\"\n    secret-key = \"" << key << "\"\n";
  ::chmod(own.c_str(), 0644);
  CHECK_THROWS_WITH_AS(load_keys(folder), doctest::Contains("chmod 600"), Error);
  ::chmod(own.c_str(), 0600);
  CHECK_THROWS_WITH_AS(load_keys(folder), doctest::Contains("nobody could connect"), Error);
  std::filesystem::create_directories(folder / "trusted");
  std::ofstream(folder / "trusted/learner.key") << "    public-key = \"" << key << "\"\n";
  const Keys keys = load_keys(folder);
  CHECK(keys.trusted_key("learner") == key);
  CHECK_THROWS_WITH_AS(keys.trusted_key("operator"), doctest::Contains("there are: learner"),
                       Error);
  std::filesystem::remove_all(folder.parent_path());
}
