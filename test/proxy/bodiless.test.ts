import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { openTestDatabase } from '../helpers/database.js';
import { rootKey, startGateway } from '../helpers/gateway.js';
import { exchange } from '../helpers/raw-http.js';
import { storeConnection } from '../helpers/upstream.js';

t.setTimeout(300_000);
const database = await openTestDatabase(t);
await storeConnection({ database });

// What a provider says, and what of it a caller may hear: RFC 9110 §8.6, RFC 9112 §6.3.
const length = 'content-length: 5';
const cases = [
  { method: 'HEAD', says: `200 OK\r\n${length}`, hears: [length] },
  { method: 'HEAD', says: '200 OK\r\ntransfer-encoding: chunked', hears: [] },
  { method: 'HEAD', says: '200 OK', hears: [] },
  { method: 'HEAD', says: `404 Not Found\r\n${length}`, hears: [length] },
  { method: 'HEAD', says: `304 Not Modified\r\n${length}`, hears: [length] },
  { method: 'GET', says: `304 Not Modified\r\n${length}`, hears: [length] },
  { method: 'GET', says: '304 Not Modified', hears: [] },
  { method: 'GET', says: '304 Not Modified\r\ntransfer-encoding: chunked', hears: [] },
  { method: 'GET', says: '204 No Content', hears: [] },
  { method: 'DELETE', says: '204 No Content\r\ncontent-length: 0', hears: [] },
  { method: 'DELETE', says: `204 No Content\r\n${length}`, hears: [] },
  { method: 'POST', says: '204 No Content\r\ntransfer-encoding: chunked', hears: [] },
  { method: 'GET', says: '200 OK\r\ncontent-length: 0', hears: ['content-length: 0'] },
];

t.test('an answer without a body has none, with the length it may have, and the next one on the socket follows at once', async (t) => {
  let says = '';
  const upstream = createServer((socket) => {
    socket.on('data', () => void socket.write(`HTTP/1.1 ${says}\r\nx-pica-passthrough-etag: e\r\n\r\n`)).on('error', () => {});
  });
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
  t.teardown(() => upstream.close());
  const gateway = await startGateway(t, `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`, { ACTION_RESOLUTION: 'off' }, database);
  for (const { method, says: answer, hears } of cases) {
    says = answer;
    const request = `${method} /proxy/gmail/x HTTP/1.1\r\nhost: x\r\nx-api-key: ${rootKey}\r\nx-user-id: ada\r\n`;
    const heard = await exchange(gateway.url, `${request}\r\n${request}connection: close\r\n\r\n`);
    const one = `HTTP/1.1 ${answer.split('\r\n')[0]!}`;
    const [nothing, ...answers] = heard.split(one);
    t.match([nothing, answers.length], ['', 2], `${method} ${answer}`);
    for (const each of answers) {
      t.ok(each.indexOf('\r\n\r\n') === each.length - 4, 'nothing follows the headers');
      t.match(each, /etag: e\r\n.*x-authkit-attempts: 1\r\n/s);
      t.strictSame(each.match(/^(?:content-length|transfer-encoding).*$/gim) ?? [], hears);
    }
  }
});
