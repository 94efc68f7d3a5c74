import fp from 'fastify-plugin';
import { repeat } from '../schedule.js';
import type { Dispatcher } from './dispatcher.js';
import type { DeliveryQueue } from './queue.js';

const lookEveryMs = 1_000;
const pruneEveryMs = 3_600_000;
const keepDays = 30;

/** Sends webhooks while the gateway listens, and forgets old ones. */
export const delivering = fp<{ dispatcher: Dispatcher; queue: DeliveryQueue }>(async (app, { dispatcher, queue }) => {
  let stops: (() => Promise<void>)[] = [];
  app.addHook('onListen', async () => {
    stops = [repeat(lookEveryMs, () => dispatcher.pump(), app.log), repeat(pruneEveryMs, () => queue.prune(keepDays), app.log)];
  });
  app.addHook('preClose', async () => void (await Promise.all([...stops.map((stop) => stop()), dispatcher.stop()])));
}, { name: 'delivering' });
