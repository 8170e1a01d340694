#include "segment/primary_key_index.h"

#include <array>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace saker {
namespace {

constexpr uint32_t kFirstTableSlots = 32;
constexpr size_t kFilterBlockBytes = 32;
constexpr size_t kFilterBitsPerKey = 12;
constexpr uint64_t kHashSeed = 0x5a4b;
// Odd multipliers, one for each word of a block.
constexpr std::array<uint32_t, 8> kFilterSalts = {0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f,
                                                  0x165667b1, 0xd3a2646d, 0xfd7046c5, 0xb55a4f09};

size_t FilterBlock(uint64_t hash, size_t blocks) {
  return static_cast<size_t>(((hash >> 32) * static_cast<uint64_t>(blocks)) >> 32) * kFilterBlockBytes;
}
uint32_t FilterBit(uint64_t hash, size_t word) {
  return uint32_t{1} << ((static_cast<uint32_t>(hash) * kFilterSalts[word]) >> 27);
}

}  // namespace

uint64_t KeyHash(int64_t key) { return XXH64(&key, sizeof(key), kHashSeed); }
uint64_t KeyHash(std::string_view key) { return XXH64(key.data(), key.size(), kHashSeed); }

GrowingKeyIndex::GrowingKeyIndex(const GrowingColumn* keys) : keys_(keys) {
  tables_.push_back(std::make_unique<Table>(kFirstTableSlots));
  table_.store(tables_.back().get(), std::memory_order_release);
}
GrowingKeyIndex::~GrowingKeyIndex() = default;

void GrowingKeyIndex::Add(int64_t first, int64_t count) {
  const bool is_string = IsString(keys_->field().type);
  for (int64_t row = first; row < first + count; ++row) {
    is_string ? AddKey(KeyAt<std::string_view>(row), row) : AddKey(KeyAt<int64_t>(row), row);
  }
}

template <typename Key>
void GrowingKeyIndex::AddKey(Key key, int64_t row) {
  Table* table = tables_.back().get();
  if (used_ * 10 >= int64_t{table->mask} * 7) {
    Grow();
    table = tables_.back().get();
  }
  const auto tag = static_cast<uint32_t>(KeyHash(key));
  const uint64_t mine = (uint64_t{tag} << 32) | static_cast<uint32_t>(row + 1);
  for (uint32_t i = tag & table->mask;; i = (i + 1) & table->mask) {
    const uint64_t slot = table->slots[i].load(std::memory_order_relaxed);
    const auto newest = static_cast<uint32_t>(slot);
    const bool same = slot != 0 && static_cast<uint32_t>(slot >> 32) == tag && KeyAt<Key>(int64_t{newest} - 1) == key;
    if (slot != 0 && !same) continue;
    older_.PushBack(same ? newest : 0);
    if (same) {
      repeated_.store(true, std::memory_order_release);
    } else {
      ++used_;
    }
    table->slots[i].store(mine, std::memory_order_release);
    return;
  }
}

void GrowingKeyIndex::Grow() {
  const Table& old = *tables_.back();
  auto table = std::make_unique<Table>((old.mask + 1) * 2);
  for (uint32_t i = 0; i <= old.mask; ++i) {
    const uint64_t slot = old.slots[i].load(std::memory_order_relaxed);
    if (slot == 0) continue;
    uint32_t at = static_cast<uint32_t>(slot >> 32) & table->mask;
    while (table->slots[at].load(std::memory_order_relaxed) != 0) at = (at + 1) & table->mask;
    table->slots[at].store(slot, std::memory_order_relaxed);
  }
  table_.store(table.get(), std::memory_order_release);
  tables_.push_back(std::move(table));
}

int64_t GrowingKeyIndex::memory_bytes() const {
  // All tables ever used together have fewer than twice the slots of the last.
  const Table& table = *table_.load(std::memory_order_acquire);
  return older_.memory_bytes() + int64_t{table.mask} * 2 * static_cast<int64_t>(sizeof(uint64_t));
}

bool KeyFilter::MayHave(uint64_t hash) const {
  if (bytes_.empty()) return true;
  const char* block = bytes_.data() + FilterBlock(hash, bytes_.size() / kFilterBlockBytes);
  for (size_t word = 0; word < kFilterSalts.size(); ++word) {
    uint32_t bits = 0;
    std::memcpy(&bits, block + word * sizeof(bits), sizeof(bits));
    if ((bits & FilterBit(hash, word)) == 0) return false;
  }
  return true;
}

std::string KeyFilter::Build(std::span<const uint64_t> hashes) {
  const size_t blocks = (hashes.size() * kFilterBitsPerKey + kFilterBlockBytes * 8 - 1) / (kFilterBlockBytes * 8);
  std::string out(blocks * kFilterBlockBytes, '\0');
  for (const uint64_t hash : hashes) {
    char* block = out.data() + FilterBlock(hash, blocks);
    for (size_t word = 0; word < kFilterSalts.size(); ++word) {
      uint32_t bits = 0;
      std::memcpy(&bits, block + word * sizeof(bits), sizeof(bits));
      bits |= FilterBit(hash, word);
      std::memcpy(block + word * sizeof(bits), &bits, sizeof(bits));
    }
  }
  return out;
}

}  // namespace saker
