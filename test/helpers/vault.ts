import type { Vault, VaultConnection } from '../../src/upstream/vault.js';

/**
 * A vault in memory, with a row on each page. `calls` are what was asked for: the identities that were listed or whose row
 * was on a page, and keys; `before` runs ahead of each answer.
 */
export type FakeVault = Vault & { rows: VaultConnection[]; calls: string[]; before: (about: string) => Promise<void> };

export function fakeVault(): FakeVault {
  const asked = async <T>(about: string, answer: T): Promise<T> => {
    vault.calls.push(about);
    await vault.before(about);
    return answer;
  };
  const vault: FakeVault = {
    rows: [], calls: [], before: async () => {},
    listOf: ({ identity }) => asked(identity, {
      rows: vault.rows.filter((row) => row.identity === identity), complete: true, skipped: 0, skippedKeys: [],
    }),
    page(position) {
      const { page, seen } = position ?? { page: 1, seen: 0 };
      const rows = vault.rows.slice(seen, seen + 1);
      const next = seen + 1 < vault.rows.length ? { page: page + 1, seen: seen + 1, skips: false } : undefined;
      return asked(rows[0]?.identity ?? 'nothing', { rows, count: rows.length, skipped: 0, total: vault.rows.length, next });
    },
    findByKey: (key) => asked(key, vault.rows.find((row) => row.key === key)),
    async findByKeys(wanted) {
      const answers = wanted.map(({ key }) => [key, vault.rows.find((row) => row.key === key)] as const);
      for (const { key } of wanted) await asked(key, undefined);
      return new Map(answers);
    },
    async remove() {},
  };
  return vault;
}

let keys = 0;

/** A vault row of an identity. */
export function vaultRow(identity: string, state: VaultConnection['state'] = 'operational'): VaultConnection {
  const key = `test::gmail::default::${String(keys += 1).padStart(32, '0')}`;
  return { id: `conn_${keys}`, key, platform: 'gmail', environment: 'test', identity, identityType: 'user', state, name: undefined, tags: [] };
}

/** The same connection as a row of ours. */
export function storedFrom({ key, platform, environment, identity }: VaultConnection) {
  return { identity: identity!, identityType: 'user' as const, key, platform, environment, state: 'operational', name: null, tags: [] };
}
