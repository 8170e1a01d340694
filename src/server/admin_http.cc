#include "server/admin_http.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/metrics.h"

namespace saker {
namespace {

constexpr std::string_view kLevelNames[] = {"debug", "info", "warn", "error"};

HttpResponse Text(int status, std::string body) { return {status, "text/plain", std::move(body), {}}; }
HttpResponse Json(int status, const nlohmann::json& body) { return {status, "application/json", body.dump() + "\n", {}}; }

std::string WhyNotReady(const ProcessHealth& process) { return process.starting ? process.starting() : "starting"; }

// "OK" as Milvus says it, or JSON where the caller accepts that.
HttpResponse Health(const HttpRequest& request, const ProcessHealth& process) {
  const Status health = process.ready() ? process.health() : Status(ErrorCode::kServiceNotReady, WhyNotReady(process));
  const int status = health.ok() ? 200 : 503;
  const std::vector<std::string> warnings = process.ready() && process.warnings ? process.warnings() : std::vector<std::string>();
  if (request.Header("accept").find("json") == std::string_view::npos) {
    std::string text = health.ok() ? "OK" : health.message() + "\n";
    if (!warnings.empty() && health.ok()) text += "\n";
    for (const std::string& warning : warnings) text += "warning: " + warning + "\n";
    return Text(status, text);
  }
  return Json(status, {{"state", health.ok() ? "OK" : "Abnormal"}, {"reason", health.message()}, {"warnings", warnings}});
}

HttpResponse LogLevelOf(const HttpRequest& request) {
  static std::atomic<int> shown{-1};  // -1: what it was started with
  if (request.method == "GET") {
    int level = shown;
    if (level < 0) level = LogEnabled(LogLevel::kDebug) ? 0 : LogEnabled(LogLevel::kInfo) ? 1 : LogEnabled(LogLevel::kWarn) ? 2 : 3;
    return Json(200, {{"level", kLevelNames[level]}});
  }
  if (request.method != "PUT" && request.method != "POST") return Text(405, "GET or PUT\n");
  std::string wanted = request.QueryParameter("level");
  if (wanted.empty()) {
    const auto body = nlohmann::json::parse(request.body, nullptr, false);
    if (body.is_object() && body.contains("level") && body["level"].is_string()) wanted = body["level"];
    else if (request.body.starts_with("level=")) wanted = request.body.substr(6);
  }
  for (int i = 0; i < 4; ++i) {
    if (wanted != kLevelNames[i]) continue;
    SetLogLevel(static_cast<LogLevel>(i));
    shown = i;
    LogInfo("log level set to {}", wanted);
    return Json(200, {{"level", wanted}});
  }
  return Json(400, {{"error", fmt::format("unknown level '{}', expected debug, info, warn or error", wanted)}});
}

double StatusFileKb(std::string_view field) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(field)) return std::strtod(line.c_str() + field.size(), nullptr);
  }
  return 0;
}

double OpenDescriptors() {
  DIR* dir = ::opendir("/proc/self/fd");
  if (dir == nullptr) return 0;
  int count = -3;  // ".", "..", and the one that reads
  while (::readdir(dir) != nullptr) ++count;
  ::closedir(dir);
  return count;
}

}  // namespace

void AddAdminRoutes(HttpRoutes* routes, ProcessHealth process) {
  const auto add = [routes](const char* path, std::function<HttpResponse(const HttpRequest&)> answer) {
    routes->Add(path, nullptr, [path = std::string(path), answer = std::move(answer)](HttpRequest request, HttpRespond respond) {
      respond(request.path == path ? answer(request) : Text(404, fmt::format("nothing at {}\n", request.path)));
    });
  };
  routes->Add("/healthz", nullptr, [process](HttpRequest request, HttpRespond respond) {
    if (request.path != "/healthz") return respond(Text(404, fmt::format("nothing at {}\n", request.path)));
    if (!process.refresh || !process.ready()) return respond(Health(request, process));
    process.refresh([process, request = std::move(request), respond = std::move(respond)] { respond(Health(request, process)); });
  });
  add("/readyz", [process](const HttpRequest&) { return process.ready() ? Text(200, "OK") : Text(503, WhyNotReady(process) + "\n"); });
  add("/livez", [](const HttpRequest&) { return Text(200, "OK"); });
  add("/metrics", [](const HttpRequest&) {
    return HttpResponse{200, "text/plain; version=0.0.4; charset=utf-8", Metrics().Render(), {}};
  });
  add("/log/level", LogLevelOf);
  add("/version", [](const HttpRequest&) { return Json(200, {{"name", "saker"}, {"version", SAKER_VERSION}}); });
}

void AddProcessMetrics() {
  MetricRegistry& metrics = Metrics();
  metrics.AddCallback("process_resident_memory_bytes", "Resident memory", {}, [] { return StatusFileKb("VmRSS:") * 1024; });
  metrics.AddCallback("process_virtual_memory_bytes", "Virtual memory", {}, [] { return StatusFileKb("VmSize:") * 1024; });
  metrics.AddCallback("process_threads", "Threads", {}, [] { return StatusFileKb("Threads:"); });
  metrics.AddCallback("process_open_fds", "Open file descriptors", {}, OpenDescriptors);
  metrics.AddCallback("process_cpu_seconds_total", "User and system time", {}, [] {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  });
  metrics.GetGauge("milvus_build_info", "The build", {{"version", SAKER_VERSION}, {"name", "saker"}}).Set(1);
}

}  // namespace saker
