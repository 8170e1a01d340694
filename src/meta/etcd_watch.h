// All watches of an EtcdStore, fed by one etcd watch of everything under the root.
//
// One watch, because its events then tell of every revision under the root in order, which is what watches of a prefix
// must learn of too: etcd's progress requests, the alternative, overtake events before 3.4.25 and 3.5.8. And because
// each process follows the whole root anyway (the catalog's view), so that the others cost nothing.
//
// One thread reads from etcd, one delivers; both are asleep unless something happens. What was read lately is kept for
// watches that begin a little in the past; for one that begins further back the etcd watch starts anew from there, and
// each watch gets only what it hasn't seen.
#pragma once

#include <memory>
#include <string>

#include "meta/etcd_client.h"

namespace saker {

class EtcdWatchHub {
 public:
  // `root` ends with a slash.
  EtcdWatchHub(std::shared_ptr<EtcdClient> client, std::string root);
  ~EtcdWatchHub();  // no callback runs any more afterwards

  // Events from revision `from` (not 0) on.
  std::unique_ptr<Watch> Add(std::string prefix, Revision from, MetaStore::OnWatch on_batch);
  // This process wrote `revision` under the root: if it doesn't arrive soon, the etcd watch is dead and opened anew.
  void Expect(Revision revision);
  // Waits a little until watches, if there are any, have learned of `revision`. False if they haven't: most likely it
  // was made outside of the root.
  bool Arrives(Revision revision);

 private:
  struct State;
  class HubWatch;
  std::shared_ptr<State> state_;
};

}  // namespace saker
