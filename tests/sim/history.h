// What clients did and saw, and whether it could have been so: each key is a register that one client writes, one
// operation after another; reads are strong. An operation whose fate is unknown may have happened at any time since it
// began, or never; its key is written no more.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace saker::sim {

class History {
 public:
  // An operation on a key: value 0 deletes. Returns its number.
  int Begin(int64_t key, int64_t value);
  void Acknowledged(int64_t key, int number);  // what isn't stays unknown

  // What a strong read from `began_us` until now saw of all keys: those that aren't there are absent. What is wrong with
  // it, or "".
  std::string Read(int64_t began_us, const std::map<int64_t, int64_t>& seen);

  size_t operations() const { return operations_; }
  size_t acknowledged() const { return acknowledged_; }
  size_t reads() const { return reads_; }

 private:
  struct Operation {
    int64_t value = 0;
    int64_t began_us = 0;
    int64_t ended_us = INT64_MAX;
  };
  struct Key {
    std::vector<Operation> operations;
    std::vector<std::pair<int64_t, int>> seen;  // until when a read saw the effect of which operation
  };
  std::string Check(int64_t number, Key& key, int64_t began_us, int64_t value) const;

  std::map<int64_t, Key> keys_;
  size_t operations_ = 0;
  size_t acknowledged_ = 0;
  size_t reads_ = 0;
};

}  // namespace saker::sim
