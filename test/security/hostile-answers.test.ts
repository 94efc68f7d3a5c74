import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import { openTestDatabase } from '../helpers/database.js';
import { type Gateway, startGateway } from '../helpers/gateway.js';
import { startRaw } from '../helpers/http-client.js';
import { storeConnection } from '../helpers/upstream.js';

// A machine busy with other tests takes its time.
t.setTimeout(300_000);
const database = await openTestDatabase(t);
for (const identity of ['ada', 'mallory', 'trudy']) await storeConnection({ database }, 'gmail', identity);
await storeConnection({ database }, 'slack', 'ada');

const ok = 'HTTP/1.1 200 OK\r\nx-pica-passthrough-a: b\r\ncontent-length: 2\r\n\r\nok';
const long = 'a'.repeat(20_000);
/** What providers and what is between may send in the place of an answer; none of these sockets ever closes. */
const hostile: Record<string, string> = {
  'a binary protocol': '\x15\x03\x01\x00\x02\x02\x28', 'another protocol, its line unfinished': 'SSH-2.0-OpenSSH_9.6', 'text': 'hello, this is not HTTP at all',
  'a head with LF alone': 'HTTP/1.1 200 OK\nx-pica-passthrough-a: b\ncontent-length: 2\n\nok', 'one line that ends with LF alone': 'HTTP/1.1 200 OK\r\nx: y\n',
  'a status that is none': 'HTTP/1.1 2x0 OK\r\n', 'another version': 'HTTP/2.0 200 OK\r\n', 'a line without a colon, and no end': 'HTTP/1.1 200 OK\r\nnonsense\r\n',
  'NUL in a value, and no end': 'HTTP/1.1 200 OK\r\nx: a\0b', 'a bare CR in a value, and no end': 'HTTP/1.1 200 OK\r\nx: a\rb',
  'two lengths, and no end': 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n', 'a head that is too large': `HTTP/1.1 200 OK\r\nx: ${long}\r\n\r\n`,
  'a head that is too large, and no end': `HTTP/1.1 200 OK\r\nx: ${long}`, 'a switch of protocols': 'HTTP/1.1 101 Switching Protocols\r\n\r\n',
  'a length that is none': 'HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\nhello',
};

/** A gateway before an upstream of bytes: the path's last segment names what is sent; `sent` counts the calls of each. */
async function start(t: Test, answer: (name: string, socket: Socket) => void): Promise<Gateway & { sent: Map<string, number> }> {
  const sent = new Map<string, number>();
  const upstream = await startRaw(t, (socket) => void socket.on('data', (data: Buffer) => {
    const name = decodeURIComponent(/^\S+ (?:\S*\/)?([^/\s]*) HTTP/.exec(data.toString())![1]!);
    sent.set(name, (sent.get(name) ?? 0) + 1);
    answer(name, socket);
  }));
  return { ...await startGateway(t, upstream.url, { ACTION_RESOLUTION: 'off', PROXY_TIMEOUT_MS: '60000' }, database), sent };
}
const as = (identity: string) => ({ headers: { 'x-user-id': identity } });

t.test('what is no answer, or too large a one, is refused at once and once, as upstream_invalid_response', async (t) => {
  const gateway = await start(t, (name, socket) => void socket.write(hostile[name] ?? ok, 'latin1'));
  for (const name of Object.keys(hostile)) {
    const answer = await gateway.request('GET', `/proxy/gmail/${encodeURIComponent(name)}`, as('ada'));
    t.match([answer.status, answer.json.code, answer.headers.get('x-authkit-attempts'), gateway.sent.get(name)], [502, 'upstream_invalid_response', '1', 1], name);
    t.notMatch(answer.text, /aaaa|nonsense|SSH/, 'and says nothing of what came');
  }
  t.equal((await gateway.request('GET', '/proxy/gmail/fine', as('ada'))).text, 'ok', 'it says nothing against the upstream');
});

t.test('two identities whose answers are malformed, too large or none close the way for nobody else', async (t) => {
  const names = ['a head that is too large', 'text', 'a head with LF alone', 'reset'];
  const gateway = await start(t, (name, socket) => {
    if (name === 'reset') socket.destroy();
    else socket.write(hostile[name] ?? ok, 'latin1');
  });
  const seen: number[] = [];
  for (let round = 0; round < 30; round += 1) {
    await Promise.all(['mallory', 'trudy'].flatMap((identity) => names.map((name) => gateway.request('POST', `/proxy/gmail/${encodeURIComponent(name)}`, as(identity)))));
    for (const platform of ['gmail', 'slack']) seen.push((await gateway.request('POST', `/proxy/${platform}/fine`, as('ada'))).status);
  }
  t.same(seen.filter((status) => status !== 200), []);
});

t.test('two identities alone, then others: these are answered', async (t) => {
  const gateway = await start(t, (name, socket) => void (name === 'reset' ? socket.destroy() : socket.write(ok)));
  for (let round = 0; round < 40; round += 1) await Promise.all(['mallory', 'trudy'].map((identity) => gateway.request('POST', '/proxy/gmail/reset', as(identity))));
  const answers = await Promise.all(Array.from({ length: 22 }, () => gateway.request('POST', '/proxy/gmail/fine', as('ada'))));
  t.same(answers.map(({ status }) => status).filter((status) => status !== 200), []);
});

t.test('a call that hangs until its deadline says nothing for other identities', async (t) => {
  const upstream = await startRaw(t, (socket) => void socket.on('data', (data: Buffer) => void (/hang/.test(data.toString()) || socket.write(ok))));
  const gateway = await startGateway(t, upstream.url, { ACTION_RESOLUTION: 'off', PROXY_TIMEOUT_MS: '1000' }, database);
  const hanging = ['mallory', 'trudy'].flatMap((identity) => Array.from({ length: 40 }, () => gateway.request('GET', '/proxy/gmail/hang', as(identity))));
  t.ok((await Promise.all(hanging)).every(({ status }) => status === 504 || status === 503));
  const answers = await Promise.all(Array.from({ length: 22 }, () => gateway.request('GET', '/proxy/gmail/fine', as('ada'))));
  t.same(answers.map(({ status }) => status).filter((status) => status !== 200), []);
});
