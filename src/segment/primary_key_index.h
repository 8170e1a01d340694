// From primary keys to rows: a hash table of a growing segment, and of a sealed one a sorted order with a filter before
// it. Keys are hashed by one function, which files hold: it never changes.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/column.h"
#include "segment/append_array.h"
#include "segment/growing_column.h"

namespace saker {

uint64_t KeyHash(int64_t key);
uint64_t KeyHash(std::string_view key);

// One writer, readers without a lock. A slot leads to a key's newest row, from which its older rows are chained, so that
// a key written a million times is as quick to delete as any other.
class GrowingKeyIndex {
 public:
  explicit GrowingKeyIndex(const GrowingColumn* keys);
  ~GrowingKeyIndex();
  // Adds rows [first, first + count), which are in the key column but not yet published.
  void Add(int64_t first, int64_t count);
  // Calls visit(row) for the key's rows below `published`, newest first, until it returns false.
  template <typename Visit>
  void ForEach(int64_t key, int64_t published, Visit&& visit) const {
    Walk(Newest(KeyHash(key), [&](int64_t row) { return KeyAt<int64_t>(row) == key; }), published, visit);
  }
  template <typename Visit>
  void ForEach(std::string_view key, int64_t published, Visit&& visit) const {
    Walk(Newest(KeyHash(key), [&](int64_t row) { return KeyAt<std::string_view>(row) == key; }), published, visit);
  }
  bool has_repeated_keys() const { return repeated_.load(std::memory_order_acquire); }
  int64_t memory_bytes() const;

 private:
  struct Table {
    explicit Table(uint32_t capacity) : mask(capacity - 1), slots(new std::atomic<uint64_t>[capacity]()) {}
    const uint32_t mask;
    // 0: empty; otherwise the key's hash << 32 | row + 1.
    std::unique_ptr<std::atomic<uint64_t>[]> slots;
  };
  template <typename Key>
  Key KeyAt(int64_t row) const {
    const FilterSource::Chunk chunk = keys_->ChunkAt(row, row + 1);
    if constexpr (std::is_same_v<Key, int64_t>) {
      return chunk.column.At<int64_t>(row - chunk.first_row);
    } else {
      return chunk.column.Bytes(row - chunk.first_row);
    }
  }
  // The newest row (+ 1) whose key has this hash and satisfies `same`; 0: none.
  template <typename Same>
  int64_t Newest(uint64_t hash, Same&& same) const {
    const Table& table = *table_.load(std::memory_order_acquire);
    const auto tag = static_cast<uint32_t>(hash);
    for (uint32_t i = tag & table.mask;; i = (i + 1) & table.mask) {
      const uint64_t slot = table.slots[i].load(std::memory_order_acquire);
      if (slot == 0) return 0;
      const auto row = static_cast<uint32_t>(slot);
      if (static_cast<uint32_t>(slot >> 32) == tag && same(int64_t{row} - 1)) return row;
    }
  }
  template <typename Visit>
  void Walk(int64_t row_plus_one, int64_t published, Visit&& visit) const {
    for (int64_t row = row_plus_one - 1; row >= 0; row = int64_t{older_[row]} - 1) {
      if (row < published && !visit(row)) return;
    }
  }
  template <typename Key>
  void AddKey(Key key, int64_t row);
  void Grow();

  const GrowingColumn* const keys_;
  std::atomic<const Table*> table_;
  std::vector<std::unique_ptr<Table>> tables_;  // the last is in use; readers may still look into the others
  AppendArray<uint32_t> older_;                 // of each row: the next older row of its key + 1; 0: none
  std::atomic<bool> repeated_{false};
  int64_t used_ = 0;
};

// A split-block Bloom filter of a sealed segment's keys: one cache line tells that a key is not here (1 in 100 errs).
class KeyFilter {
 public:
  KeyFilter() = default;
  explicit KeyFilter(std::string_view bytes) : bytes_(bytes) {}  // borrowed, a multiple of 32 bytes
  bool MayHave(uint64_t hash) const;
  // The bytes of a filter of these keys.
  static std::string Build(std::span<const uint64_t> hashes);

 private:
  std::string_view bytes_;
};

// A sealed segment's rows by key, over borrowed memory.
class SealedKeyIndex {
 public:
  SealedKeyIndex() = default;
  // order: rows by rising (key, row); null: they lie in that order.
  SealedKeyIndex(const ColumnView& keys, const uint32_t* order, KeyFilter filter)
      : keys_(keys), order_(order), filter_(filter) {}
  int64_t RowAt(int64_t i) const { return order_ == nullptr ? i : int64_t{order_[i]}; }
  template <typename Visit>
  void ForEach(int64_t key, Visit&& visit) const {
    if (!filter_.MayHave(KeyHash(key))) return;
    Scan([&](int64_t row) { return keys_.At<int64_t>(row) < key; },
         [&](int64_t row) { return keys_.At<int64_t>(row) == key; }, visit);
  }
  template <typename Visit>
  void ForEach(std::string_view key, Visit&& visit) const {
    if (!filter_.MayHave(KeyHash(key))) return;
    Scan([&](int64_t row) { return keys_.Bytes(row) < key; }, [&](int64_t row) { return keys_.Bytes(row) == key; }, visit);
  }

 private:
  template <typename Less, typename Same, typename Visit>
  void Scan(Less&& less, Same&& same, Visit&& visit) const {
    int64_t low = 0;
    int64_t high = keys_.rows;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (less(RowAt(middle))) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    for (; low < keys_.rows && same(RowAt(low)); ++low) visit(RowAt(low));
  }
  ColumnView keys_;
  const uint32_t* order_ = nullptr;
  KeyFilter filter_;
};

}  // namespace saker
