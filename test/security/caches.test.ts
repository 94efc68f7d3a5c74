import t from 'tap';
import { openTestDatabase } from '../helpers/database.js';
import { rootKey, startGateway } from '../helpers/gateway.js';
import { noNginx, startNginx } from '../helpers/nginx.js';
import { startUpstream, storeConnection } from '../helpers/upstream.js';

// A machine busy with other tests takes its time.
t.setTimeout(300_000);
const database = await openTestDatabase(t);

const chosenBy = ['authorization', 'x-api-key', 'x-user-id', 'x-identity', 'x-identity-type', 'x-connection-id', 'x-pica-action-id', 'x-one-action-id'];
const names = (vary: string | null): string[] => (vary ?? '').toLowerCase().split(/\s*,\s*/).filter((name) => name !== '');

t.test('what caches are told of answers', async (t) => {
  /** What the provider sends beside the body; `raw` goes out under its own name. */
  let answer: { status?: number; provider?: Record<string, string | string[]>; raw?: Record<string, string> } = {};
  const upstream = await startUpstream(t, (request, response) => {
    request.resume().on('end', () => {
      const { status = 200, provider = {}, raw = {} } = answer;
      const headers = Object.entries(provider).map(([name, value]) => [`x-pica-passthrough-${name}`, value]);
      response.writeHead(status, { 'x-pica-passthrough-etag': '"1"', ...Object.fromEntries(headers), ...raw });
      response.end(status === 304 ? undefined : `mail of ${String(request.headers['x-pica-connection-key']).split('|')[1]}`);
    });
  });
  const gateway = await startGateway(t, upstream.url, {}, database);
  for (const identity of ['ann', 'bob', 'pat']) await storeConnection(gateway, 'gmail', identity);
  const ask = async (given: typeof answer, method = 'GET', headers: Record<string, string> = {}) => {
    answer = given;
    return gateway.request(method, '/proxy/gmail/mail', { headers: { 'x-user-id': 'ann', ...headers } });
  };

  await t.test('Vary names what an answer was chosen by, beside what the provider names', async (t) => {
    for (const provider of [{}, { vary: 'Accept-Encoding' }, { vary: ['Accept', 'X-User-Id, accept'] }] as Record<string, string | string[]>[]) {
      const { headers } = await ask({ provider });
      const vary = names(headers.get('vary'));
      t.same(chosenBy.filter((name) => !vary.includes(name)), [], JSON.stringify(provider));
      t.same(names([provider['vary'] ?? []].flat().join(',')).filter((name) => !vary.includes(name)), []);
      t.equal(new Set(vary).size, vary.length, 'each once');
    }
    t.ok(names((await ask({ provider: { vary: 'accept-language' } })).headers.get('vary')).includes('x-upstream-accept-language'),
      'a header that arrives at the provider under another name counts under that');
    t.equal((await ask({ provider: { vary: 'accept, *' } })).headers.get('vary'), '*');
  });

  await t.test('Cache-Control is always private, and no-store where the provider says nothing', async (t) => {
    for (const [said, kept] of [
      [undefined, 'private, no-store'], ['private, max-age=60', 'private, max-age=60'], ['public, max-age=600', 'private, max-age=600'],
      ['max-age=600, s-maxage=3600', 'private, max-age=600'], ['PUBLIC', 'private'], ['no-cache', 'private, no-cache'], ['no-store', 'private, no-store'],
      ['private="set-cookie, x-a", max-age=5', 'private, max-age=5'], ['max-age=1, S-MaxAge = 9 ,immutable', 'private, max-age=1, immutable'],
      ['no-cache="a, public", max-age=1', 'private, no-cache="a, public", max-age=1'], ['max-age=1, x="open', 'private, no-store'], ['', 'private, no-store'],
      [['public', 'max-age=7'], 'private, max-age=7'],
    ] as const) {
      const { headers } = await ask({ provider: said === undefined ? {} : { 'cache-control': said as string } });
      t.equal(headers.get('cache-control'), kept, String(said));
    }
    t.equal((await ask({ raw: { 'cache-control': 'public, max-age=600' } })).headers.get('cache-control'), 'private, max-age=600', 'the upstream\'s own');
  });

  await t.test('replays and 304s are told the same', async (t) => {
    const provider = { vary: 'accept', 'cache-control': 'public, max-age=60', 'surrogate-key': 'a' };
    const first = await ask({ provider }, 'POST', { 'idempotency-key': 'caches' });
    const replay = await ask({ provider }, 'POST', { 'idempotency-key': 'caches' });
    const unchanged = await ask({ provider, status: 304 }, 'GET', { 'if-none-match': '"1"' });
    const head = await ask({ provider }, 'HEAD');
    t.equal(replay.headers.get('idempotency-replayed'), 'true');
    t.equal(unchanged.status, 304);
    for (const { headers } of [first, replay, unchanged, head]) {
      t.same([headers.get('cache-control'), headers.get('vary'), headers.get('surrogate-key')], ['private, max-age=60', first.headers.get('vary'), null]);
      t.same([headers.get('x-content-type-options'), headers.get('cross-origin-resource-policy')], ['nosniff', 'same-origin']);
    }
    // As an earlier version stored it.
    await database.prisma.idempotencyKey.updateMany({ where: { key: 'caches' }, data: { headers: ['cache-control', 'public', 'clear-site-data', '"*"', 'x-request-id', 'old'] } });
    const { headers } = await ask({ provider }, 'POST', { 'idempotency-key': 'caches' });
    t.same([headers.get('cache-control'), headers.get('clear-site-data'), chosenBy.every((name) => names(headers.get('vary')).includes(name))], ['private', null, true]);
    t.not(headers.get('x-request-id'), 'old');
  });

  await t.test('what only caches on the way read does not pass', async (t) => {
    const forCaches = [
      'surrogate-control', 'surrogate-key', 'cdn-cache-control', 'cloudflare-cdn-cache-control', 'netlify-vary', 'edge-control', 'cache-tag', 'xkey', 'x-accel-expires',
      'x-accel-redirect', 'x-sendfile', 'no-vary-search', 'cache-groups', 'cache-group-invalidation', 'x-litespeed-cache-control', 'edge-cache-tag',
    ];
    const { headers } = await ask({ provider: Object.fromEntries(forCaches.map((name) => [name, 'max-age=600'])), raw: Object.fromEntries(forCaches.map((name) => [name, 'max-age=600'])) });
    t.same(forCaches.filter((name) => headers.get(name) !== null), []);
  });

  await t.test('problems and explanations on /proxy say the same, and are not stored', async (t) => {
    for (const [headers, key] of [[{ 'x-authkit-explain': 'true' }], [{ 'x-user-id': 'nobody' }], [{ 'x-connection-id': 'x' }], [{}, null]] as [Record<string, string>, null?][]) {
      const found = await gateway.request('GET', '/proxy/gmail/mail', { headers: { 'x-user-id': 'ann', ...headers }, ...(key === null ? { key } : {}) });
      t.equal(found.headers.get('cache-control'), 'no-store');
      t.ok(chosenBy.every((name) => names(found.headers.get('vary')).includes(name)), String(found.status));
    }
  });

  await t.test('every answer of our own is kept out of caches, frames and sniffing', async (t) => {
    const { paths } = (await gateway.request('GET', '/openapi.json', { key: null })).json;
    const reads = Object.entries(paths as Record<string, Record<string, unknown>>).filter(([path, methods]) => methods['get'] && !path.startsWith('/proxy')).map(([path]) => path);
    t.ok(reads.length >= 10);
    for (const path of [...reads, '/nothing', '/%', '/demo', '/docs', '/docs/', '/docs/json', '/openapi.json']) {
      const { headers } = await gateway.request('GET', path.replace('{id}', '01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87').replace(/\{\w+\}/, 'gmail'));
      if (!/openapi|docs|metrics/.test(path)) t.equal(headers.get('cache-control'), 'no-store', path);
      t.same([headers.get('x-content-type-options'), headers.get('referrer-policy')], ['nosniff', 'no-referrer'], path);
      t.match(headers.get('content-security-policy'), /frame-ancestors 'none'/, path);
    }
    const token = await gateway.request('POST', '/authkit/sessions', { json: { identity: 'ann' } });
    t.match([token.status, token.headers.get('cache-control'), token.headers.get('x-content-type-options')], [201, 'no-store', 'nosniff']);
  });

  await t.test('an nginx that caches in front gives no identity another\'s answer', { skip: noNginx }, async (t) => {
    const front = await startNginx(t, gateway.url, 'proxy_cache answers; proxy_http_version 1.1;');
    const offers: Record<string, string>[] = [{ 'cache-control': 'max-age=600' }, { 'cache-control': 'public, s-maxage=600' }, { 'x-accel-expires': '600' }, { expires: new Date(Date.now() + 600_000).toUTCString() }];
    for (const [number, provider] of offers.entries()) {
      answer = { provider };
      const as = async (headers: Record<string, string>) => {
        const found = await fetch(`${front}/proxy/gmail/mail?${number}`, { headers });
        return [found.status, await found.text()];
      };
      t.same(await as({ 'x-api-key': rootKey, 'x-user-id': 'pat' }), [200, 'mail of pat'], JSON.stringify(provider));
      t.equal((await as({}))[0], 401, 'without a key');
      t.same(await as({ 'x-api-key': rootKey, 'x-user-id': 'bob' }), [200, 'mail of bob']);
    }
  });
});
