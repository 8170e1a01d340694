#include "sim/workload.h"

#include <fmt/format.h>

#include <algorithm>

namespace saker::sim {
namespace {

constexpr const char* kRows = "rows";
constexpr const char* kNumbered = "numbered";
constexpr const char* kParts = "parts";  // its partitions come and go
constexpr int kWriters = 2;

CallContext ContextFor(int64_t timeout_us) {
  return {"", "default", std::chrono::steady_clock::now() + std::chrono::microseconds(timeout_us)};
}

FieldSchema Field(const std::string& name, DataType type) {
  FieldSchema field;
  field.name = name;
  field.type = type;
  return field;
}

CollectionDraft DraftOf(const std::string& name, bool auto_id) {
  CollectionDraft draft;
  draft.database = "default";
  draft.schema.name = name;
  FieldSchema key = Field("key", DataType::kInt64);
  key.is_primary = true;
  key.auto_id = auto_id;
  FieldSchema vector = Field("vector", DataType::kFloatVector);
  vector.dim = 2;
  vector.type_params = {{"dim", "2"}};
  draft.schema.fields = {key, vector, Field("value", DataType::kInt64)};
  draft.shards = 2;
  draft.consistency = ConsistencyLevel::kStrong;
  return draft;
}

RowsCall CallWith(const std::string& collection, const std::string& partition, const std::map<int64_t, int64_t>& rows, bool with_keys) {
  RowsCall call;
  call.collection = collection;
  call.partition = partition;
  call.rows = static_cast<int64_t>(rows.size());
  Column key(DataType::kInt64, 0);
  Column vector(DataType::kFloatVector, 2);
  Column value(DataType::kInt64, 0);
  for (const auto& [k, v] : rows) {
    key.Append<int64_t>(k);
    value.Append<int64_t>(v);
    const float at[2] = {static_cast<float>(k), static_cast<float>(v)};
    vector.AppendFixed(at);
  }
  const auto add = [&](const char* name, Column& column) {
    InputColumn& input = call.columns.emplace_back();
    input.name = name;
    column.name = name;
    input.column = std::move(column);
  };
  if (with_keys) add("key", key);
  add("vector", vector);
  add("value", value);
  return call;
}

}  // namespace

void Workload::Violated(const std::string& what) {
  if (!violation().empty()) return;
  Trace("VIOLATION " + what);
  violation_ = what;
}

Process* Workload::AnyProxy() const {
  std::vector<Process*> ready;
  for (Process* process : cluster_->With("proxy")) {
    if (process->ready) ready.push_back(process);
  }
  return ready.empty() ? nullptr : ready[Draw() % ready.size()];
}

bool Workload::Until(int64_t until_us, const std::function<bool()>& attempt) const {
  while (NowUs() < until_us && violation().empty()) {
    if (attempt()) return true;
    SleepUs(200 * kMs);
  }
  return false;
}

Status Workload::Ddl(Process& proxy, int64_t timeout_us, std::function<Status(Proxy*, const CallContext&)> call) {
  Proxy* const at = proxy.proxy;
  if (at == nullptr) return {ErrorCode::kServiceNotReady, "the process is gone"};
  const auto answer = CallOf<Status>(proxy, timeout_us + kSecond, [=](const std::function<void(Status)>& done) {
    done(call(at, ContextFor(timeout_us)));
  });
  return answer.value_or(Status(ErrorCode::kDeadlineExceeded, "no answer"));
}

bool Workload::Upsert(Process& proxy, const std::string& collection, const std::string& partition, const std::map<int64_t, int64_t>& rows,
                      int64_t timeout_us) {
  Proxy* const at = proxy.proxy;
  if (at == nullptr) return false;
  const auto reply = CallOf<Status>(proxy, timeout_us + kSecond, [=](const std::function<void(Status)>& done) {
    at->Upsert(ContextFor(timeout_us), CallWith(collection, partition, rows, true), [done](const Result<MutationReply>& r) { done(r.status()); });
  });
  if (tracing) {
    std::string text;
    for (const auto& [key, value] : rows) text += fmt::format(" {}={}", key, value);
    Trace(fmt::format("client: upsert{} by {}: {}", text, proxy.name, reply ? reply->ToString() : "no answer"));
  }
  return reply && reply->ok();
}

bool Workload::Delete(Process& proxy, const std::vector<int64_t>& keys, int64_t timeout_us) {
  DeleteCall call;
  call.collection = kRows;
  call.filter = fmt::format("key in [{}]", fmt::join(keys, ", "));
  Proxy* const at = proxy.proxy;
  if (at == nullptr) return false;
  const auto reply = CallOf<Status>(proxy, timeout_us + kSecond, [=](const std::function<void(Status)>& done) {
    at->Delete(ContextFor(timeout_us), call, [done](const Result<MutationReply>& r) { done(r.status()); });
  });
  if (tracing) Trace(fmt::format("client: delete {} by {}: {}", fmt::join(keys, " "), proxy.name, reply ? reply->ToString() : "no answer"));
  return reply && reply->ok();
}

std::optional<std::map<int64_t, int64_t>> Workload::Query(Process& proxy, int64_t timeout_us, Status* why, const std::string& collection,
                                                          Iterator* iterator) {
  QueryCall call;
  call.collection = collection;
  call.output_fields = {"key", "value"};
  call.filter = "key >= 0";
  call.consistency = {false, ConsistencyLevel::kStrong, 0};
  if (iterator != nullptr) {
    call.pinned = true;
    if (iterator->read_ts != 0) call.consistency = {true, ConsistencyLevel::kBounded, iterator->read_ts};
  }
  Proxy* const at = proxy.proxy;
  if (at == nullptr) return {};
  auto reply = CallOf<Result<QueryReply>>(proxy, timeout_us + kSecond, [=](const std::function<void(Result<QueryReply>)>& done) {
    at->Query(ContextFor(timeout_us), call, done);
  });
  if (!reply || !reply->ok()) {
    if (why != nullptr) *why = reply ? reply->status() : Status(ErrorCode::kDeadlineExceeded, "no answer");
    return {};
  }
  std::map<int64_t, int64_t> rows;
  const QueryReply& got = **reply;
  if (iterator != nullptr) iterator->read_ts = got.read_ts;
  const Column* keys = nullptr;
  const Column* values = nullptr;
  for (const Column& column : got.columns) {
    if (column.name == "key") keys = &column;
    if (column.name == "value") values = &column;
  }
  if (keys == nullptr || values == nullptr) return {};
  for (int64_t i = 0; i < keys->rows(); ++i) {
    const int64_t key = keys->View().At<int64_t>(i);
    if (!rows.emplace(key, values->View().At<int64_t>(i)).second) Violated(fmt::format("a read returned key {} twice", key));
  }
  return rows;
}

std::optional<int64_t> Workload::Count(Process& proxy, int64_t timeout_us, const std::string& collection, const std::string& filter) {
  QueryCall call;
  call.collection = collection;
  call.filter = filter;
  call.output_fields = {"count(*)"};
  call.consistency = {false, ConsistencyLevel::kStrong, 0};
  Proxy* const at = proxy.proxy;
  if (at == nullptr) return {};
  const auto reply = CallOf<Result<QueryReply>>(proxy, timeout_us + kSecond, [=](const std::function<void(Result<QueryReply>)>& done) {
    at->Query(ContextFor(timeout_us), call, done);
  });
  if (!reply || !reply->ok()) return {};
  return (*reply)->count;
}

// ---- before and after

bool Workload::Prepare(int64_t until_us) {
  const auto make = [&](const char* name, bool auto_id) {
    return Until(until_us, [&] {
      Process* proxy = AnyProxy();
      if (proxy == nullptr) return false;
      const Status made = Ddl(*proxy, 3 * kSecond, [=](Proxy* p, const CallContext& context) { return p->CreateCollection(context, DraftOf(name, auto_id)); });
      if (!made.ok()) Trace("creating " + std::string(name) + ": " + made.ToString());
      return made.ok();
    });
  };
  if (!make(kRows, false) || !make(kNumbered, true) || !make(kParts, false)) return false;
  return MakeReadable(kRows, Chance(0.3) ? 2 : 1, until_us) && MakeReadable(kNumbered, 1, until_us);
}

bool Workload::MakeReadable(const std::string& name, int replicas, int64_t until_us) {
  const bool indexed = Until(until_us, [&] {
    Process* proxy = AnyProxy();
    if (proxy == nullptr) return false;
    return Ddl(*proxy, 3 * kSecond, [name](Proxy* p, const CallContext& context) {
      IndexCall call;
      call.collection = name;
      call.field = "vector";
      call.params = {{"index_type", "FLAT"}, {"metric_type", "L2"}};
      return p->CreateIndex(context, call);
    }).ok();
  });
  return indexed && Until(until_us, [&] {
    Process* proxy = AnyProxy();
    if (proxy == nullptr) return false;
    if (!Ddl(*proxy, 3 * kSecond, [=](Proxy* p, const CallContext& context) { return p->Load(context, name, {}, false, replicas, {}); }).ok()) return false;
    return Query(*proxy, 3 * kSecond, nullptr, name).has_value();
  });
}

void Workload::Run(int64_t until_us) {
  std::vector<std::function<void()>> clients;
  for (int i = 0; i < kWriters; ++i) clients.emplace_back([=, this] { WriteRows(until_us); });
  clients.emplace_back([=, this] { ReadRows(until_us); });
  clients.emplace_back([=, this] { IterateRows(until_us); });
  clients.emplace_back([=, this] { ChangeCatalog(until_us); });
  clients.emplace_back([=, this] { InsertWithoutIds(until_us); });
  clients.emplace_back([=, this] { FlushNowAndThen(until_us); });
  clients_ = static_cast<int>(clients.size());
  for (auto& client : clients) {
    Spawn(CurrentHost(), [this, client = std::move(client)] {
      client();
      --clients_;
    });
  }
}

// ---- clients

// Keys of its own, a few at a time: an operation of unknown fate retires its keys.
void Workload::WriteRows(int64_t until_us) {
  std::vector<int64_t> keys;
  while (NowUs() < until_us && violation().empty()) {
    SleepUs(Between(10, 200) * kMs);
    Process* proxy = AnyProxy();
    if (proxy == nullptr) continue;
    while (keys.size() < 6) keys.push_back(next_key_++);
    std::vector<int64_t> chosen;
    for (const int64_t key : keys) {
      if (Chance(0.35)) chosen.push_back(key);
    }
    if (chosen.empty()) continue;
    const bool deletes = Chance(0.3);
    std::map<int64_t, int64_t> rows;
    std::map<int64_t, int> numbers;
    for (const int64_t key : chosen) {
      rows[key] = deletes ? 0 : next_value_++;
      numbers[key] = history_.Begin(key, rows[key]);
    }
    const int64_t timeout_us = Between(500, 4'000) * kMs;
    const bool done = deletes ? Delete(*proxy, chosen, timeout_us) : Upsert(*proxy, kRows, "", rows, timeout_us);
    for (const int64_t key : chosen) {
      if (done) {
        history_.Acknowledged(key, numbers[key]);
      } else {
        std::erase(keys, key);
      }
    }
    // Now and then a key is left as it is: it has to stay so.
    if (done && Chance(0.1)) std::erase(keys, chosen.front());
  }
}

void Workload::ReadRows(int64_t until_us) {
  while (NowUs() < until_us && violation().empty()) {
    SleepUs(Between(20, 300) * kMs);
    Process* proxy = AnyProxy();
    if (proxy == nullptr) continue;
    const int64_t began_us = NowUs();
    const auto rows = Query(*proxy, Between(500, 4'000) * kMs, nullptr);
    Trace(fmt::format("client: read by {}: {}", proxy->name, rows ? fmt::format("{} rows", rows->size()) : "no answer"));
    if (!rows) continue;
    if (std::string wrong = history_.Read(began_us, *rows); !wrong.empty()) Violated(wrong);
  }
}

// Every page sees what the first one saw, or is refused: whatever was deleted, flushed, compacted or taken over since.
void Workload::IterateRows(int64_t until_us) {
  Iterator iterator;
  std::map<int64_t, int64_t> first;
  while (NowUs() < until_us && violation().empty()) {
    SleepUs(Between(100, 2'000) * kMs);
    Process* proxy = AnyProxy();
    if (proxy == nullptr) continue;
    const bool later = iterator.read_ts != 0;
    Status why;
    const auto page = Query(*proxy, Between(500, 4'000) * kMs, &why, kRows, &iterator);
    Trace(fmt::format("client: {} page at {} by {}: {}", later ? "later" : "first", iterator.read_ts, proxy->name,
                      page ? fmt::format("{} rows", page->size()) : why.ToString()));
    if (!page) {
      if (why.code() == ErrorCode::kParameterInvalid) iterator = {};
      continue;
    }
    if (!later) {
      first = *page;
    } else if (*page != first) {
      std::string what;
      for (const auto& [key, value] : first) {
        if (const auto it = page->find(key); it == page->end() || it->second != value) what += fmt::format(" lacks {}={}", key, value);
      }
      for (const auto& [key, value] : *page) {
        if (const auto it = first.find(key); it == first.end() || it->second != value) what += fmt::format(" has {}={}", key, value);
      }
      Violated(fmt::format("a later page of an iterator at {} differs from its first:{}", iterator.read_ts, what));
    }
    if (Chance(0.1)) iterator = {};
  }
}

// Collections and partitions. A name whose fate is unknown isn't used again. What was dropped takes no rows any more,
// whatever a proxy has yet to see.
void Workload::ChangeCatalog(int64_t until_us) {
  for (int number = 1; NowUs() < until_us && violation().empty(); ++number) {
    SleepUs(Between(50, 800) * kMs);
    if (Chance(0.5)) {
      ChangeCollection(fmt::format("c{}", number));
    } else {
      ChangePartition(fmt::format("p{}", number));
    }
  }
}

void Workload::ChangeCollection(const std::string& name) {
  Process* proxy = AnyProxy();
  if (proxy == nullptr) return;
  unknown_collections_.insert(name);
  const Status made = Ddl(*proxy, 4 * kSecond, [=](Proxy* p, const CallContext& context) { return p->CreateCollection(context, DraftOf(name, false)); });
  Trace("client: create " + name + " by " + proxy->name + ": " + made.ToString());
  if (!made.ok()) return;
  unknown_collections_.erase(name);
  collections_[name] = true;
  if (Chance(0.4)) return;
  SleepUs(Between(0, 500) * kMs);
  proxy = AnyProxy();
  if (proxy == nullptr) return;
  unknown_collections_.insert(name);
  const Status gone = Ddl(*proxy, 4 * kSecond, [=](Proxy* p, const CallContext& context) { return p->DropCollection(context, name); });
  Trace("client: drop " + name + " by " + proxy->name + ": " + gone.ToString());
  if (!gone.ok()) return;
  unknown_collections_.erase(name);
  collections_[name] = false;
  if (AnyProxyWrites(name, "")) Violated("a write into collection " + name + " was acknowledged after its drop");
}

bool Workload::AnyProxyWrites(const std::string& collection, const std::string& partition) {
  bool any = false;
  for (Process* proxy : cluster_->With("proxy")) {
    any = any || (proxy->ready && Upsert(*proxy, collection, partition, {{1, 1}, {2, 1}, {3, 1}}, kSecond));
  }
  return any;
}

void Workload::ChangePartition(const std::string& name) {
  Process* proxy = AnyProxy();
  if (proxy == nullptr) return;
  if (!Ddl(*proxy, 4 * kSecond, [=](Proxy* p, const CallContext& context) { return p->CreatePartition(context, kParts, name); }).ok()) return;
  (void)Upsert(*proxy, kParts, name, {{next_value_, 1}, {next_value_ + 1, 1}}, 3 * kSecond);
  next_value_ += 2;
  SleepUs(Between(0, 2'000) * kMs);
  proxy = AnyProxy();
  if (proxy == nullptr) return;
  const Status gone = Ddl(*proxy, 4 * kSecond, [=](Proxy* p, const CallContext& context) { return p->DropPartition(context, kParts, name); });
  Trace("client: drop partition " + name + " by " + proxy->name + ": " + gone.ToString());
  if (!gone.ok()) return;
  if (AnyProxyWrites(kParts, name)) Violated("a write into partition " + name + " was acknowledged after its drop");
}

void Workload::InsertWithoutIds(int64_t until_us) {
  while (NowUs() < until_us && violation().empty()) {
    SleepUs(Between(100, 900) * kMs);
    Process* proxy = AnyProxy();
    if (proxy == nullptr) continue;
    Proxy* const at = proxy->proxy;
    const auto reply = CallOf<Result<MutationReply>>(*proxy, 4 * kSecond, [=](const std::function<void(Result<MutationReply>)>& done) {
      at->Insert(ContextFor(3 * kSecond), CallWith(kNumbered, "", {{0, 1}, {1, 1}, {2, 1}}, false), done);
    });
    Trace(fmt::format("client: insert without ids by {}: {}", proxy->name,
                      !reply ? "no answer" : !reply->ok() ? reply->status().ToString() : fmt::format("{}", fmt::join((*reply)->keys.ints, " "))));
    if (!reply || !reply->ok()) continue;
    for (const int64_t id : (*reply)->keys.ints) {
      if (!given_ids_.insert(id).second) Violated(fmt::format("the id {} was given twice", id));
    }
  }
}

void Workload::FlushNowAndThen(int64_t until_us) {
  while (NowUs() < until_us && violation().empty()) {
    SleepUs(Between(300, 3'000) * kMs);
    Process* proxy = AnyProxy();
    if (proxy == nullptr) continue;
    const Status flushed = Ddl(*proxy, 4 * kSecond, [](Proxy* p, const CallContext& context) { return p->Flush(context, kRows).status(); });
    Trace("client: flush: " + flushed.ToString());
    if (Chance(0.2)) {
      (void)Ddl(*proxy, 4 * kSecond, [](Proxy* p, const CallContext& context) { return p->Compact(context, kRows, {}).status(); });
    }
  }
}

// ---- afterwards

// Which of the rows a count finds several times, or not at all.
std::string Workload::NotOnce(Process& proxy, const std::string& collection, const std::map<int64_t, int64_t>& rows) {
  std::string which;
  for (const auto& [key, value] : rows) {
    const auto times = Count(proxy, 3 * kSecond, collection, fmt::format("key == {}", key));
    if (times && *times != 1) which += fmt::format(" {} ({} times)", key, *times);
  }
  return which;
}

void Workload::CheckRows(int64_t until_us) {
  for (Process* proxy : cluster_->With("proxy")) {
    Status why(ErrorCode::kServiceNotReady, "the process isn't ready");
    std::optional<std::map<int64_t, int64_t>> rows;
    int64_t began_us = 0;
    const bool read = Until(until_us, [&] {
      if (!proxy->ready) return false;
      began_us = NowUs();
      rows = Query(*proxy, 3 * kSecond, &why);
      return rows.has_value();
    });
    if (!violation().empty()) return;
    if (!read) return Violated(fmt::format("{} can't read long after all faults stopped: {}", proxy->name, why.ToString()));
    if (std::string wrong = history_.Read(began_us, *rows); !wrong.empty()) return Violated("after the faults: " + wrong);
    // A write without an answer may still come in between: only where nothing changed the two must agree.
    const auto count = Count(*proxy, 3 * kSecond);
    const auto again = Query(*proxy, 3 * kSecond, &why);
    if (count && again == rows && *count != static_cast<int64_t>(rows->size())) {
      return Violated(fmt::format("{} rows are there, but count(*) says {}: not once are there:{}", rows->size(), *count,
                                  NotOnce(*proxy, kRows, *rows)));
    }
    const int64_t key = next_key_++;
    const bool written = Until(until_us, [&] {
      const int number = history_.Begin(key, next_value_++);
      if (!Upsert(*proxy, kRows, "", {{key, next_value_ - 1}}, 3 * kSecond)) return false;
      history_.Acknowledged(key, number);
      return true;
    });
    if (!written) return Violated(proxy->name + " can't write long after all faults stopped");
  }
}

// Rows without keys of their own: a retry that was logged twice would count twice.
void Workload::CheckNumbered(int64_t until_us) {
  Status why(ErrorCode::kServiceNotReady, "no process is ready");
  std::optional<std::map<int64_t, int64_t>> rows;
  std::optional<int64_t> count;
  (void)Until(until_us, [&] {
    Process* proxy = AnyProxy();
    if (proxy != nullptr) rows = Query(*proxy, 3 * kSecond, &why, kNumbered);
    if (rows) count = Count(*proxy, 3 * kSecond, kNumbered);
    return rows && count;
  });
  if (!violation().empty()) return;
  if (!rows || !count) return Violated("the numbered rows can't be read long after all faults stopped: " + why.ToString());
  if (*count != static_cast<int64_t>(rows->size())) {
    Process* proxy = AnyProxy();
    return Violated(fmt::format("{} numbered rows are counted where {} are read: not once are there:{}", *count, rows->size(),
                                proxy == nullptr ? "" : NotOnce(*proxy, kNumbered, *rows)));
  }
  for (const int64_t id : given_ids_) {
    if (!rows->contains(id)) return Violated(fmt::format("row {} was acknowledged and is not there", id));
  }
}

void Workload::CheckCatalog(int64_t until_us) {
  for (Process* proxy : cluster_->With("proxy")) {
    for (const auto& [name, there] : collections_) {
      if (unknown_collections_.contains(name)) continue;
      const bool agreed = Until(until_us, [&, wanted = there, &called = name] {
        if (!proxy->ready) return false;
        Catalog* const catalog = proxy->proxy->catalog();
        return catalog->FindCollection("default", called).ok() == wanted;
      });
      if (!agreed) return Violated(fmt::format("collection {} is {} at {}, though its {} was acknowledged", name, there ? "unknown" : "known",
                                               proxy->name, there ? "creation" : "drop"));
    }
  }
}

void Workload::CheckFlushed(int64_t until_us) {
  std::string why;
  const bool flushed = Until(until_us, [&] {
    Process* proxy = AnyProxy();
    if (proxy == nullptr) return false;
    const Status status = Ddl(*proxy, 5 * kSecond, [](Proxy* p, const CallContext& context) -> Status {
      ASSIGN_OR_RETURN(const FlushResult result, p->Flush(context, kRows));
      ASSIGN_OR_RETURN(const CollectionPtr collection, p->FindCollection(context, kRows));
      for (int i = 0; i < 20; ++i) {
        DataCoord* coord = p->peers()->data_coord();
        if (coord == nullptr) return CoordinatorAway("datacoord");
        ASSIGN_OR_RETURN(const bool done, coord->IsFlushed(collection->id, result.flush_ts, result.segments));
        if (done) return {};
        SleepUs(200 * kMs);
      }
      return {ErrorCode::kServiceUnavailable, "not flushed yet"};
    });
    why = status.ToString();
    return status.ok();
  });
  if (!flushed) Violated("a flush does not end long after all faults stopped: " + why);
}

}  // namespace saker::sim
