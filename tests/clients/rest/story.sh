#!/usr/bin/env bash
# REST v2 with curl, while gRPC clients use the same port: story.sh HOST:PORT
# SAKER_AUTH=HOST:PORT: a second server with authorization on
set -u
at=${1:?"usage: story.sh HOST:PORT"}
name=rest_$$
passed=0 failed=0

# post PATH BODY [curl options]: sets $reply
post() {
  local path=$1 body=$2
  shift 2
  reply=$(curl -sS -m 60 -X POST "http://$at/v2/vectordb/$path" -H 'Content-Type: application/json' "$@" -d "$body" 2>&1)
}

# want WHAT PYTHON: PYTHON is an expression over r, the parsed reply
want() {
  if python3 -c 'import json, sys
r = json.loads(sys.argv[1])
sys.exit(0 if eval(sys.argv[2]) else 1)' "$reply" "$2" 2>/dev/null; then
    passed=$((passed + 1))
    echo "ok   $1"
  else
    failed=$((failed + 1))
    echo "FAIL $1: wanted $2, got ${reply:0:400}"
  fi
}

post collections/list '{}'
want 'list collections' 'r["code"] == 0 and isinstance(r["data"], list)'
post collections/create '{"collectionName": "'$name'", "dimension": 4, "metricType": "L2"}'
want 'create, the quick way' 'r["code"] == 0'
post collections/has '{"collectionName": "'$name'"}'
want 'has' 'r["data"]["has"] is True'
post collections/has '{"collectionName": "nothing_here"}'
want 'has not' 'r["data"]["has"] is False'
post collections/describe '{"collectionName": "'$name'"}'
want 'describe' 'r["code"] == 0 and r["data"]["collectionName"] == "'$name'" and {f["name"] for f in r["data"]["fields"]} == {"id", "vector"} and r["data"]["enableDynamicField"]'
post entities/insert '{"collectionName": "'$name'", "data": [{"id": 1, "vector": [1, 0, 0, 0], "color": "red"}, {"id": 2, "vector": [2, 0, 0, 0], "color": "blue"}, {"id": 3, "vector": [3, 0, 0, 0], "color": "red"}]}'
want 'insert' 'r["code"] == 0 and r["data"]["insertCount"] == 3 and [int(i) for i in r["data"]["insertIds"]] == [1, 2, 3]'
post entities/search '{"collectionName": "'$name'", "data": [[2, 0, 0, 0]], "annsField": "vector", "limit": 2, "outputFields": ["color"], "consistencyLevel": "Strong"}'
want 'search' 'r["code"] == 0 and len(r["data"]) == 2 and int(r["data"][0]["id"]) == 2 and r["data"][0]["color"] == "blue" and r["data"][0]["distance"] == 0'
post entities/search '{"collectionName": "'$name'", "data": [[2, 0, 0, 0], [1, 0, 0, 0]], "annsField": "vector", "limit": 1, "filter": "color == \"red\"", "consistencyLevel": "Strong"}'
want 'search, filtered, two at once' 'r["code"] == 0 and len(r["data"]) == 2 and int(r["data"][1]["id"]) == 1'
post entities/query '{"collectionName": "'$name'", "filter": "id in [1, 3]", "outputFields": ["color", "vector"], "consistencyLevel": "Strong"}'
want 'query' 'r["code"] == 0 and len(r["data"]) == 2 and r["data"][0]["vector"] == [1, 0, 0, 0] and r["data"][0]["color"] == "red"'
post entities/query '{"collectionName": "'$name'", "filter": "", "outputFields": ["count(*)"], "consistencyLevel": "Strong"}'
want 'count' 'r["code"] == 0 and int(r["data"][0]["count(*)"]) == 3'
post entities/get '{"collectionName": "'$name'", "id": [2], "outputFields": ["color"]}'
want 'get' 'r["code"] == 0 and r["data"][0]["color"] == "blue"'
post entities/upsert '{"collectionName": "'$name'", "data": [{"id": 2, "vector": [9, 0, 0, 0], "color": "green"}]}'
want 'upsert' 'r["code"] == 0 and r["data"]["upsertCount"] == 1'
post entities/query '{"collectionName": "'$name'", "filter": "id == 2", "outputFields": ["color"], "consistencyLevel": "Strong"}'
want 'query after upsert' 'r["code"] == 0 and r["data"][0]["color"] == "green"'
post entities/delete '{"collectionName": "'$name'", "filter": "id in [1]"}'
want 'delete' 'r["code"] == 0'
post entities/query '{"collectionName": "'$name'", "filter": "id > 0", "outputFields": ["id"], "consistencyLevel": "Strong"}'
want 'query after delete' 'r["code"] == 0 and sorted(int(x["id"]) for x in r["data"]) == [2, 3]'
post collections/get_load_state '{"collectionName": "'$name'"}'
want 'load state' 'r["code"] == 0 and r["data"]["loadState"] == "LoadStateLoaded"'
post collections/get_stats '{"collectionName": "'$name'"}'
want 'statistics' 'r["code"] == 0 and "rowCount" in r["data"]'
post collections/release '{"collectionName": "'$name'"}'
want 'release' 'r["code"] == 0'
post entities/search '{"collectionName": "'$name'", "data": [[2, 0, 0, 0]], "annsField": "vector", "limit": 2}'
want 'search what is not loaded' 'r["code"] == 101 and "not loaded" in r["message"]'
post collections/load '{"collectionName": "'$name'"}'
want 'load' 'r["code"] == 0'
post partitions/create '{"collectionName": "'$name'", "partitionName": "p"}'
want 'create partition' 'r["code"] == 0'
post partitions/list '{"collectionName": "'$name'"}'
want 'list partitions' 'sorted(r["data"]) == ["_default", "p"]'
post partitions/has '{"collectionName": "'$name'", "partitionName": "p"}'
want 'has partition' 'r["data"]["has"] is True'
post partitions/load '{"collectionName": "'$name'", "partitionNames": ["p"]}'
want 'load partitions' 'r["code"] == 0'
post partitions/get_stats '{"collectionName": "'$name'", "partitionName": "p"}'
want 'partition statistics' 'r["code"] == 0'
post partitions/release '{"collectionName": "'$name'", "partitionNames": ["p"]}'
want 'release partitions' 'r["code"] == 0'
post partitions/drop '{"collectionName": "'$name'", "partitionName": "p"}'
want 'drop partition' 'r["code"] == 0'
post aliases/create '{"collectionName": "'$name'", "aliasName": "'${name}_a'"}'
want 'create alias' 'r["code"] == 0'
post aliases/list '{"collectionName": "'$name'"}'
want 'list aliases' 'r["code"] == 0 and "'${name}_a'" in r["data"]'
post aliases/describe '{"aliasName": "'${name}_a'"}'
want 'describe alias' 'r["code"] == 0 and r["data"]["collectionName"] == "'$name'"'
post aliases/drop '{"aliasName": "'${name}_a'"}'
want 'drop alias' 'r["code"] == 0'
post collections/create '{"collectionName": "'${name}_s'", "schema": {"autoId": false, "enableDynamicField": false, "fields": [{"fieldName": "key", "dataType": "VarChar", "isPrimary": true, "elementTypeParams": {"max_length": "32"}}, {"fieldName": "n", "dataType": "Int64"}, {"fieldName": "j", "dataType": "JSON"}, {"fieldName": "v", "dataType": "FloatVector", "elementTypeParams": {"dim": "2"}}]}}'
want 'create with a schema' 'r["code"] == 0'
post indexes/create '{"collectionName": "'${name}_s'", "indexParams": [{"fieldName": "v", "indexName": "v_idx", "metricType": "COSINE", "indexType": "HNSW", "params": {"M": 8, "efConstruction": 32}}]}'
want 'create index' 'r["code"] == 0'
post indexes/list '{"collectionName": "'${name}_s'"}'
want 'list indexes' 'r["data"] == ["v_idx"]'
post indexes/describe '{"collectionName": "'${name}_s'", "indexName": "v_idx"}'
want 'describe index' 'r["code"] == 0 and r["data"][0]["indexName"] == "v_idx" and r["data"][0]["indexType"] == "HNSW"'
post collections/load '{"collectionName": "'${name}_s'"}'
want 'load the second' 'r["code"] == 0'
post entities/insert '{"collectionName": "'${name}_s'", "data": [{"key": "a", "n": 9007199254740993, "j": {"x": [1, 2]}, "v": [1, 0]}]}'
want 'insert a large number and JSON' 'r["code"] == 0 and r["data"]["insertCount"] == 1'
post entities/query '{"collectionName": "'${name}_s'", "filter": "key == \"a\"", "outputFields": ["n", "j"], "consistencyLevel": "Strong"}'
want 'they come back whole' 'r["code"] == 0 and int(r["data"][0]["n"]) == 9007199254740993 and (r["data"][0]["j"] if isinstance(r["data"][0]["j"], dict) else json.loads(r["data"][0]["j"])) == {"x": [1, 2]}'
post collections/release '{"collectionName": "'${name}_s'"}'
want 'release the second' 'r["code"] == 0'
post indexes/drop '{"collectionName": "'${name}_s'", "indexName": "v_idx"}'
want 'drop index' 'r["code"] == 0'
post collections/rename '{"collectionName": "'${name}_s'", "newCollectionName": "'${name}_t'"}'
want 'rename' 'r["code"] == 0'
post collections/drop '{"collectionName": "'${name}_t'"}'
want 'drop the second' 'r["code"] == 0'
post databases/create '{"dbName": "'${name}_db'"}'
want 'create database' 'r["code"] == 0'
post databases/list '{}'
want 'list databases' '"'${name}_db'" in r["data"]'
post databases/describe '{"dbName": "'${name}_db'"}'
want 'describe database' 'r["code"] == 0 and r["data"]["dbName"] == "'${name}_db'"'
post collections/create '{"dbName": "'${name}_db'", "collectionName": "x", "dimension": 2}'
want 'create in the other database' 'r["code"] == 0'
post collections/list '{"dbName": "'${name}_db'"}'
want 'list there' 'r["data"] == ["x"]'
post collections/drop '{"dbName": "'${name}_db'", "collectionName": "x"}'
want 'drop there' 'r["code"] == 0'
post databases/drop '{"dbName": "'${name}_db'"}'
want 'drop database' 'r["code"] == 0'
post collections/describe '{"collectionName": "nothing_here"}'
want 'describe what is not there' 'r["code"] == 100 and "message" in r'
post entities/insert '{"collectionName": "'$name'", "data": [{"id": 7, "vector": [1, 2]}]}'
want 'insert of a wrong dimension' 'r["code"] != 0 and r["message"]'
post entities/search '{"collectionName": "'$name'", "data": [[2, 0, 0, 0]], "annsField": "vector", "limit": 2, "filter": "id >"}'
want 'a bad filter' 'r["code"] != 0 and r["message"]'
post entities/insert '{"collectionName": '
want 'broken JSON' 'r["code"] != 0 and r["message"]'
post collections/describe '{}'
want 'a missing parameter' 'r["code"] != 0 and r["message"]'
reply=$(curl -sS -o /dev/null -w '{"http": %{http_code}}' -X POST "http://$at/v2/vectordb/no/such_path" -d '{}')
want 'an unknown path' 'r["http"] == 404'

# Headers
post entities/query '{"collectionName": "'$name'", "filter": "id == 2", "consistencyLevel": "Strong"}' -H 'Accept-Type-Allow-Int64: true'
want 'numbers as numbers' 'r["data"][0]["id"] == 2'
post entities/query '{"collectionName": "'$name'", "filter": "id == 2", "consistencyLevel": "Strong"}'
want 'numbers as strings' 'r["data"][0]["id"] == "2"'
post collections/list '{}' -H 'DB-Name: nothing_here'
want 'the database of the header' 'r["code"] == 800 and "nothing_here" in r["message"]'
post collections/list '{"dbName": "default"}' -H 'DB-Name: nothing_here'
want 'the body goes before the header' 'r["code"] == 0'
post collections/list '{}' -H 'Request-Timeout: 5'
want 'a timeout' 'r["code"] == 0'
post collections/list ''
want 'an empty body' 'r["code"] == 1801 and "{} is valid" in r["message"]'
post collections/list '[]'
want 'no object' 'r["code"] == 1801'
post collections/describe '{"collectionName": 7}'
want 'a wrong type' 'r["code"] == 1801'
post collections/describe '{}'
want 'a missing parameter, by number' 'r["code"] == 1802 and "collectionName" in r["message"]'
post entities/insert '{"collectionName": "'$name'", "data": [{"id": 7, "vector": [1, 0, 0, 0]}, {"id": 8, "vector": "no"}]}'
want 'a mistake in a row' 'r["code"] == 1804'
post entities/get '{"collectionName": "'$name'", "id": [7, 8], "consistencyLevel": "Strong"}'
want 'nothing of it was written' 'r["code"] == 0 and r["data"] == []'
post entities/search '{"collectionName": "'$name'", "data": [[2, 0]], "annsField": "vector"}'
want 'a query vector of a wrong dimension' 'r["code"] == 1801'
post entities/query '{"collectionName": "'$name'", "filter": "id > 0", "consistencyLevel": "Sometimes"}'
want 'an unknown consistency level' 'r["code"] == 1100 and "Sometimes" in r["message"]'
post entities/query '{"collectionName": "'$name'", "filter": "id in {ids}", "exprParams": {"ids": [2, 3]}, "outputFields": ["id"], "consistencyLevel": "Strong"}'
want 'filter templates' 'sorted(int(x["id"]) for x in r["data"]) == [2, 3]'
post entities/query '{"collectionName": "'$name'", "filter": "id > 0", "limit": 1, "offset": 1, "outputFields": ["id"], "consistencyLevel": "Strong"}'
want 'limit and offset' '[int(x["id"]) for x in r["data"]] == [3]'
post entities/search '{"collectionName": "'$name'", "data": [[2, 0, 0, 0]], "limit": 5, "searchParams": {"metric_type": "L2", "params": {"radius": 2, "range_filter": 0}}, "consistencyLevel": "Strong"}'
want 'a range' 'r["code"] == 0 and [int(x["id"]) for x in r["data"]] == [3]'
post entities/delete '{"collectionName": "'$name'", "filter": "id == 3"}'
want 'delete one more' 'r["code"] == 0'
post entities/query '{"collectionName": "'$name'", "filter": "", "outputFields": ["count(*)"], "consistencyLevel": "Strong"}'
want 'count after it' 'int(r["data"][0]["count(*)"]) == 1'
post collections/flush '{"collectionName": "'$name'"}'
want 'flush' 'r["code"] == 0'
post collections/compact '{"collectionName": "'$name'"}'
want 'compact' 'r["code"] == 0 and "compactionID" in r["data"]'
post collections/alter_properties '{"collectionName": "'$name'", "properties": {"collection.ttl.seconds": 86400}}'
want 'alter properties' 'r["code"] == 0'
post collections/describe '{"collectionName": "'$name'"}'
want 'describe shows them' 'any(p["key"] == "collection.ttl.seconds" and p["value"] == "86400" for p in r["data"]["properties"])'

# Scalars of several types, two vector fields, hybrid search
post collections/create '{"collectionName": "'${name}_h'", "schema": {"autoId": true, "enableDynamicField": true, "fields": [
  {"fieldName": "pk", "dataType": "Int64", "isPrimary": true},
  {"fieldName": "tiny", "dataType": "Int8"}, {"fieldName": "real", "dataType": "Double"}, {"fieldName": "yes", "dataType": "Bool"},
  {"fieldName": "text", "dataType": "VarChar", "elementTypeParams": {"max_length": 64}},
  {"fieldName": "tags", "dataType": "Array", "elementDataType": "VarChar", "elementTypeParams": {"max_capacity": 4, "max_length": 8}},
  {"fieldName": "a", "dataType": "FloatVector", "elementTypeParams": {"dim": 2}},
  {"fieldName": "b", "dataType": "BinaryVector", "elementTypeParams": {"dim": 8}}]},
  "indexParams": [{"fieldName": "a", "metricType": "L2", "indexType": "HNSW", "params": {"M": 8, "efConstruction": 32}},
                  {"fieldName": "b", "metricType": "HAMMING", "indexType": "BIN_FLAT"}]}'
want 'create with two vector fields, indexed and loaded' 'r["code"] == 0'
post entities/insert '{"collectionName": "'${name}_h'", "data": [
  {"tiny": 1, "real": 0.1, "yes": true, "text": "one \"é\"", "tags": ["x", "y"], "a": [1, 0], "b": "AQ==", "more": {"deep": [1, 2]}},
  {"tiny": -2, "real": 1e100, "yes": false, "text": "", "tags": [], "a": [2, 0], "b": "Aw=="}]}'
want 'insert several types' 'r["code"] == 0 and r["data"]["insertCount"] == 2 and len(r["data"]["insertIds"]) == 2'
post entities/query '{"collectionName": "'${name}_h'", "filter": "tiny == 1", "outputFields": ["*"], "consistencyLevel": "Strong"}'
want 'they come back' 'r["code"] == 0 and {k: v for k, v in r["data"][0].items() if k not in ("pk", "tags")} == {"tiny": 1, "real": 0.1, "yes": True, "text": "one \"é\"", "a": [1, 0], "b": "AQ==", "more": {"deep": [1, 2]}}'
post entities/hybrid_search '{"collectionName": "'${name}_h'", "search": [{"data": [[1, 0]], "annsField": "a", "limit": 2}, {"data": ["AQ=="], "annsField": "b", "limit": 2}], "rerank": {"strategy": "rrf", "params": {"k": 60}}, "limit": 1, "outputFields": ["tiny"], "consistencyLevel": "Strong"}'
want 'hybrid search' 'r["code"] == 0 and len(r["data"]) == 1 and r["data"][0]["tiny"] == 1'
post entities/advanced_search '{"collectionName": "'${name}_h'", "search": [{"data": [[1, 0]], "annsField": "a", "limit": 2}, {"data": ["AQ=="], "annsField": "b", "limit": 2}], "rerank": {"strategy": "weighted", "params": {"weights": [0.5, 0.5]}}, "limit": 2, "consistencyLevel": "Strong"}'
want 'the same by its earlier name, weighted' 'r["code"] == 0 and len(r["data"]) == 2'
post entities/insert '{"collectionName": "'${name}_h'", "data": [{"tiny": 200, "real": 1, "yes": true, "text": "", "tags": [], "a": [1, 0], "b": "AQ=="}]}'
want 'a number out of range' 'r["code"] == 1804 and "Int8" in r["message"]'
post collections/drop '{"collectionName": "'${name}_h'"}'
want 'drop the third' 'r["code"] == 0'
post collections/create '{"collectionName": "'${name}_x'", "dimension": 4, "metricType": "NONSENSE"}'
want 'create with an unknown metric' 'r["code"] != 0 and r["message"]'

# Users and roles
post users/create '{"userName": "u_'$name'", "password": "secret_1"}'
want 'create user' 'r["code"] == 0'
post roles/create '{"roleName": "r_'$name'"}'
want 'create role' 'r["code"] == 0'
post users/grant_role '{"userName": "u_'$name'", "roleName": "r_'$name'"}'
want 'grant role' 'r["code"] == 0'
post users/describe '{"userName": "u_'$name'"}'
want 'describe user' 'r["data"] == ["r_'$name'"]'
post users/revoke_role '{"userName": "u_'$name'", "roleName": "r_'$name'"}'
want 'revoke role' 'r["code"] == 0'
post users/drop '{"userName": "u_'$name'"}'
want 'drop user' 'r["code"] == 0'
post users/list '{}'
want 'list users' '"root" in r["data"] and "u_'$name'" not in r["data"]'
post roles/drop '{"roleName": "r_'$name'"}'
want 'drop role' 'r["code"] == 0'

# A second server, with authorization on, if there is one.
if [ -n "${SAKER_AUTH:-}" ]; then
  open=$at at=$SAKER_AUTH
  post collections/list '{}'
  want 'nobody' 'r["code"] == 1800 and "authenticated" in r["message"]'
  post collections/list '{}' -H 'Authorization: Bearer root:wrong_password'
  want 'a wrong password' 'r["code"] == 1800'
  post collections/list '{}' -H 'Authorization: Bearer root:Milvus'
  want 'root' 'r["code"] == 0'
  post collections/list '{}' -u root:Milvus
  want 'root, the way of HTTP' 'r["code"] == 0'
  post users/create '{"userName": "u_'$name'", "password": "secret_1"}' -H 'Authorization: Bearer root:Milvus'
  want 'root creates a user' 'r["code"] == 0'
  post collections/create '{"collectionName": "'$name'", "dimension": 4}' -H "Authorization: Bearer u_$name:secret_1"
  want 'the user may not create a collection' 'r["code"] != 0 and "CreateCollection" in r["message"]'
  post users/drop '{"userName": "u_'$name'"}' -H 'Authorization: Bearer root:Milvus'
  want 'root drops the user' 'r["code"] == 0'
  at=$open
fi

post collections/drop '{"collectionName": "'$name'"}'
want 'drop' 'r["code"] == 0'
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
