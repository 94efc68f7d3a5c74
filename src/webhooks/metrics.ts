import type { Logger } from 'pino';
import { Counter, type Registry } from 'prom-client';
import type { AttemptObserver } from './dispatcher.js';

/** Counts attempts, and logs those that failed. A URL may hold a token of the receiver's: it is not logged. */
export function observeAttempts(registry: Registry, log: Logger): { observe: AttemptObserver; onError(error: unknown): void } {
  const attempts = new Counter({ name: 'webhook_attempts_total', help: 'Webhook deliveries tried.', labelNames: ['outcome'], registers: [registry] });
  return {
    observe({ id, webhookId, event, attempts: number }, outcome, { status, error }) {
      attempts.inc({ outcome });
      if (outcome === 'delivered') return;
      if (outcome === 'gone') return log.warn({ webhook: webhookId, delivery: id, event: event.type, status }, 'webhook switched off: its receiver answered 410 Gone');
      log.warn({ webhook: webhookId, delivery: id, event: event.type, attempt: number, outcome, status, error }, 'webhook not delivered');
    },
    onError: (error) => log.warn({ err: error }, 'what became of webhook deliveries could not be stored'),
  };
}
