import { maxHeaderSize } from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';
import t from 'tap';
import { AnswerParser } from '../../src/upstream/http/answer-parser.js';
import { openPool, send, startAnswering, startRaw } from '../helpers/http-client.js';

t.setTimeout(300_000);

const status = 'HTTP/1.1 200 OK\r\n';
const good = `${status}content-length: 2\r\n\r\nok`;

/** Everything a parser says of bytes that come in these pieces. */
function parse(pieces: string[], { toHead = false, ends = false } = {}): unknown[] {
  const said: unknown[] = [];
  const parser = new AnswerParser({
    onHead: ({ status, headers }) => void said.push([status, ...headers]),
    onBody(chunk) {
      const last = said.at(-1);
      // How a body was split says nothing.
      if (typeof last === 'string') said[said.length - 1] = last + chunk.toString('latin1');
      else said.push(chunk.toString('latin1'));
    },
    onEnd: (trailers, reusable) => void said.push({ trailers, reusable }),
  });
  parser.begin(toHead);
  try {
    for (const piece of pieces) parser.feed(Buffer.from(piece, 'latin1'));
    if (ends) said.push(parser.finish());
  } catch (error) {
    said.push((error as { code: string }).code);
  }
  return said;
}

const end = (reusable: boolean, trailers: string[] = []) => ({ trailers, reusable });
const whole: Record<string, { bytes: string; says: unknown[]; toHead?: boolean; ends?: boolean }> = {
  'a length': { bytes: `${status}Content-Length: 5\r\nX-A:  b c\t\r\nx-empty:\r\n\r\nhello`, says: [[200, 'Content-Length', '5', 'X-A', 'b c', 'x-empty', ''], 'hello', end(true)] },
  'a length of none': { bytes: `${status}content-length: 0\r\n\r\n`, says: [[200, 'content-length', '0'], end(true)] },
  'no headers, no reason, until the end': { bytes: 'HTTP/1.1 299\r\n\r\nrest', ends: true, says: [[299], 'rest', end(false), true] },
  'HTTP/1.0': { bytes: 'HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na', says: [[200, 'content-length', '1'], 'a', end(false)] },
  'HTTP/1.0 that keeps': { bytes: 'HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 1\r\n\r\na', says: [[200, 'connection', 'Keep-Alive', 'content-length', '1'], 'a', end(true)] },
  'connection: close among others': {
    bytes: `${status}connection: keep-alive, Close\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\na`,
    says: [[200, 'connection', 'keep-alive, Close', 'connection', 'keep-alive', 'content-length', '1'], 'a', end(false)],
  },
  chunks: { bytes: `${status}Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n00A;ext="x y"\r\n0123456789\r\n1 ; a\r\n!\r\n0\r\n\r\n`, says: [[200, 'Transfer-Encoding', 'Chunked'], 'hello0123456789!', end(true)] },
  trailers: { bytes: `${status}transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 42\r\nx-b: c\r\n\r\n`, says: [[200, 'transfer-encoding', 'chunked'], 'a', end(true, ['X-Sum', '42', 'x-b', 'c'])] },
  'informational ones first': { bytes: 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n', says: [[100], [103, 'link', '<a>'], [204], end(true)] },
  'Latin-1': { bytes: `HTTP/1.1 200 \xe9t\xe9\r\nx: caf\xe9\r\ncontent-length: 1\r\n\r\n\xff`, says: [[200, 'x', 'caf\xe9', 'content-length', '1'], '\xff', end(true)] },
  'to HEAD, with a length': { bytes: `${status}content-length: 5\r\n\r\n`, toHead: true, says: [[200, 'content-length', '5'], end(true)] },
  'to HEAD, chunked': { bytes: `${status}transfer-encoding: chunked\r\n\r\n`, toHead: true, says: [[200, 'transfer-encoding', 'chunked'], end(true)] },
  '304 with a length': { bytes: 'HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n', says: [[304, 'content-length', '5'], end(true)] },
  '204 with a length': { bytes: 'HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n', says: [[204, 'content-length', '5'], end(false)] },
  '204 with a length of none': { bytes: 'HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n', says: [[204, 'content-length', '0'], end(true)] },
  '204, chunked': { bytes: 'HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n', says: [[204, 'transfer-encoding', 'chunked'], end(false)] },
};

t.test('every kind of answer, whole, byte by byte, and split at every point', async (t) => {
  for (const [name, { bytes, says, ...options }] of Object.entries(whole)) {
    t.strictSame(parse([bytes], options), says, name);
    t.strictSame(parse([...bytes], options), says, `${name}, byte by byte`);
    for (let i = 1; i < bytes.length; i += 1) {
      const split = parse([bytes.slice(0, i), bytes.slice(i)], options);
      if (JSON.stringify(split) !== JSON.stringify(says)) t.strictSame(split, says, `${name}, split at ${i}`);
    }
  }
});

t.test('bytes after a complete answer: it stands, and the connection is not used again', async (t) => {
  for (const [name, { bytes, says, ends, ...options }] of Object.entries(whole)) {
    if (ends) continue;
    t.strictSame(parse([`${bytes}H`], options), [...says.slice(0, -1), { ...says.at(-1) as object, reusable: false }], name);
  }
});

const head = (fields: string) => `${status}${fields}\r\n\r\nhello`;
const chunked = (body: string) => `${status}transfer-encoding: chunked\r\n\r\n${body}`;
const refused: Record<string, string> = {
  'two lengths': head('content-length: 5\r\ncontent-length: 6'),
  'the same length twice': head('content-length: 5\r\nContent-Length: 5'),
  'a list of lengths': head('content-length: 5, 5'),
  'a signed length': head('content-length: +5'), 'a negative length': head('content-length: -5'), 'a hexadecimal length': head('content-length: 0x5'),
  'an empty length': head('content-length:'), 'a huge length': head(`content-length: ${'9'.repeat(20)}`), 'a length with a fraction': head('content-length: 5.0'),
  'a length and chunks': head('content-length: 5\r\ntransfer-encoding: chunked'), 'chunks and a length': head('transfer-encoding: chunked\r\ncontent-length: 5'),
  'another coding': head('transfer-encoding: gzip'), 'another coding before chunked': head('transfer-encoding: gzip, chunked'), 'identity': head('transfer-encoding: identity'),
  'chunked twice': head('transfer-encoding: chunked, chunked'), 'chunked in two lines': head('transfer-encoding: chunked\r\ntransfer-encoding: chunked'),
  'chunked not last': head('transfer-encoding: chunked, identity'), 'something like chunked': head('transfer-encoding: xchunked'), 'a vertical tab before chunked': head('transfer-encoding: \x0bchunked'),
  'chunks in HTTP/1.0': 'HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
  'a folded line': head('x: a\r\n b: c'), 'a folded first line': head(' x: a'), 'space before the colon': head('content-length : 5'), 'no colon': head('x'), 'no name': head(': x'),
  'a name that is no token': head('x(y: z'), 'a name beyond ASCII': head('x\xe9: z'), 'NUL in a value': head('x: a\0b'), 'a bare CR in a value': head('x: a\rb: c'),
  'a bare LF in a value': head('x: a\ncontent-length: 5'), 'a bare LF in a name': head('x\ny: a'), 'another control character': head('x: \x1b'), 'DEL': head('x: \x7f'),
  'a bare LF after the status': 'HTTP/1.1 200 OK\nx: y\r\n\r\n', 'NUL in the reason': 'HTTP/1.1 200 O\0K\r\n\r\n',
  'another version': 'HTTP/1.2 200 OK\r\n\r\n', 'HTTP/2': 'HTTP/2 200 OK\r\n\r\n', 'HTTP/0.9': '<html>\r\n\r\n', 'another protocol': 'SSH-2.0-x\r\n\r\n', 'a small version': 'http/1.1 200 OK\r\n\r\n',
  'status 099': 'HTTP/1.1 099 OK\r\n\r\n', 'a status of two digits': 'HTTP/1.1 20 OK\r\n\r\n', 'a status of four digits': 'HTTP/1.1 2000 OK\r\n\r\n', 'a status that is none': 'HTTP/1.1 2x0 OK\r\n\r\n',
  'two spaces before the status': 'HTTP/1.1  200 OK\r\n\r\n', 'a tab before the status': 'HTTP/1.1\t200 OK\r\n\r\n', 'an empty line first': `\r\n${good}`,
  '101': 'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n',
  'no size': chunked('\r\nhello\r\n'), 'a signed size': chunked('+5\r\nhello\r\n'), 'a size with 0x': chunked('0x5\r\nhello\r\n'), 'a negative size': chunked('-1\r\n'), 'a space before the size': chunked(' 5\r\nhello\r\n'),
  'a space after the size': chunked('5 \r\nhello\r\n'), 'a size with _': chunked('1_0\r\n'), 'a huge size': chunked(`${'f'.repeat(17)}\r\n`), 'a size ended by LF': chunked('5\nhello\r\n'),
  'a bare CR in an extension': chunked('5;a\rb\r\nhello\r\n'), 'NUL in an extension': chunked('5;\0\r\nhello\r\n'), 'a chunk longer than said': chunked('4\r\nhello\r\n0\r\n\r\n'),
  'a chunk ended by LF': chunked('5\r\nhello\n0\r\n\r\n'), 'a chunk ended by CR': chunked('5\r\nhello\r0\r\n\r\n'),
  'a folded trailer': chunked('0\r\na: b\r\n c\r\n\r\n'), 'a trailer without colon': chunked('0\r\nx\r\n\r\n'), 'a bare LF in a trailer': chunked('0\r\nx: y\nz: a\r\n\r\n'), 'CR and no LF after the last chunk': chunked('0\r\n\rX'),
};

t.test('what could be read in two ways, or is not HTTP/1, is refused however it is split', async (t) => {
  for (const [name, bytes] of Object.entries(refused)) {
    t.equal(parse([bytes]).at(-1), 'protocol', name);
    t.equal(parse([...bytes]).at(-1), 'protocol', `${name}, byte by byte`);
  }
});

t.test('heads, trailers and sizes of chunks have a limit, whether they end or not', async (t) => {
  const long = 'a'.repeat(maxHeaderSize + 1);
  for (const bytes of [`${status}x: ${long}`, `${status}x: ${long}\r\n\r\n`, long, chunked(`0\r\nx: ${long}`), chunked(`0\r\nx: ${long}\r\n\r\n`), chunked(`5;${long}`), chunked(`5;${long}\r\n`)]) {
    t.equal(parse([bytes]).at(-1), 'protocol');
    t.equal(parse([bytes.slice(0, 10_000), bytes.slice(10_000)]).at(-1), 'protocol');
  }
  const most = `${status}x: ${'a'.repeat(maxHeaderSize - status.length - 3)}`;
  t.match(parse([`${most}\r\n\r\n`], { ends: true }).at(-1), true, 'a head just within it is read');
});

t.test('a smuggled answer never becomes that of the next call', async (t) => {
  const planted = 'HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison';
  for (const first of [`${good}${planted}`, `HTTP/1.1 204 No Content\r\ncontent-length: 45\r\n\r\n${planted}`, `HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n${planted}`]) {
    const { url, sockets } = await startAnswering(t, first, good);
    const pool = openPool(t, url, { connections: 1 });
    const [one, two] = await Promise.all([send(pool), send(pool)]);
    t.equal(one.error, undefined, 'the answer itself stands');
    t.equal(two.body, 'ok');
    t.equal(sockets.length, 2);
  }
});

t.test('bytes that wait on an idle connection are read before the next request goes out', async (t) => {
  const { url, sockets } = await startAnswering(t, good);
  const pool = openPool(t, url);
  t.equal((await send(pool)).body, 'ok');
  await wait(20);
  // In the kernel, and not yet read, when the next call is made.
  sockets[0]!.write('HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison');
  const second = await send(pool);
  t.match([second.body, sockets.length], ['ok', 2]);
});

t.test('an answer that ends early is an error after its headers; one without a length ends with the connection', async (t) => {
  const cut: [string, string | undefined][] = [
    ['content-length: 5\r\n\r\nhell', 'unreachable'], ['transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n', 'unreachable'], ['transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n', 'unreachable'],
    ['transfer-encoding: chunked\r\n\r\n5\r\nhel', 'unreachable'], ['x: y\r\n\r\nhello', undefined], ['x: y\r\n\r\n', undefined],
  ];
  for (const [rest, code] of cut) {
    const { url } = await startAnswering(t, (socket) => void socket.end(`${status}${rest}`));
    const call = await send(openPool(t, url));
    t.match([call.status, call.error?.code, call.ends], [200, code, 1], rest);
  }
  const { url } = await startAnswering(t, (socket) => void socket.write(`${status}x: y\r\n\r\nhello`, () => setTimeout(() => socket.resetAndDestroy(), 300)));
  t.match(await send(openPool(t, url)), { body: 'hello', error: { kind: 'unreachable', stale: false, unheard: false } }, 'a reset is no end');
});

t.test('100 is passed over, other informational answers are told, 101 is an error', async (t) => {
  const { url } = await startAnswering(t, `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n${good}`, 'HTTP/1.1 101 Switching Protocols\r\n\r\n');
  const pool = openPool(t, url);
  t.match(await send(pool), { informational: [102, 103], status: 200, body: 'ok' });
  t.match(await send(pool), { status: undefined, error: { code: 'protocol' }, ends: 1 });
});

t.test('a body comes over a real socket byte by byte, in any framing', async (t) => {
  for (const bytes of [`${status}content-length: 5\r\n\r\nhello`, chunked('5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n')]) {
    const { url } = await startRaw(t, (socket) => void socket.once('data', async () => {
      for (const byte of bytes) {
        socket.write(byte, 'latin1');
        await new Promise(setImmediate);
      }
    }));
    t.match(await send(openPool(t, url)), { status: 200, body: 'hello', ends: 1 });
  }
});
