#include <algorithm>
#include <string_view>

#include "query/group_by.h"
#include "query/search.h"

namespace saker {
namespace {

// A hit or a row of one of the parts.
struct Place {
  uint32_t part;
  uint32_t item;
};

bool SameKey(const PrimaryKeys& a, int64_t i, const PrimaryKeys& b, int64_t j) {
  return a.is_string ? a.strings[i] == b.strings[j] : a.ints[i] == b.ints[j];
}
bool KeyLess(const PrimaryKeys& a, int64_t i, const PrimaryKeys& b, int64_t j) {
  return a.is_string ? a.strings[i] < b.strings[j] : a.ints[i] < b.ints[j];
}

// ---- hits

class HitMerge {
 public:
  HitMerge(const SearchPlan& plan, const std::vector<SearchHits>& parts) : plan_(plan), parts_(parts) {}
  SearchHits Run();

 private:
  const Hit& HitAt(Place p) const { return parts_[p.part].hits[p.item]; }
  // Nearest first; ties by key, then by segment and row, so that the result depends on nothing else.
  bool Before(Place a, Place b) const;
  std::vector<Place> Ranked(int query) const;
  void TakeNearest(const std::vector<Place>& ranked);
  void TakeGroups(const std::vector<Place>& ranked);
  void Take(Place p);

  const SearchPlan& plan_;
  const std::vector<SearchHits>& parts_;
  SearchHits out_;
};

bool HitMerge::Before(Place a, Place b) const {
  const Hit& x = HitAt(a);
  const Hit& y = HitAt(b);
  if (x.distance != y.distance) return x.distance < y.distance;
  const PrimaryKeys& keys_x = parts_[a.part].keys;
  const PrimaryKeys& keys_y = parts_[b.part].keys;
  if (!SameKey(keys_x, a.item, keys_y, b.item)) return KeyLess(keys_x, a.item, keys_y, b.item);
  return x.segment != y.segment ? x.segment < y.segment : x.row < y.row;
}

std::vector<Place> HitMerge::Ranked(int query) const {
  std::vector<Place> ranked;
  for (uint32_t part = 0; part < parts_.size(); ++part) {
    const std::vector<int64_t>& offsets = parts_[part].offsets;
    if (static_cast<size_t>(query) + 1 >= offsets.size()) continue;
    for (int64_t i = offsets[query]; i < offsets[query + 1]; ++i) ranked.push_back({part, static_cast<uint32_t>(i)});
  }
  std::sort(ranked.begin(), ranked.end(), [this](Place a, Place b) { return Before(a, b); });
  // A key once, at its nearest: repetitions are found by sorting keys, and the farther ones dropped.
  std::vector<uint32_t> by_key(ranked.size());
  for (uint32_t i = 0; i < by_key.size(); ++i) by_key[i] = i;
  std::sort(by_key.begin(), by_key.end(), [&](uint32_t i, uint32_t j) {
    const Place a = ranked[i];
    const Place b = ranked[j];
    const PrimaryKeys& keys_a = parts_[a.part].keys;
    const PrimaryKeys& keys_b = parts_[b.part].keys;
    if (KeyLess(keys_a, a.item, keys_b, b.item)) return true;
    return i < j && !KeyLess(keys_b, b.item, keys_a, a.item);
  });
  std::vector<bool> repeated(ranked.size());
  for (size_t i = 1; i < by_key.size(); ++i) {
    const Place a = ranked[by_key[i - 1]];
    const Place b = ranked[by_key[i]];
    repeated[by_key[i]] = SameKey(parts_[a.part].keys, a.item, parts_[b.part].keys, b.item);
  }
  size_t kept = 0;
  for (size_t i = 0; i < ranked.size(); ++i) {
    if (!repeated[i]) ranked[kept++] = ranked[i];
  }
  ranked.resize(kept);
  return ranked;
}

void HitMerge::Take(Place p) {
  const SearchHits& part = parts_[p.part];
  out_.hits.push_back(part.hits[p.item]);
  out_.keys.Append(part.keys, p.item);
  if (plan_.group_by) out_.groups.push_back(part.groups[p.item]);
}

void HitMerge::TakeNearest(const std::vector<Place>& ranked) {
  const auto count = std::min<size_t>(ranked.size(), static_cast<size_t>(std::max(plan_.params.k, 0)));
  for (size_t i = 0; i < count; ++i) Take(ranked[i]);
}

void HitMerge::TakeGroups(const std::vector<Place>& ranked) {
  GroupCollector collector(plan_.params.k, std::max(plan_.group_size, 1));
  for (size_t i = 0; i < ranked.size() && !collector.IsFull(); ++i) {
    collector.Add(parts_[ranked[i].part].groups[ranked[i].item], static_cast<int64_t>(i));
  }
  for (const GroupCollector::Group& group : collector.groups()) {
    for (const int64_t item : group.items) Take(ranked[item]);
  }
}

SearchHits HitMerge::Run() {
  out_.offsets.push_back(0);
  for (const SearchHits& part : parts_) {
    out_.segments_searched += part.segments_searched;
    out_.rows_considered += part.rows_considered;
    out_.keys.is_string |= part.keys.is_string;
  }
  for (int query = 0; query < plan_.nq; ++query) {
    const std::vector<Place> ranked = Ranked(query);
    plan_.group_by ? TakeGroups(ranked) : TakeNearest(ranked);
    out_.offsets.push_back(static_cast<int64_t>(out_.hits.size()));
  }
  return std::move(out_);
}

// ---- rows

// By rising key, the newest version first.
std::vector<Place> RowsByKey(const std::vector<QueryRows>& parts) {
  std::vector<Place> places;
  for (uint32_t part = 0; part < parts.size(); ++part) {
    for (int64_t i = 0; i < parts[part].keys.size(); ++i) places.push_back({part, static_cast<uint32_t>(i)});
  }
  std::stable_sort(places.begin(), places.end(), [&](Place a, Place b) {
    const QueryRows& x = parts[a.part];
    const QueryRows& y = parts[b.part];
    if (!SameKey(x.keys, a.item, y.keys, b.item)) return KeyLess(x.keys, a.item, y.keys, b.item);
    return x.timestamps[a.item] > y.timestamps[b.item];
  });
  const auto same = [&](Place a, Place b) { return SameKey(parts[a.part].keys, a.item, parts[b.part].keys, b.item); };
  places.erase(std::unique(places.begin(), places.end(), same), places.end());
  return places;
}

// Empty columns like those of a part.
std::vector<Column> ColumnsLike(const RowBatch& batch) {
  std::vector<Column> columns;
  for (const Column& like : batch.columns) {
    Column column(like.type(), like.dim(), like.element_type());
    column.field = like.field;
    column.name = like.name;
    column.is_dynamic = like.is_dynamic;
    columns.push_back(std::move(column));
  }
  return columns;
}

}  // namespace

SearchHits MergeHits(const SearchPlan& plan, std::vector<SearchHits> parts) {
  // Usually one part has all there is (a growing leg finds nothing once all is flushed): nothing to merge then.
  const auto with_hits = std::count_if(parts.begin(), parts.end(), [](const SearchHits& part) { return !part.hits.empty(); });
  if (parts.size() > 1 && with_hits == 1) {
    const auto only = std::find_if(parts.begin(), parts.end(), [](const SearchHits& part) { return !part.hits.empty(); });
    for (SearchHits& part : parts) {
      if (&part == &*only) continue;
      only->segments_searched += part.segments_searched;
      only->rows_considered += part.rows_considered;
    }
    return std::move(*only);
  }
  if (parts.size() == 1) return std::move(parts[0]);
  return HitMerge(plan, parts).Run();
}

QueryRows MergeRows(const QueryPlan& plan, std::vector<QueryRows> parts) {
  QueryRows out;
  for (const QueryRows& part : parts) {
    out.count += part.count;
    out.keys.is_string |= part.keys.is_string;
  }
  if (plan.count_only) return out;
  // A leg without segments answers with nothing at all, not even columns.
  std::erase_if(parts, [](const QueryRows& part) { return part.rows.columns.empty() && part.keys.size() == 0; });
  if (parts.empty()) return out;
  const std::vector<Place> places = RowsByKey(parts);
  const auto offset = static_cast<size_t>(std::max<int64_t>(plan.offset, 0));
  const size_t begin = plan.cut_offset ? std::min(offset, places.size()) : 0;
  const size_t end = plan.limit < 0 ? places.size() : std::min(places.size(), static_cast<size_t>(plan.limit) + offset);
  out.rows.columns = ColumnsLike(parts[0].rows);
  std::vector<std::vector<ColumnView>> views;
  for (const QueryRows& part : parts) {
    for (auto& of_part = views.emplace_back(); const Column& column : part.rows.columns) of_part.push_back(column.View());
  }
  for (size_t i = begin; i < end; ++i) {
    const Place place = places[i];
    out.keys.Append(parts[place.part].keys, place.item);
    out.timestamps.push_back(parts[place.part].timestamps[place.item]);
    for (size_t c = 0; c < out.rows.columns.size(); ++c) out.rows.columns[c].AppendFrom(views[place.part][c], place.item);
  }
  out.rows.rows = static_cast<int64_t>(out.timestamps.size());
  return out;
}

}  // namespace saker
