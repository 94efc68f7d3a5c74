import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import fastify from 'fastify';
import t from 'tap';
import { errorHandler } from '../src/error-handler.js';
import { jsonBodies } from '../src/json-bodies.js';
import { open } from './helpers/raw-http.js';

t.test('a body that is not all there in time is 408, however steadily it comes, and the connection ends', async (t) => {
  const app = fastify();
  t.teardown(() => app.close());
  await app.register(jsonBodies, { deadlineMs: 1_000 });
  await app.register(errorHandler);
  app.post('/', async ({ body }) => body);
  await app.listen({ host: '127.0.0.1', port: 0 });
  const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  t.same(await (await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"a":1}' })).json(), { a: 1 });

  for (const framing of ['content-length: 1000', 'transfer-encoding: chunked']) {
    const socket = open(url).on('error', () => {});
    socket.write(`POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${framing}\r\n\r\n`);
    const drip = setInterval(() => socket.write(framing.startsWith('t') ? '1\r\n \r\n' : ' '), 50);
    let answer = '';
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString()));
    await once(socket, 'close');
    clearInterval(drip);
    t.match(answer, /^HTTP\/1\.1 408 .*"code":"request_timeout"/s, framing);
  }

  const socket = open(url).on('error', () => {});
  socket.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-type: text/html\r\ncontent-length: 1000\r\n\r\n ');
  const [refused] = await once(socket, 'data') as [Buffer];
  t.match(refused.toString(), /^HTTP\/1\.1 415 /);
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  t.equal((await fetch(url, { method: 'POST' })).status, 200, 'a body that nobody reads any more ends nothing but itself');
  socket.destroy();
});
