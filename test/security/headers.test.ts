import t from 'tap';
import { exchange } from '../helpers/raw-http.js';
import { recordings } from '../helpers/sandbox.js';
import { claimOf, startBoth } from '../helpers/trust.js';
import { rootKey, secretKey } from '../helpers/gateway.js';

t.setTimeout(300_000);

t.test('header smuggling on our own routes', async (t) => {
  const { gateway, sandbox } = await startBoth(t);
  const key = await gateway.createKey(['authkit:token', 'connections:read', 'connections:write'], { identity: 'ada' });
  const { host } = new URL(gateway.url);

  /** A request written byte for byte; the status and the whole answer. */
  const raw = async (lines: string[], target = 'GET /connections') => {
    const answer = await exchange(gateway.url, `${target} HTTP/1.1\r\nhost: ${host}\r\n${lines.map((line) => `${line}\r\n`).join('')}connection: close\r\n\r\n`);
    return { status: Number(answer.split(' ')[1]), answer };
  };

  await t.test('the upstream\'s own headers go nowhere', async (t) => {
    const smuggled = {
      'x-pica-secret': 'sk_test_smuggled', 'x-one-secret': 'sk_test_smuggled', 'x-pica-connection-key': 'test::gmail::default::smuggled',
      'x-pica-action-id': 'smuggled', 'x-forwarded-for': '1.2.3.4', cookie: 'a=smuggled', authorization: `Bearer ${key}`,
    };
    await gateway.request('POST', '/authkit/token', { key: null, headers: smuggled });
    const { claim } = await claimOf(sandbox, 'ada');
    t.equal((await gateway.request('POST', '/connections', { key: null, headers: smuggled, json: claim })).status, 201);
    t.equal((await gateway.request('POST', '/connections/sync', { key: null, headers: smuggled })).status, 200);
    const sent = [...await recordings(sandbox, '/v1/authkit'), ...await recordings(sandbox, '/v1/vault')];
    t.ok(sent.length >= 3);
    for (const { headers } of sent) {
      t.equal(headers['x-pica-secret'], secretKey);
      t.notMatch(JSON.stringify(headers), /smuggled|1\.2\.3\.4/);
      t.notMatch(JSON.stringify(headers), key);
    }
  });

  await t.test('a credential named hop-by-hop still counts, and names no other', async (t) => {
    t.equal((await raw(['connection: x-api-key', `x-api-key: ${key}`])).status, 200);
    t.equal((await raw(['connection: x-api-key, authorization, x-user-id', `x-api-key: ${key}`, 'x-user-id: bob'])).status, 400);
    t.equal((await raw(['connection: x-api-key'])).status, 401);
  });

  await t.test('a credential or an identity sent twice', async (t) => {
    for (const lines of [
      [`x-api-key: ${key}`, `x-api-key: ${key}`], [`x-api-key: ${key}`, `X-API-KEY: ${rootKey}`], [`authorization: Bearer ${key}`, `authorization: Bearer ${rootKey}`],
      [`authorization: Bearer ${key}`, 'Authorization: Basic eDp5'], [`authorization: Bearer ${key}`, `x-api-key: ${rootKey}`], [`x-api-key: ${key}, ${rootKey}`],
    ]) t.equal((await raw(lines)).status, 401, lines.join(' | ').replaceAll(key, 'KEY').replaceAll(rootKey, 'ROOT'));
    for (const lines of [
      ['x-user-id: ada', 'x-user-id: bob'], ['x-identity: ada', 'X-Identity: bob'], ['x-user-id: ada', 'x-identity: bob'], ['x-identity: ada', 'x-identity-type: user', 'x-identity-type: team'],
    ]) t.match(await raw([`x-api-key: ${rootKey}`, ...lines]), { status: 400, answer: /identity_conflict/ }, lines.join(' | '));
  });

  await t.test('line ends, NULs and odd names inside of headers', async (t) => {
    for (const line of [
      `x-user-id: ada\nx-api-key: ${rootKey}`, `x-user-id: ada\rx-api-key: ${rootKey}`, 'x-user-id: a\0b', `x-api-key : ${key}`, ` x-api-key: ${key}`, `x_api_key: ${key}`,
      `x-user-id: ada\r\n x-api-key: ${rootKey}`, `x-api-key:\u000b${key}`,
    ]) {
      const { status, answer } = await raw([line]);
      t.ok(status === 400 || status === 401, `${JSON.stringify(line.replaceAll(key, 'KEY').replaceAll(rootKey, 'ROOT'))}: ${status}`);
      t.notMatch(answer, /"rows"/);
    }
  });

  await t.test('a second request hidden in the first one\'s framing', async (t) => {
    const hidden = `GET /api-keys HTTP/1.1\r\nhost: ${host}\r\nx-api-key: ${rootKey}\r\n\r\n`;
    for (const framing of [
      ['content-length: 2', 'transfer-encoding: chunked'], ['content-length: 2', 'content-length: 3'], ['transfer-encoding: chunked, identity'],
      ['transfer-encoding: xchunked'], ['content-length: +2'], ['content-length: 0x2'],
    ]) {
      const request = `POST /authkit/token HTTP/1.1\r\nhost: ${host}\r\nx-api-key: ${key}\r\ncontent-type: application/json\r\n${framing.join('\r\n')}\r\nconnection: close\r\n\r\n{}${hidden}`;
      const answer = await exchange(gateway.url, request);
      t.match(answer, /^HTTP\/1\.1 4\d\d /, framing.join(' | '));
      t.notMatch(answer, /"hint"/, 'the hidden one is not answered');
    }
  });

  await t.test('another method or path in a header', async (t) => {
    const { claim } = await claimOf(sandbox, 'ada', 'slack');
    const { id } = (await gateway.request('POST', '/connections', { key, json: claim })).json;
    const reader = await gateway.createKey(['connections:read'], { identity: 'ada' });
    for (const headers of [{ 'x-http-method-override': 'DELETE' }, { 'x-original-url': '/api-keys' }, { 'x-rewrite-url': '/api-keys' }, { 'x-forwarded-prefix': '/api-keys' }] as Record<string, string>[]) {
      const answer = await gateway.request('GET', `/connections/${id}`, { key: reader, headers });
      t.match(answer, { status: 200, json: { id } }, String(Object.keys(headers)));
    }
    t.equal((await gateway.request('GET', `/connections/${id}`, { key: reader })).status, 200, 'still there');
  });
});
