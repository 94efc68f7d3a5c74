import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { createPostgresDatabase, postgresUrl } from '../helpers/database.js';
import { type GatewayProcess, startGatewayProcess } from '../helpers/gateway-process.js';
import { rootKey } from '../helpers/gateway.js';
import { PatternReader, pour } from '../helpers/pattern.js';
import { open } from '../helpers/raw-http.js';
import { canReadMemory, peakMemory, residentMemory } from '../helpers/resident-memory.js';
import { listen } from '../helpers/upstream.js';

t.setTimeout(300_000);

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;
const limit = 64 * MiB;
const slowRate = 64 * KiB;
const headers = { 'x-api-key': rootKey, 'x-user-id': 'ada' };

/** Reads what has come, at most 64 KiB at a time, and then not again until {@link slowRate} allows it. */
async function readSlowly(stream: Readable, take: (chunk: Buffer) => void): Promise<void> {
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    take(chunk);
    await wait(chunk.length / slowRate * 1000);
  }
}

t.test('memory of a gateway in a process of its own', { skip: canReadMemory ? false : 'needs /proc' }, async (t) => {
  // Bytes that the upstream has written, and read slowly.
  let written: (() => number)[] = [];
  let read = 0;
  const upstream = await listen(t, (request, response) => {
    const size = Number(/size=(\d+)/.exec(request.url!)?.[1] ?? 0);
    if (request.method === 'GET') {
      response.writeHead(200, { 'x-pica-passthrough-a': 'b', ...(request.url!.includes('chunked') ? {} : { 'content-length': size }) });
      return void written.push(pour(response, size).sent);
    }
    if (request.url!.includes('slow')) return void readSlowly(request, ({ length }) => (read += length)).catch(() => {});
    const body = new PatternReader();
    request.on('data', (chunk: Buffer) => body.take(chunk));
    request.on('end', () => response.writeHead(200, { 'x-pica-passthrough-a': 'b' }).end(JSON.stringify({ bytes: body.bytes, intact: body.intact })));
  });
  const gateway = await startMigrated(t, upstream.url);

  // V8 lets 32 MiB of young buffers gather before it looks for garbage, grows its heap and compiles what turns hot. The
  // first traffic pays for that whatever its size, so idle is what is left after some of it.
  for (let round = 0; round < 16; round += 1) {
    await Promise.all(Array.from({ length: 64 }, () => download('size=65536')));
    await upload('x', 4 * MiB, true);
  }
  let idle = Infinity;

  async function staysWithin(t: Test, run: () => Promise<unknown>): Promise<void> {
    await wait(1500);
    idle = Math.min(idle, residentMemory(gateway.pid));
    const over = await peakMemory(gateway.pid, run) - idle;
    t.ok(over <= limit, `${Math.round(over / MiB)} MiB over ${Math.round(idle / MiB)} MiB idle`);
  }

  async function download(query: string): Promise<PatternReader> {
    const call = httpRequest(`${gateway.url}/proxy/gmail/x?${query}`, { headers, agent: false }).end();
    const [answer] = await once(call, 'response') as [IncomingMessage];
    const body = new PatternReader();
    answer.on('data', (chunk: Buffer) => body.take(chunk));
    await once(answer, 'end');
    return body;
  }

  async function upload(path: string, size: number, chunked: boolean): Promise<unknown> {
    const call = httpRequest(`${gateway.url}/proxy/gmail/${path}`, { method: 'POST', agent: false, headers: { ...headers, ...(chunked ? {} : { 'content-length': size }) } });
    pour(call, size);
    const [answer] = await once(call, 'response') as [IncomingMessage];
    return JSON.parse(Buffer.concat(await answer.toArray()).toString());
  }

  function slowCallers(size: number): { sockets: Socket[]; answers: Promise<Buffer>[] } {
    const sockets = Array.from({ length: 64 }, () => open(gateway.url));
    const answers = sockets.map(async (socket) => {
      socket.write(`GET /proxy/gmail/x?size=${size} HTTP/1.1\r\nhost: x\r\nx-api-key: ${rootKey}\r\nx-user-id: ada\r\nconnection: close\r\n\r\n`);
      const chunks: Buffer[] = [];
      await readSlowly(socket, (chunk) => void chunks.push(chunk));
      return Buffer.concat(chunks);
    });
    return { sockets, answers };
  }

  // What the kernel keeps for a socket holds a body of 1 MiB; one of 32 MiB it does not.
  await t.test('64 callers reading 32 MiB at 64 KiB/s stay within 64 MiB over idle, and slow the upstream', async (t) => {
    await staysWithin(t, async () => {
      written = [];
      const { sockets, answers } = slowCallers(32 * MiB);
      await wait(5_000);
      const taken = written.reduce((sum, sent) => sum + sent(), 0);
      t.equal(written.length, 64);
      t.ok(taken < 64 * 24 * MiB, `${Math.round(taken / MiB)} of 2048 MiB were taken from the upstream`);
      sockets.forEach((socket) => socket.destroy());
      await Promise.allSettled(answers);
    });
  });

  for (const framing of ['content-length', 'chunked']) {
    await t.test(`1 GiB down, ${framing}, stays within 64 MiB over idle`, async (t) => {
      await staysWithin(t, async () => t.match(await download(`size=${GiB}&${framing}`), { bytes: GiB, intact: true }));
    });
    await t.test(`1 GiB up, ${framing}, stays within 64 MiB over idle`, async (t) => {
      await staysWithin(t, async () => t.strictSame(await upload('x', GiB, framing === 'chunked'), { bytes: GiB, intact: true }));
    });
  }

  await t.test('1 GiB up to an upstream that reads 64 KiB/s stays within 64 MiB over idle, and slows the caller', async (t) => {
    await staysWithin(t, async () => {
      const call = httpRequest(`${gateway.url}/proxy/gmail/slow`, { method: 'POST', headers: { ...headers, 'content-length': GiB }, agent: false });
      const { sent } = pour(call, GiB);
      await wait(4_000);
      t.ok(read > 0, 'the upstream reads');
      t.ok(sent() < GiB / 4, `${Math.round(sent() / MiB)} of 1024 MiB were taken from the caller`);
      call.destroy();
    });
  });

  // Last, when idle is down to what is really needed: these bodies together are no larger than the limit.
  await t.test('64 callers reading 1 MiB at 64 KiB/s stay within 64 MiB over idle', async (t) => {
    await staysWithin(t, async () => {
      const bodies = (await Promise.all(slowCallers(MiB).answers)).map((answer) => {
        const body = new PatternReader();
        body.take(answer.subarray(answer.indexOf('\r\n\r\n') + 4));
        return body;
      });
      t.ok(bodies.every(({ bytes, intact }) => bytes === MiB && intact), 'and each gets its body');
    });
  });
});

/**
 * A gateway with a stored connection of ada's, not the process that migrated the database: migrating leaves up to
 * 400 MiB that are given back at some later time, and would hide as much.
 */
async function startMigrated(t: Test, upstream: string): Promise<GatewayProcess> {
  const database = postgresUrl && await createPostgresDatabase(t);
  const dataDir = await mkdtemp(join(tmpdir(), 'memory-'));
  t.teardown(() => rm(dataDir, { recursive: true, force: true }));
  const env = { DATA_DIR: dataDir, CONNECTION_VERIFICATION: 'off', ACTION_RESOLUTION: 'off', PROXY_MAX_BODY_BYTES: String(GiB) };
  const first = await startGatewayProcess(t, database, upstream, env);
  const { status } = await first.request('POST', '/connections', { platform: 'gmail', key: `test::gmail::default::${'0'.repeat(32)}|ada` }, { 'x-user-id': 'ada' });
  t.equal(status, 201);
  await first.end('SIGTERM');
  return startGatewayProcess(t, database, upstream, env);
}
