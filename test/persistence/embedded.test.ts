import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { openEmbedded } from '../../src/persistence/embedded.js';
import { applyMigrations } from '../../src/persistence/migrate.js';

t.test('the embedded database keeps its rows, and one process at a time has it', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'embedded-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  const first = await openEmbedded(directory);
  await applyMigrations(first);
  await first.prisma.userConnection.create({ data: { identity: 'ada', key: 'k', platform: 'gmail', environment: 'test' } });
  await t.rejects(openEmbedded(directory), /in use by another process.*DATABASE_URL/);
  await first.close();

  const second = await openEmbedded(directory);
  t.equal(await second.prisma.userConnection.count(), 1);
  await second.close();
});
