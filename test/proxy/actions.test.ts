import t, { type Test } from 'tap';
import { indexActions } from '../../src/proxy/action-index.js';
import type { Action } from '../../src/upstream/actions.js';
import { openTestDatabase } from '../helpers/database.js';
import { secretKey, startGateway } from '../helpers/gateway.js';
import { startUpstream, storeConnection } from '../helpers/upstream.js';

// A machine busy with other tests takes its time.
t.setTimeout(300_000);
const database = await openTestDatabase(t);
await storeConnection({ database });
const headers = { 'x-user-id': 'ada' };

const rows = [
  { _id: 'list', title: 'List messages', method: 'GET', path: '/users/{{userId}}/messages', connectionPlatform: 'gmail' },
  { _id: 'get', title: 'Get message', method: 'GET', path: 'users/{{userId}}/messages/{{id}}', connectionPlatform: 'gmail' },
  { _id: 'batch', title: 'Batch', method: 'GET', path: '/users/{{userId}}/messages/batch', connectionPlatform: 'gmail' },
  { _id: 'send', title: 'Send', method: 'POST', path: '/users/{{userId}}/messages', connectionPlatform: 'gmail' },
  { _id: 'foreign', title: 'List repos', method: 'GET', path: '/foreign', connectionPlatform: 'github' },
];

async function start(t: Test, environment = {}, answerRows: () => unknown = () => rows, available?: unknown[]) {
  const asked: string[] = [];
  const upstream = await startUpstream(t, (_request, response) => void response.writeHead(200, { 'x-pica-passthrough-a': 'b' }).end('ok'), (request, response) => {
    const catalogue = request.url!.startsWith('/v1/available-connectors') && [{ name: 'Gmail', platform: 'gmail' }];
    if (!catalogue) asked.push(request.url!);
    const found = catalogue || (request.url!.startsWith('/v1/knowledge') ? answerRows() : available);
    if (!found) return void response.writeHead(500).end();
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ rows: found, total: rows.length, pages: 1, page: 1 }));
  });
  return { upstream, asked, gateway: await startGateway(t, upstream.url, environment, database) };
}

t.test('a native path goes out as it is with its action; another goes out in the guide\'s form', async (t) => {
  const { upstream, asked, gateway } = await start(t);
  const sends = async (method: string, path: string, url: string, action: string | undefined) => {
    t.equal((await gateway.request(method, `/proxy/gmail${path}`, { headers })).status, 200);
    const { url: sent, headers: got } = upstream.received.pop()!;
    t.equal(sent, `/v1/passthrough${url}`);
    t.equal(got['x-pica-action-id'], action, path);
  };
  await sends('GET', '/users/me/messages?q=a%20b&q=c', '/users/me/messages?q=a%20b&q=c', 'list');
  await sends('GET', '/users/me/messages/batch', '/users/me/messages/batch', 'batch');
  await sends('GET', '/users/me/messages/a%2Fb', '/users/me/messages/a%2Fb', 'get');
  await sends('POST', '/users/me/messages', '/users/me/messages', 'send');
  await sends('PUT', '/users/me/messages', '/gmail/users/me/messages', undefined);
  await sends('GET', '/users//messages', '/gmail/users//messages', undefined);
  await sends('GET', '/foreign', '/gmail/foreign', undefined);
  t.equal(asked.length, 2, 'asked once');
});

t.test('the caller\'s own action id counts when it is of the platform and the method, else 422', async (t) => {
  for (const ACTION_RESOLUTION of ['auto', 'off']) {
    const { upstream, gateway } = await start(t, { ACTION_RESOLUTION });
    const call = (id: string, method = 'GET') => gateway.request(method, '/proxy/gmail/any/path', { headers: { ...headers, 'x-pica-action-id': id } });
    t.equal((await call('list')).status, 200);
    t.match(upstream.received.pop(), { url: '/v1/passthrough/any/path', headers: { 'x-pica-action-id': 'list' } });
    for (const [id, method] of [['foreign', 'GET'], ['list', 'POST'], ['unknown', 'GET']] as const) {
      t.match(await call(id, method), { status: 422, json: { code: 'action_mismatch' } });
    }
    t.equal(upstream.received.length, 0);
  }
});

t.test('off turns resolving off', async (t) => {
  const { upstream, asked, gateway } = await start(t, { ACTION_RESOLUTION: 'off' });
  await gateway.request('GET', '/proxy/gmail/users/me/messages', { headers });
  t.equal(upstream.received[0]?.url, '/v1/passthrough/gmail/users/me/messages');
  t.strictSame(asked, []);
});

t.test('actions that cannot be had do not stop a call, and a caller\'s own id is then refused', async (t) => {
  const { upstream, asked, gateway } = await start(t, {}, () => undefined);
  for (let i = 0; i < 3; i += 1) t.equal((await gateway.request('GET', '/proxy/gmail/users/me/messages', { headers })).status, 200);
  t.equal(upstream.received[2]?.url, '/v1/passthrough/gmail/users/me/messages');
  t.equal(asked.length, 2);
  t.match(await gateway.request('GET', '/proxy/gmail/x', { headers: { ...headers, 'x-pica-action-id': 'list' } }), { status: 502 });
});

t.test('knowledge that fails while it is renewed leaves the actions that are known', async (t) => {
  let told: unknown = rows;
  let failed = 0;
  const { upstream, gateway } = await start(t, { INTEGRATIONS_TTL_MS: '1' }, () => {
    if (!told) failed += 1;
    return told;
  }, [{ title: 'List messages', method: 'GET', platform: 'gmail', key: 'k' }]);
  const call = () => gateway.request('GET', '/proxy/gmail/users/me/messages', { headers });
  await call();
  told = undefined;
  while (failed === 0) await call();
  t.match((await gateway.request('GET', '/integrations/gmail/actions')).json, { rows: [{ id: 'list' }, {}, {}, {}] });
  for (let i = 0; i < 3; i += 1) t.match([(await call()).status, upstream.received.at(-1)], [200, { url: '/v1/passthrough/users/me/messages', headers: { 'x-pica-action-id': 'list' } }]);
});

t.test('a catalogue that does not answer holds a call up no longer than its deadline', async (t) => {
  const upstream = await startUpstream(t, (_request, response) => void response.writeHead(200, { 'x-pica-passthrough-a': 'b' }).end('ok'), () => {});
  const gateway = await startGateway(t, upstream.url, { PROXY_TIMEOUT_MS: '200', UPSTREAM_TIMEOUT_MS: '60000' }, database);
  t.equal((await gateway.request('GET', '/proxy/gmail/users/me/messages', { headers })).status, 200);
  t.equal(upstream.received.pop()?.url, '/v1/passthrough/gmail/users/me/messages');
  t.match(await gateway.request('GET', '/proxy/gmail/x', { headers: { ...headers, 'x-pica-action-id': 'list' } }), { status: 504, json: { code: 'upstream_timeout' } });
  t.equal(upstream.received.length, 0);
});

t.test('x-authkit-explain says what would be sent, with secrets masked, and sends nothing', async (t) => {
  const { upstream, gateway } = await start(t);
  const answer = await gateway.request('GET', '/proxy/gmail/users/me/messages?q=1', {
    headers: { ...headers, 'x-authkit-explain': 'true', 'x-upstream-authorization': 'Bearer second', accept: 'a/b' },
  });
  t.match(answer, { status: 200, json: {
    connection: { platform: 'gmail', identity: 'ada' },
    action: { id: 'list', title: 'List messages', path: '/users/{{userId}}/messages', rule: '/users/{{userId}}/messages' },
    upstream: { method: 'GET', path: '/v1/passthrough/users/me/messages?q=1' },
    retry: { repeatable: true, rule: /at most twice/ },
  } });
  const sent = Object.fromEntries(answer.json.upstream.headers);
  t.match(sent, { accept: 'a/b', authorization: '[secret]', 'x-pica-secret': '[secret]', 'x-pica-connection-key': '[secret]', 'x-pica-action-id': 'list' });
  t.notOk(answer.text.includes(secretKey) || answer.text.includes('test::') || answer.text.includes('Bearer'));
  t.equal(upstream.received.length, 0);
});

t.test('x-authkit-explain masks what came as x-upstream-* and what is named like a credential', async (t) => {
  const { gateway } = await start(t);
  const secrets = ['x-auth-key', 'ocp-apim-subscription-key', 'x-amz-credential', 'x-session', 'x-auth'];
  const answer = await gateway.request('GET', '/proxy/gmail/x', {
    headers: { ...headers, 'x-authkit-explain': 'True', 'X-Upstream-Anything': 'hidden', ...Object.fromEntries(secrets.map((name) => [name, 'hidden'])) },
  });
  const sent = Object.fromEntries(answer.json.upstream.headers);
  for (const name of [...secrets, 'anything']) t.equal(sent[name], '[secret]', name);
  t.notOk(answer.text.includes('hidden'));
});

t.test('x-authkit-explain that is neither true nor false is refused: nothing is sent by a slip', async (t) => {
  const { upstream, gateway } = await start(t);
  const call = (value: string) => gateway.request('POST', '/proxy/gmail/users/me/messages', { headers: { ...headers, 'x-authkit-explain': value } });
  for (const value of ['1', 'yes', 'true, true', '']) {
    t.match(await call(value), { status: 400, json: { code: 'invalid_request', errors: [{ field: 'header.x-authkit-explain' }] } }, value);
  }
  t.equal((await call('TRUE')).headers.get('x-authkit-explain'), 'true');
  t.equal(upstream.received.length, 0);
  t.equal((await call('false')).headers.get('x-authkit-explain'), null);
  t.equal(upstream.received.length, 1);
});

t.test('GET /integrations/:platform/actions lists and searches them', async (t) => {
  const { gateway } = await start(t);
  t.match((await gateway.request('GET', '/integrations/gmail/actions')).json, { total: 4, pages: 1, page: 1, rows: [{ id: 'list', title: 'List messages', method: 'GET' }, {}, {}, {}] });
  t.match((await gateway.request('GET', '/integrations/gmail/actions?q=post')).json, { total: 1, rows: [{ id: 'send' }] });
  t.match((await gateway.request('GET', '/integrations/gmail/actions?q=BATCH&limit=1')).json, { total: 1, rows: [{ id: 'batch' }] });
});

const action = (path: string): Action => ({ id: path, path, title: path, method: 'GET', platform: 'x', baseUrl: undefined, key: undefined, modelName: undefined, custom: undefined });

t.test('most specific wins, and a prefix that all templates share may be left out', async (t) => {
  const index = indexActions([
    '/v1/api/items/{{id}}', '/v1/api/items/new', '/v1/api/items/{{id}}.json', '/v1/api/{{kind}}/new', '/v1/api/items/{{id}}/tags', '/v1/api/items/new:{{verb}}',
  ].map(action));
  const match = (path: string) => index.match('GET', path);
  t.equal(match('/v1/api/items/7')?.action.id, '/v1/api/items/{{id}}');
  t.equal(match('/v1/api/items/new')?.action.id, '/v1/api/items/new');
  t.equal(match('/v1/api/items/7.json')?.action.id, '/v1/api/items/{{id}}.json');
  t.equal(match('/v1/api/items/new:go')?.action.id, '/v1/api/items/new:{{verb}}');
  t.equal(match('/v1/api/other/new')?.action.id, '/v1/api/{{kind}}/new');
  t.equal(match('/v1/api/items/new/tags')?.action.id, '/v1/api/items/{{id}}/tags');
  t.match(match('/items/7'), { path: '/v1/api/items/7', action: { id: '/v1/api/items/{{id}}' } });
  t.match(match('/api/items/7'), { path: '/v1/api/items/7', action: { id: '/v1/api/items/{{id}}' } });
  t.equal(match('/v1/api/items/7/'), undefined);
  t.equal(match('/'), undefined);
  t.equal(index.match('POST', '/v1/api/items/7'), undefined);
});

t.test('Gmail\'s paths are found without /gmail/v1, whatever else the catalogue holds', async (t) => {
  const gmail = ['/gmail/v1/users/{{userId}}/messages', '/gmail/v1/users/{{userId}}/messages/{{id}}', '/gmail/v1/users/{{userId}}/profile'];
  for (const others of [[], ['/gmail/v1/other/y'], ['/upload/gmail/v1/users/{{userId}}/messages'], ['/{{anything}}/x']]) {
    const index = indexActions([...gmail, ...others].map(action));
    for (const path of ['/users/me/messages', '/v1/users/me/messages', '/gmail/v1/users/me/messages']) {
      t.equal(index.match('GET', path)?.action.id, gmail[0], path);
      t.equal(index.match('GET', path)!.path, '/gmail/v1/users/me/messages');
    }
    for (const path of ['/me/messages', '/other/me/messages', '/messages']) t.equal(index.match('GET', path), undefined, path);
  }
});

t.test('of a path\'s two versions neither may be guessed', async (t) => {
  t.equal(indexActions(['/v1/users/{{id}}', '/v2/users/{{id}}'].map(action)).match('GET', '/users/7'), undefined);
});

t.test('within a segment more literal text is more specific, in any order of the catalogue', async (t) => {
  const paths = ['/docs/{{id}}:{{verb}}', '/docs/{{id}}:batchUpdate', '/docs/{{id}}'];
  for (const order of [paths, [...paths].reverse()]) t.equal(indexActions(order.map(action)).match('GET', '/docs/7:batchUpdate')?.action.id, paths[1]);
});

t.test('a path behind the base URL\'s own path, in whole, in part or not at all, becomes the row\'s', async (t) => {
  const based = (path: string, baseUrl: string): Action => ({ ...action(path), baseUrl });
  const gmail = 'https://gmail.googleapis.com/gmail/v1/';
  const index = indexActions([based('/users/{{userId}}/profile', gmail), based('/users/{{userId}}/labels', gmail), action('/gmail/v1/users/{{userId}}/messages'), based('/{{anything}}/x', 'https://h')]);
  for (const [path, id, sent] of [
    ['/gmail/v1/users/me/profile', '/users/{{userId}}/profile', '/users/me/profile'], ['/users/me/profile', '/users/{{userId}}/profile', '/users/me/profile'],
    ['/v1/users/me/profile', '/users/{{userId}}/profile', '/users/me/profile'], ['/gmail/v1/users/me/messages', '/gmail/v1/users/{{userId}}/messages', '/gmail/v1/users/me/messages'],
    ['/users/me/messages', '/gmail/v1/users/{{userId}}/messages', '/gmail/v1/users/me/messages'],
  ] as const) t.match(index.match('GET', path), { path: sent, action: { id } }, path);
  t.equal(index.match('GET', '/gmail/users/me/profile'), undefined);
  t.match(index.match('GET', '/gmail/v1/users/me/profile'), { how: ', behind the path of its base URL' });
  const host = indexActions([based('/{{kind}}/{{id}}', 'https://{{sub}}.example.com/v1'), based('/customers', 'https://{{sub}}.example.com/v1')]);
  t.match(host.match('GET', '/v1/customers'), { path: '/customers', action: { id: '/customers' } }, 'literal text wins over a parameter that would swallow the base');
  t.match(host.match('GET', '/v1/orders/7'), { path: '/orders/7' });
  for (const baseUrl of ['', 'https://h', 'https://h/', 'h/v1', '/v1', 'https://h?x=/v1']) t.equal(indexActions([based('/a', baseUrl)]).match('GET', '/v1/a'), undefined, baseUrl);
});

t.test('parameters in one brace and in two, mixed within a path and within a segment', async (t) => {
  const index = indexActions(['/repos/{owner}/{repo}/pulls/{{pullNumber}}', '/repos/{owner}/{repo}/pulls/new', '/files/{name}.{{extension}}', '/files/{{a}}{b}', '/range/{from}...{{to}}'].map(action));
  for (const [path, id] of [
    ['/repos/acme/api/pulls/7', '/repos/{owner}/{repo}/pulls/{{pullNumber}}'], ['/repos/acme/api/pulls/new', '/repos/{owner}/{repo}/pulls/new'], ['/files/a.b.c', '/files/{name}.{{extension}}'],
    ['/files/ab', '/files/{{a}}{b}'], ['/files/a', undefined], ['/files/.', undefined], ['/files/.b', '/files/{{a}}{b}'], ['/range/a...b', '/range/{from}...{{to}}'], ['/range/a....b', '/range/{from}...{{to}}'],
    ['/range/...b', undefined], ['/range/a...', undefined], ['/repos/{owner}/{repo}/pulls/{{pullNumber}}', '/repos/{owner}/{repo}/pulls/{{pullNumber}}'],
  ] as const) t.equal(index.match('GET', path)?.action.id, id, path);
});

t.test('%2F counts as a slash where the path means nothing else', async (t) => {
  const index = indexActions(['/users/{{userId}}/messages', '/files/{{path}}'].map(action));
  t.match(index.match('GET', '/users%2Fme%2fmessages'), { path: '/users/me/messages', how: ', %2F read as /' });
  t.match(index.match('GET', '/files/a%2Fb'), { path: '/files/a%2Fb', how: '' });
  t.equal(index.match('GET', '/users%2Fme%2Fmessages%2Fx'), undefined);
  t.equal(index.match('GET', '/users%252Fme%252Fmessages'), undefined);
});

t.test('a segment with many parameters is matched in one pass, however much it looks like it', async (t) => {
  const [many, other] = [`/x/${Array.from({ length: 12 }, (_, i) => `{{p${i}}}`).join('-')}-end`, `/x/${Array.from({ length: 12 }, (_, i) => `{p${i}}`).join('a')}b`];
  const index = indexActions([many, other].map(action));
  // With backtracking this takes longer than the universe has.
  for (const path of [`/x/${'-'.repeat(12_000)}`, `/x/${'a'.repeat(12_000)}`, `/x/${'-a'.repeat(6_000)}-en`]) t.equal(index.match('GET', path), undefined);
  t.equal(index.match('GET', `/x/${'-'.repeat(12_000)}-end`)?.action.id, many);
  t.equal(index.match('GET', `/x/${'a'.repeat(12_000)}b`)?.action.id, other);
});

t.test('base URLs and encoded slashes, sent and explained', async (t) => {
  const based = { _id: 'profile', title: 'Profile', method: 'GET', path: '/users/{userId}/profile', baseUrl: 'https://gmail.googleapis.com/gmail/v1', connectionPlatform: 'gmail', tags: [] };
  const { upstream, gateway } = await start(t, {}, () => [based]);
  for (const [path, extra] of [['/users/me/profile', {}], ['/gmail/v1/users/me/profile', {}], ['/users%2Fme%2Fprofile', {}], ['/gmail%2Fv1%2Fusers/me/profile', { 'x-pica-action-id': 'profile' }]] as const) {
    t.equal((await gateway.request('GET', `/proxy/gmail${path}?a=%2F`, { headers: { ...headers, ...extra } })).status, 200, path);
    const { url, headers: got } = upstream.received.pop()!;
    t.same([url, got['x-pica-action-id']], ['/v1/passthrough/users/me/profile?a=%2F', 'profile'], path);
  }
  const { json } = await gateway.request('GET', '/proxy/gmail/gmail/v1/users/me/profile', { headers: { ...headers, 'x-authkit-explain': 'true' } });
  t.match(json, { action: { path: based.path, baseUrl: based.baseUrl, rule: '/users/{userId}/profile, behind the path of its base URL' }, upstream: { path: '/v1/passthrough/users/me/profile' } });
  t.match((await gateway.request('GET', '/integrations/gmail/actions?q=gmail/v1/users')).json, { rows: [{ path: based.path, baseUrl: based.baseUrl }] });
});
