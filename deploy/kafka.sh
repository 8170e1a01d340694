#!/bin/bash
# Starts one broker of the deployment on kafka.properties: formats its directory at the first start.
#   KAFKA_NODE_ID, KAFKA_HOST       who it is, and where the others and the clients reach it
#   KAFKA_VOTERS                    all of them: 1@HOST:9093,2@HOST:9093,…
#   KAFKA_CLUSTER_ID                of the deployment: the same for all, 22 characters
#   KAFKA_DATA, KAFKA_PROPERTIES    its directory, and the file of common settings
#   KAFKA_HOME, KAFKA_HEAP_OPTS     unless set /opt/kafka, and 1 GiB
set -euo pipefail
: "${KAFKA_NODE_ID:?}" "${KAFKA_HOST:?}" "${KAFKA_VOTERS:?}" "${KAFKA_CLUSTER_ID:?}" "${KAFKA_DATA:?}" "${KAFKA_PROPERTIES:?}"
config=$KAFKA_DATA/server.properties
mkdir -p "$KAFKA_DATA/log"
{
  cat "$KAFKA_PROPERTIES"
  echo "node.id=$KAFKA_NODE_ID"
  echo "controller.quorum.voters=$KAFKA_VOTERS"
  echo "advertised.listeners=PLAINTEXT://$KAFKA_HOST:9092"
  echo "log.dirs=$KAFKA_DATA/log"
} >"$config.new"
mv "$config.new" "$config"
read -ra heap <<<"${KAFKA_HEAP_OPTS:--Xms1g -Xmx1g}"
kafka=(java "${heap[@]}" -XX:+ExitOnOutOfMemoryError -cp "${KAFKA_HOME:-/opt/kafka}/libs/*")
if [ ! -e "$KAFKA_DATA/log/meta.properties" ]; then
  "${kafka[@]}" kafka.tools.StorageTool format --cluster-id "$KAFKA_CLUSTER_ID" --config "$config"
fi
exec "${kafka[@]}" kafka.Kafka "$config"
