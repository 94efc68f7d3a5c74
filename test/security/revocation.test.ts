import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import t from 'tap';
import { createOpenStreams } from '../../src/auth/open-streams.js';
import { type Principal, rootPrincipal } from '../../src/auth/principal.js';
import { Problem } from '../../src/errors.js';
import { createPostgresDatabase, postgresUrl } from '../helpers/database.js';
import { type Gateway, rootKey, startGateway } from '../helpers/gateway.js';
import { startGatewayProcess } from '../helpers/gateway-process.js';
import { open } from '../helpers/raw-http.js';
import { recordings } from '../helpers/sandbox.js';
import { startUpstream, storeConnection } from '../helpers/upstream.js';
import { asBearer, claimOf, openSession, startBoth } from '../helpers/trust.js';

t.setTimeout(300_000);

/** Milliseconds until `stopped` holds; fails the test by time-out when it never does. */
async function until(stopped: () => Promise<boolean>): Promise<number> {
  const started = performance.now();
  while (!await stopped()) await new Promise((resolve) => setTimeout(resolve, 20));
  return performance.now() - started;
}

t.test('using a key on one replica after it was revoked on another', { skip: postgresUrl ? false : 'needs Postgres: set TEST_DATABASE_URL' }, async (t) => {
  const url = await createPostgresDatabase(t);
  const first = await startGatewayProcess(t, url, 'http://127.0.0.1:9');
  const second = await startGatewayProcess(t, url, 'http://127.0.0.1:9');
  const make = async () => (await first.request('POST', '/api-keys', { name: 'x', scopes: ['connections:read'] })).json as { id: string; key: string };
  const works = async (key: string) => (await second.request('GET', '/connections', undefined, { 'x-api-key': key })).status === 200;

  await t.test('revoked: within a second', async (t) => {
    const { id, key } = await make();
    for (let call = 0; call < 5; call += 1) t.ok(await works(key));
    t.equal((await first.request('DELETE', `/api-keys/${id}`)).status, 204);
    t.ok(await until(async () => !await works(key)) < 1_000);
  });

  await t.test('rotated without an overlap: within a second', async (t) => {
    const { id, key } = await make();
    t.ok(await works(key));
    const { json: next } = await first.request('POST', `/api-keys/${id}/rotate`, { overlapSeconds: 0 });
    t.ok(await until(async () => !await works(key)) < 1_000);
    t.ok(await works(next.key));
  });

  await t.test('revoked, and the notification lost: when the cache\'s own limit of five seconds is over', async (t) => {
    const { id, key } = await make();
    t.ok(await works(key));
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await client.query('UPDATE api_keys SET revoked_at = now() WHERE id = $1', [id]);
    await client.end();
    const took = await until(async () => !await works(key));
    t.ok(took < 6_000, `${Math.round(took)} ms`);
  });

  await t.test('a session ended on one replica: at once', async (t) => {
    const { json: session } = await first.request('POST', '/authkit/sessions', { identity: 'ada' });
    const list = async () => (await fetch(`${second.url}/connections`, { headers: { authorization: `Bearer ${session.token}` } })).status;
    t.equal(await list(), 200);
    await first.request('DELETE', `/authkit/sessions/${session.id}`);
    t.equal(await list(), 401);
  });
});

/** Opens a request that lacks the last byte of its body; resolves when the gateway has it, with what sends that byte and awaits the answer. */
async function hold(gateway: Gateway, path: string, credential: string, body: string): Promise<() => Promise<string>> {
  const socket = open(gateway.url);
  const arrived = once(gateway.app.server, 'request');
  socket.write([
    `POST ${path} HTTP/1.1`, 'host: x', credential, 'x-user-id: ada', 'content-type: application/json', `content-length: ${body.length}`, 'connection: close',
    '', body.slice(0, -1),
  ].join('\r\n'));
  await arrived;
  return async () => {
    socket.write(body.slice(-1));
    const chunks: Buffer[] = [];
    for await (const chunk of socket) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString();
  };
}

t.test('listening on after the revocation', async (t) => {
  const upstream = await startUpstream(t, (request, response) => {
    request.resume();
    if (request.method === 'POST') return;
    response.writeHead(200, { 'x-pica-passthrough-content-type': 'text/event-stream' });
    const beat = setInterval(() => response.write('data: secret\n\n'), 50);
    response.once('close', () => clearInterval(beat));
  });
  const gateway = await startGateway(t, upstream.url, { ACTION_RESOLUTION: 'off' });
  await storeConnection(gateway);
  const listen = (key: string) => fetch(`${gateway.url}/proxy/gmail/events`, { headers: { 'x-api-key': key, 'x-user-id': 'ada' } });
  const made = async () => (await gateway.request('POST', '/api-keys', { json: { name: 'x', scopes: ['proxy'] } })).json as { id: string; key: string };

  await t.test('an event stream ends with its key, another one goes on', async (t) => {
    const { id, key } = await made();
    const [revoked, live] = [await listen(key), await listen(rootKey)];
    t.same([revoked.status, live.status], [200, 200]);
    const reader = live.body!.getReader();
    await reader.read();
    const readAll = revoked.text();
    t.equal((await gateway.request('DELETE', `/api-keys/${id}`)).status, 204);
    await t.rejects(readAll, 'broken off, so that it cannot be taken for whole');
    t.equal((await reader.read()).done, false);
    await reader.cancel();
  });

  await t.test('and so does one whose key was rotated away or has expired', async (t) => {
    const { id, key } = await made();
    const readAll = (await listen(key)).text();
    t.equal((await gateway.request('POST', `/api-keys/${id}/rotate`, { json: { overlapSeconds: 1 } })).status, 201);
    await t.rejects(readAll);
  });

  await t.test('an upload is given up', async (t) => {
    const { id, key } = await made();
    const socket = open(gateway.url);
    const closed = once(socket, 'close');
    const heard: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => heard.push(chunk));
    const arrived = once(upstream.server, 'request');
    socket.write(`POST /proxy/gmail/upload HTTP/1.1\r\nhost: x\r\nx-api-key: ${key}\r\nx-user-id: ada\r\ncontent-length: 1000000\r\nconnection: close\r\n\r\n${'x'.repeat(100_000)}`);
    await arrived;
    t.equal((await gateway.request('DELETE', `/api-keys/${id}`)).status, 204);
    await closed;
    t.match(Buffer.concat(heard).toString(), /^HTTP\/1\.1 401 .*x-authkit-error: unauthorized/s);
  });
});

t.test('a session\'s streams end with it; while nothing is known they go on', async (t) => {
  let answer: () => Promise<Principal> = async () => rootPrincipal;
  let asked: () => void = () => {};
  const streams = createOpenStreams({ authenticate: () => {
    asked();
    return answer();
  } }, 5);
  // The streams' own timer holds no process up.
  const awake = setInterval(() => {}, 1_000);
  t.teardown(() => {
    clearInterval(awake);
    streams.close();
  });
  const next = () => new Promise<void>((resolve) => (asked = resolve));
  let ended = 0;
  const over = new Promise<void>((resolve) => {
    for (const _stream of [1, 2]) streams.watch('ags_x', () => (ended += 1) === 2 && resolve());
  });
  await next();
  answer = () => Promise.reject(new Problem('service_unavailable', 'the database is away'));
  await next();
  await next();
  t.equal(ended, 0);
  answer = () => Promise.reject(new Problem('unauthorized', 'ended'));
  await over;
});

t.test('finishing a request after the revocation that was opened before it', async (t) => {
  const { gateway, sandbox } = await startBoth(t);
  const { claim } = await claimOf(sandbox, 'ada');

  await t.test('a revoked key mints no other', async (t) => {
    const { json: { id, key } } = await gateway.request('POST', '/api-keys', { json: { name: 'x', scopes: ['api-keys:manage'] } });
    t.equal((await gateway.request('GET', '/api-keys', { key })).status, 200);
    const finish = await hold(gateway, '/api-keys', `x-api-key: ${key}`, JSON.stringify({ name: 'spare', scopes: ['api-keys:manage'] }));
    t.equal((await gateway.request('DELETE', `/api-keys/${id}`)).status, 204);
    t.match(await finish(), /^HTTP\/1\.1 401 .*"code":"unauthorized"/s);
    t.equal(await gateway.database.prisma.apiKey.count(), 1);
  });

  await t.test('an ended session claims nothing', async (t) => {
    const { id, token } = await openSession(gateway, { identity: 'ada' });
    const finish = await hold(gateway, '/connections', `authorization: Bearer ${token}`, JSON.stringify(claim));
    t.equal((await asBearer(gateway, token)('GET', '/connections')).status, 200);
    t.equal((await gateway.request('DELETE', `/authkit/sessions/${id}`)).status, 204);
    t.match(await finish(), /^HTTP\/1\.1 401 .*"code":"unauthorized"/s);
    t.equal(await gateway.database.prisma.userConnection.count(), 0);
  });

  await t.test('a revoked key sends nothing to a provider', async (t) => {
    t.equal((await gateway.request('POST', '/connections', { headers: { 'x-user-id': 'ada' }, json: claim })).status, 201);
    const { json: { id, key } } = await gateway.request('POST', '/api-keys', { json: { name: 'x', scopes: ['proxy'] } });
    const proxied = '/proxy/gmail/__provider/echo';
    t.equal((await gateway.request('POST', proxied, { key, headers: { 'x-user-id': 'ada' }, json: {} })).status, 200);
    const before = (await recordings(sandbox, '/v1/passthrough')).length;
    const [revoked, live] = [await hold(gateway, proxied, `x-api-key: ${key}`, '{"a":1}'), await hold(gateway, proxied, `x-api-key: ${rootKey}`, '{"a":1}')];
    t.equal((await gateway.request('DELETE', `/api-keys/${id}`)).status, 204);
    // A body that comes within a second is sent on as the rest of its request.
    await wait(1_100);
    t.match(await revoked(), /^HTTP\/1\.1 401 .*x-authkit-error: unauthorized/s);
    t.equal((await recordings(sandbox, '/v1/passthrough')).length, before);
    t.match(await live(), /^HTTP\/1\.1 200 /, 'a live one goes on however slow it is');
  });
});
