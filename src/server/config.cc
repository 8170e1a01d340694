#include "server/config.h"

#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <cctype>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <sstream>

namespace saker {
namespace {

Status Bad(const std::string& key, const std::string& value, const std::string& expected) {
  return Status(ErrorCode::kParameterInvalid, fmt::format("{}: '{}' is not valid, expected {}", key, value, expected));
}

// Takes a key's text into the config.
using Setter = std::function<Status(const std::string& key, const std::string& text)>;

template <typename T>
bool Convert(const std::string& text, T* out) {
  return YAML::convert<T>::decode(YAML::Node(text), *out);
}

Setter Flag(bool* out) {
  return [out](const std::string& key, const std::string& text) {
    return Convert(text, out) ? Status() : Bad(key, text, "true or false");
  };
}
Setter Text(std::string* out) {
  return [out](const std::string&, const std::string& text) {
    *out = text;
    return Status();
  };
}
// Names with commas between them.
Setter Names(std::vector<std::string>* out) {
  return [out](const std::string&, const std::string& text) {
    out->clear();
    std::istringstream in(text);
    for (std::string name; std::getline(in, name, ',');) {
      const size_t first = name.find_first_not_of(" \t");
      if (first != std::string::npos) out->push_back(name.substr(first, name.find_last_not_of(" \t") - first + 1));
    }
    return Status();
  };
}
Setter Number(int64_t* out, int64_t min, int64_t max) {
  return [=](const std::string& key, const std::string& text) {
    int64_t value = 0;
    if (!Convert(text, &value) || value < min || value > max) {
      return Bad(key, text, fmt::format("a whole number from {} to {}", min, max));
    }
    *out = value;
    return Status();
  };
}
Setter Fraction(double* out, double min, double max) {
  return [=](const std::string& key, const std::string& text) {
    double value = 0;
    if (!Convert(text, &value) || !(value >= min && value <= max)) {
      return Bad(key, text, fmt::format("a number from {} to {}", min, max));
    }
    *out = value;
    return Status();
  };
}
Setter Rate(RateLimit* out) { return Fraction(&out->per_second, -1, 1e12); }

Setter Level(LogLevel* out) {
  return [out](const std::string& key, const std::string& text) {
    static const std::map<std::string, LogLevel> kLevels = {
        {"debug", LogLevel::kDebug}, {"info", LogLevel::kInfo}, {"warn", LogLevel::kWarn},
        {"error", LogLevel::kError}, {"panic", LogLevel::kError}, {"fatal", LogLevel::kError}};
    const auto found = kLevels.find(text);
    if (found == kLevels.end()) return Bad(key, text, "debug, info, warn, error, panic or fatal");
    *out = found->second;
    return Status();
  };
}
Setter Format(bool* json) {
  return [json](const std::string& key, const std::string& text) {
    if (text != "text" && text != "json") return Bad(key, text, "text or json");
    *json = text == "json";
    return Status();
  };
}
Setter Tls(TlsMode* out) {
  return [out](const std::string& key, const std::string& text) {
    int64_t mode = 0;
    if (!Convert(text, &mode) || mode < 0 || mode > 2) {
      return Bad(key, text, "0 (off), 1 (the server shows a certificate) or 2 (the client too)");
    }
    *out = static_cast<TlsMode>(mode);
    return Status();
  };
}

Setter Milliseconds(std::chrono::milliseconds* out, int64_t min, int64_t max) {
  return [=](const std::string& key, const std::string& text) {
    int64_t value = 0;
    RETURN_IF_ERROR(Number(&value, min, max)(key, text));
    *out = std::chrono::milliseconds(value);
    return Status();
  };
}
Setter Property(std::map<std::string, std::string>* out, std::string name) {
  return [=](const std::string&, const std::string& text) {
    (*out)[name] = text;
    return Status();
  };
}

// What several keys make together.
struct Composite {
  bool etcd_auth = false, etcd_tls = false;
  std::string etcd_user, etcd_password, etcd_ca, etcd_certificate, etcd_key;
  std::string s3_host;
  int64_t s3_port = -1;
  bool s3_tls = false;
  bool s3_virtual_host = false;
  bool kafka_tls = false;
  std::map<std::string, std::string> kafka_tls_files;
  // By role: "querynode" → where it listens for other processes.
  std::map<std::string, std::pair<std::string, int64_t>> internal;
  std::string proxy_ip;
  int64_t proxy_port = -1;
  int64_t rest_port = -1;
  std::string log_folder;
};

// Milvus's sections and ports of the roles, for calls between processes.
struct InternalPort {
  const char* section;
  const char* role;
  int64_t port;
};
constexpr InternalPort kInternalPorts[] = {
    {"proxy", "proxy", 19529},         {"rootCoord", "rootcoord", 53100}, {"dataCoord", "datacoord", 13333},
    {"queryCoord", "querycoord", 19531}, {"indexCoord", "indexcoord", 31000}, {"dataNode", "datanode", 21124},
    {"queryNode", "querynode", 21123}, {"indexNode", "indexnode", 21121},
};

std::map<std::string, Setter> Keys(Config* c, Composite* more) {
  constexpr int64_t kBig = int64_t{1} << 40;
  ProxyLimits& l = c->limits;
  std::map<std::string, Setter> keys = {
      {"common.security.authorizationEnabled", Flag(&c->authorization)},
      {"common.security.superUsers", Names(&c->super_users)},
      {"common.security.tlsMode", Tls(&c->tls_mode)},
      {"tls.serverPemPath", Text(&c->tls.certificate)},
      {"tls.serverKeyPath", Text(&c->tls.key)},
      {"tls.caPemPath", Text(&c->tls.client_ca)},
      {"common.gracefulTime", Number(&c->graceful_time_ms, 0, kBig)},
      {"common.entityExpiration", Number(&c->entity_expiration_s, -1, kBig)},
      {"log.level", Level(&c->log.level)},
      {"log.format", Format(&c->log.json)},
      {"log.file.rootPath", Text(&more->log_folder)},
      {"proxy.ip", Text(&more->proxy_ip)},
      {"proxy.port", Number(&more->proxy_port, 0, 65535)},
      {"proxy.http.enabled", Flag(&c->rest_enabled)},
      {"proxy.http.port", Number(&more->rest_port, 0, 65535)},
      {"proxy.grpc.serverMaxRecvSize", Number(&c->max_receive_bytes, 1 << 16, std::numeric_limits<int32_t>::max())},
      {"proxy.maxNameLength", Number(&l.name_length, 1, 65535)},
      {"proxy.maxFieldNum", Number(&l.fields, 1, 1024)},
      {"proxy.maxVectorFieldNum", Number(&l.vector_fields, 1, 64)},
      {"proxy.maxDimension", Number(&l.dimension, 1, 262144)},
      {"proxy.maxShardNum", Number(&l.shards, 1, 1024)},
      {"proxy.maxVarCharLength", Number(&l.varchar_length, 1, 1 << 24)},
      {"proxy.maxArrayCapacity", Number(&l.array_capacity, 1, 1 << 24)},
      {"proxy.maxUsernameLength", Number(&l.user_name_length, 1, 1024)},
      {"proxy.minPasswordLength", Number(&l.password_min, 1, 1024)},
      {"proxy.maxPasswordLength", Number(&l.password_max, 1, 1024)},
      {"proxy.maxUserNum", Number(&l.users, 1, 1 << 20)},
      {"proxy.maxRoleNum", Number(&l.roles, 2, 1 << 20)},
      {"common.JSONMaxLength", Number(&l.json_length, 1, 1 << 30)},
      {"proxy.maxPartitionNum", Number(&c->max_partitions, 1, 65536)},
      {"rootCoord.maxPartitionNum", Number(&c->max_partitions, 1, 65536)},
      {"rootCoord.maxDatabaseNum", Number(&c->max_databases, 1, 65536)},
      {"rootCoord.dmlChannelNum", Number(&c->channels, 1, 1024)},
      {"rootCoord.minSegmentSizeToEnableIndex", Number(&c->min_rows_to_index, 0, kBig)},
      {"indexCoord.segment.minSegmentNumRowsToEnableIndex", Number(&c->min_rows_to_index, 0, kBig)},
      {"dataCoord.segment.maxSize", Number(&c->segment_max_mb, 1, 1 << 20)},
      {"dataCoord.segment.sealProportion", Fraction(&c->segment_seal_proportion, 0.001, 1)},
      {"dataCoord.segment.maxLife", Number(&c->segment_max_life_s, 1, kBig)},
      {"dataCoord.segment.maxIdleTime", Number(&c->segment_max_idle_s, 1, kBig)},
      {"dataCoord.enableCompaction", Flag(&c->compaction_enabled)},
      {"dataCoord.compaction.enableAutoCompaction", Flag(&c->auto_compaction)},
      {"dataCoord.enableGarbageCollection", Flag(&c->garbage_collection)},
      {"dataCoord.gc.dropTolerance", Number(&c->gc_drop_tolerance_s, 0, kBig)},
      {"saker.loadOnFirstUse", Flag(&c->load_on_first_use)},
      {"saker.partitionKeyPartitions", Number(&l.partition_key_partitions, 1, 65536)},
      {"saker.searchThreads", Number(&c->search_threads, 0, 1024)},
      {"saker.ioThreads", Number(&c->io_threads, 0, 1024)},
      {"saker.buildThreads", Number(&c->build_threads, 0, 1024)},
      {"saker.memoryLimitMb", Number(&c->memory_limit_mb, 0, kBig)},
      {"saker.queryMemoryMb", Number(&c->query_memory_mb, -1, kBig)},
      {"common.gracefulStopTimeout", Number(&c->graceful_stop_s, 0, 86'400)},
      {"queryCoord.autoBalance", Flag(&c->auto_balance)},
      {"queryCoord.balanceIntervalSeconds", Number(&c->balance_interval_s, 0, 86'400)},
      {"queryCoord.scoreUnbalanceTolerationFactor", Fraction(&c->balance_tolerance, 0, 1)},
      {"queryCoord.overloadedMemoryThresholdPercentage", Fraction(&c->overloaded_memory_percent, 1, 100)},
      {"dataCoord.autoBalance", Flag(&c->auto_balance_channels)},
      {"saker.diskReserveMb", Number(&c->disk_reserve_mb, 0, kBig)},
      {"saker.logKeepMb", Number(&c->log_keep_mb, 0, 1 << 20)},
      {"saker.slowQueryMs", Number(&c->slow_query_ms, 0, kBig)},
  };
  const auto add = [&](const std::string& key, Setter setter) { keys[key] = std::move(setter); };
  add("common.session.ttl", Number(&c->session_ttl_s, 3, 3600));
  add("saker.etcd.snapshot.interval", Number(&c->etcd_snapshot_interval_s, 0, 365 * 86'400));
  add("saker.etcd.snapshot.keep", Number(&c->etcd_snapshot_keep, 0, 1'000'000));
  add("etcd.endpoints", Names(&c->etcd.endpoints));
  add("etcd.rootPath", Text(&c->etcd.root));
  add("etcd.requestTimeout", Milliseconds(&c->etcd.request_timeout, 100, 60'000));
  add("etcd.auth.enabled", Flag(&more->etcd_auth));
  add("etcd.auth.userName", Text(&more->etcd_user));
  add("etcd.auth.password", Text(&more->etcd_password));
  add("etcd.ssl.enabled", Flag(&more->etcd_tls));
  add("etcd.ssl.tlsCACert", Text(&more->etcd_ca));
  add("etcd.ssl.tlsCert", Text(&more->etcd_certificate));
  add("etcd.ssl.tlsKey", Text(&more->etcd_key));
  add("minio.address", Text(&more->s3_host));
  add("minio.port", Number(&more->s3_port, 1, 65535));
  add("minio.useSSL", Flag(&more->s3_tls));
  add("minio.ssl.tlsCACert", Text(&c->s3.ca_file));
  add("minio.accessKeyID", Text(&c->s3.access_key));
  add("minio.secretAccessKey", Text(&c->s3.secret_key));
  add("minio.bucketName", Text(&c->s3.bucket));
  add("minio.createBucket", Flag(&c->s3.create_bucket));
  add("minio.rootPath", Text(&c->s3.prefix));
  add("minio.region", Text(&c->s3.region));
  add("minio.useVirtualHost", Flag(&more->s3_virtual_host));
  add("minio.requestTimeoutMs", Milliseconds(&c->s3.total_timeout, 1000, 600'000));
  add("saker.cacheDirectory", Text(&c->s3.cache_directory));
  add("saker.cacheMb", [c](const std::string& key, const std::string& text) {
    int64_t mb = 0;
    RETURN_IF_ERROR(Number(&mb, 64, 1 << 30)(key, text));
    c->s3.cache_bytes = mb << 20;
    return Status();
  });
  add("kafka.brokerList", Text(&c->kafka.brokers));
  add("kafka.topic", Text(&c->kafka.topic));
  add("kafka.replication", [c](const std::string& key, const std::string& text) {
    int64_t replicas = 0;
    RETURN_IF_ERROR(Number(&replicas, 0, 100)(key, text));
    c->kafka.replication = static_cast<int>(replicas);
    return Status();
  });
  add("kafka.securityProtocol", Property(&c->kafka.properties, "security.protocol"));
  add("kafka.saslMechanisms", Property(&c->kafka.properties, "sasl.mechanisms"));
  add("kafka.saslUsername", Property(&c->kafka.properties, "sasl.username"));
  add("kafka.saslPassword", Property(&c->kafka.properties, "sasl.password"));
  add("kafka.ssl.enabled", Flag(&more->kafka_tls));
  add("kafka.ssl.tlsCaCert", Property(&more->kafka_tls_files, "ssl.ca.location"));
  add("kafka.ssl.tlsCert", Property(&more->kafka_tls_files, "ssl.certificate.location"));
  add("kafka.ssl.tlsKey", Property(&more->kafka_tls_files, "ssl.key.location"));
  add("kafka.ssl.tlsKeyPassword", Property(&more->kafka_tls_files, "ssl.key.password"));
  add("saker.advertise", Text(&c->advertise));
  add("saker.internalTls.enabled", Flag(&c->internal_tls.enabled));
  add("saker.internalTls.ca", Text(&c->internal_tls.ca));
  add("saker.internalTls.certificate", Text(&c->internal_tls.certificate));
  add("saker.internalTls.key", Text(&c->internal_tls.key));
  add("saker.internalTls.serverName", Text(&c->internal_tls.server_name));
  for (const auto& [section, role, port] : kInternalPorts) {
    auto& address = more->internal[role];
    address.second = port;
    add(fmt::format("{}.{}", section, role == std::string_view("proxy") ? "internalIp" : "ip"), Text(&address.first));
    add(fmt::format("{}.{}", section, role == std::string_view("proxy") ? "internalPort" : "port"), Number(&address.second, 0, 65535));
  }
  const auto quota = [&](const std::string& key, Setter setter) { keys["quotaAndLimits." + key] = std::move(setter); };
  quota("enabled", Flag(&c->quotas_enabled));
  quota("limits.maxCollectionNum", Number(&c->max_collections, 1, kBig));
  quota("limits.maxCollectionNumPerDB", Number(&c->max_collections_per_db, 1, kBig));
  quota("limits.topK", Number(&l.top_k, 1, 1 << 20));
  quota("limits.nq", Number(&l.nq, 1, 1 << 20));
  quota("limits.maxQueryResultWindow", Number(&l.result_window, 1, 1 << 24));
  quota("limits.maxOutputSize", Number(&l.result_bytes, 1 << 16, kBig));
  quota("ddl.enabled", Flag(&c->ddl_rates_enabled));
  quota("ddl.collectionRate", Rate(&c->collection_rate));
  quota("ddl.partitionRate", Rate(&c->partition_rate));
  quota("indexRate.enabled", Flag(&c->index_rate_enabled));
  quota("indexRate.max", Rate(&c->index_rate));
  quota("flushRate.enabled", Flag(&c->flush_rate_enabled));
  quota("flushRate.max", Rate(&c->flush_rate));
  quota("compactionRate.enabled", Flag(&c->compaction_rate_enabled));
  quota("compactionRate.max", Rate(&c->compaction_rate));
  quota("dml.enabled", Flag(&c->dml_rates_enabled));
  quota("dml.insertRate.max", Rate(&c->insert_rate));
  quota("dml.insertRate.collection.max", Rate(&c->insert_rate_per_collection));
  quota("dml.upsertRate.max", Rate(&c->upsert_rate));
  quota("dml.upsertRate.collection.max", Rate(&c->upsert_rate_per_collection));
  quota("dml.deleteRate.max", Rate(&c->delete_rate));
  quota("dml.deleteRate.collection.max", Rate(&c->delete_rate_per_collection));
  quota("dql.enabled", Flag(&c->dql_rates_enabled));
  quota("dql.searchRate.max", Rate(&c->search_rate));
  quota("dql.searchRate.collection.max", Rate(&c->search_rate_per_collection));
  quota("dql.queryRate.max", Rate(&c->query_rate));
  quota("dql.queryRate.collection.max", Rate(&c->query_rate_per_collection));
  quota("limitWriting.forceDeny", Flag(&c->deny_writing));
  quota("limitReading.forceDeny", Flag(&c->deny_reading));
  quota("limitWriting.diskProtection.enabled", Flag(&c->disk_protection));
  quota("limitWriting.diskProtection.diskQuota", Number(&c->disk_quota_mb, -1, kBig));
  return keys;
}

// YAML nesting to dotted keys. A list of scalars is the same as its items with commas between them.
void Flatten(const YAML::Node& node, const std::string& prefix, std::vector<std::pair<std::string, std::string>>* out) {
  if (node.IsMap()) {
    for (const auto& entry : node) {
      const std::string key = entry.first.as<std::string>();
      Flatten(entry.second, prefix.empty() ? key : prefix + "." + key, out);
    }
  } else if (node.IsScalar()) {
    out->emplace_back(prefix, node.Scalar());
  } else if (node.IsSequence()) {
    std::string items;
    for (const auto& item : node) {
      if (item.IsScalar()) items += (items.empty() ? "" : ",") + item.Scalar();
    }
    out->emplace_back(prefix, items);
  }
}

std::string Address(const std::string& host, int64_t port) {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

Status ComposeDoors(const Composite& more, Config* config) {
  ASSIGN_OR_RETURN(const auto listen, SplitAddress(config->listen));
  const std::string host = more.proxy_ip.empty() ? listen.first : more.proxy_ip;
  const int64_t port = more.proxy_port >= 0 ? more.proxy_port : listen.second;
  config->listen = Address(host, port);
  if (config->rest_enabled && more.rest_port >= 0 && more.rest_port != port) config->rest_listen = Address(host, more.rest_port);
  if (!more.log_folder.empty()) config->log.file = more.log_folder + "/saker.log";
  if (config->tls_mode != TlsMode::kOff && (config->tls.certificate.empty() || config->tls.key.empty())) {
    return Status(ErrorCode::kParameterInvalid,
                  "common.security.tlsMode is on: tls.serverPemPath and tls.serverKeyPath must name its files");
  }
  if (config->tls_mode == TlsMode::kMutual && config->tls.client_ca.empty()) {
    return Status(ErrorCode::kParameterInvalid, "common.security.tlsMode is 2: tls.caPemPath must name the clients' CA");
  }
  return Status();
}

void ComposeStores(const Composite& more, Config* config) {
  if (more.etcd_auth) {
    config->etcd.username = more.etcd_user;
    config->etcd.password = more.etcd_password;
  }
  if (more.etcd_tls) {
    config->etcd.ca_file = more.etcd_ca;
    config->etcd.cert_file = more.etcd_certificate;
    config->etcd.key_file = more.etcd_key;
    for (std::string& endpoint : config->etcd.endpoints) {
      if (endpoint.find("://") == std::string::npos) endpoint = "https://" + endpoint;
    }
  }
  if (!more.s3_host.empty()) {
    const bool has_port = more.s3_host.rfind(':') != std::string::npos;
    const int64_t port = more.s3_port > 0 ? more.s3_port : more.s3_tls ? 443 : 9000;
    config->s3.endpoint = (more.s3_tls ? "https://" : "http://") + (has_port ? more.s3_host : Address(more.s3_host, port));
  }
  config->s3.path_style = !more.s3_virtual_host;
  if (more.kafka_tls) config->kafka.properties.insert(more.kafka_tls_files.begin(), more.kafka_tls_files.end());
  config->kafka.channels = static_cast<int>(config->channels);
}

Status Compose(const Composite& more, Config* config) {
  RETURN_IF_ERROR(ComposeDoors(more, config));
  ComposeStores(more, config);
  for (const auto& [role, address] : more.internal) {
    config->internal_listen[role] = Address(address.first.empty() ? "127.0.0.1" : address.first, address.second);
  }
  return Status();
}

std::string VariableName(std::string_view key) {
  std::string name;
  for (const char c : key) name += c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

}  // namespace

Environment ProcessEnvironment() {
  Environment out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string_view::npos) out.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return out;
}

Status ReadConfigText(const std::string& text, const std::string& name, const Environment& environment, Config* config,
                      std::vector<std::string>* ignored) {
  std::vector<std::pair<std::string, std::string>> entries;
  try {
    const YAML::Node root = YAML::Load(text);
    if (!root.IsNull() && !root.IsMap()) {
      return Status(ErrorCode::kParameterInvalid, fmt::format("{} is not a YAML map of settings", name));
    }
    Flatten(root, "", &entries);
  } catch (const YAML::Exception& error) {
    return Status(ErrorCode::kParameterInvalid, fmt::format("{} is not valid YAML: {}", name, error.what()));
  }
  Composite more;
  const auto keys = Keys(config, &more);
  for (const auto& [key, value] : entries) {
    const auto found = keys.find(key);
    if (found == keys.end()) {
      if (ignored != nullptr) ignored->push_back(key);
      continue;
    }
    if (value.empty()) continue;  // as Milvus's own file has it: "not set"
    if (Status status = found->second(key, value); !status.ok()) return status.WithContext(name);
  }
  std::map<std::string, const Setter*> variables;
  for (const auto& [key, setter] : keys) variables[VariableName(key)] = &setter;
  for (const auto& [variable, value] : environment) {
    const auto found = variables.find(variable);
    if (found == variables.end() || value.empty()) continue;
    if (Status status = (*found->second)(variable, value); !status.ok()) return status.WithContext("the environment");
  }
  return Compose(more, config).WithContext(name);
}

Status CheckClusterConfig(const Config& config) {
  std::vector<std::string> missing;
  if (config.etcd.endpoints.empty()) missing.emplace_back("etcd.endpoints");
  if (config.kafka.brokers.empty()) missing.emplace_back("kafka.brokerList");
  if (config.s3.endpoint.empty()) missing.emplace_back("minio.address");
  if (config.s3.bucket.empty()) missing.emplace_back("minio.bucketName");
  if (config.s3.access_key.empty()) missing.emplace_back("minio.accessKeyID");
  if (config.s3.secret_key.empty()) missing.emplace_back("minio.secretAccessKey");
  if (missing.empty()) return Status();
  return Status(ErrorCode::kParameterInvalid,
                fmt::format("a cluster needs etcd, Kafka and S3: set {} in the --config file, or {} in the environment",
                            fmt::join(missing, ", "), VariableName(missing.front())));
}

std::vector<std::string> ConfigKeys() {
  Config config;
  Composite more;
  std::vector<std::string> out;
  for (const auto& [key, setter] : Keys(&config, &more)) out.push_back(key);
  return out;
}

Status ReadConfigFile(const std::string& path, const Environment& environment, Config* config, std::vector<std::string>* ignored) {
  if (path.empty()) return ReadConfigText("", "the settings", environment, config, ignored);
  std::ifstream in(path, std::ios::binary);
  if (!in) return Status(ErrorCode::kParameterInvalid, fmt::format("cannot read the configuration file {}", path));
  std::stringstream text;
  text << in.rdbuf();
  return ReadConfigText(text.str(), path, environment, config, ignored);
}

}  // namespace saker
