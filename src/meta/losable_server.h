// For tests: a store that several processes are connected to, and that loses its data, as etcd does. Over RocksDB.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "base/mutex.h"
#include "meta/meta_store.h"

namespace saker {

// Thread-safe.
class LosableServer {
 public:
  LosableServer() {
    std::string pattern = (std::filesystem::temp_directory_path() / "saker-losable-XXXXXX").string();
    root_ = mkdtemp(pattern.data());
    data_ = Begin("0");
  }
  ~LosableServer() {
    data_.reset();
    std::filesystem::remove_all(root_);
  }

  std::unique_ptr<MetaStore> Connect();

  // Everything is gone; who is connected notices: calls answer kCorrupted, watches end with it.
  void Wipe() { Replace(Begin(std::to_string(++begun_)), Noticed::kLoss); }
  // … and nobody notices: calls go to the new, empty store, watches stay silent.
  void Exchange() { Replace(Begin(std::to_string(++begun_)), Noticed::kNothing); }
  // … and nobody notices but that the connection was lost: the new store's revisions are higher by then.
  void ExchangeWhileAway(const std::function<void(MetaStore&)>& meanwhile) {
    const auto data = Begin(std::to_string(++begun_));
    meanwhile(*data);
    Replace(data, Noticed::kAbsence);
  }
  // What a backup of this moment is restored from.
  std::string Save() {
    const std::string to = "saved-" + std::to_string(++begun_);
    MutexLock lock(mutex_);
    std::filesystem::copy(root_ / here_, root_ / to, std::filesystem::copy_options::recursive);
    return to;
  }
  void Restore(const std::string& saved, bool noticed = true) {
    Replace(Begin(saved), noticed ? Noticed::kLoss : Noticed::kNothing);
  }
  // Calls fail, as if it could not be reached.
  void SetAway(bool away) {
    MutexLock lock(mutex_);
    away_ = away;
  }
  std::shared_ptr<MetaStore> data() const {
    MutexLock lock(mutex_);
    return data_;
  }

 private:
  class Connection;
  enum class Noticed { kNothing, kAbsence, kLoss };  // by who is connected

  std::shared_ptr<MetaStore> Begin(const std::string& name) {
    {
      MutexLock lock(mutex_);
      here_ = name;
    }
    auto opened = OpenRocksdbStore({(root_ / name).string()});
    return opened.ok() ? std::shared_ptr<MetaStore>(std::move(*opened)) : nullptr;
  }
  void Replace(std::shared_ptr<MetaStore> data, Noticed noticed);

  std::filesystem::path root_;
  std::atomic<int> begun_{0};
  mutable Mutex mutex_;
  std::string here_ GUARDED_BY(mutex_);  // the data's directory, and its identity
  std::shared_ptr<MetaStore> data_ GUARDED_BY(mutex_);
  int life_ GUARDED_BY(mutex_) = 0;
  bool away_ GUARDED_BY(mutex_) = false;
  std::set<Connection*> connections_ GUARDED_BY(mutex_);
};

class LosableServer::Connection : public MetaStore {
 public:
  explicit Connection(LosableServer* server) : server_(server) {
    MutexLock lock(server_->mutex_);
    life_ = server_->life_;
    server_->connections_.insert(this);
  }
  ~Connection() override {
    MutexLock lock(server_->mutex_);
    server_->connections_.erase(this);
  }

  Result<RangeResult> Range(const std::string& prefix, Revision at) override {
    ASSIGN_OR_RETURN(const auto data, Data());
    return data->Range(prefix, at);
  }
  Result<KeyValue> Get(const std::string& key, Revision at) override {
    ASSIGN_OR_RETURN(const auto data, Data());
    return data->Get(key, at);
  }
  Result<Revision> Commit(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops) override {
    ASSIGN_OR_RETURN(const auto data, Data());
    return data->Commit(compares, ops);
  }
  Result<std::unique_ptr<Watch>> WatchPrefix(const std::string& prefix, Revision from, OnWatch on_batch) override {
    ASSIGN_OR_RETURN(const auto data, Data());
    auto watch = std::make_unique<WatchOfIt>();
    watch->line = std::make_shared<Line>();
    watch->line->on_batch = std::move(on_batch);
    watch->data = data;
    ASSIGN_OR_RETURN(watch->watch, data->WatchPrefix(prefix, from, [line = watch->line](WatchBatch batch) { line->Deliver(std::move(batch)); }));
    MutexLock lock(server_->mutex_);
    lines_.push_back(watch->line);
    return std::unique_ptr<Watch>(std::move(watch));
  }
  Result<LeaseId> Grant(std::chrono::seconds ttl) override {
    ASSIGN_OR_RETURN(const auto data, Data());
    return data->Grant(ttl);
  }
  Status KeepAlive(LeaseId lease) override {
    ASSIGN_OR_RETURN(const auto data, Data());
    return data->KeepAlive(lease);
  }
  Status Revoke(LeaseId lease) override {
    ASSIGN_OR_RETURN(const auto data, Data());
    return data->Revoke(lease);
  }
  bool LeasesExpire() const override { return true; }
  Result<Revision> CurrentRevision() override {
    ASSIGN_OR_RETURN(const auto data, Data());
    return data->CurrentRevision();
  }
  std::string Identity() const override {
    MutexLock lock(server_->mutex_);
    return server_->here_;
  }
  Status Compact(Revision revision) override {
    ASSIGN_OR_RETURN(const auto data, Data());
    return data->Compact(revision);
  }

 private:
  friend class LosableServer;
  // Where a watch's batches go; cut when the server loses its data.
  struct Line {
    Mutex mutex;
    OnWatch on_batch;
    bool cut GUARDED_BY(mutex) = false;
    Revision told GUARDED_BY(mutex) = 0;
    void Deliver(WatchBatch batch) {
      {
        MutexLock lock(mutex);
        if (cut) return;
        told = batch.revision;
      }
      on_batch(std::move(batch));
    }
    // The data's own watch has been told nothing more by now.
    void Cut(Noticed noticed) {
      Revision last = 0;
      {
        MutexLock lock(mutex);
        if (std::exchange(cut, true)) return;
        last = told;
      }
      if (noticed == Noticed::kAbsence) on_batch({{}, last, {}, /*resumed=*/true});
      if (noticed == Noticed::kLoss) on_batch({Status(ErrorCode::kCorrupted, "the store has lost its data"), 0, {}});
    }
  };
  struct WatchOfIt : Watch {
    ~WatchOfIt() override {
      MutexLock lock(line->mutex);
      line->cut = true;
      lock.Unlock();
      watch.reset();
    }
    std::shared_ptr<MetaStore> data;  // outlives the watch
    std::shared_ptr<Line> line;
    std::unique_ptr<Watch> watch;
  };

  Result<std::shared_ptr<MetaStore>> Data() const {
    MutexLock lock(server_->mutex_);
    if (server_->away_) return Status(ErrorCode::kServiceUnavailable, "the store can't be reached");
    if (life_ != server_->life_) return Status(ErrorCode::kCorrupted, "the store has lost its data");
    return server_->data_;
  }

  LosableServer* const server_;
  int life_ = 0;
  std::vector<std::weak_ptr<Line>> lines_;
};

inline std::unique_ptr<MetaStore> LosableServer::Connect() { return std::make_unique<Connection>(this); }

inline void LosableServer::Replace(std::shared_ptr<MetaStore> data, Noticed noticed) {
  std::vector<std::shared_ptr<Connection::Line>> lines;
  {
    MutexLock lock(mutex_);
    std::swap(data_, data);
    if (noticed == Noticed::kLoss) ++life_;
    for (Connection* connection : connections_) {
      for (const auto& line : connection->lines_) {
        if (auto alive = line.lock()) lines.push_back(std::move(alive));
      }
      connection->lines_.clear();
    }
  }
  for (const auto& line : lines) line->Cut(noticed);
}

}  // namespace saker
