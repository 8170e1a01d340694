// The everyday story with Milvus's Node SDK: node story.mjs HOST:PORT [IDLE_SECONDS]
import assert from 'node:assert/strict';
import {MilvusClient, DataType} from '@zilliz/milvus2-sdk-node';

const [address = '127.0.0.1:19530', idle = '60'] = process.argv.slice(2);
const name = `node_${process.pid}`;
let passed = 0, failed = 0, dead = false;

async function step(what, run) {
  if (dead) return;
  try {
    await run();
    passed++;
    console.log(`ok   ${what}`);
  } catch (e) {
    failed++;
    dead = what === 'connect';
    console.log(`FAIL ${what}: ${e.stack?.split('\n').slice(0, 4).join(' | ')}`);
  }
}
const good = (reply) => {
  const status = reply.status ?? reply;
  assert.equal(status.error_code, 'Success', status.reason);
  return reply;
};

const client = new MilvusClient({address});
const rows = (from, n) => Array.from({length: n}, (_, i) => ({
  id: from + i, title: `title ${from + i}`, n: (from + i) % 10, j: {k: from + i}, v: [from + i, 1, 0, 0], extra: `e${i % 3}`,
}));

await step('connect', async () => {
  await client.connectPromise;
  const version = await client.getVersion();
  assert.ok(version.version);
});
await step('health', async () => assert.equal((await client.checkHealth()).isHealthy, true));
await step('create', async () => good(await client.createCollection({
  collection_name: name,
  enable_dynamic_field: true,
  consistency_level: 'Strong',
  fields: [
    {name: 'id', data_type: DataType.Int64, is_primary_key: true},
    {name: 'title', data_type: DataType.VarChar, max_length: 100},
    {name: 'n', data_type: DataType.Int32},
    {name: 'j', data_type: DataType.JSON},
    {name: 'v', data_type: DataType.FloatVector, dim: 4},
  ],
})));
await step('has and describe', async () => {
  assert.equal((await client.hasCollection({collection_name: name})).value, true);
  assert.equal((await client.hasCollection({collection_name: 'nothing_here'})).value, false);
  const d = good(await client.describeCollection({collection_name: name}));
  assert.deepEqual(d.schema.fields.map((f) => f.name), ['id', 'title', 'n', 'j', 'v']);
});
await step('insert', async () => {
  const r = good(await client.insert({collection_name: name, data: rows(0, 100)}));
  assert.equal(Number(r.insert_cnt), 100);
});
await step('index', async () => {
  good(await client.createIndex({
    collection_name: name, field_name: 'v', index_name: 'v_idx', index_type: 'HNSW', metric_type: 'L2', params: {M: 8, efConstruction: 64},
  }));
  const d = good(await client.describeIndex({collection_name: name}));
  assert.equal(d.index_descriptions[0].index_name, 'v_idx');
});
await step('load', async () => {
  good(await client.loadCollectionSync({collection_name: name}));
  assert.equal((await client.getLoadState({collection_name: name})).state, 'LoadStateLoaded');
});
const search = async (x) => good(await client.search({
  collection_name: name, data: [x, 1, 0, 0], limit: 3, output_fields: ['id', 'title', 'j', 'extra'], consistency_level: 'Strong',
})).results;
await step('search', async () => {
  const hits = await search(42);
  assert.equal(String(hits[0].id), '42');
  assert.equal(hits[0].title, 'title 42');
  assert.equal(hits[0].j.k, 42);
  assert.equal(hits[0].extra, 'e0');
});
await step('search with a filter', async () => {
  const r = good(await client.search({collection_name: name, data: [42, 1, 0, 0], limit: 5, filter: 'n == 3', output_fields: ['n']}));
  assert.equal(r.results.length, 5);
  assert.ok(r.results.every((h) => Number(h.n) === 3));
});
await step('query', async () => {
  const r = good(await client.query({collection_name: name, filter: 'id in [1, 2, 3]', output_fields: ['title', 'v'], consistency_level: 'Strong'}));
  assert.equal(r.data.length, 3);
  assert.deepEqual([...r.data.find((x) => String(x.id) === '2').v].map(Number), [2, 1, 0, 0]);
});
await step('count', async () => assert.equal(Number((await client.count({collection_name: name})).data), 100));
await step('get', async () => assert.equal((await client.get({collection_name: name, ids: [7, 8], output_fields: ['title']})).data.length, 2));
await step('upsert', async () => {
  good(await client.upsert({collection_name: name, data: [{...rows(5, 1)[0], title: 'changed'}]}));
  const r = await client.query({collection_name: name, filter: 'id == 5', output_fields: ['title'], consistency_level: 'Strong'});
  assert.equal(r.data[0].title, 'changed');
});
await step('delete', async () => {
  good(await client.delete({collection_name: name, filter: 'id in [1, 2]'}));
  const r = await client.query({collection_name: name, filter: 'id < 4', output_fields: ['id'], consistency_level: 'Strong'});
  assert.equal(r.data.length, 2);
});
await step('flush and statistics', async () => {
  good(await client.flushSync({collection_names: [name]}));
  assert.ok(Number(good(await client.getCollectionStatistics({collection_name: name})).data.row_count) >= 98);
});
await step('partition and alias', async () => {
  good(await client.createPartition({collection_name: name, partition_name: 'p'}));
  good(await client.insert({collection_name: name, partition_name: 'p', data: rows(500, 5)}));
  good(await client.createAlias({collection_name: name, alias: `${name}_a`}));
  good(await client.describeCollection({collection_name: `${name}_a`}));
  good(await client.dropAlias({alias: `${name}_a`}));
});
await step(`idle for ${idle} s, then search`, async () => {
  await new Promise((done) => setTimeout(done, Number(idle) * 1000));
  assert.equal(String((await search(60))[0].id), '60');
});
await step('error 101 after release', async () => {
  good(await client.releaseCollection({collection_name: name}));
  const r = await client.search({collection_name: name, data: [1, 1, 0, 0], limit: 1}).catch((e) => ({status: {error_code: 'x', reason: String(e)}}));
  assert.notEqual(r.status.error_code, 'Success');
  assert.match(r.status.reason, /not loaded/);
});
await step('drop', async () => {
  good(await client.dropCollection({collection_name: name}));
  assert.equal((await client.hasCollection({collection_name: name})).value, false);
});
await client.closeConnection();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
