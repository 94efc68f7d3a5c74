import t from 'tap';
import { openTestDatabase } from '../helpers/database.js';
import { rootKey, startGateway } from '../helpers/gateway.js';
import { exchange } from '../helpers/raw-http.js';
import { startOkUpstream, storeConnection } from '../helpers/upstream.js';

const leaving = [
  '/..', '/.', '/../x', '/./x', '/a/../b', '/a/..', '/a/.', '/%2e%2e/x', '/%2E./x', '/.%2e', '/%2e', '/%252e%252e/x', '/%25252e%25252e/x', '/a%2f..%2fb', '/a%2F%2e%2e%2Fb',
  '/a%252f..%252fb', '/..%2f', '/%2e%2e%2f', '/a\\b', '/..\\x', '/a%5cb', '/..%5cx', '/%255c..', '/a%00', '/a%2500b', '/..;/x', '/..;a=b/x', '/%2e%2e;x/y', '/..%3bx/y',
  '/%c0%ae%c0%ae/x', '/%c0%ae./x', '/a%c0%af..%c0%afb', '/%e0%80%ae%e0%80%ae/', '/a%c1%9cb', '/%u002e%u002e/x', '/%uff0e%uff0e/x', '/%ef%bc%8e%ef%bc%8e/x', '/.%09./x', '/a#b',
  '/x/..?a=b', '/%25252525252525252e', '/..%3f', '/..%23', '/..%3fx', '/.%2e%3fa', '/..%253f', '/..%EF%BC%BC..%EF%BC%BCx', '/a%ef%bc%bcb', '/..%ef%bc%8fx', '/..%E2%81%84x',
  '/..%e2%88%95x', '/..%01/x', '/.%0b./x', '/..%7f/x', '/..%c2%85/x', '/..%e2%80%8b/x', '/..%c2%ad/x',
];
const staying = [
  '/', '/a', '/a.b', '/...', '/a/..b/c..', '/.well-known/x', '/a//b', '//a', '/%zz', '/100%', '/%', '/a%20b', '/group%2Fproject', '/a%2fb.c', '/caf%c3%a9', '/a;b=c/d',
  '/a?x=../..', '/a?q=%2e%2e%2f&q=1&=&&', '/a?', '/a??b', '/a?b#'.slice(0, -1), '/users/me/messages?q=from:a%40b.c', `/${'x'.repeat(2000)}`, '/~!$&\'()*+,=:@-_', '/[1]{2}|"<>^`', '/a%3fb', '/a%23..', '/1%E2%81%842', '/a%01b', '/%C3%AD',
];

const call = (url: string, target: string) =>
  exchange(url, `GET ${target} HTTP/1.1\r\nhost: x\r\nx-api-key: ${rootKey}\r\nx-user-id: ada\r\nconnection: close\r\n\r\n`);

// Opening one takes longer than all of these tests.
// A machine busy with other tests takes its time.
t.setTimeout(300_000);
const database = await openTestDatabase(t);
await storeConnection({ database });

t.test('a path that could leave the passthrough is invalid_path and never sent', async (t) => {
  const upstream = await startOkUpstream(t);
  const gateway = await startGateway(t, upstream.url, {}, database);
  for (const path of leaving) t.match(await call(gateway.url, `/proxy/gmail${path}`), /^HTTP\/1\.1 400 .*x-authkit-error: invalid_path/s, path);
  for (const platform of ['..', '%2e%2e', '.', 'gmail%2f..%2f..', 'a%00', '%5c']) {
    t.match(await call(gateway.url, `/proxy/${platform}/x`), /^HTTP\/1\.1 400 .*x-authkit-error: invalid_path/s, platform);
  }
  t.strictSame(upstream.received, []);
});

t.test('every other path and query arrives byte for byte', async (t) => {
  const upstream = await startOkUpstream(t);
  const gateway = await startGateway(t, upstream.url, {}, database);
  for (const path of staying) {
    t.match(await call(gateway.url, `/proxy/gmail${path}`), /^HTTP\/1\.1 200 /, path);
    t.equal(upstream.received.pop()?.url, `/v1/passthrough/gmail${path}`);
  }
  t.match(await call(gateway.url, '/%70roxy/%67mail/%61'), /^HTTP\/1\.1 200 /);
  t.equal(upstream.received.pop()?.url, '/v1/passthrough/gmail/%61');
});
