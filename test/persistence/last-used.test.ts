import t from 'tap';
import { createLastUsed } from '../../src/persistence/last-used.js';
import { openTestDatabase } from '../helpers/database.js';
import { storeConnection } from '../helpers/upstream.js';

t.test('uses are written in batches, at most once a minute per row, and on close', async (t) => {
  const database = await openTestDatabase(t);
  const { id } = await storeConnection({ database });
  let writes = 0;
  const prisma = database.prisma.$extends({ query: { $executeRaw: ({ args, query }) => {
    writes += 1;
    return query(args);
  } } }) as unknown as typeof database.prisma;
  let time = Date.now();
  const lastUsed = createLastUsed(prisma, (error) => t.fail(String(error)), 3_600_000, () => time);
  const stored = async () => (await database.prisma.userConnection.findUnique({ where: { id } }))!.lastUsedAt?.getTime();
  const first = time;

  for (let i = 0; i < 100; i += 1) lastUsed.touch('user_connections', id);
  lastUsed.touch('user_connections', '01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87');
  t.equal(writes, 0);
  await lastUsed.flush();
  t.equal(writes, 1);
  t.equal(await stored(), first);

  time += 59_000;
  lastUsed.touch('user_connections', id);
  await lastUsed.flush();
  t.equal(writes, 1);

  time += 2_000;
  lastUsed.touch('user_connections', id);
  await lastUsed.close();
  t.equal(writes, 2);
  t.equal(await stored(), time);
});

t.test('and at most once a minute over all replicas', async (t) => {
  const database = await openTestDatabase(t);
  const { id } = await storeConnection({ database });
  const first = Date.now();
  let time = first;
  const [one, other] = [1, 2].map(() => createLastUsed(database.prisma, (error) => t.fail(String(error)), 3_600_000, () => time));
  const use = async (replica = one!) => {
    replica.touch('user_connections', id);
    await replica.flush();
    return (await database.prisma.userConnection.findUnique({ where: { id } }))!.lastUsedAt!.getTime() - first;
  };
  t.equal(await use(), 0);
  time += 59_000;
  t.equal(await use(other), 0);
  time += 1_000;
  t.equal(await use(), 60_000);
});
