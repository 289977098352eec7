// The only file that sees ONNX Runtime. The library is opened at run time: its symbols carry the
// exact version, so a program that links it runs with that one only; and a robot PC gets it with
// pip.
#include "policy/onnx_model.hpp"

#include <dlfcn.h>
#include <onnxruntime_cxx_api.h>

#include <cstdlib>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "core/error.hpp"

namespace serl_rt {
namespace {

std::mutex& hint_mutex() {
  static std::mutex mutex;
  return mutex;
}

std::filesystem::path& hint() {
  static std::filesystem::path path;
  return path;
}

using GetApiBase = const OrtApiBase* (*)();

struct Library {
  GetApiBase api_base;
  std::string path;
};

// Opens the first library that can be opened. It stays open until the process ends. A path in the
// environment is an order, so it is the only one tried.
Library open_library() {
  std::vector<std::string> candidates;
  if (const char* path = std::getenv("SERL_RT_ONNXRUNTIME"); path != nullptr && *path != '\0') {
    candidates = {path};
  } else {
    const std::scoped_lock lock(hint_mutex());
    if (!hint().empty()) candidates.push_back(hint().string());
    candidates.emplace_back("libonnxruntime.so.1");
  }
  std::string tried;
  for (const std::string& path : candidates) {
    void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    void* symbol = handle == nullptr ? nullptr : dlsym(handle, "OrtGetApiBase");
    if (symbol != nullptr) return {reinterpret_cast<GetApiBase>(symbol), path};
    const char* reason = dlerror();
    tried += "\n  " + path + ": " + (reason != nullptr ? reason : "no symbol OrtGetApiBase");
  }
  throw Error(
      "ONNX Runtime was not found. Install it (pip install onnxruntime) or set "
      "SERL_RT_ONNXRUNTIME to the path of libonnxruntime.so. Tried:" +
      tried);
}

// ONNX Runtime with its environment: one for the whole process, made at the first use. Never
// destroyed: at the process's end nothing says that the library's own globals still exist.
class OnnxRuntime {
 public:
  static OnnxRuntime& instance() {
    static OnnxRuntime* const runtime = new OnnxRuntime;
    return *runtime;
  }

  std::string version;
  std::optional<Ort::Env> env;  // only there when the library is: its destructor calls it

 private:
  OnnxRuntime() {
    const Library library = open_library();
    const OrtApiBase* base = library.api_base();
    version = base->GetVersionString();
    const OrtApi* api = base->GetApi(ORT_API_VERSION);
    if (api == nullptr) {
      throw Error("ONNX Runtime " + version + " (" + library.path + ") is too old: 1." +
                  std::to_string(ORT_API_VERSION) + " or newer is needed");
    }
    Ort::InitApi(api);
    // Whatever goes wrong is thrown as well; the policy side reports it once.
    env.emplace(ORT_LOGGING_LEVEL_FATAL, "serl_rt");
  }
};

// One thread, the caller's: a small network gains nothing from more, and spinning workers would
// take the control thread's core.
Ort::SessionOptions session_options() {
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  options.SetInterOpNumThreads(1);
  options.SetExecutionMode(ExecutionMode::ORT_SEQUENTIAL);
  options.SetGraphOptimizationLevel(GraphOptimizationLevel::ORT_ENABLE_ALL);
  options.AddConfigEntry("session.intra_op.allow_spinning", "0");
  return options;
}

Tensor make_tensor(std::string name, const Ort::TypeInfo& type) {
  Tensor tensor{std::move(name), {}, Element::kOther};
  if (type.GetONNXType() == ONNX_TYPE_TENSOR) {
    const auto info = type.GetTensorTypeAndShapeInfo();
    tensor.shape = info.GetShape();
    const auto type_of_one = info.GetElementType();
    tensor.element = type_of_one == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT   ? Element::kFloat
                     : type_of_one == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 ? Element::kByte
                                                                          : Element::kOther;
  }
  return tensor;
}

// A view of a caller's memory.
Ort::Value make_value(const Tensor& tensor, void* data) {
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const std::vector<std::int64_t>& shape = tensor.shape;
  if (tensor.element == Element::kByte) {
    return Ort::Value::CreateTensor(memory, static_cast<std::uint8_t*>(data), tensor.size(),
                                    shape.data(), shape.size());
  }
  return Ort::Value::CreateTensor(memory, static_cast<float*>(data), tensor.size(), shape.data(),
                                  shape.size());
}

}  // namespace

void set_onnxruntime_hint(const std::filesystem::path& library) {
  const std::scoped_lock lock(hint_mutex());
  hint() = library;
}

std::string onnxruntime_version() { return OnnxRuntime::instance().version; }

struct OnnxModel::Impl {
  std::string what;
  Ort::Session session{nullptr};
  Ort::RunOptions run_options{nullptr};
  Ort::IoBinding binding{nullptr};

  // Throws Error when `work` throws as ONNX Runtime does.
  template <typename Work>
  auto checked(const std::string& problem, const Work& work) const {
    try {
      return work();
    } catch (const Ort::Exception& error) {
      throw Error(what + ": " + problem + ": " + error.what());
    }
  }
};

OnnxModel::OnnxModel(std::span<const std::byte> model, std::string what) {
  OnnxRuntime& runtime = OnnxRuntime::instance();
  impl_ = std::make_unique<Impl>();  // after that: even an empty one calls the library at its end
  impl_->what = std::move(what);
  impl_->checked("not a usable ONNX model", [&] {
    impl_->session = Ort::Session(*runtime.env, model.data(), model.size(), session_options());
    impl_->run_options = Ort::RunOptions();
    impl_->binding = Ort::IoBinding(impl_->session);
  });
}

OnnxModel::~OnnxModel() = default;
OnnxModel::OnnxModel(OnnxModel&&) noexcept = default;
OnnxModel& OnnxModel::operator=(OnnxModel&&) noexcept = default;

std::string OnnxModel::metadata(const std::string& key) const {
  return impl_->checked("metadata '" + key + "' cannot be read", [&]() -> std::string {
    Ort::AllocatorWithDefaultOptions allocator;
    const auto value =
        impl_->session.GetModelMetadata().LookupCustomMetadataMapAllocated(key.c_str(), allocator);
    return value ? value.get() : "";
  });
}

std::vector<Tensor> OnnxModel::inputs() const {
  return impl_->checked("its inputs cannot be read", [&] {
    Ort::AllocatorWithDefaultOptions allocator;
    std::vector<Tensor> tensors;
    tensors.reserve(impl_->session.GetInputCount());
    for (std::size_t i = 0; i < impl_->session.GetInputCount(); ++i) {
      tensors.push_back(make_tensor(impl_->session.GetInputNameAllocated(i, allocator).get(),
                                    impl_->session.GetInputTypeInfo(i)));
    }
    return tensors;
  });
}

std::vector<Tensor> OnnxModel::outputs() const {
  return impl_->checked("its outputs cannot be read", [&] {
    Ort::AllocatorWithDefaultOptions allocator;
    std::vector<Tensor> tensors;
    tensors.reserve(impl_->session.GetOutputCount());
    for (std::size_t i = 0; i < impl_->session.GetOutputCount(); ++i) {
      tensors.push_back(make_tensor(impl_->session.GetOutputNameAllocated(i, allocator).get(),
                                    impl_->session.GetOutputTypeInfo(i)));
    }
    return tensors;
  });
}

void OnnxModel::bind_input(const Tensor& tensor, void* data) {
  impl_->checked("input " + tensor.name + " cannot be prepared",
                 [&] { impl_->binding.BindInput(tensor.name.c_str(), make_value(tensor, data)); });
}

void OnnxModel::bind_output(const Tensor& tensor, void* data) {
  impl_->checked("output " + tensor.name + " cannot be prepared",
                 [&] { impl_->binding.BindOutput(tensor.name.c_str(), make_value(tensor, data)); });
}

bool OnnxModel::run() noexcept {
  try {
    impl_->session.Run(impl_->run_options, impl_->binding);
  } catch (...) {  // thrown by an operator or by terminate(); the caller counts and holds
    return false;
  }
  return true;
}

void OnnxModel::terminate() noexcept {
  const OrtApi& api = Ort::GetApi();  // its C++ form throws
  if (OrtStatus* failure = api.RunOptionsSetTerminate(impl_->run_options)) {
    api.ReleaseStatus(failure);  // the run then ends by itself
  }
}

}  // namespace serl_rt
