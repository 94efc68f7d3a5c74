import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { digest } from './digest.js';
import { echo } from './echo.js';
import { json, queryNumber, type HeaderPairs, type ProviderAnswer, type ProviderCall } from './provider.js';

const ROOT = '/__provider/';
const CHUNK = Buffer.from('0123456789abcdef'.repeat(4096));

type Utility = (call: ProviderCall, argument: string) => ProviderAnswer | Promise<ProviderAnswer>;

const UTILITIES: Record<string, Utility> = {
  echo: async (call) => (await echo(call)) as ProviderAnswer,
  status: (_call, code) => answerStatus(Number(code)),
  bytes: (_call, count) => answerBytes(Number(count)),
  sse: (call) => answerEvents(queryNumber(call, 'count', 3, 1_000_000), queryNumber(call, 'interval', 100, 60_000)),
  gzip: () => {
    const body = gzipSync(JSON.stringify({ compressed: true, text: 'lorem ipsum '.repeat(200) }));
    return { status: 200, headers: [['content-type', 'application/json'], ['content-encoding', 'gzip']], body };
  },
  slow: answerSlowly,
  sink: async (call) => {
    const { sha256, length } = await digest(call.body, 0);
    return json({ sha256, length });
  },
  headers: () => json({ ok: true }, 200, SHOWCASE_HEADERS),
};

const SHOWCASE_HEADERS: HeaderPairs = [
  ['set-cookie', 'session=abc; Path=/; HttpOnly'],
  ['set-cookie', 'theme=dark; Path=/'],
  ['etag', '"sandbox-1"'],
  ['location', 'https://provider.example/things/1'],
  ['link', '<https://provider.example/things?page=2>; rel="next"'],
  ['x-custom', 'from the provider'],
  ['x-request-id', 'provider-request-1'],
  ['cache-control', 'private, max-age=60'],
  ['retry-after', '7'],
];

/** The `/__provider/…` paths that exist under every platform for tests; undefined for any other path. */
export function utility(call: ProviderCall): ReturnType<Utility> | undefined {
  if (!call.path.startsWith(ROOT)) return undefined;
  const [name = '', argument = ''] = call.path.slice(ROOT.length).split('/');
  return Object.hasOwn(UTILITIES, name) ? UTILITIES[name]?.(call, argument) : undefined;
}

function answerStatus(code: number): ProviderAnswer {
  const status = Number.isInteger(code) && code >= 200 && code <= 599 ? code : 400;
  if (status === 204 || status === 304) return { status, headers: [['etag', '"sandbox-1"']], body: Buffer.alloc(0) };
  return json({ status, from: 'provider' }, status);
}

function answerBytes(count: number): ProviderAnswer {
  const total = Number.isSafeInteger(count) && count >= 0 ? count : 0;
  const chunks = function* () {
    for (let sent = 0; sent < total; sent += CHUNK.length) yield CHUNK.subarray(0, total - sent);
  };
  const headers: HeaderPairs = [['content-type', 'application/octet-stream'], ['content-length', String(total)]];
  return { status: 200, headers, body: Readable.from(chunks(), { objectMode: false }) };
}

function answerEvents(count: number, interval: number): ProviderAnswer {
  const events = async function* () {
    for (let id = 1; id <= count; id += 1) {
      yield Buffer.from(`id: ${id}\nevent: tick\ndata: {"tick":${id},"at":${Date.now()}}\n\n`);
      if (id < count) await sleep(interval, undefined, { ref: false });
    }
  };
  const headers: HeaderPairs = [['content-type', 'text/event-stream'], ['cache-control', 'no-cache']];
  return { status: 200, headers, body: Readable.from(events(), { objectMode: false }) };
}

/** `ms` until the headers, then `gap` between `chunks` pieces of body. */
async function answerSlowly(call: ProviderCall): Promise<ProviderAnswer> {
  const gap = queryNumber(call, 'gap', 0, 600_000);
  const chunks = queryNumber(call, 'chunks', 2, 10_000);
  await sleep(queryNumber(call, 'ms', 1000, 600_000), undefined, { ref: false });
  const parts = async function* () {
    for (let index = 1; index <= chunks; index += 1) {
      yield Buffer.from(`part ${index}\n`);
      if (index < chunks) await sleep(gap, undefined, { ref: false });
    }
  };
  return { status: 200, headers: [['content-type', 'text/plain; charset=utf-8']], body: Readable.from(parts(), { objectMode: false }) };
}
