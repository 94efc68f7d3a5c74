import { Problem } from '../errors.js';
import { decodeCursor, page } from '../persistence/keyset.js';
import { generateSecret } from './secret.js';
import type { Delivery, DeliveryStatus, Webhook, WebhookChange, WebhookStore } from './store.js';
import { resolveTarget, type TargetRules } from './target.js';

/** A webhook as it is asked for. */
export type WebhookRequest = { url: string; events: string[]; description: string | null };
type Page<Row> = { rows: Row[]; nextCursor: string | null };

/** Webhooks as their managers see them. 404 `webhook_not_found` for unknown ids. */
export type WebhookService = {
  /** Its secret is to be shown once. 422 `webhook_target_refused`. */
  create(request: WebhookRequest): Promise<Webhook>;
  list(cursor: string | undefined, limit: number): Promise<Page<Webhook>>;
  get(id: string): Promise<Webhook>;
  /** `overlapSeconds` given: a new secret, with the old one signing too for so long; one that was already being replaced stops at once. */
  change(id: string, change: Omit<WebhookChange, 'inactiveReason'>, overlapSeconds: number | undefined): Promise<Webhook>;
  remove(id: string): Promise<void>;
  deliveries(id: string, status: DeliveryStatus | undefined, cursor: string | undefined, limit: number): Promise<Page<Delivery>>;
  /** Makes it due now, with a day of attempts before it. 404 `webhook_delivery_not_found`, 409 `webhook_delivery_not_waiting`, for an inactive webhook too. */
  retry(id: string, delivery: string): Promise<Delivery>;
};

/** The service over a store; `targets` says where webhooks may point. */
export function createWebhookService(store: WebhookStore, targets: TargetRules): WebhookService {
  const get = async (id: string): Promise<Webhook> => (await store.find(id)) ?? notFound();
  const checked = async (url: string): Promise<string> => {
    await refuseBadTarget(url, targets);
    return new URL(url).href;
  };

  return {
    get,
    create: async ({ url, events, description }) => store.create({ url: await checked(url), events, description, secret: generateSecret() }),
    list: async (cursor, limit) => page(await store.list(decodeCursor(cursor), limit + 1), limit),

    async change(id, { url, ...change }, overlapSeconds) {
      const rotation = overlapSeconds === undefined ? undefined : { secret: generateSecret(), previousUntil: new Date(Date.now() + overlapSeconds * 1000) };
      // Whoever switches it knows why.
      const reason = change.active === undefined ? {} : { inactiveReason: null };
      return (await store.update(id, { ...change, ...reason, ...(url === undefined ? {} : { url: await checked(url) }) }, rotation)) ?? notFound();
    },

    async remove(id) {
      if (!await store.remove(id)) notFound();
    },

    async deliveries(id, status, cursor, limit) {
      await get(id);
      return page(await store.deliveries(id, status, decodeCursor(cursor), limit + 1), limit);
    },

    async retry(id, delivery) {
      const { active } = await get(id);
      if (!active) throw new Problem('webhook_delivery_not_waiting', 'The webhook is inactive; make it active first, then retry.');
      const retried = await store.retry(id, delivery);
      const found = await store.delivery(id, delivery);
      if (!found) throw new Problem('webhook_delivery_not_found', 'There is no such delivery of this webhook.');
      if (!retried) throw new Problem('webhook_delivery_not_waiting', 'It is delivered, or being sent right now.');
      return found;
    },
  };
}

/** Every attempt checks again; here it is for whoever registers the URL. A name that does not resolve, or not in time, may do so later. */
async function refuseBadTarget(url: string, targets: TargetRules): Promise<void> {
  await resolveTarget(url, targets).catch((error: unknown) => {
    if (error instanceof Problem) throw error;
  });
}

function notFound(): never {
  throw new Problem('webhook_not_found', 'There is no such webhook.');
}
