// TLS between the processes of a cluster: both sides show certificates of the cluster's own authority.
#pragma once

#include <string>

namespace saker {

struct InternalTls {
  bool enabled = false;
  std::string ca;           // PEM file: whom to trust
  std::string certificate;  // PEM file, chain included; servers always have one, clients where `mutual`
  std::string key;
  bool mutual = true;       // the server asks for a certificate of the CA
  std::string server_name;  // what servers' certificates are made out to; empty: the host in their address
};

}  // namespace saker
