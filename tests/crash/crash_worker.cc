// Works on a store until it is killed, and says afterwards whether what it was promised holds.
//   crash_worker (log|objects|rocksdb) work   DIRECTORY ACKS SEED     runs until killed
//   crash_worker (log|objects|rocksdb) verify DIRECTORY ACKS          exits with 0 if all is well
// ACKS, which lies elsewhere, gets a line for each answer (and for some intents) in one write(2).
#include <fcntl.h>
#include <fmt/format.h>
#include <rocksdb/db.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include "base/bytes.h"
#include "base/file.h"
#include "storage/object_store.h"
#include "wal/log.h"

namespace saker {
namespace {

constexpr int kThreads = 3;
constexpr ChannelId kChannels = 4;

class Acks {
 public:
  explicit Acks(const std::string& path) : fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {}
  ~Acks() { ::close(fd_); }
  void Note(std::string line) {
    line += '\n';
    if (::write(fd_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) std::abort();
  }

 private:
  const int fd_;
};

[[noreturn]] void Wrong(const std::string& what) {
  std::cerr << "WRONG: " << what << std::endl;
  std::_Exit(1);
}

template <typename T>
T Must(Result<T> result, std::string_view what) {
  if (!result.ok()) Wrong(fmt::format("{}: {}", what, result.status().ToString()));
  return std::move(result).value();
}
void Must(const Status& status, std::string_view what) {
  if (!status.ok()) Wrong(fmt::format("{}: {}", what, status.ToString()));
}

// Content that shows by itself whether it is whole.
std::string Sealed(const std::string& text, size_t padding) {
  std::string body = text + "|" + std::string(padding, 'p');
  return fmt::format("{:08x}", Crc32c(body)) + body;
}
std::string Unsealed(std::string_view bytes, const std::string& where) {
  if (bytes.size() < 9 || fmt::format("{:08x}", Crc32c(bytes.substr(8))) != bytes.substr(0, 8)) {
    Wrong(where + " is not whole");
  }
  return std::string(bytes.substr(8, bytes.find('|') - 8));
}

void InThreads(uint64_t seed, const std::function<void(std::mt19937_64&, int)>& step) {
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&step, seed, t] {
      std::mt19937_64 random(seed * 31 + static_cast<uint64_t>(t));
      while (true) step(random, t);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// ------------------------------------------------------------------------------------------------------------- the log

FileLogSettings LogSettings(const std::string& directory) {
  FileLogSettings settings;
  settings.directory = directory + "/log";
  settings.channels = kChannels;
  settings.file_bytes = 64 << 10;
  return settings;
}

void WorkOnLog(const std::string& directory, Acks& acks, uint64_t seed) {
  const auto log = Must(OpenFileLog(LogSettings(directory)), "open");
  const bool truncate = seed % 2 == 1;
  std::vector<Epoch> epochs;
  for (ChannelId c = 0; c < kChannels; ++c) {
    epochs.push_back(Must(log->FencedEpoch(c), "epoch") + 1);
    Must(log->Fence(c, epochs.back(), "").status(), "fence");
    acks.Note(fmt::format("F {} {}", c, epochs.back()));
  }
  std::atomic<int> in_flight{0};
  std::atomic<uint64_t> serial{0};
  InThreads(seed, [&](std::mt19937_64& random, int thread) {
    if (truncate && random() % 40 == 0) {
      const auto c = static_cast<ChannelId>(random() % kChannels);
      const LogOffset before = std::max<LogOffset>(0, Must(log->End(c), "end") - static_cast<LogOffset>(random() % 50));
      acks.Note(fmt::format("B {} {}", c, before));
      Must(log->Truncate(c, before, epochs[static_cast<size_t>(c)]), "truncate");
      acks.Note(fmt::format("T {} {}", c, before));
    }
    while (in_flight > 20) std::this_thread::sleep_for(std::chrono::microseconds(50));
    const size_t count = 1 + random() % 3;
    const std::string request = fmt::format("{}.{}.{}", seed, ::getpid(), serial++);
    std::vector<LogAppend> records;
    std::vector<std::pair<ChannelId, uint32_t>> sent;
    for (size_t i = 0; i < count; ++i) {
      const auto c = static_cast<ChannelId>(random() % kChannels);
      std::string payload = Sealed(fmt::format("{} {} {}", request, i, count), random() % (random() % 20 == 0 ? 20'000 : 300));
      sent.emplace_back(c, Crc32c(payload));
      records.push_back({c, epochs[static_cast<size_t>(c)], std::move(payload)});
    }
    ++in_flight;
    log->Append(std::move(records), [&acks, &in_flight, sent](Result<std::vector<LogOffset>> result) {
      const auto offsets = Must(std::move(result), "append");
      std::string lines;
      for (size_t i = 0; i < sent.size(); ++i) {
        lines += fmt::format("{}A {} {} {}", i == 0 ? "" : "\n", sent[i].first, offsets[i], sent[i].second);
      }
      acks.Note(lines);
      --in_flight;
    });
  });
}

struct LogPromises {
  std::map<LogOffset, uint32_t> records;
  LogOffset truncated = 0;
  LogOffset truncation_intended = 0;
  Epoch fence = 0;
};

void VerifyLog(const std::string& directory, const std::string& acks_path) {
  std::vector<LogPromises> promises(kChannels);
  std::ifstream acks(acks_path);
  char kind = 0;
  size_t channel = 0;
  int64_t number = 0;
  size_t appended = 0;
  while (acks >> kind >> channel >> number) {
    LogPromises& promise = promises.at(channel);
    if (kind == 'F') promise.fence = std::max(promise.fence, number);
    if (kind == 'B') promise.truncation_intended = std::max(promise.truncation_intended, number);
    if (kind == 'T') promise.truncated = std::max(promise.truncated, number);
    if (kind == 'A') {
      acks >> promise.records[number];
      ++appended;
    }
  }
  const auto log = Must(OpenFileLog(LogSettings(directory)), "open");
  std::map<std::string, std::pair<size_t, size_t>> requests;  // records found, records it had
  bool truncated = false;
  size_t found = 0;
  for (ChannelId c = 0; c < kChannels; ++c) {
    const LogPromises& promise = promises[static_cast<size_t>(c)];
    const LogOffset begin = Must(log->Begin(c), "begin");
    truncated |= promise.truncation_intended > 0;
    if (begin < promise.truncated || begin > promise.truncation_intended) {
      Wrong(fmt::format("channel {} begins at {}: truncated at {}", c, begin, promise.truncated));
    }
    if (Must(log->FencedEpoch(c), "epoch") < promise.fence) Wrong(fmt::format("channel {} lost fence {}", c, promise.fence));
    std::map<LogOffset, uint32_t> present;
    for (LogOffset from = begin, end = Must(log->End(c), "end"); from < end;) {
      for (const LogRecord& record : Must(log->Read(c, from, 100'000), "read")) {
        if (record.offset != from) Wrong(fmt::format("channel {} has {} where {} is due", c, record.offset, from));
        ++from;
        if (record.type != LogRecordType::kData) continue;
        present[record.offset] = Crc32c(record.payload);
        std::istringstream text(Unsealed(record.payload, fmt::format("channel {} offset {}", c, record.offset)));
        std::string request;
        size_t i = 0;
        size_t count = 0;
        text >> request >> i >> count;
        ++requests[request].first;
        requests[request].second = count;
        ++found;
      }
    }
    for (const auto& [offset, crc] : promise.records) {
      if (offset < begin) continue;
      const auto at = present.find(offset);
      if (at == present.end()) Wrong(fmt::format("channel {} lost offset {}", c, offset));
      if (at->second != crc) Wrong(fmt::format("channel {} has something else at offset {}", c, offset));
    }
  }
  for (const auto& [request, counts] : requests) {
    if (!truncated && counts.first != counts.second) Wrong("request " + request + " is there in part");
  }
  std::cout << appended << " acknowledged, " << found << " found\n";
}

// ------------------------------------------------------------------------------------------------------------- objects

void WorkOnObjects(const std::string& directory, Acks& acks, uint64_t seed) {
  const auto store = Must(OpenDirectoryStore(directory + "/objects"), "open");
  std::atomic<uint64_t> serial{0};
  InThreads(seed, [&](std::mt19937_64& random, int thread) {
    // A name belongs to one thread, so that its versions rise.
    const std::string name = fmt::format("t{}/d{}/o{}", thread, random() % 3, random() % 5);
    const uint64_t version = seed * 1'000'000 + ++serial;
    const std::string content = Sealed(fmt::format("{} {}", name, version), random() % (random() % 10 == 0 ? 300'000 : 2000));
    switch (random() % 4) {
      case 0:
        acks.Note(fmt::format("D {} {}", name, version));
        Must(store->Delete(name), "delete");
        break;
      case 1: {
        const std::string unique = fmt::format("unique/{}", version);
        const std::string mine = Sealed(fmt::format("{} {}", unique, version), random() % 1000);
        Must(store->PutIfAbsent(unique, mine), "put if absent");
        acks.Note(fmt::format("P {} {}", unique, version));
        break;
      }
      case 2: {
        auto writer = Must(store->Create(name), "create");
        Must(writer->Append(std::string_view(content).substr(0, content.size() / 2)), "append");
        Must(writer->Append(std::string_view(content).substr(content.size() / 2)), "append");
        Must(writer->Finish(), "finish");
        acks.Note(fmt::format("P {} {}", name, version));
        break;
      }
      default:
        Must(store->Put(name, content), "put");
        acks.Note(fmt::format("P {} {}", name, version));
    }
  });
}

void VerifyObjects(const std::string& directory, const std::string& acks_path) {
  std::map<std::string, uint64_t> put;
  std::map<std::string, uint64_t> deleted;
  std::ifstream acks(acks_path);
  char kind = 0;
  std::string name;
  uint64_t version = 0;
  while (acks >> kind >> name >> version) (kind == 'P' ? put : deleted)[name] = version;
  const auto store = Must(OpenDirectoryStore(directory + "/objects"), "open");
  std::map<std::string, uint64_t> found;
  for (const ObjectInfo& info : Must(store->List(""), "list")) {
    std::istringstream text(Unsealed(Must(store->Get(info.name), "get"), "object " + info.name));
    text >> name >> version;
    if (name != info.name) Wrong(fmt::format("{} has the content of {}", info.name, name));
    found[name] = version;
  }
  for (const auto& [promised, at_least] : put) {
    const bool may_be_gone = deleted.contains(promised) && deleted[promised] > at_least;
    if (!found.contains(promised) && may_be_gone) continue;
    if (!found.contains(promised)) Wrong(fmt::format("object {} is lost", promised));
    if (found[promised] < at_least) Wrong(fmt::format("object {} is the old one", promised));
  }
  std::cout << put.size() << " acknowledged, " << found.size() << " found\n";
}

// ------------------------------------------------------------------------------------------- RocksDB, the meta store's

std::unique_ptr<rocksdb::DB> OpenRocks(const std::string& directory) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.write_buffer_size = 64 << 10;  // many flushes, compactions and manifests
  options.max_manifest_file_size = 4 << 10;
  options.level0_file_num_compaction_trigger = 2;
  // RocksDB makes its directory, but doesn't sync its parent.
  Must(MakeDirectories(directory + "/rocksdb"), "make directory");
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(options, directory + "/rocksdb", &db);
  if (!status.ok()) Wrong("open: " + status.ToString());
  return std::unique_ptr<rocksdb::DB>(db);
}

void WorkOnRocks(const std::string& directory, Acks& acks, uint64_t seed) {
  const auto db = OpenRocks(directory);
  rocksdb::WriteOptions synced;
  synced.sync = true;
  std::atomic<uint64_t> serial{0};
  InThreads(seed, [&](std::mt19937_64& random, int thread) {
    const std::string key = fmt::format("k{}", seed * 1'000'000 + ++serial);
    const rocksdb::Status put = db->Put(synced, key, Sealed(key, random() % 2000));
    if (!put.ok()) Wrong("put: " + put.ToString());
    acks.Note(key);
  });
}

void VerifyRocks(const std::string& directory, const std::string& acks_path) {
  const auto db = OpenRocks(directory);
  std::ifstream acks(acks_path);
  std::string key;
  size_t count = 0;
  while (acks >> key) {
    std::string value;
    const rocksdb::Status got = db->Get({}, key, &value);
    if (!got.ok()) Wrong(fmt::format("key {}: {}", key, got.ToString()));
    if (Unsealed(value, "key " + key) != key) Wrong("key " + key + " has another's value");
    ++count;
  }
  std::cout << count << " acknowledged and found\n";
}

int Run(int argc, char** argv) {
  if (argc < 5) {
    std::cerr << "usage: crash_worker (log|objects|rocksdb) (work|verify) DIRECTORY ACKS [SEED]\n";
    return 2;
  }
  const std::string store = argv[1];
  const bool work = std::string(argv[2]) == "work";
  const std::string directory = argv[3];
  const std::string acks_path = argv[4];
  const uint64_t seed = argc > 5 ? std::strtoull(argv[5], nullptr, 10) : 0;
  Acks acks(acks_path);
  if (store == "log") work ? WorkOnLog(directory, acks, seed) : VerifyLog(directory, acks_path);
  if (store == "objects") work ? WorkOnObjects(directory, acks, seed) : VerifyObjects(directory, acks_path);
  if (store == "rocksdb") work ? WorkOnRocks(directory, acks, seed) : VerifyRocks(directory, acks_path);
  return 0;
}

}  // namespace
}  // namespace saker

int main(int argc, char** argv) { return saker::Run(argc, argv); }
