// npm run bench: the gateway in production configuration against bare @fastify/http-proxy, the guide's handler, and nginx where it
// is installed; same upstream stub, contenders alternating, medians of the rounds. Needs wrk and taskset (Debian packages) and a build;
// where Postgres is (BENCH_DATABASE_URL, or on this machine), the gateway and the guide's handler use it, as in production.
// Options: --rounds 3 --seconds 3 --only "GET 300 B" --contenders gateway,bare
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startContenders } from './proxy/contenders.js';
import { openDatabases } from './proxy/databases.js';
import { loads, measure, type Result } from './proxy/load.js';
import { peakMemory, stopAll } from './proxy/processes.js';
import { isInstalled, startStub } from './proxy/stub.js';

const { values } = parseArgs({ options: {
  rounds: { type: 'string', default: '3' }, seconds: { type: 'string', default: '3' }, only: { type: 'string' }, contenders: { type: 'string' },
} });
const seconds = Number(values.seconds);
const firstPort = 41_000;

for (const program of ['wrk', 'taskset']) {
  if (!isInstalled(program)) throw new Error(`${program} is not installed: apt-get install wrk util-linux`);
}
const directory = await mkdtemp(join(tmpdir(), 'authkit-bench-'));
// nginx reads the stub's files as an unprivileged user.
await chmod(directory, 0o755);
const databases = await openDatabases();
try {
  await startStub(directory, firstPort);
  const contenders = await startContenders(directory, `http://127.0.0.1:${firstPort}`, firstPort + 1, databases);
  const chosen = contenders.filter(({ name }) => name === 'bare' || !values.contenders || values.contenders.split(',').includes(name));
  for (const [i, load] of loads.filter(({ name }) => !values.only || name === values.only).entries()) {
    // Cold code costs several times warm code, and the first load pays for what all of them share.
    for (const contender of chosen) await measure(directory, load, contender, i === 0 ? 6 : 3);
    const results = new Map<string, Result[]>(chosen.map(({ name }) => [name, []]));
    for (let round = 0; round < Number(values.rounds); round += 1) {
      for (const contender of chosen) results.get(contender.name)!.push(await measure(directory, load, contender, seconds));
    }
    const bare = results.get('bare')!;
    console.log(`\n${load.name}, ${load.connections} connection${load.connections === 1 ? '' : 's'}`);
    console.table(Object.fromEntries(chosen.map(({ name, process: child }) => {
      const rounds = results.get(name)!;
      return [name, {
        'requests/s': Math.round(median(rounds.map(({ perSecond }) => perSecond))),
        'of bare': Number(median(rounds.map(({ perSecond }, i) => perSecond / bare[i]!.perSecond)).toFixed(2)),
        'p50 ms': Number(median(rounds.map(({ p50 }) => p50)).toFixed(2)),
        'p99 ms': Number(median(rounds.map(({ p99 }) => p99)).toFixed(2)),
        'CPU µs/request': Number(median(rounds.map(({ cpu }) => cpu)).toFixed(0)),
        'peak MiB': Math.round(peakMemory(child.pid!) ?? 0),
        failed: rounds.reduce((sum, { failed }) => sum + failed, 0),
      }];
    })));
  }
} finally {
  await stopAll();
  await databases.dropAll();
  await rm(directory, { recursive: true, force: true });
}

function median(numbers: number[]): number {
  return [...numbers].sort((one, other) => one - other)[Math.floor(numbers.length / 2)]!;
}
