import { isDeepStrictEqual } from 'node:util';
import type { EventType, OutboxEvent } from '../persistence/outbox.js';
import type { Connection } from './store.js';

// When a row was written or used, and what is left to tidy up upstream, is no news about the connection.
const silent = new Set<keyof Connection>(['updatedAt', 'lastUsedAt', 'replacedKey']);

/** The events of a change from `before` to `after`: a state that changed, other members that did, both, or nothing. */
export function eventsOfChange(before: Connection, after: Connection): OutboxEvent[] {
  const changed = (Object.keys(after) as (keyof Connection)[]).filter((name) => !silent.has(name) && !isDeepStrictEqual(before[name], after[name]));
  const stateChanged = changed.includes('state');
  // The reason comes with the state; alone, it is a change like any other.
  const others = changed.filter((name) => name !== 'state' && !(stateChanged && name === 'stateReason'));
  return [
    ...(stateChanged ? [eventOf('connection.state_changed', after, { previousState: before.state })] : []),
    ...(others.length > 0 ? [eventOf('connection.updated', after)] : []),
  ];
}

/** An event about a connection as it is now. The connection key is a credential and stays out; so does metadata. */
export function eventOf(type: EventType, connection: Connection, more: Record<string, unknown> = {}): OutboxEvent {
  const { id, platform, environment, identity, identityType, state, stateReason, name, tags, createdAt, updatedAt } = connection;
  const data = {
    id, platform, environment, identity, identityType, state, stateReason, name, tags,
    createdAt: createdAt.toISOString(), updatedAt: updatedAt.toISOString(), ...more,
  };
  return { type, connectionId: id, data };
}
