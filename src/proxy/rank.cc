#include "proxy/rank.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <unordered_map>

namespace saker {
namespace {

float WeightedScore(const RankWish& wish, size_t part, Metric metric, float score) {
  const float weight = part < wish.weights.size() ? wish.weights[part] : 1.0f;
  // Distances must be turned around in any case, or the farthest would win.
  const bool turn = wish.normalize || !LargerIsNearer(metric);
  return weight * (turn ? NormalizedScore(metric, score) : score);
}

// Joins one query's hits. Key: of ints or strings.
template <typename Key, typename KeyAt>
void JoinQuery(const RankWish& wish, const std::vector<Metric>& metrics, const std::vector<SearchHits>& parts, int64_t q,
               KeyAt key_at, RankedHits& out) {
  struct Sum {
    double score = 0;
    Hit hit;
    size_t part = 0;
    int64_t at = 0;
  };
  std::unordered_map<Key, Sum> sums;
  for (size_t p = 0; p < parts.size(); ++p) {
    const SearchHits& hits = parts[p];
    const int64_t begin = hits.offsets[static_cast<size_t>(q)], end = hits.offsets[static_cast<size_t>(q) + 1];
    for (int64_t i = begin; i < end; ++i) {
      const auto at = static_cast<size_t>(i);
      auto [it, fresh] = sums.try_emplace(key_at(hits.keys, at));
      if (fresh) it->second.hit = hits.hits[at], it->second.part = p, it->second.at = i;
      if (wish.strategy == RankWish::Strategy::kRrf) {
        it->second.score += 1.0 / (wish.k + static_cast<double>(i - begin) + 1.0);
      } else {
        it->second.score += WeightedScore(wish, p, metrics[p], ScoreOf(metrics[p], hits.hits[at].distance));
      }
    }
  }
  std::vector<std::pair<const Key*, const Sum*>> order;
  order.reserve(sums.size());
  for (const auto& [key, sum] : sums) order.emplace_back(&key, &sum);
  const auto better = [](const auto& a, const auto& b) {
    return a.second->score > b.second->score || (a.second->score == b.second->score && *a.first < *b.first);
  };
  const size_t wanted = std::min(order.size(), static_cast<size_t>(wish.offset + wish.limit));
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(wanted), order.end(), better);
  for (size_t i = static_cast<size_t>(wish.offset); i < wanted; ++i) {
    const Sum& sum = *order[i].second;
    out.hits.push_back({static_cast<float>(sum.score), sum.hit, out.keys.size()});
    out.keys.Append(parts[sum.part].keys, sum.at);
  }
}

}  // namespace

float NormalizedScore(Metric metric, float score) {
  constexpr float kPi = std::numbers::pi_v<float>;
  switch (metric) {
    case Metric::kCosine: return (1.0f + score) * 0.5f;
    case Metric::kIp: return 0.5f + std::atan(score) / kPi;
    case Metric::kBm25: return 2.0f * std::atan(score) / kPi;
    default: return 1.0f - 2.0f * std::atan(score) / kPi;
  }
}

RankedHits Rank(const RankWish& wish, const std::vector<Metric>& metrics, const std::vector<SearchHits>& parts, int64_t nq) {
  RankedHits out;
  out.offsets.push_back(0);
  for (const SearchHits& part : parts) out.keys.is_string |= part.keys.is_string;
  for (int64_t q = 0; q < nq; ++q) {
    if (out.keys.is_string) {
      JoinQuery<std::string>(wish, metrics, parts, q, [](const PrimaryKeys& keys, size_t i) { return keys.strings[i]; }, out);
    } else {
      JoinQuery<int64_t>(wish, metrics, parts, q, [](const PrimaryKeys& keys, size_t i) { return keys.ints[i]; }, out);
    }
    out.offsets.push_back(static_cast<int64_t>(out.hits.size()));
  }
  return out;
}

float Rounded(float score, int decimals) {
  if (decimals < 0) return score;
  const float multiplier = std::pow(10.0f, static_cast<float>(decimals));
  return std::round(score * multiplier) / multiplier;
}

}  // namespace saker
