// The only file that sees ONNX Runtime. The library is opened at run time: its symbols carry the
// exact version, so a program that links it runs with that one only; and a robot PC gets it with
// pip.
#include "policy/session.hpp"

#include <dlfcn.h>
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "policy/tensors.hpp"

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

std::vector<Tensor> inputs(const Ort::Session& session) {
  Ort::AllocatorWithDefaultOptions allocator;
  std::vector<Tensor> tensors;
  tensors.reserve(session.GetInputCount());
  for (std::size_t i = 0; i < session.GetInputCount(); ++i) {
    tensors.push_back(make_tensor(session.GetInputNameAllocated(i, allocator).get(),
                                  session.GetInputTypeInfo(i)));
  }
  return tensors;
}

std::vector<Tensor> outputs(const Ort::Session& session) {
  Ort::AllocatorWithDefaultOptions allocator;
  std::vector<Tensor> tensors;
  tensors.reserve(session.GetOutputCount());
  for (std::size_t i = 0; i < session.GetOutputCount(); ++i) {
    tensors.push_back(make_tensor(session.GetOutputNameAllocated(i, allocator).get(),
                                  session.GetOutputTypeInfo(i)));
  }
  return tensors;
}

}  // namespace

void set_onnxruntime_hint(const std::filesystem::path& library) {
  const std::scoped_lock lock(hint_mutex());
  hint() = library;
}

std::string onnxruntime_version() { return OnnxRuntime::instance().version; }

struct PolicySession::Impl {
  Ort::Session session{nullptr};
  Ort::RunOptions run_options{nullptr};
  Ort::IoBinding binding{nullptr};
  std::vector<float> observation;  // all fields; each input is a slice of it
  std::vector<std::uint8_t> images;
  std::vector<float> noise;
  std::vector<float> action;

  void allocate(const Contract& contract);
  void bind(const std::vector<Tensor>& tensors);
};

PolicySession::PolicySession(std::span<const std::byte> model) {
  OnnxRuntime& runtime = OnnxRuntime::instance();
  impl_ = std::make_unique<Impl>();  // after that: even an empty one calls the library at its end
  try {
    impl_->session = Ort::Session(*runtime.env, model.data(), model.size(), session_options());
    impl_->run_options = Ort::RunOptions();
  } catch (const Ort::Exception& error) {
    throw Error(std::string("policy: not a usable ONNX model: ") + error.what());
  }
}

PolicySession::~PolicySession() = default;
PolicySession::PolicySession(PolicySession&&) noexcept = default;
PolicySession& PolicySession::operator=(PolicySession&&) noexcept = default;

std::string PolicySession::metadata(const std::string& key) const {
  try {
    Ort::AllocatorWithDefaultOptions allocator;
    const auto value =
        impl_->session.GetModelMetadata().LookupCustomMetadataMapAllocated(key.c_str(), allocator);
    return value ? value.get() : "";
  } catch (const Ort::Exception& error) {
    throw Error("policy: metadata '" + key + "' cannot be read: " + error.what());
  }
}

void PolicySession::bind(const Contract& contract) {
  const std::vector<Tensor> expected = expected_inputs(contract);
  try {
    check_tensors("input", inputs(impl_->session), expected);
    check_tensors("output", outputs(impl_->session), expected_outputs(contract));
    impl_->allocate(contract);
    impl_->bind(expected);
  } catch (const Ort::Exception& error) {
    throw Error(std::string("policy: cannot be prepared: ") + error.what());
  }
}

void PolicySession::Impl::allocate(const Contract& contract) {
  observation.resize(static_cast<std::size_t>(contract.observation_dim()));
  std::size_t bytes = 0;
  for (const ImageField& image : contract.images) bytes += image.bytes();
  images.resize(bytes);
  noise.resize(static_cast<std::size_t>(contract.action_dim()));
  action.resize(noise.size());
}

// Every input is a slice of the buffer of its kind, so that a run only fills buffers.
void PolicySession::Impl::bind(const std::vector<Tensor>& tensors) {
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const auto value = [&memory](auto* data, const Tensor& tensor) {
    std::size_t size = 1;
    for (const std::int64_t extent : tensor.shape) size *= static_cast<std::size_t>(extent);
    return std::pair(
        Ort::Value::CreateTensor(memory, data, size, tensor.shape.data(), tensor.shape.size()),
        size);
  };
  binding = Ort::IoBinding(session);
  float* field = observation.data();
  std::uint8_t* image = images.data();
  for (const Tensor& tensor : tensors) {
    if (tensor.name == "noise") {
      binding.BindInput("noise", value(noise.data(), tensor).first);
      binding.BindOutput("action", value(action.data(), tensor).first);
    } else if (tensor.element == Element::kByte) {
      const auto [input, size] = value(image, tensor);
      binding.BindInput(tensor.name.c_str(), input);
      image += size;
    } else {
      const auto [input, size] = value(field, tensor);
      binding.BindInput(tensor.name.c_str(), input);
      field += size;
    }
  }
}

bool PolicySession::run(const PolicyInput& input, std::span<float> action) noexcept {
  Impl& impl = *impl_;
  if (input.observation.size() != impl.observation.size() ||
      input.noise.size() != impl.noise.size() || input.images.size() != impl.images.size() ||
      action.size() != impl.action.size()) {
    return false;
  }
  std::copy(input.observation.begin(), input.observation.end(), impl.observation.begin());
  std::copy(input.noise.begin(), input.noise.end(), impl.noise.begin());
  if (!impl.images.empty()) {
    std::memcpy(impl.images.data(), input.images.data(), impl.images.size());
  }
  try {
    impl.session.Run(impl.run_options, impl.binding);
  } catch (...) {  // thrown by an operator or by terminate(); the caller counts and holds
    return false;
  }
  std::copy(impl.action.begin(), impl.action.end(), action.begin());
  return true;
}

void PolicySession::terminate() noexcept {
  const OrtApi& api = Ort::GetApi();  // its C++ form throws
  if (OrtStatus* failure = api.RunOptionsSetTerminate(impl_->run_options)) {
    api.ReleaseStatus(failure);  // the run then ends by itself
  }
}

}  // namespace serl_rt
