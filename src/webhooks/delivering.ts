import fp from 'fastify-plugin';
import { repeat } from '../schedule.js';
import type { Dispatcher } from './dispatcher.js';

const lookEveryMs = 1_000;

/** Sends webhooks while the gateway listens. */
export const delivering = fp<{ dispatcher: Dispatcher }>(async (app, { dispatcher }) => {
  let stopLooking = async (): Promise<void> => {};
  app.addHook('onListen', async () => {
    stopLooking = repeat(lookEveryMs, () => dispatcher.pump(), app.log);
  });
  app.addHook('preClose', async () => void (await Promise.all([stopLooking(), dispatcher.stop()])));
}, { name: 'delivering' });
