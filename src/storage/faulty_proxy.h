// For tests: a TCP server between an S3 client and its server, that does to the next requests what the test says:
// answers by itself, cuts connections, loses answers. Requests it has no fault for pass through. A connection serves
// one request.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace saker {

class FaultyProxy {
 public:
  // Given the client's connection, the request (head and body), and how to pass it on: returns the server's whole
  // answer.
  using Forward = std::function<std::string()>;
  using Fault = std::function<void(int client, const std::string& request, const Forward& forward)>;

  explicit FaultyProxy(int server_port) : server_port_(server_port) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener_, 64) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      throw std::runtime_error("the proxy can't listen");
    }
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~FaultyProxy() {
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    ::close(listener_);
    for (std::thread& thread : threads_) thread.join();
  }
  FaultyProxy(const FaultyProxy&) = delete;
  FaultyProxy& operator=(const FaultyProxy&) = delete;

  std::string endpoint() const { return "http://127.0.0.1:" + std::to_string(port_); }
  int requests() const { return requests_; }

  // The next `times` requests meet it, in the order of the calls.
  void Add(Fault fault, int times = 1) {
    const std::lock_guard lock(mutex_);
    for (int i = 0; i < times; ++i) faults_.push_back(fault);
  }
  void Clear() {
    const std::lock_guard lock(mutex_);
    faults_.clear();
  }

  static void Send(int client, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(client, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
  }
  static std::string Http(const std::string& status, const std::string& body, const std::string& headers = "") {
    return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\nConnection: close\r\n" +
           headers + "\r\n" + body;
  }

  // ---- faults
  static Fault Pass() {  // none: for those before the one that counts
    return [](int client, const std::string&, const Forward& forward) { Send(client, forward()); };
  }
  static Fault Answer(std::string answer) {
    const auto shared = std::make_shared<const std::string>(std::move(answer));  // faults are copied
    return [shared](int client, const std::string&, const Forward&) { Send(client, *shared); };
  }
  static Fault Error(const std::string& status, const std::string& code) {
    return Answer(Http(
        status, "<?xml version=\"1.0\"?><Error><Code>" + code + "</Code><Message>as the test wants</Message></Error>"));
  }
  // Closes without an answer, having passed the request on or not.
  static Fault Close() {
    return [](int, const std::string&, const Forward&) {};
  }
  static Fault LoseAnswer() {
    return [](int, const std::string&, const Forward& forward) { (void)forward(); };
  }
  static Fault CutAnswer(size_t bytes) {
    return
        [bytes](int client, const std::string&, const Forward& forward) { Send(client, forward().substr(0, bytes)); };
  }

 private:
  void Accept() {
    while (true) {
      const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) return;
      threads_.emplace_back([this, client] {
        Serve(client);
        ::close(client);
      });
    }
  }

  void Serve(int client) {
    const std::string request = ReadRequest(client);
    if (request.empty()) return;
    ++requests_;
    const Forward forward = [this, &request] { return Exchange(request); };
    Fault fault;
    {
      const std::lock_guard lock(mutex_);
      if (!faults_.empty()) {
        fault = faults_.front();
        faults_.pop_front();
      }
    }
    if (fault) {
      fault(client, request, forward);
    } else {
      Send(client, forward());
    }
  }

  static std::string ReadRequest(int client) {
    std::string request;
    size_t want = std::string::npos;
    std::vector<char> buffer(1 << 16);
    while (request.size() < want) {
      const ssize_t n = ::recv(client, buffer.data(), buffer.size(), 0);
      if (n <= 0) return "";
      request.append(buffer.data(), static_cast<size_t>(n));
      const size_t end = request.find("\r\n\r\n");
      if (want != std::string::npos || end == std::string::npos) continue;
      const size_t length = request.find("Content-Length: ");
      want = end + 4 + (length < end ? std::stoul(request.substr(length + 16)) : 0);
    }
    return request;
  }

  // The server closes after its answer, so that its end is known.
  std::string Exchange(std::string request) const {
    request.insert(request.find("\r\n") + 2, "Connection: close\r\n");
    const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(server_port_));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    std::string answer;
    if (::connect(server, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
      Send(server, request);
      std::vector<char> buffer(1 << 16);
      for (ssize_t n; (n = ::recv(server, buffer.data(), buffer.size(), 0)) > 0;)
        answer.append(buffer.data(), static_cast<size_t>(n));
    }
    ::close(server);
    return answer;
  }

  const int server_port_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<int> requests_{0};
  std::mutex mutex_;
  std::deque<Fault> faults_;
  std::vector<std::thread> threads_;  // the acceptor's until it is joined
  std::thread acceptor_;
};

}  // namespace saker
