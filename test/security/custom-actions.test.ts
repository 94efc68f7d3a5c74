import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { openTestDatabase } from '../helpers/database.js';
import { type Gateway, rootKey, startGateway } from '../helpers/gateway.js';
import { open } from '../helpers/raw-http.js';
import { recordings } from '../helpers/sandbox.js';
import { claimOf, startBoth } from '../helpers/trust.js';
import { type Handle, startUpstream, storeConnection } from '../helpers/upstream.js';

// A machine busy with other tests takes its time.
t.setTimeout(300_000);
const database = await openTestDatabase(t);
const mary = await storeConnection({ database }, 'gmail', 'mary');
const bob = await storeConnection({ database }, 'gmail', 'bob');
const foreign = `"connectionKey":"${bob.key}"`;
const ok: Handle = (request, response) => void request.on('end', () => response.writeHead(200, { 'x-pica-passthrough-a': 'b' }).end('ok'));

const rows = [
  { _id: 'send', title: 'Send', method: 'POST', path: '/send', connectionPlatform: 'gmail', tags: ['Custom'] },
  { _id: 'remove', title: 'Remove', method: 'DELETE', path: '/remove', connectionPlatform: 'gmail', tags: ['custom'] },
  { _id: 'look', title: 'Look', method: 'GET', path: '/look', connectionPlatform: 'gmail', tags: ['custom'] },
  { _id: 'draft', title: 'Draft', method: 'POST', path: '/draft', connectionPlatform: 'gmail', tags: ['mail'] },
  { _id: 'untold', title: 'Untold', method: 'POST', path: '/untold', connectionPlatform: 'gmail' },
];

/** A gateway whose upstream knows `rows`, and says of the action titled `Late` only in the other list that it is custom. */
async function start(t: Test, environment = {}, knowledge: unknown[] | null = rows) {
  const upstream = await startUpstream(t, ok, (request, response) => {
    const found = request.url!.startsWith('/v1/knowledge') ? knowledge : [];
    if (!found) return void response.writeHead(503).end();
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ rows: found, total: found.length, pages: 1, page: 1 }));
  });
  const gateway = await startGateway(t, upstream.url, environment, database);
  return { upstream, gateway, send: sender(gateway) };
}

type Sent = { headers?: Record<string, string | string[]>; method?: string; chunked?: boolean };

/** Sends bytes as they are, with no header but those given. Resolves to the whole answer. */
function sender(gateway: Gateway) {
  return async (path: string, body: string | Buffer, { headers = {}, method = 'POST', chunked = false }: Sent = {}): Promise<{ status: number; text: string; code: string | undefined }> => {
    const bytes = Buffer.from(body);
    const socket = open(gateway.url);
    const lines = Object.entries(headers).flatMap(([name, value]) => [value].flat().map((each) => `${name}: ${each}`));
    socket.write([
      `${method} /proxy/gmail${path} HTTP/1.1`, 'host: x', `x-api-key: ${rootKey}`, 'x-user-id: mary', 'connection: close', ...lines,
      chunked ? 'transfer-encoding: chunked' : `content-length: ${bytes.length}`, '', '',
    ].join('\r\n'), 'latin1');
    if (!chunked) socket.write(bytes);
    else for (let i = 0; i < bytes.length; i += 7) socket.write(Buffer.concat([Buffer.from(`${bytes.subarray(i, i + 7).length.toString(16)}\r\n`), bytes.subarray(i, i + 7), Buffer.from('\r\n')]));
    if (chunked) socket.write('0\r\n\r\n');
    const text = Buffer.concat(await socket.toArray() as Buffer[]).toString('latin1');
    return { status: Number(text.slice(9, 12)), text, code: /^x-authkit-error: (.*)\r$/m.exec(text)?.[1] };
  };
}

t.test('a custom action acts for the chosen connection, whichever one its body names', async (t) => {
  const { gateway, sandbox } = await startBoth(t);
  const rows = { mary: (await claimOf(sandbox, 'mary')).claim, bob: (await claimOf(sandbox, 'bob')).claim };
  const { json: { id } } = await gateway.request('POST', '/connections', { headers: { 'x-user-id': 'mary' }, json: rows.mary });
  const post = (json: unknown, headers = {}, path = '/gmail/send-email') => gateway.request('POST', `/proxy/gmail${path}`, { headers: { 'x-user-id': 'mary', ...headers }, json });
  t.match(await post({ to: 'x', connectionKey: rows.bob.key }), { status: 422, json: { code: 'action_mismatch', errors: [{ field: 'body.connectionKey' }] } });
  t.same(await recordings(sandbox, '/v1/passthrough'), [], 'nothing was sent');
  for (const body of [{ to: 'x' }, { to: 'x', connectionKey: rows.mary.key }, { to: 'x', connectionKey: id }]) {
    t.match(await post(body), { status: 200, json: { from: 'mary@gmail.example', to: 'x' } });
  }
  t.match(await post({ to: 'x' }, {}, '/send-email'), { json: { from: 'mary@gmail.example' } }, 'without the platform\'s prefix');
});

t.test('a custom action\'s body', async (t) => {
  const { upstream, send, gateway } = await start(t);
  const sentBody = (): unknown => JSON.parse(upstream.received.pop()!.body.toString());

  await t.test('gets the chosen connection\'s key as its one connectionKey, the rest byte for byte', async (t) => {
    const expected = `{"connectionKey":${JSON.stringify(mary.key)},`;
    for (const [body, rest] of [
      ['{"a":1e400,"n":12345678901234567890,"n":2,"s":"\\ud800\\u0041"}', '"a":1e400,"n":12345678901234567890,"n":2,"s":"\\ud800\\u0041"}'],
      [` {"connectionKey" : "${mary.id}" , "a" : [1, {"connectionKey":"${bob.key}"}] } `, '"a" : [1, {"connectionKey":"' + bob.key + '"}]}'],
      [`{"a":{},"connection\\u004bey":"${mary.key}","ConnectionKey":"${mary.id}","b":"}\\"{,"}`, '"a":{},"b":"}\\"{,"}'],
      [`\ufeff{"a":"ë"}`, '"a":"ë"}'],
    ] as const) {
      for (const chunked of [false, true]) {
        t.match(await send('/send', body, { chunked }), { status: 200 });
        t.equal(upstream.received.pop()?.body.toString(), expected + rest);
      }
    }
    for (const body of ['{}', '{ }', '']) {
      t.match(await send('/send', body), { status: 200 }, body);
      t.same(sentBody(), { connectionKey: mary.key });
    }
    t.match(await send('/remove', '{"a":1}', { method: 'DELETE' }), { status: 200 });
    t.same(sentBody(), { connectionKey: mary.key, a: 1 });
    const large = JSON.stringify({ a: 'x'.repeat(500_000) });
    t.match(await send('/send', large), { status: 200 });
    t.equal(upstream.received.pop()!.body.length, large.length + expected.length - 1);
  });

  await t.test('goes out as JSON, whatever it was called, and without what described the caller\'s bytes', async (t) => {
    for (const headers of [
      {}, { 'content-type': 'application/x-www-form-urlencoded' }, { 'content-type': 'multipart/form-data; boundary=x' },
      { 'content-type': 'application/json; charset=utf-7' }, { 'x-upstream-content-type': 'text/yaml' }, { 'Content-Type': 'application/vnd.api+json', 'content-encoding': 'identity' },
      { 'content-digest': 'sha-256=:x:', digest: 'x', 'content-md5': 'x', 'repr-digest': 'x' },
    ] as Record<string, string | string[]>[]) {
      t.match(await send('/send', '{"a":"&connectionKey=bob&"}', { headers }), { status: 200 });
      const { rawHeaders } = upstream.received.pop()!;
      const names = rawHeaders.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase());
      t.equal(rawHeaders[names.lastIndexOf('content-type') * 2 + 1], 'application/json', JSON.stringify(headers));
      t.equal(names.filter((name) => /^content-type|encoding|digest|md5/.test(name)).length, 1, JSON.stringify(headers));
    }
  });

  await t.test('is refused when it names another connection, in any spelling, or is no JSON object', async (t) => {
    const own = `"connectionKey":"${mary.key}"`;
    for (const body of [
      `{${foreign}}`, `{${own},${foreign}}`, `{${foreign},${own}}`, `{"connection\\u004Bey":"${bob.key}"}`, `{"\\u0063onnectionKey":"${bob.key}",${own}}`, `{"CONNECTIONKEY":"${bob.key}"}`,
      `{"connection\u212aey":"${bob.key}"}`, `{"connectionKey":"${bob.id}"}`, '{"connectionKey":null}', '{"connectionKey":[]}', `{"connectionKey":{"a":"${mary.key}"}}`, '{"connectionKey":1}',
      '{"connectionKey":""}', `{"connectionKey":"${mary.key} "}`, `\t\r\n {${foreign}}`, `\ufeff{${foreign}}`,
      `[{${foreign}}]`, '"text"', 'null', '1', ' ', `{${own}} {${foreign}}`, `{${own}},`, `{'connectionKey':'${bob.key}'}`, `{connectionKey:"${bob.key}"}`, `{/*"*/${own}}`, `{${own},}`,
      `connectionKey=${encodeURIComponent(bob.key)}`, '{"a":"\n"}', '{"a":01}', `--x\r\ncontent-disposition: form-data; name="connectionKey"\r\n\r\n${bob.key}\r\n--x--\r\n`,
      Buffer.from(`{${own}}`, 'utf16le'), Buffer.from(`\ufeff{${foreign}}`, 'utf16le'), Buffer.from('{"a":"\xff"}', 'latin1'), Buffer.from([0x7b, 0x22, 0xc1, 0xa3, 0x22, 0x3a, 0x31, 0x7d]),
    ]) {
      for (const chunked of [false, true]) {
        t.match(await send('/send', body, { chunked, headers: { 'content-type': 'application/json' } }), { status: 422, code: 'action_mismatch' }, JSON.stringify(`${body} ${chunked}`).replace(/[^ -~]/g, '.'));
      }
    }
    for (const [coding, encode] of [['gzip', gzipSync], ['x-gzip', gzipSync], ['deflate', deflateSync], ['br', brotliCompressSync]] as const) {
      t.match(await send('/send', encode(Buffer.from('{"a":1}')), { headers: { 'content-encoding': coding } }), { status: 422, code: 'action_mismatch' }, coding);
    }
    t.match(await send('/send', '{}', { headers: { 'x-upstream-content-encoding': 'gzip' } }), { status: 422, code: 'action_mismatch' });
    t.match(await send('/look', `{${foreign}}`, { method: 'GET' }), { status: 422, code: 'action_mismatch' }, 'whatever the method');
    for (const query of ['connectionKey=bob', 'a=1&connection%4bey=bob', 'CONNECTIONKEY[]=bob', `connectionKey=${mary.id}`]) {
      t.match(await send(`/send?${query}`, '{}'), { status: 422, code: 'action_mismatch' }, query);
    }
    t.match(await send('/send', JSON.stringify({ a: 'x'.repeat(1_100_000) })), { status: 413, code: 'payload_too_large' });
    t.match(await send('/send', '['.repeat(500_000)), { status: 422, code: 'action_mismatch' });
    t.match(await send('/any', `{${foreign}}`, { headers: { 'x-pica-action-id': 'send' } }), { status: 422, code: 'action_mismatch' }, 'named by its id');
    t.same(upstream.received, [], 'nothing was sent');
  });

  await t.test('has no place on a GET without one', async (t) => {
    t.match(await send('/look', '', { method: 'GET' }), { status: 200 });
    t.equal(upstream.received.pop()!.body.length, 0);
  });

  await t.test('tells repeats apart by what the caller sent', async (t) => {
    const post = (json: unknown) => gateway.request('POST', '/proxy/gmail/send', { headers: { 'x-user-id': 'mary', 'idempotency-key': 'once' }, json });
    t.match(await post({ a: 1 }), { status: 200 });
    const again = await post({ a: 1 });
    t.equal(again.headers.get('idempotency-replayed'), 'true');
    t.match(await post({ a: 1, connectionKey: mary.key }), { status: 422, json: { code: 'idempotency_key_reused' } });
    t.match(await post({ a: 2 }), { status: 422, json: { code: 'idempotency_key_reused' } });
    t.equal(upstream.received.splice(0).length, 1);
  });

  await t.test('is explained without the key', async (t) => {
    const answer = await gateway.request('POST', '/proxy/gmail/send', { headers: { 'x-user-id': 'mary', 'x-authkit-explain': 'true' }, json: { a: 1 } });
    t.match(answer.json, { action: { id: 'send', custom: true }, upstream: { body: { connectionKey: '[secret]' } } });
    t.notOk(answer.text.includes(mary.key));
    for (const [path, custom] of [['/draft', false], ['/untold', null], ['/none', null]] as const) {
      const plain = await gateway.request('POST', `/proxy/gmail${path}`, { headers: { 'x-user-id': 'mary', 'x-authkit-explain': 'true' }, json: { a: 1 } });
      t.match(plain.json, { action: { custom }, upstream: { body: null } }, path);
    }
  });

  await t.test('streams as before where the action is known and not custom', async (t) => {
    t.match(await send('/draft', `{${foreign}}`), { status: 200 });
    t.equal(upstream.received.pop()!.body.toString(), `{${foreign}}`);
  });
});

t.test('where it is not known whether an action is custom', async (t) => {
  const ways: [string, Awaited<ReturnType<typeof start>>, string][] = [
    ['no action', await start(t), '/none'], ['untold', await start(t), '/untold'],
    ['resolution off', await start(t, { ACTION_RESOLUTION: 'off' }), '/send'], ['knowledge away', await start(t, {}, null), '/send'],
  ];
  const json = { 'content-type': 'application/json' };
  const form = { 'content-type': 'Application/X-WWW-Form-Urlencoded; charset=utf-8' };
  const multipart = { 'content-type': 'multipart/form-data; boundary=x' };
  const part = (name: string): string => `--x\r\ncontent-disposition: form-data; ${name}\r\n\r\n${bob.key}\r\n--x--\r\n`;
  const refused: [string | Buffer, Record<string, string>][] = [
    [`{${foreign}}`, {}], [`{${foreign}}`, { 'content-type': 'text/plain' }], [`{${foreign}}`, form], [`{"a":[{"b":"}"}],${foreign}}`, json], [`{"connectionKey":"${mary.key}",${foreign}}`, json],
    [`{"connection\\u004bey":"${bob.key}"}`, json], [`{"ConnectionKey":"${bob.key}"}`, json], [`{"connection\u212aey":"${bob.key}"}`, json], ['{"connectionKey":null}', json],
    [`\ufeff \r\n\t{${foreign}}`, json], [`\u00a0\u2028{${foreign}}`, json], [`{"a\\"":"\\\\",${foreign}}`, json], [`{'connectionKey':'${bob.key}'}`, json], [`{connectionKey:'${bob.key}'}`, json],
    [`{connection\\u004bey:"${bob.key}"}`, json], [`/* */{${foreign}}`, json], [`{"a":1}\n{${foreign}}`, json], [`{"a":{"b":[},${foreign}}`, json], [`{"connectionKey":"${bob.key}`, json],
    [Buffer.from(`{${foreign}}`, 'utf16le'), json], [Buffer.from(`\ufeff{${foreign}}`, 'utf16le').swap16(), json],
    [Buffer.from(`{"connectionKey":"${mary.key}", "a": 1}`, 'utf16le'), json],
    ['+AHsAIgBjIg', { 'content-type': 'application/json; charset="utf-7"' }],
    [gzipSync(`{${foreign}}`), { ...json, 'content-encoding': 'gzip' }], [deflateSync(`{${foreign}}`), { 'content-encoding': 'Deflate' }], [brotliCompressSync(`{${foreign}}`), { 'content-encoding': 'br' }],
    [gzipSync(gzipSync(`{${foreign}}`)), { 'content-encoding': 'gzip, gzip' }], ['x', { 'x-upstream-content-encoding': 'gzip' }], [`{${foreign}}`, { 'content-encoding': 'zstd' }],
    [`a=1&connectionKey=${encodeURIComponent(bob.key)}`, form], ['%63onnectionKey=x', form], ['a=1&connectionKey%5B%5D=x', form], ['ConnectionKey[0]=x', { 'x-upstream-content-type': form['content-type'] }],
    [part('name="connectionKey"'), multipart], [part('filename=a; name=connectionKey'), multipart], [part('name*=utf-8\'\'connection%4bey'), multipart], [part('Name = "connectionKey[]"'), multipart],
  ];
  const passed: [string | Buffer, Record<string, string>][] = [
    [`{"connectionKey":"${mary.key}"}`, json], [`{"connectionKey":"${mary.id}","a":1}`, json], [`{"a":{${foreign}}}`, json], [`[{${foreign}}]`, json], [`{"a":"\\"connectionKey\\":1"}`, json],
    ['{"connectionKeys":1,"xconnectionKey":2}', json], ['{"a":1}', json], ['{not json', json], ['', json], [`about ${foreign}`, { 'content-type': 'text/plain' }],
    ['a=connectionKey&b=%26connectionKey%3D1&xconnectionKey=2', form], [part('name="file"; filename="connectionKey"'), multipart], [`<a>connectionKey=1</a>`, { 'content-type': 'text/xml' }],
    [gzipSync('{"a":1}'), { ...json, 'content-encoding': 'gzip' }], [gzipSync('text connectionKey'), { 'content-encoding': 'x-gzip' }], [Buffer.from([0, 1, 2, 0x7b, 0xff, 0, 0x22, 0x63]), {}],
    [Buffer.from('{"a":1}', 'utf16le'), json], ['{"a":1}', { 'content-type': 'application/json; charset=utf-8', 'content-encoding': 'identity' }],
  ];
  const told = (body: string | Buffer, headers: unknown, chunked: boolean): string => `${JSON.stringify([Buffer.from(body).toString('latin1'), headers]).replace(/[^ -~]/g, '.')}${chunked ? ' in chunks' : ''}`;
  for (const [name, { send, upstream }, path] of ways) {
    await t.test(`${name}: a body that names another connection is refused, and others pass byte for byte`, async (t) => {
      for (const chunked of path === '/none' ? [false, true] : [false]) {
        for (const [body, headers] of refused) {
          t.match(await send(path, body, { headers, chunked }), { status: 422, code: 'action_mismatch' }, told(body, headers, chunked));
        }
        t.same(upstream.received, []);
        for (const [body, headers] of passed) {
          t.match(await send(path, body, { headers, chunked }), { status: 200 }, told(body, headers, chunked));
          t.same(upstream.received.pop()?.body, Buffer.from(body));
        }
      }
    });
  }

  await t.test('a large body streams, and breaks off before the upstream has all of one that names another connection', async (t) => {
    const [, { send, upstream }, path] = ways[0]!;
    const long = 'x'.repeat(3_000_000);
    t.match(await send(path, `{"a":"${long}","b":"connectionKey","c":"${long}"}`, { headers: json }), { status: 200 });
    t.equal(upstream.received.pop()!.body.length, 6_000_035);
    for (const body of [`{"a":"${long}",${foreign},"c":"${long}"}`, `{"a":"${long}",${foreign}}`, `{"a":"${long}\\\\",${foreign}}`]) {
      t.match(await send(path, body, { headers: json }), { status: 422, code: 'action_mismatch' });
    }
    t.same(upstream.received, [], 'no whole body arrived');
    const zipped = Buffer.concat([gzipSync('{"a":1}'), Buffer.alloc(1_100_000)]);
    t.match(await send(path, zipped, { headers: { 'content-encoding': 'gzip' } }), { status: 413, code: 'payload_too_large' });
    t.match(await send(path, gzipSync(Buffer.alloc(64_000_000, '{"a":1},')), { headers: { 'content-encoding': 'gzip' } }), { status: 422, code: 'action_mismatch' }, 'a bomb');
  });
});
