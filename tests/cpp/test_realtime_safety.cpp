// The tick allocates nothing and takes no lock, while targets, gains and policies change under it.
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <pthread.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "arm_model.hpp"
#include "core/control_loop.hpp"
#include "core/swap_slot.hpp"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SERL_RT_COUNT_CALLS 0  // sanitizers bring their own malloc and mutexes
#else
#define SERL_RT_COUNT_CALLS 1
#endif

namespace {

// Calls made by the thread that is watching itself.
thread_local bool watching = false;
thread_local long allocations = 0;
thread_local long locks = 0;

}  // namespace

#if SERL_RT_COUNT_CALLS
// These stand in front of the C library's; operator new calls malloc.
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* old, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
void __libc_free(void* pointer);

void* malloc(std::size_t size) {
  if (watching) ++allocations;
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  if (watching) ++allocations;
  return __libc_calloc(count, size);
}
void* realloc(void* old, std::size_t size) {
  if (watching) ++allocations;
  return __libc_realloc(old, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  if (watching) ++allocations;
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** pointer, std::size_t alignment, std::size_t size) {
  if (watching) ++allocations;
  *pointer = __libc_memalign(alignment, size);
  return *pointer == nullptr ? 12 : 0;
}
void free(void* pointer) {
  if (watching && pointer != nullptr) ++allocations;
  __libc_free(pointer);
}

int pthread_mutex_lock(pthread_mutex_t* mutex) {
  using Lock = int (*)(pthread_mutex_t*);
  static const auto real = reinterpret_cast<Lock>(dlsym(RTLD_NEXT, "pthread_mutex_lock"));
  if (watching) ++locks;
  return real(mutex);
}
}
#endif

using namespace serl_rt;

namespace {

class Watch {
 public:
  Watch() {
    allocations = 0;
    locks = 0;
    watching = true;
  }
  ~Watch() { watching = false; }
};

// Stands for a policy: an object on the heap with a buffer of its own.
struct Policy {
  explicit Policy(double gain) : weights(1000, gain) {}
  std::vector<double> weights;
};

}  // namespace

#if SERL_RT_COUNT_CALLS
TEST_CASE("the counters count") {
  std::mutex mutex;
  {
    const Watch watch;
    auto value = std::make_unique<int>(1);
    std::vector<double> values(100);
    values.front() = *value;
    const std::lock_guard<std::mutex> lock(mutex);
  }
  CHECK(allocations == 4);  // two come, two go
  CHECK(locks == 1);
}
#endif

// The ticks go on until the loader has had its turns, too: 10,000 of them may pass in one time
// slice.
constexpr int kTicks = 10'000;
constexpr std::uint64_t kSwaps = 20;
constexpr int kTicksAtMost = 50'000'000;

TEST_CASE("10,000 ticks allocate nothing and lock nothing while everything changes") {
  auto records = std::make_unique<RecordRing>();
  test::Arm arm;
  Controller controller{ControllerConfig{}};
  controller.set_record_ring(records.get());
  ControlLoop loop(arm, controller);
  SwapSlot<Policy> policies;
  policies.offer(std::make_unique<Policy>(0.0));
  std::atomic<bool> done = false;

  std::thread loader([&] {
    for (int i = 1; !done; ++i) {
      policies.offer(std::make_unique<Policy>(0.001 * (i % 10)));
      CartesianGains gains;
      gains.translational_stiffness = 1000.0 + i % 1000;
      if (i % 7 == 0) gains.translational_stiffness = -1.0;
      controller.gains().write(gains);
      if (i % 500 == 0) controller.request_stop();
      TickRecord record;
      while (records->try_pop(record)) continue;
      controller.status();
      std::this_thread::yield();
    }
  });

  std::uint64_t swaps = 0;
  test::Random random(81);
  {
    const Watch watch;
    const auto seen = [&](Fault fault) { return controller.faults().count(fault) > 0; };
    const auto everything_happened = [&] {
      return swaps >= kSwaps && seen(Fault::kTargetOutsideWorkspace) && seen(Fault::kTargetStale);
    };
    for (int tick = 0; tick < kTicksAtMost && (tick < kTicks || !everything_happened()); ++tick) {
      if (policies.take()) ++swaps;
      if (tick % 50 == 0) {
        Target target;
        target.mode = static_cast<Mode>(random.integer(0, 5));  // 5 is refused
        target.pose = loop.state().O_T_EE;
        target.pose.position.z() += policies.current()->weights[0];
        if (tick % 150 == 0) target.pose.position.x() = 10.0;
        target.q = test::kHome;
        target.deadline_ns = loop.state().time_ns + 40 * kTickNs;
        controller.targets().write(target);
      }
      if (!loop.step()) break;
    }
  }
  const long allocated = allocations;
  const long locked = locks;
  done = true;
  loader.join();
  CHECK(allocated == 0);
  CHECK(locked == 0);
  CHECK(controller.status().ticks >= kTicks);
  CHECK(swaps >= kSwaps);
  CHECK(controller.faults().count(Fault::kTargetOutsideWorkspace) > 0);
  CHECK(controller.faults().count(Fault::kTargetStale) > 0);
}
