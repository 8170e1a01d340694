// Who a process of a cluster is: the cluster's id, and this node's own, the same at every start on its data directory.
//
// The cluster's id is drawn once and stands in the object store (written if absent: one winner) and in the meta store.
// A process whose stores, or whose data directory, belong to different clusters does not start.
#pragma once

#include <string>

#include "base/ids.h"
#include "base/status.h"
#include "meta/meta_store.h"
#include "storage/object_store.h"

namespace saker {

struct Identity {
  std::string cluster;      // 32 hexadecimal digits
  NodeId node;
  int64_t incarnation = 0;  // rises with every start of this node
};

// Reads who this is, or becomes somebody at the first start on `data_dir`, which is locked by the caller. kCrossClusterRouting if ids of different clusters meet: the message says where each was found.
// kServiceUnavailable as long as a store can't be asked: try again. kIoFailed, kDiskLimitExceeded, kCorrupted: of the
// file data_dir/node.
Result<Identity> EstablishIdentity(const std::string& data_dir, MetaStore* meta, ObjectStore* objects);

}  // namespace saker
