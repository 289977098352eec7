// Writing files of megabytes beside a control thread: the kernel is given small pieces.
#pragma once

#include <cstddef>
#include <span>

namespace serl_rt {

// As write(2), but all of it. Recent kernels keep what comes in one call as one piece (a large
// folio) and copy, write back and free it without a pause: for megabytes that takes milliseconds,
// in which an ordinary kernel lets no other thread run on that core, not even the control thread.
// False: errno says why.
[[nodiscard]] bool write_in_pieces(int descriptor, std::span<const std::byte> bytes) noexcept;

// The same, and never more than a megabyte waits for the disk: what the disk has taken is concluded
// without a pause, too. For a file that is to be synced, which then has little left to do.
[[nodiscard]] bool write_through_in_pieces(int descriptor,
                                           std::span<const std::byte> bytes) noexcept;

}  // namespace serl_rt
