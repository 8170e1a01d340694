#!/usr/bin/env bash
# Apache Kafka under $SAKER_SERVERS/kafka/libs, from Maven Central: the broker's jar and what it needs, 50 MB.
# Called by install.sh. Needs a JDK of at least 17 and Maven: installed from Debian's packages where they are missing.
set -euo pipefail
version=3.9.1
kafka=$SAKER_SERVERS/kafka
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
packages=()
command -v java >/dev/null && command -v javac >/dev/null || packages+=(default-jdk-headless)
[ "$(cat "$kafka/version" 2>/dev/null || true)" = "$version" ] || command -v mvn >/dev/null || packages+=(maven)
[ -f /usr/include/librdkafka/rdkafka.h ] || packages+=(librdkafka-dev)
if [ ${#packages[@]} != 0 ]; then
  echo "kafka: installing ${packages[*]}"
  $sudo apt-get update -qq
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
[ "$(cat "$kafka/version" 2>/dev/null || true)" != "$version" ] || exit 0

echo "kafka: fetching $version"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -n "${SSL_CERT_FILE:-}" ]; then  # where Python, Go and Node look for certificates, but Java does not
  java "$here/../clients/java/TrustStore.java" "$SSL_CERT_FILE" "$work/trust"
  export MAVEN_OPTS="${MAVEN_OPTS:-} -Djavax.net.ssl.trustStore=$work/trust"
fi
cat >"$work/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>saker.tests</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>$version</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
  <build>
    <plugins>
      <plugin>
        <artifactId>maven-dependency-plugin</artifactId>
        <version>3.6.1</version>
      </plugin>
    </plugins>
  </build>
</project>
POM
rm -rf "$kafka"
mkdir -p "$kafka"
(cd "$work" && mvn -q -B dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$kafka/libs" >"$work/log" 2>&1) ||
  { tail -20 "$work/log" >&2; exit 1; }
echo "$version" >"$kafka/version"
