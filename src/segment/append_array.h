// An array that only grows at its end and never moves an element: one writer, any number of readers without a lock.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <utility>

namespace saker {

// Elements live in blocks of doubling size, so that an element's address is two steps away and stays.
template <typename T>
class AppendArray {
 public:
  AppendArray() = default;
  AppendArray(const AppendArray&) = delete;
  AppendArray& operator=(const AppendArray&) = delete;
  ~AppendArray() {
    for (auto& block : blocks_) delete[] block.load(std::memory_order_relaxed);
  }

  // What a reader finds below size() is whole.
  int64_t size() const { return size_.load(std::memory_order_acquire); }
  const T& operator[](int64_t i) const {
    const Place place = PlaceOf(i);
    return blocks_[place.block].load(std::memory_order_acquire)[place.offset];
  }
  // The writer's alone.
  void PushBack(T value) {
    const int64_t i = size_.load(std::memory_order_relaxed);
    const Place place = PlaceOf(i);
    T* block = blocks_[place.block].load(std::memory_order_relaxed);
    if (block == nullptr) {
      block = new T[size_t{1} << (place.block + kFirstBits)];
      blocks_[place.block].store(block, std::memory_order_release);
    }
    block[place.offset] = std::move(value);
    size_.store(i + 1, std::memory_order_release);
  }
  int64_t memory_bytes() const {
    int64_t bytes = sizeof(*this);
    for (size_t b = 0; b < blocks_.size(); ++b) {
      if (blocks_[b].load(std::memory_order_relaxed) != nullptr) bytes += (int64_t{1} << (b + kFirstBits)) * sizeof(T);
    }
    return bytes;
  }

 private:
  static constexpr int kFirstBits = 3;
  struct Place {
    int block;
    int64_t offset;
  };
  static Place PlaceOf(int64_t i) {
    const uint64_t shifted = static_cast<uint64_t>(i) + (uint64_t{1} << kFirstBits);
    const int top = std::bit_width(shifted) - 1;
    return {top - kFirstBits, static_cast<int64_t>(shifted - (uint64_t{1} << top))};
  }
  std::atomic<int64_t> size_{0};
  std::array<std::atomic<T*>, 34> blocks_{};
};

}  // namespace saker
