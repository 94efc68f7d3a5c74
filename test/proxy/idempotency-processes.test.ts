import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { openDatabase } from '../../src/persistence/database.js';
import { createPostgresDatabase, postgresUrl } from '../helpers/database.js';
import { type GatewayProcess, startGatewayProcess } from '../helpers/gateway-process.js';
import { startUpstream, storeConnection } from '../helpers/upstream.js';

t.setTimeout(300_000);

type Answers = Awaited<ReturnType<GatewayProcess['request']>>;
const write = (gateway: GatewayProcess, key: string, json: unknown = { a: 1 }, path = 'send'): Promise<Answers> =>
  gateway.request('POST', `/proxy/gmail/${path}`, json, { 'x-user-id': 'ada', 'idempotency-key': key });
const codeOf = ({ status, json }: Answers): [number, string] => [status, json.code];

/** Two gateways on one database; their provider says the number of the call, and when the path says so only once it may. */
async function startTwo(t: Test) {
  const databaseUrl = await createPostgresDatabase(t);
  const calls: string[] = [];
  let answer: () => void = () => {};
  const mayAnswer = new Promise<void>((resolve) => (answer = resolve));
  const upstream = await startUpstream(t, (request, response) => {
    request.on('end', async () => {
      calls.push(request.headers['idempotency-key'] as string);
      const call = calls.length;
      if (request.url!.endsWith('/slow')) await mayAnswer;
      if (request.url!.endsWith('/never')) return;
      response.writeHead(201, { 'x-pica-passthrough-x-call': String(call), 'content-length': String(call).length }).end(String(call));
    });
  });
  const start = () => startGatewayProcess(t, databaseUrl, upstream.url);
  const one = await start();
  const other = await start();
  const database = await openDatabase({ url: databaseUrl, poolSize: 1, dataDir: undefined });
  await storeConnection({ database });
  await database.close();
  return { one, other, start, answer, callsOf: (key: string) => calls.filter((each) => each === key).length };
}

t.test('writes with an Idempotency-Key over two processes', { skip: postgresUrl ? false : 'needs Postgres: set TEST_DATABASE_URL' }, async (t) => {
  const { one, other, start, answer, callsOf } = await startTwo(t);

  await t.test('of many at once on both, one is sent; the others hear that it is running, and its answer when it is there', async (t) => {
    const key = randomUUID();
    const all = Array.from({ length: 20 }, (_, i) => write([one, other][i % 2]!, key, { a: 1 }, 'slow'));
    const refusals: Answers[] = [];
    for (const each of all) void each.then((found) => found.status === 409 && refusals.push(found));
    while (refusals.length < all.length - 1) await wait(20);
    t.ok(refusals.every(({ json, headers }) => json.code === 'idempotency_in_progress' && Number(headers.get('retry-after')) > 0));
    answer();
    const first = (await Promise.all(all)).filter(({ status }) => status !== 409);
    t.match(first, [{ status: 201 }]);
    t.equal(first[0]!.headers.get('idempotency-replayed'), null);
    for (const gateway of [one, other]) {
      const again = await write(gateway, key, { a: 1 }, 'slow');
      t.strictSame([again.status, again.json, again.headers.get('x-call')], [201, first[0]!.json, first[0]!.headers.get('x-call')]);
      t.equal(again.headers.get('idempotency-replayed'), 'true');
    }
    t.equal(callsOf(key), 1);
  });

  await t.test('a hundred keys, each on both at once: each is sent once', async (t) => {
    for (let i = 0; i < 100; i += 1) {
      const key = randomUUID();
      const found = await Promise.all([one, other].map((gateway) => write(gateway, key)));
      t.equal(callsOf(key), 1);
      t.equal(found.filter(({ status, headers }) => status === 201 && headers.get('idempotency-replayed') === null).length, 1);
      t.ok(found.every(({ status, json }) => status === 201 || json.code === 'idempotency_in_progress'));
    }
  });

  await t.test('the same key with another body, or path, on the other process is 422', async (t) => {
    const key = randomUUID();
    t.equal((await write(one, key)).status, 201);
    t.strictSame(codeOf(await write(other, key, { a: 2 })), [422, 'idempotency_key_reused']);
    t.strictSame(codeOf(await write(other, key, { a: 1 }, 'other')), [422, 'idempotency_key_reused']);
    t.equal((await write(other, key)).headers.get('idempotency-replayed'), 'true');
    t.equal(callsOf(key), 1);
  });

  await t.test('a process killed after its answer arrived: the other one replays it', async (t) => {
    const killed = await start();
    const key = randomUUID();
    const first = await write(killed, key);
    await killed.end('SIGKILL');
    const again = await write(other, key);
    t.strictSame([again.status, again.json, again.headers.get('idempotency-replayed')], [first.status, first.json, 'true']);
    t.equal(callsOf(key), 1);
  });

  await t.test('a process killed between send and answer: running until its lease is over, then unknown, and never sent again', async (t) => {
    const killed = await start();
    const key = randomUUID();
    const first = write(killed, key, { a: 1 }, 'never');
    const lost = t.rejects(first);
    while (callsOf(key) === 0) await wait(20);
    await killed.end('SIGKILL');
    await lost;
    let found = await write(other, key, { a: 1 }, 'never');
    t.strictSame(codeOf(found), [409, 'idempotency_in_progress']);
    while (found.json.code === 'idempotency_in_progress') {
      t.ok(Number(found.headers.get('retry-after')) > 0);
      await wait(1_000);
      found = await write(other, key, { a: 1 }, 'never');
    }
    for (const gateway of [one, other]) t.strictSame(codeOf(await write(gateway, key, { a: 1 }, 'never')), [409, 'idempotency_outcome_unknown']);
    t.equal(callsOf(key), 1);
  });
});
