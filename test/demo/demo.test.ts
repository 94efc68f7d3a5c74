import Module from 'node:module';
import t from 'tap';
import { loadAssets } from '../../src/demo/assets.js';
import { startGateway } from '../helpers/gateway.js';
import { exchange } from '../helpers/raw-http.js';

const upstream = 'http://127.0.0.1:9';

t.test('without DEMO=true there is no demo page and no login', async (t) => {
  const gateway = await startGateway(t, upstream);
  t.equal((await gateway.request('GET', '/demo')).status, 404);
  t.equal((await gateway.request('POST', '/demo/login', { json: { identity: 'ada' } })).status, 404);
});

t.test('with it, / leads to the page', async (t) => {
  const gateway = await startGateway(t, upstream, { DEMO: 'true' });
  const answer = await gateway.request('GET', '/', { key: null });
  t.equal(answer.status, 302);
  t.equal(answer.headers.get('location'), '/demo');
});

t.test('without the widget\'s package, as in the image, DEMO=true stops the start and says why', (t) => {
  const loader = Module as unknown as { _resolveFilename: (name: string, ...rest: unknown[]) => string };
  const resolve = loader._resolveFilename;
  t.teardown(() => void (loader._resolveFilename = resolve));
  loader._resolveFilename = (name, ...rest) => {
    if (name === '@picahq/authkit') throw new Error(`Cannot find module '${name}'`);
    return resolve.call(loader, name, ...rest);
  };
  t.throws(() => loadAssets(), /^DEMO=true needs @picahq\/authkit/);
  t.end();
});

t.test('the login hands out keys bound to the identity, short-lived, and the widget a session', async (t) => {
  const gateway = await startGateway(t, upstream, { DEMO: 'true', DEMO_WIDGET_URL: 'http://localhost:4010' });
  const login = await gateway.request('POST', '/demo/login', { key: null, json: { identity: 'ada', identityType: 'team' } });
  t.equal(login.status, 200);
  t.equal(login.headers.get('cache-control'), 'no-store');
  t.match(login.json, { identity: 'ada', identityType: 'team', widgetBaseUrl: 'http://localhost:4010' });
  const rows = await gateway.database.prisma.apiKey.findMany();
  t.ok(rows.length > 0 && rows.every((row) => row.identity === 'ada' && row.identityType === 'team' && row.expiresAt!.getTime() < Date.now() + 3_700_000));

  const asBob = await gateway.request('GET', '/connections', { key: login.json.key, headers: { 'x-identity': 'bob' } });
  t.equal(asBob.json.code, 'identity_conflict');
  const widget = login.json.widgetHeaders as Record<string, string>;
  t.match(widget['authorization'], /^Bearer ags_/);
  t.same((await gateway.request('GET', '/connections', { key: null, headers: widget })).json.rows, []);
  t.equal((await gateway.request('GET', '/api-keys', { key: null, headers: widget })).status, 403);
  t.equal((await gateway.request('GET', '/integrations', { key: null, headers: widget })).status, 403);
});

t.test('another site that resolves here gets neither the page nor a key', async (t) => {
  const gateway = await startGateway(t, upstream, { DEMO: 'true' });
  const body = '{"identity":"ada"}';
  const ask = async (target: string, lines: string[]) => {
    const head = [`${target} HTTP/1.1`, ...lines, 'content-type: application/json', `content-length: ${body.length}`, 'connection: close'];
    const answer = await exchange(gateway.url, `${head.join('\r\n')}\r\n\r\n${body}`);
    return { status: Number(answer.split(' ')[1]), text: answer };
  };
  for (const host of ['evil.example', 'evil.example:3000', 'localhost.evil.example', '127.0.0.1.evil.example', 'notlocalhost', 'x@localhost.example', '']) {
    for (const target of ['POST /demo/login', 'GET /demo', 'GET /', 'GET /demo/assets/demo.js']) {
      const answer = await ask(target, [`host: ${host}`]);
      t.match(answer, { status: 421, text: /"code":"host_not_allowed"/ }, `${target} as ${host}`);
      t.notMatch(answer.text, /ag[ks]_[0-9A-Za-z]{38}/);
    }
  }
  t.match(await ask('POST /demo/login', ['host: localhost:3000', 'origin: https://evil.example']), { status: 403, text: /"code":"origin_not_allowed"/ });
  t.match(await ask('POST /demo/login', ['host: localhost:3000', 'origin: null']), { status: 403 });
  for (const host of ['localhost', 'localhost:3000', 'LOCALHOST:3000', 'app.localhost:3000', '127.0.0.1:3000', '[::1]:3000', '192.168.1.20:3000']) {
    t.equal((await ask('POST /demo/login', [`host: ${host}`, `origin: http://${host.toLowerCase()}`])).status, 200, host);
  }
});

t.test('the login refuses what is no identity', async (t) => {
  const gateway = await startGateway(t, upstream, { DEMO: 'true' });
  for (const json of [{}, { identity: '' }, { identity: 'x'.repeat(129) }, { identity: 'a\nb' }, { identity: 'a', identityType: 'robot' }, { identity: 'a', scopes: ['*'] }]) {
    t.equal((await gateway.request('POST', '/demo/login', { key: null, json })).status, 400, JSON.stringify(json));
  }
});

t.test('only the page\'s own files are served, under a strict policy', async (t) => {
  const gateway = await startGateway(t, upstream, { DEMO: 'true', DEMO_WIDGET_URL: 'http://localhost:4010' });
  const page = await gateway.request('GET', '/demo', { key: null });
  t.equal(page.status, 200);
  t.match(page.headers.get('content-security-policy'), /default-src 'none'.*frame-src http:\/\/localhost:4010/);
  for (const [, file] of page.text.matchAll(/\/demo\/assets\/([\w.-]+)/g)) t.equal((await gateway.request('GET', `/demo/assets/${file}`, { key: null })).status, 200, file!);
  for (const file of ['../routes.ts', '..%2froutes.ts', '%2e%2e/routes.ts', 'routes.ts', 'package.json', '__proto__', 'constructor']) {
    t.equal((await gateway.request('GET', `/demo/assets/${file}`, { key: null })).status, 404, file);
  }
});
