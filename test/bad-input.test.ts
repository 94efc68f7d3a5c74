import t, { type Test } from 'tap';
import { startSandbox } from '../sandbox/start.js';
import { type Answer, type Gateway, rootKey, startGateway } from './helpers/gateway.js';
import { recordings } from './helpers/sandbox.js';

let gateway: Gateway;
let sandboxUrl: string;

t.before(async () => {
  const sandbox = await startSandbox();
  sandboxUrl = sandbox.url;
  gateway = await startGateway(t, sandbox.url);
  t.teardown(() => sandbox.close());
});

const key = 'test::gmail::default::af92b1c8d07e4f6a9b3c5d1e2f708192';
const id = '01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87';
const ada = { 'x-user-id': 'ada' };

/** The answer is a problem document of this status and code, and names `field` where one is given. */
function isProblem(test: Test, answer: Answer, status: number, code: string, field?: string) {
  test.same([answer.status, answer.json?.code, answer.headers.get('x-authkit-error')], [status, code, code]);
  test.equal(answer.headers.get('content-type'), 'application/problem+json');
  test.match(answer.json, { type: `urn:authkit-gateway:problem:${code}`, status, requestId: answer.headers.get('x-request-id') });
  test.notMatch(answer.text, /node_modules|at .*\.[jt]s:\d/);
  if (field) test.ok(answer.json.errors?.some((problem: { field: string }) => problem.field === field), `${answer.text} names ${field}`);
}

const post = (path: string, json: unknown, headers: Record<string, string> = ada) => gateway.request('POST', path, { headers, json });
const raw = (path: string, body: string, headers: Record<string, string>) => gateway.request('POST', path, { body, headers: { ...ada, ...headers } });

t.test('no key and a wrong key are 401', async (t) => {
  isProblem(t, await gateway.request('GET', '/connections', { key: null }), 401, 'unauthorized');
  isProblem(t, await gateway.request('GET', '/connections', { key: 'wrong' }), 401, 'unauthorized');
  isProblem(t, await gateway.request('GET', '/connections', { key: '' }), 401, 'unauthorized');
});

t.test('a key in the query string is refused, with or without a key in the header', async (t) => {
  const issued = await gateway.createKey(['connections:read', 'proxy']);
  for (const query of [`api_key=${issued}`, `x-api-key=x`, `apikey=x`, `access_token=x`, `anything=${issued}`, `q=${rootKey}`, `q=${rootKey.replace('-', '%2d')}`]) {
    for (const given of [null, rootKey]) {
      const answer = await gateway.request('GET', `/integrations?${query}`, { key: given });
      isProblem(t, answer, 400, 'key_in_query');
      t.notMatch(answer.text, issued);
    }
  }
});

t.test('a missing scope is 403', async (t) => {
  const reader = await gateway.createKey(['connections:read']);
  isProblem(t, await gateway.request('POST', '/connections', { key: reader, json: {} }), 403, 'insufficient_scope');
  isProblem(t, await gateway.request('POST', '/authkit/token', { key: reader, json: {} }), 403, 'insufficient_scope');
});

t.test('no identity, two identities, and identities of the wrong form are 400', async (t) => {
  isProblem(t, await post('/authkit/token', {}, {}), 400, 'identity_required', 'header.x-identity');
  isProblem(t, await post('/connections', { key, platform: 'gmail' }, {}), 400, 'identity_required');
  isProblem(t, await post('/connections/sync', {}, {}), 400, 'identity_required');
  isProblem(t, await post('/authkit/token', { identity: 'bob' }), 400, 'identity_conflict', 'body.identity');
  isProblem(t, await post('/authkit/token', {}, { 'x-identity': 'a', 'x-user-id': 'b' }), 400, 'identity_conflict', 'header.x-user-id');

  isProblem(t, await post('/authkit/token', {}, { 'x-identity': 'x'.repeat(129) }), 400, 'invalid_request', 'header.x-identity');
  t.equal((await post('/authkit/token', {}, { 'x-identity': 'x'.repeat(128) })).status, 200);
  isProblem(t, await post('/authkit/token', { identity: 'x'.repeat(129) }, {}), 400, 'invalid_request', 'body.identity');
  isProblem(t, await post('/authkit/token', { identity: '' }, {}), 400, 'invalid_request', 'body.identity');
  for (const identity of ['a\u0000b', 'a\nb', 'a\u007fb', 'a\u0085b']) {
    isProblem(t, await post('/authkit/token', { identity }, {}), 400, 'invalid_request', 'body.identity');
    isProblem(t, await gateway.request('GET', `/connections?identity=${encodeURIComponent(identity)}`), 400, 'invalid_request', 'query.identity');
  }
  isProblem(t, await post('/authkit/token', {}, { 'x-identity': 'a\tb' }), 400, 'invalid_request', 'header.x-identity');

  isProblem(t, await post('/authkit/token', {}, { 'x-identity': 'a', 'x-identity-type': 'robot' }), 400, 'invalid_request', 'header.x-identity-type');
  isProblem(t, await post('/authkit/token', {}, { 'x-identity-type': 'user' }), 400, 'invalid_request', 'header.x-identity-type');
  isProblem(t, await post('/authkit/token', { identity: 'a', identityType: 'robot' }, {}), 400, 'invalid_request', 'body.identityType');
  isProblem(t, await gateway.request('GET', '/connections?identityType=robot'), 400, 'invalid_request', 'query.identityType');
});

t.test('a body may agree with a header\'s identity, not change its type', async (t) => {
  isProblem(t, await post('/authkit/token', { identity: '42', identityType: 'organization' }, { 'x-identity': '42' }), 400, 'identity_conflict', 'body.identity');
  isProblem(t, await post('/authkit/token', { identityType: 'organization' }, { 'x-identity': '42' }), 400, 'identity_conflict', 'body.identity');
  t.equal((await post('/authkit/token', { identityType: 'user' }, { 'x-identity': '42' })).status, 200);
  t.equal((await post('/authkit/token', {}, { 'x-user-id': '42', 'x-identity-type': 'user' })).status, 200);
  isProblem(t, await post('/authkit/token', {}, { 'x-user-id': '42', 'x-identity-type': 'team' }), 400, 'identity_conflict');
  isProblem(t, await post('/authkit/token', { identityType: 'user' }, {}), 400, 'invalid_request', 'body.identityType');
});

t.test('bytes that are no UTF-8 are refused instead of making one identity of two', async (t) => {
  for (const byte of [0xeb, 0xe9]) {
    const body = Buffer.concat([Buffer.from('{"identity":"Zo'), Buffer.from([byte]), Buffer.from('"}')]);
    const answer = await fetch(`${gateway.url}/authkit/token`, { method: 'POST', headers: { 'x-api-key': rootKey, 'content-type': 'application/json' }, body });
    t.same([answer.status, (await answer.json() as { errors: unknown }).errors], [400, [{ field: 'body', message: 'is not UTF-8' }]]);
  }
});

t.test('nesting without end is refused, not a 500', async (t) => {
  for (const depth of [65, 3_000, 30_000]) {
    const body = `{"metadata":{"a":${'['.repeat(depth)}${']'.repeat(depth)}}}`;
    isProblem(t, await gateway.request('PATCH', `/connections/${id}`, { body, headers: { 'content-type': 'application/json' } }), 400, 'invalid_request', 'body');
  }
});

t.test('the answer to a body full of mistakes is short', async (t) => {
  const answer = await post('/api-keys', { name: 'x', scopes: Array.from({ length: 3_500 }, (_, index) => `no-scope-${index}`) });
  isProblem(t, answer, 400, 'invalid_request');
  t.ok(answer.text.length < 10_000, `${answer.text.length} characters`);
});

t.test('identities beyond ASCII arrive whole, from headers and bodies', async (t) => {
  const name = 'Zoë 株式会社 🚀';
  const encoded = `UTF-8''${encodeURIComponent(name)}`;
  const answer = await post('/authkit/token', {}, { 'x-identity': encoded });
  t.equal(answer.json.identity, name);
  t.equal((await post('/authkit/token', { identity: name }, { 'x-identity': encoded })).status, 200);
  isProblem(t, await post('/authkit/token', {}, { 'x-identity': Buffer.from(name).toString('latin1') }), 400, 'invalid_request', 'header.x-identity');
});

t.test('a body of the wrong type, or no JSON, is 400', async (t) => {
  for (const json of [[], 'text', 42, true, null]) {
    isProblem(t, await post('/connections', json), 400, 'invalid_request', 'body');
    isProblem(t, await post('/authkit/token', json), 400, 'invalid_request', 'body');
  }
  isProblem(t, await post('/connections', { key: 7, platform: 'gmail' }), 400, 'invalid_request', 'body.key');
  isProblem(t, await post('/connections', { key, platform: ['gmail'] }), 400, 'invalid_request', 'body.platform');
  isProblem(t, await post('/connections', { platform: 'gmail' }), 400, 'invalid_request', 'body.key');
  isProblem(t, await post('/connections', {}), 400, 'invalid_request', 'body.platform');
  isProblem(t, await post('/connections', { connection_key: key }), 400, 'invalid_request', 'body.platform');
  for (const body of ['{', '{"key":', 'nonsense', '{"a":1}}', '\u0000']) {
    isProblem(t, await raw('/connections', body, { 'content-type': 'application/json' }), 400, 'invalid_request', 'body');
  }
});

t.test('prototype pollution is refused in every JSON body', async (t) => {
  for (const path of ['/connections', '/authkit/token', '/connections/sync', '/api-keys', `/api-keys/${id}/rotate`]) {
    for (const body of ['{"__proto__":{"x":1}}', '{"constructor":{"prototype":{"x":1}}}', '{"metadata":{"__proto__":{"x":1}}}']) {
      isProblem(t, await raw(path, body, { 'content-type': 'application/json' }), 400, 'invalid_request');
    }
  }
  t.equal(({} as { x?: unknown }).x, undefined);
});

t.test('more than 64 KiB of JSON on a JSON route is 413', async (t) => {
  const sized = (bytes: number) => raw('/authkit/token', `{"identity":"ada"${' '.repeat(bytes - 18)}}`, { 'content-type': 'application/json' });
  t.equal((await sized(64 * 1024)).status, 200);
  isProblem(t, await sized(64 * 1024 + 1), 413, 'payload_too_large');
  isProblem(t, await post('/connections', { key, platform: 'gmail', filler: 'x'.repeat(10 * 1024 * 1024) }), 413, 'payload_too_large');
});

t.test('a wrong content type is 415', async (t) => {
  for (const type of ['text/plain', 'application/xml', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x']) {
    isProblem(t, await raw('/connections', 'key=x', { 'content-type': type }), 415, 'unsupported_media_type');
  }
});

t.test('unknown members are ignored in the widget\'s record and refused elsewhere', async (t) => {
  isProblem(t, await post('/authkit/token', { surprise: 1 }), 400, 'invalid_request', 'body.surprise');
  isProblem(t, await post('/connections', { connection_key: key, platform: 'gmail', surprise: 1 }), 400, 'invalid_request', 'body.surprise');
  isProblem(t, await post('/connections/sync', { surprise: 1 }), 400, 'invalid_request', 'body.surprise');
  isProblem(t, await post('/api-keys', { name: 'x', scopes: ['proxy'], surprise: 1 }), 400, 'invalid_request', 'body.surprise');
  isProblem(t, await gateway.request('PATCH', `/connections/${id}`, { json: { state: 'failed' } }), 400, 'invalid_request', 'body.state');
  isProblem(t, await gateway.request('GET', '/connections?surprise=1'), 400, 'invalid_request', 'query.surprise');
  isProblem(t, await gateway.request('GET', '/integrations?surprise=1'), 400, 'invalid_request', 'query.surprise');
});

t.test('several mistakes are all named at once', async (t) => {
  const answer = await post('/api-keys', { name: '', scopes: ['everything'], expiresAt: 'tomorrow', surprise: 1 });
  for (const field of ['body.name', 'body.scopes.0', 'body.expiresAt', 'body.surprise']) isProblem(t, answer, 400, 'invalid_request', field);
});

t.test('malformed and header-unsafe connection keys are 422 and never reach the upstream', async (t) => {
  for (const bad of ['', 'a', 'test', 'test::gmail', `${key}\n`, `${key}\0`, `${key}\r\nx-pica-secret: y`, `${key} `, `test::gm ail::default::abc`, 'x'.repeat(600)]) {
    const answer = await post('/connections', { key: bad, platform: 'gmail' });
    if (bad === '') isProblem(t, answer, 400, 'invalid_request', 'body.key');
    else isProblem(t, answer, 422, 'invalid_connection_key', 'body.key');
  }
  t.same(await recordings(sandboxUrl, '/v1/vault'), []);
});

t.test('wrong UUIDs are 400, unknown ones 404', async (t) => {
  for (const method of ['GET', 'DELETE']) {
    for (const bad of ['1', 'abc', `urn:uuid:${id}`, `${id}x`, '%00', `${id}%00`]) isProblem(t, await gateway.request(method, `/connections/${bad}`), 400, 'invalid_request', 'path.id');
    isProblem(t, await gateway.request(method, `/connections/${id}`), 404, 'connection_not_found');
  }
  isProblem(t, await gateway.request('DELETE', '/api-keys/1'), 400, 'invalid_request', 'path.id');
  isProblem(t, await gateway.request('DELETE', `/api-keys/${id}`), 404, 'api_key_not_found');
});

t.test('bad cursors and limits are 400', async (t) => {
  for (const cursor of ['x', 'AAAA', '%00', '1.1', Buffer.from('99999999999999999999.x').toString('base64url'), Buffer.from(`1.${id}'--`).toString('base64url')]) {
    const answer = await gateway.request('GET', `/connections?cursor=${cursor}`);
    isProblem(t, answer, 400, 'invalid_cursor', 'query.cursor');
  }
  for (const limit of ['0', '-1', '101', '1e9', '1000000000', 'x', '1.5', '']) {
    isProblem(t, await gateway.request('GET', `/connections?limit=${limit}`), 400, 'invalid_request', 'query.limit');
  }
  isProblem(t, await gateway.request('GET', '/integrations?limit=1e9'), 400, 'invalid_request', 'query.limit');
  isProblem(t, await gateway.request('GET', '/integrations?page=0'), 400, 'invalid_request', 'query.page');
  t.equal((await gateway.request('GET', '/connections?limit=100')).status, 200);
});

t.test('text that Postgres cannot hold is refused, not a 500', async (t) => {
  const row = await gateway.database.prisma.userConnection.create({ data: { identity: 'ada', key, platform: 'gmail', environment: 'test' } });
  const patch = (json: unknown) => gateway.request('PATCH', `/connections/${row.id}`, { json });
  isProblem(t, await patch({ name: 'a\u0000' }), 400, 'invalid_request', 'body.name');
  isProblem(t, await patch({ tags: ['a\u0000'] }), 400, 'invalid_request', 'body.tags.0');
  isProblem(t, await patch({ metadata: { a: 'x\u0000' } }), 400, 'invalid_request', 'body.metadata');
  isProblem(t, await patch({ metadata: { 'x\u0000': 1 } }), 400, 'invalid_request', 'body.metadata');
  for (const unpaired of [{ metadata: { a: '\ud800' } }, { name: 'a\udc00' }, { tags: ['\ud800x'] }]) isProblem(t, await patch(unpaired), 400, 'invalid_request', 'body');
  t.equal((await patch({ name: '🚀 \\ud800' })).status, 200, 'pairs, and text that only looks like one, are fine');
  isProblem(t, await patch({ metadata: { a: 'x'.repeat(17_000) } }), 400, 'invalid_request', 'body.metadata');
  isProblem(t, await patch({}), 400, 'invalid_request', 'body');
  t.equal((await patch({ metadata: { a: '🚀', literal: '\\u0000' }, name: '🚀' })).status, 200);
  for (const filter of ['tag', 'key', 'platform']) isProblem(t, await gateway.request('GET', `/connections?${filter}=a%00`), 400, 'invalid_request', `query.${filter}`);
  t.equal((await gateway.request('GET', '/integrations?q=%00')).status, 200);
});

t.test('unknown routes are 404, unknown methods 405 with allow', async (t) => {
  isProblem(t, await gateway.request('GET', '/nothing'), 404, 'not_found');
  isProblem(t, await gateway.request('GET', '/connections/a/b'), 404, 'not_found');
  const put = await gateway.request('PUT', '/connections', { json: {} });
  isProblem(t, put, 405, 'method_not_allowed');
  t.equal(put.headers.get('allow'), 'GET, HEAD, POST');
  isProblem(t, await gateway.request('GET', '/authkit/token'), 405, 'method_not_allowed');
  t.equal((await gateway.request('PUT', '/connections/sync', { json: {} })).headers.get('allow'), 'POST');
  isProblem(t, await gateway.request('GET', '/docs/static/nothing.js'), 404, 'not_found');
  isProblem(t, await gateway.request('DELETE', `/integrations/gmail`), 405, 'method_not_allowed');
});
