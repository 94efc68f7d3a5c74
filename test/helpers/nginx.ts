import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { freePort } from './process.js';
import { until } from './receiver.js';

/** Why tests with nginx are left out here, or false when they run. */
export const noNginx: string | false = spawnSync('nginx', ['-v']).status === 0 ? false : 'no nginx found';

/**
 * An nginx on a port of its own in front of `target`, with `location` as the directives of its only location; stopped with the test. A cache
 * named `answers` may be used in it.
 */
export async function startNginx(t: Test, target: string, location: string): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'authkit-nginx-'));
  const port = await freePort();
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${root}/${name};`).join(' ');
  await writeFile(join(root, 'nginx.conf'), `
    daemon off; master_process off; ${process.getuid?.() === 0 ? 'user root;' : ''} pid ${root}/pid; error_log stderr;
    events {}
    http {
      access_log off; ${temporary}
      proxy_cache_path ${root}/cache keys_zone=answers:1m;
      server { listen 127.0.0.1:${port}; location / { proxy_pass ${target}; ${location} } }
    }`);
  const child = spawn('nginx', ['-c', join(root, 'nginx.conf'), '-p', root], { stdio: 'ignore' });
  const closed = once(child, 'close');
  t.teardown(async () => {
    child.kill('SIGKILL');
    await closed;
    await rm(root, { recursive: true, force: true });
  });
  const url = `http://127.0.0.1:${port}`;
  await until(async () => (await fetch(url).catch(() => undefined)) !== undefined);
  return url;
}
