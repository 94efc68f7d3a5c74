import type { Vault, VaultConnection } from '../../src/upstream/vault.js';

/** A vault in memory; `calls` are the identities that were listed, `before` runs ahead of each answer. */
export type FakeVault = Vault & { rows: VaultConnection[]; calls: string[]; before: (about: string) => Promise<void> };

export function fakeVault(): FakeVault {
  const vault: FakeVault = {
    rows: [], calls: [], before: async () => {},
    async listOf({ identity }) {
      const found = vault.rows.filter((row) => row.identity === identity);
      vault.calls.push(identity);
      await vault.before(identity);
      return { rows: found, complete: true };
    },
    async findByKey(key) {
      vault.calls.push(key);
      const found = vault.rows.find((row) => row.key === key);
      await vault.before(key);
      return found;
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
