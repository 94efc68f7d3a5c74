import { identityName } from '../auth/identity.js';
import type { Vault, ReadPage, VaultConnection, VaultQuery, WantedConnection } from './vault.js';

/** What the look-up of keys reads from. */
export type KeySource = { read(query: VaultQuery): Promise<ReadPage>; listOf: Vault['listOf'] };

/** Keys in one question. More would make a query string that proxies refuse. */
export const keysAtOnce = 50;
const maxEncodedLength = 4_000;

/**
 * What the vault has under each key; see `findByKeys` of Vault. Keys are asked for as comma lists. The absence of a key from
 * such an answer counts only when one from the middle of the list is in it, which shows that the upstream takes lists:
 * otherwise each is asked for alone. A key with a comma is looked for in its owner's listing, and a complete one decides.
 */
export async function askForKeys(
  { read, listOf }: KeySource, wanted: readonly WantedConnection[], alive: string | undefined,
): Promise<Map<string, VaultConnection | undefined>> {
  const answers = new Map<string, VaultConnection | undefined>();
  let known = alive?.includes(',') ? undefined : alive;
  let takesLists = true;

  /** Asks for `keys`, and answers whether absence from the answer means something for each of them. */
  const ask = async (keys: readonly string[]): Promise<ReadPage> => {
    const page = await read({ key: keys.join(',') });
    for (const row of page.rows) {
      if (!keys.includes(row.key)) continue;
      answers.set(row.key, row);
      known ??= row.key;
    }
    return page;
  };
  const settle = (keys: readonly string[], { oddKeys }: ReadPage): void => {
    // A row without a readable key may be any of them.
    if (oddKeys.includes(undefined)) return;
    for (const key of keys) if (!answers.has(key) && !oddKeys.includes(key)) answers.set(key, undefined);
  };

  for (const keys of chunks(wanted.map(({ key }) => key).filter((key) => !key.includes(',')))) {
    if (takesLists && keys.length > 1) {
      const list = known === undefined || keys.includes(known) ? keys : [...keys.slice(0, 1), known, ...keys.slice(1)];
      const page = await ask(list);
      if (list.slice(1, -1).some((key) => page.rows.some((row) => row.key === key))) {
        settle(keys, page);
        continue;
      }
      // Shown by a key that is there and was asked for in the middle.
      takesLists = !list.slice(1, -1).includes(known!);
    }
    for (const key of keys) if (!answers.has(key)) settle([key], await ask([key]));
  }

  const listings = new Map<string, Awaited<ReturnType<Vault['listOf']>>>();
  for (const { key, owner } of wanted.filter((one) => one.key.includes(','))) {
    const name = identityName(owner);
    const listing = listings.get(name) ?? await listOf(owner);
    listings.set(name, listing);
    const row = listing.rows.find((candidate) => candidate.key === key);
    if (row || (listing.complete && !listing.skippedKeys.includes(key) && listing.skipped === listing.skippedKeys.length)) answers.set(key, row);
  }
  if (known !== undefined && known === alive && !wanted.some(({ key }) => key === known)) answers.delete(known);
  return answers;
}

function chunks(keys: readonly string[]): string[][] {
  const all: string[][] = [];
  let length = Infinity;
  for (const key of keys) {
    const encoded = encodeURIComponent(key).length + 3;
    if (length + encoded > maxEncodedLength || all.at(-1)!.length === keysAtOnce) {
      all.push([]);
      length = 0;
    }
    all.at(-1)!.push(key);
    length += encoded;
  }
  return all;
}
