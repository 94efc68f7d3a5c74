import { setTimeout as sleep } from 'node:timers/promises';
import type { AttemptResult, ClaimedDelivery, DeliveryQueue } from './queue.js';
import type { Sender } from './sender.js';
import { waitAfter, waits } from './waits.js';

/** Told of every attempt. */
export type AttemptObserver = (delivery: ClaimedDelivery, outcome: 'delivered' | 'failed' | 'parked' | 'gone', result: AttemptResult) => void;

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
   * receivers with much to come do not hold up the others.
   */
  concurrency?: number;
  perWebhook?: number;
  /**
   * An attempt that takes longer gives its slot to others, and its receiver counts as silent until it answers. Silent
   * receivers share half as many slots of their own, by the same rules.
   */
  slowMs?: number;
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
  queue, send, observe, onError, schedule = waits, concurrency = 64, perWebhook = 4, slowMs = 2_000, graceMs = 3_000,
}: DispatcherOptions): Dispatcher {
  const stopped = new AbortController();
  const inFlight = new Map<ClaimedDelivery, Promise<void>>();
  const late = new Set<ClaimedDelivery>();
  const silent = new Set<string>();
  let stopping = false;
  let pumping: Promise<void> | undefined;
  let again = false;
  let renewing: NodeJS.Timeout | undefined;

  const busyWebhooks = (most: number): string[] => {
    const counts = new Map<string, number>();
    for (const { webhookId } of inFlight.keys()) counts.set(webhookId, (counts.get(webhookId) ?? 0) + 1);
    return [...counts].filter(([, count]) => count >= most).map(([id]) => id);
  };

  const sendTimed = async (delivery: ClaimedDelivery): Promise<AttemptResult> => {
    const timer = setTimeout(() => {
      late.add(delivery);
      silent.add(delivery.webhookId);
      pumpOn();
    }, slowMs).unref();
    const result = await send(delivery, stopped.signal);
    clearTimeout(timer);
    // One that refuses at once is not silent either.
    if (!late.delete(delivery) || result.status !== undefined) silent.delete(delivery.webhookId);
    return result;
  };

  const attempt = async (delivery: ClaimedDelivery): Promise<void> => {
    const result = await sendTimed(delivery);
    if (result.error === undefined) {
      await queue.delivered(delivery, result);
      return observe(delivery, 'delivered', result);
    }
    if (stopped.signal.aborted) return queue.release(delivery);
    if (result.status === 410) {
      await queue.gone(delivery, result);
      return observe(delivery, 'gone', result);
    }
    const wait = waitAfter({ ...delivery, retryAfter: result.retryAfter }, schedule);
    await queue.failed(delivery, result, wait);
    observe(delivery, wait === undefined ? 'parked' : 'failed', result);
  };

  const start = (delivery: ClaimedDelivery): void => {
    const work = attempt(delivery).catch(onError).finally(() => {
      inFlight.delete(delivery);
      pumpOn();
    });
    inFlight.set(delivery, work);
    renewing ??= setTimeout(() => void renew(), queue.renewEveryMs).unref();
  };

  const renew = async (): Promise<void> => {
    if (inFlight.size > 0) await queue.renew([...inFlight.keys()]).catch(onError);
    renewing = inFlight.size > 0 ? setTimeout(() => void renew(), queue.renewEveryMs).unref() : undefined;
  };

  const claimAll = async (): Promise<void> => {
    do {
      again = false;
      for (const claim of [claimForOthers, claimForSilent]) {
        if (stopping) return;
        const claimed = await claim();
        claimed.forEach(start);
        again ||= claimed.length > 0;
      }
    } while (again);
  };

  const silentInFlight = (): number => [...inFlight.keys()].filter((delivery) => late.has(delivery) || silent.has(delivery.webhookId)).length;

  const claimForOthers = async (): Promise<ClaimedDelivery[]> => {
    const { free, busy } = slotsOf(concurrency, inFlight.size - silentInFlight());
    return free > 0 ? queue.claim(free, [...busy, ...silent]) : [];
  };

  const claimForSilent = async (): Promise<ClaimedDelivery[]> => {
    if (silent.size === 0) return [];
    const { free, busy } = slotsOf(Math.ceil(concurrency / 2), silentInFlight());
    return free > 0 ? queue.claim(free, busy, [...silent]) : [];
  };

  /** What of so many slots can be given away now, and which webhooks have enough. */
  const slotsOf = (slots: number, taken: number): { free: number; busy: string[] } => {
    const shared = slots - taken - Math.floor(slots / 2);
    return shared > 0 ? { free: shared, busy: busyWebhooks(perWebhook) } : { free: slots - taken, busy: busyWebhooks(1) };
  };

  const pumpOn = (): void => {
    if (!stopping) void pump().catch(onError);
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
