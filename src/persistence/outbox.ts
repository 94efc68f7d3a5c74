import type { Prisma } from './database.js';

/** What an application can be told of. */
export const eventTypes = ['connection.created', 'connection.updated', 'connection.state_changed', 'connection.deleted'] as const;
/** What may happen to a connection. */
export type EventType = (typeof eventTypes)[number];

/** Something that happened to a connection. `data` is what receivers see: nothing secret may be in it. */
export type OutboxEvent = { type: EventType; connectionId: string; data: Record<string, unknown> };

/**
 * Transactional outbox: writes the event, and one delivery for each active webhook that wants its type, in the caller's
 * transaction. The caller holds the lock of the connection's row (it has just written it), so that sequence numbers of one
 * connection follow its commits. Nothing is written when nobody listens.
 */
export async function appendEvent(tx: Prisma.TransactionClient, { type, connectionId, data }: OutboxEvent): Promise<void> {
  // FOR KEY SHARE: a webhook that is being deleted right now is waited for and left out, instead of failing the foreign key.
  await tx.$executeRaw`
    WITH targets AS (
      SELECT id FROM webhooks WHERE active AND (cardinality(events) = 0 OR ${type}::text = ANY (events)) FOR KEY SHARE
    ), event AS (
      INSERT INTO webhook_events (id, type, connection_id, data)
      SELECT gen_random_uuid(), ${type}::text, ${connectionId}::uuid, ${JSON.stringify(data)}::jsonb WHERE EXISTS (SELECT 1 FROM targets)
      RETURNING id, sequence
    )
    INSERT INTO webhook_deliveries (id, webhook_id, event_id, connection_id, sequence)
    SELECT gen_random_uuid(), targets.id, event.id, ${connectionId}::uuid, event.sequence FROM targets CROSS JOIN event`;
}
