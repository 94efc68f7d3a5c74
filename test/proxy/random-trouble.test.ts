import { createHash } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { Agent, request } from 'undici';
import { openTestDatabase } from '../helpers/database.js';
import { rootKey, startGateway } from '../helpers/gateway.js';
import { seeded } from '../helpers/random.js';
import { startUpstream, storeConnection } from '../helpers/upstream.js';

t.setTimeout(300_000);
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
const database = await openTestDatabase(t);
await storeConnection({ database });

// .ci/run makes it 10,000.
const calls = Number(process.env['RANDOM_CALLS'] ?? 1_500);
const atOnce = 50;
const fate = ['reset', 'cut', 'hang', '500', '503', '429'] as const;

/** The body that a call for `size` bytes must get. */
function bodyOf(size: number): Buffer {
  return Buffer.alloc(size, `${size}-`);
}

t.test(`${calls} mixed calls while the upstream fails at random: the whole right body or a clear error, and nothing leaks`, { timeout: 280_000 }, async (t) => {
  const random = seeded(7);
  const upstream = await startUpstream(t, (incoming, response) => {
    const size = Number(/size=(\d+)/.exec(incoming.url!)![1]);
    incoming.resume().on('end', () => answer(response, size)).on('error', () => {});
  });
  function answer(response: ServerResponse, size: number): void {
    const kind = random.chance(0.15) ? random.pick(fate) : 'ok';
    const body = bodyOf(size);
    const head = { 'x-pica-passthrough-a': 'b', ...(random.chance(0.5) ? { 'content-length': size } : {}) };
    if (kind === 'hang') return;
    if (kind === 'reset') return void response.destroy();
    if (kind === '500' || kind === '503' || kind === '429') return void response.writeHead(Number(kind), { 'x-pica-passthrough-a': 'b' }).end(`provider ${kind}`);
    response.writeHead(200, head);
    if (kind === 'ok') return void response.end(body);
    response.write(body.subarray(0, size >> 1), () => response.destroy());
  }

  const gateway = await startGateway(t, upstream.url, { PROXY_TIMEOUT_MS: '2000', LOG_LEVEL: 'silent' }, database);
  const agent = new Agent({ connections: atOnce });
  t.teardown(() => agent.destroy());
  const seen = new Map<string, number>();
  const call = async (): Promise<string> => {
    const size = random.pick([1, 300, 16_385, 70_000, 300_000]);
    const upload = random.chance(0.4) ? Buffer.alloc(random.pick([10, 70_000])) : null;
    try {
      const { statusCode, headers, body } = await request(`${gateway.url}/proxy/gmail/x?size=${size}`, {
        dispatcher: agent, method: upload ? 'POST' : 'GET', headers: { 'x-api-key': rootKey, 'x-user-id': 'ada' }, body: upload,
      });
      const bytes = Buffer.from(await body.arrayBuffer());
      if (statusCode === 200) return digest(bytes) === digest(bodyOf(size)) ? 'whole' : 'WRONG BODY';
      if (headers['x-authkit-error'] !== undefined) return String(headers['x-authkit-error']);
      return bytes.toString() === `provider ${statusCode}` ? 'provider' : 'WRONG ERROR';
    } catch {
      return 'broken off';
    }
  };
  const run = async (count: number): Promise<void> => {
    let left = count;
    await Promise.all(Array.from({ length: atOnce }, async () => {
      while (left > 0) {
        left -= 1;
        const result = await call();
        seen.set(result, (seen.get(result) ?? 0) + 1);
      }
    }));
  };

  await run(500);
  const before = await leftovers();
  await run(calls);
  const after = await leftovers();

  t.comment(JSON.stringify(Object.fromEntries(seen)), JSON.stringify({ before, after }));
  t.strictSame([...seen.keys()].filter((result) => !['whole', 'provider', 'broken off', 'upstream_unreachable', 'upstream_timeout', 'upstream_circuit_open'].includes(result)), []);
  t.ok(seen.get('whole')! > calls * 0.7);
  t.equal(after.inFlight, 0);
  t.ok(after.sockets <= before.sockets + atOnce, 'sockets');
  t.ok(after.listeners <= before.listeners, 'listeners');
  t.ok(after.heapMiB <= before.heapMiB + 24, 'memory');

  async function leftovers() {
    // Hanging calls end at their deadline; what is still needed after that is a leak.
    await new Promise((resolve) => setTimeout(resolve, 500));
    for (let i = 0; i < 4; i += 1) {
      collectGarbage();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const sockets = await new Promise<number>((resolve, reject) => upstream.server.getConnections((error, count) => (error ? reject(error) : resolve(count))));
    const inFlight = Number(/^proxy_in_flight (\d+)$/m.exec((await gateway.request('GET', '/metrics')).text)![1]);
    return { sockets, inFlight, listeners: process.listenerCount('exit') + gateway.app.server.listenerCount('request'), heapMiB: process.memoryUsage().heapUsed / 1024 / 1024 };
  }
});

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
