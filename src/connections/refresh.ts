import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { isOf, type Vault } from '../upstream/vault.js';
import { ownerOf } from './reconnect.js';
import type { ConnectionStore } from './store.js';
import { takeOverState } from './sync.js';

/**
 * Re-reads the state of one connection, by key, from the vault, at once; never rejects. One read at a time for each id: more
 * requests during a read, or within a second of its end, lead to one further read after that second.
 */
export type StateRefresher = (id: string) => Promise<void>;

/** @param signal ends the waits between reads; what is asked for afterwards does nothing. */
export function createStateRefresher(
  store: ConnectionStore, vault: Vault, environment: string, log: Pick<Logger, 'warn'>, signal: AbortSignal, restMs = 1_000,
): StateRefresher {
  const flights = new Map<string, { done: Promise<void>; again: boolean }>();

  const refresh = async (id: string): Promise<void> => {
    const connection = await store.find(id, undefined);
    // The vault does not show us the rows of the other environment: their absence says nothing.
    if (!connection || connection.environment !== environment) return;
    const owner = ownerOf(connection);
    const inVault = await vault.findByKey(connection.key, owner);
    // Somebody else's is none of this owner's, as in a sync.
    await takeOverState(store, connection, inVault && isOf(inVault, owner) ? inVault : undefined);
  };

  const fly = async (id: string, flight: { again: boolean }): Promise<void> => {
    do {
      flight.again = false;
      await refresh(id).catch((error: unknown) => {
        if (!signal.aborted) log.warn({ err: error, connection: id }, 'the state of a connection could not be refreshed');
      });
      await sleep(restMs, undefined, { signal, ref: false }).catch(() => {});
    } while (flight.again && !signal.aborted);
    flights.delete(id);
  };

  return (id) => {
    if (signal.aborted) return Promise.resolve();
    const current = flights.get(id);
    if (current) {
      current.again = true;
      return current.done;
    }
    const flight = { again: false, done: Promise.resolve() };
    flights.set(id, flight);
    flight.done = fly(id, flight);
    return flight.done;
  };
}
