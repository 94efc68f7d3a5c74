import type { ChildProcess } from 'node:child_process';
import { openSync } from 'node:fs';
import { join } from 'node:path';
import type { BenchDatabases } from './databases.js';
import { run, untilAnswers } from './processes.js';
import { connection, isInstalled, startNginx } from './stub.js';

/** A proxy under test, at `url` + path, called with `headers`. */
export type Contender = { name: string; url: string; headers: Record<string, string>; process: ChildProcess };

const rootKey = 'bench-root-key-8f3ac1d97b2e640512cd';
const core = 0;

/** Starts every contender: the gateway as built and in production configuration, bare http-proxy, the guide's handler, nginx. */
export async function startContenders(directory: string, upstream: string, firstPort: number, databases: BenchDatabases): Promise<Contender[]> {
  const contenders = [await startGateway(directory, upstream, firstPort, await databases.create())];
  const ofGuide = await databases.create();
  const key = contenders[0]!.headers['x-api-key']!;
  const node = (name: string, port: number) => run(process.execPath, ['--import', 'tsx', `bench/proxy/${name}.ts`, String(port), upstream, key, ofGuide ?? ''], { core });
  for (const [i, name] of ['bare', 'guide'].entries()) {
    const port = firstPort + 1 + i;
    contenders.push({ name, url: `http://127.0.0.1:${port}/proxy/bench`, headers: { 'x-api-key': key }, process: node(name, port) });
  }
  if (isInstalled('nginx')) {
    const port = firstPort + 3;
    const nginx = await startNginx('nginx', directory, core, `
      upstream stub { server ${new URL(upstream).host}; keepalive 128; }
      server {
        listen 127.0.0.1:${port} backlog=4096;
        location /proxy/ { proxy_pass http://stub/v1/passthrough/; proxy_http_version 1.1; proxy_set_header connection ''; proxy_buffering off; }
      }`);
    contenders.push({ name: 'nginx', url: `http://127.0.0.1:${port}/proxy/bench`, headers: {}, process: nginx });
  }
  for (const { url } of contenders) await untilAnswers(`${url}/small`);
  return contenders;
}

async function startGateway(directory: string, upstream: string, port: number, database: string | undefined): Promise<Contender> {
  const child = run(process.execPath, ['dist/server.js'], {
    core,
    // A log in production goes to a pipe or a file: it must be written, not thrown away.
    output: openSync(join(directory, 'gateway.log'), 'w'),
    env: {
      NODE_ENV: 'production', PORT: String(port), PICA_SECRET_KEY: 'sk_test_bench', PICA_BASE_URL: upstream, ADMIN_API_KEY: rootKey,
      ...(database === undefined ? { DATA_DIR: join(directory, 'data') } : { DATABASE_URL: database }),
    },
  });
  const root = `http://127.0.0.1:${port}`;
  await untilAnswers(`${root}/healthz`);
  const post = async (path: string, body: unknown): Promise<{ key: string }> => {
    const response = await fetch(root + path, { method: 'POST', headers: { 'x-api-key': rootKey, 'content-type': 'application/json' }, body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return await response.json() as { key: string };
  };
  const { key } = await post('/api-keys', { name: 'bench', scopes: ['proxy'], identity: 'bench' });
  await post('/connections', { user_id: connection.identity, platform: connection.platform, connection_key: connection.key, environment: 'test' });
  return { name: 'gateway', url: `${root}/proxy/bench`, headers: { 'x-api-key': key }, process: child };
}
