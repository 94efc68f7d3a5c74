import { randomUUID } from 'node:crypto';
import type { Prisma } from './database.js';

/** What an application can be told of. */
export const eventTypes = ['connection.created', 'connection.updated', 'connection.state_changed', 'connection.deleted'] as const;
/** What may happen to a connection. */
export type EventType = (typeof eventTypes)[number];

/** Something that happened to a connection. `data` is what receivers see: nothing secret may be in it. */
export type OutboxEvent = { type: EventType; connectionId: string; data: Record<string, unknown> };

/**
 * Transactional outbox: writes the events, and one delivery of each for every active webhook that wants its type, in the
 * caller's transaction. The caller holds the locks of the connections' rows (it has just written them), so that sequence
 * numbers of one connection follow its commits; they also follow the order of `events`. What no webhook wants is not written.
 */
export async function appendEvents(tx: Prisma.TransactionClient, events: readonly OutboxEvent[]): Promise<void> {
  if (events.length === 0) return;
  const ids = events.map(() => randomUUID());
  const connectionIds = events.map(({ connectionId }) => connectionId);
  const types = events.map(({ type }) => type);
  const data = events.map((event) => JSON.stringify(event.data));
  // FOR KEY SHARE: a webhook that is being deleted right now is waited for and left out, instead of failing the foreign key.
  await tx.$executeRaw`
    WITH targets AS (
      SELECT id, events FROM webhooks WHERE active FOR KEY SHARE
    ), given AS (
      SELECT * FROM unnest(${ids}::uuid[], ${types}::text[], ${connectionIds}::uuid[], ${data}::text[])
        WITH ORDINALITY AS given(id, type, connection_id, data, place)
    ), written AS (
      INSERT INTO webhook_events (id, type, connection_id, data)
      SELECT id, type, connection_id, data::jsonb FROM given
      WHERE EXISTS (SELECT 1 FROM targets WHERE cardinality(targets.events) = 0 OR given.type = ANY (targets.events))
      ORDER BY place
      RETURNING id, type, connection_id, sequence
    )
    INSERT INTO webhook_deliveries (id, webhook_id, event_id, connection_id, sequence)
    SELECT gen_random_uuid(), targets.id, written.id, written.connection_id, written.sequence
    FROM written JOIN targets ON cardinality(targets.events) = 0 OR written.type = ANY (targets.events)`;
}

/** {@link appendEvents} of one. */
export function appendEvent(tx: Prisma.TransactionClient, event: OutboxEvent): Promise<void> {
  return appendEvents(tx, [event]);
}
