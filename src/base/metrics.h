// Counters, gauges and histograms in Prometheus' text format. Names are Milvus's where the meaning is the same.
// Metrics are created once and live as long as the process; recording is a relaxed atomic add.
//   static Counter& inserts = Metrics().GetCounter("milvus_proxy_insert_vectors_count", "Rows inserted", {});
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace saker {

using MetricLabels = std::vector<std::pair<std::string, std::string>>;

class Counter {
 public:
  void Add(double n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

class Gauge {
 public:
  void Set(double v) { value_.store(v, std::memory_order_relaxed); }
  void Add(double n) { value_.fetch_add(n, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

// Buckets in milliseconds: 1, 2, 4, … 65536, as Milvus's.
class Histogram {
 public:
  static constexpr int kBuckets = 17;
  void Observe(double value_ms);
  uint64_t bucket(int i) const { return buckets_[i].load(std::memory_order_relaxed); }
  uint64_t count() const { return count_.load(std::memory_order_relaxed); }
  double sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> buckets_[kBuckets + 1]{};
  std::atomic<uint64_t> count_{0};
  std::atomic<double> sum_{0};
};

class MetricRegistry {
 public:
  MetricRegistry();
  ~MetricRegistry();
  Counter& GetCounter(const std::string& name, const std::string& help, const MetricLabels& labels = {});
  Gauge& GetGauge(const std::string& name, const std::string& help, const MetricLabels& labels = {});
  Histogram& GetHistogram(const std::string& name, const std::string& help, const MetricLabels& labels = {});
  // A gauge that is asked for when scraped.
  void AddCallback(const std::string& name, const std::string& help, const MetricLabels& labels, std::function<double()> value);
  std::string Render() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

MetricRegistry& Metrics();

}  // namespace saker
