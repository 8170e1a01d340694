// Real etcd servers for tests: one member or a cluster, with TLS, authentication and a quota, that can be killed,
// paused, restarted and robbed of their data. Programs come from `tests/servers/install.sh etcd`.
//
// Not thread-safe; throws std::runtime_error if a server doesn't start.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "servers/server_process.h"

namespace saker {

struct EtcdServerOptions {
  std::string version = "3.6";  // or "3.4"
  int members = 1;
  bool tls = false;  // and a client certificate is demanded
  int64_t quota_bytes = 0;
  std::vector<std::string> flags;  // more of etcd's own
};

class EtcdServer {
 public:
  static bool Installed(const std::string& version) {
    return !ServerProgram("etcd-" + version).empty() && !ServerProgram("etcdctl-3.6").empty();
  }

  explicit EtcdServer(EtcdServerOptions options = {}) : options_(std::move(options)) {
    if (options_.tls) MakeCertificates();
    for (int i = 0; i < options_.members; ++i) members_.push_back({FreePort(), FreePort(), FreePort(), nullptr});
    for (int i = 0; i < options_.members; ++i) {
      members_[i].process =
          std::make_unique<ServerProcess>(Command(i), std::vector<std::string>(), Path("log" + std::to_string(i)));
    }
    Start();
  }

  int members() const { return options_.members; }
  std::string endpoint(int member = 0) const { return Url(members_[member].client_port, options_.tls); }
  std::vector<std::string> endpoints() const {
    std::vector<std::string> out;
    for (int i = 0; i < options_.members; ++i) out.push_back(endpoint(i));
    return out;
  }
  // Signed by ca(): the server's, the client's. other_ca() and other_client() are of an authority nobody knows.
  std::string ca() const { return Path("ca.pem"); }
  std::string client_certificate() const { return Path("client.pem"); }
  std::string client_key() const { return Path("client.key"); }
  std::string other_ca() const { return Path("other-ca.pem"); }
  std::string other_client_certificate() const { return Path("other-client.pem"); }
  std::string other_client_key() const { return Path("other-client.key"); }
  std::string Path(const std::string& name) const { return directory_.path() + "/" + name; }

  // All members that aren't running; returns once each answers.
  void Start() {
    const bool alone = options_.members == 1;
    for (int i = 0; i < options_.members; ++i) {
      if (!members_[i].process->alive()) members_[i].process->Start([&, i] { return !alone || Healthy(i); });
    }
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    for (int i = 0; i < options_.members; ++i) {
      while (!Healthy(i)) {
        if (std::chrono::steady_clock::now() > deadline)
          throw std::runtime_error("etcd isn't healthy: see " + directory_.path());
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      }
    }
  }
  // Without waiting for it to be healthy: it may have no quorum.
  void StartMember(int member) {
    members_[member].process->Start([&] { return CanConnect(members_[member].client_port); });
  }
  void Kill(int member = 0) { members_[member].process->Kill(); }
  void Pause(int member = 0) {
    members_[member].process->Pause();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));  // its threads stop one by one
  }
  void Resume(int member = 0) { members_[member].process->Resume(); }
  // Kills all members and deletes what they stored; Start() makes an empty cluster of the same addresses.
  void Wipe() {
    for (int i = 0; i < options_.members; ++i) {
      Kill(i);
      std::filesystem::remove_all(Path("data" + std::to_string(i)));
    }
  }
  bool Healthy(int member) const {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const timeval patience{2, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(members_[member].metrics_port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const std::string request = "GET /health HTTP/1.0\r\n\r\n";
    std::string answer;
    if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 &&
        ::send(fd, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size())) {
      char buffer[1024];
      for (ssize_t n = 0; (n = ::recv(fd, buffer, sizeof(buffer), 0)) > 0;)
        answer.append(buffer, static_cast<size_t>(n));
    }
    ::close(fd);
    return answer.find("\"true\"") != std::string::npos;
  }

  // etcdctl with these arguments against the first member; what it says. `user` is "name:password".
  std::string Ctl(const std::string& arguments, const std::string& user = "") const {
    return Output(CtlCommand(user) + " " + arguments + " 2>&1");
  }
  // `user` may read and write everything under "<root>/"; root's own password is "rootpass".
  void EnableAuth(const std::string& user, const std::string& password, const std::string& root) const {
    for (const std::string& step : {std::string("user add root:rootpass"), std::string("user grant-role root root"),
                                    "user add " + user + ":" + password, std::string("role add keeper"),
                                    "role grant-permission --prefix=true keeper readwrite " + root + "/",
                                    "user grant-role " + user + " keeper", std::string("auth enable")}) {
      const std::string said = Ctl(step);
      if (said.find("rror") != std::string::npos) throw std::runtime_error("etcdctl " + step + ": " + said);
    }
  }
  void SetPassword(const std::string& user, const std::string& password) const {
    const std::string said = Output("printf '" + password + "' | " + CtlCommand("root:rootpass") + " user passwd " +
                                    user + " --interactive=false 2>&1");
    if (said.find("updated") == std::string::npos) throw std::runtime_error("etcdctl user passwd: " + said);
  }

 private:
  struct Member {
    int client_port;
    int peer_port;
    int metrics_port;
    std::unique_ptr<ServerProcess> process;
  };

  std::string CtlCommand(const std::string& user) const {
    std::string command = ServerProgram("etcdctl-3.6") + " --endpoints=" + endpoint();
    if (options_.tls) command += " --cacert=" + ca() + " --cert=" + client_certificate() + " --key=" + client_key();
    return user.empty() ? command : command + " --user=" + user;
  }
  static std::string Url(int port, bool tls) {
    return (tls ? "https" : "http") + std::string("://127.0.0.1:") + std::to_string(port);
  }
  static std::string Output(const std::string& command) {
    std::string out;
    FILE* pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr) throw std::runtime_error("can't run " + command);
    char buffer[4096];
    for (size_t n = 0; (n = ::fread(buffer, 1, sizeof(buffer), pipe)) > 0;) out.append(buffer, n);
    ::pclose(pipe);
    return out;
  }

  std::vector<std::string> Command(int member) const {
    const Member& m = members_[member];
    std::string cluster;
    for (int i = 0; i < options_.members; ++i) {
      cluster += (i > 0 ? ",m" : "m") + std::to_string(i) + "=" + Url(members_[i].peer_port, false);
    }
    const std::string client = Url(m.client_port, options_.tls);
    const std::string peer = Url(m.peer_port, false);
    std::vector<std::string> command = {
        ServerProgram("etcd-" + options_.version), "--name=m" + std::to_string(member),
        "--data-dir=" + Path("data" + std::to_string(member)), "--listen-client-urls=" + client,
        "--advertise-client-urls=" + client, "--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
        "--initial-cluster=" + cluster, "--listen-metrics-urls=" + Url(m.metrics_port, false), "--logger=zap",
        "--log-level=warn",
        // A test that kills the process loses nothing by it: what was written is in the kernel's cache.
        "--unsafe-no-fsync"};
    if (options_.quota_bytes > 0) command.push_back("--quota-backend-bytes=" + std::to_string(options_.quota_bytes));
    if (options_.tls) {
      for (const std::string& flag : {"--cert-file=" + Path("server.pem"), "--key-file=" + Path("server.key"),
                                      "--trusted-ca-file=" + ca(), std::string("--client-cert-auth")}) {
        command.push_back(flag);
      }
    }
    command.insert(command.end(), options_.flags.begin(), options_.flags.end());
    return command;
  }

  void MakeCertificates() const {
    const auto run = [&](const std::string& arguments) {
      Output("cd " + directory_.path() + " && openssl " + arguments + " 2>&1");
    };
    const std::string key = " -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes ";
    const auto sign = [&](const std::string& name, const std::string& authority, const std::string& extension) {
      run("req" + key + "-subj /CN=" + name + " -keyout " + name + ".key -out " + name + ".csr");
      Output("printf '" + extension + "' > " + Path(name + ".ext"));
      run("x509 -req -days 2 -in " + name + ".csr -CA " + authority + ".pem -CAkey " + authority +
          ".key -CAcreateserial -extfile " + name + ".ext -out " + name + ".pem");
    };
    for (const char* authority : {"ca", "other-ca"}) {
      run("req -x509 -days 2" + key + "-subj /CN=" + authority + " -keyout " + authority + ".key -out " + authority +
          ".pem");
    }
    sign("server", "ca", "subjectAltName=IP:127.0.0.1,DNS:etcd.test\\nextendedKeyUsage=serverAuth,clientAuth");
    sign("client", "ca", "extendedKeyUsage=clientAuth");
    sign("other-client", "other-ca", "extendedKeyUsage=clientAuth");
    if (!std::filesystem::exists(Path("client.pem")))
      throw std::runtime_error("openssl made no certificates in " + directory_.path());
  }

  const EtcdServerOptions options_;
  const TemporaryDirectory directory_;
  std::vector<Member> members_;
};

}  // namespace saker
