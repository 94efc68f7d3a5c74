import Type, { type Static } from 'typebox';
import Value from 'typebox/value';
import type { Identity } from '../auth/identity.js';
import type { UpstreamClient } from './client.js';
import { parseConnectionKey } from './connection-key.js';
import { invalidResponse } from './errors.js';

/** State of a connection as the upstream tells it (upstream.md, "Vault"). */
export const connectionStates = ['operational', 'degraded', 'failed', 'unknown'] as const;
/** What the vault says of a connection. */
export type ConnectionState = (typeof connectionStates)[number];

/** A vault row, the same for the hosted and the open-source shape. */
export type VaultConnection = Readonly<{
  id: string;
  key: string;
  platform: string;
  environment: string;
  identity: string | undefined;
  identityType: string | undefined;
  state: ConnectionState;
  name: string | undefined;
  tags: readonly string[];
}>;

/** The upstream's connections. */
export type Vault = {
  /**
   * Every connection of one identity, all pages. Rows of anybody else, and rows whose key is none, are
   * dropped, should the upstream send some.
   * `complete` is false when the pages did not add up to the total: then nothing follows from a row's absence.
   */
  listOf(identity: Identity): Promise<{ rows: VaultConnection[]; complete: boolean }>;
  /** The connection of this key, whosever it is; `owner` is where to look when the key cannot be asked for. */
  findByKey(key: string, owner: Identity): Promise<VaultConnection | undefined>;
  /** Deletes by the vault's id; one that is already gone is fine. */
  remove(id: string): Promise<void>;
};

const Text = Type.Union([Type.String(), Type.Null()]);
const Row = Type.Object({
  id: Type.Optional(Type.String()),
  _id: Type.Optional(Type.String()),
  key: Type.String(),
  platform: Type.String(),
  environment: Type.String(),
  identity: Type.Optional(Text),
  identityType: Type.Optional(Text),
  name: Type.Optional(Text),
  state: Type.Optional(Text),
  active: Type.Optional(Type.Boolean()),
  tags: Type.Optional(Type.Union([Type.Array(Type.String()), Type.Null()])),
});
// Hosted pages are numbered; the open-source server skips rows.
const Page = Type.Object({
  rows: Type.Array(Row),
  total: Type.Optional(Type.Integer({ minimum: 0 })),
  pages: Type.Optional(Type.Integer({ minimum: 0 })),
  skip: Type.Optional(Type.Integer({ minimum: 0 })),
});
type Page = Static<typeof Page>;

const pageSize = 100;
const maxPages = 1000;

/** The vault behind a client, paced or not. */
export function createVault(upstream: Pick<UpstreamClient, 'call'>): Vault {
  const fetchPage = async (query: Record<string, string | number | undefined>): Promise<Page> => {
    const { body } = await upstream.call('GET', '/v1/vault/connections', { query });
    if (!Value.Check(Page, body)) throw invalidResponse('it is not a page of vault connections');
    return body;
  };

  const vault: Vault = {
    async listOf({ identity, identityType }) {
      const found = new Map<string, VaultConnection>();
      let seen = 0;
      let total = 0;
      for (let page = 1; page <= maxPages; page += 1) {
        const query = { identity, identityType, limit: pageSize };
        let answer = await fetchPage({ ...query, page });
        // An open-source server tells where it started: not here, so it does not number its pages.
        if (answer.skip !== undefined && answer.skip !== seen) answer = await fetchPage({ ...query, skip: seen });
        for (const row of answer.rows) found.set(row.key, toConnection(row));
        seen += answer.rows.length;
        total = answer.total ?? seen;
        const more = answer.pages === undefined ? seen < total : page < answer.pages;
        if (answer.rows.length === 0 || !more) break;
      }
      const rows = [...found.values()].filter((row) => isUsable(row) && isOf(row, { identity, identityType }));
      return { rows, complete: found.size >= total };
    },

    async findByKey(key, owner) {
      // The filter takes comma lists, so a key with a comma (from its identity) would be read as two.
      if (key.includes(',')) return (await vault.listOf(owner)).rows.find((candidate) => candidate.key === key);
      const { rows } = await fetchPage({ key, limit: pageSize });
      const row = rows.find((candidate) => candidate.key === key);
      return row && toConnection(row);
    },

    async remove(id) {
      await upstream.call('DELETE', `/v1/vault/connections/${encodeURIComponent(id)}`, { accept: [404] });
    },
  };
  return vault;
}

/** Whether the vault says that a row is this identity's; an absent type means user. */
export function isOf(row: VaultConnection, { identity, identityType }: Identity): boolean {
  return row.identity === identity && (row.identityType ?? 'user') === identityType;
}

function toConnection(row: Static<typeof Row>): VaultConnection {
  const id = row.id ?? row._id;
  if (id === undefined) throw invalidResponse('a vault connection has no id');
  return {
    id,
    key: row.key,
    platform: row.platform,
    environment: row.environment,
    identity: row.identity ?? undefined,
    identityType: row.identityType ?? undefined,
    state: toState(row.state ?? undefined, row.active),
    name: row.name === null || row.name === undefined ? undefined : storable(row.name, 256),
    tags: (row.tags ?? []).slice(0, 50).map((tag) => storable(tag, 64)),
  };
}

/** Text of the vault's as it can be stored: Postgres holds neither NUL nor unpaired surrogates; the lengths are those of our own API. */
export function storable(text: string, length: number): string {
  // Cut by code points, as JSON Schema counts; twice as many code units hold at least that many.
  return Array.from(text.replaceAll('\0', '').slice(0, 2 * length)).slice(0, length).join('').toWellFormed();
}

/** Whether a row can be stored and used: its key is one, and says of platform and environment what the row says. */
function isUsable({ key, platform, environment }: VaultConnection): boolean {
  try {
    const parsed = parseConnectionKey(key);
    return key.isWellFormed() && parsed.platform === platform && parsed.environment === environment;
  } catch {
    return false;
  }
}

function toState(state: string | undefined, active: boolean | undefined): ConnectionState {
  // `failed` is what the vault calls inactive; open-source rows tell no state, only whether the connection is active.
  if (active === false) return 'failed';
  return state === undefined ? 'operational' : connectionStates.find((known) => known === state.toLowerCase()) ?? 'unknown';
}
