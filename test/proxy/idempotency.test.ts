import type { IncomingMessage, ServerResponse } from 'node:http';
import t, { type Test } from 'tap';
import { openDatabase } from '../../src/persistence/database.js';
import { applyMigrations } from '../../src/persistence/migrate.js';
import { createPostgresDatabase, openTestDatabase, postgresUrl } from '../helpers/database.js';
import { type Gateway, rootKey, startGateway } from '../helpers/gateway.js';
import { open } from '../helpers/raw-http.js';
import { startUpstream, storeConnection } from '../helpers/upstream.js';

// A machine busy with other tests takes its time.
t.setTimeout(300_000);
const database = await openTestDatabase(t);
await storeConnection({ database });
await storeConnection({ database }, 'gmail', 'bob');

type Answer = (response: ServerResponse, call: number, request: IncomingMessage) => void;

async function start(t: Test, answer: Answer) {
  let calls = 0;
  const upstream = await startUpstream(t, (request, response) => {
    calls += 1;
    const call = calls;
    request.on('end', () => answer(response, call, request));
  });
  return { url: upstream.url, gateway: await startGateway(t, upstream.url, {}, database), calls: () => calls };
}
const write = (gateway: Gateway, key: string, change: { method?: string; path?: string; json?: unknown; identity?: string; body?: string } = {}) =>
  gateway.request(change.method ?? 'POST', change.path ?? '/proxy/gmail/send', {
    headers: { 'x-user-id': change.identity ?? 'ada', 'idempotency-key': key }, ...(change.body === undefined ? { json: change.json ?? { a: 1 } } : { body: change.body }),
  });
const counted: Answer = (response, call) => void response.writeHead(201, { 'x-pica-passthrough-x-call': String(call), 'content-length': 6 }).end(`call ${call}`);

t.test('the first answer is kept and replayed, for POST and PATCH, per identity', async (t) => {
  const { gateway, calls } = await start(t, counted);
  for (const method of ['POST', 'PATCH']) {
    const first = await write(gateway, `k ${method}`, { method });
    const again = await write(gateway, `k ${method}`, { method });
    t.match(first, { status: 201 });
    t.equal(first.headers.get('idempotency-replayed'), null);
    t.match(again, { status: 201, text: first.text });
    t.equal(again.headers.get('idempotency-replayed'), 'true');
    t.equal(again.headers.get('x-call'), first.headers.get('x-call'));
    t.not(again.headers.get('x-request-id'), first.headers.get('x-request-id'));
  }
  t.equal(calls(), 2);
  t.equal((await write(gateway, 'k POST', { identity: 'bob' })).text, 'call 3');
  t.equal((await write(gateway, 'put', { method: 'PUT' })).text, 'call 4');
  t.equal((await write(gateway, 'put', { method: 'PUT' })).text, 'call 5', 'other methods are not kept');
});

t.test('the same key with another request is 422; a malformed key 400', async (t) => {
  const { gateway, calls } = await start(t, counted);
  await write(gateway, 'same');
  for (const change of [{ json: { a: 2 } }, { path: '/proxy/gmail/send?x' }, { path: '/proxy/gmail/other' }, { method: 'PATCH' }]) {
    t.match(await write(gateway, 'same', change), { status: 422, json: { code: 'idempotency_key_reused' } });
  }
  t.match(await write(gateway, 'x'.repeat(256)), { status: 400, json: { code: 'invalid_request' } });
  t.equal(calls(), 1);
});

t.test('other headers for the provider are another request, in whatever order and spelling they come', async (t) => {
  const { gateway, calls } = await start(t, counted);
  const send = (headers: Record<string, string>) => gateway.request('POST', '/proxy/gmail/send', { headers: { 'x-user-id': 'ada', 'idempotency-key': 'account', ...headers }, json: {} });
  const first = { 'x-upstream-account': 'one', 'x-upstream-authorization': 'Bearer one' };
  t.match(await send(first), { status: 201, text: 'call 1' });
  t.equal((await send({ 'X-Upstream-Authorization': 'Bearer one', 'X-Upstream-Account': 'one' })).headers.get('idempotency-replayed'), 'true');
  for (const headers of [{}, { 'x-upstream-account': 'one' }, { ...first, 'x-upstream-account': 'two' }, { ...first, 'x-upstream-more': '' }] as Record<string, string>[]) {
    t.match(await send(headers), { status: 422, json: { code: 'idempotency_key_reused' } }, JSON.stringify(headers));
  }
  t.equal(calls(), 1);
});

t.test('another content type or another action of the caller\'s is another request', async (t) => {
  const upstream = await startUpstream(t, (_request, response) => counted(response, 1, undefined as never), (request, response) => {
    const rows = ['A', 'B'].map((id) => ({ _id: id, title: id, method: 'POST', path: `/${id}`, connectionPlatform: 'gmail' }));
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ rows: request.url!.startsWith('/v1/knowledge') ? rows : [], pages: 1 }));
  });
  const gateway = await startGateway(t, upstream.url, {}, database);
  const send = (action: string, type: string) => gateway.request('POST', '/proxy/gmail/q', {
    headers: { 'x-user-id': 'ada', 'idempotency-key': 'kind', 'x-pica-action-id': action, 'content-type': type }, body: '1',
  });
  t.equal((await send('A', 'application/json')).status, 201);
  for (const [action, type] of [['B', 'application/json'], ['A', 'text/xml']] as const) {
    t.match(await send(action, type), { status: 422, json: { code: 'idempotency_key_reused' } });
  }
  t.equal((await send('A', 'application/json')).headers.get('idempotency-replayed'), 'true');
});

t.test('a repeat is known whatever has become of the catalogue meanwhile', async (t) => {
  let known = false;
  const upstream = await startUpstream(t, (_request, response) => counted(response, 1, undefined as never), (request, response) => {
    if (!known) return void response.writeHead(500).end();
    const rows = [{ _id: 'send', title: 'Send', method: 'POST', path: '/v1/send', connectionPlatform: 'gmail' }];
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ rows: request.url!.startsWith('/v1/knowledge') ? rows : [], pages: 1 }));
  });
  const first = await startGateway(t, upstream.url, {}, database);
  t.equal((await write(first, 'catalogue')).status, 201);
  known = true;
  t.equal((await write(await startGateway(t, upstream.url, {}, database), 'catalogue')).headers.get('idempotency-replayed'), 'true');
});

t.test('an answer from before the end of the body is not given to what may be another body', async (t) => {
  const upstream = await startUpstream(t, (_request, response) => void response.writeHead(413, { 'x-pica-passthrough-a': 'b', 'content-length': 5 }).end('early'));
  const gateway = await startGateway(t, upstream.url, {}, database);
  const send = async (letter: string) => {
    const socket = open(gateway.url);
    const answered = new Promise<string>((resolve) => {
      let text = '';
      socket.on('data', (chunk: Buffer) => {
        text += chunk.toString('latin1');
        if (text.includes('early') || text.includes('idempotency_answer_not_kept')) resolve(text);
      });
    });
    socket.write(`POST /proxy/gmail/early HTTP/1.1\r\nhost: x\r\nx-api-key: ${rootKey}\r\nx-user-id: ada\r\nidempotency-key: early\r\ncontent-length: 100000\r\n\r\n${letter}`);
    const text = await answered;
    socket.destroy();
    return text;
  };
  t.match(await send('a'), /^HTTP\/1\.1 413 /);
  t.match(await send('b'), /^HTTP\/1\.1 409 [^]*answered 413, before all of its body/);
});

t.test('a replay carries our own headers too, and the provider\'s of those names under x-upstream-', async (t) => {
  const { gateway } = await start(t, (response) => void response.writeHead(201, { 'x-pica-passthrough-x-request-id': 'theirs', 'content-length': 2 }).end('ok'));
  const limited = await startGateway(t, gateway.config.baseUrl, { RATE_LIMIT_PER_MINUTE: '100' }, database);
  await write(limited, 'own headers');
  const { headers } = await write(limited, 'own headers');
  t.match([headers.get('idempotency-replayed'), headers.get('x-upstream-x-request-id'), headers.get('x-authkit-attempts'), headers.get('ratelimit-remaining')], ['true', 'theirs', '0', '98']);
  t.match(headers.get('x-request-id'), /^[\da-f-]{36}$/);
  t.match(headers.get('server-timing'), /^auth;dur=[\d.]+, lookup;dur=[\d.]+, upstream;dur=0\.00$/);
});

t.test('a streamed body is known by its digest too', async (t) => {
  const { gateway, calls } = await start(t, counted);
  const body = 'x'.repeat(200_000);
  t.equal((await write(gateway, 'stream', { body })).status, 201);
  t.equal((await write(gateway, 'stream', { body })).headers.get('idempotency-replayed'), 'true');
  t.match(await write(gateway, 'stream', { body: body.replace(/x$/, 'y') }), { status: 422 });
  t.equal(calls(), 1);
});

t.test('409 while the first is running', async (t) => {
  let finish: () => void = () => {};
  const { gateway, calls } = await start(t, (response) => (finish = () => counted(response, 1, undefined as never)));
  const first = write(gateway, 'slow');
  while (calls() === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const second = await write(gateway, 'slow');
  t.match([second.status, second.json.code, second.headers.get('retry-after')], [409, 'idempotency_in_progress', '1']);
  t.match(await write(gateway, 'slow', { path: '/proxy/gmail/other' }), { status: 422 });
  finish();
  t.equal((await first).status, 201);
  t.equal((await write(gateway, 'slow')).headers.get('idempotency-replayed'), 'true');
});

t.test('what may have been done is unknown, and never sent again; what was certainly not done may be', async (t) => {
  const { gateway, calls } = await start(t, (response, call, request) => {
    if (request.url!.endsWith('/reset')) return void response.destroy();
    if (request.url!.endsWith('/cut')) {
      response.writeHead(200, { 'x-pica-passthrough-a': 'b', 'content-length': 10 });
      return void response.write('half', () => setTimeout(() => response.destroy(), 500));
    }
    if (request.url!.endsWith('/limited') && call === 3) return void response.writeHead(429).end();
    if (request.url!.endsWith('/500')) return void response.writeHead(500, { 'x-pica-passthrough-a': 'b' }).end('provider');
    counted(response, call, request);
  });
  t.equal((await write(gateway, 'r', { path: '/proxy/gmail/reset' })).status, 502);
  t.match(await write(gateway, 'r', { path: '/proxy/gmail/reset' }), { status: 409, json: { code: 'idempotency_outcome_unknown' } });
  await t.rejects(write(gateway, 'c', { path: '/proxy/gmail/cut' }));
  t.match(await write(gateway, 'c', { path: '/proxy/gmail/cut' }), { status: 409, json: { code: 'idempotency_outcome_unknown' } });
  t.equal(calls(), 2);
  t.match(await write(gateway, 'l', { path: '/proxy/gmail/limited' }), { status: 429 });
  t.match(await write(gateway, 'l', { path: '/proxy/gmail/limited' }), { status: 201 });
  t.match(await write(gateway, '5', { path: '/proxy/gmail/500' }), { status: 500, text: 'provider' });
  t.equal((await write(gateway, '5', { path: '/proxy/gmail/500' })).headers.get('idempotency-replayed'), 'true');
  t.equal(calls(), 5);
});

t.test('a caller that went away leaves an unknown outcome, a crashed replica too once its lease is over', async (t) => {
  const { gateway, calls } = await start(t, () => {});
  const socket = open(gateway.url);
  socket.write(`POST /proxy/gmail/send HTTP/1.1\r\nhost: x\r\nx-api-key: ${rootKey}\r\nx-user-id: ada\r\nidempotency-key: gone\r\ncontent-length: 7\r\ncontent-type: application/json\r\n\r\n{"a":1}`);
  while (calls() === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  socket.destroy();
  let answer = await write(gateway, 'gone');
  for (let i = 0; i < 50 && answer.json.code === 'idempotency_in_progress'; i += 1) answer = await write(gateway, 'gone');
  t.match(answer, { status: 409, json: { code: 'idempotency_outcome_unknown' } });

  await database.prisma.idempotencyKey.updateMany({ where: { key: 'gone' }, data: { state: 'running', leaseUntil: new Date(Date.now() + 60_000) } });
  t.match(await write(gateway, 'gone'), { json: { code: 'idempotency_in_progress' } });
  await database.prisma.idempotencyKey.updateMany({ where: { key: 'gone' }, data: { leaseUntil: new Date(Date.now() - 1_000) } });
  t.match(await write(gateway, 'gone'), { json: { code: 'idempotency_outcome_unknown' } });
  t.equal(calls(), 1);
});

t.test('an answer over 1 MiB passes, and says later that it was not kept; after 24 hours the key is free', async (t) => {
  const { gateway, calls } = await start(t, (response) => void response.writeHead(200, { 'x-pica-passthrough-a': 'b' }).end(Buffer.alloc(1024 * 1024 + 1)));
  t.equal((await write(gateway, 'big')).text.length, 1024 * 1024 + 1);
  t.match(await write(gateway, 'big'), { status: 409, json: { code: 'idempotency_answer_not_kept' } });
  await database.prisma.idempotencyKey.updateMany({ where: { key: 'big' }, data: { expiresAt: new Date(Date.now() - 1_000) } });
  t.equal((await write(gateway, 'big')).status, 200);
  t.equal(calls(), 2);
});

t.test('of many at once, over two replicas, one is sent', { skip: !postgresUrl && 'needs TEST_DATABASE_URL' }, async (t) => {
  let calls = 0;
  const upstream = await startUpstream(t, (request, response) => {
    request.on('end', () => setTimeout(() => counted(response, (calls += 1), request), 50));
  });
  const url = await createPostgresDatabase(t);
  const databases = await Promise.all([1, 2].map(() => openDatabase({ url, poolSize: 5, dataDir: undefined })));
  await applyMigrations(databases[0]!);
  const gateways = await Promise.all(databases.map((each) => startGateway(t, upstream.url, {}, each)));
  t.teardown(() => Promise.all(databases.map((each) => each.close())));
  await storeConnection(gateways[0]!);
  const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => write(gateways[i % 2]!, 'race')));
  t.equal(calls, 1);
  t.equal(answers.filter(({ status, headers }) => status === 201 && headers.get('idempotency-replayed') === null).length, 1);
  t.ok(answers.every(({ status, json }) => status === 201 || json.code === 'idempotency_in_progress'));
  for (const gateway of gateways) t.equal((await write(gateway, 'race')).headers.get('idempotency-replayed'), 'true');
});
