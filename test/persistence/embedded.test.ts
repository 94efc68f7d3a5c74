import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
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

t.test('a directory that cannot be had is refused at once, by its variable', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'embedded-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  await writeFile(join(directory, 'file'), '');
  await t.rejects(openEmbedded(join(directory, 'file', 'data')), /^DATA_DIR \(.*file.data\) cannot be written: ENOTDIR/);
  t.test('one that is not ours to write', { skip: process.getuid?.() === 0 && 'root may write everywhere' }, async (t) => {
    const readOnly = join(directory, 'read-only');
    await mkdir(readOnly);
    await chmod(readOnly, 0o555);
    await t.rejects(openEmbedded(readOnly), /^DATA_DIR \(.*read-only\) cannot be written: EACCES/);
  });
});
