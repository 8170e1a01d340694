#include "base/metrics.h"

#include <fmt/format.h>

#include <map>

#include "base/mutex.h"
#include "base/status.h"

namespace saker {
namespace {

std::string RenderLabels(const MetricLabels& labels) {
  std::string out;
  for (const auto& [key, value] : labels) {
    out += out.empty() ? "" : ",";
    out += key + "=\"";
    for (const char c : value) {
      if (c == '"' || c == '\\') out += '\\';
      out += c == '\n' ? ' ' : c;
    }
    out += '"';
  }
  return out;
}

std::string Braced(const std::string& labels) { return labels.empty() ? "" : "{" + labels + "}"; }

}  // namespace

void Histogram::Observe(double value_ms) {
  int bucket = 0;
  for (double bound = 1; bucket < kBuckets && value_ms > bound; bound *= 2) ++bucket;
  buckets_[bucket].fetch_add(1, std::memory_order_relaxed);
  count_.fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value_ms, std::memory_order_relaxed);
}

struct MetricRegistry::State {
  struct Family {
    std::string help;
    std::string type;
    std::map<std::string, std::unique_ptr<Counter>> counters;
    std::map<std::string, std::unique_ptr<Gauge>> gauges;
    std::map<std::string, std::unique_ptr<Histogram>> histograms;
    std::map<std::string, std::function<double()>> callbacks;
  };
  mutable Mutex mutex;
  std::map<std::string, Family> families GUARDED_BY(mutex);

  Family& Get(const std::string& name, const std::string& help, const std::string& type) REQUIRES(mutex) {
    Family& family = families[name];
    if (family.type.empty()) {
      family.help = help;
      family.type = type;
    }
    SAKER_CHECK(family.type == type);
    return family;
  }
};

MetricRegistry::MetricRegistry() : state_(std::make_unique<State>()) {}
MetricRegistry::~MetricRegistry() = default;

Counter& MetricRegistry::GetCounter(const std::string& name, const std::string& help, const MetricLabels& labels) {
  MutexLock lock(state_->mutex);
  auto& slot = state_->Get(name, help, "counter").counters[RenderLabels(labels)];
  if (!slot) slot = std::make_unique<Counter>();
  return *slot;
}

Gauge& MetricRegistry::GetGauge(const std::string& name, const std::string& help, const MetricLabels& labels) {
  MutexLock lock(state_->mutex);
  auto& slot = state_->Get(name, help, "gauge").gauges[RenderLabels(labels)];
  if (!slot) slot = std::make_unique<Gauge>();
  return *slot;
}

Histogram& MetricRegistry::GetHistogram(const std::string& name, const std::string& help, const MetricLabels& labels) {
  MutexLock lock(state_->mutex);
  auto& slot = state_->Get(name, help, "histogram").histograms[RenderLabels(labels)];
  if (!slot) slot = std::make_unique<Histogram>();
  return *slot;
}

void MetricRegistry::AddCallback(const std::string& name, const std::string& help, const MetricLabels& labels,
                                 std::function<double()> value) {
  MutexLock lock(state_->mutex);
  state_->Get(name, help, "gauge").callbacks[RenderLabels(labels)] = std::move(value);
}

namespace {

void RenderHistogram(std::string& out, const std::string& name, const std::string& labels, const Histogram& histogram) {
  uint64_t cumulative = 0;
  const std::string before = labels.empty() ? "" : labels + ",";
  double bound = 1;
  for (int i = 0; i <= Histogram::kBuckets; ++i, bound *= 2) {
    cumulative += histogram.bucket(i);
    const std::string le = i == Histogram::kBuckets ? "+Inf" : fmt::format("{:g}", bound);
    out += fmt::format("{}_bucket{{{}le=\"{}\"}} {}\n", name, before, le, cumulative);
  }
  out += fmt::format("{}_sum{} {}\n{}_count{} {}\n", name, Braced(labels), histogram.sum(), name, Braced(labels),
                     histogram.count());
}

}  // namespace

std::string MetricRegistry::Render() const {
  MutexLock lock(state_->mutex);
  std::string out;
  for (const auto& [name, family] : state_->families) {
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, family.help, name, family.type);
    for (const auto& [labels, c] : family.counters) out += fmt::format("{}{} {}\n", name, Braced(labels), c->value());
    for (const auto& [labels, g] : family.gauges) out += fmt::format("{}{} {}\n", name, Braced(labels), g->value());
    for (const auto& [labels, f] : family.callbacks) out += fmt::format("{}{} {}\n", name, Braced(labels), f());
    for (const auto& [labels, h] : family.histograms) RenderHistogram(out, name, labels, *h);
  }
  return out;
}

MetricRegistry& Metrics() {
  static MetricRegistry registry;
  return registry;
}

}  // namespace saker
