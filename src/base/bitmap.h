// A dense bitmap of rows: the currency of filters. Word-wise, no hidden allocation after construction.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace saker {

class Bitmap {
 public:
  Bitmap() = default;
  explicit Bitmap(int64_t size, bool value = false) { Reset(size, value); }

  void Reset(int64_t size, bool value) {
    size_ = size;
    words_.assign(static_cast<size_t>((size + 63) / 64), value ? ~uint64_t{0} : 0);
    ClearTail();
  }
  int64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  bool Test(int64_t i) const { return (words_[i >> 6] >> (i & 63)) & 1; }
  void Set(int64_t i) { words_[i >> 6] |= uint64_t{1} << (i & 63); }
  void Clear(int64_t i) { words_[i >> 6] &= ~(uint64_t{1} << (i & 63)); }
  void SetRange(int64_t begin, int64_t end);
  void And(const Bitmap& other);
  void AndNot(const Bitmap& other);
  void Or(const Bitmap& other);
  void Flip();
  int64_t Count() const {
    int64_t n = 0;
    for (const uint64_t word : words_) n += std::popcount(word);
    return n;
  }
  bool All() const { return Count() == size_; }
  uint64_t* words() { return words_.data(); }
  const uint64_t* words() const { return words_.data(); }
  int64_t word_count() const { return static_cast<int64_t>(words_.size()); }

  // Calls f(row) for each set bit, in order.
  template <typename F>
  void ForEach(F&& f) const {
    for (size_t w = 0; w < words_.size(); ++w) {
      for (uint64_t bits = words_[w]; bits != 0; bits &= bits - 1) {
        f(static_cast<int64_t>(w) * 64 + std::countr_zero(bits));
      }
    }
  }

 private:
  void ClearTail() {
    if ((size_ & 63) != 0) words_.back() &= (uint64_t{1} << (size_ & 63)) - 1;
  }
  int64_t size_ = 0;
  std::vector<uint64_t> words_;
};

inline void Bitmap::SetRange(int64_t begin, int64_t end) {
  for (; begin < end && (begin & 63) != 0; ++begin) Set(begin);
  for (; begin + 64 <= end; begin += 64) words_[begin >> 6] = ~uint64_t{0};
  for (; begin < end; ++begin) Set(begin);
}
inline void Bitmap::And(const Bitmap& other) {
  for (size_t i = 0; i < words_.size(); ++i) words_[i] &= other.words_[i];
}
inline void Bitmap::AndNot(const Bitmap& other) {
  for (size_t i = 0; i < words_.size(); ++i) words_[i] &= ~other.words_[i];
}
inline void Bitmap::Or(const Bitmap& other) {
  for (size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
}
inline void Bitmap::Flip() {
  for (auto& word : words_) word = ~word;
  ClearTail();
}

}  // namespace saker
