#include "storage/http_client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <csignal>
#include <mutex>

#include "base/clock.h"
#include "base/mutex.h"

namespace saker {
namespace {

constexpr size_t kMaxErrorBodyBytes = 64 << 10;
constexpr size_t kMaxHeaderBytes = 64 << 10;
constexpr size_t kMaxIdleConnections = 64;  // sets of them
constexpr int64_t kMaxPollMs = 500;

void StartCurl() {
  static std::once_flag once;
  std::call_once(once, [] {
    curl_global_init(CURL_GLOBAL_DEFAULT);
    // OpenSSL writes to connections that the server has closed: an error will do.
    struct sigaction action{};
    if (::sigaction(SIGPIPE, nullptr, &action) == 0 && action.sa_handler == SIG_DFL) ::signal(SIGPIPE, SIG_IGN);
  });
}

std::string LowerCase(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::string_view Trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// One exchange while it runs: curl's handle, and its callbacks' state. Its address is curl's: it doesn't move.
class Transfer {
 public:
  Transfer(HttpExchange* exchange, CURL* easy) : exchange_(exchange), easy_(easy), last_progress_us_(MonotonicUs()) {}
  ~Transfer() {
    curl_slist_free_all(headers_);
    curl_easy_reset(easy_);
  }
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  CURL* easy() const { return easy_; }

  void Prepare(const HttpSettings& settings) {
    Set(CURLOPT_NOSIGNAL, 1L);
    Set(CURLOPT_PRIVATE, this);
    Set(CURLOPT_ERRORBUFFER, error_);
    Set(CURLOPT_URL, exchange_->url.c_str());
    Set(CURLOPT_PATH_AS_IS, 1L);
    Set(CURLOPT_PROTOCOLS_STR, "http,https");
    Set(CURLOPT_NOPROXY, "*");
    Set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    Set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(settings.connect_timeout.count()));
    Set(CURLOPT_TCP_KEEPALIVE, 1L);
    Set(CURLOPT_BUFFERSIZE, 256L << 10);
    Set(CURLOPT_UPLOAD_BUFFERSIZE, 256L << 10);
    Set(CURLOPT_SSL_VERIFYPEER, settings.verify_certificate ? 1L : 0L);
    Set(CURLOPT_SSL_VERIFYHOST, settings.verify_certificate ? 2L : 0L);
    if (!settings.ca_file.empty()) Set(CURLOPT_CAINFO, settings.ca_file.c_str());
    Set(CURLOPT_HEADERFUNCTION, &Transfer::OnHeader);
    Set(CURLOPT_HEADERDATA, this);
    Set(CURLOPT_WRITEFUNCTION, &Transfer::OnBody);
    Set(CURLOPT_WRITEDATA, this);
    PrepareMethod();
    // None of what curl adds by itself to a body: it isn't signed, and waiting for "100 Continue" costs a round trip.
    for (const char* header : {"Expect:", "Content-Type: application/octet-stream", "Accept:"}) AddHeader(header);
    for (const std::string& header : exchange_->headers) AddHeader(header.c_str());
    Set(CURLOPT_HTTPHEADER, headers_);
  }

  // True once it may run no longer; it is marked as failed then.
  bool Expired(int64_t now_us, std::chrono::milliseconds stall_timeout) {
    curl_off_t sent = 0;
    curl_off_t received = 0;
    curl_easy_getinfo(easy_, CURLINFO_SIZE_UPLOAD_T, &sent);
    curl_easy_getinfo(easy_, CURLINFO_SIZE_DOWNLOAD_T, &received);
    const int64_t moved = sent + received + static_cast<int64_t>(header_bytes_);
    if (moved != moved_) {
      moved_ = moved;
      last_progress_us_ = now_us;
    }
    const int64_t stall_us = std::chrono::microseconds(stall_timeout).count();
    if (now_us < std::min(last_progress_us_ + stall_us, DeadlineUs())) return false;
    Fail(HttpFailure::kTimeout, now_us >= DeadlineUs()
                                    ? "no whole answer in time"
                                    : fmt::format("nothing was sent or received for {} ms", stall_timeout.count()));
    return true;
  }

  int64_t NextCheckUs(std::chrono::milliseconds stall_timeout) const {
    return std::min(last_progress_us_ + std::chrono::microseconds(stall_timeout).count(), DeadlineUs());
  }

  void Finish(CURLcode code) {
    long status = 0;
    curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
    exchange_->status = static_cast<int>(status);
    if (code == CURLE_OK || error_body_cut_) return;
    if (exchange_->failure != HttpFailure::kNone) return;  // a callback said why
    Fail(Kind(code), error_[0] != '\0' ? error_ : curl_easy_strerror(code));
  }

 private:
  template <typename T>
  void Set(CURLoption option, T value) {
    curl_easy_setopt(easy_, option, value);
  }
  void AddHeader(const char* header) { headers_ = curl_slist_append(headers_, header); }

  // POSTFIELDS under another method's name: curl sends from our memory, and can send again if a connection that was
  // kept turns out to be closed.
  void PrepareMethod() {
    if (exchange_->method == "GET") {
      Set(CURLOPT_HTTPGET, 1L);
      return;
    }
    if (exchange_->method == "PUT" || exchange_->method == "POST") {
      Set(CURLOPT_POST, 1L);
      Set(CURLOPT_POSTFIELDS, exchange_->body.empty() ? "" : exchange_->body.data());
      Set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(exchange_->body.size()));
    }
    Set(CURLOPT_CUSTOMREQUEST, exchange_->method.c_str());
  }

  void Fail(HttpFailure failure, std::string text) {
    exchange_->failure = failure;
    exchange_->failure_text = std::move(text);
  }

  static HttpFailure Kind(CURLcode code) {
    switch (code) {
      case CURLE_COULDNT_RESOLVE_HOST:
      case CURLE_COULDNT_CONNECT:
      case CURLE_URL_MALFORMAT: return HttpFailure::kConnect;
      case CURLE_PEER_FAILED_VERIFICATION:
      case CURLE_SSL_CACERT_BADFILE:
      case CURLE_SSL_ISSUER_ERROR: return HttpFailure::kCertificate;
      case CURLE_OPERATION_TIMEDOUT: return HttpFailure::kTimeout;
      default: return HttpFailure::kBroken;
    }
  }

  int64_t DeadlineUs() const {
    const int64_t bytes = static_cast<int64_t>(exchange_->body.size()) + expected_bytes_;
    return exchange_->deadline_us + static_cast<int64_t>(static_cast<double>(bytes) * 1e6 / kHttpSlowestBytesPerSecond);
  }

  static size_t OnHeader(char* data, size_t, size_t size, void* self) {
    return static_cast<Transfer*>(self)->TakeHeader({data, size}) ? size : 0;
  }
  bool TakeHeader(std::string_view line) {
    header_bytes_ += line.size();
    if (header_bytes_ > kMaxHeaderBytes) {
      Fail(HttpFailure::kAnswerTooLong, fmt::format("the answer's headers are longer than {} bytes", kMaxHeaderBytes));
      return false;
    }
    if (line.starts_with("HTTP/")) {  // begins anew after a "100 Continue", and when curl sends again
      exchange_->answer_headers.clear();
      return true;
    }
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return true;
    const std::string name = LowerCase(Trimmed(line.substr(0, colon)));
    const std::string_view value = Trimmed(line.substr(colon + 1));
    if (name == "content-length") {
      int64_t bytes = 0;
      std::from_chars(value.data(), value.data() + value.size(), bytes);
      expected_bytes_ = std::clamp<int64_t>(bytes, 0, exchange_->max_answer_bytes);
    }
    exchange_->answer_headers[name] = std::string(value);
    return true;
  }

  static size_t OnBody(char* data, size_t, size_t size, void* self) {
    return static_cast<Transfer*>(self)->TakeBody({data, size}) ? size : 0;
  }
  bool TakeBody(std::string_view bytes) {
    long status = 0;
    curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200 || status >= 300) return TakeErrorBody(bytes);
    if (exchange_->answer_bytes + static_cast<int64_t>(bytes.size()) > exchange_->max_answer_bytes) {
      Fail(HttpFailure::kAnswerTooLong, fmt::format("the answer is longer than {} bytes", exchange_->max_answer_bytes));
      return false;
    }
    if (exchange_->sink) {
      exchange_->sink_status = exchange_->sink(exchange_->answer_bytes, bytes);
      if (!exchange_->sink_status.ok()) {
        Fail(HttpFailure::kSink, exchange_->sink_status.message());
        return false;
      }
    } else {
      exchange_->answer.append(bytes);
    }
    exchange_->answer_bytes += static_cast<int64_t>(bytes.size());
    return true;
  }
  // Its beginning says what is wrong; the rest, however much, isn't waited for.
  bool TakeErrorBody(std::string_view bytes) {
    exchange_->answer.append(bytes.substr(0, kMaxErrorBodyBytes - exchange_->answer.size()));
    exchange_->answer_bytes = static_cast<int64_t>(exchange_->answer.size());
    error_body_cut_ = exchange_->answer.size() >= kMaxErrorBodyBytes;
    return !error_body_cut_;
  }

  HttpExchange* const exchange_;
  CURL* const easy_;
  curl_slist* headers_ = nullptr;
  char error_[CURL_ERROR_SIZE] = {};
  size_t header_bytes_ = 0;
  int64_t expected_bytes_ = 0;
  int64_t moved_ = 0;
  int64_t last_progress_us_;
  bool error_body_cut_ = false;
};

}  // namespace

const std::string& HttpExchange::Header(const std::string& name) const {
  static const std::string none;
  const auto found = answer_headers.find(name);
  return found == answer_headers.end() ? none : found->second;
}

// One thread's connections: a multi handle, which keeps them, and the easy handles used with it.
class HttpClient::Connections {
 public:
  Connections() : multi_(curl_multi_init()) {}
  ~Connections() {
    for (CURL* easy : idle_) curl_easy_cleanup(easy);
    curl_multi_cleanup(multi_);
  }
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  void Run(std::span<HttpExchange* const> exchanges, const HttpSettings& settings) {
    std::vector<std::unique_ptr<Transfer>> running;
    for (HttpExchange* exchange : exchanges) {
      CURL* easy = TakeEasy();
      if (multi_ == nullptr || easy == nullptr) {
        exchange->failure = HttpFailure::kConnect;
        exchange->failure_text = "libcurl has no memory for another connection";
        if (easy != nullptr) idle_.push_back(easy);
        continue;
      }
      running.push_back(std::make_unique<Transfer>(exchange, easy));
      running.back()->Prepare(settings);
      curl_multi_add_handle(multi_, easy);
    }
    while (!running.empty()) {
      int count = 0;
      curl_multi_perform(multi_, &count);
      CollectFinished(running);
      const int64_t now_us = MonotonicUs();
      int64_t next_us = now_us + kMaxPollMs * 1000;
      for (size_t i = 0; i < running.size();) {
        if (running[i]->Expired(now_us, settings.stall_timeout)) {
          Remove(running, i);
        } else {
          next_us = std::min(next_us, running[i++]->NextCheckUs(settings.stall_timeout));
        }
      }
      if (!running.empty())
        curl_multi_poll(multi_, nullptr, 0, static_cast<int>((next_us - now_us) / 1000 + 1), nullptr);
    }
  }

 private:
  CURL* TakeEasy() {
    if (idle_.empty()) return curl_easy_init();
    CURL* easy = idle_.back();
    idle_.pop_back();
    return easy;
  }
  void CollectFinished(std::vector<std::unique_ptr<Transfer>>& running) {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      const auto at = std::find_if(running.begin(), running.end(), [message](const auto& transfer) {
        return transfer->easy() == message->easy_handle;
      });
      if (at == running.end()) continue;
      (*at)->Finish(message->data.result);
      Remove(running, static_cast<size_t>(at - running.begin()));
    }
  }
  void Remove(std::vector<std::unique_ptr<Transfer>>& running, size_t at) {
    CURL* easy = running[at]->easy();
    curl_multi_remove_handle(multi_, easy);
    running.erase(running.begin() + static_cast<std::ptrdiff_t>(at));
    idle_.push_back(easy);
  }

  CURLM* const multi_;
  std::vector<CURL*> idle_;
};

struct HttpClient::Pool {
  Mutex mutex;
  std::vector<std::unique_ptr<Connections>> idle GUARDED_BY(mutex);
};

HttpClient::HttpClient(HttpSettings settings) : settings_(std::move(settings)), pool_(std::make_unique<Pool>()) {
  StartCurl();
}

HttpClient::~HttpClient() = default;

void HttpClient::Perform(std::span<HttpExchange* const> exchanges) {
  std::unique_ptr<Connections> connections = Take();
  connections->Run(exchanges, settings_);
  GiveBack(std::move(connections));
}

std::unique_ptr<HttpClient::Connections> HttpClient::Take() {
  const MutexLock lock(pool_->mutex);
  if (pool_->idle.empty()) return std::make_unique<Connections>();
  std::unique_ptr<Connections> last = std::move(pool_->idle.back());
  pool_->idle.pop_back();
  return last;
}

void HttpClient::GiveBack(std::unique_ptr<Connections> connections) {
  const MutexLock lock(pool_->mutex);
  if (pool_->idle.size() < kMaxIdleConnections) pool_->idle.push_back(std::move(connections));
}

}  // namespace saker
