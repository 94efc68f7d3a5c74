import { once } from 'node:events';
import { gzipSync } from 'node:zlib';
import type { IncomingMessage, ServerResponse } from 'node:http';
import t, { type Test } from 'tap';
import { openTestDatabase } from '../helpers/database.js';
import { type Gateway, rootKey, secretKey, startGateway } from '../helpers/gateway.js';
import { open } from '../helpers/raw-http.js';
import { until } from '../helpers/receiver.js';
import { startUpstream, storeConnection } from '../helpers/upstream.js';

// A machine busy with other tests takes its time.
t.setTimeout(300_000);

type Answer = (response: ServerResponse, request: IncomingMessage) => void;

t.test('what an answer may not do', async (t) => {
  const database = await openTestDatabase(t);
  const { key } = await storeConnection({ database }, 'gmail', 'ada');
  let answer: Answer = () => {};
  let json: { status: number; headers?: Record<string, string>; body: string } = { status: 200, body: '{}' };
  const upstream = await startUpstream(t, (request, response) => void request.resume().on('end', () => answer(response, request)), (_request, response) => {
    response.writeHead(json.status, { 'content-type': 'application/json', ...json.headers }).end(json.body);
  });
  const gateway = await startGateway(t, upstream.url, { RATE_LIMIT_PER_MINUTE: '100000', AUTHKIT_TOKEN_SOURCE: 'http', ACTION_RESOLUTION: 'off' }, database);
  const ask = (given: Answer, method = 'GET', headers: Record<string, string> = {}) => {
    answer = given;
    return gateway.request(method, '/proxy/gmail/x', { headers: { 'x-user-id': 'ada', ...headers } });
  };
  const provider = (headers: Record<string, string>, status = 200, body = 'ok'): Answer => (response) => {
    const named = Object.entries(headers).map(([name, value]) => [`x-pica-passthrough-${name}`, value]);
    response.writeHead(status, { 'x-pica-passthrough-etag': '"1"', ...Object.fromEntries(named) }).end(body);
  };
  const own = (headers: Record<string, string>, status: number, body: string | Buffer): Answer => (response) => void response.writeHead(status, headers).end(body);

  await t.test('headers that act on our origin as a whole do not pass, neither a provider\'s nor the upstream\'s', async (t) => {
    const names = [
      'clear-site-data', 'alt-svc', 'nel', 'report-to', 'reporting-endpoints', 'service-worker-allowed', 'accept-ch', 'critical-ch', 'origin-agent-cluster', 'public-key-pins',
      'set-login', 'speculation-rules', 'use-as-dictionary', 'sec-session-registration', 'secure-session-registration', 'refresh', 'sourcemap', 'x-sourcemap', 'www-authenticate',
      'strict-transport-security', 'expect-ct', 'origin-trial', 'permissions-policy', 'cross-origin-opener-policy', 'cross-origin-embedder-policy-report-only', 'timing-allow-origin',
      'content-security-policy', 'content-security-policy-report-only', 'integrity-policy', 'document-policy', 'supports-loading-mode', 'attribution-reporting-register-source',
      'x-envoy-immediate-health-check-fail', 'x-accel-redirect', 'set-cookie', 'access-control-allow-origin', 'x-authkit-error', 'x-authkit-attempts',
    ];
    const kept = ['x-accel-buffering', 'retry-after', 'link', 'location', 'x-ratelimit-remaining', 'content-disposition', 'x-frame-options', 'referrer-policy', 'content-language'];
    const all = Object.fromEntries([...names, ...kept].map((name) => [name, 'theirs']));
    for (const given of [provider(all), (response: ServerResponse) => void response.writeHead(200, all).end('ok')]) {
      const { headers } = await ask(given);
      t.same(names.filter((name) => headers.get(name)?.includes('theirs')), []);
      t.same(kept.filter((name) => headers.get(name) !== 'theirs'), [], 'others do');
      t.equal(headers.get('x-upstream-www-authenticate'), 'theirs');
    }
  });

  await t.test('our own names are ours; what a provider says under them arrives as x-upstream-{name}', async (t) => {
    const names = ['x-request-id', 'idempotency-replayed', 'ratelimit-limit', 'ratelimit-remaining', 'ratelimit-reset', 'ratelimit-policy', 'server-timing'];
    for (const given of [provider(Object.fromEntries(names.map((name) => [name, 'forged']))), own(Object.fromEntries(names.map((name) => [name, 'forged'])), 200, 'ok')]) {
      const { headers } = await ask(given, 'GET', { 'x-request-id': 'mine' });
      t.same(names.filter((name) => headers.get(name) === 'forged'), []);
      t.same(names.filter((name) => headers.get(`x-upstream-${name}`) !== 'forged'), []);
      t.equal(headers.get('x-request-id'), 'mine');
    }
  });

  await t.test('active content is confined, other types are not touched', async (t) => {
    const policy = "sandbox; default-src 'none'";
    const policyOf = async (type: string | undefined, status = 200) =>
      (await ask(provider({ ...(type === undefined ? {} : { 'content-type': type }), 'content-security-policy': 'script-src *' }, status))).headers.get('content-security-policy');
    for (const type of [
      'text/html', 'TEXT/HTML; charset=utf-8', 'image/svg+xml', 'application/xml', 'text/xml', 'application/xhtml+xml', 'application/atom+xml;type=entry', 'text/javascript',
      'application/javascript', 'application/x-javascript', 'text/xsl', 'multipart/related', 'text/html, application/json', ' text/html', 'json', '', undefined,
    ]) t.equal(await policyOf(type), policy, String(type));
    for (const type of [
      'application/json', 'application/problem+json', 'text/plain', 'text/csv', 'image/png', 'application/pdf', 'text/event-stream', 'application/octet-stream', 'video/mp4',
      'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet',
    ]) t.equal(await policyOf(type), null, type);
    t.equal(await policyOf('text/html', 500), policy, 'errors too');
    for (const given of [provider({}), provider({}, 404), own({}, 200, 'x')]) {
      const { headers } = await ask(given);
      t.same([headers.get('x-content-type-options'), headers.get('cross-origin-resource-policy')], ['nosniff', 'same-origin']);
    }
  });

  await t.test('no head quotes our secret or the connection\'s key', async (t) => {
    const token = key.split('::').at(-1)!.split('|')[0]!;
    const quoting = { location: `https://x.example/?k=${encodeURIComponent(key)}`, 'x-secret': `got ${secretKey}`, 'x-key': key, 'x-token': token, 'cache-control': `private, x="${secretKey}"` };
    for (const given of [provider({ ...quoting, 'x-fine': 'yes' }), own({ ...quoting, 'x-fine': 'yes' }, 200, 'ok')]) {
      const found = await ask(given);
      t.equal(found.headers.get('x-fine'), 'yes');
      t.notMatch(JSON.stringify([...found.headers as unknown as Iterable<string[]>]), new RegExp(`${secretKey}|${token}`));
    }
    t.match(gateway.log.lines.find((line) => line.includes('withheld')), /"headers":\["location","x-secret","x-key","x-token","cache-control"\]/);
  });

  await t.test('the upstream\'s own answers quote neither', async (t) => {
    const refused = async (given: Answer, method = 'GET') => {
      const found = await ask(given, method);
      t.match([found.status, found.json?.code, found.headers.get('x-authkit-error')], [502, 'upstream_invalid_response', 'upstream_invalid_response']);
      t.notMatch(found.text, new RegExp(`${secretKey}|${key.slice(-40)}`));
    };
    await refused(own({ 'content-type': 'text/plain; charset=utf-8' }, 400, `Bad header x-pica-secret: ${secretKey}`));
    await refused(own({ 'content-type': 'text/plain' }, 415, 'Expected application/json'), 'POST');
    await refused(own({}, 422, 'Failed to deserialize'));
    await refused(own({ 'content-type': 'application/json' }, 404, JSON.stringify({ no: 'error document', sent: secretKey })));
    await refused(own({ 'content-type': 'text/html' }, 400, `<h1>${key}</h1>`));
    await refused(own({ 'content-type': 'text/html', 'content-encoding': 'gzip' }, 400, gzipSync(`<h1>${secretKey}</h1>`)));
    await refused(own({ 'content-type': 'text/plain' }, 400, 'x'.repeat(300_000)));
    await refused(own({ 'content-type': 'application/json' }, 200, JSON.stringify({ echo: secretKey })));
    for (const body of ['{"a":1}', '<h1>Not found</h1>']) {
      const passed = await ask(own({ 'content-type': body.startsWith('{') ? 'application/json' : 'text/html' }, 404, body));
      t.match(passed, { status: 404, text: body }, 'what quotes nothing and is no error document passes');
    }
  });

  await t.test('nor where a secret comes in pieces, or after the head has left', async (t) => {
    const cut = (pieces: string[]): Answer => (response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      const next = (): void => {
        const piece = pieces.shift();
        if (piece === undefined) return void response.end();
        response.write(piece, () => setTimeout(next, 20));
      };
      next();
    };
    const heard: string[] = [];
    const read = async (pieces: string[]): Promise<string> => {
      answer = cut(pieces);
      const socket = open(gateway.url);
      const chunks: Buffer[] = [];
      socket.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', () => {});
      socket.write(`GET /proxy/gmail/x HTTP/1.1\r\nhost: x\r\nx-api-key: ${rootKey}\r\nx-user-id: ada\r\nconnection: close\r\n\r\n`);
      await once(socket, 'close');
      heard.push(Buffer.concat(chunks).toString());
      return heard.at(-1)!;
    };
    t.notMatch(await read(['{"begin":"', `${secretKey.slice(0, 12)}`, `${secretKey.slice(12)}"}`]), new RegExp(secretKey.slice(0, 12)));
    t.match(await read(['{"begin":"sk', '_test', '_other sk_"', '}']), /\{"begin":"[^]*sk_test_other sk_"[^]*\}\r\n0\r\n\r\n$/, 'what only begins like one arrives whole');
    t.notMatch(heard[0], /0\r\n\r\n$/, 'broken off');
  });

  await t.test('bytes from 0x80 up in headers arrive as they came, whenever head and body leave, and in a replay', async (t) => {
    const disposition = 'attachment; filename="caf\xe9 \xc3\xab \xff.txt"';
    const line = `content-disposition: ${disposition}\r\n`;
    // Byte by byte: Node's own server would write some of these heads in UTF-8.
    const head = (status: string, more: string): Buffer =>
      Buffer.from(`HTTP/1.1 ${status}\r\nx-pica-passthrough-${line}x-pica-passthrough-content-type: text/plain\r\nconnection: close\r\n${more}\r\n`, 'latin1');
    const say = (...parts: Buffer[]): Answer => ({ socket }) => {
      for (const [i, part] of parts.entries()) setTimeout(() => (i + 1 < parts.length ? socket!.write(part) : socket!.end(part)), 300 * i);
    };
    const raw = async (given: Answer, request = 'GET', more = ''): Promise<string> => {
      answer = given;
      const socket = open(gateway.url);
      const chunks: Buffer[] = [];
      socket.on('data', (chunk: Buffer) => chunks.push(chunk));
      socket.write(`${request} /proxy/gmail/x HTTP/1.1\r\nhost: x\r\nx-api-key: ${rootKey}\r\nx-user-id: ada\r\nconnection: close\r\n${more}\r\n`);
      await once(socket, 'close');
      return Buffer.concat(chunks).toString('latin1');
    };
    const late = say(head('200 OK', 'content-length: 4\r\n'), Buffer.from('late'));
    const together = say(Buffer.concat([head('200 OK', 'content-length: 2\r\n'), Buffer.from('ok')]));
    const large = say(Buffer.concat([head('200 OK', 'content-length: 100000\r\n'), Buffer.alloc(100_000, 'x')]));
    const halves = say(head('200 OK', 'transfer-encoding: chunked\r\n'), Buffer.from('2\r\nab\r\n'), Buffer.from('0\r\n\r\n'));
    const empty = say(head('204 No Content', ''));
    for (const [name, given] of Object.entries({ late, together, large, halves, empty })) {
      t.ok((await raw(given)).includes(line), name);
      const more = `idempotency-key: bytes ${name}\r\ncontent-length: 0\r\n`;
      t.ok((await raw(given, 'POST', more)).includes(line), `${name}, kept`);
      const replay = await raw(given, 'POST', more);
      t.match(replay, /idempotency-replayed: true/);
      t.ok(replay.includes(line), `${name}, replayed`);
    }
    t.ok((await raw(say(head('200 OK', 'content-length: 5\r\n')), 'HEAD')).includes(line), 'HEAD');
    t.ok((await raw(say(Buffer.concat([head('404 No', 'content-length: 2\r\n'), Buffer.from('no')])))).includes(line), 'an error');
  });

  await t.test('what the upstream says of a failure is told apart, and is in the log alone', async (t) => {
    const document = (status: number, type: string, message: string) => JSON.stringify({ type, code: 2000, status, key: `err::application::${type.toLowerCase()}`, message, meta: null });
    const cases: [number, string, string, string?][] = [
      [401, document(401, 'Unauthorized', 'no'), 'upstream_unauthorized'], [401, 'Unauthorized', 'upstream_unauthorized', 'text/plain'],
      [403, '403 Forbidden', 'upstream_unauthorized', 'text/plain'], [403, 'Forbidden', 'upstream_unauthorized', 'text/plain'], [403, '', 'upstream_unauthorized'],
      [403, '{}', 'upstream_unauthorized'], [403, document(403, 'Forbidden', 'Invalid API key'), 'upstream_unauthorized'],
      [403, document(403, 'Forbidden', 'This tenant may not use the platform'), 'upstream_forbidden'],
      [402, document(402, 'PaymentRequired', 'Your plan is used up'), 'upstream_quota_exceeded'], [402, '', 'upstream_quota_exceeded'],
      [500, document(500, 'InternalServerError', 'oh'), 'upstream_invalid_response'],
    ];
    for (const [status, body, code, type = 'application/json'] of cases) {
      json = { status, body, headers: { 'content-type': type } };
      const onProxy = await ask(own({ 'content-type': type }, status, body));
      const onRoute = await gateway.request('POST', '/authkit/token', { headers: { 'x-user-id': 'ada' } });
      for (const found of [onProxy, onRoute]) t.match(found, { status: 502, json: { code } }, `${status} ${body}`);
    }
    for (const status of [402, 403]) t.equal((await ask(provider({}, status, 'theirs'))).text, 'theirs', 'a provider\'s passes');

    const reason = document(403, 'Forbidden', `no rule for ${key} and ${secretKey}`);
    for (const method of ['proxy', 'route'] as const) {
      gateway.log.lines.length = 0;
      json = { status: 403, body: reason, headers: { 'x-one-correlation-id': 'corr-1' } };
      const found = method === 'proxy' ? await ask(own({ 'content-type': 'application/json', 'x-one-correlation-id': 'corr-1' }, 403, reason))
        : await gateway.request('POST', '/authkit/token', { headers: { 'x-user-id': 'ada' } });
      t.notMatch(found.text, /no rule|corr-1/);
      t.match(JSON.parse(gateway.log.lines.find((line) => line.includes('request failed'))!), {
        code: 'upstream_forbidden', requestId: String,
        err: { details: { status: 403, type: 'Forbidden', key: 'err::application::forbidden', message: 'no rule for [secret] and [secret]', correlationId: 'corr-1' } },
      }, method);
    }
    gateway.log.lines.length = 0;
    await ask(own({ 'content-type': 'application/json' }, 429, document(429, 'TooManyRequests', 'slow down')), 'POST');
    t.match(gateway.log.lines.join(''), /slow down/, 'a refusal that is no failure of ours too');
  });
});

t.test('/readyz says what was last seen of the upstream, and stays ready', async (t) => {
  const database = await openTestDatabase(t);
  await storeConnection({ database }, 'gmail', 'ada');
  let status = 200;
  const upstream = await startUpstream(t, (request, response) => void request.resume().on('end', () => response.writeHead(status, status === 200 ? { 'x-pica-passthrough-a': 'b' } : {}).end('{}')),
    (_request, response) => void response.writeHead(status, { 'content-type': 'application/json' }).end('{"rows":[],"total":0,"pages":1}'));
  const seenBy = async (gateway: Gateway, t: Test) => {
    const { status: code, json } = await gateway.request('GET', '/readyz', { key: null });
    t.same([code, json.status, json.checks.upstream.status], [200, 'ready', 'ok']);
    return json.checks.upstream.detail as string;
  };
  const gateway = await startGateway(t, upstream.url, { AUTHKIT_TOKEN_SOURCE: 'http', ACTION_RESOLUTION: 'off' }, database);
  const proxied = () => gateway.request('GET', '/proxy/gmail/x', { headers: { 'x-user-id': 'ada' } });
  const token = (of = gateway) => of.request('POST', '/authkit/token', { headers: { 'x-user-id': 'ada' } });
  t.equal(await seenBy(gateway, t), 'never asked');
  for (const call of [proxied, token]) {
    status = 200;
    await call();
    t.equal(await seenBy(gateway, t), 'ok');
    status = 401;
    await call();
    t.equal(await seenBy(gateway, t), 'unauthorized');
  }
  await new Promise<void>((resolve) => {
    upstream.server.close(() => resolve());
    upstream.server.closeAllConnections();
  });
  await proxied();
  t.equal(await seenBy(gateway, t), 'unreachable');

  for (const source of ['sdk', 'http', 'one']) {
    const lonely = await startGateway(t, 'http://127.0.0.1:9', { AUTHKIT_TOKEN_SOURCE: source }, database);
    t.equal((await token(lonely)).json.code, 'upstream_unreachable');
    t.equal(await seenBy(lonely, t), 'unreachable', source);
    await until(() => lonely.log.lines.some((line) => line.includes('request failed')));
    const { err } = JSON.parse(lonely.log.lines.find((line) => line.includes('request failed'))!);
    t.notMatch(JSON.stringify(err), /\[object Object\]/);
    t.match(err.code, /ECONNREFUSED/, `${source} says why`);
  }
});
