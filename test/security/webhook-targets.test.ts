import { randomUUID } from 'node:crypto';
import t from 'tap';
import { createSender } from '../../src/webhooks/sender.js';
import { generateSecret } from '../../src/webhooks/secret.js';
import type { Address } from '../../src/webhooks/target.js';
import { startGateway } from '../helpers/gateway.js';
import { startReceiver } from '../helpers/receiver.js';

const running = new AbortController().signal;

function delivery(url: string) {
  const event = { id: randomUUID(), type: 'connection.created', data: { id: 'x' }, createdAt: new Date() };
  return { id: randomUUID(), lease: randomUUID(), attempts: 1, waitedSeconds: 0, webhookId: randomUUID(), url, secrets: [generateSecret()], event };
}

t.test('a webhook to 169.254.169.254, or to this machine, cannot be registered', async (t) => {
  const gateway = await startGateway(t, 'http://127.0.0.1:9');
  const targets = [
    'https://169.254.169.254/latest/meta-data/', 'https://[::ffff:169.254.169.254]/', 'https://0xa9fea9fe/', 'https://localhost/', 'https://127.0.0.1/',
    'https://[::1]/', 'http://127.0.0.1/', 'https://10.0.0.1/', 'https://168.63.129.16/metadata/',
  ];
  for (const url of targets) {
    t.match(await gateway.request('POST', '/webhooks', { json: { url } }), { status: 422, json: { code: 'webhook_target_refused' } }, url);
  }
});

t.test('a webhook to 169.254.169.254 by name is not sent', async (t) => {
  const asked: string[] = [];
  const send = createSender({
    allowPrivate: false,
    resolve: async (name) => {
      asked.push(name);
      return [{ address: '169.254.169.254', family: 4 }];
    },
  });
  t.same(await send(delivery('https://metadata.example/latest'), running), { status: undefined, error: 'target_refused' });
  t.same(asked, ['metadata.example']);
});

t.test('a webhook to 169.254.169.254 by redirect: the redirect is not followed', async (t) => {
  const inner = await startReceiver(t);
  for (const status of [301, 302, 303, 307, 308]) {
    const receiver = await startReceiver(t, (_, response) => void response.writeHead(status, { location: `${inner.url}/` }).end());
    const send = createSender({ allowPrivate: true });
    t.same(await send(delivery(receiver.url), running), { status, error: 'status' });
    t.equal(receiver.received.length, 1);
  }
  t.equal(inner.received.length, 0, 'nobody went there');
});

t.test('a webhook to 169.254.169.254 by rebinding: what was checked is what is dialled, and each attempt checks again', async (t) => {
  const receiver = await startReceiver(t);
  const answers: Address[][] = [[{ address: '127.0.0.1', family: 4 }], [{ address: '224.0.0.1', family: 4 }]];
  let asked = 0;
  const send = createSender({ allowPrivate: true, resolve: async () => answers[asked++]! });
  const url = `http://rebinding.example:${receiver.port}/`;
  t.same(await send(delivery(url), running), { status: 204, error: undefined });
  t.equal(asked, 1, 'one look-up for one attempt');
  t.match(receiver.received[0]!.headers, { host: `rebinding.example:${receiver.port}` }, 'the name stays in the request');
  t.same(await send(delivery(url), running), { status: undefined, error: 'target_refused' });
  t.equal(receiver.received.length, 1);
});

t.test('a receiver that never answers, or never ends, is left after the limit', async (t) => {
  const silent = await startReceiver(t, () => {});
  t.same(await createSender({ allowPrivate: true, timeoutMs: 300 })(delivery(silent.url), running), { status: undefined, error: 'timeout' });
  const slow = createSender({ allowPrivate: true, timeoutMs: 300, resolve: () => new Promise(() => {}) });
  t.same(await slow(delivery('https://slow.example/'), running), { status: undefined, error: 'timeout' });
});

t.test('of a long answer no more than a kilobyte is taken, and nothing of it is kept', async (t) => {
  let written = 0;
  const receiver = await startReceiver(t, (_, response) => {
    response.writeHead(500);
    const chunk = Buffer.alloc(64 * 1024, 'secret-of-the-receiver');
    const write = (): void => {
      while (!response.destroyed && written < 64 * 1024 * 1024) {
        written += chunk.length;
        if (!response.write(chunk)) return void response.once('drain', write);
      }
    };
    response.on('error', () => {});
    write();
  });
  t.same(await createSender({ allowPrivate: true })(delivery(receiver.url), running), { status: 500, error: 'status' });
  t.ok(written < 32 * 1024 * 1024, `${written} bytes were written before the connection went`);
});
