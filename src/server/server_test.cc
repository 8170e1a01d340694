#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "server/admin_http.h"
#include "server/config.h"

namespace saker {
namespace {

Status Read(const std::string& text, Config* config, std::vector<std::string>* ignored = nullptr) {
  return ReadConfigText(text, "test.yaml", {}, config, ignored);
}

TEST(ConfigTest, ReadsMilvusKeys) {
  Config config;
  std::vector<std::string> ignored;
  ASSERT_TRUE(Read(R"(
common:
  security:
    authorizationEnabled: true
    superUsers: root, ops
    tlsMode: 1
  gracefulTime: 3000
tls:
  serverPemPath: a.pem
  serverKeyPath: a.key
proxy:
  ip:
  port: 20000
  http: {port: 8080}
  maxDimension: 4096
  maxUserNum: 7
  maxRoleNum: 8
pulsar:
  address: localhost
log: {level: debug, format: json}
quotaAndLimits:
  dml: {enabled: true, insertRate: {max: 2.5}}
saker: {loadOnFirstUse: true, partitionKeyPartitions: 16}
)", &config, &ignored).ok());
  EXPECT_TRUE(config.authorization);
  EXPECT_EQ(config.tls_mode, TlsMode::kServer);
  EXPECT_EQ(config.tls.certificate, "a.pem");
  EXPECT_EQ(config.listen, "127.0.0.1:20000");
  EXPECT_EQ(config.rest_listen, "127.0.0.1:8080");
  EXPECT_EQ(config.limits.dimension, 4096);
  EXPECT_EQ(config.super_users, (std::vector<std::string>{"root", "ops"}));
  EXPECT_EQ(config.limits.users, 7);
  EXPECT_EQ(config.limits.roles, 8);
  EXPECT_EQ(config.limits.partition_key_partitions, 16);
  EXPECT_EQ(config.graceful_time_ms, 3000);
  EXPECT_TRUE(config.log.json);
  EXPECT_EQ(config.insert_rate.per_second, 2.5);
  EXPECT_TRUE(config.load_on_first_use);
  EXPECT_EQ(ignored, std::vector<std::string>{"pulsar.address"});
}

TEST(ConfigTest, ReadsAClustersStores) {
  Config config;
  EXPECT_EQ(CheckClusterConfig(config).code(), ErrorCode::kParameterInvalid);
  const Environment environment{{"KAFKA_BROKERLIST", "k1:9092,k2:9092"}, {"MINIO_PORT", "7000"}, {"QUERYNODE_PORT", "4000"},
                                {"PATH", "/bin"}, {"ETCD_REQUESTTIMEOUT", ""}};
  ASSERT_TRUE(ReadConfigText(R"(
etcd:
  endpoints: [e1:2379, e2:2379]
  ssl: {enabled: true, tlsCACert: ca.pem, tlsCert: c.pem, tlsKey: c.key}
  auth: {enabled: true, userName: u, password: p}
kafka: {brokerList: "overruled:1", saslUsername: k}
minio: {address: s3.local, port: 6000, accessKeyID: a, secretAccessKey: s, bucketName: b, rootPath: files}
queryNode: {ip: 10.0.0.1, port: 1}
rootCoord: {dmlChannelNum: 4}
)", "test.yaml", environment, &config, nullptr).ok());
  EXPECT_EQ(config.etcd.endpoints, (std::vector<std::string>{"https://e1:2379", "https://e2:2379"}));
  EXPECT_EQ(config.etcd.ca_file, "ca.pem");
  EXPECT_EQ(config.etcd.username, "u");
  EXPECT_EQ(config.kafka.brokers, "k1:9092,k2:9092");
  EXPECT_EQ(config.kafka.channels, 4);
  EXPECT_EQ(config.kafka.properties.at("sasl.username"), "k");
  EXPECT_EQ(config.s3.endpoint, "http://s3.local:7000");
  EXPECT_EQ(config.s3.prefix, "files");
  EXPECT_EQ(config.internal_listen.at("querynode"), "10.0.0.1:4000");
  EXPECT_EQ(config.internal_listen.at("datanode"), "127.0.0.1:21124");
  EXPECT_TRUE(CheckClusterConfig(config).ok());
  const Status wrong = ReadConfigText("", "x", {{"PROXY_PORT", "many"}}, &config, nullptr);
  EXPECT_NE(wrong.message().find("PROXY_PORT: 'many'"), std::string::npos) << wrong.message();
}

TEST(ConfigTest, SnapshotsOfEtcd) {
  Config config;
  EXPECT_EQ(config.etcd_snapshot_interval_s, 6 * 3600);
  ASSERT_TRUE(Read("saker: {etcd: {snapshot: {interval: 0, keep: 3}}}", &config).ok());
  EXPECT_EQ(config.etcd_snapshot_interval_s, 0);
  EXPECT_EQ(config.etcd_snapshot_keep, 3);
  EXPECT_NE(Read("saker: {etcd: {snapshot: {interval: -1}}}", &config).message().find("saker.etcd.snapshot.interval"), std::string::npos);
}

TEST(ConfigTest, NamesWhatAClusterLacks) {
  Config config;
  config.etcd.endpoints = {"e:1"};
  const Status missing = CheckClusterConfig(config);
  EXPECT_EQ(missing.message().find("etcd.endpoints"), std::string::npos);
  EXPECT_NE(missing.message().find("kafka.brokerList"), std::string::npos) << missing.message();
  EXPECT_NE(missing.message().find("minio.bucketName"), std::string::npos);
}

TEST(ConfigTest, TellsWhatIsWrong) {
  const auto message = [](const std::string& text) {
    Config config;
    return Read(text, &config).message();
  };
  EXPECT_NE(message("proxy: {port: 70000}").find("proxy.port: '70000'"), std::string::npos);
  EXPECT_NE(message("proxy: {port: 70000}").find("0 to 65535"), std::string::npos);
  EXPECT_NE(message("common: {security: {authorizationEnabled: maybe}}").find("true or false"), std::string::npos);
  EXPECT_NE(message("common: {security: {tlsMode: 3}}").find("tlsMode"), std::string::npos);
  EXPECT_NE(message("common: {security: {tlsMode: 1}}").find("tls.serverPemPath"), std::string::npos);
  EXPECT_NE(message("a: [1").find("not valid YAML"), std::string::npos);
  EXPECT_NE(message("- a").find("not a YAML map"), std::string::npos);
  EXPECT_NE(message("log: {level: loud}").find("loud"), std::string::npos);
  EXPECT_EQ(message(""), "");
  Config config;
  EXPECT_NE(ReadConfigFile("/nowhere.yaml", {}, &config, nullptr).message().find("/nowhere.yaml"), std::string::npos);
}

TEST(ConfigTest, EveryKeyIsDocumented) {
  std::ifstream in(SAKER_SOURCE_DIR "/docs/configuration.md");
  std::stringstream text;
  text << in.rdbuf();
  for (const std::string& key : ConfigKeys()) {
    EXPECT_NE(text.str().find("`" + key + "`"), std::string::npos) << key << " is missing in docs/configuration.md";
  }
}

TEST(AdminTest, TellsHealth) {
  HttpRoutes routes;
  bool ready = false;
  Status health;
  std::vector<std::string> warnings;
  int refreshed = 0;
  AddAdminRoutes(&routes, {.ready = [&] { return ready; },
                           .starting = [] { return "waiting for etcd: it is away"; },
                           .health = [&] { return health; },
                           .warnings = [&] { return warnings; },
                           .refresh =
                               [&](const std::function<void()>& done) {
                                 ++refreshed;
                                 done();
                               }});
  AddProcessMetrics();
  const auto ask = [&](const std::string& method, const std::string& path, const std::string& body = "",
                       const std::string& accept = "") {
    HttpRequest request;
    request.method = method;
    request.path = path;
    request.body = body;
    request.headers = {{"accept", accept}};
    HttpResponse answer;
    routes.Find(path)->handler(request, [&](HttpResponse response) { answer = std::move(response); });
    return answer;
  };
  EXPECT_EQ(ask("GET", "/healthz").status, 503);
  EXPECT_EQ(ask("GET", "/healthz").body, "waiting for etcd: it is away\n");
  EXPECT_EQ(ask("GET", "/readyz").status, 503);
  EXPECT_EQ(refreshed, 0);
  EXPECT_EQ(ask("GET", "/livez").status, 200);
  ready = true;
  EXPECT_EQ(ask("GET", "/healthz").body, "OK");
  EXPECT_EQ(refreshed, 1) << "looked at before it is told";
  warnings = {"etcd has 1 member", "the disk is nearly full"};
  EXPECT_EQ(ask("GET", "/healthz").status, 200);
  EXPECT_EQ(ask("GET", "/healthz").body, "OK\nwarning: etcd has 1 member\nwarning: the disk is nearly full\n");
  EXPECT_NE(ask("GET", "/healthz", "", "application/json").body.find(R"("warnings":["etcd has 1 member",)"), std::string::npos);
  EXPECT_EQ(ask("GET", "/healthzz").status, 404);
  warnings.clear();
  health = Status(ErrorCode::kDiskLimitExceeded, "disk full");
  EXPECT_EQ(ask("GET", "/healthz").status, 503);
  EXPECT_NE(ask("GET", "/healthz", "", "application/json").body.find("disk full"), std::string::npos);
  EXPECT_NE(ask("GET", "/metrics").body.find("process_resident_memory_bytes"), std::string::npos);
  EXPECT_EQ(ask("PUT", "/log/level", R"({"level":"loud"})").status, 400);
  EXPECT_EQ(ask("PUT", "/log/level", R"({"level":"warn"})").status, 200);
  EXPECT_FALSE(LogEnabled(LogLevel::kInfo));
  EXPECT_NE(ask("GET", "/log/level").body.find("warn"), std::string::npos);
  SetLogLevel(LogLevel::kInfo);
  EXPECT_EQ(ask("GET", "/metricsx").status, 404);
}

}  // namespace
}  // namespace saker
