import fp from 'fastify-plugin';
import { repeat } from '../schedule.js';
import type { Reconciler } from './reconciler.js';

// A replica that dies in the middle of a run is replaced at the others' next look.
const lookEveryMs = 20_000;

/** Lets the reconciler run while the gateway listens (unless `intervalMs` is 0), and stops it, runs by hand included, before it closes. */
export const reconciling = fp<{ reconciler: Reconciler; intervalMs: number }>(async (app, { reconciler, intervalMs }) => {
  let stopLooking = async (): Promise<void> => {};
  app.addHook('onListen', async () => {
    if (intervalMs > 0) stopLooking = repeat(Math.min(intervalMs, lookEveryMs), () => reconciler.runDue(), app.log);
  });
  app.addHook('preClose', async () => void (await Promise.all([stopLooking(), reconciler.stop()])));
}, { name: 'reconciling' });
