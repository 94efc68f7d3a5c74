import { type IncomingMessage, request } from 'node:http';
import { Duplex } from 'node:stream';
import t from 'tap';
import { AnswerParser } from '../../src/upstream/http/answer-parser.js';
import { type Random, seeded } from '../helpers/random.js';

t.setTimeout(300_000);

// .ci/run makes it 20,000.
const mutations = Number(process.env['ANSWER_MUTATIONS'] ?? 1_500);

/** An answer as it was read; undefined: refused, or not whole. */
type Reading = { status: number; headers: string[]; body: string; trailers: string[] } | undefined;

const head = (lines: string, status = '200 OK', version = '1.1') => `HTTP/${version} ${status}\r\n${lines}${lines && '\r\n'}\r\n`;
const chunked = 'transfer-encoding: chunked';
const answers = [
  `${head('content-length: 5\r\nx-a: b')}hello`, `${head('Content-Type: text/plain\r\nContent-Length: 0')}`, `${head('content-length: 11')}HTTP/1.1 20`,
  `${head(chunked)}5\r\nhello\r\n0\r\n\r\n`, `${head(`${chunked}\r\nTrailer: x-sum`)}5;ext=1\r\nhello\r\na\r\n0123456789\r\n0\r\nx-sum: 42\r\n\r\n`,
  `${head(chunked)}10\r\n0123456789abcdef\r\n0B;x="y z"\r\nhello world\r\n000\r\n\r\n`, `${head('connection: close')}until the end`, `${head('', '200 OK', '1.0')}until the end`, `${head('connection: keep-alive\r\ncontent-length: 2', '200 OK', '1.0')}ok`,
  head('', '204 No Content'), head('content-length: 5', '304 Not Modified'), head('content-length: 3', '204 No Content'), `${head('', '100 Continue')}${head('content-length: 2')}ok`,
  `${head('link: <a>; rel=preload', '103 Early Hints')}${head(chunked)}1\r\na\r\n0\r\n\r\n`, `${head('x-empty:\r\nx-b:\t c \r\nx-c: d, e\r\ncontent-length: 1', '404')}x`,
  `${head('content-length: 2\r\nkeep-alive: timeout=5\r\nset-cookie: a=b\r\nset-cookie: c=d', '500 Oh no')}no`, `${head('x-latin: caf\xe9\r\ncontent-length: 1', '200 \xe9t\xe9')}\xff`,
];
const pieces = [
  '\r', '\n', '\r\n', '\r\n\r\n', '\n\n', '\0', ' ', '\t', ':', ';', ',', '0', '1', '9', 'f', '-', '+', '_', '"', '\x7f', '\x80', '\xff', 'x: y\r\n', 'content-length: 5\r\n', 'Content-Length: 3\r\n',
  'content-length:0\r\n', `${chunked}\r\n`, 'Transfer-Encoding: CHUNKED\r\n', 'transfer-encoding: gzip, chunked\r\n', 'transfer-encoding: identity\r\n', 'transfer-encoding:\tchunked\r\n', 'connection: close\r\n',
  'connection: upgrade\r\nupgrade: x\r\n', ' folded\r\n', '\tfolded\r\n', 'content-length : 5\r\n', 'content-length: 5, 5\r\n', '0\r\n\r\n', '5\r\nhello\r\n', '0x5', '00000005', 'HTTP/1.1 200 OK\r\n', 'HTTP/1.0', 'HTTP/1.1 101 X\r\n\r\n', '204', '304', '100',
];

/** A connection that says what it has to say once it was asked. */
class Wire extends Duplex {
  #asked = false;

  constructor(private readonly parts: string[]) {
    super();
  }

  override _read(): void {}

  override _write(_chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    done();
    if (this.#asked) return;
    this.#asked = true;
    setImmediate(() => {
      for (const part of this.parts) this.push(Buffer.from(part, 'latin1'));
      this.push(null);
    });
  }
}

t.test(`${mutations} mutated answers, split at random: nowhere do Node's parser and ours both accept, and read differently`, { timeout: 280_000 }, async (t) => {
  const random = seeded(20_261_127);
  const seen = { both: 0, ours: 0, nodes: 0, none: 0 };
  const differences: string[] = [];
  for (let i = 0; i < mutations; i += 1) {
    const bytes = mutate(random.pick(answers), random);
    const method = random.chance(0.1) ? 'HEAD' : 'GET';
    const whole = readOurs([bytes], method);
    const ours = readOurs(split(bytes, random), method);
    const nodes = await readNodes(split(bytes, random), method);
    if (JSON.stringify(whole) !== JSON.stringify(ours)) differences.push(`split: ${JSON.stringify({ bytes, whole, ours })}`);
    if (ours && nodes && JSON.stringify(ours) !== JSON.stringify(nodes)) differences.push(`${method}: ${JSON.stringify({ bytes, ours, nodes })}`);
    seen[ours ? nodes ? 'both' : 'ours' : nodes ? 'nodes' : 'none'] += 1;
  }
  t.comment(JSON.stringify(seen));
  t.same(differences.slice(0, 5), []);
  t.ok(seen.both > mutations / 5 && seen.none > mutations / 20, 'and the two have much to agree on, and to refuse');
});

t.test('both read every answer that is as it should be, and alike', async (t) => {
  const random = seeded(1);
  for (const bytes of answers) {
    const ours = readOurs(split(bytes, random), 'GET');
    t.ok(ours, JSON.stringify(bytes));
    t.same(ours, await readNodes(split(bytes, random), 'GET'));
  }
});

function mutate(bytes: string, random: Random): string {
  for (let changes = random.below(4); changes > 0; changes -= 1) {
    const at = random.below(bytes.length + 1);
    const to = at + 1 + random.below(6);
    const kind = random.below(6);
    if (kind === 0) bytes = bytes.slice(0, at) + bytes.slice(to);
    else if (kind === 1) bytes = bytes.slice(0, to) + bytes.slice(at, to) + bytes.slice(to);
    else if (kind === 2) bytes = bytes.slice(0, at) + random.pick(pieces) + bytes.slice(at + 1);
    else if (kind === 3) bytes = insertLine(bytes, random.pick(pieces), random);
    else if (kind === 4) bytes = bytes.slice(0, at) + String.fromCharCode(random.below(256)) + bytes.slice(at + 1);
    else bytes = bytes.slice(0, at) + random.pick(pieces) + bytes.slice(at);
  }
  return bytes;
}

/** Puts a piece after one of the line ends. */
function insertLine(bytes: string, piece: string, random: Random): string {
  const ends = [...bytes.matchAll(/\r\n/g)].map(({ index }) => index + 2);
  const at = ends.length > 0 ? random.pick(ends) : 0;
  return bytes.slice(0, at) + piece + bytes.slice(at);
}

function split(bytes: string, random: Random): string[] {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length;) {
    const size = random.chance(0.2) ? 1 : 1 + random.below(bytes.length);
    parts.push(bytes.slice(at, at + size));
    at += size;
  }
  return parts;
}

function readOurs(parts: string[], method: string): Reading {
  let status = 0;
  let headers: string[] = [];
  let body = '';
  let reading: Reading;
  const parser = new AnswerParser({
    onHead: (head) => void ({ status, headers } = head),
    onBody: (chunk) => void (body += chunk.toString('latin1')),
    onEnd: (trailers) => void (reading = { status, headers, body, trailers }),
  });
  parser.begin(method === 'HEAD');
  try {
    for (const part of parts) parser.feed(Buffer.from(part, 'latin1'));
    parser.finish();
  } catch {
    // What was whole before what is wrong stands: the connection is given up.
  }
  return reading;
}

/** What Node's client makes of the same bytes, and then the connection's end. */
function readNodes(parts: string[], method: string): Promise<Reading> {
  return new Promise((resolve) => {
    const wire = new Wire(parts);
    const call = request({ method, host: 'x', createConnection: () => wire as never });
    call.maxHeadersCount = 0;
    call.on('error', () => resolve(undefined)).on('upgrade', () => resolve(undefined)).on('response', (answer: IncomingMessage) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', () => resolve(undefined)).on('close', () => resolve(undefined)).on('end', () => resolve(answer.complete
        ? { status: answer.statusCode!, headers: answer.rawHeaders, body: Buffer.concat(chunks).toString('latin1'), trailers: answer.rawTrailers }
        : undefined));
    }).on('close', () => setImmediate(resolve, undefined)).end();
  });
}
