// versitygw (over a directory) or MinIO as a child of a test, with a data directory of its own that survives Kill() and
// Start(). tests/servers/install.sh s3 puts them in place; Available() tells whether it did.
//
// Not thread-safe. POSIX only.
#pragma once

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "servers/server_process.h"

namespace saker {

enum class S3Kind { kVersityGw, kMinio };

class S3Server {
 public:
  static std::string ProgramName(S3Kind kind) { return kind == S3Kind::kMinio ? "minio" : "versitygw"; }
  static bool Available(S3Kind kind) { return !ServerProgram(ProgramName(kind)).empty(); }

  // With `tls` it shows a certificate of its own making for 127.0.0.1, signed by ca_file().
  explicit S3Server(S3Kind kind, bool tls = false) : kind_(kind), tls_(tls), port_(FreePort()) {
    std::filesystem::create_directories(directory_.path() + "/data");
    std::filesystem::create_directories(directory_.path() + "/certs");
    if (tls) MakeCertificate();
    process_ = std::make_unique<ServerProcess>(Command(), Environment(), directory_.path() + "/log");
    Start();
  }

  // Returns when it accepts connections; MinIO may answer 503 for a moment longer.
  void Start() {
    process_->Start([this] { return CanConnect(port_); });
  }
  void Kill() { process_->Kill(); }
  // Returns once it has stopped.
  void Pause() {
    process_->Pause();
    const std::string stat = "/proc/" + std::to_string(process_->pid()) + "/stat";
    for (int i = 0; i < 500; ++i) {
      std::ifstream in(stat);
      const std::string text{std::istreambuf_iterator<char>(in), {}};
      const size_t name_end = text.rfind(") ");
      if (name_end != std::string::npos && text.substr(name_end + 2, 1) == "T") return;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    throw std::runtime_error("the server doesn't stop");
  }
  void Resume() { process_->Resume(); }

  S3Kind kind() const { return kind_; }
  int port() const { return port_; }
  std::string endpoint() const {
    return (tls_ ? "https" : "http") + std::string("://127.0.0.1:") + std::to_string(port_);
  }
  std::string ca_file() const { return directory_.path() + "/certs/public.crt"; }
  std::string access_key() const { return "saker-test"; }
  std::string secret_key() const { return "a-secret-of-the-tests"; }
  std::string Log() const {
    std::ifstream in(directory_.path() + "/log");
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  std::vector<std::string> Command() const {
    const std::string program = ServerProgram(ProgramName(kind_));
    const std::string address = "127.0.0.1:" + std::to_string(port_);
    const std::string data = directory_.path() + "/data";
    if (kind_ == S3Kind::kMinio) {
      return {program,
              "server",
              "--quiet",
              "--address",
              address,
              "--console-address",
              "127.0.0.1:" + std::to_string(FreePort()),
              "--certs-dir",
              directory_.path() + "/certs",
              data};
    }
    std::vector<std::string> command = {program, "--port", address, "--keep-alive", "--quiet"};
    if (tls_) command.insert(command.end(), {"--cert", ca_file(), "--key", directory_.path() + "/certs/private.key"});
    command.insert(command.end(), {"posix", data});
    return command;
  }
  std::vector<std::string> Environment() const {
    const std::string user = kind_ == S3Kind::kMinio ? "MINIO_ROOT_USER=" : "ROOT_ACCESS_KEY=";
    const std::string password = kind_ == S3Kind::kMinio ? "MINIO_ROOT_PASSWORD=" : "ROOT_SECRET_KEY=";
    return {user + access_key(), password + secret_key(), "MINIO_UPDATE=off", "HOME=" + directory_.path()};
  }
  // MinIO wants these names.
  void MakeCertificate() const {
    const std::string certs = directory_.path() + "/certs";
    const std::string command =
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=saker-test -addext subjectAltName=IP:127.0.0.1 "
        "-keyout " +
        certs + "/private.key -out " + certs + "/public.crt >/dev/null 2>&1";
    if (std::system(command.c_str()) != 0) throw std::runtime_error("openssl failed: " + command);
  }

  const S3Kind kind_;
  const bool tls_;
  const int port_;
  TemporaryDirectory directory_;
  std::unique_ptr<ServerProcess> process_;
};

}  // namespace saker
