#include "rpc/http_server.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstring>
#include <optional>
#include <thread>
#include <unordered_map>

#include "base/log.h"
#include "base/mutex.h"

namespace saker {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using BoostError = boost::system::error_code;

std::string PercentDecode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16).ptr == text.data() + i + 3) {
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += plus_is_space && text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

std::string PeerName(const tcp::endpoint& peer) {
  const auto address = peer.address();
  return fmt::format(fmt::runtime(address.is_v6() ? "ipv6:[{}]:{}" : "ipv4:{}:{}"), address.to_string(), peer.port());
}

}  // namespace

std::string_view HttpRequest::Header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

std::string HttpRequest::QueryParameter(std::string_view name) const {
  std::string_view rest = query;
  while (!rest.empty()) {
    const std::string_view part = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    const size_t equals = part.find('=');
    if (PercentDecode(part.substr(0, equals), true) == name) {
      return equals == std::string_view::npos ? "" : PercentDecode(part.substr(equals + 1), true);
    }
  }
  return {};
}

void HttpRoutes::Add(std::string prefix, ThreadPool* pool, HttpHandler handler) {
  routes_.push_back({std::move(prefix), pool, std::move(handler)});
}

const HttpRoutes::Route* HttpRoutes::Find(std::string_view path) const {
  const Route* best = nullptr;
  for (const Route& route : routes_) {
    if (path.starts_with(route.prefix) && (best == nullptr || route.prefix.size() > best->prefix.size())) best = &route;
  }
  return best;
}

Result<std::pair<std::string, int>> SplitAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  int port = -1;
  if (colon != std::string::npos) {
    const char* end = address.data() + address.size();
    const auto parsed = std::from_chars(address.data() + colon + 1, end, port);
    if (parsed.ptr != end || parsed.ec != std::errc()) port = -1;
  }
  if (port < 0 || port > 65535) {
    return Status(ErrorCode::kParameterInvalid,
                  fmt::format("address '{}' is not HOST:PORT with a port from 0 to 65535", address));
  }
  std::string host = address.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  if (host.empty()) host = "0.0.0.0";
  return std::pair(host, port);
}

// --------------------------------------------------------------------------------------------------------------------

namespace {

// What a session tells the server when it begins and ends, so that Stop() can close it.
// Thread-safe.
class OpenConnections {
 public:
  uint64_t Add(std::function<void()> close) {
    MutexLock lock(mutex_);
    close_.emplace(++next_, std::move(close));
    return next_;
  }
  void Remove(uint64_t id) {
    MutexLock lock(mutex_);
    close_.erase(id);
  }
  void CloseAll() {
    std::unordered_map<uint64_t, std::function<void()>> all;
    {
      MutexLock lock(mutex_);
      all.swap(close_);
    }
    for (auto& [id, close] : all) close();
  }

 private:
  Mutex mutex_;
  uint64_t next_ GUARDED_BY(mutex_) = 0;
  std::unordered_map<uint64_t, std::function<void()>> close_ GUARDED_BY(mutex_);
};

// What sessions share with their server, and keep alive: a handler may answer after the server is gone.
struct Shared {
  explicit Shared(HttpLimits l) : limits(l) {}
  const HttpLimits limits;
  OpenConnections open;  // before io: sessions that die with io's queue still reach it
  asio::io_context io{1};
  std::atomic<bool> stopped{false};
};

// One HTTP/1.1 connection: read a request, hand it out, write the response, again. Everything happens on the HTTP
// thread, except that a handler's answer arrives through a post. Kept alive by its pending operation.
template <typename Stream>
class Session : public std::enable_shared_from_this<Session<Stream>> {
 public:
  template <typename... Args>
  Session(std::shared_ptr<Shared> shared, const HttpRoutes* routes, Args&&... args)
      : shared_(std::move(shared)), limits_(shared_->limits), routes_(routes), stream_(std::forward<Args>(args)...) {
    BoostError ignored;
    peer_ = PeerName(beast::get_lowest_layer(stream_).socket().remote_endpoint(ignored));
  }
  ~Session() { shared_->open.Remove(id_); }

  void Start() {
    id_ = shared_->open.Add([weak = this->weak_from_this()] {
      if (auto self = weak.lock()) self->Close();
    });
    if constexpr (!std::is_same_v<Stream, beast::tcp_stream>) {
      Expire(limits_.first_byte_seconds);
      stream_.async_handshake(asio::ssl::stream_base::server, [self = Self()](BoostError error) {
        if (!error) self->ReadHeader();
      });
    } else {
      ReadHeader();
    }
  }

 private:
  auto Self() { return this->shared_from_this(); }
  void Expire(int seconds) { beast::get_lowest_layer(stream_).expires_after(std::chrono::seconds(seconds)); }
  void Close() {
    BoostError ignored;
    beast::get_lowest_layer(stream_).socket().close(ignored);
  }

  void ReadHeader() {
    parser_.emplace();
    parser_->header_limit(static_cast<uint32_t>(limits_.header_bytes));
    parser_->body_limit(static_cast<uint64_t>(limits_.body_bytes));
    Expire(limits_.idle_seconds);
    http::async_read_header(stream_, buffer_, *parser_, [self = Self()](BoostError error, size_t) {
      if (error) return self->Refuse(error);
      self->ReadBody();
    });
  }

  void ReadBody() {
    Expire(limits_.request_seconds);
    if (beast::iequals(parser_->get()[http::field::expect], "100-continue")) {
      static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
      asio::async_write(stream_, asio::const_buffer(kContinue.data(), kContinue.size()),
                        [self = Self()](BoostError error, size_t) {
                          if (!error) self->ReadRest();
                        });
    } else {
      ReadRest();
    }
  }

  void ReadRest() {
    http::async_read(stream_, buffer_, *parser_, [self = Self()](BoostError error, size_t) {
      if (error) return self->Refuse(error);
      self->Dispatch();
    });
  }

  // Answers what could not be read, if it was HTTP at all, and closes.
  void Refuse(BoostError error) {
    if (error == http::error::end_of_stream || error == asio::error::operation_aborted ||
        error == beast::error::timeout || error == asio::error::connection_reset || error == asio::error::eof ||
        error == http::error::partial_message) {
      return Close();
    }
    HttpResponse response;
    response.content_type = "text/plain";
    if (error == http::error::header_limit) {
      response.status = 431;
      response.body = fmt::format("the request's headers are larger than {} bytes\n", limits_.header_bytes);
    } else if (error == http::error::body_limit) {
      response.status = 413;
      response.body = fmt::format("the request's body is larger than {} bytes\n", limits_.body_bytes);
    } else if (error.category() == make_error_code(http::error::bad_method).category()) {
      response.status = 400;
      response.body = fmt::format("not a valid HTTP request: {}\n", error.message());
    } else {
      return Close();
    }
    keep_alive_ = false;
    version_ = 11;
    head_ = false;
    Write(std::move(response));
  }

  void Dispatch() {
    beast::get_lowest_layer(stream_).expires_never();  // how long an answer may take is the handler's matter
    auto message = parser_->release();
    keep_alive_ = message.keep_alive();
    version_ = message.version();
    head_ = message.method() == http::verb::head;
    HttpRequest request;
    request.method = std::string(message.method_string());
    const std::string_view target(message.target().data(), message.target().size());
    const size_t question = target.find('?');
    request.path = PercentDecode(target.substr(0, question), false);
    if (question != std::string_view::npos) request.query = target.substr(question + 1);
    for (const auto& field : message) {
      std::string name(field.name_string());
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
      request.headers.emplace_back(std::move(name), std::string(field.value()));
    }
    request.body = std::move(message.body());
    request.peer = peer_;

    const HttpRoutes::Route* route = routes_->Find(request.path);
    if (route == nullptr) {
      return Write({404, "text/plain", fmt::format("nothing at {}\n", request.path), {}});
    }
    HttpRespond respond = [answer = std::make_shared<Answer>(Self())](HttpResponse response) {
      answer->Send(std::move(response));
    };
    const auto run = [route, respond](HttpRequest r) {
      try {
        route->handler(std::move(r), respond);
      } catch (const std::exception& error) {
        LogError("HTTP handler of {}: {}", route->prefix, error.what());
        respond({500, "text/plain", "internal error; see the server's log\n", {}});
      }
    };
    if (route->pool == nullptr) return run(std::move(request));
    // A Task is copyable, hence the shared request.
    route->pool->Post([run, shared = std::make_shared<HttpRequest>(std::move(request))] { run(std::move(*shared)); });
  }

  // The way back from a handler: the first Send counts; if nobody sends, the last copy's end does.
  struct Answer {
    explicit Answer(std::shared_ptr<Session> s) : session(std::move(s)) {}
    ~Answer() { Send({500, "text/plain", "the request was dropped without an answer; see the server's log\n", {}}); }
    void Send(HttpResponse response) {
      if (sent.exchange(true)) return;
      if (session->shared_->stopped) return;
      // The session goes along: it must end on the HTTP thread.
      asio::io_context& io = session->shared_->io;
      asio::post(io, [session = std::move(session), response = std::move(response)]() mutable {
        session->Write(std::move(response));
      });
    }
    std::shared_ptr<Session> session;
    std::atomic<bool> sent{false};
  };

  void Write(HttpResponse response) {
    response_.emplace(static_cast<http::status>(response.status), version_);
    response_->set(http::field::content_type, response.content_type);
    for (const auto& [name, value] : response.headers) response_->set(name, value);
    response_->keep_alive(keep_alive_);
    if (head_) {
      response_->content_length(response.body.size());
    } else {
      response_->body() = std::move(response.body);
      response_->prepare_payload();
    }
    Expire(limits_.request_seconds);
    http::async_write(stream_, *response_, [self = Self()](BoostError error, size_t) {
      self->response_.reset();
      if (error || !self->keep_alive_) return self->Finish();
      self->ReadHeader();
    });
  }

  // Says goodbye, and reads away what a refused client still sends: closing at once would reset the connection and
  // take our answer with it.
  void Finish() {
    BoostError ignored;
    beast::get_lowest_layer(stream_).socket().shutdown(tcp::socket::shutdown_send, ignored);
    Expire(2);
    Drain();
  }
  void Drain() {
    buffer_.clear();
    beast::get_lowest_layer(stream_).async_read_some(buffer_.prepare(16384), [self = Self()](BoostError error, size_t n) {
      self->drained_ += n;
      if (error || self->drained_ > (8u << 20)) return self->Close();
      self->Drain();
    });
  }

  const std::shared_ptr<Shared> shared_;
  const HttpLimits& limits_;
  const HttpRoutes* const routes_;
  Stream stream_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  std::optional<http::response<http::string_body>> response_;
  std::string peer_;
  uint64_t id_ = 0;
  size_t drained_ = 0;
  unsigned version_ = 11;
  bool keep_alive_ = false;
  bool head_ = false;
};

}  // namespace

// --------------------------------------------------------------------------------------------------------------------

// Lives on the HTTP thread, which is joined before it goes.
struct HttpServer::State {
  explicit State(HttpLimits limits) : shared(std::make_shared<Shared>(limits)) {}

  struct Listener {
    explicit Listener(asio::io_context& io) : acceptor(io), retry(io) {}
    tcp::acceptor acceptor;
    asio::steady_timer retry;
    const HttpRoutes* routes = nullptr;
    Http2Handover on_http2;
    std::unique_ptr<asio::ssl::context> tls;
  };
  // A new connection whose protocol isn't known yet.
  struct Newcomer {
    Newcomer(tcp::socket s, asio::io_context& io) : socket(std::move(s)), timer(io), again(io) {}
    tcp::socket socket;
    asio::steady_timer timer, again;
    uint64_t id = 0;
  };

  void Accept(Listener& listener) {
    listener.acceptor.async_accept([this, &listener](BoostError error, tcp::socket socket) {
      if (error == asio::error::operation_aborted) return;
      if (error) {  // most likely out of descriptors: let some be given back
        LogWarn("accepting a connection failed: {}", error.message());
        listener.retry.expires_after(std::chrono::milliseconds(100));
        listener.retry.async_wait([this, &listener](BoostError stopped) {
          if (!stopped) Accept(listener);
        });
        return;
      }
      BoostError ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      socket.non_blocking(true, ignored);
      if (listener.on_http2) {
        Sort(listener, std::move(socket));
      } else {
        Serve(listener, std::move(socket));
      }
      Accept(listener);
    });
  }

  void Sort(Listener& listener, tcp::socket socket) {
    auto newcomer = std::make_shared<Newcomer>(std::move(socket), io);
    newcomer->id = open.Add([weak = std::weak_ptr(newcomer)] {
      if (auto n = weak.lock()) CloseNewcomer(*n);
    });
    newcomer->timer.expires_after(std::chrono::seconds(limits.first_byte_seconds));
    newcomer->timer.async_wait([newcomer](BoostError stopped) {
      if (!stopped) CloseNewcomer(*newcomer);
    });
    WaitForBytes(listener, newcomer);
  }
  static void CloseNewcomer(Newcomer& newcomer) {
    BoostError ignored;
    newcomer.socket.close(ignored);
    newcomer.timer.cancel();
    newcomer.again.cancel();
  }

  void WaitForBytes(Listener& listener, const std::shared_ptr<Newcomer>& newcomer) {
    newcomer->socket.async_wait(tcp::socket::wait_read, [this, &listener, newcomer](BoostError error) {
      if (error) return Drop(*newcomer);
      Peek(listener, newcomer);
    });
  }
  void Drop(Newcomer& newcomer) {
    open.Remove(newcomer.id);
    CloseNewcomer(newcomer);
  }

  void Peek(Listener& listener, const std::shared_ptr<Newcomer>& newcomer) {
    char first[3];
    const ssize_t n = ::recv(newcomer->socket.native_handle(), first, sizeof(first), MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return WaitForBytes(listener, newcomer);
    if (n <= 0) return Drop(*newcomer);
    const bool http2_so_far = std::memcmp(first, "PRI", static_cast<size_t>(n)) == 0;
    if (http2_so_far && n < 3) {  // "P" could become POST as well: the bytes stay readable, so look again in a moment
      newcomer->again.expires_after(std::chrono::milliseconds(20));
      newcomer->again.async_wait([this, &listener, newcomer](BoostError stopped) {
        if (stopped || !newcomer->socket.is_open()) return Drop(*newcomer);
        Peek(listener, newcomer);
      });
      return;
    }
    open.Remove(newcomer->id);
    newcomer->timer.cancel();
    if (!http2_so_far) return Serve(listener, std::move(newcomer->socket));
    BoostError error;
    const int fd = newcomer->socket.release(error);
    if (error) return;
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    listener.on_http2(listener.acceptor.native_handle(), fd);
  }

  void Serve(Listener& listener, tcp::socket socket) {
    if (listener.tls) {
      std::make_shared<Session<beast::ssl_stream<beast::tcp_stream>>>(shared, listener.routes, std::move(socket),
                                                                      *listener.tls)
          ->Start();
    } else {
      std::make_shared<Session<beast::tcp_stream>>(shared, listener.routes, std::move(socket))->Start();
    }
  }

  const std::shared_ptr<Shared> shared;
  const HttpLimits& limits = shared->limits;
  OpenConnections& open = shared->open;
  asio::io_context& io = shared->io;
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
  std::vector<std::unique_ptr<Listener>> listeners;
  std::thread thread;
};

HttpServer::HttpServer(HttpLimits limits) : state_(std::make_unique<State>(limits)) {
  state_->thread = std::thread([state = state_.get()] {
    pthread_setname_np(pthread_self(), "http");
    while (true) {
      try {
        state->io.run();
        return;
      } catch (const std::exception& error) {
        LogError("HTTP: {}", error.what());
      }
    }
  });
}

HttpServer::~HttpServer() { Stop(); }

namespace {

Result<std::unique_ptr<asio::ssl::context>> MakeTls(const TlsFiles& files) {
  auto context = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_server);
  BoostError error;
  context->use_certificate_chain_file(files.certificate, error);
  if (error) {
    return Status(ErrorCode::kParameterInvalid, fmt::format("TLS certificate {}: {}", files.certificate, error.message()));
  }
  context->use_private_key_file(files.key, asio::ssl::context::pem, error);
  if (error) return Status(ErrorCode::kParameterInvalid, fmt::format("TLS key {}: {}", files.key, error.message()));
  if (!files.client_ca.empty()) {
    context->load_verify_file(files.client_ca, error);
    if (error) {
      return Status(ErrorCode::kParameterInvalid, fmt::format("TLS client CA {}: {}", files.client_ca, error.message()));
    }
    context->set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert, error);
  }
  return context;
}

}  // namespace

Result<int> HttpServer::Listen(const std::string& address, const HttpRoutes* routes, Http2Handover on_http2,
                               const TlsFiles* tls) {
  ASSIGN_OR_RETURN(auto host_port, SplitAddress(address));
  const auto& [host, port] = host_port;
  auto listener = std::make_unique<State::Listener>(state_->io);
  listener->routes = routes;
  listener->on_http2 = std::move(on_http2);
  if (tls != nullptr) {
    ASSIGN_OR_RETURN(listener->tls, MakeTls(*tls));
  }
  const auto failed = [&](const BoostError& error) {
    if (error == asio::error::address_in_use) {
      return Status(ErrorCode::kIoFailed,
                    fmt::format("{} is in use by another process: stop it, or choose another port", address));
    }
    return Status(ErrorCode::kIoFailed, fmt::format("cannot listen on {}: {}", address, error.message()));
  };
  BoostError error;
  tcp::resolver resolver(state_->io);
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (error || found.empty()) return failed(error);
  const tcp::endpoint endpoint = found.begin()->endpoint();
  auto& acceptor = listener->acceptor;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return failed(error);
  const int bound = acceptor.local_endpoint(error).port();
  auto* raw = listener.get();
  asio::post(state_->io, [state = state_.get(), raw, keep = std::make_shared<std::unique_ptr<State::Listener>>(
                                                         std::move(listener))] {
    state->listeners.push_back(std::move(*keep));
    state->Accept(*raw);
  });
  return bound;
}

void HttpServer::Stop() {
  if (!state_->thread.joinable()) return;
  asio::post(state_->io, [state = state_.get()] {
    for (auto& listener : state->listeners) {
      BoostError ignored;
      listener->acceptor.close(ignored);
      listener->retry.cancel();
    }
    state->shared->stopped = true;
    state->open.CloseAll();
    state->work.reset();  // the thread ends when the closed connections have noticed
  });
  state_->thread.join();
}

}  // namespace saker
