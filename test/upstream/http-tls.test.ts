import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer as createPlainServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSecureContext, createServer, TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { openPool, send, startRaw } from '../helpers/http-client.js';

t.setTimeout(300_000);
const skip = spawnSync('openssl', ['version']).status === 0 ? false : 'needs openssl, which makes the certificates';

/** An authority of a test's own and a key and certificate of it for `name`. */
function certificate(name: string): { ca: string; key: string; cert: string } {
  const directory = mkdtempSync(join(tmpdir(), 'tls-'));
  const at = (file: string) => join(directory, file);
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'ignore' });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl('req', '-x509', ...newKey, '-keyout', at('ca.key'), '-out', at('ca.pem'), '-subj', '/CN=test authority', '-days', '2');
  openssl('req', ...newKey, '-keyout', at('key.pem'), '-out', at('csr.pem'), '-subj', '/CN=test');
  writeFileSync(at('ext'), `subjectAltName=${name}`);
  openssl('x509', '-req', '-in', at('csr.pem'), '-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial', '-out', at('cert.pem'), '-days', '2', '-extfile', at('ext'));
  const read = (file: string) => readFileSync(at(file), 'utf8');
  return { ca: read('ca.pem'), key: read('key.pem'), cert: read('cert.pem') };
}

async function startTls(t: Test, { key, cert }: { key: string; cert: string }) {
  const sockets: TLSSocket[] = [];
  const server = createServer({ key, cert, ALPNProtocols: ['h2', 'http/1.1'] }, (socket) => {
    sockets.push(socket);
    socket.on('error', () => {}).on('data', (data: Buffer) => {
      const text = `${String(socket.servername)} ${String(socket.alpnProtocol)} ${socket.isSessionReused()}`;
      socket.write(`HTTP/1.1 200 OK\r\n${/close/.test(data.toString()) ? 'connection: close\r\n' : ''}content-length: ${text.length}\r\n\r\n${text}`);
    });
  }).on('tlsClientError', () => {});
  await new Promise<void>((resolve) => server.listen(0, resolve));
  t.teardown(() => {
    sockets.forEach((socket) => void socket.destroy());
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, sockets };
}

t.test('by name: its certificate is checked, the name and HTTP/1.1 are asked for, sessions are resumed', { skip }, async (t) => {
  const own = certificate('DNS:localhost');
  const { port, sockets } = await startTls(t, own);
  const pool = openPool(t, `https://localhost:${port}`, { tls: { ca: own.ca } });
  t.equal((await send(pool)).body, 'localhost http/1.1 false');
  t.equal((await send(pool, { path: '/close' })).body, 'localhost http/1.1 false');
  t.equal(sockets.length, 1);
  t.equal((await send(pool)).body, 'localhost http/1.1 true');
});

t.test('by address: no name is asked for, the address is checked', { skip }, async (t) => {
  const own = certificate('IP:127.0.0.1');
  const { port } = await startTls(t, own);
  t.equal((await send(openPool(t, `https://127.0.0.1:${port}`, { tls: { ca: own.ca } }))).body, 'false http/1.1 false');
});

t.test('a certificate of another name, and one of an unknown authority, are refused before anything is sent', { skip }, async (t) => {
  const own = certificate('DNS:example.com');
  const { port, sockets } = await startTls(t, own);
  t.match(await send(openPool(t, `https://localhost:${port}`, { tls: { ca: own.ca } })), { connected: false, error: { code: 'ERR_TLS_CERT_ALTNAME_INVALID' }, ends: 1 });
  t.match(await send(openPool(t, `https://localhost:${port}`)), { connected: false, error: { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' }, ends: 1 });
  t.ok(sockets.every(({ bytesRead }) => bytesRead === 0));
});

t.test('a handshake that hangs or breaks off fails before anything is sent', async (t) => {
  const hanging = await startRaw(t, () => {});
  t.match(await send(openPool(t, hanging.url.replace('http:', 'https:'), { connectTimeoutMs: 300 })), { connected: false, error: { code: 'timeout' }, ends: 1 });
  const hurried = send(openPool(t, hanging.url.replace('http:', 'https:'), { connectTimeoutMs: 600_000 }), { headersTimeoutMs: 300 });
  t.match(await hurried, { connected: false, error: { code: 'timeout' }, ends: 1 }, 'connecting is part of the time to the headers');
  const closing = await startRaw(t, (socket) => void socket.end());
  t.match(await send(openPool(t, closing.url.replace('http:', 'https:'))), { connected: false, error: { kind: 'unreachable', unheard: true }, ends: 1 });
});

t.test('an answer that is over when its connection is needs close_notify: a cut one is broken, whatever was read of it', { skip }, async (t) => {
  const own = certificate('DNS:localhost');
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const cut = new Set<Socket>();
    const server = createPlainServer((raw) => {
      const socket = new TLSSocket(raw, { isServer: true, secureContext: createSecureContext({ ...own, minVersion: version, maxVersion: version }) });
      socket.on('error', () => {}).once('data', (data: Buffer) => {
        const [, how, size] = /\/(\w+)\/(\d+)/.exec(data.toString())!;
        const answer = `HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n${'a'.repeat(Number(size))}`;
        if (how === 'whole') return void socket.end(answer);
        if (how === 'later') return void socket.write(answer, () => void setImmediate(() => socket.end()));
        // TCP ends without a word of TLS, as where the other side died.
        socket.write(answer, () => void (raw.end(), cut.add(raw)));
      });
    });
    await new Promise<void>((resolve) => server.listen(0, resolve));
    t.teardown(() => server.close());
    const pool = openPool(t, `https://localhost:${(server.address() as AddressInfo).port}`, { tls: { ca: own.ca } });
    for (const size of [5, 300_000]) {
      for (const how of ['whole', 'later', 'cut']) {
        for (const slow of [false, true]) {
          const call = await send(pool, { path: `/${how}/${size}`, headersTimeoutMs: 60_000 }, (step, call) => {
            if (!slow || step !== 'onData') return;
            setTimeout(call.resume, 20);
            return false;
          });
          t.match([call.status, call.body.length, call.error?.kind, call.ends], [200, size, how === 'cut' ? 'unreachable' : undefined, 1], `${version}, ${how}, ${size} bytes, ${slow ? 'read slowly' : 'read at once'}`);
        }
      }
    }
    t.equal(cut.size, 4);
  }
});
