// The upstream every contender calls: fixed answers by path, marked as a provider's.
import { type ChildProcess, spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { run } from './processes.js';

const sizes = { small: 300, medium: 64 * 1024, large: 1024 * 1024 } as const;

/** The one connection there is, as the vault lists it. */
export const connection = {
  key: 'test::bench::default::00000000000000000000000000000000', platform: 'bench', environment: 'test', identity: 'bench', identityType: 'user',
};
const vaultPage = JSON.stringify({ rows: [{ ...connection, id: '1', state: 'operational', tags: [] }], total: 1, pages: 1, page: 1 });

/** A provider's answer of `size` bytes: JSON, for the guide's handler reads it. */
function bodyOf(size: number): string {
  return JSON.stringify('x'.repeat(size - 2));
}

/** Whether a program can be started here. */
export function isInstalled(program: string): boolean {
  return spawnSync('which', [program]).status === 0;
}

/** nginx where it is installed, so that the stub is never what limits; else a Node server. */
export async function startStub(directory: string, port: number): Promise<ChildProcess> {
  for (const [name, size] of Object.entries(sizes)) await writeFile(join(directory, name), bodyOf(size));
  if (!isInstalled('nginx')) return run(process.execPath, ['--import', 'tsx', 'bench/proxy/stub-server.ts', String(port)], { core: 1 });
  return startNginx('stub', directory, 1, `
    server {
      listen 127.0.0.1:${port} backlog=4096;
      add_header x-pica-passthrough-content-type application/json always;
      add_header x-pica-passthrough-etag '"1"' always;
      location ~ /(small|medium|large)$ { root ${directory}; rewrite ^.*/(\\w+)$ /$1 break; }
      location = /v1/vault/connections { default_type application/json; return 200 '${vaultPage}'; }
      location / { return 200 '${bodyOf(sizes.small)}'; }
    }`);
}

/** nginx with one worker, no disk writes, and the given servers. */
export async function startNginx(name: string, directory: string, core: number, servers: string): Promise<ChildProcess> {
  const file = join(directory, `${name}.conf`);
  await writeFile(file, `
daemon off; worker_processes 1; pid ${directory}/${name}.pid; error_log ${directory}/${name}.log crit;
events { worker_connections 8192; }
http {
  access_log off; keepalive_requests 1000000; keepalive_timeout 300s; sendfile on; tcp_nodelay on; client_max_body_size 0;
  client_body_temp_path ${directory}/body; proxy_temp_path ${directory}/proxy; fastcgi_temp_path ${directory}/f; uwsgi_temp_path ${directory}/u; scgi_temp_path ${directory}/s;
  ${servers}
}`);
  return run('nginx', ['-c', file, '-p', directory], { core });
}

/** The stub as a Node server, for machines without nginx. */
export function listenAsStub(port: number): void {
  const bodies = Object.fromEntries(Object.entries(sizes).map(([name, size]) => [name, Buffer.from(bodyOf(size))]));
  createServer((request, response) => {
    if (request.url!.startsWith('/v1/vault')) return void response.writeHead(200, { 'content-type': 'application/json' }).end(vaultPage);
    request.resume().on('end', () => {
      const body = bodies[request.url!.split('/').at(-1)!] ?? bodies['small']!;
      response.writeHead(200, { 'x-pica-passthrough-content-type': 'application/json', 'x-pica-passthrough-etag': '"1"', 'content-length': body.length }).end(body);
    });
  }).listen(port, '127.0.0.1');
}
