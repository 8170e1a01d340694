// Clients: rows of one collection that is searched, collections and partitions that come and go, ids that the server
// gives; and what must hold of each.
#pragma once

#include <set>

#include "sim/cluster.h"
#include "sim/history.h"
#include "sim/world.h"

namespace saker::sim {

class Workload {
 public:
  explicit Workload(Cluster* cluster) : cluster_(cluster) {}

  // Makes the collection and loads it; false if that isn't done in time.
  bool Prepare(int64_t until_us);
  // Clients until `until_us`; they come back one by one.
  void Run(int64_t until_us);
  bool running() const { return clients_ > 0; }
  // Reads and writes work at every proxy, flushes end, the catalog is what was acknowledged. What is wrong is a violation.
  void CheckRows(int64_t until_us);
  void CheckFlushed(int64_t until_us);
  void CheckNumbered(int64_t until_us);
  void CheckCatalog(int64_t until_us);

  const std::string& violation() const { return violation_.empty() ? TheWorld().violation : violation_; }
  const History& history() const { return history_; }

 private:
  struct Iterator {
    Timestamp read_ts = 0;  // of the first page; 0: there is none yet
  };
  void WriteRows(int64_t until_us);
  void ReadRows(int64_t until_us);
  void IterateRows(int64_t until_us);
  void ChangeCatalog(int64_t until_us);
  void ChangeCollection(const std::string& name);
  void ChangePartition(const std::string& name);
  void InsertWithoutIds(int64_t until_us);
  void FlushNowAndThen(int64_t until_us);

  Process* AnyProxy() const;
  bool Upsert(Process& proxy, const std::string& collection, const std::string& partition, const std::map<int64_t, int64_t>& rows,
              int64_t timeout_us);
  bool AnyProxyWrites(const std::string& collection, const std::string& partition);
  bool Delete(Process& proxy, const std::vector<int64_t>& keys, int64_t timeout_us);
  std::optional<std::map<int64_t, int64_t>> Query(Process& proxy, int64_t timeout_us, Status* why, const std::string& collection = "rows",
                                                   Iterator* iterator = nullptr);
  std::optional<int64_t> Count(Process& proxy, int64_t timeout_us, const std::string& collection = "rows", const std::string& filter = "");
  std::string NotOnce(Process& proxy, const std::string& collection, const std::map<int64_t, int64_t>& rows);
  bool MakeReadable(const std::string& collection, int replicas, int64_t until_us);
  Status Ddl(Process& proxy, int64_t timeout_us, std::function<Status(Proxy*, const CallContext&)> call);
  bool Until(int64_t until_us, const std::function<bool()>& attempt) const;
  void Violated(const std::string& what);

  Cluster* const cluster_;
  History history_;
  std::string violation_;
  int clients_ = 0;
  int64_t next_value_ = 1;
  int64_t next_key_ = 1;
  std::set<int64_t> given_ids_;
  std::map<std::string, bool> collections_;       // acknowledged: there, or dropped
  std::set<std::string> unknown_collections_;     // whose fate is
};

}  // namespace saker::sim
