import { randomBytes } from 'node:crypto';
import Type, { type Static } from 'typebox';
import type { Platform } from '../catalogue/platforms.js';
import { ApiError } from '../errors.js';
import { newId } from '../ids.js';
import type { Environment, IdentityType, Owner } from '../identity.js';

const MAX_CONNECTIONS = 2_000_000;

/** A state of a connection. */
export const ConnectionState = Type.Union([
  Type.Literal('operational'),
  Type.Literal('degraded'),
  Type.Literal('failed'),
  Type.Literal('unknown'),
]);
export type ConnectionState = Static<typeof ConnectionState>;

/** A connection in the vault. */
export interface Connection {
  id: string;
  key: string;
  platform: string;
  environment: Environment;
  identity: string | null;
  identityType: IdentityType | null;
  name: string | null;
  state: ConnectionState;
  active: boolean;
  tags: string[];
  connectionDefinitionId: string;
  secretsServiceId: string;
  oauth: boolean;
  createdAt: number;
  updatedAt: number;
}

/** What a connection is stored with. */
export interface NewConnection extends Owner {
  platform: Platform;
  name?: string | undefined;
  state?: ConnectionState | undefined;
  active?: boolean | undefined;
  tags?: string[] | undefined;
  key?: string | undefined;
}

/** A filter of `GET /v1/vault/connections`; a list matches when any member does. */
export interface VaultFilter {
  environment: Environment;
  identity?: string | undefined;
  identityType?: string | undefined;
  platform?: string | undefined;
  keys?: string[] | undefined;
  tags?: string[] | undefined;
  active?: boolean | undefined;
}

/** The connections, in memory. A `failed` connection is inactive, as upstream.md states. */
export class Vault {
  #byId = new Map<string, Connection>();
  #idByKey = new Map<string, string>();
  // The rows of the last filter, so that a walk through a large vault does not filter all of it for every page.
  #last: { filter: string; rows: Connection[] } | undefined;

  /** Throws Conflict for a key that is taken, ServiceUnavailable when the vault is full. */
  create(input: NewConnection): Connection {
    const { platform, environment, identity, identityType, state = 'operational' } = input;
    const key = input.key ?? mintKey(environment, platform.platform, identity);
    if (this.#idByKey.has(key)) throw new ApiError('Conflict', 'A connection with this key exists');
    if (this.#byId.size >= MAX_CONNECTIONS) throw new ApiError('ServiceUnavailable', 'The sandbox vault is full');
    const now = Date.now();
    const connection: Connection = {
      id: newId('conn'),
      key,
      platform: platform.platform,
      environment,
      identity: identity ?? null,
      identityType: identity === undefined ? null : (identityType ?? 'user'),
      name: input.name ?? null,
      state,
      active: input.active ?? state !== 'failed',
      tags: input.tags ?? [],
      connectionDefinitionId: platform.connectionDefinitionId,
      secretsServiceId: newId('secrets'),
      oauth: platform.oauth,
      createdAt: now,
      updatedAt: now,
    };
    this.#byId.set(connection.id, connection);
    this.#idByKey.set(key, connection.id);
    this.#last = undefined;
    return connection;
  }

  get(id: string): Connection | undefined {
    return this.#byId.get(id);
  }

  byKey(key: string): Connection | undefined {
    const id = this.#idByKey.get(key);
    return id === undefined ? undefined : this.#byId.get(id);
  }

  /** Newest first. */
  all(): Connection[] {
    return [...this.#byId.values()].reverse();
  }

  find(filter: VaultFilter): Connection[] {
    const { environment, identity, identityType, platform, keys, tags, active } = filter;
    const matches = (row: Connection): boolean =>
      row.environment === environment &&
      (identity === undefined || row.identity === identity) &&
      (identityType === undefined || row.identityType === identityType) &&
      (platform === undefined || row.platform === platform) &&
      (tags === undefined || tags.some((tag) => row.tags.includes(tag))) &&
      (active === undefined || row.active === active);
    if (keys) return [...new Set(keys)].flatMap((key) => this.byKey(key) ?? []).filter(matches);
    const name = JSON.stringify(filter);
    if (this.#last?.filter !== name) this.#last = { filter: name, rows: this.all().filter(matches) };
    return this.#last.rows;
  }

  update(id: string, change: Partial<Pick<Connection, 'state' | 'active' | 'name' | 'tags'>>): Connection | undefined {
    const connection = this.#byId.get(id);
    if (!connection) return undefined;
    this.#last = undefined;
    const active = change.active ?? (change.state === undefined ? connection.active : change.state !== 'failed');
    return Object.assign(connection, change, { active, updatedAt: Date.now() });
  }

  delete(id: string): void {
    const connection = this.#byId.get(id);
    if (!connection) return;
    this.#last = undefined;
    this.#byId.delete(id);
    this.#idByKey.delete(connection.key);
  }

  clear(): void {
    this.#last = undefined;
    this.#byId.clear();
    this.#idByKey.clear();
  }
}

/** `{environment}::{platform}::{group}::{32 hex}`, with `|{identity}` when there is one; new on every authorisation. */
function mintKey(environment: Environment, platform: string, identity: string | undefined): string {
  const key = `${environment}::${platform}::default::${randomBytes(16).toString('hex')}`;
  return identity === undefined ? key : `${key}|${identity}`;
}
