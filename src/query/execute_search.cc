#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_set>

#include "query/group_by.h"
#include "query/row_selection.h"

namespace saker {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// At or below so many candidate rows distances are simply computed.
constexpr int64_t kFewRows = 256;
// Several queries share the passes over the vectors in slices that stay in the cache.
constexpr int64_t kSliceBytes = 256 << 10;
// When rows that were found don't count (their group is full, say), so many times as many are fetched.
constexpr int64_t kOverFetch = 4;
constexpr int64_t kOverFetchExactly = 16;
// An index is not asked for more than this part of the candidates: a scan is quicker.
constexpr int64_t kIndexPart = 32;

// Searching one segment for the queries of a plan.
class SegmentSearch {
 public:
  SegmentSearch(const SearchPlan& plan, const Segment& segment, const ReadView& view)
      : plan_(plan), segment_(segment), snapshot_(segment), params_(plan.params) {
    if (plan.has_bound) {
      const float beyond = std::nextafter(plan.bound_distance, kInfinity);
      params_.min_distance = plan.params.has_range ? std::max(params_.min_distance, beyond) : beyond;
      if (!plan.params.has_range) params_.max_distance = kInfinity;
      params_.has_range = true;
    }
    selection_ = SelectRows(snapshot_, plan.filter.get(), view);
    ForgetNullVectors();
    if (!selection_.list) {
      index_ = segment.VectorIndexOn(plan.vector_field);
      if (index_ != nullptr && (index_->metric() != plan.metric || index_->rows() != snapshot_.rows())) index_ = nullptr;
    }
  }

  SearchHits Run();

 private:
  bool grouping() const { return static_cast<bool>(plan_.group_by); }
  // Nearer rows than the wanted ones are to be skipped: something an index doesn't do.
  bool skips_nearest() const { return params_.has_range && params_.min_distance > -kInfinity; }
  bool IsInRange(float distance) const {
    const bool yes_or_no = plan_.metric == Metric::kSubstructure || plan_.metric == Metric::kSuperstructure;
    if (yes_or_no && distance != 0) return false;
    return !params_.has_range || (distance >= params_.min_distance && distance < params_.max_distance);
  }
  const uint8_t* QueryAt(int i) const {
    return reinterpret_cast<const uint8_t*>(plan_.queries.data()) + static_cast<int64_t>(i) * plan_.row_bytes;
  }
  void ForgetNullVectors();
  bool MakesSense() const;
  std::vector<std::vector<Neighbor>> RankExactly(std::span<const int> queries, int64_t most) const;
  std::vector<Neighbor> RankListed(const uint8_t* query) const;
  std::vector<Neighbor> RankByIndex(const uint8_t* query, int64_t most) const;
  void ScanChunks(std::span<const int> queries, const VectorSearchParams& params, std::vector<TopK>& tops) const;
  template <typename F>
  void ForEachVector(F&& f) const;
  bool Accept(const std::vector<Neighbor>& ranked, std::vector<Neighbor>& hits, std::vector<Value>& groups) const;
  bool AcceptGroups(const std::vector<Neighbor>& ranked, std::vector<Neighbor>& hits, std::vector<Value>& groups) const;
  void SearchOne(int query, std::vector<Neighbor> first, int64_t fetched, SearchHits& out) const;
  void Emit(const std::vector<Neighbor>& hits, std::vector<Value> groups, SearchHits& out) const;
  Value GroupOf(int64_t row) const;

  const SearchPlan& plan_;
  const Segment& segment_;
  const SegmentSnapshot snapshot_;
  VectorSearchParams params_;
  RowSelection selection_;
  std::shared_ptr<const VectorIndex> index_;  // null: search exactly
};

// A null vector is near to nothing.
void SegmentSearch::ForgetNullVectors() {
  const FieldSchema* field = segment_.schema().Find(plan_.vector_field);
  if (field == nullptr || !field->nullable || selection_.count == 0) return;
  std::vector<int64_t> nulls;
  for (int64_t row = 0; row < snapshot_.rows();) {
    const auto chunk = snapshot_.ChunkAt(plan_.vector_field, row);
    if (!chunk) return;
    for (int64_t i = 0; chunk->column.valid != nullptr && i < chunk->column.rows; ++i) {
      if (chunk->column.IsNull(i)) nulls.push_back(chunk->first_row + i);
    }
    row = chunk->first_row + chunk->column.rows;
  }
  if (nulls.empty()) return;
  if (selection_.list) {
    std::erase_if(*selection_.list, [&](int64_t row) { return std::binary_search(nulls.begin(), nulls.end(), row); });
    selection_.count = static_cast<int64_t>(selection_.list->size());
    return;
  }
  if (selection_.all) selection_.bits.Reset(snapshot_.rows(), true);
  selection_.all = false;
  for (const int64_t row : nulls) selection_.bits.Clear(row);
  selection_.count = selection_.bits.Count();
}

// Calls f(view, first_row) for each stretch of contiguous vectors.
template <typename F>
void SegmentSearch::ForEachVector(F&& f) const {
  for (int64_t row = 0; row < snapshot_.rows();) {
    const auto chunk = snapshot_.ChunkAt(plan_.vector_field, row);
    if (!chunk) return;
    VectorView view;
    view.type = chunk->column.type;
    view.dim = chunk->column.dim;
    view.rows = chunk->column.rows;
    view.data = chunk->column.fixed;
    view.row_bytes = chunk->column.width;
    f(view, chunk->first_row);
    row = chunk->first_row + chunk->column.rows;
  }
}

void SegmentSearch::ScanChunks(std::span<const int> queries, const VectorSearchParams& params,
                               std::vector<TopK>& tops) const {
  ForEachVector([&](const VectorView& vectors, int64_t first_row) {
    const int64_t slice = queries.size() == 1 ? vectors.rows : std::max<int64_t>(kSliceBytes / vectors.row_bytes, 16);
    for (int64_t begin = 0; begin < vectors.rows; begin += slice) {
      VectorView part = vectors;
      part.data = vectors.Row(begin);
      part.rows = std::min(slice, vectors.rows - begin);
      for (size_t i = 0; i < queries.size(); ++i) {
        ExactSearch(part, plan_.metric, QueryAt(queries[i]), params, selection_.allowed(), first_row + begin, tops[i]);
      }
    }
  });
}

std::vector<Neighbor> SegmentSearch::RankListed(const uint8_t* query) const {
  std::vector<Neighbor> ranked;
  std::optional<FilterSource::Chunk> chunk;
  selection_.ForEach(snapshot_.rows(), [&](int64_t row) {
    if (!chunk || row >= chunk->first_row + chunk->column.rows) chunk = snapshot_.ChunkAt(plan_.vector_field, row);
    const float distance = ExactDistance(plan_.vector_type, plan_.metric, plan_.dim, query,
                                         chunk->column.Row(row - chunk->first_row));
    if (IsInRange(distance)) ranked.push_back({distance, row});
  });
  std::sort(ranked.begin(), ranked.end());
  return ranked;
}

// The `most` nearest of each query; all there are if fewer.
std::vector<std::vector<Neighbor>> SegmentSearch::RankExactly(std::span<const int> queries, int64_t most) const {
  std::vector<std::vector<Neighbor>> ranked;
  if (selection_.list) {
    for (const int query : queries) ranked.push_back(RankListed(QueryAt(query)));
    return ranked;
  }
  VectorSearchParams params = params_;
  params.k = static_cast<int>(std::min({most, selection_.count, int64_t{std::numeric_limits<int>::max()}}));
  std::vector<TopK> tops(queries.size(), TopK(params.k));
  ScanChunks(queries, params, tops);
  for (TopK& top : tops) ranked.push_back(top.TakeSorted());
  return ranked;
}

std::vector<Neighbor> SegmentSearch::RankByIndex(const uint8_t* query, int64_t most) const {
  VectorSearchParams params = params_;
  params.k = static_cast<int>(std::min(most, selection_.count));
  if (skips_nearest()) params.min_distance = -kInfinity;  // Accept() drops the nearer ones
  std::vector<Neighbor> ranked;
  index_->Search(query, params, selection_.allowed(), selection_.count, ranked);
  return ranked;
}

Value SegmentSearch::GroupOf(int64_t row) const {
  const auto chunk = snapshot_.ChunkAt(plan_.group_by, row);
  if (chunk) return chunk->column.ValueAt(row - chunk->first_row);
  const FieldSchema* field = plan_.schema->Find(plan_.group_by);
  return field != nullptr && field->default_value ? *field->default_value : Value();
}

bool SegmentSearch::AcceptGroups(const std::vector<Neighbor>& ranked, std::vector<Neighbor>& hits,
                                 std::vector<Value>& groups) const {
  const int size = std::max(plan_.group_size, 1);
  GroupCollector collector(params_.k, size);
  std::unordered_set<int64_t> ints;
  std::unordered_set<std::string> strings;
  const FieldId key_field = segment_.schema().PrimaryKey().id;
  for (size_t i = 0; i < ranked.size() && !collector.IsFull(); ++i) {
    if (!IsInRange(ranked[i].distance)) continue;
    if (segment_.may_repeat_keys()) {
      PrimaryKeys key;
      AppendKey(segment_, key_field, ranked[i].row, key);
      if (!(key.is_string ? strings.insert(key.strings[0]).second : ints.insert(key.ints[0]).second)) continue;
    }
    collector.Add(GroupOf(ranked[i].row), static_cast<int64_t>(i));
  }
  for (const GroupCollector::Group& group : collector.groups()) {
    for (const int64_t item : group.items) {
      hits.push_back(ranked[item]);
      groups.push_back(group.value);
    }
  }
  return plan_.strict_group_size ? collector.IsFull() : collector.HasAllGroups();
}

// Takes what counts from ranked rows; true if that is all that was asked for.
bool SegmentSearch::Accept(const std::vector<Neighbor>& ranked, std::vector<Neighbor>& hits,
                           std::vector<Value>& groups) const {
  hits.clear();
  groups.clear();
  if (grouping()) return AcceptGroups(ranked, hits, groups);
  const bool repeats = segment_.may_repeat_keys();
  const FieldId key_field = segment_.schema().PrimaryKey().id;
  std::unordered_set<int64_t> ints;
  std::unordered_set<std::string> strings;
  for (const Neighbor& neighbor : ranked) {
    if (static_cast<int>(hits.size()) == params_.k) break;
    if (!IsInRange(neighbor.distance)) continue;
    if (repeats) {
      PrimaryKeys key;
      AppendKey(segment_, key_field, neighbor.row, key);
      if (!(key.is_string ? strings.insert(key.strings[0]).second : ints.insert(key.ints[0]).second)) continue;
    }
    hits.push_back(neighbor);
  }
  return static_cast<int>(hits.size()) == params_.k;
}

void SegmentSearch::Emit(const std::vector<Neighbor>& hits, std::vector<Value> groups, SearchHits& out) const {
  const FieldId key_field = segment_.schema().PrimaryKey().id;
  for (const Neighbor& hit : hits) {
    out.hits.push_back({hit.distance, segment_.id(), hit.row});
    AppendKey(segment_, key_field, hit.row, out.keys);
  }
  std::move(groups.begin(), groups.end(), std::back_inserter(out.groups));
  out.offsets.push_back(static_cast<int64_t>(out.hits.size()));
}

// `first` are the `fetched` nearest rows of a query, or fewer if there are no more. Fetches ever more until enough of
// them count, and in the end ranks all rows.
void SegmentSearch::SearchOne(int query, std::vector<Neighbor> ranked, int64_t fetched, SearchHits& out) const {
  std::vector<Neighbor> hits;
  std::vector<Value> groups;
  const bool needs_all = grouping() || skips_nearest() || segment_.may_repeat_keys();
  bool exact = index_ == nullptr;
  while (!Accept(ranked, hits, groups) && needs_all) {
    const bool exhausted = fetched >= selection_.count || static_cast<int64_t>(ranked.size()) < fetched;
    if (exact && exhausted) break;
    if (!exact && !skips_nearest() && !grouping() && exhausted) break;  // what an index with nprobe lacks, it lacks
    fetched *= exact ? kOverFetchExactly : kOverFetch;
    exact = exact || exhausted || fetched * kIndexPart >= selection_.count;
    ranked = exact ? std::move(RankExactly(std::span(&query, 1), fetched)[0]) : RankByIndex(QueryAt(query), fetched);
  }
  Emit(hits, std::move(groups), out);
}

SearchHits SegmentSearch::Run() {
  SearchHits out;
  out.keys.is_string = IsString(segment_.schema().PrimaryKey().type);
  out.offsets.push_back(0);
  out.segments_searched = 1;
  out.rows_considered = selection_.count;
  if (selection_.count == 0 || params_.k <= 0) {
    out.offsets.resize(static_cast<size_t>(plan_.nq) + 1, 0);
    return out;
  }
  if (selection_.count <= std::max<int64_t>(kFewRows, params_.k)) index_ = nullptr;
  int64_t fetched = params_.k;
  if (grouping()) fetched = std::min<int64_t>(fetched * std::max(plan_.group_size, 1) * 2, 1 << 20);
  if (skips_nearest() && index_ != nullptr) fetched *= 2;
  if (index_ == nullptr) {
    std::vector<int> queries(static_cast<size_t>(plan_.nq));
    for (int i = 0; i < plan_.nq; ++i) queries[i] = i;
    std::vector<std::vector<Neighbor>> ranked = RankExactly(queries, fetched);
    for (int i = 0; i < plan_.nq; ++i) SearchOne(i, std::move(ranked[i]), fetched, out);
  } else {
    for (int i = 0; i < plan_.nq; ++i) SearchOne(i, RankByIndex(QueryAt(i), fetched), fetched, out);
  }
  return out;
}

Status CheckPlan(const SearchPlan& plan, const Segment& segment) {
  const FieldSchema* field = segment.schema().Find(plan.vector_field);
  const bool fits = !IsFixedWidth(plan.vector_type)
                        ? false
                        : plan.row_bytes == FixedWidth(plan.vector_type, plan.dim) && plan.nq >= 0 &&
                              static_cast<int64_t>(plan.queries.size()) >= int64_t{plan.nq} * plan.row_bytes;
  if (!fits) {
    return {ErrorCode::kParameterInvalid,
            fmt::format("{} queries of {} bytes do not fit {} of dimension {} ({} bytes given)", plan.nq, plan.row_bytes,
                        Name(plan.vector_type), plan.dim, plan.queries.size())};
  }
  if (field != nullptr && (field->type != plan.vector_type || field->dim != plan.dim)) {
    return {ErrorCode::kParameterInvalid, fmt::format("queries are {} of dimension {}, field {} is {} of dimension {}",
                                                      Name(plan.vector_type), plan.dim, field->name, Name(field->type),
                                                      field->dim)};
  }
  std::vector<FieldId> fields = {plan.vector_field};
  if (plan.group_by) fields.push_back(plan.group_by);
  if (plan.filter != nullptr) fields.insert(fields.end(), plan.filter->fields().begin(), plan.filter->fields().end());
  return segment.Check(fields);
}

}  // namespace

Result<SearchHits> SearchSegment(const SearchPlan& plan, const Segment& segment, const ReadView& view) {
  RETURN_IF_ERROR(CheckPlan(plan, segment));
  const bool searchable = segment.schema().Find(plan.vector_field) != nullptr;
  const bool skipped = plan.ignore_growing && dynamic_cast<const GrowingSegment*>(&segment) != nullptr;
  if (!searchable || skipped) {
    SearchHits none;
    none.keys.is_string = IsString(segment.schema().PrimaryKey().type);
    none.offsets.assign(static_cast<size_t>(plan.nq) + 1, 0);
    return none;
  }
  return SegmentSearch(plan, segment, view).Run();
}

}  // namespace saker
