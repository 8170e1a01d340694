// A real server as a child of a test: started with a log of its own, killed with the test, however the test ends.
// tests/servers/install.sh puts etcd, Kafka and the S3 servers under build/servers; each has its own header here
// (etcd_server.h, kafka_server.h, s3_server.h) that knows its command line and when it is ready.
//
// Not thread-safe. POSIX only.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace saker {

// A port of 127.0.0.1 nobody listens on, below the range the kernel hands out to clients.
inline int FreePort() {
  static std::mt19937 random{std::random_device{}()};
  for (int attempt = 0; attempt < 200; ++attempt) {
    const int port = std::uniform_int_distribution<int>(20'000, 32'000)(random);
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool free = ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
    ::close(fd);
    if (free) return port;
  }
  throw std::runtime_error("no free port between 20000 and 32000");
}

inline bool CanConnect(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool connected = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  ::close(fd);
  return connected;
}

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "saker-server-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class ServerProcess {
 public:
  // `environment` is added to the test's own ("NAME=value"). Output goes to `log_file`, appended.
  ServerProcess(std::vector<std::string> command, std::vector<std::string> environment, std::string log_file)
      : command_(std::move(command)), environment_(std::move(environment)), log_file_(std::move(log_file)) {}
  ~ServerProcess() { Kill(); }
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  // Returns once `ready` says so; throws with the log's place if the process ends first or it takes too long.
  void Start(const std::function<bool()>& ready, std::chrono::seconds limit = std::chrono::seconds(60)) {
    Spawn();
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (!ready()) {
      if (!alive()) throw std::runtime_error(command_[0] + " ended at its start: see " + log_file_);
      if (std::chrono::steady_clock::now() > deadline) throw std::runtime_error(command_[0] + " isn't ready: see " + log_file_);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  bool alive() {
    if (pid_ <= 0) return false;
    if (::waitpid(pid_, nullptr, WNOHANG) == 0) return true;
    pid_ = -1;
    return false;
  }
  void Kill() { End(SIGKILL); }
  void Terminate() { End(SIGTERM); }
  void Pause() { Signal(SIGSTOP); }
  void Resume() { Signal(SIGCONT); }
  pid_t pid() const { return pid_; }

 private:
  void Spawn() {
    std::vector<char*> argv;
    for (std::string& word : command_) argv.push_back(word.data());
    argv.push_back(nullptr);
    const int log = ::open(log_file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ != 0) {
      ::close(log);
      return;
    }
    // Dies with the test. The thread that forked must outlive it: tests start servers from their main thread.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    ::dup2(log, STDOUT_FILENO);
    ::dup2(log, STDERR_FILENO);
    for (std::string& setting : environment_) ::putenv(setting.data());
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  void Signal(int signal) {
    if (pid_ > 0) ::kill(pid_, signal);
  }
  void End(int signal) {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGCONT);
    ::kill(pid_, signal);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

  std::vector<std::string> command_;
  std::vector<std::string> environment_;
  const std::string log_file_;
  pid_t pid_ = -1;
};

// Where install.sh put a program; the test is skipped (gtest) by who calls this if it isn't there.
inline std::string ServerProgram(const std::string& name) {
  const char* root = ::getenv("SAKER_SERVERS");
  const std::string path = std::string(root != nullptr ? root : SAKER_SERVERS_DIR) + "/" + name;
  return std::filesystem::exists(path) ? path : "";
}

}  // namespace saker
