import { setTimeout as sleep } from 'node:timers/promises';
import type { AttemptResult, ClaimedDelivery, DeliveryQueue } from './queue.js';
import type { Sender } from './sender.js';
import { waitAfter, waits } from './waits.js';

/** Told of every attempt. */
export type AttemptObserver = (delivery: ClaimedDelivery, outcome: 'delivered' | 'failed' | 'parked', result: AttemptResult) => void;

/** What a dispatcher works with, and its limits. */
export type DispatcherOptions = {
  queue: DeliveryQueue;
  send: Sender;
  observe: AttemptObserver;
  /** Told of attempts whose end could not be written down: they are repeated when their lease ends. */
  onError(error: unknown): void;
  /** Seconds after each failed attempt. */
  schedule?: readonly number[];
  /**
   * Attempts at once, in all and for one webhook. Half of them are kept for webhooks that have none under way, so that a few
   * slow receivers with much to come do not hold up the others.
   */
  concurrency?: number;
  perWebhook?: number;
  /** How long a stop lets attempts go on. */
  graceMs?: number;
};

/** Sends what the queue holds. */
export type Dispatcher = {
  /** Starts everything that is due, and goes on as attempts end; resolves when nothing more can be started now. */
  pump(): Promise<void>;
  /** Starts nothing more; attempts that do not end in time are given back for somebody else. */
  stop(): Promise<void>;
};

/** A dispatcher that sends nothing until it is pumped. */
export function createDispatcher({
  queue, send, observe, onError, schedule = waits, concurrency = 64, perWebhook = 4, graceMs = 3_000,
}: DispatcherOptions): Dispatcher {
  const stopped = new AbortController();
  const inFlight = new Map<ClaimedDelivery, Promise<void>>();
  let stopping = false;
  let pumping: Promise<void> | undefined;
  let again = false;

  const busyWebhooks = (most: number): string[] => {
    const counts = new Map<string, number>();
    for (const { webhookId } of inFlight.keys()) counts.set(webhookId, (counts.get(webhookId) ?? 0) + 1);
    return [...counts].filter(([, count]) => count >= most).map(([id]) => id);
  };

  const attempt = async (delivery: ClaimedDelivery): Promise<void> => {
    const result = await send(delivery, stopped.signal);
    if (result.error === undefined) {
      await queue.delivered(delivery, result);
      return observe(delivery, 'delivered', result);
    }
    if (stopped.signal.aborted) return queue.release(delivery);
    const wait = waitAfter(delivery.attempts, schedule);
    await queue.failed(delivery, result, wait);
    observe(delivery, wait === undefined ? 'parked' : 'failed', result);
  };

  const start = (delivery: ClaimedDelivery): void => {
    const work = attempt(delivery).catch(onError).finally(() => {
      inFlight.delete(delivery);
      if (!stopping) void pump().catch(onError);
    });
    inFlight.set(delivery, work);
  };

  const claimAll = async (): Promise<void> => {
    do {
      again = false;
      const free = concurrency - inFlight.size;
      if (free <= 0 || stopping) return;
      const shared = free - Math.floor(concurrency / 2);
      const claimed = shared > 0 ? await queue.claim(shared, busyWebhooks(perWebhook)) : await queue.claim(free, busyWebhooks(1));
      claimed.forEach(start);
      again ||= claimed.length > 0;
    } while (again);
  };

  const pump = (): Promise<void> => {
    again = true;
    pumping ??= claimAll().finally(() => {
      pumping = undefined;
    });
    return pumping;
  };

  return {
    pump,
    async stop() {
      stopping = true;
      await pumping?.catch(() => {});
      const attempts = Promise.all(inFlight.values());
      const grace = new AbortController();
      await Promise.race([attempts, sleep(graceMs, undefined, { signal: grace.signal }).catch(() => {})]);
      grace.abort();
      stopped.abort();
      await attempts;
    },
  };
}
