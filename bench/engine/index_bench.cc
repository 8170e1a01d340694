// Build time, memory, recall and queries per CPU-second of a vector index over a data set.
//
//   index_bench DIR [--type HNSW] [--metric COSINE] [--param M=16]… [--k 10] [--sweep ef|nprobe] [--values 10,20,…]
//               [--threads 1] [--filters 0.01,0.1,0.5] [--near 0.05,0.24] [--rounds 3] [--file PATH] [--open PATH]
//
// DIR holds train.f32, test.f32 and neighbors.i32 as hdf5_to_bin.py writes them. One query per call, one thread; rates are
// per second of the thread's CPU time, the best of the rounds. With --file the index is saved there, mapped and searched
// from the mapping; with --open it is not built but opened from such a file.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <set>
#include <string>

#include <fmt/format.h>

#include "distance/kernels.h"
#include "index/vector_index.h"

using namespace saker;

namespace {

template <typename T>
struct Matrix {
  int rows = 0, columns = 0;
  std::vector<T> data;
  const T* Row(int i) const { return &data[static_cast<size_t>(i) * columns]; }
};

template <typename T>
Matrix<T> ReadMatrix(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  Matrix<T> m;
  in.read(reinterpret_cast<char*>(&m.rows), 4);
  in.read(reinterpret_cast<char*>(&m.columns), 4);
  if (!in) {
    fmt::print(stderr, "cannot read {}\n", path);
    std::exit(1);
  }
  m.data.resize(static_cast<size_t>(m.rows) * m.columns);
  in.read(reinterpret_cast<char*>(m.data.data()), static_cast<std::streamsize>(m.data.size() * sizeof(T)));
  return m;
}

double CpuSeconds(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

struct Options {
  std::string dir, type = "HNSW", metric = "COSINE", sweep = "ef", file, open;
  KeyValues params;
  std::vector<int> values = {10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 400};
  int k = 10, threads = 1, rounds = 3;
  std::vector<double> filters, near;  // rates of rows that pass: at random; near to and far from a point
};

std::vector<double> Numbers(std::string text) {
  std::vector<double> out;
  for (char* p = std::strtok(text.data(), ","); p != nullptr; p = std::strtok(nullptr, ",")) out.push_back(std::atof(p));
  return out;
}

Options ParseOptions(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    const auto value = [&] { return std::string(i + 1 < argc ? argv[++i] : ""); };
    if (arg == "--type") o.type = value();
    else if (arg == "--metric") o.metric = value();
    else if (arg == "--sweep") o.sweep = value();
    else if (arg == "--file") o.file = value();
    else if (arg == "--open") o.open = value();
    else if (arg == "--k") o.k = std::stoi(value());
    else if (arg == "--threads") o.threads = std::stoi(value());
    else if (arg == "--rounds") o.rounds = std::stoi(value());
    else if (arg == "--filters") o.filters = Numbers(value());
    else if (arg == "--near") o.near = Numbers(value());
    else if (arg == "--param") {
      const std::string text = value();
      o.params.emplace_back(text.substr(0, text.find('=')), text.substr(text.find('=') + 1));
    } else if (arg == "--values") {
      o.values.clear();
      for (const double v : Numbers(value())) o.values.push_back(static_cast<int>(v));
    } else {
      o.dir = arg;
    }
  }
  return o;
}

class Bench {
 public:
  Bench(const Options& options, const VectorIndex& index, const VectorView& view, const Matrix<float>& queries)
      : options_(options), index_(index), view_(view), queries_(queries) {}

  void Run(const std::string& label, const VectorSearchParams& params, const Bitmap* allowed,
           const std::vector<std::set<int64_t>>& truth) const {
    const int64_t count = allowed == nullptr ? index_.rows() : allowed->Count();
    double best = 1e30, recall = 0;
    std::vector<Neighbor> found;
    for (int round = 0; round < options_.rounds; ++round) {
      size_t hits = 0, wanted = 0;
      const double begin = CpuSeconds(CLOCK_THREAD_CPUTIME_ID);
      std::vector<std::vector<Neighbor>> all(queries_.rows);
      for (int q = 0; q < queries_.rows; ++q) {
        index_.Search(reinterpret_cast<const uint8_t*>(queries_.Row(q)), params, allowed, count, all[q]);
      }
      best = std::min(best, CpuSeconds(CLOCK_THREAD_CPUTIME_ID) - begin);
      for (int q = 0; q < queries_.rows; ++q) {
        wanted += truth[q].size();
        for (const Neighbor& n : all[q]) hits += truth[q].count(n.row);
      }
      recall = static_cast<double>(hits) / static_cast<double>(std::max<size_t>(1, wanted));
    }
    fmt::print("{:<28} recall {:.4f}  {:>8.0f} QPS per core\n", label, recall, queries_.rows / best);
    std::fflush(stdout);
  }

  std::vector<std::set<int64_t>> Truth(const Bitmap* allowed, int k) const {
    std::vector<std::set<int64_t>> truth(queries_.rows);
    for (int q = 0; q < queries_.rows; ++q) {
      TopK top(k);
      ExactSearch(view_, index_.metric(), reinterpret_cast<const uint8_t*>(queries_.Row(q)), {.k = k}, allowed, 0, top);
      for (const Neighbor& n : top.TakeSorted()) truth[q].insert(n.row);
    }
    return truth;
  }

 private:
  const Options& options_;
  const VectorIndex& index_;
  const VectorView& view_;
  const Matrix<float>& queries_;
};

void RunFilters(const Options& options, const VectorIndex& index, const VectorView& view, const Matrix<float>& queries) {
  Matrix<float> some = queries;
  some.rows = std::min(some.rows, 200);
  const Bench bench(options, index, view, some);
  std::mt19937_64 rng(5);
  for (const double rate : options.filters) {
    Bitmap allowed(view.rows);
    for (int64_t i = 0; i < view.rows; ++i) {
      if (std::uniform_real_distribution<>()(rng) < rate) allowed.Set(i);
    }
    const auto truth = bench.Truth(&allowed, options.k);
    for (const int ef : {64}) bench.Run(fmt::format("random {}% ef {}", rate * 100, ef), {.k = options.k, .ef = ef}, &allowed, truth);
  }
  // Rows near to (and far from) one point in space: for most queries the filter and the neighbourhood have little in common.
  for (const double rate : options.near) {
    for (const bool near : {true, false}) {
      std::vector<std::pair<float, int64_t>> order;
      for (int64_t i = 0; i < view.rows; ++i) {
        const float d = ExactDistance(view.type, index.metric(), view.dim, view.Row(17), view.Row(i));
        order.emplace_back(near ? d : -d, i);
      }
      std::sort(order.begin(), order.end());
      Bitmap allowed(view.rows);
      for (size_t i = 0; i < static_cast<size_t>(rate * static_cast<double>(order.size())); ++i) allowed.Set(order[i].second);
      const auto truth = bench.Truth(&allowed, options.k);
      bench.Run(fmt::format("{} a point {}% ef 64", near ? "near" : "far from", rate * 100), {.k = options.k, .ef = 64}, &allowed, truth);
    }
  }
}

std::unique_ptr<VectorIndex> Taken(Result<std::unique_ptr<VectorIndex>> result) {
  if (result.ok()) return std::move(*result);
  fmt::print(stderr, "{}\n", result.status().ToString());
  std::exit(1);
}

std::unique_ptr<VectorIndex> Build(const Options& options, Metric metric, const VectorView& view) {
  const double cpu = CpuSeconds(CLOCK_PROCESS_CPUTIME_ID), wall = CpuSeconds(CLOCK_MONOTONIC);
  auto index = Taken(BuildVectorIndex(options.type, metric, options.params, view, {.threads = options.threads, .nice = 0}));
  fmt::print("build {:.1f} CPU-s, {:.1f} s; index {:.1f} MB\n", CpuSeconds(CLOCK_PROCESS_CPUTIME_ID) - cpu,
             CpuSeconds(CLOCK_MONOTONIC) - wall, static_cast<double>(index->memory_bytes()) / 1e6);
  std::fflush(stdout);
  return index;
}

void SaveTo(const std::string& path, const VectorIndex& index) {
  std::ofstream out(path, std::ios::binary);
  const Status saved = index.Save([&](std::string_view bytes) {
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return Status::Ok();
  });
  if (!saved.ok()) fmt::print(stderr, "{}\n", saved.ToString());
}

std::unique_ptr<VectorIndex> OpenMapped(const std::string& path, const VectorView& view) {
  const int fd = open(path.c_str(), O_RDONLY);
  struct stat st = {};
  fstat(fd, &st);
  const void* map = mmap(nullptr, static_cast<size_t>(st.st_size), PROT_READ, MAP_SHARED, fd, 0);
  const double begin = CpuSeconds(CLOCK_MONOTONIC);
  auto index = Taken(OpenVectorIndex({static_cast<const char*>(map), static_cast<size_t>(st.st_size)}, view));
  fmt::print("file {:.1f} MB, opened in {:.1f} ms\n", static_cast<double>(st.st_size) / 1e6,
             (CpuSeconds(CLOCK_MONOTONIC) - begin) * 1e3);
  return index;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = ParseOptions(argc, argv);
  const auto train = ReadMatrix<float>(options.dir + "/train.f32");
  const auto queries = ReadMatrix<float>(options.dir + "/test.f32");
  const auto neighbors = ReadMatrix<int32_t>(options.dir + "/neighbors.i32");
  const VectorView view{DataType::kFloatVector, train.columns, train.rows, reinterpret_cast<const uint8_t*>(train.data.data()),
                        train.columns * 4};
  const Metric metric = *ParseMetric(options.metric);
  fmt::print("{} rows, {} dimensions, {} queries, kernels {}\n", train.rows, train.columns, queries.rows, Kernels().name);
  std::unique_ptr<VectorIndex> index = options.open.empty() ? Build(options, metric, view) : nullptr;
  if (index != nullptr && !options.file.empty()) SaveTo(options.file, *index);
  const std::string path = options.open.empty() ? options.file : options.open;
  if (!path.empty()) index = OpenMapped(path, view);
  std::vector<std::set<int64_t>> truth(queries.rows);
  for (int q = 0; q < queries.rows; ++q) truth[q] = {neighbors.Row(q), neighbors.Row(q) + std::min(options.k, neighbors.columns)};
  const Bench bench(options, *index, view, queries);
  for (const int value : options.values) {
    VectorSearchParams params{.k = options.k};
    (options.sweep == "ef" ? params.ef : params.nprobe) = value;
    if (options.sweep == "ef" && value < options.k) continue;
    bench.Run(fmt::format("{} {}", options.sweep, value), params, nullptr, truth);
  }
  if (!options.values.empty()) bench.Run("default", {.k = options.k}, nullptr, truth);
  RunFilters(options, *index, view, queries);
  return 0;
}
