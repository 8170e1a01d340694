package saker;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.milvus.v2.client.ConnectConfig;
import io.milvus.v2.client.MilvusClientV2;
import io.milvus.v2.common.ConsistencyLevel;
import io.milvus.v2.common.DataType;
import io.milvus.v2.common.IndexParam;
import io.milvus.v2.service.collection.request.*;
import io.milvus.v2.service.index.request.*;
import io.milvus.v2.service.partition.request.*;
import io.milvus.v2.service.utility.request.*;
import io.milvus.v2.service.vector.request.*;
import io.milvus.v2.service.vector.request.data.FloatVec;
import io.milvus.v2.service.vector.response.*;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;

/** The everyday story with Milvus's Java SDK (v2 client): Story HOST:PORT [IDLE_SECONDS]. */
public class Story {
  interface Step {
    void run() throws Exception;
  }

  static int passed = 0;
  static int failed = 0;

  static void step(String what, Step step) {
    try {
      step.run();
      passed++;
      System.out.println("ok   " + what);
    } catch (Throwable e) {
      failed++;
      System.out.println("FAIL " + what + ": " + e);
    }
  }

  static void want(boolean ok, Object seen) {
    if (!ok) throw new AssertionError("saw " + seen);
  }

  static JsonObject row(long id, String title) {
    return JsonParser.parseString(
            "{\"id\": " + id + ", \"title\": \"" + title + "\", \"n\": " + id % 10 + ", \"extra\": \"e" + id % 3 + "\", \"v\": [" + id
                + ", 1, 0, 0]}")
        .getAsJsonObject();
  }

  static List<SearchResp.SearchResult> search(MilvusClientV2 client, String name, float x, String filter) {
    SearchResp reply =
        client.search(
            SearchReq.builder()
                .collectionName(name)
                .data(Collections.singletonList(new FloatVec(Arrays.asList(x, 1f, 0f, 0f))))
                .annsField("v")
                .topK(3)
                .filter(filter)
                .outputFields(Arrays.asList("title", "n", "extra"))
                .consistencyLevel(ConsistencyLevel.STRONG)
                .build());
    return reply.getSearchResults().get(0);
  }

  static List<QueryResp.QueryResult> query(MilvusClientV2 client, String name, String filter) {
    return client
        .query(
            QueryReq.builder()
                .collectionName(name)
                .filter(filter)
                .outputFields(Arrays.asList("id", "title", "v"))
                .consistencyLevel(ConsistencyLevel.STRONG)
                .build())
        .getQueryResults();
  }

  public static void main(String[] args) throws Exception {
    String address = args.length > 0 ? args[0] : "127.0.0.1:19530";
    long idle = args.length > 1 ? Long.parseLong(args[1]) : 60;
    String name = "java_" + ProcessHandle.current().pid();
    MilvusClientV2 client = new MilvusClientV2(ConnectConfig.builder().uri("http://" + address).build());
    step("version", () -> want(!client.getServerVersion().isEmpty(), "empty"));
    step("create", () -> {
      CreateCollectionReq.CollectionSchema schema = client.createSchema();
      schema.setEnableDynamicField(true);
      schema.addField(AddFieldReq.builder().fieldName("id").dataType(DataType.Int64).isPrimaryKey(true).autoID(false).build());
      schema.addField(AddFieldReq.builder().fieldName("title").dataType(DataType.VarChar).maxLength(100).build());
      schema.addField(AddFieldReq.builder().fieldName("n").dataType(DataType.Int32).build());
      schema.addField(AddFieldReq.builder().fieldName("v").dataType(DataType.FloatVector).dimension(4).build());
      client.createCollection(
          CreateCollectionReq.builder().collectionName(name).collectionSchema(schema).consistencyLevel(ConsistencyLevel.STRONG).build());
    });
    step("has, list and describe", () -> {
      want(client.hasCollection(HasCollectionReq.builder().collectionName(name).build()), "not there");
      want(!client.hasCollection(HasCollectionReq.builder().collectionName("nothing_here").build()), "there");
      want(client.listCollections().getCollectionNames().contains(name), client.listCollections());
      want(client.describeCollection(DescribeCollectionReq.builder().collectionName(name).build()).getFieldNames().size() == 4, "fields");
    });
    step("insert", () -> {
      List<JsonObject> rows = new ArrayList<>();
      for (long i = 0; i < 100; i++) rows.add(row(i, "title " + i));
      want(client.insert(InsertReq.builder().collectionName(name).data(rows).build()).getInsertCnt() == 100, "insert count");
    });
    step("index", () -> {
      IndexParam index =
          IndexParam.builder()
              .fieldName("v")
              .indexName("v_idx")
              .indexType(IndexParam.IndexType.HNSW)
              .metricType(IndexParam.MetricType.L2)
              .extraParams(Map.of("M", 8, "efConstruction", 64))
              .build();
      client.createIndex(CreateIndexReq.builder().collectionName(name).indexParams(Collections.singletonList(index)).build());
      want(client.listIndexes(ListIndexesReq.builder().collectionName(name).build()).contains("v_idx"), "indexes");
      client.describeIndex(DescribeIndexReq.builder().collectionName(name).indexName("v_idx").build());
    });
    step("load", () -> {
      client.loadCollection(LoadCollectionReq.builder().collectionName(name).build());
      want(client.getLoadState(GetLoadStateReq.builder().collectionName(name).build()), "not loaded");
    });
    step("search", () -> {
      List<SearchResp.SearchResult> hits = search(client, name, 42, "");
      want(hits.size() == 3 && hits.get(0).getId().equals(42L), hits);
      want(hits.get(0).getEntity().get("title").equals("title 42"), hits);
    });
    step("search with a filter", () -> {
      List<SearchResp.SearchResult> hits = search(client, name, 42, "n == 3 and extra == \"e1\"");
      want(hits.size() == 3 && hits.get(0).getId().equals(43L), hits);
    });
    step("query", () -> want(query(client, name, "id in [1, 2, 3]").size() == 3, "rows"));
    step("get", () -> want(
        client.get(GetReq.builder().collectionName(name).ids(Arrays.asList(7L, 8L)).build()).getGetResults().size() == 2, "rows"));
    step("upsert", () -> {
      client.upsert(UpsertReq.builder().collectionName(name).data(Collections.singletonList(row(5, "changed"))).build());
      want(query(client, name, "title == \"changed\"").size() == 1, "rows");
    });
    step("delete", () -> {
      client.delete(DeleteReq.builder().collectionName(name).filter("id in [1, 2]").build());
      want(query(client, name, "id < 4").size() == 2, "rows");
    });
    step("flush", () -> client.flush(FlushReq.builder().collectionNames(Collections.singletonList(name)).build()));
    step("partition and alias", () -> {
      client.createPartition(CreatePartitionReq.builder().collectionName(name).partitionName("p").build());
      want(client.listPartitions(ListPartitionsReq.builder().collectionName(name).build()).contains("p"), "partitions");
      client.createAlias(CreateAliasReq.builder().collectionName(name).alias(name + "_a").build());
      client.dropAlias(DropAliasReq.builder().alias(name + "_a").build());
    });
    step("idle for " + idle + " s, then search", () -> {
      Thread.sleep(idle * 1000);
      want(search(client, name, 60, "").get(0).getId().equals(60L), "hits");
    });
    step("error after release", () -> {
      client.releaseCollection(ReleaseCollectionReq.builder().collectionName(name).build());
      try {
        search(client, name, 1, "");
      } catch (Exception e) {
        want(e.getMessage().contains("not loaded"), e.getMessage());
        return;
      }
      throw new AssertionError("searched what is not loaded");
    });
    step("drop", () -> {
      client.dropCollection(DropCollectionReq.builder().collectionName(name).build());
      want(!client.hasCollection(HasCollectionReq.builder().collectionName(name).build()), "still there");
    });
    client.close();
    System.out.println(passed + " passed, " + failed + " failed");
    System.exit(failed > 0 ? 1 : 0);
  }
}
