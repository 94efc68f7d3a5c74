import { randomUUID } from 'node:crypto';
import t from 'tap';
import { generateKey } from '../../src/auth/key-format.js';
import { rootKey } from '../helpers/gateway.js';
import { exchange } from '../helpers/raw-http.js';
import { recordings } from '../helpers/sandbox.js';
import { claimOf, startBoth } from '../helpers/trust.js';

t.setTimeout(300_000);

t.test('attacks through the proxy', async (t) => {
  const { gateway, sandbox } = await startBoth(t);
  const { claim } = await claimOf(sandbox, 'ada');
  const { json: mine } = await gateway.request('POST', '/connections', { headers: { 'x-user-id': 'ada' }, json: claim });
  const bob = await gateway.createKey(['proxy', 'connections:read'], { identity: 'bob' });
  const path = '/proxy/gmail/__provider/echo/x';
  const sent = () => recordings(sandbox, '/v1/passthrough');

  await t.test('proxying through a foreign connection by id is the same 404 as an unknown one', async (t) => {
    const foreign = await gateway.request('GET', path, { key: bob, headers: { 'x-connection-id': mine.id } });
    const unknown = await gateway.request('GET', path, { key: bob, headers: { 'x-connection-id': randomUUID() } });
    t.same([foreign.status, foreign.json.code], [404, 'connection_not_found']);
    t.same({ ...foreign.json, requestId: '' }, { ...unknown.json, requestId: '' });
    t.equal((await gateway.request('GET', path, { headers: { 'x-connection-id': mine.id, 'x-user-id': 'bob' } })).status, 404, 'an unbound key acting as bob');
    t.same(await sent(), []);
  });

  await t.test('proxying as another identity with a bound key', async (t) => {
    for (const headers of [{ 'x-user-id': 'ada' }, { 'x-identity': 'ada' }, { 'x-identity': 'bob', 'x-identity-type': 'team' }] as Record<string, string>[]) {
      t.equal((await gateway.request('GET', path, { key: bob, headers })).json.code, 'identity_conflict', JSON.stringify(headers));
    }
    t.same(await sent(), []);
  });

  await t.test('a connection of one platform on the path of another', async (t) => {
    const answer = await gateway.request('GET', '/proxy/slack/x', { headers: { 'x-connection-id': mine.id } });
    t.same([answer.status, answer.json.code], [422, 'platform_mismatch']);
    t.same(await sent(), []);
  });

  await t.test('smuggled upstream headers, and our credential named hop-by-hop, do not get through', async (t) => {
    const foreignKey = 'test::gmail::default::00000000000000000000000000000000';
    const answer = await exchange(gateway.url, [
      `GET ${path} HTTP/1.1`, 'host: x', `x-api-key: ${rootKey}`, 'x-user-id: ada', 'connection: close, x-api-key, x-pica-secret', 'x-pica-secret: sk_live_stolen',
      `x-pica-connection-key: ${foreignKey}`, `X-PICA-Connection-Key: ${foreignKey}`, `x-one-connection-key: ${foreignKey}`, `x_pica_connection_key: ${foreignKey}`,
      `x-upstream-x-pica-connection-key: ${foreignKey}`, 'cookie: session=hunter2', 'x-forwarded-for: 10.0.0.1', '', '',
    ].join('\r\n'));
    t.match(answer, /^HTTP\/1\.1 200 /);
    const [recorded] = await sent();
    t.same(recorded!.rawHeaders.filter(([name]) => /connection-key|connection_key/i.test(name)), [['x-pica-connection-key', claim.key]]);
    t.equal(recorded!.rawHeaders.filter(([name]) => /^x-pica-secret$/i.test(name)).length, 1);
    t.notMatch(JSON.stringify(recorded!.rawHeaders), /sk_live_stolen|root-key|hunter2|10\.0\.0\.1|x-user-id/);
    t.notMatch(answer, /root-key|sk_test_/);
  });

  await t.test('headers by which a server takes another path, method, host or client address go nowhere, however they are written', async (t) => {
    const steering = [
      'X-Original-URL', 'x-original-uri', 'X-Rewrite-URL', 'x-original-host', 'x-original-method', 'X-HTTP-Method-Override', 'x-http-method', 'x-method-override', 'X-Host', 'x-http-host-override',
      'x-real-ip', 'x-client-ip', 'true-client-ip', 'cf-connecting-ip', 'x-forwarded', 'x-envoy-original-path', 'x-middleware-subrequest', 'proxy', 'x-proxy-url',
    ];
    const spellings = steering.flatMap((name) => [name, name.replaceAll('-', '_'), `x-upstream-${name}`, `x-upstream-${name.replaceAll('-', '_')}`]);
    const before = (await sent()).length;
    await exchange(gateway.url, [
      `POST ${path} HTTP/1.1`, 'host: x', `x-api-key: ${rootKey}`, 'x-user-id: ada', 'connection: close', 'content-length: 0', ...spellings.map((name) => `${name}: steer`), 'x-upstream-x-hosted-by: kept', '', '',
    ].join('\r\n'));
    const recorded = (await sent())[before]!;
    t.same(recorded.rawHeaders.filter(([, value]) => value === 'steer'), []);
    t.equal(recorded.headers['x-hosted-by'], 'kept');
  });

  await t.test('a credential of ours in a proxied query never reaches the upstream\'s logs', async (t) => {
    const before = (await sent()).length;
    for (const secret of [rootKey, bob, generateKey(), encodeURIComponent(rootKey).replace('-', '%2D')]) {
      t.equal((await gateway.request('GET', `${path}?access_token=${secret}`, { headers: { 'x-user-id': 'ada' } })).json.code, 'key_in_query');
    }
    t.equal((await sent()).length, before);
  });

  await t.test('every encoding of ..', async (t) => {
    const before = (await sent()).length;
    const encodings = ['..', '%2e%2e', '%2E.', '.%2e', '%252e%252e', '%25252e.', '..%2f', '%2e%2e%2f', '..%5c', '..\\', '..;', '..;x=y', '%c0%ae%c0%ae', '%u002e%u002e', '%uff0e.', '.%00.', '..%3f', '..%23', '..%01', '..%ef%bc%bc'];
    for (const dots of encodings) {
      for (const target of [`/proxy/gmail/${dots}/vault/connections`, `/proxy/gmail/a/${dots}/${dots}/${dots}/v1/vault/connections`, `/proxy/${dots}/vault/connections`]) {
        const answer = await exchange(gateway.url, `GET ${target} HTTP/1.1\r\nhost: x\r\nx-api-key: ${rootKey}\r\nx-user-id: ada\r\nconnection: close\r\n\r\n`);
        t.match(answer, /^HTTP\/1\.1 (?:400|404) /, target);
      }
    }
    t.equal((await sent()).length, before, 'nothing was sent');
    t.ok((await recordings(sandbox, '/v1/vault')).every(({ headers }) => headers['x-pica-connection-key'] === undefined));
  });
});
