import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { Problem } from '../errors.js';
import { isOf, type Vault, type VaultConnection } from '../upstream/vault.js';
import { ownerOf } from './reconnect.js';
import type { Connection, ConnectionStore } from './store.js';
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
    if (connection?.environment === environment) await compare(store, vault, connection);
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

/** A stored connection after it was compared with the vault: the row as it is now, if it still is, and what the vault has of its key. */
export type Comparison = { connection: Connection | undefined; inVault: VaultConnection | undefined };

/**
 * Compares one stored connection of our environment with the vault, by key, and takes its state over. Asked again within
 * `restMs` of the answer, it gives the same one. Rejects with an upstream problem while the vault is away.
 */
export type Recheck = (connection: Connection) => Promise<Comparison>;

/** @param restMs how long one answer of the vault about a connection is good for. */
export function createRecheck(store: ConnectionStore, vault: Vault, restMs = 3_000): Recheck {
  const answers = new Map<string, Promise<Comparison>>();
  return (connection) => {
    // A reconnect gives the row another key, of which nothing is known yet.
    const about = `${connection.id} ${connection.key}`;
    let answer = answers.get(about);
    if (answer) return answer;
    const forget = (): void => void answers.delete(about);
    const rest = (): void => void setTimeout(forget, restMs).unref();
    answer = compare(store, vault, connection);
    // A failure of the database says nothing of the vault.
    answer.then(rest, (error: unknown) => (error instanceof Problem ? rest() : forget()));
    answers.set(about, answer);
    return answer;
  };
}

async function compare(store: ConnectionStore, vault: Vault, connection: Connection): Promise<Comparison> {
  const owner = ownerOf(connection);
  const inVault = await vault.findByKey(connection.key, owner);
  // Treat another identity's row as absent, as a sync does.
  const changed = await takeOverState(store, connection, inVault && isOf(inVault, owner) ? inVault : undefined);
  return { connection: changed ? await store.find(connection.id, owner) : connection, inVault };
}
