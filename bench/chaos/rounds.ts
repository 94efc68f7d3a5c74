import type { Cluster } from '../../test/helpers/cluster.js';
import type { Forwarder } from '../../test/helpers/forwarder.js';
import { pause } from './ledger.js';
import type { Replica } from './replicas.js';

/** What a round may break. */
export type World = { replicas: readonly Replica[]; cluster: Cluster; database: Forwarder; restartPooler: (() => Promise<void>) | undefined; log(line: string): void };

/** One kind of trouble: it lasts until the promise resolves, about `seconds` long. `mustNotFail`: no caller may notice. */
export type Round = { name: string; mustNotFail?: boolean; needs?: 'pooler'; run(world: World, seconds: number): Promise<void> };

/** Every round, in order. */
export const rounds: readonly Round[] = [
  { name: 'calm', mustNotFail: true, run: (_world, seconds) => pause(seconds * 1000) },
  {
    name: 'rolling stop', mustNotFail: true,
    async run({ replicas, log }, seconds) {
      for (const end = performance.now() + seconds * 1000; performance.now() < end;) {
        for (const replica of replicas) {
          const code = await replica.stop('SIGTERM');
          if (code !== 0) log(`a rolling stop left with ${code}`);
          await replica.start();
        }
      }
    },
  },
  {
    name: 'kill -9',
    async run({ replicas }, seconds) {
      const end = performance.now() + seconds * 1000;
      for (let i = 0; performance.now() < end; i += 1) {
        const replica = replicas[i % replicas.length]!;
        await replica.stop('SIGKILL');
        await replica.start();
        await pause(500);
      }
    },
  },
  {
    name: 'paused replica',
    async run({ replicas }, seconds) {
      replicas[0]!.signal('SIGSTOP');
      await pause(seconds * 1000);
      replicas[0]!.signal('SIGCONT');
    },
  },
  {
    name: 'sessions ended every second',
    async run({ cluster }, seconds) {
      for (let i = 0; i < seconds; i += 1) {
        await cluster.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'authkit' AND pid <> pg_backend_pid()");
        await pause(1000);
      }
    },
  },
  {
    name: 'database restart',
    async run({ cluster }) {
      await cluster.stop('fast');
      await cluster.start();
    },
  },
  {
    name: 'database crash, away',
    async run({ cluster }, seconds) {
      await cluster.stop('immediate');
      await pause(seconds * 500);
      await cluster.start();
    },
  },
  {
    name: 'database black-holed',
    async run({ database }, seconds) {
      database.stall();
      await pause(seconds * 1000);
      await database.restore();
    },
  },
  { name: 'pooler restart', needs: 'pooler', run: async ({ restartPooler }) => restartPooler?.() },
];
