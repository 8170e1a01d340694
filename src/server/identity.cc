#include "server/identity.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <random>

#include "base/clock.h"
#include "base/file.h"
#include "meta/keys.h"

namespace saker {
namespace {

constexpr const char* kClusterIdObject = "cluster/id";

std::string DrawClusterId() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

// Drawn, not counted: a meta store that was lost hands out no node's id a second time.
NodeId DrawNodeId() {
  std::random_device random;
  return NodeId(std::uniform_int_distribution<int64_t>(int64_t{1} << 32, (int64_t{1} << 52) - 1)(random));
}

Status Mixed(std::string_view first, const std::string& a, std::string_view second, const std::string& b) {
  return {ErrorCode::kCrossClusterRouting,
          fmt::format("{} belongs to cluster {}, {} to cluster {}: the settings name stores of different clusters, or the data "
                      "directory of another one; correct them, or start with an empty data directory",
                      first, a, second, b)};
}

// The object store decides which id was first; the meta store repeats it.
Result<std::string> ClusterId(MetaStore* meta, ObjectStore* objects) {
  auto stored = objects->Get(kClusterIdObject);
  if (stored.status().code() == ErrorCode::kIoKeyNotFound) {
    const Status put = objects->PutIfAbsent(kClusterIdObject, DrawClusterId());
    if (!put.ok() && put.code() != ErrorCode::kAlreadyExists) return put;
    stored = objects->Get(kClusterIdObject);
  }
  RETURN_IF_ERROR(stored.status());
  const std::string key(kClusterIdKey);
  const auto known = meta->Get(key);
  if (known.ok() && known->value != *stored) return Mixed("the meta store", known->value, "the object store", *stored);
  if (known.ok()) return *stored;
  if (known.status().code() != ErrorCode::kIoKeyNotFound) return known.status();
  const auto put = meta->Commit({Compare::Absent(key)}, {MetaOp::Put(key, *stored)});
  if (!put.ok() && put.status().code() != ErrorCode::kConflict) return put.status();
  return *stored;
}

struct NodeFile {
  std::string cluster;
  int64_t node = 0;
  int64_t incarnation = 0;
};

std::string Encode(const NodeFile& file) {
  return fmt::format("cluster {}\nnode {}\nincarnation {}\n", file.cluster, file.node, file.incarnation);
}

Result<NodeFile> DecodeNodeFile(const std::string& path, const std::string& text) {
  NodeFile file;
  char cluster[65] = {};
  if (std::sscanf(text.c_str(), "cluster %64s\nnode %ld\nincarnation %ld", cluster, &file.node, &file.incarnation) != 3 ||
      file.node <= 0) {
    return Status(ErrorCode::kCorrupted, fmt::format("{} does not say who this node is: remove it to become a new node", path));
  }
  file.cluster = cluster;
  return file;
}

Result<std::string> ReadSmallFile(const std::string& path) {
  ASSIGN_OR_RETURN(const File file, File::Open(path, O_RDONLY));
  return file.ReadAt(0, 4096);
}

Status WriteSmallFile(const std::string& directory, const std::string& path, const std::string& text) {
  const std::string draft = path + ".tmp";
  ASSIGN_OR_RETURN(const File file, File::Open(draft, O_WRONLY | O_CREAT | O_TRUNC));
  RETURN_IF_ERROR(file.WriteAt(text, 0));
  RETURN_IF_ERROR(file.SyncData());
  RETURN_IF_ERROR(RenameFile(draft, path));
  return SyncDirectory(directory);
}

}  // namespace

Result<Identity> EstablishIdentity(const std::string& data_dir, MetaStore* meta, ObjectStore* objects) {
  const std::string path = data_dir + "/node";
  NodeFile file;
  const auto text = ReadSmallFile(path);
  if (text.ok()) {
    ASSIGN_OR_RETURN(file, DecodeNodeFile(path, *text));
  } else if (text.status().code() != ErrorCode::kIoKeyNotFound) {
    return text.status();
  }
  ASSIGN_OR_RETURN(const std::string cluster, ClusterId(meta, objects));
  if (file.node != 0 && file.cluster != cluster) return Mixed("the data directory " + data_dir, file.cluster, "the stores", cluster);
  if (file.node == 0) file = {cluster, DrawNodeId().value, 0};
  file.incarnation = std::max(file.incarnation + 1, WallMs());
  RETURN_IF_ERROR(WriteSmallFile(data_dir, path, Encode(file)));
  return Identity{file.cluster, NodeId(file.node), file.incarnation};
}

}  // namespace saker
