#include "app/data_files.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <vector>

namespace serl_rt {
namespace {

namespace fs = std::filesystem;

// .../lib/python3.11/site-packages beside the executable's folder, if any.
std::vector<fs::path> python_packages(const fs::path& prefix) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(prefix / "lib", ignored)) {
    const fs::path packages = entry.path() / "site-packages";
    if (fs::is_directory(packages, ignored)) found.push_back(packages);
  }
  return found;
}

fs::path onnxruntime_in(const fs::path& packages) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(packages / "onnxruntime" / "capi", ignored)) {
    if (entry.path().filename().string().starts_with("libonnxruntime.so.")) {
      found.push_back(entry.path());
    }
  }
  return found.empty() ? fs::path() : *std::max_element(found.begin(), found.end());
}

}  // namespace

Options find_data_files() {
  std::vector<fs::path> roots;
  if (const char* data = std::getenv("SERL_RT_DATA")) roots.emplace_back(data);
  std::error_code ignored;
  const fs::path prefix = fs::read_symlink("/proc/self/exe", ignored).parent_path().parent_path();
  std::vector<fs::path> packages = python_packages(prefix);
  for (const fs::path& folder : packages) roots.push_back(folder / "serl_rt");
  roots.emplace_back(SERL_RT_SOURCE_DIR);
  for (const fs::path& folder : python_packages(fs::path(SERL_RT_SOURCE_DIR) / ".venv")) {
    packages.push_back(folder);
  }

  Options options;
  for (const fs::path& root : roots) {
    if (options.tasks_dir.empty() && fs::is_directory(root / "controller/tasks", ignored)) {
      options.tasks_dir = root / "controller/tasks";
    }
    if (options.assets_dir.empty() && fs::is_directory(root / "sim/assets", ignored)) {
      options.assets_dir = root / "sim/assets";
    }
  }
  for (const fs::path& folder : packages) {
    if (options.onnxruntime.empty()) options.onnxruntime = onnxruntime_in(folder);
  }
  return options;
}

}  // namespace serl_rt
