// The cheapest client we can make: sends recorded gRPC requests and decodes the status in every answer.
//
//   loadgen replay TARGET METHOD REQUESTS CLIENTS SECONDS [ANSWERS]
//       CLIENTS connections, each with one request under way. SECONDS 0: exactly one pass over REQUESTS. The answers
//       of the first pass go to ANSWERS, in the order of the requests.
//   loadgen alternate TARGET INSERTS SEARCHES PAIRS [ANSWERS]
//       One client: an insert, then a search, PAIRS times; ANSWERS gets the searches' answers.
//   loadgen probe TARGET METHOD REQUESTS LEAST LOG COMMAND [ARGUMENT…]
//       Starts COMMAND (its output to LOG) and tries to connect every millisecond: the time from before exec to the first
//       successful answer of at least LEAST bytes. The command goes on running; its pid is printed.
//
// METHOD is a method of MilvusService. REQUESTS, ANSWERS: ([u32 little-endian length][bytes])*. One line of JSON is printed.
// A call counts as failed when gRPC says so or the answer's status (field 1: error_code 1, reason 2, code 3) does.
#include <arpa/inet.h>
#include <fcntl.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::string MethodPath(const std::string& method) { return "/milvus.proto.milvus.MilvusService/" + method; }

// ---- the status of an answer, read from the wire ------------------------------------------------------------------

bool ReadVarint(std::string_view* in, uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 70 && !in->empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(in->front());
    in->remove_prefix(1);
    *value |= shift < 64 ? uint64_t(byte & 127) << shift : 0;
    if (byte < 128) return true;
  }
  return false;
}

struct Field {
  int number = 0;
  uint64_t number_value = 0;
  std::string_view bytes;
};

bool ReadField(std::string_view* in, Field* field) {
  uint64_t tag = 0, length = 0;
  if (!ReadVarint(in, &tag)) return false;
  *field = {int(tag >> 3), 0, {}};
  switch (tag & 7) {
    case 0: return ReadVarint(in, &field->number_value);
    case 1: length = 8; break;
    case 2:
      if (!ReadVarint(in, &length)) return false;
      break;
    case 5: length = 4; break;
    default: return false;
  }
  if (length > in->size()) return false;
  field->bytes = in->substr(0, length);
  in->remove_prefix(length);
  return true;
}

struct Verdict {
  bool ok = true;
  std::string why;
};

Verdict StatusIn(std::string_view answer) {
  Field field;
  while (!answer.empty()) {
    if (!ReadField(&answer, &field)) return {false, "the answer is no protobuf"};
    if (field.number != 1) continue;
    Verdict verdict;
    for (std::string_view status = field.bytes; !status.empty();) {
      Field part;
      if (!ReadField(&status, &part)) return {false, "the status is no protobuf"};
      if ((part.number == 1 || part.number == 3) && part.number_value != 0) verdict.ok = false;
      if (part.number == 2) verdict.why = std::string(part.bytes);
    }
    return verdict;
  }
  return {};
}

// ---- files of requests, channels ----------------------------------------------------------------------------------

std::vector<std::string> ReadFrames(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    fprintf(stderr, "cannot read %s\n", path);
    exit(2);
  }
  std::vector<std::string> frames;
  uint32_t size = 0;
  while (file.read(reinterpret_cast<char*>(&size), 4)) {
    std::string frame(size, 0);
    file.read(frame.data(), size);
    frames.push_back(std::move(frame));
  }
  if (frames.empty()) {
    fprintf(stderr, "%s holds no requests\n", path);
    exit(2);
  }
  return frames;
}

void WriteFrames(const char* path, const std::vector<std::string>& frames) {
  std::ofstream file(path, std::ios::binary);
  for (const auto& frame : frames) {
    const uint32_t size = frame.size();
    file.write(reinterpret_cast<const char*>(&size), 4);
    file.write(frame.data(), size);
  }
}

grpc::ByteBuffer Buffer(const std::string& bytes) {
  grpc::Slice slice(bytes);
  return {&slice, 1};
}

std::string Bytes(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Dump(&slices).ok()) return bytes;
  for (const auto& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

std::shared_ptr<grpc::Channel> Connect(const std::string& target) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);   // a connection of its own
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 1);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1);
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

double CpuSeconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

double Quantile(std::vector<double>* sorted, double q) {
  if (sorted->empty()) return 0;
  return (*sorted)[std::min(sorted->size() - 1, size_t(q * sorted->size()))];
}

std::string JsonSafe(std::string text) {
  for (auto& c : text)
    if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < 32) c = ' ';
  return text.substr(0, 300);
}

// ---- replay -------------------------------------------------------------------------------------------------------

struct Client {
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<grpc::GenericStub> stub;
  std::unique_ptr<grpc::ClientContext> context;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
  grpc::ByteBuffer answer;
  grpc::Status status;
  Clock::time_point start;
  size_t request = 0;
};

int Replay(const std::string& target, const std::string& method, const char* requests_path, int client_count, double seconds,
           const char* answers_path) {
  const auto requests = ReadFrames(requests_path);
  std::vector<grpc::ByteBuffer> buffers;
  for (const auto& request : requests) buffers.push_back(Buffer(request));
  std::vector<Client> clients(client_count);
  for (auto& client : clients) {
    client.channel = Connect(target);
    client.channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10));
    client.stub = std::make_unique<grpc::GenericStub>(client.channel);
  }
  const size_t total = seconds > 0 ? SIZE_MAX : requests.size();
  const std::string path = MethodPath(method);
  std::vector<std::string> answers(answers_path ? requests.size() : 0);
  std::vector<double> micros;
  std::string last_error;
  size_t next = 0, failed = 0, under_way = 0;
  grpc::CompletionQueue queue;
  const auto start = Clock::now();
  const double cpu_start = CpuSeconds();
  auto send = [&](Client* client) {
    client->context = std::make_unique<grpc::ClientContext>();
    client->request = next++;
    client->answer.Clear();
    client->start = Clock::now();
    client->reader = client->stub->PrepareUnaryCall(client->context.get(), path, buffers[client->request % requests.size()], &queue);
    client->reader->StartCall();
    client->reader->Finish(&client->answer, &client->status, client);
    under_way++;
  };
  for (auto& client : clients)
    if (next < total) send(&client);
  auto end = start;
  void* tag = nullptr;
  for (bool ok = true; under_way > 0 && queue.Next(&tag, &ok);) {
    auto* client = static_cast<Client*>(tag);
    under_way--;
    end = Clock::now();
    micros.push_back(std::chrono::duration<double, std::micro>(end - client->start).count());
    std::string answer = Bytes(client->answer);
    const Verdict verdict = client->status.ok() ? StatusIn(answer) : Verdict{false, client->status.error_message()};
    if (!verdict.ok) {
      failed++;
      last_error = verdict.why;
    }
    if (client->request < answers.size()) answers[client->request] = std::move(answer);
    if (seconds > 0 ? std::chrono::duration<double>(end - start).count() < seconds : next < total) send(client);
  }
  const double elapsed = std::chrono::duration<double>(end - start).count();
  const double cpu_ms = (CpuSeconds() - cpu_start) * 1e3 / std::max<size_t>(1, micros.size());
  const size_t done = micros.size();
  std::sort(micros.begin(), micros.end());
  if (answers_path) WriteFrames(answers_path, answers);
  printf("{\"clients\":%d,\"n\":%zu,\"failed\":%zu,\"s\":%.3f,\"qps\":%.1f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"client_cpu_ms\":%.4f,"
         "\"last_error\":\"%s\"}\n",
         client_count, done, failed, elapsed, (done - failed) / elapsed, Quantile(&micros, .5) / 1e3, Quantile(&micros, .99) / 1e3,
         cpu_ms, JsonSafe(last_error).c_str());
  return 0;
}

// ---- one call after the other -------------------------------------------------------------------------------------

class Caller {
 public:
  explicit Caller(const std::string& target) : stub_(Connect(target)) {}

  Verdict Call(const std::string& method, const std::string& request, std::string* answer, int timeout_ms = 60000) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(timeout_ms));
    grpc::CompletionQueue queue;
    auto reader = stub_.PrepareUnaryCall(&context, MethodPath(method), Buffer(request), &queue);
    reader->StartCall();
    grpc::ByteBuffer buffer;
    grpc::Status status;
    reader->Finish(&buffer, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    if (!status.ok()) return {false, status.error_message()};
    *answer = Bytes(buffer);
    return StatusIn(*answer);
  }

 private:
  grpc::GenericStub stub_;
};

int Alternate(const std::string& target, const char* inserts_path, const char* searches_path, int pairs, const char* answers_path) {
  const auto inserts = ReadFrames(inserts_path), searches = ReadFrames(searches_path);
  Caller caller(target);
  std::vector<double> insert_ms, search_ms;
  std::vector<std::string> answers;
  size_t failed = 0;
  std::string last_error;
  for (int i = 0; i < pairs; i++) {
    std::string answer;
    auto start = Clock::now();
    Verdict verdict = caller.Call("Insert", inserts[i % inserts.size()], &answer);
    insert_ms.push_back(SecondsSince(start) * 1e3);
    if (!verdict.ok) failed++, last_error = verdict.why;
    start = Clock::now();
    verdict = caller.Call("Search", searches[i % searches.size()], &answer);
    search_ms.push_back(SecondsSince(start) * 1e3);
    if (!verdict.ok) failed++, last_error = verdict.why;
    if (answers_path) answers.push_back(std::move(answer));
  }
  std::sort(insert_ms.begin(), insert_ms.end());
  std::sort(search_ms.begin(), search_ms.end());
  if (answers_path) WriteFrames(answers_path, answers);
  printf("{\"pairs\":%d,\"failed\":%zu,\"insert_p50_ms\":%.3f,\"insert_p99_ms\":%.3f,\"search_p50_ms\":%.3f,\"search_p99_ms\":%.3f,"
         "\"last_error\":\"%s\"}\n",
         pairs, failed, Quantile(&insert_ms, .5), Quantile(&insert_ms, .99), Quantile(&search_ms, .5), Quantile(&search_ms, .99),
         JsonSafe(last_error).c_str());
  return 0;
}

// ---- probe --------------------------------------------------------------------------------------------------------

bool CanConnect(const std::string& target) {
  const auto colon = target.rfind(':');
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(atoi(target.c_str() + colon + 1));
  inet_pton(AF_INET, target.substr(0, colon).c_str(), &address.sin_addr);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const bool connected = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  return connected;
}

pid_t Spawn(const char* log, char** command) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  setsid();
  const int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644), in = open("/dev/null", O_RDONLY);
  dup2(in, 0);
  dup2(out, 1);
  dup2(out, 2);
  execv(command[0], command);
  _exit(127);
}

int Probe(const std::string& target, const std::string& method, const char* request_path, size_t least, const char* log,
          char** command) {
  const std::string request = ReadFrames(request_path).front();
  const auto start = Clock::now();
  const pid_t pid = Spawn(log, command);   // before anything of gRPC exists
  double listening_s = 0;
  std::string why = "nothing listens";
  while (SecondsSince(start) < 180) {
    int status = 0;
    if (waitpid(pid, &status, WNOHANG) == pid) {
      printf("{\"pid\":%d,\"error\":\"the server ended with status %d\"}\n", pid, status);
      return 1;
    }
    if (!CanConnect(target)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      continue;
    }
    if (listening_s == 0) listening_s = SecondsSince(start);
    Caller caller(target);
    // A channel that was refused at first waits before it tries again; a new one does not.
    for (int i = 0; i < 200; i++) {
      std::string answer;
      const Verdict verdict = caller.Call(method, request, &answer, 10000);
      if (verdict.ok && answer.size() >= least) {
        printf("{\"pid\":%d,\"listening_s\":%.4f,\"answer_s\":%.4f,\"answer_bytes\":%zu}\n", pid, listening_s, SecondsSince(start),
               answer.size());
        return 0;
      }
      why = verdict.ok ? "the answer is too small" : verdict.why;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  printf("{\"pid\":%d,\"error\":\"%s\"}\n", pid, JsonSafe(why).c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  int result = 2;
  if (mode == "replay" && argc >= 7) {
    result = Replay(argv[2], argv[3], argv[4], atoi(argv[5]), atof(argv[6]), argc > 7 ? argv[7] : nullptr);
  } else if (mode == "alternate" && argc >= 6) {
    result = Alternate(argv[2], argv[3], argv[4], atoi(argv[5]), argc > 6 ? argv[6] : nullptr);
  } else if (mode == "probe" && argc >= 8) {
    result = Probe(argv[2], argv[3], argv[4], atoll(argv[5]), argv[6], argv + 7);
  } else {
    fprintf(stderr, "usage: the head of loadgen.cpp\n");
  }
  fflush(stdout);
  _exit(result);   // gRPC's own ending takes a second
}
