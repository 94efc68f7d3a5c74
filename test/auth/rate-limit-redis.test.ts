import { hash, randomBytes } from 'node:crypto';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { Redis } from 'ioredis';
import t, { type Test } from 'tap';
import { createLogger, secretsOfUrl } from '../../src/observability/logger.js';
import { openTestDatabase } from '../helpers/database.js';
import { startForwarder } from '../helpers/forwarder.js';
import { type Gateway, startGateway } from '../helpers/gateway.js';
import { startGatewayProcess } from '../helpers/gateway-process.js';
import { redisUrl, withoutRedis } from '../helpers/redis.js';
import { startOkUpstream, storeConnection } from '../helpers/upstream.js';

t.setTimeout(300_000);
const database = await openTestDatabase(t);
const away = /Redis does not answer/;
const back = /Redis answers again/;

/** A part of Redis of the test's own: the client puts the prefix before each of its keys. */
function part(url: string): { url: string; prefix: string } {
  const prefix = `authkit-test-${randomBytes(8).toString('hex')}:`;
  return { url: `${url}?keyPrefix=${prefix}`, prefix };
}
const start = (t: Test, url: string, perMinute = 4, upstream = 'http://127.0.0.1:9') =>
  startGateway(t, upstream, { RATE_LIMIT_PER_MINUTE: String(perMinute), REDIS_URL: url }, database);
const list = (gateway: Gateway, key: string, headers: Record<string, string> = {}) => gateway.request('GET', '/connections', { key, headers });
const remaining = async (...call: Parameters<typeof list>) => (await list(...call)).headers.get('ratelimit-remaining');
const logged = (gateway: Gateway, what: RegExp) => gateway.log.lines.filter((line) => what.test(line)).length;
async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!await holds()) await new Promise((resolve) => setTimeout(resolve, 50));
}

t.test('on a Redis that works', { skip: withoutRedis }, async (t) => {
  t.test('two gateways count together: a key and an identity, wherever they come from', async (t) => {
    const { url } = part(redisUrl!);
    const [one, other] = [await start(t, url), await start(t, url)];
    const [key, second] = [await one.createKey(['connections:read']), await one.createKey(['connections:read'])];
    const identity = { 'x-user-id': randomBytes(8).toString('hex') };
    for (const [i, left] of ['3', '2', '1', '0'].entries()) {
      const answer = await list([one, other][i % 2]!, key, { ...identity, 'x-forwarded-for': `203.0.113.${i}` });
      t.match([answer.status, answer.headers.get('ratelimit-limit'), answer.headers.get('ratelimit-remaining')], [200, '4', left]);
      const reset = Number(answer.headers.get('ratelimit-reset'));
      t.ok(reset > 0 && reset <= 60);
    }
    for (const gateway of [one, other]) {
      const refused = await list(gateway, key);
      t.match([refused.status, refused.headers.get('content-type'), refused.headers.get('x-authkit-error'), refused.json.code], [429, /problem\+json/, 'rate_limited', 'rate_limited']);
      t.equal(refused.headers.get('ratelimit-remaining'), '0');
      t.equal(refused.headers.get('retry-after'), refused.headers.get('ratelimit-reset'));
      t.equal((await list(gateway, second, identity)).status, 429, 'the identity is used up with any key');
    }
    t.equal(await remaining(one, second), '1', 'another key from the same address has its own count: two calls for the identity, and this one');
  });

  t.test('answers of the proxy carry the counts, and are refused', async (t) => {
    const upstream = await startOkUpstream(t);
    const gateway = await start(t, part(redisUrl!).url, 2, upstream.url);
    await storeConnection(gateway, 'gmail', 'ada');
    const key = await gateway.createKey(['proxy']);
    const call = () => gateway.request('GET', '/proxy/gmail/x', { key, headers: { 'x-user-id': 'ada' } });
    for (const left of ['1', '0']) t.match([(await call()).headers.get('ratelimit-remaining')], [left]);
    t.match(await call(), { status: 429, json: { code: 'rate_limited' } });
    t.equal(upstream.received.length, 2);
  });

  t.test('what Redis holds names nobody, and is gone after a minute', async (t) => {
    const redis = new Redis(redisUrl!);
    t.teardown(() => redis.disconnect());
    const { url, prefix } = part(redisUrl!);
    const gateway = await start(t, url);
    const { json } = await gateway.request('POST', '/api-keys', { json: { name: 'x', scopes: ['connections:read'] } });
    await list(gateway, json.key, { 'x-user-id': 'ada' });
    const held = await redis.keys(`${prefix}*`);
    t.equal(held.length, 3, 'two keys and an identity');
    for (const name of held) {
      t.match(name, /-[0-9a-f]{64}$/);
      const life = await redis.pttl(name);
      t.ok(life > 0 && life <= 60_000, `${life} ms`);
    }
    t.equal(held.filter((name) => name.endsWith(hash('sha256', `key:${json.id}`)) || name.endsWith(hash('sha256', 'identity:user:ada'))).length, 2);
    t.equal(await remaining(gateway, json.key, { 'x-user-id': 'ada' }), '2');
    for (const name of held) await redis.pexpire(name, 1);
    await until(async () => (await redis.exists(...held)) === 0);
    t.equal(await remaining(gateway, json.key, { 'x-user-id': 'ada' }), '3');
  });

  t.test('Redis goes away and comes back: not limited meanwhile, one line each way, and the counts go on', async (t) => {
    const { url } = part(redisUrl!);
    const way = await startForwarder(t, url);
    const gateway = await start(t, way.url, 3);
    const key = await gateway.createKey(['connections:read']);
    for (const left of ['2', '1']) t.equal(await remaining(gateway, key), left);
    await way.cut();
    for (let i = 0; i < 10; i += 1) t.match([(await list(gateway, key)).status, await remaining(gateway, key)], [200, null]);
    await new Promise((resolve) => setTimeout(resolve, 500));
    t.match([logged(gateway, away), logged(gateway, back)], [1, 0], 'while it tried to connect several times');
    await way.restore();
    await until(async () => await remaining(gateway, key) !== null);
    t.equal((await list(gateway, key)).status, 429, 'two before, and two since');
    t.match([logged(gateway, away), logged(gateway, back)], [1, 1]);
  });

  t.test('Redis stops answering with its connections open: requests wait for it once, and then no more', async (t) => {
    const way = await startForwarder(t, part(redisUrl!).url);
    const gateway = await start(t, way.url, 100);
    const key = await gateway.createKey(['connections:read']);
    t.equal(await remaining(gateway, key), '99');
    way.stall();
    const first = await Promise.all(Array.from({ length: 20 }, () => list(gateway, key)));
    t.ok(first.every(({ status, headers }) => status === 200 && headers.get('ratelimit-limit') === null));
    const started = performance.now();
    for (let i = 0; i < 10; i += 1) t.equal((await list(gateway, key)).status, 200);
    t.ok(performance.now() - started < 5_000, 'ten that each waited a second would take ten');
    t.equal(logged(gateway, away), 1);
    await way.restore();
    await until(async () => await remaining(gateway, key) !== null);
    t.equal(logged(gateway, back), 1);
  });

  t.test('a connection that the server ends is made again', async (t) => {
    const redis = new Redis(redisUrl!);
    t.teardown(() => redis.disconnect());
    const name = randomBytes(8).toString('hex');
    const gateway = await start(t, `${part(redisUrl!).url}&connectionName=${name}`);
    const key = await gateway.createKey(['connections:read']);
    t.equal(await remaining(gateway, key), '3');
    const id = new RegExp(`id=(\\d+) .*name=${name} `).exec(await redis.client('LIST') as string)![1]!;
    await redis.client('KILL', 'ID', id);
    await until(async () => await remaining(gateway, key) !== null);
    t.equal((await list(gateway, key)).status, 200);
  });

  t.test('Redis is away at the start, and comes later', async (t) => {
    const way = await startForwarder(t, part(redisUrl!).url);
    await way.cut();
    const gateway = await start(t, way.url);
    const key = await gateway.createKey(['connections:read']);
    for (let i = 0; i < 6; i += 1) t.match([(await list(gateway, key)).status, await remaining(gateway, key)], [200, null]);
    t.equal(logged(gateway, away), 1);
    await way.restore();
    await until(async () => await remaining(gateway, key) !== null);
    t.equal(logged(gateway, back), 1);
  });
});

/** Says the same to every command. */
async function startFakeRedis(t: Test, reply: string): Promise<string> {
  const server = createServer((socket) => {
    // A command is an array: its start is a `*` at the beginning of a line.
    socket.on('data', (data) => void socket.write(reply.repeat(data.toString().match(/^\*\d/gm)?.length ?? 0))).on('error', () => {});
    t.teardown(() => void socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

t.test('a Redis that refuses what it is told: not limited, and one line', async (t) => {
  for (const reply of ['-NOAUTH Authentication required.\r\n', '-READONLY You can\'t write against a read only replica.\r\n', '-LOADING Redis is loading\r\n', 'nonsense\r\n']) {
    const gateway = await start(t, `redis://${await startFakeRedis(t, reply)}`);
    const key = await gateway.createKey(['connections:read']);
    for (let i = 0; i < 6; i += 1) t.match([(await list(gateway, key)).status, await remaining(gateway, key)], [200, null], reply);
    t.equal(logged(gateway, away), 1, reply);
  }
});

t.test('the password of REDIS_URL is never printed', async (t) => {
  const password = `hunter2/${randomBytes(8).toString('hex')}`;
  const written = encodeURIComponent(password);
  const fake = await startFakeRedis(t, '-WRONGPASS invalid username-password pair or user is disabled.\r\n');
  const environment = { DATABASE_URL: '', DATA_DIR: t.testdir(), RATE_LIMIT_PER_MINUTE: '5', LOG_LEVEL: 'trace' };
  const gateway = await startGatewayProcess(t, '', 'http://127.0.0.1:9', { ...environment, REDIS_URL: `redis://user:${written}@${fake}/1` });
  t.equal((await gateway.request('GET', '/connections')).status, 200);
  await gateway.end('SIGTERM');
  const printed = gateway.log.join('\n');
  t.match(printed, away);
  t.match(printed, /WRONGPASS/);
  t.notMatch(printed, /hunter2/);

  const lines: string[] = [];
  const url = `redis://user:${written}@redis.example.com`;
  createLogger('info', secretsOfUrl(url), { write: (line) => void lines.push(line) }).error({ err: new Error(`${url} ${written} ${password}`) });
  t.match(lines[0], /"message":"\[secret\] \[secret\] \[secret\]"/);
  t.notMatch(lines[0], /hunter2/);
});
