#include "base/log.h"

#include <spdlog/async.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <memory>

namespace saker {
namespace {

std::atomic<LogLevel> g_level{LogLevel::kInfo};
std::shared_ptr<spdlog::logger> g_logger;  // set once by StartLogging, before other threads run

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return spdlog::level::debug;
    case LogLevel::kInfo: return spdlog::level::info;
    case LogLevel::kWarn: return spdlog::level::warn;
    case LogLevel::kError: return spdlog::level::err;
  }
  return spdlog::level::info;
}

spdlog::logger& Fallback() {
  static auto logger = std::make_shared<spdlog::logger>("saker", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  return *logger;
}

std::string JsonEscape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<int>(c));
    } else {
      out += c;
    }
  }
  return out;
}

bool g_json = false;

}  // namespace

void StartLogging(const LogSettings& settings) {
  g_level = settings.level;
  g_json = settings.json;
  std::shared_ptr<spdlog::sinks::sink> sink;
  if (settings.file.empty()) {
    sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  } else {
    sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(settings.file);
  }
  spdlog::init_thread_pool(8192, 1);
  g_logger = std::make_shared<spdlog::async_logger>("saker", sink, spdlog::thread_pool(),
                                                    spdlog::async_overflow_policy::overrun_oldest);
  g_logger->set_level(spdlog::level::debug);
  g_logger->flush_on(spdlog::level::warn);
  if (settings.json) {
    g_logger->set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","message":"%v"})");
  } else {
    g_logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %L %v");
  }
}

void StopLogging() {
  if (g_logger) g_logger->flush();
  g_logger.reset();
  spdlog::shutdown();
}

void SetLogLevel(LogLevel level) { g_level = level; }
bool LogEnabled(LogLevel level) { return level >= g_level.load(std::memory_order_relaxed); }

void LogLine(LogLevel level, std::string_view text) {
  auto& logger = g_logger ? *g_logger : Fallback();
  logger.log(ToSpdlog(level), "{}", g_json ? JsonEscape(text) : std::string(text));
}

}  // namespace saker
