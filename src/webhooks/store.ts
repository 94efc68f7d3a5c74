import type { Prisma, PrismaClient } from '../persistence/database.js';
import type { WebhookDeliveryModel, WebhookModel } from '../persistence/generated/models.js';
import { after, newestFirst, type Position } from '../persistence/keyset.js';

/** A stored webhook. Its secrets are kept as they are, because signing needs them: no answer and no log may show them. */
export type Webhook = WebhookModel;
/** What a webhook is stored with; the rest is the database's. */
export type NewWebhook = Pick<Webhook, 'url' | 'events' | 'description' | 'secret'>;
/** What may change in a stored webhook; what is absent stays. */
export type WebhookChange = Partial<Pick<Webhook, 'url' | 'events' | 'description' | 'active' | 'inactiveReason'>>;

/** A secret that takes the current one's place; that one goes on signing until `previousUntil`. */
export type Rotation = { secret: string; previousUntil: Date };

/** Where a delivery is: still to be sent, sent, or given up after a day of trying. */
export type DeliveryStatus = 'pending' | 'delivered' | 'parked';
/** A delivery with its event's type. */
export type Delivery = Omit<WebhookDeliveryModel, 'sequence' | 'lease' | 'waitedSeconds'> & { event: { type: string } };

/** Webhooks and their deliveries in the database. */
export type WebhookStore = {
  create(webhook: NewWebhook): Promise<Webhook>;
  find(id: string): Promise<Webhook | undefined>;
  list(position: Position | undefined, limit: number): Promise<Webhook[]>;
  /** Undefined when there is no such webhook. */
  update(id: string, change: WebhookChange, rotation: Rotation | undefined): Promise<Webhook | undefined>;
  /** Its deliveries go with it. */
  remove(id: string): Promise<boolean>;
  deliveries(webhookId: string, status: DeliveryStatus | undefined, position: Position | undefined, limit: number): Promise<Delivery[]>;
  delivery(webhookId: string, id: string): Promise<Delivery | undefined>;
  /** Makes a parked or waiting delivery due, with all its attempts before it; false when it is delivered or being sent. */
  retry(webhookId: string, id: string): Promise<boolean>;
};

/** Webhooks in the database. */
export function createWebhookStore(prisma: PrismaClient): WebhookStore {
  const shown = { omit: { sequence: true, lease: true, waitedSeconds: true }, include: { event: { select: { type: true } } } } as const;
  return {
    create: (webhook) => prisma.webhook.create({ data: webhook }),
    find: async (id) => (await prisma.webhook.findUnique({ where: { id } })) ?? undefined,
    list: (position, limit) => prisma.webhook.findMany({ where: after(position), orderBy: newestFirst, take: limit }),
    update: (id, change, rotation) => prisma.$transaction(async (tx) => {
      // One statement, so that of two rotations at once the second keeps the secret of the first.
      if (rotation) await rotate(tx, id, rotation);
      const [webhook] = await tx.webhook.updateManyAndReturn({ where: { id }, data: change });
      return webhook;
    }),
    remove: async (id) => (await prisma.webhook.deleteMany({ where: { id } })).count > 0,
    deliveries: (webhookId, status, position, limit) => prisma.webhookDelivery.findMany({
      where: { webhookId, ...(status ? { status } : {}), ...after(position) }, orderBy: newestFirst, take: limit, ...shown,
    }),
    delivery: async (webhookId, id) => (await prisma.webhookDelivery.findFirst({ where: { id, webhookId }, ...shown })) ?? undefined,
    async retry(webhookId, id) {
      const { count } = await prisma.webhookDelivery.updateMany({
        where: { id, webhookId, OR: [{ status: 'parked' }, { status: 'pending', lease: null }] },
        data: { status: 'pending', attempts: 0, waitedSeconds: 0, nextAttemptAt: new Date(), lease: null },
      });
      return count > 0;
    },
  };
}

async function rotate(tx: Prisma.TransactionClient, id: string, { secret, previousUntil }: Rotation): Promise<void> {
  await tx.$executeRaw`UPDATE webhooks SET previous_secret = secret, previous_secret_until = ${previousUntil}, secret = ${secret} WHERE id = ${id}::uuid`;
}
