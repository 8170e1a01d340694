// Real Kafka in KRaft mode, each broker a controller too, as children of a test. tests/servers/install.sh kafka puts it
// under build/servers.
//
// Not thread-safe.
#pragma once

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "servers/server_process.h"

namespace saker {

class KafkaServer {
 public:
  static bool installed() { return !ServerProgram("kafka/version").empty(); }

  // `settings` are added to each broker's (lines of server.properties). Each listens for plain connections, and on
  // another port for such that log in with SASL/PLAIN as user "saker" with the password "secret".
  explicit KafkaServer(int brokers = 1, const std::string& settings = "") {
    for (int i = 0; i < brokers; ++i) ports_.push_back({FreePort(), FreePort(), FreePort()});
    for (int i = 0; i < brokers; ++i) Prepare(i, settings);
    StartAll();
  }

  std::string brokers() const { return Addresses(&Ports::plain); }
  std::string sasl_brokers() const { return Addresses(&Ports::sasl); }
  int count() const { return static_cast<int>(ports_.size()); }

  void Kill(int broker = 0) {
    processes_[At(broker)]->Kill();
  }  // as kill -9: what was not synced stays in the page cache
  void Pause(int broker = 0) { processes_[At(broker)]->Pause(); }
  void Resume(int broker = 0) { processes_[At(broker)]->Resume(); }
  void Start(int broker = 0) {
    const auto from = LogSize(broker);
    processes_[At(broker)]->Start([&] { return Started(broker, from); });
  }

 private:
  struct Ports {
    int plain;
    int sasl;
    int controller;
  };
  static size_t At(int broker) { return static_cast<size_t>(broker); }

  static std::string Java() {
    const std::string libs = std::filesystem::path(ServerProgram("kafka/version")).parent_path().string() + "/libs/*";
    return "java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
           " -Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info -cp '" +
           libs + "'";
  }
  std::string Directory(int broker) const { return directory_.path() + "/" + std::to_string(broker); }

  std::string Addresses(int Ports::* port) const {
    std::string out;
    for (const Ports& ports : ports_) out += (out.empty() ? "127.0.0.1:" : ",127.0.0.1:") + std::to_string(ports.*port);
    return out;
  }

  void Prepare(int broker, const std::string& settings) {
    const Ports& ports = ports_[At(broker)];
    std::filesystem::create_directories(Directory(broker));
    const std::string plain = "PLAINTEXT://127.0.0.1:" + std::to_string(ports.plain);
    const std::string sasl = "SASL_PLAINTEXT://127.0.0.1:" + std::to_string(ports.sasl);
    std::string voters;
    for (int i = 0; i < count(); ++i) {
      voters += (i == 0 ? "" : ",") + std::to_string(i + 1) + "@127.0.0.1:" + std::to_string(ports_[At(i)].controller);
    }
    const std::string file = Directory(broker) + "/server.properties";
    std::ofstream(file)
        << "process.roles=broker,controller\nnode.id=" << broker + 1 << "\ncontroller.quorum.voters=" << voters
        << "\nlisteners=" << plain << "," << sasl << ",CONTROLLER://127.0.0.1:" << ports.controller
        << "\nadvertised.listeners=" << plain << "," << sasl
        << "\ncontroller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\n"
           "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT\n"
           "sasl.enabled.mechanisms=PLAIN\n"
           "listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain."
           "PlainLoginModule required user_saker=\"secret\";\n"
           "log.dirs="
        << Directory(broker)
        << "/data\n"
           "auto.create.topics.enable=false\nlog.cleaner.enable=false\nnum.network.threads=2\n"
           "num.io.threads=2\nbroker.heartbeat.interval.ms=500\nbroker.session.timeout.ms=3000\n"
           "controlled.shutdown.enable=false\n"
        << settings;
    const std::string format = Java() + " kafka.tools.StorageTool format -t c2FrZXItdGVzdC1rYWZrYQ -c " + file + " >>" +
                               directory_.path() + "/tools.log 2>&1";
    if (std::system(format.c_str()) != 0) throw std::runtime_error("Kafka's storage can't be formatted: " + format);
    processes_.push_back(std::make_unique<ServerProcess>(
        std::vector<std::string>{"bash", "-c", "exec " + Java() + " kafka.Kafka " + file}, std::vector<std::string>{},
        LogFile(broker)));
  }

  // None is ready before the most of them run.
  void StartAll() {
    for (const auto& process : processes_) process->Start([] { return true; });
    for (int i = 0; i < count(); ++i) {
      for (int attempt = 0; !Started(i, 0); ++attempt) {
        if (attempt > 3000 || !processes_[At(i)]->alive())
          throw std::runtime_error("Kafka isn't ready: see " + LogFile(i));
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
    }
  }

  std::string LogFile(int broker) const { return Directory(broker) + "/log"; }
  std::streamoff LogSize(int broker) const {
    return static_cast<std::streamoff>(std::filesystem::file_size(LogFile(broker)));
  }
  bool Started(int broker, std::streamoff from) const {
    std::ifstream in(LogFile(broker));
    in.seekg(from);
    for (std::string line; std::getline(in, line);) {
      if (line.find("Kafka Server started") != line.npos) return CanConnect(ports_[At(broker)].plain);
    }
    return false;
  }

  TemporaryDirectory directory_;
  std::vector<Ports> ports_;
  std::vector<std::unique_ptr<ServerProcess>> processes_;
};

}  // namespace saker
