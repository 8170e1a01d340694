// Joining the results of several searches: reciprocal rank fusion, and weighted sums of scores.
#pragma once

#include "model/types.h"
#include "proxy/core.h"
#include "query/search.h"

namespace saker {

// A score between 0 and 1, larger nearer, whatever the metric: how Milvus makes them comparable.
float NormalizedScore(Metric metric, float score);

struct Ranked {
  float score = 0;
  Hit hit;
  int64_t key = 0;      // index into `keys`
};

// The best of all parts for query `q`: nearest first (largest score); ties by key. `metrics` are the parts'.
struct RankedHits {
  std::vector<int64_t> offsets;   // nq + 1
  std::vector<Ranked> hits;
  PrimaryKeys keys;
};
RankedHits Rank(const RankWish& wish, const std::vector<Metric>& metrics, const std::vector<SearchHits>& parts, int64_t nq);

float Rounded(float score, int decimals);  // decimals < 0: as it is

}  // namespace saker
