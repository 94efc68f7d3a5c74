import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Scope } from './scope.js';

/**
 * nginx before the replicas, as docs/operations.md configures it: kept-alive connections to each, and another replica for
 * what was refused before it was sent. Returns its URL.
 */
export async function startBalancer(scope: Scope, directory: string, port: number, replicas: readonly string[]): Promise<string> {
  const file = join(directory, 'nginx.conf');
  await writeFile(file, `
daemon off; worker_processes 1; pid ${directory}/nginx.pid; error_log ${directory}/nginx.log warn;
events { worker_connections 8192; }
http {
  access_log off;
  client_body_temp_path ${directory}/body; proxy_temp_path ${directory}/proxy; fastcgi_temp_path ${directory}/f; uwsgi_temp_path ${directory}/u; scgi_temp_path ${directory}/s;
  upstream gateways {
    ${replicas.map((url) => `server ${new URL(url).host} max_fails=0;`).join('\n    ')}
    keepalive 32;
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://gateways; proxy_http_version 1.1; proxy_set_header connection ''; proxy_set_header host $host; proxy_buffering off;
      proxy_connect_timeout 1s; proxy_read_timeout 60s; proxy_next_upstream error timeout http_503; proxy_next_upstream_tries 3;
    }
  }
}`);
  const child: ChildProcess = spawn('nginx', ['-c', file, '-p', directory], { stdio: ['ignore', 'ignore', 'inherit'] });
  scope.test.teardown(async () => {
    if (child.exitCode !== null) return;
    child.kill('SIGTERM');
    await once(child, 'exit');
  });
  return `http://127.0.0.1:${port}`;
}
