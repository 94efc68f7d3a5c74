import type { Logger } from 'pino';
import Type, { type Static } from 'typebox';
import Value from 'typebox/value';
import type { Identity } from '../auth/identity.js';
import type { UpstreamClient } from './client.js';
import { parseConnectionKey } from './connection-key.js';
import { invalidResponse } from './errors.js';
import { askForKeys } from './vault-keys.js';

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

/** Where a page begins: hosted pages are numbered, the open-source server skips the rows that were `seen`. */
export type PagePosition = Readonly<{ page: number; seen: number; skips: boolean }>;

/** One page of everything in the vault. */
export type VaultPage = {
  /** Its usable rows, of every identity and of none. */
  rows: VaultConnection[];
  /** How many rows it had, and how many of them were not usable. */
  count: number;
  skipped: number;
  /** How many rows the vault says it has. */
  total: number | undefined;
  /** Where the next page begins; undefined: this was the last. */
  next: PagePosition | undefined;
};

/** Every connection of one identity. */
export type VaultListing = {
  rows: VaultConnection[];
  /** False when the pages did not add up to the total, or the total kept changing while they were read. */
  complete: boolean;
  /** How many rows were not usable, and the keys of those that have one: nothing follows from their absence. */
  skipped: number;
  skippedKeys: string[];
};

/** A connection to look for: its key, and whose it is should the key be one that cannot be asked for. */
export type WantedConnection = Readonly<{ key: string; owner: Identity }>;

/** The upstream's connections. Rows that are not as it describes them are skipped and logged. */
export type Vault = {
  /**
   * Every connection of one identity, all pages; read again, three times at most, while its total changes. Rows of other
   * identities are dropped, should the upstream send some.
   */
  listOf(identity: Identity): Promise<VaultListing>;
  /** The page of all connections at `position` (undefined: the first), in the vault's own order. */
  page(position: PagePosition | undefined): Promise<VaultPage>;
  /**
   * The connection of this key, whosever it is; `owner` is where to look when the key cannot be asked for. 502
   * `upstream_invalid_response` for a row that is not usable.
   */
  findByKey(key: string, owner: Identity): Promise<VaultConnection | undefined>;
  /**
   * The same for many keys in few calls: undefined for a key that the vault does not have; a key that its answers do not
   * decide is not in the map. `alive`, a key that the vault is known to have, saves calls.
   */
  findByKeys(wanted: readonly WantedConnection[], alive?: string): Promise<Map<string, VaultConnection | undefined>>;
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
const Page = Type.Object({
  rows: Type.Array(Type.Unknown()),
  total: Type.Optional(Type.Integer({ minimum: 0 })),
  pages: Type.Optional(Type.Integer({ minimum: 0 })),
  skip: Type.Optional(Type.Integer({ minimum: 0 })),
});

/** A page as it came, its rows judged one by one; `oddKeys` are those of the rows that are not usable, as far as they tell. */
export type ReadPage = Pick<Static<typeof Page>, 'total' | 'pages' | 'skip'> & { rows: VaultConnection[]; count: number; oddKeys: (string | undefined)[] };
/** What to ask of the vault's list. */
export type VaultQuery = Record<string, string | number | undefined>;

// Every profile of the upstream serves as many.
const pageSize = 100;
const maxPages = 1000;
const readings = 3;

/** The vault behind a client, paced or not. */
export function createVault(upstream: Pick<UpstreamClient, 'call'>, log: Pick<Logger, 'warn'>): Vault {
  const tell = (odd: readonly OddRow[]): void => {
    if (odd.length === 0) return;
    log.warn({ connections: odd.map(({ id, why }) => ({ id: id ?? null, why })) }, 'rows of the vault were skipped: they are not connections as it describes them');
  };
  const read = async (query: VaultQuery): Promise<ReadPage> => {
    const { body } = await upstream.call('GET', '/v1/vault/connections', { query: { ...query, limit: pageSize } });
    if (!Value.Check(Page, body)) throw invalidResponse('it is not a page of vault connections');
    const rows: VaultConnection[] = [];
    const odd: OddRow[] = [];
    for (const row of body.rows) {
      const judged = judge(row);
      if ('why' in judged) odd.push(judged);
      else rows.push(judged);
    }
    tell(odd);
    const { total, pages, skip } = body;
    return { total, pages, skip, rows, count: body.rows.length, oddKeys: odd.map(({ key }) => key) };
  };

  const readAt = async (query: VaultQuery, position: PagePosition | undefined): Promise<ReadPage & { next: PagePosition | undefined }> => {
    // The first page is asked for without a number: on an open-source server `page` is a filter that matches nothing.
    const answer = await read({ ...query, ...(position && (position.skips ? { skip: position.seen } : { page: position.page })) });
    const { page, seen } = position ?? { page: 1, seen: 0 };
    const skips = answer.skip !== undefined;
    if (skips && answer.skip !== seen) throw invalidResponse('it is not the page of vault connections that was asked for');
    const passed = seen + answer.count;
    const more = answer.pages === undefined || skips ? passed < (answer.total ?? passed) : page < answer.pages;
    const contradicting = answer.rows.filter((row) => !isUsable(row));
    tell(contradicting.map(({ id, key }) => ({ id, key, why: 'its key is not one, or contradicts the row' })));
    return {
      ...answer, rows: answer.rows.filter(isUsable), oddKeys: [...answer.oddKeys, ...contradicting.map(({ key }) => key)],
      next: answer.count > 0 && more ? { page: page + 1, seen: passed, skips } : undefined,
    };
  };

  const readAll = async ({ identity, identityType }: Identity): Promise<VaultListing & { settled: boolean }> => {
    const found = new Map<string, VaultConnection>();
    const odd: (string | undefined)[] = [];
    const totals = new Set<number>();
    let position: PagePosition | undefined;
    let seen = 0;
    for (let page = 1; page <= maxPages; page += 1) {
      const answer = await readAt({ identity, identityType }, position);
      for (const row of answer.rows) found.set(row.key, row);
      odd.push(...answer.oddKeys);
      seen += answer.count;
      totals.add(answer.total ?? seen);
      position = answer.next;
      if (!position) break;
    }
    const settled = totals.size <= 1;
    return {
      rows: [...found.values()].filter((row) => isOf(row, { identity, identityType })), skipped: odd.length,
      skippedKeys: odd.filter((key) => key !== undefined), settled, complete: settled && found.size + odd.length >= Math.max(...totals),
    };
  };

  const vault: Vault = {
    async listOf(identity) {
      for (let reading = 1; ; reading += 1) {
        const { settled, ...listing } = await readAll(identity);
        if (settled || reading === readings) return listing;
      }
    },

    async page(position) {
      const { rows, count, oddKeys, total, next } = await readAt({}, position);
      return { rows, count, skipped: oddKeys.length, total, next };
    },

    async findByKey(key, owner) {
      // The filter takes comma lists, so a key with a comma (from its identity) would be read as two.
      if (key.includes(',')) return (await vault.listOf(owner)).rows.find((candidate) => candidate.key === key);
      const { rows, oddKeys } = await read({ key });
      const row = rows.find((candidate) => candidate.key === key);
      if (!row && oddKeys.some((odd) => odd === undefined || odd === key)) throw invalidResponse('the vault connection is not usable');
      return row;
    },

    findByKeys: (wanted, alive) => askForKeys({ read, listOf: vault.listOf }, wanted, alive),

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

type OddRow = { id: string | undefined; key: string | undefined; why: string };

function judge(row: unknown): VaultConnection | OddRow {
  const { id, _id, key } = (typeof row === 'object' && row !== null ? row : {}) as Record<string, unknown>;
  const odd = (why: string): OddRow => ({ id: [id, _id].find((one) => typeof one === 'string') as string | undefined, key: typeof key === 'string' ? key : undefined, why });
  if (!Value.Check(Row, row)) return odd(`${Value.Errors(Row, row)[0]?.instancePath || 'the row'} is not of its type`);
  if (row.id === undefined && row._id === undefined) return odd('it has no id');
  return toConnection(row, row.id ?? row._id!);
}

function toConnection(row: Static<typeof Row>, id: string): VaultConnection {
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
