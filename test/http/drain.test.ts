import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { Agent, get } from 'node:http';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { rootKey, startGateway } from '../helpers/gateway.js';
import { startGatewayProcess } from '../helpers/gateway-process.js';
import { createPostgresDatabase, openTestDatabase, postgresUrl } from '../helpers/database.js';
import { freePort } from '../helpers/process.js';
import { open } from '../helpers/raw-http.js';
import { until } from '../helpers/receiver.js';
import { startUpstream, storeConnection } from '../helpers/upstream.js';

t.setTimeout(600_000);
const head = (method: string, path: string, lines = ''): string => `${method} ${path} HTTP/1.1\r\nhost: x\r\nx-api-key: ${rootKey}\r\nx-user-id: ada\r\n${lines}\r\n`;

t.test('while it drains everything is served but readiness; while it closes what still comes is refused as any problem is', async (t) => {
  const database = await openTestDatabase(t);
  await storeConnection({ database });
  let answer = (): void => {};
  const upstream = await startUpstream(t, (_request, response) => {
    answer = () => void response.writeHead(200, { 'x-pica-passthrough-a': 'b' }).end('ok');
  });
  const gateway = await startGateway(t, upstream.url, { ACTION_RESOLUTION: 'off' }, database);
  t.equal((await gateway.request('GET', '/readyz')).status, 200);
  gateway.app.front.drain();
  const ready = await gateway.request('GET', '/readyz');
  t.match(ready, { status: 503, json: { status: 'unavailable', checks: { database: { status: 'ok' }, process: { status: 'failed', detail: 'is stopping' } } } });
  const list = await gateway.request('GET', '/connections');
  t.same([list.status, list.headers.get('connection')], [200, 'close']);

  const lines = open(gateway.url);
  let text = '';
  lines.on('data', (chunk: Buffer) => (text += chunk.toString()));
  // The second waits for the first, which is under way when the gateway closes.
  lines.write(`${head('POST', '/proxy/gmail/x', 'content-length: 1\r\n')}a`);
  await until(() => upstream.received.length === 1);
  const idle = connect(Number(new URL(gateway.url).port), '127.0.0.1');
  await once(idle, 'connect');
  await gateway.app.front.stopListening();
  const closed = gateway.app.close();
  await until(() => idle.closed || idle.readableEnded || idle.destroyed);
  answer();
  await closed;
  await until(() => lines.closed);
  t.match(text, /^HTTP\/1\.1 200 .*\r\nconnection: close\r\n.*ok\r\n/is, 'an answer under way arrives, and ends its socket');
});

t.test('requests that stand in line when the gateway closes get 503 as a problem, logged and counted', async (t) => {
  const database = await openTestDatabase(t);
  await storeConnection({ database });
  let answer = (): void => {};
  const upstream = await startUpstream(t, (_request, response) => {
    // The head goes out before the stop, so that it cannot say that the connection ends.
    response.writeHead(200, { 'x-pica-passthrough-a': 'b' }).write('o');
    answer = () => void response.end('k');
  });
  const gateway = await startGateway(t, upstream.url, { ACTION_RESOLUTION: 'off' }, database);
  const socket = open(gateway.url);
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
  socket.write(`${head('POST', '/proxy/gmail/x', 'content-length: 1\r\n')}a${head('GET', '/proxy/gmail/y')}`);
  await until(() => text.includes('HTTP/1.1 200'));
  const closed = gateway.app.close();
  await until(() => gateway.app.front.phase === 'closing');
  answer();
  await closed;
  await until(() => socket.closed);
  t.match(text, /HTTP\/1\.1 200 .*HTTP\/1\.1 503 .*"code":"service_unavailable"/s);
  const refusal = text.slice(text.indexOf('HTTP/1.1 503'));
  for (const line of ['content-type: application/problem\\+json', 'x-authkit-error: service_unavailable', 'retry-after: 1', 'connection: close']) t.match(refusal, new RegExp(`\r\n${line}`, 'i'));
  t.ok(gateway.log.lines.some((line) => line.includes('"route":"/proxy/:platform/*"') && line.includes('"status":503')), 'it is in the log');
});

const without = spawnSync('nginx', ['-v']).error ? 'needs nginx' : postgresUrl ? false : 'needs Postgres: set TEST_DATABASE_URL';
const rolls = Number(process.env['ROLLS'] || 2);

t.test(`no request fails over ${rolls} rolling stops behind nginx`, { skip: without }, async (t) => {
  const databaseUrl = await createPostgresDatabase(t);
  const upstream = await startUpstream(t, (_request, response) => void response.end());
  const ports = [await freePort(), await freePort()];
  const start = (port: number) => startGatewayProcess(t, databaseUrl, upstream.url, { PORT: String(port), LOG_LEVEL: 'info' });
  const gateways = [await start(ports[0]!), await start(ports[1]!)];
  const directory = await mkdtemp(join(tmpdir(), 'nginx-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  const front = await freePort();
  await writeFile(join(directory, 'nginx.conf'), `daemon off; worker_processes 1; pid ${directory}/pid; error_log ${directory}/error.log;
events {} http { access_log off; client_body_temp_path ${directory}; proxy_temp_path ${directory}; fastcgi_temp_path ${directory}; uwsgi_temp_path ${directory}; scgi_temp_path ${directory};
upstream gateways { ${ports.map((port) => `server 127.0.0.1:${port} max_fails=0;`).join(' ')} keepalive 8; }
server { listen 127.0.0.1:${front}; location / { proxy_pass http://gateways; proxy_http_version 1.1; proxy_set_header Connection ""; } } }`);
  const nginx = spawn('nginx', ['-e', `${directory}/error.log`, '-c', `${directory}/nginx.conf`], { stdio: 'ignore' });
  t.teardown(() => void nginx.kill('SIGKILL'));

  const agent = new Agent({ keepAlive: true, maxSockets: 20 });
  t.teardown(() => agent.destroy());
  const failures: string[] = [];
  let sent = 0;
  const ask = () => new Promise<number>((resolve) => {
    sent += 1;
    get({ port: front, path: '/connections?limit=1', headers: { 'x-api-key': rootKey }, agent }, (response) => response.resume().on('end', () => resolve(response.statusCode!))).on('error', () => resolve(0));
  });
  await until(async () => await ask() === 200);
  const load = setInterval(() => void ask().then((status) => status === 200 || failures.push(String(status))), 20);
  t.teardown(() => clearInterval(load));
  for (let roll = 0; roll < rolls; roll += 1) {
    const index = roll % 2;
    t.equal(await gateways[index]!.end('SIGTERM'), undefined);
    t.ok(gateways[index]!.log.some((line) => line.includes('"msg":"stopped"')), 'it stops by itself');
    gateways[index] = await start(ports[index]!);
  }
  clearInterval(load);
  t.comment((await readFile(join(directory, 'error.log'), 'utf8')).split('\n').slice(0, 30).join('\n'));
  t.comment(`${sent} requests over ${rolls} rolling stops, ${failures.length} failed`);
  t.same(failures, []);
});
