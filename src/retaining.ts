import fp from 'fastify-plugin';
import type { Retention } from './persistence/retention.js';
import { repeat } from './schedule.js';

const everyMs = 3_600_000;

/** Deletes rows whose time is over, from when the gateway listens and every hour; stops before it closes. */
export const retaining = fp<{ retention: Retention }>(async (app, { retention }) => {
  const stopping = new AbortController();
  let stop = async (): Promise<void> => {};
  app.addHook('onListen', async () => void (stop = repeat(everyMs, () => retention.run(stopping.signal), app.log, { atOnce: true })));
  app.addHook('preClose', async () => {
    stopping.abort();
    await stop();
  });
}, { name: 'retaining' });
