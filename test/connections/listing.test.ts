import t from 'tap';
import { type ConnectionFilter, createConnectionStore } from '../../src/connections/store.js';
import { openTestDatabase } from '../helpers/database.js';

t.setTimeout(300_000);

const { prisma } = await openTestDatabase(t);
const store = createConnectionStore(prisma);
const platforms = ['gmail', 'slack', 'github'];
// More rows than are looked through for a tag, some of which share their moment with others.
const rows = Array.from({ length: 4_000 }, (_, n) => ({
  identity: `user-${n % 400}`, identityType: n % 7 === 0 ? 'team' : 'user', platform: platforms[n % 3]!, key: `test::gmail::default::${n}`,
  environment: n % 500 === 499 ? 'live' : 'test', state: n % 50 === 0 ? 'failed' : n % 11 === 0 ? 'degraded' : 'operational',
  tags: n < 900 ? ['old', `${n}`] : n % 30 === 0 ? ['common', 'odd \' " { , }'] : n === 3_500 ? ['platform gmail'] : [], createdAt: new Date(1_700_000_000_000 + Math.floor(n / 3) * 1_000),
}));
await prisma.userConnection.createMany({ data: rows });
const stored = await prisma.userConnection.findMany({ orderBy: [{ createdAt: 'desc' }, { id: 'desc' }] });

type Filter = Omit<ConnectionFilter, 'platforms'>;
const values: Record<keyof Filter, string[]> = {
  identity: ['user-7', 'nobody'], identityType: ['user', 'team', 'project'], platform: ['gmail', 'exa'], environment: ['test', 'live'],
  state: ['operational', 'failed', 'unknown'], key: [rows[77]!.key], tag: ['old', 'common', '17', 'odd \' " { , }', 'platform gmail', 'none'],
};
const names = Object.keys(values) as (keyof Filter)[];
const some = (filter: Filter) => stored.filter((row) => Object.entries(filter).every(([name, value]) =>
  (name === 'tag' ? row.tags.includes(value) : row[name as 'state'] === value)));

t.test('every filter, pair and some triples give the newest rows first, and pages that add up', async (t) => {
  const filters: Filter[] = [{}];
  for (const [index, one] of names.entries()) {
    for (const value of values[one]) {
      filters.push({ [one]: value });
      for (const other of names.slice(index + 1)) for (const second of values[other]) filters.push({ [one]: value, [other]: second });
    }
  }
  for (const tag of ['old', '17', 'none']) filters.push({ tag, platform: 'gmail', state: 'operational' }, { tag, platform: 'slack', state: 'degraded', environment: 'test', identityType: 'user' });
  const wrong: unknown[] = [];
  for (const filter of filters) {
    const expected = some(filter);
    // Pages of a length that leaves some over, at the beginning, in the middle and at the end.
    for (const start of new Set([0, Math.floor(expected.length / 2), Math.max(0, expected.length - 3)])) {
      const page = await store.list(filter, expected[start - 1], 21);
      const ids = page.map(({ id }) => id);
      if (ids.join() !== expected.slice(start, start + 21).map(({ id }) => id).join()) wrong.push({ filter, start, found: ids.length, expected: expected.length - start });
    }
  }
  t.same(wrong, []);
  t.ok(filters.length > 100, `${filters.length} filters`);
});

t.test('a list tells all of a row, however it was found', async (t) => {
  for (const filter of [{ state: 'failed' }, { tag: 'common' }, { tag: '17' }] as Filter[]) t.same((await store.list(filter, undefined, 1))[0], some(filter)[0]);
});

t.test('what a credential may see narrows every list', async (t) => {
  for (const filter of [{}, { identity: 'user-7' }, { state: 'failed' }, { tag: 'old' }, { platform: 'gmail' }] as Filter[]) {
    const expected = some(filter).filter(({ platform }) => platform !== 'gmail').slice(0, 21);
    t.same((await store.list({ ...filter, platforms: ['slack', 'github'] }, undefined, 21)).map(({ id }) => id), expected.map(({ id }) => id), JSON.stringify(filter));
  }
});
